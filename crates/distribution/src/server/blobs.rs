//! Blobs: read and deleted.

use hyper::{Method, StatusCode, header};
use oci::{Digest, Repository};

use super::fetch::Fetching;
use super::refusal::Refusal;
use super::registry::{Visit, empty};
use super::reply::{Draft, Reply, ReplyBody};
use super::storage::{Content, StorageError};
use crate::wire::{Action, ByteRange, ContentRange, ErrorCode, RangeError};

impl Visit<'_> {
    pub(crate) async fn blob(
        &mut self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Reply, Refusal> {
        match self.method {
            Method::GET | Method::HEAD => self.get_blob(repository, digest).await,
            Method::DELETE => {
                self.require(repository, Action::Delete)?;
                self.require_deletes()?;
                self.require_unneeded(repository, digest).await?;
                self.storage().remove_blob(repository, digest).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => Err(Refusal::method("GET, HEAD, DELETE")),
        }
    }

    async fn get_blob(&self, repository: &Repository, digest: &Digest) -> Result<Reply, Refusal> {
        self.require(repository, Action::Pull)?;
        let (size, coming) = match self.storage().blob(repository, digest).await? {
            Some(size) => (size, None),
            None => self.bring_blob(repository, digest).await?,
        };
        let tag = format!("\"{digest}\"");
        let known = self
            .header(header::IF_NONE_MATCH)
            .is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
        let draft = |status| {
            Draft::new(status)
                .named("docker-content-digest", digest.to_string())
                .header(header::ETAG, &tag)
                .harmless()
                .header(header::ACCEPT_RANGES, "bytes")
                .header(header::CACHE_CONTROL, "max-age=31536000")
        };
        if known {
            return Ok(draft(StatusCode::NOT_MODIFIED).done());
        }
        let (status, first, count) = match self.range(size) {
            None => (StatusCode::OK, 0, size),
            Some(Ok((first, count))) => (StatusCode::PARTIAL_CONTENT, first, count),
            Some(Err(refusal)) => return Err(refusal),
        };
        let mut draft = draft(status);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = ContentRange {
                first,
                last: first + count - 1,
                size: Some(size),
            };
            draft = draft.header(header::CONTENT_RANGE, range.to_string());
        }
        let body = if self.is_head() || count == 0 {
            ReplyBody::empty()
        } else if let Some(coming) = coming {
            coming.read(first..first + count)
        } else {
            let range = first..first + count;
            match self.storage().open_blob(repository, digest, range).await? {
                Content::File(file, range) => ReplyBody::file(file, range, self.outbox.clone()),
                Content::Bytes(bytes) => ReplyBody::bytes(bytes),
                Content::Stream(stream) => ReplyBody::stream(stream, Some(count)),
                Content::Elsewhere(url) => {
                    return Ok(Draft::new(StatusCode::TEMPORARY_REDIRECT)
                        .named("docker-content-digest", digest.to_string())
                        .header(header::LOCATION, url)
                        .done());
                }
            }
        };
        Ok(draft.body("application/octet-stream", count, body, self.is_head()))
    }

    /// A blob that is not here: its size if it can be had elsewhere, and how it comes if it is wanted and not stored by now.
    async fn bring_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(u64, Option<Fetching>), Refusal> {
        let unknown = || StorageError::BlobUnknown(*digest);
        let remote = self.remote(repository).ok_or_else(unknown)?;
        if self.is_head() {
            let known = remote.coming(digest).and_then(|coming| coming.size());
            return match known {
                Some(size) => Ok((size, None)),
                None => Ok((remote.size(digest).await?, None)),
            };
        }
        let mut coming = remote.fetch(&self.registry.storage, digest);
        if let Some(size) = coming.begin().await? {
            return Ok((size, Some(coming)));
        }
        let size = self.storage().blob(repository, digest).await?;
        Ok((size.ok_or_else(unknown)?, None))
    }

    /// The range that is asked for: first byte and count. One that cannot be read is ignored, as HTTP has it.
    fn range(&self, size: u64) -> Option<Result<(u64, u64), Refusal>> {
        let range: ByteRange = self.header(header::RANGE)?.parse().ok()?;
        Some(range.within(size).map_err(|error: RangeError| {
            Refusal::new(ErrorCode::RangeInvalid, error.to_string())
                .header(header::CONTENT_RANGE, format!("bytes */{size}"))
        }))
    }
}
