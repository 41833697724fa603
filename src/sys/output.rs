//! Messages on descriptor 2 that can never hold the daemon up.
//!
//! Descriptor 2 is shared with whoever started us and with every child, so that it cannot be made
//! non-blocking: the flag would be theirs too. A pipe whose reader has stopped, or a terminal after Ctrl-S, would
//! block the write and with it the supervision of everything. So each piece asks first, and is small enough to be
//! taken whole by what said yes. What is not taken waits in a queue for the loop to send it later ([`pending`],
//! [`flush`]): a serial console takes a few lines at once, and a machine that goes down has more to say. Only what
//! the queue has no room for is dropped, and counted.

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one message; the rest is cut off. PIPE_BUF, what a pipe takes in one piece.
const MESSAGE_MAX_BYTES: usize = 4_096;

/// Bytes of one write: what a terminal that says POLLOUT takes without waiting (n_tty says so while less than 256
/// characters are queued of a 4096 byte buffer, and a newline becomes two).
const PIECE_BYTES: usize = 1_024;

/// Bytes that wait for descriptor 2 to take them: some two hundred lines, a minute of a slow serial line.
const QUEUE_BYTES: usize = 16_384;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// There is one thread; the lock is for the compiler, and nobody ever waits for it.
static QUEUE: Mutex<Queue> = Mutex::new(Queue::new());

/// What waits for a descriptor to take it, oldest first: 16 KiB.
#[derive(Debug)]
pub struct Queue {
    bytes: [u8; QUEUE_BYTES],
    length: usize,
}

/// Writes a message to descriptor 2 without ever blocking: at most 4096 bytes. What is not taken at once waits for
/// [`flush`]; what there is no room for is dropped as a whole and counted.
///
/// ```
/// isinit::sys::output::say(b"isinit: hello\n");
/// assert_eq!(isinit::sys::output::dropped(), 0);
/// ```
pub fn say(message: &[u8]) {
    let message = message.get(..MESSAGE_MAX_BYTES).unwrap_or(message);
    let Ok(mut queue) = QUEUE.try_lock() else { return };
    queue.say_to(rustix::stdio::stderr(), message);
}

/// From now on a panic tells by [`say`] what it was and where: std's way waits for whoever reads descriptor 2.
pub fn say_panics() {
    std::panic::set_hook(Box::new(|panic| say(format!("isinit: {panic}\n").as_bytes())));
}

/// The descriptor of the messages, to be waited for while something is [`pending`].
pub fn fd() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

/// Does something wait for descriptor 2 to take it?
pub fn pending() -> bool {
    QUEUE.try_lock().is_ok_and(|queue| queue.length > 0)
}

/// Sends of what waits as much as descriptor 2 takes now.
pub fn flush() {
    if let Ok(mut queue) = QUEUE.try_lock() {
        queue.flush_to(rustix::stdio::stderr());
    }
}

/// Writes a long message, and waits for descriptor 2 to take it, until `until` (monotonic milliseconds) at most: for
/// what there is to say before there is a loop.
///
/// ```
/// isinit::sys::output::say_all(b"isinit: hello\n", isinit::sys::clock::now_ms() + 1_000);
/// ```
pub fn say_all(message: &[u8], until: u64) {
    for piece in message.chunks(MESSAGE_MAX_BYTES) {
        say(piece);
        drain(until);
    }
}

/// Waits until all that was said is taken, until `until` at most: before there is nobody left to say it.
pub fn drain(until: u64) {
    while pending() && super::clock::now_ms() < until {
        if let Ok(mut queue) = QUEUE.try_lock() {
            queue.wait_for(rustix::stdio::stderr(), until);
        }
    }
}

/// How many messages were dropped, whole or in part, since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

impl Default for Queue {
    fn default() -> Queue {
        Queue::new()
    }
}

impl Queue {
    /// Nothing waits.
    pub const fn new() -> Queue {
        Queue { bytes: [0; QUEUE_BYTES], length: 0 }
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that can be put.
    pub fn room(&self) -> usize {
        QUEUE_BYTES.saturating_sub(self.length)
    }

    /// Lets something wait that there is [`Queue::room`] for.
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
    }

    /// Waits until the descriptor takes something, `until` (monotonic milliseconds) at most, and sends it.
    pub fn wait_for(&mut self, fd: BorrowedFd<'_>, until: u64) {
        let left = until.saturating_sub(super::clock::now_ms());
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(left.min(100)).unwrap_or(0).saturating_mul(1_000_000),
        };
        let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        if poll(&mut asked, Some(&patience)).is_ok_and(|ready| ready > 0) {
            self.flush_to(fd);
        }
    }

    /// Behind what waits already, so that lines keep their order.
    fn say_to(&mut self, fd: BorrowedFd<'_>, message: &[u8]) {
        self.flush_to(fd);
        let taken = if self.length == 0 { write_some(fd, message) } else { Some(0) };
        // A descriptor that fails (a reader that has gone) takes nothing later either.
        let Some(taken) = taken else { return count_dropped() };
        let rest = message.get(taken..).unwrap_or(&[]);
        if rest.len() <= self.room() { self.put(rest) } else { count_dropped() }
    }

    /// Sends of what waits as much as the descriptor takes now. One that fails takes nothing later either: it is
    /// forgotten then.
    pub fn flush_to(&mut self, fd: BorrowedFd<'_>) {
        if self.length == 0 {
            return;
        }
        match write_some(fd, self.bytes.get(..self.length).unwrap_or(&[])) {
            Some(taken) => {
                self.bytes.copy_within(taken.min(self.length)..self.length, 0);
                self.length = self.length.saturating_sub(taken);
            }
            None => {
                self.length = 0;
                count_dropped();
            }
        }
    }
}

fn count_dropped() {
    DROPPED.fetch_add(1, Ordering::Relaxed);
}

/// How much of it the descriptor takes now; `None` if it fails.
fn write_some(fd: BorrowedFd<'_>, message: &[u8]) -> Option<usize> {
    // A file is always ready, and answers EAGAIN to a write that may not wait for the disk: it is
    // asked to take it all the same. Only what another process has to empty can hold us up for ever.
    let file = fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut rest = message;
    while !rest.is_empty() {
        let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
        match if file { rustix::io::write(fd, piece) } else { write_now(fd, piece) } {
            Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            _ => return None,
        }
    }
    Some(message.len().saturating_sub(rest.len()))
}

/// Writes if it can be done at once. Between the question and the write another writer may have filled
/// the pipe; RWF_NOWAIT closes that gap where the kernel has it for this kind of file.
fn write_now(fd: BorrowedFd<'_>, piece: &[u8]) -> Result<usize, Errno> {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    // Who cannot be asked (ENOMEM) may be ready later.
    poll(&mut asked, Some(&Timespec::default())).map_err(|_| Errno::AGAIN)?;
    if !asked.iter().all(|slot| slot.revents().contains(PollFlags::OUT)) {
        return Err(Errno::AGAIN);
    }
    match write_without_waiting(fd, piece) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => rustix::io::write(fd, piece),
        result => result,
    }
}

/// pwritev2(2) at the current position with RWF_NOWAIT.
fn write_without_waiting(fd: BorrowedFd<'_>, piece: &[u8]) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
    let (fd, nowait) = (Word::from(fd.as_fd().as_raw_fd()), Word::from(libc::RWF_NOWAIT));
    // SAFETY: one iovec that describes `piece`, from which the kernel only reads; the position of -1 (in both
    // halves) means the current one.
    unsafe { syscall(libc::SYS_pwritev2, [fd, (&raw const part) as Word, 1, -1, -1, nowait]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pipe;
    use crate::sys::testing::{Scratch, in_child, read_all};

    #[test]
    fn a_pipe_that_nobody_reads_drops_and_does_not_block() {
        let (read, write) = pipe::pair().unwrap();
        let before = dropped();
        let mut queue = Queue::new();
        for _ in 0..100 {
            queue.say_to(write.as_fd(), &[b'x'; 4_096]);
        }
        assert!(dropped() > before, "a pipe holds 64 KiB, the queue 16, and this was 400");
        drop(write);
        let got = read_all(&read).len();
        assert!((4_096..=65_536).contains(&got), "{got}");
    }

    #[test]
    fn what_is_not_taken_at_once_comes_later_and_in_order() {
        let (read, write) = pipe::pair().unwrap();
        pipe::set_nonblocking(&write).unwrap();
        let filler = [b'x'; 4_096];
        while rustix::io::write(&write, &filler).is_ok() {}
        let mut queue = Queue::new();
        queue.say_to(write.as_fd(), b"one\n");
        queue.say_to(write.as_fd(), b"two\n");
        assert_eq!(queue.length, 8);
        pipe::set_nonblocking(&read).unwrap();
        while pipe::read(&read, &mut [0; 65_536]).unwrap().is_some() {}
        queue.say_to(write.as_fd(), b"three\n");
        // Its end would come when no other test has a child that has the pipe, too.
        let mut got = [0; 65_536];
        let length = pipe::read(&read, &mut got).unwrap().unwrap();
        assert_eq!((&got[..length], queue.length), (&b"one\ntwo\nthree\n"[..], 0));
    }

    #[test]
    fn a_file_gets_all_of_it() {
        let scratch = Scratch::new("output");
        let path = scratch.0.join("log");
        let file = std::fs::File::create(&path).unwrap();
        Queue::new().say_to(file.as_fd(), b"hello\n");
        Queue::new().say_to(file.as_fd(), &[b'x'; 5_000]);
        assert_eq!(std::fs::read(path).unwrap().len(), 6 + 5_000);
    }

    #[test]
    fn a_panic_says_where_and_waits_for_nobody() {
        for is_full in [false, true] {
            let (read, write) = pipe::pair().unwrap();
            if is_full {
                pipe::set_nonblocking(&write).unwrap();
                while rustix::io::write(&write, &[b'x'; 4_096]).is_ok() {}
                rustix::io::ioctl_fionbio(&write, false).unwrap();
            }
            let status = in_child(|| {
                rustix::stdio::dup2_stderr(&write).unwrap();
                say_panics();
                panic!("it was so");
            });
            drop(write);
            let said = String::from_utf8(read_all(&read)).unwrap();
            assert_eq!(status, 101);
            assert!(is_full != said.starts_with("isinit: panicked at src/sys/output.rs:"), "{said}");
            assert!(is_full != said.ends_with("it was so\n"), "{said}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        // In a process of its own: what another test forks would be a reader, too.
        let status = in_child(|| {
            let (read, write) = pipe::pair().unwrap();
            drop(read);
            let before = dropped();
            let mut queue = Queue::new();
            queue.say_to(write.as_fd(), b"to nobody");
            assert!(dropped() > before && queue.length == 0);
            0
        });
        assert_eq!(status, 0);
    }
}
