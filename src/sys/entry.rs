//! The program's first instructions, in place of those of Rust's standard library.
//!
//! Before its `main` the standard library makes sure that descriptors 0, 1 and 2 are open, by /dev/null, and
//! aborts where there is none. A kernel that has found no console starts its init with none of the three open, and
//! an initramfs without device nodes has no /dev/null: as PID 1 that abort is a kernel panic. So C's `main` is
//! ours, and does the same three things without a way to fail: descriptors, SIGPIPE, arguments.

#![allow(unsafe_code)]

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Makes `fn(&str, &[OsString]) -> i32` the program: it gets argv\[0\] and the words behind it, and what it
/// returns is the exit status. The file it stands in has to be `no_main`.
///
/// ```no_run
/// # #![cfg_attr(not(test), no_main)]
/// isinit::program!(isinit::cli::main);
/// # #[cfg(any())] fn main() {}
/// ```
#[macro_export]
macro_rules! program {
    ($main:path) => {
        // Where the test harness has a main of its own there cannot be a second one.
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _count: ::std::ffi::c_int,
            words: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: these are the arguments of C's main.
            unsafe { $crate::sys::entry::enter(words, $main) }
        }
    };
}

/// What [`program!`](crate::program) expands to; not for use by hand. Ends by exit(3).
///
/// # Safety
/// `words` is argv, as C's main gets it.
pub unsafe fn enter(words: *const *const c_char, main: impl FnOnce(&str, &[OsString]) -> i32) -> c_int {
    fill_descriptors();
    // As the standard library does: a write to a pipe that nobody reads is an error, not the end.
    // SAFETY: ignoring a signal installs no code.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    SIGPIPE_WAS_DEFAULT.store(before == libc::SIG_DFL, Ordering::Relaxed);
    WORDS.store(words.cast_mut().cast(), Ordering::Relaxed);
    let own = |word: &CStr| OsStr::from_bytes(word.to_bytes()).to_owned();
    let mut words: Vec<OsString> = self::words().into_iter().map(own).collect();
    let program = if words.is_empty() { OsString::new() } else { words.remove(0) };
    std::process::exit(main(&program.to_string_lossy(), &words))
}

/// argv, as C's main got it.
static WORDS: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

/// The words that the program was executed with, its own name the first; none where its main is not that of
/// [`program!`](crate::program).
pub fn words() -> Vec<&'static CStr> {
    // SAFETY: C's argv, or null.
    unsafe { strings(WORDS.load(Ordering::Relaxed).cast::<*const c_char>()) }
}

/// What SIGPIPE was to begin with.
static SIGPIPE_WAS_DEFAULT: AtomicBool = AtomicBool::new(false);

/// Gives SIGPIPE the disposition back with which the program was started: a command that is executed in our place, so
/// to say, inherits it.
pub(super) fn give_sigpipe_back() {
    if SIGPIPE_WAS_DEFAULT.load(Ordering::Relaxed) {
        // SAFETY: the default disposition installs no code.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

/// The strings of a list that ends with a null pointer. `std::env::args_os` is not asked: under musl it learns them from
/// the standard library's `main` alone.
///
/// # Safety
/// The list is null, or all of it lives as long as the process, as argv does.
unsafe fn strings(list: *const *const c_char) -> Vec<&'static CStr> {
    let mut strings = Vec::new();
    while !list.is_null() {
        // SAFETY: its end was not seen yet.
        let string = unsafe { *list.add(strings.len()) };
        if string.is_null() {
            break;
        }
        // SAFETY: each points to a terminated string.
        strings.push(unsafe { CStr::from_ptr(string) });
    }
    strings
}

/// Fills what is closed of descriptors 0, 1 and 2: else the next file that is opened would get the number, and
/// our messages. Without /dev/null it is "/" as a mere place (O_PATH), from which reads and writes fail.
pub fn fill_descriptors() {
    for fd in 0..=2 {
        // SAFETY: F_GETFD takes no argument and changes nothing.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
            continue;
        }
        let open = |path, flags| openat(CWD, path, flags, Mode::empty());
        let filler: Result<_, Errno> = open(c"/dev/null", OFlags::RDWR).or_else(|_| open(c"/", OFlags::PATH));
        // The lowest free number is what open(2) gives, so it is this one. It stays open.
        let _ = filler.map(IntoRawFd::into_raw_fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{Scratch, in_child};

    fn close_all_three() {
        for fd in 0..=2 {
            // SAFETY: this is a forked child that ends by exit_group and prints nothing.
            unsafe { libc::close(fd) };
        }
    }

    fn all_three_are_open() -> bool {
        // SAFETY: F_GETFD changes nothing.
        (0..=2).all(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } == 0)
    }

    #[test]
    fn closed_descriptors_are_filled_with_dev_null() {
        let status = in_child(|| {
            close_all_three();
            fill_descriptors();
            let null = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            i32::from(!(all_three_are_open() && (0..=2).all(|fd| null(fd).ends_with("dev/null"))))
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn arguments_are_taken_whatever_their_bytes() {
        let words = [c"isinit".as_ptr(), c"a\xffb".as_ptr(), c"".as_ptr(), std::ptr::null()];
        // SAFETY: three terminated strings that are constants, and null.
        assert_eq!(unsafe { strings(words.as_ptr()) }, [c"isinit", c"a\xffb", c""]);
        // SAFETY: a program may be executed without even its name.
        assert!(unsafe { strings(words[3..].as_ptr()) }.is_empty());
        assert!(self::words().is_empty(), "a test has another main");
    }

    mod as_root {
        use super::*;

        #[test]
        fn without_dev_null_something_else_is_there() {
            let scratch = Scratch::new("entry");
            let status = in_child(|| {
                rustix::process::chroot(&scratch.0).unwrap();
                close_all_three();
                fill_descriptors();
                let refused = rustix::io::write(rustix::stdio::stderr(), b"x").is_err();
                i32::from(!(all_three_are_open() && refused))
            });
            assert_eq!(status, 0);
        }
    }
}
