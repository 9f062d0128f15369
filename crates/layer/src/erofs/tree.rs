//! The entries of one layer in memory, in a few flat arrays: about 130 bytes an entry and its name, nothing on the heap
//! of its own.
//!
//! This is where names become a tree, and where the odd archives are decided: later entries replace earlier ones, missing
//! parents appear, whiteouts become what overlayfs wants, and a parent that is a symbolic link *of the same layer* is
//! followed inside the layer, as Docker and containerd do when they unpack (a link of a lower layer is not: there, the
//! directory of this layer hides the link, which is what overlayfs does with an unpacked one).

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::format::{
    BLOCK, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, encode_device,
};
use super::xattr::{self, XattrError};
use crate::meta::{Kind, Meta};
use crate::path::{self, PathError};

/// Most names of a layer, the implied directories with them. The largest images have some 600,000; a name costs about 300
/// bytes while the index is made, so this also bounds the memory that a hostile archive can ask for.
pub const MAX_NAMES: usize = 1_000_000;

/// Most bytes of names, link targets and extended attributes of a layer together. A Debian root file system has 2 MB.
pub const MAX_TEXT: usize = 64 << 20;

/// Most links followed on the way to one entry, as in Linux.
const MAX_LINKS: u32 = 40;

/// What a deletion is called in a tar.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// What an opaque directory has in a tar.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of AUFS' own bookkeeping begin with this; they are no content.
const AUFS: &[u8] = b".wh..wh.";

/// Why an entry cannot be part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Its name.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Its extended attributes.
    #[error(transparent)]
    Xattr(#[from] XattrError),
    /// A parent is neither a directory nor a link to one.
    #[error("a parent of it is not a directory")]
    NotADirectory,
    /// Links of the layer lead in a circle, or on and on.
    #[error("more than {MAX_LINKS} symbolic links on the way to it")]
    Links,
    /// A symbolic link that points nowhere.
    #[error("it is a symbolic link without a target")]
    EmptyTarget,
    /// A symbolic link that no file system can hold.
    #[error("the target of the symbolic link is longer than {max} bytes", max = path::MAX_PATH)]
    LongTarget,
    /// A hard link to a name that the layer has not had yet.
    #[error("it is a hard link to something that is not before it in the layer")]
    LinkMissing,
    /// A hard link to a directory.
    #[error("it is a hard link to a directory")]
    LinkToDirectory,
    /// The name of the hard link's target is none.
    #[error("it is a hard link, and of its target: {0}")]
    LinkTarget(PathError),
    /// The root of the layer must be a directory.
    #[error("the root of a layer can only be a directory")]
    Root,
    /// `.wh.`, `.wh..` or `.wh...`, which would delete nothing, the directory itself or its parent.
    #[error("the deletion names nothing that could be deleted")]
    Whiteout,
    /// An entry below or in place of a deletion mark.
    #[error("names that begin with `.wh.` are reserved for deletions")]
    Reserved,
    /// A device number that Linux does not have.
    #[error("the device number is too large")]
    Device,
    /// More entries than [`MAX_NAMES`], or than the caller wanted.
    #[error("the layer has more names than are allowed ({MAX_NAMES} at most)")]
    Names,
    /// More text than [`MAX_TEXT`].
    #[error(
        "names, link targets and extended attributes of the layer are longer than {MAX_TEXT} bytes"
    )]
    Text,
    /// Data beyond what 32-bit block numbers reach.
    #[error("the data of the layer ends beyond 2 TiB")]
    Far,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// There are none.
    None,
    /// In `layer.tar`, from this byte.
    Tar(u64),
    /// In `side`, from this byte.
    Side(u64),
}

/// No node, no inode.
const NONE: u32 = u32::MAX;
pub(crate) const ROOT: u32 = 0;

/// The node was replaced by one of another type; what was below it is gone.
const DEAD: u8 = 1;
/// The directory hides what lower layers have in it.
const IS_OPAQUE: u8 = 2;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) parent: u32,
    name: u32,
    pub(crate) inode: u32,
    name_len: u8,
    flags: u8,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode {
    pub(crate) size: u64,
    pub(crate) secs: i64,
    pub(crate) nanos: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Block of the data, or encoded device number, or offset of the link target in the text.
    pub(crate) start: u32,
    xattr: u32,
    xattr_len: u32,
    pub(crate) mode: u16,
    pub(crate) side: bool,
}

impl Inode {
    const IMPLIED: Self = Self {
        size: 0,
        secs: 0,
        nanos: 0,
        uid: 0,
        gid: 0,
        start: 0,
        xattr: 0,
        xattr_len: 0,
        mode: S_IFDIR | 0o755,
        side: false,
    };

    const WHITEOUT: Self = Self {
        mode: S_IFCHR,
        ..Self::IMPLIED
    };

    pub(crate) const fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    const fn is_link(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    const fn is_whiteout(&self) -> bool {
        self.mode & S_IFMT == S_IFCHR && self.start == 0
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    inodes: Vec<Inode>,
    /// Names, link targets, extended attributes.
    text: Vec<u8>,
    /// Nodes by parent and name.
    table: HashTable<u32>,
    hasher: RandomState,
    /// The parent of the last entry as it was written, and what it resolved to: most entries are neighbours.
    last: (Vec<u8>, u32),
    entries: u64,
    most_names: usize,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is in the tree; a file is this inode.
    Inode(u32),
    /// It is no content: a mark, bookkeeping, or a device that overlayfs would misread.
    LeftOut,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node {
                parent: ROOT,
                name: 0,
                inode: 0,
                name_len: 0,
                flags: 0,
            }],
            inodes: vec![Inode::IMPLIED],
            text: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            last: (Vec::new(), ROOT),
            entries: 0,
            most_names: MAX_NAMES,
        }
    }

    /// Allows fewer names than [`MAX_NAMES`].
    pub(crate) fn set_most_names(&mut self, most: usize) {
        self.most_names = most.min(MAX_NAMES);
    }

    /// How many entries were added, marks with them.
    pub(crate) const fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn inode(&self, index: u32) -> &Inode {
        &self.inodes[index as usize]
    }

    pub(crate) fn inodes(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn name(&self, node: &Node) -> &[u8] {
        &self.text[node.name as usize..][..usize::from(node.name_len)]
    }

    pub(crate) fn is_dead(node: &Node) -> bool {
        node.flags & DEAD != 0
    }

    pub(crate) fn is_opaque(node: &Node) -> bool {
        node.flags & IS_OPAQUE != 0
    }

    /// The encoded extended attributes of an inode, without the mark of an opaque directory.
    pub(crate) fn xattrs(&self, inode: &Inode) -> &[u8] {
        &self.text[inode.xattr as usize..][..inode.xattr_len as usize]
    }

    /// The target of a symbolic link.
    pub(crate) fn target(&self, inode: &Inode) -> &[u8] {
        self.text
            .get(inode.start as usize..)
            .and_then(|text| text.get(..usize::try_from(inode.size).ok()?))
            .unwrap_or_default()
    }

    /// Adds an entry as a tar names it, deletion marks included.
    pub(crate) fn add(
        &mut self,
        path: &[u8],
        meta: &Meta,
        place: Place,
    ) -> Result<Added, EntryError> {
        path::check(path)?;
        let added = self.add_checked(path, meta, place)?;
        self.entries += 1;
        Ok(added)
    }

    fn add_checked(&mut self, path: &[u8], meta: &Meta, place: Place) -> Result<Added, EntryError> {
        let (parent, name) = split(path);
        if name.is_empty() {
            return self.add_root(meta);
        }
        if let Some(left) = reserved_parent(parent)? {
            return Ok(left);
        }
        if name == OPAQUE {
            let dir = self.directory(parent)?;
            self.nodes[dir as usize].flags |= IS_OPAQUE;
            return Ok(Added::LeftOut);
        }
        if name.starts_with(AUFS) {
            return Ok(Added::LeftOut);
        }
        if let Some(victim) = name.strip_prefix(WHITEOUT) {
            if victim.is_empty() || victim == b"." || victim == b".." {
                return Err(EntryError::Whiteout);
            }
            if meta.kind == Kind::Dir {
                return Err(EntryError::Reserved);
            }
            let dir = self.directory(parent)?;
            self.add_whiteout(dir, victim)?;
            return Ok(Added::LeftOut);
        }
        if let Kind::HardLink { target } = &meta.kind {
            return self.add_hard_link(parent, name, target);
        }
        if matches!(meta.kind, Kind::CharDevice { major: 0, minor: 0 }) {
            let dir = self.directory(parent)?;
            // Overlayfs would take it for a deletion. What the layer had here before is replaced all the same.
            if let Some(node) = self.find(dir, name)
                && !self.inode(self.nodes[node as usize].inode).is_whiteout()
            {
                self.remove(dir, name);
            }
            return Ok(Added::LeftOut);
        }
        // Before the parents, so that an entry that cannot be leaves none behind.
        let inode = self.make_inode(meta, place)?;
        let dir = self.directory(parent)?;
        self.put(dir, name, inode)?;
        Ok(Added::Inode(inode))
    }

    fn add_root(&mut self, meta: &Meta) -> Result<Added, EntryError> {
        if meta.kind != Kind::Dir {
            return Err(EntryError::Root);
        }
        let inode = self.make_inode(meta, Place::None)?;
        self.nodes[ROOT as usize].inode = inode;
        Ok(Added::Inode(inode))
    }

    fn add_whiteout(&mut self, dir: u32, victim: &[u8]) -> Result<(), EntryError> {
        path::check(victim)?;
        match self.find(dir, victim) {
            // A mark speaks of lower layers only: what this layer has stays, whatever came first.
            Some(node) if self.is_dir(node) => self.nodes[node as usize].flags |= IS_OPAQUE,
            Some(_) => {}
            None => {
                let inode = self.push_inode(Inode::WHITEOUT)?;
                self.put(dir, victim, inode)?;
            }
        }
        Ok(())
    }

    fn add_hard_link(
        &mut self,
        parent: &[u8],
        name: &[u8],
        target: &[u8],
    ) -> Result<Added, EntryError> {
        path::check(target).map_err(EntryError::LinkTarget)?;
        let (target_parent, target_name) = split(target);
        if target_name.is_empty() {
            return Err(EntryError::LinkToDirectory);
        }
        let found = self
            .resolve(ROOT, target_parent, false)?
            .and_then(|dir| self.find(dir, target_name))
            .ok_or(EntryError::LinkMissing)?;
        let inode = self.nodes[found as usize].inode;
        if self.inode(inode).is_dir() {
            return Err(EntryError::LinkToDirectory);
        }
        if self.inode(inode).is_whiteout() {
            return Err(EntryError::LinkMissing);
        }
        let dir = self.directory(parent)?;
        if self.find(dir, name) != Some(found) {
            self.put(dir, name, inode)?;
        }
        Ok(Added::Inode(inode))
    }

    /// Moves the data of a file after the fact.
    pub(crate) fn set_place(&mut self, inode: u32, place: Place) -> Result<(), EntryError> {
        let (side, start) = block_of(place)?;
        let inode = &mut self.inodes[inode as usize];
        inode.side = side;
        inode.start = start;
        Ok(())
    }

    fn make_inode(&mut self, meta: &Meta, place: Place) -> Result<u32, EntryError> {
        let mut inode = Inode {
            size: 0,
            secs: meta.mtime.secs,
            nanos: meta.mtime.nanos,
            uid: meta.uid,
            gid: meta.gid,
            start: 0,
            xattr: 0,
            xattr_len: 0,
            mode: u16::try_from(meta.mode & 0o7777).unwrap_or_default(),
            side: false,
        };
        match &meta.kind {
            Kind::File { size } => {
                inode.mode |= S_IFREG;
                inode.size = *size;
                (inode.side, inode.start) = block_of(place)?;
            }
            Kind::Dir => inode.mode |= S_IFDIR,
            Kind::Symlink { target } => {
                if target.is_empty() {
                    return Err(EntryError::EmptyTarget);
                }
                if target.len() > path::MAX_PATH {
                    return Err(EntryError::LongTarget);
                }
                // Linux ignores the mode of a link and shows 0777.
                inode.mode = S_IFLNK | 0o777;
                inode.size = target.len() as u64;
                inode.start = self.push_text(target)?;
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                inode.mode |= match meta.kind {
                    Kind::CharDevice { .. } => S_IFCHR,
                    _ => S_IFBLK,
                };
                inode.start = encode_device(*major, *minor).ok_or(EntryError::Device)?;
            }
            Kind::Fifo => inode.mode |= S_IFIFO,
            Kind::HardLink { .. } => return Err(EntryError::LinkMissing),
        }
        if !meta.xattrs.is_empty() {
            let start = self.text.len();
            xattr::encode(&meta.xattrs, &mut self.text)?;
            self.check_text()?;
            inode.xattr = offset(start);
            inode.xattr_len = offset(self.text.len() - start);
        }
        self.push_inode(inode)
    }

    fn push_inode(&mut self, inode: Inode) -> Result<u32, EntryError> {
        // Repetitions of one name have an inode each, so these are counted too.
        if self.inodes.len() >= self.most_names {
            return Err(EntryError::Names);
        }
        self.inodes.push(inode);
        Ok(offset(self.inodes.len() - 1))
    }

    fn push_text(&mut self, text: &[u8]) -> Result<u32, EntryError> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.check_text()?;
        Ok(offset(start))
    }

    const fn check_text(&self) -> Result<(), EntryError> {
        if self.text.len() > MAX_TEXT {
            return Err(EntryError::Text);
        }
        Ok(())
    }

    fn is_dir(&self, node: u32) -> bool {
        self.inode(self.nodes[node as usize].inode).is_dir()
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent, name))
    }

    fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        self.table
            .find(self.hash(parent, name), |index| {
                let node = &self.nodes[*index as usize];
                node.parent == parent && self.name(node) == name
            })
            .copied()
    }

    /// Gives `name` in `parent` this inode; what was there is replaced.
    fn put(&mut self, parent: u32, name: &[u8], inode: u32) -> Result<(), EntryError> {
        let is_dir = self.inode(inode).is_dir();
        let mut flags = 0;
        if let Some(old) = self.find(parent, name) {
            let was = *self.inode(self.nodes[old as usize].inode);
            if was.is_whiteout() && is_dir {
                flags |= IS_OPAQUE;
            }
            if was.is_dir() == is_dir {
                // The name stays; a directory keeps what is in it.
                let is_link = was.is_link() || self.inode(inode).is_link();
                self.nodes[old as usize].inode = inode;
                if is_link {
                    self.forget_last();
                }
                return Ok(());
            }
            self.remove(parent, name);
        }
        if self.nodes.len() >= self.most_names {
            return Err(EntryError::Names);
        }
        let node = Node {
            parent,
            name: self.push_text(name)?,
            inode,
            name_len: u8::try_from(name.len()).map_err(|_| PathError::NameTooLong)?,
            flags,
        };
        let index = offset(self.nodes.len());
        self.nodes.push(node);
        let hash = self.hash(parent, name);
        let Self {
            table,
            nodes,
            text,
            hasher,
            ..
        } = self;
        table.insert_unique(hash, index, |other| {
            let node = &nodes[*other as usize];
            hasher.hash_one((
                node.parent,
                &text[node.name as usize..][..usize::from(node.name_len)],
            ))
        });
        Ok(())
    }

    /// Takes a name and all below it away.
    fn remove(&mut self, parent: u32, name: &[u8]) {
        let hash = self.hash(parent, name);
        let Self {
            table, nodes, text, ..
        } = self;
        let entry = table.find_entry(hash, |index| {
            let node = &nodes[*index as usize];
            node.parent == parent
                && &text[node.name as usize..][..usize::from(node.name_len)] == name
        });
        if let Ok(entry) = entry {
            let (index, _) = entry.remove();
            // Its children stay in the table under a parent that nobody reaches any more.
            nodes[index as usize].flags |= DEAD;
            self.forget_last();
        }
    }

    fn forget_last(&mut self) {
        self.last.0.clear();
        self.last.1 = ROOT;
    }

    /// The directory that `path` leads to, made if it is missing.
    fn directory(&mut self, path: &[u8]) -> Result<u32, EntryError> {
        if self.last.0 == path {
            return Ok(self.last.1);
        }
        let dir = self
            .resolve(ROOT, path, true)?
            .ok_or(EntryError::NotADirectory)?;
        self.last.0.clear();
        self.last.0.extend_from_slice(path);
        self.last.1 = dir;
        Ok(dir)
    }

    /// Walks `path` from `start`; links are followed inside the layer, and `..` of a link's target stops at the root.
    ///
    /// `None` if something is missing and not to be made.
    fn resolve(&mut self, start: u32, path: &[u8], make: bool) -> Result<Option<u32>, EntryError> {
        let mut at = start;
        // Only a link needs a text of its own.
        let mut owned: Vec<u8>;
        let mut rest = path;
        let mut links = 0;
        loop {
            let Some((name, after)) = first_component(rest) else {
                return Ok(Some(at));
            };
            rest = after;
            if name == b".." {
                at = self.nodes[at as usize].parent;
                continue;
            }
            let Some(node) = self.find(at, name) else {
                if !make {
                    return Ok(None);
                }
                path::check(name)?;
                at = self.make_directory(at, name)?;
                continue;
            };
            let inode = *self.inode(self.nodes[node as usize].inode);
            if inode.is_dir() {
                at = node;
            } else if inode.is_link() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(EntryError::Links);
                }
                let target = self.target(&inode);
                if target.first() == Some(&b'/') {
                    at = ROOT;
                }
                if target.len() + rest.len() > 2 * path::MAX_PATH {
                    return Err(PathError::TooLong.into());
                }
                owned = [target, b"/", rest].concat();
                rest = &owned;
            } else if inode.is_whiteout() {
                if !make {
                    return Ok(None);
                }
                at = self.make_directory(at, name)?;
            } else {
                return Err(EntryError::NotADirectory);
            }
        }
    }

    fn make_directory(&mut self, parent: u32, name: &[u8]) -> Result<u32, EntryError> {
        let inode = self.push_inode(Inode::IMPLIED)?;
        self.put(parent, name, inode)?;
        Ok(offset(self.nodes.len() - 1))
    }
}

/// Below [`MAX_NAMES`] and [`MAX_TEXT`] every index and offset fits.
fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(NONE)
}

fn block_of(place: Place) -> Result<(bool, u32), EntryError> {
    let (side, at) = match place {
        Place::None => return Ok((false, super::format::NULL_BLOCK)),
        Place::Tar(at) => (false, at),
        Place::Side(at) => (true, at),
    };
    let block = u32::try_from(at / BLOCK).map_err(|_| EntryError::Far)?;
    Ok((side, block))
}

/// Parent and last component; both without what means nothing at the end.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let path = trim(path);
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Without trailing `/` and `/.`; empty for the root.
fn trim(mut path: &[u8]) -> &[u8] {
    loop {
        match path {
            [rest @ .., b'/'] | [rest @ .., b'/', b'.'] => path = rest,
            b"." => return b"",
            _ => return path,
        }
    }
}

fn first_component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = path;
    loop {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        if !name.is_empty() && name != b"." {
            return Some((name, rest));
        }
    }
}

/// Entries below AUFS' bookkeeping are left out; below a deletion mark there can be none.
fn reserved_parent(parent: &[u8]) -> Result<Option<Added>, EntryError> {
    if !parent.windows(WHITEOUT.len()).any(|part| part == WHITEOUT) {
        return Ok(None);
    }
    for name in path::components(parent) {
        if name.starts_with(AUFS) {
            return Ok(Some(Added::LeftOut));
        }
        if name.starts_with(WHITEOUT) {
            return Err(EntryError::Reserved);
        }
    }
    Ok(None)
}
