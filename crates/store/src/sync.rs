//! Upkeep: syncing what was published, and deleting what was taken away, outside of the lock and of the user's time.
//!
//! Content is synced file by file, then its directory, then its row loses the boot it was written in, in a commit that is
//! itself synced. So a row without a boot always means bytes on the disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use crate::change::Content;
use crate::db::{self, Named as _};
use crate::error::{Error, Result};
use crate::folder::TRASH;
use crate::store::{OpenOptions, Store};
use crate::sweep::{UPKEEP_LOCK, names};

/// The first argument of a process that [`Store::spawn_upkeep`] starts; the second is the store's folder.
pub const UPKEEP: &str = "__upkeep";

/// A log of the database that is shorter is not emptied by upkeep, 2 MB: half a millisecond for whoever has to read it anew.
const SHORT_LOG: u64 = 2 << 20;

/// Does what [`Store::spawn_upkeep`] started this process for, if the arguments after the program's name say so.
///
/// # Errors
///
/// As [`Store::upkeep`]; there is nobody to tell but the exit code, the next command tries again.
pub fn upkeep_if_asked(arguments: &[std::ffi::OsString]) -> Option<Result<()>> {
    match arguments {
        [first, root] if first == UPKEEP => Some(upkeep_of(Path::new(root))),
        _ => None,
    }
}

fn upkeep_of(root: &Path) -> Result<()> {
    // Away from the terminal, so that closing it does not interrupt. Fails only for who leads a session already.
    rustix::process::setsid().ok();
    let options = OpenOptions {
        create: false,
        ..OpenOptions::default()
    };
    Store::open(root, &options)?.upkeep()
}

impl Store {
    /// Starts a detached process that does [`Store::upkeep`], if there is something to do. `exe` is a program that calls
    /// [`upkeep_if_asked`] first thing.
    ///
    /// # Errors
    ///
    /// It cannot be started. Nothing is lost: the next command sees what there is to do.
    pub fn spawn_upkeep(&self, exe: &Path) -> Result<()> {
        if !self.needs_upkeep() {
            return Ok(());
        }
        Command::new(exe)
            .arg(UPKEEP)
            .arg(self.root())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
            .map_err(|source| Error::Spawn {
                exe: exe.to_owned(),
                source,
            })
    }

    /// Syncs all content that is not on the disk yet and deletes what was taken away, and waits for it.
    ///
    /// If another process is at it, that one does it all and this returns at once; [`Store::sync`] waits.
    ///
    /// # Errors
    ///
    /// Syncing or deleting failed.
    pub fn upkeep(&self) -> Result<()> {
        let path = self.folder().tmp().join(UPKEEP_LOCK);
        loop {
            let Some(lock) = Lock::try_acquire(&path, Mode::Exclusive)? else {
                return Ok(());
            };
            self.sync()?;
            // Who died while this process was at work would otherwise leave its litter until one more command comes.
            self.sweep()?;
            self.empty_trash()?;
            drop(lock);
            // Whoever was sent away while the lock was held had made its work visible before.
            if self.unsynced()?.is_empty() && self.trash()?.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits until all that is in the store now would survive a power cut.
    ///
    /// # Errors
    ///
    /// Syncing failed.
    pub fn sync(&self) -> Result<()> {
        let unsynced = self.unsynced()?;
        for content in &unsynced {
            self.sync_content(content)?;
        }
        self.sync_trees()?;
        for dir in self.content_dirs() {
            sys::sync::directory(&dir)?;
        }
        self.write("note what is on the disk", |db| {
            unsynced.iter().try_for_each(|content| mark(db, content))
        })?;
        self.sync_database()?;
        self.inner.untidy.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn content_dirs(&self) -> [PathBuf; 4] {
        [
            self.folder().layers(),
            self.folder().blobs(oci::Algorithm::Sha256),
            self.folder().blobs(oci::Algorithm::Sha512),
            self.folder().containers(),
        ]
    }

    /// Makes all commits so far survive a power cut.
    fn sync_database(&self) -> Result<()> {
        let path = self.folder().database();
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        // A synced log is enough. Emptying it costs the next writer two syncs, for a new beginning of the log, so a short
        // one is left as it is.
        match fs::optional(fs::metadata(&log))? {
            None => return Ok(()),
            Some(meta) if meta.len() < SHORT_LOG => return sync_file(&log),
            Some(_) => {}
        }
        let db = self.connection();
        // The log is synced, copied into the database, which is synced; others may write meanwhile. Then the log is emptied,
        // which locks writers out, but has nothing left to copy. Readers may stop the latter; the former is what counts.
        for pragma in [
            "PRAGMA wal_checkpoint(PASSIVE)",
            "PRAGMA wal_checkpoint(TRUNCATE)",
        ] {
            db.query_row(pragma, [], |_| Ok(()))
                .map_err(Error::from)
                .named("sync the database", &path)?;
        }
        Ok(())
    }

    /// Content of this boot that is not known to be on the disk. What an earlier boot left is checked when it is used.
    fn unsynced(&self) -> Result<Vec<Content>> {
        self.read("find what is not on the disk", |db| {
            let boot = &self.inner.boot;
            let layers = db::diff_ids(db, "SELECT diff_id FROM layer WHERE boot = ?1", [boot])?;
            let blobs = db::digests(db, "SELECT digest FROM blob WHERE boot = ?1", [boot])?;
            let layers = layers.into_iter().map(Content::Layer);
            Ok(layers.chain(blobs.into_iter().map(Content::Blob)).collect())
        })
    }

    /// Syncs the files of one layer or blob. What was removed meanwhile needs no sync.
    pub(crate) fn sync_content(&self, content: &Content) -> Result<()> {
        let path = content.path(self);
        match content {
            Content::Blob(_) => sync_file(&path),
            Content::Layer(_) | Content::Container(_) | Content::Tree(..) => {
                for name in fs::optional(fs::read_dir(&path))?.into_iter().flatten() {
                    let entry = name.context("list", &path)?;
                    if entry.file_type().context("stat", &path)?.is_file() {
                        sync_file(&entry.path())?;
                    }
                }
                Ok(fs::optional(sys::sync::directory(&path)).map(drop)?)
            }
        }
    }

    /// An unpacked layer has too many files to sync one by one.
    fn sync_trees(&self) -> Result<()> {
        const UNSYNCED: &str = "SELECT diff_id || '/' || flavour FROM tree WHERE boot = ?1";
        let trees = self.read("find unpacked layers", |db| {
            db::texts(db, UNSYNCED, [&self.inner.boot])
        })?;
        if trees.is_empty() {
            return Ok(());
        }
        sys::sync::filesystem(&self.folder().layers())?;
        self.write("note what is on the disk", |db| {
            let mut statement = db.prepare_cached(
                "UPDATE tree SET boot = NULL WHERE diff_id || '/' || flavour = ?1",
            )?;
            for tree in &trees {
                statement.execute([tree])?;
            }
            Ok(())
        })
    }

    /// What waits in `tmp/` to be deleted.
    fn trash(&self) -> Result<Vec<PathBuf>> {
        let tmp = self.folder().tmp();
        let names = names(&tmp)?
            .into_iter()
            .filter(|name| name.starts_with(TRASH));
        Ok(names.map(|name| tmp.join(name)).collect())
    }

    /// Deletes what was taken away. Several processes may be at it.
    fn empty_trash(&self) -> Result<()> {
        self.trash()?.iter().try_for_each(|path| delete(path))
    }
}

/// Notes that content is on the disk.
pub(crate) fn mark(db: &Connection, content: &Content) -> Result<()> {
    let sql = match content {
        Content::Layer(_) => "UPDATE layer SET boot = NULL WHERE diff_id = ?1",
        Content::Blob(_) => "UPDATE blob SET boot = NULL WHERE digest = ?1",
        Content::Container(_) | Content::Tree(..) => return Ok(()),
    };
    db.prepare_cached(sql)?.execute([content.id()])?;
    Ok(())
}

fn sync_file(path: &Path) -> Result<()> {
    if let Some(file) = fs::optional(fs::open(path))? {
        sys::sync::file(&file, path)?;
    }
    Ok(())
}

/// Deletes a file or a directory with all below, whatever its modes are.
pub(crate) fn delete(path: &Path) -> Result<()> {
    let Some(meta) = fs::optional(fs::symlink_metadata(path))? else {
        return Ok(());
    };
    if !meta.is_dir() {
        return Ok(fs::optional(fs::remove_file(path)).map(drop)?);
    }
    match fs::optional(fs::remove_dir_all(path)) {
        // A directory of an image may be closed even to its owner.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_directories(path)?;
            Ok(fs::optional(fs::remove_dir_all(path)).map(drop)?)
        }
        other => Ok(other.map(drop)?),
    }
}

/// Makes all directories below, and `path` itself, writable for us.
fn open_directories(path: &Path) -> Result<()> {
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        fs::set_mode(&dir, 0o700)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry.context("list", &dir)?;
            if entry.file_type().context("stat", &dir)?.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    Ok(())
}
