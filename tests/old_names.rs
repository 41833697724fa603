//! The old programs: isinit called as init, telinit, halt, poweroff, reboot and runlevel.
//!
//! Each of them can bring down the machine that the tests run on. So none is called here without a daemon of the
//! test's own behind ISINIT_SOCKET, which is process 1 of nothing and refuses; what they do to a real machine is seen
//! under QEMU (`initramfs-test/cases/called-*`, `debian`).

mod common;

use std::process::Command;

use common::{Daemon, Output, binary, run};

/// Calls it in mounts of its own, where the pipe of the machine's init, if there is one, is out of reach. Who is not
/// root cannot write to that anyway.
const OUT_OF_REACH: &str = r#"
for pipe in /run/initctl /dev/initctl; do
    [ ! -e $pipe ] || mount --bind /dev/null $pipe || exit 99
done
exec "$0" "$@""#;

fn called(d: &Daemon, name: &str, args: &[&str]) -> Output {
    let program = d.path(name);
    if !program.exists() {
        std::os::unix::fs::symlink(binary(), &program).unwrap();
    }
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", OUT_OF_REACH]).arg(program);
        command
    } else {
        Command::new(program)
    };
    run(command.args(args).env("ISINIT_SOCKET", d.socket()))
}

fn nested() -> Daemon {
    Daemon::start(":::group:g\ng:a:2,run:respawn:sh svc a\n")
}

#[test]
fn a_daemon_that_is_not_process_1_brings_nothing_down() {
    let d = nested();
    d.tell("g", "run");
    let pid = d.pid_of("a");
    let requests: [(&str, &[&str]); 8] = [
        ("poweroff", &[]),
        ("reboot", &["-d", "-i"]),
        ("halt", &["-p"]),
        ("telinit", &["0"]),
        ("telinit", &["-t", "5", "6"]),
        ("init", &["2"]),
        ("telinit", &["q"]),
        ("isinit", &["poweroff"]),
    ];
    for (name, args) in requests {
        let output = called(&d, name, args);
        assert_eq!(output.status, 5, "{name} {args:?}: {output:?}");
        assert!(output.stderr.contains("not process 1 of a machine"), "{output:?}");
    }
    let output = called(&d, "telinit", &["-e", "INIT_HALT=HALT", "-eA=B"]);
    assert!(output.status == 5 && output.stderr.contains("no init listens"), "{output:?}");
    let output = called(&d, "isinit", &["switch-root", "/mnt", "/sbin/init"]);
    assert!(output.status == 5 && output.stderr.contains("not process 1"), "{output:?}");
    assert_eq!((d.pid_of("a"), d.group("g").level), (pid, "run".into()));
}

#[test]
fn what_they_are_told_wrongly_is_answered_with_their_usage() {
    let d = nested();
    for (name, args) in [
        ("telinit", &[][..]),
        ("telinit", &["7x"]),
        ("telinit", &["2", "3"]),
        ("telinit", &["-t"]),
        ("telinit", &["-e"]),
        ("telinit", &["-e", "A=B", "2"]),
        ("init", &["run"]),
        ("halt", &["now"]),
        ("poweroff", &["-x"]),
        ("reboot", &["--help"]),
        ("runlevel", &["-q"]),
    ] {
        let output = called(&d, name, args);
        assert_eq!(output.status, 2, "{name} {args:?}: {output:?}");
        assert!(output.stderr.starts_with(&format!("usage: {name} ")), "{output:?}");
    }
}

#[test]
fn runlevel_reads_the_records_of_a_file_that_is_named() {
    let d = nested();
    let output = called(&d, "runlevel", &["/no/utmp"]);
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (1, "unknown\n", ""));
    // ut_type RUN_LVL, and the level and the one before where a process has its number.
    let mut record = vec![1, 0, 0, 0, b'3', b'2', 0, 0];
    record.resize(if cfg!(target_arch = "aarch64") { 400 } else { 384 }, 0);
    d.write("utmp", record);
    let output = called(&d, "runlevel", &[d.path("utmp").to_str().unwrap()]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "2 3\n"));
}
