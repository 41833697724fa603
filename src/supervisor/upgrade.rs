//! Executing a newer program in our place, which goes on with every process: `isinit upgrade`, `telinit u`.
//!
//! What is executed cannot be taken back: a program that is no isinit, or one that reads other rows than ours, would be
//! the end of all that we know; as process 1 of the machine too. So it is asked first, as a child of ours like any
//! other, whether it reads them ([`QUESTION`]). Its exit status is the answer, which no other program gives by mistake.

use std::ffi::CStr;

use super::Supervisor;
use super::clients::Talk;
use super::life::rows_version;
use super::line::Line;
use super::messages::{last_words, say, say_errno};
use crate::engine::rows::Last;
use crate::engine::{Ms, NEVER};
use crate::limits::{LAST_LINES_MS, UPGRADE_ANSWER_MS};
use crate::sys;
use crate::sys::reap::Exit;
use crate::sys::spawn::{Spawn, Words, spawn};

/// The option by which a program is asked; a version of rows follows it.
pub const QUESTION: &str = "--reads-rows";

/// The exit status of a program that reads them: none that a program has by mistake.
const YES: i32 = 97;

/// The exit status of one that does not.
const NO: i32 = 98;

/// Bytes of the words that it is called by: a path, the option, and a number.
const WORDS_MAX_BYTES: usize = 4_096 + 64;

/// Where an upgrade stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Nobody has asked for one.
    Idle,
    /// The new program is asked.
    Asked {
        /// Its process.
        pid: u32,
        /// It has until then.
        until: Ms,
    },
    /// It reads our rows, and takes our place as soon as this turn of the loop is over.
    Agreed,
}

/// The answer to [`QUESTION`]: our exit status.
pub fn reads_rows(version: &str) -> i32 {
    if version.parse() == Ok(rows_version()) { YES } else { NO }
}

impl Supervisor {
    /// Begins an upgrade; `place` is the client who asks for it. One that is under way already is his too.
    pub(super) fn begin_upgrade(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            self.talk(place, Talk::Upgrade);
        }
        let Some(reexec) = self.reexec else {
            return self.refuse_upgrade(b"this kernel keeps no memory over an exec (memfd_create)");
        };
        if self.upgrade != Upgrade::Idle {
            return;
        }
        match self.ask(reexec.path()) {
            Ok(pid) => {
                let until = sys::clock::now_ms().saturating_add(UPGRADE_ANSWER_MS);
                self.upgrade = Upgrade::Asked { pid, until };
            }
            Err(errno) => {
                let mut words = Line::<256>::new();
                words.text("cannot fork: ").text(sys::errno_words(errno.raw_os_error()));
                self.refuse_upgrade(words.bytes());
            }
        }
    }

    fn ask(&self, program: &CStr) -> Result<u32, sys::Errno> {
        let (mut argv, env) = (Words::new(WORDS_MAX_BYTES, 3), Words::new(1, 1));
        let version = itoa::Buffer::new().format(rows_version()).to_owned();
        for word in [program.to_bytes(), QUESTION.as_bytes(), version.as_bytes()] {
            argv.push(word).map_err(|_| sys::Errno::NAMETOOLONG)?;
        }
        spawn(&Spawn::new(&argv, &env, &self.life.asked_pid, &self.life.asked_fault))
    }

    /// A process has ended. Was it the program that was asked?
    pub(super) fn hear_asked(&mut self, ended: u32, how: Exit) -> bool {
        let Upgrade::Asked { pid, .. } = self.upgrade else { return false };
        if pid != ended {
            return false;
        }
        self.upgrade = Upgrade::Idle;
        let fault =
            sys::spawn::Fault::from_word(self.life.asked_fault.load(std::sync::atomic::Ordering::Acquire));
        let mut words = Line::<256>::new();
        match (fault, how) {
            (Some(fault), _) => {
                words.text("cannot ").text(fault.step.words()).text(": ");
                words.text(sys::errno_words(fault.errno.raw_os_error()));
            }
            (None, Exit::Code(YES)) => {
                self.upgrade = Upgrade::Agreed;
                return true;
            }
            (None, Exit::Code(NO)) => {
                words.text("it keeps its rows in another way than this one; restart the daemon instead");
            }
            (None, Exit::Code(status)) => {
                words.text("it is no isinit that can be asked: it ");
                last_words(&mut words, Last::Exit(status as u8));
            }
            (None, Exit::Signal(signal)) => {
                words.text("it was asked, and ");
                last_words(&mut words, Last::Signal(signal as u8));
            }
        }
        self.refuse_upgrade(words.bytes());
        true
    }

    /// When it has to have answered.
    pub(super) fn upgrade_deadline(&self) -> Ms {
        match self.upgrade {
            Upgrade::Idle => NEVER,
            Upgrade::Asked { until, .. } => until,
            Upgrade::Agreed => 0,
        }
    }

    /// At the end of a turn: does not come back if the new program has taken our place.
    pub(super) fn go_on_with_upgrade(&mut self, now: Ms) {
        match self.upgrade {
            Upgrade::Asked { pid, until } if now >= until => {
                let _ = sys::signals::send(pid as i32, sys::signals::KILL);
                self.upgrade = Upgrade::Idle;
                self.refuse_upgrade(b"it does not answer");
            }
            Upgrade::Agreed => {
                self.upgrade = Upgrade::Idle;
                // What is held here would be lost: a line that is not whole yet comes out as it is.
                self.processes.write_lines(&self.engine, now.saturating_add(LAST_LINES_MS));
                if let Some(reexec) = self.reexec {
                    let errno = reexec.upgrade();
                    say_errno("cannot execute", reexec.path().to_bytes(), errno);
                    self.refuse_upgrade(sys::errno_words(errno.raw_os_error()).as_bytes());
                }
            }
            Upgrade::Idle | Upgrade::Asked { .. } => {}
        }
    }

    /// Nothing has changed, and everybody who waits hears why.
    fn refuse_upgrade(&mut self, why: &[u8]) {
        let path = self.reexec.map_or(&b"isinit"[..], |reexec| reexec.path().to_bytes());
        say(&[b"no upgrade by ", path, b": ", why]);
        for place in 0..self.clients.len() {
            if self.clients.get(place).is_some_and(|client| matches!(client.talk, Talk::Upgrade)) {
                self.answer(place, |answer| {
                    answer.text("err 1 no upgrade by ").text(path).text(": ").text(why).text("\n");
                });
            }
        }
    }
}
