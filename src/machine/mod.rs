//! Process 1 of a real machine: what it does before the supervisor's loop and after it.
//!
//! The supervisor calls, in this order:
//!
//! 1. [`sys::power::is_machine`](crate::sys::power::is_machine): are we that process at all? A container's process
//!    1 has its mounts, its console and its end from its runtime, and nothing of this room is for it.
//! 2. [`begin`]: mounts ([`mounts`]), then the console ([`console`]), which may have come with them; then
//!    what was done is said. [`arguments`] tells what the kernel's command line asks for, [`watchdog`] what the table
//!    does.
//! 3. The loop, until somebody wants the machine down. It stops the groups and runs the `shutdown` entries.
//! 4. [`down::go_down`], or [`switch_root::switch`] into another root and another init.
//!
//! Nothing of this gives up: a mount that is refused, a console that is not there, a disk that does not answer are
//! said and left, because a machine that is half up can be repaired, and one whose init has ended cannot. The
//! only way out is reboot(2).

pub mod arguments;
pub mod console;
pub mod down;
pub mod initctl;
pub mod last_resort;
pub mod mounts;
pub mod switch_root;
pub mod utmp;
pub mod watchdog;

mod words;

use crate::sys::{power, process};

/// Makes the machine fit for its first process: file systems (where `mount` says so; `mounts=none` does not), the
/// console as descriptors 0 to 2, a session of our own, umask 022, "/" as working directory, and KeyboardSignal as
/// SIGWINCH ([`power::is_machine`] has made Ctrl-Alt-Del a SIGINT already). Says what it could not do, and goes on
/// whatever fails.
///
/// Call it as the first thing of all, once [`power::is_machine`] has said yes.
pub fn begin(mount: bool) {
    process::be_leader();
    let mounted = if mount { mounts::mount_missing() } else { Vec::new() };
    let console = console::open();
    mounted.iter().for_each(mounts::Outcome::say);
    if let Err(errno) = console {
        words::say_errno(b"cannot open the console /dev/console", errno);
    }
    // A machine without virtual terminals has no such key.
    let _ = power::take_keyboard_signal();
}
