//! The old programs: called as init, telinit, halt, poweroff, reboot or runlevel, isinit is that program, with
//! sysvinit's options. What they ask for goes to our socket; where nobody answers there, to sysvinit's pipe, so that they
//! serve under sysvinit's init too.

use std::ffi::{CString, OsStr};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use super::{Common, Problem, Status, end, show};
use crate::machine::initctl::{Order, PLACES};
use crate::machine::utmp::{self, Utmp};
use crate::sys::power::{self, Reboot};

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
            "usage: {name} [-t SECONDS] 0123456789SsabcQqUu\n       {name} -e VAR[=VALUE]...\n\
             0 powers off, 6 reboots, q reads the table again; others are levels of the main group"
        ))
    };
    match read_telinit(args).ok_or_else(wrong)? {
        Told::Level(level) => ask(&format!(":telinit {}", char::from(level)), Order::level(level)),
        Told::Variables(variables) => set_variables(&variables, wrong),
    }
}

/// What telinit(8) is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// A level, or one of the other letters that sysvinit has.
    Level(u8),
    /// Variables of init's environment, each as VAR=VALUE, or VAR to take it away.
    Variables(Vec<&'a str>),
}

/// Reads the words behind the name of telinit; `None` if it has no such usage.
///
/// ```
/// use isinit::cli::old::{Told, read_telinit};
/// assert_eq!(read_telinit(&["-t", "5", "3"]), Some(Told::Level(b'3')));
/// assert_eq!(read_telinit(&["-e", "A=1", "-eB"]), Some(Told::Variables(vec!["A=1", "B"])));
/// assert_eq!(read_telinit(&["33"]), None);
/// ```
pub fn read_telinit<'a>(args: &[&'a str]) -> Option<Told<'a>> {
    let mut variables = Vec::new();
    let mut args = args.iter().copied();
    let level = loop {
        match args.next() {
            // Entries have a time for stopping of their own.
            Some("-t") => _ = args.next()?,
            Some("-e") => variables.push(args.next()?),
            Some(option) if option.starts_with("-t") => {}
            Some(option) if option.starts_with("-e") => variables.push(option.get(2..).unwrap_or_default()),
            other => break other,
        }
    };
    match level.map(str::as_bytes) {
        None if !variables.is_empty() => Some(Told::Variables(variables)),
        Some([level]) if is_level(*level) && variables.is_empty() && args.next().is_none() => {
            Some(Told::Level(*level))
        }
        _ => None,
    }
}

fn is_level(letter: u8) -> bool {
    letter.is_ascii_digit() || b"SsabcABCQqUu".contains(&letter)
}

/// sysvinit's init takes variables by its pipe alone, and so does ours, for INIT_HALT.
fn set_variables(variables: &[&str], wrong: impl Fn() -> Problem) -> Result<(), Problem> {
    let order = Order::variables(variables).ok_or_else(wrong)?;
    write_to_pipe(&[order])
        .ok_or_else(|| Problem::new(Status::NoDaemon, "no init listens at /run/initctl or /dev/initctl"))
}

/// Asks our daemon, or the init behind sysvinit's pipe where ours does not answer, or is not process 1 of the machine.
fn ask(request: &str, order: Order) -> Result<(), Problem> {
    let asked = Common::default().connect().and_then(|mut daemon| Ok(daemon.gather(request.as_bytes())?));
    match asked {
        Err(problem) if problem.status == Status::NoDaemon as i32 => {
            write_to_pipe(&with_its_variable(request, order)).ok_or_else(|| {
                let words = format!("{}; and no init listens at /run/initctl", problem.words);
                Problem { words, ..problem }
            })
        }
        asked => asked.map(drop),
    }
}

/// At level 0, sysvinit's scripts switch the power off, or do what INIT_HALT says.
fn with_its_variable(request: &str, order: Order) -> Vec<Order> {
    let variable = match request {
        ":halt" => Some("INIT_HALT=HALT"),
        ":poweroff" => Some("INIT_HALT=POWEROFF"),
        _ => None,
    };
    variable.and_then(|variable| Order::variables(&[variable])).into_iter().chain([order]).collect()
}

/// Writes to the first pipe that has a reader; `None` if there is none.
fn write_to_pipe(orders: &[Order]) -> Option<()> {
    let bytes: Vec<u8> = orders.iter().flat_map(|order| *order.bytes()).collect();
    PLACES.iter().find_map(|place| {
        // Without a reader it is nobody's pipe, and would hold us up.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let place = OsStr::from_bytes(place.to_bytes());
        let mut pipe = OpenOptions::new().write(true).custom_flags(flags).open(place).ok()?;
        let is_pipe = pipe.metadata().is_ok_and(|data| data.file_type().is_fifo());
        is_pipe.then(|| pipe.write_all(&bytes).ok()).flatten()
    })
}

/// What halt(8) of sysvinit is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
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
        Reboot::PowerOff => ask(":poweroff", Order::level(b'0')),
        Reboot::Halt => ask(":halt", Order::level(b'0')),
        Reboot::Restart | Reboot::Kexec => ask(":reboot", Order::level(b'6')),
    }
}

/// Reads the options of halt, poweroff and reboot; `None` if one of them is none.
pub fn read_how(args: &[&str]) -> Option<How> {
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
    let answer = || {
        let mut connection = Common::default().connect().ok()?;
        connection.gather(b":runlevel").map(|(_, levels)| levels).ok()
    };
    let words = |(previous, level): (u8, u8)| format!("{} {}", char::from(previous), char::from(level));
    let levels = match args {
        [] => answer().or_else(|| utmp::UTMP.into_iter().find_map(utmp::runlevel).map(words)),
        [file] if !file.starts_with('-') => {
            CString::new(*file).ok().and_then(|file| utmp::runlevel(&file)).map(words)
        }
        _ => return Err(usage("usage: runlevel [UTMP]")),
    };
    match levels {
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
    use crate::machine::initctl::Asked;

    #[test]
    fn options_of_halt_may_stand_together() {
        let how = read_how(&["-dfip"]).unwrap();
        assert!(how.no_record && how.force && how.power_off && !how.no_sync && !how.record_alone);
        assert!(read_how(&["-n", "-w", "-h"]).is_some_and(|how| how.no_sync && how.record_alone));
        assert!(read_how(&["-x"]).is_none() && read_how(&["now"]).is_none() && read_how(&["-"]).is_none());
    }

    #[test]
    fn an_order_is_what_init_reads() {
        let read = |order: Order| Asked::read(order.bytes());
        assert_eq!(read(Order::level(b'3')), Some(Asked::Level(b'3')));
        let halt: Vec<_> = with_its_variable(":halt", Order::level(b'0')).into_iter().map(read).collect();
        assert_eq!(halt, [Some(Asked::HaltsAtZero(true)), Some(Asked::Level(b'0'))]);
        let off = Order::variables(&["A=1", "INIT_HALT=POWEROFF"]).and_then(read);
        assert_eq!(off, Some(Asked::HaltsAtZero(false)));
        assert!(Order::variables(&["A=".repeat(184).as_str()]).is_none());
    }
}
