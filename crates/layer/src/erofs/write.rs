//! From the entries of a layer to the bytes of its index.
//!
//! ```text
//! 0      zeros
//! 1024   superblock, device slots, zeros up to 1536
//! 1536   inodes, each with its extended attributes and its inline tail; first the root, then level by level
//! ...    blocks of directories (and link targets) that do not fit behind their inode
//! ```
//!
//! Two passes: the first gives every inode its place, the second writes both areas front to back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::format as f;
use super::tree::{Inode, Node, ROOT, Tree};
use super::xattr;

/// First byte behind superblock and device slots.
const META_START: u64 = 1536;

/// What the index says about the files that hold the data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Devices<'a> {
    /// Bytes of `layer.tar`.
    pub(crate) tar: u64,
    /// Bytes of `side`, if there is one.
    pub(crate) side: Option<u64>,
    /// SHA-256 of `layer.tar` in hexadecimal: the tag of its slot.
    pub(crate) tar_hex: &'a str,
}

/// Why an index cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the layer needs more than 2^32 blocks")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where an inode goes and how its data is kept.
#[derive(Debug, Clone, Copy, Default)]
struct Spot {
    /// Node id; 0 until it has one.
    nid: u32,
    /// Block of the data within the second area.
    block: u32,
    nlink: u32,
    inline: bool,
}

/// The live children of every directory, sorted by name.
struct Children {
    /// Nodes, grouped by parent.
    order: Vec<u32>,
    /// Where the group of a node begins; one more than there are nodes.
    starts: Vec<u32>,
}

impl Children {
    fn new(tree: &Tree) -> Self {
        let nodes = tree.nodes();
        let mut live = vec![false; nodes.len()];
        let mut starts = vec![0u32; nodes.len() + 1];
        live[0] = true;
        // A parent is always before its children.
        for (index, node) in nodes.iter().enumerate().skip(1) {
            if live[node.parent as usize] && !Tree::is_dead(node) {
                live[index] = true;
                starts[node.parent as usize + 1] += 1;
            }
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; starts.last().copied().unwrap_or(0) as usize];
        for (index, node) in nodes.iter().enumerate().skip(1) {
            if live[index] {
                let slot = &mut next[node.parent as usize];
                order[*slot as usize] = u32::try_from(index).unwrap_or_default();
                *slot += 1;
            }
        }
        for pair in starts.windows(2) {
            order[pair[0] as usize..pair[1] as usize].sort_unstable_by(|a, b| {
                tree.name(&nodes[*a as usize])
                    .cmp(tree.name(&nodes[*b as usize]))
            });
        }
        Self { order, starts }
    }

    fn of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.order[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// The entries of a directory as they are stored: `.` and `..` in their sorted places.
fn entries<'a>(
    tree: &'a Tree,
    children: &'a Children,
    dir: u32,
) -> impl Iterator<Item = (u32, &'a [u8])> {
    let parent = tree.nodes()[dir as usize].parent;
    let list = children.of(dir);
    let dots: [(u32, &[u8]); 2] = [(dir, b"."), (parent, b"..")];
    let first = list.partition_point(|node| tree.name(&tree.nodes()[*node as usize]) < &b"."[..]);
    let second = list.partition_point(|node| tree.name(&tree.nodes()[*node as usize]) < &b".."[..]);
    let named = move |part: &'a [u32]| {
        part.iter()
            .map(|node| (*node, tree.name(&tree.nodes()[*node as usize])))
    };
    named(&list[..first])
        .chain([dots[0]])
        .chain(named(&list[first..second]))
        .chain([dots[1]])
        .chain(named(&list[second..]))
}

/// Bytes of a directory: whole blocks and what the last one uses.
fn directory_size<'a>(entries: impl Iterator<Item = (u32, &'a [u8])>) -> u64 {
    let mut blocks = 0;
    let mut used = 0;
    for (_, name) in entries {
        let need = f::DIRENT as u64 + name.len() as u64;
        if used + need > f::BLOCK {
            blocks += 1;
            used = 0;
        }
        used += need;
    }
    blocks * f::BLOCK + used
}

struct Layout<'a> {
    tree: &'a Tree,
    children: Children,
    /// By inode.
    spots: Vec<Spot>,
    /// Directories in the order in which their inodes are written.
    queue: Vec<u32>,
    /// End of the inodes.
    cursor: u64,
    /// Blocks of the second area.
    blocks: u64,
    inodes: u64,
}

impl<'a> Layout<'a> {
    fn new(tree: &'a Tree) -> Result<Self, WriteError> {
        let mut layout = Self {
            tree,
            children: Children::new(tree),
            spots: vec![Spot::default(); tree.inodes()],
            queue: vec![ROOT],
            cursor: META_START,
            blocks: 0,
            inodes: 0,
        };
        layout.place(ROOT)?;
        let mut at = 0;
        while let Some(dir) = layout.queue.get(at).copied() {
            at += 1;
            for position in
                layout.children.starts[dir as usize]..layout.children.starts[dir as usize + 1]
            {
                let child = layout.children.order[position as usize];
                let node = &tree.nodes()[child as usize];
                if tree.inode(node.inode).is_dir() {
                    layout.queue.push(child);
                    let parent = tree.nodes()[dir as usize].inode;
                    layout.spots[parent as usize].nlink += 1;
                }
                if layout.spots[node.inode as usize].nid == 0 {
                    layout.place(child)?;
                } else {
                    layout.spots[node.inode as usize].nlink += 1;
                }
            }
        }
        layout.cursor = layout.cursor.next_multiple_of(f::BLOCK);
        Ok(layout)
    }

    fn xattr_size(&self, node: &Node) -> usize {
        let body = self.xattr_body(node).len();
        xattr::size(xattr::count(body))
    }

    fn xattr_body(&self, node: &Node) -> std::borrow::Cow<'a, [u8]> {
        let inode = self.tree.inode(node.inode);
        let body = self.tree.xattrs(inode);
        if !Tree::is_opaque(node) {
            return body.into();
        }
        let mut body = body.to_vec();
        xattr::encode_opaque(&mut body);
        body.into()
    }

    /// Gives the inode of `node` its place.
    fn place(&mut self, node: u32) -> Result<(), WriteError> {
        let index = node;
        let node = &self.tree.nodes()[index as usize];
        let inode = self.tree.inode(node.inode);
        let size = self.data_size(index, inode);
        let mut head = f::INODE + self.xattr_size(node) as u64;
        if has_chunks(inode) {
            head = head.next_multiple_of(f::CHUNK) + chunk_count(inode.size) * f::CHUNK;
        }
        let mut spot = Spot {
            nlink: if inode.is_dir() { 2 } else { 1 },
            ..Spot::default()
        };
        let mut at = self.cursor.next_multiple_of(f::SLOT);
        let mut tail = 0;
        if let Some(size) = size {
            tail = size % f::BLOCK;
            let mut blocks = size / f::BLOCK;
            if let Some(start) = inline_start(at, head, tail) {
                spot.inline = true;
                at = start;
            } else if tail > 0 {
                blocks += 1;
                tail = 0;
            }
            spot.block = u32::try_from(self.blocks).map_err(|_| WriteError::TooLarge)?;
            self.blocks += blocks;
        }
        spot.nid = u32::try_from(at / f::SLOT).map_err(|_| WriteError::TooLarge)?;
        self.cursor = at + head + tail;
        self.spots[node.inode as usize] = spot;
        self.inodes += 1;
        Ok(())
    }

    /// Bytes of data that the index itself holds for an inode, if it is of a sort that has such.
    fn data_size(&self, node: u32, inode: &Inode) -> Option<u64> {
        match inode.mode & f::S_IFMT {
            f::S_IFDIR => Some(directory_size(entries(self.tree, &self.children, node))),
            f::S_IFLNK => Some(inode.size),
            _ => None,
        }
    }
}

/// True for a file whose bytes lie in `layer.tar` or `side`.
const fn has_chunks(inode: &Inode) -> bool {
    inode.mode & f::S_IFMT == f::S_IFREG && inode.size > 0 && inode.start != f::NULL_BLOCK
}

const fn chunk_count(size: u64) -> u64 {
    size.div_ceil(f::BLOCK << f::chunk_bits(size))
}

/// Where an inode may begin so that its tail lies in one block behind it; `None` if a block of its own costs less.
fn inline_start(at: u64, head: u64, tail: u64) -> Option<u64> {
    if tail == 0 {
        return None;
    }
    (at..at + f::BLOCK)
        .step_by(usize::try_from(f::SLOT).unwrap_or(32))
        .find(|start| (start + head) % f::BLOCK + tail <= f::BLOCK)
        .filter(|start| start - at + tail < f::BLOCK)
}

/// One of the two areas, written front to back through a buffer.
struct Area<'a> {
    file: &'a File,
    /// Where the buffer begins in the file.
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Area<'a> {
    /// Large enough to make the system calls cheap.
    const BUFFER: usize = 256 << 10;

    fn new(file: &'a File, start: u64) -> Self {
        Self {
            file,
            start,
            buffer: Vec::with_capacity(Self::BUFFER + 4096),
        }
    }

    fn at(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= Self::BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    /// Zeros up to `to`.
    fn pad(&mut self, to: u64) -> io::Result<()> {
        let missing = usize::try_from(to.saturating_sub(self.at())).unwrap_or_default();
        self.buffer.resize(self.buffer.len() + missing, 0);
        self.put(&[])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.start)?;
        self.start += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes the index of `tree` into the empty `file` and gives its size.
pub(crate) fn write(tree: &Tree, devices: &Devices<'_>, file: &File) -> Result<u64, WriteError> {
    let layout = Layout::new(tree)?;
    let data_start = layout.cursor / f::BLOCK;
    let narrow = |blocks: u64| u32::try_from(blocks).map_err(|_| WriteError::TooLarge);
    let total = narrow(data_start + layout.blocks)?;
    let tar_blocks = narrow(devices.tar.div_ceil(f::BLOCK))?;
    let side_blocks = narrow(devices.side.unwrap_or(0).div_ceil(f::BLOCK))?;
    let side_start = total.checked_add(tar_blocks).ok_or(WriteError::TooLarge)?;
    side_start
        .checked_add(side_blocks)
        .filter(|end| *end < f::NULL_BLOCK)
        .ok_or(WriteError::TooLarge)?;
    let output = Output {
        layout: &layout,
        data_start: narrow(data_start)?,
    };
    let mut meta = Area::new(file, 0);
    let slots = [
        (devices.tar_hex, tar_blocks, total),
        ("side", side_blocks, side_start),
    ];
    let slots = &slots[..if devices.side.is_some() { 2 } else { 1 }];
    meta.put(&superblock(&layout, total, slots))?;
    let mut data = Area::new(file, layout.cursor);
    output.inodes(&mut meta, &mut data)?;
    meta.pad(layout.cursor)?;
    meta.flush()?;
    data.pad(u64::from(total) * f::BLOCK)?;
    data.flush()?;
    Ok(u64::from(total) * f::BLOCK)
}

/// The first 1536 bytes.
fn superblock(
    layout: &Layout<'_>,
    blocks: u32,
    slots: &[(&str, u32, u32)],
) -> [u8; META_START as usize] {
    let mut head = [0; META_START as usize];
    let block = &mut head[f::SUPER_OFFSET..];
    let mut set = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let root = layout.spots[layout.tree.nodes()[ROOT as usize].inode as usize].nid;
    let root = u16::try_from(root).unwrap_or_default();
    let slot_offset = (f::SUPER_OFFSET + f::DEVICE_SLOT) / f::DEVICE_SLOT;
    set(0, &f::SUPER_MAGIC.to_le_bytes());
    set(8, &f::COMPAT_MTIME.to_le_bytes());
    set(12, &[f::BLOCK_BITS, 0]);
    set(14, &root.to_le_bytes());
    set(16, &layout.inodes.to_le_bytes());
    set(36, &blocks.to_le_bytes());
    set(f::FORM_OFFSET, &f::FORM);
    set(80, &f::INCOMPAT.to_le_bytes());
    set(
        86,
        &u16::try_from(slots.len()).unwrap_or_default().to_le_bytes(),
    );
    set(
        88,
        &u16::try_from(slot_offset).unwrap_or_default().to_le_bytes(),
    );
    for (index, (tag, blocks, start)) in slots.iter().enumerate() {
        let at = f::DEVICE_SLOT * (index + 1);
        set(at, tag.as_bytes());
        set(at + 64, &blocks.to_le_bytes());
        set(at + 68, &start.to_le_bytes());
    }
    // There, and right, but not announced as a feature: fsck.erofs before 1.8.8 crashes on it where blocks have 512 bytes.
    let checksum = f::crc32c(block);
    block[4..8].copy_from_slice(&checksum.to_le_bytes());
    head
}

struct Output<'a> {
    layout: &'a Layout<'a>,
    /// First block of the second area.
    data_start: u32,
}

impl Output<'_> {
    /// Writes all inodes in the order in which they were placed.
    fn inodes(&self, meta: &mut Area<'_>, data: &mut Area<'_>) -> Result<(), WriteError> {
        let mut number = 1;
        self.inode(ROOT, number, meta, data)?;
        for dir in &self.layout.queue {
            for child in self.layout.children.of(*dir) {
                let node = &self.layout.tree.nodes()[*child as usize];
                let spot = self.layout.spots[node.inode as usize];
                // A further name of what is written already.
                if u64::from(spot.nid) * f::SLOT < meta.at() {
                    continue;
                }
                number += 1;
                self.inode(*child, number, meta, data)?;
            }
        }
        Ok(())
    }

    fn inode(
        &self,
        index: u32,
        number: u32,
        meta: &mut Area<'_>,
        data: &mut Area<'_>,
    ) -> Result<(), WriteError> {
        let tree = self.layout.tree;
        let node = &tree.nodes()[index as usize];
        let inode = tree.inode(node.inode);
        let spot = self.layout.spots[node.inode as usize];
        let body = self.layout.xattr_body(node);
        let content = match inode.mode & f::S_IFMT {
            f::S_IFDIR => self.directory(index),
            f::S_IFLNK => tree.target(inode).to_vec(),
            _ => Vec::new(),
        };
        let size = match inode.mode & f::S_IFMT {
            f::S_IFREG => inode.size,
            _ => content.len() as u64,
        };
        meta.pad(u64::from(spot.nid) * f::SLOT)?;
        let layout = match spot.inline {
            true => f::FLAT_INLINE,
            false if has_chunks(inode) => f::CHUNKS,
            false => f::FLAT_PLAIN,
        };
        let format = f::EXTENDED | layout << 1;
        let mut out = [0; f::INODE as usize];
        let mut set = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, &format.to_le_bytes());
        set(2, &xattr::count(body.len()).to_le_bytes());
        set(4, &inode.mode.to_le_bytes());
        set(8, &size.to_le_bytes());
        set(16, &self.start(inode, spot).to_le_bytes());
        set(20, &number.to_le_bytes());
        set(24, &inode.uid.to_le_bytes());
        set(28, &inode.gid.to_le_bytes());
        set(32, &inode.secs.to_le_bytes());
        set(40, &inode.nanos.to_le_bytes());
        set(44, &spot.nlink.to_le_bytes());
        meta.put(&out)?;
        if !body.is_empty() {
            meta.put(&[0; f::XATTR_HEADER])?;
            meta.put(&body)?;
        }
        if has_chunks(inode) {
            meta.pad(meta.at().next_multiple_of(f::CHUNK))?;
            meta.put(&chunks(inode)?)?;
        }
        let whole = content.len()
            - if spot.inline {
                content.len() % f::BLOCK as usize
            } else {
                0
            };
        data.put(&content[..whole])?;
        data.pad(data.at().next_multiple_of(f::BLOCK))?;
        meta.put(&content[whole..])?;
        Ok(())
    }

    /// The word that says where the data is, how large its chunks are, or which device it is.
    fn start(&self, inode: &Inode, spot: Spot) -> u32 {
        match inode.mode & f::S_IFMT {
            f::S_IFREG if has_chunks(inode) => {
                u32::from(f::CHUNK_INDEXES | f::chunk_bits(inode.size))
            }
            f::S_IFREG => f::NULL_BLOCK,
            f::S_IFDIR | f::S_IFLNK => self.data_start + spot.block,
            _ => inode.start,
        }
    }

    /// The content of a directory.
    fn directory(&self, dir: u32) -> Vec<u8> {
        let block = usize::try_from(f::BLOCK).unwrap_or(512);
        let tree = self.layout.tree;
        let mut out: Vec<u8> = Vec::new();
        let mut pending: Vec<(u32, &[u8])> = Vec::new();
        let mut used = 0;
        for (node, name) in entries(tree, &self.layout.children, dir) {
            let need = f::DIRENT + name.len();
            if used + need > block {
                self.directory_block(&mut pending, &mut out);
                out.resize(out.len().next_multiple_of(block), 0);
                used = 0;
            }
            used += need;
            pending.push((node, name));
        }
        self.directory_block(&mut pending, &mut out);
        out
    }

    fn directory_block(&self, entries: &mut Vec<(u32, &[u8])>, out: &mut Vec<u8>) {
        let mut name_offset = entries.len() * f::DIRENT;
        for (node, name) in entries.iter() {
            let node = &self.layout.tree.nodes()[*node as usize];
            let nid = self.layout.spots[node.inode as usize].nid;
            out.extend_from_slice(&u64::from(nid).to_le_bytes());
            out.extend_from_slice(&u16::try_from(name_offset).unwrap_or_default().to_le_bytes());
            out.push(f::dirent_type(self.layout.tree.inode(node.inode).mode));
            out.push(0);
            name_offset += name.len();
        }
        for (_, name) in entries.drain(..) {
            out.extend_from_slice(name);
        }
    }
}

/// The list of chunks of a file, whose data is in one piece: one, for a file below a TiB.
fn chunks(inode: &Inode) -> Result<Vec<u8>, WriteError> {
    let device = if inode.side {
        f::SIDE_DEVICE
    } else {
        f::TAR_DEVICE
    };
    let bits = f::chunk_bits(inode.size);
    let mut out = Vec::new();
    for chunk in 0..chunk_count(inode.size) {
        let block = u32::try_from(u64::from(inode.start) + (chunk << bits))
            .map_err(|_| WriteError::TooLarge)?;
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&device.to_le_bytes());
        out.extend_from_slice(&block.to_le_bytes());
    }
    Ok(out)
}
