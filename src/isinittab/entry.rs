//! Entries: what the lines of a table say.

use std::path::Path;

use super::lexer::{Span, is_blank};
use super::{Options, Table};

/// What is done with an entry's process, and when (inittab(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Action {
    Respawn,
    Wait,
    Once,
    Test,
    Off,
    Ondemand,
    Initdefault,
    Sysinit,
    Boot,
    Bootwait,
    Powerwait,
    Powerfail,
    Powerokwait,
    Powerfailnow,
    Ctrlaltdel,
    Kbrequest,
    Askfirst,
    Shutdown,
    Restart,
}

impl Action {
    /// All actions, with the words that a table has for them.
    pub const ALL: [(Action, &'static str); 19] = [
        (Action::Respawn, "respawn"),
        (Action::Wait, "wait"),
        (Action::Once, "once"),
        (Action::Test, "test"),
        (Action::Off, "off"),
        (Action::Ondemand, "ondemand"),
        (Action::Initdefault, "initdefault"),
        (Action::Sysinit, "sysinit"),
        (Action::Boot, "boot"),
        (Action::Bootwait, "bootwait"),
        (Action::Powerwait, "powerwait"),
        (Action::Powerfail, "powerfail"),
        (Action::Powerokwait, "powerokwait"),
        (Action::Powerfailnow, "powerfailnow"),
        (Action::Ctrlaltdel, "ctrlaltdel"),
        (Action::Kbrequest, "kbrequest"),
        (Action::Askfirst, "askfirst"),
        (Action::Shutdown, "shutdown"),
        (Action::Restart, "restart"),
    ];

    /// The word of the table.
    pub fn name(self) -> &'static str {
        Action::ALL.iter().find(|(action, _)| *action == self).map_or("", |(_, name)| name)
    }

    /// The action of a word.
    pub fn from_name(name: &[u8]) -> Option<Action> {
        Action::ALL.iter().find(|(_, word)| word.as_bytes() == name).map(|(action, _)| *action)
    }

    /// What it is that starts an entry of this action.
    pub fn occasion(self) -> Occasion {
        match self {
            Action::Respawn | Action::Wait | Action::Once | Action::Test | Action::Askfirst => {
                Occasion::Level
            }
            Action::Ondemand => Occasion::Demand,
            Action::Sysinit => Occasion::Sysinit,
            Action::Boot | Action::Bootwait => Occasion::Boot,
            Action::Powerwait | Action::Powerfail => Occasion::PowerFails,
            Action::Powerfailnow => Occasion::PowerLow,
            Action::Powerokwait => Occasion::PowerBack,
            Action::Ctrlaltdel => Occasion::CtrlAltDel,
            Action::Kbrequest => Occasion::KbRequest,
            Action::Shutdown => Occasion::Shutdown,
            Action::Off | Action::Initdefault | Action::Restart => Occasion::Never,
        }
    }

    /// Do the entries below it, that have the same occasion, wait for its end? Which do is sysvinit's choice.
    pub fn is_waited_for(self) -> bool {
        match self {
            Action::Wait
            | Action::Test
            | Action::Sysinit
            | Action::Bootwait
            | Action::Powerwait
            | Action::Powerokwait
            | Action::Powerfailnow
            | Action::Ctrlaltdel
            | Action::Shutdown => true,
            Action::Respawn
            | Action::Once
            | Action::Off
            | Action::Ondemand
            | Action::Initdefault
            | Action::Boot
            | Action::Powerfail
            | Action::Kbrequest
            | Action::Askfirst
            | Action::Restart => false,
        }
    }

    /// Does it start again what has ended?
    pub fn repeats(self) -> bool {
        matches!(self, Action::Respawn | Action::Ondemand | Action::Askfirst)
    }

    /// Does it have a process to be started?
    pub fn has_process(self) -> bool {
        !matches!(self, Action::Off | Action::Initdefault)
    }
}

/// What starts an entry (inittab(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its group enters one of its levels.
    Level,
    /// Its group is told one of its levels, and stays in the one that it is in.
    Demand,
    /// The machine, or the container, begins: before everything else.
    Sysinit,
    /// After that, before the first level.
    Boot,
    /// The power fails.
    PowerFails,
    /// The power fails, and the battery is nearly empty.
    PowerLow,
    /// The power is back.
    PowerBack,
    /// Somebody has pressed Ctrl-Alt-Del.
    CtrlAltDel,
    /// Somebody has pressed the key combination that keymaps(5) calls KeyboardSignal.
    KbRequest,
    /// All groups are down, and the machine goes down too.
    Shutdown,
    /// Nothing, or not the table alone: what is `off`, what only says something, what takes our place.
    Never,
}

impl Occasion {
    /// Is it an event in the life of the whole, which no level of a group brings about?
    pub fn is_of_the_whole(self) -> bool {
        match self {
            Occasion::Sysinit
            | Occasion::Boot
            | Occasion::PowerFails
            | Occasion::PowerLow
            | Occasion::PowerBack
            | Occasion::CtrlAltDel
            | Occasion::KbRequest
            | Occasion::Shutdown => true,
            Occasion::Level | Occasion::Demand | Occasion::Never => false,
        }
    }
}

/// What the table keeps of a line: 40 bytes beside its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub group: u32,
    pub tag: Span,
    pub levels: Span,
    pub process: Span,
    pub options: u32,
    pub line: u32,
    pub file: u16,
    pub action: Action,
}

/// An entry of a [`Table`].
#[derive(Clone, Copy)]
pub struct Entry<'t> {
    pub(super) table: &'t Table,
    pub(super) record: &'t Record,
    pub(super) index: u32,
}

impl<'t> Entry<'t> {
    /// Its place in the table, in file order.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The number of its resource group.
    pub fn group(&self) -> u32 {
        self.record.group
    }

    /// The name of its resource group.
    pub fn group_name(&self) -> &'t [u8] {
        self.table.group(self.record.group).map_or(&[], |group| group.name)
    }

    /// Its tag, which no other entry of the table has.
    pub fn tag(&self) -> &'t [u8] {
        self.record.tag.of(&self.table.text)
    }

    /// The levels that it has.
    pub fn levels(&self) -> Levels<'t> {
        Levels { text: self.record.levels.of(&self.table.text) }
    }

    /// Its action.
    pub fn action(&self) -> Action {
        self.record.action
    }

    /// Its options.
    pub fn options(&self) -> &'t Options {
        self.table.options.get(self.record.options as usize).unwrap_or(&self.table.standard)
    }

    /// Its process.
    pub fn process(&self) -> Process<'t> {
        Process::parse(self.record.process.of(&self.table.text))
    }

    /// Changes when its action, its options or its process change: tells that what runs was started from
    /// another entry than the one that the table has now.
    pub fn digest(&self) -> u64 {
        let mut digest = super::index::hash(self.record.process.of(&self.table.text));
        for part in [self.options().digest, self.action() as u64] {
            digest = super::index::mix(digest, part);
        }
        digest
    }

    /// The file that it stands in.
    pub fn file(&self) -> &'t Path {
        self.table.files.get(usize::from(self.record.file)).map_or(Path::new(""), |file| &file.path)
    }

    /// Its line in that file.
    pub fn line(&self) -> u32 {
        self.record.line
    }
}

/// The levels of an entry.
///
/// With a comma it is a list of words. Without one both readings hold: the word itself and each of its
/// characters. Empty is every level but `0`. A level is a whole word, never a pattern; `S` and `s` are the same.
/// No entry has level `0`: that level stops a group.
///
/// ```
/// use isinit::isinittab::Table;
/// let table = Table::parse("example", b"g:a:12:once:true\ng:b:run,maint:once:true\n").unwrap().table;
/// let [a, b] = [0, 1].map(|index| table.entry(index).unwrap().levels());
/// assert!(a.has(b"12") && a.has(b"1") && a.has(b"2") && !a.has(b"3"));
/// assert!(b.has(b"run") && !b.has(b"r") && !b.has(b"ru."));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Levels<'t> {
    pub(super) text: &'t [u8],
}

impl<'t> Levels<'t> {
    /// Does it have this level?
    pub fn has(&self, level: &[u8]) -> bool {
        if level == b"0" || level.is_empty() {
            return false;
        }
        let same = |word: &[u8]| word == level || matches!((word, level), (b"S" | b"s", b"S" | b"s"));
        match self.text {
            [] => true,
            list if list.contains(&b',') => self.words().any(same),
            word => same(word) || word.iter().any(|letter| same(&[*letter])),
        }
    }

    /// Is this level written in it? An empty field has every level, and names none.
    pub fn names(&self, level: &[u8]) -> bool {
        !self.text.is_empty() && self.has(level)
    }

    /// For a `shutdown` entry: does it run when the machine goes down this way, `0` (halting, powering off) or `6`
    /// (reboot)? Without levels it does either way.
    pub fn has_way_down(&self, way: u8) -> bool {
        self.text.is_empty() || self.text.contains(&way)
    }

    /// Its words: those of the list, or the one word.
    pub fn words(&self) -> impl Iterator<Item = &'t [u8]> + use<'t> {
        let trim = |word: &'t [u8]| word.trim_ascii();
        self.text.split(|byte| *byte == b',').map(trim).filter(|word| !word.is_empty())
    }

    /// As it is written.
    pub fn raw(&self) -> &'t [u8] {
        self.text
    }
}

/// A process field. Which bytes make a shell necessary, and the prefixes `+` and `@`, are sysvinit's.
///
/// ```
/// use isinit::isinittab::Table;
/// let table = Table::parse("example", b"g:a:1:once:+/bin/echo a  b\ng:b:1:once:a; b\n").unwrap().table;
/// let [a, b] = [0, 1].map(|index| table.entry(index).unwrap().process());
/// assert!(a.no_utmp && !a.shell && b.shell);
/// assert_eq!(a.words().collect::<Vec<_>>(), [&b"/bin/echo"[..], b"a", b"b"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process<'t> {
    /// Without its prefixes.
    pub text: &'t [u8],
    /// `+` (sysvinit): no utmp and wtmp record.
    pub no_utmp: bool,
    /// `-` (BusyBox): a login shell.
    pub login: bool,
    /// `@` (sysvinit): neither a shell nor an initscript, whatever is in it.
    pub bare: bool,
    /// To be given to `/bin/sh -c`: there is a metacharacter in it, and no `@` (sysvinit) in front of it.
    pub shell: bool,
}

/// sysvinit's list: what makes a shell necessary. A bit for each byte, so that a long process is gone through once.
const METACHARACTERS: u128 = bits(b"~`!$^&*()=|\\{}[];\"'<>?");

const fn bits(bytes: &[u8]) -> u128 {
    match bytes {
        [first, rest @ ..] => 1 << *first | bits(rest),
        [] => 0,
    }
}

fn needs_shell(process: &[u8]) -> bool {
    const HALVES: [u64; 4] = [METACHARACTERS as u64, (METACHARACTERS >> 64) as u64, 0, 0];
    for byte in process {
        let half = HALVES.get(usize::from(*byte >> 6)).copied().unwrap_or(0);
        if half >> (*byte & 63) & 1 != 0 {
            return true;
        }
    }
    false
}

impl<'t> Process<'t> {
    pub(super) fn parse(field: &'t [u8]) -> Process<'t> {
        let mut process = Process { text: field, no_utmp: false, login: false, bare: false, shell: false };
        loop {
            match process.text {
                [b'+', rest @ ..] if !process.no_utmp => (process.text, process.no_utmp) = (rest, true),
                [b'-', rest @ ..] if !process.login => (process.text, process.login) = (rest, true),
                [b'@', rest @ ..] if !process.bare => (process.text, process.bare) = (rest, true),
                _ => break,
            }
        }
        process.shell = !process.bare && needs_shell(process.text);
        process
    }

    /// Its words, as it is executed without a shell. An `exec` in front, which tells the shell to do what is done then
    /// anyway, is left out.
    pub fn words(&self) -> impl Iterator<Item = &'t [u8]> + use<'t> {
        let words = || self.text.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
        let is_for_shell = words().next() == Some(b"exec") && words().nth(1).is_some();
        words().skip(usize::from(is_for_shell))
    }
}
