//! The files of a table: reading them, `include`, and seeing later that they have changed.
//!
//! A file is marked before it is read, never after: one that is replaced in between is then found to have
//! changed, and is read once more, instead of being believed for ever.

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::{Error, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Report};
use super::glob::{is_pattern, matches};
use super::lexer::{Lexer, fields};
use crate::limits::{INCLUDES_MAX, TABLE_MAX_BYTES};

/// What is remembered of a file, or of the directory of an `include`.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// A text that was parsed: it was never on a disk.
    Text,
    /// A directory that is not there yet. When it comes, its drop-ins come with it.
    Missing,
    There(Mark),
}

/// What changes when a file is written or replaced: dev, ino, size, mtime, ctime.
type Mark = [i128; 5];

impl File {
    fn new(path: &Path) -> File {
        File { path: path.to_path_buf(), seen: look(path) }
    }

    /// Has it been written to, replaced, made or removed since it was read?
    pub fn has_changed(&self) -> bool {
        self.seen != Seen::Text && look(&self.path) != self.seen
    }
}

fn look(path: &Path) -> Seen {
    std::fs::metadata(path).map_or(Seen::Missing, |meta| Seen::There(mark(&meta)))
}

fn mark(meta: &Metadata) -> Mark {
    // Seconds and nanoseconds side by side: compared, never counted with.
    let time = |seconds: i64, nanoseconds: i64| (i128::from(seconds) << 64) | i128::from(nanoseconds);
    let (mtime, ctime) = (time(meta.mtime(), meta.mtime_nsec()), time(meta.ctime(), meta.ctime_nsec()));
    [meta.dev().into(), meta.ino().into(), meta.size().into(), mtime, ctime]
}

/// One file's bytes, with the name that diagnostics have for it.
pub struct Source {
    /// The name in diagnostics.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Can others than its owner write it?
    pub open_to_others: bool,
}

/// What came of one `include` of the main file.
pub struct Include {
    /// The line of the setting.
    pub line: u32,
    /// The sources that it brought, in byte order of their names.
    pub sources: std::ops::Range<usize>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// All files of a table; the first is the table itself.
#[derive(Default)]
pub struct Sources {
    /// The bytes.
    pub sources: Vec<Source>,
    /// The files, in the same order.
    pub files: Vec<File>,
    /// The directories in which `include` has looked: a drop-in that is new changes nothing else.
    pub directories: Vec<File>,
    /// The includes, in the order of the main file.
    pub includes: Vec<Include>,
    /// Is it a text, which has no directory to include from?
    pub is_text: bool,
    bytes: usize,
}

impl Sources {
    /// A text without files.
    ///
    /// # Errors
    /// It is too long.
    pub fn text(name: &str, bytes: &[u8]) -> Result<Sources, Report> {
        if bytes.len() > TABLE_MAX_BYTES {
            return Err(about_file(name, &too_long(), "is it a table?"));
        }
        let file = File { path: PathBuf::from(name), seen: Seen::Text };
        let source = Source { name: name.into(), bytes: bytes.to_vec(), open_to_others: false };
        Ok(Sources { sources: vec![source], files: vec![file], is_text: true, ..Sources::default() })
    }

    /// The text of a table ([`super::Table::text`]), in which what it includes stands already.
    ///
    /// # Errors
    /// As [`Sources::text`].
    pub fn whole(name: &str, bytes: &[u8]) -> Result<Sources, Report> {
        Sources::text(name, bytes).map(|sources| Sources { is_text: false, ..sources })
    }

    /// A file, and all that it includes.
    ///
    /// # Errors
    /// The file itself cannot be read. What is wrong with an include is kept, to be shown at its setting.
    pub fn load(path: &Path) -> Result<Sources, Report> {
        let mut sources = Sources::default();
        sources.add(path, Pipe::Allowed).map_err(|problem| {
            let help = "name another table with -c, or make this one readable";
            about_file(&path.display().to_string(), &format!("cannot read the table: {problem}"), help)
        })?;
        for (line, pattern) in sources.patterns() {
            let first = sources.sources.len();
            let problems = sources.include(path, &pattern);
            let brought = first..sources.sources.len();
            sources.includes.push(Include { line, sources: brought, problems });
        }
        Ok(sources)
    }

    fn add(&mut self, path: &Path, pipe: Pipe) -> Result<(), String> {
        let words = |error: Error| error.to_string();
        let meta = std::fs::metadata(path).map_err(words)?;
        // `isinit check <(...)` gives a pipe. A drop-in that is one would hold the daemon for as long as nobody
        // writes to it.
        let is_pipe = pipe == Pipe::Allowed && meta.file_type().is_fifo();
        if !is_pipe && !meta.is_file() {
            return Err("it is not a file".into());
        }
        let room = TABLE_MAX_BYTES.saturating_sub(self.bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(room).min(room));
        // One more than there is room for, to see that it is more; a file can grow while it is read, a pipe has no size.
        let most = (room as u64).saturating_add(1);
        std::fs::File::open(path).map_err(words)?.take(most).read_to_end(&mut bytes).map_err(words)?;
        if bytes.len() > room {
            return Err(too_long());
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        let open_to_others = meta.mode() & 0o022 != 0;
        self.sources.push(Source { name: path.display().to_string(), bytes, open_to_others });
        self.files.push(File { path: path.to_path_buf(), seen: Seen::There(mark(&meta)) });
        Ok(())
    }

    /// The `include` settings of the main file.
    fn patterns(&self) -> Vec<(u32, PathBuf)> {
        let mut patterns = Vec::new();
        let Some(main) = self.sources.first() else { return patterns };
        // A line that is no setting is not looked into: most tables have a hundred entries for each setting.
        let is_setting = |text: &[u8]| text.trim_ascii_start().first() == Some(&b':');
        let mut lexer = Lexer::new(&main.bytes);
        let mut text = Vec::new();
        while let Some(line) = lexer.next(&mut text) {
            if is_setting(&text) {
                let ([a, b, c, name, value], _) = fields(line.span, &text);
                let setting = [a, b, c].iter().all(|field| field.length == 0);
                if setting && name.of(&text) == b"include" && value.length > 0 {
                    patterns.push((line.line, PathBuf::from(OsStr::from_bytes(value.of(&text)))));
                }
            }
            text.clear();
        }
        patterns
    }

    fn include(&mut self, main: &Path, pattern: &Path) -> Vec<String> {
        let base = main.parent().unwrap_or(Path::new("")).join(pattern.parent().unwrap_or(Path::new("")));
        let directory = if base.as_os_str().is_empty() { PathBuf::from(".") } else { base.clone() };
        // The parser says what is wrong with these two.
        let Some(last) = pattern.file_name() else { return Vec::new() };
        if pattern.parent().is_some_and(|parent| is_pattern(parent.as_os_str().as_bytes())) {
            return Vec::new();
        }
        let names = if is_pattern(last.as_bytes()) {
            self.directories.push(File::new(&directory));
            match names(&directory, last.as_bytes()) {
                Ok(names) => names,
                Err(problem) => return vec![problem],
            }
        } else {
            vec![last.to_os_string()]
        };
        let mut problems = Vec::new();
        for path in names.iter().map(|name| base.join(name)) {
            if self.sources.len() > INCLUDES_MAX {
                problems.push(format!("a table includes at most {INCLUDES_MAX} files"));
                break;
            }
            if let Err(problem) = self.add(&path, Pipe::Refused) {
                problems.push(format!("cannot read {}: {problem}", path.display()));
            }
        }
        problems
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Allowed,
    Refused,
}

/// The names in a directory that match, in byte order. Not by std's `read_dir`, which panics when a close fails.
fn names(directory: &Path, pattern: &[u8]) -> Result<Vec<OsString>, String> {
    let words = |errno: Errno| format!("cannot read {}: {}", directory.display(), Error::from(errno));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = match openat(CWD, directory, flags, Mode::empty()).and_then(Dir::new) {
        // No directory, no drop-ins.
        Err(Errno::NOENT) => return Ok(Vec::new()),
        listed => listed.map_err(words)?,
    };
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(words)?;
        let name = entry.file_name().to_bytes();
        if ![&b"."[..], b".."].contains(&name) && matches(pattern, name) {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn too_long() -> String {
    format!("a table with all that it includes has at most {} MiB", TABLE_MAX_BYTES >> 20)
}

fn about_file(name: &str, message: &str, help: &str) -> Report {
    let mut report = Report::default();
    report.push(Diagnostic::about_file(name, message, help));
    report
}
