//! Writing tars so that the same entries always give the same bytes.
//!
//! The form, which never depends on anything but the entry:
//!
//! - ustar headers (`ustar\0` `00`), numbers in octal with leading zeros and a NUL, user and group names empty, device
//!   numbers 0 where there is no device. A directory's name ends with `/`. No leading `./` or `/`.
//! - A name that does not fit in 100 bytes goes into name and prefix, cut at the first `/` that makes both fit.
//! - Before that a PAX header, only if something does not fit: the keys are sorted, and are `path` and `linkpath` (too long),
//!   `size` (8 GiB or more), `uid` and `gid` (2,097,152 or more), `mtime` (a fraction, before 1970 or after 2242),
//!   `SCHILY.xattr.NAME` (always), and `hdrcharset=BINARY` where a PAX name is not UTF-8. Its own name is `PaxHeaders.0/` and
//!   the last component of the entry's name, its mode 0644, all else 0.
//! - Two blocks of zeros at the end, and nothing behind them.

use std::io::{self, Write};

use super::{BLOCK, pax};
use crate::meta::{Kind, Meta, Time};
use crate::path;

/// What ends an archive: two blocks of zeros.
pub const TRAILER: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

const NAME: usize = 100;
const PREFIX: usize = 155;
/// Largest number in eight bytes: seven octal digits and a NUL.
const MAX_SHORT: u64 = 0o777_7777;
/// Largest number in twelve bytes.
const MAX_LONG: u64 = 0o777_7777_7777;

/// Appends the header blocks of an entry to `out`.
///
/// The caller then writes the bytes of a file and pads them to a multiple of [`BLOCK`]. The form is that of the module.
pub fn header(name: &[u8], meta: &Meta, out: &mut Vec<u8>) {
    let mut full = Vec::with_capacity(name.len() + 1);
    for part in path::components(name) {
        if !full.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(part);
    }
    if full.is_empty() {
        full.push(b'.');
    }
    if meta.kind == Kind::Dir {
        full.push(b'/');
    }
    let link: Vec<u8> = match &meta.kind {
        Kind::Symlink { target } => target.clone(),
        Kind::HardLink { target } => join(target),
        _ => Vec::new(),
    };
    let cut = cut(&full);
    let records = records(&full, cut.is_none(), &link, meta);
    if !records.is_empty() {
        extended(&full, &records, out);
    }
    let (prefix, short) = match cut {
        Some(0) => (&b""[..], &full[..]),
        Some(at) => (&full[..at], &full[at + 1..]),
        // Readers take the name from the PAX header; this is for those that cannot.
        None => (&b""[..], &full[..NAME]),
    };
    let size = match meta.kind {
        Kind::File { size } => size,
        _ => 0,
    };
    let mut block = Block::new(short, prefix);
    block.octal(100, 8, u64::from(meta.mode & 0o7777));
    block.octal(108, 8, capped(meta.uid.into(), MAX_SHORT));
    block.octal(116, 8, capped(meta.gid.into(), MAX_SHORT));
    block.octal(124, 12, capped(size, MAX_LONG));
    block.octal(136, 12, plain_mtime(meta.mtime).unwrap_or(0));
    block.bytes[156] = match meta.kind {
        Kind::File { .. } => b'0',
        Kind::HardLink { .. } => b'1',
        Kind::Symlink { .. } => b'2',
        Kind::CharDevice { .. } => b'3',
        Kind::BlockDevice { .. } => b'4',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
    };
    block.set(157, &link[..link.len().min(NAME)]);
    let (major, minor) = match meta.kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    block.octal(329, 8, capped(major.into(), MAX_SHORT));
    block.octal(337, 8, capped(minor.into(), MAX_SHORT));
    block.finish(out);
}

fn join(target: &[u8]) -> Vec<u8> {
    path::components(target).collect::<Vec<_>>().join(&b'/')
}

const fn capped(value: u64, most: u64) -> u64 {
    if value > most { 0 } else { value }
}

/// Where name and prefix part: 0 if no prefix is needed, `None` if it cannot be done.
fn cut(full: &[u8]) -> Option<usize> {
    if full.len() <= NAME {
        return Some(0);
    }
    // The last byte of a directory's name is no place to cut.
    let last = full.len() - 1;
    (full.len() - NAME - 1..last.min(PREFIX + 1)).find(|at| *at > 0 && full[*at] == b'/')
}

fn plain_mtime(time: Time) -> Option<u64> {
    u64::try_from(time.secs)
        .ok()
        .filter(|secs| time.nanos == 0 && *secs <= MAX_LONG)
}

/// The PAX records that the entry needs, sorted by key.
fn records(full: &[u8], long: bool, link: &[u8], meta: &Meta) -> Vec<u8> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| all.push((key.to_vec(), value.to_vec()));
    let mut binary = false;
    if long {
        add(b"path", full);
        binary |= std::str::from_utf8(full).is_err();
    }
    if link.len() > NAME {
        add(b"linkpath", link);
        binary |= std::str::from_utf8(link).is_err();
    }
    if binary {
        add(b"hdrcharset", b"BINARY");
    }
    for (key, value) in [(b"uid", meta.uid), (b"gid", meta.gid)] {
        if u64::from(value) > MAX_SHORT {
            add(key, value.to_string().as_bytes());
        }
    }
    if let Kind::File { size } = meta.kind
        && size > MAX_LONG
    {
        add(b"size", size.to_string().as_bytes());
    }
    if plain_mtime(meta.mtime).is_none() {
        add(b"mtime", decimal(meta.mtime).as_bytes());
    }
    for (name, value) in &meta.xattrs {
        let key = [&b"SCHILY.xattr."[..], &pax::encode_schily(name)].concat();
        add(&key, value);
    }
    all.sort();
    let mut out = Vec::new();
    for (key, value) in all {
        record(&key, &value, &mut out);
    }
    out
}

/// Seconds with a fraction, trailing zeros left out.
fn decimal(time: Time) -> String {
    let nanos = i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = format!(
        "{sign}{}.{:09}",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000
    );
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
pub(super) fn record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The PAX header with its records.
fn extended(full: &[u8], records: &[u8], out: &mut Vec<u8>) {
    let base = path::components(full).next_back().unwrap_or(b".");
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend_from_slice(base);
    name.truncate(NAME);
    let mut block = Block::new(&name, b"");
    block.octal(100, 8, 0o644);
    block.octal(108, 8, 0);
    block.octal(116, 8, 0);
    block.octal(124, 12, records.len() as u64);
    block.octal(136, 12, 0);
    block.bytes[156] = b'x';
    block.octal(329, 8, 0);
    block.octal(337, 8, 0);
    block.finish(out);
    out.extend_from_slice(records);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

struct Block {
    bytes: [u8; BLOCK],
}

impl Block {
    fn new(name: &[u8], prefix: &[u8]) -> Self {
        let mut block = Self { bytes: [0; BLOCK] };
        block.set(0, name);
        block.set(257, b"ustar\x0000");
        block.set(345, prefix);
        block
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Octal digits with leading zeros, and a NUL, in `width` bytes.
    fn octal(&mut self, at: usize, width: usize, mut value: u64) {
        for digit in self.bytes[at..at + width - 1].iter_mut().rev() {
            *digit = b'0' + u8::try_from(value & 7).unwrap_or_default();
            value >>= 3;
        }
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        self.set(148, b"        ");
        let sum: u64 = self.bytes.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148, 7, sum);
        self.bytes[154] = 0;
        out.extend_from_slice(&self.bytes);
    }
}

/// Writes a whole archive, entry after entry.
///
/// For a layer use [`Ingest`](crate::Ingest), which makes the index at the same time.
#[derive(Debug)]
#[must_use = "an archive without its end is truncated"]
pub struct Writer<W: Write> {
    inner: W,
    head: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub const fn new(inner: W) -> Self {
        Self {
            inner,
            head: Vec::new(),
        }
    }

    /// Adds an entry; of a regular file, exactly its size is read from `body`.
    ///
    /// # Errors
    ///
    /// Reading or writing failed, or `body` ended early ([`io::ErrorKind::UnexpectedEof`]); the archive is then useless.
    pub fn append(&mut self, name: &[u8], meta: &Meta, body: &mut dyn io::Read) -> io::Result<()> {
        self.head.clear();
        header(name, meta, &mut self.head);
        self.inner.write_all(&self.head)?;
        if let Kind::File { size } = meta.kind {
            let copied = io::copy(&mut io::Read::take(body, size), &mut self.inner)?;
            if copied != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
            self.inner.write_all(&TRAILER[..padding])?;
        }
        Ok(())
    }

    /// Ends the archive and gives the writer back, not flushed.
    ///
    /// # Errors
    ///
    /// Writing failed.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&TRAILER)?;
        Ok(self.inner)
    }
}
