//! Advisory locks, released when the guard or the process goes: on whole files (`flock`), and on one of very many places in a file
//! (`F_OFD_SETLK`), for what would otherwise need a file of its own each time.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
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

/// A held lock on one place in a file, which need not have so many bytes; dropping it releases it, and so does the end of the process.
///
/// It belongs to the open file, not to the process: threads of one process keep each other out too. It does not know of [`Lock`].
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub struct Place {
    _file: File,
}

impl Place {
    /// Takes the lock on the place `at` of `path` if nobody has it, creating the file if it is missing; `None` if somebody has it.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or the file system has no such locks.
    pub fn try_acquire(path: &Path, at: u32) -> Result<Option<Self>> {
        let file = fs::open_or_create(path)?;
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: at.into(),
            l_len: 1,
            // Has to be so for this kind of lock.
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and the kernel only reads the structure, which lives beyond the call.
        let outcome = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        if outcome == 0 {
            // Somebody may have taken the file away meanwhile: then others lock another one.
            let ours = file.metadata().context("stat", path)?;
            let named = fs::optional(fs::symlink_metadata(path))?;
            let same =
                |named: std::fs::Metadata| (named.dev(), named.ino()) == (ours.dev(), ours.ino());
            return Ok(named.is_some_and(same).then_some(Self { _file: file }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(None),
            _ => Err(error).context("lock", path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_file_are_held_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("places");
        let take = |at| Place::try_acquire(&path, at).unwrap();
        let first = take(7).unwrap();
        assert!(take(7).is_none(), "also for threads of one process");
        let last = take(u32::MAX).unwrap();
        assert!(take(u32::MAX).is_none());
        let whole = Lock::try_acquire(&path, Mode::Exclusive).unwrap();
        assert!(whole.is_some(), "the two kinds do not know each other");
        drop((first, last));
        assert!(take(7).is_some());
        // A file that was taken away is nobody's place.
        let gone = take(7).unwrap();
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        assert!(take(7).is_some(), "another file");
        drop(gone);
    }

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
