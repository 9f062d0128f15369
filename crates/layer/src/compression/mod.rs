//! The compressions that layers come in, told apart by their first bytes.

mod decode;
mod encode;
mod pieces;

pub use decode::{Decoder, MAX_MEMORY};
pub use encode::{Encoder, Level};

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all, or in a way that nobody uses for layers.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Bytes that [`Compression::detect`] wants to see, if there are so many.
pub const MAGIC: usize = 6;

impl Compression {
    /// What bytes that begin so are compressed with.
    #[must_use]
    pub fn detect(first: &[u8]) -> Self {
        match first {
            // The third byte is the method, and deflate the only one there is.
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A frame to be skipped may stand first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The name people use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}
