//! Requests in, answers out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use oci::{Digest, Repository, Tag};
use serde::Serialize;

use super::access::{Access, Caller};
use super::hooks::{self, Event, Hook, HookError, Hooks};
use super::metrics::Metrics;
use super::pattern::Pattern;
use super::rates::Rates;
use super::ready::Readiness;
use super::refusal::Refusal;
use super::reply::{Draft, Reply, ReplyBody};
use super::retention::{Policy, Retired};
use super::route::{self, Route};
use super::sendfile::Outbox;
use super::storage::{self, Clock, Collected, Collection, Storage};
use super::upstream::{Remote, Upstream, Upstreams};
use crate::client::Proxies;
use crate::wire::{Action, ErrorCode, Query, sanitised};

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
    /// Requests a second of one address, over ten seconds; no limit without a number.
    pub requests_per_second: Option<u32>,
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
            requests_per_second: None,
        }
    }
}

/// How a registry behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is taken.
    pub limits: Limits,
    /// Whether anything can be pushed or deleted.
    pub read_only: bool,
    /// Whether anything can be deleted.
    pub deletes: bool,
    /// Whether an index may list manifests that are not there.
    pub sparse_indexes: bool,
    /// What is kept, and what never moves.
    pub policy: Policy,
    /// How much repositories may hold.
    pub quotas: Vec<Quota>,
}

/// How much some repositories may hold together.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Which.
    pub repositories: Vec<Pattern>,
    /// How much.
    pub bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            read_only: false,
            deletes: true,
            sparse_indexes: false,
            policy: Policy::default(),
            quotas: Vec::new(),
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
    pub(crate) metrics: Metrics,
    pub(crate) rates: Option<Rates>,
    upstreams: Upstreams,
    readiness: Readiness,
    hooks: Hooks,
    observer: Option<Observer>,
}

/// Hears of each request when its answer begins.
#[derive(Clone)]
pub struct Observer(pub Arc<dyn Fn(&AccessRecord) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// A line of the access log. What a client sent is cut and made fit to be shown.
#[derive(Debug, Clone, Serialize)]
pub struct AccessRecord {
    /// When, in seconds since 1970.
    pub at: u64,
    /// From where; not known in this process.
    pub address: Option<IpAddr>,
    /// Who, if they have a name.
    pub user: Option<String>,
    /// What they wanted.
    pub method: String,
    /// Of what, without the query.
    pub path: String,
    /// What they got.
    pub status: u16,
    /// How long that took, in milliseconds.
    pub took: u64,
    /// What failed inside, if something did.
    pub cause: Option<String>,
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
            access: RwLock::default(),
            clock: Clock::system(),
            metrics: Metrics::default(),
            rates: config.limits.requests_per_second.map(Rates::new),
            upstreams: Upstreams::new(Vec::new(), PathBuf::new(), Arc::default()),
            readiness: Readiness::default(),
            hooks: Hooks::default(),
            observer: None,
            config,
        }
    }

    /// Has repositories of other registries. `spool` is a folder in which files without a name are made, for what comes
    /// from them while the storage does not show it; it need not exist.
    #[must_use]
    pub fn with_upstreams(mut self, upstreams: Vec<Upstream>, spool: PathBuf) -> Self {
        self.upstreams = Upstreams::new(upstreams, spool, self.metrics.fetches.clone());
        self
    }

    /// Tells others of pushes, pulls and deletions. Within a runtime, on which that goes on.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn with_hooks(mut self, hooks: Vec<Hook>, proxies: Proxies) -> Result<Self, HookError> {
        self.hooks = Hooks::start(hooks, proxies)?;
        Ok(self)
    }

    /// Folders in which no events can wait for the next server, and why: they wait in memory only.
    pub fn unkept_events(&self) -> impl Iterator<Item = (&std::path::Path, &std::io::Error)> {
        let unkept = self.hooks.unkept.iter();
        unkept.map(|(folder, error)| (folder.as_path(), error))
    }

    /// Tells of each request.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Lets go what the rules do not keep, then frees what nothing needs any more.
    ///
    /// # Errors
    ///
    /// The storage fails.
    pub async fn collect(&self, what: &Collection) -> storage::Result<(Retired, Collected)> {
        let retired = self
            .config
            .policy
            .apply(&*self.storage, self.clock.now(), what.dry_run)
            .await?;
        let collected = self.storage.collect(what).await;
        if !what.dry_run {
            self.metrics.collected(&collected);
        }
        Ok((retired, collected?))
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
        self.answer(request, Peer::default()).await
    }

    /// Answers a request of a connection, counts it and tells of it.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let counted = self.metrics.request();
        let begin = Instant::now();
        let method = request.method().clone();
        let path = self
            .observer
            .as_ref()
            .map(|_| sanitised(request.uri().path(), 400));
        let address = peer.address;
        let (reply, user, cause) = self.decide(request, peer).await;
        let took = begin.elapsed();
        self.metrics.answered(&method, reply.status(), took);
        if let (Some(Observer(tell)), Some(path)) = (&self.observer, path) {
            tell(&AccessRecord {
                at: self.clock.now(),
                address,
                user,
                method: sanitised(method.as_str(), 20),
                path,
                status: reply.status().as_u16(),
                took: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                cause,
            });
        }
        drop(counted);
        reply
    }

    /// The answer, who it is for, and what failed inside.
    async fn decide<B>(
        &self,
        request: Request<B>,
        peer: Peer,
    ) -> (Reply, Option<String>, Option<String>)
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let (head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let refuse = |refusal: Refusal, user| {
            let cause = refusal.cause.clone();
            (refusal.reply(is_head), user, cause)
        };
        if let (Some(rates), Some(address)) = (&self.rates, peer.address)
            && !rates.take(address, Instant::now())
        {
            let code = ErrorCode::TooManyRequests;
            let refusal = Refusal::new(code, code.message()).header(header::RETRY_AFTER, "1");
            return refuse(refusal, None);
        }
        let query = match route::query(head.uri.query()) {
            Ok(query) => query,
            Err(refusal) => return refuse(refusal, None),
        };
        let access = self.access();
        let caller = match access.caller(&head.headers, self.clock.now()).await {
            Ok(caller) => caller,
            Err(refusal) => return refuse(refusal, None),
        };
        let user = caller.name().map(|name| sanitised(name, 200));
        let mut visit = Visit {
            registry: self,
            access,
            caller,
            method: head.method,
            headers: head.headers,
            query,
            body: Mutex::new(body.map_err(Into::into).boxed_unsync()),
            outbox: peer.outbox,
        };
        match visit.answer(head.uri.path()).await {
            Ok(reply) => (reply, user, None),
            Err(refusal) => {
                drain(visit.body()).await;
                refuse(refusal, user)
            }
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<IpAddr>,
    /// Where files are put that the kernel sends; not every connection has one.
    pub(crate) outbox: Option<Outbox>,
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
        let mut route = Route::read(path)?;
        let Some(registry) = self.query.get("ns").map(str::to_owned) else {
            return self.dispatch(route).await;
        };
        if let Some(name) = route.repository_mut()
            && let Some(here) = self.registry.upstreams.name_here(&registry, name)
        {
            *name = here;
            let mut reply = self.dispatch(route).await?;
            if let Ok(registry) = header::HeaderValue::from_str(&registry) {
                reply.headers_mut().insert("oci-namespace", registry);
            }
            return Ok(reply);
        }
        self.dispatch(route).await
    }

    async fn dispatch(&mut self, route: Route) -> Result<Reply, Refusal> {
        match route {
            Route::Token => self.token().await,
            Route::Health => self.reading(|| empty(StatusCode::OK)),
            Route::Ready => {
                let ready = self.registry.readiness.check(self.storage()).await;
                ready.map_err(|cause| Refusal {
                    cause: Some(cause),
                    ..Refusal::new(ErrorCode::Unavailable, "the storage does not work")
                })?;
                self.reading(|| empty(StatusCode::OK))
            }
            Route::Metrics => self.reading(|| {
                let lost = self.registry.hooks.lost.load(Ordering::Relaxed);
                let text = self.registry.metrics.text(lost);
                let size = text.len() as u64;
                let body = ReplyBody::bytes(text);
                Draft::new(StatusCode::OK).body(
                    "text/plain; version=0.0.4",
                    size,
                    body,
                    self.is_head(),
                )
            }),
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

    /// The other registry's repository that this one is, if it is one.
    pub(crate) fn remote(&self, repository: &Repository) -> Option<Remote<'_>> {
        self.registry.upstreams.find(repository)
    }

    /// Tells others what happened, if anybody wants to know.
    pub(crate) fn tell(
        &self,
        action: hooks::Action,
        repository: &Repository,
        digest: Option<&Digest>,
        tags: &[Tag],
    ) {
        let hooks = &self.registry.hooks;
        if !hooks.is_empty() {
            let event = Event::new(self.now(), action, repository, self.caller.name());
            hooks.tell(&event.of(digest, tags));
        }
    }

    /// Refuses to write to what is another registry's.
    pub(crate) fn require_own(&self, repository: &Repository) -> Result<(), Refusal> {
        if self.remote(repository).is_none() {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::Unsupported,
            format!("`{repository}` is another registry's: push there, or beside it"),
        ))
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
        let changes = action != Action::Pull;
        self.access
            .require(&self.caller, &self.headers, repository, action)?;
        if changes && self.registry.config.read_only {
            return Err(Refusal::new(
                ErrorCode::Unsupported,
                "this registry is read-only",
            ));
        }
        Ok(())
    }

    pub(crate) fn may_pull(&self, repository: &Repository) -> bool {
        self.access.allows(&self.caller, repository, &Action::Pull)
    }

    pub(crate) fn may_list(&self, repository: &Repository) -> bool {
        self.access.shows(&self.caller, repository)
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
