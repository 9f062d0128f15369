//! Reading an archive entry by entry.

use std::io::{self, Read};

use super::BLOCK;
use super::scan::{Error, Problem, Scanner, Step};
use super::sparse::Segment;
use crate::meta::{Kind, Meta};

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as written, without NULs, otherwise unchecked.
    pub path: Vec<u8>,
    /// What it is; the size of a sparse file is the one it has unpacked.
    pub meta: Meta,
    /// Where its own header begins, behind extended ones.
    pub header_offset: u64,
    /// Where its data begins.
    pub data_offset: u64,
    /// Bytes of data in the archive, padding not counted.
    pub stored: u64,
    /// Of a sparse file, the parts that are stored, in order.
    pub segments: Option<Vec<Segment>>,
}

impl Entry {
    /// The size of a regular file, unpacked; 0 for all else.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self.meta.kind {
            Kind::File { size } => size,
            _ => 0,
        }
    }
}

/// A reader of archives; see [the module](super) about what it accepts.
///
/// [`next`](Self::next) gives the entries in order. After it, the reader itself reads the content of that entry (of a sparse file, with
/// its holes as zeros); what is not read is skipped. Reads of 512 bytes go to the source: give it a buffer.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    scanner: Scanner,
    /// Bytes taken from the source.
    offset: u64,
    /// Stored bytes of the current entry that are not read yet.
    left: u64,
    padding: u64,
    /// Where the next byte of the content is in the unpacked file, and its size.
    position: u64,
    size: u64,
    /// What is left of the map, the next part last; `None` if the file is not sparse.
    segments: Option<Vec<Segment>>,
    done: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the archive that begins here.
    pub fn new(source: R) -> Self {
        Self {
            source,
            scanner: Scanner::new(),
            offset: 0,
            left: 0,
            padding: 0,
            position: 0,
            size: 0,
            segments: None,
            done: false,
        }
    }

    /// Where the source is: behind the end mark, once [`next`](Self::next) gave `None`.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next entry, or `None` at the end of the archive.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] says where and what is wrong; nothing sensible can be read after that.
    #[expect(
        clippy::should_implement_trait,
        reason = "the content of an entry is read between two calls, which an iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let mut block = [0; BLOCK];
        while !self.done {
            let at = self.offset;
            if !self.fill(&mut block)? {
                self.done = true;
                self.scanner.end().map_err(|problem| self.error(problem))?;
                break;
            }
            match self.scanner.block(at, &block) {
                Ok(Step::More) => {}
                Ok(Step::End) => self.done = true,
                Ok(Step::Entry(entry)) => {
                    self.begin(&entry);
                    return Ok(Some(*entry));
                }
                Err(problem) => {
                    self.done = true;
                    self.offset = at;
                    return Err(self.error(problem));
                }
            }
        }
        Ok(None)
    }

    const fn error(&self, problem: Problem) -> Error {
        Error::Format {
            offset: self.offset,
            entry: Vec::new(),
            problem,
        }
    }

    fn begin(&mut self, entry: &Entry) {
        self.left = entry.stored;
        self.padding = entry.stored.wrapping_neg() % BLOCK as u64;
        self.position = 0;
        self.size = entry.size();
        self.segments = entry.segments.clone();
        if let Some(segments) = &mut self.segments {
            segments.reverse();
        }
    }

    /// A whole block. `false` if the source is at its end.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        let mut done = 0;
        while done < BLOCK {
            match self.source.read(&mut block[done..]) {
                Ok(0) if done == 0 => return Ok(false),
                Ok(0) => return Err(self.error(Problem::Truncated)),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(true)
    }

    /// Skips what is left of the current entry.
    fn skip(&mut self) -> Result<(), Error> {
        let left = std::mem::take(&mut self.left);
        self.size = 0;
        self.position = 0;
        self.segments = None;
        if self.discard(left)? != left {
            return Err(self.error(Problem::Truncated));
        }
        // The last entry's padding may be missing.
        let padding = std::mem::take(&mut self.padding);
        self.discard(padding)?;
        Ok(())
    }

    fn discard(&mut self, count: u64) -> Result<u64, Error> {
        let skipped = io::copy(
            &mut Read::by_ref(&mut self.source).take(count),
            &mut io::sink(),
        )
        .map_err(Error::Read)?;
        self.offset += skipped;
        Ok(skipped)
    }

    fn read_stored(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                Problem::Truncated,
            ));
        }
        self.left -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(segments) = &mut self.segments else {
            return self.read_stored(buffer);
        };
        while segments.last().is_some_and(|segment| segment.len == 0) {
            segments.pop();
        }
        let next = segments.last().map_or(self.size, |segment| segment.offset);
        if self.position < next {
            let hole = usize::try_from(next - self.position).unwrap_or(usize::MAX);
            let count = hole.min(buffer.len());
            buffer[..count].fill(0);
            self.position += count as u64;
            return Ok(count);
        }
        let Some(segment) = segments.last().copied() else {
            return Ok(0);
        };
        let most = buffer
            .len()
            .min(usize::try_from(segment.len).unwrap_or(usize::MAX));
        let count = self.read_stored(&mut buffer[..most])?;
        self.position += count as u64;
        if let Some(segment) = self.segments.as_mut().and_then(|list| list.last_mut()) {
            segment.offset += count as u64;
            segment.len -= count as u64;
        }
        Ok(count)
    }
}
