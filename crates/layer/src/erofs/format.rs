//! The numbers of the EROFS on-disk format that this crate uses.

/// `log2` of the block size: 512 bytes, because that is the alignment of data in a tar.
pub(crate) const BLOCK_BITS: u8 = 9;
/// The block size of index, `layer.tar` and `side`.
pub(crate) const BLOCK: u64 = 1 << BLOCK_BITS;
/// Where the superblock is.
pub(crate) const SUPER_OFFSET: usize = 1024;
pub(crate) const SUPER_MAGIC: u32 = 0xE0F5_E1E2;
/// Where the superblock has the volume's name.
pub(crate) const FORM_OFFSET: usize = 64;
/// The volume's name, which names the form of the index: what this program writes. Every change of the form, and of the rules
/// by which an archive becomes a tree, gets another one, so that indexes of older forms are made anew.
pub(crate) const FORM: [u8; 16] = *b"barque\0\0\0\0\0\0\0\0\0\0";
/// Inodes have their own modification times.
pub(crate) const COMPAT_MTIME: u32 = 2;
/// Files are made of chunks (4), which lie on further devices (8).
pub(crate) const INCOMPAT: u32 = 4 | 8;
/// Unit of `devt_slotoff` and size of a device slot.
pub(crate) const DEVICE_SLOT: usize = 128;
/// Unit of node ids: byte offset / 32, since `meta_blkaddr` is 0.
pub(crate) const SLOT: u64 = 32;
/// Size of an extended inode, the only form that we write.
pub(crate) const INODE: u64 = 64;
/// `i_format` bit 0: extended.
pub(crate) const EXTENDED: u16 = 1;
/// Data layout: blocks in a row.
pub(crate) const FLAT_PLAIN: u16 = 0;
/// Data layout: whole blocks in a row, the rest right behind the inode.
pub(crate) const FLAT_INLINE: u16 = 2;
/// Data layout: a list of chunks behind the inode.
pub(crate) const CHUNKS: u16 = 4;
/// Chunk format: the list has entries of eight bytes, with devices.
pub(crate) const CHUNK_INDEXES: u16 = 0x20;
/// Chunk format: the bits for the size of a chunk, in blocks.
pub(crate) const CHUNK_BITS: u16 = 0x1f;
/// Size and alignment of an entry of the list.
pub(crate) const CHUNK: u64 = 8;
/// The number of `layer.tar` among the devices; 0 is the index itself.
pub(crate) const TAR_DEVICE: u16 = 1;
/// The number of `side`.
pub(crate) const SIDE_DEVICE: u16 = 2;
/// Size of a directory entry, without its name.
pub(crate) const DIRENT: usize = 12;
/// Size of the header before the extended attributes of an inode.
pub(crate) const XATTR_HEADER: usize = 12;
/// No block.
pub(crate) const NULL_BLOCK: u32 = u32::MAX;

pub(crate) const S_IFMT: u16 = 0o170_000;
pub(crate) const S_IFIFO: u16 = 0o010_000;
pub(crate) const S_IFCHR: u16 = 0o020_000;
pub(crate) const S_IFDIR: u16 = 0o040_000;
pub(crate) const S_IFBLK: u16 = 0o060_000;
pub(crate) const S_IFREG: u16 = 0o100_000;
pub(crate) const S_IFLNK: u16 = 0o120_000;

/// The `file_type` of a directory entry for an inode of that mode.
pub(crate) const fn dirent_type(mode: u16) -> u8 {
    match mode & S_IFMT {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// A device number as Linux encodes it in 32 bits, if it fits.
pub(crate) const fn encode_device(major: u32, minor: u32) -> Option<u32> {
    if major > 0xfff || minor > 0xf_ffff {
        return None;
    }
    Some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Major and minor of an encoded device number.
pub(crate) const fn decode_device(device: u32) -> (u32, u32) {
    (
        (device & 0xf_ff00) >> 8,
        (device & 0xff) | ((device >> 12) & 0xf_ff00),
    )
}

/// `log2` of the blocks in a chunk that holds so many bytes: one chunk a file, as far as 31 bits go (a TiB).
pub(crate) const fn chunk_bits(size: u64) -> u16 {
    let mut bits = 0;
    while bits < CHUNK_BITS && size > BLOCK << bits {
        bits += 1;
    }
    bits
}

/// CRC-32C as EROFS wants it: all ones to begin with, nothing done at the end.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        // The published check value has the final inversion.
        assert_eq!(!crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn device_numbers_keep_their_parts() {
        for (major, minor) in [(0, 0), (8, 1), (0xfff, 0xf_ffff), (1, 256)] {
            let encoded = encode_device(major, minor).unwrap();
            assert_eq!(decode_device(encoded), (major, minor));
        }
        assert_eq!(encode_device(0x1000, 0), None);
    }
}
