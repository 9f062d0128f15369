//! Pull-through: repositories below a prefix are those of another registry, fetched at first need and kept.
//!
//! A manifest that a tag names is asked for again when the last look is older than the upstream's time; if the upstream
//! cannot be reached, what is here is served. Of each thing one fetch is under way, however many clients wait for it; all of
//! them get a blob's bytes as they come (`fetch`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Digest, Repository, Tag};

use super::document;
use super::fetch::{Errand, Fetch, Fetching};
use super::refusal::Refusal;
use super::storage::{Condition, NewManifest, NewTag, Storage, StorageError};
use crate::client::{Client, Endpoint, Fetched, Kind, Which};
use crate::wire::ErrorCode;

/// When tags were looked at, for so many; then all are forgotten, which costs one look each.
const LOOKS: usize = 100_000;

/// Another registry.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// What its repositories begin with here.
    pub prefix: Repository,
    /// Where it is.
    pub endpoint: Endpoint,
    /// How long what a tag names is taken to be still right, in seconds.
    pub fresh_for: u64,
    /// Asks it, with credentials of its own.
    pub client: Client,
}

/// All of them, and what is under way.
#[derive(Debug)]
pub(crate) struct Upstreams {
    all: Vec<Upstream>,
    looks: Mutex<HashMap<(Repository, Tag), u64>>,
    /// One at a time asks for a manifest.
    asking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    fetching: Arc<Mutex<HashMap<(Repository, Digest), Fetching>>>,
    /// For blobs that come while their storage cannot be read.
    spool: PathBuf,
}

/// A repository that is another registry's.
pub(crate) struct Remote<'a> {
    upstreams: &'a Upstreams,
    upstream: &'a Upstream,
    /// Its name here.
    here: Repository,
    there: crate::client::Repository,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstreams {
    pub(crate) fn new(all: Vec<Upstream>, spool: PathBuf) -> Self {
        Self {
            all,
            looks: Mutex::default(),
            asking: Mutex::default(),
            fetching: Arc::default(),
            spool,
        }
    }

    /// The other registry's repository that this one is, if it is one.
    pub(crate) fn find(&self, repository: &Repository) -> Option<Remote<'_>> {
        self.all.iter().find_map(|upstream| {
            let name = repository
                .as_str()
                .strip_prefix(upstream.prefix.as_str())?
                .strip_prefix('/')?;
            Some(Remote {
                upstreams: self,
                upstream,
                here: repository.clone(),
                there: upstream
                    .client
                    .repository(&upstream.endpoint, name.parse().ok()?),
            })
        })
    }

    /// The name that a repository of `registry` has here: for clients that take this for a mirror of it.
    pub(crate) fn name_here(&self, registry: &str, repository: &Repository) -> Option<Repository> {
        let upstream = self
            .all
            .iter()
            .find(|upstream| upstream.endpoint.registry == registry)?;
        format!("{}/{repository}", upstream.prefix).parse().ok()
    }
}

fn refused(error: &crate::client::Error) -> Refusal {
    let mut refusal = match error.kind() {
        Kind::NotFound => Refusal::new(ErrorCode::ManifestUnknown, "the upstream does not have it"),
        _ => Refusal::new(ErrorCode::Unavailable, "the upstream cannot be asked")
            .status(hyper::StatusCode::BAD_GATEWAY),
    };
    refusal.cause = Some(error.to_string());
    refusal
}

impl Remote<'_> {
    /// Waits for its turn to ask for something.
    async fn turn(&self, what: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let key = format!("{}@{what}", self.here);
        let turn = {
            let mut asking = lock(&self.upstreams.asking);
            asking.retain(|_, turn| Arc::strong_count(turn) > 1);
            asking.entry(key).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Sees to it that what a tag names is here and right, as far as that is possible.
    pub(crate) async fn bring_tag(
        &self,
        storage: &dyn Storage,
        tag: &Tag,
        now: u64,
    ) -> Result<(), Refusal> {
        let key = (self.here.clone(), tag.clone());
        let is_fresh = || {
            lock(&self.upstreams.looks)
                .get(&key)
                .is_some_and(|looked| looked.saturating_add(self.upstream.fresh_for) > now)
        };
        if is_fresh() {
            return Ok(());
        }
        let turn = self.turn(tag.as_str()).await;
        if is_fresh() {
            return Ok(());
        }
        let known = storage.tag(&self.here, tag).await?;
        let which = Which::Tag(tag.clone());
        let result = match self.there.head(&which).await {
            Ok(Some(found)) if Some(found.digest) == known => Ok(()),
            // Some registries answer this with less than they should; asking for the whole tells.
            Ok(_) => match self.there.manifest(&which).await {
                Ok(fetched) => self.store(storage, fetched, Some(tag)).await,
                Err(error) => Err(refused(&error)),
            },
            Err(error) => Err(refused(&error)),
        };
        let result = match result {
            // What is here is better than nothing, unless the upstream says that it is no more.
            Err(refusal) if known.is_some() && refusal.code == ErrorCode::Unavailable => Ok(()),
            result => result,
        };
        if result.is_ok() {
            let mut looks = lock(&self.upstreams.looks);
            if looks.len() >= LOOKS {
                looks.clear();
            }
            looks.insert(key, now);
        }
        drop(turn);
        result
    }

    /// Sees to it that a manifest is here.
    pub(crate) async fn bring_manifest(
        &self,
        storage: &dyn Storage,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        if storage.manifest(&self.here, digest).await?.is_some() {
            return Ok(());
        }
        let turn = self.turn(&digest.to_string()).await;
        if storage.manifest(&self.here, digest).await?.is_some() {
            return Ok(());
        }
        let fetched = self
            .there
            .manifest(&Which::Digest(*digest))
            .await
            .map_err(|error| refused(&error))?;
        self.store(storage, fetched, None).await?;
        drop(turn);
        Ok(())
    }

    /// Stores a manifest whose parts come when they are asked for.
    async fn store(
        &self,
        storage: &dyn Storage,
        fetched: Fetched,
        tag: Option<&Tag>,
    ) -> Result<(), Refusal> {
        let document = document::read(&fetched.bytes, Some(&fetched.media_type), fetched.digest)
            .map_err(|error| {
                Refusal::new(ErrorCode::ManifestInvalid, error.to_string())
                    .status(hyper::StatusCode::BAD_GATEWAY)
            })?;
        let tags = tag.map(|tag| NewTag {
            tag: tag.clone(),
            condition: Condition::Always,
        });
        let new = NewManifest {
            digest: fetched.digest,
            media_type: document.media_type,
            bytes: fetched.bytes,
            blobs: Vec::new(),
            manifests: Vec::new(),
            referrer: document.referrer,
            tags: tags.into_iter().collect(),
        };
        storage.put_manifest(&self.here, new).await?;
        Ok(())
    }

    /// The size of a blob that is not here.
    pub(crate) async fn size(&self, digest: &Digest) -> Result<u64, Refusal> {
        let found = self.there.find_blob(digest).await;
        found
            .map_err(|error| refused(&error))?
            .ok_or_else(|| StorageError::BlobUnknown(*digest).into())
    }

    /// The fetch of a blob that is under way.
    pub(crate) fn coming(&self, digest: &Digest) -> Option<Fetching> {
        let fetching = lock(&self.upstreams.fetching);
        let found = fetching.get(&(self.here.clone(), *digest));
        found.filter(|fetch| fetch.is_running()).cloned()
    }

    /// Begins to fetch a blob, unless that is under way. It goes on when everybody has gone away: others may come.
    pub(crate) fn fetch(&self, storage: &Arc<dyn Storage>, digest: &Digest) -> Fetching {
        let key = (self.here.clone(), *digest);
        let mut all = lock(&self.upstreams.fetching);
        if let Some(running) = all.get(&key).filter(|fetch| fetch.is_running()) {
            return running.clone();
        }
        let (fetch, fetching) = Fetch::new(&Errand {
            storage,
            here: &self.here,
            there: &self.there,
            digest,
            spool: &self.upstreams.spool,
        });
        all.insert(key, fetching.clone());
        let known = self.upstreams.fetching.clone();
        tokio::spawn(async move {
            fetch.run().await;
            lock(&known).retain(|_, fetch| fetch.is_running());
        });
        fetching
    }
}
