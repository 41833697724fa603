//! `isinit top`: groups and entries with what they use, again and again.
//!
//! It is made for the worst terminal that there is, a VT100 at the end of a serial line of 9600 baud: the cursor is moved and
//! letters are written, and of a line only from the first letter that has changed to the last. A line that takes nothing (Ctrl-S)
//! holds up nothing: what is not written yet waits, the next picture is drawn when it has gone, and keys and signals are heard
//! meanwhile. Every way out gives the terminal back as it was.

use signal_hook::consts;

use super::history::number;
use super::place::Place;
use super::text::{bytes, clock, fit, size, unicode};
use super::{Common, Problem, Status, show};
use crate::sys::poll::PollSet;
use crate::sys::process::{has_job_control, own_group};
use crate::sys::signals::{Arrived, Signals, stop_self};
use crate::sys::terminal::{Keys, foreground, is_terminal};
use crate::sys::{clock::now_ms, clock::wall_ms, host, pipe};
use crate::wire::client::{Answer, ClientError, Connection, field};

/// Milliseconds between two looks; and as many times what the last one took.
const PAUSE_MS: u64 = 2_000;
const PAUSE_TIMES: u64 = 10;

/// Milliseconds that an answer may take, from its beginning.
const ANSWER_MS: u64 = 5_000;

/// Bytes that are written at once, where poll(2) says that something would be taken: a terminal says so while it has as many
/// (WAKEUP_CHARS of the kernel's tty.c).
const WRITE_BYTES: usize = 256;

/// Columns behind the name: a blank and a field, six times.
const FIELDS: usize = 49;

/// Columns of a name at least: on a narrow terminal it is the last fields that are cut off.
const NAME_MIN: usize = 12;

/// Signals by which it ends, as by `q`.
const ENDING: [i32; 4] = [consts::SIGINT, consts::SIGQUIT, consts::SIGHUP, consts::SIGTERM];

/// A line, and how it is shown (the numbers of SGR).
type Line = (String, &'static str);

/// Carries it out.
pub fn top(common: &Common) -> Result<(), Problem> {
    let connection = common.connect()?;
    if !is_terminal(rustix::stdio::stdin()) || !is_terminal(rustix::stdio::stdout()) {
        return Err(Problem::new(
            Status::Usage,
            "top is for a terminal; down a pipe there is `isinit status`",
        ));
    }
    let failed = |errno| Problem::new(Status::Failed, format!("cannot take signals: {errno}"));
    let signals = Signals::take().map_err(failed)?;
    wait_for_foreground();
    let Some(keys) = Keys::take() else {
        return Err(Problem::new(Status::Failed, "the terminal cannot be read key by key"));
    };
    let mut top = Top {
        common,
        keys,
        signals,
        screen: Screen::default(),
        table: Table::default(),
        escape: Vec::new(),
        stale: false,
    };
    top.resize();
    let status = top.run(connection);
    top.leave();
    match status {
        0 => Ok(()),
        // Everything was said: what has ended it is no fault of ours.
        status => Err(Problem { status, words: String::new() }),
    }
}

struct Top<'a> {
    common: &'a Common,
    keys: Keys,
    signals: Signals,
    screen: Screen,
    table: Table,
    /// What has come of a key that sends several bytes.
    escape: Vec<u8>,
    /// There is a newer picture than the one that is on its way.
    stale: bool,
}

/// What there is to be shown.
#[derive(Default)]
struct Table {
    title: String,
    rows: Vec<Row>,
    /// What was used until the time of the last look, by tag.
    before: Vec<(String, u64)>,
    at_ms: u64,
    /// The first row that is shown.
    first: usize,
    sources: String,
}

struct Row {
    fields: [String; 5],
    /// Tenths of a percent of one processor, and bytes of memory.
    usage: [Option<u64>; 2],
    style: &'static str,
    is_group: bool,
}

impl Top<'_> {
    /// Until it is to end: the exit status.
    fn run(&mut self, connection: Connection) -> i32 {
        let (mut connection, mut lines) = (Some(connection), Vec::new());
        let mut poll = PollSet::new(4);
        let (mut next_ms, mut asked_ms) = (now_ms(), None);
        loop {
            if self.stale {
                self.draw();
            }
            let now = now_ms();
            if asked_ms.is_none() && now >= next_ms && self.screen.pending.is_empty() {
                next_ms = now.saturating_add(PAUSE_MS);
                connection = connection.or_else(|| self.common.connect().ok());
                asked_ms = connection.as_mut().and_then(|connection| ask(connection, now));
                if asked_ms.is_none() {
                    self.lost("no daemon answers; trying again");
                }
            }
            poll.clear();
            poll.add(rustix::stdio::stdin(), true, false);
            poll.add(self.signals.fd(), true, false);
            let writes = !self.screen.pending.is_empty();
            poll.add(rustix::stdio::stdout(), false, writes);
            if let Some(open) = connection.as_ref().filter(|_| asked_ms.is_some()) {
                poll.add(open.fd(), true, false);
            }
            // While something is to be written or to come, that is what is waited for.
            let deadline = match asked_ms {
                Some(asked) => Some(asked.saturating_add(ANSWER_MS)),
                None => (!writes).then_some(next_ms),
            };
            let _ = poll.wait(deadline);
            if poll.readable(1) {
                if let Some(status) = self.hear_signals() {
                    return status;
                }
            }
            if poll.readable(0) && !self.hear_keys() {
                return 0;
            }
            if writes && poll.writable(2) && !self.screen.write() {
                return 0;
            }
            let is_over = asked_ms.is_some_and(|asked| now_ms() >= asked.saturating_add(ANSWER_MS));
            if asked_ms.is_some() && (is_over || poll.readable(3)) {
                match connection.as_mut().map(|connection| hear(connection, &mut lines)) {
                    Some(Ok(false)) => {}
                    Some(Ok(true)) => {
                        let taken = std::mem::take(&mut lines);
                        if let Some(connection) = &connection {
                            self.table.take(&taken, connection);
                        }
                        self.draw();
                        asked_ms = None;
                        let took = now_ms().saturating_sub(now);
                        next_ms = next_ms.max(now_ms().saturating_add(took.saturating_mul(PAUSE_TIMES)));
                    }
                    Some(Err(_)) | None => {
                        (connection, asked_ms) = (None, None);
                        lines.clear();
                        self.lost("the daemon has closed the connection; trying again");
                    }
                }
            }
        }
    }

    fn lost(&mut self, words: &str) {
        self.table.title = words.into();
        self.draw();
    }

    fn hear_signals(&mut self) -> Option<i32> {
        let mut arrived = [Arrived::default(); 16];
        let count = self.signals.read(&mut arrived).unwrap_or(0);
        for signal in arrived.iter().take(count) {
            match signal.number {
                consts::SIGWINCH => self.resize(),
                consts::SIGTSTP if has_job_control() => self.stop(),
                number if ENDING.contains(&number) => return Some(number.saturating_add(128)),
                _ => {}
            }
        }
        None
    }

    /// As Ctrl-Z does it, with the terminal given back meanwhile.
    fn stop(&mut self) {
        self.leave();
        self.keys.give_back();
        stop_self();
        wait_for_foreground();
        self.keys.take_again();
        self.resize();
    }

    /// The cursor below what is shown.
    fn leave(&mut self) {
        let last = self.screen.lines;
        // What cannot be written now is not written: nobody waits for it.
        self.screen.pending = format!("\x1b[0m\x1b[{last};1H\r\n").into_bytes();
        let mut poll = PollSet::new(1);
        poll.add(rustix::stdio::stdout(), false, true);
        let _ = poll.wait(Some(now_ms()));
        if poll.writable(0) {
            self.screen.write();
        }
    }

    fn resize(&mut self) {
        (self.screen.columns, self.screen.lines) = size();
        self.screen.shown.clear();
        // Whatever sequence is cut off by this is over, and the screen empty.
        self.screen.pending = b"\x1b[0m\x1b[H\x1b[2J".to_vec();
        self.stale = true;
    }

    /// Takes what was pressed. Does it go on?
    fn hear_keys(&mut self) -> bool {
        let mut buffer = [0; 64];
        let count = match pipe::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(Some(0)) | Err(_) => return false,
            Ok(count) => count.unwrap_or(0),
        };
        let page = self.screen.lines.saturating_sub(3).max(1);
        for &byte in buffer.iter().take(count) {
            self.escape.push(byte);
            let first = self.table.first;
            self.table.first = match &self.escape[..] {
                // More is to come of these, but for a key that begins anew.
                [0x1b] | [0x1b, b'[' | b'O'] | [0x1b, b'[', b'0'..=b'9'] => continue,
                [.., b'q' | b'Q'] => return false,
                b"k" | [0x1b, _, b'A'] => first.saturating_sub(1),
                b"j" | [0x1b, _, b'B'] => first.saturating_add(1),
                b"b" | b"\x1b[5~" => first.saturating_sub(page),
                b" " | b"\x1b[6~" => first.saturating_add(page),
                b"g" | [0x1b, _, b'H'] | b"\x1b[1~" => 0,
                b"G" | [0x1b, _, b'F'] | b"\x1b[4~" => usize::MAX,
                _ => first,
            };
            self.escape.clear();
        }
        self.draw();
        true
    }

    /// Draws what there is now; where nothing is known yet, or the picture before is still on its way, later.
    fn draw(&mut self) {
        self.stale = !self.screen.pending.is_empty() || self.table.title.is_empty();
        if self.stale {
            return;
        }
        let page = self.screen.lines.saturating_sub(3);
        self.table.first = self.table.first.min(self.table.rows.len().saturating_sub(page));
        let lines = self.table.lines(self.screen.columns.saturating_sub(1), page);
        self.screen.draw(lines);
    }
}

/// In the background nobody may touch the terminal: as the kernel does with who writes to it, until the shell says so.
fn wait_for_foreground() {
    while has_job_control() && foreground(rustix::stdio::stdin()).is_some_and(|group| group != own_group()) {
        stop_self();
    }
}

/// Asks; when that was.
fn ask(connection: &mut Connection, now: u64) -> Option<u64> {
    connection.set_deadline(Some(std::time::Duration::from_millis(ANSWER_MS)));
    connection.ask(b":status").ok().map(|()| now)
}

/// Takes the lines that are there. Is the answer whole?
fn hear(connection: &mut Connection, lines: &mut Vec<String>) -> Result<bool, ClientError> {
    loop {
        match connection.answer()? {
            Answer::Line(line) => lines.push(line),
            Answer::Ok(_) => return Ok(true),
        }
        if !connection.has_more() {
            return Ok(false);
        }
    }
}

impl Table {
    fn take(&mut self, lines: &[String], connection: &Connection) {
        let place = Place::new(connection, lines.first().map_or("", String::as_str));
        let now = now_ms();
        let elapsed_ms = now.saturating_sub(std::mem::replace(&mut self.at_ms, now));
        let before = std::mem::take(&mut self.before);
        let (mut all, mut from_proc) = (None, [false; 2]);
        let (mut entries, mut up) = (0_u64, 0_u64);
        self.rows.clear();
        for line in lines {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("group"), Some(name), _) => {
                    up = up.saturating_add(number(line, "up"));
                    let level = field(line, "level").unwrap_or("-");
                    self.rows.push(Row::new(line, format!("{name} at {level}"), true));
                }
                (Some("entry"), Some(_), Some(tag)) => {
                    entries = entries.saturating_add(1);
                    let fields = words.next().unwrap_or("");
                    let mut row = Row::new(fields, format!("  {tag}"), false);
                    let main = u32::try_from(number(fields, "pid")).unwrap_or(0);
                    let usage = place.usage(&mut all, tag, main);
                    for (from, used) in from_proc.iter_mut().zip(usage) {
                        *from |= used.is_some_and(|(_, by_group)| !by_group);
                    }
                    let [cpu, memory] = usage.map(|used| used.map(|(amount, _)| amount));
                    let place = before.get(self.before.len()).filter(|known| known.0 == tag);
                    let known = place.or_else(|| before.iter().find(|known| known.0 == tag));
                    // A thousandth of a processor is a microsecond in each millisecond.
                    let share =
                        |(_, before): &(String, u64)| cpu?.saturating_sub(*before).checked_div(elapsed_ms);
                    row.usage = [known.and_then(share), memory];
                    self.before.push((tag.into(), cpu.unwrap_or(0)));
                    self.rows.push(row);
                }
                _ => {}
            }
        }
        self.sum_up();
        let name = host::hostname();
        let mut time = clock(wall_ms());
        time.truncate(8);
        self.title =
            format!("isinit on {}, {time} UTC: {up} of {entries} up", String::from_utf8_lossy(&name));
        self.sources = match (place, from_proc.map(|from| if from { "/proc" } else { "cgroups" })) {
            (Place::Elsewhere, _) => "in another PID namespace".into(),
            (Place::Here(_), [cpu, memory]) => format!("CPU: {cpu}, memory: {memory}"),
        };
    }

    /// What the entries of a group use, it uses.
    fn sum_up(&mut self) {
        let mut sum = [None; 2];
        for row in self.rows.iter_mut().rev() {
            if row.is_group {
                row.usage = std::mem::take(&mut sum);
                continue;
            }
            for (sum, used) in sum.iter_mut().zip(row.usage) {
                *sum = used.map_or(*sum, |used| Some(sum.unwrap_or(0_u64).saturating_add(used)));
            }
        }
    }

    fn lines(&self, columns: usize, page: usize) -> Vec<Line> {
        let unicode = unicode();
        let width = columns.saturating_sub(FIELDS).max(NAME_MIN);
        let heads = ["NAME", "STATE", "PID", "FOR", "RESTARTS"].map(String::from);
        let mut lines = vec![
            (self.title.clone(), "1"),
            (joined(&heads, ["CPU%", "MEMORY"].map(String::from), width, unicode), "7"),
        ];
        lines.extend(self.rows.iter().skip(self.first).take(page).map(|row| {
            let [cpu, memory] = row.usage;
            let cpu = cpu.map_or(String::from("-"), |cpu| format!("{}.{}", cpu / 10, cpu % 10));
            let memory = memory.map_or(String::from("-"), bytes);
            (joined(&row.fields, [cpu, memory], width, unicode), row.style)
        }));
        lines.resize(page.saturating_add(2), Line::default());
        let shown = self.rows.len().saturating_sub(self.first).min(page);
        let (from, to) = (self.first.saturating_add(1), self.first.saturating_add(shown));
        lines.push((
            format!("q leaves, arrows scroll  {from}-{to} of {}  {}", self.rows.len(), self.sources),
            "2",
        ));
        lines.into_iter().map(|(text, style)| (fit(&text, columns, unicode), style)).collect()
    }
}

/// The fields of a line, side by side.
fn joined(fields: &[String; 5], [cpu, memory]: [String; 2], width: usize, unicode: bool) -> String {
    let [name, state, pid, age, restarts] = fields;
    let name = fit(name, width, unicode);
    format!("{name} {state:<8} {pid:>7} {age:>6} {restarts:>8} {cpu:>6} {memory:>8}")
}

impl Row {
    fn new(line: &str, name: String, is_group: bool) -> Row {
        let state = field(line, "state").unwrap_or("-").to_string();
        let style = match &*state {
            "fail" | "failed" | "held" | "stuck" => "31",
            "start" | "starting" | "stopping" | "killing" | "backoff" => "33",
            _ if is_group => "1",
            _ => "",
        };
        let shown = |key| field(line, key).filter(|value| *value != "0").unwrap_or("").to_string();
        let age = show::duration(number(line, "age_ms"));
        Row { fields: [name, state, shown("pid"), age, shown("restarts")], usage: [None; 2], style, is_group }
    }
}

/// What the terminal shows, and what it is to be sent.
#[derive(Default)]
struct Screen {
    columns: usize,
    lines: usize,
    shown: Vec<(Vec<char>, &'static str)>,
    pending: Vec<u8>,
}

impl Screen {
    /// Adds what makes these lines of the ones that are shown.
    fn draw(&mut self, lines: Vec<Line>) {
        for (number, (text, style)) in lines.into_iter().enumerate() {
            let new: Vec<char> = text.chars().collect();
            let old = self.shown.get(number).filter(|old| old.1 == style && old.0.len() == new.len());
            let differs = |(old, new): (&char, &char)| old != new;
            let (first, last) = match old {
                Some((old, _)) => {
                    let pairs = || old.iter().zip(&new);
                    let Some(first) = pairs().position(differs) else { continue };
                    (first, pairs().rposition(differs).unwrap_or(first))
                }
                None => (0, new.len()),
            };
            let piece = new.iter().take(last.saturating_add(1)).skip(first);
            let (row, column) = (number.saturating_add(1), first.saturating_add(1));
            self.pending.extend(format!("\x1b[{row};{column}H\x1b[0;{style}m").bytes());
            self.pending.extend(piece.collect::<String>().bytes());
            self.shown.resize(self.shown.len().max(row), Default::default());
            if let Some(shown) = self.shown.get_mut(number) {
                *shown = (new, style);
            }
        }
    }

    /// Writes a piece. Is the terminal still there?
    fn write(&mut self) -> bool {
        let piece = self.pending.get(..WRITE_BYTES).unwrap_or(&self.pending);
        match rustix::io::write(rustix::stdio::stdout(), piece) {
            Ok(count) => {
                self.pending.drain(..count.min(self.pending.len()));
                true
            }
            Err(errno) => matches!(errno, crate::sys::Errno::AGAIN | crate::sys::Errno::INTR),
        }
    }
}
