//! The pipes of `log=`: from those who write a log to the entry that reads it. Both ends stay open in the
//! daemon for as long as somebody may write, so no line is lost when either side restarts, or the daemon itself does.

use std::os::fd::{AsFd, BorrowedFd};

use super::life::{Ends, Slot, keep_pipe, take_pipe};
use crate::engine::Engine;
use crate::engine::rows::NONE;
use crate::sys;
use crate::sys::reexec::{FdStore, Stored};

struct Log {
    reader: u32,
    /// The end to read from, the end to write to.
    pipe: Option<Ends>,
}

/// All logs of a table.
pub struct Logs {
    store: FdStore,
    logs: Vec<Log>,
    place: Vec<u32>,
}

impl Logs {
    /// None yet. Those that an earlier life has left are found in the store.
    pub fn new(store: FdStore) -> Logs {
        Logs { store, logs: Vec::new(), place: Vec::new() }
    }

    /// Makes room for the logs of a table. A reader that was there before keeps its pipe, with all that is in
    /// it. Allocates.
    pub fn prepare(&mut self, engine: &Engine) {
        let rows = engine.head().rows_used;
        let mut place = Vec::new();
        let mut logs = Vec::new();
        for reader in (0..rows).filter(|row| engine.is_reader(*row)) {
            place.resize(rows as usize, NONE);
            if let Some(place) = place.get_mut(reader as usize) {
                *place = logs.len() as u32;
            }
            let before = self.find(reader).and_then(|log| log.pipe.take());
            let pipe = before.or_else(|| take_pipe(self.store, ends_of(reader)));
            logs.push(Log { reader, pipe });
        }
        (self.logs, self.place) = (logs, place);
    }

    /// Opens the log of a reader, if there is one and it is not open.
    pub fn open(&mut self, reader: u32) -> Result<(), sys::Errno> {
        let store = self.store;
        if let Some(log) = self.find(reader).filter(|log| log.pipe.is_none()) {
            log.pipe = Some(keep_pipe(store, ends_of(reader), sys::pipe::pair()?));
        }
        Ok(())
    }

    /// Closes the log of a reader: it gets end-of-file when it has read what is in there.
    pub fn end(&mut self, reader: u32) {
        if let Some(log) = self.find(reader) {
            log.pipe = None;
        }
    }

    /// The end that the reader reads from.
    pub fn output(&self, reader: u32) -> Option<BorrowedFd<'_>> {
        self.get(reader).map(|(output, _)| output.as_fd())
    }

    /// The end that the others write to.
    pub fn input(&self, reader: u32) -> Option<BorrowedFd<'_>> {
        self.get(reader).map(|(_, input)| input.as_fd())
    }

    fn get(&self, reader: u32) -> Option<&Ends> {
        let place = *self.place.get(reader as usize)?;
        self.logs.get(place as usize)?.pipe.as_ref()
    }

    fn find(&mut self, reader: u32) -> Option<&mut Log> {
        let place = *self.place.get(reader as usize)?;
        self.logs.get_mut(place as usize).filter(|log| log.reader == reader)
    }
}

fn ends_of(reader: u32) -> [Slot; 2] {
    [Slot::LogOutput(reader), Slot::LogInput(reader)]
}

/// A process that has not said yet that it is ready: its row, and our end of its pipe.
pub struct Awaited {
    /// Its row.
    pub row: u32,
    /// Where the newline comes from.
    pub pipe: Stored,
}
