//! The socket and the status files: who may ask, what is answered, and that nobody who connects can hold up the others.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use common::{DEADLINE, Daemon, Gate, Output, Stage, alive, process_state, status_line};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// A connection that is kept.
struct Talk(BufReader<UnixStream>);

impl Talk {
    fn to(d: &Daemon) -> Talk {
        Talk(BufReader::new(d.connect().unwrap_or_else(|error| d.fail(&format!("no connection: {error}")))))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// No request comes any more, but the answers are waited for.
    fn close_side(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    fn answer(&mut self) -> Vec<String> {
        let lines = common::answer(&mut self.0).expect("an answer");
        assert!(!lines.is_empty(), "the daemon has closed the connection");
        lines
    }

    fn ask(&mut self, request: &str) -> Vec<String> {
        self.send(format!("{request}\n"));
        self.answer()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "the daemon has closed the connection after {line:?}");
        line.trim_end().to_owned()
    }

    /// What comes until the daemon closes.
    fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut bytes) {
            // It closes without having read everything.
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        String::from_utf8(bytes).unwrap()
    }
}

fn is_socket(path: &Path) -> bool {
    path.to_string_lossy().starts_with("socket:")
}

/// A program that is ended when the test ends.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a shell command in the test's directory.
fn shell(stage: &Stage, command: &str) -> Output {
    common::run(Command::new("sh").args(["-c", command]).current_dir(stage.dir()))
}

fn starts_with(line: &str, words: &str) {
    assert!(line.starts_with(words), "{line:?} does not begin with {words:?}");
}

/// A table's entry that lasts until the test lets it go, by a line with its exit status into [`Gate`].
fn gated(tag: &str, action: &str) -> String {
    format!("g:{tag}:run,:{action}:read x < go; exit $x\n")
}

/// A service that goes on SIGTERM, but not before the test lets it. As the harness' `svc`, it misses no signal.
const STUBBORN: &str = "sleep 100000 &
trap 'read x < go; exit 0' TERM
echo start $1 >> events
while :; do wait; done
";

// ---- the classic form ----

/// Sends a line and closes, as IS::Init's clients do.
fn classic(d: &Daemon, line: &str) {
    Talk::to(d).send(line);
}

#[test]
fn a_classic_line_switches_its_group_and_nothing_is_answered() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\n");
    for line in ["g run\n", "  h\trun  and what follows is forgotten\r\n"] {
        let mut talk = Talk::to(&d);
        talk.send(line);
        assert_eq!(talk.rest(), "", "{line:?} is answered");
    }
    d.until_event("start a");
    d.until_event("start b");
    d.until("both are at their level", |d| ["g", "h"].iter().all(|name| d.group(name).state == "run"));
    assert_eq!((d.group("g").level.as_str(), d.group("h").level.as_str()), ("run", "run"));
}

#[test]
fn a_classic_line_may_come_in_pieces_and_without_its_newline() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    let mut talk = Talk::to(&d);
    for piece in ["g ", "ru", "n"] {
        talk.send(piece);
        until_asleep(&d);
    }
    assert_eq!(d.group("g").level, "-", "half a line was taken for a whole one");
    drop(talk);
    d.until_event("start a");
    assert_eq!(d.group("g").level, "run");
}

#[test]
fn stopall_with_and_without_newline_stops_everything_and_ends_the_daemon() {
    for words in ["stopall", "stopall\n"] {
        let d = Daemon::start("g:a:run,:respawn:sh svc a\nh:b:run,:respawn:sh svc b\n");
        d.tell("g", "run");
        d.tell("h", "run");
        d.until_event("start a");
        d.until_event("start b");
        let mut talk = Talk::to(&d);
        talk.send(words);
        talk.close_side();
        assert_eq!(talk.rest(), "", "{words:?} is answered");
        assert_eq!(d.wait_exit(), 0);
        assert_eq!((d.count_events("term a"), d.count_events("term b")), (1, 1), "{words:?}");
        assert!(!d.socket().exists(), "it has left its socket behind");
        assert_eq!(d.descendants(), []);
    }
}

#[test]
fn zero_zero_reads_the_table_again_and_starts_what_is_missing() {
    let table = "g:a:run,:respawn:sh svc a\n";
    let d = Daemon::start(table);
    d.tell("g", "run");
    d.until_event("start a");
    let a = d.pid_of("a");
    d.write_table(format!("{table}g:b:run,:respawn:sh svc b\n"));
    let mut talk = Talk::to(&d);
    talk.send("0 0\n");
    assert_eq!(talk.rest(), "");
    d.until_event("start b");
    assert_eq!(d.entry("a").pid, a);
}

#[test]
fn a_level_that_the_table_does_not_have_is_taken_in_the_classic_form_only() {
    let d = Daemon::start("web:a:run,:respawn:sh svc a\nweb:b:run,other:respawn:sh svc b\n");
    d.tell("web", "run");
    d.until_event("start a");
    d.until_event("start b");
    let refused = d.last_line(":tell web rum wait");
    starts_with(&refused, "err 3 ");
    assert!(refused.contains("rum") && refused.contains("did you mean run?"), "{refused}");
    assert_eq!(d.group("web").level, "run");

    classic(&d, "web rum\n");
    d.until("the level is taken", |d| d.group("web").level == "rum" && d.group("web").state == "run");
    assert_eq!((d.count_events("term a"), d.count_events("term b")), (1, 1));
}

#[test]
fn why_nothing_came_of_a_classic_line_stands_among_the_daemons_messages() {
    let table = "web:a:run,:respawn:sh svc a\n";
    let d = Daemon::start(table);
    classic(&d, "wbe run\n");
    d.until("it is said that there is no such group", |d| {
        d.stderr().contains("wbe run was not taken: the table has no group wbe")
    });
    d.write_table(format!("{table}web:b:run,:respawm:sh svc b\n"));
    classic(&d, "web run\n");
    d.until("it is said what is wrong with the table", |d| {
        d.stderr().contains("respawm") && d.stderr().contains("the one in force is kept")
    });
    assert_eq!(d.group("web").level, "-", "it was switched by a table that is wrong");
}

#[test]
fn a_perl_client_written_as_is_inits_is_works_unmodified() {
    let d = Daemon::start("foo:a:run,:respawn:sh svc a\nfoo:b:runmore,:respawn:sh svc b\n");
    // The constructor connects to see whether a daemon is there, and says nothing. Some versions end the line, some
    // do not.
    d.write(
        "client.pl",
        r#"use strict;
use warnings;
use IO::Socket;

sub connection {
    return IO::Socket::UNIX->new(Peer => $ENV{SOCKET}, Type => SOCK_STREAM);
}

connection() or die "nobody is there: $!";
my $daemon = connection() or die $!;
print $daemon join(" ", @ARGV), $ENV{END};
close($daemon) or die $!;
"#,
    );
    let client = |end: &str, args: &[&str]| {
        let mut perl = Command::new("perl");
        perl.arg("client.pl").args(args).current_dir(d.dir()).env("SOCKET", d.socket()).env("END", end);
        let output = common::run(&mut perl);
        assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    };
    client("\n", &["foo", "run"]);
    d.until_event("start a");
    client("", &["foo", "runmore"]);
    d.until_event("start b");
    d.until_event("term a");
    client("", &["stopall"]);
    assert_eq!(d.wait_exit(), 0);
    assert_eq!(d.count_events("term b"), 1);
}

// ---- the extended form ----

#[test]
fn ping_tells_who_is_there() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    assert_eq!(d.ask(":ping"), [format!("ok isinit {} {}", env!("CARGO_PKG_VERSION"), d.pid())]);
}

#[test]
fn a_tell_is_accepted_at_once_and_with_wait_answered_when_the_switch_has_ended() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(gated("w", "wait"));
    assert_eq!(d.ask(":tell g run"), ["ok accepted"]);
    let mut waiting = Talk::to(&d);
    waiting.send(":tell g run wait\n");
    assert_eq!(d.group("g").state, "start", "it was answered before the wait has ended");
    gate.pass(0);
    assert_eq!(waiting.answer(), ["ok run"]);
    assert_eq!(d.ask(":tell g 0 wait"), ["ok stopped"]);
}

#[test]
fn a_tell_that_is_overtaken_ends_with_7_and_one_whose_test_fails_with_1() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(format!("{}g:b:other,:respawn:sh svc b\n", gated("check", "test")));
    let (mut first, mut second) = (Talk::to(&d), Talk::to(&d));
    first.send(":tell g run wait\n");
    d.until("the switch is under way", |d| d.group("g").state == "start");
    second.send(":tell g other wait\n");
    starts_with(&first.answer()[0], "err 7 ");
    assert_eq!(second.answer(), ["ok run"]);

    first.send(":tell g run wait\n");
    d.until_state("check", "up");
    gate.pass(3);
    let failed = first.answer();
    assert_eq!(failed.len(), 1);
    starts_with(&failed[0], "err 1 ");
    assert!(failed[0].contains("check exited with status 3"), "{failed:?}");
    assert_eq!(d.group("g").state, "fail");
}

#[test]
fn revert_goes_back_to_the_level_before_and_force_takes_any_level() {
    let d = Daemon::start("g:a:one,:respawn:sh svc a\ng:t:two,:test:false\n");
    assert_eq!(d.ask(":tell g one wait revert"), ["ok run"]);
    d.until_event("start a");
    let answer = d.last_line(":tell g two wait revert");
    starts_with(&answer, "err 1 ");
    assert!(answer.contains("went back to level one"), "{answer}");
    assert_eq!(d.group("g").level, "one");
    assert_eq!(d.ask(":tell g three wait force"), ["ok run"]);
    assert_eq!(d.group("g").level, "three");
    starts_with(&d.last_line(":tell h three wait force"), "err 3 the table has no group h");
}

#[test]
fn progress_names_each_entry_that_is_waited_for_and_why() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    stage.write("stubborn", STUBBORN);
    let d = stage.start(format!(
        "g:old:old,:respawn,stop-timeout=1000:sh stubborn old\n{}{}\
         g:r:run,:respawn,ready=3:read x < go; echo >&3; exec sleep 1000\n",
        gated("w", "wait"),
        gated("t", "test")
    ));
    assert_eq!(d.tell("g", "old"), "ok run");
    d.until_event("start old");
    let mut talk = Talk::to(&d);
    talk.send(":tell g run wait progress\n");
    // An entry is told of again when its state changes.
    let mut before = "none".to_owned();
    for (tag, why) in [("old", "stop"), ("w", "wait"), ("t", "test"), ("r", "ready")] {
        let line = loop {
            let line = talk.line();
            if !line.starts_with(&before) {
                break line;
            }
        };
        before = format!("waiting g {tag} why={why} age_ms=");
        starts_with(&line, &before);
        let pid = d.entry(tag).pid;
        assert!(pid != 0 && line.ends_with(&format!(" pid={pid}")), "{line}");
        gate.pass(0);
    }
    assert_eq!(talk.answer().last().unwrap(), "ok run");
}

#[test]
fn a_name_that_the_table_does_not_have_is_refused_with_3_and_a_bad_table_with_4() {
    let table = "webserver:a:run,:respawn:sh svc a\n";
    let d = Daemon::start(table);
    for request in [":tell websrver run", ":plan websrver run", ":status websrver"] {
        let answer = d.ask(request);
        assert_eq!(answer, ["err 3 the table has no group websrver; did you mean webserver?"], "{request}");
    }
    for request in [":tell webserver rum", ":plan webserver rum"] {
        let expected = "err 3 no entry of group webserver has level rum; did you mean run?";
        assert_eq!(d.ask(request), [expected], "{request}");
    }
    for request in [":start b", ":stop b", ":restart b", ":signal TERM b"] {
        assert_eq!(d.ask(request), ["err 3 the table has no entry b"], "{request}");
    }
    d.write_table(format!("{table}webserver:b:run,:respawm:sh svc b\n"));
    for request in [":tell webserver run wait", ":plan webserver run", ":reread"] {
        let mut answer = d.ask(request);
        starts_with(&answer.pop().unwrap(), "err 4 ");
        assert!(answer.iter().all(|line| line.starts_with("say ")), "{request}: {answer:?}");
        assert!(answer.iter().any(|line| line.contains(":2:18:")), "{request}: {answer:?}");
    }
    assert_eq!(d.group("webserver").level, "-");
    assert!(d.ask(":status")[0].contains(" table_ok=0 "), "{:?}", d.ask(":status"));
    d.write_table(table);
    assert_eq!(d.ask(":reread"), ["ok read"]);
    assert!(d.ask(":status")[0].contains(" table_ok=1 "), "{:?}", d.ask(":status"));
}

#[test]
fn the_status_has_the_daemon_then_each_group_and_its_entries_in_the_tables_order() {
    let d = Daemon::start(
        "web:www:run,:respawn:sh svc www\ndb:sql:run,:respawn:sh svc sql\nweb:prep:run,:wait:true\nweb:off:run,:off:true\n",
    );
    assert_eq!(d.tell("web", "run"), "ok run");
    let (www, status) = (d.pid_of("www"), d.ask(":status"));
    let fields = |line: &str| -> Vec<String> {
        line.split(' ').map(|word| word.split('=').next().unwrap().to_owned()).collect()
    };
    let first: Vec<&str> = status[0].split(' ').collect();
    assert_eq!(
        fields(&status[0]),
        ["daemon", "pid", "version", "table", "digest", "entries", "groups", "age_ms", "table_ok", "cgroup"]
    );
    assert_eq!(first[1], format!("pid={}", d.pid()));
    assert_eq!(first[3], format!("table={}", d.table().display()));
    assert_eq!((first[5], first[6]), ("entries=4", "groups=2"));
    assert_eq!(fields(&status[1]), ["group", "web", "state", "level", "prev", "age_ms", "entries", "up"]);
    let entry =
        ["entry", "web", "www", "action", "state", "pid", "age_ms", "restarts", "last", "due_ms", "flags"];
    assert_eq!(fields(&status[2]), entry);
    let head = |line: &String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let heads: Vec<String> = status[1..].iter().map(head).collect();
    assert_eq!(
        heads,
        [
            "group web state=run",
            "entry web www",
            "entry web prep",
            "entry web off",
            "group db state=stopped",
            "entry db sql",
            "ok"
        ]
    );
    assert_eq!(d.entry("www").pid, www);
    let of_one = d.ask(":status db");
    assert_eq!(of_one[1..].iter().map(head).collect::<Vec<_>>(), heads[4..]);
}

#[test]
fn a_plan_tells_what_a_tell_would_do_in_its_order_and_does_nothing() {
    let d = Daemon::start(
        "g:a:one,:respawn:sh svc a\ng:both:one,two:respawn:sh svc both\ng:b:one,:respawn:sh svc b\n\
         g:c:two,:wait:true\ng:d:two,:respawn:sh svc d\n",
    );
    d.tell("g", "one");
    let [a, both, b] = ["a", "both", "b"].map(|tag| d.pid_of(tag));
    let plan = d.ask(":plan g two");
    let expected = [
        format!("stop b pid={b}"),
        format!("stop a pid={a}"),
        format!("keep both pid={both}"),
        "start c".to_owned(),
        "start d".to_owned(),
        "ok".to_owned(),
    ];
    assert_eq!(plan, expected);
    assert_eq!((d.group("g").level.as_str(), d.pid_of("a"), d.pid_of("b")), ("one", a, b));
    assert_eq!(d.entry("d").state, "down");
}

#[test]
fn one_entry_is_stopped_started_and_restarted_by_name() {
    let d =
        Daemon::start("g:a:run,:respawn:sh svc a\ng:b:run,:respawn:sh svc b\ng:far:other,:respawn:true\n");
    d.tell("g", "run");
    d.until_event("start a");
    let b = d.pid_of("b");
    assert_eq!(d.ask(":stop a wait"), ["ok"]);
    assert_eq!((d.entry("a").state.as_str(), d.entry("a").is("manual")), ("down", true));
    assert_eq!(d.count_events("term a"), 1);
    assert_eq!(d.ask(":start a wait"), ["ok"]);
    let a = d.entry("a");
    assert!(a.state == "up" && !a.is("manual"), "{a:?}");
    d.until("a has its trap", |d| d.count_events("start a") == 2);
    assert_eq!(d.ask(":restart a wait"), ["ok"]);
    assert_ne!(d.pid_of("a"), a.pid);
    assert_eq!(d.count_events("term a"), 2);
    assert_eq!(d.entry("b").pid, b);
    d.until("a has its trap", |d| d.count_events("start a") == 3);
    for (request, state) in [(":stop a", "down"), (":start a", "up"), (":restart a", "up")] {
        assert_eq!(d.ask(request), ["ok"], "{request}");
        d.until_state("a", state);
    }
    starts_with(&d.last_line(":start far"), "err 3 far has no place in the level");
}

#[test]
fn a_signal_goes_to_the_process_of_an_entry_by_name_or_number() {
    let stage = Stage::new();
    stage.write(
        "told",
        "trap '' USR1; sleep 100000 & trap 'echo got >> events' USR1\necho start told >> events\nwhile :; do wait; done\n",
    );
    let d = stage.start("g:a:run,:respawn:sh told\ng:b:other,:respawn:sh told\n");
    d.tell("g", "run");
    d.until_event("start told");
    for (count, name) in ["USR1", "SIGUSR1", "10"].into_iter().enumerate() {
        assert_eq!(d.ask(format!(":signal {name} a")), ["ok"], "{name}");
        d.until(&format!("{name} has come"), |d| d.count_events("got") == count + 1);
    }
    assert_eq!(d.ask(":signal USR1 b"), ["err 1 b does not run"]);
    assert_eq!(d.ask(":signal USR0 a"), ["err 2 no signal is called USR0"]);
}

#[test]
fn stopall_is_answered_at_once_and_with_wait_when_all_is_down() {
    for (request, answer) in [(":stopall\n", "ok\n"), (":stopall wait\n", "ok stopped\n")] {
        let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
        d.tell("g", "run");
        d.until_event("start a");
        let a = d.pid_of("a");
        let mut talk = Talk::to(&d);
        talk.send(request);
        assert_eq!(talk.rest(), answer);
        assert!(!alive(a), "{request:?}: the daemon has gone before what it had started");
        assert_eq!(d.wait_exit(), 0);
    }
}

#[test]
fn a_malformed_request_is_answered_with_2_and_what_would_be_right() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    let mut talk = Talk::to(&d);
    for name in
        ["ping", "tell", "status", "plan", "reread", "watch", "start", "stop", "restart", "signal", "stopall"]
    {
        let unknown = talk.ask(":nonsense");
        assert!(unknown[0].starts_with("err 2 ") && unknown[0].contains(&format!(" :{name}")), "{unknown:?}");
    }
    for request in [
        ":tell",
        ":tell g",
        ":tell g run wiat",
        ":plan g",
        ":status g h",
        ":ping x",
        ":reread x",
        ":watch x",
        ":start",
        ":stop a x",
        ":restart",
        ":signal a",
        ":stopall x",
        "lonely",
    ] {
        let answer = talk.ask(request);
        assert_eq!(answer.len(), 1, "{request}");
        starts_with(&answer[0], "err 2 ");
        assert!(answer[0].contains("isinit-protocol(7)"), "{request}: {answer:?}");
    }
    for request in ["", "  "] {
        starts_with(&talk.ask(request)[0], "err 2 an empty request; write GROUP LEVEL, or :status");
    }
    starts_with(&talk.ask(":tell g \u{0}\u{ff} wait")[0], "err 3 ");
    starts_with(&talk.ask(":ping")[0], "ok ");
    assert_eq!(d.group("g").level, "-");
}

#[test]
fn a_request_has_at_most_512_bytes_and_an_answer_ends_its_line_whatever_is_in_it() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    let mut talk = Talk::to(&d);
    let longest = format!(":tell {} run\n", "x".repeat(512 - ":tell  run\n".len()));
    talk.send(&longest);
    starts_with(&talk.line(), "err 3 the table has no group xxx");
    starts_with(&talk.ask(":ping")[0], "ok ");
    talk.send(format!("x{longest}"));
    assert_eq!(talk.rest(), "err 2 a request has at most 512 bytes\n");
}

#[test]
fn a_group_in_which_a_hundred_fail_is_answered_with_one_whole_line() {
    let entries: Vec<String> = (0..100).map(|n| format!("g:check-number-{n}:run,:test:false\n")).collect();
    let d = Daemon::start(entries.concat());
    let mut talk = Talk::to(&d);
    talk.send(":tell g run wait\n");
    starts_with(&talk.line(), "err 1 g failed at level run: check-number-0 exited with status 1, check");
    starts_with(&talk.ask(":ping")[0], "ok ");
}

#[test]
fn requests_that_come_in_one_piece_are_answered_one_after_the_other() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(format!("{}g:a:other,:respawn:sh svc a\n", gated("w", "wait")));
    let mut talk = Talk::to(&d);
    talk.send(":ping\n:tell g run wait\n:tell g other wait\n:status g\n:tell g 0 wait\n");
    starts_with(&talk.answer()[0], "ok isinit ");
    d.until_state("w", "up");
    assert_eq!(d.group("g").level, "run", "the second was carried out before the first was answered");
    gate.pass(0);
    assert_eq!(talk.answer(), ["ok run"]);
    assert_eq!(talk.answer(), ["ok run"]);
    let status = talk.answer();
    assert!(status.iter().any(|line| line.starts_with("group g state=run level=other ")), "{status:?}");
    assert_eq!(talk.answer(), ["ok stopped"]);

    talk.send(":ping\n".repeat(1000));
    for _ in 0..1000 {
        starts_with(&talk.answer()[0], "ok isinit ");
    }
}

/// As `echo :status | socat - UNIX-CONNECT:...` does, or any shell script.
#[test]
fn who_has_closed_his_side_gets_his_answers_all_the_same() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(gated("w", "wait"));
    let mut talk = Talk::to(&d);
    talk.send(":tell g run wait\n:status g\n:ping");
    talk.close_side();
    until_asleep(&d);
    assert_eq!(d.group("g").state, "start");
    gate.pass(0);
    assert_eq!(talk.answer(), ["ok run"]);
    assert_eq!(talk.answer().last().unwrap(), "ok");
    let ping = format!("ok isinit {} {}\n", env!("CARGO_PKG_VERSION"), d.pid());
    assert_eq!(talk.rest(), ping, "and then the daemon closes too");
}

#[test]
fn an_answer_that_is_longer_than_what_the_kernel_keeps_is_complete() {
    let d = Daemon::start(many_entries());
    let mut talk = Talk::to(&d);
    talk.send(":status\n:ping\n");
    talk.close_side();
    until_asleep(&d);
    let status = talk.answer();
    assert_eq!(status.len(), MANY + 3);
    assert_eq!(status.last().unwrap(), "ok");
    starts_with(&talk.rest(), "ok isinit ");
}

/// Entries whose status is more than a socket takes (net.core.wmem_default is 208 KiB).
const MANY: usize = 4_000;

fn many_entries() -> String {
    (0..MANY).map(|n| format!("g:entry-with-a-long-name-{n}:run,:once:true\n")).collect()
}

#[test]
fn a_person_with_socat_can_use_it() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(format!("{}h:a:run,:respawn:sh svc a\n", gated("w", "wait")));
    let piped =
        shell(&d, "printf ':ping\\n:tell h run wait\\n:status h\\n' | socat -t30 - UNIX-CONNECT:init.s");
    let lines: Vec<&str> = piped.stdout.lines().collect();
    starts_with(lines[0], "ok isinit ");
    assert_eq!(lines[1], "ok run");
    starts_with(lines[2], "daemon pid=");
    starts_with(lines[3], "group h state=run ");
    starts_with(lines[4], "entry h a ");
    assert_eq!((lines[5], lines.len(), piped.status), ("ok", 6, 0));

    let mut socat = Command::new("sh");
    socat.args(["-c", "echo ':tell g run wait' | exec socat -t30 - UNIX-CONNECT:init.s"]);
    let mut socat = Helper(socat.current_dir(d.dir()).stdout(Stdio::piped()).spawn().expect("sh"));
    d.until_state("w", "up");
    gate.pass(0);
    let mut said = String::new();
    socat.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "ok run\n", "the answer that came after socat had sent all");

    let mut socat = Command::new("socat");
    socat
        .args(["-", "UNIX-CONNECT:init.s"])
        .current_dir(d.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut person = Helper(socat.spawn().expect("socat"));
    let mut keys = person.0.stdin.take().unwrap();
    let mut screen = BufReader::new(person.0.stdout.take().unwrap());
    for (typed, last) in [(":plan h 0", "ok"), (":tell h 0 wait", "ok stopped"), (":tell", "err 2 ")] {
        writeln!(keys, "{typed}").unwrap();
        starts_with(common::answer(&mut screen).unwrap().last().unwrap(), last);
    }
}

// ---- watching ----

/// A line of `:watch` without its times and numbers.
fn change(line: &str) -> String {
    let field = |name: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{line}: {name}"))
    };
    starts_with(line, "change wall_ms=");
    format!("{}/{} {}", field("group="), field("tag="), field("what="))
}

#[test]
fn a_watcher_sees_each_change_as_it_happens_in_its_order() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\ng:b:run,:respawn:sh svc b\ng:t:run,:test:false\n");
    let mut watcher = Talk::to(&d);
    watcher.send(":watch\n");
    until_asleep(&d);
    let mut sees = |expected: &[&str]| -> Vec<String> {
        let lines: Vec<String> = expected.iter().map(|_| watcher.line()).collect();
        assert_eq!(lines.iter().map(|line| change(line)).collect::<Vec<_>>(), expected);
        lines
    };
    starts_with(&d.tell("g", "run"), "err 1 ");
    let lines = sees(&[
        "g/- switch",
        "g/a started",
        "g/b started",
        "g/t started",
        "g/t ended",
        "g/t failed",
        "g/- fail",
    ]);
    assert!(lines[1].ends_with(&format!(" pid={} last=none", d.pid_of("a"))), "{lines:?}");
    assert!(lines[4].ends_with(" last=exit:1"), "{lines:?}");
    assert!(lines[6].ends_with(" level=run state=fail"), "{lines:?}");
    d.until_event("start a");
    d.until_event("start b");
    d.ask(":stop b wait");
    sees(&["g/b stopping", "g/b ended", "g/b stopped"]);
    common::signal(d.pid_of("a"), Signal::KILL);
    let lines = sees(&["g/a ended", "g/a started"]);
    assert!(lines[0].ends_with(" last=signal:SIGKILL"), "{lines:?}");
    d.until("a has its trap", |d| d.count_events("start a") == 2);
    d.tell("g", "0");
    sees(&["g/- switch", "g/a stopping", "g/a ended", "g/a stopped", "g/- halted"]);

    let now = Duration::from_millis(lines[0].split(['=', ' ']).nth(2).unwrap().parse().unwrap());
    let epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now <= epoch && epoch - now < 2 * DEADLINE, "wall_ms is no time of day: {lines:?}");
}

#[test]
fn a_watcher_that_does_not_read_is_told_how_many_it_has_lost_and_delays_nobody() {
    const TELLS: usize = 3_000;
    let d = Daemon::start("g:a:one,two:off:true\n");
    let (mut sleepy, mut attentive) = (Talk::to(&d), Talk::to(&d));
    for watcher in [&mut sleepy, &mut attentive] {
        watcher.send(":watch\n");
    }
    until_asleep(&d);
    let mut teller = Talk::to(&d);
    let mut seen = Vec::new();
    for n in 0..TELLS {
        assert_eq!(teller.ask(&format!(":tell g {} wait force", ["one", "two"][n % 2])), ["ok run"]);
        while seen.last().is_none_or(|change| change != "g/- run") || seen.len() < 2 * (n + 1) {
            seen.push(change(&attentive.line()));
        }
    }
    assert_eq!(seen.len(), 2 * TELLS);
    let (mut at, mut lost) = (0, 0);
    while at < seen.len() {
        let line = sleepy.line();
        if let Some(number) = line.strip_prefix("lost ") {
            lost += number.parse::<usize>().unwrap();
            at += number.parse::<usize>().unwrap();
        } else {
            assert_eq!(change(&line), seen[at], "change {at}, {lost} lost before");
            at += 1;
        }
    }
    assert_eq!(at, seen.len(), "it is told of more than there was");
    assert!(lost > 0, "it was never too slow: this test is about nothing");
    d.tell("g", "0");
    assert_eq!(change(&sleepy.line()), "g/- switch", "what comes then it sees as it happens");
}

// ---- the status files ----

/// The rows of a status file, after its first and last line were looked at.
fn rows(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    let first = lines.first().and_then(|line| line.strip_prefix("!startid ")).map(str::to_owned);
    let last = lines.pop().and_then(|line| line.strip_prefix("!endid ")).map(str::to_owned);
    assert!(first.is_some() && first == last && text.ends_with('\n'), "half of a status file: {text}");
    lines.remove(0);
    lines
}

#[test]
fn the_status_file_is_is_inits_to_the_letter() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    stage.write("stubborn", STUBBORN);
    let d = start_with(
        stage,
        "initstat",
        &format!(
            "web:a:run,long-level-of-more-than-15:respawn:sleep 1000\n{}\
         slow:b:run,:respawn,stop-timeout=1000:sh stubborn slow\nbad:c:run,:test:false\nfresh:d:run,:respawn:sleep 1000\n\
         down:f:run,:respawn:sleep 1000\ngroup-of-more-than-15:e:run,:respawn:sleep 1000\n",
            gated("w", "wait"),
        ),
    );
    let stopped = |name: &str| format!("{name:<15} stopped                        ");
    let names = ["bad", "down", "fresh", "g", "group-of-more-than-15", "slow", "web"];
    assert_eq!(rows(&d.text("initstat")), names.map(stopped), "at the start, before anything is told");
    assert_eq!(fs::metadata(d.path("initstat")).unwrap().permissions().mode() & 0o7777, 0o644);

    d.tell("web", "long-level-of-more-than-15");
    d.tell("slow", "run");
    d.until_event("start slow");
    for tell in [":tell slow 0", ":tell bad run wait", ":tell down 0 wait", ":tell g run"] {
        d.ask(tell);
    }
    let expected = [
        "bad             fail            run            ",
        "down            stopped         0              ",
        "fresh           stopped                        ",
        "g               start           run            ",
        "group-of-more-than-15 stopped                        ",
        "slow            stopping        0              ",
        "web             run             long-level-of-more-than-15",
    ];
    d.until("it tells all that is on its way", |d| rows(&d.text("initstat")) == expected);
    let before = d.text("initstat");
    gate.pass(0);
    gate.pass(0);
    d.until("both have ended", |d| {
        let after = d.text("initstat");
        let rows = rows(&after);
        rows[3] == "g               run             run            "
            && rows[5] == "slow            stopped         0              "
    });
    let after = d.text("initstat");
    assert_ne!(before.lines().next(), after.lines().next(), "its id is the one before");
}

/// A daemon whose status file, of this setting, has the setting's name.
fn start_with(stage: Stage, setting: &str, table: &str) -> Daemon {
    let text = format!(":::{setting}:{}\n{table}", stage.path(setting).display());
    stage.start(text)
}

#[test]
fn a_group_that_a_re_read_brings_is_in_the_status_file_at_once() {
    let d = start_with(Stage::new(), "initstat", "web:a:run,:respawn:sleep 1000\n");
    d.write_table(d.text("isinittab") + "new:b:run,:respawn:sleep 1000\n");
    assert_eq!(d.ask(":reread"), ["ok read"]);
    let text = d.text("initstat");
    let names: Vec<&str> = rows(&text).iter().filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(names, ["new", "web"]);
}

#[test]
fn a_reader_of_the_status_file_never_sees_half_of_one() {
    const GROUPS: usize = 200;
    let table: String = (0..GROUPS).map(|n| format!("group-{n:03}:t{n}:one,two:off:true\n")).collect();
    let d = start_with(Stage::new(), "initstat", &table);
    let mut ids = BTreeSet::new();
    thread::scope(|scope| {
        let teller = scope.spawn(|| {
            let mut teller = Talk::to(&d);
            for n in 0..200 {
                let level = ["one", "two"][n % 2];
                assert_eq!(teller.ask(&format!(":tell group-{:03} {level} wait force", n % 7)), ["ok run"]);
            }
        });
        while !teller.is_finished() {
            let text = read_in_pieces(&d.path("initstat"));
            assert_eq!(rows(&text).len(), GROUPS);
            ids.insert(text.lines().next().unwrap().to_owned());
        }
    });
    assert!(ids.len() > 1, "it was not written while it was read: {ids:?}");
}

/// Slowly, so that a file that is written in place is seen to be.
fn read_in_pieces(path: &Path) -> String {
    let mut file = File::open(path).expect("the status file is always there");
    let mut text = Vec::new();
    let mut piece = [0; 512];
    loop {
        match file.read(&mut piece).unwrap() {
            0 => return String::from_utf8(text).unwrap(),
            count => text.extend_from_slice(&piece[..count]),
        }
        thread::yield_now();
    }
}

#[test]
fn the_other_status_file_has_cluster_inits_own_words() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    stage.write("stubborn", STUBBORN);
    let d = start_with(
        stage,
        "clstat",
        &format!(
            "a-web:www:run,:respawn:sleep 1000\na-web:prep:run,:wait:true\nb-checks:ok:run,:test:true\n\
         c-bad:no:run,:test:false\nd-fresh:never:run,:respawn:sleep 1000\n\
         e-leaving:slow:run,:respawn,stop-timeout=1000:sh stubborn one\n\
         f-halting:slow2:run,:respawn,stop-timeout=1000:sh stubborn two\n{}\
         h-loop:l:run,:respawn,limit=1/60/60:true\nz-down:z:run,:respawn:sleep 1000\n",
            gated("check", "test")
        ),
    );
    for group in ["a-web", "b-checks", "c-bad", "e-leaving", "f-halting", "h-loop", "z-down"] {
        d.tell(group, "run");
    }
    d.until_event("start one");
    d.until_event("start two");
    d.until_state("l", "held");
    for request in [":tell e-leaving other force", ":tell f-halting 0", ":tell z-down 0 wait", ":tell g run"]
    {
        d.ask(request);
    }
    d.until_state("check", "up");
    let expected = "\
        Cluster::Init::Group a-web run DONE\n\
        Cluster::Init::Process www run RUNNING\n\
        Cluster::Init::Process prep run DONE\n\
        Cluster::Init::Group b-checks run PASSED\n\
        Cluster::Init::Process ok run PASS\n\
        Cluster::Init::Group c-bad run FAILED\n\
        Cluster::Init::Process no run FAIL\n\
        Cluster::Init::Group d-fresh  CONFIGURED\n\
        Cluster::Init::Process never  CONFIGURED\n\
        Cluster::Init::Group e-leaving other STOPPING\n\
        Cluster::Init::Process slow other STOPPING\n\
        Cluster::Init::Group f-halting 0 HALTING\n\
        Cluster::Init::Process slow2 0 STOPPING\n\
        Cluster::Init::Group g run STARTING\n\
        Cluster::Init::Process check run TESTING\n\
        Cluster::Init::Group h-loop run DONE\n\
        Cluster::Init::Process l run PAUSING\n\
        Cluster::Init::Group z-down 0 CONFIGURED\n\
        Cluster::Init::Process z 0 CONFIGURED\n";
    // An answer may be there before it is written.
    let _ = common::look_until(|| (d.text("clstat") == expected).then_some(()));
    assert_eq!(d.text("clstat"), expected);
    for _ in 0..3 {
        gate.pass(0);
    }
    d.until("the test has passed", |d| d.text("clstat").contains("Process check run PASS\n"));
}

// ---- the socket's file ----

/// A daemon whose socket is in a directory below the test's own, which it makes itself. The harness finds it by a
/// link. `before` is a shell's command.
fn start_below(stage: Stage, directory: &str, before: &str, extra: &[&str], table: &str) -> Daemon {
    symlink(stage.path(directory).join("init.s"), stage.socket()).unwrap();
    let exec = format!("{before} exec \"$1\" -d -c \"$4\" -s \"${{6%/*}}/{directory}/init.s\"");
    let command = stage.command(&[extra, &["sh", "-c", &exec, "sh"]].concat());
    stage.start_by(table, command)
}

const ONE: &str = "g:a:run,:respawn:sh svc a\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_sockets_mode_is_0600_and_its_directories_are_made_with_0755_whatever_the_umask() {
    for umask in ["0", "022", "0777"] {
        let d = start_below(Stage::new(), "run/is", &format!("umask {umask};"), &[], ONE);
        assert_eq!(mode(&d.path("run/is/init.s")), 0o600, "umask {umask}");
        assert_eq!((mode(&d.path("run/is")), mode(&d.path("run"))), (0o755, 0o755), "umask {umask}");
        assert_eq!(d.stop(), 0);
        assert!(!d.path("run/is/init.s").exists());
    }
}

#[test]
fn the_socket_of_a_daemon_that_was_killed_is_replaced() {
    let d = Daemon::start(ONE);
    d.signal(Signal::KILL);
    d.wait_exit();
    assert!(d.socket().exists() && d.try_ask(":ping").is_err());
    let second = Helper(d.command(&[]).spawn().unwrap());
    let pid = format!(" {}", second.0.id());
    d.until("the second answers", |d| d.try_ask(":ping").is_ok_and(|answer| answer[0].ends_with(&pid)));
    assert_eq!(mode(&d.socket()), 0o600);
}

#[test]
fn the_socket_of_a_living_daemon_is_not_taken() {
    let d = Daemon::start(ONE);
    let inode = fs::metadata(d.socket()).unwrap().ino();
    let second = d.isinit(&["-d"]);
    assert_eq!(second.status, 1);
    assert_eq!(second.stderr, format!("isinit: another daemon answers at {}\n", d.socket().display()));
    assert_eq!(fs::metadata(d.socket()).unwrap().ino(), inode);
    starts_with(&d.last_line(":ping"), "ok ");
    assert!(!d.stderr().contains("made anew"), "{}", d.stderr());
}

#[test]
fn of_eight_daemons_that_start_at_once_one_gets_the_socket() {
    let stage = Stage::new();
    stage.write_table(ONE);
    // And a dead one's is in the way.
    drop(UnixListener::bind(stage.socket()).unwrap());
    let mut daemons: Vec<Helper> = (0..8).map(|_| Helper(stage.command(&[]).spawn().unwrap())).collect();
    let ended = |daemon: &mut Helper| daemon.0.try_wait().unwrap();
    let losers = common::look_until(|| {
        let losers: Vec<_> = daemons.iter_mut().filter_map(ended).collect();
        (losers.len() >= 7).then_some(losers)
    });
    let losers = losers.expect("seven end");
    assert!(losers.iter().all(|status| status.code() == Some(1)), "{losers:?}");
    let mut running = daemons.iter_mut().filter_map(|daemon| ended(daemon).is_none().then(|| daemon.0.id()));
    let winner = running.next().expect("one is left");
    let answer = common::look_until(|| {
        let mut stream = UnixStream::connect(stage.socket()).ok()?;
        stream.write_all(b":ping\n").ok()?;
        common::answer(&mut BufReader::new(stream)).ok()
    });
    assert!(answer.unwrap()[0].ends_with(&format!(" {winner}")));
}

#[test]
fn what_is_no_socket_is_left_alone_and_named() {
    let stage = Stage::new();
    stage.write_table(ONE);
    stage.write("init.s", "a letter");
    let output = common::run(&mut stage.command(&[]));
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains("init.s exists and is not a socket"), "{}", output.stderr);
    assert_eq!(stage.text("init.s"), "a letter");
}

#[test]
fn a_socket_that_is_removed_is_made_anew_however_often() {
    let d = Daemon::start(ONE);
    let mut kept = Talk::to(&d);
    for n in 0..100 {
        starts_with(&kept.ask(":ping")[0], "ok ");
        fs::remove_file(d.socket()).unwrap();
        d.until(&format!("it is there again, time {n}"), |d| d.socket().exists());
    }
    d.until("it answers", |d| d.try_ask(":ping").is_ok());
    assert!(fs::symlink_metadata(d.socket()).unwrap().file_type().is_socket());
    assert_eq!(mode(&d.socket()), 0o600);
    starts_with(&kept.ask(":ping")[0], "ok ");
    assert!(d.stderr().contains("the socket was gone, and is made anew"), "{}", d.stderr());
}

#[test]
fn a_socket_whose_directory_is_moved_away_is_made_anew_in_a_new_one() {
    let d = start_below(Stage::new(), "run/is", "", &[], ONE);
    fs::rename(d.path("run/is"), d.path("elsewhere")).unwrap();
    d.until("it answers at its old place", |d| d.try_ask(":ping").is_ok());
    assert_eq!(mode(&d.path("run/is")), 0o755);
    fs::rename(d.path("run/is"), d.path("elsewhere as well")).unwrap();
    d.until("and again", |d| d.try_ask(":ping").is_ok());
}

#[test]
fn sighup_makes_the_socket_anew_where_nothing_has_told_of_its_loss() {
    let d = start_below(Stage::new(), "run/is", "", &[], ONE);
    // One that is further up than what is watched.
    fs::rename(d.path("run"), d.path("elsewhere")).unwrap();
    d.signal(Signal::HUP);
    d.until("it answers at its old place", |d| d.try_ask(":ping").is_ok());
}

#[test]
fn a_socket_that_is_replaced_by_another_file_comes_back_when_that_has_gone() {
    let d = Daemon::start(ONE);
    d.write("letter", "a letter");
    fs::rename(d.path("letter"), d.socket()).unwrap();
    d.until("it says so", |d| d.stderr().contains("cannot be made anew"));
    assert_eq!(d.text("init.s"), "a letter");
    fs::remove_file(d.socket()).unwrap();
    d.until("it answers", |d| d.try_ask(":ping").is_ok());
}

// ---- clients that mean no good ----

/// Times are measured by one test at a time, so that no test disturbs another's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The others are answered: the median of 20 round trips, each by a new connection. It is the one time that is
/// asserted here, because it is promised.
fn assert_others_are_served(d: &Daemon) {
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let begin = Instant::now();
            starts_with(&d.last_line(":ping"), "ok isinit ");
            begin.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}

/// The memory that it has in use, in KiB.
fn memory(d: &Daemon) -> i64 {
    let line = status_line(d.pid(), "VmRSS").unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Waits until the daemon waits too: it has heard all that was sent before. One that runs in circles never does.
fn until_asleep(d: &Daemon) {
    d.until("the daemon sleeps", |d| process_state(d.pid()) == Some('S'));
}

/// A daemon, and the memory that it uses after it has been asked everything once.
fn served() -> (Daemon, i64) {
    let d = Daemon::start(many_entries());
    assert_eq!(d.last_line(":status"), "ok");
    assert_others_are_served(&d);
    let memory = memory(&d);
    (d, memory)
}

fn assert_memory(d: &Daemon, before: i64, more_kib: i64) {
    let grown = memory(d) - before;
    assert!(grown <= more_kib, "its memory has grown by {grown} KiB");
}

#[test]
fn clients_that_say_nothing_or_half_a_line_delay_nobody() {
    let _alone = alone();
    let (d, before) = served();
    let mut hostile: Vec<Talk> = (0..200).map(|_| Talk::to(&d)).collect();
    assert_others_are_served(&d);
    for (n, talk) in hostile.iter_mut().enumerate() {
        // Some of them have lost their place by now.
        let _ = talk.0.get_mut().write_all([&b":tell g ru"[..], b"stopal", b":"][n % 3]);
    }
    assert_others_are_served(&d);
    assert_memory(&d, before, 1024);
    drop(hostile);
    assert_others_are_served(&d);
    assert_eq!(d.group("g").level, "-");
}

#[test]
fn a_hundred_megabytes_without_a_newline_cost_no_memory_and_delay_nobody() {
    const TOTAL: usize = 100 * 1024 * 1024;
    let _alone = alone();
    let (d, before) = served();
    let chunk = vec![b'x'; 256 * 1024];
    let mut sent = 0;
    let mut measured = 0;
    while sent < TOTAL {
        let mut hostile = d.connect().unwrap();
        loop {
            match hostile.write(&chunk) {
                Ok(count) => sent += count,
                Err(error) if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) => {
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if sent >= (measured + 1) * TOTAL / 4 {
            measured += 1;
            assert_others_are_served(&d);
        }
    }
    assert_memory(&d, before, 1024);
    // And by one that is being answered meanwhile, or waits to be.
    for request in [":watch\n", ":status\n", ":ping\n"] {
        let mut hostile = d.connect().unwrap();
        hostile.write_all(request.as_bytes()).unwrap();
        hostile.set_nonblocking(true).unwrap();
        while hostile.write(&chunk).is_ok() {}
        assert_others_are_served(&d);
        until_asleep(&d);
        assert_memory(&d, before, 1024);
    }
}

#[test]
fn a_hundred_clients_that_never_read_their_answers_delay_nobody_and_cost_what_their_places_cost() {
    let _alone = alone();
    let (d, before) = served();
    let mut hostile: Vec<Talk> = (0..100).map(|_| Talk::to(&d)).collect();
    for (n, talk) in hostile.iter_mut().enumerate() {
        talk.send([":status\n", ":watch\n", ":status\n:status\n:status\n"][n % 3]);
    }
    assert_others_are_served(&d);
    // Each change is one more line for the watchers.
    let mut teller = Talk::to(&d);
    for n in 0..500 {
        assert_eq!(teller.ask(&format!(":tell g x{} wait force", n % 2)), ["ok run"]);
    }
    for talk in &mut hostile {
        talk.0.get_mut().set_nonblocking(true).unwrap();
        while talk.0.get_mut().write(b":ping\n:status\n").is_ok() {}
    }
    assert_others_are_served(&d);
    until_asleep(&d);
    // 128 places of 512 bytes for a request and 8 KiB for an answer, which are touched now for the first time.
    assert_memory(&d, before, 128 * 9);
    let before = memory(&d);
    drop(hostile);
    let more: Vec<Talk> = (0..100)
        .map(|_| {
            let mut talk = Talk::to(&d);
            talk.send(":status\n");
            talk
        })
        .collect();
    assert_others_are_served(&d);
    assert_memory(&d, before, 128 * 9);
    drop(more);
}

#[test]
fn a_thousand_clients_at_once_delay_nobody_and_who_waits_for_an_answer_keeps_his_place() {
    let _alone = alone();
    may_open(2_048);
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(gated("w", "wait"));
    assert_others_are_served(&d);
    let before = memory(&d);
    let mut waiting = Talk::to(&d);
    waiting.send(":tell g run wait\n");
    d.until("the switch is under way", |d| d.group("g").state == "start");
    let hostile: Vec<UnixStream> = (0..1_000).map(|_| d.connect().unwrap()).collect();
    assert_others_are_served(&d);
    let held = common::descriptors(d.pid()).len();
    assert!(held < 160, "it holds {held} descriptors");
    assert_memory(&d, before, 1024);
    gate.pass(0);
    assert_eq!(waiting.answer(), ["ok run"]);
    drop(hostile);
    assert_others_are_served(&d);
}

fn may_open(descriptors: u64) {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|maximum| maximum >= descriptors), "ulimit -Hn is {limit:?}");
    if limit.current.is_some_and(|current| current < descriptors) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), ..limit }).unwrap();
    }
}

#[test]
fn a_client_that_asks_faster_than_it_is_answered_has_not_the_daemon_to_itself() {
    let _alone = alone();
    let (d, before) = served();
    let over = AtomicBool::new(false);
    let stream = d.connect().unwrap();
    thread::scope(|scope| {
        let mut reader = &stream;
        scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        scope.spawn(|| {
            let chunk = b":ping\n".repeat(2_000);
            while !over.load(Ordering::Relaxed) {
                (&stream).write_all(&chunk).unwrap();
            }
            stream.shutdown(Shutdown::Both).unwrap();
        });
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_others_are_served(&d)));
        over.store(true, Ordering::Relaxed);
        served.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_memory(&d, before, 1024);
}

#[test]
fn a_client_that_goes_on_talking_while_it_waits_keeps_nobody_awake() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d =
        stage.start(["g", "h", "i"].map(|g| gated("w", "wait").replace("g:w", &format!("{g}:{g}"))).concat());
    let connected = |d: &Daemon| common::descriptors(d.pid()).values().filter(|path| is_socket(path)).count();
    // Its own two: where it listens, and where READY=1 comes to.
    d.until("nobody is connected", |d| connected(d) == 2);
    let mut hostile: Vec<[Talk; 2]> = Vec::new();
    for (group, more) in [("g", &b":ping\n".repeat(200)[..]), ("h", &[b'x'; 4_096]), ("i", b":pi")] {
        let mut pair = [Talk::to(&d), Talk::to(&d)];
        pair[0].send(":watch\n");
        pair[1].send(format!(":tell {group} run wait\n"));
        for talk in &mut pair {
            talk.send(more);
            talk.close_side();
        }
        hostile.push(pair);
    }
    until_asleep(&d);
    for _ in 0..3 {
        gate.pass(0);
    }
    for [_, waiting] in &mut hostile {
        assert_eq!(waiting.answer(), ["ok run"]);
    }
    until_asleep(&d);
    drop(hostile);
    d.until("nobody is connected", |d| connected(d) == 2);
    until_asleep(&d);
}

#[test]
fn who_is_silent_for_ten_seconds_is_closed_and_who_waits_or_watches_is_not() {
    let stage = Stage::new();
    let mut gate = Gate::new(&stage);
    let d = stage.start(gated("w", "wait"));
    let [mut waiting, mut watching, mut nothing, mut half] = [(); 4].map(|()| Talk::to(&d));
    waiting.send(":tell g run wait\n");
    watching.send(":watch\n");
    half.send(":tell g oth");
    assert_eq!((nothing.rest(), half.rest()), (String::new(), String::new()));
    assert_eq!(d.group("g").state, "start", "half a line was carried out");
    gate.pass(0);
    assert_eq!(waiting.answer(), ["ok run"]);
    while change(&watching.line()) != "g/- run" {}
}

// ---- what only root can try ----

/// `make test` leaves these out for others, and says so.
mod as_root {
    use super::*;

    const NOBODY: u32 = 65_534;

    fn by(uid: u32, mut command: Command) -> Output {
        common::run(command.uid(uid).gid(uid))
    }

    /// Sends a request and prints what is answered. The connection may be closed before all is sent.
    fn raw(d: &Daemon, request: &str) -> Command {
        let words = "use IO::Socket; $SIG{PIPE} = 'IGNORE'; my $d = IO::Socket::UNIX->new(Peer => 'init.s') or die $!; \
                     $d->autoflush; print $d \"$ARGV[0]\\n\"; print while <$d>";
        let mut command = Command::new("perl");
        command.args(["-e", words, request]).current_dir(d.dir());
        command
    }

    #[test]
    fn another_user_is_refused_with_6_whatever_the_files_mode() {
        let d = Daemon::start(ONE);
        let status = |d: &Daemon| by(NOBODY, d.client(&["status"]));
        let refused = status(&d);
        assert_eq!(refused.status, 6, "by the mode of the file: {refused:?}");
        common::open_to_all(&d.socket());
        // The daemon may have closed the connection before the client has sent its request, and after.
        for _ in 0..50 {
            let refused = status(&d);
            assert_eq!((refused.status, refused.stdout.as_str()), (6, ""), "{}", refused.stderr);
            assert!(refused.stderr.contains("only root and the daemon's own user"), "{}", refused.stderr);
        }
        for request in ["g run", ":tell g run", "stopall", ":watch"] {
            let output = by(NOBODY, raw(&d, request));
            assert_eq!(output.stdout, "err 6 only root and the daemon's own user may ask it\n", "{request}");
        }
        assert_eq!(d.group("g").level, "-");
        assert_eq!(d.isinit(&["status"]).status, 0, "root is served");
    }

    #[test]
    fn root_and_the_daemons_own_user_are_served() {
        const USER: u32 = 45_678;
        let stage = Stage::new();
        std::os::unix::fs::chown(stage.dir(), Some(USER), Some(USER)).unwrap();
        common::open_to_all(&stage.path("events"));
        let mut command = stage.command(&[]);
        command.uid(USER).gid(USER);
        let d = stage.start_by(ONE, command);
        common::open_to_all(&d.socket());
        assert_eq!(by(USER, d.client(&["tell", "--wait", "g", "run"])).status, 0);
        d.until_event("start a");
        assert_eq!(d.isinit(&["status"]).status, 0, "root");
        assert_eq!(by(USER + 1, d.client(&["status"])).status, 6);
    }

    #[test]
    fn those_who_are_refused_take_nobodys_place() {
        let d = Daemon::start(ONE);
        common::open_to_all(&d.socket());
        let mut silent = Talk::to(&d);
        let mut perl = Command::new("perl");
        let words = "use IO::Socket; push @all, IO::Socket::UNIX->new(Peer => 'init.s') or die for 1 .. 500";
        perl.args(["-e", words]).current_dir(d.dir());
        let output = by(NOBODY, perl);
        assert_eq!((output.status, output.stderr.as_str()), (0, ""));
        starts_with(&silent.ask(":ping")[0], "ok ");
    }

    /// A path as the daemon sees it, in its own mount namespace.
    fn seen_by(d: &Daemon, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", d.pid(), path.display()))
    }

    fn ask_at(path: &Path, request: &str) -> Option<Vec<String>> {
        let mut stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).ok()?;
        common::answer(&mut BufReader::new(stream)).ok().filter(|lines| !lines.is_empty())
    }

    #[test]
    fn a_socket_whose_directory_is_mounted_over_is_made_anew_there_and_sighup_gets_there_too() {
        let d = start_below(Stage::new(), "run/is", "", &["unshare", "-m"], ONE);
        d.tell("g", "run");
        d.until_event("start a");
        let a = d.pid_of("a");
        let socket = seen_by(&d, &d.path("run/is/init.s"));
        let inode = || fs::metadata(&socket).map(|meta| (meta.dev(), meta.ino())).ok();
        let first = inode();
        let nsenter = |args: &[&str]| {
            let pid = d.pid().to_string();
            let output = common::run(Command::new("nsenter").args([&["-m", "-t", &pid], args].concat()));
            assert_eq!(output.status, 0, "{output:?}");
        };
        let run = d.path("run");
        let run = run.to_str().unwrap();
        // Over its directory's parent: the directory itself is made anew too.
        nsenter(&["mount", "-t", "tmpfs", "none", run]);
        d.until("it answers there", |_| inode() != first && ask_at(&socket, ":ping\n").is_some());
        assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o755));
        let status = ask_at(&socket, ":status\n").unwrap().join("\n");
        assert!(status.contains(&format!("pid={a} ")), "{status}");

        d.write_table(format!("{ONE}g:b:run,:respawn:sh svc b\n"));
        d.signal(Signal::HUP);
        d.until_event("start b");

        nsenter(&["umount", "-l", run]);
        d.until("it answers at its old place", |_| ask_at(&socket, ":ping\n").is_some());
        starts_with(&d.last_line(":ping"), "ok ");
    }

    #[test]
    fn a_full_disk_under_the_status_file_is_said_once_and_the_file_comes_back_with_the_room() {
        let stage = Stage::new();
        let words = "mkdir small && mount -t tmpfs -o size=16k none small && exec \"$@\"";
        let command = stage.command(&["unshare", "-m", "sh", "-c", words, "sh"]);
        let small = stage.path("small");
        let table = format!(":::initstat:{}\n{ONE}", small.join("initstat").display());
        let d = stage.start_by(table, command);
        let file = seen_by(&d, &small.join("initstat"));
        let filler = seen_by(&d, &small.join("filler"));
        let levels = || {
            let text = fs::read_to_string(&file).unwrap();
            rows(&text).iter().map(|row| row[32..].trim().to_owned()).collect::<Vec<String>>()
        };
        let said = || d.stderr().matches("cannot write the status file").count();
        assert_eq!(levels(), [""]);
        for outage in 1..3 {
            let full = File::create(&filler).unwrap().write_all(&[b'x'; 100_000]).unwrap_err();
            assert_eq!(full.kind(), ErrorKind::StorageFull);
            let before = levels();
            for level in ["run", "other", "run", "other"] {
                assert_eq!(d.last_line(format!(":tell g {level} wait force")), "ok run");
            }
            assert_eq!(said(), outage, "{}", d.stderr());
            assert!(d.stderr().contains("No space left on device"), "{}", d.stderr());
            assert_eq!(levels(), before, "the old one is kept, whole");
            fs::remove_file(&filler).unwrap();
            assert_eq!(d.tell("g", "run"), "ok run");
            assert_eq!(levels(), ["run"]);
        }
        assert_eq!(said(), 2, "{}", d.stderr());
    }
}
