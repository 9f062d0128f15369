//! Cutting an instruction's text into words. Words keep their quotes and escapes.

use std::ops::Range;

/// What separates words where quotes mean nothing. A no-break space, say, does not.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t' | 0xb | 0xc | b'\r' | b' ')
}

/// A word and where it stands in the logical line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'l> {
    pub(super) text: &'l str,
    pub(super) at: usize,
}

impl<'l> Word<'l> {
    /// The part of a line behind `at`, trimmed.
    pub(super) fn trimmed(line: &'l str, at: usize) -> Self {
        let rest = &line[at..];
        let text = rest.trim_start();
        Self {
            text: text.trim_end(),
            at: at + (rest.len() - text.len()),
        }
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self {
            at: self.at + range.start,
            text: &self.text[range],
        }
    }

    /// The first word, whatever is in it, and what follows it without the blanks between.
    pub(super) fn split_first(&self) -> (Self, Self) {
        let bytes = self.text.as_bytes();
        let end = bytes
            .iter()
            .position(|b| is_blank(*b))
            .unwrap_or(bytes.len());
        let gap = bytes[end..].iter().position(|b| !is_blank(*b));
        let rest = end + gap.unwrap_or(bytes.len() - end);
        (self.slice(0..end), self.slice(rest..bytes.len()))
    }

    /// The words between blanks.
    pub(super) fn by_blanks(self) -> impl Iterator<Item = Self> {
        let mut rest = self;
        std::iter::from_fn(move || {
            while !rest.text.is_empty() {
                let word;
                (word, rest) = rest.split_first();
                if !word.text.is_empty() {
                    return Some(word);
                }
            }
            None
        })
    }

    /// The words, where quotes and escapes hold blanks together. An escape at the very end is
    /// dropped.
    pub(super) fn by_quotes(self, escape: char) -> Vec<Self> {
        let mut words = Vec::with_capacity(2);
        let mut start = None;
        let mut quote = None;
        let mut end = self.text.len();
        let mut chars = self.text.char_indices();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    if let Some(start) = start.take() {
                        words.push(self.slice(start..at));
                    }
                    continue;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(q) if c == q => quote = None,
                _ => {}
            }
            start.get_or_insert(at);
            let escapes = c == escape && quote != Some('\'');
            if escapes && chars.next().is_none() {
                end = at;
            }
        }
        if let Some(start) = start.filter(|start| *start < end) {
            words.push(self.slice(start..end));
        }
        words
    }
}

/// A flag with its quotes and escapes resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flag {
    pub(super) text: String,
    pub(super) range: Range<usize>,
}

/// Takes the words that begin with `--` from the front, and a bare `--` if it ends them.
pub(super) fn flags<'l>(mut rest: Word<'l>, escape: char) -> (Vec<Flag>, Word<'l>) {
    let mut flags = Vec::new();
    while rest.text.starts_with("--") {
        let (text, end) = unquoted_word(rest.text, escape);
        let range = rest.at..rest.at + end;
        let (line, at) = (rest.text, rest.at);
        rest = Word::trimmed(line, end);
        rest.at += at;
        if text == "--" {
            break;
        }
        flags.push(Flag { text, range });
    }
    (flags, rest)
}

/// The first word without its quotes and escapes, and where it ends.
fn unquoted_word(text: &str, escape: char) -> (String, usize) {
    let special = |c: char| c.is_whitespace() || c == '\'' || c == '"' || c == escape;
    let plain = text.find(special).unwrap_or(text.len());
    let mut word = text[..plain].to_owned();
    let mut quote = None;
    let mut chars = text[plain..].char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, plain + at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

#[cfg(test)]
mod tests {
    use super::{Word, flags};

    fn by_quotes(text: &str) -> Vec<&str> {
        let words = Word { text, at: 0 }.by_quotes('\\');
        words.into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn quotes_and_escapes_hold_words_together() {
        assert_eq!(
            by_quotes(r#"a="b c" d\ e  'f g'h"#),
            [r#"a="b c""#, r"d\ e", "'f g'h"]
        );
        assert_eq!(
            by_quotes(r#"a="x\" y" b='\' c"#),
            [r#"a="x\" y""#, r"b='\'", "c"]
        );
        assert_eq!(by_quotes(r#""" ''"#), [r#""""#, "''"]);
        assert_eq!(by_quotes(r"a b\"), ["a", "b"]);
        assert_eq!(by_quotes(r"a \"), ["a"]);
        assert_eq!(by_quotes(r#"a="b\"#), [r#"a="b"#]);
        assert_eq!(by_quotes(r#"a="b c"#), [r#"a="b c"#]);
        assert_eq!(by_quotes(""), [""; 0]);
    }

    #[test]
    fn f024_a_bare_double_dash_ends_flags_and_is_dropped() {
        let line = "--a='b c' -- --foo /tmp/";
        let (found, rest) = flags(Word { text: line, at: 10 }, '\\');
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].text.as_str(), found[0].range.clone()),
            ("--a=b c", 10..19)
        );
        assert_eq!((rest.text, rest.at), ("--foo /tmp/", 23));
        let (found, rest) = flags(Word { text: "--x", at: 0 }, '\\');
        assert_eq!((found.len(), rest.text), (1, ""));
    }
}
