//! A bucket of an S3-compatible object store, which any number of servers share without knowing of each other.
//!
//! Nothing is locked and little is overwritten. That makes it safe without a coordinator:
//!
//! - Whatever says that something is in use is an object with a name that is never used twice. To take something away,
//!   a collection first puts an object beside it that condemns it, then looks once more whether anything needs it, and
//!   only then deletes. Whoever begins to count on something writes that down first and then looks whether it is
//!   condemned. One of the two sees the other; what is condemned never comes back, it is made anew under another name.
//! - Tags are the only objects that change: with the condition that they are what they were when they were read.
//!
//! It needs a store that shows in listings and reads what was written before (as S3 does since 2020), and conditional
//! writes (`If-Match`, `If-None-Match`); without those, one server at a time (see `conditions`).

mod collect;
mod conditions;
mod keys;
mod links;
mod manifests;
mod pulls;
mod tags;
mod transport;
mod uploads;

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use hyper::body::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    BackoffConfig, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, UpdateVersion,
};
use oci::{Algorithm, Descriptor, Digest, Repository, Tag};

use super::{
    Clock, Collected, Collection, Content, Incoming, ManifestSummary, NewManifest, NewTag, Result,
    Storage, StorageError, StoredManifest, TagEvent, UploadId, Visible,
};
use conditions::Conditions;
use keys::{Keys, Link, unflat};
use links::unique;

/// A blob that nobody asked for within this time is noted anew when somebody does, in seconds.
const TOUCH_STEP: u64 = 600;

/// Requests that are under way together for one of ours.
const AT_ONCE: usize = 16;

/// How often a blob is looked for whose content is not where it was a moment ago.
const LOOKS: u32 = 5;

/// How long a URL is good that sends a client to the object store itself.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// Where a bucket is.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// `https://HOST[:PORT]`; without it, Amazon's.
    pub endpoint: Option<String>,
    /// The bucket's name.
    pub name: String,
    /// The region that signatures name.
    pub region: String,
    /// What the names of all objects begin with.
    pub prefix: String,
    /// The name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: crate::client::Secret,
    /// Whether clients are sent to the object store for blobs.
    pub redirect: bool,
    /// How it is reached.
    pub proxies: crate::client::Proxies,
}

/// What is asked of an object store: S3's, or one of a test that fails as it is told to.
pub trait Store: ObjectStore + MultipartStore + Signer {}

impl<S: ObjectStore + MultipartStore + Signer> Store for S {}

/// A bucket. Clones share it.
#[derive(Debug, Clone)]
pub struct Object(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    keys: Keys,
    clock: Clock,
    redirect: bool,
    conditions: Conditions,
    /// Which pulls were noted, and when.
    noted: Mutex<HashMap<(Repository, Digest), u64>>,
    /// Notes of pulls that are under way.
    noting: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

/// An error of the object store, with what was tried on what.
fn failed(verb: &'static str, path: &Path) -> impl FnOnce(object_store::Error) -> StorageError {
    let place = path.to_string();
    move |error| {
        // The others are about names, rights and conditions; this is a store that is busy, slow or gone.
        let kind = match &error {
            object_store::Error::Generic { .. } => io::ErrorKind::HostUnreachable,
            _ => io::ErrorKind::Other,
        };
        StorageError::Io {
            verb,
            place,
            source: io::Error::new(kind, error),
        }
    }
}

fn damaged(path: &Path, why: impl ToString) -> StorageError {
    StorageError::Corrupt {
        place: path.to_string(),
        why: why.to_string(),
    }
}

/// Nothing there is not an error.
fn found<T>(result: object_store::Result<T>, verb: &'static str, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(verb, path)(error)),
    }
}

impl Object {
    /// Opens a bucket. It is not looked at before it is needed.
    ///
    /// # Errors
    ///
    /// The bucket's description makes no sense.
    pub fn open(bucket: &Bucket, clock: Clock) -> Result<Self> {
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(transport::Connector::new(bucket.proxies.clone())?)
            .with_retry(patience())
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region)
            .with_access_key_id(&bucket.access_key)
            .with_secret_access_key(bucket.secret_key.reveal());
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        let prefix = Path::parse(&bucket.prefix)
            .map_err(|error| damaged(&Path::from(bucket.prefix.as_str()), error))?;
        let store = builder.build().map_err(failed("use the bucket", &prefix))?;
        Ok(Self::over(Arc::new(store), prefix, clock, bucket.redirect))
    }

    /// Works over a store that is there already.
    #[must_use]
    pub fn over(store: Arc<dyn Store>, prefix: Path, clock: Clock, redirect: bool) -> Self {
        Self(Arc::new(Inner {
            store,
            keys: Keys(prefix),
            clock,
            redirect,
            conditions: Conditions::default(),
            noted: Mutex::default(),
            noting: Mutex::default(),
        }))
    }
}

/// How often a request that fails is tried anew: as long as the client that waits for it still does, and no longer than it
/// takes to say that the store is gone.
fn patience() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 6,
        retry_timeout: Duration::from_secs(30),
    }
}

impl Inner {
    async fn put(&self, path: &Path, bytes: impl Into<PutPayload>) -> Result<()> {
        self.store
            .put(path, bytes.into())
            .await
            .map_err(failed("write", path))?;
        Ok(())
    }

    /// The bytes of a small object, and which version of it they are.
    async fn get(&self, path: &Path) -> Result<Option<(Bytes, UpdateVersion)>> {
        let Some(got) = found(self.store.get(path).await, "read", path)? else {
            return Ok(None);
        };
        let version = UpdateVersion {
            e_tag: got.meta.e_tag.clone(),
            version: got.meta.version.clone(),
        };
        let bytes = got.bytes().await.map_err(failed("read", path))?;
        Ok(Some((bytes, version)))
    }

    async fn delete(&self, path: &Path) -> Result<()> {
        found(self.store.delete(path).await, "delete", path)?;
        Ok(())
    }

    /// All objects below a place, in the order of their names.
    async fn list(&self, place: &Path) -> Result<Vec<ObjectMeta>> {
        self.store
            .list(Some(place))
            .try_collect()
            .await
            .map_err(failed("list", place))
    }

    /// The names of those directly below a place after `after`, at most `limit`.
    async fn names_after(
        &self,
        place: &Path,
        after: Option<&Path>,
        limit: usize,
    ) -> Result<Vec<Path>> {
        let listing = match after {
            Some(after) => self.store.list_with_offset(Some(place), after),
            None => self.store.list(Some(place)),
        };
        listing
            .map_ok(|meta| meta.location)
            .take(limit)
            .try_collect()
            .await
            .map_err(failed("list", place))
    }

    async fn exists(&self, repository: &Repository) -> Result<bool> {
        let path = self.keys.repository(repository);
        Ok(found(self.store.head(&path).await, "look at", &path)?.is_some())
    }

    async fn require(&self, repository: &Repository) -> Result<()> {
        if self.exists(repository).await? {
            return Ok(());
        }
        Err(StorageError::RepositoryUnknown)
    }

    async fn make(&self, repository: &Repository) -> Result<()> {
        if self.exists(repository).await? {
            return Ok(());
        }
        self.put(&self.keys.repository(repository), Bytes::new())
            .await
    }
}

#[async_trait]
impl Storage for Object {
    async fn check(&self) -> Result<()> {
        let path = self.0.keys.probe(&unique()?);
        self.0.put(&path, Bytes::new()).await?;
        self.0.delete(&path).await
    }

    async fn has_order(&self) -> Result<bool> {
        self.0.heeds_conditions().await
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>> {
        let after = after.map(|after| self.0.keys.catalog_place(after));
        let place = self.0.keys.catalog();
        let names = self.0.names_after(&place, after.as_ref(), limit).await?;
        Ok(names.iter().filter_map(keys::repository_of).collect())
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        let Some((link, touched)) = self.0.count_on(repository, digest).await? else {
            return Ok(None);
        };
        if self.0.clock.now() > touched.saturating_add(TOUCH_STEP) {
            // If its content is condemned at this moment, the link that is there saves it all the same.
            self.0.link(repository, digest, &link).await?;
        }
        Ok(Some(link.size))
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Content> {
        let place = self.0.keys.held(repository, digest);
        for _ in 0..LOOKS {
            let Some(link) = self.0.any_link(&place).await? else {
                break;
            };
            if let Some(content) = self.0.open_content(&link, range.clone()).await? {
                return Ok(content);
            }
            // Between the two requests a collection took it, and somebody may have pushed it again.
        }
        Err(StorageError::BlobUnknown(*digest))
    }

    async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: Option<&Repository>,
        visible: Visible<'_>,
    ) -> Result<bool> {
        let candidates = match from {
            Some(from) => vec![from.clone()],
            // Nowhere at all is soon known.
            None if self.0.live(&self.0.keys.blob(digest)).await?.is_none() => return Ok(false),
            None => self.repositories(None, usize::MAX).await?,
        };
        for candidate in candidates.iter().filter(|candidate| visible(candidate)) {
            let place = self.0.keys.held(candidate, digest);
            if let Some((link, _)) = self.0.live(&place).await? {
                return self.0.link(repository, digest, &link).await;
            }
        }
        Ok(false)
    }

    async fn remove_blob(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        self.0.require(repository).await?;
        let links = self.0.list(&self.0.keys.held(repository, digest)).await?;
        if links.is_empty() {
            return Err(StorageError::BlobUnknown(*digest));
        }
        for link in links {
            self.0.delete(&link.location).await?;
        }
        Ok(())
    }

    async fn start_upload(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        self.0.start_upload(repository, algorithm).await
    }

    async fn upload(&self, repository: &Repository, id: UploadId) -> Result<u64> {
        Ok(self.0.upload(repository, id).await?.0.received)
    }

    async fn append(
        &self,
        repository: &Repository,
        id: UploadId,
        at: Option<u64>,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<u64> {
        self.0.append(repository, id, at, body, limit).await
    }

    async fn finish_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<u64> {
        self.0.finish_upload(repository, id, digest).await
    }

    async fn cancel_upload(&self, repository: &Repository, id: UploadId) -> Result<()> {
        let (upload, _) = self.0.upload(repository, id).await?;
        self.0.forget_upload(id, &upload).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>> {
        let read = self.0.read_manifest(repository, digest).await?;
        Ok(read.map(|(about, bytes)| StoredManifest {
            media_type: about.media_type.into(),
            bytes,
        }))
    }

    async fn note_pull(&self, repository: &Repository, digest: &Digest) {
        self.0.note_pull(repository, digest);
    }

    async fn put_manifest(&self, repository: &Repository, manifest: NewManifest) -> Result<()> {
        self.0.put_manifest(repository, &manifest).await
    }

    async fn remove_manifest(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        self.0.remove_manifest(repository, digest).await
    }

    async fn manifests(&self, repository: &Repository) -> Result<Vec<ManifestSummary>> {
        self.0.require(repository).await?;
        let mut all = Vec::new();
        let pulls = self.0.pulls(repository).await?;
        for meta in self.0.list(&self.0.keys.manifests(repository)).await? {
            let Some(digest) = meta.location.filename().and_then(unflat) else {
                continue;
            };
            if let Some((about, _)) = self.0.read_manifest(repository, &digest).await? {
                all.push(ManifestSummary {
                    digest,
                    pushed: about.pushed,
                    subject: about.referrer.map(|referrer| referrer.subject),
                    pulled: pulls.get(&digest).copied().unwrap_or_default(),
                });
            }
        }
        Ok(all)
    }

    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        let past = self.0.read_tag(repository, tag).await?;
        Ok(past.and_then(|(past, _)| past.current()))
    }

    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        self.0.require(repository).await?;
        let place = self.0.keys.tags(repository);
        let after = after.map(|after| self.0.keys.tag(repository, after));
        let names = self.0.names_after(&place, after.as_ref(), limit).await?;
        Ok(names
            .iter()
            .filter_map(|path| path.filename()?.parse().ok())
            .collect())
    }

    async fn set_tag(&self, repository: &Repository, tag: NewTag, digest: &Digest) -> Result<()> {
        self.0.require(repository).await?;
        let path = self.0.keys.manifest(repository, digest);
        if found(self.0.store.head(&path).await, "look at", &path)?.is_none() {
            return Err(StorageError::ManifestUnknown(*digest));
        }
        self.0.set_tag(repository, &tag, digest).await
    }

    async fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        expected: Option<&Digest>,
    ) -> Result<()> {
        self.0.require(repository).await?;
        self.0.remove_tag(repository, tag, expected).await
    }

    async fn tag_history(&self, repository: &Repository, tag: &Tag) -> Result<Vec<TagEvent>> {
        self.0.require(repository).await?;
        self.0.history(repository, tag).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let mut all = Vec::new();
        for meta in self
            .0
            .list(&self.0.keys.referrers(repository, subject))
            .await?
        {
            if let Some((bytes, _)) = self.0.get(&meta.location).await? {
                let descriptor = serde_json::from_slice(&bytes)
                    .map_err(|error| damaged(&meta.location, error))?;
                all.push(descriptor);
            }
        }
        Ok(all)
    }

    async fn collect(&self, what: &Collection) -> Result<Collected> {
        self.0.collect(*what).await
    }

    async fn usage(&self, repository: &Repository) -> Result<u64> {
        let mut blobs = HashSet::new();
        // With a line about each.
        let manifests = self.0.list(&self.0.keys.manifests(repository)).await?;
        let mut total = manifests.iter().map(|meta| meta.size).sum::<u64>();
        for meta in self.0.list(&self.0.keys.held_by(repository)).await? {
            let digest = meta.location.parts().nth_back(1);
            let link = meta.location.filename().and_then(Link::read);
            if let (Some(digest), Some(link)) = (digest, link)
                && blobs.insert(digest.as_ref().to_owned())
            {
                total = total.saturating_add(link.size);
            }
        }
        Ok(total)
    }
}
