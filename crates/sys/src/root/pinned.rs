//! One thing of a root, whatever becomes of its name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{Root, Stat, reopen_regular};
use crate::fs::{Context, Result};

/// What a name meant when it was pinned: all answers are about that one thing, also after somebody renamed it, removed it or put
/// something else in its place.
#[derive(Debug)]
pub struct Pinned {
    handle: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Takes hold of what a name means now, a link not followed.
    ///
    /// # Errors
    ///
    /// It is missing.
    pub fn pin(&self, path: &Path) -> Result<Pinned> {
        Ok(Pinned {
            handle: self.handle(path)?,
            path: self.full(path),
        })
    }
}

impl Pinned {
    /// What is known about it.
    ///
    /// # Errors
    ///
    /// The file system fails.
    pub fn stat(&self) -> Result<Stat> {
        let raw = rustix::fs::fstat(&self.handle).context("stat", &self.path)?;
        Ok(Stat::from_raw(&raw))
    }

    /// Its extended attributes, sorted by name. A file system without attributes gives an empty list.
    ///
    /// # Errors
    ///
    /// Reading failed.
    pub fn xattrs(&self) -> Result<Vec<(OsString, Vec<u8>)>> {
        crate::xattr::list_handle(&self.handle).context("read the attributes of", &self.path)
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read_link(&self) -> Result<OsString> {
        let text = rustix::fs::readlinkat(&self.handle, "", Vec::new())
            .context("read the link", &self.path)?;
        Ok(OsStr::from_bytes(text.as_bytes()).to_os_string())
    }

    /// Opens a regular file for reading; anything else is an error and is never opened.
    ///
    /// # Errors
    ///
    /// It may not be opened, or is no regular file (`InvalidInput`).
    pub fn open_file(&self) -> Result<File> {
        reopen_regular(&self.handle, OFlags::RDONLY).context("open", &self.path)
    }
}
