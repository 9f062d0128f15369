//! What `--output` and `--annotation` say, as buildx understands them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use layer::compression::{Compression, Level};
use oci::{Platform, Reference};

use super::OutputError;
use crate::Error;

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere but into the store.
    Store,
    /// Standard output.
    Stdout,
    /// A file or a folder.
    Path(PathBuf),
}

/// In what form a result is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An image in the store.
    Image,
    /// An archive that `docker load` reads.
    Docker,
    /// An OCI layout as an archive.
    OciArchive,
    /// An OCI layout in a folder.
    OciFolder,
    /// The files in a folder.
    Local,
    /// The files in a tar.
    Tar,
}

/// One thing to be done with the result of a build.
#[derive(Debug, Clone)]
pub struct Output {
    /// In what form.
    pub form: Form,
    /// Where to.
    pub place: Place,
    /// Names of the image, instead of those of the build.
    pub names: Option<Vec<Reference>>,
    /// A folder for each platform; by default if there are several.
    pub split: Option<bool>,
    /// Compression of layers.
    pub compression: Option<Compression>,
    /// Its level.
    pub level: Level,
    /// Layers of the base are compressed anew.
    pub force: bool,
    /// Docker's media types.
    pub docker_types: bool,
    /// File times are at most the epoch.
    pub rewrite_times: bool,
    /// Annotations of this output alone.
    pub annotations: Vec<Annotation>,
    /// It is sent to the registries of its names.
    pub push: bool,
    /// It gets no tag there.
    pub by_digest: bool,
    /// Their certificates do not count, and they may speak plain HTTP.
    pub insecure: bool,
    /// The first of `names` that has a tag, as it was written.
    pub(super) tagged: Option<String>,
}

impl Output {
    /// With the defaults of a form.
    #[must_use]
    pub const fn new(form: Form, place: Place) -> Self {
        Self {
            form,
            place,
            names: None,
            split: None,
            compression: None,
            level: Level::Default,
            force: false,
            docker_types: false,
            rewrite_times: false,
            annotations: Vec::new(),
            push: false,
            by_digest: false,
            insecure: false,
            tagged: None,
        }
    }

    /// An image that is in the store and at the registries of its names: `--push`.
    #[must_use]
    pub const fn pushed() -> Self {
        let mut output = Self::new(Form::Image, Place::Store);
        output.push = true;
        output
    }

    /// What layers of the build are compressed with: gzip where they leave the store, if nothing else is asked for.
    pub(super) fn compression(&self) -> Option<Compression> {
        let leaves = self.push || self.place != Place::Store;
        self.compression.or(leaves.then_some(Compression::Gzip))
    }

    /// True if it is an image and not only files.
    #[must_use]
    pub const fn is_image(&self) -> bool {
        !matches!(self.form, Form::Local | Form::Tar)
    }
}

/// What an annotation is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The manifest of an image.
    Manifest,
    /// The index.
    Index,
    /// What names the manifest.
    ManifestDescriptor,
    /// What names the index.
    IndexDescriptor,
}

/// Free data for a document of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Which document.
    pub target: Target,
    /// Only of the image for this platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Those of `annotations` that belong to a document of the image for `platform`.
pub(super) fn wanted(
    annotations: &[Annotation],
    target: Target,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let fits = |annotation: &&Annotation| {
        annotation.target == target
            && annotation
                .platform
                .as_ref()
                .is_none_or(|asked| Some(asked) == platform)
    };
    annotations
        .iter()
        .filter(fits)
        .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
        .collect()
}

/// Reads `--annotation`: `[TYPE[,TYPE…][PLATFORM]:]KEY=VALUE`.
///
/// # Errors
///
/// [`OutputError::Annotation`].
pub fn annotations(text: &str) -> Result<Vec<Annotation>, Error> {
    let wrong = |why: String| OutputError::Annotation {
        text: text.to_owned(),
        why,
    };
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("an annotation is `KEY=VALUE`".to_owned()))?;
    let (targets, key) = match key.split_once(':') {
        Some((targets, key)) => (targets, key),
        None => ("manifest", key),
    };
    if key.is_empty() {
        return Err(wrong("its key is empty".to_owned()).into());
    }
    let mut found = Vec::new();
    for target in split_types(targets) {
        let (name, platform) = match target.split_once('[') {
            Some((name, rest)) => {
                let text = rest
                    .strip_suffix(']')
                    .ok_or_else(|| wrong(format!("`{target}` has no `]`")))?;
                (name, Some(text.parse::<Platform>()?))
            }
            None => (target, None),
        };
        found.push(Annotation {
            target: target_of(name)
                .ok_or_else(|| wrong(format!("`{name}` is not a type of annotation")))?,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(found)
}

/// Parts between commas that are not in brackets.
fn split_types(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut deep) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '[' => deep = true,
            ']' => deep = false,
            ',' if !deep => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn target_of(name: &str) -> Option<Target> {
    Some(match name {
        "" | "manifest" => Target::Manifest,
        "index" => Target::Index,
        "manifest-descriptor" => Target::ManifestDescriptor,
        "index-descriptor" => Target::IndexDescriptor,
        _ => return None,
    })
}

/// Options that barque has no use for, or cannot keep, each with the reason.
const REFUSED: [(&str, &str); 8] = [
    (
        "dangling-name-prefix",
        "images have the names that they are given",
    ),
    (
        "store",
        "an image is made in the store; `type=oci` makes one elsewhere",
    ),
    ("oci-artifact", "there are no attestations"),
    ("attestation-prefix", "there are no attestations"),
    ("attestation-inline", "there are no attestations"),
    ("prefer-nondist-layers", "all layers are kept"),
    (
        "source-date-epoch",
        "pass `--build-arg SOURCE_DATE_EPOCH=SECONDS`",
    ),
    ("context", "there is no other docker to load into"),
];

const IMAGE_OPTIONS: [&str; 10] = [
    "name",
    "push",
    "push-by-digest",
    "name-canonical",
    "registry.insecure",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "rewrite-timestamp",
];

/// Reads one `--output`.
///
/// # Errors
///
/// [`OutputError`] names the option.
pub fn output(text: &str) -> Result<Output, Error> {
    let fields = fields(text)?;
    if let [only] = &fields[..]
        && !only.starts_with("type=")
    {
        return Ok(match only.as_str() {
            "" => return Err(OutputError::EmptyDest.into()),
            "-" => Output::new(Form::Tar, Place::Stdout),
            path => Output::new(Form::Local, Place::Path(path.into())),
        });
    }
    let mut options = BTreeMap::new();
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(OutputError::NotAnOption(field.clone()).into());
        };
        options.insert(key.trim().to_ascii_lowercase(), value.to_owned());
    }
    let kind = options
        .remove("type")
        .ok_or_else(|| OutputError::NoType(text.to_owned()))?;
    let mut output = begin(&kind, &mut options)?;
    for (key, value) in options {
        option(&kind, &mut output, &key, &value)?;
    }
    if output.names.as_ref().is_some_and(Vec::is_empty) {
        output.names = None;
    }
    Ok(output)
}

/// The form, with its place.
fn begin(kind: &str, options: &mut BTreeMap<String, String>) -> Result<Output, Error> {
    let place = match options.remove("dest") {
        None => None,
        Some(dest) if dest.is_empty() => return Err(OutputError::EmptyDest.into()),
        Some(dest) if dest == "-" => Some(Place::Stdout),
        Some(dest) => Some(Place::Path(dest.into())),
    };
    let no_place = |form| match &place {
        None => Ok(Output::new(form, Place::Store)),
        Some(_) => Err(OutputError::Unknown {
            kind: kind.to_owned(),
            option: "dest".to_owned(),
            nearest: None,
        }),
    };
    Ok(match kind {
        "image" => no_place(Form::Image)?,
        // What docker would load is in the store already.
        "docker" if place.is_none() => Output::new(Form::Image, Place::Store),
        "docker" => Output::new(Form::Docker, place.unwrap_or(Place::Stdout)),
        "oci" => {
            let tar = match options.remove("tar") {
                Some(value) => boolean("tar", &value)?,
                None => true,
            };
            match (tar, place) {
                (true, place) => Output::new(Form::OciArchive, place.unwrap_or(Place::Stdout)),
                (false, Some(Place::Path(path))) => Output::new(Form::OciFolder, Place::Path(path)),
                (false, _) => return Err(OutputError::NoFolder("oci,tar=false").into()),
            }
        }
        "local" => match place {
            Some(Place::Path(path)) => Output::new(Form::Local, Place::Path(path)),
            _ => return Err(OutputError::NoFolder("local").into()),
        },
        "tar" => Output::new(Form::Tar, place.unwrap_or(Place::Stdout)),
        "registry" => {
            let output = no_place(Form::Image)?;
            options
                .entry("push".to_owned())
                .or_insert_with(|| "true".to_owned());
            output
        }
        other => return Err(OutputError::Type(other.to_owned()).into()),
    })
}

fn option(kind: &str, output: &mut Output, key: &str, value: &str) -> Result<(), Error> {
    if let Some(annotation) = annotation(key, value)? {
        if !output.is_image() {
            return Err(unknown(kind, output, key).into());
        }
        output.annotations.push(annotation);
        return Ok(());
    }
    let refused = REFUSED.iter().find(|(name, _)| *name == key);
    let off = matches!(value, "" | "false" | "0");
    match (key, output.is_image()) {
        (key, true) if !IMAGE_OPTIONS.contains(&key) && key != "unpack" => {}
        ("name", true) => {
            let names = value.split(',').filter(|name| !name.is_empty());
            let mut tagged = names.clone().filter(|name| Reference::says_tag(name));
            output.tagged = tagged.next().map(str::to_owned);
            let names = names
                .map(crate::images::new_name)
                .collect::<Result<_, _>>()?;
            output.names = Some(names);
            return Ok(());
        }
        ("oci-mediatypes", true) => {
            output.docker_types = !boolean(key, value)?;
            return Ok(());
        }
        ("compression", true) => {
            output.compression = Some(compression(value)?);
            return Ok(());
        }
        ("compression-level", true) => {
            output.level = level(value)?;
            return Ok(());
        }
        ("force-compression", true) => {
            output.force = boolean(key, value)?;
            return Ok(());
        }
        ("rewrite-timestamp", true) => {
            output.rewrite_times = boolean(key, value)?;
            return Ok(());
        }
        ("push" | "push-by-digest" | "registry.insecure", true) if output.form == Form::Image => {
            let target = match key {
                "push" => &mut output.push,
                "push-by-digest" => &mut output.by_digest,
                _ => &mut output.insecure,
            };
            *target = boolean(key, value)?;
            return Ok(());
        }
        // What is pushed always gets the name by digest, too; nothing else has one.
        ("name-canonical", true) if output.form == Form::Image => {
            return boolean(key, value).map(drop);
        }
        // A layer needs no unpacking.
        ("unpack", true) => return boolean(key, value).map(drop),
        ("platform-split", false) => {
            output.split = Some(boolean(key, value)?);
            return Ok(());
        }
        ("mode", false) if value == "copy" => return Ok(()),
        ("mode", false) if value == "delete" => {
            return Err(OutputError::Refused {
                option: "mode=delete".to_owned(),
                why: "it would delete what is in the folder",
            }
            .into());
        }
        _ => {}
    }
    match refused {
        Some(_) if off => Ok(()),
        Some((name, why)) => Err(OutputError::Refused {
            option: (*name).to_owned(),
            why,
        }
        .into()),
        None => Err(unknown(kind, output, key).into()),
    }
}

fn unknown(kind: &str, output: &Output, key: &str) -> OutputError {
    let known: &[&str] = match output.form {
        Form::Local | Form::Tar => &["dest", "platform-split"],
        Form::OciArchive | Form::OciFolder => &["dest", "tar"],
        Form::Image | Form::Docker => &["dest"],
    };
    let images: &[&str] = if output.is_image() {
        &IMAGE_OPTIONS
    } else {
        &[]
    };
    let known = known.iter().chain(images).copied();
    OutputError::Unknown {
        kind: kind.to_owned(),
        option: key.to_owned(),
        nearest: dockerfile::nearest(key, known).map(str::to_owned),
    }
}

/// `annotation[-TYPE][[PLATFORM]].KEY=VALUE`.
fn annotation(option: &str, value: &str) -> Result<Option<Annotation>, Error> {
    let Some(rest) = option.strip_prefix("annotation") else {
        return Ok(None);
    };
    let Some((head, key)) = rest.split_once(['.', '[']) else {
        return Ok(None);
    };
    let Some(target) = target_of(head.trim_start_matches('-')) else {
        return Ok(None);
    };
    let (platform, key) = match rest.as_bytes().get(head.len()) {
        Some(b'.') => (None, key),
        _ => match key.split_once("].") {
            Some((platform, key)) => (Some(platform.parse()?), key),
            None => return Ok(None),
        },
    };
    Ok(Some(Annotation {
        target,
        platform,
        key: key.to_owned(),
        value: value.to_owned(),
    }))
}

fn boolean(option: &str, value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(OutputError::Value {
            option: option.to_owned(),
            value: value.to_owned(),
            wanted: "true or false",
        }
        .into()),
    }
}

fn compression(value: &str) -> Result<Compression, Error> {
    Ok(match value {
        "uncompressed" => Compression::None,
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        _ => {
            return Err(OutputError::Value {
                option: "compression".to_owned(),
                value: value.to_owned(),
                wanted: "uncompressed, gzip or zstd",
            }
            .into());
        }
    })
}

fn level(value: &str) -> Result<Level, Error> {
    let level = value.parse().ok().filter(|level| *level <= 22);
    let level = level.ok_or_else(|| OutputError::Value {
        option: "compression-level".to_owned(),
        value: value.to_owned(),
        wanted: "0 to 9 for gzip, 1 to 22 for zstd",
    })?;
    Ok(Level::Exact(level))
}

/// The fields of a line of comma-separated values; quotes hold commas.
fn fields(text: &str) -> Result<Vec<String>, Error> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            match rest.split_once(',') {
                Some((field, after)) => {
                    fields.push(field.to_owned());
                    rest = after;
                    continue;
                }
                None => {
                    fields.push(rest.to_owned());
                    return Ok(fields);
                }
            }
        };
        let mut field = String::new();
        let mut letters = quoted.char_indices().peekable();
        let mut end = None;
        while let Some((at, letter)) = letters.next() {
            if letter != '"' {
                field.push(letter);
            } else if letters.next_if(|(_, next)| *next == '"').is_some() {
                field.push('"');
            } else {
                end = Some(at + 1);
                break;
            }
        }
        let after = end.map(|end| &quoted[end..]);
        fields.push(field);
        match after {
            Some("") => return Ok(fields),
            Some(after) if after.starts_with(',') => rest = &after[1..],
            _ => return Err(OutputError::Quotes(text.to_owned()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::output;

    #[test]
    fn a_place_has_a_name() {
        for text in [
            "",
            "type=local,dest=",
            "type=oci,dest=",
            "type=docker,dest=",
        ] {
            let error = output(text).unwrap_err();
            assert_eq!(error.to_string(), "`dest=` of `--output` names nothing");
            assert!(!error.hints().is_empty());
        }
    }
}
