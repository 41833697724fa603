//! What a cluster manager and those who watch many hosts get of isinit: the digest of a table, metrics, and the
//! resource agent (`cluster/group`), here without a cluster. `make cluster-test` has a real one.

mod common;

use std::collections::BTreeSet;

use common::{Daemon, Stage, isinit};

fn digest(path: &std::path::Path) -> String {
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
