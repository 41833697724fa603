//! Every system call of the daemon is made to fail, with each errno that its page lists: it ends in the right state or
//! says why not, it never hangs, and it never loses a child.
//!
//! `make faults` plays the scenario for every pair of a call and an errno, some thousand times; `make test` for a
//! sample of them. strace(1) does the injecting.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod child;
mod scenario;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use calls::{CALLS, CHILD_CALLS, errnos};
use scenario::{Case, Fault, Verdict, What, play, play_and_look};

/// Runs at one time for each processor: a run is waiting for most of its time.
const RUNS_PER_PROCESSOR: usize = 2;

/// Single failures of one pair: the first, the last, and others between them.
const SINGLES: usize = 3;

/// Of the first errno of each call, and of crashes, every single one is tried, up to so many.
const SINGLES_MAX: usize = 60;

/// `make test` plays one case of so many: a prime, so that it meets all calls, first and last failures alike.
const SAMPLE_ONE_OF: usize = 67;

#[test]
fn some_pairs_and_some_crashes() {
    let counts = Counts::new();
    let (pairs, crashes) = (pairs(&counts).1, crashes(&counts));
    play_all(pairs.into_iter().chain(crashes).step_by(SAMPLE_ONE_OF).collect());
}

#[test]
#[ignore = "for minutes: `make faults`"]
fn every_pair() {
    let (pairs, cases) = pairs(&Counts::new());
    println!("{pairs} pairs of a call and an errno: {}", play_all(cases));
}

#[test]
#[ignore = "for minutes: `make faults`"]
fn a_crash_at_every_call() {
    println!("crashes: {}", play_all(crashes(&Counts::new())));
}

#[test]
fn the_first_errno_of_each_call_of_a_child() {
    play_children(1);
}

#[test]
#[ignore = "for minutes: `make faults`"]
fn every_pair_of_a_child() {
    println!("{} pairs of a child's call and an errno", play_children(usize::MAX));
}

/// Plays so many errnos of each call of a child at most. How many pairs that are.
fn play_children(most: usize) -> usize {
    let rows = CHILD_CALLS.iter().filter(|row| !row.root_only || common::is_root());
    let pairs: Vec<_> =
        rows.flat_map(|row| errnos(&row.call).take(most).map(move |errno| (row, errno))).collect();
    let bad: Vec<String> = pairs.iter().filter_map(|(row, errno)| child::play(row, errno).err()).collect();
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), pairs.len(), bad.join("\n"));
    pairs.len()
}

/// How many pairs of a call and an errno there are, and the cases that try them.
fn pairs(counts: &Counts) -> (usize, Vec<Case>) {
    let (mut pairs, mut cases) = (0, Vec::new());
    for row in CALLS {
        for (number, errno) in errnos(row).enumerate() {
            pairs += 1;
            let most = if number == 0 { SINGLES_MAX } else { SINGLES };
            for (bare, count) in counts.of(row.0) {
                let whens = whens(row.0, errno, count, most);
                let case =
                    |when| Case { fault: Some(Fault { call: row.0, what: What::Errno(errno), when }), bare };
                cases.extend(whens.into_iter().map(case));
            }
        }
    }
    (pairs, cases)
}

/// One crash in each run, at each call.
fn crashes(counts: &Counts) -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, _) in CALLS {
        for (bare, count) in counts.of(call) {
            let case = |when: usize| {
                let fault = Fault { call, what: What::Crash, when: when.to_string() };
                Case { fault: Some(fault), bare }
            };
            cases.extend(singles(count.all, SINGLES_MAX).map(case));
        }
    }
    cases
}

/// When a call is to fail: from its first on, from the first one after the start on, and some of them alone.
fn whens(call: &str, errno: &str, count: &Count, most: usize) -> Vec<String> {
    let mut whens: Vec<String> = singles(count.all, most).map(|number| number.to_string()).collect();
    if is_lasting(call, errno) {
        whens.push("1+".into());
        if count.before > 0 && count.before < count.all {
            whens.push(format!("{}+", count.before + 1));
        }
    }
    whens
}

/// Numbers from the first to the last, `most` of them or all, evenly.
fn singles(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let steps = count.min(most);
    (0..steps).map(move |step| if steps < 2 { 1 } else { 1 + step * (count - 1) / (steps - 1) })
}

/// Can the kernel give this answer again and again? One that means "once more" it cannot, when nothing has happened
/// or something is there; who believes it asks for ever, as he should.
fn is_lasting(call: &str, errno: &str) -> bool {
    let waits = ["accept4", "read", "recvfrom", "recvmsg", "sendto", "write", "pwritev2"].contains(&call);
    let takes_one = call == "accept4" && errno == "ECONNABORTED";
    errno != "EINTR" && !takes_one && !(errno == "EAGAIN" && waits)
}

/// How often a call is made in the scenario, and how often before the first client is there.
#[derive(Debug, Default)]
struct Count {
    before: usize,
    all: usize,
}

/// The counts of all calls: with cgroups, and in the bare scenario.
struct Counts([BTreeMap<String, Count>; 2]);

impl Counts {
    fn new() -> Counts {
        Counts([count_calls(false), count_calls(true)])
    }

    /// Where the call is made: in the bare scenario, and how often.
    fn of<'c>(&'c self, call: &'c str) -> impl Iterator<Item = (bool, &'c Count)> {
        [false, true]
            .into_iter()
            .zip(&self.0)
            .filter_map(move |(bare, counts)| Some((bare, counts.get(call)?)))
    }
}

/// Plays the scenario without a fault. Each call that is made has to have its row.
fn count_calls(bare: bool) -> BTreeMap<String, Count> {
    let case = Case { fault: None, bare };
    let played = play_and_look(&case, |stage| stage.text("trace"));
    let (verdict, trace) = played.unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(verdict, Verdict::Right);
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut begun = false;
    for name in trace.lines().filter_map(|line| Some(line.split_once('(')?.0)).skip(1) {
        begun |= name == "accept4";
        let count = counts.entry(name.to_owned()).or_default();
        count.all += 1;
        count.before += usize::from(!begun);
    }
    let unknown: Vec<&String> = counts.keys().filter(|name| CALLS.iter().all(|row| row.0 != *name)).collect();
    assert!(unknown.is_empty(), "calls without a row in tests/faults/calls.rs: {unknown:?}");
    counts
}

/// Plays them all, several at one time, and says how they went.
fn play_all(mut cases: Vec<Case>) -> String {
    // To look at one again.
    if let Ok(only) = std::env::var("ONLY") {
        cases.retain(|case| format!("{case:?}").contains(&only));
    }
    let begun = Instant::now();
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let explained = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match play(case) {
                Ok(Verdict::Right) => {}
                Ok(Verdict::Explained) => {
                    explained.fetch_add(1, Ordering::Relaxed);
                }
                Err(report) => {
                    println!("{report}");
                    bad.lock().unwrap().push(format!("{case:?}"));
                }
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors * RUNS_PER_PROCESSOR {
            scope.spawn(work);
        }
    });
    let bad = bad.into_inner().unwrap();
    assert!(bad.is_empty(), "{} of {} runs:\n{}", bad.len(), cases.len(), bad.join("\n"));
    let (seconds, explained) = (begun.elapsed().as_secs(), explained.into_inner());
    format!("{} runs in {seconds} s; {explained} were not as ever, and said why", cases.len())
}
