//! Settings: `:::name:value`.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::option::{Limit, limit, seconds};
use crate::limits::{ENVIRONMENT_MAX, SOCKET_PATH_MAX_BYTES, STOP_TIMEOUT_MS, WORD_MAX_BYTES};

/// The names of all settings.
pub const NAMES: [&str; 14] = [
    "socket",
    "initstat",
    "clstat",
    "log",
    "include",
    "group",
    "env",
    "stop-timeout",
    "limit",
    "mounts",
    "watchdog",
    "initscript",
    "prefix",
    "survivors",
];

/// Whether a PID 1 mounts what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounts {
    /// It does.
    #[default]
    Auto,
    /// It does not.
    None,
}

/// A watchdog to be kept alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The device.
    pub device: PathBuf,
    /// Its timeout in seconds, if it is to be set.
    pub seconds: Option<u32>,
}

/// What a table says of the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The daemon's socket.
    pub socket: Option<PathBuf>,
    /// IS::Init's status file.
    pub initstat: Option<PathBuf>,
    /// Cluster::Init's status file.
    pub clstat: Option<PathBuf>,
    /// Where the output of a detached daemon goes.
    pub log: Option<PathBuf>,
    /// The group of a tell that names none.
    pub group: Option<Box<[u8]>>,
    /// NAME=VALUE for all processes.
    pub env: Vec<CString>,
    /// Milliseconds to SIGKILL of entries that do not say it.
    pub stop_timeout_ms: u32,
    /// The respawn limit of entries that do not say it.
    pub limit: Option<Limit>,
    /// Whether a PID 1 mounts what is missing.
    pub mounts: Mounts,
    /// A watchdog to be kept alive.
    pub watchdog: Option<Watchdog>,
    /// sysvinit's /etc/initscript.
    pub initscript: Option<PathBuf>,
    /// What processes write comes out on standard output, each line with `[tag]` before it.
    pub prefix: bool,
    /// What becomes of processes that a killed daemon has left.
    pub survivors: Survivors,
}

/// What becomes of processes that a killed daemon has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Survivors {
    /// The next one takes them over, and goes on.
    #[default]
    Take,
    /// It stops them first, and begins anew.
    Stop,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            socket: None,
            initstat: None,
            clstat: None,
            log: None,
            group: None,
            env: Vec::new(),
            stop_timeout_ms: STOP_TIMEOUT_MS,
            limit: Some(Limit::STANDARD),
            mounts: Mounts::Auto,
            watchdog: None,
            initscript: None,
            prefix: false,
            survivors: Survivors::Take,
        }
    }
}

impl Settings {
    /// Takes one setting. What would be right, if it is not; an empty text if there is none of that name.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if value.is_empty() {
            return Err("write a value behind the colon");
        }
        match name {
            b"socket" if value.len() > SOCKET_PATH_MAX_BYTES => {
                return Err("write a path of at most 107 bytes: the system takes no longer one for a socket");
            }
            b"socket" => self.socket = Some(path(value)?),
            b"initstat" => self.initstat = Some(path(value)?),
            b"clstat" => self.clstat = Some(path(value)?),
            b"log" => self.log = Some(path(value)?),
            b"initscript" => self.initscript = Some(path(value)?),
            b"group" => self.group = Some(group(value)?),
            b"env" => self.push_env(value)?,
            b"stop-timeout" => self.stop_timeout_ms = seconds(value)?,
            b"limit" => self.limit = limit(value)?,
            b"mounts" => self.mounts = mounts(value)?,
            b"survivors" => self.survivors = survivors(value)?,
            b"prefix" => self.prefix = prefix(value)?,
            b"watchdog" => self.watchdog = Some(watchdog(value)?),
            _ => return Err(""),
        }
        Ok(())
    }

    fn push_env(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let name = value.iter().position(|byte| *byte == b'=').filter(|length| *length > 0);
        if name.is_none() {
            return Err("write NAME=VALUE");
        }
        if self.env.len() >= ENVIRONMENT_MAX {
            return Err("this is one more than a table may have; give the others to the process itself");
        }
        self.env.push(CString::new(value).map_err(|_| "a variable has no zero byte")?);
        Ok(())
    }
}

pub(super) fn group(value: &[u8]) -> Result<Box<[u8]>, &'static str> {
    let odd = value.iter().any(|byte| *byte <= b' ' || *byte == 127 || *byte == b':');
    if odd || value.len() > WORD_MAX_BYTES || value == b"stopall" {
        return Err("write the name of a group, as it stands in front of its entries");
    }
    Ok(value.into())
}

fn path(value: &[u8]) -> Result<PathBuf, &'static str> {
    if value.starts_with(b"/") {
        Ok(PathBuf::from(OsStr::from_bytes(value)))
    } else {
        Err("write a path from the root: the daemon may be started in any directory")
    }
}

fn mounts(value: &[u8]) -> Result<Mounts, &'static str> {
    match value {
        b"auto" => Ok(Mounts::Auto),
        b"none" => Ok(Mounts::None),
        _ => Err("write auto or none"),
    }
}

fn prefix(value: &[u8]) -> Result<bool, &'static str> {
    match value {
        b"tag" => Ok(true),
        b"none" => Ok(false),
        _ => Err("write tag or none"),
    }
}

fn survivors(value: &[u8]) -> Result<Survivors, &'static str> {
    match value {
        b"take" => Ok(Survivors::Take),
        b"stop" => Ok(Survivors::Stop),
        _ => Err("write take or stop"),
    }
}

fn watchdog(value: &[u8]) -> Result<Watchdog, &'static str> {
    let mut parts = value.splitn(2, |byte| *byte == b',');
    let device = path(parts.next().unwrap_or(b""))?;
    let seconds = match parts.next() {
        Some(number) => {
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            Some(number.filter(|seconds| *seconds > 0).ok_or("write DEVICE,SECONDS")?)
        }
        None => None,
    };
    Ok(Watchdog { device, seconds })
}
