//! What the daemon says of what it does: one line on its stderr for each transition that a person would ask
//! about.

use std::path::Path;

use super::line::Line;
use crate::engine::Engine;
use crate::engine::rows::{Last, NONE, Transition, What};
use crate::isinittab::Signal;
use crate::sys;
use crate::sys::place;
use crate::sys::reexec::{self, Origin};
use crate::sys::spawn::{Fault, Step};

/// A message's longest line: a group, a tag, a level and a sentence.
pub type Message = Line<512>;

/// Says one sentence.
pub fn say(words: &[&[u8]]) {
    let mut line = Message::new();
    line.text("isinit: ");
    words.iter().for_each(|word| {
        line.text(word);
    });
    line.text("\n");
    sys::output::say(line.bytes());
}

/// Says what is wrong with a table that was to be read again.
pub fn say_bad_table(report: &[u8]) {
    sys::output::say(report);
    say(&[b"the table has errors; the one in force is kept"]);
}

/// Says what a system call failed at: what was tried, on what, and the system's words.
pub fn say_errno(what: &str, on: &[u8], errno: sys::Errno) {
    let mut line = Message::new();
    line.text("isinit: ").text(what).text(" ").text(on).text(": ");
    errno_words(&mut line, errno.raw_os_error());
    line.text("\n");
    sys::output::say(line.bytes());
}

/// What a file of ours could not be made for, and what to do; `otherwise` is what can be done besides. Allocates.
pub fn place_words(what: &str, path: &Path, error: &place::Error, otherwise: &str) -> String {
    let why = match error {
        place::Error::Failed(errno) => {
            let mut line = Message::new();
            errno_words(&mut line, errno.raw_os_error());
            String::from_utf8_lossy(line.bytes()).into_owned()
        }
        place::Error::Anothers { place, uid } => {
            format!("{} belongs to user {uid}, neither to root nor to us", place.display())
        }
        place::Error::Writable { place } => {
            format!("others can write to {}: chmod go-w or +t it", place.display())
        }
    };
    format!("isinit: cannot {what} {}: {why}{otherwise}\n", path.display())
}

/// Says what has ended the life before.
pub fn say_fault(fault: reexec::Fault) {
    let mut line = Message::new();
    line.text("isinit: ").text(signal_name(u8::try_from(fault.signal).unwrap_or(0)));
    match fault.origin {
        Origin::Address(address) => line.text(" at the address 0x").hex(address),
        Origin::Process(pid) => line.text(", sent by process ").number(u64::from(pid)),
    };
    line.text(": a fault of isinit. It has executed itself again, and knows what runs\n");
    sys::output::say(line.bytes());
}

/// Says a transition, if a person wants to hear of it.
pub fn say_transition(engine: &Engine, transition: &Transition) {
    let Some(what) = transition.what() else { return };
    let mut line = Message::new();
    line.text("isinit: ");
    match engine.group(transition.group) {
        Some(group) => line.text(group.name()),
        None => line.text("?"),
    };
    if transition.row == NONE {
        group_words(&mut line, engine, transition.group, what);
    } else {
        line.text("/").text(engine.row(transition.row).map_or(&b"?"[..], |row| row.tag())).text(": ");
        if !entry_words(&mut line, engine, what, transition) {
            return;
        }
    }
    line.text("\n");
    sys::output::say(line.bytes());
}

/// What is executed for an entry, as the table has it now.
fn program<'e>(engine: &'e Engine, row: u32) -> &'e [u8] {
    let process = engine.entry(row).map(|entry| entry.process()).filter(|process| !process.shell);
    process.and_then(|process| process.words().next()).unwrap_or(b"/bin/sh")
}

fn group_words(line: &mut Message, engine: &Engine, slot: u32, what: What) {
    let level = engine.group(slot).map_or(&[][..], |group| group.level());
    match what {
        What::Switch => line.text(": switching to level ").word(level),
        What::Revert => line.text(": failed on the way; going back"),
        _ => line.text(": ").text(what.name()).text(" at level ").word(level),
    };
}

fn entry_words(line: &mut Message, engine: &Engine, what: What, transition: &Transition) -> bool {
    let last = Last::from_word(transition.last);
    let how = |line: &mut Message| {
        if matches!(last, Last::Fault { step, .. } if step_of(step) == Some(Step::Exec)) {
            line.text(program(engine, transition.row)).text(": ");
        }
        last_words(line, last);
    };
    match what {
        What::Started | What::Ready | What::Stopping | What::Stopped => return false,
        What::Ended if last == Last::Exit(0) => return false,
        What::Ended if last == Last::Nothing => {
            line.text("has ended while nobody looked");
        }
        What::Ended => how(line),
        What::Killing => {
            line.text("does not stop; killing it");
        }
        What::Held => {
            line.text("respawning too fast; it rests (tell its group to try at once)");
        }
        What::Failed => {
            line.text("failed: ");
            how(line);
        }
        What::Stuck => {
            line.text("does not die of SIGKILL; given up until it does");
        }
        What::Wanting => {
            how(line);
            line.text("; trying again");
        }
        What::Skipped => {
            line.text("its terminal does not exist here; skipped");
        }
        What::Overdue => {
            line.text("takes too long while everything goes down; stopping it");
        }
        What::Switch | What::Run | What::Fail | What::Halted | What::Revert => return false,
    }
    true
}

/// How a process ended, in words.
pub fn last_words<const N: usize>(line: &mut Line<N>, last: Last) {
    match last {
        Last::Nothing => {
            line.text("nothing has ended yet");
        }
        Last::Exit(status) => {
            line.text("exited with status ").number(u64::from(status));
        }
        Last::Signal(signal) => {
            line.text("killed by ").text(signal_name(signal));
        }
        Last::Fault { step, errno } => {
            line.text("cannot ").text(step_of(step).map_or("fork", Step::words)).text(": ");
            errno_words(line, i32::from(errno));
            let errno = sys::Errno::from_raw_os_error(i32::from(errno));
            line.text(step_of(step).map_or("", |step| step.advice(errno)));
        }
        Last::NotReady => {
            line.text("not ready in time");
        }
    }
}

/// The step of this number; 0 is the fork, which comes before all of them.
pub fn step_of(number: u8) -> Option<Step> {
    Fault::from_word(u64::from(number) << 32 | 1).map(|fault| fault.step)
}

/// The name of a signal, `SIG?` if it has none.
pub fn signal_name(signal: u8) -> &'static str {
    Signal::from_number(i32::from(signal)).map_or("SIG?", |signal| signal.name())
}

/// The system's words for an errno.
pub fn errno_words<const N: usize>(line: &mut Line<N>, errno: i32) {
    match sys::errno_words(errno) {
        "error" => line.text("error ").number(u64::from(errno.unsigned_abs())),
        words => line.text(words),
    };
}
