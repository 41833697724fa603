//! Process 1 of a machine: what the loop does beside switching groups.
//!
//! The machine begins with the kernel's words, the table and the mounts, and ends in `machine::down`. Between the two
//! it is the daemon that every isinit is; this file has what only a machine has: signals with the meanings that
//! sysvinit, BusyBox and systemd have given them, the pipe of sysvinit's telinit, utmp, the watchdog, and a table of
//! its own for the case that there is none to be used.

use std::ffi::{CString, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use signal_hook::consts;
use smallvec::SmallVec;

use super::begin::first_estate;
use super::life::{Estate, Slot};
use super::messages::{errno_words, say, say_bad_table, say_errno};
use super::{Reread, Role, Supervisor};
use crate::engine::rows::{Last, NONE, Transition, What};
use crate::engine::{Farewell, Ms, NEVER, Tell};
use crate::isinittab::{Action, Entry, Group, Mounts, Occasion, Table};
use crate::limits::INITCTL_REQUESTS_MAX;
use crate::machine;
use crate::machine::arguments::Arguments;
use crate::machine::down::Ending;
use crate::machine::initctl::{Asked, Pipe};
use crate::machine::utmp::Utmp;
use crate::machine::watchdog::Watchdog;
use crate::sys;
use crate::wire::{Power, Request};

/// Where the table is, when neither the kernel's command line nor anybody else says.
const TABLE: &str = "/etc/isinittab";

/// systemd's signals for halting, powering off, rebooting and kexec: SIGRTMIN+3 to +6, where SIGRTMIN is 34 as every
/// sender has it.
pub(super) const SIGNAL_HALT: i32 = 37;
pub(super) const SIGNAL_POWER_OFF: i32 = 38;
const SIGNAL_REBOOT: i32 = 39;
const SIGNAL_KEXEC: i32 = 40;

/// SIGPWR, which signal-hook has not.
pub(super) const SIGNAL_POWER: i32 = 30;

/// Where a UPS daemon says what it has to say before it sends SIGPWR (powerd(8) of sysvinit).
const POWER_STATUS: [&str; 3] = ["/run/powerstatus", "/var/run/powerstatus", "/etc/powerstatus"];

/// Milliseconds that the console has for taking all that is wrong with a table: a slow serial line takes a hundred
/// lines in that time, and the boot does not wait for a terminal that was stopped.
const REPORT_MS: u64 = 5_000;

/// What comes when everything is down.
#[derive(Clone, Copy)]
pub(super) enum After {
    /// The machine goes down.
    Power(Ending),
    /// Another root file system, the one of [`Life::root`], takes the place of this one, and its init ours.
    SwitchRoot,
    /// A `restart` entry takes our place.
    Restart,
}

impl After {
    const ALL: [After; 6] = [
        After::Power(Ending::PowerOff),
        After::Power(Ending::Reboot),
        After::Power(Ending::Halt),
        After::Power(Ending::Kexec),
        After::SwitchRoot,
        After::Restart,
    ];

    /// The byte that is handed on to the next life.
    fn byte(self) -> u8 {
        match self {
            After::Power(Ending::PowerOff) => 0,
            After::Power(Ending::Reboot) => 1,
            After::Power(Ending::Halt) => 2,
            After::Power(Ending::Kexec) => 3,
            After::SwitchRoot => 4,
            After::Restart => 5,
        }
    }

    fn of_byte(byte: u8) -> After {
        After::ALL.into_iter().find(|after| after.byte() == byte).unwrap_or(After::Power(Ending::PowerOff))
    }
}

/// How long a watchdog that is not there may take to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    UntilBooted,
    None,
}

/// What a machine's process 1 has beside the daemon.
pub(super) struct Machine {
    utmp: Utmp,
    initctl: Option<Pipe>,
    watchdog: Option<Watchdog>,
}

fn ending_of(power: Power) -> Ending {
    match power {
        Power::Poweroff => Ending::PowerOff,
        Power::Reboot => Ending::Reboot,
        Power::Halt => Ending::Halt,
        Power::Kexec => Ending::Kexec,
    }
}

impl Machine {
    /// What to wait for: a request by sysvinit's pipe.
    pub(super) fn initctl(&self) -> Option<BorrowedFd<'_>> {
        self.initctl.as_ref().map(Pipe::fd)
    }
}

/// Runs process 1 of a machine. `words` are the kernel's.
pub fn run_machine(words: &[String]) -> ! {
    match first_estate(Role::Machine, Path::new(TABLE)) {
        Ok(mut estate) => {
            estate.arm();
            run_machine_in(estate, words)
        }
        Err(words) => machine::last_resort::run(&words),
    }
}

/// The same, in memory in which nothing has begun yet.
pub(super) fn run_machine_in(estate: Estate, words: &[String]) -> ! {
    let line = sys::mount::read_proc(c"cmdline").unwrap_or_default();
    let wishes = Arguments::read(words.iter().map(String::as_bytes), &line);
    let path = wishes.table.as_deref().map_or(Path::new(TABLE), |path| Path::new(OsStr::from_bytes(path)));
    let path = path.to_path_buf();
    // The table says whether to mount, so it is read first; what there is to say of it waits for the console.
    let found = find_table(&path, &wishes);
    machine::begin(found.table.settings().mounts == Mounts::Auto);
    sys::output::say_all(found.words.as_bytes(), sys::clock::now_ms().saturating_add(REPORT_MS));
    if let Some(level) = wishes.refused {
        say(&[
            b"level ",
            &[level],
            b" of the kernel's command line is not entered: it would go down at once",
        ]);
    }
    estate.life.table.set(&path);
    let mut supervisor = match Supervisor::begin(estate, None, found.table) {
        Ok(supervisor) => supervisor,
        Err(words) => machine::last_resort::run(&words),
    };
    supervisor.boot(&wishes, found.in_emergency);
    supervisor.serve();
    supervisor.leave()
}

/// The table that a machine begins with, and what there is to be said of it.
struct Found {
    table: Table,
    words: String,
    in_emergency: bool,
}

fn find_table(path: &Path, wishes: &Arguments) -> Found {
    let emergency = |mut words: String| {
        let (table, said) = emergency_table();
        words.push_str(said);
        Found { table, words, in_emergency: true }
    };
    if wishes.emergency {
        return emergency("isinit: emergency, as the kernel's command line says\n".into());
    }
    match Table::load(path) {
        Err(report) => emergency(format!("{report}isinit: emergency: there is no table that can be used\n")),
        Ok(loaded) if !starts_anything(&loaded.table) => emergency(format!(
            "{}isinit: emergency: nothing in {} starts at boot\n",
            loaded.warnings,
            path.display()
        )),
        // sysvinit gives a shell then, too.
        Ok(loaded) if wishes.single && !has_single_user_mode(&loaded.table) => emergency(format!(
            "{}isinit: emergency: no entry of the main group is at level S\n",
            loaded.warnings
        )),
        Ok(loaded) => Found { table: loaded.table, words: loaded.warnings.to_string(), in_emergency: false },
    }
}

/// The group that the old programs mean, which know of none: the setting `group`, else the one that is called as
/// the host, else the first that has an `initdefault`, else the first.
pub(super) fn main_group(table: &Table) -> Option<Group<'_>> {
    let host = sys::host::hostname();
    let named = table.settings().group.as_deref().unwrap_or(&host);
    let groups = || (0..table.groups() as u32).filter_map(|number| table.group(number));
    let found = table.find_group(named).and_then(|number| table.group(number));
    let found = found.or_else(|| groups().find(|group| group.initdefault.is_some()));
    found.or_else(|| groups().next())
}

/// Is there a single user mode: anything that the main group has at level S alone?
fn has_single_user_mode(table: &Table) -> bool {
    let main = main_group(table).map(|group| group.name);
    let is_main = |entry: &Entry| Some(entry.group_name()) == main;
    let mut at_s = table.entries().filter(|entry| entry.action().occasion() == Occasion::Level);
    at_s.any(|entry| is_main(&entry) && entry.levels().names(b"S"))
}

/// Is there anything that a machine would start by itself? One that boots into nothing is no use to anybody.
fn starts_anything(table: &Table) -> bool {
    let boots = |action: Action| matches!(action.occasion(), Occasion::Sysinit | Occasion::Boot);
    let has_default = |group: u32| table.group(group).is_some_and(|group| group.initdefault.is_some());
    table.entries().any(|entry| {
        boots(entry.action()) || entry.action().occasion() == Occasion::Level && has_default(entry.group())
    })
}

/// A shell on the console, behind the password of root where that can be asked for; and what there is to say.
fn emergency_table() -> (Table, &'static str) {
    let Some(shell) = machine::last_resort::shell() else {
        return (Table::empty(), "isinit: there is no shell either\n");
    };
    let (mark, path) = (if shell.login { "-" } else { "" }, shell.path.to_string_lossy());
    let text = format!(
        ":::group:emergency\nemergency:shell::respawn,tty=@console,limit=no,delay=1..10:{mark}{path}\n\
         emergency:id:1:initdefault:\n"
    );
    let loaded = Table::parse("the emergency table", text.as_bytes());
    (loaded.map_or_else(|_| Table::empty(), |loaded| loaded.table), "")
}

impl Supervisor {
    /// Begins as the kernel's words have it.
    fn boot(&mut self, wishes: &Arguments, in_emergency: bool) {
        let now = sys::clock::now_ms();
        self.machine = Some(Box::new(Machine { utmp: Utmp::new(), initctl: None, watchdog: None }));
        (self.life.in_emergency, self.life.recorded) = (u8::from(in_emergency), u8::from(in_emergency));
        self.open_watchdog(Patience::UntilBooted);
        self.restore_initctl();
        self.life.has_begun = 1;
        if in_emergency {
            say(&[b"mend the table; then `isinit` reads it, and the machine boots. Ctrl-Alt-Del restarts"]);
            return self.engine.begin(now);
        }
        self.engine.boot(wishes.single, now);
        if let Some(level) = if wishes.single { Some(b'S') } else { wishes.level } {
            self.tell_main(&[level], now);
        }
    }

    /// What an earlier life has left of a machine, beside what every daemon has.
    pub(super) fn go_on_as_machine(&mut self) {
        let left = |slot: Slot| self.store.adopt(slot.number());
        let set = self.engine.table().settings().watchdog.as_ref().and_then(|set| set.seconds);
        let watchdog = left(Slot::Watchdog).map(|fd| Watchdog::adopt(fd, set.unwrap_or(0)));
        let initctl = left(Slot::Initctl).and_then(Pipe::adopt);
        self.machine = Some(Box::new(Machine { utmp: Utmp::new(), initctl, watchdog }));
        self.restore_initctl();
    }

    fn main_name(&self) -> &[u8] {
        self.main.and_then(|slot| self.engine.group(slot)).map_or(&[], |group| group.name())
    }

    /// Tells the main group a level: the one of `telinit`, `runlevel` and the kernel's command line.
    pub(super) fn tell_main(&mut self, level: &[u8], now: Ms) {
        let name = SmallVec::<[u8; 64]>::from_slice(self.main_name());
        if let Err(refusal) = self.engine.tell(&name, level, Tell::default(), now) {
            self.say_refused(refusal, &name, level);
        }
    }

    /// Brings the machine down. What was asked for first counts.
    pub(super) fn go_down(&mut self, after: After, now: Ms) {
        if self.machine.is_none() || self.engine.is_going_down() {
            return;
        }
        let way = match after {
            After::Power(Ending::PowerOff | Ending::Halt) => Some(b'0'),
            After::Power(Ending::Reboot | Ending::Kexec) | After::Restart => Some(b'6'),
            // The next init takes over what is mounted, and what `shutdown` entries would undo.
            After::SwitchRoot => None,
        };
        let words = match after {
            After::Power(ending) => ending.doing(),
            After::SwitchRoot => "switching the root file system",
            After::Restart => "beginning anew",
        };
        self.life.after = after.byte();
        say(&[words.as_bytes()]);
        self.engine.go_down(Farewell { status: 0, way }, now);
    }

    /// Everything is down.
    pub(super) fn leave(mut self) -> ! {
        self.end();
        let Some(machine) = self.machine.take() else {
            machine::last_resort::run("isinit: nothing is left to do\n")
        };
        let Machine { utmp, watchdog, .. } = *machine;
        match After::of_byte(self.life.after) {
            After::Power(ending) => {
                utmp.shutdown();
                machine::down::go_down(ending, &self.signals, watchdog)
            }
            After::SwitchRoot => {
                machine::down::end_processes(&self.signals, watchdog);
                let [root, init] = [&self.life.root, &self.life.init].map(|place| c_string(place.get()));
                let failure = machine::switch_root::switch(&root, &[init]);
                say_errno("cannot", failure.step.as_bytes(), failure.errno);
            }
            After::Restart => {
                machine::down::end_processes(&self.signals, watchdog);
                let words = self.restart_words();
                if let Some(program) = words.first() {
                    let errno = sys::root::execute(program, &words);
                    say_errno("cannot execute", program.to_bytes(), errno);
                }
            }
        }
        machine::last_resort::run("isinit: everything was stopped, and what was to follow cannot be done\n")
    }

    /// A signal to process 1 of a machine.
    pub(super) fn hear_machine_signal(&mut self, number: i32, now: Ms) {
        match number {
            consts::SIGINT => self.hear_ctrl_alt_del(now),
            consts::SIGWINCH => {
                self.engine.call(Occasion::KbRequest, now);
            }
            SIGNAL_POWER => self.hear_power(now),
            consts::SIGTERM | SIGNAL_REBOOT => self.go_down(After::Power(Ending::Reboot), now),
            // sysvinit's scripts ask for the pipe anew when it is not there; BusyBox's halt means to halt.
            consts::SIGUSR1 if !self.restore_initctl() => self.go_down(After::Power(Ending::Halt), now),
            SIGNAL_HALT => self.go_down(After::Power(Ending::Halt), now),
            consts::SIGUSR2 | SIGNAL_POWER_OFF => self.go_down(After::Power(Ending::PowerOff), now),
            SIGNAL_KEXEC => self.go_down(After::Power(Ending::Kexec), now),
            consts::SIGQUIT => self.begin_anew(now),
            _ => {}
        }
    }

    /// Without an entry for it, Ctrl-Alt-Del restarts: it is what is left to who sees a machine that does not answer.
    fn hear_ctrl_alt_del(&mut self, now: Ms) {
        let has_entry = self.engine.table().entries().any(|entry| entry.action() == Action::Ctrlaltdel);
        if has_entry {
            self.engine.call(Occasion::CtrlAltDel, now);
        } else {
            self.go_down(After::Power(Ending::Reboot), now);
        }
    }

    fn hear_power(&mut self, now: Ms) {
        let status = POWER_STATUS.iter().find_map(|path| sys::files::take_first_byte(Path::new(path)));
        self.tell_power(status.unwrap_or(b'F'), now);
    }

    fn tell_power(&mut self, status: u8, now: Ms) {
        let (occasion, words) = match status {
            b'O' => (Occasion::PowerBack, &b"the power is back"[..]),
            b'L' => (Occasion::PowerLow, &b"the power fails, and the battery is nearly empty"[..]),
            _ => (Occasion::PowerFails, &b"the power fails"[..]),
        };
        say(&[words]);
        self.engine.call(occasion, now);
    }

    /// BusyBox's SIGQUIT: a `restart` entry takes our place, after everything was stopped. Without one a newer isinit
    /// does, and nothing is stopped.
    fn begin_anew(&mut self, now: Ms) {
        if self.restart_words().is_empty() {
            return self.begin_upgrade(None);
        }
        self.go_down(After::Restart, now);
    }

    fn restart_words(&self) -> Vec<CString> {
        let entry = self.engine.table().entries().find(|entry| entry.action() == Action::Restart);
        let words = entry.iter().flat_map(|entry| entry.process().words());
        words.filter_map(|word| CString::new(word).ok()).collect()
    }

    /// What a client asks of a machine.
    pub(super) fn carry_out_for_machine(&mut self, place: usize, request: Request) {
        let now = sys::clock::now_ms();
        if self.role != Role::Machine {
            return self.answer(place, |answer| {
                answer.text("err 5 this daemon is not process 1 of a machine\n");
            });
        }
        match request {
            Request::Power(power) => {
                self.go_down(After::Power(ending_of(power)), now);
                self.ok(place, "");
            }
            Request::SwitchRoot { root, init } => self.switch_root(place, root, init, now),
            Request::Telinit { level } => self.telinit_for(place, level, now),
            Request::Runlevel => match self.main_level() {
                Some((level, previous)) => self.answer(place, |answer| {
                    answer.text("ok ").text([previous]).text(" ").text([level]).text("\n");
                }),
                None => self.answer(place, |answer| {
                    answer.text("err 3 the main group is at no level of one character\n");
                }),
            },
            _ => {}
        }
    }

    /// Asks all that can be asked before anything is stopped.
    fn switch_root(&mut self, place: usize, root: &[u8], init: &[u8], now: Ms) {
        let init = if init.is_empty() { &b"/sbin/init"[..] } else { init };
        let (Ok(root), Ok(init)) = (CString::new(root), CString::new(init)) else {
            return self.answer(place, |answer| {
                answer.text("err 2 a path has no zero byte\n");
            });
        };
        if let Err(refusal) = machine::switch_root::check(&root, &init) {
            return self.answer(place, |answer| {
                answer.text("err 1 ").text(root.as_bytes()).text(", ").text(init.as_bytes()).text(": ");
                answer.text(refusal.words());
                if let Some(errno) = refusal.errno() {
                    answer.text(" (");
                    errno_words(answer, errno.raw_os_error());
                    answer.text(")");
                }
                answer.text("\n");
            });
        }
        self.life.root.set(OsStr::from_bytes(root.as_bytes()));
        self.life.init.set(OsStr::from_bytes(init.as_bytes()));
        self.go_down(After::SwitchRoot, now);
        self.ok(place, "");
    }

    /// telinit(8) for a client, who hears what came of it.
    fn telinit_for(&mut self, place: usize, level: &[u8], now: Ms) {
        match level {
            b"0" | b"6" => {
                self.telinit(level, now);
                self.ok(place, "");
            }
            b"Q" | b"q" => match self.reread() {
                Reread::Bad(text) => self.refuse_table(place, text, true),
                Reread::Done => self.ok(place, "read"),
            },
            b"U" | b"u" => self.begin_upgrade(Some(place)),
            level => {
                let name = SmallVec::<[u8; 64]>::from_slice(self.main_name());
                self.tell(place, &name, level, Tell::default(), Some(false), false);
            }
        }
    }

    /// What sysvinit's telinit, shutdown and halt ask for.
    pub(super) fn hear_initctl(&mut self, now: Ms) {
        for _ in 0..INITCTL_REQUESTS_MAX {
            let Some(pipe) = self.machine.as_ref().and_then(|machine| machine.initctl.as_ref()) else {
                return;
            };
            match pipe.read() {
                Some(Asked::Level(level)) => self.telinit(&[level], now),
                Some(Asked::PowerFails) => self.tell_power(b'F', now),
                Some(Asked::PowerLow) => self.tell_power(b'L', now),
                Some(Asked::PowerBack) => self.tell_power(b'O', now),
                Some(Asked::HaltsAtZero(halts)) => {
                    let ending = if halts { Ending::Halt } else { Ending::PowerOff };
                    self.life.at_zero = After::Power(ending).byte();
                }
                Some(Asked::Variable) => {
                    say(&[b"telinit -e: not done; the environment of processes is the table's (the setting env)"]);
                }
                Some(Asked::Nothing) => {}
                None => return,
            }
        }
    }

    /// A level as telinit(8) has it: 0 and 6 bring the machine down, Q reads the table, others are the main group's.
    pub(super) fn telinit(&mut self, level: &[u8], now: Ms) {
        match level {
            b"0" => {
                self.go_down(After::of_byte(self.life.at_zero), now);
            }
            b"6" => self.go_down(After::Power(Ending::Reboot), now),
            b"Q" | b"q" => {
                if let Reread::Bad(text) = self.reread() {
                    say_bad_table(&text);
                }
            }
            b"U" | b"u" => self.begin_upgrade(None),
            level => {
                if let Reread::Bad(text) = self.reread_if_changed() {
                    return say_bad_table(&text);
                }
                self.tell_main(level, now);
            }
        }
    }

    /// A table that can be used has taken the place of the emergency one: the machine boots.
    pub(super) fn boot_at_last(&mut self, now: Ms) {
        if self.life.in_emergency != 0 {
            (self.life.in_emergency, self.life.recorded) = (0, 0);
            self.engine.boot(false, now);
        }
    }

    /// Makes the pipe of sysvinit's telinit, if it is not there. Was it missing?
    pub(super) fn restore_initctl(&mut self) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        if machine.initctl.as_ref().is_some_and(Pipe::still_there) {
            return false;
        }
        machine.initctl = Pipe::make().ok();
        self.store.note(Slot::Initctl.number(), machine.initctl.as_ref().map(Pipe::fd));
        machine.initctl.is_some()
    }

    fn open_watchdog(&mut self, patience: Patience) {
        let (Some(machine), Some(set)) = (&mut self.machine, &self.engine.table().settings().watchdog) else {
            return;
        };
        if machine.watchdog.is_some() {
            return;
        }
        let device = set.device.as_os_str().as_encoded_bytes();
        let Ok(path) = CString::new(device) else { return };
        match Watchdog::open(&path, set.seconds.unwrap_or(0)) {
            Ok(watchdog) => {
                self.store.note(Slot::Watchdog.number(), Some(watchdog.fd()));
                machine.watchdog = Some(watchdog);
            }
            Err(sys::Errno::NOENT | sys::Errno::NXIO | sys::Errno::NODEV)
                if patience == Patience::UntilBooted => {}
            Err(errno) => say_errno("cannot use the watchdog", device, errno),
        }
    }

    /// Keeps the watchdog alive, when that is due: by the loop itself, so that a loop that hangs resets the machine.
    pub(super) fn keep_watchdog(&mut self, now: Ms) {
        if let Some(watchdog) = self.machine.as_mut().and_then(|machine| machine.watchdog.as_mut()) {
            watchdog.keep_alive(now);
        }
    }

    /// When that is due next.
    pub(super) fn watchdog_deadline(&self) -> Ms {
        let watchdog = self.machine.as_ref().and_then(|machine| machine.watchdog.as_ref());
        watchdog.map_or(NEVER, Watchdog::deadline)
    }

    /// The boot's records, as soon as the boot is over: before that there may be no file to write them to.
    pub(super) fn record_boot(&mut self) {
        let level = self.main_level();
        let Some(machine) = self.machine.as_mut().filter(|_| self.life.recorded == 0) else { return };
        if self.engine.has_booted() {
            self.life.recorded = 1;
            machine.utmp.boot();
            if let Some((level, previous)) = level {
                machine.utmp.runlevel(level, previous);
            }
            // Its module may have come with sysinit.
            self.open_watchdog(Patience::None);
        }
    }

    /// The main group's level and the one before, as sysvinit's programs have them: each one character.
    pub(super) fn main_level(&self) -> Option<(u8, u8)> {
        let group = self.engine.group(self.main?)?;
        let [level] = *group.level() else { return None };
        let previous = if let [previous] = *group.previous() { previous } else { b'N' };
        Some((level, previous))
    }

    /// What has happened, for utmp and wtmp: the main group's level, and processes that are started again and again
    /// (getty, for one), as sysvinit has it.
    pub(super) fn record(&mut self, transition: &Transition) {
        let Some(what) = transition.what() else { return };
        if transition.row == NONE {
            let is_main = self.main == Some(transition.group);
            let level = self.main_level().filter(|_| is_main && what == What::Switch);
            if let (Some((level, previous)), Some(machine)) = (level, &mut self.machine) {
                if self.life.recorded != 0 && !self.engine.is_going_down() {
                    machine.utmp.runlevel(level, previous);
                }
            }
            return;
        }
        let Some(entry) = self.engine.entry(transition.row) else { return };
        let Some(machine) = &mut self.machine else { return };
        if !entry.action().repeats() || entry.process().no_utmp {
            return;
        }
        match what {
            What::Started => machine.utmp.started(entry.tag(), transition.pid),
            What::Ended => match Last::from_word(transition.last) {
                Last::Exit(status) => machine.utmp.ended(entry.tag(), transition.pid, status, 0),
                Last::Signal(signal) => machine.utmp.ended(entry.tag(), transition.pid, 0, signal),
                Last::Nothing | Last::Fault { .. } | Last::NotReady => {}
            },
            _ => {}
        }
    }
}

/// A path that the kernel has taken once: it has no NUL byte.
fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}
