//! isinit: a clusterwide init.
//!
//! One inittab-like file with one more column, the resource group, is replicated to every host. On each host one
//! daemon starts, respawns and stops processes, and switches each group to a runlevel on its own.
//!
//! # The map of the house
//!
//! ```text
//! table on disk -> isinittab (lexer, entries, diagnostics)
//!                              |
//! signals, socket, clock -> supervisor: Event -> engine -> Effect -> sys (spawn, kill, reap)
//!                              |    |              |
//!         cli -> wire ---------+    |           rows, in memory that survives an exec of ourselves
//!                            machine (process 1: boot, console, records, going down)
//! ```
//!
//! | room | purpose | may import |
//! | --- | --- | --- |
//! | [`limits`] | every bound, with its reason and its unit | nothing |
//! | [`isinittab`] | bytes to entries, with all diagnostics | limits |
//! | [`engine`] | what is to run, and what to do about it; no I/O | isinittab, limits, the record types of sys::memory |
//! | [`wire`] | requests and answers as bytes; the client [`Init`] | limits |
//! | [`sys`] | system calls made safe, and all unsafe code | limits |
//! | [`machine`] | process 1 of a machine: mounts, console, arguments, records, going down, switch-root, watchdog | sys, limits |
//! | [`entrypoint`] | `isinit run`: one command, in place of tini | isinittab (names of signals), sys, limits |
//! | [`supervisor`] | the loop | engine, isinittab, wire, machine, sys, limits |
//! | [`cli`] | the commands, and all words that a person reads | wire, isinittab, sys, supervisor, entrypoint, machine (what the old programs read and write) |
//!
//! The state diagram of a process stands in [`engine::child`], that of a group in `engine/group.rs`, that of the whole
//! in `engine/course.rs`. A test (`tests/house.rs`) holds the rooms to this table.
//!
//! # As a library
//!
//! [`Init`] starts a daemon, tells it, and asks it; `examples/drive.rs` is a program that does. [`isinittab::Table`] reads
//! a table, and finds all that is wrong with it:
//!
//! ```
//! use isinit::isinittab::Table;
//! let report = Table::parse("example", b"web:www:run,:respwan:nginx\n").err().unwrap();
//! assert!(report.to_string().contains("did you mean respawn?"));
//! ```
//!
//! # What is promised
//!
//! Versions are those of semver.org, as Cargo reads them: until 1.0.0 a change that breaks something has a new second
//! number, one that does not has a new third one. It covers
//!
//! - what is in [`Init`], [`Options`], [`wire::client`] and [`isinittab`];
//! - the table: a table that is right stays right and keeps its meaning; a new warning, action, option or setting breaks
//!   nothing;
//! - the socket: requests, answers and status files as isinit-protocol(7) has them; fields are added at the end of a line;
//! - the command line: verbs, options and exit statuses as isinit(8) has them, and what `--json` prints. Words for people
//!   may change at any time.
//!
//! The other rooms are public so that tests, fuzzers and those who read can see them. They change with any version, and so
//! do the rows in memory: a program that keeps them otherwise says so, and `isinit upgrade` refuses it. What may get more
//! variants or fields is marked `#[non_exhaustive]`; write [`Options`] with `..Options::default()`. The oldest Rust
//! that compiles it stands in Cargo.toml as `rust-version`, and a newer one there is a new second number.

// What comes from outside can make nothing here panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod cli;
// An impossible state ends the program here: a crash is survived, a wrong kill is not.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub mod engine;
pub mod entrypoint;
pub mod isinittab;
pub mod limits;
pub mod machine;
pub mod supervisor;
pub mod sys;
pub mod wire;

pub use wire::init::{Init, Options};
