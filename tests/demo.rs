//! `make demo`, looked at as a person would: what was shown, in which order, and whether anything is left of it.

mod common;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Stage, all_pids, binary, exit_code, look_until, until};
use rustix::process::{Pid, Signal, kill_process_group};

/// Runs the demonstration with a temporary directory of its own; what it shows goes to the file `shown`.
fn start(stage: &Stage) -> Child {
    fs::create_dir(stage.path("tmp")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo.sh");
    let mut command = Command::new("sh");
    command.arg(script).arg(binary()).env("TMPDIR", stage.path("tmp")).env_remove("ISINIT_SOCKET");
    command.stdin(Stdio::null()).process_group(0);
    let shown = File::create(stage.path("shown")).unwrap();
    command.stdout(shown.try_clone().unwrap()).stderr(shown).spawn().unwrap()
}

/// The processes that have the demonstration's directory in their environment or command line.
fn left(stage: &Stage) -> Vec<u32> {
    let dir = stage.path("tmp").into_os_string().into_string().unwrap();
    let names = |pid: &u32| {
        ["environ", "cmdline"].iter().any(|file| {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(&dir)
        })
    };
    all_pids().into_iter().filter(names).collect()
}

fn assert_nothing_left(stage: &Stage) {
    let gone =
        || (left(stage).is_empty() && fs::read_dir(stage.path("tmp")).unwrap().count() == 0).then_some(());
    look_until(gone).unwrap_or_else(|| panic!("processes {:?} or files are left", left(stage)));
}

#[test]
fn it_shows_a_plan_a_switch_a_respawn_a_failed_test_and_a_graceful_stop_and_tidies_up() {
    let stage = Stage::new();
    let mut demo = start(&stage);
    let status = look_until(|| demo.try_wait().unwrap()).expect("it ends");
    let shown = stage.text("shown");
    assert_eq!(exit_code(status), 0, "{shown}");
    let mut rest = shown.as_str();
    for words in [
        "$ isinit plan shop night\n",
        "stop",
        "keep",
        "start",
        "$ isinit tell --wait shop night\n",
        "shop night: run\n",
        "yes the till has ended, by itself, after counting\n",
        "$ kill -KILL ",
        "yes it was started again, with another PID\n",
        "1 restart, killed by SIGKILL\n",
        "$ isinit tell --wait mail audit\n",
        "ask exited with status 1\n",
        "(exit status 1)\n",
        "$ isinit -k\n",
        "yes the daemon has ended\n",
    ] {
        let at =
            rest.find(words).unwrap_or_else(|| panic!("{words:?} is not shown where it should be:\n{shown}"));
        rest = &rest[at + words.len()..];
    }
    assert!(!shown.lines().any(|line| line.starts_with("  no ")), "a claim did not hold:\n{shown}");
    assert_nothing_left(&stage);
}

#[test]
fn interrupted_it_tidies_up_too() {
    let stage = Stage::new();
    let mut demo = start(&stage);
    until("it comes to its plan", || stage.text("shown").contains("$ isinit plan"));
    let group = i32::try_from(demo.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let status = look_until(|| demo.try_wait().unwrap()).expect("it ends");
    assert_ne!(exit_code(status), 0);
    assert_nothing_left(&stage);
}
