//! Pruning: what a person no longer wants kept, beyond what nothing needs.

use std::collections::BTreeSet;
use std::path::Path;

use oci::{DiffId, Digest};
use rusqlite::Connection;
use sys::fs::{self, Context as _};

use crate::caches;
use crate::change::Content;
use crate::collect::{self, Collected};
use crate::db;
use crate::error::Result;
use crate::fetch;
use crate::images::{self, Image};
use crate::remove::{self, Removed};
use crate::store::Store;
use crate::sweep::names;
use crate::usage::disk_use;

/// Which build records go. What several rules keep is what all of them keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordPolicy {
    /// Records go that were not used since then, in seconds since 1970.
    pub unused_since: Option<i64>,
    /// Of the records used last, so many bytes of layers that only records need are kept.
    pub keep_bytes: Option<u64>,
    /// All records go.
    pub all: bool,
}

/// What pruning build records did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedRecords {
    /// How many records went.
    pub records: u64,
    /// The content that went with them.
    pub collected: Collected,
}

impl Store {
    /// Removes images: the dangling ones, or with `all` each that no container was made from; of those, the ones that `chosen`
    /// names.
    ///
    /// What becomes named or used meanwhile stays.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn prune_images(&self, all: bool, chosen: impl Fn(&Image) -> bool) -> Result<Removed> {
        let chosen: Vec<Digest> = self
            .images()?
            .iter()
            .filter(|image| (all || image.is_dangling()) && chosen(image))
            .map(|image| image.digest)
            .collect();
        let change = self.change()?;
        let (mut removed, collected) = collect::run(self, &change, "prune the images", |db| {
            let mut removed = Removed::default();
            let mut candidates = Vec::new();
            for digest in &chosen {
                let Some(image) = images::load(db, digest)? else {
                    continue;
                };
                if (!all && !image.is_dangling()) || is_used(db, digest)? {
                    continue;
                }
                let (one, needed) =
                    remove::delete(self, db, &image, std::mem::take(&mut removed), "prune")?;
                removed = one;
                candidates.extend(needed);
            }
            Ok((removed, candidates))
        })?;
        removed.collected(collected);
        Ok(removed)
    }

    /// Removes build records, and the layers that only they needed.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn prune_records(&self, policy: &RecordPolicy) -> Result<PrunedRecords> {
        let change = self.change()?;
        let (records, collected) = collect::run(self, &change, "prune the build records", |db| {
            let chosen = chosen_records(db, policy)?;
            let mut candidates = BTreeSet::new();
            for id in &chosen {
                candidates.extend(db::diff_ids(
                    db,
                    "SELECT diff_id FROM record_layer WHERE record = ?1",
                    [id],
                )?);
                db.prepare_cached("DELETE FROM record WHERE id = ?1")?
                    .execute([id])?;
            }
            Ok((
                chosen.len() as u64,
                candidates.into_iter().map(Content::Layer).collect(),
            ))
        })?;
        Ok(PrunedRecords { records, collected })
    }

    /// Removes all content that no image, build record, container or living process needs. There is none unless something
    /// went wrong.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn prune_unneeded(&self) -> Result<Collected> {
        let change = self.change()?;
        let ((), collected) = collect::run(self, &change, "collect content", |db| {
            let layers = db::diff_ids(db, "SELECT diff_id FROM layer", [])?;
            let blobs = db::digests(db, "SELECT digest FROM blob", [])?;
            let layers = layers.into_iter().map(Content::Layer);
            Ok((
                (),
                layers.chain(blobs.into_iter().map(Content::Blob)).collect(),
            ))
        })?;
        Ok(collected)
    }

    /// Removes what is left of downloads that broke off. Returns the bytes that this frees.
    ///
    /// # Errors
    ///
    /// The file system failed.
    pub fn prune_downloads(&self) -> Result<u64> {
        let mut bytes = 0;
        for name in names(&self.folder().tmp())? {
            if name.starts_with(fetch::PARTIAL) {
                bytes += fetch::sweep_partial(self, &name, true)?;
            }
        }
        Ok(bytes)
    }

    /// Removes the caches of RUN steps that nobody uses at the moment, and the stat indexes of build contexts. Returns the bytes
    /// that this frees.
    ///
    /// # Errors
    ///
    /// The file system failed.
    pub fn prune_caches(&self) -> Result<u64> {
        let mut bytes = 0;
        for path in entries(&self.folder().caches())? {
            let size = disk_use(&path)?;
            bytes += if caches::take(self, &path)? { size } else { 0 };
        }
        for path in entries(&self.folder().contexts())? {
            bytes += disk_use(&path)?;
            fs::optional(fs::remove_file(&path))?;
        }
        Ok(bytes)
    }
}

fn entries(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        paths.push(entry.context("list", dir)?.path());
    }
    Ok(paths)
}

/// True if a container was made from the image.
fn is_used(db: &Connection, image: &Digest) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT 1 FROM container WHERE image = ?1")?
        .exists([image.to_string()])?)
}

/// The ids of the records that the policy lets go.
fn chosen_records(db: &Connection, policy: &RecordPolicy) -> Result<Vec<i64>> {
    let mut statement =
        db.prepare_cached("SELECT id, last_used FROM record ORDER BY last_used DESC, id DESC")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
    let mut kept: BTreeSet<DiffId> = BTreeSet::new();
    let mut bytes = 0_u64;
    let mut chosen = Vec::new();
    for (id, last_used) in rows {
        let mut goes = policy.all || policy.unused_since.is_some_and(|since| last_used < since);
        if let (false, Some(limit)) = (goes, policy.keep_bytes) {
            let new: Vec<_> = only_records_need(db, id)?
                .into_iter()
                .filter(|(layer, _)| !kept.contains(layer))
                .collect();
            let more: u64 = new.iter().map(|(_, size)| size).sum();
            goes = bytes.saturating_add(more) > limit;
            if !goes {
                bytes += more;
                kept.extend(new.into_iter().map(|(layer, _)| layer));
            }
        }
        if goes {
            chosen.push(id);
        }
    }
    Ok(chosen)
}

/// The layers of a record that would go with the last record naming them, and their sizes.
fn only_records_need(db: &Connection, record: i64) -> Result<Vec<(DiffId, u64)>> {
    let mut statement = db.prepare_cached(
        "SELECT l.diff_id, l.size + l.index_size FROM record_layer r JOIN layer l ON l.diff_id = r.diff_id
         WHERE r.record = ?1
           AND NOT EXISTS (SELECT 1 FROM image_layer i WHERE i.diff_id = l.diff_id)
           AND NOT EXISTS (SELECT 1 FROM container_layer c WHERE c.diff_id = l.diff_id)",
    )?;
    let rows = statement.query_map([record], |row| Ok((db::parsed(row, 0)?, db::size(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
