//! `isinit check --words`: the names of a table, for the completion of command lines.

use std::path::PathBuf;
use std::time::Duration;

use super::{Common, Problem, Status, show};
use crate::isinittab::{Occasion, Table};
use crate::wire::client::field;

/// A shell waits for it, and a person for the shell.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lists `group NAME`, `level GROUP LEVEL` and `tag GROUP TAG`: of the daemon that answers and its table; else, and where a
/// table is named, of that.
pub fn words(common: &Common, table: Option<&str>) -> Result<(), Problem> {
    let live = if table.is_none() { ask(common) } else { None };
    let daemons = || Some(PathBuf::from(field(live.as_ref()?.first()?, "table")?));
    let path = table.map(PathBuf::from).or_else(daemons).unwrap_or_else(|| common.table());
    let loaded = Table::load(&path).map_err(|_| Problem::new(Status::Table, ""));
    let mut found = live
        .as_ref()
        .map_or_else(Vec::new, |lines| lines.iter().filter_map(|line| live_name(line)).collect());
    if let Ok(loaded) = &loaded {
        if live.is_none() {
            add_names(&mut found, &loaded.table);
        }
        add_levels(&mut found, &loaded.table);
    }
    // What is not UTF-8 cannot be written on our command line either.
    found.retain(|line| line.chars().all(|letter| letter != '\u{fffd}'));
    show::put(found.concat());
    loaded.map(drop).or(if live.is_some() { Ok(()) } else { Err(Problem::new(Status::Table, "")) })
}

/// A line of a status, if there is a name in it.
fn live_name(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    match (words.next()?, words.next()?, words.next()?) {
        ("group", group, _) => Some(format!("group {group}\n")),
        ("entry", group, tag) => Some(format!("tag {group} {tag}\n")),
        _ => None,
    }
}

fn ask(common: &Common) -> Option<Vec<String>> {
    let mut connection = common.connect().ok()?;
    connection.set_deadline(Some(PATIENCE));
    connection.gather(b":status").ok().map(|(lines, _)| lines)
}

fn add_names(found: &mut Vec<String>, table: &Table) {
    let text = String::from_utf8_lossy;
    let groups = (0..).map_while(|number| table.group(number));
    found.extend(groups.map(|group| format!("group {}\n", text(group.name))));
    found.extend(
        table.entries().map(|entry| format!("tag {} {}\n", text(entry.group_name()), text(entry.tag()))),
    );
}

/// Adds the levels that a tell can have, each once.
fn add_levels(found: &mut Vec<String>, table: &Table) {
    let (names, text) = (found.len(), String::from_utf8_lossy);
    let mut add = |group: &[u8], level: &[u8]| {
        let line = format!("level {} {}\n", text(group), text(level));
        if !found.iter().skip(names).any(|known| *known == line) {
            found.push(line);
        }
    };
    for entry in table.entries() {
        add(entry.group_name(), b"0");
        if !matches!(entry.action().occasion(), Occasion::Level | Occasion::Demand) {
            continue;
        }
        for word in entry.levels().words() {
            // Without a comma it is a word, and its characters: who writes 2345 means those.
            let digits = word.iter().all(u8::is_ascii_digit) && word == entry.levels().raw();
            word.chunks(if digits { 1 } else { word.len() }).for_each(|level| add(entry.group_name(), level));
        }
    }
}
