//! The harness of the black-box tests: a daemon of one's own, in a directory of its own, and what one asks of it.
//!
//! ```ignore
//! mod common;
//! use common::Daemon;
//!
//! #[test]
//! fn a_service_is_started() {
//!     let d = Daemon::start("web:www:run,:respawn:sh svc www\n");
//!     assert_eq!(d.tell("web", "run"), "ok run");
//!     d.until_event("start www");
//!     assert!(common::alive(d.pid_of("www")));
//! }
//! ```
//!
//! - The daemon runs in the foreground, its working directory is the test's own directory: tables and scripts name
//!   their files without a path. `$BIN` in a script is the isinit under test, `$ISINIT_SOCKET` its socket.
//! - `svc NAME` is a script in each such directory: a service that notes `start NAME PID` and `term NAME` in the
//!   file `events`, and goes on SIGTERM. Wait for its `start` before you stop it: until then it has no trap.
//! - Tests wait for events ([`Daemon::until`]), never for a time. [`DEADLINE`] only ends a test that has failed.
//! - When a test fails, the daemon's stderr is printed with it.
//! - Dropping a [`Daemon`] ends it, all that it has started, and the directory.
//!
//! `ISINIT_BIN` names another binary to be tested than the one that cargo has built.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long an event may take before its test has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two looks at something that cannot be waited for otherwise.
const PAUSE: Duration = Duration::from_millis(5);

/// A service: notes its start and its stop signal in `events`, and goes on SIGTERM. `wait` is the one command of the
/// shell that misses no signal: one that comes just before a `read` leaves it waiting. Its child is forked before there
/// is a handler, which it would have too until it is executed.
const SVC: &str = r#"sleep 100000 &
trap 'echo "term $1" >> events; exit 0' TERM
echo "start $1 $$" >> events
while :; do wait; done
"#;

/// The isinit under test.
pub fn binary() -> PathBuf {
    std::env::var_os("ISINIT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_isinit").into(), PathBuf::from)
}

/// Runs the isinit under test without any daemon or socket given.
pub fn isinit(args: &[&str]) -> Output {
    run(Command::new(binary()).args(args).env_remove("ISINIT_SOCKET"))
}

/// What a command has left: its exit status and what it wrote.
#[derive(Debug)]
pub struct Output {
    /// The exit status; 128 plus the signal that ended it, as a shell has it.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command to its end. It fails the test if that does not come before [`DEADLINE`].
pub fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot execute {shown}: {error}"));
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(DEADLINE) else {
        signal(pid, Signal::KILL);
        panic!("{shown} does not end");
    };
    let output = output.unwrap();
    Output {
        status: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The exit status as a shell has it: 128 plus the signal where one ended the process.
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Looks again and again until there is something, or until [`DEADLINE`]: then `None`.
pub fn look_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > end {
            return found;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds. After [`DEADLINE`] the test has failed, with `what` in its message.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    look_until(|| holds().then_some(())).unwrap_or_else(|| panic!("waited in vain: {what}"));
}

/// A test's own directory, before and while a daemon runs in it. Removed when dropped.
pub struct Stage {
    dir: PathBuf,
}

impl Stage {
    /// A new directory with `svc` in it.
    pub fn new() -> Stage {
        let stage = Stage { dir: new_directory() };
        stage.write("svc", SVC);
        stage.write("events", "");
        stage
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("init.s")
    }

    /// The table's path.
    pub fn table(&self) -> PathBuf {
        self.path("isinittab")
    }

    /// Writes a file. Scripts are run as `sh NAME`, so that none has to be executable; see [`Stage::install`].
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Copies a program here, to be executed. Another process writes it: what is open for writing here is in all that
    /// other threads of the test fork meanwhile (ETXTBSY).
    pub fn install(&self, program: &Path, name: &str) {
        let copied = run(Command::new("install").args(["-m", "0755"]).arg(program).arg(self.path(name)));
        assert_eq!(copied.status, 0, "{copied:?}");
    }

    /// Writes the table as an editor does: a new file, by rename.
    pub fn write_table(&self, text: impl AsRef<[u8]>) {
        self.write("isinittab.new", text);
        fs::rename(self.path("isinittab.new"), self.table()).unwrap();
    }

    /// Makes a FIFO. A process that opens it to read stays in open(2) until [`Stage::release`].
    pub fn fifo(&self, name: &str) {
        rustix::fs::mkfifoat(rustix::fs::CWD, self.path(name), rustix::fs::Mode::from_raw_mode(0o666))
            .unwrap();
    }

    /// Opens a FIFO for writing without waiting for its readers; what reads from it gets its end when the file is
    /// dropped.
    pub fn open_fifo(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap()
    }

    /// The text of a file; empty if there is none.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// The lines of a file.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.text(name).lines().map(str::to_owned).collect()
    }

    /// How many lines of `events` begin with these words.
    pub fn count_events(&self, words: &str) -> usize {
        let begins =
            |line: &&str| line.strip_prefix(words).is_some_and(|rest| !rest.starts_with(|c| c != ' '));
        self.text("events").lines().filter(begins).count()
    }

    /// Daemons that a first call has started here, and clients: all whose command line names the socket.
    pub fn detached(&self) -> Vec<u32> {
        having("cmdline", self.socket().as_os_str().as_bytes())
    }

    /// All processes that a daemon here has started, by their environment, itself not included.
    pub fn descendants(&self) -> Vec<u32> {
        let marker = [b"ISINIT_SOCKET=", self.socket().as_os_str().as_bytes()].concat();
        having("environ", &marker)
    }

    /// Those of one resource group.
    pub fn descendants_of(&self, group: &str) -> Vec<u32> {
        let of_group = having("environ", format!("ISINIT_GROUP={group}").as_bytes());
        self.descendants().into_iter().filter(|pid| of_group.contains(pid)).collect()
    }

    /// What the daemon has written to its stderr so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    /// The command that starts a daemon here, with `extra` in front of it (a `sh -c 'ulimit ...; exec "$@"' sh`).
    pub fn command(&self, extra: &[&str]) -> Command {
        let program = binary();
        let mut words: Vec<OsString> = extra.iter().map(OsString::from).collect();
        words.extend([program.clone().into(), "-d".into(), "-c".into(), self.table().into()]);
        words.extend(["-s".into(), self.socket().into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.dir).env("BIN", program);
        for name in ["ISINIT_SOCKET", "ISINIT_GROUP", "ISINIT_TAG", "NOTIFY_SOCKET", "RUNLEVEL", "PREVLEVEL"]
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command.stdout(File::create(self.path("stdout")).unwrap());
        command.stderr(File::create(self.path("stderr")).unwrap());
        command
    }

    /// Starts the daemon with this table, and waits until its socket answers.
    pub fn start(self, table: impl AsRef<[u8]>) -> Daemon {
        let command = self.command(&[]);
        self.start_by(table, command)
    }

    /// The same, by a command that was made by [`Stage::command`] and perhaps changed.
    pub fn start_by(self, table: impl AsRef<[u8]>, mut command: Command) -> Daemon {
        self.write_table(table);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot execute {command:?}: {error}"));
        let daemon = Daemon { pid: child.id(), child: Mutex::new(child), stage: self };
        daemon.until("the socket answers :ping", |d| d.try_ask(":ping").is_ok() || d.exit_status().is_some());
        if let Some(status) = daemon.exit_status() {
            panic!("the daemon has ended at once, {status}: {}", daemon.stderr());
        }
        daemon
    }
}

/// A directory whose name is nobody else's, also where two runs have the same process ids, each in a PID namespace of
/// its own. The name is short: the path of a socket has 107 bytes.
fn new_directory() -> PathBuf {
    loop {
        let random = RandomState::new().build_hasher().finish() as u32;
        let path = std::env::temp_dir().join(format!("isinit-test-{random:08x}"));
        match fs::DirBuilder::new().mode(0o755).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path).unwrap(),
        }
    }
}

/// What holds up the entries of a test: each one reads a line with its exit status, `read x < go; exit $x`.
pub struct Gate(File);

impl Gate {
    /// The FIFO `go`, where nothing can be read yet.
    pub fn new(stage: &Stage) -> Gate {
        stage.fifo("go");
        Gate(stage.open_fifo("go"))
    }

    /// Lets one go.
    pub fn pass(&mut self, status: u8) {
        self.0.write_all(format!("{status}\n").as_bytes()).unwrap();
    }
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::new()
    }
}

impl Drop for Stage {
    /// Also ends what a client has started here: a daemon that was detached, and all that it has started.
    fn drop(&mut self) {
        for pid in self.detached().into_iter().chain(self.descendants()) {
            signal(pid, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A daemon of one's own. It derefs to its [`Stage`]: files, `events`, the table.
pub struct Daemon {
    child: Mutex<Child>,
    pid: u32,
    stage: Stage,
}

impl Deref for Daemon {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Daemon {
    /// Starts a daemon with this table in a new directory, and waits until its socket answers.
    pub fn start(table: impl AsRef<[u8]>) -> Daemon {
        Stage::new().start(table)
    }

    /// The daemon's PID.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `isinit -c TABLE -s SOCKET ARGS...` from the test's directory.
    pub fn isinit(&self, args: &[impl AsRef<OsStr>]) -> Output {
        run(&mut self.client(args))
    }

    /// The command of [`Daemon::isinit`].
    pub fn client(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(binary());
        command.arg("-c").arg(self.table()).arg("-s").arg(self.socket()).args(args);
        command.current_dir(self.dir()).env_remove("ISINIT_SOCKET").env("NO_COLOR", "1");
        command
    }

    /// A connection to the socket, with [`DEADLINE`] for each read.
    pub fn connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// Sends one request, without a newline of its own, and returns all lines of its answer. The last one is
    /// `ok ...` or `err ...`, unless the daemon closed the connection before that.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Vec<String> {
        let shown = String::from_utf8_lossy(request.as_ref()).into_owned();
        self.try_ask(request).unwrap_or_else(|error| self.fail(&format!("no answer to {shown}: {error}")))
    }

    /// The same where it may fail.
    pub fn try_ask(&self, request: impl AsRef<[u8]>) -> std::io::Result<Vec<String>> {
        let mut stream = self.connect()?;
        // In one piece: who answers anything with the same sentence may close after the first.
        stream.write_all(&[request.as_ref(), b"\n"].concat())?;
        let lines = answer(&mut BufReader::new(stream))?;
        if lines.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(lines)
    }

    /// `:tell GROUP LEVEL wait`: the last line of the answer.
    pub fn tell(&self, group: &str, level: &str) -> String {
        self.last_line(format!(":tell {group} {level} wait"))
    }

    /// The last line of an answer.
    pub fn last_line(&self, request: impl AsRef<[u8]>) -> String {
        self.ask(request).pop().unwrap_or_default()
    }

    /// The status line of an entry.
    pub fn entry(&self, tag: &str) -> EntryStatus {
        self.find_entry(tag).unwrap_or_else(|| self.fail(&format!("the status has no entry {tag}")))
    }

    /// The same; `None` if the status has no such entry.
    pub fn find_entry(&self, tag: &str) -> Option<EntryStatus> {
        self.ask(":status").iter().filter_map(|line| EntryStatus::parse(line)).find(|entry| entry.tag == tag)
    }

    /// The status line of a group.
    pub fn group(&self, name: &str) -> GroupStatus {
        let find = |line: &String| GroupStatus::parse(line).filter(|group| group.name == name);
        let found = self.ask(":status").iter().find_map(find);
        found.unwrap_or_else(|| self.fail(&format!("the status has no group {name}")))
    }

    /// The PID of an entry, waited for.
    pub fn pid_of(&self, tag: &str) -> u32 {
        self.until_some(&format!("{tag} has a process"), |d| Some(d.entry(tag).pid).filter(|pid| *pid != 0))
    }

    /// Waits until an entry is in this state.
    pub fn until_state(&self, tag: &str, state: &str) -> EntryStatus {
        self.until_some(&format!("{tag} is {state}"), |d| {
            Some(d.entry(tag)).filter(|entry| entry.state == state)
        })
    }

    /// Waits until a line of the file `events` begins with these words.
    pub fn until_event(&self, words: &str) {
        self.until(&format!("event {words}"), |d| d.count_events(words) > 0);
    }

    /// Waits until a condition holds. After [`DEADLINE`] the test has failed, with `what` in its message.
    pub fn until(&self, what: &str, mut condition: impl FnMut(&Daemon) -> bool) {
        self.until_some(what, |d| condition(d).then_some(()));
    }

    /// Waits until there is something, and returns it.
    pub fn until_some<T>(&self, what: &str, mut look: impl FnMut(&Daemon) -> Option<T>) -> T {
        look_until(|| look(self)).unwrap_or_else(|| self.fail(&format!("waited in vain: {what}")))
    }

    /// Fails the test, with the daemon's status and the file `events`. Its stderr comes when it is dropped.
    pub fn fail(&self, message: &str) -> ! {
        let status = self.try_ask(":status").map_or_else(|e| format!("none: {e}"), |lines| lines.join("\n"));
        panic!("{message}\n-- status\n{status}\n-- events\n{}", self.text("events"));
    }

    /// How the daemon has ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits until the daemon has ended; its exit status.
    pub fn wait_exit(&self) -> i32 {
        exit_code(self.until_some("the daemon ends", Daemon::exit_status))
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, number: Signal) {
        assert!(self.exit_status().is_none(), "the daemon has ended: {}", self.stderr());
        signal(self.pid, number);
    }

    /// SIGTERM to the daemon, and its exit status.
    pub fn stop(&self) -> i32 {
        self.signal(Signal::TERM);
        self.wait_exit()
    }
}

/// The processes that have this word in a file of /proc/PID whose words end in NUL.
fn having(file: &str, word: &[u8]) -> Vec<u32> {
    let has = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|other| other == word)
    };
    all_pids().into_iter().filter(has).collect()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("-- stderr of the daemon\n{}", self.stderr());
        }
        let child = self.child.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Ok(None) = child.try_wait() {
            signal(self.pid, Signal::TERM);
        }
        if look_until(|| child.try_wait().transpose()).is_none() {
            eprintln!("the daemon does not end by SIGTERM\n{}", self.stage.stderr());
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads the lines of one answer, up to `ok` or `err` or the end.
pub fn answer(reader: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        let line = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
        let last = line == "ok" || line.starts_with("ok ") || line.starts_with("err ");
        lines.push(line);
        if last {
            return Ok(lines);
        }
    }
}

/// An `entry` line of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryStatus {
    pub group: String,
    pub tag: String,
    pub action: String,
    pub state: String,
    pub pid: u32,
    pub age_ms: u64,
    pub restarts: u64,
    pub last: String,
    pub due_ms: Option<u64>,
    pub flags: Vec<String>,
}

impl EntryStatus {
    /// Reads one line; `None` if it is not an `entry` line.
    pub fn parse(line: &str) -> Option<EntryStatus> {
        let mut words = line.strip_prefix("entry ")?.split(' ');
        let (group, tag) = (words.next()?.to_owned(), words.next()?.to_owned());
        let fields = fields(words);
        let number = |name: &str| fields[name].parse::<u64>().unwrap();
        Some(EntryStatus {
            group,
            tag,
            action: fields["action"].to_owned(),
            state: fields["state"].to_owned(),
            pid: fields["pid"].parse().unwrap(),
            age_ms: number("age_ms"),
            restarts: number("restarts"),
            last: fields["last"].to_owned(),
            due_ms: fields["due_ms"].parse().ok(),
            flags: fields["flags"].split(',').filter(|flag| *flag != "-").map(str::to_owned).collect(),
        })
    }

    /// Has it this flag?
    pub fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }
}

/// A `group` line of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    pub name: String,
    pub state: String,
    pub level: String,
    pub prev: String,
    pub entries: u64,
    pub up: u64,
}

impl GroupStatus {
    /// Reads one line; `None` if it is not a `group` line.
    pub fn parse(line: &str) -> Option<GroupStatus> {
        let mut words = line.strip_prefix("group ")?.split(' ');
        let name = words.next()?.to_owned();
        let fields = fields(words);
        Some(GroupStatus {
            name,
            state: fields["state"].to_owned(),
            level: fields["level"].to_owned(),
            prev: fields["prev"].to_owned(),
            entries: fields["entries"].parse().unwrap(),
            up: fields["up"].parse().unwrap(),
        })
    }
}

fn fields<'l>(words: impl Iterator<Item = &'l str>) -> BTreeMap<&'l str, &'l str> {
    words.filter_map(|word| word.split_once('=')).collect()
}

/// Sends a signal to one process. It may be gone already.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let _ = rustix::process::kill_process(pid.expect("a PID of a test's process"), signal);
}

/// Is this test run by root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Is there a process with this PID that has not ended (a zombie has)?
pub fn alive(pid: u32) -> bool {
    process_state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// The state letter of a process; `None` if there is none.
pub fn process_state(pid: u32) -> Option<char> {
    status_line(pid, "State")?.chars().next()
}

/// A line of /proc/PID/status, without its name.
pub fn status_line(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The fields of /proc/PID/stat from the state on: state is 0, then ppid, pgrp, session, tty_nr.
pub fn stat_fields(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 2..].split(' ').map(|field| field.trim().to_owned()).collect()
}

/// The environment that a process was executed with.
pub fn environment(pid: u32) -> BTreeMap<String, String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let pairs = environ.split(|byte| *byte == 0).map(|pair| String::from_utf8_lossy(pair).into_owned());
    pairs.filter_map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect()
}

/// The open descriptors of a process and what they are.
pub fn descriptors(pid: u32) -> BTreeMap<u32, PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let described = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?))
    };
    entries.filter_map(described).collect()
}

/// All children of a process, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    let of = |child: &u32| status_line(*child, "PPid").is_some_and(|parent| parent == pid.to_string());
    all_pids().into_iter().filter(of).collect()
}

/// The PIDs of this machine.
pub fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Makes a file that everybody may write, for services that run as another user.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}
