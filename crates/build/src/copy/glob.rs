//! Matching one path component against a pattern, by the rules of Go's `filepath.Match`.

/// A pattern that ends in an escape character or an unclosed or empty class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadPattern;

/// True if a path has `*`, `?` or `[` that is not escaped.
pub(crate) fn has_wildcards(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// True if `name`, one component, matches all of `pattern`.
///
/// `*` is any number of characters, `?` one, `[a-z]` one of a class, `[^a-z]` one that is not; `\` takes the next
/// character as it is. A character is a code point where the bytes are UTF-8, else a byte.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    check(pattern)?;
    // Where to go on after a mismatch: behind the last star, one character later.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            retry = Some((p, n));
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return Ok(true);
        }
        if p < pattern.len()
            && n < name.len()
            && let Some((next, width)) = one(&pattern[p..], &name[n..])
        {
            p += next;
            n += width;
            continue;
        }
        match retry {
            Some((after, at)) if at < name.len() => {
                let at = at + character(&name[at..]).1;
                retry = Some((after, at));
                (p, n) = (after, at);
            }
            _ => return Ok(false),
        }
    }
}

/// Matches the first element of the pattern, not a star, against the first character; gives the lengths of both.
fn one(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let (found, width) = character(name);
    match pattern[0] {
        b'?' => Some((1, width)),
        b'[' => {
            let (matched, len) = class(pattern, found)?;
            matched.then_some((len, width))
        }
        b'\\' => (pattern.get(1) == Some(&name[0])).then_some((2, 1)),
        byte => (byte == name[0]).then_some((1, 1)),
    }
}

/// The first code point and its length; a byte that is not UTF-8 is a character of its own beyond Unicode.
fn character(bytes: &[u8]) -> (u32, usize) {
    let window = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) => (c as u32, c.len_utf8()),
        None => (
            bytes.first().map_or(0, |byte| 0x11_0000 + u32::from(*byte)),
            1,
        ),
    }
}

/// Whether `found` is in the class at the beginning of `pattern`, and the class's length; `None` if it is malformed.
fn class(pattern: &[u8], found: u32) -> Option<(bool, usize)> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut matched = false;
    let mut ranges = 0;
    loop {
        if pattern.get(at) == Some(&b']') && ranges > 0 {
            return Some((matched != negated, at + 1));
        }
        let low = member(pattern, &mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&b'-') {
            at += 1;
            high = member(pattern, &mut at)?;
        }
        matched |= (low..=high).contains(&found);
        ranges += 1;
    }
}

/// One character of a class.
fn member(pattern: &[u8], at: &mut usize) -> Option<u32> {
    match pattern.get(*at)? {
        b'-' | b']' => return None,
        b'\\' => *at += 1,
        _ => {}
    }
    let rest = pattern.get(*at..).filter(|rest| !rest.is_empty())?;
    let (c, width) = character(rest);
    *at += width;
    // The class must go on.
    (*at < pattern.len()).then_some(c)
}

/// Refuses a malformed pattern whatever it is matched against.
fn check(pattern: &[u8]) -> Result<(), BadPattern> {
    let mut at = 0;
    while at < pattern.len() {
        at += match pattern[at] {
            b'\\' if at + 1 == pattern.len() => return Err(BadPattern),
            b'\\' => 2,
            b'[' => class(&pattern[at..], 0).ok_or(BadPattern)?.1,
            _ => 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go_does() {
        for (pattern, name, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*", "", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "a", Ok(true)),
            ("a*", "ba", Ok(false)),
            ("a*b*c*d*e*", "axbxcxdxe", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[e-g]", "abc", Ok(false)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a[^a]b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("*[a-ζ]", "A", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-]", "-", Ok(true)),
            ("[x\\-]", "z", Ok(false)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[a-b-c]", "a", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("[^bc", "a", Err(BadPattern)),
            ("a[", "ab", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
            ("*x", "xxx", Ok(true)),
            ("fue[l]", "fuel", Ok(true)),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        assert_eq!(matches(b"?", b"\xff"), Ok(true));
        assert_eq!(matches(b"[^a]", b"\xff"), Ok(true));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let name = vec![b'a'; 5000];
        let pattern: Vec<u8> = b"a*".repeat(1000).into_iter().chain(*b"b").collect();
        assert_eq!(matches(&pattern, &name), Ok(false));
    }
}
