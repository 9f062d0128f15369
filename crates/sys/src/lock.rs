//! Advisory locks on whole files (`flock`), released when the guard or the process goes.

use std::fs::File;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::fs::{self, Context, Result};

/// Who may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Any number of shared holders.
    Shared,
    /// One holder alone.
    Exclusive,
}

/// A held lock; dropping it releases it, and so does the end of the process, however it comes.
///
/// The file is not inherited by programs we start, so a lock is never held by a stranger.
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock on `path`, creating the file if it is missing.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or the file system has no locks.
    pub fn acquire(path: &Path, mode: Mode) -> Result<Self> {
        Self::acquire_on(fs::open_or_create(path)?, path, mode)
    }

    /// As [`Lock::acquire`], on a file or directory that is already open; `path` is for messages.
    ///
    /// # Errors
    ///
    /// The file system has no locks.
    pub fn acquire_on(file: File, path: &Path, mode: Mode) -> Result<Self> {
        let operation = match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match rustix::fs::flock(&file, operation) {
                Err(Errno::INTR) => {}
                result => break result.context("lock", path)?,
            }
        }
        Ok(Self { file })
    }

    /// Takes the lock on `path` if nobody holds it against us; `None` if somebody does.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or the file system has no locks.
    pub fn try_acquire(path: &Path, mode: Mode) -> Result<Option<Self>> {
        Self::try_on(fs::open_or_create(path)?, path, mode)
    }

    /// As [`Lock::try_acquire`], on a file that is already open; `path` is for messages.
    ///
    /// # Errors
    ///
    /// The file system has no locks.
    pub fn try_on(file: File, path: &Path, mode: Mode) -> Result<Option<Self>> {
        let operation = match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno).context("lock", path),
        }
    }

    /// The locked file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_excludes_and_ends_with_the_guard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::acquire(&path, Mode::Shared).unwrap();
        let second = Lock::try_acquire(&path, Mode::Shared).unwrap();
        assert!(second.is_some());
        assert!(Lock::try_acquire(&path, Mode::Exclusive).unwrap().is_none());
        drop((first, second));
        assert!(Lock::try_acquire(&path, Mode::Exclusive).unwrap().is_some());
    }
}
