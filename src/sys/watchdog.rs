//! The ioctls of a hardware watchdog (linux/watchdog.h).

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `_IOWR('W', 6, int)`, of which the directions' bits are the same on all architectures but MIPS, PowerPC, SPARC
/// and Alpha. There the ioctls fail, and the watchdog has the timeout that its driver has.
const WDIOC_SETTIMEOUT: Word = 0xC004_5706_u32 as Word;

/// `_IOR('W', 7, int)`.
const WDIOC_GETTIMEOUT: Word = 0x8004_5707_u32 as Word;

/// `_IOR('W', 4, int)`, and what it takes here.
const WDIOC_SETOPTIONS: Word = 0x8004_5704_u32 as Word;
const WDIOS_DISABLECARD: i32 = 1;

/// A watchdog that was opened, and runs from then on.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    /// Opens it, close-on-exec.
    ///
    /// # Errors
    /// ENOENT, ENXIO, EBUSY, EACCES.
    pub fn open(path: &CStr) -> Result<Device, Errno> {
        // A path that is a FIFO by mistake is refused (ENXIO), not waited for.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map(Device)
    }

    /// The device that an earlier life has opened, and that runs.
    pub fn adopt(fd: OwnedFd) -> Device {
        Device(fd)
    }

    /// What an exec of ourselves has to keep: a device that is closed may go on, but nobody tells it anything.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Asks for a timeout in seconds, and returns the one that was granted.
    ///
    /// # Errors
    /// EOPNOTSUPP, ENOTTY when it cannot be set; EINVAL when it is out of range.
    pub fn set_timeout(&self, seconds: u32) -> Result<u32, Errno> {
        self.ask(WDIOC_SETTIMEOUT, i32::try_from(seconds).unwrap_or(i32::MAX))
    }

    /// The timeout in seconds.
    ///
    /// # Errors
    /// EOPNOTSUPP, ENOTTY when it does not say.
    pub fn timeout(&self) -> Result<u32, Errno> {
        self.ask(WDIOC_GETTIMEOUT, 0)
    }

    /// Sets its clock back. A write does it on every device; the ioctl on most.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn keep_alive(&self) -> Result<(), Errno> {
        rustix::io::write(&self.0, b"k").map(|_| ())
    }

    /// Says the magic character, and closes it: it stops.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn disarm(self) -> Result<(), Errno> {
        // A child that hangs in the kernel has the device open too, and it is the last close that stops it: so
        // it is told to stop first, where its driver knows how.
        let _ = self.ask(WDIOC_SETOPTIONS, WDIOS_DISABLECARD);
        rustix::io::write(&self.0, b"V").map(|_| ())
    }

    fn ask(&self, request: Word, number: i32) -> Result<u32, Errno> {
        let mut number = number;
        let arguments = [Word::from(self.0.as_raw_fd()), request, (&raw mut number) as Word, 0, 0, 0];
        // SAFETY: both ioctls read and write one int, which is where the pointer goes to.
        unsafe { syscall(libc::SYS_ioctl, arguments) }?;
        u32::try_from(number).map_err(|_| Errno::INVAL)
    }
}
