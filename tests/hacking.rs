//! docs/hacking.md: its change applies to the source as it is. And what it and the README name is there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(house().join(name)).unwrap()
}

#[test]
fn the_change_that_it_shows_applies() {
    let page = page("docs/hacking.md");
    let diff = page.split("```diff\n").nth(1).and_then(|rest| rest.split("```\n").next()).unwrap();
    assert!(diff.contains("\n+#[test]\n") && diff.contains("src/"), "a change and its test");
    let mut apply = Command::new("git");
    apply.args(["apply", "--check", "--verbose", "-"]).current_dir(house()).stdin(Stdio::piped());
    let mut apply = apply.spawn().unwrap();
    apply.stdin.take().unwrap().write_all(diff.as_bytes()).unwrap();
    assert!(apply.wait().unwrap().success(), "docs/hacking.md shows a change to what is not there any more");
}

/// The words behind these, up to a blank, a mark or the end of the line.
fn behind<'t>(page: &'t str, words: &'t str) -> impl Iterator<Item = &'t str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    page.split(words).skip(1).filter_map(move |rest| rest.split(ends).next()).filter(|word| !word.is_empty())
}

fn assert_names_what_is_there(page: &str) {
    let makefile = fs::read_to_string(house().join("Makefile")).unwrap();
    for target in behind(page, "\n    make ").chain(behind(page, "`make ")) {
        assert!(makefile.contains(&format!("\n{target}: ")), "make {target}");
    }
    for test in behind(page, "cargo test --test ") {
        let places = [format!("tests/{test}.rs"), format!("tests/{test}/main.rs")];
        assert!(places.iter().any(|place| house().join(place).exists()), "tests/{test}");
    }
    let quoted = page.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '\n', '$']));
    let rooms = ["src/", "tests/", "docs/", "initramfs-test/", "examples/", ".ci/"];
    let paths = quoted.filter(|word| rooms.iter().any(|room| word.starts_with(room)));
    let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for path in paths.chain(links.filter(|link| !link.starts_with("http"))) {
        assert!(house().join(path).exists(), "{path}");
    }
}

#[test]
fn what_it_names_is_there() {
    assert_names_what_is_there(&page("docs/hacking.md"));
}

#[test]
fn what_the_readme_names_is_there() {
    assert_names_what_is_there(&page("README.md"));
}
