//! Copying file content inside the kernel.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

/// Copies `length` bytes from `from` at `offset` to the position of `to`, which advances; returns how many there were.
///
/// Shares blocks where the file system can, else copies inside the kernel, else through a buffer.
///
/// # Errors
///
/// Reading or writing failed.
pub fn range(from: &File, offset: u64, to: &mut File, length: u64) -> io::Result<u64> {
    let mut position = offset;
    let mut left = length;
    while left > 0 {
        let chunk = usize::try_from(left.min(1 << 30)).unwrap_or(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut position), &mut *to, None, chunk) {
            Ok(0) => break,
            Ok(copied) => left -= u64::try_from(copied).unwrap_or(0),
            Err(Errno::INTR) => {}
            Err(
                Errno::XDEV
                | Errno::INVAL
                | Errno::NOSYS
                | Errno::OPNOTSUPP
                // The target is open for appending only.
                | Errno::BADF
                | Errno::IO
                | Errno::PERM,
            ) => {
                return Ok(length - left + through_buffer(from, position, to, left)?);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(length - left)
}

/// Makes `to` share all blocks of `from`; false where the file system cannot.
///
/// # Errors
///
/// Failures other than "cannot share".
pub fn reflink(from: &impl AsFd, to: &impl AsFd) -> io::Result<bool> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(
            Errno::XDEV
            | Errno::INVAL
            | Errno::NOTTY
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::TXTBSY,
        ) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn through_buffer(from: &File, mut offset: u64, to: &mut File, length: u64) -> io::Result<u64> {
    // The file's own position is left alone: other threads may read the same file.
    let mut buffer = vec![0; 256 * 1024];
    let mut left = length;
    while left > 0 {
        let chunk = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = match from.read_at(&mut buffer[..chunk], offset) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..read])?;
        left -= u64::try_from(read).unwrap_or(0);
        offset += u64::try_from(read).unwrap_or(0);
    }
    Ok(length - left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_a_range_and_says_how_much_there_was() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"0123456789").unwrap();
        let from = File::open(dir.path().join("a")).unwrap();
        let mut to = File::create_new(dir.path().join("b")).unwrap();
        assert_eq!(range(&from, 2, &mut to, 3).unwrap(), 3);
        assert_eq!(range(&from, 8, &mut to, 100).unwrap(), 2);
        assert_eq!(through_buffer(&from, 8, &mut to, 100).unwrap(), 2);
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"2348989");
    }
}
