//! Uploads: one request for small blobs, a stream for others, gone on with after whatever breaks it.
//!
//! ```text
//! HEAD blob ── there ──────────────────────────────────────────► Existed
//!   └─ POST uploads/?mount=…&from=… ── 201 ────────────────────► Mounted
//!        └─ 202, Location ── PATCH (whole, streamed) ── PUT ───► Sent
//!                              │ broken, 401, 5xx
//!                              └─ GET Location → how far; PATCH the rest
//! ```

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use oci::{Algorithm, Descriptor};

use super::attempts::{is_transient, retry_after};
use super::error::{Error, Result};
use super::host::{Call, expect, failure};
use super::payload::{OnBytes, Source};
use super::repository::{Repository, header_text};
use super::transport::Response;
use super::url::Url;
use crate::wire::{Action, Scope, UploadRange};

/// Up to here a blob goes in the closing request, 1 MiB: a request saved is worth more than the little that would have to be
/// sent again.
const SMALL: u64 = 1 << 20;

/// The chunk for registries that refuse a blob in one piece, 8 MiB.
const CHUNK: u64 = 8 << 20;

/// How often an upload is begun anew.
const MAX_RESTARTS: u32 = 3;

/// How a blob is uploaded.
#[derive(Clone, Default)]
pub struct Upload {
    /// A repository of the same registry that has the blob.
    pub mount: Option<oci::Repository>,
    /// Hears of bytes as they go. What has to be sent again is heard of again.
    pub on_bytes: Option<OnBytes>,
    /// Send chunks of this size instead of one stream.
    pub chunk: Option<u64>,
    /// It is known not to be there.
    pub absent: bool,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("mount", &self.mount)
            .field("chunk", &self.chunk)
            .finish_non_exhaustive()
    }
}

/// What it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// The bytes were sent.
    Sent,
    /// The registry took it from this repository.
    Mounted(oci::Repository),
    /// It was there.
    Existed,
}

/// An upload under way.
struct Session<'a> {
    repository: &'a Repository,
    descriptor: &'a Descriptor,
    source: &'a Source,
    options: &'a Upload,
    scopes: Vec<Scope>,
    what: String,
    location: Url,
    /// How many bytes the registry has.
    at: u64,
    chunk: Option<u64>,
}

/// How a step of an upload ended.
enum Step {
    Done,
    /// Ask how far it is and go on; the error, if nothing helps.
    Again(Error, Option<std::time::Duration>),
    /// The registry forgot it, or wants smaller pieces: begin anew.
    Restart(Error),
}

/// What came of an attempt to mount.
enum Mount {
    Done,
    /// The registry wants the bytes, here.
    Upload(Url),
    /// It wants nothing of it.
    Refused,
}

/// What a registry knows of an upload.
enum HowFar {
    /// So much; see [`Session::at`].
    Known,
    /// It has the blob.
    Finished,
    /// Nothing.
    Gone,
}

impl Repository {
    /// Uploads a blob, if the registry does not have it and cannot take it from another repository.
    ///
    /// After `Ok` the repository has the blob. After an error nothing is left that the registry would not take away itself.
    ///
    /// # Errors
    ///
    /// The registry refuses, or the source cannot be read.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        source: &Source,
        options: &Upload,
    ) -> Result<Uploaded> {
        let what = format!(
            "upload of `{}` to `{}/{}`",
            descriptor.digest,
            self.registry(),
            self.name()
        );
        let scopes = vec![self.scope([Action::Pull, Action::Push])];
        if !options.absent {
            let url = self.url(&format!("blobs/{}", descriptor.digest)).await?;
            let found = self.find_blob_with(&what, url, &scopes).await?;
            // What has another size is something else: a web page, or a blob that is damaged. Not all say the size.
            if found.is_some_and(|size| size == 0 || size == descriptor.size) {
                return Ok(Uploaded::Existed);
            }
        }
        let mut offered = None;
        if let Some(from) = &options.mount {
            match self.mount(&what, descriptor, from, &scopes).await? {
                Mount::Done => return Ok(Uploaded::Mounted(from.clone())),
                Mount::Upload(location) => offered = Some(location),
                Mount::Refused => {}
            }
        }
        let mut restarts = 0;
        let mut chunk = options.chunk;
        loop {
            let location = match offered.take() {
                Some(location) => location,
                None => self.begin(&what, descriptor, &scopes).await?,
            };
            let mut session = Session {
                repository: self,
                descriptor,
                source,
                options,
                scopes: scopes.clone(),
                what: what.clone(),
                location,
                at: 0,
                chunk,
            };
            match session.run().await {
                Ok(()) => return Ok(Uploaded::Sent),
                Err((error, true)) if restarts < MAX_RESTARTS => {
                    restarts += 1;
                    if matches!(error, Error::Status { status: 413, .. }) {
                        if chunk.is_some() {
                            return Err(error);
                        }
                        chunk = Some(CHUNK);
                    }
                    session.cancel().await;
                }
                Err((error, _)) => {
                    session.cancel().await;
                    return Err(error);
                }
            }
        }
    }

    /// Has the registry take a blob from another of its repositories.
    async fn mount(
        &self,
        what: &str,
        descriptor: &Descriptor,
        from: &oci::Repository,
        scopes: &[Scope],
    ) -> Result<Mount> {
        let url = self.url("blobs/uploads/").await?;
        let url = url
            .with_query("mount", &descriptor.digest.to_string())
            .with_query("from", from.as_str());
        let mut scopes = scopes.to_vec();
        scopes.push(Scope::repository(from.as_str(), [Action::Pull]));
        let answer = self.ask(Method::POST, url, HeaderMap::new(), &scopes).await;
        let answer = match answer {
            Ok(answer) => answer,
            // Nor does a token service have to know the other repository, or us there: the blob can still be sent.
            Err(Error::Status { status, .. }) if (400..500).contains(&status) => {
                return Ok(Mount::Refused);
            }
            Err(error) => return Err(error),
        };
        match answer.status {
            StatusCode::CREATED => {
                answer.body.drain().await;
                Ok(Mount::Done)
            }
            // A registry that refuses to mount may still take the blob.
            status if status.is_client_error() => {
                answer.body.drain().await;
                Ok(Mount::Refused)
            }
            _ => Ok(Mount::Upload(opened(answer, what).await?)),
        }
    }

    /// Opens an upload.
    async fn begin(&self, what: &str, descriptor: &Descriptor, scopes: &[Scope]) -> Result<Url> {
        let mut url = self.url("blobs/uploads/").await?;
        if descriptor.digest.algorithm() != Algorithm::Sha256 {
            url = url.with_query("digest-algorithm", descriptor.digest.algorithm().name());
        }
        let answer = self
            .ask(Method::POST, url, HeaderMap::new(), scopes)
            .await?;
        opened(answer, what).await
    }
}

/// Where an upload that was opened goes on.
async fn opened(answer: Response, what: &str) -> Result<Url> {
    let answer = expect(answer, what, &[202]).await?;
    let location = location(&answer, what)?;
    answer.body.drain().await;
    Ok(location)
}

/// Where an upload goes on.
fn location(answer: &Response, what: &str) -> Result<Url> {
    let text = header_text(&answer.headers, &header::LOCATION)
        .ok_or_else(|| Error::answer(what, "it has no location"))?;
    let url = answer.url.join(text).map_err(Error::Address)?;
    if answer.url.origin().is_secure() && !url.origin().is_secure() {
        return Err(Error::Redirect {
            host: answer.url.origin().authority(),
            why: "it leads from TLS to a place without",
        });
    }
    Ok(url)
}

impl Session<'_> {
    /// Sends what is missing until the registry has it all. The flag of an error says whether to begin anew.
    async fn run(&mut self) -> std::result::Result<(), (Error, bool)> {
        let attempts = self.repository.host.transport().patience.attempts;
        let mut failures = 0;
        let mut furthest = 0;
        loop {
            let step = match self.step().await {
                Ok(step) => step,
                Err(error) => return Err((error, false)),
            };
            match step {
                Step::Done => return Ok(()),
                Step::Restart(error) => return Err((error, true)),
                Step::Again(error, wait) => {
                    failures += 1;
                    if failures >= attempts {
                        return Err((error, false));
                    }
                    self.repository.host.pause(failures, wait).await;
                    match self.ask_how_far().await {
                        Ok(HowFar::Known) => {}
                        Ok(HowFar::Finished) => return Ok(()),
                        Ok(HowFar::Gone) => return Err((error, true)),
                        Err(error) => return Err((error, false)),
                    }
                    if self.at > furthest {
                        furthest = self.at;
                        failures = 0;
                    }
                }
            }
        }
    }

    /// One attempt to bring it to its end.
    async fn step(&mut self) -> Result<Step> {
        let size = self.descriptor.size;
        if self.at == 0 && size <= SMALL && self.chunk.is_none() {
            return self.close(size).await;
        }
        while self.at < size {
            let count = self
                .chunk
                .map_or(size - self.at, |chunk| chunk.max(1).min(size - self.at));
            match self.patch(count).await? {
                Step::Done => {}
                other => return Ok(other),
            }
        }
        self.close(0).await
    }

    fn call(&self, method: Method, url: Url, headers: HeaderMap) -> Call<'_> {
        Call {
            method,
            url,
            headers,
            body: Bytes::new(),
            scopes: &self.scopes,
            repository: Some(self.repository.name().as_str()),
        }
    }

    /// Sends the next `count` bytes.
    async fn patch(&mut self, count: u64) -> Result<Step> {
        let mut headers = octets();
        // A first stream of everything goes without a range, as Docker sends it; some registries know nothing else.
        if (self.at > 0 || self.chunk.is_some())
            && let Some(range) = UploadRange::chunk(self.at, count)
            && let Ok(range) = HeaderValue::from_str(&range.to_string())
        {
            headers.insert(header::CONTENT_RANGE, range);
        }
        let call = self.call(Method::PATCH, self.location.clone(), headers);
        let answer = self
            .repository
            .host
            .send_source(
                &call,
                self.source,
                (self.at, count),
                self.options.on_bytes.as_ref(),
            )
            .await;
        let answer = match self.judge(answer, &[201, 202, 204]).await? {
            Ok(answer) => answer,
            Err(step) => return Ok(step),
        };
        self.location = location(&answer, &self.what).unwrap_or_else(|_| self.location.clone());
        self.at += count;
        answer.body.drain().await;
        Ok(Step::Done)
    }

    /// Ends the upload, with the last `count` bytes.
    async fn close(&mut self, count: u64) -> Result<Step> {
        let url = self
            .location
            .with_query("digest", &self.descriptor.digest.to_string());
        let mut headers = octets();
        if let Some(range) = UploadRange::chunk(self.at, count)
            && self.at > 0
            && let Ok(range) = HeaderValue::from_str(&range.to_string())
        {
            headers.insert(header::CONTENT_RANGE, range);
        }
        let call = self.call(Method::PUT, url, headers);
        let answer = self
            .repository
            .host
            .send_source(
                &call,
                self.source,
                (self.at, count),
                self.options.on_bytes.as_ref(),
            )
            .await;
        match self.judge(answer, &[201, 202, 204]).await? {
            Ok(answer) => {
                answer.body.drain().await;
                Ok(Step::Done)
            }
            Err(step) => Ok(step),
        }
    }

    /// What an answer means for the upload.
    async fn judge(
        &self,
        answer: Result<Response>,
        good: &[u16],
    ) -> Result<std::result::Result<Response, Step>> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_transient() => return Ok(Err(Step::Again(error, None))),
            Err(error) => return Err(error),
        };
        let status = answer.status;
        if good.contains(&status.as_u16()) {
            return Ok(Ok(answer));
        }
        if status == StatusCode::UNAUTHORIZED {
            let error = Error::Status {
                what: self.what.clone(),
                status: status.as_u16(),
                document: crate::wire::ErrorDocument::default(),
                retry_after: None,
                asked: answer.asked.clone(),
            };
            self.repository
                .host
                .reauthenticate(answer, &self.scopes)
                .await?;
            return Ok(Err(Step::Again(error, None)));
        }
        let wait = retry_after(&answer.headers);
        let error = failure(answer, &self.what).await;
        let too_long =
            wait.is_some_and(|wait| wait > self.repository.host.transport().patience.retry_after);
        Ok(Err(match status.as_u16() {
            404 | 413 => Step::Restart(error),
            416 => Step::Again(error, None),
            _ if is_transient(status) && !too_long => Step::Again(error, wait),
            _ => return Err(error),
        }))
    }

    /// Asks the registry what it has.
    async fn ask_how_far(&mut self) -> Result<HowFar> {
        let blob = format!("blobs/{}", self.descriptor.digest);
        let blob = self.repository.url(&blob).await?;
        let call = self.call(Method::GET, self.location.clone(), HeaderMap::new());
        let answer = self.repository.host.call(&call).await?;
        if answer.status != StatusCode::NO_CONTENT && answer.status != StatusCode::ACCEPTED {
            answer.body.drain().await;
            // The closing request may have been done although its answer was lost.
            let there = self
                .repository
                .find_blob_with(&self.what, blob, &self.scopes)
                .await?;
            return Ok(if there.is_some() {
                HowFar::Finished
            } else {
                HowFar::Gone
            });
        }
        let range = header_text(&answer.headers, &header::RANGE)
            .map(|text| text.trim_start_matches("bytes="))
            .and_then(|text| text.parse::<UploadRange>().ok());
        let next = location(&answer, &self.what).ok();
        answer.body.drain().await;
        if let Some(next) = next {
            self.location = next;
        }
        // `0-0` is said of nothing and of one byte; who has one byte is told to begin anew by the next answer.
        let has = range.map_or(0, |range| if range.last == 0 { 0 } else { range.count() });
        if range.is_some_and(|range| range.first != 0) || has > self.descriptor.size {
            return Ok(HowFar::Gone);
        }
        self.at = has;
        Ok(HowFar::Known)
    }

    /// Tells the registry that nothing more comes. It would find out itself.
    async fn cancel(&self) {
        let call = self.call(Method::DELETE, self.location.clone(), HeaderMap::new());
        if let Ok(answer) = self
            .repository
            .host
            .send_source(&call, &Source::Bytes(Bytes::new()), (0, 0), None)
            .await
        {
            answer.body.drain().await;
        }
    }
}

fn octets() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers
}
