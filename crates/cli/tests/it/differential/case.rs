//! The form of the cases.
//!
//! ```text
//! # A remark.
//! == the name of a case
//! context
//!     a shell script that fills the context, which is the folder that it runs in
//! Dockerfile
//!     the Dockerfile; if it is missing the script writes it
//! flags
//!     flags that both get, one word a line
//! fails
//!     a part of what barque says when the build must fail in both
//! differs NAME
//!     - a line that only buildah's result has
//!     + a line that only barque's result has
//! ```
//!
//! The text of a section is indented by four blanks, which are taken off.

use std::collections::BTreeMap;

/// One Dockerfile and its context.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) context: String,
    pub(super) dockerfile: Option<String>,
    pub(super) flags: Vec<String>,
    pub(super) fails: Option<String>,
    /// By the name of the difference, its lines.
    pub(super) differences: BTreeMap<String, Vec<String>>,
}

/// All cases of a topic.
pub(super) fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (heading, body) in blocks(text) {
        if let Some(name) = heading.strip_prefix("== ") {
            cases.push(Case {
                name: name.to_owned(),
                ..Case::default()
            });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with `== `");
        let lines = || body.lines().map(str::to_owned).collect();
        match heading.split_once(' ') {
            None if heading == "context" => case.context = body,
            None if heading == "Dockerfile" => case.dockerfile = Some(body),
            None if heading == "flags" => case.flags = lines(),
            None if heading == "fails" => case.fails = Some(body.trim_end().to_owned()),
            Some(("differs", name)) => {
                case.differences.insert(name.to_owned(), lines());
            }
            _ => panic!("{}: no section is called `{heading}`", case.name),
        }
    }
    cases
}

/// Headings and the indented text below each; lines that begin with `#` are remarks.
pub(super) fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(rest), Some((_, body))) => {
                body.push_str(rest);
                body.push('\n');
            }
            (None, Some((_, body))) if line.is_empty() => body.push('\n'),
            (None, None) if line.is_empty() => {}
            _ => blocks.push((line.to_owned(), String::new())),
        }
    }
    for (_, body) in &mut blocks {
        body.truncate(body.trim_end_matches('\n').len());
        if !body.is_empty() {
            body.push('\n');
        }
    }
    blocks
}
