//! System calls in the kernel's own form, for what neither rustix nor the C library offers as it is needed:
//! the C library's setuid(2) signals its other threads, its sigprocmask(2) leaves out the signals that it
//! keeps for itself, and it has no clone3(2).
//!
//! All of them are async-signal-safe: they touch nothing but their arguments, and where the C library makes them errno.

#![allow(unsafe_code)]

use rustix::io::Errno;

/// One argument of a system call as the register holds it.
pub(super) type Word = libc::c_long;

/// Makes a system call with up to six arguments (syscall(2)); those that it does not take are zero.
///
/// On the architectures whose children run in our memory ([`super::pads`]) it is the instruction itself: the C library
/// would write the errno of a child where ours is.
///
/// # Safety
/// The arguments have to be what the kernel expects under this number: pointers among them valid for what the
/// kernel reads and writes there.
pub(super) unsafe fn syscall(number: Word, arguments: [Word; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for number and arguments; superfluous arguments are not looked at.
    answer(unsafe { enter(number, arguments) })
}

/// What the kernel has answered: from -4095 to -1 it is an errno (syscall(2)).
pub(super) fn answer(result: Word) -> Result<usize, Errno> {
    match i32::try_from(result) {
        Ok(errno @ -4_095..=-1) => Err(Errno::from_raw_os_error(errno.wrapping_neg())),
        _ => Ok(result as usize),
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn enter(number: Word, [a, b, c, d, e, f]: [Word; 6]) -> Word {
    let result;
    // SAFETY: the x86-64 ABI of Linux (syscall(2)): these registers go in, rcx and r11 are lost.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn enter(number: Word, [a, b, c, d, e, f]: [Word; 6]) -> Word {
    let result;
    // SAFETY: the arm64 ABI of Linux (syscall(2)): these registers go in, and x0 alone comes back changed.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn enter(number: Word, [a, b, c, d, e, f]: [Word; 6]) -> Word {
    // SAFETY: the caller's promise, handed on.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { Word::from(last_errno().raw_os_error()).wrapping_neg() } else { result }
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
