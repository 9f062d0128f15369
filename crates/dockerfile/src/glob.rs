//! Wildcards in paths: `*`, `?`, `[a-z]`, `[^a]` and `\`, as Go's `filepath.Match` has them.
//!
//! Names are bytes, for file systems have names that are no text; `?` and classes take a character
//! where the bytes make one, else a byte. A `*` never crosses a `/`. Matching goes back to the last
//! `*` only, so that its cost is at most the product of the lengths.

use crate::InvalidValue;

/// A COPY source: a path without wildcards, then components that may have some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// The components before the first with a wildcard, joined; taken as they are, backslashes too.
    pub prefix: String,
    /// The components from the first with a wildcard on; empty if there is none.
    pub rest: Vec<Component>,
}

/// What one component of a path has to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    tokens: Vec<Token>,
}

impl Glob {
    /// Splits an expanded source, which is cleaned first: it cannot climb out of its root.
    ///
    /// ```
    /// let glob = dockerfile::glob::Glob::parse("./a/b*/c").unwrap();
    /// assert_eq!(glob.prefix, "/a");
    /// assert!(glob.rest[0].matches(b"bcd") && glob.rest[1].literal().as_deref() == Some("c"));
    /// ```
    ///
    /// # Errors
    ///
    /// A class without its end, an escape with nothing behind it.
    pub fn parse(source: &str) -> Result<Self, InvalidValue> {
        let path = crate::path::join("/", source);
        let mut prefix = String::new();
        let mut rest = Vec::new();
        for component in path.split('/').filter(|c| !c.is_empty()) {
            if rest.is_empty() && !has_wildcards(component) {
                prefix.push('/');
                prefix.push_str(component);
            } else {
                rest.push(Component::parse(component)?);
            }
        }
        if prefix.is_empty() {
            prefix.push('/');
        }
        Ok(Self { prefix, rest })
    }

    /// Whether there is any wildcard. Without one, a missing file is an error.
    pub fn has_wildcards(&self) -> bool {
        !self.rest.is_empty()
    }
}

impl Component {
    /// Reads one component.
    ///
    /// # Errors
    ///
    /// A class without its end, an escape with nothing behind it.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(token) = next_token(&mut rest).ok_or_else(|| malformed(text))? {
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        matches(&self.tokens, name)
    }

    /// The only name that matches, if there is only one: then there is no need to read a directory.
    pub fn literal(&self) -> Option<String> {
        let char = |token: &Token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        };
        self.tokens.iter().map(char).collect()
    }
}

/// Whether a text has a wildcard that no backslash protects.
pub fn has_wildcards(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

pub(crate) fn malformed(text: &str) -> InvalidValue {
    InvalidValue {
        message: format!("`{text}` is not a pattern"),
        hint: Some("a class ends in `]`; to mean `[` itself, write `[[]`".to_owned()),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Char(char),
    /// `?`: one character but `/`.
    One,
    /// `*`: any but `/`.
    Many,
    /// `[…]`: one of a set of characters, never `/`.
    Class(Class),
    /// `**` with something behind it: whole directories, or nothing.
    Directories,
    /// `**` at the end: everything.
    Everything,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn holds(&self, c: char) -> bool {
        let inside = self
            .ranges
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&c));
        inside != self.negated
    }
}

impl Token {
    /// Whether the token takes this character, alone.
    pub(crate) fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Everything => true,
            Self::One | Self::Many => c != '/',
            Self::Class(class) => c != '/' && class.holds(c),
            Self::Directories => false,
        }
    }
}

/// Takes a token from the front. `None` if the pattern is malformed, `Some(None)` at its end.
pub(crate) fn next_token(rest: &mut &str) -> Option<Option<Token>> {
    let mut chars = rest.chars();
    let Some(c) = chars.next() else {
        return Some(None);
    };
    let token = match c {
        '*' => Token::Many,
        '?' => Token::One,
        '\\' => Token::Char(chars.next()?),
        '[' => {
            let (class, after) = class(chars.as_str())?;
            *rest = after;
            return Some(Some(Token::Class(class)));
        }
        c => Token::Char(c),
    };
    *rest = chars.as_str();
    Some(Some(token))
}

/// Reads a class behind its `[`, past its `]`.
fn class(text: &str) -> Option<(Class, &str)> {
    let (negated, mut rest) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']')
            && !ranges.is_empty()
        {
            return Some((Class { negated, ranges }, after));
        }
        let low = class_char(&mut rest)?;
        let high = match rest.strip_prefix('-') {
            Some(after) => {
                rest = after;
                class_char(&mut rest)?
            }
            None => low,
        };
        ranges.push((low, high));
    }
}

fn class_char(rest: &mut &str) -> Option<char> {
    let mut chars = rest.chars();
    let c = match chars.next()? {
        '-' | ']' => return None,
        '\\' => chars.next()?,
        c => c,
    };
    *rest = chars.as_str();
    Some(c)
}

/// The first character of a name and its length. Bytes that make no character count one by one.
pub(crate) fn first_char(name: &[u8]) -> Option<(char, usize)> {
    let first = *name.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    for length in 2..=name.len().min(4) {
        if let Ok(text) = std::str::from_utf8(&name[..length]) {
            return text.chars().next().map(|c| (c, length));
        }
    }
    Some((char::REPLACEMENT_CHARACTER, 1))
}

/// Whether tokens match a whole name without a `/`. `**` is a `*` to it, or nothing if more follows.
pub(crate) fn matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    // Where to go back to: behind the last `*`, with the name from here on.
    let mut back: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Everything) if token + 1 == tokens.len() => return true,
            Some(Token::Directories) => {
                token += 1;
                continue;
            }
            Some(Token::Many | Token::Everything) => {
                token += 1;
                back = Some((token, at));
                continue;
            }
            Some(other) => {
                if let Some((c, length)) = first_char(&name[at..])
                    && other.takes(c)
                {
                    token += 1;
                    at += length;
                    continue;
                }
            }
            None if at == name.len() => return true,
            None => {}
        }
        // Let the last `*` take one character more.
        let Some((behind, from)) = back else {
            return false;
        };
        let Some((c, length)) = first_char(&name[from..]) else {
            return false;
        };
        if c == '/' {
            return false;
        }
        token = behind;
        at = from + length;
        back = Some((behind, at));
    }
}

#[cfg(test)]
mod tests {
    use super::{Component, Glob, has_wildcards};

    fn matches(pattern: &str, name: &str) -> bool {
        Component::parse(pattern).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn as_gos_match() {
        for (pattern, name) in [
            ("abc", "abc"),
            ("*", "abc"),
            ("*c", "abc"),
            ("a*", "a"),
            ("a*b*c*d*e*", "axbxcxdxexxx"),
            ("a*b?c*x", "abxbbxdbxebxczzx"),
            ("ab[b-d]", "abc"),
            ("ab[^e-g]", "abc"),
            ("a\\*b", "a*b"),
            ("a?b", "a☺b"),
            ("[a-ζ]*", "α"),
            ("[\\-x]", "-"),
            ("[\\]a]", "]"),
            ("fue[l]", "fuel"),
            ("", ""),
            ("*x", "xxx"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "ab"),
            ("ab", "a"),
            ("a*b?c*x", "abxbbxdbxebxczzy"),
            ("ab[e-g]", "abc"),
            ("ab[^b-d]", "abc"),
            ("a\\*b", "ab"),
            ("a???b", "a☺b"),
            ("*[a-ζ]", "A"),
            ("a?b", "a/b"),
            ("a*b", "a/b"),
            ("[^a]", "/"),
            ("", "a"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns() {
        for pattern in [
            "[", "[]", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[a", "a\\", "[^", "[\\",
        ] {
            assert!(Component::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn names_that_are_no_text() {
        let component = Component::parse("a?b*").unwrap();
        assert!(component.matches(b"a\xffb\xfe"));
        assert!(!component.matches(b"a\xc3\xa9\xffb"));
        assert!(component.matches(b"a\xc3\xa9b"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(100) + "b";
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }

    #[test]
    fn f114_sources_split_at_the_first_wildcard() {
        let glob = Glob::parse("../sub/./x\\y/*/dir2/f\\oo").unwrap();
        assert_eq!(glob.prefix, "/sub/x\\y");
        let literals: Vec<_> = glob.rest.iter().map(Component::literal).collect();
        assert_eq!(literals, [None, Some("dir2".into()), Some("foo".into())]);
        assert!(!Glob::parse("/a").unwrap().has_wildcards());
        assert_eq!(Glob::parse("").unwrap().prefix, "/");
        assert!(has_wildcards("a[b]") && !has_wildcards("a\\[b"));
    }
}
