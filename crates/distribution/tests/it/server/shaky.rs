//! An object store in memory that fails, lags and is overtaken as a test tells it to.
//!
//! It stands between the storage and the store, where the client's own patience is at its end. Every request yields a
//! few times, by a number that a seed decides: two tasks on one thread meet in ever other orders, and the same ones each
//! time.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use distribution::server::storage::Clock;
use distribution::server::storage::object::Object;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use hyper::Method;
use hyper::body::Bytes;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{Signer, Url};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was done.
    Refused,
    /// It was done, and the answer was lost.
    Lost,
    /// Nothing was done, nor of anything after it: the server that asks was killed, or the store.
    Dead,
}

/// The store. Clones share what it holds, and its faults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shaky {
    store: Arc<InMemory>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: AtomicU64,
    /// What happens to the request of this number.
    fault: Mutex<Option<(u64, Fault)>>,
    /// Requests for which an object that was written stays out of listings.
    lag: AtomicU64,
    written: Mutex<HashMap<Path, u64>>,
    /// Decides how often requests yield; never does if it is zero.
    seed: AtomicU64,
    /// Takes the conditions of writes, and ignores them.
    careless: AtomicBool,
}

fn failure() -> Error {
    Error::Generic {
        store: "shaky",
        source: "it was told to fail".into(),
    }
}

impl Shaky {
    pub(crate) fn open(&self, clock: Clock) -> Object {
        Object::over(Arc::new(self.clone()), Path::from("x"), clock, false)
    }

    /// Has the `n`th request from now fail.
    pub(crate) fn fail(&self, n: u64, fault: Fault) {
        let number = self.state.requests.load(Ordering::SeqCst) + n;
        *self.state.fault.lock().unwrap() = Some((number, fault));
    }

    /// Works from now on; says whether anything has failed.
    pub(crate) fn heal(&self) -> bool {
        let fault = self.state.fault.lock().unwrap().take();
        fault.is_some_and(|(number, _)| number < self.state.requests.load(Ordering::SeqCst))
    }

    /// Keeps what is written out of listings for so many requests.
    pub(crate) fn lag(&self, requests: u64) {
        self.state.lag.store(requests, Ordering::SeqCst);
    }

    /// Has requests take turns.
    pub(crate) fn take_turns(&self, seed: u64) {
        self.state.seed.store(seed, Ordering::SeqCst);
    }

    /// Ignores the conditions of writes from now on.
    pub(crate) fn ignore_conditions(&self) {
        self.state.careless.store(true, Ordering::SeqCst);
    }

    /// The names of all objects.
    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self
            .store
            .list(None)
            .map_ok(|meta| meta.location.to_string());
        all.try_collect().await.unwrap()
    }

    /// Before a request: whether it fails afterwards, or now.
    async fn begin(&self) -> Result<Option<Fault>> {
        let number = self.state.requests.fetch_add(1, Ordering::SeqCst);
        let seed = self.state.seed.load(Ordering::SeqCst);
        if seed > 0 {
            // SplitMix64, of which the highest bits are good.
            let mut mixed = seed
                .wrapping_add(number)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            for _ in 0..mixed >> 61 {
                tokio::task::yield_now().await;
            }
        }
        let fault = *self.state.fault.lock().unwrap();
        match fault {
            Some((at, Fault::Dead)) if number >= at => Err(failure()),
            Some((at, Fault::Refused)) if number == at => Err(failure()),
            Some((at, Fault::Lost)) if number == at => Ok(Some(Fault::Lost)),
            _ => Ok(None),
        }
    }

    fn end<T>(fault: Option<Fault>, result: Result<T>) -> Result<T> {
        if fault.is_some() {
            Err(failure())
        } else {
            result
        }
    }

    fn note(&self, path: &Path) {
        let number = self.state.requests.load(Ordering::SeqCst);
        self.state
            .written
            .lock()
            .unwrap()
            .insert(path.clone(), number);
    }

    fn is_listed(&self, path: &Path) -> bool {
        let lag = self.state.lag.load(Ordering::SeqCst);
        let number = self.state.requests.load(Ordering::SeqCst);
        let written = self.state.written.lock().unwrap();
        lag == 0 || written.get(path).is_none_or(|at| at + lag < number)
    }
}

impl fmt::Display for Shaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shaky")
    }
}

#[async_trait]
impl ObjectStore for Shaky {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.begin().await?;
        if self.state.careless.load(Ordering::SeqCst) {
            options.mode = PutMode::Overwrite;
        }
        let result = self.store.put_opts(path, payload, options).await;
        self.note(path);
        Self::end(fault, result)
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("uploads are asked for by their parts")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.begin().await?;
        let result = self.store.get_opts(path, options).await;
        Self::end(fault, result)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let shaky = self.clone();
        paths
            .then(move |path| {
                let shaky = shaky.clone();
                async move {
                    let path = path?;
                    let fault = shaky.begin().await?;
                    let one = futures_util::stream::once(async { Ok(path) }).boxed();
                    let result = shaky.store.delete_stream(one).next().await;
                    Self::end(fault, result.unwrap_or_else(|| Err(failure())))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_from(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("nothing is listed this way")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

impl Shaky {
    fn list_from(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (shaky, prefix, offset) = (self.clone(), prefix.cloned(), offset.cloned());
        async move {
            let fault = match shaky.begin().await {
                Ok(fault) => fault,
                Err(error) => return vec![Err(error)],
            };
            // What a listing says is of one moment.
            let listing = match &offset {
                Some(offset) => shaky.store.list_with_offset(prefix.as_ref(), offset),
                None => shaky.store.list(prefix.as_ref()),
            };
            let mut all: Vec<ObjectMeta> = listing.try_collect().await.unwrap();
            all.retain(|meta| shaky.is_listed(&meta.location));
            if fault.is_some() {
                return vec![Err(failure())];
            }
            all.into_iter().map(Ok).collect()
        }
        .map(futures_util::stream::iter)
        .flatten_stream()
        .boxed()
    }
}

#[async_trait]
impl MultipartStore for Shaky {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let fault = self.begin().await?;
        Self::end(fault, self.store.create_multipart(path).await)
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        let fault = self.begin().await?;
        Self::end(fault, self.store.put_part(path, id, part, payload).await)
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let fault = self.begin().await?;
        Self::end(fault, self.store.complete_multipart(path, id, parts).await)
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let fault = self.begin().await?;
        // Of one that is gone S3 says so in a way that means `not found`; this store does not.
        self.store.abort_multipart(path, id).await.ok();
        Self::end(fault, Ok(()))
    }
}

#[async_trait]
impl Signer for Shaky {
    async fn signed_url(&self, _: Method, path: &Path, _: Duration) -> Result<Url> {
        Err(Error::NotFound {
            path: path.to_string(),
            source: "nothing is signed".into(),
        })
    }
}
