//! The program's allocator: the C library's for what is small, the kernel for what is large.
//!
//! A daemon that waits is judged by the pages that it has touched. Most of its large blocks are room for what may come (a
//! thousand services that end at once, a hundred clients) and are not touched until it does. The C library writes its notes
//! in front of a block and behind it, two pages of each; it keeps what was freed between others; and it clears what was
//! asked for zeroed. A mapping of the block's own costs what is written into it, and goes when it goes. Rust says how
//! large a block is when it is given back, so that nothing has to be noted.

#![allow(unsafe_code)]

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Blocks from this size on have a mapping of their own: a page, since a part of one costs a page too.
const LARGE_BYTES: usize = PAGE_BYTES;

/// What a mapping is aligned to on every machine.
const PAGE_BYTES: usize = 4 * 1024;

/// The allocator, for a program to name as its own.
///
/// ```
/// use isinit::sys::heap::Heap;
/// #[global_allocator]
/// static HEAP: Heap = Heap;
/// let mut zeros = vec![0_u8; 1 << 30];
/// zeros[1 << 29] = 1;
/// assert_eq!(zeros[1 << 28], 0, "of a gibibyte two pages are there");
/// ```
pub struct Heap;

// SAFETY: a block is either the system allocator's or a mapping of its own, and its layout alone says which: the same when
// it is made, changed and given back. A mapping is zeroed, aligned to a page, and nobody else's.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, handed on.
        if is_large(layout) { map(layout.size()) } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if is_large(layout) { map(layout.size()) } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: the whole of a mapping that `map` or `realloc` has made of this size.
            let _ = unsafe { munmap(block.cast(), layout.size()) };
        } else {
            // SAFETY: the caller's promise, handed on.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that size and alignment make a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            (true, true) => {
                // SAFETY: the whole of a mapping of ours; whoever has the block takes the new address for the old.
                let moved = unsafe { mremap(block.cast(), layout.size(), size, MremapFlags::MAYMOVE) };
                moved.map_or(ptr::null_mut(), |block| block.cast())
            }
            // SAFETY: the caller's promise, handed on.
            (false, false) => unsafe { System.realloc(block, layout, size) },
            (_, _) => {
                // SAFETY: a layout of the caller's; what both blocks have is copied, and they are not the same.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE_BYTES && layout.align() <= PAGE_BYTES
}

fn map(bytes: usize) -> *mut u8 {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let block = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE) };
    block.map_or(ptr::null_mut(), |block| block.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grows and shrinks a block over the border and back; what is in it stays.
    #[test]
    fn what_is_in_a_block_stays_whatever_becomes_of_its_size() {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        let mut size = LARGE_BYTES - 1;
        // SAFETY: each block is used within its layout, and given back with the last one.
        unsafe {
            let mut block = Heap.alloc(layout(size));
            for n in 0..1_000 {
                block.add(n).write(n as u8);
            }
            for next in [LARGE_BYTES, 10 * LARGE_BYTES, LARGE_BYTES + 1, 2_000, LARGE_BYTES * 3, 1_000] {
                block = Heap.realloc(block, layout(size), next);
                size = next;
                assert!((0..1_000).all(|n| block.add(n).read() == n as u8));
            }
            Heap.dealloc(block, layout(size));
        }
    }

    #[test]
    fn zeroed_is_zeroed_and_aligned_is_aligned() {
        for (size, align) in [(64, 8), (LARGE_BYTES, 64), (LARGE_BYTES, 4 * PAGE_BYTES)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: as above.
            unsafe {
                let block = Heap.alloc_zeroed(layout);
                assert!(block.addr().is_multiple_of(align));
                assert!((0..size).all(|n| block.add(n).read() == 0));
                Heap.dealloc(block, layout);
            }
        }
        // SAFETY: more than any machine has, which is refused.
        unsafe { assert!(Heap.alloc(Layout::from_size_align(1 << 60, 8).unwrap()).is_null()) };
    }
}
