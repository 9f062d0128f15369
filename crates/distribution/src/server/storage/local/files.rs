//! Files of the folder: every error names the verb and the path.
//!
//! The only module of the crate that works with `std::fs`, beside `spool`. Paths are made of parsed types alone.

#![allow(
    clippy::disallowed_methods,
    reason = "each error gets its verb and path here; the crate does not know `sys`"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use super::super::{Result, StorageError};

/// Adds verb and path to an I/O error.
pub(super) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let place = path.display().to_string();
    move |source| StorageError::Io {
        verb,
        place,
        source,
    }
}

/// Nothing there is not an error.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading; `None` if there is none.
pub(super) fn find(path: &Path) -> Result<Option<File>> {
    found(File::open(path)).map_err(failed("open", path))
}

/// The whole of a file of at most `limit` bytes; `None` if there is none.
pub(super) fn find_bytes(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = find(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(StorageError::Corrupt {
            place: path.display().to_string(),
            why: format!("it has more than {limit} bytes"),
        });
    }
    Ok(Some(bytes))
}

/// The size of a file; `None` if there is none.
pub(super) fn size(path: &Path) -> Result<Option<u64>> {
    let metadata = found(fs::metadata(path)).map_err(failed("look at", path))?;
    Ok(metadata.map(|metadata| metadata.len()))
}

/// When a file was last written to, in seconds since 1970; `None` if there is none.
pub(super) fn modified(path: &Path) -> Result<Option<u64>> {
    let time = found(fs::metadata(path).and_then(|metadata| metadata.modified()))
        .map_err(failed("look at", path))?;
    Ok(time.map(|time| {
        time.duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }))
}

/// Makes a new file.
pub(super) fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed("create", path))
}

/// Opens a file for reading and appending, making it if need be.
pub(super) fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed("open", path))
}

/// Makes a directory and those above it, down from `base`, which exists; what is new survives a power cut.
pub(super) fn make_directory(base: &Path, path: &Path) -> Result<()> {
    if path == base || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(base, parent)?;
        match fs::create_dir(path) {
            Ok(()) => sync_directory(parent)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create the directory", path)(error)),
        }
    }
    Ok(())
}

/// Makes the entries of a directory survive a power cut.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory", path))
}

/// Makes what was written to a file survive a power cut.
pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_data().map_err(failed("sync", path))
}

/// Gives a file its final name, durably.
pub(super) fn publish(from: &Path, to: &Path) -> Result<()> {
    rename(from, to)?;
    to.parent().map_or(Ok(()), sync_directory)
}

/// Gives a file or directory another name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(failed("rename", from))
}

/// Writes a small file whole, durably, under a name that exists afterwards or not at all.
pub(super) fn write(temporary: &Path, to: &Path, bytes: &[u8]) -> Result<()> {
    let written = create(temporary).and_then(|mut file| {
        file.write_all(bytes).map_err(failed("write", temporary))?;
        sync(&file, temporary)?;
        publish(temporary, to)
    });
    if written.is_err() {
        fs::remove_file(temporary).ok();
    }
    written
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    found(fs::remove_file(path)).map_err(failed("remove", path))?;
    Ok(())
}

/// Removes a directory with what is in it; it may be gone already.
pub(super) fn remove_directory(path: &Path) -> Result<()> {
    found(fs::remove_dir_all(path)).map_err(failed("remove", path))?;
    Ok(())
}

/// The names in a directory that are text; none if there is no such directory.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let Some(entries) = found(fs::read_dir(path)).map_err(failed("list", path))? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", path))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether a directory has anything but one name; one that is missing has not, and what is no directory has.
pub(super) fn has_other_than(path: &Path, name: &str) -> Result<bool> {
    let entries = match found(fs::read_dir(path)) {
        Ok(Some(entries)) => entries,
        Ok(None) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(true),
        Err(error) => return Err(failed("list", path)(error)),
    };
    for entry in entries {
        if entry.map_err(failed("list", path))?.file_name() != name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the lock that says that a server works on this folder; it goes with the file.
pub(super) fn lock(path: &Path) -> Result<File> {
    let file = append(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |error| match error {
            rustix::io::Errno::WOULDBLOCK => StorageError::InUse,
            error => failed("lock", path)(error.into()),
        },
    )?;
    Ok(file)
}
