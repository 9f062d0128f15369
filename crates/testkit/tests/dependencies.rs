//! What barque stands on: every outside crate that a crate of ours names has a line in
//! `docs/dependencies.md`, and every licence in the whole graph is one that `deny.toml` allows.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn workspace_file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", concat!("x86_64", "-unknown-linux-gnu")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata starts");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn ours(package: &Value) -> bool {
    package["source"].is_null()
}

#[test]
fn every_outside_crate_is_argued_for() {
    let document = workspace_file("docs/dependencies.md");
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let named: BTreeSet<&str> = packages
        .iter()
        .filter(|package| ours(package))
        .flat_map(|package| package["dependencies"].as_array().expect("dependencies"))
        .filter(|dependency| dependency["path"].is_null())
        .map(|dependency| dependency["name"].as_str().expect("a name"))
        .collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !document.contains(&format!("| `{name}` |")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/dependencies.md has no line for {missing:?}"
    );
    let gone: Vec<_> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .filter(|name| !named.contains(name))
        .collect();
    assert!(
        gone.is_empty(),
        "docs/dependencies.md speaks of {gone:?}, which nothing depends on"
    );
}

/// One alternative of an SPDX expression is allowed as a whole. Parentheses do not change the
/// answer for the expressions that crates use: `A OR B`, `A AND B`, `(A OR B) AND C`.
fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let factors = expression
        .split(" AND ")
        .map(|factor| factor.trim_matches(['(', ')', ' ']).to_owned());
    factors.into_iter().all(|factor| {
        factor
            .split(" OR ")
            .any(|licence| allow.contains(licence.trim_matches(['(', ')', ' '])))
    })
}

/// The text between quotes after `key` in a line of TOML.
fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key)?.1.split('"').nth(1)
}

#[test]
fn every_licence_is_allowed() {
    let rules = workspace_file("deny.toml");
    let (_, list) = rules.split_once("\nallow = [").expect("a list of licences");
    let (list, _) = list.split_once(']').expect("its end");
    let allow: BTreeSet<String> = list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(allow.contains("Apache-2.0"));
    let excepted = |name: &str, licence: &str| {
        rules
            .lines()
            .filter(|line| quoted(line, "{ crate =") == Some(name))
            .any(|line| {
                let also = quoted(line, "allow =").expect("one licence").to_owned();
                allowed(licence, &allow.iter().cloned().chain([also]).collect())
            })
    };
    let clarified =
        |name: &str| rules.contains(&format!("[[licenses.clarify]]\ncrate = \"{name}\"\n"));

    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter(|package| !ours(package))
    {
        let name = package["name"].as_str().expect("a name");
        let fine = match package["license"].as_str() {
            Some(licence) => allowed(licence, &allow) || excepted(name, licence),
            None => clarified(name),
        };
        if !fine {
            wrong.push(format!("{name} {}", package["license"]));
        }
    }
    assert!(
        wrong.is_empty(),
        "licences that deny.toml does not allow: {}",
        wrong.join(", ")
    );
}

#[test]
fn every_second_version_has_a_reason() {
    let rules = workspace_file("deny.toml");
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        versions
            .entry(name)
            .or_default()
            .insert(package["version"].as_str().expect("a version"));
    }
    let wrong: Vec<_> = versions
        .iter()
        .filter(|(name, versions)| {
            let skipped = rules
                .lines()
                .filter_map(|line| quoted(line, "{ crate =")?.split_once('@'));
            versions.len() > 1 + skipped.filter(|(skipped, _)| skipped == *name).count()
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "several versions and no reason in deny.toml: {wrong:?}"
    );
}

#[test]
fn expressions_are_read_as_written() {
    let allow: BTreeSet<String> = ["MIT".to_owned(), "Unicode-3.0".to_owned()].into();
    assert!(allowed("MIT", &allow));
    assert!(allowed("MIT OR Apache-2.0", &allow));
    assert!(allowed("Apache-2.0/MIT", &allow));
    assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &allow));
    assert!(!allowed("(MIT OR Apache-2.0) AND GPL-3.0", &allow));
    assert!(!allowed("GPL-3.0", &allow));
}
