//! The last steps of a machine: what is left after all groups have stopped and the `shutdown` entries have run.
//!
//! ```text
//! SIGTERM to all, SIGKILL to the rest -> swap off -> unmount, or read-only -> sync -> reboot(2)
//! ```
//!
//! Each step can meet something that never ends: a process in state D, a file system whose server has gone, a
//! disk that no longer answers. A machine that hangs while it goes down has to be walked to. So every call that
//! the kernel can hold up is made in a child, is waited for with a deadline, and when that is over the console
//! is told what it was waiting for, by name; then the next step begins.
//!
//! The watchdog is kept alive all the way: should process 1 itself get stuck after all, it resets the machine.

use super::watchdog::Watchdog;
use super::words::{errno_words, say, say_errno};
use crate::limits::{
    DOWN_KILL_MS, DOWN_SAY_MS, DOWN_STEP_MS, DOWN_STEPS_MS, DOWN_TERM_MS, NAMED_PROCESSES_MAX, UNMOUNT_ROUNDS,
};
use crate::sys;
use crate::sys::attempt::Attempt;
use crate::sys::clock::now_ms;
use crate::sys::mount::{self, MountTable, PATH_MAX_BYTES};
use crate::sys::poll::PollSet;
use crate::sys::power::{self, Reboot};
use crate::sys::signals::{Arrived, Signals};
use crate::sys::{Errno, process, reap, signals};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Switched off.
    PowerOff,
    /// Started anew.
    Reboot,
    /// Stopped with power on, for a person to look at the console.
    Halt,
    /// A kernel that kexec(8) has loaded is started, without firmware.
    Kexec,
}

impl Ending {
    /// The verb: `poweroff`.
    pub fn name(self) -> &'static str {
        match self {
            Ending::PowerOff => "poweroff",
            Ending::Reboot => "reboot",
            Ending::Halt => "halt",
            Ending::Kexec => "kexec",
        }
    }

    /// What happens now, for a message: `powering off`.
    pub fn doing(self) -> &'static str {
        match self {
            Ending::PowerOff => "powering off",
            Ending::Reboot => "rebooting",
            Ending::Halt => "halting",
            Ending::Kexec => "starting the loaded kernel",
        }
    }

    fn reboot(self) -> Reboot {
        match self {
            Ending::PowerOff => Reboot::PowerOff,
            Ending::Reboot => Reboot::Restart,
            Ending::Halt => Reboot::Halt,
            Ending::Kexec => Reboot::Kexec,
        }
    }
}

/// Brings the machine down. For process 1 of a machine alone; it never returns. Where even reboot(2) fails it reaps
/// for ever, because the end of process 1 is a kernel panic.
pub fn go_down(ending: Ending, signals: &Signals, watchdog: Option<Watchdog>) -> ! {
    let mut down = Down::new(signals, watchdog);
    down.bring_down();
    down.leave(ending);
    loop {
        down.pause(None, u64::MAX);
    }
}

/// Ends all other processes, as [`go_down`] does first: before another init takes our place. The watchdog runs on.
pub fn end_processes(signals: &Signals, watchdog: Option<Watchdog>) {
    let mut down = Down::new(signals, watchdog);
    down.end_all();
    if let Some(watchdog) = down.watchdog.take() {
        watchdog.leave_running();
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    Failed(Errno),
    /// It has not come back in time.
    Late,
}

struct Down<'s> {
    signals: &'s Signals,
    watchdog: Option<Watchdog>,
    set: PollSet,
}

impl<'s> Down<'s> {
    fn new(signals: &'s Signals, watchdog: Option<Watchdog>) -> Down<'s> {
        Down { signals, watchdog, set: PollSet::new(2) }
    }

    /// All steps but the last.
    fn bring_down(&mut self) {
        self.end_all();
        self.swap_off();
        self.unmount_all();
        self.remount_rest();
        let sync = || {
            power::sync();
            Ok(())
        };
        if self.step(deadline(DOWN_STEP_MS), sync) == Step::Late {
            say(&[
                b"the disks have not taken everything (sync) after ",
                &seconds(DOWN_STEP_MS),
                b"; going on",
            ]);
        }
    }

    fn end_all(&mut self) {
        if !reap::has_children() {
            return;
        }
        say(&[b"sending SIGTERM to all processes"]);
        self.signal(signals::TERM);
        // What is stopped gets its SIGTERM only when it goes on.
        self.signal(signals::CONT);
        if self.all_end_within(DOWN_TERM_MS) {
            return;
        }
        name_processes(&[b"still running after ", &seconds(DOWN_TERM_MS), b", killed now: "]);
        self.signal(signals::KILL);
        if !self.all_end_within(DOWN_KILL_MS) {
            name_processes(&[b"not gone after ", &seconds(DOWN_KILL_MS), b", going on without it: "]);
        }
    }

    fn signal(&self, signal: i32) {
        match power::signal_everyone(signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => say_errno(b"cannot signal all processes", errno),
        }
    }

    fn all_end_within(&mut self, timeout_ms: u64) -> bool {
        let deadline = deadline(timeout_ms);
        while reap::has_children() {
            if now_ms() >= deadline {
                return false;
            }
            self.pause(None, deadline);
        }
        true
    }

    fn swap_off(&mut self) {
        let Ok(swaps) = mount::read_proc(c"swaps") else { return };
        let last = deadline(DOWN_STEPS_MS);
        let mut buffer = [0; PATH_MAX_BYTES];
        // The first line is a heading; paths are written as in mountinfo.
        for line in swaps.split(|&byte| byte == b'\n').skip(1) {
            let name = line.split(|&byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
            let Some(path) = mount::unescape(name, &mut buffer).filter(|path| !path.is_empty()) else {
                continue;
            };
            match self.step(deadline(DOWN_STEP_MS).min(last), || power::swapoff(path)) {
                Step::Done => {}
                Step::Failed(errno) => say_path(b"cannot stop swapping to ", path, errno),
                Step::Late => say(&[b"swapoff of ", path.to_bytes(), b" takes too long; going on"]),
            }
        }
    }

    /// Takes away what can be taken, until a round takes nothing.
    fn unmount_all(&mut self) {
        let last = deadline(DOWN_STEPS_MS);
        let mut stuck = Vec::new();
        for _ in 0..UNMOUNT_ROUNDS {
            if !self.unmount_round(&mut stuck, last) {
                return;
            }
        }
    }

    /// One look at all mounts, the last one first. Whether it has taken any away.
    fn unmount_round(&mut self, stuck: &mut Vec<u32>, last: u64) -> bool {
        let table = match MountTable::read() {
            Ok(table) => table,
            Err(errno) => {
                say_errno(b"cannot read the list of mounts", errno);
                return false;
            }
        };
        let (mut any, mut buffer) = (false, [0; PATH_MAX_BYTES]);
        for mount in table.mounts().rev() {
            let Some(place) = mount.place(&mut buffer).filter(|place| !stays(place)) else { continue };
            if stuck.contains(&mount.id) {
                continue;
            }
            if now_ms() >= last {
                say(&[b"unmounting has taken ", &seconds(DOWN_STEPS_MS), b"; the rest is left"]);
                return false;
            }
            match self.step(deadline(DOWN_STEP_MS).min(last), || mount::unmount(place)) {
                Step::Done => any = true,
                // In use by another mount, perhaps, which is gone in the next round.
                Step::Failed(_) => {}
                Step::Late => {
                    say(&[b"unmounting ", place.to_bytes(), b" takes too long; going on"]);
                    stuck.push(mount.id);
                }
            }
        }
        any
    }

    /// Makes read-only what could not be unmounted: the root, and what is in use (by ourselves, at the least).
    fn remount_rest(&mut self) {
        let Ok(table) = MountTable::read() else { return };
        let last = deadline(DOWN_STEPS_MS);
        let mut buffer = [0; PATH_MAX_BYTES];
        let on_disk = |mount: &mount::Mount<'_>| !mount.read_only && !is_in_memory(mount.kind);
        for mount in table.mounts().rev().filter(on_disk) {
            let Some(place) = mount.place(&mut buffer).filter(|place| *place == c"/" || !stays(place)) else {
                continue;
            };
            match self.step(deadline(DOWN_STEP_MS).min(last), || mount::remount_readonly(place)) {
                Step::Done if place == c"/" => {}
                Step::Done => say(&[place.to_bytes(), b" cannot be unmounted; it is read-only now"]),
                Step::Failed(errno) => say_path(b"cannot unmount, nor make read-only: ", place, errno),
                Step::Late => say(&[b"making ", place.to_bytes(), b" read-only takes too long; going on"]),
            }
        }
    }

    /// The last step. Returns only when the machine is still there.
    fn leave(&mut self, ending: Ending) {
        let ending = match ending {
            Ending::Kexec if !power::is_kexec_loaded() => {
                say(&[b"no kernel is loaded for kexec (see kexec(8), kexec -l); this is a reboot"]);
                Ending::Reboot
            }
            ending => ending,
        };
        match (ending, self.watchdog.take()) {
            (_, None) => {}
            (Ending::PowerOff | Ending::Halt, Some(watchdog)) => watchdog.close_orderly(),
            (Ending::Reboot | Ending::Kexec, Some(watchdog)) => watchdog.leave_running(),
        }
        say(&[ending.doing().as_bytes()]);
        self.reboot(ending);
        if ending != Ending::Halt {
            say(&[b"halting instead; the power can be switched off"]);
            self.reboot(Ending::Halt);
        }
    }

    fn reboot(&mut self, ending: Ending) {
        // What was said is seen before there is nobody left to say it.
        sys::output::drain(deadline(DOWN_SAY_MS));
        let name = ending.name().as_bytes();
        let step = match power::reboot(ending.reboot()) {
            Ok(attempt) => self.outcome(&attempt, deadline(DOWN_STEP_MS)),
            Err(errno) => Step::Failed(errno),
        };
        match step {
            Step::Failed(errno) => say(&[b"cannot ", name, b": ", errno_words(errno)]),
            Step::Done | Step::Late => say(&[name, b" has no effect"]),
        }
    }

    /// Makes one call that the kernel can hold up.
    fn step(&mut self, deadline_ms: u64, call: impl Fn() -> Result<(), Errno>) -> Step {
        match Attempt::start(&call) {
            Ok(attempt) => self.outcome(&attempt, deadline_ms),
            // No child, no deadline: rather a file system that is clean. The watchdog is not kept alive meanwhile.
            Err(_) => call().map_or_else(Step::Failed, |()| Step::Done),
        }
    }

    fn outcome(&mut self, attempt: &Attempt, deadline_ms: u64) -> Step {
        loop {
            match attempt.result() {
                Some(Ok(())) => return Step::Done,
                Some(Err(errno)) => return Step::Failed(errno),
                None if now_ms() >= deadline_ms => return Step::Late,
                None => self.pause(Some(attempt.fd()), deadline_ms),
            }
        }
    }

    /// Waits for a descriptor, a signal or the deadline; reaps, and keeps the watchdog alive.
    fn pause(&mut self, fd: Option<BorrowedFd<'_>>, deadline_ms: u64) {
        sys::output::flush();
        let watchdog_ms = self.watchdog.as_ref().map_or(u64::MAX, Watchdog::deadline);
        self.set.clear();
        self.set.add(self.signals.fd(), true, false);
        fd.map(|fd| self.set.add(fd, true, false));
        let _ = self.set.wait(Some(deadline_ms.min(watchdog_ms)));
        let mut arrived = [Arrived::default(); 16];
        // Whoever wants the machine down now has what he wants.
        while self.signals.read(&mut arrived).is_ok_and(|count| count > 0) {}
        while let Ok(Some(ended)) = reap::peek() {
            if reap::collect(ended.pid).is_err() {
                break;
            }
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.keep_alive(now_ms());
        }
    }
}

/// What stays mounted to the end: it is of memory alone, and messages, /dev/watchdog and the list of mounts itself
/// need it. The root cannot be unmounted.
fn stays(place: &CStr) -> bool {
    let place = place.to_bytes();
    let below = |top: &[u8]| place.strip_prefix(top).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    matches!(place, b"/" | b"/run") || [&b"/proc"[..], b"/sys", b"/dev"].into_iter().any(below)
}

/// A file system that nothing is lost of when it is not made read-only.
fn is_in_memory(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"rootfs" | b"ramfs" | b"tmpfs" | b"proc" | b"sysfs" | b"devtmpfs" | b"devpts" | b"cgroup2"
    )
}

fn deadline(timeout_ms: u64) -> u64 {
    now_ms().saturating_add(timeout_ms)
}

fn say_path(what: &[u8], path: &CStr, errno: Errno) {
    say(&[what, path.to_bytes(), b": ", errno_words(errno)]);
}

/// `5 s`.
fn seconds(ms: u64) -> Vec<u8> {
    let mut text = itoa::Buffer::new().format(ms / 1_000).as_bytes().to_vec();
    text.extend_from_slice(b" s");
    text
}

/// Says a sentence about each process that is left: its number, its name, and `state D` if that is why.
fn name_processes(sentence: &[&[u8]]) {
    let sentence = sentence.concat();
    process::each_other(NAMED_PROCESSES_MAX, |pid, name, state| {
        let why: &[u8] = if state == b'D' { b", in state D: it waits for a device" } else { b"" };
        say(&[&sentence, itoa::Buffer::new().format(pid).as_bytes(), b" (", name, b")", why]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_messages_and_the_watchdog_need_stays() {
        for place in [c"/", c"/proc", c"/sys/fs/cgroup", c"/dev/pts", c"/run"] {
            assert!(stays(place), "{place:?}");
        }
        for place in [c"/home", c"/run/media/disk", c"/devices", c"/mnt/proc", c"/system"] {
            assert!(!stays(place), "{place:?}");
        }
    }

    #[test]
    fn each_ending_has_its_words() {
        assert_eq!((Ending::PowerOff.name(), Ending::PowerOff.doing()), ("poweroff", "powering off"));
        assert_eq!(Ending::Kexec.reboot(), Reboot::Kexec);
    }

    mod as_root {
        use super::*;
        use crate::sys::pipe;
        use crate::sys::testing::{as_pid1_in_new_root, fork};
        use std::fs::{create_dir, create_dir_all};

        fn tmpfs(place: &CStr) {
            create_dir_all(place.to_str().unwrap()).unwrap();
            let flags = mount::MountFlags::empty();
            mount::mount(c"test", place, c"tmpfs", flags, c"").unwrap();
        }

        fn places() -> Vec<String> {
            let mut buffer = [0; PATH_MAX_BYTES];
            let table = MountTable::read().unwrap();
            table
                .mounts()
                .map(|mount| mount.place(&mut buffer).unwrap().to_str().unwrap().to_owned())
                .collect()
        }

        #[test]
        fn all_but_what_is_in_use_is_unmounted_the_last_one_first() {
            let status = as_pid1_in_new_root(|| {
                let signals = Signals::take().unwrap();
                create_dir("/proc").unwrap();
                mount::mount(c"proc", c"/proc", c"proc", mount::MountFlags::empty(), c"").unwrap();
                for place in [c"/a", c"/a/b", c"/a/b", c"/with a blank", c"/run", c"/run/disk", c"/used"] {
                    tmpfs(place);
                }
                let _in_use = std::fs::File::create("/used/file").unwrap();
                let mut down = Down::new(&signals, None);
                assert!(down.unmount_round(&mut Vec::new(), deadline(DOWN_STEPS_MS)));
                assert_eq!(places(), ["/", "/proc", "/run", "/used"], "in a single round");
                i32::from(down.unmount_round(&mut Vec::new(), deadline(DOWN_STEPS_MS)))
            });
            assert_eq!(status, 0);
        }

        /// An overlay is the one file system on no disk that is not of memory alone.
        fn overlay() {
            for place in ["/lower", "/data/upper", "/data/work", "/over"] {
                create_dir_all(place).unwrap();
            }
            let options = c"lowerdir=/lower,upperdir=/data/upper,workdir=/data/work";
            mount::mount(c"o", c"/over", c"overlay", mount::MountFlags::empty(), options).unwrap();
        }

        #[test]
        fn what_is_in_use_becomes_read_only() {
            let status = as_pid1_in_new_root(|| {
                let signals = Signals::take().unwrap();
                overlay();
                std::fs::write("/over/file", "x").unwrap();
                let in_use = std::fs::File::open("/over/file").unwrap();
                let mut down = Down::new(&signals, None);
                down.bring_down();
                let written = std::fs::write("/over/other", "x");
                assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
                drop(in_use);
                down.bring_down();
                assert_eq!(places(), ["/"]);
                0
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn everybody_ends_also_who_was_stopped_and_who_does_not_want_to() {
            let status = as_pid1_in_new_root(|| {
                let signals = Signals::take().unwrap();
                let mut down = Down::new(&signals, None);
                // A fork of ours has SIGTERM blocked, as those have it who do not want to end.
                let (read, _write) = pipe::pair().unwrap();
                fork(|| {
                    let _ = rustix::io::read(&read, &mut [0; 1]);
                });
                down.signal(signals::TERM);
                assert!(!down.all_end_within(20), "it has not heard");
                down.signal(signals::KILL);
                assert!(down.all_end_within(DOWN_KILL_MS));
                down.end_all();
                i32::from(reap::has_children())
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn a_call_that_does_not_come_back_is_late_and_the_next_one_is_made() {
            let status = as_pid1_in_new_root(|| {
                let signals = Signals::take().unwrap();
                let mut down = Down::new(&signals, None);
                let (read, _write) = pipe::pair().unwrap();
                let hangs = || rustix::io::read(&read, &mut [0; 1]).map(|_| ());
                assert_eq!(down.step(deadline(20), hangs), Step::Late);
                assert_eq!(down.step(deadline(DOWN_STEP_MS), || Ok(())), Step::Done);
                assert_eq!(down.step(deadline(DOWN_STEP_MS), || Err(Errno::BUSY)), Step::Failed(Errno::BUSY));
                i32::from(!down.all_end_within(DOWN_KILL_MS))
            });
            assert_eq!(status, 0);
        }

        #[test]
        fn process_1_of_a_container_reboots_nothing() {
            let status = as_pid1_in_new_root(|| {
                assert!(process::is_pid1() && !power::is_machine());
                i32::from(power::reboot(Reboot::Restart).err() != Some(Errno::PERM))
            });
            assert_eq!(status, 0);
        }
    }
}
