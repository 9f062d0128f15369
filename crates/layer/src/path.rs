//! Names inside a layer: bytes, relative to its root, without `..`.

/// Longest name of one entry in its directory, as in every Linux file system.
pub const MAX_NAME: usize = 255;

/// Longest path, `PATH_MAX` without its NUL: a program could not name a longer one, and it bounds the depth of a tree.
pub const MAX_PATH: usize = 4095;

/// Why bytes are not a path inside a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is no byte in it.
    #[error("the name is empty")]
    Empty,
    /// It climbs out of a directory.
    #[error("`..` is not allowed in a name")]
    Parent,
    /// A NUL byte, at which other readers stop.
    #[error("there is a NUL byte in the name")]
    Nul,
    /// One component is too long for a file system.
    #[error("a component of the name is longer than {MAX_NAME} bytes")]
    NameTooLong,
    /// The whole is too long for a program to use.
    #[error("the name is longer than {MAX_PATH} bytes")]
    TooLong,
}

/// The components of `path` that mean something: empty ones and `.` are left out, so that `./a//b/` is `a`, `b`.
///
/// Checks nothing; see [`check`].
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// Says whether `path` may name something in a layer.
///
/// # Errors
///
/// [`PathError`] says what is wrong with it.
pub fn check(path: &[u8]) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    if path.contains(&0) {
        return Err(PathError::Nul);
    }
    for name in components(path) {
        if name == b".." {
            return Err(PathError::Parent);
        }
        if name.len() > MAX_NAME {
            return Err(PathError::NameTooLong);
        }
    }
    Ok(())
}

/// A path as people may see it in a message: control characters escaped, kept short.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(path);
    let mut out = String::new();
    for character in text.chars() {
        if out.len() > LONGEST {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_dot_and_slashes_mean_nothing() {
        let all: Vec<_> = components(b"./a//b/./c/").collect();
        assert_eq!(all, [b"a", b"b", b"c"]);
        assert_eq!(components(b"/").count(), 0);
    }

    #[test]
    fn what_climbs_or_cannot_exist_is_refused() {
        assert_eq!(check(b""), Err(PathError::Empty));
        assert_eq!(check(b"a/../b"), Err(PathError::Parent));
        assert_eq!(check(b"a\0b"), Err(PathError::Nul));
        assert_eq!(check(&[b'x'; 256]), Err(PathError::NameTooLong));
        assert_eq!(check(&[b'x'; 255]), Ok(()));
        assert_eq!(check(&b"x/".repeat(2048)), Err(PathError::TooLong));
        assert_eq!(check(b"..a/b.."), Ok(()));
    }

    #[test]
    fn terminal_escapes_are_made_visible() {
        assert_eq!(shown(b"a\x1b[31m"), "a\\u{1b}[31m");
    }
}
