//! Manifests: read, pushed with their tags, deleted.

use std::collections::HashSet;

use hyper::{Method, StatusCode, header};
use oci::{Digest, Hasher, Repository, Tag};

use super::document;
use super::hooks;
use super::refusal::Refusal;
use super::registry::{Visit, empty};
use super::reply::{Draft, Reply, ReplyBody};
use super::retention::Policy;
use super::route::{Target, parse_tag};
use super::storage::{Condition, NewManifest, NewTag, StorageError};
use crate::wire::{Action, ErrorCode, essence, warning_header};

impl Visit<'_> {
    pub(crate) async fn manifest(
        &mut self,
        repository: &Repository,
        target: Target,
    ) -> Result<Reply, Refusal> {
        match self.method {
            Method::GET | Method::HEAD => self.get_manifest(repository, &target).await,
            Method::PUT => self.put_manifest(repository, target).await,
            Method::DELETE => self.delete_manifest(repository, &target).await,
            _ => Err(Refusal::method("GET, HEAD, PUT, DELETE")),
        }
    }

    async fn get_manifest(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<Reply, Refusal> {
        self.require(repository, Action::Pull)?;
        let (digest, warning) = self.named(repository, target).await?;
        let manifest = self
            .storage()
            .manifest(repository, &digest)
            .await?
            .ok_or(StorageError::ManifestUnknown(digest))?;
        let named = digest.to_string();
        let tag = format!("\"{named}\"");
        let known = self
            .header(header::IF_NONE_MATCH)
            .is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
        let draft = |status| {
            Draft::new(status)
                .named("docker-content-digest", &named)
                .header(header::ETAG, &tag)
                .harmless()
                .headers(header::WARNING, warning.as_deref())
        };
        if !self.is_head() {
            self.storage().note_pull(repository, &digest).await;
        }
        if known {
            return Ok(draft(StatusCode::NOT_MODIFIED).done());
        }
        if !self.is_head() {
            let tags = match target {
                Target::Tag(tag) => std::slice::from_ref(tag),
                Target::Digest(_) => &[],
            };
            self.tell(hooks::Action::Pull, repository, Some(&digest), tags);
        }
        let size = manifest.bytes.len() as u64;
        let body = ReplyBody::bytes(manifest.bytes);
        Ok(draft(StatusCode::OK).body(&manifest.media_type, size, body, self.is_head()))
    }

    /// The manifest that is meant, and what there is to be said of it.
    async fn named(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<(Digest, Option<String>), Refusal> {
        let (tag, remote) = match (target, self.remote(repository)) {
            (Target::Digest(digest), None) => return Ok((*digest, None)),
            (Target::Digest(digest), Some(remote)) => {
                remote.bring_manifest(self.storage(), digest).await?;
                return Ok((*digest, None));
            }
            (Target::Tag(tag), remote) => (tag, remote),
        };
        if let Some(remote) = remote {
            // One that never moves was right when it came.
            let settled = match self.policy().is_immutable(repository, tag) {
                true => self.storage().tag(repository, tag).await?,
                false => None,
            };
            if let Some(digest) = settled {
                return Ok((digest, None));
            }
            let named = remote.bring_tag(self.storage(), tag, self.now()).await?;
            let warning = named.is_stale.then(|| {
                let registry = remote.registry();
                warning_header(&format!(
                    "{registry} cannot be reached: {repository}:{tag} may be out of date"
                ))
            });
            return Ok((named.digest, warning));
        }
        let digest = self.storage().tag(repository, tag).await?;
        let unknown = || StorageError::TagUnknown(tag.clone());
        Ok((digest.ok_or_else(unknown)?, None))
    }

    async fn put_manifest(
        &mut self,
        repository: &Repository,
        target: Target,
    ) -> Result<Reply, Refusal> {
        self.require(repository, Action::Push)?;
        self.require_own(repository)?;
        let tags = self.tags_to_set(&target)?;
        let bytes = self.read_body(self.limits().manifest).await?;
        let digest = match &target {
            Target::Tag(_) => Digest::sha256_of(&bytes),
            Target::Digest(expected) => {
                let mut hasher = Hasher::new(expected.algorithm());
                hasher.update(&bytes);
                let found = hasher.finish();
                if found != *expected {
                    let error = StorageError::Digest {
                        expected: Box::new(*expected),
                        found: Box::new(found),
                    };
                    return Err(error.into());
                }
                found
            }
        };
        self.require_room_for(repository, &digest, bytes.len() as u64)
            .await?;
        let announced = self
            .header(header::CONTENT_TYPE)
            .map(essence)
            .filter(|announced| !announced.is_empty());
        let document = document::read(&bytes, announced, digest)
            .map_err(|error| Refusal::new(ErrorCode::ManifestInvalid, error.to_string()))?;
        let subject = document.referrer.as_ref().map(|referrer| referrer.subject);
        let manifests = if self.registry.config.sparse_indexes {
            Vec::new()
        } else {
            document.manifests
        };
        let new = NewManifest {
            digest,
            media_type: document.media_type,
            bytes,
            blobs: document.blobs,
            manifests,
            referrer: document.referrer,
            tags: tags
                .iter()
                .map(|tag| NewTag {
                    tag: tag.clone(),
                    condition: if self.policy().is_immutable(repository, tag) {
                        Condition::Unmoved
                    } else {
                        Condition::Always
                    },
                })
                .collect(),
        };
        self.storage()
            .put_manifest(repository, new)
            .await
            .map_err(|error| match error {
                StorageError::BlobUnknown(_) | StorageError::ManifestUnknown(_) => {
                    Refusal::new(ErrorCode::ManifestBlobUnknown, error.to_string())
                }
                error => error.into(),
            })?;
        self.tell(hooks::Action::Push, repository, Some(&digest), &tags);
        let mut draft = Draft::new(StatusCode::CREATED)
            .header(
                header::LOCATION,
                format!("/v2/{repository}/manifests/{digest}"),
            )
            .named("docker-content-digest", digest.to_string());
        if let Some(subject) = subject {
            draft = draft.named("oci-subject", subject.to_string());
        }
        if matches!(target, Target::Digest(_)) {
            for tag in &tags {
                draft = draft.named("oci-tag", tag.as_str());
            }
        }
        Ok(draft.done())
    }

    /// The tags that a push sets: the one of the path, or those of the query.
    fn tags_to_set(&self, target: &Target) -> Result<Vec<Tag>, Refusal> {
        if let Target::Tag(tag) = target {
            return Ok(vec![tag.clone()]);
        }
        let mut tags = Vec::new();
        for text in self.query.all("tag") {
            let tag = parse_tag(text)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            if tags.len() > self.limits().tags {
                return Err(Refusal::new(
                    ErrorCode::Unsupported,
                    format!("at most {} tags are set at once", self.limits().tags),
                )
                .status(StatusCode::URI_TOO_LONG));
            }
        }
        Ok(tags)
    }

    async fn delete_manifest(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<Reply, Refusal> {
        self.require(repository, Action::Delete)?;
        self.require_deletes()?;
        self.require_mutable(repository, target).await?;
        match target {
            Target::Tag(tag) => {
                self.storage().remove_tag(repository, tag, None).await?;
                let tags = std::slice::from_ref(tag);
                self.tell(hooks::Action::Delete, repository, None, tags);
            }
            Target::Digest(digest) => {
                self.storage().remove_manifest(repository, digest).await?;
                self.tell(hooks::Action::Delete, repository, Some(digest), &[]);
            }
        }
        Ok(empty(StatusCode::ACCEPTED))
    }

    fn policy(&self) -> &Policy {
        &self.registry.config.policy
    }

    /// Refuses to take away an immutable tag, or what it names.
    async fn require_mutable(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<(), Refusal> {
        match target {
            Target::Tag(tag) if self.policy().is_immutable(repository, tag) => Err(immutable(tag)),
            Target::Tag(_) => Ok(()),
            Target::Digest(digest) => self.require_unneeded(repository, digest).await,
        }
    }

    /// Refuses to take away what an immutable tag names or leads to: a manifest, one that an index lists, a blob.
    pub(crate) async fn require_unneeded(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        if self.policy().immutable.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::new();
        for tag in self.storage().tags(repository, None, usize::MAX).await? {
            if !self.policy().is_immutable(repository, &tag) {
                continue;
            }
            let mut next = Vec::from_iter(self.storage().tag(repository, &tag).await?);
            while let Some(manifest) = next.pop() {
                if manifest == *digest {
                    return Err(immutable(&tag));
                }
                if !seen.insert(manifest) {
                    continue;
                }
                let Some(stored) = self.storage().manifest(repository, &manifest).await? else {
                    continue;
                };
                let read = document::read(&stored.bytes, Some(&stored.media_type), manifest);
                if let Ok(document) = read {
                    if document.blobs.iter().any(|(blob, _)| blob == digest) {
                        return Err(immutable(&tag));
                    }
                    next.extend(document.manifests);
                }
            }
        }
        Ok(())
    }
}

fn immutable(tag: &Tag) -> Refusal {
    let message = format!("tag `{tag}` is immutable on this registry");
    Refusal::new(ErrorCode::Denied, message)
}
