//! The system calls, made safe: the only room of the house with `unsafe` in it, and one that knows no noun
//! of init. What is here could serve another supervisor as it is.
//!
//! Three rules hold in every file:
//!
//! - **Nothing blocks.** Who has to wait does so in [`poll`], at one place of the program. A call that the
//!   kernel could hold up (a write to a pipe that nobody reads, an open of a terminal without carrier) is made
//!   in its non-blocking form or asked about first.
//! - **Nothing allocates after its construction.** What needs memory ([`spawn::Words`], [`census::Census`],
//!   [`poll::PollSet`]) takes it once, by a bound, and says so when it is full.
//! - **The errno is kept.** Functions return [`Errno`], or an enum where the errno is not the whole truth;
//!   [`errno_words`] has the words for it without allocating, for the messages of the loop.
//!
//! rustix makes most of the calls. libc makes those that rustix lacks (signalfd, the kernel's own form of
//! sigprocmask and sigaction, clone3, credentials on a datagram, the user data base).

#![deny(clippy::undocumented_unsafe_blocks)]

pub mod attempt;
pub mod census;
pub mod cgroup;
pub mod clock;
pub mod detach;
pub mod entry;
pub mod fifo;
pub mod files;
pub mod heap;
pub mod host;
pub mod memory;
pub mod mount;
pub mod notify;
pub mod output;
pub mod pads;
pub mod pipe;
pub mod place;
pub mod poll;
pub mod power;
pub mod process;
pub mod reap;
pub mod records;
pub mod reexec;
pub mod root;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod survivor;
pub mod terminal;
pub mod user;
pub mod watch;
pub mod watchdog;

mod errno;
mod raw;
#[cfg(test)]
pub(crate) mod testing;
mod trim;

pub use errno::{errno_name, errno_words};
pub use rustix::io::Errno;
