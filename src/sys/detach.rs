//! Going into the background: fork, setsid, fork (daemon(7)), with a pipe on which the daemon tells whoever
//! called it that it answers, or why it does not.
//!
//! The daemon survives the end of the terminal and of the script it was started from. So it must not hold on to
//! either: a terminal would hang up on it, and a pipe (`$(isinit foo run)`, ssh) would never come to its end. A
//! file is kept, and so is /dev/null.

#![allow(unsafe_code)]

use super::clock::now_ms;
use super::place;
use super::poll::PollSet;
use super::raw::{exit_now, last_errno};
use super::terminal::is_terminal;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Bytes of the daemon's message at most: what a pipe takes when nobody reads.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Side {
    /// The one that called.
    Caller(ReadEnd),
    /// The daemon.
    Daemon(WriteEnd),
}

/// The caller's end.
#[derive(Debug)]
pub struct ReadEnd(OwnedFd);

/// The daemon's end. Dropping it without a word is an answer too: [`Answer::Silence`].
#[derive(Debug)]
pub struct WriteEnd(OwnedFd);

/// What came from the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What it said.
    Message(Vec<u8>),
    /// It has ended, or closed its end, without a word.
    Silence,
    /// It has said nothing so far.
    TimedOut,
}

/// Puts a daemon into the background. Both processes return from it: the caller as [`Side::Caller`], the daemon,
/// in a session of its own of which it is not the leader, as [`Side::Daemon`]. Its stdin is /dev/null; stdout and
/// stderr are kept when they are a file or a device that is no terminal, else they are /dev/null too; its working
/// directory is the caller's. Call it before there are threads.
///
/// ```standalone_crate
/// use isinit::sys::detach::{Answer, Side, detach};
/// match detach().unwrap() {
///     Side::Caller(pipe) => assert_eq!(pipe.wait(Some(5_000)), Ok(Answer::Message(b"ready".to_vec()))),
///     Side::Daemon(pipe) => pipe.tell(b"ready"),
/// }
/// ```
///
/// # Errors
/// In the caller alone: EMFILE, ENFILE, EAGAIN, ENOMEM. When a later step fails, the caller hears silence.
pub fn detach() -> Result<Side, Errno> {
    let (read, write) = super::pipe::pair()?;
    match fork()? {
        0 => drop(read),
        middle => {
            drop(write);
            await_end(middle);
            return Ok(Side::Caller(ReadEnd(read)));
        }
    }
    // The second fork makes a process that leads no session: opening a terminal can never give it one.
    if rustix::process::setsid().is_err() || fork() != Ok(0) {
        exit_now(0);
    }
    leave_the_terminal();
    Ok(Side::Daemon(WriteEnd(write)))
}

/// Sends stdout and stderr to a file, which is made with mode 0640 if it is not there, and appended to.
///
/// # Errors
/// [`place::Error`], and what dup2(2) says; both are then as they were.
pub fn log_to(path: &Path) -> Result<(), place::Error> {
    let fd = place::open_log(path)?;
    // Non-blocking for the open alone.
    rustix::fs::fcntl_setfl(&fd, OFlags::APPEND)?;
    rustix::stdio::dup2_stdout(&fd)?;
    Ok(rustix::stdio::dup2_stderr(&fd)?)
}

impl ReadEnd {
    /// Waits for the daemon's word, at most so many milliseconds; `None` waits as long as there is a daemon.
    ///
    /// # Errors
    /// What poll(2) and read(2) say.
    pub fn wait(&self, timeout_ms: Option<u64>) -> Result<Answer, Errno> {
        let deadline_ms = timeout_ms.map(|timeout| now_ms().saturating_add(timeout));
        super::pipe::set_nonblocking(&self.0)?;
        let mut set = PollSet::new(1);
        let (mut message, mut piece) = (Vec::new(), [0; 4_096]);
        loop {
            match super::pipe::read(&self.0, &mut piece)? {
                Some(0) if message.is_empty() => return Ok(Answer::Silence),
                Some(0) => return Ok(Answer::Message(message)),
                Some(count) => message.extend_from_slice(piece.get(..count).unwrap_or_default()),
                None if deadline_ms.is_some_and(|deadline| now_ms() >= deadline) => {
                    return Ok(Answer::TimedOut);
                }
                None => {
                    set.clear();
                    let _ = set.add(self.0.as_fd(), true, false);
                    set.wait(deadline_ms)?;
                }
            }
        }
    }
}

impl WriteEnd {
    /// Says it (at most 64 KiB, the rest is cut off) and closes the pipe. A caller that has gone is no error.
    pub fn tell(self, message: &[u8]) {
        let mut rest = message.get(..MESSAGE_MAX_BYTES).unwrap_or(message);
        let _ = super::pipe::set_nonblocking(&self.0);
        while !rest.is_empty() {
            match rustix::io::write(&self.0, rest) {
                Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

/// fork(2) of the C library, which makes its own state fit for the child.
pub(super) fn fork() -> Result<i32, Errno> {
    // SAFETY: the child goes on with a whole copy of this process, which has one thread by contract.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        pid => Ok(pid),
    }
}

/// Takes the process in the middle away; it ends at once.
fn await_end(pid: i32) {
    // SAFETY: asks for no status.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0 && last_errno() == Errno::INTR {}
}

/// Where there is no /dev/null the descriptors stay as they are: the daemon is worth more than its manners.
fn leave_the_terminal() {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let Ok(null) = openat(CWD, c"/dev/null", flags, Mode::empty()) else { return };
    let _ = rustix::stdio::dup2_stdin(&null);
    if !worth_keeping(rustix::stdio::stdout()) {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    if !keeps_stderr() {
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Does a daemon that is detached now keep this process's stderr?
pub fn keeps_stderr() -> bool {
    worth_keeping(rustix::stdio::stderr())
}

fn worth_keeping(fd: BorrowedFd<'_>) -> bool {
    let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile) => true,
        Ok(FileType::CharacterDevice) => !is_terminal(fd),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{own_pid, session_of};
    use crate::sys::testing::{Scratch, in_child, terminal_pair};

    /// Runs `daemon` in the background of a forked child; what the caller hears of it.
    fn background(prepare: impl FnOnce(), daemon: impl FnOnce(WriteEnd), expected: &Answer) {
        let status = in_child(|| {
            prepare();
            match detach().unwrap() {
                Side::Caller(pipe) => i32::from(&pipe.wait(None).unwrap() != expected),
                Side::Daemon(pipe) => {
                    daemon(pipe);
                    exit_now(0)
                }
            }
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn the_daemon_has_another_session_and_does_not_lead_it() {
        // What runs us may be outside of our PID namespace, as in a container: then our own session has no number.
        let here = session_of(own_pid());
        let daemon = |pipe: WriteEnd| {
            let (session, me) = (session_of(own_pid()), own_pid());
            let cwd = std::env::current_dir().unwrap();
            pipe.tell(format!("{} {} {}", session != here, session != Some(me), cwd.display()).as_bytes());
        };
        let cwd = std::env::current_dir().unwrap();
        background(|| (), daemon, &Answer::Message(format!("true true {}", cwd.display()).into_bytes()));
    }

    #[test]
    fn a_daemon_that_ends_is_silence() {
        background(|| (), |_pipe| exit_now(7), &Answer::Silence);
    }

    #[test]
    fn one_that_says_nothing_is_waited_for_no_longer_than_asked() {
        let (read, _write) = super::super::pipe::pair().unwrap();
        assert_eq!(ReadEnd(read).wait(Some(1)), Ok(Answer::TimedOut));
    }

    #[test]
    fn a_long_message_is_cut_and_blocks_nobody() {
        let (read, write) = super::super::pipe::pair().unwrap();
        WriteEnd(write).tell(&vec![b'x'; 1 << 20]);
        assert_eq!(ReadEnd(read).wait(None), Ok(Answer::Message(vec![b'x'; MESSAGE_MAX_BYTES])));
    }

    #[test]
    fn terminals_and_pipes_are_let_go_and_files_are_kept() {
        let scratch = Scratch::new("detach");
        let path = scratch.0.join("out");
        let prepare = || {
            let file = std::fs::File::create(&path).unwrap();
            let (master, name) = terminal_pair();
            let tty = openat(CWD, &*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
            rustix::stdio::dup2_stdin(&tty).unwrap();
            rustix::stdio::dup2_stdout(&file).unwrap();
            rustix::stdio::dup2_stderr(&tty).unwrap();
            std::mem::forget(master);
        };
        let daemon = |pipe: WriteEnd| {
            let name = |number| std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
            let names: Vec<_> = (0..3).map(|number| name(number).display().to_string()).collect();
            pipe.tell(names.join(" ").as_bytes());
        };
        let expected = format!("/dev/null {} /dev/null", path.display()).into_bytes();
        background(prepare, daemon, &Answer::Message(expected));
    }

    #[test]
    fn a_log_is_appended_to() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("detach");
        let path = scratch.0.join("log");
        for _ in 0..2 {
            let status = in_child(|| {
                rustix::process::umask(Mode::empty());
                log_to(&path).unwrap();
                crate::sys::output::say(b"a line\n");
                0
            });
            assert_eq!(status, 0);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"a line\na line\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(log_to(&scratch.0.join("no/log")), Err(Errno::NOENT.into()));
    }
}
