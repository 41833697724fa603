//! An entrypoint for one command: `isinit run -- COMMAND`, in place of tini, dumb-init and catatonit.
//!
//! A container's process 1 has three duties that a usual program does not know of: the kernel gives it every orphan, to
//! be reaped; a signal of which it has no handler does not reach it, SIGTERM included; and its end is the end of all.
//! This takes them over, and is else not to be noticed: the command finds the signals, the terminal, the descriptors and
//! the environment as if it had been started in our place, and its exit status is ours.
//!
//! ```text
//!            signals: to the command             signals: to the rest
//!   start ---> Running ---- it has ended ----> Asking ---- grace over ----> Killing
//!                                                |                            |
//!                                         no child is left             none left, or time over
//!                                                +----------> exit <----------+
//! ```
//!
//! Process 1 needs no Killing: by its exit the kernel kills all that is left. Elsewhere we are the subreaper of what the
//! command starts, so that nothing of it escapes there either.
//!
//! # Where the command sits
//! Without a terminal it leads a session of its own, and with `-g` a signal reaches everybody in its process group. On
//! a terminal it stays in our session, for job control; either as the foreground group, so that Ctrl-C and a new window
//! size reach it and not us, or, when others share our process group (a pipeline, a script), in our group with them:
//! then the keys reach both of us, and are not handed on a second time. When it is stopped (Ctrl-Z) we stop too, so that
//! the shell that has started us sees it; when the shell continues us, we continue it. Where no shell could do that,
//! because we are process 1 or nobody's job, a command that was stopped by a key goes on at once, as a process 1 itself
//! cannot be stopped either.

mod options;

pub use options::{Options, Program, Wish};

use crate::isinittab::Signal;
use crate::limits::DOWN_KILL_MS;
use crate::sys::census::Census;
use crate::sys::clock::now_ms;
use crate::sys::poll::PollSet;
use crate::sys::reap::{self, Change, Exit};
use crate::sys::signals::{self, Arrived, Mask, Signals};
use crate::sys::spawn::{FAULT_STATUS, Fault, Spawn, Standing, Step, Words, close_all_others, spawn};
use crate::sys::{self, Errno, output, power, process, terminal};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGINT, SIGKILL, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The exit status when the command is there and cannot be executed (the shells').
const NOT_EXECUTABLE: i32 = 126;

/// The exit status when there is no such command.
const NOT_FOUND: i32 = 127;

/// What is added to the number of the signal that has ended the command.
const BY_SIGNAL: i32 = 128;

/// The exit status when it fails by itself.
const FAILED: i32 = 1;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// The command runs.
    Running,
    /// The command has ended with this; the rest was asked to, and has until then.
    Asking { status: i32, until: u64 },
    /// The rest is being killed, and is waited for until then.
    Killing { status: i32, until: u64 },
}

/// Where the command sits: see the module's first lines.
#[derive(Debug)]
enum Seat {
    /// In a session of its own.
    Session,
    /// In a process group of its own, on this terminal.
    Foreground(OwnedFd),
    /// In our process group.
    Ours,
}

/// Runs a command, and what it needs around it, to its end. Returns the exit status. Only a process with one thread
/// may, and it has no more to do afterwards: all signals stay blocked.
pub fn run(options: &Options, command: &[OsString]) -> i32 {
    match Entrypoint::start(options, command) {
        Ok(mut entrypoint) => entrypoint.serve(),
        Err((status, words)) => {
            say(&words);
            status
        }
    }
}

fn say(words: &str) {
    output::say(format!("isinit: {words}\n").as_bytes());
}

struct Entrypoint<'o> {
    options: &'o Options,
    signals: Signals,
    seat: Seat,
    command: i32,
    name: OsString,
    fault: &'static AtomicU64,
    course: Course,
    is_pid1: bool,
    poll: PollSet,
}

impl<'o> Entrypoint<'o> {
    /// Starts the command; else the exit status, and why.
    fn start(options: &'o Options, command: &[OsString]) -> Result<Entrypoint<'o>, (i32, String)> {
        let fail = |what: &'static str| move |errno: Errno| (FAILED, format!("cannot {what}: {errno}"));
        let (signals, mask) = Signals::hold().map_err(fail("hold signals back"))?;
        let is_pid1 = process::is_pid1();
        if !is_pid1 && process::set_subreaper().is_err() && options.verbose {
            say("cannot become the subreaper; what the command leaves behind is not seen");
        }
        if let Some(signal) = options.parent_death {
            let alive = process::signal_at_parent_death(signal.number());
            if !alive.map_err(fail("ask for a signal at the parent's end"))? {
                return Err((FAILED, "the parent has ended before the command was started".into()));
            }
        }
        let seat = Seat::find(options, is_pid1);
        let (pid, fault) = shared_words().map_err(fail("make memory for the command"))?;
        let started = start_command(options, command, &seat, mask, pid, fault);
        let command_pid = started.map_err(fail("start a process"))?;
        let mut keep: Vec<i32> = vec![signals.fd().as_raw_fd()];
        keep.extend(seat.terminal().map(AsRawFd::as_raw_fd));
        close_all_others(&mut keep);
        Ok(Entrypoint {
            options,
            signals,
            seat,
            command: command_pid as i32,
            name: command.first().cloned().unwrap_or_default(),
            fault,
            course: Course::Running,
            is_pid1,
            poll: PollSet::new(1),
        })
    }

    fn serve(&mut self) -> i32 {
        loop {
            if let Some(status) = self.reap().or_else(|| self.advance()) {
                return self.options.remap(status);
            }
            self.poll.clear();
            let _ = self.poll.add(self.signals.fd(), true, false);
            if let Err(errno) = self.poll.wait(self.course.until()) {
                say(&format!("cannot wait for signals: {errno}"));
                return FAILED;
            }
            self.hear_signals();
        }
    }

    /// Takes in all changes of children. The exit status when none is left.
    fn reap(&mut self) -> Option<i32> {
        loop {
            match reap::next_change() {
                Ok(Some((pid, Change::Ended(how)))) if pid as i32 == self.command => self.command_ended(how),
                Ok(Some((pid, Change::Stopped(signal)))) if pid as i32 == self.command => {
                    self.command_stopped(signal)
                }
                Ok(Some((pid, Change::Ended(_)))) => {
                    if self.options.tell_orphans {
                        say(&format!("reaped the orphan {pid}"));
                    }
                }
                Ok(Some((_, Change::Stopped(_)))) => {}
                Ok(None) => return None,
                Err(_) => {
                    return Some(match self.course {
                        // Nobody else could have taken it away.
                        Course::Running => FAILED,
                        Course::Asking { status, .. } | Course::Killing { status, .. } => status,
                    });
                }
            }
        }
    }

    fn command_ended(&mut self, how: Exit) {
        let status = self.status(how);
        if let Seat::Foreground(terminal) = &self.seat {
            // A script that goes on behind us reads from it.
            if terminal::foreground(terminal) != Some(process::own_group()) {
                let _ = terminal::set_foreground(terminal, process::own_group());
            }
        }
        if self.options.verbose {
            say(&format!("the command has ended, with status {status}"));
        }
        self.course = Course::Asking { status, until: now_ms().saturating_add(self.options.grace_ms) };
        if self.options.grace_ms > 0 && reap::has_children() {
            self.signal_rest(signals::TERM);
            self.signal_rest(signals::CONT);
        }
    }

    fn status(&self, how: Exit) -> i32 {
        let fault = Fault::from_word(self.fault.load(Ordering::Acquire));
        match (how, fault) {
            (Exit::Code(FAULT_STATUS), Some(fault)) => {
                let name = self.name.to_string_lossy();
                let words = sys::errno_words(fault.errno.raw_os_error());
                let not_found = fault == Fault { step: Step::Exec, errno: Errno::NOENT };
                let hint = match name.contains('/') {
                    _ if !not_found => "",
                    true => " (it, or the interpreter that it names)",
                    false => " (it is in no directory of PATH)",
                };
                say(&format!("{name}: cannot {}: {words}{hint}", fault.step.words()));
                if not_found { NOT_FOUND } else { NOT_EXECUTABLE }
            }
            (Exit::Code(code), _) => code,
            (Exit::Signal(signal), _) => BY_SIGNAL.saturating_add(signal),
        }
    }

    /// The grace is over, or there was none.
    fn advance(&mut self) -> Option<i32> {
        let now = now_ms();
        match self.course {
            Course::Asking { status, until } if until <= now => {
                if self.is_pid1 || self.options.grace_ms == 0 {
                    return Some(status);
                }
                self.signal_rest(signals::KILL);
                self.course = Course::Killing { status, until: now.saturating_add(DOWN_KILL_MS) };
                None
            }
            Course::Killing { status, until } if until <= now => Some(status),
            Course::Running | Course::Asking { .. } | Course::Killing { .. } => None,
        }
    }

    /// Sends a signal to all that the command has left behind.
    fn signal_rest(&self, signal: i32) {
        if self.is_pid1 {
            let _ = power::signal_everyone(signal);
            return;
        }
        let mut census = Census::new();
        if census.look(&|_| false).is_ok() {
            census.descendants(|pid| _ = signals::send(pid as i32, signal));
        } else if !matches!(self.seat, Seat::Ours) {
            let _ = signals::send_group(self.command, signal);
        }
    }

    fn hear_signals(&mut self) {
        let mut arrived = [Arrived::default(); 16];
        while let Ok(count) = self.signals.read(&mut arrived) {
            for signal in arrived.iter().take(count) {
                self.hear(signal);
            }
            if count < arrived.len() {
                return;
            }
        }
    }

    fn hear(&mut self, arrived: &Arrived) {
        let is_key = [SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH].contains(&arrived.number);
        // What a key sends to our process group the command has got by itself.
        let has_it = matches!(self.seat, Seat::Ours) && arrived.by_kernel && is_key;
        // Children are looked at after each wake-up.
        if arrived.number == SIGCHLD || has_it {
            return;
        }
        let in_session = matches!(self.seat, Seat::Session);
        let Some(signal) = self.options.rewritten(arrived.number, in_session) else { return };
        if self.options.verbose {
            let name = |number| Signal::from_number(number).map_or("SIG?", Signal::name);
            say(&format!("{} arrived, {} goes to the command", name(arrived.number), name(signal)));
        }
        match self.course {
            Course::Running => self.hand_on(signal),
            Course::Asking { .. } | Course::Killing { .. } => self.signal_rest(signal),
        }
        if signal == SIGCONT {
            self.give_terminal();
        } else if signal != arrived.number && signal == options::SIGSTOP {
            signals::stop_self();
        }
    }

    fn hand_on(&self, signal: i32) {
        let pid = self.command;
        let all = self.options.group && !matches!(self.seat, Seat::Ours);
        // It has no group of its own before it has made it.
        if !all || signals::send_group(pid, signal).is_err() {
            let _ = signals::send(pid, signal);
        }
    }

    /// Who is continued by its shell has the terminal, which is the command's.
    fn give_terminal(&self) {
        if let Seat::Foreground(terminal) = &self.seat {
            if terminal::foreground(terminal) == Some(process::own_group()) {
                let _ = terminal::set_foreground(terminal, self.command as u32);
            }
            let _ = signals::send_group(self.command, SIGCONT);
        }
    }

    fn command_stopped(&self, signal: i32) {
        let by_key = [SIGTSTP, SIGTTIN, SIGTTOU].contains(&signal);
        match &self.seat {
            // Who stops it there can continue it there.
            Seat::Session => {}
            Seat::Foreground(_) | Seat::Ours if process::has_job_control() => signals::stop_self(),
            Seat::Foreground(terminal) if by_key => {
                let _ = terminal::set_foreground(terminal, self.command as u32);
                let _ = signals::send_group(self.command, SIGCONT);
            }
            Seat::Foreground(_) | Seat::Ours => {}
        }
    }
}

impl Course {
    fn until(&self) -> Option<u64> {
        match self {
            Course::Running => None,
            Course::Asking { until, .. } | Course::Killing { until, .. } => Some(*until),
        }
    }
}

impl Seat {
    fn find(options: &Options, is_pid1: bool) -> Seat {
        let Some(terminal) = terminal::controlling() else { return Seat::Session };
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let alone = process::own_group() == process::own_pid()
            && terminal::is_terminal(stdin)
            && terminal::is_terminal(stdout);
        if is_pid1 || alone || options.group { Seat::Foreground(terminal) } else { Seat::Ours }
    }

    fn terminal(&self) -> Option<&OwnedFd> {
        match self {
            Seat::Foreground(terminal) => Some(terminal),
            Seat::Session | Seat::Ours => None,
        }
    }

    fn standing(&self) -> Standing<'_> {
        match self {
            Seat::Session => Standing::Session,
            // In the background it is nobody's to take.
            Seat::Foreground(terminal) if terminal::foreground(terminal) == Some(process::own_group()) => {
                Standing::Foreground(terminal.as_fd())
            }
            Seat::Foreground(_) => Standing::Group,
            Seat::Ours => Standing::Ours,
        }
    }
}

/// Where the kernel writes the command's process id, and the command what it failed at.
fn shared_words() -> Result<(&'static AtomicU32, &'static AtomicU64), Errno> {
    let mut shared = sys::memory::Shared::create(c"isinit run", 4_096)?;
    let fault = shared.carve::<AtomicU64>(1).and_then(|words| words.first());
    let pid = shared.carve::<AtomicU32>(1).and_then(|words| words.first());
    pid.zip(fault).ok_or(Errno::NOMEM)
}

fn start_command(
    options: &Options,
    command: &[OsString],
    seat: &Seat,
    mask: Mask,
    pid: &AtomicU32,
    fault: &AtomicU64,
) -> Result<u32, Errno> {
    let argv = words(command.iter().map(|word| word.as_bytes()))?;
    let variables: Vec<Vec<u8>> = std::env::vars_os()
        .map(|(name, value)| [name.into_vec(), b"=".to_vec(), value.into_vec()].concat())
        .collect();
    // Who activates by sockets has written our process id there; the command's is another.
    let ours = format!("LISTEN_PID={}", process::own_pid());
    let listen_pid = variables.iter().position(|variable| *variable == ours.as_bytes());
    let env = words(variables.iter().map(Vec::as_slice))?;
    // A SIGKILL at our parent's end leaves us no time to hand it on.
    let parent_death = options.parent_death.map(Signal::number).filter(|signal| *signal == SIGKILL);
    spawn(&Spawn {
        listen_pid,
        standing: seat.standing(),
        mask,
        parent_death,
        inherits: true,
        ..Spawn::new(&argv, &env, pid, fault)
    })
}

/// The words in memory that is made for them: what the kernel has taken once, it takes twice.
fn words<'w>(mut list: impl ExactSizeIterator<Item = &'w [u8]> + Clone) -> Result<Words, Errno> {
    let bytes = list.clone().fold(0_usize, |sum, word| sum.saturating_add(word.len()).saturating_add(2));
    let mut words = Words::new(bytes, list.len());
    list.try_for_each(|word| words.push(word)).map_err(|_| Errno::TOOBIG)?;
    Ok(words)
}
