//! A file of records of one size, to which several programs write: utmp and wtmp.

use super::Errno;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, fcntl_lock, fstat, ftruncate, openat};
use rustix::io::{pread, pwrite};
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Times that a lock is asked for which another program holds: it holds it for a few microseconds, and nobody here
/// waits for it.
const LOCK_TRIES: usize = 50;

/// Bytes that are read at once.
const READ_BYTES: usize = 16_384;

/// The file, locked while it is open (fcntl(2), as glibc's pututline(3) and updwtmp(3) do).
#[derive(Debug)]
pub struct Records {
    fd: OwnedFd,
    size: usize,
}

impl Records {
    /// Opens a file that is there, to read and to write records of `size` bytes.
    ///
    /// # Errors
    /// ENOENT, EROFS, EACCES; EAGAIN when another program keeps it locked; EINVAL for what is no file.
    pub fn open(path: &CStr, size: usize) -> Result<Records, Errno> {
        let records = Records::with(path, size, OFlags::RDWR)?;
        for _ in 0..LOCK_TRIES {
            match fcntl_lock(&records.fd, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::AGAIN | Errno::ACCESS) => std::thread::yield_now(),
                result => return result.map(|()| records),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens it to read.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub fn open_to_read(path: &CStr, size: usize) -> Result<Records, Errno> {
        Records::with(path, size, OFlags::RDONLY)
    }

    fn with(path: &CStr, size: usize, access: OFlags) -> Result<Records, Errno> {
        // A pipe or a terminal in its place would hold us up.
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())?;
        let is_file = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::RegularFile;
        if is_file { Ok(Records { fd, size }) } else { Err(Errno::INVAL) }
    }

    fn at(&self, number: usize) -> Result<u64, Errno> {
        number.checked_mul(self.size).and_then(|at| u64::try_from(at).ok()).ok_or(Errno::OVERFLOW)
    }

    /// The first record that is the one; `None` if it is not among the first `most`. Reads a page or more at once:
    /// a file of a thousand records is looked through for each process that starts or ends.
    ///
    /// # Errors
    /// What pread(2) says; EFBIG when there are more than `most`.
    #[inline(never)] // its buffer is no part of the frame of those that find no file
    pub fn find(&self, most: usize, mut is: impl FnMut(&[u8]) -> bool) -> Result<Option<usize>, Errno> {
        let mut buffer = [0; READ_BYTES];
        let at_once = buffer.len().checked_div(self.size).unwrap_or(0).max(1);
        let wanted = at_once.saturating_mul(self.size);
        let mut first = 0_usize;
        while first < most {
            let read = pread(&self.fd, buffer.get_mut(..wanted).unwrap_or_default(), self.at(first)?)?;
            let records = buffer.get(..read).unwrap_or_default().chunks_exact(self.size);
            if let Some(found) = records.clone().position(&mut is) {
                return Ok(Some(first.saturating_add(found)));
            }
            if records.len() < at_once {
                return Ok(None);
            }
            first = first.saturating_add(at_once);
        }
        Err(Errno::FBIG)
    }

    /// Writes a record in the place of another.
    ///
    /// # Errors
    /// What pwrite(2) says.
    pub fn replace(&self, number: usize, record: &[u8]) -> Result<(), Errno> {
        let count = pwrite(&self.fd, record, self.at(number)?)?;
        if count == record.len() { Ok(()) } else { Err(Errno::NOSPC) }
    }

    /// Writes a record behind the last whole one. What a full disk takes in part is cut off again.
    ///
    /// # Errors
    /// ENOSPC, EFBIG and what else pwrite(2) says.
    pub fn append(&self, record: &[u8]) -> Result<(), Errno> {
        let bytes = usize::try_from(fstat(&self.fd)?.st_size).map_err(|_| Errno::OVERFLOW)?;
        let number = bytes.checked_div(self.size).unwrap_or(0);
        let end = self.at(number)?;
        let written = self.replace(number, record);
        let last = if written.is_ok() { self.at(number.saturating_add(1))? } else { end };
        // Also of what another program has written in part.
        if written.is_err() || usize::try_from(last).is_ok_and(|last| last < bytes) {
            ftruncate(&self.fd, last)?;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{Scratch, in_child};

    #[test]
    fn on_a_full_disk_half_a_record_is_cut_off_again() {
        let scratch = Scratch::new("records");
        let path = scratch.0.join("wtmp");
        std::fs::write(&path, [1; 8_000]).unwrap();
        let name = scratch.c_path("wtmp");
        let status = in_child(|| {
            assert_eq!(crate::sys::spawn::tests::limit_file_size(8_192), Ok(()));
            let records = Records::open(&name, 400).unwrap();
            i32::from(records.append(&[2; 400]).is_err())
        });
        assert_eq!((status, std::fs::read(&path).unwrap().len()), (1, 8_000));
    }

    #[test]
    fn one_that_another_program_keeps_locked_is_left_alone() {
        let scratch = Scratch::new("records");
        std::fs::write(scratch.0.join("utmp"), "").unwrap();
        let name = scratch.c_path("utmp");
        let _held = Records::open(&name, 4).unwrap();
        // Locks of fcntl(2) are a process's, so it takes another one.
        let status = in_child(|| i32::from(Records::open(&name, 4).err() == Some(Errno::AGAIN)));
        assert_eq!(status, 1);
        assert_eq!(Records::open(c"/dev/null", 4).err(), Some(Errno::INVAL));
    }
}
