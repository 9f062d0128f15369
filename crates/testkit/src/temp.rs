//! Stores that vanish.

use std::ops::Deref;
use std::path::Path;

use store::{Clock, OpenOptions, Store};
use tempfile::TempDir;

/// The time in a temporary store: 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// A store in a temporary folder; both go when it is dropped.
#[derive(Debug)]
pub struct TempStore {
    store: Store,
    dir: TempDir,
}

/// A new, empty store whose clock stands still.
///
/// # Panics
///
/// If it cannot be made: there is no test without it.
#[must_use]
pub fn store() -> TempStore {
    store_with(&OpenOptions {
        clock: Clock::Fixed(NOW),
        ..OpenOptions::default()
    })
}

/// As [`store()`], opened in another way.
///
/// # Panics
///
/// If it cannot be made: there is no test without it.
#[must_use]
pub fn store_with(options: &OpenOptions) -> TempStore {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(dir.path().join("store"), options).expect("a new store");
    TempStore { store, dir }
}

impl TempStore {
    /// The store itself.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// A folder beside the store, for whatever else a test needs.
    #[must_use]
    pub fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// Opens the same store once more, as another process would.
    ///
    /// # Panics
    ///
    /// If it cannot be opened.
    #[must_use]
    pub fn reopen(&self) -> Store {
        self.reopen_in(None)
    }

    /// Opens the same store as after a restart of the machine, when `boot` is not the name of the running boot.
    ///
    /// # Panics
    ///
    /// If it cannot be opened.
    #[must_use]
    pub fn reopen_in(&self, boot: Option<&str>) -> Store {
        let options = OpenOptions {
            clock: Clock::Fixed(NOW),
            boot: boot.map(str::to_owned),
            ..OpenOptions::default()
        };
        Store::open(self.store.root(), &options).expect("the same store")
    }
}

impl Deref for TempStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
