//! Crates depend one way only. This test reads `cargo metadata` and holds the table.
//!
//! A crate that is not in [`TABLE`] fails, and so does an edge that is not in it: add both in the
//! change that needs them, with the reason.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crate, the crates of this workspace it may depend on.
const TABLE: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("sys", &[]),
    ("dockerfile", &[]),
    ("layer", &["oci", "sys"]),
    ("distribution", &["oci"]),
    ("store", &["oci", "sys", "layer"]),
    ("runtime", &["oci", "sys"]),
    // `sys` beyond the architecture's short list: the context is read with `sys::fs`, whose errors
    // name verb and path. Everything above `sys` may use it for that reason.
    (
        "build",
        &["oci", "sys", "dockerfile", "layer", "store", "runtime"],
    ),
    (
        "engine",
        &[
            "oci",
            "sys",
            "dockerfile",
            "layer",
            "distribution",
            "store",
            "runtime",
            "build",
        ],
    ),
    ("cli", &["engine", "oci"]),
    ("testkit", &["oci", "layer", "store"]),
];

/// Outside crates that have one home: what they bring (unsafe code, a database, threads of their
/// own) is that crate's business and nobody else's.
const HOMES: &[(&str, &[&str])] = &[
    ("libc", &["sys"]),
    ("libcontainer", &["runtime"]),
    ("rusqlite", &["store"]),
    ("tokio", &["distribution", "engine"]),
    // One client and one server speak HTTP and TLS.
    ("hyper", &["distribution"]),
    ("rustls", &["distribution"]),
    ("rustls-native-certs", &["distribution"]),
    ("tokio-rustls", &["distribution"]),
    ("clap", &["cli"]),
];

/// The only crate that others may use in their tests alone.
const TEST_SUPPORT: &str = "testkit";

struct Edge {
    from: String,
    to: String,
    dev: bool,
}

fn edges() -> (BTreeSet<String>, Vec<Edge>) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata starts");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");

    let mut crates = BTreeSet::new();
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let from = package["name"].as_str().expect("a name").to_owned();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            edges.push(Edge {
                from: from.clone(),
                to: dependency["name"].as_str().expect("a name").to_owned(),
                dev: dependency["kind"] == "dev",
            });
        }
        crates.insert(from);
    }
    (crates, edges)
}

#[test]
fn crates_depend_one_way_only() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let (crates, edges) = edges();

    let mut wrong = Vec::new();
    for name in &crates {
        if !table.contains_key(name.as_str()) {
            wrong.push(format!("crate `{name}` is not in the table"));
        }
    }
    for Edge { from, to, dev } in &edges {
        let allowed = table.get(from.as_str()).copied().unwrap_or_default();
        if !crates.contains(to) || allowed.contains(&to.as_str()) {
            continue;
        }
        match (to == TEST_SUPPORT, dev) {
            (true, true) => {}
            (true, false) => wrong.push(format!("`{from}` depends on `{to}` outside its tests")),
            (false, _) => wrong.push(format!("`{from}` may not depend on `{to}`")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_in_their_home() {
    let homes: BTreeMap<_, _> = HOMES.iter().copied().collect();
    let (_, edges) = edges();
    let wrong: Vec<String> = edges
        .iter()
        .filter(|edge| !edge.dev)
        .filter(|edge| {
            homes
                .get(edge.to.as_str())
                .is_some_and(|home| !home.contains(&edge.from.as_str()))
        })
        .map(|edge| format!("`{}` may not depend on `{}`", edge.from, edge.to))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table itself goes one way: each row names only rows above it.
#[test]
fn the_table_has_no_circle() {
    let mut above = BTreeSet::new();
    for (name, allowed) in TABLE {
        for other in *allowed {
            assert!(
                above.contains(other),
                "`{name}` stands above `{other}` in the table"
            );
        }
        above.insert(*name);
    }
}

/// What reads archives, images and Dockerfiles starts no program to do so: whatever an image or the search path offers, nothing of it runs.
#[test]
fn crates_that_read_what_is_hostile_start_no_program() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> = ["oci", "dockerfile", "layer", "build"]
        .iter()
        .map(|name| crates.join(name).join("src"))
        .collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let code = text
                    .split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or_default();
                seen += 1;
                if code.contains("process::Command") || code.contains("Command::new") {
                    wrong.push(path);
                }
            }
        }
    }
    assert!(wrong.is_empty() && seen > 50, "{wrong:?} of {seen}");
}
