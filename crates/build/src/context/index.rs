//! The stat index: what is known of a context's files from the last build, so that an unchanged file is not read again.
//!
//! One file per context directory and ignore file, `contexts/<hash>.idx` in the store. All numbers are little-endian.
//!
//! ```text
//! magic      8   "barqidx\x01"
//! nodes      4   count of node records
//! names      4   length of all names together
//! layers     4   count of layers
//! xattrs     4   length of the section of extended attributes
//! written   12   when the walk began that this index is from: seconds (8), nanoseconds (4)
//! reserved   4   zero
//! layer     32   SHA-256 of the DiffID; repeated
//! node     104   see below; repeated, depth first, children sorted by name
//! name       -   the nodes' names in their order, without separators
//! xattr      -   node (4), name length (2), value length (4), name, value; repeated, sorted by node
//! checksum  32   BLAKE3 of everything before
//!
//! node:  end 4 (one past the last node below) · name length 2 · kind 1 · flags 1 (1 known, 2 settled)
//!        size 8 · mtime 8+4 · ctime 8+4 · inode 8 · device 8 · mode 4
//!        digest 32 (BLAKE3) · layer 4 (0 none, else number + 1) · offset of the content in the layer's tar 8
//! ```
//!
//! # When an entry may be believed
//!
//! A file whose `stat` (size, mtime, ctime, inode, device, mode) is what it was has the content that it had, if any change
//! after our reading must have changed the `stat`. The ctime cannot be set by a program, so restoring the mtime does not hide a
//! change. What can hide one is a change within the same tick of the file system's clock as the one before our reading. So
//! an entry is *settled*, and believed, only if
//!
//! - its mtime and its ctime are older than the beginning of the walk by more than the clock's granularity: 100 ms, or 3 s if the
//!   time has no nanoseconds (ext3, FAT), on a local file system, where the file system's clock is ours; or
//! - an index written more than 3 s ago had the same `stat` already, wherever the file lies: all changes within
//!   that tick were over when we read.
//!
//! All other entries are read again by the next build, and are usually settled then.
//!
//! What is not seen: writes through a shared memory map that go to a page which was dirty already when we read it, until the
//! kernel writes that page back (half a minute at most, on a disk); and changes made while the system's clock was set back.

use std::collections::BTreeMap;
use std::path::Path;

use super::tree::{NodeId, NodeKind, Stat, Time, Tree, Xattrs};

const MAGIC: [u8; 8] = *b"barqidx\x01";
const HEADER: usize = 8 + 4 * 4 + 12 + 4;
const RECORD: usize = 104;
const CHECKSUM: usize = 32;

/// The clock's granularity where times have nanoseconds: ten times the longest tick of Linux, 10 ms.
const FINE: u64 = 100_000_000;
/// The same where times have none, and the age that makes any entry trustworthy: more than FAT's two seconds.
const COARSE: u64 = 3_000_000_000;

/// Names the content of a file: BLAKE3.
pub(crate) type ContentDigest = [u8; 32];

/// Where a layer's tar has the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the index's layers.
    pub(crate) layer: u32,
    /// Where in its tar.
    pub(crate) offset: u64,
}

/// What is known of one node's content.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// The digest, if it can be believed.
    pub(crate) digest: Option<ContentDigest>,
    /// Where a layer has it; only with a digest.
    pub(crate) place: Option<Place>,
    /// The digest can be believed by the next build too if the `stat` is the same.
    pub(crate) settled: bool,
    /// The last index had this `stat`, and was old enough that no change since could hide.
    pub(crate) aged: bool,
}

/// An index as it was read.
#[derive(Debug)]
pub(crate) struct Index {
    bytes: Vec<u8>,
    nodes: u32,
    records: usize,
    names: usize,
    name_starts: Vec<u32>,
    /// SHA-256 of the DiffIDs that places refer to.
    pub(crate) layers: Vec<[u8; 32]>,
    pub(crate) written: Time,
    pub(crate) xattrs: BTreeMap<NodeId, Xattrs>,
}

/// One node of an index.
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32_at(self.0, at)
    }

    fn u64(&self, at: usize) -> u64 {
        u64_at(self.0, at)
    }

    fn end(&self) -> NodeId {
        self.u32(0)
    }

    fn flags(&self) -> u8 {
        self.0[7]
    }

    fn is(&self, stat: &Stat) -> bool {
        self.0[6] == stat.kind as u8
            && self.u64(8) == stat.size
            && self.u64(16) == stat.mtime.secs as u64
            && self.u32(24) == stat.mtime.nanos
            && self.u64(28) == stat.ctime.secs as u64
            && self.u32(36) == stat.ctime.nanos
            && self.u64(40) == stat.ino
            && self.u64(48) == stat.dev
            && self.u32(56) == stat.mode
    }

    fn digest(&self) -> ContentDigest {
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.0[60..92]);
        digest
    }

    fn place(&self) -> Option<Place> {
        let layer = self.u32(92).checked_sub(1)?;
        Some(Place {
            layer,
            offset: self.u64(96),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

/// What the last build's index and this build's tree have in common.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// By node of the tree.
    pub(crate) known: Vec<Known>,
    /// Attributes of the files whose `stat` is as it was.
    pub(crate) xattrs: BTreeMap<NodeId, Xattrs>,
    /// For directories that were not read: their range of nodes in the index.
    pub(crate) unread: BTreeMap<NodeId, std::ops::Range<NodeId>>,
    /// True if writing the index again would change nothing: every node of one has its equal in the other.
    pub(crate) same: bool,
    /// How many nodes of the index have an equal in the tree, or lie below one that was not read.
    matched: usize,
    /// How many nodes of the tree have an equal in the index.
    paired: usize,
}

impl Merged {
    /// What is known without an index: nothing.
    pub(crate) fn nothing(tree: &Tree) -> Self {
        Self {
            known: vec![Known::default(); tree.nodes.len()],
            ..Self::default()
        }
    }
}

impl Index {
    /// Reads an index; `None` if it is not one, or is damaged. Nothing depends on it but time.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let body = bytes.len().checked_sub(CHECKSUM)?;
        if body < HEADER
            || bytes[..8] != MAGIC
            || blake3::hash(&bytes[..body]).as_bytes()[..] != bytes[body..]
        {
            return None;
        }
        let nodes = u32_at(&bytes, 8);
        let layer_count = u32_at(&bytes, 16) as usize;
        let layers_end = HEADER.checked_add(layer_count.checked_mul(32)?)?;
        let names = layers_end.checked_add((nodes as usize).checked_mul(RECORD)?)?;
        let xattrs_start = names.checked_add(u32_at(&bytes, 12) as usize)?;
        if xattrs_start.checked_add(u32_at(&bytes, 20) as usize)? != body {
            return None;
        }
        let written = Time {
            secs: u64_at(&bytes, 24) as i64,
            nanos: u32_at(&bytes, 32),
        };
        let layers = bytes[HEADER..layers_end]
            .chunks_exact(32)
            .map(|chunk| chunk.try_into().unwrap_or_default())
            .collect();
        let mut name_starts = Vec::with_capacity(nodes as usize + 1);
        let mut start = 0u32;
        for (id, record) in bytes[layers_end..names].chunks_exact(RECORD).enumerate() {
            let record = Record(record);
            name_starts.push(start);
            start = start.checked_add(u32::from(u16::from_le_bytes([record.0[4], record.0[5]])))?;
            // The checksum says that we wrote this; the bounds are checked all the same.
            if record.end() as usize <= id || record.end() > nodes {
                return None;
            }
            if record
                .place()
                .is_some_and(|place| place.layer as usize >= layer_count)
            {
                return None;
            }
        }
        name_starts.push(start);
        if start as usize != xattrs_start - names {
            return None;
        }
        let xattrs = parse_xattrs(&bytes[xattrs_start..body])?;
        Some(Self {
            nodes,
            records: layers_end,
            names,
            name_starts,
            layers,
            written,
            xattrs,
            bytes,
        })
    }

    fn record(&self, id: NodeId) -> Record<'_> {
        let start = self.records + id as usize * RECORD;
        Record(&self.bytes[start..start + RECORD])
    }

    fn name(&self, id: NodeId) -> &[u8] {
        let start = self.names + self.name_starts[id as usize] as usize;
        let end = self.names + self.name_starts[id as usize + 1] as usize;
        &self.bytes[start..end]
    }

    /// Finds what this index knows of the nodes of `tree`, whose walk began at `now`.
    pub(crate) fn merge(&self, tree: &Tree, now: Time) -> Merged {
        let mut merged = Merged {
            same: true,
            ..Merged::nothing(tree)
        };
        if self.nodes == 0 || tree.nodes.is_empty() {
            merged.same = false;
            return merged;
        }
        let aged = age(self.written, now) > Some(COARSE);
        self.merge_node(tree, 0, 0, aged, &mut merged);
        // The pairs of directories whose children are being compared: next in the tree, its end, next here, its end.
        let mut open = vec![(1, tree.node(0).end, 1, self.record(0).end())];
        while let Some((new, new_end, old, old_end)) = open.last_mut() {
            if *new >= *new_end || *old >= *old_end {
                open.pop();
                continue;
            }
            let (a, b) = (*new, *old);
            match tree.name(a).cmp(self.name(b)) {
                std::cmp::Ordering::Less => *new = tree.node(a).end,
                std::cmp::Ordering::Greater => *old = self.record(b).end(),
                std::cmp::Ordering::Equal => {
                    *new = tree.node(a).end;
                    *old = self.record(b).end();
                    self.merge_node(tree, a, b, aged, &mut merged);
                    // Nothing is below an unread directory of the tree, so there is nothing to compare either.
                    open.push((a + 1, tree.node(a).end, b + 1, self.record(b).end()));
                }
            }
        }
        merged.same &= merged.matched == self.nodes as usize && merged.paired == tree.nodes.len();
        merged
    }

    fn merge_node(&self, tree: &Tree, new: NodeId, old: NodeId, aged: bool, merged: &mut Merged) {
        let (node, record) = (tree.node(new), self.record(old));
        merged.matched += 1;
        merged.paired += 1;
        if node.unread {
            merged.unread.insert(new, old..record.end());
            merged.matched += (record.end() - old - 1) as usize;
        }
        if node.stat.kind != NodeKind::File {
            // Only the names of other nodes are used, so nothing about them can be stale.
            merged.same &= record.0[6] == node.stat.kind as u8;
            return;
        }
        if !record.is(&node.stat) {
            merged.same = false;
            return;
        }
        let settled = record.flags() & 3 == 3;
        merged.same &= settled || record.flags() & 1 == 0;
        merged.known[new as usize] = Known {
            digest: settled.then(|| record.digest()),
            place: if settled { record.place() } else { None },
            settled,
            aged,
        };
        if settled && let Some(xattrs) = self.xattrs.get(&old) {
            merged.xattrs.insert(new, xattrs.clone());
        }
    }
}

fn parse_xattrs(mut bytes: &[u8]) -> Option<BTreeMap<NodeId, Xattrs>> {
    let mut found: BTreeMap<NodeId, Xattrs> = BTreeMap::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at_checked(10)?;
        let name_len = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let (name, rest) = rest.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(u32_at(head, 6) as usize)?;
        found
            .entry(u32_at(head, 0))
            .or_default()
            .push((name.to_vec(), value.to_vec()));
        bytes = rest;
    }
    Some(found)
}

/// How much older than `now` a time is, in nanoseconds; `None` if it is younger.
fn age(then: Time, now: Time) -> Option<u64> {
    let nanos = |time: Time| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    u64::try_from(nanos(now) - nanos(then)).ok()
}

/// True if a later change of a file must show in its `stat`; see the module's documentation. `now` is when the walk
/// began, `local` says that the file lies on a file system whose clock is ours.
pub(crate) fn settles(stat: &Stat, now: Time, local: bool, aged: bool) -> bool {
    aged || local
        && [stat.mtime, stat.ctime].into_iter().all(|time| {
            let granularity = if time.nanos == 0 { COARSE } else { FINE };
            age(time, now) > Some(granularity)
        })
}

/// What an index is made of.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) known: &'a [Known],
    pub(crate) xattrs: &'a BTreeMap<NodeId, Xattrs>,
    pub(crate) layers: &'a [[u8; 32]],
    /// When the walk began.
    pub(crate) now: Time,
    /// The last index, for the directories that were not read.
    pub(crate) old: Option<(&'a Index, &'a BTreeMap<NodeId, std::ops::Range<NodeId>>)>,
}

impl Content<'_> {
    /// The bytes of the index.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut records = Vec::with_capacity(self.tree.nodes.len() * RECORD);
        let mut names = Vec::with_capacity(self.tree.arena.len());
        let mut xattrs = Vec::new();
        let kept = self.old.map_or(BTreeMap::new(), |(old, unread)| {
            unread
                .iter()
                .map(|(id, range)| (*id, (old, range.start + 1..range.end)))
                .collect()
        });
        // How many kept nodes come before each node: their numbers shift by that.
        let mut shift = Vec::with_capacity(kept.len());
        let mut sum = 0;
        for (id, (_, range)) in &kept {
            sum += range.end - range.start;
            shift.push((*id, sum));
        }
        let moved = |id: NodeId| {
            let before = shift.partition_point(|(at, _)| *at < id);
            id + before.checked_sub(1).map_or(0, |last| shift[last].1)
        };
        for (id, node) in self.tree.nodes.iter().enumerate() {
            let id = id as NodeId;
            let place = moved(id);
            let mut end = moved(node.end);
            if let Some((_, range)) = kept.get(&id) {
                end = place + 1 + (range.end - range.start);
            }
            write_record(
                &mut records,
                end,
                node.name.len,
                &node.stat,
                &self.known[id as usize],
            );
            names.extend_from_slice(self.tree.name(id));
            for (name, value) in self.xattrs.get(&id).into_iter().flatten() {
                write_xattr(&mut xattrs, place, name, value);
            }
            if let Some((old, range)) = kept.get(&id) {
                keep(
                    old,
                    range.clone(),
                    place + 1,
                    &mut records,
                    &mut names,
                    &mut xattrs,
                );
            }
        }
        let mut bytes = Vec::with_capacity(
            HEADER + self.layers.len() * 32 + records.len() + names.len() + xattrs.len() + CHECKSUM,
        );
        bytes.extend_from_slice(&MAGIC);
        for number in [
            records.len() / RECORD,
            names.len(),
            self.layers.len(),
            xattrs.len(),
        ] {
            bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        bytes.extend_from_slice(&self.now.secs.to_le_bytes());
        bytes.extend_from_slice(&self.now.nanos.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for layer in self.layers {
            bytes.extend_from_slice(layer);
        }
        bytes.extend_from_slice(&records);
        drop(records);
        bytes.extend_from_slice(&names);
        bytes.extend_from_slice(&xattrs);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }
}

fn write_record(records: &mut Vec<u8>, end: NodeId, name_len: u16, stat: &Stat, known: &Known) {
    records.extend_from_slice(&end.to_le_bytes());
    records.extend_from_slice(&name_len.to_le_bytes());
    let flags = u8::from(known.digest.is_some()) | u8::from(known.settled) << 1;
    records.extend_from_slice(&[stat.kind as u8, flags]);
    records.extend_from_slice(&stat.size.to_le_bytes());
    for time in [stat.mtime, stat.ctime] {
        records.extend_from_slice(&time.secs.to_le_bytes());
        records.extend_from_slice(&time.nanos.to_le_bytes());
    }
    records.extend_from_slice(&stat.ino.to_le_bytes());
    records.extend_from_slice(&stat.dev.to_le_bytes());
    records.extend_from_slice(&stat.mode.to_le_bytes());
    records.extend_from_slice(&known.digest.unwrap_or_default());
    records.extend_from_slice(&known.place.map_or(0, |place| place.layer + 1).to_le_bytes());
    records.extend_from_slice(&known.place.map_or(0, |place| place.offset).to_le_bytes());
}

fn write_xattr(xattrs: &mut Vec<u8>, id: NodeId, name: &[u8], value: &[u8]) {
    xattrs.extend_from_slice(&id.to_le_bytes());
    // The kernel allows names of 255 bytes and values of 64 KiB.
    xattrs.extend_from_slice(&(name.len() as u16).to_le_bytes());
    xattrs.extend_from_slice(&(value.len() as u32).to_le_bytes());
    xattrs.extend_from_slice(name);
    xattrs.extend_from_slice(value);
}

/// Copies nodes of the last index, so that they start at `place` in the new one.
fn keep(
    old: &Index,
    range: std::ops::Range<NodeId>,
    place: NodeId,
    records: &mut Vec<u8>,
    names: &mut Vec<u8>,
    xattrs: &mut Vec<u8>,
) {
    for id in range.clone() {
        let record = old.record(id);
        let start = records.len();
        records.extend_from_slice(record.0);
        let end = record.end() - range.start + place;
        records[start..start + 4].copy_from_slice(&end.to_le_bytes());
        names.extend_from_slice(old.name(id));
        for (name, value) in old.xattrs.get(&id).into_iter().flatten() {
            write_xattr(xattrs, id - range.start + place, name, value);
        }
    }
}

/// Reads the index at `path`; `None` if there is none that can be used.
pub(crate) fn load(path: &Path) -> Option<Index> {
    // Anything that is wrong with the index costs time, nothing else; the build goes on without it.
    Index::parse(sys::fs::read(path).ok()?)
}
