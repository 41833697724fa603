//! sysvinit's inittab(5), as its `init.c` reads it.
//!
//! What differs is the way down. For sysvinit 0 and 6 are runlevels like the others: what has them runs while the
//! machine goes down. Here a group that goes down is at no level; what runs then are `shutdown` entries, whose
//! levels say on which of the two ways.

use std::collections::BTreeMap;

use super::super::lexer::Span;
use super::super::{Action, Occasion};
use super::{Import, Line, Written};

/// What sysvinit's source has fixed: MAXSPAWN, TESTTIME and SLEEPTIME, and the sleep between its two signals.
const SETTINGS: &str = "\
# As sysvinit has it: 10 starts in 2 minutes, then 5 minutes of rest; SIGKILL 3 seconds after SIGTERM.
:::limit:10/120/300
:::stop-timeout:3
";

/// What sysvinit adds to an inittab in which no entry has level S.
const SINGLE: Written =
    Written { tag: b"~~", levels: b"S", action: "wait", options: b"", process: b"/sbin/sulogin" };

/// What becomes of a line that sysvinit does not take either.
const IGNORED: &str = "sysvinit ignores this line; here it is a comment";

/// Bytes of an id: utmp has no more room.
const ID_MAX_BYTES: usize = 4;

/// Bytes of a levels field.
const LEVELS_MAX_BYTES: usize = 11;

/// Bytes of a line. What is longer sysvinit takes for two.
const LINE_MAX_BYTES: usize = 254;

pub(super) fn import(import: &mut Import, source: &[u8]) {
    import.put_head(SETTINGS);
    let mut seen = Seen::default();
    import.each_line(source, |import, line| entry(import, line, &mut seen));
    if !seen.single {
        import.put(b"# sysvinit has this entry where no other has level S.\n");
        let tag = import.tag(SINGLE.tag);
        import.put_entry(&Written { tag: &tag, ..SINGLE });
    }
}

#[derive(Default)]
struct Seen {
    initdefault: bool,
    /// An entry with level S.
    single: bool,
    /// The ids of the entries. Nobody asks for the lines: a set would be another piece of the program than the map that
    /// BusyBox's import has.
    ids: BTreeMap<Vec<u8>, usize>,
}

fn entry(import: &mut Import, line: &Line, seen: &mut Seen) {
    if let Some((at, message)) = refused(seen, line) {
        return import.leave(line, at, message, IGNORED);
    }
    let Some(action) = action(line) else {
        return import.leave(line, line.action_at(), "sysvinit has no action of this name", IGNORED);
    };
    if action.has_process() && line.starts_nothing() {
        let help = "write what is to be started; here it is a comment until then";
        return import.leave(line, line.process_at(), "nothing is started by this", help);
    }
    seen.single |= has_single(line, action);
    seen.ids.insert(line.id().to_vec(), line.number);
    match action.occasion() {
        _ if action == Action::Initdefault => initdefault(import, line, seen),
        // Neither init looks at the levels of these.
        Occasion::Sysinit | Occasion::Boot => without_levels(import, line, action),
        _ => by_levels(import, line, action),
    }
}

/// Why sysvinit does not take a line that has all its fields.
fn refused(seen: &Seen, line: &Line) -> Option<(Span, &'static str)> {
    let (id, levels) = (line.id(), line.levels());
    // It alone may be there more than once: it is the id of single user mode.
    let is_taken = id != SINGLE.tag && seen.ids.contains_key(id);
    let all = Span { at: 1, length: line.bytes().len() as u32 };
    match () {
        () if id.is_empty() => Some((line.id_at(), "the id is missing")),
        () if id.len() > ID_MAX_BYTES => Some((line.id_at(), "an id has at most 4 bytes")),
        () if is_taken => Some((line.id_at(), "another entry has this id already")),
        () if levels.len() > LEVELS_MAX_BYTES => {
            Some((line.levels_at(), "a runlevels field has at most 11 bytes"))
        }
        () if line.bytes().len() > LINE_MAX_BYTES => Some((all, "a line has at most 254 bytes")),
        () => None,
    }
}

/// The action, in any case of its letters. Not those that sysvinit does not have.
fn action(line: &Line) -> Option<Action> {
    let action = Action::from_name(&line.action().to_ascii_lowercase())?;
    let is_ours = matches!(action, Action::Test | Action::Askfirst | Action::Shutdown | Action::Restart);
    (!is_ours).then_some(action)
}

fn has_single(line: &Line, action: Action) -> bool {
    let by_level = !matches!(action.occasion(), Occasion::Sysinit | Occasion::Boot);
    let named = line.levels().iter().any(|level| matches!(level, b'S' | b's'));
    by_level && (named || (line.levels().is_empty() && is_power(action)))
}

fn is_power(action: Action) -> bool {
    matches!(action.occasion(), Occasion::PowerFails | Occasion::PowerLow | Occasion::PowerBack)
}

fn without_levels(import: &mut Import, line: &Line, action: Action) {
    put(import, line, line.id(), b"", action);
    import.check_list(line);
}

fn put(import: &mut Import, line: &Line, tag: &[u8], levels: &[u8], action: Action) {
    let (tag, process) = (import.tag(tag), line.process());
    import.put_entry(&Written { tag: &tag, levels, action: action.name(), options: b"", process });
}

/// sysvinit takes the first of them, and of its levels the highest; without one it asks on the console.
fn initdefault(import: &mut Import, line: &Line, seen: &mut Seen) {
    if std::mem::replace(&mut seen.initdefault, true) {
        return import.leave(line, line.action_at(), "there is an initdefault already", IGNORED);
    }
    let levels = line.levels().iter().map(|level| if *level == b's' { b'S' } else { *level });
    match levels.max() {
        Some(level) if is_down(level) => {
            let help = "write the level that the machine is to come up with";
            import.leave(line, line.levels_at(), "sysvinit goes down at once; isinit would not", help);
        }
        Some(level) if level == b'S' || level.is_ascii_digit() => {
            put(import, line, line.id(), &[level], Action::Initdefault);
        }
        _ => {
            let help = "isinit does not ask: write the level, or no group starts by itself";
            import.leave(line, line.levels_at(), "sysvinit asks for the level on the console", help);
        }
    }
}

/// The ways down; here they are no levels.
fn is_down(level: u8) -> bool {
    matches!(level, b'0' | b'6')
}

/// A levels field, taken apart.
struct Runlevels {
    /// Those that a group can be at.
    up: Vec<u8>,
    /// The ways down.
    down: Vec<u8>,
}

impl Runlevels {
    fn of(field: &[u8]) -> Runlevels {
        let known = |level: &u8| level.is_ascii_digit() || b"SsABCabc".contains(level);
        // Without a level it is every one with a digit, but not single user mode.
        let field = if field.is_empty() { b"0123456789" } else { field };
        let (down, up) = field.iter().filter(|level| known(level)).partition(|level| is_down(**level));
        Runlevels { up, down }
    }
}

fn by_levels(import: &mut Import, line: &Line, action: Action) {
    if line.levels().is_empty() && (is_power(action) || !action.has_process()) {
        return without_levels(import, line, action);
    }
    let levels = Runlevels::of(line.levels());
    if let Some(odd) = line.levels().iter().position(|level| !b"0123456789SsABCabc,".contains(level)) {
        let at = Span { at: line.levels_at().at.saturating_add(odd as u32), length: 1 };
        import.warn(line, at, "sysvinit never is at this level", "it is left out");
    }
    let is_run_down = matches!(action, Action::Wait | Action::Once) && !levels.down.is_empty();
    match levels.up.is_empty() {
        true if is_run_down => going_down(import, line, action, &levels, line.id()),
        true if action.has_process() => nowhere(import, line, &levels),
        _ => {
            coming_up(import, line, action, &levels);
            if is_run_down {
                // An id leaves room for this.
                let tag = [line.id(), b"-down"].concat();
                going_down(import, line, action, &levels, &tag);
            }
        }
    }
}

/// What ran at the levels 0 and 6 runs when all groups are down, each entry waited for.
fn going_down(import: &mut Import, line: &Line, action: Action, levels: &Runlevels, tag: &[u8]) {
    put(import, line, tag, &levels.down, Action::Shutdown);
    let at = line.levels_at();
    if levels.up.is_empty() {
        import.check_list(line);
    } else {
        let help = "what is for the levels 0 and 6 has become a shutdown entry of its own";
        import.warn(line, at, "going down is no level of a group", help);
    }
    if action == Action::Once {
        let help = "put an & behind it, if nobody is to wait";
        import.warn(line, line.action_at(), "going down waits for the end of this; sysvinit does not", help);
    }
}

/// What would start again while the machine goes down, or waits for an event then.
fn nowhere(import: &mut Import, line: &Line, levels: &Runlevels) {
    let at = line.levels_at();
    if levels.down.is_empty() {
        let help = "here it is a comment; write the level that it is for";
        return import.leave(line, at, "sysvinit never starts this", help);
    }
    let help = "isinit halts or reboots by itself when the shutdown entries have ended; here it is a comment";
    import.leave(line, at, "this has no place while the machine goes down", help);
}

fn coming_up(import: &mut Import, line: &Line, action: Action, levels: &Runlevels) {
    let at = line.levels_at();
    let on_demand = levels.up.iter().filter(|level| b"ABCabc".contains(level)).count();
    let is_all = on_demand == levels.up.len();
    // Without a letter sysvinit's ondemand is a respawn.
    let action = if action == Action::Ondemand && on_demand == 0 { Action::Respawn } else { action };
    put(import, line, line.id(), &levels.up, action);
    import.check_list(line);
    if action == Action::Ondemand && !is_all {
        let help = "give its levels with a digit to a respawn entry with another tag";
        import.warn(line, at, "isinit starts this by a, b and c alone", help);
    } else if action.occasion() == Occasion::Level && on_demand > 0 {
        let help = "give a, b and c to an ondemand entry with another tag";
        import.warn(line, at, "with this action, a, b and c are levels that the group changes to", help);
    }
    if action == Action::Respawn && !levels.down.is_empty() && !line.levels().is_empty() {
        let help = "isinit stops it before the shutdown entries run; 0 and 6 are left out";
        import.warn(line, at, "sysvinit keeps this running while the machine goes down", help);
    }
}
