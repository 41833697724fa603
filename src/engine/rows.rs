//! Rows: what is remembered of each entry and each resource group, in memory that survives an exec of
//! ourselves.
//!
//! A row stays at its place from the moment that its entry first appears in a table until the entry is gone
//! from the table *and* its process from the kernel. A re-read moves nothing: it only says anew which entry a
//! row belongs to. So a number that names a row (in the PID index, in the deadline heap, in a client that
//! waits) stays good over a re-read, and the child that was just forked can write the reason why it could not
//! execute into its own row, whatever the daemon does at that moment.
//!
//! Rows hold integers and bytes only. Any bytes are a valid row; whether they make *sense* is asked by
//! [`Row::state`], which turns what it does not know into [`ChildState::Stuck`]: a row that cannot be
//! understood is never a reason to start or to signal anything.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::child::{ChildState, Goal};
use super::course::{Course, Farewell};
use super::{Ms, NEVER};
use crate::limits::{PID_MAX, TAG_MAX_BYTES, TRANSITIONS_MAX, WORD_MAX_BYTES};
use crate::sys::memory::{Plain, plain};

/// The longest time that a table can ask for: what is due later was not written by us.
const DEADLINE_MAX_MS: u64 = u32::MAX as u64;

/// "No row", "no entry", "no group".
pub const NONE: u32 = u32::MAX;

/// The row of a transition whose entry is in no table any more: its place may be another's by now.
pub const DISOWNED: u32 = u32::MAX - 1;

plain! {
    /// One entry's record.
    pub struct Row {
        /// The process, or the last one that there was. The kernel writes it (CLONE_PARENT_SETTID) before the
        /// child has executed one instruction: there is no moment with a child that nobody knows.
        pub pid: AtomicU32,
        state: u8,
        tries: u8,
        /// The signal that stops what was started: kept here, because the entry may be changed or gone by then.
        pub stop_signal: u8,
        /// How often the respawn delay was doubled.
        pub doubled: u8,
        /// Why the child could not execute: written by the child itself, 0 if it could.
        pub fault: AtomicU64,
        deadline_ms: u64,
        /// When it came to the state that it is in.
        pub since_ms: u64,
        /// When the window of the respawn limit began.
        pub window_ms: u64,
        /// [`super::Entry::digest`] of what was started: differs from the table's when that has changed.
        pub digest: u64,
        /// Its entry in the table, or [`NONE`] when that is gone.
        pub entry: u32,
        /// Its group's slot.
        pub group: u32,
        /// How the last process ended: [`Last`] in one word.
        pub last: u32,
        /// Starts after the first one.
        pub restarts: u32,
        /// Starts within the window.
        pub starts: u16,
        /// What is true of it: [`Flags`].
        pub flags: u16,
        /// How long after that signal SIGKILL follows, kept for the same reason.
        pub stop_timeout_ms: u32,
        tag_length: u8,
        tag_bytes: [u8; 47],
    }
}

plain! {
    /// One resource group's record.
    pub struct GroupRow {
        /// When its phase began.
        pub since_ms: u64,
        /// Counts the switches: a client that waits for one sees that another has overtaken it.
        pub switch: u32,
        phase: u8,
        verdict: u8,
        /// What is true of it: [`GroupFlags`].
        pub flags: u8,
        used: u8,
        name: Word,
        level: Word,
        previous: Word,
    }
}

plain! {
    /// A name of at most 63 bytes, kept in place.
    pub struct Word {
        length: u8,
        bytes: [u8; 63],
    }
}

plain! {
    /// One thing that happened, for `watch`, the messages and the status file.
    #[derive(Clone, Copy)]
    pub struct Transition {
        /// When, in milliseconds of the monotonic clock.
        pub at_ms: u64,
        /// The group's slot.
        pub group: u32,
        /// The entry's row, [`NONE`] if it happened to the group, or [`DISOWNED`].
        pub row: u32,
        /// Its process, if there is one.
        pub pid: u32,
        /// How the last process ended: [`Last`] in one word.
        pub last: u32,
        what: u32,
        unused: u32,
    }
}

plain! {
    /// What is said once for all rows: how many are in use, and the last transitions in a ring, of which
    /// number `n` stands at `n % TRANSITIONS_MAX`.
    pub struct Head {
        /// How many transitions there have been.
        pub count: u64,
        /// Rows at and above this number were never used: reading them would cost memory.
        pub rows_used: u32,
        /// The same for the groups.
        pub groups_used: u32,
        overdue_ms: u64,
        course: u8,
        alone: u8,
        status: u8,
        way: u8,
        boots: u8,
        unused: [u8; 3],
        ring: [Transition; 1024],
    }
}

const _: () = assert!(TAG_MAX_BYTES == 47 && WORD_MAX_BYTES == 63 && TRANSITIONS_MAX == 1024);

/// Facts about a row, as bits of [`Row::flags`].
pub struct Flags;

impl Flags {
    /// Its `wait`, `once` or `test` was started since its level was entered.
    pub const RAN: u16 = 1;
    /// It holds back no entry below it, though it is not up: it failed.
    pub const RELEASED: u16 = 2;
    /// Stopped by `stop TAG`: down until `start TAG` or the next tell of its group.
    pub const MANUAL: u16 = 4;
    /// To be stopped and started again, by `restart TAG` or because it did not become ready.
    pub const RESTART: u16 = 8;
    /// Its `test` ended with a status other than 0.
    pub const TEST_FAILED: u16 = 16;
    /// A sweep is due (part of its state).
    pub(super) const LOOK: u16 = 32;
    /// It could not be started for want of something, and that has been said.
    pub const WANTING: u16 = 64;
    /// Its process has said that it is ready.
    pub const READY: u16 = 128;
    /// Its group wants it up.
    pub(super) const GOAL_UP: u16 = 256;
    /// It is being stopped because it was not ready in time.
    pub(super) const LATE: u16 = 512;
    /// What starts it is not the level of its group: an occasion has called it, or a tell of an on-demand level.
    pub(super) const CALLED: u16 = 1024;
}

/// Facts about a group, as bits of [`GroupRow::flags`].
pub struct GroupFlags;

impl GroupFlags {
    /// Go back to the level before if something fails on the way.
    pub const REVERT: u8 = 1;
    /// It went back.
    pub const REVERTED: u8 = 2;
    /// It is stopped because of an entry with `fail=group`.
    pub const BROKEN: u8 = 4;
    /// It was told a level at least once.
    pub const TOLD: u8 = 8;
}

/// How a process ended, in the words of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// No process has ended yet.
    Nothing,
    /// It exited with this status.
    Exit(u8),
    /// It was ended by this signal.
    Signal(u8),
    /// It could not be executed: the step that failed and the errno.
    Fault {
        /// Number of the step, as `sys::spawn` counts them; 0 is the fork itself.
        step: u8,
        /// The errno.
        errno: u16,
    },
    /// It did not become ready in time.
    NotReady,
}

impl Last {
    /// The word that a row keeps.
    pub fn word(self) -> u32 {
        match self {
            Last::Nothing => 0,
            Last::Exit(status) => 1 << 24 | u32::from(status),
            Last::Signal(signal) => 2 << 24 | u32::from(signal),
            Last::Fault { step, errno } => 3 << 24 | u32::from(step) << 16 | u32::from(errno),
            Last::NotReady => 4 << 24,
        }
    }

    /// What the word says; a word that says nothing is [`Last::Nothing`].
    pub fn from_word(word: u32) -> Last {
        let [kind, high, middle, low] = word.to_be_bytes();
        match kind {
            1 => Last::Exit(low),
            2 => Last::Signal(low),
            3 => Last::Fault { step: high, errno: u16::from_be_bytes([middle, low]) },
            4 => Last::NotReady,
            _ => Last::Nothing,
        }
    }
}

/// What happened to an entry or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum What {
    /// A process was started.
    Started = 1,
    /// It has said that it is ready.
    Ready,
    /// It ended by itself.
    Ended,
    /// It was asked to stop.
    Stopping,
    /// It did not stop in time and gets SIGKILL.
    Killing,
    /// It is gone, with all that it had started.
    Stopped,
    /// Its respawn limit is reached; it rests.
    Held,
    /// It failed, and is not started again by itself.
    Failed,
    /// It does not die of SIGKILL; given up.
    Stuck,
    /// The system refused the start; it is tried again.
    Wanting,
    /// Its terminal does not exist on this machine; skipped.
    Skipped,
    /// A `shutdown` entry takes too long; it is stopped.
    Overdue,
    /// The group begins to switch to another level.
    Switch,
    /// The group has arrived: `run`.
    Run,
    /// The group has arrived, and failed.
    Fail,
    /// The group is stopped.
    Halted,
    /// The group goes back to the level before.
    Revert,
}

impl What {
    const ALL: [What; 17] = [
        What::Started,
        What::Ready,
        What::Ended,
        What::Stopping,
        What::Killing,
        What::Stopped,
        What::Held,
        What::Failed,
        What::Stuck,
        What::Wanting,
        What::Skipped,
        What::Overdue,
        What::Switch,
        What::Run,
        What::Fail,
        What::Halted,
        What::Revert,
    ];

    /// The word of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            What::Started => "started",
            What::Ready => "ready",
            What::Ended => "ended",
            What::Stopping => "stopping",
            What::Killing => "killing",
            What::Stopped => "stopped",
            What::Held => "held",
            What::Failed => "failed",
            What::Stuck => "stuck",
            What::Wanting => "wanting",
            What::Skipped => "skipped",
            What::Overdue => "overdue",
            What::Switch => "switch",
            What::Run => "run",
            What::Fail => "fail",
            What::Halted => "halted",
            What::Revert => "revert",
        }
    }
}

impl Transition {
    /// What happened; `None` for bytes that say nothing.
    pub fn what(&self) -> Option<What> {
        What::ALL.into_iter().find(|what| *what as u32 == self.what)
    }
}

// The course of the whole in the head. 0, the byte of memory that nobody has written, is the beginning of a nested one.
const RUNNING: u8 = 0;
const SYSINIT: u8 = 1;
const BOOT: u8 = 2;
const STOPPING_ALL: u8 = 3;
const SHUTDOWN: u8 = 4;
const GONE: u8 = 5;

impl Head {
    /// A head of any bytes, without transitions: see [`Row::from_bytes`].
    pub fn from_bytes(byte: &mut impl FnMut() -> u8) -> Head {
        let mut head = Head::zeroed();
        head.count = number(8, byte);
        (head.rows_used, head.groups_used) = (number(4, byte) as u32, number(4, byte) as u32);
        head.overdue_ms = number(8, byte);
        (head.course, head.alone, head.status) = (byte(), byte(), byte());
        (head.way, head.boots) = (byte(), byte());
        head
    }

    /// Where the whole is on its course; a number without meaning is a whole that runs.
    pub(super) fn course(&self) -> Course {
        let alone = self.alone != 0;
        let farewell = Farewell { status: self.status, way: Some(self.way).filter(|way| *way != 0) };
        match self.course {
            SYSINIT => Course::Sysinit { alone },
            BOOT => Course::Boot { alone },
            STOPPING_ALL => Course::Stopping(farewell),
            SHUTDOWN => Course::Shutdown { farewell, overdue_at: self.overdue_ms },
            GONE => Course::Gone(farewell),
            _ => Course::Running,
        }
    }

    pub(super) fn set_course(&mut self, course: Course) {
        let (number, alone, farewell, overdue_at) = match course {
            Course::Sysinit { alone } => (SYSINIT, alone, None, NEVER),
            Course::Boot { alone } => (BOOT, alone, None, NEVER),
            Course::Running => (RUNNING, false, None, NEVER),
            Course::Stopping(farewell) => (STOPPING_ALL, false, Some(farewell), NEVER),
            Course::Shutdown { farewell, overdue_at } => (SHUTDOWN, false, Some(farewell), overdue_at),
            Course::Gone(farewell) => (GONE, false, Some(farewell), NEVER),
        };
        let farewell = farewell.unwrap_or(Farewell { status: 0, way: None });
        (self.status, self.way) = (farewell.status, farewell.way.unwrap_or(0));
        (self.alone, self.overdue_ms, self.course) = (u8::from(alone), overdue_at, number);
    }

    /// Has it booted, as a machine or a container does?
    pub(super) fn boots(&self) -> bool {
        self.boots != 0
    }

    /// After an earlier life: an end that was told and has not come is told again, and a time that nobody can have set is
    /// now.
    pub(super) fn mend(&mut self, now: Ms) {
        if let Course::Gone(farewell) = self.course() {
            self.set_course(Course::Shutdown { farewell, overdue_at: NEVER });
        }
        if self.overdue_ms != NEVER && self.overdue_ms > now.saturating_add(DEADLINE_MAX_MS) {
            self.overdue_ms = now;
        }
    }

    pub(super) fn set_boots(&mut self) {
        self.boots = 1;
    }

    /// Transition number `n`, if it is still remembered.
    pub fn get(&self, n: u64) -> Option<&Transition> {
        if n < self.forgotten() || n >= self.count {
            return None;
        }
        self.ring.get((n % TRANSITIONS_MAX as u64) as usize)
    }

    /// How many transitions are not remembered any more.
    pub fn forgotten(&self) -> u64 {
        self.count.saturating_sub(TRANSITIONS_MAX as u64)
    }

    /// Free rows and slots are about to be given to others: what happened to those who had them is not news of them.
    pub(super) fn disown(&mut self, is_free_row: impl Fn(u32) -> bool, is_free_slot: impl Fn(u32) -> bool) {
        let remembered = usize::try_from(self.count).unwrap_or(TRANSITIONS_MAX).min(TRANSITIONS_MAX);
        for transition in self.ring.iter_mut().take(remembered) {
            if transition.row != NONE && is_free_row(transition.row) {
                transition.row = DISOWNED;
            }
            if is_free_slot(transition.group) {
                transition.group = NONE;
            }
        }
    }

    pub(super) fn push(&mut self, at_ms: Ms, group: u32, row: u32, pid: u32, last: u32, what: What) {
        let place = (self.count % TRANSITIONS_MAX as u64) as usize;
        if let Some(slot) = self.ring.get_mut(place) {
            *slot = Transition { at_ms, group, row, pid, last, what: what as u32, unused: 0 };
            self.count = self.count.wrapping_add(1);
        }
    }
}

impl Word {
    /// The bytes of the name.
    pub fn get(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    pub(super) fn set(&mut self, name: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(..name.len()) else { return false };
        place.copy_from_slice(name);
        self.length = name.len() as u8;
        true
    }
}

/// A number of so many bytes.
fn number(bytes: usize, byte: &mut impl FnMut() -> u8) -> u64 {
    (0..bytes).fold(0, |number, n| number | u64::from(byte()) << (8 * n))
}

// The state in a row: a number for the variant, and the fields that the variants share.
const VACANT: u8 = 0;
const DOWN: u8 = 1;
const SPAWNING: u8 = 2;
const STARTING: u8 = 3;
const UP: u8 = 4;
const BACKOFF: u8 = 5;
const HELD: u8 = 6;
const STOPPING: u8 = 7;
const SWEEPING: u8 = 8;
const KILLING: u8 = 9;
const PURGING: u8 = 10;
const STUCK: u8 = 11;
const DONE: u8 = 12;
const FAILED: u8 = 13;
const DRAINING: u8 = 14;

impl Row {
    /// Is there no entry and no process of one in this row?
    pub fn is_vacant(&self) -> bool {
        self.state == VACANT
    }

    pub(super) fn vacate(&mut self) {
        *self = Row::zeroed();
    }

    /// A row of any bytes, as memory may hold them that somebody else has written: its fields in their order, least
    /// byte first; of the tag as many as its length says, and there is room for.
    pub fn from_bytes(byte: &mut impl FnMut() -> u8) -> Row {
        let mut row = Row::zeroed();
        row.pid = AtomicU32::new(number(4, byte) as u32);
        (row.state, row.tries, row.stop_signal, row.doubled) = (byte(), byte(), byte(), byte());
        row.fault = AtomicU64::new(number(8, byte));
        (row.deadline_ms, row.since_ms) = (number(8, byte), number(8, byte));
        (row.window_ms, row.digest) = (number(8, byte), number(8, byte));
        (row.entry, row.group) = (number(4, byte) as u32, number(4, byte) as u32);
        (row.last, row.restarts) = (number(4, byte) as u32, number(4, byte) as u32);
        (row.starts, row.flags) = (number(2, byte) as u16, number(2, byte) as u16);
        row.stop_timeout_ms = number(4, byte) as u32;
        row.tag_length = byte();
        row.tag_bytes.iter_mut().take(usize::from(row.tag_length)).for_each(|place| *place = byte());
        row
    }

    /// Bytes that make sense now and then.
    #[cfg(test)]
    pub(super) fn random(mut byte: impl FnMut() -> u8) -> Row {
        let mut row = Row::from_bytes(&mut byte);
        row.pid = AtomicU32::new(u32::from(byte()) * 7);
        if byte() < 200 {
            row.state = byte() % 16;
        }
        if byte() < 200 {
            row.group = u32::from(byte() % 16);
        }
        if byte() < 200 {
            row.tag_length = 2 + byte() % 2;
            row.tag_bytes[..2].copy_from_slice(&[b't', b'0' + byte() % 10]);
        }
        row
    }

    pub(super) fn occupy(&mut self, tag: &[u8], group: u32, entry: u32, now: Ms) -> bool {
        *self = Row::zeroed();
        let Some(place) = self.tag_bytes.get_mut(..tag.len()) else { return false };
        place.copy_from_slice(tag);
        self.tag_length = tag.len() as u8;
        self.group = group;
        self.entry = entry;
        self.since_ms = now;
        self.deadline_ms = NEVER;
        self.state = DOWN;
        true
    }

    /// The entry's tag.
    pub fn tag(&self) -> &[u8] {
        self.tag_bytes.get(..usize::from(self.tag_length)).unwrap_or(&[])
    }

    /// The process of this row, 0 for none.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Acquire)
    }

    /// Is this bit of [`Flags`] set?
    pub fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn put(&mut self, flag: u16, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }

    /// What its group wants of it.
    pub fn goal(&self) -> Goal {
        if self.is(Flags::GOAL_UP) { Goal::Up } else { Goal::Down }
    }

    pub(super) fn set_goal(&mut self, goal: Goal) {
        self.put(Flags::GOAL_UP, goal == Goal::Up);
    }

    /// Is it because of this one that its group has failed?
    pub fn failed(&self) -> bool {
        let state =
            matches!(self.state(), ChildState::Failed | ChildState::Held { .. } | ChildState::Stuck { .. });
        state || self.is(Flags::TEST_FAILED | Flags::RELEASED)
    }

    /// Is it on its way down in order to come up again, or about to be?
    pub fn is_restarting(&self) -> bool {
        self.is(Flags::RESTART)
    }

    /// How its last process ended.
    pub fn last(&self) -> Last {
        Last::from_word(self.last)
    }

    /// What the row means. Bytes without meaning are [`ChildState::Stuck`]: nothing is done about those.
    pub fn state(&self) -> ChildState {
        let (pid, at, tries, look) = (self.pid(), self.deadline_ms, self.tries, self.is(Flags::LOOK));
        match self.state {
            VACANT | DOWN => ChildState::Down,
            SPAWNING => ChildState::Spawning,
            STARTING => ChildState::Starting { pid, ready_by: at },
            UP => ChildState::Up { pid },
            BACKOFF => ChildState::Backoff { until: at },
            HELD => ChildState::Held { until: at },
            DRAINING => ChildState::Draining { pid, stop_at: at },
            STOPPING => ChildState::Stopping { pid, kill_at: at },
            SWEEPING => ChildState::Sweeping { main: pid, look, kill_at: at },
            KILLING => ChildState::Killing { pid, again_at: at, tries },
            PURGING => ChildState::Purging { main: pid, look, again_at: at, tries },
            DONE => ChildState::Done,
            FAILED => ChildState::Failed,
            _ => ChildState::Stuck { pid },
        }
    }

    /// After an earlier life: a row without a name is none; a process that no kernel has is none, nor is process 1 ours;
    /// times that have not come yet, as only bytes from elsewhere have them, are now.
    pub(super) fn mend(&mut self, now: Ms) {
        if !(1..=TAG_MAX_BYTES).contains(&usize::from(self.tag_length)) {
            return self.vacate();
        }
        if !(2..=PID_MAX).contains(&self.pid()) {
            self.pid.store(0, Ordering::Release);
        }
        self.since_ms = self.since_ms.min(now);
        self.window_ms = self.window_ms.min(now);
        self.doubled = self.doubled.min(31);
        // A readiness alone may be waited for without an end: what never stops would hold up its group for ever.
        let endless = self.deadline_ms == NEVER && matches!(self.state(), ChildState::Starting { .. });
        if !endless && self.deadline_ms > now.saturating_add(DEADLINE_MAX_MS) {
            self.deadline_ms = now;
        }
        if !(1..=64).contains(&self.stop_signal) {
            self.stop_signal = 15;
        }
    }

    /// It turns out that it was started: as if the kernel had just stored its process.
    pub fn was_started(&mut self, pid: u32) {
        self.set_state(ChildState::Spawning);
        self.put(Flags::MANUAL, false);
        self.put(Flags::GOAL_UP, true);
        self.pid.store(pid, Ordering::Release);
    }

    pub(super) fn forget_goal(&mut self) {
        self.put(Flags::GOAL_UP | Flags::RESTART | Flags::MANUAL | Flags::CALLED | Flags::RAN, false);
    }

    /// Stores a state; the number that says which it is comes last.
    pub(super) fn set_state(&mut self, state: ChildState) {
        let (number, pid, at, tries, look) = match state {
            ChildState::Down => (DOWN, 0, NEVER, 0, false),
            // The kernel stores the PID while this is the state: what stands there must be 0, not the last one.
            ChildState::Spawning => (SPAWNING, 0, NEVER, 0, false),
            ChildState::Starting { pid, ready_by } => (STARTING, pid, ready_by, 0, false),
            ChildState::Up { pid } => (UP, pid, NEVER, 0, false),
            ChildState::Backoff { until } => (BACKOFF, 0, until, 0, false),
            ChildState::Held { until } => (HELD, 0, until, 0, false),
            ChildState::Draining { pid, stop_at } => (DRAINING, pid, stop_at, 0, false),
            ChildState::Stopping { pid, kill_at } => (STOPPING, pid, kill_at, 0, false),
            ChildState::Sweeping { main, look, kill_at } => (SWEEPING, main, kill_at, 0, look),
            ChildState::Killing { pid, again_at, tries } => (KILLING, pid, again_at, tries, false),
            ChildState::Purging { main, look, again_at, tries } => (PURGING, main, again_at, tries, look),
            ChildState::Stuck { pid } => (STUCK, pid, NEVER, 0, false),
            ChildState::Done => (DONE, 0, NEVER, 0, false),
            ChildState::Failed => (FAILED, 0, NEVER, 0, false),
        };
        self.pid.store(pid, Ordering::Release);
        self.deadline_ms = at;
        self.tries = tries;
        self.put(Flags::LOOK, look);
        self.state = number;
    }
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What has no place in the level that was told is being stopped.
    Leaving,
    /// The level's entries are being started, in file order.
    Entering,
    /// It has arrived.
    Settled(Verdict),
}

/// What became of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is at level 0, or was never told anything.
    Stopped,
    /// It runs.
    Run,
    /// A test failed, or an entry with `fail=group`, or the way there.
    Fail,
}

impl GroupRow {
    /// A record of any bytes: see [`Row::from_bytes`].
    pub fn from_bytes(byte: &mut impl FnMut() -> u8) -> GroupRow {
        let mut group = GroupRow::zeroed();
        (group.since_ms, group.switch) = (number(8, byte), number(4, byte) as u32);
        (group.phase, group.verdict, group.flags, group.used) = (byte(), byte(), byte(), byte());
        for word in [&mut group.name, &mut group.level, &mut group.previous] {
            word.length = byte();
            word.bytes.iter_mut().take(usize::from(word.length)).for_each(|place| *place = byte());
        }
        group
    }

    /// Bytes that make sense now and then.
    #[cfg(test)]
    pub(super) fn random(mut byte: impl FnMut() -> u8) -> GroupRow {
        let mut group = GroupRow::from_bytes(&mut byte);
        (group.phase, group.verdict) = (byte() % 4, byte() % 4);
        if byte() < 200 {
            group.used = 1;
            group.name.set([b"foo", b"bar", b"baz"][usize::from(byte() % 3)]);
        }
        group
    }

    /// Is there no group in this slot?
    pub fn is_vacant(&self) -> bool {
        self.used == 0
    }

    pub(super) fn vacate(&mut self) {
        *self = GroupRow::zeroed();
    }

    pub(super) fn occupy(&mut self, name: &[u8], now: Ms) -> bool {
        *self = GroupRow::zeroed();
        self.since_ms = now;
        self.set_phase(Phase::Settled(Verdict::Stopped));
        self.used = 1;
        self.name.set(name)
    }

    /// After an earlier life: a group without a name is none.
    pub(super) fn mend(&mut self, now: Ms) {
        if self.used != 1 || self.name().is_empty() {
            self.vacate();
        }
        self.since_ms = self.since_ms.min(now);
    }

    pub(super) fn forget_level(&mut self) {
        (self.level, self.previous) = (Word::zeroed(), Word::zeroed());
        self.flags = 0;
        self.set_phase(Phase::Settled(Verdict::Stopped));
    }

    /// The group's name.
    pub fn name(&self) -> &[u8] {
        self.name.get()
    }

    /// The level that it was told last; empty if it never was.
    pub fn level(&self) -> &[u8] {
        self.level.get()
    }

    /// Would a tell of this level enter it? What was stopped by fail=group has left its level, whichever it was.
    pub(super) fn would_enter(&self, level: &[u8]) -> bool {
        self.level() != level || self.is(GroupFlags::BROKEN)
    }

    /// The level before that one.
    pub fn previous(&self) -> &[u8] {
        self.previous.get()
    }

    pub(super) fn set_level(&mut self, level: &[u8]) -> bool {
        if self.level.get() != level {
            self.previous = Word { length: self.level.length, bytes: self.level.bytes };
        }
        self.level.set(level)
    }

    /// Is this bit of [`GroupFlags`] set?
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn put(&mut self, flag: u8, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }

    /// Where the group stands; bytes without meaning are a group that failed.
    pub fn phase(&self) -> Phase {
        match (self.phase, self.verdict) {
            (1, _) => Phase::Leaving,
            (2, _) => Phase::Entering,
            (0, 0) => Phase::Settled(Verdict::Stopped),
            (0, 1) => Phase::Settled(Verdict::Run),
            _ => Phase::Settled(Verdict::Fail),
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        (self.phase, self.verdict) = match phase {
            Phase::Leaving => (1, 0),
            Phase::Entering => (2, 0),
            Phase::Settled(Verdict::Stopped) => (0, 0),
            Phase::Settled(Verdict::Run) => (0, 1),
            Phase::Settled(Verdict::Fail) => (0, 2),
        };
    }
}
