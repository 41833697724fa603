//! The supervisor: the one loop of the daemon, and all that it does for the engine.
//!
//! One turn: what has happened becomes events for the engine; the engine's effects are carried out until there
//! are none; those who wait are answered; then it sleeps in poll(2) until something happens or the next
//! deadline comes. Without either it sleeps for ever: an idle daemon makes no system call at all.
//!
//! Nothing in a turn waits for anybody. A child that execs from a dead network file system, a client that does
//! not read, a terminal that was stopped with Ctrl-S: each holds up itself alone.

mod answers;
mod begin;
pub mod clients;
mod environment;
mod life;
mod line;
mod logs;
mod machine;
mod messages;
mod prefix;
mod processes;
mod requests;
pub mod state;
mod statfiles;
mod survivors;
mod upgrade;

use std::os::fd::AsFd;

use signal_hook::consts;

use begin::load_words;
pub use begin::{Config, go_on, run};
use clients::{Client, Clients, Heard, Talk};
use life::Life;
pub use machine::run_machine;
use machine::{Machine, SIGNAL_HALT, SIGNAL_POWER};
use messages::{say, say_bad_table, say_errno, say_transition};
use processes::{Processes, say_unsignalled};
use state::StateFile;
use statfiles::StatFiles;
use upgrade::Upgrade;
pub use upgrade::{QUESTION, reads_rows};

use crate::engine::child::Ending;
use crate::engine::rows::{Last, Row};
use crate::engine::{Effect, Engine, Event, Farewell, LoadError, Ms, NEVER};
use crate::isinittab::{Action, Mounts, Occasion, Table};
use crate::limits::{
    ACCEPTS_MAX, LAST_LINES_MS, LONG_WAIT_MS, NOTIFICATIONS_MAX, PADS_LOOK_MS, READY_READS_MAX, REQUESTS_MAX,
    RETRY_MS, SOCKET_TRIES,
};
use crate::sys;
use crate::sys::notify::Notify;
use crate::sys::poll::PollSet;
use crate::sys::reap::{Ended, Exit};
use crate::sys::reexec::{FdStore, Reexec};
use crate::sys::signals::{Arrived, Signals};
use crate::sys::socket::Listener;
use crate::sys::spawn::{Fault, Step};
use crate::sys::survivor::Survivor;

/// Where the socket is, when neither command line nor table says.
pub const SOCKET: &str = "/var/run/is/init.s";

/// Where it is on a machine on which that cannot be: its root is read-only, and /var/run no link to /run.
pub const SOCKET_OF_MACHINE: &str = "/run/is/init.s";

/// What the daemon is to those around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A supervisor below another init: it neither boots nor brings down anything.
    Nested,
    /// What a container was started with, as its process 1 or not: it boots it, and its end is the container's.
    Container,
    /// Process 1 of a machine.
    Machine,
}

/// What came of a re-read.
enum Reread {
    /// The table is in force (or was not changed).
    Done,
    /// It has errors, these; the one in force is kept.
    Bad(Vec<u8>),
}

/// What a turn of the loop listens to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Notify,
    Place,
    Initctl,
    Output,
    Stdout,
    Stream(u32),
    Client(usize),
    Awaited(u32),
    Survivor(u32),
}

struct Supervisor {
    engine: Engine<'static>,
    processes: Processes,
    clients: Clients,
    statfiles: StatFiles,
    signals: Signals,
    listener: Option<Listener>,
    place: sys::watch::Watch,
    notify: Option<Notify>,
    table_bad: bool,
    /// Until then nobody is listened to who could not be heard: it is tried again, instead of finding the same out in a
    /// circle. 0: everybody is.
    rest_until_ms: Ms,
    /// A table was taken, and there was no long wait since.
    untrimmed: bool,
    /// What was last said of that: it is not said again while nothing has changed.
    rest_said: Option<(&'static str, sys::Errno)>,
    poll: PollSet,
    sources: Vec<Source>,
    exit: Option<u8>,
    /// The slot of the main group: the one that is meant by programs which know of no groups.
    main: Option<u32>,
    role: Role,
    machine: Option<Box<Machine>>,
    /// What outlives us.
    life: &'static mut Life,
    store: FdStore,
    reexec: Option<&'static Reexec>,
    upgrade: Upgrade,
    /// For the case that we are killed; `None` for who is process 1, and where it cannot be written.
    state: Option<StateFile>,
    /// What a killed daemon has left, and we have taken over.
    survivors: Vec<Survivor>,
}

impl Supervisor {
    /// Stops everything, as somebody has asked for. A container goes down as a machine does that is switched off.
    fn stop_all(&mut self) {
        let way = (self.role == Role::Container).then_some(b'0');
        self.engine.go_down(Farewell { status: 0, way }, sys::clock::now_ms());
    }

    /// The loop, until everything is down.
    fn serve(&mut self) {
        self.restore_socket();
        self.settle();
        while self.exit.is_none() {
            self.listen_to_all();
            let deadline = self.trim(self.deadline());
            if let Err(errno) = self.poll.wait(deadline) {
                say_errno("cannot wait", b"in poll", errno);
            }
            self.hear_all();
            if self.life.took_over != 0 {
                self.engine.look_again();
            }
            self.settle();
            self.go_on_with_upgrade(sys::clock::now_ms());
        }
    }

    /// Before a long wait gives back what starts have touched, and before the first with a table what taking it has. Short
    /// waits come first while children are still on their way: the deadline is that of the wait that comes now.
    fn trim(&mut self, deadline: Option<Ms>) -> Option<Ms> {
        let now = sys::clock::now_ms();
        if deadline.is_some_and(|at| at <= now.saturating_add(LONG_WAIT_MS)) {
            return deadline;
        }
        let is_more_to_come = self.processes.trim();
        if self.untrimmed {
            self.poll.trim();
            self.untrimmed = is_more_to_come;
        }
        if is_more_to_come { Some(now.saturating_add(PADS_LOOK_MS)) } else { deadline }
    }

    /// Takes a table.
    fn take(&mut self, table: Table) -> Result<(), LoadError> {
        self.engine.load(table, sys::clock::now_ms())?;
        self.untrimmed = true;
        self.prepare();
        Ok(())
    }

    /// Makes all room that the table in force needs, and keeps its text.
    fn prepare(&mut self) {
        if let Some(reexec) = self.reexec {
            Life::keep_text(reexec, self.engine.table().text());
        }
        self.processes.prepare(&self.engine);
        self.statfiles.prepare(self.engine.table().settings(), &self.engine);
        self.statfiles.write(&self.engine);
        let awaited = self.engine.table().len();
        let streams = self.processes.prefixed().len().saturating_add(self.survivors.len());
        if let Some(state) = &mut self.state {
            state.copy_all(&self.engine);
        }
        // Signals, listener, notify, place, initctl, output, standard output.
        let most = self.clients.len().saturating_add(7).saturating_add(awaited).saturating_add(streams);
        self.poll = PollSet::new(most);
        self.sources = Vec::with_capacity(most);
        let main = machine::main_group(self.engine.table());
        self.main = main.and_then(|group| self.engine.find_group(group.name));
        not_done(self.engine.table(), self.role).iter().for_each(|line| sys::output::say(line));
        self.processes.unlimited().split_inclusive(|byte| *byte == b'\n').for_each(sys::output::say);
    }

    /// Before a tell: the table, if it has changed. Only the group that is told starts anything because of it.
    fn reread_if_changed(&mut self) -> Reread {
        if self.engine.table().changed_on_disk() || self.table_bad { self.load_table() } else { Reread::Done }
    }

    /// When it is asked for: the table, and what is missing in every group at its level.
    fn reread(&mut self) -> Reread {
        let read = self.load_table();
        if !self.table_bad {
            let now = sys::clock::now_ms();
            self.engine.refresh(now);
            self.boot_at_last(now);
        }
        read
    }

    fn load_table(&mut self) -> Reread {
        let read = match Table::load(self.life.table.get()) {
            Ok(loaded) => match self.take(loaded.table) {
                Ok(()) => Reread::Done,
                Err(error) => Reread::Bad(load_words(error).as_bytes().to_vec()),
            },
            Err(report) => Reread::Bad(report.to_string().into_bytes()),
        };
        self.table_bad = matches!(read, Reread::Bad(_));
        read
    }

    /// Carries out what the engine wants, tells what has happened, answers who waits: until nothing is left.
    fn settle(&mut self) {
        self.processes.forget_census();
        let now = sys::clock::now_ms();
        while let Some(effect) = self.engine.next_effect(now) {
            self.carry_out(effect, now);
            self.tell_messages();
        }
        self.tell_messages();
        if let Some(state) = &mut self.state {
            state.copy_changes(&self.engine);
        }
        self.record_boot();
        self.keep_watchdog(now);
        self.go_on(now);
    }

    fn carry_out(&mut self, effect: Effect, now: Ms) {
        match effect {
            Effect::Spawn { row } => {
                let event = self.processes.start(&self.engine, row);
                self.engine.handle(event, now);
            }
            Effect::Stop { row, pid } => {
                self.processes.forget_awaited(row);
                let sent = self.processes.signal(pid, self.stop_signal(row));
                say_unsignalled(self.tag(row), sent);
            }
            Effect::Kill { row, pid } => {
                let sent = self.processes.kill(&self.engine, row, pid);
                say_unsignalled(self.tag(row), sent);
            }
            Effect::EndLog { row } => self.processes.end_log(row),
            Effect::Sweep { row, main, kill } => {
                let signal = if kill { consts::SIGKILL } else { self.stop_signal(row) };
                let left = self.processes.sweep(&self.engine, row, main, signal);
                self.engine.handle(Event::Swept { row, left }, now);
            }
            Effect::Exit { status } => self.exit = Some(status),
        }
    }

    fn tag(&self, row: u32) -> &[u8] {
        self.engine.row(row).map_or(b"?", |record| record.tag())
    }

    fn stop_signal(&self, row: u32) -> i32 {
        self.engine.row(row).map_or(consts::SIGTERM, |record| i32::from(record.stop_signal))
    }

    /// Says what has happened since the last time, and writes the status files if it was of a group.
    fn tell_messages(&mut self) {
        let count = self.engine.head().count;
        if self.life.said == count {
            return;
        }
        while self.life.said < count {
            let transition = self.engine.head().get(self.life.said).copied();
            // First: what is being said when a life ends is not said again by the next, which would end by it too.
            self.life.said = self.life.said.saturating_add(1);
            if let Some(transition) = transition {
                say_transition(&self.engine, &transition);
                self.record(&transition);
            }
        }
        self.statfiles.write(&self.engine);
    }

    fn deadline(&self) -> Option<Ms> {
        let engine = self.engine.deadline().unwrap_or(NEVER);
        let rest = if self.rest_until_ms > 0 { self.rest_until_ms } else { NEVER };
        let due = if self.clients.any_due() { 0 } else { NEVER };
        let rare = [self.watchdog_deadline(), self.upgrade_deadline(), self.look_again_at()];
        let first = rare.into_iter().chain([self.clients.deadline(), rest, due]).fold(engine, Ms::min);
        (first != NEVER).then_some(first)
    }

    fn listen_to_all(&mut self) {
        self.poll.clear();
        self.sources.clear();
        let mut add = |source, fd, read, write| {
            if self.poll.add(fd, read, write).is_some() {
                self.sources.push(source);
            }
        };
        add(Source::Signals, self.signals.fd(), true, false);
        for awaited in self.processes.awaited() {
            add(Source::Awaited(awaited.row), awaited.pipe.as_fd(), true, false);
        }
        for survivor in &self.survivors {
            add(Source::Survivor(survivor.pid()), survivor.fd(), true, false);
        }
        if let Some(notify) = self.notify.as_ref().filter(|_| self.rest_until_ms == 0) {
            add(Source::Notify, notify.fd(), true, false);
        }
        for place in 0..self.clients.len() {
            if let Some(client) = self.clients.get(place) {
                add(Source::Client(place), client.fd(), client.wants_read(), client.wants_write());
            }
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.rest_until_ms == 0) {
            add(Source::Listener, listener.fd(), true, false);
        }
        if let Some(pipe) = self.machine.as_ref().and_then(|machine| machine.initctl()) {
            add(Source::Initctl, pipe, true, false);
        }
        for (row, pipe) in self.processes.prefixed().sources() {
            add(Source::Stream(row), pipe, true, false);
        }
        if self.processes.prefixed().pending() {
            add(Source::Stdout, rustix::stdio::stdout(), false, true);
        }
        if sys::output::pending() {
            add(Source::Output, sys::output::fd(), false, true);
        }
        // Last, as it may let clients in: what was reported of a place is of the one who had it then.
        if let Some(place) = self.place.fd() {
            add(Source::Place, place, true, false);
        }
    }

    /// Turns what has happened into events. Signals first: who was the process of a row is asked of the rows,
    /// and a PID is free for reuse only when we have collected it.
    // What it reads into is no part of the frame below which children are forked: each page of the stack between here and
    // the fork is copied once more for every child.
    #[inline(never)]
    fn hear_all(&mut self) {
        let now = sys::clock::now_ms();
        if self.rest_until_ms > 0 && self.rest_until_ms <= now {
            self.rest_until_ms = 0;
            // A look that has failed missed what no signal tells again.
            self.reap(now);
        }
        for token in 0..self.sources.len() {
            let Some(&source) = self.sources.get(token) else { break };
            let (read, write) = (self.poll.readable(token), self.poll.writable(token));
            let due = |place| self.clients.get(place).is_some_and(Client::is_due);
            match source {
                Source::Signals if read => self.hear_signals(now),
                Source::Awaited(row) if read => self.hear_awaited(row, now),
                Source::Survivor(pid) if read => self.hear_survivor(pid, now),
                Source::Notify if read => self.hear_notify(now),
                Source::Place if read => self.hear_place(),
                Source::Client(place) if read || write || due(place) => {
                    self.hear_client(place, write, self.poll.hung_up(token), now);
                }
                Source::Listener if read => self.accept(now),
                Source::Initctl if read => self.hear_initctl(now),
                Source::Output => sys::output::flush(),
                Source::Stream(row) if read => self.processes.hear_lines(&self.engine, row),
                Source::Stdout => self.processes.flush_lines(&self.engine),
                Source::Signals
                | Source::Awaited(_)
                | Source::Survivor(_)
                | Source::Notify
                | Source::Place
                | Source::Initctl
                | Source::Stream(_)
                | Source::Client(_)
                | Source::Listener => {}
            }
        }
        self.close_silent(now);
    }

    fn hear_signals(&mut self, now: Ms) {
        let mut arrived = [Arrived::default(); 16];
        loop {
            let count = match self.signals.read(&mut arrived) {
                Ok(count) => count,
                Err(errno) => return say_errno("cannot read", b"signals", errno),
            };
            for (place, signal) in self.life.signals.iter_mut().zip(arrived.iter().take(count)) {
                *place = signal.number as u8;
            }
            self.hear_left(now);
            if count < arrived.len() {
                return;
            }
        }
    }

    fn hear_signal(&mut self, number: i32, now: Ms) {
        match number {
            consts::SIGCHLD => self.reap(now),
            consts::SIGHUP => {
                if let Reread::Bad(text) = self.reread() {
                    say_bad_table(&text);
                }
                self.restore_socket();
            }
            number if self.machine.is_some() => self.hear_machine_signal(number, now),
            consts::SIGTERM | consts::SIGINT | SIGNAL_HALT => self.stop_all(),
            // lxc-stop(1).
            SIGNAL_POWER if self.role == Role::Container => self.stop_all(),
            _ => {}
        }
    }

    /// Takes in all that have ended, not one for each SIGCHLD: signals of the same kind are merged. Each is
    /// looked at first, noted, and only then collected, so that its number cannot be another's before that.
    fn reap(&mut self, now: Ms) {
        loop {
            match sys::reap::peek() {
                Ok(Some(ended)) => {
                    self.note_end(&ended, now);
                    if let Err(errno) = sys::reap::collect(ended.pid) {
                        return self.rest("cannot collect", b"a process that has ended", errno, now);
                    }
                }
                Ok(None) => return,
                Err(errno) => return self.rest("cannot look", b"for processes that have ended", errno, now),
            }
        }
    }

    /// What could not be done is tried again after a rest.
    fn rest(&mut self, what: &'static str, on: &[u8], errno: sys::Errno, now: Ms) {
        self.rest_until_ms = now.saturating_add(RETRY_MS);
        self.say_once(what, on, errno);
    }

    fn say_once(&mut self, what: &'static str, on: &[u8], errno: sys::Errno) {
        if self.rest_said.replace((what, errno)) != Some((what, errno)) {
            say_errno(what, on, errno);
        }
    }

    fn note_end(&mut self, ended: &Ended, now: Ms) {
        if self.hear_asked(ended.pid, ended.how) {
            return;
        }
        let row = self.engine.row_of_pid(ended.pid);
        let fault = row.and_then(|row| self.engine.row(row)).and_then(fault_of);
        let (last, ending) = match (fault, ended.how) {
            (Some(fault), _) => fault_ending(fault),
            (None, Exit::Code(0)) => (Last::Exit(0), Ending::Well),
            (None, Exit::Code(code)) => (Last::Exit(code as u8), Ending::Badly),
            (None, Exit::Signal(signal)) => (Last::Signal(signal as u8), Ending::Badly),
        };
        if let Some(row) = row {
            self.processes.forget_awaited(row);
            self.processes.end_lines(&self.engine, row);
        }
        self.engine.handle(Event::Ended { pid: ended.pid, last, ending }, now);
    }

    /// A newline on the descriptor of `ready=FD` is readiness; whatever comes before it is not looked at. The
    /// end without one is not: the deadline decides.
    fn hear_awaited(&mut self, row: u32, now: Ms) {
        for _ in 0..READY_READS_MAX {
            let Some(awaited) = self.processes.awaited().iter().find(|awaited| awaited.row == row) else {
                return;
            };
            self.life.heard.fill(0);
            self.life.heard_of = row.saturating_add(1);
            match sys::pipe::read(&awaited.pipe, &mut self.life.heard) {
                Ok(Some(count)) if count > 0 && !self.life.heard.contains(&b'\n') => continue,
                Ok(None) => return,
                Ok(Some(_)) => self.hear_left(now),
                Err(errno) => say_errno("cannot read", b"what says that an entry is ready", errno),
            }
            return self.processes.forget_awaited(row);
        }
    }

    /// Turns what was read into events: also what the life before has read, if it has come no further. Whatever it is is
    /// forgotten first, lest it be the end of every life.
    fn hear_left(&mut self, now: Ms) {
        for place in 0..self.life.signals.len() {
            let number = self.life.signals.get_mut(place).map_or(0, std::mem::take);
            if number > 0 {
                self.hear_signal(number.into(), now);
            }
        }
        let heard_of = std::mem::take(&mut self.life.heard_of);
        if let Some(row) = heard_of.checked_sub(1).filter(|_| self.life.heard.contains(&b'\n')) {
            self.engine.handle(Event::Ready { row }, now);
        }
    }

    /// `READY=1` of sd_notify(3), from the main process or one of its session.
    fn hear_notify(&mut self, now: Ms) {
        let mut bytes = [0; 1024];
        for _ in 0..NOTIFICATIONS_MAX {
            let Some(notify) = &self.notify else { return };
            let (count, pid) = match notify.look(&mut bytes) {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(errno) => {
                    return self.rest("cannot receive", b"what says that an entry is ready", errno, now);
                }
            };
            let message = bytes.get(..count).unwrap_or(&[]);
            if message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                let row = self.engine.row_of_pid(pid).or_else(|| {
                    let leader = sys::process::session_of(pid)?;
                    self.engine.row_of_pid(leader)
                });
                if let Some(row) = row {
                    self.engine.handle(Event::Ready { row }, now);
                }
            }
            // Only now, lest a crash lose it.
            if let Some(Err(errno)) = self.notify.as_ref().map(Notify::take) {
                return self.rest("cannot take", b"what says that an entry is ready", errno, now);
            }
        }
    }

    fn hear_place(&mut self) {
        self.place.drain();
        self.restore_socket();
        self.restore_initctl();
    }

    /// Makes the socket anew if its file is not there any more, or is not ours. And looks again, for it may go
    /// before its directory is watched.
    fn restore_socket(&mut self) {
        for _ in 0..SOCKET_TRIES {
            if self.listener.as_ref().is_some_and(Listener::still_there) {
                return;
            }
            // Who has come by the old one, and was not let in yet, is lost with it.
            self.accept(sys::clock::now_ms());
            let path = self.life.socket.get().to_path_buf();
            let made = sys::socket::listen(&path);
            self.place = sys::watch::Watch::on(&path);
            // It may have gone while it was made: once more, now that the loss would be told of.
            let Ok(listener) = made.or_else(|_| sys::socket::listen(&path)) else {
                // Said once, and not with each file system that is mounted meanwhile.
                if self.listener.is_some() {
                    self.listen_by(None);
                    say(&[b"the socket is gone and cannot be made anew; SIGHUP tries again"]);
                }
                return;
            };
            say(&[b"the socket was gone, and is made anew"]);
            self.listen_by(Some(listener));
        }
    }

    /// `gone`: there is nobody left who would take an answer. What was asked before that counts.
    fn hear_client(&mut self, place: usize, write: bool, gone: bool, now: Ms) {
        let Some(client) = self.clients.get_mut(place) else { return };
        if write && !client.flush(now) || gone && !client.is_idle() {
            return self.clients.close(place);
        }
        self.hear_requests(place, now);
    }

    /// Takes in the requests of a client, one after the other: the next when the one before is answered. Not all
    /// that it has: the others have their turn too.
    fn hear_requests(&mut self, place: usize, now: Ms) {
        for _ in 0..REQUESTS_MAX {
            let Some(client) = self.clients.get_mut(place) else { return };
            let idle = client.is_idle();
            match client.hear(now) {
                Heard::Nothing => return,
                Heard::Gone => return self.clients.close(place),
                // Who waits for an answer and goes on talking is not listened to until it has it, and who has closed
                // its side gets it too.
                Heard::Line { .. } | Heard::TooLong | Heard::Ended if !idle => return,
                Heard::Ended => return self.clients.close(place),
                Heard::TooLong => return self.turn_away(place, b"err 2 a request has at most 512 bytes\n"),
                Heard::Line { length, last } => {
                    let line = client.take_line(length);
                    self.request(place, &line, last);
                    if !self.engine_answers(place, now) {
                        return self.clients.close(place);
                    }
                }
            }
        }
    }

    fn turn_away(&mut self, place: usize, words: &[u8]) {
        let now = sys::clock::now_ms();
        if let Some(client) = self.clients.get_mut(place) {
            client.put(words);
            client.flush(now);
        }
        self.clients.close(place);
    }

    fn accept(&mut self, now: Ms) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok(Some((fd, peer))) => {
                    let allowed = peer.uid == 0 || peer.uid == sys::process::own_uid();
                    if !allowed {
                        let _ = sys::socket::write(
                            &fd,
                            b"err 6 only root and the daemon's own user may ask it\n",
                        );
                        continue;
                    }
                    self.rest_said = None;
                    let Some(place) = self.clients.seat(fd, now) else { continue };
                    self.hear_requests(place, now);
                }
                Ok(None) => return,
                Err(errno) => {
                    self.say_once("cannot let in", b"a client", errno);
                    // No descriptor is left? Somebody silent gives his up.
                    let want = matches!(errno, sys::Errno::MFILE | sys::Errno::NFILE);
                    if !want || !self.clients.make_room() {
                        return self.rest("cannot let in", b"a client", errno, now);
                    }
                }
            }
        }
    }

    fn close_silent(&mut self, now: Ms) {
        for place in 0..self.clients.len() {
            if self.clients.get(place).is_some_and(|client| client.deadline() <= now) {
                self.clients.close(place);
            }
        }
    }

    /// Everything is down: says so to those who wait for it, and takes the socket away.
    fn end(&mut self) -> i32 {
        let until = sys::clock::now_ms().saturating_add(LAST_LINES_MS);
        for place in 0..self.clients.len() {
            if let Some(client) =
                self.clients.get_mut(place).filter(|client| matches!(client.talk, Talk::End))
            {
                client.put(b"ok stopped\n");
            }
            while self.engine_answers(place, until) && sys::clock::now_ms() < until {
                let Some(client) = self.clients.get(place).filter(|client| client.wants_write()) else {
                    break;
                };
                self.poll.clear();
                self.poll.add(client.fd(), false, true);
                let _ = self.poll.wait(Some(until));
            }
        }
        if let Some(listener) = self.listener.take() {
            listener.close();
        }
        self.state.take().into_iter().for_each(StateFile::remove);
        self.processes.close(&self.engine);
        i32::from(self.exit.unwrap_or(0))
    }
}

fn fault_ending(fault: Fault) -> (Last, Ending) {
    use sys::Errno;
    let last =
        Last::Fault { step: fault.step as u8, errno: fault.errno.raw_os_error().unsigned_abs() as u16 };
    let ending = match (fault.step, fault.errno) {
        (Step::Tty, Errno::NOENT | Errno::NXIO | Errno::NODEV) => Ending::NoTerminal,
        (_, Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TXTBSY) => Ending::Wanting,
        (_, _) => Ending::Badly,
    };
    (last, ending)
}

/// What the table asks for and is for process 1 alone, or for that of a machine, is said by name where it is not
/// carried out, never passed over: a line for each.
pub fn not_done(table: &Table, role: Role) -> Vec<Vec<u8>> {
    let entries = table.entries().flat_map(|entry| {
        let name = [entry.group_name(), b"/", entry.tag(), b": "].concat();
        let action = Some(entry.action().name()).filter(|_| !carries_out(role, entry.action()));
        action.map(move |what| [&b"isinit: "[..], &name, what.as_bytes(), NOT_HERE.as_bytes()].concat())
    });
    let settings = table.settings();
    let of_process_1 = [
        (settings.mounts != Mounts::Auto).then_some("mounts"),
        settings.watchdog.as_ref().map(|_| "watchdog"),
    ];
    let settings = of_process_1.into_iter().flatten().filter(|_| role != Role::Machine);
    let settings =
        settings.map(|what| [b"isinit: the setting ", what.as_bytes(), NOT_HERE.as_bytes()].concat());
    entries.chain(settings).collect()
}

const NOT_HERE: &str = " is for process 1 of a machine, and has no effect here\n";

/// Does a daemon in this role ever start an entry with this action?
fn carries_out(role: Role, action: Action) -> bool {
    match role {
        Role::Machine => true,
        Role::Container => {
            let occasion = action.occasion();
            let boots = matches!(occasion, Occasion::Sysinit | Occasion::Boot | Occasion::Shutdown);
            boots || !occasion.is_of_the_whole() && action != Action::Restart
        }
        Role::Nested => !action.occasion().is_of_the_whole() && action != Action::Restart,
    }
}

/// What the child has written into its row, if it could not become its program.
fn fault_of(record: &Row) -> Option<Fault> {
    Fault::from_word(record.fault.load(std::sync::atomic::Ordering::Acquire))
}
