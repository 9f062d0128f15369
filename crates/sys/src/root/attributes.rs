//! Modes, owners, times and extended attributes of files of a root.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::{Root, Time, magic, valid_id};
use crate::fs::{Context, Error, Result};

impl Root {
    /// Sets the permission bits (07777) of the name itself.
    ///
    /// # Errors
    ///
    /// It is missing, or a symbolic link (which has no permissions).
    pub fn chmod(&self, path: &Path, mode: u32) -> Result<()> {
        let full = self.full(path);
        let handle = self
            .resolve(path, OFlags::PATH | OFlags::NOFOLLOW)
            .context("change the mode of", &full)?;
        let stat = rustix::fs::fstat(&handle).context("change the mode of", &full)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(Error::new("change the mode of", full, Errno::LOOP.into()));
        }
        rustix::fs::chmod(magic(&handle), Mode::from_raw_mode(mode & 0o7777))
            .context("change the mode of", &full)
    }

    /// Sets owner and group of the name itself.
    ///
    /// # Errors
    ///
    /// It is missing or the privilege is.
    pub fn chown(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        let (Some(uid), Some(gid)) = (valid_id(uid), valid_id(gid)) else {
            return Err(Error::new(
                "change the owner of",
                self.full(path),
                io::ErrorKind::InvalidInput.into(),
            ));
        };
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        let group = Some(rustix::fs::Gid::from_raw(gid));
        self.at("change the owner of", path, |parent, name, flags| {
            rustix::fs::chownat(parent, name, owner, group, flags)
        })
    }

    /// Sets the times of the name itself.
    ///
    /// # Errors
    ///
    /// It is missing or not ours.
    pub fn set_times(&self, path: &Path, accessed: Time, modified: Time) -> Result<()> {
        let times = Timestamps {
            last_access: accessed.to_timespec(),
            last_modification: modified.to_timespec(),
        };
        self.at("set the times of", path, |parent, name, flags| {
            rustix::fs::utimensat(parent, name, &times, flags)
        })
    }

    /// Sets the content's time of the name itself and leaves the access time.
    ///
    /// # Errors
    ///
    /// It is missing or not ours.
    pub fn set_mtime(&self, path: &Path, modified: Time) -> Result<()> {
        let last_access = Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        };
        let times = Timestamps {
            last_access,
            last_modification: modified.to_timespec(),
        };
        self.at("set the times of", path, |parent, name, flags| {
            rustix::fs::utimensat(parent, name, &times, flags)
        })
    }

    /// The extended attributes of the name itself, sorted by name.
    ///
    /// # Errors
    ///
    /// It is missing, or reading failed. A file system without attributes gives an empty list.
    pub fn xattrs(&self, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
        self.magic_path("read the attributes of", path, |magic| {
            crate::xattr::list(magic)
        })
    }

    /// One extended attribute of the name itself.
    ///
    /// # Errors
    ///
    /// It is missing, or reading failed.
    pub fn xattr(&self, path: &Path, name: &OsStr) -> Result<Option<Vec<u8>>> {
        self.magic_path("read the attributes of", path, |magic| {
            crate::xattr::get(magic, name)
        })
    }

    /// Sets an extended attribute of the name itself.
    ///
    /// # Errors
    ///
    /// It is missing, or the file system or the privileges do not allow it.
    pub fn set_xattr(&self, path: &Path, name: &OsStr, value: &[u8]) -> Result<()> {
        self.magic_path("set an attribute of", path, |magic| {
            crate::xattr::set(magic, name, value)
        })
    }

    /// Removes an extended attribute of the name itself.
    ///
    /// # Errors
    ///
    /// It is missing, or the file system or the privileges do not allow it.
    pub fn remove_xattr(&self, path: &Path, name: &OsStr) -> Result<()> {
        self.magic_path("remove an attribute of", path, |magic| {
            crate::xattr::remove(magic, name)
        })
    }
}
