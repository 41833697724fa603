//! The syntax file for vim has the parser's words, and vim shows a table as it means.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Stage, run};
use isinit::isinittab::{Action, OPTION_NAMES, RESOURCES, SETTING_NAMES, Signal, Table};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vim")
}

/// The alternatives of the first `\%(a\|b\)` that a group's pattern has behind `start`, in capital letters.
fn alternatives(text: &str, group: &str, start: &str) -> BTreeSet<String> {
    let pattern =
        text.split(&format!("syntax match {group} /{start}")).nth(1).unwrap_or_else(|| panic!("{group}"));
    let list = pattern.split("\\%(").nth(1).unwrap();
    let list = list.split("\\)\\ze").next().unwrap();
    list.split("\\|")
        .map(|word| word.split("\\%(").next().unwrap_or(word).to_uppercase())
        .filter(|word| !word.is_empty())
        .collect()
}

fn upper<'w>(words: impl IntoIterator<Item = &'w str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_uppercase).collect()
}

#[test]
fn it_has_the_words_of_the_parser() {
    let text = fs::read_to_string(directory().join("syntax/isinittab.vim")).unwrap();
    let actions = text.split("syntax keyword isinittabAction").nth(1).unwrap();
    let actions = actions.split("contained").next().unwrap().split_whitespace().filter(|word| *word != "\\");
    assert_eq!(upper(actions), upper(Action::ALL.map(|(_, word)| word)));
    let options = OPTION_NAMES.into_iter().filter(|name| *name != "rlimit-NAME");
    assert_eq!(alternatives(&text, "isinittabOption", ""), upper(options));
    assert_eq!(alternatives(&text, "isinittabRlimit", "rlimit-\\c"), upper(RESOURCES.map(|(name, _)| name)));
    assert_eq!(
        alternatives(&text, "isinittabSetting", ""),
        upper(SETTING_NAMES.into_iter().chain(["include"]))
    );
    let named = (1..=64)
        .filter_map(Signal::from_number)
        .map(Signal::name)
        .filter_map(|name| name.strip_prefix("SIG"));
    let named = named.map(|name| name.split('+').next().unwrap());
    let known = alternatives(&text.replace("\\%(SIG\\)\\=", ""), "isinittabSignal", "\\c");
    assert_eq!(known, upper(named));
}

/// A table with everything in it, and what vim is to make of the lines.
const SAMPLE: &str = "\
# a comment: with:colons:in:it:once
:::stop-timeout:2.5
 : : : env : A=b:c
:::nonsense:x
web:www:run,maint:respawn,stop=QUIT,stop-timeout=30:exec nginx -g 'daemon off;'
web : db : 2345 : respawn , ready=3 , fail=group , user=pg.pg : +postgres -D $PGDATA
web:a::off,rlimit-NoFile=1024,main,tty=@console:true
web:b:run,:respwan,stoop=TERM,stop=RTMIN+3:x \\
   --more # no comment
web:c:run,:once:echo stop=TERM respawn
";

const EXPECTED: &[&str] = &[
    "1 Comment # a comment: with:colons:in:it:once",
    "2 SettingColons :::",
    "2 Setting stop-timeout",
    "2 SettingColon :",
    "2 SettingValue 2.5",
    "3 Setting env",
    "3 SettingValue  A=b:c",
    "4 BadSetting nonsense",
    "5 Group web",
    "5 ColonTag :",
    "5 Tag www",
    "5 Levels run",
    "5 LevelComma ,",
    "5 Levels maint",
    "5 Action respawn",
    "5 Option stop",
    "5 Equals =",
    "5 Signal QUIT",
    "5 Option stop-timeout",
    "5 Number 30",
    "5 ColonProcess :",
    "5 Process exec nginx -g ",
    "5 String 'daemon off;'",
    "6 Group web ",
    "6 Tag  db ",
    "6 Levels  2345 ",
    "6 Action respawn",
    "6 Option ready",
    "6 Number 3",
    "6 Option fail",
    "6 Word group",
    "6 Option user",
    "6 Value pg.pg ",
    "6 Prefix  +",
    "6 Process postgres -D ",
    "6 Variable $PGDATA",
    "7 Action off",
    "7 Rlimit rlimit-NoFile",
    "7 Number 1024",
    "7 Option main",
    "7 Option tty",
    "7 Word @console",
    "7 Process true",
    "8 BadAction respwan",
    "8 BadOption stoop",
    "8 Signal RTMIN+3",
    "8 Process x ",
    "8 Continued \\",
    "9 Process    --more # no comment",
    "10 Group web",
    "10 Action once",
    "10 Process echo stop=TERM respawn",
];

fn pieces(stage: &Stage) -> Vec<String> {
    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helpers/highlighted.vim");
    let runtime = format!("set runtimepath^={}", directory().display());
    let mut command = Command::new("vim");
    command.args([
        "-es",
        "-N",
        "-u",
        "NONE",
        "-i",
        "NONE",
        "--cmd",
        &runtime,
        "-c",
        "filetype on",
        "-c",
        "syntax on",
    ]);
    command.args(["-c", "edit web.isinittab", "-S", helper.to_str().unwrap()]).current_dir(stage.dir());
    let output = run(command.env("HOME", stage.dir()));
    let pieces = stage.lines("pieces");
    assert_eq!(pieces.first().map(String::as_str), Some("isinittab"), "{output:?}");
    pieces[1..].iter().map(|piece| piece.replacen(" isinittab", " ", 1)).collect()
}

#[test]
fn a_table_is_shown_as_it_means() {
    let stage = Stage::new();
    stage.write("web.isinittab", SAMPLE);
    let pieces = pieces(&stage);
    let mut rest = pieces.iter();
    for expected in EXPECTED {
        assert!(
            rest.any(|piece| piece == expected),
            "{expected} is not there, in its turn:\n{}",
            pieces.join("\n")
        );
    }
}

/// Every table that is shipped is without an error, for vim too; and what vim calls wrong the parser does as well.
#[test]
fn vim_and_the_parser_agree_on_what_is_wrong() {
    let stage = Stage::new();
    let is_wrong =
        |pieces: &[String]| pieces.iter().any(|piece| piece.split(' ').nth(1).unwrap().starts_with("Bad"));
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in ["isinittab", "web.isinittab", "demo.isinittab", "container/web/isinittab"] {
        fs::copy(examples.join(name), stage.path("web.isinittab")).unwrap();
        let pieces = pieces(&stage);
        assert!(!is_wrong(&pieces) && pieces.len() > 20, "{name}:\n{}", pieces.join("\n"));
    }
    let words = Action::ALL.map(|(_, word)| format!("g:t:1,:{word}:true\n"));
    let more = [
        "g:t:1,:reboot:true\n",
        "g:t:1,:once,mian:true\n",
        "g:t:1,:once,rlimit-x=1:true\n",
        ":::limits:no\n",
        "g:t::respawns:x\n",
    ];
    for line in words.iter().map(String::as_str).chain(more) {
        stage.write("web.isinittab", line);
        let pieces = pieces(&stage);
        let report =
            Table::parse("t", line.as_bytes()).map_or_else(|report| report.to_string(), |_| String::new());
        let is_word = ["is no action", "has this name", "cannot be this", "no action"]
            .iter()
            .any(|words| report.contains(words));
        assert_eq!(is_wrong(&pieces), is_word, "{line}{report}{}", pieces.join("\n"));
    }
}
