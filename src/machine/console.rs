//! The console: descriptors 0, 1 and 2 of process 1, and what its children get until they open a terminal of
//! their own.
//!
//! /dev/console is whatever the kernel's last `console=` names. Opening it without O_NOCTTY would make it the
//! controlling terminal of process 1, and Ctrl-C on it a signal to go down; without O_NONBLOCK it would wait for the
//! carrier of a serial line that nobody has plugged in.

use crate::sys::Errno;
use crate::sys::mount::make_device;
use crate::sys::terminal;

/// Makes /dev/console our descriptors 0, 1 and 2, with sane terminal settings. Where it cannot be opened they become
/// /dev/null, which is made if it has to be and can be; else they stay what they were. Never waits.
///
/// # Errors
/// Why the console could not be opened: ENOENT without a /dev, ENXIO, ENODEV or EIO without any console driver.
pub fn open() -> Result<(), Errno> {
    let opened = terminal::become_standard(c"/dev/console");
    match opened {
        Ok(()) => terminal::make_sane(),
        Err(_) => {
            // An open that fails leaves what is there, and the program's first instructions have left something.
            let _ = make_device(c"/dev/null", 0o666, 1, 3);
            let _ = terminal::become_standard(c"/dev/null");
        }
    }
    opened
}
