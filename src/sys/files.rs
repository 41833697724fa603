//! Small files: replaced whole, so that no reader ever sees half of one.

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::fs::{fchmod, fstat, openat, rename, statat, unlink, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a path, its NUL included (PATH_MAX).
pub(super) const PATH_MAX_BYTES: usize = 4_096;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 4_096;

/// What is put into a file that is being replaced; on the stack, with a fixed buffer. An error is kept until
/// the end, and nothing is written after it.
#[derive(Debug)]
pub struct Writer {
    fd: OwnedFd,
    buffer: [u8; BUFFER_BYTES],
    used: usize,
    failed: Option<Errno>,
}

impl Writer {
    /// Appends bytes.
    pub fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failed.is_none() {
            let room = self.buffer.get_mut(self.used..).unwrap_or_default();
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            if let Some(place) = room.get_mut(..count) {
                place.copy_from_slice(now);
            }
            bytes = later;
            self.used = self.used.saturating_add(count);
            if self.used == self.buffer.len() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let mut rest = self.buffer.get(..self.used).unwrap_or_default();
        while !rest.is_empty() && self.failed.is_none() {
            match rustix::io::write(&self.fd, rest) {
                Ok(0) => self.failed = Some(Errno::IO),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => self.failed = Some(errno),
            }
        }
        self.used = 0;
    }

    fn finish(mut self) -> Result<(), Errno> {
        self.flush();
        self.failed.map_or(Ok(()), Err)
    }
}

/// Replaces a file (mode 0644) by what `write` puts into it: written beside it as `PATH.new`, then renamed
/// over it (rename(2)). When anything fails the old file stays as it was, and nothing is left beside it.
///
/// ```
/// let path = std::env::temp_dir().join(format!("isinit-doc-{}", std::process::id()));
/// isinit::sys::files::replace(&path, |file| file.put(b"!startid\n!endid\n")).unwrap();
/// assert_eq!(std::fs::read(&path).unwrap(), b"!startid\n!endid\n");
/// std::fs::remove_file(path).unwrap();
/// ```
///
/// # Errors
/// ENOSPC, EROFS, EACCES, ENOENT and what else open(2), write(2) and rename(2) say.
pub fn replace(path: &Path, write: impl FnOnce(&mut Writer)) -> Result<(), Errno> {
    let (mut old, mut new) = ([0; PATH_MAX_BYTES], [0; PATH_MAX_BYTES]);
    let path = path.as_os_str().as_bytes();
    let old = c_path(&mut old, &[path])?;
    let new = c_path(&mut new, &[path, b".new"])?;
    let mut writer = Writer { fd: create(new)?, buffer: [0; BUFFER_BYTES], used: 0, failed: None };
    write(&mut writer);
    writer.finish().and_then(|()| rename(new, old)).inspect_err(|_| {
        let _ = unlink(new);
    })
}

/// Opens a file that a process of ours has made by [`create_own`], to read it: nobody else can have.
///
/// # Errors
/// ENOENT; ELOOP, EPERM: it is a link, or no file, or another user's, or has another name too, or others can write it.
pub fn open_own(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    let is_ours = stat.st_uid == super::process::own_uid() && stat.st_nlink == 1 && stat.st_mode & 0o022 == 0;
    (is_file && is_ours).then_some(file).ok_or(Errno::PERM)
}

/// Makes a new file for ourselves (mode 0600), in place of what was there: neither a file nor a link to one is followed.
///
/// # Errors
/// ENOSPC, EROFS, EACCES, ENOENT; EISDIR: a directory is in the way.
pub fn create_own(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(CWD, path, flags, Mode::from_raw_mode(0o600));
    match open() {
        Err(Errno::EXIST) => {
            unlinkat(CWD, path, AtFlags::empty())?;
            open()
        }
        result => result,
    }
}

/// Removes a file, if it is there.
pub fn remove(path: &CStr) {
    let _ = unlink(path);
}

/// A new file, which nobody else has put there: neither a file nor a link to one is followed. One that a killed
/// daemon has left is removed.
fn create(path: &CStr) -> Result<OwnedFd, Errno> {
    let fd = create_own(path)?;
    // Status is for everybody, whatever the daemon's umask.
    fchmod(&fd, Mode::from_raw_mode(0o644)).inspect_err(|_| {
        let _ = unlink(path);
    })?;
    Ok(fd)
}

/// May we read this file (access(2))? Allocates nothing.
///
/// ```
/// assert!(isinit::sys::files::can_read(c"/proc/self/exe") && !isinit::sys::files::can_read(c"/no/file"));
/// ```
pub fn can_read(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok()
}

/// May we execute this file?
pub fn can_execute(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Takes the first byte of a file, and the file away: a note that somebody has left for us. `None` where there is
/// none, or nothing in it.
pub fn take_first_byte(path: &Path) -> Option<u8> {
    // A pipe in its place would hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = openat(CWD, path, flags, Mode::empty()).ok()?;
    let mut byte = [0];
    let count = rustix::io::read(&file, &mut byte).ok()?;
    let _ = unlink(path);
    (count == 1).then_some(byte[0])
}

/// Puts a path together in a zeroed buffer.
pub(super) fn c_path<'b>(buffer: &'b mut [u8], parts: &[&[u8]]) -> Result<&'b CStr, Errno> {
    let mut end = 0_usize;
    for part in parts {
        if part.contains(&0) {
            return Err(Errno::INVAL);
        }
        let start = end;
        end = start.saturating_add(part.len());
        buffer.get_mut(start..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
    }
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::NAMETOOLONG)
}

/// Reads a small file of the kernel's (/proc, /sys, cgroup), which gives it in one piece.
pub(super) fn read_at<'b>(dir: BorrowedFd<'_>, path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let fd = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = super::pipe::read(&fd, buffer)?.unwrap_or(0);
    Ok(buffer.get(..length).unwrap_or_default())
}

/// Is what is open the file that is found at this path (stat(2): device and inode)?
pub(super) fn is_at(open: &OwnedFd, path: &CStr, flags: AtFlags) -> bool {
    let (here, there) = (fstat(open), statat(CWD, path, flags));
    matches!((here, there), (Ok(here), Ok(there)) if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino))
}

/// Writes a small file of the kernel's (/proc, cgroup) in one piece. Async-signal-safe.
pub(super) fn write_at(dir: BorrowedFd<'_>, path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let fd = openat(dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{Scratch, in_child};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_replaced_whole_and_for_everybody_to_read() {
        let scratch = Scratch::new("files");
        let path = scratch.0.join("initstat");
        let long = [b'x'; 3 * BUFFER_BYTES + 1];
        for text in [&b"short"[..], &long, b""] {
            replace(&path, |file| text.chunks(100).for_each(|piece| file.put(piece))).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let scratch = Scratch::new("files");
        let (path, victim) = (scratch.0.join("initstat"), scratch.0.join("victim"));
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, scratch.0.join("initstat.new")).unwrap();
        replace(&path, |file| file.put(b"new")).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn on_a_full_disk_the_old_file_stays_and_nothing_is_left() {
        let scratch = Scratch::new("files");
        let path = scratch.0.join("initstat");
        std::fs::write(&path, "old").unwrap();
        let status = in_child(|| {
            // A file larger than this is refused as on a full disk, by EFBIG once the signal is ignored.
            assert_eq!(crate::sys::spawn::tests::limit_file_size(8_192), Ok(()));
            let result = replace(&path, |file| file.put(&[b'x'; 100_000]));
            i32::from(result == Err(Errno::FBIG))
        });
        assert_eq!(status, 1);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn errors_are_told() {
        let scratch = Scratch::new("files");
        assert_eq!(replace(&scratch.0.join("no/file"), |_| ()), Err(Errno::NOENT));
        assert_eq!(replace(&scratch.0.join("x".repeat(300)), |_| ()), Err(Errno::NAMETOOLONG));
        assert_eq!(replace(Path::new(&"x".repeat(5_000)), |_| ()), Err(Errno::NAMETOOLONG));
        assert_eq!(replace(&scratch.0, |_| ()), Err(Errno::ISDIR), "a directory is in the way");
        assert!(!scratch.0.with_extension("new").exists());
    }
}
