//! Collection in a bucket that others use at the same time: condemn, look again, delete. See the module above.

use std::collections::{HashMap, HashSet};

use hyper::body::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;
use oci::{Digest, Repository};

use super::super::{Collected, Collection, Result};
use super::keys::{CONDEMNED, Link, repository_of, unflat};
use super::links::written;
use super::{Inner, TOUCH_STEP};
use crate::server::document;

/// The object that condemns another.
fn mark(path: &Path) -> Path {
    Path::from(format!("{path}{CONDEMNED}"))
}

impl Inner {
    pub(super) async fn collect(&self, what: Collection) -> Result<Collected> {
        let now = self.clock.now();
        let old = now.saturating_sub(what.grace).saturating_sub(TOUCH_STEP);
        let mut collected = Collected {
            uploads: self
                .forget_uploads(now.saturating_sub(what.upload_age), what.dry_run)
                .await?,
            ..Collected::default()
        };
        if !what.dry_run {
            self.delete_old(&self.keys.probes(), old).await?;
        }
        let mut dropped = HashSet::new();
        for repository in self.all_repositories().await? {
            if !what.dry_run {
                self.clean_up(&repository, old).await?;
            }
            for path in self
                .drop_unneeded(&repository, old, what.dry_run, &mut collected)
                .await?
            {
                dropped.insert(path);
            }
        }
        self.delete_content(old, what.dry_run, &dropped, &mut collected)
            .await?;
        Ok(collected)
    }

    async fn all_repositories(&self) -> Result<Vec<Repository>> {
        let all = self.list(&self.keys.catalog()).await?;
        Ok(all
            .iter()
            .filter_map(|meta| repository_of(&meta.location))
            .collect())
    }

    /// Takes away what servers left behind that died in the middle of something.
    async fn clean_up(&self, repository: &Repository, old: u64) -> Result<()> {
        self.finish_deletions(repository).await?;
        self.forget_pulls(repository).await?;
        self.delete_old(&self.keys.coming(repository), old).await
    }

    /// Deletes what nobody waits for any more.
    async fn delete_old(&self, place: &Path, old: u64) -> Result<()> {
        for meta in self.list(place).await? {
            if written(&meta) < old {
                self.delete(&meta.location).await?;
            }
        }
        Ok(())
    }

    /// Deletes what condemns an object that is gone: a collection ended between the two.
    async fn delete_marks_of_nothing(&self, all: &[ObjectMeta]) -> Result<()> {
        let there: HashSet<&str> = all.iter().map(|meta| meta.location.as_ref()).collect();
        for path in &there {
            if let Some(bare) = path.strip_suffix(CONDEMNED)
                && !there.contains(bare)
            {
                self.delete(&Path::from(*path)).await?;
            }
        }
        Ok(())
    }

    /// Blobs that a manifest of the repository names.
    async fn needed(&self, repository: &Repository) -> Result<HashSet<Digest>> {
        let mut needed = HashSet::new();
        // Those that may become manifests in a moment, before those that have: none is overlooked that moves over.
        for meta in self.list(&self.keys.coming(repository)).await? {
            if let Some((_, bytes)) = self.read_about(&meta.location).await? {
                needed.extend(document::blobs_of(&bytes));
            }
        }
        for meta in self.list(&self.keys.manifests(repository)).await? {
            if let Some((_, bytes)) = self.read_about(&meta.location).await? {
                needed.extend(document::blobs_of(&bytes));
            }
        }
        Ok(needed)
    }

    /// Takes what no manifest needs out of a repository, and says which links went.
    async fn drop_unneeded(
        &self,
        repository: &Repository,
        old: u64,
        dry_run: bool,
        collected: &mut Collected,
    ) -> Result<Vec<Path>> {
        let links = self.list(&self.keys.held_by(repository)).await?;
        if !dry_run {
            self.delete_marks_of_nothing(&links).await?;
        }
        let mut by_digest: HashMap<Digest, Vec<&ObjectMeta>> = HashMap::new();
        for link in &links {
            if let Some(digest) = link
                .location
                .parts()
                .nth_back(1)
                .and_then(|part| unflat(part.as_ref()))
            {
                by_digest.entry(digest).or_default().push(link);
            }
        }
        let needed = self.needed(repository).await?;
        by_digest.retain(|digest, links| {
            !needed.contains(digest) && links.iter().all(|link| written(link) < old)
        });
        if by_digest.is_empty() {
            return Ok(Vec::new());
        }
        let paths: HashMap<Digest, Vec<Path>> = by_digest
            .into_iter()
            .map(|(digest, links)| {
                let paths = links.into_iter().map(|link| link.location.clone());
                let bare = paths.filter(|path| !path.as_ref().ends_with(CONDEMNED));
                (digest, bare.collect())
            })
            .collect();
        if dry_run {
            collected.blobs += paths.len() as u64;
            return Ok(paths.into_values().flatten().collect());
        }
        for path in paths.values().flatten() {
            self.put(&mark(path), Bytes::new()).await?;
        }
        // Whoever counted on one before it was condemned has written their manifest by now.
        let needed = self.needed(repository).await?;
        let mut gone = Vec::new();
        for (digest, paths) in paths {
            let keep = needed.contains(&digest);
            for path in paths {
                if !keep {
                    self.delete(&path).await?;
                }
                self.delete(&mark(&path)).await?;
                if !keep {
                    gone.push(path);
                }
            }
            collected.blobs += u64::from(!keep);
        }
        Ok(gone)
    }

    /// The generations of content that some repository holds, the links in `except` apart.
    async fn held_generations(&self, except: &HashSet<Path>) -> Result<HashSet<String>> {
        let mut held = HashSet::new();
        for repository in self.all_repositories().await? {
            for meta in self.list(&self.keys.held_by(&repository)).await? {
                if except.contains(&meta.location) {
                    continue;
                }
                if let Some(link) = meta.location.filename().and_then(Link::read) {
                    held.insert(link.generation);
                }
            }
        }
        Ok(held)
    }

    async fn delete_content(
        &self,
        old: u64,
        dry_run: bool,
        dropped: &HashSet<Path>,
        collected: &mut Collected,
    ) -> Result<()> {
        let nothing = HashSet::new();
        let except = if dry_run { dropped } else { &nothing };
        let entries = self.list(&self.keys.all_blobs()).await?;
        if !dry_run {
            self.delete_marks_of_nothing(&entries).await?;
        }
        let held = self.held_generations(except).await?;
        let unheld: Vec<(Path, Link)> = entries
            .iter()
            .filter(|meta| !meta.location.as_ref().ends_with(CONDEMNED) && written(meta) < old)
            .filter_map(|meta| {
                let link = meta.location.filename().and_then(Link::read)?;
                Some((meta.location.clone(), link))
            })
            .filter(|(_, link)| !held.contains(&link.generation))
            .collect();
        if !dry_run && !unheld.is_empty() {
            for (path, _) in &unheld {
                self.put(&mark(path), Bytes::new()).await?;
            }
        }
        let held = if unheld.is_empty() {
            held
        } else {
            self.held_generations(except).await?
        };
        for (path, link) in unheld {
            if held.contains(&link.generation) {
                self.delete(&mark(&path)).await?;
                continue;
            }
            collected.content += 1;
            collected.bytes += link.size;
            if !dry_run {
                self.delete(&self.keys.content(&link.generation)).await?;
                self.delete(&path).await?;
                self.delete(&mark(&path)).await?;
            }
        }
        self.delete_strays(old, dry_run, collected).await
    }

    /// Content that was finished by a server that died before it wrote down which digest it has.
    async fn delete_strays(
        &self,
        old: u64,
        dry_run: bool,
        collected: &mut Collected,
    ) -> Result<()> {
        // In this order: an upload that is being finished has its state until its digest is written down.
        let content = self.list(&self.keys.all_content()).await?;
        let mut known: HashSet<String> = self
            .list(&self.keys.uploads())
            .await?
            .iter()
            .filter(|meta| meta.location.filename() == Some("state"))
            .filter_map(|meta| Some(meta.location.parts().nth_back(1)?.as_ref().to_owned()))
            .collect();
        let written_down = self
            .list(&self.keys.all_blobs())
            .await?
            .iter()
            .filter_map(|meta| Some(Link::read(meta.location.filename()?)?.generation))
            .collect::<Vec<_>>();
        known.extend(written_down);
        let mut strays: Vec<ObjectMeta> = content
            .into_iter()
            .filter(|meta| {
                written(meta) < old
                    && meta
                        .location
                        .filename()
                        .is_some_and(|generation| !known.contains(generation))
            })
            .collect();
        if !strays.is_empty() {
            let held = self.held_generations(&HashSet::new()).await?;
            strays.retain(|meta| {
                let generation = meta.location.filename();
                generation.is_some_and(|generation| !held.contains(generation))
            });
        }
        for meta in strays {
            collected.content += 1;
            collected.bytes += meta.size;
            if !dry_run {
                self.delete(&meta.location).await?;
            }
        }
        Ok(())
    }
}
