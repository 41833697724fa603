//! `isinit status --tree`: below each entry its processes, as they descend from each other.

use super::place::Place;
use super::text::{fit, size, unicode};
use crate::sys::process::{Seen, command_line};

/// Processes, to be shown below entries.
pub struct Tree {
    place: Place,
    all: Vec<Seen>,
    unicode: bool,
}

/// What stands before a line of a tree, and before those below it, of one that others follow and of the last one: each for
/// who has all letters, and for others.
const BRANCHES: [[(&str, &str); 2]; 2] = [[("├─ ", "│  "), ("└─ ", "   ")], [("|- ", "|  "), ("`- ", "   ")]];

impl Tree {
    /// Of what is there now.
    pub fn new(place: Place) -> Tree {
        Tree { all: place.processes(), place, unicode: unicode() }
    }

    /// Can they be seen from here?
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.place, Place::Elsewhere)
    }

    /// What stands before a line, and before those below it.
    pub fn branch(&self, last: bool) -> (&'static str, &'static str) {
        let [unicode, ascii] = BRANCHES;
        let [more, end] = if self.unicode { unicode } else { ascii };
        if last { end } else { more }
    }

    /// The lines of an entry's processes.
    pub fn below(&self, tag: &str, main: u32, before: &str) -> String {
        let members = self.place.members(&self.all, tag, main);
        let is_root = |seen: &&&Seen| members.iter().all(|member| member.pid != seen.parent);
        let mut text = String::new();
        self.siblings(
            &mut text,
            &members,
            &members.iter().filter(is_root).copied().collect::<Vec<_>>(),
            before,
        );
        text
    }

    fn siblings(&self, text: &mut String, members: &[&Seen], siblings: &[&Seen], before: &str) {
        for (number, seen) in siblings.iter().enumerate() {
            let (branch, below) = self.branch(number.saturating_add(1) == siblings.len());
            let line = command_line(seen.pid);
            // Without a command line it is a zombie.
            let words = if line.is_empty() { format!("[{}]", seen.name) } else { line };
            let line = fit(&format!("{before}{branch}{} {words}", seen.pid), size().0, self.unicode);
            text.push_str(line.trim_end());
            text.push('\n');
            let children: Vec<&Seen> =
                members.iter().filter(|child| child.parent == seen.pid).copied().collect();
            self.siblings(text, members, &children, &format!("{before}{below}"));
        }
    }
}
