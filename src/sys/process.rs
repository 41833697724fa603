//! Who we are among the processes.

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use rustix::io::Errno;
use std::num::NonZeroI32;

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

/// The user that we act as (geteuid(2)): who of the socket's clients may command us besides root.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The group that we act as (getegid(2)).
pub fn own_gid() -> u32 {
    rustix::process::getegid().as_raw()
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

/// How many descriptors this process may have (RLIMIT_NOFILE, getrlimit(2)).
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// The leader of a process's session (getsid(2)); `None` if the process has gone, and where the leader is
/// outside of our PID namespace. For the latter the kernel says 0, which rustix takes for impossible.
pub fn session_of(pid: u32) -> Option<u32> {
    let pid = Word::from(i32::try_from(pid).ok()?);
    // SAFETY: getsid takes one integer.
    let leader = unsafe { syscall(libc::SYS_getsid, [pid, 0, 0, 0, 0, 0]) }.ok()?;
    u32::try_from(leader).ok().filter(|&leader| leader != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{fork, in_child};
    use std::os::unix::process::parent_id;

    #[test]
    fn the_parent_is_the_one_that_the_standard_library_sees() {
        assert_eq!(parent_pid(), Some(parent_id()).filter(|&pid| pid != 0));
        assert!(!is_pid1());
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
