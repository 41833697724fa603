//! What the host is called.

/// The host's name as uname(2) has it: what `group` is when the table does not say. Empty where the kernel
/// has none.
///
/// ```
/// let name = isinit::sys::host::hostname();
/// assert!(name.len() <= 64);
/// ```
pub fn hostname() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// The kernel's release as uname(2) has it, `6.1.0-17-amd64`.
///
/// ```
/// assert!(!isinit::sys::host::kernel_release().is_empty());
/// ```
pub fn kernel_release() -> Vec<u8> {
    rustix::system::uname().release().to_bytes().to_vec()
}
