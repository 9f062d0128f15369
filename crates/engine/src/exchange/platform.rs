//! From a reference to the one image that is meant: indexes, platforms, documents.

use distribution::client::{Bytes, Fetched, Repository, Which};
use oci::{Algorithm, Descriptor, Digest, Document, ImageConfig, Manifest, Platform, media_type};

use super::ExchangeError;
use crate::Error;
use crate::transfer::platform;

/// Most indexes below each other.
const MAX_DEPTH: usize = 4;

/// Most layers of one image: eight times what Docker makes.
const MAX_LAYERS: usize = 1000;

/// An image's documents, fetched and consistent.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What the reference named: the image's manifest or an index.
    pub(crate) named: Fetched,
    /// The indexes that led to the image.
    pub(crate) indexes: Vec<Bytes>,
    /// The image's manifest.
    pub(crate) fetched: Fetched,
    /// What it says.
    pub(crate) manifest: Manifest,
}

impl Found {
    /// What the store knows the image by, whatever algorithm its registry uses.
    pub(crate) fn stored_as(&self) -> Digest {
        match self.fetched.digest.algorithm() {
            Algorithm::Sha256 => self.fetched.digest,
            Algorithm::Sha512 => Digest::sha256_of(&self.fetched.bytes),
        }
    }
}

/// Finds the image for `wanted` under a name; `shown` is that name for messages. Without a wish it is this machine's, and
/// an image that is the only one is taken as it is.
pub(crate) async fn find(
    repository: &Repository,
    which: &Which,
    wanted: Option<&Platform>,
    shown: &str,
) -> Result<Found, Error> {
    let named = repository.manifest(which).await?;
    let mut fetched = named.clone();
    let mut indexes = Vec::new();
    loop {
        let what = format!("manifest `{}` of `{shown}`", fetched.digest);
        match fetched.document(&what)? {
            Document::Manifest(manifest) => {
                check(&manifest, shown)?;
                return Ok(Found {
                    named,
                    indexes,
                    fetched,
                    manifest: *manifest,
                });
            }
            Document::Index(_) if indexes.len() >= MAX_DEPTH => {
                return Err(image_error(
                    shown,
                    "its indexes lead to indexes without end",
                ));
            }
            Document::Index(index) => {
                let entry = pick(&index.manifests, wanted, shown)?;
                let next = fetch_entry(repository, entry).await?;
                indexes.push(fetched.bytes);
                fetched = next;
            }
        }
    }
}

/// Fetches what an entry of an index names. The entry's type and size must be true.
pub(crate) async fn fetch_entry(
    repository: &Repository,
    entry: &Descriptor,
) -> Result<Fetched, Error> {
    let mut fetched = repository.manifest(&Which::Digest(entry.digest)).await?;
    if fetched.bytes.len() as u64 != entry.size {
        return Err(distribution::client::Error::Size {
            digest: entry.digest,
            expected: entry.size,
            found: fetched.bytes.len() as u64,
        }
        .into());
    }
    // What led here is hashed, what a server says in a header is not.
    fetched.media_type.clone_from(&entry.media_type);
    Ok(fetched)
}

/// The entry for the wanted platform, or for this machine.
pub(crate) fn pick<'i>(
    entries: &'i [Descriptor],
    wanted: Option<&Platform>,
    shown: &str,
) -> Result<&'i Descriptor, Error> {
    let images = platform::images(entries);
    if let [only] = images[..]
        && (wanted.is_none() || only.platform.is_none())
    {
        return Ok(only);
    }
    let host = Platform::host();
    let wanted = wanted.unwrap_or(&host);
    platform::choose(images.iter().copied(), wanted).ok_or_else(|| {
        ExchangeError::Platform {
            image: shown.to_owned(),
            wanted: wanted.with_version(),
            here: images
                .iter()
                .filter_map(|entry| entry.platform.as_ref())
                .map(Platform::with_version)
                .collect(),
        }
        .into()
    })
}

fn check(manifest: &Manifest, shown: &str) -> Result<(), Error> {
    let kind = manifest.config.media_type.as_str();
    if !matches!(kind, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
        let kind = manifest.artifact_type.as_deref().unwrap_or(kind);
        let kind: String = kind.chars().take(140).collect();
        return Err(ExchangeError::NotAnImage {
            image: shown.to_owned(),
            what: format!("an artifact of type `{kind}`"),
        }
        .into());
    }
    let secret = |layer: &Descriptor| layer.media_type.ends_with("+encrypted");
    if manifest.layers.iter().any(secret) {
        return Err(image_error(
            shown,
            "its layers are encrypted, which is not supported",
        ));
    }
    if manifest.layers.len() > MAX_LAYERS {
        let why = format!(
            "it has {} layers; {MAX_LAYERS} are allowed",
            manifest.layers.len()
        );
        return Err(image_error(shown, &why));
    }
    Ok(())
}

/// Fetches and reads the config of an image; it must name as many layers as the manifest.
pub(crate) async fn config(
    repository: &Repository,
    manifest: &Manifest,
    shown: &str,
) -> Result<(Bytes, ImageConfig), Error> {
    let bytes = repository.document_blob(&manifest.config).await?;
    let config: ImageConfig = serde_json::from_slice(&bytes)
        .map_err(|error| image_error(shown, &format!("its config is malformed: {error}")))?;
    let (named, listed) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    if named != listed {
        let why = format!("its manifest lists {listed} layers, its config {named}");
        return Err(image_error(shown, &why));
    }
    Ok((bytes, config))
}

pub(crate) fn image_error(shown: &str, why: &str) -> Error {
    ExchangeError::Image {
        image: shown.to_owned(),
        why: why.to_owned(),
    }
    .into()
}
