//! The table: lexer, parser and diagnostics; and the inittabs of other inits, which become tables.

use std::fmt::Write;

use isinit::isinittab::{Diagnostic, Entry, Origin, Report, Severity, Table, import, is_group_name};

const NAME: &str = "fuzz";

/// Any bytes are a table, or there are reasons why not, each with its place in them.
pub fn check(bytes: &[u8]) {
    let read = Table::parse(NAME, bytes);
    match &read {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            points_inside(bytes, &loaded.warnings);
            is_whole(&loaded.table);
            is_refused_twice(bytes, &loaded.table);
        }
        Err(report) => {
            assert!(report.has_errors(), "refused without a reason");
            points_inside(bytes, report);
        }
    }
    let told = told(&read.map(|loaded| (loaded.table, loaded.warnings)), 0);
    for (how, other, lines) in other_writings(bytes) {
        let read = Table::parse(NAME, &other).map(|loaded| (loaded.table, loaded.warnings));
        assert_eq!(told, self::told(&read, lines), "the same table, {how}");
    }
    for origin in [None, Some(Origin::Sysvinit), Some(Origin::Busybox)] {
        becomes_a_table(origin, bytes);
    }
    names_a_group(bytes);
}

/// All that a table says, and what is said about it, with so many lines before it. But not the helps: they name other
/// lines.
fn told(read: &Result<(Table, Report), Report>, lines: usize) -> String {
    let mut told = String::new();
    let mut tell = |diagnostic: &Diagnostic| {
        let Diagnostic { severity, line, column, width, text, caret, message, .. } = diagnostic;
        let line = line.saturating_sub(lines);
        writeln!(told, "{severity:?} {line}:{column} {width} {text} {caret} {message}").unwrap();
    };
    match read {
        Ok((_, report)) | Err(report) => report.iter().for_each(&mut tell),
    }
    if let Ok((table, _)) = read {
        writeln!(told, "{:x} {:?}", table.digest(), table.settings()).unwrap();
        for entry in table.entries() {
            let line = entry.line() as usize - lines;
            let (action, levels, options) = (entry.action(), entry.levels(), entry.options());
            writeln!(told, "{line} {:x} {levels:?} {action:?} {options:?}", entry.digest()).unwrap();
            writeln!(told, "{:?} {:?} {:?}", entry.group_name(), entry.tag(), entry.process()).unwrap();
        }
    }
    told
}

/// The same table in other bytes, and how many lines are before it there.
fn other_writings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>, usize)> {
    let mut writings = vec![
        ("read again", bytes.to_vec(), 0),
        ("with a comment before it", [b"# \\\n", bytes].concat(), 1),
        ("with blank lines before it", [b" \t\r\n\n", bytes].concat(), 2),
    ];
    if !bytes.contains(&b'\r') {
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        writings.push(("with CRLF at its lines' ends", lines.join(&b"\r\n"[..]), 0));
    }
    if !bytes.ends_with(b"\n") {
        writings.push(("with an end to its last line", [bytes, b"\n"].concat(), 0));
    }
    writings
}

/// Every diagnostic shows the place that it is about, and nothing that a terminal would obey.
fn points_inside(bytes: &[u8], report: &Report) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let mut before = (0, 0);
    for diagnostic in report.iter() {
        assert_eq!(diagnostic.file, NAME);
        assert!(diagnostic.line > 0, "{} is about no line", diagnostic.message);
        assert!(before <= (diagnostic.line, diagnostic.column), "not in the order of the file");
        before = (diagnostic.line, diagnostic.column);
        let line = lines.get(diagnostic.line - 1).expect("a line of the text");
        shows(diagnostic, line.strip_suffix(b"\r").unwrap_or(line));
    }
    assert!(report.len() >= report.iter().count());
    let rendered = report.to_string();
    assert!(rendered.lines().all(|line| !line.contains(char::is_control)), "{rendered:?}");
}

fn shows(diagnostic: &Diagnostic, line: &[u8]) {
    let Diagnostic { column, text, caret, message, .. } = diagnostic;
    assert!((1..=line.len() + 1).contains(column), "{message}: column {column} of {line:?}");
    assert!(*caret <= text.len(), "{message}: the caret stands beside {text:?}");
    assert!(!message.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    if let Some(byte) = line.get(column - 1) {
        let shown = text.as_bytes().get(*caret).copied();
        let expected = match byte {
            b' '..=b'~' => *byte,
            b'\t' => b' ',
            _ => b'?',
        };
        assert_eq!(shown, Some(expected), "{message}: column {column} of {line:?} in {text:?}");
    }
}

/// What others ask of a table that was taken.
fn is_whole(table: &Table) {
    for entry in table.entries() {
        is_found(table, &entry);
        has_its_levels(table, &entry);
        can_be_started(&entry);
        logs_come_to_an_end(table, &entry);
    }
    for number in 0..table.groups() as u32 {
        let group = table.group(number).expect("a group");
        assert_eq!(table.find_group(group.name), Some(number));
        assert!(group.initdefault.is_none_or(|level| !level.is_empty()));
    }
    assert_eq!(table.files().count(), 1);
    assert!(!table.changed_on_disk());
}

fn is_found(table: &Table, entry: &Entry) {
    assert_eq!(table.find_tag(entry.tag()), Some(entry.index()));
    assert_eq!(table.find_group(entry.group_name()), Some(entry.group()));
    assert!((1..=47).contains(&entry.tag().len()) && (1..=63).contains(&entry.group_name().len()));
    let is_word = |name: &[u8]| name.iter().all(|byte| *byte > b' ' && *byte != 127 && *byte != b':');
    assert!(is_word(entry.tag()) && is_word(entry.group_name()));
    // To look for the nearest one takes a look at all; a few are enough.
    if entry.index() < 4 {
        assert_eq!(table.nearest_tag(entry.tag()), Some(entry.tag()));
        assert_eq!(table.nearest_group(entry.group_name()), Some(entry.group_name()));
    }
}

fn has_its_levels(table: &Table, entry: &Entry) {
    let levels = entry.levels();
    assert!(!levels.has(b"0") && !levels.has(b""));
    for level in levels.words().filter(|level| *level != b"0") {
        assert!(levels.has(level) && levels.names(level), "{level:?} of {levels:?}");
        if entry.index() < 4 {
            table.has_level(entry.group(), level);
            table.nearest_level(entry.group(), level);
            table.is_on_demand(entry.group(), level);
        }
    }
}

fn can_be_started(entry: &Entry) {
    let (process, options) = (entry.process(), entry.options());
    assert!(process.text.iter().all(|byte| !matches!(byte, 0 | b'\n')));
    assert!(process.words().all(|word| !word.is_empty() && !word.contains(&b' ') && !word.contains(&b'\t')));
    assert!(!entry.action().has_process() || process.words().next().is_some());
    assert!((1..=64).contains(&options.stop.number()));
    assert!(options.delay_min_ms <= options.delay_max_ms);
    assert!(options.delay_min_ms > 0 || options.delay_max_ms == 0);
    assert!(options.limit.is_none_or(|limit| limit.starts > 0 && limit.window_ms > 0));
    assert!(options.umask.is_none_or(|mask| mask <= 0o777));
}

fn logs_come_to_an_end(table: &Table, entry: &Entry) {
    let mut at = Some(*entry);
    for _ in 0..=table.len() {
        let Some(log) = at.and_then(|entry| entry.options().log.as_deref()) else { return };
        at = table.entry(table.find_tag(log).expect("a log that goes nowhere"));
    }
    panic!("the log of {:?} goes in a circle", entry.tag());
}

/// A tag is unique: two of the same table are none.
fn is_refused_twice(bytes: &[u8], table: &Table) {
    if !table.is_empty() {
        let twice = [bytes, b"\n\n", bytes].concat();
        assert!(Table::parse(NAME, &twice).is_err(), "all tags are there twice");
    }
}

/// Of an inittab comes a table without errors, or the reason why not, by the inittab's own lines.
fn becomes_a_table(origin: Option<Origin>, bytes: &[u8]) {
    match import(origin, b"init", NAME, bytes) {
        Ok(imported) => {
            points_inside(bytes, &imported.differences);
            let table = Table::parse(NAME, &imported.text);
            let table = table.unwrap_or_else(|report| panic!("{origin:?}: {report}")).table;
            assert!(table.entries().all(|entry| entry.group_name() == b"init"));
        }
        Err(report) => {
            assert!(report.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
            points_inside(bytes, &report);
        }
    }
}

/// What can be a group's name can stand in front of an entry.
fn names_a_group(bytes: &[u8]) {
    let name = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if is_group_name(name) {
        let text = [b":::group:", name, b"\n", name, b":t::once:x\n"].concat();
        let table = Table::parse(NAME, &text).unwrap_or_else(|report| panic!("{report}")).table;
        assert!(table.entries().all(|entry| entry.group_name() == name));
        assert_eq!((table.len(), table.settings().group.as_deref()), (1, Some(name)));
    }
}
