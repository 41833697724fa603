//! Finding a name among many: open addressing over numbers, hashed by FNV-1a.

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// The multiplier of FNV-1a.
pub const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a of some bytes.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// FNV-1a of some bytes in whatever case they are.
pub fn fnv_uppercase(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte.to_ascii_uppercase())).wrapping_mul(FNV_PRIME))
}

const EMPTY: u32 = u32::MAX;

/// Numbers by name. The names stay where they are; who asks brings a function that finds them.
#[derive(Clone, Debug, Default)]
pub struct Index {
    slots: Vec<u32>,
    used: usize,
}

impl Index {
    /// The number whose name is `name`.
    pub fn find<'n>(&self, name: &[u8], named: impl Fn(u32) -> &'n [u8]) -> Option<u32> {
        self.probe(name).find(|number| named(*number) == name)
    }

    /// Adds a number that is not there yet.
    pub fn insert<'n>(&mut self, number: u32, named: impl Fn(u32) -> &'n [u8]) {
        if self.used.saturating_mul(2) >= self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![EMPTY; old.len().saturating_mul(2).max(16)];
            old.into_iter()
                .filter(|number| *number != EMPTY)
                .for_each(|number| self.put(number, named(number)));
        }
        self.put(number, named(number));
        self.used = self.used.saturating_add(1);
    }

    fn put(&mut self, number: u32, name: &[u8]) {
        let free = self.places(name).find(|place| self.slots.get(*place) == Some(&EMPTY));
        if let Some(slot) = free.and_then(|place| self.slots.get_mut(place)) {
            *slot = number;
        }
    }

    fn probe(&self, name: &[u8]) -> impl Iterator<Item = u32> {
        self.places(name).map_while(|place| self.slots.get(place).copied().filter(|number| *number != EMPTY))
    }

    fn places(&self, name: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().saturating_sub(1);
        let home = fnv(name) as usize;
        (0..self.slots.len()).map(move |step| home.wrapping_add(step) & mask)
    }
}
