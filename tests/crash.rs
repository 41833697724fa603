//! Faults of the daemon itself: it executes itself again, and goes on with every process as it was.
//!
//! The faults are real signals, sent from outside at a moment of the test's choice; those that come from within (a wild
//! pointer, an overflowing stack) are in the unit tests of `sys::reexec`, each crash between two effects in the engine's
//! simulation, and each system call of the daemon in `make faults`.

mod common;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::process::{Command, Stdio};

use common::{Daemon, Gate, Stage, alive, binary, children, descriptors, process_state, stat_fields};
use rustix::process::Signal;

const FAULTS: [Signal; 5] = [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::FPE, Signal::ABORT];

/// Sends a fault to the daemon, and waits until its next life has said so.
fn crash(d: &Daemon, signal: Signal) {
    let said = |d: &Daemon| d.stderr().matches("a fault of isinit").count();
    let before = said(d);
    d.signal(signal);
    d.until("the next life", |d| said(d) > before);
}

/// A process is the same as long as it has the same number and the same start time.
fn identity(pid: u32) -> (u32, String) {
    (pid, stat_fields(pid).swap_remove(19))
}

#[test]
fn each_fault_is_survived_by_every_process() {
    for fault in FAULTS {
        let d = Daemon::start(
            "g:a:1:respawn:sh svc a\ng:b:1:respawn:sh svc b\ng:once:1:once:sh svc once\nh:c:1:respawn:sh svc c\n",
        );
        assert_eq!((d.tell("g", "1"), d.tell("h", "1")), ("ok run".into(), "ok run".into()));
        let tags = ["a", "b", "once", "c"];
        tags.iter().for_each(|tag| d.until_event(&format!("start {tag}")));
        let before = tags.map(|tag| identity(d.pid_of(tag)));
        let pings = d.last_line(":ping");
        crash(&d, fault);
        assert_eq!(d.last_line(":ping"), pings, "the same process answers");
        assert_eq!(tags.map(|tag| identity(d.pid_of(tag))), before);
        assert_eq!(d.count_events("start"), 4);
        let words = format!(", sent by process {}: a fault of isinit", std::process::id());
        let name = ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"]
            [FAULTS.iter().position(|other| *other == fault).unwrap()];
        assert!(d.stderr().contains(&format!("isinit: {name}{words}")), "{}", d.stderr());
        assert_eq!(d.tell("g", "0"), "ok stopped");
        assert_eq!((d.count_events("term"), alive(d.pid_of("c"))), (3, true), "it still knows what to stop");
        assert_eq!(d.stop(), 0);
        assert_eq!(d.count_events("term c"), 1);
    }
}

#[test]
fn what_ends_while_it_crashes_is_not_lost() {
    let d =
        Daemon::start("g:a:1:respawn,delay=0:sh svc a\ng:w:1:wait:sh svc w\ng:late:1:respawn:sh svc late\n");
    d.ask(":tell g 1");
    ["a", "w"].iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    let (a, w) = (d.pid_of("a"), d.pid_of("w"));
    d.signal(Signal::STOP);
    d.until("it is stopped", |d| process_state(d.pid()) == Some('T'));
    common::signal(a, Signal::KILL);
    common::signal(w, Signal::TERM);
    d.until("both are zombies", |_| [a, w].iter().all(|pid| process_state(*pid) == Some('Z')));
    d.signal(Signal::SEGV);
    d.signal(Signal::CONT);
    d.until_event("start late");
    d.until("a is started again", |d| d.count_events("start a") == 2);
    let status = d.entry("a");
    assert_eq!((status.restarts, status.last.as_str()), (1, "signal:SIGKILL"));
    assert_eq!((d.entry("w").state.as_str(), d.entry("w").last.as_str()), ("done", "exit:0"));
    assert!(d.stderr().contains("SIGSEGV"));
}

#[test]
fn a_switch_that_was_under_way_ends_as_it_should() {
    let stage = Stage::new();
    stage
        .write("slow", "trap '' TERM; echo \"start slow\" >> events; read x < go; echo end slow >> events\n");
    let mut gate = Gate::new(&stage);
    let d = stage.start(
        "g:slow:1:respawn,stop-timeout=100:sh slow\ng:next:2:wait:read x < go; exit $x\ng:last:2:respawn:sh svc last\n",
    );
    d.tell("g", "1");
    d.until_event("start slow");
    let mut waiting = BufReader::new(d.connect().unwrap());
    waiting.get_mut().write_all(b":tell g 2 wait\n").unwrap();
    d.until_state("slow", "stopping");
    assert_eq!(d.group("g").state, "start");
    crash(&d, Signal::SEGV);
    assert_eq!(
        waiting.read_to_end(&mut Vec::new()).unwrap(),
        0,
        "its connection is closed, and nothing else said"
    );
    assert_eq!((d.group("g").state.as_str(), d.group("g").level.as_str()), ("start", "2"));
    assert_eq!(d.entry("slow").state, "stopping");
    gate.pass(0);
    d.until_state("next", "up");
    crash(&d, Signal::BUS);
    assert_eq!(d.entry("next").state, "up");
    gate.pass(0);
    d.until_event("start last");
    d.until("it has arrived", |d| d.group("g").state == "run");
    assert_eq!(
        (d.count_events("start slow"), d.count_events("end slow"), d.count_events("start last")),
        (1, 1, 1)
    );
}

#[test]
fn limits_rests_and_orders_of_people_hold() {
    let d = Daemon::start(
        "g:held:1:respawn,limit=2/60/60:false\ng:slow:1:respawn,delay=60:false\ng:off:1:respawn:sh svc off\n\
         g:bad:1:once,fail=entry:exit 3\n",
    );
    d.ask(":tell g 1");
    d.until_state("held", "held");
    d.until_state("slow", "backoff");
    d.until_event("start off");
    assert_eq!(d.last_line(":stop off wait"), "ok");
    d.until_state("bad", "failed");
    // Ages and times go on; all else is the same.
    let status = |d: &Daemon| {
        let line = |line: String| {
            line.split(' ').filter(|word| !word.contains("_ms=")).collect::<Vec<_>>().join(" ")
        };
        d.ask(":status").into_iter().map(line).collect::<Vec<_>>()
    };
    let (before, age) = (status(&d), d.entry("held").age_ms);
    crash(&d, Signal::SEGV);
    assert_eq!(status(&d), before);
    assert!(d.entry("held").age_ms >= age && d.entry("held").due_ms.unwrap() <= 60_000);
    assert!(d.entry("slow").due_ms.unwrap() <= 60_000);
}

#[test]
fn no_line_of_a_log_is_lost_and_none_comes_twice() {
    let d = Daemon::start(
        "g:log:1:respawn:while read line; do echo \"$line\" >> lines; done\n\
         g:talk:1:once,log=log:i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done\n",
    );
    d.tell("g", "1");
    for fault in [Signal::SEGV, Signal::BUS, Signal::ILL] {
        crash(&d, fault);
    }
    d.until("all lines are there", |d| d.lines("lines").len() >= 3_000);
    assert!(d.lines("lines").iter().enumerate().all(|(n, line)| *line == n.to_string()));
    assert_eq!(d.tell("g", "0"), "ok stopped", "the log has its end, so nobody else holds it open");
}

#[test]
fn who_was_to_say_that_it_is_ready_still_can() {
    let stage = Stage::new();
    stage.write("slow", "echo start $1 >> events; read x < go; echo >&3; exec sh svc $1\n");
    let mut gate = Gate::new(&stage);
    let d = stage.start("g:slow:1:respawn,ready=3:sh slow slow\ng:next:1:respawn:sh svc next\n");
    d.ask(":tell g 1");
    d.until_event("start slow");
    assert_eq!(d.entry("slow").state, "starting");
    crash(&d, Signal::SEGV);
    assert_eq!((d.entry("slow").state.as_str(), d.count_events("start next")), ("starting", 0));
    gate.pass(0);
    d.until_event("start next");
    assert_eq!((d.entry("slow").state.as_str(), d.entry("slow").restarts), ("up", 0));
}

#[test]
fn the_readiness_socket_has_the_same_name() {
    let stage = Stage::new();
    let notify = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_DGRAM, 0); $n = $ENV{NOTIFY_SOCKET}; $n =~ s/^@/\\0/; \
                  send(S, \"READY=1\", 0, pack(\"S a*\", AF_UNIX, $n)) or die; sleep 1000'";
    stage.write("slow", format!("echo start slow >> events; read x < go; exec {notify}\n"));
    let mut gate = Gate::new(&stage);
    let d = stage.start("g:slow:1:respawn,ready=socket:sh slow\n");
    d.ask(":tell g 1");
    d.until_event("start slow");
    crash(&d, Signal::SEGV);
    gate.pass(0);
    d.until_state("slow", "up");
}

#[test]
fn lines_with_their_tag_before_them_go_on() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(":::prefix:tag\ng:a:1:respawn:echo one; read x < go; echo two; exec sleep 1000\n");
    d.tell("g", "1");
    d.until("the first line", |d| d.text("stdout") == "[a] one\n");
    crash(&d, Signal::SEGV);
    gate.pass(0);
    d.until("the second", |d| d.text("stdout") == "[a] one\n[a] two\n");
}

#[test]
fn a_table_that_is_bad_by_then_takes_nothing_away() {
    let d = Daemon::start("g:a:1:respawn,delay=0:sh svc a\ng:b:2:respawn:sh svc b\n");
    d.tell("g", "1");
    d.until_event("start a");
    let a = d.pid_of("a");
    d.write_table("g:a:1:respwan:sh svc a\n");
    crash(&d, Signal::SEGV);
    assert_eq!(d.pid_of("a"), a);
    d.until("it says so", |d| d.stderr().contains("did you mean respawn?"));
    common::signal(a, Signal::KILL);
    d.until("it is supervised", |d| d.count_events("start a") == 2);
    assert!(d.last_line(":tell g 2 wait").starts_with("err 4 the table has errors"));
    crash(&d, Signal::SEGV);
    d.write_table("g:b:2:respawn:sh svc b\n");
    assert_eq!(d.tell("g", "2"), "ok run");
    d.until("what is gone is stopped", |d| d.count_events("term a") == 1);
}

#[test]
fn it_has_no_more_descriptors_and_no_other_name_afterwards() {
    let d = Daemon::start("g:log:1:respawn:cat > /dev/null\ng:a:1:respawn,log=log:sh svc a\n");
    d.tell("g", "1");
    d.until_event("start a");
    let of = |d: &Daemon| {
        let numbered = |path: String| path.split([':', '-']).next().unwrap_or_default().to_owned();
        let mut kinds = BTreeMap::new();
        for path in descriptors(d.pid()).into_values() {
            *kinds.entry(numbered(path.display().to_string())).or_insert(0) += 1;
        }
        kinds
    };
    let name = |d: &Daemon| std::fs::read_to_string(format!("/proc/{}/comm", d.pid())).unwrap();
    let words = |d: &Daemon| std::fs::read(format!("/proc/{}/cmdline", d.pid())).unwrap();
    let clients_have_gone = |d: &Daemon| d.until("clients have gone", |d| of(d)["socket"] == 2);
    // Who has been answered was heard in a turn that came after the one that has started them, and is over.
    d.last_line(":ping");
    clients_have_gone(&d);
    let before = (of(&d), name(&d), words(&d));
    for fault in [Signal::SEGV, Signal::ILL, Signal::ABORT] {
        crash(&d, fault);
        d.last_line(":ping");
    }
    // What a turn has open for a moment is gone when it is over.
    d.until("it has what it had, and no more", |d| (of(d), name(d), words(d)) == before);
    let environment = common::environment(d.pid_of("a"));
    assert!(!environment.contains_key("ISINIT_REEXEC"));
    common::signal(d.pid_of("a"), Signal::KILL);
    d.until("it is started by the new life", |d| d.count_events("start a") == 2);
    assert!(!common::environment(d.pid_of("a")).contains_key("ISINIT_REEXEC"), "nor is it handed on");
}

#[test]
fn after_five_within_ten_seconds_it_only_collects_until_somebody_says_that_it_is_mended() {
    let d = Daemon::start("g:a:1:respawn,delay=0:sh svc a\ng:b:1:respawn:sh svc b\n");
    d.tell("g", "1");
    ["a", "b"].iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    let (a, b) = (d.pid_of("a"), d.pid_of("b"));
    for _ in 0..5 {
        crash(&d, Signal::SEGV);
    }
    let sentence = "err 1 crashed too often: nothing is started or stopped any more, but what runs goes on and what \
                    ends is collected; SIGHUP lets isinit try again";
    assert_eq!(d.last_line(":status"), sentence);
    let output = d.isinit(&["g", "0"]);
    assert_eq!(
        (output.status, output.stderr.contains("SIGHUP lets isinit try again")),
        (1, true),
        "{output:?}"
    );
    common::signal(a, Signal::KILL);
    d.until("what ends is collected", |d| !children(d.pid()).contains(&a));
    assert!(alive(b) && d.count_events("start a") == 1);
    d.signal(Signal::HUP);
    d.until("it is started again", |d| d.count_events("start a") == 2);
    assert_eq!((d.pid_of("b"), d.tell("g", "0")), (b, "ok stopped".into()));
    assert_eq!(d.stop(), 0);
}

#[test]
fn who_only_collects_can_be_ended() {
    let d = Daemon::start("g:a:1:respawn:sh svc a\n");
    d.tell("g", "1");
    d.until_event("start a");
    let a = d.pid_of("a");
    for _ in 0..5 {
        crash(&d, Signal::SEGV);
    }
    assert_eq!((d.stop(), alive(a)), (1, true));
}

#[test]
fn a_daemon_that_a_first_call_has_started_survives_too() {
    let stage = Stage::new();
    stage.write_table("g:a:1:respawn:sh svc a\n");
    let call = |args: &[&str]| {
        let mut command = Command::new(binary());
        command
            .arg("-c")
            .arg(stage.table())
            .arg("-s")
            .arg(stage.socket())
            .args(args)
            .current_dir(stage.dir());
        common::run(&mut command)
    };
    assert_eq!(call(&["g", "1"]).status, 0);
    let said =
        |words: &str| common::look_until(|| stage.text("events").contains(words).then_some(())).unwrap();
    said("start a");
    let [daemon] = *stage.detached() else { panic!("{:?}", stage.detached()) };
    common::signal(daemon, Signal::SEGV);
    let output = call(&["status"]);
    assert!(output.stdout.contains("a  up"), "{output:?}");
    assert_eq!(stage.detached(), [daemon]);
    assert_eq!(call(&["g", "0"]).status, 0);
    said("term a");
    assert_eq!(call(&["-k"]).status, 0);
}

mod as_root {
    use super::*;

    /// The daemon as process 1 of a PID namespace, and what answers there.
    #[test]
    fn process_1_of_a_container_survives() {
        let stage = Stage::new();
        stage.write_table("g:a:1:respawn:sh svc a\ng:i:1:initdefault:\n");
        let mut command = Command::new("unshare");
        command.args(["-p", "-f", "--mount-proc", "--kill-child"]).arg(binary()).arg("-d").arg("-c");
        command.arg(stage.table()).arg("-s").arg(stage.socket()).current_dir(stage.dir());
        command.stdin(Stdio::null()).stderr(std::fs::File::create(stage.path("stderr")).unwrap());
        let mut outer = command.spawn().unwrap();
        let said = |name: &str, words: &str| {
            common::look_until(|| stage.text(name).contains(words).then_some(())).unwrap();
        };
        said("events", "start a");
        let process_1 = common::look_until(|| children(outer.id()).pop()).unwrap();
        let a = identity(common::look_until(|| children(process_1).pop()).unwrap());
        for (count, fault) in FAULTS.into_iter().take(4).enumerate() {
            common::signal(process_1, fault);
            common::look_until(|| {
                (stage.text("stderr").matches("a fault of isinit").count() > count).then_some(())
            })
            .unwrap();
        }
        assert_eq!(children(process_1).into_iter().map(identity).collect::<Vec<_>>(), [a]);
        common::signal(process_1, Signal::TERM);
        assert_eq!(common::exit_code(outer.wait().unwrap()), 0);
        said("events", "term a");
    }

    #[test]
    fn nobody_survives_too() {
        let stage = Stage::new();
        stage.write_table("g:a:1:respawn:sleep 1000\n");
        std::os::unix::fs::chown(stage.dir(), Some(65_534), Some(65_534)).unwrap();
        let command = stage.command(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        let d = stage.start_by("g:a:1:respawn:sleep 1000\n", command);
        d.tell("g", "1");
        let a = identity(d.pid_of("a"));
        crash(&d, Signal::SEGV);
        assert_eq!(identity(d.pid_of("a")), a);
        assert_eq!(d.stop(), 0);
    }
}
