//! The commands, and all words that a person reads.
//!
//! IS::Init's form, `isinit [GROUP] LEVEL`, has no verb; everything else has one. A level that is spelled like a
//! verb is reached with `tell`. Exit statuses are those of [`Status`].

mod ask;
mod axis;
mod daemon;
mod history;
mod import;
pub mod json;
pub mod old;
mod place;
mod prometheus;
mod show;
mod svg;
mod text;
mod timeline;
mod top;
mod tree;
pub mod verbs;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use argh::FromArgs;

use crate::entrypoint::{self, Program, Wish};
use crate::supervisor;
use crate::wire::client::ClientError;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It is done.
    Done = 0,
    /// The group failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such group, level or tag.
    Unknown = 3,
    /// The table has errors.
    Table = 4,
    /// No daemon answers.
    NoDaemon = 5,
    /// It is not permitted.
    NotPermitted = 6,
    /// It took too long, or another tell has taken its place.
    TimedOut = 7,
}

/// Where the table is, when nobody says.
pub const TABLE: &str = "/etc/isinittab";

const VERSION: &str = concat!("isinit ", env!("CARGO_PKG_VERSION"), "\n");

const HELP: &str = "\
isinit: a clusterwide init. One table, one daemon, a level for each group.

  isinit [-c TABLE] [-s SOCKET] [[GROUP] LEVEL]
                        tell a group its level; a daemon is started if needed.
                        Without words: read the table again
  isinit -k | -d        end the daemon and all | be it, in the foreground

  isinit tell [--wait] [--timeout S] [--or-revert] [--force] GROUP LEVEL
  isinit plan GROUP LEVEL      what a tell would stop, keep and start
  isinit check [--digest|--words] [TABLE]     what is wrong with a table
  isinit status [--json|--prometheus|--tree] [GROUP]
  isinit watch [--json]        one line for each change
  isinit timeline [--svg FILE] [GROUP], top    what was when; what is used
  isinit start|stop|restart TAG, signal SIGNAL TAG
  isinit poweroff|reboot|halt|kexec, switch-root DIR [INIT]
  isinit run [OPTIONS] -- COMMAND                  a container's entrypoint
  isinit import [--from sysvinit|busybox] FILE     an inittab as a table
  isinit upgrade               the new binary takes the daemon's place

  isinit web run               start the group web at level run
  isinit tell --wait web 0     stop it, and come back when it is down
  isinit check ./isinittab     see what is wrong before it matters

More: isinit VERB --help, isinit(8), isinittab(5).
";

/// What stands before the verb, or behind it.
#[derive(Clone, Debug, Default)]
pub struct Common {
    table: Option<PathBuf>,
    socket: Option<PathBuf>,
}

/// The whole program, without the exit. `args` are those behind the program's name.
pub fn main(program: &str, args: &[OsString]) -> i32 {
    let text: Vec<String> = args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(status) = crate::sys::reexec::inherited().and_then(|memory| supervisor::go_on(memory, &text))
    {
        return status;
    }
    if let [question, version] = text.as_slice() {
        if question == supervisor::QUESTION {
            return supervisor::reads_rows(version);
        }
    }
    if crate::sys::power::is_machine() {
        supervisor::run_machine(&text);
    }
    let name = program.rsplit('/').next().unwrap_or(program);
    if let Some(status) = old::run(name, &text) {
        return status;
    }
    match (Program::called(name), args) {
        (Some(program), words) => return run_command(program, words),
        (None, [verb, words @ ..]) if verb == "run" => return run_command(Program::Run, words),
        (None, _) => {}
    }
    match split(&text) {
        Ok((common, rest)) => run(&common, &rest),
        Err(words) => usage(&words, ""),
    }
}

/// An entrypoint for one command.
fn run_command(program: Program, words: &[OsString]) -> i32 {
    match program.read(words, |name| std::env::var_os(name)) {
        Ok(Wish::Run(options, command)) => return entrypoint::run(&options, &command),
        Ok(Wish::Help) => {
            show::put(program.usage());
        }
        Ok(Wish::Version) => {
            show::put(VERSION);
        }
        Err(words) => {
            show::say(&format!("isinit: {words}\n{}", program.usage()));
            return Status::Usage as i32;
        }
    }
    Status::Done as i32
}

/// Takes `-c` and `-s` out, wherever they stand before a `--`.
pub fn split(args: &[String]) -> Result<(Common, Vec<&str>), String> {
    let (mut common, mut rest) = (Common::default(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let place = match arg.as_str() {
            "-c" | "--table" => &mut common.table,
            "-s" | "--socket" => &mut common.socket,
            "--" => {
                rest.push("--");
                rest.extend(args.map(String::as_str));
                break;
            }
            other => {
                rest.push(other);
                continue;
            }
        };
        let value = args.next().ok_or_else(|| format!("{arg} needs a path behind it"))?;
        // The daemon may be told this from another directory.
        *place = Some(std::path::absolute(value).unwrap_or_else(|_| value.into()));
    }
    Ok((common, rest))
}

fn run(common: &Common, words: &[&str]) -> i32 {
    let status = match words {
        ["-d"] => return daemon::foreground(common, None),
        ["-d", level] => return daemon::foreground(common, Some((&daemon::default_group(common), level))),
        ["-d", group, level] => return daemon::foreground(common, Some((group, level))),
        ["-k"] => ask::stop_all(common),
        ["-h" | "--help" | "help"] => {
            show::put(HELP);
            Ok(())
        }
        ["-V" | "--version"] => {
            show::put(VERSION);
            Ok(())
        }
        ["run", ..] => {
            return usage("a command is run without -c and -s; a level of this name is told", "tell ");
        }
        [verb, rest @ ..] if verbs::NAMES.contains(verb) => return run_verb(common, verb, rest),
        ["--", names @ ..] if names.len() < 3 => classic(common, names),
        ["-d", ..] => return usage("behind -d stand a group and a level, or nothing", ""),
        ["-k", ..] => return usage("nothing stands behind -k", ""),
        [option, ..] if option.starts_with('-') => {
            return usage(&format!("there is no option {option}"), "");
        }
        names if names.len() < 3 => classic(common, names),
        _ => return usage("too many words; a tell is GROUP LEVEL", ""),
    };
    end(status.map_err(|problem| ask::with_version(common, problem)))
}

/// IS::Init's form: `[[GROUP] LEVEL]`.
fn classic(common: &Common, names: &[&str]) -> Result<(), Problem> {
    match names {
        [group, level, ..] => ask::tell(common, &verbs::Tell::bare((*group).into(), level)),
        [level] => ask::tell(common, &verbs::Tell::bare(daemon::default_group(common), level)),
        [] => ask::reread(common),
    }
}

/// argh reads what is behind a verb; it never ends the process by itself here.
fn run_verb(common: &Common, verb: &str, rest: &[&str]) -> i32 {
    match verbs::Verb::from_args(&["isinit"], &[&[verb][..], rest].concat()) {
        Ok(verb) => end(ask::verb(common, verb).map_err(|problem| ask::with_version(common, problem))),
        Err(early) if early.status.is_ok() => {
            show::put(&early.output);
            0
        }
        Err(early) => usage(early.output.trim_end(), &format!("{verb} ")),
    }
}

fn end(result: Result<(), Problem>) -> i32 {
    match result {
        Ok(()) => Status::Done as i32,
        Err(problem) => {
            problem.say();
            problem.status
        }
    }
}

/// `verb` with a blank behind it, or nothing.
fn usage(words: &str, verb: &str) -> i32 {
    show::say(&format!("isinit: {words}\nTry `isinit {verb}--help`.\n"));
    Status::Usage as i32
}

/// Why a command did not do what it was asked to: its words, and its exit status.
#[derive(Debug)]
pub struct Problem {
    status: i32,
    words: String,
}

impl Problem {
    fn new(status: Status, words: impl Into<String>) -> Problem {
        Problem { status: status as i32, words: words.into() }
    }

    fn say(&self) {
        // Everything was said already.
        if self.words.is_empty() {
            return;
        }
        let end = if self.words.ends_with('\n') { "" } else { "\n" };
        let front = if self.words.starts_with("isinit: ")
            || self.words.starts_with("usage: ")
            || self.words.contains(": error: ")
        {
            ""
        } else {
            "isinit: "
        };
        show::say(&format!("{front}{}{end}", self.words));
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Problem {
        Problem { status: i32::from(error.status()), words: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_one_screen_and_shows_three_examples() {
        assert!(HELP.lines().count() <= 24);
        assert!(HELP.lines().all(|line| line.len() < 80));
        let examples = ["isinit web run  ", "isinit tell --wait web 0  ", "isinit check ./isinittab  "];
        assert!(examples.iter().all(|example| HELP.contains(example)));
    }

    #[test]
    fn options_may_stand_before_and_behind_the_verb() {
        let words = ["-c", "/t", "status", "-s", "/s", "web"].map(String::from);
        let (common, rest) = split(&words).unwrap();
        assert_eq!((common.table, common.socket), (Some("/t".into()), Some("/s".into())));
        assert_eq!(rest, ["status", "web"]);
        assert!(split(&["-c".to_string()]).is_err());
    }

    #[test]
    fn what_is_wrong_on_the_command_line_ends_with_2() {
        for words in
            [&["--nonsense"][..], &["a", "b", "c"], &["run"], &["run", "-x"], &["tell", "a"], &["-c"]]
        {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(main("isinit", &words), 2, "{words:?}");
        }
        assert_eq!(main("/sbin/telinit", &[]), 2);
    }
}
