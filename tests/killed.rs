//! A daemon that was killed for good (SIGKILL): the next one finds what it has left.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use common::{Daemon, Gate, Output, Stage, alive, stat_fields};
use rustix::process::Signal;

fn state_file(d: &Stage) -> PathBuf {
    d.path("init.s.state")
}

/// Kills the daemon, and waits until it has gone.
fn kill(d: &Daemon) {
    d.signal(Signal::KILL);
    assert_eq!(d.wait_exit(), 128 + 9);
}

/// The first call after that, which starts the next daemon.
fn call(d: &Daemon, args: &[&str]) -> Output {
    let output = d.isinit(args);
    assert_eq!(output.status, 0, "{output:?}");
    output
}

/// The daemon that answers now.
fn successor(d: &Daemon) -> u32 {
    let line = d.ask(":status").swap_remove(0);
    line.split(' ').find_map(|field| field.strip_prefix("pid=")).unwrap().parse().unwrap()
}

fn identity(pid: u32) -> (u32, String) {
    (pid, stat_fields(pid).swap_remove(19))
}

/// Everything down, and the next daemon gone.
fn end(d: &Daemon) {
    assert_eq!(d.isinit(&["-k"]).status, 0);
    assert!(!state_file(d).exists(), "who ends in an orderly way leaves nothing behind");
}

#[test]
fn the_next_one_goes_on_with_every_process() {
    let d = Daemon::start(
        "g:a:1:respawn,delay=0:sh svc a\ng:b:1:respawn:sh svc b\ng:once:1:once:sh svc once\n\
         g:held:1:respawn,limit=2/60/60:false\nh:c:1:respawn:sh svc c\n",
    );
    assert_eq!((d.ask(":tell g 1").pop(), d.tell("h", "1")), (Some("ok accepted".into()), "ok run".into()));
    let tags = ["a", "b", "once", "c"];
    tags.iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    d.until_state("held", "held");
    let before = tags.map(|tag| identity(d.pid_of(tag)));
    assert_eq!(fs::metadata(state_file(&d)).unwrap().permissions().mode() & 0o777, 0o600);
    kill(&d);
    call(&d, &["h", "1"]);
    assert_eq!(tags.map(|tag| identity(d.pid_of(tag))), before);
    assert_eq!((d.count_events("start"), d.entry("held").state.as_str()), (4, "held"));
    assert_eq!((d.group("g").level.as_str(), d.group("h").level.as_str()), ("1", "1"));
    // Their end is seen, and they can be stopped.
    common::signal(before[0].0, Signal::KILL);
    d.until("a is started again", |d| d.count_events("start a") == 2);
    assert_eq!((d.entry("a").restarts, d.entry("a").last.as_str()), (1, "none"));
    call(&d, &["tell", "--wait", "g", "0"]);
    assert!(["a", "b", "once"].iter().all(|tag| d.count_events(&format!("term {tag}")) == 1));
    assert!(alive(before[3].0));
    end(&d);
    assert_eq!(d.count_events("term c"), 1);
}

#[test]
fn what_has_ended_meanwhile_is_started_once() {
    // Longer than a test may take: what `a` has left behind when it was killed is missed when it has gone.
    let d = Daemon::start("g:a:1:respawn,delay=0,stop-timeout=1000:sh svc a\ng:b:1:respawn:sh svc b\n");
    d.tell("g", "1");
    ["a", "b"].iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    let (a, b) = (d.pid_of("a"), d.pid_of("b"));
    kill(&d);
    common::signal(a, Signal::KILL);
    d.until("it has gone", |_| !alive(a));
    call(&d, &["g", "1"]);
    d.until("a is started again", |d| d.count_events("start a") == 2);
    assert_eq!((d.pid_of("b"), d.count_events("start b")), (b, 1));
    end(&d);
}

#[test]
fn a_stop_that_was_under_way_is_finished() {
    let stage = Stage::new();
    stage.write("slow", "trap '' TERM; echo start slow >> events; read x < go; echo end slow >> events\n");
    let mut gate = Gate::new(&stage);
    let d = stage
        .start("g:slow:1:respawn,stop-timeout=100:sh slow\ng:next:2:respawn:sh svc next\nh:h:1:once:true\n");
    d.tell("g", "1");
    d.until_event("start slow");
    d.ask(":tell g 2");
    d.until_state("slow", "stopping");
    kill(&d);
    call(&d, &["h", "1"]);
    assert_eq!((d.entry("slow").state.as_str(), d.count_events("start next")), ("stopping", 0));
    gate.pass(0);
    d.until_event("start next");
    end(&d);
}

#[test]
fn a_setting_has_it_stop_them_and_begin_anew() {
    let d = Daemon::start(":::survivors:stop\ng:a:1:respawn:sh svc a\nh:b:1:respawn:sh svc b\n");
    assert_eq!((d.tell("g", "1"), d.tell("h", "1")), ("ok run".into(), "ok run".into()));
    ["a", "b"].iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    let before = ["a", "b"].map(|tag| d.pid_of(tag));
    kill(&d);
    call(&d, &["tell", "--wait", "g", "1"]);
    d.until("a is started again", |d| d.count_events("start a") == 2);
    d.until_state("b", "down");
    assert!(!alive(before[1]));
    let events = d.lines("events");
    let at = |words: &str| events.iter().rposition(|line| line.starts_with(words)).unwrap();
    assert!(at("term a") < at("start a"), "never two of them: {events:?}");
    assert_eq!(d.count_events("start b"), 1);
    end(&d);
}

#[test]
fn what_was_started_in_the_last_moment_is_found_by_its_environment() {
    let d = Daemon::start("g:a:1:respawn:sh svc a\ng:b:1:respawn:sh svc b\nh:h:1:once:true\n");
    d.tell("g", "1");
    ["a", "b"].iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    assert_eq!(d.last_line(":stop b wait"), "ok");
    let earlier = fs::read(state_file(&d)).unwrap();
    assert_eq!(d.last_line(":start b wait"), "ok");
    d.until("b is started again", |d| d.count_events("start b") == 2);
    let b = d.pid_of("b");
    kill(&d);
    // As if the file had been copied before that start, and not after it.
    fs::write(state_file(&d), earlier).unwrap();
    call(&d, &["h", "1"]);
    assert_eq!((d.pid_of("b"), d.count_events("start b")), (b, 2));
    end(&d);
}

type Change = fn(&mut Vec<u8>);

/// Bytes that make no sense, the same each time.
fn scramble(bytes: &mut [u8]) {
    let noise = (0_u64..).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    bytes.iter_mut().zip(noise).for_each(|(to, from)| *to = from);
}

#[test]
fn what_others_say_is_not_believed() {
    let d = Daemon::start("g:a:1:respawn:sh svc a\n");
    d.tell("g", "1");
    d.until_event("start a");
    let a = d.pid_of("a");
    kill(&d);
    let good = fs::read(state_file(&d)).unwrap();
    let attempts: [(&str, Change); 4] = [
        ("nothing", |bytes| bytes.clear()),
        ("half of it", |bytes| bytes.truncate(5_000)),
        ("another boot", |bytes| bytes[24] ^= 1),
        ("noise", |bytes| scramble(bytes)),
    ];
    for (what, change) in attempts {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(state_file(&d), bytes).unwrap();
        call(&d, &["g", "0"]);
        assert!(alive(a), "{what}: a wrong kill is worse than a forgotten process");
        end(&d);
    }
    // Records that make no sense, behind a header that does.
    let mut bytes = good.clone();
    scramble(&mut bytes[4_096..]);
    fs::write(state_file(&d), bytes).unwrap();
    call(&d, &["g", "0"]);
    end(&d);
    // A link, which is not followed, and a file that has another name too.
    fs::write(d.path("precious"), &good).unwrap();
    std::os::unix::fs::symlink(d.path("precious"), state_file(&d)).unwrap();
    call(&d, &["g", "0"]);
    assert!(fs::read(d.path("precious")).unwrap() == good && alive(a));
    end(&d);
    fs::hard_link(d.path("precious"), state_file(&d)).unwrap();
    call(&d, &["g", "0"]);
    assert!(fs::read(d.path("precious")).unwrap() == good && alive(a));
    end(&d);
    assert!(d.path("precious").exists());
    common::signal(a, Signal::KILL);
}

#[test]
fn where_it_cannot_be_written_there_is_none() {
    let stage = Stage::new();
    fs::create_dir(state_file(&stage)).unwrap();
    let d = stage.start("g:a:1:respawn:sh svc a\n");
    assert_eq!(d.tell("g", "1"), "ok run");
    assert_eq!(d.stop(), 0);
}

#[test]
fn a_crash_keeps_it_and_so_does_a_table_that_is_read_again() {
    let d = Daemon::start("g:a:1:respawn:sh svc a\n");
    d.tell("g", "1");
    d.until_event("start a");
    let a = identity(d.pid_of("a"));
    d.signal(Signal::SEGV);
    d.until("the next life", |d| d.stderr().contains("a fault of isinit"));
    d.write_table("# another row for it\nh:z:1:respawn:sh svc z\ng:a:1:respawn:sh svc a\n");
    assert_eq!(d.tell("h", "1"), "ok run");
    d.until_event("start z");
    kill(&d);
    call(&d, &["h", "1"]);
    assert_eq!((identity(d.pid_of("a")), d.count_events("start")), (a, 2));
    end(&d);
}

#[test]
fn what_was_taken_over_is_kept_when_the_next_one_crashes() {
    let d = Daemon::start("g:a:1:respawn,delay=0:sh svc a\ng:b:1:respawn:sh svc b\n");
    d.tell("g", "1");
    let tags = ["a", "b"];
    tags.iter().for_each(|tag| d.until_event(&format!("start {tag}")));
    let before = tags.map(|tag| identity(d.pid_of(tag)));
    kill(&d);
    call(&d, &["g", "1"]);
    for fault in [Signal::SEGV, Signal::ABORT] {
        let next = successor(&d);
        common::signal(next, fault);
        assert_eq!((tags.map(|tag| identity(d.pid_of(tag))), successor(&d)), (before.clone(), next));
    }
    common::signal(before[0].0, Signal::KILL);
    d.until("a is started again", |d| d.count_events("start a") == 2);
    assert_eq!((identity(d.pid_of("b")), d.count_events("start b")), (before[1].clone(), 1));
    end(&d);
}

mod as_root {
    use super::*;

    #[test]
    fn a_file_of_another_user_is_neither_believed_nor_removed() {
        let d = Daemon::start("g:a:1:respawn:sh svc a\n");
        d.tell("g", "1");
        d.until_event("start a");
        let a = d.pid_of("a");
        kill(&d);
        std::os::unix::fs::chown(state_file(&d), Some(65_534), None).unwrap();
        let before = fs::read(state_file(&d)).unwrap();
        let log = d.path("log");
        d.write_table(format!(":::log:{}\ng:a:1:respawn:sh svc a\n", log.display()));
        let output = call(&d, &["g", "0"]);
        assert!(alive(a), "{output:?}");
        for what in ["believe", "write"] {
            let said = format!("cannot {what} {}", state_file(&d).display());
            d.until(&said, |d| d.text("log").contains(&said));
        }
        assert_eq!(d.isinit(&["-k"]).status, 0);
        let after = fs::metadata(state_file(&d)).unwrap();
        assert_eq!((after.uid(), fs::read(state_file(&d)).unwrap() == before), (65_534, true));
        common::signal(a, Signal::KILL);
    }

    #[test]
    fn a_container_has_none() {
        let stage = Stage::new();
        stage.write_table("g:a:1:respawn:sh svc a\ng:i:1:initdefault:\n");
        let mut command = std::process::Command::new("unshare");
        command.args(["-p", "-f", "--mount-proc", "--kill-child"]).arg(common::binary());
        command.arg("-d").arg("-c").arg(stage.table()).arg("-s").arg(stage.socket()).current_dir(stage.dir());
        let mut outer = command.spawn().unwrap();
        common::look_until(|| stage.text("events").contains("start a").then_some(())).unwrap();
        assert!(!state_file(&stage).exists());
        let process_1 = common::look_until(|| common::children(outer.id()).pop()).unwrap();
        common::signal(process_1, Signal::TERM);
        assert_eq!(common::exit_code(outer.wait().unwrap()), 0);
    }
}
