//! What is not done: allocating after a table is loaded, or for each of its entries; waking up when nothing happens.
//!
//! The allocations of the daemon itself are counted, so it runs inside of this test's program: executed once more, as the
//! helper at the end of this file, with an allocator that counts. What it has counted it tells by a socket of
//! its own, from another thread, whose allocations do not count.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use common::{Daemon, Stage, status_line};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTS.get() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all that it does itself is to count; the rest is the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: our caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Spawn-exit-respawn rounds.
const ROUNDS: u64 = 100_000;

/// Entries that end as soon as they have begun.
const LOOPS: u64 = 40;

#[test]
fn nothing_is_allocated_after_a_table_is_loaded() {
    let stage = Stage::new();
    let mut table = String::from(
        ":::prefix:tag\nload:a:one,two:respawn:sleep 100000\nload:b:two,three:respawn,log=c:echo hello; exec sleep 100000\n\
         load:c:two,three:respawn:exec cat >/dev/null\nload:t:one,two:test:true\nload:f:three,:test:false\n\
         load:w:two,:wait:echo one; printf two\nload:r:three,:respawn,ready=3:echo >&3; exec sleep 100000\n",
    );
    for n in 0..LOOPS {
        table.push_str(&format!("loop:l{n}:run,:respawn,limit=no:true\n"));
    }
    let mut command = Command::new("env");
    command.args(["--block-signal", "sh", "-c", "exec \"$0\" --exact --ignored helper_daemon --nocapture"]);
    command.arg(std::env::current_exe().unwrap());
    let command = like(&stage, command);
    let d = stage.start_by(table, command);

    // Once around, so that what is done the first time only is done.
    exercise(&d);
    d.tell("loop", "run");
    let before = counted(&d);
    assert!(before > 0, "the counter does not count: loading the table has allocated");
    let mut seen = 0;
    while seen < ROUNDS {
        exercise(&d);
        d.until("the rounds go on", |d| rounds(d) > seen);
        seen = rounds(&d);
    }
    let allocations = counted(&d) - before;
    assert_eq!(allocations, 0, "in {} rounds", rounds(&d));
    assert_eq!(d.tell("loop", "0"), "ok stopped");
    assert_eq!(counted(&d) - before, 0);
}

/// The daemon's working directory, output and environment, as the harness makes them.
fn like(stage: &Stage, mut command: Command) -> Command {
    let file = |name: &str| fs::File::create(stage.path(name)).unwrap();
    command.current_dir(stage.dir()).env_remove("ISINIT_SOCKET");
    command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
    command
}

/// Everything that a daemon is asked for in its daily life.
fn exercise(d: &Daemon) {
    let plan = d.ask(":plan load two");
    assert_eq!(plan.last().map(String::as_str), Some("ok"));
    let timeline = d.ask(":timeline load");
    assert_eq!(timeline.last().map(String::as_str), Some("ok"));
    assert_eq!(d.tell("load", "one"), "ok run");
    assert_eq!(d.tell("load", "two"), "ok run");
    assert_eq!(d.tell("load", "two"), "ok run");
    assert!(d.tell("load", "three").starts_with("err 1 "));
    assert!(d.ask(":tell load no-such-level").last().unwrap().starts_with("err 3 "));
    assert!(d.last_line(":restart a wait").starts_with("err 3 "), "a is not in three");
    assert_eq!(d.last_line(":restart c wait"), "ok");
    assert_eq!(d.last_line(":stop b wait"), "ok");
    assert_eq!(d.last_line(":start b wait"), "ok");
    assert_eq!(d.tell("load", "0"), "ok stopped");
    assert!(d.ask(":status").len() > usize::try_from(LOOPS).unwrap());
    assert!(d.ask("nonsense").len() <= 1);
}

fn rounds(d: &Daemon) -> u64 {
    let lines = d.ask(":status loop");
    lines.iter().filter_map(|line| common::EntryStatus::parse(line)).map(|entry| entry.restarts).sum()
}

fn counted(d: &Daemon) -> u64 {
    let mut text = String::new();
    UnixStream::connect(d.path("count")).unwrap().read_to_string(&mut text).unwrap();
    text.parse().unwrap()
}

/// The daemon of the test above. Started with all signals blocked, because it is not this program's first thread
/// that the tests run in, and a signal that any thread takes is lost for the signalfd.
#[test]
#[ignore = "a helper, not a test"]
fn helper_daemon() {
    let listener = UnixListener::bind("count").unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = write!(stream, "{}", COUNT.load(Ordering::Relaxed));
        }
    });
    let args = ["-d", "-c", "isinittab", "-s", "init.s"].map(std::ffi::OsString::from);
    COUNTS.set(true);
    let status = isinit::cli::main("isinit", &args);
    COUNTS.set(false);
    std::process::exit(status);
}

/// Lists grow by doubling: ten times the entries are a few steps more for each, and nothing for an entry.
#[test]
fn reading_a_table_allocates_nothing_but_the_table() {
    let allocations = |entries: usize| {
        let line =
            |n: usize| format!("g{}:t{n}:run,x:respawn,nice=5,limit=5/10/60:/bin/program {n}\n", n % 20);
        let text: String = (0..entries).map(line).collect();
        let before = COUNT.load(Ordering::Relaxed);
        COUNTS.set(true);
        let loaded = isinit::isinittab::Table::parse("t", text.as_bytes());
        COUNTS.set(false);
        assert_eq!(loaded.unwrap_or_else(|report| panic!("{report}")).table.len(), entries);
        COUNT.load(Ordering::Relaxed) - before
    };
    let (few, many) = (allocations(1_000), allocations(10_000));
    assert!(few > 0 && many < few + 30, "{few} allocations for 1,000 entries, {many} for 10,000");
}

/// How long an idle daemon is looked at. The one figure here that is a time, because the promise is one.
const IDLE: Duration = Duration::from_secs(10);

#[test]
fn idle_with_a_thousand_entries_running_it_makes_no_system_call() {
    let entries: Vec<String> = (0..1_000).map(|n| format!("g:t{n}:run,:respawn:sleep 100000\n")).collect();
    let d = Daemon::start(entries.concat());
    assert_eq!(d.tell("g", "run"), "ok run");
    d.until("a thousand have become what they are", |d| {
        let is_sleep = |pid: &u32| status_line(*pid, "Name").as_deref() == Some("sleep");
        common::children(d.pid()).iter().filter(|pid| is_sleep(pid)).count() == 1_000
    });
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "trace", "-p", &d.pid().to_string()]).current_dir(d.dir());
    let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace");
    d.until("strace looks", |d| status_line(d.pid(), "TracerPid") == Some(strace.id().to_string()));
    let switches = |d: &Daemon| status_line(d.pid(), "voluntary_ctxt_switches").unwrap();
    thread::sleep(Duration::from_secs(1));
    let before = switches(&d);
    thread::sleep(IDLE);
    assert_eq!(switches(&d), before, "it has woken up");
    common::signal(strace.id(), rustix::process::Signal::INT);
    strace.wait().unwrap();
    let trace = d.text("trace");
    let calls: Vec<&str> = trace.lines().filter(|line| !line.contains("<detached ...>")).collect();
    assert_eq!(calls, [""; 0], "beside the one that it waits in");
    assert!(trace.contains("detached"), "strace has seen it wait: {trace}");
    // And it is not idle because it is dead.
    assert!(d.last_line(":ping").starts_with("ok isinit "));
}
