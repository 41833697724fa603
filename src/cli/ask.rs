//! The verbs, carried out: each asks the daemon one thing and shows its answer.

use std::io::IsTerminal;
use std::time::Duration;

use super::place::Place;
use super::tree::Tree;
use super::verbs::{Check, Plan, StatusOf, Tell, Verb, Verbs};
use super::{Common, Problem, Status, json, prometheus, show};
use crate::isinittab::{Table, seconds_to_ms};
use crate::wire::client::{Answer, ClientError, Connection, field, word};

/// How often the time that has passed is shown anew.
const TICK: Duration = Duration::from_secs(1);

/// A daemon that does not understand what it is asked may be of another version.
pub fn with_version(common: &Common, problem: Problem) -> Problem {
    if problem.status != Status::Usage as i32 {
        return problem;
    }
    let more = other_version(common).map_or(String::new(), |words| format!("\n{words}"));
    Problem { words: problem.words + &more, ..problem }
}

/// What there is to say of a daemon that is not of our version.
fn other_version(common: &Common) -> Option<String> {
    let (_, answer) = Connection::open(&common.socket()).ok()?.gather(b":ping").ok()?;
    version_words(answer.strip_prefix("isinit ")?.split(' ').next()?)
}

fn version_words(theirs: &str) -> Option<String> {
    let ours = env!("CARGO_PKG_VERSION");
    (theirs != ours).then(|| {
        format!(
            "isinit: the daemon is isinit {theirs}, and this is {ours}: `isinit upgrade` has it become the isinit that \
             is on its disk now, with all that runs"
        )
    })
}

/// Carries out a verb.
pub fn verb(common: &Common, verb: Verb) -> Result<(), Problem> {
    match verb.verb {
        Verbs::Tell(how) => tell(common, &how),
        Verbs::Plan(what) => plan(common, &what),
        Verbs::Check(what) if what.words => super::words::words(common, what.table.as_deref()),
        Verbs::Check(what) => check(common, &what),
        Verbs::Status(what) => status(common, &what),
        Verbs::Import(what) => super::import::import(&what),
        Verbs::Watch(how) => watch(common, how.json),
        Verbs::Top(_) => super::top::top(common),
        Verbs::Timeline(how) => super::timeline::timeline(common, &how),
        Verbs::Start(what) => simple(common, &format!(":start {} wait", word(&what.tag)?)),
        Verbs::Stop(what) => simple(common, &format!(":stop {} wait", word(&what.tag)?)),
        Verbs::Restart(what) => simple(common, &format!(":restart {} wait", word(&what.tag)?)),
        Verbs::Signal(what) => {
            simple(common, &format!(":signal {} {}", word(&what.signal)?, word(&what.tag)?))
        }
        Verbs::Upgrade(_) => upgrade(common),
        Verbs::Poweroff(_) => simple(common, ":poweroff"),
        Verbs::Reboot(_) => simple(common, ":reboot"),
        Verbs::Halt(_) => simple(common, ":halt"),
        Verbs::Kexec(_) => simple(common, ":kexec"),
        Verbs::SwitchRoot(what) => {
            let init = what.init.as_deref().map_or(Ok(""), word)?;
            simple(common, &format!(":switch-root {} {init}", word(&what.root)?))
        }
    }
}

fn simple(common: &Common, request: &str) -> Result<(), Problem> {
    common.connect()?.gather(request.as_bytes())?;
    Ok(())
}

/// Reads the table again; the first call of all starts the daemon, which reads it too.
pub fn reread(common: &Common) -> Result<(), Problem> {
    talk(&mut common.connect_or_start(None)?, ":reread", |_| {}).map(drop)
}

/// Has a newer program take the daemon's place. Comes back when that answers.
fn upgrade(common: &Common) -> Result<(), Problem> {
    match common.connect()?.gather(b":upgrade") {
        // The daemon's connections end with its program; its socket goes on.
        Err(ClientError::Closed) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Problem::new(Status::Failed, "the daemon has not said what came of it")),
    }
    let (_, after) = common.connect()?.gather(b":ping")?;
    show::put(format!("{after}\n"));
    Ok(())
}

/// Stops everything. Comes back when the daemon has ended.
pub fn stop_all(common: &Common) -> Result<(), Problem> {
    let mut connection = common.connect()?;
    connection.gather(b":stopall wait")?;
    // The daemon closes the connection as the last thing that it does.
    match connection.answer() {
        Err(ClientError::Closed) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

/// Tells a group its level.
pub fn tell(common: &Common, how: &Tell) -> Result<(), Problem> {
    let mut request = format!(":tell {} {}", word(&how.group)?, word(&how.level)?);
    let wait = how.wait || how.timeout.is_some();
    let terminal = std::io::stderr().is_terminal();
    for (option, set) in
        [(" wait", wait), (" progress", wait), (" revert", how.or_revert), (" force", how.force)]
    {
        request.push_str(if set { option } else { "" });
    }
    // As the table has its times; the standard library's own way to read a fraction is 20 KB of code.
    let timeout = how.timeout.as_ref().map(|seconds| {
        let words = |wrong: &str| format!("--timeout {seconds}: no time to wait for; {wrong}");
        let ms = seconds_to_ms(seconds.as_bytes());
        ms.map(|ms| Duration::from_millis(ms.into()))
            .map_err(|wrong| Problem::new(Status::Usage, words(wrong)))
    });
    let timeout = timeout.transpose()?;
    let mut connection = common.connect_or_start(Some((&how.group, &how.level)))?;
    connection.set_deadline(timeout);
    let mut progress = show::Progress::new(terminal);
    let result = talk(&mut connection, &request, |line| match line {
        Some(line) => progress.waiting(line),
        None => progress.tick(),
    });
    progress.end();
    match result {
        Ok(verdict) if wait => {
            // The exit status is the verdict, whether or not it can be written as well.
            let _ = show::try_put(format!("{} {}: {verdict}\n", how.group, how.level));
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(problem) if problem.status == Status::TimedOut as i32 => {
            let waited = progress.last().map_or(String::new(), |what| format!(" (it waits for {what})"));
            Err(Problem { words: format!("{}{waited}", problem.words), ..problem })
        }
        Err(problem) => Err(problem),
    }
}

/// Asks; gives the lines of the answer to `each`, and `None` when a second has passed without one. But what the
/// daemon says of a table is for a person.
fn talk(
    connection: &mut Connection,
    request: &str,
    mut each: impl FnMut(Option<&str>),
) -> Result<String, Problem> {
    connection.ask(request.as_bytes())?;
    let mut said = String::new();
    loop {
        while connection.is_silent_for(TICK) {
            each(None);
        }
        match connection.answer() {
            Ok(Answer::Line(line)) => match line.strip_prefix("say ") {
                Some(text) => {
                    said.push_str(text);
                    said.push('\n');
                }
                None => each(Some(&line)),
            },
            Ok(Answer::Ok(rest)) => return Ok(rest),
            Err(error) => {
                let problem = Problem::from(error);
                let words =
                    format!("{said}{}{}", if said.is_empty() { "" } else { "isinit: " }, problem.words);
                return Err(Problem { words, ..problem });
            }
        }
    }
}

fn plan(common: &Common, what: &Plan) -> Result<(), Problem> {
    let request = format!(":plan {} {}", word(&what.group)?, word(&what.level)?);
    let mut connection = match common.connect() {
        Ok(connection) => connection,
        Err(problem) if problem.status == Status::NoDaemon as i32 => return plan_alone(common, what),
        Err(problem) => return Err(problem),
    };
    let mut steps = Vec::new();
    talk(&mut connection, &request, |line| steps.extend(line.map(String::from)))?;
    steps.iter().for_each(|step| show::step(step));
    Ok(())
}

/// Without a daemon nothing runs: all of the level would be started.
fn plan_alone(common: &Common, what: &Plan) -> Result<(), Problem> {
    let table = load(common)?;
    let (group, level) = (what.group.as_bytes(), what.level.as_bytes());
    let unknown = |words: String, near: Option<&[u8]>| {
        let near = near.map(|near| format!("; did you mean {}?", String::from_utf8_lossy(near)));
        Problem::new(Status::Unknown, words + &near.unwrap_or_default())
    };
    let number = table.find_group(group).ok_or_else(|| {
        unknown(format!("the table has no group {}", what.group), table.nearest_group(group))
    })?;
    if !table.has_level(number, level) {
        let words = format!("no entry of group {} has level {}", what.group, what.level);
        return Err(unknown(words, table.nearest_level(number, level)));
    }
    show::say("isinit: no daemon answers: nothing runs\n");
    for entry in table.entries().filter(|entry| entry.group() == number && entry.action().has_process()) {
        if entry.levels().has(level) {
            show::step(&format!("start {}", String::from_utf8_lossy(entry.tag())));
        }
    }
    Ok(())
}

fn load(common: &Common) -> Result<Table, Problem> {
    let loaded = Table::load(&common.table());
    loaded.map(|loaded| loaded.table).map_err(|report| Problem::new(Status::Table, report.to_string()))
}

fn check(common: &Common, what: &Check) -> Result<(), Problem> {
    let path = what.table.as_ref().map_or_else(|| common.table(), |table| table.into());
    match Table::load(&path) {
        Ok(loaded) if what.digest => {
            show::put(format!("{:016x}\n", loaded.table.digest()));
            Ok(())
        }
        // What reads a digest is told of errors where it does not take them for one.
        Err(report) if what.digest => Err(Problem::new(Status::Table, report.to_string())),
        Ok(loaded) => {
            show::report(&loaded.warnings);
            let (entries, groups) = (loaded.table.len(), loaded.table.groups());
            let warnings = loaded.warnings.len();
            show::put(format!(
                "{}: {entries} entries in {groups} groups, no errors, {warnings} warnings\n",
                path.display()
            ));
            Ok(())
        }
        Err(report) => {
            show::report(&report);
            Err(Problem::new(Status::Table, format!("{} cannot be used as it is", path.display())))
        }
    }
}

fn status(common: &Common, what: &StatusOf) -> Result<(), Problem> {
    let group = match &what.group {
        Some(group) => format!(" {}", word(group)?),
        None => String::new(),
    };
    if [what.json, what.prometheus, what.tree].iter().filter(|form| **form).count() > 1 {
        let words = "status is shown as JSON, for Prometheus or as a tree, not as more than one of them";
        return Err(Problem::new(Status::Usage, words));
    }
    let connected = common.connect();
    if what.prometheus && connected.as_ref().is_err_and(|problem| problem.status == Status::NoDaemon as i32) {
        show::put(prometheus::metrics(&[]));
    }
    let mut connection = connected?;
    let (lines, _) = connection.gather(format!(":status{group}").as_bytes())?;
    if what.json {
        show::put(status_json(&lines));
    } else if what.prometheus {
        show::put(prometheus::metrics(&lines));
    } else {
        let daemon = lines.first().map_or("", String::as_str);
        let tree = what.tree.then(|| Tree::new(Place::new(&connection, daemon)));
        show::status(&lines, group.is_empty(), tree.as_ref());
    }
    let version = lines.first().and_then(|line| field(line, "version"));
    if let Some(words) = version.and_then(version_words) {
        show::say(&format!("{words}\n"));
    }
    Ok(())
}

/// One object: the daemon, and its groups with their entries.
fn status_json(lines: &[String]) -> String {
    let mut daemon = String::from("{}");
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or("");
        let name = |words: &mut std::str::Split<char>| json::string(words.next().unwrap_or(""));
        match kind {
            "daemon" => daemon = format!("{{{}}}", json::members(words).join(",")),
            "group" => {
                let name = name(&mut words);
                groups.push((format!("\"name\":{name},{}", json::members(words).join(",")), Vec::new()));
            }
            "entry" => {
                let _group = words.next();
                let tag = name(&mut words);
                if let Some((_, entries)) = groups.last_mut() {
                    entries.push(format!("{{\"tag\":{tag},{}}}", json::members(words).join(",")));
                }
            }
            _ => {}
        }
    }
    let group = |(members, entries): &(String, Vec<String>)| {
        // "entries" is the list here; how many there are can be seen.
        let members = members
            .split(',')
            .filter(|member| !member.starts_with("\"entries\":"))
            .collect::<Vec<_>>()
            .join(",");
        format!("{{{members},\"entries\":[{}]}}", entries.join(","))
    };
    format!(
        "{{\"daemon\":{daemon},\"groups\":[{}]}}\n",
        groups.iter().map(group).collect::<Vec<_>>().join(",")
    )
}

fn watch(common: &Common, as_json: bool) -> Result<(), Problem> {
    let mut connection = common.connect()?;
    connection.ask(b":watch")?;
    loop {
        let read_on = match connection.answer() {
            Ok(Answer::Line(line)) if as_json => show::put(change_json(&line)),
            Ok(Answer::Line(line)) => show::change(&line),
            Ok(Answer::Ok(_)) | Err(ClientError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !read_on {
            return Ok(());
        }
    }
}

/// One object for each line: a change, or how many are missing.
fn change_json(line: &str) -> String {
    match line.strip_prefix("lost ") {
        Some(count) => format!("{{\"lost\":{count}}}\n"),
        None => format!("{{{}}}\n", json::members(line.split(' ').skip(1)).join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_one_object() {
        let lines = [
            "daemon pid=1 table=/t",
            "group web state=run level=2 prev=- entries=1 up=1",
            "entry web ng state=up pid=9 flags=-",
        ];
        assert_eq!(
            status_json(&lines.map(String::from)),
            "{\"daemon\":{\"pid\":1,\"table\":\"/t\"},\"groups\":[{\"name\":\"web\",\"state\":\"run\",\"level\":\"2\",\
             \"prev\":null,\"up\":1,\"entries\":[{\"tag\":\"ng\",\"state\":\"up\",\"pid\":9,\"flags\":null}]}]}\n"
        );
    }
}
