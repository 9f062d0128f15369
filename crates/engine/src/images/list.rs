//! `barque images`: names, ids and sizes.

use oci::{Digest, ImageConfig, ImageId, Reference};
use serde::Serialize;
use store::Image;

use crate::{Engine, Error};

/// Which images are to be listed.
#[derive(Debug, Clone, Default)]
pub struct ImagesRequest {
    /// A repository, or repository and tag; `*`, `?` and `[…]` match within a part.
    pub name: Option<String>,
    /// `dangling=`, `label=`, `reference=`, `before=`, `since=`, `until=`.
    pub filters: Vec<String>,
}

/// One name of an image, or an image without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageRow {
    /// The name without its tag, or `<none>`.
    pub repository: String,
    /// The tag, or `<none>`.
    pub tag: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The digest of the config.
    #[serde(rename = "ID")]
    pub id: ImageId,
    /// When it was made, RFC 3339.
    #[serde(rename = "CreatedAt")]
    pub created: Option<String>,
    /// The size of its layers, uncompressed.
    pub size: u64,
    /// What it runs on: `linux/amd64`.
    pub platform: String,
}

const NONE: &str = "<none>";

impl Engine {
    /// The images in the store, the newest first, one row a name.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] for a filter that makes no sense; the store failed.
    pub fn images(&self, request: &ImagesRequest) -> Result<Vec<ImageRow>, Error> {
        let filters = request
            .filters
            .iter()
            .map(|text| Filter::parse(self, text))
            .collect::<Result<Vec<_>, _>>()?;
        let name = request
            .name
            .as_ref()
            .map(|name| Filter::Reference(name.clone()));
        let mut rows = Vec::new();
        for image in self.store().images()? {
            let mut wanted = true;
            for filter in &filters {
                wanted = wanted && filter.wants_image(self, &image)?;
            }
            if wanted {
                let filters = filters.iter().chain(&name);
                rows.extend(
                    names(&image)
                        .filter(|(name, _)| filters.clone().all(|filter| filter.wants_name(*name)))
                        .map(|(_, row)| row),
                );
            }
        }
        Ok(rows)
    }
}

/// The rows of one image, with the name that each shows.
fn names(image: &Image) -> impl Iterator<Item = (Option<&Reference>, ImageRow)> {
    let row = |name: Option<&Reference>| ImageRow {
        repository: name.map_or_else(|| NONE.to_owned(), Reference::familiar_name),
        tag: name
            .and_then(Reference::tag)
            .map_or_else(|| NONE.to_owned(), ToString::to_string),
        digest: image.digest,
        id: image.id,
        created: image.created.clone(),
        size: image.size,
        platform: image.platform.to_string(),
    };
    // Each image of an index has the index's names.
    let all = || image.names.iter().chain(&image.shared);
    // Where a tag came from is said by the column of digests, not by a row of its own.
    let has_tag = move |name: &Reference| {
        all().any(|other| other.tag().is_some() && other.name() == name.name())
    };
    let named = all()
        .filter(move |name| name.tag().is_some() || !has_tag(name))
        .map(Some);
    let nameless = image.is_dangling().then_some(None);
    named.chain(nameless).map(move |name| (name, row(name)))
}

/// What an image must be to be listed.
#[derive(Debug)]
enum Filter {
    Dangling(bool),
    Label {
        name: String,
        value: Option<String>,
    },
    Reference(String),
    /// Made before this time.
    Before(Option<String>),
    /// Made after it.
    Since(Option<String>),
    /// Made before this moment.
    Until(jiff::Timestamp),
}

impl Filter {
    fn parse(engine: &Engine, text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Filter {
            filter: text.to_owned(),
            why: why.to_owned(),
            known: "dangling=true|false, label=NAME[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE and until=TIME",
        };
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("a filter is NAME=VALUE"))?;
        Ok(match key {
            "dangling" => Self::Dangling(match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => true,
                "false" | "0" | "f" => false,
                _ => return Err(wrong("the value must be true or false")),
            }),
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label {
                    name: name.to_owned(),
                    value: Some(value.to_owned()),
                },
                None => Self::Label {
                    name: value.to_owned(),
                    value: None,
                },
            },
            "reference" => Self::Reference(value.to_owned()),
            "before" => Self::Before(engine.store().resolve(value)?.created),
            "since" => Self::Since(engine.store().resolve(value)?.created),
            "until" => Self::Until(crate::moment::moment(value, jiff::Timestamp::now())?),
            _ => return Err(wrong("there is no such name")),
        })
    }

    fn wants_image(&self, engine: &Engine, image: &Image) -> Result<bool, Error> {
        Ok(match self {
            Self::Dangling(dangling) => image.is_dangling() == *dangling,
            Self::Label { name, value } => {
                let config: ImageConfig = engine.store().config(image)?;
                config
                    .config
                    .labels
                    .get(name)
                    .is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            Self::Before(then) => {
                super::time_of(image.created.as_deref()) < super::time_of(then.as_deref())
            }
            Self::Since(then) => {
                super::time_of(image.created.as_deref()) > super::time_of(then.as_deref())
            }
            Self::Until(then) => {
                super::time_of(image.created.as_deref()).is_some_and(|created| created < *then)
            }
            Self::Reference(_) => true,
        })
    }

    fn wants_name(&self, name: Option<&Reference>) -> bool {
        let Self::Reference(pattern) = self else {
            return true;
        };
        name.is_some_and(|name| {
            [
                name.familiar(),
                name.familiar_name(),
                name.to_string(),
                name.name(),
            ]
            .iter()
            .any(|text| matches(pattern.as_bytes(), text.as_bytes()))
        })
    }
}

/// Matches as Go's `path.Match` does: `*` and `?` stay within a part, `[a-z]` and `[^a-z]` are one character, `\` quotes.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last `*` does not fit: the `*` takes one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let (Some(rest), Some(byte)) = (
            pattern.get(p..).filter(|rest| !rest.is_empty()),
            text.get(t),
        ) && let Some(used) = one(rest, *byte)
        {
            p += used;
            t += 1;
            continue;
        }
        match retry {
            Some((after, at)) if text.get(at).is_some_and(|byte| *byte != b'/') => {
                retry = Some((after, at + 1));
                (p, t) = (after, at + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern stands for `byte`, if its beginning does.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => (byte != b'/').then_some(1),
        [b'\\', quoted, ..] => (*quoted == byte).then_some(2),
        [b'[', class @ ..] => {
            let negated = class.first() == Some(&b'^');
            let end = class.iter().skip(1).position(|b| *b == b']')? + 1;
            let members = &class[usize::from(negated)..end];
            let mut found = false;
            let mut rest = members;
            while let [first, tail @ ..] = rest {
                if let [b'-', last, tail @ ..] = tail {
                    found |= (*first..=*last).contains(&byte);
                    rest = tail;
                } else {
                    found |= *first == byte;
                    rest = tail;
                }
            }
            (found != negated && byte != b'/').then_some(end + 2)
        }
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_those_of_docker() {
        for (pattern, text, wanted) in [
            ("alpine", "alpine", true),
            ("alpine", "alpine:3", false),
            ("al*", "alpine:3", true),
            ("*", "user/app", false),
            ("*/*", "user/app:1", true),
            ("*:3", "alpine:3", true),
            ("alpine:?", "alpine:3", true),
            ("alpine:[1-3]", "alpine:3", true),
            ("alpine:[^1-3]", "alpine:3", false),
            ("a*p*e", "alpine", true),
            ("a\\*", "a*", true),
            ("[", "[", false),
            ("", "", true),
            ("**b", "aab", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                wanted,
                "{pattern} {text}"
            );
        }
    }
}
