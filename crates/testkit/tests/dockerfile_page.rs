//! The pages about the Dockerfile language and about security name tests: they exist, and there is one for each case of the language.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
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

/// Cases are F001 to this one.
const LAST_CASE: usize = 222;

fn all_functions() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for krate in std::fs::read_dir(workspace().join("crates")).expect("the crates") {
        let krate = krate.expect("an entry").path();
        for folder in ["src", "tests"] {
            if krate.join(folder).is_dir() {
                functions(&krate.join(folder), &mut tests);
            }
        }
    }
    tests
}

fn page(name: &str) -> String {
    std::fs::read_to_string(workspace().join("docs").join(name)).expect("the page")
}

/// Whether the name of a test says that it is about a case: `f050_…`, `priv_f045_f050_…`, `f052_to_f054_…`.
fn is_about(test: &str, case: usize) -> bool {
    let numbers: Vec<usize> = test
        .split('_')
        .filter(|word| word.len() == 4)
        .filter_map(|word| word.strip_prefix('f')?.parse().ok())
        .collect();
    match numbers[..] {
        [from, to] if test.contains("_to_") => (from..=to).contains(&case),
        _ => numbers.contains(&case),
    }
}

#[test]
fn every_case_has_a_test_named_after_it_or_is_a_known_shortcoming() {
    let (tests, language, shortcomings) = (
        all_functions(),
        page("dockerfile.md"),
        page("shortcomings.md"),
    );
    let mut without = Vec::new();
    for case in 1..=LAST_CASE {
        let row = format!("| F{case:03} |");
        let row = language.lines().find(|line| line.starts_with(&row));
        let named = row
            .into_iter()
            .flat_map(|row| row.split('`').skip(1).step_by(2));
        let shown = named
            .into_iter()
            .any(|name| is_about(name, case) && tests.contains(name));
        if !shown && !shortcomings.contains(&format!("F{case:03}")) {
            without.push(case);
        }
    }
    assert!(
        without.is_empty(),
        "no test is named after the cases {without:?}"
    );
}

#[test]
fn every_test_named_after_a_case_is_on_the_page() {
    let page = page("dockerfile.md");
    let numbered = |test: &&String| {
        let name = test.strip_prefix("priv_").unwrap_or(test);
        let number = name.strip_prefix('f').and_then(|rest| rest.get(..4));
        number.is_some_and(|n| n.ends_with('_') && n[..3].bytes().all(|b| b.is_ascii_digit()))
    };
    let tests = all_functions();
    let missing: Vec<_> = tests
        .iter()
        .filter(numbered)
        .filter(|test| !page.contains(&format!("`{test}`")))
        .collect();
    assert!(missing.is_empty(), "docs/dockerfile.md lacks {missing:?}");
}

#[test]
fn tests_that_the_page_names_exist() {
    let tests = all_functions();
    let page = page("dockerfile.md");
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

#[test]
fn tests_that_the_page_about_security_names_exist() {
    let tests = all_functions();
    let page = page("security.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name = |word: &&str| {
        let fine = |b: u8| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit();
        word.matches('_').count() > 1 && word.bytes().all(fine)
    };
    let names: BTreeSet<&str> = words.filter(is_name).collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !tests.contains(**name))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/security.md names tests that are not there: {missing:?}"
    );
    assert!(
        names.len() > 150,
        "the page names {} tests only",
        names.len()
    );
}
