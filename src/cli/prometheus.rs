//! A status as Prometheus reads it (its text exposition format, version 0.0.4), for the textfile collector of its
//! node exporter: the daemon itself serves nobody over a network.
//!
//! All samples of a metric have to stand together, so the lines of the status are gone through once for each metric.

use crate::wire::client::field;

/// One metric: of which lines of the status it is made, and of what in them.
struct Metric {
    line: &'static str,
    name: &'static str,
    /// `gauge` or `counter`.
    kind: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// The field that is its value. Milliseconds become seconds, Prometheus's unit; none is 1, for what the labels say.
    value: &'static str,
}

const fn gauge(
    line: &'static str,
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    value: &'static str,
) -> Metric {
    Metric { line, name, kind: "gauge", help, labels, value }
}

const OF_GROUP: &[&str] = &["group"];
const OF_ENTRY: &[&str] = &["group", "tag"];

const METRICS: [Metric; 10] = [
    gauge("daemon", "table_info", "The table in force.", &["version", "table", "digest"], ""),
    gauge("daemon", "table_ok", "0: the table on disk has errors.", &[], "table_ok"),
    gauge("daemon", "age_seconds", "How long the daemon runs.", &[], "age_ms"),
    gauge("group", "group_state", "The state and level of a group.", &["group", "state", "level"], ""),
    gauge("group", "group_age_seconds", "How long it is in this state.", OF_GROUP, "age_ms"),
    gauge("group", "group_entries", "Its entries.", OF_GROUP, "entries"),
    gauge("group", "group_up", "Those that run.", OF_GROUP, "up"),
    gauge("entry", "entry_state", "The state of an entry.", &["group", "tag", "action", "state"], ""),
    gauge("entry", "entry_age_seconds", "How long it is in this state.", OF_ENTRY, "age_ms"),
    Metric {
        kind: "counter",
        ..gauge("entry", "entry_restarts_total", "Starts after the first.", OF_ENTRY, "restarts")
    },
];

/// The lines of a status as metrics. Without a daemon that is `isinit_up 0` alone.
pub fn metrics(lines: &[String]) -> String {
    let mut out = String::new();
    head(&mut out, "up", "gauge", "1: the daemon answers.");
    out.push_str(if lines.is_empty() { "isinit_up 0\n" } else { "isinit_up 1\n" });
    for metric in &METRICS {
        let of_it = |line: &&String| line.split(' ').next() == Some(metric.line);
        for (number, line) in lines.iter().filter(of_it).enumerate() {
            if number == 0 {
                head(&mut out, metric.name, metric.kind, metric.help);
            }
            sample(&mut out, metric, line);
        }
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    for part in ["# HELP isinit_", name, " ", help, "\n# TYPE isinit_", name, " ", kind, "\n"] {
        out.push_str(part);
    }
}

fn sample(out: &mut String, metric: &Metric, line: &str) {
    out.push_str("isinit_");
    out.push_str(metric.name);
    let mut front = "{";
    for label in metric.labels {
        out.push_str(front);
        out.push_str(label);
        out.push_str("=\"");
        escape(out, named(line, label).unwrap_or(""));
        out.push('"');
        front = ",";
    }
    out.push_str(if front == "," { "} " } else { " " });
    value(out, metric.value, line);
    out.push('\n');
}

/// What a line says of itself by a name, or by its place: `group G`, `entry G T`. `-` is nothing, as is an empty label.
fn named<'l>(line: &'l str, label: &str) -> Option<&'l str> {
    match label {
        "group" => line.split(' ').nth(1),
        "tag" => line.split(' ').nth(2),
        _ => field(line, label).filter(|value| *value != "-"),
    }
}

fn value(out: &mut String, key: &str, line: &str) {
    let digits = if key.is_empty() { "1" } else { field(line, key).unwrap_or("0") };
    if !key.ends_with("_ms") {
        return out.push_str(digits);
    }
    let (seconds, rest) = digits.split_at(digits.len().saturating_sub(3));
    out.push_str(if seconds.is_empty() { "0" } else { seconds });
    out.push('.');
    for _ in rest.len()..3 {
        out.push('0');
    }
    out.push_str(rest);
}

/// As a label's value has it: a backslash before what would end it.
fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.push('\\'),
            _ => {}
        }
        out.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_samples_that_stand_together() {
        let lines = [
            "daemon pid=1 version=1.0 table=/t digest=00ff entries=2 groups=2 age_ms=61234 table_ok=1",
            "group w\"b state=run level=2 prev=- age_ms=7 entries=1 up=1",
            "entry w\"b n\\g action=respawn state=up pid=9 age_ms=1000 restarts=3 last=none due_ms=- flags=-",
            "group db state=stopped level=- prev=- age_ms=12 entries=1 up=0",
        ];
        let text = metrics(&lines.map(String::from));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "isinit_up 1",
                r#"isinit_table_info{version="1.0",table="/t",digest="00ff"} 1"#,
                "isinit_table_ok 1",
                "isinit_age_seconds 61.234",
                r#"isinit_group_state{group="w\"b",state="run",level="2"} 1"#,
                r#"isinit_group_state{group="db",state="stopped",level=""} 1"#,
                r#"isinit_group_age_seconds{group="w\"b"} 0.007"#,
                r#"isinit_group_age_seconds{group="db"} 0.012"#,
                r#"isinit_group_entries{group="w\"b"} 1"#,
                r#"isinit_group_entries{group="db"} 1"#,
                r#"isinit_group_up{group="w\"b"} 1"#,
                r#"isinit_group_up{group="db"} 0"#,
                r#"isinit_entry_state{group="w\"b",tag="n\\g",action="respawn",state="up"} 1"#,
                r#"isinit_entry_age_seconds{group="w\"b",tag="n\\g"} 1.000"#,
                r#"isinit_entry_restarts_total{group="w\"b",tag="n\\g"} 3"#,
            ]
        );
        assert_eq!(metrics(&[]).lines().last(), Some("isinit_up 0"));
    }
}
