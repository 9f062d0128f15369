//! From header blocks to entries. No I/O: whoever has the bytes hands in the blocks that are not file data, in order.

use std::io;

use super::number;
use super::pax::{MAX_EXTENDED, Records};
use super::sparse::{self, MapReader, Segment};
use super::{BLOCK, Entry};
use crate::meta::{Kind, Meta, Time};

/// Largest file: what a signed 64-bit offset can say.
const MAX_SIZE: u64 = i64::MAX as u64;
/// Largest number in the twelve bytes of a header's size field.
const MAX_OCTAL_SIZE: u64 = 0o777_7777_7777;

/// Why a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its source failed.
    #[error("cannot read it: {0}")]
    Read(#[source] io::Error),
    /// Its bytes are wrong, or can be understood in more than one way.
    #[error("at byte {offset}{}: {problem}", near(.entry))]
    Format {
        /// Where: the first byte of the block.
        offset: u64,
        /// The name of the entry, if it was known already.
        entry: Vec<u8>,
        /// What is wrong.
        problem: Problem,
    },
}

fn near(entry: &[u8]) -> String {
    if entry.is_empty() {
        return String::new();
    }
    format!(" (`{}`)", crate::path::shown(entry))
}

/// What is wrong with a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It ends within an entry.
    #[error("the archive is truncated")]
    Truncated,
    /// A block in the place of a header is none.
    #[error("this is not a tar header (the checksum is wrong)")]
    Checksum,
    /// A number in a header is none, or out of range.
    #[error("the {0} in the header is not a valid number")]
    Number(&'static str),
    /// Of an entry, only numbers up to 2^32 - 2 are owners.
    #[error("the {0} is out of range")]
    Owner(&'static str),
    /// A type that no image uses.
    #[error("entries of type `{}` are not supported", char::from(*.0).escape_default())]
    Type(u8),
    /// Readers differ about whether what follows is data or the next header.
    #[error("an entry that has no data says it has some")]
    DataWithoutFile,
    /// A regular file whose name ends with `/`.
    #[error("a regular file is named like a directory")]
    FileNamedDirectory,
    /// The two places that tell the size disagree.
    #[error("its header and its extended header tell different sizes")]
    Sizes,
    /// A NUL within a name.
    #[error("there is a NUL byte in a name")]
    Nul,
    /// An entry without a name.
    #[error("the entry has no name")]
    NoName,
    /// A link without a target.
    #[error("the link has no target")]
    NoTarget,
    /// Records of an extended header that are not `LENGTH KEY=VALUE`.
    #[error("the extended header is malformed")]
    Records,
    /// A record whose value makes no sense.
    #[error("the record `{0}` in the extended header is malformed")]
    Record(&'static str),
    /// A record that may be there once.
    #[error("the record `{0}` is in the extended header twice")]
    DuplicateRecord(&'static str),
    /// Two headers that both say more about the same entry.
    #[error("there is more than one extended header for one entry")]
    DuplicateHeader,
    /// A global header that changes names or sizes, which some readers ignore.
    #[error("a global header changes names, sizes or attributes")]
    Global,
    /// Larger than what is read into memory.
    #[error("an extended header is longer than {MAX_EXTENDED} bytes")]
    ExtendedTooLong,
    /// The map of a sparse file is wrong.
    #[error("the map of a sparse file is malformed")]
    SparseMap,
    /// The end mark is followed by more entries.
    #[error("a single block of zeros is followed by more")]
    LoneZeroBlock,
}

/// What a block led to.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next block is wanted.
    More,
    /// An entry; its stored data, padded to whole blocks, comes before the next block.
    Entry(Box<Entry>),
    /// The archive ends here, whatever follows.
    End,
}

/// What the collected blocks will say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collecting {
    Records,
    Global,
    LongName,
    LongLink,
}

#[derive(Debug)]
enum State {
    Header,
    /// One block of zeros was there.
    Zero,
    /// So many bytes of an extended header are still to come.
    Collect(Collecting, usize),
    /// The map of an old sparse file goes on.
    OldSparse(Box<Pending>),
    /// The map of a new sparse file stands before its data.
    MapFirst(Box<Pending>, MapReader),
    End,
}

/// A sparse file whose map is not complete.
#[derive(Debug)]
struct Pending {
    entry: Entry,
    map: Vec<Segment>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scanner {
    state: State,
    body: Vec<u8>,
    records: Option<Records>,
    global: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

type Result<T> = std::result::Result<T, Problem>;

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header,
            body: Vec::new(),
            records: None,
            global: Records::default(),
            long_name: None,
            long_link: None,
        }
    }

    /// Takes the block at byte `at` of the archive.
    pub(crate) fn block(&mut self, at: u64, block: &[u8; BLOCK]) -> Result<Step> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header if is_zero(block) => {
                if self.has_pending() {
                    return Err(Problem::Truncated);
                }
                self.state = State::Zero;
                Ok(Step::More)
            }
            State::Header => self.header(at, block),
            State::Zero if is_zero(block) => {
                self.state = State::End;
                Ok(Step::End)
            }
            State::Zero => Err(Problem::LoneZeroBlock),
            State::Collect(what, left) => self.collect(what, left, block),
            State::OldSparse(pending) => self.old_sparse(at, *pending, block),
            State::MapFirst(pending, reader) => self.map_first(at, *pending, reader, block),
            State::End => {
                self.state = State::End;
                Ok(Step::End)
            }
        }
    }

    /// Says whether the archive may end here.
    pub(crate) fn end(&self) -> Result<()> {
        match self.state {
            State::Header if !self.has_pending() => Ok(()),
            State::Zero | State::End => Ok(()),
            _ => Err(Problem::Truncated),
        }
    }

    const fn has_pending(&self) -> bool {
        self.records.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }

    fn header(&mut self, at: u64, block: &[u8; BLOCK]) -> Result<Step> {
        check_sum(block)?;
        let kind = block[156];
        let size = size_field(&block[124..136])?;
        match kind {
            b'x' | b'g' | b'L' | b'K' => {
                let (what, taken) = match kind {
                    b'x' => (Collecting::Records, self.has_pending()),
                    b'g' => (Collecting::Global, self.has_pending()),
                    b'L' => (
                        Collecting::LongName,
                        self.records.is_some() || self.long_name.is_some(),
                    ),
                    _ => (
                        Collecting::LongLink,
                        self.records.is_some() || self.long_link.is_some(),
                    ),
                };
                if taken {
                    return Err(Problem::DuplicateHeader);
                }
                if size > MAX_EXTENDED {
                    return Err(Problem::ExtendedTooLong);
                }
                self.body.clear();
                let left = usize::try_from(size).unwrap_or_default();
                if left == 0 {
                    self.collected(what)?;
                } else {
                    self.state = State::Collect(what, left);
                }
                Ok(Step::More)
            }
            _ => self.entry(at, block, size),
        }
    }

    fn collect(&mut self, what: Collecting, left: usize, block: &[u8; BLOCK]) -> Result<Step> {
        let count = left.min(BLOCK);
        self.body.extend_from_slice(&block[..count]);
        if left > count {
            self.state = State::Collect(what, left - count);
        } else {
            self.collected(what)?;
        }
        Ok(Step::More)
    }

    fn collected(&mut self, what: Collecting) -> Result<()> {
        match what {
            Collecting::Records => {
                let mut records = Records::default();
                records.parse(&self.body)?;
                self.records = Some(records);
            }
            Collecting::Global => self.global.parse_global(&self.body)?,
            Collecting::LongName => self.long_name = Some(long(&self.body)?),
            Collecting::LongLink => self.long_link = Some(long(&self.body)?),
        }
        Ok(())
    }

    /// An entry's own header, with all that was said before it.
    fn entry(&mut self, at: u64, block: &[u8; BLOCK], header_size: u64) -> Result<Step> {
        let mut records = self.records.take().unwrap_or_default();
        let sparse = std::mem::take(&mut records.sparse);
        let dialect = Dialect::of(block);
        let path = match (
            sparse.name.clone().or_else(|| records.path.take()),
            self.long_name.take(),
        ) {
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => dialect.name(block)?,
        };
        if path.is_empty() {
            return Err(Problem::NoName);
        }
        let link = match (records.linkpath.take(), self.long_link.take()) {
            (Some(link), _) | (None, Some(link)) => link,
            (None, None) => text(&block[157..257])?.to_vec(),
        };
        let stored = settle_size(header_size, records.size)?;
        let old_sparse = block[156] == b'S' && dialect == Dialect::Gnu;
        let kind = kind_of(block, &path, link, stored, old_sparse)?;
        let meta = Meta {
            kind,
            mode: u32::try_from(number_field(&block[100..108], "mode")? & 0o7777)
                .unwrap_or_default(),
            uid: owner(&block[108..116], records.uid.or(self.global.uid), "user id")?,
            gid: owner(
                &block[116..124],
                records.gid.or(self.global.gid),
                "group id",
            )?,
            mtime: match records.mtime.or(self.global.mtime) {
                Some(time) => time,
                None => Time::from_secs(
                    i64::try_from(number_field(&block[136..148], "time")?)
                        .map_err(|_| Problem::Number("time"))?,
                ),
            },
            xattrs: records.xattrs,
        };
        let entry = Entry {
            path,
            meta,
            header_offset: at,
            data_offset: at + BLOCK as u64,
            stored,
            segments: None,
        };
        if old_sparse {
            return self.begin_old_sparse(entry, block);
        }
        if sparse.is_empty() {
            return Ok(Step::Entry(Box::new(entry)));
        }
        self.begin_sparse(entry, sparse)
    }

    fn begin_sparse(&mut self, mut entry: Entry, sparse: super::pax::Sparse) -> Result<Step> {
        let Kind::File { size } = &mut entry.meta.kind else {
            return Err(Problem::SparseMap);
        };
        *size = sparse
            .size
            .filter(|size| *size <= MAX_SIZE)
            .ok_or(Problem::SparseMap)?;
        match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => {
                let pending = Pending {
                    entry,
                    map: Vec::new(),
                };
                self.state = State::MapFirst(Box::new(pending), MapReader::default());
                Ok(Step::More)
            }
            (None, None) | (Some(0), Some(0 | 1)) => {
                let map = sparse.segments()?;
                finish_sparse(entry, map)
            }
            _ => Err(Problem::SparseMap),
        }
    }

    fn begin_old_sparse(&mut self, mut entry: Entry, block: &[u8; BLOCK]) -> Result<Step> {
        let real = size_field(&block[483..495])?;
        entry.meta.kind = Kind::File { size: real };
        let mut map = Vec::new();
        let more = sparse::old_pairs(&block[386..482], &mut map)?;
        if block[482] == 0 {
            return finish_sparse(entry, map);
        }
        if !more {
            return Err(Problem::SparseMap);
        }
        self.state = State::OldSparse(Box::new(Pending { entry, map }));
        Ok(Step::More)
    }

    fn old_sparse(&mut self, at: u64, mut pending: Pending, block: &[u8; BLOCK]) -> Result<Step> {
        let more = sparse::old_pairs(&block[..504], &mut pending.map)?;
        pending.entry.data_offset = at + BLOCK as u64;
        if block[504] == 0 {
            return finish_sparse(pending.entry, pending.map);
        }
        if !more {
            return Err(Problem::SparseMap);
        }
        self.state = State::OldSparse(Box::new(pending));
        Ok(Step::More)
    }

    fn map_first(
        &mut self,
        at: u64,
        mut pending: Pending,
        mut reader: MapReader,
        block: &[u8; BLOCK],
    ) -> Result<Step> {
        let map = reader.block(block)?;
        if reader.taken > pending.entry.stored {
            return Err(Problem::SparseMap);
        }
        let Some(map) = map else {
            self.state = State::MapFirst(Box::new(pending), reader);
            return Ok(Step::More);
        };
        pending.entry.stored -= reader.taken;
        pending.entry.data_offset = at + BLOCK as u64;
        finish_sparse(pending.entry, map)
    }
}

fn finish_sparse(mut entry: Entry, map: Vec<Segment>) -> Result<Step> {
    let Kind::File { size } = entry.meta.kind else {
        return Err(Problem::SparseMap);
    };
    entry.segments = Some(sparse::check(map, size, entry.stored)?);
    Ok(Step::Entry(Box::new(entry)))
}

/// Whose header it is, as far as that changes where the name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Dialect {
    fn of(block: &[u8; BLOCK]) -> Self {
        match &block[257..265] {
            b"ustar  \0" => Self::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] if &block[508..] == b"tar\0" => Self::Star,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Self::Ustar,
            _ => Self::V7,
        }
    }

    fn name(self, block: &[u8; BLOCK]) -> Result<Vec<u8>> {
        let name = text(&block[..100])?;
        let prefix = match self {
            Self::V7 => b"",
            Self::Ustar => text(&block[345..500])?,
            Self::Star => text(&block[345..476])?,
            Self::Gnu => old_docker_prefix(block),
        };
        if prefix.is_empty() {
            return Ok(name.to_vec());
        }
        Ok([prefix, b"/", name].concat())
    }
}

/// Go before 1.8, and so Docker of 2016, wrote a ustar prefix where GNU headers have the times of access and change. Go still
/// reads it, under the condition that the bytes cannot be those times.
fn old_docker_prefix(block: &[u8; BLOCK]) -> &[u8] {
    let is_time = |bytes: &[u8]| bytes[0] == 0 || number::field(bytes).is_some();
    if is_time(&block[345..357]) && is_time(&block[357..369]) {
        return b"";
    }
    match text(&block[345..500]) {
        Ok(prefix) if prefix.is_ascii() => prefix,
        _ => b"",
    }
}

fn kind_of(
    block: &[u8; BLOCK],
    path: &[u8],
    target: Vec<u8>,
    stored: u64,
    old_sparse: bool,
) -> Result<Kind> {
    let flag = block[156];
    let file = Kind::File { size: stored };
    match flag {
        // Before there were types, a directory was what ends with a slash.
        0 if path.ends_with(b"/") && stored == 0 => return Ok(Kind::Dir),
        0 | b'0' | b'7' if path.ends_with(b"/") => return Err(Problem::FileNamedDirectory),
        0 | b'0' | b'7' => return Ok(file),
        b'S' if old_sparse => return Ok(file),
        b'1'..=b'6' if stored > 0 => return Err(Problem::DataWithoutFile),
        _ => {}
    }
    let device = || -> Result<(u32, u32)> {
        let part = |range: std::ops::Range<usize>| {
            u32::try_from(number_field(&block[range], "device")?)
                .map_err(|_| Problem::Number("device"))
        };
        Ok((part(329..337)?, part(337..345)?))
    };
    if matches!(flag, b'1' | b'2') && target.is_empty() {
        return Err(Problem::NoTarget);
    }
    Ok(match flag {
        b'1' => Kind::HardLink { target },
        b'2' => Kind::Symlink { target },
        b'3' => {
            let (major, minor) = device()?;
            Kind::CharDevice { major, minor }
        }
        b'4' => {
            let (major, minor) = device()?;
            Kind::BlockDevice { major, minor }
        }
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        other => return Err(Problem::Type(other)),
    })
}

fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The checksum counts its own field as spaces. Some old writers added signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let stored = &block[148..156];
    if stored.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Err(Problem::Checksum);
    }
    let expected = number::field(stored).ok_or(Problem::Checksum)?;
    let mut unsigned = 8 * u32::from(b' ');
    let mut high = 0;
    for part in [&block[..148], &block[156..]] {
        for byte in part {
            unsigned += u32::from(*byte);
            high += u32::from(*byte >> 7);
        }
    }
    let signed = i128::from(unsigned) - 256 * i128::from(high);
    if expected != i128::from(unsigned) && expected != signed {
        return Err(Problem::Checksum);
    }
    Ok(())
}

fn number_field(bytes: &[u8], what: &'static str) -> Result<i128> {
    number::field(bytes).ok_or(Problem::Number(what))
}

fn size_field(bytes: &[u8]) -> Result<u64> {
    number::field(bytes)
        .and_then(|size| u64::try_from(size).ok())
        .filter(|size| *size <= MAX_SIZE)
        .ok_or(Problem::Number("size"))
}

/// The size of the data. Where the extended header has one, the header must have the same, unless it has no room for it.
fn settle_size(header: u64, record: Option<u64>) -> Result<u64> {
    match record {
        None => Ok(header),
        Some(size) if size > MAX_SIZE => Err(Problem::Number("size")),
        Some(size) if size == header || size > MAX_OCTAL_SIZE => Ok(size),
        Some(_) => Err(Problem::Sizes),
    }
}

/// A user or group. Negative numbers of 32 bits are what they are for Linux; -1 means "no one" there and is refused.
fn owner(field: &[u8], record: Option<u64>, what: &'static str) -> Result<u32> {
    let value = match record {
        Some(value) => i128::from(value),
        None => number_field(field, what)?,
    };
    let id = match i32::try_from(value) {
        Ok(small) => small.cast_unsigned(),
        Err(_) => u32::try_from(value).map_err(|_| Problem::Owner(what))?,
    };
    if id == u32::MAX {
        return Err(Problem::Owner(what));
    }
    Ok(id)
}

/// The text in a field, up to its NUL. Behind that there may be only NULs.
fn text(field: &[u8]) -> Result<&[u8]> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    // GNU tar leaves rests of other names here, so that what follows cannot be held against the archive.
    Ok(&field[..end])
}

/// A GNU long name: NULs at the end only.
fn long(body: &[u8]) -> Result<Vec<u8>> {
    let end = body
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if body[..end].contains(&0) {
        return Err(Problem::Nul);
    }
    if end == 0 {
        return Err(Problem::NoName);
    }
    Ok(body[..end].to_vec())
}
