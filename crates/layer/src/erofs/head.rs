//! The head of an index: superblock and device table, checked.

use super::format as f;
use super::read::{u16_at, u32_at};

/// Bytes of the block with superblock and device table.
pub(super) const SIZE: usize = f::BLOCK as usize;

/// What the head says about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The inode of the root directory.
    pub(super) root: u64,
    /// Blocks of `layer.tar`.
    pub(super) tar: u64,
    /// Blocks of `side`, if there is one.
    pub(super) side: Option<u64>,
}

impl Head {
    /// Reads the [`SIZE`] bytes at [`f::SUPER_OFFSET`] of an index of `size` bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a clause.
    pub(super) fn parse(bytes: &[u8], size: u64) -> Result<Self, &'static str> {
        if u32_at(bytes, 0) != f::SUPER_MAGIC {
            return Err("it does not begin as an EROFS image does");
        }
        let mut zeroed = bytes.to_vec();
        zeroed[4..8].fill(0);
        if f::crc32c(&zeroed) != u32_at(bytes, 4) {
            return Err("the checksum of the superblock is wrong");
        }
        if bytes[12] != f::BLOCK_BITS || u32_at(bytes, 80) != f::INCOMPAT {
            return Err("it is an EROFS image of another kind");
        }
        if bytes[f::FORM_OFFSET..][..f::FORM.len()] != f::FORM {
            return Err("it has the form of another version of barque");
        }
        if u64::from(u32_at(bytes, 36)) * f::BLOCK != size {
            return Err("it is not as long as it says");
        }
        let blocks = |slot: usize| u64::from(u32_at(bytes, f::DEVICE_SLOT * slot + 64));
        let side = match u16_at(bytes, 86) {
            1 => None,
            2 => Some(blocks(2)),
            _ => return Err("it is an EROFS image of another kind"),
        };
        Ok(Self {
            root: u64::from(u16_at(bytes, 14)),
            tar: blocks(1),
            side,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of an index of one layer, with its size.
    fn sample() -> (Vec<u8>, u64) {
        let dir = tempfile::tempdir().unwrap();
        crate::Ingest::create(dir.path()).unwrap().finish().unwrap();
        let bytes = std::fs::read(dir.path().join("index.erofs")).unwrap();
        let size = bytes.len() as u64;
        (bytes[f::SUPER_OFFSET..][..SIZE].to_vec(), size)
    }

    /// With a checksum that says that this is what was meant.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[4..8].fill(0);
        let sum = f::crc32c(&bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_written_now_is_read() {
        let (bytes, size) = sample();
        assert_eq!(Head::parse(&bytes, size).unwrap().side, None);
        assert!(Head::parse(&bytes, size + 1).is_err());
    }

    #[test]
    fn another_form_is_told_from_damage() {
        let (bytes, size) = sample();
        let mut other = bytes.clone();
        other[f::FORM_OFFSET..][..8].copy_from_slice(b"barque 9");
        assert!(Head::parse(&other, size).unwrap_err().contains("checksum"));
        let problem = Head::parse(&sealed(other), size).unwrap_err();
        assert!(problem.contains("another version"), "{problem}");
        let mut blocks = bytes;
        blocks[12] = 12;
        let problem = Head::parse(&sealed(blocks), size).unwrap_err();
        assert!(problem.contains("another kind"), "{problem}");
    }
}
