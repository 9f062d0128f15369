//! An index is only a cache of its tar: one of another form is made anew.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use store::FsckOptions;
use testkit::{TempStore, image, store};

/// Gives the index the head of another barque: its form has another name.
fn age(index: &Path) {
    let file = fs::File::options().write(true).open(index).unwrap();
    file.write_all_at(b"barque 0", 1024 + 64).unwrap();
}

fn filled() -> (TempStore, store::Image, std::path::PathBuf) {
    let store = store();
    let image = image()
        .file("etc/motd", "hello")
        .name("app:1")
        .build(&store)
        .unwrap();
    let index = store.find_layer(&image.layers[0]).unwrap().unwrap().index();
    (store, image, index)
}

#[test]
fn an_index_of_another_form_is_made_anew_when_it_is_used() {
    let (store, image, index) = filled();
    let before = fs::read(&index).unwrap();
    age(&index);
    let view = store.reopen().view(&image.layers).unwrap();
    let found = view.lookup(b"etc/motd", layer::Follow::Yes).unwrap();
    assert!(found.is_some());
    assert_eq!(fs::read(&index).unwrap(), before);
    assert!(store.fsck(&FULL).unwrap().findings.is_empty());
}

const FULL: FsckOptions = FsckOptions {
    full: true,
    repair: false,
};

#[test]
fn a_side_file_that_only_the_old_form_needed_goes() {
    let (store, image, index) = filled();
    age(&index);
    let side = index.with_file_name("side");
    fs::write(&side, [0; 512]).unwrap();
    let layer = store.find_layer(&image.layers[0]).unwrap().unwrap();
    assert_eq!(layer.side(), None);
    assert!(!side.exists());
}

#[test]
fn many_at_once_make_it_anew_without_harm() {
    let (store, image, index) = filled();
    let before = fs::read(&index).unwrap();
    for _ in 0..4 {
        age(&index);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let view = store.reopen().view(&image.layers).unwrap();
                    let found = view.lookup(b"etc/motd", layer::Follow::Yes).unwrap();
                    assert!(found.is_some());
                });
            }
        });
        assert_eq!(fs::read(&index).unwrap(), before);
    }
    assert!(store.fsck(&FULL).unwrap().findings.is_empty());
}

#[test]
fn fsck_names_it_and_repairs_it() {
    let (store, _, index) = filled();
    let before = fs::read(&index).unwrap();
    age(&index);
    let report = store.fsck(&FsckOptions::default()).unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].path.as_ref(), Some(&index));
    let repair = FsckOptions {
        full: false,
        repair: true,
    };
    assert!(store.fsck(&repair).unwrap().is_clean());
    assert_eq!(fs::read(&index).unwrap(), before);
}

#[test]
fn putting_the_layer_again_heals_it_too() {
    let (store, image, index) = filled();
    let before = fs::read(&index).unwrap();
    age(&index);
    let again = testkit::image()
        .file("etc/motd", "hello")
        .build(&store)
        .unwrap();
    assert_eq!(again.layers, image.layers);
    assert_eq!(fs::read(&index).unwrap(), before);
}
