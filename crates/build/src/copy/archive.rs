//! Archives that ADD unpacks: each member goes through the root file system as it is by then, links in it followed, and into the
//! layer.
//!
//! Nothing is ever written to a directory, so there is nothing that a member could escape from: a path is a name in the layer,
//! resolved against the layers below and the members before, `..` held at the root.

use std::collections::HashMap;
use std::io::{self, Read};

use layer::compression::Decoder;
use layer::{FileType, IndexError, Ingest, IngestError, Kind, Meta, Time, ViewNode, tar};

use super::source::Source;
use crate::context::tree::{NodeId, NodeKind};
use crate::rootfs::Rootfs;
use crate::users::Owner;

/// As many links as the kernel follows before it says that there are too many.
const MAX_LINKS: u32 = 40;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is malformed.
    #[error("cannot unpack `{archive}`: {source}")]
    Tar {
        /// Which.
        archive: String,
        /// What is wrong.
        source: tar::Error,
    },
    /// A member cannot be in a layer.
    #[error("cannot unpack `{archive}`: {source}")]
    Member {
        /// Which archive.
        archive: String,
        /// What is wrong.
        source: IngestError,
    },
    /// Its bytes could not be read.
    #[error("cannot read `{archive}`: {source}")]
    Read {
        /// Which.
        archive: String,
        /// Why.
        source: io::Error,
    },
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] sys::fs::Error),
    /// The root file system could not be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Links that lead to each other.
    #[error("cannot unpack `{archive}`: `{path}` leads through too many links")]
    Links {
        /// Which archive.
        archive: String,
        /// Which member.
        path: String,
    },
    /// A link to a file that is not there.
    #[error("cannot unpack `{archive}`: `{path}` is a link to `{target}`, which does not exist")]
    Dangling {
        /// Which archive.
        archive: String,
        /// Which member.
        path: String,
        /// What it should be linked to.
        target: String,
    },
}

/// The archives of one ADD.
#[derive(Debug, Default)]
pub(crate) struct Archives {
    pub(crate) nodes: Vec<NodeId>,
    /// Where they are unpacked: links followed, without a leading slash.
    pub(crate) into: Vec<u8>,
    /// `--chown`.
    pub(crate) owner: Option<Owner>,
    pub(crate) epoch: Option<Time>,
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn open(source: &Source, node: NodeId) -> Result<Box<dyn Read + '_>, ArchiveError> {
    Ok(match source {
        Source::Context(context) => {
            let mut opener = context.opener();
            let file = opener.open(node)?;
            opener.stat(node, &file)?;
            Box::new(file)
        }
        Source::Image(image) => Box::new(image.open(node)?),
    })
}

/// Whether a file is an archive, by its content: a tar, perhaps compressed, whose first header is good.
pub(crate) fn is_archive(source: &Source, node: NodeId) -> Result<bool, ArchiveError> {
    if source.tree().node(node).stat.kind != NodeKind::File {
        return Ok(false);
    }
    // What cannot be decoded is a file like any other.
    let Ok(decoder) = Decoder::new(open(source, node)?) else {
        return Ok(false);
    };
    Ok(matches!(tar::Reader::new(decoder).next(), Ok(Some(_))))
}

/// What a member has put into the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Put {
    Dir,
    Link(Vec<u8>),
    Other,
}

/// What a path leads to.
enum There {
    Nothing,
    /// Put by this layer, over what a layer below has.
    Put(Put, Option<ViewNode>),
    Below(ViewNode),
}

/// Unpacks archives into a layer.
pub(crate) struct Unpacker<'a> {
    root: &'a Rootfs,
    ingest: &'a mut Ingest,
    archives: &'a Archives,
    /// By path from the root.
    put: HashMap<Vec<u8>, Put>,
    archive: String,
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(root: &'a Rootfs, ingest: &'a mut Ingest, archives: &'a Archives) -> Self {
        Self {
            root,
            ingest,
            archives,
            put: HashMap::new(),
            archive: String::new(),
        }
    }

    /// Notes what is in the layer already.
    pub(crate) fn note(&mut self, path: &[u8], kind: NodeKind, target: &[u8]) {
        let put = match kind {
            NodeKind::Dir => Put::Dir,
            NodeKind::Symlink => Put::Link(target.to_vec()),
            _ => Put::Other,
        };
        self.put.insert(path.to_vec(), put);
    }

    pub(crate) fn unpack(&mut self, source: &Source) -> Result<(), ArchiveError> {
        let archives = self.archives;
        for node in &archives.nodes {
            self.archive = shown(&source.tree().path(*node));
            let decoder =
                Decoder::new(open(source, *node)?).map_err(|source| self.read_error(source))?;
            let mut reader = tar::Reader::new(decoder);
            while let Some(entry) = reader.next().map_err(|source| self.tar_error(source))? {
                self.member(entry, &mut reader)?;
            }
        }
        Ok(())
    }

    fn read_error(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Read {
            archive: self.archive.clone(),
            source,
        }
    }

    fn tar_error(&self, source: tar::Error) -> ArchiveError {
        ArchiveError::Tar {
            archive: self.archive.clone(),
            source,
        }
    }

    fn member_error(&self, source: IngestError) -> ArchiveError {
        ArchiveError::Member {
            archive: self.archive.clone(),
            source,
        }
    }

    fn member(&mut self, entry: tar::Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let Some(path) = self.place(&entry.path)? else {
            // The archive's own root: the destination keeps its metadata.
            return Ok(());
        };
        let mut meta = Meta {
            mtime: Time::from_secs(entry.meta.mtime.secs),
            ..entry.meta
        };
        if let Some(owner) = self.archives.owner {
            (meta.uid, meta.gid) = (owner.uid, owner.gid);
        }
        let put = match &meta.kind {
            Kind::Dir => Put::Dir,
            Kind::Symlink { target } => Put::Link(target.clone()),
            Kind::HardLink { target } => {
                let wanted = target.clone();
                return self.link(&path, meta, &wanted);
            }
            _ => Put::Other,
        };
        self.ingest
            .append(&path, &meta, content)
            .map_err(|source| self.member_error(source))?;
        self.put(path, put);
        Ok(())
    }

    /// A second name of a file: of one in this layer it is a link, of one below a copy.
    fn link(&mut self, path: &[u8], mut meta: Meta, wanted: &[u8]) -> Result<(), ArchiveError> {
        let target = self.place(wanted)?.unwrap_or_default();
        match self.look(&target)? {
            There::Put(Put::Other | Put::Link(_), _) => {
                meta.kind = Kind::HardLink { target };
                self.ingest
                    .append(path, &meta, &mut io::empty())
                    .map_err(|source| self.member_error(source))?;
            }
            There::Below(node) if node.kind() == FileType::File => {
                let mut file = self.root.view().open(&node)?;
                let stat = self.root.stat(&node)?;
                let copy = Meta {
                    kind: Kind::File { size: file.len() },
                    xattrs: stat.xattrs,
                    mode: stat.mode,
                    ..meta
                };
                self.ingest
                    .append(path, &copy, &mut file)
                    .map_err(|source| self.member_error(source))?;
            }
            There::Put(Put::Dir, _) | There::Below(_) | There::Nothing => {
                return Err(ArchiveError::Dangling {
                    archive: self.archive.clone(),
                    path: shown(path),
                    target: shown(wanted),
                });
            }
        }
        self.put(path.to_vec(), Put::Other);
        Ok(())
    }

    /// Notes a member. What was below a directory that is no more is forgotten.
    fn put(&mut self, path: Vec<u8>, put: Put) {
        if put != Put::Dir && self.put.get(&path) == Some(&Put::Dir) {
            let below = [&path[..], b"/"].concat();
            self.put.retain(|known, _| !known.starts_with(&below));
        }
        self.put.insert(path, put);
    }

    /// What has this path, links not followed.
    fn look(&self, path: &[u8]) -> Result<There, ArchiveError> {
        let mut there = match self.root.view().root()? {
            Some(root) => There::Put(Put::Dir, Some(root)),
            None => There::Put(Put::Dir, None),
        };
        let mut sofar = Vec::new();
        for name in layer::path::components(path) {
            if !sofar.is_empty() {
                sofar.push(b'/');
            }
            sofar.extend_from_slice(name);
            let below = match &there {
                There::Put(Put::Dir, Some(dir)) | There::Below(dir) => {
                    self.root.view().child(dir, name)?
                }
                There::Put(..) | There::Nothing => None,
            };
            there = match (self.put.get(&sofar), below) {
                (Some(Put::Dir), below) => There::Put(
                    Put::Dir,
                    below.filter(|below| below.kind() == FileType::Dir),
                ),
                (Some(put), _) => There::Put(put.clone(), None),
                (None, Some(below)) => There::Below(below),
                (None, None) => There::Nothing,
            };
        }
        Ok(there)
    }

    /// Where a member goes: links of the directories on the way are followed, the last component is not. Makes directories that
    /// are missing. `None` for the destination itself.
    fn place(&mut self, member: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
        let mut names = Vec::new();
        for name in layer::path::components(member) {
            if name == b".." {
                names.pop();
            } else {
                names.push(name.to_vec());
            }
        }
        let Some(last) = names.pop() else {
            return Ok(None);
        };
        let mut at: Vec<Vec<u8>> = layer::path::components(&self.archives.into)
            .map(<[u8]>::to_vec)
            .collect();
        let mut rest: Vec<Vec<u8>> = names.into_iter().rev().collect();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                at.pop();
                continue;
            }
            at.push(name);
            let path = at.join(&b'/');
            let target = match self.look(&path)? {
                There::Put(Put::Link(target), _) => target,
                There::Below(node) if node.kind() == FileType::Symlink => {
                    self.root.view().read_link(&node)?
                }
                There::Put(Put::Dir, _) => continue,
                There::Below(node) if node.kind() == FileType::Dir => {
                    let stat = self.root.stat(&node)?;
                    let meta = stat.to_meta(Vec::new()).unwrap_or_else(|| Meta::dir(0o755));
                    self.make(path, &meta)?;
                    continue;
                }
                There::Put(Put::Other, _) | There::Below(_) | There::Nothing => {
                    let owner = self.archives.owner.unwrap_or(Owner::ROOT);
                    let mtime = self.archives.epoch.unwrap_or(Time::ZERO);
                    let meta = Meta {
                        uid: owner.uid,
                        gid: owner.gid,
                        mtime,
                        ..Meta::dir(0o755)
                    };
                    self.make(path, &meta)?;
                    continue;
                }
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(ArchiveError::Links {
                    archive: self.archive.clone(),
                    path: shown(member),
                });
            }
            at.pop();
            if target.first() == Some(&b'/') {
                at.clear();
            }
            rest.extend(layer::path::components(&target).rev().map(<[u8]>::to_vec));
        }
        at.push(last);
        Ok(Some(at.join(&b'/')))
    }

    fn make(&mut self, path: Vec<u8>, meta: &Meta) -> Result<(), ArchiveError> {
        self.ingest
            .append(&path, meta, &mut io::empty())
            .map_err(|source| self.member_error(source))?;
        self.put(path, Put::Dir);
        Ok(())
    }
}
