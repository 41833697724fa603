//! What a tell would do: the same questions that a switch asks, without the answers being carried out.

use super::rows::{Flags, GroupFlags};
use super::{Engine, startable};
use crate::isinittab::{Entry, Table};

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
        if !self.would_have_place(row, level) {
            return None;
        }
        Some((row, self.step_of(self.entry(row)?, Some(row), level)?))
    }

    /// What becomes of an entry that has a place in the level.
    fn step_of(&self, entry: Entry, row: Option<u32>, level: &[u8]) -> Option<Step> {
        let Some(record) = row.and_then(|row| self.row(row)) else { return Some(Step::Start) };
        let group = self.group(record.group)?;
        let entered = group.level() != level || group.is(GroupFlags::BROKEN);
        match () {
            () if record.state().is_active() => Some(Step::Keep),
            () if entry.action().repeats() || entered || !record.is(Flags::RAN) => Some(Step::Start),
            () => None,
        }
    }

    /// The whole plan by a table that is not in force: by the one on disk, which a tell would take. `step` is told
    /// what is done, the tag, and the process.
    pub fn plan_by(&self, table: &Table, group: &[u8], level: &[u8], mut step: impl FnMut(Step, &[u8], u32)) {
        let number = table.find_group(group);
        let slot = self.find_group(group);
        let members = slot.map_or(&[][..], |slot| self.members(slot));
        let in_group = |entry: &Entry| Some(entry.group()) == number;
        let stays = |entry: &Entry| level != b"0" && startable(entry.action()) && entry.levels().has(level);
        let row_of =
            |tag: &[u8]| self.find_row(tag).filter(|row| Some(self.rows[*row as usize].group) == slot);
        let mut stop = |row: u32| {
            if let Some(record) = self.row(row).filter(|record| record.state().is_active()) {
                step(Step::Stop, record.tag(), record.state().pid().unwrap_or(0));
            }
        };
        let entry_of = |row: &u32| table.entry(table.find_tag(self.row(*row)?.tag())?).filter(in_group);
        members.iter().rev().copied().filter(|row| entry_of(row).is_none()).for_each(&mut stop);
        let entries: Vec<Entry> = table.entries().filter(in_group).collect();
        let leaving = entries.iter().rev().filter(|entry| !stays(entry));
        leaving.filter_map(|entry| row_of(entry.tag())).for_each(&mut stop);
        for entry in entries.iter().filter(|entry| stays(entry)) {
            let row = row_of(entry.tag());
            let pid = row.and_then(|row| self.row(row)?.state().pid()).unwrap_or(0);
            if let Some(what) = self.step_of(*entry, row, level) {
                step(what, entry.tag(), pid);
            }
        }
    }
}
