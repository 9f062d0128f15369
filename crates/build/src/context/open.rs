//! Opens the files of a tree in its order, relative to open directories.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sys::fs::Error;

use super::tree::{NodeId, NodeKind, Stat, Tree};
use super::walk::stat_of;

/// Opens files below a root. Keeps the directories on the way to the last file open, so files that are asked for in the
/// tree's order cost one `openat` each and no path is resolved twice.
///
/// No link is followed at any step: whoever swaps a directory for a link while a build reads gets an error.
#[derive(Debug)]
pub(crate) struct Opener<'a> {
    root: BorrowedFd<'a>,
    shown: &'a Path,
    tree: &'a Tree,
    /// The open directories below the root, outermost first.
    stack: Vec<(NodeId, OwnedFd)>,
    name: Vec<u8>,
}

impl<'a> Opener<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>, shown: &'a Path, tree: &'a Tree) -> Self {
        Self {
            root,
            shown,
            tree,
            stack: Vec::new(),
            name: Vec::new(),
        }
    }

    /// An error about a node.
    pub(crate) fn error(&self, verb: &'static str, id: NodeId, errno: Errno) -> Error {
        let path = std::ffi::OsStr::from_bytes(&self.tree.path(id)).to_owned();
        Error::new(verb, self.shown.join(path), errno.into())
    }

    /// Opens a file for reading. The caller asks [`Opener::stat`] what it is by now.
    pub(crate) fn open(&mut self, id: NodeId) -> Result<File, Error> {
        // A fifo that was put in the file's place must not make us wait for a writer.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let parent = self.tree.node(id).parent;
        self.enter(parent)?;
        let fd = self
            .open_child(id, flags)
            .map_err(|errno| self.error("open", id, errno))?;
        Ok(fd.into())
    }

    /// What an opened file is now, which may differ from what the tree says; but a regular file it must still be.
    pub(crate) fn stat(&self, id: NodeId, file: &File) -> Result<Stat, Error> {
        let stat = rustix::fs::fstat(file).map_err(|errno| self.error("stat", id, errno))?;
        let stat = stat_of(&stat);
        if stat.kind != NodeKind::File {
            return Err(self.error(
                "read, since it is no longer a regular file,",
                id,
                Errno::STALE,
            ));
        }
        Ok(stat)
    }

    fn open_child(&mut self, id: NodeId, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.name.clear();
        self.name.extend_from_slice(self.tree.name(id));
        self.name.push(0);
        let name = std::ffi::CStr::from_bytes_with_nul(&self.name).map_err(|_| Errno::INVAL)?;
        let dir = self.stack.last().map_or(self.root, |(_, fd)| fd.as_fd());
        rustix::fs::openat(dir, name, flags, Mode::empty())
    }

    /// Makes `dir` the last directory of the stack.
    fn enter(&mut self, dir: NodeId) -> Result<(), Error> {
        while let Some((top, _)) = self.stack.last()
            && !(*top <= dir && dir < self.tree.node(*top).end)
        {
            self.stack.pop();
        }
        let mut way = Vec::new();
        let mut at = dir;
        let top = self.stack.last().map_or(0, |(top, _)| *top);
        while at != top {
            way.push(at);
            at = self.tree.node(at).parent;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for id in way.into_iter().rev() {
            let fd = self
                .open_child(id, flags)
                .map_err(|errno| self.error("open", id, errno))?;
            self.stack.push((id, fd));
        }
        Ok(())
    }
}
