//! The engine: what is to run, what runs, and what to do about the difference.
//!
//! It does no I/O. It is told what happened and what time it is ([`Engine::tell`], [`Engine::handle`], ...);
//! then it is asked what to do ([`Engine::next_effect`]) until it answers nothing; then its caller sleeps until
//! [`Engine::deadline`] or until something happens. It knows no descriptor, no clock and no system call, so a
//! test can play any number of histories through it (see `sim.rs`).
//!
//! Effects are not kept in a queue. A row holds the state of its process and the goal that its group has set;
//! [`child::next`] compares the two. What is kept in [`agenda`] is only *which* rows and groups are worth a
//! look: something happened to them, or their deadline has come. All of that can be made again from the rows.
//!
//! Four counters for each group and row are kept beside the rows, for speed: how many are leaving, up, and for
//! a log's reader how many of its writers are left. They change in one place, `Engine::change`.
//!
//! In here an impossible state is an assertion, and indices that the engine itself made are used as they are.

mod adopt;
pub mod agenda;
pub mod child;
mod course;
mod group;
mod load;
pub mod plan;
pub mod rows;
#[cfg(test)]
mod sim;

use agenda::{Deadlines, Members, Pids, Queue};
use child::{Act, Case, ChildEvent, ChildState, Ending, Failure, Goal};
pub use course::Farewell;
pub use group::{Outcome, Refusal, Tell, Ticket};
pub use load::LoadError;
use rows::{Flags, GroupRow, Head, Last, NONE, Row, What};

use crate::isinittab::{Entry, Fail, Occasion, Options, Table};

/// Milliseconds of the monotonic clock.
pub type Ms = u64;

/// The deadline that never comes.
pub const NEVER: Ms = Ms::MAX;

/// The memory that the engine works on: all of it zero, or what an earlier life has left.
pub struct Memory<'m> {
    /// One record for each entry that the table may have.
    pub rows: &'m mut [Row],
    /// One record for each resource group.
    pub groups: &'m mut [GroupRow],
    /// What is said once for all of them.
    pub head: &'m mut Head,
}

/// Something that happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process of a row was started.
    Spawned {
        /// The row of [`Effect::Spawn`].
        row: u32,
        /// Its process.
        pid: u32,
    },
    /// The process of a row could not be started for want of something (EAGAIN, ENOMEM, EMFILE).
    Refused {
        /// The row of [`Effect::Spawn`].
        row: u32,
        /// Why.
        errno: u16,
    },
    /// The process of a row cannot be started, and will not be the next time.
    Unable {
        /// The row of [`Effect::Spawn`].
        row: u32,
        /// Why.
        last: Last,
    },
    /// A process ended. Any process: what belongs to no row was somebody's orphan.
    Ended {
        /// The process.
        pid: u32,
        /// How, for the status.
        last: Last,
        /// How, for its entry.
        ending: Ending,
    },
    /// The process of a row has said that it is ready.
    Ready {
        /// The row.
        row: u32,
    },
    /// The answer to [`Effect::Sweep`].
    Swept {
        /// The row.
        row: u32,
        /// Is something of it still there?
        left: bool,
    },
}

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the entry of this row; answer at once with [`Event::Spawned`], [`Event::Refused`] or
    /// [`Event::Unable`].
    Spawn {
        /// The row.
        row: u32,
    },
    /// Send the row's stop signal to its process group.
    Stop {
        /// The row.
        row: u32,
        /// Its process.
        pid: u32,
    },
    /// Send SIGKILL to all of the row's processes.
    Kill {
        /// The row.
        row: u32,
        /// Its process.
        pid: u32,
    },
    /// Close the log that this row reads: all who wrote to it are gone.
    EndLog {
        /// The row.
        row: u32,
    },
    /// The row's process has ended while it was being stopped. Look for what it left behind, send that the stop
    /// signal (or SIGKILL); answer with [`Event::Swept`] at once.
    Sweep {
        /// The row.
        row: u32,
        /// The process that has ended, 0 if the number is not to be relied on any more.
        main: u32,
        /// SIGKILL instead of the stop signal.
        kill: bool,
    },
    /// All is down. End the daemon with this status.
    Exit {
        /// The exit status.
        status: u8,
    },
}

/// One group's place in [`Engine::members`], its turn in a switch, and its counters.
#[derive(Clone, Copy, Default)]
struct Roster {
    first: u32,
    count: u32,
    cursor: u32,
    leaving: u32,
    up: u32,
    /// Wanted up, and the answer of their first start is not there yet.
    starting: u32,
}

/// For the reader of a log: how many of its writers are there, and how many of those are on their way out.
#[derive(Clone, Copy, Default)]
struct Writers {
    count: u32,
    active: u32,
    leaving: u32,
}

/// The engine. See the module's documentation.
pub struct Engine<'m> {
    table: Table,
    rows: &'m mut [Row],
    groups: &'m mut [GroupRow],
    head: &'m mut Head,
    row_of: Vec<u32>,
    group_order: Vec<u32>,
    rosters: Vec<Roster>,
    members: Vec<u32>,
    reader_of: Vec<u32>,
    writers: Vec<Writers>,
    pids: Pids,
    deadlines: Deadlines,
    rows_due: Queue,
    groups_due: Queue,
    sweeping: Members,
    orphan: bool,
    active: u32,
    course_due: bool,
    /// What was told before a crash, and perhaps not done.
    redo: Queue,
    of_the_whole: Vec<u32>,
}

impl<'m> Engine<'m> {
    /// An engine without entries. Load a table into it.
    pub fn new(memory: Memory<'m>) -> Engine<'m> {
        Engine {
            table: Table::empty(),
            rows: memory.rows,
            groups: memory.groups,
            head: memory.head,
            row_of: Vec::new(),
            group_order: Vec::new(),
            rosters: Vec::new(),
            members: Vec::new(),
            reader_of: Vec::new(),
            writers: Vec::new(),
            pids: Pids::new(0),
            deadlines: Deadlines::new(0),
            rows_due: Queue::new(0),
            groups_due: Queue::new(0),
            sweeping: Members::new(0),
            orphan: false,
            active: 0,
            course_due: false,
            redo: Queue::new(0),
            of_the_whole: Vec::new(),
        }
    }

    /// Takes note of what happened to a process. Ask for effects afterwards.
    pub fn handle(&mut self, event: Event, now: Ms) {
        match event {
            Event::Spawned { row, pid } => self.spawned(row, pid, now),
            Event::Refused { row, errno } => self.refused(row, errno, now),
            Event::Unable { row, last } => self.ended(row, 0, last, Ending::Badly, now),
            Event::Ended { pid, last, ending } => match self.pids.get(pid) {
                Some(row) => self.ended(row, pid, last, ending, now),
                None => self.orphan = true,
            },
            Event::Ready { row } => self.ready(row, now),
            Event::Swept { row, left } => self.step(row, ChildEvent::Swept { left }, now),
        }
    }

    /// Does it wait for something to go that a main process has left behind?
    pub fn is_sweeping(&self) -> bool {
        self.sweeping.get(0).is_some()
    }

    /// What is left behind may have gone meanwhile, without an event.
    pub fn look_again(&mut self) {
        self.orphan = true;
    }

    /// What is to be done now; ask until it is nothing.
    pub fn next_effect(&mut self, now: Ms) -> Option<Effect> {
        self.mark_due(now);
        loop {
            if let Some(row) = self.redo.pop() {
                if let Some(effect) = self.told_before(row) {
                    return Some(effect);
                }
            } else if let Some(row) = self.rows_due.pop() {
                if let Some(effect) = self.look(row, now) {
                    return Some(effect);
                }
            } else if let Some(slot) = self.groups_due.pop() {
                self.advance(slot, now);
            } else if !self.advance_course(now) {
                return self.farewell();
            }
        }
    }

    /// When there is something to do though nothing happens; `None`: never.
    pub fn deadline(&self) -> Option<Ms> {
        let row = self.deadlines.first().map_or(NEVER, |(at, _)| at);
        let first = row.min(self.course_deadline());
        (first != NEVER).then_some(first)
    }

    fn mark_due(&mut self, now: Ms) {
        self.stop_overdue(now);
        while let Some((at, row)) = self.deadlines.first() {
            if at > now {
                break;
            }
            // Out of the heap, so that it is looked at once; the state that comes of it brings its own.
            self.deadlines.set(row, NEVER);
            self.rows_due.push(row);
        }
        if std::mem::take(&mut self.orphan) {
            let mut n = 0;
            while let Some(row) = self.sweeping.get(n) {
                self.step(row, ChildEvent::Orphan, now);
                n += 1;
            }
        }
    }

    /// Compares a row's state with its goal, until there is something to do or nothing left.
    fn look(&mut self, row: u32, now: Ms) -> Option<Effect> {
        loop {
            let state = self.rows[row as usize].state();
            let Some((act, state_after, failure)) = child::next(state, &self.case(row, now)) else {
                self.vacate_if_gone(row);
                return None;
            };
            if act == Act::Spawn && !self.has_place(row) {
                // A table that was read again has taken its place away; it ran on, but is not started again.
                self.set_goal(row, Goal::Down);
                continue;
            }
            if act == Act::Spawn && !self.had_turn(row) {
                // Its turn will bring it back; its own deadline has no more to say.
                self.deadlines.set(row, NEVER);
                return None;
            }
            if self.waits_for_writers(row, act) {
                return None;
            }
            if act == Act::Spawn && !self.may_start(row, now) {
                continue;
            }
            let effect = self.effect(row, act, state, now);
            self.change(row, state_after, now);
            self.note_act(row, act, state, now);
            if let Some(failure) = failure {
                self.failed(row, failure, now);
            }
            if effect.is_some() {
                return effect;
            }
        }
    }

    fn effect(&mut self, row: u32, act: Act, state: ChildState, now: Ms) -> Option<Effect> {
        let pid = state.pid().unwrap_or(0);
        match act {
            Act::Spawn => {
                self.count_start(row, now);
                Some(Effect::Spawn { row })
            }
            Act::Stop => {
                // What is stopped in order to be started again has been told so only once.
                self.rows[row as usize].put(Flags::RESTART, false);
                Some(Effect::Stop { row, pid })
            }
            Act::EndLog => Some(Effect::EndLog { row }),
            Act::Kill => Some(Effect::Kill { row, pid }),
            Act::Sweep { kill } => Some(Effect::Sweep { row, main: self.rows[row as usize].pid(), kill }),
            Act::Nothing => None,
        }
    }

    fn note_act(&mut self, row: u32, act: Act, before: ChildState, now: Ms) {
        match act {
            Act::Stop | Act::EndLog => self.note(row, What::Stopping, now),
            Act::Kill => self.note(row, What::Killing, now),
            Act::Sweep { kill: true } if !matches!(before, ChildState::Purging { .. }) => {
                self.note(row, What::Killing, now);
            }
            Act::Sweep { .. } | Act::Spawn | Act::Nothing => {}
        }
    }

    /// A reader of logs goes after those who write to it, if they are going too.
    fn waits_for_writers(&self, row: u32, act: Act) -> bool {
        let leaves = act == Act::Stop || act == Act::EndLog;
        let restarts = self.rows[row as usize].is(Flags::RESTART);
        leaves && !restarts && self.writers.get(row as usize).is_some_and(|writers| writers.leaving > 0)
    }

    /// The respawn limit, for those starts that do not come out of [`child::after`]: a process that was stopped
    /// because it did not become ready.
    fn may_start(&mut self, row: u32, now: Ms) -> bool {
        let case = self.case(row, now);
        let record = &self.rows[row as usize];
        let (from_down, ran) = (record.state() == ChildState::Down, record.is(Flags::RAN));
        let Some((action, Options { limit: Some(limit), .. })) = case.wish else { return true };
        if !from_down || !ran || !action.repeats() || !case.is_over(limit) {
            return true;
        }
        let until = now.saturating_add(u64::from(limit.hold_ms));
        self.change(row, ChildState::Held { until }, now);
        self.failed(row, Failure::Limit, now);
        false
    }

    fn count_start(&mut self, row: u32, now: Ms) {
        let window_ms = match self.entry(row).map(|entry| entry.options().limit) {
            Some(Some(limit)) => u64::from(limit.window_ms),
            Some(None) | None => 0,
        };
        let digest = self.entry(row).map_or(0, |entry| entry.digest());
        let stop = self.entry(row).map(|entry| (entry.options().stop, entry.options().stop_timeout_ms));
        let record = &mut self.rows[row as usize];
        if now >= record.window_ms.saturating_add(window_ms) {
            record.window_ms = now;
            record.starts = 0;
        }
        record.starts = record.starts.saturating_add(1);
        record.digest = digest;
        if let Some((signal, timeout_ms)) = stop {
            record.stop_signal = signal.number() as u8;
            record.stop_timeout_ms = timeout_ms;
        }
        record.fault.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    fn spawned(&mut self, row: u32, pid: u32, now: Ms) {
        let Some(record) = self.rows.get_mut(row as usize) else { return };
        if record.is(Flags::RAN) {
            record.restarts = record.restarts.saturating_add(1);
        }
        record.flags |= Flags::RAN;
        record.put(Flags::WANTING | Flags::READY | Flags::TEST_FAILED, false);
        self.pids.insert(pid, row);
        self.step(row, ChildEvent::Spawned { pid }, now);
        self.note(row, What::Started, now);
    }

    fn refused(&mut self, row: u32, errno: u16, now: Ms) {
        let Some(record) = self.rows.get_mut(row as usize) else { return };
        record.last = Last::Fault { step: 0, errno }.word();
        self.wanting(row, now);
        self.step(row, ChildEvent::Refused, now);
    }

    /// It will be tried again: that is said once, and does not count as a start.
    fn wanting(&mut self, row: u32, now: Ms) {
        let record = &mut self.rows[row as usize];
        record.starts = record.starts.saturating_sub(1);
        let said = record.is(Flags::WANTING);
        record.put(Flags::WANTING, true);
        if !said {
            self.note(row, What::Wanting, now);
        }
    }

    fn ended(&mut self, row: u32, pid: u32, last: Last, ending: Ending, now: Ms) {
        if self.rows.get(row as usize).is_none() {
            return;
        }
        self.pids.remove(pid);
        self.rows[row as usize].flags |= Flags::RAN;
        let healthy = self.case(row, now).healthy();
        let record = &mut self.rows[row as usize];
        // Stopped because it was not ready in time: that is what its end tells, not how it took its stop signal.
        record.last = if record.is(Flags::LATE) { Last::NotReady.word() } else { last.word() };
        record.put(Flags::LATE, false);
        self.note(row, What::Ended, now);
        if ending == Ending::Wanting {
            self.wanting(row, now);
        }
        self.step(row, ChildEvent::Ended(ending), now);
        let record = &mut self.rows[row as usize];
        record.doubled = if healthy { 0 } else { record.doubled.saturating_add(1).min(31) };
        if ending == Ending::NoTerminal {
            self.note(row, What::Skipped, now);
        }
        self.ended_for_good(row, last, now);
    }

    fn ready(&mut self, row: u32, now: Ms) {
        let Some(record) = self.rows.get_mut(row as usize) else { return };
        if let ChildState::Starting { .. } = record.state() {
            record.put(Flags::READY, true);
            self.step(row, ChildEvent::Ready, now);
            self.note(row, What::Ready, now);
        }
    }

    fn step(&mut self, row: u32, event: ChildEvent, now: Ms) {
        let Some(record) = self.rows.get(row as usize) else { return };
        let before = record.state();
        let (state, failure) = child::after(before, event, &self.case(row, now));
        if state == before {
            return;
        }
        self.change(row, state, now);
        if state == ChildState::Down && before.is_active() {
            self.note(row, What::Stopped, now);
        }
        if let Some(failure) = failure {
            self.failed(row, failure, now);
        }
    }

    /// What a failure means for the entry, and for others.
    fn failed(&mut self, row: u32, failure: Failure, now: Ms) {
        let repeats = self.entry(row).is_some_and(|entry| entry.action().repeats());
        let record = &mut self.rows[row as usize];
        record.put(Flags::RELEASED, true);
        match failure {
            Failure::Test => record.put(Flags::TEST_FAILED, true),
            Failure::Ready => {
                record.last = Last::NotReady.word();
                record.put(Flags::LATE, true);
                // A respawn is started again; what runs once has had its chance.
                if !repeats {
                    self.set_goal(row, Goal::Down);
                }
            }
            Failure::Limit => record.starts = 0,
            // If it dies after all, a `wait` would come too late.
            Failure::Stuck if !repeats => self.set_goal(row, Goal::Down),
            Failure::Ended | Failure::Stuck => {}
        }
        let what = match failure {
            Failure::Limit => What::Held,
            Failure::Stuck => What::Stuck,
            Failure::Ended | Failure::Test | Failure::Ready => What::Failed,
        };
        self.note(row, what, now);
        self.spread(row, now);
    }

    /// How far a failure reaches.
    fn spread(&mut self, row: u32, now: Ms) {
        let slot = self.rows[row as usize].group;
        let reach = self.entry(row).map_or(Fail::Entry, |entry| entry.options().fail);
        // All or nothing is about what the switch waits for, and about what would stop the group.
        let waited_for = self
            .entry(row)
            .is_some_and(|entry| entry.action().is_waited_for() || entry.options().ready.is_some());
        let goes_back = (waited_for || reach == Fail::Group) && self.goes_back(slot, now);
        match reach {
            Fail::Group if !goes_back => self.break_group(slot, now),
            Fail::Entry | Fail::Group => {}
            Fail::All => self.end_all(self.last_status(row), now),
        }
    }

    /// The exit status that a row's last process stands for, as a shell has it.
    fn last_status(&self, row: u32) -> u8 {
        match self.rows[row as usize].last() {
            Last::Exit(status) => status,
            Last::Signal(signal) => 128u8.saturating_add(signal),
            Last::Fault { .. } => 127,
            Last::Nothing | Last::NotReady => 1,
        }
    }

    /// The one place in which a row's state changes, with all that is kept beside it.
    fn change(&mut self, row: u32, state: ChildState, now: Ms) {
        self.count(row, false);
        let record = &mut self.rows[row as usize];
        if record.state().name() != state.name() {
            record.since_ms = now;
        }
        record.set_state(state);
        let group = record.group;
        self.count(row, true);
        self.deadlines.set(row, state.deadline());
        self.sweeping.set(row, state.is_sweeping());
        self.rows_due.push(row);
        self.groups_due.push(group);
        self.course_due = true;
        self.wake_reader(row);
    }

    fn set_goal(&mut self, row: u32, goal: Goal) {
        if self.rows[row as usize].goal() == goal {
            return;
        }
        self.count(row, false);
        self.rows[row as usize].set_goal(goal);
        self.count(row, true);
        self.rows_due.push(row);
        self.wake_reader(row);
    }

    /// Adds a row to the counters, or takes it out before it changes.
    fn count(&mut self, row: u32, add: bool) {
        let record = &self.rows[row as usize];
        let state = record.state();
        let active = state.is_active();
        let leaving = active && record.goal() == Goal::Down;
        let step = |counter: &mut u32, counts: bool| {
            if counts {
                *counter = if add { *counter + 1 } else { *counter - 1 };
            }
        };
        step(&mut self.active, active);
        if let Some(roster) = self.rosters.get_mut(record.group as usize) {
            step(&mut roster.leaving, leaving);
            step(&mut roster.up, state.pid().is_some());
            let begins = matches!(state, ChildState::Down | ChildState::Spawning);
            step(&mut roster.starting, begins && record.goal() == Goal::Up);
        }
        let reader = self.reader_of.get(row as usize).copied().unwrap_or(NONE);
        if let Some(writers) = self.writers.get_mut(reader as usize) {
            step(&mut writers.active, active);
            step(&mut writers.leaving, leaving);
        }
    }

    fn wake_reader(&mut self, row: u32) {
        if let Some(&reader) = self.reader_of.get(row as usize) {
            self.rows_due.push(reader);
        }
    }

    fn vacate_if_gone(&mut self, row: u32) {
        let record = &mut self.rows[row as usize];
        let resting = !record.state().is_active() && record.state().pid().is_none();
        if record.entry == NONE && resting && !record.is_vacant() {
            record.vacate();
        }
    }

    fn case(&self, row: u32, now: Ms) -> Case<'_> {
        let record = &self.rows[row as usize];
        let wish = self.entry(row).map(|entry| (entry.action(), entry.options()));
        let writers = self.writers.get(row as usize).copied().unwrap_or_default();
        let reads = self.is_reader(row);
        Case {
            now,
            goal: record.goal(),
            restart: record.is(Flags::RESTART),
            wish,
            stop_timeout_ms: record.stop_timeout_ms,
            last_reader: reads && writers.active == 0,
            starts: record.starts,
            window_ms: record.window_ms,
            since_ms: record.since_ms,
            doubled: record.doubled,
        }
    }

    fn note(&mut self, row: u32, what: What, now: Ms) {
        let record = &self.rows[row as usize];
        let pid = record.pid();
        self.head.push(now, record.group, row, pid, record.last, what);
    }

    fn note_group(&mut self, slot: u32, what: What, now: Ms) {
        self.head.push(now, slot, NONE, 0, 0, what);
    }
}

/// What can be asked of the engine.
impl Engine<'_> {
    /// The table that is in force.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The record of a row.
    pub fn row(&self, row: u32) -> Option<&Row> {
        self.rows.get(row as usize).filter(|record| !record.is_vacant())
    }

    /// All records of rows that were ever used, vacant ones among them.
    pub fn rows(&self) -> &[Row] {
        self.rows.get(..self.head.rows_used as usize).unwrap_or_default()
    }

    /// The same of groups.
    pub fn groups(&self) -> &[GroupRow] {
        self.groups.get(..self.head.groups_used as usize).unwrap_or_default()
    }

    /// The entry of a row, if the table still has it.
    pub fn entry(&self, row: u32) -> Option<Entry<'_>> {
        self.table.entry(self.row(row)?.entry)
    }

    /// What starts the entry of a row.
    pub fn occasion(&self, row: u32) -> Occasion {
        self.entry(row).map_or(Occasion::Never, |entry| entry.action().occasion())
    }

    /// The row of a tag.
    pub fn find_row(&self, tag: &[u8]) -> Option<u32> {
        let row = *self.row_of.get(self.table.find_tag(tag)? as usize)?;
        (row != NONE).then_some(row)
    }

    /// The row that a process belongs to.
    pub fn row_of_pid(&self, pid: u32) -> Option<u32> {
        self.pids.get(pid)
    }

    /// The record of a group's slot.
    pub fn group(&self, slot: u32) -> Option<&GroupRow> {
        self.groups.get(slot as usize).filter(|record| !record.is_vacant())
    }

    /// The slots of all groups: those of the table in its order, then those that it has no more.
    pub fn group_slots(&self) -> &[u32] {
        &self.group_order
    }

    /// The slot of a group.
    pub fn find_group(&self, name: &[u8]) -> Option<u32> {
        match self.table.find_group(name) {
            Some(number) => self.group_order.get(number as usize).copied(),
            None => self.group_order.iter().copied().find(|slot| self.groups[*slot as usize].name() == name),
        }
    }

    /// The rows of a group: its entries in file order, then those whose entry is gone.
    pub fn members(&self, slot: u32) -> &[u32] {
        let Some(roster) = self.rosters.get(slot as usize) else { return &[] };
        &self.members[roster.first as usize..(roster.first + roster.count) as usize]
    }

    /// How many processes of a group run.
    pub fn up(&self, slot: u32) -> u32 {
        self.rosters.get(slot as usize).map_or(0, |roster| roster.up)
    }

    /// Does anybody write to this row's log?
    pub fn is_reader(&self, row: u32) -> bool {
        self.writers.get(row as usize).is_some_and(|writers| writers.count > 0)
    }

    /// The row that reads this row's log.
    pub fn reader(&self, row: u32) -> Option<u32> {
        self.reader_of.get(row as usize).copied().filter(|reader| *reader != NONE)
    }

    /// The transitions and their count.
    pub fn head(&self) -> &Head {
        self.head
    }
}
