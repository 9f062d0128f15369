//! Ranges: of a blob that is read (`Range: bytes=…`, `Content-Range: bytes …/…`) and of an upload (`0-99`, no unit).

use std::fmt;
use std::str::FromStr;

/// Why a range is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not of the form; a server ignores such a `Range` and sends everything.
    #[error("the range is malformed")]
    Malformed,
    /// Nothing of it is there; a server answers 416.
    #[error("the range lies outside the content")]
    Unsatisfiable,
}

/// A `Range` header with one range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=first-`
    From(u64),
    /// `bytes=first-last`, both included.
    Between(u64, u64),
    /// `bytes=-count`
    Last(u64),
}

impl ByteRange {
    /// The first byte and how many, of content of this size.
    ///
    /// # Errors
    ///
    /// [`RangeError::Unsatisfiable`].
    pub fn within(self, size: u64) -> Result<(u64, u64), RangeError> {
        let (first, end) = match self {
            Self::From(first) => (first, size),
            Self::Between(first, last) => (first, last.saturating_add(1).min(size)),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        if first < end {
            Ok((first, end - first))
        } else {
            Err(RangeError::Unsatisfiable)
        }
    }
}

impl FromStr for ByteRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (unit, range) = text.split_once('=').ok_or(RangeError::Malformed)?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Err(RangeError::Malformed);
        }
        let (first, last) = range.trim().split_once('-').ok_or(RangeError::Malformed)?;
        match (first, last) {
            ("", count) => number(count).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first <= last {
                    Ok(Self::Between(first, last))
                } else {
                    Err(RangeError::Malformed)
                }
            }
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::Between(first, last) => write!(f, "bytes={first}-{last}"),
            Self::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

/// The `Content-Range` of an answer 206: `bytes first-last/size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, included.
    pub last: u64,
    /// The size of the whole, where it is said.
    pub size: Option<u64>,
}

impl FromStr for ContentRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let range = text
            .trim()
            .strip_prefix("bytes ")
            .ok_or(RangeError::Malformed)?;
        let (range, size) = range.split_once('/').ok_or(RangeError::Malformed)?;
        let (first, last) = range.trim().split_once('-').ok_or(RangeError::Malformed)?;
        let (first, last) = (number(first)?, number(last)?);
        let size = match size.trim() {
            "*" => None,
            size => Some(number(size)?),
        };
        if first > last || size.is_some_and(|size| last >= size) {
            return Err(RangeError::Malformed);
        }
        Ok(Self { first, last, size })
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/", self.first, self.last)?;
        match self.size {
            Some(size) => write!(f, "{size}"),
            None => f.write_str("*"),
        }
    }
}

/// The range of a chunk (`Content-Range` of a PATCH) or of what a server has of an upload (`Range` of its answer):
/// `first-last`, both included.
///
/// An upload that has nothing yet has no such range; servers write `0-0` for it, see [`UploadRange::received`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, included.
    pub last: u64,
}

impl UploadRange {
    /// The chunk of `count` bytes at `first`; `None` if it has none.
    #[must_use]
    pub const fn chunk(first: u64, count: u64) -> Option<Self> {
        match (count.checked_sub(1), first.checked_add(count)) {
            (Some(less), Some(_)) => Some(Self {
                first,
                last: first + less,
            }),
            _ => None,
        }
    }

    /// The range for an upload of which `count` bytes are there: `0-0` for none, as distribution has it.
    #[must_use]
    pub const fn received(count: u64) -> Self {
        Self {
            first: 0,
            last: count.saturating_sub(1),
        }
    }

    /// How many bytes it covers.
    #[must_use]
    pub const fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl FromStr for UploadRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (first, last) = text.split_once('-').ok_or(RangeError::Malformed)?;
        let (first, last) = (number(first)?, number(last)?);
        if first <= last {
            Ok(Self { first, last })
        } else {
            Err(RangeError::Malformed)
        }
    }
}

impl fmt::Display for UploadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Digits and nothing else: no sign, no space, nothing that does not fit.
fn number(text: &str) -> Result<u64, RangeError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RangeError::Malformed);
    }
    text.parse().map_err(|_| RangeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ranges() {
        let within = |text: &str, size| {
            text.parse::<ByteRange>()
                .and_then(|range| range.within(size))
        };
        assert_eq!(within("bytes=0-9", 100), Ok((0, 10)));
        assert_eq!(within("bytes=90-1000", 100), Ok((90, 10)));
        assert_eq!(within("bytes=90-", 100), Ok((90, 10)));
        assert_eq!(within("bytes=-10", 100), Ok((90, 10)));
        assert_eq!(within("bytes=-1000", 100), Ok((0, 100)));
        assert_eq!(within("bytes=0-18446744073709551615", 100), Ok((0, 100)));
        for text in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=0-"] {
            let size = if text == "bytes=0-" { 0 } else { 100 };
            assert_eq!(within(text, size), Err(RangeError::Unsatisfiable), "{text}");
        }
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=9-1",
            "bytes=+1-2",
            "items=0-1",
            "bytes=0-1,4-5",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(within(text, 100), Err(RangeError::Malformed), "{text}");
        }
    }

    #[test]
    fn content_ranges() {
        let read = |text: &str| text.parse::<ContentRange>().ok();
        assert_eq!(
            read("bytes 5-9/10").map(|r| r.to_string()).as_deref(),
            Some("bytes 5-9/10")
        );
        assert_eq!(
            read("bytes 5-9/*").map(|r| r.to_string()).as_deref(),
            Some("bytes 5-9/*")
        );
        for text in [
            "5-9/10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes */10",
            "bytes 5-9",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn upload_ranges() {
        let read = |text: &str| text.parse::<UploadRange>().ok();
        assert_eq!(read("0-99").map(UploadRange::count), Some(100));
        for text in ["bytes=0-99", "99-0", "0-", "-5", "0 - 9", "a-b", "0-9-9"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(UploadRange::chunk(10, 5), read("10-14"));
        assert_eq!(UploadRange::chunk(10, 0), None);
        assert_eq!(UploadRange::chunk(u64::MAX, 1), None);
        assert_eq!(UploadRange::received(0).to_string(), "0-0");
        assert_eq!(UploadRange::received(10).to_string(), "0-9");
    }
}
