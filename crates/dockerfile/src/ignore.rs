//! `.dockerignore` and `--exclude`: lists of patterns of which the last that matches decides.
//!
//! A walk of a tree goes down with a [`Level`] a directory. A level knows how far into each pattern
//! the directory's path has led, so that looking at an entry costs as much as its name is long, and that
//! directories in which nothing can be kept need not be read:
//!
//! ```
//! use dockerfile::ignore::Patterns;
//!
//! let patterns = Patterns::parse("node_modules\n*.log\n!keep.log\n").unwrap();
//! let root = patterns.root();
//! assert!(root.excludes(b"a.log") && !root.excludes(b"keep.log"));
//! let modules = root.enter(b"node_modules");
//! assert!(modules.is_excluded() && modules.can_be_skipped());
//! let source = root.enter(b"src");
//! assert!(!source.is_excluded() && !source.excludes(b"b.log"));
//! ```
//!
//! The rules are those of the Go library that Docker uses. Patterns are anchored at the root. Besides
//! what [`crate::glob`] knows, `**` is any number of directories; a match on a directory covers all below
//! it; an exception (`!`) below an excluded directory takes its path back in, then its parents come
//! along.

use crate::glob::{self, Token};
use crate::{Diagnostic, InvalidValue, Span, path};

/// Patterns in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// Cleaned, without `!`.
    text: String,
    exception: bool,
    tokens: Vec<Token>,
}

impl Patterns {
    /// Reads the text of an ignore file.
    ///
    /// # Errors
    ///
    /// Malformed patterns and a `!` alone, each with its line.
    pub fn parse(source: &str) -> Result<Self, Vec<Diagnostic>> {
        let (mut patterns, mut errors) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (number, line) in (1..).zip(source.split_inclusive('\n')) {
            let text = match number {
                1 => line.trim_start_matches('\u{feff}'),
                _ => line,
            };
            let trimmed = text.trim();
            if !text.starts_with('#') && !trimmed.is_empty() {
                match Pattern::parse(trimmed) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(error) => {
                        let span = Span {
                            file: 0,
                            start,
                            end: start + line.trim_end().len(),
                            first_line: number,
                            last_line: number,
                        };
                        let mut found = Diagnostic::error("ignore-pattern", span, error.message);
                        found.hints.extend(error.hint);
                        errors.push(found);
                    }
                }
            }
            start += line.len();
        }
        if errors.is_empty() {
            Ok(Self { patterns })
        } else {
            Err(errors)
        }
    }

    /// Takes the values of `--exclude`.
    ///
    /// # Errors
    ///
    /// A malformed pattern.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidValue> {
        let mut out = Vec::new();
        for pattern in patterns {
            let text = pattern.as_ref().trim();
            if !text.is_empty() {
                out.push(Pattern::parse(text)?);
            }
        }
        Ok(Self { patterns: out })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any pattern is an exception.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|p| p.exception)
    }

    /// Whether a pattern excludes everything there is, written so that it shows: `*`, `**` or `**/*`.
    pub fn exclude_all(&self) -> bool {
        let all = |p: &Pattern| !p.exception && matches!(p.text.as_str(), "*" | "**" | "**/*");
        self.patterns.iter().any(all)
    }

    /// The level of the root, which itself is never excluded.
    pub fn root(&self) -> Level<'_> {
        let live = self.patterns.iter().map(|pattern| {
            let mut positions = Vec::new();
            pattern.add(&mut positions, 0);
            Live {
                pattern,
                covered: false,
                positions,
            }
        });
        Level {
            live: live.collect(),
            excluded: false,
        }
    }

    /// Whether a single path is excluded, by itself or by a directory above it. For a whole tree, go down with
    /// [`Patterns::root`].
    pub fn exclude(&self, path: &str) -> bool {
        let path = path::join("/", path);
        let mut components = path.split('/').filter(|c| !c.is_empty());
        let Some(last) = components.next_back() else {
            return false;
        };
        let directory = components.fold(self.root(), |level, name| level.enter(name.as_bytes()));
        directory.excludes(last.as_bytes())
    }
}

impl Pattern {
    /// Reads a pattern that is trimmed and not empty.
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        let (exception, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        if text.is_empty() {
            return Err(InvalidValue::new("`!` without a pattern"));
        }
        let cleaned = path::clean(text);
        let cleaned = match cleaned.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => cleaned,
        };
        let tokens = tokens(&cleaned).ok_or_else(|| glob::malformed(text))?;
        Ok(Self {
            text: cleaned,
            exception,
            tokens,
        })
    }

    /// Adds a position, and those behind tokens that may match nothing. Positions come in order and
    /// in unbroken runs, so that what is not above the last one is there already.
    fn add(&self, positions: &mut Vec<usize>, position: usize) {
        let mut position = position;
        loop {
            if positions.last().is_none_or(|last| *last < position) {
                positions.push(position);
            }
            match self.tokens.get(position) {
                Some(Token::Many | Token::Everything | Token::Directories) => position += 1,
                _ => return,
            }
        }
    }

    /// The positions after one more character.
    fn step(&self, positions: &[usize], c: char) -> Vec<usize> {
        let mut next = Vec::new();
        for &position in positions {
            match self.tokens.get(position) {
                Some(Token::Directories) => {
                    // It goes on, but what is behind it can only begin after a slash.
                    if next.last().is_none_or(|last| *last < position) {
                        next.push(position);
                    }
                    if c == '/' {
                        self.add(&mut next, position + 1);
                    }
                }
                Some(token @ (Token::Many | Token::Everything)) if token.takes(c) => {
                    self.add(&mut next, position);
                }
                Some(token) if token.takes(c) => self.add(&mut next, position + 1),
                _ => {}
            }
        }
        next
    }

    /// Whether a name takes one of the positions to the end of the pattern.
    fn matches(&self, positions: &[usize], name: &[u8]) -> bool {
        let tail = |position: &usize| match self.tokens.get(*position) {
            // What is behind it has a position of its own.
            Some(Token::Directories) => false,
            _ => glob::matches(&self.tokens[*position..], name),
        };
        positions.iter().any(tail)
    }
}

/// Cuts a cleaned pattern into tokens.
fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let Some(behind) = rest.strip_prefix("**") else {
            tokens.extend(glob::next_token(&mut rest)?);
            continue;
        };
        rest = behind.strip_prefix('/').unwrap_or(behind);
        let ends = !rest.contains(['*', '?', '[', ']', '\\']);
        tokens.push(match rest {
            "" => Token::Everything,
            // `**x` with no other wildcard is read as "ends in x", even inside a name.
            _ if tokens.is_empty() && ends && !behind.starts_with('/') => Token::Everything,
            _ => Token::Directories,
        });
    }
    Some(tokens)
}

/// A directory as the patterns see it.
#[derive(Debug, Clone)]
pub struct Level<'p> {
    /// The patterns that cover the directory or can match something in it, in order.
    live: Vec<Live<'p>>,
    excluded: bool,
}

#[derive(Debug, Clone)]
struct Live<'p> {
    pattern: &'p Pattern,
    /// The pattern has matched the directory or one above.
    covered: bool,
    /// Where in the pattern the path up to here, with a slash, leads.
    positions: Vec<usize>,
}

impl<'p> Level<'p> {
    /// Whether the directory itself is excluded.
    pub fn is_excluded(&self) -> bool {
        self.excluded
    }

    /// Whether everything in the directory is excluded, so that nobody needs to read it.
    pub fn can_be_skipped(&self) -> bool {
        let taken_back = |l: &Live<'_>| l.pattern.exception && !l.covered;
        self.excluded && !self.live.iter().any(taken_back)
    }

    /// Whether any pattern that is no exception can match something in the directory. For patterns that say what to take
    /// rather than what to leave.
    pub fn can_match_inside(&self) -> bool {
        self.excluded || self.live.iter().any(|l| !l.pattern.exception)
    }

    /// Whether an entry of the directory is excluded. For directories see [`Level::enter`].
    pub fn excludes(&self, name: &[u8]) -> bool {
        self.judge(name, |_, _| {})
    }

    /// The level of a directory in this one.
    #[must_use]
    pub fn enter(&self, name: &[u8]) -> Self {
        let mut covered = vec![false; self.live.len()];
        let excluded = self.judge(name, |index, matched| covered[index] = matched);
        let mut live = Vec::new();
        for (index, old) in self.live.iter().enumerate() {
            let positions = match covered[index] {
                true => Vec::new(),
                false => advance(old, name),
            };
            if covered[index] || !positions.is_empty() {
                live.push(Live {
                    pattern: old.pattern,
                    covered: covered[index],
                    positions,
                });
            }
        }
        Self { live, excluded }
    }

    /// Goes through the patterns. One that could not change the verdict so far is not asked, and then
    /// does not cover what is below either.
    fn judge(&self, name: &[u8], mut note: impl FnMut(usize, bool)) -> bool {
        let mut excluded = false;
        for (index, live) in self.live.iter().enumerate() {
            let pattern = live.pattern;
            let asked = live.covered || pattern.exception == excluded;
            if asked && (live.covered || pattern.matches(&live.positions, name)) {
                note(index, true);
                excluded = !pattern.exception;
            }
        }
        excluded
    }
}

/// The positions behind a name and a slash.
fn advance(live: &Live<'_>, name: &[u8]) -> Vec<usize> {
    let mut positions = live.positions.clone();
    let mut rest = name;
    while let Some((c, length)) = glob::first_char(rest) {
        if positions.is_empty() {
            return positions;
        }
        positions = live.pattern.step(&positions, c);
        rest = &rest[length..];
    }
    positions = live.pattern.step(&positions, '/');
    // At the end of the pattern nothing more can match.
    let end = live.pattern.tokens.len();
    positions.retain(|p| *p < end);
    positions
}
