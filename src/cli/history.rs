//! What was when: the answer to `:timeline` as bars and marks, each group's and each entry's.
//!
//! The daemon remembers transitions, and how everything stands now. Between two transitions a bar is drawn. What was before
//! the first that is remembered is told by what it ended: who is asked to stop was up. Such a bar has an open end, for
//! nobody knows any more when it began; so has one that goes on now.

use super::show::last_words;
use super::text::{clock, length};
use crate::wire::client::field;

/// What a bar says. In the order in which one hides the other where there is room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is not remembered what was.
    Unknown,
    /// Up; of a group: `run`.
    Up,
    /// A pause before the next start.
    Rest,
    /// On its way up; of a group: on its way to its level.
    Start,
    /// On its way down.
    Stop,
    /// It does not die; of a group: `fail`.
    Fail,
}

impl Kind {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            Kind::Up => "up",
            Kind::Rest => "resting",
            Kind::Start => "starting",
            Kind::Stop => "stopping",
            Kind::Fail => "failed",
        }
    }
}

/// A time in which something was so. Times are milliseconds of the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What was.
    pub kind: Kind,
    /// From when; the beginning of the picture if it was so before that.
    pub from: u64,
    /// Until when, or now.
    pub to: u64,
    /// Was it so before?
    pub before: bool,
    /// Is it still so?
    pub still: bool,
    /// Its process; 0 where that is not known.
    pub pid: u64,
}

/// A moment at which something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: u64,
    /// What.
    pub words: String,
}

/// A group, or an entry of the group above it.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// The group's name.
    pub group: String,
    /// The entry's tag.
    pub tag: Option<String>,
    /// The state that it is in now.
    pub state: String,
    /// What it is at: of a group its level, of an entry how its last process ended.
    pub remark: String,
    /// What was, in the order of time.
    pub bars: Vec<Bar>,
    /// What went wrong.
    pub marks: Vec<Mark>,
    /// Since when it is in this state.
    since: u64,
    pid: u64,
    open: Option<Bar>,
    seen: bool,
}

/// The whole picture.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Where it begins: from there on everything is known.
    pub from: u64,
    /// Where it ends: now.
    pub to: u64,
    /// Changes before it that are not remembered.
    pub forgotten: u64,
    /// Changes in it of entries and groups that are in no table any more.
    pub gone: u64,
    /// In the order of a status.
    pub tracks: Vec<Track>,
    /// Changes were lost on the way: the next one is where it begins.
    torn: bool,
    /// When the change before was.
    latest: u64,
    /// The track of the change before: the next is often of the same.
    last: usize,
}

impl History {
    /// Takes a line of the answer.
    pub fn take(&mut self, line: &str) {
        let (kind, rest) = first(line);
        match kind {
            "timeline" => {
                self.to = number(line, "wall_ms");
                self.from = self.to.saturating_sub(number(line, "age_ms"));
                self.forgotten = number(line, "forgotten");
            }
            "group" => {
                let (group, fields) = first(rest);
                self.begin(group, None, fields);
            }
            "entry" => {
                let (group, rest) = first(rest);
                let (tag, fields) = first(rest);
                self.begin(group, Some(tag), fields);
            }
            "lost" => {
                self.forgotten = self.forgotten.saturating_add(rest.parse().unwrap_or(0));
                self.tracks.iter_mut().for_each(Track::forget);
                self.torn = true;
            }
            "change" => self.change(line),
            _ => {}
        }
    }

    fn begin(&mut self, group: &str, tag: Option<&str>, fields: &str) {
        let text = |key| field(fields, key).unwrap_or("-").to_string();
        self.tracks.push(Track {
            group: group.into(),
            tag: tag.map(String::from),
            state: text("state"),
            remark: text(if tag.is_none() { "level" } else { "last" }),
            since: self.to.saturating_sub(number(fields, "age_ms")),
            pid: number(fields, "pid"),
            ..Track::default()
        });
    }

    fn change(&mut self, line: &str) {
        let at = number(line, "wall_ms");
        if std::mem::take(&mut self.torn) {
            self.from = at;
        }
        // Clocks of two kinds, each in whole milliseconds: one more or less is no news of the time before or after.
        let at = at.clamp(self.from, self.to.max(self.from)).max(self.latest);
        self.latest = at;
        let (group, tag) = (field(line, "group"), field(line, "tag").filter(|tag| *tag != "-"));
        let is_meant = |track: &Track| Some(&*track.group) == group && track.tag.as_deref() == tag;
        let place = match self.tracks.get(self.last).filter(|track| is_meant(track)) {
            Some(_) => Some(self.last),
            None => self.tracks.iter().position(is_meant),
        };
        let Some(track) = place.and_then(|place| self.tracks.get_mut(place)) else {
            self.gone = self.gone.saturating_add(1);
            return;
        };
        self.last = place.unwrap_or(0);
        if !std::mem::replace(&mut track.seen, true) {
            let kind = before(field(line, "what").unwrap_or(""), self.forgotten > 0);
            track.open = kind.map(|kind| Bar::new(kind, self.from, 0));
            track.open.iter_mut().for_each(|bar| bar.before = true);
        }
        track.change(line, at);
    }

    /// All lines have been taken.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.torn) {
            self.from = self.to;
        }
        for track in &mut self.tracks {
            track.end(self.from, self.to);
        }
    }
}

/// The first word, and what stands behind it.
pub fn first(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// The number that is the value of `key=`, 0 if there is none.
pub fn number(line: &str, key: &str) -> u64 {
    field(line, key).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// What was before the first change that is remembered.
fn before(what: &str, forgotten: bool) -> Option<Kind> {
    match what {
        "ready" | "run" | "fail" | "halted" | "revert" => Some(Kind::Start),
        "ended" | "stopping" | "overdue" => Some(Kind::Up),
        "killing" | "stopped" | "stuck" => Some(Kind::Stop),
        "switch" if forgotten => Some(Kind::Unknown),
        _ => None,
    }
}

impl Bar {
    fn new(kind: Kind, from: u64, pid: u64) -> Bar {
        Bar { kind, from, to: from, before: false, still: false, pid }
    }

    /// What it says, for who points at it: `up for 12.34s, 12:31:04.123 to 12:31:16.463, pid 7`.
    pub fn words(&self) -> String {
        let (more, before) = if self.before { ("more than ", "before ") } else { ("", "") };
        let end = if self.still { "now".into() } else { clock(self.to) };
        let (kind, from) = (self.kind.name(), clock(self.from));
        let length = length(self.to.saturating_sub(self.from));
        let words = format!("{kind} for {more}{length}, {before}{from} to {end}");
        if self.pid == 0 { words } else { format!("{words}, pid {}", self.pid) }
    }
}

impl Track {
    fn forget(&mut self) {
        self.bars.clear();
        self.marks.clear();
        (self.open, self.seen) = (None, false);
    }

    /// An entry of which there is nothing to be seen.
    pub fn is_hidden(&self) -> bool {
        self.tag.is_some() && self.bars.is_empty() && self.marks.is_empty()
    }

    fn change(&mut self, line: &str, at: u64) {
        let last = field(line, "last").unwrap_or("none");
        let pid = number(line, "pid");
        match field(line, "what").unwrap_or("") {
            "started" => self.open(Kind::Up, at, pid),
            "ready" => {
                self.was(Kind::Start);
                self.open(Kind::Up, at, pid);
            }
            "stopping" | "killing" | "overdue" => self.open(Kind::Stop, at, pid),
            // What it leaves behind while it is being stopped is still being stopped.
            "ended" if !self.is_stopping() => {
                self.close(at);
                if !matches!(last, "exit:0" | "none") {
                    self.mark(at, last_words(last));
                }
            }
            "held" => {
                self.open(Kind::Rest, at, 0);
                self.mark(at, "respawning too fast".into());
            }
            "failed" => {
                if last == "timeout" && !self.is_stopping() {
                    self.was(Kind::Start);
                }
                self.mark(at, last_words(last));
            }
            "stuck" => self.open(Kind::Fail, at, pid),
            "wanting" => self.mark(at, last_words(last)),
            "skipped" => self.mark(at, "its terminal does not exist".into()),
            "switch" => self.open(Kind::Start, at, 0),
            "run" => self.open(Kind::Up, at, 0),
            "fail" => self.open(Kind::Fail, at, 0),
            "halted" => {
                self.was(Kind::Stop);
                self.close(at);
            }
            "revert" => self.mark(at, "failed on the way; going back".into()),
            "stopped" => self.close(at),
            _ => {}
        }
    }

    fn is_stopping(&self) -> bool {
        self.open.as_ref().is_some_and(|bar| bar.kind == Kind::Stop)
    }

    /// It turns out that this is what is going on.
    fn was(&mut self, kind: Kind) {
        self.open.iter_mut().for_each(|bar| bar.kind = kind);
    }

    fn open(&mut self, kind: Kind, at: u64, pid: u64) {
        self.close(at);
        self.open = Some(Bar::new(kind, at, pid));
    }

    fn close(&mut self, at: u64) {
        if let Some(bar) = self.open.take() {
            self.bars.push(Bar { to: at, ..bar });
        }
    }

    fn mark(&mut self, at: u64, words: String) {
        match self.marks.last_mut() {
            // A process that ends badly, and the failure of its entry, are one thing to see.
            Some(mark) if mark.at == at && mark.words == words => {}
            _ => self.marks.push(Mark { at, words }),
        }
    }

    /// How it stands now, and since when, is known without any change.
    fn end(&mut self, from: u64, to: u64) {
        let kind = match &*self.state {
            "spawning" | "starting" | "start" => Kind::Start,
            "up" | "run" => Kind::Up,
            "stopping" | "killing" => Kind::Stop,
            "backoff" | "held" => Kind::Rest,
            "stuck" | "fail" => Kind::Fail,
            _ => return self.close(to),
        };
        let pid = self.pid;
        let bar = self.open.take().unwrap_or_else(|| Bar {
            before: self.since < from,
            ..Bar::new(kind, self.since.clamp(from, to.max(from)), pid)
        });
        // A start that is not over yet looks like one that needs no readiness; else the changes know better.
        let kind = if (bar.kind, kind) == (Kind::Up, Kind::Start) { kind } else { bar.kind };
        self.bars.push(Bar { kind, to, still: true, ..bar });
    }

    /// Its whole name.
    pub fn name(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}/{tag}", self.group),
            None => self.group.clone(),
        }
    }

    /// Its name, and how it stands.
    pub fn words(&self) -> String {
        let remark = match &*self.remark {
            "-" | "none" => String::new(),
            level if self.tag.is_none() => format!(" at level {level}"),
            last => format!(", {}", last_words(last)),
        };
        format!("{}: {}{remark}", self.name(), self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        lines.iter().for_each(|line| history.take(line));
        history.end();
        history
    }

    fn bars(track: &Track) -> Vec<(Kind, u64, u64, bool, bool)> {
        track.bars.iter().map(|bar| (bar.kind, bar.from, bar.to, bar.before, bar.still)).collect()
    }

    #[test]
    fn a_start_a_readiness_a_stop_and_an_end_are_bars() {
        let history = history(&[
            "daemon pid=1 table=/t",
            "timeline wall_ms=10000 age_ms=9000 forgotten=0",
            "group web state=run level=run prev=- age_ms=5 entries=2 up=1",
            "entry web db action=respawn state=up pid=9 age_ms=1000 restarts=1 last=exit:3 flags=-",
            "entry web off action=off state=down pid=0 age_ms=9000 restarts=0 last=none flags=-",
            "change wall_ms=1000 group=web tag=- what=switch level=run state=start",
            "change wall_ms=2000 group=web tag=db what=started pid=7 last=none",
            "change wall_ms=3000 group=web tag=db what=ready pid=7 last=none",
            "change wall_ms=3000 group=web tag=- what=run level=run state=run",
            "change wall_ms=6000 group=web tag=db what=ended pid=7 last=exit:3",
            "change wall_ms=7000 group=web tag=db what=started pid=8 last=exit:3",
            "change wall_ms=8000 group=web tag=db what=stopping pid=8 last=exit:3",
            "change wall_ms=8500 group=web tag=db what=ended pid=8 last=signal:SIGTERM",
            "change wall_ms=8600 group=web tag=db what=stopped pid=8 last=signal:SIGTERM",
            "change wall_ms=9000 group=web tag=db what=started pid=9 last=signal:SIGTERM",
            "change wall_ms=9500 group=? tag=? what=ended pid=9 last=exit:0",
        ]);
        let [group, db, off] = &history.tracks[..] else { panic!("{history:?}") };
        assert_eq!(
            bars(group),
            [(Kind::Start, 1000, 3000, false, false), (Kind::Up, 3000, 10000, false, true)]
        );
        assert_eq!(
            bars(db),
            [
                (Kind::Start, 2000, 3000, false, false),
                (Kind::Up, 3000, 6000, false, false),
                (Kind::Up, 7000, 8000, false, false),
                (Kind::Stop, 8000, 8600, false, false),
                (Kind::Up, 9000, 10000, false, true),
            ]
        );
        assert_eq!(db.marks, [Mark { at: 6000, words: "exit 3".into() }]);
        assert_eq!(db.bars[4].words(), "up for 1.00s, 00:00:09.000 to now, pid 9");
        assert!(off.is_hidden());
        assert_eq!((history.gone, history.forgotten, history.from), (1, 0, 1000));
        assert_eq!((&*group.words(), &*db.words()), ("web: run at level run", "web/db: up, exit 3"));
    }

    #[test]
    fn what_was_before_the_ring_has_an_open_end() {
        let history = history(&[
            "timeline wall_ms=10000 age_ms=4000 forgotten=12",
            "group web state=stopping level=0 prev=run age_ms=100 entries=4 up=1",
            "entry web quiet action=respawn state=up pid=3 age_ms=9000 restarts=0 last=none flags=-",
            "entry web late action=respawn state=starting pid=5 age_ms=1000 restarts=0 last=none flags=-",
            "entry web busy action=respawn state=stopping pid=4 age_ms=10 restarts=0 last=none flags=-",
            "entry web slow action=once state=failed pid=0 age_ms=10 restarts=0 last=timeout flags=-",
            "change wall_ms=9000 group=web tag=late what=started pid=5 last=none",
            "change wall_ms=9900 group=web tag=- what=switch level=0 state=stopping",
            "change wall_ms=9990 group=web tag=busy what=stopping pid=4 last=none",
            "change wall_ms=9990 group=web tag=slow what=failed pid=6 last=timeout",
            "change wall_ms=9991 group=web tag=slow what=killing pid=6 last=timeout",
            "change wall_ms=9995 group=web tag=slow what=ended pid=6 last=timeout",
            "change wall_ms=9995 group=web tag=slow what=stopped pid=0 last=timeout",
        ]);
        let [group, quiet, late, busy, slow] = &history.tracks[..] else { panic!("{history:?}") };
        assert_eq!(
            bars(group),
            [(Kind::Unknown, 6000, 9900, true, false), (Kind::Start, 9900, 10000, false, true)]
        );
        assert_eq!(bars(quiet), [(Kind::Up, 6000, 10000, true, true)]);
        assert_eq!(bars(late), [(Kind::Start, 9000, 10000, false, true)]);
        assert_eq!(bars(busy), [(Kind::Up, 6000, 9990, true, false), (Kind::Stop, 9990, 10000, false, true)]);
        assert_eq!(bars(slow), [(Kind::Stop, 9991, 9995, false, false)]);
        assert_eq!(slow.marks, [Mark { at: 9990, words: "not ready in time".into() }]);
        assert!(
            busy.bars[0].words().starts_with("up for more than 3.99s, before 00:00:06.000 to "),
            "{}",
            busy.bars[0].words()
        );
    }

    #[test]
    fn what_was_lost_on_the_way_is_no_part_of_the_picture() {
        let history = history(&[
            "timeline wall_ms=10000 age_ms=9000 forgotten=5",
            "entry web a action=respawn state=up pid=3 age_ms=500 restarts=0 last=none flags=-",
            "change wall_ms=1000 group=web tag=a what=started pid=1 last=none",
            "lost 700",
            "change wall_ms=9000 group=web tag=a what=ended pid=2 last=signal:SIGSEGV",
            "change wall_ms=9500 group=web tag=a what=started pid=3 last=signal:SIGSEGV",
        ]);
        assert_eq!((history.from, history.forgotten), (9000, 705));
        assert_eq!(
            bars(&history.tracks[0]),
            [(Kind::Up, 9000, 9000, true, false), (Kind::Up, 9500, 10000, false, true)]
        );
        assert_eq!(history.tracks[0].marks, [Mark { at: 9000, words: "killed by SIGSEGV".into() }]);
    }

    #[test]
    fn names_are_no_fields_and_times_beyond_the_picture_do_no_harm() {
        let history = history(&[
            "timeline wall_ms=5 age_ms=9 forgotten=0",
            "group state=fail state=run level=2 prev=- age_ms=9 entries=1 up=1",
            "entry state=fail pid=9 action=once state=done pid=0 age_ms=1 restarts=0 last=exit:0 flags=-",
            "change wall_ms=18446744073709551615 group=state=fail tag=pid=9 what=started pid=3 last=none",
            "change wall_ms= group=state=fail tag=pid=9 what=ended pid=3 last=exit:0",
            "change",
            "entry",
            "lost",
            "group",
            "",
        ]);
        assert_eq!((&*history.tracks[0].state, &*history.tracks[1].state), ("run", "done"));
        assert_eq!(bars(&history.tracks[1]), []);
    }
}
