//! What the pictures have in common: names that fit, times and amounts in words, and what the terminal can show.

use std::io::IsTerminal;

use crate::sys::terminal;

/// Columns and lines of a terminal that does not know its size, as one at the end of a serial line: those of a VT100.
const VT100: (usize, usize) = (80, 24);

/// Columns and lines of our terminal; down a pipe they are a VT100's.
pub fn size() -> (usize, usize) {
    let size = terminal::size(rustix::stdio::stdout());
    size.map_or(VT100, |(columns, lines)| (usize::from(columns), usize::from(lines)))
}

/// Are colours wanted? On a terminal, where `NO_COLOR` does not say otherwise.
pub fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Does the locale have more than ASCII (locale(7))?
pub fn unicode() -> bool {
    // Each where it is read, for the test that holds what is read against the manual.
    let set = |value: Option<std::ffi::OsString>| value.filter(|value| !value.is_empty());
    let set = set(std::env::var_os("LC_ALL"))
        .or_else(|| set(std::env::var_os("LC_CTYPE")))
        .or_else(|| set(std::env::var_os("LANG")));
    let name = set.unwrap_or_default().to_ascii_lowercase();
    [&b"utf-8"[..], b"utf8"].iter().any(|end| name.as_encoded_bytes().ends_with(end))
}

/// Text for a terminal that shows so many letters of it, filled up with blanks. What would move its cursor or be beyond it is
/// a question mark.
pub fn fit(text: &str, width: usize, unicode: bool) -> String {
    let cut = text.chars().nth(width).is_some();
    let mut fitted = String::new();
    for (place, letter) in text.chars().chain(std::iter::repeat(' ')).take(width).enumerate() {
        fitted.push(match letter {
            _ if cut && place.saturating_add(1) == width => {
                if unicode {
                    '…'
                } else {
                    '~'
                }
            }
            _ if letter.is_control() || !unicode && !letter.is_ascii() => '?',
            _ => letter,
        });
    }
    fitted
}

/// A time of the wall clock, in milliseconds, as `HH:MM:SS.mmm` in UTC.
pub fn clock(wall_ms: u64) -> String {
    let seconds = wall_ms / 1_000;
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02}.{:03}", seconds % 60, wall_ms % 1_000)
}

/// The day of a time of the wall clock, as `YYYY-MM-DD` in UTC.
pub fn day(wall_ms: u64) -> String {
    let (mut year, mut month, mut days) = (1970_u64, 0_usize, wall_ms / 86_400_000);
    // Further than this no clock of 64 bits is set by anybody who means it.
    while year < 9_999 {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if leap { 29 } else { 28 };
        let length = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].get(month).copied().unwrap_or(31);
        if days < length {
            break;
        }
        days = days.saturating_sub(length);
        month = month.saturating_add(1) % 12;
        year = year.saturating_add(u64::from(month == 0));
    }
    format!("{year:04}-{:02}-{:02}", month.saturating_add(1), days.min(30).saturating_add(1))
}

/// How long something took, as short as it says enough: `345ms`, `12.34s`, then as a status has it.
pub fn length(ms: u64) -> String {
    match ms {
        1_000..=119_999 => format!("{}.{:02}s", ms / 1_000, ms / 10 % 100),
        _ => super::show::duration(ms),
    }
}

/// An amount of memory: `812.0K`, `64.2M`, `1.5G`.
pub fn bytes(bytes: u64) -> String {
    let mut tenths = bytes.saturating_mul(10) / 1_024;
    let mut units = "KMGTPE".chars();
    while tenths >= 10_240 {
        tenths /= 1_024;
        units.next();
    }
    format!("{}.{}{}", tenths / 10, tenths % 10, units.next().unwrap_or('?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        assert_eq!((day(0), clock(0)), ("1970-01-01".into(), "00:00:00.000".into()));
        assert_eq!(
            (day(1_795_869_400_123), clock(1_795_869_400_123)),
            ("2026-11-28".into(), "12:36:40.123".into())
        );
        for (ms, date) in [
            (1_709_164_800_000, "2024-02-29"),
            (1_709_251_200_000, "2024-03-01"),
            (951_782_400_000, "2000-02-29"),
            (4_107_542_399_000, "2100-02-28"),
            (4_107_542_400_000, "2100-03-01"),
            (1_735_689_599_999, "2024-12-31"),
            (1_735_689_600_000, "2025-01-01"),
        ] {
            assert_eq!(day(ms), date);
        }
        assert_eq!(day(u64::MAX), "9999-01-31", "of no use, and no harm");
    }

    #[test]
    fn amounts_are_short() {
        for (ms, words) in
            [(0, "0ms"), (999, "999ms"), (1_234, "1.23s"), (12_345, "12.34s"), (600_000, "10min")]
        {
            assert_eq!(length(ms), words);
        }
        for (number, words) in
            [(0, "0.0K"), (831_488, "812.0K"), (67_318_579, "64.1M"), (1_610_612_736, "1.5G")]
        {
            assert_eq!(bytes(number), words);
        }
        assert_eq!(bytes(u64::MAX).pop(), Some('E'));
    }

    #[test]
    fn what_is_too_long_is_cut_and_moves_no_cursor() {
        assert_eq!((fit("web", 5, true), fit("database", 5, true)), ("web  ".into(), "data…".into()));
        assert_eq!((fit("datab", 5, true), fit("database", 5, false)), ("datab".into(), "data~".into()));
        assert_eq!((fit("a\x1b\u{9b}é", 4, true), fit("é\u{fffd}", 2, false)), ("a??é".into(), "??".into()));
        assert_eq!(fit("x", 0, true), "");
    }
}
