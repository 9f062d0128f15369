//! Checking content that was not on the disk when the machine stopped, before its first use.

use std::io::Read;

use layer::LayerFiles;
use oci::{Digest, Hasher};
use sys::fs::{self, Context as _};

use crate::blobs::Blob;
use crate::change::{Change, Content};
use crate::collect;
use crate::error::Result;
use crate::layers::{self, Layer};
use crate::lease::Lease;
use crate::store::Store;

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// The digest of a file's bytes, with the algorithm of `like`.
pub(crate) fn digest_of(path: &std::path::Path, like: &Digest) -> Result<Digest> {
    let mut file = fs::open(path)?;
    let mut hasher = Hasher::new(like.algorithm());
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).context("read", path)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Makes the index of a layer in a lease's folder.
pub(crate) fn reindexed(lease: &Lease, layer: &Layer) -> Result<(LayerFiles, layer::Finished)> {
    let dir = lease.temporary("index");
    fs::create_dir(&dir)?;
    let files = LayerFiles {
        tar: layer.tar(),
        ..LayerFiles::in_dir(&dir)
    };
    let finished = layer::reindex(&files, layer.diff_id).map_err(Box::new)?;
    Ok((files, finished))
}

impl Store {
    /// Makes a layer usable again that lost its index, or that was not on the disk when the machine stopped; then its tar is
    /// hashed first. `None` if the tar is torn: the layer is dropped.
    pub(crate) fn verify_layer(&self, layer: &Layer, trusted: bool) -> Result<Option<Layer>> {
        let content = Content::Layer(layer.diff_id);
        if !trusted && digest_of(&layer.tar(), layer.diff_id.digest())? != *layer.diff_id.digest() {
            self.drop_torn(&content)?;
            return Ok(None);
        }
        let mended = self.mend_index(layer)?;
        if !trusted && mended.is_some() {
            self.trust(&content)?;
        }
        Ok(mended)
    }

    /// Makes the index of a layer anew from its tar. `None` if the layer was removed meanwhile.
    pub(crate) fn mend_index(&self, layer: &Layer) -> Result<Option<Layer>> {
        let lease = self.lease("mend an index")?;
        let (files, finished) = reindexed(&lease, layer)?;
        let mut mended = layers::of_finished(&files, &finished)?;
        mended.dir.clone_from(&layer.dir);
        mended.created = layer.created;
        let change = self.change()?;
        let there = self.read("find a layer", |db| {
            layers::layer_row(self, db, &layer.diff_id)
        })?;
        let Some((_, boot)) = there else {
            return Ok(None);
        };
        let place = mended.files();
        if mended.side {
            fs::rename(&files.side, &place.side)?;
        }
        fs::rename(&files.index, &place.index)?;
        if !mended.side {
            // An index of an older form may have needed one.
            fs::optional(fs::remove_file(&place.side))?;
        }
        // What is new is not on the disk, whatever was known of the tar.
        let boot = Some(boot.unwrap_or_else(|| self.inner.boot.clone()));
        change.transaction("record an index", |db| {
            layers::record_files(db, &mended, boot.as_deref())
        })?;
        self.untidy();
        Ok(Some(mended))
    }

    /// Hashes a blob and trusts it from now on if it is whole; drops it otherwise.
    pub(crate) fn verify_blob(&self, blob: &Blob) -> Result<bool> {
        let content = Content::Blob(*blob.digest());
        if digest_of(blob.path(), blob.digest())? == *blob.digest() {
            self.trust(&content)?;
            Ok(true)
        } else {
            self.drop_torn(&content)?;
            Ok(false)
        }
    }

    /// Syncs content that was found whole and notes that it is on the disk.
    pub(crate) fn trust(&self, content: &Content) -> Result<()> {
        self.sync_content(content)?;
        self.write("note what is on the disk", |db| {
            crate::sync::mark(db, content)
        })
    }

    /// Takes content away that is not what its name says, and the build records that would use it.
    pub(crate) fn drop_torn(&self, content: &Content) -> Result<()> {
        let change = self.change()?;
        change.transaction("drop damaged content", |db| {
            let id = content.id();
            match content {
                Content::Layer(_) => {
                    forget_layer(db, &id)?;
                }
                Content::Blob(_) => {
                    forget_blob(db, &id)?;
                }
                Content::Container(_) | Content::Tree(..) => {}
            }
            Change::announce(db, content)
        })?;
        collect::move_away(self, &change, std::slice::from_ref(content))
    }
}

/// Takes the rows of a layer, and of the build records that would use it.
pub(crate) fn forget_layer(db: &rusqlite::Connection, id: &str) -> Result<()> {
    db.execute(
        "DELETE FROM record WHERE id IN (SELECT record FROM record_layer WHERE diff_id = ?1)",
        [id],
    )?;
    db.execute("DELETE FROM tree WHERE diff_id = ?1", [id])?;
    db.execute("DELETE FROM layer WHERE diff_id = ?1", [id])?;
    Ok(())
}

/// Takes the rows of a blob.
pub(crate) fn forget_blob(db: &rusqlite::Connection, digest: &str) -> Result<()> {
    db.execute("DELETE FROM compressed WHERE blob = ?1", [digest])?;
    db.execute("DELETE FROM blob WHERE digest = ?1", [digest])?;
    Ok(())
}
