//! What a container changed becomes a layer: from an overlay's upper directory to entries.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use sys::root::{Kind as Sort, Links, Pinned, Root, Stat, Time as Moment, present};

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

/// Appends what `upper`, the upper directory of an overlay, says to `ingest`; gives the number of entries.
///
/// While somebody still uses the overlay the result is whole, but not of one moment: what vanishes before it is read is left out,
/// each entry is what it was when it was reached, and a file that changes its size meanwhile is cut or filled with zeros.
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
    let marks = marks(capture.root.xattrs(Path::new("."))?, b"/")?;
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
            Pending::Entry(path) => capture.entry(&path, &mut pending)?,
        }
    }
    Ok(ingest.entries() - before)
}

enum Pending {
    Directory(Vec<u8>),
    Entry(Vec<u8>),
}

/// The first name of a file that has several.
struct First {
    path: Vec<u8>,
    /// While somebody writes, a number can come back as that of another file: then these differ.
    size: u64,
    mtime: Moment,
}

struct Capture<'a, 'b> {
    root: Root,
    ingest: &'a mut Ingest,
    options: &'a CaptureOptions<'b>,
    /// By device and number.
    links: HashMap<(u64, u64), First>,
}

impl Capture<'_, '_> {
    fn list(&self, dir: &[u8], pending: &mut Vec<Pending>) -> Result<(), CaptureError> {
        let Some(mut entries) = present(self.root.read_dir(as_path(dir)))? else {
            return Ok(());
        };
        entries.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        // While somebody writes, a directory can list a name twice.
        entries.dedup_by(|a, b| a.name == b.name);
        for entry in entries {
            let mut path = dir.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name.as_bytes());
            if self.options.skip.is_some_and(|skip| skip(&path)) {
                continue;
            }
            pending.push(Pending::Entry(path));
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], pending: &mut Vec<Pending>) -> Result<(), CaptureError> {
        let Some(found) = present(self.root.pin(as_path(path)))? else {
            return Ok(());
        };
        let stat = found.stat()?;
        if stat.kind == Sort::Socket {
            return Ok(());
        }
        if stat.kind == Sort::CharDevice && stat.rdev == (0, 0) {
            return Ok(self.ingest.whiteout(path)?);
        }
        let marks = marks(found.xattrs()?, path)?;
        if marks.whiteout && stat.kind == Sort::File {
            return Ok(self.ingest.whiteout(path)?);
        }
        if self.is_one_more_name(path, &stat)? {
            return Ok(());
        }
        self.append(path, &found, &stat, marks.xattrs)?;
        if stat.kind == Sort::Dir {
            if marks.opaque && self.hides(path)? {
                self.ingest.opaque(path)?;
            }
            pending.push(Pending::Directory(path.to_vec()));
        } else if stat.nlink > 1 {
            let first = First {
                path: path.to_vec(),
                size: stat.size,
                mtime: stat.mtime,
            };
            self.links.insert((stat.dev, stat.ino), first);
        }
        Ok(())
    }

    /// True for a file that the layer has under another name; then this name is there, too.
    fn is_one_more_name(&mut self, path: &[u8], stat: &Stat) -> Result<bool, CaptureError> {
        if stat.kind == Sort::Dir || stat.nlink < 2 {
            return Ok(false);
        }
        let target = match self.links.get(&(stat.dev, stat.ino)) {
            Some(first) if first.size == stat.size && first.mtime == stat.mtime => {
                first.path.clone()
            }
            _ => return Ok(false),
        };
        let meta = self.meta(Kind::HardLink { target }, stat, Vec::new());
        self.ingest.append_bytes(path, &meta, b"")?;
        Ok(true)
    }

    /// The entry itself, and of a file the content.
    fn append(
        &mut self,
        path: &[u8],
        found: &Pinned,
        stat: &Stat,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), CaptureError> {
        let (major, minor) = stat.rdev;
        let kind = match stat.kind {
            Sort::File => {
                let file = found.open_file()?;
                let meta = self.meta(Kind::File { size: stat.size }, stat, xattrs);
                self.ingest.append_moving_file(path, &meta, &file)?;
                return Ok(());
            }
            Sort::Dir => Kind::Dir,
            Sort::Symlink => Kind::Symlink {
                target: found.read_link()?.into_vec(),
            },
            Sort::CharDevice => Kind::CharDevice { major, minor },
            Sort::BlockDevice => Kind::BlockDevice { major, minor },
            Sort::Fifo => Kind::Fifo,
            Sort::Socket => return Ok(()),
        };
        let meta = self.meta(kind, stat, xattrs);
        self.ingest.append_bytes(path, &meta, b"")?;
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
}

/// Sorts the attributes of the entry at `path`.
fn marks(xattrs: Vec<(OsString, Vec<u8>)>, path: &[u8]) -> Result<Marks, CaptureError> {
    let mut marks = Marks::default();
    for (name, value) in xattrs {
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

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
