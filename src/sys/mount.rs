//! Mounts: making them, moving them, taking them away, and the list of those that are there.
//!
//! Paths are C strings, as the kernel wants them: nothing here allocates but the list.

use super::pipe;
use crate::limits::{MOUNT_TABLE_MAX_BYTES, PROC_FILE_MAX_BYTES};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::fs::{fstatfs, makedev, mkdirat, mknodat, openat, statat, statx};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags};
use std::ffi::CStr;
use std::os::fd::OwnedFd;

pub use rustix::mount::MountFlags;

/// f_type of proc (linux/magic.h).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Bytes of a path, its NUL included (PATH_MAX).
pub const PATH_MAX_BYTES: usize = super::files::PATH_MAX_BYTES;

/// Mounts a new file system (mount(2)).
///
/// # Errors
/// ENODEV when the kernel does not have this kind; ENOENT, ENOTDIR when the place is not there; EPERM, EBUSY,
/// EINVAL.
pub fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: MountFlags,
    options: &CStr,
) -> Result<(), Errno> {
    rustix::mount::mount(source, target, kind, flags, options)
}

/// Moves a mount, with all that is mounted below it (mount(2), MS_MOVE).
///
/// # Errors
/// EINVAL when `from` is no mount point or its parent is shared; ELOOP when `to` lies below it; ENOENT, EPERM.
pub fn move_to(from: &CStr, to: &CStr) -> Result<(), Errno> {
    rustix::mount::mount_move(from, to)
}

/// Makes a file system read-only where it is mounted (mount(2), MS_REMOUNT); what was written so far gets to its
/// disk. It may take as long as the disk does.
///
/// # Errors
/// EBUSY while a file is open for writing; EINVAL when it is no mount point; EPERM.
pub fn remount_readonly(target: &CStr) -> Result<(), Errno> {
    rustix::mount::mount_remount(target, MountFlags::RDONLY, c"")
}

/// Takes a mount away (umount2(2)); a symbolic link is not followed. It may take as long as the disk does.
///
/// # Errors
/// EBUSY while it is in use; EINVAL when it is no mount point; ENOENT, EPERM.
pub fn unmount(target: &CStr) -> Result<(), Errno> {
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)
}

/// Is something mounted exactly here? The kernel knows since 5.8 (statx(2), STATX_ATTR_MOUNT_ROOT); an older one
/// is asked whether the place is on another device than its parent, which does not see a bind mount.
///
/// ```
/// use isinit::sys::mount::is_mount_point;
/// assert_eq!(is_mount_point(c"/"), Ok(true));
/// assert_eq!(is_mount_point(c"/usr/.."), Ok(true));
/// assert!(is_mount_point(c"/no/such/place").is_err());
/// ```
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES, ELOOP.
pub fn is_mount_point(path: &CStr) -> Result<bool, Errno> {
    match statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::empty()) {
        Ok(seen) if seen.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            return Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        }
        _ => {}
    }
    let here = open_directory(path)?;
    let (this, parent) = (rustix::fs::fstat(&here)?, statat(&here, c"..", AtFlags::empty())?);
    Ok(this.st_dev != parent.st_dev || this.st_ino == parent.st_ino)
}

/// Makes a directory (mkdir(2)); one that is there already is no error.
///
/// # Errors
/// EROFS, ENOENT, ENOTDIR, EACCES, ENOSPC; EEXIST when something else is there.
pub fn make_directory(path: &CStr, mode: u32) -> Result<(), Errno> {
    match mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) if open_directory(path).is_ok() => Ok(()),
        result => result,
    }
}

/// Makes a character device (mknod(2)), with exactly this mode; one that is there already is no error.
///
/// # Errors
/// EPERM, EROFS, ENOENT, ENOSPC.
pub fn make_device(path: &CStr, mode: u32, major: u32, minor: u32) -> Result<(), Errno> {
    let permissions = Mode::from_raw_mode(mode);
    match mknodat(CWD, path, FileType::CharacterDevice, permissions, makedev(major, minor)) {
        Err(Errno::EXIST) => Ok(()),
        // mknod takes the umask off.
        result => result.and_then(|()| rustix::fs::chmod(path, permissions)),
    }
}

/// Makes a symbolic link (symlink(2)); something that is there already is no error.
///
/// # Errors
/// EROFS, ENOENT, ENOSPC, EACCES.
pub fn make_link(target: &CStr, path: &CStr) -> Result<(), Errno> {
    match rustix::fs::symlink(target, path) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Reads a file of /proc, also where /proc is not mounted: then proc is mounted where nobody sees it, for as long
/// as it takes (fsopen(2), fsmount(2), Linux 5.2). `cmdline` is the kernel's arguments.
///
/// ```
/// let arguments = isinit::sys::mount::read_proc(c"cmdline").unwrap();
/// assert!(arguments.ends_with(b"\n"));
/// ```
///
/// # Errors
/// ENOENT when there is no such file; ENOSYS, EPERM, ENODEV without any proc; ENOMEM. What is longer than
/// `PROC_FILE_MAX_BYTES` is cut off.
pub fn read_proc(file: &CStr) -> Result<Vec<u8>, Errno> {
    read_below_proc(file, PROC_FILE_MAX_BYTES)
}

fn read_below_proc(file: &CStr, most: usize) -> Result<Vec<u8>, Errno> {
    let fd = openat(proc()?, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut all = Vec::new();
    let mut piece = [0; 4_096];
    while let Some(count) = pipe::read(&fd, &mut piece)?.filter(|&count| count > 0) {
        let room = most.saturating_sub(all.len()).min(count);
        let read = piece.get(..room).unwrap_or_default();
        all.try_reserve(room).map_err(|_| Errno::NOMEM)?;
        all.extend_from_slice(read);
        if room < count {
            break;
        }
    }
    Ok(all)
}

/// /proc, or one that nobody else sees.
pub(super) fn proc() -> Result<OwnedFd, Errno> {
    let is_proc =
        |fd: &OwnedFd| fstatfs(fd).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(PROC_SUPER_MAGIC));
    if let Some(fd) = open_directory(c"/proc").ok().filter(is_proc) {
        return Ok(fd);
    }
    let context = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// All mounts that we see, in the order in which they were made: one that lies on another comes after it, unless one
/// of them was moved since.
///
/// ```
/// use isinit::sys::mount::{MountTable, PATH_MAX_BYTES};
/// let table = MountTable::read().unwrap();
/// let mut path = [0; PATH_MAX_BYTES];
/// assert!(table.mounts().any(|mount| mount.place(&mut path) == Some(c"/")));
/// ```
#[derive(Debug)]
pub struct MountTable(Vec<u8>);

/// One line of the table (proc_pid_mountinfo(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'t> {
    /// Its number, which no other mount has as long as it is there.
    pub id: u32,
    /// The kind of file system: `ext4`, `proc`.
    pub kind: &'t [u8],
    /// Whether this mount, or its file system, is read-only.
    pub read_only: bool,
    place: &'t [u8],
}

impl MountTable {
    /// Reads /proc/self/mountinfo, without /proc too: see [`read_proc`].
    ///
    /// # Errors
    /// As [`read_proc`]. What is longer than `MOUNT_TABLE_MAX_BYTES` is cut off.
    pub fn read() -> Result<MountTable, Errno> {
        read_below_proc(c"self/mountinfo", MOUNT_TABLE_MAX_BYTES).map(MountTable)
    }

    /// The mounts. A line that cannot be understood, as one that was cut off, is left out.
    pub fn mounts(&self) -> impl DoubleEndedIterator<Item = Mount<'_>> {
        self.0.split(|&byte| byte == b'\n').filter_map(parse)
    }
}

impl Mount<'_> {
    /// Where it is mounted; `None` when that is longer than a path can be.
    pub fn place<'b>(&self, buffer: &'b mut [u8; PATH_MAX_BYTES]) -> Option<&'b CStr> {
        unescape(self.place, buffer)
    }
}

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAG...] - KIND SOURCE SUPER_OPTIONS`
fn parse(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let (place, options) = (fields.nth(3)?, fields.next()?);
    fields.find(|&field| field == b"-")?;
    let (kind, super_options) = (fields.next()?, fields.nth(1)?);
    let read_only = [options, super_options].iter().any(|options| is_read_only(options));
    Some(Mount { id, kind, read_only, place })
}

fn is_read_only(options: &[u8]) -> bool {
    options.split(|&byte| byte == b',').any(|option| option == b"ro")
}

/// Undoes the kernel's `\040` for a blank, and those for tab, newline and backslash: three octal digits. Used for
/// /proc/swaps as well.
pub fn unescape<'b>(text: &[u8], buffer: &'b mut [u8; PATH_MAX_BYTES]) -> Option<&'b CStr> {
    let (mut from, mut to) = (text.iter(), buffer.iter_mut());
    while let Some(&byte) = from.next() {
        *to.next()? = match (byte, from.as_slice()) {
            (b'\\', [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', rest @ ..]) => {
                from = rest.iter();
                (high & 3) << 6 | (middle & 7) << 3 | low & 7
            }
            _ => byte,
        };
    }
    *to.next()? = 0;
    CStr::from_bytes_until_nul(buffer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &[u8]) -> Option<Vec<u8>> {
        unescape(text, &mut [0; PATH_MAX_BYTES]).map(|path| path.to_bytes().to_vec())
    }

    #[test]
    fn a_line_of_the_kernel_is_understood() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=x";
        let mount = parse(line).unwrap();
        assert_eq!((mount.id, mount.kind, mount.read_only), (36, &b"ext3"[..], false));
        assert_eq!(place(mount.place).unwrap(), b"/mnt 2");
    }

    #[test]
    fn one_without_tags_and_a_read_only_one_too() {
        let mount = parse(b"22 1 0:21 / / ro,relatime - tmpfs tmpfs rw").unwrap();
        assert!(mount.read_only);
        assert!(parse(b"22 1 0:21 / / rw - tmpfs tmpfs ro,size=4k").unwrap().read_only);
        assert!(!parse(b"22 1 0:21 / / rw,errors=ro - tmpfs tmpfs rw,root").unwrap().read_only);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_mount_and_no_panic() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw";
        for end in 0..line.len() - 3 {
            assert_eq!(parse(&line[..end]), None, "{end}");
        }
    }

    #[test]
    fn escapes_are_three_octal_digits_and_nothing_else() {
        assert_eq!(place(br"/a\040b\011c\012d\134e").unwrap(), b"/a b\tc\nd\\e");
        assert_eq!(place(br"/a\04").unwrap(), br"/a\04");
        assert_eq!(place(br"/a\940\400").unwrap(), br"/a\940\400");
        assert_eq!(place(&[b'x'; PATH_MAX_BYTES]), None, "no room for the NUL");
    }

    #[test]
    fn what_is_there_already_is_made() {
        assert_eq!(make_directory(c"/proc", 0o755), Ok(()));
        assert_eq!(make_directory(c"/dev/null", 0o755), Err(Errno::EXIST));
        assert_eq!(is_mount_point(c"/proc"), Ok(true));
        assert_eq!(is_mount_point(c"/proc/self"), Ok(false));
    }
}
