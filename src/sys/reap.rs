//! How children end, in two steps: look, then take.
//!
//! Between the two the caller stores what it saw. If it dies in between, the zombie is still
//! there for the next life to see; and as long as it is there its number cannot be given to
//! another process, so that a signal to it reaches nobody by mistake.

#![allow(unsafe_code)]

use super::raw::last_errno;
use rustix::io::Errno;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status (0 to 255).
    Code(i32),
    /// By this signal, with or without a core.
    Signal(i32),
}

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub how: Exit,
}

/// One child that has ended, and stays a zombie (waitid(2): P_ALL, WEXITED, WNOHANG, WNOWAIT). The same
/// one is seen again until [`collect`] takes it. `None`: none has ended, or there are none.
///
/// ```standalone_crate
/// use isinit::sys::reap::{self, Exit};
/// assert_eq!(reap::peek(), Ok(None), "there is no child");
/// let child = std::process::Command::new("false").spawn().unwrap();
/// let ended = loop {
///     if let Some(ended) = reap::peek().unwrap() { break ended }
/// };
/// assert_eq!((ended.pid, ended.how), (child.id(), Exit::Code(1)));
/// assert_eq!(reap::peek(), Ok(Some(ended)), "it is there until it is collected");
/// reap::collect(ended.pid).unwrap();
/// ```
///
/// # Errors
/// What waitid(2) says; ECHILD is `None`, EINTR is tried again.
pub fn peek() -> Result<Option<Ended>, Errno> {
    match waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
        Ok(ended) => Ok(ended),
        Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Takes a zombie away (waitid(2): P_PID, WEXITED, WNOHANG); its number is free from then on.
///
/// # Errors
/// ECHILD: it is no child of ours, or was taken already. ESRCH: it has not ended.
pub fn collect(pid: u32) -> Result<(), Errno> {
    if pid == 0 {
        return Err(Errno::CHILD);
    }
    waitid(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG)?.map(|_| ()).ok_or(Errno::SRCH)
}

/// What has happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended, and was taken away.
    Ended(Exit),
    /// It was stopped, by this signal.
    Stopped(i32),
}

/// What has happened to one of our children since it was asked for the last time (waitid(2): WEXITED, WSTOPPED, WNOHANG):
/// for who keeps no record that could lie about it, and need not look before it takes. `None`: nothing.
///
/// # Errors
/// ECHILD: there is no child left.
pub fn next_change() -> Result<Option<(u32, Change)>, Errno> {
    let Some(info) = wait_for(libc::P_ALL, 0, libc::WEXITED | libc::WSTOPPED | libc::WNOHANG)? else {
        return Ok(None);
    };
    let change = match info.code {
        libc::CLD_STOPPED | libc::CLD_TRAPPED => Change::Stopped(info.status),
        _ => Change::Ended(info.exit()),
    };
    Ok(Some((info.pid, change)))
}

/// Waits until a child ends, and takes it away: its process id; `None` when there is no child. Blocks: for who
/// has nothing else to do.
pub fn wait() -> Option<u32> {
    waitid(libc::P_ALL, 0, libc::WEXITED).ok().flatten().map(|ended| ended.pid)
}

/// Whether we have a child, a zombie included (waitid(2)). For process 1 that is: whether there is any other process
/// of user space, for the kernel gives it every orphan.
///
/// ```standalone_crate
/// assert!(!isinit::sys::reap::has_children());
/// ```
pub fn has_children() -> bool {
    waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) != Err(Errno::CHILD)
}

/// Whether this process is a child of ours, a zombie included.
///
/// ```
/// assert!(!isinit::sys::reap::is_child(1) && !isinit::sys::reap::is_child(0));
/// ```
pub fn is_child(pid: u32) -> bool {
    pid > 1 && waitid(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

fn waitid(which: libc::idtype_t, id: u32, options: i32) -> Result<Option<Ended>, Errno> {
    let info = wait_for(which, id, options)?;
    Ok(info.map(|info| Ended { pid: info.pid, how: info.exit() }))
}

/// What waitid(2) says of a child.
struct Info {
    pid: u32,
    code: i32,
    status: i32,
}

impl Info {
    fn exit(&self) -> Exit {
        if self.code == libc::CLD_EXITED { Exit::Code(self.status) } else { Exit::Signal(self.status) }
    }
}

fn wait_for(which: libc::idtype_t, id: u32, options: i32) -> Result<Option<Info>, Errno> {
    loop {
        // SAFETY: siginfo_t is integers and pointers in a union, for which zero is a value: waitid(2) asks for it
        // to tell "none" from a child.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: info is a valid place for the answer.
        if unsafe { libc::waitid(which, id, &mut info, options) } == 0 {
            // SAFETY: waitid succeeded, so that either the SIGCHLD fields of the union are filled in or all of it is
            // zero.
            let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
            let pid = u32::try_from(pid).ok().filter(|&pid| pid != 0);
            return Ok(pid.map(|pid| Info { pid, code: info.si_code, status }));
        }
        match last_errno() {
            Errno::INTR => {}
            errno => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::raw::exit_now;
    use crate::sys::testing::{fork, in_child};
    use std::os::fd::AsRawFd;

    /// A child that ends as told, seen as a zombie.
    fn ends(how: Exit) -> u32 {
        let pid = fork(|| match how {
            Exit::Code(code) => exit_now(code),
            Exit::Signal(signal) => {
                let me = crate::sys::process::own_pid().cast_signed();
                crate::sys::signals::send(me, signal).unwrap();
            }
        });
        // SAFETY: a zeroed siginfo_t is a valid place for the answer; this waits without taking.
        unsafe {
            let mut info = std::mem::zeroed();
            let id = u32::try_from(pid).unwrap();
            assert_eq!(libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | libc::WNOWAIT), 0);
        }
        pid.unsigned_abs()
    }

    #[test]
    fn looking_takes_nothing_and_taking_takes_once() {
        let status = in_child(|| {
            assert_eq!(peek(), Ok(None), "no children");
            let pid = ends(Exit::Code(7));
            let seen = Some(Ended { pid, how: Exit::Code(7) });
            assert_eq!(peek(), Ok(seen));
            assert_eq!(peek(), Ok(seen), "still there");
            assert_eq!(collect(pid), Ok(()));
            assert_eq!(collect(pid), Err(Errno::CHILD));
            assert_eq!(peek(), Ok(None));
            let pid = ends(Exit::Signal(9));
            assert_eq!(peek(), Ok(Some(Ended { pid, how: Exit::Signal(9) })));
            assert_eq!(collect(0), Err(Errno::CHILD), "zero would mean our process group");
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn a_child_that_lives_is_neither_seen_nor_taken() {
        let status = in_child(|| {
            let (read, write) = crate::sys::pipe::pair().unwrap();
            let go = write.as_raw_fd();
            let pid = fork(|| {
                // SAFETY: the child's copy of the write end; it ends by exit_now, which drops nothing.
                unsafe { libc::close(go) };
                let _ = rustix::io::read(&read, &mut [0; 1]);
            });
            assert_eq!(peek(), Ok(None));
            assert_eq!(collect(pid.unsigned_abs()), Err(Errno::SRCH));
            drop(write);
            crate::sys::testing::wait_for(pid)
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn many_that_end_together_are_all_found() {
        let status = in_child(|| {
            let mut left: Vec<u32> = (0..10).map(|code| ends(Exit::Code(code))).collect();
            while let Some(ended) = peek().unwrap() {
                assert_eq!(collect(ended.pid), Ok(()));
                left.retain(|&pid| pid != ended.pid);
            }
            i32::try_from(left.len()).unwrap()
        });
        assert_eq!(status, 0);
    }
}
