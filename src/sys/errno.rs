//! Names and words of the errnos that an init meets.
//!
//! strerror(3) would do, but it may allocate and read message catalogues, and the loop does neither. The words
//! are glibc's, so that what a person pastes into a search engine finds something.

/// Sorted by nothing but habit: errno-base.h's numbers first, then what asm-generic/errno.h adds. The numbers
/// are libc's, for they differ between architectures.
const ERRNOS: &[(i32, &str, &str)] = &[
    (libc::EPERM, "EPERM", "Operation not permitted"),
    (libc::ENOENT, "ENOENT", "No such file or directory"),
    (libc::ESRCH, "ESRCH", "No such process"),
    (libc::EINTR, "EINTR", "Interrupted system call"),
    (libc::EIO, "EIO", "Input/output error"),
    (libc::ENXIO, "ENXIO", "No such device or address"),
    (libc::E2BIG, "E2BIG", "Argument list too long"),
    (libc::ENOEXEC, "ENOEXEC", "Exec format error"),
    (libc::EBADF, "EBADF", "Bad file descriptor"),
    (libc::ECHILD, "ECHILD", "No child processes"),
    (libc::EAGAIN, "EAGAIN", "Resource temporarily unavailable"),
    (libc::ENOMEM, "ENOMEM", "Cannot allocate memory"),
    (libc::EACCES, "EACCES", "Permission denied"),
    (libc::EFAULT, "EFAULT", "Bad address"),
    (libc::EBUSY, "EBUSY", "Device or resource busy"),
    (libc::EEXIST, "EEXIST", "File exists"),
    (libc::EXDEV, "EXDEV", "Invalid cross-device link"),
    (libc::ENODEV, "ENODEV", "No such device"),
    (libc::ENOTDIR, "ENOTDIR", "Not a directory"),
    (libc::EISDIR, "EISDIR", "Is a directory"),
    (libc::EINVAL, "EINVAL", "Invalid argument"),
    (libc::ENFILE, "ENFILE", "Too many open files in system"),
    (libc::EMFILE, "EMFILE", "Too many open files"),
    (libc::ENOTTY, "ENOTTY", "Inappropriate ioctl for device"),
    (libc::ETXTBSY, "ETXTBSY", "Text file busy"),
    (libc::EFBIG, "EFBIG", "File too large"),
    (libc::ENOSPC, "ENOSPC", "No space left on device"),
    (libc::ESPIPE, "ESPIPE", "Illegal seek"),
    (libc::EROFS, "EROFS", "Read-only file system"),
    (libc::EMLINK, "EMLINK", "Too many links"),
    (libc::EPIPE, "EPIPE", "Broken pipe"),
    (libc::ERANGE, "ERANGE", "Numerical result out of range"),
    (libc::EDEADLK, "EDEADLK", "Resource deadlock avoided"),
    (libc::ENAMETOOLONG, "ENAMETOOLONG", "File name too long"),
    (libc::ENOLCK, "ENOLCK", "No locks available"),
    (libc::ENOSYS, "ENOSYS", "Function not implemented"),
    (libc::ENOTEMPTY, "ENOTEMPTY", "Directory not empty"),
    (libc::ELOOP, "ELOOP", "Too many levels of symbolic links"),
    (libc::EPROTO, "EPROTO", "Protocol error"),
    (libc::EOVERFLOW, "EOVERFLOW", "Value too large for defined data type"),
    (libc::ELIBBAD, "ELIBBAD", "Accessing a corrupted shared library"),
    (libc::EUSERS, "EUSERS", "Too many users"),
    (libc::ENOPKG, "ENOPKG", "Package not installed"),
    (libc::ENOTSOCK, "ENOTSOCK", "Socket operation on non-socket"),
    (libc::EDESTADDRREQ, "EDESTADDRREQ", "Destination address required"),
    (libc::EMSGSIZE, "EMSGSIZE", "Message too long"),
    (libc::EPROTOTYPE, "EPROTOTYPE", "Protocol wrong type for socket"),
    (libc::ENOPROTOOPT, "ENOPROTOOPT", "Protocol not available"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT", "Protocol not supported"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP", "Operation not supported"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT", "Address family not supported by protocol"),
    (libc::EADDRINUSE, "EADDRINUSE", "Address already in use"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL", "Cannot assign requested address"),
    (libc::ENETUNREACH, "ENETUNREACH", "Network is unreachable"),
    (libc::ECONNABORTED, "ECONNABORTED", "Software caused connection abort"),
    (libc::ENOBUFS, "ENOBUFS", "No buffer space available"),
    (libc::ECONNRESET, "ECONNRESET", "Connection reset by peer"),
    (libc::EISCONN, "EISCONN", "Transport endpoint is already connected"),
    (libc::ENOTCONN, "ENOTCONN", "Transport endpoint is not connected"),
    (libc::ETIMEDOUT, "ETIMEDOUT", "Connection timed out"),
    (libc::ECONNREFUSED, "ECONNREFUSED", "Connection refused"),
    (libc::EALREADY, "EALREADY", "Operation already in progress"),
    (libc::EINPROGRESS, "EINPROGRESS", "Operation now in progress"),
    (libc::ESTALE, "ESTALE", "Stale file handle"),
    (libc::EDQUOT, "EDQUOT", "Disk quota exceeded"),
];

/// The words for an errno as strerror(3) has them; `"error"` for one that is not known, so that
/// the number beside it still makes a sentence. Allocates nothing.
///
/// ```
/// assert_eq!(isinit::sys::errno_words(2), "No such file or directory");
/// assert_eq!(isinit::sys::errno_words(4095), "error");
/// ```
pub fn errno_words(errno: i32) -> &'static str {
    ERRNOS.iter().find(|known| known.0 == errno).map_or("error", |known| known.2)
}

/// The name of an errno as errno(3) has it, or `"errno"`. Allocates nothing.
///
/// ```
/// assert_eq!(isinit::sys::errno_name(2), "ENOENT");
/// assert_eq!(isinit::sys::errno_name(4095), "errno");
/// ```
pub fn errno_name(errno: i32) -> &'static str {
    ERRNOS.iter().find(|known| known.0 == errno).map_or("errno", |known| known.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_c_library() {
        for &(errno, name, words) in ERRNOS {
            assert_eq!(errno_name(errno), name);
            // musl has words of its own for half of them; the standard library asks the C library.
            if cfg!(target_env = "gnu") {
                let theirs = std::io::Error::from_raw_os_error(errno).to_string();
                assert!(theirs.starts_with(words), "{name}: {words} but {theirs}");
            }
        }
    }

    #[test]
    fn no_errno_is_there_twice() {
        for (index, known) in ERRNOS.iter().enumerate() {
            assert!(ERRNOS[index + 1..].iter().all(|other| other.0 != known.0), "{} twice", known.1);
        }
    }
}
