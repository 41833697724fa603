//! When nothing else is left: process 1 may not end, so it says why there is no init, offers a shell, and collects
//! what ends. There is no table, no socket and no loop here: whatever has brought us here may have been one of them.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::words::say;
use crate::limits::LAST_RESORT_PAUSE_MS;
use crate::sys::clock::now_ms;
use crate::sys::process::USUAL_PATH;
use crate::sys::spawn::{Spawn, Words, spawn};
use crate::sys::{files, output, poll, power, reap};

/// A shell for who has to mend the machine.
#[derive(Clone, Copy, Debug)]
pub struct Shell {
    /// Where it is.
    pub path: &'static CStr,
    /// It is to be a login shell.
    pub login: bool,
}

/// The first asks for the password of root, if there is one.
const SHELLS: [Shell; 2] =
    [Shell { path: c"/sbin/sulogin", login: false }, Shell { path: c"/bin/sh", login: true }];

/// Bytes that the words of a shell and its environment take.
const WORDS_MAX_BYTES: usize = 256;

/// Says why, and stays. For process 1 of a machine alone.
pub fn run(why: &str) -> ! {
    output::say(why.as_bytes());
    // The kernel restarts by itself then: nobody is left to hear a signal.
    let _ = power::harden_ctrl_alt_del();
    say(&[b"this is the last resort: a shell on the console. Ctrl-Alt-Del restarts the machine at once"]);
    loop {
        let (pid, fault) = (AtomicU32::new(0), AtomicU64::new(0));
        let started = start_shell(&pid, &fault);
        if started.is_none() {
            say(&[b"no shell can be started"]);
        }
        while reap::wait().is_some_and(|ended| Some(ended) != started) {}
        // A shell that ends at once is not started in a circle.
        let mut nothing = poll::PollSet::new(0);
        let _ = nothing.wait(Some(now_ms().saturating_add(LAST_RESORT_PAUSE_MS)));
        output::flush();
    }
}

/// The first that there is.
pub fn shell() -> Option<Shell> {
    SHELLS.into_iter().find(|shell| files::can_execute(shell.path))
}

fn start_shell(pid: &AtomicU32, fault: &AtomicU64) -> Option<u32> {
    let Shell { path, login } = shell()?;
    let (mut argv, mut env) = (Words::new(WORDS_MAX_BYTES, 1), Words::new(WORDS_MAX_BYTES, 2));
    argv.push(path.to_bytes()).ok()?;
    env.push_pair(b"PATH", USUAL_PATH).ok()?;
    env.push_pair(b"TERM", b"linux").ok()?;
    let shell = Spawn { tty: Some(c"/dev/console"), login, ..Spawn::new(&argv, &env, pid, fault) };
    spawn(&shell).ok()
}
