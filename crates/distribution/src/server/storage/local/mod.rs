//! A folder that one server keeps.
//!
//! ```text
//! format                            what this is, read first
//! lock                              held by the server that works here
//! blobs/sha256/2c/<hex>             content, blobs and manifests alike, kept once for all repositories
//! repositories/<name>/_journal      what the repository holds: blobs, manifests, tags and their past
//! uploads/<id>.<algorithm>.<hash of the repository's name>
//! tmp/                              unfinished files; a crash leaves its litter here
//! ```
//!
//! One server works on a folder, which its lock says; several servers share an object store instead. That gives the
//! folder its speed: what the repositories hold is in memory, each request is a look into a map, and a push of a tag is
//! one line appended to a file (`journal`).
//!
//! Locks, outer to inner: an upload; `content` (read: something is being linked; write: one file is being deleted); a
//! journal; `fresh`.

mod cache;
mod collect;
mod files;
mod format;
mod journal;
mod state;
mod uploads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use oci::{Algorithm, Descriptor, Digest, Repository, Tag};

use super::{
    Clock, Collected, Collection, Content, Incoming, ManifestSummary, NewManifest, NewTag,
    PULL_STEP, Partial, Result, Storage, StorageError, StoredManifest, TagEvent, UploadId, Visible,
};
use cache::Cache;
use journal::{Durability, Journal};
use state::{Event, State, What};
use uploads::Upload;

/// That somebody asked for a blob is written down if the last note is older than this, in seconds. After a crash a blob
/// may look this much older than it is, which collection allows for.
const TOUCH_STEP: u64 = 600;

/// A folder. Clones share it.
#[derive(Debug, Clone)]
pub struct Local(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    clock: Clock,
    /// Held as long as the folder is.
    _lock: File,
    repositories: RwLock<BTreeMap<Repository, Arc<Slot>>>,
    uploads: Mutex<HashMap<UploadId, Arc<tokio::sync::Mutex<Upload>>>>,
    cache: Mutex<Cache>,
    content: RwLock<()>,
    /// While a collection runs: what was linked since it began.
    fresh: Mutex<Option<HashSet<Digest>>>,
    collecting: tokio::sync::Mutex<()>,
    temporary: AtomicU64,
}

/// A repository that exists, opened at first need.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Arc<Journal>>>);

impl Local {
    /// Opens a folder, making it if need be.
    ///
    /// # Errors
    ///
    /// Another server works on it, it is another format or somebody's files, or the disk fails.
    pub fn open(root: &Path, clock: Clock) -> Result<Self> {
        let root = &std::path::absolute(root).map_err(files::failed("resolve", root))?;
        files::make_directory(Path::new("/"), root)?;
        let is_new = !format::is_there(root)?;
        let lock = files::lock(&root.join("lock"))?;
        files::remove_directory(&root.join("tmp"))?;
        for name in format::DIRECTORIES {
            files::make_directory(root, &root.join(name))?;
        }
        if is_new {
            format::write(root)?;
        }
        let mut repositories = BTreeMap::new();
        find_repositories(&root.join("repositories"), "", &mut repositories)?;
        Ok(Self(Arc::new(Folder {
            root: root.to_owned(),
            clock,
            _lock: lock,
            repositories: RwLock::new(repositories),
            uploads: Mutex::default(),
            cache: Mutex::default(),
            content: RwLock::default(),
            fresh: Mutex::default(),
            collecting: tokio::sync::Mutex::default(),
            temporary: AtomicU64::default(),
        })))
    }

    /// Whether there is a registry in a folder.
    ///
    /// # Errors
    ///
    /// Something else is there, or the disk fails.
    pub fn is_there(root: &Path) -> Result<bool> {
        format::is_there(root)
    }

    /// Does something that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = self.0.clone();
        join(tokio::task::spawn_blocking(move || work(&folder)).await)
    }

    /// Looks at a repository; `None` if there is none. Waits for nothing if the repository is open.
    async fn look<T: Send + 'static>(
        &self,
        repository: &Repository,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(slot) = self.0.slot(repository) else {
            return Ok(None);
        };
        let open = slot.0.try_lock().ok().and_then(|open| open.clone());
        let look = match open {
            Some(journal) => match journal.try_read(look) {
                Ok(seen) => return Ok(Some(seen)),
                Err(look) => look,
            },
            None => look,
        };
        let repository = repository.clone();
        self.blocking(move |folder| {
            let journal = folder.journal(&repository)?;
            Ok(journal.map(|journal| journal.read(look)))
        })
        .await
    }
}

/// A panic in the work is a bug that its request is told of, no more.
fn join<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| {
        Err(StorageError::Io {
            verb: "finish",
            place: "a task".to_owned(),
            source: std::io::Error::other(error),
        })
    })
}

fn find_repositories(
    directory: &Path,
    name: &str,
    found: &mut BTreeMap<Repository, Arc<Slot>>,
) -> Result<()> {
    for entry in files::names(directory)? {
        if entry == "_journal" {
            if let Ok(repository) = name.parse() {
                found.insert(repository, Arc::default());
            }
        } else if !entry.starts_with('_') {
            let below = if name.is_empty() {
                entry.clone()
            } else {
                format!("{name}/{entry}")
            };
            // Names of 255 bytes bound the depth.
            if below.parse::<Repository>().is_ok() {
                find_repositories(&directory.join(&entry), &below, found)?;
            }
        }
    }
    Ok(())
}

impl Folder {
    fn slot(&self, repository: &Repository) -> Option<Arc<Slot>> {
        self.repositories
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(repository)
            .cloned()
    }

    fn directory(&self, repository: &Repository) -> PathBuf {
        self.root.join("repositories").join(repository.as_str())
    }

    fn content_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root
            .join("blobs")
            .join(digest.algorithm().name())
            .join(&hex[..2])
            .join(hex)
    }

    fn temporary(&self) -> PathBuf {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(number.to_string())
    }

    /// The repository's journal; `None` if there is no such repository.
    fn journal(&self, repository: &Repository) -> Result<Option<Arc<Journal>>> {
        let Some(slot) = self.slot(repository) else {
            return Ok(None);
        };
        let mut open = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = &*open {
            return Ok(Some(journal.clone()));
        }
        let path = self.directory(repository).join("_journal");
        let journal = Arc::new(Journal::open(path)?);
        *open = Some(journal.clone());
        Ok(Some(journal))
    }

    /// The repository's journal; the repository is made if need be.
    fn journal_or_new(&self, repository: &Repository) -> Result<Arc<Journal>> {
        if let Some(journal) = self.journal(repository)? {
            return Ok(journal);
        }
        let directory = self.directory(repository);
        files::make_directory(&self.root.join("repositories"), &directory)?;
        files::append(&directory.join("_journal"))?;
        files::sync_directory(&directory)?;
        self.repositories
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(repository.clone())
            .or_default();
        self.journal(repository)?
            .ok_or(StorageError::RepositoryUnknown)
    }

    fn existing(&self, repository: &Repository) -> Result<Arc<Journal>> {
        self.journal(repository)?
            .ok_or(StorageError::RepositoryUnknown)
    }

    /// Tells a collection that runs that this content is in use from now on. Under `content`.
    fn note_link(&self, digest: &Digest) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = &mut *fresh {
            fresh.insert(*digest);
        }
    }

    /// Makes content that is there a blob of a repository. False if it is not there.
    fn link(&self, repository: &Repository, digest: &Digest) -> Result<bool> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let Some(size) = files::size(&self.content_path(digest))? else {
            return Ok(false);
        };
        self.note_link(digest);
        let journal = self.journal_or_new(repository)?;
        let event = Event {
            at: self.clock.now(),
            what: What::Blob {
                digest: *digest,
                size,
            },
        };
        journal.transact(Durability::Synced, |_| Ok(vec![event]))?;
        drop(content);
        Ok(true)
    }

    fn touch(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let Some(journal) = self.journal(repository)? else {
            return Ok(());
        };
        let at = self.clock.now();
        journal.transact(Durability::Lazy, |state| {
            Ok(state.blobs.get(digest).map_or_else(Vec::new, |blob| {
                vec![Event {
                    at,
                    what: What::Blob {
                        digest: *digest,
                        size: blob.size,
                    },
                }]
            }))
        })
    }

    fn manifest_bytes(&self, digest: &Digest) -> Result<Option<hyper::body::Bytes>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = cache.get(digest) {
            return Ok(Some(bytes));
        }
        drop(cache);
        let path = self.content_path(digest);
        let Some(bytes) = files::find_bytes(&path, u64::from(u32::MAX))? else {
            return Ok(None);
        };
        let bytes = hyper::body::Bytes::from(bytes);
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(*digest, bytes.clone());
        Ok(Some(bytes))
    }

    fn put_manifest(&self, repository: &Repository, new: &NewManifest) -> Result<()> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let path = self.content_path(&new.digest);
        if files::size(&path)?.is_none() {
            if let Some(directory) = path.parent() {
                files::make_directory(&self.root, directory)?;
            }
            files::write(&self.temporary(), &path, &new.bytes)?;
        }
        self.note_link(&new.digest);
        let at = self.clock.now();
        let journal = self.journal_or_new(repository)?;
        journal.transact(Durability::Synced, |state| events_of(state, new, at))?;
        drop(content);
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(new.digest, new.bytes.clone());
        Ok(())
    }
}

/// What a push of a manifest is made of, if everything that it needs is there.
fn events_of(state: &State, new: &NewManifest, at: u64) -> Result<Vec<Event>> {
    for (digest, stated) in &new.blobs {
        match state.blobs.get(digest) {
            None => return Err(StorageError::BlobUnknown(*digest)),
            Some(blob) if blob.size != *stated => {
                return Err(StorageError::Size {
                    digest: *digest,
                    stated: *stated,
                    actual: blob.size,
                });
            }
            Some(_) => {}
        }
    }
    if let Some(missing) = new
        .manifests
        .iter()
        .find(|digest| !state.manifests.contains_key(digest))
    {
        return Err(StorageError::ManifestUnknown(*missing));
    }
    let mut events = vec![Event {
        at,
        what: What::Manifest {
            digest: new.digest,
            size: new.bytes.len() as u64,
            media_type: new.media_type.clone(),
            referrer: new.referrer.clone().map(Box::new),
            pulled: 0,
        },
    }];
    for NewTag { tag, condition } in &new.tags {
        if !condition.allows(state.tag(tag), new.digest) {
            return Err(StorageError::Changed(tag.clone()));
        }
        events.push(Event {
            at,
            what: What::Tag {
                tag: tag.to_string(),
                digest: new.digest,
            },
        });
    }
    Ok(events)
}

#[async_trait]
impl Storage for Local {
    async fn check(&self) -> Result<()> {
        self.blocking(|folder| {
            let path = folder.temporary();
            files::create(&path)?;
            files::remove(&path)
        })
        .await
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>> {
        let repositories = self
            .0
            .repositories
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let from = match after.map(str::parse::<Repository>) {
            Some(Ok(after)) => Bound::Excluded(after),
            _ => Bound::Unbounded,
        };
        Ok(repositories
            .range((from, Bound::Unbounded))
            .map(|(name, _)| name)
            .filter(|name| after.is_none_or(|after| name.as_str() > after))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        let wanted = *digest;
        let found = self
            .look(repository, move |state| state.blobs.get(&wanted).copied())
            .await?
            .flatten();
        let Some(blob) = found else {
            return Ok(None);
        };
        if self.0.clock.now() > blob.touched.saturating_add(TOUCH_STEP) {
            let (repository, digest) = (repository.clone(), *digest);
            self.blocking(move |folder| folder.touch(&repository, &digest))
                .await?;
        }
        Ok(Some(blob.size))
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Content> {
        if self.blob(repository, digest).await?.is_none() {
            return Err(StorageError::BlobUnknown(*digest));
        }
        let digest = *digest;
        self.blocking(move |folder| {
            let file = files::find(&folder.content_path(&digest))?
                .ok_or(StorageError::BlobUnknown(digest))?;
            Ok(Content::File(Arc::new(file), range))
        })
        .await
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
            None => self.repositories(None, usize::MAX).await?,
        };
        let wanted = *digest;
        for candidate in candidates {
            if visible(&candidate)
                && self
                    .look(&candidate, move |state| state.blobs.contains_key(&wanted))
                    .await?
                    .unwrap_or_default()
            {
                let repository = repository.clone();
                return self
                    .blocking(move |folder| folder.link(&repository, &wanted))
                    .await;
            }
        }
        Ok(false)
    }

    async fn remove_blob(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let (repository, digest) = (repository.clone(), *digest);
        self.blocking(move |folder| {
            let at = folder.clock.now();
            folder
                .existing(&repository)?
                .transact(Durability::Synced, |state| {
                    if !state.blobs.contains_key(&digest) {
                        return Err(StorageError::BlobUnknown(digest));
                    }
                    Ok(vec![Event {
                        at,
                        what: What::Unblob { digest },
                    }])
                })
        })
        .await
    }

    async fn start_upload(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        self.start(repository, algorithm).await
    }

    async fn upload(&self, repository: &Repository, id: UploadId) -> Result<u64> {
        self.received(repository, id).await
    }

    async fn append(
        &self,
        repository: &Repository,
        id: UploadId,
        at: Option<u64>,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<u64> {
        self.receive(repository, id, at, body, limit).await
    }

    async fn partial(&self, repository: &Repository, id: UploadId) -> Result<Option<Partial>> {
        self.read_along(repository, id).await
    }

    async fn finish_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<u64> {
        self.finish(repository, id, digest).await
    }

    async fn cancel_upload(&self, repository: &Repository, id: UploadId) -> Result<()> {
        self.cancel(repository, id).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>> {
        let wanted = *digest;
        let found = self
            .look(repository, move |state| {
                state
                    .manifests
                    .get(&wanted)
                    .map(|manifest| manifest.media_type.clone())
            })
            .await?
            .flatten();
        let Some(media_type) = found else {
            return Ok(None);
        };
        let cached = self
            .0
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&wanted);
        let bytes = match cached {
            Some(bytes) => Some(bytes),
            None => {
                self.blocking(move |folder| folder.manifest_bytes(&wanted))
                    .await?
            }
        };
        Ok(bytes.map(|bytes| StoredManifest { media_type, bytes }))
    }

    async fn note_pull(&self, repository: &Repository, digest: &Digest) {
        let (digest, now) = (*digest, self.0.clock.now());
        let is_due = move |state: &State| {
            let manifest = state.manifests.get(&digest);
            manifest.is_some_and(|manifest| manifest.pulled.saturating_add(PULL_STEP) <= now)
        };
        // Without the lock that writers share; asked again under it.
        if !matches!(self.look(repository, is_due).await, Ok(Some(true))) {
            return;
        }
        let repository = repository.clone();
        let noted = self.blocking(move |folder| {
            folder
                .existing(&repository)?
                .transact(Durability::Lazy, |state| {
                    let manifest = state.manifests.get(&digest).filter(|_| is_due(state));
                    let event = manifest.map(|manifest| {
                        let pulled = now;
                        let manifest = state::Manifest {
                            pulled,
                            ..manifest.clone()
                        };
                        manifest.event(&digest)
                    });
                    Ok(event.into_iter().collect())
                })
        });
        // As the trait has it.
        drop(noted.await);
    }

    async fn put_manifest(&self, repository: &Repository, manifest: NewManifest) -> Result<()> {
        let repository = repository.clone();
        self.blocking(move |folder| folder.put_manifest(&repository, &manifest))
            .await
    }

    async fn remove_manifest(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let (repository, digest) = (repository.clone(), *digest);
        self.blocking(move |folder| {
            let at = folder.clock.now();
            folder
                .existing(&repository)?
                .transact(Durability::Synced, |state| {
                    if !state.manifests.contains_key(&digest) {
                        return Err(StorageError::ManifestUnknown(digest));
                    }
                    Ok(vec![Event {
                        at,
                        what: What::Unmanifest { digest },
                    }])
                })
        })
        .await
    }

    async fn manifests(&self, repository: &Repository) -> Result<Vec<ManifestSummary>> {
        self.look(repository, |state| {
            state
                .manifests
                .iter()
                .map(|(digest, manifest)| ManifestSummary {
                    digest: *digest,
                    pushed: manifest.pushed,
                    subject: manifest.referrer.as_ref().map(|referrer| referrer.subject),
                    pulled: manifest.pulled,
                })
                .collect()
        })
        .await?
        .ok_or(StorageError::RepositoryUnknown)
    }

    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        let tag = tag.clone();
        Ok(self
            .look(repository, move |state| state.tag(&tag))
            .await?
            .flatten())
    }

    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        let after = after.map(str::to_owned);
        self.look(repository, move |state| {
            state
                .tags(after.as_deref())
                .take(limit)
                .map(|(tag, _)| tag.clone())
                .collect()
        })
        .await?
        .ok_or(StorageError::RepositoryUnknown)
    }

    async fn set_tag(&self, repository: &Repository, new: NewTag, digest: &Digest) -> Result<()> {
        let (repository, digest) = (repository.clone(), *digest);
        self.blocking(move |folder| {
            let at = folder.clock.now();
            folder
                .existing(&repository)?
                .transact(Durability::Synced, |state| {
                    if !state.manifests.contains_key(&digest) {
                        return Err(StorageError::ManifestUnknown(digest));
                    }
                    if !new.condition.allows(state.tag(&new.tag), digest) {
                        return Err(StorageError::Changed(new.tag.clone()));
                    }
                    Ok(vec![Event {
                        at,
                        what: What::Tag {
                            tag: new.tag.to_string(),
                            digest,
                        },
                    }])
                })
        })
        .await
    }

    async fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        expected: Option<&Digest>,
    ) -> Result<()> {
        let (repository, tag, expected) = (repository.clone(), tag.clone(), expected.copied());
        self.blocking(move |folder| {
            let at = folder.clock.now();
            folder
                .existing(&repository)?
                .transact(Durability::Synced, |state| {
                    let Some(digest) = state.tag(&tag) else {
                        return Err(StorageError::TagUnknown(tag.clone()));
                    };
                    if expected.is_some_and(|expected| expected != digest) {
                        return Err(StorageError::Changed(tag.clone()));
                    }
                    Ok(vec![Event {
                        at,
                        what: What::Untag {
                            tag: tag.to_string(),
                        },
                    }])
                })
        })
        .await
    }

    async fn tag_history(&self, repository: &Repository, tag: &Tag) -> Result<Vec<TagEvent>> {
        let tag = tag.clone();
        self.look(repository, move |state| state.past(&tag).to_vec())
            .await?
            .ok_or(StorageError::RepositoryUnknown)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let subject = *subject;
        Ok(self
            .look(repository, move |state| state.referrers(&subject))
            .await?
            .unwrap_or_default())
    }

    async fn collect(&self, what: &Collection) -> Result<Collected> {
        self.collect_garbage(*what).await
    }

    async fn usage(&self, repository: &Repository) -> Result<u64> {
        Ok(self
            .look(repository, |state| state.bytes)
            .await?
            .unwrap_or_default())
    }
}
