//! Who belongs to a process that has ended, where no cgroup says so: one look through /proc (proc(5)), then
//! questions to what was seen.
//!
//! A process leaves descendants behind in three ways, and each leaves another trace:
//!
//! - They stay in its session or process group, whose numbers are its own. As long as one of them lives the kernel
//!   gives that number to nobody else; so when a live process has it, the old session is empty, and whoever shows
//!   that number means the new one.
//! - They have made a session of their own (setsid(2)), and their parents have ended, as those of a daemon that forks
//!   twice do. The kernel has then given them to us, for we are their subreaper or process 1: they are our
//!   children, and not ones that we have started. Whose they were is told by the environment that they were born
//!   with (/proc/PID/environ).
//! - They are descendants of one of those.
//!
//! What cleared its environment and left its session and its parents is not found. Against that there are cgroups.
//!
//! Only descendants of ours are ever named: a wrong kill is worse than a forgotten process. So a look that could not be
//! finished is no look, and neither is one at a /proc of another PID namespace.

use super::files::c_path;
use super::pipe;
use super::process::own_pid;
use crate::limits::CENSUS_MAX;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// Bytes for getdents64(2): a thousand entries in one call.
const ENTRIES_BYTES: usize = 32 * 1024;

/// Bytes of /proc/PID/stat that are looked at: the name has 16 at most, the fields of interest come right after.
const STAT_BYTES: usize = 512;

/// Bytes of an environment that are looked at at a time.
const ENVIRONMENT_PIECE_BYTES: usize = 16 * 1024;

/// Bytes of a path in /proc here: the longest is `/proc/4294967295/environ`.
const PATH_BYTES: usize = 32;

/// One process as it was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
    /// Not a zombie.
    alive: bool,
    verdict: Verdict,
}

/// What was found out about a process, for the question that is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unknown,
    /// No descendant of ours.
    Stranger,
    /// A descendant of ours, that belongs to somebody else.
    Other,
    Belongs,
}

/// Whom [`Census::belonging`] looks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The process that has ended. Exact as long as it is a zombie, or one of its session has been alive
    /// since; once its number may have gone to another descendant of ours it is no trace any more. 0: none.
    pub main: u32,
    /// A variable, as `NAME=VALUE`, that is in the environment of its descendants and of nobody else's.
    pub marker: &'a [u8],
    /// A variable that tells descendants of ours from those of another daemon; empty: any.
    pub owner_marker: &'a [u8],
}

/// All processes at one time. Takes its memory once, for [`CENSUS_MAX`] processes; what is not used costs nothing.
#[derive(Debug)]
pub struct Census {
    /// By process id.
    list: Vec<Seen>,
    /// A live child of ours is none that we have started.
    adopted: bool,
    entries: Vec<MaybeUninit<u8>>,
    own_pid: u32,
}

impl Default for Census {
    fn default() -> Census {
        Census::new()
    }
}

impl Census {
    /// One that has seen nobody yet.
    pub fn new() -> Census {
        let entries = vec![MaybeUninit::uninit(); ENTRIES_BYTES];
        Census { list: Vec::with_capacity(CENSUS_MAX), adopted: false, entries, own_pid: 0 }
    }

    /// Looks through /proc once, without allocating. After an error nobody has been seen. `known` as in
    /// [`Census::belonging`].
    ///
    /// ```
    /// use isinit::sys::census::{Census, Wanted};
    /// let mut census = Census::new();
    /// census.look(&|_pid| false).unwrap();
    /// let nobody = Wanted { main: 0, marker: b"ISINIT_TAG=no-such", owner_marker: b"" };
    /// census.belonging(&nobody, &|_pid| false, |pid| panic!("{pid}")).unwrap();
    /// ```
    ///
    /// # Errors
    /// ENOENT without /proc; ESRCH when it is that of another PID namespace; EOVERFLOW when there are more than
    /// [`CENSUS_MAX`] processes; EMFILE, ENFILE, ENOMEM.
    pub fn look(&mut self, known: &dyn Fn(u32) -> bool) -> Result<(), Errno> {
        let result = self.look_through(known);
        if result.is_err() {
            self.list.clear();
        }
        result
    }

    fn look_through(&mut self, known: &dyn Fn(u32) -> bool) -> Result<(), Errno> {
        self.list.clear();
        self.adopted = false;
        self.own_pid = own_pid();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, c"/proc", flags, Mode::empty())?;
        check_namespace(&proc, self.own_pid)?;
        let mut entries = RawDir::new(&proc, &mut self.entries);
        while let Some(entry) = entries.next() {
            let Some(pid) = number(entry?.file_name().to_bytes()) else { continue };
            let Some(seen) = see(pid)? else { continue };
            if self.list.len() >= CENSUS_MAX {
                return Err(Errno::OVERFLOW);
            }
            self.list.push(seen);
            self.adopted |= seen.alive && seen.parent == self.own_pid && !known(pid);
        }
        self.list.sort_unstable_by_key(|seen| seen.pid);
        // A list in which we are not is none.
        self.find(self.own_pid).map(|_| ()).ok_or(Errno::NOENT)
    }

    /// Names each live process that belongs to what is wanted, as it was at the last [`Census::look`]: see the module's
    /// first lines for who that is. `known` tells the processes that we have started ourselves and that still
    /// run: neither they nor what descends from them belong, whatever their environment says.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM, EIO: an environment could not be read, and nobody was named.
    pub fn belonging(
        &mut self,
        wanted: &Wanted<'_>,
        known: &dyn Fn(u32) -> bool,
        mut name: impl FnMut(u32),
    ) -> Result<(), Errno> {
        // Of what the ended leave behind the topmost has become our child. So it is with most entries that there is none, and
        // thousands may end at once.
        if !self.adopted {
            return Ok(());
        }
        let reused = self.find(wanted.main).and_then(|at| self.list.get(at)).is_some_and(|seen| seen.alive);
        let main = if reused { 0 } else { wanted.main };
        self.list.iter_mut().for_each(|seen| seen.verdict = Verdict::Unknown);
        for at in 0..self.list.len() {
            self.judge(at, main, wanted, known)?;
        }
        let belongs = |seen: &&Seen| seen.alive && seen.verdict == Verdict::Belongs;
        self.list.iter().filter(belongs).for_each(|seen| name(seen.pid));
        Ok(())
    }

    /// Names each live process that descends from us, as it was at the last [`Census::look`].
    pub fn descendants(&self, mut name: impl FnMut(u32)) {
        let descends = |seen: &&Seen| {
            let mut at = self.find(seen.parent);
            // The list is of one moment, nearly: a circle in it would be of two that have one number.
            for _ in 0..self.list.len() {
                let Some(above) = at.and_then(|at| self.list.get(at)) else { return false };
                if above.pid == self.own_pid {
                    return true;
                }
                at = self.find(above.parent);
            }
            false
        };
        self.list.iter().filter(|seen| seen.alive).filter(descends).for_each(|seen| name(seen.pid));
    }

    fn find(&self, pid: u32) -> Option<usize> {
        self.list.binary_search_by_key(&pid, |seen| seen.pid).ok()
    }

    /// Climbs from a process to us or to the top, or to one that was judged before, and judges all on the way: those
    /// up to the last that shows a trace belong, those above do not. So each process is visited twice at most.
    fn judge(
        &mut self,
        start: usize,
        main: u32,
        wanted: &Wanted<'_>,
        known: &dyn Fn(u32) -> bool,
    ) -> Result<(), Errno> {
        let mut way = Some(start);
        let mut last_trace = None;
        let end = loop {
            let Some(seen) = way.and_then(|at| self.list.get(at)) else { break Verdict::Stranger };
            if seen.verdict != Verdict::Unknown {
                break seen.verdict;
            }
            if seen.pid == self.own_pid || known(seen.pid) {
                break Verdict::Other;
            }
            if self.has_trace(seen, main, wanted)? {
                last_trace = Some(seen.pid);
            }
            way = self.find(seen.parent).filter(|_| seen.parent != seen.pid);
        };
        let mut verdict = if last_trace.is_some() && end == Verdict::Other { Verdict::Belongs } else { end };
        let mut way = Some(start);
        while let Some(at) = way {
            let Some(seen) = self.list.get_mut(at).filter(|seen| seen.verdict == Verdict::Unknown) else {
                return Ok(());
            };
            let (pid, parent) = (seen.pid, seen.parent);
            seen.verdict = if pid == self.own_pid || known(pid) { end } else { verdict };
            if last_trace == Some(pid) {
                verdict = end;
            }
            way = self.find(parent).filter(|_| parent != pid && pid != self.own_pid && !known(pid));
        }
        Ok(())
    }

    /// Does a process show that it comes from the one that has ended?
    fn has_trace(&self, seen: &Seen, main: u32, wanted: &Wanted<'_>) -> Result<bool, Errno> {
        if main != 0 && (seen.group == main || seen.session == main) {
            return Ok(true);
        }
        // The environment is looked into only where nothing else can tell: of orphans that came to us.
        if seen.parent != self.own_pid {
            return Ok(false);
        }
        match is_marked(seen.pid, wanted) {
            // It has gone meanwhile, or does not let itself be looked at: it has become another user, and we are not root.
            Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(false),
            marked => marked,
        }
    }
}

/// Is this /proc ours, and not that of another PID namespace?
fn check_namespace(proc: &OwnedFd, own: u32) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); PATH_BYTES];
    let (target, _) = readlinkat_raw(proc, c"self", &mut buffer)?;
    if number(target) == Some(own) { Ok(()) } else { Err(Errno::SRCH) }
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn open(pid: u32, file: &[u8]) -> Result<OwnedFd, Errno> {
    let mut buffer = [0; PATH_BYTES];
    let mut digits = itoa::Buffer::new();
    let path: &CStr = c_path(&mut buffer, &[b"/proc/", digits.format(pid).as_bytes(), file])?;
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// What /proc/PID/stat says of a process; `None` if it has gone meanwhile.
fn see(pid: u32) -> Result<Option<Seen>, Errno> {
    let mut bytes = [0; STAT_BYTES];
    let read = open(pid, b"/stat").and_then(|file| pipe::read(&file, &mut bytes)?.ok_or(Errno::AGAIN));
    match read {
        Ok(count) => Ok(bytes.get(..count).and_then(|stat| parse_stat(pid, stat))),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// `PID (NAME) STATE PARENT GROUP SESSION ...`; the name may hold anything, blanks and brackets too.
fn parse_stat(pid: u32, stat: &[u8]) -> Option<Seen> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(end.saturating_add(2)..)?.split(|byte| *byte == b' ');
    let state = fields.next()?;
    let mut next = || number(fields.next()?);
    let (parent, group, session) = (next()?, next()?, next()?);
    let alive = !matches!(state, b"Z" | b"X" | b"x");
    Some(Seen { pid, parent, group, session, alive, verdict: Verdict::Unknown })
}

/// Was it born with both variables? Its environment is read in pieces; a variable that lies across the edge of
/// two is put together.
fn is_marked(pid: u32, wanted: &Wanted<'_>) -> Result<bool, Errno> {
    let file = open(pid, b"/environ")?;
    let mut bytes = [0; ENVIRONMENT_PIECE_BYTES];
    let (mut kept, mut marked, mut owned) = (0_usize, false, wanted.owner_marker.is_empty());
    loop {
        let read = pipe::read(&file, bytes.get_mut(kept..).unwrap_or_default())?;
        let count = read.ok_or(Errno::AGAIN)?;
        let filled = kept.saturating_add(count);
        let all = bytes.get(..filled).unwrap_or_default();
        // What follows the last zero byte may go on in the next piece.
        let whole = if count == 0 {
            filled
        } else {
            all.iter().rposition(|byte| *byte == 0).map_or(0, |at| at.saturating_add(1))
        };
        for variable in all.get(..whole).unwrap_or_default().split(|byte| *byte == 0) {
            marked |= variable == wanted.marker;
            owned |= variable == wanted.owner_marker;
        }
        if count == 0 || (marked && owned) {
            return Ok(marked && owned);
        }
        // A variable longer than the whole piece is none of those that are looked for.
        let rest = if whole == 0 && filled == bytes.len() { filled } else { whole };
        bytes.copy_within(rest..filled, 0);
        kept = filled.saturating_sub(rest);
    }
}
