//! When nothing else is left: process 1 may not end, so it says why there is no init, offers a shell, and collects
//! what ends. There is no table and no engine here: whatever has brought us here may have been one of them.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::words::say;
use crate::limits::LAST_RESORT_PAUSE_MS;
use crate::sys::clock::now_ms;
use crate::sys::process::USUAL_PATH;
use crate::sys::signals::{Arrived, Signals};
use crate::sys::socket::{self, Listener};
use crate::sys::spawn::{Spawn, Words, spawn};
use crate::sys::{files, output, poll, power, reap};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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

/// Says why, and stays, with a shell. For process 1 of a machine alone.
pub fn run(why: &str) -> ! {
    stay(why.trim_end().as_bytes(), None, true, || ())
}

/// Says why, and stays: collects what ends, answers each who comes by the socket with that sentence, offers a shell on
/// the console of a machine, and tries again when SIGHUP asks for it. Where process 1 is another's, or a container's,
/// SIGTERM and SIGINT end it; what it has started goes on.
pub fn stay(why: &[u8], listener: Option<Listener>, is_machine: bool, mut try_again: impl FnMut()) -> ! {
    say(&[why]);
    if is_machine {
        // The kernel restarts by itself then: nobody is left to hear a signal.
        let _ = power::harden_ctrl_alt_del();
        say(&[b"this is the last resort: a shell on the console. Ctrl-Alt-Del restarts the machine at once"]);
    }
    let signals = Signals::retake();
    let (pid, fault) = (AtomicU32::new(0), AtomicU64::new(0));
    let mut shell = OnConsole { process: None, next_ms: if is_machine { 0 } else { u64::MAX } };
    let mut guests = Guests::default();
    loop {
        while let Ok(Some(ended)) = reap::peek() {
            let _ = reap::collect(ended.pid);
            shell.ended(ended.pid);
        }
        shell.start(&pid, &fault);
        guests.answer(listener.as_ref(), why);
        output::flush();
        let mut set = poll::PollSet::new(GUESTS_MAX.saturating_add(2));
        let sources = [signals.as_ref().ok().map(Signals::fd), listener.as_ref().map(Listener::fd)];
        for fd in sources.into_iter().flatten().chain(guests.fds()) {
            let _ = set.add(fd, true, false);
        }
        // Without signals it looks now and then.
        let look_ms = if signals.is_ok() { u64::MAX } else { now_ms().saturating_add(LAST_RESORT_PAUSE_MS) };
        let _ = set.wait(Some(shell.next_ms.min(look_ms)).filter(|at| *at != u64::MAX));
        let mut arrived = [Arrived::default(); 16];
        let count = signals.as_ref().map_or(0, |signals| signals.read(&mut arrived).unwrap_or(0));
        for signal in arrived.iter().take(count) {
            match signal.number {
                SIGHUP => try_again(),
                SIGTERM | SIGINT if !is_machine => std::process::exit(1),
                _ => {}
            }
        }
    }
}

/// Those who have come by the socket, and not asked yet: one that is answered before that may miss the answer.
#[derive(Default)]
struct Guests([Option<OwnedFd>; GUESTS_MAX]);

/// Who comes when there are so many takes the place of one.
const GUESTS_MAX: usize = 8;

impl Guests {
    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().flatten().map(AsFd::as_fd)
    }

    /// Lets in who waits, and answers who has asked.
    fn answer(&mut self, listener: Option<&Listener>, why: &[u8]) {
        for place in &mut self.0 {
            let Some(guest) = place else { continue };
            match socket::read(&*guest, &mut [0; 512]) {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    for part in [b"err 1 ", why, b"\n"] {
                        let _ = socket::write(&*guest, part);
                    }
                    *place = None;
                }
            }
        }
        while let Some((guest, _)) = listener.and_then(|listener| listener.accept().ok().flatten()) {
            self.0.rotate_right(1);
            self.0[0] = Some(guest);
        }
    }
}

/// The shell on the console: one that ends at once is not started in a circle.
struct OnConsole {
    process: Option<u32>,
    /// When it is started; never while it runs.
    next_ms: u64,
}

impl OnConsole {
    fn start(&mut self, pid: &AtomicU32, fault: &AtomicU64) {
        if now_ms() < self.next_ms {
            return;
        }
        self.process = start_shell(pid, fault);
        self.next_ms =
            if self.process.is_some() { u64::MAX } else { now_ms().saturating_add(LAST_RESORT_PAUSE_MS) };
        if self.process.is_none() {
            say(&[b"no shell can be started"]);
        }
    }

    fn ended(&mut self, pid: u32) {
        if self.process == Some(pid) {
            self.process = None;
            self.next_ms = now_ms().saturating_add(LAST_RESORT_PAUSE_MS);
        }
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
