//! A system call that may never come back, made in a forked child: a file system whose server has gone holds
//! umount(2) and sync(2) up for ever, and not even SIGKILL gets a process out of them. Process 1 waits for the child's
//! word instead, as long as it likes.

#![allow(unsafe_code)]

use super::detach::fork;
use super::raw::exit_now;
use super::{pipe, reap, signals};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A call on its way.
#[derive(Debug)]
pub struct Attempt {
    child: i32,
    result: OwnedFd,
}

impl Attempt {
    /// Forks a child that makes the call. There has to be one thread; the child shares all descriptors, and
    /// should do nothing but system calls.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM of fork(2); EMFILE, ENFILE.
    pub fn start(call: impl FnOnce() -> Result<(), Errno>) -> Result<Attempt, Errno> {
        let (read, write) = pipe::pair()?;
        pipe::set_nonblocking(&read)?;
        match fork()? {
            0 => {
                let errno = call().map_or_else(Errno::raw_os_error, |()| 0);
                let _ = rustix::io::write(&write, &errno.to_ne_bytes());
                exit_now(0)
            }
            child => Ok(Attempt { child, result: read }),
        }
    }

    /// What to wait for: readable when there is a [`Attempt::result`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }

    /// What came of the call; `None` while it is on its way. EINTR when the child was killed.
    pub fn result(&self) -> Option<Result<(), Errno>> {
        let mut errno = [0; 4];
        match pipe::read(&self.result, &mut errno) {
            Ok(None) => None,
            Ok(Some(4)) => Some(match i32::from_ne_bytes(errno) {
                0 => Ok(()),
                errno => Err(Errno::from_raw_os_error(errno)),
            }),
            Ok(Some(_)) => Some(Err(Errno::INTR)),
            Err(errno) => Some(Err(errno)),
        }
    }
}

impl Drop for Attempt {
    /// Gives it up. A child that hangs in the kernel dies when it comes out; whoever reaps takes it away.
    fn drop(&mut self) {
        // Its end of the pipe is open: it has not ended, so that its number is nobody else's.
        if self.result().is_none() {
            let _ = signals::send(self.child, libc::SIGKILL);
        }
        let _ = reap::collect(self.child.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::PollSet;
    use crate::sys::testing::in_child;

    fn wait(attempt: &Attempt) -> Result<(), Errno> {
        let mut set = PollSet::new(1);
        set.add(attempt.fd(), true, false).unwrap();
        set.wait(None).unwrap();
        attempt.result().unwrap()
    }

    #[test]
    fn the_result_comes_back_with_its_errno() {
        let status = in_child(|| {
            assert_eq!(wait(&Attempt::start(|| Ok(())).unwrap()), Ok(()));
            assert_eq!(wait(&Attempt::start(|| Err(Errno::BUSY)).unwrap()), Err(Errno::BUSY));
            assert_eq!(wait(&Attempt::start(|| exit_now(0)).unwrap()), Err(Errno::INTR));
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn one_that_does_not_come_back_is_given_up() {
        let status = in_child(|| {
            let (read, write) = pipe::pair().unwrap();
            let attempt = Attempt::start(|| rustix::io::read(&read, &mut [0; 1]).map(|_| ())).unwrap();
            assert_eq!(attempt.result(), None);
            let child = attempt.child;
            drop(attempt);
            // It was killed: were it still waiting for the pipe, this would not return.
            // SAFETY: asks for no status. It may have been taken already.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            drop(write);
            0
        });
        assert_eq!(status, 0);
    }
}
