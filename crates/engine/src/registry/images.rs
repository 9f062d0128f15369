//! The image store as the storage of a registry, for its owner alone: `barque registry stdio`, which `ssh` starts.
//!
//! A repository is what a name in the store means: `alpine` is `docker.io/library/alpine` (see [`names`]). Blobs are those of the whole
//! store, since whoever speaks to this is its owner. A manifest that comes makes an image: its layers are unpacked from the
//! blobs that came before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use distribution::server::storage::{
    Collected, Collection, Content, Incoming, ManifestSummary, NewManifest, NewTag, Result,
    Storage, StorageError, StoredManifest, TagEvent, UploadId, Visible,
};
use distribution::server::{Config, Registry, serve_stream};
use http_body_util::BodyExt as _;
use oci::{Algorithm, Descriptor, Digest, Document, Index, Manifest, Reference, Repository, Tag};
use store::{BlobIngest, Expected, Lease, NewImage, NewIndex, Store};

use super::reach::Documents;
use super::{RegistryError, names};
use crate::transfer::layers;
use crate::{Engine, Error};

impl Engine {
    /// The image store as a registry's storage.
    pub(super) fn as_storage(
        &self,
        purpose: &'static str,
    ) -> std::result::Result<Images, RegistryError> {
        let lease = self.store().lease(purpose);
        Ok(Images {
            lease: lease.map_err(|error| RegistryError::Start(std::io::Error::other(error)))?,
            uploads: Mutex::default(),
            documents: Documents::default(),
        })
    }

    /// Serves the image store over stdin and stdout until stdin ends.
    ///
    /// # Errors
    ///
    /// The store cannot be used, or what comes is not the protocol.
    pub fn serve_stdio(&self) -> std::result::Result<(), RegistryError> {
        let storage = self.as_storage("serve over ssh")?;
        let registry = Arc::new(Registry::new(Arc::new(storage), Config::default()));
        let runtime = super::runtime()?;
        let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        let served = runtime.block_on(serve_stream(registry, stream));
        // A thread may still wait for more of stdin.
        runtime.shutdown_background();
        served.map_err(RegistryError::Start)
    }
}

/// The images of a store.
pub(super) struct Images {
    /// Keeps what was uploaded until a manifest needs it.
    lease: Lease,
    uploads: Mutex<BTreeMap<UploadId, BlobIngest>>,
    pub(super) documents: Documents,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Images")
    }
}

/// Something that an index lists beside images.
struct Attached {
    bytes: Vec<u8>,
    manifest: Manifest,
}

/// True for a manifest of something that cannot be a root filesystem: an attestation.
fn is_attached(manifest: &Manifest) -> bool {
    let is_layer = |layer: &Descriptor| layer.media_type.contains(".tar");
    !manifest.layers.is_empty() && !manifest.layers.iter().any(is_layer)
}

fn media_type_of(manifest: &Manifest) -> String {
    let said = manifest.media_type.as_deref();
    said.unwrap_or(oci::media_type::OCI_MANIFEST).to_owned()
}

pub(super) fn failed(verb: &'static str, error: impl ToString) -> StorageError {
    StorageError::Io {
        verb,
        place: "the image store".to_owned(),
        source: std::io::Error::other(error.to_string()),
    }
}

/// The name that a repository has in the store.
pub(super) fn name(repository: &Repository) -> Result<Reference> {
    names::reference_of(repository).ok_or(StorageError::RepositoryUnknown)
}

impl Images {
    pub(super) fn store(&self) -> &Store {
        self.lease.store()
    }

    /// Does something with an upload, which nobody else touches meanwhile.
    fn take(&self, id: UploadId) -> Result<BlobIngest> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.remove(&id).ok_or(StorageError::UploadUnknown)
    }

    fn put_back(&self, id: UploadId, upload: BlobIngest) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.insert(id, upload);
    }

    /// Something that an index lists beside images, an attestation; `None` if that is not here, or is something else.
    fn attached(&self, digest: &Digest) -> std::result::Result<Option<Attached>, store::Error> {
        let is_small = |blob: &store::Blob| blob.size() <= oci::MAX_DOCUMENT_SIZE;
        if !self.store().blob(digest)?.as_ref().is_some_and(is_small) {
            return Ok(None);
        }
        let bytes = self.store().read_blob(digest)?;
        Ok(match Document::parse(&bytes, None) {
            Ok(Document::Manifest(manifest)) if is_attached(&manifest) => Some(Attached {
                bytes,
                manifest: *manifest,
            }),
            _ => None,
        })
    }

    /// An image's manifest, an index, or what one lists beside images.
    pub(super) fn document(&self, digest: &Digest) -> Result<Option<StoredManifest>> {
        let store = self.store();
        let read = || -> std::result::Result<Option<StoredManifest>, store::Error> {
            let media_type = match (store.image(digest)?, store.index(digest)?) {
                (Some(image), _) => image.media_type,
                (None, Some(index)) => index.media_type,
                (None, None) => {
                    return Ok(self.attached(digest)?.map(|found| StoredManifest {
                        media_type: media_type_of(&found.manifest).into(),
                        bytes: found.bytes.into(),
                    }));
                }
            };
            Ok(Some(StoredManifest {
                media_type: media_type.into(),
                bytes: store.read_blob(digest)?.into(),
            }))
        };
        read().map_err(|error| failed("read a manifest of", error))
    }

    /// Names an index. What it lists beside images stays with those.
    fn put_index(
        &self,
        manifest: &NewManifest,
        index: &Index,
        names: &[Reference],
    ) -> std::result::Result<(), Error> {
        let mut also = Vec::new();
        for entry in &index.manifests {
            if self.store().image(&entry.digest)?.is_none()
                && let Some(attached) = self.attached(&entry.digest)?
            {
                also.extend(attached.manifest.layers.iter().map(|layer| layer.digest));
                also.extend([attached.manifest.config.digest, entry.digest]);
            }
        }
        self.lease.claim_blobs(&also)?;
        self.lease.put_index(NewIndex {
            bytes: &manifest.bytes,
            media_type: Some(&manifest.media_type),
            names,
            also: &also,
            by: "push",
        })?;
        Ok(())
    }

    /// Makes an image of a manifest and the blobs that came.
    fn put_image(
        &self,
        manifest: &NewManifest,
        names: &[Reference],
    ) -> std::result::Result<(), Error> {
        let document = Document::parse(&manifest.bytes, Some(&manifest.media_type));
        let document = document.map_err(|source| store::Error::Document {
            what: "manifest",
            source,
        })?;
        let parsed = match document {
            Document::Manifest(parsed) => parsed,
            Document::Index(index) => return self.put_index(manifest, &index, names),
        };
        if manifest.tags.is_empty() && is_attached(&parsed) {
            // It is no image. The index that lists it comes next.
            self.lease.put_blob(&manifest.bytes)?;
            return Ok(());
        }
        let config = self.store().read_blob(&parsed.config.digest)?;
        let image: oci::ImageConfig =
            serde_json::from_slice(&config).map_err(|source| store::Error::Document {
                what: "config",
                source: source.into(),
            })?;
        for (descriptor, diff_id) in parsed.layers.iter().zip(&image.rootfs.diff_ids) {
            if layers::is_known(&self.lease, descriptor, diff_id)? {
                continue;
            }
            let blob = self
                .store()
                .blob(&descriptor.digest)?
                .ok_or(store::Error::MissingBlob(descriptor.digest))?;
            layers::bring_stream(&self.lease, blob.open()?, descriptor, diff_id, None)?;
        }
        self.lease.put_image(NewImage {
            manifest: &manifest.bytes,
            media_type: Some(&manifest.media_type),
            config: &config,
            also: &[],
            names,
            by: "push",
        })?;
        Ok(())
    }
}

#[async_trait]
impl Storage for Images {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>> {
        let images = self
            .store()
            .images()
            .map_err(|error| failed("list", error))?;
        let names: BTreeSet<Repository> = images
            .iter()
            .flat_map(|image| &image.names)
            .filter_map(names::repository_of)
            .collect();
        let behind = names
            .into_iter()
            .filter(|name| after.is_none_or(|after| name.as_str() > after));
        Ok(behind.take(limit).collect())
    }

    async fn blob(&self, _: &Repository, digest: &Digest) -> Result<Option<u64>> {
        let found = self
            .store()
            .blob(digest)
            .map_err(|error| failed("find a blob in", error))?;
        Ok(found.map(|blob| blob.size()))
    }

    async fn open_blob(
        &self,
        _: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Content> {
        let found = self
            .store()
            .blob(digest)
            .map_err(|error| failed("find a blob in", error))?;
        let blob = found.ok_or(StorageError::BlobUnknown(*digest))?;
        let file = blob
            .open()
            .map_err(|error| failed("read a blob of", error))?;
        Ok(Content::File(Arc::new(file), range))
    }

    async fn mount(
        &self,
        _: &Repository,
        digest: &Digest,
        _: Option<&Repository>,
        _: Visible<'_>,
    ) -> Result<bool> {
        Ok(self.lease.claim_blobs(&[*digest]).is_ok())
    }

    async fn remove_blob(&self, _: &Repository, _: &Digest) -> Result<()> {
        Err(StorageError::ReadOnly)
    }

    async fn start_upload(&self, _: &Repository, algorithm: Algorithm) -> Result<UploadId> {
        if algorithm != Algorithm::Sha256 {
            return Err(failed(
                "write to",
                "the image store hashes with sha256 only",
            ));
        }
        let id = UploadId::random().map_err(|error| failed("write to", error))?;
        let upload = self.lease.ingest_blob(Expected::default());
        self.put_back(id, upload.map_err(|error| failed("write to", error))?);
        Ok(id)
    }

    async fn upload(&self, _: &Repository, id: UploadId) -> Result<u64> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = uploads.get(&id).ok_or(StorageError::UploadUnknown)?;
        Ok(upload.written())
    }

    async fn append(
        &self,
        _: &Repository,
        id: UploadId,
        at: Option<u64>,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<u64> {
        let mut upload = self.take(id)?;
        let received = upload.written();
        if at.is_some_and(|at| at != received) {
            self.put_back(id, upload);
            return Err(StorageError::Offset { received });
        }
        let ended = loop {
            match body.frame().await {
                None => break Ok(upload.written()),
                Some(Err(error)) => break Err(StorageError::Interrupted(error)),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if upload.written() + data.len() as u64 > limit {
                        break Err(StorageError::TooLarge(limit));
                    }
                    // Other uploads go on meanwhile.
                    let written = tokio::task::block_in_place(|| upload.write_all(&data));
                    if let Err(error) = written {
                        break Err(failed("write to", error));
                    }
                }
            }
        };
        self.put_back(id, upload);
        ended
    }

    async fn finish_upload(&self, _: &Repository, id: UploadId, digest: &Digest) -> Result<u64> {
        let upload = self.take(id)?;
        let blob = upload
            .publish()
            .map_err(|error| failed("write to", error))?;
        if blob.digest() == digest {
            return Ok(blob.size());
        }
        // Nothing names it, so it goes with the lease.
        Err(StorageError::Digest {
            expected: Box::new(*digest),
            found: Box::new(*blob.digest()),
        })
    }

    async fn cancel_upload(&self, _: &Repository, id: UploadId) -> Result<()> {
        self.take(id).map(drop)
    }

    async fn manifest(&self, _: &Repository, digest: &Digest) -> Result<Option<StoredManifest>> {
        self.document(digest)
    }

    async fn put_manifest(&self, repository: &Repository, manifest: NewManifest) -> Result<()> {
        let name = name(repository)?;
        let mut names = vec![name.with_digest(manifest.digest)];
        names.extend(
            manifest
                .tags
                .iter()
                .map(|new| name.with_tag(new.tag.clone())),
        );
        let put = tokio::task::block_in_place(|| self.put_image(&manifest, &names));
        put.map_err(|error| failed("put an image into", error))
    }

    async fn remove_manifest(&self, _: &Repository, digest: &Digest) -> Result<()> {
        let removed = self.store().remove_image(&digest.to_string(), false);
        removed
            .map(drop)
            .map_err(|error| failed("remove an image from", error))
    }

    async fn manifests(&self, repository: &Repository) -> Result<Vec<ManifestSummary>> {
        let name = name(repository)?.name();
        let images = self
            .store()
            .images()
            .map_err(|error| failed("list", error))?;
        let ours = images
            .iter()
            .filter(|image| image.names.iter().any(|found| found.name() == name));
        Ok(ours
            .map(|image| ManifestSummary {
                digest: image.digest,
                pushed: u64::try_from(image.added).unwrap_or(0),
                subject: None,
                pulled: 0,
            })
            .collect())
    }

    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        let named = self.store().named(&name(repository)?.with_tag(tag.clone()));
        named.map_err(|error| failed("find a name in", error))
    }

    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        let name = name(repository)?.name();
        let images = self
            .store()
            .images()
            .map_err(|error| failed("list", error))?;
        let tags: BTreeSet<Tag> = images
            .iter()
            .flat_map(|image| image.names.iter().chain(&image.shared))
            .filter(|found| found.name() == name)
            .filter_map(|found| found.tag().cloned())
            .collect();
        if tags.is_empty() {
            return Err(StorageError::RepositoryUnknown);
        }
        let behind = tags
            .into_iter()
            .filter(|tag| after.is_none_or(|after| tag.as_str() > after));
        Ok(behind.take(limit).collect())
    }

    async fn set_tag(&self, repository: &Repository, tag: NewTag, digest: &Digest) -> Result<()> {
        let name = name(repository)?.with_tag(tag.tag);
        let named = self.store().name(&name, digest, "push");
        named
            .map(drop)
            .map_err(|error| failed("name an image in", error))
    }

    async fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        _: Option<&Digest>,
    ) -> Result<()> {
        let name = name(repository)?.with_tag(tag.clone());
        match self.store().unname(&name, "push") {
            Ok(true) => Ok(()),
            Ok(false) => Err(StorageError::TagUnknown(tag.clone())),
            Err(error) => Err(failed("change a name in", error)),
        }
    }

    async fn tag_history(&self, repository: &Repository, tag: &Tag) -> Result<Vec<TagEvent>> {
        let name = name(repository)?.with_tag(tag.clone());
        let past = self.store().name_events(&name);
        let past = past.map_err(|error| failed("read the past of a name in", error))?;
        let event = |event: store::NameEvent| TagEvent {
            at: u64::try_from(event.at).unwrap_or(0),
            digest: event.image,
        };
        Ok(past.into_iter().rev().map(event).collect())
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        Ok(self.reach(repository)?.referrers(subject))
    }

    async fn collect(&self, _: &Collection) -> Result<Collected> {
        Ok(Collected::default())
    }

    async fn usage(&self, _: &Repository) -> Result<u64> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests;
