//! The extended attributes that are part of a file's content for a build: `user.*` and `security.capability`.

use std::os::fd::BorrowedFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

use super::tree::Xattrs;

/// Largest list of names and largest value that the kernel keeps (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX: usize = 64 << 10;

/// True if a build carries this attribute along.
pub(crate) fn carried(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
        || name == b"security.capability"
}

/// Reads the carried attributes of an open file, sorted by name.
pub(crate) fn read(fd: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    let mut small = [0u8; 256];
    let names = match flistxattr(fd, &mut small[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(len) => small[..len].to_vec(),
        Err(Errno::RANGE) => {
            let mut large = vec![0u8; MAX];
            let len = flistxattr(fd, &mut large[..])?;
            large.truncate(len);
            large
        }
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| carried(name)) {
        let mut value = vec![0u8; MAX];
        match fgetxattr(fd, name, &mut value[..]) {
            Ok(len) => value.truncate(len),
            // It vanished between the two calls.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno),
        }
        value.shrink_to_fit();
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
