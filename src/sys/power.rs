//! The machine's own switches: reboot(2), swapoff(2), the two keys, everybody's signal.

#![allow(unsafe_code)]

use super::attempt::Attempt;
use super::files::read_at;
use super::process::is_pid1;
use super::raw::{Word, syscall};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::system::RebootCommand;
use std::ffi::CStr;
use std::os::fd::AsRawFd;

/// KDSIGACCEPT of linux/kd.h (ioctl_console(2)): which signal process 1 gets for the key KeyboardSignal.
const KDSIGACCEPT: Word = 0x4B4E;

/// What reboot(2) can do with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// Start it anew.
    Restart,
    /// Stop it, with power on.
    Halt,
    /// Switch it off.
    PowerOff,
    /// Start the kernel that kexec_load(2) has brought into memory.
    Kexec,
}

/// Is this process 1 of the machine itself, and not of a container? Asked without /proc: it is tried to have
/// Ctrl-Alt-Del sent to us as SIGINT (reboot(2), CAD_OFF), which is what a machine's init wants anyway. In any
/// other PID namespace than the first the kernel refuses that.
///
/// ```
/// assert!(!isinit::sys::power::is_machine(), "a test is not process 1");
/// ```
pub fn is_machine() -> bool {
    is_pid1() && rustix::system::reboot(RebootCommand::CadOff).is_ok()
}

/// Does it (reboot(2)), in a child: where it does not work the kernel may end its caller, and the end of process 1
/// is a panic. Nothing is synced.
///
/// # Errors
/// EPERM for who is not process 1 of the machine: in a container it would end its processes, and outside of one
/// pull the plug on an init that is at work. EAGAIN, ENOMEM when there can be no child. What reboot(2) itself says is
/// the attempt's result: EPERM without CAP_SYS_BOOT, EINVAL for kexec without a kernel.
pub fn reboot(how: Reboot) -> Result<Attempt, Errno> {
    if !is_machine() {
        return Err(Errno::PERM);
    }
    Attempt::start(|| rustix::system::reboot(command(how)))
}

/// Does it at once, for `reboot -f` of root: nothing is stopped and nothing synced. In a container it ends that.
///
/// # Errors
/// EPERM without CAP_SYS_BOOT.
pub fn reboot_at_once(how: Reboot) -> Result<(), Errno> {
    rustix::system::reboot(command(how))
}

fn command(how: Reboot) -> RebootCommand {
    match how {
        Reboot::Restart => RebootCommand::Restart,
        Reboot::Halt => RebootCommand::Halt,
        Reboot::PowerOff => RebootCommand::PowerOff,
        Reboot::Kexec => RebootCommand::Kexec,
    }
}

/// Whether kexec_load(2) has brought a kernel into memory (/sys/kernel/kexec_loaded).
pub fn is_kexec_loaded() -> bool {
    read_at(CWD, c"/sys/kernel/kexec_loaded", &mut [0; 1]).is_ok_and(|answer| answer == b"1")
}

/// Has Ctrl-Alt-Del restart the machine at once, as a kernel starts with and [`is_machine`] has it no longer.
///
/// # Errors
/// EPERM, EINVAL in a container.
pub fn harden_ctrl_alt_del() -> Result<(), Errno> {
    rustix::system::reboot(RebootCommand::CadOn)
}

/// Has the key KeyboardSignal (Alt-ArrowUp by custom) send SIGWINCH to us, for `kbrequest`.
///
/// # Errors
/// ENOENT, ENXIO, ENODEV on a machine without virtual terminals, which is no fault; EPERM without CAP_KILL.
pub fn take_keyboard_signal() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let console = openat(CWD, c"/dev/tty0", flags, Mode::empty())?;
    let arguments = [Word::from(console.as_raw_fd()), KDSIGACCEPT, Word::from(libc::SIGWINCH), 0, 0, 0];
    // SAFETY: this ioctl takes a number, no pointer.
    unsafe { syscall(libc::SYS_ioctl, arguments) }.map(|_| ())
}

/// Stops swapping to a file or device (swapoff(2)). The kernel brings all that is there back into memory, which
/// takes its time: see [`super::attempt::Attempt`].
///
/// # Errors
/// ENOMEM when memory does not hold it; EINVAL when it is no swap; EPERM.
pub fn swapoff(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a terminated string that the kernel reads.
    unsafe { syscall(libc::SYS_swapoff, [path.as_ptr() as Word, 0, 0, 0, 0, 0]) }.map(|_| ())
}

/// Writes all file systems to their disks (sync(2)), as long as it takes.
pub fn sync() {
    rustix::fs::sync();
}

/// Sends a signal to every process but ourselves (kill(2) with -1).
///
/// # Errors
/// EPERM for who is not process 1, without asking the kernel: for anybody else this is a catastrophe. ESRCH when
/// there is nobody.
pub fn signal_everyone(signal: i32) -> Result<(), Errno> {
    if !is_pid1() {
        return Err(Errno::PERM);
    }
    // SAFETY: kill takes two integers.
    unsafe { syscall(libc::SYS_kill, [-1, Word::from(signal), 0, 0, 0, 0]) }.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_process_1_reboots_nothing_and_kills_nobody() {
        assert!(!is_machine());
        assert_eq!(reboot(Reboot::Restart).err(), Some(Errno::PERM));
        assert_eq!(signal_everyone(0), Err(Errno::PERM));
    }

    #[test]
    fn what_is_no_swap_is_an_error() {
        assert!(matches!(swapoff(c"/dev/null"), Err(Errno::INVAL | Errno::PERM)));
    }
}
