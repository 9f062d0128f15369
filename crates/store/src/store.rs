//! Opening a store, and the two ways into its database: reading and changing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use sys::lock::{Lock, Mode};

use crate::change::Change;
use crate::clock::{self, Clock};
use crate::db::{self, Named as _};
use crate::error::Result;
use crate::folder::{self, Folder};
use crate::way::Choice;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Make the store if the folder is missing or empty.
    pub create: bool,
    /// Take away what dead processes left in `tmp/`.
    pub sweep: bool,
    /// Where times come from.
    pub clock: Clock,
    /// The name of the running boot, if not the machine's; for tests of what happens after a crash of the machine.
    pub boot: Option<String>,
    /// How root filesystems are made, instead of what is found to work.
    pub layers: Option<Choice>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: true,
            sweep: true,
            clock: Clock::System,
            boot: None,
            layers: None,
        }
    }
}

/// An open store. Clones are the same store; it may be used from several threads.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) folder: Folder,
    pub(crate) clock: Clock,
    pub(crate) boot: String,
    pub(crate) chosen: Option<Choice>,
    /// Something waits to be synced or deleted.
    pub(crate) untidy: AtomicBool,
    db: Mutex<Connection>,
}

/// Makes the database of the store at `root` anew from the folder: for a database that SQLite cannot read any more.
///
/// The old one goes to `damaged/`. Layers, blobs and images come back, each checked before its first use; names, build
/// records and containers do not.
///
/// # Errors
///
/// The folder is no store, or cannot be changed.
pub fn rebuild_database(root: &Path) -> Result<()> {
    let folder = folder::open(root, false)?;
    {
        let _lock = Lock::acquire(&folder.lock(), Mode::Exclusive)?;
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = folder.database().into_os_string();
            path.push(suffix);
            folder.set_aside(Path::new(&path))?;
        }
    }
    Store::open(root, &OpenOptions::default()).map(drop)
}

impl Store {
    /// Opens the store at `root`, making it if the folder is missing or empty.
    ///
    /// Costs a few file operations. The first opening after a start of the machine also compares the folder with the
    /// database, since the last commits before a power cut may be lost.
    ///
    /// # Errors
    ///
    /// [`Error::NotAStore`](crate::Error::NotAStore) for a folder that has other files, which are left alone;
    /// [`Error::Version`](crate::Error::Version) and [`Error::Feature`](crate::Error::Feature) for a store made by a newer
    /// barque; [`Error::Owner`](crate::Error::Owner) for the store of somebody else.
    pub fn open(root: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let folder = folder::open(root.as_ref(), options.create)?;
        let path = folder.database();
        let mut connection = db::connect(&path)?;
        if db::version(&connection, &path)? != db::current_version() {
            let _lock = Lock::acquire(&folder.lock(), Mode::Exclusive)?;
            db::migrate(&mut connection, &path, folder.root())?;
        }
        let boot = match &options.boot {
            Some(boot) => boot.clone(),
            None => clock::boot()?,
        };
        let store = Self {
            inner: Arc::new(Inner {
                folder,
                clock: options.clock,
                boot,
                chosen: options.layers,
                untidy: AtomicBool::new(false),
                db: Mutex::new(connection),
            }),
        };
        store.settle_after_boot()?;
        if options.sweep {
            // Litter that cannot be taken away now is no reason to refuse work; the next command and `fsck` see it again.
            store.sweep().ok();
        }
        Ok(store)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.inner.folder.root()
    }

    /// Where the stat index of the build context `id` is kept. The file need not exist;
    /// [`Lease::put_context`](crate::Lease::put_context) replaces it.
    #[must_use]
    pub fn context_file(&self, id: &str) -> PathBuf {
        self.inner.folder.contexts().join(hashed(id))
    }

    /// Seconds since 1970, by the store's clock.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.inner.clock.now()
    }

    /// True if something waits for [`Store::upkeep`]: content not synced yet, or on its way out.
    #[must_use]
    pub fn needs_upkeep(&self) -> bool {
        self.inner.untidy.load(Ordering::Relaxed)
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.inner.folder
    }

    pub(crate) fn untidy(&self) {
        self.inner.untidy.store(true, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic in another thread cannot leave a transaction open: its guard rolled it back.
        self.inner.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the database; several queries in `run` see the same commit.
    pub(crate) fn read<T>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let mut guard = self.connection();
        let read = || -> Result<T> {
            let tx = guard.transaction()?;
            run(&tx)
        };
        read().named(what, &self.inner.folder.database())
    }

    /// Takes the store's lock for a change.
    pub(crate) fn change(&self) -> Result<Change<'_>> {
        Change::begin(self)
    }

    /// A change that is one transaction and touches no files.
    pub(crate) fn write<T>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.change()?.transaction(what, run)
    }
}

/// A name from outside as a file name.
pub(crate) fn hashed(id: &str) -> String {
    oci::Digest::sha256_of(id.as_bytes()).hex()
}
