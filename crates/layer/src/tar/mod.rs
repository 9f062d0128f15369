//! Tar archives: a strict, bounded reader of what others wrote and a deterministic writer.
//!
//! The reader is made for archives that are not trusted. Where two readers in use would disagree about what an archive
//! contains (two sizes for one file, data behind an entry that has none, a second PAX header for one file, a NUL inside a
//! name …) it refuses, because such an archive can show one tree to a scanner and another to the one who runs it.
//!
//! It knows V7, ustar with its prefix, PAX with global headers, GNU's long names, base-256 numbers and sparse files (the
//! old form, and PAX 0.0, 0.1 and 1.0).

mod number;
mod pax;
mod read;
mod scan;
mod sparse;
mod write;

pub use pax::MAX_EXTENDED;
pub use read::{Entry, Reader};
pub use scan::{Error, Problem};
pub(crate) use scan::{Scanner, Step};
pub use sparse::{MAX_SEGMENTS, Segment};
pub use write::{TRAILER, Writer, header};

/// Size of a block: headers are one, data is padded to a multiple.
pub const BLOCK: usize = 512;
