//! Caches of RUN steps: directories that outlive the steps, and are never content of anything.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use crate::error::Result;
use crate::folder;
use crate::store::{Store, hashed};

/// The directory of a cache, not to be pruned while this lives.
#[derive(Debug)]
#[must_use = "the cache is only safe while this lives"]
pub struct Cache {
    path: PathBuf,
    _lock: Lock,
}

impl Cache {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// The cache `id`, made if it is missing, for any number of users at once or for one alone: who asks for an `exclusive`
    /// cache waits until nobody else has it. It is not pruned while it is in use.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn cache(&self, id: &str, exclusive: bool) -> Result<Cache> {
        let mode = if exclusive {
            Mode::Exclusive
        } else {
            Mode::Shared
        };
        let path = self.folder().caches().join(hashed(id));
        loop {
            folder::make_dir(&path)?;
            let lock = Lock::acquire_on(fs::open(&path)?, &path, mode)?;
            // Pruned between opening and locking?
            if is_still(lock.file(), &path)? {
                return Ok(Cache { path, _lock: lock });
            }
        }
    }
}

/// Moves a cache away unless somebody uses it. True if it went.
pub(crate) fn take(store: &Store, path: &Path) -> Result<bool> {
    let Some(file) = fs::optional(fs::open(path))? else {
        return Ok(false);
    };
    let Some(_lock) = Lock::try_on(file, path, Mode::Exclusive)? else {
        return Ok(false);
    };
    let gone = store.folder().trash(path)?;
    store.untidy();
    Ok(gone)
}

fn is_still(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata().context("stat", path)?;
    let named = fs::optional(fs::symlink_metadata(path))?;
    Ok(named.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())))
}
