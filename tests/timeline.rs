//! `:timeline` and `isinit timeline`: what the daemon remembers of how things came to be as they are, and its pictures.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};

use common::{Daemon, answer, isinit, run};

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn header(lines: &[String]) -> &String {
    lines.iter().find(|line| line.starts_with("timeline ")).unwrap_or_else(|| panic!("{lines:?}"))
}

/// `TAG WHAT` of each change.
fn changes(lines: &[String]) -> Vec<String> {
    let changes = lines.iter().filter(|line| line.starts_with("change "));
    changes.map(|line| [field(line, "tag").unwrap(), field(line, "what").unwrap()].join(" ")).collect()
}

#[test]
fn a_timeline_is_a_status_and_what_led_to_it() {
    let d =
        Daemon::start("web:w:run,:wait:true\nweb:a:run,:respawn:sh svc a\njobs:b:run,:respawn:sh svc b\n");
    assert_eq!(d.tell("web", "run"), "ok run");
    assert_eq!(d.tell("jobs", "run"), "ok run");
    let web = d.ask(":timeline web");
    assert_eq!(web.last().map(String::as_str), Some("ok"));
    let kinds: Vec<&str> = web.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(&kinds[..5], ["daemon", "timeline", "group", "entry", "entry"]);
    assert_eq!(field(header(&web), "forgotten"), Some("0"));
    assert_eq!(changes(&web), ["- switch", "w started", "w ended", "a started", "- run"]);
    let all = d.ask(":timeline");
    assert_eq!(changes(&all)[5..], ["- switch", "b started", "- run"]);
    let times: Vec<u64> = all.iter().filter_map(|line| field(line, "wall_ms")?.parse().ok()).collect();
    // The wall clock and the one that transitions are kept by change their milliseconds at different moments.
    let in_order = times[1..].windows(2).all(|pair| pair[0] <= pair[1] + 1);
    assert!(in_order && times[0] + 1 >= times[times.len() - 1] && times.len() == 9, "{all:?}");
    assert!(d.last_line(":timeline wep").starts_with("err 3 "), "a name that is almost one");
    assert!(d.last_line(":timeline web x").starts_with("err 2 "));
}

#[test]
fn what_is_older_than_the_ring_is_counted() {
    let d = Daemon::start("web:old:run,:respawn:sh svc old\nloop:l:run,:respawn,limit=no:true\n");
    assert_eq!(d.tell("web", "run"), "ok run");
    assert_eq!(d.tell("loop", "run"), "ok run");
    let lines = d.until_some("more than 1024 changes", |d| {
        Some(d.ask(":timeline")).filter(|lines| field(header(lines), "forgotten") != Some("0"))
    });
    assert!(changes(&lines).len() >= 1024 - 2, "{}", changes(&lines).len());
    d.until("the start of old is long forgotten", |d| {
        let lines = d.ask(":timeline web");
        field(header(&lines), "forgotten").unwrap().parse::<u64>().unwrap() > 1_000
            && changes(&lines).is_empty()
    });
    // It runs since before the picture begins, and that is what is shown.
    let picture = run(d.client(&["timeline", "web"]).env("LC_ALL", "C"));
    assert!(picture.stdout.contains("; earlier is forgotten ("), "{picture:?}");
    assert!(picture.stdout.lines().any(|line| line.starts_with("  old <=")), "{picture:?}");
}

/// A reader that is slower than what happens is told how much it has missed, and nobody waits for it.
#[test]
fn the_ring_may_overtake_a_slow_reader() {
    const QUIET: usize = 4_000;
    let mut table = String::from("loop:l:run,:respawn,limit=no:true\n");
    (0..QUIET)
        .for_each(|n| table.push_str(&format!("quiet:a-name-that-makes-the-answer-long-{n}::off:true\n")));
    let d = Daemon::start(table);
    assert_eq!(d.tell("loop", "run"), "ok run");
    let mut slow = d.connect().unwrap();
    slow.write_all(b":timeline\n").unwrap();
    let mut reader = BufReader::with_capacity(64, slow);
    let mut first = String::new();
    while !first.starts_with("timeline ") {
        first.clear();
        reader.read_line(&mut first).unwrap();
    }
    let forgotten = |line: &str| field(line.trim_end(), "forgotten").unwrap().parse::<u64>().unwrap();
    let then = forgotten(&first);
    d.until("the ring has gone round", |d| forgotten(header(&d.ask(":timeline quiet"))) > then + 2_000);
    let rest = answer(&mut reader).unwrap();
    assert_eq!(rest.last().map(String::as_str), Some("ok"));
    assert_eq!(rest.iter().filter(|line| line.starts_with("entry ")).count(), QUIET + 1);
    let lost = rest.iter().find_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok());
    assert!(lost.is_some_and(|lost| lost >= 900), "{lost:?}");
    assert!(!changes(&rest).is_empty(), "what is left is told");
}

/// The place of an entry that is in no table any more is given to another one, but not what happened to it.
#[test]
fn what_happened_to_a_removed_entry_is_not_told_of_another() {
    let d = Daemon::start("web:gone:run,:respawn:sh svc gone\nold:older:run,:once:true\n");
    assert_eq!(d.tell("web", "run"), "ok run");
    assert_eq!(d.tell("old", "run"), "ok run");
    assert_eq!(d.tell("old", "0"), "ok stopped");
    d.write_table("web:stays:run,:respawn:sh svc stays\n");
    assert_eq!(d.last_line(":reread"), "ok read");
    d.until("the old one is gone", |d| d.find_entry("gone").is_none());
    d.write_table(
        "web:stays:run,:respawn:sh svc stays\nweb:new:run,:respawn:sh svc new\nnew:newer:run,:once:true\n",
    );
    assert_eq!(d.tell("web", "run"), "ok run");
    let lines = d.ask(":timeline");
    let of_new: Vec<String> =
        changes(&lines).into_iter().filter(|change| change.starts_with("new")).collect();
    assert_eq!(of_new, ["new started"], "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(" tag=? what=started")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(" group=? tag=- what=switch")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("group=new ")), "{lines:?}");
    assert!(d.isinit(&["timeline"]).stdout.contains("changes of removed ones"));
}

/// Names with all that XML, a terminal and a person could take for something else.
const HOSTILE: &[u8] = b"<&>:<a_href=\"x\">&amp;]]>'\":run,:respawn:sh svc a
<&>:</svg>\xef\xbf\xbf\xef\xbf\xbe:run,:once:exit 7;
\xff\xfe:\xc2\x9b31m\xe2\x80\xae:run,:respawn:sh svc b
\xff\xfe:\xff\xc0\x80:run,:once:true
";

#[test]
fn the_picture_is_xml_whatever_the_names_are() {
    let d = Daemon::start(HOSTILE);
    assert_eq!(d.tell("<&>", "run"), "ok run");
    assert_eq!(d.last_line(b":tell \xff\xfe run wait"), "ok run");
    d.until("it has failed", |d| {
        changes(&d.ask(":timeline")).iter().any(|change| change.ends_with(" failed"))
    });
    let path = d.path("picture.svg");
    let output = d.isinit(&["timeline", "--svg", path.to_str().unwrap()]);
    assert_eq!((output.status, &*output.stdout, &*output.stderr), (0, "", ""));
    let svg = fs::read_to_string(&path).unwrap();
    let texts = xml(&svg).unwrap_or_else(|wrong| panic!("{wrong}: {svg}"));
    assert!(texts.iter().any(|text| text == "<&>"), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("<&>/<a_href=\"x\">&amp;]]>'\": up")), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("<&>/</svg>\u{fffd}\u{fffd}: exit 7 at ")), "{texts:?}");
    assert!(!svg.contains("<script") && !svg.contains("<a"));
    let output = d.isinit(&["timeline", "--svg", "/nonexistent/picture.svg"]);
    assert!(output.status == 1 && output.stderr.contains("/nonexistent/picture.svg"), "{output:?}");
    let text = run(d.client(&["timeline"]).env("LC_ALL", "C.UTF-8"));
    assert!(!text.stdout.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
}

/// The texts of a document, if it is well-formed (XML 1.0): one element in which all are closed that are opened, values in
/// quotes, no entity but the five, no character that XML does not have.
fn xml(text: &str) -> Result<Vec<String>, String> {
    let (mut open, mut texts, mut rest, mut roots) = (Vec::new(), Vec::new(), text.trim_end(), 0);
    let legal =
        |letter: char| letter == '\n' || !(letter < ' ' || letter == '\u{fffe}' || letter == '\u{ffff}');
    if let Some(bad) = text.chars().find(|letter| !legal(*letter)) {
        return Err(format!("the character {bad:?}"));
    }
    while !rest.is_empty() {
        let (words, tail) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        if open.is_empty() && !words.trim().is_empty() {
            return Err(format!("text outside: {words}"));
        }
        if words.contains("]]>") {
            return Err("]]> in text".into());
        }
        texts.push(unescaped(words)?);
        let Some(tag) = tail.strip_prefix('<') else { break };
        let (tag, tail) = tag.split_once('>').ok_or("a tag has no end")?;
        rest = tail;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) || name.is_empty() {
            return Err(format!("no name: {name}"));
        }
        are_attributes(attributes)?;
        roots += usize::from(open.is_empty());
        if !empty {
            open.push(name);
        }
    }
    if open.is_empty() && roots == 1 {
        Ok(texts)
    } else {
        Err(format!("not closed: {open:?}, {roots} roots"))
    }
}

fn are_attributes(mut text: &str) -> Result<(), String> {
    while !text.trim().is_empty() {
        let (name, rest) =
            text.trim_start().split_once('=').ok_or_else(|| format!("no attribute: {text}"))?;
        let quote = rest.chars().next().filter(|quote| "'\"".contains(*quote)).ok_or("no quote")?;
        let (value, rest) = rest[1..].split_once(quote).ok_or("no end of a value")?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            || value.contains(['<', '&'])
        {
            return Err(format!("{name}={value}"));
        }
        text = rest;
    }
    Ok(())
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut parts = text.split('&');
    plain.push_str(parts.next().unwrap_or(""));
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or("a bare &")?;
        let known = [("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"'), ("apos", '\'')];
        let (_, letter) = known.into_iter().find(|(known, _)| *known == name).ok_or("no such entity")?;
        plain.push(letter);
        plain.push_str(rest);
    }
    Ok(plain)
}

#[test]
fn the_checker_of_xml_knows_what_is_none() {
    assert_eq!(xml("<a b=\"c\">x&lt;<d/></a>\n").unwrap().join("|"), "|x<|");
    for wrong in [
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a>&x;</a>",
        "<a>&</a>",
        "<a b=c/>",
        "<a>\u{1}</a>",
        "x",
        "<a b=\"<\"/>",
    ] {
        assert!(xml(wrong).is_err(), "{wrong}");
    }
}

/// The letters of a picture fit the width, and are ones that the locale has.
#[test]
fn the_picture_of_letters_fits_and_speaks_ascii_where_it_has_to() {
    let d = Daemon::start(
        "web:a-very-long-name-of-an-entry-in-the-table:run,:respawn:sh svc a\nweb:bad:run,:once:exit 3;\nweb:off::off:true\n",
    );
    assert_eq!(d.tell("web", "run"), "ok run");
    d.until_state("bad", "failed");
    for (locale, bar) in [("C", "==="), ("C.UTF-8", "███"), ("de_DE.utf8", "███")] {
        let output = run(d.client(&["timeline"]).env("LC_ALL", locale).env("LANG", "C.UTF-8"));
        assert_eq!(output.status, 0, "{output:?}");
        assert!(output.stdout.contains(bar), "{locale}: {output:?}");
        assert_eq!(output.stdout.is_ascii(), locale == "C", "{output:?}");
        assert!(output.stdout.lines().all(|line| line.chars().count() <= 80), "{locale}: {output:?}");
        assert!(output.stdout.contains("not shown: entries that did not run (1)"), "{output:?}");
    }
    let output =
        run(d.client(&["timeline"]).env_remove("LC_ALL").env_remove("LC_CTYPE").env("LANG", "C.UTF-8"));
    assert!(output.stdout.contains("█"), "{output:?}");
    assert_eq!(d.isinit(&["timeline", "wep"]).status, 3);
    assert_eq!(isinit(&["-s", "/nonexistent/s", "timeline"]).status, 5);
}
