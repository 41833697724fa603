//! The pipe of sysvinit's telinit, shutdown and halt: `struct init_request` of its initreq.h.
//!
//! A request is 384 bytes, less than a pipe takes in one piece, so that those of several writers do not mix. What
//! is no request (rubbish, half of one) cannot be told from the beginning of the next one; then all that is in the pipe
//! is dropped, and said so. It does no harm: who writes here is root.

use crate::limits::INITCTL_REQUESTS_MAX;
use crate::machine::words::{say, say_errno};
use crate::sys::Errno;
use crate::sys::fifo::Fifo;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Where the programs look: sysvinit since 2.89, and before.
pub const PLACES: [&CStr; 2] = [c"/run/initctl", c"/dev/initctl"];

/// Bytes of a request.
const REQUEST_BYTES: usize = 384;

/// Bytes of the numbers at its head.
const WORDS_BYTES: usize = 16;

/// What a request begins with.
const MAGIC: u32 = 0x0309_1969;

/// INIT_CMD_RUNLVL and INIT_CMD_SETENV.
const COMMAND_LEVEL: u32 = 1;
const COMMAND_SETENV: u32 = 6;

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A level, as telinit(8) has it: a letter or a digit.
    Level(u8),
    /// The power fails.
    PowerFails,
    /// The power fails, and the battery is nearly empty.
    PowerLow,
    /// The power is back.
    PowerBack,
    /// Going down to level 0 halts the machine, and leaves the power on (`shutdown -H`); or switches it off.
    HaltsAtZero(bool),
    /// Another variable of the environment of processes, which is the table's.
    Variable,
    /// Something that we have no use for.
    Nothing,
}

impl Asked {
    /// Reads a request; `None` if these bytes are none.
    ///
    /// ```
    /// use isinit::machine::initctl::Asked;
    /// let mut request = [0; 384];
    /// request[..4].copy_from_slice(&0x0309_1969_u32.to_ne_bytes());
    /// request[4..8].copy_from_slice(&1_u32.to_ne_bytes());
    /// request[8..12].copy_from_slice(&u32::from(b'3').to_ne_bytes());
    /// assert_eq!(Asked::read(&request), Some(Asked::Level(b'3')));
    /// assert_eq!(Asked::read(&[0; 384]), None);
    /// ```
    pub fn read(request: &[u8; REQUEST_BYTES]) -> Option<Asked> {
        let (words, data) = request.split_first_chunk::<WORDS_BYTES>()?;
        let mut words = words.chunks_exact(4).filter_map(|word| word.try_into().ok().map(u32::from_ne_bytes));
        if words.next() != Some(MAGIC) {
            return None;
        }
        Some(match (words.next()?, words.next()?) {
            (COMMAND_LEVEL, level) => u8::try_from(level).map_or(Asked::Nothing, Asked::Level),
            (2, _) => Asked::PowerFails,
            (3, _) => Asked::PowerLow,
            (4, _) => Asked::PowerBack,
            (COMMAND_SETENV | 7, _) => variable(data),
            // INIT_CMD_START and BSD: sysvinit does nothing for them.
            _ => Asked::Nothing,
        })
    }
}

/// INIT_CMD_SETENV and UNSETENV: some of `NAME=VALUE`, each with a zero byte at its end; the name alone takes a variable
/// away, for a shutdown without -H, or one that has failed after it said HALT. sysvinit's shutdown says so what the
/// scripts of level 0 are to do at their end. Where several of them speak of that, the last one counts.
fn variable(data: &[u8]) -> Asked {
    let said = data.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    said.fold(Asked::Nothing, |asked, word| match word {
        b"INIT_HALT=HALT" => Asked::HaltsAtZero(true),
        b"INIT_HALT" => Asked::HaltsAtZero(false),
        word if word.starts_with(b"INIT_HALT=") => Asked::HaltsAtZero(false),
        _ if asked == Asked::Nothing => Asked::Variable,
        _ => asked,
    })
}

/// A request as sysvinit's programs write it, for who is called in their place.
#[derive(Clone, Copy, Debug)]
pub struct Order([u8; REQUEST_BYTES]);

impl Order {
    /// A level, as telinit(8) has it.
    pub fn level(level: u8) -> Order {
        Order::new(COMMAND_LEVEL, level, b"")
    }

    /// Variables, as `telinit -e` has them; `None` if they do not fit.
    pub fn variables(variables: &[&str]) -> Option<Order> {
        let text: Vec<u8> = variables.iter().flat_map(|word| word.bytes().chain([0])).collect();
        (text.len() < REQUEST_BYTES - WORDS_BYTES).then(|| Order::new(COMMAND_SETENV, 0, &text))
    }

    /// The request.
    pub fn bytes(&self) -> &[u8; REQUEST_BYTES] {
        &self.0
    }

    /// The magic number, what to do, a level, the seconds from SIGTERM to SIGKILL, and text.
    fn new(command: u32, level: u8, text: &[u8]) -> Order {
        let words = [MAGIC, command, u32::from(level), 5];
        let mut bytes = [0; REQUEST_BYTES];
        let from = words.iter().flat_map(|word| word.to_ne_bytes()).chain(text.iter().copied());
        bytes.iter_mut().zip(from).for_each(|(to, from)| *to = from);
        Order(bytes)
    }
}

/// The pipe.
#[derive(Debug)]
pub struct Pipe {
    fifo: Fifo,
    place: &'static CStr,
}

impl Pipe {
    /// Makes the pipe at /run/initctl, with /dev/initctl as a link to it; where /run cannot be written, at the latter
    /// place.
    ///
    /// # Errors
    /// EROFS, EACCES, ENOENT: there is no place for it. EEXIST: something else is in the way.
    pub fn make() -> Result<Pipe, Errno> {
        let [run, dev] = PLACES;
        if let Ok(fifo) = Fifo::make(run) {
            // One that is there is somebody's; programs of today do not need it.
            let _ = crate::sys::mount::make_link(run, dev);
            return Ok(Pipe { fifo, place: run });
        }
        Ok(Pipe { fifo: Fifo::make(dev)?, place: dev })
    }

    /// The pipe that an earlier life has made, with the requests in it; `None` if it is at neither place any more.
    pub fn adopt(fd: OwnedFd) -> Option<Pipe> {
        let fifo = Fifo::adopt(fd);
        let place = PLACES.into_iter().find(|place| fifo.is_at(place))?;
        Some(Pipe { fifo, place })
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fifo.fd()
    }

    /// Is it still what a program finds at its place?
    pub fn still_there(&self) -> bool {
        self.fifo.is_at(self.place)
    }

    /// The next request; `None` when there is none.
    pub fn read(&self) -> Option<Asked> {
        match hear(&self.fifo) {
            Ok(Heard::Asked(asked)) => return Some(asked),
            Ok(Heard::Nothing) => {}
            Ok(Heard::Rubbish) => {
                say(&[b"what somebody has written to initctl is no request; it is dropped"]);
            }
            Err(errno) => say_errno(b"cannot read from the pipe of telinit", errno),
        }
        None
    }
}

/// What has come out of the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing is in it.
    Nothing,
    /// A request.
    Asked(Asked),
    /// No request; it was dropped, with all that stood behind it.
    Rubbish,
}

/// Takes the next request out of a pipe.
///
/// # Errors
/// What read(2) says.
pub fn hear(fifo: &Fifo) -> Result<Heard, Errno> {
    let mut request = [0; REQUEST_BYTES];
    let asked = match fifo.read(&mut request)? {
        None => return Ok(Heard::Nothing),
        Some(REQUEST_BYTES) => Asked::read(&request),
        Some(_) => None,
    };
    if let Some(asked) = asked {
        return Ok(Heard::Asked(asked));
    }
    for _ in 0..INITCTL_REQUESTS_MAX {
        if !fifo.read(&mut request).is_ok_and(|count| count.is_some()) {
            break;
        }
    }
    Ok(Heard::Rubbish)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Scratch;
    use std::io::Write;

    fn request(command: u32, level: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [MAGIC, command, level, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(data);
        bytes.resize(REQUEST_BYTES, 0);
        bytes
    }

    fn with_pipe(test: impl FnOnce(&Fifo, &mut std::fs::File)) {
        let scratch = Scratch::new("initctl");
        let fifo = Fifo::make(&scratch.c_path("initctl")).unwrap();
        test(&fifo, &mut std::fs::OpenOptions::new().write(true).open(scratch.0.join("initctl")).unwrap());
    }

    #[test]
    fn requests_come_one_after_the_other() {
        with_pipe(|fifo, writer| {
            let (halt, off) = (&b"INIT_HALT=HALT\0"[..], &b"INIT_HALT=POWEROFF\0X=Y\0"[..]);
            let all = [
                (1, u32::from(b'6'), &b""[..]),
                (2, 0, b""),
                (3, 0, b""),
                (4, 0, b""),
                (6, 0, halt),
                (6, 0, off),
            ];
            let bytes: Vec<u8> =
                all.iter().flat_map(|(command, level, data)| request(*command, *level, data)).collect();
            writer.write_all(&bytes).unwrap();
            let got = all.map(|_| hear(fifo));
            let expected = [
                Asked::Level(b'6'),
                Asked::PowerFails,
                Asked::PowerLow,
                Asked::PowerBack,
                Asked::HaltsAtZero(true),
                Asked::HaltsAtZero(false),
            ];
            assert_eq!(got, expected.map(|asked| Ok(Heard::Asked(asked))));
            assert_eq!(hear(fifo), Ok(Heard::Nothing));
        });
    }

    #[test]
    fn what_is_no_request_is_dropped_and_the_next_one_is_heard() {
        with_pipe(|fifo, writer| {
            for rubbish in [&b"reboot\n"[..], &[0; 384], &[0xff; 1_000], &request(1, 50, b"")[..100]] {
                writer.write_all(rubbish).unwrap();
                assert_eq!(hear(fifo), Ok(Heard::Rubbish), "{rubbish:?}");
                writer.write_all(&request(1, u32::from(b'2'), b"")).unwrap();
                assert_eq!(hear(fifo), Ok(Heard::Asked(Asked::Level(b'2'))));
            }
        });
    }

    #[test]
    fn a_shutdown_that_has_failed_takes_its_halt_back() {
        for (command, data) in [(6, &b"INIT_HALT\0"[..]), (7, b"INIT_HALT\0"), (7, b"X\0INIT_HALT")] {
            let bytes: [u8; REQUEST_BYTES] = request(command, 0, data).try_into().unwrap();
            assert_eq!(Asked::read(&bytes), Some(Asked::HaltsAtZero(false)));
        }
    }

    #[test]
    fn variables_come_several_at_once() {
        for (data, expected) in [
            (&b"CONSOLE=/dev/tty9\0INIT_HALT=HALT\0"[..], Asked::HaltsAtZero(true)),
            (b"INIT_HALT=HALT\0CONSOLE=/dev/tty9\0", Asked::HaltsAtZero(true)),
            (b"INIT_HALT=HALT\0INIT_HALT=POWEROFF\0", Asked::HaltsAtZero(false)),
            (b"CONSOLE=/dev/tty9\0", Asked::Variable),
            (b"", Asked::Nothing),
        ] {
            let bytes: [u8; REQUEST_BYTES] = request(6, 0, data).try_into().unwrap();
            assert_eq!(Asked::read(&bytes), Some(expected), "{data:?}");
        }
    }

    #[test]
    fn odd_numbers_are_nothing() {
        for (command, level) in [(0, 0), (1, 256), (1, u32::MAX), (5, 0), (8, 0), (99, 99), (u32::MAX, 1)] {
            let bytes: [u8; REQUEST_BYTES] = request(command, level, b"INIT_HALT=HALT").try_into().unwrap();
            assert_eq!(Asked::read(&bytes), Some(Asked::Nothing), "{command} {level}");
        }
    }
}
