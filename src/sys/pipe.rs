//! Pipes, and reading from what must not hold us up.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};

/// A pipe (pipe2(2)): the end to read from, then the end to write to. Both are close-on-exec and
/// blocking, as a child expects its own end; make the end that stays here non-blocking by
/// [`set_nonblocking`], which leaves the other as it is.
///
/// ```
/// use isinit::sys::pipe;
/// let (read, write) = pipe::pair().unwrap();
/// pipe::set_nonblocking(&read).unwrap();
/// let mut bytes = [0; 8];
/// assert_eq!(pipe::read(&read, &mut bytes), Ok(None), "nothing there yet");
/// drop(write);
/// assert_eq!(pipe::read(&read, &mut bytes), Ok(Some(0)), "nothing will ever be there");
/// ```
///
/// # Errors
/// EMFILE, ENFILE.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe_with(PipeFlags::CLOEXEC)
}

/// Makes reads and writes of this end return at once (fcntl(2), O_NONBLOCK). The flag belongs to the open
/// file, not to the descriptor: whoever shares it by fork or dup has it too.
///
/// # Errors
/// What fcntl(2) says.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    let flags = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)
}

/// Reads what is there (read(2)): `Some(0)` at the end, `None` when there is nothing now.
///
/// # Errors
/// What read(2) says, but EINTR (tried again) and EAGAIN (`None`).
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    loop {
        match rustix::io::read(&fd, &mut *buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};

    #[test]
    fn both_ends_are_closed_by_an_exec_and_one_alone_is_nonblocking() {
        let (read_end, write_end) = pair().unwrap();
        set_nonblocking(&read_end).unwrap();
        for end in [&read_end, &write_end] {
            assert!(fcntl_getfd(end).unwrap().contains(FdFlags::CLOEXEC));
        }
        assert!(!fcntl_getfl(&write_end).unwrap().contains(OFlags::NONBLOCK));
        rustix::io::write(&write_end, b"one").unwrap();
        let mut bytes = [0; 8];
        assert_eq!(read(&read_end, &mut bytes), Ok(Some(3)));
        assert_eq!(read(&read_end, &mut bytes), Ok(None));
    }
}
