//! Collection: what nothing needs any more goes.
//!
//! Callers bring candidates, in the transaction that made them candidates; this module asks for each whether an image, a
//! build record, a container or a living lease needs it, takes its row in the same transaction, and moves its files to `tmp/`
//! under the same lock. Deleting the files is for later (see [`crate::sync`]): it is the only part that takes time.

use std::collections::BTreeSet;

use oci::{DiffId, Digest};
use rusqlite::Connection;

use crate::change::{Change, Content};
use crate::db;
use crate::error::Result;
use crate::lease::{self, Owner};
use crate::store::Store;

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The layers that went.
    pub layers: Vec<DiffId>,
    /// The blobs that went.
    pub blobs: Vec<Digest>,
    /// Their size together.
    pub bytes: u64,
}

impl Collected {
    /// Adds what another collection took.
    pub fn add(&mut self, other: Self) {
        self.layers.extend(other.layers);
        self.blobs.extend(other.blobs);
        self.bytes += other.bytes;
    }
}

/// Runs `choose` in a transaction and collects those of the candidates it returns that nothing needs.
pub(crate) fn run<T>(
    store: &Store,
    change: &Change<'_>,
    what: &'static str,
    choose: impl FnOnce(&Connection) -> Result<(T, Vec<Content>)>,
) -> Result<(T, Collected)> {
    let (value, collected, gone) = change.transaction(what, |db| {
        let (value, candidates) = choose(db)?;
        let mut collected = Collected::default();
        let gone = take_rows(store, db, candidates, &mut collected)?;
        Ok((value, collected, gone))
    })?;
    move_away(store, change, &gone)?;
    Ok((value, collected))
}

/// Moves the files of rows that were taken, which `pending` names, out of the way.
pub(crate) fn move_away(store: &Store, change: &Change<'_>, gone: &[Content]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    // The journal says what to do; settling it is the same work as after a kill.
    store.untidy();
    change.settle()
}

/// Takes the rows of those candidates that nothing needs, and enters them in `pending`.
fn take_rows(
    store: &Store,
    db: &Connection,
    candidates: Vec<Content>,
    collected: &mut Collected,
) -> Result<Vec<Content>> {
    let mut candidates: BTreeSet<Content> = candidates.into_iter().collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    candidates.extend(bury_dead_leases(store, db)?);
    let mut gone = Vec::new();
    // Layers sort before blobs, and take the compressed forms of themselves along.
    while let Some(content) = candidates.pop_first() {
        if is_needed(db, &content)? {
            continue;
        }
        match &content {
            Content::Layer(id) => {
                let Some(size) = take_layer(db, id)? else {
                    continue;
                };
                collected.layers.push(*id);
                collected.bytes += size;
                let forms = db::digests(
                    db,
                    "DELETE FROM compressed WHERE diff_id = ?1 RETURNING blob",
                    [id.to_string()],
                )?;
                candidates.extend(forms.into_iter().map(Content::Blob));
            }
            Content::Blob(digest) => {
                let Some(size) = take_blob(db, digest)? else {
                    continue;
                };
                collected.blobs.push(*digest);
                collected.bytes += size;
            }
            // These go by their own verbs only.
            Content::Container(_) | Content::Tree(..) => continue,
        }
        Change::announce(db, &content)?;
        gone.push(content);
    }
    Ok(gone)
}

fn take_layer(db: &Connection, id: &DiffId) -> Result<Option<u64>> {
    use rusqlite::OptionalExtension as _;
    db.prepare_cached("DELETE FROM tree WHERE diff_id = ?1")?
        .execute([id.to_string()])?;
    let size = db
        .prepare_cached("DELETE FROM layer WHERE diff_id = ?1 RETURNING size + index_size")?
        .query_row([id.to_string()], |row| db::size(row, 0))
        .optional()?;
    Ok(size)
}

fn take_blob(db: &Connection, digest: &Digest) -> Result<Option<u64>> {
    use rusqlite::OptionalExtension as _;
    let size = db
        .prepare_cached("DELETE FROM blob WHERE digest = ?1 RETURNING size")?
        .query_row([digest.to_string()], |row| db::size(row, 0))
        .optional()?;
    Ok(size)
}

fn is_needed(db: &Connection, content: &Content) -> Result<bool> {
    let sql = match content {
        Content::Layer(_) => {
            "SELECT EXISTS (SELECT 1 FROM image_layer WHERE diff_id = ?1)
                 OR EXISTS (SELECT 1 FROM record_layer WHERE diff_id = ?1)
                 OR EXISTS (SELECT 1 FROM container_layer WHERE diff_id = ?1)
                 OR EXISTS (SELECT 1 FROM lease_item WHERE kind = 'layer' AND digest = ?1)"
        }
        Content::Blob(_) => {
            "SELECT EXISTS (SELECT 1 FROM image_blob WHERE blob = ?1)
                 OR EXISTS (SELECT 1 FROM compressed WHERE blob = ?1)
                 OR EXISTS (SELECT 1 FROM lease_item WHERE kind = 'blob' AND digest = ?1)"
        }
        Content::Container(_) | Content::Tree(..) => return Ok(true),
    };
    Ok(db
        .prepare_cached(sql)?
        .query_row([content.id()], |row| row.get(0))?)
}

/// Takes the rows of leases without a living owner. What they claimed is returned: nobody else may know of it.
fn bury_dead_leases(store: &Store, db: &Connection) -> Result<Vec<Content>> {
    let ids = db::texts(db, "SELECT id FROM lease", [])?;
    let mut claimed = Vec::new();
    for id in ids {
        // The lock of a dead one is let go again at once: its folder is for the sweeper.
        if !matches!(lease::owner(store, &id)?, Owner::Alive) {
            claimed.extend(lease::claims(db, &id)?);
            db.prepare_cached("DELETE FROM lease WHERE id = ?1")?
                .execute([&id])?;
        }
    }
    Ok(claimed)
}
