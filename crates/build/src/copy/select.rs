//! What a source of COPY or ADD names in a tree: wildcards, links, and what is not there.

use super::glob::{self, BadPattern};
use crate::context::tree::{NodeId, NodeKind, Tree};

/// As many links as the kernel follows before it says that there are too many.
const MAX_LINKS: u32 = 40;

/// One thing that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Links followed, so never a symbolic link.
    pub(crate) node: NodeId,
    /// The last component of the name under which it was found: what it is called inside a directory that it is copied to.
    pub(crate) name: Vec<u8>,
    /// The path under which it was found, links not followed.
    pub(crate) path: Vec<u8>,
}

/// Why a source names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// No such file.
    NotFound,
    /// The pattern is malformed.
    Pattern,
    /// Links that lead to each other.
    Loop,
    /// The path leads into a directory that the walk did not enter: walk again, wanting everything.
    Unread,
}

impl From<BadPattern> for Nothing {
    fn from(_: BadPattern) -> Self {
        Self::Pattern
    }
}

/// The components of a path, `.` and empty ones dropped, `..` applied and held at the root.
pub(crate) fn components(path: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                found.pop();
            }
            part => found.push(part),
        }
    }
    found
}

/// All that `source` names in `tree`, sorted. A pattern that matches nothing gives nothing; a plain name must be there.
pub(crate) fn select(tree: &Tree, source: &[u8]) -> Result<Vec<Selected>, Nothing> {
    let parts = components(source);
    let literal = parts
        .iter()
        .position(|part| glob::has_wildcards(part))
        .unwrap_or(parts.len());
    let (stem, pattern) = parts.split_at(literal);
    let start = match resolve(tree, 0, stem) {
        Ok(start) => start,
        // `COPY nodir/* .` is as harmless as `COPY dir/nomatch* .`.
        Err(Nothing::NotFound) if !pattern.is_empty() => return Ok(Vec::new()),
        Err(nothing) => return Err(nothing),
    };
    let stem_path = stem.join(&b'/');
    if pattern.is_empty() {
        let name = stem.last().map_or_else(Vec::new, |name| name.to_vec());
        return Ok(vec![Selected {
            node: start,
            name,
            path: stem_path,
        }]);
    }
    let mut found = Vec::new();
    expand(tree, start, &stem_path, pattern, &mut found)?;
    found
        .into_iter()
        .filter_map(|(node, path)| {
            let at = path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(0, |slash| slash + 1);
            let name = path[at..].to_vec();
            match follow(tree, node) {
                Ok(node) => Some(Ok(Selected { node, name, path })),
                // A link that leads nowhere is not worth failing for if nobody named it.
                Err(Nothing::NotFound) => None,
                Err(nothing) => Some(Err(nothing)),
            }
        })
        .collect()
}

/// Matches the components of `pattern` below a directory. Links on the way are not followed, as with a directory walk.
fn expand(
    tree: &Tree,
    dir: NodeId,
    path: &[u8],
    pattern: &[&[u8]],
    found: &mut Vec<(NodeId, Vec<u8>)>,
) -> Result<(), Nothing> {
    let Some((first, rest)) = pattern.split_first() else {
        return Ok(());
    };
    if tree.node(dir).unread {
        return Err(Nothing::Unread);
    }
    // A malformed pattern is an error also where there is nothing to match.
    glob::matches(first, b"")?;
    for child in tree.children(dir) {
        if !glob::matches(first, tree.name(child))? {
            continue;
        }
        let mut child_path = path.to_vec();
        if !child_path.is_empty() {
            child_path.push(b'/');
        }
        child_path.extend_from_slice(tree.name(child));
        if rest.is_empty() {
            found.push((child, child_path));
        } else if tree.node(child).stat.kind == NodeKind::Dir {
            expand(tree, child, &child_path, rest, found)?;
        }
    }
    Ok(())
}

/// What a node is once links are followed.
pub(crate) fn follow(tree: &Tree, node: NodeId) -> Result<NodeId, Nothing> {
    if tree.node(node).stat.kind != NodeKind::Symlink {
        return Ok(node);
    }
    let parent = tree.node(node).parent;
    resolve(tree, parent, &[tree.name(node)])
}

/// Follows a path from `start`, links included, never above the root.
pub(crate) fn resolve(tree: &Tree, start: NodeId, parts: &[&[u8]]) -> Result<NodeId, Nothing> {
    let mut at = start;
    let mut links = 0;
    // What is still to be walked, last first.
    let mut rest: Vec<&[u8]> = parts.iter().rev().copied().collect();
    while let Some(part) = rest.pop() {
        match part {
            b"" | b"." => continue,
            b".." => {
                at = tree.node(at).parent;
                continue;
            }
            _ => {}
        }
        if tree.node(at).stat.kind != NodeKind::Dir {
            return Err(Nothing::NotFound);
        }
        if tree.node(at).unread {
            return Err(Nothing::Unread);
        }
        let child = tree.child(at, part).ok_or(Nothing::NotFound)?;
        if tree.node(child).stat.kind != NodeKind::Symlink {
            at = child;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Nothing::Loop);
        }
        let target = tree.target(child);
        if target.starts_with(b"/") {
            at = 0;
        }
        rest.extend(target.split(|byte| *byte == b'/').rev());
    }
    if tree.node(at).unread {
        return Err(Nothing::Unread);
    }
    Ok(at)
}
