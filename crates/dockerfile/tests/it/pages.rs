//! The pages in `docs/checks`: each rule has one, and its examples are what they say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dockerfile::lint::RULES;

use crate::lint::found_with;

/// The rules that need more than the file: what an image says of its platform. `build` tests their pages.
const SEEN_BY_BUILDS: [&str; 1] = ["InvalidBaseImagePlatform"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checks")
}

/// A page's blocks: the heading that each stands under, its language, its text.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let (mut heading, mut blocks) = (String::new(), Vec::new());
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        if let Some((language, text)) = &mut open {
            if line == "```" {
                blocks.push((heading.clone(), language.clone(), text.clone()));
                open = None;
            } else {
                text.push_str(line);
                text.push('\n');
            }
        } else if let Some(language) = line.strip_prefix("```") {
            open = Some((language.to_owned(), String::new()));
        } else if let Some(text) = line.strip_prefix("## ") {
            heading = text.to_owned();
        }
    }
    blocks
}

#[test]
fn every_rule_has_a_page_and_every_page_a_rule() {
    let rules: BTreeSet<String> = RULES.iter().map(|rule| rule.page()).collect();
    let pages: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .map(|name| format!("docs/checks/{name}"))
        .collect();
    assert_eq!(pages, rules);
    let list = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for rule in RULES {
        let line = format!("| [{0}]({0}.md) | {1} |", rule.name, rule.summary);
        assert!(
            list.contains(&line),
            "the list in README.md has no line {line}"
        );
    }
}

#[test]
fn bad_examples_break_their_rule_only_and_good_ones_none() {
    for rule in RULES {
        let page = std::fs::read_to_string(folder().join(format!("{}.md", rule.name))).unwrap();
        assert!(
            page.starts_with(&format!("# {}\n", rule.name)),
            "{}",
            rule.name
        );
        let blocks = blocks(&page);
        let ignore = blocks
            .iter()
            .find(|(_, language, _)| language == "dockerignore");
        let ignore = ignore.map(|(_, _, text)| text.as_str());
        let (mut bad, mut good) = (0, 0);
        for (heading, _, text) in blocks
            .iter()
            .filter(|(_, language, _)| language == "dockerfile")
        {
            let found = found_with(text, ignore, &|_| true);
            let found: BTreeSet<&str> = found.iter().map(|(rule, _)| rule.as_str()).collect();
            if heading == "Good" {
                good += 1;
                assert!(found.is_empty(), "{}: {found:?}\n{text}", rule.name);
            } else {
                bad += 1;
                if !SEEN_BY_BUILDS.contains(&rule.name) {
                    assert_eq!(found, BTreeSet::from([rule.name]), "{text}");
                }
            }
        }
        assert!(bad > 0 && good > 0, "{} lacks an example", rule.name);
    }
}
