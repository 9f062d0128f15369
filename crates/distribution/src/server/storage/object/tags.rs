//! Tags: small objects that change only if nobody else changed them.

use std::time::Duration;

use hyper::body::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, UpdateVersion};
use oci::{Digest, Repository, Tag};
use serde::{Deserialize, Serialize};

use super::super::{NewTag, Result, StorageError, TagEvent};
use super::keys::below;
use super::links::{unique, written};
use super::{Inner, damaged};

/// The past of a tag is kept up to this many events.
const MAX_PAST: usize = 1000;

/// How often a change is tried anew that others came before.
const ATTEMPTS: u32 = 100;

/// How long a tag that is being deleted is waited for, in tenths of a second. Its deletion takes two requests; whoever
/// began it and took longer than this is gone.
const DELETING: u32 = 300;

/// Seconds after which a deletion is taken over whose server seems to have died: more than anybody waits for it.
pub(super) const LEFT: u64 = 120;

/// What a tag has named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) events: Vec<TagEvent>,
    /// Who is deleting it; nobody else may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleting: Option<String>,
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
            let set = past.current() == Some(*digest) || {
                past.push(TagEvent {
                    at: self.clock.now(),
                    digest: Some(*digest),
                });
                past.deleting = None;
                let bytes = Self::bytes(&path, &past)?;
                self.put_if(&path, bytes, version).await?
            };
            if set {
                return self.keep_tag(repository, &new.tag, digest).await;
            }
            attempts += 1;
        }
        Err(StorageError::Busy)
    }

    /// Looks whether the manifest that a tag was just set to is still there. If it was deleted meanwhile, by somebody who
    /// may have looked for tags before this one was there, the tag goes with it.
    async fn keep_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<()> {
        let manifest = self.keys.manifest(repository, digest);
        if super::found(self.store.head(&manifest).await, "look at", &manifest)?.is_some() {
            return Ok(());
        }
        match self.remove_tag(repository, tag, Some(digest)).await {
            Ok(()) | Err(StorageError::TagUnknown(_) | StorageError::Changed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes a tag. What it names goes out of its object first, then its past is put elsewhere, then its object is
    /// deleted, by the one whom that object names. A server that dies between leaves a note for collections.
    pub(super) async fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        expected: Option<&Digest>,
    ) -> Result<()> {
        let path = self.keys.tag(repository, tag.as_str());
        let mine = unique()?;
        let note = below(&self.keys.leaving_tag(repository, tag), &mine);
        let unknown = || StorageError::TagUnknown(tag.clone());
        for attempt in 0..ATTEMPTS {
            let (mut past, version) = self.read_past(&path).await?.ok_or_else(unknown)?;
            let current = past.current().ok_or_else(unknown)?;
            if expected.is_some_and(|expected| *expected != current) {
                return Err(StorageError::Changed(tag.clone()));
            }
            if attempt == 0 {
                self.put(&note, Bytes::new()).await?;
            }
            past.push(TagEvent {
                at: self.clock.now(),
                digest: None,
            });
            past.deleting = Some(mine.clone());
            let bytes = Self::bytes(&path, &past)?;
            if self.put_if(&path, bytes.clone(), Some(version)).await? {
                self.bury(repository, tag, bytes, &mine).await?;
                return self.delete(&note).await;
            }
        }
        Err(StorageError::Busy)
    }

    async fn bury(
        &self,
        repository: &Repository,
        tag: &Tag,
        bytes: Bytes,
        mine: &str,
    ) -> Result<()> {
        self.put(&self.keys.past(repository, tag), bytes).await?;
        let path = self.keys.tag(repository, tag.as_str());
        // Whoever waited for this for too long has set the tag again.
        let found = self.read_past(&path).await?;
        if found.is_some_and(|(past, _)| past.deleting.as_deref() == Some(mine)) {
            self.delete(&path).await?;
        }
        Ok(())
    }

    /// Finishes deletions whose servers died in the middle.
    pub(super) async fn finish_deletions(&self, repository: &Repository) -> Result<()> {
        let before = self.clock.now().saturating_sub(LEFT);
        for note in self.list(&self.keys.leaving(repository)).await? {
            let tag = note.location.parts().nth_back(1);
            let Some(Ok(tag)) = tag.map(|tag| tag.as_ref().parse::<Tag>()) else {
                continue;
            };
            if written(&note) >= before {
                continue;
            }
            let path = self.keys.tag(repository, tag.as_str());
            if let Some((mut past, version)) = self.read_past(&path).await?
                && past.current().is_none()
            {
                let mine = unique()?;
                past.deleting = Some(mine.clone());
                let bytes = Self::bytes(&path, &past)?;
                if !self.put_if(&path, bytes.clone(), Some(version)).await? {
                    continue;
                }
                self.bury(repository, &tag, bytes, &mine).await?;
            }
            self.delete(&note.location).await?;
        }
        Ok(())
    }
}
