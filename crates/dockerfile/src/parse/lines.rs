//! From bytes to logical lines: line ends, continuations, and the way back to the source.

use std::borrow::Cow;
use std::ops::Range;

use crate::Span;

/// Longest physical line, line end apart: what Docker's parser takes, so that a file that works
/// here works there.
pub(super) const MAX_LINE: usize = 65_535;

/// A line of the file without its line feed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Physical<'s> {
    pub(super) text: &'s str,
    pub(super) start: usize,
    pub(super) number: u32,
    pub(super) file: u32,
    /// Whether a line feed ends it, rather than the end of the file.
    pub(super) terminated: bool,
}

impl<'s> Physical<'s> {
    /// The text without carriage returns at its end.
    pub(super) fn trimmed(&self) -> &'s str {
        self.text.trim_end_matches('\r')
    }

    pub(super) fn span(&self) -> Span {
        Span {
            file: self.file,
            start: self.start,
            end: self.start + self.trimmed().len(),
            first_line: self.number,
            last_line: self.number,
        }
    }

    /// Where the next line starts.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len() + usize::from(self.terminated)
    }
}

/// The lines of a file, one after the other.
#[derive(Debug)]
pub(super) struct Lines<'s> {
    source: &'s str,
    at: usize,
    number: u32,
    file: u32,
}

impl<'s> Lines<'s> {
    /// Starts behind a byte order mark, if there is one. `file` is the number of the text.
    pub(super) fn new(source: &'s str, file: u32) -> Self {
        let bom = "\u{feff}".len();
        Self {
            source,
            at: if source.starts_with('\u{feff}') {
                bom
            } else {
                0
            },
            number: 0,
            file,
        }
    }

    pub(super) fn next_line(&mut self) -> Option<Physical<'s>> {
        let rest = &self.source[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end = rest.find('\n');
        let text = &rest[..end.unwrap_or(rest.len())];
        self.number = self.number.saturating_add(1);
        let line = Physical {
            text,
            start: self.at,
            number: self.number,
            file: self.file,
            terminated: end.is_some(),
        };
        self.at = line.end();
        Some(line)
    }

    /// The number of the last line read.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The number of the text.
    pub(super) fn file(&self) -> u32 {
        self.file
    }

    pub(super) fn source(&self) -> &'s str {
        self.source
    }
}

/// Cuts the escape and the blanks behind it from a line that goes on in the next one; `None` if it
/// does not. Two escapes in a row are none.
pub(super) fn continued(line: &str, escape: char) -> Option<&str> {
    let cut = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!cut.ends_with(escape)).then_some(cut)
}

/// An instruction's line with its continuations joined.
#[derive(Debug)]
pub(super) struct Logical<'s> {
    pub(super) text: Cow<'s, str>,
    file: u32,
    first: Segment,
    more: Vec<Segment>,
}

/// A piece of a logical line that is one piece in the source.
#[derive(Debug, Clone, Copy)]
struct Segment {
    logical: usize,
    source: usize,
    line: u32,
}

impl<'s> Logical<'s> {
    /// A line that begins with `text`, a part of the physical line `on` that stands at `start` in the source.
    pub(super) fn new(text: &'s str, start: usize, on: &Physical<'_>) -> Self {
        Self {
            text: Cow::Borrowed(text),
            file: on.file,
            first: Segment {
                logical: 0,
                source: start,
                line: on.number,
            },
            more: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, text: &str, start: usize, line: u32) {
        self.more.push(Segment {
            logical: self.text.len(),
            source: start,
            line,
        });
        self.text.to_mut().push_str(text);
    }

    /// Where a part of the text stands in the source.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let first = self.segment(range.start);
        // The last byte's segment, not that of the one behind it: it may be lines further down.
        let last_byte = range.end.saturating_sub(1).max(range.start);
        let last = self.segment(last_byte);
        Span {
            file: self.file,
            start: first.source + (range.start - first.logical),
            end: last.source + (range.end - last.logical),
            first_line: first.line,
            last_line: last.line,
        }
    }

    /// Where all of it stands.
    pub(super) fn whole(&self) -> Span {
        self.span(0..self.text.trim_end().len())
    }

    fn segment(&self, at: usize) -> Segment {
        let index = self.more.partition_point(|s| s.logical <= at);
        match index.checked_sub(1) {
            Some(index) => self.more[index],
            None => self.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Logical, continued};

    #[test]
    fn f010_blanks_behind_the_escape_do_not_break_a_continuation() {
        assert_eq!(continued("echo hello  \\  \t", '\\'), Some("echo hello  "));
    }

    #[test]
    fn f014_two_escapes_are_no_continuation() {
        assert_eq!(continued(r"ENV a=b \\", '\\'), None);
        assert_eq!(continued(r"ENV a=b \\\", '\\'), None);
        assert_eq!(continued(r"\", '\\'), Some(""));
        assert_eq!(continued("a `", '`'), Some("a "));
        assert_eq!(continued("a \\", '`'), None);
    }

    #[test]
    fn lines_know_their_place() {
        let mut lines = Lines::new("\u{feff}ab\r\n\nc", 0);
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line() {
            seen.push((line.trimmed(), line.start, line.number, line.end()));
        }
        assert_eq!(seen, [("ab", 3, 1, 7), ("", 7, 2, 8), ("c", 8, 3, 9)]);
    }

    #[test]
    fn parts_of_a_joined_line_are_found_in_the_source() {
        // RUN a \⏎# no⏎  b
        let first = Lines::new("RUN a ", 0).next_line().unwrap();
        let mut line = Logical::new("RUN a ", 0, &first);
        line.push("  b", 13, 3);
        assert_eq!(line.text, "RUN a   b");
        let word = line.span(8..9);
        assert_eq!(
            (word.range(), word.first_line, word.last_line),
            (15..16, 3, 3)
        );
        let first = line.span(0..5);
        assert_eq!((first.range(), first.last_line), (0..5, 1));
        assert_eq!(line.whole().range(), 0..16);
    }
}
