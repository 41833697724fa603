//! Wrong tables, to the letter; tables on disk; tables that are wrong in every line, which must cost no more
//! than good ones.

use std::fs::{create_dir, create_dir_all, remove_dir_all, write};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::path::PathBuf;

use super::entry::Record;
use super::*;
use crate::limits::{ARGUMENTS_MAX, DIAGNOSTICS_MAX, PROCESS_MAX_BYTES, WORD_MAX_BYTES};

/// What is said of a text, whether it is taken or not.
fn said(text: impl AsRef<[u8]>) -> String {
    match Table::parse("t", text.as_ref()) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(report) => report.to_string(),
    }
}

fn is_taken(text: &str) -> bool {
    Table::parse("t", text.as_bytes()).is_ok()
}

/// A directory of its own for a test, gone at its end.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Directory {
        loop {
            let random = RandomState::new().build_hasher().finish() as u32;
            let path = std::env::temp_dir().join(format!("isinit-table-{random:08x}"));
            match create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Directory(path)).unwrap(),
            }
        }
    }

    pub(super) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, text).unwrap();
        path
    }

    /// What is said of a table in here, without the name of the directory.
    fn said(&self, text: &str) -> String {
        let words = match Table::load(&self.put("main", text)) {
            Ok(loaded) => loaded.warnings.to_string(),
            Err(report) => report.to_string(),
        };
        words.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}

#[test]
fn the_same_action_field_again_is_as_wrong_again() {
    let thrice = |action: &str| {
        let lines = (1..=3).map(|n| format!("g:t{n}:1:{action}:x\n")).collect::<String>();
        let said = said(lines);
        let places = |n: usize| said.contains(&format!("t:{n}:"));
        assert!((1..=3).all(places), "{said}");
    };
    thrice("respwan");
    thrice("respawn,stpo=TERM");
    thrice("once,limit=no");
    thrice("respawn,ready-timeout=5");
    thrice("respawn,log=nobody");
    let table = Table::parse("t", b"g:a:1:respawn,nice=3:x\ng:b:1:respawn,nice=3:y\ng:c:1:respawn:z\n")
        .unwrap()
        .table;
    let nice: Vec<Option<i32>> = table.entries().map(|entry| entry.options().nice).collect();
    assert_eq!(nice, [Some(3), Some(3), None]);
}

#[test]
fn the_caret_stands_under_the_value_of_a_log_that_goes_nowhere() {
    assert_eq!(
        said("g:reader:1:respawn:x\ng:b:1:respawn,log=raeder:x\n"),
        "t:2:19: error: no entry has the tag that this log goes to\n    g:b:1:respawn,log=raeder:x\n                      \
         ^^^^^^\n    help: did you mean reader?\n"
    );
}

#[test]
fn an_entry_that_is_wrong_makes_no_error_in_one_that_is_right() {
    assert_eq!(said("g:a:1:onse:x\ng:b:1:respawn,log=a:x\n").matches("error").count(), 1);
    assert!(
        !said("g:i:9:initdefault:\ng:a:9:onse:x\n").contains("warning"),
        "what the second starts is not known"
    );
    let misplaced = said("g g:a:1:respawn,log=nobody:x\ng:b:1:respawn:x\n");
    assert!(misplaced.contains("t:1:21: error: no entry") && !misplaced.contains("t:2"), "{misplaced}");
}

#[test]
fn a_circle_of_logs_is_told_once_and_what_leads_into_it_is_not() {
    let report = said("g:in:1:respawn,log=a:x\ng:a:1:respawn,log=b:x\ng:b:1:respawn,log=a:x\n");
    assert_eq!(report.matches("comes back").count(), 1, "{report}");
    assert!(said("g:a:1:respawn,log=a:x\n").contains("t:1:19: error: this log comes back to its own entry"));
    assert!(is_taken(
        "g:a:1:respawn,log=c:x\ng:b:1:respawn,log=c:x\ng:c:1:respawn,log=d:x\ng:d:1:respawn:x\n"
    ));
}

#[test]
fn a_missing_colon_is_told_by_the_field_that_it_would_end() {
    for (text, words) in [
        ("g\n", "t:1:1: error: 0 of the four colons are there: the tag field is missing"),
        ("g:a\n", "t:1:4: error: 1 of the four colons are there: the levels field is missing"),
        ("g:a:1\n", "t:1:6: error: 2 of the four colons are there: the action field is missing"),
        ("g:a:1:once\n", "t:1:11: error: 3 of the four colons are there: the process field is missing"),
        (":::socket\n", "t:1:10: error: the last colon and the value of this setting are missing"),
    ] {
        assert!(said(text).starts_with(words), "{}", said(text));
    }
}

#[test]
fn a_line_that_is_continued_with_nothing_is_wrong_at_its_end() {
    for text in ["# x\ng:t:1\\", "# x\ng:t:1\\\n", "# x\ng:t\\\n:1\\"] {
        let report = Table::parse("t", text.as_bytes()).err().unwrap();
        let wrong = report.iter().next().unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!((wrong.line, wrong.column), (text.lines().count(), last.len()), "{report}");
        assert_eq!((wrong.text.as_str(), wrong.caret), (last, last.len() - 1), "{report}");
    }
}

#[test]
fn a_process_of_prefixes_alone_is_empty() {
    for prefixes in ["+", "-", "@", "+-@", "@ ", "+-@ \t"] {
        assert!(said(format!("g:a:1:once:{prefixes}\n")).contains("the process is empty"), "{prefixes}");
    }
    assert!(is_taken("g:a:1:off:\ng:i:1:initdefault:\ng:b:1:once:x\n"));
}

#[test]
fn prefixes_stand_in_any_order_each_once() {
    for prefix in ["+-@", "+@-", "-+@", "-@+", "@+-", "@-+"] {
        let table = Table::parse("t", format!("g:a:1:once:{prefix}a;b\n").as_bytes()).ok().unwrap().table;
        let process = table.entry(0).unwrap().process();
        assert_eq!(
            (process.text, process.no_utmp, process.login, process.shell),
            (&b"a;b"[..], true, true, false)
        );
    }
    let table = Table::parse("t", b"g:a:1:once:++x\n").ok().unwrap().table;
    assert_eq!(table.entry(0).unwrap().process().text, b"+x");
}

#[test]
fn every_metacharacter_of_sysvinit_wants_a_shell_and_nothing_else_does() {
    for byte in (b' '..=b'~').filter(|byte| *byte != b'\\') {
        let text = [b"g:a:1:once:a", &[byte][..], b"b\n"].concat();
        let table = Table::parse("t", &text).ok().unwrap().table;
        let expected = b"~`!$^&*()=|\\{}[];\"'<>?".contains(&byte);
        assert_eq!(table.entry(0).unwrap().process().shell, expected, "{}", char::from(byte));
    }
}

#[test]
fn values_that_the_kernel_would_take_and_nobody_can_mean_are_refused() {
    for option in [
        "delay=0..5",
        "pids=0",
        "memory=0",
        "limit=5/0/60",
        "umask=+22",
        "memory=+1",
        "stop=+15",
        "tty=@foo",
        "user=.x",
        "user=x.",
        "user=a b",
        "stop=0",
        "stop=65",
        "stop=RTMIN+31",
        "ready=1024",
        "ready-timeout=.5",
        "stop-timeout=1.2345",
        "nice=-21",
        "oom=-1001",
        "memory=99999999999999999999",
        "memory=99999999T",
    ] {
        let report = said(format!("g:a:1:respawn,{option}:x\n"));
        assert!(report.starts_with("t:1:15: error: the option "), "{option}: {report}");
        assert!(report.contains("\n    help: "), "{option}");
    }
    assert!(
        said("g:a:1:once,rlimit-nofile=1,rlimit-NOFILE=2:x\n")
            .contains("t:1:28: error: this option is there twice")
    );
}

#[test]
fn options_are_what_they_say() {
    let text = "g:a:1:respawn,stop-timeout=0.5,delay=0.25..30,umask=027,rlimit-core=0,rlimit-NOFILE=unlimited,memory=2G,\
                cpu=150%,stop=SIGRTMIN+3,user=www.adm:x\n";
    let table = Table::parse("t", text.as_bytes()).ok().unwrap().table;
    let options = table.entry(0).unwrap().options();
    assert_eq!((options.stop_timeout_ms, options.delay_min_ms, options.delay_max_ms), (500, 250, 30_000));
    assert_eq!(
        (options.umask, options.memory_bytes, options.cpu_percent),
        (Some(0o27), Some(2 << 30), Some(150))
    );
    assert_eq!(options.rlimits[..], [(4, 0), (7, u64::MAX)]);
    assert_eq!((options.stop.number(), options.stop.name()), (37, "SIGRTMIN+3"));
    assert_eq!(options.user.as_deref(), Some(&b"www.adm"[..]));
}

#[test]
fn every_signal_is_found_by_the_name_that_it_is_shown_with() {
    for number in (1..=64).filter(|number| ![32, 33].contains(number)) {
        let signal = Signal::from_number(number).unwrap();
        assert_eq!(Signal::from_name(signal.name().as_bytes()), Some(signal), "{number} {}", signal.name());
    }
}

#[test]
fn the_level_of_an_initdefault_is_one_word_in_any_case() {
    assert_eq!(said("g:i:run:initdefault:\ng:a:run,:once:x\n"), "");
    assert!(
        said("g:a:run:once:x\n").contains("help: write `run,` for the one word, or `r,u,n` for its letters")
    );
    let report = said("g:i:rum,:initdefault:\ng:a:run,:once:x\n");
    assert!(report.contains("t:1:5: warning: no entry of the group has this level"), "{report}");
    assert!(report.contains("did you mean run?"), "{report}");
    assert_eq!(said("g:i:0:initdefault:\ng:a:run,:once:x\n"), "");
}

#[test]
fn a_setting_that_is_there_twice_is_warned_of_and_the_last_one_holds() {
    let loaded = Table::parse("t", b":::socket:/a\n:::env:A=1\n:::env:B=2\n:::socket:/b\n").ok().unwrap();
    assert_eq!(loaded.table.settings().socket.as_deref(), Some(Path::new("/b")));
    let warnings = loaded.warnings.to_string();
    assert!(warnings.starts_with("t:4:4: warning: this setting is there twice"), "{warnings}");
    assert_eq!(loaded.warnings.len(), 1);
    for group in ["a b", "stopall", "a:b", &"g".repeat(WORD_MAX_BYTES + 1)] {
        assert!(!is_taken(&format!(":::group:{group}\n")), "{group}");
    }
}

#[test]
fn bounds_are_kept_and_named() {
    let words = |count: usize| format!("g:a:1:once:{}\n", "w ".repeat(count));
    assert!(is_taken(&words(ARGUMENTS_MAX)));
    assert!(said(words(ARGUMENTS_MAX + 1)).contains("at most 256 words"));
    assert!(
        is_taken(&format!("g:a:1:once:;{}\n", "w ".repeat(ARGUMENTS_MAX + 1))),
        "a shell counts for itself"
    );
    assert!(is_taken(&format!("g:a:1:once:{}\n", "x".repeat(PROCESS_MAX_BYTES))));
    assert!(
        said(format!("g:a:1:once:{}\n", "x".repeat(PROCESS_MAX_BYTES + 1))).contains("at most 122880 bytes")
    );
    assert!(size_of::<Record>() <= 44, "{}", size_of::<Record>());
}

#[test]
fn a_wrong_file_gives_so_many_errors_and_a_last_line_that_there_are_more() {
    let report = said("x\n".repeat(1000));
    assert_eq!(report.matches("error:").count(), DIAGNOSTICS_MAX);
    assert!(report.ends_with("\nand more\n"));
    let mixed = said(format!(
        "{}g:z:1:onse:x\n",
        (0..500).map(|n| format!("g:t{n}:run:once:x\n")).collect::<String>()
    ));
    assert!(mixed.contains("t:501:7: error: no action"), "warnings take no error's place");
}

#[test]
fn the_caret_is_seen_on_a_line_of_any_length() {
    let report = said(format!("g:a:1:respawn,dir=/{},nice=99:x\n", "d".repeat(5_000)));
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[0], "t:1:5021: error: the option nice cannot be this");
    let caret = lines[2].find('^').unwrap();
    assert!(lines[1].len() < 180 && lines[1].starts_with("    ...ddd"), "{}", lines[1]);
    assert_eq!(lines[1].get(caret..caret + 7), Some("nice=99"));
}

#[test]
fn nothing_in_a_table_moves_the_terminals_cursor() {
    for text in [
        "g:a:1:once,rlimit-\x1b[31mX=3:x\n",
        "g:a:\u{9b}2J:once:x\n",
        "g:a:\u{202e}ab:once:x\n",
        "\x1b]0;x\x07:a:1:once:x\n",
        "g:a:1:\x1bonce:x\n",
    ] {
        let report = said(text);
        let odd = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!report.is_empty() && !report.contains(odd), "{report:?}");
    }
}

#[test]
fn digests_tell_what_has_changed() {
    let entry =
        |text: &str| Table::parse("t", text.as_bytes()).ok().unwrap().table.entry(0).unwrap().digest();
    let old = entry("g:a:1:once:x\n");
    assert_eq!(old, entry("# c\n g : a : 2,3 : once : x\r\n"), "its levels are not what it was started from");
    for new in [
        "g:a:1:wait:x\n",
        "g:a:1:once:y\n",
        "g:a:1:once,nice=1:x\n",
        "g:a:1:once,nice=2:x\n",
        "g:a:1:once:+x\n",
    ] {
        assert_ne!(old, entry(new), "{new}");
    }
    let table = |text: &str| Table::parse("t", text.as_bytes()).ok().unwrap().table.digest();
    assert_eq!(table("g:a:1:once:x\n"), table("# a comment\n\ng:a:1:once:x\n"));
    assert_ne!(table("g:a:1:once:x\n"), table("g:a:2:once:x\n"));
}

#[test]
fn the_digest_of_a_table_is_the_same_for_every_version_and_machine() {
    // Hosts of one cluster compare it, and they are not all upgraded at the same time: who has to change this number
    // has made every one of them differ from its neighbours until the last has the new binary.
    let table =
        Table::parse("t", b"g:a:1:once:x\nweb:nginx:run,:respawn:nginx -g 'daemon off;'\n").ok().unwrap();
    assert_eq!(format!("{:016x}", table.table.digest()), "3c77540d7a5663ef");
}

#[test]
fn equal_options_are_kept_once_wherever_they_stand() {
    let line = |n: usize| format!("g:t{n}:1:respawn,nice={}:x\ng:p{n}:1:once:x\n", n % 19);
    let table = Table::parse("t", (0..1000).map(line).collect::<String>().as_bytes()).ok().unwrap().table;
    assert_eq!((table.options.len(), table.len()), (20, 2000));
    assert_eq!(table.entry(2 * 500).unwrap().options().nice, Some(500 % 19));
}

#[test]
fn entries_of_included_files_know_where_they_stand() {
    let directory = Directory::new();
    directory.put("d/10-a.tab", "\ng:a:1:once:x\n");
    directory.put("d/9-b.tab", "g:b:1:once:x\n");
    let main = directory.put("main", "# c\n:::include:d/[0-9]*.tab\n:::include:more/*\ng:m:1:once:x\n");
    let table = Table::load(&main).ok().unwrap().table;
    let at = |index: u32| table.entry(index).map(|entry| (entry.file().to_path_buf(), entry.line())).unwrap();
    let file = |name: &str| directory.0.join(name);
    assert_eq!([at(0), at(1), at(2)], [(file("d/10-a.tab"), 2), (file("d/9-b.tab"), 1), (file("main"), 4)]);
    assert_eq!(table.files().collect::<Vec<_>>(), [file("main"), file("d/10-a.tab"), file("d/9-b.tab")]);
    assert!(!table.changed_on_disk());
    directory.put("more/z", "g:z:1:once:x\n");
    assert!(table.changed_on_disk(), "a directory that came later is a change");
}

#[test]
fn the_second_of_two_tags_is_shown_the_file_of_the_first() {
    let directory = Directory::new();
    directory.put("d/a.tab", "\n\ng:a:1:once:x\n");
    let report = directory.said(":::include:d/*\ng:a:1:once:x\n");
    assert!(report.starts_with("main:2:3: error: this tag is taken"), "{report}");
    assert!(report.contains("help: d/a.tab:3 has it already"), "{report}");
}

#[test]
fn errors_of_all_files_are_told_in_one_run_file_by_file() {
    let directory = Directory::new();
    directory.put("d/a.tab", "g:a:1:onse:x\n");
    directory.put("d/b.tab", ":::include:x\n");
    create_dir_all(directory.0.join("d/c.tab")).unwrap();
    let report =
        directory.said("\n\n\n:::include:d/*.tab\ng:z:1:onse:x\n:::include:d*/x\n:::include:none.tab\n");
    let places: Vec<&str> = report.lines().filter(|line| line.contains(" error: ")).collect();
    assert_eq!(
        places,
        [
            "main:4:12: error: cannot read d/c.tab: it is not a file",
            "main:5:7: error: no action has this name",
            "main:6:12: error: only the last part of the path may be a pattern",
            "main:7:12: error: cannot read none.tab: No such file or directory (os error 2)",
            "d/a.tab:1:7: error: no action has this name",
            "d/b.tab:1:12: error: an included file cannot include",
        ]
    );
}

#[test]
fn a_table_that_cannot_be_read_is_one_error_with_the_systems_words() {
    let report = Table::load(Path::new("/nonexistent/isinittab")).err().unwrap();
    assert_eq!(
        report.to_string(),
        "/nonexistent/isinittab: error: cannot read the table: No such file or directory (os error 2)\n    help: name \
         another table with -c, or make this one readable\n"
    );
    assert!(Table::load(Path::new("/dev/zero")).err().unwrap().to_string().contains("it is not a file"));
    assert!(Table::load(Path::new("/")).err().unwrap().to_string().contains("it is not a file"));
}

#[test]
fn a_table_that_others_can_write_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let main = directory.put("main", "g:a:1:once:x\n");
    for (mode, warned) in [(0o644, false), (0o600, false), (0o664, true), (0o646, true)] {
        std::fs::set_permissions(&main, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Table::load(&main).ok().unwrap().warnings.len() == 1, warned, "{mode:o}");
    }
}

/// Steps that grow with the square of the entries would take minutes here, not a second: no clock is asked.
#[test]
fn a_table_that_is_wrong_or_odd_in_every_line_takes_no_longer_than_another() {
    let lines = |line: &dyn Fn(usize) -> String| (0..60_000).map(line).collect::<String>();
    said(lines(&|n| format!("g:t{n}:1:respawn,log=zz{n}:x\n")));
    said(lines(&|n| format!("g:t{n}:1:respawn,log=t{}:x\n", n + 1)));
    said(lines(&|n| format!("g:t{n}:1:respawn,log=t0:x\n")));
    said(lines(&|n| {
        format!("g{}:t{n}:run,:{}:x\n", n / 2 % 16_000, if n % 2 == 0 { "initdefault" } else { "once" })
    }));
    said(format!("g:a:1:once{}:x\n", ",nix=1".repeat(1_000_000)));
    said(format!("g:a:{}:once:x\n", "0,".repeat(1_000_000)));
    said(format!("g:a:1:{}:x\n", "o".repeat(8_000_000)));
    said("\\\n".repeat(1_000_000));
}

#[test]
fn whatever_is_done_to_a_good_table_it_does_not_break() {
    const GOOD: &[u8] = b"g:i:run:initdefault:\n:::env:A=b\n# c\ng:a:1,run,:respawn,stop=QUIT,limit=5/10/60,delay=1..9:+x \\\r\n y\n\
        :::watchdog:/dev/w,9\nh:b::test,ready=3,ready-timeout=0.5,log=a,rlimit-core=1K,user=a.b:-@a;b\n";
    let start = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x1517_2001u64);
    println!("SEED={start}");
    let mut seed = start;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..100_000 {
        let mut text = GOOD.to_vec();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(4) {
                0 => text[at] = random(256) as u8,
                1 => drop(text.remove(at)),
                2 => text.insert(at, b":,=\n\\\r#0\0 "[random(10)]),
                _ => text.extend_from_within(at..),
            }
        }
        if let Err(report) = Table::parse("t", &text) {
            assert!(!report.to_string().is_empty());
            let lines = text.split(|byte| *byte == b'\n').count();
            assert!(report.iter().all(|diagnostic| (1..=lines).contains(&diagnostic.line)), "{report}");
        }
    }
}
