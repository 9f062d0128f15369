//! The page about the Dockerfile language names tests; they exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all functions in the Rust files of a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let named = text.split("fn ").skip(1);
            names.extend(named.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn tests_that_the_page_names_exist() {
    let mut tests = BTreeSet::new();
    for krate in std::fs::read_dir(workspace().join("crates")).expect("the crates") {
        let krate = krate.expect("an entry").path();
        for folder in ["src", "tests"] {
            if krate.join(folder).is_dir() {
                functions(&krate.join(folder), &mut tests);
            }
        }
    }
    let page = std::fs::read_to_string(workspace().join("docs/dockerfile.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| F"));
    let (mut seen, mut missing) = (0, Vec::new());
    for name in rows.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        seen += 1;
        let found = match name.strip_suffix('…') {
            Some(beginning) => tests.iter().any(|test| test.starts_with(beginning)),
            None => tests.contains(name),
        };
        if !found {
            missing.push(name);
        }
    }
    assert!(
        missing.is_empty(),
        "docs/dockerfile.md names tests that are not there: {missing:?}"
    );
    assert!(seen > 200, "the page names {seen} tests only");
}
