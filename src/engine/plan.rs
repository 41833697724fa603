//! What a tell would do: the same questions that a switch asks, without the answers being carried out.

use super::Engine;
use super::group::serves_demands;
use super::rows::{Flags, Row};
use crate::isinittab::{Entry, Occasion, Table};

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

/// A tell that is asked about: by the table in force, or by one that a tell would take now.
#[derive(Clone, Copy)]
pub struct Plan<'p> {
    /// The table.
    pub table: &'p Table,
    /// The group's number in that table.
    pub group: u32,
    /// The level.
    pub level: &'p [u8],
    /// [`Table::is_on_demand`] of the two: kept, because it takes a look at all of the table.
    pub on_demand: bool,
}

/// The step, the entry's tag, and its process (0 for none).
pub type Planned<'p> = (Step, &'p [u8], u32);

impl Engine<'_> {
    /// Step `n` of a plan, in the order of its execution: what is gone from the table, then the other stops, both
    /// last first, then the rest in file order. `None` is the end; `Some(None)` an entry for which nothing is done.
    pub fn plan_step<'p>(&'p self, plan: Plan<'p>, n: usize) -> Option<Option<Planned<'p>>> {
        let name = plan.table.group(plan.group).map_or(&[][..], |group| group.name);
        let slot = self.find_group(name);
        let members = slot.map_or(&[][..], |slot| self.members(slot));
        let entries = plan.table.len();
        if let Some(back) = members.len().checked_sub(n + 1) {
            return Some(self.plan_gone(plan, members[back]));
        }
        let n = n - members.len();
        let is_stop = n < entries;
        let place = if is_stop { entries - 1 - n } else { n - entries };
        let entry = plan.table.entry(place as u32)?;
        if entry.group() != plan.group {
            return Some(None);
        }
        let record = self.find_row(entry.tag()).and_then(|row| self.row(row));
        let record = record.filter(|record| Some(record.group) == slot);
        let step = self.plan_entry(plan, &entry, record).filter(|step| (*step == Step::Stop) == is_stop);
        let pid = record.and_then(|record| record.state().pid()).unwrap_or(0);
        Some(step.map(|step| (step, entry.tag(), pid)))
    }

    /// A row whose entry that table does not have.
    fn plan_gone<'p>(&'p self, plan: Plan<'p>, row: u32) -> Option<Planned<'p>> {
        let record = self.row(row).filter(|record| record.state().is_active())?;
        let entry = plan.table.find_tag(record.tag()).and_then(|entry| plan.table.entry(entry));
        let is_gone = entry.is_none_or(|entry| entry.group() != plan.group);
        is_gone.then(|| (Step::Stop, record.tag(), record.state().pid().unwrap_or(0)))
    }

    fn plan_entry(&self, plan: Plan, entry: &Entry, record: Option<&Row>) -> Option<Step> {
        let is_active = record.is_some_and(|record| record.state().is_active());
        let stays = match entry.action().occasion() {
            Occasion::Level if plan.on_demand => return None,
            Occasion::Level => entry.levels().has(plan.level),
            Occasion::Demand if plan.on_demand => {
                if !entry.levels().names(plan.level) {
                    return None;
                }
                true
            }
            Occasion::Demand => {
                is_active
                    && serves_demands(plan.level)
                    && record.is_some_and(|record| record.is(Flags::CALLED))
            }
            Occasion::Never => false,
            _ => return None,
        };
        let group = record.and_then(|record| self.group(record.group));
        let entered = group.is_none_or(|group| group.would_enter(plan.level));
        let ran = record.is_some_and(|record| record.is(Flags::RAN));
        match (stays, is_active) {
            (false, true) => Some(Step::Stop),
            (false, false) => None,
            (true, true) => Some(Step::Keep),
            (true, false) => (entry.action().repeats() || entered || !ran).then_some(Step::Start),
        }
    }
}
