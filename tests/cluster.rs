//! What a cluster manager and those who watch many hosts get of isinit: the digest of a table, metrics, and the
//! resource agent (`cluster/group`), here without a cluster. `make cluster-test` has a real one.

mod common;

use std::collections::BTreeSet;

use std::path::Path;
use std::process::Command;

use common::{Daemon, Output, Stage, alive, binary, isinit, run, signal, until};
use rustix::process::Signal;

fn digest(path: &Path) -> String {
    let output = isinit(&["check", "--digest", path.to_str().unwrap()]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{output:?}");
    output.stdout.trim_end().to_owned()
}

// ---- the digest ----

#[test]
fn the_digest_on_disk_is_that_in_force_until_the_table_is_another() {
    let stage = Stage::new();
    stage.write("more", "g:b:run,:respawn:sh svc b\n");
    let d = stage.start(":::include:more\ng:a:run,:respawn:sh svc a\n");
    let in_force = || {
        let output = d.isinit(&["status", "--json"]);
        output.stdout.split("\"digest\":\"").nth(1).unwrap()[..16].to_owned()
    };
    let before = in_force();
    assert_eq!(digest(&d.table()), before);
    assert!(d.isinit(&["status"]).stdout.ends_with(&format!(", digest {before}\n")));
    assert!(!d.isinit(&["status", "g"]).stdout.contains("digest"), "who asks for a group gets that");
    d.write("more", "# words\ng:b:run,:respawn:sh \\\nsvc b\r\n");
    assert_eq!(digest(&d.table()), before, "how a line is written is not what it says");
    d.write("more", "g:b:run,:respawn:sh svc c\n");
    let after = digest(&d.table());
    assert_ne!(after, before, "what it includes counts");
    assert_eq!(in_force(), before, "on disk is not in force");
    assert_eq!(d.isinit(&[] as &[&str]).status, 0);
    assert_eq!(in_force(), after);
}

#[test]
fn no_digest_is_shown_of_a_table_with_errors() {
    let stage = Stage::new();
    stage.write_table("g:a:run,:respwan:true\n");
    let output = isinit(&["check", "--digest", stage.table().to_str().unwrap()]);
    assert_eq!((output.status, output.stdout.as_str()), (4, ""));
    assert!(output.stderr.contains("did you mean respawn?"), "{output:?}");
}

#[test]
fn a_forced_tell_goes_by_the_table_in_force_when_the_one_on_disk_is_bad() {
    let d = Daemon::start("g:a:run,:respawn:sh svc a\n");
    d.tell("g", "run");
    d.until_event("start a");
    d.write_table("g:a:run,:respwan:sh svc a\n");
    assert_eq!(d.isinit(&["tell", "--wait", "g", "0"]).status, 4);
    assert_eq!(d.isinit(&["tell", "--wait", "--force", "g", "0"]).status, 0);
    assert_eq!((d.group("g").state.as_str(), d.count_events("term a")), ("stopped", 1));
    assert!(d.ask(":status")[0].contains(" table_ok=0"), "it is bad as before");
}

// ---- metrics ----

/// What Prometheus demands of its text format, as far as a daemon's status can break it.
fn check_exposition(text: &str) {
    let mut seen = BTreeSet::new();
    let mut samples = BTreeSet::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(current.clone()), "samples of a metric stand together: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(["gauge", "counter"].contains(&kind), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').map_or((series, None), |(n, l)| (n, Some(l)));
            assert_eq!(name, current, "{line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{line}");
            value.parse::<f64>().unwrap();
            assert!(samples.insert(series.to_owned()), "twice: {line}");
            if let Some(labels) = labels {
                check_labels(labels.strip_suffix('}').unwrap());
            }
        }
    }
}

/// `name="value",...`, in which a quote and a backslash stand behind a backslash.
fn check_labels(mut rest: &str) {
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
        let mut bytes = value.bytes().enumerate();
        let end = loop {
            match bytes.next().unwrap() {
                (_, b'\\') => assert!(matches!(bytes.next(), Some((_, b'\\' | b'"' | b'n')))),
                (end, b'"') => break end,
                (_, _) => {}
            }
        };
        rest = &value[end + 1..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').unwrap();
        }
    }
}

#[test]
fn metrics_are_in_prometheus_format_whatever_the_names_are() {
    let d = Daemon::start(
        "g\"x:a\\b:run,:respawn:sh svc a\ng\"x:\u{e9}\u{2713}:run,:test:false\nh:c':run,:once:true\n",
    );
    d.tell("g\"x", "run");
    d.until_event("start a");
    let output = d.isinit(&["status", "--prometheus"]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    let text = &output.stdout;
    check_exposition(text);
    for sample in [
        "isinit_up 1".to_owned(),
        "isinit_table_ok 1".to_owned(),
        format!("digest=\"{}\"}} 1", digest(&d.table())),
        r#"isinit_group_state{group="g\"x",state="fail",level="run"} 1"#.to_owned(),
        r#"isinit_group_up{group="g\"x"} 1"#.to_owned(),
        r#"isinit_entry_state{group="g\"x",tag="a\\b",action="respawn",state="up"} 1"#.to_owned(),
        r#"isinit_entry_restarts_total{group="h",tag="c'"} 0"#.to_owned(),
    ] {
        assert!(text.contains(&sample), "{sample}\n{text}");
    }
    let one = d.isinit(&["status", "--prometheus", "h"]).stdout;
    check_exposition(&one);
    assert!(!one.contains("g\\\"x"), "{one}");
    assert_eq!(d.isinit(&["status", "--prometheus", "--json"]).status, 2);
}

#[test]
fn where_no_daemon_is_that_is_the_metric() {
    let stage = Stage::new();
    let output = isinit(&["-s", stage.socket().to_str().unwrap(), "status", "--prometheus"]);
    check_exposition(&output.stdout);
    assert_eq!((output.status, output.stdout.lines().last()), (5, Some("isinit_up 0")));
}

// ---- the resource agent ----

/// The agent for group `web` of a stage, as Pacemaker calls it: parameters in the environment.
struct Agent<'s> {
    stage: &'s Stage,
    parameters: Vec<(&'static str, String)>,
}

impl Agent<'_> {
    fn of<'s>(stage: &'s Stage, parameters: &[(&'static str, &str)]) -> Agent<'s> {
        let own = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        Agent { stage, parameters: parameters.iter().map(own).collect() }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let found = binary().parent().unwrap().to_owned();
        let path = [self.stage.path("bin").into(), found.into_os_string(), std::env::var_os("PATH").unwrap()];
        command.current_dir(self.stage.dir()).env_remove("ISINIT_SOCKET").env("OCF_ROOT", "/usr/lib/ocf");
        command.env("PATH", path.join(std::ffi::OsStr::new(":")));
        command
    }

    fn run(&self, action: &str) -> Output {
        let mut command = self.command(agent());
        command.arg(action).env("OCF_RESKEY_group", "web").env("OCF_RESKEY_table", self.stage.table());
        // A monitor without an interval is a probe.
        command.env("OCF_RESKEY_CRM_meta_interval", "10000");
        command.env("OCF_RESKEY_socket", self.stage.socket()).envs(self.parameters.iter().cloned());
        run(&mut command)
    }

    /// The exit status, and that the reason for it holds these words.
    fn says(&self, action: &str, status: i32, words: &str) {
        let output = self.run(action);
        assert_eq!(output.status, status, "{action}: {output:?}");
        assert!(output.stderr.contains(words), "{action}: no {words} in {output:?}");
    }

    fn isinit(&self, args: &[&str]) -> Output {
        run(Command::new(binary())
            .arg("-s")
            .arg(self.stage.socket())
            .args(args)
            .current_dir(self.stage.dir()))
    }

    fn number(&self, key: &str) -> u32 {
        let status = self.isinit(&["status", "--json"]).stdout;
        let number = status.split(key).nth(1).and_then(|rest| rest.split([',', '}']).next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{key} in {status}"))
    }

    fn daemon(&self) -> u32 {
        self.number("\"daemon\":{\"pid\":")
    }

    fn pid_of(&self, tag: &str) -> u32 {
        self.number(&format!("\"tag\":\"{tag}\",\"action\":\"respawn\",\"state\":\"up\",\"pid\":"))
    }
}

fn agent() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/group")
}

/// Services start where the daemon was started, which for the agent's is `/`: they go to their stage themselves.
fn staged(table: &str) -> Stage {
    let stage = Stage::new();
    stage.write_table(table.replace("@", &stage.dir().display().to_string()));
    stage
}

const WEB: &str = "web:a:run,standby,active:respawn,dir=@:sh svc a
web:b:active,:respawn,dir=@:sh svc b
web:t:run,active:test:test ! -e @/bad
";

const PROMOTABLE: [(&str, &str); 2] =
    [("OCF_RESKEY_level", "standby"), ("OCF_RESKEY_promoted_level", "active")];

#[test]
fn debians_ocf_tester_has_nothing_to_say_against_the_agent() {
    for levels in [&[][..], &["-o", "level=standby", "-o", "promoted_level=active"]] {
        let stage = staged(WEB);
        let mut tester = Agent::of(&stage, &[]).command("ocf-tester");
        tester.args(["-n", "web", "-o", "group=web"]).args(levels);
        tester.arg("-o").arg(format!("table={}", stage.table().display()));
        tester.arg("-o").arg(format!("socket={}", stage.socket().display())).arg(agent());
        let output = run(&mut tester);
        assert_eq!(output.status, 0, "{output:?}");
        assert!(output.stdout.contains("passed all tests"), "{output:?}");
        assert_eq!(output.stdout.contains("does not support promotable"), levels.is_empty(), "{output:?}");
    }
}

#[test]
fn states_of_a_group_are_told_apart() {
    let stage = staged(WEB);
    let web = Agent::of(&stage, &[]);
    web.says("validate-all", 0, "");
    web.says("monitor", 7, "");
    web.says("stop", 0, "");
    web.says("start", 0, "");
    let daemon = web.daemon();
    assert!(alive(daemon), "a daemon that is not there is started");
    web.says("monitor", 0, "");
    assert_eq!(web.isinit(&["tell", "--wait", "web", "standby"]).status, 0);
    web.says("monitor", 1, "is at level standby, which is not one of this resource's");
    web.says("start", 0, "");
    web.says("monitor", 0, "");
    assert_eq!(web.isinit(&["tell", "--wait", "web", "0"]).status, 0);
    web.says("monitor", 7, "");
    stage.write("bad", "");
    web.says("start", 1, "failed at level run: t exited with status 1");
    web.says("monitor", 1, "has failed at level run: t");
    web.says("stop", 0, "");
    web.says("monitor", 7, "");
    stage.write_table("g:x:run,:off:true\n");
    assert_eq!(web.isinit(&[]).status, 0);
    web.says("monitor", 7, "");
    web.says("stop", 0, "");
    web.says("start", 5, "no entry of group web has level run");
    assert_eq!(web.daemon(), daemon);
    assert_eq!(web.isinit(&["-k"]).status, 0);
    web.says("monitor", 7, "");
}

#[test]
fn a_daemon_that_was_killed_is_not_taken_for_a_group_that_is_stopped() {
    let stage = staged(WEB);
    let web = Agent::of(&stage, &[]);
    web.says("start", 0, "");
    until("it runs", || stage.count_events("start a") == 1);
    let (daemon, a) = (web.daemon(), web.pid_of("a"));
    signal(daemon, Signal::SEGV);
    web.says("monitor", 0, "");
    assert_eq!((web.daemon(), web.pid_of("a")), (daemon, a), "its own fault it survives");
    signal(daemon, Signal::KILL);
    until("it is gone", || !alive(daemon));
    assert!(alive(a));
    web.says("monitor", 1, "is gone, and has left what it had started");
    web.says("stop", 0, "");
    assert!(!alive(a), "stopped is stopped");
    assert_ne!(web.daemon(), daemon);
    web.says("monitor", 7, "");
    web.says("start", 0, "");
}

#[test]
fn a_daemon_that_does_not_answer_is_neither_stopped_nor_waited_for() {
    let stage = staged(WEB);
    let web = Agent::of(&stage, &[]);
    web.says("start", 0, "");
    let daemon = web.daemon();
    signal(daemon, Signal::STOP);
    web.says("monitor", 1, "has not answered within");
    signal(daemon, Signal::CONT);
    web.says("monitor", 0, "");
}

#[test]
fn promoted_and_started_are_two_levels() {
    let stage = staged(WEB);
    let web = Agent::of(&stage, &PROMOTABLE);
    web.says("start", 0, "");
    web.says("monitor", 0, "");
    until("a runs", || stage.count_events("start a") == 1);
    web.says("promote", 0, "");
    web.says("monitor", 8, "");
    until("b runs", || stage.count_events("start b") == 1);
    web.says("reload-agent", 0, "");
    web.says("monitor", 8, "");
    web.says("demote", 0, "");
    web.says("monitor", 0, "");
    assert_eq!((stage.count_events("term b"), stage.count_events("term a")), (1, 0));
    stage.write("bad", "");
    web.says("promote", 1, "failed at level active: t exited with status 1");
    web.says("monitor", 9, "has failed at level active: t");
    web.says("demote", 0, "");
    web.says("stop", 0, "");
    assert_eq!(Agent::of(&stage, &[]).run("promote").status, 3, "without a level for it");
}

#[test]
fn one_crash_is_the_daemons_affair_and_a_group_over_its_limit_is_the_clusters() {
    let table = "web:a:run,:respawn,fail=group,limit=2/60/60,dir=@:sh svc a\n\
                 web:b:run,:respawn,limit=1/60/60,dir=@:sh svc b\n";
    let stage = staged(table);
    let web = Agent::of(&stage, &[]);
    web.says("start", 0, "");
    until("both run", || stage.count_events("start a") + stage.count_events("start b") == 2);
    signal(web.pid_of("b"), Signal::KILL);
    until("b is held", || web.isinit(&["status"]).stdout.contains("held"));
    web.says("monitor", 190, "of group web do not run: b");
    signal(web.pid_of("a"), Signal::KILL);
    until("a runs again", || stage.count_events("start a") == 2);
    web.says("monitor", 190, "do not run: b");
    signal(web.pid_of("a"), Signal::KILL);
    until("the group has failed", || web.isinit(&["status"]).stdout.starts_with("web  fail"));
    web.says("monitor", 1, "has failed at level run");
    web.says("stop", 0, "");
}

#[test]
fn depth_asks_for_readiness_and_runs_the_tests_again() {
    let table = "web:a:run,:respawn,ready=3,ready-timeout=60,dir=@:test -e slow || echo >&3; exec sleep 100000\n\
                 web:t:run,:test:test ! -e @/bad\n";
    let stage = staged(table);
    let at =
        |depth| Agent::of(&stage, &[("OCF_CHECK_LEVEL", depth), ("OCF_RESKEY_CRM_meta_timeout", "5000")]);
    at("0").says("start", 0, "");
    for depth in ["0", "10", "20"] {
        at(depth).says("monitor", 0, "");
    }
    stage.write("slow", "");
    signal(at("0").pid_of("a"), Signal::KILL);
    until("it starts again", || at("0").isinit(&["status"]).stdout.contains("starting"));
    at("0").says("monitor", 0, "");
    at("10").says("monitor", 1, "are not ready:  a");
    std::fs::remove_file(stage.path("slow")).unwrap();
    assert_eq!(at("0").isinit(&["restart", "a"]).status, 0);
    at("20").says("monitor", 0, "");
    stage.write("bad", "");
    at("10").says("monitor", 0, "");
    at("20").says("monitor", 1, "test t of group web: t: failed, exited with status 1");
}

#[test]
fn where_the_table_is_out_of_step_nothing_is_started_and_what_runs_is_told_of() {
    let stage = staged(WEB);
    std::fs::create_dir(stage.path("bin")).unwrap();
    // What Pacemaker's own says of an attribute of this node.
    stage.write(
        "bin/crm_attribute",
        "#!/bin/sh\ncase \"$*\" in *--node\\ n1\\ --name\\ isinit-table*) cat attribute ;; esac\n",
    );
    assert_eq!(run(Command::new("chmod").arg("755").arg(stage.path("bin/crm_attribute"))).status, 0);
    let web =
        Agent::of(&stage, &[("OCF_RESKEY_crm_feature_set", "3.16.2"), ("OCF_RESKEY_CRM_meta_on_node", "n1")]);
    stage.write("attribute", "0123456789abcdef\n");
    let words = "is out of step: its digest is";
    web.says("validate-all", 5, words);
    web.says("start", 5, words);
    web.says("monitor", 7, "");
    stage.write("attribute", digest(&stage.table()) + "\n");
    web.says("validate-all", 0, "");
    web.says("start", 0, "");
    web.says("monitor", 0, "");
    let old = stage.text("isinittab");
    stage.write_table(old.clone() + "web:c:run,:respawn:sleep 100000\n");
    web.says("monitor", 0, "");
    web.says("start", 5, "the table on disk is out of step");
    stage.write("attribute", digest(&stage.table()) + "\n");
    web.says("monitor", 190, "the table in force is out of step");
    stage.write_table("web:a:run,:respwan:true\n");
    web.says("start", 5, "no action has this name");
    web.says("stop", 0, "");
    stage.write_table(old);
    stage.write("attribute", "\n");
    web.says("start", 0, "");
    let promotable =
        [&web.parameters[..], &PROMOTABLE.map(|(name, value)| (name, value.to_owned()))].concat();
    let web = Agent { stage: &stage, parameters: promotable };
    web.says("start", 0, "");
    stage.write("attribute", "0123456789abcdef\n");
    web.says("promote", 5, words);
    web.says("stop", 0, "");
}

#[test]
fn parameters_that_cannot_be_meant_are_refused() {
    let stage = staged(WEB);
    for (name, value) in [
        ("OCF_RESKEY_group", ""),
        ("OCF_RESKEY_group", "a b"),
        ("OCF_RESKEY_level", "0"),
        ("OCF_RESKEY_promoted_level", "run"),
    ] {
        assert_eq!(Agent::of(&stage, &[(name, value)]).run("validate-all").status, 6, "{name}={value}");
    }
    Agent::of(&stage, &[("OCF_RESKEY_group", "wbe")]).says("validate-all", 5, "did you mean web?");
    assert_eq!(Agent::of(&stage, &[]).run("nonsense").status, 3);
}
