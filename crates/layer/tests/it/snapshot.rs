//! A tree as something to compare: of a directory, and of a view.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use layer::{FileType, View};

/// All that is compared about one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) kind: FileType,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) nlink: u64,
    pub(crate) rdev: (u32, u32),
    pub(crate) size: u64,
    /// Digest of the bytes, or the target of a link.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first name of the same inode.
    pub(crate) same_as: Vec<u8>,
}

pub(crate) type Snapshot = BTreeMap<Vec<u8>, Item>;

fn digest(bytes: &[u8]) -> Vec<u8> {
    oci::Digest::sha256_of(bytes).as_bytes().to_vec()
}

/// What lies below a directory, the directory itself with an empty name.
pub(crate) fn of_dir(root: &Path) -> Snapshot {
    let mut all = Snapshot::new();
    let mut first = HashMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(name) = pending.pop() {
        let path = root.join(Path::new(std::ffi::OsStr::from_bytes(&name)));
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let sort = stat.file_type();
        let rdev = (
            rustix::fs::major(stat.rdev()),
            rustix::fs::minor(stat.rdev()),
        );
        let kind = if sort.is_dir() {
            FileType::Dir
        } else if sort.is_file() {
            FileType::File
        } else if sort.is_symlink() {
            FileType::Symlink
        } else if sort.is_fifo() {
            FileType::Fifo
        } else if sort.is_block_device() {
            FileType::BlockDevice
        } else if rdev == (0, 0) {
            FileType::Whiteout
        } else {
            FileType::CharDevice
        };
        let content = match kind {
            FileType::File => digest(&std::fs::read(&path).unwrap()),
            FileType::Symlink => std::fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_vec(),
            _ => Vec::new(),
        };
        if kind == FileType::Dir {
            let mut names: Vec<_> = std::fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort_by(|a, b| b.cmp(a));
            for child in names {
                let mut full = name.clone();
                if !full.is_empty() {
                    full.push(b'/');
                }
                full.extend_from_slice(child.as_bytes());
                pending.push(full);
            }
        }
        let xattrs = sys::xattr::list(&path)
            .unwrap()
            .into_iter()
            .map(|(name, value)| (name.into_vec(), value))
            .collect();
        let same_as = first
            .entry((stat.dev(), stat.ino()))
            .or_insert(name.clone())
            .clone();
        let item = Item {
            kind,
            mode: stat.mode() & 0o7777,
            owner: (stat.uid(), stat.gid()),
            mtime: (stat.mtime(), u32::try_from(stat.mtime_nsec()).unwrap()),
            nlink: stat.nlink(),
            rdev,
            size: if matches!(kind, FileType::Dir) {
                0
            } else {
                stat.size()
            },
            content,
            xattrs,
            same_as,
        };
        all.insert(name, item);
    }
    all
}

/// The same of a view.
pub(crate) fn of_view(view: &View) -> Snapshot {
    let mut all = Snapshot::new();
    let mut first = HashMap::new();
    for entry in view.walk(b"", view.root().unwrap().unwrap()) {
        let (name, node) = entry.unwrap();
        let stat = view.stat(&node).unwrap();
        let content = match stat.kind {
            FileType::File => {
                let mut bytes = Vec::new();
                view.open(&node).unwrap().read_to_end(&mut bytes).unwrap();
                digest(&bytes)
            }
            FileType::Symlink => view.read_link(&node).unwrap(),
            _ => Vec::new(),
        };
        let same_as = first.entry(node.top()).or_insert(name.clone()).clone();
        let mut xattrs = stat.xattrs;
        xattrs.sort();
        let item = Item {
            kind: stat.kind,
            mode: stat.mode,
            owner: (stat.uid, stat.gid),
            mtime: (stat.mtime.secs, stat.mtime.nanos),
            nlink: stat.nlink.into(),
            rdev: stat.rdev,
            size: if stat.kind == FileType::Dir {
                0
            } else {
                stat.size
            },
            content,
            xattrs,
            same_as,
        };
        all.insert(name, item);
    }
    all
}

/// Fails with the first entries that differ, not with two whole trees.
#[track_caller]
pub(crate) fn assert_same(left: &Snapshot, right: &Snapshot, what: &str) {
    let mut shown = String::new();
    let mut count = 0;
    for name in left.keys().chain(right.keys()) {
        let (a, b) = (left.get(name), right.get(name));
        if a != b && count < 6 {
            count += 1;
            shown.push_str(&format!(
                "\n{}:\n  {a:?}\n  {b:?}",
                String::from_utf8_lossy(name)
            ));
        }
    }
    assert!(shown.is_empty(), "{what}: the trees differ{shown}");
}
