//! One download of a thing at a time, however many processes want it.
//!
//! Who fetches holds the lock on `tmp/fetch-<hash>.lock`; others look again until they get it, and then find the thing in the store. The lock
//! ends with its holder, so nobody waits for the dead.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oci::Digest;
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use crate::error::Result;
use crate::lease::Lease;

/// How names of these locks in `tmp/` begin.
pub(crate) const PREFIX: &str = "fetch-";

/// The right to be the only one who brings a thing into the store; dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "dropping it lets the next one in"]
pub struct Turn {
    path: PathBuf,
    _lock: Lock,
}

impl Lease {
    /// The turn to fetch the thing with this digest, if nobody else has it. Afterwards ask whether it is there: whoever had
    /// the turn before may have brought it.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made.
    pub fn try_turn(&self, digest: &Digest) -> Result<Option<Turn>> {
        let path = self.turn_path(digest);
        let lock = Lock::try_acquire(&path, Mode::Exclusive)?;
        Ok(match lock {
            Some(lock) if is_named(&lock, &path)? => Some(Turn { path, _lock: lock }),
            _ => None,
        })
    }

    fn turn_path(&self, digest: &Digest) -> PathBuf {
        let name = format!(
            "{PREFIX}{}-{}.lock",
            digest.algorithm().name(),
            digest.hex()
        );
        self.store().folder().tmp().join(name)
    }
}

fn is_named(lock: &Lock, path: &Path) -> Result<bool> {
    Ok(lock.file().metadata().context("stat", path)?.nlink() > 0)
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the lock goes, so that nobody can have taken it. What stays is swept.
        fs::remove_file(&self.path).ok();
    }
}

/// Takes the lock file of somebody who died away.
pub(crate) fn sweep(path: &Path) -> Result<()> {
    if let Some(lock) = Lock::try_acquire(path, Mode::Exclusive)?
        && is_named(&lock, path)?
    {
        fs::optional(fs::remove_file(path))?;
    }
    Ok(())
}
