//! The system calls of the daemon, each with the errnos that its page in section 2 of the manual lists (man-pages 6.03).
//! Written by hand from there: a call that the daemon makes and that has no row fails the test, so that
//! whoever adds a call reads its page.
//!
//! `stat`, `open`, `brk`, `arch_prctl` and a few more are the C library's, for itself or for the standard library.

use std::io::Error;

/// A row: the call's name as strace has it, and its errnos.
pub type Call = (&'static str, &'static str);

/// Of path names, in every call that takes one.
macro_rules! path {
    ($more:literal) => {
        concat!("EACCES EFAULT ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR ", $more)
    };
}

/// What the daemon itself calls.
pub const CALLS: &[Call] = &[
    (
        "accept4",
        "EAGAIN EBADF ECONNABORTED EFAULT EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM ENOTSOCK EOPNOTSUPP EPERM EPROTO",
    ),
    ("arch_prctl", "EFAULT EINVAL ENODEV EPERM"),
    ("bind", path!("EADDRINUSE EADDRNOTAVAIL EBADF EINVAL ENOTSOCK EROFS")),
    ("brk", "ENOMEM"),
    ("chmod", path!("EIO EPERM EROFS")),
    ("clone3", "EACCES EAGAIN EBUSY EEXIST EINVAL ENOMEM ENOSPC EOPNOTSUPP EPERM EUSERS ENOSYS"),
    ("clone", "EAGAIN EINVAL ENOMEM ENOSPC EPERM EUSERS"),
    ("close", "EBADF EDQUOT EINTR EIO ENOSPC"),
    (
        "connect",
        "EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNREFUSED EFAULT EINPROGRESS EINTR \
         EISCONN ENETUNREACH ENOTSOCK EPERM EPROTOTYPE ETIMEDOUT",
    ),
    ("epoll_create1", "EINVAL EMFILE ENFILE ENOMEM"),
    ("epoll_ctl", "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM"),
    ("epoll_pwait", "EBADF EFAULT EINTR EINVAL"),
    ("exit_group", ""),
    ("fchmod", "EBADF EIO EPERM EROFS"),
    ("fcntl", "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK ENOTDIR EPERM"),
    ("flock", "EBADF EINTR EINVAL ENOLCK EWOULDBLOCK"),
    ("fstat", "EBADF EFAULT ENOMEM EOVERFLOW"),
    ("ftruncate", "EBADF EFBIG EINTR EINVAL EIO EPERM EROFS ETXTBSY"),
    ("getdents64", "EBADF EFAULT EINVAL ENOENT ENOTDIR"),
    ("geteuid", ""),
    ("getpid", ""),
    ("getppid", ""),
    ("getsid", "EPERM ESRCH"),
    ("getsockopt", "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK"),
    ("inotify_add_watch", path!("EBADF EEXIST EINVAL ENOSPC")),
    ("inotify_init1", "EINVAL EMFILE ENFILE ENOMEM"),
    ("kill", "EINVAL EPERM ESRCH"),
    ("listen", "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP"),
    ("lseek", "EBADF EINVAL ENXIO EOVERFLOW ESPIPE"),
    ("madvise", "EACCES EAGAIN EBADF EFAULT EINVAL EIO ENOMEM EPERM"),
    ("memfd_create", "EFAULT EINVAL EMFILE ENFILE ENOMEM EPERM"),
    ("mkdirat", path!("EBADF EDQUOT EEXIST EINVAL EMLINK ENOSPC EPERM EROFS")),
    ("mmap", "EACCES EAGAIN EBADF EEXIST EINVAL ENFILE ENODEV ENOMEM EOVERFLOW EPERM ETXTBSY"),
    ("mremap", "EAGAIN EFAULT EINVAL ENOMEM"),
    ("munmap", "EINVAL ENOMEM"),
    ("newfstatat", path!("EBADF EINVAL EOVERFLOW")),
    ("open", OPEN),
    ("openat", OPEN),
    ("pipe2", "EFAULT EINVAL EMFILE ENFILE ENOPKG"),
    ("poll", "EFAULT EINTR EINVAL ENOMEM"),
    ("prctl", "EACCES EBADF EBUSY EFAULT EINVAL ENODEV ENXIO EOPNOTSUPP EPERM ERANGE"),
    ("prlimit64", "EFAULT EINVAL EPERM ESRCH"),
    (
        "pwrite64",
        "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC ENXIO EOVERFLOW EPERM EPIPE ESPIPE",
    ),
    (
        "pwritev2",
        "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EOPNOTSUPP EPERM EPIPE",
    ),
    ("read", "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR"),
    ("readlinkat", path!("EBADF EINVAL EIO")),
    ("recvfrom", "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK"),
    ("recvmsg", "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK"),
    ("renameat", path!("EBADF EBUSY EDQUOT EEXIST EINVAL EISDIR EMLINK ENOSPC ENOTEMPTY EPERM EROFS EXDEV")),
    ("rt_sigaction", "EFAULT EINVAL"),
    ("rt_sigprocmask", "EFAULT EINVAL"),
    (
        "sendto",
        "EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINTR EINVAL EISCONN EMSGSIZE ENOBUFS ENOMEM \
         ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE",
    ),
    ("set_tid_address", ""),
    ("sigaltstack", "EFAULT EINVAL ENOMEM EPERM"),
    ("setsockopt", "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK"),
    ("signalfd4", "EBADF EINVAL EMFILE ENFILE ENODEV ENOMEM"),
    ("socket", "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT"),
    ("stat", path!("EOVERFLOW")),
    ("uname", "EFAULT"),
    ("unlink", UNLINK),
    ("unlinkat", UNLINK),
    ("waitid", "EAGAIN ECHILD EINTR EINVAL ESRCH"),
    ("write", "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE"),
];

const OPEN: &str = path!(
    "EAGAIN EBADF EBUSY EDQUOT EEXIST EFBIG EINTR EINVAL EISDIR EMFILE ENFILE ENODEV ENOSPC ENXIO EOPNOTSUPP EOVERFLOW \
     EPERM EROFS ETXTBSY"
);

const UNLINK: &str = path!("EBADF EBUSY EINVAL EIO EISDIR ENOTEMPTY EPERM EROFS");

/// What a child calls between the fork and its program.
pub struct ChildCall {
    /// Its row.
    pub call: Call,
    /// The one file of which it is made to fail, where other programs and the daemon make it too.
    pub path: Option<&'static str>,
    /// The step that is at fault then; `None`: it is done without.
    pub step: Option<&'static str>,
    /// Has the caller to be root?
    pub root_only: bool,
}

const fn child(name: &'static str, errnos: &'static str, step: Option<&'static str>) -> ChildCall {
    ChildCall { call: (name, errnos), path: None, step, root_only: false }
}

const fn privileged(name: &'static str, errnos: &'static str, step: &'static str) -> ChildCall {
    ChildCall { root_only: true, ..child(name, errnos, Some(step)) }
}

const fn of_file(path: &'static str, call: ChildCall) -> ChildCall {
    ChildCall { path: Some(path), ..call }
}

/// See [`ChildCall`].
pub const CHILD_CALLS: &[ChildCall] = &[
    child("setsid", "EPERM", Some("session")),
    child("close_range", "EINVAL EMFILE ENOMEM ENOSYS", None),
    child("dup3", "EBADF EBUSY EINTR EINVAL EMFILE", Some("stdin")),
    child("rt_sigprocmask", "EFAULT EINVAL", Some("mask")),
    // ENOEXEC has its meaning, and tests of its own: it is a script of the shell.
    child(
        "execve",
        path!("E2BIG EAGAIN EINVAL EIO EISDIR ELIBBAD EMFILE ENFILE EPERM ETXTBSY"),
        Some("exec"),
    ),
    // Where it cannot be opened a pipe at its end does as well.
    of_file("/dev/null", child("openat", OPEN, None)),
    of_file(
        "/dev/null",
        child(
            "fcntl",
            "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK ENOTDIR EPERM",
            Some("stdin"),
        ),
    ),
    of_file("/proc/self/oom_score_adj", child("openat", OPEN, Some("oom"))),
    child("chdir", path!("EBADF EIO"), Some("dir")),
    child("setpriority", "EACCES EINVAL EPERM ESRCH", Some("nice")),
    child("prlimit64", "EFAULT EINVAL EPERM ESRCH", Some("rlimit")),
    privileged("setgroups", "EFAULT EINVAL ENOMEM EPERM", "groups"),
    privileged("setresgid", "EAGAIN EINVAL EPERM", "gid"),
    privileged("setresuid", "EAGAIN EINVAL EPERM", "uid"),
];

/// The errnos of a row.
pub fn errnos(row: &Call) -> impl Iterator<Item = &'static str> {
    row.1.split_whitespace()
}

/// The ways in which an errno is told: the daemon's words, and those of the C library, which have the number.
pub fn words(errno: &str) -> [String; 3] {
    let number = number(errno);
    [errno.to_owned(), isinit::sys::errno_words(number).to_owned(), format!("os error {number}")]
}

/// The number of an errno: the standard library has no names, and strace and the daemon agree on them.
pub fn number(errno: &str) -> i32 {
    let errno = if errno == "EWOULDBLOCK" { "EAGAIN" } else { errno };
    let known = (1..200).find(|number| isinit::sys::errno_name(*number) == errno);
    known.unwrap_or_else(|| panic!("{errno} has no words: {}", Error::last_os_error()))
}
