//! Those who are connected to the socket: a fixed number of places, each with a fixed amount of memory.
//!
//! A client costs what its place costs, whatever it sends and whether or not it reads. Its answer is made line
//! by line as it takes it. One that is silent longest gives up its place when all are taken; one that asks
//! properly is asked to wait by nobody.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use smallvec::SmallVec;

use super::answers::StatusAt;
use super::messages::say_errno;
use crate::engine::{Ms, NEVER, Ticket};
use crate::isinittab::Table;
use crate::limits::{ANSWER_MAX_BYTES, CLIENT_TIMEOUT_MS, REQUEST_MAX_BYTES};
use crate::sys;

/// What a client is being answered, and what it waits for.
pub enum Talk {
    /// Its request is not there yet, or not all of it.
    Asking,
    /// It gets a status.
    Status(StatusAt),
    /// It gets a status, and then what is remembered of how it came to that.
    Timeline {
        /// Where the status stands.
        at: StatusAt,
        /// The number of the transition that is next.
        next: u64,
        /// The number of the first that is not told any more.
        end: u64,
    },
    /// It gets a plan.
    Plan {
        /// The table that it goes by, if that is not the one in force.
        other: Option<Box<Table>>,
        /// The group's number in that table.
        group: u32,
        /// Is the level one of `ondemand` entries alone?
        on_demand: bool,
        /// The level.
        level: SmallVec<[u8; 64]>,
        /// The step that is next.
        step: usize,
    },
    /// It gets text, and then the last line. What is wrong with a table, for example.
    Saying {
        /// The text.
        text: Vec<u8>,
        /// What stands before each of its lines.
        before: &'static str,
        /// The last line.
        end: &'static str,
        /// How much of it has been said.
        said: usize,
    },
    /// It waits for the end of a switch.
    Switch {
        /// The switch.
        ticket: Ticket,
        /// Does it want to know what is waited for?
        progress: bool,
        /// The row that it was told last.
        told: Option<(u32, &'static str)>,
    },
    /// It waits for one entry to be up or down.
    Entry {
        /// Its row.
        row: u32,
        /// Up, or down?
        up: bool,
    },
    /// It waits for the end of everything.
    End,
    /// It waits for a newer program to take our place, by which its connection ends.
    Upgrade,
    /// It watches, from this transition on.
    Watching {
        /// The number of the transition that is next.
        next: u64,
    },
    /// It gets what is left in its buffer, and then is closed.
    Closing,
}

/// What a place costs: room for a request, and for an answer.
const PLACE_BYTES: usize = REQUEST_MAX_BYTES + ANSWER_MAX_BYTES;

/// The memory of a place.
type Memory = (&'static mut [u8], &'static mut [u8]);

/// One place.
pub struct Client {
    fd: OwnedFd,
    /// What it is being answered.
    pub talk: Talk,
    /// When it last did something.
    active_ms: Ms,
    input: &'static mut [u8],
    asked: usize,
    ended: bool,
    output: &'static mut [u8],
    filled: usize,
    sent: usize,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole line, of this length without its newline; `last` if nothing will come after it.
    Line {
        /// Bytes of the line.
        length: usize,
        /// Has the client closed its side?
        last: bool,
    },
    /// Nothing, or a part of a line.
    Nothing,
    /// More than a request may have.
    TooLong,
    /// It has closed its side, and all that it has asked for was heard.
    Ended,
    /// It has gone.
    Gone,
}

impl Client {
    fn new(fd: OwnedFd, now: Ms, memory: Memory) -> Client {
        let (input, output) = memory;
        Client {
            fd,
            talk: Talk::Asking,
            active_ms: now,
            input,
            asked: 0,
            ended: false,
            output,
            filled: 0,
            sent: 0,
        }
    }

    /// Its connection.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Does it have to be read from? Who waits or watches is read from too, to see it go; but not who has asked for
    /// more meanwhile, nor who has closed its side or does not take what it has asked for.
    pub fn wants_read(&self) -> bool {
        let room = self.asked < self.input.len() && self.line(false).is_none();
        room && !self.ended && !self.wants_write() && (self.waits() || self.is_idle())
    }

    /// May it ask? Not before it has taken the answer to what it asked before.
    pub fn is_idle(&self) -> bool {
        matches!(self.talk, Talk::Asking) && !self.wants_write()
    }

    /// Can it go on at once, with what it has sent already?
    pub fn is_due(&self) -> bool {
        self.is_idle() && (self.ended || self.line(false).is_some())
    }

    fn waits(&self) -> bool {
        match self.talk {
            Talk::Switch { .. } | Talk::Entry { .. } | Talk::End | Talk::Upgrade | Talk::Watching { .. } => {
                true
            }
            Talk::Asking | Talk::Closing => false,
            Talk::Status(_) | Talk::Timeline { .. } | Talk::Plan { .. } | Talk::Saying { .. } => false,
        }
    }

    /// Is there something that it has not taken yet?
    pub fn wants_write(&self) -> bool {
        self.sent < self.filled
    }

    /// When it has been silent for too long. Who waits for us may wait for as long as we take.
    pub fn deadline(&self) -> Ms {
        if self.waits() && !self.wants_write() {
            NEVER
        } else {
            self.active_ms.saturating_add(CLIENT_TIMEOUT_MS)
        }
    }

    /// Reads what has come, up to the end of a line.
    pub fn hear(&mut self, now: Ms) -> Heard {
        if let Some(heard) = self.line(self.ended) {
            return heard;
        }
        if self.ended {
            return Heard::Ended;
        }
        loop {
            let room = self.input.get_mut(self.asked..).unwrap_or(&mut []);
            if room.is_empty() {
                return Heard::TooLong;
            }
            match sys::socket::read(self.fd.as_fd(), room) {
                Ok(None) => return Heard::Nothing,
                // The last line may come without a newline: IS::Init's `stopall` does.
                Ok(Some(0)) => {
                    self.ended = true;
                    return self.line(true).unwrap_or(Heard::Ended);
                }
                Ok(Some(count)) => {
                    self.asked = self.asked.saturating_add(count);
                    self.active_ms = now;
                    if let Some(heard) = self.line(false) {
                        return heard;
                    }
                }
                Err(errno) => {
                    say_lost("cannot read from", errno);
                    return Heard::Gone;
                }
            }
        }
    }

    fn line(&self, last: bool) -> Option<Heard> {
        let asked = self.input.get(..self.asked)?;
        match asked.iter().position(|byte| *byte == b'\n') {
            Some(length) => Some(Heard::Line { length, last: false }),
            None if last && !asked.is_empty() => Some(Heard::Line { length: asked.len(), last: true }),
            None => None,
        }
    }

    /// The line that was heard, taken out of the buffer.
    pub fn take_line(&mut self, length: usize) -> SmallVec<[u8; REQUEST_MAX_BYTES]> {
        let line = SmallVec::from_slice(self.input.get(..length).unwrap_or(&[]));
        let rest = length.saturating_add(1).min(self.asked);
        self.input.copy_within(rest..self.asked, 0);
        self.asked = self.asked.saturating_sub(rest);
        line
    }

    /// Is there room for one more line of an answer?
    pub fn has_room(&self, length: usize) -> bool {
        ANSWER_MAX_BYTES.saturating_sub(self.filled) >= length
    }

    /// Adds to the answer: all of it, or nothing.
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let end = self.filled.saturating_add(bytes.len());
        let Some(room) = self.output.get_mut(self.filled..end) else { return false };
        room.copy_from_slice(bytes);
        self.filled = end;
        true
    }

    /// Sends what it takes. Is the client still there?
    pub fn flush(&mut self, now: Ms) -> bool {
        while self.sent < self.filled {
            let rest = self.output.get(self.sent..self.filled).unwrap_or(&[]);
            match sys::socket::write(self.fd.as_fd(), rest) {
                Ok(Some(count)) => {
                    self.sent = self.sent.saturating_add(count);
                    self.active_ms = now;
                }
                Ok(None) => return true,
                Err(errno) => {
                    say_lost("cannot write to", errno);
                    return false;
                }
            }
        }
        self.sent = 0;
        self.filled = 0;
        true
    }

    /// How readily it gives up its place: who has asked nothing first, then who does not take its answer; who
    /// waits for us as we asked it to, never.
    fn dispensable(&self) -> Option<(u8, Ms)> {
        match self.talk {
            Talk::Asking => Some((0, self.active_ms)),
            _ if self.wants_write() => Some((1, self.active_ms)),
            Talk::Watching { .. } => Some((2, self.active_ms)),
            Talk::Status(_)
            | Talk::Timeline { .. }
            | Talk::Plan { .. }
            | Talk::Saying { .. }
            | Talk::Closing => Some((1, self.active_ms)),
            Talk::Switch { .. } | Talk::Entry { .. } | Talk::End | Talk::Upgrade => None,
        }
    }
}

/// Says why a client is let go of. Who has gone by himself knows that, and it happens every day.
fn say_lost(what: &str, errno: sys::Errno) {
    if !matches!(errno, sys::Errno::CONNRESET | sys::Errno::PIPE) {
        say_errno(what, b"a client", errno);
    }
}

/// All places.
pub struct Clients {
    places: Vec<Option<Client>>,
    spare: Vec<Memory>,
}

impl Clients {
    /// So many places. Their memory is taken now, for as long as the process lives, and in one piece: so large a piece comes
    /// from the kernel as it is, and what is never used is never touched.
    pub fn new(count: usize) -> Clients {
        let memory = Box::leak(vec![0; PLACE_BYTES.saturating_mul(count)].into_boxed_slice());
        let places = memory.chunks_exact_mut(PLACE_BYTES);
        let spare = places.map(|place| place.split_at_mut(REQUEST_MAX_BYTES)).collect();
        Clients { places: (0..count).map(|_| None).collect(), spare }
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The client of a place.
    pub fn get(&self, place: usize) -> Option<&Client> {
        self.places.get(place)?.as_ref()
    }

    /// The client of a place, to talk to.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut Client> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Gives a place to a new client. `None` if all who have one are waited for by us.
    pub fn seat(&mut self, fd: OwnedFd, now: Ms) -> Option<usize> {
        if self.spare.is_empty() {
            self.make_room();
        }
        let place = self.places.iter().position(Option::is_none)?;
        let memory = self.spare.pop()?;
        *self.places.get_mut(place)? = Some(Client::new(fd, now, memory));
        Some(place)
    }

    /// Closes the connection that can best be done without. Was there one?
    pub fn make_room(&mut self) -> bool {
        let dispensable =
            |(place, client): (usize, &Option<Client>)| Some((client.as_ref()?.dispensable()?, place));
        let first = self.places.iter().enumerate().filter_map(dispensable).min();
        if let Some((_, place)) = first {
            self.close(place);
        }
        first.is_some()
    }

    /// Closes a connection.
    pub fn close(&mut self, place: usize) {
        if let Some(client) = self.places.get_mut(place).and_then(Option::take) {
            self.spare.push((client.input, client.output));
        }
    }

    /// Can one of them go on at once?
    pub fn any_due(&self) -> bool {
        self.places.iter().flatten().any(Client::is_due)
    }

    /// When the first of them has been silent for too long.
    pub fn deadline(&self) -> Ms {
        self.places.iter().flatten().map(Client::deadline).min().unwrap_or(NEVER)
    }
}
