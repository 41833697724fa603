//! Containers made from nothing: isinit, a table and one static program in them, run by runc and by bubblewrap. There is
//! no shell, no /etc/passwd, no /tmp; the root is read-only if nothing else is said.

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use common::{Output, Stage, binary, exit_code, look_until, run, until};

const TABLE: &str = "
:::prefix:tag
:::stop-timeout:10
web:first:run,:respawn:/service stay first
web:second:run,night:respawn:/service stay second
web:owl:night,:respawn:/service stay owl
";

/// A bundle as the OCI runtime specification has it, and the container that runs out of it.
struct Bundle {
    stage: Stage,
    nobody: bool,
    uid: u32,
    readonly: bool,
    mounts: String,
    pid_namespace: Option<String>,
    /// The rights of root that a runtime leaves to a container, and a network of its own.
    is_full: bool,
}

/// What runc cannot do without.
const SYSTEM: &str = r#"{"destination":"/proc","type":"proc","source":"proc"},
    {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}"#;

/// Where a socket can be made.
const RUN: &str =
    r#"{"destination":"/var/run","type":"tmpfs","source":"tmpfs","options":["noexec","nosuid","mode=755"]}"#;

/// The static program, built once.
fn service() -> &'static [u8] {
    static SERVICE: OnceLock<Vec<u8>> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let stage = Stage::new();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helpers/service.c");
        let built =
            run(Command::new("cc").args(["-static", "-O1", "-o"]).arg(stage.path("service")).arg(source));
        assert_eq!(built.status, 0, "{built:?}");
        fs::read(stage.path("service")).unwrap()
    })
}

impl Bundle {
    fn new(table: &str) -> Bundle {
        let stage = Stage::new();
        for dir in ["rootfs/etc", "rootfs/proc", "rootfs/var/run", "rootfs/dev", "state"] {
            fs::create_dir_all(stage.path(dir)).unwrap();
        }
        stage.write("rootfs/etc/isinittab", table);
        stage.write("service", service());
        stage.install(&stage.path("service"), "rootfs/service");
        stage.install(&binary(), "rootfs/isinit");
        common::open_to_all(&stage.path("state"));
        common::open_to_all(stage.dir());
        let mounts = SYSTEM.to_owned();
        Bundle { stage, nobody: false, uid: 0, readonly: true, mounts, pid_namespace: None, is_full: false }
    }

    fn mount(mut self, mount: &str) -> Bundle {
        self.mounts = format!("{},{mount}", self.mounts);
        self
    }

    fn write_config(&self, words: &[&str]) {
        let args = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(",");
        let (Bundle { uid, readonly, mounts, .. }, path) = (self, "/usr/sbin:/usr/bin:/sbin:/bin");
        let pid = self.pid_namespace.as_ref().map_or(String::new(), |path| format!(r#","path":"{path}""#));
        let user = if self.nobody {
            r#",{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":65534,"size":1}],
               "gidMappings":[{"containerID":0,"hostID":65534,"size":1}]"#
        } else {
            "]"
        };
        let rights = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];
        let rights =
            if self.is_full { rights.map(|name| format!("\"CAP_{name}\"")).join(",") } else { String::new() };
        let network = if self.is_full { r#"{"type":"network"},"# } else { "" };
        self.stage.write(
            "config.json",
            format!(
                r#"{{"ociVersion":"1.0.2","hostname":"box","root":{{"path":"rootfs","readonly":{readonly}}},
                "process":{{"terminal":false,"user":{{"uid":{uid},"gid":{uid}}},"cwd":"/","args":[{args}],
                  "env":["PATH={path}","FROM=outside"],"noNewPrivileges":true,
                  "capabilities":{{"bounding":[{rights}],"effective":[{rights}],"permitted":[{rights}]}}}},
                "mounts":[{mounts}],
                "linux":{{"namespaces":[{network}{{"type":"mount"}},{{"type":"uts"}},{{"type":"ipc"}},{{"type":"pid"{pid}}}{user}}}}}"#
            ),
        );
    }

    /// runc, with this bundle's own state, as root or as nobody.
    fn runc(&self, words: &[&str]) -> Command {
        let mut command = if self.nobody {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "runc"]);
            command
        } else {
            Command::new("runc")
        };
        command.arg("--root").arg(self.stage.path("state")).args(words).current_dir(self.stage.dir());
        command.env("XDG_RUNTIME_DIR", self.stage.path("state")).env_remove("ISINIT_SOCKET");
        command
    }

    /// A name that no other container has: cgroups are common to all.
    fn id(&self) -> String {
        self.stage.dir().file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Runs it in the background, its output in the files `out` and `err`.
    fn start(&self, words: &[&str]) -> Running<'_> {
        self.write_config(words);
        let id = self.id();
        self.start_command(&mut self.runc(&["run", &id]))
    }

    fn start_command(&self, command: &mut Command) -> Running<'_> {
        let file = |name: &str| fs::File::create(self.stage.path(name)).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Running { bundle: self, child }
    }

    /// Runs it to its end.
    fn run(&self, words: &[&str]) -> Output {
        self.write_config(words);
        let id = self.id();
        run(&mut self.runc(&["run", &id]))
    }
}

/// ENTRYPOINT and CMD of a Containerfile of the examples; isinit is at the root of a bundle.
fn entrypoint_of(example: &str) -> Vec<String> {
    let path = format!("{}/examples/container/{example}/Containerfile", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
    let words = of("ENTRYPOINT ") + &of("CMD ");
    let quoted: Vec<String> =
        words.split('"').skip(1).step_by(2).map(|word| word.replace("/sbin/isinit", "/isinit")).collect();
    assert_eq!(quoted.first().map(String::as_str), Some("/isinit"));
    quoted
}

struct Running<'b> {
    bundle: &'b Bundle,
    child: Child,
}

impl Running<'_> {
    fn out(&self) -> String {
        self.bundle.stage.text("out")
    }

    /// Waits until its output has this line.
    fn until(&self, line: &str) {
        self.until_count(line, 1);
    }

    /// Waits until the services of [`TABLE`]'s level `run` can be stopped.
    fn until_run(&self) {
        self.until("[first] start first");
        self.until("[second] start second");
    }

    fn until_count(&self, line: &str, count: usize) {
        let seen = || self.out().lines().filter(|seen| *seen == line).count() >= count;
        look_until(|| seen().then_some(())).unwrap_or_else(|| {
            panic!("no line {line}\n-- out\n{}-- err\n{}", self.out(), self.bundle.stage.text("err"))
        });
    }

    fn kill(&self, signal: &str) {
        let killed = run(&mut self.bundle.runc(&["kill", &self.bundle.id(), signal]));
        assert_eq!(killed.status, 0, "{killed:?}");
    }

    /// Executes something in it.
    fn exec(&self, words: &[&str]) -> Output {
        let id = self.bundle.id();
        run(&mut self.bundle.runc(&[&["exec", id.as_str()], words].concat()))
    }

    fn wait(&mut self) -> i32 {
        let ended = look_until(|| self.child.try_wait().unwrap());
        exit_code(ended.unwrap_or_else(|| panic!("it does not end\n{}", self.bundle.stage.text("err"))))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- out\n{}-- err\n{}", self.out(), self.bundle.stage.text("err"));
        }
        if let Ok(None) = self.child.try_wait() {
            let _ = self.bundle.runc(&["kill", &self.bundle.id(), "KILL"]).status();
            let _ = self.child.wait();
        }
        let _ = self.bundle.runc(&["delete", "-f", &self.bundle.id()]).stderr(Stdio::null()).status();
    }
}

/// The life of a container with a table: it starts, one looks into it, it switches, and it stops in order.
fn lives(bundle: &Bundle, uid: u32) {
    let mut container = bundle.start(&["/isinit", "web", "run"]);
    container.until_run();
    let status = container.exec(&["/isinit", "status"]);
    assert!(status.status == 0 && status.stdout.contains("run  level run"), "{status:?}");
    let who = container.exec(&["/isinit", "run", "--", "/service", "who"]);
    assert!(who.stdout.ends_with(&format!(" {uid} - -\n")), "{who:?}");
    let told = container.exec(&["/isinit", "tell", "--wait", "web", "night"]);
    assert_eq!((told.status, told.stdout.as_str()), (0, "web night: run\n"), "{told:?}");
    container.until("[owl] start owl");
    container.until("[first] term first");
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    let out = container.out();
    assert!(out.contains("[owl] term owl\n") && out.contains("[second] term second\n"), "{out}");
    assert_eq!(out.lines().count(), 6, "second has run all the time: {out}");
}

mod as_root {
    use super::*;

    #[test]
    fn a_table_lives_under_runc() {
        lives(&Bundle::new(TABLE).mount(RUN), 0);
    }

    #[test]
    fn a_table_lives_under_runc_of_nobody() {
        let mut bundle = Bundle::new(TABLE).mount(RUN);
        bundle.nobody = true;
        lives(&bundle, 0);
    }

    #[test]
    fn every_signal_that_ends_a_container_ends_it_in_order() {
        for signal in ["TERM", "INT", "RTMIN+3", "PWR"] {
            let bundle = Bundle::new(TABLE);
            let mut container = bundle.start(&["/isinit", "web", "run"]);
            container.until_run();
            container.kill(&signal.replace("RTMIN+3", "37"));
            assert_eq!(container.wait(), 0, "{signal}");
            let out = container.out();
            assert!(
                out.contains("[first] term first") && out.contains("[second] term second"),
                "{signal}: {out}"
            );
        }
    }

    #[test]
    fn any_user_and_nothing_to_write_to_is_enough() {
        let mut bundle = Bundle::new("web:who:run,:once:/service who\nweb:a:run,:respawn:/service stay a\n");
        bundle.uid = 12_345;
        let mut container = bundle.start(&["/isinit", "web", "run"]);
        container.until("start a");
        until("its user", || container.out().contains(" 1 12345 - -\n"));
        let said = bundle.stage.text("err");
        assert!(said.contains("cannot listen at /var/run/is/init.s"), "{said}");
        assert!(said.contains("going on without a socket"), "{said}");
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
        container.until("term a");
    }

    #[test]
    fn it_ends_when_the_table_says_so_and_with_that_status() {
        let stay = "web:a:run,:respawn:/service stay a\n";
        for (entry, status) in [
            ("web:b:run,:once,main:/service end 7\n", 7),
            ("web:b:run,:respawn,main,limit=2/10/60:/service end 7\n", 7),
            ("web:b:run,:once,fail=all:/service end 8\n", 8),
            ("web:b:run,:test,fail=all:/service end 9\n", 9),
            ("web:b:run,:once,fail=all:/nowhere/service\n", 127),
            ("web:b:run,:once,main:/service end 0\n", 0),
        ] {
            let bundle = Bundle::new(&format!(
                "{stay}{entry}web:bye::shutdown:/service end 0\nweb:last::shutdown:/service who\n"
            ));
            let output = bundle.run(&["/isinit", "web", "run"]);
            assert_eq!(output.status, status, "{entry}{output:?}");
            assert!(output.stdout.contains("who "), "shutdown entries have run: {output:?}");
        }
        let bundle = Bundle::new(&format!(
            "{stay}job:b:run,:once,fail=group:/service end 8\njob:i:run,:initdefault:\n"
        ));
        let mut container = bundle.start(&["/isinit", "web", "run"]);
        container.until("start a");
        until("job fails", || bundle.stage.text("err").contains("job: fail at level run"));
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
    }

    #[test]
    fn what_it_is_told_wrongly_ends_it_with_words() {
        let bundle = Bundle::new(TABLE);
        let output = bundle.run(&["/isinit", "web", "rum"]);
        assert!(output.status == 3 && output.stderr.contains("did you mean run?"), "{output:?}");
        let output = bundle.run(&["/isinit", "-c", "/etc/nothing", "web", "run"]);
        assert!(output.status == 4 && output.stderr.contains("/etc/nothing"), "{output:?}");
        assert_eq!(bundle.run(&["/isinit", "-d", "web", "run", "x"]).status, 2);
    }

    #[test]
    fn a_boot_comes_before_the_first_level() {
        let bundle = Bundle::new(
            "web:a:run,:respawn:/service stay a\nweb:d:run,:initdefault:\nweb:i::sysinit:/service who\n\
             web:w:run,:bootwait:/service who\nweb:k::ctrlaltdel:/service end 0\n",
        );
        let mut container = bundle.start(&["/isinit"]);
        container.until("start a");
        let out = container.out();
        let lines: Vec<&str> = out.lines().collect();
        assert!(
            lines.len() == 3
                && lines[2] == "start a"
                && lines[..2].iter().all(|line| line.starts_with("who ")),
            "{out}"
        );
        assert!(
            bundle.stage.text("err").contains("ctrlaltdel is for process 1 of a machine"),
            "{}",
            bundle.stage.text("err")
        );
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
    }

    #[test]
    fn sighup_reads_the_table_again() {
        let bundle = Bundle::new(TABLE);
        let mut container = bundle.start(&["/isinit", "web", "run"]);
        container.until_run();
        bundle
            .stage
            .write("rootfs/etc/isinittab", format!("{TABLE}web:third:run,:respawn:/service stay third\n"));
        container.kill("HUP");
        container.until("[third] start third");
        bundle.stage.write("rootfs/etc/isinittab", "web:wrong\n");
        container.kill("HUP");
        until("it is said", || bundle.stage.text("err").contains("the one in force is kept"));
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
    }

    #[test]
    fn one_command_is_its_own_container() {
        let bundle = Bundle::new("");
        for (words, status) in [
            (&["/isinit", "run", "--", "/service", "end", "5"][..], 5),
            (&["/isinit", "run", "-e", "5", "--", "/service", "end", "5"], 0),
            (&["/isinit", "run", "--", "/nothing"], 127),
        ] {
            let output = bundle.run(words);
            assert_eq!(output.status, status, "{words:?}: {output:?}");
        }
        let mut container =
            bundle.start(&["/isinit", "run", "-r", "HUP:USR1", "--", "/service", "stay", "alone"]);
        container.until("start alone");
        container.kill("HUP");
        container.until("signal 10 alone");
        container.kill("TERM");
        assert_eq!((container.wait(), container.out().lines().last()), (0, Some("term alone")));
    }

    #[test]
    fn the_example_from_nothing_runs_read_only() {
        let (bundle, words) = (Bundle::new(""), entrypoint_of("scratch"));
        let mut container = bundle.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
        container.until("start alone");
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
    }

    #[test]
    fn it_is_a_good_second_process_too() {
        // A process 1 of somebody else: here it is the same program by another name.
        let bundle = Bundle::new(TABLE).mount(RUN);
        fs::hard_link(bundle.stage.path("rootfs/isinit"), bundle.stage.path("rootfs/tini")).unwrap();
        let mut container = bundle.start(&["/tini", "-g", "--", "/isinit", "web", "run"]);
        container.until_run();
        assert_eq!(container.exec(&["/isinit", "tell", "--wait", "web", "night"]).status, 0);
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
        container.until("[owl] term owl");
    }

    #[test]
    fn a_pid_namespace_may_be_shared() {
        let pause = Bundle::new("");
        let mut sandbox = pause.start(&["/service", "stay", "pause"]);
        sandbox.until("start pause");
        let state = run(&mut pause.runc(&["state", &pause.id()])).stdout;
        let pid: u32 = state.split("\"pid\": ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let mut bundle = Bundle::new(TABLE);
        bundle.pid_namespace = Some(format!("/proc/{pid}/ns/pid"));
        let mut container = bundle.start(&["/isinit", "web", "run"]);
        container.until_run();
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
        container.until("[second] term second");
        assert!(bundle.stage.text("err").contains("without a socket"), "{}", bundle.stage.text("err"));
        drop(container);
        let output = bundle.run(&["/isinit", "run", "--", "/service", "who"]);
        let numbers: Vec<&str> = output.stdout.split(' ').collect();
        assert!(output.status == 0 && numbers[2] != "0" && numbers[2] != "1", "{output:?}");
        sandbox.kill("TERM");
        sandbox.wait();
    }

    #[test]
    fn sockets_of_an_activator_reach_the_command() {
        let bundle = Bundle::new("");
        bundle.write_config(&["/isinit", "run", "--", "/service", "who"]);
        // runc itself writes LISTEN_PID, for the process 1 that it starts.
        let id = bundle.id();
        let command = bundle.runc(&["run", "--preserve-fds", "1", &id]);
        let shell = "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let mut under = Command::new("sh");
        under
            .args(["-c", shell])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(bundle.stage.dir());
        let output = run(&mut under);
        let words: Vec<&str> = output.stdout.trim().split(' ').collect();
        assert!(output.status == 0 && words[0] == "who" && words[1] != "1", "{output:?}");
        assert!(words[5] == "1" && words[4] == words[1], "LISTEN_PID is its own: {output:?}");
    }

    fn bwrap(bundle: &Bundle, nobody: bool, mounts: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        if nobody {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args([
            "bwrap",
            "--unshare-all",
            "--as-pid-1",
            "--die-with-parent",
            "--clearenv",
            "--ro-bind",
        ]);
        command.arg(bundle.stage.path("rootfs")).arg("/").args(mounts).env_remove("ISINIT_SOCKET");
        command
    }

    #[test]
    fn it_runs_under_bubblewrap_as_root_and_as_nobody_with_proc_and_without() {
        for (nobody, mounts) in [
            (false, &["--proc", "/proc", "--tmpfs", "/var/run"][..]),
            (true, &["--proc", "/proc", "--tmpfs", "/var/run"]),
            (true, &[]),
        ] {
            let bundle = Bundle::new(&format!("{TABLE}web:gone:run,:once,main:/service while /etc/stay 6\n"));
            let output =
                run(bwrap(&bundle, nobody, mounts).args(["/isinit", "run", "--", "/service", "end", "5"]));
            assert_eq!(output.status, 5, "{output:?}");
            bundle.stage.write("rootfs/etc/stay", "");
            let mut container =
                bundle.start_command(bwrap(&bundle, nobody, mounts).args(["/isinit", "web", "run"]));
            container.until_run();
            fs::remove_file(bundle.stage.path("rootfs/etc/stay")).unwrap();
            assert_eq!(container.wait(), 6);
            container.until("[second] term second");
            assert_eq!(bundle.stage.text("err").contains("without a socket"), mounts.is_empty());
        }
    }

    /// This machine's programs and libraries, with an /etc that has just what they need, and the files of the example.
    fn debian_with_the_example() -> Bundle {
        let mut bundle = Bundle::new("");
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/container/web");
        let script = r#"set -e
            cd rootfs
            rmdir var/run; ln -s ../run var/run
            mkdir -p usr tmp run root srv/web etc/web etc/cron.d var/lib/nginx var/spool/cron/crontabs var/log/nginx
            for name in bin sbin lib lib64; do [ ! -e /$name ] || ln -s usr/$name $name; done
            for name in passwd group nsswitch.conf ld.so.cache nginx php pam.d security login.defs environment shells; do
                [ ! -e /etc/$name ] || cp -RL /etc/$name etc/
            done
            cp "$0"/isinittab "$0"/nginx.conf "$0"/php-fpm.conf etc/web/
            cp "$0"/crontab etc/crontab
            cp "$0"/index.php srv/web/
            chown -R 0:0 etc/crontab etc/web srv"#;
        let made = run(Command::new("sh").args(["-c", script, example]).current_dir(bundle.stage.dir()));
        assert_eq!(made.status, 0, "{made:?}");
        bundle.is_full = true;
        bundle
            .mount(r#"{"destination":"/usr","type":"bind","source":"/usr","options":["rbind","ro"]}"#)
            .mount(r#"{"destination":"/run","type":"tmpfs","source":"tmpfs","options":["mode=755"]}"#)
            .mount(r#"{"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["mode=1777"]}"#)
    }

    const ASK: &str = "use IO::Socket; my $s = IO::Socket::INET->new('127.0.0.1:8080') or die \"$!\";
        print $s \"GET /hello HTTP/1.0\\r\\n\\r\\n\"; print <$s>";

    #[test]
    fn the_example_serves_pages_and_runs_jobs() {
        let bundle = debian_with_the_example();
        let words = entrypoint_of("web");
        let mut container = bundle.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let said = |words: &str| until(words, || container.out().contains(words));
        said("[php] ");
        said("[cron] a job of root\n");
        let answer = look_until(|| {
            let output = container.exec(&["/usr/bin/perl", "-e", ASK]);
            (output.status == 0).then_some(output.stdout)
        });
        let answer = answer.expect("an answer of nginx");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("at level run\n"), "{answer}");
        said("[php] NOTICE: PHP message: asked for /hello\n");
        said("[nginx] 127.0.0.1 - - [");
        assert_eq!(container.exec(&["/isinit", "signal", "KILL", "cron"]).status, 0);
        let restarted = || {
            container
                .exec(&["/isinit", "status"])
                .stdout
                .lines()
                .any(|line| line.contains("cron") && line.contains("up ") && line.contains("restart"))
        };
        until("cron is started again", restarted);
        assert_eq!(container.exec(&["/isinit", "tell", "--wait", "web", "maintenance"]).status, 0);
        assert!(container.exec(&["/usr/bin/perl", "-e", ASK]).status != 0, "nobody serves");
        container.kill("TERM");
        assert_eq!(container.wait(), 0);
    }
}
