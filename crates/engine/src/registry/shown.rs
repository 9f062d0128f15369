//! The image store as others may see it: `barque registry serve --images`.
//!
//! Nothing can be written. What a repository holds is what its names lead to ([`Reach`](super::reach::Reach)), however
//! much else is in the store: rules by repository mean something.

use std::ops::Range;

use async_trait::async_trait;
use distribution::server::storage::{
    Collected, Collection, Content, Incoming, ManifestSummary, NewManifest, NewTag, Result,
    Storage, StorageError, StoredManifest, TagEvent, UploadId, Visible,
};
use oci::{Algorithm, Descriptor, Digest, Repository, Tag};

use super::images::Images;

/// The images of a store, to be read.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Images);

#[async_trait]
impl Storage for Shown {
    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>> {
        self.0.repositories(after, limit).await
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        if !self.0.reach(repository)?.has_blob(digest) {
            return Ok(None);
        }
        self.0.blob(repository, digest).await
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Content> {
        if !self.0.reach(repository)?.has_blob(digest) {
            return Err(StorageError::BlobUnknown(*digest));
        }
        self.0.open_blob(repository, digest, range).await
    }

    async fn mount(
        &self,
        _: &Repository,
        _: &Digest,
        _: Option<&Repository>,
        _: Visible<'_>,
    ) -> Result<bool> {
        Err(StorageError::ReadOnly)
    }

    async fn remove_blob(&self, _: &Repository, _: &Digest) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn start_upload(&self, _: &Repository, _: Algorithm) -> Result<UploadId> {
        Err(StorageError::ReadOnly)
    }

    async fn upload(&self, _: &Repository, _: UploadId) -> Result<u64> {
        Err(StorageError::UploadUnknown)
    }

    async fn append(
        &self,
        _: &Repository,
        _: UploadId,
        _: Option<u64>,
        _: Incoming<'_>,
        _: u64,
    ) -> Result<u64> {
        Err(StorageError::ReadOnly)
    }

    async fn finish_upload(&self, _: &Repository, _: UploadId, _: &Digest) -> Result<u64> {
        Err(StorageError::ReadOnly)
    }

    async fn cancel_upload(&self, _: &Repository, _: UploadId) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>> {
        if !self.0.reach(repository)?.has_manifest(digest) {
            return Ok(None);
        }
        self.0.manifest(repository, digest).await
    }

    async fn put_manifest(&self, _: &Repository, _: NewManifest) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn remove_manifest(&self, _: &Repository, _: &Digest) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn manifests(&self, repository: &Repository) -> Result<Vec<ManifestSummary>> {
        self.0.manifests(repository).await
    }

    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        self.0.tag(repository, tag).await
    }

    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        self.0.tags(repository, after, limit).await
    }

    async fn set_tag(&self, _: &Repository, _: NewTag, _: &Digest) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn remove_tag(&self, _: &Repository, _: &Tag, _: Option<&Digest>) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn tag_history(&self, repository: &Repository, tag: &Tag) -> Result<Vec<TagEvent>> {
        self.0.tag_history(repository, tag).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        self.0.referrers(repository, subject).await
    }

    async fn collect(&self, what: &Collection) -> Result<Collected> {
        self.0.collect(what).await
    }

    async fn usage(&self, repository: &Repository) -> Result<u64> {
        self.0.usage(repository).await
    }
}
