//! Every bound of isinit in one place: its name, its unit (last in the name) and its reason.
//!
//! A process that runs as PID 1 may not grow with what other people send to it. What is not bounded by a
//! constant here is bounded by the table, which is loaded by the administrator.

/// Entries of one table. The rows are a sparse mapping of this many records, so an unused one costs nothing;
/// a hundred thousand is ten times the largest table that was asked for.
pub const ENTRIES_MAX: usize = 131_072;

/// Resource groups of one table, those that a re-read took out and that still run included.
pub const GROUPS_MAX: usize = 16_384;

/// Bytes of one table with all that it includes: positions are kept in 32 bits with room to spare, and a
/// larger file is a mistake (a log, a device), not a table.
pub const TABLE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Files that one table may include.
pub const INCLUDES_MAX: usize = 1_024;

/// Bytes of a tag: it is kept inside its row, so that a changed table finds its children again.
pub const TAG_MAX_BYTES: usize = 47;

/// Bytes of a group's name and of a level, for the same reason.
pub const WORD_MAX_BYTES: usize = 63;

/// Bytes of one process field: what one argument of execve(2) may have (MAX_ARG_STRLEN is 32 pages), less
/// room for the words that are put before it.
pub const PROCESS_MAX_BYTES: usize = 120 * 1024;

/// Words of a process that is executed without a shell. More than this wants a script.
pub const ARGUMENTS_MAX: usize = 256;

/// Bytes of a socket's path at most: `sun_path` of sockaddr_un has 108, the last of them NUL.
pub const SOCKET_PATH_MAX_BYTES: usize = 107;

/// `env` settings, and variables that the daemon hands on from its own environment.
pub const ENVIRONMENT_MAX: usize = 1_024;

/// Diagnostics that one table gives before the reader says that there are more: a wrong file (a binary, say)
/// would give one for each line.
pub const DIAGNOSTICS_MAX: usize = 200;

/// Milliseconds from the stop signal to SIGKILL, where neither entry nor table says otherwise.
pub const STOP_TIMEOUT_MS: u32 = 5_000;

/// Milliseconds that a `shutdown` entry may take where it does not say otherwise: Debian's rc stops every service of
/// the machine in one of them, a large database among them; and a machine that was told to go down has to.
pub const SHUTDOWN_ENTRY_MS: u64 = 300_000;

/// IS::Init's respawn limit: starts, the window in milliseconds, and the rest in milliseconds.
pub const LIMIT_STARTS: u16 = 5;
/// See [`LIMIT_STARTS`].
pub const LIMIT_WINDOW_MS: u32 = 10_000;
/// See [`LIMIT_STARTS`].
pub const LIMIT_HOLD_MS: u32 = 60_000;

/// Milliseconds that a respawned process has to live for its delay to go back to the least.
pub const HEALTHY_MS: u64 = 10_000;

/// Milliseconds until a start is tried again that the system refused for want of something (EAGAIN, ENOMEM,
/// EMFILE): short, because the want is of others and passes; not zero, because trying is not free.
pub const RETRY_MS: u64 = 250;

/// Milliseconds between two SIGKILLs to what does not go away.
pub const KILL_AGAIN_MS: u64 = 1_000;

/// SIGKILLs before a process that does not die (state D) is given up: its entry fails, its switch goes on.
pub const KILL_TRIES: u8 = 5;

/// The longest time that a table can ask for, in milliseconds: 49 days, what 32 bits hold.
pub const TIME_MAX_MS: u32 = u32::MAX;

/// Clients that are connected at one time. One more than this takes the place of the one that has been
/// silent longest.
pub const CLIENTS_MAX: usize = 128;

/// Bytes of one request: the longest that makes sense is a group, a level and the options of a tell.
pub const REQUEST_MAX_BYTES: usize = 512;

/// Bytes of answer that are kept for a client which does not read; a long answer is made piece by piece.
pub const ANSWER_MAX_BYTES: usize = 8 * 1024;

/// Milliseconds that a client may take for its request, and between two reads of its answer.
pub const CLIENT_TIMEOUT_MS: u64 = 10_000;

/// Lives of the daemon that may end by a fault within [`LIVES_WINDOW_MS`]: one more would end like them, and what
/// supervises is better asleep than dying in a circle.
pub const LIVES_MAX: usize = 5;

/// Milliseconds within which they are counted.
pub const LIVES_WINDOW_MS: u64 = 10_000;

/// Milliseconds in which a newer program says whether it can take our place: it has only to begin, from a slow disk
/// too.
pub const UPGRADE_ANSWER_MS: u64 = 10_000;

/// Transitions that are remembered, for `watch` and the daemon's own messages.
pub const TRANSITIONS_MAX: usize = 1_024;

/// The highest number that the kernel gives a process, whatever pid_max says (PID_MAX_LIMIT). What is above it, or
/// would be negative where it is told to kill(2), is none.
pub const PID_MAX: u32 = 4 * 1024 * 1024;

/// Processes that one look through /proc takes in: the kernel's default pid_max.
pub const CENSUS_MAX: usize = 32_768;

/// Bytes of one process's environment. The kernel takes a quarter of the stack limit for all strings (2 MiB); a
/// sixteenth of that is more than any daemon was given.
pub const ENVIRONMENT_MAX_BYTES: usize = 128 * 1024;

/// Connections that are accepted before the loop looks at everything else again: fewer than there are places
/// for, so that a flood cannot take the place of a client that was accepted in the same turn.
pub const ACCEPTS_MAX: usize = 32;

/// Requests that are taken from /run/initctl in one wake-up, and pieces of rubbish that are dropped: more than a pipe
/// holds (65,536 bytes, 170 requests), so that only a writer who goes on writing meanwhile has to wait for the next.
pub const INITCTL_REQUESTS_MAX: usize = 256;

/// Bytes of a line that is written with its tag before it (the setting `prefix`); a longer one comes in pieces. What
/// a pipe takes at once (PIPE_BUF), so that lines of one process written by several threads are whole too.
pub const PREFIXED_LINE_MAX_BYTES: usize = 4_096;

/// Times that such a process is read in one wake-up: what a pipe holds (65,536 bytes).
pub const LINE_READS_MAX: usize = 16;

/// Messages that are heard on the socket for readiness in one wake-up: anybody on the machine can send there, as fast as
/// he likes, and the kernel keeps 10 by default (net.unix.max_dgram_qlen).
pub const NOTIFICATIONS_MAX: usize = 32;

/// Times that the pipe of `ready=FD` is read in one wake-up: what is not a newline is not looked at, and a process may
/// write as much of that as it likes.
pub const READY_READS_MAX: usize = 16;

/// Milliseconds: who waits for longer gives back what it does not need for that.
pub const LONG_WAIT_MS: u64 = 100;

/// Children that are in our memory at one time, between clone and exec; the next are forked. On two processors half of a
/// thousand starts at once can be.
pub const PADS_MAX: usize = 256;

/// Milliseconds between two looks for what such children have left behind, which is 8 KiB each.
pub const PADS_LOOK_MS: u64 = 10;

/// Looks after a start: a second, in which a child has executed or hangs.
pub const PADS_LOOKS_MAX: u32 = 100;

/// Milliseconds that the last lines may take to be written when everything is down: who reads a container's log is
/// there, or will not come.
pub const LAST_LINES_MS: u64 = 1_000;

/// Times in a row that the socket is made anew. Who takes it away as fast as that has it his way until the next event:
/// its loss is one.
pub const SOCKET_TRIES: usize = 8;

/// Requests of one client that are carried out before the loop looks at everything else again: one who asks faster
/// than he is answered has the daemon to himself otherwise.
pub const REQUESTS_MAX: usize = 16;

/// Descriptors that are kept for the daemon's own needs when the limit (RLIMIT_NOFILE) is low: standard ones,
/// signals, sockets, memory, the state file, and a pipe or two for a start.
pub const RESERVED_DESCRIPTORS: usize = 14;

/// Bytes of the list of mounts that are looked at: about ten thousand of them, as on a host full of containers.
/// Those behind are seen when the ones before have gone.
pub const MOUNT_TABLE_MAX_BYTES: usize = 1024 * 1024;

/// Bytes of another file of /proc: /proc/cmdline has 4 KiB at most on most architectures, 64 on none.
pub const PROC_FILE_MAX_BYTES: usize = 64 * 1024;

/// Levels of directories that are emptied when an initramfs is left: each costs a descriptor and 4 KiB of stack,
/// and the modules of a kernel lie ten deep.
pub const EMPTY_DEPTH_MAX: usize = 32;

/// Milliseconds from the SIGTERM to everybody until SIGKILL, while the machine goes down: what was in a group
/// has had its own time already, this is for the rest.
pub const DOWN_TERM_MS: u64 = 5_000;

/// Milliseconds from that SIGKILL until nobody waits any longer for what is left: a process in state D.
pub const DOWN_KILL_MS: u64 = 5_000;

/// Milliseconds that one unmount, swapoff or sync may take while the machine goes down. A disk that is at
/// work writes a gigabyte in that time; one that is not would take for ever.
pub const DOWN_STEP_MS: u64 = 10_000;

/// Milliseconds for all unmounts, or all swapoffs, together: fifty mounts of a server that has gone would take their
/// ten seconds each.
pub const DOWN_STEPS_MS: u64 = 30_000;

/// Rounds through the list of mounts: each takes away what the round before has uncovered (a file system in a
/// file on another, a mount upon a mount).
pub const UNMOUNT_ROUNDS: u32 = 16;

/// Milliseconds that the console has to take the last messages before reboot(2).
pub const DOWN_SAY_MS: u64 = 1_000;

/// Records of utmp that are looked through for the one that a new one replaces: as many terminals and sessions
/// as a host with a thousand users has, and some.
pub const UTMP_RECORDS_MAX: usize = 4_096;

/// Processes that are named when they do not end while the machine goes down: a screen full.
pub const NAMED_PROCESSES_MAX: usize = 20;

/// Milliseconds between two shells of the last resort: one that ends at once would fill the console.
pub const LAST_RESORT_PAUSE_MS: u64 = 2_000;

/// Seconds of a watchdog where nobody says: long enough for a machine under load, short enough for people.
pub const WATCHDOG_SECONDS: u32 = 60;
