//! PAX extended headers: records of key and value that say what a header cannot.

use super::number;
use super::scan::Problem;
use super::sparse::{self, MAX_SEGMENTS, Segment};
use crate::Time;

/// Longest extended header or GNU long name. Held in memory whole; Go's reader, and so Docker, has the same limit.
pub const MAX_EXTENDED: u64 = 1 << 20;

/// What the records before an entry say about it.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or `GNU.sparse.realsize`.
    pub(super) size: Option<u64>,
    numblocks: Option<u64>,
    /// Of form 0.0, in pairs; the last may lack its length.
    loose: Vec<Segment>,
    waiting: Option<u64>,
    map: Option<Vec<Segment>>,
}

impl Sparse {
    pub(super) const fn is_empty(&self) -> bool {
        self.major.is_none()
            && self.minor.is_none()
            && self.name.is_none()
            && self.size.is_none()
            && self.numblocks.is_none()
            && self.loose.is_empty()
            && self.waiting.is_none()
            && self.map.is_none()
    }

    /// The map of form 0.0 or 0.1.
    pub(super) fn segments(self) -> Result<Vec<Segment>, Problem> {
        let map = match self.map {
            Some(map) if self.loose.is_empty() => map,
            None => self.loose,
            Some(_) => return Err(Problem::SparseMap),
        };
        if self.waiting.is_some()
            || self
                .numblocks
                .is_some_and(|count| count != map.len() as u64)
        {
            return Err(Problem::SparseMap);
        }
        Ok(map)
    }
}

/// Sets `slot` once.
fn once<T>(slot: &mut Option<T>, value: T, key: &'static str) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(Problem::DuplicateRecord(key));
    }
    Ok(())
}

fn number_of(value: &[u8], key: &'static str) -> Result<u64, Problem> {
    number::decimal(value).ok_or(Problem::Record(key))
}

fn name_of(value: &[u8], key: &'static str) -> Result<Vec<u8>, Problem> {
    if value.is_empty() {
        return Err(Problem::Record(key));
    }
    if value.contains(&0) {
        return Err(Problem::Nul);
    }
    Ok(value.to_vec())
}

/// Splits the body of an extended header into its records.
pub(super) fn records(
    mut body: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    while !body.is_empty() {
        let space = body
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or(Problem::Records)?;
        let length = number::decimal(&body[..space])
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(Problem::Records)?;
        let record = body.get(space + 1..length).ok_or(Problem::Records)?;
        let record = record.strip_suffix(b"\n").ok_or(Problem::Records)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or(Problem::Records)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(Problem::Records);
        }
        each(key, value)?;
        body = &body[length..];
    }
    Ok(())
}

impl Records {
    /// Reads the header of one entry.
    pub(super) fn parse(&mut self, body: &[u8]) -> Result<(), Problem> {
        records(body, |key, value| self.set(key, value))?;
        self.settle_xattrs()
    }

    /// Reads a global header, which stands for all entries behind it.
    ///
    /// Go, and so Docker, ignores these and GNU tar obeys; so only what changes no names and no bytes may be in it.
    pub(super) fn parse_global(&mut self, body: &[u8]) -> Result<(), Problem> {
        records(body, |key, value| match key {
            // A later global header replaces what an earlier one said.
            b"uid" => {
                self.uid = Some(number_of(value, "uid")?);
                Ok(())
            }
            b"gid" => {
                self.gid = Some(number_of(value, "gid")?);
                Ok(())
            }
            b"mtime" => {
                self.mtime = Some(number::time(value).ok_or(Problem::Record("mtime"))?);
                Ok(())
            }
            b"path" | b"linkpath" | b"size" => Err(Problem::Global),
            _ if is_xattr(key) || key.starts_with(b"GNU.sparse.") => Err(Problem::Global),
            _ => Ok(()),
        })
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        match key {
            b"path" => once(&mut self.path, name_of(value, "path")?, "path"),
            b"linkpath" => once(&mut self.linkpath, name_of(value, "linkpath")?, "linkpath"),
            b"size" => once(&mut self.size, number_of(value, "size")?, "size"),
            // Without a value these fall back to the header.
            b"uid" | b"gid" | b"mtime" if value.is_empty() => Ok(()),
            b"uid" => once(&mut self.uid, number_of(value, "uid")?, "uid"),
            b"gid" => once(&mut self.gid, number_of(value, "gid")?, "gid"),
            b"mtime" => {
                let time = number::time(value).ok_or(Problem::Record("mtime"))?;
                once(&mut self.mtime, time, "mtime")
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((decode_schily(name), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = decode_percent(name).ok_or(Problem::Record("LIBARCHIVE.xattr"))?;
                    let value = decode_base64(value).ok_or(Problem::Record("LIBARCHIVE.xattr"))?;
                    self.xattrs.push((name, value));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value)?;
                }
                Ok(())
            }
        }
    }

    /// libarchive says each attribute twice, once in each spelling. Two values for one name are refused.
    fn settle_xattrs(&mut self) -> Result<(), Problem> {
        for (name, _) in &self.xattrs {
            if name.is_empty() || name.contains(&0) {
                return Err(Problem::Record("SCHILY.xattr"));
            }
        }
        self.xattrs.sort();
        self.xattrs.dedup();
        if self.xattrs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Problem::DuplicateRecord("SCHILY.xattr"));
        }
        Ok(())
    }
}

fn is_xattr(key: &[u8]) -> bool {
    key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.")
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        let number = || number_of(value, "GNU.sparse");
        match key {
            b"major" => once(&mut self.major, number()?, "GNU.sparse.major"),
            b"minor" => once(&mut self.minor, number()?, "GNU.sparse.minor"),
            b"name" => once(
                &mut self.name,
                name_of(value, "GNU.sparse.name")?,
                "GNU.sparse.name",
            ),
            b"size" | b"realsize" => once(&mut self.size, number()?, "GNU.sparse.size"),
            b"numblocks" => once(&mut self.numblocks, number()?, "GNU.sparse.numblocks"),
            b"offset" => once(&mut self.waiting, number()?, "GNU.sparse.offset"),
            b"numbytes" => {
                let offset = self.waiting.take().ok_or(Problem::SparseMap)?;
                if self.loose.len() >= MAX_SEGMENTS {
                    return Err(Problem::SparseMap);
                }
                self.loose.push(Segment {
                    offset,
                    len: number()?,
                });
                Ok(())
            }
            b"map" => once(&mut self.map, sparse::parse_map(value)?, "GNU.sparse.map"),
            _ => Ok(()),
        }
    }
}

/// GNU tar writes `=` and `%` in names of attributes as `%3D` and `%25`, and nothing else.
fn decode_schily(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"%3D") {
            out.push(b'=');
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"%25") {
            out.push(b'%');
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// The other way round.
pub(super) fn encode_schily(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'=' => out.extend_from_slice(b"%3D"),
            b'%' => out.extend_from_slice(b"%25"),
            other => out.push(*other),
        }
    }
    out
}

fn decode_percent(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

/// Base 64 as libarchive writes it: without padding, which is accepted too.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text
        .strip_suffix(b"==")
        .or(text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        match group.len() {
            4 => out.extend_from_slice(&bits.to_be_bytes()[1..]),
            3 => out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
            2 => out.extend_from_slice(&(bits >> 4).to_be_bytes()[3..]),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Records, Problem> {
        let mut records = Records::default();
        records.parse(body).map(|()| records)
    }

    #[test]
    fn records_are_exact_in_length() {
        assert_eq!(parse(b"8 path=a\n").unwrap_err(), Problem::Records);
        assert_eq!(parse(b"9 path=a\n").unwrap().path.unwrap(), b"a");
        assert_eq!(parse(b"11 path=a\n").unwrap_err(), Problem::Records);
        assert_eq!(parse(b"9 path=a\n\0").unwrap_err(), Problem::Records);
        assert_eq!(
            parse(b"99999999999999999999 a=b\n").unwrap_err(),
            Problem::Records
        );
        assert_eq!(parse(b"5 =b\n").unwrap_err(), Problem::Records);
        assert_eq!(parse(b"3 a\n").unwrap_err(), Problem::Records);
        assert_eq!(parse(b"0 a=b\n").unwrap_err(), Problem::Records);
    }

    #[test]
    fn what_counts_may_be_said_once() {
        let twice = parse(b"9 size=1\n9 size=1\n").unwrap_err();
        assert_eq!(twice, Problem::DuplicateRecord("size"));
        parse(b"13 comment=a\n13 comment=b\n").unwrap();
    }

    #[test]
    fn attributes_in_both_spellings() {
        let mut body = Vec::new();
        for (key, value) in [
            ("SCHILY.xattr.user.a", "hi"),
            ("LIBARCHIVE.xattr.user.%61", "aGk"),
        ] {
            super::super::write::record(key.as_bytes(), value.as_bytes(), &mut body);
        }
        assert_eq!(
            parse(&body).unwrap().xattrs,
            [(b"user.a".to_vec(), b"hi".to_vec())]
        );
        super::super::write::record(b"LIBARCHIVE.xattr.user.a", b"aGo", &mut body);
        assert!(parse(&body).is_err());
    }

    #[test]
    fn base_64_of_every_remainder() {
        assert_eq!(decode_base64(b"").unwrap(), b"");
        assert_eq!(decode_base64(b"YQ").unwrap(), b"a");
        assert_eq!(decode_base64(b"YWI").unwrap(), b"ab");
        assert_eq!(decode_base64(b"YWJj").unwrap(), b"abc");
        assert_eq!(decode_base64(b"YWI=").unwrap(), b"ab");
        assert_eq!(decode_base64(b"Y"), None);
        assert_eq!(decode_base64(b"Y!"), None);
    }

    #[test]
    fn names_of_attributes_keep_equals_and_percent() {
        for name in [&b"user.a=b"[..], b"user.100%", b"user.%3D", b"plain"] {
            assert_eq!(decode_schily(&encode_schily(name)), name);
        }
    }
}
