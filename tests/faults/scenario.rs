//! The fixed scenario: a daemon in the foreground under strace(1), told the things that daemons are told in their life,
//! and what is asked of it whatever fails meanwhile.
//!
//! Each step knows what comes of it when nothing fails. Anything else is a deviation, and a run with deviations is
//! right only where the errno's words were told: on the daemon's stderr, or to the client that asked.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::calls;
use crate::common::{self, Stage, answer, exit_code};

/// How long a run may take, or it hangs. The longest wait in it is that for a process that no SIGKILL reaches, which the
/// daemon gives up after five seconds; the rest is for a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much longer something is waited for that will hardly come, once the daemon has said why.
const GRACE: Duration = Duration::from_millis(1500);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection's request that the daemon has closed without an answer is made again so often.
const TRIES: usize = 3;

/// How the services of the scenario are found out to be two: each holds a lock while it lives.
const ALONE: &str = "exec 9>lock.$ISINIT_TAG; flock -n 9 || echo two $ISINIT_TAG >>twice; ";

/// The main process itself says that it is ready: what it would start for that might have ended before it is heard.
const NOTIFY: &str = r#"use Socket; socket S, 1, 2, 0; send S, "READY=1", 0, pack_sockaddr_un "\0" . substr $ENV{NOTIFY_SOCKET}, 1; sleep 100000"#;

/// What is made to fail, and what else is arranged.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// What strace injects; nothing for the run that all are compared with.
    pub fault: Option<Fault>,
    /// Without cgroups (their directory cannot be locked), and with lines that the daemon writes itself.
    pub bare: bool,
}

/// A call, what happens to it, and when.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The call.
    pub call: &'static str,
    /// What happens to it.
    pub what: What,
    /// `5`: the fifth of these calls; `5+`: that and all after it.
    pub when: String,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It fails with this errno.
    Errno(&'static str),
    /// SIGSEGV comes while it is made.
    Crash,
}

/// How a run has ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As if nothing had failed.
    Right,
    /// Not so, and it was said why.
    Explained,
}

/// The services that the first table has at level `run`.
const FIRST: [&str; 7] = ["sink", "talk", "fd", "note", "crash", "leave", "plain"];

/// And the second.
const SECOND: [&str; 7] = ["sink", "talk", "fd", "note", "crash", "leave", "new"];

/// It has said of what is left that it could do no more about it.
const GAVE_UP: [&str; 3] =
    ["given up", "cannot look through /proc", "what daemons leave behind is not found"];

/// And that it has crashed.
const CRASHED: &str = "isinit: SIGSEGV at";

/// What clients may see of a crash.
const SEEN_OF_A_CRASH: [&str; 3] =
    [": closed without an answer", "who watches was not told", ":stopall wait: no answer"];

/// What the daemon leaves behind when it is stopped, if nobody looks after it: its argument.
const LEFTOVER: &str = "200000";

fn table(stage: &Stage, bare: bool, second: bool) -> String {
    let (dir, prefix) = (stage.dir().display(), if bare { ":::prefix:tag\n" } else { "" });
    let (plain, nice) = if second { ("new", ",nice=1") } else { ("plain", "") };
    format!(
        ":::initstat:{dir}/initstat\n:::clstat:{dir}/clstat\n:::stop-timeout:0.5\n:::include:{dir}/*.tab\n{prefix}\
         g:prep:run,:wait:true\n\
         g:sink:run,:respawn:{ALONE}exec cat >>logged\n\
         g:talk:run,:respawn,log=sink:{ALONE}echo hello; exec sleep 100000\n\
         g:fd:run,:respawn,ready=3{nice}:{ALONE}echo >&3; exec sleep 100000\n\
         g:note:run,:respawn,ready=socket:{ALONE}exec perl -e '{NOTIFY}'\n\
         g:crash:run,:respawn:{ALONE}mkdir first && exit 1; exec sleep 100000\n\
         g:leave:run,:respawn:setsid -f sleep {LEFTOVER}; {ALONE}exec sleep 100000\n\
         g:{plain}:run,:respawn:{ALONE}exec sleep 100000\n\
         g:once:run,:once:echo said\n\
         g:ask:run,:test:true\n"
    )
}

/// One run: what has been seen so far.
struct Run<'c> {
    case: &'c Case,
    stage: Stage,
    strace: Child,
    begun: Instant,
    /// All lines that clients have got.
    heard: Vec<String>,
    /// What was not as it is when nothing fails.
    deviations: Vec<String>,
}

/// Plays the scenario. What is wrong is told with all that is known of it.
pub fn play(case: &Case) -> Result<Verdict, String> {
    play_and_look(case, |_| ()).map(|(verdict, ())| verdict)
}

/// The same, and looks at what the run has left in its directory: `trace`, for one.
pub fn play_and_look<T>(case: &Case, look: impl FnOnce(&Stage) -> T) -> Result<(Verdict, T), String> {
    let mut run = Run::start(case);
    let result = run.scenario();
    // Whatever is left is ended by its PID; a run that went well has left nothing.
    run.end_all();
    let result = result.and_then(|status| run.judge(status));
    match result {
        Ok(verdict) => Ok((verdict, look(&run.stage))),
        Err(words) => Err(run.report(&words)),
    }
}

impl<'c> Run<'c> {
    fn start(case: &'c Case) -> Run<'c> {
        let stage = Stage::new();
        // A daemon that was killed has left its socket.
        drop(UnixListener::bind(stage.socket()).unwrap());
        stage.write_table(table(&stage, case.bare, false));
        stage.write("more.tab", "# nothing\n");
        let strace = strace(&stage, case).spawn().expect("strace");
        let begun = Instant::now();
        Run { case, stage, strace, begun, heard: Vec::new(), deviations: Vec::new() }
    }

    /// All steps. The daemon's exit status.
    fn scenario(&mut self) -> Result<i32, String> {
        self.wait("the socket answers", |run| run.ping());
        let watch = self.watch();
        self.expect(":tell g run wait", "ok run");
        self.services(&FIRST);
        self.wait("the reader of the log has its line", |run| run.stage.text("logged") == "hello\n");
        self.status(&FIRST);
        self.stage.write_table(table(&self.stage, self.case.bare, true));
        self.expect(":reread", "ok read");
        self.services(&SECOND);
        self.expect(":stop leave wait", "ok");
        self.wait("leave has left nothing", |run| {
            !run.stage.descendants().iter().any(|pid| is_of(*pid, "leave"))
        });
        self.status(&SECOND[..5]);
        let status = self.stop()?;
        self.look_at_watch(watch);
        Ok(status)
    }

    /// Waits until something holds. After the grace it is a deviation; a hang ends the run where the daemon
    /// does not end when it is told to.
    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Run<'c>) -> bool) {
        let since = Instant::now();
        loop {
            if holds(self) {
                return;
            }
            if self.is_over(since) || self.has_ended().is_some() {
                return self.deviations.push(format!("waited in vain: {what}"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Is there no use in waiting any longer? After a crash there is, for everything is to come right.
    fn is_over(&self, since: Instant) -> bool {
        let may_fail = self.may_fail() && since.elapsed() > GRACE && self.is_explained();
        self.begun.elapsed() > PATIENCE || may_fail
    }

    /// Does a call fail without which what is asked for may not come true?
    fn may_fail(&self) -> bool {
        self.case.fault.as_ref().is_some_and(|fault| fault.what != What::Crash)
    }

    /// Has the errno been told?
    fn is_explained(&self) -> bool {
        let Some(fault) = &self.case.fault else { return false };
        let stderr = self.stage.stderr();
        let What::Errno(errno) = fault.what else { return stderr.contains(CRASHED) };
        // Errnos that are an answer by themselves.
        let answer = match (fault.call, errno) {
            // The kernel's word that there is no child left, while there is one.
            ("waitid", "ECHILD") => "does not stop",
            ("connect", "EAGAIN" | "EPROTOTYPE") => "another daemon answers",
            ("newfstatat", "ENOENT") => "the socket is gone",
            // The standard library's words; it aborts then, which is a crash like any other.
            ("mmap" | "mremap" | "brk", _) => "memory allocation of",
            _ => "\0",
        };
        if stderr.contains(answer) {
            return true;
        }
        let told =
            |words: &String| stderr.contains(words) || self.heard.iter().any(|line| line.contains(words));
        calls::words(errno).iter().any(told)
    }

    fn ping(&mut self) -> bool {
        self.try_ask(":ping").is_some_and(|line| line.starts_with("ok isinit "))
    }

    /// A request, until it is answered.
    fn expect(&mut self, request: &str, expected: &str) {
        let since = Instant::now();
        for _ in 0..TRIES {
            match self.try_ask(request) {
                Some(line) if line == expected => return,
                Some(line) => return self.deviations.push(format!("{request}: {line}")),
                None if self.is_over(since) || self.has_ended().is_some() => break,
                None => self.deviations.push(format!("{request}: closed without an answer")),
            }
        }
        self.deviations.push(format!("{request}: no answer"));
    }

    /// The last line of an answer; `None` if there is none.
    fn try_ask(&mut self, request: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.stage.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).ok()?;
        let mut reader = Patient { run: self, stream, since: Instant::now() };
        let lines = answer(&mut BufReader::new(&mut reader)).unwrap_or_default();
        self.heard.extend(lines.iter().cloned());
        lines.last().cloned().filter(|line| line.starts_with("ok") || line.starts_with("err"))
    }

    fn watch(&mut self) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(self.stage.socket()).ok()?;
        stream.write_all(b":watch\n").ok()?;
        Some(stream)
    }

    /// Each change was told to who watches, or the last of them.
    fn look_at_watch(&mut self, stream: Option<UnixStream>) {
        let lines = stream.map(|stream| {
            stream.set_read_timeout(Some(GRACE)).unwrap();
            answer(&mut BufReader::new(stream)).unwrap_or_default()
        });
        let lines = lines.unwrap_or_default();
        for what in ["tag=talk what=started", "tag=leave what=stopped", "tag=- what=halted"] {
            if !lines.iter().any(|line| line.contains(what)) {
                self.deviations.push(format!("who watches was not told {what}"));
            }
        }
        self.heard.extend(lines);
    }

    /// Each of these runs once, and is what it is going to be.
    fn services(&mut self, tags: &[&str]) {
        self.wait(&format!("{tags:?} run, and nobody else"), |run| {
            let mut have: Vec<String> = run.stage.descendants().into_iter().filter_map(service).collect();
            have.sort_unstable();
            let mut want = tags.to_vec();
            want.sort_unstable();
            have == want
        });
    }

    /// The daemon knows the services as they are.
    fn status(&mut self, tags: &[&str]) {
        self.expect(":status", "ok");
        let entries: Vec<common::EntryStatus> =
            self.heard.iter().filter_map(|line| common::EntryStatus::parse(line)).collect();
        for tag in tags {
            let state = entries
                .iter()
                .rfind(|entry| entry.tag == *tag)
                .map(|entry| (entry.state.as_str(), entry.pid));
            let right =
                state.is_some_and(|(state, pid)| state == "up" && service(pid).as_deref() == Some(tag));
            if !right {
                self.deviations.push(format!("the status of {tag} is {state:?}"));
            }
        }
    }

    /// Stops everything: as it is asked for, and if that is of no use, by a signal.
    fn stop(&mut self) -> Result<i32, String> {
        self.expect(":stopall wait", "ok stopped");
        let is_hopeless = self.may_fail() && !self.deviations.is_empty();
        let deadline = Instant::now() + if is_hopeless { GRACE } else { PATIENCE };
        let mut told = false;
        loop {
            if let Some(status) = self.has_ended() {
                return Ok(status);
            }
            if !told && Instant::now() > deadline {
                self.deviations.push("does not end by :stopall".into());
                self.daemon().into_iter().for_each(|pid| common::signal(pid, Signal::TERM));
                told = true;
            }
            if Instant::now() > deadline + PATIENCE {
                return Err("it hangs: neither :stopall nor SIGTERM ends it".into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The exit status, once the daemon has ended: strace ends as what it has traced.
    fn has_ended(&mut self) -> Option<i32> {
        self.strace.try_wait().unwrap().map(exit_code)
    }

    fn daemon(&self) -> Option<u32> {
        common::children(self.strace.id()).first().copied()
    }

    fn end_all(&mut self) {
        if self.has_ended().is_none() {
            self.daemon().into_iter().for_each(|pid| common::signal(pid, Signal::KILL));
            let _ = self.strace.wait();
        }
    }

    fn judge(&self, status: i32) -> Result<Verdict, String> {
        let stderr = self.stage.stderr();
        let (left, twice) = (self.stage.descendants(), self.stage.text("twice"));
        if stderr.contains("panicked") {
            return Err("it panics".into());
        }
        if !twice.is_empty() {
            return Err(format!("two of one service: {twice}"));
        }
        let gave_up = self.is_explained() && GAVE_UP.iter().any(|words| stderr.contains(words));
        if status == 0 && !left.is_empty() && !gave_up {
            return Err(format!("it ends with success, and {left:?} are left"));
        }
        if status >= 128 {
            return self.killed(status);
        }
        if status == 0 && self.deviations.is_empty() {
            return Ok(Verdict::Right);
        }
        let is_seen = |words: &String| SEEN_OF_A_CRASH.iter().any(|seen| words.contains(seen));
        if self.is_crash() && status == 0 && !self.deviations.iter().all(is_seen) {
            return Err("a crash is more than a closed connection".into());
        }
        if self.is_explained() || status == 0 && self.has_hung_up() {
            return Ok(Verdict::Explained);
        }
        Err(format!("exit status {status}, and nobody is told why"))
    }

    /// Was the daemon told that a client has gone? There is nobody then to be told anything.
    fn has_hung_up(&self) -> bool {
        let gone = [What::Errno("EPIPE"), What::Errno("ECONNRESET")];
        self.case.fault.as_ref().is_some_and(|fault| fault.call == "sendto" && gone.contains(&fault.what))
    }

    fn is_crash(&self) -> bool {
        self.case.fault.as_ref().is_some_and(|fault| fault.what == What::Crash)
    }

    /// The ends that are nobody's fault who could say so: the C library's, before there is a `main` and where it sets the
    /// handler of SIGABRT and its own change of the mask fails; want of memory, and a crash, before anything runs.
    fn killed(&self, status: i32) -> Result<Verdict, String> {
        let call = self.case.fault.as_ref().map_or("", |fault| fault.call);
        let memory = matches!(call, "mmap" | "mremap" | "brk") && self.is_explained();
        let early = self.is_crash() && self.heard.is_empty() && self.stage.descendants().is_empty();
        if matches!(call, "arch_prctl" | "rt_sigprocmask") || memory || early {
            Ok(Verdict::Explained)
        } else {
            Err(format!("killed: {status}"))
        }
    }

    fn report(&self, words: &str) -> String {
        let trace = self.stage.lines("trace");
        let tail = trace.iter().skip(trace.len().saturating_sub(25)).map(|line| format!("    {line}\n"));
        let left = self.stage.descendants().into_iter().filter_map(|pid| {
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some(format!("    {pid} {}\n", String::from_utf8_lossy(&cmdline).replace('\0', " ")))
        });
        format!(
            "{:?}: {words}\n  deviations: {:#?}\n  stderr:\n{}\n  left:\n{}  trace:\n{}",
            self.case,
            self.deviations,
            self.stage.stderr().lines().take(40).map(|line| format!("    {line}\n")).collect::<String>(),
            left.collect::<String>(),
            tail.collect::<String>()
        )
    }
}

/// Reads as long as there is hope for an answer.
struct Patient<'r, 'c> {
    run: &'r mut Run<'c>,
    stream: UnixStream,
    since: Instant,
}

impl std::io::Read for Patient<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.read(bytes) {
                Err(error)
                    if error.kind() == std::io::ErrorKind::WouldBlock && !self.run.is_over(self.since) => {}
                result => return result,
            }
        }
    }
}

/// The tag of a process that is the service itself: it leads a session, and is executed already.
fn service(pid: u32) -> Option<String> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_leftover = cmdline.split(|byte| *byte == 0).any(|word| word == LEFTOVER.as_bytes());
    let fields = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let session = fields[fields.rfind(')')?..].split(' ').nth(4)?.to_owned();
    let is_shell = cmdline.starts_with(b"/bin/sh\0");
    if is_leftover || is_shell || session != pid.to_string() {
        return None;
    }
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let tag = environ.split(|byte| *byte == 0).find_map(|word| word.strip_prefix(b"ISINIT_TAG="))?;
    Some(String::from_utf8_lossy(tag).into_owned())
}

fn is_of(pid: u32, tag: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ.split(|byte| *byte == 0).any(|word| word == format!("ISINIT_TAG={tag}").as_bytes())
    })
}

/// strace of the daemon alone, with what is to fail.
fn strace(stage: &Stage, case: &Case) -> Command {
    let mut words = vec!["strace".to_owned(), "-qq".into(), "-o".into(), "trace".into()];
    if case.bare {
        words.push("--inject=flock:error=ENOLCK".into());
    }
    if let Some(Fault { call, what, when }) = &case.fault {
        let what = match what {
            What::Errno(errno) => format!("error={errno}"),
            What::Crash => "signal=SEGV".into(),
        };
        words.push(format!("--inject={call}:{what}:when={when}"));
    }
    stage.command(&words.iter().map(String::as_str).collect::<Vec<_>>())
}
