//! What a descriptor that a person may look at can do.

use std::os::fd::AsFd;

/// Whether the descriptor is a terminal (isatty(3)).
///
/// ```
/// let null = std::fs::File::open("/dev/null").unwrap();
/// assert!(!isinit::sys::terminal::is_terminal(&null));
/// ```
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// The columns of a terminal (ioctl_tty(2), TIOCGWINSZ); `None` for what is no terminal, and for one that does
/// not know its width, as a serial line does not.
///
/// ```
/// let null = std::fs::File::open("/dev/null").unwrap();
/// assert_eq!(isinit::sys::terminal::width(&null), None);
/// ```
pub fn width(fd: impl AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::terminal_pair;
    use rustix::termios::{Winsize, tcsetwinsize};

    #[test]
    fn a_terminal_knows_its_width_once_it_was_told() {
        let (master, name) = terminal_pair();
        assert!(is_terminal(&master));
        assert_eq!(width(&master), None, "a new one has no size");
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        assert_eq!(width(&master), Some(80));
        drop(name);
    }
}
