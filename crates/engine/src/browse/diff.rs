//! `barque diff`: which paths differ between two trees.

use std::collections::BTreeMap;
use std::io::{self, Read};

use layer::{FileType, IndexError, Part, View, ViewEntry, ViewNode, path};
use oci::DiffId;
use serde::Serialize;

use crate::{Engine, Error};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second tree has it.
    Added,
    /// Both have it, with other content, kind, permissions, owner or extended attributes.
    Changed,
    /// Only the first tree has it.
    Deleted,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeRow {
    /// How it differs.
    pub kind: Change,
    /// The path from the root, with a leading `/`.
    pub path: String,
}

impl Engine {
    /// The paths that differ between two images, each directory before what is in it, sorted by name within it.
    ///
    /// Times do not count, since a rebuild changes them everywhere; and of a directory only its own metadata does.
    ///
    /// # Errors
    ///
    /// There is no such image, or it cannot be read.
    pub fn diff_images(&self, from: &str, to: &str) -> Result<Vec<ChangeRow>, Error> {
        let (from, to) = (self.open_image(from)?, self.open_image(to)?);
        let left = Side {
            view: &from.view,
            layers: &from.image.layers,
        };
        let right = Side {
            view: &to.view,
            layers: &to.image.layers,
        };
        changes(left, right).map_err(|source| to.failed(source))
    }
}

/// A tree to be compared: a view, and what its layers are.
#[derive(Debug, Clone, Copy)]
pub struct Side<'v> {
    /// The tree.
    pub view: &'v View,
    /// The layers that it is a view of, bottom first.
    pub layers: &'v [DiffId],
}

impl Side<'_> {
    /// True if both sides read these nodes from the same place, so that all below is the same.
    fn is_same(&self, node: &ViewNode, other: &Side<'_>, others: &ViewNode) -> bool {
        let identity =
            |side: &Side<'_>, part: &Part| (side.layers.get(part.layer).copied(), part.node);
        let (ours, theirs) = (node.parts(), others.parts());
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(a, b)| {
                let id = identity(self, a);
                id.0.is_some() && id == identity(other, b)
            })
    }

    fn children(&self, node: Option<&ViewNode>) -> Result<Vec<ViewEntry>, IndexError> {
        match node {
            Some(node) if node.kind() == FileType::Dir => self.view.read_dir(node),
            _ => Ok(Vec::new()),
        }
    }
}

/// One path with what each side has there.
type Pair = (Vec<u8>, Option<ViewNode>, Option<ViewNode>);

/// The paths that differ between two trees.
///
/// What both sides take from the same layers is not looked at.
///
/// # Errors
///
/// An index is damaged or cannot be read.
pub fn changes(from: Side<'_>, to: Side<'_>) -> Result<Vec<ChangeRow>, IndexError> {
    let mut rows = Vec::new();
    let mut pending: Vec<Pair> = vec![(Vec::new(), from.view.root()?, to.view.root()?)];
    while let Some((path, left, right)) = pending.pop() {
        if let (Some(left), Some(right)) = (&left, &right)
            && from.is_same(left, &to, right)
        {
            continue;
        }
        let kind = match (&left, &right) {
            (Some(left), Some(right)) => differs(from, left, to, right)?.then_some(Change::Changed),
            (Some(_), None) => Some(Change::Deleted),
            (None, Some(_)) => Some(Change::Added),
            (None, None) => None,
        };
        if let Some(kind) = kind {
            rows.push(ChangeRow {
                kind,
                path: format!("/{}", String::from_utf8_lossy(&path)),
            });
        }
        if path.len() > 2 * path::MAX_PATH {
            // Longer than anything that a tar could name: an index leads in a circle.
            return Err(IndexError::Links(path));
        }
        descend(
            &path,
            from.children(left.as_ref())?,
            to.children(right.as_ref())?,
            &mut pending,
        );
    }
    Ok(rows)
}

/// Puts the children of both sides under their names, so that the first name comes off first.
fn descend(path: &[u8], left: Vec<ViewEntry>, right: Vec<ViewEntry>, pending: &mut Vec<Pair>) {
    let mut names: BTreeMap<Vec<u8>, (Option<ViewNode>, Option<ViewNode>)> = BTreeMap::new();
    for entry in left {
        names.entry(entry.name).or_default().0 = Some(entry.node);
    }
    for entry in right {
        names.entry(entry.name).or_default().1 = Some(entry.node);
    }
    pending.extend(names.into_iter().rev().map(|(name, (left, right))| {
        let mut full = path.to_vec();
        if !full.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(&name);
        (full, left, right)
    }));
}

fn differs(
    from: Side<'_>,
    left: &ViewNode,
    to: Side<'_>,
    right: &ViewNode,
) -> Result<bool, IndexError> {
    let (a, b) = (from.view.stat(left)?, to.view.stat(right)?);
    if (a.kind, a.mode, a.uid, a.gid, a.rdev) != (b.kind, b.mode, b.uid, b.gid, b.rdev)
        || a.xattrs != b.xattrs
    {
        return Ok(true);
    }
    match a.kind {
        FileType::File => Ok(a.size != b.size || !same_bytes(from, left, to, right)?),
        FileType::Symlink => Ok(from.view.read_link(left)? != to.view.read_link(right)?),
        _ => Ok(false),
    }
}

fn same_bytes(
    from: Side<'_>,
    left: &ViewNode,
    to: Side<'_>,
    right: &ViewNode,
) -> Result<bool, IndexError> {
    let (mut a, mut b) = (from.view.open(left)?, to.view.open(right)?);
    let failed = |error| IndexError::Io(sys::fs::Error::new("read", "a layer", error));
    let (mut ours, mut theirs) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = fill(&mut a, &mut ours).map_err(failed)?;
        let other = fill(&mut b, &mut theirs).map_err(failed)?;
        if ours[..count] != theirs[..other] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
