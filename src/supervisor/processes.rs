//! How an entry becomes a process, and how it is stopped with all that it has started.
//!
//! Everything here works on buffers that were made when the table was loaded. A start costs one clone; what goes
//! wrong in the child comes back through its row (see `sys::spawn`), so that nobody waits for an exec. A stop
//! reaches every descendant: where cgroup v2 can be written each entry has a cgroup of its own; elsewhere the
//! process group, the session, and the orphans that have come to us (we are their subreaper) and carry the
//! entry's tag in their environment.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use signal_hook::consts;

use super::environment::Environment;
use super::life::Slot;
use super::line::Line;
use super::logs::{Awaited, Logs};
use super::messages::{say, say_errno};
use super::prefix::Prefixed;
use crate::engine::rows::{Last, Row};
use crate::engine::{Engine, Event};
use crate::isinittab::{Action, Entry, Ready, Table, Tty};
use crate::limits::{
    ARGUMENTS_MAX, ENVIRONMENT_MAX, ENVIRONMENT_MAX_BYTES, LAST_LINES_MS, PROCESS_MAX_BYTES, TAG_MAX_BYTES,
};
use crate::sys;
use crate::sys::census::{Census, Wanted};
use crate::sys::cgroup::{Cgroups, Controllers, Limits};
use crate::sys::pads::{Pad, Pads};
use crate::sys::reexec::FdStore;
use crate::sys::spawn::{Full, Input, Spawn, Step};
use crate::sys::user::Credentials;

/// Bytes of arguments, and of environment: what the shell, or the initscript with tag, levels and action, add to a process
/// field is in 8 KiB.
const START_MAX_BYTES: usize = ENVIRONMENT_MAX_BYTES;
const _: () = assert!(START_MAX_BYTES >= PROCESS_MAX_BYTES + 8 * 1024);

/// What starting and stopping needs.
pub struct Processes {
    store: FdStore,
    pads: Pads,
    environment: Environment,
    people: Vec<(Box<[u8]>, Option<Credentials>)>,
    logs: Logs,
    prefixed: Prefixed,
    awaited: Vec<Awaited>,
    cgroups: Option<Cgroups>,
    controllers: Controllers,
    unlimited: Vec<u8>,
    census: Census,
    census_taken: bool,
    /// It was said that /proc cannot be looked through; again only when it could be meanwhile.
    census_failed: bool,
    socket_marker: Vec<u8>,
    on_machine: bool,
    initscript: Option<CString>,
}

/// What sysvinit runs its commands by, if it is there (initscript(5)).
const INITSCRIPT: &CStr = c"/etc/initscript";

/// What BusyBox asks on the terminal of an `askfirst` entry.
const ASK: &[u8] = b"\nPlease press Enter to activate this console. ";

impl Processes {
    /// For the processes of the daemon with this socket and this readiness socket. Those of a machine read from its
    /// console, and are run by sysvinit's initscript where there is one.
    pub fn new(socket: &[u8], notify: &[u8], on_machine: bool, store: FdStore) -> Processes {
        Processes {
            store,
            pads: Pads::new(START_MAX_BYTES, ARGUMENTS_MAX, ENVIRONMENT_MAX),
            environment: Environment::new(socket, notify, on_machine),
            people: Vec::new(),
            logs: Logs::new(store),
            prefixed: Prefixed::new(store),
            awaited: Vec::new(),
            cgroups: Cgroups::find(),
            controllers: Controllers::default(),
            unlimited: Vec::new(),
            census: Census::new(),
            census_taken: false,
            census_failed: false,
            socket_marker: [b"ISINIT_SOCKET=", socket].concat(),
            on_machine,
            initscript: None,
        }
    }

    /// The directory of our cgroups, if there is one.
    pub fn cgroup_path(&self) -> Option<&Path> {
        self.cgroups.as_ref().map(Cgroups::path)
    }

    /// The cgroups of a killed daemon, whose processes we have taken over, are ours.
    pub fn take_cgroups_of(&mut self, daemon: u32) {
        // The lock of the one goes before the other is asked for: the one that is not used is not left behind.
        if let Some(cgroups) = self.cgroups.take() {
            let _ = cgroups.close();
        }
        self.cgroups = Cgroups::find_of(daemon);
    }

    /// Makes room for what a table needs: environment, users, logs, readiness pipes. Allocates.
    pub fn prepare(&mut self, engine: &Engine) {
        let table = engine.table();
        self.environment.prepare(table);
        let set = table.settings().initscript.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
        self.initscript = set.and_then(|path| CString::new(path).ok());
        if self.on_machine && self.initscript.is_none() {
            self.initscript = Some(INITSCRIPT.to_owned());
        }
        self.look_up_people(table);
        self.prepare_limits(table);
        self.logs.prepare(engine);
        self.prefixed.prepare(engine);
        let piped =
            table.entries().filter(|entry| matches!(entry.options().ready, Some(Ready::Fd(_)))).count();
        self.awaited.reserve(piped.saturating_sub(self.awaited.len()));
        for (row, entry) in (0..engine.head().rows_used).filter_map(|row| Some((row, engine.entry(row)?))) {
            if matches!(entry.options().ready, Some(Ready::Fd(_))) {
                let left = self.store.take(Slot::Ready(row).number());
                self.awaited.extend(left.map(|pipe| Awaited { row, pipe }));
            }
        }
    }

    /// Limits are the cgroups' business. Where there are none, that is said by name, for each that is asked for.
    fn prepare_limits(&mut self, table: &Table) {
        self.unlimited.clear();
        let limited = || table.entries().filter(|entry| limits_of(entry) != Limits::default());
        if limited().next().is_none() && self.controllers == Controllers::default() {
            return;
        }
        self.controllers = self.cgroups.as_ref().map(Cgroups::delegate).unwrap_or_default();
        for entry in limited() {
            let (limits, there) = (limits_of(&entry), self.controllers);
            for (name, asked, there) in [
                (&b"memory="[..], limits.memory_bytes.is_some(), there.memory),
                (b"cpu=", limits.cpu_percent.is_some(), there.cpu),
                (b"pids=", limits.pids.is_some(), there.pids),
            ] {
                if asked && !there {
                    let why = b" has no effect here: isinit cannot use this controller of cgroup v2\n";
                    let parts = [b"isinit: ", entry.group_name(), b"/", entry.tag(), b": ", name, why];
                    self.unlimited.extend_from_slice(&parts.concat());
                }
            }
        }
    }

    /// What was said of limits that cannot be set: a line for each.
    pub fn unlimited(&self) -> &[u8] {
        &self.unlimited
    }

    fn look_up_people(&mut self, table: &Table) {
        self.people.clear();
        for user in table.entries().filter_map(|entry| entry.options().user.as_deref()) {
            if self.people.iter().any(|(known, _)| **known == *user) {
                continue;
            }
            let found = Credentials::lookup(user).ok();
            if found.is_none() {
                say(&[
                    b"user ",
                    user,
                    b" does not exist on this machine: its entries cannot be started here",
                ]);
            }
            self.people.push((user.into(), found));
        }
    }

    /// Starts the entry of a row, and says what came of it.
    pub fn start(&mut self, engine: &Engine, row: u32) -> Event {
        let (Some(entry), Some(record)) = (engine.entry(row), engine.row(row)) else {
            return Event::Refused { row, errno: errno_word(sys::Errno::SRCH) };
        };
        match self.try_start(engine, row, &entry, record) {
            Ok(pid) => Event::Spawned { row, pid },
            Err(Trouble::Passing(errno)) => Event::Refused { row, errno: errno_word(errno) },
            Err(Trouble::Lasting(step, errno)) => {
                Event::Unable { row, last: Last::Fault { step: step as u8, errno: errno_word(errno) } }
            }
        }
    }

    fn try_start(&mut self, engine: &Engine, row: u32, entry: &Entry, record: &Row) -> Result<u32, Trouble> {
        let reader = engine.reader(row);
        self.logs.open(row)?;
        match (reader, &entry.options().tty) {
            (Some(reader), _) => self.logs.open(reader)?,
            (None, None) => self.prefixed.open(row)?,
            (None, Some(_)) => {}
        }
        let pad = self.fill_pad(engine, row, entry)?;
        let started = self.start_on(pad, row, reader, entry, record);
        self.pads.put_back(pad);
        started
    }

    /// Writes the words of a start to a pad that is free; to the large one if they do not fit there, or it would be of no
    /// use to have another.
    fn fill_pad(&mut self, engine: &Engine, row: u32, entry: &Entry) -> Result<&'static mut Pad, Trouble> {
        for large in [!is_plain(entry), true] {
            let pad = self.pads.take(large).ok_or(sys::Errno::AGAIN)?;
            let filled = self.write_arguments(engine, row, entry, pad);
            if filled.and_then(|()| self.environment.fill(engine, row, entry, pad)).is_ok() {
                return Ok(pad);
            }
            self.pads.put_back(pad);
        }
        Err(Trouble::Lasting(Step::Exec, sys::Errno::TOOBIG))
    }

    fn start_on(
        &mut self,
        pad: &Pad,
        row: u32,
        reader: Option<u32>,
        entry: &Entry,
        record: &Row,
    ) -> Result<u32, Trouble> {
        let ready = match entry.options().ready {
            Some(Ready::Fd(number)) => {
                let (ours, theirs) = sys::pipe::pair()?;
                sys::pipe::set_nonblocking(&ours)?;
                Some((ours, (theirs, number as i32)))
            }
            Some(Ready::Socket) | None => None,
        };
        let pid = self.spawn(pad, row, reader, entry, record, ready.as_ref().map(|(_, theirs)| theirs))?;
        self.forget_awaited(row);
        if let Some((pipe, _)) = ready {
            let pipe = self.store.keep(Slot::Ready(row).number(), pipe);
            self.awaited.push(Awaited { row, pipe });
        }
        Ok(pid)
    }

    fn spawn(
        &self,
        pad: &Pad,
        row: u32,
        reader: Option<u32>,
        entry: &Entry,
        record: &Row,
        ready: Option<&(OwnedFd, i32)>,
    ) -> Result<u32, Trouble> {
        let options = entry.options();
        let credentials = match options.user.as_deref() {
            Some(user) => Some(self.person(user).ok_or(Trouble::Lasting(Step::Uid, sys::Errno::NOENT))?),
            None => None,
        };
        // Without a cgroup of its own it is stopped by its process group: no reason not to start it.
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| cgroups.make(record.tag()).ok());
        if let Some(cgroup) = cgroup.as_ref().filter(|_| self.controllers != Controllers::default()) {
            let limited = self.controllers.limit(cgroup.as_fd(), limits_of(entry));
            limited.map_err(|errno| Trouble::Lasting(Step::Limit, errno))?;
        }
        let output = match (reader, &options.tty) {
            (Some(reader), _) => self.logs.input(reader),
            (None, None) => self.prefixed.input(row),
            (None, Some(_)) => None,
        };
        let spawn = Spawn {
            pad: Some(pad),
            stdin: match self.logs.output(row) {
                Some(log) => Input::From(log),
                None if self.on_machine => Input::Inherit,
                None => Input::Null,
            },
            stdout: output,
            stderr: output,
            extra: ready.map(|(pipe, number)| (pipe.as_fd(), *number)),
            tty: match &options.tty {
                Some(Tty::Device(device)) => Some(device),
                Some(Tty::Console) => Some(c"/dev/console"),
                None => None,
            },
            dir: options.dir.as_deref(),
            umask: options.umask,
            nice: options.nice,
            oom: options.oom,
            rlimits: &options.rlimits,
            credentials,
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.as_fd()),
            ask: (entry.action() == Action::Askfirst).then_some(ASK),
            login: entry.process().login,
            ..Spawn::new(&pad.argv, &pad.env, &record.pid, &record.fault)
        };
        Ok(sys::spawn::spawn(&spawn)?)
    }

    /// The command: as it is, by the shell, or by the initscript. The last not in single user mode, as sysvinit has
    /// it, for it may be what is to be mended there; nor where `@` forbids it.
    fn write_arguments(&self, engine: &Engine, row: u32, entry: &Entry, pad: &mut Pad) -> Result<(), Full> {
        let process = entry.process();
        let argv = &mut pad.argv;
        argv.clear();
        let single = matches!(engine.levels_of(row).0, b"S" | b"s");
        let wanted = self.initscript.as_ref().filter(|_| !process.bare && !single);
        if let Some(script) = wanted.filter(|script| sys::files::can_read(script)) {
            let words = [b"/bin/sh", script.to_bytes(), entry.tag(), entry.levels().raw()];
            words.into_iter().try_for_each(|word| argv.push(word))?;
            argv.push(entry.action().name().as_bytes())?;
            return argv.push(process.text);
        }
        if process.shell {
            argv.push(b"/bin/sh")?;
            argv.push(b"-c")?;
            return argv.push(process.text);
        }
        process.words().try_for_each(|word| argv.push(word))
    }

    fn person(&self, user: &[u8]) -> Option<&Credentials> {
        self.people.iter().find(|(known, _)| **known == *user)?.1.as_ref()
    }

    /// Before a long wait: gives back what starts have touched. `true`: there is more to come soon.
    pub fn trim(&mut self) -> bool {
        self.pads.trim()
    }

    /// The processes whose readiness is awaited on a pipe.
    pub fn awaited(&self) -> &[Awaited] {
        &self.awaited
    }

    /// Nobody waits for this row's readiness any more.
    pub fn forget_awaited(&mut self, row: u32) {
        self.awaited.retain(|awaited| awaited.row != row);
    }

    /// Closes the log of a reader, so that it comes to its end.
    pub fn end_log(&mut self, reader: u32) {
        self.logs.end(reader);
    }

    /// Sends a signal to a row's process group; to the process alone where it has not made its group yet. What
    /// is stopped (SIGSTOP) is continued, so that it can do what the signal asks for.
    pub fn signal(&self, pid: u32, signal: i32) -> Result<(), sys::Errno> {
        let pid = pid as i32;
        let sent = sys::signals::send_group(pid, signal).or_else(|_| sys::signals::send(pid, signal));
        if signal != consts::SIGSTOP && signal != consts::SIGTSTP {
            let _ = sys::signals::send_group(pid, consts::SIGCONT);
        }
        sent
    }

    /// SIGKILL to a row's process, its group, and all of its cgroup. The error is that of the last of the three, where
    /// all have failed.
    pub fn kill(&mut self, engine: &Engine, row: u32, pid: u32) -> Result<(), sys::Errno> {
        let whole = match (&self.cgroups, engine.row(row)) {
            (Some(cgroups), Some(record)) => cgroups.kill(record.tag()),
            _ => Err(sys::Errno::SRCH),
        };
        let group = sys::signals::send_group(pid as i32, consts::SIGKILL);
        let process = sys::signals::send(pid as i32, consts::SIGKILL);
        whole.or(group).or(process)
    }

    /// The processes have changed: what a look through /proc has found is old.
    pub fn forget_census(&mut self) {
        self.census_taken = false;
    }

    /// A row's process has ended while being stopped: sends the signal to what it has left. Is there anything?
    pub fn sweep(&mut self, engine: &Engine, row: u32, main: u32, signal: i32) -> bool {
        let Some(record) = engine.row(row) else { return false };
        let found = self.cgroups.as_ref().and_then(|cgroups| sweep_cgroup(cgroups, record.tag(), signal));
        found.unwrap_or_else(|| self.sweep_proc(engine, record, main, signal))
    }

    #[inline(never)] // as Cgroups::signal
    fn sweep_proc(&mut self, engine: &Engine, record: &Row, main: u32, signal: i32) -> bool {
        let known = |pid: u32| engine.row_of_pid(pid).is_some();
        if !self.census_taken {
            if let Err(errno) = self.census.look(&known) {
                return self.sweep_blindly(main, signal, errno);
            }
            (self.census_taken, self.census_failed) = (true, false);
        }
        let mut marker = Line::<{ TAG_MAX_BYTES + 16 }>::new();
        marker.text("ISINIT_TAG=").text(record.tag());
        let mut left = false;
        let wanted = Wanted { main, marker: marker.bytes(), owner_marker: &self.socket_marker };
        let looked = self.census.belonging(&wanted, &known, |pid| {
            left = true;
            match sys::signals::send(pid as i32, signal) {
                // It has gone meanwhile.
                Err(sys::Errno::SRCH) => {}
                sent => say_unsignalled(record.tag(), sent),
            }
            if signal != consts::SIGKILL {
                let _ = sys::signals::send(pid as i32, consts::SIGCONT);
            }
        });
        match looked {
            Ok(()) => left,
            Err(errno) => self.sweep_blindly(main, signal, errno),
        }
    }

    /// Without /proc there is only the process group to go by. Where it is there and could not be looked through,
    /// nobody knows what is left: it has to be looked for again.
    fn sweep_blindly(&mut self, main: u32, signal: i32, errno: sys::Errno) -> bool {
        if !self.census_failed {
            say_errno("cannot look", b"through /proc for what entries have left behind", errno);
        }
        self.census_failed = true;
        let left = main > 1 && sys::signals::send_group(main as i32, signal).is_ok();
        left || !matches!(errno, sys::Errno::NOENT | sys::Errno::SRCH)
    }

    /// What processes write, each line with its tag before it.
    pub fn prefixed(&self) -> &Prefixed {
        &self.prefixed
    }

    /// A process has written something.
    pub fn hear_lines(&mut self, engine: &Engine, row: u32) {
        self.prefixed.hear(engine, row);
    }

    /// A process has ended: its last lines.
    pub fn end_lines(&mut self, engine: &Engine, row: u32) {
        self.prefixed.ended(engine, row);
    }

    /// Standard output takes something again.
    pub fn flush_lines(&mut self, engine: &Engine) {
        self.prefixed.flush(engine);
    }

    /// Writes all that they have written, until `until` at most.
    pub fn write_lines(&mut self, engine: &Engine, until: u64) {
        self.prefixed.end(engine, until);
    }

    /// Writes their last lines, and takes away what is kept for all processes: after the last of them has ended.
    pub fn close(&mut self, engine: &Engine) {
        self.write_lines(engine, sys::clock::now_ms().saturating_add(LAST_LINES_MS));
        if let Some(cgroups) = self.cgroups.take() {
            let _ = cgroups.close();
        }
    }
}

fn limits_of(entry: &Entry) -> Limits {
    let options = entry.options();
    Limits { memory_bytes: options.memory_bytes, cpu_percent: options.cpu_percent, pids: options.pids }
}

/// Whether its process can begin in our memory (the essay of `sys::spawn`): one whose memory is limited could be killed for
/// want of it, and we with it; all else is known there.
fn is_plain(entry: &Entry) -> bool {
    let options = entry.options();
    let more =
        options.tty.is_some() || options.dir.is_some() || options.oom.is_some() || options.user.is_some();
    !more
        && options.rlimits.is_empty()
        && entry.action() != Action::Askfirst
        && limits_of(entry) == Limits::default()
}

/// Says that a process of an entry could not be signalled.
pub fn say_unsignalled(tag: &[u8], sent: Result<(), sys::Errno>) {
    if let Err(errno) = sent {
        say_errno("cannot signal", tag, errno);
    }
}

/// Why a process could not be started.
enum Trouble {
    /// For want of something that will be there later.
    Passing(sys::Errno),
    /// It will not be better the next time.
    Lasting(Step, sys::Errno),
}

impl From<sys::Errno> for Trouble {
    fn from(errno: sys::Errno) -> Trouble {
        Trouble::Passing(errno)
    }
}

fn errno_word(errno: sys::Errno) -> u16 {
    errno.raw_os_error().unsigned_abs() as u16
}

/// Is there something left in its cgroup? `None` if there is none that could be asked: it could not be made, or cannot
/// be opened now.
fn sweep_cgroup(cgroups: &Cgroups, tag: &[u8], signal: i32) -> Option<bool> {
    match cgroups.vacate(tag) {
        Ok(true) => return Some(false),
        Ok(false) => return None,
        // Something lives in it, or has made groups in it.
        Err(_) => {}
    }
    if !cgroups.populated(tag).ok()?? {
        let _ = cgroups.remove(tag);
        return Some(false);
    }
    let told = match signal {
        consts::SIGKILL => cgroups.kill(tag),
        _ => cgroups.signal(tag, signal).map(|_| ()),
    };
    told.ok().map(|()| true)
}
