//! The command line and the library: what a person types, and what he gets to see.

mod common;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use common::{DEADLINE, Daemon, Gate, Output, Stage, alive, binary, isinit, look_until, run, signal};
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
    look_until(|| (stage.count_events(words) > 0).then_some(()))
        .unwrap_or_else(|| panic!("no event {words}"));
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
    look_until(|| (!alive(pid)).then_some(())).expect("the daemon has ended");
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
    look_until(|| (stage.detached() == [daemon_pid(&stage)]).then_some(())).expect("one daemon");
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
    look_until(|| (!alive(pid)).then_some(())).unwrap();
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
    expect(&["restart", "aa"], 3, &["aa"]);
    expect(&["plan", "g", "rum"], 3, &["rum"]);
    expect(&["status", "nobody"], 3, &["nobody"]);
    expect(&["tell", "--wait", "--force", "g", "rum"], 0, &["g rum: run"]);
    expect(&["tell", "--wait", "--timeout", "0.2", "g", "slow"], 7, &["w"]);
    expect(&["signal", "NOSUCH", "b"], 2, &["NOSUCH"]);
    expect(&["signal", "HUP", "b"], 1, &["b does not run"]);
    d.write_table("g:a:run,:respwan:x\n");
    expect(&["g", "run"], 4, &["isinittab:1:10: error", "did you mean respawn?"]);
    expect(&["check"], 4, &["isinittab:1:10: error"]);

    let empty = Stage::new();
    empty.write_table("g:a:run,:respawn:sh svc a\n");
    for args in [&["status"][..], &["watch"], &["stop", "a"], &["-k"]] {
        let output = run(&mut first(&empty, args));
        assert_eq!(output.status, 5, "{args:?}: {output:?}");
        assert!(output.stderr.contains("init.s"), "{output:?}");
    }
    assert!(empty.detached().is_empty(), "a question has started a daemon");
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
    }
}

// ---- what they show ----

#[test]
fn a_plan_changes_nothing_and_needs_no_daemon() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\n");
    d.isinit(&["tell", "--wait", "g", "run"]);
    d.until_event("start a");
    let before = (d.entry("a").pid, d.group("g"));
    let output = d.isinit(&["plan", "g", "two"]);
    assert_eq!(output.status, 0);
    let lines: Vec<&str> = output.stdout.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("stop") && lines[0].contains('a'), "{output:?}");
    assert!(lines[1].starts_with("start") && lines[1].contains('b'), "{output:?}");
    assert_eq!((d.entry("a").pid, d.group("g")), before);

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
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("isinittab") {
            let output = isinit(&["check", path.to_str().unwrap()]);
            assert_eq!(output.status, 0, "{output:?}");
            assert!(output.stdout.contains("no errors, 0 warnings"), "{output:?}");
            count += 1;
        }
    }
    assert!(count >= 3, "{count} tables");
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
fn help_shows_its_examples_and_each_verb_has_its_own() {
    let help = isinit(&["--help"]);
    assert_eq!(help.status, 0);
    assert!(help.stdout.lines().count() <= 24 && help.stdout.lines().all(|line| line.chars().count() < 80));
    for example in ["isinit web run", "isinit tell --wait web 0", "isinit check ./isinittab"] {
        assert!(help.stdout.contains(example), "{}", help.stdout);
    }
    for verb in ["tell", "plan", "check", "status", "watch", "start", "stop", "restart", "signal"] {
        let output = isinit(&[verb, "--help"]);
        assert_eq!(output.status, 0, "{output:?}");
        assert!(output.stdout.contains(verb), "{output:?}");
    }
    assert_eq!(isinit(&["-V"]).stdout, concat!("isinit ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_comes_with_a_later_version_says_so_by_name() {
    for verb in ["run", "import", "poweroff", "reboot", "halt", "kexec", "switch-root", "upgrade"] {
        let output = isinit(&[verb, "--", "true"]);
        assert!(
            output.status != 0 && output.stderr.contains(&format!("`{verb}` is not yet there")),
            "{output:?}"
        );
    }
    let d = Daemon::start(
        ":::watchdog:/dev/watchdog,10\ng:a:run,:respawn,memory=10M,cpu=50,pids=5:sh svc a\n\
         g:s::sysinit:true\ng:c::ctrlaltdel:true\ng:o:a,:ondemand:true\n",
    );
    assert_eq!(d.tell("g", "run"), "ok run");
    let said = d.stderr();
    for name in ["watchdog", "memory", "cpu", "pids", "sysinit", "ctrlaltdel", "ondemand"] {
        let line = said.lines().find(|line| line.contains(name) && line.contains("not yet"));
        assert!(line.is_some(), "nothing is said of {name}: {said}");
    }
}

#[test]
fn a_reader_that_is_gone_is_no_panic() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    for command in ["status", "status --json", "plan g run", "--help"] {
        for end in ["| true", ">&-", "> /dev/full"] {
            let output = shell(&d, &format!("{} {end}", words(&d, command)));
            assert!(!output.stderr.contains("panicked"), "{command} {end}: {output:?}");
        }
    }
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
    let again = Init::new(options.clone()).unwrap();
    assert_eq!(again.tell_and_wait("g", "0").unwrap(), "stopped");
    init.stopall().unwrap();
    look_until(|| stage.detached().is_empty().then_some(()))
        .unwrap_or_else(|| panic!("not down in {DEADLINE:?}"));
    stage.write_table("nonsense\n");
    assert!(matches!(Init::new(options.clone()), Err(ClientError::Refused(4, _))));
    let nobody = Options { program: "/no/such/program".into(), ..options };
    assert!(matches!(Init::new(nobody), Err(ClientError::Io(_))));
}
