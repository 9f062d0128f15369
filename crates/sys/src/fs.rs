//! File operations whose errors name the verb and the path.
//!
//! Other crates may not call `std::fs` (a lint says so); they come here, so that every error a user reads says what was
//! tried on what. These work on *our own* files. Paths inside an image or a context go through [`crate::root`].

use std::fs::{File, Metadata, OpenOptions, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

/// A file operation that failed: the verb, the path, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} `{}`: {source}", .path.display())]
pub struct Error {
    /// What was tried, as a verb phrase: `open`, `create the directory`.
    pub verb: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl Error {
    /// The kind of the cause, to branch on.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// An error for operations that this module does not wrap.
    #[must_use]
    pub fn new(verb: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            verb,
            path: path.into(),
            source,
        }
    }
}

impl Error {
    /// The same failure, of a file under a temporary name, told of the name that a person knows.
    #[must_use]
    pub fn on(self, path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }
}

/// The result of a file operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds verb and path to the result of an operation that this module does not wrap.
pub trait Context<T> {
    /// Names what was tried on what.
    ///
    /// # Errors
    ///
    /// The error of `self`, with `verb` and `path`.
    fn context(self, verb: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::new(verb, path, source))
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context(self, verb: &'static str, path: &Path) -> Result<T> {
        self.map_err(|errno| Error::new(verb, path, errno.into()))
    }
}

macro_rules! wrap {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $verb:literal on $on:ident, $call:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// With verb and path, whatever the system says.
        pub fn $name($($arg: $ty),*) -> Result<$out> {
            $call.context($verb, $on)
        }
    )*};
}

wrap! {
    /// Opens a file for reading.
    open(path: &Path) -> File = "open" on path, File::open(path);
    /// Opens something that exists, such as a pipe, for writing.
    open_for_writing(path: &Path) -> File = "open" on path, OpenOptions::new().write(true).open(path);
    /// Creates a file that must not exist yet, for reading and writing.
    create_new(path: &Path) -> File = "create" on path,
        OpenOptions::new().read(true).write(true).create_new(true).open(path);
    /// Creates a file or empties it, for reading and writing.
    create(path: &Path) -> File = "create" on path,
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    /// Opens a file for reading and writing, creating it if it is missing, keeping its content.
    open_or_create(path: &Path) -> File = "open" on path,
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    /// Opens a file to add to its end, creating it if it is missing.
    open_to_append(path: &Path) -> File = "open" on path, OpenOptions::new().append(true).create(true).open(path);
    /// Reads a whole file.
    read(path: &Path) -> Vec<u8> = "read" on path, std::fs::read(path);
    /// Reads a whole file as UTF-8.
    read_to_string(path: &Path) -> String = "read" on path, std::fs::read_to_string(path);
    /// Writes a whole file, not atomically; see [`replace`].
    write(path: &Path, bytes: &[u8]) -> () = "write" on path, std::fs::write(path, bytes);
    /// Makes one directory; its parent must exist.
    create_dir(path: &Path) -> () = "create the directory" on path, std::fs::create_dir(path);
    /// Makes a directory and its missing parents.
    create_dir_all(path: &Path) -> () = "create the directory" on path, std::fs::create_dir_all(path);
    /// Lists a directory.
    read_dir(path: &Path) -> ReadDir = "list" on path, std::fs::read_dir(path);
    /// The metadata of what `path` names, following a link.
    metadata(path: &Path) -> Metadata = "stat" on path, std::fs::metadata(path);
    /// The metadata of what `path` names, not following a link.
    symlink_metadata(path: &Path) -> Metadata = "stat" on path, std::fs::symlink_metadata(path);
    /// Where a symbolic link points.
    read_link(path: &Path) -> PathBuf = "read the link" on path, std::fs::read_link(path);
    /// The absolute path without links.
    canonicalize(path: &Path) -> PathBuf = "resolve" on path, std::fs::canonicalize(path);
    /// Renames, replacing a file of that name.
    rename(from: &Path, to: &Path) -> () = "rename" on from, std::fs::rename(from, to);
    /// Makes a hard link.
    hard_link(from: &Path, to: &Path) -> () = "link" on from, std::fs::hard_link(from, to);
    /// Makes a symbolic link at `link` that points to `target`.
    symlink(target: &Path, link: &Path) -> () = "create the link" on link, std::os::unix::fs::symlink(target, link);
    /// Removes a file.
    remove_file(path: &Path) -> () = "remove" on path, std::fs::remove_file(path);
    /// Removes an empty directory.
    remove_dir(path: &Path) -> () = "remove the directory" on path, std::fs::remove_dir(path);
    /// Removes a directory and all below it; links are removed, never followed.
    remove_dir_all(path: &Path) -> () = "remove the directory" on path, std::fs::remove_dir_all(path);
    /// Sets the permission bits.
    set_mode(path: &Path, mode: u32) -> () = "change the mode of" on path,
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
}

/// Asks the file system to keep directories made in `path` apart from each other, as ext4 does with home directories; elsewhere it
/// does nothing.
///
/// ext4 puts what belongs together into one part of the disk. Where many short-lived directories are made and removed one after
/// the other, each new file would there have to look past all that were just deleted, which without a journal takes a
/// millisecond a file.
pub fn spread_directories(path: &Path) {
    use rustix::fs::IFlags;
    let set = || {
        let directory = File::open(path).map_err(|_| rustix::io::Errno::IO)?;
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)
    };
    // A hint that not every file system takes.
    set().ok();
}

/// True if something, a dangling link too, has this name; false if it cannot be seen.
#[must_use]
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Turns "not found" into `None`.
///
/// # Errors
///
/// Every other error of `result`.
pub fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`replace`], of a file with secrets: only its owner may read it, from the first byte on. A link is followed, so that a
/// file that lies elsewhere stays there.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let path = optional(canonicalize(path))?.unwrap_or_else(|| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .context("write", &temporary)
        .and_then(|()| rename(&temporary, &path));
    if result.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    result
}

/// Replaces the content of `path` so that a reader, also after a crash of this process, sees the old bytes or the new.
///
/// The bytes are in the page cache afterwards, not on the disk.
///
/// # Errors
///
/// Creating, writing or renaming failed; the temporary file is gone and `path` is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = write(&temporary, bytes).and_then(|()| rename(&temporary, path));
    if result.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    result.map_err(|error| error.on(path))
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn a_file_that_cannot_be_written_is_called_by_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("missing/x.json");
        let error = replace(&file, b"x").unwrap_err();
        assert_eq!(error.path, file);
    }
}
