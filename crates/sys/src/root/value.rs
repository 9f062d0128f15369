//! What is told about a file of a root.

use std::ffi::OsString;

use rustix::fs::{FileType, Timespec};

/// What kind of thing a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    pub(super) fn from_type(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Dir,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return None,
        })
    }
}

/// A point in time, as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub secs: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

impl Time {
    pub(super) fn to_timespec(self) -> Timespec {
        Timespec {
            tv_sec: self.secs,
            tv_nsec: self.nanos.into(),
        }
    }
}

/// What `stat` says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Number of names.
    pub nlink: u64,
    /// Inode number.
    pub ino: u64,
    /// Device that it lies on.
    pub dev: u64,
    /// Major and minor number, if it is a device.
    pub rdev: (u32, u32),
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or metadata.
    pub ctime: Time,
}

impl Stat {
    pub(super) fn from_raw(raw: &rustix::fs::Stat) -> Self {
        let time = |secs: i64, nanos: u64| Time {
            secs,
            nanos: u32::try_from(nanos).unwrap_or(0),
        };
        #[expect(
            clippy::unnecessary_cast,
            reason = "the width of these fields differs between architectures"
        )]
        Self {
            kind: Kind::from_type(FileType::from_raw_mode(raw.st_mode)).unwrap_or(Kind::File),
            mode: raw.st_mode & 0o7777,
            uid: raw.st_uid,
            gid: raw.st_gid,
            size: u64::try_from(raw.st_size).unwrap_or(0),
            nlink: raw.st_nlink as u64,
            ino: raw.st_ino,
            dev: raw.st_dev as u64,
            rdev: (
                rustix::fs::major(raw.st_rdev),
                rustix::fs::minor(raw.st_rdev),
            ),
            mtime: time(raw.st_mtime as i64, raw.st_mtime_nsec as u64),
            ctime: time(raw.st_ctime as i64, raw.st_ctime_nsec as u64),
        }
    }
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without a directory.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
}
