//! Pads: where a child stands in our memory from its beginning to its exec.
//!
//! A pad is a stack and the words of one start. [`spawn`](super::spawn::spawn) lets a child begin on it without a copy of
//! our memory, and says in its essay when that may be. From then on the pad is the child's: nobody here writes or reads it
//! before the kernel has set the pad's word to zero, which it does when the child has left our memory, by an exec or by its
//! end (CLONE_CHILD_CLEARTID of clone(2)). A child that hangs keeps its pad for as long as it does. There are so many of
//! them and no more. One large pad has no stack, and is always free: from that a child is forked.
//!
//! Pads are in a mapping that is there for ever, as a child may stand on one when whoever made them is gone. A forked
//! child does not have it, so that they make no fork dearer. What is not used is not there: the lowest that is free is
//! taken, and before a long wait those that are free are given back to the kernel, as zeros.

#![allow(unsafe_code)]

use super::spawn::Words;
use crate::limits::{PADS_LOOKS_MAX, PADS_MAX};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

// A pad is, from below: a guard that cannot be written; a stack; in the upper half of the stack's last page the start, the
// pad itself, and the pointers to its words; then these. It takes nine pages, of which a usual start touches two.

const PAGE_BYTES: usize = 4 * 1024;

const PAD_BYTES: usize = 9 * PAGE_BYTES;

const GUARD_BYTES: usize = PAGE_BYTES;

/// Bytes of a child's stack. The deepest that it goes is a path (PATH_MAX) and a few frames; it takes no signal.
const STACK_BYTES: usize = 4 * PAGE_BYTES - PAGE_BYTES / 2;

/// Bytes above the stack for the start.
pub(super) const START_BYTES: usize = 256;

/// Bytes for what we know of the pad.
const KNOWN_BYTES: usize = 256;

/// Pointers to arguments, and bytes of them, and pointers to variables: two less than that are words. What has more is
/// forked.
const ARGV_POINTERS: usize = 64;
const ENV_POINTERS: usize = 128;
const ARGV_BYTES: usize = PAGE_BYTES / 2;

const START_AT: usize = GUARD_BYTES + STACK_BYTES;
const KNOWN_AT: usize = START_AT + START_BYTES;
const ARGV_AT: usize = KNOWN_AT + KNOWN_BYTES;
const ENV_AT: usize = ARGV_AT + ARGV_POINTERS * size_of::<usize>();
const ARGV_BYTES_AT: usize = ENV_AT + ENV_POINTERS * size_of::<usize>();
const ENV_BYTES_AT: usize = ARGV_BYTES_AT + ARGV_BYTES;
const ENV_BYTES: usize = PAD_BYTES - ENV_BYTES_AT;
const _: () = assert!(size_of::<Pad>() <= KNOWN_BYTES && align_of::<Pad>() <= KNOWN_BYTES);

/// In front of the pads: their words for the kernel.
const LEFT_BYTES: usize = PAGE_BYTES;
const _: () = assert!(PADS_MAX * size_of::<AtomicU32>() <= LEFT_BYTES);

/// The first Linux on which a child that shares our memory dies alone, whatever it dies of.
const SAFE_SINCE: (u32, u32) = (5, 16);

/// MADV_GUARD_INSTALL of Linux 6.13: guards that do not divide the mapping.
const GUARD_INSTALL: i32 = 102;

/// A stack and the words of one start.
#[derive(Debug)]
pub struct Pad {
    /// The program and its arguments.
    pub argv: Words,
    /// Its environment.
    pub env: Words,
    /// Of which making the environment's beginning is; 0: it has none. The owner's, who counts them.
    pub stamp: u32,
    place: Option<Place>,
}

/// Where a pad is that has a stack.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: usize,
    stack: *mut u8,
    /// Not 0: a child stands there.
    left: &'static AtomicU32,
}

impl Pad {
    pub(super) fn is_small(&self) -> bool {
        self.place.is_some()
    }

    /// Has a forked child have it too, where its words are to be read by one.
    pub(super) fn let_fork(&self) -> Result<(), Errno> {
        let Some(place) = self.place else { return Ok(()) };
        // SAFETY: the pad without its guard: a mapping of our own, of which nothing changes.
        unsafe { madvise(place.stack.cast(), PAD_BYTES - GUARD_BYTES, Advice::LinuxDoFork) }
    }

    /// Has a child begin here: with its stack and the bytes of it, at whose end there is room for its start, and the word
    /// that is zero when it has left.
    pub(super) fn start(
        &self,
        begin: impl FnOnce(*mut u8, usize, &AtomicU32) -> Result<u32, Errno>,
    ) -> Result<u32, Errno> {
        let place = self.place.ok_or(Errno::NOSYS)?;
        place.left.store(1, Ordering::Release);
        let result = begin(place.stack, STACK_BYTES, place.left);
        if result.is_err() {
            place.left.store(0, Ordering::Release);
        }
        result
    }
}

/// All pads.
pub struct Pads {
    /// `None` while it is taken.
    large: Option<&'static mut Pad>,
    /// Those that were in use; `None` of what is given back, or taken.
    pads: Vec<Option<&'static mut Pad>>,
    /// Where they are; `None` where children cannot share our memory.
    memory: Option<*mut u8>,
    /// A small one is taken, and not put back.
    taken: bool,
    /// How often is still looked for what can be given back.
    looks: u32,
}

impl Pads {
    /// Makes them, once for a process. The large one has lists of so many bytes each, for so many words: arguments, and
    /// environment. There is no other where children cannot share our memory.
    pub fn new(bytes: usize, argv_words: usize, env_words: usize) -> Pads {
        let (argv, env) = (Words::new(bytes, argv_words), Words::new(bytes, env_words));
        let large = Box::leak(Box::new(Pad { argv, env, stamp: 0, place: None }));
        let memory = can_share().then(map).and_then(Result::ok);
        let pads = Vec::with_capacity(memory.map_or(0, |_| PADS_MAX));
        Pads { large: Some(large), pads, memory, taken: false, looks: 0 }
    }

    /// Takes a pad that is free; the large one if that is wanted, or no other is free. `None` where that is taken.
    pub fn take(&mut self, large: bool) -> Option<&'static mut Pad> {
        self.looks = PADS_LOOKS_MAX;
        let small = if large { None } else { self.take_small() };
        small.or_else(|| self.large.take())
    }

    fn take_small(&mut self) -> Option<&'static mut Pad> {
        let memory = self.memory.filter(|_| !self.taken && !super::spawn::sharing_is_refused())?;
        let number = (0..PADS_MAX).find(|&number| is_free(memory, number))?;
        if number >= self.pads.len() {
            guard(base(memory, number)).ok()?;
            self.pads.push(None);
        }
        self.taken = true;
        let made = self.pads.get_mut(number)?.take();
        Some(made.unwrap_or_else(|| make(memory, number)))
    }

    /// Puts it back; a child may stand on it.
    pub fn put_back(&mut self, pad: &'static mut Pad) {
        let Some(place) = pad.place else {
            self.large = Some(pad);
            return;
        };
        self.taken = false;
        if let Some(home) = self.pads.get_mut(place.number) {
            *home = Some(pad);
        }
    }

    /// Before a long wait: gives back what starts have touched. `true`: a child is still on its way, and what it has is
    /// worth another look after [`PADS_LOOK_MS`](crate::limits::PADS_LOOK_MS). That comes to an end: what hangs keeps what it has.
    pub fn trim(&mut self) -> bool {
        let Some(memory) = self.memory.filter(|_| self.looks > 0 && !self.taken) else { return false };
        let mut on_its_way = false;
        for (number, pad) in self.pads.iter_mut().enumerate().filter(|(_, pad)| pad.is_some()) {
            if is_free(memory, number) {
                *pad = None;
                super::trim::forget(
                    base(memory, number).addr(),
                    base(memory, number.saturating_add(1)).addr(),
                );
            } else {
                on_its_way = true;
            }
        }
        self.looks = if on_its_way { self.looks.saturating_sub(1) } else { 0 };
        self.looks > 0
    }
}

fn is_free(memory: *mut u8, number: usize) -> bool {
    left(memory, number).load(Ordering::Acquire) == 0
}

/// Where a pad begins.
fn base(memory: *mut u8, number: usize) -> *mut u8 {
    memory.wrapping_add(number.wrapping_mul(PAD_BYTES).wrapping_add(LEFT_BYTES))
}

/// The word that the kernel writes.
fn left(memory: *mut u8, number: usize) -> &'static AtomicU32 {
    // SAFETY: the first page has one for each pad, for ever, and nobody has another reference to it.
    unsafe { &*memory.cast::<AtomicU32>().wrapping_add(number) }
}

/// Makes the pad of this number, in memory that is zero and that nobody has.
fn make(memory: *mut u8, number: usize) -> &'static mut Pad {
    let base = base(memory, number);
    let at = |offset: usize| base.wrapping_add(offset);
    // SAFETY: the parts do not overlap, are aligned and within the pad, and zeros are bytes, and null pointers.
    let (argv, env) = unsafe {
        (
            Words::within(
                slice::from_raw_parts_mut(at(ARGV_BYTES_AT), ARGV_BYTES),
                slice::from_raw_parts_mut(at(ARGV_AT).cast(), ARGV_POINTERS),
            ),
            Words::within(
                slice::from_raw_parts_mut(at(ENV_BYTES_AT), ENV_BYTES),
                slice::from_raw_parts_mut(at(ENV_AT).cast(), ENV_POINTERS),
            ),
        )
    };
    let place = Place { number, stack: at(GUARD_BYTES), left: left(memory, number) };
    let pad = at(KNOWN_AT).cast::<Pad>();
    // SAFETY: a part of its own, as above.
    unsafe {
        pad.write(Pad { argv, env, stamp: 0, place: Some(place) });
        &mut *pad
    }
}

fn can_share() -> bool {
    let here = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    here && version(&super::host::kernel_release()) >= SAFE_SINCE
}

/// The first two numbers of `5.16.0-rc1`.
fn version(release: &[u8]) -> (u32, u32) {
    let mut numbers = release.split(|byte| !byte.is_ascii_digit()).map(|digits| {
        digits.iter().fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit & 15)))
    });
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Maps the memory, without its guards: each pad gets its own before it is used for the first time, for most never are, and
/// before Linux 6.13 a guard divides the mapping.
fn map() -> Result<*mut u8, Errno> {
    let (length, access) = (PAD_BYTES * PADS_MAX + LEFT_BYTES, ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new mapping, anywhere.
    let memory = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::PRIVATE) }?;
    // SAFETY: the whole of it; a forked child, which does not have it, does not look at it.
    unsafe { madvise(memory, length, Advice::LinuxDontFork) }?;
    Ok(memory.cast())
}

fn guard(page: *mut u8) -> Result<(), Errno> {
    // SAFETY: a page that nobody has, and nobody is going to use.
    if unsafe { libc::madvise(page.cast(), GUARD_BYTES, GUARD_INSTALL) } == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe { mprotect(page.cast(), GUARD_BYTES, MprotectFlags::empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::write_at;
    use crate::sys::memory::Shared;
    use crate::sys::signals;
    use crate::sys::spawn::{Fault, Spawn, Step, spawn, tests::refuse};
    use crate::sys::testing::{in_child, wait_for, with_cgroups};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::sync::atomic::AtomicU64;

    type Rows = (&'static [AtomicU32], &'static [AtomicU64]);

    fn rows(count: usize) -> Rows {
        let mut shared = Shared::create(c"test", 1 << 20).unwrap();
        let faults = shared.carve(count).unwrap();
        (shared.carve(count).unwrap(), faults)
    }

    fn pads() -> Pads {
        assert!(can_share(), "a kernel before {SAFE_SINCE:?}, or another processor: nothing here is used");
        Pads::new(4_096, 16, 16)
    }

    /// Starts a command on a pad that is free, and tells whether it is one with a stack.
    fn start(
        pads: &mut Pads,
        words: &[&[u8]],
        (pids, faults): Rows,
        row: usize,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> (i32, bool) {
        let pad = pads.take(false).unwrap();
        pad.argv.clear();
        pad.env.clear();
        words.iter().for_each(|word| pad.argv.push(word).unwrap());
        pad.env.push_pair(b"PATH", b"/nowhere:/usr/bin:/bin").unwrap();
        let start =
            Spawn { pad: Some(pad), cgroup, ..Spawn::new(&pad.argv, &pad.env, &pids[row], &faults[row]) };
        let pid = spawn(&start).unwrap();
        assert_eq!(pids[row].load(Ordering::Acquire), pid);
        let small = pad.is_small();
        pads.put_back(pad);
        (pid.cast_signed(), small)
    }

    const EXITS: [&[u8]; 3] = [b"sh", b"-c", b"exit 7"];

    #[test]
    fn children_that_hang_before_their_exec_hold_up_nobody_and_the_next_is_forked() {
        with_cgroups(|cgroups| {
            let group = cgroups.make(b"pads").unwrap();
            let status = in_child(|| {
                // What hangs has not closed yet what other tests have open for writing.
                let group = rustix::io::fcntl_dupfd_cloexec(&group, 3).unwrap();
                crate::sys::spawn::close_all_others(&mut [group.as_raw_fd()]);
                // As `spawn` wants it; and who has started the tests may have had SIGQUIT ignored.
                let _signals = signals::Signals::take().unwrap();
                hang_in(group.as_fd());
                0
            });
            assert_eq!(status, 0);
            cgroups.remove(b"pads").unwrap();
            cgroups.close().unwrap();
        });
    }

    fn hang_in(group: BorrowedFd<'_>) {
        let freeze = |how: &[u8]| write_at(group, c"cgroup.freeze", how).unwrap();
        freeze(b"1");
        let (mut pads, rows) = (pads(), rows(PADS_MAX + 1));
        let hanging: Vec<i32> = (0..PADS_MAX)
            .map(|row| {
                let (pid, small) = start(&mut pads, &EXITS, rows, row, Some(group));
                assert!(small);
                pid
            })
            .collect();
        let (pid, small) = start(&mut pads, &EXITS, rows, PADS_MAX, None);
        assert_eq!((wait_for(pid), small), (7, false), "no pad is free: it is forked");
        assert!((1..PADS_LOOKS_MAX).all(|_| pads.trim()) && !pads.trim(), "looked for, and not for ever");
        // What dies before its exec dies alone, of what dumps core too, and its pad is free again.
        let (killed, quit, rest) = (hanging[0], hanging[1], &hanging[2..]);
        signals::send(killed, libc::SIGKILL).unwrap();
        assert_eq!(wait_for(killed), 128 + libc::SIGKILL);
        let (pid, small) = start(&mut pads, &EXITS, rows, 0, None);
        assert_eq!((wait_for(pid), small), (7, true));
        signals::send(quit, libc::SIGQUIT).unwrap();
        freeze(b"0");
        assert_eq!(wait_for(quit), 128 + libc::SIGQUIT);
        rest.iter().for_each(|&pid| assert_eq!(wait_for(pid), 7));
        assert!(!pads.trim() && pads.pads.iter().flatten().next().is_none(), "all are given back");
        let (pid, small) = start(&mut pads, &EXITS, rows, 1, None);
        assert_eq!((wait_for(pid), small), (7, true));
    }

    #[test]
    fn of_ten_thousand_none_is_lost_and_no_errno_is_ours() {
        const AT_ONCE: usize = 50;
        let (mut pads, rows) = (pads(), rows(AT_ONCE));
        let own = 77;
        // SAFETY: the errno of this thread.
        unsafe { *libc::__errno_location() = own };
        for _ in 0..10_000 / AT_ONCE {
            let commands: [&[&[u8]]; 2] = [&[b"true"], &[b"isinit-is-not-there"]];
            let each = commands.iter().cycle().take(AT_ONCE).enumerate();
            let pids: Vec<i32> =
                each.map(|(row, command)| start(&mut pads, command, rows, row, None).0).collect();
            for (row, pid) in pids.into_iter().enumerate() {
                let status = wait_for(pid);
                let fault = Fault::from_word(rows.1[row].load(Ordering::Acquire));
                let expected = Fault { step: Step::Exec, errno: Errno::NOENT };
                assert_eq!((status, fault), if row % 2 == 0 { (0, None) } else { (127, Some(expected)) });
            }
        }
        assert_eq!(super::super::raw::last_errno().raw_os_error(), own);
        assert!(pads.pads.len() <= AT_ONCE, "a pad is used again");
    }

    #[test]
    fn where_it_is_refused_or_not_safe_it_is_forked() {
        let status = in_child(|| {
            let (mut pads, rows) = (pads(), rows(1));
            let pad = pads.take(false).unwrap();
            EXITS.iter().for_each(|word| pad.argv.push(word).unwrap());
            let plain = Spawn { pad: Some(pad), ..Spawn::new(&pad.argv, &pad.env, &rows.0[0], &rows.1[0]) };
            let pid = spawn(&Spawn { dir: Some(c"/"), ..plain }).unwrap();
            assert_eq!(wait_for(pid.cast_signed()), 7, "from a pad too");
            pads.put_back(pad);
            refuse(&[libc::SYS_clone3]);
            let (pid, small) = start(&mut pads, &EXITS, rows, 0, None);
            assert_eq!((wait_for(pid), small), (7, true));
            let (pid, small) = start(&mut pads, &EXITS, rows, 0, None);
            assert_eq!((wait_for(pid), small), (7, false), "it is not asked for again");
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn a_stack_has_an_end() {
        let status = in_child(|| {
            let mut pads = pads();
            let place = pads.take(false).unwrap().place.unwrap();
            // SAFETY: the test is what comes of it.
            unsafe { place.stack.wrapping_sub(1).write_volatile(1) };
            0
        });
        assert_eq!(status, 128 + libc::SIGSEGV);
    }

    #[test]
    fn what_is_given_back_is_written_anew() {
        let (mut pads, rows) = (pads(), rows(1));
        for stamp in 1..4 {
            let pad = pads.take(false).unwrap();
            assert_eq!((pad.stamp, pad.argv.len(), pad.env.len()), (0, 0, 0));
            pad.stamp = stamp;
            pads.put_back(pad);
            assert_eq!(wait_for(start(&mut pads, &EXITS, rows, 0, None).0), 7);
            assert!(!pads.trim());
        }
    }

    #[test]
    fn a_kernels_version_is_two_numbers() {
        assert_eq!(version(b"5.16.0-rc1"), (5, 16));
        assert_eq!(version(b"6.18.44-fc-v509"), (6, 18));
        assert_eq!((version(b""), version(b"Linux"), version(b"4")), ((0, 0), (0, 0), (4, 0)));
        assert!(version(b"5.4.0") < SAFE_SINCE && version(b"10.0") > SAFE_SINCE);
    }
}
