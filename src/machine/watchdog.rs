//! The hardware watchdog (Documentation/watchdog/watchdog-api.rst of the kernel): a clock that resets the machine
//! unless it is told in time that process 1 still turns its loop.
//!
//! It is told by the loop itself, not by a process or thread of its own: those would go on when the loop does
//! not.

use crate::limits::WATCHDOG_SECONDS;
use crate::sys::watchdog::Device;
use crate::sys::{Errno, clock};
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Keep-alives within one timeout: two may come too late before it bites.
const KEEP_ALIVES: u64 = 3;

/// A watchdog that is running.
#[derive(Debug)]
pub struct Watchdog {
    device: Device,
    timeout_s: u32,
    due_ms: u64,
}

impl Watchdog {
    /// Opens the device, which starts it, and asks for a timeout; 0 seconds is `WATCHDOG_SECONDS`. A device that
    /// cannot set its timeout keeps its own.
    ///
    /// ```no_run
    /// use isinit::machine::watchdog::Watchdog;
    /// let mut watchdog = Watchdog::open(c"/dev/watchdog", 10).unwrap();
    /// println!("a reset after {} s without us", watchdog.timeout_s());
    /// watchdog.close_orderly();
    /// ```
    ///
    /// # Errors
    /// ENOENT, ENXIO without such a device (is its module loaded?); EBUSY when another program keeps it; EACCES.
    pub fn open(path: &CStr, seconds: u32) -> Result<Watchdog, Errno> {
        let device = Device::open(path)?;
        let wish = if seconds == 0 { WATCHDOG_SECONDS } else { seconds };
        // What it grants may be another number than was asked for; what cannot set it may still tell it.
        let timeout_s = device.set_timeout(wish).or_else(|_| device.timeout()).unwrap_or(wish);
        let mut watchdog = Watchdog { device, timeout_s: timeout_s.max(1), due_ms: 0 };
        watchdog.keep_alive(clock::now_ms());
        Ok(watchdog)
    }

    /// The watchdog that an earlier life has opened; `seconds` is what that has asked for.
    pub fn adopt(fd: OwnedFd, seconds: u32) -> Watchdog {
        let device = Device::adopt(fd);
        let wish = if seconds == 0 { WATCHDOG_SECONDS } else { seconds };
        let timeout_s = device.timeout().unwrap_or(wish).max(1);
        let mut watchdog = Watchdog { device, timeout_s, due_ms: 0 };
        watchdog.keep_alive(clock::now_ms());
        watchdog
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.device.fd()
    }

    /// Seconds until it resets the machine, as the device has granted them.
    pub fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    /// When the next keep-alive is due, in milliseconds of [`clock::now_ms`].
    pub fn deadline(&self) -> u64 {
        self.due_ms
    }

    /// Tells the device that we are alive, if that is due.
    pub fn keep_alive(&mut self, now_ms: u64) {
        if now_ms < self.due_ms {
            return;
        }
        let period_ms = u64::from(self.timeout_s).saturating_mul(1_000) / KEEP_ALIVES;
        self.due_ms = now_ms.saturating_add(period_ms);
        // A device that refuses will reset the machine, and that is what it is there for.
        let _ = self.device.keep_alive();
    }

    /// Stops it: for an orderly power-off or halt, after which nobody would tell it anything. One that cannot be
    /// stopped (`nowayout`) resets the machine in its time.
    pub fn close_orderly(self) {
        let _ = self.device.disarm();
    }

    /// Leaves it running, with its whole timeout from now: over a reboot or into another init, which has to be up by
    /// then, or the machine is reset.
    pub fn leave_running(self) {
        let _ = self.device.keep_alive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // /dev/null takes writes and knows no ioctl of a watchdog: as a device with a fixed timeout.

    #[test]
    fn a_device_without_a_settable_timeout_is_kept_alive_all_the_same() {
        let mut watchdog = Watchdog::open(c"/dev/null", 9).unwrap();
        assert_eq!(watchdog.timeout_s(), 9);
        let first = watchdog.deadline();
        watchdog.keep_alive(first - 1);
        assert_eq!(watchdog.deadline(), first, "too early");
        watchdog.keep_alive(first + 500);
        assert_eq!(watchdog.deadline(), first + 3_500, "a third of the timeout from then");
        watchdog.close_orderly();
    }

    #[test]
    fn nobody_says_how_long() {
        assert_eq!(Watchdog::open(c"/dev/null", 0).unwrap().timeout_s(), WATCHDOG_SECONDS);
    }

    #[test]
    fn a_device_that_is_not_there_is_told() {
        assert_eq!(Watchdog::open(c"/dev/no-watchdog", 9).err(), Some(Errno::NOENT));
    }
}
