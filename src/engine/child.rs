//! One entry's process: its states, and what each event makes of them.
//!
//! ```text
//!            goal Up                     ready / no ready=
//!    Down ------------> Spawning ---> Starting ------------> Up
//!     ^  ^                  | refused     | ends               | ends
//!     |  |                  v             v                    v
//!     |  |               Backoff <---- (respawn) ----------- Held (over its limit)
//!     |  |                            (wait, once, test) --> Done or Failed
//!     |  |
//!     |  |  goal Down, from Starting or Up:
//!     |  |    Stopping --- ends ---> Sweeping --- nothing left ---> Down
//!     |  |       | kill_at              | kill_at
//!     |  |       v                      v
//!     |  |    Killing ---- ends ---> Purging ---- nothing left ---> Down
//!     |  |       | tries               | tries
//!     |  +-------+-------> Stuck <-----+
//!     +--- it ended after all
//! ```
//!
//! Two functions, both pure, with every cell written. [`after`] says what an event makes of a state.
//! [`next`] compares a state with the goal and the time, and says what is to be done, if anything; it is
//! asked again and again until there is nothing. So no effect is ever kept in a queue, where a crash could
//! lose it: what is not done yet can be seen from the state.

use super::{Ms, NEVER};
use crate::isinittab::{Action, Limit, Options};
use crate::limits::{HEALTHY_MS, KILL_AGAIN_MS, KILL_TRIES, RETRY_MS};

/// What the group wants of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It has no place in the level, or its group's turn has not come to it.
    Down,
    /// It is to run (or to have run).
    Up,
}

/// What an entry's process is doing. Each state carries its own deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are what their states say of them
pub enum ChildState {
    /// No process, and none due.
    Down,
    /// The row is marked; the answer of the start is not there yet.
    Spawning,
    /// It runs, and has not said yet that it is ready ([`NEVER`]: it may take its time).
    Starting { pid: u32, ready_by: Ms },
    /// It runs.
    Up { pid: u32 },
    /// It ended, or could not be started; it is started (again) then.
    Backoff { until: Ms },
    /// It ended too often; it rests until then.
    Held { until: Ms },
    /// It reads the log of others, who are gone: it has got end-of-file, and time to write what it has read.
    Draining { pid: u32, stop_at: Ms },
    /// It has got its stop signal.
    Stopping { pid: u32, kill_at: Ms },
    /// Its main process has ended while being stopped; what that left behind has been asked to go too.
    Sweeping { main: u32, look: bool, kill_at: Ms },
    /// It has got SIGKILL.
    Killing { pid: u32, again_at: Ms, tries: u8 },
    /// Its main process has ended; what that left behind has got SIGKILL.
    Purging { main: u32, look: bool, again_at: Ms, tries: u8 },
    /// It does not die of SIGKILL. It is not started again while that is so.
    Stuck { pid: u32 },
    /// A `wait`, `once` or `test` that has ended well.
    Done,
    /// It has ended badly, or could not be started, and is not started again by itself.
    Failed,
}

/// What happens to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChildEvent {
    /// It was started.
    Spawned { pid: u32 },
    /// The system refused to start it, for want of something that will be there later.
    Refused,
    /// Its main process ended, or could not even be made.
    Ended(Ending),
    /// It said that it is ready.
    Ready,
    /// A sweep has found something of it, or nothing.
    Swept { left: bool },
    /// A process that nobody knows has ended: it may have been the last one that was left of it.
    Orphan,
}

/// How a process ended, as far as its entry is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With exit status 0.
    Well,
    /// With another status, or by a signal, or it could not be executed.
    Badly,
    /// It could not be executed for want of something that will be there later.
    Wanting,
    /// Its terminal does not exist on this machine.
    NoTerminal,
}

/// What is to be done for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Act {
    /// Start it.
    Spawn,
    /// Close the pipe that it reads the log of others from.
    EndLog,
    /// Send the stop signal to its process group.
    Stop,
    /// Send SIGKILL to its process group (cgroup.kill).
    Kill,
    /// Its main process is gone: look for what is left of it, and ask that to go; with `kill`, by SIGKILL.
    Sweep { kill: bool },
    /// Nothing but the change of state.
    Nothing,
}

/// A failure, as far as `fail=` is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A `wait` or `once` ended badly, or could not be executed.
    Ended,
    /// A `test` ended badly.
    Test,
    /// A respawn is over its limit.
    Limit,
    /// Not ready in time.
    Ready,
    /// It does not die.
    Stuck,
}

/// What is known of a child beside its state.
pub struct Case<'t> {
    /// The time.
    pub now: Ms,
    /// What its group wants.
    pub goal: Goal,
    /// Is it to be stopped and started again?
    pub restart: bool,
    /// What the table says: `None` when its entry is gone.
    pub wish: Option<(Action, &'t Options)>,
    /// Milliseconds from its stop signal to SIGKILL.
    pub stop_timeout_ms: u32,
    /// Does it read the log of others, and is it the last of them to go?
    pub last_reader: bool,
    /// Starts within the window of its limit, and when that window began.
    pub starts: u16,
    /// See `starts`.
    pub window_ms: Ms,
    /// When its process was started.
    pub since_ms: Ms,
    /// How often its delay was doubled.
    pub doubled: u8,
}

impl Case<'_> {
    fn leaving(&self) -> bool {
        self.goal == Goal::Down || self.restart
    }

    fn kill_at(&self) -> Ms {
        self.now.saturating_add(u64::from(self.stop_timeout_ms))
    }

    fn started(&self, pid: u32) -> ChildState {
        match self.wish {
            Some((_, Options { ready: Some(_), ready_timeout_ms, .. })) => {
                let ready_by = ready_timeout_ms.map_or(NEVER, |ms| self.now.saturating_add(u64::from(ms)));
                ChildState::Starting { pid, ready_by }
            }
            _ => ChildState::Up { pid },
        }
    }

    /// Did the respawn limit's window hold as many starts as it may?
    pub fn is_over(&self, limit: &Limit) -> bool {
        self.starts >= limit.starts && self.now < self.window_ms.saturating_add(u64::from(limit.window_ms))
    }

    /// How long to pause before the next start. Doubles with each unhealthy life, up to the most.
    fn pause_ms(&self, options: &Options) -> u64 {
        if self.healthy() {
            return u64::from(options.delay_min_ms);
        }
        let doubled = u64::from(options.delay_min_ms) << self.doubled.min(31);
        doubled.min(u64::from(options.delay_max_ms)).max(u64::from(options.delay_min_ms))
    }

    /// Did it live long enough for its delay to begin anew?
    pub fn healthy(&self) -> bool {
        self.now.saturating_sub(self.since_ms) >= HEALTHY_MS
    }

    /// A process that nobody stopped has ended: what now?
    fn ended(&self, ending: Ending) -> (ChildState, Option<Failure>) {
        let Some((action, options)) = self.wish else { return (ChildState::Down, None) };
        match (ending, action.repeats()) {
            (Ending::Wanting, _) => (self.retry(), None),
            (Ending::NoTerminal, _) => (ChildState::Failed, None),
            (Ending::Well, false) => (ChildState::Done, None),
            (Ending::Badly, false) if action == Action::Test => (ChildState::Failed, Some(Failure::Test)),
            (Ending::Badly, false) => (ChildState::Failed, Some(Failure::Ended)),
            (Ending::Well | Ending::Badly, true) => match &options.limit {
                Some(limit) if self.is_over(limit) => {
                    let until = self.now.saturating_add(u64::from(limit.hold_ms));
                    (ChildState::Held { until }, Some(Failure::Limit))
                }
                Some(_) | None => {
                    let until = self.now.saturating_add(self.pause_ms(options));
                    (ChildState::Backoff { until }, None)
                }
            },
        }
    }

    fn retry(&self) -> ChildState {
        ChildState::Backoff { until: self.now.saturating_add(RETRY_MS) }
    }
}

impl ChildState {
    /// Is there, or may there be, a process of it, or one that is due by itself?
    pub fn is_active(self) -> bool {
        match self {
            ChildState::Spawning
            | ChildState::Starting { .. }
            | ChildState::Up { .. }
            | ChildState::Backoff { .. }
            | ChildState::Held { .. }
            | ChildState::Draining { .. }
            | ChildState::Stopping { .. }
            | ChildState::Sweeping { .. }
            | ChildState::Killing { .. }
            | ChildState::Purging { .. } => true,
            // What does not die is given up: its group's switch must not wait for it for ever.
            ChildState::Stuck { .. } | ChildState::Down | ChildState::Done | ChildState::Failed => false,
        }
    }

    /// Is something looked for that its main process has left behind?
    pub fn is_sweeping(self) -> bool {
        matches!(
            self,
            ChildState::Sweeping { .. } | ChildState::Purging { .. } | ChildState::Stuck { pid: 0 }
        )
    }

    /// Its main process, if that is alive as far as we know.
    pub fn pid(self) -> Option<u32> {
        match self {
            ChildState::Starting { pid, .. }
            | ChildState::Up { pid }
            | ChildState::Draining { pid, .. }
            | ChildState::Stopping { pid, .. }
            | ChildState::Killing { pid, .. }
            | ChildState::Stuck { pid } => Some(pid),
            ChildState::Down
            | ChildState::Spawning
            | ChildState::Backoff { .. }
            | ChildState::Held { .. }
            | ChildState::Sweeping { .. }
            | ChildState::Purging { .. }
            | ChildState::Done
            | ChildState::Failed => None,
        }
    }

    /// When something is due by time alone, or [`NEVER`].
    pub fn deadline(self) -> Ms {
        match self {
            ChildState::Starting { ready_by: at, .. }
            | ChildState::Backoff { until: at }
            | ChildState::Held { until: at }
            | ChildState::Draining { stop_at: at, .. }
            | ChildState::Stopping { kill_at: at, .. }
            | ChildState::Sweeping { kill_at: at, .. }
            | ChildState::Killing { again_at: at, .. }
            | ChildState::Purging { again_at: at, .. } => at,
            ChildState::Down
            | ChildState::Spawning
            | ChildState::Up { .. }
            | ChildState::Stuck { .. }
            | ChildState::Done
            | ChildState::Failed => NEVER,
        }
    }

    /// The word of the status.
    pub fn name(self) -> &'static str {
        match self {
            ChildState::Down => "down",
            ChildState::Spawning => "spawning",
            ChildState::Starting { .. } => "starting",
            ChildState::Up { .. } => "up",
            ChildState::Backoff { .. } => "backoff",
            ChildState::Held { .. } => "held",
            ChildState::Draining { .. } | ChildState::Stopping { .. } | ChildState::Sweeping { .. } => {
                "stopping"
            }
            ChildState::Killing { .. } | ChildState::Purging { .. } => "killing",
            ChildState::Stuck { .. } => "stuck",
            ChildState::Done => "done",
            ChildState::Failed => "failed",
        }
    }
}

/// What an event makes of a state, and the failure that it was, if it was one.
pub fn after(state: ChildState, event: ChildEvent, case: &Case) -> (ChildState, Option<Failure>) {
    use ChildEvent as E;
    use ChildState as S;
    let to = |state| (state, None);
    match (state, event) {
        // The answers of a start.
        (S::Spawning, E::Spawned { pid }) => to(case.started(pid)),
        (S::Spawning, E::Refused) => to(case.retry()),
        (S::Spawning, E::Ended(ending)) => case.ended(ending),

        // The end of a main process: by itself, or as it was asked to.
        (S::Starting { pid, .. } | S::Up { pid }, E::Ended(ending)) => {
            if case.leaving() {
                to(S::Sweeping { main: pid, look: true, kill_at: case.kill_at() })
            } else {
                case.ended(ending)
            }
        }
        (S::Draining { pid, .. }, E::Ended(_)) => {
            to(S::Sweeping { main: pid, look: true, kill_at: case.kill_at() })
        }
        (S::Stopping { pid, kill_at }, E::Ended(_)) => to(S::Sweeping { main: pid, look: true, kill_at }),
        (S::Killing { pid, again_at, tries }, E::Ended(_)) => {
            to(S::Purging { main: pid, look: true, again_at, tries })
        }
        (S::Stuck { .. }, E::Ended(_)) => to(S::Down),
        // What was left of it would not die; somebody died now: was it that?
        (S::Stuck { pid: 0 }, E::Orphan) => {
            let again_at = case.now.saturating_add(KILL_AGAIN_MS);
            to(S::Purging { main: 0, look: true, again_at, tries: KILL_TRIES })
        }

        // Readiness. What is not waited for is not news; what is being stopped may say what it likes.
        (S::Starting { pid, .. }, E::Ready) => to(S::Up { pid }),
        (
            S::Down
            | S::Spawning
            | S::Up { .. }
            | S::Backoff { .. }
            | S::Held { .. }
            | S::Draining { .. }
            | S::Stopping { .. }
            | S::Sweeping { .. }
            | S::Killing { .. }
            | S::Purging { .. }
            | S::Stuck { .. }
            | S::Done
            | S::Failed,
            E::Ready,
        ) => to(state),

        // What is left of it.
        (S::Sweeping { .. } | S::Purging { .. }, E::Swept { left: false }) => to(S::Down),
        (S::Sweeping { .. } | S::Purging { .. }, E::Swept { left: true }) => to(state),
        (S::Sweeping { main, kill_at, .. }, E::Orphan) => to(S::Sweeping { main, look: true, kill_at }),
        (S::Purging { main, again_at, tries, .. }, E::Orphan) => {
            to(S::Purging { main, look: true, again_at, tries })
        }
        (
            S::Down
            | S::Spawning
            | S::Starting { .. }
            | S::Up { .. }
            | S::Backoff { .. }
            | S::Held { .. }
            | S::Draining { .. }
            | S::Stopping { .. }
            | S::Killing { .. }
            | S::Stuck { .. }
            | S::Done
            | S::Failed,
            E::Orphan,
        ) => to(state),

        // What cannot be: an answer that nobody asked for, the end of a process that was not there. Going on
        // as if nothing had been said is the one reaction that harms nobody.
        (
            S::Down
            | S::Starting { .. }
            | S::Up { .. }
            | S::Backoff { .. }
            | S::Held { .. }
            | S::Draining { .. }
            | S::Stopping { .. }
            | S::Sweeping { .. }
            | S::Killing { .. }
            | S::Purging { .. }
            | S::Stuck { .. }
            | S::Done
            | S::Failed,
            E::Spawned { .. } | E::Refused,
        )
        | (
            S::Down
            | S::Backoff { .. }
            | S::Held { .. }
            | S::Sweeping { .. }
            | S::Purging { .. }
            | S::Done
            | S::Failed,
            E::Ended(_),
        )
        | (
            S::Down
            | S::Spawning
            | S::Starting { .. }
            | S::Up { .. }
            | S::Backoff { .. }
            | S::Held { .. }
            | S::Draining { .. }
            | S::Stopping { .. }
            | S::Killing { .. }
            | S::Stuck { .. }
            | S::Done
            | S::Failed,
            E::Swept { .. },
        ) => {
            debug_assert!(false, "{event:?} in {state:?}");
            to(state)
        }
    }
}

/// What is to be done now, and the state that it leads to; `None` if nothing is.
pub fn next(state: ChildState, case: &Case) -> Option<(Act, ChildState, Option<Failure>)> {
    use ChildState as S;
    let due = state.deadline() <= case.now;
    match (state, case.goal) {
        (S::Down, Goal::Up) => Some((Act::Spawn, S::Spawning, None)),
        (S::Down, Goal::Down) => None,

        (S::Spawning, Goal::Up | Goal::Down) => None,

        (S::Starting { pid, .. }, Goal::Up) if due => {
            Some((Act::Stop, S::Stopping { pid, kill_at: case.kill_at() }, Some(Failure::Ready)))
        }
        (S::Starting { pid, .. } | S::Up { pid }, Goal::Up) if case.restart => {
            Some((Act::Stop, S::Stopping { pid, kill_at: case.kill_at() }, None))
        }
        (S::Starting { .. } | S::Up { .. }, Goal::Up) => None,
        (S::Starting { pid, .. } | S::Up { pid }, Goal::Down) if case.last_reader => {
            Some((Act::EndLog, S::Draining { pid, stop_at: case.kill_at() }, None))
        }
        (S::Starting { pid, .. } | S::Up { pid }, Goal::Down) => {
            Some((Act::Stop, S::Stopping { pid, kill_at: case.kill_at() }, None))
        }

        (S::Backoff { .. } | S::Held { .. }, Goal::Up) => due.then_some((Act::Spawn, S::Spawning, None)),
        // No main process; but earlier lives may have left something that still runs.
        (S::Backoff { .. } | S::Held { .. }, Goal::Down) => {
            Some((Act::Nothing, S::Sweeping { main: 0, look: true, kill_at: case.kill_at() }, None))
        }

        (S::Draining { pid, .. }, Goal::Up | Goal::Down) => {
            due.then_some((Act::Stop, S::Stopping { pid, kill_at: case.kill_at() }, None))
        }
        (S::Stopping { pid, .. }, Goal::Up | Goal::Down) => due.then_some((
            Act::Kill,
            S::Killing { pid, again_at: case.now.saturating_add(KILL_AGAIN_MS), tries: 1 },
            None,
        )),
        (S::Killing { pid, tries, .. }, Goal::Up | Goal::Down) => due.then(|| {
            if tries >= KILL_TRIES {
                return (Act::Nothing, S::Stuck { pid }, Some(Failure::Stuck));
            }
            let again_at = case.now.saturating_add(KILL_AGAIN_MS);
            (Act::Kill, S::Killing { pid, again_at, tries: tries.saturating_add(1) }, None)
        }),

        (S::Sweeping { main, .. }, Goal::Up | Goal::Down) if due => {
            let again_at = case.now.saturating_add(KILL_AGAIN_MS);
            Some((Act::Sweep { kill: true }, S::Purging { main, look: false, again_at, tries: 1 }, None))
        }
        (S::Sweeping { main, look, kill_at }, Goal::Up | Goal::Down) => {
            look.then_some((Act::Sweep { kill: false }, S::Sweeping { main, look: false, kill_at }, None))
        }
        (S::Purging { main, tries, .. }, Goal::Up | Goal::Down) if due => {
            if tries >= KILL_TRIES {
                return Some((Act::Nothing, S::Stuck { pid: 0 }, Some(Failure::Stuck)));
            }
            let again_at = case.now.saturating_add(KILL_AGAIN_MS);
            let tries = tries.saturating_add(1);
            Some((Act::Sweep { kill: true }, S::Purging { main, look: false, again_at, tries }, None))
        }
        (S::Purging { main, look, again_at, tries }, Goal::Up | Goal::Down) => look.then_some((
            Act::Sweep { kill: true },
            S::Purging { main, look: false, again_at, tries },
            None,
        )),

        (S::Stuck { .. } | S::Done | S::Failed, Goal::Up | Goal::Down) => None,
    }
}
