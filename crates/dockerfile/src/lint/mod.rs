//! Checks: what builds but is probably not meant.
//!
//! The rules of Docker's own checker under their own names, and a few of ours. Most of ours are off until asked for. Each has
//! a page in `docs/checks`. [`check`] looks at a whole file; it needs no image and no context, but finds more if it is
//! told of them in [`Input`]. Rules that only a build can see
//! ([`rules::INVALID_BASE_IMAGE_PLATFORM`]) are listed here and reported there, through [`Config::wants`].

mod caches;
mod config;
mod file;
pub mod rules;
mod secrets;
mod shell;
mod stage;

pub use config::{Asked, Config};
pub use rules::{RULES, Rule};

use std::collections::BTreeMap;

use crate::ast::Dockerfile;
use crate::ignore::Patterns;
use crate::scope::Settings;
use crate::{Diagnostic, Span};

/// What is known of an image that a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseImage {
    /// Its `Env`.
    pub environment: Vec<String>,
    /// Whether it has a `Shell`.
    pub has_shell: bool,
}

/// What [`check`] looks at.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it holds functions")]
pub struct Input<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// What the build was asked for.
    pub settings: &'a Settings,
    /// The context's ignore file.
    pub ignore: Option<&'a Patterns>,
    /// Gives what is known of an image by its expanded name. Without it, variables that an image may set are not
    /// reported as undefined.
    pub base_image: &'a dyn Fn(&str) -> Option<BaseImage>,
    /// Says whether a text can be the name of an image.
    pub is_image_name: &'a dyn Fn(&str) -> bool,
    /// Says whether a stage, by its index, is part of the build. What is in others is not looked at.
    pub is_used: &'a dyn Fn(usize) -> bool,
}

/// Checks a file against all rules that the configuration wants, in the order of the file. What stands in a stage that is
/// not part of the build is not reported, but that nothing uses the stage is, unless a target was asked for.
pub fn check(input: &Input<'_>, config: &Config) -> Vec<Diagnostic> {
    let mut report = Report {
        config,
        found: Vec::new(),
    };
    for warning in &input.file.warnings {
        report.add(&[], warning.clone());
    }
    file::check(input, &mut report);
    stage::check(input, &mut report);
    let mut found = report.found;
    let places = Places::of(input);
    let no_target = input.settings.target_stage.is_none();
    found.retain(|finding| {
        let stage = places.stage(finding.span);
        (no_target && finding.code == rules::UNUSED_STAGE.name)
            || stage.is_none_or(|stage| (input.is_used)(stage))
    });
    found.sort_by_key(|d| (d.span.file, d.span.start));
    found
}

/// Which stage each instruction belongs to: its file and first byte, and its last one with the stage. What several stages
/// include belongs to one that is part of the build, if there is such a one.
struct Places(BTreeMap<(u32, usize), (usize, usize)>);

impl Places {
    fn of(input: &Input<'_>) -> Self {
        let mut places = BTreeMap::new();
        for (number, stage) in input.file.stages.iter().enumerate() {
            let is_used = (input.is_used)(number);
            let spans = stage.instructions.iter().map(|i| i.span);
            for span in spans.chain([stage.span]) {
                let place = (span.file, span.start);
                if is_used || !places.contains_key(&place) {
                    places.insert(place, (span.end, number));
                }
            }
        }
        Self(places)
    }

    /// The stage in whose instructions a place is.
    fn stage(&self, place: Span) -> Option<usize> {
        let (&(file, _), &(end, stage)) = self.0.range(..=(place.file, place.start)).next_back()?;
        (file == place.file && place.start <= end).then_some(stage)
    }
}

/// Findings, as far as they are wanted.
struct Report<'c> {
    config: &'c Config,
    found: Vec<Diagnostic>,
}

impl Report<'_> {
    /// Takes a finding about an instruction with these comments above it.
    fn add(&mut self, comments: &[String], finding: Diagnostic) {
        if self.config.with_comments(comments).wants(finding.code) {
            self.found.push(finding);
        }
    }

    fn warn(&mut self, comments: &[String], rule: &Rule, span: Span, message: String) {
        self.add(comments, Diagnostic::warning(rule.name, span, message));
    }
}
