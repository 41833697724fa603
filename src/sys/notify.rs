//! The socket on which a process says `READY=1` (sd_notify(3)): an abstract datagram socket, for which no
//! directory has to be writable.
//!
//! Anybody on the machine can send to it. Who did is told by the kernel (SO_PASSCRED), with each datagram; the
//! caller believes only its children. It is there for processes of our network namespace.

#![allow(unsafe_code)]

use super::clock::now_ms;
use super::process::own_pid;
use super::raw::last_errno;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, socket_with,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Names that are tried until one is free. Another process can take a name before us, but not all of them.
const TRIES: u64 = 64;

/// Bytes of the control message with the sender's credentials, and not one more: descriptors that
/// somebody sends along (SCM_RIGHTS) find no room, and the kernel closes them.
// SAFETY: arithmetic on a length, no memory is looked at.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// A buffer for one control message, aligned as its header has to be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// A socket for readiness messages.
#[derive(Debug)]
pub struct Notify {
    fd: OwnedFd,
    name: String,
}

impl Notify {
    /// Opens one under a name that nobody has, close-on-exec and non-blocking.
    ///
    /// ```
    /// let notify = isinit::sys::notify::Notify::open().unwrap();
    /// assert!(notify.name().starts_with(b"@isinit/"));
    /// assert_eq!(notify.look(&mut [0; 64]), Ok(None));
    /// ```
    ///
    /// # Errors
    /// EMFILE, ENFILE; EADDRINUSE when somebody sits on all names.
    pub fn open() -> Result<Notify, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        set_socket_passcred(&fd, true)?;
        let (pid, start) = (own_pid(), now_ms());
        for number in start..start.saturating_add(TRIES) {
            let name = format!("@isinit/{pid}/{number}");
            let unprefixed = name.as_bytes().get(1..).unwrap_or_default();
            match bind(&fd, &SocketAddrUnix::new_abstract_name(unprefixed)?) {
                Err(Errno::ADDRINUSE) => {}
                bound => return bound.map(|()| Notify { fd, name }),
            }
        }
        Err(Errno::ADDRINUSE)
    }

    /// The socket that an earlier life has opened, under the name that its processes know.
    ///
    /// # Errors
    /// ENOTSOCK; EINVAL when it has no such name.
    pub fn adopt(fd: OwnedFd) -> Result<Notify, Errno> {
        let address = SocketAddrUnix::try_from(rustix::net::getsockname(&fd)?)?;
        let unprefixed = address
            .abstract_name()
            .filter(|name| !name.is_empty())
            .and_then(|name| std::str::from_utf8(name).ok());
        let name = format!("@{}", unprefixed.ok_or(Errno::INVAL)?);
        Ok(Notify { fd, name })
    }

    /// The value for `$NOTIFY_SOCKET`: `@` stands for the NUL byte of an abstract name.
    pub fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// What to wait for: readable when somebody has said something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next datagram: how many bytes of the buffer it takes (what does not fit is lost), and the process id
    /// of its sender, 0 for one outside of our PID namespace. `None` when there is none now. It stays the next one until it
    /// is [taken](Notify::take).
    ///
    /// # Errors
    /// What recvmsg(2) says, but EINTR and EAGAIN.
    pub fn look(&self, buffer: &mut [u8]) -> Result<Option<(usize, u32)>, Errno> {
        let mut control = Control([0; CONTROL_BYTES]);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: msghdr is integers and pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = CONTROL_BYTES as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_PEEK;
        loop {
            // SAFETY: the header describes `buffer` and `control`, which both outlive the call.
            let count = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut header, flags) };
            if let Ok(count) = usize::try_from(count) {
                return Ok(Some((count, sender(&header))));
            }
            match last_errno() {
                Errno::INTR => {}
                Errno::AGAIN => return Ok(None),
                errno => return Err(errno),
            }
        }
    }

    /// Takes the next datagram away.
    ///
    /// # Errors
    /// EAGAIN: there is none; and what else recv(2) says.
    pub fn take(&self) -> Result<(), Errno> {
        // What does not fit into nothing is lost, and that is all of it.
        loop {
            match recv(&self.fd, &mut [0; 0], RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                taken => return taken.map(|_| ()),
            }
        }
    }
}

/// The process id in the credentials that came with a datagram; 0 without.
fn sender(header: &libc::msghdr) -> u32 {
    // SAFETY: the header is one that recvmsg has filled in: its control buffer is there, aligned, and as long as
    // it says.
    let message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: CMSG_FIRSTHDR gives null, or a whole header inside of the buffer.
    let Some(about) = (unsafe { message.as_ref() }) else { return 0 };
    if (about.cmsg_level, about.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return 0;
    }
    // SAFETY: a message of this type carries a struct ucred, for which the buffer has room.
    let cred = unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::ucred>()) };
    u32::try_from(cred.pid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::PollSet;
    use crate::sys::testing::in_child;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg_addr, sendto};

    fn address(notify: &Notify) -> SocketAddrUnix {
        SocketAddrUnix::new_abstract_name(&notify.name()[1..]).unwrap()
    }

    #[test]
    fn the_next_life_has_the_same_name() {
        let notify = Notify::open().unwrap();
        let again = Notify::adopt(notify.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(again.name(), notify.name());
        assert!(Notify::adopt(client()).is_err(), "it was never bound");
        assert!(Notify::adopt(crate::sys::pipe::pair().unwrap().0).is_err());
    }

    fn client() -> OwnedFd {
        socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_message_comes_with_its_sender() {
        let notify = Notify::open().unwrap();
        let other = Notify::open().unwrap();
        assert_ne!(notify.name(), other.name(), "two in one millisecond");
        let mut buffer = [0; 7];
        assert_eq!(notify.look(&mut buffer), Ok(None));
        let (read, write) = crate::sys::pipe::pair().unwrap();
        let status = in_child(|| {
            sendto(client(), b"READY=1\nSTATUS=x", SendFlags::empty(), &address(&notify)).unwrap();
            rustix::io::write(&write, &own_pid().to_ne_bytes()).unwrap();
            0
        });
        assert_eq!(status, 0);
        let mut set = PollSet::new(1);
        set.add(notify.fd(), true, false).unwrap();
        set.wait(None).unwrap();
        let mut pid = [0; 4];
        rustix::io::read(&read, &mut pid).unwrap();
        assert_eq!(notify.look(&mut buffer), Ok(Some((7, u32::from_ne_bytes(pid)))), "cut to the buffer");
        assert_eq!(&buffer, b"READY=1");
        assert_eq!(notify.look(&mut buffer), Ok(Some((7, u32::from_ne_bytes(pid)))), "it is still there");
        assert_eq!((notify.take(), notify.take()), (Ok(()), Err(Errno::AGAIN)));
        assert_eq!(notify.look(&mut buffer), Ok(None));
    }

    #[test]
    fn descriptors_that_are_sent_along_are_not_kept() {
        let status = in_child(|| {
            let notify = Notify::open().unwrap();
            let (read, write) = crate::sys::pipe::pair().unwrap();
            let fds = [write.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            let message = [std::io::IoSlice::new(b"READY=1")];
            let to = address(&notify);
            sendmsg_addr(client(), &to, &message, &mut ancillary, SendFlags::empty()).unwrap();
            drop(write);
            assert_eq!(notify.look(&mut [0; 64]), Ok(Some((7, own_pid()))));
            notify.take().unwrap();
            // Were it kept, the pipe would have a writer left, and this would wait for ever.
            assert_eq!(crate::sys::testing::read_all(&read), b"");
            0
        });
        assert_eq!(status, 0);
    }
}
