//! Answers that are longer than one line, made line by line as the client takes them.

use super::line::Line;
use super::messages::{signal_name, step_of};
use crate::engine::child::{ChildState, Goal};
use crate::engine::plan::Step;
use crate::engine::rows::{Flags, Last, NONE, Row, Transition};
use crate::engine::{Engine, Ms, NEVER};
use crate::isinittab::Action;
use crate::sys;

/// One line of an answer. The longest is an entry's: a group and a tag at their longest, and ten short fields.
pub type AnswerLine = Line<512>;

/// Where a status stands: which group, and which of its members is next; 0 is the group itself.
#[derive(Clone, Copy)]
pub struct StatusAt {
    /// The one group that was asked for, or all.
    pub only: Option<u32>,
    /// Place in the order of the groups.
    pub group: usize,
    /// Lines of the group that were given.
    pub given: usize,
}

/// The next line of a status; `None` at its end.
pub fn status_line(engine: &Engine, at: &mut StatusAt, now: Ms) -> Option<AnswerLine> {
    loop {
        let slot = match at.only {
            Some(slot) => (at.group == 0).then_some(slot)?,
            None => *engine.group_slots().get(at.group)?,
        };
        let given = at.given;
        at.given = given.saturating_add(1);
        let Some(before) = given.checked_sub(1) else { return Some(group_line(engine, slot, now)) };
        match engine.members(slot).get(before) {
            Some(&row) => {
                if let Some(line) = entry_line(engine, slot, row, now) {
                    return Some(line);
                }
            }
            None => {
                at.group = at.group.saturating_add(1);
                at.given = 0;
            }
        }
    }
}

fn group_line(engine: &Engine, slot: u32, now: Ms) -> AnswerLine {
    let mut line = AnswerLine::new();
    let Some(group) = engine.group(slot) else { return line };
    line.text("group ").text(group.name()).key("state").text(engine.group_state(slot));
    line.key("level").word(group.level()).key("prev").word(group.previous());
    line.key("age_ms").number(now.saturating_sub(group.since_ms));
    let present = engine.members(slot).iter().filter(|row| engine.row(**row).is_some()).count();
    line.key("entries").number(present as u64).key("up").number(u64::from(engine.up(slot))).text("\n");
    line
}

fn entry_line(engine: &Engine, slot: u32, row: u32, now: Ms) -> Option<AnswerLine> {
    let (record, group) = (engine.row(row)?, engine.group(slot)?);
    let entry = engine.entry(row);
    let state = record.state();
    let mut line = AnswerLine::new();
    line.text("entry ").text(group.name()).text(" ").text(record.tag());
    line.key("action").text(entry.map_or("-", |entry| entry.action().name()));
    line.key("state").text(state.name());
    line.key("pid").number(u64::from(state.pid().unwrap_or(0)));
    line.key("age_ms").number(now.saturating_sub(record.since_ms));
    line.key("restarts").number(u64::from(record.restarts));
    line.key("last");
    last_field(&mut line, record.last());
    line.key("due_ms");
    match state.deadline() {
        NEVER => line.text("-"),
        at => line.number(at.saturating_sub(now)),
    };
    line.key("flags");
    let changed = entry.is_some_and(|entry| state.pid().is_some() && entry.digest() != record.digest);
    flags_field(&mut line, record, changed, entry.is_some_and(|entry| entry.options().main));
    line.text("\n");
    Some(line)
}

fn flags_field(line: &mut AnswerLine, record: &Row, changed: bool, main: bool) {
    let flags = [
        ("changed", changed),
        ("gone", record.entry == NONE),
        ("manual", record.is(Flags::MANUAL)),
        ("ready", record.is(Flags::READY) && matches!(record.state(), ChildState::Up { .. })),
        ("testfailed", record.is(Flags::TEST_FAILED)),
        ("main", main),
    ];
    let mut between = "";
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        line.text(between).text(name);
        between = ",";
    }
    if between.is_empty() {
        line.text("-");
    }
}

fn last_field<const N: usize>(line: &mut Line<N>, last: Last) {
    match last {
        Last::Nothing => line.text("none"),
        Last::Exit(status) => line.text("exit:").number(u64::from(status)),
        Last::Signal(signal) => line.text("signal:").text(signal_name(signal)),
        Last::Fault { step, errno } => {
            let step = step_of(step).map_or("fork", |step| step.name());
            line.text("fault:").text(step).text(":").number(u64::from(errno))
        }
        Last::NotReady => line.text("timeout"),
    };
}

/// A line of a plan.
pub fn step_line(step: Step, tag: &[u8], pid: u32) -> AnswerLine {
    let mut line = AnswerLine::new();
    let verb = match step {
        Step::Stop => "stop ",
        Step::Keep => "keep ",
        Step::Start => "start ",
    };
    line.text(verb).text(tag);
    if step != Step::Start {
        line.key("pid").number(u64::from(pid));
    }
    line.text("\n");
    line
}

/// A line of `watch`.
pub fn change_line(engine: &Engine, change: &Transition, wall_ms: u64) -> AnswerLine {
    let mut line = AnswerLine::new();
    line.text("change").key("wall_ms").number(wall_ms);
    line.key("group").text(engine.group(change.group).map_or(&b"?"[..], |group| group.name()));
    line.key("tag").text(match engine.row(change.row) {
        Some(row) => row.tag(),
        None if change.row == NONE => b"-",
        None => b"?",
    });
    line.key("what").text(change.what().map_or("-", |what| what.name()));
    if change.row == NONE {
        line.key("level").word(engine.group(change.group).map_or(&[], |group| group.level()));
        line.key("state").text(engine.group_state(change.group));
    } else {
        line.key("pid").number(u64::from(change.pid)).key("last");
        last_field(&mut line, Last::from_word(change.last));
    }
    line.text("\n");
    line
}

/// Since when everything is remembered, and how much of what was before is not.
pub fn timeline_line(engine: &Engine, began_ms: Ms) -> AnswerLine {
    let (head, now) = (engine.head(), sys::clock::now_ms());
    let forgotten = head.forgotten();
    let since = head.get(forgotten).filter(|_| forgotten > 0).map_or(began_ms, |oldest| oldest.at_ms);
    let mut line = AnswerLine::new();
    line.text("timeline").key("wall_ms").number(sys::clock::wall_ms());
    line.key("age_ms").number(now.saturating_sub(since)).key("forgotten").number(forgotten).text("\n");
    line
}

/// What a switch waits for.
pub fn waiting_line(engine: &Engine, row: u32, now: Ms) -> AnswerLine {
    let mut line = AnswerLine::new();
    let Some(record) = engine.row(row) else { return line };
    let group = engine.group(record.group).map_or(&[][..], |group| group.name());
    let test = engine.entry(row).is_some_and(|entry| entry.action() == Action::Test);
    let why = match (record.goal(), record.state()) {
        (Goal::Down, _) => "stop",
        (Goal::Up, ChildState::Starting { .. }) => "ready",
        (Goal::Up, _) if test => "test",
        (Goal::Up, _) => "wait",
    };
    line.text("waiting ").text(group).text(" ").text(record.tag()).key("why").text(why);
    line.key("age_ms").number(now.saturating_sub(record.since_ms));
    line.key("pid").number(u64::from(record.state().pid().unwrap_or(0))).text("\n");
    line
}
