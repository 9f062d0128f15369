//! Making a layer: its bytes go to `layer.tar` while they are hashed, its entries to the index.

mod collect;
mod pipe;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use collect::Collector;
use oci::DiffId;
use pipe::Pipe;

use crate::erofs::tree::{OPAQUE, Place, WHITEOUT};
use crate::erofs::write::{self, Devices, WriteError};
use crate::files::LayerFiles;
use crate::meta::{Kind, Meta};
use crate::tar::{self, BLOCK, TRAILER};
use crate::{EntryError, path};

/// Why a layer could not be made. The files that were begun are useless; remove their directory.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A file of the layer could not be written.
    #[error(transparent)]
    Write(sys::fs::Error),
    /// The index could not be written.
    #[error("cannot write `{}`: {source}", .path.display())]
    Index {
        /// Of the index.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The source of a tar could not be read.
    #[error("cannot read the layer: {0}")]
    Read(#[source] io::Error),
    /// The source of an entry could not be read.
    #[error("cannot read the content of `{}`: {source}", path::shown(.entry))]
    ReadEntry {
        /// Whose content.
        entry: Vec<u8>,
        /// Why.
        source: io::Error,
    },
    /// A file had fewer bytes than its metadata said, because it was changed meanwhile.
    #[error("`{}` became shorter while it was read ({found} bytes of {size})", path::shown(.entry))]
    Short {
        /// Which.
        entry: Vec<u8>,
        /// What the metadata said.
        size: u64,
        /// What there was.
        found: u64,
    },
    /// The bytes are no tar, or one that readers disagree about.
    #[error("the layer is not a good tar: {0}")]
    Tar(#[source] tar::Error),
    /// An entry that cannot be in a layer.
    #[error("entry `{}`: {source}", path::shown(.entry))]
    Entry {
        /// Its name.
        entry: Vec<u8>,
        /// What is wrong.
        source: EntryError,
    },
    /// More than the caller wanted to have.
    #[error("the layer is larger than {limit} bytes")]
    TooLarge {
        /// The limit that was set.
        limit: u64,
    },
    /// More than the index can address.
    #[error("the layer is larger than 2 TiB")]
    TooFar,
}

/// A layer that is complete on disk, not synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The digest of `layer.tar`.
    pub diff_id: DiffId,
    /// Its bytes.
    pub size: u64,
    /// Entries of the tar, deletions with them.
    pub entries: u64,
    /// Bytes of the index.
    pub index_size: u64,
    /// Whether there is a file `side`.
    pub side: bool,
}

/// A layer in the making, in a directory of its own.
///
/// Either takes a tar as it is ([`copy_tar`](Self::copy_tar)), or builds one from entries in the order of the calls; the same
/// calls give the same bytes. A second thread hashes and writes, so that the caller only reads, unless the layer is small. Memory is bounded: 2 MB of
/// buffers, and about 130 bytes and its name for each entry until [`finish`](Self::finish).
///
/// Nothing is synced. Dropped before `finish`, or after an error, it leaves unfinished files in the directory, which the
/// caller removes.
#[derive(Debug)]
#[must_use = "a layer exists only when it is finished"]
pub struct Ingest {
    files: LayerFiles,
    pipe: Pipe,
    collector: Collector,
    head: Vec<u8>,
    limit: u64,
    /// The tar came from outside and has its own end.
    verbatim: bool,
}

impl Ingest {
    /// Begins a layer in `dir`, an existing directory without a layer in it.
    ///
    /// # Errors
    ///
    /// The files cannot be created.
    pub fn create(dir: &Path) -> Result<Self, IngestError> {
        let files = LayerFiles::in_dir(dir);
        let pipe = Pipe::create(&files.tar).map_err(IngestError::Write)?;
        Ok(Self {
            collector: Collector::new(files.side.clone()),
            files,
            pipe,
            head: Vec::new(),
            limit: u64::MAX,
            verbatim: false,
        })
    }

    /// Makes more than so many bytes of `layer.tar` an error: what bounds a compression bomb.
    pub const fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Makes more than so many names an error, implied directories and repetitions counted. It cannot go above [`MAX_NAMES`](crate::MAX_NAMES).
    pub fn set_name_limit(&mut self, names: usize) {
        self.collector.tree.set_most_names(names);
    }

    /// Bytes of the tar so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.pipe.total()
    }

    /// Entries so far, deletions with them.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.collector.tree.entries()
    }

    /// Takes a whole tar as it is: its bytes, all of them up to the end of `source`, are `layer.tar`.
    ///
    /// What stands behind the end mark of the archive is kept and hashed, and not looked at. An ingest takes one tar and nothing else.
    ///
    /// # Errors
    ///
    /// `source` fails, the tar is malformed or larger than the limit, or an entry cannot be in a layer. Nothing of the layer can
    /// be used then.
    pub fn copy_tar(&mut self, source: &mut dyn Read) -> Result<(), IngestError> {
        self.verbatim = true;
        self.collector.start_at(self.pipe.total());
        loop {
            let bytes = self.pipe.load(source).map_err(pipe_error)?;
            let last = bytes.len() < pipe::BUFFER;
            self.collector.feed(bytes)?;
            self.check_limit()?;
            if last {
                break;
            }
        }
        self.collector.end()
    }

    /// Adds an entry; of a regular file, exactly its size is read from `body`.
    ///
    /// Gives the offset of its data in `layer.tar`. Missing parents need no entry of their own: they appear as mode 0755, owned
    /// by root, of 1970. A later entry of the same name replaces this one.
    ///
    /// # Errors
    ///
    /// After [`IngestError::Entry`] nothing of the entry is in the tar; after any other error the layer is of no use.
    pub fn append(
        &mut self,
        path: &[u8],
        meta: &Meta,
        body: &mut dyn Read,
    ) -> Result<u64, IngestError> {
        let at = self.begin(path, meta)?;
        if let Kind::File { size } = meta.kind {
            let found = self.pipe.fill(body, size);
            self.end(path, size, found)?;
        }
        Ok(at)
    }

    /// The same for a caller that has the bytes; the size in `meta` must be theirs.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    pub fn append_bytes(
        &mut self,
        path: &[u8],
        meta: &Meta,
        bytes: &[u8],
    ) -> Result<u64, IngestError> {
        self.append(path, meta, &mut { bytes })
    }

    /// The same for bytes of another file, from `offset`.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    pub fn append_file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        file: &File,
        offset: u64,
    ) -> Result<u64, IngestError> {
        let at = self.begin(path, meta)?;
        if let Kind::File { size } = meta.kind {
            let found = self.pipe.fill_from(file, offset, size);
            self.end(path, size, found)?;
        }
        Ok(at)
    }

    /// The same, from the beginning, for a file that others may be writing: bytes beyond its size are left out, and what it lacks
    /// when it is read is zeros, as in the archives of other programs.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append), without [`IngestError::Short`].
    pub fn append_moving_file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        file: &File,
    ) -> Result<u64, IngestError> {
        let at = self.begin(path, meta)?;
        if let Kind::File { size } = meta.kind {
            let found = self.pipe.fill_from(file, 0, size).and_then(|found| {
                let rest = self.pipe.fill(&mut io::repeat(0), size - found)?;
                Ok(found + rest)
            });
            self.end(path, size, found)?;
        }
        Ok(at)
    }

    /// Adds the deletion of what lower layers have under this name.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    pub fn whiteout(&mut self, path: &[u8]) -> Result<(), IngestError> {
        let mut parts: Vec<_> = path::components(path).collect();
        let name = parts.pop().unwrap_or_default();
        let mark = [WHITEOUT, name].concat();
        self.mark(&parts, &mark)
    }

    /// Makes a directory hide all that lower layers have in it.
    ///
    /// # Errors
    ///
    /// As for [`append`](Self::append).
    pub fn opaque(&mut self, dir: &[u8]) -> Result<(), IngestError> {
        let parts: Vec<_> = path::components(dir).collect();
        self.mark(&parts, OPAQUE)
    }

    fn mark(&mut self, parent: &[&[u8]], name: &[u8]) -> Result<(), IngestError> {
        let mut path = parent.join(&b'/');
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let meta = Meta::file(0, 0);
        self.collector
            .tree
            .add(&path, &meta, Place::None)
            .map_err(|source| entry_error(&path, source))?;
        self.put_header(&path, &meta)
    }

    /// Puts the entry into the tree and its header into the tar; gives where its data goes.
    fn begin(&mut self, path: &[u8], meta: &Meta) -> Result<u64, IngestError> {
        let last = path::components(path).next_back().unwrap_or_default();
        if last.starts_with(WHITEOUT) {
            return Err(entry_error(path, EntryError::Reserved));
        }
        self.head.clear();
        tar::header(path, meta, &mut self.head);
        let at = self.pipe.total() + self.head.len() as u64;
        let place = match meta.kind {
            Kind::File { size } if size > 0 => Place::Tar(at),
            _ => Place::None,
        };
        self.collector
            .tree
            .add(path, meta, place)
            .map_err(|source| entry_error(path, source))?;
        let head = std::mem::take(&mut self.head);
        let result = self.pipe.put(&head);
        self.head = head;
        result.map_err(pipe_error)?;
        self.check_limit()?;
        Ok(at)
    }

    fn put_header(&mut self, path: &[u8], meta: &Meta) -> Result<(), IngestError> {
        self.head.clear();
        tar::header(path, meta, &mut self.head);
        self.pipe.put(&self.head).map_err(pipe_error)?;
        self.check_limit()
    }

    fn end(&mut self, path: &[u8], size: u64, found: pipe::Result<u64>) -> Result<(), IngestError> {
        let found = found.map_err(|error| match error {
            pipe::Error::Write(error) => IngestError::Write(error),
            pipe::Error::Read(source) => IngestError::ReadEntry {
                entry: path.to_vec(),
                source,
            },
        })?;
        if found != size {
            return Err(IngestError::Short {
                entry: path.to_vec(),
                size,
                found,
            });
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
        self.pipe.put(&TRAILER[..padding]).map_err(pipe_error)?;
        self.check_limit()
    }

    const fn check_limit(&self) -> Result<(), IngestError> {
        if self.pipe.total() > self.limit {
            return Err(IngestError::TooLarge { limit: self.limit });
        }
        Ok(())
    }

    /// Ends the layer: the last bytes are written, then the index.
    ///
    /// # Errors
    ///
    /// A file could not be written.
    pub fn finish(mut self) -> Result<Finished, IngestError> {
        if !self.verbatim {
            self.pipe.put(&TRAILER).map_err(pipe_error)?;
        }
        let size = self.pipe.total();
        let sum = self.pipe.finish().map_err(IngestError::Write)?;
        let diff_id = DiffId::from_digest(sum.digest);
        write_index(&self.files, self.collector, &sum.file, size, diff_id)
    }
}

/// The last step: what the collector knows becomes the index.
fn write_index(
    files: &LayerFiles,
    mut collector: Collector,
    tar: &File,
    size: u64,
    diff_id: DiffId,
) -> Result<Finished, IngestError> {
    let whole = size - size % BLOCK as u64;
    // A tar may end without the padding of its last file. A loop device would not show the last piece.
    if let Some(last) = collector.last
        && last.offset + last.len > whole
    {
        let start = collector
            .side
            .copy(tar, &files.tar, last.offset, last.len)?;
        collector
            .tree
            .set_place(last.inode, Place::Side(start))
            .map_err(|_| IngestError::TooFar)?;
    }
    let index = sys::fs::create_new(&files.index).map_err(IngestError::Write)?;
    let devices = Devices {
        tar: whole,
        side: collector.side.size(),
        tar_hex: &diff_id.digest().hex(),
    };
    let index_size =
        write::write(&collector.tree, &devices, &index).map_err(|error| match error {
            WriteError::TooLarge => IngestError::TooFar,
            WriteError::Io(source) => IngestError::Index {
                path: files.index.clone(),
                source,
            },
        })?;
    Ok(Finished {
        diff_id,
        size,
        entries: collector.tree.entries(),
        index_size,
        side: collector.side.size().is_some(),
    })
}

/// Makes the index of a layer anew from its `layer.tar`, and `side` if it needs one. Neither may exist.
///
/// The result is the same, byte for byte, as that of the [`Ingest`] that made the layer; `diff_id` is not verified. This is how damage in
/// an index is found and mended.
///
/// # Errors
///
/// As for [`Ingest::copy_tar`].
pub fn reindex(files: &LayerFiles, diff_id: DiffId) -> Result<Finished, IngestError> {
    let mut tar = sys::fs::open(&files.tar).map_err(IngestError::Write)?;
    let mut collector = Collector::new(files.side.clone());
    let mut buffer = vec![0; pipe::BUFFER];
    let mut size = 0;
    loop {
        let count = match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(IngestError::Read(error)),
        };
        collector.feed(&buffer[..count])?;
        size += count as u64;
    }
    collector.end()?;
    write_index(files, collector, &tar, size, diff_id)
}

fn entry_error(path: &[u8], source: EntryError) -> IngestError {
    IngestError::Entry {
        entry: path.to_vec(),
        source,
    }
}

fn pipe_error(error: pipe::Error) -> IngestError {
    match error {
        pipe::Error::Write(error) => IngestError::Write(error),
        pipe::Error::Read(error) => IngestError::Read(error),
    }
}
