//! A layer as a directory tree, for overlays where the kernel cannot mount the index.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::root::{Kind as Sort, Links, Root, Time as SysTime};

use crate::erofs::file::FileReader;
use crate::erofs::read::{FileType, Index, IndexError, NodeId, Stat};
use crate::path;

/// Why a layer could not be unpacked. What was made so far stays for the caller to remove.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The layer could not be read.
    #[error(transparent)]
    Layer(#[from] IndexError),
    /// Something could not be made.
    #[error(transparent)]
    Make(#[from] sys::fs::Error),
    /// The content of a file could not be copied.
    #[error("cannot copy the content of `{}`: {source}", path::shown(.path))]
    Copy {
        /// Which.
        path: Vec<u8>,
        /// Why.
        source: io::Error,
    },
}

/// Which attributes tell overlayfs about opaque directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marks {
    /// `trusted.overlay.`, which only the first root user may set.
    #[default]
    Trusted,
    /// `user.overlay.`, for overlays mounted with `userxattr`.
    User,
}

/// What to do about what only a privileged user can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnpackOptions {
    /// The spelling of opaque directories.
    pub marks: Marks,
    /// Leave devices out instead of failing to make them, as every rootless tool does. Deletions are made in any case.
    pub skip_devices: bool,
    /// Leave out the extended attributes that may not be set here (and report how many) instead of failing.
    pub skip_xattrs: bool,
    /// Everything belongs to who unpacks.
    pub ignore_owners: bool,
}

/// What was left out by leave of the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Devices.
    pub devices: u64,
    /// Extended attributes.
    pub xattrs: u64,
}

/// Makes the tree of `index` in `root`, an empty directory, deletions in the form that overlayfs wants.
///
/// Every name is made in a handle on its directory, and nothing on the way is followed, so whatever the layer holds stays
/// inside. Nothing is synced.
///
/// # Errors
///
/// See [`UnpackError`].
pub fn unpack(
    index: &Index,
    root: &Root,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let mut unpack = Unpack {
        index,
        root: root
            .open_dir(Path::new("."))
            .map(|root| root.with_links(Links::Refuse))?,
        options: *options,
        first: HashMap::new(),
        left_out: Unpacked::default(),
        left: index.most_entries(),
    };
    let mut pending = vec![Pending::Fill(Vec::new(), index.root())];
    while let Some(next) = pending.pop() {
        match next {
            Pending::Fill(path, node) => {
                // Once all below it is there, so that its time stays and a read-only one can be filled.
                pending.push(Pending::Finish(path.clone(), node));
                unpack.fill(&path, node, &mut pending)?;
            }
            Pending::Finish(path, node) => unpack.finish(&path, node)?,
        }
    }
    Ok(unpack.left_out)
}

enum Pending {
    /// A directory whose entries are to be made.
    Fill(Vec<u8>, NodeId),
    /// A directory whose metadata is to be set.
    Finish(Vec<u8>, NodeId),
}

struct Unpack<'a> {
    index: &'a Index,
    root: Root,
    options: UnpackOptions,
    /// First name of each inode that has several.
    first: HashMap<NodeId, Vec<u8>>,
    left_out: Unpacked,
    /// Entries that the index can have at most.
    left: u64,
}

impl Unpack<'_> {
    fn damaged(&self, what: &'static str) -> UnpackError {
        UnpackError::Layer(IndexError::Damaged {
            path: self.index.files().index.clone(),
            what,
        })
    }

    fn fill(
        &mut self,
        path: &[u8],
        node: NodeId,
        pending: &mut Vec<Pending>,
    ) -> Result<(), UnpackError> {
        let entries = self.index.read_dir(node)?;
        self.left = self.left.saturating_sub(entries.len() as u64);
        if (self.left == 0 && !entries.is_empty()) || path.len() > path::MAX_PATH {
            return Err(self.damaged("it has more entries than fit into it"));
        }
        let dir = self.root.open_dir(as_path(path))?.with_links(Links::Refuse);
        for entry in entries {
            let mut full = path.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(&entry.name);
            let name = as_path(&entry.name);
            if entry.kind == FileType::Dir {
                dir.mkdir(name, 0o700)?;
                pending.push(Pending::Fill(full, entry.node));
                continue;
            }
            self.make(&dir, name, &full, entry.node)?;
        }
        Ok(())
    }

    /// Makes what is not a directory.
    fn make(
        &mut self,
        dir: &Root,
        name: &Path,
        full: &[u8],
        node: NodeId,
    ) -> Result<(), UnpackError> {
        let stat = self.index.stat(node)?;
        if stat.kind == FileType::Whiteout {
            return Ok(dir.mknod(name, Sort::CharDevice, 0, (0, 0))?);
        }
        if stat.nlink > 1
            && let Some(first) = self.first.get(&node)
        {
            match self.root.hard_link(as_path(first), as_path(full)) {
                // ext4 allows 65,000 names, the index more: the rest get a file of their own.
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
                made => return Ok(made?),
            }
        }
        match stat.kind {
            FileType::File => {
                let mut file = dir.create(name, 0o600)?;
                let source = self.index.open_file(node)?;
                copy(&source, &mut file).map_err(|source| UnpackError::Copy {
                    path: full.to_vec(),
                    source,
                })?;
            }
            FileType::Symlink => {
                let target = self.index.read_link(node)?;
                dir.symlink(OsStr::from_bytes(&target), name)?;
            }
            FileType::CharDevice | FileType::BlockDevice if self.options.skip_devices => {
                self.left_out.devices += 1;
                return Ok(());
            }
            FileType::CharDevice => dir.mknod(name, Sort::CharDevice, 0o600, stat.rdev)?,
            FileType::BlockDevice => dir.mknod(name, Sort::BlockDevice, 0o600, stat.rdev)?,
            FileType::Fifo => dir.mknod(name, Sort::Fifo, 0o600, (0, 0))?,
            FileType::Dir | FileType::Whiteout => {
                return Err(self.damaged("an entry is not what its directory says"));
            }
        }
        if stat.nlink > 1 {
            self.first.insert(node, full.to_vec());
        }
        self.describe(dir, name, &stat)
    }

    fn finish(&mut self, path: &[u8], node: NodeId) -> Result<(), UnpackError> {
        let stat = self.index.stat(node)?;
        let (parent, name) = match as_path(path).file_name() {
            Some(name) => (
                as_path(path).parent().unwrap_or(Path::new("")),
                Path::new(name),
            ),
            None => (Path::new(""), Path::new(".")),
        };
        let dir = self.root.open_dir(parent)?.with_links(Links::Refuse);
        if stat.opaque {
            let mark = match self.options.marks {
                Marks::Trusted => "trusted.overlay.opaque",
                Marks::User => "user.overlay.opaque",
            };
            dir.set_xattr(name, OsStr::new(mark), b"y")?;
        }
        self.describe(&dir, name, &stat)
    }

    /// Sets the metadata: the owner first, since that takes set-user-id bits and capabilities away, the time last.
    fn describe(&mut self, dir: &Root, name: &Path, stat: &Stat) -> Result<(), UnpackError> {
        if !self.options.ignore_owners {
            dir.chown(name, stat.uid, stat.gid)?;
        }
        if stat.kind != FileType::Symlink {
            dir.chmod(name, stat.mode)?;
        }
        for (key, value) in &stat.xattrs {
            match dir.set_xattr(name, OsStr::from_bytes(key), value) {
                Ok(()) => {}
                Err(error) if self.options.skip_xattrs && may_not(&error) => {
                    self.left_out.xattrs += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        dir.set_mtime(
            name,
            SysTime {
                secs: stat.mtime.secs,
                nanos: stat.mtime.nanos,
            },
        )?;
        Ok(())
    }
}

fn may_not(error: &sys::fs::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

fn copy(source: &FileReader, to: &mut File) -> io::Result<()> {
    let (file, location) = source.source();
    let copied = sys::copy::range(file, location.offset, to, location.len)?;
    if copied != location.len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
