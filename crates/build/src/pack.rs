//! What a build made, and the documents of the image that it becomes: media types, compression, annotations, times.

use std::collections::BTreeMap;

use layer::compression::{Compression, Level};
use layer::{IngestError, Time, tar};
use oci::{Descriptor, DiffId, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use serde_json::json;
use store::{Image, Lease, Record};

use crate::keys::Key;

/// What a build made, before it is an image: a config, and layers that the store has.
#[derive(Debug, Clone)]
pub struct Solved {
    pub(crate) config: ImageConfig,
    /// Layers of the base, as its manifest describes them: perhaps compressed.
    pub(crate) known: Vec<(DiffId, Descriptor)>,
    /// How many layers come from the base image.
    pub(crate) base: usize,
    pub(crate) epoch: Option<i64>,
}

/// How an image is to be described.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// What layers are compressed with; those of the base that are compressed stay as they are, and so do all of them without it.
    pub compression: Option<Compression>,
    /// How hard.
    pub level: Level,
    /// Layers of the base are brought to this compression too.
    pub force: bool,
    /// Docker's media types instead of OCI's.
    pub docker_types: bool,
    /// No file of this build's layers is newer than `SOURCE_DATE_EPOCH`, if that is set.
    pub rewrite_times: bool,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// The documents of an image, whose layers are in the store.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The config.
    pub config: Vec<u8>,
    /// Names the manifest, as an index does.
    pub descriptor: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<DiffId>,
    /// When it was made (RFC 3339).
    pub created: Option<String>,
}

/// Why an image could not be described.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The times of a layer's files could not be rewritten: it could not be read.
    #[error("cannot rewrite the times of layer {layer}: {source}")]
    Read {
        /// Which.
        layer: DiffId,
        /// Why.
        source: tar::Error,
    },
    /// The same: the new one could not be written.
    #[error("cannot rewrite the times of layer {layer}: {source}")]
    Write {
        /// Which.
        layer: DiffId,
        /// Why.
        source: Box<IngestError>,
    },
}

impl Solved {
    /// What it runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// Its layers, bottom first.
    #[must_use]
    pub fn layers(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }

    /// `SOURCE_DATE_EPOCH`, if it was set.
    #[must_use]
    pub const fn epoch(&self) -> Option<i64> {
        self.epoch
    }

    /// Makes the documents, and the forms of layers that they name.
    ///
    /// # Errors
    ///
    /// See [`PackError`].
    pub fn pack(&self, packing: &Packing, lease: &Lease) -> Result<Packed, PackError> {
        let mut config = self.config.clone();
        let mut layers = Vec::with_capacity(config.rootfs.diff_ids.len());
        for (number, id) in config.rootfs.diff_ids.iter_mut().enumerate() {
            let own = number >= self.base;
            if let (true, true, Some(epoch)) = (own, packing.rewrite_times, self.epoch) {
                *id = clamped(lease, id, epoch)?;
            }
            layers.push(self.form(number, id, packing, lease)?);
        }
        let config_bytes = json_bytes(&config);
        let kinds = match packing.docker_types {
            true => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
            false => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(kinds.0.to_owned()),
            artifact_type: None,
            config: Descriptor::new(
                kinds.1,
                Digest::sha256_of(&config_bytes),
                config_bytes.len() as u64,
            ),
            layers,
            subject: None,
            annotations: packing.annotations.clone(),
        };
        let manifest = json_bytes(&manifest);
        let mut descriptor =
            Descriptor::new(kinds.0, Digest::sha256_of(&manifest), manifest.len() as u64);
        descriptor.platform = Some(config.platform());
        Ok(Packed {
            manifest,
            descriptor,
            created: config.created.clone(),
            layers: config.rootfs.diff_ids,
            config: config_bytes,
        })
    }

    /// How the manifest describes a layer.
    fn form(
        &self,
        number: usize,
        id: &DiffId,
        packing: &Packing,
        lease: &Lease,
    ) -> Result<Descriptor, PackError> {
        let known = self.known.iter().find(|(layer, _)| layer == id);
        let stays = |(_, form): &&(DiffId, Descriptor)| {
            let is_compressed = form.digest != *id.digest();
            let compresses = matches!(
                packing.compression,
                Some(Compression::Gzip | Compression::Zstd)
            );
            let is_wanted = if is_compressed {
                !packing.force
            } else {
                !compresses
            };
            number < self.base && is_wanted
        };
        let mut form = match (known.filter(stays), packing.compression) {
            (Some((_, form)), _) => form.clone(),
            (_, Some(compression @ (Compression::Gzip | Compression::Zstd))) => {
                compressed(lease, id, compression, packing.level)?
            }
            _ => {
                let layer = lease.store().find_layer(id)?;
                let layer = layer.ok_or(store::Error::MissingLayer(*id))?;
                Descriptor::new(media_type::OCI_LAYER, *id.digest(), layer.size())
            }
        };
        if packing.docker_types {
            form.media_type = match form.media_type.as_str() {
                media_type::OCI_LAYER => media_type::DOCKER_LAYER,
                media_type::OCI_LAYER_GZIP => media_type::DOCKER_LAYER_GZIP,
                other => other,
            }
            .to_owned();
        }
        Ok(form)
    }
}

impl Packed {
    /// Puts the image into the store, under these names.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn put(&self, lease: &Lease, names: &[Reference]) -> Result<Image, store::Error> {
        lease.put_image(store::NewImage {
            manifest: &self.manifest,
            media_type: Some(&self.descriptor.media_type),
            config: &self.config,
            also: &[],
            names,
            by: "build",
        })
    }
}

pub(crate) fn json_bytes(value: &impl serde::Serialize) -> Vec<u8> {
    // Our own documents have nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default()
}

/// A compressed form of a layer, made now or by an earlier build; the same level gives the same bytes.
fn compressed(
    lease: &Lease,
    id: &DiffId,
    compression: Compression,
    level: Level,
) -> Result<Descriptor, PackError> {
    let mut key = Key::new("compress");
    key.define("compression", compression.name());
    key.define("level", format!("{level:?}"));
    key.part("layer", id.to_string());
    if let Some(record) = lease.find_record(&key.key())?
        && let Ok(form) = serde_json::from_value::<Descriptor>(record.output)
        && lease.claim_blobs(&[form.digest]).is_ok()
        && lease.store().blob(&form.digest)?.is_some()
    {
        return Ok(form);
    }
    let form = lease.compress_layer(id, compression, level)?;
    remember(lease, key, *id, json!(form))?;
    Ok(form)
}

/// The layer with no file newer than `epoch`: itself, if it has none.
fn clamped(lease: &Lease, id: &DiffId, epoch: i64) -> Result<DiffId, PackError> {
    let mut key = Key::new("clamp");
    key.define("epoch", epoch.to_string());
    key.part("layer", id.to_string());
    if let Some(record) = lease.find_record(&key.key())?
        && let [layer] = record.layers[..]
    {
        return Ok(layer);
    }
    let epoch = Time::from_secs(epoch);
    let read = |source| PackError::Read { layer: *id, source };
    let write = |source| PackError::Write {
        layer: *id,
        source: Box::new(source),
    };
    let layer = lease.store().find_layer(id)?;
    let layer = layer.ok_or(store::Error::MissingLayer(*id))?;
    let tar = sys::fs::open(&layer.tar()).map_err(store::Error::from)?;
    let mut reader = tar::Reader::new(std::io::BufReader::with_capacity(1 << 20, tar));
    let mut ingest = lease.ingest_layer()?;
    let mut newer = false;
    while let Some(entry) = reader.next().map_err(read)? {
        let mut meta = entry.meta;
        if meta.mtime > epoch {
            newer = true;
            meta.mtime = epoch;
        }
        ingest
            .writer()
            .append(&entry.path, &meta, &mut reader)
            .map_err(write)?;
    }
    let clamped = match newer {
        true => *ingest.publish()?.diff_id(),
        false => *id,
    };
    remember(lease, key, clamped, json!({ "layer": clamped }))?;
    Ok(clamped)
}

fn remember(
    lease: &Lease,
    key: Key,
    layer: DiffId,
    output: serde_json::Value,
) -> Result<(), store::Error> {
    lease.put_record(&Record {
        key: key.key(),
        definition: key.definition(),
        parts: key.into_parts(),
        output,
        layers: vec![layer],
        created: 0,
        last_used: 0,
    })
}
