//! Which rules count.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::rules;
use crate::InvalidValue;
use crate::ast::Dockerfile;

/// The text of a `check` directive: `skip=RuleA,RuleB;error=true;experimental=all`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// `skip=all`
    pub skip_all: bool,
    /// `skip=…`
    pub skip: BTreeSet<String>,
    /// `experimental=all`
    pub experimental_all: bool,
    /// `experimental=…`
    pub experimental: BTreeSet<String>,
    /// `error=true`: findings make the build fail.
    pub error: bool,
}

impl Config {
    /// Reads a directive's value.
    ///
    /// # Errors
    ///
    /// A part that is not `skip=…`, `experimental=…` or `error=true|false`.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let mut config = Self::default();
        for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(InvalidValue::new(format!(
                    "no `=` in check option `{part}`"
                )));
            };
            let (key, value) = (key.trim(), value.trim());
            let rules = || {
                value
                    .split(',')
                    .map(|rule| rule.trim().to_owned())
                    .collect()
            };
            match (key, value) {
                ("skip", "all") => config.skip_all = true,
                ("skip", _) => config.skip = rules(),
                ("experimental", "all") => config.experimental_all = true,
                ("experimental", _) => config.experimental = rules(),
                ("error", "1" | "t" | "T" | "true" | "TRUE" | "True") => config.error = true,
                ("error", "0" | "f" | "F" | "false" | "FALSE" | "False") => config.error = false,
                _ => {
                    let error = InvalidValue::new(format!("unknown check option `{part}`"));
                    let meant = crate::nearest(key, ["skip", "experimental", "error"]);
                    return Err(error.or_meant(meant));
                }
            }
        }
        Ok(config)
    }

    /// The configuration of a file; `given` (the build arg `BUILDKIT_DOCKERFILE_CHECK`) replaces its directive.
    ///
    /// # Errors
    ///
    /// See [`Config::parse`].
    pub fn of(file: &Dockerfile, given: Option<&str>) -> Result<Self, InvalidValue> {
        let directive = file.directives.check.as_ref().map(|d| d.value.as_str());
        Self::parse(given.or(directive).unwrap_or_default())
    }

    /// Whether a rule counts.
    pub fn wants(&self, rule: &str) -> bool {
        if rules::is_experimental(rule) {
            return self.experimental_all || self.experimental.contains(rule);
        }
        !self.skip_all && !self.skip.contains(rule)
    }

    /// With what a comment `check=skip=Rule // why` above an instruction adds.
    pub(super) fn with_comments(&self, comments: &[String]) -> Cow<'_, Self> {
        let check = |comment: &String| {
            let (key, value) = comment.split_once('=')?;
            let named = key.trim().eq_ignore_ascii_case("check");
            named.then(|| {
                value
                    .trim()
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        let Some(own) = comments.iter().find_map(check) else {
            return Cow::Borrowed(self);
        };
        let Ok(own) = Self::parse(&own) else {
            return Cow::Borrowed(self);
        };
        let mut both = self.clone();
        both.skip_all |= own.skip_all;
        both.skip.extend(own.skip);
        both.experimental_all |= own.experimental_all;
        both.experimental.extend(own.experimental);
        Cow::Owned(both)
    }
}
