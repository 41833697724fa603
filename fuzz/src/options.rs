//! The command line: isinit's own, those of `isinit run`, tini and dumb-init, of telinit and halt; and the kernel's.
//!
//! An input is one or more of them, with a byte 255 in between. The first byte of each says whose it is; the rest are
//! its words, each with a zero byte behind it, as they stand in /proc/PID/cmdline. Nothing is carried out: what is read
//! is looked at.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use argh::FromArgs;
use isinit::cli::old::{Told, read_how, read_telinit};
use isinit::cli::split;
use isinit::cli::verbs::{self, Tell, Verb, Verbs};
use isinit::entrypoint::{Program, Wish};
use isinit::machine::arguments::Arguments;

/// Any words are a command line, or are told to be none.
pub fn check(input: &[u8]) {
    input.split(|byte| *byte == 255).for_each(check_one);
}

fn check_one(line: &[u8]) {
    let Some((whose, bytes)) = line.split_first() else { return };
    let words: Vec<&[u8]> = bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|byte| *byte == 0).collect();
    let text: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    match whose % 6 {
        0 => is_a_command(&text),
        1 => is_an_entrypoint(Program::Run, &words),
        2 => is_an_entrypoint(Program::Tini, &words),
        3 => is_an_entrypoint(Program::DumbInit, &words),
        4 => is_an_old_one(&text),
        _ => is_the_kernel_s(&words),
    }
}

/// `isinit ...`: first `-c` and `-s`, then a verb with its own.
fn is_a_command(words: &[String]) {
    let Ok((_, rest)) = split(words) else { return };
    let places = ["-c", "--table", "-s", "--socket"];
    if !words.iter().any(|word| places.contains(&word.as_str())) {
        assert!(rest.iter().eq(words), "nothing is taken out");
    }
    match rest.as_slice() {
        [verb, ..] if verbs::NAMES.contains(verb) => is_a_verb(&rest),
        _ => {}
    }
}

fn is_a_verb(words: &[&str]) {
    match Verb::from_args(&["isinit"], words) {
        Ok(Verb { verb: Verbs::Tell(tell) }) => {
            let written = tell_words(&tell);
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            let Ok(Verb { verb: Verbs::Tell(again) }) = Verb::from_args(&["isinit"], &written) else {
                panic!("{written:?} is no tell")
            };
            assert_eq!(format!("{again:?}"), format!("{tell:?}"));
        }
        Ok(Verb { verb }) => assert!(!format!("{verb:?}").is_empty()),
        Err(early) => assert!(!early.output.is_empty(), "{words:?} is refused without a word"),
    }
}

fn tell_words(tell: &Tell) -> Vec<String> {
    let Tell { wait, timeout, or_revert, force, group, level } = tell;
    let switches = [(*wait, "--wait"), (*or_revert, "--or-revert"), (*force, "--force")];
    let switches = switches.iter().filter(|(said, _)| *said).map(|(_, word)| word.to_string());
    let timeout = timeout.iter().flat_map(|timeout| ["--timeout".into(), timeout.clone()]);
    let names = ["--".into(), group.clone(), level.clone()];
    std::iter::once("tell".into()).chain(switches).chain(timeout).chain(names).collect()
}

/// `isinit run`, tini, dumb-init: options, then a command.
fn is_an_entrypoint(program: Program, words: &[&[u8]]) {
    let words: Vec<OsString> = words.iter().map(|word| OsString::from_vec(word.to_vec())).collect();
    // Their variables, too, may be anything.
    let environment = |name: &str| words.iter().find_map(|word| value_of(word, name));
    match program.read(&words, environment) {
        Ok(Wish::Run(options, command)) => {
            assert!(!command.is_empty() && words.ends_with(&command));
            assert!(options.parent_death.is_none_or(|signal| (1..=64).contains(&signal.number())));
            assert!((0..=255).all(|status| [0, status].contains(&options.remap(status))));
            let (before, _) = words.split_at(words.len() - command.len());
            let marked = before.last().is_some_and(|word| word == "--");
            if !marked {
                let marked = [before, &["--".into()], &command].concat();
                assert_eq!(program.read(&marked, environment), Ok(Wish::Run(options, command)));
            }
        }
        Ok(Wish::Help | Wish::Version) => {}
        Err(wrong) => assert!(!wrong.is_empty()),
    }
}

fn value_of(word: &OsStr, name: &str) -> Option<OsString> {
    let value = word.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    Some(OsString::from_vec(value.to_vec()))
}

/// telinit, halt, poweroff and reboot.
fn is_an_old_one(words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match read_telinit(&words) {
        Some(Told::Level(level)) => {
            assert!(level.is_ascii_alphanumeric());
            let alone = char::from(level).to_string();
            assert_eq!(read_telinit(&[&alone]), Some(Told::Level(level)));
        }
        Some(Told::Variables(variables)) => {
            assert!(!variables.is_empty());
            let written: Vec<&str> = variables.iter().flat_map(|variable| ["-e", variable]).collect();
            assert_eq!(read_telinit(&written), Some(Told::Variables(variables)));
        }
        None => {}
    }
    // In whichever order they stand.
    let back: Vec<&str> = words.iter().rev().copied().collect();
    assert_eq!(read_how(&words), read_how(&back));
}

/// The words that the kernel hands to init, and its command line.
fn is_the_kernel_s(words: &[&[u8]]) {
    let line = words.join(&b' ');
    for arguments in [Arguments::read([], &line), Arguments::read(words.iter().copied(), &line)] {
        assert!(arguments.level.is_none_or(|level| level.is_ascii_alphanumeric()));
        assert!(arguments.level.is_none() || !arguments.single);
        assert!(![Some(b'0'), Some(b'6')].contains(&arguments.level));
        assert!(arguments.refused.is_none_or(|level| [b'0', b'6'].contains(&level)));
        assert!(arguments.table.is_none_or(|table| !table.is_empty()));
    }
    // Without quotes its words are those that blanks separate.
    if !line.contains(&b'"') {
        let plain = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let plain: Vec<&[u8]> = plain.collect();
        if !plain.is_empty() {
            assert_eq!(Arguments::read(plain, b""), Arguments::read([], &line));
        }
    }
}
