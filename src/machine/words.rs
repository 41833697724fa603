//! Sentences for the console, put together in a fixed piece of memory.

use crate::sys;
use crate::sys::Errno;

/// Bytes of one sentence: a path may be cut off in it, but the end of the line is always there.
const SENTENCE_MAX_BYTES: usize = 512;

/// Says one sentence.
pub fn say(words: &[&[u8]]) {
    let mut line = [0; SENTENCE_MAX_BYTES];
    let parts = [&b"isinit: "[..]].into_iter().chain(words.iter().copied());
    let length = parts.flatten().zip(line.iter_mut()).map(|(from, to)| *to = *from).count();
    let end = length.min(SENTENCE_MAX_BYTES.saturating_sub(1));
    if let Some(end) = line.get_mut(end) {
        *end = b'\n';
    }
    sys::output::say(line.get(..=end).unwrap_or_default());
}

/// Says what was tried, and what the system said.
pub fn say_errno(what: &[u8], errno: Errno) {
    say(&[what, b": ", errno_words(errno)]);
}

/// The system's words.
pub fn errno_words(errno: Errno) -> &'static [u8] {
    sys::errno_words(errno.raw_os_error()).as_bytes()
}
