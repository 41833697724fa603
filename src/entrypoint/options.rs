//! The options of `isinit run`, and those of tini and dumb-init when it is called by their names.
//!
//! They are read as getopt(3) with a `+` reads them, for that is how they are written in a thousand Dockerfiles: letters
//! may stand together (`-gv`), a value may stand right behind its letter (`-e143`), and the first word that is no option
//! is the command.

use crate::isinittab::{Signal, seconds_to_ms};
use crate::limits::STOP_TIMEOUT_MS;
use signal_hook::consts::{SIGTSTP, SIGTTIN, SIGTTOU};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What cannot be handed on is what cannot be asked for: nobody sees it come.
pub(super) const SIGSTOP: i32 = signal_hook::consts::SIGSTOP;

/// Whose options are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `isinit run`.
    Run,
    /// tini, docker-init, catatonit: signals go to the command alone, if `-g` does not say otherwise.
    Tini,
    /// dumb-init: signals go to all of its group, if `-c` does not say otherwise.
    DumbInit,
}

/// How the command is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Signals go to the command's process group.
    pub group: bool,
    /// Signals and what is sent in their place; 0 is nothing.
    rewrites: Vec<(i32, i32)>,
    /// Exit statuses that become 0.
    zero: Vec<i32>,
    /// The signal that we get when our parent ends.
    pub parent_death: Option<Signal>,
    /// Milliseconds that what the command leaves behind is given to end.
    pub grace_ms: u64,
    /// Says what it does.
    pub verbose: bool,
    /// Says which orphans it has reaped.
    pub tell_orphans: bool,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To run this command.
    Run(Options, Vec<OsString>),
    /// The usage.
    Help,
    /// The version.
    Version,
}

#[derive(Clone, Copy)]
enum Flag {
    Group,
    Single,
    Rewrite,
    Zero,
    ParentDeath,
    Grace,
    Verbose,
    TellOrphans,
    /// It is so anyway.
    Always,
    Help,
    Version,
}

/// An option: its letter and its long name, either may be missing.
type Named = (char, &'static str, Flag);

const RUN: &[Named] = &[
    ('g', "group", Flag::Group),
    ('r', "rewrite", Flag::Rewrite),
    ('e', "", Flag::Zero),
    ('p', "", Flag::ParentDeath),
    ('\0', "grace", Flag::Grace),
    ('v', "verbose", Flag::Verbose),
    ('h', "help", Flag::Help),
];

const TINI: &[Named] = &[
    ('g', "", Flag::Group),
    ('e', "", Flag::Zero),
    ('p', "", Flag::ParentDeath),
    ('s', "", Flag::Always),
    ('v', "", Flag::Verbose),
    ('w', "", Flag::TellOrphans),
    ('h', "help", Flag::Help),
    ('V', "version", Flag::Version),
];

const DUMB_INIT: &[Named] = &[
    ('c', "single-child", Flag::Single),
    ('r', "rewrite", Flag::Rewrite),
    ('v', "verbose", Flag::Verbose),
    ('h', "help", Flag::Help),
    ('V', "version", Flag::Version),
];

impl Flag {
    /// What its value is; `None` if it has none.
    fn value(self) -> Option<&'static str> {
        match self {
            Flag::Rewrite => Some("FROM:TO"),
            Flag::Zero => Some("CODE"),
            Flag::ParentDeath => Some("SIGNAL"),
            Flag::Grace => Some("SECONDS"),
            Flag::Group
            | Flag::Single
            | Flag::Verbose
            | Flag::TellOrphans
            | Flag::Always
            | Flag::Help
            | Flag::Version => None,
        }
    }
}

impl Program {
    /// The program of this name; `None` if it is none of them.
    ///
    /// ```
    /// use isinit::entrypoint::Program;
    /// assert_eq!(Program::called("dumb-init"), Some(Program::DumbInit));
    /// assert_eq!(Program::called("isinit"), None);
    /// ```
    pub fn called(name: &str) -> Option<Program> {
        match name {
            "tini" | "tini-static" | "docker-init" | "catatonit" | "podman-init" => Some(Program::Tini),
            "dumb-init" => Some(Program::DumbInit),
            _ => None,
        }
    }

    /// How it is used.
    pub fn usage(self) -> &'static str {
        match self {
            Program::Run => {
                "\
usage: isinit run [-g] [-r FROM:TO]... [-e CODE]... [-p SIGNAL] [--grace SECONDS] [-v] [--] COMMAND [ARGUMENT]...
  -g, --group            signals go to all of the command's process group
  -r, --rewrite FROM:TO  another signal in place of this one; 0 is none
  -e CODE                an exit status that counts as success
  -p SIGNAL              end by this signal when the parent ends
      --grace SECONDS    what the command leaves behind has so long to end (5)
  -v, --verbose          say what arrives and what ends
"
            }
            Program::Tini => {
                "\
usage: tini [-g] [-e CODE]... [-p SIGNAL] [-s] [-v] [-w] [--] COMMAND [ARGUMENT]...
This is isinit, called as tini: see `isinit run --help`.
"
            }
            Program::DumbInit => {
                "\
usage: dumb-init [-c] [-r FROM:TO]... [-v] [--] COMMAND [ARGUMENT]...
This is isinit, called as dumb-init: see `isinit run --help`.
"
            }
        }
    }

    fn options(self) -> &'static [Named] {
        match self {
            Program::Run => RUN,
            Program::Tini => TINI,
            Program::DumbInit => DUMB_INIT,
        }
    }

    /// Reads what stands behind the program's name. `environment` is asked for what these programs read there.
    ///
    /// ```
    /// use isinit::entrypoint::{Program, Wish};
    /// let words = ["-g", "-e143", "--", "sleep", "1"].map(Into::into);
    /// let Ok(Wish::Run(options, command)) = Program::Tini.read(&words, |_| None) else { panic!() };
    /// assert!(options.group);
    /// assert_eq!((options.remap(143), options.remap(1)), (0, 1));
    /// assert_eq!(command, ["sleep", "1"]);
    /// ```
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn read(
        self,
        words: &[OsString],
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Wish, String> {
        let mut options = Options::of(self, environment);
        let mut words = words.iter();
        let command = loop {
            let Some(word) = words.next() else { return Err("there is no command to run".into()) };
            let bytes = word.as_bytes();
            if bytes == b"--" {
                break words.cloned().collect();
            }
            if !bytes.starts_with(b"-") || bytes == b"-" {
                break std::iter::once(word).chain(words).cloned().collect::<Vec<OsString>>();
            }
            let next = &mut || words.next().map(OsString::as_os_str);
            let special = match bytes.strip_prefix(b"--") {
                Some(long) => self.read_long(long, &mut options, next)?,
                None => self.read_letters(bytes, &mut options, next)?,
            };
            if let Some(wish) = special {
                return Ok(wish);
            }
        };
        if command.is_empty() {
            Err("there is no command to run".into())
        } else {
            Ok(Wish::Run(options, command))
        }
    }

    fn read_long<'w>(
        self,
        word: &'w [u8],
        options: &mut Options,
        next: &mut dyn FnMut() -> Option<&'w OsStr>,
    ) -> Result<Option<Wish>, String> {
        let mut halves = word.splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next());
        let named = |(_, long, _): &&Named| !long.is_empty() && long.as_bytes() == name;
        let shown = format!("--{}", String::from_utf8_lossy(name));
        let Some((_, _, flag)) = self.options().iter().find(named) else {
            return Err(format!("there is no option {shown}"));
        };
        if value.is_some() && flag.value().is_none() {
            return Err(format!("{shown} takes no value"));
        }
        options.take(*flag, &shown, || value.map(OsStr::from_bytes).or_else(&mut *next))
    }

    fn read_letters<'w>(
        self,
        word: &'w [u8],
        options: &mut Options,
        next: &mut dyn FnMut() -> Option<&'w OsStr>,
    ) -> Result<Option<Wish>, String> {
        let mut letters = word.get(1..).unwrap_or_default();
        while let Some((&letter, rest)) = letters.split_first() {
            let letter = char::from(letter);
            let shown = format!("-{letter}");
            let Some((_, _, flag)) = self.options().iter().find(|(short, _, _)| *short == letter) else {
                return Err(format!("there is no option {shown}"));
            };
            letters = if flag.value().is_some() { &[] } else { rest };
            let behind = || Some(rest).filter(|rest| !rest.is_empty()).map(OsStr::from_bytes);
            let wish = options.take(*flag, &shown, || behind().or_else(&mut *next))?;
            if wish.is_some() {
                return Ok(wish);
            }
        }
        Ok(None)
    }
}

impl Options {
    fn of(program: Program, environment: impl Fn(&str) -> Option<OsString>) -> Options {
        let is = |name: &str, value: &str| environment(name).is_some_and(|found| found == value);
        let (group, verbose) = match program {
            Program::Run => (false, false),
            Program::Tini => (
                environment("TINI_KILL_PROCESS_GROUP").is_some(),
                environment("TINI_VERBOSITY").is_some_and(|level| level.into_vec() > b"1".to_vec()),
            ),
            Program::DumbInit => (!is("DUMB_INIT_SETSID", "0"), is("DUMB_INIT_DEBUG", "1")),
        };
        Options {
            group,
            rewrites: Vec::new(),
            zero: Vec::new(),
            parent_death: None,
            grace_ms: u64::from(STOP_TIMEOUT_MS),
            verbose,
            tell_orphans: false,
        }
    }

    fn take<'w>(
        &mut self,
        flag: Flag,
        shown: &str,
        value: impl FnOnce() -> Option<&'w OsStr>,
    ) -> Result<Option<Wish>, String> {
        let text = match flag.value() {
            Some(what) => value()
                .ok_or_else(|| format!("{shown} needs {what} behind it"))?
                .to_string_lossy()
                .into_owned(),
            None => String::new(),
        };
        match flag {
            Flag::Group => self.group = true,
            Flag::Single => self.group = false,
            Flag::Rewrite => self.rewrites.push(rewrite(&text)?),
            Flag::Zero => {
                let code: u8 =
                    text.parse().map_err(|_| format!("{shown} {text}: an exit status is 0 to 255"))?;
                self.zero.push(i32::from(code));
            }
            Flag::ParentDeath => self.parent_death = Some(signal(&text)?),
            Flag::Grace => {
                let grace = seconds_to_ms(text.as_bytes());
                self.grace_ms = grace.map_err(|wrong| format!("{shown} {text}: {wrong}"))?.into();
            }
            Flag::Verbose => self.verbose = true,
            Flag::TellOrphans => self.tell_orphans = true,
            Flag::Always => {}
            Flag::Help => return Ok(Some(Wish::Help)),
            Flag::Version => return Ok(Some(Wish::Version)),
        }
        Ok(None)
    }

    /// The exit status that is told in place of this one.
    pub fn remap(&self, status: i32) -> i32 {
        if self.zero.contains(&status) { 0 } else { status }
    }

    /// The signal that is sent in the place of this one; `None` for none. In a session of its own the command cannot be
    /// stopped by the terminal's signals (setpgid(2), orphaned process groups): there they become SIGSTOP, as under
    /// dumb-init.
    pub(super) fn rewritten(&self, number: i32, in_session: bool) -> Option<i32> {
        let set = self.rewrites.iter().rfind(|(from, _)| *from == number).map(|(_, to)| *to);
        let by_terminal = [SIGTSTP, SIGTTIN, SIGTTOU].contains(&number);
        let usual = if in_session && by_terminal { SIGSTOP } else { number };
        Some(set.unwrap_or(usual)).filter(|signal| *signal != 0)
    }
}

/// `FROM:TO`.
fn rewrite(text: &str) -> Result<(i32, i32), String> {
    let (from, to) =
        text.split_once(':').ok_or_else(|| format!("{text}: a rewrite is FROM:TO, as 15:3 or TERM:QUIT"))?;
    let to = if to == "0" { 0 } else { signal(to)?.number() };
    Ok((signal(from)?.number(), to))
}

fn signal(name: &str) -> Result<Signal, String> {
    Signal::from_name(name.as_bytes()).ok_or_else(|| format!("{name}: there is no such signal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(program: Program, words: &[&str]) -> Result<Wish, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        program.read(&words, |_| None)
    }

    fn options(program: Program, words: &[&str]) -> Options {
        match read(program, &[words, &["true"]].concat()) {
            Ok(Wish::Run(options, command)) if command == ["true"] => options,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn letters_stand_alone_or_together_with_values_behind_or_after_them() {
        for words in [&["-g", "-v", "-e", "143"][..], &["-gve143"], &["-gv", "-e", "143", "--"]] {
            let options = options(Program::Run, words);
            assert!(options.group && options.verbose, "{words:?}");
            assert_eq!((options.remap(143), options.remap(142)), (0, 142));
        }
        let options =
            options(Program::Run, &["--grace=2.5", "--rewrite", "TERM:QUIT", "-r", "2:0", "-p", "SIGKILL"]);
        assert_eq!(options.grace_ms, 2_500);
        assert_eq!((options.rewritten(15, false), options.rewritten(2, false)), (Some(3), None));
        assert_eq!(options.rewritten(64, false), Some(64));
        assert_eq!(options.parent_death.map(Signal::number), Some(9));
    }

    #[test]
    fn the_last_rewrite_counts_and_stops_work_in_a_session() {
        let options = options(Program::DumbInit, &["-r", "15:3", "-r15:2", "-r", "TTIN:0"]);
        assert_eq!(options.rewritten(15, true), Some(2));
        assert_eq!(
            (options.rewritten(SIGTSTP, true), options.rewritten(SIGTSTP, false)),
            (Some(SIGSTOP), Some(SIGTSTP))
        );
        assert_eq!(options.rewritten(SIGTTIN, true), None);
    }

    #[test]
    fn everybody_has_his_own_options() {
        assert!(!options(Program::Tini, &["-s", "-w"]).group && options(Program::Tini, &["-sg"]).group);
        assert!(
            options(Program::DumbInit, &["-v"]).group
                && !options(Program::DumbInit, &["--single-child"]).group
        );
        for (program, words) in [
            (Program::Run, "-c"),
            (Program::Tini, "-r"),
            (Program::DumbInit, "-g"),
            (Program::Run, "--single-child"),
            (Program::Tini, "--"),
        ] {
            assert!(read(program, &[words]).is_err(), "{program:?} {words}");
        }
        assert_eq!(read(Program::Tini, &["--version"]), Ok(Wish::Version));
        assert_eq!(read(Program::DumbInit, &["-V", "x"]), Ok(Wish::Version));
        assert_eq!(read(Program::Run, &["-gh", "x"]), Ok(Wish::Help));
    }

    #[test]
    fn the_command_begins_at_the_first_word_that_is_no_option() {
        let Ok(Wish::Run(_, command)) = read(Program::Run, &["-g", "sh", "-c", "--", "-x"]) else { panic!() };
        assert_eq!(command, ["sh", "-c", "--", "-x"]);
        let Ok(Wish::Run(_, command)) = read(Program::Run, &["--", "--", "-"]) else { panic!() };
        assert_eq!(command, ["--", "-"]);
        let odd = [OsString::from_vec(b"a\xff".to_vec())];
        let Ok(Wish::Run(_, command)) = Program::Run.read(&odd, |_| None) else { panic!() };
        assert_eq!(command, odd);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (words, says) in [
            (&["-x", "a"][..], "there is no option -x"),
            (&["--nonsense", "a"], "there is no option --nonsense"),
            (&["--group=1", "a"], "--group takes no value"),
            (&["-r"], "-r needs FROM:TO behind it"),
            (&["-r", "15", "a"], "15: a rewrite is FROM:TO, as 15:3 or TERM:QUIT"),
            (&["-r", "TERMINATE:3", "a"], "TERMINATE: there is no such signal"),
            (&["-r", "3:65", "a"], "65: there is no such signal"),
            (&["-e", "256", "a"], "-e 256: an exit status is 0 to 255"),
            (&["-p", "0", "a"], "0: there is no such signal"),
            (&["--grace", "soon", "a"], "--grace soon: write seconds, as 5 or 0.5"),
            (&[], "there is no command to run"),
            (&["-g", "--"], "there is no command to run"),
        ] {
            assert_eq!(read(Program::Run, words), Err(says.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn what_the_others_read_from_the_environment_is_read_too() {
        let with = |program: Program, name: &'static str, value: &str| {
            let words = ["true".into()];
            let found = |asked: &str| (asked == name).then(|| OsString::from(value));
            let Ok(Wish::Run(options, _)) = program.read(&words, found) else { panic!() };
            (options.group, options.verbose)
        };
        assert_eq!(with(Program::Tini, "TINI_KILL_PROCESS_GROUP", "1"), (true, false));
        assert_eq!(with(Program::Tini, "TINI_VERBOSITY", "3"), (false, true));
        assert_eq!(with(Program::Tini, "TINI_SUBREAPER", ""), (false, false));
        assert_eq!(with(Program::DumbInit, "DUMB_INIT_SETSID", "0"), (false, false));
        assert_eq!(with(Program::DumbInit, "DUMB_INIT_DEBUG", "1"), (true, true));
        assert_eq!(with(Program::Run, "TINI_KILL_PROCESS_GROUP", "1"), (false, false));
    }
}
