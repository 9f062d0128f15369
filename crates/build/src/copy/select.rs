//! What a source of COPY or ADD names in a tree: wildcards, links, and what is not there.

use std::collections::BTreeSet;

use dockerfile::InvalidValue;
use dockerfile::glob::{self, Component};

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
}

/// Why a source names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// No such file.
    NotFound,
    /// The pattern is malformed.
    Pattern(InvalidValue),
    /// Links that lead to each other.
    Loop,
    /// The path leads into a directory that the walk did not enter: walk again, wanting everything.
    Unread,
}

impl From<InvalidValue> for Nothing {
    fn from(error: InvalidValue) -> Self {
        Self::Pattern(error)
    }
}

/// The components of a path, `.` and empty ones dropped, `..` applied and held at the root.
pub(crate) fn components(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                found.pop();
            }
            part => found.push(part),
        }
    }
    found
}

/// One component of the way to what a source names.
#[derive(Debug)]
pub(crate) enum Want {
    Name(Vec<u8>),
    Pattern(Component),
}

impl Want {
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Pattern(pattern) => pattern.matches(name),
        }
    }
}

/// What of a tree must be read to find what `source` names, if no link is on the way: the directories on the way, and all that is
/// below what is found.
pub(crate) fn wanted(source: &str, parents: bool) -> Vec<Want> {
    let (stem, kept) = match source.split_once("/./") {
        Some((stem, kept)) if parents => (stem, kept),
        _ if parents => ("", source),
        _ => (source, ""),
    };
    let mut wanted = Vec::new();
    let mut wild = false;
    for part in components(stem) {
        wild |= glob::has_wildcards(part);
        match Component::parse(part) {
            Ok(pattern) if wild => wanted.push(Want::Pattern(pattern)),
            // A malformed one is an error later, whatever was read.
            Ok(_) | Err(_) => wanted.push(Want::Name(part.as_bytes().to_vec())),
        }
    }
    for part in components(kept) {
        match Component::parse(part) {
            // Any number of directories from here on.
            Ok(_) if part == "**" => break,
            Ok(pattern) => wanted.push(Want::Pattern(pattern)),
            Err(_) => break,
        }
    }
    wanted
}

/// All that `source` names in `tree`, sorted. A pattern that matches nothing gives nothing; a plain name must be there.
pub(crate) fn select(tree: &Tree, source: &str) -> Result<Vec<Selected>, Nothing> {
    let parts = components(source);
    let literal = parts
        .iter()
        .position(|part| glob::has_wildcards(part))
        .unwrap_or(parts.len());
    let (stem, pattern) = parts.split_at(literal);
    let pattern = pattern
        .iter()
        .map(|part| Component::parse(part))
        .collect::<Result<Vec<_>, _>>()?;
    let stem: Vec<&[u8]> = stem.iter().map(|part| part.as_bytes()).collect();
    let start = match resolve(tree, 0, &stem) {
        Ok(start) => start,
        // `COPY nodir/* .` is as harmless as `COPY dir/nomatch* .`.
        Err(Nothing::NotFound) if !pattern.is_empty() => return Ok(Vec::new()),
        Err(nothing) => return Err(nothing),
    };
    if pattern.is_empty() {
        let name = stem.last().map_or_else(Vec::new, |name| name.to_vec());
        return Ok(vec![Selected { node: start, name }]);
    }
    let mut found = Vec::new();
    expand(tree, start, &pattern, &mut found)?;
    let mut selected = Vec::with_capacity(found.len());
    for node in found {
        let name = tree.name(node).to_vec();
        match follow(tree, node) {
            Ok(node) => selected.push(Selected { node, name }),
            // A link that leads nowhere is not worth failing for if nobody named it.
            Err(Nothing::NotFound) => {}
            Err(nothing) => return Err(nothing),
        }
    }
    Ok(selected)
}

/// Matches the components of `pattern` below a directory. Links on the way are not followed, as with a directory walk.
fn expand(
    tree: &Tree,
    dir: NodeId,
    pattern: &[Component],
    found: &mut Vec<NodeId>,
) -> Result<(), Nothing> {
    let Some((first, rest)) = pattern.split_first() else {
        return Ok(());
    };
    if tree.node(dir).unread {
        return Err(Nothing::Unread);
    }
    for child in tree.children(dir) {
        if !first.matches(tree.name(child)) {
            continue;
        }
        if rest.is_empty() {
            found.push(child);
        } else if tree.node(child).stat.kind == NodeKind::Dir {
            expand(tree, child, rest, found)?;
        }
    }
    Ok(())
}

/// A component of a `--parents` pattern.
enum Part {
    /// Any number of directories.
    Deep,
    One(Component),
}

/// What a source of `COPY --parents` names: directories below which the paths are kept, and the nodes in each.
///
/// The first `/./` marks where the kept path begins; without one it begins at the root.
pub(crate) fn select_parents(
    tree: &Tree,
    source: &str,
) -> Result<Vec<(Selected, BTreeSet<NodeId>)>, Nothing> {
    let (stem, kept) = match source.split_once("/./") {
        Some((stem, kept)) => (stem, kept),
        None => ("", source),
    };
    let mut parts = Vec::new();
    let mut wild = glob::has_wildcards(stem);
    for part in components(kept) {
        wild |= glob::has_wildcards(part);
        parts.push(if part == "**" {
            Part::Deep
        } else {
            Part::One(Component::parse(part)?)
        });
    }
    let mut all = Vec::new();
    let mut any = false;
    for top in select(tree, stem)? {
        let mut nodes = BTreeSet::new();
        if tree.node(top.node).stat.kind == NodeKind::Dir {
            let mut seen = BTreeSet::new();
            expand_deep(tree, top.node, &parts, 0, &mut seen, &mut nodes)?;
        }
        any |= !nodes.is_empty();
        all.push((top, nodes));
    }
    if !any && !wild {
        return Err(Nothing::NotFound);
    }
    Ok(all)
}

/// Matches `parts` from number `at` below a directory. `seen` keeps patterns with many `**` from trying everything
/// again and again.
fn expand_deep(
    tree: &Tree,
    dir: NodeId,
    parts: &[Part],
    at: usize,
    seen: &mut BTreeSet<(NodeId, usize)>,
    found: &mut BTreeSet<NodeId>,
) -> Result<(), Nothing> {
    if !seen.insert((dir, at)) {
        return Ok(());
    }
    let Some(part) = parts.get(at) else {
        found.insert(dir);
        return Ok(());
    };
    if tree.node(dir).unread {
        return Err(Nothing::Unread);
    }
    let last = at + 1 == parts.len();
    if matches!(part, Part::Deep) && !last {
        expand_deep(tree, dir, parts, at + 1, seen, found)?;
    }
    for child in tree.children(dir) {
        let is_dir = tree.node(child).stat.kind == NodeKind::Dir;
        match part {
            Part::Deep if last => {
                found.insert(child);
            }
            Part::Deep if is_dir => expand_deep(tree, child, parts, at, seen, found)?,
            Part::One(component) if component.matches(tree.name(child)) => {
                if last {
                    found.insert(child);
                } else if is_dir {
                    expand_deep(tree, child, parts, at + 1, seen, found)?;
                }
            }
            Part::Deep | Part::One(_) => {}
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

/// What a path leads to that is a link itself.
pub(crate) fn dangling(tree: &Tree, path: &str) -> Option<String> {
    let parts = components(path);
    let (last, above) = parts.split_last()?;
    let above: Vec<&[u8]> = above.iter().map(|part| part.as_bytes()).collect();
    let link = tree.child(resolve(tree, 0, &above).ok()?, last.as_bytes())?;
    (tree.node(link).stat.kind == NodeKind::Symlink)
        .then(|| String::from_utf8_lossy(tree.target(link)).into_owned())
}

/// Most names of a directory that are compared with one that is not there. Each costs some microseconds.
const MAX_COMPARED: usize = 10_000;

/// The path nearest to one that is not there: as far as it is right, then the name most like the next one.
pub(crate) fn nearest(tree: &Tree, path: &str) -> Option<String> {
    let parts = components(path);
    let mut at = 0;
    for (index, part) in parts.iter().enumerate() {
        if let Ok(next) = resolve(tree, at, &[part.as_bytes()]) {
            at = next;
            continue;
        }
        let names: Vec<&str> = tree
            .children(at)
            .take(MAX_COMPARED)
            .filter_map(|child| std::str::from_utf8(tree.name(child)).ok())
            .collect();
        let found = dockerfile::nearest(part, names)?;
        let mut meant = parts[..index].to_vec();
        meant.push(found);
        // The rest of the path may be right.
        let whole: Vec<&str> = meant.iter().chain(&parts[index + 1..]).copied().collect();
        let bytes: Vec<&[u8]> = whole.iter().map(|part| part.as_bytes()).collect();
        return Some(match resolve(tree, 0, &bytes) {
            Ok(_) => whole.join("/"),
            Err(_) => meant.join("/"),
        });
    }
    None
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
