//! The file systems that every program of a machine expects, mounted where they are missing.
//!
//! Where we are started there may be nothing at all: the root of an initramfs can hold /init alone. Or all of
//! it: an initramfs has mounted everything already. Or a disk that is still read-only, on which a missing directory
//! cannot be made. So each is looked at by itself, in this order, and one that cannot be mounted is no reason to leave
//! out the next.

use super::words::{errno_words, say};
use crate::sys::Errno;
use crate::sys::mount::{MountFlags, is_mount_point, make_device, make_directory, make_link, mount};
use std::ffi::CStr;

/// One file system that belongs to a machine (file-hierarchy(7)).
#[derive(Clone, Copy, Debug)]
struct Wanted {
    kind: &'static CStr,
    place: &'static CStr,
    flags: MountFlags,
    options: &'static CStr,
}

const NOTHING_SPECIAL: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// gid 5 is `tty` everywhere; ptmxmode lets everybody open /dev/pts/ptmx, as /dev/ptmx. Programs are executed out of
/// /dev/shm (shared libraries that make code), and out of /run by initramfs tools.
const WANTED: [Wanted; 7] = [
    wanted(c"proc", c"/proc", NOTHING_SPECIAL, c""),
    wanted(c"sysfs", c"/sys", NOTHING_SPECIAL, c""),
    wanted(c"devtmpfs", c"/dev", MountFlags::NOSUID, c"mode=0755"),
    wanted(c"devpts", c"/dev/pts", DEVICES, c"gid=5,mode=0620,ptmxmode=0666"),
    wanted(c"tmpfs", c"/dev/shm", NO_DEVICES, c"mode=1777"),
    wanted(c"tmpfs", c"/run", NO_DEVICES, c"mode=0755"),
    wanted(c"cgroup2", c"/sys/fs/cgroup", NOTHING_SPECIAL, c""),
];

const fn wanted(
    kind: &'static CStr,
    place: &'static CStr,
    flags: MountFlags,
    options: &'static CStr,
) -> Wanted {
    Wanted { kind, place, flags, options }
}

/// What a kernel without devtmpfs gets on /dev: the least that a shell and a getty need (devices.txt of the kernel).
const DEVICE_NODES: [(&CStr, u32, u32, u32); 9] = [
    (c"/dev/null", 0o666, 1, 3),
    (c"/dev/zero", 0o666, 1, 5),
    (c"/dev/full", 0o666, 1, 7),
    (c"/dev/random", 0o666, 1, 8),
    (c"/dev/urandom", 0o666, 1, 9),
    (c"/dev/kmsg", 0o600, 1, 11),
    (c"/dev/tty", 0o666, 5, 0),
    (c"/dev/console", 0o600, 5, 1),
    (c"/dev/ptmx", 0o666, 5, 2),
];

/// What a kernel does not put into /dev, and shells take for granted.
const DEVICE_LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// What came of one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was mounted.
    Mounted,
    /// The kernel has no devtmpfs: a tmpfs with the usual device nodes was mounted.
    MadeByHand,
    /// Its directory is missing and cannot be made.
    NoPlace(Errno),
    /// The kernel refuses it.
    Refused(Errno),
}

/// What came of a file system that was missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it belongs.
    pub place: &'static CStr,
    /// What came of it.
    pub what: What,
}

impl Outcome {
    /// Says it on the console, unless it is what everybody expects.
    pub fn say(&self) {
        let place = self.place.to_bytes();
        match self.what {
            What::Mounted => {}
            What::MadeByHand => {
                say(&[b"no devtmpfs in this kernel: ", place, b" is a tmpfs with a few devices"])
            }
            What::NoPlace(errno) => {
                say(&[
                    b"cannot make the directory ",
                    place,
                    b": ",
                    errno_words(errno),
                    b"; it is not mounted",
                ]);
            }
            What::Refused(errno) => say(&[b"cannot mount ", place, b": ", errno_words(errno)]),
        }
    }
}

/// Mounts /proc, /sys, /dev, /dev/pts, /dev/shm, /run and /sys/fs/cgroup where nothing is mounted yet, and makes the
/// directories where it can. Returns what was missing and what came of it.
pub fn mount_missing() -> Vec<Outcome> {
    let missing = |wanted: &&Wanted| is_mount_point(wanted.place) != Ok(true);
    let tried = |wanted: &Wanted| Outcome { place: wanted.place, what: mount_one(wanted) };
    let outcomes = WANTED.iter().filter(missing).map(tried).collect();
    for (target, path) in DEVICE_LINKS {
        // A /dev that cannot be written to has them, or its owner does not want them.
        let _ = make_link(target, path);
    }
    outcomes
}

fn mount_one(wanted: &Wanted) -> What {
    if let Err(errno) = make_directory(wanted.place, 0o755) {
        return What::NoPlace(errno);
    }
    match mount(wanted.kind, wanted.place, wanted.kind, wanted.flags, wanted.options) {
        Ok(()) => What::Mounted,
        Err(Errno::NODEV) if wanted.kind == c"devtmpfs" => devices_by_hand(wanted.flags),
        Err(errno) => What::Refused(errno),
    }
}

/// A /dev for a kernel that does not fill one.
fn devices_by_hand(flags: MountFlags) -> What {
    if let Err(errno) = mount(c"tmpfs", c"/dev", c"tmpfs", flags, c"mode=0755") {
        return What::Refused(errno);
    }
    for (path, mode, major, minor) in DEVICE_NODES {
        if let Err(errno) = make_device(path, mode, major, minor) {
            return What::Refused(errno);
        }
    }
    What::MadeByHand
}

#[cfg(test)]
mod tests {
    mod as_root {
        use super::super::*;
        use crate::sys::testing::in_new_root;
        use std::os::unix::fs::{FileTypeExt, MetadataExt};

        #[test]
        fn an_empty_root_gets_all_of_them_and_a_second_look_finds_nothing_to_do() {
            let status = in_new_root(|| {
                for outcome in mount_missing() {
                    assert_eq!(outcome.what, What::Mounted, "{:?}", outcome.place);
                }
                for wanted in WANTED {
                    assert_eq!(is_mount_point(wanted.place), Ok(true), "{:?}", wanted.place);
                }
                assert_eq!(std::fs::metadata("/run").unwrap().mode() & 0o7777, 0o755);
                assert_eq!(std::fs::metadata("/dev/shm").unwrap().mode() & 0o7777, 0o1777);
                assert!(std::fs::metadata("/dev/pts/ptmx").is_ok());
                i32::from(!mount_missing().is_empty())
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn a_root_that_cannot_be_written_is_no_reason_to_leave_out_the_rest() {
            let status = in_new_root(|| {
                std::fs::create_dir("/proc").unwrap();
                std::fs::create_dir("/run").unwrap();
                crate::sys::mount::remount_readonly(c"/").unwrap();
                let outcomes = mount_missing();
                let what = |place| outcomes.iter().find(|outcome| outcome.place == place).map(|o| o.what);
                assert_eq!(what(c"/proc"), Some(What::Mounted));
                assert_eq!(what(c"/run"), Some(What::Mounted));
                assert_eq!(what(c"/sys"), Some(What::NoPlace(Errno::ROFS)));
                assert_eq!(what(c"/dev/pts"), Some(What::NoPlace(Errno::NOENT)));
                0
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn a_kernel_without_devtmpfs_gets_devices_that_work() {
            let status = in_new_root(|| {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
                make_directory(c"/dev", 0o755).unwrap();
                assert_eq!(devices_by_hand(MountFlags::NOSUID), What::MadeByHand);
                std::fs::write("/dev/null", "x").unwrap();
                let console = std::fs::metadata("/dev/console").unwrap();
                assert!(console.file_type().is_char_device());
                assert_eq!((console.mode() & 0o777, console.rdev()), (0o600, 0x501));
                assert_eq!(std::fs::metadata("/dev/zero").unwrap().mode() & 0o777, 0o666);
                0
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn the_command_line_is_read_without_proc() {
            let status = in_new_root(|| {
                assert!(!std::path::Path::new("/proc").exists());
                let line = crate::sys::mount::read_proc(c"cmdline").unwrap();
                assert!(!line.is_empty());
                i32::from(is_mount_point(c"/proc").is_ok())
            });
            assert_eq!(status, 0);
        }
    }
}
