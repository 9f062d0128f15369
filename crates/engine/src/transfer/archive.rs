//! The members of an image archive, by exact name: a tar as a file, a compressed or streamed one by way of a spool file in the
//! store, or a folder.
//!
//! Nothing is unpacked. A tar's members are found by one pass over its headers and then read where they lie. Symbolic and
//! hard links between members are resolved inside the archive; a folder's inside the folder. A name that comes twice
//! could mean two things and is refused when it is asked for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer::compression::{Compression, MAGIC};
use layer::{Kind, path, tar};
use oci::{Descriptor, Digest, Hasher, MAX_DOCUMENT_SIZE};
use store::{Lease, Mismatch};
use sys::fs::{self, Context as _};
use sys::root::Root;

use super::inflate::Inflate;
use super::load::LoadError;
use crate::Error;

/// Most members of an archive: a thousand images of a hundred layers. The list is held in memory.
const MAX_MEMBERS: usize = 100_000;
/// Longest name of a member that is remembered: all names of known formats are shorter.
const MAX_NAME: usize = 255;
/// Most links from one member to the next.
const MAX_LINKS: u32 = 8;
/// Most bytes of all documents together, those read again included: it bounds memory and time. A thousand images need 50 MB.
const MAX_DOCUMENTS: u64 = 128 << 20;
/// What is read behind the end of an archive on stdin, so that its writer need not fail.
const MAX_REST: u64 = 64 << 20;

/// An archive or a folder of images.
#[derive(Debug)]
pub(super) struct Archive {
    source: Source,
    /// Bytes of documents read so far.
    spent: Cell<u64>,
}

#[derive(Debug)]
enum Source {
    /// A tar.
    Tar(Members),
    /// A folder.
    Folder(Root),
}

/// The members of a tar.
#[derive(Debug)]
struct Members {
    file: Arc<File>,
    /// Where in the file the tar begins.
    start: u64,
    names: BTreeMap<Vec<u8>, Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    Link(Vec<u8>),
    /// There, but nothing that can be read: a folder, a device, a sparse file.
    Other,
    /// More than one has the name.
    Twice,
}

/// The bytes of one member.
#[derive(Debug, Clone)]
pub(super) struct Body {
    file: Arc<File>,
    offset: u64,
    size: u64,
    position: u64,
}

impl Body {
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// How the bytes are compressed, by how they begin.
    pub(super) fn compression(&self) -> io::Result<Compression> {
        let mut magic = [0; MAGIC];
        let mut body = self.clone();
        let mut done = 0;
        while done < magic.len() {
            match body.read(&mut magic[done..])? {
                0 => break,
                count => done += count,
            }
        }
        Ok(Compression::detect(&magic[..done]))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size - self.position;
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self
            .file
            .read_at(&mut buffer[..most], self.offset + self.position)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive became shorter while it was read",
            ));
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Archive {
    /// Opens an archive or folder, or stdin. What must be spooled goes to a file of `lease` that has no name.
    pub(super) fn open(input: Option<&Path>, lease: &Lease) -> Result<Self, Error> {
        let source = Source::open(input, lease)?;
        Ok(Self {
            source,
            spent: Cell::new(0),
        })
    }

    /// The bytes of a member; `None` if there is none of that name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Body>, LoadError> {
        self.source.find(name)
    }

    /// The bytes of a member that must be there.
    pub(super) fn open_member(&self, name: &str) -> Result<Body, LoadError> {
        self.find(name)?
            .ok_or_else(|| LoadError::Missing(shown(name)))
    }

    /// A whole JSON document.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        self.find(name)?
            .map(|body| self.read_document(name, body))
            .transpose()
    }

    /// Where an OCI layout has a blob.
    pub(super) fn blob_name(digest: &Digest) -> String {
        format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
    }

    /// A document of an OCI layout, checked against the descriptor that led to it.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LoadError> {
        let name = Self::blob_name(&descriptor.digest);
        let bytes = self.read_document(&name, self.open_member(&name)?)?;
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
            let source = Box::new(Mismatch {
                expected: descriptor.digest,
                expected_size: Some(descriptor.size),
                found,
                found_size: bytes.len() as u64,
            });
            return Err(LoadError::Mismatch { what: name, source });
        }
        Ok(bytes)
    }

    fn read_document(&self, name: &str, mut body: Body) -> Result<Vec<u8>, LoadError> {
        if body.size > MAX_DOCUMENT_SIZE {
            let why = format!(
                "it has {} bytes; {MAX_DOCUMENT_SIZE} are allowed",
                body.size
            );
            return Err(LoadError::Document {
                name: shown(name),
                why,
            });
        }
        self.spent.set(self.spent.get() + body.size);
        if self.spent.get() > MAX_DOCUMENTS {
            return Err(LoadError::TooMuch(MAX_DOCUMENTS));
        }
        let mut bytes = Vec::new();
        let read = body
            .read_to_end(&mut bytes)
            .context("read", Path::new(name));
        read.map_err(LoadError::Read)?;
        Ok(bytes)
    }
}

impl Source {
    fn open(input: Option<&Path>, lease: &Lease) -> Result<Self, Error> {
        let failed = |source: LoadError| Error::Load {
            path: input.map(Path::to_owned),
            source: Box::new(source),
        };
        let spool = |source: Box<dyn Read + '_>| {
            let members = Members::spool(source, lease);
            members.map(Self::Tar).map_err(|error| error.named(failed))
        };
        let name = input.unwrap_or(Path::new("stdin"));
        let mut file = match input {
            Some(path) if fs::metadata(path)?.is_dir() => {
                return Ok(Self::Folder(Root::open(path)?));
            }
            Some(path) => fs::open(path)?,
            None => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .context("open", name)?
                .into(),
        };
        let meta = file.metadata().context("stat", name)?;
        if !meta.is_file() {
            return spool(Box::new(file));
        }
        // Of a file on stdin, somebody may have read a part already.
        let offset = file.stream_position().context("read", name)?;
        let size = meta.len().saturating_sub(offset);
        let body = Body {
            file: Arc::new(file),
            offset,
            size,
            position: 0,
        };
        match body.compression().context("read", name)? {
            Compression::None => Members::in_place(body).map(Self::Tar).map_err(failed),
            _ => spool(Box::new(body)),
        }
    }

    fn find(&self, name: &str) -> Result<Option<Body>, LoadError> {
        match self {
            Self::Tar(members) => members.find(name),
            Self::Folder(root) => {
                let path = Path::new(name);
                match fs::optional(root.open_file(path)) {
                    Ok(None) => Ok(None),
                    Ok(Some(file)) => {
                        let size = file
                            .metadata()
                            .context("stat", path)
                            .map_err(LoadError::Read)?
                            .len();
                        Ok(Some(Body {
                            file: Arc::new(file),
                            offset: 0,
                            size,
                            position: 0,
                        }))
                    }
                    Err(error) => Err(LoadError::Read(error)),
                }
            }
        }
    }
}

/// A name from an archive, fit for a message.
pub(super) fn shown(name: &str) -> String {
    path::shown(name.as_bytes())
}

/// Why an archive could not be spooled: its own fault, or the store's.
enum SpoolError {
    Archive(LoadError),
    Store(Error),
}

impl SpoolError {
    fn named(self, name: impl FnOnce(LoadError) -> Error) -> Error {
        match self {
            Self::Archive(error) => name(error),
            Self::Store(error) => error,
        }
    }
}

impl Members {
    /// Finds the members of a plain tar by reading its headers only.
    fn in_place(body: Body) -> Result<Self, LoadError> {
        let fake = Cell::new(0);
        let mut reader = tar::Reader::new(Headers {
            body: body.clone(),
            fake: &fake,
        });
        let mut names = BTreeMap::new();
        while let Some(entry) = reader.next().map_err(LoadError::Tar)? {
            let end = entry
                .data_offset
                .checked_add(entry.stored)
                .filter(|end| *end <= body.size);
            if end.is_none() {
                return Err(LoadError::Truncated);
            }
            fake.set(entry.stored);
            remember(&mut names, &entry)?;
        }
        Ok(Self {
            file: body.file,
            start: body.offset,
            names,
        })
    }

    /// Writes what comes to a file, decompressed, and finds its members meanwhile.
    fn spool(source: Box<dyn Read + '_>, lease: &Lease) -> Result<Self, SpoolError> {
        let place: PathBuf = lease.temporary("spool");
        let file = fs::create_new(&place).map_err(|error| SpoolError::Store(error.into()))?;
        // Without a name it goes with this process, however that ends.
        fs::remove_file(&place).map_err(|error| SpoolError::Store(error.into()))?;
        let read = |error| SpoolError::Archive(LoadError::Tar(tar::Error::Read(error)));
        let mut decoder = Inflate::new(source).map_err(read)?;
        let mut names = BTreeMap::new();
        let mut failed = None;
        let tee = Tee {
            source: &mut decoder,
            spool: BufWriter::with_capacity(1 << 20, &file),
            failed: &mut failed,
        };
        let mut reader = tar::Reader::new(tee);
        let scanned = loop {
            match reader.next() {
                Ok(None) => break Ok(()),
                Ok(Some(entry)) => {
                    if let Err(error) = remember(&mut names, &entry) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(LoadError::Tar(error)),
            }
        };
        let flushed = reader.into_inner().spool.flush();
        if let Some(error) = failed.or(flushed.err()) {
            return Err(SpoolError::Store(Error::Io(fs::Error::new(
                "write", place, error,
            ))));
        }
        scanned.map_err(SpoolError::Archive)?;
        // Whoever writes into the pipe still has padding to get rid of.
        io::copy(&mut decoder.take(MAX_REST), &mut io::sink()).map_err(read)?;
        Ok(Self {
            file: Arc::new(file),
            start: 0,
            names,
        })
    }

    fn find(&self, name: &str) -> Result<Option<Body>, LoadError> {
        let Some(mut wanted) = normal(b"", name.as_bytes()) else {
            return Err(LoadError::Outside(shown(name)));
        };
        for _ in 0..MAX_LINKS {
            match self.names.get(&wanted) {
                None => return Ok(None),
                Some(Member::File { offset, size }) => {
                    return Ok(Some(Body {
                        file: Arc::clone(&self.file),
                        offset: self.start + *offset,
                        size: *size,
                        position: 0,
                    }));
                }
                Some(Member::Link(target)) => wanted.clone_from(target),
                Some(Member::Other) => return Err(LoadError::NotAFile(shown(name))),
                Some(Member::Twice) => return Err(LoadError::Twice(shown(name))),
            }
        }
        Err(LoadError::Links(shown(name)))
    }
}

/// Puts an entry into the list of members.
fn remember(names: &mut BTreeMap<Vec<u8>, Member>, entry: &tar::Entry) -> Result<(), LoadError> {
    let Some(name) = normal(b"", &entry.path).filter(|name| name.len() <= MAX_NAME) else {
        // Nothing in an archive can ask for it.
        return Ok(());
    };
    let parent = name
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(&b""[..], |end| &name[..end]);
    let member = match &entry.meta.kind {
        Kind::File { .. } if entry.segments.is_none() => Member::File {
            offset: entry.data_offset,
            size: entry.stored,
        },
        Kind::Symlink { target } => normal(parent, target).map_or(Member::Other, Member::Link),
        Kind::HardLink { target } => normal(b"", target).map_or(Member::Other, Member::Link),
        Kind::Dir => return Ok(()),
        _ => Member::Other,
    };
    let count = names.len();
    match names.entry(name) {
        Entry::Vacant(slot) => {
            if count >= MAX_MEMBERS {
                return Err(LoadError::TooMany(MAX_MEMBERS));
            }
            slot.insert(member);
        }
        // The same link again is still one meaning.
        Entry::Occupied(mut slot) => {
            if !matches!((slot.get(), &member), (Member::Link(old), Member::Link(new)) if old == new)
            {
                slot.insert(Member::Twice);
            }
        }
    }
    Ok(())
}

/// `name` seen from the folder `parent`, without `.` and `..`; `None` if it leads out of the archive.
fn normal(parent: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = if name.starts_with(b"/") {
        Vec::new()
    } else {
        path::components(parent).collect()
    };
    for part in path::components(name) {
        if part == b".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

/// Reads headers from a file and makes up the data between them, which nobody looks at.
struct Headers<'c> {
    body: Body,
    fake: &'c Cell<u64>,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let skip = self.fake.get();
        if skip == 0 {
            return self.body.read(buffer);
        }
        let count = buffer
            .len()
            .min(usize::try_from(skip).unwrap_or(usize::MAX));
        self.fake.set(skip - count as u64);
        self.body.position += count as u64;
        Ok(count)
    }
}

/// Writes all that is read.
struct Tee<'s, R, W> {
    source: R,
    spool: W,
    /// Why writing failed, which is not the archive's fault.
    failed: &'s mut Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Err(error) = self.spool.write_all(&buffer[..count]) {
            *self.failed = Some(error);
            return Err(io::Error::other("the spool file cannot be written"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn names_stay_inside() {
        let normal = |parent: &str, name: &str| {
            super::normal(parent.as_bytes(), name.as_bytes())
                .map(|name| String::from_utf8(name).unwrap())
        };
        assert_eq!(normal("", "./a//b"), Some("a/b".to_owned()));
        assert_eq!(
            normal("a", "../b/layer.tar"),
            Some("b/layer.tar".to_owned())
        );
        assert_eq!(normal("a", "/b"), Some("b".to_owned()));
        assert_eq!(normal("a", "../../etc/passwd"), None);
        assert_eq!(normal("", ".."), None);
        assert_eq!(normal("", "."), None);
    }
}
