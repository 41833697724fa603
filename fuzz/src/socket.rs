//! The daemon's side of the socket: bytes to lines to requests, and answers into a buffer of fixed size.
//!
//! The first byte of an input says how the others come: in pieces of so many bytes, 0 being all at once.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{LazyLock, Mutex, PoisonError};

use isinit::isinittab::Signal;
use isinit::limits::{ANSWER_MAX_BYTES, REQUEST_MAX_BYTES};
use isinit::supervisor::clients::{Client, Clients, Heard};
use isinit::wire::client::word;
use isinit::wire::{Power, Request, parse};

/// However the bytes come, the same lines are heard; and a line is a request or is not, whoever writes it.
pub fn check(input: &[u8]) {
    let Some((piece, bytes)) = input.split_first() else { return };
    // What is more than its buffers take a peer would have to wait for.
    let bytes = bytes.get(..ANSWER_MAX_BYTES).unwrap_or(bytes);
    let (lines, end) = heard(bytes, usize::from(*piece));
    let (expected, expected_end) = lines_of(bytes);
    assert_eq!((&lines, end), (&expected, expected_end));
    lines.iter().for_each(|line| is_read_as_it_is_written(line));
    is_one_word(bytes);
}

/// How it goes on after the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ended,
    TooLong,
}

/// Their memory is taken for as long as a process lives: they are the same ones for every input.
static CLIENTS: LazyLock<Mutex<Clients>> = LazyLock::new(|| Mutex::new(Clients::new(1)));

/// The lines as a place among the clients hears them. Each is answered with itself.
fn heard(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, End) {
    let (mut peer, ours) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("as one that was accepted");
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = clients.seat(ours.into(), 0).expect("a place");
    let client = clients.get_mut(place).expect("a client");
    let (mut lines, mut end) = (Vec::new(), None);
    let size = if piece == 0 { bytes.len().max(1) } else { piece };
    for piece in bytes.chunks(size) {
        peer.write_all(piece).expect("room in the socket");
        end = hear(client, &peer, &mut lines);
        // Nobody would read what follows a line that is too long, and small pieces fill the socket early.
        if end.is_some() {
            break;
        }
    }
    peer.shutdown(Shutdown::Write).expect("the end of the requests");
    let end = end.or(hear(client, &peer, &mut lines)).expect("an end");
    assert!(!client.has_room(ANSWER_MAX_BYTES + 1));
    clients.close(place);
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)), "more than was put");
    (lines, end)
}

fn hear(client: &mut Client, mut peer: &UnixStream, lines: &mut Vec<Vec<u8>>) -> Option<End> {
    loop {
        match client.hear(0) {
            Heard::Nothing => return None,
            Heard::TooLong => return Some(End::TooLong),
            Heard::Ended => return Some(End::Ended),
            Heard::Gone => panic!("nobody has gone"),
            Heard::Line { length, last } => {
                let line = [&client.take_line(length)[..], b"\n"].concat();
                assert!(client.has_room(line.len()) && client.put(&line));
                assert!(client.wants_write() && client.flush(0) && !client.wants_write());
                let mut answer = vec![0; line.len()];
                peer.read_exact(&mut answer).expect("all that was put");
                assert_eq!(answer, line);
                lines.push(line[..length].to_vec());
                assert!(!last || !client.is_due() || client.hear(0) == Heard::Ended);
            }
        }
    }
}

/// The same, as protocol(7) has it.
fn lines_of(bytes: &[u8]) -> (Vec<Vec<u8>>, End) {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        if length >= REQUEST_MAX_BYTES {
            return (lines, End::TooLong);
        }
        lines.push(rest[..length].to_vec());
        rest = rest.get(length + 1..).unwrap_or(&[]);
    }
    (lines, End::Ended)
}

fn is_read_as_it_is_written(line: &[u8]) {
    match parse(line) {
        Ok(request) => {
            let written = written(&request);
            assert_eq!(parse(&written), Ok(request), "{:?}", String::from_utf8_lossy(&written));
            if let Request::Signal { signal, .. } = request {
                is_a_signal_by_its_name(signal);
            }
        }
        Err(malformed) => assert!(!malformed.words().is_empty() && !malformed.words().contains('\n')),
    }
}

fn is_a_signal_by_its_name(name: &[u8]) {
    if let Some(signal) = Signal::from_name(name) {
        assert!((1..=64).contains(&signal.number()));
        assert_eq!(Signal::from_name(signal.name().as_bytes()), Some(signal), "{}", signal.name());
        assert_eq!(Signal::from_number(signal.number()), Some(signal));
    }
}

/// A request in the extended form.
fn written(request: &Request) -> Vec<u8> {
    let when = |said: bool, word: &'static [u8]| if said { word } else { b"" };
    let words: Vec<&[u8]> = match *request {
        Request::Ping => vec![b":ping"],
        Request::Tell { group, level, wait, progress, revert, force } => {
            let options = [when(wait, b"wait"), when(progress, b"progress")];
            [&[&b":tell"[..], group, level], &options[..], &[when(revert, b"revert"), when(force, b"force")]]
                .concat()
        }
        Request::Status { group } => vec![b":status", group.unwrap_or(b"")],
        Request::Timeline { group } => vec![b":timeline", group.unwrap_or(b"")],
        Request::Plan { group, level } => vec![b":plan", group, level],
        Request::Reread => vec![b":reread"],
        Request::Watch => vec![b":watch"],
        Request::Start { tag, wait } => vec![b":start", tag, when(wait, b"wait")],
        Request::Stop { tag, wait } => vec![b":stop", tag, when(wait, b"wait")],
        Request::Restart { tag, wait } => vec![b":restart", tag, when(wait, b"wait")],
        Request::Signal { signal, tag } => vec![b":signal", signal, tag],
        Request::StopAll { wait } => vec![b":stopall", when(wait, b"wait")],
        Request::Power(Power::Poweroff) => vec![b":poweroff"],
        Request::Power(Power::Reboot) => vec![b":reboot"],
        Request::Power(Power::Halt) => vec![b":halt"],
        Request::Power(Power::Kexec) => vec![b":kexec"],
        Request::SwitchRoot { root, init } => vec![b":switch-root", root, init],
        Request::Telinit { level } => vec![b":telinit", level],
        Request::Runlevel => vec![b":runlevel"],
        Request::Upgrade => vec![b":upgrade"],
    };
    words.join(&b' ')
}

/// What the client's side takes for a name is one for the daemon's side too.
fn is_one_word(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = word(name) {
        let request = format!(":status {name}");
        assert_eq!(parse(request.as_bytes()), Ok(Request::Status { group: Some(name.as_bytes()) }));
    }
}
