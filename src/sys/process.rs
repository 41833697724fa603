//! Who we are among the processes.

#![allow(unsafe_code)]

use super::files::{c_path, read_at};
use super::raw::{Word, syscall};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::num::NonZeroI32;
use std::os::fd::AsFd;

/// A thread of the kernel, in the flags of /proc/PID/stat (linux/sched.h).
const PF_KTHREAD: u64 = 0x0020_0000;

/// Bytes of /proc/PID/stat that are looked at: the name has 64 at most, the flags come soon after.
const STAT_BYTES: usize = 512;

/// PATH, where neither a table nor the environment has one: what a login on Debian has, root's directories too.
pub const USUAL_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Our process id, as our PID namespace counts (getpid(2)).
///
/// ```
/// assert_eq!(isinit::sys::process::own_pid(), std::process::id());
/// ```
pub fn own_pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

/// Whether we are process 1 of our PID namespace, to which the kernel gives every orphan.
pub fn is_pid1() -> bool {
    own_pid() == 1
}

/// The parent's process id (getppid(2)); `None` where it is outside of our PID namespace.
pub fn parent_pid() -> Option<u32> {
    rustix::process::getppid().map(|pid| NonZeroI32::from(pid.as_raw_nonzero()).get().unsigned_abs())
}

/// The inode of the machine's first PID namespace (PROC_PID_INIT_INO of the kernel's proc_ns.h).
const FIRST_NAMESPACE: &[u8] = b"pid:[4026531836]";

/// Whether we are what a container was started with: its process 1; or a process that was started from outside of our PID
/// namespace, as where a pod shares one; or, in a container, the child of a process 1 that is no system of its own, as
/// under `docker run --init`. The last cannot be seen without /proc.
pub fn starts_container() -> bool {
    match parent_pid() {
        None => true,
        Some(1) => {
            let mut buffer = [MaybeUninit::uninit(); STAT_BYTES];
            let namespace = rustix::fs::readlinkat_raw(CWD, c"/proc/self/ns/pid", &mut buffer);
            let inner = namespace.is_ok_and(|(name, _)| name != FIRST_NAMESPACE);
            let mut name = [0; 16];
            let name = read_at(CWD, c"/proc/1/comm", &mut name).unwrap_or_default();
            inner && !matches!(name, b"" | b"systemd\n" | b"init\n")
        }
        Some(_) => is_pid1(),
    }
}

/// Our PID namespace, by the inode that is its name (pid_namespaces(7)); 0 without /proc.
pub fn namespace() -> u64 {
    rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino)
}

/// The user that we act as (geteuid(2)): who of the socket's clients may command us besides root.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The group that we act as (getegid(2)).
pub fn own_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Bytes of a process's name, a NUL among them (TASK_COMM_LEN).
pub const NAME_BYTES: usize = 16;

/// The name of our process as ps(1) shows it (PR_GET_NAME(2const)): that of the file that was executed.
pub fn own_name() -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    let option = Word::from(libc::PR_GET_NAME);
    // SAFETY: the kernel writes at most so many bytes, a NUL among them.
    let _ = unsafe { syscall(libc::SYS_prctl, [option, name.as_mut_ptr() as Word, 0, 0, 0, 0]) };
    name
}

/// Sets it (PR_SET_NAME(2const)).
pub fn set_name(name: &[u8; NAME_BYTES]) {
    let option = Word::from(libc::PR_SET_NAME);
    // SAFETY: the kernel reads so many bytes at most, up to a NUL.
    let _ = unsafe { syscall(libc::SYS_prctl, [option, name.as_ptr() as Word, 0, 0, 0, 0]) };
}

/// Makes orphans among our descendants our children (PR_SET_CHILD_SUBREAPER(2const), Linux 3.4), so that a
/// daemon which forks twice does not get away. Process 1 needs it not, and it does it no harm.
///
/// # Errors
/// What prctl(2) says; EINVAL on a kernel without it.
pub fn set_subreaper() -> Result<(), Errno> {
    let option = Word::from(libc::PR_SET_CHILD_SUBREAPER);
    // SAFETY: this option of prctl takes integers only.
    unsafe { syscall(libc::SYS_prctl, [option, 1, 0, 0, 0, 0]) }.map(|_| ())
}

/// Asks for a signal to ourselves when our parent ends (PR_SET_PDEATHSIG(2const)). False: it has ended already.
///
/// # Errors
/// EINVAL for what is no signal.
pub fn signal_at_parent_death(signal: i32) -> Result<bool, Errno> {
    let parent = parent_pid();
    let (option, signal) = (Word::from(libc::PR_SET_PDEATHSIG), Word::from(signal));
    // SAFETY: this option of prctl takes integers only.
    unsafe { syscall(libc::SYS_prctl, [option, signal, 0, 0, 0, 0]) }?;
    Ok(parent_pid() == parent)
}

/// Whether a shell that has started us could continue us, were we stopped: our parent is of our session, and not of our
/// process group (a group of which no member has such a parent is an orphaned one, setpgid(2)).
pub fn has_job_control() -> bool {
    let parent = parent_pid();
    let of_our_session = |pid: &u32| session_of(*pid).is_some_and(|leader| session_of(0) == Some(leader));
    parent
        .filter(of_our_session)
        .is_some_and(|parent| group_of(parent).is_some_and(|group| group != own_group()))
}

/// Our process group (getpgrp(2)).
pub fn own_group() -> u32 {
    group_of(0).unwrap_or(0)
}

/// The process group of a process (getpgid(2)); `None` if the process has gone. 0 for one whose number is not of our PID
/// namespace.
fn group_of(pid: u32) -> Option<u32> {
    let pid = Word::from(i32::try_from(pid).ok()?);
    // SAFETY: getpgid takes one integer.
    let group = unsafe { syscall(libc::SYS_getpgid, [pid, 0, 0, 0, 0, 0]) }.ok()?;
    u32::try_from(group).ok()
}

/// What a process that everything descends from has to be: leader of a session of its own (setsid(2)), in "/" so that
/// it keeps no file system busy, with a umask that nobody is surprised by (022).
pub fn be_leader() {
    // Who is a leader already is told EPERM.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir(c"/");
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// How many descriptors this process may have (RLIMIT_NOFILE, prlimit(2)); no limit where a filter keeps that from us.
pub fn descriptor_limit() -> usize {
    let mut limit = [u64::MAX; 2];
    let (resource, old) = (libc::RLIMIT_NOFILE as Word, limit.as_mut_ptr() as Word);
    // SAFETY: the kernel writes struct rlimit64, two 64 bit numbers; 0 is this process, of which nothing is changed.
    let _ = unsafe { syscall(libc::SYS_prlimit64, [0, resource, 0, old, 0, 0]) };
    let [most, _] = limit;
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The leader of a process's session (getsid(2)); `None` if the process has gone, and where the leader is
/// outside of our PID namespace. For the latter the kernel says 0, which rustix takes for impossible.
pub fn session_of(pid: u32) -> Option<u32> {
    let pid = Word::from(i32::try_from(pid).ok()?);
    // SAFETY: getsid takes one integer.
    let leader = unsafe { syscall(libc::SYS_getsid, [pid, 0, 0, 0, 0, 0]) }.ok()?;
    u32::try_from(leader).ok().filter(|&leader| leader != 0)
}

/// Names every other process of user space, at most `most` of them: its process id, its name (proc_pid_comm(5))
/// and its state (`R`, `D`, ...; proc_pid_stat(5)). For a message, after which nothing is done to them: what comes and
/// goes meanwhile is missed. Zombies are left out.
///
/// ```
/// isinit::sys::process::each_other(5, |pid, name, state| println!("{pid} {name:?} {state}"));
/// ```
pub fn each_other(most: usize, mut tell: impl FnMut(u32, &[u8], u8)) {
    let (own, mut told) = (own_pid(), 0_usize);
    each_stat(&mut |pid, stat| {
        let seen = name_and_state(stat);
        if let Some((name, state)) = seen.filter(|&(_, state)| pid != own && !b"ZXx".contains(&state)) {
            told = told.saturating_add(1);
            tell(pid, name, state);
        }
        told < most
    });
}

/// One process, as a person is shown it (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its process id.
    pub pid: u32,
    /// Its parent's; 0 where that is outside of our PID namespace.
    pub parent: u32,
    /// Its session; 0 where its leader is outside of our PID namespace.
    pub session: u32,
    /// Microseconds of processor time, those of its children that have ended included.
    pub cpu_us: u64,
    /// Bytes of memory that are resident, those that it shares with others included.
    pub memory_bytes: u64,
    /// Its name.
    pub name: String,
}

/// All processes of user space, as far as /proc shows them. Allocates.
///
/// ```
/// let all = isinit::sys::process::all();
/// let us = all.iter().find(|seen| seen.pid == std::process::id());
/// assert!(us.is_none_or(|us| us.memory_bytes > 0));
/// ```
pub fn all() -> Vec<Seen> {
    let mut all = Vec::new();
    each_stat(&mut |pid, stat| {
        all.extend(seen(pid, stat));
        true
    });
    all
}

/// Microseconds of a tick in /proc: USER_HZ is 100 on every architecture that we are built for (time(7)).
const TICK_US: u64 = 10_000;

fn seen(pid: u32, stat: &[u8]) -> Option<Seen> {
    let (name, _) = name_and_state(stat)?;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end.saturating_add(2)..)?).ok()?.split(' ');
    let mut numbers = [0_u64; 22];
    for (number, field) in numbers.iter_mut().zip(fields) {
        *number = field.parse().unwrap_or(0);
    }
    let [_, parent, _, session, .., user, system, waited_user, waited_system, _, _, _, _, _, _, pages] =
        numbers;
    let ticks = [user, system, waited_user, waited_system].into_iter().fold(0, u64::saturating_add);
    let small = |number| u32::try_from(number).unwrap_or(0);
    Some(Seen {
        pid,
        parent: small(parent),
        session: small(session),
        cpu_us: ticks.saturating_mul(TICK_US),
        memory_bytes: pages.saturating_mul(page_bytes()),
        name: String::from_utf8_lossy(name).into_owned(),
    })
}

// A word of the kernel's is as wide as a u64 on some machines.
#[allow(clippy::useless_conversion)]
fn page_bytes() -> u64 {
    // SAFETY: getauxval takes one integer.
    u64::from(unsafe { libc::getauxval(libc::AT_PAGESZ) })
}

/// The words of a process's command line (proc_pid_cmdline(5)), with blanks between them; empty for what has none.
pub fn command_line(pid: u32) -> String {
    let mut digits = itoa::Buffer::new();
    let (mut path, mut line) = ([0; 32], [0; 1_024]);
    let Ok(proc) = super::mount::proc() else { return String::new() };
    let Ok(path) = c_path(&mut path, &[digits.format(pid).as_bytes(), b"/cmdline"]) else {
        return String::new();
    };
    let length = read_at(proc.as_fd(), path, &mut line).map_or(0, <[u8]>::len);
    let words = line.get_mut(..length).unwrap_or_default();
    words.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    String::from_utf8_lossy(words.trim_ascii_end()).into_owned()
}

/// Shows `look` what /proc/PID/stat says of each process, until it says that that is enough.
fn each_stat(look: &mut dyn FnMut(u32, &[u8]) -> bool) {
    let Ok(proc) = super::mount::proc() else { return };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(list) = openat(&proc, c".", flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::uninit(); 4_096];
    let mut entries = RawDir::new(&list, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_bytes();
        let Some(pid) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else { continue };
        let mut stat = [0; STAT_BYTES];
        let mut path = [0; STAT_BYTES];
        let Ok(path) = c_path(&mut path, &[name, b"/stat"]) else { continue };
        let Ok(stat) = read_at(proc.as_fd(), path, &mut stat) else { continue };
        if !look(pid, stat) {
            return;
        }
    }
}

/// `PID (NAME) STATE PARENT GROUP SESSION TERMINAL FOREGROUND FLAGS ...`; `None` for a thread of the kernel.
fn name_and_state(stat: &[u8]) -> Option<(&[u8], u8)> {
    let start = stat.iter().position(|&byte| byte == b'(')?.saturating_add(1);
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat.get(end.saturating_add(2)..)?.split(|&byte| byte == b' ');
    let state = *fields.next()?.first()?;
    let flags: u64 = std::str::from_utf8(fields.nth(5)?).ok()?.parse().ok()?;
    Some((stat.get(start..end)?, state)).filter(|_| flags & PF_KTHREAD == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{fork, in_child};
    use std::os::unix::process::parent_id;

    #[test]
    fn a_process_is_seen_with_what_it_uses() {
        let all = all();
        let us = all.iter().find(|seen| seen.pid == own_pid()).unwrap();
        // Who started us may be outside of our PID namespace, and the leader of our session too.
        let (parent, session) = (parent_pid().unwrap_or(0), session_of(own_pid()).unwrap_or(0));
        assert_eq!((us.parent, us.session), (parent, session));
        assert!(us.memory_bytes > 100_000, "{us:?}");
        let line = command_line(own_pid());
        assert!(line.starts_with(&std::env::args().next().unwrap()), "{line}");
        let stat = b"7 (a) b) S 3 7 6 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 99 4096 5 x";
        let seen = seen(7, stat).unwrap();
        assert_eq!((seen.parent, seen.session, seen.cpu_us, &*seen.name), (3, 6, 100_000, "a) b"));
        assert_eq!(seen.memory_bytes, 5 * page_bytes());
    }

    #[test]
    fn what_a_filter_keeps_from_us_is_not_made_up() {
        let status = in_child(|| {
            crate::sys::spawn::tests::refuse(&[libc::SYS_prlimit64, libc::SYS_uname]);
            let names = [crate::sys::host::hostname(), crate::sys::host::kernel_release()];
            i32::from(descriptor_limit() != usize::MAX || names != [b"", b""])
        });
        assert_eq!(status, 0);
        assert!(descriptor_limit() >= 64, "most have a thousand");
    }

    #[test]
    fn a_name_is_set_and_read() {
        let status = in_child(|| {
            set_name(b"a name of fiftee");
            i32::from(own_name() != *b"a name of fifte\0")
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn the_parent_is_the_one_that_the_standard_library_sees() {
        assert_eq!(parent_pid(), Some(parent_id()).filter(|&pid| pid != 0));
        assert!(!is_pid1());
    }

    #[test]
    fn others_have_a_name_and_a_state_and_threads_of_the_kernel_are_none() {
        let stat = b"7 (a) (b c) D 1 7 7 0 -1 4194560 0 0";
        assert_eq!(name_and_state(stat), Some((&b"a) (b c"[..], b'D')));
        assert_eq!(name_and_state(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"), None);
        assert_eq!(name_and_state(b"2 (kthr"), None);
        let mut told = 0;
        each_other(2, |pid, name, _| {
            assert!(pid != own_pid() && !name.is_empty());
            told += 1;
        });
        assert!((1..=2).contains(&told));
    }

    #[test]
    fn a_session_is_known_by_its_leader() {
        let status = in_child(|| {
            rustix::process::setsid().unwrap();
            i32::from(session_of(own_pid()) != Some(own_pid()))
        });
        assert_eq!((status, session_of(0), session_of(u32::MAX)), (0, session_of(own_pid()), None));
    }

    #[test]
    fn an_orphan_becomes_the_child_of_its_subreaper() {
        let status = in_child(|| {
            set_subreaper().unwrap();
            let me = own_pid();
            let (read, write) = crate::sys::pipe::pair().unwrap();
            // The middle process leaves a grandchild behind that says who its parent has become.
            in_child(|| {
                let middle = own_pid();
                fork(|| {
                    while parent_pid() == Some(middle) {
                        std::thread::yield_now();
                    }
                    let adopted = parent_pid() == Some(me);
                    let _ = rustix::io::write(&write, &[u8::from(adopted)]);
                });
                0
            });
            drop(write);
            let mut answer = [9];
            rustix::io::read(&read, &mut answer).unwrap();
            i32::from(answer[0])
        });
        assert_eq!(status, 1);
    }
}
