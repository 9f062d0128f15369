//! buildah as a judge: the same Dockerfiles in the same contexts give the same files and the same config.
//!
//! The cases are text, one file a topic in `cases/` (see [`case`] for their form). Where buildah does otherwise than BuildKit, the
//! case lists exactly what is different under a name, and `cases/differences.txt` gives the reason for each name. A difference that
//! is not listed fails the test, and so does one that is listed and not there.
//!
//! Compared are, after all layers: path, type, mode, owner, size, bytes, link target, device numbers, hard links, extended
//! attributes; and every field of the config. Not compared are times, ids, history and how files are spread over layers.

mod case;
mod image;
mod judge;

use std::collections::{BTreeMap, BTreeSet};

use testkit::skipped;

use crate::environment::root_or_skip;
use case::Case;
use judge::{Bench, Result};

/// Topics and their cases.
const TOPICS: [(&str, &str); 12] = [
    ("add", include_str!("cases/add.txt")),
    ("config", include_str!("cases/config.txt")),
    ("copy", include_str!("cases/copy.txt")),
    ("expansion", include_str!("cases/expansion.txt")),
    ("files", include_str!("cases/files.txt")),
    ("flags", include_str!("cases/flags.txt")),
    ("ignore", include_str!("cases/ignore.txt")),
    ("links", include_str!("cases/links.txt")),
    ("parsing", include_str!("cases/parsing.txt")),
    ("run", include_str!("cases/run.txt")),
    ("stages", include_str!("cases/stages.txt")),
    ("triggers", include_str!("cases/triggers.txt")),
];

/// Names of differences, and why they are there.
const DIFFERENCES: &str = include_str!("cases/differences.txt");

/// The buildah whose ways the differences describe.
const VERSION: &str = "buildah version 1.28.";

fn cases(topic: &str) -> Vec<Case> {
    let (_, text) = TOPICS.iter().find(|(name, _)| *name == topic).unwrap();
    case::parse(text)
}

/// Runs all cases of a topic in both, and fails with all that is not as it should be.
fn compare(topic: &str) {
    let test = format!("priv_buildah_agrees_on_{topic}");
    if !root_or_skip(&test) {
        return;
    }
    if !judge::version().is_some_and(|version| version.starts_with(VERSION)) {
        skipped(&test, &format!("`{VERSION}…` is not installed"));
        return;
    }
    let cases = cases(topic);
    let bench = match Bench::new(&cases) {
        Ok(bench) => bench,
        Err(reason) => {
            skipped(&test, &format!("buildah has no storage here: {reason}"));
            return;
        }
    };
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| bench.check(case).err())
        .collect();
    assert!(
        wrong.is_empty(),
        "\n{}\n(`-` is what buildah has, `+` what barque has)",
        wrong.join("\n\n")
    );
}

macro_rules! topics {
    ($($test:ident $topic:literal)*) => {
        $(#[test]
        fn $test() {
            compare($topic);
        })*

        #[test]
        fn every_topic_is_tested() {
            let tested = [$($topic),*];
            assert!(TOPICS.iter().map(|(name, _)| *name).eq(tested));
        }
    };
}

topics! {
    priv_buildah_agrees_on_add "add"
    priv_buildah_agrees_on_config "config"
    priv_buildah_agrees_on_copy "copy"
    priv_buildah_agrees_on_expansion "expansion"
    priv_buildah_agrees_on_files "files"
    priv_buildah_agrees_on_flags "flags"
    priv_buildah_agrees_on_ignore "ignore"
    priv_buildah_agrees_on_links "links"
    priv_buildah_agrees_on_parsing "parsing"
    priv_buildah_agrees_on_run "run"
    priv_buildah_agrees_on_stages "stages"
    priv_buildah_agrees_on_triggers "triggers"
}

#[test]
fn every_known_difference_has_a_reason_and_a_case() {
    let reasons: BTreeMap<String, String> = case::blocks(DIFFERENCES).into_iter().collect();
    let used: BTreeSet<String> = TOPICS
        .iter()
        .flat_map(|(topic, _)| cases(topic))
        .flat_map(|case| case.differences.into_keys())
        .collect();
    assert!(reasons.values().all(|reason| !reason.is_empty()));
    assert!(
        reasons.keys().eq(&used),
        "reasons for {:#?}\nused are {used:#?}",
        reasons.keys()
    );
}

#[test]
fn cases_have_names_of_their_own_and_are_many() {
    let mut names = BTreeSet::new();
    for (topic, _) in TOPICS {
        for case in cases(topic) {
            assert!(
                names.insert(case.name.clone()),
                "{} is there twice",
                case.name
            );
        }
    }
    assert!(names.len() >= 80, "{}", names.len());
}

impl Bench {
    /// Builds a case in both; what is wrong with the results.
    fn check(&self, case: &Case) -> std::result::Result<(), String> {
        let folder = self.context(case);
        let (buildah, barque) = (self.buildah(case, &folder), self.barque(case, &folder));
        std::fs::remove_dir_all(&folder).unwrap();
        let wrong = |what: &str| Err(format!("{}: {what}", case.name));
        let (found, said) = match (buildah, barque) {
            (Result::Failed(one), Result::Failed(other)) => {
                return match &case.fails {
                    Some(text) if other.contains(text.as_str()) => Ok(()),
                    _ => wrong(&format!("fails in both\nbuildah: {one}\nbarque: {other}")),
                };
            }
            (Result::Built(one), Result::Built(other)) => (difference(&one, &other), String::new()),
            (Result::Failed(said), _) => (BTreeSet::from(["- fails".to_owned()]), said),
            (_, Result::Failed(said)) => (BTreeSet::from(["+ fails".to_owned()]), said),
        };
        let known: BTreeSet<String> = case.differences.values().flatten().cloned().collect();
        if found == known && case.fails.is_none() {
            return Ok(());
        }
        let list = |lines: &mut dyn Iterator<Item = &String>| {
            lines
                .map(|line| format!("    {line}\n"))
                .collect::<String>()
        };
        wrong(&format!(
            "is not as listed\nfound and not listed:\n{}listed and not found:\n{}{said}",
            list(&mut found.difference(&known)),
            list(&mut known.difference(&found)),
        ))
    }
}

/// Lines of one side alone, as a case lists them.
fn difference(buildah: &BTreeSet<String>, barque: &BTreeSet<String>) -> BTreeSet<String> {
    let ours = barque.difference(buildah).map(|line| format!("+ {line}"));
    let theirs = buildah.difference(barque).map(|line| format!("- {line}"));
    ours.chain(theirs).collect()
}
