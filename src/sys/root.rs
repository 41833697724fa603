//! Another root: going there, emptying the one that is left, and executing what goes on in our place.

#![allow(unsafe_code)]

use super::raw::last_errno;
use super::signals::{Mask, set_mask};
use crate::limits::EMPTY_DEPTH_MAX;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::fs::{fstat, fstatfs, openat, openat2, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// f_type of the file systems that live in memory alone (linux/magic.h): an initramfs is one of them.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Bytes for getdents64(2) on each level of a tree; they are on the stack.
const ENTRIES_BYTES: usize = 4_096;

/// A directory to come back to when the root has become another, or to empty then.
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES.
pub fn hold(path: &CStr) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Is the directory that is held the one at this path?
pub fn is_same_place(held: &OwnedFd, path: &CStr) -> bool {
    super::files::is_at(held, path, AtFlags::empty())
}

/// Are both on the same file system (stat(2), st_dev)?
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES.
pub fn same_device(one: &CStr, other: &CStr) -> Result<bool, Errno> {
    let device = |path| statat(CWD, path, AtFlags::empty()).map(|stat| stat.st_dev);
    Ok(device(one)? == device(other)?)
}

/// Can a program be executed once `root` is the root? Its links are followed as they will be then (openat2(2),
/// RESOLVE_IN_ROOT, Linux 5.6): `/sbin/init` is often one that starts with a slash. An older kernel is asked only
/// whether it is there.
///
/// # Errors
/// ENOENT, ENOTDIR, ELOOP; EACCES when it is no file, or not executable.
pub fn check_executable(root: &OwnedFd, program: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = match openat2(root, program, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Err(Errno::NOSYS) => {
            let relative = program.to_bytes_with_nul().iter().position(|&byte| byte != b'/').unwrap_or(0);
            let rest = program.to_bytes_with_nul().get(relative..).unwrap_or_default();
            let rest = CStr::from_bytes_with_nul(rest).map_err(|_| Errno::INVAL)?;
            return statat(root, rest, AtFlags::SYMLINK_NOFOLLOW).map(|_| ());
        }
        result => result?,
    };
    let mode = fstat(&file)?.st_mode;
    let is_file = FileType::from_raw_mode(mode) == FileType::RegularFile;
    if is_file && mode & 0o111 != 0 { Ok(()) } else { Err(Errno::ACCESS) }
}

/// Does this file system live in memory alone (statfs(2): ramfs, tmpfs), so that emptying it frees memory and
/// loses nobody's disk?
pub fn is_in_memory(directory: impl AsFd) -> bool {
    fstatfs(directory).is_ok_and(|stat| {
        // f_type is a signed word of 32 or 64 bits: RAMFS_MAGIC has its sign bit set.
        let kind = (stat.f_type as u64) & 0xffff_ffff;
        IN_MEMORY.contains(&kind)
    })
}

/// Makes a mount point the root of everything (MS_MOVE onto "/", chroot(2)): ours and that of whoever shares our
/// mounts. The old root is out of everybody's sight then.
///
/// # Errors
/// What chdir(2), mount(2) and chroot(2) say. Before the mount was moved nothing has changed.
pub fn become_root(path: &CStr) -> Result<(), Errno> {
    rustix::process::chdir(path)?;
    if let Err(errno) = rustix::mount::mount_move(c".", c"/") {
        let _ = rustix::process::chdir(c"/");
        return Err(errno);
    }
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// Removes everything below a directory, on its own file system alone: another one that is mounted there is not
/// entered, a symbolic link is not followed. What cannot be removed stays.
pub fn empty(directory: &OwnedFd) {
    if let Ok(stat) = fstat(directory) {
        empty_level(directory.as_fd(), stat.st_dev, EMPTY_DEPTH_MAX);
    }
}

fn empty_level(directory: BorrowedFd<'_>, device: u64, depth: usize) {
    let mut entries = [MaybeUninit::uninit(); ENTRIES_BYTES];
    let mut entries = RawDir::new(directory, &mut entries);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if unlinkat(directory, name, AtFlags::empty()).is_ok() || depth == 0 {
            continue;
        }
        // Unlinking refuses a directory, and anything that is mounted on.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(below) = openat(directory, name, flags, Mode::empty()) else { continue };
        if fstat(&below).is_ok_and(|stat| stat.st_dev == device) {
            empty_level(below.as_fd(), device, depth.saturating_sub(1));
            let _ = unlinkat(directory, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Executes a program in our place (execv(3)), with our environment and, as every program expects it, no signal
/// blocked. Returns when that fails, with the mask as it was.
pub fn execute(program: &CStr, arguments: &[CString]) -> Errno {
    let mut words: Vec<*const libc::c_char> = arguments.iter().map(|word| word.as_ptr()).collect();
    words.push(std::ptr::null());
    let before = set_mask(Mask::EMPTY);
    // SAFETY: terminated strings, and a list of such that ends with a null pointer.
    unsafe { libc::execv(program.as_ptr(), words.as_ptr()) };
    let errno = last_errno();
    let _ = before.and_then(set_mask);
    errno
}

/// Whether a path is a directory's entry that is a directory itself, without following a link.
pub fn is_real_directory(path: &CStr) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{Scratch, in_child};

    #[test]
    fn a_tree_is_emptied_and_a_link_out_of_it_not_followed() {
        let (scratch, outside) = (Scratch::new("root"), Scratch::new("root"));
        std::fs::create_dir_all(scratch.0.join("a/b/c")).unwrap();
        for number in 0..300 {
            std::fs::write(scratch.0.join(format!("a/b/a-rather-long-name-{number}")), "x").unwrap();
        }
        std::fs::write(outside.0.join("precious"), "x").unwrap();
        std::os::unix::fs::symlink(&outside.0, scratch.0.join("link")).unwrap();
        empty(&hold(&scratch.c_path(".")).unwrap());
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
        assert!(outside.0.join("precious").exists());
    }

    #[test]
    fn a_tree_that_is_too_deep_stays_where_the_depth_ends() {
        let scratch = Scratch::new("root");
        let deep = (0..EMPTY_DEPTH_MAX + 5).fold(scratch.0.clone(), |path, _| path.join("d"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(scratch.0.join("file"), "x").unwrap();
        empty(&hold(&scratch.c_path(".")).unwrap());
        assert!(deep.exists() && !scratch.0.join("file").exists());
    }

    #[test]
    fn a_program_is_looked_for_as_if_the_root_were_there_already() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let scratch = Scratch::new("root");
        std::fs::create_dir_all(scratch.0.join("lib")).unwrap();
        std::fs::write(scratch.0.join("lib/real"), "x").unwrap();
        symlink("/lib/real", scratch.0.join("init")).unwrap();
        symlink("/bin/sh", scratch.0.join("outside")).unwrap();
        let root = hold(&scratch.c_path(".")).unwrap();
        assert_eq!(check_executable(&root, c"/init"), Err(Errno::ACCESS), "not executable yet");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(scratch.0.join("lib/real"), mode).unwrap();
        assert_eq!(check_executable(&root, c"/init"), Ok(()));
        assert_eq!(check_executable(&root, c"/outside"), Err(Errno::NOENT), "there will be no /bin/sh");
        assert_eq!(check_executable(&root, c"/lib"), Err(Errno::ACCESS));
    }

    #[test]
    fn an_exec_that_fails_leaves_the_mask_as_it_was() {
        let status = in_child(|| {
            let _signals = crate::sys::signals::Signals::take().unwrap();
            let blocked = || {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
            };
            let before = blocked();
            assert_eq!(execute(c"/no/such/init", &[c"init".to_owned()]), Errno::NOENT);
            i32::from(before != blocked())
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn a_program_is_executed_with_no_signal_blocked() {
        let status = in_child(|| {
            let _signals = crate::sys::signals::Signals::take().unwrap();
            let words = [c"sh", c"-c", c"grep -q '^SigBlk:.0*$' /proc/self/status"];
            execute(c"/bin/sh", &words.map(CStr::to_owned));
            9
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn memory_is_told_from_other_file_systems() {
        assert!(!is_in_memory(hold(c"/proc").unwrap()));
        assert_eq!(same_device(c"/proc", c"/proc/self"), Ok(true));
        assert_eq!(same_device(c"/", c"/proc"), Ok(false));
        assert!(is_real_directory(c"/proc/1") && !is_real_directory(c"/proc/self"));
    }
}
