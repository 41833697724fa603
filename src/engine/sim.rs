//! Ten million histories, played through the engine with a fake kernel and virtual time.
//!
//! A seed makes a table, and then one step after another: a tell, a re-read of a changed table, the end of a
//! process, a readiness, an order for one entry, or time that passes. The kernel refuses starts (EAGAIN), starts
//! what cannot be executed, lets processes ignore their stop signal, leave others behind, and now and then not
//! even die of SIGKILL. After each step everything that must always be true is looked at, in the kernel's own
//! books and not in the engine's.
//!
//! `make sim SEED=... STEPS=...` plays the history of one seed, or more of them.

use std::collections::{BTreeMap, BTreeSet};

use super::child::{ChildState, Ending, Goal};
use super::rows::{Flags, GroupFlags, GroupRow, Head, Last, NONE, Phase, Row, Verdict};
use super::{Effect, Engine, Event, Farewell, Memory, Ms, Outcome, Tell};
use crate::isinittab::{Action, Entry, Occasion, Table};
use crate::sys::memory::Plain;

const LEVELS: [&str; 8] = ["1", "2", "3", "run", "maint", "a", "b", "0"];

const OF_THE_WHOLE: [&str; 10] = [
    "sysinit",
    "sysinit",
    "boot",
    "bootwait",
    "powerwait",
    "powerfail",
    "powerfailnow",
    "powerokwait",
    "ctrlaltdel",
    "shutdown",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Clone, Debug)]
struct Process {
    row: u32,
    tag: Vec<u8>,
    /// Ignores its stop signal.
    stubborn: bool,
    /// Does not die of SIGKILL either.
    immortal: bool,
    dying: Option<Ending>,
    /// It was asked to go, before it is killed.
    asked: bool,
}

#[derive(Default)]
struct Kernel {
    next_pid: u32,
    alive: BTreeMap<u32, Process>,
    /// What the dead have left behind: how many, for each row, and whether SIGKILL ends them.
    left: BTreeMap<u32, u32>,
}

struct World<'m> {
    random: Random,
    now: Ms,
    engine: Engine<'m>,
    kernel: Kernel,
    lines: Vec<String>,
    /// Groups whose table changed since their last tell: their rows may be out of their level.
    reread: BTreeSet<u32>,
    exited: Option<u8>,
    /// Rows that were started by name since their group was told: a `wait` among them had its turn before.
    by_name: BTreeSet<u32>,
    /// Rows that were stopped by name, and neither started since nor their group told.
    stopped: BTreeSet<u32>,
    /// Entries of the whole that could not be started when their turn came, or are started by name.
    again: BTreeSet<u32>,
    /// The row that may have effects now, if only one group may.
    only: Option<u32>,
    settles: u64,
    /// The boot was over before the effects that are carried out now.
    booted: bool,
    /// Prints what happens: the second time that a history is played, because it broke the engine.
    told: bool,
    crashes: Crashes,
    effects: u64,
}

/// When the daemon crashes. It does so before an effect is carried out, or after it was and before its answer is heard.
#[derive(Clone, Copy)]
enum Crashes {
    Never,
    /// Now and then.
    Sometimes,
    /// At this effect, the first being 0, and at no other.
    At(u64),
}

fn make_line(random: &mut Random, tags: &mut Vec<String>) -> String {
    let tag = format!("t{}", random.below(24));
    if tags.contains(&tag) {
        return String::from("# none");
    }
    let group = random.pick(&["foo", "bar", "baz"]);
    let levels = random.pick(&["1", "2", "12", "run,", "run,maint", "", "1,2,3,a", "maint,1", "23", "b"]);
    let action = if random.one_in(3) {
        random.pick(&OF_THE_WHOLE)
    } else {
        random.pick(&[
            "respawn", "respawn", "respawn", "wait", "once", "test", "off", "wait", "test", "ondemand",
        ])
    };
    let levels = if action == "shutdown" { random.pick(&["", "0", "6", "06"]) } else { levels };
    let mut options = String::new();
    let mut add = |random: &mut Random, chance: u64, values: &[&str]| {
        if random.one_in(chance) {
            options.push(',');
            options.push_str(random.pick(values));
        }
    };
    add(random, 4, &["stop-timeout=1", "stop-timeout=0.2", "stop-timeout=30"]);
    add(random, 4, &["ready=socket,ready-timeout=2", "ready=socket", "ready=3,ready-timeout=0.5"]);
    add(random, 6, &["fail=entry", "fail=group"]);
    if action == "respawn" {
        add(random, 3, &["limit=no,delay=0.1..5", "limit=2/5/7", "limit=1/1/1", "delay=1"]);
    }
    if random.one_in(6) && !tags.is_empty() {
        let reader = tags[random.below(tags.len() as u64) as usize].clone();
        options.push_str(",log=");
        options.push_str(&reader);
    }
    tags.push(tag.clone());
    format!("{group}:{tag}:{levels}:{action}{options}:/bin/{tag} {}", random.below(3))
}

fn make_table(random: &mut Random) -> Vec<String> {
    let mut tags = Vec::new();
    let count = 3 + random.below(14);
    (0..count).map(|_| make_line(random, &mut tags)).collect()
}

/// Adds, takes out, changes or moves a line.
fn mutate(random: &mut Random, lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    let tag = |line: &String| line.split(':').nth(1).unwrap_or("").to_string();
    for _ in 0..=random.below(3) {
        let mut tags: Vec<String> = lines.iter().map(tag).collect();
        let at = random.below(lines.len() as u64 + 1) as usize;
        match random.below(4) {
            0 => lines.insert(at, make_line(random, &mut tags)),
            1 if at < lines.len() && lines.len() > 2 => {
                lines.remove(at);
            }
            2 if at < lines.len() => lines[at] = lines[at].replace(":respawn", ":off"),
            _ if at + 1 < lines.len() => lines.swap(at, at + 1),
            _ => {}
        }
    }
    lines
}

fn parse(lines: &[String]) -> Option<Table> {
    Table::parse("sim", lines.join("\n").as_bytes()).ok().map(|loaded| loaded.table)
}

impl World<'_> {
    fn say(&self, what: std::fmt::Arguments) {
        if self.told {
            eprintln!("{:>8} {what}", self.now);
        }
    }

    fn say_effect(&self, effect: Effect) {
        let row = effect_row(effect).and_then(|row| self.engine.row(row));
        let tag = row.map_or(Default::default(), |row| String::from_utf8_lossy(row.tag()));
        let state = row.map(Row::state);
        self.say(format_args!("    {effect:?} {tag} {state:?}"));
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=2 => self.tell(),
            3 => self.reread(),
            4..=8 => self.end_one(),
            9..=10 => self.ready_one(),
            11 => self.order(),
            12 => self.orphan_dies(),
            13 => self.happen(),
            _ => self.pass(),
        }
        self.check();
        // What is gone, or is no service of a level any more, is another one when it comes back.
        let stays = |row: &u32| {
            let is_vacant = self.engine.row(*row).is_none_or(Row::is_vacant);
            !is_vacant && self.engine.occasion(*row) == Occasion::Level
        };
        self.stopped.retain(stays);
    }

    fn tell(&mut self) {
        let group = self.random.pick(&["foo", "bar", "baz"]);
        let level = self.random.pick(&LEVELS);
        let how = Tell { force: self.random.one_in(3), revert: self.random.one_in(4) };
        self.say(format_args!("tell {group} {level} {how:?}"));
        let (group, level) = (group.as_bytes(), level.as_bytes());
        let number = self.engine.table.find_group(group);
        let switches = !number.is_some_and(|number| self.engine.table.is_on_demand(number, level));
        if let Ok(ticket) = self.engine.tell(group, level, how, self.now) {
            if switches {
                self.reread.remove(&ticket.slot);
                let others = |row: &u32| self.engine.row(*row).is_some_and(|row| row.group != ticket.slot);
                self.by_name.retain(|row| others(row) || self.engine.occasion(*row).is_of_the_whole());
                self.stopped.retain(others);
            }
            self.only = Some(ticket.slot);
        }
        self.drain();
        self.only = None;
    }

    fn reread(&mut self) {
        let lines = mutate(&mut self.random, &self.lines);
        if let Some(table) = parse(&lines) {
            self.lines = lines;
            self.say(format_args!("re-read {:#?}", self.lines));
            self.engine.load(table, self.now).expect("there is room");
            self.reread = (0..self.engine.groups.len() as u32).collect();
            if self.random.one_in(2) {
                self.engine.refresh(self.now);
            }
        }
        self.drain();
    }

    fn order(&mut self) {
        let tag = format!("t{}", self.random.below(24));
        let which = self.random.below(3);
        self.say(format_args!("{} {tag}", ["stop", "start", "restart"][which as usize]));
        let ordered = match which {
            0 => self.engine.stop_entry(tag.as_bytes()),
            1 => self.engine.start_entry(tag.as_bytes(), self.now),
            _ => self.engine.restart_entry(tag.as_bytes(), self.now),
        };
        if let Ok(row) = ordered {
            self.by_name.insert(row);
            self.comes_back(row);
            if which == 0 {
                self.stopped.insert(row);
            } else {
                self.stopped.remove(&row);
            }
        }
        self.drain();
    }

    /// The power fails, or comes back; or somebody presses Ctrl-Alt-Del.
    fn happen(&mut self) {
        let occasions = [Occasion::PowerFails, Occasion::PowerLow, Occasion::PowerBack, Occasion::CtrlAltDel];
        let occasion = occasions[self.random.below(4) as usize];
        self.say(format_args!("{occasion:?}"));
        self.engine.call(occasion, self.now);
        self.drain();
    }

    fn end_one(&mut self) {
        let pids: Vec<u32> = self.kernel.alive.keys().copied().collect();
        if pids.is_empty() {
            return;
        }
        let dying = pids.iter().copied().find(|pid| self.kernel.alive[pid].dying.is_some());
        let pid = dying.unwrap_or_else(|| pids[self.random.below(pids.len() as u64) as usize]);
        let process = &self.kernel.alive[&pid];
        if process.immortal && process.dying.is_none() {
            return;
        }
        let ending =
            process.dying.unwrap_or(if self.random.one_in(2) { Ending::Well } else { Ending::Badly });
        self.end(pid, ending);
        self.drain();
    }

    fn end(&mut self, pid: u32, ending: Ending) {
        let process = self.kernel.alive.remove(&pid).expect("it is alive");
        self.say(format_args!("{pid} of {} ended {ending:?}", String::from_utf8_lossy(&process.tag)));
        if ending == Ending::Wanting {
            self.comes_back(process.row);
        }
        if self.random.one_in(5) {
            *self.kernel.left.entry(process.row).or_insert(0) += 1;
        }
        let last = match ending {
            Ending::Well => Last::Exit(0),
            Ending::Badly => Last::Signal(9),
            Ending::Wanting => Last::Fault { step: 5, errno: 11 },
            Ending::NoTerminal => Last::Fault { step: 2, errno: 6 },
        };
        self.engine.handle(Event::Ended { pid, last, ending }, self.now);
    }

    fn orphan_dies(&mut self) {
        let rows: Vec<u32> = self.kernel.left.keys().copied().collect();
        if let Some(&row) = rows.first() {
            self.lose_one(row);
            self.engine.handle(Event::Ended { pid: 1, last: Last::Exit(0), ending: Ending::Well }, self.now);
        }
        self.drain();
    }

    fn lose_one(&mut self, row: u32) {
        let left = self.kernel.left.get_mut(&row).expect("something is left");
        *left -= 1;
        if *left == 0 {
            self.kernel.left.remove(&row);
        }
    }

    fn ready_one(&mut self) {
        let pids: Vec<u32> = self.kernel.alive.keys().copied().collect();
        if !pids.is_empty() {
            let pid = pids[self.random.below(pids.len() as u64) as usize];
            let row = self.kernel.alive[&pid].row;
            self.engine.handle(Event::Ready { row }, self.now);
        }
        self.drain();
    }

    fn pass(&mut self) {
        self.now = match self.engine.deadline() {
            Some(at) if self.random.one_in(2) => at,
            Some(_) | None => self.now + self.random.below(3_000),
        };
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(effect) = self.engine.next_effect(self.now) {
            count += 1;
            assert!(count < 10_000, "the engine does not come to rest: {effect:?}");
            let crashes = match self.crashes {
                Crashes::Never => false,
                Crashes::Sometimes => self.random.one_in(20),
                Crashes::At(number) => self.effects == number,
            };
            self.effects += 1;
            if crashes { self.crash(effect) } else { self.carry_out(effect) }
        }
        self.booted = self.engine.has_booted();
        let due = self.engine.deadline();
        assert!(due.is_none_or(|at| at > self.now), "a deadline has passed and is still there: {due:?}");
    }

    /// The daemon dies over this effect, and a new one finds the rows and the kernel as they are.
    fn crash(&mut self, effect: Effect) {
        self.say(format_args!("crash over"));
        self.say_effect(effect);
        if self.random.one_in(2) {
            self.carry_out_unheard(effect);
        }
        let empty = Memory { rows: &mut [], groups: &mut [], head: Box::leak(Box::new(Head::zeroed())) };
        let engine = std::mem::replace(&mut self.engine, Engine::new(empty));
        let table = parse(&self.lines).expect("it was read before");
        let memory = Memory { rows: engine.rows, groups: engine.groups, head: engine.head };
        let children = |pid: u32| self.kernel.alive.contains_key(&pid);
        self.engine = Engine::adopt(memory, table, children, self.now).expect("there is room");
        // What was under way is told again, of whichever group.
        self.only = None;
    }

    /// What the kernel sees of an effect whose answer is never heard.
    fn carry_out_unheard(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { row } => {
                self.check_start(row);
                let pid = self.start_process(row);
                // By CLONE_PARENT_SETTID.
                self.engine.rows[row as usize].pid.store(pid, std::sync::atomic::Ordering::Release);
            }
            Effect::Stop { pid, .. } | Effect::Kill { pid, .. } => {
                let process = self.kernel.alive.get_mut(&pid).expect("it is alive");
                let obeys =
                    if matches!(effect, Effect::Stop { .. }) { !process.stubborn } else { !process.immortal };
                if obeys {
                    process.dying = Some(Ending::Badly);
                }
            }
            Effect::Sweep { row, kill: true, .. } => {
                self.kernel.left.remove(&row);
            }
            Effect::Sweep { .. } | Effect::EndLog { .. } | Effect::Exit { .. } => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        self.say_effect(effect);
        self.check_untouched(effect);
        match effect {
            Effect::Spawn { row } => self.spawn(row),
            Effect::Stop { row, pid } => {
                assert_eq!(self.engine.row(row).expect("a row").pid(), pid);
                let process = self.kernel.alive.get_mut(&pid).expect("what is stopped is alive");
                process.asked = true;
                if !process.stubborn {
                    process.dying = Some(Ending::Badly);
                }
            }
            Effect::Kill { row, pid } => {
                let process = self.kernel.alive.get_mut(&pid).expect("what is killed is alive");
                assert_eq!(process.row, row, "the wrong process is killed");
                assert!(process.asked, "it is killed, and was never asked to go");
                if !process.immortal {
                    process.dying = Some(Ending::Badly);
                }
            }
            Effect::EndLog { row } => {
                let readers = |pid: &&Process| pid.row == row;
                let mut alive = self.kernel.alive.values();
                assert!(alive.any(|process| readers(&process)), "a log ends that nobody reads");
                for process in self.kernel.alive.values_mut().filter(|process| process.row == row) {
                    process.asked = true;
                    process.dying = (!process.stubborn).then_some(Ending::Well);
                }
            }
            Effect::Sweep { row, kill, .. } => {
                let alive = self.kernel.alive.values().any(|process| process.row == row);
                assert!(!alive, "a sweep while the main process is alive");
                let left = self.kernel.left.contains_key(&row);
                if kill && !self.random.one_in(50) {
                    self.kernel.left.remove(&row);
                    // An orphan has died: everybody who looks for one looks again, whatever was told.
                    self.only = None;
                    self.engine
                        .handle(Event::Ended { pid: 1, last: Last::Exit(0), ending: Ending::Well }, self.now);
                }
                self.engine.handle(Event::Swept { row, left }, self.now);
            }
            Effect::Exit { status } => {
                let stuck = |process: &Process| {
                    matches!(self.engine.row(process.row).map(Row::state), Some(ChildState::Stuck { .. }))
                };
                let left = self.kernel.alive.values().find(|process| !stuck(process));
                assert!(left.is_none(), "gone before {left:?}");
                self.exited = Some(status);
            }
        }
    }

    fn spawn(&mut self, row: u32) {
        self.check_start(row);
        if self.random.one_in(25) {
            self.engine.handle(Event::Refused { row, errno: 11 }, self.now);
            return self.comes_back(row);
        }
        if self.random.one_in(60) {
            let last = Last::Fault { step: 10, errno: 2 };
            self.engine.handle(Event::Unable { row, last }, self.now);
            return;
        }
        let pid = self.start_process(row);
        self.engine.handle(Event::Spawned { row, pid }, self.now);
    }

    fn start_process(&mut self, row: u32) -> u32 {
        self.kernel.next_pid += 1;
        let pid = self.kernel.next_pid + 1;
        let dying = match self.random.below(60) {
            0 => Some(Ending::Badly),
            1 => Some(Ending::Wanting),
            2 => Some(Ending::NoTerminal),
            _ => None,
        };
        let tag = self.engine.row(row).expect("a row").tag().to_vec();
        let (stubborn, immortal) = (self.random.one_in(6), self.random.one_in(400));
        let twin = self.kernel.alive.values().find(|process| process.row == row);
        assert!(twin.is_none(), "a second process for {}", String::from_utf8_lossy(&tag));
        self.again.remove(&row);
        self.kernel.alive.insert(pid, Process { row, tag, stubborn, immortal, dying, asked: false });
        pid
    }

    /// What could not be started, or is started by name, has had its turn and comes back by itself: also when its occasion has come again
    /// meanwhile, and an entry above it begins anew.
    fn comes_back(&mut self, row: u32) {
        if self.engine.occasion(row).is_of_the_whole() {
            self.again.insert(row);
        }
    }

    /// Other groups are not touched by a tell: not one effect for them.
    fn check_untouched(&self, effect: Effect) {
        let Some(row) = effect_row(effect) else { return };
        if let Some(slot) = self.only {
            let group = self.engine.row(row).expect("a row").group;
            // The reader of a log in another group, told to go together with its writers before this tell,
            // goes when the last of them is gone.
            let reader = self.engine.is_reader(row);
            assert!(group == slot || reader, "an effect for another group: {effect:?}");
        }
    }

    /// Nothing below a `wait` or a `test` starts before that has ended.
    fn check_start(&self, row: u32) {
        let record = self.engine.row(row).expect("a row");
        let group = self.engine.group(record.group).expect("a group");
        let Some(entry) = self.engine.entry(row) else { panic!("an entry that is gone is started") };
        let occasion = entry.action().occasion();
        match occasion {
            Occasion::Level => {
                assert!(entry.levels().has(group.level()), "started outside its level");
                assert!(!self.stopped.contains(&row), "it was stopped by name");
                self.check_booted(&entry);
            }
            Occasion::Demand => assert!(group.level() != b"0", "a group that is stopped serves a demand"),
            Occasion::Shutdown => self.check_alone(&entry),
            _ => assert!(!self.engine.is_going_down(), "it begins to go down: {:?}", entry.tag()),
        }
        let takes_turns = match occasion {
            Occasion::Level => group.phase() == Phase::Entering,
            Occasion::Demand => false,
            _ => !self.again.contains(&row),
        };
        if !takes_turns {
            return;
        }
        for above in self.engine.table.entries().take(entry.index() as usize) {
            let together = match occasion {
                Occasion::Level => above.group() == entry.group() && above.levels().has(group.level()),
                _ => true,
            };
            let same = together && above.action().occasion() == occasion;
            if same && above.action().is_waited_for() {
                self.check_ended(&entry, &above);
            }
        }
    }

    /// What others wait for has ended, or holds them back no more.
    fn check_ended(&self, entry: &Entry, above: &Entry) {
        let row = self.engine.find_row(above.tag()).expect("a row");
        let record = self.engine.row(row).expect("a row");
        let runs = self.kernel.alive.values().any(|process| process.row == row);
        let stuck = matches!(record.state(), ChildState::Stuck { .. });
        let let_go = record.is(Flags::RELEASED) || self.by_name.contains(&row);
        assert!(!runs || let_go || stuck, "{:?} starts while {:?} runs", entry.tag(), above.tag());
    }

    /// Nothing of a level starts before the boot is over.
    fn check_booted(&self, entry: &Entry) {
        let boots = |above: &Entry| matches!(above.action(), Action::Sysinit | Action::Bootwait);
        let table = &self.engine.table;
        let above = table.entries().filter(boots).filter(|_| !self.booted);
        above.for_each(|above| self.check_ended(entry, &above));
        assert!(self.engine.has_booted(), "{:?} starts while the machine boots", entry.tag());
    }

    /// The `shutdown` entries come when everything else is gone.
    fn check_alone(&self, entry: &Entry) {
        for process in self.kernel.alive.values() {
            let stuck =
                matches!(self.engine.row(process.row).map(Row::state), Some(ChildState::Stuck { .. }));
            let goes_down = self.engine.occasion(process.row) == Occasion::Shutdown;
            assert!(stuck || goes_down, "{:?} starts while {:?} runs", entry.tag(), process.tag);
        }
    }

    fn check(&self) {
        self.check_processes();
        self.check_counters();
        for &slot in self.engine.group_slots() {
            self.check_settled(slot);
        }
    }

    /// No process without a row, no row that lies about its process, at most one process for an entry.
    fn check_processes(&self) {
        let mut rows = BTreeSet::new();
        for (pid, process) in &self.kernel.alive {
            assert!(rows.insert(process.row), "two processes in one row");
            let record = self.engine.row(process.row).expect("a process without a row");
            assert_eq!(record.tag(), process.tag, "a row was given away under its process");
            assert_eq!(record.state().pid(), Some(*pid), "a row lies: {:?}", record.state());
            assert_eq!(self.engine.row_of_pid(*pid), Some(process.row));
        }
        for row in 0..self.engine.head.rows_used {
            if let Some(pid) = self.engine.rows[row as usize].state().pid() {
                assert!(
                    pid == 0 || self.kernel.alive.contains_key(&pid),
                    "a row has a process that is not there"
                );
            }
        }
    }

    fn check_counters(&self) {
        let mut active = 0;
        let mut leaving = vec![0; self.engine.rosters.len()];
        for row in 0..self.engine.head.rows_used {
            let record = &self.engine.rows[row as usize];
            let is_active = !record.is_vacant() && record.state().is_active();
            active += u32::from(is_active);
            if is_active && record.goal() == Goal::Down {
                leaving[record.group as usize] += 1;
            }
        }
        assert_eq!(active, self.engine.active);
        for (roster, leaving) in self.engine.rosters.iter().zip(leaving) {
            assert_eq!(roster.leaving, leaving);
        }
    }

    /// Nothing of a level that was left runs after the switch has settled.
    fn check_settled(&self, slot: u32) {
        let Some(group) = self.engine.group(slot) else { return };
        if !matches!(group.phase(), Phase::Settled(_)) || self.reread.contains(&slot) {
            return;
        }
        for process in self.kernel.alive.values() {
            let record = self.engine.row(process.row).expect("a row");
            let stuck = matches!(record.state(), ChildState::Stuck { .. });
            let of_the_whole = self.engine.occasion(process.row).is_of_the_whole();
            if record.group != slot || stuck {
                continue;
            }
            if of_the_whole && record.goal() == Goal::Up {
                assert!(self.engine.is_called(process.row), "{:?} was not called", process.tag);
            } else {
                let entry = self.engine.entry(process.row).expect("it was not re-read");
                let stopped = group.phase() == Phase::Settled(Verdict::Stopped);
                let by_demand = entry.action() == Action::Ondemand && record.is(Flags::CALLED);
                let has = (by_demand || entry.levels().has(group.level())) && !stopped;
                let leaving = record.goal() == Goal::Down;
                assert!(has || leaving, "{:?} runs at {:?}", process.tag, group.level());
            }
        }
        if let Phase::Settled(Verdict::Run | Verdict::Fail) = group.phase() {
            self.check_running(slot);
        }
    }

    /// What has a place in the level of a group that has settled is there: a service runs, or is due, or cannot be
    /// had; what runs once has had its turn.
    fn check_running(&self, slot: u32) {
        let group = self.engine.group(slot).expect("a group");
        if group.is(GroupFlags::BROKEN) {
            return;
        }
        for entry in self.engine.table.entries() {
            let row = self.engine.find_row(entry.tag()).expect("a row");
            let record = self.engine.row(row).expect("a row");
            let by_level = entry.action().occasion() == Occasion::Level;
            let wanted = by_level && record.group == slot && entry.levels().has(group.level());
            if !wanted || record.is(Flags::MANUAL) {
                continue;
            }
            let state = record.state();
            // What was stuck when its turn came has lost it, and its group has failed for it.
            let lost = state == ChildState::Down && group.phase() == Phase::Settled(Verdict::Fail);
            let given_up = matches!(state, ChildState::Failed | ChildState::Stuck { .. });
            let there = match entry.action() {
                Action::Respawn => record.goal() == Goal::Up && state.is_active(),
                _ => record.is(Flags::RAN) || state.is_active() || lost,
            };
            assert!(
                there || given_up,
                "{:?} is {state:?} at {:?}, {:?}",
                entry.tag(),
                group.level(),
                record.flags
            );
        }
    }

    /// Every switch settles, if the processes do their part.
    fn settle_all(&mut self) {
        for _ in 0..2_000 {
            let under = |slot: &u32| {
                let group = self.engine.group(*slot).expect("a group");
                !matches!(group.phase(), Phase::Settled(_))
            };
            if !self.engine.group_slots().iter().any(under) {
                self.settles += 1;
                return;
            }
            let pids: Vec<u32> = self.kernel.alive.keys().copied().collect();
            for pid in pids {
                let process = self.kernel.alive[&pid].clone();
                let action = self.engine.entry(process.row).map(|entry| entry.action());
                // What SIGKILL does not end may still come to its own end; a service never does.
                let by_itself = action.is_some_and(|action| action != Action::Respawn);
                let ends = process.dying.is_some() || by_itself;
                self.engine.handle(Event::Ready { row: process.row }, self.now);
                if ends {
                    self.end(pid, process.dying.unwrap_or(Ending::Well));
                }
            }
            self.drain();
            self.now = self.engine.deadline().unwrap_or(self.now + 100).min(self.now + 20_000);
            self.drain();
            self.check();
        }
        for row in self.engine.used_rows() {
            let tag = String::from_utf8_lossy(row.tag());
            eprintln!("{tag} group {} {:?} {:?} flags {}", row.group, row.state(), row.goal(), row.flags);
        }
        for slot in self.engine.group_slots() {
            let group = self.engine.group(*slot).expect("a group");
            eprintln!("{slot} {:?} waits for {:?}", group.phase(), self.engine.waits_for(*slot));
        }
        panic!("a switch does not settle");
    }
}

fn effect_row(effect: Effect) -> Option<u32> {
    match effect {
        Effect::Spawn { row }
        | Effect::Stop { row, .. }
        | Effect::Kill { row, .. }
        | Effect::EndLog { row }
        | Effect::Sweep { row, .. } => Some(row),
        Effect::Exit { .. } => None,
    }
}

/// Plays a history; how many effects there were.
fn play(seed: u64, steps: u64, crashes: Crashes, told: bool) -> u64 {
    let mut rows: Vec<Row> = (0..64).map(|_| Row::zeroed()).collect();
    let mut groups: Vec<GroupRow> = (0..16).map(|_| GroupRow::zeroed()).collect();
    let mut head = Head::zeroed();
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let lines = make_table(&mut random);
    let memory = Memory { rows: &mut rows, groups: &mut groups, head: &mut head };
    let mut world = World {
        random,
        now: 1_000,
        engine: Engine::new(memory),
        kernel: Kernel::default(),
        lines,
        reread: BTreeSet::new(),
        by_name: BTreeSet::new(),
        stopped: BTreeSet::new(),
        again: BTreeSet::new(),
        exited: None,
        only: None,
        settles: 0,
        booted: false,
        told,
        crashes,
        effects: 0,
    };
    if let Some(table) = parse(&world.lines) {
        world.engine.load(table, world.now).expect("there is room");
    }
    match world.random.below(3) {
        0 => world.engine.begin(world.now),
        kind => world.engine.boot(kind == 1, world.now),
    }
    world.drain();
    for _ in 0..steps {
        world.step();
    }
    world.settle_all();
    stop_all(&mut world);
    world.effects
}

/// At the end everything goes down, and the daemon with it.
fn stop_all(world: &mut World) {
    let way = [None, Some(b'0'), Some(b'6')][world.random.below(3) as usize];
    world.engine.go_down(Farewell { status: 3, way }, world.now);
    world.drain();
    world.settle_all();
    for _ in 0..200 {
        let pids: Vec<u32> = world.kernel.alive.keys().copied().collect();
        for pid in pids {
            let process = &world.kernel.alive[&pid];
            // A `shutdown` entry may end by itself, or be stopped because it takes too long.
            let by_itself = (!process.immortal && world.random.one_in(2)).then_some(Ending::Badly);
            if let Some(ending) = process.dying.or(by_itself) {
                world.end(pid, ending);
            }
        }
        world.drain();
        world.now = world.engine.deadline().unwrap_or(world.now);
        world.drain();
    }
    assert_eq!(world.exited, Some(3), "it does not end");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Plays one history, and once more with words if it breaks the engine.
fn play_or_tell(seed: u64, steps: u64, crashes: Crashes, again: &str) -> u64 {
    std::panic::catch_unwind(|| play(seed, steps, crashes, false)).unwrap_or_else(|_| {
        eprintln!("seed {seed} breaks the engine: {again}. Once more, told:");
        play(seed, steps, crashes, true);
        panic!("seed {seed} breaks the engine once, and not twice");
    })
}

fn play_many(first_seed: u64, steps: u64) {
    let mut done = 0;
    let mut seed = first_seed;
    while done < steps {
        // Every second daemon is one that crashes.
        let crashes = if seed % 2 == 0 { Crashes::Sometimes } else { Crashes::Never };
        play_or_tell(seed, 500, crashes, &format!("make sim SEED={seed} STEPS=500"));
        done += 500;
        seed += 1;
    }
    println!("simulation: {done} steps, seeds {first_seed} to {}", seed - 1);
}

#[test]
fn a_million_steps() {
    play_many(number("ISINIT_SIM_SEED", 1), number("ISINIT_SIM_STEPS", 1_000_000));
}

#[test]
fn a_crash_over_each_effect_of_a_history() {
    for seed in 1_000..1_010 {
        let effects = play(seed, 40, Crashes::Never, false);
        for number in 0..effects {
            play_or_tell(seed, 40, Crashes::At(number), &format!("it crashes over effect {number} of it"));
        }
    }
}

/// Bytes that nobody has written are no reason to signal anybody, and no reason to break.
#[test]
fn rows_of_random_bytes_are_quarantined() {
    for seed in 1..2_000 {
        let mut random = Random(seed);
        let mut rows: Vec<Row> = (0..64).map(|_| Row::random(|| random.below(256) as u8)).collect();
        let mut groups: Vec<GroupRow> =
            (0..16).map(|_| GroupRow::random(|| random.below(256) as u8)).collect();
        let mut head = Head::from_bytes(&mut || random.below(256) as u8);
        head.rows_used = random.below(80) as u32;
        head.groups_used = random.below(20) as u32;
        let table = parse(&make_table(&mut random)).unwrap_or_else(Table::empty);
        let memory = Memory { rows: &mut rows, groups: &mut groups, head: &mut head };
        // Two of our children are named in there, perhaps; nobody else is.
        let is_child = |pid: u32| pid % 97 == 0;
        let Ok(mut engine) = Engine::adopt(memory, table, is_child, 1_000) else { continue };
        engine.begin(1_000);
        let mut pid = 1_000_000;
        for now in (1_000..100_000).step_by(5_000) {
            for _ in 0..1_000 {
                match engine.next_effect(now) {
                    None => break,
                    Some(Effect::Spawn { row }) => {
                        pid += 1;
                        engine.handle(Event::Spawned { row, pid }, now);
                    }
                    Some(Effect::Sweep { row, .. }) => engine.handle(Event::Swept { row, left: false }, now),
                    Some(Effect::Stop { pid, .. } | Effect::Kill { pid, .. }) => {
                        assert!(is_child(pid) || pid > 1_000_000, "{pid} is not ours");
                    }
                    Some(Effect::EndLog { .. } | Effect::Exit { .. }) => {}
                }
            }
        }
    }
}

fn with_engine(table: &[u8], test: impl FnOnce(&mut Engine)) {
    let mut rows: Vec<Row> = (0..8).map(|_| Row::zeroed()).collect();
    let mut groups: Vec<GroupRow> = (0..4).map(|_| GroupRow::zeroed()).collect();
    let mut head = Head::zeroed();
    let mut engine = Engine::new(Memory { rows: &mut rows, groups: &mut groups, head: &mut head });
    engine.load(Table::parse("t", table).expect("a table").table, 0).expect("room");
    test(&mut engine);
}

#[test]
fn outcomes_follow_their_ticket() {
    with_engine(b"g:a:1:wait:/bin/a\n", |engine| {
        let ticket = engine.tell(b"g", b"1", Tell::default(), 0).expect("told");
        assert_eq!(engine.next_effect(0), Some(Effect::Spawn { row: 0 }));
        engine.handle(Event::Spawned { row: 0, pid: 7 }, 0);
        assert_eq!(engine.next_effect(0), None);
        assert_eq!(engine.outcome(ticket), Outcome::Under);
        let later = engine.tell(b"g", b"1", Tell::default(), 1).expect("told");
        assert_eq!(engine.outcome(ticket), Outcome::Overtaken);
        engine.handle(Event::Ended { pid: 7, last: Last::Exit(0), ending: Ending::Well }, 2);
        assert_eq!(engine.next_effect(2), None);
        assert_eq!(engine.outcome(later), Outcome::Settled(Verdict::Run));
        assert_eq!(engine.row(0).map(|row| row.entry != NONE), Some(true));
    });
}

#[test]
fn five_starts_in_ten_seconds_are_followed_by_exactly_sixty_of_rest() {
    with_engine(b"g:a:1:respawn:/bin/a\n", |engine| {
        engine.tell(b"g", b"1", Tell::default(), 1_000).expect("told");
        let mut pid = 10;
        let mut live = |engine: &mut Engine, from: Ms, to: Ms| {
            assert_eq!(engine.next_effect(from), Some(Effect::Spawn { row: 0 }));
            pid += 1;
            engine.handle(Event::Spawned { row: 0, pid }, from);
            assert_eq!(engine.next_effect(from), None);
            engine.handle(Event::Ended { pid, last: Last::Exit(1), ending: Ending::Badly }, to);
        };
        // The second time what went before does not count any more.
        for begun in [1_000, 68_500] {
            for start in 0..5 {
                live(engine, begun + start * 1_500, begun + (start + 1) * 1_500);
            }
            let ended = begun + 5 * 1_500;
            let until = ended + 60_000;
            assert_eq!(engine.next_effect(ended), None);
            assert_eq!(engine.row(0).map(Row::state), Some(ChildState::Held { until }));
            assert_eq!(engine.deadline(), Some(until));
            assert_eq!(engine.next_effect(until - 1), None);
        }
    });
}

#[test]
fn five_starts_in_more_than_ten_seconds_are_no_loop() {
    with_engine(b"g:a:1:respawn:/bin/a\n", |engine| {
        engine.tell(b"g", b"1", Tell::default(), 0).expect("told");
        for start in 0..50 {
            let now = start * 2_500;
            assert_eq!(engine.next_effect(now), Some(Effect::Spawn { row: 0 }));
            engine.handle(Event::Spawned { row: 0, pid: 9 }, now);
            assert_eq!(engine.next_effect(now), None);
            engine.handle(Event::Ended { pid: 9, last: Last::Exit(0), ending: Ending::Well }, now + 2_500);
        }
    });
}

/// Starts what is to be started, each with a process of its own: the tags, in their order.
fn start_all(engine: &mut Engine, pids: &mut u32, now: Ms) -> Vec<String> {
    let mut started = Vec::new();
    while let Some(effect) = engine.next_effect(now) {
        let Effect::Spawn { row } = effect else { continue };
        started.push(String::from_utf8_lossy(engine.row(row).expect("a row").tag()).into_owned());
        *pids += 1;
        engine.handle(Event::Spawned { row, pid: *pids }, now);
    }
    started
}

fn end_well(engine: &mut Engine, tag: &[u8], now: Ms) {
    let row = engine.find_row(tag).expect("a row");
    let pid = engine.row(row).and_then(|record| record.state().pid()).expect("it runs");
    engine.handle(Event::Ended { pid, last: Last::Exit(0), ending: Ending::Well }, now);
}

const MACHINE: &[u8] =
    b"g:s1::sysinit:x\ng:r:2:respawn:x\ng:b1::boot:x\ng:b2::bootwait:x\ng:id:2:initdefault:\n\
    g:s2::sysinit:x\nh:d0:0:shutdown:x\nh:d6:6:shutdown,stop-timeout=3:x\n";

#[test]
fn a_machine_boots_in_its_order() {
    with_engine(MACHINE, |engine| {
        let mut pids = 10;
        engine.boot(false, 0);
        assert_eq!(start_all(engine, &mut pids, 0), ["s1"]);
        assert!(
            engine.tell(b"h", b"3", Tell { force: true, revert: false }, 0).is_ok(),
            "it is taken, for later"
        );
        assert_eq!(engine.levels_of(engine.find_row(b"s1").expect("a row")).0, b"S");
        end_well(engine, b"s1", 1);
        assert_eq!(start_all(engine, &mut pids, 1), ["s2"]);
        end_well(engine, b"s2", 2);
        assert_eq!(start_all(engine, &mut pids, 2), ["b1", "b2"]);
        end_well(engine, b"b2", 3);
        assert_eq!(start_all(engine, &mut pids, 3), ["r"], "nobody waits for b1");
    });
}

#[test]
fn a_machine_goes_down_by_the_way_it_was_told_and_a_shutdown_entry_has_its_time() {
    with_engine(MACHINE, |engine| {
        let mut pids = 10;
        engine.boot(true, 0);
        for tag in [&b"s1"[..], b"s2", b"b2"] {
            start_all(engine, &mut pids, 0);
            end_well(engine, tag, 0);
        }
        assert_eq!(start_all(engine, &mut pids, 0), [""; 0], "alone: no group enters its level by itself");
        engine.go_down(Farewell { status: 0, way: Some(b'6') }, 10);
        assert_eq!(start_all(engine, &mut pids, 10), [""; 0], "b1 still runs");
        end_well(engine, b"b1", 20);
        let b1 = engine.find_row(b"b1").expect("a row");
        while let Some(effect) = engine.next_effect(20) {
            match effect {
                Effect::Sweep { .. } => engine.handle(Event::Swept { row: b1, left: false }, 20),
                Effect::Spawn { row } => {
                    assert_eq!(engine.row(row).expect("a row").tag(), b"d6");
                    engine.handle(Event::Spawned { row, pid: 99 }, 20);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(engine.deadline(), Some(3_020), "its stop-timeout");
        assert_eq!(
            engine.next_effect(3_020),
            Some(Effect::Stop { row: engine.find_row(b"d6").expect("a row"), pid: 99 })
        );
    });
}

#[test]
fn what_is_on_demand_leaves_the_group_where_it_is() {
    with_engine(b"g:r:2:respawn:x\ng:d:a:ondemand:x\ng:e:b:ondemand:x\n", |engine| {
        let mut pids = 10;
        engine.begin(0);
        assert_eq!(
            engine.tell(b"g", b"a", Tell::default(), 0),
            Err(super::Refusal::NoPlace),
            "it is nowhere"
        );
        engine.tell(b"g", b"2", Tell::default(), 0).expect("told");
        assert_eq!(start_all(engine, &mut pids, 0), ["r"]);
        let ticket = engine.tell(b"g", b"a", Tell::default(), 0).expect("told");
        assert_eq!(start_all(engine, &mut pids, 0), ["d"]);
        assert_eq!(engine.outcome(ticket), Outcome::Settled(Verdict::Run));
        assert_eq!(engine.group(0).expect("a group").level(), b"2");
        engine.tell(b"g", b"2", Tell::default(), 0).expect("told");
        assert_eq!(engine.next_effect(0), None, "both run on");
        engine.tell(b"g", b"0", Tell::default(), 0).expect("told");
        assert!(matches!(engine.next_effect(0), Some(Effect::Stop { .. })));
        assert!(matches!(engine.next_effect(0), Some(Effect::Stop { .. })));
    });
}
