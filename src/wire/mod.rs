//! What goes over the socket: requests and answers as bytes, and the client's side of it.
//!
//! Two forms. The classic one is IS::Init's: a line `GROUP LEVEL` or `stopall`, and no answer. The extended one
//! begins with a colon, which no group's name can: `:tell GROUP LEVEL wait`. Its answer is lines, the last of which
//! is `ok ...` or `err CODE MESSAGE`; CODE is the exit status that the command line ends with.

pub mod client;
pub mod init;
mod request;

pub use request::{Malformed, Power, Request, parse};
