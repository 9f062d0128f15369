//! Places in the text of a Dockerfile.

use std::ops::Range;

/// A stretch of the source: bytes `start..end`, on lines `first_line..=last_line` (counted from 1).
///
/// The default is the empty stretch at the beginning of nothing (line 0); it stands for text that
/// has no place in a file, such as a trigger that came from a base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset of the byte after the last one.
    pub end: usize,
    /// Line of the first byte, counted from 1.
    pub first_line: u32,
    /// Line of the last byte, counted from 1.
    pub last_line: u32,
}

impl Span {
    /// The offsets as a range, to slice the source with.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
            first_line: self.first_line.min(other.first_line),
            last_line: self.last_line.max(other.last_line),
        }
    }

    /// Whether the span points at nothing in a file.
    pub fn is_nowhere(&self) -> bool {
        self.first_line == 0
    }
}
