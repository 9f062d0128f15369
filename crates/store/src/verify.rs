//! Checking content that was not on the disk when the machine stopped, before its first use.

use std::io::Read;

use oci::{Digest, Hasher};
use sys::fs::{self, Context as _};

use crate::blobs::Blob;
use crate::change::{Change, Content};
use crate::collect;
use crate::error::Result;
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

impl Store {
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
                    db.execute("DELETE FROM compressed WHERE blob = ?1", [&id])?;
                    db.execute("DELETE FROM blob WHERE digest = ?1", [&id])?;
                }
                Content::Container(_) => {}
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
