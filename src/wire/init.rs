//! isinit as a library: what IS::Init's object does.

use std::path::PathBuf;
use std::process::Command;

use super::client::{Answer, ClientError, Connection, word};

/// Where a daemon is, and how to start one.
///
/// ```
/// let options = isinit::Options { socket: "/run/web/init.s".into(), ..isinit::Options::default() };
/// assert_eq!(options.config.to_str(), Some("/etc/isinittab"));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The table.
    pub config: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The program that is started when no daemon answers.
    pub program: PathBuf,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            config: "/etc/isinittab".into(),
            socket: "/var/run/is/init.s".into(),
            program: "isinit".into(),
        }
    }
}

/// A daemon that answers.
///
/// ```standalone_crate
/// # // This program is the isinit that is started, too: it is called with words then.
/// # let words: Vec<_> = std::env::args_os().skip(1).collect();
/// # if !words.is_empty() { std::process::exit(isinit::cli::main("isinit", &words)) }
/// use isinit::{Init, Options};
/// # let dir = std::env::temp_dir().join(format!("isinit-doc-{}", std::process::id()));
/// # std::fs::create_dir(&dir).unwrap();
/// # let (table, program) = (dir.join("isinittab"), std::env::current_exe().unwrap());
/// std::fs::write(&table, "web:www:run,:respawn:sleep 1000\n").unwrap();
/// let init = Init::new(Options { config: table, socket: dir.join("init.s"), program })?;
/// init.tell("web", "run")?;
/// assert_eq!(init.tell_and_wait("web", "run")?, "run");
/// let status = init.status(Some("web"))?;
/// assert!(status.iter().any(|line| line.starts_with("entry web www ") && line.contains(" state=up ")));
/// assert_eq!(init.tell("web", "rum").unwrap_err().status(), 3);
/// init.stopall()?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), isinit::wire::client::ClientError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Init {
    options: Options,
}

impl Init {
    /// A daemon at this socket; one is started when none answers, as IS::Init does.
    ///
    /// # Errors
    /// [`ClientError`]: none could be started, or it may not be asked.
    pub fn new(options: Options) -> Result<Init, ClientError> {
        let init = Init { options };
        match init.open() {
            Ok(_) => Ok(init),
            Err(ClientError::NoDaemon(_)) => {
                init.start()?;
                Ok(init)
            }
            Err(error) => Err(error),
        }
    }

    fn open(&self) -> Result<Connection, ClientError> {
        Connection::open(&self.options.socket)
    }

    /// Without a group the program re-reads the table, and starts the daemon if none answers.
    fn start(&self) -> Result<(), ClientError> {
        let mut command = Command::new(&self.options.program);
        command.arg("-c").arg(&self.options.config).arg("-s").arg(&self.options.socket);
        let output = command.output().map_err(ClientError::Io)?;
        if output.status.success() {
            return Ok(());
        }
        let status = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Err(ClientError::Refused(status, String::from_utf8_lossy(&output.stderr).trim_end().into()))
    }

    /// Tells a group its level, and does not wait for the end of the switch.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the group or the level does not exist, or the table is bad.
    pub fn tell(&self, group: &str, level: &str) -> Result<(), ClientError> {
        self.ask(&format!(":tell {} {}", word(group)?, word(level)?)).map(drop)
    }

    /// Tells a group its level, and waits for the verdict: `run` or `stopped`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 1 when the group has failed, 7 when another tell has overtaken this one.
    pub fn tell_and_wait(&self, group: &str, level: &str) -> Result<String, ClientError> {
        self.ask(&format!(":tell {} {} wait", word(group)?, word(level)?)).map(|(_, verdict)| verdict)
    }

    /// The status of one group or of all, in the lines of isinit-protocol(7).
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn status(&self, group: Option<&str>) -> Result<Vec<String>, ClientError> {
        let request = match group {
            Some(group) => format!(":status {}", word(group)?),
            None => ":status".into(),
        };
        self.ask(&request).map(|(lines, _)| lines)
    }

    /// Stops everything, and the daemon; returns when all is down.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn stopall(&self) -> Result<(), ClientError> {
        let mut connection = self.open()?;
        connection.ask(b":stopall wait")?;
        while let Answer::Line(_) = connection.answer()? {}
        Ok(())
    }

    fn ask(&self, request: &str) -> Result<(Vec<String>, String), ClientError> {
        self.open()?.gather(request.as_bytes())
    }
}
