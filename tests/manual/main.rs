//! The manual pages, held against the program: what one has, the other has. Lists of verbs, options, actions and so on
//! are not kept here: they are read from `--help`, from the lists of the parser, and from the source where there is no
//! list. What the pages show as examples is read by the program too, and each thing has one.

#[path = "../common/mod.rs"]
mod common;
mod page;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use argh::FromArgs;
use common::{Stage, binary, isinit, run};
use isinit::cli::{split, verbs};
use isinit::entrypoint::{Program, Wish};
use isinit::isinittab::{Action, OPTION_NAMES, RESOURCES, SETTING_NAMES, Signal, Table};
use isinit::wire::{Malformed, parse};
use page::{Page, words};

type Words = BTreeSet<String>;

fn set<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Words {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}

#[track_caller]
fn assert_same(what: &str, page: &Words, program: &Words) {
    let (more, less): (Vec<_>, Vec<_>) =
        (page.difference(program).collect(), program.difference(page).collect());
    assert!(more.is_empty(), "{what}: the page has {more:?}, the program has not");
    assert!(less.is_empty(), "{what}: the program has {less:?}, the page has not");
}

#[track_caller]
fn assert_shown(what: &str, wanted: &Words, shown: impl Fn(&str) -> bool) {
    let missing: Vec<_> = wanted.iter().filter(|word| !shown(word)).collect();
    assert!(missing.is_empty(), "{what}: no example shows {missing:?}");
}

fn isinit_8() -> Page {
    Page::read("isinit.8")
}

fn isinittab_5() -> Page {
    Page::read("isinittab.5")
}

fn protocol_7() -> Page {
    Page::read("isinit-protocol.7")
}

// ---- the source, where there is no list ----

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    without_tests(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// What the program is made of: without tests and comments.
fn without_tests(text: &str) -> String {
    let is_module = |rest: &str| {
        let line = rest.lines().find(|line| !line.starts_with("#[")).unwrap_or_default();
        line.contains("mod ") && line.ends_with('{')
    };
    let mark = "#[cfg(test)]\n";
    let tests = text.match_indices(mark).find(|(at, _)| is_module(&text[at + mark.len()..]));
    let code = tests.map_or(text, |(at, _)| &text[..at]);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.to_owned() + "\n").collect()
}

fn all_sources() -> String {
    let mut files = Vec::<PathBuf>::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    // sim.rs is a test as a whole, testing.rs what tests are made of.
    let counts = |path: &&PathBuf| {
        !["sim.rs", "testing.rs"].iter().any(|name| path.ends_with(name))
            && !path.file_name().unwrap().to_string_lossy().starts_with("tests")
    };
    files.iter().filter(counts).map(|path| without_tests(&fs::read_to_string(path).unwrap())).collect()
}

/// The texts between double quotes.
fn quoted(code: &str) -> Words {
    code.lines().flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

// ---- verbs and their options ----

/// The lines of `--help` that have the verbs: what stands before the explanation of each.
fn help_of_verbs() -> Vec<String> {
    let help = isinit(&["--help"]).stdout;
    let paragraph = help.split("\n\n").find(|text| text.contains("  isinit tell ")).unwrap().to_owned();
    let lines = paragraph.lines().filter_map(|line| line.trim_start().strip_prefix("isinit "));
    lines.map(|line| line.split("  ").next().unwrap_or_default().to_owned()).collect()
}

fn verbs_of_help() -> Words {
    let lines = help_of_verbs();
    let first = |part: &str| part.split(' ').next().unwrap_or_default().to_owned();
    let parts = lines.iter().flat_map(|line| line.split(", ").map(first).collect::<Vec<_>>());
    parts.flat_map(|names| names.split('|').map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The options that `isinit VERB --help` lists, `--help` itself left out.
fn options_of_help(verb: &str) -> Words {
    let help = isinit(&[verb, "--help"]);
    assert_eq!(help.status, 0, "{help:?}");
    let lines = help.stdout.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = lines.flat_map(|line| line.split("  ").next().unwrap_or_default().split(", "));
    let names = names.filter_map(|name| name.split(' ').next()).filter(|name| name.starts_with('-'));
    names.filter(|name| *name != "--help").map(str::to_owned).collect()
}

fn options_of_page(verb: &str) -> Words {
    let page = isinit_8();
    if verb == "run" {
        return page.heads("AN ENTRYPOINT FOR ONE COMMAND", "Fl").into_iter().filter(|f| f != "--").collect();
    }
    let item = page.items("Verbs").into_iter().find(|item| words(&item.head, "Cm").iter().any(|v| v == verb));
    words(&item.unwrap_or_else(|| panic!("the page has no verb {verb}")).head, "Fl").into_iter().collect()
}

fn all_verbs() -> Words {
    let mut all = set(verbs::NAMES);
    all.insert("run".into());
    all
}

#[test]
fn verbs() {
    assert_eq!(verbs_of_help(), all_verbs(), "isinit --help");
    // Words behind the verb's own name are values of its options.
    let documented = isinit_8().items("Verbs").into_iter().flat_map(|item| {
        let names = words(item.head.split(" Oo ").next().unwrap_or_default(), "Cm");
        assert!(!item.body.is_empty(), "{}: nothing is said of it", item.head);
        names
    });
    assert_same("verbs", &documented.collect(), &all_verbs());
}

#[test]
fn options_of_each_verb() {
    for verb in all_verbs() {
        assert_same(&verb, &options_of_page(&verb), &options_of_help(&verb));
    }
    for line in help_of_verbs() {
        let verb = line.split([' ', '|']).next().unwrap();
        let named = line.split([' ', '[', ']', '|']).filter(|word| word.starts_with("--") && word.len() > 2);
        assert!(set(named).is_subset(&options_of_help(verb)), "isinit --help: {line}");
    }
}

#[test]
fn options_before_the_verb() {
    let page = isinit_8().heads("Options", "Fl");
    // Quoted, they are nothing but options.
    let read = quoted(&source("cli/mod.rs")).into_iter().filter(|word| {
        word.strip_prefix('-').is_some_and(|rest| rest.chars().all(|c| c == '-' || c.is_ascii_alphabetic()))
            && word != "-"
    });
    assert_same("options", &page, &read.collect());
    for option in page {
        let status = isinit(&[&option, "--help"]).status;
        assert!((0..=5).contains(&status), "{option}: {status}");
    }
}

/// The options in a usage: what is in brackets and begins with a hyphen, and the lines that begin with one.
fn options_of_usage(name: &str) -> Words {
    let output = run(Command::new(binary()).arg0(name).arg("--no-such-option").env_remove("ISINIT_SOCKET"));
    assert_eq!(output.status, 2, "{output:?}");
    let text = output.stdout + &output.stderr;
    let usage = text.split_once("usage: ").unwrap_or_else(|| panic!("{name}: {text}")).1;
    let is_option = |word: &&str| {
        word.strip_prefix('-')
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphabetic()) && !rest.is_empty())
    };
    set(usage.split(|c: char| c != '-' && !c.is_ascii_alphabetic()).filter(is_option))
}

#[test]
fn options_of_the_old_programs() {
    for item in isinit_8().items("The old programs") {
        let text = [&[item.head.clone()][..], &item.body].concat();
        let names: Words = text.iter().flat_map(|line| words(line, "Nm")).collect();
        let flags: Words = text.iter().flat_map(|line| words(line, "Fl")).collect();
        // Their long forms are for those who know them: a usage of one line has no room.
        let short = flags.iter().filter(|flag| !flag.starts_with("--")).cloned().collect();
        for name in names.iter().filter(|name| ["telinit", "halt"].contains(&name.as_str())) {
            assert_same(name, &short, &options_of_usage(name));
        }
        if names.contains("halt") {
            let read = quoted(&source("cli/old.rs"));
            let long = read.into_iter().filter(|word| word.starts_with("--")).collect();
            assert_same("halt", &flags.difference(&short).cloned().collect(), &long);
        }
    }
    let old =
        isinit_8().section("The old programs").iter().flat_map(|line| words(line, "Nm")).collect::<Words>();
    let read = source("cli/old.rs");
    let known = quoted(read.split("pub fn run").nth(1).unwrap().split("_ => return None").next().unwrap());
    assert_same("old programs", &old.into_iter().filter(|name| !name.is_empty()).collect(), &known);
}

#[test]
fn options_and_names_of_other_entrypoints() {
    let page = isinit_8();
    let text = page.section("AN ENTRYPOINT FOR ONE COMMAND");
    let names: Words = text.iter().flat_map(|line| words(line, "Nm")).collect();
    for name in quoted(
        source("entrypoint/options.rs").split("pub fn called").nth(1).unwrap().split("_ =>").next().unwrap(),
    ) {
        assert!(names.contains(&name), "the page does not say that isinit may be called {name}");
    }
    for (program, name) in [(Program::Tini, "tini"), (Program::DumbInit, "dumb-init")] {
        // The line with its options in brackets stands behind its name.
        let from = text.iter().position(|line| words(line, "Nm").iter().any(|word| word == name)).unwrap();
        let line = text[from..].iter().find(|line| line.starts_with(".Pq Fl")).unwrap();
        let documented: Words = words(line, "Fl").into_iter().collect();
        let usage = options_of_usage(name);
        assert!(usage.is_subset(&documented), "{name}: {usage:?} and {documented:?}");
        for flag in documented {
            let values = [&[][..], &["1"], &["15:3"], &["TERM"]];
            let taken = values.iter().any(|value| {
                let words: Vec<OsString> =
                    [&[flag.as_str()][..], value, &["true"]].concat().iter().map(OsString::from).collect();
                program.read(&words, |_| None).is_ok()
            });
            assert!(taken, "{name} has no option {flag}");
        }
    }
}

/// The commands that the pages show, each as its words; what is put before them (variables, prompts) is taken away.
fn commands_shown() -> Vec<Vec<String>> {
    let pages = [isinit_8(), isinittab_5(), protocol_7()];
    let displays = pages.iter().flat_map(|page| page.displays(None)).collect::<String>();
    let mut commands = Vec::new();
    for line in displays.lines() {
        for part in line.split([';', '|', '&', '$', '(', ')', '>']) {
            let part = part.split(" #").next().unwrap_or_default().replace(['\'', '"'], "");
            let mut words = part.split_ascii_whitespace().skip_while(|word| {
                word.contains('=') || ["if", "then", "while", "do", "!", "exec"].contains(word)
            });
            if words.next().is_some_and(|word| word == "isinit" || word == "/isinit") {
                commands.push(words.map(str::to_owned).collect());
            }
        }
    }
    commands
}

#[test]
fn examples_of_verbs_and_options() {
    let commands = commands_shown();
    assert!(!commands.is_empty());
    for command in &commands {
        read_command(command);
    }
    let shows = |verb: &str, option: &str| {
        let has = |command: &&Vec<String>| {
            let at = command.iter().position(|word| word == verb);
            let rest = at.map_or(&[][..], |at| &command[at + 1..]);
            let end = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
            at.is_some() && (option.is_empty() || rest[..end].iter().any(|word| word == option))
        };
        commands.iter().any(|command| has(&command))
    };
    assert_shown("verbs", &all_verbs(), |verb| shows(verb, ""));
    for verb in all_verbs() {
        // An option with two names needs one example.
        let lines = isinit(&[&verb, "--help"]).stdout;
        let of_one = lines.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        for line in of_one.filter(|line| !line.contains("--help")) {
            let names = line.split("  ").next().unwrap_or_default().split(", ");
            let names: Vec<_> = names.filter_map(|name| name.split(' ').next()).collect();
            assert!(names.iter().any(|name| shows(&verb, name)), "no example shows isinit {verb} {names:?}");
        }
    }
    for item in isinit_8().items("Options") {
        let names = words(&item.head, "Fl");
        let shown = commands.iter().flatten().any(|word| names.contains(word));
        assert!(shown, "no example shows isinit {names:?}");
    }
}

/// A command that a page shows is one that the program takes.
fn read_command(command: &[String]) {
    let (_, rest) = split(command).unwrap_or_else(|words| panic!("{command:?}: {words}"));
    match rest.as_slice() {
        ["run", words @ ..] => {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let read = Program::Run.read(&words, |_| None);
            assert!(matches!(read, Ok(Wish::Run(..))), "{command:?}: {read:?}");
        }
        [verb, rest @ ..] if verbs::NAMES.contains(verb) => {
            let read = verbs::Verb::from_args(&["isinit"], &[&[*verb][..], rest].concat());
            assert!(read.is_ok() || rest == ["--help"], "{command:?}: {read:?}");
        }
        ["-d" | "--", names @ ..] | names => {
            let only_names = names.iter().all(|name| !name.starts_with('-'));
            let alone = ["-k", "-h", "--help", "-V", "--version"];
            let is_option = matches!(names, [option] if alone.contains(option));
            assert!(names.len() < 3 && (only_names || is_option), "{command:?}");
        }
    }
}

// ---- the table ----

/// The tables that isinittab(5) shows.
fn tables_shown() -> Vec<String> {
    isinittab_5().displays(Some("EXAMPLES")).into_iter().filter(|text| text.contains(':')).collect()
}

#[test]
fn actions() {
    let documented = isinittab_5().heads("Actions", "Ic");
    assert_same("actions", &documented, &set(Action::ALL.map(|(_, name)| name)));
}

#[test]
fn options() {
    // `stop=` and its value, or the word alone; a value that is a word is shown as `fail=group`.
    let name = |word: String| word.split('=').next().unwrap_or_default().to_owned();
    let documented: Words = isinittab_5().heads("Options", "Ic").into_iter().map(name).collect();
    let known = OPTION_NAMES.map(|name| name.strip_suffix("NAME").unwrap_or(name));
    assert_same("options", &documented, &set(known));
    let text = isinittab_5().section("Options").join("\n");
    for (resource, _) in RESOURCES {
        assert!(text.split([' ', '\n']).any(|word| word == resource), "rlimit-{resource} is not named");
    }
}

#[test]
fn settings() {
    assert_same("settings", &isinittab_5().heads("Settings", "Ic"), &set(SETTING_NAMES));
}

#[test]
fn tables_that_are_shown_are_right_and_show_everything() {
    let stage = Stage::new();
    let (mut actions, mut options, mut settings) = (Words::new(), Words::new(), Words::new());
    for table in tables_shown() {
        stage.write_table(&table);
        let checked = isinit(&["check", stage.table().to_str().unwrap()]);
        assert_eq!((checked.status, checked.stderr.as_str()), (0, ""), "{table}");
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.splitn(5, ':').collect();
            match fields.as_slice() {
                ["", "", "", name, _] => _ = settings.insert((*name).to_owned()),
                [_, _, _, action, _] => {
                    let mut words = action.split(',');
                    actions.extend(words.next().map(str::to_owned));
                    options.extend(words.map(|word| word.split('=').next().unwrap_or_default().to_owned()));
                }
                _ => {}
            }
        }
    }
    assert_shown("actions", &set(Action::ALL.map(|(_, name)| name)), |name| actions.contains(name));
    assert_shown("settings", &set(SETTING_NAMES), |name| settings.contains(name));
    assert_shown("options", &set(OPTION_NAMES), |name| match name.strip_suffix("NAME") {
        Some(front) => options.iter().any(|option| option.starts_with(front)),
        None => options.contains(name),
    });
}

#[test]
fn values_that_are_words() {
    // Each `name=word` and `name:word` of the page is one that the parser takes.
    for item in isinittab_5().items("Options") {
        for option in words(&item.head, "Ic").iter().filter(|word| !word.ends_with('=') && word.contains('='))
        {
            let entry = format!("g:a:1:respawn,{option}:x\n");
            assert!(Table::parse("page", entry.as_bytes()).is_ok(), "{entry}");
        }
    }
    let shell = source("isinittab/parser.rs") + &source("isinittab/entry.rs");
    let metacharacters = isinittab_5().section("Process").join("\n");
    let line = metacharacters.lines().find(|line| line.starts_with(".Dl")).unwrap();
    let shown: BTreeSet<u8> = page::plain(&line[3..]).bytes().filter(|byte| *byte != b' ').collect();
    let is_shell = |byte: u8| {
        let entry = [b"g:a:1:once:x".as_slice(), &[byte], b"y\n"].concat();
        Table::parse("page", &entry).is_ok_and(|loaded| loaded.table.entry(0).unwrap().process().shell)
    };
    let taken = (b'!'..=b'~').filter(|byte| is_shell(*byte)).collect();
    assert_eq!(shown, taken, "metacharacters; {} bytes of source", shell.len());
}

// ---- exit statuses, signals, environment, files ----

#[test]
fn exit_statuses() {
    let code = source("cli/mod.rs");
    let variants = code.split("pub enum Status {").nth(1).unwrap().split('}').next().unwrap();
    let numbers = variants.split(" = ").skip(1).filter_map(|rest| rest.split(',').next());
    let page = isinit_8();
    let documented = page.items("EXIT STATUS").into_iter().map(|item| item.head).collect::<Words>();
    let known = set(numbers);
    assert_same("exit status", &documented, &known);
    let shown = page.displays(None).concat();
    assert_shown("exit status", &known, |number| shown.contains(&format!("\n{number}) ")));
}

/// The names of constants of signals, and of the signals of numbers that have a name here.
fn signal_names(code: &str, names_in: &str) -> Words {
    let numbered = |name: &str| {
        let definition = format!("const {name}: i32 = ");
        let number = names_in.split(&definition).nth(1)?.split(';').next()?.parse().ok()?;
        Some(Signal::from_number(number)?.name().to_owned())
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = code.split(|c| !is_word(c)).filter(|word| word.starts_with("SIG"));
    words
        .filter_map(|word| if word.starts_with("SIGNAL_") { numbered(word) } else { Some(word.to_owned()) })
        .collect()
}

/// What stands between two texts of the source.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).unwrap_or_else(|| panic!("no {from}")).0
}

/// The signals that a page lists, `SIGRTMIN+3` and so on as the program calls them.
fn signals_listed(section: &str) -> Words {
    let items = isinit_8().items(section);
    let names = items.iter().flat_map(|item| item.head.split(" , ")).map(str::to_owned);
    names.inspect(|name| assert!(Signal::from_name(name.as_bytes()).is_some(), "{name}")).collect()
}

#[test]
fn signals() {
    let constants = source("supervisor/machine.rs");
    let every = between(&source("supervisor/mod.rs"), "fn hear_signal(", "\n    }\n").to_owned();
    // Its end of a child is the kernel's word, not a person's.
    let mut daemon = signal_names(&every, &constants);
    assert!(daemon.remove("SIGCHLD"));
    assert_same("signals", &signals_listed("Signals to the daemon"), &daemon);
    let machine = signal_names(between(&constants, "fn hear_machine_signal", "\n    }\n"), &constants);
    let machine: Words = machine.into_iter().chain(["SIGHUP".to_owned()]).collect();
    assert_same("signals", &signals_listed("Signals to process 1 of a machine"), &machine);
    let faults =
        signal_names(between(&source("sys/reexec.rs"), "const FAULTS", ";\n").split('=').nth(1).unwrap(), "");
    let text = isinit_8().section("A fault of its own").join(" ");
    assert!(faults.len() > 3 && faults.iter().all(|name| text.contains(name)), "{faults:?}: {text}");
    let shown = isinit_8().displays(None).concat();
    assert_shown("signals", &daemon.union(&machine).cloned().collect(), |name| {
        shown.contains(&format!("kill -{} ", name.trim_start_matches("SIG")))
    });
}

#[test]
fn environment() {
    let is_name =
        |word: &str| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let code = all_sources();
    // Read by name, or written by name for the processes.
    let asked = ["var_os(\"", "environment(\"", "is(\"", "push_pair(b\"", "const VARIABLE: &str = \""];
    let mut used: Words = asked
        .iter()
        .flat_map(|front| code.split(front).skip(1))
        .filter_map(|rest| rest.split('"').next().map(|name| name.trim_end_matches('=').to_owned()))
        .filter(|name| is_name(name))
        .collect();
    used.extend(
        ["PATH", "LISTEN_PID", "INIT_HALT", "LC_ALL", "LC_CTYPE", "LANG"]
            .map(str::to_owned)
            .into_iter()
            .filter(|name| code.contains(&format!("\"{name}"))),
    );
    let documented = isinit_8().all("Ev").union(&isinittab_5().all("Ev")).cloned().collect();
    assert_same("environment", &documented, &used);
    let shown = [isinit_8(), isinittab_5()].iter().flat_map(|page| page.displays(None)).collect::<String>();
    // What one life tells the next is nobody's to write.
    used.remove("ISINIT_REEXEC");
    assert_shown("environment", &used, |name| {
        [format!("{name}="), format!("${name}"), format!("${{{name}")].iter().any(|form| shown.contains(form))
    });
}

#[test]
fn files() {
    let is_path = |word: &&String| {
        let below = ["/etc/", "/run/", "/var/", "/sbin/", "/bin/", "/dev/"];
        below.iter().any(|place| word.starts_with(place)) && word.trim_end_matches('/').split('/').count() > 2
    };
    let mut used: Words = quoted(&all_sources()).iter().filter(is_path).cloned().collect();
    // The devices that a /dev without devtmpfs is filled with are no files of ours.
    let devices = quoted(&source("machine/mounts.rs"));
    used.retain(|path| !devices.contains(path) && path != "/dev/null");
    // Made of the socket's name.
    used.insert("/var/run/is/init.s.state".into());
    let page = isinit_8();
    let documented = page.heads("FILES", "Pa");
    assert_same("files", &documented, &used);
    let shown = [isinit_8(), isinittab_5(), protocol_7()]
        .iter()
        .flat_map(|page| page.displays(None))
        .collect::<String>();
    // Where there are several places for one file, one of them.
    for item in page.items("FILES") {
        let places = words(&item.head, "Pa");
        assert!(places.iter().any(|path| shown.contains(path)), "no example shows {places:?}");
    }
}

// ---- the protocol ----

fn requests_known() -> Words {
    Malformed::Unknown.words().split(' ').filter(|word| word.starts_with(':')).map(str::to_owned).collect()
}

#[test]
fn requests() {
    let page = protocol_7();
    let documented: Words =
        page.heads("Extended requests", "Li").into_iter().filter(|word| word.starts_with(':')).collect();
    assert_same("requests", &documented, &requests_known());
    for request in requests_known() {
        let too_many = format!("{request} 1 2 3 4 5");
        assert_eq!(parse(too_many.as_bytes()), Err(Malformed::Words), "{request}");
    }
    let mut shown = Words::new();
    for line in page.displays(None).concat().lines().filter(|line| line.starts_with(':')) {
        assert!(parse(line.as_bytes()).is_ok(), "{line}");
        shown.extend(line.split(' ').map(str::to_owned));
    }
    assert_shown("requests", &requests_known(), |request| shown.contains(request));
    // The words behind a tell.
    let code = source("wire/request.rs");
    let tell = between(&code, "fn tell<'a>", "_ => return");
    for word in quoted(tell) {
        assert!(page.all("Li").contains(&word), "{word} is not on the page");
        assert!(shown.contains(&word), "no example shows {word}");
    }
}

/// The names of fields in lines of an answer, `what=` and so on.
fn fields<'t>(lines: impl Iterator<Item = &'t str>) -> Words {
    let words = lines.flat_map(|line| line.split([' ', '[', ']']));
    words.filter_map(|word| Some(word.split_once('=')?.0.to_owned())).collect()
}

#[test]
fn fields_and_words_of_answers() {
    let page = protocol_7();
    let daemon = common::Daemon::start("g:a:run,:respawn:sh svc a\ng:b:run,:respawn:sh svc b\n");
    assert_eq!(daemon.tell("g", "run"), "ok run");
    let answer = daemon.ask(":status");
    let display = page.displays(Some("Status lines")).concat();
    assert_same("status", &fields(display.lines()), &fields(answer.iter().map(String::as_str)));
    let text = page.text();
    let code = source("supervisor/answers.rs")
        + &source("supervisor/clients.rs")
        + &source("supervisor/requests.rs");
    for word in quoted(between(&code, "let flags = [", "];")) {
        assert!(text.contains(&format!("\n.Ql {word}")), "the flag {word} is not on the page");
    }
    for word in quoted(between(&code, "let why = match", "};")) {
        assert!(text.contains(&format!("\n.Ql {word}")), "why={word} is not on the page");
    }
}

#[test]
fn each_page_names_the_others() {
    for (page, name) in
        [(isinit_8(), "isinit"), (isinittab_5(), "isinittab"), (protocol_7(), "isinit-protocol")]
    {
        let others = ["isinit", "isinittab", "isinit-protocol"].into_iter().filter(|other| *other != name);
        let named: Words = page.section("SEE ALSO").iter().flat_map(|line| words(line, "Xr")).collect();
        for other in others {
            assert!(named.contains(other), "{name} does not name {other} in SEE ALSO");
        }
    }
}
