//! The files that a layer consists of.

use std::path::{Path, PathBuf};

/// Where the files of one layer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFiles {
    /// The uncompressed tar.
    pub tar: PathBuf,
    /// The EROFS image over it.
    pub index: PathBuf,
    /// What cannot be addressed in the tar. Exists only if the index names a second device.
    pub side: PathBuf,
}

impl LayerFiles {
    /// The files of a layer that has `dir` for itself.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            tar: dir.join("layer.tar"),
            index: dir.join("index.erofs"),
            side: dir.join("side"),
        }
    }
}
