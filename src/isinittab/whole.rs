//! What can be known of a table only when all of it is read: where logs go, which levels are there.
//!
//! All of it takes time in proportion to the entries. A table of a hundred thousand that is wrong in every line
//! is read by a PID 1 too, between a SIGCHLD and the next.

use super::lexer::Span;
use super::parser::{Parser, Place};

/// Errors that offer the nearest tag: to find it takes a look at all of them.
const OFFERS_MAX: usize = 16;

/// What is known of the logs that begin at an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    New,
    /// Passed on the way that is being followed.
    Passed,
    /// Known to end.
    Done,
}

impl Parser<'_> {
    pub(super) fn check_whole(&mut self) {
        self.fill_in_settings();
        self.check_logs();
        // What a wrong entry would start is not known; to say that nothing starts a level would be a guess.
        if !self.report.has_errors() {
            self.check_initdefaults();
        }
    }

    /// Entries that do not say it themselves have what the settings say, which may stand below them.
    fn fill_in_settings(&mut self) {
        let (stop_timeout_ms, limit) = (self.table.settings.stop_timeout_ms, self.table.settings.limit);
        for options in &mut self.table.options {
            if !options.stop_timeout_given {
                options.stop_timeout_ms = stop_timeout_ms;
            }
            if !options.limit_given {
                options.limit = limit;
            }
        }
    }

    /// Every log goes to an entry, and none comes back to where it began: what circles would be written for ever.
    fn check_logs(&mut self) {
        let logs = std::mem::take(&mut self.logs);
        if logs.is_empty() {
            return;
        }
        let mut walks = vec![Walk::New; self.table.len()];
        for (entry, place) in &logs {
            if self.report.is_full() {
                return self.report.leave_out();
            }
            self.stand_at(place);
            match self.reader_of(*entry) {
                None => self.error_no_reader(*entry, place.field),
                Some(_) if self.follow(*entry, &mut walks) => {
                    let help = "let one of the entries on this way write elsewhere";
                    self.error(place.field, "this log comes back to its own entry", help);
                }
                Some(_) => {}
            }
        }
    }

    /// Follows a log from entry to entry, to its end or to what is known already. Does it come back? That is told
    /// once for each circle.
    fn follow(&self, first: u32, walks: &mut [Walk]) -> bool {
        let mark = |walks: &mut [Walk], from: Walk, to: Walk| {
            let mut at = Some(first);
            while let Some(walk) =
                at.and_then(|entry| walks.get_mut(entry as usize)).filter(|walk| **walk == from)
            {
                *walk = to;
                at = at.and_then(|entry| self.reader_of(entry));
            }
            at.and_then(|entry| walks.get(entry as usize)).copied()
        };
        let end = mark(walks, Walk::New, Walk::Passed);
        mark(walks, Walk::Passed, Walk::Done);
        end == Some(Walk::Passed)
    }

    fn reader_of(&self, entry: u32) -> Option<u32> {
        let log: Option<&[u8]> = self.table.entry(entry)?.options().log.as_deref();
        self.table.find_tag(log?)
    }

    fn error_no_reader(&mut self, entry: u32, field: Span) {
        let log = self.table.entry(entry).and_then(|entry| entry.options().log.as_deref()).unwrap_or(&[]);
        let near = if self.offers < OFFERS_MAX { self.table.nearest_tag(log) } else { None };
        let help = match near.map(String::from_utf8_lossy) {
            Some(near) => format!("did you mean {near}?"),
            None => "write the tag of the entry that is to read it".into(),
        };
        self.offers = self.offers.saturating_add(1);
        self.error(field, "no entry has the tag that this log goes to", &help);
    }

    fn check_initdefaults(&mut self) {
        let places = std::mem::take(&mut self.initdefaults);
        if places.is_empty() {
            return;
        }
        let mut found = vec![false; self.table.groups()];
        for entry in self.table.entries().filter(|entry| entry.action().has_process()) {
            let level = self.table.group(entry.group()).and_then(|group| group.initdefault);
            if let (Some(level), Some(found)) = (level, found.get_mut(entry.group() as usize)) {
                *found = *found || level == b"0" || entry.levels().has(level);
            }
        }
        for (group, place) in places.iter().filter(|(group, _)| found.get(*group as usize) == Some(&false)) {
            let offered = self.offers < OFFERS_MAX;
            let near = if offered { self.table.nearest_level(*group, self.bytes(place.field)) } else { None };
            let help = match near.map(String::from_utf8_lossy) {
                Some(near) => format!("nothing is started there; did you mean {near}?"),
                None => "nothing is started there".into(),
            };
            self.offers = self.offers.saturating_add(1);
            self.stand_at(place);
            self.warn(place.field, "no entry of the group has this level", &help);
            if !self.report.has_room(super::Severity::Warning) {
                return;
            }
        }
    }

    /// Diagnostics are about this place from now on.
    fn stand_at(&mut self, place: &Place) {
        self.source = place.source;
        self.line = place.line;
    }
}
