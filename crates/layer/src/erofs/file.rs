//! The bytes of a file, wherever they lie.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Which file has the bytes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// `layer.tar`.
    Tar,
    /// `side`.
    Side,
}

/// Where the bytes of a regular file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which file.
    pub backing: Backing,
    /// From which byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// The bytes of one regular file of a layer.
#[derive(Debug, Clone)]
pub struct FileReader {
    file: Arc<File>,
    location: Location,
    position: u64,
}

impl FileReader {
    pub(super) const fn new(file: Arc<File>, location: Location) -> Self {
        Self {
            file,
            location,
            position: 0,
        }
    }

    /// Its length.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.location.len
    }

    /// True if it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.location.len == 0
    }

    /// The file that has the bytes, and where.
    #[must_use]
    pub fn source(&self) -> (&File, Location) {
        (&self.file, self.location)
    }

    /// Reads from `offset`, not moving the position; 0 at the end only.
    ///
    /// # Errors
    ///
    /// Reading failed, or the layer is shorter than its index says ([`io::ErrorKind::UnexpectedEof`]).
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.location.len.saturating_sub(offset);
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self
            .file
            .read_at(&mut buffer[..most], self.location.offset + offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.location.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "seek before the start of the file",
            )
        })?;
        Ok(self.position)
    }
}
