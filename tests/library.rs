//! The library, as a program of somebody else uses it.

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{Stage, binary, run};

/// An example of ours. `cargo test --tests` builds the tests alone.
fn example(name: &str) -> PathBuf {
    let cargo = Command::new(env!("CARGO")).args(["build", "--quiet", "--example", name]).status().unwrap();
    assert!(cargo.success(), "examples/{name}.rs cannot be built");
    // target/PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(name)
}

#[test]
fn the_example_drives_a_daemon_and_leaves_nothing() {
    let stage = Stage::new();
    let mut drive = Command::new(example("drive"));
    drive.arg(binary()).env("TMPDIR", stage.dir()).env_remove("ISINIT_SOCKET");
    let output = run(&mut drive);
    let expected = "open: run\n  till: up\n  lamp: down\n  ask: done\n  broken: down\n\
                    night: run\n  till: down\n  lamp: up\n  ask: down\n  broken: down\n\
                    never: shop failed at level never: broken exited with status 1\n\
                    opne: no entry of group shop has level opne; did you mean open? (status 3)\n\
                    everything is stopped\n";
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (0, expected, ""));
    let left: Vec<_> = std::fs::read_dir(stage.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("isinit-drive-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_example_says_why_there_is_no_daemon() {
    let stage = Stage::new();
    let mut drive = Command::new(example("drive"));
    let output = run(drive.arg("/no/such/isinit").env("TMPDIR", stage.dir()).env_remove("ISINIT_SOCKET"));
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.starts_with("drive: ") && output.stderr.contains("No such file"), "{output:?}");
}
