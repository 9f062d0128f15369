//! `barque load`: images from archives and layouts of any tool.

use std::collections::BTreeMap;

use oci::{Descriptor, DiffId, Digest, Manifest, Platform, media_type};
use store::{Lease, NewImage, NewIndex};

use super::archive::{Archive, shown};
use super::layers::{self, Promise};
use super::plan::{self, Form, Found};
use super::{LoadRequest, LoadedImage, familiar};
use crate::{Engine, Error};

/// Why an archive cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither Docker's nor OCI's list of images is in it, or the list has none.
    #[error("it has no images")]
    NoImages,
    /// It is no tar, or one that readers disagree about.
    #[error("it is not a good tar: {0}")]
    Tar(#[source] layer::tar::Error),
    /// It ends within a member.
    #[error("it is truncated")]
    Truncated,
    /// More members than any archive of images has.
    #[error("it has more than {0} members")]
    TooMany(usize),
    /// More images than anybody saves at once.
    #[error("it has more than {0} images")]
    TooManyImages(usize),
    /// More bytes of documents than images need.
    #[error("its manifests and configs are larger than {0} bytes together")]
    TooMuch(u64),
    /// A file of it could not be read.
    #[error("{0}")]
    Read(#[source] sys::fs::Error),
    /// A member that another one names is not there.
    #[error("`{0}` is missing")]
    Missing(String),
    /// Two members have one name, so that readers differ about what it means.
    #[error("`{0}` is in it twice")]
    Twice(String),
    /// A member that should have bytes is something else.
    #[error("`{0}` is not a regular file")]
    NotAFile(String),
    /// Members link to each other without end.
    #[error("the links from `{0}` lead nowhere")]
    Links(String),
    /// A name leads out of the archive.
    #[error("`{0}` is no name of a member")]
    Outside(String),
    /// A JSON document cannot be understood.
    #[error("`{name}`: {why}")]
    Document {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Bytes are not what their name promises.
    #[error("`{what}`: {source}")]
    Mismatch {
        /// Whose bytes.
        what: String,
        /// What was promised and what came.
        source: Box<store::Mismatch>,
    },
    /// Docker's and OCI's list of the same archive give one name to two images.
    #[error("its manifest.json and its index.json disagree about `{0}`")]
    Disagree(String),
    /// It has nothing for the platform.
    #[error("it has no image for {wanted}{}", but(.here))]
    Platform {
        /// What was asked for, or what this machine is.
        wanted: String,
        /// What there is.
        here: Vec<String>,
    },
    /// A layer is not what it should be.
    #[error("layer {number} of {count} (`{name}`): {source}")]
    Layer {
        /// Which, from 1.
        number: usize,
        /// Of how many.
        count: usize,
        /// Its member.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// The store refused it.
    #[error("{0}")]
    Store(#[source] store::Error),
}

fn but(here: &[String]) -> String {
    if here.is_empty() {
        String::new()
    } else {
        format!(", but for {}", here.join(", "))
    }
}

impl LoadError {
    pub(crate) fn hints(&self) -> Vec<String> {
        match self {
            Self::Platform { here, .. } => here
                .first()
                .map(|platform| format!("pass `--platform {platform}`"))
                .into_iter()
                .collect(),
            Self::NoImages => {
                vec!["`barque import` makes an image of the tar of a root filesystem".to_owned()]
            }
            Self::Layer { source, .. } => source.hints(),
            _ => Vec::new(),
        }
    }
}

impl Engine {
    /// Brings all images of an archive, an OCI layout or stdin into the store: all of them, or nothing.
    ///
    /// Docker archives of every age since 1.10, OCI archives and layouts are understood, compressed or not. Of an index, the
    /// image for the platform is taken; if none was asked for and the archive has all images of the index, all of them and
    /// the index.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] says what is wrong with the archive; then nothing of it is in the store.
    pub fn load(&self, request: &LoadRequest) -> Result<Vec<LoadedImage>, Error> {
        let wanted = request
            .platform
            .as_deref()
            .map(str::parse::<Platform>)
            .transpose()?;
        let failed = |source: LoadError| Error::Load {
            path: request.input.clone(),
            source: Box::new(source),
        };
        let lease = self.store().lease("load")?;
        let archive = Archive::open(request.input.as_deref(), &lease)?;
        let (images, lists) = plan::images(&archive, wanted.as_ref()).map_err(failed)?;
        let mut ready = Vec::new();
        let mut known = BTreeMap::new();
        for image in images {
            ready.push(bring(&archive, &lease, image, &mut known).map_err(failed)?);
        }
        let put = |image: &Ready| image.put(&lease);
        let loaded = ready.iter().map(put).collect::<Result<_, _>>();
        let loaded = loaded.map_err(|error| failed(LoadError::Store(error)))?;
        for list in &lists {
            // The names lead to one of its images already; now they mean all.
            let index = NewIndex {
                bytes: &list.bytes,
                media_type: None,
                names: &list.names,
                also: &[],
                by: "load",
            };
            lease
                .put_index(index)
                .map_err(|error| failed(LoadError::Store(error)))?;
        }
        Ok(loaded)
    }
}

/// An image whose layers are in the store.
pub(super) struct Ready {
    pub(super) found: Found,
    pub(super) manifest: Vec<u8>,
    pub(super) media_type: String,
}

impl Ready {
    fn put(&self, lease: &Lease) -> Result<LoadedImage, store::Error> {
        let mut also = Vec::new();
        if let Form::Oci { indexes, .. } = &self.found.form {
            for index in indexes {
                also.push(*lease.put_blob(index)?.digest());
            }
        }
        let image = lease.put_image(NewImage {
            manifest: &self.manifest,
            media_type: Some(&self.media_type),
            config: &self.found.config,
            also: &also,
            names: &self.found.names,
            by: "load",
        })?;
        Ok(LoadedImage {
            id: image.id,
            names: familiar(&self.found.names),
        })
    }
}

/// Brings the layers of an image into the store; `known` has those of the images before.
pub(super) fn bring(
    archive: &Archive,
    lease: &Lease,
    found: Found,
    known: &mut BTreeMap<(DiffId, String), Descriptor>,
) -> Result<Ready, LoadError> {
    let mut layer = |number: usize, name: &str, descriptor: Option<&Descriptor>| {
        let diff_id = found.diff_ids[number];
        let key = (diff_id, name.to_owned());
        if let Some(known) = known.get(&key)
            && descriptor.is_none_or(|descriptor| descriptor.size == known.size)
        {
            return Ok(known.clone());
        }
        let body = archive.open_member(name)?;
        let promise = Promise {
            diff_id,
            descriptor,
        };
        let brought = layers::bring(lease, body, &promise).map_err(|source| LoadError::Layer {
            number: number + 1,
            count: found.diff_ids.len(),
            name: shown(name),
            source: Box::new(source),
        })?;
        known.insert(key, brought.clone());
        Ok(brought)
    };
    match &found.form {
        Form::Oci {
            bytes,
            manifest,
            media_type,
            ..
        } => {
            for (number, descriptor) in manifest.layers.iter().enumerate() {
                layer(
                    number,
                    &Archive::blob_name(&descriptor.digest),
                    Some(descriptor),
                )?;
            }
            Ok(Ready {
                manifest: bytes.clone(),
                media_type: media_type.clone(),
                found,
            })
        }
        Form::Docker(names) => {
            let mut layers = Vec::new();
            for (number, name) in names.iter().enumerate() {
                layers.push(layer(number, name, None)?);
            }
            let manifest = manifest(&found.config, layers);
            Ok(Ready {
                manifest,
                media_type: media_type::OCI_MANIFEST.to_owned(),
                found,
            })
        }
    }
}

/// The manifest of an image that came without one, or was just made.
pub(crate) fn manifest(config: &[u8], layers: Vec<Descriptor>) -> Vec<u8> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(
            media_type::OCI_CONFIG,
            Digest::sha256_of(config),
            config.len() as u64,
        ),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    // Text keys and plain values always become JSON.
    serde_json::to_vec(&manifest).unwrap_or_default()
}
