//! Decompression with bounded memory.

use std::io::{self, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

use super::{Compression, MAGIC};

/// Most memory that a stream may ask of its decoder: what `zstd` and `xz` decode without a special option. A stream that needs more
/// is an error.
pub const MAX_MEMORY: u64 = 128 << 20;

/// The same for zstd, as `log2` of its window.
const MAX_WINDOW_LOG: u32 = 27;

/// Input is read in pieces of this size.
const BUFFER: usize = 128 << 10;

/// What was peeked at, then the rest.
type Source<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

/// Reads the uncompressed bytes of a stream that is compressed in any way that [`Compression`] knows, or in none.
///
/// Several streams one after the other are read as one, as the tools do that made them. A truncated stream and bytes behind the last one are
/// errors, never a quiet end. How much comes out is not limited here: see [`Ingest::set_limit`](crate::Ingest::set_limit).
pub struct Decoder<R: Read> {
    compression: Compression,
    inner: Inner<R>,
}

enum Inner<R: Read> {
    Plain(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
    Bzip2(Box<MultiBzDecoder<Source<R>>>),
    Xz(Box<XzDecoder<Source<R>>>),
    Zstd(Box<zstd::Decoder<'static, Source<R>>>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `source` and decodes accordingly.
    ///
    /// # Errors
    ///
    /// `source` cannot be read.
    pub fn new(mut source: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(MAGIC);
        Read::by_ref(&mut source)
            .take(MAGIC as u64)
            .read_to_end(&mut first)?;
        let compression = Compression::detect(&first);
        let source = BufReader::with_capacity(BUFFER, Cursor::new(first).chain(source));
        let inner = match compression {
            Compression::None => Inner::Plain(source),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Bzip2 => Inner::Bzip2(Box::new(MultiBzDecoder::new(source))),
            Compression::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(MAX_MEMORY, flags)
                    .map_err(io::Error::other)?;
                Inner::Xz(Box::new(XzDecoder::new_stream(source, stream)))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { compression, inner })
    }

    /// What the source turned out to be.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(inner) => inner.read(buffer),
            Inner::Gzip(inner) => inner.read(buffer),
            Inner::Bzip2(inner) => inner.read(buffer),
            Inner::Xz(inner) => inner.read(buffer),
            Inner::Zstd(inner) => inner.read(buffer),
        }
    }
}
