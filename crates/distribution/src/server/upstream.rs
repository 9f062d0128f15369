//! Pull-through: repositories below a prefix are those of another registry, fetched at first need and kept.
//!
//! A manifest that a tag names is asked for again when the last look is older than the upstream's time; if the upstream
//! cannot be reached, what is here is served. Of each thing one fetch is under way, however many clients wait for it; all of
//! them get a blob's bytes as they come (`fetch`).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Digest, Repository, Tag};

use super::document;
use super::fetch::{Errand, Fetch, Fetching};
use super::metrics::Outcomes;
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
    looks: Mutex<HashMap<(Repository, Tag), Look>>,
    /// One at a time asks for a manifest.
    asking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    fetching: Arc<Mutex<HashMap<(Repository, Digest), Fetching>>>,
    /// For blobs that come while their storage cannot be read.
    spool: PathBuf,
    /// How they ended.
    outcomes: Arc<Outcomes>,
}

/// When a tag was last asked for.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: u64,
    /// The upstream could not be reached.
    in_vain: bool,
}

/// What a tag of an upstream names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    pub(crate) digest: Digest,
    /// It did when the upstream could last be reached.
    pub(crate) is_stale: bool,
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
    pub(crate) fn new(mut all: Vec<Upstream>, spool: PathBuf, outcomes: Arc<Outcomes>) -> Self {
        // Of `hub` and `hub/team` the longer one has `hub/team/app`.
        all.sort_by_key(|upstream| Reverse(upstream.prefix.as_str().len()));
        Self {
            all,
            looks: Mutex::default(),
            asking: Mutex::default(),
            fetching: Arc::default(),
            spool,
            outcomes,
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

/// Whether it was the upstream that could not be asked, and not the storage here that failed.
fn is_out_of_reach(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::Unavailable && refusal.status == hyper::StatusCode::BAD_GATEWAY
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

    /// What a tag names, which is here afterwards, and right as far as that is possible.
    pub(crate) async fn bring_tag(
        &self,
        storage: &dyn Storage,
        tag: &Tag,
        now: u64,
    ) -> Result<Named, Refusal> {
        if let Some(named) = self.fresh(storage, tag, now).await? {
            return Ok(named);
        }
        let turn = self.turn(tag.as_str()).await;
        if let Some(named) = self.fresh(storage, tag, now).await? {
            return Ok(named);
        }
        let known = storage.tag(&self.here, tag).await?;
        let (digest, is_stale) = match (self.look(storage, tag, known).await, known) {
            (Ok(digest), _) => (digest, false),
            // What is here is better than nothing, unless the upstream says that it is no more.
            (Err(refusal), Some(known)) if is_out_of_reach(&refusal) => (known, true),
            (Err(refusal), _) => return Err(refusal),
        };
        let look = Look {
            at: now,
            in_vain: is_stale,
        };
        let mut looks = lock(&self.upstreams.looks);
        if looks.len() >= LOOKS {
            looks.clear();
        }
        looks.insert((self.here.clone(), tag.clone()), look);
        drop(looks);
        drop(turn);
        Ok(Named { digest, is_stale })
    }

    /// What a tag names that was asked for a short while ago, if it is still here.
    async fn fresh(
        &self,
        storage: &dyn Storage,
        tag: &Tag,
        now: u64,
    ) -> Result<Option<Named>, Refusal> {
        let key = (self.here.clone(), tag.clone());
        let look = lock(&self.upstreams.looks).get(&key).copied();
        let is_fresh = |look: &Look| look.at.saturating_add(self.upstream.fresh_for) > now;
        let Some(look) = look.filter(is_fresh) else {
            return Ok(None);
        };
        let digest = storage.tag(&self.here, tag).await?;
        Ok(digest.map(|digest| Named {
            digest,
            is_stale: look.in_vain,
        }))
    }

    /// Asks the upstream what a tag names, and brings that if it is not `known`.
    async fn look(
        &self,
        storage: &dyn Storage,
        tag: &Tag,
        known: Option<Digest>,
    ) -> Result<Digest, Refusal> {
        let which = Which::Tag(tag.clone());
        let found = self
            .there
            .head(&which)
            .await
            .map_err(|error| refused(&error))?;
        if let Some(known) = known
            && found.is_some_and(|found| found.digest == known)
        {
            return Ok(known);
        }
        // Some registries answer this with less than they should; asking for the whole tells.
        let fetched = self.there.manifest(&which).await;
        let fetched = fetched.map_err(|error| refused(&error))?;
        let digest = fetched.digest;
        self.store(storage, fetched, Some(tag)).await?;
        Ok(digest)
    }

    /// The upstream, as it is called.
    pub(crate) fn registry(&self) -> &str {
        &self.upstream.endpoint.registry
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
        let outcomes = self.upstreams.outcomes.clone();
        tokio::spawn(async move {
            fetch.run(&outcomes).await;
            lock(&known).retain(|_, fetch| fetch.is_running());
        });
        fetching
    }
}
