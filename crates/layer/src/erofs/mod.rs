//! The index of a layer: an EROFS image without file data, whose files are ranges of `layer.tar` (and `side`).
//!
//! `docs/storage.md` has the format byte by byte. [`tree`] collects the entries of a layer in memory, [`write`] lays them
//! out, [`read`] reads an index back without the kernel and without trusting it.

pub(crate) mod file;
pub(crate) mod format;
mod head;
mod pages;
pub(crate) mod read;
pub(crate) mod tree;
pub(crate) mod write;
pub(crate) mod xattr;
