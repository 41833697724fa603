//! An inittab of sysvinit or BusyBox, made into a table: the group column in front, comments, blank lines and order
//! as they were, and a warning for each line that means something else here.
//!
//! With a group and a colon in front, a line of an inittab has the form of the table's own entries; so the table's
//! lexer reads it. What comes out is read as a table before it is given away: it has no errors. A line that the old
//! init ignores, or that has no place here, stays as a comment. One that is no line of an inittab at all is an
//! error, and then nothing comes out: it is another kind of file.

mod busybox;
mod shell;
mod sysvinit;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::diagnostic::{Diagnostic, Report, Severity, excerpt};
use super::lexer::{Span, fields, is_blank};
use super::{Process, Table, setting};
use crate::limits::{TABLE_MAX_BYTES, TAG_MAX_BYTES};

/// Whose inittab it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// sysvinit's, inittab(5).
    Sysvinit,
    /// BusyBox's, `examples/inittab` of its source.
    Busybox,
}

impl Origin {
    /// The origin of this name, as the command line has it.
    pub fn from_name(name: &str) -> Option<Origin> {
        match name {
            "sysvinit" => Some(Origin::Sysvinit),
            "busybox" => Some(Origin::Busybox),
            _ => None,
        }
    }

    /// What it looks like. Only BusyBox takes a line without an id, and has these actions.
    fn of(source: &[u8]) -> Origin {
        let is_busybox = |line: &Line| {
            line.is_entry() && (line.id().is_empty() || busybox::ALONE.contains(&line.action()))
        };
        match lines(source).any(|line| is_busybox(&line)) {
            true => Origin::Busybox,
            false => Origin::Sysvinit,
        }
    }
}

/// What has become of an inittab.
pub struct Imported {
    /// The table. It has no errors.
    pub text: Vec<u8>,
    /// Where it means something else than the inittab, by that one's lines.
    pub differences: Report,
}

/// Can a group have this name?
///
/// ```
/// use isinit::isinittab::is_group_name;
/// assert!(is_group_name(b"web") && !is_group_name(b"#web") && !is_group_name(b"web\\"));
/// ```
pub fn is_group_name(name: &[u8]) -> bool {
    // A line that begins with the one mark would be a comment; the other at its end, as in the setting `group`, would
    // continue it.
    let marked = name.starts_with(b"#") || name.ends_with(b"\\");
    !name.is_empty() && !marked && setting::group(name).is_ok()
}

/// Makes a table of the inittab `source`, which diagnostics call `name`. Its entries get the group `group`. Without
/// an origin it is BusyBox's if only BusyBox would take it.
///
/// # Errors
/// The lines that are no entries, or why it cannot be a table.
///
/// ```
/// use isinit::isinittab::{Origin, import};
/// let inittab = b"# A console.\n1:2345:respawn:/sbin/getty 38400 tty1\n";
/// let imported = import(Some(Origin::Sysvinit), b"init", "inittab", inittab).unwrap();
/// assert!(imported.differences.is_empty());
/// let line = b"# A console.\ninit:1:2345:respawn:/sbin/getty 38400 tty1\n";
/// assert!(imported.text.windows(line.len()).any(|window| window == line));
/// ```
pub fn import(origin: Option<Origin>, group: &[u8], name: &str, source: &[u8]) -> Result<Imported, Report> {
    let mut import =
        Import { name, group, text: Vec::new(), report: Report::default(), tags: BTreeMap::new() };
    match origin.unwrap_or_else(|| Origin::of(source)) {
        Origin::Sysvinit => sysvinit::import(&mut import, source),
        Origin::Busybox => busybox::import(&mut import, source),
    }
    import.report.sort();
    if import.report.has_errors() {
        return Err(import.report);
    }
    // Nothing that is given away is wrong: also not where it is longer than a table may be.
    Table::parse(&format!("{name}, as a table"), &import.text)?;
    Ok(Imported { text: import.text, differences: import.report })
}

/// Makes a table of the inittab in this file, as [`import`] does.
///
/// # Errors
/// Those of [`import`]; also a file that cannot be read.
pub fn import_file(origin: Option<Origin>, group: &[u8], path: &Path) -> Result<Imported, Report> {
    let name = path.display().to_string();
    let mut source = Vec::new();
    // One byte more than a table has makes it too long, and that is said of the table.
    let most = (TABLE_MAX_BYTES as u64).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut source));
    match read {
        Ok(_) => import(origin, group, &name, &source),
        Err(error) => {
            let message = format!("cannot read the inittab: {error}");
            let mut report = Report::default();
            report.push(Diagnostic::about_file(
                &name,
                &message,
                "name an inittab, or make this one readable",
            ));
            Err(report)
        }
    }
}

/// One line of an inittab.
struct Line {
    number: usize,
    /// The line, with the colon in front that a group would have.
    text: Vec<u8>,
    /// The group, which is empty; then id, levels, action and process.
    fields: [Span; 5],
    count: usize,
}

impl Line {
    fn new(number: usize, line: &[u8]) -> Line {
        let mut text = Vec::with_capacity(line.len().saturating_add(1));
        text.push(b':');
        text.extend_from_slice(line);
        let (fields, count) = fields(Span { at: 0, length: text.len() as u32 }, &text);
        Line { number, text, fields, count }
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(1..).unwrap_or(&[])
    }

    /// A blank line, or a comment.
    fn is_silent(&self) -> bool {
        let first = self.bytes().iter().find(|byte| !is_blank(**byte));
        first.is_none_or(|byte| *byte == b'#')
    }

    fn is_entry(&self) -> bool {
        !self.is_silent() && self.count == self.fields.len()
    }

    fn id(&self) -> &[u8] {
        self.of(self.id_at())
    }

    fn levels(&self) -> &[u8] {
        self.of(self.levels_at())
    }

    fn action(&self) -> &[u8] {
        self.of(self.action_at())
    }

    fn process(&self) -> &[u8] {
        self.of(self.process_at())
    }

    /// Is there no process, or nothing behind its marks?
    fn starts_nothing(&self) -> bool {
        Process::parse(self.process()).text.iter().all(|byte| is_blank(*byte))
    }

    fn of(&self, field: Span) -> &[u8] {
        field.of(&self.text)
    }

    fn id_at(&self) -> Span {
        self.fields[1]
    }

    fn levels_at(&self) -> Span {
        self.fields[2]
    }

    fn action_at(&self) -> Span {
        self.fields[3]
    }

    fn process_at(&self) -> Span {
        self.fields[4]
    }
}

/// The lines of an inittab. Neither init continues one behind a backslash.
fn lines(source: &[u8]) -> impl Iterator<Item = Line> + '_ {
    let whole = source.strip_suffix(b"\n").unwrap_or(source);
    let count = if source.is_empty() { 0 } else { usize::MAX };
    let numbered = whole.split(|byte| *byte == b'\n').take(count).zip(1usize..);
    numbered.map(|(line, number)| Line::new(number, line.strip_suffix(b"\r").unwrap_or(line)))
}

/// An entry as it is written into the table.
struct Written<'l> {
    tag: &'l [u8],
    levels: &'l [u8],
    action: &'l str,
    options: &'l [u8],
    process: &'l [u8],
}

/// The table as far as it is written, and what was found on the way.
struct Import<'s> {
    name: &'s str,
    group: &'s [u8],
    text: Vec<u8>,
    report: Report,
    /// Tags that are taken, each with the number that was last put behind it.
    tags: BTreeMap<Vec<u8>, usize>,
}

impl Import<'_> {
    /// The head of the table: which group `telinit` and `runlevel` speak of, and what else the old init has fixed.
    fn put_head(&mut self, settings: &str) {
        self.put(b":::group:");
        self.text.extend_from_slice(self.group);
        self.put(b"\n");
        self.put(settings.as_bytes());
    }

    /// The lines, each given to `entry` that is one; comments and blank lines as they are.
    fn each_line(&mut self, source: &[u8], mut entry: impl FnMut(&mut Self, &Line)) {
        for line in lines(source) {
            if self.report.is_full() {
                return self.report.leave_out();
            }
            if let Some(zero) = line.text.iter().position(|byte| *byte == 0) {
                let at = Span { at: zero as u32, length: 1 };
                self.error(&line, at, "a zero byte", "is it an inittab?");
            } else if line.is_silent() {
                self.put(line.bytes());
                self.put(b"\n");
            } else if !line.is_entry() {
                let all = Span { at: 1, length: line.bytes().len() as u32 };
                let help = "an entry of an inittab is id:runlevels:action:process";
                self.error(&line, all, "a line that is no entry", help);
            } else if line.bytes().ends_with(b"\\") {
                let last = Span { at: line.bytes().len() as u32, length: 1 };
                let help = "write it into a script";
                self.leave(&line, last, "a backslash at its end continues a line here", help);
            } else {
                entry(self, &line);
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn put_entry(&mut self, entry: &Written) {
        self.text.extend_from_slice(self.group);
        for field in [entry.tag, entry.levels, entry.action.as_bytes()] {
            self.put(b":");
            self.put(field);
        }
        self.put(entry.options);
        self.put(b":");
        self.put(entry.process);
        self.put(b"\n");
    }

    /// A line that has no place in the table stays as a comment.
    fn leave(&mut self, line: &Line, at: Span, message: &str, help: &str) {
        self.put(b"#");
        self.put(line.bytes());
        self.put(b"\n");
        self.warn(line, at, message, help);
    }

    /// A tag that no other entry has, made from this one.
    fn tag(&mut self, wish: &[u8]) -> Vec<u8> {
        let clean = |byte: &u8| if *byte <= b' ' || *byte == 127 { b'_' } else { *byte };
        // Room for a number behind it.
        let wish: Vec<u8> = wish.iter().take(TAG_MAX_BYTES.saturating_sub(8)).map(clean).collect();
        let mut tag = wish.clone();
        while self.tags.contains_key(&tag) {
            let number = self.tags.entry(wish.clone()).or_insert(1);
            *number = number.saturating_add(1);
            tag = wish.clone();
            tag.extend_from_slice(number.to_string().as_bytes());
        }
        self.tags.insert(tag.clone(), 1);
        tag
    }

    fn error(&mut self, line: &Line, at: Span, message: &str, help: &str) {
        self.diagnose(Severity::Error, line, at, message, help);
    }

    fn warn(&mut self, line: &Line, at: Span, message: &str, help: &str) {
        self.diagnose(Severity::Warning, line, at, message, help);
    }

    fn diagnose(&mut self, severity: Severity, line: &Line, at: Span, message: &str, help: &str) {
        if !self.report.has_room(severity) {
            return self.report.leave_out();
        }
        // Columns begin at 1, and so does the line behind its colon.
        let column = (at.at as usize).max(1);
        let (text, caret) = excerpt(line.bytes(), column);
        self.report.push(Diagnostic {
            severity,
            line: line.number,
            column,
            width: (at.length as usize).max(1),
            text,
            caret,
            ..Diagnostic::about_file(self.name, message, help)
        });
    }
}
