//! The state file: what is to be known by the next daemon if this one is killed (SIGKILL, the kernel's want of memory).
//! Then there is no exec that could hand the memory on; its rows lie in a file beside the socket too.
//!
//! It is a copy, made of the records that have changed, once in each turn of the loop. So a process that was started in
//! the very turn in which the daemon was killed may be missing; it is found by its environment, which is looked for as
//! well. What is in the file is believed only if it is ours: made by our user, by a daemon of this boot and this PID
//! namespace, with rows as we have them. A process is believed to be the one in the file only if it was there at that
//! time, and leads a session.
//!
//! Only a nested daemon has it. The end of a process 1 is the end of all that it has started.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::life::rows_version;
use super::messages::{place_words, say, say_errno};
use crate::engine::rows::{GroupRow, NONE, Row};
use crate::engine::{Engine, Memory};
use crate::limits::{ENTRIES_MAX, GROUPS_MAX, TRANSITIONS_MAX};
use crate::sys;
use crate::sys::memory::{Plain, plain, read_records, write_records};
use crate::sys::place;

/// What the file begins with.
const MAGIC: u64 = u64::from_be_bytes(*b"isinit.s");

/// Where the groups stand,
pub const GROUPS_AT: u64 = 4_096;

/// and the rows.
pub const ROWS_AT: u64 = GROUPS_AT + (GROUPS_MAX * size_of::<GroupRow>()) as u64;

plain! {
    /// The first record.
    struct Header {
        magic: u64,
        rows: u64,
        /// The PID namespace, by its inode.
        namespace: u64,
        boot: [u8; 40],
        rows_used: u32,
        groups_used: u32,
        pid: u32,
        unused: u32,
    }
}

/// The file that is kept.
pub struct StateFile {
    file: OwnedFd,
    path: PathBuf,
    header: Header,
    /// Transitions that are in it.
    copied: u64,
    failed: bool,
}

/// What a killed daemon has left.
pub struct Left {
    /// Its process id, by which its cgroups are called.
    pub pid: u32,
}

/// The path of the state file: that of the socket and `.state`.
fn path_of(socket: &Path) -> PathBuf {
    let mut path = OsString::from(socket);
    path.push(".state");
    path.into()
}

fn own_header() -> Header {
    let mut boot = [0; 40];
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.iter_mut().zip(id).for_each(|(to, from)| *to = from);
    Header {
        magic: MAGIC,
        rows: rows_version(),
        namespace: sys::process::namespace(),
        boot,
        pid: sys::process::own_pid(),
        ..Header::zeroed()
    }
}

/// Reads what a killed daemon has left at this socket into memory in which nothing is yet. `None`: nothing, or nothing
/// that is to be believed.
pub fn recover(socket: &Path, memory: &mut Memory) -> Option<Left> {
    let path = path_of(socket);
    let file = match sys::files::open_own(&path) {
        Ok(file) => file,
        Err(place::Error::Failed(sys::Errno::NOENT)) => return None,
        Err(error) => {
            sys::output::say(place_words("believe", &path, &error, "").as_bytes());
            return None;
        }
    };
    let mut header = [Header::zeroed()];
    read_records(&file, 0, &mut header).ok()?;
    let [header] = header;
    let own = own_header();
    let same = (header.magic, header.namespace, header.boot) == (own.magic, own.namespace, own.boot);
    if !same || own.namespace == 0 {
        return None;
    }
    if header.rows != own.rows {
        say(&[b"a daemon of another version was killed here; what it has left is not taken over"]);
        return None;
    }
    let groups = memory.groups.get_mut(..header.groups_used as usize)?;
    read_records(&file, GROUPS_AT, groups).ok()?;
    let rows = memory.rows.get_mut(..header.rows_used as usize)?;
    read_records(&file, ROWS_AT, rows).ok()?;
    (memory.head.groups_used, memory.head.rows_used) = (header.groups_used, header.rows_used);
    Some(Left { pid: header.pid })
}

impl StateFile {
    /// Makes it anew, with all that there is now. Where it cannot be written there is none; if that is another user's
    /// doing, it is said.
    pub fn create(socket: &Path, engine: &Engine) -> Option<StateFile> {
        let path = path_of(socket);
        let file = match sys::files::create_own(&path) {
            Ok(file) => file,
            Err(place::Error::Failed(_)) => return None,
            Err(error) => {
                sys::output::say(place_words("write", &path, &error, "").as_bytes());
                return None;
            }
        };
        let mut state = StateFile { file, path, header: own_header(), copied: 0, failed: false };
        state.copy_all(engine);
        Some(state)
    }

    /// Copies all records: the first time, and when a table was taken.
    pub fn copy_all(&mut self, engine: &Engine) {
        self.copied = engine.head().count;
        let rows = engine.rows();
        let written = write_records(&self.file, GROUPS_AT, engine.groups())
            .and_then(|()| write_records(&self.file, ROWS_AT, rows))
            .and_then(|()| self.write_header(engine));
        self.note(written);
    }

    /// Copies what has changed since the last time: the rows and groups that something has happened to.
    pub fn copy_changes(&mut self, engine: &Engine) {
        let count = engine.head().count;
        if count == self.copied {
            return;
        }
        if count.saturating_sub(self.copied) > TRANSITIONS_MAX as u64 {
            return self.copy_all(engine);
        }
        // Rows that stand side by side are written in one go: those of a group that starts, or stops, the last first.
        let mut run = 0..0;
        let mut group = NONE;
        while self.copied < count {
            let Some(transition) = engine.head().get(self.copied) else { break };
            self.copied = self.copied.saturating_add(1);
            if transition.group != group {
                group = transition.group;
                self.copy_group(engine, group);
            }
            let row = transition.row;
            if row == NONE || run.contains(&row) {
                continue;
            }
            match run.is_empty() {
                false if row == run.end => run.end = row.saturating_add(1),
                false if row.saturating_add(1) == run.start => run.start = row,
                _ => {
                    self.copy_rows(engine, run);
                    run = row..row.saturating_add(1);
                }
            }
        }
        self.copy_rows(engine, run);
    }

    fn copy_group(&mut self, engine: &Engine, slot: u32) {
        let slot = slot as usize;
        if let Some(group) = engine.groups().get(slot..=slot) {
            let at = GROUPS_AT.saturating_add((slot.saturating_mul(size_of::<GroupRow>())) as u64);
            self.note(write_records(&self.file, at, group));
        }
    }

    fn copy_rows(&mut self, engine: &Engine, run: std::ops::Range<u32>) {
        let (first, end) = (run.start as usize, run.end as usize);
        if let Some(rows) = engine.rows().get(first..end).filter(|rows| !rows.is_empty()) {
            let at = ROWS_AT.saturating_add((first.saturating_mul(size_of::<Row>())) as u64);
            self.note(write_records(&self.file, at, rows));
        }
    }

    fn write_header(&mut self, engine: &Engine) -> Result<(), sys::Errno> {
        self.header.rows_used = engine.rows().len() as u32;
        self.header.groups_used = engine.groups().len() as u32;
        write_records(&self.file, 0, std::slice::from_ref(&self.header))
    }

    /// A full disk is said once.
    fn note(&mut self, written: Result<(), sys::Errno>) {
        if let Err(errno) = written {
            if !std::mem::replace(&mut self.failed, true) {
                say_errno("cannot write", self.path.as_os_str().as_encoded_bytes(), errno);
            }
        }
    }

    /// Everything is down: there is nothing to be known.
    pub fn remove(self) {
        sys::files::remove_own(&self.path);
    }
}

const _: () = assert!(ENTRIES_MAX < NONE as usize && size_of::<Header>() <= GROUPS_AT as usize);
