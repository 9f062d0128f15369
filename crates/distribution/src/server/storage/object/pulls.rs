//! When manifests were pulled: objects without content, whose names say it. The newest counts; collections take the others.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use hyper::body::Bytes;
use object_store::ObjectMeta;
use oci::{Digest, Repository};

use super::super::{PULL_STEP, Result};
use super::Inner;
use super::keys::{below, unflat};

/// Pulls that this server remembers having noted; then it forgets all, which costs a request each.
const NOTED: usize = 100_000;

/// What the name of a note says.
fn read(meta: &ObjectMeta) -> Option<(Digest, u64)> {
    let digest = meta.location.parts().nth_back(1)?;
    let at = u64::from_str_radix(meta.location.filename()?, 16).ok()?;
    Some((unflat(digest.as_ref())?, at))
}

impl Inner {
    /// Notes a pull, without anybody waiting for it. Within a runtime.
    pub(super) fn note_pull(self: &Arc<Self>, repository: &Repository, digest: &Digest) {
        let at = self.clock.now() / PULL_STEP * PULL_STEP;
        let key = (repository.clone(), *digest);
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&key).is_some_and(|noted| *noted >= at) {
                return;
            }
            if noted.len() >= NOTED {
                noted.clear();
            }
            noted.insert(key, at);
        }
        let place = below(&self.keys.pulls_of(repository, digest), &format!("{at:x}"));
        let inner = self.clone();
        // If it cannot be noted, the next pull may.
        let note = tokio::spawn(async move { drop(inner.put(&place, Bytes::new()).await) });
        let mut noting = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        noting.retain(|note| !note.is_finished());
        noting.push(note);
    }

    /// Waits for the notes that are under way from this server.
    async fn pulls_noted(&self) {
        let noting =
            std::mem::take(&mut *self.noting.lock().unwrap_or_else(PoisonError::into_inner));
        for note in noting {
            // One that failed was none.
            drop(note.await);
        }
    }

    /// When the manifests of a repository were last pulled, those that were.
    pub(super) async fn pulls(&self, repository: &Repository) -> Result<HashMap<Digest, u64>> {
        self.pulls_noted().await;
        let mut pulls = HashMap::new();
        for meta in self.list(&self.keys.pulled(repository)).await? {
            if let Some((digest, at)) = read(&meta) {
                let last = pulls.entry(digest).or_insert(at);
                *last = at.max(*last);
            }
        }
        Ok(pulls)
    }

    /// Takes notes away that say nothing any more.
    pub(super) async fn forget_pulls(&self, repository: &Repository) -> Result<()> {
        let notes = self.list(&self.keys.pulled(repository)).await?;
        if notes.is_empty() {
            return Ok(());
        }
        let mut last: HashMap<Digest, u64> = HashMap::new();
        for meta in self.list(&self.keys.manifests(repository)).await? {
            last.extend(
                meta.location
                    .filename()
                    .and_then(unflat)
                    .map(|digest| (digest, 0)),
            );
        }
        for (digest, at) in notes.iter().filter_map(read) {
            if let Some(last) = last.get_mut(&digest) {
                *last = at.max(*last);
            }
        }
        for meta in &notes {
            if read(meta).is_none_or(|(digest, at)| last.get(&digest) != Some(&at)) {
                self.delete(&meta.location).await?;
            }
        }
        Ok(())
    }
}
