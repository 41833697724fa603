//! Showing answers: aligned columns and colours on a terminal, plain text in a pipe.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use super::Status;
use super::text::colours;
use super::tree::Tree;
use crate::isinittab::{Report, Severity};
use crate::sys;
use crate::sys::spawn::Step;
use crate::wire::client::field;

/// Writes to stdout. Is somebody there to read on? A reader that has gone (`isinit watch | head`) is not an error
/// worth words; a full disk is.
pub fn put(text: impl AsRef<[u8]>) -> bool {
    match try_put(text) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            say(&format!("isinit: cannot write the answer: {error}\n"));
            std::process::exit(Status::Failed as i32)
        }
    }
}

/// Writes to stdout where the exit status says it too.
pub fn try_put(text: impl AsRef<[u8]>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush())
}

/// Writes to stderr. Where that is not possible nobody can be told.
pub fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn painted(text: &str, state: &str) -> String {
    let colour = match state {
        "run" | "up" | "done" | "keep" | "ok" => "32",
        "fail" | "failed" | "held" | "stuck" | "stop" | "error" => "31",
        "start" | "starting" | "stopping" | "killing" | "backoff" | "warning" => "33",
        _ => return text.into(),
    };
    if colours() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.into() }
}

/// A step of a plan: `stop TAG pid=N`.
pub fn step(line: &str) {
    let mut words = line.split(' ');
    let (verb, tag) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let pid =
        field(line, "pid").filter(|pid| *pid != "0").map_or(String::new(), |pid| format!(" (pid {pid})"));
    put(format!("{} {tag}{pid}\n", painted(&format!("{verb:5}"), verb)));
}

/// What is wrong with a table.
pub fn report(report: &Report) {
    if !colours() {
        put(report.to_string());
        return;
    }
    for diagnostic in report.iter() {
        let word = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        put(diagnostic.to_string().replacen(
            &format!(" {word}: "),
            &format!(" {}: ", painted(word, word)),
            1,
        ));
    }
}

/// Groups, and under each its entries; in a tree, under each of those its processes. Of `all` groups: below them which table
/// is in force.
pub fn status(lines: &[String], all: bool, tree: Option<&Tree>) {
    let rows: Vec<(usize, String, Vec<String>)> = lines.iter().filter_map(|line| row(line)).collect();
    let width = |column: usize| {
        let cells =
            rows.iter().filter(|(indent, _, _)| *indent > 0).filter_map(|(_, _, cells)| cells.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut rest = rows.iter();
    while let Some((indent, state, cells)) = rest.next() {
        let last = rest.as_slice().first().is_none_or(|next| next.0 == 0);
        let branch = tree.filter(|_| *indent > 0).map(|tree| (tree, tree.branch(last)));
        let mut text = branch.map_or_else(|| " ".repeat(*indent), |(_, (branch, _))| branch.into());
        for (column, cell) in cells.iter().enumerate() {
            let width = if *indent > 0 { widths.get(column).copied().unwrap_or(0) } else { 0 };
            let padded = format!("{cell:width$}");
            text.push_str(&if column == 1 { painted(&padded, state) } else { padded });
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if let (Some((tree, (_, below))), [tag, _, pid, ..]) = (branch, &cells[..]) {
            let main = pid.strip_prefix("pid ").and_then(|pid| pid.parse().ok()).unwrap_or(0);
            text.push_str(&tree.below(tag, main, below));
        }
        put(text);
    }
    let of_daemon = |key| lines.first().and_then(|line| field(line, key));
    if let (true, Some(table), Some(digest)) = (all, of_daemon("table"), of_daemon("digest")) {
        put(format!("table {table}, digest {digest}\n"));
    }
    if of_daemon("table_ok") == Some("0") {
        put("the table on disk has errors; the one in force is kept (isinit check)\n");
    }
    if lines.iter().filter_map(|line| field(line, "flags")).any(|flags| flags.contains("changed")) {
        put("changed: the table has it otherwise now; `isinit restart TAG` takes it as it is there\n");
    }
    if tree.is_some_and(Tree::is_elsewhere) {
        put("the daemon is in another PID namespace: its processes cannot be seen from here\n");
    }
}

/// Indentation, state and cells of one line.
fn row(line: &str) -> Option<(usize, String, Vec<String>)> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let state = field(line, "state").unwrap_or("-").to_string();
    let age = duration_of(field(line, "age_ms"));
    match kind {
        "group" => {
            let level = field(line, "level").unwrap_or("-");
            let cells =
                vec![words.next()?.into(), state.clone(), format!("level {level}"), format!("for {age}")];
            Some((0, state, cells))
        }
        "entry" => {
            let tag = words.nth(1)?;
            let pid = field(line, "pid").filter(|pid| *pid != "0");
            let pid = pid.map_or(String::new(), |pid| format!("pid {pid}"));
            Some((2, state.clone(), vec![tag.into(), state, pid, age, remarks(line)]))
        }
        _ => None,
    }
}

/// What is worth saying of an entry beside its state.
fn remarks(line: &str) -> String {
    let mut remarks = Vec::new();
    match field(line, "restarts") {
        Some("0") | None => {}
        Some("1") => remarks.push("1 restart".to_string()),
        Some(restarts) => remarks.push(format!("{restarts} restarts")),
    }
    if let Some(last) = field(line, "last").filter(|last| *last != "none") {
        remarks.push(last_words(last));
    }
    let state = field(line, "state");
    if let Some(due) = field(line, "due_ms").filter(|due| *due != "-") {
        let what = if matches!(state, Some("held" | "backoff")) { "next start in" } else { "deadline in" };
        remarks.push(format!("{what} {}", duration_of(Some(due))));
    }
    if let Some(flags) = field(line, "flags").filter(|flags| *flags != "-") {
        remarks.push(flags.replace(',', ", "));
    }
    remarks.join(", ")
}

/// How a process ended, in words.
pub fn last_words(last: &str) -> String {
    let mut parts = last.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("exit"), Some(status), _) => format!("exit {status}"),
        (Some("signal"), Some(signal), _) => format!("killed by {signal}"),
        (Some("fault"), Some(step), Some(errno)) => {
            let number = errno.parse().unwrap_or(0);
            let words = sys::errno_words(number);
            let is_exec = step == Step::Exec.name();
            let advice = if is_exec { Step::Exec.advice(sys::Errno::from_raw_os_error(number)) } else { "" };
            format!("cannot be started ({step}): {}{advice}", if number == 0 { errno } else { words })
        }
        (Some("timeout"), _, _) => "not ready in time".into(),
        _ => last.into(),
    }
}

fn duration_of(ms: Option<&str>) -> String {
    duration(ms.and_then(|ms| ms.parse().ok()).unwrap_or(0))
}

/// Milliseconds in the one unit that says most.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}min", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// One line of `watch`. Is somebody there to read on?
pub fn change(line: &str) -> bool {
    if let Some(count) = line.strip_prefix("lost ") {
        return put(format!("({count} changes are missing here: the reader was too slow)\n"));
    }
    let (group, tag) = (field(line, "group").unwrap_or("-"), field(line, "tag").unwrap_or("-"));
    let what = field(line, "what").unwrap_or(line);
    let name = if tag == "-" { group.to_string() } else { format!("{group}/{tag}") };
    let mut text = format!("{name}: {}", painted(what, what));
    if let Some(level) = field(line, "level") {
        text.push_str(&format!(" at level {level}"));
    }
    if let Some(pid) = field(line, "pid").filter(|pid| *pid != "0") {
        text.push_str(&format!(" pid {pid}"));
    }
    if let Some(last) = field(line, "last").filter(|last| *last != "none" && what != "started") {
        text.push_str(&format!(" ({})", last_words(last)));
    }
    put(format!("{text}\n"))
}

/// What a `tell --wait` is waiting for, in one line of the terminal that is written over and over.
pub struct Progress {
    terminal: bool,
    waiting: Option<(String, Instant)>,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(terminal: bool) -> Progress {
        Progress { terminal, waiting: None }
    }

    /// The daemon waits for something else now: `waiting GROUP TAG why=... age_ms=...`.
    pub fn waiting(&mut self, line: &str) {
        let tag = line.split(' ').nth(2).unwrap_or("?");
        let why = match field(line, "why") {
            Some("stop") => "to stop",
            Some("ready") => "to be ready",
            Some("test") => "to have tested",
            _ => "to end",
        };
        let age = field(line, "age_ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(Duration::ZERO, Duration::from_millis);
        let now = Instant::now();
        self.waiting = Some((format!("{tag} {why}"), now.checked_sub(age).unwrap_or(now)));
        self.tick();
    }

    /// Shows how much time has passed.
    pub fn tick(&self) {
        if let Some(what) = self.last().filter(|_| self.terminal) {
            say(&format!("\r\x1b[Kwaiting for {what}"));
        }
    }

    /// The line is not needed any more.
    pub fn end(&self) {
        if self.terminal && self.waiting.is_some() {
            say("\r\x1b[K");
        }
    }

    /// What was waited for last.
    pub fn last(&self) -> Option<String> {
        let (what, since) = self.waiting.as_ref()?;
        let age_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(format!("{what}, for {}", duration(age_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_shown_with_what_is_worth_saying() {
        let line = "entry web ng action=respawn state=held pid=0 age_ms=5000 restarts=4 last=exit:1 due_ms=55000 flags=changed";
        let (indent, state, cells) = row(line).unwrap();
        assert_eq!((indent, state.as_str()), (2, "held"));
        assert_eq!(cells, ["ng", "held", "", "5s", "4 restarts, exit 1, next start in 55s, changed"]);
        assert_eq!(last_words("fault:nice:2"), "cannot be started (nice): No such file or directory");
        assert_eq!(last_words("signal:SIGKILL"), "killed by SIGKILL");
    }
}
