//! One download of a thing at a time, however many processes want it.
//!
//! Who fetches holds the lock on a place in `tmp/turns.lock` that the digest says; others look again until they get it, and then find the
//! thing in the store. The lock ends with its holder, so nobody waits for the dead. That two things have the same place is rare, and then one
//! of them waits for the other.
//!
//! Of a large blob whose download broke off, what came is in `tmp/partial-<hash>`, which only the holder of the lock touches. It is no
//! content: whoever goes on hashes it like bytes from the network.

use std::path::PathBuf;
use std::time::Duration;

use oci::Digest;
use sys::fs;
use sys::lock::Place;

use crate::error::Result;
use crate::lease::Lease;
use crate::store::Store;

/// The file whose places are locked.
pub(crate) const TURNS_LOCK: &str = "turns.lock";

/// How names of downloads that broke off begin.
pub(crate) const PARTIAL: &str = "partial-";

/// How long these wait for another attempt, a week.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The right to be the only one who brings a thing into the store; dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "dropping it lets the next one in"]
pub struct Turn {
    digest: Digest,
    partial: PathBuf,
    _lock: Place,
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
        let lock = lock(self.store(), digest)?;
        Ok(lock.map(|lock| Turn {
            digest: *digest,
            partial: partial(self.store(), digest),
            _lock: lock,
        }))
    }
}

fn lock(store: &Store, digest: &Digest) -> Result<Option<Place>> {
    let first = &digest.hex()[..8];
    // Its digits are hexadecimal.
    let place = u32::from_str_radix(first, 16).unwrap_or(0);
    let path = store.folder().tmp().join(TURNS_LOCK);
    Ok(Place::try_acquire(&path, place)?)
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
    let digest = name
        .strip_prefix(PARTIAL)
        .and_then(|what| what.replacen('-', ":", 1).parse().ok());
    let _lock = match &digest {
        None => None,
        Some(digest) => match lock(store, digest)? {
            Some(lock) => Some(lock),
            None => return Ok(0),
        },
    };
    fs::optional(fs::remove_file(&path))?;
    Ok(meta.len())
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
