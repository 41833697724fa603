//! When nothing else is left: process 1 may not end, so it says why there is no init, offers a shell, and collects
//! what ends. There is no table, no socket and no loop here: whatever has brought us here may have been one of them.

use std::sync::atomic::{AtomicU32, AtomicU64};

use super::words::say;
use crate::limits::LAST_RESORT_PAUSE_MS;
use crate::sys::clock::now_ms;
use crate::sys::spawn::{Spawn, Words, spawn};
use crate::sys::{files, output, poll, power, reap};

/// Shells, and the words that they are called by: the first asks for the password of root, if there is one.
const SHELLS: [(&std::ffi::CStr, &[u8], bool); 2] =
    [(c"/sbin/sulogin", b"/sbin/sulogin", false), (c"/bin/sh", b"/bin/sh", true)];

/// Bytes that the words of a shell and its environment take.
const WORDS_MAX_BYTES: usize = 256;

/// Says why, and stays. For process 1 of a machine alone.
pub fn run(why: &str) -> ! {
    output::say(why.as_bytes());
    // The kernel restarts by itself then: nobody is left to hear a signal.
    let _ = power::set_hard_ctrl_alt_del(true);
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

fn start_shell(pid: &AtomicU32, fault: &AtomicU64) -> Option<u32> {
    let (_, program, login) = SHELLS.into_iter().find(|(path, ..)| files::can_execute(path))?;
    let (mut argv, mut env) = (Words::new(WORDS_MAX_BYTES, 1), Words::new(WORDS_MAX_BYTES, 2));
    argv.push(program).ok()?;
    env.push_pair(b"PATH", b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").ok()?;
    env.push_pair(b"TERM", b"linux").ok()?;
    let shell = Spawn { tty: Some(c"/dev/console"), login, ..Spawn::new(&argv, &env, pid, fault) };
    spawn(&shell).ok()
}
