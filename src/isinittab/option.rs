//! The options of an entry: `,name=value` after the action.

use std::ffi::CString;

use smallvec::SmallVec;

use super::Signal;
use super::index::{hash, mix};
use crate::limits::{LIMIT_HOLD_MS, LIMIT_STARTS, LIMIT_WINDOW_MS, STOP_TIMEOUT_MS, TIME_MAX_MS};

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The entry alone.
    Entry,
    /// Its group is stopped, and `fail`.
    Group,
    /// Everything is stopped, and the daemon ends with that status.
    All,
}

/// How a process says that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// By a newline to this descriptor (s6).
    Fd(u32),
    /// By READY=1 to $NOTIFY_SOCKET (sd_notify(3)).
    Socket,
}

/// A controlling terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tty {
    /// The one that the kernel uses.
    Console,
    /// This one.
    Device(CString),
}

/// A respawn limit: so many starts within the window, then a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Starts within the window.
    pub starts: u16,
    /// The window, in milliseconds.
    pub window_ms: u32,
    /// The rest, in milliseconds.
    pub hold_ms: u32,
}

impl Limit {
    /// IS::Init's: 5 starts in 10 s, then 60 s of rest.
    pub const STANDARD: Limit =
        Limit { starts: LIMIT_STARTS, window_ms: LIMIT_WINDOW_MS, hold_ms: LIMIT_HOLD_MS };
}

/// The resources of setrlimit(2), with the numbers that Linux has for them.
pub const RESOURCES: [(&str, u32); 16] = [
    ("CPU", 0),
    ("FSIZE", 1),
    ("DATA", 2),
    ("STACK", 3),
    ("CORE", 4),
    ("RSS", 5),
    ("NPROC", 6),
    ("NOFILE", 7),
    ("MEMLOCK", 8),
    ("AS", 9),
    ("LOCKS", 10),
    ("SIGPENDING", 11),
    ("MSGQUEUE", 12),
    ("NICE", 13),
    ("RTPRIO", 14),
    ("RTTIME", 15),
];

/// All options of an entry, with what holds where it does not say them.
///
/// ```
/// use isinit::isinittab::Table;
/// let table = Table::parse("example", b"g:a:1:respawn,stop=QUIT,delay=0.5..30:x\n").unwrap().table;
/// let options = table.entry(0).unwrap().options();
/// assert_eq!((options.stop.name(), options.stop_timeout_ms), ("SIGQUIT", 5_000));
/// assert_eq!((options.delay_min_ms, options.delay_max_ms), (500, 30_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `stop=`: the signal that stops it.
    pub stop: Signal,
    /// `stop-timeout=`: milliseconds until SIGKILL.
    pub stop_timeout_ms: u32,
    /// `limit=`: its respawn limit, `None` for `no`.
    pub limit: Option<Limit>,
    /// `delay=`: the pause before each respawn, at first.
    pub delay_min_ms: u32,
    /// `delay=`: and at most.
    pub delay_max_ms: u32,
    /// `fail=`
    pub fail: Fail,
    /// `ready=`
    pub ready: Option<Ready>,
    /// `ready-timeout=`, in milliseconds.
    pub ready_timeout_ms: Option<u32>,
    /// `user=`, as it is written: USER or USER.GROUP.
    pub user: Option<Box<[u8]>>,
    /// `dir=`
    pub dir: Option<CString>,
    /// `umask=`
    pub umask: Option<u32>,
    /// `nice=`
    pub nice: Option<i32>,
    /// `oom=`: oom_score_adj.
    pub oom: Option<i32>,
    /// `rlimit-NAME=`: the kernel's number of the resource, and the limit (`u64::MAX`: none).
    pub rlimits: SmallVec<[(u32, u64); 1]>,
    /// `tty=`
    pub tty: Option<Tty>,
    /// `log=`: the tag of the entry that reads what it writes.
    pub log: Option<Box<[u8]>>,
    /// `memory=`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `cpu=`, in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// `pids=`
    pub pids: Option<u64>,
    /// `main`: when it ends for good, all ends with its status.
    pub main: bool,
    pub(super) digest: u64,
    pub(super) stop_timeout_given: bool,
    pub(super) limit_given: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            stop: Signal::TERM,
            stop_timeout_ms: STOP_TIMEOUT_MS,
            limit: Some(Limit::STANDARD),
            delay_min_ms: 0,
            delay_max_ms: 0,
            fail: Fail::Entry,
            ready: None,
            ready_timeout_ms: None,
            user: None,
            dir: None,
            umask: None,
            nice: None,
            oom: None,
            rlimits: SmallVec::new(),
            tty: None,
            log: None,
            memory_bytes: None,
            cpu_percent: None,
            pids: None,
            main: false,
            digest: 0,
            stop_timeout_given: false,
            limit_given: false,
        }
    }
}

/// The names of all options, as a table has them.
pub const NAMES: [&str; 19] = [
    "stop",
    "stop-timeout",
    "limit",
    "delay",
    "fail",
    "ready",
    "ready-timeout",
    "user",
    "dir",
    "umask",
    "nice",
    "oom",
    "rlimit-NAME",
    "tty",
    "log",
    "memory",
    "cpu",
    "pids",
    "main",
];

impl Options {
    /// `stop-timeout=` in milliseconds, if the entry says it itself.
    pub fn own_stop_timeout_ms(&self) -> Option<u32> {
        self.stop_timeout_given.then_some(self.stop_timeout_ms)
    }

    /// Takes one option. What would be right, if it is not.
    pub(super) fn set(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), &'static str> {
        self.digest = mix(mix(self.digest, hash(name)), hash(value.unwrap_or(b"")));
        if name == b"main" {
            self.main = value.is_none();
            return if self.main { Ok(()) } else { Err("`main` has no value") };
        }
        let value = value.filter(|value| !value.is_empty()).ok_or("write NAME=VALUE")?;
        if let Some(resource) = name.strip_prefix(b"rlimit-") {
            return self.set_rlimit(resource, value);
        }
        match name {
            b"stop" => {
                self.stop = Signal::from_name(value).ok_or("a signal is TERM, SIGTERM, 15 or RTMIN+3")?
            }
            b"stop-timeout" => {
                self.stop_timeout_ms = seconds(value)?;
                self.stop_timeout_given = true;
            }
            b"limit" => {
                self.limit = limit(value)?;
                self.limit_given = true;
            }
            b"delay" => (self.delay_min_ms, self.delay_max_ms) = delay(value)?,
            b"fail" => self.fail = fail(value)?,
            b"ready" => self.ready = Some(ready(value)?),
            b"ready-timeout" => self.ready_timeout_ms = Some(seconds(value)?),
            b"user" => self.user = Some(user(value)?),
            b"dir" => self.dir = Some(absolute(value)?),
            b"umask" => self.umask = Some(octal(value)?),
            b"nice" => self.nice = Some(between(value, -20, 19, "a niceness is -20 to 19")?),
            b"oom" => self.oom = Some(between(value, -1000, 1000, "an oom_score_adj is -1000 to 1000")?),
            b"tty" => self.tty = Some(tty(value)?),
            b"log" => self.log = Some(value.into()),
            b"memory" => self.memory_bytes = Some(above_zero(size(value)?)?),
            b"cpu" => {
                let number = value.strip_suffix(b"%").unwrap_or(value);
                self.cpu_percent = Some(between(number, 1, 100_000, "write a percentage, 150 or 150%")?);
            }
            b"pids" => self.pids = Some(above_zero(size(value)?)?),
            _ => return Err(""),
        }
        Ok(())
    }

    fn set_rlimit(&mut self, resource: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let known = RESOURCES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(resource));
        let (_, number) = known.ok_or("a resource is one of setrlimit(2)'s: NOFILE, NPROC, CORE, AS, ...")?;
        let limit = match value {
            b"unlimited" | b"infinity" => u64::MAX,
            value => size(value)?,
        };
        self.rlimits.push((*number, limit));
        Ok(())
    }
}

/// Seconds, with a fraction if wanted, as milliseconds.
pub(crate) fn seconds(value: &[u8]) -> Result<u32, &'static str> {
    const WRONG: &str = "write seconds, as 5 or 0.5";
    let text = std::str::from_utf8(value).map_err(|_| WRONG)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return Err(WRONG);
    }
    let whole: u64 = whole.parse().map_err(|_| "that is longer than 49 days")?;
    let scale = [1_000, 100, 10, 1].get(fraction.len()).copied().unwrap_or(1);
    let fraction: u64 = fraction.parse().map_err(|_| WRONG)?;
    let ms = whole.saturating_mul(1_000).saturating_add(fraction.saturating_mul(scale));
    u32::try_from(ms).ok().filter(|ms| *ms < TIME_MAX_MS).ok_or("that is longer than 49 days")
}

/// `N/SECONDS/HOLD`, or `no`.
pub(super) fn limit(value: &[u8]) -> Result<Option<Limit>, &'static str> {
    const WRONG: &str = "write STARTS/SECONDS/REST, as 5/10/60, or no";
    if value == b"no" {
        return Ok(None);
    }
    let mut parts = value.split(|byte| *byte == b'/');
    let (Some(starts), Some(window), Some(hold), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(WRONG);
    };
    let starts = between(starts, 1, 65_535, WRONG)?;
    let (window_ms, hold_ms) = (seconds(window)?, seconds(hold)?);
    // Nothing starts twice in no time: such a limit would never hold anything.
    if window_ms == 0 {
        Err("the SECONDS in which starts are counted are more than 0")
    } else {
        Ok(Some(Limit { starts, window_ms, hold_ms }))
    }
}

fn delay(value: &[u8]) -> Result<(u32, u32), &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "write SECONDS, or MIN..MAX")?;
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (seconds(min.as_bytes())?, seconds(max.as_bytes())?);
    match (min, max) {
        (0, 1..) => Err("0 doubled is 0: write a MIN above 0"),
        _ if max < min => Err("the least comes first: MIN..MAX"),
        _ => Ok((min, max)),
    }
}

fn fail(value: &[u8]) -> Result<Fail, &'static str> {
    match value {
        b"entry" => Ok(Fail::Entry),
        b"group" => Ok(Fail::Group),
        b"all" => Ok(Fail::All),
        _ => Err("write fail=entry, fail=group or fail=all"),
    }
}

fn ready(value: &[u8]) -> Result<Ready, &'static str> {
    match value {
        b"socket" => Ok(Ready::Socket),
        number => {
            let fd: u32 = between(number, 3, 1023, "write ready=socket, or a descriptor from 3 to 1023")?;
            Ok(Ready::Fd(fd))
        }
    }
}

fn tty(value: &[u8]) -> Result<Tty, &'static str> {
    match value {
        b"@console" => Ok(Tty::Console),
        device if device.starts_with(b"/") => Ok(Tty::Device(absolute(device)?)),
        [b'@', ..] => Err("the console is tty=@console, a device is tty1 or /dev/tty1"),
        name => Ok(Tty::Device(absolute(&[b"/dev/", name].concat())?)),
    }
}

fn user(value: &[u8]) -> Result<Box<[u8]>, &'static str> {
    let odd = value.iter().any(|byte| *byte <= b' ' || *byte == 127);
    if odd || value.starts_with(b".") || value.ends_with(b".") {
        return Err("write USER or USER.GROUP, names or numbers");
    }
    Ok(value.into())
}

fn absolute(value: &[u8]) -> Result<CString, &'static str> {
    if !value.starts_with(b"/") {
        return Err("write a path from the root: /...");
    }
    CString::new(value).map_err(|_| "a path has no zero byte")
}

fn octal(value: &[u8]) -> Result<u32, &'static str> {
    // from_str_radix takes a sign, umask(2) none.
    let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+')).unwrap_or("");
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or("a umask is octal, 0 to 777, as 022")
}

fn between<T>(value: &[u8], least: i32, most: i32, wrong: &'static str) -> Result<T, &'static str>
where
    T: TryFrom<i32>,
{
    let number: Option<i32> = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    let number = number.filter(|number| (least..=most).contains(number)).ok_or(wrong)?;
    T::try_from(number).map_err(|_| wrong)
}

/// A number, with K, M, G or T for the powers of 1024.
fn size(value: &[u8]) -> Result<u64, &'static str> {
    const WRONG: &str = "write a number, with K, M, G or T behind it if wanted";
    let (digits, shift) = match value.split_last() {
        Some((b'k' | b'K', digits)) => (digits, 10),
        Some((b'm' | b'M', digits)) => (digits, 20),
        Some((b'g' | b'G', digits)) => (digits, 30),
        Some((b't' | b'T', digits)) => (digits, 40),
        _ => (value, 0),
    };
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+')).ok_or(WRONG)?;
    let number: u64 = text.parse().map_err(|_| WRONG)?;
    number.checked_mul(1 << shift).ok_or(WRONG)
}

/// The kernel takes a limit of 0 and then nothing can be started in it.
fn above_zero(number: u64) -> Result<u64, &'static str> {
    if number == 0 { Err("nothing could be started with 0 of it") } else { Ok(number) }
}
