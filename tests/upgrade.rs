//! `isinit upgrade`: another binary takes the daemon's place, and every process goes on.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use common::{Daemon, Stage, alive, binary, descriptors, stat_fields};
use rustix::process::Signal;

/// A daemon whose binary is the test's own file `isinit`, which can be replaced.
fn start(stage: Stage, table: &str) -> Daemon {
    start_build(&binary(), stage, table)
}

fn start_build(build: &Path, stage: Stage, table: &str) -> Daemon {
    install(&stage, build);
    // The words of the command are those of the usual binary; what is executed is the file.
    let command = stage.command(&["sh", "-c", "shift; exec ./isinit \"$@\"", "sh"]);
    stage.start_by(table, command)
}

/// Puts a program at the place of the daemon's, as a package manager does: a new file, by rename.
fn install(stage: &Stage, program: &Path) {
    stage.install(program, "isinit.new");
    fs::rename(stage.path("isinit.new"), stage.path("isinit")).unwrap();
}

fn install_script(stage: &Stage, script: &str) {
    stage.write("script", script);
    install(stage, &stage.path("script"));
}

/// Which file it is that a process executes.
fn executes(pid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino()
}

fn identity(pid: u32) -> (u32, String) {
    (pid, stat_fields(pid).swap_remove(19))
}

#[test]
fn another_build_takes_over_all_that_there_is() {
    // Two builds that have nothing in common but the rows: the one that is tested, small and static, and cargo's own.
    upgrades(&binary(), &[PathBuf::from(env!("CARGO_BIN_EXE_isinit")), binary()]);
}

#[test]
#[ignore = "the last release has to be built first: make upgrade-test"]
fn the_last_release_is_upgraded_to_this_one() {
    let release = PathBuf::from(std::env::var_os("ISINIT_RELEASE").expect("ISINIT_RELEASE is its binary"));
    upgrades(&release, &[binary()]);
}

/// Starts a daemon of the first build, upgrades it to each of the others, and looks whether everything is as it was.
fn upgrades(first: &Path, builds: &[PathBuf]) {
    let d = start_build(
        first,
        Stage::new(),
        "g:log:1:respawn:while read line; do echo \"$line\" >> lines; done\n\
         g:talk:1:respawn,log=log:i=0; while sleep 0.01; do echo $i; i=$((i+1)); done\n\
         g:a:1:respawn:sh svc a\ng:held:1:respawn,limit=2/60/60:false\n",
    );
    d.ask(":tell g 1");
    d.until_event("start a");
    d.until_state("held", "held");
    let tags = ["log", "talk", "a"];
    let (before, binary_before) = (tags.map(|tag| identity(d.pid_of(tag))), executes(d.pid()));
    let listens =
        |d: &Daemon| fs::metadata(d.socket()).map(|meta| std::os::unix::fs::MetadataExt::ino(&meta)).unwrap();
    let socket = listens(&d);
    for build in builds {
        install(&d, build);
        let output = d.isinit(&["upgrade"]);
        let answer = format!("isinit {} {}\n", env!("CARGO_PKG_VERSION"), d.pid());
        assert_eq!((output.status, output.stdout), (0, answer), "{}", output.stderr);
        assert_eq!(tags.map(|tag| identity(d.pid_of(tag))), before);
    }
    assert_ne!(executes(d.pid()), binary_before, "it is the new file");
    assert_eq!(listens(&d), socket);
    assert_eq!((d.entry("held").state.as_str(), d.count_events("start a")), ("held", 1));
    let count = d.lines("lines").len();
    d.until("the log goes on", |d| d.lines("lines").len() > count + 5);
    assert!(d.lines("lines").iter().enumerate().all(|(n, line)| *line == n.to_string()));
    assert_eq!(d.tell("g", "0"), "ok stopped");
}

#[test]
fn fifty_upgrades_cost_nothing_that_stays() {
    let d = start(Stage::new(), "g:log:1:respawn:cat > /dev/null\ng:a:1:respawn,log=log:sh svc a\n");
    d.tell("g", "1");
    d.until_event("start a");
    let count = |d: &Daemon| descriptors(d.pid()).len();
    d.until("clients have gone", |d| {
        descriptors(d.pid()).values().filter(|path| path.starts_with("socket:")).count() <= 2
    });
    d.isinit(&["upgrade"]);
    let before = count(&d);
    for _ in 0..50 {
        assert_eq!(d.isinit(&["upgrade"]).status, 0);
    }
    d.until("there are as many descriptors", |d| count(d) <= before);
    assert_eq!(d.count_events("start a"), 1);
}

#[test]
fn what_is_no_isinit_or_reads_other_rows_is_refused_and_nothing_happens() {
    let d = start(Stage::new(), "g:a:1:respawn:sh svc a\n");
    d.tell("g", "1");
    d.until_event("start a");
    let (a, executed) = (d.pid_of("a"), executes(d.pid()));
    let path = d.path("isinit").display().to_string();
    for (script, why) in [
        ("#!/bin/sh\nexit 0\n", "it is no isinit that can be asked: it exited with status 0"),
        (
            "#!/bin/sh\nexit 98\n",
            "it keeps its rows in another way than this one; restart the daemon instead",
        ),
        ("#!/bin/sh\nkill -9 $$\n", "it was asked, and killed by SIGKILL"),
        ("#!/no/such/program\n", "cannot execute the program: No such file or directory"),
    ] {
        install_script(&d, script);
        let output = d.isinit(&["upgrade"]);
        let words = format!("isinit: no upgrade by {path}: {why}\n");
        assert_eq!((output.status, output.stderr.as_str()), (1, words.as_str()));
        assert!(d.stderr().contains(&words), "{}", d.stderr());
    }
    fs::remove_file(d.path("isinit")).unwrap();
    let output = d.isinit(&["upgrade"]);
    assert!(output.status == 1 && output.stderr.contains("cannot execute the program"), "{output:?}");
    assert_eq!((executes(d.pid()), d.pid_of("a")), (executed, a));
    // Its file has gone, and a fault is survived all the same.
    d.signal(Signal::SEGV);
    d.until("the next life", |d| d.stderr().contains("a fault of isinit"));
    assert_eq!((executes(d.pid()), d.pid_of("a")), (executed, a));
}

#[test]
fn the_question_is_answered_by_the_exit_status() {
    for (version, status) in [("0", 98), ("nonsense", 98), ("18446744073709551615", 98)] {
        let output = common::isinit(&["--reads-rows", version]);
        assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (status, "", ""));
    }
}

#[test]
fn one_that_does_not_answer_is_not_waited_for_by_anybody_else() {
    let d = start(Stage::new(), "g:a:1:respawn:sh svc a\n");
    install_script(&d, "#!/bin/sh\necho $$ > asked\nexec sleep 1000\n");
    let ask = |d: &Daemon| {
        let mut client = BufReader::new(d.connect().unwrap());
        client.get_mut().write_all(b":upgrade\n").unwrap();
        client
    };
    let mut clients = [ask(&d), ask(&d)];
    let asked: u32 = d.until_some("it is asked", |d| d.text("asked").trim().parse().ok());
    assert_eq!(d.tell("g", "1"), "ok run", "the daemon does all else meanwhile");
    for client in &mut clients {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        let words = format!("err 1 no upgrade by {}: it does not answer\n", d.path("isinit").display());
        assert_eq!(line, words);
    }
    d.until("it is gone", |_| !alive(asked));
    install(&d, &binary());
    let mut client = ask(&d);
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0, "the next one is asked again");
    assert_eq!(d.tell("g", "0"), "ok stopped");
}
