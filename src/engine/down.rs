//! Going down: every group is stopped, then the daemon ends.

use super::child::ChildState;
use super::rows::{GroupFlags, Last};
use super::{Effect, Engine, Ms};

impl Engine<'_> {
    /// Stops everything; the daemon ends with this status when all is down. Nothing is started any more. Asked
    /// for a second time it keeps the first status.
    pub fn go_down(&mut self, status: u8, now: Ms) {
        if self.down.is_some() {
            return;
        }
        self.down = Some(status);
        for slot in 0..self.head.groups_used {
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
        self.down.is_some()
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
            self.go_down(self.last_status(row), now);
        }
    }

    /// The last effect of all, once.
    pub(super) fn farewell(&mut self) -> Option<Effect> {
        let status = self.down?;
        if self.active > 0 || self.gone {
            return None;
        }
        self.gone = true;
        Some(Effect::Exit { status })
    }
}
