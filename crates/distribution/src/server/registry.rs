//! Requests in, answers out.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use oci::Repository;

use super::access::{Access, Caller};
use super::refusal::Refusal;
use super::reply::{Draft, Reply};
use super::route::{self, Route};
use super::sendfile::Outbox;
use super::storage::{Clock, Storage};
use crate::wire::{Action, ErrorCode, Query};

/// Why a body broke off.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// How much of a body is read after its request was refused, so that the client gets to read why.
const DRAIN: u64 = 8 << 20;

/// What a registry takes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a manifest. It is held in memory whole.
    pub manifest: u64,
    /// Bytes of a blob.
    pub blob: u64,
    /// Connections at the same time; others wait to be accepted.
    pub connections: usize,
    /// How long a connection may take for the head of a request, and may be idle between two.
    pub head: Duration,
    /// How long a connection may take for the next bytes of a body, in either direction.
    pub stall: Duration,
    /// Entries on a page of tags or repositories.
    pub page: usize,
    /// Tags of one push.
    pub tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What the other registries take.
            manifest: 4 << 20,
            blob: 1 << 40,
            connections: 1024,
            head: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            page: 10_000,
            tags: 64,
        }
    }
}

/// How a registry behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is taken.
    pub limits: Limits,
    /// Whether anything can be deleted.
    pub deletes: bool,
    /// Whether an index may list manifests that are not there.
    pub sparse_indexes: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            deletes: true,
            sparse_indexes: false,
        }
    }
}

/// A registry: a storage and how it is spoken to.
#[derive(Debug)]
pub struct Registry {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) config: Config,
    access: RwLock<Arc<Access>>,
    clock: Clock,
}

/// One request on its way.
pub(crate) struct Visit<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) access: Arc<Access>,
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// Only ever taken by its one owner; the lock makes the visit one that several threads may look at.
    body: Mutex<RequestBody>,
    pub(crate) outbox: Option<Outbox>,
}

impl Registry {
    /// A registry that everybody may use.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, config: Config) -> Self {
        Self {
            storage,
            config,
            access: RwLock::default(),
            clock: Clock::system(),
        }
    }

    /// From now on callers show who they are, and may do what the rules say. Requests under way are not affected.
    pub fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        self.access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is stored.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Answers a request.
    pub async fn handle<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        self.answer(request, None).await
    }

    /// Answers a request of a connection that may have an outbox for files.
    pub(crate) async fn answer<B>(&self, request: Request<B>, outbox: Option<Outbox>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let (head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let body = body.map_err(Into::into).boxed_unsync();
        let query = match route::query(head.uri.query()) {
            Ok(query) => query,
            Err(refusal) => return refusal.reply(is_head),
        };
        let access = self.access();
        let caller = match access.caller(&head.headers, self.clock.now()).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal.reply(is_head),
        };
        let mut visit = Visit {
            registry: self,
            access,
            caller,
            method: head.method,
            headers: head.headers,
            query,
            body: Mutex::new(body),
            outbox,
        };
        match visit.answer(head.uri.path()).await {
            Ok(reply) => reply,
            Err(refusal) => {
                drain(visit.body()).await;
                refusal.reply(is_head)
            }
        }
    }
}

/// Reads on for a little while: a client that is cut off while it sends may never read the answer.
async fn drain(body: &mut RequestBody) {
    let mut room = DRAIN;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match room.checked_sub(size) {
                Some(left) => room = left,
                None => return,
            }
        }
    };
    // Best effort: whether it came to the end or not, the answer is sent.
    tokio::time::timeout(Duration::from_secs(5), rest)
        .await
        .ok();
}

impl Visit<'_> {
    async fn answer(&mut self, path: &str) -> Result<Reply, Refusal> {
        match Route::read(path)? {
            Route::Token => self.token().await,
            Route::Base => {
                // Also where anybody may read: clients learn here how to show who they are.
                self.access.require_login(&self.caller, &self.headers)?;
                self.reading(|| {
                    Draft::new(StatusCode::OK).json(
                        "application/json",
                        &serde_json::json!({}),
                        self.is_head(),
                    )
                })
            }
            Route::Catalog => self.catalog().await,
            Route::Extensions => self.reading(|| {
                Draft::new(StatusCode::OK).json(
                    "application/json",
                    &serde_json::json!({"extensions": []}),
                    self.is_head(),
                )
            }),
            Route::Blob(repository, digest) => self.blob(&repository, &digest).await,
            Route::Uploads(repository) => self.start_upload(&repository).await,
            Route::Upload(repository, id) => self.upload(&repository, id).await,
            Route::Manifest(repository, target) => self.manifest(&repository, target).await,
            Route::Tags(repository) => self.tags(&repository).await,
            Route::Referrers(repository, digest) => self.referrers(&repository, &digest).await,
        }
    }

    /// For what can only be read.
    fn reading(&self, answer: impl FnOnce() -> Reply) -> Result<Reply, Refusal> {
        if !self.is_read() {
            return Err(Refusal::method("GET, HEAD"));
        }
        Ok(answer())
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    pub(crate) fn is_read(&self) -> bool {
        self.method == Method::GET || self.is_head()
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.registry.storage
    }

    pub(crate) fn now(&self) -> u64 {
        self.registry.clock.now()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.registry.config.limits
    }

    /// Refuses what the caller may not do.
    pub(crate) fn require(&self, repository: &Repository, action: Action) -> Result<(), Refusal> {
        self.access
            .require(&self.caller, &self.headers, repository, action)
    }

    pub(crate) fn may_pull(&self, repository: &Repository) -> bool {
        self.access.allows(&self.caller, repository, &Action::Pull)
    }

    /// Refuses to delete where that is switched off.
    pub(crate) fn require_deletes(&self) -> Result<(), Refusal> {
        if self.registry.config.deletes {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::Unsupported,
            "deleting is switched off on this registry",
        ))
    }

    /// The body, as far as it has not been read.
    pub(crate) fn body(&mut self) -> &mut RequestBody {
        self.body.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// A header that is text.
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the body says it is.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The whole body, if it has no more than `limit` bytes.
    pub(crate) async fn read_body(&mut self, limit: u64) -> Result<Bytes, Refusal> {
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(Refusal::too_large(limit));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = self.body().frame().await {
            let frame = frame.map_err(super::storage::StorageError::Interrupted)?;
            let data = frame.into_data().unwrap_or_default();
            if (bytes.len() + data.len()) as u64 > limit {
                return Err(Refusal::too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.into())
    }
}

/// For answers that say nothing but that it was done.
pub(crate) fn empty(status: StatusCode) -> Reply {
    Draft::new(status).done()
}
