//! The command line and the library: what a person types, and what he gets to see.

mod common;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use common::{Daemon, Gate, Output, Stage, alive, binary, isinit, run, signal, until};
use isinit::wire::client::ClientError;
use isinit::{Init, Options};
use rustix::process::Signal;

/// `isinit -c TABLE -s SOCKET ARGS...` where no daemon is yet. What it starts ends with the stage.
fn first(stage: &Stage, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("-c").arg(stage.table()).arg("-s").arg(stage.socket()).args(args);
    command.current_dir(stage.dir()).env_remove("ISINIT_SOCKET").env("NO_COLOR", "1");
    command
}

/// The same as words of a shell.
fn words(stage: &Stage, args: &str) -> String {
    format!("{} -c {} -s {} {args}", binary().display(), stage.table().display(), stage.socket().display())
}

/// The PID of the daemon that answers.
fn daemon_pid(stage: &Stage) -> u32 {
    let status = run(&mut first(stage, &["status", "--json"]));
    let pid = status.stdout.split("\"pid\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("no daemon: {status:?}"))
}

fn until_event(stage: &Stage, words: &str) {
    until(&format!("event {words}"), || stage.count_events(words) > 0);
}

fn shell(stage: &Stage, command: &str) -> Output {
    run(Command::new("sh").args(["-c", command]).current_dir(stage.dir()).env_remove("ISINIT_SOCKET"))
}

/// Runs a command on a terminal of its own; what the terminal has shown is in `stdout`.
fn on_terminal(stage: &Stage, command: &str) -> Output {
    let mut script = Command::new("script");
    script.args(["-qefc", command, "/dev/null"]).current_dir(stage.dir());
    run(script.env_remove("ISINIT_SOCKET").env_remove("NO_COLOR").env("TERM", "xterm"))
}

// ---- the first call, and the daemon that it starts ----

#[test]
fn the_first_call_starts_the_daemon_and_later_ones_talk_to_it() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\n");
    let output = run(&mut first(&stage, &["g", "run"]));
    assert_eq!((output.status, output.stdout.as_str()), (0, ""), "{output:?}");
    assert!(output.stderr.contains("started the daemon"), "{output:?}");
    until_event(&stage, "start a");
    let pid = daemon_pid(&stage);
    let output = run(&mut first(&stage, &["g", "two"]));
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    until_event(&stage, "start b");
    assert_eq!(daemon_pid(&stage), pid);
    stage.write_table("g:a:run,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\ng:c:two,:respawn:sh svc c\n");
    assert_eq!(run(&mut first(&stage, &[])).status, 0, "without words: re-read");
    until_event(&stage, "start c");
    assert_eq!(run(&mut first(&stage, &["-k"])).status, 0);
    until("the daemon has ended", || !alive(pid));
    assert_eq!(stage.count_events("term b") + stage.count_events("term c"), 2);
}

#[test]
fn a_level_alone_is_for_the_group_of_the_setting_and_else_for_the_host() {
    let stage = Stage::new();
    stage.write_table(":::group:web\nweb:a:work,:respawn:sh svc a\n");
    assert_eq!(run(&mut first(&stage, &["work"])).status, 0);
    until_event(&stage, "start a");
    let other = Stage::new();
    let host = run(Command::new("uname").arg("-n")).stdout.trim().to_owned();
    other.write_table(format!("{host}:a:work,:respawn:sh svc a\n"));
    assert_eq!(run(&mut first(&other, &["work"])).status, 0);
    until_event(&other, "start a");
}

#[test]
fn the_daemon_survives_the_end_of_the_terminal_and_of_the_script_that_started_it() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\n");
    let output = on_terminal(&stage, &words(&stage, "g run"));
    assert_eq!(output.status, 0, "{output:?}");
    until_event(&stage, "start a");
    let pid = daemon_pid(&stage);
    assert_eq!(common::stat_fields(pid)[4], "0", "it has a terminal");
    assert_ne!(common::stat_fields(pid)[3], std::process::id().to_string(), "a session of its own");

    let other = Stage::new();
    other.write_table("g:a:run,:respawn:sh svc a\n");
    other.write("script", format!("{}\necho told >> events\nsleep 1000\n", words(&other, "g run")));
    let mut script = Command::new("sh");
    script.arg("script").current_dir(other.dir()).process_group(0).stderr(Stdio::null());
    let mut script = script.spawn().unwrap();
    until_event(&other, "told");
    until_event(&other, "start a");
    let group = rustix::process::Pid::from_raw(script.id() as i32).unwrap();
    rustix::process::kill_process_group(group, Signal::HUP).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    script.wait().unwrap();
    assert!(alive(daemon_pid(&other)));
    assert_eq!(other.count_events("term a"), 0);
}

#[test]
fn a_terminal_that_hangs_up_takes_neither_the_daemon_nor_its_processes_along() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\n");
    stage.write("call", format!("{}\necho told >> events\nexec sleep 1000\n", words(&stage, "g run")));
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", "echo $$ > shell; exec sh call", "/dev/null"]).current_dir(stage.dir());
    terminal.env_remove("ISINIT_SOCKET").stdin(Stdio::null()).stdout(Stdio::null());
    let mut terminal = terminal.spawn().unwrap();
    until_event(&stage, "told");
    until_event(&stage, "start a");
    let pid = daemon_pid(&stage);
    let service = stage.descendants();
    for fd in common::descriptors(pid).into_values() {
        let path = fd.to_string_lossy().into_owned();
        assert!(!path.starts_with("/dev/pts/") && !path.starts_with("/dev/tty"), "it holds {path}");
    }
    let shell: u32 = stage.text("shell").trim().parse().unwrap();
    assert_ne!(common::stat_fields(shell)[4], "0", "this test is to be about a terminal");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    until("the terminal has hung up", || !alive(shell));
    assert!(!service.is_empty() && service.into_iter().all(alive));
    assert_eq!((daemon_pid(&stage), stage.count_events("term a")), (pid, 0));
}

#[test]
fn a_first_call_says_what_is_not_carried_out_and_what_the_table_is_warned_of() {
    let table = ":::mounts:none\ng:a:run:respawn:sh svc a\ng:m:run,:sysinit:sh svc m\n";
    let expected = ["setting mounts is for process 1", "g/m: sysinit is for process 1", ":2:5: warning"];
    let says = |text: &str| {
        expected.iter().for_each(|words| assert_eq!(text.matches(words).count(), 1, "{words}: {text}"));
    };
    let stage = Stage::new();
    stage.write_table(table);
    let shown = on_terminal(&stage, &words(&stage, "g run"));
    says(&shown.stdout);
    assert!(shown.stdout.contains("is not kept: the setting `log` names a file"), "{shown:?}");

    let stage = Stage::new();
    stage.write_table(table);
    let kept = shell(&stage, &format!("{} 2>kept", words(&stage, "g run")));
    assert_eq!(kept.status, 0);
    says(&stage.text("kept"));

    let stage = Stage::new();
    stage.write_table(format!(":::log:{}\n{table}", stage.path("log").display()).replace(":2:5:", ":3:5:"));
    let logged = run(&mut first(&stage, &["g", "run"]));
    assert!(logged.stderr.contains(&format!("goes to {}", stage.path("log").display())), "{logged:?}");
    assert!(logged.stderr.contains("g/m: sysinit is") && stage.text("log").contains("g/m: sysinit is"));
}

#[test]
fn two_first_calls_at_once_make_one_daemon() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\n");
    let calls: Vec<_> = ["g", "h", "g", "h"]
        .iter()
        .map(|group| {
            let mut call = first(&stage, &["tell", "--wait", group, "run"]);
            call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut call in calls {
        let status = common::exit_code(call.wait().unwrap());
        assert!(status == 0 || status == 7, "{status}");
    }
    until_event(&stage, "start a");
    until_event(&stage, "start b");
    assert_eq!((stage.count_events("start a"), stage.count_events("start b")), (1, 1));
    until("one daemon", || stage.detached() == [daemon_pid(&stage)]);
}

#[test]
fn a_shell_that_takes_the_output_of_the_first_call_does_not_wait_for_the_daemon() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\n");
    let output = shell(&stage, &format!("x=$({} 2>&1); echo \"taken: $x\"", words(&stage, "g run")));
    assert!(output.stdout.starts_with("taken: isinit: started the daemon"), "{output:?}");
    assert!(alive(daemon_pid(&stage)));
}

#[test]
fn a_first_call_with_a_bad_table_shows_what_is_wrong_and_leaves_no_daemon() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respwan:x\ng:b:run,:once\n");
    let output = run(&mut first(&stage, &["g", "run"]));
    assert_eq!(output.status, 4);
    assert!(
        output.stderr.contains("isinittab:1:10: error") && output.stderr.contains("isinittab:2:"),
        "{output:?}"
    );
    assert!(stage.detached().is_empty() && !stage.socket().exists());
}

#[test]
fn the_socket_of_a_daemon_that_was_killed_is_no_obstacle() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\n");
    run(&mut first(&stage, &["g", "run"]));
    until_event(&stage, "start a");
    let pid = daemon_pid(&stage);
    signal(pid, Signal::KILL);
    until("it has ended", || !alive(pid));
    assert!(stage.socket().exists());
    assert_eq!(run(&mut first(&stage, &["g", "run"])).status, 0);
    assert_ne!(daemon_pid(&stage), pid);
}

// ---- exit statuses ----

#[test]
fn each_exit_status_has_its_situation_and_its_words() {
    let stage = Stage::new();
    let _gate = Gate::new(&stage);
    let d = stage.start(
        "g:a:run,:respawn:sh svc a\ng:t:bad,:test:exit 9;\ng:w:slow,:wait:read x < go\nh:b:run,:respawn:sh svc b\n",
    );
    let expect = |args: &[&str], status: i32, words: &[&str]| {
        let output = d.isinit(args);
        assert_eq!(output.status, status, "{args:?}: {output:?}");
        let all = format!("{}{}", output.stdout, output.stderr);
        words.iter().for_each(|words| assert!(all.contains(words), "{args:?}: {all}"));
    };
    expect(&["tell", "--wait", "g", "run"], 0, &["g run: run"]);
    expect(&["tell", "--wait", "g", "bad"], 1, &["g"]);
    expect(&["--nonsense"], 2, &["isinit --help"]);
    expect(&["tell", "g"], 2, &["level"]);
    expect(&["a", "b", "c"], 2, &["isinit --help"]);
    expect(&["tell", "--timeout", "soon", "g", "run"], 2, &["soon"]);
    expect(&["gg", "run"], 3, &["gg", "did you mean g?"]);
    expect(&["g", "rum"], 3, &["rum", "did you mean run?"]);
    for verb in [&["restart"][..], &["start"], &["stop"], &["signal", "HUP"]] {
        expect(&[verb, &["aa"]].concat(), 3, &["no entry aa", "did you mean a?"]);
    }
    expect(&["start", "b"], 3, &["no place in the level"]);
    expect(&["plan", "g", "rum"], 3, &["rum", "did you mean run?"]);
    expect(&["status", "nobody"], 3, &["nobody"]);
    expect(&["tell", "--wait", "--force", "g", "rum"], 0, &["g rum: run"]);
    expect(&["tell", "--wait", "--timeout", "0.2", "g", "slow"], 7, &["w"]);
    expect(&["signal", "NOSUCH", "b"], 2, &["NOSUCH"]);
    expect(&["signal", "HUP", "b"], 1, &["b does not run"]);
    d.write_table("g:a:run,:respwan:x\n");
    expect(&["g", "run"], 4, &["isinittab:1:10: error", "did you mean respawn?"]);
    expect(&["check"], 4, &["isinittab:1:10: error"]);
    expect(&["plan", "g", "run"], 4, &["isinittab:1:10: error"]);
    expect(&[], 4, &["isinittab:1:10: error", "the one in force is kept"]);
    assert_eq!(d.entry("a").group, "g", "the table in force is kept");

    let empty = Stage::new();
    empty.write_table("g:a:run,:respawn:sh svc a\n");
    for args in [&["status"][..], &["watch"], &["stop", "a"], &["-k"]] {
        let output = run(&mut first(&empty, args));
        assert_eq!(output.status, 5, "{args:?}: {output:?}");
        assert!(output.stderr.contains("init.s"), "{output:?}");
    }
    let output = run(&mut first(&empty, &["plan", "gg", "run"]));
    assert!(output.status == 3 && output.stderr.contains("did you mean g?"), "{output:?}");
    let output = run(&mut first(&empty, &["plan", "g", "rum"]));
    assert!(output.status == 3 && output.stderr.contains("did you mean run?"), "{output:?}");
    assert!(empty.detached().is_empty(), "a question has started a daemon");
}

#[test]
fn what_is_wrong_on_the_command_line_is_named_with_what_would_be_right_and_reaches_nobody() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\n");
    for (args, expected) in [
        (&["-x"][..], "there is no option -x"),
        (&["-k", "now"], "nothing stands behind -k"),
        (&["a", "b", "c"], "a tell is GROUP LEVEL"),
        (&["tell", "g"], "level"),
        (&["signal", "HUP"], "tag"),
        (&["tell", "--bogus", "g", "run"], "`isinit tell --help`"),
        (&["tell", "--timeout", "-1", "g", "run"], "--timeout -1: no time to wait for"),
        (&["tell", "--timeout", "nan", "g", "run"], "write seconds, as 5 or 0.5"),
        (&["tell", "--timeout", "1e30", "g", "run"], "write seconds, as 5 or 0.5"),
        (&["tell", "g\n:stopall", "run"], "is no name"),
        (&["tell", "g", ""], "is no name"),
    ] {
        let output = run(&mut first(&stage, args));
        assert!(output.status == 2 && output.stderr.contains(expected), "{args:?}: {output:?}");
    }
    let output = isinit(&["status", "-c"]);
    assert!(output.status == 2 && output.stderr.contains("-c needs a path"), "{output:?}");
    assert!(stage.detached().is_empty(), "a daemon was started for it");
}

#[test]
fn names_that_look_like_options_or_verbs_are_reached() {
    let d = Daemon::start(":::group:g\ng:a:status,-c,run,:respawn:sh svc a\n");
    for (args, level) in [
        (&["tell", "g", "status"][..], "status"),
        (&["g", "run"], "run"),
        (&["--", "g", "-c"], "-c"),
        (&["--", "status"], "status"),
        (&["tell", "--wait", "--", "g", "-c"], "-c"),
    ] {
        let output = d.isinit(args);
        assert_eq!(output.status, 0, "{args:?}: {output:?}");
        assert_eq!(d.group("g").level, level, "{args:?}");
    }
}

#[test]
fn a_tell_that_goes_back_ends_with_1_and_says_where_it_is_now() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\ng:t:bad,:test:exit 9;\n");
    d.tell("g", "run");
    let output = d.isinit(&["tell", "--wait", "--or-revert", "g", "bad"]);
    assert_eq!((output.status, output.stdout.as_str()), (1, ""), "{output:?}");
    assert!(output.stderr.contains("went back to level run"), "{output:?}");
    assert_eq!(d.group("g").level, "run");
}

#[test]
fn a_tell_that_is_overtaken_ends_with_7() {
    let stage = Stage::new();
    let _gate = Gate::new(&stage);
    let d = stage.start("g:w:slow,:wait:echo waits >> events; read x < go\n");
    let mut waits = d.client(&["tell", "--wait", "g", "slow"]);
    let mut waits = waits.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    d.until_event("waits");
    assert_eq!(d.isinit(&["tell", "--wait", "g", "0"]).status, 0);
    assert_eq!(common::exit_code(waits.wait().unwrap()), 7);
}

mod as_root {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// That they limit is seen where the controllers are: `initramfs-test/cases/cgroup-limits`.
    #[test]
    fn limits_that_cannot_be_set_are_said_by_name_and_the_rest_runs() {
        let stage = Stage::new();
        let hidden = "mount -t tmpfs none /sys/fs/cgroup || exit 90; exec \"$@\"";
        let command = stage.command(&["unshare", "-m", "sh", "-c", hidden, "sh"]);
        let table = "g:a:run,:respawn,memory=10M,cpu=50,pids=5:sh svc a\ng:b:run,:respawn,pids=9:sh svc b\n";
        let d = stage.start_by(table, command);
        assert_eq!(d.tell("g", "run"), "ok run");
        d.until_event("start a");
        let why = "has no effect here: isinit cannot use this controller of cgroup v2";
        for name in ["g/a: memory=", "g/a: cpu=", "g/a: pids=", "g/b: pids="] {
            let line = format!("isinit: {name} {why}");
            assert_eq!(
                d.stderr().lines().filter(|other| **other == line).count(),
                1,
                "{line}: {}",
                d.stderr()
            );
        }
    }

    #[test]
    fn who_may_not_ask_gets_6() {
        let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
        let mut status = d.client(&["status"]);
        let output = run(status.uid(65534).gid(65534));
        assert_eq!(output.status, 6, "{output:?}");
        std::fs::set_permissions(d.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
        let mut status = d.client(&["status"]);
        let output = run(status.uid(65534).gid(65534));
        assert_eq!(output.status, 6, "the socket is open to him, the daemon is not: {output:?}");
        assert!(!output.stderr.is_empty());
        let mut tell = d.client(&["g", "run"]);
        let output = run(tell.uid(65534).gid(65534));
        assert_eq!(output.status, 6, "{output:?}");
        assert_eq!(
            (d.detached(), d.group("g").level.as_str()),
            (vec![d.pid()], "-"),
            "it was told, or replaced"
        );
    }
}

// ---- what they show ----

#[test]
fn a_plan_changes_nothing_and_needs_no_daemon() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\n");
    d.isinit(&["tell", "--wait", "g", "run"]);
    d.until_event("start a");
    let status = |d: &Daemon| {
        let fields = |line: &String| {
            let words = line.split(' ').filter(|word| !word.starts_with("age_ms="));
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        d.ask(":status").iter().map(fields).collect::<Vec<_>>()
    };
    let before = status(&d);
    let output = d.isinit(&["plan", "g", "two"]);
    assert_eq!(output.status, 0);
    let lines: Vec<&str> = output.stdout.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("stop") && lines[0].contains('a'), "{output:?}");
    assert!(lines[1].starts_with("start") && lines[1].contains('b'), "{output:?}");
    assert_eq!(status(&d), before);

    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\n");
    let output = run(&mut first(&stage, &["plan", "g", "two"]));
    assert_eq!(output.status, 0);
    assert!(output.stdout.contains("start") && output.stdout.contains('b'), "{output:?}");
    assert!(output.stderr.contains("no daemon answers"), "{output:?}");
}

#[test]
fn check_shows_all_that_is_wrong_with_line_caret_and_help() {
    let stage = Stage::new();
    stage.write("bad", "g:a:run,:respwan:x\n# fine\ng:b:run,:once\ng:c:run,:once,nice=99:x\n");
    let bad = stage.path("bad");
    let output = isinit(&["check", bad.to_str().unwrap()]);
    assert_eq!(output.status, 4);
    let all = format!("{}{}", output.stdout, output.stderr);
    for words in [
        "bad:1:10: error",
        "bad:3:14: error",
        "bad:4:15: error",
        "did you mean respawn?",
        "^^^^^^^",
        "help: ",
    ] {
        assert!(all.contains(words), "{words} is not in:\n{all}");
    }
    stage.write("good", "g:a:run:respawn:sleep 1\n");
    let output = isinit(&["check", stage.path("good").to_str().unwrap()]);
    assert_eq!(output.status, 0, "a warning is no error");
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(all.contains("good:1:5: warning") && all.contains("1 entries in 1 groups"), "{all}");
    let output = isinit(&["check", stage.path("none").to_str().unwrap()]);
    assert_eq!(output.status, 4);
    assert!(output.stderr.contains("No such file") || output.stdout.contains("No such file"), "{output:?}");
}

#[test]
fn the_tables_of_the_examples_have_no_errors_and_no_warnings() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    let dirs = [examples.clone(), examples.join("container/web")];
    for entry in dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()) {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("isinittab") {
            let output = isinit(&["check", path.to_str().unwrap()]);
            assert_eq!(output.status, 0, "{output:?}");
            assert!(output.stdout.contains("no errors, 0 warnings"), "{output:?}");
            count += 1;
        }
    }
    assert!(count >= 4, "{count} tables");
}

/// Is it JSON, by the judgement of Perl's own reader?
fn is_json(text: &str) -> bool {
    let mut perl = Command::new("perl");
    perl.args(["-MJSON::PP", "-e", "local $/; JSON::PP->new->utf8->decode(<STDIN>)"]);
    let mut perl = perl.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("perl");
    perl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    perl.wait().unwrap().success()
}

#[test]
fn json_is_json_whatever_the_names_are() {
    assert!(is_json("{\"a\":[1]}") && !is_json("{\"a\":[1]"), "the judge sleeps");
    let d = Daemon::start(
        "g\"x:a\\b:run,:respawn:sh svc a\ng\"x:\u{e9}\u{2713}:run,:respawn:sh svc b\nh:c':run,:once:true\n",
    );
    let mut watch = d.client(&["watch", "--json"]);
    let mut watch = watch.stdout(std::fs::File::create(d.path("watched")).unwrap()).spawn().unwrap();
    d.until("it watches", |d| {
        d.tell("h", "run");
        d.tell("h", "0");
        !d.text("watched").is_empty()
    });
    d.tell("g\"x", "run");
    for args in [&["status", "--json"][..], &["status", "--json", "h"]] {
        let output = d.isinit(args);
        assert!(output.status == 0 && is_json(&output.stdout), "{output:?}");
    }
    let output = d.isinit(&["status", "--json"]);
    assert!(
        output.stdout.contains(r#""tag":"a\\b""#) && output.stdout.contains(r#""name":"g\"x""#),
        "{output:?}"
    );
    d.until("the switch was seen", |d| d.text("watched").contains(r#""group":"g\"x""#));
    watch.kill().unwrap();
    watch.wait().unwrap();
    let watched = d.text("watched");
    let whole = watched.rfind('\n').map_or("", |end| &watched[..end]);
    assert!(whole.lines().all(is_json), "{watched}");
}

#[test]
fn the_status_of_one_group_has_no_other_and_a_watcher_sees_words() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\n");
    let mut watch = d.client(&["watch"]);
    let mut watch = watch.stdout(std::fs::File::create(d.path("watched")).unwrap()).spawn().unwrap();
    d.until("it watches", |d| {
        d.tell("h", "run");
        d.tell("h", "0");
        !d.text("watched").is_empty()
    });
    d.tell("g", "run");
    let status = d.isinit(&["status", "g"]).stdout;
    let words: Vec<Vec<&str>> = status.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][..4], ["g", "run", "level", "run"], "{status}");
    let pid = d.pid_of("a").to_string();
    assert_eq!(words[1][..4], ["a", "up", "pid", &pid], "{status}");
    assert_eq!(words.len(), 2, "{status}");
    d.until("the switch was seen", |d| d.text("watched").contains("g: run at level run\n"));
    assert!(d.text("watched").contains(&format!("g/a: started pid {pid}\n")), "{}", d.text("watched"));
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_watcher_whose_reader_is_gone_ends_and_one_that_was_too_slow_is_told_how_much_is_missing() {
    let d = Daemon::start("g:a:one,two:off:true\n");
    let tell = |level: &str| assert!(d.last_line(format!(":tell g {level} wait force")).starts_with("ok "));
    let mut orphan = d.client(&["watch"]);
    let mut orphan = orphan.stdout(Stdio::piped()).spawn().unwrap();
    drop(orphan.stdout.take());
    let mut slow = [&["watch"][..], &["watch", "--json"]].map(|args| {
        let out = std::fs::File::create(d.path(&args.concat())).unwrap();
        d.client(args).stdout(out).spawn().unwrap()
    });
    let files = ["watch", "watch--json"];
    d.until("they watch", |d| {
        tell("one");
        tell("0");
        files.iter().all(|file| !d.text(file).is_empty())
    });
    d.until("who writes for nobody ends", |_| {
        tell("one");
        tell("0");
        orphan.try_wait().unwrap().is_some()
    });
    assert_eq!(orphan.wait().unwrap().code(), Some(0));
    slow.iter().for_each(|watcher| signal(watcher.id(), Signal::STOP));
    for n in 0..3_000 {
        tell(["two", "one"][n % 2]);
    }
    slow.iter().for_each(|watcher| signal(watcher.id(), Signal::CONT));
    d.until("words of it", |d| d.text("watch").contains(" changes are missing here"));
    d.until("a number of it", |d| d.text("watch--json").contains("{\"lost\":"));
    slow.iter_mut().for_each(|watcher| {
        watcher.kill().unwrap();
        watcher.wait().unwrap();
    });
    let text = d.text("watch--json");
    let lost = text.lines().find(|line| line.starts_with("{\"lost\":")).unwrap();
    assert!(is_json(lost) && lost.bytes().any(|byte| byte.is_ascii_digit()), "{lost}");
}

#[test]
fn columns_are_aligned_and_coloured_on_a_terminal_and_plain_elsewhere() {
    let d = Daemon::start(
        "g:a:run,:respawn:sh svc a\ng:a-tag-that-is-rather-long:run,:respawn:sh svc b\ng:t:run,:test:false\n",
    );
    d.tell("g", "run");
    let piped = d.isinit(&["status"]);
    assert!(!piped.stdout.contains('\u{1b}'), "{piped:?}");
    let place = |tag: &str| {
        let line = piped.stdout.lines().find(|line| line.split_whitespace().next() == Some(tag)).unwrap();
        line.find(" up ").unwrap_or_else(|| panic!("{line}"))
    };
    assert_eq!(place("a"), place("a-tag-that-is-rather-long"), "{}", piped.stdout);
    let shown = on_terminal(&d, &words(&d, "status"));
    assert!(shown.stdout.contains("\u{1b}["), "no colours on a terminal: {shown:?}");
    let bare = on_terminal(&d, &format!("NO_COLOR=1 {}", words(&d, "status")));
    assert!(!bare.stdout.contains("\u{1b}["), "{bare:?}");
}

#[test]
fn on_a_terminal_a_tell_shows_what_it_waits_for_and_ends_with_one_line() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start("g:database:run,:wait:echo waits >> events; read x < go\n");
    let shown = std::thread::scope(|scope| {
        let shown = scope.spawn(|| on_terminal(&d, &words(&d, "tell --wait g run")));
        d.until_event("waits");
        gate.pass(0);
        shown.join().unwrap()
    });
    assert_eq!(shown.status, 0);
    assert!(shown.stdout.contains("database"), "{shown:?}");
    assert!(shown.stdout.trim_end().ends_with("g run: run"), "{shown:?}");
}

#[test]
fn the_time_that_has_passed_goes_on_while_a_tell_waits() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start("g:database:run,:wait:echo waits >> events; read x < go\n");
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &words(&d, "tell --wait g run"), "shown"]).current_dir(d.dir());
    terminal.env_remove("ISINIT_SOCKET").stdin(Stdio::null()).stdout(Stdio::null());
    let mut terminal = terminal.spawn().unwrap();
    let times = |d: &Daemon| {
        let text = d.text("shown");
        let each = text.split("waiting for database to end, for ").skip(1);
        let whole = each.filter_map(|rest| rest.split_once('s').map(|(time, _)| time.to_owned()));
        whole.filter_map(|time| time.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    d.until("two seconds were shown", |d| times(d).len() >= 2);
    gate.pass(0);
    assert!(terminal.wait().unwrap().success());
    assert!(times(&d).is_sorted_by(|before, after| before < after), "{}", d.text("shown"));
}

#[test]
fn help_shows_its_examples_and_each_verb_has_its_own() {
    let help = isinit(&["--help"]);
    assert_eq!(help.status, 0);
    assert!(help.stdout.lines().count() <= 24 && help.stdout.lines().all(|line| line.chars().count() < 80));
    for example in ["isinit web run", "isinit tell --wait web 0", "isinit check ./isinittab"] {
        assert!(help.stdout.contains(example), "{}", help.stdout);
    }
    for verb in [
        "tell",
        "plan",
        "check",
        "status",
        "watch",
        "timeline",
        "top",
        "start",
        "stop",
        "restart",
        "signal",
        "import",
        "poweroff",
        "switch-root",
    ] {
        let output = isinit(&[verb, "--help"]);
        assert_eq!(output.status, 0, "{output:?}");
        assert!(output.stdout.contains(verb), "{output:?}");
    }
    assert_eq!(isinit(&["-V"]).stdout, concat!("isinit ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_is_not_carried_out_is_said_by_name_and_not_done() {
    let of_process_1 = [
        "sysinit",
        "boot",
        "bootwait",
        "powerwait",
        "powerfail",
        "powerokwait",
        "powerfailnow",
        "ctrlaltdel",
        "kbrequest",
        "shutdown",
        "restart",
    ];
    let entries =
        of_process_1.map(|action| format!("g:x{action}:x,:{action}:echo {action} >> events\n")).concat();
    let settings = ":::watchdog:/dev/watchdog,10\n:::mounts:none\n";
    let d = Daemon::start(format!("{settings}g:a:run,:respawn:sh svc a\n{entries}"));
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start a");
    let said = d.stderr();
    let actions = of_process_1.map(|action| format!("g/x{action}: {action}"));
    let settings = ["watchdog", "mounts"].map(|name| format!("the setting {name}"));
    let not_here = actions.iter().chain(&settings);
    let not_here =
        not_here.map(|name| format!("isinit: {name} is for process 1 of a machine, and has no effect here"));
    for line in not_here {
        assert!(said.lines().any(|other| other == line), "not said: {line}\n{said}");
    }
    assert!(d.lines("events").iter().all(|line| line.starts_with("start a")), "{:?}", d.lines("events"));
}

#[test]
fn the_manual_lists_the_metacharacters_that_there_are() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/isinittab.5")).unwrap();
    let listed = manual.split(".\\\" metacharacters\n.Dl ").nth(1).unwrap().lines().next().unwrap();
    let listed = listed.replace("\\(ti", "~").replace("\\(ga", "`").replace("\\(ha", "^");
    let listed = listed.replace("\\(dq", "\"").replace("\\(aq", "'").replace("\\e", "\\");
    let mut listed: Vec<u8> = listed.bytes().filter(|byte| *byte != b' ').collect();
    listed.sort_unstable();
    let wants_shell = |byte: &u8| {
        let table = [&b"g:a:run,:once:x"[..], &[*byte], b"x\n"].concat();
        isinit::isinittab::Table::parse("t", &table).unwrap().table.entries().next().unwrap().process().shell
    };
    assert_eq!(listed, (0x21..0x7f).filter(wants_shell).collect::<Vec<u8>>());
}

#[test]
fn a_reader_that_is_gone_is_no_panic() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    for command in ["status", "status --json", "plan g run", "--help"] {
        for end in ["| true", ">&-", "> /dev/full"] {
            let output = shell(&d, &format!("{} {end}", words(&d, command)));
            assert!(!output.stderr.contains("panicked"), "{command} {end}: {output:?}");
        }
        let full = shell(&d, &format!("{} > /dev/full", words(&d, command)));
        assert!(full.status == 1 && full.stderr.contains("cannot write the answer"), "{command}: {full:?}");
        for end in [">&-", "2>&-", ">&- 2>&-"] {
            assert_eq!(shell(&d, &format!("{} {end}", words(&d, command))).status, 0, "{command} {end}");
        }
    }
    let verdict = shell(&d, &format!("{} > /dev/full", words(&d, "tell --wait g run")));
    assert_eq!(verdict.status, 0, "the verdict is in the exit status: {verdict:?}");
    for (command, status) in [("--nonsense", 2), ("g rum", 3), ("restart b", 3), ("run", 2)] {
        for end in ["2>&-", "2>/dev/full"] {
            assert_eq!(shell(&d, &format!("{} {end}", words(&d, command))).status, status, "{command} {end}");
        }
    }
    d.write_table("g:a:run,:respwan:x\n");
    let unread = shell(&d, &format!("(sleep 0; {}; echo $? > status) | true", words(&d, "check")));
    assert_eq!((unread.status, d.text("status").as_str()), (0, "4\n"));
}

#[test]
fn an_entry_is_stopped_started_restarted_and_signalled_by_its_tag() {
    let stage = Stage::new();
    stage.write("usr1", "trap '' USR1; sleep 100000 & trap 'echo got >> events' USR1\ntrap 'exit 0' TERM\necho start a >> events\nwhile :; do wait; done\n");
    let d = stage.start("g:a:run,:respawn:sh usr1\n");
    d.tell("g", "run");
    d.until_event("start a");
    assert_eq!(d.isinit(&["signal", "USR1", "a"]).status, 0);
    d.until_event("got");
    assert_eq!(d.isinit(&["stop", "a"]).status, 0);
    assert_eq!(d.entry("a").state, "down");
    assert_eq!(d.isinit(&["start", "a"]).status, 0);
    d.until("it is there again", |d| d.count_events("start a") == 2);
    assert_eq!(d.isinit(&["restart", "a"]).status, 0);
    d.until("and again", |d| d.count_events("start a") == 3);
}

// ---- the library ----

#[test]
fn the_library_starts_a_daemon_tells_asks_and_stops_it() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respawn:sh svc a\ng:t:bad,:test:false\n");
    let options = Options { config: stage.table(), socket: stage.socket(), program: binary() };
    // The services find their files in the daemon's working directory, which is that of the call.
    stage.write_table(format!(
        "g:a:run,:respawn,dir={0}:sh svc a\ng:t:bad,:test:false\n",
        stage.dir().display()
    ));
    let init = Init::new(options.clone()).unwrap();
    init.tell("g", "run").unwrap();
    until_event(&stage, "start a");
    assert_eq!(init.tell_and_wait("g", "run").unwrap(), "run");
    assert!(matches!(init.tell_and_wait("g", "bad"), Err(ClientError::Refused(1, _))));
    assert!(matches!(init.tell("g", "nowhere"), Err(ClientError::Refused(3, _))));
    let status = init.status(Some("g")).unwrap();
    assert!(status.iter().any(|line| line.starts_with("group g state=fail level=bad")), "{status:?}");
    for name in ["", "g run", "g\n:stopall", "g\t0"] {
        assert!(matches!(init.tell(name, "run"), Err(ClientError::Refused(2, _))), "{name:?}");
        assert!(matches!(init.tell_and_wait("g", name), Err(ClientError::Refused(2, _))), "{name:?}");
        assert!(matches!(init.status(Some(name)), Err(ClientError::Refused(2, _))), "{name:?}");
    }
    assert!(matches!(init.status(Some("nobody")), Err(ClientError::Refused(3, _))));
    assert_eq!(init.status(None).unwrap().iter().filter(|line| line.starts_with("entry ")).count(), 2);
    let again = Init::new(options.clone()).unwrap();
    assert_eq!(again.tell_and_wait("g", "0").unwrap(), "stopped");
    init.stopall().unwrap();
    until("it is down", || stage.detached().is_empty());
    assert!(matches!(init.status(None), Err(ClientError::NoDaemon(_))), "a question starts no daemon");
    assert!(matches!(init.stopall(), Err(ClientError::NoDaemon(_))));
    let long = Options { socket: format!("/{}", "x".repeat(200)).into(), ..options.clone() };
    assert!(matches!(Init::new(long), Err(ClientError::TooLong(_))));
    stage.write_table("nonsense\n");
    assert!(matches!(Init::new(options.clone()), Err(ClientError::Refused(4, _))));
    let nobody = Options { program: "/no/such/program".into(), ..options };
    assert!(matches!(Init::new(nobody), Err(ClientError::Io(_))));
}
