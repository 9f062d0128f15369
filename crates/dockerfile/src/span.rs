//! Places in the text of a Dockerfile.

use std::ops::Range;

/// A stretch of a source: bytes `start..end`, on lines `first_line..=last_line` (counted from 1).
///
/// Most Dockerfiles are one text; INCLUDE makes them of several, and `file` says which one is meant.
///
/// The default is the empty stretch at the beginning of nothing (line 0); it stands for text that
/// has no place in a file, such as a trigger that came from a base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// 0 is the Dockerfile itself; others are those of [`crate::Parsed::included`], counted from 1.
    pub file: u32,
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

    /// The smallest span that holds both, which are in the same file.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            file: self.file,
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
