//! sysvinit's pipe: `struct init_request`, whole, in halves, and what is none.
//!
//! The first two bytes of an input say how the others are written: in pieces of so many bytes, 0 being all at once.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write;

use isinit::machine::initctl::{Asked, Heard, hear};
use isinit::sys::fifo::Fifo;

const REQUEST_BYTES: usize = 384;

thread_local! {
    static PIPE: (Fifo, File) = pipe();
}

/// What is a request is heard, what is none is dropped, and the request after it is heard in any case.
pub fn check(input: &[u8]) {
    let Some((size, bytes)) = input.split_first_chunk::<2>() else { return };
    let size = usize::from(u16::from_le_bytes(*size));
    // Less than a pipe takes at once.
    let bytes = bytes.get(..16_384).unwrap_or(bytes);
    let size = if size == 0 { bytes.len().max(1) } else { size };
    PIPE.with(|(fifo, writer)| {
        for piece in bytes.chunks(size) {
            assert_eq!(heard(fifo, writer, piece), expected(piece));
        }
        for asked in [Asked::Level(b'3'), Asked::PowerLow, Asked::HaltsAtZero(true)] {
            assert_eq!(heard(fifo, writer, &request(asked).expect("a request")), [Heard::Asked(asked)]);
        }
    });
}

/// A pipe of our own. It has no name any more when it is used.
fn pipe() -> (Fifo, File) {
    let path = std::env::temp_dir().join(format!("isinit-fuzz-{}", std::process::id()));
    let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    let fifo = Fifo::make(&name).expect("a pipe");
    let writer = OpenOptions::new().write(true).open(&path).expect("its other end");
    std::fs::remove_file(&path).expect("it is ours");
    (fifo, writer)
}

fn heard(fifo: &Fifo, mut writer: &File, bytes: &[u8]) -> Vec<Heard> {
    writer.write_all(bytes).expect("room in the pipe");
    let next = || Some(hear(fifo).expect("it can be read")).filter(|heard| *heard != Heard::Nothing);
    std::iter::from_fn(next).collect()
}

/// The same, of bytes that are written at once.
fn expected(bytes: &[u8]) -> Vec<Heard> {
    let mut expected = Vec::new();
    for request in bytes.chunks(REQUEST_BYTES) {
        let asked = request.try_into().ok().and_then(Asked::read);
        expected.push(asked.map_or(Heard::Rubbish, Heard::Asked));
        let Some(asked) = asked else { break };
        if let Some(written) = self::request(asked) {
            assert_eq!(Asked::read(&written), Some(asked));
        }
    }
    expected
}

/// A request as sysvinit's programs write it.
fn request(asked: Asked) -> Option<[u8; REQUEST_BYTES]> {
    let (command, level, data) = match asked {
        Asked::Level(level) => (1, level, &b""[..]),
        Asked::PowerFails => (2, 0, &b""[..]),
        Asked::PowerLow => (3, 0, &b""[..]),
        Asked::PowerBack => (4, 0, &b""[..]),
        Asked::HaltsAtZero(true) => (6, 0, &b"INIT_HALT=HALT\0"[..]),
        Asked::HaltsAtZero(false) => (6, 0, &b"INIT_HALT=POWEROFF\0"[..]),
        Asked::Variable => (6, 0, &b"NAME=VALUE\0"[..]),
        Asked::Nothing => return None,
    };
    let words = [0x0309_1969, command, u32::from(level), 5_u32];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).chain(data.to_vec()).collect();
    bytes.resize(REQUEST_BYTES, 0);
    bytes.try_into().ok()
}
