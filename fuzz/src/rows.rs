//! Memory that an earlier life has left, or somebody else: any bytes as head, groups and rows; then a history.
//!
//! An input is a table, up to the first zero byte (one that is none stands for [`TABLE`]), then numbers: how many
//! groups and rows follow, the head, the groups, the rows; which of the rows' processes are children of ours; and
//! then what happens, step by step, as in the engine's own simulation. Where the numbers end they are 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use isinit::engine::child::{ChildState, Ending};
use isinit::engine::plan::Plan;
use isinit::engine::rows::{GroupRow, Head, Last, Row};
use isinit::engine::{Effect, Engine, Event, Farewell, Memory, Ms, Tell};
use isinit::isinittab::{Entry, Occasion, Table};
use isinit::limits::PID_MAX;

const ROWS: usize = 12;
const GROUPS: usize = 6;

/// Nothing comes to so many effects at one time that comes to an end.
const EFFECTS_MAX: u32 = 2_000;

/// The table of those inputs that bring none.
pub const TABLE: &[u8] = b"g:a:1:respawn,limit=2/5/7:x\ng:w:12:wait,ready=3,ready-timeout=1:x\n\
    g:t:2:test,fail=group:x\ng:r:2:respawn,log=a:x\nh:d:a:ondemand:x\nh:s::sysinit:x\nh:p::powerfail:x\n\
    h:z:06:shutdown,stop-timeout=1:x\ng:id:1:initdefault:\n";

/// Whatever the memory holds: nobody is signalled who is not ours, every step comes to rest, a crash loses no process,
/// and in the end all can be brought down.
pub fn check(input: &[u8]) {
    let text = input.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut numbers = Numbers(input.get(text.len() + 1..).unwrap_or(&[]));
    let parse = |text: &[u8]| Table::parse("fuzz", text).map(|loaded| loaded.table);
    let table = parse(text).or_else(|_| parse(TABLE)).expect("a table");
    if table.len() > ROWS || table.groups() > GROUPS {
        return;
    }
    let left = Left::of(&mut numbers);
    goes_on(left, &table, numbers);
}

/// Lives of a daemon, the first of which finds this.
pub fn goes_on(mut left: Left, table: &Table, numbers: Numbers) {
    let mut world = World::beside(&left, numbers);
    while let Ok(mut engine) =
        Engine::adopt(left.memory(), table.clone(), |pid| world.is_child(pid), world.now)
    {
        world.begin(&mut engine);
        if world.live(&mut engine) == Life::Over {
            return;
        }
    }
}

/// What is left of an input.
pub struct Numbers<'i>(pub &'i [u8]);

impl Numbers<'_> {
    pub fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.next()) % n.max(1)
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

/// What is in the memory.
pub struct Left {
    rows: Vec<Row>,
    groups: Vec<GroupRow>,
    head: Head,
}

impl Left {
    /// Nothing.
    pub fn empty() -> Left {
        Left::of(&mut Numbers(&[]))
    }

    fn of(numbers: &mut Numbers) -> Left {
        let (groups, rows) = (numbers.below(GROUPS + 1), numbers.below(ROWS + 1));
        let mut byte = || numbers.next();
        let head = Head::from_bytes(&mut byte);
        let groups: Vec<GroupRow> = (0..groups).map(|_| GroupRow::from_bytes(&mut byte)).collect();
        let rows: Vec<Row> = (0..rows).map(|_| Row::from_bytes(&mut byte)).collect();
        // What nobody has written is zero.
        let groups = groups.into_iter().chain(std::iter::repeat_with(|| GroupRow::from_bytes(&mut || 0)));
        let rows = rows.into_iter().chain(std::iter::repeat_with(|| Row::from_bytes(&mut || 0)));
        Left { rows: rows.take(ROWS).collect(), groups: groups.take(GROUPS).collect(), head }
    }

    pub fn memory(&mut self) -> Memory<'_> {
        Memory { rows: &mut self.rows, groups: &mut self.groups, head: &mut self.head }
    }
}

/// Did this life of the daemon end with a crash?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Crashed,
    Over,
}

/// A process that is a child of ours.
#[derive(Clone, Copy, Default)]
struct Child {
    /// Its row, once it is known that it has one.
    row: Option<u32>,
    /// It has got a signal, or the end of its log.
    asked: bool,
}

struct World<'i> {
    numbers: Numbers<'i>,
    now: Ms,
    children: BTreeMap<u32, Child>,
    /// Those that a row names or has named, or that have ended: a sweep may speak of them.
    named: BTreeSet<u32>,
    last_pid: u32,
    /// So many effects until the next crash.
    crash_in: Option<usize>,
    lives: u32,
    is_over: bool,
}

impl<'i> World<'i> {
    fn beside(memory: &Left, mut numbers: Numbers<'i>) -> World<'i> {
        let mut children = BTreeMap::new();
        let mut named = BTreeSet::from([0]);
        for row in &memory.rows {
            let pid = row.pid();
            if (2..=PID_MAX).contains(&pid) {
                named.insert(pid);
                if !numbers.one_in(4) {
                    children.insert(pid, Child::default());
                }
            }
        }
        World {
            numbers,
            now: 1_000_000,
            children,
            named,
            last_pid: 1_000_000,
            crash_in: None,
            lives: 0,
            is_over: false,
        }
    }

    fn is_child(&self, pid: u32) -> bool {
        self.children.contains_key(&pid)
    }

    /// The first life finds any bytes, the later ones what those before have left: then no process may be lost.
    fn begin(&mut self, engine: &mut Engine) {
        self.lives += 1;
        let is_first = self.lives == 1;
        for (pid, child) in &mut self.children {
            let row = engine.row_of_pid(*pid);
            assert!(is_first || child.row.is_none() || row == child.row, "{pid} was lost in a crash");
            (child.row, child.asked) = (row, child.asked && !is_first);
        }
        if !is_first {
            return;
        }
        match self.numbers.below(4) {
            0 => {}
            1 => engine.begin(self.now),
            kind => engine.boot(kind == 2, self.now),
        }
    }

    fn live(&mut self, engine: &mut Engine) -> Life {
        let mut life = self.drain(engine);
        while life.is_none() && !self.numbers.0.is_empty() {
            self.step(engine);
            life = self.drain(engine);
        }
        life.or_else(|| self.go_down(engine)).unwrap_or(Life::Over)
    }

    fn step(&mut self, engine: &mut Engine) {
        match self.numbers.below(16) {
            0 => self.now += u64::from(self.numbers.next()) * 100,
            1 => self.now = engine.deadline().unwrap_or(self.now).max(self.now),
            2 | 3 => self.end_one(engine),
            4 => {
                let row = self.numbers.below(engine.head().rows_used as usize) as u32;
                if engine.head().rows_used > 0 {
                    engine.handle(Event::Ready { row }, self.now);
                }
            }
            5 | 6 => self.tell(engine),
            7 => self.order(engine),
            8 => self.happen(engine),
            9 => self.reread(engine),
            10 => engine.refresh(self.now),
            11 => {
                let way = [None, Some(b'0'), Some(b'6')][self.numbers.below(3)];
                engine.go_down(Farewell { status: self.numbers.next(), way }, self.now);
            }
            12 => self.orphan_ends(engine),
            13 => self.crash_in = Some(self.numbers.below(8)),
            _ => self.ask(engine),
        }
    }

    fn end_one(&mut self, engine: &mut Engine) {
        let pids: Vec<u32> = self.children.keys().copied().collect();
        if let Some(pid) = pids.get(self.numbers.below(pids.len())) {
            let (last, ending) = match self.numbers.below(5) {
                0 => (Last::Exit(0), Ending::Well),
                1 => (Last::Exit(7), Ending::Badly),
                2 => (Last::Signal(9), Ending::Badly),
                3 => (Last::Fault { step: 5, errno: 11 }, Ending::Wanting),
                _ => (Last::Fault { step: 2, errno: 6 }, Ending::NoTerminal),
            };
            self.end(engine, *pid, last, ending);
        }
    }

    fn end(&mut self, engine: &mut Engine, pid: u32, last: Last, ending: Ending) {
        self.children.remove(&pid);
        engine.handle(Event::Ended { pid, last, ending }, self.now);
    }

    fn orphan_ends(&mut self, engine: &mut Engine) {
        let pid = self.new_pid();
        engine.handle(Event::Ended { pid, last: Last::Exit(0), ending: Ending::Well }, self.now);
    }

    fn tell(&mut self, engine: &mut Engine) {
        let (group, level) = (self.group(engine), self.level(engine));
        let how = Tell { force: self.numbers.one_in(2), revert: self.numbers.one_in(2) };
        if let Ok(ticket) = engine.tell(&group, &level, how, self.now) {
            engine.outcome(ticket);
        }
    }

    fn group(&mut self, engine: &Engine) -> Vec<u8> {
        let slots = engine.group_slots();
        let slot = slots.get(self.numbers.below(slots.len() + 1));
        slot.and_then(|slot| engine.group(*slot)).map_or(b"nobody".to_vec(), |group| group.name().to_vec())
    }

    /// One that the table names, or one of those that have a meaning of their own.
    fn level(&mut self, engine: &Engine) -> Vec<u8> {
        let levels = |entry: Entry| entry.levels().words().next().map(<[u8]>::to_vec);
        let mut levels: Vec<Vec<u8>> = engine.table().entries().filter_map(levels).collect();
        levels.extend([&b"0"[..], b"S", b"1", b"2", b"a", b"", b"nowhere"].map(<[u8]>::to_vec));
        levels.swap_remove(self.numbers.below(levels.len()))
    }

    fn order(&mut self, engine: &mut Engine) {
        let number = self.numbers.below(engine.table().len()) as u32;
        let tag = engine.table().entry(number).map_or(Vec::new(), |entry| entry.tag().to_vec());
        // One that has no place here is refused.
        let _ = match self.numbers.below(3) {
            0 => engine.stop_entry(&tag),
            1 => engine.start_entry(&tag, self.now),
            _ => engine.restart_entry(&tag, self.now),
        };
    }

    fn happen(&mut self, engine: &mut Engine) {
        let occasions = [
            Occasion::PowerFails,
            Occasion::PowerLow,
            Occasion::PowerBack,
            Occasion::CtrlAltDel,
            Occasion::KbRequest,
        ];
        engine.call(occasions[self.numbers.below(occasions.len())], self.now);
    }

    /// The table again, without some of its lines.
    fn reread(&mut self, engine: &mut Engine) {
        let mask = self.numbers.next();
        let keeps = |entry: &Entry| mask & (1 << (entry.index() % 8)) == 0;
        let line = |entry: Entry| {
            let (group, tag, levels) = (entry.group_name(), entry.tag(), entry.levels().raw());
            let action = entry.action().name().as_bytes();
            [group, b":", tag, b":", levels, b":", action, b":x\n"].concat()
        };
        let text: Vec<u8> = engine.table().entries().filter(keeps).flat_map(line).collect();
        if let Ok(loaded) = Table::parse("fuzz", &text) {
            // There may be no room beside what still runs.
            let _ = engine.load(loaded.table, self.now);
        }
    }

    /// What is asked for a status or a plan.
    fn ask(&mut self, engine: &Engine) {
        let level = self.level(engine);
        for slot in engine.group_slots() {
            engine.group_state(*slot);
            engine.waits_for(*slot);
            assert!(engine.up(*slot) as usize <= engine.members(*slot).len());
        }
        let table = engine.table();
        for group in 0..table.groups() as u32 {
            let on_demand = table.is_on_demand(group, &level);
            let plan = Plan { table, group, level: &level, on_demand };
            let steps = (0..).map_while(|n| engine.plan_step(plan, n)).flatten();
            steps.for_each(|(_, _, pid)| assert!(pid == 0 || self.is_child(pid), "a plan with {pid}"));
        }
        for row in 0..ROWS as u32 {
            engine.levels_of(row);
            engine.reader(row);
        }
    }

    /// Carries out what is to be done, until there is nothing.
    fn drain(&mut self, engine: &mut Engine) -> Option<Life> {
        let mut count = 0;
        while let Some(effect) = engine.next_effect(self.now) {
            count += 1;
            assert!(count < EFFECTS_MAX, "it does not come to rest: {effect:?}");
            self.is_allowed(engine, effect);
            if self.crash_in == Some(0) {
                self.crash_in = None;
                if self.numbers.one_in(2) {
                    self.carry_out_unheard(engine, effect);
                }
                return Some(Life::Crashed);
            }
            self.crash_in = self.crash_in.map(|effects| effects - 1);
            self.carry_out(engine, effect);
            if self.is_over {
                return Some(Life::Over);
            }
        }
        let due = engine.deadline();
        assert!(due.is_none_or(|at| at > self.now), "a deadline has passed and is still there: {due:?}");
        self.rows_say_the_truth(engine);
        None
    }

    /// Nobody is named who is not ours.
    fn is_allowed(&self, engine: &Engine, effect: Effect) {
        match effect {
            Effect::Spawn { row } => {
                let twin = self.children.iter().find(|(_, child)| child.row == Some(row));
                assert!(twin.is_none(), "a second process for row {row}");
                assert!(engine.entry(row).is_some(), "an entry that is gone is started");
            }
            Effect::Stop { row, pid } | Effect::Kill { row, pid } => {
                let child = self.children.get(&pid);
                assert!(child.is_some(), "{pid} is not ours: {effect:?}");
                assert_eq!(child.and_then(|child| child.row), Some(row), "{effect:?}");
            }
            Effect::Sweep { row, main, .. } => {
                assert!(self.named.contains(&main), "nobody knows of {main}");
                assert!(engine.row_of_pid(main).is_none(), "{main} is another's: {effect:?}");
                let alive = self.children.values().any(|child| child.row == Some(row));
                assert!(!alive, "a sweep while the main process is alive");
            }
            Effect::EndLog { row } => {
                let reads = self.children.values().any(|child| child.row == Some(row));
                assert!(reads, "a log ends that nobody reads");
            }
            Effect::Exit { .. } => self.is_all_down(engine),
        }
    }

    fn is_all_down(&self, engine: &Engine) {
        for (pid, child) in &self.children {
            let state = child.row.and_then(|row| engine.row(row)).map(Row::state);
            let given_up = matches!(state, None | Some(ChildState::Stuck { .. }));
            assert!(given_up, "gone before {pid}, which is {state:?}");
        }
    }

    fn carry_out(&mut self, engine: &mut Engine, effect: Effect) {
        match effect {
            Effect::Spawn { row } => match self.numbers.below(16) {
                14 => engine.handle(Event::Refused { row, errno: 11 }, self.now),
                15 => {
                    let last = Last::Fault { step: 10, errno: 2 };
                    engine.handle(Event::Unable { row, last }, self.now);
                }
                _ => {
                    let pid = self.start(row);
                    engine.handle(Event::Spawned { row, pid }, self.now);
                }
            },
            Effect::Sweep { row, .. } => {
                let left = self.numbers.one_in(4);
                engine.handle(Event::Swept { row, left }, self.now);
            }
            Effect::Stop { row, .. } | Effect::Kill { row, .. } | Effect::EndLog { row } => self.asks(row),
            Effect::Exit { .. } => self.is_over = true,
        }
    }

    /// What the kernel sees of an effect whose answer is never heard.
    fn carry_out_unheard(&mut self, engine: &Engine, effect: Effect) {
        match effect {
            Effect::Spawn { row } => {
                let pid = self.start(row);
                // The kernel stores it before the child runs.
                engine.row(row).expect("a row").pid.store(pid, Ordering::Release);
            }
            Effect::Stop { row, .. } | Effect::Kill { row, .. } => self.asks(row),
            Effect::EndLog { .. } | Effect::Sweep { .. } | Effect::Exit { .. } => {}
        }
    }

    fn start(&mut self, row: u32) -> u32 {
        let pid = self.new_pid();
        self.children.insert(pid, Child { row: Some(row), asked: false });
        pid
    }

    fn new_pid(&mut self) -> u32 {
        self.last_pid += 1;
        while !self.named.insert(self.last_pid) {
            self.last_pid += 1;
        }
        self.last_pid
    }

    fn asks(&mut self, row: u32) {
        self.children
            .values_mut()
            .filter(|child| child.row == Some(row))
            .for_each(|child| child.asked = true);
    }

    /// No row names a process that is not there, and none is named twice.
    fn rows_say_the_truth(&self, engine: &Engine) {
        let mut seen = BTreeSet::new();
        for number in 0..engine.head().rows_used {
            let Some(pid) = engine.row(number).and_then(|row| row.state().pid()).filter(|pid| *pid != 0)
            else {
                continue;
            };
            let state = engine.row(number).map(Row::state);
            assert!(self.is_child(pid), "row {number} has {pid}, which is not there: {state:?}");
            assert!(seen.insert(pid), "{pid} is there twice");
            assert_eq!(engine.row_of_pid(pid), Some(number));
        }
    }

    /// At last all goes down: first what was asked to go ends, then whatever there is.
    fn go_down(&mut self, engine: &mut Engine) -> Option<Life> {
        engine.go_down(Farewell { status: 3, way: Some(b'0') }, self.now);
        for round in 0..100 {
            if let Some(life) = self.drain(engine) {
                return Some(life);
            }
            let ends = |child: &Child| child.asked || round > 50;
            let ending = self.children.iter().filter(|(_, child)| ends(child));
            for pid in ending.map(|(pid, _)| *pid).collect::<Vec<u32>>() {
                self.end(engine, pid, Last::Signal(15), Ending::Badly);
            }
            if let Some(life) = self.drain(engine) {
                return Some(life);
            }
            self.now = engine.deadline().unwrap_or(self.now);
        }
        let left = (0..engine.head().rows_used).filter_map(|row| engine.row(row));
        let left: Vec<_> =
            left.map(|row| (String::from_utf8_lossy(row.tag()), row.state(), row.goal())).collect();
        panic!("it cannot be brought down: {left:?}")
    }
}
