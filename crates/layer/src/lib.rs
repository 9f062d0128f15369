//! Tar reading and writing, the EROFS index, whiteouts, merging a chain of layers, compression.
//!
//! A layer is never unpacked. It is kept as the uncompressed tar whose SHA-256 is its DiffID, and beside it lies an index: a
//! small EROFS image whose files are ranges of that tar.
//!
//! ```text
//! layer.tar     the bytes a registry knows, never changed
//! index.erofs   names, metadata, and where in layer.tar each file's bytes are
//! side          only if needed: bytes that do not lie in layer.tar in one piece (sparse files)
//! ```
//!
//! - [`Ingest`] makes such a layer, from a tar stream or entry by entry.
//! - [`Index`] reads one layer, [`View`] a chain of them as one tree; no mount, no privileges.
//! - [`capture`] makes a layer of what a container changed, [`unpack`] a directory of a layer.
//! - [`compression`] has what layers are packed in.
//! - [`tar`] has the reader and the writer for archives as such.
//!
//! Paths are bytes, relative to the root of the layer. What comes from outside is not trusted: an archive that cannot be
//! understood in exactly one way is refused, and memory is bounded by named limits.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

mod capture;
pub mod compression;
mod erofs;
mod files;
mod ingest;
mod meta;
pub mod path;
pub mod tar;
mod unpack;
mod view;

pub use capture::{CaptureError, CaptureOptions, Skip, capture};
pub use erofs::file::{Backing, FileReader, Location};
pub use erofs::read::{DirEntry, FileType, Index, IndexError, NodeId, Stat};
pub use erofs::tree::{EntryError, MAX_NAMES, MAX_TEXT};
pub use erofs::xattr::XattrError;
pub use files::LayerFiles;
pub use ingest::{Finished, Ingest, IngestError, reindex};
pub use meta::{Kind, Meta, Time, is_overlay_xattr};
pub use unpack::{Marks, UnpackError, UnpackOptions, Unpacked, unpack};
pub use view::{Follow, Part, View, ViewEntry, ViewNode, Walk};
