//! From the bytes of a tar that pass by to the entries of the index.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sys::fs::Context as _;

use super::{IngestError, entry_error};
use crate::erofs::tree::{Added, Place, Tree};
use crate::meta::Kind;
use crate::tar::{self, BLOCK, Entry, Problem, Scanner, Segment, Step};

/// Data in `side` begins at pages, so that reading it through the mount shares whole ones.
const SIDE_ALIGNMENT: u64 = 4096;

/// Largest `side`: a sparse file says its size in a few bytes, and file systems end at 16 TiB.
const MAX_SIDE: u64 = 1 << 40;

/// The file for data that cannot be addressed in `layer.tar`.
#[derive(Debug)]
pub(super) struct Side {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Side {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            size: 0,
        }
    }

    /// Its size, if it exists.
    pub(super) fn size(&self) -> Option<u64> {
        self.file.as_ref().map(|_| self.size)
    }

    /// Makes room for `len` bytes, all zeros so far, and gives where it begins.
    fn reserve(&mut self, len: u64) -> Result<u64, IngestError> {
        let start = self.size.next_multiple_of(SIDE_ALIGNMENT);
        let end = start
            .checked_add(len)
            .filter(|end| *end <= MAX_SIDE)
            .ok_or(IngestError::TooFar)?
            .next_multiple_of(BLOCK as u64);
        let file = match self.file.take() {
            Some(file) => file,
            None => sys::fs::create_new(&self.path).map_err(IngestError::Write)?,
        };
        file.set_len(end)
            .context("extend", &self.path)
            .map_err(IngestError::Write)?;
        self.file = Some(file);
        self.size = end;
        Ok(start)
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), IngestError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.write_all_at(bytes, at)
            .context("write", &self.path)
            .map_err(IngestError::Write)
    }

    /// Copies a range of another file to its end.
    pub(super) fn copy(
        &mut self,
        from: &File,
        path: &Path,
        mut at: u64,
        len: u64,
    ) -> Result<u64, IngestError> {
        let start = self.reserve(len)?;
        let mut buffer = vec![0; 64 << 10];
        let mut done = 0;
        while done < len {
            let most = buffer
                .len()
                .min(usize::try_from(len - done).unwrap_or(usize::MAX));
            from.read_exact_at(&mut buffer[..most], at)
                .context("read", path)
                .map_err(IngestError::Write)?;
            self.write(&buffer[..most], start + done)?;
            at += most as u64;
            done += most as u64;
        }
        Ok(start)
    }
}

/// Where the stored bytes of a sparse file go.
#[derive(Debug)]
struct Sparse {
    start: u64,
    /// What is still to come, the next part last.
    segments: Vec<Segment>,
}

/// The regular file whose data ends nearest to the end of the tar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) inode: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Follows a tar whose bytes are handed in piece by piece.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) tree: Tree,
    pub(super) side: Side,
    pub(super) last: Option<Last>,
    scanner: Scanner,
    /// Bytes seen.
    at: u64,
    /// Stored data that is still to come.
    data: u64,
    padding: u64,
    sparse: Option<Sparse>,
    /// The begin of a block whose rest is in the next piece.
    carry: Vec<u8>,
    ended: bool,
}

impl Collector {
    pub(super) fn new(side: PathBuf) -> Self {
        Self {
            tree: Tree::new(),
            side: Side::new(side),
            last: None,
            scanner: Scanner::new(),
            at: 0,
            data: 0,
            padding: 0,
            sparse: None,
            carry: Vec::new(),
            ended: false,
        }
    }

    /// The next piece begins at this byte of `layer.tar`.
    pub(super) const fn start_at(&mut self, at: u64) {
        self.at = at;
    }

    /// Takes the next piece.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), IngestError> {
        while !bytes.is_empty() && !self.ended {
            if self.data > 0 {
                let count = bytes
                    .len()
                    .min(usize::try_from(self.data).unwrap_or(usize::MAX));
                self.store(&bytes[..count])?;
                self.data -= count as u64;
                self.at += count as u64;
                bytes = &bytes[count..];
            } else if self.padding > 0 {
                let count = bytes
                    .len()
                    .min(usize::try_from(self.padding).unwrap_or(usize::MAX));
                self.padding -= count as u64;
                self.at += count as u64;
                bytes = &bytes[count..];
            } else if self.carry.is_empty()
                && let Some(block) = bytes.first_chunk::<BLOCK>()
            {
                self.block(block)?;
                bytes = &bytes[BLOCK..];
            } else {
                let count = bytes.len().min(BLOCK - self.carry.len());
                self.carry.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                if let Some(block) = self.carry.first_chunk::<BLOCK>().copied() {
                    self.carry.clear();
                    self.block(&block)?;
                }
            }
        }
        Ok(())
    }

    /// The tar has ended.
    pub(super) fn end(&self) -> Result<(), IngestError> {
        if self.ended {
            return Ok(());
        }
        // The padding of the last entry may be missing, nothing else.
        if self.data > 0 || !self.carry.is_empty() {
            return Err(self.problem(&[], Problem::Truncated));
        }
        self.scanner
            .end()
            .map_err(|problem| self.problem(&[], problem))
    }

    fn problem(&self, entry: &[u8], problem: Problem) -> IngestError {
        IngestError::Tar(tar::Error::Format {
            offset: self.at,
            entry: entry.to_vec(),
            problem,
        })
    }

    fn block(&mut self, block: &[u8; BLOCK]) -> Result<(), IngestError> {
        let step = self
            .scanner
            .block(self.at, block)
            .map_err(|problem| self.problem(&[], problem))?;
        self.at += BLOCK as u64;
        match step {
            Step::More => Ok(()),
            Step::End => {
                self.ended = true;
                Ok(())
            }
            Step::Entry(entry) => self.entry(*entry),
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), IngestError> {
        self.data = entry.stored;
        self.padding = entry.stored.wrapping_neg() % BLOCK as u64;
        let Entry {
            path,
            meta,
            data_offset,
            segments,
            ..
        } = entry;
        let place = match (&meta.kind, segments) {
            (Kind::File { size: 0 }, _) => Place::None,
            (Kind::File { size }, Some(mut segments)) => {
                let start = self.side.reserve(*size)?;
                segments.reverse();
                self.sparse = Some(Sparse { start, segments });
                Place::Side(start)
            }
            (Kind::File { .. }, None) => Place::Tar(data_offset),
            _ => Place::None,
        };
        let added = self
            .tree
            .add(&path, &meta, place)
            .map_err(|source| entry_error(&path, source))?;
        if let (Added::Inode(inode), Place::Tar(offset), Kind::File { size }) =
            (added, place, &meta.kind)
        {
            self.last = Some(Last {
                inode,
                offset,
                len: *size,
            });
        }
        Ok(())
    }

    /// Keeps data that cannot stay where it is.
    fn store(&mut self, mut bytes: &[u8]) -> Result<(), IngestError> {
        let Some(sparse) = &mut self.sparse else {
            return Ok(());
        };
        while let Some(segment) = sparse.segments.last_mut() {
            let count = bytes
                .len()
                .min(usize::try_from(segment.len).unwrap_or(usize::MAX));
            self.side
                .write(&bytes[..count], sparse.start + segment.offset)?;
            bytes = &bytes[count..];
            segment.offset += count as u64;
            segment.len -= count as u64;
            if segment.len > 0 {
                return Ok(());
            }
            sparse.segments.pop();
        }
        self.sparse = None;
        Ok(())
    }
}
