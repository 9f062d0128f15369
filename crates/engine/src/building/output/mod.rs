//! What becomes of a build: an image in the store, archives, layouts, files.

mod local;
mod parse;
mod push;

use std::collections::BTreeMap;
use std::path::Path;

use build::{Packed, Packing, Solved, Teller};
use layer::Meta;
use layer::compression::{Compression, Level};
use oci::{Descriptor, Digest, Index, Platform, Reference, media_type};
use serde_json::Value;
use store::{Lease, NewIndex};

use self::parse::wanted;
pub use self::parse::{Annotation, Form, Output, Place, Target, annotations, output};
pub(super) use self::push::check as check_pushes;
use crate::transfer::Output as File;
use crate::transfer::{self, Archive, ArchiveFormat, Set};
use crate::{Engine, Error};

/// When an image was made, in what names it (image-spec, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";

/// Why a result cannot be given as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Not `NAME=VALUE`.
    #[error("`{0}` in `--output` is not `NAME=VALUE`")]
    NotAnOption(String),
    /// A quote that does not end.
    #[error("the quotes in `--output {0}` do not match")]
    Quotes(String),
    /// Without a type.
    #[error("`--output {0}` has no `type`")]
    NoType(String),
    /// A type that there is not.
    #[error("`{0}` is not a type of output")]
    Type(String),
    /// A push to nowhere.
    #[error("what is pushed needs a name, which says the registry")]
    Nameless,
    /// A tag for something that gets none.
    #[error("`{0}` has a tag, and `push-by-digest` sets none")]
    Tagged(String),
    /// An option that the type does not have.
    #[error("`{option}` is not an option of `type={kind}`")]
    Unknown {
        /// The type.
        kind: String,
        /// The option.
        option: String,
        /// The one that was meant, perhaps.
        nearest: Option<String>,
    },
    /// An option that other builders have.
    #[error("the option `{option}` of `--output` is not supported: {why}")]
    Refused {
        /// Which.
        option: String,
        /// Why.
        why: &'static str,
    },
    /// A value that the option cannot have.
    #[error("`{value}` is no value of the option `{option}` of `--output`: expected {wanted}")]
    Value {
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What it can be.
        wanted: &'static str,
    },
    /// A place without a name.
    #[error("`dest=` of `--output` names nothing")]
    EmptyDest,
    /// Files without a place.
    #[error("`--output type={0}` needs `dest=FOLDER`")]
    NoFolder(&'static str),
    /// Two results in one stream.
    #[error("only one output can go to stdout")]
    StdoutTwice,
    /// Docker's archive has one image.
    #[error("`type=docker` with `dest` is an archive of one platform, and {0} were asked for")]
    Platforms(usize),
    /// Files of two platforms with one name.
    #[error("cannot overwrite `{path}` of {first} with that of {second}")]
    Overwrite {
        /// The file.
        path: String,
        /// Whose is there.
        first: String,
        /// Whose would come.
        second: String,
    },
    /// An annotation that cannot be understood.
    #[error("`{text}` is not an annotation: {why}")]
    Annotation {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// An annotation that has no document.
    #[error("the annotation `{key}` has nowhere to go: {why}")]
    NoDocument {
        /// Its name.
        key: String,
        /// Why.
        why: String,
    },
}

impl OutputError {
    pub(crate) fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Type(_) => "known are local, tar, oci, docker, image and registry".to_owned(),
            Self::Nameless => "pass `--tag REGISTRY/NAME:TAG`, or `name=` in `--output`".to_owned(),
            Self::Tagged(name) => match name.rsplit_once(':') {
                Some((name, _)) => format!("name it `{name}`"),
                None => return Vec::new(),
            },
            Self::Unknown {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::EmptyDest => {
                "name a file or folder with `dest=PATH`, or stdout with `dest=-`".to_owned()
            }
            Self::Platforms(_) => "`type=oci` has several platforms".to_owned(),
            Self::Overwrite { .. } => "leave `platform-split=false` out".to_owned(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// What was made of a build.
#[derive(Debug, Default)]
pub(super) struct Result {
    /// What people know it by: the id of an image, the digest of an index.
    pub(super) id: Option<Digest>,
    /// The manifest or the index.
    pub(super) digest: Option<Digest>,
    /// Names in the store.
    pub(super) names: Vec<Reference>,
    /// The content of `--metadata-file`.
    pub(super) metadata: Value,
}

/// A build that is done, and its results under way.
pub(super) struct Job<'a> {
    pub(super) solved: &'a [Solved],
    /// The platforms that were asked for, if several or an index is wanted.
    pub(super) platforms: &'a [Platform],
    pub(super) tags: &'a [Reference],
    pub(super) annotations: &'a [Annotation],
    pub(super) lease: &'a Lease,
    pub(super) teller: &'a Teller<'a>,
    pub(super) engine: &'a Engine,
}

/// An image or several with their index.
struct Images {
    packed: Vec<Packed>,
    index: Option<(Descriptor, Vec<u8>)>,
}

/// Refuses what cannot be done before anything is built.
pub(super) fn check(
    outputs: &[Output],
    platforms: &[Platform],
    annotations: &[Annotation],
) -> std::result::Result<(), Error> {
    let to_stdout = |output: &&Output| output.place == Place::Stdout;
    if outputs.iter().filter(to_stdout).count() > 1 {
        return Err(OutputError::StdoutTwice.into());
    }
    for output in outputs {
        if output.form == Form::Docker && platforms.len() > 1 {
            return Err(OutputError::Platforms(platforms.len()).into());
        }
        let range = match output.compression {
            Some(Compression::Zstd) => 1..=22,
            _ => 0..=9,
        };
        if let Level::Exact(level) = output.level
            && !range.contains(&level)
        {
            return Err(OutputError::Value {
                option: "compression-level".to_owned(),
                value: level.to_string(),
                wanted: "0 to 9 for gzip, 1 to 22 for zstd",
            }
            .into());
        }
        for annotation in annotations.iter().chain(&output.annotations) {
            check_annotation(annotation, output, platforms)?;
        }
    }
    Ok(())
}

fn check_annotation(
    annotation: &Annotation,
    output: &Output,
    platforms: &[Platform],
) -> std::result::Result<(), OutputError> {
    let nowhere = |why: String| OutputError::NoDocument {
        key: annotation.key.clone(),
        why,
    };
    let of_index = matches!(annotation.target, Target::Index | Target::IndexDescriptor);
    if of_index && platforms.is_empty() {
        return Err(nowhere("an image for one platform has no index".to_owned()));
    }
    if output.docker_types && annotation.target != Target::Manifest {
        return Err(nowhere(
            "`oci-mediatypes=false` has no place for it".to_owned(),
        ));
    }
    match &annotation.platform {
        Some(platform) if !platforms.contains(platform) => {
            Err(nowhere(format!("nothing is built for {platform}")))
        }
        _ => Ok(()),
    }
}

impl Job<'_> {
    /// Gives all that was asked for.
    pub(super) fn write(&self, outputs: &[Output]) -> std::result::Result<Result, Error> {
        let mut result = Result::default();
        for output in outputs {
            let name = match output.form {
                Form::Image => "exporting to image",
                Form::Docker => "exporting to docker archive",
                Form::OciArchive | Form::OciFolder => "exporting to oci layout",
                Form::Local => "exporting to folder",
                Form::Tar => "exporting to tar",
            };
            let done = self.teller.during(name, || self.one(output))?;
            if done.digest.is_some() && (result.digest.is_none() || output.form == Form::Image) {
                result = done;
            }
        }
        Ok(result)
    }

    fn one(&self, output: &Output) -> std::result::Result<Result, Error> {
        match (output.form, &output.place) {
            (Form::Local, Place::Path(folder)) => self.to_folder(output, folder)?,
            (Form::Local | Form::Tar, place) => self.to_tar(output, place)?,
            (form, place) => {
                let names = names(self.tags, output);
                let images = self.pack(output)?;
                match form {
                    // Without a tag there, it has none here.
                    Form::Image if output.push && output.by_digest => {
                        self.to_store(&images, &[])?
                    }
                    Form::Image => self.to_store(&images, names)?,
                    _ => self.to_archive(&images, form, place, names)?,
                }
                if output.push {
                    self.push(output, &images, names)?;
                }
                return Ok(images.result(names, output.push && output.by_digest));
            }
        }
        Ok(Result::default())
    }

    fn pack(&self, output: &Output) -> std::result::Result<Images, Error> {
        let mut annotations = self.annotations.to_vec();
        annotations.extend(output.annotations.iter().cloned());
        let mut packed = Vec::new();
        for (number, solved) in self.solved.iter().enumerate() {
            // Of a single image, the platform that it says.
            let own = solved.platform();
            let platform = self.platforms.get(number).unwrap_or(&own);
            let packing = Packing {
                compression: output.compression(),
                level: output.level,
                force: output.force,
                docker_types: output.docker_types,
                rewrite_times: output.rewrite_times,
                annotations: wanted(&annotations, Target::Manifest, Some(platform)),
            };
            let mut image = solved.pack(&packing, self.lease).map_err(pack_error)?;
            image.descriptor.platform = Some(platform.clone());
            image.descriptor.annotations =
                wanted(&annotations, Target::ManifestDescriptor, Some(platform));
            packed.push(image);
        }
        let index = (!self.platforms.is_empty()).then(|| {
            let kind = match output.docker_types {
                true => media_type::DOCKER_INDEX,
                false => media_type::OCI_INDEX,
            };
            index(kind, &packed, &annotations)
        });
        Ok(Images { packed, index })
    }

    fn to_store(&self, images: &Images, names: &[Reference]) -> std::result::Result<(), Error> {
        let Some((descriptor, bytes)) = &images.index else {
            for image in &images.packed {
                image.put(self.lease, names)?;
            }
            return Ok(());
        };
        for image in &images.packed {
            image.put(self.lease, &[])?;
        }
        self.lease.put_index(NewIndex {
            bytes,
            media_type: Some(&descriptor.media_type),
            names,
            also: &[],
            by: "build",
        })?;
        Ok(())
    }

    fn to_archive(
        &self,
        images: &Images,
        form: Form,
        place: &Place,
        names: &[Reference],
    ) -> std::result::Result<(), Error> {
        let created = images
            .packed
            .iter()
            .filter_map(|image| image.created.clone());
        let created = created.max();
        let mut packed = images.packed.clone();
        let mut index = images.index.clone();
        // Only what the list of the layout names says when; the same image has the same digest in an index.
        let top = match &mut index {
            Some((descriptor, _)) => Some(descriptor),
            None => packed.first_mut().map(|image| &mut image.descriptor),
        };
        if let (Some(descriptor), Some(created)) = (top, created) {
            let annotations = &mut descriptor.annotations;
            annotations.entry(CREATED.to_owned()).or_insert(created);
        }
        let mut set = Set::default();
        set.add_packed(self.lease, &packed, index, names.to_vec())?;
        if let (Form::OciFolder, Place::Path(folder)) = (form, place) {
            return set.to_folder(folder);
        }
        let format = match form {
            Form::Docker => ArchiveFormat::DockerArchive,
            _ => ArchiveFormat::OciArchive,
        };
        let file = File::create(place.path())?;
        set.to_archive(Archive::new(file, transfer::Compression::None)?, format)
    }

    /// Platform by platform: the folder of its own, if it has one, and its name.
    fn trees(&self, output: &Output) -> Vec<(String, String, &Solved)> {
        let split = output.split.unwrap_or(!self.platforms.is_empty());
        self.solved
            .iter()
            .enumerate()
            .map(|(number, solved)| {
                let own = solved.platform();
                let platform = self.platforms.get(number).unwrap_or(&own).to_string();
                let folder = match split {
                    true => platform.replace('/', "_"),
                    false => String::new(),
                };
                (folder, platform, solved)
            })
            .collect()
    }

    fn to_folder(&self, output: &Output, folder: &Path) -> std::result::Result<(), Error> {
        let mut writer = local::Writer::create(folder)?;
        for (folder, platform, solved) in self.trees(output) {
            let view = self.lease.view(solved.layers())?;
            writer.write(&view, &folder, &platform, solved.epoch())?;
        }
        Ok(())
    }

    fn to_tar(&self, output: &Output, place: &Place) -> std::result::Result<(), Error> {
        let file = File::create(place.path())?;
        let mut archive = Archive::new(file, transfer::Compression::None)?;
        for (folder, _, solved) in self.trees(output) {
            let view = self.lease.view(solved.layers())?;
            let place = transfer::Place {
                folder: folder.into_bytes(),
                time: solved.epoch(),
            };
            if !place.folder.is_empty() {
                let mut meta = Meta::dir(0o755);
                meta.mtime = layer::Time::from_secs(place.time.unwrap_or(0));
                archive.header(&place.folder, &meta)?;
            }
            transfer::write_tree("the result", &view, &place, &mut archive)?;
        }
        archive.finish()
    }
}

impl Place {
    /// The file; `None` for stdout.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Store | Self::Stdout => None,
        }
    }
}

impl Images {
    fn result(&self, names: &[Reference], untagged: bool) -> Result {
        let listed = names.iter().map(|name| match untagged {
            true => name.name(),
            false => name.to_string(),
        });
        let listed: Vec<String> = listed.collect();
        let (descriptor, config) = match (&self.index, self.packed.first()) {
            (Some((descriptor, _)), _) => (descriptor, None),
            (None, Some(image)) => (&image.descriptor, Some(Digest::sha256_of(&image.config))),
            (None, None) => return Result::default(),
        };
        Result {
            id: Some(config.unwrap_or(descriptor.digest)),
            digest: Some(descriptor.digest),
            metadata: build::metadata(descriptor, config.as_ref(), &listed),
            names: names.to_vec(),
        }
    }
}

/// The names of an image: those of the build, else those that the output says.
fn names<'a>(tags: &'a [Reference], output: &'a Output) -> &'a [Reference] {
    match (tags, &output.names) {
        ([], Some(names)) => names,
        (tags, _) => tags,
    }
}

/// The index of these images, and what names it.
fn index(kind: &str, images: &[Packed], annotations: &[Annotation]) -> (Descriptor, Vec<u8>) {
    let index = Index {
        schema_version: 2,
        media_type: Some(kind.to_owned()),
        artifact_type: None,
        manifests: images
            .iter()
            .map(|image| image.descriptor.clone())
            .collect(),
        subject: None,
        annotations: wanted(annotations, Target::Index, None),
    };
    // Text keys and plain values always become JSON.
    let bytes = serde_json::to_vec(&index).unwrap_or_default();
    let mut descriptor = Descriptor::new(kind, Digest::sha256_of(&bytes), bytes.len() as u64);
    descriptor.annotations = wanted(annotations, Target::IndexDescriptor, None);
    (descriptor, bytes)
}

fn pack_error(error: build::PackError) -> Error {
    match error {
        build::PackError::Store(error) => error.into(),
        other => Error::Pack(Box::new(other)),
    }
}

/// The platforms of `--platform`: comma-separated, `local` for this machine, each once.
pub(super) fn platforms(texts: &[String]) -> std::result::Result<Vec<Platform>, Error> {
    let mut platforms: Vec<Platform> = Vec::new();
    let parts = texts.iter().flat_map(|text| text.split(','));
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let platform = match part {
            "local" => Platform::host(),
            part => part.parse()?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// Annotations of several texts.
pub(super) fn all_annotations(texts: &[String]) -> std::result::Result<Vec<Annotation>, Error> {
    let mut all: Vec<Annotation> = Vec::new();
    for text in texts {
        all.extend(annotations(text)?);
    }
    Ok(all)
}

/// `BUILDKIT_MULTI_PLATFORM`: an index also for one platform.
pub(super) fn forces_index(build_args: &BTreeMap<String, String>) -> bool {
    let value = build_args.get("BUILDKIT_MULTI_PLATFORM");
    value.is_some_and(|value| matches!(value.as_str(), "1" | "true" | "TRUE" | "True" | "t" | "T"))
}
