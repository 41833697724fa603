//! What clients ask for: a request becomes a call of the engine, and its outcome an answer.

use smallvec::SmallVec;

use super::answers::{
    AnswerLine, StatusAt, change_line, status_line, step_line, timeline_line, waiting_line,
};
use super::clients::{Client, Talk};
use super::line::Line;
use super::messages::{last_words, say, say_bad_table};
use super::{Reread, Role, Supervisor};
use crate::engine::child::ChildState;
use crate::engine::plan::Plan;
use crate::engine::rows::{GroupFlags, Verdict};
use crate::engine::{Engine, Ms, Outcome, Refusal, Tell};
use crate::isinittab::{Signal, Table};
use crate::sys;
use crate::wire::{Request, parse};

/// Bytes of the longest line that an answer may have: a place must have so much room before one is made.
const LINE_MAX_BYTES: usize = 512;

/// Bytes of the path of our cgroups that are told: beside the longest path of a table there is no more room in a line.
const CGROUP_PATH_MAX_BYTES: usize = 512;

impl Supervisor {
    /// Carries out one request; `last` if the client has closed its side after it.
    pub(super) fn request(&mut self, place: usize, line: &[u8], last: bool) {
        let classic = !line.starts_with(b":");
        let request = match parse(line) {
            Ok(request) => request,
            Err(malformed) => {
                return self.answer(place, |answer| {
                    answer.text("err 2 ").text(malformed.words()).text("\n");
                });
            }
        };
        self.carry_out_request(place, request, classic);
        if classic || last {
            if let Some(client) = self.clients.get_mut(place) {
                if matches!(client.talk, Talk::Asking) {
                    client.talk = Talk::Closing;
                }
            }
        }
    }

    fn carry_out_request(&mut self, place: usize, request: Request, classic: bool) {
        match request {
            Request::Ping => self.pong(place),
            Request::Tell { group, level, wait, revert, force, progress } => {
                let how = Tell { force: force || classic, revert };
                self.tell(place, group, level, how, (!classic).then_some(wait), progress);
            }
            Request::Status { group } => self.status(place, group),
            Request::Timeline { group } => self.timeline(place, group),
            Request::Plan { group, level } => self.plan(place, group, level),
            Request::Reread => self.reread_for(place, !classic),
            Request::Watch => self.talk(place, Talk::Watching { next: self.engine.head().count }),
            Request::Start { tag, wait } => {
                let now = sys::clock::now_ms();
                let row = self.engine.start_entry(tag, now);
                self.entry(place, tag, row, wait, true);
            }
            Request::Restart { tag, wait } => {
                let now = sys::clock::now_ms();
                let row = self.engine.restart_entry(tag, now);
                self.entry(place, tag, row, wait, true);
            }
            Request::Stop { tag, wait } => {
                let row = self.engine.stop_entry(tag);
                self.entry(place, tag, row, wait, false);
            }
            Request::Signal { signal, tag } => self.signal(place, signal, tag),
            Request::Power(_) | Request::SwitchRoot { .. } | Request::Telinit { .. } | Request::Runlevel => {
                self.carry_out_for_machine(place, request);
            }
            Request::Upgrade => self.begin_upgrade(Some(place)),
            Request::StopAll { .. } if self.role == Role::Machine => {
                self.answer(place, |answer| {
                    answer.text("err 2 this is process 1 of a machine; write :poweroff, :reboot or :halt\n");
                });
            }
            Request::StopAll { wait } => {
                self.stop_all();
                match (classic, wait) {
                    (true, _) => {}
                    (false, true) => self.talk(place, Talk::End),
                    (false, false) => self.ok(place, ""),
                }
            }
        }
    }

    pub(super) fn talk(&mut self, place: usize, talk: Talk) {
        if let Some(client) = self.clients.get_mut(place) {
            client.talk = talk;
        }
    }

    /// One line of answer, the last one.
    pub(super) fn answer(&mut self, place: usize, write: impl FnOnce(&mut AnswerLine)) {
        let mut line = AnswerLine::new();
        write(&mut line);
        if let Some(client) = self.clients.get_mut(place) {
            client.put(line.bytes());
            client.talk = Talk::Asking;
        }
    }

    pub(super) fn ok(&mut self, place: usize, word: &str) {
        self.answer(place, |answer| {
            answer.text("ok").text(if word.is_empty() { "" } else { " " }).text(word).text("\n");
        });
    }

    fn pong(&mut self, place: usize) {
        self.answer(place, |answer| {
            answer.text("ok isinit ").text(env!("CARGO_PKG_VERSION")).text(" ");
            answer.number(u64::from(sys::process::own_pid())).text("\n");
        });
    }

    /// `answered`: `None` for the classic form, else whether the answer comes at the end of the switch.
    pub(super) fn tell(
        &mut self,
        place: usize,
        group: &[u8],
        level: &[u8],
        how: Tell,
        answered: Option<bool>,
        progress: bool,
    ) {
        match self.reread_if_changed() {
            // A cluster manager has to be able to stop a group whatever was replicated to here.
            Reread::Bad(_) if how.force && answered.is_some() => {}
            Reread::Bad(text) => return self.refuse_table(place, text, answered.is_some()),
            Reread::Done => {}
        }
        let told = self.engine.tell(group, level, how, sys::clock::now_ms());
        match (told, answered) {
            (Ok(_), None) => {}
            (Err(refusal), None) => self.say_refused(refusal, group, level),
            (Ok(_), Some(false)) => self.ok(place, "accepted"),
            (Ok(ticket), Some(true)) => self.talk(place, Talk::Switch { ticket, progress, told: None }),
            (Err(refusal), Some(_)) => self.refuse(place, refusal, group, level),
        }
    }

    /// Who asked in the classic form gets no answer: why nothing came of it stands among the daemon's messages.
    pub(super) fn say_refused(&self, refusal: Refusal, group: &[u8], level: &[u8]) {
        let mut line = AnswerLine::new();
        refusal_words(&mut line, self.engine.table(), refusal, group, level);
        let words = line.bytes().get(b"err 3 ".len()..).unwrap_or(&[]).trim_ascii_end();
        say(&[b"a tell of ", group, b" ", level, b" was not taken: ", words]);
    }

    pub(super) fn refuse(&mut self, place: usize, refusal: Refusal, group: &[u8], level: &[u8]) {
        let mut line = AnswerLine::new();
        refusal_words(&mut line, self.engine.table(), refusal, group, level);
        self.answer(place, |answer| {
            answer.text(line.bytes());
        });
    }

    pub(super) fn refuse_table(&mut self, place: usize, text: Vec<u8>, answered: bool) {
        if answered {
            let end = "err 4 the table has errors; the one in force is kept, and nothing was switched. Mend it (`isinit check` \
                       shows when it is right), and ask again";
            self.talk(place, Talk::Saying { text, before: "say ", end, said: 0 });
        } else {
            say_bad_table(&text);
        }
    }

    fn reread_for(&mut self, place: usize, answered: bool) {
        match self.reread() {
            Reread::Bad(text) => self.refuse_table(place, text, answered),
            Reread::Done if answered => self.ok(place, "read"),
            Reread::Done => {}
        }
    }

    fn status(&mut self, place: usize, group: Option<&[u8]>) {
        if let Some(at) = self.begin_status(place, group) {
            self.talk(place, Talk::Status(at));
        }
    }

    /// The first line of a status, and where it begins; `None` if there is no such group.
    fn begin_status(&mut self, place: usize, group: Option<&[u8]>) -> Option<StatusAt> {
        let only = match group.map(|name| (name, self.engine.find_group(name))) {
            Some((name, None)) => {
                self.refuse(place, Refusal::NoGroup, name, b"");
                return None;
            }
            Some((_, slot)) => slot,
            None => None,
        };
        let line = self.daemon_line();
        self.clients.get_mut(place)?.put(line.bytes());
        Some(StatusAt { only, group: 0, given: 0 })
    }

    fn timeline(&mut self, place: usize, group: Option<&[u8]>) {
        let Some(at) = self.begin_status(place, group) else { return };
        let line = timeline_line(&self.engine, self.life.began_ms);
        if let Some(client) = self.clients.get_mut(place) {
            client.put(line.bytes());
            let head = self.engine.head();
            client.talk = Talk::Timeline { at, next: head.forgotten(), end: head.count };
        }
    }

    fn daemon_line(&self) -> Line<5120> {
        let table = self.engine.table();
        let mut line = Line::new();
        line.text("daemon").key("pid").number(u64::from(sys::process::own_pid()));
        line.key("version").text(env!("CARGO_PKG_VERSION"));
        line.key("table").text(self.life.table.get().as_os_str().as_encoded_bytes());
        line.key("digest").hex(table.digest());
        line.key("entries").number(table.len() as u64).key("groups").number(table.groups() as u64);
        line.key("age_ms").number(sys::clock::now_ms().saturating_sub(self.life.began_ms));
        line.key("table_ok").number(u64::from(!self.table_bad));
        let path = self.processes.cgroup_path().map_or(&b""[..], |path| path.as_os_str().as_encoded_bytes());
        // It is one word, and its line is one of an answer.
        let is_word = path.len() <= CGROUP_PATH_MAX_BYTES && !path.iter().any(|byte| *byte <= b' ');
        line.key("cgroup").word(if is_word { path } else { b"" }).text("\n");
        line
    }

    fn plan(&mut self, place: usize, group: &[u8], level: &[u8]) {
        // By the table that a tell would take now. It is not taken here: that would stop what is gone from it.
        let changed = self.engine.table().changed_on_disk() || self.table_bad;
        let other = match changed.then(|| Table::load(self.life.table.get())) {
            Some(Ok(loaded)) => Some(Box::new(loaded.table)),
            Some(Err(report)) => return self.refuse_table(place, report.to_string().into_bytes(), true),
            None => None,
        };
        let table = other.as_deref().unwrap_or(self.engine.table());
        match table.find_group(group) {
            Some(group) if table.has_level(group, level) => {
                let on_demand = table.is_on_demand(group, level);
                let level = SmallVec::from_slice(level);
                self.talk(place, Talk::Plan { other, group, level, on_demand, step: 0 });
            }
            number => {
                let refusal = number.map_or(Refusal::NoGroup, |_| Refusal::NoLevel);
                let mut line = AnswerLine::new();
                refusal_words(&mut line, table, refusal, group, level);
                self.answer(place, |answer| *answer = line);
            }
        }
    }

    fn entry(&mut self, place: usize, tag: &[u8], row: Result<u32, Refusal>, wait: bool, up: bool) {
        match row {
            Ok(row) if wait => self.talk(place, Talk::Entry { row, up }),
            Ok(_) => self.ok(place, ""),
            Err(refusal) => self.refuse(place, refusal, tag, b""),
        }
    }

    fn signal(&mut self, place: usize, signal: &[u8], tag: &[u8]) {
        let Some(number) = Signal::from_name(signal).map(|signal| signal.number()) else {
            return self.answer(place, |answer| {
                answer.text("err 2 no signal is called ").text(signal).text("\n");
            });
        };
        let Some(row) = self.engine.find_row(tag) else {
            return self.refuse(place, Refusal::NoTag, tag, b"");
        };
        match self.engine.row(row).and_then(|record| record.state().pid()) {
            Some(pid) => match self.processes.signal(pid, number) {
                Ok(()) => self.ok(place, ""),
                Err(errno) => self.answer(place, |answer| {
                    answer.text("err 1 ").text(tag).text(": ");
                    super::messages::errno_words(answer, errno.raw_os_error());
                    answer.text("\n");
                }),
            },
            None => self.answer(place, |answer| {
                answer.text("err 1 ").text(tag).text(" does not run\n");
            }),
        }
    }

    /// Goes on with all answers that are under way, as far as the clients take them.
    pub(super) fn go_on(&mut self, now: Ms) {
        for place in 0..self.clients.len() {
            if !self.engine_answers(place, now) {
                self.clients.close(place);
            }
        }
    }

    /// Goes on with the answer of one client. Is it still there?
    pub(super) fn engine_answers(&mut self, place: usize, now: Ms) -> bool {
        loop {
            let Some(client) = self.clients.get_mut(place) else { return true };
            let more = continue_answer(client, &self.engine, now);
            if client.wants_write() && !client.flush(now) {
                return false;
            }
            if !more || client.wants_write() {
                return client.wants_write() || !matches!(client.talk, Talk::Closing);
            }
        }
    }
}

/// Adds to a client's answer what there is room for. Is there more to come at once?
fn continue_answer(client: &mut Client, engine: &Engine, now: Ms) -> bool {
    while client.has_room(LINE_MAX_BYTES) {
        let mut talk = std::mem::replace(&mut client.talk, Talk::Asking);
        let next = next_line(&mut talk, engine, now);
        match next {
            Next::Line(line) => {
                client.put(line.bytes());
                client.talk = talk;
            }
            Next::Last(line) => {
                client.put(line.bytes());
                client.talk = Talk::Asking;
                return false;
            }
            Next::Later => {
                client.talk = talk;
                return false;
            }
        }
    }
    true
}

/// What comes next in an answer.
enum Next {
    /// This line, and others after it.
    Line(AnswerLine),
    /// This line, and with it the answer is complete.
    Last(AnswerLine),
    /// Nothing now.
    Later,
}

fn last(text: &str) -> Next {
    let mut line = AnswerLine::new();
    line.text(text).text("\n");
    Next::Last(line)
}

fn next_line(talk: &mut Talk, engine: &Engine, now: Ms) -> Next {
    match talk {
        Talk::Asking | Talk::End | Talk::Upgrade | Talk::Closing => Next::Later,
        Talk::Status(at) => status_line(engine, at, now).map_or_else(|| last("ok"), Next::Line),
        // The last of its changes is one that the whole status knows: what is told later is never older.
        Talk::Timeline { at, next, end } => match status_line(engine, at, now) {
            Some(line) => {
                *end = engine.head().count;
                Next::Line(line)
            }
            None => next_remembered(engine, at.only, next, *end),
        },
        Talk::Plan { other, group, level, on_demand, step } => {
            let table = other.as_deref().unwrap_or(engine.table());
            next_step(engine, Plan { table, group: *group, level, on_demand: *on_demand }, step)
        }
        Talk::Saying { text, before, end, said } => next_said(text, before, end, said),
        Talk::Switch { ticket, progress, told } => match engine.outcome(*ticket) {
            Outcome::Under if *progress => next_waiting(engine, ticket.slot, told, now),
            Outcome::Under => Next::Later,
            Outcome::Settled(verdict) => Next::Last(verdict_line(engine, ticket.slot, verdict)),
            Outcome::Overtaken => last("err 7 another tell of the group has taken its place"),
        },
        Talk::Entry { row, up } => next_of_entry(engine, *row, *up),
        Talk::Watching { next } => next_change(engine, next),
    }
}

fn next_step(engine: &Engine, plan: Plan, step: &mut usize) -> Next {
    while let Some(planned) = engine.plan_step(plan, *step) {
        *step = step.saturating_add(1);
        if let Some((what, tag, pid)) = planned {
            return Next::Line(step_line(what, tag, pid));
        }
    }
    last("ok")
}

fn next_said(text: &[u8], before: &str, end: &str, said: &mut usize) -> Next {
    let rest = text.get(*said..).unwrap_or(&[]);
    if rest.is_empty() {
        return last(end);
    }
    let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    *said = said.saturating_add(length).saturating_add(1);
    let mut line = AnswerLine::new();
    // A line of the table can be longer than a line of an answer: it is cut off, and still ends.
    let shown = rest.get(..length.min(LINE_MAX_BYTES.saturating_sub(8))).unwrap_or(&[]);
    line.text(before).text(shown).text("\n");
    Next::Line(line)
}

fn next_waiting(engine: &Engine, slot: u32, told: &mut Option<(u32, &'static str)>, now: Ms) -> Next {
    let Some(row) = engine.waits_for(slot) else { return Next::Later };
    let Some(record) = engine.row(row) else { return Next::Later };
    let news = (row, record.state().name());
    if *told == Some(news) {
        return Next::Later;
    }
    *told = Some(news);
    Next::Line(waiting_line(engine, row, now))
}

fn verdict_line(engine: &Engine, slot: u32, verdict: Verdict) -> AnswerLine {
    let mut line = AnswerLine::new();
    let Some(group) = engine.group(slot) else { return line };
    match verdict {
        Verdict::Run => line.text("ok run"),
        Verdict::Stopped if !group.is(GroupFlags::REVERTED) => line.text("ok stopped"),
        Verdict::Stopped | Verdict::Fail => {
            line.text("err 1 ").text(group.name());
            let back = group.is(GroupFlags::REVERTED);
            line.text(if back { " failed on the way, and went back to level " } else { " failed at level " });
            line.word(group.level());
            culprits(&mut line, engine, slot)
        }
    };
    line.text("\n");
    line
}

/// Names the entries because of which a group has failed.
fn culprits<'l>(line: &'l mut AnswerLine, engine: &Engine, slot: u32) -> &'l mut AnswerLine {
    let mut between = ": ";
    for row in engine.members(slot).iter().filter_map(|row| engine.row(*row)) {
        if row.failed() {
            line.text(between).text(row.tag()).text(" ");
            last_words(line, row.last());
            between = ", ";
        }
    }
    line
}

fn next_of_entry(engine: &Engine, row: u32, up: bool) -> Next {
    let Some(record) = engine.row(row) else { return last("ok") };
    let failed = |record: &crate::engine::rows::Row| {
        let mut line = AnswerLine::new();
        line.text("err 1 ").text(record.tag()).text(": ").text(record.state().name()).text(", ");
        last_words(&mut line, record.last());
        line.text("\n");
        Next::Last(line)
    };
    // What others wait for is asked for its verdict: a test that is run again.
    let is_awaited = engine.entry(row).is_some_and(|entry| entry.action().is_waited_for());
    match (record.state(), up) {
        (ChildState::Up { .. }, true) if is_awaited => Next::Later,
        (ChildState::Up { .. } | ChildState::Done, true) if !record.is_restarting() => last("ok"),
        (ChildState::Failed | ChildState::Held { .. } | ChildState::Stuck { .. }, true) => failed(record),
        (ChildState::Stuck { .. }, false) => failed(record),
        (ChildState::Down | ChildState::Done | ChildState::Failed, false) => last("ok"),
        (_, _) => Next::Later,
    }
}

fn next_change(engine: &Engine, next: &mut u64) -> Next {
    if *next >= engine.head().count { Next::Later } else { Next::Line(remembered(engine, next).1) }
}

/// What was remembered when it was asked for, of one group or of all.
fn next_remembered(engine: &Engine, only: Option<u32>, next: &mut u64, end: u64) -> Next {
    while *next < end {
        let (group, line) = remembered(engine, next);
        if only.is_none() || group.is_none() || group == only {
            return Next::Line(line);
        }
    }
    last("ok")
}

/// The line of a transition, and its group; or the line that says how many are missing here.
fn remembered(engine: &Engine, next: &mut u64) -> (Option<u32>, AnswerLine) {
    let Some(change) = engine.head().get(*next) else {
        let oldest = engine.head().forgotten();
        let mut line = AnswerLine::new();
        line.text("lost ").number(oldest.saturating_sub(*next)).text("\n");
        *next = oldest;
        return (None, line);
    };
    *next = next.saturating_add(1);
    let ago = sys::clock::now_ms().saturating_sub(change.at_ms);
    (Some(change.group), change_line(engine, change, sys::clock::wall_ms().saturating_sub(ago)))
}

fn refusal_words(line: &mut AnswerLine, table: &Table, refusal: Refusal, name: &[u8], level: &[u8]) {
    let near = |line: &mut AnswerLine, near: Option<&[u8]>| {
        if let Some(near) = near {
            line.text("; did you mean ").text(near).text("?");
        }
    };
    match refusal {
        Refusal::NoGroup => {
            line.text("err 3 the table has no group ").text(name);
            near(line, table.nearest_group(name));
        }
        Refusal::NoLevel => {
            line.text("err 3 no entry of group ").text(name).text(" has level ").text(level);
            near(line, table.find_group(name).and_then(|group| table.nearest_level(group, level)));
        }
        Refusal::NoTag => {
            line.text("err 3 the table has no entry ").text(name);
            near(line, table.nearest_tag(name));
        }
        Refusal::NoPlace => {
            line.text("err 3 ")
                .text(name)
                .text(" has no place in the level that its group is at; tell the group");
            line.text(" a level that it has");
        }
        Refusal::TooLong => {
            line.text("err 2 a level has 1 to 63 bytes");
        }
        Refusal::GoingDown => {
            line.text("err 7 everything is being stopped");
        }
    }
    line.text("\n");
}
