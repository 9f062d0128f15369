//! Any bytes are a layer or an error; both readers say the same, and what was accepted can be read back whole.

#![no_main]

use std::io::Read as _;
use std::path::PathBuf;

use layer::tar::{self, BLOCK};
use layer::{FileType, Index, Ingest, IngestError, LayerFiles, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, bytes)) = data.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    // With wrong checksums nothing behind the first header is ever looked at.
    if mode & 1 == 1 {
        bytes.chunks_exact_mut(BLOCK).for_each(mend);
    }
    let pulled = pull(&bytes);
    let dir = scratch();
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let mut ingest = Ingest::create(&dir).expect("an ingest");
    ingest.set_name_limit(10_000);
    let pushed = ingest.copy_tar(&mut &bytes[..]).and_then(|()| ingest.finish());
    match (&pushed, pulled) {
        (Ok(_), None) => walk(&dir),
        (Err(IngestError::Entry { .. } | IngestError::TooFar), _) => {}
        (Err(IngestError::Tar(tar::Error::Format { problem, .. })), Some(other)) => {
            assert_eq!(*problem, other);
        }
        (pushed, pulled) => panic!("{pushed:?} and {pulled:?}"),
    }
});

fn pull(bytes: &[u8]) -> Option<tar::Problem> {
    let mut reader = tar::Reader::new(bytes);
    loop {
        match reader.next() {
            Ok(None) => return None,
            Ok(Some(entry)) => {
                let mut content = (&mut reader).take(1 << 16);
                if let Ok(count) = std::io::copy(&mut content, &mut std::io::sink()) {
                    assert_eq!(count, entry.size().min(1 << 16));
                }
            }
            Err(tar::Error::Format { problem, .. }) => return Some(problem),
            Err(tar::Error::Read(error)) => panic!("{error}"),
        }
    }
}

fn walk(dir: &std::path::Path) {
    let view = View::new(vec![Index::open(&LayerFiles::in_dir(dir)).expect("an index")]);
    let root = view.root().expect("a root").expect("a layer");
    for entry in view.walk(b"", root) {
        let (path, node) = entry.expect("an entry");
        let stat = view.stat(&node).expect("a stat");
        assert_eq!(view.lookup(&path, layer::Follow::No).expect("a lookup"), Some(node.clone()));
        match stat.kind {
            FileType::File => {
                let mut file = view.open(&node).expect("a file").take(1 << 16);
                let count = std::io::copy(&mut file, &mut std::io::sink()).expect("its bytes");
                assert_eq!(count, stat.size.min(1 << 16));
            }
            FileType::Symlink => drop(view.read_link(&node).expect("a target")),
            _ => {}
        }
    }
}

fn mend(block: &mut [u8]) {
    if block[257..].starts_with(b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// In memory where there is such a place.
fn scratch() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
    base.join(format!("barque-fuzz-tar-{}", std::process::id()))
}
