//! Leases: what keeps content while a process works with it.
//!
//! A lease is three things that share one id:
//!
//! - `tmp/lease-<id>.lock`, locked by its owner from before anything else exists until after everything else is gone;
//! - `tmp/lease-<id>/`, the owner's unfinished work;
//! - a row in `lease` and, for each thing it claims, one in `lease_item`.
//!
//! It is alive exactly as long as somebody holds the lock on the file, which the kernel ends with the process. Process id and
//! start time in the row are only for people.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oci::{DiffId, Digest};
use rusqlite::Connection;
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use crate::change::Content;
use crate::collect;
use crate::error::{Error, Result};
use crate::folder;
use crate::store::Store;

/// How names of leases in `tmp/` begin.
pub(crate) const PREFIX: &str = "lease-";

/// Keeps content in the store, and holds a folder for unfinished work, until the last clone is dropped or the process ends.
///
/// Everything ingested under it is claimed by it. When it ends, claimed content that nothing else needs goes.
#[derive(Debug, Clone)]
#[must_use = "content is only safe while its lease lives"]
pub struct Lease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    store: Store,
    id: String,
    /// Where unfinished work lies.
    dir: PathBuf,
    next: AtomicU64,
    _lock: Lock,
}

impl Store {
    /// Begins a lease; `purpose` tells people what for: `build`, `pull`.
    ///
    /// # Errors
    ///
    /// The lock file, the folder or the row cannot be made.
    pub fn lease(&self, purpose: &str) -> Result<Lease> {
        let (id, lock) = self.lease_lock()?;
        let dir = self.folder().tmp().join(&id);
        let held = Held {
            store: self.clone(),
            dir,
            id,
            next: AtomicU64::new(0),
            _lock: lock,
        };
        // From here on dropping `held` takes everything back.
        fs::create_dir(&held.dir)?;
        self.write("begin a lease", |db| {
            db.prepare_cached(
                "INSERT INTO lease (id, purpose, pid, started, boot, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                &held.id,
                purpose,
                std::process::id(),
                started(),
                &self.inner.boot,
                self.now(),
            ))?;
            Ok(())
        })?;
        Ok(Lease {
            held: Arc::new(held),
        })
    }

    /// Whether somebody holds the lease with this id, which [`Lease::id`] gave.
    ///
    /// # Errors
    ///
    /// Its lock file cannot be looked at.
    pub fn is_lease_alive(&self, id: &str) -> Result<bool> {
        let ours = id
            .strip_prefix(PREFIX)
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Ok(ours && matches!(owner(self, id)?, Owner::Alive))
    }

    fn lease_lock(&self) -> Result<(String, Lock)> {
        loop {
            let id = format!("{PREFIX}{}", folder::random_hex(8));
            let path = lock_path(self, &id);
            let lock = Lock::acquire(&path, Mode::Exclusive)?;
            let links = lock.file().metadata().context("stat", &path)?.nlink();
            // A sweeper may have taken the file for litter between its creation and its locking.
            if links > 0 {
                return Ok((id, lock));
            }
        }
    }
}

impl Lease {
    /// What names it to others, see [`Store::is_lease_alive`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.held.id
    }

    /// The store that this is a lease of.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.held.store
    }

    /// Claims layers: from now on, until the lease ends, they stay.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`] names the first that is not in the store; then none of them is claimed.
    pub fn claim_layers(&self, layers: &[DiffId]) -> Result<()> {
        if layers.is_empty() {
            return Ok(());
        }
        self.store().write("claim layers", |db| {
            layers.iter().try_for_each(|id| {
                let there = self.claim(db, &Content::Layer(*id))?;
                there.then_some(()).ok_or(Error::MissingLayer(*id))
            })
        })
    }

    /// Claims blobs: from now on, until the lease ends, they stay. The digest of a layer's tar claims the layer.
    ///
    /// # Errors
    ///
    /// [`Error::MissingBlob`] names the first that is not in the store; then none of them is claimed.
    pub fn claim_blobs(&self, blobs: &[Digest]) -> Result<()> {
        if blobs.is_empty() {
            return Ok(());
        }
        self.store().write("claim blobs", |db| {
            blobs.iter().try_for_each(|digest| {
                let there = self.claim(db, &Content::Blob(*digest))?
                    || self.claim(db, &Content::Layer(DiffId::from_digest(*digest)))?;
                there.then_some(()).ok_or(Error::MissingBlob(*digest))
            })
        })
    }

    /// Names `content` as needed if it is there.
    fn claim(&self, db: &Connection, content: &Content) -> Result<bool> {
        let there = content.is_recorded(db)?;
        if there {
            self.add(db, content)?;
        }
        Ok(there)
    }

    /// Names `content` as needed, in the caller's transaction.
    pub(crate) fn add(&self, db: &Connection, content: &Content) -> Result<()> {
        db.prepare_cached(
            "INSERT OR IGNORE INTO lease_item (lease, kind, digest) VALUES (?1, ?2, ?3)",
        )?
        .execute((&self.held.id, content.kind(), content.id()))?;
        Ok(())
    }

    /// A path in the lease's folder that nothing has yet.
    #[must_use]
    pub fn temporary(&self, kind: &str) -> PathBuf {
        let number = self.held.next.fetch_add(1, Ordering::Relaxed);
        self.held.dir.join(format!("{kind}-{number}"))
    }

    /// Replaces the stat index of the build context `id`, whole or not at all. It is not synced: after a power cut it may have
    /// other bytes, which whoever reads it must notice.
    ///
    /// # Errors
    ///
    /// It cannot be written; the old one is as it was.
    pub fn put_context(&self, id: &str, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary("context");
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, &self.store().context_file(id))?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What fails here is found by the next sweep, since the lock ends now.
        end(&self.store, &self.id, &self.dir).ok();
        fs::remove_file(&lock_path(&self.store, &self.id)).ok();
    }
}

/// When this process started, in clock ticks since boot: with boot and process id it names a process for ever.
fn started() -> i64 {
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    sys::process::start_time(pid).map_or(0, |ticks| i64::try_from(ticks).unwrap_or(0))
}

/// Takes the rows and the folder of a lease away. The caller holds its lock, and removes that file afterwards.
pub(crate) fn end(store: &Store, id: &str, dir: &Path) -> Result<()> {
    let change = store.change()?;
    collect::run(store, &change, "end a lease", |db| {
        let claimed = claims(db, id)?;
        db.prepare_cached("DELETE FROM lease WHERE id = ?1")?
            .execute([id])?;
        Ok(((), claimed))
    })?;
    drop(change);
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            store.folder().trash(dir)?;
            store.untidy();
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

/// What the lease `id` claims.
pub(crate) fn claims(db: &Connection, id: &str) -> Result<Vec<Content>> {
    let mut statement =
        db.prepare_cached("SELECT kind, digest FROM lease_item WHERE lease = ?1")?;
    let rows = statement.query_map([id], |row| {
        Ok(match row.get_ref(0)?.as_str()? {
            "layer" => Content::Layer(crate::db::parsed(row, 1)?),
            _ => Content::Blob(crate::db::parsed(row, 1)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The lock file of the lease `id`.
pub(crate) fn lock_path(store: &Store, id: &str) -> PathBuf {
    store.folder().tmp().join(format!("{id}.lock"))
}

/// The lock of the lease `id` if its owner is gone. A file that is missing has no owner either, but no lock to give.
pub(crate) enum Owner {
    Alive,
    Dead(Lock),
    Gone,
}

/// Asks the kernel whether the owner of the lease `id` lives.
pub(crate) fn owner(store: &Store, id: &str) -> Result<Owner> {
    let path = lock_path(store, id);
    let Some(file) = fs::optional(fs::open(&path))? else {
        return Ok(Owner::Gone);
    };
    Ok(match Lock::try_on(file, &path, Mode::Exclusive)? {
        Some(lock) => Owner::Dead(lock),
        None => Owner::Alive,
    })
}
