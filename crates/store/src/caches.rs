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

/// More caches than this of one name are never made; who asks for another waits.
const MOST_PRIVATE: u32 = 256;

impl Store {
    /// The cache `id`, made if it is missing, for any number of users at once or for one alone: who asks for an `exclusive`
    /// cache waits until nobody else has it. It is not pruned while it is in use.
    ///
    /// Who needs several takes them in the order of their ids, each once: then no two can wait for each other.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn cache(&self, id: &str, exclusive: bool) -> Result<Cache> {
        let path = self.folder().caches().join(hashed(id));
        loop {
            folder::make_dir(&path)?;
            let lock = Lock::acquire_on(fs::open(&path)?, &path, mode(exclusive))?;
            // Pruned between opening and locking?
            if is_still(lock.file(), &path)? {
                return Ok(Cache { path, _lock: lock });
            }
        }
    }

    /// As [`Store::cache`], but gives `None` instead of waiting.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn try_cache(&self, id: &str, exclusive: bool) -> Result<Option<Cache>> {
        let path = self.folder().caches().join(hashed(id));
        loop {
            folder::make_dir(&path)?;
            let Some(lock) = Lock::try_on(fs::open(&path)?, &path, mode(exclusive))? else {
                return Ok(None);
            };
            if is_still(lock.file(), &path)? {
                return Ok(Some(Cache { path, _lock: lock }));
            }
        }
    }

    /// The cache `id`, or another one beside it that nobody uses: for one user alone, who does not have to wait.
    ///
    /// # Errors
    ///
    /// None can be made.
    pub fn private_cache(&self, id: &str) -> Result<Cache> {
        if let Some(cache) = self.try_cache(id, true)? {
            return Ok(cache);
        }
        for number in 1..MOST_PRIVATE {
            // No id of a person has this character.
            if let Some(cache) = self.try_cache(&format!("{id}\0{number}"), true)? {
                return Ok(cache);
            }
        }
        self.cache(id, true)
    }
}

fn mode(exclusive: bool) -> Mode {
    match exclusive {
        true => Mode::Exclusive,
        false => Mode::Shared,
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

#[cfg(test)]
mod tests {
    use crate::{OpenOptions, Store};

    #[test]
    fn a_private_cache_is_another_one_only_while_the_first_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store"), &OpenOptions::default()).unwrap();
        let first = store.private_cache("c").unwrap();
        let second = store.private_cache("c").unwrap();
        let third = store.private_cache("c").unwrap();
        assert!(first.path() != second.path() && second.path() != third.path());
        assert!(store.try_cache("c", false).unwrap().is_none());
        let (one, two) = (first.path().to_owned(), second.path().to_owned());
        drop((first, second));
        assert_eq!(store.private_cache("c").unwrap().path(), one);
        let shared = store.cache("c", false).unwrap();
        assert!(store.try_cache("c", false).unwrap().is_some());
        assert_eq!(store.private_cache("c").unwrap().path(), two);
        assert_eq!(shared.path(), one);
    }
}
