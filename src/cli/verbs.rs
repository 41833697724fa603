//! The verbs and their options, for argh.

use argh::FromArgs;

/// All verbs.
pub const NAMES: [&str; 18] = [
    "tell",
    "plan",
    "check",
    "status",
    "watch",
    "timeline",
    "top",
    "start",
    "stop",
    "restart",
    "signal",
    "poweroff",
    "reboot",
    "halt",
    "kexec",
    "switch-root",
    "import",
    "upgrade",
];

/// a clusterwide init
#[derive(FromArgs, Debug)]
pub struct Verb {
    #[argh(subcommand)]
    #[allow(missing_docs)]
    pub verb: Verbs,
}

/// Each verb with what it has been told.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
#[allow(missing_docs)]
pub enum Verbs {
    Tell(Tell),
    Plan(Plan),
    Check(Check),
    Status(StatusOf),
    Watch(Watch),
    Timeline(Timeline),
    Top(Top),
    Start(Start),
    Stop(Stop),
    Restart(Restart),
    Signal(SignalTo),
    Poweroff(Poweroff),
    Reboot(Reboot),
    Halt(Halt),
    Kexec(Kexec),
    SwitchRoot(SwitchRoot),
    Import(Import),
    Upgrade(Upgrade),
}

/// Execute the program that is now where the daemon's was, in its place, with every process as it is.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "upgrade")]
pub struct Upgrade {}

/// Stop everything and switch the machine off.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "poweroff")]
pub struct Poweroff {}

/// Stop everything and start the machine anew.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "reboot")]
pub struct Reboot {}

/// Stop everything and halt, with the power on.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "halt")]
pub struct Halt {}

/// Stop everything and start the kernel that kexec(8) has loaded.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "kexec")]
pub struct Kexec {}

/// Leave the initramfs: stop everything, make another file system the root, execute its init.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "switch-root")]
pub struct SwitchRoot {
    /// where the new root is mounted
    #[argh(positional)]
    pub root: String,
    /// its init, as a path in there (/sbin/init)
    #[argh(positional)]
    pub init: Option<String>,
}

/// Switch a group to a level.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "tell")]
pub struct Tell {
    /// return when the switch has ended, with its verdict
    #[argh(switch)]
    pub wait: bool,
    /// wait for so many seconds at most (exit status 7)
    #[argh(option)]
    pub timeout: Option<String>,
    /// go back to the level before if something fails on the way
    #[argh(switch)]
    pub or_revert: bool,
    /// take a level that no entry has
    #[argh(switch)]
    pub force: bool,
    /// the group
    #[argh(positional)]
    pub group: String,
    /// the level; 0 stops the group
    #[argh(positional)]
    pub level: String,
}

impl Tell {
    /// IS::Init's form: nobody waits.
    pub fn bare(group: String, level: &str) -> Tell {
        Tell { wait: false, timeout: None, or_revert: false, force: false, group, level: level.into() }
    }
}

/// Show what a tell would stop, keep and start. Changes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "plan")]
pub struct Plan {
    /// the group
    #[argh(positional)]
    pub group: String,
    /// the level
    #[argh(positional)]
    pub level: String,
}

/// Show all errors and warnings of a table. Needs no daemon.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
pub struct Check {
    /// show nothing but its digest: equal on all hosts that have the same table
    #[argh(switch)]
    pub digest: bool,
    /// list the names of groups, levels and tags instead, for programs
    #[argh(switch)]
    pub words: bool,
    /// the table
    #[argh(positional)]
    pub table: Option<String>,
}

/// Show groups and entries.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct StatusOf {
    /// as JSON
    #[argh(switch)]
    pub json: bool,
    /// as Prometheus reads it, for its textfile collector
    #[argh(switch)]
    pub prometheus: bool,
    /// with the processes of each entry
    #[argh(switch)]
    pub tree: bool,
    /// one group alone
    #[argh(positional)]
    pub group: Option<String>,
}

/// Show one line for each change, as it happens.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "watch")]
pub struct Watch {
    /// as JSON, one object on a line
    #[argh(switch)]
    pub json: bool,
}

/// Show what started, became ready, ended and was stopped when, as bars over time.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "timeline")]
pub struct Timeline {
    /// write it as a picture, for a browser
    #[argh(option, arg_name = "file")]
    pub svg: Option<String>,
    /// one group alone
    #[argh(positional)]
    pub group: Option<String>,
}

/// Show groups and entries with what they use, again and again; q leaves.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "top")]
pub struct Top {}

/// Start one entry that its group's level has.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "start")]
pub struct Start {
    /// the entry
    #[argh(positional)]
    pub tag: String,
}

/// Stop one entry, until it is started or its group is told a level.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stop")]
pub struct Stop {
    /// the entry
    #[argh(positional)]
    pub tag: String,
}

/// Stop one entry and start it again.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "restart")]
pub struct Restart {
    /// the entry
    #[argh(positional)]
    pub tag: String,
}

/// Send a signal to one entry.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "signal")]
pub struct SignalTo {
    /// the signal: HUP, SIGHUP or 1
    #[argh(positional)]
    pub signal: String,
    /// the entry
    #[argh(positional)]
    pub tag: String,
}

/// Add the group column to an inittab, and show what means something else then. Needs no daemon.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "import")]
pub struct Import {
    /// whose inittab it is: sysvinit or busybox (else it is seen by what is in it)
    #[argh(option)]
    pub from: Option<String>,
    /// the group that its entries get (init)
    #[argh(option, default = "String::from(\"init\")")]
    pub group: String,
    /// the inittab
    #[argh(positional)]
    pub file: String,
}
