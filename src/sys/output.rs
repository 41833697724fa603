//! Messages on descriptor 2 that can never hold the daemon up.
//!
//! Descriptor 2 is shared with whoever started us and with every child, so that it cannot be made
//! non-blocking: the flag would be theirs too. A pipe whose reader has stopped, or a terminal after Ctrl-S, would
//! block the write and with it the supervision of everything. So each piece asks first, is small enough to be
//! taken whole by what said yes, and is dropped and counted otherwise.

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one message; the rest is cut off. PIPE_BUF, what a pipe takes in one piece.
const MESSAGE_MAX_BYTES: usize = 4_096;

/// Bytes of one write: what a terminal that says POLLOUT takes without waiting (n_tty says so while less than 256
/// characters are queued of a 4096 byte buffer, and a newline becomes two).
const PIECE_BYTES: usize = 1_024;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes a message to descriptor 2 without ever blocking: at most 4096 bytes, what is not taken at once is dropped
/// and counted.
///
/// ```
/// isinit::sys::output::say(b"isinit: hello\n");
/// assert_eq!(isinit::sys::output::dropped(), 0);
/// ```
pub fn say(message: &[u8]) {
    say_to(rustix::stdio::stderr(), message);
}

/// How many messages were dropped, whole or in part, since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn say_to(fd: BorrowedFd<'_>, message: &[u8]) {
    let message = message.get(..MESSAGE_MAX_BYTES).unwrap_or(message);
    // A file is always ready, and answers EAGAIN to a write that may not wait for the disk: it is
    // asked to take it all the same. Only what another process has to empty can hold us up for ever.
    let file = fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut rest = message;
    while !rest.is_empty() {
        let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
        match if file { rustix::io::write(fd, piece) } else { write_now(fd, piece) } {
            Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            _ => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Writes if it can be done at once. Between the question and the write another writer may have filled
/// the pipe; RWF_NOWAIT closes that gap where the kernel has it for this kind of file.
fn write_now(fd: BorrowedFd<'_>, piece: &[u8]) -> Result<usize, Errno> {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec::default()))?;
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
    use crate::sys::testing::{Scratch, read_all};

    #[test]
    fn a_pipe_that_nobody_reads_drops_and_does_not_block() {
        let (read, write) = pipe::pair().unwrap();
        let before = dropped();
        for _ in 0..100 {
            say_to(write.as_fd(), &[b'x'; 4_096]);
        }
        assert!(dropped() > before, "a pipe holds 64 KiB, and this was 400");
        drop(write);
        let got = read_all(&read).len();
        assert!((4_096..=65_536).contains(&got), "{got}");
    }

    #[test]
    fn a_file_gets_the_message_cut_to_its_bound() {
        let scratch = Scratch::new("output");
        let path = scratch.0.join("log");
        let file = std::fs::File::create(&path).unwrap();
        say_to(file.as_fd(), b"hello\n");
        say_to(file.as_fd(), &[b'x'; 5_000]);
        assert_eq!(std::fs::read(path).unwrap().len(), 6 + 4_096);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let (read, write) = pipe::pair().unwrap();
        drop(read);
        let before = dropped();
        say_to(write.as_fd(), b"to nobody");
        assert!(dropped() > before);
    }
}
