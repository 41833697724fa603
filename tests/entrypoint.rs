//! `isinit run -- COMMAND`: a command finds all as if nobody stood between it and who has started it.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use common::{Output, Stage, alive, binary, descriptors, exit_code, look_until, run, signal, until};
use rustix::process::{Pid, Signal, kill_process_group};

/// What a shell script that has `$BIN` for the isinit under test, and `$HELPERS`, prints, and how it ends.
fn shell(stage: &Stage, script: &str) -> Output {
    run(command(stage, "/bin/sh").args(["-c", script]))
}

fn command(stage: &Stage, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let helpers = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helpers");
    command.current_dir(stage.dir()).env("BIN", binary()).env("HELPERS", helpers).env_remove("ISINIT_SOCKET");
    command
}

/// `isinit run`, to be told the rest.
fn isinit_run(stage: &Stage) -> Command {
    let mut command = command(stage, binary());
    command.arg("run");
    command
}

fn make_executable(stage: &Stage, name: &str, content: &[u8]) {
    stage.write("content", content);
    stage.install(&stage.path("content"), name);
}

/// A command under isinit that notes its signals, and its lines.
struct Noting {
    isinit: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// The command.
    pid: u32,
}

impl Noting {
    fn start(stage: &Stage, options: &[&str]) -> Noting {
        let words = ["--", "perl", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helpers/signals.pl")];
        let mut isinit = isinit_run(stage).args(options).args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(isinit.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        let pid = ready.strip_prefix("ready ").unwrap().parse().unwrap();
        Noting { isinit, lines, pid }
    }

    fn send(&self, number: i32) {
        // kill(1) takes every number, also those that rustix has no name for.
        let sent =
            Command::new("/bin/kill").arg(format!("-{number}")).arg(self.isinit.id().to_string()).status();
        assert!(sent.unwrap().success(), "{number}");
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// SIGTERM ends it; its exit status.
    fn end(mut self) -> i32 {
        self.send(15);
        assert_eq!(self.next(), "15");
        exit_code(self.isinit.wait().unwrap())
    }
}

#[test]
fn the_exit_status_is_the_commands() {
    let stage = Stage::new();
    for (script, status) in [
        ("exec \"$BIN\" run -- true", 0),
        ("exec \"$BIN\" run -- sh -c 'exit 37'", 37),
        ("exec \"$BIN\" run sh -c 'kill -TERM $$'", 143),
        ("exec \"$BIN\" run -- sh -c 'kill -KILL $$'", 137),
        ("exec \"$BIN\" run -e 143 -e 3 -- sh -c 'kill -TERM $$'", 0),
        ("exec \"$BIN\" run -e 143 -e 3 -- sh -c 'exit 3'", 0),
        ("exec \"$BIN\" run -e 143 -- sh -c 'exit 3'", 3),
    ] {
        let output = shell(&stage, script);
        assert_eq!((output.status, output.stderr.as_str()), (status, ""), "{script}");
    }
}

#[test]
fn what_cannot_be_executed_is_told_as_the_shell_has_it() {
    let stage = Stage::new();
    stage.write("plain", "no script, as nobody may execute it\n");
    make_executable(&stage, "wrong", b"#!/no/such/interpreter\n");
    make_executable(&stage, "foreign", b"\x7fELF of another machine");
    for (command, status, words) in [
        (
            "no-such-command",
            127,
            "no-such-command: cannot execute the program: No such file or directory (it is in no",
        ),
        (
            "./nothing",
            127,
            "./nothing: cannot execute the program: No such file or directory (it, or the interpreter",
        ),
        ("./wrong", 127, "./wrong: cannot execute the program: No such file"),
        ("./plain", 126, "./plain: cannot execute the program: Permission denied"),
        ("./foreign", 126, "./foreign: cannot execute the program: Exec format error"),
        (".", 126, ".: cannot execute the program: "),
    ] {
        let output = run(isinit_run(&stage).arg("--").arg(command));
        assert_eq!(output.status, status, "{command}: {output:?}");
        assert!(output.stderr.contains(words), "{command}: {output:?}");
    }
}

#[test]
fn a_script_without_an_interpreter_is_the_shells() {
    let stage = Stage::new();
    make_executable(&stage, "script", b"echo $0 $# $2\n");
    let output = run(isinit_run(&stage).args(["--", "./script", "a", "b c"]));
    assert_eq!((output.status, output.stdout.as_str()), (0, "./script 2 b c\n"), "{output:?}");
}

#[test]
fn what_is_wrong_on_the_command_line_runs_nothing() {
    let stage = Stage::new();
    for words in [&[][..], &["-x", "touch", "ran"], &["-r", "1", "touch", "ran"], &["--"]] {
        let output = run(isinit_run(&stage).args(words));
        assert_eq!((output.status, output.stdout.as_str()), (2, ""), "{words:?}");
        assert!(output.stderr.contains("\nusage: isinit run "), "{output:?}");
    }
    assert!(!stage.path("ran").exists());
    let output = run(isinit_run(&stage).arg("--help"));
    assert!(output.status == 0 && output.stdout.starts_with("usage: isinit run "), "{output:?}");
}

#[test]
fn every_signal_that_can_be_is_handed_on() {
    let stage = Stage::new();
    let mut command = Noting::start(&stage, &[]);
    // SIGTSTP, SIGTTIN and SIGTTOU become SIGSTOP in a session of its own: that is another test.
    for number in (1..=64).filter(|number| ![9, 15, 17, 19, 20, 21, 22, 32, 33].contains(number)) {
        command.send(number);
        assert_eq!(command.next(), number.to_string());
    }
    assert_eq!(command.end(), 0);
    // The C library's own, which perl cannot catch: that they arrive is seen by what is sent in their place.
    let mut command = Noting::start(&stage, &["-r", "32:10", "-r", "33:12"]);
    for (number, noted) in [(32, "10"), (33, "12")] {
        command.send(number);
        assert_eq!(command.next(), noted);
    }
    assert_eq!(command.end(), 0);
}

#[test]
fn signals_are_rewritten_and_dropped() {
    let stage = Stage::new();
    let mut command = Noting::start(&stage, &["-r", "HUP:USR1", "-r", "2:0", "-r", "20:12"]);
    command.send(1);
    assert_eq!(command.next(), "10");
    command.send(2);
    command.send(20);
    assert_eq!(command.next(), "12", "and no 2 before it");
    assert_eq!(command.end(), 0);
}

#[test]
fn it_stops_and_goes_on_with_its_command() {
    let stage = Stage::new();
    let mut command = Noting::start(&stage, &[]);
    let both = [command.isinit.id(), command.pid];
    let are = |state: char| {
        let all = || both.map(common::process_state);
        look_until(|| (all() == [Some(state); 2]).then_some(()))
            .unwrap_or_else(|| panic!("not both {state}: {:?}", all()));
    };
    for stop in [20, 21, 22] {
        command.send(stop);
        are('T');
        command.send(18);
        are('S');
        assert_eq!(command.next(), "18");
    }
    assert_eq!(command.end(), 0);
}

#[test]
fn with_g_all_of_the_group_gets_it() {
    let stage = Stage::new();
    let script =
        "sh svc child & while [ ! -s events ]; do sleep 0.01; done; sh svc parent & exec sh svc main";
    for (options, told) in [(&["-g"][..], 3), (&[], 1)] {
        stage.write("events", "");
        let mut isinit = isinit_run(&stage)
            .args(options)
            .args(["--grace", "0", "--", "sh", "-c", script])
            .spawn()
            .unwrap();
        until("all have begun", || stage.count_events("start") == 3);
        let main = common::children(isinit.id())[0];
        signal(isinit.id(), Signal::TERM);
        assert_eq!(exit_code(isinit.wait().unwrap()), 0);
        until(&format!("{told} are told"), || stage.count_events("term") == told);
        // Who was not told, and what they have started, is in the process group that the command has led.
        let group = Pid::from_raw(main.cast_signed()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[test]
fn what_the_command_leaves_behind_is_asked_to_end_and_waited_for() {
    let stage = Stage::new();
    // Two daemons in sessions of their own, that take their time to end.
    let script = "
        for name in a b; do setsid sh -c 'trap \"sleep 0.2; echo term $1 >>events; exit\" TERM; echo start $1 >>events
            while :; do sleep 0.01; done' - $name & done
        while [ $(grep -c start events) != 2 ]; do sleep 0.01; done; exit 5";
    let output = run(isinit_run(&stage).args(["--", "sh", "-c", script]));
    assert_eq!(output.status, 5, "{output:?}");
    let mut events: Vec<String> = stage.text("events").lines().map(str::to_owned).collect();
    events.sort();
    assert_eq!(events, ["start a", "start b", "term a", "term b"]);
}

#[test]
fn when_the_grace_is_over_the_rest_is_killed() {
    let stage = Stage::new();
    let script = "setsid sh -c 'trap \"\" TERM; echo $$ >pid; while :; do sleep 0.01; done' &
        while [ ! -s pid ]; do sleep 0.01; done";
    let output = run(isinit_run(&stage).args(["--grace", "0.1", "--", "sh", "-c", script]));
    assert_eq!(output.status, 0, "{output:?}");
    assert!(!alive(stage.text("pid").trim().parse().unwrap()));
    // Without any grace what is left is left alone.
    let output = run(isinit_run(&stage).args([
        "--grace",
        "0",
        "--",
        "sh",
        "-c",
        "sleep 1000 >/dev/null 2>&1 & echo $! >pid",
    ]));
    let left = stage.text("pid").trim().parse().unwrap();
    assert!(output.status == 0 && alive(left), "{output:?}");
    signal(left, Signal::KILL);
}

#[test]
fn the_command_finds_all_as_it_was() {
    let stage = Stage::new();
    stage.write("file", "x");
    // Ignored signals, a blocked one, an open descriptor, an odd environment.
    let around = |command: &str| {
        format!("trap '' HUP QUIT PIPE; exec 7<file; export ODD='a\nb'; umask 027; cd /; cd - >/dev/null
            exec perl -e 'use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(12)); exec @ARGV' {command} perl $HELPERS/probe.pl")
    };
    let (bare, under) = (shell(&stage, &around("")), shell(&stage, &around("\"$BIN\" run --")));
    assert_eq!((bare.status, under.status), (0, 0), "{under:?}");
    assert_eq!(bare.stdout, under.stdout);
    assert!(bare.stdout.contains("SigBlk:\t0000000000000800") && bare.stdout.contains("/file\n"), "{bare:?}");
    let (bare, under) = (
        shell(&stage, "exec perl $HELPERS/probe.pl"),
        shell(&stage, "exec \"$BIN\" run perl $HELPERS/probe.pl"),
    );
    assert_eq!(bare.stdout, under.stdout, "also where SIGPIPE is not ignored");
}

#[test]
fn a_thousand_arguments_and_all_bytes_arrive() {
    let stage = Stage::new();
    let script = "
        words=$(seq 1 2000); long=$(head -c 100000 /dev/zero | tr '\\0' x)
        odd=$(printf 'a\\377b')
        exec env LONG=$long \"$BIN\" run -- sh -c 'echo $# ${#LONG}; printf %s \"$1\" | od -An -tx1' - \"$odd\" $words";
    assert_eq!(shell(&stage, script).stdout, "2001 100000\n 61 ff 62\n");
}

#[test]
fn descriptors_are_the_commands_alone() {
    let stage = Stage::new();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let script = "exec 7>&1 >/dev/null; exec \"$BIN\" run -- sh -c 'exec 7>&-; exec sleep 1000'";
    let mut isinit = command(&stage, "sh").args(["-c", script]).stdout(write).spawn().unwrap();
    // The command has closed it; who else had it would keep the pipe open.
    assert_eq!(File::from(read).read(&mut [0]).unwrap(), 0);
    let open = descriptors(isinit.id());
    let own: Vec<_> =
        open.iter().filter(|(number, _)| **number > 2).map(|(_, what)| what.to_str().unwrap()).collect();
    assert!(own.iter().all(|what| what.contains("signalfd") || what.contains("tty")), "{open:?}");
    signal(isinit.id(), Signal::TERM);
    assert_eq!(exit_code(isinit.wait().unwrap()), 143);
}

#[test]
fn listen_pid_is_the_commands_where_it_was_ours() {
    let stage = Stage::new();
    let print = "sh -c 'test $LISTEN_PID = $$ && echo $LISTEN_FDS ours || echo $LISTEN_PID'";
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=2 exec \"$BIN\" run -- {print}");
    assert_eq!(shell(&stage, &script).stdout, "2 ours\n");
    let script = format!("LISTEN_PID=7 LISTEN_FDS=2 exec \"$BIN\" run -- {print}");
    assert_eq!(shell(&stage, &script).stdout, "7\n", "somebody else's stays his");
}

#[test]
fn it_does_not_outlive_its_parent_if_it_is_told_so() {
    let stage = Stage::new();
    for (options, said) in [("-p TERM", "15\n"), ("-p SIGKILL", "")] {
        let script = format!(
            "\"$BIN\" run {options} -- perl $HELPERS/signals.pl >out & echo $! >isinit
            while ! grep -q ready out; do sleep 0.01; done"
        );
        assert_eq!(shell(&stage, &script).status, 0);
        let ready = stage.text("out");
        let command: u32 = ready.lines().next().unwrap().strip_prefix("ready ").unwrap().parse().unwrap();
        let isinit: u32 = stage.text("isinit").trim().parse().unwrap();
        until(options, || !alive(command) && !alive(isinit));
        assert_eq!(
            stage.text("out").lines().skip(1).map(|line| format!("{line}\n")).collect::<String>(),
            said
        );
    }
}

#[test]
fn closed_descriptors_hold_nothing_up() {
    let stage = Stage::new();
    let output = shell(&stage, "exec \"$BIN\" run -- sh -c 'echo done >file' <&- >&- 2>&-");
    assert_eq!((output.status, stage.text("file").as_str()), (0, "done\n"));
}

/// 100,000 of them, as many at once as leave numbers for everybody else: the kernel has 32,768 if nobody has given it more.
/// For the same reason one test at a time makes them.
static ORPHANS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn build_orphans(stage: &Stage) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helpers/orphans.c");
    let built = run(command(stage, "cc").args(["-O1", "-o", "orphans", source]));
    assert_eq!(built.status, 0, "{built:?}");
}

#[test]
fn orphans_by_the_thousand_are_reaped_and_none_is_left() {
    let stage = Stage::new();
    let _alone = ORPHANS.lock();
    build_orphans(&stage);
    let mut isinit = isinit_run(&stage)
        .args(["--", "sh", "-c", "./orphans 10 10000; echo $? >status; exec sleep 1000"])
        .spawn()
        .unwrap();
    until("100,000 orphans", || stage.text("status") == "0\n");
    until("one child, and no zombie", || common::children(isinit.id()).len() == 1);
    signal(isinit.id(), Signal::TERM);
    assert_eq!(exit_code(isinit.wait().unwrap()), 143);
}

/// What the README tells those to write who come from somewhere else.
#[test]
fn what_the_readme_has_for_dockerfiles_is_taken() {
    let stage = Stage::new();
    let readme = include_str!("../README.md");
    let lines = readme.split('`').filter_map(|code| code.strip_prefix("isinit run ")?.split_once("-- "));
    let mut count = 0;
    for (options, _) in lines {
        let output = run(isinit_run(&stage).args(options.split_whitespace()).args(["--", "true"]));
        assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{options}");
        count += 1;
    }
    assert!(count >= 5, "{count} lines");
}

/// Another name for the program under test.
fn called(stage: &Stage, name: &str) -> Command {
    let link = stage.path(name);
    if !link.exists() {
        std::os::unix::fs::symlink(binary(), &link).unwrap();
    }
    let mut command = command(stage, link);
    command.stderr(Stdio::piped());
    command
}

#[test]
fn called_as_tini_it_takes_the_options_of_tini() {
    let stage = Stage::new();
    for (words, status) in [
        (&["--", "sh", "-c", "exit 3"][..], 3),
        (&["-s", "-g", "-vv", "--", "sh", "-c", "exit 3"], 3),
        (&["-sgwp", "SIGTERM", "-e", "143", "-e", "3", "sh", "-c", "exit 3"], 0),
        (&["--version"], 0),
        (&["-h"], 0),
        (&["-r", "15:3", "true"], 2),
        (&["--"], 2),
    ] {
        for name in ["tini", "tini-static", "docker-init", "catatonit"] {
            let output = run(called(&stage, name).args(words));
            assert_eq!(output.status, status, "{words:?}: {output:?}");
        }
    }
    let output =
        run(called(&stage, "tini").args(["-w", "--", "sh", "-c", "sh -c 'sleep 0.05 &'; sleep 0.2"]));
    assert!(output.stderr.contains("isinit: reaped the orphan "), "{output:?}");
    let output = run(called(&stage, "tini").args(["--", "no-such-command"]));
    assert!(output.status == 127 && output.stderr.contains("no-such-command"), "{output:?}");
}

#[test]
fn called_as_dumb_init_it_takes_the_options_of_dumb_init() {
    let stage = Stage::new();
    let script = "sh svc child & while [ ! -s events ]; do sleep 0.01; done; exec sh svc main";
    for (options, told) in [(&["-v"][..], 2), (&["--single-child"], 1), (&["-c", "--rewrite", "HUP:0"], 1)] {
        stage.write("events", "");
        let mut isinit =
            called(&stage, "dumb-init").args(options).args(["sh", "-c", script]).spawn().unwrap();
        until("both have begun", || stage.count_events("start") == 2);
        // It is main that it ends with; the rest is asked afterwards, whoever was told before.
        let main =
            stage.text("events").lines().find_map(|line| line.strip_prefix("start main ")?.parse().ok());
        let child =
            stage.text("events").lines().find_map(|line| line.strip_prefix("start child ")?.parse().ok());
        let (main, child): (u32, u32) = (main.unwrap(), child.unwrap());
        assert_eq!(common::stat_fields(main)[2], common::stat_fields(child)[2], "one process group");
        signal(main, Signal::STOP);
        signal(isinit.id(), Signal::TERM);
        if told == 2 {
            until("the child is told while main stands still", || stage.count_events("term child") == 1);
        }
        assert!(told == 2 || stage.count_events("term child") == 0);
        signal(main, Signal::CONT);
        assert_eq!(exit_code(isinit.wait().unwrap()), 0);
    }
    for (words, status) in
        [(&["-V"][..], 0), (&["--help"], 0), (&["-g", "true"], 2), (&["sh", "-c", "exit 4"], 4)]
    {
        assert_eq!(run(called(&stage, "dumb-init").args(words)).status, status, "{words:?}");
    }
}

/// A terminal with something on it.
struct Terminal {
    master: File,
    child: Child,
    shown: String,
}

impl Terminal {
    fn start(stage: &Stage, words: &[&str]) -> Terminal {
        let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // The first terminal that the leader of a session opens is its controlling one.
        let script = "exec setsid sh -c 'exec \"$@\" <\"$0\" >\"$0\" 2>&1' \"$0\" \"$@\"";
        let mut command = command(stage, "sh");
        command.args(["-c", script, &name]).args(words).env("PS1", "$ ").env("TERM", "dumb");
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Terminal { master: File::from(master), child, shown: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until the terminal shows this, and forgets all up to there.
    fn until(&mut self, words: &str) -> String {
        let shown = look_until(|| {
            if let Some(at) = self.shown.find(words) {
                return Some(self.shown.drain(..at + words.len()).collect::<String>());
            }
            let mut set = [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            if rustix::event::poll(&mut set, Some(&timeout)).is_ok_and(|ready| ready > 0) {
                let mut bytes = [0; 4_096];
                let count = self.master.read(&mut bytes).unwrap_or(0);
                self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            None
        });
        shown.unwrap_or_else(|| panic!("the terminal does not show {words}, but:\n{}", self.shown))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helpers/terminal.pl");

#[test]
fn on_a_terminal_it_is_as_if_it_were_not_there() {
    let stage = Stage::new();
    let mut terminal = Terminal::start(&stage, &["bash", "--norc", "-i"]);
    terminal.type_in("\"$BIN\" run -- perl $HELPERS/terminal.pl\n");
    terminal.until("\nhere");
    terminal.type_in("\u{3}");
    terminal.until("got int");
    terminal.type_in("\u{1c}");
    terminal.until("got quit");
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal.master, size).unwrap();
    terminal.until("size 33 77");
    for _ in 0..3 {
        terminal.type_in("\u{1a}");
        terminal.until("Stopped");
        terminal.type_in("echo in $((1 + 1)) the shell\n");
        terminal.until("in 2 the shell");
        terminal.type_in("fg\n");
        terminal.until("terminal.pl");
        terminal.type_in("again\n");
        terminal.until("read again");
    }
    terminal.type_in("end\n");
    terminal.until("read end");
    terminal.type_in("echo status $? $((2 + 2))\n");
    terminal.until("status 6 4");
}

#[test]
fn in_a_pipeline_and_in_a_script_the_others_keep_the_terminal() {
    let stage = Stage::new();
    stage.write("reader", "read first; echo piped $first; read second </dev/tty; echo typed $second\n");
    stage.write("script", "\"$BIN\" run -- sh -c 'trap \"echo got int\" INT; echo here; read a; read a; echo $a'; read b; echo b is $b\n");
    let mut terminal = Terminal::start(&stage, &["bash", "--norc", "-i"]);
    terminal.type_in("\"$BIN\" run -- echo one | bash reader\n");
    terminal.until("piped one");
    terminal.type_in("two\n");
    terminal.until("typed two");
    terminal.type_in("trap : INT; echo before | \"$BIN\" run -- bash reader\n");
    terminal.until("piped before");
    terminal.type_in("three\n");
    terminal.until("typed three");
    terminal.type_in("(trap : INT; . ./script)\n");
    terminal.until("\nhere");
    terminal.type_in("\u{3}");
    terminal.until("got int");
    terminal.type_in("four\nfive\n");
    terminal.until("b is five");
    let shown = terminal.shown.clone();
    assert!(!shown.contains("got int"), "one key is one signal: {shown}");
}

#[test]
fn without_a_shell_above_a_terminal_stops_nobody_for_good() {
    let stage = Stage::new();
    let program = binary();
    let mut terminal = Terminal::start(&stage, &[program.to_str().unwrap(), "run", "--", "perl", PROGRAM]);
    terminal.until("here");
    terminal.type_in("\u{1a}\u{3}");
    terminal.until("got int");
    terminal.type_in("line\n");
    terminal.until("read line");
    // The leader of the session is told when the terminal goes.
    signal(terminal.child.id(), Signal::HUP);
    terminal.until("got hup");
    assert_eq!(exit_code(terminal.child.wait().unwrap()), 9);
}

/// In a PID namespace of its own, as its process 1.
fn as_pid1(stage: &Stage, script: &str, unshare: &[&str]) -> Output {
    run(command(stage, "unshare").args(unshare).args(["sh", "-c", &format!("exec \"$BIN\" run {script}")]))
}

fn is_a_good_process_1(unshare: &[&str]) {
    let stage = Stage::new();
    common::open_to_all(stage.dir());
    common::open_to_all(&stage.path("events"));
    let output = as_pid1(
        &stage,
        "-- sh -c 'echo $PPID; (sleep 0.05 &); sleep 0.3; ps -eo stat,comm; exit 7'",
        unshare,
    );
    assert_eq!(output.status, 7, "{output:?}");
    assert!(output.stdout.starts_with("1\n") && !output.stdout.contains("Z "), "{output:?}");
    let trap = "trap \"echo term >>events; exit\" TERM; echo start >>events; while :; do sleep 0.01; done";
    let script = format!(
        "-- sh -c '(setsid sh -c \"{}\" &); while [ ! -s events ]; do sleep 0.01; done'",
        trap.replace('"', "\\\"")
    );
    let output = as_pid1(&stage, &script, unshare);
    assert_eq!((output.status, stage.text("events").as_str()), (0, "start\nterm\n"), "{output:?}");
    // SIGTERM reaches a command that process 1 itself would not get.
    let output = as_pid1(&stage, "-- sh -c 'kill -TERM 1; sleep 1000'", unshare);
    assert_eq!(output.status, 143, "{output:?}");
    let output = as_pid1(
        &stage,
        "--grace 0.1 -- sh -c 'setsid sh -c \"trap : TERM; while :; do sleep 1; done\" &'",
        unshare,
    );
    assert_eq!(output.status, 0, "{output:?}");
}

mod as_root {
    use super::*;

    #[test]
    fn as_process_1() {
        is_a_good_process_1(&["-p", "-f", "--mount-proc"]);
    }

    #[test]
    fn as_process_1_of_a_user_namespace_of_nobody() {
        is_a_good_process_1(&[
            "--setuid",
            "65534",
            "--setgid",
            "65534",
            "--",
            "unshare",
            "-Upfr",
            "--mount-proc",
        ]);
    }

    #[test]
    fn a_table_as_process_1_reaps_them_too_and_needs_no_descriptor() {
        let stage = Stage::new();
        let _alone = ORPHANS.lock();
        build_orphans(&stage);
        stage.write_table(
            "g:storm:run,:once:./orphans 10 10000; echo $? >status\n\
             g:end:run,:once,main:while [ ! -s status ] || ps -eo stat | grep -q ^Z; do sleep 0.01; done; exit 3\n",
        );
        let script = "exec \"$BIN\" -c isinittab -s init.s g run <&- >&- 2>&-";
        let output = run(command(&stage, "unshare").args(["-p", "-f", "--mount-proc", "sh", "-c", script]));
        assert_eq!((output.status, stage.text("status").as_str()), (3, "0\n"), "{output:?}");
    }

    #[test]
    fn without_proc_it_does_what_can_be_done() {
        let stage = Stage::new();
        let hidden =
            "mount -t tmpfs none /proc && exec \"$BIN\" run --grace 2 -- sh -c 'sleep 1000 & exit 3'";
        let output = run(command(&stage, "unshare").args(["-m", "sh", "-c", hidden]));
        assert_eq!(output.status, 3, "{output:?}");
    }
}
