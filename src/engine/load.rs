//! Taking a table: which row each entry has, and what becomes of the rows whose entry is gone.
//!
//! All that may fail is asked before anything is changed, so a table is taken whole or not at all. This is the
//! only place in which the engine allocates.

use super::agenda::{Deadlines, Members, Pids, Queue};
use super::child::{self, Goal};
use super::rows::{Flags, GroupRow, NONE, Row};
use super::{Engine, Ms, Roster, Writers};
use crate::isinittab::{Action, Entry, Occasion, Table, hash};

/// Why a table cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// More entries than there are rows (those that are still being stopped count).
    Entries,
    /// More groups than there is room for.
    Groups,
}

impl Engine<'_> {
    /// Takes a table. Rows find their entries again by group and tag; what is gone, or `off` now, is stopped;
    /// what has changed goes on as it was started. No group starts anything because of it: a tell or
    /// [`Engine::refresh`] does.
    pub fn load(&mut self, table: Table, now: Ms) -> Result<(), LoadError> {
        self.vacate_groups();
        let mut slots = self.known_slots(&table);
        let mut rows = self.known_rows(&table, &slots);
        self.check_room(&table, &slots, &rows)?;
        self.disown_transitions();

        self.occupy_slots(&table, &mut slots, now);
        self.occupy_rows(&table, &slots, &mut rows, now);
        self.table = table;
        self.row_of = rows;
        self.index(&slots);
        self.settle_goals();
        self.mark_unsettled(now);
        Ok(())
    }

    /// Frees the slots of groups that an earlier table had and that have no row any more.
    fn vacate_groups(&mut self) {
        let used = self.head.groups_used as usize;
        let mut kept = vec![false; used];
        for row in self.used_rows().filter(|row| !row.is_vacant()) {
            if let Some(kept) = kept.get_mut(row.group as usize) {
                *kept = true;
            }
        }
        for (slot, kept) in self.groups.iter_mut().zip(kept) {
            if !kept && self.table.find_group(slot.name()).is_none() {
                slot.vacate();
            }
        }
    }

    /// What is free now may be another's in a moment.
    fn disown_transitions(&mut self) {
        let (rows, groups) = (&*self.rows, &*self.groups);
        let is_free_row = |row: u32| rows.get(row as usize).is_none_or(Row::is_vacant);
        let is_free_slot = |slot: u32| groups.get(slot as usize).is_none_or(GroupRow::is_vacant);
        self.head.disown(is_free_row, is_free_slot);
    }

    pub(super) fn used_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().take(self.head.rows_used as usize)
    }

    fn known_slots(&self, table: &Table) -> Vec<u32> {
        let used = self.groups.iter().take(self.head.groups_used as usize);
        let known = NameIndex::new(used.map(|slot| (!slot.is_vacant()).then(|| slot.name())));
        let find = |name: &[u8]| known.find(name, |slot| self.groups[slot as usize].name() == name);
        group_names(table).map(find).collect()
    }

    fn known_rows(&self, table: &Table, slots: &[u32]) -> Vec<u32> {
        let known = NameIndex::new(self.used_rows().map(|row| (!row.is_vacant()).then(|| row.tag())));
        let find = |entry: Entry| {
            let slot = slots[entry.group() as usize];
            known.find(entry.tag(), |row| {
                let row = &self.rows[row as usize];
                row.group == slot && row.tag() == entry.tag()
            })
        };
        table.entries().map(find).collect()
    }

    fn check_room(&self, table: &Table, slots: &[u32], rows: &[u32]) -> Result<(), LoadError> {
        let slots_taken =
            self.groups.iter().take(self.head.groups_used as usize).filter(|slot| !slot.is_vacant()).count();
        let rows_taken = self.used_rows().filter(|row| !row.is_vacant()).count();
        let new_slots = slots.iter().filter(|slot| **slot == NONE).count();
        let new_rows =
            table.entries().zip(rows).filter(|(entry, row)| has_row(entry) && **row == NONE).count();
        match () {
            () if slots_taken + new_slots > self.groups.len() => Err(LoadError::Groups),
            () if rows_taken + new_rows > self.rows.len() => Err(LoadError::Entries),
            () => Ok(()),
        }
    }

    fn occupy_slots(&mut self, table: &Table, slots: &mut [u32], now: Ms) {
        let mut free = 0;
        for (name, slot) in group_names(table).zip(slots).filter(|(_, slot)| **slot == NONE) {
            // Beyond those in use nothing was ever written, or by nobody who counts.
            while free < self.head.groups_used as usize && !self.groups[free].is_vacant() {
                free += 1;
            }
            self.groups[free].occupy(name, now);
            *slot = free as u32;
            self.head.groups_used = self.head.groups_used.max(free as u32 + 1);
        }
    }

    fn occupy_rows(&mut self, table: &Table, slots: &[u32], rows: &mut [u32], now: Ms) {
        let used = self.head.rows_used as usize;
        self.rows.iter_mut().take(used).for_each(|row| row.entry = NONE);
        let mut free = 0;
        for (entry, row) in table.entries().zip(rows) {
            if !has_row(&entry) {
                *row = NONE;
                continue;
            }
            if *row == NONE {
                while free < self.head.rows_used as usize && !self.rows[free].is_vacant() {
                    free += 1;
                }
                *row = free as u32;
                self.rows[free].occupy(entry.tag(), slots[entry.group() as usize], entry.index(), now);
                self.head.rows_used = self.head.rows_used.max(free as u32 + 1);
            }
            self.rows[*row as usize].entry = entry.index();
        }
    }

    /// Makes all that can be made from the rows and the table: who is in which group, in which order; who
    /// writes to whose log; PIDs, deadlines and counters.
    fn index(&mut self, slots: &[u32]) {
        let (rows, groups) = (self.head.rows_used as usize, self.head.groups_used as usize);
        self.group_order = group_order(slots, self.groups, groups);
        self.index_members(rows, groups);
        self.index_logs(rows);
        let of_the_whole = |row: &u32| *row != NONE && self.occasion(*row).is_of_the_whole();
        self.of_the_whole = self.row_of.iter().copied().filter(of_the_whole).collect();
        self.pids = Pids::new(rows);
        self.deadlines = Deadlines::new(rows);
        self.rows_due = Queue::new(rows);
        self.redo = Queue::new(rows);
        self.groups_due = Queue::new(groups);
        self.sweeping = Members::new(rows);
        self.active = 0;
        for row in 0..rows as u32 {
            self.count(row, true);
            let state = self.rows[row as usize].state();
            // Two rows with one process, as only bytes from elsewhere have them: the first that says so has it.
            if let Some(pid) = state.pid().filter(|pid| self.pids.get(*pid).is_none()) {
                self.pids.insert(pid, row);
            }
            self.deadlines.set(row, state.deadline());
            self.sweeping.set(row, state.is_sweeping());
        }
        (0..groups as u32).for_each(|slot| self.groups_due.push(slot));
        // What others of the whole waited for may be gone.
        self.course_due = true;
    }

    /// The rows of each group: its entries in file order, then those whose entry is gone.
    fn index_members(&mut self, rows: usize, groups: usize) {
        self.rosters = vec![Roster::default(); groups];
        let gone = (0..rows as u32).filter(|row| self.rows[*row as usize].entry == NONE);
        let ordered: Vec<u32> = self.row_of.iter().copied().filter(|row| *row != NONE).chain(gone).collect();
        let group = |row: u32| self.rows[row as usize].group as usize;
        let listed = |row: &u32| !self.rows[*row as usize].is_vacant();
        for row in ordered.iter().copied().filter(listed) {
            self.rosters[group(row)].count += 1;
        }
        let mut first = 0;
        for roster in &mut self.rosters {
            roster.first = first;
            first += roster.count;
            roster.count = 0;
        }
        self.members = vec![NONE; first as usize];
        for row in ordered.iter().copied().filter(listed) {
            let roster = &mut self.rosters[group(row)];
            self.members[(roster.first + roster.count) as usize] = row;
            roster.count += 1;
        }
    }

    /// For each row the row that reads its log. Tables without `log=` pay nothing for it.
    fn index_logs(&mut self, rows: usize) {
        let writes = |entry: Entry| {
            let reader = self.table.find_tag(entry.options().log.as_deref()?)?;
            Some((self.row_of[entry.index() as usize], self.row_of[reader as usize]))
        };
        let pairs: Vec<(u32, u32)> = self.table.entries().filter_map(writes).collect();
        let size = if pairs.is_empty() { 0 } else { rows };
        self.reader_of = vec![NONE; size];
        self.writers = vec![Writers::default(); size];
        for (writer, reader) in
            pairs.into_iter().filter(|(writer, reader)| *writer != NONE && *reader != NONE)
        {
            self.reader_of[writer as usize] = reader;
            self.writers[reader as usize].count += 1;
        }
    }

    /// What the new table has no wish for is to go, last first. The rest keeps the goal that it had.
    fn settle_goals(&mut self) {
        for row in (0..self.head.rows_used).rev() {
            let wished = self.occasion(row) != Occasion::Never;
            if !wished && !self.rows[row as usize].is_vacant() {
                self.set_goal(row, Goal::Down);
                self.rows[row as usize].put(Flags::RESTART, false);
            }
        }
    }
}

impl Engine<'_> {
    /// Puts on the agenda whatever is not as it is wished to be: last first, the order of stopping.
    fn mark_unsettled(&mut self, now: Ms) {
        for row in (0..self.head.rows_used).rev() {
            let record = &self.rows[row as usize];
            let gone = record.entry == NONE && !record.is_vacant();
            if gone || child::next(record.state(), &self.case(row, now)).is_some() {
                self.rows_due.push(row);
            }
        }
    }
}

/// Does an entry have a row? All but those that only say something.
fn has_row(entry: &Entry) -> bool {
    entry.action() != Action::Initdefault
}

fn group_names(table: &Table) -> impl Iterator<Item = &[u8]> {
    (0..table.groups() as u32).map(|number| table.group(number).map_or(&[][..], |group| group.name))
}

/// The groups as the status shows them: those of the table in its order, then those that it has no more.
fn group_order(slots: &[u32], groups: &[GroupRow], used: usize) -> Vec<u32> {
    let mut listed = vec![false; used];
    slots.iter().for_each(|slot| listed[*slot as usize] = true);
    let gone = (0..used).filter(|slot| !listed[*slot] && !groups[*slot].is_vacant());
    slots.iter().copied().chain(gone.map(|slot| slot as u32)).collect()
}

/// Finds numbers by name: their hashes, sorted.
struct NameIndex {
    hashes: Vec<(u64, u32)>,
}

impl NameIndex {
    fn new<'n>(names: impl Iterator<Item = Option<&'n [u8]>>) -> NameIndex {
        let hashed = |(number, name): (usize, Option<&[u8]>)| Some((hash(name?), number as u32));
        let mut hashes: Vec<(u64, u32)> = names.enumerate().filter_map(hashed).collect();
        hashes.sort_unstable();
        NameIndex { hashes }
    }

    fn find(&self, name: &[u8], mut is: impl FnMut(u32) -> bool) -> u32 {
        let wanted = hash(name);
        let first = self.hashes.partition_point(|(other, _)| *other < wanted);
        let same = self.hashes[first..].iter().take_while(|(other, _)| *other == wanted);
        same.map(|(_, number)| *number).find(|number| is(*number)).unwrap_or(NONE)
    }
}
