//! What a beginning has touched, and waiting does not need: given back to the kernel, which has it still.
//!
//! A daemon that waits is judged by what it keeps mapped. Reading a table walks through most of the program once, and
//! through a stack that is never as deep again; the loop needs a tenth of it. The program's own pages are in the page
//! cache, and are mapped again as they are called, sixteen at a time and without any input; the stack below is nobody's.

#![allow(unsafe_code)]

use std::ptr;

/// The stack of process 1 as the kernel makes it (setup_arg_pages: 128 KiB and what arguments take): what lies deeper was
/// never needed.
const STACK_BYTES: usize = 128 * 1024;

/// Of the stack, so much below the caller stays: for the call that it is about to make. (A fault's frame goes elsewhere,
/// all other signals are blocked.)
const KEPT_BYTES: usize = 4 * 1024;

const PAGE_BYTES: usize = 4096;

unsafe extern "C" {
    /// Where the program lies (ld(1)): from here
    static __executable_start: u8;
    /// to here it is read and executed, and never written.
    static etext: u8;
}

/// Lets go of the program's pages, and of the stack below. Returns as if nothing had been done: into the page that the
/// caller stands in, and with it come the fifteen around it. So it is a part of the function that waits, and both ask the
/// C library, whose two calls stand together.
#[inline(always)]
pub(super) fn trim() {
    let (start, end) = ((&raw const __executable_start) as usize, (&raw const etext) as usize);
    forget(start, end);
    let here = 0_u8;
    let here = (&raw const here) as usize;
    forget(here.saturating_sub(STACK_BYTES), here.saturating_sub(KEPT_BYTES));
}

/// Whole pages from `start` to `end`. A part of it that is not mapped is passed over (ENOMEM, madvise(2)).
#[inline(always)]
pub(super) fn forget(start: usize, end: usize) {
    let start = start.next_multiple_of(PAGE_BYTES);
    let length = (end & !(PAGE_BYTES.wrapping_sub(1))).saturating_sub(start);
    // SAFETY: the program's read-only pages are a file's, unmodified, and come back as they are when they are
    // next looked at; what lies below the stack pointer, and further than any red zone, holds nothing, and nor do pads
    // that nobody has.
    unsafe { libc::madvise(ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on() {
        let deep = |depth: u32| -> u64 { (0..u64::from(depth)).map(|n| n * n).sum() };
        let before = deep(1_000);
        super::trim();
        assert_eq!(deep(1_000), before);
        assert_eq!(format!("{:?}", "words".repeat(3)), "\"wordswordswords\"");
    }
}
