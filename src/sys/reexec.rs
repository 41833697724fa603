//! Executing ourselves again, after a fault or into a newer program, with the memory and the descriptors that are to
//! survive it.
//!
//! A fault handler may rely on nothing: whatever has faulted may have left every structure of the program half changed.
//! So all that it needs is made beforehand ([`Reexec::arm`]): the program as an open descriptor (its file may have been
//! replaced, and there may be no /proc), the words of its command line, and a list of descriptors, which is in the
//! shared memory itself ([`FdStore`]). The handler notes the signal and the address there, lets these descriptors live
//! over an exec, and executes: a handful of system calls, on a stack of its own, for the one that it came from may be
//! the one that has overflowed.
//!
//! A fault in the handler comes to the handler again (SA_NODEFER). After the third there is nothing left to try: process
//! 1, which may not end, does from then on nothing but collect what ends; another dies of the signal, as it would have
//! without us. All other signals stay blocked, and pending: an exec keeps both.

#![allow(unsafe_code)]

use super::memory::{Shared, plain};
use super::process::{is_pid1, own_pid};
use super::raw::{Word, last_errno, syscall};
use super::signals::{mask, set_mask};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The variable that tells the next life the number of the memory's descriptor.
const VARIABLE: &str = "ISINIT_REEXEC";

/// What the program's own faults raise, and abort(3), by which a panic ends.
const FAULTS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// Faults in the handler until there is nothing left to try.
const TRIES: u32 = 3;

/// Bytes of the handler's stack: its own few frames, and what the kernel saves of the widest registers (11 KiB with
/// AMX). A page of it is there when it is touched.
const STACK_BYTES: usize = 64 * 1024;

/// A fault that has ended a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The signal.
    pub signal: i32,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a fault comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This address could not be used, or executed.
    Address(u64),
    /// This process has sent the signal; ourselves, by abort(3).
    Process(u32),
}

plain! {
    /// What the handler writes and reads.
    struct Note {
        address: AtomicU64,
        /// 0: no fault.
        signal: AtomicU32,
        /// The address is a process id.
        is_sent: AtomicU32,
        /// How many slots of the store were ever used.
        used: AtomicU32,
        unused: u32,
    }
}

/// Descriptors that outlive an exec of ourselves, each under a number of its owner's choice; they stand in the shared
/// memory. (systemd's descriptor store, FDSTORE=1 of sd_notify(3), is one for services.)
#[derive(Clone, Copy)]
pub struct FdStore {
    note: &'static Note,
    /// One more than the descriptor; 0 is none.
    slots: &'static [AtomicU32],
}

/// A descriptor in the store. Dropping it takes it out, and closes it.
pub struct Stored {
    fd: OwnedFd,
    slot: usize,
    store: FdStore,
}

impl FdStore {
    /// Bytes of shared memory that a store for so many descriptors takes.
    pub const fn bytes(slots: usize) -> usize {
        slots.saturating_mul(size_of::<AtomicU32>()).saturating_add(size_of::<Note>())
    }

    /// Cuts it from shared memory: `None` when that is not there.
    pub fn carve(shared: &mut Shared, slots: usize) -> Option<FdStore> {
        let note = shared.carve(1)?.first()?;
        Some(FdStore { note, slots: shared.carve(slots)? })
    }

    /// Keeps a descriptor under this number.
    pub fn keep(self, slot: usize, fd: OwnedFd) -> Stored {
        self.note(slot, Some(fd.as_fd()));
        Stored { fd, slot, store: self }
    }

    /// In the next life: the descriptor of this number, close-on-exec again. Once for each number.
    pub fn take(self, slot: usize) -> Option<Stored> {
        self.adopt(slot).map(|fd| Stored { fd, slot, store: self })
    }

    /// The same, for an owner that notes by itself what becomes of it.
    pub fn adopt(self, slot: usize) -> Option<OwnedFd> {
        let number = self.slots.get(slot)?.load(Ordering::Acquire).checked_sub(1)?;
        adopt_descriptor(c_int::try_from(number).ok()?)
    }

    /// Notes a descriptor that stays open until it is noted otherwise; `None`: there is none any more.
    pub fn note(self, slot: usize, fd: Option<BorrowedFd<'_>>) {
        let number = fd.map_or(0, |fd| fd.as_raw_fd().unsigned_abs().saturating_add(1));
        if let Some(place) = self.slots.get(slot) {
            place.store(number, Ordering::Release);
            let above = u32::try_from(slot).unwrap_or(u32::MAX).saturating_add(1);
            self.note.used.fetch_max(above, Ordering::AcqRel);
        }
    }

    /// The fault that has ended the life before, told once; `None` if it was none.
    pub fn fault(self) -> Option<Fault> {
        let signal = i32::try_from(self.note.signal.swap(0, Ordering::AcqRel)).ok()?;
        let address = self.note.address.load(Ordering::Acquire);
        let origin = match self.note.is_sent.load(Ordering::Acquire) {
            0 => Origin::Address(address),
            _ => Origin::Process(u32::try_from(address).unwrap_or(0)),
        };
        (signal != 0).then_some(Fault { signal, origin })
    }

    /// Closes what nobody has taken: that of an entry which the table has no more.
    pub fn close_rest(self) {
        let used = usize::try_from(self.note.used.load(Ordering::Acquire)).unwrap_or(0);
        (0..used).filter_map(|slot| self.take(slot)).for_each(drop);
    }

    fn descriptors(self) -> impl Iterator<Item = RawFd> {
        let used = usize::try_from(self.note.used.load(Ordering::Acquire)).unwrap_or(0);
        let numbers = self.slots.iter().take(used).map(|slot| slot.load(Ordering::Acquire));
        numbers.filter_map(|number| c_int::try_from(number.checked_sub(1)?).ok())
    }
}

impl AsFd for Stored {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.store.note(self.slot, None);
    }
}

/// A descriptor that an earlier life has left open, if it is one: close-on-exec from now on.
fn adopt_descriptor(number: RawFd) -> Option<OwnedFd> {
    // What was let live is not close-on-exec, and what was adopted is: two slots cannot have one descriptor.
    // SAFETY: F_GETFD takes no argument and changes nothing.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } != 0 {
        return None;
    }
    // SAFETY: it is open, its owner was the life before, which is gone, and nobody has adopted it yet.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// The memory that the life before has left, if we were executed by it. Asked once; afterwards the environment, which
/// children inherit, does not have the variable any more.
pub fn inherited() -> Option<OwnedFd> {
    let value = std::env::var_os(VARIABLE)?;
    // SAFETY: this is the program's beginning: no other thread reads the environment meanwhile.
    unsafe { std::env::remove_var(VARIABLE) };
    let fd = adopt_descriptor(value.to_str()?.parse().ok()?)?;
    // What is no memory of shmem has no seals: a descriptor that happens to have this number is not taken for it.
    rustix::fs::fcntl_get_seals(&fd).ok().map(|_| fd)
}

/// All that it takes to execute ourselves again. Made once, and there for as long as the process is.
pub struct Reexec {
    store: FdStore,
    memory: OwnedFd,
    /// Where our program is whatever has become of its file: /proc/self/exe, or a descriptor where that is not there.
    program: Program,
    path: CString,
    /// Terminated pointers into strings that are never freed, as execve(2) takes them.
    words: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// A forked child has the same handlers until it has executed, and is none of ours.
    pid: u32,
    entered: AtomicU32,
}

enum Program {
    At(&'static CStr),
    Open(OwnedFd),
}

static ARMED: AtomicPtr<Reexec> = AtomicPtr::new(ptr::null_mut());

impl Reexec {
    /// Prepares for being executed again with these words (argv, its first one included), the environment as it is, and
    /// this memory; from now on a fault of the program does it. `path` is where a newer program is looked for.
    ///
    /// # Errors
    /// Without a program to be opened that of open(2); EBADF when the memory is no memfd; what mmap(2), sigaltstack(2)
    /// and sigaction(2) say.
    pub fn arm(store: FdStore, memory: Option<OwnedFd>, words: &[&CStr]) -> Result<&'static Reexec, Errno> {
        let path = own_path(words);
        let own = c"/proc/self/exe";
        let program = match statat(CWD, own, AtFlags::empty()) {
            Ok(_) => Program::At(own),
            Err(_) => Program::Open(openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?),
        };
        Reexec::arm_with(store, memory, program, path, words)
    }

    fn arm_with(
        store: FdStore,
        memory: Option<OwnedFd>,
        program: Program,
        path: CString,
        words: &[&CStr],
    ) -> Result<&'static Reexec, Errno> {
        let memory = memory.ok_or(Errno::BADF)?;
        let variable = OsString::from(format!("{VARIABLE}={}", memory.as_raw_fd()));
        let pairs = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        let reexec = Box::new(Reexec {
            store,
            memory,
            program,
            path,
            words: pointers(words.iter().map(|word| (*word).to_owned())),
            environment: pointers(
                pairs.chain([variable]).filter_map(|pair| CString::new(pair.into_vec()).ok()),
            ),
            pid: own_pid(),
            entered: AtomicU32::new(0),
        });
        use_own_stack()?;
        let reexec = Box::leak(reexec);
        ARMED.store(reexec, Ordering::Release);
        reexec.handle_faults();
        Ok(reexec)
    }

    /// Has our handler called for all faults (sigaction(2)): again, where all dispositions were set back. A panic ends in
    /// one of them, and says before where it was.
    pub fn handle_faults(&self) {
        super::output::say_panics();
        // The C library's sigaction(3) blocks all signals while it sets that of SIGABRT, and does not look whether it
        // could: what it sets back then is whatever was on its stack, and nobody would hear of a child's end any more.
        let blocked = mask();
        FAULTS.into_iter().for_each(handle);
        let _ = blocked.and_then(set_mask);
    }

    /// Where our program was when it was executed: where a newer one is now, after an upgrade.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// Executes the program at [`Reexec::path`], with memory, descriptors and words. Does not return, but with what
    /// execve(2) says; then nothing has changed.
    pub fn upgrade(&self) -> Errno {
        self.let_live(true);
        // SAFETY: a terminated string, and lists of such with null at their end.
        unsafe { libc::execve(self.path.as_ptr(), self.words.as_ptr(), self.environment.as_ptr()) };
        let errno = last_errno();
        self.let_live(false);
        errno
    }

    /// Executes the program that we are. Async-signal-safe; returns if it cannot be done.
    pub fn again(&self) {
        self.let_live(true);
        let (words, environment) = (self.words.as_ptr() as Word, self.environment.as_ptr() as Word);
        let arguments = match &self.program {
            Program::At(path) => [libc::AT_FDCWD.into(), path.as_ptr() as Word, words, environment, 0, 0],
            Program::Open(fd) => {
                let (fd, flags) = (Word::from(fd.as_raw_fd()), Word::from(libc::AT_EMPTY_PATH));
                [fd, c"".as_ptr() as Word, words, environment, flags, 0]
            }
        };
        // SAFETY: a path, or an empty one and a descriptor of ours, and lists as in `upgrade`: execveat(2).
        let _ = unsafe { syscall(libc::SYS_execveat, arguments) };
        // Without execveat (before 3.19): what is at its place now.
        // SAFETY: as in `upgrade`.
        unsafe { libc::execve(self.path.as_ptr(), self.words.as_ptr(), self.environment.as_ptr()) };
        self.let_live(false);
    }

    /// Lets an exec keep what is to survive, or close it as usual. Async-signal-safe.
    fn let_live(&self, lives: bool) {
        let flags = if lives { 0 } else { libc::FD_CLOEXEC };
        for fd in self.store.descriptors().chain([self.memory.as_raw_fd()]) {
            // SAFETY: F_SETFD takes an integer; a number that is no descriptor is an error, and none of ours.
            unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
        }
    }

    /// The memory, in which there may be more behind what is mapped.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// The name of the file that we are executed from: without /proc what the command line calls it.
fn own_path(words: &[&CStr]) -> CString {
    let called = words.first().map_or(c"/sbin/init", |word| *word);
    let Ok(linked) = readlinkat(CWD, c"/proc/self/exe", Vec::new()) else { return called.to_owned() };
    // A file that was replaced meanwhile is seen with this behind its name.
    let path = linked.to_bytes().strip_suffix(b" (deleted)").unwrap_or(linked.to_bytes());
    CString::new(path).unwrap_or(linked)
}

/// What execve(2) takes: pointers to strings, which stay for ever, and null.
fn pointers(words: impl Iterator<Item = CString>) -> Vec<*const c_char> {
    words.map(|word| word.into_raw().cast_const()).chain([ptr::null()]).collect()
}

/// Gives fault handlers a stack of their own (sigaltstack(2)).
fn use_own_stack() -> Result<(), Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses, never unmapped.
    let place = unsafe { mmap_anonymous(ptr::null_mut(), STACK_BYTES, access, MapFlags::PRIVATE) }?;
    let stack = libc::stack_t { ss_sp: place, ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the mapping is of this size, and nobody else's.
    match unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

fn handle(signal: c_int) {
    // SAFETY: integers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_fault as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // It cannot fail: the signals are there, and none of the two that cannot be handled.
    // SAFETY: a handler with the three arguments of SA_SIGINFO, which keeps to what a handler may do.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: what is armed is never freed.
    let Some(reexec) = (unsafe { ARMED.load(Ordering::Acquire).as_ref() }) else { return die(signal) };
    if own_pid() != reexec.pid || reexec.entered.fetch_add(1, Ordering::AcqRel) >= TRIES {
        return die(signal);
    }
    let note = reexec.store.note;
    // SAFETY: the kernel gives a handler of SA_SIGINFO a siginfo, of which a signal that was sent fills in the
    // sender, and a fault the address.
    let (is_sent, address) = unsafe {
        let is_sent = (*info).si_code <= 0;
        (is_sent, if is_sent { u64::from((*info).si_pid().unsigned_abs()) } else { (*info).si_addr() as u64 })
    };
    note.address.store(address, Ordering::Release);
    note.is_sent.store(u32::from(is_sent), Ordering::Release);
    note.signal.store(signal.unsigned_abs(), Ordering::Release);
    reexec.again();
    die(signal)
}

/// Nothing is left to try. Async-signal-safe.
fn die(signal: c_int) {
    if is_pid1() {
        // Its end would be the machine's. What it has started goes on, and nobody stays a zombie.
        let child_ended = 1_u64.wrapping_shl(libc::SIGCHLD.unsigned_abs().wrapping_sub(1));
        loop {
            // SAFETY: asks for no status.
            while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {}
            let arguments = [(&raw const child_ended) as Word, 0, 0, 8, 0, 0];
            // SAFETY: the kernel reads an eight byte mask, and writes nothing: it waits until the blocked signal comes.
            let _ = unsafe { syscall(libc::SYS_rt_sigtimedwait, arguments) };
        }
    }
    // SAFETY: the default disposition installs no code; the signal comes again when the handler returns, or now.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::in_child;
    use std::os::fd::IntoRawFd;

    /// What the next life runs: it finds the memory behind the variable, and what was kept under number 3; not what was
    /// not kept. Its status is 40 and how many of the three are as they should be.
    const NEXT_LIFE: &CStr = c"
        ok=40
        [ \"$(readlink /proc/$$/fd/$ISINIT_REEXEC)\" = '/memfd:test (deleted)' ] && ok=$((ok + 1))
        read line <&$KEPT && [ \"$line\" = kept ] && ok=$((ok + 1))
        [ ! -e /proc/$$/fd/$CLOSED ] && ok=$((ok + 1))
        exit $ok";

    fn carved() -> (FdStore, Option<OwnedFd>) {
        let mut shared = Shared::create(c"test", 4096).unwrap();
        (FdStore::carve(&mut shared, 8).unwrap(), shared.into_fd())
    }

    /// Dies by `fault` in a child that is armed; how it ended, seen from outside.
    fn survives(fault: impl FnOnce()) {
        let status = in_child(|| {
            let (store, memory) = carved();
            let (read, write) = crate::sys::pipe::pair().unwrap();
            rustix::io::write(&write, b"kept\n").unwrap();
            // SAFETY: a forked child with one thread.
            unsafe {
                std::env::set_var("KEPT", read.as_raw_fd().to_string());
                std::env::set_var("CLOSED", write.as_raw_fd().to_string());
            }
            std::mem::forget(store.keep(3, read));
            let _ = write.into_raw_fd();
            let shell = openat(CWD, c"/bin/sh", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let words = [c"sh", c"-c", NEXT_LIFE];
            Reexec::arm_with(store, memory, Program::Open(shell), c"/no/such/program".to_owned(), &words)
                .unwrap();
            fault();
            1
        });
        assert_eq!(status, 43);
    }

    /// A page that may not be touched, and one behind the end of its file.
    fn touch(flags: MapFlags, access: ProtFlags) {
        let file = rustix::fs::memfd_create(c"empty", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        // SAFETY: a new mapping; the test is what comes of touching it.
        unsafe {
            let page = rustix::mm::mmap(ptr::null_mut(), 4096, access, flags, &file, 0).unwrap();
            page.cast::<u8>().write_volatile(1);
        }
    }

    #[inline(never)]
    fn overflow(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 512]);
        if depth == u64::MAX { 0 } else { overflow(depth + 1) + frame[0] }
    }

    #[test]
    fn a_wild_pointer_is_survived() {
        survives(|| touch(MapFlags::SHARED, ProtFlags::READ));
    }

    #[test]
    fn a_page_that_is_not_there_is_survived() {
        survives(|| touch(MapFlags::SHARED, ProtFlags::READ | ProtFlags::WRITE));
    }

    #[test]
    fn an_overflowing_stack_is_survived() {
        survives(|| assert_ne!(overflow(0), 0));
    }

    #[test]
    fn an_abort_is_survived_and_so_is_each_signal_of_a_fault() {
        survives(|| std::process::abort());
        for signal in FAULTS {
            survives(|| {
                // SAFETY: to ourselves.
                unsafe { libc::raise(signal) };
            });
        }
    }

    #[test]
    fn a_fault_in_the_handler_is_survived_and_the_third_ends_it() {
        let by_handler = |entered| {
            // SAFETY: what is armed is never freed.
            let reexec = unsafe { ARMED.load(Ordering::Acquire).as_ref() }.unwrap();
            reexec.entered.store(entered, Ordering::Release);
        };
        survives(|| {
            by_handler(TRIES - 1);
            std::process::abort()
        });
        let ended = in_child(|| {
            let pid = crate::sys::detach::fork().unwrap();
            if pid == 0 {
                let (store, memory) = carved();
                let shell = openat(CWD, c"/bin/sh", OFlags::PATH, Mode::empty()).unwrap();
                Reexec::arm_with(store, memory, Program::Open(shell), c"/bin/sh".to_owned(), &[c"sh"])
                    .unwrap();
                by_handler(TRIES);
                std::process::abort()
            }
            let mut status = 0;
            // SAFETY: our child, and a place for its status.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            i32::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT))
        });
        assert_eq!(ended, 0);
    }

    #[test]
    fn a_forked_child_that_faults_is_no_second_daemon() {
        let status = in_child(|| {
            let (store, memory) = carved();
            let shell = openat(CWD, c"/bin/sh", OFlags::PATH, Mode::empty()).unwrap();
            let words = [c"sh", c"-c", c"exit 9"];
            Reexec::arm_with(store, memory, Program::Open(shell), c"/bin/sh".to_owned(), &words).unwrap();
            let pid = crate::sys::detach::fork().unwrap();
            if pid == 0 {
                std::process::abort()
            }
            let mut status = 0;
            // SAFETY: our child, and a place for its status.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            i32::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT))
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn the_fault_is_told_with_its_address_or_its_sender() {
        let status = in_child(|| {
            let (store, memory) = carved();
            let memory_again = memory.as_ref().unwrap().try_clone().unwrap();
            let pid = crate::sys::detach::fork().unwrap();
            if pid == 0 {
                let nothing = openat(CWD, c"/dev/null", OFlags::PATH, Mode::empty()).unwrap();
                Reexec::arm_with(store, memory, Program::Open(nothing), c"/dev/null".to_owned(), &[c"x"])
                    .unwrap();
                // SAFETY: the test is what comes of it.
                unsafe { ptr::without_provenance_mut::<u8>(0x1238).write_volatile(1) };
            }
            // SAFETY: our child.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            let mut shared = Shared::adopt(memory_again, 4096).unwrap();
            let store = FdStore::carve(&mut shared, 8).unwrap();
            // The program could not be executed: it died of the signal that it had noted.
            let told = store.fault();
            let expected = Fault { signal: libc::SIGSEGV, origin: Origin::Address(0x1238) };
            i32::from(!(told == Some(expected) && store.fault().is_none()))
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn two_places_never_have_one_descriptor() {
        let status = in_child(|| {
            let (store, _memory) = carved();
            let (read, _write) = crate::sys::pipe::pair().unwrap();
            store.note(1, Some(read.as_fd()));
            store.note(2, Some(read.as_fd()));
            assert!(store.take(1).is_none(), "it has an owner in this life");
            fcntl_setfd(&read, FdFlags::empty()).unwrap();
            std::mem::forget(read);
            let first = store.take(1);
            assert!(first.is_some() && store.take(2).is_none() && store.take(7).is_none());
            store.note(4, Some(rustix::stdio::stderr()));
            assert!(store.take(4).is_none(), "nobody owns that");
            drop(first);
            assert!(store.take(1).is_none());
            0
        });
        assert_eq!(status, 0);
    }
}
