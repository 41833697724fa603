//! Memory that outlives what is done with it: records of plain integers in a mapping that is shared with forked
//! children, and that survives an exec as the descriptor of its memfd.
//!
//! Why a mapping may be handed out as `&'static mut [T]`:
//!
//! - **'static**: it is never unmapped. [`Shared`] has no `Drop`; a daemon makes one and keeps it until it ends.
//! - **mut**: each byte is handed out once. [`Shared::carve`] cuts from the front and never goes back.
//! - **initialised and valid**: the kernel gives zeroed pages, or those of an earlier life, and [`Plain`] is promised for
//!   types of which every bit pattern is a value.
//! - **children**: a forked child maps the same pages, but runs nothing of ours except
//!   [`spawn`](super::spawn)'s few lines before exec, which write through two atomics. The compiler is told so by their
//!   type: what another process writes has to be an atomic field, and be read as one.
//!
//! It is sparse: a page costs memory from its first write on. A mapping for 131072 rows of a table with ten
//! entries costs one page of rows, and a fork does not copy its page tables.

#![allow(unsafe_code)]

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use std::ffi::CStr;
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Regions start at a multiple of this: a cache line, and more than any [`Plain`] type asks for.
const ALIGNMENT_BYTES: usize = 64;

/// A type of which all bit patterns are values, zero among them, without padding and without pointers: it can be
/// found again in memory that another process, or an earlier version of the program, has written.
///
/// Implement it with `plain!`, which checks what can be checked.
///
/// # Safety
/// Every pattern of `size_of::<Self>()` initialised bytes has to be a value of the type; it has no padding bytes
/// and no `Drop`.
pub unsafe trait Plain: Sized + 'static {
    /// The value all of whose bytes are zero: an unused record.
    fn zeroed() -> Self {
        // SAFETY: the trait promises that zero bytes are a value.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain_integers {
    ($($integer:ty)*) => { $(
        // SAFETY: an integer (or an atomic, which has the same representation) has no padding and no invalid
        // pattern.
        unsafe impl Plain for $integer {}
    )* };
}
plain_integers!(u8 u16 u32 u64 i32 i64 AtomicU32 AtomicU64);

// SAFETY: an array is its elements without gaps.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Defines a `repr(C)` struct that is [`Plain`](crate::sys::memory::Plain). It does not compile when a
/// field is not Plain, or when there would be padding: order the fields by size, and fill up with an array of bytes.
///
/// ```ignore
/// plain! {
///     /// One child.
///     #[derive(Debug)]
///     pub struct Row {
///         /// When it was started, in milliseconds.
///         pub since_ms: u64,
///         /// Its process id.
///         pub pid: AtomicU32,
///         /// Its tag, filled up with zeros.
///         pub tag: [u8; 12],
///     }
/// }
/// ```
macro_rules! plain {
    ($(#[$about:meta])* $sight:vis struct $name:ident {
        $($(#[$field_about:meta])* $field_sight:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$about])*
        #[repr(C)]
        $sight struct $name { $($(#[$field_about])* $field_sight $field: $type),* }

        const _: () = {
            const fn field<T: $crate::sys::memory::Plain>() -> usize {
                ::core::mem::size_of::<T>()
            }
            let fields: &[usize] = &[$(field::<$type>()),*];
            let (mut sum, mut left) = (0_usize, fields);
            while let [size, rest @ ..] = left {
                sum = sum.wrapping_add(*size);
                left = rest;
            }
            assert!(sum == ::core::mem::size_of::<$name>(), "padding between the fields, or at the end");
        };

        // SAFETY: all fields are Plain and there is no padding (both checked right above); repr(C) adds nothing.
        #[allow(unsafe_code)]
        unsafe impl $crate::sys::memory::Plain for $name {}
    };
}
pub(crate) use plain;

/// A shared mapping, from which typed regions are cut one after the other.
///
/// ```
/// use isinit::sys::memory::Shared;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// let mut shared = Shared::create(c"example", 1 << 30).unwrap();
/// let pids = shared.carve::<AtomicU32>(1_000_000).unwrap();
/// pids[999_999].store(42, Ordering::Relaxed);
/// assert!(shared.carve::<u64>(usize::MAX).is_none(), "not that much");
/// ```
#[derive(Debug)]
pub struct Shared {
    /// The next byte that nobody has, at a multiple of [`ALIGNMENT_BYTES`].
    free: NonNull<u8>,
    left_bytes: usize,
    fd: Option<OwnedFd>,
}

// SAFETY: the pointer is to memory that nobody else has yet, and moving it to another thread moves that right.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps `bytes` zeroed bytes, shared with children that are forked later. They are those of a memfd
    /// (memfd_create(2), close-on-exec) of this name, which is seen in /proc alone; where that call is refused (a
    /// seccomp filter, a kernel before 3.17), of an anonymous mapping, which no exec survives.
    ///
    /// # Errors
    /// ENOMEM, EMFILE, ENFILE; EINVAL for a size of 0.
    pub fn create(name: &CStr, bytes: usize) -> Result<Shared, Errno> {
        Shared::map(memory_file(name, bytes).ok(), bytes)
    }

    /// Maps the memory that [`Shared::create`] has made for an earlier life, by its memfd. Carved in the same order, the
    /// regions are the same, with what was written there.
    ///
    /// # Errors
    /// EINVAL when it is smaller; ENOMEM.
    pub fn adopt(fd: OwnedFd, bytes: usize) -> Result<Shared, Errno> {
        match usize::try_from(fstat(&fd)?.st_size) {
            Ok(size) if size >= bytes => Shared::map(Some(fd), bytes),
            _ => Err(Errno::INVAL),
        }
    }

    fn map(fd: Option<OwnedFd>, bytes: usize) -> Result<Shared, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        let start = match &fd {
            // SAFETY: a new mapping at an address that the kernel chooses aliases nothing of ours, and the memfd
            // behind it is mapped nowhere else in this process: it is new, or came with the exec that made us.
            Some(fd) => unsafe { mmap(std::ptr::null_mut(), bytes, access, flags, fd, 0) },
            // SAFETY: the same, with nothing behind it.
            None => unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, access, flags) },
        }?;
        let free = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Shared { free, left_bytes: bytes, fd })
    }

    /// Cuts off the next region, `count` records (zeroed, in memory that was created); `None` when it is not there any more. It is the only
    /// reference to these bytes that will ever be given.
    pub fn carve<T: Plain>(&mut self, count: usize) -> Option<&'static mut [T]> {
        const { assert!(align_of::<T>() <= ALIGNMENT_BYTES) };
        let bytes = count.checked_mul(size_of::<T>())?;
        // The next region is aligned by making this one longer. The last one may end with the mapping.
        let taken = bytes.checked_next_multiple_of(ALIGNMENT_BYTES)?.min(self.left_bytes);
        if bytes > self.left_bytes {
            return None;
        }
        let region = self.free.cast::<T>();
        self.left_bytes = self.left_bytes.saturating_sub(taken);
        // SAFETY: `taken` is at most what is left, so that the sum is inside of the mapping or at its end.
        self.free = unsafe { self.free.add(taken) };
        // SAFETY: the module's essay: `bytes` bytes are mapped, zeroed, aligned, of nobody else, and stay for ever.
        Some(unsafe { std::slice::from_raw_parts_mut(region.as_ptr(), count) })
    }

    /// The memfd, to be handed over an exec when all is carved; `None` for an anonymous mapping. The regions stay.
    pub fn into_fd(self) -> Option<OwnedFd> {
        self.fd
    }

    /// The memfd; `None` for an anonymous mapping.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(|fd| fd.as_fd())
    }
}

fn memory_file(name: &CStr, bytes: usize) -> Result<OwnedFd, Errno> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC)?;
    ftruncate(&fd, u64::try_from(bytes).map_err(|_| Errno::FBIG)?)?;
    Ok(fd)
}

/// Writes records into a file, at an offset in bytes, as they lie in memory (pwrite(2)).
///
/// # Errors
/// ENOSPC, EIO, EFBIG.
pub fn write_records<T: Plain>(file: impl AsFd, at: u64, records: &[T]) -> Result<(), Errno> {
    let (mut at, mut done, bytes) = (at, 0_usize, size_of_val(records));
    while done < bytes {
        // A child may write into a record at this moment: so it is the kernel that reads them, and no code of ours.
        // SAFETY: `done` is less than the size of the records, which stay where they are.
        let rest = unsafe { records.as_ptr().cast::<u8>().add(done) };
        let left = bytes.saturating_sub(done);
        // SAFETY: as many bytes are there, and the kernel reads them only.
        let count = unsafe {
            libc::pwrite(file.as_fd().as_raw_fd(), rest.cast(), left, i64::try_from(at).unwrap_or(i64::MAX))
        };
        match usize::try_from(count) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => (done, at) = (done.saturating_add(count), at.saturating_add(count as u64)),
            Err(_) if super::raw::last_errno() == Errno::INTR => {}
            Err(_) => return Err(super::raw::last_errno()),
        }
    }
    Ok(())
}

/// Reads records out of a file into which [`write_records`] has written them (pread(2)).
///
/// # Errors
/// EIO, also when the file ends before.
pub fn read_records<T: Plain>(file: impl AsFd, at: u64, records: &mut [T]) -> Result<(), Errno> {
    let bytes = size_of_val(records);
    // SAFETY: records of integers, without padding, for which all bytes are values; and they are ours alone.
    let mut rest = unsafe { std::slice::from_raw_parts_mut(records.as_mut_ptr().cast::<u8>(), bytes) };
    let mut at = at;
    while !rest.is_empty() {
        match rustix::io::pread(&file, &mut *rest, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                rest = rest.get_mut(count..).unwrap_or_default();
                at = at.saturating_add(count as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Replaces what stands in a file from an offset on: bytes that are read again in another life, and mapped in none.
///
/// # Errors
/// ENOSPC, and what else ftruncate(2) and write(2) say.
pub fn keep_bytes(file: impl AsFd, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    ftruncate(&file, at)?;
    write_records(file, at, bytes)
}

/// Those bytes.
///
/// # Errors
/// What read(2) says.
pub fn kept_bytes(file: impl AsFd, at: u64) -> Result<Vec<u8>, Errno> {
    let length = u64::try_from(fstat(&file)?.st_size).unwrap_or(0).saturating_sub(at);
    let mut bytes = vec![0_u8; usize::try_from(length).map_err(|_| Errno::FBIG)?];
    read_records(file, at, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::in_child;
    use std::sync::atomic::Ordering;

    plain! {
        /// A record.
        struct Record {
            pub word: AtomicU64,
            pub pid: AtomicU32,
            pub tag: [u8; 100],
        }
    }

    #[test]
    fn regions_are_aligned_and_do_not_overlap() {
        let mut shared = Shared::create(c"test", 4096).unwrap();
        let bytes = shared.carve::<u8>(3).unwrap();
        let records = shared.carve::<Record>(2).unwrap();
        assert_eq!(records.as_ptr() as usize - bytes.as_ptr() as usize, 64);
        assert_eq!(shared.carve::<u8>(4096 - 64 - 256 + 1), None, "one too many");
        assert_eq!(shared.carve::<u8>(4096 - 64 - 256).unwrap().len(), 4096 - 64 - 256);
        assert_eq!(shared.carve::<u8>(1), None);
    }

    #[test]
    fn a_large_mapping_costs_what_is_touched() {
        let mut shared = Shared::create(c"test", 1 << 30).unwrap();
        let records = shared.carve::<Record>(131_072).unwrap();
        records[70_000].tag[0] = 1;
        let blocks = fstat(shared.fd().unwrap()).unwrap().st_blocks;
        assert!(blocks * 512 <= 2 << 20, "{blocks} blocks for one record");
        assert_eq!(Record::zeroed().tag, [0; 100]);
    }

    #[test]
    fn a_child_writes_what_the_parent_reads() {
        let mut shared = Shared::create(c"test", 4096).unwrap();
        let records: &[Record] = shared.carve(2).unwrap();
        let status = in_child(|| {
            records[1].word.store(1 << 40, Ordering::Release);
            records[1].pid.store(7, Ordering::Release);
            0
        });
        assert_eq!(status, 0);
        assert_eq!(records[1].word.load(Ordering::Acquire), 1 << 40);
        assert_eq!(records[1].pid.load(Ordering::Acquire), 7);
    }

    #[test]
    fn what_was_written_is_found_again_by_the_memfd() {
        let mut shared = Shared::create(c"test", 4096).unwrap();
        shared.carve::<u8>(3).unwrap()[2] = 9;
        shared.carve::<Record>(2).unwrap()[1].tag[99] = 7;
        let again = |bytes| Shared::adopt(shared.fd().unwrap().try_clone_to_owned().unwrap(), bytes);
        let mut adopted = again(4096).unwrap();
        assert_eq!(adopted.carve::<u8>(3).unwrap(), [0, 0, 9]);
        assert_eq!(adopted.carve::<Record>(2).unwrap()[1].tag[99], 7);
        assert_eq!(again(4097).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn records_are_written_and_read_again() {
        let file = memory_file(c"test", 0).unwrap();
        let mut records = [Record::zeroed(), Record::zeroed()];
        records[1].tag[99] = 7;
        write_records(&file, 4_096, &records).unwrap();
        records[1].tag[99] = 0;
        read_records(&file, 4_096, &mut records).unwrap();
        assert_eq!(records[1].tag[99], 7);
        assert_eq!(read_records(&file, 4_097, &mut records), Err(Errno::IO), "it ends before");
        assert_eq!(write_records(&file, 0, &[] as &[Record]), Ok(()));
    }

    #[test]
    fn bytes_are_kept_behind_what_is_mapped() {
        let mut shared = Shared::create(c"test", 4_096).unwrap();
        shared.carve::<u8>(1).unwrap()[0] = 9;
        let file = shared.into_fd().unwrap();
        for bytes in [&b""[..], b"g:a:1:respawn:x\n", b"g"] {
            keep_bytes(&file, 4_096, bytes).unwrap();
            assert_eq!(kept_bytes(&file, 4_096), Ok(bytes.to_vec()));
        }
        assert_eq!(Shared::adopt(file, 4_096).unwrap().carve::<u8>(1).unwrap(), [9]);
    }

    #[test]
    fn a_mapping_of_nothing_is_refused() {
        assert_eq!(Shared::create(c"test", 0).unwrap_err(), Errno::INVAL);
    }
}
