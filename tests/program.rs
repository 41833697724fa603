//! The program's first instructions, as a kernel or a script that has closed everything starts it.

mod common;

use std::process::Command;

use common::{Output, run};

/// What a shell script that has `$BIN` for the isinit under test prints, and how it ends.
fn shell(script: &str) -> Output {
    run(Command::new("/bin/sh").args(["-c", script]).env("BIN", common::binary()))
}

#[test]
fn its_arguments_and_its_name_arrive() {
    let output = shell("exec \"$BIN\" check /no/such/table");
    assert_eq!(output.status, 4, "{output:?}");
    assert!(output.stderr.contains("/no/such/table"), "{output:?}");
}

#[test]
fn with_all_three_descriptors_closed_it_ends_with_its_status() {
    let output = shell("exec \"$BIN\" check /no/such/table <&- >&- 2>&-");
    assert_eq!(output.status, 4, "{output:?}");
}

#[test]
fn what_it_prints_arrives_also_when_the_other_two_are_closed() {
    let output = shell("exec \"$BIN\" --help <&- 2>&-");
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    assert!(output.stdout.starts_with("isinit: a clusterwide init"), "{output:?}");
}

#[test]
fn a_reader_that_has_gone_does_not_end_it_by_a_signal() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    drop(read);
    let status =
        Command::new(common::binary()).args(["check", "/no/such/table"]).stderr(write).status().unwrap();
    assert_eq!(status.code(), Some(4), "{status:?}");
}

mod as_root {
    use super::*;

    #[test]
    fn without_dev_null_and_with_nothing_open_it_does_not_abort() {
        let script = "unshare -m --propagation private sh -c '
            mount -t tmpfs none /dev || exit 90
            test -e /dev/null && exit 91
            exec \"$BIN\" check /no/such/table <&- >&- 2>&-'";
        let output = shell(script);
        assert_eq!(output.status, 4, "{output:?}");
    }
}
