//! A manual page as its source has it: as much of mdoc(7) as these pages are written in.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The macros that begin another kind of word in a line.
const MACROS: [&str; 24] = [
    "Ar", "Cm", "Em", "Ev", "Fl", "Ic", "Li", "Nd", "Nm", "No", "Ns", "Oc", "Oo", "Op", "Pa", "Pq", "Ql",
    "Sx", "Sy", "Tn", "Va", "Xr", "Ao", "Ac",
];

/// A page: its lines, each with the section and the subsection that it stands in.
pub struct Page {
    lines: Vec<(String, String, String)>,
}

/// A paragraph of a list with its head, the lists in it included.
pub struct Item {
    /// What stands behind `.It`.
    pub head: String,
    /// The lines below it.
    pub body: Vec<String>,
}

impl Page {
    pub fn read(name: &str) -> Page {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut section, mut subsection, mut lines) = (String::new(), String::new(), Vec::new());
        for line in text.lines() {
            if let Some(title) = line.strip_prefix(".Sh ") {
                (section, subsection) = (title.to_owned(), String::new());
            } else if let Some(title) = line.strip_prefix(".Ss ") {
                subsection = title.to_owned();
            } else if !line.starts_with(".\\\"") {
                lines.push((section.clone(), subsection.clone(), line.to_owned()));
            }
        }
        Page { lines }
    }

    /// The lines of a section or subsection, which has to be there.
    pub fn section(&self, title: &str) -> Vec<&str> {
        let of =
            |(section, subsection, _): &&(String, String, String)| section == title || subsection == title;
        let lines: Vec<&str> = self.lines.iter().filter(of).map(|(_, _, line)| line.as_str()).collect();
        assert!(!lines.is_empty(), "there is no section {title}");
        lines
    }

    /// The paragraphs of the lists in a section; those of lists within lists are part of them.
    pub fn items(&self, title: &str) -> Vec<Item> {
        let (mut depth, mut items) = (0, Vec::<Item>::new());
        for line in self.section(title) {
            match line.split(' ').next() {
                Some(".Bl") => depth += 1,
                Some(".El") => depth -= 1,
                Some(".It") if depth == 1 => {
                    let head = line.strip_prefix(".It").unwrap_or_default().trim().to_owned();
                    items.push(Item { head, body: Vec::new() });
                    continue;
                }
                _ => {}
            }
            if let (true, Some(item)) = (depth > 0, items.last_mut()) {
                item.body.push(line.to_owned());
            }
        }
        items
    }

    /// What the heads of a section's paragraphs have as words of one macro.
    pub fn heads(&self, title: &str, of: &str) -> BTreeSet<String> {
        self.items(title).iter().flat_map(|item| words(&item.head, of)).collect()
    }

    /// All words of a macro, wherever on the page.
    pub fn all(&self, of: &str) -> BTreeSet<String> {
        self.lines.iter().flat_map(|(_, _, line)| words(line, of)).collect()
    }

    /// What is shown as it stands: the displays of a section, or of the whole page.
    pub fn displays(&self, title: Option<&str>) -> Vec<String> {
        let all = || self.lines.iter().map(|(_, _, line)| line.as_str()).collect();
        let (mut shown, mut open) = (Vec::<String>::new(), false);
        for line in title.map_or_else(all, |title| self.section(title)) {
            if line.starts_with(".Bd -literal") {
                shown.push(String::new());
                open = true;
            } else if line == ".Ed" {
                open = false;
            } else if let (true, Some(display)) = (open, shown.last_mut()) {
                display.push_str(&plain(line));
                display.push('\n');
            }
        }
        shown
    }

    /// The page without its markup, as one text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|(_, _, line)| plain(line) + "\n").collect()
    }
}

/// The words of a macro in a line: `words(".Pq Fl g , -help Ar x", "Fl")` is `-g` and `--help`.
pub fn words(line: &str, of: &str) -> Vec<String> {
    let line = line.strip_prefix(".It ").unwrap_or(line);
    let line = line.strip_prefix('.').unwrap_or(line);
    let (mut current, mut found, mut joined) = ("", Vec::new(), false);
    for word in line.split_ascii_whitespace() {
        if MACROS.contains(&word) {
            joined = word == "Ns";
            if !joined {
                current = word;
            }
            continue;
        }
        let word = plain(word);
        let is_mark = word.chars().all(|letter| ",.:;()|".contains(letter));
        if current == of && !is_mark && !joined {
            found.push(if of == "Fl" { format!("-{word}") } else { word });
        }
    }
    found
}

/// Text without the escapes of mdoc.
pub fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (escape, letter) in [
        ("\\&", ""),
        ("\\(ti", "~"),
        ("\\(ga", "`"),
        ("\\(ha", "^"),
        ("\\(dq", "\""),
        ("\\(aq", "'"),
        ("\\-", "-"),
        ("\\e", "\\"),
    ] {
        text = text.replace(escape, letter);
    }
    text
}

#[test]
fn the_words_of_a_macro_are_told_apart() {
    assert_eq!(words(".It Cm tell Oo Fl -wait Oc Ar group", "Fl"), ["--wait"]);
    assert_eq!(words(".Pq Fl c , -single-child , r", "Fl"), ["-c", "--single-child", "-r"]);
    assert_eq!(words("Fl r Ar from : Ns Ar to , Fl -rewrite", "Fl"), ["-r", "--rewrite"]);
    assert_eq!(words(".It Ic fail=entry , fail=group , main", "Ic"), ["fail=entry", "fail=group", "main"]);
    assert_eq!(words(".It Ic stop= Ns Ar signal", "Ic"), ["stop="]);
}
