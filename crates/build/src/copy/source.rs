//! Where copied files come from: the build context, or the root file system of a stage or an image.

use std::collections::BTreeMap;

use layer::{FileType, IndexError, Part, View, ViewNode};

use crate::context::tree::{Node, NodeId, NodeKind, Stat, Text, Time, Tree, Xattrs};
use crate::context::{ContentDigest, Context};

/// A tree that things are copied from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The build context, or a named one that is a directory.
    Context(Box<Context>),
    /// A stage or an image.
    Image(Box<ImageSource>),
}

/// The files of an image's layers as a tree.
#[derive(Debug)]
pub(crate) struct ImageSource {
    view: View,
    tree: Tree,
    /// By node.
    parts: Vec<Part>,
    xattrs: BTreeMap<NodeId, Xattrs>,
    digests: BTreeMap<NodeId, ContentDigest>,
}

impl Source {
    pub(crate) fn tree(&self) -> &Tree {
        match self {
            Self::Context(context) => &context.tree,
            Self::Image(image) => &image.tree,
        }
    }

    /// The digest of a file's content, if it is known.
    pub(crate) fn digest(&self, id: NodeId) -> Option<ContentDigest> {
        match self {
            Self::Context(context) => context.digest(id),
            Self::Image(image) => image.digests.get(&id).copied(),
        }
    }

    /// The extended attributes of a directory, or of a file whose digest is known.
    pub(crate) fn xattrs(&self, id: NodeId) -> &[(Vec<u8>, Vec<u8>)] {
        match self {
            Self::Context(context) => context.xattrs(id),
            Self::Image(image) => image.xattrs.get(&id).map_or(&[], Vec::as_slice),
        }
    }

    /// True if a file keeps its owner when it is copied from here.
    pub(crate) const fn keeps_owner(&self) -> bool {
        matches!(self, Self::Image(_))
    }
}

impl ImageSource {
    /// Reads the tree of a view. Takes about a microsecond for each file in it.
    pub(crate) fn read(view: View) -> Result<Self, IndexError> {
        let mut source = Self {
            tree: Tree::default(),
            parts: Vec::new(),
            xattrs: BTreeMap::new(),
            digests: BTreeMap::new(),
            view,
        };
        let Some(root) = source.view.root()? else {
            source.push_root();
            return Ok(source);
        };
        source.push(b"", 0, &root)?;
        // Directories whose children are being added: node, and the children in reverse order.
        let mut open = vec![(0, source.children(&root)?)];
        while let Some((dir, rest)) = open.last_mut() {
            let Some((name, node)) = rest.pop() else {
                let end = source.tree.nodes.len() as NodeId;
                source.tree.nodes[*dir as usize].end = end;
                open.pop();
                continue;
            };
            let id = source.push(&name, *dir, &node)?;
            if node.kind() == FileType::Dir {
                if open.len() > layer::path::MAX_PATH {
                    return Err(IndexError::Links(source.tree.path(id)));
                }
                let children = source.children(&node)?;
                open.push((id, children));
            }
        }
        Ok(source)
    }

    fn children(&self, dir: &ViewNode) -> Result<Vec<(Vec<u8>, ViewNode)>, IndexError> {
        let list = self.view.read_dir(dir)?;
        Ok(list
            .into_iter()
            .rev()
            .map(|entry| (entry.name, entry.node))
            .collect())
    }

    /// The root of an image without layers.
    fn push_root(&mut self) {
        let stat = Stat {
            kind: NodeKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            rdev: (0, 0),
            dev: 0,
            ino: 0,
            mtime: Time::ZERO,
            ctime: Time::ZERO,
        };
        self.tree.nodes.push(Node {
            name: Text::default(),
            target: Text::default(),
            parent: 0,
            end: 1,
            unread: false,
            stat,
        });
    }

    fn push(&mut self, name: &[u8], parent: NodeId, node: &ViewNode) -> Result<NodeId, IndexError> {
        let id = self.tree.nodes.len() as NodeId;
        let mut found = self.view.stat(node)?;
        let kind = match found.kind {
            FileType::File => NodeKind::File,
            FileType::Dir => NodeKind::Dir,
            FileType::Symlink => NodeKind::Symlink,
            FileType::CharDevice | FileType::Whiteout => NodeKind::CharDevice,
            FileType::BlockDevice => NodeKind::BlockDevice,
            FileType::Fifo => NodeKind::Fifo,
        };
        let target = if kind == NodeKind::Symlink {
            self.view.read_link(node)?
        } else {
            Vec::new()
        };
        found
            .xattrs
            .retain(|(name, _)| crate::context::xattr::carried(name));
        if !found.xattrs.is_empty() {
            found.xattrs.sort();
            self.xattrs.insert(id, found.xattrs);
        }
        let part = node.top();
        let stat = Stat {
            kind,
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            nlink: found.nlink,
            size: if kind == NodeKind::File {
                found.size
            } else {
                0
            },
            rdev: found.rdev,
            dev: part.layer as u64,
            ino: part.node.number(),
            mtime: found.mtime,
            ctime: Time::ZERO,
        };
        let name = self.tree.intern(name);
        let target = self.tree.intern(&target);
        self.tree.nodes.push(Node {
            name,
            target,
            parent,
            end: id + 1,
            unread: false,
            stat,
        });
        self.parts.push(part);
        Ok(id)
    }

    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Opens a regular file.
    pub(crate) fn open(&self, id: NodeId) -> Result<layer::FileReader, IndexError> {
        let part = self.parts[id as usize];
        self.view.layers()[part.layer].open_file(part.node)
    }

    /// Takes down what a file holds.
    pub(crate) fn learn(&mut self, id: NodeId, digest: ContentDigest) {
        self.digests.insert(id, digest);
    }
}
