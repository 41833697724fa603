//! docs/hacking.md: its change applies to the source as it is, and what it names is there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(house().join("docs/hacking.md")).unwrap()
}

#[test]
fn the_change_that_it_shows_applies() {
    let page = page();
    let diff = page.split("```diff\n").nth(1).and_then(|rest| rest.split("```\n").next()).unwrap();
    assert!(diff.contains("\n+#[test]\n") && diff.contains("src/"), "a change and its test");
    let mut apply = Command::new("git");
    apply.args(["apply", "--check", "--verbose", "-"]).current_dir(house()).stdin(Stdio::piped());
    let mut apply = apply.spawn().unwrap();
    apply.stdin.take().unwrap().write_all(diff.as_bytes()).unwrap();
    assert!(apply.wait().unwrap().success(), "docs/hacking.md shows a change to what is not there any more");
}

#[test]
fn what_it_names_is_there() {
    let page = page();
    let makefile = fs::read_to_string(house().join("Makefile")).unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("    make "));
    let targets: Vec<&str> = lines.map(|rest| rest.split(' ').next().unwrap_or_default()).collect();
    for target in targets.iter().filter(|target| !target.is_empty()) {
        assert!(makefile.contains(&format!("\n{target}: ")), "make {target}");
    }
    let tests =
        page.split("cargo test --test ").skip(1).filter_map(|rest| rest.split([' ', '\n', '`']).next());
    for test in tests {
        let places = [format!("tests/{test}.rs"), format!("tests/{test}/main.rs")];
        assert!(places.iter().any(|place| house().join(place).exists()), "tests/{test}");
    }
    let quoted = page.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '\n', '$']));
    let rooms = ["src/", "tests/", "docs/", "initramfs-test/"];
    for path in quoted.filter(|word| rooms.iter().any(|room| word.starts_with(room))) {
        assert!(house().join(path).exists(), "{path}");
    }
}
