//! A subtree of the cgroup hierarchy (cgroups(7), version 2) in which each started process can have a group of its
//! own: what it starts cannot leave it, and `cgroup.kill` ends all of it at once.
//!
//! It is used where it is found to work, not where it is said to: [`Cgroups::find`] makes its directory under the
//! cgroup that we are in, and looks whether it could kill there. Containers mount the hierarchy read-only, old
//! kernels (before 5.14) have no cgroup.kill, a hybrid machine has it at another place: all the same to us.
//!
//! The subtree is called `isinit-PID`, and its owner holds a lock (flock(2)) on it. A directory without a
//! lock is that of a daemon that was killed, and is removed when nobody lives in it.

use super::files::{read_at, write_at};
use super::process::own_pid;
use super::signals::send;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, flock, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes of a directory's name, its NUL included (NAME_MAX). A name whose every byte is encoded may have 84.
const NAME_MAX_BYTES: usize = 256;

/// How deep groups that a process has made inside of its own are removed.
const DEPTH_MAX: u32 = 16;

/// How often the making of our directory is tried, against others who tidy up at the same moment.
const LOCK_TRIES: u32 = 8;

/// What the name of our directory begins with.
const PREFIX: &str = "isinit-";

/// The subtree that is ours.
#[derive(Debug)]
pub struct Cgroups {
    /// The group that we are in, and the name of our directory in it.
    parent: OwnedFd,
    name: CString,
    /// Our directory, locked.
    own: OwnedFd,
    path: PathBuf,
}

/// What can be limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// Bytes of memory.
    pub memory: bool,
    /// Time of the processors.
    pub cpu: bool,
    /// The number of processes.
    pub pids: bool,
}

/// The limits of one group; `None` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes (`memory.max`): who wants more is killed by the kernel.
    pub memory_bytes: Option<u64>,
    /// Of one processor, in a hundredth (`cpu.max`).
    pub cpu_percent: Option<u32>,
    /// Processes and threads (`pids.max`): who wants more is refused a fork.
    pub pids: Option<u64>,
}

/// Microseconds within which `cpu.max` gives its share; the kernel's own choice.
const CPU_PERIOD_US: u64 = 100_000;

impl Controllers {
    /// Limits a group, or takes the limits away that it has. Of a controller that is not there nothing is asked.
    ///
    /// # Errors
    /// What write(2) says of the kernel's files.
    pub fn limit(self, group: BorrowedFd<'_>, limits: Limits) -> Result<(), Errno> {
        let number = |value: Option<u64>, file: &CStr| {
            let mut digits = itoa::Buffer::new();
            let text = value.map_or("max", |value| digits.format(value));
            write_at(group, file, text.as_bytes())
        };
        if self.memory {
            number(limits.memory_bytes, c"memory.max")?;
        }
        if self.pids {
            number(limits.pids, c"pids.max")?;
        }
        // Without a period the one that there is stays: a hundredth of it is a percent.
        let quota = limits.cpu_percent.map(|percent| u64::from(percent).saturating_mul(CPU_PERIOD_US / 100));
        if self.cpu { number(quota, c"cpu.max") } else { Ok(()) }
    }
}

impl Cgroups {
    /// Makes our directory; `None` where groups cannot be made, entered and killed. Allocates, as nothing
    /// after it does.
    ///
    /// ```
    /// use isinit::sys::cgroup::Cgroups;
    /// if let Some(cgroups) = Cgroups::find() {
    ///     let _group = cgroups.make(b"nginx").unwrap();
    ///     assert_eq!(cgroups.populated(b"nginx"), Ok(Some(false)));
    ///     cgroups.close().unwrap();
    /// }
    /// ```
    pub fn find() -> Option<Cgroups> {
        Cgroups::find_of(own_pid())
    }

    /// The directory of a daemon that was killed, to be ours from now on, with the groups in it; or one that is new.
    pub fn find_of(daemon: u32) -> Option<Cgroups> {
        let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
        let own_cgroup = std::fs::read("/proc/self/cgroup").ok()?;
        let path = directory_of(&mounts, &own_cgroup)?;
        let parent = openat(rustix::fs::CWD, &path, directory(), Mode::empty()).ok()?;
        let name = format!("{PREFIX}{daemon}");
        let path = path.join(&name);
        let name = CString::new(name).ok()?;
        remove_stale(&parent, &name);
        Cgroups::under(parent, name, path)
    }

    /// Where our directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn under(parent: OwnedFd, name: CString, path: PathBuf) -> Option<Cgroups> {
        // Another daemon that begins just now takes a directory that is made and not locked yet for stale.
        let own = (0..LOCK_TRIES).find_map(|_| make_locked(&parent, &name))?;
        let cgroups = Cgroups { parent, name, own, path };
        if cgroups.usable() {
            return Some(cgroups);
        }
        let _ = cgroups.close();
        None
    }

    /// Whether we could move a process from our own group into one below (which is what the kernel asks of
    /// the group above both), whether such a group may have processes, and can be killed.
    fn usable(&self) -> bool {
        let writable = |dir: &OwnedFd, file: &CStr| {
            openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).is_ok()
        };
        let mut buffer = [0; 64];
        let kind = read_at(self.own.as_fd(), c"cgroup.type", &mut buffer).unwrap_or_default();
        kind.starts_with(b"domain")
            && !kind.starts_with(b"domain invalid")
            && writable(&self.parent, c"cgroup.procs")
            && writable(&self.own, c"cgroup.kill")
    }

    /// Makes the group of this name if it is not there, and opens its directory, close-on-exec: for
    /// [`Spawn::cgroup`](super::spawn::Spawn::cgroup). Bytes of the name that are no letter, digit, `_` or `-`
    /// stand in it as `%` and two digits. (The dot too: the kernel's own files have one, and no name can be theirs.)
    ///
    /// # Errors
    /// ENAMETOOLONG, EAGAIN (cgroup.max.descendants), EMFILE, ENFILE, ENOMEM.
    pub fn make(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let mut buffer = [0; NAME_MAX_BYTES];
        let name = encode(&mut buffer, name)?;
        match mkdirat(&self.own, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {
                openat(&self.own, name, directory(), Mode::empty()).inspect_err(|_| {
                    // Who is started without it is not in it, and an empty one would say that nothing of him is left.
                    let _ = unlinkat(&self.own, name, AtFlags::REMOVEDIR);
                })
            }
            Err(errno) => Err(errno),
        }
    }

    /// Makes it possible to limit groups (`cgroup.subtree_control`), as far as those above allow it. Which controllers
    /// there are then: in a group that has processes beside groups, as ours has, the kernel allows it at the root alone.
    pub fn delegate(&self) -> Controllers {
        let enable = |word: &[u8]| {
            let file = c"cgroup.subtree_control";
            let _ = write_at(self.parent.as_fd(), file, word);
            write_at(self.own.as_fd(), file, word).is_ok()
        };
        Controllers { memory: enable(b"+memory"), cpu: enable(b"+cpu"), pids: enable(b"+pids") }
    }

    /// Sends SIGKILL to all processes of a group and of those below it (`cgroup.kill`), also to those that
    /// are being forked meanwhile. They are gone when [`Cgroups::populated`] says so.
    ///
    /// # Errors
    /// ENOENT when there is no such group; EMFILE, ENFILE.
    pub fn kill(&self, name: &[u8]) -> Result<(), Errno> {
        write_at(self.open(name)?.as_fd(), c"cgroup.kill", b"1")
    }

    /// Sends a signal to each process of a group, but not to groups that it has made below: those have a manager of
    /// their own, which gets the signal. Returns how many got it.
    ///
    /// # Errors
    /// ENOENT when there is no such group; EMFILE, ENFILE.
    #[inline(never)] // its buffer is no part of the frame in which children are forked
    pub fn signal(&self, name: &[u8], signal: i32) -> Result<usize, Errno> {
        let mut count = 0_usize;
        // A process of another PID namespace is listed as 0, which `send` refuses.
        each_member(&self.open(name)?, |pid| {
            count = count.saturating_add(usize::from(send(pid, signal).is_ok()))
        })?;
        Ok(count)
    }

    /// Whether a process lives in a group or below it (`cgroup.events`). Zombies do not count. `None`: there is no such
    /// group.
    ///
    /// # Errors
    /// EMFILE, ENFILE and what else prevents from looking.
    pub fn populated(&self, name: &[u8]) -> Result<Option<bool>, Errno> {
        let mut buffer = [0; 256];
        let events = match self.open(name).and_then(|dir| read_at(dir.as_fd(), c"cgroup.events", &mut buffer))
        {
            Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
            events => events?,
        };
        Ok(Some(events.split(|&byte| byte == b'\n').any(|line| line == b"populated 1")))
    }

    /// Removes a group in which nothing is any more, in one call: how most of them end. `false`: there was none.
    ///
    /// # Errors
    /// EBUSY when it is populated, or has groups below it: see [`Cgroups::populated`] and [`Cgroups::remove`].
    pub fn vacate(&self, name: &[u8]) -> Result<bool, Errno> {
        let mut buffer = [0; NAME_MAX_BYTES];
        match unlinkat(&self.own, encode(&mut buffer, name)?, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Removes a group, and those that were made below it. One that is not there is removed already.
    ///
    /// # Errors
    /// EBUSY while it is populated.
    pub fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        let mut buffer = [0; NAME_MAX_BYTES];
        remove_tree(self.own.as_fd(), encode(&mut buffer, name)?, DEPTH_MAX)
    }

    /// Removes our directory with all groups in it.
    ///
    /// # Errors
    /// EBUSY when a process still lives in one of them; what is empty has gone then.
    pub fn close(self) -> Result<(), Errno> {
        remove_tree(self.parent.as_fd(), &self.name, DEPTH_MAX)
    }

    fn open(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let mut buffer = [0; NAME_MAX_BYTES];
        openat(&self.own, encode(&mut buffer, name)?, directory(), Mode::empty())
    }
}

/// What a group of a subtree uses: bytes of memory (`memory.current`), where that controller is there, and microseconds of
/// processor time (`cpu.stat`). For who looks at the subtree of another process.
///
/// ```
/// use isinit::sys::cgroup::{Cgroups, usage};
/// if let Some(cgroups) = Cgroups::find() {
///     let _group = cgroups.make(b"nginx").unwrap();
///     assert_eq!(usage(cgroups.path(), b"nginx").1, Some(0), "nobody was in it");
///     cgroups.close().unwrap();
/// }
/// ```
pub fn usage(subtree: &Path, name: &[u8]) -> (Option<u64>, Option<u64>) {
    let Ok(group) = open_in(subtree, name) else { return (None, None) };
    let mut buffer = [0; 512];
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim_end().parse().ok();
    let memory = read_at(group.as_fd(), c"memory.current", &mut buffer).ok().and_then(number);
    let cpu = read_at(group.as_fd(), c"cpu.stat", &mut buffer).ok();
    let mut lines = cpu.unwrap_or_default().split(|&byte| byte == b'\n');
    (memory, lines.find_map(|line| number(line.strip_prefix(b"usage_usec ")?)))
}

/// The processes of a group of a subtree, but not of those below it. There is no such group: none.
pub fn members(subtree: &Path, name: &[u8]) -> Vec<u32> {
    let mut members = Vec::new();
    if let Ok(group) = open_in(subtree, name) {
        let _ = each_member(&group, |pid| members.extend(u32::try_from(pid)));
    }
    members
}

fn open_in(subtree: &Path, name: &[u8]) -> Result<OwnedFd, Errno> {
    let subtree = openat(rustix::fs::CWD, subtree, directory(), Mode::empty())?;
    let mut buffer = [0; NAME_MAX_BYTES];
    openat(&subtree, encode(&mut buffer, name)?, directory(), Mode::empty())
}

/// Tells each process of a group (`cgroup.procs`).
fn each_member(group: &OwnedFd, mut tell: impl FnMut(i32)) -> Result<(), Errno> {
    let list = openat(group, c"cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut pid, mut buffer) = (0_i32, [0; 4_096]);
    loop {
        let length = super::pipe::read(&list, &mut buffer)?.ok_or(Errno::AGAIN)?;
        if length == 0 {
            return Ok(());
        }
        for &byte in buffer.get(..length).unwrap_or_default() {
            if byte.is_ascii_digit() {
                let digit = i32::from(byte.wrapping_sub(b'0'));
                pid = pid.saturating_mul(10).saturating_add(digit);
                continue;
            }
            tell(pid);
            pid = 0;
        }
    }
}

/// Makes a directory, or takes the one that is there (ours from before an exec of ourselves), and locks it.
/// `None` when it is locked by another, or was removed before it was locked.
fn make_locked(parent: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => locked(parent, name),
        Err(_) => None,
    }
}

/// Opens a directory and locks it; `None` when it is locked by another. While we have the lock, the name is that of this
/// directory and no other: whoever had it may have removed it before, and the next of his name made a new one.
fn locked(parent: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
    let dir = openat(parent, name, directory(), Mode::empty()).ok()?;
    flock(&dir, FlockOperation::NonBlockingLockExclusive).ok()?;
    let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (rustix::fs::fstat(&dir).ok()?.st_ino == there.st_ino).then_some(dir)
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// A name as that of a directory.
fn encode<'b>(buffer: &'b mut [u8; NAME_MAX_BYTES], name: &[u8]) -> Result<&'b CStr, Errno> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    let mut end = 0_usize;
    for &byte in name {
        let plain = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let escaped = [b'%', digit(byte >> 4), digit(byte & 15)];
        let text: &[u8] = if plain { std::slice::from_ref(&byte) } else { &escaped };
        let start = end;
        end = start.saturating_add(text.len());
        buffer.get_mut(start..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(text);
    }
    match end {
        0 => Err(Errno::NOENT),
        _ => CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::NAMETOOLONG),
    }
}

/// Removes a group with those below it, the deepest first. The kernel refuses (EBUSY) what is populated.
fn remove_tree(parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth > 0 => {}
        result => return result,
    }
    let dir = openat(parent, name, directory(), Mode::empty())?;
    each_directory(&dir, |below| {
        let _ = remove_tree(dir.as_fd(), below, depth.saturating_sub(1));
    });
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Calls `act` with the name of each directory in a directory.
fn each_directory(dir: &OwnedFd, mut act: impl FnMut(&CStr)) {
    if rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0)).is_err() {
        return;
    }
    let mut buffer = [MaybeUninit::uninit(); 1_024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            act(name);
        }
    }
}

/// Removes what daemons have left that were killed: directories of ours on which nobody has the lock.
///
/// That of `wanted` stays, with a thousand groups in it perhaps: it is about to be ours.
fn remove_stale(parent: &OwnedFd, wanted: &CStr) {
    each_directory(parent, |name| {
        if name == wanted || !name.to_bytes().starts_with(PREFIX.as_bytes()) {
            return;
        }
        if let Some(_lock) = locked(parent, name) {
            let _ = remove_tree(parent.as_fd(), name, DEPTH_MAX);
        }
    });
}

/// The directory of our own cgroup: the mount of the hierarchy (proc_pid_mountinfo(5)) and our path in it
/// (`0::PATH`, cgroups(7)).
fn directory_of(mounts: &[u8], own_cgroup: &[u8]) -> Option<PathBuf> {
    let mut lines = own_cgroup.split(|&byte| byte == b'\n');
    let path = lines.find_map(|line| line.strip_prefix(b"0::"))?;
    mounts.split(|&byte| byte == b'\n').find_map(|line| {
        // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [more] - TYPE SOURCE OPTIONS
        let mut fields = line.split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        if fields.by_ref().find(|field| *field == b"-").and(fields.next()) != Some(b"cgroup2") {
            return None;
        }
        // What is mounted may be a part of the hierarchy only; we have to be in it.
        let below = if root == b"/" { path } else { path.strip_prefix(root)? };
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let inside = !below.split(|&byte| byte == b'/').any(|part| part == b"..");
        inside.then(|| Path::new(OsStr::from_bytes(&unescape(point))).join(OsStr::from_bytes(below)))
    })
}

/// Blanks and backslashes of a path stand in mountinfo as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits =
            after.get(..3).filter(|_| *first == b'\\').and_then(|octal| std::str::from_utf8(octal).ok());
        let byte = digits.and_then(|octal| u8::from_str_radix(octal, 8).ok());
        plain.push(byte.unwrap_or(*first));
        rest = after.get(if byte.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::PollSet;
    use crate::sys::testing::{wait_for, with_cgroups};

    /// A child in a group, that waits until it is killed.
    fn resident(group: &OwnedFd) -> i32 {
        let (read, write) = crate::sys::pipe::pair().unwrap();
        let pid = crate::sys::testing::fork(|| {
            write_at(group.as_fd(), c"cgroup.procs", b"0").unwrap();
            rustix::io::write(&write, b"x").unwrap();
            PollSet::new(1).wait(None).unwrap();
        });
        drop(write);
        assert_eq!(rustix::io::read(&read, &mut [0]), Ok(1), "it did not come into the group");
        pid
    }

    #[test]
    fn a_group_is_made_populated_signalled_killed_and_removed() {
        with_cgroups(|cgroups| {
            assert_eq!(cgroups.kill(b"a.b"), Err(Errno::NOENT));
            assert_eq!(cgroups.populated(b"a.b"), Ok(None));
            let group = cgroups.make(b"a.b").unwrap();
            assert!(cgroups.make(b"a.b").is_ok(), "twice is no error");
            assert_eq!(cgroups.signal(b"a.b", libc::SIGTERM), Ok(0));
            let (first, second) = (resident(&group), resident(&group));
            assert_eq!(cgroups.populated(b"a.b"), Ok(Some(true)));
            assert_eq!(cgroups.remove(b"a.b"), Err(Errno::BUSY));
            assert_eq!(cgroups.vacate(b"a.b"), Err(Errno::BUSY));
            assert_eq!(cgroups.signal(b"a.b", 0), Ok(2));
            let mut residents = members(cgroups.path(), b"a.b");
            residents.sort_unstable();
            assert_eq!(residents, [first.min(second), first.max(second)].map(i32::unsigned_abs));
            assert!(usage(cgroups.path(), b"a.b").1.is_some() && usage(cgroups.path(), b"b") == (None, None));
            assert_eq!(cgroups.signal(b"a.b", libc::SIGTERM), Ok(2));
            assert_eq!((wait_for(first), wait_for(second)), (128 + 15, 128 + 15));
            let third = resident(&group);
            cgroups.kill(b"a.b").unwrap();
            assert_eq!(wait_for(third), 128 + 9);
            assert_eq!(cgroups.populated(b"a.b"), Ok(Some(false)));
            assert_eq!((cgroups.vacate(b"a.b"), cgroups.vacate(b"a.b")), (Ok(true), Ok(false)));
            assert_eq!(cgroups.remove(b"a.b"), Ok(()), "gone already");
            cgroups.close().unwrap();
        });
    }

    #[test]
    fn groups_below_a_group_are_removed_with_it() {
        with_cgroups(|cgroups| {
            let group = cgroups.make(b"deep").unwrap();
            mkdirat(&group, c"one", Mode::from_raw_mode(0o755)).unwrap();
            mkdirat(&group, c"one/two", Mode::from_raw_mode(0o755)).unwrap();
            let inner = openat(&group, c"one/two", directory(), Mode::empty()).unwrap();
            let pid = resident(&inner);
            cgroups.kill(b"deep").unwrap();
            assert_eq!(wait_for(pid), 128 + 9, "also what has gone below");
            cgroups.remove(b"deep").unwrap();
            let (parent, name) = (cgroups.parent.try_clone().unwrap(), cgroups.name.clone());
            cgroups.close().unwrap();
            assert_eq!(openat(&parent, &*name, directory(), Mode::empty()).unwrap_err(), Errno::NOENT);
        });
    }

    #[test]
    fn the_directory_of_a_dead_daemon_goes_and_that_of_a_live_one_stays() {
        with_cgroups(|cgroups| {
            let stale = c"isinit-4194305";
            mkdirat(&cgroups.parent, stale, Mode::from_raw_mode(0o755)).unwrap();
            let name = cgroups.name.clone();
            remove_stale(&cgroups.parent, c"");
            assert!(openat(&cgroups.parent, stale, directory(), Mode::empty()).is_err());
            assert!(openat(&cgroups.parent, &*name, directory(), Mode::empty()).is_ok(), "locked");
            assert!(Cgroups::find().is_none(), "the name is taken");
            cgroups.close().unwrap();
        });
    }

    #[test]
    fn names_are_encoded_so_that_no_two_meet() {
        let name = |text: &[u8]| encode(&mut [0; NAME_MAX_BYTES], text).map(CStr::to_owned);
        assert_eq!(name(b"web-1_X"), Ok(c"web-1_X".to_owned()));
        assert_eq!(name(b"../a%\xff"), Ok(c"%2E%2E%2Fa%25%FF".to_owned()));
        assert_eq!(name(b""), Err(Errno::NOENT));
        assert!(name(&[b'.'; crate::limits::TAG_MAX_BYTES]).is_ok());
        assert_eq!(name(&[b'.'; 86]), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn our_directory_is_found_in_what_proc_says() {
        let mounts = b"30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            31 23 0:27 / /sys/fs/my\\040cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let find = |mounts: &[u8], own: &[u8]| directory_of(mounts, own);
        let own = b"2:memory:/x\n0::/user.slice/a\n";
        assert_eq!(find(mounts, own), Some("/sys/fs/my cgroup/user.slice/a".into()));
        assert_eq!(find(mounts, b"0::/\n"), Some("/sys/fs/my cgroup/".into()));
        assert_eq!(find(mounts, b"0::/../other\n"), None, "outside of our cgroup namespace");
        assert_eq!(find(mounts, b"2:memory:/x\n"), None);
        let part = b"31 23 0:27 /user.slice /cg rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(part, own), Some("/cg/a".into()));
        assert_eq!(find(part, b"0::/system.slice\n"), None);
        assert_eq!(find(b"garbage\n\n- - -", own), None);
    }
}
