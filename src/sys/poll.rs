//! The one place where the daemon waits: poll(2) over a set of descriptors that is built anew each time.
//!
//! poll and not epoll: the set is small (a signalfd, a listener, at most `CLIENTS_MAX` clients, readiness pipes
//! of what is starting), it costs no descriptor, and a descriptor that was closed cannot linger in it.

#![allow(unsafe_code)]

use super::clock::now_ms;
use super::raw::last_errno;
use crate::limits::RETRY_MS;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The pause in place of a wait that has failed: what is missing will be there later, and asking in a circle would take
/// the processor from those who have it.
const FAILED_PAUSE: Duration = Duration::from_millis(RETRY_MS);

/// Descriptors to wait for, and after [`PollSet::wait`] what came of it. Takes its memory once.
///
/// ```
/// use isinit::sys::{pipe, poll::PollSet};
/// use std::os::fd::AsFd;
/// let (read, write) = pipe::pair().unwrap();
/// let mut set = PollSet::new(2);
/// let token = set.add(read.as_fd(), true, false).unwrap();
/// set.wait(Some(0)).unwrap();
/// assert!(!set.readable(token), "the deadline was over, and nothing was there");
/// drop(write);
/// set.wait(None).unwrap();
/// assert!(set.hung_up(token));
/// ```
#[derive(Debug)]
pub struct PollSet {
    slots: Vec<libc::pollfd>,
    capacity: usize,
    trims: bool,
}

impl PollSet {
    /// A set with room for `capacity` descriptors, all of the memory taken now.
    pub fn new(capacity: usize) -> PollSet {
        PollSet { slots: Vec::with_capacity(capacity), capacity, trims: false }
    }

    /// The next wait will be long: before it what waiting does not need is given back to the kernel, the program's pages
    /// and the stack below. Both come back as they are touched.
    pub fn trim(&mut self) {
        self.trims = true;
    }

    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// Adds a descriptor and returns its token for the questions after the wait; `None` when the set is full.
    /// With neither `read` nor `write` only a hang-up wakes.
    ///
    /// The descriptor has to stay open until after the wait; when it does not, it is reported as
    /// [`PollSet::hung_up`], as poll(2) does with POLLNVAL.
    pub fn add(&mut self, fd: BorrowedFd<'_>, read: bool, write: bool) -> Option<usize> {
        let token = self.slots.len();
        if token >= self.capacity {
            return None;
        }
        let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
        self.slots.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
        Some(token)
    }

    /// Waits until something happens to a descriptor, or the clock reaches `deadline_ms`
    /// ([`super::clock::now_ms`]); `None` waits for ever. A deadline that is over looks and returns.
    ///
    /// # Errors
    /// What poll(2) says (EINVAL above RLIMIT_NOFILE, ENOMEM); EINTR is no error, the wait goes on. Everything is
    /// reported to be ready then, after a short pause: who asks each descriptor without waiting goes on, slowly.
    pub fn wait(&mut self, deadline_ms: Option<u64>) -> Result<(), Errno> {
        loop {
            let timeout = match deadline_ms {
                None => -1,
                // A wait of more than 24 days does not fit into poll's argument: it is waited for in pieces.
                Some(deadline) => i32::try_from(deadline.saturating_sub(now_ms())).unwrap_or(i32::MAX),
            };
            match self.poll(timeout) {
                Ok(0) if deadline_ms.is_some_and(|deadline| now_ms() < deadline) => {}
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.slots.iter_mut().for_each(|slot| slot.revents = slot.events);
                    std::thread::sleep(FAILED_PAUSE);
                    return Err(errno);
                }
            }
        }
    }

    /// Whether there is something to read, or the end of file to see.
    pub fn readable(&self, token: usize) -> bool {
        self.has(token, libc::POLLIN | libc::POLLHUP | libc::POLLERR)
    }

    /// Whether a write would take something, or tell an error.
    pub fn writable(&self, token: usize) -> bool {
        self.has(token, libc::POLLOUT | libc::POLLERR)
    }

    /// Whether the other side has gone, or the descriptor is of no use.
    pub fn hung_up(&self, token: usize) -> bool {
        self.has(token, libc::POLLHUP | libc::POLLERR | libc::POLLNVAL)
    }

    fn has(&self, token: usize, events: i16) -> bool {
        self.slots.get(token).is_some_and(|slot| slot.revents & events != 0)
    }

    fn poll(&mut self, timeout_ms: i32) -> Result<usize, Errno> {
        let count = libc::nfds_t::try_from(self.slots.len()).map_err(|_| Errno::INVAL)?;
        if std::mem::take(&mut self.trims) {
            super::trim::trim();
        }
        // SAFETY: the vector holds `count` initialised pollfds, and poll writes nothing but their revents.
        let ready = unsafe { libc::poll(self.slots.as_mut_ptr(), count, timeout_ms) };
        usize::try_from(ready).map_err(|_| last_errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pipe;
    use std::os::fd::AsFd;

    #[test]
    fn it_tells_who_is_ready_for_what() {
        let (read, write) = pipe::pair().unwrap();
        let mut set = PollSet::new(2);
        let reader = set.add(read.as_fd(), true, false).unwrap();
        let writer = set.add(write.as_fd(), false, true).unwrap();
        set.wait(None).unwrap();
        assert!(set.writable(writer) && !set.readable(reader));
        rustix::io::write(&write, b"x").unwrap();
        set.wait(None).unwrap();
        assert!(set.readable(reader) && !set.hung_up(reader));
        drop(read);
        set.clear();
        let writer = set.add(write.as_fd(), false, false).unwrap();
        set.wait(None).unwrap();
        assert!(set.hung_up(writer));
    }

    #[test]
    fn a_full_set_and_a_token_of_nobody_are_refused() {
        let (read, write) = pipe::pair().unwrap();
        let mut set = PollSet::new(1);
        assert_eq!(set.add(read.as_fd(), true, false), Some(0));
        assert_eq!(set.add(write.as_fd(), true, false), None);
        assert!(!set.readable(7));
    }

    #[test]
    fn it_does_not_return_before_the_deadline() {
        let mut set = PollSet::new(1);
        let deadline = now_ms() + 20;
        set.wait(Some(deadline)).unwrap();
        assert!(now_ms() >= deadline);
        set.wait(Some(0)).unwrap();
    }
}
