//! Small files: replaced whole, so that no reader ever sees half of one.

use super::place::{self, NAME_MAX_BYTES, Name, directory_of, may_replace};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::fs::{fchmod, fstat, openat, renameat, statat, unlink, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
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
    directory: OwnedFd,
    old: Name,
    new: Name,
    buffer: [u8; BUFFER_BYTES],
    used: usize,
    failed: Option<Errno>,
}

impl Writer {
    fn begin(path: &Path) -> Result<Writer, place::Error> {
        let (mut old, mut new) = ([0; NAME_MAX_BYTES], [0; NAME_MAX_BYTES]);
        let (directory, name) = directory_of(path, &mut old)?;
        let new_name = c_path(&mut new, &[name.to_bytes(), b".new"])?;
        may_replace(&directory, name)?;
        let fd = create_in(&directory, new_name)?;
        // Status is for everybody, whatever the daemon's umask.
        let failed = fchmod(&fd, Mode::from_raw_mode(0o644)).err();
        Ok(Writer { fd, directory, old, new, buffer: [0; BUFFER_BYTES], used: 0, failed })
    }

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

    fn finish(mut self) -> Result<(), place::Error> {
        self.flush();
        let (old, new) = (name(&self.old), name(&self.new));
        let written = self.failed.map_or(Ok(()), Err);
        written.and_then(|()| renameat(&self.directory, new, &self.directory, old)).map_err(|errno| {
            let _ = unlinkat(&self.directory, new, AtFlags::empty());
            errno.into()
        })
    }
}

fn name(buffer: &Name) -> &CStr {
    CStr::from_bytes_until_nul(buffer).unwrap_or_default()
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
/// [`place::Error`], with ENOSPC, EROFS, EACCES, ENOENT and what else open(2), write(2) and rename(2) say. What is there
/// already, under either name, is not another user's.
pub fn replace(path: &Path, write: impl FnOnce(&mut Writer)) -> Result<(), place::Error> {
    let mut writer = Writer::begin(path)?;
    write(&mut writer);
    writer.finish()
}

/// Opens a file that a process of ours has made by [`create_own`], to read it: nobody else can have.
///
/// # Errors
/// [`place::Error`], with ENOENT; ELOOP, EPERM: it is a link, or no file, or another user's, or has another name too, or
/// others can write it.
pub fn open_own(path: &Path) -> Result<OwnedFd, place::Error> {
    let mut name = [0; NAME_MAX_BYTES];
    let (directory, name) = directory_of(path, &mut name)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&directory, name, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    let is_ours = stat.st_uid == super::process::own_uid() && stat.st_nlink == 1 && stat.st_mode & 0o022 == 0;
    (is_file && is_ours).then_some(file).ok_or(Errno::PERM.into())
}

/// Makes a new file for ourselves (mode 0600), in place of what was there: neither a file nor a link to one is followed.
///
/// # Errors
/// [`place::Error`], also of what is there already; ENOSPC, EROFS, EACCES, ENOENT; EISDIR: a directory is in the way.
pub fn create_own(path: &Path) -> Result<OwnedFd, place::Error> {
    let mut name = [0; NAME_MAX_BYTES];
    let (directory, name) = directory_of(path, &mut name)?;
    create_in(&directory, name)
}

/// Removes a file that [`create_own`] has made, if it is there.
pub fn remove_own(path: &Path) {
    let mut name = [0; NAME_MAX_BYTES];
    let _ = directory_of(path, &mut name).and_then(|(directory, name)| place::remove(&directory, name));
}

/// A new file, which nobody else has put there. One that a killed daemon has left is removed.
fn create_in(directory: &OwnedFd, name: &CStr) -> Result<OwnedFd, place::Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(directory, name, flags, Mode::from_raw_mode(0o600));
    match open() {
        Err(Errno::EXIST) => {
            place::remove(directory, name)?;
            Ok(open()?)
        }
        result => Ok(result?),
    }
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
    let length = super::pipe::read(&fd, buffer)?.ok_or(Errno::AGAIN)?;
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
            i32::from(result == Err(Errno::FBIG.into()))
        });
        assert_eq!(status, 1);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn errors_are_told() {
        let scratch = Scratch::new("files");
        let told = |path: &Path| replace(path, |_| ()).unwrap_err();
        assert_eq!(told(&scratch.0.join("no/file")), Errno::NOENT.into());
        assert_eq!(told(&scratch.0.join("x".repeat(300))), Errno::NAMETOOLONG.into());
        assert_eq!(told(&scratch.0.join("x".repeat(5_000)).join("x")), Errno::NAMETOOLONG.into());
        assert_eq!(told(&scratch.0), Errno::ISDIR.into(), "a directory is in the way");
        assert_eq!(told(&scratch.0.join("..")), Errno::ISDIR.into());
        assert!(!scratch.0.with_extension("new").exists());
    }
}
