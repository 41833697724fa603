//! `make bench`: how fast, as a ratio to a bare loop in C in the same run (`bare.c`), so that a figure means the same on
//! every machine. One promise has a figure of its own, and is told whether it was kept: a table of 10,000 entries is read in
//! at most 10 ms.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use isinit::isinittab::Table;
use isinit::wire::client::{Connection, field};

/// What is short is measured so often, and the best is taken.
const TIMES: usize = 50;
const ENTRIES: usize = 10_000;
const ENTRIES_MOST: Duration = Duration::from_millis(10);
const ROUNDS: u64 = 4_000;
const PROGRAM: &str = "/bin/true";

fn main() {
    let dir = Dir::new();
    let bare = compile(&dir.0);
    let kept = table(&dir.0, &bare);
    rounds(&dir.0, &bare);
    let word = if kept { "kept" } else { "not kept in this run" };
    println!("a table of {ENTRIES} entries in at most {ENTRIES_MOST:?}: {word}");
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let dir = std::env::temp_dir().join(format!("isinit-bench-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn compile(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bare.c");
    let bare = dir.join("bare");
    let status = Command::new("cc").arg("-O2").arg("-o").arg(&bare).arg(source).status().expect("cc");
    assert!(status.success(), "cc has failed");
    bare
}

fn run_bare(bare: &Path, what: &str, count: u64, on: &Path) -> Duration {
    let output = Command::new(bare).args([what, &count.to_string()]).arg(on).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Duration::from_nanos(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
}

/// The least of some: what else the machine does can only add to it.
fn best(measure: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(measure).take(TIMES).min().unwrap_or_default()
}

fn report(what: &str, ours: Duration, bare: Duration, per: u64) {
    let each = |time: Duration| time / u32::try_from(per).unwrap();
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    println!("{what:<40} {:>12.1?} {:>12.1?} {ratio:>8.2}", each(ours), each(bare));
}

/// Reads a table as the daemon does: file, entries, options, all checks. The bare loop only finds the colons.
fn table(dir: &Path, bare: &Path) -> bool {
    println!("{:<40} {:>12} {:>12} {:>8}", "", "isinit", "bare C", "ratio");
    let line = |n: usize| {
        format!(
            "group{}:tag{n}:run,maintenance:respawn,stop-timeout=10,user=nobody:/usr/bin/program{n} -f x\n",
            n % 50
        )
    };
    let path = dir.join("isinittab");
    fs::write(&path, (0..ENTRIES).map(line).collect::<String>()).unwrap();
    let ours = best(|| {
        let begun = Instant::now();
        let loaded = Table::load(&path).unwrap_or_else(|report| panic!("{report}"));
        let took = begun.elapsed();
        assert_eq!(loaded.table.len(), ENTRIES);
        took
    });
    let theirs = best(|| run_bare(bare, "fields", 1, &path));
    report("a table of 10,000 entries", ours, theirs, 1);
    ours <= ENTRIES_MOST
}

/// One entry that ends at once, respawned without limit.
fn rounds(dir: &Path, bare: &Path) {
    let path = dir.join("isinittab");
    fs::write(&path, format!("g:t:run,:respawn,limit=no:{PROGRAM}\n")).unwrap();
    let mut daemon = start(dir, &path);
    let ours = measure_rounds(&dir.join("init.s"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let theirs = run_bare(bare, "rounds", ROUNDS, Path::new(PROGRAM));
    report("spawn, exit, reap, respawn", ours, theirs, ROUNDS);
}

fn start(dir: &Path, table: &Path) -> Child {
    let mut command =
        Command::new(std::env::var_os("ISINIT_BIN").unwrap_or(env!("CARGO_BIN_EXE_isinit").into()));
    command.arg("-d").arg("-c").arg(table).arg("-s").arg(dir.join("init.s"));
    command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn ask(socket: &Path, request: &str) -> Option<Vec<String>> {
    let mut connection = Connection::open(socket).ok()?;
    connection.gather(request.as_bytes()).ok().map(|(lines, _)| lines)
}

fn restarts(socket: &Path) -> u64 {
    let lines = ask(socket, ":status").unwrap();
    let entry = lines.iter().find(|line| line.starts_with("entry ")).unwrap();
    field(entry, "restarts").unwrap().parse().unwrap()
}

/// How long [`ROUNDS`] rounds take, by the daemon's own count.
fn measure_rounds(socket: &Path) -> Duration {
    while ask(socket, ":ping").is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    ask(socket, ":tell g run").unwrap();
    let (begun, first) = (Instant::now(), restarts(socket));
    loop {
        thread::sleep(Duration::from_millis(20));
        let (took, done) = (begun.elapsed(), restarts(socket) - first);
        if done >= ROUNDS {
            return took.mul_f64(ROUNDS as f64 / done as f64);
        }
    }
}
