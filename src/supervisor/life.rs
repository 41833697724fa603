//! What one life of the daemon leaves to the next, which has the same process id and the same children: the rows and,
//! beside them, what the rows do not say. It lies in the memory that survives an exec of ourselves (`sys::reexec`), and
//! this is its only place: nothing of it is kept anywhere else and written here now and then.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::Role;
use super::messages::say_errno;
use crate::engine::rows::{GroupRow, Head, Row};
use crate::engine::{Memory, Ms};
use crate::limits::{ENTRIES_MAX, GROUPS_MAX, LIVES_MAX, LIVES_WINDOW_MS};
use crate::sys;
use crate::sys::Errno;
use crate::sys::memory::{Shared, plain};
use crate::sys::reexec::{FdStore, Reexec, Stored};

/// Raised by one with each change of what the bytes mean. A change of their sizes is seen without it.
const VERSION: u32 = 1;

/// What the memory begins with.
const MAGIC: u64 = u64::from_be_bytes(*b"isinit\r\n");

/// Descriptors in the store: those of the daemon, and of each row.
const SLOTS: usize = OWN_SLOTS + ENTRIES_MAX * ROW_SLOTS;
const OWN_SLOTS: usize = 4;
const ROW_SLOTS: usize = 5;

/// Whose descriptor one in the store is.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// The socket that listens.
    Listener,
    /// The socket of READY=1.
    Notify,
    /// The hardware watchdog.
    Watchdog,
    /// The pipe of sysvinit's telinit.
    Initctl,
    /// What the reader of a log reads from.
    LogOutput(u32),
    /// What those write to whose log it reads.
    LogInput(u32),
    /// What is read here of the lines of a row (the setting `prefix`).
    LinesOutput(u32),
    /// What its process writes them to.
    LinesInput(u32),
    /// Where a row's process says that it is ready.
    Ready(u32),
}

impl Slot {
    /// Its number in the store.
    pub fn number(self) -> usize {
        let of_row = |row: u32, n: usize| {
            (row as usize).saturating_mul(ROW_SLOTS).saturating_add(OWN_SLOTS).saturating_add(n)
        };
        match self {
            Slot::Listener => 0,
            Slot::Notify => 1,
            Slot::Watchdog => 2,
            Slot::Initctl => 3,
            Slot::LogOutput(row) => of_row(row, 0),
            Slot::LogInput(row) => of_row(row, 1),
            Slot::LinesOutput(row) => of_row(row, 2),
            Slot::LinesInput(row) => of_row(row, 3),
            Slot::Ready(row) => of_row(row, 4),
        }
    }
}

/// Both ends of a pipe.
pub type Ends = (Stored, Stored);

/// Keeps both ends of a pipe over an exec.
pub fn keep_pipe(store: FdStore, ends: [Slot; 2], (output, input): (OwnedFd, OwnedFd)) -> Ends {
    let [first, second] = ends;
    (store.keep(first.number(), output), store.keep(second.number(), input))
}

/// Both ends of a pipe that an earlier life has left.
pub fn take_pipe(store: FdStore, ends: [Slot; 2]) -> Option<Ends> {
    let [output, input] = ends.map(|end| store.take(end.number()));
    Some((output?, input?))
}

plain! {
    /// A path of at most 4,094 bytes: one less than PATH_MAX has.
    pub struct Place {
        bytes: [u8; 4_094],
        length: u16,
    }
}

impl Place {
    /// The path.
    pub fn get(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.bytes.get(..usize::from(self.length)).unwrap_or_default()))
    }

    /// Sets it; one that is too long for the kernel too is cut.
    pub fn set(&mut self, path: impl AsRef<OsStr>) {
        let path = path.as_ref().as_bytes();
        let length = path.len().min(self.bytes.len());
        if let (Some(place), Some(path)) = (self.bytes.get_mut(..length), path.get(..length)) {
            place.copy_from_slice(path);
            self.length = u16::try_from(length).unwrap_or(0);
        }
    }
}

/// Bytes that are read at one time of what says that an entry is ready.
pub const HEARD_BYTES: usize = 64;

plain! {
    /// What is true of the daemon, and of no entry and no group.
    pub struct Life {
        magic: u64,
        /// [`rows_version`].
        rows: u64,
        /// When the first life has begun.
        pub began_ms: Ms,
        /// How many transitions have been told as messages.
        pub said: u64,
        /// Device and inode of the socket's file.
        pub socket_file: [u64; 2],
        /// When the last lives have ended by a fault, the earliest first; 0 is none.
        faults_ms: [u64; 5],
        /// The name of our process.
        pub name: [u8; 16],
        /// Why the program that was asked about an upgrade could not be executed: as a row's.
        pub asked_fault: AtomicU64,
        /// Its process.
        pub asked_pid: AtomicU32,
        role: u8,
        /// It has begun, and goes on from there.
        pub has_begun: u8,
        /// There was no table that could be used: an emergency shell runs, and nothing has booted.
        pub in_emergency: u8,
        /// The records of the boot are written.
        pub recorded: u8,
        /// What level 0 is.
        pub at_zero: u8,
        /// What comes when everything is down.
        pub after: u8,
        /// What a killed daemon has left was taken over: processes that are not our children.
        pub took_over: u8,
        unused: [u8; 1],
        /// The row whose readiness was read, and one; 0 is none. Who crashes now has read it in vain otherwise.
        pub heard_of: u32,
        /// What was read.
        pub heard: [u8; HEARD_BYTES],
        /// Signals that were read and not heard yet; 0 is none.
        pub signals: [u8; 16],
        /// The table.
        pub table: Place,
        /// The socket.
        pub socket: Place,
        /// The directory of a switch-root,
        pub root: Place,
        /// and the init in it.
        pub init: Place,
    }
}

const _: () = assert!(LIVES_MAX == 5);

impl Life {
    /// What the daemon is to those around it.
    pub fn role(&self) -> Role {
        match self.role {
            1 => Role::Container,
            2 => Role::Machine,
            _ => Role::Nested,
        }
    }

    pub fn set_role(&mut self, role: Role) {
        self.role = match role {
            Role::Nested => 0,
            Role::Container => 1,
            Role::Machine => 2,
        };
    }

    /// Counts a life that has ended by a fault. Were they too many in too short a time?
    pub fn count_fault(&mut self, now: Ms) -> bool {
        self.faults_ms.rotate_left(1);
        if let Some(last) = self.faults_ms.last_mut() {
            *last = now.max(1);
        }
        let [first, ..] = self.faults_ms;
        first != 0 && now.saturating_sub(first) <= LIVES_WINDOW_MS
    }

    /// Keeps the text of the table in force behind all that is mapped, for a life in which the one on disk cannot be used.
    pub fn keep_text(reexec: &Reexec, text: &[u8]) {
        if let Err(errno) = sys::memory::keep_bytes(reexec.memory(), size_bytes() as u64, text) {
            say_errno("cannot keep", b"the text of the table in memory", errno);
        }
    }

    /// That text, as the life before has left it.
    pub fn kept_text(reexec: &Reexec) -> Option<Vec<u8>> {
        sys::memory::kept_bytes(reexec.memory(), size_bytes() as u64).ok()
    }

    /// Somebody has mended it: it may try again.
    pub fn forgive(&mut self) {
        self.faults_ms = [0; LIVES_MAX];
    }
}

/// The memory of a life.
pub struct Estate {
    /// The rows, for the engine.
    pub memory: Memory<'static>,
    /// What is true of the daemon.
    pub life: &'static mut Life,
    /// The descriptors.
    pub store: FdStore,
    /// How it is handed on; `None` until it was armed, and where that cannot be.
    pub reexec: Option<&'static Reexec>,
    /// The memfd; `None` where there is none.
    fd: Option<OwnedFd>,
}

impl Estate {
    /// That of a first life: nothing.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new() -> Result<Estate, Errno> {
        let estate = Estate::carve(Shared::create(c"isinit rows", size_bytes())?)?;
        estate.life.magic = MAGIC;
        estate.life.rows = rows_version();
        Ok(estate)
    }

    /// What the life before has left.
    ///
    /// # Errors
    /// EINVAL when it is nothing that this version reads.
    pub fn adopt(fd: OwnedFd) -> Result<Estate, Errno> {
        let estate = Estate::carve(Shared::adopt(fd, size_bytes())?)?;
        let is_ours = estate.life.magic == MAGIC && estate.life.rows == rows_version();
        is_ours.then_some(estate).ok_or(Errno::INVAL)
    }

    fn carve(mut shared: Shared) -> Result<Estate, Errno> {
        let life = shared.carve(1).and_then(|life| life.first_mut()).ok_or(Errno::NOMEM)?;
        let head = shared.carve(1).and_then(|head| head.first_mut()).ok_or(Errno::NOMEM)?;
        let groups = shared.carve(GROUPS_MAX).ok_or(Errno::NOMEM)?;
        let rows = shared.carve(ENTRIES_MAX).ok_or(Errno::NOMEM)?;
        let store = FdStore::carve(&mut shared, SLOTS).ok_or(Errno::NOMEM)?;
        let memory = Memory { rows, groups, head };
        Ok(Estate { memory, life, store, reexec: None, fd: shared.into_fd() })
    }

    /// From now on a fault of ours is survived in it, also after [`Signals::take`](crate::sys::signals::Signals::take)
    /// has set everything back. Where that cannot be, it is said once.
    pub fn arm(&mut self) -> Option<&'static Reexec> {
        if let Some(reexec) = self.reexec {
            reexec.handle_faults();
        } else {
            let armed = Reexec::arm(self.store, self.fd.take(), &sys::entry::words());
            let say = |errno| say_errno("cannot be executed again", b"after a fault", errno);
            self.reexec = armed.map_err(say).ok();
        }
        self.reexec
    }
}

/// Bytes of all of it; a cache line more for each region, which is aligned to one.
fn size_bytes() -> usize {
    let bytes = |count: usize, size: usize| count.saturating_mul(size).saturating_add(64);
    [
        bytes(1, size_of::<Life>()),
        bytes(1, size_of::<Head>()),
        bytes(GROUPS_MAX, size_of::<GroupRow>()),
        bytes(ENTRIES_MAX, size_of::<Row>()),
        bytes(1, FdStore::bytes(SLOTS)).saturating_add(64),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

/// Which rows this program reads and writes: the version, and the sizes of the records, so that a change of them which
/// forgets the version is seen.
pub fn rows_version() -> u64 {
    let sizes = [size_of::<Life>(), size_of::<Head>(), size_of::<GroupRow>(), size_of::<Row>(), size_bytes()];
    let mixed = sizes.iter().fold(0_u32, |mixed, size| mixed.rotate_left(7) ^ *size as u32);
    u64::from(VERSION) << 32 | u64::from(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::Plain;

    #[test]
    fn a_life_finds_what_the_one_before_has_left() {
        let first = Estate::new().unwrap();
        first.life.set_role(Role::Container);
        first.life.table.set("/etc/isinittab");
        first.memory.rows[ENTRIES_MAX - 1].restarts = 7;
        let fd = first.fd.unwrap();
        let next = Estate::adopt(fd).unwrap();
        assert_eq!((next.life.role(), next.life.table.get()), (Role::Container, Path::new("/etc/isinittab")));
        assert_eq!(next.memory.rows[ENTRIES_MAX - 1].restarts, 7);
        next.life.rows ^= 1 << 32;
        let fd = next.fd.unwrap();
        assert_eq!(Estate::adopt(fd).err(), Some(Errno::INVAL), "another version's");
    }

    #[test]
    fn five_faults_within_ten_seconds_are_too_many() {
        let mut life = Life::zeroed();
        let times = [1_000, 2_000, 3_000, 4_000, 11_001, 11_500, 12_000];
        let counted = times.map(|now| life.count_fault(now));
        assert_eq!(counted, [false, false, false, false, false, true, true]);
        life.forgive();
        assert!(!life.count_fault(12_001));
    }

    #[test]
    fn each_descriptor_has_a_place_of_its_own() {
        let of_row = |row| {
            [
                Slot::LogOutput(row),
                Slot::LogInput(row),
                Slot::LinesOutput(row),
                Slot::LinesInput(row),
                Slot::Ready(row),
            ]
        };
        let own = [Slot::Listener, Slot::Notify, Slot::Watchdog, Slot::Initctl];
        let last = of_row(ENTRIES_MAX as u32 - 1);
        let all = own.into_iter().chain(of_row(0)).chain(of_row(1)).chain(last);
        let mut numbers: Vec<usize> = all.map(Slot::number).collect();
        numbers.dedup();
        assert!(numbers.is_sorted() && numbers.len() == 19 && numbers.last() == Some(&(SLOTS - 1)));
    }
}
