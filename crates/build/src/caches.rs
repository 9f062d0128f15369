//! `RUN --mount=type=cache`: directories that outlive the build.
//!
//! A cache is one directory of the store; what RUN sees is `content` in it, which appears whole: it is filled beside and renamed. First
//! content is copied from an image, each file by a handle on its directory and without following a link, and the mount
//! shows that copy's root; so no link that an earlier step left in a cache can lead the mount anywhere (CVE-2024-9675).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dockerfile::mount::{Mount, Sharing};
use layer::{FileType, IndexError};
use store::{Cache, Lease, Store};
use sys::fs::Context as _;
use sys::root::{Kind, Links, Root};

use crate::error::StepError;
use crate::exec::ExecError;
use crate::rootfs::Rootfs;

/// Why a cache could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Its files.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// The image that its first content comes from.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There is no such directory in the image.
    #[error("`{0}` is no directory of the image that the cache begins with")]
    NoSource(String),
}

/// How a cache begins.
pub(crate) struct Beginning<'a> {
    pub(crate) id: &'a str,
    pub(crate) mount: &'a Mount,
    /// Where its first content comes from; empty if nowhere.
    pub(crate) from: Option<Rootfs>,
}

/// The cache, made if it is new, and the directory to mount. A private cache that somebody else uses is waited for, too.
pub(crate) fn open(
    store: &Store,
    lease: &Lease,
    begin: &Beginning<'_>,
) -> Result<(Cache, PathBuf), StepError> {
    let exclusive = begin.mount.sharing != Sharing::Shared;
    let cache = store.cache(begin.id, exclusive)?;
    let content = cache.path().join("content");
    if !sys::fs::exists(&content) {
        let fresh = lease.temporary("cache");
        fill(begin, &fresh).map_err(ExecError::from)?;
        match sys::fs::rename(&fresh, &content) {
            // Another build was as quick; an empty one would have been replaced.
            Err(_) if sys::fs::exists(&content) => {}
            other => other.map_err(ExecError::from)?,
        }
    }
    Ok((cache, content))
}

fn fill(begin: &Beginning<'_>, fresh: &Path) -> Result<(), CacheError> {
    sys::fs::create_dir(fresh)?;
    let root = Root::open(fresh)?.with_links(Links::Refuse);
    let here = Path::new(".");
    root.chown(
        here,
        begin.mount.uid.unwrap_or(0),
        begin.mount.gid.unwrap_or(0),
    )?;
    root.chmod(here, begin.mount.mode.unwrap_or(0o755))?;
    match &begin.from {
        Some(from) => copy(from, &begin.mount.source, &root),
        None => Ok(()),
    }
}

/// Copies a directory of an image.
fn copy(from: &Rootfs, source: &str, root: &Root) -> Result<(), CacheError> {
    let view = from.view();
    let way = from.way(source.as_bytes())?;
    let top = match way.components.last() {
        None => view.root()?,
        Some(last) => last.node.clone(),
    };
    let Some(top) = top.filter(|top| top.kind() == FileType::Dir) else {
        return Err(CacheError::NoSource(source.to_owned()));
    };
    for entry in view.walk(b"", top).skip(1) {
        let (path, node) = entry?;
        let path = Path::new(OsStr::from_bytes(&path));
        let stat = from.stat(&node)?;
        match stat.kind {
            FileType::Dir => root.mkdir(path, 0o700)?,
            FileType::File => {
                let mut file = root.create(path, 0o600)?;
                let copied = std::io::copy(&mut view.open(&node)?, &mut file);
                copied.context("write", &root.path().join(path))?;
            }
            FileType::Symlink => root.symlink(OsStr::from_bytes(&view.read_link(&node)?), path)?,
            FileType::Fifo => root.mknod(path, Kind::Fifo, 0o600, (0, 0))?,
            // A cache has no use for devices, and an ordinary user cannot make them.
            FileType::CharDevice | FileType::BlockDevice | FileType::Whiteout => continue,
        }
        root.chown(path, stat.uid, stat.gid)?;
        if stat.kind != FileType::Symlink {
            root.chmod(path, stat.mode)?;
        }
    }
    Ok(())
}
