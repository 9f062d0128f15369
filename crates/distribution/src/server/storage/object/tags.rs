//! Tags: small objects that change only if nobody else changed them.

use std::time::Duration;

use hyper::body::Bytes;
use object_store::UpdateVersion;
use object_store::path::Path;
use oci::{Digest, Repository, Tag};
use serde::{Deserialize, Serialize};

use super::super::{NewTag, Result, StorageError, TagEvent};
use super::{Inner, below, damaged};

/// The past of a tag is kept up to this many events.
const MAX_PAST: usize = 1000;

/// How often a change is tried anew that others came before.
const ATTEMPTS: u32 = 100;

/// How long a tag that is being deleted is waited for, in tenths of a second. Its deletion takes two requests; whoever
/// began it and took longer than this is gone.
const DELETING: u32 = 300;

/// What a tag has named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) events: Vec<TagEvent>,
}

impl Past {
    pub(super) fn current(&self) -> Option<Digest> {
        self.events.last().and_then(|event| event.digest)
    }

    fn push(&mut self, event: TagEvent) {
        if self.events.len() >= MAX_PAST {
            self.events.remove(0);
        }
        self.events.push(event);
    }
}

impl Inner {
    async fn read_past(&self, path: &Path) -> Result<Option<(Past, UpdateVersion)>> {
        let Some((bytes, version)) = self.get(path).await? else {
            return Ok(None);
        };
        let past = serde_json::from_slice(&bytes).map_err(|error| damaged(path, error))?;
        Ok(Some((past, version)))
    }

    pub(super) async fn read_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<(Past, UpdateVersion)>> {
        self.read_past(&self.keys.tag(repository, tag.as_str()))
            .await
    }

    pub(super) async fn history(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Vec<TagEvent>> {
        let past = match self.read_tag(repository, tag).await? {
            Some((past, _)) => Some(past),
            None => self
                .read_past(&self.keys.past(repository, tag))
                .await?
                .map(|(past, _)| past),
        };
        Ok(past.unwrap_or_default().events)
    }

    fn bytes(path: &Path, past: &Past) -> Result<Bytes> {
        let bytes = serde_json::to_vec(past).map_err(|error| damaged(path, error))?;
        Ok(bytes.into())
    }

    /// Whether a tag could be set now.
    pub(super) async fn check_tag(
        &self,
        repository: &Repository,
        new: &NewTag,
        digest: &Digest,
    ) -> Result<()> {
        let old = self.read_tag(repository, &new.tag).await?;
        if new
            .condition
            .allows(old.and_then(|(past, _)| past.current()), *digest)
        {
            return Ok(());
        }
        Err(StorageError::Changed(new.tag.clone()))
    }

    pub(super) async fn set_tag(
        &self,
        repository: &Repository,
        new: &NewTag,
        digest: &Digest,
    ) -> Result<()> {
        // First, so that a manifest that is deleted takes this tag along.
        let named = below(&self.keys.named(repository, digest), new.tag.as_str());
        self.put(&named, Bytes::new()).await?;
        let path = self.keys.tag(repository, new.tag.as_str());
        let (mut attempts, mut waited) = (0, 0);
        while attempts < ATTEMPTS {
            let found = self.read_past(&path).await?;
            let (mut past, version) = match found {
                // It is being deleted: two requests, of which this is the first.
                Some((past, _)) if past.current().is_none() && waited < DELETING => {
                    waited += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Some((past, version)) => (past, Some(version)),
                None => {
                    let buried = self
                        .read_past(&self.keys.past(repository, &new.tag))
                        .await?;
                    (buried.map(|(past, _)| past).unwrap_or_default(), None)
                }
            };
            if !new.condition.allows(past.current(), *digest) {
                return Err(StorageError::Changed(new.tag.clone()));
            }
            if past.current() == Some(*digest) {
                return Ok(());
            }
            past.push(TagEvent {
                at: self.clock.now(),
                digest: Some(*digest),
            });
            if self
                .put_if(&path, Self::bytes(&path, &past)?, version)
                .await?
            {
                return Ok(());
            }
            attempts += 1;
        }
        Err(StorageError::Busy)
    }

    pub(super) async fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        expected: Option<&Digest>,
    ) -> Result<()> {
        let path = self.keys.tag(repository, tag.as_str());
        for _ in 0..ATTEMPTS {
            let unknown = || StorageError::TagUnknown(tag.clone());
            let (mut past, version) = self.read_past(&path).await?.ok_or_else(unknown)?;
            let current = past.current().ok_or_else(unknown)?;
            if expected.is_some_and(|expected| *expected != current) {
                return Err(StorageError::Changed(tag.clone()));
            }
            past.push(TagEvent {
                at: self.clock.now(),
                digest: None,
            });
            let bytes = Self::bytes(&path, &past)?;
            if self.put_if(&path, bytes.clone(), Some(version)).await? {
                self.put(&self.keys.past(repository, tag), bytes).await?;
                return self.delete(&path).await;
            }
        }
        Err(StorageError::Busy)
    }
}
