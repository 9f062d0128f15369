//! The build context: a directory's tree, and what is known of its files' content.
//!
//! [`Context::open`] walks the directory once and looks up the stat index of the last build. What the index does not know is
//! read later, when a COPY streams it into a layer; [`Context::learn`] takes the digests, [`Context::index`] makes the index for
//! the next build.

mod assemble;
mod index;
mod open;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
pub(crate) mod walk;
pub(crate) mod xattr;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use sys::fs::Error;

pub(crate) use index::{ContentDigest, Known, Place};
pub(crate) use open::Opener;
use tree::{NodeId, NodeKind, Stat, Time, Tree, Xattrs};
use walk::Filter;

/// A context that was walked.
#[derive(Debug)]
pub(crate) struct Context {
    root: File,
    shown: PathBuf,
    pub(crate) tree: Tree,
    known: Vec<Known>,
    xattrs: BTreeMap<NodeId, Xattrs>,
    layers: Vec<[u8; 32]>,
    /// What the store knows the index by.
    pub(crate) id: String,
    old: Option<index::Index>,
    unread: BTreeMap<NodeId, std::ops::Range<NodeId>>,
    now: Time,
    local: bool,
    changed: bool,
}

impl Context {
    /// Walks the directory `path`, taking along what `filter` says, and merges what the index in the file `index` knows.
    ///
    /// `now` is asked for the time before the walk begins.
    pub(crate) fn open<F: Filter>(
        path: &Path,
        (id, index): (String, &Path),
        filter: &F,
        now: impl FnOnce() -> Time,
    ) -> Result<Self, Error> {
        let root = sys::fs::open(path)?;
        let now = now();
        let local = is_local(&root);
        // Reading the index needs no more than one thread and the walk leaves gaps.
        let (tree, old) = std::thread::scope(|scope| {
            let load = scope.spawn(move || index::load(index));
            let tree = walk::walk(root.as_fd(), path, filter);
            // A panic in there would be a bug in parsing the index, which is only a cache.
            (tree, load.join().unwrap_or_default())
        });
        let tree = tree?;
        let merged = match &old {
            Some(old) => old.merge(&tree, now),
            None => index::Merged::nothing(&tree),
        };
        let layers = old.as_ref().map_or_else(Vec::new, |old| old.layers.clone());
        // The last index is needed again only for what it knows of directories that were not read.
        let old = if merged.unread.is_empty() { None } else { old };
        Ok(Self {
            root,
            shown: path.to_owned(),
            tree,
            known: merged.known,
            xattrs: merged.xattrs,
            layers,
            id,
            old,
            unread: merged.unread,
            now,
            local,
            changed: !merged.same,
        })
    }

    /// The directory as the user named it.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Opens files for reading, best in the order of the tree.
    pub(crate) fn opener(&self) -> Opener<'_> {
        Opener::new(self.root.as_fd(), &self.shown, &self.tree)
    }

    /// The digest of a file's content, if it is known.
    pub(crate) fn digest(&self, id: NodeId) -> Option<ContentDigest> {
        self.known[id as usize].digest
    }

    /// Where a layer has a file's content: the layer's DiffID (SHA-256) and the offset in its tar.
    pub(crate) fn place(&self, id: NodeId) -> Option<([u8; 32], u64)> {
        let place = self.known[id as usize].place?;
        Some((self.layers[place.layer as usize], place.offset))
    }

    /// The extended attributes of a directory, or of a file whose content is known.
    pub(crate) fn xattrs(&self, id: NodeId) -> &[(Vec<u8>, Vec<u8>)] {
        let of = if self.tree.node(id).stat.kind == NodeKind::Dir {
            &self.tree.dir_xattrs
        } else {
            &self.xattrs
        };
        of.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Takes down what a file was found to hold. `stat` is what it was before and after it was read; if it is not what the
    /// tree says, the tree learns it too.
    pub(crate) fn learn(&mut self, id: NodeId, stat: Stat, digest: ContentDigest, xattrs: Xattrs) {
        let node = &mut self.tree.nodes[id as usize];
        let known = &mut self.known[id as usize];
        known.aged &= node.stat == stat;
        node.stat = stat;
        let local = self.local && stat.dev == self.tree.nodes[0].stat.dev;
        known.settled = index::settles(&stat, self.now, local, known.aged);
        known.digest = Some(digest);
        known.place = None;
        if xattrs.is_empty() {
            self.xattrs.remove(&id);
        } else {
            self.xattrs.insert(id, xattrs);
        }
        self.changed = true;
    }

    /// Takes down which layers have the content of files now.
    pub(crate) fn learn_places(
        &mut self,
        layer: [u8; 32],
        places: impl IntoIterator<Item = (NodeId, u64)>,
    ) {
        let number = self
            .layers
            .iter()
            .position(|known| *known == layer)
            .unwrap_or_else(|| {
                self.layers.push(layer);
                self.layers.len() - 1
            });
        for (id, offset) in places {
            self.known[id as usize].place = Some(Place {
                layer: number as u32,
                offset,
            });
            self.changed = true;
        }
    }

    /// The index for the next build, if there is anything new in it.
    pub(crate) fn index(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        if self.old.is_none() {
            self.forget_layers();
        }
        let content = index::Content {
            tree: &self.tree,
            known: &self.known,
            xattrs: &self.xattrs,
            layers: &self.layers,
            now: self.now,
            old: self.old.as_ref().map(|old| (old, &self.unread)),
        };
        Some(content.write())
    }

    /// Drops the layers that no file refers to any more.
    fn forget_layers(&mut self) {
        let mut number = vec![None; self.layers.len()];
        let mut kept = Vec::new();
        for known in &mut self.known {
            if let Some(place) = &mut known.place {
                let old = place.layer as usize;
                place.layer = *number[old].get_or_insert_with(|| {
                    kept.push(self.layers[old]);
                    kept.len() as u32 - 1
                });
            }
        }
        self.layers = kept;
    }
}

/// True if the file system's clock is this machine's.
fn is_local(root: &File) -> bool {
    // The magic numbers of statfs(2); what is not in this list is believed later, never wrongly.
    const LOCAL: [u64; 9] = [
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683e, // btrfs
        0x0102_1994, // tmpfs
        0x794c_7630, // overlayfs
        0xf2f5_2010, // f2fs
        0x2fc1_2fc1, // zfs
        0xca45_1a4e, // bcachefs
        0x8584_58f6, // ramfs
    ];
    rustix::fs::fstatfs(root)
        .is_ok_and(|found| LOCAL.contains(&(found.f_type as u64 & 0xffff_ffff)))
}
