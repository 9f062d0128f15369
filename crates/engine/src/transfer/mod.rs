//! Images in and out: root filesystems, archives and layouts of other tools.
//!
//! What comes in is verified while it flows: sizes, digests and `DiffID`s. Any mismatch is one error and leaves nothing. What
//! goes out is made of the bytes that the store has, so digests are kept; the same images give the same archive.

mod archive;
pub(crate) mod documents;
mod export;
mod import;
mod inflate;
pub(crate) mod layers;
mod layout;
mod load;
mod output;
mod plan;
pub(crate) mod platform;
mod save;
mod set;

use std::path::PathBuf;

use oci::{ImageId, Reference};

pub(crate) use export::{Place, export_tree, write_tree};
pub use import::ImportRequest;
pub(crate) use import::time;
pub(crate) use inflate::Inflate;
pub(crate) use layout::bring_layout;
pub use load::LoadError;
pub(crate) use load::manifest;
pub(crate) use output::{Archive, Output};
pub use save::{ArchiveFormat, Compression, SaveRequest};
pub(crate) use set::Set;

/// What is to be loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// An archive or a folder; `None` for stdin.
    pub input: Option<PathBuf>,
    /// Only images for this platform; otherwise the host's where there is a choice.
    pub platform: Option<String>,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its id.
    pub id: ImageId,
    /// The names that it got.
    pub names: Vec<String>,
}

/// Names as people write them.
fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar).collect()
}
