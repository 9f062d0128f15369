//! Sparse files: which parts of a file an archive has; the rest is zeros.

use super::number;
use super::scan::Problem;
use super::{BLOCK, MAX_EXTENDED};

/// Most parts of one sparse file. Real ones have some hundreds; the list is held in memory.
pub const MAX_SEGMENTS: usize = 65_536;

/// A part of a sparse file whose bytes the archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// Checks a map against the size of the file and the bytes that are stored; gives it without empty parts.
///
/// Parts must be in order, apart, and inside the file. All but the last must be whole blocks: GNU tar begins each at a block
/// and Go's reader does not, so only then do both read the same.
pub(super) fn check(map: Vec<Segment>, size: u64, stored: u64) -> Result<Vec<Segment>, Problem> {
    if map.len() > MAX_SEGMENTS {
        return Err(Problem::SparseMap);
    }
    let mut end = 0;
    let mut sum = 0u64;
    let mut partial = false;
    let mut kept = map;
    for segment in &kept {
        if segment.offset < end || (partial && segment.len > 0) {
            return Err(Problem::SparseMap);
        }
        end = segment
            .offset
            .checked_add(segment.len)
            .filter(|end| *end <= size)
            .ok_or(Problem::SparseMap)?;
        sum += segment.len;
        partial |= segment.len % BLOCK as u64 != 0;
    }
    if sum != stored {
        return Err(Problem::SparseMap);
    }
    kept.retain(|segment| segment.len > 0);
    Ok(kept)
}

/// The pairs of an old GNU header or of a block that continues it. `false` if there are no more.
pub(super) fn old_pairs(bytes: &[u8], out: &mut Vec<Segment>) -> Result<bool, Problem> {
    for pair in bytes.chunks_exact(24) {
        // GNU tar ends the list where the length has no first byte.
        if pair[12] == 0 {
            return Ok(false);
        }
        let number = |bytes: &[u8]| {
            number::field(bytes)
                .and_then(|value| u64::try_from(value).ok())
                .ok_or(Problem::SparseMap)
        };
        if out.len() >= MAX_SEGMENTS {
            return Err(Problem::SparseMap);
        }
        out.push(Segment {
            offset: number(&pair[..12])?,
            len: number(&pair[12..])?,
        });
    }
    Ok(true)
}

/// `OFFSET,LENGTH,OFFSET,LENGTH` of `GNU.sparse.map`.
pub(super) fn parse_map(text: &[u8]) -> Result<Vec<Segment>, Problem> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut numbers = text.split(|byte| *byte == b',').map(number::decimal);
    let mut map = Vec::new();
    while let Some(offset) = numbers.next() {
        let len = numbers.next().flatten();
        let (Some(offset), Some(len)) = (offset, len) else {
            return Err(Problem::SparseMap);
        };
        if map.len() >= MAX_SEGMENTS {
            return Err(Problem::SparseMap);
        }
        map.push(Segment { offset, len });
    }
    Ok(map)
}

/// The map of form 1.0, which stands in blocks before the data: a count and that many pairs, a number a line.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    line: Vec<u8>,
    count: Option<u64>,
    numbers: Vec<u64>,
    /// Bytes of blocks taken.
    pub(super) taken: u64,
}

impl MapReader {
    /// Takes one block; gives the map once it is complete.
    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Segment>>, Problem> {
        self.taken += BLOCK as u64;
        // Enough for the most segments with numbers of usual length.
        if self.taken > 2 * MAX_EXTENDED {
            return Err(Problem::SparseMap);
        }
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(Problem::SparseMap);
                }
                continue;
            }
            let number = number::decimal(&self.line).ok_or(Problem::SparseMap)?;
            self.line.clear();
            match self.count {
                None if number > MAX_SEGMENTS as u64 => return Err(Problem::SparseMap),
                None => self.count = Some(number),
                Some(_) => self.numbers.push(number),
            }
            if self
                .count
                .is_some_and(|count| self.numbers.len() as u64 == 2 * count)
            {
                // What follows in the block is padding.
                let pairs = self.numbers.chunks_exact(2);
                return Ok(Some(
                    pairs
                        .map(|pair| Segment {
                            offset: pair[0],
                            len: pair[1],
                        })
                        .collect(),
                ));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, u64)]) -> Vec<Segment> {
        pairs
            .iter()
            .map(|(offset, len)| Segment {
                offset: *offset,
                len: *len,
            })
            .collect()
    }

    #[test]
    fn maps_that_readers_agree_about() {
        check(map(&[(0, 512), (4096, 100)]), 5000, 612).unwrap();
        check(map(&[(512, 512), (8192, 0)]), 8192, 512).unwrap();
        assert_eq!(check(Vec::new(), 5000, 0).unwrap(), []);
        for (bad, size, stored) in [
            (map(&[(0, 100), (4096, 100)]), 5000, 200),
            (map(&[(4096, 512), (0, 512)]), 9000, 1024),
            (map(&[(0, 1024), (512, 512)]), 9000, 1536),
            (map(&[(0, 512)]), 511, 512),
            (map(&[(0, 512)]), 512, 511),
            (map(&[(u64::MAX, 512)]), u64::MAX, 512),
        ] {
            assert_eq!(check(bad, size, stored), Err(Problem::SparseMap));
        }
    }

    #[test]
    fn a_map_over_several_blocks() {
        let mut text = b"100\n".to_vec();
        for number in 0..100 {
            text.extend_from_slice(format!("{}\n512\n", number * 4096).as_bytes());
        }
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let mut reader = MapReader::default();
        let mut found = None;
        for block in text.chunks_exact(BLOCK) {
            assert!(found.is_none());
            found = reader.block(block.first_chunk().unwrap()).unwrap();
        }
        assert_eq!(found.unwrap().len(), 100);
        assert_eq!(reader.taken, text.len() as u64);
    }

    #[test]
    fn a_map_that_promises_too_much() {
        let mut block = [0; BLOCK];
        block[..11].copy_from_slice(b"9999999999\n");
        assert_eq!(MapReader::default().block(&block), Err(Problem::SparseMap));
    }
}
