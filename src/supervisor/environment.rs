//! The environment of a process: what all share is written once for a table, what is its own for each start.

use super::messages::say;
use crate::engine::Engine;
use crate::isinittab::{Entry, Ready, Table};
use crate::limits::{ENVIRONMENT_MAX, ENVIRONMENT_MAX_BYTES};
use crate::sys::pads::Pad;
use crate::sys::spawn::{Full, Words};

/// The variables that are made for each process, and never handed on from the daemon's own environment.
const OWN: [&[u8]; 8] = [
    b"RUNLEVEL",
    b"PREVLEVEL",
    b"INIT_VERSION",
    b"CONSOLE",
    b"ISINIT_GROUP",
    b"ISINIT_TAG",
    b"ISINIT_SOCKET",
    b"NOTIFY_SOCKET",
];

type Pair = (Vec<u8>, Vec<u8>);

/// What is shared, and what is needed for the rest.
pub struct Environment {
    shared: Words,
    /// How often it was written: a pad with another stamp has an older one.
    stamp: u32,
    console: Option<Vec<u8>>,
    socket: Vec<u8>,
    notify: Vec<u8>,
}

impl Environment {
    /// An environment for processes of the daemon with this socket, and this name of the readiness socket.
    pub fn new(socket: &[u8], notify: &[u8], on_machine: bool) -> Environment {
        let handed_on = std::env::var_os("CONSOLE").map(std::ffi::OsString::into_encoded_bytes);
        Environment {
            shared: Words::new(ENVIRONMENT_MAX_BYTES, ENVIRONMENT_MAX),
            stamp: 0,
            console: if on_machine { Some(b"/dev/console".to_vec()) } else { handed_on },
            socket: socket.to_vec(),
            notify: notify.to_vec(),
        }
    }

    /// Writes what all processes share: the daemon's own environment, then the table's `env`. Allocates.
    pub fn prepare(&mut self, table: &Table) {
        self.shared.clear();
        self.stamp = self.stamp.checked_add(1).unwrap_or(1);
        let mut left_out = 0u64;
        for (name, value) in shared_pairs(table) {
            if OWN.contains(&name.as_slice()) {
                continue;
            }
            if self.shared.push_pair(&name, &value).is_err() {
                left_out = left_out.saturating_add(1);
            }
        }
        if left_out > 0 {
            let count = itoa::Buffer::new().format(left_out).to_owned();
            say(&[count.as_bytes(), b" environment variables are too many or too long, and are left out"]);
        }
    }

    /// Writes the environment of a process to a pad: what is shared where it is not there yet, and its own.
    pub fn fill(&self, engine: &Engine, row: u32, entry: &Entry, pad: &mut Pad) -> Result<(), Full> {
        let (level, previous) = engine.levels_of(row);
        let words = &mut pad.env;
        if pad.stamp != self.stamp {
            pad.stamp = 0;
            words.clear();
            self.shared.iter().try_for_each(|word| words.push(word))?;
            pad.stamp = self.stamp;
        }
        words.truncate(self.shared.mark());
        words.push_pair(b"RUNLEVEL", level)?;
        words.push_pair(b"PREVLEVEL", if previous.is_empty() { b"N" } else { previous })?;
        words.push_pair(b"INIT_VERSION", concat!("isinit-", env!("CARGO_PKG_VERSION")).as_bytes())?;
        if let Some(console) = &self.console {
            words.push_pair(b"CONSOLE", console)?;
        }
        words.push_pair(b"ISINIT_GROUP", entry.group_name())?;
        words.push_pair(b"ISINIT_TAG", entry.tag())?;
        words.push_pair(b"ISINIT_SOCKET", &self.socket)?;
        if entry.options().ready == Some(Ready::Socket) {
            words.push_pair(b"NOTIFY_SOCKET", &self.notify)?;
        }
        Ok(())
    }
}

/// The daemon's variables and the table's; of two with the same name the later one.
fn shared_pairs(table: &Table) -> Vec<Pair> {
    let own =
        std::env::vars_os().map(|(name, value)| (name.into_encoded_bytes(), value.into_encoded_bytes()));
    let split = |pair: &[u8]| -> Option<Pair> {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        Some((halves.next()?.to_vec(), halves.next()?.to_vec()))
    };
    let set = table.settings().env.iter().filter_map(|pair| split(pair.to_bytes()));
    let mut pairs: Vec<Pair> = Vec::new();
    for (name, value) in own.chain(set) {
        pairs.retain(|(other, _)| *other != name);
        pairs.push((name, value));
    }
    pairs
}
