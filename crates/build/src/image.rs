//! The image of a build: config, manifest, and what other tools are told about it.

use oci::{Descriptor, DiffId, Digest, Document, HistoryEntry, ImageConfig, RootFs, media_type};
use serde_json::{Value, json};
use store::{Image, Lease};

use crate::pack::Solved;
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
        metadata(&self.descriptor, Some(self.image.id.digest()), &self.names)
    }
}

/// What `docker buildx build --metadata-file` tells of an image, or of an index, which has no config.
#[must_use]
pub fn metadata(descriptor: &Descriptor, config: Option<&Digest>, names: &[String]) -> Value {
    let mut metadata = json!({
        "containerimage.descriptor": descriptor,
        "containerimage.digest": descriptor.digest,
    });
    if let Some(fields) = metadata.as_object_mut() {
        if let Some(config) = config {
            fields.insert("containerimage.config.digest".to_owned(), json!(config));
        }
        if !names.is_empty() {
            fields.insert("image.name".to_owned(), names.join(",").into());
        }
    }
    metadata
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

/// How many layers come from the image at the bottom.
fn base_count(graph: &Graph) -> usize {
    let mut at = graph.result.top;
    while let Some(step) = at {
        if let Work::Image(image) = &graph.steps[step].work {
            return image.layers.len();
        }
        at = graph.steps[step].base;
    }
    0
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
    if store.blob(&image.digest)?.is_none() {
        return Ok(Vec::new());
    }
    let bytes = store.read_blob(&image.digest)?;
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else {
        return Ok(Vec::new());
    };
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

/// What a solved graph gives.
pub(crate) fn solved(
    graph: &Graph,
    made: &[Made],
    request: &Request,
    epoch: Option<i64>,
    lease: &Lease,
) -> Result<Solved, store::Error> {
    Ok(Solved {
        config: config(graph, made, request, epoch),
        base: base_count(graph),
        known: base_layers(graph, lease)?,
        epoch,
    })
}
