//! The folder itself: where everything is, and making it.
//!
//! ```text
//! format  lock  barque.db  blobs/  layers/  containers/  caches/  contexts/  tmp/  damaged/
//! ```
//!
//! Only this module knows paths. The folder has mode 0700, since it holds set-user-id programs of images, and is refused if it
//! belongs to somebody else. A folder that has files but no `format` is refused before anything is touched, except one in which
//! an earlier creation was interrupted: that begins with `lock`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use oci::{DiffId, Digest};
use sys::fs::{self, Context as _};
use sys::lock::{Lock, Mode};

use crate::error::{Error, Result};
use crate::format::{self, Format};

/// The permission bits of the folder, see CVE-2021-41091.
pub(crate) const MODE: u32 = 0o700;

/// The directories of a store.
pub(crate) const DIRECTORIES: &[&str] = &[
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "containers",
    "caches",
    "contexts",
    "tmp",
];

/// Everything that may lie in the folder.
pub(crate) const NAMES: &[&str] = &[
    "format",
    "lock",
    "barque.db",
    "barque.db-wal",
    "barque.db-shm",
    "barque.db-journal",
    "blobs",
    "layers",
    "containers",
    "caches",
    "contexts",
    "tmp",
    "damaged",
];

/// The unpacked form of a layer: which attributes mark whiteouts in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flavour {
    /// Opaque directories have `trusted.overlay.opaque`, for mounts by the real root.
    Trusted,
    /// Opaque directories have `user.overlay.opaque`, for mounts in a user namespace.
    User,
}

impl Flavour {
    /// The directory's name beside `layer.tar`.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Trusted => "tree",
            Self::User => "tree-user",
        }
    }
}

/// Paths in one store.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("barque.db")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn caches(&self) -> PathBuf {
        self.root.join("caches")
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.root.join("contexts")
    }

    pub(crate) fn blobs(&self, algorithm: oci::Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn layer(&self, id: &DiffId) -> PathBuf {
        let digest = id.digest();
        self.layers()
            .join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// A name in `tmp/` that nobody else has.
    pub(crate) fn fresh(&self, kind: &str) -> PathBuf {
        self.tmp().join(format!("{kind}-{}", random_hex(8)))
    }

    /// Moves `path` to where a person can look at it. Returns where that is, unless there was nothing.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>> {
        make_dir(&self.damaged())?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let to = self.damaged().join(format!("{name}-{}", random_hex(4)));
        Ok(fs::optional(fs::rename(path, &to))?.map(|()| to))
    }

    /// Moves `path` to where only the sweeper looks. True if there was something.
    pub(crate) fn trash(&self, path: &Path) -> Result<bool> {
        let to = self.fresh(TRASH);
        Ok(fs::optional(fs::rename(path, &to))?.is_some())
    }
}

/// How names in `tmp/` begin of what only waits to be deleted.
pub(crate) const TRASH: &str = "trash";

/// The layer whose directory has this name, if it is one that [`Folder::layer`] makes.
pub(crate) fn layer_of_directory(name: &str) -> Option<DiffId> {
    let (algorithm, hex) = name.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// `2 * bytes` random hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> String {
    use std::fmt::Write as _;
    let mut buffer = [0; 32];
    let buffer = &mut buffer[..bytes];
    let mut filled = 0;
    while filled < buffer.len() {
        // Fails only when interrupted or, before the first seed, never: the call waits.
        match rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty())
        {
            Ok(count) => filled += count,
            Err(_) => std::thread::yield_now(),
        }
    }
    buffer.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Finds the store at `root`, or makes one there.
pub(crate) fn open(root: &Path, create: bool) -> Result<Folder> {
    let root = std::path::absolute(root).context("resolve", root)?;
    let folder = Folder { root };
    match read_format(&folder)? {
        Some(format) => format.check(folder.root())?,
        None => {
            refuse_strangers(&folder, create)?;
            make(&folder)?;
        }
    }
    // Links on the way to the store are the user's to make; from here on there are none.
    let folder = Folder {
        root: fs::canonicalize(&folder.root)?,
    };
    let meta = fs::metadata(folder.root())?;
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user {
        return Err(Error::Owner {
            root: folder.root,
            owner: meta.uid(),
            user,
        });
    }
    // Opened to others by a careless hand: close it before anything is served from it.
    if meta.permissions().mode() & 0o077 != 0 {
        fs::set_mode(folder.root(), MODE)?;
    }
    Ok(folder)
}

fn read_format(folder: &Folder) -> Result<Option<Format>> {
    use std::io::Read as _;
    let path = folder.format();
    let Some(file) = fs::optional(fs::open(&path))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(format::MAX_SIZE)
        .read_to_end(&mut bytes)
        .context("read", &path)?;
    Format::parse(&String::from_utf8_lossy(&bytes), &path).map(Some)
}

/// Refuses a folder in which somebody else keeps files. Touches nothing.
fn refuse_strangers(folder: &Folder, create: bool) -> Result<()> {
    let Some(entries) = fs::optional(fs::read_dir(folder.root()))? else {
        return if create {
            Ok(())
        } else {
            Err(Error::NotAStore(folder.root.clone()))
        };
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context("list", folder.root())?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    let ours = names.iter().any(|name| name == "lock")
        && names
            .iter()
            .all(|name| NAMES.contains(&name.as_str()) || name.starts_with("format."));
    // The mount point of a fresh file system has `lost+found`.
    let empty = names.iter().all(|name| name == "lost+found");
    if create && (empty || ours) {
        Ok(())
    } else {
        Err(Error::NotAStore(folder.root.clone()))
    }
}

/// Makes the folder; `format` comes last and says that all is there.
fn make(folder: &Folder) -> Result<()> {
    if let Some(parent) = folder.root().parent() {
        fs::create_dir_all(parent)?;
    }
    make_dir(folder.root())?;
    fs::set_mode(folder.root(), MODE)?;
    let _lock = Lock::acquire(&folder.lock(), Mode::Exclusive)?;
    for name in DIRECTORIES {
        make_dir(&folder.root().join(name))?;
    }
    // Where directories come and go: a container's, and what a lease works on.
    for name in ["tmp", "containers"] {
        fs::spread_directories(&folder.root().join(name));
    }
    if !fs::exists(&folder.format()) {
        fs::replace(&folder.format(), Format::current().print().as_bytes())?;
    }
    Ok(())
}

/// Makes a directory, if it is missing.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_directory_names_its_layer_and_nothing_else_does() {
        let id = DiffId::from_digest(Digest::sha256_of(b"x"));
        let folder = Folder {
            root: PathBuf::from("/s"),
        };
        let path = folder.layer(&id);
        assert_eq!(
            layer_of_directory(path.file_name().unwrap().to_str().unwrap()),
            Some(id)
        );
        for name in ["sha256", "sha256-..", "x", "md5-00", ""] {
            assert_eq!(layer_of_directory(name), None, "{name}");
        }
    }

    #[test]
    fn random_names_differ() {
        assert_eq!(random_hex(8).len(), 16);
        assert_ne!(random_hex(8), random_hex(8));
    }

    #[test]
    fn a_folder_with_other_files_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(open(dir.path(), true), Err(Error::NotAStore(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_interrupted_creation_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lock"), "").unwrap();
        std::fs::create_dir(dir.path().join("blobs")).unwrap();
        open(dir.path(), true).unwrap();
        assert!(dir.path().join("tmp").is_dir());
        assert!(dir.path().join("format").is_file());
    }

    #[test]
    fn the_folder_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        open(&root, true).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&root), 0o700);
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        open(&root, true).unwrap();
        assert_eq!(mode(&root), 0o700);
    }
}
