//! Drives a daemon from a program: starts one on a table of its own, switches a group, looks, and stops it all.
//!
//!     cargo run --example drive                 with the isinit that PATH has
//!     cargo run --example drive -- ./isinit     with this one
//!
//! What it prints is what came of it; its exit status is that of the first thing that went wrong, as isinit(8) has them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, process};

use isinit::wire::client::{ClientError, field};
use isinit::{Init, Options};

const TABLE: &str = "\
# A shop with a till, a lamp that burns at night, and a question that has to be answered before it is open.
shop:till:open,:respawn:sleep 1000
shop:lamp:night,:respawn:sleep 1000
shop:ask:open,:test:true
shop:broken:never,:test:false
";

fn main() -> ExitCode {
    let program = env::args_os().nth(1).map_or_else(|| "isinit".into(), PathBuf::from);
    let directory = env::temp_dir().join(format!("isinit-drive-{}", process::id()));
    let result = fs::create_dir(&directory).map_err(ClientError::Io).and_then(|()| {
        let table = directory.join("isinittab");
        fs::write(&table, TABLE).map_err(ClientError::Io)?;
        drive(Options { config: table, socket: directory.join("init.s"), program })
    });
    let _ = fs::remove_dir_all(&directory);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drive: {error}");
            ExitCode::from(error.status())
        }
    }
}

fn drive(options: Options) -> Result<(), ClientError> {
    // None answers at this socket yet, so one is started, and is there when this returns.
    let init = Init::new(options)?;
    let shown = show(&init);
    // Whatever went wrong: what was started is stopped, and nothing of it runs when this returns.
    let stopped = init.stopall();
    shown.and(stopped)?;
    println!("everything is stopped");
    Ok(())
}

fn show(init: &Init) -> Result<(), ClientError> {
    // The verdict comes when the switch has ended: the test below has said yes by then.
    println!("open: {}", init.tell_and_wait("shop", "open")?);
    print_entries(init)?;
    println!("night: {}", init.tell_and_wait("shop", "night")?);
    print_entries(init)?;
    // A failed test is an error with the exit status that isinit(8) has for it, and the daemon's words.
    match init.tell_and_wait("shop", "never") {
        Err(ClientError::Refused(1, words)) => println!("never: {words}"),
        other => println!("never: {other:?}, which it should not be"),
    }
    // So is a name that the table does not have; nothing is switched by a guess.
    if let Err(error) = init.tell("shop", "opne") {
        println!("opne: {error} (status {})", error.status());
    }
    Ok(())
}

/// The lines of the status are those of isinit-protocol(7): fields are read by name.
fn print_entries(init: &Init) -> Result<(), ClientError> {
    for line in init.status(Some("shop"))?.iter().filter(|line| line.starts_with("entry ")) {
        let tag = line.split(' ').nth(2).unwrap_or("?");
        println!("  {tag}: {}", field(line, "state").unwrap_or("?"));
    }
    Ok(())
}
