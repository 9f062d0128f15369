//! `RUN --mount=type=cache`: directories that outlive the build.
//!
//! A cache is one directory of the store; what RUN sees is `content` in it, which appears whole: it is filled beside and renamed. First
//! content is copied from an image, each file by a handle on its directory and without following a link, and the mount
//! shows that copy's root; so no link that an earlier step left in a cache can lead the mount anywhere (CVE-2024-9675).
//!
//! The store's lock on the cache is how steps share it: `shared` holds it together, `locked` waits for it alone, `private` takes another
//! cache if somebody has the first one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dockerfile::mount::{Mount, Sharing};
use layer::{FileType, IndexError};
use oci::DiffId;
use runtime::MountSource;
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
    /// What was asked for is not in the cache.
    #[error("`{0}` is not in the cache; links in a cache do not lead out of it")]
    NotInside(String),
}

/// The directory in a cache that RUN sees.
const CONTENT: &str = "content";

/// A cache that a mount wants.
pub(crate) struct Wanted<'a> {
    /// What the store knows it by.
    name: String,
    mount: &'a Mount,
    /// Where its first content comes from; nowhere if there is nothing there.
    from: Option<Rootfs>,
}

impl<'a> Wanted<'a> {
    /// What two mounts must agree on to have one cache: namespace and id, and how it begins. One with an owner or a mode of its
    /// own, or with content of an image, is never one that began otherwise, since its root would not be what was asked for.
    pub(crate) fn new(
        namespace: &str,
        mount: &'a Mount,
        from: Option<(&[DiffId], Rootfs)>,
    ) -> Self {
        let mut name = format!("{namespace}/{}", mount.cache_id());
        let own = begins_with_an_owner(mount);
        if own {
            let (mode, uid, gid) = looks(mount);
            name.push_str(&format!("\0{mode:o} {uid}:{gid}"));
        }
        if let Some((layers, _)) = &from {
            let layers: Vec<String> = layers.iter().map(DiffId::to_string).collect();
            name.push_str(&format!("\0from {} {}", layers.join(","), mount.source));
        }
        Self {
            name,
            mount,
            from: from.map(|(_, from)| from),
        }
    }
}

/// Whether the Dockerfile says whose the cache's root is.
fn begins_with_an_owner(mount: &Mount) -> bool {
    mount.mode.is_some() || mount.uid.is_some() || mount.gid.is_some()
}

/// Mode, user and group of a cache's root.
fn looks(mount: &Mount) -> (u32, u32, u32) {
    (
        mount.mode.unwrap_or(0o755),
        mount.uid.unwrap_or(0),
        mount.gid.unwrap_or(0),
    )
}

/// Caches that are in use.
pub(crate) struct Opened {
    /// Not to be pruned while this lives.
    pub(crate) caches: Vec<Cache>,
    /// What to mount, in the order in which they were wanted.
    pub(crate) sources: Vec<MountSource>,
}

/// Opens the caches of one step, making those that are new.
///
/// They are taken in the order of their names, each once: a step that needs two never waits for one that has the second and
/// needs the first. `waiting` hears of a cache that somebody else has alone. With `emptied`, under `--no-cache`, caches with an owner or mode of
/// their own begin anew, once in a build; it has the names of those that did.
pub(crate) fn open(
    store: &Store,
    lease: &Lease,
    wanted: &[Wanted<'_>],
    mut emptied: Option<&mut BTreeSet<String>>,
    waiting: &mut dyn FnMut(&str),
) -> Result<Opened, StepError> {
    let mut names: BTreeMap<&str, &Wanted<'_>> = BTreeMap::new();
    for want in wanted {
        let known = names.entry(&want.name).or_insert(want);
        if strength(want) > strength(known) {
            *known = want;
        }
    }
    let mut caches = BTreeMap::new();
    for (name, want) in names {
        let anew = emptied.as_mut().is_some_and(|emptied| {
            begins_with_an_owner(want.mount)
                && want.from.is_none()
                && emptied.insert(name.to_owned())
        });
        let cache = take(store, lease, want, anew, waiting)?;
        let content = fill(lease, want, &cache)?;
        caches.insert(name, (cache, content));
    }
    let mut sources = Vec::with_capacity(wanted.len());
    for want in wanted {
        if let Some((_, content)) = caches.get(&*want.name) {
            sources.push(source(want, content).map_err(ExecError::from)?);
        }
    }
    Ok(Opened {
        caches: caches.into_values().map(|(cache, _)| cache).collect(),
        sources,
    })
}

/// Of two mounts of one cache in a step the stricter one counts.
fn strength(want: &Wanted<'_>) -> u8 {
    match want.mount.sharing {
        Sharing::Shared => 0,
        Sharing::Private => 1,
        Sharing::Locked => 2,
    }
}

/// Takes hold of one cache as its sharing says; with `anew` it has no content afterwards.
fn take(
    store: &Store,
    lease: &Lease,
    want: &Wanted<'_>,
    anew: bool,
    waiting: &mut dyn FnMut(&str),
) -> Result<Cache, StepError> {
    let name = &want.name;
    let sharing = want.mount.sharing;
    if anew
        && sharing == Sharing::Shared
        && let Some(cache) = store.try_cache(name, true)?
    {
        discard(lease, &cache)?;
        drop(cache);
        return Ok(store.cache(name, false)?);
    }
    let cache = match sharing {
        Sharing::Private => store.private_cache(name)?,
        Sharing::Shared | Sharing::Locked => {
            let alone = sharing == Sharing::Locked;
            match store.try_cache(name, alone)? {
                Some(cache) => cache,
                None => {
                    waiting(&want.mount.cache_id());
                    store.cache(name, alone)?
                }
            }
        }
    };
    if anew && sharing == Sharing::Shared {
        set_aside(lease, &cache)?;
    } else if anew {
        discard(lease, &cache)?;
    }
    Ok(cache)
}

/// Throws away what a cache has, and what was set aside in it. Nobody else uses it.
fn discard(lease: &Lease, cache: &Cache) -> Result<(), StepError> {
    let entries = sys::fs::read_dir(cache.path()).map_err(ExecError::from)?;
    for entry in entries.flatten() {
        // It goes with the lease.
        let gone = sys::fs::rename(&entry.path(), &lease.temporary("gone"));
        sys::fs::optional(gone).map_err(ExecError::from)?;
    }
    Ok(())
}

/// Parts what a cache has from its name, for those who use it; whoever has it alone one day throws it away.
fn set_aside(lease: &Lease, cache: &Cache) -> Result<(), StepError> {
    let unique = lease.temporary("old");
    let name = unique.file_name().unwrap_or_default().to_string_lossy();
    let aside = cache.path().join(format!("{name}-{}", lease.id()));
    let moved = sys::fs::rename(&cache.path().join(CONTENT), &aside);
    sys::fs::optional(moved).map_err(ExecError::from)?;
    Ok(())
}

/// The directory with a cache's content, made if it has none.
fn fill(lease: &Lease, want: &Wanted<'_>, cache: &Cache) -> Result<PathBuf, StepError> {
    let content = cache.path().join(CONTENT);
    if !sys::fs::exists(&content) {
        let fresh = lease.temporary("cache");
        begin(want, &fresh).map_err(ExecError::from)?;
        match sys::fs::rename(&fresh, &content) {
            // Another build was as quick; an empty one would have been replaced.
            Err(_) if sys::fs::exists(&content) => {}
            other => other.map_err(ExecError::from)?,
        }
    }
    Ok(content)
}

/// What of a cache is mounted. What its `source` names is looked for inside it, and is what it is now: a link that an earlier
/// step left there leads nowhere else (CVE-2024-23651).
fn source(want: &Wanted<'_>, content: &Path) -> Result<MountSource, CacheError> {
    let path = dockerfile::path::join("/", &want.mount.source);
    if want.from.is_some() || path == "/" {
        return Ok(MountSource::Bind {
            path: content.to_owned(),
            recursive: false,
        });
    }
    match sys::fs::optional(Root::open(content)?.metadata(Path::new(&path)))? {
        Some(_) => Ok(MountSource::Within {
            folder: content.to_owned(),
            path: PathBuf::from(path),
        }),
        None => Err(CacheError::NotInside(want.mount.source.clone())),
    }
}

fn begin(want: &Wanted<'_>, fresh: &Path) -> Result<(), CacheError> {
    sys::fs::create_dir(fresh)?;
    let root = Root::open(fresh)?.with_links(Links::Refuse);
    let here = Path::new(".");
    let (mode, uid, gid) = looks(want.mount);
    root.chown(here, uid, gid)?;
    root.chmod(here, mode)?;
    match &want.from {
        Some(from) => copy(from, &want.mount.source, &root),
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
