//! How an entry becomes a process, and how a process and all that it has started is got rid of: by a real daemon
//! and real processes.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use common::{
    Daemon, Stage, alive, children, descriptors, environment, is_root, process_state, stat_fields,
    status_line,
};
use rustix::process::Signal;

// ---- what is stopped is gone ----

#[test]
fn a_process_that_ignores_sigterm_is_killed_after_its_stop_timeout() {
    with_and_without_cgroups(|stage, command| {
        stage
            .write("stubborn", "trap '' TERM\necho start stubborn >> events\nwhile :; do sleep 1000; done\n");
        let d = stage.start_by("g:stubborn:run,:respawn,stop-timeout=0.3:sh stubborn\n", command);
        d.tell("g", "run");
        d.until_event("start stubborn");
        let pid = d.pid_of("stubborn");
        assert_eq!(d.tell("g", "0"), "ok stopped");
        assert!(!alive(pid), "it is reported stopped, and is there");
        assert_eq!(d.descendants(), [], "its sleep, which ignores SIGTERM too, is there");
        assert_eq!(d.entry("stubborn").last, "signal:SIGKILL");
        assert!(d.stderr().contains("killing"), "nobody is told that it had to be killed: {}", d.stderr());
    });
}

#[test]
fn the_stop_signal_of_the_table_is_the_one_that_is_sent() {
    let stage = Stage::new();
    stage.write("usr1", "sleep 100000 & trap 'echo got usr1 >> events; exit 0' USR1\necho start >> events\nwhile :; do wait; done\n");
    let d = stage.start("g:a:run,:respawn,stop=USR1:sh usr1\n");
    d.tell("g", "run");
    d.until_event("start");
    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.count_events("got usr1"), 1);
}

#[test]
fn a_process_that_was_stopped_by_sigstop_can_be_stopped() {
    let d = Daemon::start("g:a:run,:respawn,stop-timeout=20:sh svc a\n");
    d.tell("g", "run");
    d.until_event("start a");
    let pid = d.pid_of("a");
    common::signal(pid, Signal::STOP);
    d.until("it is frozen", |_| process_state(pid) == Some('T'));
    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.count_events("term a"), 1, "it was killed instead of being continued");
}

/// Forks twice and leaves its session; the number of what has left is in the file `left`.
const LEAVE: &str = "( setsid sh -c 'echo $$ > left.new; mv left.new left; exec sleep 1000' & )\n\
                     until [ -s left ]; do sleep 0.01; done\n";

/// Twice: where cgroups can be written (by root, on a machine that has them), and where there are none.
fn with_and_without_cgroups(test: impl Fn(Stage, Command)) {
    let stage = Stage::new();
    let command = stage.command(&[]);
    test(stage, command);
    if is_root() {
        let hide = "umount /sys/fs/cgroup/unified 2>&- || mount -t tmpfs none /sys/fs/cgroup; exec \"$@\"";
        let stage = Stage::new();
        let command = stage.command(&["unshare", "-m", "sh", "-c", hide, "sh"]);
        test(stage, command);
    }
}

/// Is each entry's process in a cgroup of its own?
fn has_cgroups(d: &Daemon, pid: u32) -> bool {
    let own = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned))
    };
    own(pid) != own(d.pid())
}

#[test]
fn the_tests_of_this_file_have_seen_both_ways_to_find_descendants() {
    let ways = std::sync::Mutex::new(Vec::new());
    with_and_without_cgroups(|stage, command| {
        let d = stage.start_by("g:a:run,:respawn:sh svc a\n", command);
        d.tell("g", "run");
        ways.lock().unwrap().push(has_cgroups(&d, d.pid_of("a")));
    });
    let ways = ways.into_inner().unwrap();
    assert_eq!(ways, if is_root() { vec![true, false] } else { vec![false] });
}

fn pid_of_what_left(d: &Daemon) -> u32 {
    d.until_some("something has left", |d| d.text("left").trim().parse().ok())
}

#[test]
fn what_forks_twice_and_leaves_the_session_is_gone_with_its_entry() {
    with_and_without_cgroups(|stage, command| {
        stage.write("leaver", format!("{LEAVE}exec sleep 1000\n"));
        let d = stage.start_by("g:leaver:run,:respawn:sh leaver\n", command);
        d.tell("g", "run");
        let left = pid_of_what_left(&d);
        d.until("the daemon has adopted it", |d| status_line(left, "PPid") == Some(d.pid().to_string()));
        let session: u32 = stat_fields(left)[3].parse().unwrap();
        assert_ne!(session, d.pid_of("leaver"), "this test is to be about one that is in another session");
        assert_eq!(d.tell("g", "0"), "ok stopped");
        assert!(!alive(left), "what left the session is there");
        assert_eq!(d.descendants(), []);
    });
}

#[test]
fn what_forks_twice_and_ignores_sigterm_is_killed_with_its_entry() {
    with_and_without_cgroups(|stage, command| {
        stage.write("leaver", format!("sleep 100000 &\ntrap '' TERM\n{LEAVE}trap 'exit 0' TERM\necho ready >> events\nwhile :; do wait; done\n"));
        let d = stage.start_by("g:leaver:run,:respawn,stop-timeout=0.3:sh leaver\n", command);
        d.tell("g", "run");
        let left = pid_of_what_left(&d);
        d.until_event("ready");
        assert_eq!(d.tell("g", "0"), "ok stopped");
        assert!(!alive(left));
        assert_eq!(d.descendants(), []);
    });
}

#[test]
fn what_an_earlier_life_has_left_behind_lives_through_the_respawn_and_goes_with_the_stop() {
    with_and_without_cgroups(|stage, command| {
        stage.write("leaver", format!("[ -e left ] && exec sleep 1000\n{LEAVE}exit 0\n"));
        let d = stage.start_by("g:leaver:run,:respawn:sh leaver\n", command);
        d.tell("g", "run");
        let left = pid_of_what_left(&d);
        d.until("the second life has begun", |d| {
            d.entry("leaver").restarts == 1 && d.entry("leaver").state == "up"
        });
        assert!(alive(left), "a respawn kills nothing");
        assert_eq!(d.tell("g", "0"), "ok stopped");
        assert!(!alive(left), "what the first life has left is there after the stop");
    });
}

#[test]
fn what_a_wait_has_left_behind_is_left_alone_when_the_wait_has_ended() {
    with_and_without_cgroups(|stage, command| {
        stage.write("rc", format!("{LEAVE}exit 0\n"));
        let d = stage.start_by("g:rc:run,:wait:sh rc\ng:a:run,:respawn:sh svc a\n", command);
        assert_eq!(d.tell("g", "run"), "ok run");
        d.until_event("start a");
        assert!(alive(pid_of_what_left(&d)), "the daemon that an rc script has started was killed");
    });
}

// ---- ends ----

#[test]
fn a_process_that_closes_its_output_has_not_ended() {
    let stage = Stage::new();
    stage.write("mute", "exec 0<&- 1>&- 2>&-\n. ./svc\n");
    let d = stage.start("g:mute:run,:respawn:sh mute mute\ng:quiet:run,:respawn,log=mute:sh mute quiet\n");
    d.tell("g", "run");
    d.until_event("start mute");
    d.until_event("start quiet");
    for tag in ["mute", "quiet"] {
        let entry = d.entry(tag);
        assert_eq!((entry.state.as_str(), entry.restarts), ("up", 0), "{tag}");
    }
    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.descendants(), []);
}

#[test]
fn processes_that_end_at_once_are_all_noted() {
    let entries: Vec<String> = (0..100).map(|n| format!("g:t{n}:run,:once:true\n")).collect();
    let d = Daemon::start(entries.concat());
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("all are done", |d| {
        d.ask(":status").iter().filter(|line| line.contains(" state=done ")).count() == 100
    });
    assert!(
        d.ask(":status")
            .iter()
            .filter(|line| line.contains("entry "))
            .all(|line| line.contains(" last=exit:0 "))
    );
    d.until("no zombie is left", |d| children(d.pid()).is_empty());
}

#[test]
fn ten_that_end_in_the_same_moment_are_all_reaped() {
    let stage = Stage::new();
    stage.fifo("go");
    let gate = stage.open_fifo("go");
    let entries: Vec<String> = (0..10).map(|n| format!("g:t{n}:run,:once:cat go\n")).collect();
    let d = stage.start(entries.concat());
    d.tell("g", "run");
    let pids: Vec<u32> = (0..10).map(|n| d.pid_of(&format!("t{n}"))).collect();
    let go = d.path("go");
    let reads = |pid: &u32| alive(*pid) && descriptors(*pid).values().any(|path| *path == go);
    d.until("all ten read from the pipe", |_| pids.iter().all(reads));
    drop(gate);
    d.until("all ten are done", |d| (0..10).all(|n| d.entry(&format!("t{n}")).last == "exit:0"));
    d.until("no zombie is left", |d| children(d.pid()).is_empty());
}

#[test]
fn what_ends_while_the_daemon_does_not_run_is_reaped_when_it_runs_again() {
    let entries: Vec<String> = (0..10).map(|n| format!("g:t{n}:run,:once:sleep 1000\n")).collect();
    let d = Daemon::start(entries.concat());
    d.tell("g", "run");
    let pids: Vec<u32> = (0..10).map(|n| became(&d, &format!("t{n}"), "sleep")).collect();
    d.signal(Signal::STOP);
    d.until("it is frozen", |d| process_state(d.pid()) == Some('T'));
    // Ten ends, and one SIGCHLD: the others are merged into it.
    pids.iter().for_each(|pid| common::signal(*pid, Signal::KILL));
    d.until("all have ended", |_| pids.iter().all(|pid| process_state(*pid) == Some('Z')));
    d.signal(Signal::CONT);
    d.until("all are noted", |d| (0..10).all(|n| d.entry(&format!("t{n}")).last == "signal:SIGKILL"));
    assert_eq!(children(d.pid()), []);
}

// ---- what a process is given ----

/// The PID of an entry, when it has become this program.
fn became(d: &Daemon, tag: &str, program: &str) -> u32 {
    let pid = d.pid_of(tag);
    // The kernel gives it its new name before /proc has its new arguments and, last, its environment.
    d.until(&format!("{tag} has become {program}"), |_| {
        status_line(pid, "Name").as_deref() == Some(program) && !environment(pid).is_empty()
    });
    pid
}

#[test]
fn a_process_finds_its_group_tag_levels_and_socket_in_its_environment() {
    let d = Daemon::start(
        ":::env:FRUIT=apple pie\n:::env:HOME=/nowhere\n\
         web:www:run,maintenance:respawn:sleep 1000\nweb:extra:maintenance,:respawn:sleep 1000\n",
    );
    d.tell("web", "run");
    let have = environment(became(&d, "www", "sleep"));
    let expected = |level: &str, previous: &str, tag: &str| -> BTreeMap<String, String> {
        let socket = d.socket().to_str().unwrap().to_owned();
        let pairs = [
            ("RUNLEVEL", level),
            ("PREVLEVEL", previous),
            ("INIT_VERSION", concat!("isinit-", env!("CARGO_PKG_VERSION"))),
            ("ISINIT_GROUP", "web"),
            ("ISINIT_TAG", tag),
            ("ISINIT_SOCKET", &socket),
            ("FRUIT", "apple pie"),
            ("HOME", "/nowhere"),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    for (name, value) in expected("run", "N", "www") {
        assert_eq!(have.get(&name), Some(&value), "{name}");
    }
    assert_eq!(have.get("BIN"), environment(d.pid()).get("BIN"), "the daemon's own environment is handed on");
    assert!(!have.contains_key("NOTIFY_SOCKET"), "there is no ready=socket");

    d.tell("web", "maintenance");
    let have = environment(became(&d, "extra", "sleep"));
    for (name, value) in expected("maintenance", "run", "extra") {
        assert_eq!(have.get(&name), Some(&value), "{name} after a switch");
    }
}

#[test]
fn a_process_leads_its_own_session_and_process_group() {
    let d = Daemon::start("g:a:run,:respawn:sleep 1000\ng:b:run,:respawn:sleep 1000\n");
    d.tell("g", "run");
    for tag in ["a", "b"] {
        let pid = became(&d, tag, "sleep");
        let stat = stat_fields(pid);
        let number = pid.to_string();
        assert_eq!(stat[1], d.pid().to_string(), "parent");
        assert_eq!((&stat[2], &stat[3]), (&number, &number), "process group and session");
        assert_eq!(stat[4], "0", "no terminal");
    }
}

#[test]
fn a_process_has_no_signal_blocked_or_ignored_whatever_the_daemon_inherited() {
    let stage = Stage::new();
    let ignoring = ["env", "--block-signal=USR2", "--ignore-signal=HUP", "--ignore-signal=PIPE"];
    let command = stage.command(&ignoring);
    let d = stage.start_by("g:a:run,:respawn:sleep 1000\n", command);
    d.tell("g", "run");
    let pid = became(&d, "a", "sleep");
    for line in ["SigBlk", "SigIgn", "SigPnd"] {
        assert_eq!(status_line(pid, line).unwrap(), "0000000000000000", "{line}");
    }
}

#[test]
fn a_process_has_the_descriptors_0_1_2_and_no_other_of_the_daemon() {
    let stage = Stage::new();
    let command = stage.command(&["sh", "-c", "exec 9<svc; exec \"$@\"", "sh"]);
    let d = stage.start_by(
        "g:plain:run,:respawn:sleep 1000\ng:writer:run,:respawn,log=reader:sleep 1000\n\
         g:reader:run,:respawn:sleep 1000\ng:told:run,:respawn,ready=7:echo >&7; exec sleep 1000\n",
        command,
    );
    let waiting = d.connect().unwrap();
    assert_eq!(d.tell("g", "run"), "ok run");
    let null = PathBuf::from("/dev/null");
    // The dynamic loader opens the libraries of a program that has only just become one.
    let numbers = |tag: &str, expected: &[u32]| {
        let pid = became(&d, tag, "sleep");
        d.until(&format!("{tag} has these descriptors alone: {expected:?}"), |_| {
            descriptors(pid).into_keys().collect::<Vec<u32>>() == expected
        });
        descriptors(pid)
    };
    let plain = numbers("plain", &[0, 1, 2]);
    assert_eq!(plain, BTreeMap::from([(0, null.clone()), (1, d.path("stdout")), (2, d.path("stderr"))]));

    let (writer, reader) = (numbers("writer", &[0, 1, 2]), numbers("reader", &[0, 1, 2]));
    assert_eq!(
        (&writer[&0], &writer[&1], &writer[&2]),
        (&null, &reader[&0], &reader[&0]),
        "the pipe between them"
    );
    assert_eq!((&reader[&1], &reader[&2]), (&d.path("stdout"), &d.path("stderr")));
    numbers("told", &[0, 1, 2, 7]);
    drop(waiting);
}

fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
}

#[test]
fn a_process_with_a_metacharacter_is_the_shells_verbatim() {
    let d = Daemon::start("g:a:run,:once:echo one:two >> events; echo \"x  $ISINIT_TAG\" >> events\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("it is done", |d| d.entry("a").last == "exit:0");
    assert_eq!(d.lines("events"), ["one:two", "x  a"], "both commands, with their colon and both blanks");
}

#[test]
fn a_process_without_a_metacharacter_is_executed_itself() {
    let d = Daemon::start("g:a:run,:respawn:sleep \t 1000\n");
    d.tell("g", "run");
    assert_eq!(command_line(became(&d, "a", "sleep")), ["sleep", "1000"]);
}

#[test]
fn an_at_sign_keeps_the_shell_out_and_a_hyphen_makes_a_login_shell() {
    let d = Daemon::start(
        "g:a:run,:respawn:@sh svc a;b\ng:l:run,:respawn:-sleep 1000\ng:p:run,:respawn:+sleep 1000\n",
    );
    d.tell("g", "run");
    d.until_event("start a;b");
    assert_eq!(command_line(d.pid_of("a")), ["sh", "svc", "a;b"]);
    assert_eq!(command_line(became(&d, "l", "sleep")), ["-sleep", "1000"]);
    assert_eq!(command_line(became(&d, "p", "sleep")), ["sleep", "1000"]);
}

#[test]
fn an_initscript_runs_every_process_but_those_with_an_at_sign() {
    let stage = Stage::new();
    stage.write("script", "echo \"$@\" >> events\neval exec \"$4\"\n");
    let script = stage.path("script");
    let d = stage.start(format!(
        ":::initscript:{}\ng:a:run,2:wait:echo one >> events; echo two >> events\ng:b:run,:once:@sh svc b\n",
        script.display()
    ));
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start b");
    let lines = d.lines("events");
    assert_eq!(lines[..2], ["a run,2 wait echo one >> events; echo two >> events", "one"]);
    assert!(lines.iter().all(|line| !line.starts_with("b run")), "{lines:?}");
    fs::remove_file(script).unwrap();
    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("without it the shell runs both", |d| d.count_events("two") == 1);
}

// ---- options ----

#[test]
fn a_user_that_does_not_exist_is_the_entrys_fault_and_named_so() {
    let d = Daemon::start("g:a:run,:once,user=no-such-user:sleep 1000\ng:b:run,:respawn:sh svc b\n");
    d.tell("g", "run");
    d.until_event("start b");
    let entry = d.entry("a");
    assert_eq!((entry.state.as_str(), entry.pid), ("failed", 0));
    assert!(entry.last.starts_with("fault:uid:"), "{entry:?}");
    assert!(d.stderr().contains("no-such-user"), "{}", d.stderr());
}

#[test]
fn dir_umask_nice_oom_and_rlimit_are_set_before_exec() {
    let stage = Stage::new();
    fs::create_dir(stage.path("home")).unwrap();
    let home = stage.path("home");
    let d = stage.start(format!(
        "g:a:run,:respawn,dir={},umask=027,nice=5,oom=500,rlimit-NOFILE=64,rlimit-CORE=0:sleep 1000\n",
        home.display()
    ));
    d.tell("g", "run");
    let pid = became(&d, "a", "sleep");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), home);
    assert_eq!(status_line(pid, "Umask").unwrap(), "0027");
    assert_eq!(stat_fields(pid)[16], "5", "nice");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "500");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let of = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("Max open files"), ["64", "64"]);
    assert_eq!(of("Max core file size"), ["0", "0"]);
}

#[test]
fn an_entry_whose_directory_is_missing_says_so_by_step_and_errno() {
    let d = Daemon::start("g:a:run,:once,dir=/no/such/directory:sleep 1000\n");
    d.tell("g", "run");
    assert_eq!(d.until_state("a", "failed").last, "fault:dir:2");
}

#[test]
fn an_entry_whose_terminal_does_not_exist_is_skipped_and_said_so_once() {
    let d = Daemon::start("g:a:run,:respawn,tty=/dev/no-such-terminal:sh svc a\ng:b:run,:respawn:sh svc b\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start b");
    let entry = d.until_state("a", "failed");
    assert_eq!((entry.pid, entry.restarts), (0, 0));
    assert!(entry.last.starts_with("fault:tty:"), "{entry:?}");
    // Whatever else happens in its group: it is not tried again.
    let b = d.pid_of("b");
    common::signal(b, Signal::KILL);
    d.until("b is there again", |d| d.count_events("start b") == 2);
    assert_eq!(d.entry("a").restarts, 0);
    assert_eq!(d.stderr().matches("skipped").count(), 1, "{}", d.stderr());
    assert_eq!(d.count_events("start a"), 0);
}

/// A program that is ended when the test ends.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_entrys_tty_is_its_controlling_terminal_on_0_1_and_2() {
    let stage = Stage::new();
    let pty = format!("PTY,link={}", stage.path("tty").display());
    let mut command = Command::new("socat");
    command.args(["-u", &pty, "OPEN:screen,creat"]).current_dir(stage.dir()).stdin(Stdio::null());
    let _socat = Helper(command.spawn().expect("socat"));
    let terminal =
        common::look_until(|| fs::canonicalize(stage.path("tty")).ok()).expect("a terminal by socat");

    stage.write("login", "echo one; echo two >&2; echo three > /dev/tty\nexec sleep 1000\n");
    let d = stage.start(format!("g:a:run,:respawn,tty={}:sh login\n", terminal.display()));
    d.tell("g", "run");
    let pid = became(&d, "a", "sleep");
    let expected = [0, 1, 2].map(|number| (number, terminal.clone()));
    assert_eq!(descriptors(pid), BTreeMap::from(expected));
    let device = fs::metadata(&terminal).unwrap().rdev();
    let [major, minor] = [rustix::fs::major(device), rustix::fs::minor(device)];
    // tty_nr of proc(5): the minor in bits 31 to 20 and 7 to 0, the major in 15 to 8.
    let expected = (minor & 0xff) | (major << 8) | ((minor >> 8) << 20);
    assert_eq!(stat_fields(pid)[4], expected.to_string(), "the controlling terminal");
    assert_eq!(stat_fields(pid)[3], pid.to_string(), "its session");
    d.until("all three are on the screen", |d| d.lines("screen") == ["one", "two", "three"]);
}

#[test]
fn a_program_that_is_not_found_is_a_fault_of_exec_and_no_exit_127() {
    let stage = Stage::new();
    stage.write("not-executable", "");
    let d = stage.start(
        "g:gone:run,:once:no-such-program-anywhere x\ng:denied:run,:once:./not-executable\n\
         g:loop:run,:respawn,limit=2/60/60:/no/such/program\ng:b:run,:respawn:sh svc b\n",
    );
    d.tell("g", "run");
    assert_eq!(d.until_state("gone", "failed").last, "fault:exec:2");
    assert_eq!(d.until_state("denied", "failed").last, "fault:exec:13");
    assert_eq!(d.until_state("loop", "held").last, "fault:exec:2");
    d.until_event("start b");
    assert!(d.stderr().contains("No such file"), "{}", d.stderr());
}

#[test]
fn a_daemon_with_seventeen_descriptors_answers_starts_and_switches() {
    let stage = Stage::new();
    let command = stage.command(&["sh", "-c", "ulimit -n 17; exec \"$@\"", "sh"]);
    let d = stage.start_by(
        "g:a:one,two:respawn:sh svc a\ng:r:one,:respawn,ready=3:echo >&3; exec sh svc r\n\
         g:w:two,:wait:true\ng:b:two,:respawn:sh svc b\n",
        command,
    );
    let silent: Vec<_> = (0..20).map(|_| d.connect().unwrap()).collect();
    assert_eq!(d.tell("g", "one"), "ok run");
    d.until_event("start a");
    d.until_event("start r");
    let a = d.pid_of("a");
    let more: Vec<_> = (0..20).map(|_| d.connect().unwrap()).collect();
    assert_eq!(d.tell("g", "two"), "ok run");
    d.until_event("start b");
    assert_eq!(d.entry("a").pid, a);
    assert_eq!(d.entry("r").state, "down");
    drop((silent, more));
    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.stop(), 0);
}

// ---- what only root can try ----

/// `make test` leaves these out for others, and says so.
mod as_root {
    use super::*;

    #[test]
    fn user_sets_uid_gid_and_groups() {
        let d = Daemon::start(
            "g:named:run,:respawn,user=nobody.nogroup:sleep 1000\ng:alone:run,:respawn,user=nobody:sleep 1000\n\
             g:numbers:run,:respawn,user=12345.54321:sleep 1000\n",
        );
        d.tell("g", "run");
        let who = |tag: &str| {
            let pid = became(&d, tag, "sleep");
            ["Uid", "Gid", "Groups"].map(|line| status_line(pid, line).unwrap())
        };
        let nobody = ["65534\t65534\t65534\t65534", "65534\t65534\t65534\t65534", "65534"].map(str::to_owned);
        assert_eq!(who("named"), nobody);
        assert_eq!(who("alone"), nobody);
        assert_eq!(who("numbers"), ["12345\t12345\t12345\t12345", "54321\t54321\t54321\t54321", "54321"]);
    }

    #[test]
    fn an_exec_that_is_refused_for_want_of_processes_is_tried_again() {
        // The kernel refuses the execve of a process that became a user who has more processes than it may have.
        let d = Daemon::start(
            "g:a:one,two:respawn,user=23456.23456:sleep 1000\n\
             g:b:two,:respawn,user=23456.23456,rlimit-NPROC=0,limit=2/60/60:sleep 1000\n",
        );
        d.tell("g", "one");
        became(&d, "a", "sleep");
        d.tell("g", "two");
        let refusals = |d: &Daemon| d.entry("b").restarts;
        d.until("b was refused more often than its limit has starts", |d| refusals(d) > 3);
        let b = d.until_state("b", "backoff");
        assert_eq!((b.last.as_str(), b.pid), ("fault:exec:11", 0), "{b:?}");
        d.ask(":stop a wait");
        d.until("there is room, and b is there", |d| d.entry("b").state == "up" && d.entry("b").pid != 0);
        became(&d, "b", "sleep");
    }

    #[test]
    fn a_fork_that_is_refused_is_said_once_and_tried_until_there_is_room() {
        const USER: u32 = 34567;
        let stage = Stage::new();
        let mut command = stage.command(&["prlimit", "--nproc=1:100"]);
        command.uid(USER).gid(USER);
        std::os::unix::fs::chown(stage.dir(), Some(USER), Some(USER)).unwrap();
        common::open_to_all(&stage.path("events"));
        let d = stage.start_by("g:a:run,:respawn,limit=2/60/60:sh svc a\n", command);
        assert_eq!(d.last_line(":tell g run"), "ok accepted");
        let entry = d.until_state("a", "backoff");
        assert_eq!((entry.last.as_str(), entry.pid), ("fault:fork:11", 0));
        assert!(entry.due_ms.is_some_and(|due| due <= 250), "{entry:?}");
        let mut room = Command::new("prlimit");
        room.args(["--nproc=100", "--pid", &d.pid().to_string()]).uid(USER).gid(USER);
        assert!(room.status().unwrap().success());
        d.until_event("start a");
        let entry = d.until_state("a", "up");
        assert_eq!(entry.restarts, 0, "what was refused was no start");
        assert_eq!(d.stderr().matches("trying again").count(), 1, "{}", d.stderr());
    }
}

// ---- logs ----

#[test]
fn no_line_is_lost_or_moved_when_logger_and_writer_restart() {
    let stage = Stage::new();
    // Five lives of a thousand lines each.
    stage.write(
        "writer",
        "i=$(cat next 2>/dev/null || echo 1); end=$((i + 999))\n\
         while [ $i -le $end ]; do echo $i; i=$((i + 1)); done\n\
         echo $i > next\n[ $i -le 5000 ] || exec sleep 1000\n",
    );
    // Ends between two lines, after 400 or when it is told to: what it has read it has written.
    stage.write(
        "logger",
        "n=0; stop=; trap 'stop=1' TERM\necho start logger >> events\n\
         while [ -z \"$stop\" ] && [ $n -lt 400 ] && IFS= read -r line; do\n\
         echo \"$line\" >> out; n=$((n + 1))\ndone\n",
    );
    let d = stage.start(
        "g:writer:run,:respawn,limit=no,log=logger:sh writer\ng:logger:run,:respawn,limit=no:sh logger\n",
    );
    d.tell("g", "run");
    let mut seen = 0;
    d.until("all is written", |d| {
        // Each life of the logger is asked once to end early.
        let lives = d.count_events("start logger");
        if lives > seen {
            seen = lives;
            d.ask(":signal TERM logger");
        }
        d.lines("out").len() >= 5000
    });
    let expected: Vec<String> = (1..=5000).map(|n| n.to_string()).collect();
    assert!(d.lines("out") == expected, "lines are missing or out of order");
    assert!(d.entry("logger").restarts >= 12 && d.entry("writer").restarts == 4, "{:?}", d.ask(":status"));
}

#[test]
fn a_logger_that_is_stopped_with_its_writer_gets_the_last_word_first() {
    let stage = Stage::new();
    stage.write(
        "writer",
        "sleep 100000 >&- 2>&- & trap 'echo bye; exit 0' TERM\ni=1\nwhile [ $i -le 1000 ]; do echo $i; i=$((i + 1)); done\n\
         echo written >> events\nwhile :; do wait; done\n",
    );
    stage.fifo("go");
    // Reads nothing before it is allowed to, and has no trap: SIGTERM would end it.
    stage.write(
        "logger",
        "read x < go\nwhile IFS= read -r line; do echo \"$line\" >> out; done\necho end of file >> events\n",
    );
    let d = stage.start(
        "g:writer:run,:respawn,log=logger:sh writer\ng:logger:run,:respawn,stop-timeout=20:sh logger\n",
    );
    d.tell("g", "run");
    d.until_event("written");
    assert_eq!(d.last_line(":tell g 0"), "ok accepted");
    d.until("the writer is gone", |d| d.entry("writer").state == "down");
    let mut gate = d.open_fifo("go");
    gate.write_all(b"\n").unwrap();
    d.until("the group is down", |d| d.group("g").state == "stopped");
    let mut expected: Vec<String> = (1..=1000).map(|n| n.to_string()).collect();
    expected.push("bye".to_owned());
    assert!(d.lines("out") == expected, "{:?}", d.lines("out").last());
    assert_eq!(d.count_events("end of file"), 1);
    assert_eq!(d.entry("logger").last, "exit:0");
}

// ---- readiness ----

#[test]
fn a_newline_on_its_descriptor_makes_an_entry_ready_and_until_then_the_others_wait() {
    let stage = Stage::new();
    stage.fifo("go");
    let gate = stage.open_fifo("go");
    stage.write("slow", "printf x >&3\nread x < go\necho ready slow >> events\nprintf '\\n' >&3\nexec 3>&-\nexec sh svc slow\n");
    let d = stage.start("g:slow:run,:respawn,ready=3:sh slow\ng:below:run,:respawn:sh svc below\n");
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    let slow = d.until_state("slow", "starting").pid;
    let reads = |pid: u32| descriptors(pid).values().any(|path| *path == d.path("go"));
    d.until("it waits for us", |_| reads(slow));
    assert_eq!((d.entry("below").state.as_str(), d.group("g").state.as_str()), ("down", "start"));
    (&gate).write_all(b"\n").unwrap();
    d.until_event("start below");
    let entry = d.until_state("slow", "up");
    assert_eq!((entry.pid, entry.is("ready")), (slow, true));
    let events = d.lines("events");
    let place = |words: &str| events.iter().position(|line| line.starts_with(words)).unwrap();
    assert!(place("ready slow") < place("start below"), "{events:?}");
    d.until("the switch has ended", |d| d.group("g").state == "run");
}

/// What the entry of the test below executes: this very program, for there is none in Debian's base that sends
/// to an abstract socket.
#[test]
#[ignore = "a helper, not a test"]
fn helper_that_notifies() {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok() else { return };
    fs::read("go").unwrap();
    let mut events = fs::OpenOptions::new().append(true).open("events").unwrap();
    events.write_all(b"ready slow\n").unwrap();
    notify(&name, b"STATUS=here I am\nREADY=1\n");
    loop {
        thread::park();
    }
}

fn notify(name: &str, message: &[u8]) {
    let name = name.strip_prefix('@').expect("an abstract socket");
    let address = SocketAddr::from_abstract_name(name).unwrap();
    UnixDatagram::unbound().unwrap().send_to_addr(message, &address).unwrap();
}

#[test]
fn ready_1_on_the_notify_socket_makes_an_entry_ready_and_only_its_own_processes_may_say_so() {
    let stage = Stage::new();
    stage.fifo("go");
    let gate = stage.open_fifo("go");
    let helper = std::env::current_exe().unwrap();
    let d = stage.start(format!(
        "g:slow:run,:respawn,ready=socket:@{} --exact --ignored helper_that_notifies\n\
         g:below:run,:respawn:sh svc below\n",
        helper.display()
    ));
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    let slow = d.until_state("slow", "starting").pid;
    d.until("it waits for us", |d| {
        alive(slow) && descriptors(slow).values().any(|path| *path == d.path("go"))
    });
    // Somebody else: taken in before the next request, and not believed.
    notify(&environment(slow)["NOTIFY_SOCKET"], b"READY=1");
    d.ask(":ping");
    assert_eq!((d.entry("slow").state.as_str(), d.entry("below").state.as_str()), ("starting", "down"));
    drop(gate);
    d.until_event("start below");
    assert_eq!((d.until_state("slow", "up").pid, d.entry("slow").is("ready")), (slow, true));
    let events = d.lines("events");
    assert_eq!(events[0], "ready slow", "{events:?}");
    d.until("the switch has ended", |d| d.group("g").state == "run");
}

#[test]
fn what_is_not_ready_in_time_is_stopped_and_tried_again_and_the_others_start_all_the_same() {
    let d = Daemon::start(
        "g:never:run,:respawn,ready=3,ready-timeout=0.2,limit=2/60/60:sh svc never\ng:below:run,:respawn:sh svc below\n",
    );
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start below");
    let entry = d.until_state("never", "held");
    assert_eq!(d.count_events("start never"), 2, "started again within its limit");
    assert_eq!(entry.last, "timeout", "{entry:?}");
    assert!(d.stderr().contains("not ready in time"), "{}", d.stderr());
}
