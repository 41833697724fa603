//! Signals as something to read, and sending them without hitting the wrong one.
//!
//! All signals are blocked and arrive through a signalfd(2): there are no handlers, so no code of ours ever runs
//! between two instructions of other code of ours. What must stay deliverable are the signals that a fault of
//! the program itself raises; the kernel would kill a process that blocks those, without a word.
//!
//! Masks are the kernel's own 64 bits, not the C library's `sigset_t`: glibc and musl leave out the two or three
//! signals that they keep for their threads, and a child would inherit them from whoever started us.

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use rustix::io::Errno;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Highest signal number of Linux on every architecture but MIPS.
const LAST: i32 = 64;

/// SIGTERM: please end.
pub const TERM: i32 = libc::SIGTERM;
/// SIGCONT: go on, if you were stopped.
pub const CONT: i32 = libc::SIGCONT;
/// SIGKILL: end.
pub const KILL: i32 = libc::SIGKILL;

/// Raised by the program's own faults: never blocked.
const SYNCHRONOUS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// A signal's code when the kernel has sent it (sigaction(2)).
const SI_KERNEL: i32 = 0x80;

/// Signals that one read takes at most.
const BATCH: usize = 16;

/// A signal that has arrived, with who sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// The signal's number.
    pub number: i32,
    /// Its sender's process id; 0 from the kernel, or from outside of our PID namespace.
    pub pid: u32,
    /// Its sender's real user id.
    pub uid: u32,
    /// The kernel has sent it, not a process: a key on the terminal, for one.
    pub by_kernel: bool,
}

/// A set of blocked signals (sigprocmask(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask(u64);

impl Mask {
    /// Nothing is blocked.
    pub const EMPTY: Mask = Mask(0);
}

/// The process's signals, taken over by [`Signals::take`] or [`Signals::hold`].
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Takes all signals over: every disposition back to the default (also those that were inherited as ignored,
    /// and Rust's ignored SIGPIPE), all but the synchronous ones blocked, and a signalfd that gets them, close-on-exec
    /// and non-blocking. Blocked is the calling thread, so call it before there are others.
    ///
    /// ```standalone_crate
    /// use isinit::sys::signals::{Arrived, Signals, TERM, send};
    /// let signals = Signals::take().unwrap();
    /// let own = std::process::id();
    /// send(own as i32, TERM).unwrap();
    /// let mut arrived = [Arrived::default(); 16];
    /// assert_eq!(signals.read(&mut arrived), Ok(1));
    /// assert_eq!((arrived[0].number, arrived[0].pid), (TERM, own));
    /// ```
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM of signalfd(2).
    pub fn take() -> Result<Signals, Errno> {
        let mask = SYNCHRONOUS.iter().fold(!0, |mask, &signal| mask & !bit(signal));
        set_mask(Mask(mask))?;
        for signal in 1..=LAST {
            // SIGKILL and SIGSTOP answer EINVAL: theirs cannot be anything but the default.
            let _ = set_default(signal);
        }
        Ok(Signals { fd: signalfd(mask)? })
    }

    /// Takes them over again after an exec of ourselves, which has kept what is blocked, what is pending, and all
    /// dispositions but those of handlers. Setting a disposition anew would lose a pending signal whose default is to
    /// do nothing, SIGCHLD among them; only that of SIGPIPE, which [`super::entry`] has changed, is set.
    ///
    /// # Errors
    /// As [`Signals::take`].
    pub fn retake() -> Result<Signals, Errno> {
        set_default(libc::SIGPIPE)?;
        let mask = SYNCHRONOUS.iter().fold(!0, |mask, &signal| mask & !bit(signal));
        set_mask(Mask(mask))?;
        Ok(Signals { fd: signalfd(mask)? })
    }

    /// Holds all signals back, those of faults too, and leaves what the caller's caller has ignored as it is: for who
    /// hands every one of them on to a command that is to find all as if nobody stood in between. Returns what was blocked
    /// before, which is the command's. Of SIGCHLD the disposition is the default, as children have to be seen; that of
    /// SIGPIPE is again what it was before [`super::entry`].
    ///
    /// # Errors
    /// As [`Signals::take`].
    pub fn hold() -> Result<(Signals, Mask), Errno> {
        let before = set_mask(Mask(!0))?;
        set_default(libc::SIGCHLD)?;
        super::entry::give_sigpipe_back();
        Ok((Signals { fd: signalfd(!0)? }, before))
    }

    /// What to wait for: readable when a signal has arrived.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes signals that have arrived and returns their number; 0 when there are none. Signals of one number that
    /// came faster than they were read are one: after SIGCHLD look for all that have ended.
    ///
    /// A descriptor that cannot be read is no reason to be deaf: the signals are taken without it then.
    ///
    /// # Errors
    /// What rt_sigtimedwait(2) says, but EAGAIN (0) and EINTR (tried again).
    pub fn read(&self, arrived: &mut [Arrived; BATCH]) -> Result<usize, Errno> {
        let mut buffer = [MaybeUninit::<libc::signalfd_siginfo>::zeroed(); BATCH];
        // SAFETY: MaybeUninit<T> may be written as bytes, all of which are initialised (zeroed).
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<u8>(), size_of_val(&buffer)) };
        let Ok(read) = super::pipe::read(&self.fd, bytes) else { return take_pending(arrived) };
        let read = read.unwrap_or(0);
        let count = read.checked_div(size_of::<libc::signalfd_siginfo>()).unwrap_or(0);
        for (to, from) in arrived.iter_mut().zip(&buffer).take(count) {
            // SAFETY: all bytes are initialised, and every field of it is an integer.
            let info = unsafe { from.assume_init_ref() };
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let by_kernel = info.ssi_code == SI_KERNEL;
            *to = Arrived { number, pid: info.ssi_pid, uid: info.ssi_uid, by_kernel };
        }
        Ok(count)
    }
}

/// Takes signals that are pending, without a descriptor and without waiting (rt_sigtimedwait(2)).
fn take_pending(arrived: &mut [Arrived; BATCH]) -> Result<usize, Errno> {
    let (mask, at_once) = (!0_u64, [0_i64; 2]);
    let mut count = 0_usize;
    while let Some(place) = arrived.get_mut(count) {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let pointers = [(&raw const mask) as Word, info.as_mut_ptr() as Word, at_once.as_ptr() as Word];
        let [mask, to, timeout] = pointers;
        // SAFETY: the kernel reads eight bytes of mask and a time of two words, which 16 zero bytes are on every
        // architecture, and writes one siginfo_t.
        match unsafe { syscall(libc::SYS_rt_sigtimedwait, [mask, to, timeout, 8, 0, 0]) } {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        }
        // SAFETY: zero is a value of it, and what the kernel has written is another.
        let info = unsafe { info.assume_init() };
        // SAFETY: whoever sent it, these are integers inside of the structure.
        let (pid, uid) = unsafe { (info.si_pid(), info.si_uid()) };
        let by_kernel = info.si_code == SI_KERNEL;
        *place = Arrived { number: info.si_signo, pid: u32::try_from(pid).unwrap_or(0), uid, by_kernel };
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Sends a signal to one process (kill(2)); signal 0 asks whether it is there. Numbers up to 64 are
/// allowed.
///
/// ```
/// use isinit::sys::{Errno, signals};
/// assert_eq!(signals::send(std::process::id() as i32, 0), Ok(()));
/// assert_eq!(signals::send(-1, 0), Err(Errno::PERM), "never everybody");
/// ```
///
/// # Errors
/// EPERM for a `pid` of 1 or less, without asking the kernel: those mean the machine's init, our own process group
/// and everybody. Else ESRCH, EPERM, EINVAL.
pub fn send(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 1 {
        return Err(Errno::PERM);
    }
    kill(pid, signal)
}

/// Sends a signal to every process of a process group (kill(2) with a negative number).
///
/// ```
/// use isinit::sys::{Errno, signals};
/// assert_eq!(signals::send_group(1, 0), Err(Errno::PERM), "that would be kill(-1)");
/// ```
///
/// # Errors
/// As [`send`]: EPERM for a `pgid` of 1 or less, ESRCH when the group is empty (a zombie still counts as a member).
pub fn send_group(pgid: i32, signal: i32) -> Result<(), Errno> {
    if pgid <= 1 {
        return Err(Errno::PERM);
    }
    kill(pgid.saturating_neg(), signal)
}

fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes two integers.
    unsafe { syscall(libc::SYS_kill, [Word::from(pid), Word::from(signal), 0, 0, 0, 0]) }.map(|_| ())
}

/// The bit of a signal in the kernel's mask. For what is no signal it is no bit.
const fn bit(signal: i32) -> u64 {
    if signal < 1 || signal > LAST { 0 } else { 1_u64.wrapping_shl(signal.wrapping_sub(1).unsigned_abs()) }
}

/// Sets the calling thread's mask, and returns the one before (rt_sigprocmask(2)). Async-signal-safe: a forked child
/// uses it too.
pub(super) fn set_mask(mask: Mask) -> Result<Mask, Errno> {
    change_mask(Some(&mask))
}

/// The calling thread's mask.
pub(super) fn mask() -> Result<Mask, Errno> {
    change_mask(None)
}

fn change_mask(new: Option<&Mask>) -> Result<Mask, Errno> {
    let (how, mut before) = (Word::from(libc::SIG_SETMASK), 0_u64);
    let new = new.map_or(0, |mask| (&raw const mask.0) as Word);
    let old = (&raw mut before) as Word;
    // SAFETY: the kernel reads eight bytes behind the one pointer, where it is not null, and writes eight behind the
    // other, which is what a u64 has.
    unsafe { syscall(libc::SYS_rt_sigprocmask, [how, new, old, 8, 0, 0]) }.map(|_| Mask(before))
}

/// Stops ourselves (SIGSTOP), until somebody sends SIGCONT. Not for process 1, which nobody in its namespace can stop.
pub fn stop_self() {
    if !super::process::is_pid1() {
        let _ = i32::try_from(super::process::own_pid()).map(|own| send(own, libc::SIGSTOP));
    }
}

/// Sets one disposition to the default (rt_sigaction(2)).
fn set_default(signal: i32) -> Result<(), Errno> {
    // The kernel's struct sigaction has at most four words and an eight byte mask. SIG_DFL is 0, and so
    // are no flags, no restorer and an empty mask: its layout, which differs between architectures, does not matter.
    let action = [0_u64; 5];
    // SAFETY: the kernel reads its struct sigaction out of 40 zero bytes, which are enough for it.
    unsafe { syscall(libc::SYS_rt_sigaction, [Word::from(signal), action.as_ptr() as Word, 0, 8, 0, 0]) }
        .map(|_| ())
}

fn signalfd(mask: u64) -> Result<OwnedFd, Errno> {
    let flags = Word::from(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
    // SAFETY: the kernel reads an eight byte mask; -1 asks for a new descriptor.
    let fd = unsafe { syscall(libc::SYS_signalfd4, [-1, (&raw const mask) as Word, 8, flags, 0, 0]) }?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::PollSet;
    use crate::sys::process::{own_pid, own_uid};
    use crate::sys::testing::in_child;

    fn status_field(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    }

    fn next(signals: &Signals) -> Vec<Arrived> {
        let mut set = PollSet::new(1);
        set.add(signals.fd(), true, false).unwrap();
        set.wait(None).unwrap();
        let mut arrived = [Arrived::default(); 16];
        let count = signals.read(&mut arrived).unwrap();
        arrived[..count].to_vec()
    }

    #[test]
    fn after_take_nothing_is_ignored_and_all_but_faults_is_blocked() {
        let status = in_child(|| {
            // SAFETY: ignoring a signal installs no code.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
            let _signals = Signals::take().unwrap();
            assert_eq!(status_field("SigIgn"), 0);
            assert_eq!(status_field("SigCgt"), 0, "std's handlers have gone too");
            let open = SYNCHRONOUS.iter().fold(bit(libc::SIGKILL) | bit(libc::SIGSTOP), |m, &s| m | bit(s));
            assert_eq!(status_field("SigBlk"), !open, "also the C library's own 32 to 34");
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn a_signal_arrives_with_its_sender() {
        let status = in_child(|| {
            let signals = Signals::take().unwrap();
            assert_eq!(signals.read(&mut [Arrived::default(); 16]), Ok(0), "none yet");
            let me = i32::try_from(own_pid()).unwrap();
            for number in [libc::SIGTERM, 33, 37, 64] {
                send(me, number).unwrap();
                assert_eq!(
                    next(&signals),
                    [Arrived { number, pid: own_pid(), uid: own_uid(), by_kernel: false }]
                );
            }
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn more_than_one_read_takes_stay_for_the_next() {
        let status = in_child(|| {
            let signals = Signals::take().unwrap();
            let me = i32::try_from(own_pid()).unwrap();
            (40..60).for_each(|number| send(me, number).unwrap());
            assert_eq!(next(&signals).len(), 16);
            assert_eq!(next(&signals).len(), 4);
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn nobody_is_signalled_who_was_not_meant() {
        for pid in [1, 0, -1, -2, i32::MIN] {
            assert_eq!(send(pid, 0), Err(Errno::PERM));
            assert_eq!(send_group(pid, 0), Err(Errno::PERM));
        }
        assert_eq!(send(i32::try_from(own_pid()).unwrap(), 65), Err(Errno::INVAL));
    }
}
