//! The setting `prefix`: what processes write comes out on the daemon's own standard output line by line, each with
//! `[tag]` before it, so that a container's log tells who has said what.
//!
//! Each process writes into a pipe of its entry, of which both ends stay open here: no line is lost when it is started
//! again. A line is written whole, or not yet, so that lines of two processes never mix. Whoever reads the container's
//! output slowly holds up those who write, and nobody else: while there is no room for a line its pipe is not read.

use std::os::fd::{AsFd, BorrowedFd};

use super::life::{Ends, Slot, keep_pipe, take_pipe};
use crate::engine::Engine;
use crate::limits::{LINE_READS_MAX, PREFIXED_LINE_MAX_BYTES, TAG_MAX_BYTES};
use crate::sys;
use crate::sys::output::Queue;
use crate::sys::reexec::FdStore;

/// Bytes of what is put around a line: brackets and a blank, and the newline that it may lack.
const AROUND_MAX_BYTES: usize = TAG_MAX_BYTES + 4;

/// What the processes of one row write.
#[derive(Default)]
struct Stream {
    /// The end that is read here, and the end that they write to.
    pipe: Option<Ends>,
    /// Bytes that were read and not written yet.
    held: usize,
    /// There are whole lines among them, for which there was no room.
    blocked: bool,
    /// The process has ended: what it has begun is all that there will be of that line.
    ended: bool,
}

/// What came of a read.
enum Read {
    Something,
    /// There is nothing now.
    Nothing,
    /// There is no room for it.
    Blocked,
}

/// The streams of all rows, and the queue to standard output.
pub struct Prefixed {
    store: FdStore,
    on: bool,
    streams: Vec<Stream>,
    /// The rows whose pipe is open, none without the setting: a turn of the loop looks at no others.
    open: Vec<u32>,
    /// How many of them are blocked.
    blocked: usize,
    /// A piece for each stream. One that was never used is not there: the kernel gives pages as they are written.
    bytes: Vec<u8>,
    queue: Box<Queue>,
}

impl Prefixed {
    /// None yet. Pipes that an earlier life has left are found in the store.
    pub fn new(store: FdStore) -> Prefixed {
        Prefixed {
            store,
            on: false,
            streams: Vec::new(),
            open: Vec::new(),
            blocked: 0,
            bytes: Vec::new(),
            queue: Box::new(Queue::new()),
        }
    }

    /// Makes room for the rows of a table. What is open stays so, with all that is in it. Allocates.
    pub fn prepare(&mut self, engine: &Engine) {
        self.on = engine.table().settings().prefix;
        let rows = engine.head().rows_used as usize;
        if !self.on || rows <= self.streams.len() {
            return;
        }
        let old = std::mem::replace(&mut self.bytes, vec![0; rows.saturating_mul(PREFIXED_LINE_MAX_BYTES)]);
        for (row, stream) in self.streams.iter().enumerate().filter(|(_, stream)| stream.held > 0) {
            let (from, to) = (piece(&old, row), piece_mut(&mut self.bytes, row));
            from.iter().zip(to).take(stream.held).for_each(|(from, to)| *to = *from);
        }
        let store = self.store;
        let known = self.streams.len();
        self.streams.resize_with(rows, Stream::default);
        self.open.reserve(rows.saturating_sub(self.open.len()));
        for (row, stream) in (0..).zip(&mut self.streams).skip(known) {
            stream.pipe = take_pipe(store, ends_of(row));
            self.open.extend(stream.pipe.is_some().then_some(row));
        }
    }

    /// How many there may be.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Opens the pipe of a row that is going to be started.
    pub fn open(&mut self, row: u32) -> Result<(), sys::Errno> {
        let store = self.store;
        let stream = self.streams.get_mut(row as usize).filter(|stream| self.on && stream.pipe.is_none());
        if let Some(stream) = stream {
            let (read, write) = sys::pipe::pair()?;
            sys::pipe::set_nonblocking(&read)?;
            stream.pipe = Some(keep_pipe(store, ends_of(row), (read, write)));
            self.open.push(row);
        }
        Ok(())
    }

    /// Where the process of a row is to write to.
    pub fn input(&self, row: u32) -> Option<BorrowedFd<'_>> {
        let stream = self.streams.get(row as usize).filter(|_| self.on)?;
        stream.pipe.as_ref().map(|(_, write)| write.as_fd())
    }

    /// The rows to be heard, and what to wait for.
    pub fn sources(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        let heard = |row: &u32| self.streams.get(*row as usize).filter(|stream| !stream.blocked);
        self.open.iter().filter_map(move |row| Some((*row, heard(row)?.pipe.as_ref()?.0.as_fd())))
    }

    /// Does anything wait for standard output to take it? Also a line for which there was no room when it was read, though
    /// there is some now.
    pub fn pending(&self) -> bool {
        !self.queue.is_empty() || self.blocked > 0
    }

    /// Reads what a row has written, and writes its lines. Not all that a fast writer has: others have their turn too.
    pub fn hear(&mut self, engine: &Engine, row: u32) {
        for _ in 0..LINE_READS_MAX {
            self.write_lines(engine, row, false);
            match self.read(row) {
                Read::Something => {}
                Read::Nothing => {
                    self.write_lines(engine, row, true);
                    break;
                }
                Read::Blocked => break,
            }
        }
        self.queue.flush_to(rustix::stdio::stdout());
    }

    fn read(&mut self, row: u32) -> Read {
        let Some(stream) = self.streams.get_mut(row as usize).filter(|stream| !stream.blocked) else {
            return Read::Blocked;
        };
        let Some((pipe, _)) = &stream.pipe else { return Read::Nothing };
        let room = piece_mut(&mut self.bytes, row as usize).get_mut(stream.held..).unwrap_or_default();
        match sys::pipe::read(pipe, room) {
            Ok(Some(count)) if count > 0 => {
                stream.held = stream.held.saturating_add(count);
                Read::Something
            }
            _ => Read::Nothing,
        }
    }

    /// Writes the whole lines of what was read; also one that is longer than a line may be, in pieces, and the last one
    /// of a process that has ended without a newline, when everything was read (`drained`).
    fn write_lines(&mut self, engine: &Engine, row: u32, drained: bool) {
        let Some(stream) = self.streams.get_mut(row as usize) else { return };
        let bytes = piece_mut(&mut self.bytes, row as usize);
        let tag = engine.row(row).map_or(&b"?"[..], |record| record.tag());
        let mut start = 0_usize;
        self.blocked = self.blocked.saturating_sub(usize::from(stream.blocked));
        stream.blocked = false;
        while let Some(rest) = bytes.get(start..stream.held).filter(|rest| !rest.is_empty()) {
            let newline = rest.iter().position(|byte| *byte == b'\n');
            let is_full = start == 0 && stream.held == PREFIXED_LINE_MAX_BYTES;
            let line = match newline {
                Some(at) => rest.get(..at).unwrap_or_default(),
                None if is_full || drained && stream.ended => rest,
                None => break,
            };
            if self.queue.room() < line.len().saturating_add(AROUND_MAX_BYTES) {
                self.queue.flush_to(rustix::stdio::stdout());
            }
            stream.blocked = self.queue.room() < line.len().saturating_add(AROUND_MAX_BYTES);
            if stream.blocked {
                self.blocked = self.blocked.saturating_add(1);
                break;
            }
            [b"[", tag, b"] ", line, b"\n"].into_iter().for_each(|part| self.queue.put(part));
            start = start.saturating_add(line.len()).saturating_add(usize::from(newline.is_some()));
        }
        let end = stream.held;
        stream.held = end.saturating_sub(start);
        stream.ended &= !drained || stream.blocked;
        if start > 0 && start <= end {
            bytes.copy_within(start..end, 0);
        }
    }

    /// The process of a row has ended: what it has written last comes out, a line without its end too.
    pub fn ended(&mut self, engine: &Engine, row: u32) {
        if let Some(stream) = self.streams.get_mut(row as usize).filter(|stream| stream.pipe.is_some()) {
            stream.ended = true;
            self.hear(engine, row);
        }
    }

    /// Standard output takes something again: goes on with those for whose lines there was no room.
    pub fn flush(&mut self, engine: &Engine) {
        self.queue.flush_to(rustix::stdio::stdout());
        self.for_each(|prefixed, row| {
            if prefixed.streams.get(row as usize).is_some_and(|stream| stream.blocked) {
                prefixed.hear(engine, row);
            }
        });
    }

    /// Everything is down, or what is held here will be lost: writes what is left, until `until` (monotonic milliseconds)
    /// at most.
    pub fn end(&mut self, engine: &Engine, until: u64) {
        self.for_each(|prefixed, row| prefixed.ended(engine, row));
        while (self.pending() || self.streams.iter().any(|stream| stream.ended))
            && sys::clock::now_ms() < until
        {
            if self.pending() {
                self.queue.wait_for(rustix::stdio::stdout(), until);
            }
            self.for_each(|prefixed, row| prefixed.hear(engine, row));
        }
    }

    fn for_each(&mut self, act: impl Fn(&mut Prefixed, u32)) {
        for at in 0..self.open.len() {
            if let Some(&row) = self.open.get(at) {
                act(self, row);
            }
        }
    }
}

fn ends_of(row: u32) -> [Slot; 2] {
    [Slot::LinesOutput(row), Slot::LinesInput(row)]
}

fn piece(bytes: &[u8], row: usize) -> &[u8] {
    bytes.chunks_exact(PREFIXED_LINE_MAX_BYTES).nth(row).unwrap_or_default()
}

fn piece_mut(bytes: &mut [u8], row: usize) -> &mut [u8] {
    bytes.chunks_exact_mut(PREFIXED_LINE_MAX_BYTES).nth(row).unwrap_or_default()
}
