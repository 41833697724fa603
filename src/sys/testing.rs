//! Helpers of this room's tests: what changes a whole process (dispositions, descriptors, sessions)
//! is tried in a forked one, for the test harness runs many tests in one.

#![allow(unsafe_code)]

use super::cgroup::Cgroups;
use super::raw::exit_now;
use std::ffi::CString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `test` in a forked child and returns its exit status; 101 when it panicked, 128 + N on signal N.
pub(crate) fn in_child(test: impl FnOnce() -> i32) -> i32 {
    wait_for(fork(|| exit_now(test())))
}

/// Forks a child that runs `act` and ends: with 0, or 101 when it panicked.
pub(crate) fn fork(act: impl FnOnce()) -> i32 {
    // SAFETY: fork of the C library, which keeps its own locks usable in the child; the child runs the closure
    // on its copy of the memory and never returns into the harness.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // What the harness keeps of a test's output is not shared with a child of it.
        super::output::say_panics();
        exit_now(catch_unwind(AssertUnwindSafe(act)).map_or(101, |()| 0));
    }
    pid
}

/// Runs a test with a subtree of cgroups of its own: in a child, whose PID names it. Where there is none, what is
/// asserted is that we are not root.
pub(crate) fn with_cgroups(test: impl FnOnce(Cgroups)) {
    let status = in_child(|| {
        match Cgroups::find() {
            Some(cgroups) => test(cgroups),
            None => assert_ne!(super::process::own_uid(), 0, "root can make cgroups on this machine"),
        }
        0
    });
    assert_eq!(status, 0);
}

/// Runs `test` in a forked child whose root is a new, empty tmpfs, in mounts of its own: nothing of the host is to be
/// seen, so that nothing of it can be unmounted. Returns as [`in_child`]. Only root can.
pub(crate) fn in_new_root(test: impl FnOnce() -> i32) -> i32 {
    in_child(|| {
        enter_new_root();
        test()
    })
}

/// As [`in_new_root`], and process 1 of a PID namespace of its own.
pub(crate) fn as_pid1_in_new_root(test: impl FnOnce() -> i32) -> i32 {
    in_child(|| {
        enter_new_root();
        unshare(libc::CLONE_NEWPID);
        in_child(test)
    })
}

/// As [`in_new_root`], with the host's /usr in it, read-only: for tests that execute a program there.
pub(crate) fn in_new_root_with_usr(test: impl FnOnce() -> i32) -> i32 {
    use rustix::mount::{MountFlags, mount_bind, mount_remount};
    in_child(|| {
        mount_new_root();
        std::fs::create_dir("/mnt/usr").unwrap();
        mount_bind(c"/usr", c"/mnt/usr").unwrap();
        mount_remount(c"/mnt/usr", MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
        super::root::become_root(c"/mnt").unwrap();
        test()
    })
}

fn enter_new_root() {
    mount_new_root();
    super::root::become_root(c"/mnt").unwrap();
    let table = super::mount::MountTable::read().unwrap();
    assert_eq!(table.mounts().count(), 1, "something of the host is there");
}

/// A tmpfs on /mnt, which only this process sees.
fn mount_new_root() {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    unshare(libc::CLONE_NEWNS);
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount(c"test", c"/mnt", c"tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
}

fn unshare(flags: i32) {
    // SAFETY: takes flags; this is a forked child with one thread.
    assert_eq!(unsafe { libc::unshare(flags) }, 0, "unshare: {}", super::raw::last_errno());
}

/// Waits for the end of a child; the status as a shell has it.
pub(crate) fn wait_for(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: status is a valid place for the answer.
    while unsafe { libc::waitpid(pid, &mut status, 0) } != pid {
        assert_eq!(super::raw::last_errno(), super::Errno::INTR, "waitpid({pid})");
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Everything that comes out of a descriptor until its end.
pub(crate) fn read_all(fd: impl AsFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match rustix::io::read(&fd, &mut piece) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(super::Errno::INTR) => {}
            Err(errno) => panic!("read: {errno}"),
        }
    }
}

/// A pseudo terminal: its master and the name of its slave.
pub(crate) fn terminal_pair() -> (OwnedFd, CString) {
    // SAFETY: posix_openpt takes flags and returns a new descriptor or -1.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0, "posix_openpt failed");
    // SAFETY: it is new and nobody else's.
    let master = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(master) };
    let mut name = [0; 64];
    // SAFETY: master is a pseudo terminal, name a buffer of the size that is given.
    let failed = unsafe {
        libc::grantpt(master.as_raw_fd()) != 0
            || libc::unlockpt(master.as_raw_fd()) != 0
            || libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) != 0
    };
    assert!(!failed, "no slave");
    // SAFETY: ptsname_r has put a terminated string there.
    (master, unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_owned())
}

/// A new empty directory, removed with all that is in it when dropped.
pub(crate) struct Scratch(pub std::path::PathBuf);

impl Scratch {
    /// Its name is nobody else's, also where two runs have the same process ids, each in a PID namespace of its own.
    pub(crate) fn new(name: &str) -> Scratch {
        loop {
            let random = RandomState::new().build_hasher().finish() as u32;
            let path = std::env::temp_dir().join(format!("isinit-{name}-{random:08x}"));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Scratch(path)).unwrap(),
            }
        }
    }

    /// The path of a file in there, as the kernel wants it.
    pub(crate) fn c_path(&self, name: &str) -> CString {
        CString::new(self.0.join(name).into_os_string().into_encoded_bytes()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
