//! One download of a thing at a time, however many processes want it.
//!
//! Who fetches holds the lock on `tmp/fetch-<hash>.lock`; others look again until they get it, and then find the thing in the store. The lock
//! ends with its holder, so nobody waits for the dead.
//!
//! Of a large blob whose download broke off, what came is in `tmp/partial-<hash>`, which only the holder of the lock touches. It is no
//! content: whoever goes on hashes it like bytes from the network.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci::Digest;
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use crate::error::Result;
use crate::lease::Lease;
use crate::store::Store;

/// How names of these locks in `tmp/` begin.
pub(crate) const PREFIX: &str = "fetch-";

/// How names of downloads that broke off begin.
pub(crate) const PARTIAL: &str = "partial-";

/// How long these wait for another attempt, a week.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The right to be the only one who brings a thing into the store; dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "dropping it lets the next one in"]
pub struct Turn {
    digest: Digest,
    path: PathBuf,
    partial: PathBuf,
    _lock: Lock,
}

impl Turn {
    /// What is fetched.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Takes away what earlier attempts left, since it is wrong or not worth keeping.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn forget(&self) -> Result<()> {
        fs::optional(fs::remove_file(&self.partial))?;
        Ok(())
    }
}

/// Where a download that broke off is.
pub(crate) fn partial(store: &Store, digest: &Digest) -> PathBuf {
    let name = format!("{PARTIAL}{}-{}", digest.algorithm().name(), digest.hex());
    store.folder().tmp().join(name)
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
            Some(lock) if is_named(&lock, &path)? => Some(Turn {
                digest: *digest,
                partial: partial(self.store(), digest),
                path,
                _lock: lock,
            }),
            _ => None,
        })
    }

    fn turn_path(&self, digest: &Digest) -> PathBuf {
        turn_path(
            self.store(),
            &format!("{}-{}", digest.algorithm().name(), digest.hex()),
        )
    }
}

fn turn_path(store: &Store, what: &str) -> PathBuf {
    store.folder().tmp().join(format!("{PREFIX}{what}.lock"))
}

/// Takes downloads away that nobody went on with for so long, or all that nobody is at. Returns their bytes.
pub(crate) fn sweep_partial(store: &Store, name: &str, all: bool) -> Result<u64> {
    let path = store.folder().tmp().join(name);
    let Some(meta) = fs::optional(fs::symlink_metadata(&path))? else {
        return Ok(0);
    };
    // A clock that was set back makes it young, not old.
    let age = meta.modified().ok().and_then(|time| time.elapsed().ok());
    if !all && age.is_none_or(|age| age < KEPT) {
        return Ok(0);
    }
    let what = name.strip_prefix(PARTIAL).unwrap_or(name);
    let lock_path = turn_path(store, what);
    let Some(lock) = Lock::try_acquire(&lock_path, Mode::Exclusive)? else {
        return Ok(0);
    };
    if !is_named(&lock, &lock_path)? {
        return Ok(0);
    }
    fs::optional(fs::remove_file(&path))?;
    fs::optional(fs::remove_file(&lock_path))?;
    Ok(meta.len())
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::blobs::BlobIngest;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::OpenOptions::default();
        let store = Store::open(dir.path().join("store"), &options).unwrap();
        (dir, store)
    }

    fn earlier(ingest: &BlobIngest) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mut file) = ingest.earlier().unwrap() {
            file.read_to_end(&mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn a_download_that_broke_off_is_gone_on_with_by_whoever_is_next() {
        let (_dir, store) = store();
        let digest = Digest::sha256_of(b"hello world");
        let lease = store.lease("pull").unwrap();
        let turn = lease.try_turn(&digest).unwrap().unwrap();
        let mut ingest = lease.resume_blob(&turn, 11).unwrap();
        assert_eq!(earlier(&ingest), b"");
        ingest.put(b"hello").unwrap();
        drop((ingest, turn, lease));
        // Sweeping leaves it to the next one.
        store.sweep().unwrap();
        let lease = store.lease("pull").unwrap();
        let turn = lease.try_turn(&digest).unwrap().unwrap();
        assert!(lease.try_turn(&digest).unwrap().is_none(), "one at a time");
        let mut ingest = lease.resume_blob(&turn, 11).unwrap();
        assert_eq!(earlier(&ingest), b"hello");
        ingest.put(b"hell").unwrap();
        ingest.put(b"o wor").unwrap();
        ingest.put(b"ld").unwrap();
        let blob = ingest.publish().unwrap();
        assert_eq!(std::fs::read(blob.path()).unwrap(), b"hello world");
        assert!(!partial(&store, &digest).exists());
    }

    #[test]
    fn a_download_of_what_came_another_way_leaves_nothing() {
        let (_dir, store) = store();
        let lease = store.lease("pull").unwrap();
        let blob = lease.put_blob(b"hello world").unwrap();
        let turn = lease.try_turn(blob.digest()).unwrap().unwrap();
        let mut ingest = lease.resume_blob(&turn, 11).unwrap();
        ingest.put(b"hello world").unwrap();
        ingest.publish().unwrap();
        assert!(!partial(&store, blob.digest()).exists());
        assert_eq!(std::fs::read(blob.path()).unwrap(), b"hello world");
    }

    #[test]
    fn what_is_wrong_is_forgotten_and_what_nobody_wants_is_pruned() {
        let (_dir, store) = store();
        let digest = Digest::sha256_of(b"hello world");
        let lease = store.lease("pull").unwrap();
        let turn = lease.try_turn(&digest).unwrap().unwrap();
        let path = partial(&store, &digest);
        std::fs::write(&path, "HELLO").unwrap();
        let mut ingest = lease.resume_blob(&turn, 11).unwrap();
        ingest.put(b"HELLO").unwrap();
        ingest.put(b" world").unwrap();
        assert!(ingest.publish().is_err());
        turn.forget().unwrap();
        assert!(!path.exists());
        // Longer than the blob can be.
        std::fs::write(&path, "hello world!").unwrap();
        let ingest = lease.resume_blob(&turn, 11).unwrap();
        assert_eq!(earlier(&ingest), b"");
        drop(ingest);
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(store.prune_downloads().unwrap(), 0, "somebody is at it");
        drop(turn);
        assert_eq!(store.prune_downloads().unwrap(), 5);
        assert!(!path.exists());
    }
}
