//! Times as places on a line, long silences cut out of it.
//!
//! A daemon that runs for weeks has changes of seconds, and between them nothing. Drawn to scale those seconds would be a
//! point each. So where nothing happens for far longer than everything else takes together, the line is broken, and says
//! how much is left out.

use super::history::History;
use super::text::{clock, length};

/// Shorter than this nothing is left out, in milliseconds: a person has waited for it.
const SILENCE_MS: u64 = 10_000;

/// A silence is as many times longer than all that is shorter than it.
const FAR_LONGER: u64 = 10;

/// Steps between two times that are written at the line, in milliseconds; and how much of a clock's `HH:MM:SS.mmm` tells
/// them apart.
const STEPS: [(u64, usize); 17] = [
    (1, 12),
    (5, 12),
    (10, 11),
    (50, 11),
    (100, 10),
    (500, 10),
    (1_000, 8),
    (2_000, 8),
    (5_000, 8),
    (10_000, 8),
    (30_000, 8),
    (60_000, 8),
    (300_000, 8),
    (600_000, 8),
    (3_600_000, 8),
    (21_600_000, 8),
    (86_400_000, 8),
];

/// A piece of time, and of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its beginning, in milliseconds of the wall clock.
    pub from: u64,
    /// Its end.
    pub to: u64,
    /// Where it begins on the line.
    pub left: u64,
    /// Where it ends.
    pub right: u64,
    /// Is it a silence that is left out?
    pub cut: bool,
}

/// Something that is written at the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: u64,
    /// How much of the line it is about: none, if it is a time.
    pub width: u64,
    /// What.
    pub words: String,
}

/// The line, from 0 to a width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// One after the other.
    pub pieces: Vec<Piece>,
    /// Time that is drawn to scale, and how much room there is for it.
    scale: (u64, u64),
}

impl Axis {
    /// A line of this width for a picture; a silence that is left out takes `cut` of it.
    pub fn new(history: &History, width: u64, cut: u64) -> Axis {
        let times = times(history);
        let longest = longest(&times);
        let mut pieces: Vec<Piece> = Vec::new();
        for pair in times.windows(2) {
            let &[from, to] = pair else { continue };
            let is_cut = to.saturating_sub(from) >= longest;
            match pieces.last_mut() {
                Some(piece) if !piece.cut && !is_cut => piece.to = to,
                _ => pieces.push(Piece { from, to, left: 0, right: 0, cut: is_cut }),
            }
        }
        let cuts = pieces.iter().filter(|piece| piece.cut).count() as u64;
        let cut = (width / 2).checked_div(cuts).map_or(0, |most| most.min(cut));
        let room = width.saturating_sub(cut.saturating_mul(cuts));
        let shown = pieces.iter().filter(|piece| !piece.cut);
        let time = shown.fold(0_u64, |sum, piece| sum.saturating_add(piece.to.saturating_sub(piece.from)));
        let mut axis = Axis { pieces, scale: (time.max(1), room) };
        let (mut left, mut so_far, mut cuts) = (0, 0_u64, 0_u64);
        for piece in &mut axis.pieces {
            match piece.cut {
                true => cuts = cuts.saturating_add(cut),
                false => so_far = so_far.saturating_add(piece.to.saturating_sub(piece.from)),
            }
            let right = scaled(so_far, axis.scale).saturating_add(cuts);
            (piece.left, piece.right, left) = (left, right, right);
        }
        axis
    }

    /// Where a time is.
    pub fn place(&self, at: u64) -> u64 {
        let last = self.pieces.last().map_or(0, |piece| piece.right);
        let Some(piece) = self.pieces.iter().find(|piece| at <= piece.to) else { return last };
        let (time, room) = (piece.to.saturating_sub(piece.from), piece.right.saturating_sub(piece.left));
        piece.left.saturating_add(scaled(at.saturating_sub(piece.from), (time.max(1), room)))
    }

    /// What is to be written at the line, in its order: times, at least so far from each other, and how long what is left
    /// out is.
    pub fn labels(&self, apart: u64) -> Vec<Label> {
        let wide = |step: &(u64, usize)| scaled(step.0, self.scale) >= apart;
        let (mut step, letters) = STEPS.into_iter().find(wide).unwrap_or((86_400_000, 8));
        while !wide(&(step, 0)) && step < u64::MAX / 2 {
            step = step.saturating_mul(2);
        }
        let (mut labels, mut free) = (Vec::new(), 0);
        for piece in &self.pieces {
            if piece.cut {
                let width = piece.right.saturating_sub(piece.left);
                let words = length(piece.to.saturating_sub(piece.from));
                labels.push(Label { place: piece.left, width, words });
                continue;
            }
            let mut at = piece.from.div_ceil(step).saturating_mul(step);
            while at <= piece.to {
                let place = self.place(at);
                if place >= free {
                    let mut words = clock(at);
                    words.truncate(letters);
                    labels.push(Label { place, width: 0, words });
                    free = place.saturating_add(apart);
                }
                at = at.saturating_add(step);
            }
        }
        labels
    }
}

/// As much of the room as it is of the time.
fn scaled(time: u64, (all, room): (u64, u64)) -> u64 {
    time.saturating_mul(room).checked_div(all).unwrap_or(room).min(room)
}

/// When something happened, in order, the beginning and the end of the picture among them.
fn times(history: &History) -> Vec<u64> {
    let mut times = vec![history.from, history.to];
    for track in &history.tracks {
        times.extend(track.bars.iter().flat_map(|bar| [bar.from, bar.to]));
        times.extend(track.marks.iter().map(|mark| mark.at));
    }
    times.sort_unstable();
    times.dedup();
    times
}

/// How long something has to be to be a silence.
fn longest(times: &[u64]) -> u64 {
    let mut lengths: Vec<u64> = times
        .windows(2)
        .map(|pair| pair.last().zip(pair.first()).map_or(0, |(to, from)| to.saturating_sub(*from)))
        .collect();
    lengths.sort_unstable();
    let mut shorter = 0_u64;
    for length in lengths {
        if length >= SILENCE_MS && shorter > 0 && length > shorter.saturating_mul(FAR_LONGER) {
            return length;
        }
        shorter = shorter.saturating_add(length);
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::{Mark, Track};

    fn history(from: u64, to: u64, marks: &[u64]) -> History {
        let (mut history, mut track) = (History::default(), Track::default());
        track.marks = marks.iter().map(|at| Mark { at: *at, words: String::new() }).collect();
        history.tracks.push(track);
        (history.from, history.to) = (from, to);
        history
    }

    #[test]
    fn a_short_time_is_drawn_to_scale() {
        let axis = Axis::new(&history(1_000, 3_000, &[1_500, 2_900]), 200, 20);
        assert_eq!([1_000, 1_500, 2_000, 3_000, 9_000].map(|at| axis.place(at)), [0, 50, 100, 200, 200]);
        let labels: Vec<(u64, u64, String)> =
            axis.labels(30).into_iter().map(|label| (label.place, label.width, label.words)).collect();
        let expected = [(0, "01.0"), (50, "01.5"), (100, "02.0"), (150, "02.5"), (200, "03.0")];
        assert_eq!(labels, expected.map(|(place, end)| (place, 0, format!("00:00:{end}"))));
    }

    #[test]
    fn silences_are_left_out_and_what_happened_is_not() {
        const DAY: u64 = 86_400_000;
        let (from, second) = (10 * DAY, 13 * DAY);
        let axis =
            Axis::new(&history(from, second + 3_605_000, &[from + 2_000, second, second + 3_000]), 140, 20);
        let cut: Vec<u64> =
            axis.pieces.iter().filter(|piece| piece.cut).map(|piece| piece.to - piece.from).collect();
        assert_eq!(cut, [3 * DAY - 2_000, 3_602_000]);
        assert_eq!(
            [from, from + 2_000, second, second + 3_000, second + 3_605_000].map(|at| axis.place(at)),
            [0, 40, 60, 120, 140]
        );
        let cut: Vec<(u64, String)> = axis
            .labels(30)
            .into_iter()
            .filter(|label| label.width > 0)
            .map(|label| (label.place, label.words))
            .collect();
        assert_eq!(cut, [(40, "2d".to_string()), (120, "60min".into())]);
    }

    #[test]
    fn what_has_no_length_and_what_is_endless_has_a_line_too() {
        for (from, to) in [(5, 5), (0, u64::MAX), (9, 3)] {
            let axis = Axis::new(&history(from, to, &[from]), 100, 10);
            assert!(
                axis.place(from) <= 100 && axis.place(to) <= 100 && axis.labels(7).len() <= 16,
                "{axis:?}"
            );
        }
    }

    #[test]
    fn many_silences_leave_room_for_the_rest() {
        let marks: Vec<u64> = (0..100).flat_map(|n| [n * 1_000_000, n * 1_000_000 + 1]).collect();
        let axis = Axis::new(&history(0, 99_000_001, &marks), 60, 5);
        assert!(axis.place(99_000_001) <= 60);
        assert!(axis.pieces.windows(2).all(|pair| pair[0].right == pair[1].left));
    }
}
