//! The `format` file: what kind of store this is, read before anything else.
//!
//! ```text
//! barque store
//! version: 1
//! compatible:
//! read-only:
//! incompatible: erofs-over-tar
//! ```
//!
//! Three lists of features. A program that does not know a *compatible* one may ignore it; one in *read-only* lets it read but
//! not write; one in *incompatible* makes it refuse. Names are separated by spaces. Pure: text to value and back.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The version that this program writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// Layers are `layer.tar` beside an EROFS index over it.
const EROFS_OVER_TAR: &str = "erofs-over-tar";

const INCOMPATIBLE: &[&str] = &[EROFS_OVER_TAR];
const READ_ONLY: &[&str] = &[];

/// Largest `format` file that is read: it has five short lines.
pub(crate) const MAX_SIZE: u64 = 4096;

/// What a `format` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) version: u32,
    pub(crate) compatible: Vec<String>,
    pub(crate) read_only: Vec<String>,
    pub(crate) incompatible: Vec<String>,
}

impl Format {
    /// What this program writes.
    pub(crate) fn current() -> Self {
        Self {
            version: VERSION,
            compatible: Vec::new(),
            read_only: Vec::new(),
            incompatible: INCOMPATIBLE.iter().map(ToString::to_string).collect(),
        }
    }

    pub(crate) fn print(&self) -> String {
        let list = |names: &[String]| {
            names
                .iter()
                .map(|name| format!(" {name}"))
                .collect::<String>()
        };
        format!(
            "barque store\nversion: {}\ncompatible:{}\nread-only:{}\nincompatible:{}\n",
            self.version,
            list(&self.compatible),
            list(&self.read_only),
            list(&self.incompatible),
        )
    }

    /// `path` is only for the error.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::Format {
            path: path.to_owned(),
            reason,
        };
        let mut lines = text.lines();
        if lines.next() != Some("barque store") {
            return Err(wrong("its first line is not `barque store`".to_owned()));
        }
        let mut field = |name: &str| {
            let line = lines.next().unwrap_or_default();
            line.split_once(':')
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_owned())
                .ok_or_else(|| wrong(format!("the line `{name}:` is missing")))
        };
        let version = field("version")?;
        let list = |text: String| {
            text.split_ascii_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let version = version
            .parse()
            .map_err(|_| wrong(format!("`{version}` is not a version")))?;
        // A newer version may have other lines, so they are not looked at.
        if version > VERSION {
            return Ok(Self {
                version,
                compatible: Vec::new(),
                read_only: Vec::new(),
                incompatible: Vec::new(),
            });
        }
        Ok(Self {
            version,
            compatible: list(field("compatible")?),
            read_only: list(field("read-only")?),
            incompatible: list(field("incompatible")?),
        })
    }

    /// Refuses what this program would misread or, since it always writes, could spoil.
    pub(crate) fn check(&self, root: &Path) -> Result<()> {
        let root = || PathBuf::from(root);
        if self.version > VERSION {
            return Err(Error::Version {
                root: root(),
                found: self.version,
                known: VERSION,
            });
        }
        let unknown = |have: &[String], known: &[&str]| {
            have.iter()
                .find(|name| !known.contains(&name.as_str()))
                .cloned()
        };
        match unknown(&self.incompatible, INCOMPATIBLE)
            .or_else(|| unknown(&self.read_only, READ_ONLY))
        {
            Some(feature) => Err(Error::Feature {
                root: root(),
                feature,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Format> {
        Format::parse(text, Path::new("format"))
    }

    #[test]
    fn reads_what_it_writes() {
        let format = Format::current();
        assert_eq!(parse(&format.print()).unwrap(), format);
        format.check(Path::new("/x")).unwrap();
        assert_eq!(
            format.print(),
            "barque store\nversion: 1\ncompatible:\nread-only:\nincompatible: erofs-over-tar\n"
        );
    }

    #[test]
    fn names_the_unknown_feature() {
        let text = "barque store\nversion: 1\ncompatible: shiny\nread-only:\nincompatible: erofs-over-tar encrypted\n";
        let error = parse(text).unwrap().check(Path::new("/x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store `/x` uses the feature `encrypted`, which this barque does not know"
        );
        let text = "barque store\nversion: 1\ncompatible: shiny\nread-only:\nincompatible:\n";
        parse(text).unwrap().check(Path::new("/x")).unwrap();
    }

    #[test]
    fn refuses_a_newer_version_whatever_else_it_has() {
        let error = parse("barque store\nversion: 9\nmoon: full\n")
            .unwrap()
            .check(Path::new("/x"))
            .unwrap_err();
        assert!(matches!(error, Error::Version { found: 9, .. }), "{error}");
    }

    #[test]
    fn refuses_other_files() {
        for text in [
            "",
            "barque store",
            "barque store\nversion: x\n",
            "[core]\n",
            "barque store\nversion: 1\n",
        ] {
            assert!(matches!(parse(text), Err(Error::Format { .. })), "{text:?}");
        }
    }
}
