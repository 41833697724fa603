//! The client's side of a connection.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A connection to a daemon.
pub struct Connection {
    stream: BufReader<UnixStream>,
    deadline: Option<Instant>,
}

/// Why a daemon could not be asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// No daemon answers at this socket.
    NoDaemon(PathBuf),
    /// The socket is there, and may not be used by this user.
    NotPermitted(PathBuf),
    /// The path of the socket has more bytes than the system takes.
    TooLong(PathBuf),
    /// The daemon ended, or closed the connection, before it had answered.
    Closed,
    /// The time was over before the answer was there.
    TimedOut,
    /// The daemon refused: the exit status that belongs to it, and its words.
    Refused(u8, String),
    /// Something else went wrong with the connection.
    Io(std::io::Error),
}

impl ClientError {
    /// The exit status of the command line.
    pub fn status(&self) -> u8 {
        match self {
            ClientError::NoDaemon(_) | ClientError::Closed => 5,
            ClientError::NotPermitted(_) => 6,
            ClientError::TooLong(_) => 2,
            ClientError::TimedOut => 7,
            ClientError::Refused(status, _) => *status,
            ClientError::Io(_) => 1,
        }
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            ClientError::NoDaemon(path) => write!(
                out,
                "no daemon answers at {}; `isinit GROUP LEVEL` starts one, -s names another socket",
                path.display()
            ),
            ClientError::NotPermitted(path) => write!(
                out,
                "{} is not for this user: only root and the daemon's own user may ask it; -s names the socket of a daemon of \
                 your own",
                path.display()
            ),
            ClientError::TooLong(path) => {
                write!(
                    out,
                    "the path of the socket is longer than 107 bytes: {}; name a shorter one with -s",
                    path.display()
                )
            }
            ClientError::Closed => {
                write!(out, "the daemon closed the connection before it had answered; ask again")
            }
            ClientError::TimedOut => write!(out, "the time is over; the switch goes on without us"),
            ClientError::Refused(_, words) => write!(out, "{words}"),
            ClientError::Io(error) => write!(out, "the connection to the daemon: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A line of data.
    Line(String),
    /// `ok`, and what stands behind it: the answer is complete.
    Ok(String),
}

impl Connection {
    /// Connects to the daemon at a socket.
    ///
    /// # Errors
    /// [`ClientError`]: there is none, or it is not for us.
    pub fn open(path: &Path) -> Result<Connection, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoDaemon(path.into()),
            ErrorKind::PermissionDenied => ClientError::NotPermitted(path.into()),
            ErrorKind::InvalidInput => ClientError::TooLong(path.into()),
            _ => ClientError::Io(error),
        })?;
        Ok(Connection::over(stream))
    }

    /// A connection to a daemon that is there already.
    pub fn over(stream: UnixStream) -> Connection {
        Connection { stream: BufReader::new(stream), deadline: None }
    }

    /// What to wait for, for who waits for something else too.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }

    /// Is there something of an answer that has been read already, so that nothing new may come?
    pub fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// The answer has to be there by then.
    pub fn set_deadline(&mut self, timeout: Option<Duration>) {
        self.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    }

    /// Sends one request: a line without its newline.
    ///
    /// # Errors
    /// [`ClientError`]: the connection is gone.
    pub fn ask(&mut self, request: &[u8]) -> Result<(), ClientError> {
        let line = [request, b"\n"].concat();
        self.stream.get_mut().write_all(&line).or_else(|error| match error.kind() {
            // What the daemon said before it closed is still there to be read.
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Ok(()),
            _ => Err(ClientError::Io(error)),
        })
    }

    /// The next line of the answer.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's words, or a connection that is gone or too slow.
    pub fn answer(&mut self) -> Result<Answer, ClientError> {
        let line = self.line()?;
        if let Some(words) = line.strip_prefix("err ") {
            let (code, words) = words.split_once(' ').unwrap_or((words, ""));
            return Err(ClientError::Refused(code.parse().unwrap_or(1), words.into()));
        }
        match line.strip_prefix("ok") {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => Ok(Answer::Ok(rest.trim().into())),
            Some(_) | None => Ok(Answer::Line(line)),
        }
    }

    /// Does nothing come for so long? No: a line of the answer, the end of it or the deadline is to be looked at.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let time = left.map_or(time, |left| left.min(time));
        if time.is_zero() || self.stream.get_ref().set_read_timeout(Some(time)).is_err() {
            return false;
        }
        let quiet = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
        self.stream.fill_buf().is_err_and(|error| quiet.contains(&error.kind()))
    }

    fn line(&mut self) -> Result<String, ClientError> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(ClientError::TimedOut);
        }
        self.stream.get_ref().set_read_timeout(left).map_err(ClientError::Io)?;
        let mut bytes = Vec::new();
        match self.stream.read_until(b'\n', &mut bytes) {
            Ok(0) => Err(ClientError::Closed),
            Ok(_) => {
                let Some(line) = bytes.strip_suffix(b"\n") else { return Err(ClientError::Closed) };
                Ok(String::from_utf8_lossy(line).into_owned())
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::TimedOut,
                ErrorKind::ConnectionReset => ClientError::Closed,
                _ => ClientError::Io(error),
            }),
        }
    }

    /// Asks, and gathers the whole answer: its lines, and what stands behind `ok`.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub fn gather(&mut self, request: &[u8]) -> Result<(Vec<String>, String), ClientError> {
        self.ask(request)?;
        let mut lines = Vec::new();
        loop {
            match self.answer()? {
                Answer::Line(line) => lines.push(line),
                Answer::Ok(rest) => return Ok((lines, rest)),
            }
        }
    }
}

/// A name goes over the socket as one word; one that is none would be another request.
///
/// ```
/// use isinit::wire::client::word;
/// assert_eq!(word("web").ok(), Some("web"));
/// assert_eq!(word("web 0\n:stopall").unwrap_err().status(), 2);
/// ```
///
/// # Errors
/// [`ClientError::Refused`] with status 2: it is empty, or there is a blank or a control character in it.
pub fn word(name: &str) -> Result<&str, ClientError> {
    if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        let words = format!("{name:?} is no name: it is empty or has a blank in it");
        return Err(ClientError::Refused(2, words));
    }
    Ok(name)
}

/// The value of `key=` in a line of an answer.
///
/// ```
/// use isinit::wire::client::field;
/// assert_eq!(field("group web state=run level=2", "level"), Some("2"));
/// ```
pub fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Scratch;
    use std::os::unix::net::UnixListener;

    fn served(answer: &'static [u8]) -> Connection {
        let scratch = Scratch::new("client");
        let path = scratch.0.join("init.s");
        let listener = UnixListener::bind(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(peer.try_clone().unwrap()).read_line(&mut line).unwrap();
            peer.write_all(answer).unwrap();
        });
        connection
    }

    #[test]
    fn an_answer_is_gathered_to_its_last_line() {
        let (lines, rest) = served(b"a 1\nb 2\nok run\n").gather(b":status").unwrap();
        assert_eq!((lines, rest), (vec!["a 1".to_string(), "b 2".into()], "run".to_string()));
    }

    #[test]
    fn a_refusal_brings_its_status_and_its_words() {
        let error = served(b"err 3 no such group\n").gather(b":tell x 1").unwrap_err();
        assert_eq!((error.status(), error.to_string()), (3, "no such group".into()));
    }

    #[test]
    fn an_end_in_the_middle_is_no_answer() {
        for answer in [&b"a 1\n"[..], b"ok ru"] {
            assert!(matches!(served(answer).gather(b":status"), Err(ClientError::Closed)));
        }
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::over(ours);
        connection.set_deadline(Some(Duration::from_millis(10)));
        assert!(matches!(connection.gather(b":tell a b wait"), Err(ClientError::TimedOut)));
    }

    #[test]
    fn a_socket_that_is_not_there_is_no_daemon() {
        let error = Connection::open(Path::new("/nonexistent/socket")).err().unwrap();
        assert_eq!(error.status(), 5);
        assert_eq!(Connection::open(Path::new(&format!("/{}", "x".repeat(200)))).err().unwrap().status(), 2);
    }
}
