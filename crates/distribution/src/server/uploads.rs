//! Uploads: whole, in chunks, streamed, gone on with, cancelled; and mounts.

use hyper::body::Body;
use hyper::{Method, StatusCode, header};
use oci::{Algorithm, Digest, Repository};

use super::refusal::Refusal;
use super::registry::{Visit, empty};
use super::reply::{Draft, Reply};
use super::route::parse_digest;
use super::storage::{StorageError, UploadId};
use crate::wire::{Action, ErrorCode, UploadRange};

impl Visit<'_> {
    pub(crate) async fn start_upload(&mut self, repository: &Repository) -> Result<Reply, Refusal> {
        if self.method != Method::POST {
            return Err(Refusal::method("POST"));
        }
        self.require(repository, Action::Push)?;
        self.require_own(repository)?;
        self.require_room(repository, self.content_length().unwrap_or_default())
            .await?;
        if let Some(digest) = self.digest("mount")? {
            let from = match self.query.get("from").filter(|from| !from.is_empty()) {
                Some(from) => Some(
                    from.parse::<Repository>()
                        .map_err(|error| Refusal::new(ErrorCode::NameInvalid, error.to_string()))?,
                ),
                None => None,
            };
            if self.mount(repository, &digest, from.as_ref()).await? {
                return Ok(created(repository, &digest));
            }
        } else if let Some(digest) = self.digest("digest")? {
            let id = self
                .storage()
                .start_upload(repository, digest.algorithm())
                .await?;
            return match self.receive(repository, id, Some(0)).await {
                Ok(_) => self.finish(repository, id, &digest).await,
                Err(refusal) => {
                    // Nobody knows the upload's name, so nobody could go on with it.
                    self.storage().cancel_upload(repository, id).await.ok();
                    Err(refusal)
                }
            };
        }
        let algorithm = self.algorithm()?;
        let id = self.storage().start_upload(repository, algorithm).await?;
        Ok(progress(StatusCode::ACCEPTED, repository, id, 0))
    }

    pub(crate) async fn upload(
        &mut self,
        repository: &Repository,
        id: UploadId,
    ) -> Result<Reply, Refusal> {
        self.require(repository, Action::Push)?;
        match self.method {
            Method::GET | Method::HEAD => {
                let received = self.storage().upload(repository, id).await?;
                Ok(progress(StatusCode::NO_CONTENT, repository, id, received))
            }
            Method::PATCH => {
                let at = self.chunk()?;
                let received = self.receive(repository, id, at).await?;
                Ok(progress(StatusCode::ACCEPTED, repository, id, received))
            }
            Method::PUT => {
                let digest = self.digest("digest")?.ok_or_else(|| {
                    Refusal::new(ErrorCode::DigestInvalid, "the query has no `digest`")
                })?;
                let at = self.chunk()?;
                if at.is_some() || !self.body().is_end_stream() {
                    self.receive(repository, id, at).await?;
                }
                self.finish(repository, id, &digest).await
            }
            Method::DELETE => {
                self.storage().cancel_upload(repository, id).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::method("GET, PATCH, PUT, DELETE")),
        }
    }

    /// Adds the body to an upload.
    async fn receive(
        &mut self,
        repository: &Repository,
        id: UploadId,
        at: Option<u64>,
    ) -> Result<u64, Refusal> {
        let limit = self.limits().blob;
        let length = self.content_length().unwrap_or_default();
        if length > limit {
            return Err(Refusal::too_large(limit));
        }
        // Before it fills the disk, and not only at the end.
        let room = self.room(repository).await?;
        let room = room.filter(|room| room.left < limit);
        if let Some(room) = room.filter(|room| length > room.left) {
            return Err(room.refusal());
        }
        let most = room.map_or(limit, |room| room.left);
        let storage = self.registry.storage.clone();
        let appended = storage.append(repository, id, at, self.body(), most).await;
        let received = appended.map_err(|error| match (error, room) {
            (StorageError::TooLarge(_), Some(room)) => room.refusal(),
            (error, _) => error.into(),
        })?;
        let chunk = self.chunk_range()?;
        if let Some(chunk) = chunk
            && received != chunk.last + 1
        {
            return Err(Refusal::new(
                ErrorCode::SizeInvalid,
                "the chunk has another length than its `Content-Range` says",
            ));
        }
        Ok(received)
    }

    async fn finish(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<Reply, Refusal> {
        let storage = self.storage();
        if !self.registry.config.quotas.is_empty()
            && storage.blob(repository, digest).await?.is_none()
        {
            let size = storage.upload(repository, id).await?;
            self.require_room(repository, size).await?;
        }
        storage.finish_upload(repository, id, digest).await?;
        Ok(created(repository, digest))
    }

    /// Where a chunk begins that says so.
    fn chunk(&self) -> Result<Option<u64>, Refusal> {
        let Some(chunk) = self.chunk_range()? else {
            return Ok(None);
        };
        if self
            .content_length()
            .is_some_and(|length| length != chunk.count())
        {
            return Err(Refusal::new(
                ErrorCode::SizeInvalid,
                "`Content-Length` and `Content-Range` differ",
            ));
        }
        Ok(Some(chunk.first))
    }

    fn chunk_range(&self) -> Result<Option<UploadRange>, Refusal> {
        self.headers
            .get(header::CONTENT_RANGE)
            .map(|value| {
                value
                    .to_str()
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| {
                        Refusal::new(
                            ErrorCode::BlobUploadInvalid,
                            "the `Content-Range` of a chunk is `FIRST-LAST`",
                        )
                        .status(StatusCode::BAD_REQUEST)
                    })
            })
            .transpose()
    }

    fn digest(&self, name: &str) -> Result<Option<Digest>, Refusal> {
        self.query.get(name).map(parse_digest).transpose()
    }

    fn algorithm(&self) -> Result<Algorithm, Refusal> {
        match self.query.get("digest-algorithm") {
            None | Some("sha256") => Ok(Algorithm::Sha256),
            Some("sha512") => Ok(Algorithm::Sha512),
            Some(_) => Err(Refusal::new(
                ErrorCode::DigestInvalid,
                "the digest algorithms here are sha256 and sha512",
            )),
        }
    }
}

fn created(repository: &Repository, digest: &Digest) -> Reply {
    Draft::new(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .named("docker-content-digest", digest.to_string())
        .done()
}

fn progress(status: StatusCode, repository: &Repository, id: UploadId, received: u64) -> Reply {
    Draft::new(status)
        .header(
            header::LOCATION,
            format!("/v2/{repository}/blobs/uploads/{id}"),
        )
        .header(header::RANGE, UploadRange::received(received).to_string())
        .named("docker-upload-uuid", id.to_string())
        .done()
}
