//! A guard against becoming slow that no busy machine can disturb: instructions are counted, by callgrind, of a table that
//! is read, of services that are started in a fake kernel, and of tells. They have to be as many as `instructions.txt`
//! says, within three in a hundred; who has a reason writes them anew:
//!
//!     UPDATE=1 cargo test --test instructions
//!
//! valgrind runs this same program again, for one of the functions below at a time, and counts in it alone.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use isinit::engine::rows::{GroupRow, Head, Last, Row};
use isinit::engine::{Effect, Engine, Event, Memory, Tell, child::Ending};
use isinit::isinittab::Table;

const WITHIN_PERCENT: u64 = 3;
const ENTRIES: usize = 1_000;
const TELLS: u32 = 1_000;

fn text() -> String {
    let line = |n: usize| {
        format!(
            "group{}:tag{n}:run,maintenance:respawn,stop-timeout=10,user=0:/usr/bin/program{n} -f x\n",
            n % 50
        )
    };
    (0..ENTRIES).map(line).collect()
}

/// Reads a table.
#[inline(never)]
fn counted_table(text: &str) -> usize {
    Table::parse("t", text.as_bytes()).expect("a table").table.len()
}

/// Starts all that is wanted.
#[inline(never)]
fn counted_spawns(engine: &mut Engine) -> u32 {
    for group in 0..50 {
        engine.tell(format!("group{group}").as_bytes(), b"run", Tell::default(), 0).expect("told");
    }
    let mut started = 0;
    while let Some(effect) = engine.next_effect(0) {
        if let Effect::Spawn { row } = effect {
            started += 1;
            engine.handle(Event::Spawned { row, pid: 1_000 + row }, 0);
        }
    }
    started
}

/// Tells one group, of twenty entries, to change its level again and again.
#[inline(never)]
fn counted_tells(engine: &mut Engine) -> u32 {
    let mut ended = 0;
    for number in 0..TELLS {
        let level: &[u8] = if number % 2 == 0 { b"0" } else { b"run" };
        let _ = engine.tell(b"group7", level, Tell::default(), 1);
        while let Some(effect) = engine.next_effect(1) {
            match effect {
                Effect::Spawn { row } => engine.handle(Event::Spawned { row, pid: 1_000 + row }, 1),
                Effect::Stop { pid, .. } => {
                    ended += 1;
                    engine.handle(Event::Ended { pid, last: Last::Signal(15), ending: Ending::Badly }, 1);
                }
                Effect::Sweep { row, .. } => engine.handle(Event::Swept { row, left: false }, 1),
                Effect::Kill { .. } | Effect::EndLog { .. } | Effect::Exit { .. } => {}
            }
        }
    }
    ended
}

fn with_engine(act: impl FnOnce(&mut Engine)) {
    let mut rows: Vec<Row> = (0..ENTRIES).map(|_| Row::from_bytes(&mut || 0)).collect();
    let mut groups: Vec<GroupRow> = (0..64).map(|_| GroupRow::from_bytes(&mut || 0)).collect();
    let mut head = Head::from_bytes(&mut || 0);
    let mut engine = Engine::new(Memory { rows: &mut rows, groups: &mut groups, head: &mut head });
    engine.load(Table::parse("t", text().as_bytes()).expect("a table").table, 0).expect("room");
    engine.begin(0);
    act(&mut engine);
}

/// What valgrind runs.
#[test]
#[ignore = "is counted by the other test"]
fn everything_once() {
    assert_eq!(counted_table(black_box(&text())), ENTRIES);
    with_engine(|engine| {
        assert_eq!(counted_spawns(engine) as usize, ENTRIES);
        assert_eq!(counted_tells(engine), TELLS / 2 * 20);
    });
}

/// The instructions of one function and of what it calls.
fn count(function: &str) -> u64 {
    let out = std::env::temp_dir().join(format!("isinit-instructions-{}-{function}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=callgrind", &format!("--toggle-collect=*{function}*")]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().unwrap()).args(["--ignored", "--exact", "everything_once"]);
    let output = command.output().unwrap_or_else(|error| panic!("valgrind: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&out).unwrap();
    fs::remove_file(out).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    line.expect("a sum").trim().parse().unwrap()
}

#[test]
fn they_are_as_many_as_they_were() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt");
    let functions = ["counted_table", "counted_spawns", "counted_tells"];
    let counts: BTreeMap<&str, u64> = functions.map(|function| (function, count(function))).into();
    let lines: String = counts.iter().map(|(function, count)| format!("{function} {count}\n")).collect();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap();
    for line in before.lines() {
        let (function, was) = line.split_once(' ').unwrap();
        let (was, is) = (was.parse::<u64>().unwrap(), counts[function]);
        let most = was * WITHIN_PERCENT / 100;
        assert!(
            was.abs_diff(is) <= most,
            "{function}: {is} instructions, and not {was}. Is that as it should be? UPDATE=1 cargo test --test instructions"
        );
    }
    assert_eq!(before.lines().count(), functions.len());
}
