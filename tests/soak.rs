//! `make soak`: a thousand services that live for random times, told to come and go at random, for ten minutes. Not one
//! restart is missed, and in the end the daemon has as much memory and as many descriptors as at the start, and no zombie.
//! `make test` plays a short one.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Daemon, EntryStatus, Stage, all_pids, descriptors, run, status_line};
use rustix::process::Signal;

/// Groups; of every four of them, one is never told anything after the start, so that each of its starts can be counted.
const GROUPS: u32 = 10;
const QUIET_ONE_OF: u32 = 4;

/// What is said before the look at the start, so that the daemon has then done whatever it does later at least once:
/// while a table is read again there are two, and the pages between them are touched then, and for good.
const WARM_UP_TELLS: u32 = 200;

/// Memory that may be more at the end, in kB: holes between what two tables, one after the other, have on the heap. A
/// reread that lost its table would lose as much each time, a start that lost sixteen bytes more in two minutes.
const GROWTH_MAX_KB: u64 = 128;

/// Between two tells.
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn a_hundred_services_for_some_seconds() {
    soak(100, 500, Duration::from_secs(5));
}

#[test]
#[ignore = "ten minutes: `make soak`"]
fn a_thousand_services_for_minutes() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    soak(1_000, 20_000, Duration::from_secs(seconds.unwrap_or(600)));
}

fn soak(services: u32, most_ms: u32, time: Duration) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(std::process::id());
    let stage = Stage::new();
    let counters = Counters::new(&stage, services);
    let life = stage.path("mortal").display().to_string();
    let line = |n: u32| {
        let (group, levels) = (group_of(n), levels_of(n));
        format!("g{group}:s{n}:{levels}:respawn,limit=no,delay=0:{life} counters {n} {most_ms}\n")
    };
    let d = stage.start((0..services).map(line).collect::<String>());
    let mut levels: BTreeMap<u32, char> = (0..GROUPS).map(|group| (group, 'a')).collect();
    levels.keys().for_each(|group| assert_eq!(d.tell(&format!("g{group}"), "a"), "ok run"));
    d.until("everybody was there once", |_| {
        (0..services).all(|n| !has_place(n, 'a') || counters.starts(n) > 0)
    });
    let mut random = seed;
    (0..WARM_UP_TELLS).for_each(|_| say_something(&d, services, &mut levels, &mut random));
    let before = Holdings::of(&d);

    let (begun, mut tells) = (Instant::now(), 0);
    while begun.elapsed() < time {
        say_something(&d, services, &mut levels, &mut random);
        tells += 1;
        std::thread::sleep(PAUSE);
    }

    counters.let_live();
    for (group, level) in &levels {
        let said = d.tell(&format!("g{group}"), &level.to_string());
        assert_eq!(said, if *level == '0' { "ok stopped" } else { "ok run" }, "seed {seed}");
    }
    let entries = d.until_some("everybody has come to rest", |d| {
        let entries = all_entries(d);
        let rests = |n: u32| {
            let entry = &entries[&n];
            let placed = has_place(n, levels[&group_of(n)]);
            entry.state == if placed { "up" } else { "down" }
                && (!placed || !is_quiet(n) || counters.alive(n) == 1)
        };
        (0..services).all(rests).then_some(entries)
    });
    let mut restarts = 0;
    for n in (0..services).filter(|n| is_quiet(*n) && has_place(*n, 'a')) {
        let (starts, ends) = (counters.starts(n), counters.ends(n));
        assert_eq!(
            (starts.into(), ends.into()),
            (entries[&n].restarts + 1, entries[&n].restarts),
            "s{n}, seed {seed}"
        );
        restarts += ends;
    }
    assert!(restarts > 0 && (0..services).all(|n| counters.starts(n) > 0 || !has_place(n, 'a')));
    // The last client's place is given back in the daemon's own time.
    d.until("what clients had is given back", |d| descriptors(d.pid()).len() <= before.descriptors);
    let after = Holdings::of(&d);
    let all: u32 = (0..services).map(|n| counters.starts(n)).sum();
    println!(
        "{services} services, {} s, seed {seed}: {tells} tells, {all} starts, {restarts} counted one by one;\n\
         at the start {before:?}\nat the end   {after:?}",
        time.as_secs()
    );
    assert!(
        after.descriptors <= before.descriptors && after.zombies == 0,
        "seed {seed}: {before:?}, {after:?}"
    );
    assert!(after.memory_kb <= before.memory_kb + GROWTH_MAX_KB, "seed {seed}: {before:?}, {after:?}");
    assert_eq!(d.stop(), 0);
    assert_eq!(d.descendants(), [0_u32; 0]);
}

/// A group is told a level, or one entry is stopped, started or signalled, or the table is read again.
fn say_something(d: &Daemon, services: u32, levels: &mut BTreeMap<u32, char>, random: &mut u32) {
    let mut below = |most: u32| {
        *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*random >> 8) % most
    };
    let (group, entry) = (below(GROUPS), below(services));
    let level = ['0', 'a', 'a', 'b', 'b'][below(5) as usize];
    match below(8) {
        0 => d.signal(Signal::HUP),
        1 => drop(d.ask(":reread")),
        2 if !is_quiet(entry) => drop(d.ask(format!(":restart s{entry}"))),
        3 if !is_quiet(entry) => drop(d.ask(format!(":stop s{entry}"))),
        4 if !is_quiet(entry) => drop(d.ask(format!(":signal KILL s{entry}"))),
        _ if group % QUIET_ONE_OF != 0 => {
            levels.insert(group, level);
            assert_eq!(d.ask(format!(":tell g{group} {level}")), ["ok accepted"]);
        }
        _ => drop(d.ask(":status")),
    }
}

fn group_of(n: u32) -> u32 {
    n % GROUPS
}

fn is_quiet(n: u32) -> bool {
    group_of(n) % QUIET_ONE_OF == 0
}

/// Of three services one has both levels, and each of the others one.
fn has_place(n: u32, level: char) -> bool {
    levels_of(n).contains(level)
}

fn levels_of(n: u32) -> &'static str {
    ["a,b", "a", "b"][(n / GROUPS % 3) as usize]
}

fn all_entries(d: &Daemon) -> BTreeMap<u32, EntryStatus> {
    let entries = d.ask(":status");
    let entries = entries.iter().filter_map(|line| EntryStatus::parse(line));
    entries.map(|entry| (entry.tag[1..].parse().unwrap(), entry)).collect()
}

/// What the daemon has.
#[derive(Debug)]
struct Holdings {
    memory_kb: u64,
    descriptors: usize,
    zombies: usize,
}

impl Holdings {
    fn of(d: &Daemon) -> Holdings {
        // Pages of the program itself come and go as the system likes; these are the daemon's own doing.
        let resident = |name: &str| -> u64 {
            let line = status_line(d.pid(), name).unwrap();
            line.trim_end_matches(" kB").parse().unwrap()
        };
        let is_zombie = |pid: &u32| {
            status_line(*pid, "PPid").is_some_and(|parent| parent == d.pid().to_string())
                && common::process_state(*pid) == Some('Z')
        };
        Holdings {
            memory_kb: resident("RssAnon") + resident("RssShmem"),
            descriptors: descriptors(d.pid()).len(),
            zombies: all_pids().iter().filter(|pid| is_zombie(pid)).count(),
        }
    }
}

/// What the services count: see tests/helpers/mortal.c.
struct Counters(File);

impl Counters {
    /// Makes the file, and the program.
    fn new(stage: &Stage, services: u32) -> Counters {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helpers/mortal.c");
        let compiled =
            run(Command::new("cc").args(["-O2", "-static", "-o"]).arg(stage.path("mortal")).arg(source));
        assert_eq!(compiled.status, 0, "{compiled:?}");
        let path = stage.path("counters");
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(4 * (1 + 2 * u64::from(services))).unwrap();
        Counters(file)
    }

    fn word(&self, at: u32) -> u32 {
        let mut bytes = [0; 4];
        self.0.read_exact_at(&mut bytes, 4 * u64::from(at)).unwrap();
        u32::from_ne_bytes(bytes)
    }

    fn starts(&self, n: u32) -> u32 {
        self.word(1 + 2 * n)
    }

    fn ends(&self, n: u32) -> u32 {
        self.word(2 + 2 * n)
    }

    fn alive(&self, n: u32) -> u32 {
        self.starts(n).wrapping_sub(self.ends(n))
    }

    /// From now on everybody lives for ever.
    fn let_live(&self) {
        self.0.write_all_at(&1_u32.to_ne_bytes(), 0).unwrap();
    }
}
