//! `barque save`: images as archives and layouts that other tools read.
//!
//! All formats hold the same blobs: the manifest and the config as they came, and each layer in the form that the manifest
//! names, so digests are kept. What is new is only the lists: `index.json` and, for Docker, `manifest.json`.

use std::path::PathBuf;

use oci::Reference;
use store::{Image, ImageIndex};

use super::output::{Archive, Output};
use super::set::Set;
use crate::{Engine, Error};

/// In what form images are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// A tar that is at once a Docker archive and an OCI layout.
    #[default]
    DockerArchive,
    /// A tar with an OCI layout.
    OciArchive,
    /// A folder with an OCI layout; one that is there gets the images in addition.
    OciDir,
}

/// How an archive is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// What is to be saved, and where.
#[derive(Debug, Clone)]
pub struct SaveRequest {
    /// Names, ids or digests. A repository without a tag means all its tags, as for Docker.
    pub images: Vec<String>,
    /// A file or folder; `None` for stdout.
    pub output: Option<PathBuf>,
    /// The form.
    pub format: ArchiveFormat,
    /// The archive's compression.
    pub compression: Compression,
}

impl Engine {
    /// Writes images to one archive or layout. The same images give the same bytes.
    ///
    /// A file or a new folder appears whole or not at all; a layout that is there has either its old list of images or the
    /// new one.
    ///
    /// # Errors
    ///
    /// An image is not there or damaged, or the output cannot be written.
    pub fn save(&self, request: &SaveRequest) -> Result<(), Error> {
        let lease = self.store().lease("save")?;
        let mut set = Set::default();
        for (chosen, names) in self.chosen(&request.images)? {
            match chosen {
                Chosen::Image(image) => set.add_image(&lease, &image, names)?,
                Chosen::Index(index) => set.add_index(&lease, &index, names)?,
            }
        }
        match (request.format, request.output.as_deref()) {
            (ArchiveFormat::OciDir, None) => Err(Error::LayoutToStdout),
            (ArchiveFormat::OciDir, Some(_)) if request.compression != Compression::None => {
                Err(Error::CompressedLayout)
            }
            (ArchiveFormat::OciDir, Some(path)) => set.to_folder(path),
            (format, output) => set.to_archive(
                Archive::new(Output::create(output)?, request.compression)?,
                format,
            ),
        }
    }

    /// The images and indexes that are meant, each once, with the names under which they are saved.
    fn chosen(&self, texts: &[String]) -> Result<Vec<(Chosen, Vec<Reference>)>, Error> {
        let mut chosen: Vec<(Chosen, Vec<Reference>)> = Vec::new();
        let mut add = |found: Chosen, name: Option<Reference>| {
            let place = chosen
                .iter()
                .position(|(other, _)| other.digest() == found.digest());
            let names = match place {
                Some(place) => &mut chosen[place].1,
                None => {
                    chosen.push((found, Vec::new()));
                    &mut chosen.last_mut().expect("something was just pushed").1
                }
            };
            names.extend(name.filter(|name| name.tag().is_some() && !names.contains(name)));
        };
        for text in texts {
            let meant = text.parse::<Reference>().ok();
            let bare = meant
                .as_ref()
                .is_some_and(|name| name.familiar_name() == *text || name.name() == *text);
            let tags = if bare {
                self.tags(meant.as_ref())?
            } else {
                Vec::new()
            };
            if tags.is_empty() {
                let found = self.one(text)?;
                let name = meant.filter(|name| found.names().contains(name));
                add(found, name);
            }
            for (found, name) in tags {
                add(found, Some(name));
            }
        }
        Ok(chosen)
    }

    /// What one text means: all images of an index, or one image.
    fn one(&self, text: &str) -> Result<Chosen, Error> {
        Ok(match self.store().find_index(text)? {
            Some(index) => Chosen::Index(index),
            None => Chosen::Image(Box::new(self.store().resolve(text)?)),
        })
    }

    /// All tags of a repository.
    fn tags(&self, name: Option<&Reference>) -> Result<Vec<(Chosen, Reference)>, Error> {
        let Some(repository) = name.map(Reference::name) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for image in self.store().images()? {
            let ours = |name: &Reference| name.tag().is_some() && name.name() == repository;
            names.extend(image.names.into_iter().filter(ours));
        }
        names.sort();
        let tag = |name: Reference| Ok((self.one(&name.to_string())?, name));
        names.into_iter().map(tag).collect()
    }
}

/// Something that can be saved.
enum Chosen {
    Image(Box<Image>),
    Index(ImageIndex),
}

impl Chosen {
    const fn digest(&self) -> &oci::Digest {
        match self {
            Self::Image(image) => &image.digest,
            Self::Index(index) => &index.digest,
        }
    }

    fn names(&self) -> &[Reference] {
        match self {
            Self::Image(image) => &image.names,
            Self::Index(index) => &index.names,
        }
    }
}
