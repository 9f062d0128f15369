//! Taking a tag away from a registry that deletes manifests and no tags, as those that know 1.0 of the specification only.
//!
//! Such a registry drops all tags of a manifest with it. So the tag is first made to name a manifest that nothing else
//! does, an empty one with a number of its own, and that is deleted. What the tag named before stays, and so do its other
//! tags. That it works is tried out on that manifest before the tag is touched.

use std::hash::{BuildHasher as _, Hasher as _};

use hyper::body::Bytes;
use oci::{Descriptor, Digest, Tag, media_type};

use super::error::{Error, Result};
use super::payload::Source;
use super::repository::{Fetched, Repository, Which};
use super::upload::Upload;

impl Repository {
    /// Takes a tag away by way of a manifest that takes its place. `false` if it was not there.
    ///
    /// Not at once: if this is interrupted at its very end, the tag names an image without layers.
    ///
    /// # Errors
    ///
    /// The registry does not delete manifests either: then the tag is as it was. [`Error::Answer`] if it does something else than
    /// it did a moment ago, or somebody moves the tag meanwhile.
    pub async fn untag(&self, tag: &Tag) -> Result<bool> {
        let which = Which::Tag(tag.clone());
        let Some(before) = self.find(&which).await? else {
            return Ok(false);
        };
        let (config, manifest) = stand_in();
        let descriptor = blob(media_type::OCI_CONFIG, &config);
        self.upload(&descriptor, &Source::Bytes(config), &Upload::default())
            .await?;
        let digest = Which::Digest(Digest::sha256_of(&manifest));
        let kind = media_type::OCI_MANIFEST;
        self.put_manifest(&digest, kind, manifest.clone()).await?;
        self.delete_manifest(&digest).await?;
        // From here on the tag would be lost if the manifest stayed.
        let now = self.find(&which).await?;
        if now.is_none_or(|now| now.digest != before.digest) {
            let what = format!("tag `{tag}` of `{}/{}`", self.registry(), self.name());
            return Err(Error::answer(&what, "it was moved meanwhile"));
        }
        self.put_manifest(&which, kind, manifest).await?;
        if let Err(error) = self.delete_manifest(&digest).await {
            let back = self.put_manifest(&which, &before.media_type, before.bytes);
            return Err(match back.await {
                Ok(_) => error,
                Err(_) => {
                    let what = format!("tag `{tag}` of `{}/{}`", self.registry(), self.name());
                    let why = format!(
                        "it deleted a manifest before, but not the empty one that the tag names now, nor may the tag name `{}` again",
                        before.digest
                    );
                    Error::answer(&what, why)
                }
            });
        }
        // It is small, and not every registry lets blobs go.
        self.delete_blob(&descriptor.digest).await.ok();
        Ok(true)
    }

    async fn find(&self, which: &Which) -> Result<Option<Fetched>> {
        match self.manifest(which).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn blob(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(kind, Digest::sha256_of(bytes), bytes.len() as u64)
}

/// The config and the manifest of an image without layers that is like no other.
fn stand_in() -> (Bytes, Bytes) {
    let number = || std::hash::RandomState::new().build_hasher().finish();
    let config = serde_json::json!({
        "architecture": "unknown",
        "os": "unknown",
        "rootfs": { "type": "layers", "diff_ids": [] },
        "comment": format!("{:016x}{:016x}", number(), number()),
    });
    let config = Bytes::from(config.to_string());
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": blob(media_type::OCI_CONFIG, &config),
        "layers": [],
    });
    (config, Bytes::from(manifest.to_string()))
}
