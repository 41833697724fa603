//! Who runs, since when, at which level: the records of utmp(5) and wtmp, for who(1), last(1) and runlevel(8).
//!
//! These programs are built with glibc, and a record is laid out as glibc has it; we may be built with another C
//! library. So records are written byte by byte, by the table below. What is written when is sysvinit's choice.
//!
//! A file that does not exist is not made: whoever wants records makes it (touch(1)), as ever. A record that a full
//! disk takes in part is cut off again, for readers count in whole ones.

use crate::limits::UTMP_RECORDS_MAX;
use crate::machine::words::say_errno;
use crate::sys::Errno;
use crate::sys::clock;
use crate::sys::host;
use crate::sys::records::Records;
use std::cell::Cell;
use std::ffi::CStr;

/// glibc's `struct utmp` of this architecture: where its fields begin, and what they hold. Those up to the host are
/// the same everywhere.
#[derive(Clone, Copy)]
struct Layout {
    /// Bytes of a record.
    size: usize,
    /// Where the time begins; microseconds follow.
    time: usize,
    /// Bytes of each of the two.
    time_bytes: usize,
}

/// With __WORDSIZE_TIME64_COMPAT32, and where a long has 32 bits anyway: x86, arm, riscv64.
const COMPATIBLE: Layout = Layout { size: 384, time: 340, time_bytes: 4 };

/// Without: aarch64.
const WIDE: Layout = Layout { size: 400, time: 344, time_bytes: 8 };

const LAYOUT: Layout = if cfg!(target_arch = "aarch64") { WIDE } else { COMPATIBLE };

/// Bytes of a record, of whatever layout.
const RECORD_MAX_BYTES: usize = 400;

const PID_AT: usize = 4;
const LINE: (usize, usize) = (8, 32);
const ID: (usize, usize) = (40, 4);
const USER: (usize, usize) = (44, 32);
const HOST: (usize, usize) = (76, 256);
const TERMINATION_AT: usize = 332;
const EXIT_AT: usize = 334;

/// ut_type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    RunLevel = 1,
    BootTime = 2,
    InitProcess = 5,
    DeadProcess = 8,
}

/// One record.
#[derive(Clone, Copy)]
struct Record {
    bytes: [u8; RECORD_MAX_BYTES],
    kind: Kind,
    layout: Layout,
}

impl Record {
    fn new(kind: Kind, pid: u32, layout: Layout) -> Record {
        let mut record = Record { bytes: [0; RECORD_MAX_BYTES], kind, layout };
        record.put(0, &u16::from(kind as u8).to_ne_bytes());
        record.put(PID_AT, &pid.to_ne_bytes());
        let now_ms = clock::wall_ms();
        let (seconds, micros) = (now_ms / 1_000, (now_ms % 1_000).saturating_mul(1_000));
        for (at, value) in [(layout.time, seconds), (layout.time.saturating_add(layout.time_bytes), micros)] {
            match layout.time_bytes {
                8 => record.put(at, &value.to_ne_bytes()),
                // glibc's 32 bits end in 2106 if they are read as unsigned, which last(1) does.
                _ => record.put(at, &(value as u32).to_ne_bytes()),
            }
        }
        record
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    /// A field of text: cut off, and filled up with zeros.
    fn text(mut self, (at, length): (usize, usize), text: &[u8]) -> Record {
        let place = self.bytes.get_mut(at..at.saturating_add(length)).unwrap_or_default();
        place.fill(0);
        place.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
        self
    }

    fn field(&self, (at, length): (usize, usize)) -> &[u8] {
        self.bytes.get(at..at.saturating_add(length)).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.layout.size).unwrap_or_default()
    }

    /// Does it take the place of this one in utmp (pututline(3))? Those of processes do, if the id is the same.
    fn replaces(&self, other: &[u8]) -> bool {
        let kind = other.first().copied().unwrap_or(0);
        let same_id = || other.get(ID.0..ID.0.saturating_add(ID.1)) == Some(self.field(ID));
        match self.kind {
            Kind::RunLevel | Kind::BootTime => kind == self.kind as u8,
            Kind::InitProcess | Kind::DeadProcess => (5..=8).contains(&kind) && same_id(),
        }
    }
}

/// utmp is at the first of these that exists.
pub const UTMP: [&CStr; 2] = [c"/run/utmp", c"/var/run/utmp"];
const WTMP: &CStr = c"/var/log/wtmp";

/// Writes the records of a machine. What cannot be written is not, and said so: records are no reason to stop anything.
pub struct Utmp {
    release: Box<[u8]>,
    /// What was said last: a full disk is told once, not with each process that ends.
    said: Cell<Option<Errno>>,
}

impl Utmp {
    /// Asks the kernel for its release, which stands in every record of the machine.
    pub fn new() -> Utmp {
        Utmp { release: host::kernel_release().into(), said: Cell::new(None) }
    }

    /// The machine has booted.
    pub fn boot(&self) {
        self.write(self.of_the_machine(Kind::BootTime, 0, b"reboot"));
    }

    /// The main group is told another level.
    pub fn runlevel(&self, level: u8, previous: u8) {
        let both = u32::from(previous) << 8 | u32::from(level);
        self.write(self.of_the_machine(Kind::RunLevel, both, b"runlevel"));
    }

    /// The machine goes down.
    pub fn shutdown(&self) {
        self.tell(append_if_there(WTMP, &self.of_the_machine(Kind::RunLevel, 0, b"shutdown")));
    }

    /// An entry's process was started.
    pub fn started(&self, tag: &[u8], pid: u32) {
        self.write(Record::of_process(Kind::InitProcess, tag, pid));
    }

    /// An entry's process has ended, with this status or by this signal.
    pub fn ended(&self, tag: &[u8], pid: u32, status: u8, signal: u8) {
        let mut record = Record::of_process(Kind::DeadProcess, tag, pid);
        record.put(TERMINATION_AT, &u16::from(signal).to_ne_bytes());
        record.put(EXIT_AT, &u16::from(status).to_ne_bytes());
        self.write(record);
    }

    fn write(&self, record: Record) {
        self.tell(record.write());
    }

    fn tell(&self, result: Result<(), Errno>) {
        let failure = result.err();
        if let Some(errno) = failure.filter(|_| failure != self.said.get()) {
            say_errno(b"cannot write all records to utmp and wtmp", errno);
        }
        self.said.set(failure);
    }

    fn of_the_machine(&self, kind: Kind, pid: u32, user: &[u8]) -> Record {
        let line: &[u8] = if user == b"shutdown" { b"~~" } else { b"~" };
        Record::new(kind, pid, LAYOUT)
            .text(LINE, line)
            .text(ID, b"~~")
            .text(USER, user)
            .text(HOST, &self.release)
    }
}

impl Default for Utmp {
    fn default() -> Utmp {
        Utmp::new()
    }
}

impl Record {
    /// The record of an entry's process. Its id is the last four bytes of the tag, as getty(8) and login(1) take the
    /// last four of their line: tags longer than sysvinit's begin alike (getty1, getty2) and end differently, and two
    /// with one id would write over each other's record, and over the user who is logged in there.
    fn of_process(kind: Kind, tag: &[u8], pid: u32) -> Record {
        let id = tag.last_chunk::<4>().map_or(tag, |id| id);
        Record::new(kind, pid, LAYOUT).text(ID, id)
    }

    /// To both files. The end of a process is found by last(1) by the line on which it began, which utmp knows.
    ///
    /// # Errors
    /// What the files' system said; that a file is not there is none.
    fn write(mut self) -> Result<(), Errno> {
        let put = self.put_in_utmp();
        if let (Kind::DeadProcess, Ok(Some(line))) = (self.kind, put) {
            self = self.text(LINE, &line);
        }
        append_if_there(WTMP, &self).and(put.map(drop))
    }

    fn put_in_utmp(&self) -> Result<Option<[u8; 32]>, Errno> {
        for path in UTMP {
            match put(path, self) {
                Err(errno) if is_nothing_there(errno) => {}
                result => return result.map(Some),
            }
        }
        Ok(None)
    }
}

/// Puts a record into utmp, in the place of the one that it replaces. The line of that.
fn put(path: &CStr, record: &Record) -> Result<[u8; 32], Errno> {
    let file = Records::open(path, record.layout.size)?;
    let mut line = [0; 32];
    let found = file.find(UTMP_RECORDS_MAX, |old| {
        let replaced = record.replaces(old);
        if let Some(kept) = old.get(LINE.0..).and_then(<[u8]>::first_chunk::<32>).filter(|_| replaced) {
            line = *kept;
        }
        replaced
    });
    match found? {
        None => file.append(record.bytes())?,
        Some(number) if record.kind == Kind::DeadProcess => {
            file.replace(number, record.text(LINE, &line).bytes())?;
        }
        Some(number) => file.replace(number, record.bytes())?,
    }
    Ok(line)
}

/// Who has no file, or one that cannot be written by anybody, wants no records.
fn is_nothing_there(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::ROFS)
}

fn append_if_there(path: &CStr, record: &Record) -> Result<(), Errno> {
    match append(path, record) {
        Err(errno) if is_nothing_there(errno) => Ok(()),
        result => result,
    }
}

fn append(path: &CStr, record: &Record) -> Result<(), Errno> {
    Records::open(path, record.layout.size)?.append(record.bytes())
}

/// The levels that utmp tells: the one before, and the present one. For runlevel(8).
pub fn runlevel(path: &CStr) -> Option<(u8, u8)> {
    let file = Records::open_to_read(path, LAYOUT.size).ok()?;
    let mut levels = None;
    let is_level = |record: &[u8]| {
        if let [kind, 0, _, _, level, previous, ..] = *record {
            if kind == Kind::RunLevel as u8 && level != 0 {
                levels = Some((if previous == 0 { b'N' } else { previous }, level));
            }
        }
        levels.is_some()
    };
    file.find(UTMP_RECORDS_MAX, is_level).ok()?;
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Scratch;
    use std::ffi::CString;
    use std::process::Command;

    struct Files {
        scratch: Scratch,
    }

    impl Files {
        fn new() -> Files {
            let scratch = Scratch::new("utmp");
            for name in ["utmp", "wtmp"] {
                std::fs::write(scratch.0.join(name), b"").unwrap();
            }
            Files { scratch }
        }

        fn path(&self, name: &str) -> CString {
            self.scratch.c_path(name)
        }

        fn write(&self, record: Record) {
            let line = put(&self.path("utmp"), &record).unwrap();
            let record = if record.kind == Kind::DeadProcess { record.text(LINE, &line) } else { record };
            append(&self.path("wtmp"), &record).unwrap();
        }

        fn count(&self, name: &str) -> usize {
            let bytes = std::fs::read(self.scratch.0.join(name)).unwrap();
            assert_eq!(bytes.len() % LAYOUT.size, 0);
            bytes.len() / LAYOUT.size
        }

        /// What a program of the system reads out of a file.
        fn shown(&self, program: &str, arguments: &[&str], name: &str) -> String {
            let mut command = Command::new(program);
            command.args(arguments).arg(self.scratch.0.join(name)).env("LC_ALL", "C").env("TZ", "UTC");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{program}: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    }

    fn machine(kind: Kind, pid: u32, user: &[u8]) -> Record {
        Utmp { release: b"6.1.0-test"[..].into(), said: Cell::new(None) }.of_the_machine(kind, pid, user)
    }

    fn level(previous: u8, level: u8) -> Record {
        machine(Kind::RunLevel, u32::from(previous) << 8 | u32::from(level), b"runlevel")
    }

    #[test]
    fn who_and_runlevel_read_the_levels_and_the_boot() {
        let files = Files::new();
        files.write(machine(Kind::BootTime, 0, b"reboot"));
        files.write(level(b'N', b'2'));
        assert!(files.shown("who", &["-b"], "utmp").contains("system boot"));
        assert!(files.shown("who", &["-r"], "utmp").contains("run-level 2"));
        assert_eq!(runlevel(&files.path("utmp")), Some((b'N', b'2')));
        files.write(level(b'2', b'3'));
        let shown = files.shown("who", &["-r"], "utmp");
        assert!(shown.contains("run-level 3") && shown.contains("last=2"), "{shown}");
        assert_eq!(runlevel(&files.path("utmp")), Some((b'2', b'3')));
        assert_eq!((files.count("utmp"), files.count("wtmp")), (2, 3), "in its place, and behind");
    }

    #[test]
    fn last_reads_the_boot_and_the_levels() {
        let files = Files::new();
        files.write(machine(Kind::BootTime, 0, b"reboot"));
        files.write(level(b'N', b'2'));
        append(&files.path("wtmp"), &machine(Kind::RunLevel, 0, b"shutdown")).unwrap();
        let shown = files.shown("last", &["-x", "-f"], "wtmp");
        for words in ["reboot   system boot  6.1.0-test", "runlevel (to lvl 2)", "shutdown system down"] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
    }

    #[test]
    fn a_process_has_one_record_and_its_end_keeps_the_line() {
        let files = Files::new();
        let started = |tag: &[u8], pid| Record::of_process(Kind::InitProcess, tag, pid);
        files.write(started(b"1", 70));
        files.write(started(b"getty2", 71));
        // getty(8) and login(1) write the line into it.
        let with_line = started(b"1", 70).text(LINE, b"tty1");
        files.write(with_line);
        files.write(Record::of_process(Kind::DeadProcess, b"1", 70));
        assert_eq!((files.count("utmp"), files.count("wtmp")), (2, 4));
        let utmp = std::fs::read(files.scratch.0.join("utmp")).unwrap();
        assert_eq!((utmp[0], &utmp[8..12], &utmp[40..44]), (8, &b"tty1"[..], &b"1\0\0\0"[..]));
        let wtmp = std::fs::read(files.scratch.0.join("wtmp")).unwrap();
        assert_eq!(&wtmp[3 * LAYOUT.size + 8..][..4], b"tty1");
        let shown = files.shown("who", &["-d"], "utmp");
        assert!(shown.contains("tty1") && shown.contains("id=1"), "{shown}");
    }

    #[test]
    fn two_long_tags_that_begin_alike_have_a_record_each() {
        let files = Files::new();
        for (tag, pid) in [(&b"getty1"[..], 70), (b"getty2", 71)] {
            files.write(Record::of_process(Kind::InitProcess, tag, pid));
        }
        assert_eq!(files.count("utmp"), 2);
        let shown = files.shown("who", &["-p"], "utmp");
        assert!(shown.contains("id=tty1") && shown.contains("id=tty2"), "{shown}");
    }

    #[test]
    fn files_that_are_not_there_are_not_made_and_odd_ones_not_touched() {
        let files = Files::new();
        let record = level(b'N', b'2');
        assert_eq!(put(&files.path("nothing"), &record), Err(Errno::NOENT));
        assert_eq!(append(&files.path("nothing"), &record), Err(Errno::NOENT));
        assert!(!files.scratch.0.join("nothing").exists());
        std::fs::write(files.scratch.0.join("odd"), [7; 1_000]).unwrap();
        append(&files.path("odd"), &record).unwrap();
        assert_eq!(
            std::fs::read(files.scratch.0.join("odd")).unwrap().len(),
            1_000 / LAYOUT.size * LAYOUT.size + LAYOUT.size
        );
        assert_eq!(runlevel(&files.path("wtmp")), None);
    }

    #[test]
    fn on_aarch64_time_and_session_are_wider() {
        let record = Record::new(Kind::BootTime, 0x0102_0304, WIDE);
        let seconds = u64::from_ne_bytes(record.bytes[344..352].try_into().unwrap());
        assert!(seconds > 1_700_000_000 && record.bytes().len() == 400);
        let record = Record::new(Kind::BootTime, 0, COMPATIBLE);
        let seconds = u32::from_ne_bytes(record.bytes[340..344].try_into().unwrap());
        assert!(seconds > 1_700_000_000 && record.bytes().len() == 384);
    }
}
