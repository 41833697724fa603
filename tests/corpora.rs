//! What was found by fuzzing, and what leads into every corner of what reads bytes from outside (`fuzz/`): all of it goes
//! through the same checks here.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// A corpus that is larger than this was not minimised (`make fuzz-corpus`).
const FILES_MAX: usize = 150;
const BYTES_MAX: usize = 300_000;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names in a directory, without what stands behind a dot.
fn names(directory: &Path) -> BTreeSet<String> {
    let listed = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    listed.map(|entry| name(entry.unwrap().path())).collect()
}

fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let listed = fs::read_dir(directory().join("corpus").join(target)).unwrap();
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn whatever_was_found_does_no_harm_any_more() {
    let mut broken = Vec::new();
    for (target, check) in fuzz::TARGETS {
        let files = files(target);
        for (path, bytes) in &files {
            if catch_unwind(|| check(bytes)).is_err() {
                broken.push(path.display().to_string());
            }
        }
        // Not by println!, which is heard only when a test fails.
        writeln!(std::io::stdout(), "{target}: {} inputs", files.len()).unwrap();
    }
    assert!(broken.is_empty(), "these break it:\n{}", broken.join("\n"));
}

#[test]
fn every_target_has_its_corpus_and_every_corpus_its_target() {
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names(&directory().join("corpus")), targets);
    assert_eq!(names(&directory().join("targets")), targets);
    let manifest = fs::read_to_string(directory().join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target} is not built");
        let files = files(target);
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(!files.is_empty(), "{target} has no corpus");
        assert!(files.len() <= FILES_MAX, "{target} has {} inputs", files.len());
        assert!(bytes <= BYTES_MAX, "the inputs of {target} have {bytes} bytes");
    }
}
