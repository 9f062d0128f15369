//! Collection: three passes, each safe while requests go on.
//!
//! 1. In each repository, blobs that no manifest needs and that nobody has counted on for the grace time leave it. That is
//!    decided and written down under the journal's lock, the same under which a manifest that needs them is taken.
//! 2. Content that no repository holds is deleted, one file at a time, each under the lock that everything takes for
//!    reading that links content to a repository. What was linked after the pass began is known from `fresh`.
//! 3. Uploads without news are forgotten.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use oci::{Digest, Repository};

use super::super::{Collected, Collection, Result, UploadId};
use super::journal::{Durability, Journal};
use super::state::{Event, State, What};
use super::{Folder, Local, TOUCH_STEP, files};
use crate::server::document;

impl Local {
    pub(super) async fn collect_garbage(&self, what: Collection) -> Result<Collected> {
        let running = self.0.collecting.lock().await;
        let collected = self
            .blocking(move |folder| {
                folder.watch_links(true);
                let collected = folder.collect(what);
                folder.watch_links(false);
                collected
            })
            .await;
        drop(running);
        collected
    }
}

impl Folder {
    /// Under the lock, so that no link is half way when the watching begins.
    fn watch_links(&self, on: bool) {
        let _content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = on.then(HashSet::new);
    }

    fn collect(&self, what: Collection) -> Result<Collected> {
        let mut collected = Collected::default();
        let repositories: Vec<Repository> = self
            .repositories
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect();
        let mut held = HashSet::new();
        for repository in &repositories {
            let Some(journal) = self.journal(repository)? else {
                continue;
            };
            let unneeded = self.drop_unneeded(&journal, what)?;
            collected.blobs += unneeded.len() as u64;
            journal.read(|state| {
                held.extend(
                    state
                        .blobs
                        .keys()
                        .filter(|digest| !unneeded.contains(digest)),
                );
                held.extend(state.manifests.keys());
            });
        }
        self.delete_content(&held, what, &mut collected)?;
        self.forget_uploads(what, &mut collected)?;
        Ok(collected)
    }

    /// Takes what no manifest needs out of a repository.
    fn drop_unneeded(&self, journal: &Arc<Journal>, what: Collection) -> Result<HashSet<Digest>> {
        let now = self.clock.now();
        let manifests: Vec<Digest> =
            journal.read(|state| state.manifests.keys().copied().collect());
        let mut needed = HashSet::new();
        let mut seen = HashSet::new();
        for digest in manifests {
            self.add_needs(&digest, &mut needed)?;
            seen.insert(digest);
        }
        let mut unneeded = HashSet::new();
        journal.transact(Durability::Synced, |state: &State| {
            // Those that came while the others were read.
            for digest in state
                .manifests
                .keys()
                .filter(|digest| !seen.contains(*digest))
            {
                self.add_needs(digest, &mut needed)?;
            }
            let kept_until = |touched: u64| {
                touched
                    .saturating_add(what.grace)
                    .saturating_add(TOUCH_STEP)
            };
            unneeded = state
                .blobs
                .iter()
                .filter(|(digest, blob)| {
                    !needed.contains(*digest) && kept_until(blob.touched) < now
                })
                .map(|(digest, _)| *digest)
                .collect();
            if what.dry_run {
                return Ok(Vec::new());
            }
            Ok(unneeded
                .iter()
                .map(|digest| Event {
                    at: now,
                    what: What::Unblob { digest: *digest },
                })
                .collect())
        })?;
        Ok(unneeded)
    }

    fn add_needs(&self, digest: &Digest, needed: &mut HashSet<Digest>) -> Result<()> {
        let path = self.content_path(digest);
        if let Some(bytes) = files::find_bytes(&path, u64::from(u32::MAX))? {
            needed.extend(document::blobs_of(&bytes));
        }
        Ok(())
    }

    fn delete_content(
        &self,
        held: &HashSet<Digest>,
        what: Collection,
        collected: &mut Collected,
    ) -> Result<()> {
        for (digest, path) in self.all_content()? {
            if held.contains(&digest) {
                continue;
            }
            let content = self.content.write().unwrap_or_else(PoisonError::into_inner);
            let linked = self
                .fresh
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_none_or(|fresh| fresh.contains(&digest));
            if linked {
                continue;
            }
            collected.bytes += files::size(&path)?.unwrap_or_default();
            collected.content += 1;
            if !what.dry_run {
                files::remove(&path)?;
                self.cache
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&digest);
            }
            drop(content);
        }
        Ok(())
    }

    fn all_content(&self) -> Result<Vec<(Digest, PathBuf)>> {
        let blobs = self.root.join("blobs");
        let mut all = Vec::new();
        for algorithm in files::names(&blobs)? {
            let directory = blobs.join(&algorithm);
            for shard in files::names(&directory)? {
                let directory = directory.join(shard);
                for name in files::names(&directory)? {
                    if let Ok(digest) = format!("{algorithm}:{name}").parse() {
                        all.push((digest, directory.join(name)));
                    }
                }
            }
        }
        Ok(all)
    }

    fn forget_uploads(&self, what: Collection, collected: &mut Collected) -> Result<()> {
        let now = self.clock.now();
        let directory = self.root.join("uploads");
        for name in files::names(&directory)? {
            let path = directory.join(&name);
            let Some(modified) = files::modified(&path)? else {
                continue;
            };
            if modified.saturating_add(what.upload_age) >= now {
                continue;
            }
            let id = name
                .split('.')
                .next()
                .and_then(|id| id.parse::<UploadId>().ok());
            let open = id.and_then(|id| {
                let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
                uploads.get(&id).cloned().map(|upload| (id, upload))
            });
            collected.uploads += 1;
            if what.dry_run {
                continue;
            }
            match open {
                None => files::remove(&path)?,
                Some((id, upload)) => match upload.try_lock() {
                    Ok(mut upload) => self.forget(id, &mut upload)?,
                    // Somebody writes to it after all.
                    Err(_) => collected.uploads -= 1,
                },
            }
        }
        Ok(())
    }
}
