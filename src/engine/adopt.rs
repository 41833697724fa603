//! Going on in memory that an earlier life has left: after a crash, or an exec of a new version.
//!
//! All that is to be remembered is in the rows, the groups and the head; the rest is made again, by the way that a
//! re-read takes. What the rows cannot say is how far the last effect has come, so each is looked at as it may be:
//!
//! - A start (`Spawning`): the kernel writes the process into the row before the child runs. If it has, the start is
//!   answered now; if not, there is no child, and it is started again.
//! - A signal (`Stopping`, `Killing`), the end of a log (`Draining`): told once more. A second SIGTERM does no harm that
//!   a lost one would not do.
//! - A look for what is left (`Sweeping`, `Purging`): looked for again.
//! - A process that has ended meanwhile is a zombie until we have taken it: its end comes as any other.
//!
//! The bytes may be anybody's. A row that has lost its name or its group is taken away; one whose state has no meaning is
//! stuck (see `rows.rs`); and a process is ours only if the kernel says that it is our child.

use core::sync::atomic::Ordering;

use super::child::{ChildState, Ending, Goal};
use super::rows::{GroupRow, Last, Phase, Row};
use super::{Effect, Engine, LoadError, Memory, Ms};
use crate::isinittab::Table;

impl Memory<'_> {
    /// Forgets which group was at which level, and what people have told entries: what runs is to be stopped.
    pub fn forget_levels(&mut self) {
        self.groups.iter_mut().take(self.head.groups_used as usize).for_each(GroupRow::forget_level);
        self.rows.iter_mut().take(self.head.rows_used as usize).for_each(Row::forget_goal);
    }
}

impl<'m> Engine<'m> {
    /// An engine that goes on where the one before has stopped, with the table as it is now. `is_child` tells whether a
    /// process is a child of ours, a zombie included.
    pub fn adopt(
        memory: Memory<'m>,
        table: Table,
        is_child: impl Fn(u32) -> bool,
        now: Ms,
    ) -> Result<Engine<'m>, LoadError> {
        let mut engine = Engine::new(memory);
        engine.mend(now);
        engine.load(table, now)?;
        // Starts first: the process of one is known then to who would look for what is left by the same number.
        for starts in [true, false] {
            for row in 0..engine.head.rows_used {
                let record = &engine.rows[row as usize];
                if !record.is_vacant() && (record.state() == ChildState::Spawning) == starts {
                    engine.resume(row, &is_child, now);
                }
            }
        }
        (0..engine.head.groups_used).for_each(|slot| engine.leave_again(slot));
        Ok(engine)
    }

    /// Makes sense of bytes, or takes them away.
    fn mend(&mut self, now: Ms) {
        let most = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.head.rows_used = self.head.rows_used.min(most(self.rows.len()));
        self.head.groups_used = self.head.groups_used.min(most(self.groups.len()));
        let groups = self.head.groups_used as usize;
        self.groups.iter_mut().take(groups).for_each(|group| group.mend(now));
        for row in self.rows.iter_mut().take(self.head.rows_used as usize) {
            let group = self.groups.get(row.group as usize).filter(|_| row.group < self.head.groups_used);
            if row.is_vacant() || group.is_none_or(|group| group.is_vacant()) {
                row.vacate();
            } else {
                row.mend(now);
            }
        }
        self.head.mend(now);
    }

    fn resume(&mut self, row: u32, is_child: &impl Fn(u32) -> bool, now: Ms) {
        let record = &self.rows[row as usize];
        let (state, pid) = (record.state(), record.pid());
        let is_ours = pid > 1 && is_child(pid) && self.pids.get(pid).is_none_or(|other| other == row);
        match state {
            ChildState::Spawning if is_ours => self.spawned(row, pid, now),
            ChildState::Spawning => {
                let record = &mut self.rows[row as usize];
                record.starts = record.starts.saturating_sub(1);
                self.change(row, ChildState::Down, now);
            }
            ChildState::Starting { .. } | ChildState::Up { .. } if !is_ours => self.lost(row, pid, now),
            ChildState::Stopping { .. } | ChildState::Killing { .. } | ChildState::Draining { .. } => {
                if is_ours {
                    self.redo.push(row)
                } else {
                    self.lost(row, pid, now)
                }
            }
            ChildState::Sweeping { main, kill_at, .. } => {
                let main = self.ended_main(main);
                self.change(row, ChildState::Sweeping { main, look: true, kill_at }, now);
            }
            ChildState::Purging { main, again_at, tries, .. } => {
                let main = self.ended_main(main);
                self.change(row, ChildState::Purging { main, look: true, again_at, tries }, now);
            }
            // Not known to be ours, it is nobody's; its entry may be started again.
            ChildState::Stuck { .. } if !is_ours => {
                self.forget_pid(row, pid);
                self.change(row, ChildState::Down, now);
            }
            ChildState::Starting { .. }
            | ChildState::Up { .. }
            | ChildState::Stuck { .. }
            | ChildState::Down
            | ChildState::Backoff { .. }
            | ChildState::Held { .. }
            | ChildState::Done
            | ChildState::Failed => {}
        }
    }

    /// A process that the row has and the kernel has not: how it ended nobody knows. Its number is a stranger's, or that
    /// of another row: nothing is looked for by it.
    fn lost(&mut self, row: u32, pid: u32, now: Ms) {
        self.forget_pid(row, pid);
        self.rows[row as usize].pid.store(0, Ordering::Release);
        self.ended(row, 0, Last::Nothing, Ending::Badly, now);
    }

    /// Only what the row has: the same number may be another row's, who has it rightly.
    fn forget_pid(&mut self, row: u32, pid: u32) {
        if self.pids.get(pid) == Some(row) {
            self.pids.remove(pid);
        }
    }

    /// The process that a sweep goes by: none, if a row has it that runs.
    fn ended_main(&self, main: u32) -> u32 {
        if self.pids.get(main).is_some() { 0 } else { main }
    }

    /// What a tell has not got to: all that has no place in the level is to go.
    fn leave_again(&mut self, slot: u32) {
        if self.group(slot).is_none_or(|group| group.phase() != Phase::Leaving) {
            return;
        }
        for n in (0..self.members(slot).len()).rev() {
            let row = self.members(slot)[n];
            if !self.has_place(row) {
                self.set_goal(row, Goal::Down);
            }
        }
    }

    /// The effect that the state of a row has come of.
    pub(super) fn told_before(&self, row: u32) -> Option<Effect> {
        match self.row(row)?.state() {
            ChildState::Stopping { pid, .. } => Some(Effect::Stop { row, pid }),
            ChildState::Killing { pid, .. } => Some(Effect::Kill { row, pid }),
            ChildState::Draining { .. } => Some(Effect::EndLog { row }),
            ChildState::Down
            | ChildState::Spawning
            | ChildState::Starting { .. }
            | ChildState::Up { .. }
            | ChildState::Backoff { .. }
            | ChildState::Held { .. }
            | ChildState::Sweeping { .. }
            | ChildState::Purging { .. }
            | ChildState::Stuck { .. }
            | ChildState::Done
            | ChildState::Failed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rows::Head;
    use crate::engine::{Event, Farewell, NEVER, Tell};
    use crate::sys::memory::Plain;

    const TABLE: &[u8] =
        b"g:a:1:respawn,stop-timeout=2:x\ng:r:2:respawn:x\ng:w:2:once,log=r:x\nh:d::shutdown:x\n";

    /// Memory that lives on when the engine on it is gone.
    struct Life {
        rows: Vec<Row>,
        groups: Vec<GroupRow>,
        head: Head,
    }

    impl Life {
        fn new() -> Life {
            let rows = (0..8).map(|_| Row::zeroed()).collect();
            let groups = (0..4).map(|_| GroupRow::zeroed()).collect();
            Life { rows, groups, head: Head::zeroed() }
        }

        fn memory(&mut self) -> Memory<'_> {
            Memory { rows: &mut self.rows, groups: &mut self.groups, head: &mut self.head }
        }

        fn table() -> Table {
            Table::parse("t", TABLE).expect("a table").table
        }

        /// The first life: `a` runs at level 1, with the process 10.
        fn begin(&mut self, then: impl FnOnce(&mut Engine)) {
            let mut engine = Engine::new(self.memory());
            engine.load(Life::table(), 0).expect("room");
            engine.begin(0);
            engine.tell(b"g", b"1", Tell::default(), 0).expect("told");
            assert_eq!(engine.next_effect(0), Some(Effect::Spawn { row: 0 }));
            engine.handle(Event::Spawned { row: 0, pid: 10 }, 0);
            assert_eq!(engine.next_effect(0), None);
            then(&mut engine);
        }

        /// The next one, in which the processes below 100 are children: its first effect.
        fn goes_on(&mut self, now: Ms) -> Option<Effect> {
            let mut engine = Engine::adopt(self.memory(), Life::table(), |pid| pid < 100, now).expect("room");
            engine.next_effect(now)
        }
    }

    #[test]
    fn what_runs_goes_on_and_what_is_gone_is_started_again() {
        let mut life = Life::new();
        life.begin(|_| ());
        assert_eq!(life.goes_on(1), None);
        assert_eq!(life.goes_on(1), None);
        life.rows[0].pid.store(100, Ordering::Relaxed);
        assert_eq!(life.goes_on(1), Some(Effect::Spawn { row: 0 }), "that is no child of ours");
    }

    #[test]
    fn of_two_rows_with_one_process_one_has_it_and_the_other_does_not_go_by_it() {
        let mut life = Life::new();
        life.begin(|engine| {
            engine.tell(b"g", b"0", Tell::default(), 0).expect("told");
            assert_eq!(engine.next_effect(0), Some(Effect::Stop { row: 0, pid: 10 }));
        });
        let up = ChildState::Up { pid: 10 };
        let stopping = ChildState::Stopping { pid: 10, kill_at: 9_000 };
        let sweeping = ChildState::Sweeping { main: 10, look: false, kill_at: 9_000 };
        for (states, owner) in
            [([up, stopping], 0), ([up, sweeping], 0), ([sweeping, ChildState::Spawning], 1)]
        {
            for (row, state) in life.rows.iter_mut().zip(states) {
                row.set_state(state);
                row.pid.store(10, Ordering::Relaxed);
            }
            let mut engine = Engine::adopt(life.memory(), Life::table(), |pid| pid == 10, 1).expect("room");
            assert_eq!(engine.row_of_pid(10), Some(owner), "{states:?}");
            let effects = [engine.next_effect(1), engine.next_effect(1)];
            let sweep = Effect::Sweep { row: 1 - owner, main: 0, kill: false };
            assert!(effects.contains(&Some(sweep)), "{states:?}: {effects:?}");
            engine.handle(Event::Ended { pid: 10, last: Last::Exit(0), ending: Ending::Well }, 2);
            assert_eq!(engine.row_of_pid(10), None, "{states:?}: its end is heard");
        }
    }

    #[test]
    fn a_number_that_the_kernel_never_gives_is_no_process() {
        let mut life = Life::new();
        life.begin(|_| ());
        for main in [1, u32::MAX] {
            life.rows[0].set_state(ChildState::Sweeping { main, look: false, kill_at: 9_000 });
            assert_eq!(life.goes_on(1), Some(Effect::Sweep { row: 0, main: 0, kill: false }));
        }
    }

    #[test]
    fn what_would_never_stop_by_its_row_is_killed() {
        let mut life = Life::new();
        life.begin(|engine| {
            engine.tell(b"g", b"0", Tell::default(), 0).expect("told");
            assert_eq!(engine.next_effect(0), Some(Effect::Stop { row: 0, pid: 10 }));
        });
        life.rows[0].set_state(ChildState::Stopping { pid: 10, kill_at: NEVER });
        let mut engine = Engine::adopt(life.memory(), Life::table(), |_| true, 1).expect("room");
        assert_eq!(engine.next_effect(1), Some(Effect::Stop { row: 0, pid: 10 }), "told again");
        assert_eq!(engine.next_effect(1), Some(Effect::Kill { row: 0, pid: 10 }));
    }

    #[test]
    fn a_signal_that_was_told_is_told_again_and_keeps_its_deadline() {
        let mut life = Life::new();
        life.begin(|engine| {
            engine.tell(b"g", b"0", Tell::default(), 1_000).expect("told");
            assert_eq!(engine.next_effect(1_000), Some(Effect::Stop { row: 0, pid: 10 }));
        });
        assert_eq!(life.goes_on(1_500), Some(Effect::Stop { row: 0, pid: 10 }));
        let mut engine = Engine::adopt(life.memory(), Life::table(), |_| true, 1_600).expect("room");
        assert_eq!(engine.deadline(), Some(3_000));
        engine.next_effect(1_600);
        assert_eq!(engine.next_effect(3_000), Some(Effect::Kill { row: 0, pid: 10 }));
        assert_eq!(life.goes_on(3_001), Some(Effect::Kill { row: 0, pid: 10 }));
    }

    #[test]
    fn what_is_left_is_looked_for_again() {
        let mut life = Life::new();
        life.begin(|engine| {
            engine.tell(b"g", b"0", Tell::default(), 0).expect("told");
            engine.next_effect(0);
            engine.handle(Event::Ended { pid: 10, last: Last::Exit(0), ending: Ending::Well }, 1);
            assert_eq!(engine.next_effect(1), Some(Effect::Sweep { row: 0, main: 10, kill: false }));
        });
        assert_eq!(life.goes_on(2), Some(Effect::Sweep { row: 0, main: 10, kill: false }));
        let mut engine = Engine::adopt(life.memory(), Life::table(), |_| false, 2).expect("room");
        engine.next_effect(2);
        engine.handle(Event::Swept { row: 0, left: true }, 2);
        assert_eq!(engine.next_effect(9_000), Some(Effect::Sweep { row: 0, main: 10, kill: true }));
        assert_eq!(life.goes_on(9_001), Some(Effect::Sweep { row: 0, main: 10, kill: true }));
    }

    #[test]
    fn a_start_is_answered_by_the_row_or_made_again() {
        let mut life = Life::new();
        life.begin(|engine| {
            engine.handle(Event::Ended { pid: 10, last: Last::Exit(0), ending: Ending::Well }, 1);
            assert_eq!(engine.next_effect(1), Some(Effect::Spawn { row: 0 }));
        });
        assert_eq!(life.goes_on(2), Some(Effect::Spawn { row: 0 }), "no child was made");
        life.rows[0].pid.store(11, Ordering::Relaxed);
        let mut engine = Engine::adopt(life.memory(), Life::table(), |_| true, 3).expect("room");
        assert_eq!((engine.next_effect(3), engine.row_of_pid(11)), (None, Some(0)));
    }

    #[test]
    fn a_log_that_was_ended_is_ended_again() {
        let mut life = Life::new();
        life.begin(|engine| {
            engine.tell(b"g", b"2", Tell::default(), 0).expect("told");
            engine.next_effect(0);
            engine.handle(Event::Ended { pid: 10, last: Last::Exit(0), ending: Ending::Well }, 1);
            let mut pid = 20;
            while let Some(effect) = engine.next_effect(1) {
                match effect {
                    Effect::Sweep { row, .. } => engine.handle(Event::Swept { row, left: false }, 1),
                    Effect::Spawn { row } => {
                        pid += 1;
                        engine.handle(Event::Spawned { row, pid }, 1);
                    }
                    other => panic!("{other:?}"),
                }
            }
            engine.handle(Event::Ended { pid: 22, last: Last::Exit(0), ending: Ending::Well }, 2);
            engine.tell(b"g", b"0", Tell::default(), 2).expect("told");
            assert_eq!(engine.next_effect(2), Some(Effect::EndLog { row: 1 }));
        });
        assert_eq!(life.goes_on(3), Some(Effect::EndLog { row: 1 }));
    }

    #[test]
    fn a_tell_that_was_not_finished_is_and_the_course_goes_on() {
        let mut life = Life::new();
        life.begin(|_| ());
        life.groups[0].set_phase(Phase::Leaving);
        life.groups[0].set_level(b"0");
        assert_eq!(life.goes_on(1), Some(Effect::Stop { row: 0, pid: 10 }));

        let mut life = Life::new();
        life.begin(|engine| {
            engine.handle(Event::Ended { pid: 10, last: Last::Exit(0), ending: Ending::Well }, 1);
            engine.go_down(Farewell { status: 3, way: Some(b'0') }, 1);
            assert_eq!(engine.next_effect(1), Some(Effect::Sweep { row: 0, main: 0, kill: false }));
            engine.handle(Event::Swept { row: 0, left: false }, 1);
            assert_eq!(engine.next_effect(1), Some(Effect::Spawn { row: 3 }));
        });
        assert_eq!(life.goes_on(2), Some(Effect::Spawn { row: 3 }));
        let mut engine = Engine::adopt(life.memory(), Life::table(), |_| true, 3).expect("room");
        engine.next_effect(3);
        engine.handle(Event::Spawned { row: 3, pid: 30 }, 3);
        assert_eq!(engine.next_effect(3), None);
        engine.handle(Event::Ended { pid: 30, last: Last::Exit(0), ending: Ending::Well }, 4);
        assert_eq!(engine.next_effect(4), Some(Effect::Exit { status: 3 }));
        assert_eq!(life.goes_on(5), Some(Effect::Exit { status: 3 }), "it was told, and has not come");
    }
}
