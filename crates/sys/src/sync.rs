//! Making written bytes survive a power loss.

use std::os::fd::AsFd;
use std::path::Path;

use crate::fs::{self, Context, Result};

/// Writes out everything that the file system of `path` still holds in memory, and waits for it.
///
/// # Errors
///
/// `path` cannot be opened, or writing failed since the file system was last asked.
pub fn filesystem(path: &Path) -> Result<()> {
    let file = fs::open(path)?;
    rustix::fs::syncfs(file).context("sync the file system of", path)
}

/// Writes out a file's bytes and metadata, and waits for it.
///
/// # Errors
///
/// Writing failed.
pub fn file(file: impl AsFd, path: &Path) -> Result<()> {
    rustix::fs::fsync(file).context("sync", path)
}

/// Writes out a directory, so that names made or renamed in it survive, and waits for it.
///
/// # Errors
///
/// It cannot be opened, or writing failed.
pub fn directory(path: &Path) -> Result<()> {
    rustix::fs::fsync(fs::open(path)?).context("sync the directory", path)
}
