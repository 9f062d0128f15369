//! The list of what a COPY puts into its layer: destination paths with their metadata and where the bytes come from.
//!
//! Paths lie in one arena, an entry takes 56 bytes, so a list of 62,000 files takes 8 MB.

use std::collections::HashMap;

use crate::context::tree::{NodeId, NodeKind, Time, compare_paths};

/// Where the content of an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A directory that is made on the way, with the metadata in the entry.
    Made,
    /// A directory that the root file system has already, repeated with its metadata: a layer that has a file in it must also say
    /// what the directory is like.
    Kept(u32),
    /// A node of the source's tree.
    Node(NodeId),
    /// A heredoc, by its number.
    Inline(u32),
    /// Another name of an earlier entry, by its number in the list.
    Link(u32),
}

/// One entry of the layer to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    start: u32,
    len: u16,
    pub(crate) kind: NodeKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) from: From,
    pub(crate) mtime: Time,
}

/// Two sources that cannot be at the same path: a directory and something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) path: Vec<u8>,
}

/// The entries, sorted by path once they are finished; see [`Entries::finish`].
#[derive(Debug, Default)]
pub(crate) struct Entries {
    arena: Vec<u8>,
    list: Vec<Entry>,
    /// The first name of each file that has several, by device and inode.
    names: HashMap<(u64, u64), u32>,
}

/// What an entry is like, apart from its path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Like {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    pub(crate) fn get(&self, number: u32) -> &Entry {
        &self.list[number as usize]
    }

    pub(crate) fn path(&self, entry: &Entry) -> &[u8] {
        &self.arena[entry.start as usize..entry.start as usize + usize::from(entry.len)]
    }

    /// Adds an entry. The path is relative to the root of the file system.
    pub(crate) fn push(&mut self, path: &[u8], like: Like, from: From) {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(path);
        self.list.push(Entry {
            start,
            // The kernel takes no path that is longer than 4096 bytes; `layer` says so if one is.
            len: u16::try_from(path.len()).unwrap_or(u16::MAX),
            kind: like.kind,
            mode: like.mode as u16 & 0o7777,
            uid: like.uid,
            gid: like.gid,
            from,
            mtime: like.mtime,
        });
    }

    /// Adds a file that may have other names; the second name becomes a link to the first.
    pub(crate) fn push_linked(&mut self, path: &[u8], like: Like, node: NodeId, inode: (u64, u64)) {
        let number = self.list.len() as u32;
        let first = *self.names.entry(inode).or_insert(number);
        let from = if first == number {
            From::Node(node)
        } else {
            From::Link(first)
        };
        self.push(path, like, from);
    }

    /// Forgets which files have other names: links are kept within one source.
    pub(crate) fn next_source(&mut self) {
        self.names.clear();
    }

    /// Sorts the entries and lets later ones win over earlier ones of the same path.
    pub(crate) fn finish(&mut self) -> Result<(), Conflict> {
        self.names = HashMap::new();
        let sorted = self
            .list
            .windows(2)
            .all(|pair| compare_paths(self.path(&pair[0]), self.path(&pair[1])).is_lt());
        if sorted {
            return Ok(());
        }
        let mut order: Vec<u32> = (0..self.list.len() as u32).collect();
        order.sort_by(|a, b| compare_paths(self.path(self.get(*a)), self.path(self.get(*b))));
        let mut kept: Vec<u32> = Vec::with_capacity(order.len());
        for number in order {
            let entry = self.get(number);
            let Some(last) = kept
                .last_mut()
                .filter(|last| self.path(self.get(**last)) == self.path(entry))
            else {
                kept.push(number);
                continue;
            };
            let earlier = self.get(*last);
            if (earlier.kind == NodeKind::Dir) != (entry.kind == NodeKind::Dir) {
                return Err(Conflict {
                    path: self.path(entry).to_vec(),
                });
            }
            // A directory that was made or is there already is nothing new for a source that merely passes through it.
            if !matches!(entry.from, From::Made | From::Kept(_)) {
                *last = number;
            }
        }
        self.reorder(&kept);
        Ok(())
    }

    /// Puts the entries into the order of `kept` and lets links point to the right ones.
    fn reorder(&mut self, kept: &[u32]) {
        // The first of the names that are left, in the new order, has the content.
        let mut first: HashMap<u32, u32> = HashMap::new();
        let mut place: HashMap<u32, NodeId> = HashMap::new();
        for entry in &self.list {
            if let From::Link(original) = entry.from
                && let From::Node(node) = self.get(original).from
            {
                place.insert(original, node);
            }
        }
        let mut list = Vec::with_capacity(kept.len());
        for number in kept {
            let mut entry = *self.get(*number);
            let original = match entry.from {
                From::Link(original) => original,
                _ => *number,
            };
            if let Some(node) = place.get(&original) {
                let at = *first.entry(original).or_insert(list.len() as u32);
                entry.from = if at == list.len() as u32 {
                    From::Node(*node)
                } else {
                    From::Link(at)
                };
            }
            list.push(entry);
        }
        self.list = list;
    }
}
