//! Layers: `layers/<algorithm>-<hash>/` with `layer.tar`, `index.erofs` and, where data cannot be addressed in place, `side`.
//!
//! A layer is written in its lease's folder and becomes visible whole, by one rename. Its directory is never written again,
//! except that an index that got lost is made anew, and that the layer is unpacked beside (see [`crate::trees`]).

use std::path::{Path, PathBuf};

use layer::{Index, Ingest, LayerFiles, View};
use oci::{Descriptor, DiffId};
use rusqlite::OptionalExtension as _;

use sys::fs;

use crate::blobs::{BlobIngest, FinishedBlob, has_size, record_compressed};
use crate::change::Content;
use crate::db;
use crate::error::{Error, Mismatch, Result};
use crate::lease::Lease;
use crate::publish::{Arrival, publish};
use crate::store::Store;

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

    /// The files it consists of, as the `layer` crate wants them.
    #[must_use]
    pub fn files(&self) -> LayerFiles {
        LayerFiles::in_dir(&self.dir)
    }

    /// Opens its index, to list, stat and read its files without a mount.
    ///
    /// # Errors
    ///
    /// The index is missing or damaged.
    pub fn open(&self) -> Result<Index> {
        Index::open(&self.files()).map_err(|source| Error::Index {
            layer: self.diff_id,
            source: Box::new(source),
        })
    }

    /// Its uncompressed tar; never write to it.
    #[must_use]
    pub fn tar(&self) -> PathBuf {
        self.files().tar
    }

    /// Its index, which the kernel mounts.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.files().index
    }

    /// Data that the index cannot address in the tar.
    #[must_use]
    pub fn side(&self) -> Option<PathBuf> {
        self.side.then(|| self.files().side)
    }

    /// The cheap half of a check: the files are there and the tar has its size.
    pub(crate) fn has_tar(&self) -> bool {
        has_size(&self.tar(), self.size)
    }

    /// The index is of the form that this barque writes. One of an older form is as good as none: it is only a cache of the tar.
    fn has_current_index(&self) -> bool {
        self.has_index() && Index::is_current(&self.index()).unwrap_or(false)
    }

    pub(crate) fn has_index(&self) -> bool {
        let there = |path: PathBuf| {
            fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() > 0)
        };
        there(self.index()) && self.side().is_none_or(there)
    }
}

/// A layer that is being made; dropping it takes it back.
///
/// [`LayerIngest::writer`] takes the entries, or a whole tar; then [`LayerIngest::publish`].
#[derive(Debug)]
#[must_use = "nothing is in the store before `publish`"]
pub struct LayerIngest {
    lease: Lease,
    dir: PathBuf,
    /// `None` only while being dropped: its thread must have ended before the directory goes.
    ingest: Option<Ingest>,
}

impl Lease {
    /// Begins a layer, in a directory of the lease.
    ///
    /// # Errors
    ///
    /// The files cannot be made.
    pub fn ingest_layer(&self) -> Result<LayerIngest> {
        let dir = self.temporary("layer");
        fs::create_dir(&dir)?;
        let mut layer = LayerIngest {
            lease: self.clone(),
            dir,
            ingest: None,
        };
        layer.ingest = Some(Ingest::create(&layer.dir).map_err(Box::new)?);
        Ok(layer)
    }

    /// Claims these layers, bottom first, and opens them as one tree.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`]; an index is damaged.
    pub fn view(&self, layers: &[DiffId]) -> Result<View> {
        self.claim_layers(layers)?;
        self.store().view(layers)
    }
}

impl LayerIngest {
    /// Where the layer's bytes go.
    ///
    /// # Panics
    ///
    /// Never: the writer is there until `self` is used up.
    pub fn writer(&mut self) -> &mut Ingest {
        self.ingest.as_mut().expect("there until `self` is used up")
    }

    /// Ends the layer and makes it visible under its digest, claimed by the lease.
    ///
    /// The bytes are not on the disk yet, see [`Store::upkeep`]. If the store has this layer already, that one is returned.
    ///
    /// # Errors
    ///
    /// In every error case the unfinished files are gone and the store is as it was.
    pub fn publish(self) -> Result<Layer> {
        self.publish_if(|_| Ok(()))
    }

    /// As [`LayerIngest::publish`], of bytes that somebody promised to have this digest.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if they have another.
    pub fn publish_expecting(self, expected: &DiffId) -> Result<Layer> {
        self.publish_if(|layer| check(layer, expected))
    }

    /// Ends a layer together with the compressed bytes that it came as; [`Lease::publish_layers`] makes both visible.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`], of the compressed bytes before that of the layer; what was expected tells which it is about. In
    /// every error case the unfinished files are gone.
    pub fn finish_with(
        mut self,
        expected: &DiffId,
        blob: BlobIngest,
        media_type: &str,
    ) -> Result<FinishedLayer> {
        let compressed = blob.finish()?;
        let layer = self.finish()?;
        check(&layer, expected)?;
        Ok(FinishedLayer {
            form: Descriptor::new(media_type, *compressed.digest(), compressed.size()),
            layer,
            ingest: self,
            compressed,
        })
    }

    fn publish_if(mut self, check: impl FnOnce(&Layer) -> Result<()>) -> Result<Layer> {
        let layer = self.finish()?;
        check(&layer)?;
        publish(&self.lease, &[&Arriving(&layer, &self.dir)], None)?;
        Ok(layer)
    }

    /// Ends the layer, and says what it will be when it is in the store.
    fn finish(&mut self) -> Result<Layer> {
        let ingest = self.ingest.take().expect("there until `self` is used up");
        let finished = ingest.finish().map_err(Box::new)?;
        let mut layer = of_finished(&LayerFiles::in_dir(&self.dir), &finished)?;
        let store = self.lease.store();
        layer.dir = store.folder().layer(&layer.diff_id);
        layer.created = store.now();
        Ok(layer)
    }
}

fn check(layer: &Layer, expected: &DiffId) -> Result<()> {
    if layer.diff_id == *expected {
        return Ok(());
    }
    Err(Error::Mismatch(Box::new(Mismatch {
        expected: *expected.digest(),
        expected_size: None,
        found: *layer.diff_id.digest(),
        found_size: layer.size,
    })))
}

/// A layer that is complete, with the compressed bytes that it came as; dropping it takes both back.
#[derive(Debug)]
#[must_use = "it is not in the store before `Lease::publish_layers`"]
pub struct FinishedLayer {
    layer: Layer,
    ingest: LayerIngest,
    compressed: FinishedBlob,
    /// What the compressed bytes are.
    form: Descriptor,
}

impl Lease {
    /// Makes layers visible, claimed by the lease, in one change of the store: an image may have hundreds, and a change takes
    /// longer than to write a small one. Afterwards all are there, and known to belong to their compressed bytes, or none is.
    ///
    /// The bytes are not on the disk yet, see [`Store::upkeep`]. What the store has already is not replaced.
    ///
    /// # Errors
    ///
    /// Moving or recording them failed.
    pub fn publish_layers(&self, layers: Vec<FinishedLayer>) -> Result<Vec<Descriptor>> {
        let pairs: Vec<(Arriving<'_>, &FinishedBlob)> = layers
            .iter()
            .map(|it| (Arriving(&it.layer, &it.ingest.dir), &it.compressed))
            .collect();
        let arrivals: Vec<&dyn Arrival> = pairs
            .iter()
            .flat_map(|(layer, compressed)| [layer as &dyn Arrival, *compressed])
            .collect();
        publish(
            self,
            &arrivals,
            Some(&|db| {
                layers
                    .iter()
                    .try_for_each(|it| record_compressed(db, &it.layer.diff_id, &it.form))
            }),
        )?;
        Ok(layers.into_iter().map(FinishedLayer::published).collect())
    }
}

impl FinishedLayer {
    /// The size of its tar.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.layer.size
    }

    fn published(self) -> Descriptor {
        self.compressed.published();
        self.form
    }
}

/// A layer, and the directory in which its files are finished.
struct Arriving<'a>(&'a Layer, &'a Path);

impl Arrival for Arriving<'_> {
    fn content(&self) -> Content {
        Content::Layer(self.0.diff_id)
    }

    fn finished(&self) -> &Path {
        self.1
    }

    fn is_intact(&self) -> bool {
        self.0.has_tar() && self.0.has_current_index()
    }

    fn record(&self, db: &rusqlite::Connection, store: &Store) -> Result<()> {
        record(db, self.0, Some(&store.inner.boot))
    }
}

impl Drop for LayerIngest {
    fn drop(&mut self) {
        drop(self.ingest.take());
        // Missing after `publish`; otherwise what stays is the lease's litter and goes with it.
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// What these files are as a layer, whose directory the caller knows.
pub(crate) fn of_finished(files: &LayerFiles, finished: &layer::Finished) -> Result<Layer> {
    let side_size = if finished.side {
        fs::metadata(&files.side)?.len()
    } else {
        0
    };
    Ok(Layer {
        diff_id: finished.diff_id,
        size: finished.size,
        index_size: finished.index_size + side_size,
        entries: finished.entries,
        side: finished.side,
        created: 0,
        dir: PathBuf::new(),
    })
}

/// Writes the row of a layer, over an older one. Its directory is a new one.
fn record(db: &rusqlite::Connection, layer: &Layer, boot: Option<&str>) -> Result<()> {
    record_files(db, layer, boot)?;
    // Nothing is unpacked in it yet.
    db.prepare_cached("DELETE FROM tree WHERE diff_id = ?1")?
        .execute([layer.diff_id.to_string()])?;
    Ok(())
}

/// Writes what is known of a layer's files, over an older row.
pub(crate) fn record_files(
    db: &rusqlite::Connection,
    layer: &Layer,
    boot: Option<&str>,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO layer (diff_id, size, index_size, side, entries, created, boot) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (diff_id) DO UPDATE SET size = ?2, index_size = ?3, side = ?4, entries = ?5, boot = ?7",
    )?
    .execute((
        layer.diff_id.to_string(),
        db::number(layer.size),
        db::number(layer.index_size),
        layer.side,
        db::number(layer.entries),
        layer.created,
        boot,
    ))?;
    Ok(())
}

impl Store {
    /// The layer with this digest, ready to be read.
    ///
    /// A layer that was not on the disk when the machine stopped is hashed now, and dropped if it is torn. A lost index, and
    /// one of an older barque, is made anew. A layer without its tar is not found, so that whoever needs it brings it again.
    ///
    /// The answer keeps nothing: [`Lease::claim_layers`] first, if the layer must stay.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn find_layer(&self, id: &DiffId) -> Result<Option<Layer>> {
        let mut again = 0..AGAIN;
        loop {
            let row = self.read("find a layer", |db| layer_row(self, db, id))?;
            let Some((layer, boot)) = row else {
                return Ok(None);
            };
            let before = identity(&layer.tar());
            if !layer.has_tar() {
                return Ok(None);
            }
            let trusted = boot.is_none_or(|boot| boot == self.inner.boot);
            if trusted && layer.has_current_index() {
                return Ok(Some(layer));
            }
            match self.verify_layer(&layer, trusted) {
                // It was removed while we looked: what is there now, if anything, is another.
                Err(_) if identity(&layer.tar()) != before && again.next().is_some() => {}
                done => return done,
            }
        }
    }

    /// These layers, bottom first, as one tree. Keeps nothing, see [`Lease::view`].
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`]; an index is damaged.
    pub fn view(&self, layers: &[DiffId]) -> Result<View> {
        let indexes = layers
            .iter()
            .map(|id| self.find_layer(id)?.ok_or(Error::MissingLayer(*id))?.open())
            .collect::<Result<_>>()?;
        Ok(View::new(indexes))
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

/// What tells a file from one that comes to its place.
fn identity(file: &Path) -> Option<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::symlink_metadata(file).ok()?;
    Some((meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

/// How often a layer that another came to the place of is looked at again. More is no accident.
const AGAIN: u32 = 8;

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
