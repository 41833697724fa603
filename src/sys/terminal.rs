//! What a descriptor that a person may look at can do.

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
};
use rustix::termios::{tcgetattr, tcsetattr};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

/// The keys of a terminal as everybody's fingers have them: Ctrl-C, Ctrl-\\, Delete, Ctrl-U, Ctrl-D, Ctrl-Q, Ctrl-S,
/// Ctrl-Z.
const KEYS: [(SpecialCodeIndex, u8); 8] = [
    (SpecialCodeIndex::VINTR, 3),
    (SpecialCodeIndex::VQUIT, 28),
    (SpecialCodeIndex::VERASE, 127),
    (SpecialCodeIndex::VKILL, 21),
    (SpecialCodeIndex::VEOF, 4),
    (SpecialCodeIndex::VSTART, 17),
    (SpecialCodeIndex::VSTOP, 19),
    (SpecialCodeIndex::VSUSP, 26),
];

/// Whether the descriptor is a terminal (isatty(3)).
///
/// ```
/// let null = std::fs::File::open("/dev/null").unwrap();
/// assert!(!isinit::sys::terminal::is_terminal(&null));
/// ```
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// The columns and lines of a terminal (ioctl_tty(2), TIOCGWINSZ); `None` for what is no terminal, and for one that does
/// not know its size, as a serial line does not.
///
/// ```
/// let null = std::fs::File::open("/dev/null").unwrap();
/// assert_eq!(isinit::sys::terminal::size(&null), None);
/// ```
pub fn size(fd: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Our controlling terminal (tty(4)), close-on-exec; `None` if we have none. Where /dev has no `tty`, it may still be one
/// of the standard descriptors.
pub fn controlling() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let by_name = openat(CWD, c"/dev/tty", flags, Mode::empty()).ok();
    let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    // The question for the foreground group is answered for one's own terminal alone.
    let ours = |fd: &BorrowedFd<'_>| foreground(fd).is_some();
    let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok();
    by_name.or_else(|| standard.into_iter().find(ours).and_then(copy))
}

/// The foreground process group of our controlling terminal (TIOCGPGRP); 0 when it is outside of our PID namespace,
/// `None` when the descriptor is not our controlling terminal.
pub fn foreground(terminal: impl AsFd) -> Option<u32> {
    let (mut group, fd) = (0_i32, Word::from(terminal.as_fd().as_raw_fd()));
    let place = (&raw mut group) as Word;
    // SAFETY: the kernel writes one pid_t behind the pointer.
    unsafe { syscall(libc::SYS_ioctl, [fd, libc::TIOCGPGRP as Word, place, 0, 0, 0]) }.ok()?;
    u32::try_from(group).ok()
}

/// Makes a process group of our session the foreground one (TIOCSPGRP). SIGTTOU has to be blocked where ours is not
/// in the foreground. Async-signal-safe: a forked child uses it too.
///
/// # Errors
/// ENOTTY: it is not our controlling terminal; EPERM, ESRCH: there is no such group in our session.
pub fn set_foreground(terminal: impl AsFd, group: u32) -> Result<(), Errno> {
    let (group, fd) = (group as i32, Word::from(terminal.as_fd().as_raw_fd()));
    let place = (&raw const group) as Word;
    // SAFETY: the kernel reads one pid_t behind the pointer.
    unsafe { syscall(libc::SYS_ioctl, [fd, libc::TIOCSPGRP as Word, place, 0, 0, 0]) }.map(|_| ())
}

/// Makes a device our descriptors 0, 1 and 2, which go on to children. The open does not wait for a carrier and makes
/// it nobody's controlling terminal; afterwards reads and writes of it wait, as programs expect.
///
/// # Errors
/// What open(2) and dup2(2) say.
pub fn become_standard(path: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let fd = openat(CWD, path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    fcntl_setfl(&fd, flags)?;
    rustix::stdio::dup2_stdin(&fd)?;
    rustix::stdio::dup2_stdout(&fd)?;
    rustix::stdio::dup2_stderr(&fd)?;
    if fd.as_raw_fd() <= 2 {
        let _ = fd.into_raw_fd();
    }
    Ok(())
}

/// Gives the terminal on descriptor 0 the settings that a person at it expects, whatever a boot loader or a program
/// that was killed has left: lines, echo, the usual keys, no waiting for a carrier. Speed and character size stay.
/// What is no terminal is left alone.
pub fn make_sane() {
    let fd = rustix::stdio::stdin();
    let Ok(mut settings) = tcgetattr(fd) else { return };
    settings.input_modes = InputModes::ICRNL | InputModes::IXON;
    settings.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
    settings.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::IEXTEN
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE;
    settings.control_modes |= ControlModes::CREAD | ControlModes::HUPCL | ControlModes::CLOCAL;
    settings.control_modes.remove(ControlModes::CRTSCTS);
    for (key, byte) in KEYS {
        settings.special_codes[key] = byte;
    }
    let _ = tcsetattr(fd, OptionalActions::Now, &settings);
}

/// The terminal on descriptor 0 while its keys are taken one by one, and not shown. Ctrl-C and Ctrl-Z are still signals. It
/// is given back as it was when this is dropped.
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Takes them; `None` where there is no terminal.
    pub fn take() -> Option<Keys> {
        let keys = Keys { before: tcgetattr(rustix::stdio::stdin()).ok()? };
        keys.take_again();
        Some(keys)
    }

    /// After they were given back.
    pub fn take_again(&self) {
        let mut settings = self.before.clone();
        settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        settings.special_codes[SpecialCodeIndex::VMIN] = 1;
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &settings);
    }

    /// For as long as we are stopped, or for good.
    pub fn give_back(&self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{in_child, terminal_pair};
    use rustix::termios::{Winsize, tcsetwinsize};

    #[test]
    fn a_terminal_knows_its_size_once_it_was_told() {
        let (master, name) = terminal_pair();
        assert!(is_terminal(&master));
        assert_eq!(size(&master), None, "a new one has no size");
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        assert_eq!(size(&master), Some((80, 24)));
        drop(name);
    }

    #[test]
    fn a_terminal_becomes_standard_and_sane_and_nobody_s_controlling_terminal() {
        let (_master, name) = terminal_pair();
        let status = in_child(|| {
            rustix::process::setsid().unwrap();
            become_standard(&name).unwrap();
            let stdin = rustix::stdio::stdin();
            let mut settings = tcgetattr(stdin).unwrap();
            settings.make_raw();
            tcsetattr(stdin, OptionalActions::Now, &settings).unwrap();
            make_sane();
            let settings = tcgetattr(stdin).unwrap();
            let sane = settings.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
                && settings.special_codes[SpecialCodeIndex::VINTR] == 3;
            let waits = !rustix::fs::fcntl_getfl(rustix::stdio::stderr()).unwrap().contains(OFlags::NONBLOCK);
            let nobodys = openat(CWD, c"/dev/tty", OFlags::RDWR, Mode::empty()).err() == Some(Errno::NXIO);
            i32::from(!(sane && waits && nobodys && is_terminal(rustix::stdio::stdout())))
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn what_cannot_be_opened_leaves_the_three_as_they_are() {
        assert_eq!(become_standard(c"/dev/no-console"), Err(Errno::NOENT));
    }
}
