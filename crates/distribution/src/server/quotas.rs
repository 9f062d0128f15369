//! How much repositories may hold.

use oci::{Digest, Repository};

use super::pattern::Pattern;
use super::refusal::Refusal;
use super::registry::Visit;
use crate::wire::ErrorCode;

/// What a repository may still get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) left: u64,
    quota: u64,
}

impl Room {
    /// For what does not fit.
    pub(crate) fn refusal(self) -> Refusal {
        let message = format!("the quota of {} bytes is used up", self.quota);
        Refusal::new(ErrorCode::Denied, message)
    }

    fn require(self, more: u64) -> Result<(), Refusal> {
        if more > self.left {
            return Err(self.refusal());
        }
        Ok(())
    }
}

impl Visit<'_> {
    /// What a repository may still get; nothing if there is no quota for it.
    pub(crate) async fn room(&self, repository: &Repository) -> Result<Option<Room>, Refusal> {
        let mut least: Option<Room> = None;
        for quota in &self.registry.config.quotas {
            if !Pattern::any(&quota.repositories, repository.as_str()) {
                continue;
            }
            let mut used = 0_u64;
            for other in self.storage().repositories(None, usize::MAX).await? {
                if Pattern::any(&quota.repositories, other.as_str()) {
                    used = used.saturating_add(self.storage().usage(&other).await?);
                }
            }
            let room = Room {
                left: quota.bytes.saturating_sub(used),
                quota: quota.bytes,
            };
            if least.is_none_or(|least| room.left < least.left) {
                least = Some(room);
            }
        }
        Ok(least)
    }

    /// Refuses what would make repositories hold more than they may.
    pub(crate) async fn require_room(
        &self,
        repository: &Repository,
        more: u64,
    ) -> Result<(), Refusal> {
        match self.room(repository).await? {
            Some(room) => room.require(more),
            None => Ok(()),
        }
    }

    /// Refuses a manifest that is new and for which there is no room.
    pub(crate) async fn require_room_for(
        &self,
        repository: &Repository,
        manifest: &Digest,
        size: u64,
    ) -> Result<(), Refusal> {
        let Some(room) = self.room(repository).await? else {
            return Ok(());
        };
        match self.storage().manifest(repository, manifest).await? {
            Some(_) => Ok(()),
            None => room.require(size),
        }
    }

    /// Makes a blob of another repository one of this, if there is room for it. Says whether some repository has it.
    pub(crate) async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: Option<&Repository>,
    ) -> Result<bool, Refusal> {
        let storage = self.storage();
        let visible = |repository: &Repository| self.may_pull(repository);
        let room = self.room(repository).await?;
        let is_new = room.is_some() && storage.blob(repository, digest).await?.is_none();
        let room = room.filter(|_| is_new);
        // Before anybody here can count on it.
        if let (Some(room), Some(from)) = (room, from.filter(|from| visible(from)))
            && let Some(size) = storage.blob(from, digest).await?
        {
            room.require(size)?;
        }
        if !storage.mount(repository, digest, from, &visible).await? {
            return Ok(false);
        }
        // Of one that comes from anywhere it shows how large it is when it is here.
        if let Some(room) = room
            && let Some(size) = storage.blob(repository, digest).await?
            && let Err(refusal) = room.require(size)
        {
            storage.remove_blob(repository, digest).await?;
            return Err(refusal);
        }
        Ok(true)
    }
}
