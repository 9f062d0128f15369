//! What a step must know of the root file system that it works on: where a path leads, and who a user is.

use layer::{FileType, IndexError, Stat, View, ViewNode};

/// As many links as the kernel follows before it says that there are too many.
const MAX_LINKS: u32 = 40;

/// One component of a resolved path.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) name: Vec<u8>,
    /// What has this name; `None` if nothing has.
    pub(crate) node: Option<ViewNode>,
}

/// The way from the root to a path, links followed; the last components may not exist.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    pub(crate) components: Vec<Component>,
}

impl Way {
    /// The path, without a leading slash; empty for the root.
    pub(crate) fn path(&self) -> Vec<u8> {
        self.prefix(self.components.len())
    }

    /// The path of the first `count` components.
    pub(crate) fn prefix(&self, count: usize) -> Vec<u8> {
        let names: Vec<&[u8]> = self.components[..count]
            .iter()
            .map(|part| &part.name[..])
            .collect();
        names.join(&b'/')
    }

    /// What is at the end of the way. The root always is a directory.
    pub(crate) fn kind(&self) -> Option<FileType> {
        match self.components.last() {
            None => Some(FileType::Dir),
            Some(last) => last.node.as_ref().map(ViewNode::kind),
        }
    }
}

/// A root file system that is read through the indexes of its layers.
#[derive(Debug, Clone)]
pub(crate) struct Rootfs {
    view: View,
}

impl Rootfs {
    pub(crate) const fn new(view: View) -> Self {
        Self { view }
    }

    pub(crate) const fn view(&self) -> &View {
        &self.view
    }

    /// Follows `path` and all links in it, the last one too, inside the root. What does not exist is taken as written.
    pub(crate) fn way(&self, path: &[u8]) -> Result<Way, IndexError> {
        let root = self.view.root()?;
        let mut way: Vec<Component> = Vec::new();
        let mut rest: Vec<Vec<u8>> = layer::path::components(path)
            .rev()
            .map(<[u8]>::to_vec)
            .collect();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                way.pop();
                continue;
            }
            let dir = match way.last() {
                None => root.as_ref(),
                Some(last) => last.node.as_ref(),
            };
            let node = dir
                .map(|dir| self.view.child(dir, &name))
                .transpose()?
                .flatten();
            if let Some(link) = node
                .as_ref()
                .filter(|node| node.kind() == FileType::Symlink)
            {
                links += 1;
                if links > MAX_LINKS {
                    return Err(IndexError::Links(path.to_vec()));
                }
                let target = self.view.read_link(link)?;
                if target.first() == Some(&b'/') {
                    way.clear();
                }
                rest.extend(layer::path::components(&target).rev().map(<[u8]>::to_vec));
                continue;
            }
            way.push(Component { name, node });
        }
        Ok(Way { components: way })
    }

    /// The metadata of a node.
    pub(crate) fn stat(&self, node: &ViewNode) -> Result<Stat, IndexError> {
        self.view.stat(node)
    }

    /// `/etc/passwd` or `/etc/group`, links followed; `None` if there is no such regular file.
    pub(crate) fn accounts(&self, path: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let way = self.way(path)?;
        let Some(node) = way.components.last().and_then(|last| last.node.as_ref()) else {
            return Ok(None);
        };
        if node.kind() != FileType::File {
            return Ok(None);
        }
        let file = self.view.open(node)?;
        let read = runtime::user::accounts(file).map_err(|source| ReadError::Io {
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        })?;
        Ok(Some(read))
    }
}

/// Why a file of an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The layer's index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Its data.
    #[error("cannot read `/{path}` of the image: {source}")]
    Io {
        /// The path in the image.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}
