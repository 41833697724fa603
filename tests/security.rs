//! Least privilege: each claim of docs/security.md that is not tried elsewhere. Who attacks is another user; what is
//! tried here without one needs none.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Daemon, Output, Stage, alive, descriptors, environment, status_line};
use rustix::process::Signal;

const ONE: &str = "g:a:run,:respawn:sh svc a\n";

/// A process of the test's, ended with it.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A daemon that is to end at once, with its socket there.
fn start_at(stage: &Stage, socket: &Path) -> Output {
    let mut command = Command::new(common::binary());
    command.arg("-d").arg("-c").arg(stage.table()).arg("-s").arg(socket);
    common::run(command.current_dir(stage.dir()).env_remove("ISINIT_SOCKET"))
}

fn assert_refused(output: &Output, why: &str) {
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.contains(why), "{why}: {}", output.stderr);
}

/// Waits until a daemon's process has become another program.
fn became(d: &Daemon, tag: &str, program: &str) -> u32 {
    let pid = d.pid_of(tag);
    d.until(&format!("{tag} has become {program}"), |_| {
        status_line(pid, "Name").as_deref() == Some(program) && !environment(pid).is_empty()
    });
    pid
}

// ---- docs/security.md ----

/// The names of all tests in the sources below a directory.
fn all_tests(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(tests_in(&fs::read_to_string(path).unwrap()));
        }
    }
}

fn tests_in(source: &str) -> Vec<String> {
    let after = source.split("#[test]\n").skip(1);
    let name = |text: &str| Some(text.split_once("fn ")?.1.split_once('(')?.0.to_owned());
    after.filter_map(name).collect()
}

#[test]
fn each_claim_of_the_page_names_its_test_and_each_test_here_has_its_claim() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let is_name = |word: &&str| {
        word.matches('_').count() > 2 && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let named: BTreeSet<String> = page.split('`').filter(is_name).map(str::to_owned).collect();
    let mut tests = BTreeSet::new();
    ["tests", "src"].iter().for_each(|directory| all_tests(&root.join(directory), &mut tests));
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let own = include_str!("security.rs");
    let unclaimed: Vec<_> = tests_in(own).into_iter().filter(|name| !named.contains(name)).collect();
    assert_eq!(unclaimed, ["each_claim_of_the_page_names_its_test_and_each_test_here_has_its_claim"]);
}

// ---- what is open ----

fn is_closed_by_exec(pid: u32, number: u32) -> bool {
    let about = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("2000000");
    u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0
}

#[test]
fn whatever_is_open_is_closed_by_an_exec() {
    let stage = Stage::new();
    let table = format!(
        ":::initstat:{}\ng:writer:run,:respawn,log=reader:sleep 1000\ng:reader:run,:respawn:sleep 1000\n\
         g:told:run,:respawn,ready=7:exec sleep 1000\n",
        stage.path("initstat").display()
    );
    let d = stage.start(table);
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until_state("told", "starting");
    let _client = d.connect().unwrap();
    d.ask(":ping");
    // Rows, signals, socket, clients, readiness, what watches the socket's place, state file, cgroups, pipes.
    let kinds = [
        "/memfd:isinit rows",
        "anon_inode:",
        "socket:",
        "pipe:",
        "/proc/",
        "/sys/fs/cgroup",
        d.dir().to_str().unwrap(),
    ];
    let open = descriptors(d.pid());
    assert!(open.len() > 8, "{open:?}");
    // What the test was started with, and the daemon after it, is not the daemon's doing.
    let inherited = descriptors(std::process::id());
    let inherited =
        |number: &u32| inherited.contains_key(number) && !is_closed_by_exec(std::process::id(), *number);
    for (number, what) in open.into_iter().filter(|(number, _)| *number > 2 && !inherited(number)) {
        assert!(is_closed_by_exec(d.pid(), number), "{number}, {}, lives over an exec", what.display());
        assert!(kinds.iter().any(|kind| what.to_str().unwrap().starts_with(kind)), "{number}: {what:?}");
    }
}

#[test]
fn a_process_of_a_later_life_inherits_nothing_of_the_daemons_either() {
    let d = Daemon::start("g:a:run,:respawn:sleep 1000\ng:b:other,:respawn:sleep 1000\n");
    assert_eq!(d.tell("g", "run"), "ok run");
    d.signal(Signal::SEGV);
    d.until("the next life", |d| d.stderr().contains("a fault of isinit"));
    assert_eq!(d.tell("g", "other"), "ok run");
    let b = became(&d, "b", "sleep");
    d.until("it has the descriptors 0, 1 and 2 alone", |_| descriptors(b).into_keys().eq(0..3));
    for line in ["SigBlk", "SigIgn", "SigPnd"] {
        assert_eq!(status_line(b, line).unwrap(), "0000000000000000", "{line}");
    }
    let have = environment(b);
    assert!(have.keys().all(|name| name != "ISINIT_REEXEC"), "{have:?}");
}

// ---- where it is made ----

#[test]
fn a_directory_that_everybody_can_write_is_refused_unless_it_is_sticky() {
    let stage = Stage::new();
    stage.write_table(ONE);
    set_mode(stage.dir(), 0o777);
    let output = common::run(&mut stage.command(&[]));
    assert_refused(&output, &format!("others can write to {}: chmod", stage.dir().display()));
    assert!(!stage.socket().exists());
    // One above it, too.
    let output = start_at(&stage, &stage.path("run/is/init.s"));
    assert_refused(&output, "others can write to");
    assert!(!stage.path("run").exists());
    set_mode(stage.dir(), 0o1777);
    let d = stage.start(ONE);
    assert_eq!(d.tell("g", "run"), "ok run");
}

#[test]
fn a_directory_of_our_own_group_is_fine() {
    let stage = Stage::new();
    set_mode(stage.dir(), 0o775);
    let d = stage.start(ONE);
    assert_eq!(d.tell("g", "run"), "ok run");
}

#[test]
fn a_link_of_our_own_is_followed() {
    let stage = Stage::new();
    stage.write_table(ONE);
    fs::create_dir_all(stage.path("real/below")).unwrap();
    symlink("real/../real", stage.path("relative")).unwrap();
    symlink(stage.path("relative/below"), stage.path("absolute")).unwrap();
    symlink(stage.path("absolute/init.s"), stage.socket()).unwrap();
    let words = "exec \"$1\" -d -c \"$4\" -s \"${6%/*}/absolute/init.s\"";
    let command = stage.command(&["sh", "-c", words, "sh"]);
    let d = stage.start_by(ONE, command);
    assert!(d.path("real/below/init.s").exists());
    // And one that leads to itself is none.
    symlink("circle", d.path("circle")).unwrap();
    assert_refused(&start_at(&d, &d.path("circle/init.s")), "Too many levels of symbolic links");
}

/// The first call that starts a daemon, which writes to a file.
fn first_call(stage: &Stage, log: &Path) -> Output {
    stage.write_table(format!(":::log:{}\n{ONE}", log.display()));
    let mut command = Command::new(common::binary());
    command.arg("-c").arg(stage.table()).arg("-s").arg(stage.socket()).args(["g", "run"]);
    common::run(command.current_dir(stage.dir()).env_remove("ISINIT_SOCKET"))
}

#[test]
fn a_log_with_another_name_is_refused_and_a_link_of_our_own_is_followed() {
    let stage = Stage::new();
    stage.write("precious", "precious");
    fs::hard_link(stage.path("precious"), stage.path("log")).unwrap();
    let output = first_call(&stage, &stage.path("log"));
    assert_eq!(output.status, 5, "{output:?}");
    assert!(output.stderr.contains("cannot write the log"), "{}", output.stderr);
    assert_eq!(stage.text("precious"), "precious");
    fs::remove_file(stage.path("log")).unwrap();
    symlink("elsewhere", stage.path("log")).unwrap();
    assert_eq!(first_call(&stage, &stage.path("log")).status, 0);
    common::until("the daemon has written to it", || stage.path("elsewhere").exists());
    assert_eq!(mode(&stage.path("elsewhere")) & !0o640, 0);
}

// ---- what runs cannot hold it up ----

#[test]
fn a_process_that_writes_without_end_where_a_newline_is_awaited_delays_nobody() {
    let d = Daemon::start("g:loud:run,:respawn,ready=7:exec cat /dev/zero >&7\ng:b:,other:once:true\n");
    assert_eq!(d.last_line(":tell g run"), "ok accepted");
    d.until_state("loud", "starting");
    became(&d, "loud", "cat");
    for _ in 0..20 {
        assert!(d.last_line(":ping").starts_with("ok "));
    }
    assert_eq!((d.entry("loud").is("ready"), d.tell("g", "0").as_str()), (false, "ok stopped"));
}

// ---- what only root can try ----

/// `make test` leaves these out for others, and says so.
mod as_root {
    use super::*;
    use std::os::unix::fs::{chown, lchown};
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;

    fn give(path: &Path) {
        lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }

    /// A directory of another user's in the test's own.
    fn theirs(stage: &Stage) -> PathBuf {
        let path = stage.path("theirs");
        fs::create_dir(&path).unwrap();
        give(&path);
        path
    }

    fn by_nobody(program: &str) -> Command {
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
        command
    }

    fn belongs(path: &Path) -> String {
        format!("{} belongs to user {NOBODY}, neither to root nor to us", path.display())
    }

    #[test]
    fn a_directory_of_another_user_is_refused_and_so_is_one_below_it() {
        let stage = Stage::new();
        stage.write_table(ONE);
        let theirs = theirs(&stage);
        fs::create_dir(theirs.join("ours")).unwrap();
        for socket in ["init.s", "ours/init.s", "missing/init.s"] {
            let output = start_at(&stage, &theirs.join(socket));
            assert_refused(&output, &belongs(&theirs));
            assert!(output.stderr.contains("name another place with -s"), "{}", output.stderr);
        }
        let names = |path: &Path| fs::read_dir(path).unwrap().count();
        assert_eq!((names(&theirs), names(&theirs.join("ours"))), (1, 0), "nothing is made");
    }

    #[test]
    fn a_directory_of_another_group_is_refused() {
        let stage = Stage::new();
        stage.write_table(ONE);
        chown(stage.dir(), None, Some(NOBODY)).unwrap();
        set_mode(stage.dir(), 0o775);
        assert_refused(&common::run(&mut stage.command(&[])), "others can write to");
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        let stage = Stage::new();
        stage.write_table(ONE);
        fs::create_dir(stage.path("precious")).unwrap();
        set_mode(stage.dir(), 0o1777);
        symlink(stage.path("precious"), stage.path("run")).unwrap();
        give(&stage.path("run"));
        assert_refused(&start_at(&stage, &stage.path("run/init.s")), &belongs(&stage.path("run")));
        assert_refused(&start_at(&stage, &stage.path("run/is/init.s")), &belongs(&stage.path("run")));
        assert_eq!(fs::read_dir(stage.path("precious")).unwrap().count(), 0);
    }

    #[test]
    fn who_owns_the_directory_and_changes_it_all_the_time_leads_nothing_elsewhere() {
        let stage = Stage::new();
        stage.write_table(ONE);
        let theirs = theirs(&stage);
        let precious = stage.path("precious");
        fs::create_dir(&precious).unwrap();
        set_mode(&precious, 0o700);
        // `run` is a directory, a link, nothing, and so on, as fast as can be.
        let words = "$SIG{PIPE} = 'DEFAULT'; $| = 1; my $n = 0; for (;;) { mkdir 'run'; rename 'run', 'gone'; \
                     symlink $ARGV[0], 'run'; unlink 'run'; rmdir 'gone'; print 'x' unless $n++ }";
        let mut attack = by_nobody("perl");
        attack.arg("-e").arg(words).arg(&precious).current_dir(&theirs).stdout(Stdio::piped());
        let mut attacker = Helper(attack.spawn().unwrap());
        let began = attacker.0.stdout.as_mut().unwrap();
        std::io::Read::read_exact(began, &mut [0]).unwrap();
        for _ in 0..30 {
            assert_refused(&start_at(&stage, &theirs.join("run/init.s")), &belongs(&theirs));
        }
        assert!(attacker.0.try_wait().unwrap().is_none(), "the attack goes on");
        assert_eq!((mode(&precious), fs::read_dir(&precious).unwrap().count()), (0o700, 0));
    }

    #[test]
    fn a_place_that_is_given_away_while_it_runs_gets_no_socket_until_it_is_ours_again() {
        let d = Daemon::start(ONE);
        give(d.dir());
        fs::remove_file(d.socket()).unwrap();
        d.until("it says so", |d| d.stderr().contains("cannot be made anew"));
        assert!(!d.socket().exists());
        chown(d.dir(), Some(0), Some(0)).unwrap();
        d.signal(Signal::HUP);
        d.until("it answers", |d| d.try_ask(":ping").is_ok());
    }

    #[test]
    fn a_dead_socket_of_another_user_is_left_alone() {
        let stage = Stage::new();
        stage.write_table(ONE);
        set_mode(stage.dir(), 0o1777);
        drop(UnixListener::bind(stage.socket()).unwrap());
        give(&stage.socket());
        let inode = fs::symlink_metadata(stage.socket()).unwrap().ino();
        assert_refused(&common::run(&mut stage.command(&[])), &belongs(&stage.socket()));
        let after = fs::symlink_metadata(stage.socket()).unwrap();
        assert_eq!((after.ino(), after.uid()), (inode, NOBODY));
        give(stage.dir());
    }

    #[test]
    fn a_status_file_is_written_neither_to_another_users_place_nor_over_his_file() {
        let stage = Stage::new();
        let theirs = theirs(&stage);
        let sticky = stage.path("sticky");
        fs::create_dir(&sticky).unwrap();
        set_mode(&sticky, 0o1777);
        stage.write("precious", "precious");
        symlink(stage.path("precious"), sticky.join("link")).unwrap();
        fs::write(sticky.join("file"), "a letter").unwrap();
        fs::write(sticky.join("free.new"), "a letter").unwrap();
        ["link", "file", "free.new"].iter().for_each(|name| give(&sticky.join(name)));
        let d = stage.start(ONE);
        for (place, whose) in [
            (theirs.join("initstat"), &theirs),
            (sticky.join("link"), &sticky.join("link")),
            (sticky.join("file"), &sticky.join("file")),
            (sticky.join("free"), &sticky.join("free.new")),
        ] {
            d.write_table(format!(":::initstat:{}\n{ONE}", place.display()));
            assert_eq!(d.last_line(":reread"), "ok read");
            let said = format!("cannot write the status file {}: {}", place.display(), belongs(whose));
            d.until(&said, |d| d.stderr().contains(&said));
        }
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
        assert_eq!(d.text("precious"), "precious");
        let letters = ["sticky/file", "sticky/free.new"].map(|name| d.text(name));
        assert_eq!(letters, ["a letter", "a letter"]);
        assert!(!sticky.join("free").exists());
        // Where he has nothing it is written, and everybody may read it.
        d.write_table(format!(":::initstat:{}\n{ONE}", sticky.join("mine").display()));
        assert_eq!(d.tell("g", "run"), "ok run");
        assert_eq!(mode(&sticky.join("mine")), 0o644);
    }

    #[test]
    fn a_log_is_written_neither_to_another_users_file_nor_where_his_link_leads() {
        let stage = Stage::new();
        set_mode(stage.dir(), 0o1777);
        stage.write("precious", "precious");
        symlink("precious", stage.path("link")).unwrap();
        stage.write("file", "");
        stage.fifo("pipe");
        symlink(".", stage.path("here")).unwrap();
        ["link", "file", "pipe", "here"].iter().for_each(|name| give(&stage.path(name)));
        let _reader = stage.open_fifo("pipe");
        for (log, whose) in [("link", "link"), ("file", "file"), ("pipe", "pipe"), ("here/new", "here")] {
            let output = first_call(&stage, &stage.path(log));
            assert_eq!(output.status, 5, "{log}: {output:?}");
            // The system itself may refuse some of them (fs.protected_regular and its like).
            let belongs = belongs(&stage.path(whose));
            let refused = output.stderr.contains(&belongs) || output.stderr.contains("Permission denied");
            assert!(refused, "{log}: {}", output.stderr);
        }
        assert_eq!((stage.text("precious").as_str(), stage.text("file").as_str()), ("precious", ""));
        assert!(!stage.path("new").exists());
    }

    // ---- who is another user, and what it says ----

    #[test]
    fn who_is_hostile_gets_nothing_but_the_refusal_and_the_others_are_served() {
        let d = Daemon::start(ONE);
        let words = "use IO::Socket; $SIG{PIPE} = 'IGNORE'; srand 1; $| = 1; my %seen; my $left = $ARGV[0]; \
                     while ($left-- > 0) { \
                       my $d = IO::Socket::UNIX->new(Peer => 'init.s') or do { print \"no: $!\\n\"; next }; \
                       $d->autoflush; my @w = (':tell g run', 'g run', 'stopall', ':status', ':watch', '0 0', \
                         join('', map { chr rand 256 } 1 .. rand 2000)); \
                       print $d $w[rand @w] . (rand 2 > 1 ? \"\\n\" : ''); shutdown $d, 1 if rand 2 > 1; \
                       my $got = join '', <$d>; print $got unless $seen{$got}++ }";
        let hostile = |times: &str| {
            let mut perl = by_nobody("perl");
            perl.args(["-e", words, times]).current_dir(d.dir());
            perl.stdout(Stdio::piped()).stderr(Stdio::piped());
            perl
        };
        let output = common::run(&mut hostile("1"));
        assert_eq!(output.stdout, "no: Permission denied\n", "by the mode of the socket");
        // And now as if that were not there.
        common::open_to_all(&d.socket());
        let attackers: Vec<Child> = (0..3).map(|_| hostile("500").spawn().unwrap()).collect();
        let mut attackers: Vec<Helper> = attackers.into_iter().map(Helper).collect();
        while attackers.iter_mut().any(|attacker| attacker.0.try_wait().unwrap().is_none()) {
            assert!(d.last_line(":ping").starts_with("ok "));
        }
        for attacker in &mut attackers {
            let mut said = String::new();
            std::io::Read::read_to_string(attacker.0.stdout.as_mut().unwrap(), &mut said).unwrap();
            let refusal = "err 6 only root and the daemon's own user may ask it\n";
            assert!(said == refusal || said.is_empty(), "{said}");
        }
        assert_eq!((d.group("g").level.as_str(), d.entry("a").pid), ("-", 0));
        assert_eq!(d.tell("g", "run"), "ok run");
    }

    #[test]
    fn who_floods_the_socket_for_readiness_delays_nobody_and_makes_nothing_ready() {
        let d = Daemon::start("g:slow:run,:respawn,ready=socket:exec sleep 1000\ng:b:other,:once:true\n");
        assert_eq!(d.last_line(":tell g run"), "ok accepted");
        let name = environment(became(&d, "slow", "sleep"))["NOTIFY_SOCKET"].clone();
        let words = "use Socket; $| = 1; socket my $s, AF_UNIX, SOCK_DGRAM, 0 or die; \
                     my $to = pack 'S a*', AF_UNIX, \"\\0\" . substr $ARGV[0], 1; \
                     send $s, 'READY=1', 0, $to or die $!; print 'x'; \
                     for (;;) { send $s, 'READY=1', 0, $to }";
        let flood = || {
            let mut perl = by_nobody("perl");
            let mut attacker =
                Helper(perl.args(["-e", words, &name]).stdout(Stdio::piped()).spawn().unwrap());
            std::io::Read::read_exact(attacker.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            attacker
        };
        let mut attackers = [flood(), flood(), flood()];
        for _ in 0..50 {
            assert!(d.last_line(":ping").starts_with("ok "));
        }
        assert!(attackers.iter_mut().all(|attacker| attacker.0.try_wait().unwrap().is_none()), "they go on");
        assert_eq!(d.entry("slow").state, "starting");
        assert_eq!(d.tell("g", "0"), "ok stopped");
    }

    #[test]
    fn a_process_of_another_user_that_calls_itself_ours_is_not_taken_for_what_a_killed_daemon_has_left() {
        let table = "g:a:1:respawn:sh svc a\ng:b:1:respawn:sh svc b\ng:c:1:respawn,user=nobody:sleep 1000\n";
        let d = Daemon::start(table);
        assert_eq!(d.tell("g", "1"), "ok run");
        ["a", "b"].iter().for_each(|tag| d.until_event(&format!("start {tag}")));
        assert_eq!(d.last_line(":stop b wait"), "ok");
        let c = became(&d, "c", "sleep");
        d.signal(Signal::KILL);
        d.wait_exit();
        let mut false_b = by_nobody("setsid");
        false_b.args(["sleep", "1000"]).env("ISINIT_SOCKET", d.socket()).env("ISINIT_TAG", "b");
        let false_b = Helper(false_b.spawn().unwrap());
        common::until("it calls itself b", || {
            let name = status_line(false_b.0.id(), "Name");
            name.as_deref() == Some("sleep") && environment(false_b.0.id()).contains_key("ISINIT_TAG")
        });
        let output = d.isinit(&["tell", "--wait", "g", "1"]);
        assert_eq!(output.status, 0, "{output:?}");
        assert_ne!(d.entry("b").pid, false_b.0.id());
        assert_eq!(d.pid_of("c"), c, "what is nobody's by the table is taken over");
        assert_eq!(d.isinit(&["-k"]).status, 0);
        common::until("the daemon has gone", || !d.socket().exists());
        assert!(alive(false_b.0.id()));
    }
}
