//! From an initramfs into the real root (switch_root(8)): move the mounts, make the new root the root, give the
//! initramfs's memory back, execute the new init.
//!
//! It has three dangers, and each has a rule here:
//!
//! - *Removing files of the wrong file system.* The old root is emptied only when it lives in memory and the new one
//!   is on another device; the walk enters no other file system and follows no link.
//! - *Being left between two roots.* Everything that can be asked is asked by [`check`] while nothing has changed; a
//!   move that fails is undone; files are removed only when the new root is in place.
//! - *A new init that does not hear.* It gets an empty signal mask and the console, and no descriptor of ours.

use crate::sys::mount::{is_mount_point, move_to};
use crate::sys::root::{self, become_root, check_executable, execute, hold, is_real_directory, same_device};
use crate::sys::{Errno, terminal};
use std::ffi::{CStr, CString};

/// What goes along into the new root.
const MOVED: [&CStr; 4] = [c"/dev", c"/proc", c"/sys", c"/run"];

/// Why a root is not switched to. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The new root is not there, or no directory.
    NoRoot(Errno),
    /// It is the root already.
    IsRoot,
    /// Nothing is mounted there.
    NotMounted,
    /// Its init is not there, or not executable.
    NoInit(Errno),
}

impl Refusal {
    /// What is wrong and what to do about it.
    pub fn words(self) -> &'static str {
        match self {
            Refusal::NoRoot(_) => "the new root is no directory; mount it there first",
            Refusal::IsRoot => "this is the root already",
            Refusal::NotMounted => "nothing is mounted on the new root; mount it there first",
            Refusal::NoInit(_) => "the new root has no executable program of that name; name its init",
        }
    }

    /// What the system said, where it said something.
    pub fn errno(self) -> Option<Errno> {
        match self {
            Refusal::NoRoot(errno) | Refusal::NoInit(errno) => Some(errno),
            Refusal::IsRoot | Refusal::NotMounted => None,
        }
    }
}

/// Where a switch has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was being done: `make the new root the root`.
    pub step: &'static str,
    /// What the system said.
    pub errno: Errno,
}

/// Can `root` become the root, and `init`, a path in there, be executed then? Changes nothing.
///
/// ```
/// use isinit::machine::switch_root::{Refusal, check};
/// assert_eq!(check(c"/", c"/sbin/init"), Err(Refusal::IsRoot));
/// ```
///
/// # Errors
/// The first of [`Refusal`]'s reasons that holds.
pub fn check(root: &CStr, init: &CStr) -> Result<(), Refusal> {
    let held = hold(root).map_err(Refusal::NoRoot)?;
    if root::is_same_place(&held, c"/") {
        return Err(Refusal::IsRoot);
    }
    if is_mount_point(root) != Ok(true) {
        return Err(Refusal::NotMounted);
    }
    check_executable(&held, init).map_err(Refusal::NoInit)
}

/// Switches to `root`, and executes `argv`, whose first word is the new init's path in there. Returns only when it
/// fails: before the new root is in place all is as it was; after that we are in the new root, without its init. Call
/// [`check`] first, and stop everything that runs.
pub fn switch(root: &CStr, argv: &[CString]) -> Failure {
    let failed = |step, errno| Failure { step, errno };
    let Some(init) = argv.first() else { return failed("find the new init", Errno::INVAL) };
    let old = match hold(c"/") {
        Ok(old) => old,
        Err(errno) => return failed("open the old root", errno),
    };
    let to_empty = root::is_in_memory(&old) && same_device(c"/", root) == Ok(false);
    let moved = MOVED.map(|place| move_along(place, root));
    if let Err(errno) = become_root(root) {
        for (place, there) in MOVED.iter().zip(moved) {
            if let Some(there) = there {
                let _ = move_to(&there, place);
            }
        }
        return failed("make the new root the root", errno);
    }
    if to_empty {
        root::empty(&old);
    }
    drop(old);
    // The same device as before where /dev came along; else the new root's own, if it has one.
    let _ = terminal::become_standard(c"/dev/console");
    failed("execute the new init", execute(init, argv))
}

/// Moves a mount to its place in the new root, and returns that. Where there is no such place, or something is
/// mounted on it already, it stays; it goes out of sight with the old root.
fn move_along(place: &CStr, root: &CStr) -> Option<CString> {
    if is_mount_point(place) != Ok(true) {
        return None;
    }
    let there = CString::new([root.to_bytes(), place.to_bytes()].concat()).ok()?;
    let free = is_real_directory(&there) && is_mount_point(&there) == Ok(false);
    (free && move_to(place, &there).is_ok()).then_some(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_cannot_be_is_refused_with_what_to_do() {
        assert_eq!(check(c"/no/such", c"/init"), Err(Refusal::NoRoot(Errno::NOENT)));
        assert_eq!(check(c"/dev/null", c"/init"), Err(Refusal::NoRoot(Errno::NOTDIR)));
        assert_eq!(check(c"/usr/..", c"/init"), Err(Refusal::IsRoot));
        assert_eq!(check(c"/proc/self", c"/init"), Err(Refusal::NotMounted));
        assert_eq!(check(c"/proc", c"/no-init"), Err(Refusal::NoInit(Errno::NOENT)));
        assert_eq!(check(c"/proc", c"/version"), Err(Refusal::NoInit(Errno::ACCESS)));
    }

    mod as_root {
        use super::*;
        use crate::sys::mount::{MountFlags, mount};
        use crate::sys::testing::in_new_root_with_usr;
        use std::fs::{create_dir, create_dir_all, write};
        use std::os::fd::AsRawFd;

        /// An initramfs with files, /proc, and a new root on /new that has the host's programs.
        fn stage() {
            create_dir_all("/dir/below").unwrap();
            write("/dir/below/file", "x").unwrap();
            std::os::unix::fs::symlink("/new/precious", "/link").unwrap();
            for place in ["/new", "/proc", "/run"] {
                create_dir(place).unwrap();
            }
            let tmpfs = |place: &CStr| mount(c"test", place, c"tmpfs", MountFlags::empty(), c"").unwrap();
            mount(c"proc", c"/proc", c"proc", MountFlags::empty(), c"").unwrap();
            tmpfs(c"/run");
            tmpfs(c"/new");
            write("/run/state", "x").unwrap();
            write("/new/precious", "x").unwrap();
            for name in ["proc", "run", "usr"] {
                create_dir(format!("/new/{name}")).unwrap();
            }
            move_to(c"/usr", c"/new/usr").unwrap();
            for name in ["bin", "lib", "lib64"] {
                std::os::unix::fs::symlink(format!("usr/{name}"), format!("/new/{name}")).unwrap();
            }
        }

        fn run(script: &str) -> [CString; 3] {
            [c"/bin/sh".to_owned(), c"-c".to_owned(), CString::new(script).unwrap()]
        }

        #[test]
        fn the_new_init_has_the_mounts_and_the_old_root_is_empty() {
            let status = in_new_root_with_usr(|| {
                stage();
                // Handed on by number, to look into what nobody else can see any more.
                let old = rustix::io::dup(hold(c"/").unwrap()).unwrap();
                assert_eq!(check(c"/new", c"/bin/sh"), Ok(()));
                let script = format!(
                    "test -e /precious || exit 11; test -e /run/state || exit 12; test -e /dir && exit 13
                    test -z \"$(ls -A /proc/self/fd/{}/)\" || exit 14; exit 7",
                    old.as_raw_fd()
                );
                switch(c"/new", &run(&script));
                99
            });
            assert_eq!(status, 7);
        }

        #[test]
        fn a_root_that_cannot_be_moved_leaves_all_as_it_was() {
            let status = in_new_root_with_usr(|| {
                stage();
                // No mount point: refused by the kernel, after /proc and /run have moved already.
                for name in ["fake", "fake/proc", "fake/run"] {
                    create_dir(format!("/{name}")).unwrap();
                }
                let failure = switch(c"/fake", &run("exit 7"));
                assert_eq!(failure.errno, Errno::INVAL);
                assert!(is_mount_point(c"/proc") == Ok(true) && std::fs::exists("/run/state").unwrap());
                i32::from(!std::fs::exists("/dir/below/file").unwrap())
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn a_bind_mount_of_the_initramfs_itself_is_not_emptied() {
            let status = in_new_root_with_usr(|| {
                stage();
                create_dir_all("/same/usr").unwrap();
                rustix::mount::mount_bind(c"/same", c"/same").unwrap();
                rustix::mount::mount_bind_recursive(c"/new/usr", c"/same/usr").unwrap();
                for name in ["bin", "lib", "lib64"] {
                    std::os::unix::fs::symlink(format!("usr/{name}"), format!("/same/{name}")).unwrap();
                }
                write("/same/precious", "x").unwrap();
                switch(c"/same", &run("test -e /precious && exit 7"));
                99
            });
            assert_eq!(status, 7);
        }
    }
}
