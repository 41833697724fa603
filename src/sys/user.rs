//! From `USER[.GROUP]` of a table to the numbers that the kernel knows.
//!
//! Looked up when a table is loaded or a process is about to be started, never in a forked child: the C library
//! reads files, allocates, and with glibc may ask the network.

#![allow(unsafe_code)]

use rustix::io::Errno;
use std::ffi::{CStr, CString, c_char};

/// Bytes that a line of /etc/passwd or /etc/group may take; a group of ten thousand members fits.
const LINE_MAX_BYTES: usize = 1 << 20;

/// Supplementary groups that the kernel takes (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// Who a process is to run as (credentials(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id: real, effective and saved.
    pub uid: u32,
    /// Group id: real, effective and saved.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Why there are no credentials for what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// There is no user of this name.
    NoUser,
    /// There is no group of this name.
    NoGroup,
    /// The user data base could not be read.
    Failed(Errno),
}

impl From<Errno> for LookupError {
    fn from(errno: Errno) -> LookupError {
        LookupError::Failed(errno)
    }
}

impl Credentials {
    /// The credentials for `USER[.GROUP]`, names or numbers. As chown(1) does, a name with a dot in it is
    /// tried as a whole first. Supplementary groups are those that the user data base gives the user.
    ///
    /// Numbers need no /etc/passwd: a uid that has no entry there gets the group of the same number, and no others.
    /// (Container runtimes give it group 0 then; root's group is not what one should get by default.)
    ///
    /// ```
    /// use isinit::sys::user::{Credentials, LookupError};
    /// let numbers = Credentials::lookup(b"4000000.4000001").unwrap();
    /// assert_eq!((numbers.uid, numbers.gid), (4_000_000, 4_000_001));
    /// assert_eq!(Credentials::lookup(b"no-such-user"), Err(LookupError::NoUser));
    /// ```
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn lookup(spec: &[u8]) -> Result<Credentials, LookupError> {
        match user(spec) {
            Err(LookupError::NoUser) => {}
            whole => return Ok(whole?.credentials(None)),
        }
        let dot = spec.iter().rposition(|&byte| byte == b'.').ok_or(LookupError::NoUser)?;
        let (name, group_name) = spec.split_at(dot);
        let group = group(group_name.get(1..).unwrap_or_default())?;
        Ok(user(name)?.credentials(Some(group)))
    }
}

/// A user as the data base has it.
struct User {
    /// None: a number without an entry, which can be in no group.
    name: Option<CString>,
    uid: u32,
    gid: u32,
}

impl User {
    fn credentials(&self, gid: Option<u32>) -> Credentials {
        let gid = gid.unwrap_or(self.gid);
        let groups = self.name.as_deref().map_or_else(|| vec![gid], |name| group_list(name, gid));
        Credentials { uid: self.uid, gid, groups }
    }
}

/// Digits only, in 32 bits; the highest value means "leave it" to setresuid(2) and is no user.
fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok().filter(|&id| id != u32::MAX)
}

fn user(spec: &[u8]) -> Result<User, LookupError> {
    let name = CString::new(spec).map_err(|_| LookupError::NoUser)?;
    let mut line = LineBuffer::new();
    loop {
        // SAFETY: passwd is integers and pointers, for which zero is a value.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        let (bytes, length) = line.parts();
        let code = match number(spec) {
            // SAFETY: entry, found and the buffer of this length are ours and live until the end of this turn.
            Some(uid) => unsafe { libc::getpwuid_r(uid, &mut entry, bytes, length, &mut found) },
            // SAFETY: the same; the name ends with a zero byte.
            None => unsafe { libc::getpwnam_r(name.as_ptr(), &mut entry, bytes, length, &mut found) },
        };
        if line.too_short(code)? {
            continue;
        }
        if found.is_null() {
            let uid = number(spec).ok_or(LookupError::NoUser)?;
            return Ok(User { name: None, uid, gid: uid });
        }
        // SAFETY: it was found, so that pw_name points to a terminated string in the buffer, which is still there.
        let name = unsafe { CStr::from_ptr(entry.pw_name) }.to_owned();
        return Ok(User { name: Some(name), uid: entry.pw_uid, gid: entry.pw_gid });
    }
}

fn group(spec: &[u8]) -> Result<u32, LookupError> {
    if let Some(gid) = number(spec) {
        return Ok(gid);
    }
    let name = CString::new(spec).map_err(|_| LookupError::NoGroup)?;
    let mut line = LineBuffer::new();
    loop {
        // SAFETY: group is integers and pointers, for which zero is a value.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        let (bytes, length) = line.parts();
        // SAFETY: entry, found and the buffer of this length are ours and live until the end of this turn.
        let code = unsafe { libc::getgrnam_r(name.as_ptr(), &mut entry, bytes, length, &mut found) };
        if line.too_short(code)? {
            continue;
        }
        return if found.is_null() { Err(LookupError::NoGroup) } else { Ok(entry.gr_gid) };
    }
}

/// Where the C library puts the strings of an entry; it grows when told that it is too short.
struct LineBuffer(Vec<c_char>);

impl LineBuffer {
    fn new() -> LineBuffer {
        LineBuffer(vec![0; 1_024])
    }

    fn parts(&mut self) -> (*mut c_char, usize) {
        (self.0.as_mut_ptr(), self.0.len())
    }

    /// Judges the answer of a `_r` function: true when it is to be asked again, the buffer being larger now.
    /// "No such file" and their like mean that there is no data base, and thus no entry (getpwnam(3), ERRORS).
    fn too_short(&mut self, code: i32) -> Result<bool, Errno> {
        match code {
            libc::ERANGE if self.0.len() < LINE_MAX_BYTES => {
                let longer = self.0.len().saturating_mul(2);
                self.0.resize(longer, 0);
                Ok(true)
            }
            libc::EINTR => Ok(true),
            0 | libc::ENOENT | libc::ESRCH | libc::EPERM | libc::ENOTDIR | libc::EBADF => Ok(false),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

/// getgrouplist(3): the groups that the data base gives the user, `gid` among them.
fn group_list(user: &CStr, gid: u32) -> Vec<u32> {
    let mut groups = vec![0; 64];
    loop {
        let room = i32::try_from(groups.len()).unwrap_or(i32::MAX);
        let mut count = room;
        // SAFETY: user is terminated, and there is room for `count` groups.
        let result = unsafe { libc::getgrouplist(user.as_ptr(), gid, groups.as_mut_ptr(), &mut count) };
        if result >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return groups;
        }
        // glibc tells how many there are, musl too; a count that asks for nothing more is a failure.
        match usize::try_from(count) {
            Ok(count) if count > groups.len() && count <= GROUPS_MAX => groups.resize(count, 0),
            _ => return vec![gid],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = Credentials::lookup(b"root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(Credentials::lookup(b"0").unwrap().uid, 0);
        assert_eq!(Credentials::lookup(b"root.daemon").unwrap().gid, group(b"daemon").unwrap());
        assert_eq!(Credentials::lookup(b"root.7").unwrap().gid, 7);
    }

    #[test]
    fn a_number_without_an_entry_stands_for_itself() {
        let nobody = Credentials { uid: 3_999_999, gid: 3_999_999, groups: vec![3_999_999] };
        assert_eq!(Credentials::lookup(b"3999999"), Ok(nobody));
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        assert_eq!(Credentials::lookup(b"no-such-user.daemon"), Err(LookupError::NoUser));
        assert_eq!(Credentials::lookup(b"root.no-such-group"), Err(LookupError::NoGroup));
        for wrong in [&b""[..], b".", b"4294967295", b"99999999999", b"-1", b"ro\0ot"] {
            assert!(Credentials::lookup(wrong).is_err(), "{wrong:?}");
        }
    }
}
