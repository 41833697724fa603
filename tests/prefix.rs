//! The setting `prefix`: what processes write comes out on standard output line by line, each with its tag before it.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::{Daemon, Stage};
use rustix::process::Signal;

/// A daemon whose standard output is the file `stdout`.
fn start(table: &str) -> Daemon {
    Daemon::start(format!(":::prefix:tag\n{table}"))
}

/// A daemon whose standard output is a pipe, and its reader.
fn start_into_pipe(table: &str) -> (Daemon, File) {
    let stage = Stage::new();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut command = stage.command(&[]);
    command.stdout(Stdio::from(write));
    (stage.start_by(format!(":::prefix:tag\n{table}"), command), File::from(read))
}

fn lines_of(text: &str, tag: &str) -> Vec<String> {
    let front = format!("[{tag}] ");
    text.lines().filter_map(|line| line.strip_prefix(&front)).map(str::to_owned).collect()
}

#[test]
fn each_line_has_its_tag_wherever_it_was_written_to() {
    let d = start(
        "g:talk:run,:once:echo one; echo two >&2; echo; printf 'no end'\ng:other:run,:wait:printf 'a\\rb\\n\\377\\n'\n\
         g:quiet:run,:respawn:sh svc quiet\n",
    );
    d.tell("g", "run");
    d.until("all is written", |d| d.text("stdout").contains("no end\n"));
    d.until_event("start quiet");
    let text = d.text("stdout");
    assert_eq!(lines_of(&text, "talk"), ["one", "two", "", "no end"]);
    assert_eq!(lines_of(&text, "other"), ["a\rb", "\u{fffd}"]);
    assert_eq!(text.lines().count(), 6, "{text}");
    assert_eq!(d.stop(), 0);
}

#[test]
fn what_goes_elsewhere_has_none() {
    let d = start(
        "g:log:run,:respawn:sh reader\ng:www:run,:once,log=log:echo to the log\ng:shell:run,:once:echo on its own\n",
    );
    d.write("reader", "while read line; do echo \"$line\" >> logged; echo \"read $line\"; done\n");
    d.tell("g", "run");
    d.until("the log is read", |d| d.text("stdout").contains("[log] read to the log\n"));
    d.until("the other too", |d| d.text("stdout").contains("[shell] on its own\n"));
    assert_eq!((d.text("logged").as_str(), d.text("stdout").lines().count()), ("to the log\n", 2));
}

#[test]
fn lines_of_many_are_whole_and_in_order_and_all_there() {
    const WRITERS: usize = 20;
    const LINES: usize = 2_000;
    let table: String = (0..WRITERS).map(|n| format!("g:w{n}:run,:once:exec perl writer {n}\n")).collect();
    let d = start(&table);
    // Lines of all lengths, written in pieces that have nothing to do with them.
    d.write(
        "writer",
        format!(
            "my $text = join '', map {{ \"$_ \" . ('x' x ($_ * 7 % 300)) . \"\\n\" }} 1 .. {LINES};
             while (length $text) {{ syswrite STDOUT, substr($text, 0, 1 + int rand 3000, '') }}"
        ),
    );
    d.tell("g", "run");
    let end = format!("{LINES} {}", "x".repeat(LINES * 7 % 300));
    d.until("the last lines", |d| {
        d.text("stdout").lines().filter(|line| line.ends_with(&end)).count() == WRITERS
    });
    let text = d.text("stdout");
    for n in 0..WRITERS {
        let expected: Vec<String> =
            (1..=LINES).map(|at| format!("{at} {}", "x".repeat(at * 7 % 300))).collect();
        assert!(lines_of(&text, &format!("w{n}")) == expected, "the lines of writer {n}");
    }
    assert_eq!(text.lines().count(), WRITERS * LINES);
}

#[test]
fn a_line_that_is_too_long_comes_in_pieces() {
    let d = start("g:long:run,:once:head -c 10000 /dev/zero | tr '\\0' y; echo; echo short\n");
    d.tell("g", "run");
    d.until("all is written", |d| d.text("stdout").ends_with("[long] short\n"));
    let lengths: Vec<usize> = lines_of(&d.text("stdout"), "long").iter().map(String::len).collect();
    assert_eq!(lengths, [4_096, 4_096, 10_000 - 2 * 4_096, 5]);
}

#[test]
fn what_is_written_last_is_not_lost_when_it_ends_and_starts_again() {
    let d = start(":::limit:no\ng:again:run,:respawn:exec perl again\n");
    d.write(
        "again",
        "open my $file, '+>>', 'count'; print $file 'x'; close $file; my $n = -s 'count';
         if ($n > 200) { sleep 100000 }
         syswrite STDOUT, \"first $n\\nlast $n\";",
    );
    d.tell("g", "run");
    d.until("200 times", |d| d.text("stdout").contains("last 200\n"));
    let expected: Vec<String> = (1..=200).flat_map(|n| [format!("first {n}"), format!("last {n}")]).collect();
    assert_eq!(lines_of(&d.text("stdout"), "again"), expected);
}

#[test]
fn who_reads_slowly_holds_up_the_writers_alone() {
    let (d, read) =
        start_into_pipe("g:much:run,:once:seq 1 200000; echo done >> events\nh:a:run,:respawn:sh svc a\n");
    d.tell("g", "run");
    // Nothing was read so far; the rest of the house does its work.
    assert_eq!(d.tell("h", "run"), "ok run");
    d.until_event("start a");
    assert_eq!(d.tell("h", "0"), "ok stopped");
    assert_eq!(d.count_events("done"), 0, "a pipe holds 64 KiB, and so does the next; this is more");
    let mut lines = BufReader::new(read).lines();
    for n in 1..=200_000 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("[much] {n}"));
    }
    d.until_event("done");
    assert_eq!(d.stop(), 0);
}

#[test]
fn a_reader_that_is_gone_stops_nobody() {
    let (d, read) = start_into_pipe("g:much:run,:once:seq 1 100000; echo done >> events\n");
    drop(read);
    d.tell("g", "run");
    d.until_event("done");
    assert_eq!(d.stop(), 0);
}

#[test]
fn the_last_lines_come_out_before_the_daemon_ends() {
    let script = "exec 2>/dev/null; trap 'seq 1 3000; printf end; exit' TERM; echo >> events start a; while :; do sleep 0.01; done";
    let (d, mut read) = start_into_pipe(&format!("g:a:run,:respawn:{script}\n"));
    d.tell("g", "run");
    d.until_event("start a");
    d.signal(Signal::TERM);
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(d.wait_exit(), 0);
    let mut expected: Vec<String> = (1..=3_000).map(|n| n.to_string()).collect();
    expected.push("end".into());
    assert_eq!(lines_of(&text, "a"), expected);
}

#[test]
fn it_is_switched_by_a_new_table_for_what_starts_then() {
    let say = "g:a:one,two:respawn:echo start a >> events; while read line; do echo $line; done < go\n";
    let d = Daemon::start(format!("{say}g:b:two,:once:echo plain\n"));
    d.fifo("go");
    let mut go = d.open_fifo("go");
    d.tell("g", "one");
    d.until_event("start a");
    d.write_table(format!(":::prefix:tag\n{say}g:b:two,:once:echo tagged\ng:c:two,:once:echo new\n"));
    d.tell("g", "two");
    d.until("it has a tag", |d| {
        d.text("stdout").contains("[b] tagged\n") && d.text("stdout").contains("[c] new\n")
    });
    std::io::Write::write_all(&mut go, b"as it was\n").unwrap();
    d.until("what ran before", |d| d.text("stdout").contains("as it was\n"));
    assert!(!d.text("stdout").contains("[a]"));
    d.write_table(format!("{say}g:b:two,:once:echo plain again\n"));
    d.tell("g", "0");
    d.tell("g", "two");
    d.until("without again", |d| d.text("stdout").lines().any(|line| line == "plain again"));
    for wrong in ["yes", "", "[tag]"] {
        d.write_table(format!(":::prefix:{wrong}\n{say}"));
        assert!(d.last_line(":reread").starts_with("err 4 "), "{wrong}");
    }
}
