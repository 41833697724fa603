//! A named pipe that others write requests to (fifo(7)).

use super::Errno;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, mknodat, openat};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Our end of it. It is open for writing too, so that it never comes to an end, and opening it waits for nobody.
#[derive(Debug)]
pub struct Fifo {
    fd: OwnedFd,
}

impl Fifo {
    /// Makes it, with mode 0600, or takes one that is there and ours.
    ///
    /// # Errors
    /// What mknod(2) and open(2) say; EEXIST when something else is there, or somebody else's.
    pub fn make(path: &CStr) -> Result<Fifo, Errno> {
        match mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::LOOP => Errno::EXIST,
            errno => errno,
        })?;
        let stat = fstat(&fd)?;
        let ours = stat.st_uid == super::process::own_uid();
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo || !ours {
            return Err(Errno::EXIST);
        }
        fchmod(&fd, Mode::from_raw_mode(0o600))?;
        Ok(Fifo { fd })
    }

    /// The FIFO that an earlier life has made.
    pub fn adopt(fd: OwnedFd) -> Fifo {
        Fifo { fd }
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Is it what is found at this path?
    pub fn is_at(&self, path: &CStr) -> bool {
        super::files::is_at(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Reads what is there; `None` when there is nothing.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(&self, bytes: &mut [u8]) -> Result<Option<usize>, Errno> {
        super::pipe::read(&self.fd, bytes).map(|count| count.filter(|count| *count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Scratch;

    #[test]
    fn a_fifo_is_made_or_taken_and_nothing_else_is() {
        let scratch = Scratch::new("fifo");
        let path = |name: &str| scratch.c_path(name);
        let first = Fifo::make(&path("a")).unwrap();
        let second = Fifo::make(&path("a")).unwrap();
        assert!(first.is_at(&path("a")) && second.is_at(&path("a")) && !first.is_at(&path("b")));
        assert_eq!(first.read(&mut [0; 8]), Ok(None));
        std::fs::remove_file(scratch.0.join("a")).unwrap();
        assert!(!first.is_at(&path("a")));
        std::fs::write(scratch.0.join("file"), "precious").unwrap();
        std::os::unix::fs::symlink("file", scratch.0.join("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(Fifo::make(&path(name)).unwrap_err(), Errno::EXIST);
        }
        assert_eq!(std::fs::read(scratch.0.join("file")).unwrap(), b"precious");
        assert_eq!(Fifo::make(&path("no/dir")).unwrap_err(), Errno::NOENT);
    }
}
