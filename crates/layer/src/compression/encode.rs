//! Compression whose output depends on the input alone.

use std::io::{self, Write};

use super::Compression;
use super::pieces;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// What the tools do when they are not told: 6 for gzip, 3 for zstd.
    #[default]
    Default,
    /// This level of the tool: 0 to 9 for gzip, 1 to 22 for zstd.
    Exact(u32),
}

/// Writes a compressed stream to another writer.
///
/// The same input and level give the same bytes: no time, no name, and threads that do not show.
#[must_use = "a stream without its end is truncated"]
pub struct Encoder<W: Write> {
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Plain(W),
    Gzip(Box<pieces::Gzip<W>>),
    Zstd(Box<zstd::Encoder<'static, W>>),
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl<W: Write> Encoder<W> {
    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] for bzip2 and xz, which registries do not take, and
    /// [`io::ErrorKind::InvalidInput`] for a level that there is not.
    pub fn new(inner: W, compression: Compression, level: Level) -> io::Result<Self> {
        let bad_level = || io::Error::new(io::ErrorKind::InvalidInput, "there is no such level");
        let inner = match compression {
            Compression::None => Inner::Plain(inner),
            Compression::Gzip => {
                let level = match level {
                    Level::Default => flate2::Compression::default(),
                    Level::Exact(level @ 0..=9) => flate2::Compression::new(level),
                    Level::Exact(_) => return Err(bad_level()),
                };
                Inner::Gzip(Box::new(pieces::Gzip::new(inner, level)?))
            }
            Compression::Zstd => {
                let level = match level {
                    Level::Default => 3,
                    Level::Exact(level @ 1..=22) => level.cast_signed(),
                    Level::Exact(_) => return Err(bad_level()),
                };
                let mut encoder = zstd::Encoder::new(inner, level)?;
                encoder.include_checksum(true)?;
                Inner::Zstd(Box::new(encoder))
            }
            Compression::Bzip2 | Compression::Xz => {
                let message = format!("{} is only read, not written", compression.name());
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        Ok(Self { inner })
    }

    /// Ends the stream and gives the writer back, not flushed.
    ///
    /// # Errors
    ///
    /// Writing failed.
    pub fn finish(self) -> io::Result<W> {
        match self.inner {
            Inner::Plain(inner) => Ok(inner),
            Inner::Gzip(inner) => inner.finish(),
            Inner::Zstd(inner) => inner.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(inner) => inner.write(bytes),
            Inner::Gzip(inner) => inner.write(bytes),
            Inner::Zstd(inner) => inner.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Plain(inner) => inner.flush(),
            Inner::Gzip(inner) => inner.flush(),
            Inner::Zstd(inner) => inner.flush(),
        }
    }
}
