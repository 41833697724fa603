//! The daemon's UNIX stream socket (unix(7)).
//!
//! Two daemons must not have one path, and a daemon that was killed must not keep the next one out. What tells a
//! live socket from a dead one is whether somebody answers: connect(2) is refused when nobody listens. Looking
//! and replacing are two steps, and between bind and listen a live daemon looks dead; so whoever does either
//! holds a lock (flock(2)) on the directory meanwhile.
//!
//! The file has mode 0600 from its first moment: Linux gives it the mode of the socket, which is set before bind,
//! less the umask, which is not touched.
//!
//! There is no bind(2) relative to a directory's descriptor. So the path is looked at first ([`place`]): where nobody else
//! can change what it means, what is done by it afterwards is done where it was looked at.

#![allow(unsafe_code)]

use super::clock::now_ms;
use super::place::{self, NAME_MAX_BYTES, make_directory_of};
use super::poll::PollSet;
use super::raw::last_errno;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, chmodat, fchmod, flock, lstat, openat, statat,
    unlink,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, send, socket_with,
};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::limits::SOCKET_PATH_MAX_BYTES;

/// Connections that the kernel keeps for us until they are accepted; the thousandth client at one time waits in
/// its connect.
const BACKLOG: i32 = 128;

/// Milliseconds that another daemon's lock on the directory is waited for: it holds it for a few system calls.
const LOCK_MS: u64 = 1_000;

/// Why there is no socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A daemon answers at this path.
    InUse,
    /// There is something else at this path.
    NotASocket,
    /// The path has more than [`SOCKET_PATH_MAX_BYTES`] bytes.
    TooLong,
    /// Its directory cannot be made or is not safe, a dead socket in its place is another user's, or a call has failed.
    Place(place::Error),
}

impl From<place::Error> for Error {
    fn from(error: place::Error) -> Error {
        Error::Place(error)
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::Place(errno.into())
    }
}

/// Who is at the other end of a connection (SO_PEERCRED): as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Process id; 0 when it is outside of our PID namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// A socket that listens at a path.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file that is ours.
    file: [u64; 2],
}

/// Makes a socket at `path`, mode 0600, and listens. Missing directories above it are made with mode 0755; the
/// file of a dead socket is replaced.
///
/// ```
/// use isinit::sys::socket;
/// let path = std::env::temp_dir().join(format!("isinit-doc-{}.s", std::process::id()));
/// let listener = socket::listen(&path).unwrap();
/// assert_eq!(socket::listen(&path).unwrap_err(), socket::Error::InUse);
/// let client = socket::connect(&path).unwrap();
/// let (_server, peer) = listener.accept().unwrap().unwrap();
/// assert_eq!(peer.pid, std::process::id());
/// listener.close();
/// assert!(!path.exists());
/// ```
///
/// # Errors
/// [`Error`].
pub fn listen(path: &Path) -> Result<Listener, Error> {
    if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
        return Err(Error::TooLong);
    }
    let address = address(path)?;
    let mut name = [0; NAME_MAX_BYTES];
    let (directory, name) = make_directory_of(path, &mut name)?;
    let _lock = lock(&directory);
    let fd = stream()?;
    let mode = Mode::RUSR | Mode::WUSR;
    fchmod(&fd, mode)?;
    if let Err(errno) = bind(&fd, &address) {
        make_way(path, &directory, name, errno)?;
        bind(&fd, &address)?;
    }
    rustix::net::listen(&fd, BACKLOG)?;
    let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if Mode::from_raw_mode(stat.st_mode) != mode {
        // A umask that takes from the owner too. More than 0600 it never had.
        chmodat(&directory, name, mode, AtFlags::empty())?;
    }
    Ok(Listener { fd, path: path.to_owned(), file: file_of(&stat) })
}

/// Connects to the socket at a path, without waiting. The connection is close-on-exec and non-blocking.
///
/// # Errors
/// ENAMETOOLONG; ECONNREFUSED when nobody listens; EAGAIN when its queue is full; ENOENT, EACCES, and
/// what else connect(2) says.
pub fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let fd = stream()?;
    rustix::net::connect(&fd, &address(path)?)?;
    Ok(fd)
}

/// Reads what has come (recv(2)): `Some(0)` at the end, `None` when there is nothing now.
///
/// # Errors
/// ECONNRESET and what else read(2) says, but EINTR and EAGAIN.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    super::pipe::read(fd, buffer)
}

/// Writes what is taken now (send(2) with MSG_DONTWAIT and MSG_NOSIGNAL), and says how much; `None` when the
/// client has to read first.
///
/// # Errors
/// EPIPE, ECONNRESET and what else send(2) says, but EINTR and EAGAIN.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<Option<usize>, Errno> {
    loop {
        match send(&fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

impl Listener {
    /// The socket that an earlier life has made at this path, with the device and inode that [`Listener::file`] told it.
    pub fn adopt(fd: OwnedFd, path: &Path, file: [u64; 2]) -> Listener {
        Listener { fd, path: path.to_owned(), file }
    }

    /// Device and inode of its file.
    pub fn file(&self) -> [u64; 2] {
        self.file
    }

    /// What to wait for: readable when somebody has connected.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next connection, close-on-exec and non-blocking, with who it is from; `None` when there is none
    /// now, or when who connected has gone again: the descriptor is readable as long as others wait.
    ///
    /// # Errors
    /// EMFILE, ENFILE and ENOMEM: the connection stays in the queue, and the descriptor readable. What else accept4(2)
    /// says.
    pub fn accept(&self) -> Result<Option<(OwnedFd, PeerCred)>, Errno> {
        loop {
            match accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    let peer = peer(fd.as_fd())?;
                    return Ok(Some((fd, peer)));
                }
                Err(Errno::AGAIN | Errno::CONNABORTED) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether the file at the path is still the one that was made: not when somebody has removed or replaced
    /// it, or has mounted something over its directory. When that cannot be seen (no memory, no permission) it is
    /// believed to be: who would make another one finds that we answer at this one.
    pub fn still_there(&self) -> bool {
        match lstat(self.path.as_path()) {
            Ok(stat) => file_of(&stat) == self.file,
            Err(errno) => !matches!(errno, Errno::NOENT | Errno::NOTDIR),
        }
    }

    /// Stops listening, and removes the file if it is still ours.
    pub fn close(self) {
        if self.still_there() {
            let _ = unlink(self.path.as_path());
        }
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, Errno> {
    if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT);
    }
    SocketAddrUnix::new(path)
}

fn stream() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The types of these fields differ between architectures.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn file_of(stat: &Stat) -> [u64; 2] {
    [stat.st_dev as u64, stat.st_ino as u64]
}

/// The lock on a directory, as long as what is returned lives. Where there cannot be one (no permission to read
/// it, a file system without locks), or where somebody keeps it, it is done without: whoever may read a directory can
/// lock it.
fn lock(directory: &OwnedFd) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(directory, c".", flags, Mode::empty()).ok()?;
    let until = now_ms().saturating_add(LOCK_MS);
    while flock(&fd, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) && now_ms() < until {
        // No event tells that a lock is free.
        let _ = PollSet::new(0).wait(Some(now_ms().saturating_add(1)));
    }
    Some(fd)
}

/// Removes a dead socket at `path`, where a bind has failed with `errno`.
fn make_way(path: &Path, directory: &OwnedFd, name: &CStr, errno: Errno) -> Result<(), Error> {
    if errno != Errno::ADDRINUSE {
        return Err(errno.into());
    }
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(Error::NotASocket);
    }
    match connect(path) {
        Err(Errno::CONNREFUSED) => Ok(place::remove(directory, name)?),
        // Connected; a full queue; a socket of another type: somebody is there.
        Ok(_) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(Error::InUse),
        Err(errno) => Err(errno.into()),
    }
}

/// Who is at the other end (SO_PEERCRED). By libc: rustix makes a process id that is never 0 of it, and it can be 0.
///
/// # Errors
/// What getsockopt(2) says.
pub fn peer(fd: BorrowedFd<'_>) -> Result<PeerCred, Errno> {
    let mut cred = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = libc::socklen_t::try_from(size_of_val(&cred)).map_err(|_| Errno::INVAL)?;
    // SAFETY: a struct ucred and its length, into which the kernel writes no more than that.
    let result = unsafe {
        let place = (&raw mut cred).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut length)
    };
    if result != 0 {
        return Err(last_errno());
    }
    Ok(PeerCred { pid: u32::try_from(cred.pid).unwrap_or(0), uid: cred.uid, gid: cred.gid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::PollSet;
    use crate::sys::process::{own_gid, own_pid, own_uid};
    use crate::sys::testing::{Scratch, in_child};
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn directory(scratch: &Scratch) -> OwnedFd {
        make_directory_of(&scratch.0.join("init.s"), &mut [0; NAME_MAX_BYTES]).unwrap().0
    }

    #[test]
    fn its_mode_is_0600_and_its_directories_are_0755_whatever_the_umask() {
        for umask in [0, 0o022, 0o777] {
            let scratch = Scratch::new("socket");
            let path = scratch.0.join("run/is/init.s");
            let status = in_child(|| {
                rustix::process::umask(Mode::from_raw_mode(umask));
                let _listener = listen(&path).unwrap();
                0
            });
            assert_eq!(status, 0, "umask {umask:o}");
            assert_eq!(mode(&path), 0o600, "umask {umask:o}");
            assert_eq!(mode(path.parent().unwrap()), 0o755);
            assert_eq!(mode(&scratch.0.join("run")), 0o755);
            // The child has ended, its socket is dead, and replaced.
            let listener = listen(&path).unwrap();
            assert!(listener.still_there());
        }
    }

    #[test]
    fn a_live_socket_stays_and_what_is_no_socket_too() {
        let scratch = Scratch::new("socket");
        let path = scratch.0.join("init.s");
        // In a process of its own: what other tests fork has all that is open here, and a socket lives as long as that.
        let status = in_child(|| {
            let listener = listen(&path).unwrap();
            assert_eq!(listen(&path).unwrap_err(), Error::InUse);
            assert!(listener.still_there());
            drop(listener);
            assert!(path.exists(), "drop alone leaves the file");
            listen(&path).unwrap().close();
            assert!(!path.exists());
            std::fs::write(&path, "a letter").unwrap();
            assert_eq!(listen(&path).unwrap_err(), Error::NotASocket);
            assert_eq!(std::fs::read(&path).unwrap(), b"a letter");
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn a_daemon_that_is_about_to_listen_is_waited_for() {
        let scratch = Scratch::new("socket");
        let path = scratch.0.join("init.s");
        let held = lock(&directory(&scratch));
        assert!(held.is_some());
        let second = std::thread::spawn({
            let path = path.clone();
            move || listen(&path).unwrap_err()
        });
        let fd = stream().unwrap();
        bind(&fd, &address(&path).unwrap()).unwrap();
        rustix::net::listen(&fd, 1).unwrap();
        drop(held);
        assert_eq!(second.join().unwrap(), Error::InUse);
    }

    #[test]
    fn who_keeps_the_directory_locked_keeps_nobody_out() {
        let scratch = Scratch::new("socket");
        let _held = lock(&directory(&scratch));
        assert!(listen(&scratch.0.join("init.s")).is_ok());
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_missed() {
        let scratch = Scratch::new("socket");
        let path = scratch.0.join("init.s");
        let first = listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!first.still_there());
        let second = listen(&path).unwrap();
        assert!(!first.still_there() && second.still_there());
        first.close();
        assert!(second.still_there(), "the first removed nothing that is not its own");
    }

    #[test]
    fn a_path_has_its_bounds() {
        let scratch = Scratch::new("socket");
        let room = SOCKET_PATH_MAX_BYTES - scratch.0.as_os_str().len() - 1;
        assert_eq!(listen(&scratch.0.join("x".repeat(room + 1))).unwrap_err(), Error::TooLong);
        assert!(listen(&scratch.0.join("x".repeat(room))).is_ok());
        std::fs::write(scratch.0.join("file"), "").unwrap();
        let under_file = listen(&scratch.0.join("file/a/init.s")).unwrap_err();
        assert_eq!(under_file, Errno::NOTDIR.into());
        assert_eq!(connect(Path::new("/nowhere/init.s")).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn a_line_goes_both_ways_and_nobody_waits() {
        let scratch = Scratch::new("socket");
        let path = scratch.0.join("init.s");
        let listener = listen(&path).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let client = connect(&path).unwrap();
        let mut set = PollSet::new(1);
        let token = set.add(listener.fd(), true, false).unwrap();
        set.wait(None).unwrap();
        assert!(set.readable(token));
        let (server, peer) = listener.accept().unwrap().unwrap();
        assert_eq!(peer, PeerCred { pid: own_pid(), uid: own_uid(), gid: own_gid() });
        let mut buffer = [0; 16];
        assert_eq!(read(&server, &mut buffer), Ok(None));
        assert_eq!(write(&client, b"foo run\n"), Ok(Some(8)));
        assert_eq!(read(&server, &mut buffer), Ok(Some(8)));
        let mut sent = 0;
        while let Some(count) = write(&server, &[0; 4096]).unwrap() {
            sent += count;
        }
        assert!(sent > 4096, "until the client has to read");
        drop(client);
        // A child that another test has just forked may have it for a moment longer.
        set.clear();
        set.add(server.as_fd(), false, false).unwrap();
        set.wait(None).unwrap();
        assert_eq!(write(&server, b"x"), Err(Errno::PIPE), "and no SIGPIPE");
    }

    #[test]
    fn a_full_queue_is_a_live_socket() {
        let scratch = Scratch::new("socket");
        let path = scratch.0.join("init.s");
        let _listener = listen(&path).unwrap();
        let mut clients = Vec::new();
        let refused = loop {
            match connect(&path) {
                Ok(client) => clients.push(client),
                Err(errno) => break errno,
            }
        };
        assert_eq!(refused, Errno::AGAIN);
        assert_eq!(listen(&path).unwrap_err(), Error::InUse);
    }
}
