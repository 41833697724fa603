//! How the daemon begins: for the first time, with a table, or again, in what the life before has left.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::life::{Estate, Life, Slot};
use super::machine;
use super::messages::{place_words, say, say_errno, say_fault};
use super::processes::Processes;
use super::state::{self, Left, StateFile};
use super::statfiles::StatFiles;
use super::survivors;
use super::upgrade::Upgrade;
use super::{Clients, Role, SOCKET, SOCKET_OF_MACHINE, Supervisor};
use crate::engine::{Engine, LoadError, Tell};
use crate::isinittab::{Survivors, Table};
use crate::limits::{CLIENTS_MAX, RESERVED_DESCRIPTORS};
use crate::machine::last_resort;
use crate::sys;
use crate::sys::notify::Notify;
use crate::sys::poll::PollSet;
use crate::sys::reexec::{FdStore, Reexec};
use crate::sys::signals::Signals;
use crate::sys::socket::Listener;

/// What the daemon is started with.
pub struct Config {
    /// [`Role::Nested`] or [`Role::Container`].
    pub role: Role,
    /// The table.
    pub table: PathBuf,
    /// The socket, if the command line names one.
    pub socket: Option<PathBuf>,
    /// The daemon's output goes to the file of the `log` setting: it was detached from its caller.
    pub log: bool,
    /// Who waits to hear that the socket is there.
    pub announce: Option<sys::detach::WriteEnd>,
    /// A group and its level, as the first tell of all.
    pub tell: Option<(String, String)>,
}

/// Runs the daemon until everything is stopped. Returns its exit status.
pub fn run(mut config: Config) -> i32 {
    let mut announce = config.announce.take();
    let mut refuse = |status: i32, words: &str| {
        sys::output::say(words.as_bytes());
        if let Some(caller) = announce.take() {
            caller.tell(words.as_bytes());
        }
        status
    };
    let loaded = match Table::load(&config.table) {
        Ok(loaded) => loaded,
        Err(report) => return refuse(4, &report.to_string()),
    };
    if config.log {
        if let Some(log) = &loaded.table.settings().log {
            if let Err(error) = sys::detach::log_to(log) {
                return refuse(1, &place_words("write the log", log, &error, ""));
            }
        }
    }
    let begun = first_estate(config.role, &config.table)
        .and_then(|estate| Supervisor::begin(estate, config.socket.as_deref(), loaded.table));
    let mut supervisor = match begun {
        Ok(supervisor) => supervisor,
        Err(words) => return refuse(1, &words),
    };
    if !loaded.warnings.is_empty() {
        sys::output::say(loaded.warnings.to_string().as_bytes());
    }
    if let Some(caller) = announce {
        caller.tell(&[b"ready", supervisor.processes.unlimited()].concat());
    }
    if !supervisor.set_out(config.tell.as_ref()) {
        return 3;
    }
    supervisor.serve();
    supervisor.end()
}

/// Goes on where the life before has stopped, by a fault or for an upgrade, in the memory that it has left. Returns the
/// exit status, in its time; `None` if that memory is nothing that we can read.
pub fn go_on(memory: OwnedFd, words: &[String]) -> Option<i32> {
    let mut estate = match Estate::adopt(memory) {
        Ok(estate) => estate,
        Err(errno) => {
            say_errno("cannot go on in", b"the memory of the life before: beginning anew", errno);
            return None;
        }
    };
    let fault = estate.store.fault();
    let too_many = fault.is_some() && estate.life.count_fault(sys::clock::now_ms());
    estate.arm();
    // The exec has called it by another one.
    sys::process::set_name(&estate.life.name);
    match fault {
        Some(fault) => say_fault(fault),
        None => say(&[b"executed anew, as version ", env!("CARGO_PKG_VERSION").as_bytes()]),
    }
    if too_many {
        give_up(estate);
    }
    if estate.life.has_begun == 0 {
        // Nothing was started yet.
        match estate.life.role() {
            Role::Machine => machine::run_machine_in(estate, words),
            Role::Nested | Role::Container => return Some(1),
        }
    }
    let mut supervisor = match Supervisor::resume(estate) {
        Ok(supervisor) => supervisor,
        Err(words) => last_resort::stay(words.trim_end().as_bytes(), None, sys::power::is_machine(), || ()),
    };
    supervisor.serve();
    match supervisor.role {
        Role::Machine => supervisor.leave(),
        Role::Nested | Role::Container => Some(supervisor.end()),
    }
}

/// It has crashed too often: what runs goes on without us, until somebody says that it is mended.
fn give_up(estate: Estate) -> ! {
    let Estate { life, store, reexec, .. } = estate;
    let listener = store.adopt(Slot::Listener.number());
    let listener = listener.map(|fd| Listener::adopt(fd, life.socket.get(), life.socket_file));
    let is_machine = life.role() == Role::Machine;
    last_resort::stay(TOO_OFTEN, listener, is_machine, || {
        life.forgive();
        reexec.into_iter().for_each(Reexec::again);
    })
}

const TOO_OFTEN: &[u8] =
    b"crashed too often: nothing is started or stopped any more, but what runs goes on and what ends is \
    collected; SIGHUP lets isinit try again";

/// The memory of a first life, which a fault of ours is survived in from now on.
pub(super) fn first_estate(role: Role, table: &Path) -> Result<Estate, String> {
    let no_memory = |errno: sys::Errno| format!("isinit: cannot make memory for the rows: {errno}\n");
    let estate = Estate::new().map_err(no_memory)?;
    estate.life.set_role(role);
    estate.life.table.set(table);
    estate.life.name = sys::process::own_name();
    estate.life.began_ms = sys::clock::now_ms();
    Ok(estate)
}

/// What both beginnings have to find or to make before there is a supervisor.
struct Found {
    signals: Signals,
    listener: Option<Listener>,
    notify: Option<Notify>,
}

impl Supervisor {
    /// Begins for the first time: nothing is there yet. `socket` is the one that the command line names.
    pub(super) fn begin(
        mut estate: Estate,
        socket: Option<&Path>,
        table: Table,
    ) -> Result<Supervisor, String> {
        let socket = socket.map(Path::to_path_buf).or_else(|| table.settings().socket.clone());
        let socket = socket.unwrap_or_else(|| SOCKET.into());
        let signals = Signals::take().map_err(signal_words)?;
        estate.arm();
        let (listener, socket) = listen(socket, estate.life.role())?;
        estate.life.socket.set(&socket);
        let found = Found { signals, listener, notify: open_notify() };
        let left = match estate.life.role() {
            Role::Nested => state::recover(&socket, &mut estate.memory),
            Role::Container | Role::Machine => None,
        };
        let mut supervisor = match left {
            Some(left) => Supervisor::succeed(&left, estate, found, table)?,
            None => {
                let Estate { memory, life, store, reexec, .. } = estate;
                let mut supervisor = Supervisor::new(Engine::new(memory), found, (life, store, reexec));
                supervisor.take(table).map_err(|error| load_words(error).to_string())?;
                supervisor
            }
        };
        if supervisor.role == Role::Nested {
            supervisor.state = StateFile::create(&socket, &supervisor.engine);
        }
        Ok(supervisor)
    }

    /// Begins with what a killed daemon has left.
    fn succeed(left: &Left, estate: Estate, found: Found, table: Table) -> Result<Supervisor, String> {
        let Estate { mut memory, life, store, reexec, .. } = estate;
        let rows = memory.rows.get_mut(..memory.head.rows_used as usize).unwrap_or_default();
        let survivors = survivors::find(left, rows, life.socket.get(), &table);
        life.took_over = 1;
        let goes_on = table.settings().survivors == Survivors::Take;
        if goes_on {
            life.has_begun = 1;
        } else {
            memory.forget_levels();
        }
        let is_ours = |pid| survivors.iter().any(|survivor| survivor.pid() == pid);
        let engine = Engine::adopt(memory, table, is_ours, sys::clock::now_ms());
        let engine = engine.map_err(|error| load_words(error).to_string())?;
        let mut supervisor = Supervisor::new(engine, found, (life, store, reexec));
        supervisor.survivors = survivors;
        supervisor.processes.take_cgroups_of(left.pid);
        supervisor.prepare();
        Ok(supervisor)
    }

    /// Begins again, in memory that an earlier life has left.
    fn resume(estate: Estate) -> Result<Supervisor, String> {
        let signals = Signals::retake().map_err(signal_words)?;
        let Estate { memory, life, store, reexec, .. } = estate;
        let role = life.role();
        let left = |slot: Slot| store.adopt(slot.number());
        let listener = match left(Slot::Listener) {
            Some(fd) => Some(Listener::adopt(fd, life.socket.get(), life.socket_file)),
            None => listen(life.socket.get().into(), role).ok().and_then(|(listener, _)| listener),
        };
        let notify = left(Slot::Notify).and_then(|fd| Notify::adopt(fd).ok()).or_else(open_notify);
        let found = Found { signals, listener, notify };
        let kept = reexec.and_then(Life::kept_text);
        let (table, report) = match Table::load(life.table.get()) {
            // It was never that of the file.
            _ if life.in_emergency != 0 => (kept_table(kept), None),
            Ok(loaded) => (loaded.table, None),
            Err(report) => (kept_table(kept), Some(report)),
        };
        let rows = memory.rows.get(..memory.head.rows_used as usize).unwrap_or_default();
        let is_child = sys::reap::is_child;
        let survivors = if life.took_over == 0 { Vec::new() } else { survivors::watch(rows, is_child) };
        let is_ours = |pid| is_child(pid) || survivors.iter().any(|survivor| survivor.pid() == pid);
        let now = sys::clock::now_ms();
        let engine = Engine::adopt(memory, table, is_ours, now);
        let engine = engine.map_err(|error| load_words(error).to_string())?;
        let mut supervisor = Supervisor::new(engine, found, (life, store, reexec));
        supervisor.survivors = survivors;
        if let Some(report) = report {
            super::messages::say_bad_table(report.to_string().as_bytes());
            supervisor.table_bad = true;
        }
        supervisor.prepare();
        if role == Role::Machine {
            supervisor.go_on_as_machine();
        }
        if role == Role::Nested {
            supervisor.state = StateFile::create(supervisor.life.socket.get(), &supervisor.engine);
        }
        // Nobody has taken what is of an entry that is gone.
        store.close_rest();
        supervisor.hear_left(now);
        supervisor.reap(now);
        Ok(supervisor)
    }

    fn new(
        engine: Engine<'static>,
        found: Found,
        (life, store, reexec): (&'static mut Life, FdStore, Option<&'static Reexec>),
    ) -> Supervisor {
        let Found { signals, listener, notify } = found;
        if let Err(errno) = sys::process::set_subreaper() {
            say_errno("cannot become", b"the subreaper: what daemons leave behind is not found", errno);
        }
        store.note(Slot::Notify.number(), notify.as_ref().map(Notify::fd));
        let name = notify.as_ref().map_or(&b""[..], |notify| notify.name());
        let socket = life.socket.get().as_os_str().as_encoded_bytes();
        let processes = Processes::new(socket, name, life.role() == Role::Machine, store);
        let mut supervisor = Supervisor {
            engine,
            processes,
            clients: Clients::new(client_places()),
            statfiles: StatFiles::new(),
            signals,
            place: sys::watch::Watch::on(life.socket.get()),
            listener: None,
            notify,
            table_bad: false,
            rest_until_ms: 0,
            untrimmed: true,
            rest_said: None,
            poll: PollSet::new(0),
            sources: Vec::new(),
            exit: None,
            main: None,
            role: life.role(),
            machine: None,
            life,
            store,
            reexec,
            upgrade: Upgrade::Idle,
            state: None,
            survivors: Vec::new(),
        };
        supervisor.listen_by(listener);
        supervisor
    }

    /// This is the socket from now on.
    pub(super) fn listen_by(&mut self, listener: Option<Listener>) {
        self.store.note(Slot::Listener.number(), listener.as_ref().map(Listener::fd));
        if let Some(listener) = &listener {
            self.life.socket_file = listener.file();
        }
        self.listener = listener;
    }

    /// Begins, and takes the first tell. Was there none, or is it taken?
    fn set_out(&mut self, tell: Option<&(String, String)>) -> bool {
        let now = sys::clock::now_ms();
        match self.role {
            // Groups are where a killed daemon has left them.
            Role::Nested if self.life.has_begun != 0 => {}
            Role::Nested => self.engine.begin(now),
            Role::Container | Role::Machine => self.engine.boot(false, now),
        }
        self.life.has_begun = 1;
        let Some((group, level)) = tell else { return true };
        let (group, level) = (group.as_bytes(), level.as_bytes());
        let told = self.engine.tell(group, level, Tell::default(), now);
        told.map_err(|refusal| self.say_refused(refusal, group, level)).is_ok()
    }
}

/// The table that was in force when the life before has ended.
fn kept_table(text: Option<Vec<u8>>) -> Table {
    let loaded = text.and_then(|text| Table::parse_whole("the table in force", &text).ok());
    loaded.map_or_else(Table::empty, |loaded| loaded.table)
}

fn signal_words(errno: sys::Errno) -> String {
    format!("isinit: cannot take the signals over: {errno}\n")
}

fn open_notify() -> Option<Notify> {
    let say = |errno| {
        say_errno("cannot open", b"the socket of ready=socket: nobody can say by it that he is ready", errno)
    };
    Notify::open().map_err(say).ok()
}

/// Makes the socket, here or where a machine has another place for it. Where there cannot be one, it is said, and what
/// is to run runs without it; but a nested daemon is nothing without its socket.
fn listen(path: PathBuf, role: Role) -> Result<(Option<Listener>, PathBuf), String> {
    let mut path = path;
    let mut listening = sys::socket::listen(&path);
    if role == Role::Machine && listening.is_err() && path == Path::new(SOCKET) {
        if let Ok(listener) = sys::socket::listen(Path::new(SOCKET_OF_MACHINE)) {
            (listening, path) = (Ok(listener), SOCKET_OF_MACHINE.into());
        }
    }
    match (listening, role) {
        (Ok(listener), _) => return Ok((Some(listener), path)),
        // What it is on is mounted later, perhaps; then it is made.
        (Err(error), Role::Machine) => sys::output::say(listen_words(&path, error).as_bytes()),
        // It is read-only, or we are nobody.
        (Err(error), Role::Container) if error != sys::socket::Error::InUse => {
            sys::output::say(listen_words(&path, error).as_bytes());
            say(&[b"going on without a socket: nobody can tell it anything but by signals"]);
        }
        (Err(error), Role::Nested | Role::Container) => return Err(listen_words(&path, error)),
    }
    Ok((None, path))
}

/// As many places for clients as there are descriptors for, less those that the daemon needs itself.
fn client_places() -> usize {
    let descriptors = sys::process::descriptor_limit();
    (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).clamp(1, CLIENTS_MAX)
}

fn listen_words(path: &Path, error: sys::socket::Error) -> String {
    let shown = path.display();
    match error {
        sys::socket::Error::InUse => format!("isinit: another daemon answers at {shown}\n"),
        sys::socket::Error::TooLong => format!(
            "isinit: the path of the socket is longer than 107 bytes: {shown}; name a shorter one with -s\n"
        ),
        sys::socket::Error::NotASocket => {
            format!("isinit: {shown} exists and is not a socket; remove it, or name another with -s\n")
        }
        sys::socket::Error::Place(error) => {
            place_words("listen at", path, &error, "; name another place with -s")
        }
    }
}

pub(super) fn load_words(error: LoadError) -> &'static str {
    match error {
        LoadError::Entries => "isinit: the table has more entries than there is room for\n",
        LoadError::Groups => "isinit: the table has more groups than there is room for\n",
    }
}
