//! A file behind any URL, which is no registry's: redirects, retries, and going on where a download broke.
//!
//! Credentials go to the origin they were given for (scheme, host and port) and to no other, so they end at the first redirect that leaves it.
//! A part of a file is only put behind another if the server says that both are of the same file: by a strong ETag or a time of
//! change, in `If-Range`. Where it says neither, or the file is another by now, all of it comes anew.

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::Client;
use super::attempts::Attempts;
use super::connect::{Place, Way};
use super::error::{Error, Result};
use super::host::plain_headers;
use super::payload::Outgoing;
use super::repository::header_text;
use super::secret::Secret;
use super::transport::{Body, Response};
use super::url::{Url, UrlError, escaped};
use crate::wire::{ByteRange, ContentRange};

/// As curl and browsers do it, about.
const MAX_REDIRECTS: usize = 10;

/// A server that breaks off this often is not going to give the file, however little by little it does.
const MAX_RESUMED: u32 = 200;

/// The longest ETag that is remembered.
const MAX_ETAG: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct FileRequest {
    /// Where it is.
    pub url: Url,
    /// The value of `Authorization`, for the origin of `url`.
    pub authorization: Option<Secret>,
    /// What is known of it: the answer may be that it is still so.
    pub etag: Option<String>,
    /// The most bytes that it may have.
    pub limit: u64,
}

/// What a server says of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileHead {
    /// What tells it from its other versions.
    pub etag: Option<String>,
    /// `Last-Modified`, as it came.
    pub modified: Option<String>,
    /// How long it is.
    pub size: Option<u64>,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The way to it.
    #[error("{0}")]
    Client(#[from] Error),
    /// Another answer than the file.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// A redirect to nowhere.
    #[error("it redirects to nowhere")]
    NoLocation,
    /// A redirect to something that is no URL.
    #[error("it redirects to `{0}`: {1}")]
    Location(String, UrlError),
    /// Redirects without end.
    #[error("more than {} redirects", MAX_REDIRECTS)]
    Redirects,
    /// More than is taken.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// Less came than was announced.
    #[error("the connection ended after {found} of {size} bytes")]
    Short {
        /// What came.
        found: u64,
        /// What was announced.
        size: u64,
    },
}

impl FileError {
    fn is_transient(&self) -> bool {
        match self {
            // Nobody is there, or nobody of this name: waiting helps rarely, and a mistyped name is told at once.
            Self::Client(Error::Connect { .. }) => false,
            Self::Client(error) => error.is_transient(),
            Self::Short { .. } => true,
            _ => false,
        }
    }
}

/// What comes of a file.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// What came so far is void: the file begins anew, perhaps as another one.
    Again,
}

/// The bytes of a file.
#[derive(Debug)]
pub struct FileReader {
    client: Client,
    request: FileRequest,
    head: FileHead,
    body: Body,
    at: u64,
    /// Where the part ends that `body` is, if it is one.
    end: Option<u64>,
    /// Failures since the last byte that was new.
    failures: u32,
    resumed: u32,
    /// The farthest byte that ever came.
    farthest: u64,
}

impl Client {
    /// Whether the file still is what it was when it had the ETag of `request`. `false` also if the server does not know such
    /// questions: then a whole request tells.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or leads to nowhere.
    pub async fn is_same_file(
        &self,
        request: &FileRequest,
    ) -> std::result::Result<bool, FileError> {
        let answer = match self.ask_for(&Method::HEAD, request, HeaderMap::new()).await {
            // There are servers that break off here, and serve the file nevertheless.
            Err(FileError::Client(Error::Broken { .. })) => return Ok(false),
            answer => answer?,
        };
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(request.etag.is_some());
        }
        let found = FileHead::of(&answer.headers).etag;
        Ok(answer.status.is_success() && found.is_some() && found == request.etag)
    }

    /// Asks for the file; `None` if it is what it was.
    ///
    /// # Errors
    ///
    /// The server does not give it.
    pub async fn file(
        &self,
        request: FileRequest,
    ) -> std::result::Result<Option<FileReader>, FileError> {
        let answer = self
            .ask_for(&Method::GET, &request, HeaderMap::new())
            .await?;
        if answer.status == StatusCode::NOT_MODIFIED && request.etag.is_some() {
            return Ok(None);
        }
        if answer.status != StatusCode::OK {
            return Err(FileError::Status(answer.status));
        }
        let head = FileHead::of(&answer.headers);
        if head.size.is_some_and(|size| size > request.limit) {
            return Err(FileError::TooLarge(request.limit));
        }
        Ok(Some(FileReader {
            client: self.clone(),
            request,
            head,
            body: answer.body,
            at: 0,
            end: None,
            failures: 0,
            resumed: 0,
            farthest: 0,
        }))
    }

    /// Asks until there is an answer that another attempt would not change.
    async fn ask_for(
        &self,
        method: &Method,
        request: &FileRequest,
        extra: HeaderMap,
    ) -> std::result::Result<Response, FileError> {
        let mut attempts = Attempts::new(&self.shared.transport);
        let may_change = |error: &FileError| error.is_transient() && *method == Method::GET;
        loop {
            let answer = self.follow_file(method, request, &extra).await;
            if let Some(answer) = attempts.settle(answer, may_change).await {
                return answer;
            }
        }
    }

    /// Asks, and asks on where the answer is a redirect.
    async fn follow_file(
        &self,
        method: &Method,
        request: &FileRequest,
        extra: &HeaderMap,
    ) -> std::result::Result<Response, FileError> {
        let mut url = request.url.clone();
        let mut authorization = request.authorization.as_ref();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = plain_headers();
            headers.extend(extra.clone());
            if let Some(etag) = &request.etag
                && !extra.contains_key(header::RANGE)
            {
                put(&mut headers, header::IF_NONE_MATCH, etag)?;
            }
            if let Some(secret) = authorization {
                put(&mut headers, header::AUTHORIZATION, secret.reveal())?;
            }
            let place = Place {
                origin: url.origin().clone(),
                way: Way::Network {
                    tls: self.shared.tls(&url.origin().authority(), true)?,
                    led_from: None,
                },
            };
            let transport = &self.shared.transport;
            let sent = transport.send(&place, &url, method, &headers, Outgoing::empty());
            let answer = sent.await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.headers.get(header::LOCATION);
            let location = location.ok_or(FileError::NoLocation)?;
            let location = escaped(location.as_bytes());
            let next = url.join(&location).map_err(|error| {
                FileError::Location(crate::wire::sanitised(&location, 200), error)
            })?;
            if next.origin() != url.origin() {
                authorization = None;
            }
            answer.body.drain().await;
            url = next;
        }
        Err(FileError::Redirects)
    }
}

/// Sets a header that does not show itself.
fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) -> Result<()> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Configuration {
        what: format!("cannot send the header `{name}`"),
        why: "its value has characters that no header has".to_owned(),
    })?;
    value.set_sensitive(name == header::AUTHORIZATION);
    headers.insert(name, value);
    Ok(())
}

impl FileHead {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| header_text(headers, name).map(str::to_owned);
        Self {
            etag: text(&header::ETAG).filter(|etag| etag.len() <= MAX_ETAG),
            modified: text(&header::LAST_MODIFIED).filter(|text| text.len() <= 64),
            size: text(&header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        }
    }

    /// What says that two parts are of the same file: weak ETags do not.
    fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| etag.starts_with('"'));
        strong.or(self.modified.as_deref())
    }

    /// True if `part` says that it is of another file: not every server understands `If-Range`.
    fn is_denied_by(&self, part: &Self) -> bool {
        let differ = |ours: &Option<String>, theirs: &Option<String>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        };
        differ(&self.etag, &part.etag) || differ(&self.modified, &part.modified)
    }
}

/// What the bytes of another answer follow on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    WhatCame,
    Nothing,
}

impl FileReader {
    /// What the server says of the file.
    #[must_use]
    pub const fn head(&self) -> &FileHead {
        &self.head
    }

    /// The next that comes; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file is too large, or cannot be had to its end.
    pub async fn next(&mut self) -> std::result::Result<Option<Piece>, FileError> {
        loop {
            let error = match self.body.next().await {
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    if self.end.is_some_and(|end| self.at > end) {
                        return Err(self.wrong_part("it is longer than it says"));
                    }
                    if self.at > self.request.limit {
                        return Err(FileError::TooLarge(self.request.limit));
                    }
                    if self.at > self.farthest {
                        self.farthest = self.at;
                        self.failures = 0;
                    }
                    return Ok(Some(Piece::Bytes(chunk)));
                }
                Ok(None) => match self.head.size {
                    Some(size) if self.at < size => None,
                    _ => return Ok(None),
                },
                Err(error) => Some(error),
            };
            let short = self.head.size.filter(|size| self.at < *size);
            let error = match (short, error) {
                (Some(size), None | Some(Error::Broken { .. })) => FileError::Short {
                    found: self.at,
                    size,
                },
                (_, Some(error)) => error.into(),
                (None, None) => return Ok(None),
            };
            if self.go_on(error).await? == Follows::Nothing {
                self.at = 0;
                return Ok(Some(Piece::Again));
            }
        }
    }

    /// Asks for the rest after a failure, or for all of it again.
    async fn go_on(&mut self, mut error: FileError) -> std::result::Result<Follows, FileError> {
        loop {
            self.failures += 1;
            self.resumed += 1;
            let transport = &self.client.shared.transport;
            if !error.is_transient()
                || self.failures >= transport.patience.attempts
                || self.resumed > MAX_RESUMED
            {
                return Err(error);
            }
            transport.pause(self.failures, None).await;
            match self.reconnect().await {
                Ok(follows) => return Ok(follows),
                Err(next) => error = next,
            }
        }
    }

    async fn reconnect(&mut self) -> std::result::Result<Follows, FileError> {
        let mut extra = HeaderMap::new();
        if let Some(validator) = self.head.validator().filter(|_| self.at > 0) {
            put(
                &mut extra,
                header::RANGE,
                &ByteRange::From(self.at).to_string(),
            )?;
            put(&mut extra, header::IF_RANGE, validator)?;
        }
        let wants_part = !extra.is_empty();
        let mut answer = self.ask(extra).await?;
        if wants_part && answer.status == StatusCode::PARTIAL_CONTENT {
            if self.takes_part(&answer.headers)? {
                self.body = answer.body;
                return Ok(Follows::WhatCame);
            }
            answer = self.ask(HeaderMap::new()).await?;
        }
        match answer.status {
            StatusCode::OK => {
                self.head = FileHead::of(&answer.headers);
                self.end = None;
                if self.head.size.is_some_and(|size| size > self.request.limit) {
                    return Err(FileError::TooLarge(self.request.limit));
                }
                self.body = answer.body;
                Ok(Follows::Nothing)
            }
            StatusCode::PARTIAL_CONTENT => {
                Err(self.wrong_part("it is a part, and all was asked for"))
            }
            other => Err(FileError::Status(other)),
        }
    }

    /// Asks for the file, whatever was known of it before.
    async fn ask(&self, extra: HeaderMap) -> std::result::Result<Response, FileError> {
        let mut request = self.request.clone();
        request.etag = None;
        self.client.ask_for(&Method::GET, &request, extra).await
    }

    /// Notes where the part ends that begins with these headers; false if it may be one of another file.
    fn takes_part(&mut self, headers: &HeaderMap) -> std::result::Result<bool, FileError> {
        let range = header_text(headers, &header::CONTENT_RANGE)
            .and_then(|text| text.parse::<ContentRange>().ok());
        let of_this_size = |range: &ContentRange| {
            let both = range.size.zip(self.head.size);
            both.is_none_or(|(said, known)| said == known && range.last < known)
        };
        let range = range.filter(|range| range.first == self.at && of_this_size(range));
        let Some(range) = range else {
            return Err(self.wrong_part("it is another part than asked for"));
        };
        // Without a size nothing tells whether this part is the last one.
        let size = self.head.size.or(range.size);
        if size.is_none() || self.head.is_denied_by(&FileHead::of(headers)) {
            return Ok(false);
        }
        self.head.size = size;
        self.end = Some(range.last.saturating_add(1));
        Ok(true)
    }

    fn wrong_part(&self, why: &str) -> FileError {
        Error::answer(&format!("`{}`", self.request.url), why).into()
    }
}
