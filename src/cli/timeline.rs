//! `isinit timeline`: what started, became ready, ended and was stopped when, as bars over time.

use super::axis::{Axis, Label};
use super::history::{History, Kind, Track};
use super::text::{clock, colours, day, fit, length, size, unicode};
use super::verbs::Timeline;
use super::{Common, Problem, Status, show, svg};
use crate::wire::client::word;

/// Columns that names have at most; and a fourth of the terminal.
const NAMES_MAX: usize = 24;

/// Columns of a silence that is left out: room for `3d` and a dash on either side.
const CUT_COLUMNS: u64 = 7;

/// What is to be seen in one column: a glyph for who has all letters, then the one for others; and its colour.
type Cell = (&'static str, &'static str);

const NOTHING: Cell = ("  ", "");
const FAILED: Cell = ("×x", "31");

/// Kinds in the order in which they are drawn: what is worth more comes later.
const LOOKS: [(Kind, Cell); 6] = [
    (Kind::Unknown, ("·.", "")),
    (Kind::Up, ("█=", "32")),
    (Kind::Rest, ("░-", "34")),
    (Kind::Start, ("▒s", "33")),
    (Kind::Stop, ("▓t", "35")),
    (Kind::Fail, ("█F", "31")),
];

const LEGEND: [&str; 2] = [
    "\n= up  s starting  t stopping  - resting  x went wrong  | again  <> goes on\n",
    "\n█ up  ▒ starting  ▓ stopping  ░ resting  × went wrong  ▌ again  ◄► goes on\n",
];

/// Columns between two times on the line: `HH:MM:SS.mmm` and two blanks.
const TICK_COLUMNS: u64 = 14;

/// Carries it out.
pub fn timeline(common: &Common, how: &Timeline) -> Result<(), Problem> {
    let history = ask(common, how.group.as_deref())?;
    if let Some(file) = &how.svg {
        let title = crate::sys::host::hostname();
        return std::fs::write(file, svg::picture(&history, &String::from_utf8_lossy(&title)))
            .map_err(|error| Problem::new(Status::Failed, format!("cannot write {file}: {error}")));
    }
    show::put(Page { columns: size().0, unicode: unicode(), colours: colours() }.drawn(&history));
    Ok(())
}

fn ask(common: &Common, group: Option<&str>) -> Result<History, Problem> {
    let mut request = String::from(":timeline");
    if let Some(group) = group {
        request.push(' ');
        request.push_str(word(group)?);
    }
    let (lines, _) = common.connect()?.gather(request.as_bytes())?;
    let mut history = History::default();
    lines.iter().for_each(|line| history.take(line));
    history.end();
    Ok(history)
}

/// The first line of both pictures: when it is, and what is not in it.
pub fn heading(history: &History) -> String {
    let (from, mut clock) = (history.from, clock(history.from));
    clock.truncate(8);
    let length = length(history.to.saturating_sub(from));
    let words = format!("{} {clock} UTC, for {length}", day(from));
    match history.forgotten {
        0 => words,
        some => format!("{words}; earlier is forgotten ({some} changes)"),
    }
}

/// The last words: what there is no bar of.
pub fn left_out(history: &History) -> String {
    match (history.tracks.iter().filter(|track| track.is_hidden()).count(), history.gone) {
        (0, 0) => String::new(),
        (unseen, 0) => format!("not shown: entries that did not run ({unseen})\n"),
        (unseen, gone) => {
            format!("not shown: entries that did not run ({unseen}), changes of removed ones ({gone})\n")
        }
    }
}

/// What a picture of letters is drawn with.
struct Page {
    columns: usize,
    unicode: bool,
    colours: bool,
}

impl Page {
    fn drawn(&self, history: &History) -> String {
        let mut width = 0;
        let shown = || history.tracks.iter().filter(|track| !track.is_hidden());
        shown().for_each(|track| width = width.max(name(track).chars().count()));
        let width = width.min(NAMES_MAX).min(self.columns / 4);
        // A blank after the name, and a column at either end for what goes on beyond it.
        let room = self.columns.saturating_sub(width).saturating_sub(3);
        let axis = Axis::new(history, room as u64, CUT_COLUMNS);
        let mut text = heading(history) + "\n";
        for track in shown() {
            self.paint(
                &mut text,
                &fit(&name(track), width, self.unicode),
                if track.tag.is_none() { "1" } else { "" },
            );
            text.push(' ');
            self.bars(&mut text, track, &axis, room);
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        self.times(&mut text, &axis, width.saturating_add(2));
        let [ascii, unicode] = LEGEND;
        text.push_str(if self.unicode { unicode } else { ascii });
        text + &left_out(history)
    }

    fn bars(&self, text: &mut String, track: &Track, axis: &Axis, room: usize) {
        let (mut run, mut colour) = (String::new(), "");
        for (glyph, its) in cells(track, axis, room) {
            if its != colour {
                self.paint(text, &std::mem::take(&mut run), colour);
                colour = its;
            }
            run.push_str(self.glyph(glyph));
        }
        self.paint(text, &run, colour);
    }

    /// The first letter is for those who have all letters, the second for the others.
    fn glyph(&self, glyph: &'static str) -> &'static str {
        let second = glyph.chars().next().map_or(0, char::len_utf8);
        let (unicode, ascii) = glyph.split_at(second);
        if self.unicode { unicode } else { ascii }
    }

    /// Adds text in a colour.
    fn paint(&self, text: &mut String, more: &str, colour: &str) {
        if !self.colours || colour.is_empty() || more.is_empty() {
            return text.push_str(more);
        }
        text.push_str(&format!("\x1b[{colour}m{more}\x1b[0m"));
    }

    /// The times below the bars, and what is left out between them.
    fn times(&self, text: &mut String, axis: &Axis, before: usize) {
        let mut row = " ".repeat(before);
        let mut column = 0_usize;
        for Label { place, width, words } in axis.labels(TICK_COLUMNS) {
            let (place, width) = (place as usize, width as usize);
            let words = if width == 0 {
                format!("{}{words}", self.glyph("│|"))
            } else {
                format!("{words:~^width$}")
            };
            let end = place.saturating_add(words.chars().count());
            if column <= place && before.saturating_add(end) <= self.columns {
                row.push_str(&" ".repeat(place.saturating_sub(column)));
                row.push_str(&words);
                column = end;
            }
        }
        text.push_str(row.trim_end());
    }
}

fn name(track: &Track) -> String {
    match &track.tag {
        Some(tag) => format!("  {tag}"),
        None => track.group.clone(),
    }
}

/// What of a track is to be seen where, with a column at either end for what goes on beyond it.
fn cells(track: &Track, axis: &Axis, room: usize) -> Vec<Cell> {
    let mut cells = vec![NOTHING; room.saturating_add(2)];
    let column = |at| (axis.place(at) as usize).min(room.saturating_sub(1)).saturating_add(1);
    for (kind, look) in LOOKS {
        for bar in track.bars.iter().filter(|bar| bar.kind == kind) {
            let first = column(bar.from);
            let width = axis.place(bar.to).saturating_sub(axis.place(bar.from)).max(1) as usize;
            let before = cells.iter().take(first.saturating_add(1)).skip(first.saturating_sub(1));
            let again = !bar.before && before.into_iter().any(|cell| cell.1 == look.1);
            cells.iter_mut().skip(first).take(width.min(room)).for_each(|cell| *cell = look);
            if let Some(cell) = cells.get_mut(first).filter(|_| again) {
                cell.0 = "▌|";
            }
            if let Some(end) = cells.first_mut().filter(|_| bar.before) {
                *end = ("◄<", look.1);
            }
            if let Some(end) = cells.last_mut().filter(|_| bar.still) {
                *end = ("►>", look.1);
            }
        }
    }
    for mark in &track.marks {
        cells.iter_mut().skip(column(mark.at)).take(1).for_each(|cell| *cell = FAILED);
    }
    cells
}
