//! What these tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use engine::Engine;
use engine::transfer::{ArchiveFormat, Compression, LoadRequest, LoadedImage, SaveRequest};
use testkit::TempStore;

/// An engine on a store that vanishes.
pub(crate) fn engine(store: &TempStore) -> Engine {
    Engine::over(store.store().clone())
}

pub(crate) fn save(
    engine: &Engine,
    images: &[&str],
    path: &Path,
    format: ArchiveFormat,
    compression: Compression,
) {
    try_save(engine, images, path, format, compression).unwrap();
}

pub(crate) fn try_save(
    engine: &Engine,
    images: &[&str],
    path: &Path,
    format: ArchiveFormat,
    compression: Compression,
) -> Result<(), engine::Error> {
    engine.save(&SaveRequest {
        images: images.iter().map(ToString::to_string).collect(),
        output: Some(path.to_owned()),
        format,
        compression,
    })
}

pub(crate) fn load(engine: &Engine, path: &Path) -> Result<Vec<LoadedImage>, engine::Error> {
    load_for(engine, path, None)
}

pub(crate) fn load_for(
    engine: &Engine,
    path: &Path,
    platform: Option<&str>,
) -> Result<Vec<LoadedImage>, engine::Error> {
    engine.load(&LoadRequest {
        input: Some(path.to_owned()),
        platform: platform.map(str::to_owned),
    })
}

/// The message of an error with all its causes, as the program shows it.
pub(crate) fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    text
}

/// Nothing is in the store, and nothing unfinished in its folder.
pub(crate) fn assert_empty(store: &TempStore) {
    assert!(store.store().images().unwrap().is_empty());
    assert!(store.store().layers().unwrap().is_empty());
    store.store().upkeep().unwrap();
    for folder in ["tmp", "layers", "blobs/sha256", "blobs/sha512"] {
        let left: Vec<PathBuf> = std::fs::read_dir(store.store().root().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_none_or(|end| end != "lock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// All files below `dir` with their bytes, sorted.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.strip_prefix(dir).unwrap().to_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// False, said on stderr, if a program that a test compares with is not there.
pub(crate) fn has(program: &str, test: &str) -> bool {
    let there = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        testkit::skipped(test, &format!("`{program}` is not installed"));
    }
    there
}

/// Bytes that do not compress.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
