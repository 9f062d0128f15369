//! Blobs: bytes exactly as a registry has them, found by their digest.
//!
//! A blob is counted and hashed while it is written, so nothing is in `blobs/` that is not what its name says. The
//! uncompressed tar of a layer is a blob too: it is found by its digest without a second copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci::{Descriptor, DiffId, Digest, Hasher, MAX_DOCUMENT_SIZE};
use rusqlite::{Connection, OptionalExtension as _};
use sys::fs::{self, Context as _};

use crate::change::Content;
use crate::db;
use crate::error::{Error, Mismatch, Result};
use crate::fetch::{self, Turn};
use crate::lease::Lease;
use crate::publish::{Arrival, publish};
use crate::store::Store;

/// Bytes in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    digest: Digest,
    size: u64,
    path: PathBuf,
}

impl Blob {
    pub(crate) const fn new(digest: Digest, size: u64, path: PathBuf) -> Self {
        Self { digest, size, path }
    }

    /// Its digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The file; never write to it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for reading. What is open stays readable even if the blob is removed.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlob`] if it was removed meanwhile.
    pub fn open(&self) -> Result<File> {
        fs::optional(fs::open(&self.path))?.ok_or(Error::MissingBlob(self.digest))
    }
}

/// What is known about bytes before they come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Their digest.
    pub digest: Option<Digest>,
    /// Their size.
    pub size: Option<u64>,
}

impl From<&Descriptor> for Expected {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            digest: Some(descriptor.digest),
            size: Some(descriptor.size),
        }
    }
}

/// A blob that is being written; dropping it takes it back.
#[derive(Debug)]
#[must_use = "nothing is in the store before `publish`"]
pub struct BlobIngest {
    lease: Lease,
    expected: Expected,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    written: u64,
    /// Bytes that an earlier attempt left in the file: they are hashed and not written.
    earlier: u64,
    /// What was written stays for another attempt if this one breaks off.
    keeps: bool,
}

impl Lease {
    /// Begins a blob. With an expected size, the first byte too many is an error.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be made.
    pub fn ingest_blob(&self, expected: Expected) -> Result<BlobIngest> {
        let path = self.temporary("blob");
        let algorithm = expected
            .digest
            .map_or(oci::Algorithm::Sha256, |digest| digest.algorithm());
        Ok(BlobIngest {
            file: fs::create_new(&path)?,
            lease: self.clone(),
            expected,
            path,
            hasher: Hasher::new(algorithm),
            written: 0,
            earlier: 0,
            keeps: false,
        })
    }

    /// Begins a large blob, or goes on where an earlier attempt broke off, in this process or another.
    ///
    /// First come the bytes that [`BlobIngest::earlier`] gives, then the rest. If the ingest is dropped, what was written stays for
    /// the next attempt, for a week; [`Turn::forget`] takes it away, as must be done if it turned out to be wrong.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn resume_blob(&self, turn: &Turn, size: u64) -> Result<BlobIngest> {
        let digest = *turn.digest();
        let path = fetch::partial(self.store(), &digest);
        let mut file = fs::open_to_append(&path)?;
        let mut earlier = file.metadata().context("stat", &path)?.len();
        if earlier > size {
            fs::remove_file(&path)?;
            file = fs::open_to_append(&path)?;
            earlier = 0;
        }
        Ok(BlobIngest {
            file,
            lease: self.clone(),
            expected: Expected {
                digest: Some(digest),
                size: Some(size),
            },
            path,
            hasher: Hasher::new(digest.algorithm()),
            written: 0,
            earlier,
            keeps: true,
        })
    }

    /// Stores `bytes` as a blob.
    ///
    /// # Errors
    ///
    /// Writing or recording failed; the store is as it was.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Blob> {
        let digest = Digest::sha256_of(bytes);
        if let Some(blob) = self.store().blob(&digest)?
            && self.claim_blobs(&[digest]).is_ok()
        {
            return Ok(blob);
        }
        let mut ingest = self.ingest_blob(Expected::default())?;
        ingest.put(bytes)?;
        ingest.publish()
    }
}

impl BlobIngest {
    /// How many bytes were written so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The bytes that are there already, which are to be put again; none if this is the first attempt.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn earlier(&self) -> Result<Option<io::Take<File>>> {
        if self.earlier == 0 {
            return Ok(None);
        }
        Ok(Some(fs::open(&self.path)?.take(self.earlier)))
    }

    /// Writes `bytes`; [`Write`] is the same with an [`io::Error`].
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] if that is more than was expected; writing failed.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let total = self.written + bytes.len() as u64;
        if let Some(size) = self.expected.size
            && total > size
        {
            let digest = self
                .expected
                .digest
                .unwrap_or_else(|| self.hasher.clone().finish());
            return Err(Error::TooLong { digest, size });
        }
        let known = self.earlier.saturating_sub(self.written);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let new = bytes.get(known..).unwrap_or_default();
        self.file.write_all(new).context("write", &self.path)?;
        self.hasher.update(bytes);
        self.written = total;
        Ok(())
    }

    /// Makes the bytes written so far visible under their digest, claimed by the lease.
    ///
    /// The bytes are not on the disk yet, see [`Store::upkeep`]. Publishing what the store has already is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if size or digest differ from what was expected. In every error case the store is as it was,
    /// and the file is gone unless [`Lease::resume_blob`] made it: that one stays for another attempt until it is published.
    pub fn publish(self) -> Result<Blob> {
        let finished = self.finish()?;
        publish(&finished.ingest.lease, &[&finished], None)?;
        Ok(finished.published())
    }

    /// Ends the blob: it is what was expected, and waits for its publication.
    pub(crate) fn finish(self) -> Result<FinishedBlob> {
        let digest = self.hasher.clone().finish();
        let wrong = self
            .expected
            .digest
            .is_some_and(|expected| expected != digest)
            || self
                .expected
                .size
                .is_some_and(|expected| expected != self.written);
        if wrong {
            return Err(Error::Mismatch(Box::new(Mismatch {
                expected: self.expected.digest.unwrap_or(digest),
                expected_size: self.expected.size,
                found: digest,
                found_size: self.written,
            })));
        }
        let place = self.lease.store().folder().blob(&digest);
        Ok(FinishedBlob {
            blob: Blob::new(digest, self.written, place),
            ingest: self,
        })
    }
}

/// A blob that is complete, and not in the store yet; dropping it takes it back as [`BlobIngest`] does.
#[derive(Debug)]
pub(crate) struct FinishedBlob {
    /// What it will be.
    blob: Blob,
    ingest: BlobIngest,
}

impl FinishedBlob {
    pub(crate) const fn digest(&self) -> &Digest {
        &self.blob.digest
    }

    pub(crate) const fn size(&self) -> u64 {
        self.blob.size
    }

    /// What is in the store now.
    pub(crate) fn published(mut self) -> Blob {
        // Where the store had it already, the file is still there.
        self.ingest.keeps = false;
        self.blob
    }
}

impl Arrival for FinishedBlob {
    fn content(&self) -> Content {
        Content::Blob(self.blob.digest)
    }

    fn finished(&self) -> &Path {
        &self.ingest.path
    }

    fn is_intact(&self) -> bool {
        has_size(&self.blob.path, self.blob.size)
    }

    fn record(&self, db: &Connection, store: &Store) -> Result<()> {
        db.prepare_cached(
            "INSERT INTO blob (digest, size, created, boot) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (digest) DO UPDATE SET size = ?2, boot = ?4",
        )?
        .execute((
            self.blob.digest.to_string(),
            db::number(self.blob.size),
            store.now(),
            &store.inner.boot,
        ))?;
        Ok(())
    }
}

impl Write for BlobIngest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobIngest {
    fn drop(&mut self) {
        if self.keeps && self.earlier.max(self.written) > 0 {
            return;
        }
        // Missing after `publish`; otherwise what stays is the lease's litter and goes with it.
        fs::remove_file(&self.path).ok();
    }
}

impl Store {
    /// The blob with this digest: a file of `blobs/`, or the tar of a layer.
    ///
    /// A blob that was not on the disk when the machine stopped is hashed now, and not found if it is torn.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        let row = self.read("find a blob", |db| {
            let row = db
                .prepare_cached("SELECT size, boot FROM blob WHERE digest = ?1")?
                .query_row([digest.to_string()], |row| {
                    Ok((db::size(row, 0)?, row.get::<_, Option<String>>(1)?))
                })
                .optional()?;
            Ok(row)
        })?;
        if let Some((size, boot)) = row {
            let blob = Blob::new(*digest, size, self.folder().blob(digest));
            if !has_size(&blob.path, size) {
                return Ok(None);
            }
            let trusted =
                boot.is_none_or(|boot| boot == self.inner.boot) || self.verify_blob(&blob)?;
            return Ok(trusted.then_some(blob));
        }
        let layer = self.find_layer(&DiffId::from_digest(*digest))?;
        Ok(layer.map(|layer| Blob::new(*digest, layer.size(), layer.tar())))
    }

    /// The bytes of a document: a manifest, an index or a config. They are what the digest says.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlob`]; [`Error::Corrupt`] if the bytes have another digest or are too many for a document.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let corrupt = |reason: String| Error::Corrupt {
            what: format!("blob {digest}"),
            reason,
        };
        let blob = self.blob(digest)?.ok_or(Error::MissingBlob(*digest))?;
        if blob.size > MAX_DOCUMENT_SIZE {
            return Err(corrupt(format!(
                "{} bytes are too many for a document",
                blob.size
            )));
        }
        let mut bytes = Vec::new();
        blob.open()?
            .take(MAX_DOCUMENT_SIZE + 1)
            .read_to_end(&mut bytes)
            .context("read", &blob.path)?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found == *digest {
            Ok(bytes)
        } else {
            Err(corrupt(format!("its bytes have digest {found}")))
        }
    }

    /// The blobs that are compressed forms of a layer.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn compressed(&self, layer: &DiffId) -> Result<Vec<Descriptor>> {
        self.read("find the compressed forms of a layer", |db| {
            let mut statement = db.prepare_cached(
                "SELECT media_type, blob, size FROM compressed WHERE diff_id = ?1",
            )?;
            let rows = statement.query_map([layer.to_string()], |row| {
                Ok(Descriptor::new(
                    row.get::<_, String>(0)?,
                    db::parsed(row, 1)?,
                    db::size(row, 2)?,
                ))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The layer that this blob is a compressed form of, if the store has both.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn layer_of_compressed(&self, blob: &Digest) -> Result<Option<DiffId>> {
        self.read("find the layer of a blob", |db| {
            let id = db
                .prepare_cached(
                    "SELECT c.diff_id FROM compressed c JOIN layer l ON l.diff_id = c.diff_id WHERE c.blob = ?1",
                )?
                .query_row([blob.to_string()], |row| db::parsed(row, 0))
                .optional()?;
            Ok(id)
        })
    }

    /// Notes that a blob is a compressed form of a layer; from now on it lives as long as the layer.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`] or [`Error::MissingBlob`] if the store does not have both.
    pub fn put_compressed(&self, layer: &DiffId, form: &Descriptor) -> Result<()> {
        self.write("note a compressed form", |db| {
            if !Content::Layer(*layer).is_recorded(db)? {
                return Err(Error::MissingLayer(*layer));
            }
            if !Content::Blob(form.digest).is_recorded(db)? {
                return Err(Error::MissingBlob(form.digest));
            }
            record_compressed(db, layer, form)
        })
    }
}

/// Notes that a blob is a compressed form of a layer; the store has both.
pub(crate) fn record_compressed(db: &Connection, layer: &DiffId, form: &Descriptor) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO compressed (blob, diff_id, media_type, size) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        form.digest.to_string(),
        layer.to_string(),
        &form.media_type,
        db::number(form.size),
    ))?;
    Ok(())
}

/// True if `path` is a regular file of this size: the cheap half of a check.
pub(crate) fn has_size(path: &Path, size: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}
