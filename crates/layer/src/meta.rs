//! What an entry of a layer is, apart from its name and its bytes.

/// A point in time: seconds since 1970, and nanoseconds after that second (also before 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds to add to `secs`, below 1,000,000,000.
    pub nanos: u32,
}

impl Time {
    /// The start of 1970, which entries that nobody described get.
    pub const ZERO: Self = Self { secs: 0, nanos: 0 };

    /// A time without a fraction.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// What sort of thing an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File {
        /// Its length.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Where it points, byte for byte.
        target: Vec<u8>,
    },
    /// A character device. 0:0 is what overlayfs takes for a deletion; no entry from outside may be one.
    CharDevice {
        /// The number of the driver.
        major: u32,
        /// The number of the device.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The number of the driver.
        major: u32,
        /// The number of the device.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// One more name of an entry that came earlier in the same layer.
    HardLink {
        /// The earlier name, from the root of the layer.
        target: Vec<u8>,
    },
}

/// The metadata of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Extended attributes, full names (`security.capability`) and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// Metadata of that kind and mode, owned by root, of 1970, without extended attributes.
    #[must_use]
    pub const fn new(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::ZERO,
            xattrs: Vec::new(),
        }
    }

    /// The same for a regular file.
    #[must_use]
    pub const fn file(size: u64, mode: u32) -> Self {
        Self::new(Kind::File { size }, mode)
    }

    /// The same for a directory.
    #[must_use]
    pub const fn dir(mode: u32) -> Self {
        Self::new(Kind::Dir, mode)
    }

    /// The same for a symbolic link.
    #[must_use]
    pub fn symlink(target: impl Into<Vec<u8>>) -> Self {
        Self::new(
            Kind::Symlink {
                target: target.into(),
            },
            0o777,
        )
    }
}

/// True for the extended attributes with which overlayfs steers itself.
///
/// They never come in from outside: a layer that carried them could make directories opaque or redirect
/// them to others when it is mounted.
#[must_use]
pub fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
