//! BusyBox's inittab, as its `init/init.c` reads it: `terminal:ignored:action:process`.
//!
//! It knows no levels, and runs its entries by their actions: all of `sysinit`, then `wait`, then `once`, then what
//! is started again. One level, entered when the table is read, is enough for that; but within it the order is that
//! of the file.

use std::collections::BTreeMap;

use super::super::{Action, Occasion};
use super::{Import, Line, Written, lines};

/// The actions that no other init has.
pub(super) const ALONE: [&[u8]; 3] = [b"askfirst", b"shutdown", b"restart"];

/// All that it has.
const KNOWN: [Action; 8] = [
    Action::Sysinit,
    Action::Wait,
    Action::Once,
    Action::Respawn,
    Action::Askfirst,
    Action::Ctrlaltdel,
    Action::Shutdown,
    Action::Restart,
];

const SETTINGS: &str = "\
# As BusyBox has it: what ends is started again after a second, without a limit.
:::limit:no
";

/// The one level.
const LEVEL: &[u8] = b"run,";

const INITDEFAULT: Written =
    Written { tag: b"id", levels: LEVEL, action: "initdefault", options: b"", process: b"" };

/// Put before a process that has /dev/null for a terminal. It is right before every shell line, for BusyBox puts
/// `exec` before them, too.
const NULL: &[u8] = b"exec </dev/null >/dev/null 2>&1; exec ";

pub(super) fn import(import: &mut Import, source: &[u8]) {
    import.put_head(SETTINGS);
    let tag = import.tag(INITDEFAULT.tag);
    import.put_entry(&Written { tag: &tag, ..INITDEFAULT });
    let mut last = BTreeMap::new();
    for line in lines(source).filter(|line| line.is_entry() && action(line).is_some()) {
        last.insert(key(&line), line.number);
    }
    let mut does_not_wait = false;
    import.each_line(source, |import, line| entry(import, line, &last, &mut does_not_wait));
}

/// Entries with the same terminal and process are one entry to BusyBox. No line has a zero byte.
fn key(line: &Line) -> Vec<u8> {
    [terminal(line), b"\0", line.process()].concat()
}

fn entry(import: &mut Import, line: &Line, last: &BTreeMap<Vec<u8>, usize>, does_not_wait: &mut bool) {
    let help = "BusyBox ignores this line; here it is a comment";
    let Some(action) = action(line) else {
        return import.leave(line, line.action_at(), "BusyBox has no action of this name", help);
    };
    if line.starts_nothing() {
        return import.leave(line, line.process_at(), "nothing is started by this", help);
    }
    if terminal(line).contains(&b',') {
        let help = "here it is a comment; give its device another name";
        return import.leave(line, line.id_at(), "a terminal's name can have no comma", help);
    }
    if let Some(later) = last.get(&key(line)).filter(|later| **later != line.number) {
        let help = format!("BusyBox takes the last of them, line {later}; here this one is a comment");
        return import.leave(line, line.process_at(), "another line has this terminal and process", &help);
    }
    if *does_not_wait && action == Action::Wait {
        let help = "move it above the first once, respawn and askfirst";
        import.warn(line, line.action_at(), "BusyBox runs this before it starts what stands above", help);
    }
    *does_not_wait |= matches!(action, Action::Once | Action::Respawn | Action::Askfirst);
    put(import, line, action);
}

fn action(line: &Line) -> Option<Action> {
    let action = Action::from_name(line.action())?;
    KNOWN.contains(&action).then_some(action)
}

/// Its name below /dev; empty for the console.
fn terminal(line: &Line) -> &[u8] {
    let name = line.id();
    name.strip_prefix(b"/dev/").unwrap_or(name)
}

fn put(import: &mut Import, line: &Line, action: Action) {
    let terminal = terminal(line);
    let is_device = !matches!(terminal, b"" | b"console" | b"null");
    let name = if is_device { terminal } else { action.name().as_bytes() };
    let tag = import.tag(name);
    let mut process = line.process().to_vec();
    if terminal == b"null" {
        // The mark of a login shell stays in front.
        let (mark, command) = process.split_at(usize::from(process.starts_with(b"-")));
        process = [mark, NULL, command].concat();
    } else {
        import.check_list(line);
    }
    let levels = if action.occasion() == Occasion::Level { LEVEL } else { b"" };
    let mut options = Vec::new();
    if action.repeats() {
        options.extend_from_slice(b",delay=1");
    }
    if is_device {
        options.extend_from_slice(b",tty=/dev/");
        options.extend_from_slice(terminal);
    } else if terminal != b"null" && (action == Action::Askfirst || line.process().starts_with(b"-")) {
        // Nobody else gets the console as its controlling terminal: who has it last has taken it from the others.
        options.extend_from_slice(b",tty=@console");
    }
    import.put_entry(&Written {
        tag: &tag,
        levels,
        action: action.name(),
        options: &options,
        process: &process,
    });
}
