//! What is wrong with a table, for people: file, line, column, the line with a caret, and what would be right.

use std::fmt;

use crate::limits::DIAGNOSTICS_MAX;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The table is not taken.
    Error,
    /// The table is taken; it may not say what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// How many bytes the caret underlines.
    pub width: usize,
    /// The line itself as a terminal can show it, or the part of it around the column.
    pub text: String,
    /// How many columns of `text` stand before the caret.
    pub caret: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The place of its file among those of the table: what a report is sorted by.
    pub(super) source: usize,
}

/// All that is wrong with a table, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    left_out: usize,
}

impl Report {
    /// Is nothing wrong?
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many things are wrong.
    pub fn len(&self) -> usize {
        self.diagnostics.len().saturating_add(self.left_out)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter()
    }

    /// Is there an error among them?
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Are there as many errors as are shown? Then nothing is gained by reading on.
    pub(super) fn is_full(&self) -> bool {
        !self.has_room(Severity::Error)
    }

    /// Errors and warnings are counted apart: no warning takes the place of an error, without which the table
    /// would be taken.
    pub(super) fn has_room(&self, severity: Severity) -> bool {
        self.count(severity) < DIAGNOSTICS_MAX
    }

    fn count(&self, severity: Severity) -> usize {
        match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.diagnostics.len().saturating_sub(self.errors),
        }
    }

    /// How much has been said, or was left out.
    pub(super) fn said(&self) -> usize {
        self.diagnostics.len().saturating_add(self.left_out)
    }

    /// Notes that there is more than is shown.
    pub(super) fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.has_room(diagnostic.severity) {
            return self.leave_out();
        }
        self.errors = self.errors.saturating_add(usize::from(diagnostic.severity == Severity::Error));
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn sort(&mut self) {
        self.diagnostics.sort_by_key(|diagnostic| (diagnostic.source, diagnostic.line, diagnostic.column));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.iter().try_for_each(|diagnostic| diagnostic.fmt(out))?;
        match self.left_out {
            0 => Ok(()),
            _ => writeln!(out, "and more"),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (file, message) = (printable(&self.file), printable(&self.message));
        if self.line == 0 {
            writeln!(out, "{file}: {severity}: {message}")?;
        } else {
            writeln!(out, "{file}:{}:{}: {severity}: {message}", self.line, self.column)?;
            writeln!(out, "    {}", self.text)?;
            let width = self.width.clamp(1, self.text.len().saturating_sub(self.caret).max(1));
            writeln!(out, "    {:caret$}{}", "", "^".repeat(width), caret = self.caret)?;
        }
        if self.help.is_empty() { Ok(()) } else { writeln!(out, "    help: {}", printable(&self.help)) }
    }
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub(super) fn about_file(file: &str, message: &str, help: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: file.into(),
            line: 0,
            column: 0,
            width: 0,
            text: String::new(),
            caret: 0,
            message: message.into(),
            help: help.into(),
            source: 0,
        }
    }
}

/// Words that may quote the table: what would move a terminal's cursor, or turn the writing round, is not passed on.
fn printable(text: &str) -> String {
    let odd = |letter: char| {
        letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|letter| if odd(letter) { '?' } else { letter }).collect()
}

/// The part of a line around a column, one column for each byte, so that the caret stands where it should; and
/// how many columns of it stand before the caret.
pub(super) fn excerpt(line: &[u8], column: usize) -> (String, usize) {
    const MOST: usize = 160;
    const BEFORE: usize = 60;
    let at = column.saturating_sub(1).min(line.len());
    let start = if at < MOST.saturating_sub(BEFORE) { 0 } else { at.saturating_sub(BEFORE) };
    let mut text = String::from(if start > 0 { "..." } else { "" });
    let caret = text.len().saturating_add(at.saturating_sub(start));
    let part = line.iter().skip(start).take(MOST).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        b'\t' => ' ',
        _ => '?',
    });
    text.extend(part);
    if line.len() > start.saturating_add(MOST) {
        text.push_str("...");
    }
    (text, caret)
}
