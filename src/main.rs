//! Which program am I? Everything else is in the library, C's `main` included: see `sys::entry` for why.

#![cfg_attr(not(test), no_main)]

isinit::program!(isinit::cli::main);

/// What is large comes from the kernel, for the daemon's memory is what it has touched.
#[global_allocator]
static HEAP: isinit::sys::heap::Heap = isinit::sys::heap::Heap;
