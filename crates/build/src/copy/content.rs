//! The content key of a COPY: a hash over everything that its layer will hold, modification times apart.
//!
//! Paths, types, modes, owners, sizes, link targets, device numbers, extended attributes and the digests of contents go in, in
//! the order of the layer, each with its length. Two copies with the same key make the same layer but for times, whatever
//! instruction, context or stage they come from.

use crate::context::tree::NodeKind;

use super::entries::{Entries, Entry, From};
use super::source::Source;

/// Bytes gathered before they are hashed: BLAKE3 is fast only on more than a few kilobytes at once.
const GATHERED: usize = 128 << 10;

/// Most parts that a key is split into for explanations.
const MAX_PARTS: usize = 256;

/// A hash over entries, whole and in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentKey {
    pub(crate) hash: [u8; 32],
    /// The names of parts, paths in the layer, and their hashes: what a difference is explained with.
    pub(crate) parts: Vec<(String, [u8; 32])>,
}

struct Hash {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl Hash {
    fn new() -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            gathered: Vec::with_capacity(GATHERED + 8192),
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        self.gathered
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.gathered.extend_from_slice(bytes);
    }

    fn turn(&mut self) {
        if self.gathered.len() >= GATHERED {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    fn finish(&mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        self.gathered.clear();
        let hash = *self.hasher.finalize().as_bytes();
        self.hasher.reset();
        hash
    }
}

/// The contents of heredocs, and the tree that nodes are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) source: Option<&'a Source>,
    pub(crate) inline: &'a [(String, Vec<u8>)],
    pub(crate) kept: &'a [layer::Stat],
}

/// The key, or `None` if the content of a file is not known yet.
pub(crate) fn key(entries: &Entries, contents: Contents<'_>) -> Option<ContentKey> {
    let depth = split_depth(entries);
    let mut parts: Vec<(String, [u8; 32])> = Vec::new();
    let mut hash = Hash::new();
    let mut part: &[u8] = &[];
    let mut begun = false;
    for entry in entries.iter() {
        let path = entries.path(entry);
        let name = prefix(path, depth);
        if begun && name != part {
            parts.push((String::from_utf8_lossy(part).into_owned(), hash.finish()));
        }
        part = name;
        begun = true;
        add(&mut hash, entries, entry, contents)?;
        hash.turn();
    }
    if begun {
        parts.push((String::from_utf8_lossy(part).into_owned(), hash.finish()));
    }
    let mut whole = Hash::new();
    whole.field(b"barque copy 1");
    for (name, sum) in &parts {
        whole.field(name.as_bytes());
        whole.field(sum);
    }
    Some(ContentKey {
        hash: whole.finish(),
        parts,
    })
}

/// At how many components paths are cut to give at most [`MAX_PARTS`] parts, but as many of them as possible.
fn split_depth(entries: &Entries) -> usize {
    if entries.len() <= MAX_PARTS {
        return usize::MAX;
    }
    let mut depth = 1;
    loop {
        let mut parts = 0;
        let mut last: Option<&[u8]> = None;
        for entry in entries.iter() {
            let name = prefix(entries.path(entry), depth + 1);
            if last != Some(name) {
                parts += 1;
                last = Some(name);
            }
            if parts > MAX_PARTS {
                return depth;
            }
        }
        depth += 1;
        if depth > 64 {
            return depth;
        }
    }
}

/// The first `count` components of a path.
fn prefix(path: &[u8], count: usize) -> &[u8] {
    if count == usize::MAX {
        return path;
    }
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match slashes.map(|(at, _)| at).nth(count - 1) {
        Some(at) => &path[..at],
        None => path,
    }
}

fn add(hash: &mut Hash, entries: &Entries, entry: &Entry, contents: Contents<'_>) -> Option<()> {
    hash.field(entries.path(entry));
    let mut head = [0; 11];
    head[0] = entry.kind as u8;
    head[1..3].copy_from_slice(&entry.mode.to_le_bytes());
    head[3..7].copy_from_slice(&entry.uid.to_le_bytes());
    head[7..11].copy_from_slice(&entry.gid.to_le_bytes());
    hash.gathered.extend_from_slice(&head);
    let node = match entry.from {
        From::Made => {
            xattrs(hash, &[]);
            return Some(());
        }
        From::Kept(number) => {
            xattrs(hash, &contents.kept.get(number as usize)?.xattrs);
            return Some(());
        }
        From::Link(first) => {
            hash.gathered.push(b'L');
            hash.field(entries.path(entries.get(first)));
            return Some(());
        }
        From::Inline(number) => {
            let (_, content) = contents.inline.get(number as usize)?;
            file(hash, content.len() as u64, blake3::hash(content).as_bytes());
            xattrs(hash, &[]);
            return Some(());
        }
        From::Node(node) => node,
    };
    let source = contents.source?;
    let stat = &source.tree().node(node).stat;
    match stat.kind {
        NodeKind::File => {
            file(hash, stat.size, &source.digest(node)?);
            xattrs(hash, source.xattrs(node));
        }
        NodeKind::Dir => xattrs(hash, source.xattrs(node)),
        NodeKind::Symlink => hash.field(source.tree().target(node)),
        NodeKind::CharDevice | NodeKind::BlockDevice => {
            hash.gathered.extend_from_slice(&stat.rdev.0.to_le_bytes());
            hash.gathered.extend_from_slice(&stat.rdev.1.to_le_bytes());
        }
        NodeKind::Fifo | NodeKind::Socket => {}
    }
    Some(())
}

fn file(hash: &mut Hash, size: u64, digest: &[u8; 32]) {
    hash.gathered.push(b'F');
    hash.gathered.extend_from_slice(&size.to_le_bytes());
    hash.gathered.extend_from_slice(digest);
}

fn xattrs(hash: &mut Hash, xattrs: &[(Vec<u8>, Vec<u8>)]) {
    hash.gathered
        .extend_from_slice(&(xattrs.len() as u32).to_le_bytes());
    for (name, value) in xattrs {
        hash.field(name);
        hash.field(value);
    }
}
