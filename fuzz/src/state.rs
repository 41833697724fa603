//! The state file: what a daemon that was killed has left beside its socket, damaged.
//!
//! An input is numbers: how many places of the file are written over; for each where it is, how many bytes and which;
//! where the file ends too early, perhaps; then, as in `rows.rs`, what happens to who finds it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use isinit::engine::{Effect, Engine, Event};
use isinit::isinittab::Table;
use isinit::supervisor::state::{GROUPS_AT, ROWS_AT, StateFile, recover};

use super::rows::{Left, Numbers, TABLE, goes_on};

/// Places that are written over.
const PLACES_MAX: usize = 16;

/// Bytes that are written over at one place.
const BYTES_MAX: usize = 16;

/// Behind the magic number and the version of the rows.
const VERSION_END: u64 = 16;

/// Whatever the file holds: it is not believed, or sense is made of it.
pub fn check(input: &[u8]) {
    let mut numbers = Numbers(input);
    let table = Table::parse("fuzz", TABLE).expect("a table").table;
    let socket = std::env::temp_dir().join(format!("isinit-fuzz-{}", std::process::id()));
    let kept = keep(&socket, table.clone());
    let path = format!("{}.state", socket.display());
    damage(&OpenOptions::new().write(true).open(path).expect("it was made"), &mut numbers);
    let mut left = Left::empty();
    let found = recover(&socket, &mut left.memory()).is_some();
    kept.remove();
    assert!(found || !input.is_empty(), "it is not believed as it was written");
    if found {
        if numbers.one_in(2) {
            left.memory().forget_levels();
        }
        goes_on(left, &table, numbers);
    }
}

/// That of a daemon which has started all that there is to be started.
fn keep(socket: &Path, table: Table) -> StateFile {
    let mut left = Left::empty();
    let mut engine = Engine::new(left.memory());
    engine.load(table, 0).expect("room");
    engine.begin(0);
    while let Some(effect) = engine.next_effect(0) {
        if let Effect::Spawn { row } = effect {
            engine.handle(Event::Spawned { row, pid: 100 + row }, 0);
        }
    }
    StateFile::create(socket, &engine).expect("a file")
}

fn damage(file: &File, numbers: &mut Numbers) {
    for _ in 0..numbers.below(PLACES_MAX) {
        let at = place(numbers);
        let bytes: Vec<u8> = (0..numbers.below(BYTES_MAX)).map(|_| numbers.next()).collect();
        file.write_all_at(&bytes, at).expect("room");
    }
    if numbers.one_in(8) {
        file.set_len(place(numbers)).expect("it can be cut");
    }
}

/// A byte of the header, of the first groups or of the first rows. Not of the version: with another one nothing is read,
/// and that is said each time.
fn place(numbers: &mut Numbers) -> u64 {
    let area = [VERSION_END, GROUPS_AT, ROWS_AT][numbers.below(3)];
    area + u64::from(numbers.next()) * 8 + u64::from(numbers.next() % 8)
}
