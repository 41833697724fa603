//! Finding one among many: open addressing over numbers, by hash.
//!
//! The hash takes eight bytes at a time (a table's digest is that of all its text): each word is mixed in and
//! multiplied by an odd number, as FNV does with bytes, and the upper half, where a product is well mixed, is
//! folded down. Hosts compare digests (`isinit check --digest`), of other versions and other processors too: what it
//! gives is never changed. It tells tables apart that have come to differ; it is no seal against who means to forge one.

/// An odd number with its bits well spread: the golden ratio's.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of some bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let last = words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let whole = |word: &[u8]| word.try_into().map_or(0, u64::from_le_bytes);
    mix(words.map(whole).fold(bytes.len() as u64, mix), last)
}

/// The hash of some bytes in whatever case they are.
pub fn hash_uppercase(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |hash, byte| mix(hash, u64::from(byte.to_ascii_uppercase())))
}

/// Takes a word into a hash.
pub fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(SPREAD);
    product ^ product >> 32
}

const EMPTY: u32 = u32::MAX;

/// Numbers by the hash of what they stand for. That stays where it is; who asks brings functions that find it.
#[derive(Clone, Debug, Default)]
pub struct Index {
    slots: Vec<u32>,
    used: usize,
}

impl Index {
    /// The number of this hash that `is` the one.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let there = self
            .places(hash)
            .map_while(|place| self.slots.get(place).copied().filter(|number| *number != EMPTY));
        { there }.find(|number| is(*number))
    }

    /// Adds a number that is not there yet.
    pub fn insert(&mut self, number: u32, hash_of: impl Fn(u32) -> u64) {
        // At most three quarters full: longer searches cost less here than pages.
        if self.used.saturating_mul(4) >= self.slots.len().saturating_mul(3) {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![EMPTY; old.len().saturating_mul(2).max(16)];
            old.into_iter()
                .filter(|number| *number != EMPTY)
                .for_each(|number| self.put(number, hash_of(number)));
        }
        self.put(number, hash_of(number));
        self.used = self.used.saturating_add(1);
    }

    fn put(&mut self, number: u32, hash: u64) {
        let free = self.places(hash).find(|place| self.slots.get(*place) == Some(&EMPTY));
        if let Some(slot) = free.and_then(|place| self.slots.get_mut(place)) {
            *slot = number;
        }
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().saturating_sub(1);
        (0..self.slots.len()).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }
}
