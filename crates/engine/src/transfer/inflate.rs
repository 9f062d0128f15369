//! Decompression that a bomb cannot use to fill the disk.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use layer::compression::Decoder;

/// What may come out of nearly nothing: images with a large file of zeros exist.
const ALLOWANCE: u64 = 2 << 30;
/// How much may come out of each byte beyond that. gzip cannot do more than 1032; other formats make gigabytes of a few bytes.
const MAX_RATIO: u64 = 1100;

/// Reads the decompressed bytes of a stream, whatever it is compressed with, or of a plain one.
#[derive(Debug)]
pub(crate) struct Inflate<R: Read> {
    decoder: Decoder<Counted<R>>,
    taken: Rc<Cell<u64>>,
    given: u64,
    allowance: u64,
}

impl<R: Read> Inflate<R> {
    /// Looks at the first bytes of `source` and decodes accordingly.
    pub(crate) fn new(source: R) -> io::Result<Self> {
        Self::with_allowance(source, ALLOWANCE)
    }

    fn with_allowance(source: R, allowance: u64) -> io::Result<Self> {
        let taken = Rc::new(Cell::new(0));
        let source = Counted {
            source,
            taken: Rc::clone(&taken),
        };
        Ok(Self {
            decoder: Decoder::new(source)?,
            taken,
            given: 0,
            allowance,
        })
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.given += count as u64;
        let most = self.taken.get().saturating_mul(MAX_RATIO);
        if self.given > self.allowance.saturating_add(most) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "it unpacks to more than {MAX_RATIO} times its size: this is a compression bomb"
                ),
            ));
        }
        Ok(count)
    }
}

/// Counts what is read.
#[derive(Debug)]
struct Counted<R> {
    source: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer::compression::{Compression, Encoder, Level};

    fn zeros(compression: Compression, size: u64) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), compression, Level::Default).unwrap();
        io::copy(&mut io::repeat(0).take(size), &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bombs_end_early_and_gzip_never_is_one() {
        const SIZE: u64 = 32 << 20;
        let read = |bytes: &[u8]| {
            let mut inflate = Inflate::with_allowance(bytes, 1 << 20).unwrap();
            io::copy(&mut inflate, &mut io::sink())
        };
        assert_eq!(read(&zeros(Compression::Gzip, SIZE)).unwrap(), SIZE);
        assert!(read(&zeros(Compression::Zstd, SIZE)).is_err());
        assert_eq!(read(&[b'x'; 100_000]).unwrap(), 100_000);
    }
}
