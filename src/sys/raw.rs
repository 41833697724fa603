//! System calls in the kernel's own form, for what neither rustix nor the C library offers as it is needed:
//! the C library's setuid(2) signals its other threads, its sigprocmask(2) leaves out the signals that it
//! keeps for itself, and it has no clone3(2).
//!
//! All of them are async-signal-safe: they touch nothing but their arguments and errno.

#![allow(unsafe_code)]

use rustix::io::Errno;

/// One argument of a system call as the register holds it.
pub(super) type Word = libc::c_long;

/// Makes a system call with up to six arguments (syscall(2)); those that it does not take are zero.
///
/// # Safety
/// The arguments have to be what the kernel expects under this number: pointers among them valid for what the
/// kernel reads and writes there.
pub(super) unsafe fn syscall(number: Word, arguments: [Word; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller vouches for number and arguments; superfluous arguments are not looked at.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| last_errno())
}

/// errno(3) of the libc call that has just failed in this thread.
pub(super) fn last_errno() -> Errno {
    // SAFETY: __errno_location gives the address of this thread's errno, which lives as long as the thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Ends the process at once: no destructor, no atexit handler, no flush. For a forked child, in which
/// those would do their parent's work a second time.
pub(super) fn exit_now(status: i32) -> ! {
    loop {
        // SAFETY: exit_group takes one integer and does not return.
        let _ = unsafe { syscall(libc::SYS_exit_group, [Word::from(status), 0, 0, 0, 0, 0]) };
    }
}
