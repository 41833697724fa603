//! Where a file of ours is made, reached over nothing that another user could change.
//!
//! A path is as safe as the weakest directory on it: who owns one of them, or may write to it, can put another file or a
//! link in the place of whatever is below it, also between our look at it and what we do then. So a path is walked one
//! directory at a time. Each has to be root's or our own, and nobody else's to write, unless it is sticky, as /tmp is;
//! a symbolic link on the way has to be root's or our own too. What is done relative to where such a walk ends, and
//! what is done by the same path soon after, cannot be led elsewhere.
//!
//! Who owns `/` is as good as root: in a user namespace the root of outside is shown as nobody.

use super::process::{is_pid1, own_gid, own_uid};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, chmodat, fstat, mkdirat, openat, readlinkat_raw, stat,
    statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::files::{PATH_MAX_BYTES, c_path};

/// Bytes of a file's name, with a NUL (NAME_MAX).
pub const NAME_MAX_BYTES: usize = 256;

/// Where a file's name is written, to be a string of the kernel's.
pub type Name = [u8; NAME_MAX_BYTES];

/// Symbolic links on one path: what the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Why nothing is made at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A call failed.
    Failed(Errno),
    /// This is another user's, who can make of it what he likes.
    Anothers {
        /// A directory or a link on the path, or the file itself.
        place: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others can write to this directory, and so replace what is in it.
    Writable {
        /// The directory.
        place: PathBuf,
    },
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::Failed(errno)
    }
}

/// What a walk asks of directories.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// To be safe.
    Safe,
    /// To be safe; those that are missing are made, with mode 0755.
    Make,
    /// Nothing: links alone are asked for their owner.
    Any,
}

/// Opens the directory of a file (O_PATH), and gives the file's name in it.
///
/// # Errors
/// [`Error`]; EISDIR for a path that ends in no name.
pub fn directory_of<'n>(path: &Path, name: &'n mut Name) -> Result<(OwnedFd, &'n CStr), Error> {
    find(path.as_os_str().as_bytes(), name, Walk::Safe)
}

/// The same; what is missing of the directory is made with mode 0755, whatever the umask.
///
/// # Errors
/// [`Error`], and what mkdir(2) says.
pub fn make_directory_of<'n>(path: &Path, name: &'n mut Name) -> Result<(OwnedFd, &'n CStr), Error> {
    find(path.as_os_str().as_bytes(), name, Walk::Make)
}

fn find<'n>(path: &[u8], buffer: &'n mut Name, how: Walk) -> Result<(OwnedFd, &'n CStr), Error> {
    let (directory, name) = split(path)?;
    Ok((walk(directory, how)?, c_path(buffer, &[name])?))
}

/// Removes what has this name in a directory, if it is root's or ours.
///
/// # Errors
/// As [`may_replace`]; what unlink(2) says.
pub fn remove(directory: &OwnedFd, name: &CStr) -> Result<(), Error> {
    may_replace(directory, name)?;
    Ok(unlinkat(directory, name, AtFlags::empty())?)
}

/// Is there nothing of this name in a directory, or something that is root's or ours, and may be replaced?
///
/// # Errors
/// [`Error::Anothers`]; what stat(2) says.
pub fn may_replace(directory: &OwnedFd, name: &CStr) -> Result<(), Error> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Ok(found) if !is_ours(&found) => {
            let found_there = openat(directory, name, ENTRY, Mode::empty())?;
            Err(anothers(&found_there, &found))
        }
        found => Ok(found.map(|_| ())?),
    }
}

/// Opens a file to append to, which is made with mode 0640 if it is not there. It may lie in any directory, but has to
/// be root's or ours, and of one name; and no link of another user's leads to it. A FIFO without a reader is refused
/// (ENXIO), not waited for.
///
/// # Errors
/// [`Error`]; EMLINK: it has another name too; what open(2) says.
pub fn open_log(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = flags | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let (mut path, mut buffer) = (path.as_os_str().as_bytes().to_vec(), [0; NAME_MAX_BYTES]);
    for _ in 0..LINKS_MAX {
        let (here, name) = find(&path, &mut buffer, Walk::Any)?;
        let file = match openat(&here, name, flags, Mode::from_raw_mode(0o640)) {
            Err(Errno::LOOP) => {
                let link = openat(&here, name, ENTRY, Mode::empty())?;
                let mut buffer = [MaybeUninit::uninit(); PATH_MAX_BYTES];
                let target = target(&link, &fstat(&link)?, &mut buffer)?;
                let kept = if target.starts_with(b"/") { 0 } else { split(&path)?.0.len() };
                path.truncate(kept);
                path.extend_from_slice(target);
                continue;
            }
            file => file?,
        };
        let found = fstat(&file)?;
        return match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile | FileType::Fifo if !is_ours(&found) => Err(anothers(&file, &found)),
            FileType::RegularFile if found.st_nlink > 1 => Err(Errno::MLINK.into()),
            _ => Ok(file),
        };
    }
    Err(Errno::LOOP.into())
}

/// How each step of a walk is opened: to be looked at first.
const ENTRY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn split(path: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at.saturating_add(1));
    match path.split_at(end) {
        (_, b"" | b"." | b"..") => Err(Errno::ISDIR),
        parts => Ok(parts),
    }
}

/// What is still to be walked: at the end of the buffer, so that the target of a link can be put before it.
struct Ahead {
    bytes: [u8; PATH_MAX_BYTES],
    start: usize,
}

impl Ahead {
    fn put(&mut self, path: &[u8]) -> Result<(), Errno> {
        let end = self.start.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
        let start = end.checked_sub(path.len()).ok_or(Errno::NAMETOOLONG)?;
        self.bytes.get_mut(start..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path);
        *self.bytes.get_mut(end).ok_or(Errno::NAMETOOLONG)? = b'/';
        self.start = start;
        Ok(())
    }

    /// The next name; `None` at the end.
    fn next(&mut self) -> Option<&CStr> {
        while self.bytes.get(self.start) == Some(&b'/') {
            self.start = self.start.saturating_add(1);
        }
        let rest = self.bytes.get_mut(self.start..)?;
        let length = rest.iter().position(|byte| *byte == b'/')?;
        *rest.get_mut(length)? = 0;
        self.start = self.start.saturating_add(length).saturating_add(1);
        CStr::from_bytes_until_nul(rest).ok()
    }
}

fn walk(directory: &[u8], how: Walk) -> Result<OwnedFd, Error> {
    let mut ahead = Ahead { bytes: [0; PATH_MAX_BYTES], start: PATH_MAX_BYTES };
    ahead.put(directory)?;
    let mut here = begin(directory, how)?;
    let mut links = 0_usize;
    while let Some(name) = ahead.next() {
        // As a directory first: else what an automounter has there would not be mounted.
        let there = match openat(&here, name, ENTRY | OFlags::DIRECTORY, Mode::empty()) {
            Err(Errno::NOTDIR) => openat(&here, name, ENTRY, Mode::empty()),
            Err(Errno::NOENT) if how == Walk::Make => {
                make(&here, name)?;
                openat(&here, name, ENTRY, Mode::empty())
            }
            there => there,
        }?;
        let found = fstat(&there)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                check(&there, &found, how)?;
                here = there;
            }
            FileType::Symlink if links < LINKS_MAX => {
                links = links.saturating_add(1);
                let mut buffer = [MaybeUninit::uninit(); PATH_MAX_BYTES];
                let target = target(&there, &found, &mut buffer)?;
                ahead.put(target)?;
                if target.starts_with(b"/") {
                    here = begin(target, how)?;
                }
            }
            FileType::Symlink => return Err(Errno::LOOP.into()),
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    Ok(here)
}

/// Where a path begins.
fn begin(path: &[u8], how: Walk) -> Result<OwnedFd, Error> {
    let start = if path.starts_with(b"/") { c"/" } else { c"." };
    let here = openat(CWD, start, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    check(&here, &fstat(&here)?, how)?;
    Ok(here)
}

fn make(here: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o755);
    match mkdirat(here, name, mode) {
        // The umask may have taken something away. It is ours, and nobody else can take it away from here.
        Ok(()) => chmodat(here, name, mode, AtFlags::empty()),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn check(directory: &OwnedFd, found: &Stat, how: Walk) -> Result<(), Error> {
    if how == Walk::Any {
        return Ok(());
    }
    if !is_trusted(found) {
        return Err(anothers(directory, found));
    }
    let mode = Mode::from_raw_mode(found.st_mode);
    let by_group = mode.contains(Mode::WGRP) && found.st_gid != 0 && found.st_gid != own_gid();
    let by_others = by_group || mode.contains(Mode::WOTH);
    // Process 1 of a container, when it is not root, has no others: all that runs there is of its user. And a volume
    // that such a container is given to write to is often writable by everybody.
    if by_others && !mode.contains(Mode::SVTX) && (own_uid() == 0 || !is_pid1()) {
        return Err(Error::Writable { place: named(directory) });
    }
    Ok(())
}

fn is_ours(found: &Stat) -> bool {
    found.st_uid == 0 || found.st_uid == own_uid()
}

fn is_trusted(found: &Stat) -> bool {
    is_ours(found) || stat(c"/").is_ok_and(|root| root.st_uid == found.st_uid)
}

/// Where a link leads, if it is one that is followed.
fn target<'b>(
    link: &OwnedFd,
    found: &Stat,
    buffer: &'b mut [MaybeUninit<u8>; PATH_MAX_BYTES],
) -> Result<&'b [u8], Error> {
    if !is_trusted(found) {
        return Err(anothers(link, found));
    }
    Ok(readlinkat_raw(link, c"", buffer)?.0)
}

fn anothers(fd: &OwnedFd, found: &Stat) -> Error {
    Error::Anothers { place: named(fd), uid: found.st_uid }
}

/// Its path, for a person; without /proc nobody knows it.
fn named(fd: &OwnedFd) -> PathBuf {
    let (mut path, mut number) = ([0; NAME_MAX_BYTES], itoa::Buffer::new());
    let path = c_path(&mut path, &[b"/proc/self/fd/", number.format(fd.as_raw_fd()).as_bytes()]);
    let mut buffer = [MaybeUninit::uninit(); PATH_MAX_BYTES];
    let name = path.and_then(|path| readlinkat_raw(CWD, path, &mut buffer));
    name.map_or_else(|_| "a directory on the way".into(), |(name, _)| OsStr::from_bytes(name).into())
}
