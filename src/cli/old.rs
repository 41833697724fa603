//! The old programs: called as init, telinit, halt, poweroff, reboot or runlevel, isinit is that program, with
//! sysvinit's options. What they ask for goes to our socket; where nobody answers there, to sysvinit's pipe, so that they
//! serve under sysvinit's init too.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::{Common, Problem, Status, end, show};
use crate::machine::utmp::{self, Utmp};
use crate::sys::power::{self, Reboot};

/// Where sysvinit's init listens, today and before version 2.89.
const PIPES: [&str; 2] = ["/run/initctl", "/dev/initctl"];

/// Where the records are, today and before /run.
const UTMP: [&str; 2] = ["/run/utmp", "/var/run/utmp"];

/// Does the program of this name; `None` if it is none of the old ones.
pub fn run(name: &str, args: &[String]) -> Option<i32> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match name {
        "init" | "telinit" => telinit(name, &args),
        "halt" => halt(name, Reboot::Halt, &args),
        "poweroff" => halt(name, Reboot::PowerOff, &args),
        "reboot" => halt(name, Reboot::Restart, &args),
        "runlevel" => runlevel(&args),
        _ => return None,
    };
    Some(end(result))
}

fn usage(words: &str) -> Problem {
    Problem::new(Status::Usage, words)
}

fn telinit(name: &str, args: &[&str]) -> Result<(), Problem> {
    let wrong = || {
        usage(&format!(
            "usage: {name} [-t SECONDS] [-e VAR[=VALUE]] 0123456789SsabcQqUu\n\
             0 powers off, 6 reboots, q reads the table again; others are levels of the main group"
        ))
    };
    let mut args = args.iter();
    let level = loop {
        match args.next().copied().ok_or_else(wrong)? {
            // Entries have a time for stopping of their own; the environment of processes is the table's.
            "-t" | "-e" => _ = args.next().ok_or_else(wrong)?,
            option if option.starts_with("-t") || option.starts_with("-e") => {}
            level => break level,
        }
    };
    let is_level =
        matches!(level.as_bytes(), [byte] if byte.is_ascii_digit() || b"SsabcABCQqUu".contains(byte));
    if !is_level || args.next().is_some() {
        return Err(wrong());
    }
    ask(&format!(":telinit {level}"), level.as_bytes().first().copied().unwrap_or(0))
}

/// Asks our daemon, or sysvinit's for a level.
fn ask(request: &str, level: u8) -> Result<(), Problem> {
    let connection = Common::default().connect();
    match connection {
        Err(problem) if problem.status == Status::NoDaemon as i32 => {
            PIPES.iter().find_map(|pipe| write_request(pipe, level).ok()).ok_or_else(|| {
                let words = format!("{}; and there is no /run/initctl", problem.words);
                Problem { words, ..problem }
            })
        }
        connection => {
            connection?.gather(request.as_bytes())?;
            Ok(())
        }
    }
}

/// sysvinit's `struct init_request`: a magic number, RUNLVL, the level, the seconds from SIGTERM to SIGKILL.
fn write_request(pipe: &str, level: u8) -> std::io::Result<()> {
    let mut request: Vec<u8> =
        [0x0309_1969, 1, u32::from(level), 5].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    request.resize(384, 0);
    // Without a reader it is nobody's pipe, and would hold us up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().write(true).custom_flags(flags).open(pipe)?.write_all(&request)
}

/// What halt(8) of sysvinit is told.
#[derive(Default)]
struct How {
    force: bool,
    no_sync: bool,
    no_record: bool,
    record_alone: bool,
    power_off: bool,
}

fn halt(name: &str, reboot: Reboot, args: &[&str]) -> Result<(), Problem> {
    let how = read_how(args).ok_or_else(|| {
        usage(&format!(
            "usage: {name} [-n] [-w] [-d] [-f] [-i] [-h] [-p]\n\
             -f  at once, without stopping anything; -n without sync\n\
             -p  halt: and switch the power off\n\
             -w  write the record in wtmp only; -d none\n\
             -i, -h: as it is done anyway"
        ))
    })?;
    let reboot = if how.power_off && reboot == Reboot::Halt { Reboot::PowerOff } else { reboot };
    if (how.force || how.record_alone) && !how.no_record {
        Utmp::new().shutdown();
    }
    match reboot {
        _ if how.record_alone => Ok(()),
        reboot if how.force => at_once(name, reboot, how.no_sync),
        Reboot::PowerOff => ask(":poweroff", b'0'),
        Reboot::Halt => ask(":halt", b'0'),
        Reboot::Restart | Reboot::Kexec => ask(":reboot", b'6'),
    }
}

fn read_how(args: &[&str]) -> Option<How> {
    let mut how = How::default();
    for arg in args {
        match *arg {
            "--force" => how.force = true,
            "--poweroff" => how.power_off = true,
            "--wtmp-only" => how.record_alone = true,
            "--no-wtmp" => how.no_record = true,
            "--no-sync" => how.no_sync = true,
            short => {
                let letters = short.strip_prefix('-').filter(|letters| !letters.is_empty())?;
                for letter in letters.bytes() {
                    match letter {
                        b'f' => how.force = true,
                        b'p' => how.power_off = true,
                        b'w' => how.record_alone = true,
                        b'd' => how.no_record = true,
                        b'n' => how.no_sync = true,
                        b'i' | b'h' => {}
                        _ => return None,
                    }
                }
            }
        }
    }
    Some(how)
}

fn at_once(name: &str, reboot: Reboot, no_sync: bool) -> Result<(), Problem> {
    if !no_sync {
        power::sync();
    }
    power::reboot_at_once(reboot)
        .map_err(|errno| Problem::new(Status::NotPermitted, format!("cannot {name} at once: {errno}")))
}

/// The level before, and the present one: of our daemon, else of the records.
fn runlevel(args: &[&str]) -> Result<(), Problem> {
    let (asked, files) = match args {
        [] => (true, &UTMP[..]),
        [file] if !file.starts_with('-') => (false, args),
        _ => return Err(usage("usage: runlevel [UTMP]")),
    };
    let answer = match Common::default().connect() {
        Ok(mut connection) if asked => connection.gather(b":runlevel").map(|(_, levels)| levels).ok(),
        _ => None,
    };
    let recorded = || {
        let found = files.iter().find_map(|file| utmp::runlevel(&CString::new(*file).ok()?));
        found.map(|(previous, level)| format!("{} {}", char::from(previous), char::from(level)))
    };
    match answer.or_else(recorded) {
        Some(levels) => {
            show::put(format!("{levels}\n"));
            Ok(())
        }
        None => {
            show::put("unknown\n");
            Err(Problem::new(Status::Failed, String::new()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_halt_may_stand_together() {
        let how = read_how(&["-dfip"]).unwrap();
        assert!(how.no_record && how.force && how.power_off && !how.no_sync && !how.record_alone);
        assert!(read_how(&["-n", "-w", "-h"]).is_some_and(|how| how.no_sync && how.record_alone));
        assert!(read_how(&["-x"]).is_none() && read_how(&["now"]).is_none() && read_how(&["-"]).is_none());
    }

    #[test]
    fn a_request_is_what_init_reads() {
        let path = std::env::temp_dir().join(format!("isinit-initctl-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        write_request(path.to_str().unwrap(), b'3').unwrap();
        let request: [u8; 384] = std::fs::read(&path).unwrap().try_into().unwrap();
        std::fs::remove_file(&path).unwrap();
        let asked = crate::machine::initctl::Asked::read(&request);
        assert_eq!(asked, Some(crate::machine::initctl::Asked::Level(b'3')));
    }
}
