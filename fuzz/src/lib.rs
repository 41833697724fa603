//! What has to hold whatever bytes come from outside: one module for each door, with a function `check` that takes the
//! bytes and panics when something does not hold.
//!
//! `make fuzz` lets libFuzzer look for such bytes. What was found once, and what leads into every corner, is kept in
//! `fuzz/corpus`; `tests/corpora.rs` puts it through the same functions, without libFuzzer and on any toolchain.

pub mod answers;
pub mod initctl;
pub mod options;
pub mod rows;
pub mod socket;
pub mod state;
pub mod table;

/// What takes the bytes.
pub type Check = fn(&[u8]);

/// All targets, by the names of their directories in `fuzz/corpus` and of their files in `fuzz/targets`.
pub const TARGETS: [(&str, Check); 7] = [
    ("table", table::check),
    ("socket", socket::check),
    ("answers", answers::check),
    ("initctl", initctl::check),
    ("rows", rows::check),
    ("state", state::check),
    ("options", options::check),
];
