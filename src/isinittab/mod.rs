//! The table: `/etc/isinittab` and what it includes, read into typed entries, options and settings.
//!
//! ```text
//! group:tag:levels:action[,option...]:process     an entry
//! :::name:value                                   a setting
//! # comment
//! ```
//!
//! A table is taken whole or not at all, and all of its errors are found in one run. What is read is compact:
//! one text that all fields are pieces of, a record of 40 bytes for each entry, and options once for all entries
//! that have the same. Nothing in here knows what a process is.

mod diagnostic;
mod entry;
mod glob;
mod import;
mod index;
mod lexer;
mod near;
mod option;
mod parser;
mod setting;
mod signal;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_wrong;
mod whole;

use std::path::Path;

pub use diagnostic::{Diagnostic, Report, Severity};
pub use entry::{Action, Entry, Levels, Occasion, Process};
pub use import::{Imported, Origin, import, import_file, is_group_name};
pub(crate) use index::hash;
pub(crate) use option::seconds as seconds_to_ms;
pub use option::{Fail, Limit, NAMES as OPTION_NAMES, Options, RESOURCES, Ready, Tty};
pub use setting::{Mounts, NAMES as SETTING_NAMES, Settings, Survivors, Watchdog};
pub use signal::Signal;

use entry::Record;
use index::Index;
use lexer::Span;
use source::{File, Sources};

/// A table that was read without an error, and what it was warned of.
pub struct Loaded {
    /// The table.
    pub table: Table,
    /// What may not be meant as it is written.
    pub warnings: Report,
}

/// A table. Nothing changes it: a changed file makes another one.
///
/// ```
/// use isinit::isinittab::{Action, Table};
/// let loaded = Table::parse("example", b"web:nginx:run,:respawn:nginx -g 'daemon off;'\n").unwrap();
/// let entry = loaded.table.entry(0).unwrap();
/// assert_eq!((entry.group_name(), entry.tag()), (&b"web"[..], &b"nginx"[..]));
/// assert_eq!(entry.action(), Action::Respawn);
/// assert!(entry.levels().has(b"run") && entry.process().shell);
/// ```
#[derive(Clone, Default)]
pub struct Table {
    text: Vec<u8>,
    entries: Vec<Record>,
    groups: Vec<GroupRecord>,
    options: Vec<Options>,
    standard: Options,
    settings: Settings,
    tags: Index,
    names: Index,
    files: Vec<File>,
    directories: Vec<File>,
    digest: u64,
}

#[derive(Clone, Copy, Debug)]
struct GroupRecord {
    name: Span,
    initdefault: Option<Span>,
}

/// A resource group of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'t> {
    /// Its name.
    pub name: &'t [u8],
    /// The level that it enters when the daemon begins.
    pub initdefault: Option<&'t [u8]>,
}

impl Table {
    /// A table without entries.
    pub fn empty() -> Table {
        Table::default()
    }

    /// Reads a file and all that it includes.
    ///
    /// # Errors
    /// All that is wrong with it; also a file that cannot be read.
    pub fn load(path: &Path) -> Result<Loaded, Report> {
        parser::read(Sources::load(path)?)
    }

    /// Reads a text. An `include` in it is an error, for there is no directory that it could be in.
    ///
    /// # Errors
    /// All that is wrong with it.
    ///
    /// ```
    /// use isinit::isinittab::Table;
    /// let report = Table::parse("example", b"web:nginx:run,:respwan:nginx\n").err().unwrap();
    /// let first = report.iter().next().unwrap();
    /// assert_eq!((first.line, first.column, first.help.as_str()), (1, 16, "did you mean respawn?"));
    /// ```
    pub fn parse(name: &str, text: &[u8]) -> Result<Loaded, Report> {
        parser::read(Sources::text(name, text)?)
    }

    /// All lines of the table and of what it includes that say something, each with a newline at its end.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Makes a table of such a text again.
    ///
    /// # Errors
    /// It is none: a table's own text never is.
    ///
    /// ```
    /// use isinit::isinittab::Table;
    /// let table = Table::parse("example", b"# web\nweb:nginx:run,:respawn:nginx \\\n  -g x\n").unwrap().table;
    /// let again = Table::parse_whole("example", table.text()).unwrap().table;
    /// assert_eq!((again.digest(), again.len()), (table.digest(), 1));
    /// ```
    pub fn parse_whole(name: &str, text: &[u8]) -> Result<Loaded, Report> {
        parser::read(Sources::whole(name, text)?)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at this place in file order.
    pub fn entry(&self, index: u32) -> Option<Entry<'_>> {
        self.entries.get(index as usize).map(|record| Entry { table: self, record, index })
    }

    /// All entries, in file order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + '_ {
        let entry = move |(index, record): (usize, _)| Entry { table: self, record, index: index as u32 };
        self.entries.iter().enumerate().map(entry)
    }

    /// The place of a tag.
    pub fn find_tag(&self, tag: &[u8]) -> Option<u32> {
        self.tags.find(hash(tag), |number| self.tag_of(number) == tag)
    }

    fn tag_of(&self, number: u32) -> &[u8] {
        self.entries.get(number as usize).map_or(&[], |record| record.tag.of(&self.text))
    }

    fn name_of(&self, number: u32) -> &[u8] {
        self.groups.get(number as usize).map_or(&[], |group| group.name.of(&self.text))
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The group of this number; they are numbered as they first appear.
    pub fn group(&self, number: u32) -> Option<Group<'_>> {
        let record = self.groups.get(number as usize)?;
        let initdefault = record.initdefault.map(|span| span.of(&self.text));
        Some(Group { name: record.name.of(&self.text), initdefault })
    }

    /// The number of a group.
    pub fn find_group(&self, name: &[u8]) -> Option<u32> {
        self.names.find(hash(name), |number| self.name_of(number) == name)
    }

    /// Has some entry of the group this level, by name? Level `0` every group has.
    pub fn has_level(&self, group: u32, level: &[u8]) -> bool {
        level == b"0" || self.started(group).any(|entry| entry.levels().has(level))
    }

    /// Is it a level that starts `ondemand` entries, and that no other entry of the group names? To tell it leaves
    /// the group where it is.
    ///
    /// ```
    /// use isinit::isinittab::Table;
    /// let table = Table::parse("example", b"g:ng::respawn:nginx\ng:dbg:a:ondemand:strace\n").unwrap().table;
    /// assert!(table.is_on_demand(0, b"a") && !table.is_on_demand(0, b"b"));
    /// ```
    pub fn is_on_demand(&self, group: u32, level: &[u8]) -> bool {
        let mut names = self.started(group).filter(|entry| entry.levels().names(level)).peekable();
        names.peek().is_some() && names.all(|entry| entry.action().occasion() == Occasion::Demand)
    }

    /// What is started by levels.
    fn started(&self, group: u32) -> impl Iterator<Item = Entry<'_>> {
        let by_level =
            |entry: &Entry| matches!(entry.action().occasion(), Occasion::Level | Occasion::Demand);
        self.entries().filter(move |entry| entry.group() == group && by_level(entry))
    }

    /// The group whose name is most like this one, if one is near enough to be meant.
    ///
    /// ```
    /// use isinit::isinittab::Table;
    /// let table = Table::parse("example", b"web:nginx:run,:respawn:nginx\n").unwrap().table;
    /// assert_eq!(table.nearest_group(b"webb"), Some(&b"web"[..]));
    /// assert_eq!(table.nearest_group(b"database"), None);
    /// ```
    pub fn nearest_group(&self, name: &[u8]) -> Option<&[u8]> {
        near::nearest(name, (0..self.groups.len() as u32).map(|number| self.name_of(number)))
    }

    /// The level of a group that is most like this one.
    pub fn nearest_level(&self, group: u32, level: &[u8]) -> Option<&[u8]> {
        near::nearest(level, self.started(group).flat_map(|entry| entry.levels().words()))
    }

    /// The tag that is most like this one.
    pub fn nearest_tag(&self, tag: &[u8]) -> Option<&[u8]> {
        near::nearest(tag, self.entries().map(|entry| entry.tag()))
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The same for the same text: what hosts compare to see that they have the same table.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The file, then those that it includes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Is it another file now, or one that was written to, or are other files included?
    pub fn changed_on_disk(&self) -> bool {
        self.files.iter().chain(&self.directories).any(File::has_changed)
    }
}
