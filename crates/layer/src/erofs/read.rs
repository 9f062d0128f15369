//! Reading an index without the kernel, and without trusting it: whatever its bytes say, the answer is data or an error.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::file::{Backing, FileReader, Location};
use super::format as f;
use super::head::{self, Head};
use super::pages::Pages;
use super::xattr;
use crate::files::LayerFiles;
use crate::meta::{Kind, Meta, Time, is_overlay_xattr};
use crate::path::{MAX_NAME, MAX_PATH};

/// Why an index, or a file through it, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file of the layer could not be opened or read.
    #[error(transparent)]
    Io(#[from] sys::fs::Error),
    /// The index contradicts itself. It can be made anew from the tar; see [`reindex`](crate::reindex).
    #[error("`{}` is damaged: {what}", .path.display())]
    Damaged {
        /// Of the index.
        path: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// A path led through more symbolic links than Linux follows.
    #[error("more than 40 symbolic links on the way to `{}`", crate::path::shown(.0))]
    Links(Vec<u8>),
    /// Something was asked of an entry that only another kind of entry has.
    #[error("`{}` is not {wanted}", crate::path::shown(.path))]
    Kind {
        /// What was asked for.
        wanted: &'static str,
        /// Of what.
        path: Vec<u8>,
    },
}

type Result<T> = std::result::Result<T, IndexError>;

/// What is wrong with an index that was cut.
const TOO_SHORT: &str = "it ends before its superblock does";

/// Largest file: what 32-bit block numbers reach.
const MAX_FILE: u64 = f::BLOCK << 32;

/// What an entry of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileType {
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
    /// The deletion of what lower layers have under the name. A [`View`](crate::View) never shows one.
    Whiteout,
}

/// An inode of one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// The number that the kernel shows as inode number of the mounted index.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The metadata of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileType,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file or a link's target; of a directory, of its listing.
    pub size: u64,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Names of the inode; of a directory, two and its subdirectories. Within its layer only.
    pub nlink: u32,
    /// Major and minor number of a device, else zeros.
    pub rdev: (u32, u32),
    /// Full names and values, sorted as stored, without those of overlayfs.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// A directory that hides what lower layers have in it.
    pub opaque: bool,
    /// Which inode.
    pub ino: NodeId,
}

impl Stat {
    /// A directory as one that no entry describes is: mode 0755, of 0:0, of 1970, without attributes.
    pub(crate) fn is_implied(&self) -> bool {
        self.kind == FileType::Dir
            && (self.mode, self.uid, self.gid) == (0o755, 0, 0)
            && self.mtime == Time::default()
            && self.xattrs.is_empty()
    }

    /// The same as metadata of a new entry; `target` is that of a symbolic link. `None` for a deletion.
    #[must_use]
    pub fn to_meta(&self, target: Vec<u8>) -> Option<Meta> {
        let (major, minor) = self.rdev;
        let kind = match self.kind {
            FileType::File => Kind::File { size: self.size },
            FileType::Dir => Kind::Dir,
            FileType::Symlink => Kind::Symlink { target },
            FileType::CharDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Whiteout => return None,
        };
        Some(Meta {
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs.clone(),
        })
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode.
    pub node: NodeId,
    /// What the inode is.
    pub kind: FileType,
}

/// One layer, read through its index. Clones share what was read.
#[derive(Debug, Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: LayerFiles,
    pages: Pages,
    root: NodeId,
    tar: Device,
    side: Option<Device>,
}

#[derive(Debug)]
struct Device {
    blocks: u64,
    file: OnceLock<Arc<File>>,
}

impl Device {
    const fn new(blocks: u64) -> Self {
        Self {
            blocks,
            file: OnceLock::new(),
        }
    }
}

/// The fixed part of an inode.
#[derive(Debug, Clone, Copy)]
struct Raw {
    format: u16,
    xattr_count: u16,
    mode: u16,
    size: u64,
    start: u32,
    uid: u32,
    gid: u32,
    secs: i64,
    nanos: u32,
    nlink: u32,
    /// First byte behind inode and extended attributes.
    tail: u64,
}

impl Raw {
    const fn layout(self) -> u16 {
        self.format >> 1
    }

    const fn kind(self) -> Option<FileType> {
        Some(match self.mode & f::S_IFMT {
            f::S_IFREG => FileType::File,
            f::S_IFDIR => FileType::Dir,
            f::S_IFLNK => FileType::Symlink,
            f::S_IFCHR if self.start == 0 => FileType::Whiteout,
            f::S_IFCHR => FileType::CharDevice,
            f::S_IFBLK => FileType::BlockDevice,
            f::S_IFIFO => FileType::Fifo,
            _ => return None,
        })
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u16::from_le_bytes(*b))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u64::from_le_bytes(*b))
}

impl Index {
    /// Opens the index of a layer and checks its head. The other files are opened when a file is read.
    ///
    /// # Errors
    ///
    /// The index is missing or is none of ours.
    pub fn open(files: &LayerFiles) -> Result<Self> {
        let pages = Pages::open(&files.index)?;
        let damaged = |what| IndexError::Damaged {
            path: files.index.clone(),
            what,
        };
        let io = |source| sys::fs::Error::new("read", &files.index, source);
        let bytes = pages
            .get(f::SUPER_OFFSET as u64, head::SIZE)
            .map_err(io)?
            .ok_or_else(|| damaged(TOO_SHORT))?;
        let head = Head::parse(&bytes, pages.size()).map_err(damaged)?;
        drop(bytes);
        let root = NodeId(head.root);
        let index = Self {
            inner: Arc::new(Inner {
                files: files.clone(),
                pages,
                root,
                tar: Device::new(head.tar),
                side: head.side.map(Device::new),
            }),
        };
        if index.kind(root)? != FileType::Dir {
            return Err(index.damaged("its root is not a directory"));
        }
        Ok(index)
    }

    /// True if the head of the index in this file is one that this program writes. False for an index of an older version, or a
    /// damaged one: then [`reindex`](crate::reindex) makes it anew. Reads one block.
    ///
    /// # Errors
    ///
    /// The file is missing or cannot be read.
    pub fn is_current(path: &Path) -> sys::fs::Result<bool> {
        use sys::fs::Context as _;
        let file = sys::fs::open(path)?;
        let size = file.metadata().context("stat", path)?.len();
        let mut bytes = [0; head::SIZE];
        match file.read_exact_at(&mut bytes, f::SUPER_OFFSET as u64) {
            Ok(()) => Ok(Head::parse(&bytes, size).is_ok()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error).context("read", path),
        }
    }

    fn damaged(&self, what: &'static str) -> IndexError {
        IndexError::Damaged {
            path: self.inner.files.index.clone(),
            what,
        }
    }

    fn get(&self, at: u64, len: usize) -> Result<Cow<'_, [u8]>> {
        self.inner
            .pages
            .get(at, len)
            .map_err(|source| sys::fs::Error::new("read", &self.inner.files.index, source))?
            .ok_or_else(|| self.damaged("something lies beyond its end"))
    }

    fn raw(&self, node: NodeId) -> Result<Raw> {
        let at = node
            .0
            .checked_mul(f::SLOT)
            .ok_or_else(|| self.damaged("something lies beyond its end"))?;
        let bytes = self.get(at, f::INODE as usize)?;
        let raw = Raw {
            format: u16_at(&bytes, 0),
            xattr_count: u16_at(&bytes, 2),
            mode: u16_at(&bytes, 4),
            size: u64_at(&bytes, 8),
            start: u32_at(&bytes, 16),
            uid: u32_at(&bytes, 24),
            gid: u32_at(&bytes, 28),
            secs: u64_at(&bytes, 32).cast_signed(),
            nanos: u32_at(&bytes, 40),
            nlink: u32_at(&bytes, 44),
            tail: at + f::INODE + xattr::size(u16_at(&bytes, 2)) as u64,
        };
        let known = [
            f::EXTENDED | f::FLAT_PLAIN << 1,
            f::EXTENDED | f::FLAT_INLINE << 1,
            f::EXTENDED | f::CHUNKS << 1,
        ];
        if !known.contains(&raw.format) || raw.nanos >= 1_000_000_000 {
            return Err(self.damaged("an inode has an unknown form"));
        }
        Ok(raw)
    }

    /// The root of the layer.
    #[must_use]
    pub fn root(&self) -> NodeId {
        self.inner.root
    }

    /// The files of the layer.
    #[must_use]
    pub fn files(&self) -> &LayerFiles {
        &self.inner.files
    }

    /// Whether the layer has a file `side`.
    #[must_use]
    pub fn has_side(&self) -> bool {
        self.inner.side.is_some()
    }

    /// True if both are the same opened index.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Most directory entries that an index of this size can have: walks stop there, whatever a damaged index says.
    pub(crate) fn most_entries(&self) -> u64 {
        self.inner.pages.size() / f::DIRENT as u64
    }

    /// What an inode is.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read.
    pub fn kind(&self, node: NodeId) -> Result<FileType> {
        self.raw(node)?
            .kind()
            .ok_or_else(|| self.damaged("an inode has an unknown type"))
    }

    /// The metadata of an inode.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read.
    pub fn stat(&self, node: NodeId) -> Result<Stat> {
        let raw = self.raw(node)?;
        let kind = raw
            .kind()
            .ok_or_else(|| self.damaged("an inode has an unknown type"))?;
        let mut xattrs = Vec::new();
        let mut opaque = false;
        if raw.xattr_count > 0 {
            let size = xattr::size(raw.xattr_count);
            let bytes = self.get(raw.tail - size as u64, size)?;
            let body = bytes.get(f::XATTR_HEADER..).unwrap_or_default();
            xattrs = xattr::decode(body)
                .filter(|_| bytes.get(4) == Some(&0))
                .ok_or_else(|| self.damaged("extended attributes have an unknown form"))?;
            opaque = kind == FileType::Dir
                && xattrs
                    .iter()
                    .any(|(name, value)| (&name[..], &value[..]) == xattr::OPAQUE);
            xattrs.retain(|(name, _)| !is_overlay_xattr(name));
        }
        let rdev = match kind {
            FileType::CharDevice | FileType::BlockDevice => f::decode_device(raw.start),
            _ => (0, 0),
        };
        Ok(Stat {
            kind,
            mode: u32::from(raw.mode & 0o7777),
            uid: raw.uid,
            gid: raw.gid,
            size: raw.size,
            mtime: Time {
                secs: raw.secs,
                nanos: raw.nanos,
            },
            nlink: raw.nlink,
            rdev,
            xattrs,
            opaque,
            ino: node,
        })
    }

    /// Whether a directory hides what lower layers have in it.
    pub(crate) fn is_opaque(&self, node: NodeId) -> Result<bool> {
        // Few inodes have extended attributes, so this is cheap.
        Ok(self.raw(node)?.xattr_count > 0 && self.stat(node)?.opaque)
    }

    /// Block `number` of what the index itself holds for an inode; the last may be shorter.
    fn block(&self, raw: &Raw, number: u64) -> Result<Cow<'_, [u8]>> {
        let start = number * f::BLOCK;
        let len = raw.size.saturating_sub(start).min(f::BLOCK);
        let at = if raw.layout() == f::FLAT_INLINE && len < f::BLOCK {
            raw.tail
        } else {
            u64::from(raw.start) * f::BLOCK + start
        };
        self.get(at, usize::try_from(len).unwrap_or_default())
    }

    fn directory(&self, node: NodeId) -> Result<Raw> {
        let raw = self.raw(node)?;
        if raw.kind() != Some(FileType::Dir) {
            return Err(self.damaged("a directory is none"));
        }
        if raw.size > self.inner.pages.size() {
            return Err(self.damaged("a directory is longer than the index"));
        }
        Ok(raw)
    }

    /// The entries of one block: name, inode, type as stored.
    fn parse<'a>(&self, block: &'a [u8]) -> Result<Vec<(&'a [u8], NodeId, u8)>> {
        let bad = || self.damaged("a directory has an unknown form");
        let first = block
            .get(8..10)
            .map(|_| usize::from(u16_at(block, 8)))
            .ok_or_else(bad)?;
        if first % f::DIRENT != 0 || first == 0 || first > block.len() {
            return Err(bad());
        }
        let count = first / f::DIRENT;
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let at = index * f::DIRENT;
            let start = usize::from(u16_at(block, at + 8));
            let name = if index + 1 < count {
                block.get(start..usize::from(u16_at(block, at + f::DIRENT + 8)))
            } else {
                block
                    .get(start..)
                    .and_then(|rest| rest.split(|byte| *byte == 0).next())
            };
            let name = name.ok_or_else(bad)?;
            if name.is_empty()
                || name.len() > MAX_NAME
                || name.iter().any(|b| matches!(b, 0 | b'/'))
            {
                return Err(bad());
            }
            all.push((name, NodeId(u64_at(block, at)), block[at + 10]));
        }
        Ok(all)
    }

    fn entry_kind(&self, node: NodeId, stored: u8) -> Result<FileType> {
        Ok(match stored {
            1 => FileType::File,
            2 => FileType::Dir,
            // A deletion or a device.
            3 => self.kind(node)?,
            4 => FileType::BlockDevice,
            5 => FileType::Fifo,
            7 => FileType::Symlink,
            _ => return Err(self.damaged("a directory entry has an unknown type")),
        })
    }

    /// Lists a directory, sorted by the bytes of the names, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read, or `dir` is not a directory.
    pub fn read_dir(&self, dir: NodeId) -> Result<Vec<DirEntry>> {
        let raw = self.directory(dir)?;
        let mut all = Vec::new();
        for number in 0..raw.size.div_ceil(f::BLOCK) {
            let block = self.block(&raw, number)?;
            for (name, node, stored) in self.parse(&block)? {
                if name == b"." || name == b".." {
                    continue;
                }
                all.push(DirEntry {
                    name: name.to_vec(),
                    node,
                    kind: self.entry_kind(node, stored)?,
                });
            }
        }
        Ok(all)
    }

    /// Finds a name in a directory.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read, or `dir` is not a directory.
    pub fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<Option<(NodeId, FileType)>> {
        if name == b"." || name == b".." {
            return Ok(None);
        }
        let raw = self.directory(dir)?;
        let (mut low, mut high) = (0, raw.size.div_ceil(f::BLOCK));
        // The last block whose first name is not behind the one looked for.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let block = self.block(&raw, middle)?;
            let entries = self.parse(&block)?;
            if entries.first().is_some_and(|entry| entry.0 <= name) {
                low = middle;
            } else {
                high = middle;
            }
        }
        if low == high {
            return Ok(None);
        }
        let block = self.block(&raw, low)?;
        let entries = self.parse(&block)?;
        let Ok(at) = entries.binary_search_by(|entry| entry.0.cmp(name)) else {
            return Ok(None);
        };
        let (_, node, stored) = entries[at];
        Ok(Some((node, self.entry_kind(node, stored)?)))
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read, or `node` is not a link.
    pub fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        let raw = self.raw(node)?;
        if raw.kind() != Some(FileType::Symlink) || raw.size > MAX_PATH as u64 {
            return Err(self.damaged("a symbolic link is none"));
        }
        let mut target = Vec::new();
        for number in 0..raw.size.div_ceil(f::BLOCK) {
            target.extend_from_slice(&self.block(&raw, number)?);
        }
        Ok(target)
    }

    /// Where the bytes of a regular file are.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read, or `node` is not a regular file.
    pub fn location(&self, node: NodeId) -> Result<Location> {
        let raw = self.raw(node)?;
        if raw.kind() != Some(FileType::File) {
            return Err(self.damaged("a regular file is none"));
        }
        if raw.size == 0 {
            return Ok(Location {
                backing: Backing::Tar,
                offset: 0,
                len: 0,
            });
        }
        let unknown = || self.damaged("the data of a file has an unknown form");
        let format = u16::try_from(raw.start).map_err(|_| unknown())?;
        if raw.layout() != f::CHUNKS
            || format != f::CHUNK_INDEXES | f::chunk_bits(raw.size)
            || raw.size > MAX_FILE
        {
            return Err(unknown());
        }
        let count = raw.size.div_ceil(f::BLOCK << f::chunk_bits(raw.size));
        let list = self.get(
            raw.tail.next_multiple_of(f::CHUNK),
            usize::try_from(count * f::CHUNK).unwrap_or_default(),
        )?;
        let first = u64::from(u32_at(&list, 4));
        let number = u16_at(&list, 2);
        for (index, chunk) in (0..count).zip(list.chunks_exact(8)) {
            let expected = first + (index << f::chunk_bits(raw.size));
            if u16_at(chunk, 2) != number || u64::from(u32_at(chunk, 4)) != expected {
                return Err(unknown());
            }
        }
        let (backing, device) = match number {
            f::TAR_DEVICE => (Backing::Tar, Some(&self.inner.tar)),
            f::SIDE_DEVICE => (Backing::Side, self.inner.side.as_ref()),
            _ => return Err(unknown()),
        };
        let end = first + raw.size.div_ceil(f::BLOCK);
        if device.is_none_or(|device| end > device.blocks) {
            return Err(self.damaged("the data of a file lies outside of the layer"));
        }
        let offset = first * f::BLOCK;
        Ok(Location {
            backing,
            offset,
            len: raw.size,
        })
    }

    /// The opened `layer.tar` or `side`.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn backing(&self, backing: Backing) -> Result<Arc<File>> {
        let inner = &self.inner;
        let (device, path) = match backing {
            Backing::Tar => (Some(&inner.tar), &inner.files.tar),
            Backing::Side => (inner.side.as_ref(), &inner.files.side),
        };
        let device = device.ok_or_else(|| self.damaged("the layer has no further file"))?;
        if let Some(file) = device.file.get() {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(sys::fs::open(path)?);
        Ok(Arc::clone(device.file.get_or_init(|| file)))
    }

    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// The index is damaged or cannot be read, `node` is not a regular file, or its data cannot be opened.
    pub fn open_file(&self, node: NodeId) -> Result<FileReader> {
        let location = self.location(node)?;
        Ok(FileReader::new(self.backing(location.backing)?, location))
    }
}
