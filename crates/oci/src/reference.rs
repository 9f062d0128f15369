//! Image references, normalised as Docker does: `alpine` is `docker.io/library/alpine:latest`.
//!
//! The grammar is the one of distribution's `reference` package: an optional registry (a first part with a dot or a
//! colon, or `localhost`), path components of `[a-z0-9]` with separators, a tag, a digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The registry meant when none is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The part in front of one-word names of the default registry.
const DEFAULT_PREFIX: &str = "library/";
/// Longest repository name with its registry, as the grammar has it.
const MAX_NAME: usize = 255;

/// A tag: up to 128 of `[A-Za-z0-9_.-]`, not beginning with a dot or a dash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag meant when none is given.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if text.is_empty()
            || text.len() > 128
            || !text.bytes().all(good)
            || text.starts_with(['.', '-'])
        {
            return Err(ReferenceError::Tag(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A repository's path on a registry, such as `library/alpine`: lower-case parts between slashes, no registry.
///
/// It cannot hold `..`, a percent sign or anything else that means something in a path or a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(String);

impl Repository {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_NAME {
            return Err(ReferenceError::Name(
                shown(text),
                "it is longer than 255 characters",
            ));
        }
        check_repository(text).map_err(|why| ReferenceError::Name(shown(text), why))?;
        Ok(Self(text.to_owned()))
    }
}

/// Names an image: registry, repository, and a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The repository part breaks the grammar.
    #[error("`{0}` is not an image name: {1}")]
    Name(String, &'static str),
    /// The tag breaks the grammar.
    #[error(
        "`{0}` is not a tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`"
    )]
    Tag(String),
    /// The digest breaks the grammar.
    #[error(transparent)]
    Digest(#[from] crate::DigestError),
}

/// A text from outside, short enough for a message.
fn shown(text: &str) -> String {
    text.chars().take(140).collect()
}

impl Reference {
    /// The registry's host and port: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in its registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// True if the text of a reference says a tag, which `alpine` does not.
    #[must_use]
    pub fn says_tag(text: &str) -> bool {
        let name = text.split('@').next().unwrap_or(text);
        let last = name.rsplit('/').next().unwrap_or(name);
        last.contains(':')
    }

    /// The tag, if one is named; a reference without tag and digest has `latest`.
    #[must_use]
    pub const fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one is named.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag and digest, in full: `docker.io/library/alpine`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Registry and repository as people write them: `alpine`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry == DEFAULT_REGISTRY {
            self.repository
                .strip_prefix(DEFAULT_PREFIX)
                .unwrap_or(&self.repository)
                .to_owned()
        } else {
            self.name()
        }
    }

    /// The whole reference as people write it: `alpine:latest`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.write_rest(&mut text).ok();
        text
    }

    /// The same name with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self {
            tag: Some(tag),
            digest: None,
            ..self.clone()
        }
    }

    /// The same name with a digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn write_rest(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest
            .iter()
            .try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.write_rest(f)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].split_once(':') {
            Some((last, tag)) => {
                let tag = tag.parse().map_err(|_: ReferenceError| {
                    ReferenceError::Name(
                        shown(text),
                        "a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`",
                    )
                })?;
                (&rest[..slash + last.len()], Some(tag))
            }
            None => (rest, None),
        };
        let (registry, repository) = split_registry(name);
        let registry = if registry == "index.docker.io" {
            DEFAULT_REGISTRY
        } else {
            registry
        };
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("{DEFAULT_PREFIX}{repository}")
        } else {
            repository.to_owned()
        };
        check_registry(registry)
            .and_then(|()| check_repository(&repository))
            .map_err(|why| ReferenceError::Name(shown(name), why))?;
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::Name(
                shown(name),
                "it is longer than 255 characters",
            ));
        }
        if registry == DEFAULT_REGISTRY && is_hex_id(name) {
            return Err(ReferenceError::Name(
                shown(name),
                "64 hexadecimal digits are an image id, not a name",
            ));
        }
        let tag = if tag.is_none() && digest.is_none() {
            Some(Tag::latest())
        } else {
            tag
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

fn is_hex_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first part is a registry if it could not be a user's name on Docker Hub.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    const WRONG: &str = "the registry must be a host name or address with an optional port";
    let (host, port) = if let Some(end) = registry.strip_prefix('[').and_then(|rest| rest.find(']'))
    {
        let inner = &registry[1..=end];
        if inner.is_empty() || !inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return Err(WRONG);
        }
        match &registry[end + 2..] {
            "" => return Ok(()),
            rest => ("", Some(rest.strip_prefix(':').ok_or(WRONG)?)),
        }
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        }
    };
    if port.is_some_and(|port| {
        port.is_empty() || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit())
    }) {
        return Err(WRONG);
    }
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if registry.starts_with('[') || host.split('.').all(label) {
        Ok(())
    } else {
        Err(WRONG)
    }
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the name must be lower-case");
    }
    if repository.split('/').all(is_component) {
        Ok(())
    } else {
        Err(
            "each part must be of `a-z0-9`, with single `.`, one or two `_` or any number of `-` between",
        )
    }
}

/// One path component: alphanumerics with separators `.`, `_`, `__` or dashes between them.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(first)
        && alphanumeric(last)
        && bytes.split(alphanumeric).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
        })
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_docker_does() {
        let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for (given, full, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            (
                "docker.io/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
            (
                "index.docker.io/library/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            (
                "localhost/app",
                "localhost/app:latest",
                "localhost/app:latest",
            ),
            (
                "localhost:5000/a/b:x",
                "localhost:5000/a/b:x",
                "localhost:5000/a/b:x",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            (
                "quay.io/a__b-c.d",
                "quay.io/a__b-c.d:latest",
                "quay.io/a__b-c.d:latest",
            ),
        ] {
            let reference: Reference = given.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
        let both: Reference = format!("alpine:3@{digest}").parse().unwrap();
        assert_eq!(
            both.to_string(),
            format!("docker.io/library/alpine:3@{digest}")
        );
        let pinned: Reference = format!("alpine@{digest}").parse().unwrap();
        assert_eq!(pinned.tag(), None);
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for text in [
            "",
            "/",
            "a//b",
            "../etc",
            "a/../b",
            "A",
            "user/App",
            "a:",
            "a:b:c",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a/.b",
            "a@sha256:1",
            "a b",
            "a:-x",
            "http://a/b",
            "[::1/a",
            "[]:5/a",
            "host:x/a",
            "é",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        let error = "a/b:-x".parse::<Reference>().unwrap_err().to_string();
        assert!(
            error.starts_with("`a/b:-x` is not an image name: a tag has"),
            "{error}"
        );
        assert!("a".repeat(300).parse::<Reference>().is_err());
    }
}
