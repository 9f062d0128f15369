//! Manifests: checked while they are on their way in, taken away with their tags.

use std::collections::HashSet;

use futures_util::{FutureExt, StreamExt};
use hyper::body::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use oci::{Digest, Repository, Tag};
use serde::{Deserialize, Serialize};

use super::super::{NewManifest, Referrer, Result, StorageError};
use super::keys::{below, flat};
use super::links::unique;
use super::{AT_ONCE, Inner, damaged, found};

/// The line in front of a manifest's bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct About {
    #[serde(rename = "type")]
    pub(super) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) referrer: Option<Referrer>,
    pub(super) pushed: u64,
}

impl Inner {
    pub(super) async fn read_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<(About, Bytes)>> {
        self.read_about(&self.keys.manifest(repository, digest))
            .await
    }

    pub(super) async fn read_about(&self, path: &Path) -> Result<Option<(About, Bytes)>> {
        let Some((bytes, _)) = self.get(path).await? else {
            return Ok(None);
        };
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| damaged(path, "it has no first line"))?;
        let about = serde_json::from_slice(&bytes[..end]).map_err(|error| damaged(path, error))?;
        Ok(Some((about, bytes.slice(end + 1..))))
    }

    pub(super) async fn check_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        stated: u64,
    ) -> Result<()> {
        match self.count_on(repository, &digest).await? {
            None => Err(StorageError::BlobUnknown(digest)),
            Some((link, _)) if link.size != stated => Err(StorageError::Size {
                digest,
                stated,
                actual: link.size,
            }),
            Some(_) => Ok(()),
        }
    }

    /// Whether everything that a manifest needs is there. After the manifest was written.
    pub(super) async fn check_needs(
        &self,
        repository: &Repository,
        new: &NewManifest,
    ) -> Result<()> {
        let blobs: HashSet<(Digest, u64)> = new.blobs.iter().copied().collect();
        let mut checks = futures_util::stream::FuturesUnordered::new();
        for (digest, stated) in blobs {
            checks.push(self.check_blob(repository, digest, stated).boxed());
            if checks.len() >= AT_ONCE {
                checks.next().await.transpose()?;
            }
        }
        while let Some(checked) = checks.next().await {
            checked?;
        }
        for digest in &new.manifests {
            let path = self.keys.manifest(repository, digest);
            if found(self.store.head(&path).await, "look at", &path)?.is_none() {
                return Err(StorageError::ManifestUnknown(*digest));
            }
        }
        Ok(())
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &Repository,
        new: &NewManifest,
    ) -> Result<()> {
        self.make(repository).await?;
        let path = self.keys.manifest(repository, &new.digest);
        let about = About {
            media_type: new.media_type.clone(),
            referrer: new.referrer.clone(),
            pushed: self.clock.now(),
        };
        let mut bytes = serde_json::to_vec(&about).map_err(|error| damaged(&path, error))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&new.bytes);
        let bytes = Bytes::from(bytes);
        // What it needs is kept from here on, though nobody sees the manifest before all of that is known to be there.
        let coming = below(&self.keys.coming(repository), &unique()?);
        self.put(&coming, bytes.clone()).await?;
        let stored = self
            .put_checked(repository, new, &path, bytes, &coming)
            .await;
        // One that stays is taken away by a collection, as that of a server that died would be.
        drop(self.delete(&coming).await);
        stored
    }

    pub(super) async fn put_checked(
        &self,
        repository: &Repository,
        new: &NewManifest,
        path: &Path,
        bytes: Bytes,
        coming: &Path,
    ) -> Result<()> {
        self.check_needs(repository, new).await?;
        // All or nothing: what cannot be set is found out before anything is.
        for tag in &new.tags {
            self.check_tag(repository, tag, &new.digest).await?;
        }
        self.put(path, bytes).await?;
        if found(self.store.head(coming).await, "look at", coming)?.is_none() {
            // A server whose clock is wrong took it for one that was left behind: what it kept may be gone.
            if let Err(error) = self.check_needs(repository, new).await {
                if !matches!(error, StorageError::Io { .. }) {
                    self.remove_manifest(repository, &new.digest).await?;
                }
                return Err(error);
            }
        }
        if let Some(referrer) = &new.referrer {
            let place = self.keys.referrers(repository, &referrer.subject);
            let path = below(&place, &flat(&new.digest));
            let descriptor =
                serde_json::to_vec(&referrer.descriptor).map_err(|error| damaged(&path, error))?;
            self.put(&path, Bytes::from(descriptor)).await?;
        }
        for tag in &new.tags {
            self.set_tag(repository, tag, &new.digest).await?;
        }
        Ok(())
    }

    /// Takes a manifest away, and the tags that name it: first, so that a server that dies in the middle leaves none
    /// behind that names nothing, and once more, for those that were set meanwhile. Whoever sets one looks afterwards
    /// whether the manifest is still there.
    pub(super) async fn remove_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<()> {
        self.require(repository).await?;
        let Some((about, _)) = self.read_manifest(repository, digest).await? else {
            return Err(StorageError::ManifestUnknown(*digest));
        };
        self.remove_tags_of(repository, digest).await?;
        if let Some(referrer) = about.referrer {
            let place = self.keys.referrers(repository, &referrer.subject);
            self.delete(&below(&place, &flat(digest))).await?;
        }
        self.delete(&self.keys.manifest(repository, digest)).await?;
        for named in self.remove_tags_of(repository, digest).await? {
            self.delete(&named).await?;
        }
        Ok(())
    }

    /// Removes tags that name a manifest, and says which objects spoke of them.
    pub(super) async fn remove_tags_of(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Path>> {
        let mut all = Vec::new();
        for meta in self.list(&self.keys.named(repository, digest)).await? {
            if let Some(Ok(tag)) = meta.location.filename().map(str::parse::<Tag>) {
                match self.remove_tag(repository, &tag, Some(digest)).await {
                    Ok(()) | Err(StorageError::TagUnknown(_) | StorageError::Changed(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            all.push(meta.location);
        }
        Ok(all)
    }
}
