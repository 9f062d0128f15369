//! Which rules count.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::rules::{RULES, Rule};
use crate::ast::Dockerfile;
use crate::{InvalidValue, nearest};

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
    /// Rules of ours that were asked for.
    pub asked: Asked,
}

/// Rules that Docker does not have, asked for with `# barque: check=…` or on the command line.
///
/// `experimental=all` does not mean them: a file that says so knows nothing of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    all: bool,
    rules: BTreeSet<&'static str>,
}

impl Asked {
    /// Reads `all`, or names with commas between.
    ///
    /// # Errors
    ///
    /// A name that is no rule of ours.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let mut asked = Self::default();
        for name in text.split(',').map(str::trim) {
            match Rule::find(name) {
                _ if name == "all" => asked.all = true,
                Some(rule) if rule.ours => {
                    asked.rules.insert(rule.name);
                }
                Some(rule) => {
                    let name = rule.name;
                    let hint = match rule.on {
                        true => "it is on in any case; `# check=skip=…` turns it off".to_owned(),
                        false => format!("`# check=experimental={name}` turns it on"),
                    };
                    return Err(InvalidValue {
                        message: format!("`{name}` is a rule of Docker's"),
                        hint: Some(hint),
                    });
                }
                None => {
                    let ours = || RULES.iter().filter(|r| r.ours).map(|r| r.name);
                    let mut error = InvalidValue::new(format!("unknown rule `{name}`"))
                        .or_meant(nearest(name, ours()));
                    if error.hint.is_none() {
                        let all: Vec<&str> = ours().collect();
                        error.hint = Some(format!("rules are all, {}", all.join(", ")));
                    }
                    return Err(error);
                }
            }
        }
        Ok(asked)
    }

    /// Adds what was asked for elsewhere.
    pub fn extend(&mut self, other: &Self) {
        self.all |= other.all;
        self.rules.extend(&other.rules);
    }

    fn has(&self, rule: &str) -> bool {
        self.all || self.rules.contains(rule)
    }
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
                    return Err(error.or_one_of(key, &["skip", "experimental", "error"]));
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
        let mut config = Self::parse(given.or(directive).unwrap_or_default())?;
        if let Some(rules) = &file.directives.rules {
            config.asked = Asked::parse(&rules.value)?;
        }
        Ok(config)
    }

    /// Whether a rule counts.
    pub fn wants(&self, rule: &str) -> bool {
        let skipped = self.skip_all || self.skip.contains(rule);
        match Rule::find(rule) {
            Some(rule) if rule.ours => !skipped && (rule.on || self.is_asked(rule.name)),
            Some(rule) if !rule.on => {
                self.experimental_all || self.experimental.contains(rule.name)
            }
            _ => !skipped,
        }
    }

    /// Whether `error=true` is about a rule. It is not about rules that the file did not ask for: what builds with Docker
    /// builds here.
    pub fn counts(&self, rule: &str) -> bool {
        Rule::find(rule).is_none_or(|rule| !rule.ours || self.is_asked(rule.name))
    }

    fn is_asked(&self, rule: &str) -> bool {
        self.asked.has(rule) || self.experimental.contains(rule)
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
