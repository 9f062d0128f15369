//! Extended attributes of open files and of names that are not followed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Largest value the kernel knows (`XATTR_SIZE_MAX`), and largest list of names (`XATTR_LIST_MAX`).
const LARGEST: usize = 65536;

/// The attributes of `path`, a link not followed, sorted by name; empty where the file system has none.
///
/// # Errors
///
/// Whatever the system says.
pub fn list(path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    collect(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name| get(path, name),
    )
}

/// One attribute of `path`, a link not followed.
///
/// # Errors
///
/// Whatever the system says; a missing attribute is `None`.
pub fn get(path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    value(|buffer| rustix::fs::lgetxattr(path, name, buffer))
}

/// Sets an attribute of `path`, a link not followed.
///
/// # Errors
///
/// Whatever the system says.
pub fn set(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(
        path,
        name,
        value,
        XattrFlags::empty(),
    )?)
}

/// Removes an attribute of `path`, a link not followed.
///
/// # Errors
///
/// Whatever the system says.
pub fn remove(path: &Path, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::lremovexattr(path, name)?)
}

/// The attributes of an open file, sorted by name; empty where the file system has none.
///
/// # Errors
///
/// Whatever the system says.
pub fn list_fd(fd: impl AsFd) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let fd = fd.as_fd();
    collect(
        |buffer| rustix::fs::flistxattr(fd, buffer),
        |name| get_fd(fd, name),
    )
}

/// The attributes of what a handle (`O_PATH`) is on, a link too, sorted by name; empty where the file system has none.
///
/// # Errors
///
/// Whatever the system says.
pub fn list_handle(handle: impl AsFd) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    // Such a handle has no attributes of its own, and what `/proc` shows of it leads to where it is and no further.
    let path = crate::root::magic(&handle);
    collect(
        |buffer| rustix::fs::listxattr(&path, buffer),
        |name| value(|buffer| rustix::fs::getxattr(&path, name, buffer)),
    )
}

/// One attribute of an open file.
///
/// # Errors
///
/// Whatever the system says; a missing attribute is `None`.
pub fn get_fd(fd: impl AsFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let fd = fd.as_fd();
    value(|buffer| rustix::fs::fgetxattr(fd, name, buffer))
}

/// Sets an attribute of an open file.
///
/// # Errors
///
/// Whatever the system says.
pub fn set_fd(fd: impl AsFd, name: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())?)
}

/// Calls with a small buffer first and the largest one where that does not do.
fn grow(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match call(&mut small) {
        Ok(length) => Ok(small[..length.min(256)].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LARGEST];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}

fn value(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    match grow(call) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn collect(
    names: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&OsStr) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let names = match grow(names) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = OsStr::from_bytes(name);
        if let Some(value) = get(name)? {
            found.push((name.to_os_string(), value));
        }
    }
    found.sort();
    Ok(found)
}
