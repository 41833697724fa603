//! What tables mean, and what is said of wrong ones.

use super::*;

fn good(text: &str) -> Table {
    match Table::parse("t", text.as_bytes()) {
        Ok(loaded) => loaded.table,
        Err(report) => panic!("{report}"),
    }
}

fn bad(text: &str) -> String {
    match Table::parse("t", text.as_bytes()) {
        Ok(_) => panic!("it was taken: {text}"),
        Err(report) => report.to_string(),
    }
}

fn warned(text: &str) -> String {
    Table::parse("t", text.as_bytes())
        .map(|loaded| loaded.warnings.to_string())
        .unwrap_or_else(|report| report.to_string())
}

#[test]
fn only_the_first_four_colons_separate_and_blanks_around_fields_are_dropped() {
    let table = good(" web : nginx\t: run, : respawn , nice=5 :  /bin/echo a:b:c  \r\n\r\n# x\n");
    let entry = table.entry(0).unwrap();
    assert_eq!((entry.group_name(), entry.tag()), (&b"web"[..], &b"nginx"[..]));
    assert_eq!(entry.process().text, b"/bin/echo a:b:c");
    assert_eq!((entry.options().nice, entry.line()), (Some(5), 1));
}

#[test]
fn a_backslash_continues_an_entry_and_never_a_comment() {
    let table = good("# comment \\\ng:a:1:on\\\nce:/bin/echo \\\r\nx\ng:b:1:once:true\n");
    let entry = table.entry(0).unwrap();
    assert_eq!((entry.action(), entry.process().text), (Action::Once, &b"/bin/echo x"[..]));
    assert_eq!(table.entry(1).unwrap().line(), 5);
}

#[test]
fn an_error_in_a_continuation_points_into_its_physical_line() {
    assert_eq!(
        bad("g:a:1:\\\nonse:true\n"),
        "t:2:1: error: no action has this name\n    onse:true\n    ^^^^\n    help: did you mean once?\n"
    );
}

#[test]
fn all_errors_are_found_in_one_run_in_the_order_of_the_file() {
    let text = "g:a:1:respwan:x\ng:b:1:once\n:::sokcet:/x\ng:c:1:once,nice=99:x\ng:c:1:once:x\ng:d:1:once:x\ng:d:1:once:y\n";
    let report = bad(text);
    let places: Vec<&str> = report.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(
        places,
        [
            "t:1:7: error: no action has this name",
            "t:2:11: error: 3 of the four colons are there: the process field is missing",
            "t:3:4: error: no setting has this name",
            "t:4:12: error: the option nice cannot be this",
            "t:5:3: error: this tag is taken",
            "t:7:3: error: this tag is taken",
        ]
    );
}

#[test]
fn levels_are_words_never_patterns_and_without_a_comma_both_readings_hold() {
    let table =
        good("g:a:12:once:x\ng:b:run,:once:x\ng:c:.*,a+:once:x\ng:d::once:x\ng:e:S:once:x\ng:f:06:once:x\n");
    let has = |index: u32, level: &str| table.entry(index).unwrap().levels().has(level.as_bytes());
    assert!(has(0, "12") && has(0, "1") && has(0, "2") && !has(0, "21"));
    assert!(has(1, "run") && !has(1, "r"));
    assert!(has(2, ".*") && has(2, "a+") && !has(2, "x") && !has(2, "aa"));
    assert!(has(3, "any") && !has(3, "0"), "empty is every level but 0");
    assert!(has(4, "s") && has(4, "S"));
    assert!(has(5, "6") && !has(5, "0"), "level 0 stops a group");
}

#[test]
fn a_shell_is_for_metacharacters_only() {
    let process = |text: &str| {
        let table = good(&format!("g:a:1:once:{text}\n"));
        let process = table.entry(0).unwrap().process();
        (process.shell, process.no_utmp, process.login, String::from_utf8_lossy(process.text).into_owned())
    };
    assert_eq!(process("/bin/a b"), (false, false, false, "/bin/a b".into()));
    assert_eq!(process("a; b"), (true, false, false, "a; b".into()));
    assert_eq!(process("+a; b"), (true, true, false, "a; b".into()));
    assert_eq!(process("-/bin/sh"), (false, false, true, "/bin/sh".into()));
    assert_eq!(process("+@a;b"), (false, true, false, "a;b".into()));
}

#[test]
fn every_option_is_known_and_checked() {
    let ok = [
        "stop=QUIT",
        "stop=RTMIN+3",
        "stop-timeout=0.5",
        "limit=5/10/60",
        "limit=no",
        "delay=1",
        "delay=0.1..30",
        "fail=all",
        "ready=3",
        "ready=socket",
        "ready-timeout=9",
        "user=nobody.nogroup",
        "dir=/",
        "umask=022",
        "nice=-20",
        "oom=1000",
        "rlimit-nofile=64K",
        "rlimit-CORE=unlimited",
        "tty=tty1",
        "tty=@console",
        "memory=64M",
        "cpu=150%",
        "pids=9",
        "main",
    ];
    for option in ok {
        good(&format!("g:a:1:respawn,{option}:x\n"));
    }
    for option in [
        "stop=KILLER",
        "stop-timeout=x",
        "stop-timeout=5000000",
        "limit=5/10",
        "limit=0/1/1",
        "delay=3..1",
        "fail=no",
        "ready=2",
        "user=",
        "dir=here",
        "umask=9",
        "umask=1000",
        "nice=20",
        "oom=2000",
        "rlimit-x=1",
        "rlimit-nofile=",
        "memory=M",
        "cpu=0",
        "main=1",
        "nonsense=1",
        "log=nobody",
        "log=a",
        "",
    ] {
        bad(&format!("g:a:1:respawn,{option}:x\n"));
    }
    assert!(bad("g:a:1:respawn,nice=1,nice=2:x\n").contains("there twice"));
    assert!(bad("g:a:1:respawn,log=b:x\ng:b:1:respawn,log=a:x\n").contains("comes back"));
}

#[test]
fn what_an_entry_does_not_say_the_settings_say_wherever_they_stand() {
    let table =
        good("g:a:1:respawn:x\ng:b:1:respawn,limit=no,stop-timeout=1:x\n:::limit:2/3/4\n:::stop-timeout:9\n");
    let (a, b) = (table.entry(0).unwrap().options(), table.entry(1).unwrap().options());
    assert_eq!(
        (a.stop_timeout_ms, a.limit),
        (9_000, Some(Limit { starts: 2, window_ms: 3_000, hold_ms: 4_000 }))
    );
    assert_eq!((b.stop_timeout_ms, b.limit), (1_000, None));
}

#[test]
fn warnings_do_not_keep_a_table_from_being_taken() {
    assert!(warned("g:a:run:once:x\n").contains("also each of its letters"));
    assert_eq!(warned("g:a:2345:once:x\n"), "");
    assert!(warned("g:a:1:once,limit=no:x\n").contains("limit has no effect with the action once"));
    assert!(warned("g:i:2:initdefault:\ng:a:1:once:x\n").contains("no entry of the group has this level"));
    assert!(warned("g:a:06:once:x\n").is_empty());
    assert!(warned("g:a:0,6:once:x\n").contains("level 0 starts nothing"));
}

#[test]
fn every_setting_is_known_and_checked() {
    let table = good(
        ":::socket:/s\n:::initstat:/i\n:::clstat:/c\n:::log:/l\n:::group:web\n:::env:A=b:c\n:::env:D=\n:::mounts:none\n\
         :::watchdog:/dev/watchdog,10\n:::initscript:/etc/initscript\n",
    );
    let settings = table.settings();
    assert_eq!(settings.env.iter().map(|pair| pair.to_bytes()).collect::<Vec<_>>(), [&b"A=b:c"[..], b"D="]);
    assert_eq!(settings.watchdog.as_ref().and_then(|dog| dog.seconds), Some(10));
    for wrong in [
        "socket:rel",
        "env:=x",
        "env:x",
        "mounts:some",
        "watchdog:x",
        "watchdog:/d,0",
        "limit:x",
        "x:y",
        "log:",
        "include:x",
    ] {
        bad(&format!(":::{wrong}\n"));
    }
}

#[test]
fn names_that_cannot_be_told_are_refused() {
    for wrong in [
        "a b:t:1:once:x",
        "g:t u:1:once:x",
        ":t:1:once:x",
        "g::1:once:x",
        "stopall:t:1:once:x",
        "g:t:1 2:once:x",
    ] {
        bad(&format!("{wrong}\n"));
    }
    bad(&format!("g:{}:1:once:x\n", "t".repeat(48)));
    good(&format!("g:{}:1:once:x\n", "t".repeat(47)));
    assert!(bad("g:a:1:once:a\0b\n").contains("a zero byte"));
    assert!(bad("g:a:1:once:\n").contains("the process is empty"));
    assert!(bad("g:i:1,2:initdefault:\n").contains("one level"));
    assert!(bad("g:i:1:initdefault:\ng:j:1:initdefault:\n").contains("already"));
}

#[test]
fn whatever_the_bytes_are_it_does_not_break() {
    let mut seed = 88_172_645_463_325_252u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let pieces: [&[u8]; 16] = [
        b":", b":::", b",", b"=", b"\n", b"\\\n", b"\r\n", b"#", b"respawn", b"wait", b"log=", b"a", b" ",
        b"\0", b"\xff", b"stop=1",
    ];
    for _ in 0..100_000 {
        let text: Vec<u8> = (0..random(24)).flat_map(|_| pieces[random(pieces.len())].to_vec()).collect();
        match Table::parse("t", &text) {
            Ok(loaded) => loaded.table.entries().for_each(|entry| {
                let _ = (entry.levels().has(b"1"), entry.process().words().count(), entry.digest());
            }),
            Err(report) => assert!(!report.to_string().is_empty()),
        }
    }
}

#[test]
fn included_files_stand_where_they_are_included() {
    let directory = tests_wrong::Directory::new();
    directory.put("d/b.tab", "g:b:1:once:x\n");
    directory.put("d/a.tab", "g:a:1:once:x\n");
    let main = directory.put("main", "g:first:1:once:x\n:::include:d/*.tab\ng:last:1:once:x\n");
    let table = Table::load(&main).unwrap_or_else(|report| panic!("{report}")).table;
    let tags: Vec<&[u8]> = table.entries().map(|entry| entry.tag()).collect();
    assert_eq!(tags, [&b"first"[..], b"a", b"b", b"last"]);
    assert!(!table.changed_on_disk());
    directory.put("d/c.tab", "g:a:1:onse:x\n");
    assert!(table.changed_on_disk(), "a new drop-in is a change");
    let report = Table::load(&main).err().map(|report| report.to_string()).unwrap_or_default();
    assert!(
        report.contains("c.tab:1:7: error: no action") && report.contains("this tag is taken"),
        "{report}"
    );
}

#[test]
fn an_exec_that_no_shell_reads_is_left_out() {
    for (process, words) in [
        ("exec nginx -q", &["nginx", "-q"][..]),
        ("+exec  nginx", &["nginx"]),
        ("exec", &["exec"]),
        ("execute it", &["execute", "it"]),
    ] {
        let table = good(&format!("g:a:1:once:{process}\n"));
        let entry = table.entries().next().unwrap();
        let found: Vec<&str> =
            entry.process().words().map(|word| std::str::from_utf8(word).unwrap()).collect();
        assert!(!entry.process().shell && found == words, "{process}: {found:?}");
    }
}
