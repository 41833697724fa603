//! `isinit import`: what becomes of the inittabs in tests/inittabs, field by field, and of anything else.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::isinit;
use isinit::isinittab::{Action, Imported, Origin, Table, import};

fn inittab(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inittabs").join(name)
}

fn imported(origin: Origin, text: &str) -> Imported {
    import(Some(origin), b"init", "t", text.as_bytes()).unwrap_or_else(|report| panic!("{report}"))
}

/// The table without what every one has at its head.
fn body(origin: Origin, text: &str) -> String {
    let text = String::from_utf8(imported(origin, text).text).unwrap();
    let at = match origin {
        Origin::Sysvinit => text.find(":::stop-timeout:3\n").unwrap() + ":::stop-timeout:3\n".len(),
        Origin::Busybox => text.find(":initdefault:\n").unwrap() + ":initdefault:\n".len(),
    };
    text[at..].into()
}

/// The differences, one `LINE:COLUMN: message` on a line.
fn differences(origin: Origin, text: &str) -> String {
    let imported = imported(origin, text);
    let line = |d: &isinit::isinittab::Diagnostic| format!("{}:{}: {}\n", d.line, d.column, d.message);
    imported.differences.iter().map(line).collect()
}

/// A line of sysvinit's, and the entry or comment that it becomes. A line with S keeps sysvinit's own away.
fn sysvinit(line: &str) -> String {
    let body = body(Origin::Sysvinit, &format!("~~:S:wait:/sbin/sulogin\n{line}\n"));
    body.strip_prefix("init:~~:S:wait:/sbin/sulogin\n").unwrap().trim_end().into()
}

fn sysvinit_says(line: &str) -> String {
    differences(Origin::Sysvinit, &format!("~~:S:wait:/sbin/sulogin\n{line}\n"))
}

fn busybox(line: &str) -> String {
    body(Origin::Busybox, line).trim_end().into()
}

#[test]
fn every_table_that_is_written_passes_a_check() {
    let mut seen = 0;
    for file in fs::read_dir(inittab("")).unwrap().map(|file| file.unwrap().path()) {
        let from = file.extension().unwrap().to_str().unwrap();
        let written = isinit(&["import", "--from", from, file.to_str().unwrap()]);
        assert_eq!(written.status, 0, "{}: {}", file.display(), written.stderr);
        if let Err(report) = Table::parse("t", written.stdout.as_bytes()) {
            panic!("{}: {report}", file.display());
        }
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn a_distributions_inittab_has_one_line_without_a_place() {
    let path = inittab("distribution.sysvinit");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(differences(Origin::Sysvinit, &text), "19:4: this has no place while the machine goes down\n");
    let body = body(Origin::Sysvinit, &text);
    for line in ["\ninit:l0:0:shutdown:/etc/init.d/rc 0\n", "\ninit:l6:6:shutdown:/etc/init.d/rc 6\n"] {
        assert!(body.contains(line), "{body}");
    }
    assert!(body.contains("\n#z6:6:respawn:/sbin/sulogin --force\n"));
    // Comments, blank lines and order: all other lines are the same but for the group.
    for (old, new) in text.lines().zip(body.lines()) {
        let same = old == new || new == format!("init:{old}") || new == format!("#{old}");
        assert!(same || new.contains(":shutdown:"), "{old}\n{new}");
    }
    assert_eq!(text.lines().count(), body.lines().count());
    let table = Table::parse("t", body.as_bytes()).unwrap().table;
    assert_eq!(table.group(0).unwrap().initdefault, Some(&b"2"[..]));
}

#[test]
fn a_boards_inittab_means_the_same() {
    let text = fs::read_to_string(inittab("board.busybox")).unwrap();
    assert_eq!(differences(Origin::Busybox, &text), "");
    let body = body(Origin::Busybox, &text);
    assert_eq!(text.lines().count(), body.lines().count());
    for line in [
        "init:sysinit::sysinit:/bin/mount -t proc proc /proc",
        "init:sysinit4::sysinit:exec </dev/null >/dev/null 2>&1; exec /bin/ln -sf /proc/self/fd /dev/fd",
        "init:ttyS0:run,:respawn,delay=1,tty=/dev/ttyS0:/sbin/getty -L ttyS0 115200 vt100 # GENERIC_SERIAL",
        "init:respawn:run,:respawn,delay=1:/sbin/getty -L console 0 vt100",
        "init:askfirst:run,:askfirst,delay=1,tty=@console:-/bin/sh",
        "init:ctrlaltdel::ctrlaltdel:/sbin/reboot",
        "init:restart::restart:/sbin/init",
        "init:shutdown3::shutdown:/bin/umount -a -r",
        "# A getty on the serial line.",
    ] {
        assert!(body.lines().any(|written| written == line), "{line}\n{body}");
    }
}

#[test]
fn the_table_begins_with_the_group_and_the_old_inits_bounds() {
    let text = String::from_utf8(imported(Origin::Sysvinit, "a:2:respawn:x\n").text).unwrap();
    assert!(text.starts_with(":::group:init\n"), "{text}");
    let table = Table::parse("t", text.as_bytes()).unwrap().table;
    let options = table.entry(0).unwrap().options();
    let limit = options.limit.unwrap();
    assert_eq!((limit.starts, limit.window_ms, limit.hold_ms), (10, 120_000, 300_000));
    assert_eq!(options.stop_timeout_ms, 3_000);
    let text = imported(Origin::Busybox, "::respawn:x\n").text;
    let table = Table::parse("t", &text).unwrap().table;
    let entry = table.entries().find(|entry| entry.action() == Action::Respawn).unwrap();
    assert_eq!((entry.options().limit, entry.options().delay_min_ms), (None, 1_000));
    assert_eq!(table.group(0).unwrap().initdefault, Some(&b"run"[..]));
}

#[test]
fn what_means_the_same_is_said_to_be_nothing() {
    for (line, written) in [
        ("a:2345:respawn:+/sbin/getty tty1", "init:a:2345:respawn:+/sbin/getty tty1"),
        ("a:2:WAIT:x", "init:a:2:wait:x"),
        ("a:2,3:respawn:x", "init:a:23:respawn:x"),
        ("a::respawn:x", "init:a:12345789:respawn:x"),
        ("a:023:ctrlaltdel:x", "init:a:23:ctrlaltdel:x"),
        ("a:5:sysinit:x", "init:a::sysinit:x"),
        ("a:5:boot:x", "init:a::boot:x"),
        ("a::powerwait:x", "init:a::powerwait:x"),
        ("a:2:off:", "init:a:2:off:"),
        ("a:ab:ondemand:x", "init:a:ab:ondemand:x"),
        ("a:23:ondemand:x", "init:a:23:respawn:x"),
        ("a:06:wait:x", "init:a:06:shutdown:x"),
        ("id:23:initdefault:", "init:id:3:initdefault:"),
        ("a:2:wait:x >/dev/null 2>&1 &", "init:a:2:wait:x >/dev/null 2>&1 &"),
        ("a:2:wait:x a:b:c", "init:a:2:wait:x a:b:c"),
        ("  a : 2 : wait : x", "init:a:2:wait:x"),
        ("~~:S:wait:x", "init:~~2:S:wait:x"),
    ] {
        assert_eq!((sysvinit(line), sysvinit_says(line)), (written.into(), String::new()), "{line}");
    }
}

#[test]
fn what_differs_is_said_at_its_place() {
    for (line, written, said) in [
        ("x:016:wait:p", "init:x:1:wait:p\ninit:x-down:06:shutdown:p", "2:3: going down is no level"),
        ("x:6:once:p", "init:x:6:shutdown:p", "2:5: going down waits for the end"),
        ("z6:6:respawn:p", "#z6:6:respawn:p", "2:4: this has no place"),
        ("r:023:respawn:p", "init:r:23:respawn:p", "2:3: sysvinit keeps this running"),
        ("a:2:wait:p; q", "init:a:2:wait:p; q", "2:11: what stands behind this has never run"),
        ("a:2a:ondemand:p", "init:a:2a:ondemand:p", "2:3: isinit starts this by a, b and c"),
        ("a:2a:respawn:p", "init:a:2a:respawn:p", "2:3: with this action, a, b and c"),
        ("a:2x:wait:p", "init:a:2:wait:p", "2:4: sysvinit never is at this level"),
        ("a:2:askfirst:p", "#a:2:askfirst:p", "2:5: sysvinit has no action"),
        ("a:2:respwan:p", "#a:2:respwan:p", "2:5: sysvinit has no action"),
        ("abcde:2:wait:p", "#abcde:2:wait:p", "2:1: an id has at most 4"),
        (":2:wait:p", "#:2:wait:p", "2:1: the id is missing"),
        ("a:2:wait:", "#a:2:wait:", "2:10: nothing is started"),
        ("a:123451234512:wait:p", "#a:123451234512:wait:p", "2:3: a runlevels field"),
        ("i::initdefault:", "#i::initdefault:", "2:3: sysvinit asks for the level"),
        ("i:6:initdefault:", "#i:6:initdefault:", "2:3: sysvinit goes down at once"),
        ("a:2:wait:p \\", "#a:2:wait:p \\", "2:12: a backslash"),
    ] {
        assert_eq!(sysvinit(line), written, "{line}");
        let report = sysvinit_says(line);
        assert!(report.starts_with(said) && report.lines().count() == 1, "{line}: {report}");
    }
}

#[test]
fn of_two_lines_with_one_id_the_first_holds() {
    assert_eq!(sysvinit("a:2:wait:x\na:3:wait:y"), "init:a:2:wait:x\n#a:3:wait:y");
    assert_eq!(sysvinit_says("a:2:wait:x\na:3:wait:y"), "3:1: another entry has this id already\n");
    assert_eq!(sysvinit("i:2:initdefault:\nj:3:initdefault:"), "init:i:2:initdefault:\n#j:3:initdefault:");
    // A line that sysvinit ignores takes no id.
    assert!(sysvinit("a:2:nothing:x\na:3:wait:y").ends_with("\ninit:a:3:wait:y"));
}

#[test]
fn single_user_mode_is_added_where_sysvinit_adds_it() {
    let added = "init:~~:S:wait:/sbin/sulogin\n";
    assert!(body(Origin::Sysvinit, "a:2:wait:x\n").ends_with(added));
    assert!(body(Origin::Sysvinit, "a:S:sysinit:x\n").ends_with(added));
    assert!(!body(Origin::Sysvinit, "a:s:wait:x\n").contains("sulogin"));
}

#[test]
fn busybox_entries_get_tags_levels_and_terminals() {
    for (line, written) in [
        ("::once:x", "init:once:run,:once:x"),
        ("::wait:x", "init:wait:run,:wait:x"),
        (":2345:wait:x", "init:wait:run,:wait:x"),
        ("::respawn:-/bin/sh", "init:respawn:run,:respawn,delay=1,tty=@console:-/bin/sh"),
        ("/dev/tty3::askfirst:x", "init:tty3:run,:askfirst,delay=1,tty=/dev/tty3:x"),
        ("tty1::sysinit:x", "init:tty1::sysinit,tty=/dev/tty1:x"),
        ("null::respawn:x", "init:respawn:run,:respawn,delay=1:exec </dev/null >/dev/null 2>&1; exec x"),
        ("null::once:-x", "init:once:run,:once:-exec </dev/null >/dev/null 2>&1; exec x"),
        ("::shutdown:x\n\n::shutdown:y", "init:shutdown::shutdown:x\n\ninit:shutdown2::shutdown:y"),
        ("id::once:x", "init:id2:run,:once,tty=/dev/id:x"),
    ] {
        assert_eq!((busybox(line), differences(Origin::Busybox, line)), (written.into(), String::new()));
    }
}

#[test]
fn busyboxs_own_order_is_said_where_the_files_is_another() {
    let said = |text| differences(Origin::Busybox, text);
    assert_eq!(said("::wait:a\n::once:b\n::respawn:c\n::sysinit:d\n"), "");
    assert!(said("::once:b\n::wait:a\n").starts_with("2:3: BusyBox runs this before"));
    assert!(said("::wait:a\n::once:a\n").starts_with("1:8: another line has this terminal"));
    assert_eq!(busybox("::wait:a\n::once:a"), "#::wait:a\ninit:once:run,:once:a");
    assert!(said("null::once:a; b\n::once:a; b\n").starts_with("2:9: what stands behind this has never run"));
    assert!(said("::powerfail:a\n").starts_with("1:3: BusyBox has no action"));
}

#[test]
fn whose_inittab_it_is_can_be_seen() {
    let group_of = |text: &[u8]| import(None, b"g", "t", text).map(|imported| imported.text).ok().unwrap();
    let busybox = b":::group:g\n# As BusyBox";
    for text in [&b"::sysinit:x\n"[..], b"tty1::askfirst:x\n", b"# a\n\ntty1::respawn:x\n::wait:y\n"] {
        assert!(group_of(text).starts_with(busybox));
    }
    for text in [&b"a:2:wait:x\n"[..], b"", b"# ::sysinit:x\n", b"1::respawn:x\n"] {
        assert!(group_of(text).starts_with(b":::group:g\n# As sysvinit"));
    }
}

#[test]
fn line_ends_of_other_systems_and_a_missing_last_one_are_taken() {
    assert_eq!(body(Origin::Busybox, "# a\r\n\r\n::once:x\r\n"), "# a\n\ninit:once:run,:once:x\n");
    assert_eq!(body(Origin::Busybox, "::once:x"), "init:once:run,:once:x\n");
    assert_eq!(body(Origin::Busybox, ""), "");
    assert_eq!(body(Origin::Busybox, "\n\n"), "\n\n");
}

#[test]
fn what_is_no_inittab_is_refused_with_all_of_its_lines() {
    let d = common::Stage::new();
    d.write("bad", "hello\na:2:wait:x\nfoo:x\n");
    let path = d.path("bad");
    let said = isinit(&["import", path.to_str().unwrap()]);
    assert_eq!((said.status, said.stdout.as_str()), (4, ""));
    assert!(said.stderr.contains("bad:1:1: error: ") && said.stderr.contains("bad:3:1: error: "), "{said:?}");
    let said = isinit(&["import", "/nonexistent/inittab"]);
    assert_eq!((said.status, said.stdout.as_str()), (4, ""));
    assert!(said.stderr.starts_with("/nonexistent/inittab: error: cannot read the inittab: "), "{said:?}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let path = inittab("board.busybox");
    let path = path.to_str().unwrap();
    let long = "g".repeat(64);
    for words in [
        &["import"][..],
        &["import", "--from", "upstart", path],
        &["import", "--group", "a b", path],
        &["import", "--group", "", path],
        &["import", "--group", "#g", path],
        &["import", "--group", "a:b", path],
        &["import", "--group", &long, path],
    ] {
        let said = isinit(words);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{words:?} {}", said.stderr);
    }
    assert!(isinit(&["import", "--group", "machine", path]).stdout.starts_with(":::group:machine\n"));
}

/// Numbers that are the same in every run (xorshift).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// A line that is mostly an entry, of what an inittab may have and of what it may not.
fn any_line(state: &mut u64) -> Vec<u8> {
    const IDS: [&[u8]; 12] =
        [b"", b"a", b"b", b"1", b"~~", b"id", b"null", b"tty1", b"/dev/tty1", b"abcdef", b" c d", b"\xff,"];
    const LEVELS: [&[u8]; 12] =
        [b"", b"2", b"2345", b"06", b"0", b"016", b"S", b"2,3", b"a", b"2a", b"x\x01", b"0123456789012"];
    const ACTIONS: [&[u8]; 20] = [
        b"respawn",
        b"wait",
        b"once",
        b"ondemand",
        b"initdefault",
        b"sysinit",
        b"boot",
        b"bootwait",
        b"off",
        b"powerwait",
        b"ctrlaltdel",
        b"kbrequest",
        b"askfirst",
        b"shutdown",
        b"restart",
        b"WAIT",
        b"test",
        b"",
        b"wait,main",
        b"\t once",
    ];
    const PROCESSES: [&[u8]; 12] =
        [b"", b"x", b"x y", b"-sh", b"+x", b"@x;y", b"a; b", b"'", b"x:y#", b"x \\", b"x\0", b"\xfe\r"];
    let mut line = Vec::new();
    for pieces in [&IDS[..], &LEVELS, &ACTIONS, &PROCESSES] {
        line.extend_from_slice(pieces[next(state) % pieces.len()]);
        line.push(b':');
    }
    line.truncate(match next(state) % 64 {
        0 => next(state) % line.len(),
        _ => line.len() - 1,
    });
    line.push(b'\n');
    line
}

#[test]
fn of_any_lines_comes_a_table_or_why_not() {
    let (mut state, mut tables) = (0x1517_u64, 0);
    for _ in 0..10_000 {
        let count = next(&mut state) % 12;
        let text: Vec<u8> = (0..count).flat_map(|_| any_line(&mut state)).collect();
        for origin in [None, Some(Origin::Sysvinit), Some(Origin::Busybox)] {
            match import(origin, b"init", "t", &text) {
                Ok(imported) => {
                    let table = Table::parse("t", &imported.text).map_err(|report| report.to_string());
                    tables += usize::from(table.unwrap().table.len() > 2);
                }
                Err(report) => {
                    // What is refused only as a table has a line that should have been a comment.
                    let own = report.has_errors() && report.iter().all(|diagnostic| diagnostic.file == "t");
                    assert!(own, "{report}{}", String::from_utf8_lossy(&text));
                }
            }
        }
    }
    assert!(tables > 5_000, "{tables} tables");
}

#[test]
fn any_bytes_at_all_do_no_harm() {
    let mut state = 0x1991_u64;
    for _ in 0..10_000 {
        let length = next(&mut state) % 80;
        let byte = |state: &mut u64| b":\n#\\ a02S\0\xff"[next(state) % 11];
        let text: Vec<u8> = (0..length).map(|_| byte(&mut state)).collect();
        if let Ok(imported) = import(None, b"init", "t", &text) {
            assert!(Table::parse("t", &imported.text).is_ok());
        }
    }
}
