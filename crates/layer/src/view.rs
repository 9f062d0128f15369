//! A chain of layers as one tree, by the rules of overlayfs, without a mount.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use crate::erofs::file::FileReader;
use crate::erofs::read::{FileType, Index, IndexError, NodeId, Stat};
use crate::path;

type Result<T> = std::result::Result<T, IndexError>;

/// Most symbolic links on the way to one path, as in Linux.
const MAX_LINKS: u32 = 40;

/// Whether the last component of a path is followed if it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It is, like `stat`.
    Yes,
    /// It is not, like `lstat`.
    No,
}

/// One inode of one layer of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// Which layer, counted from the bottom.
    pub layer: usize,
    /// Which inode of it.
    pub node: NodeId,
}

/// An entry of the merged tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewNode {
    kind: FileType,
    /// Top first. Only a directory has several: those that it is merged from.
    parts: Vec<Part>,
}

impl ViewNode {
    /// What it is; never [`FileType::Whiteout`].
    #[must_use]
    pub const fn kind(&self) -> FileType {
        self.kind
    }

    /// Where its metadata comes from: the topmost layer that has it.
    #[must_use]
    pub fn top(&self) -> Part {
        self.parts[0]
    }

    /// All inodes that it is merged from, the topmost first.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// An entry of a merged directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// What has it.
    pub node: ViewNode,
}

/// The layers of an image, merged. Clones share what was read.
#[derive(Debug, Clone)]
pub struct View {
    /// Bottom first.
    layers: Vec<Index>,
}

impl View {
    /// The view of these layers, the bottom one first.
    #[must_use]
    pub const fn new(layers: Vec<Index>) -> Self {
        Self { layers }
    }

    /// The layers, bottom first.
    #[must_use]
    pub fn layers(&self) -> &[Index] {
        &self.layers
    }

    fn index(&self, part: Part) -> &Index {
        &self.layers[part.layer]
    }

    /// The root. `None` if there are no layers.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read.
    pub fn root(&self) -> Result<Option<ViewNode>> {
        let mut parts = Vec::new();
        for (layer, index) in self.layers.iter().enumerate().rev() {
            let node = index.root();
            parts.push(Part { layer, node });
            if index.is_opaque(node)? {
                break;
            }
        }
        Ok((!parts.is_empty()).then_some(ViewNode {
            kind: FileType::Dir,
            parts,
        }))
    }

    /// Adds what a lower layer has under a name that upper layers gave `above`. `false` if nothing below counts any more.
    fn merge(&self, above: &mut Vec<Part>, part: Part, kind: FileType) -> Result<bool> {
        if kind != FileType::Dir {
            return Ok(false);
        }
        above.push(part);
        Ok(!self.index(part).is_opaque(part.node)?)
    }

    /// Finds a name in a directory of the view, not following anything. `None` also if `dir` is no directory.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read.
    pub fn child(&self, dir: &ViewNode, name: &[u8]) -> Result<Option<ViewNode>> {
        if dir.kind != FileType::Dir {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for part in &dir.parts {
            let Some((node, kind)) = self.index(*part).lookup(part.node, name)? else {
                continue;
            };
            let found = Part {
                layer: part.layer,
                node,
            };
            if parts.is_empty() && !matches!(kind, FileType::Dir | FileType::Whiteout) {
                return Ok(Some(ViewNode {
                    kind,
                    parts: vec![found],
                }));
            }
            if !self.merge(&mut parts, found, kind)? {
                break;
            }
        }
        Ok((!parts.is_empty()).then_some(ViewNode {
            kind: FileType::Dir,
            parts,
        }))
    }

    /// Finds a path. Symbolic links are resolved inside the view: an absolute target begins at its root, `..` stops there.
    ///
    /// A final symbolic link is followed if `follow` says so, or if the path ends with `/`.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read, or links lead in a circle.
    pub fn lookup(&self, path: &[u8], follow: Follow) -> Result<Option<ViewNode>> {
        Ok(self.locate(path, follow)?.map(|(_, node)| node))
    }

    /// The same, and the path without links under which it was found.
    ///
    /// # Errors
    ///
    /// As for [`lookup`](Self::lookup).
    pub fn locate(&self, path: &[u8], follow: Follow) -> Result<Option<(Vec<u8>, ViewNode)>> {
        let Some(root) = self.root()? else {
            return Ok(None);
        };
        let mut stack: Vec<(Vec<u8>, ViewNode)> = vec![(Vec::new(), root)];
        // Components still to go, the next one last.
        let mut rest: Vec<Vec<u8>> = Vec::new();
        push_reversed(&mut rest, path);
        let follow_last = follow == Follow::Yes || path.ends_with(b"/");
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let Some(node) = stack
                .last()
                .map(|(_, dir)| self.child(dir, &name))
                .transpose()?
                .flatten()
            else {
                return Ok(None);
            };
            if node.kind == FileType::Symlink && (follow_last || !rest.is_empty()) {
                links += 1;
                if links > MAX_LINKS || rest.len() > path::MAX_PATH {
                    return Err(IndexError::Links(path.to_vec()));
                }
                let target = self.read_link(&node)?;
                if target.first() == Some(&b'/') {
                    stack.truncate(1);
                }
                push_reversed(&mut rest, &target);
                continue;
            }
            stack.push((name, node));
        }
        let names: Vec<&[u8]> = stack.iter().skip(1).map(|(name, _)| &name[..]).collect();
        let found = names.join(&b'/');
        Ok(stack.pop().map(|(_, node)| (found, node)))
    }

    /// Lists a directory of the view, sorted by the bytes of the names.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read.
    pub fn read_dir(&self, dir: &ViewNode) -> Result<Vec<ViewEntry>> {
        if let [only] = dir.parts[..] {
            return self.read_single(only);
        }
        /// What is known of a name, and whether lower layers can still add to it.
        struct Seen {
            node: Option<ViewNode>,
            open: bool,
        }
        let mut all: BTreeMap<Vec<u8>, Seen> = BTreeMap::new();
        for part in &dir.parts {
            for entry in self.index(*part).read_dir(part.node)? {
                let found = Part {
                    layer: part.layer,
                    node: entry.node,
                };
                match all.entry(entry.name) {
                    MapEntry::Vacant(slot) => {
                        let node = (entry.kind != FileType::Whiteout).then(|| ViewNode {
                            kind: entry.kind,
                            parts: vec![found],
                        });
                        let open = entry.kind == FileType::Dir
                            && !self.index(found).is_opaque(found.node)?;
                        slot.insert(Seen { node, open });
                    }
                    MapEntry::Occupied(mut slot) => {
                        let seen = slot.get_mut();
                        if let Some(node) = seen.node.as_mut().filter(|_| seen.open) {
                            seen.open = self.merge(&mut node.parts, found, entry.kind)?;
                        }
                    }
                }
            }
        }
        Ok(all
            .into_iter()
            .filter_map(|(name, seen)| {
                Some(ViewEntry {
                    name,
                    node: seen.node?,
                })
            })
            .collect())
    }

    fn read_single(&self, part: Part) -> Result<Vec<ViewEntry>> {
        let list = self.index(part).read_dir(part.node)?;
        Ok(list
            .into_iter()
            .filter(|entry| entry.kind != FileType::Whiteout)
            .map(|entry| ViewEntry {
                name: entry.name,
                node: ViewNode {
                    kind: entry.kind,
                    parts: vec![Part {
                        layer: part.layer,
                        node: entry.node,
                    }],
                },
            })
            .collect())
    }

    /// The metadata of an entry; of a merged directory, that of the topmost layer; of the root, that of the topmost layer that says
    /// something about it, since few layers have an entry for it.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read.
    pub fn stat(&self, node: &ViewNode) -> Result<Stat> {
        let top = node.top();
        let stat = self.index(top).stat(top.node)?;
        if top.node != self.index(top).root() || !stat.is_implied() {
            return Ok(stat);
        }
        for part in &node.parts[1..] {
            let below = self.index(*part).stat(part.node)?;
            if !below.is_implied() {
                return Ok(Stat {
                    mode: below.mode,
                    uid: below.uid,
                    gid: below.gid,
                    mtime: below.mtime,
                    xattrs: below.xattrs,
                    ..stat
                });
            }
        }
        Ok(stat)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read, or `node` is not a link.
    pub fn read_link(&self, node: &ViewNode) -> Result<Vec<u8>> {
        self.index(node.top()).read_link(node.top().node)
    }

    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// An index is damaged or cannot be read, or `node` is not a regular file.
    pub fn open(&self, node: &ViewNode) -> Result<FileReader> {
        self.index(node.top()).open_file(node.top().node)
    }

    /// Goes through the tree below `start`, every directory before what is in it, sorted by name within each.
    ///
    /// The paths begin with `path`, which `start` itself is shown under first. A hard link is shown under each of its names,
    /// with the same [`ViewNode::top`].
    #[must_use]
    pub fn walk(&self, path: &[u8], start: ViewNode) -> Walk<'_> {
        Walk {
            view: self,
            left: self.layers.iter().map(Index::most_entries).sum(),
            pending: vec![(path.to_vec(), start)],
        }
    }
}

fn push_reversed(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    rest.extend(path::components(path).rev().map(<[u8]>::to_vec));
}

/// See [`View::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    view: &'a View,
    /// Entries that the indexes can have at most: a damaged one may lead in a circle.
    left: u64,
    pending: Vec<(Vec<u8>, ViewNode)>,
}

impl Walk<'_> {
    fn descend(&mut self, path: &[u8], dir: &ViewNode) -> Result<()> {
        for part in &dir.parts {
            if path.len() > 2 * path::MAX_PATH {
                return Err(IndexError::Damaged {
                    path: self.view.index(*part).files().index.clone(),
                    what: "directories are nested without end",
                });
            }
        }
        let list = self.view.read_dir(dir)?;
        self.left = self.left.saturating_sub(list.len() as u64);
        if self.left == 0 && !list.is_empty() {
            return Err(IndexError::Damaged {
                path: self.view.index(dir.top()).files().index.clone(),
                what: "it has more entries than fit into it",
            });
        }
        for entry in list.into_iter().rev() {
            let mut full = path.to_vec();
            if !full.is_empty() && !full.ends_with(b"/") {
                full.push(b'/');
            }
            full.extend_from_slice(&entry.name);
            self.pending.push((full, entry.node));
        }
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, ViewNode)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.pending.pop()?;
        if node.kind == FileType::Dir
            && let Err(error) = self.descend(&path, &node)
        {
            self.pending.clear();
            return Some(Err(error));
        }
        Some(Ok((path, node)))
    }
}
