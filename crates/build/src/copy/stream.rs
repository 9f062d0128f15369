//! Writes the layer of a COPY: every file goes from where it is into the layer, once, and is hashed on the way if its
//! digest is not known.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use layer::{IndexError, Ingest, IngestError, Kind, Meta};
use oci::{DiffId, Digest};
use store::Lease;

use super::content::Contents;
use super::entries::{Entries, Entry, From};
use super::source::{ImageSource, Source};
use crate::context::tree::{NodeId, NodeKind, Stat, Xattrs};
use crate::context::{ContentDigest, Context, Opener, xattr};

/// Files up to this size are read whole before they go into the layer, so that one that changes meanwhile can be read again.
const WHOLE: u64 = 1 << 20;

/// How often a file that changes while it is read is read again.
const TRIES: u32 = 4;

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A file of the context.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// The layer.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A file of an image.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The data of a layer could not be read.
    #[error("cannot read `{path}` of the image: {source}")]
    Data {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What was found out about a file on the way.
#[derive(Debug)]
struct Learned {
    node: NodeId,
    digest: ContentDigest,
    /// If it is not what the tree says.
    stat: Option<Box<Stat>>,
    xattrs: Option<Box<Xattrs>>,
}

/// What writing a layer taught about its source.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    learned: Vec<Learned>,
    places: Vec<(NodeId, u64)>,
}

impl Lessons {
    /// Tells the source what its files hold.
    pub(crate) fn teach(&mut self, source: &mut Source) {
        for Learned {
            node,
            digest,
            stat,
            xattrs,
        } in self.learned.drain(..)
        {
            match source {
                Source::Context(context) => {
                    let stat = stat.map_or(context.tree.node(node).stat, |stat| *stat);
                    context.learn(
                        node,
                        stat,
                        digest,
                        xattrs.map_or_else(Vec::new, |xattrs| *xattrs),
                    );
                }
                Source::Image(image) => image.learn(node, digest),
            }
        }
    }

    /// Tells a context which layer has its files now.
    pub(crate) fn teach_places(&self, source: &mut Source, layer: &DiffId) {
        if let Source::Context(context) = source
            && let Ok(hash) = <[u8; 32]>::try_from(layer.digest().as_bytes())
        {
            context.learn_places(hash, self.places.iter().copied());
        }
    }
}

/// Layers of earlier builds that have the content of unchanged files.
struct Earlier<'a> {
    lease: &'a Lease,
    tars: HashMap<[u8; 32], Option<File>>,
}

impl Earlier<'_> {
    /// The tar of a layer, if the store still has it.
    fn tar(&mut self, hash: [u8; 32]) -> Option<&File> {
        let lease = self.lease;
        let open = || {
            let id = DiffId::from_digest(Digest::from_sha256(hash));
            lease.claim_layers(&[id]).ok()?;
            sys::fs::open(&lease.store().find_layer(&id).ok()??.tar()).ok()
        };
        self.tars.entry(hash).or_insert_with(open).as_ref()
    }
}

/// Reads files of a source; those of a context through handles on directories.
enum Reader<'a> {
    Context {
        context: &'a Context,
        opener: Opener<'a>,
    },
    Image(&'a ImageSource),
}

struct Writer<'a> {
    ingest: &'a mut Ingest,
    contents: Contents<'a>,
    earlier: Earlier<'a>,
    reader: Option<Reader<'a>>,
    buffer: Vec<u8>,
    lessons: Lessons,
}

fn reader(source: Option<&Source>) -> Option<Reader<'_>> {
    Some(match source? {
        Source::Context(context) => Reader::Context {
            context,
            opener: context.opener(),
        },
        Source::Image(image) => Reader::Image(image),
    })
}

/// Puts all entries into a layer.
pub(crate) fn write(
    ingest: &mut Ingest,
    entries: &Entries,
    contents: Contents<'_>,
    lease: &Lease,
) -> Result<Lessons, StreamError> {
    let mut writer = Writer {
        ingest,
        contents,
        earlier: Earlier {
            lease,
            tars: HashMap::new(),
        },
        reader: reader(contents.source),
        buffer: Vec::new(),
        lessons: Lessons::default(),
    };
    for entry in entries.iter() {
        writer.entry(entries, entry)?;
    }
    Ok(writer.lessons)
}

/// The files among `nodes` whose content is not known.
fn unknown_of<'a>(
    nodes: impl Iterator<Item = NodeId> + 'a,
    source: &'a Source,
) -> impl Iterator<Item = NodeId> + 'a {
    nodes.filter(|node| {
        source.tree().node(*node).stat.kind == NodeKind::File && source.digest(*node).is_none()
    })
}

/// Reads the files whose content is not known, without writing anything.
pub(crate) fn read_unknown(
    nodes: impl Iterator<Item = NodeId>,
    source: &Source,
) -> Result<Lessons, StreamError> {
    let mut lessons = Lessons::default();
    let mut buffer = Vec::new();
    let Some(mut reader) = reader(Some(source)) else {
        return Ok(lessons);
    };
    for node in unknown_of(nodes, source) {
        let learned = match &mut reader {
            Reader::Context { context, opener } => {
                match read_file(context, opener, node, &mut buffer)? {
                    ReadFile::Whole { learned, .. } => learned,
                    ReadFile::Large { file, stat, xattrs } => {
                        let mut hashing = Hashing::new(file);
                        let mut limited = Read::by_ref(&mut hashing).take(stat.size);
                        let copied = std::io::copy(&mut limited, &mut std::io::sink());
                        copied.map_err(|error| at_file(context, node, error))?;
                        learned(context, node, stat, xattrs, hashing.digest())
                    }
                }
            }
            Reader::Image(image) => {
                let mut hashing = Hashing::new(image.open(node)?);
                let copied = std::io::copy(&mut hashing, &mut std::io::sink());
                copied.map_err(|source| at_image(image, node, source))?;
                Learned {
                    node,
                    digest: hashing.digest(),
                    stat: None,
                    xattrs: None,
                }
            }
        };
        lessons.learned.push(learned);
    }
    Ok(lessons)
}

/// The size of the files whose content is not known.
pub(crate) fn unknown(nodes: impl Iterator<Item = NodeId>, source: &Source) -> u64 {
    unknown_of(nodes, source)
        .map(|node| source.tree().node(node).stat.size)
        .sum()
}

fn at_file(context: &Context, node: NodeId, source: std::io::Error) -> StreamError {
    use std::os::unix::ffi::OsStrExt as _;
    let path = context
        .shown()
        .join(std::ffi::OsStr::from_bytes(&context.tree.path(node)));
    StreamError::File(sys::fs::Error::new("read", path, source))
}

fn at_image(image: &ImageSource, node: NodeId, source: std::io::Error) -> StreamError {
    StreamError::Data {
        path: String::from_utf8_lossy(&image.tree().path(node)).into_owned(),
        source,
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
        }
    }

    fn digest(&self) -> ContentDigest {
        *self.hasher.finalize().as_bytes()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// A file of the context, opened.
enum ReadFile {
    /// Its bytes are the first `size` of the buffer, and were all there at one time.
    Whole { size: usize, learned: Learned },
    /// It is too large for that.
    Large {
        file: File,
        stat: Stat,
        xattrs: Xattrs,
    },
}

fn learned(
    context: &Context,
    node: NodeId,
    stat: Stat,
    xattrs: Xattrs,
    digest: ContentDigest,
) -> Learned {
    Learned {
        node,
        digest,
        stat: (stat != context.tree.node(node).stat).then(|| Box::new(stat)),
        xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs)),
    }
}

/// Reads a file of the context; a small one again if it changes meanwhile, but not for ever: a log that is always written to
/// is taken as it was read last, and is not believed by the next build.
fn read_file(
    context: &Context,
    opener: &mut Opener<'_>,
    node: NodeId,
    buffer: &mut Vec<u8>,
) -> Result<ReadFile, StreamError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut file = opener.open(node)?;
        // Nearly always it is what the walk saw, and the `stat` after reading says so of both.
        let before = match attempt {
            1 => context.tree.node(node).stat,
            _ => opener.stat(node, &file)?,
        };
        let xattrs = xattr::read(file.as_fd())
            .map_err(|errno| opener.error("read the attributes of", node, errno))?;
        if before.size > WHOLE {
            let stat = opener.stat(node, &file)?;
            return Ok(ReadFile::Large { file, stat, xattrs });
        }
        // One byte more than there should be shows that it grew. In the end, whatever there is.
        let wanted = if attempt < TRIES { before.size } else { WHOLE };
        let wanted = usize::try_from(wanted).unwrap_or_default() + 1;
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let size = fill(&mut file, &mut buffer[..wanted])
            .map_err(|error| at_file(context, node, error))?;
        let after = opener.stat(node, &file)?;
        if attempt < TRIES && (after != before || size as u64 != before.size) {
            continue;
        }
        let stat = Stat {
            size: size as u64,
            ..before
        };
        let digest = *blake3::hash(&buffer[..size]).as_bytes();
        return Ok(ReadFile::Whole {
            size,
            learned: learned(context, node, stat, xattrs, digest),
        });
    }
}

/// Reads until the buffer is full or the file at its end. A read that leaves one byte free has met the end, since that byte is
/// only there to see whether the file grew.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => {
                count += more;
                if count + 1 == buffer.len() {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

impl Writer<'_> {
    fn entry(&mut self, entries: &Entries, entry: &Entry) -> Result<(), StreamError> {
        let path = entries.path(entry);
        let mut meta = Meta {
            kind: Kind::Dir,
            mode: u32::from(entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: Vec::new(),
        };
        match entry.from {
            From::Made => {}
            From::Kept(number) => {
                meta.xattrs
                    .clone_from(&self.contents.kept[number as usize].xattrs);
            }
            From::Link(first) => {
                meta.kind = Kind::HardLink {
                    target: entries.path(entries.get(first)).to_vec(),
                };
            }
            From::Inline(number) => {
                let (_, content) = &self.contents.inline[number as usize];
                meta.kind = Kind::File {
                    size: content.len() as u64,
                };
                self.ingest.append_bytes(path, &meta, content)?;
                return Ok(());
            }
            From::Node(node) => return self.node(path, meta, node),
        }
        self.ingest.append(path, &meta, &mut std::io::empty())?;
        Ok(())
    }

    fn node(&mut self, path: &[u8], mut meta: Meta, node: NodeId) -> Result<(), StreamError> {
        let Some(source) = self.contents.source else {
            return Ok(());
        };
        let stat = &source.tree().node(node).stat;
        let (major, minor) = stat.rdev;
        meta.kind = match stat.kind {
            NodeKind::File => return self.file(path, meta, node),
            NodeKind::Dir => {
                meta.xattrs = source.xattrs(node).to_vec();
                Kind::Dir
            }
            NodeKind::Symlink => Kind::Symlink {
                target: source.tree().target(node).to_vec(),
            },
            NodeKind::CharDevice => Kind::CharDevice { major, minor },
            NodeKind::BlockDevice => Kind::BlockDevice { major, minor },
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::Socket => Kind::File { size: 0 },
        };
        self.ingest.append(path, &meta, &mut std::io::empty())?;
        Ok(())
    }

    fn file(&mut self, path: &[u8], meta: Meta, node: NodeId) -> Result<(), StreamError> {
        match self.reader.take() {
            Some(Reader::Context {
                context,
                mut opener,
            }) => {
                let result = self.context_file(path, meta, node, context, &mut opener);
                self.reader = Some(Reader::Context { context, opener });
                result
            }
            Some(Reader::Image(image)) => {
                self.reader = Some(Reader::Image(image));
                self.image_file(path, meta, node, image)
            }
            None => Ok(()),
        }
    }

    fn context_file(
        &mut self,
        path: &[u8],
        mut meta: Meta,
        node: NodeId,
        context: &Context,
        opener: &mut Opener<'_>,
    ) -> Result<(), StreamError> {
        let size = context.tree.node(node).stat.size;
        if context.digest(node).is_some()
            && let Some((layer, offset)) = context.place(node)
            && let Some(tar) = self.earlier.tar(layer)
        {
            meta.kind = Kind::File { size };
            meta.xattrs = context.xattrs(node).to_vec();
            let at = self.ingest.append_file(path, &meta, tar, offset)?;
            self.lessons.places.push((node, at));
            return Ok(());
        }
        let (at, learned) = match read_file(context, opener, node, &mut self.buffer)? {
            ReadFile::Whole { size, learned } => {
                meta.kind = Kind::File { size: size as u64 };
                meta.xattrs = learned.xattrs.as_deref().cloned().unwrap_or_default();
                (
                    self.ingest
                        .append_bytes(path, &meta, &self.buffer[..size])?,
                    learned,
                )
            }
            ReadFile::Large { file, stat, xattrs } => {
                meta.kind = Kind::File { size: stat.size };
                meta.xattrs.clone_from(&xattrs);
                // Its bytes may be of several moments if it changes now. The stat is from before, so the index will not
                // believe them.
                let mut hashing = Hashing::new(file);
                let at = self.ingest.append(
                    path,
                    &meta,
                    &mut Read::by_ref(&mut hashing).take(stat.size),
                )?;
                (at, learned(context, node, stat, xattrs, hashing.digest()))
            }
        };
        self.lessons.learned.push(learned);
        self.lessons.places.push((node, at));
        Ok(())
    }

    fn image_file(
        &mut self,
        path: &[u8],
        mut meta: Meta,
        node: NodeId,
        image: &ImageSource,
    ) -> Result<(), StreamError> {
        let file = image.open(node)?;
        meta.kind = Kind::File { size: file.len() };
        meta.xattrs = self
            .contents
            .source
            .map_or_else(Vec::new, |source| source.xattrs(node).to_vec());
        let known = self
            .contents
            .source
            .and_then(|source| source.digest(node))
            .is_some();
        let digest = if known {
            let (tar, location) = file.source();
            self.ingest.append_file(path, &meta, tar, location.offset)?;
            return Ok(());
        } else if file.len() <= WHOLE {
            let (tar, location) = file.source();
            // Bounded by the comparison above.
            let size = usize::try_from(location.len).unwrap_or_default();
            if self.buffer.len() < size {
                self.buffer.resize(size, 0);
            }
            let bytes = &mut self.buffer[..size];
            tar.read_exact_at(bytes, location.offset)
                .map_err(|source| at_image(image, node, source))?;
            self.ingest.append_bytes(path, &meta, bytes)?;
            *blake3::hash(bytes).as_bytes()
        } else {
            let mut hashing = Hashing::new(file);
            self.ingest.append(path, &meta, &mut hashing)?;
            hashing.digest()
        };
        self.lessons.learned.push(Learned {
            node,
            digest,
            stat: None,
            xattrs: None,
        });
        Ok(())
    }
}
