//! Layers: `layers/<algorithm>-<hash>/` with `layer.tar`, `index.erofs` and, where data cannot be addressed in place, `side`.
//!
//! A layer is written in its lease's folder and becomes visible whole, by one rename. Its directory is never written again,
//! except that an index that got lost is made anew, and that the layer is unpacked beside (see [`crate::trees`]).

use std::path::{Path, PathBuf};

use oci::DiffId;
use rusqlite::OptionalExtension as _;

use crate::blobs::has_size;
use crate::change::Content;
use crate::db;
use crate::error::Result;
use crate::lease::Lease;
use crate::publish::publish;
use crate::store::Store;

/// The file of the uncompressed layer.
pub(crate) const TAR: &str = "layer.tar";
/// The file of the index over it.
pub(crate) const INDEX: &str = "index.erofs";
/// The file of data that the index cannot address in the tar.
pub(crate) const SIDE: &str = "side";

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub(crate) diff_id: DiffId,
    pub(crate) size: u64,
    pub(crate) index_size: u64,
    pub(crate) entries: u64,
    pub(crate) side: bool,
    pub(crate) created: i64,
    pub(crate) dir: PathBuf,
}

impl Layer {
    /// The digest of its tar.
    #[must_use]
    pub const fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// The size of its tar.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The size of its index, and of the side file if there is one.
    #[must_use]
    pub const fn index_size(&self) -> u64 {
        self.index_size
    }

    /// How many entries its tar has.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// When the store got it, in seconds since 1970.
    #[must_use]
    pub const fn created(&self) -> i64 {
        self.created
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its uncompressed tar; never write to it.
    #[must_use]
    pub fn tar(&self) -> PathBuf {
        self.dir.join(TAR)
    }

    /// Its index, which the kernel mounts.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.dir.join(INDEX)
    }

    /// Data that the index cannot address in the tar.
    #[must_use]
    pub fn side(&self) -> Option<PathBuf> {
        self.side.then(|| self.dir.join(SIDE))
    }

    /// The cheap half of a check: the files are there and the tar has its size.
    pub(crate) fn has_tar(&self) -> bool {
        has_size(&self.tar(), self.size)
    }

    pub(crate) fn has_index(&self) -> bool {
        let there = |path: PathBuf| {
            sys::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() > 0)
        };
        there(self.index()) && self.side().is_none_or(there)
    }
}

/// Publishes the finished layer in `dir`, whose files agree with `layer`.
pub(crate) fn publish_layer(lease: &Lease, dir: &Path, mut layer: Layer) -> Result<Layer> {
    let store = lease.store();
    layer.dir = store.folder().layer(&layer.diff_id);
    layer.created = store.now();
    publish(
        lease,
        &Content::Layer(layer.diff_id),
        dir,
        || layer.has_tar() && layer.has_index(),
        |db| record(db, &layer, Some(&store.inner.boot)),
    )?;
    Ok(layer)
}

/// Writes the row of a layer, over an older one.
pub(crate) fn record(db: &rusqlite::Connection, layer: &Layer, boot: Option<&str>) -> Result<()> {
    let id = layer.diff_id.to_string();
    db.prepare_cached(
        "INSERT INTO layer (diff_id, size, index_size, side, entries, created, boot) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (diff_id) DO UPDATE SET size = ?2, index_size = ?3, side = ?4, entries = ?5, boot = ?7",
    )?
    .execute((
        &id,
        db::number(layer.size),
        db::number(layer.index_size),
        layer.side,
        db::number(layer.entries),
        layer.created,
        boot,
    ))?;
    // The directory is a new one: nothing is unpacked in it.
    db.prepare_cached("DELETE FROM tree WHERE diff_id = ?1")?
        .execute([&id])?;
    Ok(())
}

impl Store {
    /// The layer with this digest, ready to be read.
    ///
    /// A layer that was not on the disk when the machine stopped is hashed now, and dropped if it is torn. A lost index is
    /// made anew. A layer without its tar is not found, so that whoever needs it brings it again.
    ///
    /// The answer keeps nothing: [`Lease::claim_layers`] first, if the layer must stay.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn find_layer(&self, id: &DiffId) -> Result<Option<Layer>> {
        let row = self.read("find a layer", |db| layer_row(self, db, id))?;
        let Some((layer, boot)) = row else {
            return Ok(None);
        };
        if !layer.has_tar() {
            return Ok(None);
        }
        let trusted = boot.is_none_or(|boot| boot == self.inner.boot);
        Ok((trusted && layer.has_index()).then_some(layer))
    }

    /// All layers.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        self.read("list the layers", |db| {
            let mut statement = db.prepare_cached(&format!("{COLUMNS} ORDER BY diff_id"))?;
            let rows = statement.query_map([], |row| Ok(read_layer(self, row)?.0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

const COLUMNS: &str = "SELECT diff_id, size, index_size, side, entries, created, boot FROM layer";

/// The row of a layer, and the boot in which it was written unless it is synced.
pub(crate) fn layer_row(
    store: &Store,
    db: &rusqlite::Connection,
    id: &DiffId,
) -> Result<Option<(Layer, Option<String>)>> {
    let row = db
        .prepare_cached(&format!("{COLUMNS} WHERE diff_id = ?1"))?
        .query_row([id.to_string()], |row| read_layer(store, row))
        .optional()?;
    Ok(row)
}

fn read_layer(store: &Store, row: &rusqlite::Row<'_>) -> rusqlite::Result<(Layer, Option<String>)> {
    let diff_id = db::parsed(row, 0)?;
    let layer = Layer {
        size: db::size(row, 1)?,
        index_size: db::size(row, 2)?,
        side: row.get(3)?,
        entries: db::size(row, 4)?,
        created: row.get(5)?,
        dir: store.folder().layer(&diff_id),
        diff_id,
    };
    Ok((layer, row.get(6)?))
}
