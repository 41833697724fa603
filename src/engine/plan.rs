//! What a tell would do: the same questions that a switch asks, without the answers being carried out.

use super::Engine;
use super::rows::{Flags, GroupFlags};

/// What a tell would do with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stop it.
    Stop,
    /// Leave its process as it is.
    Keep,
    /// Start it.
    Start,
}

impl Engine<'_> {
    /// How many steps [`Engine::plan_step`] counts for a group.
    pub fn plan_length(&self, slot: u32) -> usize {
        self.members(slot).len() * 2
    }

    /// Step `n` of the plan, in the order of its execution: stops last first, then the rest in file order.
    /// `None` where nothing is done for the entry at that place.
    pub fn plan_step(&self, slot: u32, level: &[u8], n: usize) -> Option<(u32, Step)> {
        let members = self.members(slot);
        if let Some(back) = members.len().checked_sub(n + 1) {
            let row = *members.get(back)?;
            let goes = !self.would_have_place(row, level) && self.row(row)?.state().is_active();
            return goes.then_some((row, Step::Stop));
        }
        let row = *members.get(n - members.len())?;
        let record = self.row(row)?;
        let group = self.group(slot)?;
        let entered = group.level() != level || group.is(GroupFlags::BROKEN);
        let repeats = self.entry(row).is_some_and(|entry| entry.action().repeats());
        match () {
            () if !self.would_have_place(row, level) => None,
            () if record.state().is_active() => Some((row, Step::Keep)),
            () if repeats || entered || !record.is(Flags::RAN) => Some((row, Step::Start)),
            () => None,
        }
    }
}
