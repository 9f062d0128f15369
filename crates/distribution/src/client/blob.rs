//! A blob as it comes: counted, hashed, and gone on with after a broken connection.

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use oci::{Descriptor, Hasher};

use super::error::{Error, Kind, Result};
use super::host::{Call, expect};
use super::repository::{Repository, check_encoding, header_text};
use super::transport::Body;
use super::url::Url;
use crate::wire::{Action, ByteRange, ContentRange};

/// A registry that breaks off this often is not going to give the blob, however little by little it does.
const MAX_RESUMED: u32 = 200;

/// The bytes of a blob. Nothing beyond the size of the descriptor is ever given, and the end is only reached if size and
/// digest are right.
#[derive(Debug)]
pub struct BlobReader {
    repository: Repository,
    descriptor: Descriptor,
    /// Where the next byte stands in the blob.
    at: u64,
    body: Option<Body>,
    hasher: Option<Hasher>,
    /// Failures since the last byte that came.
    failures: u32,
    resumed: u32,
}

impl BlobReader {
    pub(crate) async fn open(
        repository: Repository,
        descriptor: Descriptor,
        at: u64,
        verify: bool,
    ) -> Result<Self> {
        let hasher = verify.then(|| Hasher::new(descriptor.digest.algorithm()));
        let mut reader = Self {
            repository,
            descriptor,
            at,
            body: None,
            hasher,
            failures: 0,
            resumed: 0,
        };
        reader.connect().await?;
        Ok(reader)
    }

    /// How many times the connection broke and the blob was gone on with.
    #[must_use]
    pub const fn resumed(&self) -> u32 {
        self.resumed
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// The blob is not what its descriptor says, or cannot be had.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let left = self.descriptor.size - self.at;
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            match body.next().await {
                Ok(Some(chunk)) => {
                    if chunk.len() as u64 > left {
                        return Err(self.wrong_size(self.at.saturating_add(chunk.len() as u64)));
                    }
                    self.at += chunk.len() as u64;
                    self.failures = 0;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&chunk);
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) if left == 0 => {
                    self.body = None;
                    self.check()?;
                    return Ok(None);
                }
                Ok(None) => self.resume(None).await?,
                // All is there, and how the connection ends is nobody's business.
                Err(_) if left == 0 => {
                    self.body = None;
                    self.check()?;
                    return Ok(None);
                }
                Err(error) if error.is_transient() => self.resume(Some(error)).await?,
                Err(error) => return Err(error),
            }
        }
    }

    fn check(&mut self) -> Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let found = hasher.finish();
        if found == self.descriptor.digest {
            Ok(())
        } else {
            Err(Error::mismatch(self.descriptor.digest, found))
        }
    }

    fn wrong_size(&self, found: u64) -> Error {
        Error::Size {
            digest: self.descriptor.digest,
            expected: self.descriptor.size,
            found,
        }
    }

    /// Asks for the rest after the body broke off.
    async fn resume(&mut self, error: Option<Error>) -> Result<()> {
        self.body = None;
        self.failures += 1;
        self.resumed += 1;
        let attempts = self.repository.host.transport().patience.attempts;
        if self.failures >= attempts || self.resumed > MAX_RESUMED {
            return Err(error.unwrap_or_else(|| self.wrong_size(self.at)));
        }
        if self.failures > 1 {
            self.repository.host.pause(self.failures - 1, None).await;
        }
        self.connect().await
    }

    /// Asks for what is left of the blob.
    async fn connect(&mut self) -> Result<()> {
        let digest = &self.descriptor.digest;
        let url = self.repository.url(&format!("blobs/{digest}")).await?;
        match self.connect_to(url).await {
            Err(error) if error.kind() == Kind::NotFound && !self.descriptor.urls.is_empty() => {
                self.connect_elsewhere(error).await
            }
            other => other,
        }
    }

    /// Layers that nobody may pass on are with their maker: fetched from there, without credentials.
    async fn connect_elsewhere(&mut self, mut error: Error) -> Result<()> {
        for address in self.descriptor.urls.clone() {
            let Ok(url) = address.parse::<Url>() else {
                continue;
            };
            if !url.origin().is_secure() {
                continue;
            }
            match self.connect_to(url).await {
                Ok(()) => return Ok(()),
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    async fn connect_to(&mut self, url: Url) -> Result<()> {
        let name = self.repository.name().clone();
        let what = format!("blob `{}` of `{name}`", self.descriptor.digest);
        let mut headers = HeaderMap::new();
        if self.at > 0 {
            let range = ByteRange::From(self.at).to_string();
            let range = HeaderValue::from_str(&range)
                .map_err(|error| Error::answer(&what, error.to_string()))?;
            headers.insert(header::RANGE, range);
        }
        let call = Call {
            method: Method::GET,
            url,
            headers,
            body: Bytes::new(),
            scopes: &[self.repository.scope([Action::Pull])],
            repository: Some(name.as_str()),
        };
        let answer = self.repository.host.call(&call).await?;
        let good: &[u16] = if self.at > 0 { &[200, 206] } else { &[200] };
        let answer = expect(answer, &what, good).await?;
        check_encoding(&answer, &what)?;
        let partial = answer.status == StatusCode::PARTIAL_CONTENT;
        if partial {
            let range = header_text(&answer.headers, &header::CONTENT_RANGE)
                .and_then(|text| text.parse::<ContentRange>().ok())
                .ok_or_else(|| Error::answer(&what, "it does not say which part it is"))?;
            if range.first != self.at {
                return Err(Error::answer(&what, "it is another part than asked for"));
            }
            if let Some(size) = range.size.filter(|size| *size != self.descriptor.size) {
                return Err(self.wrong_size(size));
            }
        }
        let length = header_text(&answer.headers, &header::CONTENT_LENGTH)
            .and_then(|text| text.parse::<u64>().ok());
        let first = if partial { self.at } else { 0 };
        if let Some(length) = length
            && first.saturating_add(length) != self.descriptor.size
        {
            // A part may be shorter than the rest; the next one is asked for when it ends.
            if !partial || first.saturating_add(length) > self.descriptor.size {
                return Err(self.wrong_size(first.saturating_add(length)));
            }
        }
        let mut body = answer.body;
        if !partial && self.at > 0 {
            skip(&mut body, self.at).await?;
        }
        self.body = Some(body);
        Ok(())
    }
}

/// Reads over what is known already: the registry does not give parts.
async fn skip(body: &mut Body, count: u64) -> Result<()> {
    let mut left = count;
    while left > 0 {
        let Some(chunk) = body.next().await? else {
            return Ok(());
        };
        let length = chunk.len() as u64;
        if length > left {
            let keep = usize::try_from(left).unwrap_or(usize::MAX);
            body.put_back(chunk.slice(keep..));
            return Ok(());
        }
        left -= length;
    }
    Ok(())
}
