//! Lines to entries and settings; everything that can be wrong with them.

use smallvec::SmallVec;

use super::diagnostic::{Diagnostic, Report, Severity, excerpt};
use super::entry::{Action, Levels, Process, Record};
use super::glob::is_pattern;
use super::index::{Index, hash};
use super::lexer::{Lexer, Logical, Span, fields, find, is_blank, locate, pieces};
use super::option::NAMES as OPTIONS;
use super::setting::NAMES as SETTINGS;
use super::source::Sources;
use super::{GroupRecord, Loaded, Options, Table, near};
use crate::limits::{
    ARGUMENTS_MAX, ENTRIES_MAX, GROUPS_MAX, PROCESS_MAX_BYTES, TAG_MAX_BYTES, WORD_MAX_BYTES,
};

/// IS::Init's status file has columns of this width.
const STATUS_COLUMN: usize = 15;

/// Reads all sources into one table.
pub fn read(sources: Sources) -> Result<Loaded, Report> {
    let size = sources.sources.iter().map(|source| source.bytes.len()).fold(0usize, usize::saturating_add);
    let mut parser = Parser {
        table: Table { text: Vec::with_capacity(size), ..Table::default() },
        sources: &sources,
        report: Report::default(),
        source: 0,
        line: Logical { span: Span::default(), line: 0, source: 0, continued: false },
        logs: Vec::new(),
        initdefaults: Vec::new(),
        known_options: Index::default(),
        same: None,
        offers: 0,
        settings_seen: Vec::new(),
    };
    parser.read_source(0);
    parser.check_whole();
    let Parser { mut table, mut report, .. } = parser;
    report.sort();
    if report.has_errors() {
        return Err(report);
    }
    table.digest = hash(&table.text);
    table.files = sources.files;
    table.directories = sources.directories;
    Ok(Loaded { table, warnings: report })
}

/// Where a field stands: for what is found only when all entries are known.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub source: usize,
    pub line: Logical,
    pub field: Span,
}

pub(super) struct Parser<'s> {
    pub table: Table,
    pub report: Report,
    /// The source and the line that diagnostics are about.
    pub source: usize,
    pub line: Logical,
    /// The values of `log=`, each with the number of its entry.
    pub logs: Vec<(u32, Place)>,
    /// The levels of `initdefault`, each with the number of its group.
    pub initdefaults: Vec<(u32, Place)>,
    /// The places in the table of options that were seen, by digest.
    pub known_options: Index,
    /// The last action field with options of which nothing was to be said, and what it says: entries of one kind stand
    /// together.
    same: Option<(Span, Kind)>,
    /// How often the nearest name was looked for among all that the table has.
    pub offers: usize,
    sources: &'s Sources,
    settings_seen: Vec<&'static str>,
}

impl Parser<'_> {
    fn read_source(&mut self, number: usize) {
        let sources = self.sources;
        let Some(source) = sources.sources.get(number) else { return };
        self.source = number;
        if source.open_to_others {
            let message =
                "others than its owner can write this file, and what is in it runs as this daemon's user";
            self.about_file(Severity::Warning, message, "chmod go-w it");
        }
        let mut lexer = Lexer::new(&source.bytes);
        while let Some(line) = lexer.next(&mut self.table.text) {
            if self.report.is_full() {
                return self.report.leave_out();
            }
            (self.source, self.line) = (number, line);
            self.read_line();
            // Only the main file includes, so this goes no deeper.
            let include = sources.includes.iter().find(|include| number == 0 && include.line == line.line);
            for included in include.map_or(0..0, |include| include.sources.clone()) {
                self.read_source(included);
            }
        }
    }

    fn read_line(&mut self) {
        if let Some(zero) = find(self.bytes(self.line.span), 0) {
            return self.error_zero(zero);
        }
        let (parts, count) = fields(self.line.span, &self.table.text);
        let [group, tag, levels, action, process] = parts;
        let empty = [group, tag, levels].iter().all(|field| field.length == 0);
        if count == 5 && empty {
            return self.read_setting(action, process);
        }
        if count < 5 {
            return self.missing_colons(count);
        }
        self.read_entry(group, tag, levels, action, process);
    }

    fn error_zero(&mut self, zero: usize) {
        let at = self.line.span.at.saturating_add(zero as u32);
        self.error(Span { at, length: 1 }, "a zero byte", "no process can have one in an argument");
    }

    fn missing_colons(&mut self, count: usize) {
        let missing =
            ["group", "tag", "levels", "action", "process"].get(count).copied().unwrap_or("process");
        let setting = self.bytes(self.line.span).trim_ascii_start().starts_with(b":::");
        let message = match setting {
            true => "the last colon and the value of this setting are missing".into(),
            false => format!(
                "{} of the four colons are there: the {missing} field is missing",
                count.saturating_sub(1)
            ),
        };
        let end = Span { at: self.line.span.at.saturating_add(self.line.span.length), length: 0 };
        let all = if count == 1 { self.line.span } else { end };
        let help = match self.bytes(self.line.span).contains(&b'\t') {
            true => "a colon stands between two fields, and no tab: group:tag:levels:action:process",
            false => "an entry is group:tag:levels:action:process, a setting :::name:value",
        };
        self.error(all, &message, help);
    }

    fn read_setting(&mut self, name: Span, value: Span) {
        let (name_bytes, value_bytes) = (self.bytes(name).to_vec(), self.bytes(value).to_vec());
        if name_bytes == b"include" {
            return self.check_include(value);
        }
        match self.table.settings.set(&name_bytes, &value_bytes) {
            Ok(()) => self.note_setting(name, &name_bytes),
            Err("") => {
                let help = one_of(&name_bytes, &SETTINGS);
                self.error(name, "no setting has this name", &help);
            }
            Err(help) => self.error(value, "this value cannot be", help),
        }
    }

    /// `env` alone may be there many times; of the others the last one holds.
    fn note_setting(&mut self, field: Span, name: &[u8]) {
        let Some(known) = SETTINGS.iter().find(|known| known.as_bytes() == name && name != b"env") else {
            return;
        };
        if self.settings_seen.contains(known) {
            self.warn(field, "this setting is there twice", "the last one holds; take the other out");
        } else {
            self.settings_seen.push(known);
        }
    }

    fn check_include(&mut self, value: Span) {
        let pattern = self.bytes(value);
        let slash = pattern.iter().rposition(|byte| *byte == b'/');
        let wild = slash.and_then(|at| pattern.get(..at)).is_some_and(is_pattern);
        let no_name = matches!(pattern.rsplit(|byte| *byte == b'/').next(), Some(b"" | b"." | b".."));
        if self.source != 0 {
            self.error(value, "an included file cannot include", "include it from the table itself");
        } else if wild {
            self.error(
                value,
                "only the last part of the path may be a pattern",
                "include each directory by itself",
            );
        } else if no_name {
            self.error(
                value,
                "an include without a file",
                "write a path; its last part may have *, ? and [...]",
            );
        } else if self.sources.is_text {
            self.error(value, "a text that is no file cannot include", "write a table that is a file");
        }
        let sources = self.sources;
        let line = self.line.line;
        let include = sources.includes.iter().find(|include| self.source == 0 && include.line == line);
        for problem in include.map_or(&[][..], |include| &include.problems) {
            self.error(value, problem, "make it readable, or let the pattern leave it out");
        }
    }

    /// An entry that is wrong is recorded all the same: the table is not taken, but whoever names its tag is right.
    fn read_entry(&mut self, group: Span, tag: Span, levels: Span, action: Span, process: Span) {
        self.check_name(group, "group", WORD_MAX_BYTES);
        self.check_group(group);
        let is_new = self.check_name(tag, "tag", TAG_MAX_BYTES) && self.check_tag(tag);
        let kind = self.read_kind(action);
        self.check_levels(levels, kind.action);
        if kind.is_known {
            self.check_process(kind.action, process);
        }
        if self.table.entries.len() >= ENTRIES_MAX {
            let help = format!("a table has at most {ENTRIES_MAX}");
            return self.error(tag, "more entries than there is room for", &help);
        }
        let Some(group) = self.intern_group(group) else { return };
        let index = self.table.entries.len() as u32;
        self.take_initdefault(group, kind.action, levels);
        if let Some(field) = kind.log {
            self.logs.push((index, self.place(field)));
        }
        let (line, file) = (self.line.line, self.source as u16);
        let Kind { action, options, .. } = kind;
        self.table.entries.push(Record { group, tag, levels, process, options, line, file, action });
        if is_new {
            let Table { tags, entries, text, .. } = &mut self.table;
            tags.insert(index, |number| {
                entries.get(number as usize).map_or(0, |record| hash(record.tag.of(text)))
            });
        }
    }

    fn place(&self, field: Span) -> Place {
        Place { source: self.source, line: self.line, field }
    }

    fn check_name(&mut self, field: Span, what: &str, most: usize) -> bool {
        let bytes = self.bytes(field);
        let odd = bytes.iter().position(|byte| *byte <= b' ' || *byte == 127);
        let length = bytes.len();
        if length == 0 {
            self.error(
                field,
                &format!("the {what} is empty"),
                "every entry has a group and a tag of its own",
            );
        } else if length > most {
            self.error(field, &format!("a {what} has at most {most} bytes"), "choose a shorter one");
        } else if let Some(odd) = odd {
            let at = Span { at: field.at.saturating_add(odd as u32), length: 1 };
            self.error(
                at,
                &format!("a {what} has no blank and no control byte"),
                "is a colon missing before it?",
            );
        } else {
            return true;
        }
        false
    }

    fn check_group(&mut self, field: Span) {
        let bytes = self.bytes(field);
        if bytes == b"stopall" {
            self.error(field, "no group can be called stopall", "that word stops everything");
        } else if bytes.len() > STATUS_COLUMN && self.table.find_group(self.bytes(field)).is_none() {
            self.warn(
                field,
                "a group's name of more than 15 bytes widens the status file",
                "choose a shorter one",
            );
        }
    }

    fn check_tag(&mut self, field: Span) -> bool {
        let Some(first) = self.table.find_tag(self.bytes(field)) else { return true };
        let record = self.table.entries.get(first as usize);
        let place = record.map_or((0, 0), |record| (usize::from(record.file), record.line));
        let file = self.sources.sources.get(place.0).map_or("", |source| &source.name);
        let help = format!("{file}:{} has it already; a tag is unique in the whole table", place.1);
        self.error(field, "this tag is taken", &help);
        false
    }

    fn check_levels(&mut self, field: Span, action: Action) {
        let words: SmallVec<[Span; 8]> =
            pieces(field, &self.table.text).filter(|word| word.length > 0).collect();
        for word in &words {
            if self.report.is_full() || !self.check_name(*word, "level", WORD_MAX_BYTES) {
                return;
            }
            if self.bytes(*word) == b"0" && action.has_process() && action != Action::Shutdown {
                let help = "level 0 stops the group; no entry is started there";
                self.warn(*word, "level 0 starts nothing", help);
            }
        }
        match action {
            // The level of an initdefault is one word in any case.
            Action::Initdefault => {}
            Action::Shutdown => self.check_ways_down(field),
            _ => self.check_both_readings(field),
        }
    }

    fn check_ways_down(&mut self, field: Span) {
        let levels = Levels { text: self.bytes(field) };
        if !b"06".iter().any(|way| levels.has_way_down(*way)) {
            let help = "write 0 (halt and power off), 6 (reboot), 06, or nothing for both";
            self.warn(field, "a shutdown entry with these levels never runs", help);
        }
    }

    fn check_both_readings(&mut self, field: Span) {
        let bytes = self.bytes(field);
        // inittab(5)'s own levels: who writes 2345 means each of them.
        let classic = bytes.iter().all(|byte| b"0123456789sSabcABC".contains(byte));
        if !bytes.contains(&b',') && bytes.len() > 1 && !classic {
            let word = String::from_utf8_lossy(bytes).into_owned();
            let help = format!("write `{word},` for the one word, or `{}` for its letters", letters(&word));
            self.warn(field, &format!("this is level {word}, and also each of its letters"), &help);
        }
    }

    /// The action field. One that is the same as the last is not read again, unless there was something to say about it,
    /// or its log has its place to be remembered.
    fn read_kind(&mut self, field: Span) -> Kind {
        if let Some((last, kind)) = self.same
            && self.bytes(last) == self.bytes(field)
        {
            return kind;
        }
        let said = self.report.said();
        let read = self.read_action(field);
        let options = self.intern_options(read.options);
        let kind = Kind { action: read.action, is_known: read.is_known, options, log: read.log };
        self.same = Some((field, kind)).filter(|_| said == self.report.said() && kind.log.is_none());
        kind
    }

    fn read_action(&mut self, field: Span) -> ActionField {
        let parts: SmallVec<[Span; 8]> = pieces(field, &self.table.text).collect();
        let mut read = ActionField::default();
        let Some((first, rest)) = parts.split_first() else { return read };
        let word = self.bytes(*first);
        let Some(action) = Action::from_name(word) else {
            let names: Vec<&str> = Action::ALL.iter().map(|(_, name)| *name).collect();
            let help = one_of(word, &names);
            self.error(*first, "no action has this name", &help);
            return read;
        };
        (read.action, read.is_known) = (action, true);
        let mut seen = SmallVec::new();
        for part in rest {
            if self.report.is_full() {
                break;
            }
            self.read_option(*part, &mut read, &mut seen);
        }
        if let (Some(timeout), None) = (read.ready_timeout, read.options.ready) {
            self.warn(
                timeout,
                "ready-timeout has no effect without ready",
                "write ready=FD or ready=socket too",
            );
        }
        read
    }

    fn read_option(&mut self, part: Span, read: &mut ActionField, seen: &mut SmallVec<[u64; 8]>) {
        let text = &self.table.text;
        let (name, value) = halves(part, text);
        // A resource may be written in any case, and is the same.
        let hash = super::index::hash_uppercase(name.of(text));
        if seen.contains(&hash) {
            return self.error(part, "this option is there twice", "keep one of them");
        }
        match read.options.set(name.of(text), value.map(|value| value.of(text))) {
            Ok(()) => seen.push(hash),
            Err(help) => return self.error_option(part, name, help),
        }
        match name.of(text) {
            b"log" => read.log = value,
            b"ready-timeout" => read.ready_timeout = Some(part),
            _ => {}
        }
        if has_no_effect(name.of(text), read.action) {
            let message =
                format!("{} has no effect with the action {}", self.words(name), read.action.name());
            self.warn(part, &message, "take it out");
        }
    }

    /// An option that cannot be taken; without a help there is none of that name.
    fn error_option(&mut self, part: Span, name: Span, help: &str) {
        if help.is_empty() {
            let help = one_of(self.bytes(name), &OPTIONS);
            return self.error(part, "no option has this name", &help);
        }
        let message = format!("the option {} cannot be this", self.words(name));
        self.error(part, &message, help);
    }

    fn check_process(&mut self, action: Action, field: Span) {
        if !action.has_process() {
            return;
        }
        let process = Process::parse(self.bytes(field));
        if field.length as usize > PROCESS_MAX_BYTES {
            let message = format!("a process has at most {PROCESS_MAX_BYTES} bytes");
            self.error(field, &message, "write it into a script");
        } else if process.text.iter().all(|byte| is_blank(*byte)) {
            let name = action.name();
            let help =
                format!("what is to be started? only `off` and `initdefault` do without; this is `{name}`");
            self.error(field, "the process is empty", &help);
        } else if !process.shell && has_too_many_words(&process) {
            let message = format!("a process has at most {ARGUMENTS_MAX} words where there is no shell");
            self.error(field, &message, "write it into a script");
        }
    }

    fn take_initdefault(&mut self, group: u32, action: Action, levels: Span) {
        if action != Action::Initdefault {
            return;
        }
        let words: SmallVec<[Span; 2]> =
            pieces(levels, &self.table.text).filter(|word| word.length > 0).take(2).collect();
        let [level] = words[..] else {
            let help = "name the one that the group enters at start-up";
            return self.error(levels, "initdefault has one level", help);
        };
        self.initdefaults.push((group, self.place(level)));
        let Some(record) = self.table.groups.get_mut(group as usize) else { return };
        match record.initdefault {
            Some(_) => self.error(levels, "this group has an initdefault already", "keep one of them"),
            None => record.initdefault = Some(level),
        }
    }

    fn intern_group(&mut self, name: Span) -> Option<u32> {
        if let Some(number) = self.table.find_group(self.bytes(name)) {
            return Some(number);
        }
        let number = self.table.groups.len();
        if number >= GROUPS_MAX {
            self.error(
                name,
                "more groups than there is room for",
                &format!("a table has at most {GROUPS_MAX}"),
            );
            return None;
        }
        self.table.groups.push(GroupRecord { name, initdefault: None });
        let Table { names, groups, text, .. } = &mut self.table;
        names.insert(number as u32, |number| {
            groups.get(number as usize).map_or(0, |group| hash(group.name.of(text)))
        });
        Some(number as u32)
    }

    /// The number of these options in the table. Entries mostly have none, or the same as others.
    fn intern_options(&mut self, options: Options) -> u32 {
        let is = |number: u32| self.table.options.get(number as usize) == Some(&options);
        if let Some(known) = self.known_options.find(options.digest, is) {
            return known;
        }
        let number = self.table.options.len() as u32;
        self.table.options.push(options);
        let digest =
            |number: u32| self.table.options.get(number as usize).map_or(0, |options| options.digest);
        self.known_options.insert(number, digest);
        number
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        span.of(&self.table.text)
    }

    fn words(&self, span: Span) -> String {
        String::from_utf8_lossy(self.bytes(span)).into_owned()
    }

    pub(super) fn error(&mut self, at: Span, message: &str, help: &str) {
        self.diagnose(Severity::Error, at, message, help);
    }

    pub(super) fn warn(&mut self, at: Span, message: &str, help: &str) {
        self.diagnose(Severity::Warning, at, message, help);
    }

    fn about_file(&mut self, severity: Severity, message: &str, help: &str) {
        let file = self.sources.sources.get(self.source).map_or("", |source| &source.name);
        self.report.push(Diagnostic {
            severity,
            source: self.source,
            ..Diagnostic::about_file(file, message, help)
        });
    }

    fn diagnose(&mut self, severity: Severity, at: Span, message: &str, help: &str) {
        if !self.report.has_room(severity) {
            return self.report.leave_out();
        }
        let Some(source) = self.sources.sources.get(self.source) else { return };
        let (line, column, bytes) = locate(&source.bytes, &self.line, at.at);
        let (text, caret) = excerpt(bytes, column);
        let width = (at.length as usize).max(1);
        let (file, message, help) = (source.name.clone(), message.into(), help.into());
        self.report.push(Diagnostic {
            severity,
            file,
            line,
            column,
            width,
            text,
            caret,
            message,
            help,
            source: self.source,
        });
    }
}

/// What an action field says, its options by their number in the table.
#[derive(Clone, Copy)]
struct Kind {
    action: Action,
    is_known: bool,
    options: u32,
    log: Option<Span>,
}

/// An action field while it is read.
struct ActionField {
    /// `Off` if there is none of that name.
    action: Action,
    is_known: bool,
    options: Options,
    /// The value of `log=`.
    log: Option<Span>,
    /// The option `ready-timeout=`.
    ready_timeout: Option<Span>,
}

impl Default for ActionField {
    fn default() -> ActionField {
        let (log, ready_timeout) = (None, None);
        ActionField { action: Action::Off, is_known: false, options: Options::default(), log, ready_timeout }
    }
}

/// The name of an option, and what stands behind its `=`.
fn halves(part: Span, text: &[u8]) -> (Span, Option<Span>) {
    let Some(equals) = part.of(text).iter().position(|byte| *byte == b'=') else { return (part, None) };
    let name = Span { at: part.at, length: equals as u32 };
    let front = name.length.saturating_add(1);
    let value = Span { at: part.at.saturating_add(front), length: part.length.saturating_sub(front) };
    (name.trimmed(text), Some(value.trimmed(text)))
}

/// A word has a byte, and a blank before the next one.
fn has_too_many_words(process: &Process) -> bool {
    process.text.len() > ARGUMENTS_MAX.saturating_mul(2) && process.words().nth(ARGUMENTS_MAX).is_some()
}

fn letters(word: &str) -> String {
    word.chars().map(String::from).collect::<Vec<_>>().join(",")
}

/// What a name may have been meant to be; all of them if that cannot be told.
fn one_of(name: &[u8], names: &[&str]) -> String {
    match near::nearest(name, names.iter().map(|name| name.as_bytes())) {
        Some(near) => format!("did you mean {}?", String::from_utf8_lossy(near)),
        None => format!("it is one of {}", names.join(", ")),
    }
}

fn has_no_effect(option: &[u8], action: Action) -> bool {
    match option {
        b"limit" | b"delay" => !action.repeats(),
        _ => !action.has_process(),
    }
}
