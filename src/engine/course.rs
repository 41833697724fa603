//! The course of the whole: it begins, it runs, it goes down; and what happens to all groups at once.
//!
//! ```text
//!   boot ---> Sysinit ------> Boot ---------> Running ----> Stopping ----------> Shutdown ---------> Gone
//!             one after       bootwait:       groups        all groups at 0:     one after the       the last
//!             the other       one after       switch        nothing runs         other, each         effect
//!                             the other                                          within its time
//! ```
//!
//! A nested daemon begins at Running, and has no `shutdown` entries: it neither boots nor brings down anything. A
//! tell is accepted while the machine boots; its switch begins when Running is reached.
//!
//! Entries that an occasion of the whole starts (`sysinit`, `powerfail`, `shutdown`, ...) take their turns as those
//! of a level do: in file order, over all groups, each one that is waited for holding back those below it. What marks
//! them is [`Flags::CALLED`]: an occasion calls them, they run once for it, and the next call lets them run again.

use super::child::{ChildState, Goal};
use super::rows::{Flags, GroupFlags, Last, What};
use super::{Effect, Engine, Ms, NEVER};
use crate::isinittab::{Entry, Occasion};
use crate::limits::SHUTDOWN_ENTRY_MS;

/// Where the whole is on its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// The `sysinit` entries run. Then the rest of the boot follows.
    Sysinit { alone: bool },
    /// The `boot` and `bootwait` entries run. Then groups enter their levels; with `alone` only those that were told
    /// one.
    Boot { alone: bool },
    /// Groups are at their levels.
    Running,
    /// Every group is being stopped.
    Stopping(Farewell),
    /// The `shutdown` entries run; the one that is waited for has until then.
    Shutdown { farewell: Farewell, overdue_at: Ms },
    /// The last effect has been told.
    Gone(Farewell),
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The daemon's exit status.
    pub status: u8,
    /// The way down of the machine or the container: `0` (halting, powering off) or `6` (reboot), as `shutdown`
    /// entries have it for a level. `None` runs none of them.
    pub way: Option<u8>,
}

/// Occasions that come while the groups run, and that may come again.
const EVENTS: [Occasion; 5] = [
    Occasion::PowerFails,
    Occasion::PowerLow,
    Occasion::PowerBack,
    Occasion::CtrlAltDel,
    Occasion::KbRequest,
];

impl Engine<'_> {
    /// Begins as a machine or a container does: `sysinit`, `boot`, then the level of each group. With `alone` only
    /// groups that are told a level meanwhile enter one (single user mode).
    pub fn boot(&mut self, alone: bool, now: Ms) {
        self.head.set_boots();
        self.head.set_course(Course::Sysinit { alone });
        self.call(Occasion::Sysinit, now);
        self.call(Occasion::Boot, now);
    }

    /// Begins in the middle, as a nested daemon does: each group enters its `initdefault`.
    pub fn begin(&mut self, now: Ms) {
        self.head.set_course(Course::Running);
        self.enter_defaults(now);
    }

    /// Something has happened to the whole: starts the entries of the occasion whose levels their group is in, or that
    /// have no levels; what still runs from the last time is left alone. Is there any such entry?
    pub fn call(&mut self, occasion: Occasion, now: Ms) -> bool {
        let mut called = false;
        for n in 0..self.of_the_whole.len() {
            let row = self.of_the_whole[n];
            let answers = self.entry(row).is_some_and(|entry| self.answers(row, &entry, occasion));
            if answers && !self.rows[row as usize].state().is_active() {
                self.call_row(row, now);
            }
            called |= answers;
        }
        self.course_due = true;
        called
    }

    fn answers(&self, row: u32, entry: &Entry, occasion: Occasion) -> bool {
        let level = self.groups[self.rows[row as usize].group as usize].level();
        let in_level = match (occasion, self.head.course()) {
            // inittab(5): the levels of these are not looked at.
            (Occasion::Sysinit | Occasion::Boot, _) => true,
            (Occasion::Shutdown, Course::Shutdown { farewell, .. }) => {
                farewell.way.is_some_and(|way| entry.levels().has_way_down(way))
            }
            _ => entry.levels().raw().is_empty() || entry.levels().has(level),
        };
        entry.action().occasion() == occasion && in_level
    }

    fn call_row(&mut self, row: u32, now: Ms) {
        let record = &mut self.rows[row as usize];
        record.put(Flags::CALLED, true);
        record.put(Flags::RAN | Flags::RELEASED | Flags::MANUAL, false);
        if matches!(record.state(), ChildState::Done | ChildState::Failed) {
            self.set_goal(row, Goal::Down);
            self.change(row, ChildState::Down, now);
        }
    }

    /// Goes on with the course as far as it can go now. Has something come of it?
    pub(super) fn advance_course(&mut self, now: Ms) -> bool {
        if !std::mem::take(&mut self.course_due) {
            return false;
        }
        match self.head.course() {
            Course::Sysinit { alone } => {
                if self.give_turns(Occasion::Sysinit, now) {
                    self.go_on_to(Course::Boot { alone });
                }
            }
            Course::Boot { alone } => {
                if self.give_turns(Occasion::Boot, now) {
                    self.go_on_to(Course::Running);
                    if !alone {
                        self.enter_defaults(now);
                    }
                    (0..self.head.groups_used).for_each(|slot| self.groups_due.push(slot));
                }
            }
            Course::Running => {}
            Course::Stopping(farewell) => {
                if self.active == 0 {
                    self.go_on_to(Course::Shutdown { farewell, overdue_at: NEVER });
                    self.call(Occasion::Shutdown, now);
                }
            }
            Course::Shutdown { .. } => {
                self.give_turns(Occasion::Shutdown, now);
            }
            Course::Gone(_) => {}
        }
        if !self.is_going_down() {
            for occasion in EVENTS {
                self.give_turns(occasion, now);
            }
        }
        true
    }

    fn go_on_to(&mut self, course: Course) {
        self.head.set_course(course);
        self.course_due = true;
    }

    /// Gives those that an occasion has called their turn, in file order, up to the first that is waited for. Have
    /// all had it, and has what is waited for ended?
    fn give_turns(&mut self, occasion: Occasion, now: Ms) -> bool {
        for n in 0..self.of_the_whole.len() {
            let row = self.of_the_whole[n];
            let is_meant = self.entry(row).is_some_and(|entry| entry.action().occasion() == occasion);
            if !is_meant || !self.rows[row as usize].is(Flags::CALLED) {
                continue;
            }
            let waits = self.rows[row as usize].goal() == Goal::Down;
            self.take_turn(row);
            if waits && self.rows[row as usize].goal() == Goal::Up {
                self.give_time(row, now);
            }
            if self.holds(row) {
                return false;
            }
        }
        true
    }

    /// How long a `shutdown` entry may take: all the others of the whole may take their time.
    fn give_time(&mut self, row: u32, now: Ms) {
        let given = self.entry(row).and_then(|entry| entry.options().own_stop_timeout_ms());
        if let Course::Shutdown { farewell, .. } = self.head.course() {
            let overdue_at = now.saturating_add(given.map_or(SHUTDOWN_ENTRY_MS, u64::from));
            self.head.set_course(Course::Shutdown { farewell, overdue_at });
        }
    }

    /// When the course has something to do by time alone.
    pub(super) fn course_deadline(&self) -> Ms {
        match self.head.course() {
            Course::Shutdown { overdue_at, .. } => overdue_at,
            Course::Sysinit { .. }
            | Course::Boot { .. }
            | Course::Running
            | Course::Stopping(_)
            | Course::Gone(_) => NEVER,
        }
    }

    /// The `shutdown` entry that takes too long is stopped: the machine goes down all the same.
    pub(super) fn stop_overdue(&mut self, now: Ms) {
        let Course::Shutdown { farewell, overdue_at } = self.head.course() else { return };
        if overdue_at > now {
            return;
        }
        self.head.set_course(Course::Shutdown { farewell, overdue_at: NEVER });
        for n in 0..self.of_the_whole.len() {
            let row = self.of_the_whole[n];
            let record = &self.rows[row as usize];
            if record.goal() == Goal::Up && record.state().is_active() {
                self.note(row, What::Overdue, now);
                self.set_goal(row, Goal::Down);
            }
        }
    }

    /// May an entry of the whole run now?
    pub(super) fn is_called(&self, row: u32) -> bool {
        let occasion = self.occasion(row);
        let shuts_down = matches!(self.head.course(), Course::Shutdown { .. });
        let in_time = if self.is_going_down() {
            shuts_down && occasion == Occasion::Shutdown
        } else {
            occasion != Occasion::Shutdown
        };
        occasion.is_of_the_whole() && in_time && self.rows[row as usize].is(Flags::CALLED)
    }

    /// May groups enter levels: has the whole come so far?
    pub fn has_booted(&self) -> bool {
        !matches!(self.head.course(), Course::Sysinit { .. } | Course::Boot { .. })
    }

    /// Stops everything; the last effect follows when all is down. Nothing is started any more but `shutdown` entries.
    /// Asked for a second time it keeps the first farewell.
    pub fn go_down(&mut self, farewell: Farewell, now: Ms) {
        if self.is_going_down() {
            return;
        }
        self.go_on_to(Course::Stopping(farewell));
        // Last first, as within a group.
        for slot in (0..self.head.groups_used).rev() {
            if !self.groups[slot as usize].is_vacant() {
                let record = &mut self.groups[slot as usize];
                record.switch = record.switch.wrapping_add(1);
                record.put(GroupFlags::REVERT | GroupFlags::REVERTED | GroupFlags::BROKEN, false);
                self.switch(slot, b"0", now);
            }
        }
    }

    /// Is everything being stopped?
    pub fn is_going_down(&self) -> bool {
        matches!(self.head.course(), Course::Stopping(_) | Course::Shutdown { .. } | Course::Gone(_))
    }

    /// The level that the process of a row is told, and the one before (RUNLEVEL and PREVLEVEL): that of its group; of
    /// the whole, sysvinit's: `S` while it boots, and the way down.
    pub fn levels_of(&self, row: u32) -> (&[u8], &[u8]) {
        let group = self.row(row).and_then(|record| self.group(record.group));
        let (level, previous) = group.map_or((&[][..], &[][..]), |group| (group.level(), group.previous()));
        match (self.occasion(row), self.head.course()) {
            (Occasion::Sysinit | Occasion::Boot, _) => (b"S", b""),
            (Occasion::Shutdown, Course::Shutdown { farewell: Farewell { way: Some(b'6'), .. }, .. }) => {
                (b"6", previous)
            }
            _ => (level, previous),
        }
    }

    /// With `main`: when it ends for good, all ends with its status.
    pub(super) fn ended_for_good(&mut self, row: u32, last: Last, now: Ms) {
        let ended = match self.rows[row as usize].state() {
            ChildState::Done | ChildState::Failed | ChildState::Held { .. } => last != Last::Nothing,
            ChildState::Down
            | ChildState::Spawning
            | ChildState::Starting { .. }
            | ChildState::Up { .. }
            | ChildState::Backoff { .. }
            | ChildState::Draining { .. }
            | ChildState::Stopping { .. }
            | ChildState::Sweeping { .. }
            | ChildState::Killing { .. }
            | ChildState::Purging { .. }
            | ChildState::Stuck { .. } => false,
        };
        if ended && self.entry(row).is_some_and(|entry| entry.options().main) {
            self.end_all(self.last_status(row), now);
        }
    }

    /// An entry brings everything down, by `main` or `fail=all`.
    pub(super) fn end_all(&mut self, status: u8, now: Ms) {
        let way = self.head.boots().then_some(b'0');
        self.go_down(Farewell { status, way }, now);
    }

    /// The last effect of all, once.
    pub(super) fn farewell(&mut self) -> Option<Effect> {
        let Course::Shutdown { farewell, .. } = self.head.course() else { return None };
        if self.active > 0 {
            return None;
        }
        self.head.set_course(Course::Gone(farewell));
        Some(Effect::Exit { status: farewell.status })
    }
}
