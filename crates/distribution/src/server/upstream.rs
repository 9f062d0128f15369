//! Pull-through: repositories below a prefix are those of another registry, fetched at first need and kept.
//!
//! A manifest that a tag names is asked for again when the last look is older than the upstream's time; if the upstream
//! cannot be reached, what is here is served. Of each thing one fetch is under way, however many clients wait for it: the
//! first gets the bytes as they come, the others when they are stored.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use oci::{Descriptor, Digest, Repository, Tag};
use tokio::sync::{mpsc, watch};

use super::document;
use super::refusal::Refusal;
use super::registry::BodyError;
use super::reply::ReplyBody;
use super::storage::{Condition, NewManifest, NewTag, Storage, StorageError};
use crate::client::{Client, Endpoint, Fetched, Kind, Which};
use crate::wire::ErrorCode;

/// Pieces that wait to be stored or sent.
const AHEAD: usize = 8;

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
    fetching: Mutex<HashMap<(Repository, Digest), Fetching>>,
}

/// How a fetch ended, once it has.
type Fetching = watch::Receiver<Option<Result<(), String>>>;

/// A repository that is another registry's.
pub(crate) struct Remote<'a> {
    upstreams: &'a Upstreams,
    upstream: &'a Upstream,
    /// Its name here.
    here: Repository,
    there: crate::client::Repository,
}

/// A blob that is being brought.
pub(crate) enum Brought {
    /// It is stored.
    Stored,
    /// Its size, and its bytes as they come.
    Coming(u64, ReplyBody),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstreams {
    pub(crate) fn new(all: Vec<Upstream>) -> Self {
        Self {
            all,
            looks: Mutex::default(),
            asking: Mutex::default(),
            fetching: Mutex::default(),
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

    /// The fetch of a blob that is under way.
    fn running(&self, key: &(Repository, Digest)) -> Option<Fetching> {
        let fetching = lock(&self.fetching);
        fetching.get(key).filter(|fetch| is_running(fetch)).cloned()
    }

    /// Makes a fetch known, unless somebody was quicker: then it is theirs that is returned.
    fn enter(&self, key: &(Repository, Digest), fetch: &Fetching) -> Option<Fetching> {
        let mut fetching = lock(&self.fetching);
        fetching.retain(|_, fetch| is_running(fetch));
        if let Some(other) = fetching.get(key) {
            return Some(other.clone());
        }
        fetching.insert(key.clone(), fetch.clone());
        None
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

    /// Brings a blob. Whoever is the first may have its bytes as they come; the others wait.
    pub(crate) async fn bring_blob(
        &self,
        storage: &Arc<dyn Storage>,
        digest: &Digest,
        as_it_comes: bool,
    ) -> Result<Brought, Refusal> {
        let key = (self.here.clone(), *digest);
        if let Some(running) = self.upstreams.running(&key) {
            return ended(running).await;
        }
        let size = self.size(digest).await?;
        let (tell, running) = watch::channel(None);
        if let Some(other) = self.upstreams.enter(&key, &running) {
            return ended(other).await;
        }
        // A fetch may have ended between the look into the storage and now.
        if storage.blob(&self.here, digest).await?.is_some() {
            tell.send_replace(Some(Ok(())));
            return Ok(Brought::Stored);
        }
        let (tee, coming) = mpsc::channel(AHEAD);
        let fetch = Fetch {
            storage: storage.clone(),
            here: self.here.clone(),
            there: self.there.clone(),
            descriptor: Descriptor::new("application/octet-stream", *digest, size),
            tee: as_it_comes.then_some(tee),
        };
        // Goes on when the client that wanted it first goes away: others may wait, or come.
        tokio::spawn(async move {
            let result = fetch.run().await;
            tell.send_replace(Some(result));
        });
        if !as_it_comes {
            return ended(running).await;
        }
        let body = ReplyBody::stream(Pieces(coming).boxed_unsync(), Some(size));
        Ok(Brought::Coming(size, body))
    }
}

/// Whether a fetch has not ended, one way or the other.
fn is_running(fetch: &Fetching) -> bool {
    fetch.borrow().is_none() && fetch.has_changed().is_ok()
}

/// Waits for a fetch.
async fn ended(mut running: Fetching) -> Result<Brought, Refusal> {
    let result = running.wait_for(Option::is_some).await.map_or_else(
        |_| Some(Err("the fetch ended".to_owned())),
        |result| result.clone(),
    );
    match result {
        Some(Ok(())) => Ok(Brought::Stored),
        Some(Err(why)) => {
            let mut refusal = Refusal::new(ErrorCode::Unavailable, "the upstream failed")
                .status(hyper::StatusCode::BAD_GATEWAY);
            refusal.cause = Some(why);
            Err(refusal)
        }
        None => Ok(Brought::Stored),
    }
}

/// A blob on its way into the storage.
struct Fetch {
    storage: Arc<dyn Storage>,
    here: Repository,
    there: crate::client::Repository,
    descriptor: Descriptor,
    /// Whoever reads along. If they are slow the fetch waits for them; if they are gone it does not.
    tee: Option<mpsc::Sender<io::Result<Bytes>>>,
}

impl Fetch {
    async fn run(self) -> Result<(), String> {
        let digest = self.descriptor.digest;
        let mut reader = match self.there.blob(&self.descriptor).await {
            Ok(reader) => reader,
            Err(error) => return Err(self.fail(error.to_string()).await),
        };
        let storage = self.storage.clone();
        let here = self.here.clone();
        let id = match storage.start_upload(&here, digest.algorithm()).await {
            Ok(id) => id,
            Err(error) => return Err(self.fail(error.to_string()).await),
        };
        let (sender, receiver) = mpsc::channel::<Result<Bytes, BodyError>>(AHEAD);
        let mut body = Pieces(receiver);
        let writing = storage.append(&here, id, Some(0), &mut body, u64::MAX);
        let mut tee = self.tee.clone();
        let reading = async move {
            loop {
                let piece = match reader.next().await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        let why = error.to_string();
                        // Nobody is there to hear it if the storage failed before.
                        sender.send(Err(Box::new(error))).await.ok();
                        return Err(why);
                    }
                };
                if let Some(reader) = &tee
                    && reader.send(Ok(piece.clone())).await.is_err()
                {
                    tee = None;
                }
                if sender.send(Ok(piece)).await.is_err() {
                    return Err("the storage takes no more".to_owned());
                }
            }
        };
        let (written, read) = tokio::join!(writing, reading);
        let stored = match (written, read) {
            (Ok(_), Ok(())) => storage
                .finish_upload(&here, id, &digest)
                .await
                .map_err(|error| error.to_string()),
            (Err(error), Ok(())) => Err(error.to_string()),
            (_, Err(why)) => Err(why),
        };
        match stored {
            Ok(_) => Ok(()),
            Err(why) => {
                // What is left of it is collected with other uploads that nobody finished.
                storage.cancel_upload(&here, id).await.ok();
                Err(self.fail(why).await)
            }
        }
    }

    /// Tells whoever reads along that it is not the whole.
    async fn fail(&self, why: String) -> String {
        if let Some(tee) = &self.tee {
            // They may be gone.
            tee.send(Err(io::Error::other(why.clone()))).await.ok();
        }
        why
    }
}

/// Bytes that come by a channel.
struct Pieces<E>(mpsc::Receiver<Result<Bytes, E>>);

impl<E> Body for Pieces<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let piece = ready!(self.0.poll_recv(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
