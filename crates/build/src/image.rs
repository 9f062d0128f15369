//! The image of a build: config, manifest, and what other tools are told about it.

use oci::{Descriptor, DiffId, HistoryEntry, ImageConfig, Manifest, RootFs, media_type};
use serde_json::{Value, json};
use store::{Image, Lease};

use crate::plan::graph::{Graph, Work};
use crate::request::Request;
use crate::solve::Made;
use crate::time::rfc3339;

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The image, which is in the store.
    pub image: Image,
    /// Names its manifest, as a registry or an index would.
    pub descriptor: Descriptor,
    /// The names that the request asked for.
    pub names: Vec<String>,
}

impl Built {
    /// The content of `--iidfile`: the image's id.
    #[must_use]
    pub fn iid(&self) -> String {
        self.image.id.to_string()
    }

    /// The content of `--metadata-file`, as `docker buildx build` writes it.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let descriptor = json!({
            "mediaType": self.descriptor.media_type,
            "digest": self.descriptor.digest,
            "size": self.descriptor.size,
            "platform": self.descriptor.platform,
        });
        let mut metadata = json!({
            "containerimage.config.digest": self.image.id,
            "containerimage.descriptor": descriptor,
            "containerimage.digest": self.descriptor.digest,
        });
        if !self.names.is_empty()
            && let Some(fields) = metadata.as_object_mut()
        {
            fields.insert("image.name".to_owned(), self.names.join(",").into());
        }
        metadata
    }
}

/// The config of the image: what the plan says, with layers and times.
fn config(graph: &Graph, made: &[Made], request: &Request, epoch: Option<i64>) -> ImageConfig {
    let result = &graph.result;
    let mut config = result.config.clone();
    let layers = result
        .top
        .map_or_else(Vec::new, |top| made[top].layers.clone());
    config.rootfs = RootFs {
        diff_ids: layers,
        ..RootFs::default()
    };
    let mut history: Vec<HistoryEntry> = Vec::with_capacity(result.history.len());
    for planned in &result.history {
        let created = planned.step.and_then(|step| made[step].created.clone());
        history.push(HistoryEntry {
            created,
            ..planned.entry.clone()
        });
    }
    let now = || {
        let (secs, nanos) = epoch.map_or(request.now, |epoch| (epoch, 0));
        rfc3339(secs, nanos)
    };
    if epoch.is_some() {
        for entry in &mut history {
            entry.created = Some(now());
        }
    } else {
        date(
            &mut history,
            config
                .history
                .last()
                .and_then(|entry| entry.created.clone()),
        );
    }
    let last = history.iter().rev().find_map(|entry| entry.created.clone());
    config.history.append(&mut history);
    config.created = Some(last.unwrap_or_else(now));
    config
}

/// Gives entries without a layer a time: that of the layer before them, or of the first after.
///
/// They have none of their own, so that a build that finds all layers in the cache gives the same image as the last one.
fn date(history: &mut [HistoryEntry], base: Option<String>) {
    let first = history.iter().find_map(|entry| entry.created.clone());
    let mut time = first.or(base);
    for entry in history {
        match &entry.created {
            Some(created) => time = Some(created.clone()),
            None => entry.created.clone_from(&time),
        }
    }
}

/// Descriptors of the layers of the base, which may be compressed and known to a registry in that form.
fn base_layers(graph: &Graph, lease: &Lease) -> Result<Vec<(DiffId, Descriptor)>, store::Error> {
    let mut at = graph.result.top;
    while let Some(step) = at {
        if let Work::Image(image) = &graph.steps[step].work {
            return descriptors(image, lease);
        }
        at = graph.steps[step].base;
    }
    Ok(Vec::new())
}

fn descriptors(
    image: &crate::plan::graph::ImageStep,
    lease: &Lease,
) -> Result<Vec<(DiffId, Descriptor)>, store::Error> {
    let store = lease.store();
    let Some(found) = store.image(&image.digest)? else {
        return Ok(Vec::new());
    };
    let manifest = store.manifest(&found)?;
    let mut known = Vec::new();
    for (layer, mut descriptor) in image.layers.iter().zip(manifest.layers) {
        let Some(kind) = oci_type(&descriptor.media_type) else {
            continue;
        };
        kind.clone_into(&mut descriptor.media_type);
        if descriptor.digest == *layer.digest() || lease.claim_blobs(&[descriptor.digest]).is_ok() {
            known.push((*layer, descriptor));
        }
    }
    Ok(known)
}

/// The OCI name of a layer's media type, whatever family it is of.
fn oci_type(kind: &str) -> Option<&'static str> {
    Some(match kind {
        media_type::OCI_LAYER | media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        media_type::OCI_LAYER_ZSTD => media_type::OCI_LAYER_ZSTD,
        _ => return None,
    })
}

fn json_bytes(value: &impl serde::Serialize) -> Vec<u8> {
    // Our own documents have nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Puts the image of a solved graph into the store.
pub(crate) fn export(
    graph: &Graph,
    made: &[Made],
    request: &Request,
    epoch: Option<i64>,
    lease: &Lease,
) -> Result<Built, store::Error> {
    let config = config(graph, made, request, epoch);
    let known = base_layers(graph, lease)?;
    let mut layers = Vec::with_capacity(config.rootfs.diff_ids.len());
    for (number, id) in config.rootfs.diff_ids.iter().enumerate() {
        let base = known
            .iter()
            .find(|(layer, _)| layer == id && number < known.len());
        layers.push(match base {
            Some((_, descriptor)) => descriptor.clone(),
            None => {
                let layer = lease
                    .store()
                    .find_layer(id)?
                    .ok_or(store::Error::MissingLayer(*id))?;
                Descriptor::new(media_type::OCI_LAYER, *id.digest(), layer.size())
            }
        });
    }
    let config_bytes = json_bytes(&config);
    let descriptor = Descriptor::new(
        media_type::OCI_CONFIG,
        oci::Digest::sha256_of(&config_bytes),
        config_bytes.len() as u64,
    );
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: descriptor,
        layers,
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let manifest = json_bytes(&manifest);
    let image = lease.put_image(store::NewImage {
        manifest: &manifest,
        media_type: Some(media_type::OCI_MANIFEST),
        config: &config_bytes,
        also: &[],
        names: &request.tags,
        by: "build",
    })?;
    let mut descriptor = Descriptor::new(
        media_type::OCI_MANIFEST,
        image.digest,
        manifest.len() as u64,
    );
    descriptor.platform = Some(config.platform());
    Ok(Built {
        image,
        descriptor,
        names: request.tags.iter().map(ToString::to_string).collect(),
    })
}
