//! Completion of command lines, by the shells themselves: bash is given COMP_WORDS, zsh types Tab in a terminal of its own,
//! fish says what it would offer.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Daemon, Output, Stage, binary, isinit, run};
use isinit::cli::verbs;
use isinit::isinittab::Signal;

/// A command line: whole words, and the beginning of the one that is completed.
struct Line<'a> {
    words: Vec<&'a str>,
    current: &'a str,
}

fn line(text: &str) -> Line<'_> {
    let (words, current) = text.rsplit_once(' ').unwrap();
    Line { words: words.split(' ').collect(), current }
}

/// A shell offers words for a line.
type Shell = fn(&Stage, &Line) -> BTreeSet<String>;

const SHELLS: [(&str, Shell); 3] = [("bash", bash), ("zsh", zsh), ("fish", fish)];

fn completions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/completion")
}

/// The stage's directory comes first in PATH, with an `isinit` in it.
fn in_shell(stage: &Stage, program: &str, args: &[&str]) -> Output {
    let _ = symlink(binary(), stage.path("isinit"));
    let path = format!("{}:{}", stage.dir().display(), std::env::var("PATH").unwrap());
    let output = run(Command::new(program)
        .args(args)
        .current_dir(stage.dir())
        .env("PATH", path)
        .env("HOME", stage.dir())
        .env_remove("ISINIT_SOCKET"));
    assert!(output.stderr.is_empty(), "{output:?}");
    output
}

fn bash(stage: &Stage, line: &Line) -> BTreeSet<String> {
    let script = r#"source "$1/isinit.bash"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _isinit
        for word in "${COMPREPLY[@]}"; do eval "printf '%s\n' $word"; done"#;
    let directory = completions();
    let mut args = vec!["--norc", "--noprofile", "-c", script, "bash", directory.to_str().unwrap()];
    args.extend(&line.words);
    args.push(line.current);
    in_shell(stage, "bash", &args).stdout.lines().map(String::from).collect()
}

fn zsh(stage: &Stage, line: &Line) -> BTreeSet<String> {
    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helpers/complete.zsh");
    let (directory, file) = (completions(), stage.path("offered"));
    stage.write("offered", "");
    let text = format!("{} {}", line.words.join(" "), line.current);
    let args = ["-f", helper.to_str().unwrap(), directory.to_str().unwrap(), file.to_str().unwrap(), &text];
    in_shell(stage, "zsh", &args);
    let offered = stage.lines("offered");
    assert!(offered.last().is_some_and(|line| line.starts_with("LINE:isinit ")), "{offered:?}");
    offered[..offered.len() - 1].iter().filter(|word| !word.is_empty()).cloned().collect()
}

fn fish(stage: &Stage, line: &Line) -> BTreeSet<String> {
    let script = "source $argv[1]/isinit.fish; complete -C $argv[2]";
    let text = format!("{} {}", line.words.join(" "), line.current);
    let output =
        in_shell(stage, "fish", &["--no-config", "-c", script, completions().to_str().unwrap(), &text]);
    output.stdout.lines().map(|line| line.split('\t').next().unwrap().to_string()).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_string()).collect()
}

/// Names that a shell could take for commands of its own.
const TABLE: &str = "web:www:run,maint:respawn:sh svc www\nweb:`touch$IFS'a'`:run,:once:true\nweb:x;>b&|\"\\:234:once:true\n\
    $(touch$IFS\"c\"):$HOME~*?[a]:one,:off:true\njobs:cron::off:true\ncheck:odd:run,:off:true\n";

const HOSTILE: &str = "$(touch$IFS\"c\")";

#[test]
fn groups_levels_and_tags_are_those_of_the_daemon() {
    let d = Daemon::start(TABLE);
    // Not the table that the daemon goes by: it is the daemon's word that counts.
    d.write("other", "nobody:asks:this,:off:true\n");
    let before = format!("isinit -c other -s {} ", d.socket().display());
    let groups = set(&["web", HOSTILE, "jobs", "check"]);
    let tags = set(&["www", "`touch$IFS'a'`", "x;>b&|\"\\", "$HOME~*?[a]", "cron", "odd"]);
    for (name, shell) in SHELLS {
        let offered = |rest: &str| shell(&d, &line(&format!("{before}{rest}")));
        for verb in ["tell", "plan", "status", "timeline", "tell --wait", "-d"] {
            assert_eq!(offered(&format!("{verb} ")), groups, "{name}: {verb}");
        }
        for verb in ["start", "stop", "restart", "signal TERM"] {
            assert_eq!(offered(&format!("{verb} ")), tags, "{name}: {verb}");
        }
        for verb in ["tell", "plan", "tell --timeout 5", "-d", ""] {
            let words = format!("{verb} web ");
            assert_eq!(
                offered(words.trim_start()),
                set(&["0", "run", "maint", "2", "3", "4"]),
                "{name}: {verb}"
            );
        }
        assert_eq!(offered("tell jobs "), set(&["0"]), "{name}");
        assert_eq!(offered("tell we"), set(&["web"]), "{name}");
        assert_eq!(offered("tell web run "), set(&[]), "{name}");
        let first = offered("");
        assert!(groups.is_subset(&first) && first.contains("status"), "{name}: {first:?}");
    }
    assert!(!["a", "b", "c"].iter().any(|name| d.path(name).exists()), "a name was executed");
    // The next Tab knows what a re-read has brought.
    d.write_table("web:new:later,:once:true\n");
    assert_eq!(d.last_line(":reread"), "ok read");
    for (name, shell) in SHELLS {
        assert_eq!(shell(&d, &line(&format!("{before}restart "))), set(&["new"]), "{name}");
        assert_eq!(shell(&d, &line(&format!("{before}tell web "))), set(&["0", "later"]), "{name}");
    }
}

#[test]
fn without_a_daemon_they_are_those_of_the_table() {
    let stage = Stage::new();
    stage.write_table(TABLE);
    stage.write("wrong", "no table\n");
    for (name, shell) in SHELLS {
        let offered = |rest: &str| shell(&stage, &line(rest));
        assert_eq!(
            offered("isinit --table isinittab tell "),
            set(&["web", HOSTILE, "jobs", "check"]),
            "{name}"
        );
        assert_eq!(offered("isinit -c isinittab plan web m"), set(&["maint"]), "{name}");
        assert_eq!(offered("isinit -c isinittab stop c"), set(&["cron"]), "{name}");
        assert_eq!(offered("isinit -c wrong tell "), set(&[]), "{name}");
        let files = offered("isinit -c isi");
        assert!(files.contains("isinittab"), "{name}: {files:?}");
        assert!(offered("isinit check isi").contains("isinittab"), "{name}");
        assert!(offered("isinit timeline --svg isi").contains("isinittab"), "{name}");
        assert_eq!(offered("isinit import --from "), set(&["busybox", "sysvinit"]), "{name}");
    }
}

/// Words with two dashes in a help.
fn options(help: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    let words = help.split(|letter| !is_part(letter)).filter(|word| word.starts_with("--") && word.len() > 2);
    words.map(String::from).collect()
}

#[test]
fn verbs_and_options_are_those_of_the_help() {
    let stage = Stage::new();
    stage.write_table("web:www:run,:off:true\n");
    let verbs: BTreeSet<String> = verbs::NAMES.into_iter().chain(["run"]).map(String::from).collect();
    let help = isinit(&["--help"]).stdout;
    let in_help: BTreeSet<&str> = help.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).collect();
    assert!(verbs.iter().all(|verb| in_help.contains(&**verb)), "{help}");
    for (name, shell) in SHELLS {
        let offered = |rest: &str| shell(&stage, &line(&format!("isinit -c isinittab {rest}")));
        let mut first = offered("");
        assert!(first.remove("web"), "{name}");
        assert_eq!(first, verbs, "{name}");
        for verb in &verbs {
            let text = isinit(&[verb, "--help"]).stdout;
            let mut expected = options(&text);
            expected.insert("--help".into());
            let long = offered(&format!("{verb} --")).into_iter().filter(|word| word.len() > 2);
            // These may stand anywhere, and fish says so.
            let mut long: BTreeSet<String> =
                long.filter(|word| !["--table", "--socket"].contains(&&**word)).collect();
            if verb == "run" {
                expected.extend(["--version".into()]);
                long.insert("--help".into());
            }
            assert_eq!(long, expected, "{name}: {verb}");
        }
        let signals = offered("signal ");
        assert!(signals.contains("TERM") && signals.contains("HUP"), "{name}: {signals:?}");
        assert!(
            signals.iter().all(|signal| Signal::from_name(signal.as_bytes()).is_some()),
            "{name}: {signals:?}"
        );
        let common = offered("-");
        assert!(set(&["-c", "-s", "-d", "-k"]).is_subset(&common), "{name}: {common:?}");
    }
}

#[test]
fn the_names_are_listed_for_programs() {
    let stage = Stage::new();
    stage.write_table(TABLE);
    let table = stage.table();
    let output = isinit(&["-s", "/nonexistent/s", "check", "--words", table.to_str().unwrap()]);
    assert_eq!((output.status, &*output.stderr), (0, ""));
    let lines: Vec<&str> = output.stdout.lines().collect();
    for wanted in
        ["group web", "tag web www", "level web maint", "level jobs 0", "level web 3", "tag jobs cron"]
    {
        assert_eq!(lines.iter().filter(|line| **line == wanted).count(), 1, "{wanted}: {output:?}");
    }
    fs::write(&table, b"a\xff:b:run,:off:true\na\xff:c\xff:run,:off:true\nweb:d:run,:once:true\n").unwrap();
    let output = isinit(&["-s", "/nonexistent/s", "-c", table.to_str().unwrap(), "check", "--words"]);
    assert_eq!(
        output.stdout, "group web\ntag web d\nlevel web 0\nlevel web run\n",
        "what cannot be typed is left out"
    );
    fs::write(&table, "wrong\n").unwrap();
    let output = isinit(&["-s", "/nonexistent/s", "-c", table.to_str().unwrap(), "check", "--words"]);
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (4, "", ""));
}
