//! Finding the daemon, and starting it where there is none.

use std::path::PathBuf;

use super::{Common, Problem, Status, TABLE, show};
use crate::isinittab::Table;
use crate::supervisor::{self, Config, Role};
use crate::sys::detach::{Answer, Side, detach, keeps_stderr};
use crate::sys::process;
use crate::wire::client::{ClientError, Connection};

impl Common {
    /// The table: `-c`, else /etc/isinittab.
    pub fn table(&self) -> PathBuf {
        self.table.clone().unwrap_or_else(|| TABLE.into())
    }

    /// The socket: `-s`, else that of the daemon that has started us, else what the table says, else the usual.
    pub fn socket(&self) -> PathBuf {
        let inherited =
            || std::env::var_os("ISINIT_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        let named = || Table::load(&self.table()).ok()?.table.settings().socket.clone();
        let usual = || {
            let there = |path: &&str| std::fs::symlink_metadata(path).is_ok();
            let places = [supervisor::SOCKET, supervisor::SOCKET_OF_MACHINE];
            places.into_iter().find(there).unwrap_or(supervisor::SOCKET).into()
        };
        self.socket.clone().or_else(inherited).or_else(named).unwrap_or_else(usual)
    }

    /// A daemon that is there.
    pub fn connect(&self) -> Result<Connection, Problem> {
        Ok(Connection::open(&self.socket())?)
    }

    /// A daemon that is there, or is started now. Where our end would be that of a container we become the daemon, with
    /// the tell, and do not come back; process 1 always, for whom would it talk to.
    pub fn connect_or_start(&self, tell: Option<(&str, &str)>) -> Result<Connection, Problem> {
        if process::is_pid1() {
            std::process::exit(foreground(self, tell));
        }
        match Connection::open(&self.socket()) {
            Err(ClientError::NoDaemon(_)) if process::starts_container() => {
                std::process::exit(foreground(self, tell))
            }
            Err(ClientError::NoDaemon(_)) => self.start(),
            other => Ok(other?),
        }
    }

    fn start(&self) -> Result<Connection, Problem> {
        // What is wrong with the table is said here, on the terminal of the person who asked.
        let loaded =
            Table::load(&self.table()).map_err(|report| Problem::new(Status::Table, report.to_string()))?;
        let log = loaded.table.settings().log.clone();
        let socket = self.socket();
        let side = detach()
            .map_err(|errno| Problem::new(Status::Failed, format!("cannot fork the daemon: {errno}")))?;
        match side {
            Side::Daemon(announce) => {
                let config = Config {
                    role: Role::Nested,
                    tell: None,
                    table: self.table(),
                    socket: Some(socket),
                    log: log.is_some(),
                    announce: Some(announce),
                };
                std::process::exit(supervisor::run(config))
            }
            Side::Caller(daemon) => match daemon.wait(None) {
                Ok(Answer::Message(words)) if words.is_empty() || words.starts_with(b"ready") => {
                    // A daemon that writes to this very file has said it there.
                    if log.is_some() || !keeps_stderr() {
                        show::say(&loaded.warnings.to_string());
                        let not_done = supervisor::not_done(&loaded.table, Role::Nested).concat();
                        show::say(&String::from_utf8_lossy(&not_done));
                        let unlimited = words.strip_prefix(b"ready").unwrap_or_default();
                        show::say(&String::from_utf8_lossy(unlimited));
                    }
                    let where_to = match log {
                        Some(log) => format!("goes to {}", log.display()),
                        None if keeps_stderr() => "goes here".into(),
                        None => "is not kept: the setting `log` names a file for it".into(),
                    };
                    show::say(&format!(
                        "isinit: started the daemon; what it and its processes write {where_to}\n"
                    ));
                    Ok(Connection::open(&socket)?)
                }
                // Somebody else was first: then that one is asked.
                answer => Connection::open(&socket).map_err(|_| {
                    let words = match answer {
                        Ok(Answer::Message(words)) => String::from_utf8_lossy(&words).into_owned(),
                        _ => "the daemon ended before it could answer".into(),
                    };
                    Problem::new(Status::NoDaemon, words)
                }),
            },
        }
    }
}

/// The daemon itself, in the foreground.
pub fn foreground(common: &Common, tell: Option<(&str, &str)>) -> i32 {
    supervisor::run(Config {
        role: if process::starts_container() { Role::Container } else { Role::Nested },
        tell: tell.map(|(group, level)| (group.to_owned(), level.to_owned())),
        table: common.table(),
        socket: common.socket.clone(),
        log: false,
        announce: None,
    })
}

/// The group of a tell that names none: the table's setting, else the host's name, as IS::Init has it.
pub fn default_group(common: &Common) -> String {
    let set = Table::load(&common.table()).ok().and_then(|loaded| loaded.table.settings().group.clone());
    let name = set.map_or_else(crate::sys::host::hostname, |group| group.to_vec());
    String::from_utf8_lossy(&name).into_owned()
}
