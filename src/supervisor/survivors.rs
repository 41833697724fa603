//! Taking over what a killed daemon has left (`state.rs`): processes that run, and that are not our children.
//!
//! Each is watched by a descriptor. Their end is an end like any other to the engine, but nobody knows how they ended:
//! a respawn entry is started again, and one that is waited for has failed.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Supervisor;
use super::messages::{say, say_errno};
use super::state::Left;
use crate::engine::child::{ChildState, Ending};
use crate::engine::rows::{Last, Row};
use crate::engine::{Event, Ms, NEVER};
use crate::isinittab::Table;
use crate::sys;
use crate::sys::signals::KILL;
use crate::sys::survivor::{SLACK_MS, Survivor, find_marked};
use crate::sys::user::Credentials;

/// Milliseconds between two looks at what is left of an entry: the end of what is not our child is told to its parent.
const LOOK_AGAIN_MS: Ms = 50;

/// Finds the processes of these rows that still run.
pub(super) fn find(left: &Left, rows: &mut [Row], socket: &Path, table: &Table) -> Vec<Survivor> {
    add_unwritten(rows, socket, table);
    let found = watch(rows, |_| false);
    let (pid, count) =
        (itoa::Buffer::new().format(left.pid).to_owned(), itoa::Buffer::new().format(found.len()).to_owned());
    say(&[
        b"the daemon before, process ",
        pid.as_bytes(),
        b", was killed; it has left processes: ",
        count.as_bytes(),
    ]);
    found
}

/// Watches the processes of these rows that are not our children.
pub(super) fn watch(rows: &[Row], is_child: impl Fn(u32) -> bool) -> Vec<Survivor> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|row| !row.is_vacant()) {
        let (pid, at_ms) = match row.state() {
            ChildState::Spawning => (row.pid(), u64::MAX),
            state => (state.pid().unwrap_or(0), row.since_ms),
        };
        if is_child(pid) {
            continue;
        }
        match Survivor::find(pid, at_ms) {
            Ok(survivor) => found.extend(survivor),
            Err(errno) => {
                // There may never be two of one service: the one that cannot be watched goes.
                say_errno("cannot watch, and kills, a process of", row.tag(), errno);
                let _ = sys::signals::send_group(pid as i32, KILL);
            }
        }
    }
    found
}

/// A process that was started in the very turn in which the daemon was killed is in no row. It has our socket and its
/// tag in its environment, leads a session, and has started after its row was written. And it has the user that its entry
/// is started as: everybody can call a process of his own so.
fn add_unwritten(rows: &mut [Row], socket: &Path, table: &Table) {
    let marker = [b"ISINIT_SOCKET=", socket.as_os_str().as_bytes()].concat();
    for marked in find_marked(&marker, b"ISINIT_TAG=") {
        let is_new = |row: &&mut Row| {
            row.tag() == marked.value
                && row.state().pid().is_none()
                && marked.started_ms.saturating_add(SLACK_MS) >= row.since_ms
        };
        if user_of(table, &marked.value) != Some(marked.uid) {
            continue;
        }
        if let Some(row) = rows.iter_mut().filter(|row| !row.is_vacant()).find(is_new) {
            row.was_started(marked.pid);
        }
    }
}

/// The user that an entry's processes are started as.
fn user_of(table: &Table, tag: &[u8]) -> Option<u32> {
    let entry = table.find_tag(tag).and_then(|number| table.entry(number));
    match entry.as_ref().and_then(|entry| entry.options().user.as_deref()) {
        Some(user) => Credentials::lookup(user).ok().map(|found| found.uid),
        None => Some(sys::process::own_uid()),
    }
}

impl Supervisor {
    /// When it is to be looked whether something has gone whose end nobody tells us.
    pub(super) fn look_again_at(&self) -> Ms {
        let looks = self.life.took_over != 0 && self.engine.is_sweeping();
        if looks { sys::clock::now_ms().saturating_add(LOOK_AGAIN_MS) } else { NEVER }
    }

    /// One of them has ended.
    pub(super) fn hear_survivor(&mut self, pid: u32, now: Ms) {
        self.survivors.retain(|survivor| survivor.pid() != pid);
        self.engine.handle(Event::Ended { pid, last: Last::Nothing, ending: Ending::Badly }, now);
    }
}
