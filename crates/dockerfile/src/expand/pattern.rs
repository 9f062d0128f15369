//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?`, nothing else.
//!
//! A pattern is run as a set of positions in it that moves along the value one character at a time,
//! so that the cost is their product at most, whatever the pattern is. Neither wildcard crosses the
//! end of a line.

use super::{ExpandErrorKind as Kind, MAX_MATCH_WORK};

type Result<T> = std::result::Result<T, Kind>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Many,
}

#[derive(Debug)]
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    /// Reads a pattern. `\}` and `\/` are escaped only for the `${…}` around it.
    pub(super) fn new(text: &str) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if tokens.last() == Some(&Token::Many) => continue,
                '*' => Token::Many,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Literal(c),
                    _ => {
                        let pattern = text.to_owned();
                        return Err(Kind::Pattern { pattern });
                    }
                },
                c => Token::Literal(c),
            };
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    pub(super) fn strip_prefix<'v>(&self, value: &'v str, longest: bool) -> Result<&'v str> {
        self.affordable(value)?;
        let chars = value.char_indices().map(|(at, c)| (at + c.len_utf8(), c));
        let end = find_end(&self.0, chars, 0, longest);
        Ok(&value[end.unwrap_or(0)..])
    }

    pub(super) fn strip_suffix<'v>(&self, value: &'v str, longest: bool) -> Result<&'v str> {
        self.affordable(value)?;
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        let chars = value.char_indices().rev();
        let start = find_end(&reversed, chars, value.len(), longest);
        Ok(&value[..start.unwrap_or(value.len())])
    }

    /// Replaces the first match or all, each as long as it can be; gives up over `limit` bytes.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        limit: usize,
    ) -> Result<String> {
        self.affordable(value)?;
        let starts = self.starts(value);
        let mut out = String::new();
        // Where the last match ended, and where the next may begin.
        let (mut copied, mut search) = (0, 0);
        while let Some(start) = starts.get(search..).and_then(|s| s.iter().position(|s| *s)) {
            let start = search + start;
            let chars = value[start..].char_indices();
            let chars = chars.map(|(at, c)| (start + at + c.len_utf8(), c));
            let end = find_end(&self.0, chars, start, true).unwrap_or(start);
            out.push_str(&value[copied..start]);
            // No empty match right behind another: `*` would match twice.
            if end > copied || start == 0 {
                out.push_str(replacement);
            }
            if out.len() > limit {
                return Err(Kind::TooLarge);
            }
            copied = end;
            search = if end > search { end } else { search + 1 };
            if !all {
                break;
            }
        }
        out.push_str(&value[copied..]);
        Ok(out)
    }

    /// For each offset up to the value's length, whether a match can begin there.
    fn starts(&self, value: &str) -> Vec<bool> {
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        let mut starts = vec![false; value.len() + 1];
        let mut run = Run::new(&reversed);
        starts[value.len()] = run.accepts();
        for (at, c) in value.char_indices().rev() {
            run.step(c);
            run.begin();
            starts[at] = run.accepts();
        }
        starts
    }

    fn affordable(&self, value: &str) -> Result<()> {
        let work = (self.0.len() + 1).saturating_mul(value.len() + 1);
        if work > MAX_MATCH_WORK {
            return Err(Kind::TooLarge);
        }
        Ok(())
    }
}

/// The end of the shortest or longest match from the beginning of `chars`, each with the offset behind it.
fn find_end(
    tokens: &[Token],
    chars: impl Iterator<Item = (usize, char)>,
    begin: usize,
    longest: bool,
) -> Option<usize> {
    let mut run = Run::new(tokens);
    let mut found = run.accepts().then_some(begin);
    for (behind, c) in chars {
        if (found.is_some() && !longest) || !run.alive() {
            break;
        }
        run.step(c);
        if run.accepts() {
            found = Some(behind);
        }
    }
    found
}

/// The positions in a pattern that the text read so far leads to.
struct Run<'t> {
    tokens: &'t [Token],
    at: Vec<usize>,
    next: Vec<usize>,
}

impl<'t> Run<'t> {
    fn new(tokens: &'t [Token]) -> Self {
        let mut run = Self {
            tokens,
            at: Vec::new(),
            next: Vec::new(),
        };
        run.begin();
        run
    }

    /// Lets a match begin here as well. Position 0 is the smallest and `at` is kept sorted.
    fn begin(&mut self) {
        if self.at.first() == Some(&0) {
            return;
        }
        let mut fresh = Vec::new();
        add(self.tokens, &mut fresh, 0);
        for position in std::mem::take(&mut self.at) {
            if fresh.last().is_none_or(|last| *last < position) {
                fresh.push(position);
            }
        }
        self.at = fresh;
    }

    fn step(&mut self, c: char) {
        self.next.clear();
        for &position in &self.at {
            match self.tokens.get(position) {
                Some(Token::Literal(l)) if *l == c => {
                    add(self.tokens, &mut self.next, position + 1)
                }
                Some(Token::One) if c != '\n' => add(self.tokens, &mut self.next, position + 1),
                Some(Token::Many) if c != '\n' => add(self.tokens, &mut self.next, position),
                _ => {}
            }
        }
        std::mem::swap(&mut self.at, &mut self.next);
    }

    fn accepts(&self) -> bool {
        self.at.last() == Some(&self.tokens.len())
    }

    fn alive(&self) -> bool {
        !self.at.is_empty()
    }
}

/// Adds a position, and the one behind a `*` that matches nothing. Positions come in order, each at
/// most one below the last one added, so that looking at the last is enough.
fn add(tokens: &[Token], positions: &mut Vec<usize>, position: usize) {
    if positions.last().is_none_or(|last| *last < position) {
        positions.push(position);
    }
    if tokens.get(position) == Some(&Token::Many)
        && positions.last().is_none_or(|last| *last < position + 1)
    {
        positions.push(position + 1);
    }
}
