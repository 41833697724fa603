//! What goes over the socket: requests and answers as bytes, and the client's side of it.
//!
//! Two forms. The classic one is IS::Init's: a line `GROUP LEVEL` or `stopall`, and no answer. The extended one
//! begins with a colon, which no group's name can: `:tell GROUP LEVEL wait`. Its answer is lines, the last of which
//! is `ok ...` or `err CODE MESSAGE`; CODE is the exit status that the command line ends with.

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

pub mod client;
pub mod init;
mod request;

pub use request::{Malformed, Power, Request, parse};
