//! Unpacked layers against their index: same names, kinds, modes, owners, times, bytes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use layer::{FileType, Index, IndexError, NodeId, Stat};
use sys::root::{Kind, Links, Root};

use super::{Checker, Remedy};
use crate::error::{Error, Result};
use crate::folder::Flavour;
use crate::layers::Layer;

/// Each unpacked tree that says it is complete is the tree of its layer.
pub(super) fn trees(checker: &mut Checker<'_>) -> Result<()> {
    for layer in checker.store.layers()? {
        for flavour in [Flavour::Trusted, Flavour::User] {
            let lease = checker.store.lease("fsck")?;
            match lease.claim_layers(&[layer.diff_id]) {
                Err(Error::MissingLayer(_)) => continue,
                other => other?,
            }
            if !lease.has_tree(&layer, flavour)? {
                continue;
            }
            let path = layer.dir.join(flavour.directory());
            if let Some(problem) = difference(&layer, &path, flavour)? {
                let what = format!("unpacked layer {}", layer.diff_id);
                checker.found(
                    what,
                    problem,
                    Some(path),
                    Remedy::DropTree(layer.diff_id, flavour),
                )?;
            }
        }
    }
    Ok(())
}

/// The first way in which the tree at `path` differs from the layer.
fn difference(layer: &Layer, path: &Path, flavour: Flavour) -> Result<Option<String>> {
    // A damaged index is a finding of its own.
    let Ok(index) = layer.open() else {
        return Ok(None);
    };
    let root = Root::open(path)?.with_links(Links::Refuse);
    let comparison = Comparison {
        index: &index,
        root: &root,
        flavour,
    };
    let mut todo = vec![(PathBuf::from("."), index.root())];
    while let Some((dir, node)) = todo.pop() {
        match comparison.directory(&dir, node, &mut todo) {
            Ok(None) => {}
            Ok(Some(problem)) => return Ok(Some(problem)),
            Err(Failed::Index) => return Ok(None),
            Err(Failed::Tree(error)) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
}

/// Which side could not be read.
enum Failed {
    Index,
    Tree(sys::fs::Error),
}

impl From<IndexError> for Failed {
    fn from(_: IndexError) -> Self {
        Self::Index
    }
}

impl From<sys::fs::Error> for Failed {
    fn from(error: sys::fs::Error) -> Self {
        Self::Tree(error)
    }
}

struct Comparison<'a> {
    index: &'a Index,
    root: &'a Root,
    flavour: Flavour,
}

type Difference = std::result::Result<Option<String>, Failed>;

impl Comparison<'_> {
    fn directory(&self, dir: &Path, node: NodeId, todo: &mut Vec<(PathBuf, NodeId)>) -> Difference {
        let mut there: BTreeMap<_, _> = self
            .root
            .read_dir(dir)?
            .into_iter()
            .map(|entry| (entry.name, entry.kind))
            .collect();
        for entry in self.index.read_dir(node)? {
            let name = OsStr::from_bytes(&entry.name);
            let path = dir.join(name);
            let device = matches!(entry.kind, FileType::CharDevice | FileType::BlockDevice);
            match there.remove(name) {
                None if device && self.flavour == Flavour::User => continue,
                None => return Ok(Some(format!("it lacks {}", path.display()))),
                Some(kind) if kind != kind_of(entry.kind) => {
                    return Ok(Some(format!("{} is something else", path.display())));
                }
                Some(_) => {}
            }
            if entry.kind == FileType::Dir {
                todo.push((path, entry.node));
            } else if let Some(problem) = self.entry(&path, entry.node)? {
                return Ok(Some(problem));
            }
        }
        if let Some(name) = there.keys().next() {
            let path = dir.join(name);
            return Ok(Some(format!("it has {} too much", path.display())));
        }
        // After the names: a name more or less changes the directory's time too.
        self.metadata(dir, &self.index.stat(node)?)
    }

    fn entry(&self, path: &Path, node: NodeId) -> Difference {
        let stat = self.index.stat(node)?;
        let same = match stat.kind {
            FileType::Whiteout => return Ok(None),
            FileType::Symlink => {
                self.root.read_link(path)?.as_bytes() == self.index.read_link(node)?
            }
            FileType::File => self.same_bytes(path, node)?,
            FileType::CharDevice | FileType::BlockDevice => self.root.stat(path)?.rdev == stat.rdev,
            FileType::Fifo | FileType::Dir => true,
        };
        if same {
            self.metadata(path, &stat)
        } else {
            Ok(Some(format!("{} has other content", path.display())))
        }
    }

    fn metadata(&self, path: &Path, stat: &Stat) -> Difference {
        let found = self.root.stat(path)?;
        let mode = stat.kind == FileType::Symlink || found.mode == stat.mode;
        let time = (found.mtime.secs, found.mtime.nanos) == (stat.mtime.secs, stat.mtime.nanos);
        // An ordinary user could not give files away.
        let owner = self.flavour == Flavour::User || (found.uid, found.gid) == (stat.uid, stat.gid);
        let same = mode && time && owner;
        Ok((!same).then(|| format!("{} has another mode, time or owner", path.display())))
    }

    fn same_bytes(&self, path: &Path, node: NodeId) -> std::result::Result<bool, Failed> {
        const CHUNK: usize = 128 << 10;
        let failed = |source| Failed::Tree(sys::fs::Error::new("read", path, source));
        let source = self.index.open_file(node)?;
        let mut file = self.root.open_file(path)?;
        let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut offset = 0;
        loop {
            let count = file.read(&mut ours).map_err(failed)?;
            if count == 0 {
                return Ok(offset == source.len());
            }
            let mut filled = 0;
            while filled < count {
                match source.read_at(&mut theirs[filled..count], offset + filled as u64) {
                    Ok(0) | Err(_) => return Ok(false),
                    Ok(more) => filled += more,
                }
            }
            if ours[..count] != theirs[..count] {
                return Ok(false);
            }
            offset += count as u64;
        }
    }
}

const fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::File => Kind::File,
        FileType::Dir => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharDevice | FileType::Whiteout => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
    }
}
