//! What a child calls between the fork and its program: each of these calls is made to fail too. The entry is said to have
//! failed at that step with that errno, or the child does without; the daemon goes on in any case.
//!
//! strace(1) comes to a daemon that runs already, so that the first of these calls that it sees is the child's.

use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::calls::{ChildCall, number};
use crate::common::{self, Daemon, status_line};

/// An entry with everything that a child has to do.
fn table() -> String {
    let user = if common::is_root() { ",user=nobody" } else { "" };
    format!("g:full:run,:wait,dir=/,nice=1,oom=500,rlimit-CORE=0{user}:/bin/true\ng:after:next,:wait:true\n")
}

/// Has one child's call fail. What is wrong is told.
pub fn play(row: &ChildCall, errno: &'static str) -> Result<(), String> {
    let d = Daemon::start(table());
    let tracer = Tracer::of(&d, row, errno);
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    // Some errnos pass by, and it is tried again.
    let last = d.until_some("full has come to something", |d| {
        Some(d.entry("full").last).filter(|last| last != "none")
    });
    drop(tracer);
    let expected = match row.step {
        Some(step) => format!("fault:{step}:{}", number(errno)),
        None => "exit:0".into(),
    };
    let after = (d.tell("g", "next"), d.entry("after").last);
    let case = format!("{} of a child, {errno}", row.call.0);
    if last != expected {
        return Err(format!("{case}: {last}, not {expected}\n{}", d.text("trace")));
    }
    if after != ("ok run".into(), "exit:0".into()) {
        return Err(format!("{case}: {last}, and then {after:?}"));
    }
    if d.stop() == 0 { Ok(()) } else { Err(format!("{case}: the daemon does not end well")) }
}

/// strace(1), which has the first of these calls fail in each child.
struct Tracer(Child);

impl Tracer {
    fn of(d: &Daemon, row: &ChildCall, errno: &str) -> Tracer {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o"]).arg(d.path("trace")).args(["-p", &d.pid().to_string()]);
        command.args(row.path.iter().flat_map(|path| ["-P", path]));
        command.arg(format!("--inject={}:error={errno}:when=1", row.call.0));
        let child = command.stdin(Stdio::null()).spawn().expect("strace");
        d.until("strace is there", |d| status_line(d.pid(), "TracerPid").is_some_and(|pid| pid != "0"));
        Tracer(child)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        common::signal(self.0.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}
