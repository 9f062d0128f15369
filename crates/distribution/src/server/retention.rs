//! What is kept: rules by which tags and manifests without tags go by themselves.

use std::collections::{HashMap, HashSet};

use oci::{Digest, Repository, Tag};
use serde::{Deserialize, Serialize};

use super::document;
use super::pattern::Pattern;
use super::storage::{PULL_STEP, Result, Storage, StorageError};

/// Which tags of which repositories something is about.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Patterns of repositories.
    pub repositories: Vec<Pattern>,
    /// Patterns of tags.
    pub tags: Vec<Pattern>,
}

impl Tags {
    /// Whether it is about this tag.
    #[must_use]
    pub fn fits(&self, repository: &Repository, tag: &Tag) -> bool {
        Pattern::any(&self.repositories, repository.as_str())
            && Pattern::any(&self.tags, tag.as_str())
    }
}

/// What is kept of some tags. A tag goes if no part of its rule keeps it; the first rule that is about a tag counts.
#[derive(Debug, Clone)]
pub struct Retention {
    /// What it is about.
    pub about: Tags,
    /// Those that were set last, this many in each repository.
    pub keep_last: Option<usize>,
    /// Those that were set within so many seconds.
    pub keep_for: Option<u64>,
    /// Those that were pulled or set within so many seconds; pulls are known to the hour.
    pub keep_pulled: Option<u64>,
}

/// What goes by itself.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Rules for tags.
    pub tags: Vec<Retention>,
    /// Seconds after which a manifest goes that no tag names, no index lists and nothing there is the subject of; never
    /// without a number.
    pub untagged_for: Option<u64>,
    /// Tags that never move and never go.
    pub immutable: Vec<Tags>,
}

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Tags.
    pub tags: u64,
    /// Manifests.
    pub manifests: u64,
}

/// Names that are asked for at once.
const PAGE: usize = 1000;

impl Policy {
    /// Whether a tag never moves.
    #[must_use]
    pub fn is_immutable(&self, repository: &Repository, tag: &Tag) -> bool {
        self.immutable.iter().any(|tags| tags.fits(repository, tag))
    }

    /// Lets go what no rule keeps; with `dry_run` only counts it.
    ///
    /// # Errors
    ///
    /// The storage fails. What went until then stays gone.
    pub async fn apply(&self, storage: &dyn Storage, now: u64, dry_run: bool) -> Result<Retired> {
        let mut retired = Retired::default();
        if self.tags.is_empty() && self.untagged_for.is_none() {
            return Ok(retired);
        }
        let mut last: Option<String> = None;
        loop {
            let page = storage.repositories(last.as_deref(), PAGE).await?;
            let Some(end) = page.last() else {
                return Ok(retired);
            };
            last = Some(end.to_string());
            for repository in &page {
                let named = self
                    .retire_tags(storage, repository, now, dry_run, &mut retired)
                    .await?;
                if let Some(age) = self.untagged_for {
                    let before = now.saturating_sub(age);
                    retire_untagged(storage, repository, &named, before, dry_run, &mut retired)
                        .await?;
                }
            }
        }
    }

    /// When the manifests of a repository were last pulled, if any rule wants to know.
    async fn pulls(
        &self,
        storage: &dyn Storage,
        repository: &Repository,
    ) -> Result<HashMap<Digest, u64>> {
        if self.tags.iter().all(|rule| rule.keep_pulled.is_none()) {
            return Ok(HashMap::new());
        }
        let all = storage.manifests(repository).await?.into_iter();
        let pulled = all.filter(|manifest| manifest.pulled > 0);
        Ok(pulled
            .map(|manifest| (manifest.digest, manifest.pulled))
            .collect())
    }

    /// Lets tags go, and says what those that stay name.
    async fn retire_tags(
        &self,
        storage: &dyn Storage,
        repository: &Repository,
        now: u64,
        dry_run: bool,
        retired: &mut Retired,
    ) -> Result<HashSet<Digest>> {
        let mut named = HashSet::new();
        let mut ruled: Vec<Vec<(u64, Tag, Digest)>> = vec![Vec::new(); self.tags.len()];
        let mut last: Option<Tag> = None;
        loop {
            let page = storage
                .tags(repository, last.as_ref().map(Tag::as_str), PAGE)
                .await?;
            let Some(end) = page.last() else {
                break;
            };
            last = Some(end.clone());
            for tag in page {
                let Some(event) = storage.tag_history(repository, &tag).await?.pop() else {
                    continue;
                };
                let Some(digest) = event.digest else {
                    continue;
                };
                named.insert(digest);
                if self.is_immutable(repository, &tag) {
                    continue;
                }
                if let Some(rule) = self
                    .tags
                    .iter()
                    .position(|rule| rule.about.fits(repository, &tag))
                {
                    ruled[rule].push((event.at, tag, digest));
                }
            }
        }
        let pulls = self.pulls(storage, repository).await?;
        let mut kept: HashSet<Digest> = named.clone();
        for (rule, mut tags) in self.tags.iter().zip(ruled) {
            tags.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
            for (place, (at, tag, digest)) in tags.into_iter().enumerate() {
                let recent = rule
                    .keep_for
                    .is_some_and(|age| at.saturating_add(age) >= now);
                let used = rule.keep_pulled.is_some_and(|age| {
                    let pulled = pulls
                        .get(&digest)
                        .map_or(0, |pulled| pulled.saturating_add(PULL_STEP));
                    pulled.max(at).saturating_add(age) >= now
                });
                if recent || used || rule.keep_last.is_some_and(|count| place < count) {
                    continue;
                }
                // Not if somebody moves it at this moment.
                let gone = dry_run
                    || match storage.remove_tag(repository, &tag, Some(&digest)).await {
                        Ok(()) => true,
                        Err(StorageError::Changed(_) | StorageError::TagUnknown(_)) => false,
                        Err(error) => return Err(error),
                    };
                if gone {
                    retired.tags += 1;
                    kept.remove(&digest);
                }
            }
        }
        // One that lost a name may have another.
        if kept.len() == named.len() || dry_run {
            return Ok(kept);
        }
        let mut named = HashSet::new();
        let mut last: Option<Tag> = None;
        loop {
            let page = storage
                .tags(repository, last.as_ref().map(Tag::as_str), PAGE)
                .await?;
            let Some(end) = page.last() else {
                return Ok(named);
            };
            last = Some(end.clone());
            for tag in page {
                named.extend(storage.tag(repository, &tag).await?);
            }
        }
    }
}

async fn retire_untagged(
    storage: &dyn Storage,
    repository: &Repository,
    named: &HashSet<Digest>,
    before: u64,
    dry_run: bool,
    retired: &mut Retired,
) -> Result<()> {
    let all = storage.manifests(repository).await?;
    let there: HashSet<Digest> = all.iter().map(|manifest| manifest.digest).collect();
    let old = |manifest: &&super::storage::ManifestSummary| {
        manifest.pushed < before
            && !named.contains(&manifest.digest)
            && manifest
                .subject
                .is_none_or(|subject| !there.contains(&subject))
    };
    let candidates: Vec<Digest> = all
        .iter()
        .filter(old)
        .map(|manifest| manifest.digest)
        .collect();
    if candidates.is_empty() {
        return Ok(());
    }
    // What an index lists belongs to it, be the index tagged or young.
    let mut listed = HashSet::new();
    for manifest in &all {
        if let Some(stored) = storage.manifest(repository, &manifest.digest).await? {
            listed.extend(
                document::entries_of(&stored.bytes)
                    .into_iter()
                    .map(|entry| entry.digest),
            );
        }
    }
    for digest in candidates
        .into_iter()
        .filter(|digest| !listed.contains(digest))
    {
        if !dry_run {
            match storage.remove_manifest(repository, &digest).await {
                Ok(()) => {}
                Err(StorageError::ManifestUnknown(_)) => continue,
                Err(error) => return Err(error),
            }
        }
        retired.manifests += 1;
    }
    Ok(())
}
