//! Uploads: parts of a multipart upload that any server goes on with.
//!
//! ```text
//! uploads/<id>/state     whose it is, how far it is, the hash so far, the parts; the digest once it is being finished
//! uploads/<id>/tail.<n>  bytes that are too few for a part
//! content/<id>           what it becomes; the multipart upload goes there from the beginning
//! ```
//!
//! The state is written after each request, on the condition that nobody else wrote it. A server that dies in the middle
//! of a request takes back no more than that request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use object_store::multipart::PartId;
use object_store::{ObjectStoreExt, PutPayload, UpdateVersion};
use oci::{Algorithm, Digest, Hasher, Repository};
use serde::{Deserialize, Serialize};

use super::super::{Incoming, Result, StorageError, UploadId};
use super::keys::{Link, below};
use super::links::{live_of, written};
use super::{Inner, damaged, failed, found};

/// Bytes of a part, and what an upload holds in memory. Stores want at least 5 MiB, and at most 10,000 parts.
const PART: usize = 8 << 20;

/// The state of an upload between two requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    repository: String,
    algorithm: String,
    pub(super) received: u64,
    hash: String,
    /// The multipart upload, once there is enough for a part.
    multipart: Option<String>,
    parts: Vec<String>,
    /// The number in the name of the tail, and its bytes; none if there is no tail.
    tail: Option<(u64, usize)>,
    /// Counts the requests, so that two tails never have one name.
    requests: u64,
    /// The digest under which somebody is publishing it. From then on it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finishing: Option<String>,
}

/// An upload while a request adds to it.
struct Growing {
    upload: Upload,
    hasher: Hasher,
    tail: Vec<Bytes>,
    tail_size: usize,
}

fn algorithm_of(name: &str) -> Option<Algorithm> {
    [Algorithm::Sha256, Algorithm::Sha512]
        .into_iter()
        .find(|algorithm| algorithm.name() == name)
}

/// Takes a body that has to be empty: what it is for takes nothing more.
async fn nothing(body: Incoming<'_>) -> Result<()> {
    while let Some(frame) = body.frame().await {
        let piece = frame.map_err(StorageError::Interrupted)?.into_data();
        if piece.is_ok_and(|piece| !piece.is_empty()) {
            return Err(StorageError::UploadUnknown);
        }
    }
    Ok(())
}

impl Inner {
    pub(super) async fn start_upload(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        let id = UploadId::random().map_err(|source| StorageError::Io {
            verb: "name",
            place: "an upload".to_owned(),
            source,
        })?;
        let upload = Upload {
            repository: repository.to_string(),
            algorithm: algorithm.name().to_owned(),
            received: 0,
            hash: STANDARD.encode(Hasher::new(algorithm).save()),
            multipart: None,
            parts: Vec::new(),
            tail: None,
            requests: 0,
            finishing: None,
        };
        self.write_state(id, &upload, None).await?;
        Ok(id)
    }

    async fn write_state(
        &self,
        id: UploadId,
        upload: &Upload,
        version: Option<UpdateVersion>,
    ) -> Result<()> {
        let path = self.keys.upload(id, "state");
        let bytes = serde_json::to_vec(upload).map_err(|error| damaged(&path, error))?;
        if self.put_if(&path, Bytes::from(bytes), version).await? {
            return Ok(());
        }
        Err(StorageError::Busy)
    }

    pub(super) async fn upload(
        &self,
        repository: &Repository,
        id: UploadId,
    ) -> Result<(Upload, UpdateVersion)> {
        let path = self.keys.upload(id, "state");
        let (bytes, version) = self.get(&path).await?.ok_or(StorageError::UploadUnknown)?;
        let upload: Upload =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error))?;
        if upload.repository != repository.as_str() {
            return Err(StorageError::UploadUnknown);
        }
        Ok((upload, version))
    }

    async fn tail(&self, id: UploadId, upload: &Upload) -> Result<Vec<Bytes>> {
        let Some((number, size)) = upload.tail else {
            return Ok(Vec::new());
        };
        let path = self.keys.upload(id, &format!("tail.{number}"));
        match self.get(&path).await? {
            Some((bytes, _)) if bytes.len() == size => Ok(vec![bytes]),
            _ => Err(damaged(&path, "it is not what it was")),
        }
    }

    async fn grow(&self, id: UploadId, upload: Upload) -> Result<Growing> {
        let tail = self.tail(id, &upload).await?;
        let hasher = algorithm_of(&upload.algorithm)
            .zip(STANDARD.decode(&upload.hash).ok())
            .and_then(|(algorithm, saved)| Hasher::resume(algorithm, &saved))
            .ok_or_else(|| damaged(&self.keys.upload(id, "state"), "it has no hash"))?;
        Ok(Growing {
            tail_size: tail.iter().map(Bytes::len).sum(),
            upload,
            hasher,
            tail,
        })
    }

    pub(super) async fn append(
        &self,
        repository: &Repository,
        id: UploadId,
        at: Option<u64>,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<u64> {
        let (upload, version) = self.upload(repository, id).await?;
        if at.is_some_and(|at| at != upload.received) {
            return Err(StorageError::Offset {
                received: upload.received,
            });
        }
        if upload.finishing.is_some() {
            return nothing(body).await.map(|()| upload.received);
        }
        let old_tail = upload.tail;
        let mut growing = self.grow(id, upload).await?;
        let end = self.receive(id, &mut growing, body, limit).await;
        if let Err(error @ StorageError::Io { .. }) = end {
            // What the store has of it is not known; the state says what is.
            return Err(error);
        }
        let Growing {
            mut upload,
            hasher,
            tail,
            tail_size,
        } = growing;
        upload.requests += 1;
        upload.hash = STANDARD.encode(hasher.save());
        upload.tail = None;
        if tail_size > 0 {
            let path = self.keys.upload(id, &format!("tail.{}", upload.requests));
            self.put(&path, tail.into_iter().collect::<PutPayload>())
                .await?;
            upload.tail = Some((upload.requests, tail_size));
        }
        self.write_state(id, &upload, Some(version)).await?;
        if let Some((number, _)) = old_tail {
            self.delete(&self.keys.upload(id, &format!("tail.{number}")))
                .await?;
        }
        end?;
        Ok(upload.received)
    }

    async fn receive(
        &self,
        id: UploadId,
        growing: &mut Growing,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<()> {
        while let Some(frame) = body.frame().await {
            let piece = frame
                .map_err(StorageError::Interrupted)?
                .into_data()
                .unwrap_or_default();
            let received = growing.upload.received + piece.len() as u64;
            if received > limit {
                return Err(StorageError::TooLarge(limit));
            }
            growing.hasher.update(&piece);
            growing.upload.received = received;
            growing.tail_size += piece.len();
            growing.tail.push(piece);
            if growing.tail_size >= PART {
                self.put_part(id, growing).await?;
            }
        }
        Ok(())
    }

    async fn put_part(&self, id: UploadId, growing: &mut Growing) -> Result<()> {
        let path = self.keys.content(&id.to_string());
        let multipart = match &growing.upload.multipart {
            Some(multipart) => multipart.clone(),
            None => self
                .store
                .create_multipart(&path)
                .await
                .map_err(failed("begin an upload to", &path))?,
        };
        let payload: PutPayload = std::mem::take(&mut growing.tail).into_iter().collect();
        growing.tail_size = 0;
        let number = growing.upload.parts.len();
        let part = self
            .store
            .put_part(&path, &multipart, number, payload)
            .await
            .map_err(failed("upload a part of", &path))?;
        growing.upload.multipart = Some(multipart);
        growing.upload.parts.push(part.content_id);
        Ok(())
    }

    pub(super) async fn finish_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        expected: &Digest,
    ) -> Result<u64> {
        let (upload, version) = self.upload(repository, id).await?;
        let named = expected.to_string();
        if upload
            .finishing
            .as_ref()
            .is_some_and(|digest| *digest != named)
        {
            return Err(StorageError::UploadUnknown);
        }
        // It may have been published by a server that died while it forgot the rest.
        let size = upload.received;
        if upload.finishing.is_some() && self.link_to_existing(repository, expected, size).await? {
            drop(self.forget_upload(id, &upload).await);
            return Ok(size);
        }
        let mut growing = self.grow(id, upload).await?;
        let same = growing.upload.algorithm == expected.algorithm().name();
        if same {
            let found = growing.hasher.clone().finish();
            if found != *expected {
                return self.refuse(id, &growing.upload, expected, found).await;
            }
        }
        // Content that is there already is not stored again.
        if same && self.link_to_existing(repository, expected, size).await? {
            // What stays of it is taken away by a collection.
            drop(self.forget_upload(id, &growing.upload).await);
            return Ok(size);
        }
        // Others that go on with it see this, or this sees that they did. Whose answer was lost may come again.
        if growing.upload.finishing.is_none() {
            growing.upload.finishing = Some(named);
            self.write_state(id, &growing.upload, Some(version)).await?;
        }
        let path = self.keys.content(&id.to_string());
        if growing.upload.multipart.is_some() {
            self.complete(&path, id, &mut growing).await?;
        } else {
            let payload: PutPayload = std::mem::take(&mut growing.tail).into_iter().collect();
            self.put(&path, payload).await?;
        }
        if !same {
            let found = self.hash_of(&path, expected.algorithm()).await?;
            if found != *expected {
                self.delete(&path).await?;
                return self.refuse(id, &growing.upload, expected, found).await;
            }
        }
        let link = Link {
            size,
            generation: id.to_string(),
        };
        // In this order: what is known under its digest is held by somebody, so that no collection takes it.
        self.hold(repository, expected, &link).await?;
        let name = format!("{size}.{id}");
        self.put(&below(&self.keys.blob(expected), &name), Bytes::new())
            .await?;
        drop(self.forget_upload(id, &growing.upload).await);
        Ok(size)
    }

    /// Makes one object of the parts, if an attempt whose answer was lost has not done so.
    async fn complete(
        &self,
        path: &object_store::path::Path,
        id: UploadId,
        growing: &mut Growing,
    ) -> Result<()> {
        let size = growing.upload.received;
        let is_there = async || -> Result<bool> {
            let there = found(self.store.head(path).await, "look at", path)?;
            Ok(there.is_some_and(|there| there.size == size))
        };
        if !is_there().await? {
            if growing.tail_size > 0 {
                self.put_part(id, growing).await?;
            }
            let multipart = growing.upload.multipart.clone().unwrap_or_default();
            let parts = growing.upload.parts.iter().map(|part| PartId {
                content_id: part.clone(),
            });
            let finished = self
                .store
                .complete_multipart(path, &multipart, parts.collect())
                .await;
            if let Err(error) = finished
                && !is_there().await?
            {
                return Err(failed("finish", path)(error));
            }
        }
        growing.upload.multipart = None;
        Ok(())
    }

    async fn refuse(
        &self,
        id: UploadId,
        upload: &Upload,
        expected: &Digest,
        found: Digest,
    ) -> Result<u64> {
        self.forget_upload(id, upload).await?;
        Err(StorageError::Digest {
            expected: Box::new(*expected),
            found: Box::new(found),
        })
    }

    async fn link_to_existing(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<bool> {
        let contents = self.list(&self.keys.blob(digest)).await?;
        for (link, _) in live_of(&contents) {
            if link.size == size && self.link(repository, digest, &link).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads content through: for a digest of another algorithm than was announced.
    async fn hash_of(
        &self,
        path: &object_store::path::Path,
        algorithm: Algorithm,
    ) -> Result<Digest> {
        use futures_util::TryStreamExt;
        let mut hasher = Hasher::new(algorithm);
        let mut stream = found(self.store.get(path).await, "read", path)?
            .ok_or(StorageError::UploadUnknown)?
            .into_stream();
        while let Some(piece) = stream.try_next().await.map_err(failed("read", path))? {
            hasher.update(&piece);
        }
        Ok(hasher.finish())
    }

    /// Forgets an upload. Its content may have become a blob.
    pub(super) async fn forget_upload(&self, id: UploadId, upload: &Upload) -> Result<()> {
        if let Some(multipart) = &upload.multipart {
            let path = self.keys.content(&id.to_string());
            let aborted = self.store.abort_multipart(&path, multipart).await;
            found(aborted, "cancel the upload to", &path)?;
        }
        // The state goes last: as long as it is there, a collection comes back for the rest.
        if let Some((number, _)) = upload.tail {
            self.delete(&self.keys.upload(id, &format!("tail.{number}")))
                .await?;
        }
        self.delete(&self.keys.upload(id, "state")).await
    }

    /// Forgets uploads that nobody went on with since `before`; counts them.
    pub(super) async fn forget_uploads(&self, before: u64, dry_run: bool) -> Result<u64> {
        let mut count = 0;
        let all = self.list(&self.keys.uploads()).await?;
        let id_of = |meta: &object_store::ObjectMeta| {
            let id = meta.location.parts().nth_back(1)?;
            id.as_ref().parse::<UploadId>().ok()
        };
        let is_state = |meta: &&object_store::ObjectMeta| meta.location.filename() == Some("state");
        let mut alive = std::collections::HashSet::new();
        for meta in all.iter().filter(is_state) {
            let Some(id) = id_of(meta) else {
                continue;
            };
            if written(meta) >= before {
                alive.insert(id);
                continue;
            }
            count += 1;
            if dry_run {
                continue;
            }
            if let Some((bytes, _)) = self.get(&meta.location).await?
                && let Ok(upload) = serde_json::from_slice(&bytes)
            {
                self.forget_upload(id, &upload).await?;
            }
        }
        // Of a request whose server died before it wrote the state down.
        for meta in all.iter().filter(|meta| !is_state(meta)) {
            let left = id_of(meta).is_some_and(|id| !alive.contains(&id));
            if left && !dry_run && written(meta) < before {
                self.delete(&meta.location).await?;
            }
        }
        Ok(count)
    }
}
