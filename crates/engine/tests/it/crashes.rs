//! Loading, importing and removing when processes are killed, and when several do it at once.
//!
//! The test program starts itself again, with the name of a test that does nothing unless the variable below names a store.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use engine::Engine;
use engine::images::RemoveRequest;
use engine::transfer::{ArchiveFormat, Compression, ImportRequest};
use store::{FsckOptions, Store};
use testkit::TempStore;

use crate::support::{engine, load, message, save};

const ROOT: &str = "BARQUE_TEST_ROOT";
const INPUTS: &str = "BARQUE_TEST_INPUTS";

/// The other process: loads, imports and removes until it is killed.
#[test]
fn child_process() {
    let (Ok(root), Ok(inputs)) = (std::env::var(ROOT), std::env::var(INPUTS)) else {
        return;
    };
    let inputs: Vec<PathBuf> = inputs.split(':').map(PathBuf::from).collect();
    let tar = inputs.last().unwrap();
    loop {
        let engine = Engine::open(Path::new(&root)).unwrap();
        for input in &inputs[..inputs.len() - 1] {
            load(&engine, input).unwrap();
            let request = ImportRequest {
                file: Some(tar.clone()),
                name: Some("flat:1".to_owned()),
                ..ImportRequest::default()
            };
            engine.import(&request).unwrap();
            for image in ["app:1", "flat:1"] {
                remove(&engine, image).unwrap();
            }
        }
        engine.store().upkeep().unwrap();
    }
}

fn remove(engine: &Engine, image: &str) -> Result<(), engine::Error> {
    let request = RemoveRequest {
        image: image.to_owned(),
        force: false,
    };
    engine.remove_image(&request).map(drop)
}

/// One image in several forms, and last the tar of its files.
fn inputs(store: &TempStore) -> Vec<PathBuf> {
    testkit::image()
        .file("small", b"x")
        .layer()
        .file(
            "large",
            (0..3_000_000_u32)
                .flat_map(|n| n.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
        .name("app:1")
        .build(store)
        .unwrap();
    let paths =
        ["plain.tar", "archive.tar.gz", "layout", "flat.tar"].map(|name| store.beside().join(name));
    let engine = engine(store);
    for (path, format, compression) in [
        (&paths[0], ArchiveFormat::DockerArchive, Compression::None),
        (&paths[1], ArchiveFormat::OciArchive, Compression::Gzip),
        (&paths[2], ArchiveFormat::OciDir, Compression::None),
    ] {
        save(&engine, &["app:1"], path, format, compression);
    }
    engine.export_image("app:1", Some(&paths[3])).unwrap();
    paths.to_vec()
}

#[track_caller]
fn assert_clean(store: &Store) {
    let report = store
        .fsck(&FsckOptions {
            full: true,
            repair: false,
        })
        .unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn a_load_that_is_killed_leaves_a_clean_store() {
    let source = testkit::store();
    let inputs = inputs(&source);
    let joined = inputs
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect::<Vec<_>>()
        .join(":");
    let target = testkit::store();
    let program = std::env::current_exe().unwrap();
    for round in 0..24_u64 {
        let mut child = Command::new(&program)
            .args(["--exact", "crashes::child_process", "--nocapture"])
            .env(ROOT, target.store().root())
            .env(INPUTS, &joined)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(15 + round * 37 % 400));
        assert!(
            child.try_wait().unwrap().is_none(),
            "it works until it is killed"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        // The next command finds what is left; nothing of it is wrong.
        assert_clean(&target.reopen());
    }
    let next = target.reopen();
    load(&Engine::over(next.clone()), &inputs[0]).unwrap();
    next.upkeep().unwrap();
    let left: Vec<_> = std::fs::read_dir(next.root().join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|end| end != "lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn several_load_and_remove_one_image_at_once() {
    let source = testkit::store();
    let inputs = inputs(&source);
    let target = testkit::store();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let input = &inputs[number % 3];
            let engine = Engine::over(target.reopen());
            scope.spawn(move || {
                for _ in 0..4 {
                    load(&engine, input).unwrap();
                }
            });
        }
        let engine = Engine::over(target.reopen());
        scope.spawn(move || {
            for _ in 0..60 {
                if let Err(error) = remove(&engine, "app:1") {
                    assert!(
                        message(&error).contains("no such image"),
                        "{}",
                        message(&error)
                    );
                    std::thread::sleep(Duration::from_millis(5));
                }
                engine.store().upkeep().unwrap();
            }
        });
    });
    let engine = Engine::over(target.reopen());
    load(&engine, &inputs[0]).unwrap();
    assert_clean(engine.store());
    let again = target.beside().join("again.tar");
    save(
        &engine,
        &["app:1"],
        &again,
        ArchiveFormat::DockerArchive,
        Compression::None,
    );
    assert!(std::fs::read(again).unwrap() == std::fs::read(&inputs[0]).unwrap());
}
