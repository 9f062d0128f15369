//! Extended attributes as EROFS keeps them behind an inode.

use super::format::XATTR_HEADER;
use crate::meta::is_overlay_xattr;

/// Longest name behind its prefix.
const MAX_NAME: usize = 255;
/// Longest value that the format can say; Linux itself stops one byte later.
const MAX_VALUE: usize = 65_535;
/// Most bytes of extended attributes of one entry. The format ends at 256 KiB.
const MAX_BODY: usize = (u16::MAX as usize - 1) * 4;

const USER: u8 = 1;
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;
const TRUSTED: u8 = 4;
const SECURITY: u8 = 6;

/// What makes a directory hide what lower layers have in it.
pub(crate) const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// Why extended attributes cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XattrError {
    /// The name is longer than Linux allows.
    #[error("the name of an extended attribute is longer than {MAX_NAME} bytes")]
    Name,
    /// The value is longer than the index can hold.
    #[error("the value of an extended attribute is longer than {MAX_VALUE} bytes")]
    Value,
    /// Together they are more than the index can hold.
    #[error("the extended attributes of the entry are longer than {MAX_BODY} bytes together")]
    Sum,
}

/// The prefix number and the rest of a full name, or `None` for a name that EROFS has no place for.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    if let Some(rest) = name.strip_prefix(b"user.") {
        Some((USER, rest))
    } else if let Some(rest) = name.strip_prefix(b"security.") {
        Some((SECURITY, rest))
    } else if let Some(rest) = name.strip_prefix(b"trusted.") {
        Some((TRUSTED, rest))
    } else if name == b"system.posix_acl_access" {
        Some((ACL_ACCESS, b""))
    } else if name == b"system.posix_acl_default" {
        Some((ACL_DEFAULT, b""))
    } else {
        None
    }
}

/// The full name of prefix number and rest.
fn join(index: u8, rest: &[u8]) -> Option<Vec<u8>> {
    let prefix: &[u8] = match index {
        USER => b"user.",
        ACL_ACCESS => b"system.posix_acl_access",
        ACL_DEFAULT => b"system.posix_acl_default",
        TRUSTED => b"trusted.",
        SECURITY => b"security.",
        _ => return None,
    };
    Some([prefix, rest].concat())
}

/// Appends the entries for `xattrs` to `out`, sorted; of equal names the last counts.
///
/// Leaves out what overlayfs would obey and what EROFS has no prefix for.
pub(crate) fn encode(xattrs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) -> Result<(), XattrError> {
    let mut all: Vec<(u8, &[u8], &[u8])> = Vec::with_capacity(xattrs.len());
    for (name, value) in xattrs {
        if is_overlay_xattr(name) {
            continue;
        }
        let Some((index, rest)) = split(name) else {
            continue;
        };
        all.push((index, rest, value));
    }
    // Stable, so that the last of equal names is the one before the next name.
    all.sort_by_key(|(index, rest, _)| (*index, *rest));
    let start = out.len();
    for (at, (index, rest, value)) in all.iter().enumerate() {
        if all
            .get(at + 1)
            .is_some_and(|next| (next.0, next.1) == (*index, *rest))
        {
            continue;
        }
        put(*index, rest, value, out)?;
        if out.len() - start > MAX_BODY {
            return Err(XattrError::Sum);
        }
    }
    Ok(())
}

/// Appends the mark of an opaque directory.
pub(crate) fn encode_opaque(out: &mut Vec<u8>) {
    if let Some((index, rest)) = split(OPAQUE.0) {
        // Its name and value are short.
        put(index, rest, OPAQUE.1, out).ok();
    }
}

fn put(index: u8, rest: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), XattrError> {
    let name_len = u8::try_from(rest.len()).map_err(|_| XattrError::Name)?;
    let value_len = u16::try_from(value.len()).map_err(|_| XattrError::Value)?;
    out.push(name_len);
    out.push(index);
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    // `out` may have other things before, of any length.
    let length = 4 + rest.len() + value.len();
    out.resize(out.len() + length.next_multiple_of(4) - length, 0);
    Ok(())
}

/// `i_xattr_icount` for so many bytes of entries.
pub(crate) fn count(body: usize) -> u16 {
    if body == 0 {
        return 0;
    }
    u16::try_from(body / 4 + 1).unwrap_or(u16::MAX)
}

/// Bytes behind the inode that belong to its extended attributes, for an `i_xattr_icount`.
pub(crate) const fn size(count: u16) -> usize {
    if count == 0 {
        0
    } else {
        XATTR_HEADER + (count as usize - 1) * 4
    }
}

/// Reads the entries behind the header; `None` if they are damaged.
pub(crate) fn decode(mut body: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    while !body.is_empty() {
        let head = body.first_chunk::<4>()?;
        let name_len = usize::from(head[0]);
        let value_len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let end = 4 + name_len + value_len;
        let entry = body.get(..end)?;
        all.push((
            join(head[1], &entry[4..4 + name_len])?,
            entry[4 + name_len..].to_vec(),
        ));
        body = body.get(end.next_multiple_of(4)..)?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn what_is_encoded_comes_back_sorted_and_without_overlay_marks() {
        let mut out = Vec::new();
        encode(
            &[
                pair("user.b", b"1"),
                pair("trusted.overlay.opaque", b"y"),
                pair("user.overlay.redirect", b"/"),
                pair("security.capability", &[1; 20]),
                pair("user.a", b""),
                pair("system.posix_acl_access", &[2; 28]),
                pair("system.nfs4_acl", b"x"),
                pair("user.b", b"2"),
            ],
            &mut out,
        )
        .unwrap();
        assert_eq!(
            decode(&out).unwrap(),
            [
                pair("user.a", b""),
                pair("user.b", b"2"),
                pair("system.posix_acl_access", &[2; 28]),
                pair("security.capability", &[1; 20]),
            ]
        );
        assert_eq!(size(count(out.len())), XATTR_HEADER + out.len());
    }

    #[test]
    fn limits_are_errors() {
        let mut out = Vec::new();
        let long = format!("user.{}", "n".repeat(256));
        assert_eq!(encode(&[pair(&long, b"")], &mut out), Err(XattrError::Name));
        let value = vec![0; 65_536];
        assert_eq!(
            encode(&[pair("user.a", &value)], &mut out),
            Err(XattrError::Value)
        );
        let many: Vec<_> = (0..5)
            .map(|n| pair(&format!("user.{n}"), &value[..60_000]))
            .collect();
        assert_eq!(encode(&many, &mut out), Err(XattrError::Sum));
    }

    #[test]
    fn damaged_entries_are_none() {
        assert_eq!(decode(&[9, 1, 0, 0, b'a', 0, 0, 0]), None);
        assert_eq!(decode(&[1, 77, 0, 0, b'a', 0, 0, 0]), None);
        assert_eq!(decode(&[1, 1]), None);
    }
}
