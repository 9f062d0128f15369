//! What a container changed becomes a layer: from an overlay's upper directory to entries.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sys::root::{Kind as Sort, Links, Root, Stat};

use crate::ingest::{Ingest, IngestError};
use crate::meta::{Kind, Meta, Time, is_overlay_xattr};
use crate::path;
use crate::view::{Follow, View};
use crate::{FileType, IndexError};

/// Why an upper directory could not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Something in it could not be read.
    #[error(transparent)]
    Read(#[from] sys::fs::Error),
    /// The layer could not be made.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A layer below could not be read.
    #[error(transparent)]
    Below(#[from] IndexError),
    /// The overlay was mounted with an option under which its upper directory does not say all.
    #[error("`{}` has the attribute `{attribute}`, whose meaning is in the lower layers", path::shown(.path))]
    Incomplete {
        /// Of what.
        path: Vec<u8>,
        /// `redirect` or `metacopy`.
        attribute: &'static str,
    },
}

/// Says of a path from the root of the layer whether it is left out.
pub type Skip<'a> = &'a dyn Fn(&[u8]) -> bool;

/// How an upper directory is read.
#[derive(Default)]
pub struct CaptureOptions<'a> {
    /// Keep fractions of a second. They cost an extended header, 1 KiB, for every entry; the layers of other builders have
    /// none.
    pub fractions: bool,
    /// Latest time that an entry may have; later ones are set to it.
    pub latest: Option<Time>,
    /// Begin with an entry for the root directory itself.
    pub root: bool,
    /// Paths to leave out, and all below them: what was mounted over, or put there for the container only.
    pub skip: Option<Skip<'a>>,
    /// What lies below. The kernel marks every new directory as one that hides all below it; only where there is a directory
    /// below does that say anything, and only there is it kept. Without it, it is kept everywhere.
    pub below: Option<&'a View>,
}

impl std::fmt::Debug for CaptureOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureOptions")
            .field("fractions", &self.fractions)
            .field("latest", &self.latest)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// What overlayfs noted about an entry.
#[derive(Debug, Default)]
struct Marks {
    opaque: bool,
    whiteout: bool,
    /// The attributes that are content.
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Appends what `upper`, the upper directory of an overlay that nobody uses any more, says to `ingest`; gives the number of entries.
///
/// The order is that of the names, a directory before what is in it. Deletions and opaque directories become what a tar has for
/// them; hard links within `upper` stay hard links; sockets and the attributes of overlayfs are left out. An empty
/// upper directory gives no entry.
///
/// # Errors
///
/// See [`CaptureError`]; `ingest` is useless then.
pub fn capture(
    upper: &Path,
    ingest: &mut Ingest,
    options: &CaptureOptions<'_>,
) -> Result<u64, CaptureError> {
    let before = ingest.entries();
    let mut capture = Capture {
        root: Root::open(upper)?.with_links(Links::Refuse),
        ingest,
        options,
        links: HashMap::new(),
    };
    let stat = capture.root.stat(Path::new("."))?;
    let marks = capture.marks(&capture.root, Path::new("."), b"/")?;
    if options.root {
        let meta = capture.meta(Kind::Dir, &stat, marks.xattrs);
        capture.ingest.append_bytes(b"./", &meta, b"")?;
    }
    if marks.opaque {
        capture.ingest.opaque(b"")?;
    }
    // Directories still to be listed, the next one last. Entries of one directory are contiguous in the tar only
    // as far as the order of names wants it.
    let mut pending = vec![Pending::Directory(Vec::new())];
    while let Some(next) = pending.pop() {
        match next {
            Pending::Directory(path) => capture.list(&path, &mut pending)?,
            Pending::Entry(path, sort) => capture.entry(&path, sort, &mut pending)?,
        }
    }
    Ok(ingest.entries() - before)
}

enum Pending {
    Directory(Vec<u8>),
    Entry(Vec<u8>, Sort),
}

struct Capture<'a, 'b> {
    root: Root,
    ingest: &'a mut Ingest,
    options: &'a CaptureOptions<'b>,
    /// First name of each inode that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Capture<'_, '_> {
    fn list(&self, dir: &[u8], pending: &mut Vec<Pending>) -> Result<(), CaptureError> {
        let mut entries = self.root.read_dir(as_path(dir))?;
        entries.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        for entry in entries {
            let mut path = dir.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name.as_bytes());
            if self.options.skip.is_some_and(|skip| skip(&path)) {
                continue;
            }
            pending.push(Pending::Entry(path, entry.kind));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &[u8],
        sort: Sort,
        pending: &mut Vec<Pending>,
    ) -> Result<(), CaptureError> {
        if sort == Sort::Socket {
            return Ok(());
        }
        // One resolution of the parent for all that follows.
        let parent = as_path(path).parent().unwrap_or(Path::new("")).to_owned();
        let name = PathBuf::from(as_path(path).file_name().unwrap_or_default());
        let dir = self.root.open_dir(&parent)?.with_links(Links::Refuse);
        let stat = dir.stat(&name)?;
        if stat.kind == Sort::CharDevice && stat.rdev == (0, 0) {
            return Ok(self.ingest.whiteout(path)?);
        }
        let marks = self.marks(&dir, &name, path)?;
        if marks.whiteout && stat.kind == Sort::File {
            return Ok(self.ingest.whiteout(path)?);
        }
        if stat.kind != Sort::Dir && stat.nlink > 1 {
            if let Some(first) = self.links.get(&(stat.dev, stat.ino)) {
                let target = first.clone();
                let meta = self.meta(Kind::HardLink { target }, &stat, Vec::new());
                self.ingest.append_bytes(path, &meta, b"")?;
                return Ok(());
            }
            self.links.insert((stat.dev, stat.ino), path.to_vec());
        }
        let (major, minor) = stat.rdev;
        let kind = match stat.kind {
            Sort::File => {
                let file = dir.open_file(&name)?;
                let meta = self.meta(Kind::File { size: stat.size }, &stat, marks.xattrs);
                self.ingest.append_file(path, &meta, &file, 0)?;
                return Ok(());
            }
            Sort::Dir => Kind::Dir,
            Sort::Symlink => Kind::Symlink {
                target: dir.read_link(&name)?.into_vec(),
            },
            Sort::CharDevice => Kind::CharDevice { major, minor },
            Sort::BlockDevice => Kind::BlockDevice { major, minor },
            Sort::Fifo => Kind::Fifo,
            Sort::Socket => return Ok(()),
        };
        let is_dir = kind == Kind::Dir;
        let meta = self.meta(kind, &stat, marks.xattrs);
        self.ingest.append_bytes(path, &meta, b"")?;
        if is_dir {
            if marks.opaque && self.hides(path)? {
                self.ingest.opaque(path)?;
            }
            pending.push(Pending::Directory(path.to_vec()));
        }
        Ok(())
    }

    /// Whether there is a directory below that an opaque one at `path` hides.
    fn hides(&self, path: &[u8]) -> Result<bool, CaptureError> {
        let Some(below) = self.options.below else {
            return Ok(true);
        };
        let found = below.lookup(path, Follow::No)?;
        Ok(found.is_some_and(|found| found.kind() == FileType::Dir))
    }

    fn meta(&self, kind: Kind, stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Meta {
        let mut mtime = Time {
            secs: stat.mtime.secs,
            nanos: stat.mtime.nanos,
        };
        if let Some(latest) = self.options.latest {
            mtime = mtime.min(latest);
        }
        if !self.options.fractions {
            mtime.nanos = 0;
        }
        Meta {
            kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime,
            xattrs,
        }
    }

    fn marks(&self, dir: &Root, name: &Path, path: &[u8]) -> Result<Marks, CaptureError> {
        let mut marks = Marks::default();
        for (name, value) in dir.xattrs(name)? {
            let name = name.into_vec();
            if !is_overlay_xattr(&name) {
                marks.xattrs.push((name, value));
                continue;
            }
            let last = name.rsplit(|byte| *byte == b'.').next();
            match (last.unwrap_or_default(), &value[..]) {
                (b"opaque", b"y") => marks.opaque = true,
                (b"whiteout", _) => marks.whiteout = true,
                (b"redirect", _) => {
                    return Err(CaptureError::Incomplete {
                        path: path.to_vec(),
                        attribute: "redirect",
                    });
                }
                (b"metacopy", _) => {
                    return Err(CaptureError::Incomplete {
                        path: path.to_vec(),
                        attribute: "metacopy",
                    });
                }
                // `origin`, `impure`, `nlink` and the like help overlayfs and say nothing about the content.
                _ => {}
            }
        }
        Ok(marks)
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
