//! Where the processes of entries are to be found, for who asks from outside of the daemon: its cgroups and /proc, if both see
//! the same numbers as the daemon does.

use std::path::PathBuf;

use super::history::number;
use crate::sys;
use crate::sys::process::Seen;
use crate::wire::client::{Connection, field};

/// Where to look.
pub enum Place {
    /// The daemon is in another PID namespace than we: its numbers are others' here.
    Elsewhere,
    /// Here, in this subtree of cgroups, if there is one.
    Here(Option<PathBuf>),
}

impl Place {
    /// By the connection to the daemon, and the first line of its status.
    pub fn new(connection: &Connection, daemon: &str) -> Place {
        let peer = sys::socket::peer(connection.fd()).map_or(0, |peer| u64::from(peer.pid));
        match field(daemon, "cgroup").filter(|path| *path != "-") {
            _ if peer != number(daemon, "pid") => Place::Elsewhere,
            path => Place::Here(path.map(PathBuf::from)),
        }
    }

    /// All processes that are here.
    pub fn processes(&self) -> Vec<Seen> {
        match self {
            Place::Elsewhere => Vec::new(),
            Place::Here(_) => sys::process::all(),
        }
    }

    /// The processes of an entry among all: those of its cgroup, its session, and their descendants.
    pub fn members<'a>(&self, all: &'a [Seen], tag: &str, main: u32) -> Vec<&'a Seen> {
        let of_cgroup = match self {
            Place::Here(Some(subtree)) => sys::cgroup::members(subtree, tag.as_bytes()),
            Place::Here(None) | Place::Elsewhere => Vec::new(),
        };
        let mut members: Vec<&Seen> = Vec::new();
        loop {
            let before = members.len();
            for seen in all {
                let is_child = || members.iter().any(|member| member.pid == seen.parent);
                let belongs = main != 0 && (seen.pid == main || seen.session == main || is_child());
                let is_new = || members.iter().all(|member| member.pid != seen.pid);
                if (belongs || of_cgroup.contains(&seen.pid)) && is_new() {
                    members.push(seen);
                }
            }
            if members.len() == before {
                return members;
            }
        }
    }

    /// Microseconds of processor time and bytes of memory that an entry uses, and whether its cgroup says so; without one it is
    /// the sum of what is in its session.
    pub fn usage(&self, all: &mut Option<Vec<Seen>>, tag: &str, main: u32) -> [Option<(u64, bool)>; 2] {
        let (memory, cpu) = match self {
            Place::Here(Some(subtree)) => sys::cgroup::usage(subtree, tag.as_bytes()),
            Place::Here(None) | Place::Elsewhere => (None, None),
        };
        let mut sum = |of: fn(&Seen) -> u64| {
            let all = all.get_or_insert_with(|| self.processes());
            let mut session = all.iter().filter(|seen| main != 0 && seen.session == main).peekable();
            session.peek()?;
            Some((session.map(of).fold(0, u64::saturating_add), false))
        };
        [
            cpu.map_or_else(|| sum(|seen| seen.cpu_us), |cpu| Some((cpu, true))),
            memory.map_or_else(|| sum(|seen| seen.memory_bytes), |memory| Some((memory, true))),
        ]
    }
}
