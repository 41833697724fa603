//! A timeline as a picture to open in a browser (SVG 1.1): what one points at says what it is, and when.
//!
//! There is no script in it and nothing is fetched. Light or dark is the browser's choice.

use std::fmt::{Arguments, Write};

use super::axis::{Axis, Label};
use super::history::{History, Track};
use super::text::{clock, fit};
use super::timeline::{heading, left_out};

/// Where the bars begin, and how far they go, in pixels.
const LEFT: u64 = 210;
const WIDTH: u64 = 960;

/// Room on the right of them: for the end of the last time.
const RIGHT: u64 = 50;

/// Where the first track is, and how high one is.
const TOP: u64 = 96;
const ROW: u64 = 24;

/// A silence that is left out, and the least between two times.
const CUT: u64 = 64;
const TICK: u64 = 96;

/// Letters of a name that there is room for.
const NAME_LETTERS: usize = 26;

/// A bar without length is to be seen too.
const BAR_MIN: u64 = 2;

/// Where the lines down from the times begin.
const ABOVE: u64 = TOP - 8;

const LEGEND: &str = "\
<path class='up' d='M0 0h14v10h-14z'/><text class='s' x='20' y='10'>up</text>\
<path class='starting' d='M80 0h14v10h-14z'/><text class='s' x='100' y='10'>starting</text>\
<path class='stopping' d='M180 0h14v10h-14z'/><text class='s' x='200' y='10'>stopping</text>\
<path class='resting' d='M280 0h14v10h-14z'/><text class='s' x='300' y='10'>resting</text>\
<path class='failed' d='M380 0h14v10h-14z'/><text class='s' x='400' y='10'>failed</text>\
<path class='unknown' d='M480 0h14v10h-14z'/><text class='s' x='500' y='10'>unknown</text>\
<path class='x' d='M582 1l8 8m0-8l-8 8'/><text class='s' x='600' y='10'>went wrong</text>\
<path class='unknown' d='M707 0h10l5 5l-5 5h-10l-5-5z'/><text class='s' x='730' y='10'>was so before, or is still</text>";

const STYLE: &str = "\
text{font:13px ui-sans-serif,system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#24292f}\
.h{font-size:18px;font-weight:600}.s,.t{font-size:12px;fill:#656d76}.t{text-anchor:middle}.g{font-weight:600}\
.bg{fill:#fff}.band{fill:#f3f5f7}.grid{stroke:#d0d7de}.cut{fill:#eaeef2;stroke:#afb8c1;stroke-dasharray:3 3}\
.unknown{fill:#c9d1d9}.up{fill:#2da44e}.resting{fill:#8ab4f8}.starting{fill:#e3a008}\
.stopping{fill:#8250df}.failed{fill:#cf222e}.x,.halo{fill:none;stroke-linecap:round}\
.x{stroke:#cf222e;stroke-width:2.5}.halo{stroke:#fff;stroke-width:6}path:hover{filter:brightness(1.2)}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s,.t{fill:#8d96a0}.bg{fill:#0d1117}.band{fill:#161b22}\
.grid{stroke:#30363d}.cut{fill:#21262d;stroke:#484f58}.unknown{fill:#484f58}.halo{stroke:#0d1117}}";

/// The picture; `host` is where it was.
pub fn picture(history: &History, host: &str) -> String {
    let tracks = || history.tracks.iter().filter(|track| !track.is_hidden());
    let axis = Axis::new(history, WIDTH, CUT);
    let bottom = (tracks().count() as u64).saturating_mul(ROW).saturating_add(TOP);
    let (width, height) = (LEFT + WIDTH + RIGHT, bottom.saturating_add(72));
    let mut svg = Svg(String::new());
    svg.add(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n",
    ));
    svg.text("h", 16, 32, format_args!("isinit timeline of {host}"));
    svg.text("s", 16, 54, format_args!("{}", heading(history)));
    let tops = || tracks().zip((TOP..).step_by(ROW as usize));
    for (_, top) in tops().filter(|(track, _)| track.tag.is_none()) {
        svg.add(format_args!("<rect class=\"band\" y=\"{top}\" width=\"100%\" height=\"{ROW}\"/>\n"));
    }
    svg.times(&axis, bottom);
    for (track, top) in tops() {
        svg.track(track, &axis, top);
    }
    let (legend, last) = (bottom.saturating_add(24), bottom.saturating_add(60));
    svg.add(format_args!("<g transform=\"translate({LEFT} {legend})\">{LEGEND}</g>\n"));
    svg.text("s", 16, last, format_args!("{}", left_out(history).trim_end()));
    svg.0 + "</svg>\n"
}

/// The text of the picture.
struct Svg(String);

impl Svg {
    fn add(&mut self, words: Arguments) {
        // A string takes everything.
        let _ = self.0.write_fmt(words);
    }

    /// Text as XML 1.0 has it: of control characters it knows blanks alone, and two code points are none.
    fn escaped(&mut self, words: Arguments) {
        for letter in words.to_string().chars() {
            match letter {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                _ if letter.is_control() => self.0.push('\u{fffd}'),
                _ => self.0.push(letter),
            }
        }
    }

    fn text(&mut self, class: &str, x: u64, y: u64, words: Arguments) {
        self.add(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">"));
        self.escaped(words);
        self.0.push_str("</text>\n");
    }

    /// A shape that says something when it is pointed at.
    fn shape(&mut self, class: &str, path: Arguments, words: Arguments) {
        self.add(format_args!("<path class=\"{class}\" d=\"{path}\"><title>"));
        self.escaped(words);
        self.0.push_str("</title></path>\n");
    }

    /// The times above, a line down from each, and what is left out.
    fn times(&mut self, axis: &Axis, bottom: u64) {
        let height = bottom.saturating_sub(ABOVE);
        for Label { place, width, words } in axis.labels(TICK) {
            let x = LEFT.saturating_add(place);
            let (class, what) = if width == 0 { ("grid", "") } else { ("cut", "nothing happened for ") };
            let path = format_args!("M{x} {ABOVE}h{width}v{height}h-{width}z");
            self.shape(class, path, format_args!("{what}{words}"));
            self.text("t", x.saturating_add(width / 2), ABOVE - 6, format_args!("{words}"));
        }
    }

    fn track(&mut self, track: &Track, axis: &Axis, top: u64) {
        let (class, x, name) = match &track.tag {
            Some(tag) => ("e", 32, tag),
            None => ("g", 16, &track.group),
        };
        self.0.push_str("<g><title>");
        self.escaped(format_args!("{}", track.words()));
        self.0.push_str("</title>");
        self.text(
            class,
            x,
            top.saturating_add(17),
            format_args!("{}", fit(name, NAME_LETTERS, true).trim_end()),
        );
        self.0.push_str("</g>\n");
        let name = track.name();
        for bar in &track.bars {
            let (left, right) = (axis.place(bar.from), axis.place(bar.to));
            let (x, width) = (LEFT.saturating_add(left), right.saturating_sub(left).max(BAR_MIN));
            // With a point on the side on which it goes on.
            let right = if bar.still { "l7 7l-7 7" } else { "v14" };
            let left = if bar.before { "l-7-7" } else { "" };
            let path = format_args!("M{x} {}h{width}{right}h-{width}{left}z", top.saturating_add(5));
            self.shape(bar.kind.name(), path, format_args!("{name}: {}", bar.words()));
        }
        for mark in &track.marks {
            let (x, y) = (LEFT.saturating_add(axis.place(mark.at)).saturating_sub(4), top.saturating_add(8));
            for class in ["halo", "x"] {
                let path = format_args!("M{x} {y}l8 8m0-8l-8 8");
                self.shape(class, path, format_args!("{name}: {} at {}", mark.words, clock(mark.at)));
            }
        }
    }
}
