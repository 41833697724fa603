//! What the host is called.

#![allow(unsafe_code)]

use super::raw::{Word, syscall};
use std::ffi::c_char;

/// The host's name as uname(2) has it: what `group` is when the table does not say. Empty where the kernel
/// has none, or a filter keeps it from us.
///
/// ```
/// let name = isinit::sys::host::hostname();
/// assert!(name.len() <= 64);
/// ```
pub fn hostname() -> Vec<u8> {
    text(&uname().nodename)
}

/// The kernel's release as uname(2) has it, `6.1.0-17-amd64`.
///
/// ```
/// assert!(!isinit::sys::host::kernel_release().is_empty());
/// ```
pub fn kernel_release() -> Vec<u8> {
    text(&uname().release)
}

/// Of rustix's, which takes it for infallible, nothing is known where a filter (seccomp(2)) refuses it.
fn uname() -> libc::utsname {
    // SAFETY: it is bytes alone, for which zeros are empty strings.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one of these.
    let _ = unsafe { syscall(libc::SYS_uname, [&raw mut names as Word, 0, 0, 0, 0, 0]) };
    names
}

fn text(field: &[c_char]) -> Vec<u8> {
    field.iter().map(|&letter| letter as u8).take_while(|&byte| byte != 0).collect()
}
