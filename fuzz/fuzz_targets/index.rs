//! Any bytes behind a good superblock are an index that gives data or errors, in bounded time.

#![no_main]

use std::io::Read as _;
use std::path::PathBuf;

use layer::{FileType, Follow, Index, LayerFiles, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = vec![0; 1024];
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().max(2048).next_multiple_of(512), 0);
    mend(&mut bytes);
    let shm = PathBuf::from("/dev/shm");
    let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
    let dir = base.join(format!("barque-fuzz-index-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let files = LayerFiles::in_dir(&dir);
    std::fs::write(&files.index, &bytes).expect("an index");
    std::fs::write(&files.tar, [7; 4096]).expect("a tar");
    std::fs::write(&files.side, [8; 4096]).expect("a side");
    let Ok(index) = Index::open(&files) else {
        return;
    };
    let view = View::new(vec![index.clone(), index]);
    let Ok(Some(root)) = view.root() else {
        return;
    };
    for entry in view.walk(b"", root) {
        let Ok((path, node)) = entry else { break };
        view.lookup(&path, Follow::Yes).ok();
        let Ok(stat) = view.stat(&node) else { continue };
        if stat.kind == FileType::Symlink {
            view.read_link(&node).ok();
        }
        if let Ok(file) = view.open(&node) {
            std::io::copy(&mut file.take(1 << 16), &mut std::io::sink()).ok();
        }
    }
});

/// The parts of the superblock without which nothing else is looked at.
fn mend(bytes: &mut [u8]) {
    let blocks = u32::try_from(bytes.len() / 512).unwrap_or(0);
    let block = &mut bytes[1024..1536];
    block[..4].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
    block[12] = 9;
    block[36..40].copy_from_slice(&blocks.to_le_bytes());
    block[80..84].copy_from_slice(&12_u32.to_le_bytes());
    block[86..88].copy_from_slice(&2_u16.to_le_bytes());
    block[4..8].fill(0);
    let mut crc = u32::MAX;
    for byte in block.iter() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    block[4..8].copy_from_slice(&crc.to_le_bytes());
}
