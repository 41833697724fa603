//! The ten mistakes of somebody who has isinit since five minutes: what it says to each, and that it says what to do next.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use common::{Daemon, Output, Stage, binary, isinit, run, until};

/// `isinit -c TABLE -s SOCKET WORDS...`, in the directory of the stage, where no daemon may be yet.
fn call(stage: &Stage, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("-c").arg(stage.table()).arg("-s").arg(stage.socket()).args(words);
    run(command.current_dir(stage.dir()).env_remove("ISINIT_SOCKET"))
}

/// It ends with this status, and what it says has these words, in this order.
#[track_caller]
fn assert_says(output: &Output, status: i32, words: &[&str]) {
    assert_eq!(output.status, status, "{output:?}");
    let mut rest = output.stderr.as_str();
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} is not said, or not there: {output:?}"));
        rest = &rest[at + word.len()..];
    }
}

#[test]
fn no_daemon() {
    let stage = Stage::new();
    stage.write_table("web:www:run,:respawn:sh svc www\n");
    let place = stage.socket();
    let says = format!("isinit: no daemon answers at {}; ", place.display());
    for words in [&["status"][..], &["watch"], &["restart", "www"], &["-k"]] {
        let next = "`isinit GROUP LEVEL` starts one, -s names another socket\n";
        assert_says(&call(&stage, words), 5, &[&says, next]);
    }
}

#[test]
fn a_group_that_is_not_there() {
    let d = Daemon::start("web:www:run,:respawn:sh svc www\n");
    assert_says(&d.isinit(&["wbe", "run"]), 3, &["the table has no group wbe; did you mean web?\n"]);
    assert_says(&d.isinit(&["web", "rnu"]), 3, &["no entry of group web has level rnu; did you mean run?\n"]);
    assert_says(&d.isinit(&["restart", "wwww"]), 3, &["wwww", "did you mean www?\n"]);
    assert_eq!(d.group("web").level, "-", "nothing was switched by a guess");
}

#[test]
fn a_tab_in_place_of_a_colon() {
    let stage = Stage::new();
    for table in ["web\twww\trun,\trespawn\tnginx\n", "web:www\trun,:respawn:nginx\n"] {
        stage.write_table(table);
        let caret = format!("{}\n", table.trim_end().replace('\t', " "));
        let next = "help: a colon stands between two fields, and no tab: group:tag:levels:action:process\n";
        let says = ["isinittab:1:", "error: ", "of the four colons are there", &caret, "^", next];
        assert_says(&call(&stage, &["web", "run"]), 4, &says);
        let checked = isinit(&["check", stage.table().to_str().unwrap()]);
        assert!(checked.stdout.contains(next), "{checked:?}");
    }
    assert!(stage.detached().is_empty());
}

#[test]
fn a_long_level_without_its_comma() {
    let stage = Stage::new();
    stage.write_table("web:www:run:respawn:sh svc www\n");
    let says = [
        "isinittab:1:9: warning: this is level run, and also each of its letters",
        "web:www:run:respawn:",
        "^^^",
        "help: write `run,` for the one word, or `r,u,n` for its letters\n",
    ];
    assert_says(&call(&stage, &["web", "run"]), 0, &says);
    let checked = isinit(&["check", stage.table().to_str().unwrap()]);
    assert!(checked.status == 0 && says.iter().all(|words| checked.stdout.contains(words)), "{checked:?}");
    assert_eq!(call(&stage, &["-k"]).status, 0);
}

#[test]
fn a_command_that_is_not_found() {
    let d = Daemon::start("web:www:run,:test:ngnix -g 'x'\nweb:www2:two,:test:ngnix\n");
    let next = " (install it, or write the path where it is; a script needs its interpreter, too)";
    let says = ["web failed at level two: www2 cannot execute the program: No such file or directory", next];
    assert_says(&d.isinit(&["tell", "--wait", "web", "two"]), 1, &says);
    let line = format!("web/www2: ngnix: cannot execute the program: No such file or directory{next}\n");
    until("the daemon says it", || d.stderr().contains(&line));
    let status = d.isinit(&["status"]);
    assert!(status.stdout.contains(&format!("(exec): No such file or directory{next}")), "{status:?}");
    // Behind a shell, the shell says it, and the status is its 127.
    assert_says(&d.isinit(&["tell", "--wait", "web", "run"]), 1, &["www exited with status 127"]);
    until("the shell says it", || d.stderr().contains("ngnix: not found"));
}

#[test]
fn a_program_that_may_not_be_executed() {
    let stage = Stage::new();
    stage.write("plain", "#!/bin/sh\nexec sleep 1000\n");
    let d = stage.start("web:www:run,:test:./plain\n");
    let next = " (chmod +x it, and see that its user can reach it)";
    let says = ["web failed at level run: www cannot execute the program: Permission denied", next];
    assert_says(&d.isinit(&["tell", "--wait", "web", "run"]), 1, &says);
    let line = format!("web/www: ./plain: cannot execute the program: Permission denied{next}\n");
    until("the daemon says it", || d.stderr().contains(&line));
    assert!(d.isinit(&["status"]).stdout.contains(next));
}

#[test]
fn a_socket_whose_path_is_too_long() {
    let stage = Stage::new();
    let long = format!("/tmp/{}/init.s", "x".repeat(110));
    stage.write_table("web:www:run,:respawn:sh svc www\n");
    for words in [&["status"][..], &["web", "run"], &["-d"]] {
        let table = stage.table();
        let args = [&["-c", table.to_str().unwrap(), "-s", &long], words].concat();
        let output = isinit(&args);
        assert!(output.status == 2 || (output.status == 1 && words == ["-d"]), "{output:?}");
        let says =
            format!("the path of the socket is longer than 107 bytes: {long}; name a shorter one with -s\n");
        assert_says(&output, output.status, &[&says]);
    }
    // In the table it is found before there is a daemon at all.
    stage.write_table(format!(":::socket:{long}\nweb:www:run,:respawn:sh svc www\n"));
    let checked = isinit(&["check", stage.table().to_str().unwrap()]);
    let next = "help: write a path of at most 107 bytes: the system takes no longer one for a socket\n";
    assert!(checked.status == 4 && checked.stdout.contains(":1:11: error"), "{checked:?}");
    assert!(checked.stdout.contains(next), "{checked:?}");
}

#[test]
fn a_table_that_is_not_there() {
    let stage = Stage::new();
    let path = stage.table();
    let why = format!("{}: error: cannot read the table: No such file or directory", path.display());
    let next = "help: name another table with -c, or make this one readable\n";
    assert_says(&call(&stage, &["web", "run"]), 4, &[&why, next]);
    assert_says(&call(&stage, &["-d"]), 4, &[&why, next]);
    let checked = isinit(&["check", path.to_str().unwrap()]);
    assert!(checked.status == 4 && checked.stdout.contains(&why) && checked.stdout.contains(next));
    fs::create_dir(&path).unwrap();
    assert_says(&call(&stage, &["web", "run"]), 4, &["cannot read the table: it is not a file", next]);
}

#[test]
fn a_table_that_is_edited_while_it_runs() {
    let d = Daemon::start("web:www:run,:respawn:sh svc www\n");
    assert_eq!(d.tell("web", "run"), "ok run");
    d.until_event("start www");
    let pid = d.pid_of("www");
    // Half an edit: it is refused as a whole, and nothing is touched.
    d.write_table("web:www:run,:respwan:sh svc www\n");
    let next = "the table has errors; the one in force is kept, and nothing was switched. \
                Mend it (`isinit check` shows when it is right), and ask again\n";
    let says = ["isinittab:1:14: error: no action has this name", "help: did you mean respawn?\n", next];
    assert_says(&d.isinit(&["web", "run"]), 4, &says);
    assert_says(&d.isinit(&["--"]), 4, &says);
    assert_eq!(d.pid_of("www"), pid);
    let hint = "the table on disk has errors; the one in force is kept (isinit check)\n";
    assert!(d.isinit(&["status"]).stdout.contains(hint));
    // A whole one: what runs goes on as it was, and status says so, and what takes the new.
    d.write_table("web:www:run,:respawn,nice=1:sh svc www\n");
    assert_eq!(d.isinit(&["--"]).status, 0);
    assert_eq!(d.pid_of("www"), pid);
    let status = d.isinit(&["status"]).stdout;
    let hint = "changed: the table has it otherwise now; `isinit restart TAG` takes it as it is there\n";
    assert!(status.contains("  changed\n") && status.ends_with(hint), "{status}");
    assert_eq!(d.isinit(&["restart", "www"]).status, 0);
    assert!(!d.isinit(&["status"]).stdout.contains("changed"));
}

/// A daemon that does not exist yet, or no more: it names its version, and knows no request but that.
fn serve_as_another_version(stage: &Stage) {
    let listener = UnixListener::bind(stage.socket()).unwrap();
    thread::spawn(move || {
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            let mut line = String::new();
            let _ = BufReader::new(peer.try_clone().unwrap()).read_line(&mut line);
            let answer: &[u8] = match line.as_str() {
                ":ping\n" => b"ok isinit 99.0.0 4242\n",
                ":status\n" => b"daemon pid=4242 version=99.0.0 of_later=1\nok\n",
                _ => b"err 2 no such request; there are :ping :status\n",
            };
            let _ = peer.write_all(answer);
        }
    });
}

#[test]
fn a_daemon_of_another_version() {
    let stage = Stage::new();
    stage.write_table("web:www:run,:respawn:sh svc www\n");
    serve_as_another_version(&stage);
    let ours = env!("CARGO_PKG_VERSION");
    let next = format!("isinit: the daemon is isinit 99.0.0, and this is {ours}: `isinit upgrade` ");
    assert_says(&call(&stage, &["restart", "www"]), 2, &["no such request", &next]);
    assert_says(&call(&stage, &["web", "run"]), 2, &["no such request", &next]);
    // What both know works; the difference is said all the same.
    assert_says(&call(&stage, &["status"]), 0, &[&next]);
    // One of ours has nothing to say of versions.
    let d = Daemon::start("web:www:run,:respawn:sh svc www\n");
    assert!(!d.isinit(&["signal", "NOSUCH", "www"]).stderr.contains(ours));
    assert_eq!(d.isinit(&["status"]).stderr, "");
    assert_eq!(d.ask(":of-a-later-version").len(), 1);
    assert!(d.last_line(":of-a-later-version").starts_with("err 2 no such request; there are :ping "));
    assert!(d.last_line(":ping").starts_with(&format!("ok isinit {ours} ")));
}

mod as_root {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_daemon_of_somebody_else() {
        let d = Daemon::start("web:www:run,:respawn:sh svc www\n");
        common::open_to_all(d.dir());
        let mut status = d.client(&["status"]);
        let output = run(status.uid(65534).gid(65534));
        let why = format!("isinit: {} is not for this user: ", d.socket().display());
        let next =
            "only root and the daemon's own user may ask it; -s names the socket of a daemon of your own\n";
        assert_says(&output, 6, &[&why, next]);
    }
}
