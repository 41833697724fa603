//! Switching one group to a runlevel.
//!
//! ```text
//!   tell ---> Leaving ------------------> Entering ------------> Settled (run, fail)
//!               | all that has no place      | in file order; a wait, a test or a
//!               | in the level is gone       | readiness holds back what is below
//!               |
//!               +--- level 0, or fail=group --------------------> Settled (stopped, fail)
//! ```
//!
//! A tell is accepted in every phase and begins with Leaving again, from where things are. All that leaves is
//! told so at once, last first; the switch takes as long as the slowest. What is on its way out already when a
//! level wants it again is waited for, then started in its turn, so that the order of a level is kept however
//! quickly it is told.

use smallvec::SmallVec;

use super::child::{ChildState, Goal};
use super::rows::{Flags, GroupFlags, Phase, Verdict, What};
use super::{Engine, Ms};
use crate::isinittab::Occasion;
use crate::limits::WORD_MAX_BYTES;

/// A level, copied out of the row or the table that is about to change.
type LevelCopy = SmallVec<[u8; 64]>;

/// How a group is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tell {
    /// Take a level that no entry has.
    pub force: bool,
    /// Go back to the level before if a `test`, a `wait` or a readiness fails on the way.
    pub revert: bool,
}

/// Names one switch of one group, for those who wait for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The group's slot.
    pub slot: u32,
    /// The number of the switch: another number in the slot means that it was overtaken.
    pub switch: u32,
}

/// Why a tell was not accepted. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The table has no such group.
    NoGroup,
    /// No entry of the group has this level.
    NoLevel,
    /// No entry has this tag.
    NoTag,
    /// The entry has no place in the level that its group is in.
    NoPlace,
    /// A name is longer than there is room for.
    TooLong,
    /// All is being stopped; nothing is started any more.
    GoingDown,
}

impl Engine<'_> {
    /// Tells a group its level. Other groups are not touched.
    pub fn tell(&mut self, group: &[u8], level: &[u8], how: Tell, now: Ms) -> Result<Ticket, Refusal> {
        let slot = self.find_group(group).ok_or(Refusal::NoGroup)?;
        let number = self.table.find_group(group);
        let known = number.is_some_and(|number| self.table.has_level(number, level));
        if level.is_empty() || level.len() > WORD_MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        if !known && !how.force && level != b"0" {
            return Err(Refusal::NoLevel);
        }
        if self.is_going_down() {
            return Err(Refusal::GoingDown);
        }
        if number.is_some_and(|number| self.table.is_on_demand(number, level)) {
            return self.demand(slot, level, now);
        }
        let record = &mut self.groups[slot as usize];
        record.switch = record.switch.wrapping_add(1);
        record.put(GroupFlags::REVERT, how.revert);
        record.put(GroupFlags::REVERTED, false);
        self.call_back_members(slot);
        self.switch(slot, level, now);
        Ok(Ticket { slot, switch: self.groups[slot as usize].switch })
    }

    /// Starts the `ondemand` entries of a level, and leaves the group where it is. It has to be somewhere.
    fn demand(&mut self, slot: u32, level: &[u8], now: Ms) -> Result<Ticket, Refusal> {
        if !serves_demands(self.groups[slot as usize].level()) {
            return Err(Refusal::NoPlace);
        }
        for n in 0..self.members(slot).len() {
            let row = self.members(slot)[n];
            let is_meant = self.entry(row).is_some_and(|entry| {
                entry.action().occasion() == Occasion::Demand && entry.levels().names(level)
            });
            if is_meant {
                self.rearm(row, now);
                self.rows[row as usize].put(Flags::CALLED, true);
                self.set_goal(row, Goal::Up);
            }
        }
        Ok(Ticket { slot, switch: self.groups[slot as usize].switch })
    }

    /// Starts in every group what is missing at the level that it is at: after a re-read that was asked for. It is no
    /// tell: what was stopped by name stays down.
    pub fn refresh(&mut self, now: Ms) {
        for slot in 0..self.head.groups_used {
            let record = &self.groups[slot as usize];
            let settled = matches!(record.phase(), Phase::Settled(Verdict::Run | Verdict::Fail));
            if settled && !record.is(GroupFlags::BROKEN) && !self.is_going_down() {
                self.retry_members(slot, now);
                self.enter(slot, now);
            }
        }
    }

    /// Tells each group that has an `initdefault` its level, unless it was told another meanwhile, or has failed.
    pub(super) fn enter_defaults(&mut self, now: Ms) {
        for number in 0..self.table.groups() as u32 {
            let slot = self.group_order[number as usize];
            let Some(group) = self.table.group(number) else { continue };
            if self.groups[slot as usize].is(GroupFlags::TOLD | GroupFlags::BROKEN) {
                continue;
            }
            if let Some(level) = group.initdefault {
                let level = LevelCopy::from_slice(level);
                self.switch(slot, &level, now);
            }
        }
    }

    /// Stops one entry. It stays down until it is started by name, or its group is told a level.
    pub fn stop_entry(&mut self, tag: &[u8]) -> Result<u32, Refusal> {
        let row = self.find_row(tag).ok_or(Refusal::NoTag)?;
        let record = &mut self.rows[row as usize];
        record.put(Flags::MANUAL, true);
        record.put(Flags::RESTART, false);
        self.set_goal(row, Goal::Down);
        self.groups_due.push(self.rows[row as usize].group);
        self.course_due = true;
        Ok(row)
    }

    /// Starts one entry that its group's level has, whatever it has done so far.
    pub fn start_entry(&mut self, tag: &[u8], now: Ms) -> Result<u32, Refusal> {
        let row = self.find_row(tag).ok_or(Refusal::NoTag)?;
        self.check_place(row)?;
        self.rearm(row, now);
        if self.had_turn(row) {
            self.set_goal(row, Goal::Up);
        }
        Ok(row)
    }

    /// Stops one entry and starts it again.
    pub fn restart_entry(&mut self, tag: &[u8], now: Ms) -> Result<u32, Refusal> {
        let row = self.find_row(tag).ok_or(Refusal::NoTag)?;
        self.check_place(row)?;
        let running = self.rows[row as usize].state().pid().is_some();
        self.rearm(row, now);
        self.rows[row as usize].put(Flags::RESTART, running);
        if running || self.had_turn(row) {
            self.set_goal(row, Goal::Up);
        }
        self.rows_due.push(row);
        Ok(row)
    }

    /// Has a switch that is under way come as far as this row? What is below waits for its turn: also what is
    /// started by name, and what had a place in the level before and ends just now.
    pub(super) fn had_turn(&self, row: u32) -> bool {
        match self.occasion(row) {
            Occasion::Level | Occasion::Never => {}
            Occasion::Demand => return true,
            _ => return self.rows[row as usize].is(Flags::RAN) || self.rows[row as usize].goal() == Goal::Up,
        }
        let slot = self.rows[row as usize].group;
        let place = |row: u32| self.entry(row).map(|entry| entry.index());
        match self.groups[slot as usize].phase() {
            Phase::Settled(_) => true,
            Phase::Leaving => false,
            Phase::Entering => self.waits_for(slot).is_none_or(|cursor| place(row) <= place(cursor)),
        }
    }

    fn check_place(&self, row: u32) -> Result<(), Refusal> {
        match () {
            () if self.is_going_down() => Err(Refusal::GoingDown),
            () if !self.has_place(row) => Err(Refusal::NoPlace),
            () => Ok(()),
        }
    }

    /// Forgets what a row has done, so that it can be started at once.
    fn rearm(&mut self, row: u32, now: Ms) {
        // What waits for its turn may have it now.
        self.course_due = true;
        let record = &mut self.rows[row as usize];
        record.put(Flags::MANUAL | Flags::RELEASED | Flags::TEST_FAILED, false);
        record.starts = 0;
        record.doubled = 0;
        match record.state() {
            ChildState::Done | ChildState::Failed => self.change(row, ChildState::Down, now),
            ChildState::Held { .. } | ChildState::Backoff { .. } => {
                self.change(row, ChildState::Backoff { until: now }, now);
            }
            ChildState::Down
            | ChildState::Spawning
            | ChildState::Starting { .. }
            | ChildState::Up { .. }
            | ChildState::Draining { .. }
            | ChildState::Stopping { .. }
            | ChildState::Sweeping { .. }
            | ChildState::Killing { .. }
            | ChildState::Purging { .. }
            | ChildState::Stuck { .. } => {}
        }
    }

    /// Has this row's entry a place in the level that its group was told, or in the course of the whole?
    pub(super) fn has_place(&self, row: u32) -> bool {
        if self.occasion(row).is_of_the_whole() {
            return self.is_called(row);
        }
        let record = &self.rows[row as usize];
        let group = &self.groups[record.group as usize];
        !self.is_going_down() && !group.is(GroupFlags::BROKEN) && self.would_have_place(row, group.level())
    }

    /// Would it have one in that level?
    pub(super) fn would_have_place(&self, row: u32, level: &[u8]) -> bool {
        let Some(entry) = self.entry(row) else { return false };
        match entry.action().occasion() {
            Occasion::Level => !level.is_empty() && entry.levels().has(level),
            Occasion::Demand => serves_demands(level) && self.rows[row as usize].is(Flags::CALLED),
            _ => false,
        }
    }

    pub(super) fn switch(&mut self, slot: u32, level: &[u8], now: Ms) {
        let record = &mut self.groups[slot as usize];
        let entered = record.would_enter(level);
        record.set_level(level);
        record.put(GroupFlags::TOLD, true);
        record.put(GroupFlags::BROKEN, false);
        if entered {
            self.forget_members(slot, now);
        }
        self.retry_members(slot, now);
        self.leave(slot, now);
    }

    /// A level is entered: what ran in the one before may run again.
    fn forget_members(&mut self, slot: u32, now: Ms) {
        for n in 0..self.members(slot).len() {
            let row = self.members(slot)[n];
            let record = &mut self.rows[row as usize];
            if record.is_vacant() || self.occasion(row).is_of_the_whole() {
                continue;
            }
            let record = &mut self.rows[row as usize];
            // What repeats and is between two lives goes on with them, and its limit goes on counting.
            let goes_on = record.goal() == Goal::Up && record.state().is_active();
            if !goes_on && record.state().pid().is_none() {
                record.put(Flags::RAN | Flags::TEST_FAILED | Flags::RELEASED, false);
                record.restarts = 0;
            }
            if matches!(record.state(), ChildState::Done | ChildState::Failed) {
                self.set_goal(row, Goal::Down);
                self.change(row, ChildState::Down, now);
            }
        }
    }

    /// A tell is for the whole group: also for what was stopped by name.
    fn call_back_members(&mut self, slot: u32) {
        for n in 0..self.members(slot).len() {
            let row = self.members(slot)[n];
            // What an occasion of the whole has called is none of a level's business.
            if !self.occasion(row).is_of_the_whole() {
                self.rows[row as usize].put(Flags::MANUAL, false);
            }
        }
    }

    /// What is held, or could not be started, gets another chance; what was stopped by name stays down.
    fn retry_members(&mut self, slot: u32, now: Ms) {
        for n in 0..self.members(slot).len() {
            let row = self.members(slot)[n];
            let record = &self.rows[row as usize];
            if self.occasion(row).is_of_the_whole() || record.is(Flags::MANUAL) {
                continue;
            }
            let repeats = self.entry(row).is_some_and(|entry| entry.action().repeats());
            // Done: it ran once under an earlier table, and is a service now.
            let rests =
                matches!(record.state(), ChildState::Held { .. } | ChildState::Failed | ChildState::Done);
            if repeats && rests {
                self.rearm(row, now);
            }
        }
    }

    /// Tells all that has no place in the level to go, last first.
    fn leave(&mut self, slot: u32, now: Ms) {
        self.set_phase(slot, Phase::Leaving, now);
        if !self.groups[slot as usize].is(GroupFlags::BROKEN) {
            self.note_group(slot, What::Switch, now);
        }
        for n in (0..self.members(slot).len()).rev() {
            let row = self.members(slot)[n];
            if !self.has_place(row) && !self.rows[row as usize].is_vacant() {
                self.set_goal(row, Goal::Down);
                let record = &mut self.rows[row as usize];
                record.put(Flags::RAN | Flags::RELEASED | Flags::RESTART | Flags::CALLED, false);
            }
        }
    }

    fn enter(&mut self, slot: u32, now: Ms) {
        self.rosters[slot as usize].cursor = 0;
        self.set_phase(slot, Phase::Entering, now);
    }

    fn set_phase(&mut self, slot: u32, phase: Phase, now: Ms) {
        let record = &mut self.groups[slot as usize];
        record.set_phase(phase);
        record.since_ms = now;
        self.groups_due.push(slot);
    }

    /// Goes on with a switch, as far as it can go now.
    pub(super) fn advance(&mut self, slot: u32, now: Ms) {
        if !self.has_booted() {
            return;
        }
        let record = &self.groups[slot as usize];
        match record.phase() {
            Phase::Leaving if self.rosters[slot as usize].leaving > 0 => {}
            Phase::Leaving if record.is(GroupFlags::BROKEN) => self.settle(slot, Verdict::Fail, now),
            Phase::Leaving if record.level() == b"0" || self.is_going_down() => {
                self.settle(slot, Verdict::Stopped, now);
            }
            Phase::Leaving => self.enter(slot, now),
            Phase::Entering => {
                if self.start_members(slot) && self.rosters[slot as usize].starting == 0 {
                    self.settle(slot, self.verdict(slot), now);
                }
            }
            Phase::Settled(_) => {}
        }
    }

    /// Starts entries in file order, up to the first that holds back the others. Have all had their turn?
    fn start_members(&mut self, slot: u32) -> bool {
        loop {
            let cursor = self.rosters[slot as usize].cursor;
            let Some(&row) = self.members(slot).get(cursor as usize) else { return true };
            if self.occasion(row) == Occasion::Level && self.has_place(row) {
                self.take_turn(row);
                self.rows_due.push(row);
                if self.holds(row) {
                    return false;
                }
            }
            self.rosters[slot as usize].cursor = cursor + 1;
        }
    }

    pub(super) fn take_turn(&mut self, row: u32) {
        let record = &self.rows[row as usize];
        let repeats = self.entry(row).is_some_and(|entry| entry.action().repeats());
        if matches!(record.state(), ChildState::Stuck { .. }) && !repeats {
            // What does not die cannot take its turn; if it dies after all, a `wait` would come too late.
            return self.set_goal(row, Goal::Down);
        }
        let had_it = !repeats && record.is(Flags::RAN);
        if record.is(Flags::MANUAL) || had_it {
            return;
        }
        if record.goal() == Goal::Down {
            // It begins anew: what it failed at before releases nobody now.
            self.rows[row as usize].put(Flags::RELEASED, false);
        }
        self.set_goal(row, Goal::Up);
    }

    /// Does this entry hold back those below it?
    pub(super) fn holds(&self, row: u32) -> bool {
        let record = &self.rows[row as usize];
        let Some(entry) = self.entry(row) else { return false };
        if record.is(Flags::RELEASED) {
            return false;
        }
        let to_its_end = entry.action().is_waited_for();
        if record.goal() == Goal::Down {
            // Stopped by name, or gone from the table and back: it has not ended before its process has.
            return to_its_end && record.state().is_active();
        }
        match record.state() {
            ChildState::Done | ChildState::Failed | ChildState::Stuck { .. } => false,
            ChildState::Up { .. } => to_its_end,
            ChildState::Down
            | ChildState::Spawning
            | ChildState::Starting { .. }
            | ChildState::Backoff { .. }
            | ChildState::Held { .. }
            | ChildState::Draining { .. }
            | ChildState::Stopping { .. }
            | ChildState::Sweeping { .. }
            | ChildState::Killing { .. }
            | ChildState::Purging { .. } => to_its_end || entry.options().ready.is_some(),
        }
    }

    fn verdict(&self, slot: u32) -> Verdict {
        let bad = |row: &u32| {
            let record = &self.rows[*row as usize];
            record.is(Flags::TEST_FAILED) || matches!(record.state(), ChildState::Stuck { .. })
        };
        let reverted = self.groups[slot as usize].is(GroupFlags::REVERTED);
        if reverted || self.members(slot).iter().any(bad) { Verdict::Fail } else { Verdict::Run }
    }

    fn settle(&mut self, slot: u32, verdict: Verdict, now: Ms) {
        self.groups[slot as usize].put(GroupFlags::REVERT, false);
        self.set_phase(slot, Phase::Settled(verdict), now);
        let what = match verdict {
            Verdict::Stopped => What::Halted,
            Verdict::Run => What::Run,
            Verdict::Fail => What::Fail,
        };
        self.note_group(slot, what, now);
    }

    /// Something has failed. If its group is on its way and the switch is all or nothing, it goes back: does it?
    pub(super) fn goes_back(&mut self, slot: u32, now: Ms) -> bool {
        let record = &mut self.groups[slot as usize];
        if !record.is(GroupFlags::REVERT) || record.phase() != Phase::Entering {
            return false;
        }
        record.put(GroupFlags::REVERT, false);
        record.put(GroupFlags::REVERTED, true);
        let back = if record.previous().is_empty() { b"0" } else { record.previous() };
        let back = LevelCopy::from_slice(back);
        self.note_group(slot, What::Revert, now);
        self.switch(slot, &back, now);
        true
    }

    /// An entry with `fail=group` has failed: the group is stopped, and `fail`.
    pub(super) fn break_group(&mut self, slot: u32, now: Ms) {
        if !self.groups[slot as usize].is(GroupFlags::BROKEN) {
            self.groups[slot as usize].put(GroupFlags::BROKEN, true);
            self.leave(slot, now);
        }
    }

    /// What became of a switch.
    pub fn outcome(&self, ticket: Ticket) -> Outcome {
        match self.group(ticket.slot) {
            Some(record) if record.switch == ticket.switch => match record.phase() {
                Phase::Settled(verdict) => Outcome::Settled(verdict),
                Phase::Leaving | Phase::Entering => Outcome::Under,
            },
            Some(_) | None => Outcome::Overtaken,
        }
    }

    /// The row that a switch waits for now.
    pub fn waits_for(&self, slot: u32) -> Option<u32> {
        match self.group(slot)?.phase() {
            Phase::Leaving => {
                let leaving = |row: &&u32| {
                    let record = &self.rows[**row as usize];
                    record.goal() == Goal::Down && record.state().is_active()
                };
                self.members(slot).iter().rev().find(leaving).copied()
            }
            Phase::Entering => {
                let cursor = self.rosters.get(slot as usize)?.cursor;
                self.members(slot).get(cursor as usize).copied()
            }
            Phase::Settled(_) => None,
        }
    }

    /// The word of IS::Init's status file.
    pub fn group_state(&self, slot: u32) -> &'static str {
        let Some(record) = self.group(slot) else { return "stopped" };
        let stops = record.level() == b"0" || record.is(GroupFlags::BROKEN);
        match record.phase() {
            Phase::Leaving if stops => "stopping",
            Phase::Leaving | Phase::Entering => "start",
            Phase::Settled(Verdict::Stopped) => "stopped",
            Phase::Settled(Verdict::Run) => "run",
            Phase::Settled(Verdict::Fail) => "fail",
        }
    }
}

/// May `ondemand` entries run while their group is at this level? Not when it is stopped, nor in single user mode.
pub(super) fn serves_demands(level: &[u8]) -> bool {
    !matches!(level, b"" | b"0" | b"S" | b"s")
}

/// What became of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Under,
    /// It has ended.
    Settled(Verdict),
    /// Another tell of the same group has taken its place.
    Overtaken,
}
