//! Damage of every kind is found, named and repaired; bringing the content again heals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use oci::{DiffId, Digest};
use store::{FsckOptions, FsckReport, Image, NewContainer, Record, Store};
use testkit::{TempStore, image, store};

const QUICK: FsckOptions = FsckOptions {
    full: false,
    repair: false,
};
const FULL: FsckOptions = FsckOptions {
    full: true,
    repair: false,
};
const REPAIR: FsckOptions = FsckOptions {
    full: true,
    repair: true,
};

/// A store with one of everything.
fn filled() -> (TempStore, Image) {
    let store = store();
    let image = put(&store);
    let lease = store.lease("test").unwrap();
    lease
        .put_record(&Record {
            key: "key".to_owned(),
            definition: "definition".to_owned(),
            parts: vec![("file a".to_owned(), "1".to_owned())],
            output: serde_json::json!({}),
            layers: image.layers.clone(),
            created: 0,
            last_used: 0,
        })
        .unwrap();
    lease
        .create_container(&NewContainer {
            name: Some("box"),
            image: Some(&image.digest),
            image_name: "app",
            layers: &image.layers,
            spec: b"{}",
            state: serde_json::Value::Null,
        })
        .unwrap();
    (store, image)
}

fn put(store: &Store) -> Image {
    image()
        .file("etc/a", "content")
        .symlink("b", "etc/a")
        .layer()
        .tree(testkit::tree(50, 1))
        .name("app:1")
        .build(store)
        .unwrap()
}

fn dir(store: &Store, id: &DiffId) -> PathBuf {
    store.find_layer(id).unwrap().unwrap().dir().to_owned()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    // In the middle: the head of an index is checked when it is opened.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let length = fs::metadata(path).unwrap().len();
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn text(report: &FsckReport) -> String {
    report
        .findings
        .iter()
        .map(|f| format!("{}: {}: {}\n", f.check, f.what, f.problem))
        .collect()
}

#[test]
fn a_whole_store_is_clean() {
    let (store, _) = filled();
    for options in [QUICK, FULL, REPAIR] {
        let report = store.fsck(&options).unwrap();
        assert!(report.findings.is_empty(), "{}", text(&report));
        assert_eq!((report.layers, report.images), (2, 1));
        assert_eq!(report.blobs, 2);
    }
}

/// Damages a whole store, checks that `find` sees it, that repairing makes it clean, and that the image is whole after it was
/// put again.
fn check_damage(
    name: &str,
    find: &FsckOptions,
    damage: &dyn Fn(&Path),
    path: &dyn Fn(&Store, &Image) -> PathBuf,
) {
    let (store, image) = filled();
    let path = path(&store, &image);
    damage(&path);
    let report = store.fsck(find).unwrap();
    assert!(!report.is_clean(), "{name}: not found");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.path.as_ref() == Some(&path)),
        "{name}: {}",
        text(&report)
    );
    let report = store.fsck(&REPAIR).unwrap();
    assert!(report.is_clean(), "{name}: {}", text(&report));
    let lost = store.image(&image.digest).unwrap().is_none();
    assert_eq!(
        report.lost,
        if lost { vec!["app:1"] } else { vec![] },
        "{name}"
    );
    let report = store.fsck(&FULL).unwrap();
    assert!(
        report.findings.is_empty(),
        "{name}: still {}",
        text(&report)
    );
    let again = put(&store);
    assert_eq!(again.digest, image.digest);
    let report = store.fsck(&FULL).unwrap();
    assert!(
        report.findings.is_empty(),
        "{name}: after loading {}",
        text(&report)
    );
}

#[test]
fn damage_of_every_file_class_is_found_repaired_and_healed() {
    type PathOf = fn(&Store, &Image) -> PathBuf;
    let files: [(&str, PathOf); 4] = [
        ("layer.tar", |store, image| {
            dir(store, &image.layers[0]).join("layer.tar")
        }),
        ("index.erofs", |store, image| {
            dir(store, &image.layers[1]).join("index.erofs")
        }),
        ("config", |store, image| {
            store
                .blob(image.id.digest())
                .unwrap()
                .unwrap()
                .path()
                .to_owned()
        }),
        ("manifest", |store, image| {
            store
                .blob(&image.digest)
                .unwrap()
                .unwrap()
                .path()
                .to_owned()
        }),
    ];
    for (name, path) in files {
        check_damage(&format!("flip of {name}"), &FULL, &flip, &path);
        check_damage(&format!("truncation of {name}"), &QUICK, &cut, &path);
        check_damage(&format!("deletion of {name}"), &QUICK, &remove, &path);
        let link = |path: &Path| {
            remove(path);
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        };
        check_damage(&format!("link instead of {name}"), &QUICK, &link, &path);
    }
    check_damage(
        "deletion of a layer's directory",
        &QUICK,
        &|path| fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        &files[0].1,
    );
}

#[test]
fn a_damaged_layer_names_the_images_that_need_it_and_loses_them_only_by_repair() {
    let (store, image) = filled();
    let child = testkit::image()
        .on(&image)
        .file("c", "1")
        .name("child")
        .build(&store)
        .unwrap();
    flip(&dir(&store, &image.layers[0]).join("layer.tar"));
    let report = store.fsck(&FULL).unwrap();
    assert_eq!(report.findings.len(), 1, "{}", text(&report));
    let mut images = report.findings[0].images.clone();
    images.sort();
    assert_eq!(images, ["app:1", "child:latest"]);
    assert_eq!(store.images().unwrap().len(), 2);
    let report = store.fsck(&REPAIR).unwrap();
    assert_eq!(report.lost, ["app:1", "child:latest"]);
    assert!(store.image(&child.digest).unwrap().is_none());
    assert!(
        store.root().join("damaged").read_dir().unwrap().count() > 0,
        "what was damaged is kept for a look"
    );
}

#[test]
fn orphans_and_strangers_are_found_and_set_aside() {
    let (store, _) = filled();
    let root = store.root().to_owned();
    let digest = Digest::sha256_of(b"orphan");
    fs::write(root.join("blobs/sha256").join(digest.hex()), "orphan").unwrap();
    fs::create_dir(root.join("layers").join(format!("sha256-{}", digest.hex()))).unwrap();
    fs::create_dir(root.join("containers/stray")).unwrap();
    fs::write(root.join("layers/notes.txt"), "x").unwrap();
    fs::write(root.join("blobs/sha256/short"), "x").unwrap();
    fs::write(root.join("extra"), "x").unwrap();
    let report = store.fsck(&QUICK).unwrap();
    assert_eq!(report.findings.len(), 6, "{}", text(&report));
    assert!(store.fsck(&REPAIR).unwrap().is_clean());
    assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
}

#[test]
fn a_folder_that_was_opened_to_others_is_found_and_closed() {
    let (store, _) = filled();
    let mode = |mode| fs::set_permissions(store.root(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o755);
    let report = store.fsck(&QUICK).unwrap();
    assert_eq!(
        report.findings[0].problem,
        "its mode is 0755, so others can reach what is in it"
    );
    assert!(store.fsck(&REPAIR).unwrap().is_clean());
    assert!(store.fsck(&QUICK).unwrap().findings.is_empty());
}

#[test]
fn a_container_without_its_directory_is_found_and_dropped() {
    let (store, _) = filled();
    let container = store.container("box").unwrap();
    fs::remove_dir_all(container.upper()).unwrap();
    let report = store.fsck(&QUICK).unwrap();
    assert_eq!(
        text(&report),
        "containers: container box: its directory is missing or incomplete\n"
    );
    assert!(store.fsck(&REPAIR).unwrap().is_clean());
    assert!(store.containers().unwrap().is_empty());
}

#[test]
fn a_lost_database_is_made_anew_and_reported() {
    let (temp, image) = filled();
    let root = temp.root().to_owned();
    for name in ["barque.db", "barque.db-wal", "barque.db-shm"] {
        fs::remove_file(root.join(name)).unwrap();
    }
    let store = temp.reopen();
    let found = store
        .image(&image.digest)
        .unwrap()
        .expect("the image is there");
    assert_eq!(found.layers, image.layers);
    assert!(found.is_dangling(), "names were only in the database");
    assert!(store.find_layer(&image.layers[1]).unwrap().is_some());
    let report = store.fsck(&FULL).unwrap();
    assert!(
        text(&report).contains("it was lost and made anew"),
        "{}",
        text(&report)
    );
    assert!(store.fsck(&REPAIR).unwrap().is_clean());
    assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
}

#[test]
fn a_database_of_noise_is_an_error_and_can_be_made_anew() {
    let (temp, image) = filled();
    let root = temp.root().to_owned();
    for name in ["barque.db-wal", "barque.db-shm"] {
        fs::remove_file(root.join(name)).unwrap();
    }
    fs::write(root.join("barque.db"), vec![7; 8192]).unwrap();
    let error = Store::open(&root, &store::OpenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), store::Kind::Corrupt, "{error}");
    store::rebuild_database(&root).unwrap();
    assert!(temp.reopen().image(&image.digest).unwrap().is_some());
}

#[test]
fn a_missing_directory_is_found_and_made() {
    for name in [
        "tmp",
        "blobs",
        "blobs/sha256",
        "layers",
        "containers",
        "caches",
    ] {
        let (store, _) = filled();
        fs::remove_dir_all(store.root().join(name)).unwrap();
        for options in [QUICK, FULL] {
            let report = store.fsck(&options).unwrap();
            assert!(
                text(&report).contains(&format!("directory {name}: it is missing")),
                "{}",
                text(&report)
            );
        }
        let report = store.fsck(&REPAIR).unwrap();
        assert!(report.is_clean(), "{name}: {}", text(&report));
        assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
        put(&store);
        assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
    }
}

#[test]
fn an_unpacked_layer_that_was_changed_is_found_and_dropped() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("./etc/a has other content", |tree| {
            fs::write(tree.join("etc/a"), "CONTENT").unwrap()
        }),
        ("it lacks ./b", |tree| {
            fs::remove_file(tree.join("b")).unwrap()
        }),
        ("it has ./etc/new too much", |tree| {
            fs::write(tree.join("etc/new"), "").unwrap()
        }),
        ("./etc/a is something else", |tree| {
            fs::remove_file(tree.join("etc/a")).unwrap();
            fs::create_dir(tree.join("etc/a")).unwrap();
        }),
        ("it is missing", |tree| fs::remove_dir_all(tree).unwrap()),
    ];
    for (problem, damage) in damages {
        let (store, image) = filled();
        let layer = store.find_layer(&image.layers[0]).unwrap().unwrap();
        let tree = store
            .lease("test")
            .unwrap()
            .tree(&layer, store::Flavour::User)
            .unwrap();
        assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
        damage(&tree);
        let report = store.fsck(&FULL).unwrap();
        let found = format!("trees: unpacked layer {}: {problem}\n", layer.diff_id());
        assert_eq!(text(&report), found);
        assert!(store.fsck(&REPAIR).unwrap().is_clean());
        assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
        store
            .lease("test")
            .unwrap()
            .tree(&layer, store::Flavour::User)
            .unwrap();
        assert_eq!(text(&store.fsck(&FULL).unwrap()), "");
    }
}
