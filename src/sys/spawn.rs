//! Starting a process.
//!
//! # Neither fork nor vfork
//! A vfork'd parent stands still until its child has executed. An exec waits for the disk, or for a network file
//! system whose server is gone; an init that waits with it supervises nothing. A forked child copies the page tables of
//! its parent, both then fault at every page that they write, and the copy is thrown away by the exec: half of what a
//! start costs. So a child runs, where that can be, in our memory (CLONE_VM) and we go on at once (no CLONE_VFORK): on a
//! pad ([`super::pads`]), which is a stack and the words of the start, and is the child's until the kernel says that it
//! has left (CLONE_CHILD_CLEARTID). With no pad free, as when execs hang, it is forked. Nothing waits for anything.
//!
//! # What may not share our memory
//! - What changes its user: who becomes another is looked at as that other by the kernel, our memory with him.
//! - What has limits of its own: the kernel that kills a process for want of memory kills all that share its memory, but
//!   for the machine's process 1; and a score for that is written for all who share. Who is frugal with the processor may
//!   hold a lock of the memory while he rests.
//! - What may take days before the exec (a question, a terminal), or needs more than words and descriptors.
//! - Anything before Linux 5.16: a child that dumped core took all with it that shared its memory (0258b5fd7c71 is the
//!   change), and so did one that was sent SIGQUIT before its exec.
//! - Anything where the kernel, or a filter, does not let us: found out once, and remembered.
//!
//! It has descriptors, dispositions (CLONE_CLEAR_SIGHAND), mask and directory of its own, so that only the memory is in
//! question. It may read its pad and write there, and write `pid` and `fault` below; the table may be read anew meanwhile.
//! It makes its system calls without the C library, whose errno is that of our thread: `sys::raw` does, rustix does,
//! and no descriptor is dropped, which would be the C library's close(3). What kills or stops it (SIGKILL, SIGSTOP, its
//! cgroup's) does so to it alone; stopped, it has its pad until it goes on. If we fault and execute ourselves again, or
//! upgrade, our old memory stays with it until it has executed, its rows are the same shared ones as ours, and the next
//! life has new pads.
//!
//! # How the child reports
//! Two words in memory that parent and child share ([`super::memory`]). `pid` is written by the kernel before the child
//! runs its first instruction (CLONE_PARENT_SETTID): no crash of the parent can leave a child of which nothing is
//! known. `fault` is written by the child when a step fails, before it ends with status 127: the parent reads it
//! when it reaps. A status of 127 with `fault` zero is the program's own.
//!
//! # What runs between clone and exec
//! `child` and what it calls, and only system calls: no allocation, no lock, no panic, nothing static that is written.
//! Its order is not free:
//!
//! 1. a new session, before the terminal, which is taken by a session leader that has none;
//! 2. descriptors, before the limit on their number;
//! 3. oom score, nice value, limits: while we may still raise them;
//! 4. groups, then gid, then uid: each needs the privilege that the next may take away;
//! 5. umask and directory as that user, for a directory on NFS may be closed to root;
//! 6. the signal mask: a signal that was sent to the child's group meanwhile kills it here and
//!    not in the middle of a step. Dispositions are default already: ours are, and the kernel resets them for
//!    the child (CLONE_CLEAR_SIGHAND) in case a fault handler is ours by then;
//! 7. the question last, as its answer may take days: who is asked can be stopped like any other process.

#![allow(unsafe_code)]

use super::files::{c_path, write_at};
use super::pads::{Pad, START_BYTES};
use super::process::USUAL_PATH;
use super::raw::{Word, exit_now, syscall};
use super::signals::Mask;
use super::user::Credentials;
use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::convert::Infallible;
use std::ffi::{CStr, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Status of a child of which a step failed before its program ran; `fault` says which.
pub const FAULT_STATUS: i32 = 127;

/// Bytes of a path that is tried for a command, its NUL included (PATH_MAX).
const PATH_MAX_BYTES: usize = 4_096;

/// Descriptors that are looked at one by one on a kernel without CLOSE_RANGE_CLOEXEC (before 5.11). All of
/// the daemon's own are close-on-exec from the start and low; this is for what was inherited.
const DESCRIPTORS_MAX: i32 = 65_536;

/// What a child reads.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// /dev/null; where that does not exist, a pipe at its end, which reads the same.
    Null,
    /// Ours.
    Inherit,
    /// This descriptor.
    From(BorrowedFd<'a>),
}

/// Where a child stands among sessions and process groups (credentials(7)).
#[derive(Clone, Copy, Debug)]
pub enum Standing<'a> {
    /// It leads a session of its own.
    Session,
    /// It leads a process group of its own.
    Group,
    /// It leads a process group of its own, which it makes the foreground one of our controlling terminal.
    Foreground(BorrowedFd<'a>),
    /// It is in our process group.
    Ours,
}

/// A process to start. Everything is borrowed: it can be put together for each start without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Spawn<'a> {
    /// The program and its arguments; at least one word. A program without a slash in its name is looked for.
    pub argv: &'a Words,
    /// Its environment, `NAME=VALUE`. Its `PATH` has the directories in which the program is looked for.
    pub env: &'a Words,
    /// The pad on which both stand, if it may share our memory until it has executed.
    pub pad: Option<&'a Pad>,
    /// Which word of the environment is to be `LISTEN_PID` with its own process id (sd_listen_fds(3)).
    pub listen_pid: Option<usize>,
    /// Its session and process group.
    pub standing: Standing<'a>,
    /// The signals that are blocked in it.
    pub mask: Mask,
    /// The signal that it gets when we end (PR_SET_PDEATHSIG(2const)).
    pub parent_death: Option<i32>,
    /// It has all of our descriptors that are not close-on-exec, and not the standard ones and `extra` alone.
    pub inherits: bool,
    /// Descriptor 0. Not looked at when there is a `tty`.
    pub stdin: Input<'a>,
    /// Descriptor 1; ours when `None`.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Descriptor 2; ours when `None`.
    pub stderr: Option<BorrowedFd<'a>>,
    /// One more descriptor, and the number that it has in the child.
    pub extra: Option<(BorrowedFd<'a>, i32)>,
    /// The controlling terminal. It becomes descriptors 0, 1 and 2; `stdout` and `stderr` still win over it.
    pub tty: Option<&'a CStr>,
    /// The working directory; ours when `None`.
    pub dir: Option<&'a CStr>,
    /// The file mode creation mask; ours when `None`.
    pub umask: Option<u32>,
    /// The nice value, -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// /proc/self/oom_score_adj, -1000 to 1000 (proc_pid_oom_score_adj(5)).
    pub oom: Option<i32>,
    /// Resource limits: the kernel's number of the resource, and the value for the soft and the hard limit;
    /// `u64::MAX` is no limit (prlimit(2)).
    pub rlimits: &'a [(u32, u64)],
    /// User and groups; ours when `None`.
    pub credentials: Option<&'a Credentials>,
    /// The directory of a cgroup (v2) in which the child starts.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Written to descriptor 1; then a line is waited for on descriptor 0 before the program is executed.
    pub ask: Option<&'a [u8]>,
    /// A login shell: argv\[0\] as the program sees it begins with `-`.
    pub login: bool,
    /// Where the kernel writes the child's process id. In shared memory.
    pub pid: &'a AtomicU32,
    /// Where the child writes what failed; see [`Fault::from_word`]. In shared memory, which is never unmapped.
    pub fault: &'a AtomicU64,
}

impl<'a> Spawn<'a> {
    /// A process with nothing but its words and its environment: all else is ours, or the system's usual.
    pub fn new(argv: &'a Words, env: &'a Words, pid: &'a AtomicU32, fault: &'a AtomicU64) -> Spawn<'a> {
        Spawn {
            argv,
            env,
            pad: None,
            listen_pid: None,
            standing: Standing::Session,
            mask: Mask::EMPTY,
            parent_death: None,
            inherits: false,
            stdin: Input::Null,
            stdout: None,
            stderr: None,
            extra: None,
            tty: None,
            dir: None,
            umask: None,
            nice: None,
            oom: None,
            rlimits: &[],
            credentials: None,
            cgroup: None,
            ask: None,
            login: false,
            pid,
            fault,
        }
    }
}

/// Starts a process and returns its process id; does not wait for the exec. If nothing else is asked for, it is the
/// leader of a new session and process group, with an empty signal mask and our dispositions, and no descriptor above 2
/// but `extra`. All signals have to be blocked in the caller ([`Signals::take`](super::signals::Signals::take)).
///
/// ```standalone_crate
/// use isinit::sys::memory::Shared;
/// use isinit::sys::reap::{self, Exit};
/// use isinit::sys::signals::Signals;
/// use isinit::sys::spawn::{Spawn, Words, spawn};
/// use std::sync::atomic::{AtomicU32, AtomicU64};
/// let signals = Signals::take().unwrap();
/// let mut shared = Shared::create(c"example", 4096).unwrap();
/// let fault = &shared.carve::<AtomicU64>(1).unwrap()[0];
/// let pid = &shared.carve::<AtomicU32>(1).unwrap()[0];
/// let (mut argv, mut env) = (Words::new(4096, 16), Words::new(4096, 16));
/// argv.push(b"true").unwrap();
/// env.push_pair(b"PATH", b"/bin:/usr/bin").unwrap();
/// let child = spawn(&Spawn::new(&argv, &env, pid, fault)).unwrap();
/// let ended = loop {
///     if let Some(ended) = reap::peek().unwrap() { break ended }
/// };
/// assert_eq!((ended.pid, ended.how), (child, Exit::Code(0)));
/// ```
///
/// # Errors
/// What clone3(2) says when there is no child: EAGAIN, ENOMEM, and with a cgroup also EACCES, EBUSY, ENODEV,
/// EOPNOTSUPP. What fails later is in `fault`.
pub fn spawn(spawn: &Spawn<'_>) -> Result<u32, Errno> {
    spawn.pid.store(0, Ordering::Relaxed);
    spawn.fault.store(0, Ordering::Release);
    if let Some(pad) = spawn.pad {
        match share(spawn, pad) {
            Err(errno) if is_refusal(errno) => pad.let_fork()?,
            result => return result,
        }
    }
    let (pid, joined) = fork(spawn)?;
    if pid == 0 {
        become_program(spawn, joined);
    }
    Ok(pid)
}

/// Sharing our memory was refused to us by the kernel, or a filter: it need not be asked again.
static SHARING_REFUSED: AtomicBool = AtomicBool::new(false);

pub(super) fn sharing_is_refused() -> bool {
    SHARING_REFUSED.load(Ordering::Relaxed)
}

/// What clone3 answers that is not there (before 5.3), or not all of it (before 5.7), or is kept from us by a filter.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::INVAL | Errno::TOOBIG | Errno::PERM)
}

/// Whether all that the child reads stands on the pad, is a number, or is there for ever. See the essay for the rest.
fn can_share(spawn: &Spawn<'_>, pad: &Pad) -> bool {
    let Spawn { tty, dir, oom, rlimits, credentials, ask, .. } = spawn;
    let own_words = ptr::eq(spawn.argv, &raw const pad.argv) && ptr::eq(spawn.env, &raw const pad.env);
    let more = tty.is_some() || dir.is_some() || oom.is_some() || credentials.is_some() || ask.is_some();
    own_words && !more && rlimits.is_empty()
}

/// Starts a child on a pad. What is a refusal leaves it to be forked.
fn share(spawn: &Spawn<'_>, pad: &Pad) -> Result<u32, Errno> {
    if !pad.is_small() || !can_share(spawn, pad) {
        return Err(Errno::NOSYS);
    }
    const { assert!(size_of::<Spawn<'_>>() <= START_BYTES && align_of::<Spawn<'_>>() <= START_BYTES) };
    let (flags, cgroup) = clone_flags(spawn);
    pad.start(|stack, stack_size, left| {
        let start = stack.wrapping_add(stack_size).cast::<Spawn<'_>>();
        // SAFETY: the pad is free, and has so many bytes above its stack, aligned.
        unsafe { start.write(*spawn) };
        let arguments = CloneArgs {
            flags: flags | CLONE_VM | CLONE_CHILD_CLEARTID,
            child_tid: left.as_ptr() as u64,
            stack: stack as u64,
            stack_size: stack_size as u64,
            ..CloneArgs::new(spawn.pid, cgroup)
        };
        // SAFETY: the child has a stack of its own, and `begin` reads what was just written at its end. What that borrows
        // is there until the child has left: see `can_share`.
        let result = unsafe { clone_shared(&arguments, begin, start) };
        SHARING_REFUSED.store(result.is_err_and(is_refusal), Ordering::Relaxed);
        result
    })
}

/// What a child on a pad runs.
extern "C" fn begin(start: *const Spawn<'_>) -> ! {
    // SAFETY: `share` has written it there, and nobody writes it again before this process has left.
    become_program(unsafe { &*start }, true)
}

fn become_program(spawn: &Spawn<'_>, joined: bool) -> ! {
    let Err(fault) = child(spawn, joined);
    spawn.fault.store(fault.to_word(), Ordering::Release);
    exit_now(FAULT_STATUS)
}

/// A step on the way to the program, in which a child can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Entering its cgroup.
    Cgroup = 1,
    /// A session of its own (setsid(2)).
    Session,
    /// Its controlling terminal. ENOENT, ENXIO and ENODEV: there is no such device.
    Tty,
    /// Descriptor 0.
    Stdin,
    /// Descriptor 1 or 2.
    Stdout,
    /// The additional descriptor, that for readiness.
    Ready,
    /// A resource limit.
    Rlimit,
    /// The OOM score.
    Oom,
    /// The nice value.
    Nice,
    /// Supplementary groups.
    Groups,
    /// The group.
    Gid,
    /// The user.
    Uid,
    /// The file mode creation mask.
    Umask,
    /// The working directory.
    Dir,
    /// The signal mask.
    Mask,
    /// Executing the program, or finding it.
    Exec,
    /// Limiting its cgroup.
    Limit,
}

impl Step {
    const ALL: [Step; 17] = [
        Step::Cgroup,
        Step::Session,
        Step::Tty,
        Step::Stdin,
        Step::Stdout,
        Step::Ready,
        Step::Rlimit,
        Step::Oom,
        Step::Nice,
        Step::Groups,
        Step::Gid,
        Step::Uid,
        Step::Umask,
        Step::Dir,
        Step::Mask,
        Step::Exec,
        Step::Limit,
    ];

    /// One word for machines, as `exec`.
    pub fn name(self) -> &'static str {
        self.both().0
    }

    /// What could not be done, to go after "cannot", as `execute the program`.
    pub fn words(self) -> &'static str {
        self.both().1
    }

    /// What a person may do about it, to go behind the words of the errno; nothing where they say it all.
    ///
    /// ```
    /// use isinit::sys::{Errno, spawn::Step};
    /// assert!(Step::Exec.advice(Errno::ACCESS).contains("chmod +x"));
    /// assert_eq!(Step::Nice.advice(Errno::ACCESS), "");
    /// ```
    pub fn advice(self, errno: Errno) -> &'static str {
        match (self, errno) {
            (Step::Exec, Errno::NOENT) => {
                " (install it, or write the path where it is; a script needs its interpreter, too)"
            }
            (Step::Exec, Errno::ACCESS) => " (chmod +x it, and see that its user can reach it)",
            (Step::Groups | Step::Gid | Step::Uid, Errno::PERM) => " (only root starts processes of others)",
            (_, _) => "",
        }
    }

    /// Makes a fault of the errno with which this step failed.
    fn failed(self) -> impl Fn(Errno) -> Fault {
        move |errno| Fault { step: self, errno }
    }

    fn both(self) -> (&'static str, &'static str) {
        match self {
            Step::Cgroup => ("cgroup", "enter its cgroup"),
            Step::Session => ("session", "make a session"),
            Step::Tty => ("tty", "open its terminal"),
            Step::Stdin => ("stdin", "set up its standard input"),
            Step::Stdout => ("stdout", "set up its standard output"),
            Step::Ready => ("ready", "set up its readiness descriptor"),
            Step::Rlimit => ("rlimit", "set a resource limit"),
            Step::Oom => ("oom", "set its OOM score"),
            Step::Nice => ("nice", "set its nice value"),
            Step::Groups => ("groups", "set its supplementary groups"),
            Step::Gid => ("gid", "change to its group"),
            Step::Uid => ("uid", "change to its user"),
            Step::Umask => ("umask", "set its umask"),
            Step::Dir => ("dir", "change to its directory"),
            Step::Mask => ("mask", "unblock signals"),
            Step::Exec => ("exec", "execute the program"),
            Step::Limit => ("limit", "limit its cgroup"),
        }
    }
}

/// Why a child never became its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The step that failed.
    pub step: Step,
    /// How it failed.
    pub errno: Errno,
}

impl Fault {
    /// Reads the word that the child wrote: the step in the upper half, the errno in the lower. `None` for 0
    /// (nothing failed), and for what no child of ours writes.
    ///
    /// ```
    /// use isinit::sys::spawn::{Fault, Step};
    /// let fault = Fault::from_word((Step::Exec as u64) << 32 | 2).unwrap();
    /// assert_eq!((fault.step.name(), fault.errno.raw_os_error()), ("exec", 2));
    /// assert_eq!(Fault::from_word(0), None);
    /// ```
    pub fn from_word(word: u64) -> Option<Fault> {
        let step = Step::ALL.into_iter().find(|&step| u64::from(step as u32) == word >> 32)?;
        let errno = i32::try_from(word & 0xffff_ffff).ok().filter(|errno| (1..4_096).contains(errno))?;
        Some(Fault { step, errno: Errno::from_raw_os_error(errno) })
    }

    /// The inverse of [`Fault::from_word`].
    pub fn to_word(self) -> u64 {
        u64::from(self.step as u32) << 32 | u64::from(self.errno.raw_os_error().unsigned_abs())
    }
}

/// There is no room for another word, or it holds a NUL byte, which no word can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A place in a list of words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    words: usize,
    bytes: usize,
}

/// A list of C strings for execve(2), arguments or environment, in memory that is taken once.
///
/// ```
/// use isinit::sys::spawn::{Full, Words};
/// let mut env = Words::new(64, 2);
/// env.push_pair(b"RUNLEVEL", b"run").unwrap();
/// env.push_number_pair(b"LISTEN_PID", 42).unwrap();
/// assert_eq!(env.push(b"ONE=more"), Err(Full));
/// assert_eq!(env.iter().collect::<Vec<_>>(), [&b"RUNLEVEL=run"[..], b"LISTEN_PID=42"]);
/// ```
#[derive(Debug)]
pub struct Words {
    /// Terminated strings, each with a `-` before it: the one of argv\[0\] is used for a login shell.
    bytes: &'static mut [u8],
    bytes_used: usize,
    /// A place to put something in front, pointers into `bytes`, then null. Atomic so that the child, which has the list by
    /// shared reference, may change it: turn argv\[0\] into that of a login shell, or give a script that does not say what
    /// runs it to the shell. It has a copy, or a pad of its own, whose words are written anew for the next start.
    pointers: &'static mut [AtomicPtr<c_char>],
    words: usize,
    /// Both are boxes.
    owned: bool,
}

impl Words {
    /// A list with room for `words` words of `bytes` bytes together, two more for each word.
    pub fn new(bytes: usize, words: usize) -> Words {
        let pointers = Box::leak(vec![0_usize; words.saturating_add(2)].into_boxed_slice());
        // SAFETY: a pointer has the size, the alignment and, while it is null, the bytes of such a number.
        let pointers = unsafe { &mut *(ptr::from_mut(pointers) as *mut [AtomicPtr<c_char>]) };
        let bytes = Box::leak(vec![0; bytes].into_boxed_slice());
        Words { bytes, bytes_used: 0, pointers, words: 0, owned: true }
    }

    /// A list in memory that is zero; there is place for two pointers less than there are.
    pub(super) fn within(bytes: &'static mut [u8], pointers: &'static mut [AtomicPtr<c_char>]) -> Words {
        Words { bytes, bytes_used: 0, pointers, words: 0, owned: false }
    }

    /// Forgets all words, and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(Mark::default());
    }

    /// Where the list ends now.
    pub fn mark(&self) -> Mark {
        Mark { words: self.words, bytes: self.bytes_used }
    }

    /// Forgets all words behind a mark, of this list or of one that has begun with the same words.
    pub fn truncate(&mut self, mark: Mark) {
        self.bytes_used = mark.bytes.min(self.bytes_used);
        self.words = mark.words.min(self.words);
        self.set_pointer(self.words.saturating_add(1), ptr::null_mut());
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The words in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let used = self.bytes.get(..self.bytes_used).unwrap_or_default();
        let strings = used.split_inclusive(|&byte| byte == 0);
        strings.map(|word| word.get(1..word.len().saturating_sub(1)).unwrap_or_default())
    }

    /// What follows after these first bytes of a word.
    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find_map(|word| word.strip_prefix(name))
    }

    /// Appends a word.
    ///
    /// # Errors
    /// [`Full`]; the list is then as it was.
    pub fn push(&mut self, word: &[u8]) -> Result<(), Full> {
        self.push_parts(&[word])
    }

    /// Appends `NAME=VALUE`.
    ///
    /// # Errors
    /// As [`Words::push`].
    pub fn push_pair(&mut self, name: &[u8], value: &[u8]) -> Result<(), Full> {
        self.push_parts(&[name, b"=", value])
    }

    /// Appends `NAME=VALUE` with a decimal number.
    ///
    /// # Errors
    /// As [`Words::push`].
    pub fn push_number_pair(&mut self, name: &[u8], value: u64) -> Result<(), Full> {
        self.push_parts(&[name, b"=", itoa::Buffer::new().format(value).as_bytes()])
    }

    fn push_parts(&mut self, parts: &[&[u8]]) -> Result<(), Full> {
        let length = parts.iter().fold(2_usize, |sum, part| sum.saturating_add(part.len()));
        let end = self.bytes_used.saturating_add(length);
        let last = self.words.saturating_add(2);
        let room =
            self.bytes.get_mut(self.bytes_used..end).filter(|_| last < self.pointers.len()).ok_or(Full)?;
        if parts.iter().any(|part| part.contains(&0)) {
            return Err(Full);
        }
        let word = room.as_mut_ptr().wrapping_add(1);
        let text = parts.iter().flat_map(|part| part.iter());
        room.iter_mut().zip(b"-".iter().chain(text).chain(b"\0")).for_each(|(place, byte)| *place = *byte);
        self.set_pointer(last.saturating_sub(1), word.cast());
        self.set_pointer(last, ptr::null_mut());
        (self.words, self.bytes_used) = (self.words.saturating_add(1), end);
        Ok(())
    }

    fn set_pointer(&self, place: usize, pointer: *mut c_char) {
        if let Some(place) = self.pointers.get(place) {
            place.store(pointer, Ordering::Relaxed);
        }
    }

    /// The first word, which is the program.
    fn program(&self) -> Result<&CStr, Errno> {
        let word = self.bytes.get(1..).filter(|_| self.words > 0).ok_or(Errno::NOENT)?;
        CStr::from_bytes_until_nul(word).map_err(|_| Errno::NOENT)
    }

    /// Puts the `-` before argv\[0\]. In the child.
    fn make_login(&self) {
        self.set(0, self.bytes.as_ptr().cast());
    }

    /// Puts another string in the place of a word. In the child.
    fn set(&self, number: usize, string: *const c_char) {
        if number < self.words {
            self.set_pointer(number.saturating_add(1), string.cast_mut());
        }
    }

    /// Makes it a command of the shell: `/bin/sh SCRIPT ARGUMENTS`. In the child.
    fn by_shell(&self, script: &CStr) -> Word {
        self.set(0, script.as_ptr());
        self.set_pointer(0, SHELL.as_ptr().cast_mut());
        self.pointers.as_ptr() as Word
    }

    fn as_word(&self) -> Word {
        self.pointers.get(1..).map_or(0, |words| words.as_ptr() as Word)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: both are the boxes that `new` has leaked.
            unsafe {
                drop(Box::from_raw(ptr::from_mut(self.bytes)));
                drop(Box::from_raw(ptr::from_mut(self.pointers) as *mut [usize]));
            }
        }
    }
}

/// `struct clone_args` of clone3(2), up to `cgroup`.
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArgs {
    /// A child that the parent hears of by SIGCHLD, and whose process id the kernel writes there.
    fn new(pid: &AtomicU32, cgroup: u64) -> CloneArgs {
        CloneArgs {
            flags: 0,
            pidfd: 0,
            child_tid: 0,
            parent_tid: pid.as_ptr() as u64,
            exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
            stack: 0,
            stack_size: 0,
            tls: 0,
            set_tid: 0,
            set_tid_size: 0,
            cgroup,
        }
    }
}

const CLONE_VM: u64 = 0x100;
const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x0020_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLOSE_RANGE_CLOEXEC: Word = 4;

/// Forks; 0 in the child. The second value says whether the child is in its cgroup already.
fn fork(spawn: &Spawn<'_>) -> Result<(u32, bool), Errno> {
    match clone3(spawn) {
        Err(errno) if is_refusal(errno) => Ok((clone(spawn)?, false)),
        result => Ok((result?, true)),
    }
}

/// What every start asks of clone3, and the descriptor of its cgroup.
fn clone_flags(spawn: &Spawn<'_>) -> (u64, u64) {
    let cgroup = spawn.cgroup.and_then(|fd| u64::try_from(fd.as_raw_fd()).ok());
    let flags = CLONE_PARENT_SETTID | CLONE_CLEAR_SIGHAND | cgroup.map_or(0, |_| CLONE_INTO_CGROUP);
    (flags, cgroup.unwrap_or(0))
}

fn clone3(spawn: &Spawn<'_>) -> Result<u32, Errno> {
    let (flags, cgroup) = clone_flags(spawn);
    let arguments = CloneArgs { flags, ..CloneArgs::new(spawn.pid, cgroup) };
    let (pointer, size) = (&raw const arguments as Word, size_of::<CloneArgs>() as Word);
    // SAFETY: without CLONE_VM and with no stack this is fork(2): the child goes on here on a copy of the
    // memory. It runs `child` alone, which the essay above holds to system calls. The kernel writes the process id to
    // `pid`, four bytes that are an atomic's.
    let pid = unsafe { syscall(libc::SYS_clone3, [pointer, size, 0, 0, 0, 0]) }?;
    u32::try_from(pid).map_err(|_| Errno::OVERFLOW)
}

/// clone3(2) with a stack: the child does not come back here, it calls `begin`.
///
/// # Safety
/// The stack has to be the child's alone, and what `begin` reads has to be there until it has executed or ended.
unsafe fn clone_shared<T>(
    arguments: &CloneArgs,
    begin: extern "C" fn(*const T) -> !,
    start: *const T,
) -> Result<u32, Errno> {
    let result: Word;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: in the parent as `raw::syscall`. The child has all registers but rax, rcx, r11 and the stack pointer, which
    // is at the end of its own stack, aligned as for a call; nothing is returned to (rbp is the end of the frames).
    unsafe {
        std::arch::asm!(
            "syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r8", "call r9", "ud2", "2:",
            inlateout("rax") libc::SYS_clone3 => result, in("rdi") arguments, in("rsi") size_of::<CloneArgs>(),
            in("r8") start, in("r9") begin, lateout("rcx") _, lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above: the child has all registers but x0.
    unsafe {
        std::arch::asm!(
            "svc 0", "cbnz x0, 2f", "mov x29, xzr", "mov x30, xzr", "mov x0, x2", "blr x3", "brk 1", "2:",
            in("x8") libc::SYS_clone3, inlateout("x0") arguments as *const CloneArgs as Word => result,
            in("x1") size_of::<CloneArgs>(), in("x2") start, in("x3") begin,
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (arguments, begin, start);
        result = Word::from(Errno::NOSYS.raw_os_error()).wrapping_neg();
    }
    super::raw::answer(result).and_then(|pid| u32::try_from(pid).map_err(|_| Errno::OVERFLOW))
}

fn clone(spawn: &Spawn<'_>) -> Result<u32, Errno> {
    let flags = Word::from(libc::CLONE_PARENT_SETTID | libc::SIGCHLD);
    let pid = spawn.pid.as_ptr() as Word;
    // SAFETY: as in `clone3`. The third argument is the parent's id word on all architectures but s390, which
    // isinit is not built for; the two that change places among them are zero.
    let pid = unsafe { syscall(libc::SYS_clone, [flags, 0, pid, 0, 0, 0]) }?;
    u32::try_from(pid).map_err(|_| Errno::OVERFLOW)
}

/// The child's way to its program. See the essay for the order, and for what may be called here.
fn child(spawn: &Spawn<'_>, joined: bool) -> Result<Infallible, Fault> {
    let mut listener = [0; LISTENER_BYTES];
    if let Some(cgroup) = spawn.cgroup.filter(|_| !joined) {
        write_at(cgroup, c"cgroup.procs", b"0").map_err(Step::Cgroup.failed())?;
    }
    stand(spawn.standing).map_err(Step::Session.failed())?;
    if !spawn.inherits {
        descriptors(spawn)?;
    }
    if let Some(score) = spawn.oom {
        let mut digits = itoa::Buffer::new();
        write_at(CWD, c"/proc/self/oom_score_adj", digits.format(score).as_bytes())
            .map_err(Step::Oom.failed())?;
    }
    if let Some(nice) = spawn.nice {
        set_nice(nice).map_err(Step::Nice.failed())?;
    }
    for &(resource, value) in spawn.rlimits {
        set_limit(resource, value).map_err(Step::Rlimit.failed())?;
    }
    if let Some(credentials) = spawn.credentials {
        become_user(credentials)?;
    }
    if let Some(mask) = spawn.umask {
        rustix::process::umask(Mode::from_raw_mode(mask));
    }
    if let Some(dir) = spawn.dir {
        rustix::process::chdir(dir).map_err(Step::Dir.failed())?;
    }
    if spawn.login {
        spawn.argv.make_login();
    }
    if let Some(signal) = spawn.parent_death {
        // Who has ended meanwhile has nobody to tell it.
        let _ = super::process::signal_at_parent_death(signal);
    }
    if let Some(number) = spawn.listen_pid {
        name_listener(spawn.env, number, &mut listener);
    }
    super::signals::set_mask(spawn.mask).map_err(Step::Mask.failed())?;
    if let Some(words) = spawn.ask {
        ask(words);
    }
    Err(Fault { step: Step::Exec, errno: execute(spawn) })
}

fn stand(standing: Standing<'_>) -> Result<(), Errno> {
    match standing {
        Standing::Session => rustix::process::setsid().map(|_| ()),
        Standing::Group => rustix::process::setpgid(None, None),
        Standing::Foreground(terminal) => {
            rustix::process::setpgid(None, None)?;
            // A terminal that has hung up has no foreground.
            let _ = super::terminal::set_foreground(terminal, super::process::own_pid());
            Ok(())
        }
        Standing::Ours => Ok(()),
    }
}

/// Bytes of `LISTEN_PID=`, a number and a zero byte.
const LISTENER_BYTES: usize = 32;

/// Puts our process id into the environment. In the child.
fn name_listener(env: &Words, number: usize, bytes: &mut [u8; LISTENER_BYTES]) {
    let mut digits = itoa::Buffer::new();
    let own = digits.format(super::process::own_pid());
    if c_path(bytes, &[b"LISTEN_PID=", own.as_bytes()]).is_ok() {
        env.set(number, bytes.as_ptr().cast());
    }
}

/// Waits for a line of whoever sits at descriptor 0. Where nobody can sit (an end, an error) nobody is waited for.
fn ask(words: &[u8]) {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let _ = rustix::io::write(stdout, words);
    let mut byte = [0];
    loop {
        match rustix::io::read(stdin, &mut byte) {
            Ok(1) if byte != *b"\n" => {}
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Puts everything where the program looks for it, and sees to it that it inherits nothing else.
///
/// Sources are first copied above all the numbers that are going to be written to: with that no source can be
/// overwritten before its turn, whatever number it came with.
fn descriptors(spawn: &Spawn<'_>) -> Result<(), Fault> {
    close_what_is_not_ours(spawn);
    let above = spawn.extra.map_or(3, |(_, number)| number.saturating_add(1).max(3));
    let copy = |fd: BorrowedFd<'_>| copy_above(fd, above);
    let stdin = match (spawn.tty, spawn.stdin) {
        (Some(tty), _) => {
            Some(terminal(tty).and_then(|fd| move_above(fd, above)).map_err(Step::Tty.failed())?)
        }
        (None, Input::Null) => {
            Some(nothing().and_then(|fd| move_above(fd, above)).map_err(Step::Stdin.failed())?)
        }
        (None, Input::From(fd)) => Some(copy(fd).map_err(Step::Stdin.failed())?),
        (None, Input::Inherit) => None,
    };
    let terminal = stdin.filter(|_| spawn.tty.is_some());
    let stdout = spawn.stdout.map(copy).transpose().map_err(Step::Stdout.failed())?;
    let stderr = spawn.stderr.map(copy).transpose().map_err(Step::Stdout.failed())?;
    let extra = spawn.extra.map(|(fd, _)| copy(fd)).transpose().map_err(Step::Ready.failed())?;

    place(stdin, 0).map_err(Step::Stdin.failed())?;
    place(stdout.or(terminal), 1).map_err(Step::Stdout.failed())?;
    place(stderr.or(terminal), 2).map_err(Step::Stdout.failed())?;
    let number = spawn.extra.map_or(-1, |(_, number)| number);
    place(extra, number).map_err(Step::Ready.failed())?;
    close_all_but(number);
    Ok(())
}

/// A copy with a number that is not below `above`. It is the exec that closes it.
fn copy_above(fd: BorrowedFd<'_>, above: i32) -> Result<BorrowedFd<'static>, Errno> {
    let copy = fcntl_dupfd_cloexec(fd, above)?.into_raw_fd();
    // SAFETY: it is open, and nobody closes it before this process becomes another program.
    Ok(unsafe { BorrowedFd::borrow_raw(copy) })
}

fn move_above(fd: OwnedFd, above: i32) -> Result<BorrowedFd<'static>, Errno> {
    let copy = copy_above(fd.as_fd(), above);
    close(fd);
    copy
}

/// Closes a descriptor as a child does, without the C library.
fn close(fd: OwnedFd) {
    close_number(Word::from(fd.into_raw_fd()));
}

fn close_number(number: Word) {
    // SAFETY: takes an integer: that of a descriptor without another owner, or one that is not open, which answers EBADF.
    let _ = unsafe { syscall(libc::SYS_close, [number, 0, 0, 0, 0, 0]) };
}

/// Closes what the parent has open for itself, so that there is room for the copies where the parent is at the limit
/// of its descriptors. A kernel without close_range (before 5.9) does without.
fn close_what_is_not_ours(spawn: &Spawn<'_>) {
    let stdin = match spawn.stdin {
        Input::From(fd) => Some(fd),
        Input::Null | Input::Inherit => None,
    };
    let sources = [stdin, spawn.stdout, spawn.stderr, spawn.extra.map(|(fd, _)| fd)];
    let mut ours = sources.map(|fd| fd.map_or(2, |fd| fd.as_raw_fd()));
    ours.sort_unstable();
    let mut first = 3;
    for number in ours {
        let _ = close_range(first, number.saturating_sub(1), 0);
        first = first.max(number.saturating_add(1));
    }
    let _ = close_range(first, i32::MAX, 0);
}

/// Makes descriptor `number` another name of `fd` that an exec keeps open (dup3(2) without flags).
fn place(fd: Option<BorrowedFd<'_>>, number: i32) -> Result<(), Errno> {
    let Some(fd) = fd else { return Ok(()) };
    let (from, to) = (Word::from(fd.as_raw_fd()), Word::from(number));
    // SAFETY: takes integers. What is closed under `number` is nothing that this process, which is about to
    // become another program, uses again: see `descriptors`.
    unsafe { syscall(libc::SYS_dup3, [from, to, 0, 0, 0, 0]) }.map(|_| ())
}

/// Something to read from that is at its end. A container made from scratch, or a machine before devtmpfs is
/// mounted, has no /dev/null.
fn nothing() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, c"/dev/null", flags, Mode::empty()).or_else(|_| {
        let (read, write) = super::pipe::pair()?;
        close(write);
        Ok(read)
    })
}

/// Opens a terminal and makes it ours. Without O_NONBLOCK a serial line without carrier would hold the open up.
fn terminal(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    fcntl_setfl(&fd, OFlags::empty())?;
    let (number, request) = (Word::from(fd.as_raw_fd()), libc::TIOCSCTTY as Word);
    // SAFETY: this request takes an integer: 1 takes the terminal from another session, if we may.
    match unsafe { syscall(libc::SYS_ioctl, [number, request, 1, 0, 0, 0]) } {
        // It is another session's and we may not take it (a container without CAP_SYS_ADMIN): as under
        // sysvinit, what runs on it has no job control then, but it runs.
        Ok(_) | Err(Errno::PERM) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

/// Closes all our descriptors above 2 but these: what we were started with, and what was handed on to a command, whose
/// end others may wait for. The caller has no other that it uses.
pub fn close_all_others(keep: &mut [i32]) {
    keep.sort_unstable();
    let mut first = 3;
    for &mut number in keep {
        close_from_to(first, number.saturating_sub(1));
        first = first.max(number.saturating_add(1));
    }
    close_from_to(first, i32::MAX);
}

fn close_from_to(first: i32, last: i32) {
    if close_range(first, last, 0).is_err() {
        each_open(first, last, close_number);
    }
}

/// Marks all descriptors above 2 but `number` close-on-exec.
fn close_all_but(number: i32) {
    let close = |first, last| {
        if close_range(first, last, CLOSE_RANGE_CLOEXEC).is_err() {
            close_one_by_one(first, last);
        }
    };
    close(3, number.max(3).saturating_sub(1));
    close(number.max(2).saturating_add(1), i32::MAX);
}

fn close_range(first: i32, last: i32, flags: Word) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    let (from, to) = (Word::from(first), Word::from(last));
    // SAFETY: takes integers. What is closed is not used again by this process, which is about to become another
    // program: see `descriptors`.
    unsafe { syscall(libc::SYS_close_range, [from, to, flags, 0, 0, 0]) }.map(|_| ())
}

fn close_one_by_one(first: i32, last: i32) {
    let (command, flag) = (Word::from(libc::F_SETFD), Word::from(libc::FD_CLOEXEC));
    each_open(first, last, |number| {
        // SAFETY: takes integers; most of these numbers are not open, and answer EBADF.
        let _ = unsafe { syscall(libc::SYS_fcntl, [number, command, flag, 0, 0, 0]) };
    });
}

/// Each number that may be an open descriptor.
fn each_open(first: i32, last: i32, act: impl Fn(Word)) {
    let open_max = i32::try_from(super::process::descriptor_limit()).unwrap_or(DESCRIPTORS_MAX);
    (first..=last.min(open_max).min(DESCRIPTORS_MAX)).for_each(|number| act(Word::from(number)));
}

fn set_nice(nice: i32) -> Result<(), Errno> {
    let (which, nice) = (libc::PRIO_PROCESS as Word, Word::from(nice));
    // SAFETY: takes integers; 0 is this process.
    unsafe { syscall(libc::SYS_setpriority, [which, 0, nice, 0, 0, 0]) }.map(|_| ())
}

fn set_limit(resource: u32, value: u64) -> Result<(), Errno> {
    let limit = [value, value];
    let (resource, new) = (resource as Word, limit.as_ptr() as Word);
    // SAFETY: the kernel reads struct rlimit64, two 64 bit numbers, and is not asked for the old one; 0 is
    // this process.
    unsafe { syscall(libc::SYS_prlimit64, [0, resource, new, 0, 0, 0]) }.map(|_| ())
}

/// Groups, gid and uid. Who is that user already, and not root, needs no privilege for it: it stays as it is,
/// supplementary groups included.
fn become_user(to: &Credentials) -> Result<(), Fault> {
    use super::process::{own_gid, own_uid};
    if to.uid != 0 && own_uid() == to.uid && own_gid() == to.gid {
        return Ok(());
    }
    let (count, list) = (to.groups.len() as Word, to.groups.as_ptr() as Word);
    let (gid, uid) = (to.gid as Word, to.uid as Word);
    // SAFETY: the kernel reads `count` group ids, 32 bits each, from a vector that holds as many.
    unsafe { syscall(numbers::SETGROUPS, [count, list, 0, 0, 0, 0]) }.map_err(Step::Groups.failed())?;
    // SAFETY: takes integers. The kernel's call, for the C library's stops at its other threads, of which the
    // child has none.
    unsafe { syscall(numbers::SETRESGID, [gid, gid, gid, 0, 0, 0]) }.map_err(Step::Gid.failed())?;
    // SAFETY: as above.
    unsafe { syscall(numbers::SETRESUID, [uid, uid, uid, 0, 0, 0]) }.map_err(Step::Uid.failed())?;
    Ok(())
}

/// The calls that take ids of 32 bits. ARM has others of the same name, with 16.
mod numbers {
    use super::Word;
    #[cfg(not(target_arch = "arm"))]
    pub(super) const SETGROUPS: Word = libc::SYS_setgroups;
    #[cfg(not(target_arch = "arm"))]
    pub(super) const SETRESGID: Word = libc::SYS_setresgid;
    #[cfg(not(target_arch = "arm"))]
    pub(super) const SETRESUID: Word = libc::SYS_setresuid;
    #[cfg(target_arch = "arm")]
    pub(super) const SETGROUPS: Word = libc::SYS_setgroups32;
    #[cfg(target_arch = "arm")]
    pub(super) const SETRESGID: Word = libc::SYS_setresgid32;
    #[cfg(target_arch = "arm")]
    pub(super) const SETRESUID: Word = libc::SYS_setresuid32;
}

/// Executes the program, or says why not.
fn execute(spawn: &Spawn<'_>) -> Errno {
    let program = match spawn.argv.program() {
        Ok(program) if !program.is_empty() => program,
        _ => return Errno::NOENT,
    };
    if program.to_bytes().contains(&b'/') { exec(program, spawn) } else { search(program, spawn) }
}

/// A name without a slash is looked for as execvp(3) does: a directory where it is not is passed by, one where it may not
/// be executed is remembered, all else ends the search. On a frame of its own, since its path takes a page of the stack
/// that the child would get for nothing.
#[inline(never)]
fn search(program: &CStr, spawn: &Spawn<'_>) -> Errno {
    let mut verdict = Errno::NOENT;
    for dir in spawn.env.value(b"PATH=").unwrap_or(USUAL_PATH).split(|&byte| byte == b':') {
        let mut buffer = [0; PATH_MAX_BYTES];
        // An empty directory is the current one; a path that does not fit is nowhere.
        let dir = if dir.is_empty() { b"." } else { dir };
        let Ok(path) = c_path(&mut buffer, &[dir, b"/", program.to_bytes()]) else { continue };
        match exec(path, spawn) {
            Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::STALE | Errno::TIMEDOUT => {}
            Errno::ACCESS => verdict = Errno::ACCESS,
            errno => return errno,
        }
    }
    verdict
}

/// Executes a file. One without `#!` that is no program either is a script of the shell, as for execvp(3).
fn exec(path: &CStr, spawn: &Spawn<'_>) -> Errno {
    let errno = execve(path, spawn.argv.as_word(), spawn.env);
    if errno == Errno::NOEXEC && !is_program(path) {
        execve(SHELL, spawn.argv.by_shell(path), spawn.env);
    }
    errno
}

/// The shell, at the only place where it has to be.
const SHELL: &CStr = c"/bin/sh";

fn execve(path: &CStr, argv: Word, env: &Words) -> Errno {
    // SAFETY: path is terminated, and so is each word of both lists, which end with a null pointer.
    match unsafe { syscall(libc::SYS_execve, [path.as_ptr() as Word, argv, env.as_word(), 0, 0, 0]) } {
        Err(errno) => errno,
        // It does not return when it succeeds.
        Ok(_) => Errno::NOEXEC,
    }
}

/// A program of another machine is no script.
fn is_program(path: &CStr) -> bool {
    let mut magic = [0; 4];
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let Ok(file) = file else { return false };
    let read = rustix::io::read(&file, &mut magic);
    close(file);
    read.is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sys::memory::Shared;
    use crate::sys::pipe;
    use crate::sys::process::own_uid;
    use crate::sys::testing::{Scratch, in_child, read_all, terminal_pair, wait_for, with_cgroups};
    use std::os::unix::fs::PermissionsExt;

    /// For a test elsewhere: writes beyond this fail with EFBIG in this process, as on a full disk.
    pub(in crate::sys) fn limit_file_size(bytes: u64) -> Result<(), Errno> {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        set_limit(1, bytes) // RLIMIT_FSIZE; libc's constant has another type with each C library
    }

    /// What a started process needs around it.
    struct Stage {
        argv: Words,
        env: Words,
        pid: &'static AtomicU32,
        fault: &'static AtomicU64,
    }

    impl Stage {
        fn new(argv: &[&str]) -> Stage {
            let mut shared = Shared::create(c"test", 4096).unwrap();
            let (fault, pid) = (&shared.carve(1).unwrap()[0], &shared.carve(1).unwrap()[0]);
            let (mut words, env) = (Words::new(4096, 16), Words::new(8192, 16));
            argv.iter().for_each(|word| words.push(word.as_bytes()).unwrap());
            Stage { argv: words, env, pid, fault }
        }

        fn shell(script: &str) -> Stage {
            Stage::new(&["/bin/sh", "-c", script])
        }

        fn plain(&self) -> Spawn<'_> {
            Spawn::new(&self.argv, &self.env, self.pid, self.fault)
        }

        /// Starts it and waits for its end; its status, and what it wrote.
        fn run<'a>(&'a self, change: impl FnOnce(&mut Spawn<'a>)) -> (i32, String) {
            let (read, write) = pipe::pair().unwrap();
            let mut start = self.plain();
            // SAFETY: it stays open until after the start, which is all that it is borrowed for.
            start.stdout = Some(unsafe { BorrowedFd::borrow_raw(write.as_raw_fd()) });
            change(&mut start);
            let pid = spawn(&start).unwrap();
            assert_eq!(self.pid.load(Ordering::Acquire), pid, "the kernel wrote it");
            drop(write);
            let output = String::from_utf8(read_all(&read)).unwrap();
            (wait_for(pid.cast_signed()), output)
        }

        fn faults<'a>(&'a self, change: impl FnOnce(&mut Spawn<'a>)) -> (Step, Errno) {
            assert_eq!(self.run(change), (FAULT_STATUS, String::new()));
            let fault = Fault::from_word(self.fault.load(Ordering::Acquire)).expect("a fault");
            (fault.step, fault.errno)
        }
    }

    fn line(fd: &OwnedFd) -> String {
        let (mut text, mut byte) = (String::new(), [0]);
        while rustix::io::read(fd, &mut byte).unwrap_or(0) == 1 && byte != *b"\n" {
            text.push(char::from(byte[0]));
        }
        text
    }

    #[test]
    fn a_child_has_a_session_no_mask_nothing_ignored_and_three_descriptors() {
        let status = in_child(|| {
            let _signals = crate::sys::signals::Signals::take().unwrap();
            // A descriptor that would be inherited, low and high.
            let (low, _other) = pipe::pair().unwrap();
            rustix::io::fcntl_setfd(&low, rustix::io::FdFlags::empty()).unwrap();
            // SAFETY: a new descriptor that nobody closes.
            assert!(unsafe { libc::fcntl(low.as_raw_fd(), libc::F_DUPFD, 200) } >= 200);
            let (read, write) = pipe::pair().unwrap();
            let (hold, go) = pipe::pair().unwrap();
            let stage = Stage::shell("echo up; read line");
            let mut start = stage.plain();
            (start.stdin, start.stdout) = (Input::From(hold.as_fd()), Some(write.as_fd()));
            let pid = spawn(&start).unwrap();
            assert_eq!(line(&read), "up");
            let mut open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            open.sort();
            assert_eq!(open, ["0", "1", "2"]);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            for field in ["SigBlk", "SigIgn"] {
                assert!(status.contains(&format!("{field}:\t0000000000000000\n")), "{status}");
            }
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            assert_eq!(fields[2..4], [pid.to_string(), pid.to_string()], "process group and session");
            drop(go);
            wait_for(pid.cast_signed())
        });
        assert_eq!(status, 1, "read at the end of its input");
    }

    #[test]
    fn without_clone3_and_close_range_it_is_the_same() {
        let status = in_child(|| {
            refuse(&[libc::SYS_clone3, libc::SYS_close_range]);
            let (leak, _other) = pipe::pair().unwrap();
            rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
            let number = leak.as_raw_fd();
            let stage = Stage::shell(&format!("test -e /proc/self/fd/{number} && echo leak; echo done"));
            assert_eq!(stage.run(|_| ()), (0, "done\n".into()));
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn who_is_asked_answers_before_the_program_runs_and_can_be_stopped_meanwhile() {
        let (read, write) = pipe::pair().unwrap();
        let (hold, go) = pipe::pair().unwrap();
        let stage = Stage::shell("echo runs");
        let mut start = stage.plain();
        (start.stdin, start.stdout, start.ask) =
            (Input::From(hold.as_fd()), Some(write.as_fd()), Some(&b"well?\n"[..]));
        let pid = spawn(&start).unwrap().cast_signed();
        assert_eq!(line(&read), "well?");
        rustix::io::write(&go, b"yes\n").unwrap();
        assert_eq!((line(&read), wait_for(pid)), ("runs".into(), 0));

        let pid = spawn(&start).unwrap().cast_signed();
        assert_eq!(line(&read), "well?");
        crate::sys::signals::send(pid, libc::SIGTERM).unwrap();
        assert_eq!(wait_for(pid), 128 + libc::SIGTERM);
        // Where nobody can answer nobody is waited for.
        let pid = spawn(&start).unwrap().cast_signed();
        drop(go);
        assert_eq!((line(&read), line(&read), wait_for(pid)), ("well?".into(), "runs".into(), 0));
    }

    /// Makes system calls answer ENOSYS in this process, as an old kernel would.
    pub(in crate::sys) fn refuse(calls: &[Word]) {
        let op = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
        let mut filter = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
        for &call in calls {
            let number = u32::try_from(call).unwrap();
            filter.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number));
            let answer = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
            filter.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, answer));
        }
        filter.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
        let len = u16::try_from(filter.len()).unwrap();
        let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
        // SAFETY: the program is valid memory; the kernel copies and checks it.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        }
    }

    #[test]
    fn a_process_id_is_there_before_the_child_runs_and_a_child_may_die_at_once() {
        let stage = Stage::shell("kill -9 $$");
        assert_eq!(stage.run(|_| ()), (128 + 9, String::new()));
        assert_eq!(stage.fault.load(Ordering::Acquire), 0);
    }

    #[test]
    fn descriptors_arrive_whatever_their_numbers_were() {
        // The readiness descriptor's number is that of the source of stdout, and the other way round.
        let (read, write) = pipe::pair().unwrap();
        let (ready_read, ready_write) = pipe::pair().unwrap();
        for number in [write.as_raw_fd(), ready_write.as_raw_fd(), 3, 77] {
            let stage = Stage::shell(&format!("echo out; echo ready >/proc/self/fd/{number}"));
            let mut start = stage.plain();
            start.stdout = Some(write.as_fd());
            start.extra = Some((ready_write.as_fd(), number));
            let pid = spawn(&start).unwrap();
            assert_eq!(wait_for(pid.cast_signed()), 0, "number {number}");
            assert_eq!((line(&read), line(&ready_read)), ("out".into(), "ready".into()));
        }
    }

    #[test]
    fn a_source_below_three_is_no_trouble() {
        let status = in_child(|| {
            let (read, write) = pipe::pair().unwrap();
            place(Some(write.as_fd()), 0).unwrap();
            // SAFETY: descriptor 0 was opened right above and stays open.
            let zero = unsafe { BorrowedFd::borrow_raw(0) };
            let stage = Stage::shell("cat; echo out; echo err >&2");
            let mut start = stage.plain();
            (start.stdout, start.stderr) = (Some(zero), Some(zero));
            assert_eq!(wait_for(spawn(&start).unwrap().cast_signed()), 0);
            assert_eq!((line(&read), line(&read)), ("out".into(), "err".into()));
            0
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn an_impossible_number_is_the_readiness_step() {
        let (_read, write) = pipe::pair().unwrap();
        let write = write.as_fd();
        for number in [i32::MAX, 1 << 30] {
            let (step, _) = Stage::shell("exit 0").faults(|start| start.extra = Some((write, number)));
            assert!(matches!(step, Step::Ready | Step::Stdin), "{step:?}");
        }
    }

    #[test]
    fn directory_umask_nice_score_and_limits_are_set() {
        let script =
            "pwd; umask; ulimit -n; ulimit -c; cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj";
        let (status, output) = Stage::shell(script).run(|start| {
            start.dir = Some(c"/proc");
            start.umask = Some(0o027);
            start.nice = Some(7);
            start.oom = Some(1000);
            start.rlimits = &[(7, 50), (4, 0)];
        });
        assert_eq!((status, output.as_str()), (0, "/proc\n0027\n50\n0\n7\n1000\n"));
    }

    #[test]
    fn a_user_is_set_with_all_its_groups_or_refused() {
        let nobody = Credentials { uid: 65_534, gid: 65_534, groups: vec![65_534, 1_234] };
        let stage = Stage::shell("grep -E '^(Uid|Gid|Groups)' /proc/self/status");
        if own_uid() == 0 {
            let (_, output) = stage.run(|start| start.credentials = Some(&nobody));
            let words: Vec<&str> = output.split_whitespace().collect();
            let id = ["65534"; 4];
            let expected = [&["Uid:"][..], &id, &["Gid:"], &id, &["Groups:", "1234", "65534"]].concat();
            assert_eq!(words, expected);
        } else {
            let root = Credentials { uid: 0, gid: 0, groups: vec![] };
            let refused = stage.faults(|start| start.credentials = Some(&root));
            assert_eq!(refused, (Step::Groups, Errno::PERM));
        }
    }

    #[test]
    fn who_is_that_user_already_needs_no_privilege() {
        let status = in_child(|| {
            let nobody = Credentials { uid: 65_534, gid: 65_534, groups: vec![65_534] };
            if own_uid() == 0 {
                become_user(&nobody).unwrap();
            }
            let me = Credentials { uid: own_uid(), gid: crate::sys::process::own_gid(), groups: vec![] };
            Stage::shell("exit 3").run(|start| start.credentials = Some(&me)).0
        });
        assert_eq!(status, 3);
    }

    #[test]
    fn each_failing_step_is_told() {
        let stage = Stage::shell("exit 0");
        assert_eq!(stage.faults(|start| start.dir = Some(c"/nowhere")), (Step::Dir, Errno::NOENT));
        assert_eq!(stage.faults(|start| start.tty = Some(c"/dev/nowhere")), (Step::Tty, Errno::NOENT));
        assert_eq!(stage.faults(|start| start.tty = Some(c"/dev/null")), (Step::Tty, Errno::NOTTY));
        assert_eq!(stage.faults(|start| start.rlimits = &[(999, 1)]), (Step::Rlimit, Errno::INVAL));
        assert_eq!(stage.faults(|start| start.oom = Some(5_000)), (Step::Oom, Errno::INVAL));
        assert_eq!(Stage::new(&["/nowhere"]).faults(|_| ()), (Step::Exec, Errno::NOENT));
        assert_eq!(Stage::new(&["/etc/passwd"]).faults(|_| ()), (Step::Exec, Errno::ACCESS));
        assert_eq!(Stage::new(&[]).faults(|_| ()), (Step::Exec, Errno::NOENT));
        assert_eq!(Stage::new(&[""]).faults(|_| ()), (Step::Exec, Errno::NOENT));
        assert_eq!(stage.run(|_| ()), (0, String::new()), "and the word is cleared for the next start");
        assert_eq!(stage.fault.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_program_is_looked_for_as_execvp_does() {
        let scratch = Scratch::new("path");
        let file = |dir: &str, text: &str, mode| {
            let path = scratch.0.join(dir);
            // Another process writes it: what is open for writing here is in all that other tests fork meanwhile (ETXTBSY).
            let status = in_child(|| {
                std::fs::create_dir_all(&path).unwrap();
                std::fs::write(path.join("tool"), text).unwrap();
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(path.join("tool"), mode).unwrap();
                0
            });
            assert_eq!(status, 0);
            path.to_str().unwrap().to_owned()
        };
        let (none, good) = (file("none", "", 0o644), file("good", "#!/bin/sh\necho $0\n", 0o755));
        let text = file("text", "echo a script of the shell: $0\n", 0o755);
        let foreign = file("foreign", "\x7fELF of another machine\n", 0o755);
        let search = |path: &str| {
            let mut stage = Stage::new(&["tool"]);
            stage.env.push_pair(b"A", b"b").unwrap();
            stage.env.push_pair(b"PATH", path.as_bytes()).unwrap();
            stage
        };
        let long = "x".repeat(5_000);
        let found = search(&format!("/nowhere:{none}/tool:{long}:{none}:{good}:{text}"));
        assert_eq!(found.run(|_| ()), (0, format!("{good}/tool\n")));
        let denied = search(&format!("/nowhere:{none}:/nowhere"));
        assert_eq!(denied.faults(|_| ()), (Step::Exec, Errno::ACCESS));
        let by_shell = format!("a script of the shell: {text}/tool\n");
        assert_eq!(search(&text).run(|_| ()), (0, by_shell));
        assert_eq!(search(&foreign).faults(|_| ()), (Step::Exec, Errno::NOEXEC));
        assert_eq!(search("/nowhere").faults(|_| ()), (Step::Exec, Errno::NOENT));
    }

    #[test]
    fn arguments_and_environment_arrive_and_a_login_shell_is_called_so() {
        let mut stage = Stage::new(&["sh", "-c", "echo \"$0|$1|$RUNLEVEL|$N\"; env", "a b", "", "x"]);
        stage.env.push_pair(b"RUNLEVEL", b"run").unwrap();
        stage.env.push_number_pair(b"N", u64::MAX).unwrap();
        let (status, output) = stage.run(|_| ());
        assert!(status == 0 && output.starts_with("a b||run|18446744073709551615\n"), "{output}");
        let stage = Stage::new(&["sh", "-c", "tr '\\0' ' ' </proc/$$/cmdline"]);
        assert!(stage.run(|start| start.login = true).1.starts_with("-sh -c"));
        assert!(stage.run(|_| ()).1.starts_with("sh -c"), "the parent's list is as it was");
    }

    #[test]
    fn a_terminal_is_the_controlling_one() {
        let (master, name) = terminal_pair();
        let stage = Stage::shell("read line </dev/tty; echo got $line; test -t 0 && test -t 2 && exit 5");
        let mut start = stage.plain();
        start.tty = Some(&name);
        rustix::io::write(&master, b"hello\n").unwrap();
        let pid = spawn(&start).unwrap();
        let mut seen = line(&master);
        while !seen.contains("got hello") {
            seen = line(&master);
        }
        assert_eq!(wait_for(pid.cast_signed()), 5);
    }

    #[test]
    fn a_cgroup_is_entered_in_both_ways() {
        with_cgroups(|cgroups| {
            let group = cgroups.make(b"spawn").unwrap();
            let script = "grep ^0:: /proc/self/cgroup";
            for old in [false, true] {
                let status = in_child(|| {
                    if old {
                        refuse(&[libc::SYS_clone3]);
                    }
                    let (status, output) =
                        Stage::shell(script).run(|start| start.cgroup = Some(group.as_fd()));
                    assert!(status == 0 && output.trim_end().ends_with("/spawn"), "{output}");
                    0
                });
                assert_eq!(status, 0, "old kernel: {old}");
            }
            cgroups.remove(b"spawn").unwrap();
            cgroups.close().unwrap();
        });
    }

    #[test]
    fn a_list_that_is_full_stays_as_it_was() {
        let mut words = Words::new(10, 2);
        assert_eq!(words.push(b"12345678"), Ok(()));
        assert_eq!(words.push(b""), Err(Full), "no byte left");
        words.clear();
        assert!(words.is_empty());
        assert_eq!(words.push(b"a\0b"), Err(Full));
        assert_eq!((words.push(b"a"), words.push(b"b"), words.push(b"c")), (Ok(()), Ok(()), Err(Full)));
        assert_eq!(words.iter().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(words.len(), 2);
    }

    #[test]
    fn every_step_survives_the_word() {
        for step in Step::ALL {
            let fault = Fault { step, errno: Errno::ACCESS };
            assert_eq!(Fault::from_word(fault.to_word()), Some(fault));
        }
        for wrong in [0, 1, 1 << 32, 99 << 32 | 2, (1 << 32) | 5_000] {
            assert_eq!(Fault::from_word(wrong), None);
        }
    }

    #[test]
    fn a_stdin_of_nothing_is_at_its_end() {
        assert_eq!(Stage::shell("cat; echo end").run(|_| ()), (0, "end\n".into()));
    }
}
