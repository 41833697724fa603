//! What is to be looked at: rows and groups that something happened to, deadlines, and PIDs.
//!
//! Nothing in here decides anything, and nothing in here has to survive a crash: all of it can be made again
//! from the rows. It is what keeps the cost of an event at O(log n). All arrays are made when a table is
//! loaded; after that none of these functions allocates.

use super::{Ms, NEVER};

/// A queue of numbers below `n`, in which each stands at most once: first come, first looked at.
pub struct Queue {
    ring: Vec<u32>,
    queued: Vec<bool>,
    head: usize,
    count: usize,
}

impl Queue {
    /// A queue for the numbers below `n`.
    pub fn new(n: usize) -> Queue {
        Queue { ring: vec![0; n], queued: vec![false; n], head: 0, count: 0 }
    }

    /// Puts a number at the end, unless it stands in the queue already.
    pub fn push(&mut self, number: u32) {
        let size = self.ring.len();
        let Some(queued) = self.queued.get_mut(number as usize) else { return };
        if *queued {
            return;
        }
        *queued = true;
        let place = (self.head + self.count) % size;
        if let Some(slot) = self.ring.get_mut(place) {
            *slot = number;
            self.count += 1;
        }
    }

    /// Takes the first number.
    pub fn pop(&mut self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let number = *self.ring.get(self.head)?;
        self.head = (self.head + 1) % self.ring.len();
        self.count -= 1;
        if let Some(queued) = self.queued.get_mut(number as usize) {
            *queued = false;
        }
        Some(number)
    }
}

/// The deadlines of the rows: a binary heap over row numbers, with the place of each row in it, so that a
/// deadline that has changed moves instead of being added once more.
///
/// A process that runs has none, and most rows never do: zero stands for nothing here, so that what nobody has written
/// to takes no memory.
pub struct Deadlines {
    heap: Vec<u32>,
    /// One more than the place of a row in the heap.
    place: Vec<u32>,
    /// One more than its deadline, [`NEVER`] being the last number that there is.
    at: Vec<Ms>,
}

impl Deadlines {
    /// Deadlines for `n` rows.
    pub fn new(n: usize) -> Deadlines {
        Deadlines { heap: Vec::with_capacity(n), place: vec![0; n], at: vec![0; n] }
    }

    /// The earliest deadline.
    pub fn first(&self) -> Option<(Ms, u32)> {
        let row = *self.heap.first()?;
        Some((self.at(row), row))
    }

    fn at(&self, row: u32) -> Ms {
        self.at[row as usize].wrapping_sub(1)
    }

    /// Sets the deadline of a row; [`NEVER`] takes it out.
    pub fn set(&mut self, row: u32, at: Ms) {
        let index = row as usize;
        if index >= self.at.len() || self.at(row) == at {
            return;
        }
        self.at[index] = at.wrapping_add(1);
        match (self.place_of(row), at) {
            (None, NEVER) => {}
            (None, _) => {
                self.heap.push(row);
                self.put(row, self.heap.len() - 1);
                self.up(self.heap.len() - 1);
            }
            (Some(place), NEVER) => self.remove(place),
            (Some(place), _) => {
                self.up(place);
                self.down(self.place_of(row).unwrap_or(place));
            }
        }
    }

    fn place_of(&self, row: u32) -> Option<usize> {
        (self.place[row as usize] as usize).checked_sub(1)
    }

    fn put(&mut self, row: u32, place: usize) {
        self.place[row as usize] = place as u32 + 1;
    }

    fn remove(&mut self, place: usize) {
        let row = self.heap.swap_remove(place);
        self.place[row as usize] = 0;
        if let Some(&moved) = self.heap.get(place) {
            self.put(moved, place);
            self.up(place);
            self.down(self.place_of(moved).unwrap_or(place));
        }
    }

    fn earlier(&self, a: usize, b: usize) -> bool {
        self.at(self.heap[a]) < self.at(self.heap[b])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.put(self.heap[a], a);
        self.put(self.heap[b], b);
    }

    fn up(&mut self, mut place: usize) {
        while place > 0 && self.earlier(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn down(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let mut least = place;
            if left < self.heap.len() && self.earlier(left, least) {
                least = left;
            }
            if right < self.heap.len() && self.earlier(right, least) {
                least = right;
            }
            if least == place {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

/// A set of numbers below `n`, to go through in any order. It is empty most of the time, and takes no memory then, as
/// [`Deadlines`].
pub struct Members {
    list: Vec<u32>,
    /// One more than the place of a number in the list.
    place: Vec<u32>,
}

impl Members {
    /// An empty set of numbers below `n`.
    pub fn new(n: usize) -> Members {
        Members { list: Vec::with_capacity(n), place: vec![0; n] }
    }

    /// Puts a number in, or takes it out.
    pub fn set(&mut self, number: u32, member: bool) {
        match (member, self.place[number as usize]) {
            (true, 0) => {
                self.list.push(number);
                self.place[number as usize] = self.list.len() as u32;
            }
            (false, place @ 1..) => {
                self.list.swap_remove(place as usize - 1);
                self.place[number as usize] = 0;
                if let Some(&moved) = self.list.get(place as usize - 1) {
                    self.place[moved as usize] = place;
                }
            }
            (true, 1..) | (false, 0) => {}
        }
    }

    /// The `n`th member.
    pub fn get(&self, n: usize) -> Option<u32> {
        self.list.get(n).copied()
    }
}

/// Which row a PID belongs to: open addressing with linear probing, at most three quarters full. A removal closes the
/// gap (Knuth's algorithm R), so that no marks pile up however many processes come and go.
pub struct Pids {
    slots: Vec<(u32, u32)>,
}

impl Pids {
    /// An index for at most `n` processes.
    pub fn new(n: usize) -> Pids {
        Pids { slots: vec![(0, 0); (n + n / 3 + 2).next_power_of_two()] }
    }

    fn home(&self, pid: u32) -> usize {
        // Fibonacci hashing: neighbouring PIDs, the usual case, spread over the whole table.
        (pid.wrapping_mul(0x9E37_79B9) as usize) & (self.slots.len() - 1)
    }

    fn find(&self, pid: u32) -> (usize, bool) {
        let mut place = self.home(pid);
        loop {
            match self.slots[place].0 {
                0 => return (place, false),
                found if found == pid => return (place, true),
                _ => place = (place + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// The row of a process.
    pub fn get(&self, pid: u32) -> Option<u32> {
        let (place, found) = self.find(pid);
        (found && pid != 0).then(|| self.slots[place].1)
    }

    /// Remembers the row of a process.
    pub fn insert(&mut self, pid: u32, row: u32) {
        if pid != 0 {
            let (place, _) = self.find(pid);
            self.slots[place] = (pid, row);
        }
    }

    /// Forgets a process.
    pub fn remove(&mut self, pid: u32) {
        let (mut gap, found) = self.find(pid);
        if !found || pid == 0 {
            return;
        }
        let mask = self.slots.len() - 1;
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            let (next, _) = self.slots[place];
            if next == 0 {
                break;
            }
            // May it move back to the gap? Only if its home is not between the two.
            if (place.wrapping_sub(self.home(next)) & mask) >= (place.wrapping_sub(gap) & mask) {
                self.slots[gap] = self.slots[place];
                gap = place;
            }
        }
        self.slots[gap] = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);
    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    #[test]
    fn deadlines_come_out_in_order_whatever_was_set_before() {
        let mut random = Random(7);
        for _ in 0..200 {
            let mut deadlines = Deadlines::new(50);
            let mut model = [NEVER; 50];
            for _ in 0..300 {
                let row = random.below(50) as usize;
                let at = if random.below(4) == 0 { NEVER } else { random.below(40) };
                deadlines.set(row as u32, at);
                model[row] = at;
                assert_eq!(
                    deadlines.first().map(|(at, _)| at),
                    model.iter().copied().min().filter(|at| *at != NEVER)
                );
            }
        }
    }

    #[test]
    fn pids_are_found_again_after_any_removals() {
        let mut random = Random(11);
        let mut pids = Pids::new(64);
        let mut model = std::collections::HashMap::new();
        for _ in 0..100_000 {
            let pid = 1 + random.below(100) as u32 * 128;
            if model.len() < 64 && random.below(2) == 0 {
                pids.insert(pid, pid + 1);
                model.insert(pid, pid + 1);
            } else {
                pids.remove(pid);
                model.remove(&pid);
            }
            let probe = 1 + random.below(100) as u32 * 128;
            assert_eq!(pids.get(probe), model.get(&probe).copied());
        }
        assert_eq!(pids.get(0), None);
    }

    #[test]
    fn a_queue_holds_each_number_once_and_in_order() {
        let mut queue = Queue::new(4);
        for number in [2, 0, 2, 3, 1, 0, 9] {
            queue.push(number);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [2, 0, 3, 1]);
        queue.push(2);
        assert_eq!(queue.pop(), Some(2));
        assert_eq!(queue.pop(), None);
    }
}
