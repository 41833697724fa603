//! Switching groups between runlevels: who is stopped, who is kept, who is started, in which order, and what is told.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::{fs, thread};

use common::{DEADLINE, Daemon, Gate, Stage, alive, run};
use rustix::process::Signal;

/// The events so far, without their PIDs.
fn events(d: &Daemon) -> Vec<String> {
    let words = |line: String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    d.lines("events").into_iter().map(words).collect()
}

/// Services of one group, all started and with their trap.
fn services(names: &[&str]) -> Daemon {
    let line = |name: &&str| format!("g:{name}:run,:respawn:sh svc {name}\n");
    let d = Daemon::start(names.iter().map(line).collect::<String>());
    assert_eq!(d.tell("g", "run"), "ok run");
    names.iter().for_each(|name| d.until_event(&format!("start {name}")));
    d
}

/// A service that notes its stop signal, and goes when it is let go. As the harness' `svc`, it misses no signal.
const SLOW: &str = r#"sleep 100000 &
trap 'echo "term $1" >> events; read x < go; echo "gone $1" >> events; exit 0' TERM
echo "start $1 $$" >> events
while :; do wait; done
"#;

// ---- one group, and no other ----

#[test]
fn an_ondemand_level_starts_its_entries_and_leaves_the_group_where_it_is() {
    let d = Daemon::start(
        "g:r:run,:respawn:sh svc r\ng:w:run,:wait:echo wait >> events\ng:d:a:ondemand:sh svc d\nh:x:run,:once:true\n",
    );
    assert_eq!(d.tell("g", "run"), "ok run");
    let steady = d.pid_of("r");
    let plan = d.ask(":plan g a");
    assert_eq!(plan, ["start d", "ok"]);
    assert_eq!(d.tell("g", "a"), "ok run");
    d.until_event("start d");
    assert_eq!(d.group("g").level, "run");
    let first = d.pid_of("d");
    common::signal(first, Signal::KILL);
    d.until("it is started again", |d| d.entry("d").state == "up" && d.entry("d").pid != first);
    assert_eq!(d.tell("g", "run"), "ok run");
    assert_eq!((d.pid_of("r"), d.count_events("wait"), d.entry("d").state.as_str()), (steady, 1, "up"));
    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.entry("d").state, "down");
    assert!(d.tell("g", "a").starts_with("err 3 "), "a group that is stopped serves no demand");
}

#[test]
fn a_tell_switches_its_group_and_no_other_feels_it() {
    let d = Daemon::start(
        "web:w:run,maint:respawn:sh svc w\nweb:x:run,:respawn:sh svc x\nweb:y:maint,:respawn:sh svc y\n\
         db:d:run,:respawn:sh svc d\ndb:e:run,:wait:echo wait e >> events\n",
    );
    assert_eq!(d.tell("db", "run"), "ok run");
    assert_eq!(d.tell("web", "run"), "ok run");
    ["start d", "start w", "start x"].iter().for_each(|event| d.until_event(event));
    let (kept, other) = (d.pid_of("w"), d.pid_of("d"));
    for level in ["maint", "run", "maint", "0", "maint"] {
        d.tell("web", level);
        if level == "maint" {
            d.until("y is up", |d| d.count_events("start y") > d.count_events("term y"));
        }
    }
    assert_eq!(d.pid_of("d"), other);
    assert_eq!((d.count_events("start d"), d.count_events("term d"), d.count_events("wait e")), (1, 0, 1));
    assert!(!alive(kept), "level 0 stops what is in every other level");
}

#[test]
fn an_entry_that_is_in_both_levels_keeps_its_process() {
    let d = Daemon::start(
        "g:both:run,maint:respawn:sh svc both\ng:old:run,:respawn:sh svc old\ng:new:maint,:respawn:sh svc new\n",
    );
    d.tell("g", "run");
    d.until_event("start both");
    d.until_event("start old");
    let pid = d.pid_of("both");
    assert_eq!(d.tell("g", "maint"), "ok run");
    d.until_event("start new");
    assert_eq!(d.pid_of("both"), pid);
    assert_eq!((d.count_events("start both"), d.count_events("term both")), (1, 0));
    assert_eq!((d.entry("old").state.as_str(), d.group("g").prev.as_str()), ("down", "run"));
}

// ---- order ----

#[test]
fn what_leaves_is_told_so_last_first_all_at_once_and_only_then_something_starts() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    // Each needs to be let go; none waits for another to have ended.
    stage.write("slow", SLOW);
    let mut table: String = ["a", "b", "c"]
        .iter()
        .map(|name| format!("g:{name}:one,:respawn,stop-timeout=25:sh slow {name}\n"))
        .collect();
    table.push_str("g:d:two,:respawn:sh svc d\ng:e:two,:respawn:sh svc e\n");
    let d = stage.start(table);
    d.tell("g", "one");
    ["start a", "start b", "start c"].iter().for_each(|event| d.until_event(event));
    let watch = watch(&d);
    assert_eq!(d.last_line(":tell g two"), "ok accepted");
    ["term a", "term b", "term c"].iter().for_each(|event| d.until_event(event));
    (0..3).for_each(|_| gate.pass(0));
    d.until_event("start d");
    d.until_event("start e");
    let seen = events(&d);
    let place = |event: &str| seen.iter().position(|other| other == event).unwrap();
    for name in ["a", "b", "c"] {
        assert!(place(&format!("gone {name}")) < place("start d"), "{seen:?}");
    }
    let changes = watched(watch, "what=run");
    assert_eq!(tags(&changes, "stopping"), ["c", "b", "a"], "last first: {changes:?}");
    assert_eq!(tags(&changes, "started"), ["d", "e"], "in file order: {changes:?}");
}

/// A `:watch` that sees what is done from now on.
fn watch(d: &Daemon) -> UnixStream {
    let mut watch = d.connect().unwrap();
    watch.write_all(b":watch\n").unwrap();
    d.ask(":ping");
    watch
}

/// The lines of a `:watch` up to the one that has this word, or to the end of the daemon.
fn watched(watch: UnixStream, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(watch).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap().contains(last) {
            break;
        }
    }
    lines
}

/// The tags of those lines that tell this of an entry, in their order.
fn tags<'l>(lines: &'l [String], what: &str) -> Vec<&'l str> {
    let told = format!(" what={what} ");
    let tag = |line: &'l String| line.split(' ').find_map(|word| word.strip_prefix("tag=")).unwrap();
    lines.iter().filter(|line| line.contains(&told)).map(tag).collect()
}

#[test]
fn what_is_on_its_way_out_when_its_level_is_told_again_goes_first_and_comes_back() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    stage.write("slow", SLOW);
    let d = stage.start(
        "g:a:one,:respawn,stop-timeout=25:sh slow a\ng:b:one,:respawn:sh svc b\ng:c:two,:respawn:sh svc c\n",
    );
    d.tell("g", "one");
    ["start a", "start b"].iter().for_each(|event| d.until_event(event));
    let overtaken = d.client(&["tell", "--wait", "g", "two"]).spawn_quiet();
    d.until_event("term a");
    d.until_state("b", "down");
    assert_eq!(d.last_line(":tell g one"), "ok accepted");
    assert_eq!(overtaken.join().unwrap().status, 7);
    assert_eq!((d.entry("a").state.as_str(), d.entry("b").state.as_str()), ("stopping", "down"));
    gate.pass(0);
    d.until("both are back", |d| d.count_events("start a") == 2 && d.count_events("start b") == 2);
    assert_eq!((d.count_events("term a"), d.count_events("start c")), (1, 0));
    d.until("it has settled", |d| d.group("g").state == "run");
    gate.pass(0);
}

#[test]
fn while_one_group_waits_the_others_are_switched() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage
        .start("g:w:run,:wait:read x < go; exit $x\nh:a:run,:respawn:sh svc a\nh:b:two,:respawn:sh svc b\n");
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until_state("w", "up");
    for (level, answer) in [("run", "ok run"), ("two", "ok run"), ("0", "ok stopped")] {
        assert_eq!(d.tell("h", level), answer);
    }
    assert_eq!((d.group("g").state.as_str(), d.entry("w").state.as_str()), ("start", "up"));
    gate.pass(0);
    d.until("it has settled", |d| d.group("g").state == "run");
}

#[test]
fn what_crashes_below_a_wait_comes_back_in_its_turn() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(
        "g:above:one,two:respawn:sh svc above\ng:w:two,:wait:read x < go; exit $x\n\
         g:below:one,two:respawn:sh svc below\n",
    );
    d.tell("g", "one");
    ["start above", "start below"].iter().for_each(|event| d.until_event(event));
    assert_eq!(d.last_line(":tell g two"), "ok accepted");
    d.until_state("w", "up");
    // The one above crashes last, and comes back: the one below would have been there before it.
    for tag in ["below", "above"] {
        let pid = d.pid_of(tag);
        common::signal(pid, Signal::KILL);
        d.until("its end is noted", |d| d.entry(tag).pid != pid);
    }
    d.until("the one above is there again", |d| d.count_events("start above") == 2);
    assert_eq!((d.entry("below").pid, d.count_events("start below")), (0, 1));
    gate.pass(0);
    d.until("the one below is there again", |d| d.count_events("start below") == 2);
}

#[test]
fn a_wait_and_a_test_hold_back_what_is_below_and_a_once_does_not() {
    for (action, verdict) in [("wait", "ok run"), ("test", "ok run")] {
        let stage = Stage::new();
        let mut gate = Gate::new(&stage);
        let d = stage.start(format!(
            "g:o:run,:once:echo once o >> events; exec sleep 100000\ng:above:run,:respawn:sh svc above\n\
             g:w:run,:{action}:echo {action} w >> events; read x < go; exit $x\ng:below:run,:respawn:sh svc below\n",
        ));
        let asked = thread::scope(|scope| {
            let asked = scope.spawn(|| d.tell("g", "run"));
            d.until_event(&format!("{action} w"));
            d.until_event("start above");
            d.until_event("once o");
            assert_eq!((d.entry("below").state.as_str(), d.group("g").state.as_str()), ("down", "start"));
            assert_eq!(d.count_events("start below"), 0);
            gate.pass(0);
            asked.join().unwrap()
        });
        assert_eq!(asked, verdict);
        d.until_event("start below");
        assert_eq!(d.entry("w").state, "done");
    }
}

#[test]
fn a_test_that_fails_makes_its_group_fail_and_the_rest_starts_all_the_same() {
    let d = Daemon::start("g:t:run,:test:exit 3;\ng:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\n");
    let answer = d.tell("g", "run");
    assert!(answer.starts_with("err 1 "), "{answer}");
    d.until_event("start a");
    assert_eq!((d.group("g").state.as_str(), d.entry("t").last.as_str()), ("fail", "exit:3"));
    assert_eq!(d.tell("h", "run"), "ok run");
    assert_eq!(d.tell("g", "0"), "ok stopped", "and it can be stopped as any other");
}

#[test]
fn a_group_whose_test_has_failed_is_fail_until_the_level_is_entered_again() {
    let d = Daemon::start(
        "g:t:run,:test:echo test t >> events; test -e good\ng:a:run,two:respawn:sh svc a\ng:z:two,:once:true\n",
    );
    let tell = |level: &str| d.isinit(&["tell", "--wait", "g", level]).status;
    assert_eq!((tell("run"), tell("run")), (1, 1));
    assert_eq!((d.count_events("test t"), d.entry("t").is("testfailed")), (1, true));
    d.write("good", "");
    assert_eq!((tell("run"), d.count_events("test t")), (1, 1), "the same level runs nothing again");
    assert_eq!((tell("two"), tell("run")), (0, 0));
    assert_eq!((d.count_events("test t"), d.entry("t").is("testfailed")), (2, false));
    d.until_event("start a");
    assert_eq!((d.count_events("start a"), d.group("g").state.as_str()), (1, "run"));
}

#[test]
fn a_wait_that_ends_badly_is_failed_and_its_group_runs() {
    for (process, last, words) in [
        ("exit 4;", "exit:4", "exited with status 4"),
        ("kill -9 $$", "signal:SIGKILL", "SIGKILL"),
        ("./nowhere/program", "fault:exec:2", "No such file or directory"),
    ] {
        let d = Daemon::start(format!("g:w:run,:wait:{process}\ng:a:run,:respawn:sh svc a\n"));
        assert_eq!(d.tell("g", "run"), "ok run");
        assert_eq!((d.entry("w").state.as_str(), d.entry("w").last.as_str()), ("failed", last));
        let said = d.stderr();
        assert!(said.lines().any(|line| line.contains("g/w: failed: ") && line.contains(words)), "{said}");
        d.until_event("start a");
    }
}

// ---- the same level, and another ----

#[test]
fn the_same_level_again_starts_what_is_missing_and_runs_nothing_twice() {
    let d = Daemon::start(
        "g:w:run,:wait:echo wait w >> events\ng:o:run,:once:echo once o >> events\n\
         g:t:run,:test:echo test t >> events\ng:a:run,:respawn:sh svc a\ng:b:run,:respawn:sh svc b\ng:z:two,:once:true\n",
    );
    let once = |d: &Daemon| ["wait w", "once o", "test t"].map(|event| d.count_events(event));
    d.tell("g", "run");
    ["start a", "start b", "once o"].iter().for_each(|event| d.until_event(event));
    assert_eq!(d.last_line(":stop a wait"), "ok");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("a is there again", |d| d.count_events("start a") == 2);
    assert_eq!((once(&d), d.count_events("start b")), ([1, 1, 1], 1));

    assert_eq!(d.tell("g", "two"), "ok run");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("once o has run again", |d| d.count_events("once o") == 2);
    assert_eq!(once(&d), [2, 2, 2], "left and entered again");

    assert_eq!(d.tell("g", "0"), "ok stopped");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("once o has run again", |d| d.count_events("once o") == 3);
    assert_eq!(once(&d), [3, 3, 3], "stopped and entered again");
}

#[test]
fn a_tell_of_the_same_level_while_a_wait_runs_goes_on_with_that_wait() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d =
        stage.start("g:w:run,:wait:echo wait w >> events; read x < go; exit $x\ng:a:run,:respawn:sh svc a\n");
    let first = d.client(&["tell", "--wait", "g", "run"]).spawn_quiet();
    d.until_event("wait w");
    let pid = d.pid_of("w");
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| d.tell("g", "run"));
        assert_eq!(first.join().unwrap().status, 7, "it was overtaken");
        gate.pass(0);
        second.join().unwrap()
    });
    assert_eq!(second, "ok run");
    d.until_event("start a");
    assert_eq!(d.count_events("wait w"), 1);
    assert!(!alive(pid));
}

/// Runs a command in a thread.
trait SpawnQuiet {
    fn spawn_quiet(self) -> thread::JoinHandle<common::Output>;
}

impl SpawnQuiet for std::process::Command {
    fn spawn_quiet(mut self) -> thread::JoinHandle<common::Output> {
        thread::spawn(move || run(&mut self))
    }
}

#[test]
fn another_level_takes_over_from_a_wait_that_is_running() {
    let stage = Stage::new();
    let _gate = Gate::new(&stage);
    let d = stage.start(
        "g:w:run,:wait:echo wait w >> events; read x < go; exit $x\ng:a:run,:respawn:sh svc a\n\
         g:b:two,:respawn:sh svc b\n",
    );
    for level in ["two", "0"] {
        let waits = d.count_events("wait w");
        let overtaken = d.client(&["tell", "--wait", "g", "run"]).spawn_quiet();
        d.until("the wait runs", |d| d.count_events("wait w") > waits);
        assert_eq!(d.tell("g", level), if level == "0" { "ok stopped" } else { "ok run" });
        assert_eq!(overtaken.join().unwrap().status, 7);
        assert_eq!((d.entry("w").state.as_str(), d.count_events("start a")), ("down", 0));
        if level == "two" {
            d.until_event("start b");
        }
    }
    d.until("nothing is left", |d| d.descendants().is_empty());
}

#[test]
fn fifty_clients_that_tell_the_same_at_once_make_one_switch() {
    let d = Daemon::start("g:w:run,:wait:echo wait w >> events\ng:a:run,:respawn:sh svc a\n");
    let answers: Vec<String> = thread::scope(|scope| {
        let tells: Vec<_> = (0..50).map(|_| scope.spawn(|| d.tell("g", "run"))).collect();
        tells.into_iter().map(|tell| tell.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer == "ok run" || answer.starts_with("err 7 ")), "{answers:?}");
    assert!(answers.iter().any(|answer| answer == "ok run"), "{answers:?}");
    d.until_event("start a");
    assert_eq!((d.count_events("start a"), d.count_events("wait w")), (1, 1));
    assert_eq!(d.group("g").state, "run");
}

#[test]
fn of_fifty_clients_the_last_gets_the_verdict_and_the_others_are_overtaken() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = &stage
        .start("g:w:run,:wait:echo wait w >> events; read x < go; exit $x\ng:a:run,:respawn:sh svc a\n");
    let (sender, answers) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..50 {
            let sender = sender.clone();
            scope.spawn(move || sender.send(d.tell("g", "run")).unwrap());
        }
        for n in 0..49 {
            let answer = answers.recv_timeout(DEADLINE).unwrap();
            assert!(answer.starts_with("err 7 "), "answer {n}: {answer}");
        }
        d.until_event("wait w");
        gate.pass(0);
        assert_eq!(answers.recv_timeout(DEADLINE).unwrap(), "ok run");
    });
    d.until_event("start a");
    assert_eq!((d.count_events("start a"), d.count_events("wait w")), (1, 1));
}

// ---- the table changes ----

#[test]
fn a_table_that_is_replaced_during_a_switch_holds_for_what_comes_after() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(
        "g:w:run,:wait:echo wait w >> events; read x < go; exit $x\ng:old:run,:respawn:sh svc old\ng:a:run,:respawn:sh svc a\n",
    );
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until_event("wait w");
    let wait = d.pid_of("w");
    d.write_table(
        "g:w:run,:wait:echo wait w >> events; read x < go; exit $x\ng:a:run,:respawn:sh svc a\ng:new:run,:respawn:sh svc new\n",
    );
    assert_eq!(d.last_line(":reread"), "ok read");
    assert_eq!(
        (d.pid_of("w"), d.entry("a").state.as_str()),
        (wait, "down"),
        "the switch goes on where it was"
    );
    gate.pass(0);
    d.until_event("start new");
    d.until_event("start a");
    d.until("it has settled", |d| d.group("g").state == "run");
    assert_eq!((d.count_events("start old"), d.count_events("wait w")), (0, 1));
}

#[test]
fn a_wait_that_is_taken_out_of_the_table_while_it_runs_holds_back_nothing_any_more() {
    let stage = Stage::new();
    let _gate = Gate::new(&stage);
    let d = stage.start("g:w:run,:wait:echo wait w >> events; read x < go\ng:a:run,:respawn:sh svc a\n");
    let told = d.client(&["tell", "--wait", "g", "run"]).spawn_quiet();
    d.until_event("wait w");
    let wait = d.pid_of("w");
    d.write_table("g:a:run,:respawn:sh svc a\n");
    assert_eq!(d.last_line(":reread"), "ok read");
    assert_eq!(told.join().unwrap().status, 0, "the switch has ended, and nobody has overtaken it");
    d.until_event("start a");
    d.until("it is gone from the status too", |d| d.find_entry("w").is_none());
    assert!(!alive(wait));
}

#[test]
fn a_new_entry_above_a_wait_that_runs_starts_at_the_next_tell_and_one_below_waits() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let wait = "g:w:run,:wait:echo wait w >> events; read x < go; exit $x\n";
    let d = stage.start(wait);
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until_event("wait w");
    d.write_table(format!("g:above:run,:respawn:sh svc above\n{wait}g:below:run,:respawn:sh svc below\n"));
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until_event("start above");
    assert_eq!((d.entry("below").state.as_str(), d.count_events("start below")), ("down", 0));
    gate.pass(0);
    d.until_event("start below");
    assert_eq!(d.count_events("wait w"), 1);
}

#[test]
fn a_bad_table_changes_nothing_and_is_told_to_who_asked() {
    let d = services(&["a", "b"]);
    let (a, b) = (d.pid_of("a"), d.pid_of("b"));
    d.write_table("g:a:run,:respwan:sh svc a\n");
    for request in [":tell g 0 wait", ":reread", ":tell g run"] {
        let answer = d.ask(request);
        assert!(answer.last().unwrap().starts_with("err 4 "), "{answer:?}");
        assert!(answer.iter().any(|line| line.contains("isinittab:1:10: error: ")), "{answer:?}");
        assert!(answer.iter().any(|line| line.contains("did you mean respawn?")), "{answer:?}");
    }
    assert_eq!((d.pid_of("a"), d.pid_of("b"), d.group("g").state.as_str()), (a, b, "run"));
    assert_eq!(d.isinit(&["tell", "--wait", "g", "0"]).status, 4);
    assert!(d.ask(":status")[0].contains(" table_ok=0"), "{:?}", d.ask(":status"));
    common::signal(a, Signal::KILL);
    d.until("what crashes comes back by the old one", |d| d.count_events("start a") == 2);
    d.write_table("g:a:run,:respawn:sh svc a\ng:b:run,:respawn:sh svc b\n");
    assert_eq!(d.tell("g", "0"), "ok stopped", "and with a good one it goes on");
    assert!(d.ask(":status")[0].contains(" table_ok=1"), "{:?}", d.ask(":status"));
}

#[test]
fn an_entry_that_is_taken_out_while_it_runs_is_asked_to_go_and_not_killed() {
    let d = services(&["a", "b"]);
    let (a, b) = (d.pid_of("a"), d.pid_of("b"));
    d.write_table("g:a:run,:respawn:sh svc a\n");
    assert_eq!(d.last_line(":reread"), "ok read");
    d.until("it is gone from the status too", |d| d.find_entry("b").is_none());
    assert!(!alive(b));
    assert_eq!((d.count_events("term b"), d.pid_of("a")), (1, a));
}

#[test]
fn entries_that_are_taken_out_together_are_stopped_last_first() {
    let d = services(&["a", "b", "c", "d"]);
    let watch = watch(&d);
    d.write_table("g:a:run,:respawn:sh svc a\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    let changes = watched(watch, "what=run");
    assert_eq!(tags(&changes, "stopping"), ["d", "c", "b"], "{changes:?}");
}

#[test]
fn a_tag_that_is_renamed_is_stopped_under_its_old_name_and_started_under_the_new() {
    let d = services(&["old", "b"]);
    d.write_table("g:new:run,:respawn:sh svc new\ng:b:run,:respawn:sh svc b\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start new");
    d.until("the old one is gone", |d| d.find_entry("old").is_none());
    let seen = events(&d);
    assert_eq!(seen[seen.len() - 2..], ["term old", "start new"], "one after the other: {seen:?}");
    assert_eq!(d.count_events("start b"), 1);
}

#[test]
fn an_entry_that_becomes_off_is_stopped_in_every_group_by_anybodys_tell() {
    let d =
        Daemon::start("g:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\nh:c:run,:respawn:sh svc c\n");
    d.tell("g", "run");
    d.tell("h", "run");
    ["start a", "start b", "start c"].iter().for_each(|event| d.until_event(event));
    d.write_table("g:a:run,:respawn:sh svc a\nh:b:run,:off:sh svc b\nh:c:run,:respawn:sh svc c\nh:n:run,:respawn:sh svc n\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("term b");
    d.until_state("b", "down");
    assert_eq!(
        (d.count_events("term c"), d.count_events("start n")),
        (0, 0),
        "only the told group is started from it"
    );
    assert_eq!(d.last_line(":reread"), "ok read");
    d.until_event("start n");
    assert_eq!(d.count_events("start b"), 1);
}

#[test]
fn an_entry_that_has_changed_runs_on_and_is_marked_until_it_is_restarted() {
    let d = services(&["a"]);
    let pid = d.pid_of("a");
    assert!(!d.entry("a").is("changed"));
    d.write_table("g:a:run,:respawn:sh svc anew\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    assert_eq!((d.pid_of("a"), d.entry("a").is("changed")), (pid, true));
    assert_eq!(d.last_line(":restart a wait"), "ok");
    d.until_event("start anew");
    assert_ne!(d.pid_of("a"), pid);
    assert_eq!((d.count_events("term a"), d.count_events("start a")), (1, 1));
    assert!(!d.entry("a").is("changed"));
}

#[test]
fn whoever_says_it_the_table_is_read_again_and_what_is_missing_started_everywhere() {
    type Say = fn(&Daemon);
    let ways: [(&str, Say); 4] = [
        ("SIGHUP", |d| d.signal(Signal::HUP)),
        ("isinit", |d| assert_eq!(d.isinit(&[""; 0]).status, 0)),
        ("0 0", |d| d.connect().unwrap().write_all(b"0 0\n").unwrap()),
        (":reread", |d| assert_eq!(d.last_line(":reread"), "ok read")),
    ];
    // A group that is called 0 is not meant by `0 0`.
    let table = "0:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\n";
    for (way, say) in ways {
        let d = Daemon::start(table);
        d.tell("0", "run");
        d.tell("h", "run");
        ["start a", "start b"].iter().for_each(|event| d.until_event(event));
        d.write_table(format!(
            "{table}0:m:run,:respawn:sh svc m\nh:n:run,:respawn:sh svc n\ni:o:run,:respawn:sh svc o\n"
        ));
        say(&d);
        d.until_event("start m");
        d.until_event("start n");
        d.until("it has settled", |d| d.group("0").state == "run" && d.group("h").state == "run");
        assert_eq!((d.count_events("start a"), d.count_events("term a")), (1, 0), "{way}");
        assert_eq!((d.count_events("start b"), d.count_events("term b")), (1, 0), "{way}");
        assert_eq!((d.group("i").state.as_str(), d.count_events("start o")), ("stopped", 0), "{way}");
    }
}

// ---- levels ----

#[test]
fn a_level_is_a_word_and_never_a_pattern() {
    let d = Daemon::start(
        "g:dot:a.c,:respawn:sh svc dot\ng:set:[ab],:respawn:sh svc set\ng:any:.*,:respawn:sh svc any\n\
         g:plus:r+,:respawn:sh svc plus\ng:abc:abc,:respawn:sh svc abc\n",
    );
    for (level, tag) in [("a.c", "dot"), ("[ab]", "set"), (".*", "any"), ("r+", "plus"), ("abc", "abc")] {
        assert_eq!(d.tell("g", level), "ok run");
        d.until_event(&format!("start {tag}"));
        let up = d.ask(":status g").iter().filter(|line| line.contains(" state=up ")).count();
        assert_eq!(up, 1, "{level} starts {tag} alone: {:?}", d.ask(":status g"));
        assert_eq!(d.entry(tag).state, "up");
    }
    assert!(d.last_line(":tell g a").starts_with("err 3 "), "no entry has the level a");
}

#[test]
fn without_a_comma_a_level_is_its_word_and_each_of_its_characters() {
    let d = Daemon::start(
        "g:both:12:respawn:sh svc both\ng:word:12,:respawn:sh svc word\ng:two:1,2:respawn:sh svc two\n\
         g:single:S:respawn:sh svc single\ng:every::respawn:sh svc every\n",
    );
    for (level, expected) in [
        ("12", &["both", "word", "every"][..]),
        ("1", &["both", "two", "every"]),
        ("2", &["both", "two", "every"]),
        ("s", &["single", "every"]),
        ("S", &["single", "every"]),
        ("0", &[]),
    ] {
        d.tell("g", level);
        let status = d.ask(":status g");
        let up: Vec<&str> = status
            .iter()
            .filter(|line| line.starts_with("entry ") && line.contains(" state=up "))
            .map(|line| line.split(' ').nth(2).unwrap())
            .collect();
        assert_eq!(up, expected, "level {level}");
    }
}

#[test]
fn a_group_may_be_called_0_and_be_told_a_level() {
    let d = Daemon::start("0:a:run,:respawn:sh svc a\n");
    assert_eq!(d.tell("0", "run"), "ok run");
    d.until_event("start a");
    assert_eq!(d.tell("0", "0"), "ok stopped");
    assert_eq!(d.count_events("term a"), 1);
}

#[test]
fn a_group_or_level_that_only_begins_with_0_is_a_name_like_any_other() {
    let d = Daemon::start("0x:a:00,0a:respawn:sh svc a\n0x:b::respawn:sh svc b\n00:c:00,:respawn:sh svc c\n");
    assert_eq!((d.tell("0x", "00"), d.tell("00", "00")), ("ok run".into(), "ok run".into()));
    ["start a", "start b", "start c"].iter().for_each(|event| d.until_event(event));
    assert_eq!(d.tell("0x", "0a"), "ok run");
    assert_eq!((d.count_events("term a"), d.count_events("term b")), (0, 0));
    assert_eq!(d.tell("0x", "0"), "ok stopped");
    assert_eq!((d.count_events("term a"), d.count_events("term b"), d.count_events("term c")), (1, 1, 0));
}

#[test]
fn a_level_or_group_that_the_table_does_not_have_is_refused_with_the_nearest() {
    let d = services(&["a"]);
    assert!(d.last_line(":tell g rnu").contains("run"), "{}", d.last_line(":tell g rnu"));
    assert!(d.last_line(":tell h run").starts_with("err 3 "));
    assert_eq!((d.count_events("term a"), d.group("g").level.as_str()), (0, "run"), "nothing has happened");
    assert_eq!(d.last_line(":tell g rnu force wait"), "ok run");
    assert_eq!(d.count_events("term a"), 1);
}

#[test]
fn an_initdefault_is_entered_when_the_daemon_begins() {
    let d = Daemon::start(
        "g:d:two,:initdefault:\ng:a:one,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\nh:c:two,:respawn:sh svc c\n",
    );
    d.until_event("start b");
    d.until("it has settled", |d| d.group("g").state == "run");
    assert_eq!(d.group("g").level, "two");
    assert_eq!(
        (d.group("h").state.as_str(), d.count_events("start a"), d.count_events("start c")),
        ("stopped", 0, 0)
    );
}

// ---- failures ----

#[test]
fn or_revert_goes_back_to_the_level_before_whatever_fails_on_the_way() {
    for failing in ["test:false", "wait:false", "respawn,ready=3,ready-timeout=0.2,limit=no:sh svc bad"] {
        let d = Daemon::start(format!(
            "g:old:run,:respawn:sh svc old\ng:both:run,new:respawn:sh svc both\ng:early:new,:respawn:sh svc early\n\
             g:bad:new,:{failing}\ng:below:new,:respawn:sh svc below\n",
        ));
        assert_eq!(d.tell("g", "run"), "ok run");
        d.until_event("start both");
        d.until_event("start old");
        let both = d.pid_of("both");
        let told = d.isinit(&["tell", "--wait", "--or-revert", "g", "new"]);
        assert_eq!(told.status, 1, "{failing}: {told:?}");
        assert!(told.stderr.contains("went back to level run"), "{failing}: {told:?}");
        let group = d.group("g");
        assert_eq!((group.level.as_str(), group.state.as_str()), ("run", "fail"), "{failing}");
        d.until("it is back", |d| d.count_events("start old") == 2);
        assert_eq!((d.pid_of("both"), d.count_events("start below")), (both, 0), "{failing}");
        for tag in ["early", "bad", "below"] {
            assert_eq!((d.entry(tag).state.as_str(), d.entry(tag).pid), ("down", 0), "{failing}: {tag}");
        }
        assert_eq!(d.tell("g", "run"), "ok run", "{failing}: what is told next has its own verdict");
    }
}

#[test]
fn or_revert_stops_a_group_that_had_no_level_before_and_changes_nothing_where_nothing_fails() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\ng:t:run,:test:test -e good;\n");
    let tell = || d.isinit(&["tell", "--wait", "--or-revert", "g", "run"]).status;
    assert_eq!(tell(), 1);
    assert_eq!((d.group("g").level.as_str(), d.entry("a").state.as_str()), ("0", "down"));
    d.write("good", "");
    assert_eq!(tell(), 0);
    assert_eq!((d.group("g").level.as_str(), d.group("g").state.as_str()), ("run", "run"));
    assert_eq!(d.entry("a").state, "up");
}

#[test]
fn or_revert_does_not_go_back_because_of_a_once() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d =
        stage.start("g:a:run,:respawn:sh svc a\ng:o:new,:once:false\ng:w:new,:wait:read x < go; exit $x\n");
    d.tell("g", "run");
    let told = d.client(&["tell", "--wait", "--or-revert", "g", "new"]).spawn_quiet();
    d.until_state("o", "failed");
    gate.pass(0);
    assert_eq!(told.join().unwrap().status, 0);
    assert_eq!((d.group("g").level.as_str(), d.entry("a").state.as_str()), ("new", "down"));
}

#[test]
fn with_fail_group_a_failure_stops_its_group_and_no_other() {
    let d = Daemon::start(
        "g:a:run,:respawn:sh svc a\ng:bad:run,:wait,fail=group:exit 5;\ng:b:run,:respawn:sh svc b\nh:c:run,:respawn:sh svc c\n",
    );
    d.tell("h", "run");
    d.until_event("start c");
    let answer = d.tell("g", "run");
    assert!(answer.starts_with("err 1 "), "{answer}");
    assert_eq!((d.group("g").state.as_str(), d.entry("a").state.as_str()), ("fail", "down"));
    assert_eq!(
        (d.count_events("start b"), d.count_events("term c"), d.group("h").state.as_str()),
        (0, 0, "run")
    );
}

#[test]
fn a_group_that_was_stopped_by_fail_group_runs_its_waits_again_when_it_is_told_the_same_level() {
    let d = Daemon::start(
        "g:w:run,:wait:echo wait w >> events\ng:bad:run,:test,fail=group:test -e good\ng:a:run,:respawn:sh svc a\n",
    );
    assert!(d.tell("g", "run").starts_with("err 1 "));
    assert_eq!(d.ask(":plan g run"), ["start w", "start bad", "start a", "ok"]);
    d.write("good", "");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start a");
    assert_eq!(d.count_events("wait w"), 2);
}

#[test]
fn with_fail_group_a_limit_or_a_missing_readiness_stops_the_group_too_and_it_can_be_told_again() {
    for failing in ["limit=1/60/60:true", "limit=no,ready=3,ready-timeout=0.2:sh svc bad"] {
        let d = Daemon::start(format!(
            "g:a:run,:respawn:sh svc a\ng:bad:run,:respawn,fail=group,{failing}\ng:b:two,:respawn:sh svc b\n\
             h:c:run,:respawn:sh svc c\n",
        ));
        d.tell("h", "run");
        d.until_event("start c");
        d.ask(":tell g run");
        d.until("it has failed", |d| d.group("g").state == "fail");
        for tag in ["a", "bad"] {
            assert_eq!((d.entry(tag).state.as_str(), d.entry(tag).pid), ("down", 0), "{failing}: {tag}");
        }
        assert_eq!((d.count_events("term c"), d.group("h").state.as_str()), (0, "run"), "{failing}");
        assert_eq!(d.last_line(":reread"), "ok read");
        assert_eq!(
            (d.entry("a").state.as_str(), d.group("g").state.as_str()),
            ("down", "fail"),
            "a re-read does not start what is broken"
        );
        assert_eq!(d.tell("g", "two"), "ok run", "{failing}");
    }
}

#[test]
fn with_fail_all_everything_is_stopped_and_the_daemon_ends_with_that_status() {
    let d = Daemon::start(
        "g:a:run,:respawn:sh svc a\ng:bad:two,:once,fail=all:exit 5;\nh:c:run,:respawn:sh svc c\n",
    );
    d.tell("h", "run");
    d.tell("g", "run");
    d.until_event("start a");
    d.until_event("start c");
    assert_eq!(d.last_line(":tell g two"), "ok accepted");
    assert_eq!(d.wait_exit(), 5);
    assert_eq!((d.count_events("term a"), d.count_events("term c")), (1, 1));
    assert_eq!(d.descendants(), []);
}

#[test]
fn when_a_main_entry_ends_everything_is_stopped_and_its_status_is_the_daemons() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start("g:m:run,:once,main:read x < go; exit $x\ng:a:run,:respawn:sh svc a\n");
    d.tell("g", "run");
    d.until_event("start a");
    gate.pass(42);
    assert_eq!(d.wait_exit(), 42);
    assert_eq!(d.count_events("term a"), 1);
}

#[test]
fn the_daemons_status_is_that_of_the_entry_or_128_and_its_signal() {
    for (entry, status) in [
        ("once,fail=all:exit 7;", 7),
        ("wait,fail=all:kill -9 $$", 128 + 9),
        ("test,fail=all:./nowhere/program", 127),
        ("respawn,limit=2/60/60,fail=all:exit 8;", 8),
        ("once,main:true", 0),
        ("wait,main:kill -TERM $$", 128 + 15),
        ("respawn,limit=2/60/60,main:exit 9;", 9),
    ] {
        let d = Daemon::start(format!("h:a:run,:respawn:sh svc a\ng:bad:run,:{entry}\n"));
        d.tell("h", "run");
        d.until_event("start a");
        d.ask(":tell g run");
        assert_eq!(d.wait_exit(), status, "{entry}");
        assert_eq!((d.count_events("term a"), d.descendants()), (1, vec![]), "{entry}");
    }
}

#[test]
fn a_main_entry_that_is_told_to_stop_or_is_respawned_has_not_ended_for_good() {
    let d = Daemon::start("g:m:run,:respawn,main:sh svc m\ng:a:two,:respawn:sh svc a\n");
    d.tell("g", "run");
    d.until_event("start m");
    common::signal(d.pid_of("m"), Signal::KILL);
    d.until("it is there again", |d| d.count_events("start m") == 2);
    assert_eq!(d.tell("g", "two"), "ok run");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("and again", |d| d.count_events("start m") == 3);
    assert_eq!(d.last_line(":restart m wait"), "ok");
    d.until("and again", |d| d.count_events("start m") == 4);
    assert_eq!((d.tell("g", "0"), d.exit_status()), ("ok stopped".into(), None));
}

#[test]
fn a_respawn_over_its_limit_is_held_and_a_tell_gives_it_another_chance() {
    let d = Daemon::start("g:a:run,:respawn,limit=2/60/70:echo start a >> events\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    let held = d.until_state("a", "held");
    assert_eq!((d.count_events("start a"), held.restarts), (2, 1));
    assert!(held.due_ms.is_some_and(|due| due > 60_000 && due <= 70_000), "{held:?}");
    assert!(d.stderr().contains("respawning too fast"), "{}", d.stderr());
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("it had two more", |d| d.count_events("start a") == 4);
    d.until_state("a", "held");
}

#[test]
fn a_delay_is_there_before_each_respawn_and_not_before_the_first_start() {
    let d = Daemon::start("g:a:run,:respawn,delay=100:echo start a >> events\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    let waits = d.until_state("a", "backoff");
    assert!(waits.due_ms.is_some_and(|due| due > 90_000 && due <= 100_000), "{waits:?}");
    assert_eq!(d.count_events("start a"), 1);
}

#[test]
fn a_delay_doubles_with_each_crash_up_to_its_most() {
    let d = Daemon::start(
        "g:a:run,:respawn,limit=no,delay=0.01..100:true\ng:b:run,:respawn,limit=no,delay=0.01..0.04:true\n",
    );
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("seven doublings and more", |d| {
        d.entry("a").due_ms.is_some_and(|due| due > 1_000 && d.entry("a").restarts >= 7)
    });
    // Ten doublings would be ten seconds, and as many more of them hours.
    d.until("it is no more than its most", |d| {
        assert!(d.entry("b").due_ms.is_none_or(|due| due <= 40), "{:?}", d.entry("b"));
        d.entry("b").restarts >= 20
    });
}

// ---- one entry ----

#[test]
fn an_entry_that_is_stopped_by_name_stays_down_until_it_is_started_or_its_group_told() {
    let d = services(&["a", "b"]);
    let b = d.pid_of("b");
    assert_eq!(d.last_line(":stop a wait"), "ok");
    assert_eq!((d.entry("a").state.as_str(), d.entry("a").is("manual")), ("down", true));
    assert_eq!(d.last_line(":reread"), "ok read");
    assert_eq!((d.entry("a").state.as_str(), d.entry("a").is("manual")), ("down", true));
    assert_eq!(d.last_line(":start a wait"), "ok");
    d.until("a has its trap", |d| d.count_events("start a") == 2);
    d.ask(":stop a wait");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("a is there", |d| d.count_events("start a") == 3);
    assert_eq!(d.pid_of("b"), b);
}

#[test]
fn one_entry_is_restarted_and_no_other_feels_it() {
    let d = services(&["a", "b", "c"]);
    let pids = ["a", "b", "c"].map(|tag| d.pid_of(tag));
    assert_eq!(d.isinit(&["restart", "b"]).status, 0);
    d.until("b has its trap again", |d| d.count_events("start b") == 2);
    assert_eq!((d.pid_of("a"), d.pid_of("c"), d.count_events("term b")), (pids[0], pids[2], 1));
    assert!(d.pid_of("b") != pids[1] && !alive(pids[1]));
    d.ask(":stop b wait");
    assert_eq!(d.last_line(":restart b wait"), "ok", "it starts what is down, too");
    d.until("b is there", |d| d.count_events("start b") == 3);
}

#[test]
fn an_entry_that_its_groups_level_does_not_have_is_not_started_by_name() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\ng:b:two,:respawn:sh svc b\ng:c:run,:off:sh svc c\n");
    for level in ["run", "0"] {
        d.tell("g", level);
        for verb in ["start", "restart"] {
            for tag in ["b", "c"] {
                assert_eq!(d.isinit(&[verb, tag]).status, 3, "{verb} {tag} at {level}");
                assert_eq!((d.entry(tag).state.as_str(), d.entry(tag).pid), ("down", 0));
            }
        }
    }
    assert_eq!((d.count_events("start b"), d.count_events("start c")), (0, 0));
}

#[test]
fn a_wait_that_is_stopped_by_name_holds_back_nothing_any_more() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    stage.write("slow", SLOW);
    let d = stage.start("g:w:run,:wait,stop-timeout=25:sh slow w\ng:a:run,:respawn:sh svc a\n");
    let told = d.client(&["tell", "--wait", "g", "run"]).spawn_quiet();
    d.until_event("start w");
    assert_eq!(d.last_line(":stop w"), "ok");
    d.until_event("term w");
    assert_eq!((d.entry("a").state.as_str(), d.count_events("start a")), ("down", 0), "it has not ended yet");
    gate.pass(0);
    d.until_event("start a");
    assert_eq!(told.join().unwrap().status, 0);
    assert_eq!(d.tell("g", "run"), "ok run", "it has had its turn");
    assert_eq!(events(&d), ["start w", "term w", "gone w", "start a"]);
}

#[test]
fn a_plan_is_what_the_tell_then_does_and_does_nothing_itself() {
    let d = Daemon::start(
        "g:keep:run,two:respawn:sh svc keep\ng:go1:run,:respawn:sh svc go1\ng:go2:run,:respawn:sh svc go2\n\
         g:w:two,:wait:true\ng:new:two,:respawn:sh svc new\n",
    );
    d.tell("g", "run");
    ["start keep", "start go1", "start go2"].iter().for_each(|event| d.until_event(event));
    let pid = |tag: &str| d.entry(tag).pid;
    let expected = [
        format!("stop go2 pid={}", pid("go2")),
        format!("stop go1 pid={}", pid("go1")),
        format!("keep keep pid={}", pid("keep")),
        "start w".to_owned(),
        "start new".to_owned(),
        "ok".to_owned(),
    ];
    let before = d.text("events");
    assert_eq!(d.ask(":plan g two"), expected);
    assert_eq!((d.text("events"), d.group("g").level.as_str()), (before, "run"));
    let keep = pid("keep");
    assert_eq!(d.tell("g", "two"), "ok run");
    d.until_event("start new");
    assert_eq!((pid("keep"), pid("go1"), pid("go2")), (keep, 0, 0));
    assert_eq!(
        d.ask(":plan g two"),
        [format!("keep keep pid={keep}"), format!("keep new pid={}", pid("new")), "ok".into()]
    );
}

#[test]
fn each_plan_of_a_walk_through_levels_is_what_the_tell_then_does() {
    let d = Daemon::start(
        "g:every::respawn:sh svc every\ng:w:one,three:wait:true\ng:a:one,two:respawn:sh svc a\n\
         g:t:two,three:test:true\ng:o:one,two:once:sh svc o\ng:b:three,one:respawn:sh svc b\n\
         g:n:two,:off:true\ng:c:two,:respawn:sh svc c\nh:other::respawn:sh svc other\n",
    );
    let mut steps = 0;
    for level in ["one", "two", "two", "three", "one", "0", "two", "three", "0", "0"] {
        let plan = d.ask(format!(":plan g {level}"));
        let planned = |verb: &str| -> Vec<&str> {
            plan.iter().filter_map(|line| line.strip_prefix(verb)?.split(' ').next()).collect()
        };
        let watch = watch(&d);
        let halts = level == "0";
        assert_eq!(d.tell("g", level), if halts { "ok stopped" } else { "ok run" });
        let changes = watched(watch, if halts { "what=halted" } else { "what=run" });
        assert_eq!(tags(&changes, "stopping"), planned("stop "), "{level}: {plan:?}");
        assert_eq!(tags(&changes, "started"), planned("start "), "{level}: {plan:?}");
        for line in plan.iter().filter_map(|line| line.strip_prefix("keep ")) {
            let (tag, pid) = line.split_once(" pid=").unwrap();
            assert_eq!(d.entry(tag).pid.to_string(), pid, "{level}: {tag} is not kept");
        }
        let started = planned("start ").into_iter().filter(|tag| d.entry(tag).pid != 0).count();
        let kept = planned("keep ").len();
        assert_eq!(d.group("g").up, (kept + started) as u64, "{level}: {plan:?}");
        steps += planned("stop ").len() + planned("start ").len() + kept;
    }
    assert!(steps > 30, "{steps} steps");
}

#[test]
fn a_plan_by_a_table_that_has_changed_does_nothing_either() {
    let d = services(&["a", "b"]);
    let (a, b) = (d.pid_of("a"), d.pid_of("b"));
    d.write_table("g:a:run,:respawn:sh svc a\ng:c:run,:respawn:sh svc c\n");
    let plan = [format!("stop b pid={b}"), format!("keep a pid={a}"), "start c".into(), "ok".into()];
    assert_eq!(d.ask(":plan g run"), plan);
    assert_eq!(d.ask(":plan g run"), plan);
    assert_eq!((d.pid_of("a"), d.pid_of("b"), d.count_events("term b")), (a, b, 0));
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until_event("start c");
    assert_eq!((d.pid_of("a"), d.count_events("term b")), (a, 1));
}

// ---- stopping ----

#[test]
fn a_stop_is_accepted_in_every_state() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    stage.write("slow", SLOW);
    let d = stage.start(
        "starting:s:run,:respawn,ready=3:sh svc s\nbackoff:b:run,:respawn,delay=100:true\n\
         held:h:run,:respawn,limit=1/60/60:true\nwaiting:w:run,:wait:sleep 1000\nwaiting:below:run,:once:true\n\
         stopping:p:run,:respawn,stop-timeout=25:sh slow p\nfailed:f:run,:once:false\ndone:d:run,:once:true\n",
    );
    let states = [
        ("s", "starting"),
        ("b", "backoff"),
        ("h", "held"),
        ("w", "up"),
        ("p", "up"),
        ("f", "failed"),
        ("d", "done"),
    ];
    for group in ["starting", "backoff", "held", "waiting", "stopping", "failed", "done"] {
        assert!(d.last_line(format!(":tell {group} run")).starts_with("ok"));
    }
    states.iter().for_each(|(tag, state)| drop(d.until_state(tag, state)));
    d.until_event("start s");
    d.until_event("start p");
    assert_eq!(d.last_line(":tell stopping 0"), "ok accepted");
    d.until_state("p", "stopping");
    for group in ["starting", "backoff", "held", "waiting", "failed", "done"] {
        assert_eq!(d.tell(group, "0"), "ok stopped", "{group}");
    }
    let last = thread::scope(|scope| {
        let last = scope.spawn(|| d.tell("stopping", "0"));
        gate.pass(0);
        last.join().unwrap()
    });
    assert_eq!(last, "ok stopped");
    states.iter().for_each(|(tag, _)| {
        assert_eq!((d.entry(tag).state.as_str(), d.entry(tag).pid), ("down", 0), "{tag}")
    });
    assert_eq!(d.count_events("start below"), 0);
    assert_eq!(d.descendants(), []);
}

#[test]
fn whoever_says_it_everything_is_stopped_gracefully_and_the_daemon_ends_with_0() {
    type Say = fn(&Daemon);
    let ways: [(&str, Say); 5] = [
        ("stopall without a newline", |d| d.connect().unwrap().write_all(b"stopall").unwrap()),
        ("stopall", |d| d.connect().unwrap().write_all(b"stopall\n").unwrap()),
        ("SIGTERM", |d| d.signal(Signal::TERM)),
        ("SIGINT", |d| d.signal(Signal::INT)),
        ("isinit -k", |d| assert_eq!(d.isinit(&["-k"]).status, 0)),
    ];
    for (way, say) in ways {
        let d = services(&["a", "b", "c"]);
        let watch = watch(&d);
        say(&d);
        assert_eq!(d.wait_exit(), 0, "{way}");
        let changes = watched(watch, "nothing");
        assert_eq!(tags(&changes, "stopping"), ["c", "b", "a"], "{way}: {changes:?}");
        let mut gone: Vec<String> =
            events(&d).into_iter().filter(|event| event.starts_with("term")).collect();
        gone.sort();
        assert_eq!(gone, ["term a", "term b", "term c"], "{way}");
        assert_eq!(d.descendants(), [], "{way}");
        assert!(!fs::exists(d.socket()).unwrap(), "{way}: the socket is there");
    }
}

#[test]
fn a_client_in_the_group_that_it_stops_does_not_hold_up_the_switch() {
    let stage = Stage::new();
    stage.write(
        "suicide",
        "echo asking >> events\n\"$BIN\" -s \"$ISINIT_SOCKET\" tell --wait g 0\necho after >> events\n",
    );
    let d = stage.start("g:a:run,:respawn:sh svc a\ng:s:run,:once:sh suicide\nh:b:run,:respawn:sh svc b\n");
    d.tell("h", "run");
    d.until_event("start b");
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until("its group is down", |d| d.count_events("asking") == 1 && d.group("g").state == "stopped");
    assert_eq!(d.group("h").state, "run");
    assert_eq!(d.descendants_of("g"), []);
}
