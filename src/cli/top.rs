//! `isinit top`: groups and entries with what they use, again and again.
//!
//! It is made for the worst terminal that there is, a VT100 at the end of a serial line of 9600 baud: the cursor is moved and
//! letters are written, and of a line only from the first letter that has changed to the last. A line that takes nothing (Ctrl-S)
//! holds up nothing: what is not written yet waits, the next picture is drawn when it has gone, and keys and signals are heard
//! meanwhile. Every way out gives the terminal back as it was.

use signal_hook::consts;

use super::history::{first, number};
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
    at_ms: u64,
    /// The first row that is shown.
    first: usize,
    sources: String,
}

/// A line of the status, and what is used.
struct Row {
    line: String,
    /// Microseconds of processor time until the last look.
    cpu_us: u64,
    /// Tenths of a percent of one processor, and bytes of memory.
    usage: [Option<u64>; 2],
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
                            self.table.take(taken, connection);
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
    fn take(&mut self, lines: Vec<String>, connection: &Connection) {
        let place = Place::new(connection, lines.first().map_or("", String::as_str));
        let now = now_ms();
        let elapsed_ms = now.saturating_sub(std::mem::replace(&mut self.at_ms, now));
        let before = std::mem::take(&mut self.rows);
        let (mut all, mut from_proc) = (None, [false; 2]);
        let (mut entries, mut up) = (0_u64, 0);
        for line in lines.into_iter().skip(1) {
            let mut row = Row { line, cpu_us: 0, usage: [None; 2] };
            if let (_, Some(tag), fields) = parts(&row.line) {
                entries = entries.saturating_add(1);
                let main = u32::try_from(number(fields, "pid")).unwrap_or(0);
                let used = place.usage(&mut all, tag, main);
                for (from, used) in from_proc.iter_mut().zip(used) {
                    *from |= used.is_some_and(|(_, by_group)| !by_group);
                }
                let [cpu, memory] = used.map(|used| used.map(|(amount, _)| amount));
                // At its place as long as the table is the same; else it is known at the next look.
                let known = before.get(self.rows.len()).filter(|known| parts(&known.line).1 == Some(tag));
                // A thousandth of a processor is a microsecond in each millisecond.
                let share = known
                    .zip(cpu)
                    .and_then(|(known, cpu)| cpu.saturating_sub(known.cpu_us).checked_div(elapsed_ms));
                (row.usage, row.cpu_us) = ([share, memory], cpu.unwrap_or(0));
            } else {
                up = number(&row.line, "up").saturating_add(up);
            }
            self.rows.push(row);
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
            if parts(&row.line).1.is_none() {
                row.usage = std::mem::take(&mut sum);
            }
            for (sum, used) in sum.iter_mut().zip(row.usage).filter(|_| parts(&row.line).1.is_some()) {
                *sum = used.map_or(*sum, |used| Some(sum.unwrap_or(0_u64).saturating_add(used)));
            }
        }
    }

    fn lines(&self, columns: usize, page: usize) -> Vec<Line> {
        let unicode = unicode();
        let width = columns.saturating_sub(FIELDS).max(NAME_MIN);
        let mut lines = vec![(self.title.clone(), "1")];
        lines.push((
            joined(&fit("NAME", width, unicode), ["STATE", "PID", "FOR", "RESTARTS", "CPU%", "MEMORY"]),
            "7",
        ));
        lines.extend(self.rows.iter().skip(self.first).take(page).map(|row| row.shown(width, unicode)));
        lines.resize(page.saturating_add(2), Line::default());
        let (from, rows) = (self.first.saturating_add(1), self.rows.len());
        let to = self.first.saturating_add(page).min(rows);
        lines.push((format!("q leaves, arrows scroll  {from}-{to} of {rows}  {}", self.sources), "2"));
        lines.iter_mut().for_each(|(text, _)| *text = fit(text, columns, unicode));
        lines
    }
}

/// The group of a line of the status, the entry's tag if it is one, and the fields.
fn parts(line: &str) -> (&str, Option<&str>, &str) {
    let (kind, rest) = first(line);
    let (group, fields) = first(rest);
    match kind {
        "entry" => (group, Some(first(fields).0), first(fields).1),
        _ => (group, None, fields),
    }
}

/// The fields of a line, side by side.
fn joined(name: &str, [state, pid, age, restarts, cpu, memory]: [&str; 6]) -> String {
    format!("{name} {state:<8} {pid:>7} {age:>6} {restarts:>8} {cpu:>6} {memory:>8}")
}

impl Row {
    fn shown(&self, width: usize, unicode: bool) -> Line {
        let (group, tag, fields) = parts(&self.line);
        let shown = |key| field(fields, key).filter(|value| *value != "0").unwrap_or("");
        let state = shown("state");
        let style = match state {
            "fail" | "failed" | "held" | "stuck" => "31",
            "start" | "starting" | "stopping" | "killing" | "backoff" => "33",
            _ if tag.is_none() => "1",
            _ => "",
        };
        let name = tag.map_or_else(|| format!("{group} at {}", shown("level")), |tag| format!("  {tag}"));
        let [cpu, memory] = self.usage;
        let cpu = cpu.map_or(String::from("-"), |cpu| format!("{}.{}", cpu / 10, cpu % 10));
        let memory = memory.map_or(String::from("-"), bytes);
        let age = show::duration(number(fields, "age_ms"));
        let name = fit(&name, width, unicode);
        (joined(&name, [state, shown("pid"), &age, shown("restarts"), &cpu, &memory]), style)
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
            // From the first that differs to the last.
            let (mut first, mut end) = if old.is_some() { (usize::MAX, 0) } else { (0, new.len()) };
            for (at, (old, new)) in old.iter().flat_map(|old| &old.0).zip(&new).enumerate() {
                if old != new {
                    (first, end) = (first.min(at), at.saturating_add(1));
                }
            }
            let Some(piece) = new.get(first..end).filter(|piece| !piece.is_empty()) else { continue };
            let (row, column) = (number.saturating_add(1), first.saturating_add(1));
            self.pending.extend(format!("\x1b[{row};{column}H\x1b[0;{style}m").bytes());
            self.pending.extend(piece.iter().collect::<String>().bytes());
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
