//! The status files: IS::Init's `initstat`, and Cluster::Init's `clstat`. Each is replaced by rename, so that
//! a reader never sees half of one.

use std::path::PathBuf;

use super::line::Line;
use super::messages::place_words;
use crate::engine::Engine;
use crate::engine::child::ChildState;
use crate::engine::rows::{Flags, GroupFlags, Phase, Verdict};
use crate::isinittab::{Action, Settings};
use crate::sys;
use crate::sys::files::Writer;
use crate::sys::place;

type StatLine = Line<512>;

/// One status file.
struct StatFile {
    path: PathBuf,
    failed: bool,
}

/// The files that the table asks for.
pub struct StatFiles {
    initstat: Option<StatFile>,
    clstat: Option<StatFile>,
    order: Vec<u32>,
    number: u64,
}

impl StatFiles {
    /// None yet.
    pub fn new() -> StatFiles {
        StatFiles { initstat: None, clstat: None, order: Vec::new(), number: 0 }
    }

    /// Takes the paths from a table, and the groups in the order of their names. Allocates.
    pub fn prepare(&mut self, settings: &Settings, engine: &Engine) {
        let file = |path: &Option<PathBuf>| path.clone().map(|path| StatFile { path, failed: false });
        self.initstat = file(&settings.initstat);
        self.clstat = file(&settings.clstat);
        self.order = engine.group_slots().to_vec();
        let name = |slot: &u32| engine.group(*slot).map_or(&[][..], |group| group.name());
        self.order.sort_by(|a, b| name(a).cmp(name(b)));
    }

    /// Writes them anew. A disk that is full is said once, and tried again at the next change.
    pub fn write(&mut self, engine: &Engine) {
        self.number = self.number.wrapping_add(1);
        let (number, order) = (self.number, &self.order);
        if let Some(file) = &mut self.initstat {
            replace(file, |out| write_initstat(out, engine, order, number));
        }
        if let Some(file) = &mut self.clstat {
            replace(file, |out| write_clstat(out, engine, order));
        }
    }
}

/// On a frame of its own: most tables want none of these files, and every page of the stack that is touched between two
/// starts is one that the next fork has copied.
#[inline(never)]
fn replace(file: &mut StatFile, write: impl FnOnce(&mut Writer)) {
    let written = sys::files::replace(&file.path, write);
    file.note(written);
}

impl StatFile {
    fn note(&mut self, written: Result<(), place::Error>) {
        if let Err(error) = &written {
            if !self.failed {
                let words = place_words("write the status file", &self.path, error, "");
                sys::output::say(words.as_bytes());
            }
        }
        self.failed = written.is_err();
    }
}

/// `!startid ID`, a row for each group, `!endid ID`: a reader that finds two different numbers reads again.
fn write_initstat(out: &mut Writer, engine: &Engine, order: &[u32], number: u64) {
    let mut id = StatLine::new();
    id.number(sys::clock::wall_ms()).text(".").number(number).text("\n");
    out.put(b"!startid ");
    out.put(id.bytes());
    for &slot in order {
        let Some(group) = engine.group(slot) else { continue };
        let mut line = StatLine::new();
        line.padded(group.name(), 15).text(" ").padded(engine.group_state(slot).as_bytes(), 15);
        line.text(" ").padded(group.level(), 15).text("\n");
        out.put(line.bytes());
    }
    out.put(b"!endid ");
    out.put(id.bytes());
}

/// `CLASS NAME LEVEL STATE`, for each group and for each of its processes.
fn write_clstat(out: &mut Writer, engine: &Engine, order: &[u32]) {
    for &slot in order {
        let Some(group) = engine.group(slot) else { continue };
        let mut line = StatLine::new();
        line.text("Cluster::Init::Group ").text(group.name()).text(" ").text(group.level());
        line.text(" ").text(group_word(engine, slot)).text("\n");
        out.put(line.bytes());
        for &row in engine.members(slot) {
            write_process(out, engine, row, group.level());
        }
    }
}

fn write_process(out: &mut Writer, engine: &Engine, row: u32, level: &[u8]) {
    let Some(record) = engine.row(row) else { return };
    let test = engine.entry(row).is_some_and(|entry| entry.action() == Action::Test);
    let mut line = StatLine::new();
    line.text("Cluster::Init::Process ").text(record.tag()).text(" ").text(level).text(" ");
    line.text(process_word(record.state(), test)).text("\n");
    out.put(line.bytes());
}

/// The states of Cluster::Init's group machine.
fn group_word(engine: &Engine, slot: u32) -> &'static str {
    let Some(group) = engine.group(slot) else { return "CONFIGURED" };
    let halts = group.level() == b"0" || group.is(GroupFlags::BROKEN);
    match group.phase() {
        Phase::Leaving if halts => "HALTING",
        Phase::Leaving => "STOPPING",
        Phase::Entering => "STARTING",
        Phase::Settled(Verdict::Stopped) => "CONFIGURED",
        Phase::Settled(Verdict::Fail) => "FAILED",
        Phase::Settled(Verdict::Run) if only_tests(engine, slot) => "PASSED",
        Phase::Settled(Verdict::Run) => "DONE",
    }
}

/// Cluster::Init calls a group `PASSED` when all that it has done at its level were tests.
fn only_tests(engine: &Engine, slot: u32) -> bool {
    let ran = |row: &&u32| engine.row(**row).is_some_and(|record| record.is(Flags::RAN));
    let mut ran = engine.members(slot).iter().filter(ran).peekable();
    let test = |row: &u32| engine.entry(*row).is_some_and(|entry| entry.action() == Action::Test);
    ran.peek().is_some() && ran.all(test)
}

/// The states of Cluster::Init's process machine.
fn process_word(state: ChildState, test: bool) -> &'static str {
    match state {
        ChildState::Down => "CONFIGURED",
        ChildState::Spawning => "SETUP",
        ChildState::Starting { .. } | ChildState::Up { .. } if test => "TESTING",
        ChildState::Starting { .. } | ChildState::Up { .. } => "RUNNING",
        ChildState::Backoff { .. } | ChildState::Held { .. } => "PAUSING",
        ChildState::Draining { .. }
        | ChildState::Stopping { .. }
        | ChildState::Sweeping { .. }
        | ChildState::Killing { .. }
        | ChildState::Purging { .. }
        | ChildState::Stuck { .. } => "STOPPING",
        ChildState::Done if test => "PASS",
        ChildState::Done => "DONE",
        ChildState::Failed => "FAIL",
    }
}
