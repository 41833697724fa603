//! The client's side of the socket: the lines of an answer, their fields, and what becomes of them as JSON.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use isinit::cli::json;
use isinit::limits::ANSWER_MAX_BYTES;
use isinit::wire::client::{ClientError, Connection, field};

/// Any bytes are an answer, a refusal, or no whole answer; and whatever is in an answer, its JSON is JSON.
pub fn check(bytes: &[u8]) {
    let bytes = bytes.get(..ANSWER_MAX_BYTES).unwrap_or(bytes);
    let gathered = gathered(bytes);
    assert_eq!(gathered, expected(bytes));
    if let Gathered::Answer(lines, _) = gathered {
        lines.iter().for_each(|line| is_json(line));
    }
}

/// What has come of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Gathered {
    Answer(Vec<String>, String),
    Refused(u8, String),
    Closed,
}

fn gathered(bytes: &[u8]) -> Gathered {
    let (mut daemon, ours) = UnixStream::pair().expect("a pair of sockets");
    daemon.write_all(bytes).expect("room in the socket");
    daemon.shutdown(Shutdown::Write).expect("the end of the answer");
    let mut connection = Connection::over(ours);
    // It is all there; only what waits for more than that would wait so long.
    connection.set_deadline(Some(Duration::from_secs(60)));
    match connection.gather(b":status") {
        Ok((lines, rest)) => Gathered::Answer(lines, rest),
        Err(ClientError::Refused(status, words)) => Gathered::Refused(status, words),
        Err(ClientError::Closed) => Gathered::Closed,
        Err(other) => panic!("{other:?}"),
    }
}

/// The same, as isinit-protocol(7) has it.
fn expected(bytes: &[u8]) -> Gathered {
    let mut lines = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { return Gathered::Closed };
        let line = String::from_utf8_lossy(line).into_owned();
        if let Some(words) = line.strip_prefix("err ") {
            let (status, words) = words.split_once(' ').unwrap_or((words, ""));
            return Gathered::Refused(status.parse().unwrap_or(1), words.into());
        }
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => return Gathered::Answer(lines, rest.trim().into()),
            _ => lines.push(line),
        }
    }
    Gathered::Closed
}

fn is_json(line: &str) {
    let object = format!("{{{}}}", json::members(line.split(' ')).join(","));
    assert_eq!(value(&object), Some(""), "{object}");
    assert_eq!(value(&json::string(line)), Some(""));
    for key in ["state", "pid", ""] {
        assert!(field(line, key).is_none_or(|value| line.contains(&format!("{key}={value}"))));
    }
}

/// What is left behind a value of JSON (RFC 8259), as far as it is written here: objects, lists, strings, whole numbers
/// and null.
fn value(text: &str) -> Option<&str> {
    match text.as_bytes().first()? {
        b'{' => listed(&text[1..], '}', |text| value(string(text)?.strip_prefix(':')?)),
        b'[' => listed(&text[1..], ']', value),
        b'"' => string(text),
        b'n' => text.strip_prefix("null"),
        b'0' => Some(&text[1..]),
        _ => {
            let rest = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
            (rest.len() < text.len()).then_some(rest)
        }
    }
}

fn listed(text: &str, end: char, member: impl Fn(&str) -> Option<&str>) -> Option<&str> {
    if let Some(rest) = text.strip_prefix(end) {
        return Some(rest);
    }
    let mut rest = member(text)?;
    while let Some(more) = rest.strip_prefix(',') {
        rest = member(more)?;
    }
    rest.strip_prefix(end)
}

fn string(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('"')?;
    loop {
        let end = rest.find(|letter: char| letter < ' ' || letter == '"' || letter == '\\')?;
        rest = match rest.as_bytes()[end] {
            b'"' => return Some(&rest[end + 1..]),
            b'\\' => escaped(&rest[end + 1..])?,
            _ => return None,
        };
    }
}

fn escaped(text: &str) -> Option<&str> {
    match text.as_bytes().first()? {
        b'"' | b'\\' => Some(&text[1..]),
        b'u' => {
            let digits = text.get(1..5)?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| &text[5..])
        }
        _ => None,
    }
}
