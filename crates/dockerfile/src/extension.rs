//! What the language has beyond BuildKit's, each part only where the file asks for it.
//!
//! A file asks with comments at its very top, which other builders read as comments:
//!
//! ```text
//! # syntax=docker/dockerfile:1
//! # barque: extensions=include,if-exists
//! # barque: check=AptUpdateAlone
//! ```
//!
//! They stand in the same unbroken run of comments as Docker's own directives and behind those, since to Docker a comment
//! ends the run. What they mean is in `docs/dockerfile.md`.

use std::collections::BTreeSet;

use crate::{InvalidValue, nearest};

/// Something that the language has only where a file asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// `COPY --if-exists`: a source may be missing.
    IfExists,
    /// `INCLUDE path`: instructions of another file of the context.
    Include,
    /// `ENV --unset`, `VOLUME --reset` and their like: what the base set goes away.
    Reset,
}

impl Extension {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::IfExists, Self::Include, Self::Reset];

    /// Its name in the directive.
    pub fn name(self) -> &'static str {
        match self {
            Self::IfExists => "if-exists",
            Self::Include => "include",
            Self::Reset => "reset",
        }
    }

    /// How a file asks for it, as a hint.
    pub fn how_to_ask(self) -> String {
        let name = self.name();
        format!(
            "it is an extension: `# barque: extensions={name}` at the top of the file allows it"
        )
    }
}

/// A set of extensions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions(BTreeSet<Extension>);

impl Extensions {
    /// Reads the directive's value: names with commas between.
    ///
    /// # Errors
    ///
    /// A name that nobody knows. A file that counts on it must not be built as if it were not there.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let mut set = BTreeSet::new();
        for name in text.split(',').map(str::trim) {
            let known = Extension::ALL.into_iter().find(|e| e.name() == name);
            let names = || Extension::ALL.into_iter().map(Extension::name);
            let Some(extension) = known else {
                let mut error = InvalidValue::new(format!("unknown extension `{name}`"))
                    .or_meant(nearest(name, names()));
                if error.hint.is_none() {
                    let all: Vec<&str> = names().collect();
                    error.hint = Some(format!("extensions are {}", all.join(", ")));
                }
                return Err(error);
            };
            set.insert(extension);
        }
        Ok(Self(set))
    }

    /// Whether an extension was asked for.
    pub fn has(&self, extension: Extension) -> bool {
        self.0.contains(&extension)
    }

    /// Adds those of another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::{Extension, Extensions};

    #[test]
    fn names_are_separated_by_commas() {
        let set = Extensions::parse("include, reset").unwrap();
        assert!(set.has(Extension::Include) && set.has(Extension::Reset));
        assert!(!set.has(Extension::IfExists));
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_nearest_or_all_names() {
        let hint = |text| Extensions::parse(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("inclde"), "did you mean `include`?");
        assert_eq!(
            hint("conditions"),
            "extensions are if-exists, include, reset"
        );
        assert!(Extensions::parse("").is_err());
    }
}
