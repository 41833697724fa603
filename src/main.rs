//! Which program am I? Everything else is in the library, C's `main` included: see `sys::entry` for why.

#![cfg_attr(not(test), no_main)]

isinit::program!(isinit::cli::main);
