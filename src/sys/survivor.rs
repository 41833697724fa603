//! Processes that are not our children, and that we supervise all the same: those that a daemon has left which was
//! killed. Their end is told by a pidfd (pidfd_open(2), Linux 5.3); how they ended the kernel tells their parent alone.

use super::clock;
use super::process::session_of;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel counts start times in hundredths of a second (USER_HZ, the same on every architecture but Alpha).
const TICK_MS: u64 = 10;

/// How much later than it is said a process may have started: the hundredth that it is rounded to, and as much for us.
pub const SLACK_MS: u64 = 2 * TICK_MS;

/// A process that is watched.
#[derive(Debug)]
pub struct Survivor {
    pid: u32,
    fd: OwnedFd,
}

impl Survivor {
    /// Finds the process that had this number at that time (milliseconds of [`clock::now_ms`]) and led a session; `None`
    /// when it has gone: then the number is nobody's, or that of one who started later.
    ///
    /// # Errors
    /// ENOSYS on an older kernel; EMFILE, ENFILE, ENOMEM: it is there, and cannot be watched.
    pub fn find(pid: u32, at_ms: u64) -> Result<Option<Survivor>, Errno> {
        let Some(number) = i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let fd = pidfd_open(number, PidfdFlags::NONBLOCK);
        // Asked after the descriptor is there: it is the same one, or nobody's.
        let is_old = started_ms(pid).is_some_and(|started| started <= at_ms.saturating_add(SLACK_MS));
        match fd {
            Err(Errno::SRCH) => Ok(None),
            // Also where it cannot be watched: who asks does something to it then.
            _ if !is_old || session_of(pid) != Some(pid) => Ok(None),
            Ok(fd) => Ok(Some(Survivor { pid, fd })),
            Err(errno) => Err(errno),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What to wait for: readable when it has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Has it not ended?
    pub fn lives(&self) -> bool {
        // Signal 0 is not to be had by rustix's type; SIGCONT does nothing to who is not stopped.
        pidfd_send_signal(&self.fd, Signal::CONT) != Err(Errno::SRCH)
    }
}

/// A process that has a variable in its environment. Anybody can have it there: who it is tells its user.
#[derive(Debug)]
pub struct Marked {
    /// Its process id.
    pub pid: u32,
    /// Its user: the real one, which a program that is set-user-ID leaves as it was.
    pub uid: u32,
    /// When it started, in milliseconds of [`clock::now_ms`].
    pub started_ms: u64,
    /// The value of another variable.
    pub value: Vec<u8>,
}

/// Finds the leaders of sessions that were born with this variable (`NAME=VALUE`) in their environment, and with another
/// one (`NAME=`), earliest first. Allocates.
pub fn find_marked(marker: &[u8], other: &[u8]) -> Vec<Marked> {
    let mut found = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = openat(CWD, c"/proc", flags, Mode::empty()).and_then(Dir::new);
    for entry in proc.into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        if session_of(pid) != Some(pid) {
            continue;
        }
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let variables = || environment.split(|byte| *byte == 0);
        let value = variables().find_map(|variable| variable.strip_prefix(other));
        if let (Some(value), Some(started_ms), Some(uid)) = (value, started_ms(pid), real_uid(pid)) {
            if variables().any(|variable| variable == marker) {
                found.push(Marked { pid, uid, started_ms, value: value.to_vec() });
            }
        }
    }
    found.sort_by_key(|marked| marked.started_ms);
    found
}

/// Whose process it is: the owner of its directory in /proc tells that only of one that lets itself be looked at.
fn real_uid(pid: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:\t"))?;
    let uid = line.split(|byte| *byte == b'\t').next()?;
    std::str::from_utf8(uid).ok()?.parse().ok()
}

/// When a process started, on the clock of [`clock::now_ms`] (proc_pid_stat(5), field 22). The kernel counts from its
/// boot with the time of suspension, we without it: so it may come out too early, never too late.
fn started_ms(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(end.saturating_add(2)..)?.split(|byte| *byte == b' ');
    let ticks: u64 = std::str::from_utf8(fields.nth(19)?).ok()?.parse().ok()?;
    let boot = clock_gettime(ClockId::Boottime);
    let boot_ms = u64::try_from(boot.tv_sec).ok()?.saturating_mul(1_000);
    let boot_ms = boot_ms.saturating_add(u64::try_from(boot.tv_nsec).ok()? / 1_000_000);
    let suspended_ms = boot_ms.saturating_sub(clock::now_ms());
    Some(ticks.saturating_mul(TICK_MS).saturating_sub(suspended_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::PollSet;
    use crate::sys::testing::in_child;

    #[test]
    fn it_is_the_one_that_was_there_then_and_its_end_is_seen() {
        let before = clock::now_ms();
        let status = in_child(|| {
            let (read, write) = crate::sys::pipe::pair().unwrap();
            let pid = crate::sys::testing::fork(|| {
                rustix::process::setsid().unwrap();
                let _ = rustix::io::write(&write, b"x");
                loop {
                    // SAFETY: waits for a signal.
                    std::thread::park();
                }
            });
            rustix::io::read(&read, &mut [0]).unwrap();
            let pid = pid.unsigned_abs();
            let now = clock::now_ms();
            assert!(
                Survivor::find(pid, before.saturating_sub(60_000)).unwrap().is_none(),
                "it was not there then"
            );
            assert!(Survivor::find(1, now).unwrap().is_none() && Survivor::find(0, now).unwrap().is_none());
            let found = Survivor::find(pid, now).unwrap().unwrap();
            assert!(found.lives() && found.pid() == pid);
            crate::sys::signals::send(pid as i32, crate::sys::signals::KILL).unwrap();
            let mut set = PollSet::new(1);
            let token = set.add(found.fd(), true, false).unwrap();
            set.wait(None).unwrap();
            assert!(set.readable(token));
            crate::sys::testing::wait_for(pid as i32);
            i32::from(found.lives())
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn who_leads_no_session_is_nobodys() {
        let status = in_child(|| {
            i32::from(Survivor::find(crate::sys::process::own_pid(), u64::MAX / 2).unwrap().is_some())
        });
        assert_eq!(status, 0);
    }
}
