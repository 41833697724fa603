//! The rooms of the house: who imports whom, and where what is unsafe may stand. The table is that of `src/lib.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and what it may import.
const ROOMS: [(&str, &[&str]); 9] = [
    ("limits", &[]),
    ("isinittab", &["limits"]),
    ("engine", &["isinittab", "limits", "sys::memory"]),
    ("wire", &["limits"]),
    ("sys", &["limits"]),
    ("machine", &["sys", "limits"]),
    ("entrypoint", &["isinittab", "sys", "limits"]),
    ("supervisor", &["engine", "isinittab", "wire", "machine", "sys", "limits"]),
    ("cli", &["wire", "isinittab", "sys", "supervisor", "entrypoint", "machine"]),
];

/// Rooms whose input comes from outside: nothing in them may panic.
const NO_PANIC: [&str; 6] = ["isinittab", "wire", "machine", "entrypoint", "supervisor", "sys"];

/// What lib.rs denies for that.
const PANICS: [&str; 5] = [
    "clippy::unwrap_used",
    "clippy::expect_used",
    "clippy::panic",
    "clippy::indexing_slicing",
    "clippy::arithmetic_side_effects",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files_below(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|ext| ext == "rs") {
        found.push(path.to_owned());
    }
}

fn files_of(room: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_below(&source().join(room), &mut found);
    if found.is_empty() {
        found.push(source().join(format!("{room}.rs")));
    }
    found
}

/// The paths that a file names behind `crate::`, two words deep. Comments and what only tests see are not looked at.
fn imports(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = |line: &str| line.split("crate::").skip(1).map(two_words).collect::<Vec<String>>();
    lines.flat_map(named).collect()
}

fn two_words(path: &str) -> String {
    assert!(!path.starts_with('{'), "one `use crate::ROOM` for each room, so that they can be counted");
    let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    let path = path.split(ends).next().unwrap_or_default();
    path.split("::").filter(|word| !word.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

fn may_import(room: &str, allowed: &[&str], path: &str) -> bool {
    let first = path.split("::").next().unwrap_or_default();
    first == room || allowed.iter().any(|allowed| *allowed == first || *allowed == path)
}

#[test]
fn rooms_import_only_what_they_may() {
    for (room, allowed) in ROOMS {
        for file in files_of(room) {
            for path in imports(&file) {
                assert!(may_import(room, allowed, &path), "{} imports crate::{path}", file.display());
            }
        }
    }
}

#[test]
fn every_room_is_in_the_table() {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    let rooms: BTreeSet<&str> = map.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    let listed: BTreeSet<String> = ROOMS.iter().map(|(room, _)| format!("{room};")).collect();
    assert_eq!(rooms, listed.iter().map(String::as_str).collect());
    for (room, allowed) in ROOMS {
        let row = map.lines().find(|line| line.starts_with(&format!("//! | [`{room}`]"))).unwrap();
        let told = row.rsplit(" | ").next().unwrap();
        assert!(allowed.iter().all(|name| told.contains(name)), "lib.rs tells {told} of {room}");
    }
}

#[test]
fn only_sys_has_unsafe_code() {
    let manifest = fs::read_to_string(source().join("../Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
    let mut files = Vec::new();
    files_below(&source(), &mut files);
    for file in files.iter().filter(|file| !file.starts_with(source().join("sys"))) {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("unsafe_code"), "{} allows it", file.display());
    }
}

/// The words of the lists behind `word(`, however they are laid out.
fn listed<'t>(text: &'t str, word: &str) -> BTreeSet<&'t str> {
    let begin = format!("{word}(");
    let lists = text.split(begin.as_str()).skip(1).filter_map(|rest| rest.split(')').next());
    lists.flat_map(|list| list.split(',')).map(str::trim).collect()
}

fn assert_allows_no_panic(text: &str, of: &str) {
    for word in ["allow", "expect"] {
        let listed = listed(text, word);
        assert!(PANICS.iter().all(|lint| !listed.contains(lint)), "{of}: {listed:?}");
    }
}

#[test]
fn what_comes_from_outside_cannot_make_it_panic() {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    let head = map.split("\npub mod ").next().unwrap();
    let denied = listed(head.split("#![cfg_attr(").nth(1).unwrap(), "deny");
    assert!(PANICS.iter().all(|lint| denied.contains(lint)), "lib.rs denies {denied:?} alone");
    assert_allows_no_panic(head, "lib.rs");
    for room in NO_PANIC {
        let before = map.split(&format!("pub mod {room};")).next().unwrap();
        assert_allows_no_panic(before.rsplit(';').next().unwrap(), room);
        for file in files_of(room) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            assert_allows_no_panic(code, &file.display().to_string());
        }
    }
}
