//! `isinit top` and `isinit status --tree`. The first is used as people use it: on a terminal, here a pseudo terminal with a small
//! VT100 at its other end, which knows no more than the cursor, clearing, and letters.

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use common::{Daemon, Stage, binary, exit_code, isinit, look_until, run, signal};

/// A terminal with a program on it.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    child: Child,
    screen: Vec<Vec<char>>,
    cursor: (usize, usize),
    /// What has come of a sequence.
    sequence: Option<String>,
    undecoded: Vec<u8>,
    /// Bytes that were written to it.
    bytes: usize,
}

impl Terminal {
    /// Runs `words` with this as its controlling terminal. No size, as at the end of a serial line: (0, 0).
    fn start(d: &Stage, columns: u16, rows: u16, words: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave =
            open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let flags = rustix::fs::fcntl_getfl(&master).unwrap();
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).unwrap();
        let stdio = || Stdio::from(File::from(slave.try_clone().unwrap()));
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words).current_dir(d.dir()).env("LC_ALL", "C.UTF-8").env("PS1", "$ ");
        command.env("BIN", binary()).env("ISINIT_SOCKET", d.socket()).env("TERM", "vt100");
        let mut terminal = Terminal {
            child: command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap(),
            master,
            slave,
            screen: Vec::new(),
            cursor: (0, 0),
            sequence: None,
            undecoded: Vec::new(),
            bytes: 0,
        };
        terminal.resize(columns, rows);
        terminal
    }

    fn top(d: &Stage, columns: u16, rows: u16) -> Terminal {
        Terminal::start(d, columns, rows, &[binary().to_str().unwrap(), "top"])
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.slave, size).unwrap();
        let or = |number: u16, usual| if number == 0 { usual } else { usize::from(number) };
        self.screen = vec![vec![' '; or(columns, 80)]; or(rows, 24)];
    }

    fn type_keys(&self, keys: &str) {
        assert_eq!(rustix::io::write(&self.master, keys.as_bytes()), Ok(keys.len()));
    }

    /// Reads what has come and shows it.
    fn look(&mut self) {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = rustix::io::read(&self.master, &mut buffer) {
            self.bytes += count;
            self.undecoded.extend_from_slice(&buffer[..count]);
            let whole = match std::str::from_utf8(&self.undecoded) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let text: Vec<u8> = self.undecoded.drain(..whole).collect();
            String::from_utf8(text).unwrap().chars().for_each(|letter| self.show(letter));
        }
    }

    fn show(&mut self, letter: char) {
        match (&mut self.sequence, letter) {
            (_, '\x1b') => self.sequence = Some(String::new()),
            (Some(sequence), _) => {
                sequence.push(letter);
                // The only ones that bash writes, and a VT100 does not know, are for who brackets what is pasted.
                if letter.is_ascii_alphabetic() {
                    let sequence = self.sequence.take().unwrap();
                    self.obey(&sequence);
                }
            }
            (None, '\n') => self.cursor.0 += 1,
            (None, '\r') => self.cursor.1 = 0,
            (None, '\x07' | '\x08') => {}
            (None, _) => {
                let (row, column) = self.cursor;
                assert!(!letter.is_control(), "{letter:?}");
                if row >= self.screen.len() {
                    self.screen.remove(0);
                    self.screen.push(vec![' '; self.screen[0].len()]);
                    self.cursor.0 = self.screen.len() - 1;
                }
                let row = row.min(self.screen.len() - 1);
                if column < self.screen[row].len() {
                    self.screen[row][column] = letter;
                }
                self.cursor.1 += 1;
            }
        }
    }

    fn obey(&mut self, sequence: &str) {
        match sequence {
            "[2J" => self.screen.iter_mut().for_each(|row| row.fill(' ')),
            "[H" => self.cursor = (0, 0),
            "[K" | "[?2004h" | "[?2004l" => {}
            _ if sequence.ends_with('m') => {}
            _ => {
                let place = sequence.strip_prefix('[').and_then(|rest| rest.strip_suffix('H'));
                let place = place.and_then(|place| place.split_once(';'));
                let (row, column) = place.unwrap_or_else(|| panic!("no VT100 knows {sequence:?}"));
                self.cursor = (row.parse::<usize>().unwrap() - 1, column.parse::<usize>().unwrap() - 1);
                assert!(
                    self.cursor.0 < self.screen.len() && self.cursor.1 < self.screen[0].len(),
                    "{sequence}"
                );
            }
        }
    }

    fn row(&self, number: usize) -> String {
        self.screen[number].iter().collect::<String>().trim_end().to_string()
    }

    fn rows(&self) -> Vec<String> {
        (0..self.screen.len()).map(|number| self.row(number)).collect()
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&Terminal) -> bool) {
        let held = look_until(|| {
            self.look();
            holds(self).then_some(())
        });
        assert!(held.is_some(), "waited in vain: {what}\n{}", self.rows().join("\n"));
    }

    fn until_shown(&mut self, words: &str) {
        self.until(words, |terminal| terminal.rows().iter().any(|row| row.contains(words)));
    }

    /// How it has ended.
    fn end(&mut self) -> i32 {
        let status = look_until(|| {
            self.look();
            self.child.try_wait().unwrap()
        });
        exit_code(status.unwrap_or_else(|| panic!("it does not end\n{}", self.rows().join("\n"))))
    }

    /// Does it show what is typed, line by line?
    fn is_sane(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daemon() -> Daemon {
    let d = Daemon::start(
        "web:www:run,:respawn:sh svc www\nweb:bad:run,:once:exit 3;\njobs:cron:run,:respawn:sh svc cron\n",
    );
    assert_eq!(d.tell("web", "run"), "ok run");
    d.until_event("start www");
    d
}

#[test]
fn groups_and_entries_are_shown_and_q_leaves() {
    let d = daemon();
    for (columns, rows) in [(80, 24), (0, 0), (120, 40), (60, 12)] {
        let mut terminal = Terminal::top(&d, columns, rows);
        terminal.until_shown("q leaves");
        let all = terminal.rows();
        assert!(all[0].starts_with("isinit on ") && all[0].ends_with(": 1 of 3 up"), "{all:#?}");
        assert!(all[1].starts_with("NAME") && all[2].starts_with("web at run"), "{all:#?}");
        let pid = d.pid_of("www").to_string();
        assert!(all[3].starts_with("  www") && all[3].contains(&format!("up        {pid:>6}")), "{all:#?}");
        assert!(all[4].starts_with("  bad") && all[4].contains("failed"), "{all:#?}");
        assert!(all[6].starts_with("  cron") && all[6].contains("down"), "{all:#?}");
        assert!(all[all.len() - 1].starts_with("q leaves, arrows scroll  1-5 of 5  CPU: "), "{all:#?}");
        assert!(!terminal.is_sane());
        if columns != 60 {
            assert!(["K", "M"].iter().any(|unit| all[3].ends_with(unit)), "its memory: {all:#?}");
            terminal.until("a share of the processor", |terminal| terminal.row(3).contains("0.0 "));
        }
        terminal.type_keys("q");
        assert_eq!(terminal.end(), 0);
        assert!(terminal.is_sane());
        assert_eq!(terminal.cursor, (terminal.screen.len(), 0), "below what was shown");
    }
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    let d = daemon();
    for (number, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)]
    {
        let mut terminal = Terminal::top(&d, 80, 24);
        terminal.until_shown("q leaves");
        signal(terminal.child.id(), number);
        assert_eq!(terminal.end(), status);
        assert!(terminal.is_sane(), "{number:?}");
    }
    for (key, status) in [("\x03", 130), ("\x1c", 131), ("Q", 0)] {
        let mut terminal = Terminal::top(&d, 80, 24);
        terminal.until_shown("q leaves");
        terminal.type_keys(key);
        assert_eq!(terminal.end(), status);
        assert!(terminal.is_sane(), "{key:?}");
    }
}

#[test]
fn it_is_stopped_and_goes_on_as_a_shell_tells_it() {
    let d = daemon();
    let mut terminal = Terminal::start(&d, 80, 24, &["bash", "--norc", "--noprofile", "--noediting", "-i"]);
    terminal.type_keys("$BIN top\n");
    terminal.until_shown("q leaves");
    terminal.type_keys("\x1a");
    terminal.until_shown("Stopped");
    assert!(terminal.is_sane());
    terminal.type_keys("bg; echo in the $((1 + 1))nd place\n");
    terminal.until_shown("in the 2nd place");
    assert!(terminal.is_sane(), "in the background it leaves the terminal alone");
    terminal.resize(80, 24);
    terminal.type_keys("fg\n");
    terminal.until_shown("q leaves");
    assert!(terminal.row(2).starts_with("web at run"), "{:#?}", terminal.rows());
    assert!(!terminal.is_sane());
    terminal.type_keys("q");
    terminal.until("the shell has its terminal", |terminal| terminal.is_sane());
    terminal.type_keys("exit 7\n");
    assert_eq!(terminal.end(), 7);
}

#[test]
fn another_size_is_another_picture() {
    let d = daemon();
    let mut terminal = Terminal::top(&d, 80, 24);
    terminal.until_shown("q leaves");
    terminal.resize(120, 40);
    terminal.until("the last line is the fortieth", |terminal| terminal.row(39).starts_with("q leaves"));
    assert_eq!(terminal.row(23), "");
    assert!(terminal.row(1).ends_with("MEMORY") && terminal.row(1).len() == 119, "{:#?}", terminal.rows());
    terminal.resize(40, 6);
    terminal.until("the last line is the sixth", |terminal| terminal.row(5).starts_with("q leaves"));
}

#[test]
fn more_than_there_are_lines_for_is_scrolled() {
    let table: String = (0..60).map(|n| format!("many:tag{n}:run,:off:true\n")).collect();
    let d = Daemon::start(table);
    let mut terminal = Terminal::top(&d, 80, 24);
    terminal.until_shown("1-21 of 61");
    for (keys, shown, first) in [
        ("j", "2-22 of 61", "  tag0"),
        ("\x1b[B\x1bOB", "4-24 of 61", "  tag2"),
        ("k\x1b[A", "2-22 of 61", "  tag0"),
        (" ", "23-43 of 61", "  tag21"),
        ("\x1b[6~\x1b[6~", "41-61 of 61", "  tag39"),
        ("\x1b[5~", "20-40 of 61", "  tag18"),
        ("b", "1-21 of 61", "many at -"),
        ("G", "41-61 of 61", "  tag39"),
        ("\x1b[H", "1-21 of 61", "many at -"),
        ("\x1b[F", "41-61 of 61", "  tag39"),
        ("gx\x1b[15~", "1-21 of 61", "many at -"),
    ] {
        terminal.type_keys(keys);
        terminal.until_shown(shown);
        assert!(terminal.row(2).starts_with(first), "{keys:?}: {:#?}", terminal.rows());
    }
}

/// A line of 9600 baud takes 960 bytes in a second: of a new picture only what is new is sent. And one that takes nothing
/// holds up neither keys nor signals.
#[test]
fn a_slow_line_is_not_flooded_and_a_stopped_one_stops_nothing_else() {
    let table: String = (0..200).map(|n| format!("many:tag{n}:run,:off:true\n")).collect();
    let d = Daemon::start(table);
    let mut terminal = Terminal::top(&d, 80, 24);
    terminal.until_shown("q leaves");
    assert!(terminal.bytes < 3_000, "a whole picture had {} bytes", terminal.bytes);
    for _ in 0..2 {
        let (bytes, time) = (terminal.bytes, terminal.row(0));
        terminal.until("the next picture", |terminal| terminal.row(0) != time);
        let more = terminal.bytes - bytes;
        assert!(more < 24 * 24, "{more} bytes for a new time and new ages");
    }
    // Ctrl-S stops what is written, not what is read, and it is not over when the picture is to be another one.
    for end in ["q", ""] {
        let mut terminal = Terminal::top(&d, 80, 24);
        terminal.until_shown("q leaves");
        terminal.type_keys("\x13");
        d.until("the line takes nothing", |_| is_full(&terminal.slave));
        terminal.type_keys("j");
        terminal.resize(120, 40);
        match end {
            "" => signal(terminal.child.id(), Signal::TERM),
            key => terminal.type_keys(key),
        }
        let pid = terminal.child.id();
        d.until("it has ended", |_| matches!(common::process_state(pid), None | Some('Z')));
        assert_eq!(exit_code(terminal.child.wait().unwrap()), if end.is_empty() { 143 } else { 0 });
        assert!(terminal.is_sane());
    }
}

fn is_full(slave: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(slave, rustix::event::PollFlags::OUT)];
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&none)) == Ok(0)
}

#[test]
fn another_daemon_at_the_socket_is_found_again() {
    let stage = Stage::new();
    stage.write_table("web:www:run,:respawn:sh svc www\n");
    let first = stage.command(&[]).spawn().map(Reaped).unwrap();
    common::until("it answers", || {
        run(Command::new(binary()).arg("status").env("ISINIT_SOCKET", stage.socket())).status == 0
    });
    let mut terminal = Terminal::top(&stage, 80, 24);
    terminal.until_shown("0 of 1 up");
    drop(first);
    terminal.until("that it has gone", |terminal| terminal.row(0).ends_with("; trying again"));
    assert!(terminal.row(3).starts_with("  www"), "what was known last stays: {:#?}", terminal.rows());
    let _second = stage.command(&[]).spawn().map(Reaped).unwrap();
    terminal.until_shown("0 of 1 up");
    terminal.type_keys("q");
    assert_eq!(terminal.end(), 0);
}

/// A daemon that is killed when it is dropped.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_is_for_terminals_and_for_daemons() {
    let d = daemon();
    let output = d.isinit(&["top"]);
    assert!(output.status == 2 && output.stderr.contains("`isinit status`"), "{output:?}");
    assert_eq!(isinit(&["-s", "/nonexistent/s", "top"]).status, 5);
}

#[test]
fn a_tree_has_the_processes_of_each_entry() {
    let d = Daemon::start(
        "web:www:run,:respawn:sh svc www\nweb:bye::off:true\njobs:away:run,:respawn:setsid sh -c 'echo start away >> events; exec sleep 100000' & wait\n",
    );
    assert_eq!(d.tell("web", "run"), "ok run");
    assert_eq!(d.tell("jobs", "run"), "ok run");
    d.until_event("start www");
    d.until_event("start away");
    let (www, away) = (d.pid_of("www"), d.pid_of("away"));
    for (locale, [more, last, below]) in [("C", ["|-", "`-", "|  "]), ("C.UTF-8", ["├─", "└─", "│  "])]
    {
        let output = run(d.client(&["status", "--tree"]).env("LC_ALL", locale));
        let lines: Vec<&str> = output.stdout.lines().collect();
        let begins = |number: usize, with: &str| {
            assert!(lines.get(number).is_some_and(|line| line.starts_with(with)), "{number}: {output:?}");
        };
        begins(0, "web  run");
        begins(1, &format!("{more} www"));
        begins(2, &format!("{below}{last} {www} sh svc www"));
        begins(3, &format!("{below}   {last} "));
        begins(4, &format!("{last} bye"));
        begins(5, "jobs  run");
        begins(6, &format!("{last} away"));
        begins(7, &format!("   {last} {away} /bin/sh -c setsid"));
        assert!(lines[3].ends_with("sleep 100000") && lines[8].ends_with("sleep 100000"), "{output:?}");
    }
    assert_eq!(d.isinit(&["status", "--tree", "--json"]).status, 2);
    assert!(!d.isinit(&["status"]).stdout.contains("sleep"));
}

mod as_root {
    use super::*;

    /// Who is outside of the daemon's PID namespace sees other processes by the same numbers: they are not shown.
    #[test]
    fn processes_of_another_namespace_are_nobody_s() {
        let stage = Stage::new();
        let command = stage.command(&["unshare", "-p", "-f", "--mount-proc", "--kill-child"]);
        let d = stage.start_by("web:www:run,:respawn:sh svc www\n", command);
        assert_eq!(d.tell("web", "run"), "ok run");
        d.until_event("start www");
        let output = d.isinit(&["status", "--tree"]);
        assert!(
            output.stdout.contains("another PID namespace") && !output.stdout.contains("svc"),
            "{output:?}"
        );
        let mut terminal = Terminal::top(&d, 80, 24);
        terminal.until_shown("in another PID namespace");
        assert!(terminal.row(3).ends_with(" -        -"), "{:#?}", terminal.rows());
        assert_eq!(d.isinit(&["-k"]).status, 0, "who is outside of it has to end it by its socket");
    }
}
