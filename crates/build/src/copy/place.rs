//! Where the things that COPY selected go: the entries of the layer, with all that the root file system says about it.

use std::collections::BTreeSet;

use dockerfile::ignore::{Level, Patterns};
use layer::{FileType, IndexError, Stat, ViewNode};

use super::entries::{Entries, From, Like};
use super::select::Selected;
use crate::context::tree::{NodeId, NodeKind, Time, Tree};
use crate::rootfs::{Rootfs, Way};
use crate::users::Owner;

/// Why something cannot be where it should be.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A directory over something else.
    #[error("cannot copy a directory to `/{0}`, which is not a directory")]
    DirOverFile(String),
    /// Something else over a directory.
    #[error("cannot copy a file to `/{0}`, which is a directory")]
    FileOverDir(String),
    /// A parent directory that is something else.
    #[error("cannot create the directory `/{0}`: something else has this name")]
    NotADirectory(String),
    /// A directory of the source that nobody looked into.
    #[error("the directory `{0}` of the context was not read")]
    Unread(String),
    /// The root file system cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// How copied things get their owners and modes.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// `--chown`.
    pub(crate) owner: Option<Owner>,
    /// `--chmod`.
    pub(crate) mode: Option<dockerfile::chmod::Chmod>,
    /// Files keep their owner if there is no `--chown`: they come from an image, not from somebody's disk.
    pub(crate) keep_owner: bool,
    /// The time of what is made on the way, if there is one for the build: `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<Time>,
    /// `--exclude`.
    pub(crate) exclude: Patterns,
    /// Destination links are not followed and nothing below counts: `--link`.
    pub(crate) link: bool,
}

impl Rules {
    /// What a made directory is like; `above` is the time of the directory that it is made in.
    fn made(&self, above: Time) -> Like {
        let owner = self.owner.unwrap_or(Owner::ROOT);
        Like {
            kind: NodeKind::Dir,
            mode: self
                .mode
                .as_ref()
                .map_or(0o755, |mode| mode.apply(0o755, true)),
            uid: owner.uid,
            gid: owner.gid,
            // No clock: the same copy into the same image is the same layer.
            mtime: self.epoch.unwrap_or_else(|| Time::from_secs(above.secs)),
        }
    }

    /// What the copy of a node is like.
    pub(crate) fn copied(&self, tree: &Tree, id: NodeId) -> Like {
        let stat = &tree.node(id).stat;
        let own = if self.keep_owner {
            Owner {
                uid: stat.uid,
                gid: stat.gid,
            }
        } else {
            Owner::ROOT
        };
        let owner = self.owner.unwrap_or(own);
        let mode = match &self.mode {
            Some(mode) if stat.kind != NodeKind::Symlink => {
                mode.apply(stat.mode, stat.kind == NodeKind::Dir)
            }
            _ => stat.mode,
        };
        // A socket has no meaning without the process that listens.
        let kind = if stat.kind == NodeKind::Socket {
            NodeKind::File
        } else {
            stat.kind
        };
        // Whole seconds, as other builders: a fraction costs an extended header in the tar, a kilobyte a file.
        Like {
            kind,
            mode,
            uid: owner.uid,
            gid: owner.gid,
            mtime: Time::from_secs(stat.mtime.secs),
        }
    }
}

/// The destination of a copy, and what is there by now.
#[derive(Debug)]
pub(crate) struct Destination<'a> {
    root: &'a Rootfs,
    rules: &'a Rules,
    way: Way,
    /// What is at the end of the way: in the root file system, or since an earlier source.
    kind: Option<FileType>,
    /// The destination itself is in the list, or need not be.
    listed: bool,
    /// Metadata of the kept directories.
    pub(crate) kept: Vec<Stat>,
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl<'a> Destination<'a> {
    /// Looks where `path` leads. `is_dir` says that it must be a directory: it was written with a slash at its end.
    pub(crate) fn find(
        root: &'a Rootfs,
        rules: &'a Rules,
        path: &str,
        is_dir: bool,
        entries: &mut Entries,
    ) -> Result<Self, PlaceError> {
        let way = if rules.link {
            unlinked(path)
        } else {
            root.way(path.as_bytes())?
        };
        let kind = way.kind();
        let listed = way.components.is_empty();
        let mut found = Self {
            root,
            rules,
            way,
            kind,
            listed,
            kept: Vec::new(),
        };
        // Made even if nothing is copied: a pattern that matches nothing leaves an empty directory.
        let above = found.way.components.len().saturating_sub(1);
        found.make(above, 0, entries)?;
        if is_dir {
            found.make_self(entries)?;
        }
        Ok(found)
    }

    fn time_of_root(&self) -> Result<Time, IndexError> {
        let root = self.root.view().root()?;
        Ok(root
            .map(|root| self.root.stat(&root))
            .transpose()?
            .map_or(Time::ZERO, |stat| stat.mtime))
    }

    /// Adds the entries of the first `count` directories of the way.
    fn make(&mut self, count: usize, from: usize, entries: &mut Entries) -> Result<(), PlaceError> {
        let mut above = if self.rules.link {
            Time::ZERO
        } else {
            self.time_of_root()?
        };
        for depth in 1..=count {
            let path = self.way.prefix(depth);
            let component = &self.way.components[depth - 1];
            let made = self.rules.made(above);
            let (like, from_) = match &component.node {
                None => (made, From::Made),
                Some(node) if node.kind() != FileType::Dir => {
                    return Err(PlaceError::NotADirectory(shown(&path)));
                }
                Some(node) => {
                    let stat = self.root.stat(node)?;
                    let like = Like {
                        kind: NodeKind::Dir,
                        mode: stat.mode,
                        uid: stat.uid,
                        gid: stat.gid,
                        mtime: stat.mtime,
                    };
                    self.kept.push(stat);
                    (like, From::Kept(self.kept.len() as u32 - 1))
                }
            };
            above = like.mtime;
            if depth > from {
                entries.push(&path, like, from_);
            }
        }
        Ok(())
    }

    /// Makes the destination a directory, if it is nothing yet.
    fn make_self(&mut self, entries: &mut Entries) -> Result<(), PlaceError> {
        if !matches!(self.kind, None | Some(FileType::Dir)) {
            return Err(PlaceError::DirOverFile(shown(&self.way.path())));
        }
        if !self.listed {
            // One that exists stays as it is, but what comes into it needs it in the list.
            let count = self.way.components.len();
            self.make(count, count - 1, entries)?;
            self.listed = true;
            self.kind = Some(FileType::Dir);
        }
        Ok(())
    }

    /// Copies one selected thing: the content of a directory, anything else under its name if the destination is a directory,
    /// else as the destination.
    pub(crate) fn place(
        &mut self,
        tree: &Tree,
        selected: &Selected,
        entries: &mut Entries,
    ) -> Result<(), PlaceError> {
        entries.next_source();
        if tree.node(selected.node).stat.kind == NodeKind::Dir {
            self.make_self(entries)?;
            return self.place_tree(tree, selected.node, None, entries);
        }
        if self.rules.exclude.root().excludes(&selected.name) {
            return Ok(());
        }
        let path = self.path_of(&selected.name, entries)?;
        self.push(tree, selected.node, &path, entries);
        Ok(())
    }

    /// Copies `nodes` with the directories between them and `top`.
    pub(crate) fn place_parents(
        &mut self,
        tree: &Tree,
        top: NodeId,
        nodes: &BTreeSet<NodeId>,
        entries: &mut Entries,
    ) -> Result<(), PlaceError> {
        entries.next_source();
        self.make_self(entries)?;
        self.place_tree(tree, top, Some(nodes), entries)
    }

    /// The path that the destination leads to.
    pub(crate) fn path(&self) -> Vec<u8> {
        self.way.path()
    }

    /// Makes the destination a directory, whatever is copied to it.
    pub(crate) fn enter(&mut self, entries: &mut Entries) -> Result<(), PlaceError> {
        self.make_self(entries)
    }

    /// Where something that is no directory goes.
    fn path_of(&mut self, name: &[u8], entries: &mut Entries) -> Result<Vec<u8>, PlaceError> {
        let mut path = self.way.path();
        if self.kind != Some(FileType::Dir) {
            self.kind = Some(FileType::File);
            return Ok(path);
        }
        self.make_self(entries)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let dir = self.node()?;
        let there = dir
            .map(|dir| self.root.view().child(&dir, name))
            .transpose()?
            .flatten();
        if there.is_some_and(|there| there.kind() == FileType::Dir) {
            return Err(PlaceError::FileOverDir(shown(&path)));
        }
        Ok(path)
    }

    fn push(&self, tree: &Tree, id: NodeId, path: &[u8], entries: &mut Entries) {
        let stat = &tree.node(id).stat;
        let like = self.rules.copied(tree, id);
        if stat.nlink > 1 && stat.kind != NodeKind::Dir {
            entries.push_linked(path, like, id, (stat.dev, stat.ino));
        } else {
            entries.push(path, like, From::Node(id));
        }
    }

    /// Adds a heredoc.
    pub(crate) fn place_inline(
        &mut self,
        name: &[u8],
        number: u32,
        entries: &mut Entries,
    ) -> Result<(), PlaceError> {
        let path = self.path_of(name, entries)?;
        let owner = self.rules.owner.unwrap_or(Owner::ROOT);
        let mode = self
            .rules
            .mode
            .as_ref()
            .map_or(0o644, |mode| mode.apply(0o644, false));
        let mtime = self.rules.epoch.unwrap_or(Time::ZERO);
        let like = Like {
            kind: NodeKind::File,
            mode,
            uid: owner.uid,
            gid: owner.gid,
            mtime,
        };
        entries.push(&path, like, From::Inline(number));
        Ok(())
    }

    /// What the root file system has at the destination.
    fn node(&self) -> Result<Option<layer::ViewNode>, IndexError> {
        if self.rules.link {
            return Ok(None);
        }
        match self.way.components.last() {
            Some(last) => Ok(last.node.clone()),
            None => self.root.view().root(),
        }
    }

    /// Copies what is in a directory; of it only `nodes`, with all in them and the directories on the way, if they are given.
    fn place_tree(
        &self,
        tree: &Tree,
        top: NodeId,
        nodes: Option<&BTreeSet<NodeId>>,
        entries: &mut Entries,
    ) -> Result<(), PlaceError> {
        let mut path = self.way.path();
        if !path.is_empty() {
            path.push(b'/');
        }
        let mut open = vec![Open {
            end: tree.node(top).end,
            length: path.len(),
            there: self.node()?,
            level: (!self.rules.exclude.is_empty()).then(|| self.rules.exclude.root()),
            taken: nodes.is_none(),
        }];
        // Directories that are only copied if something in them is.
        let mut waiting: Vec<(NodeId, Vec<u8>)> = Vec::new();
        let mut id = top + 1;
        while id < tree.node(top).end {
            while open.last().is_some_and(|dir| dir.end <= id) {
                open.pop();
            }
            let Some(above) = open.last() else {
                break;
            };
            let (node, name) = (tree.node(id), tree.name(id));
            let is_dir = node.stat.kind == NodeKind::Dir;
            path.truncate(above.length);
            path.extend_from_slice(name);
            let taken = above.taken || nodes.is_some_and(|nodes| nodes.contains(&id));
            let (level, excluded) = above.judge(name, is_dir);
            let inside = || nodes.is_some_and(|nodes| nodes.range(id..node.end).next().is_some());
            if level.as_ref().is_some_and(Level::can_be_skipped) || (!taken && !inside()) {
                id = node.end;
                continue;
            }
            let there = above
                .there
                .as_ref()
                .map(|dir| self.root.view().child(dir, name))
                .transpose()?
                .flatten();
            if taken && !excluded {
                waiting.retain(|(dir, _)| id < tree.node(*dir).end);
                for (dir, path) in waiting.drain(..) {
                    self.push(tree, dir, &path, entries);
                }
                self.push(tree, id, &path, entries);
            } else if is_dir {
                waiting.push((id, path.clone()));
            }
            if is_dir || (taken && !excluded) {
                fits(there.as_ref(), is_dir, &path)?;
            }
            if node.unread {
                return Err(PlaceError::Unread(shown(&tree.path(id))));
            }
            if is_dir {
                path.push(b'/');
                open.push(Open {
                    end: node.end,
                    length: path.len(),
                    there,
                    level,
                    taken,
                });
            }
            id += 1;
        }
        Ok(())
    }
}

/// Whether a directory or something else may be where the root file system has `there`.
fn fits(there: Option<&ViewNode>, is_dir: bool, path: &[u8]) -> Result<(), PlaceError> {
    match there.map(|there| there.kind() == FileType::Dir) {
        Some(false) if is_dir => Err(PlaceError::DirOverFile(shown(path))),
        Some(true) if !is_dir => Err(PlaceError::FileOverDir(shown(path))),
        Some(_) | None => Ok(()),
    }
}

/// A directory on the way to the node that is being copied.
struct Open<'p> {
    /// Its end in the tree.
    end: NodeId,
    /// The length of its path, with the slash.
    length: usize,
    /// What the root file system has there.
    there: Option<ViewNode>,
    /// Which of `--exclude`'s patterns count in it, if there are any.
    level: Option<Level<'p>>,
    /// All in it is copied.
    taken: bool,
}

impl<'p> Open<'p> {
    /// Whether `--exclude` leaves out an entry; for a directory also its own level.
    fn judge(&self, name: &[u8], is_dir: bool) -> (Option<Level<'p>>, bool) {
        match &self.level {
            None => (None, false),
            Some(level) if is_dir => {
                let entered = level.enter(name);
                let excluded = entered.is_excluded();
                (Some(entered), excluded)
            }
            Some(level) => (None, level.excludes(name)),
        }
    }
}

/// A way that follows nothing and finds nothing.
fn unlinked(path: &str) -> Way {
    let components = super::select::components(path)
        .into_iter()
        .map(|name| crate::rootfs::Component {
            name: name.as_bytes().to_vec(),
            node: None,
        })
        .collect();
    Way { components }
}
