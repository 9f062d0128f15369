//! The three ways to a root filesystem show the same tree.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use layer::{Ingest, Meta};
use oci::DiffId;
use store::{Choice, Error, Kind, Lease, OpenOptions, Store, Way};
use sys::root_plan::{RootPlan, Upper};
use testkit::{TempStore, image, skip_unless_root, skipped, store};

/// The same store with a way that is chosen.
fn choosing(store: &TempStore, choice: Choice) -> Store {
    let options = OpenOptions {
        layers: Some(choice),
        ..OpenOptions::default()
    };
    Store::open(store.root(), &options).unwrap()
}

/// What works here, told for what does not.
fn working(store: &TempStore) -> Vec<(Choice, Store)> {
    let mut found = Vec::new();
    for choice in Choice::ALL {
        let store = choosing(store, choice);
        match store.way() {
            Ok(_) => found.push((choice, store)),
            Err(error) => skipped(&testkit::running_test(), &error.to_string()),
        }
    }
    found
}

/// Runs `body` with the mounted plan, in a mount namespace of its own.
fn mounted<T: Send + 'static>(plan: RootPlan, body: impl FnOnce(&Path) -> T + Send + 'static) -> T {
    let run = move || {
        sys::namespace::unshare_mounts().unwrap();
        sys::mount::set_propagation(Path::new("/"), sys::mount::Propagation::Private, true)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["scratch", "on"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let scratch = sys::root::Root::open(&dir.path().join("scratch")).unwrap();
        let on = dir.path().join("on");
        plan.mount(&scratch).unwrap().attach(&on).unwrap();
        let result = body(&on);
        sys::mount::detach(&on).unwrap();
        for entry in fs::read_dir(dir.path().join("scratch")).unwrap() {
            sys::mount::detach(&entry.unwrap().path()).ok();
        }
        result
    };
    std::thread::spawn(run).join().unwrap()
}

/// All that can be seen of a tree, by path.
fn described(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut text = format!(
            "{:o} {}:{} {}.{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if kind.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            text.push_str(&format!(" -> {}", fs::read_link(&path).unwrap().display()));
        } else if kind.is_file() {
            let digest = oci::Digest::sha256_of(&fs::read(&path).unwrap());
            text.push_str(&format!(" {} x{} {digest}", meta.len(), meta.nlink()));
        } else {
            text.push_str(&format!(" {:x}", meta.rdev()));
            assert!(kind.is_fifo() || kind.is_char_device());
        }
        for (name, value) in sys::xattr::list(&path).unwrap() {
            text.push_str(&format!(" {}={}", name.display(), value.escape_ascii()));
        }
        seen.insert(path.strip_prefix(root).unwrap().to_owned(), text);
    }
    seen
}

/// A layer of what GNU tar makes of a tree with all kinds of things, and an odd number of bytes behind its end mark.
fn of_gnu_tar(store: &TempStore, lease: &Lease) -> DiffId {
    let tree = store.beside().join("tree");
    fs::create_dir_all(tree.join("hidden/deep")).unwrap();
    fs::create_dir(tree.join("kept")).unwrap();
    fs::write(tree.join("hidden/deep/x"), "below an opaque directory").unwrap();
    fs::write(tree.join("kept/removed"), "below a whiteout").unwrap();
    fs::write(tree.join("kept/large"), vec![b'l'; 300_001]).unwrap();
    fs::write(tree.join("kept/empty"), "").unwrap();
    fs::write(tree.join("set"), "user id").unwrap();
    std::os::unix::fs::chown(tree.join("set"), Some(1000), Some(1001)).unwrap();
    fs::set_permissions(tree.join("set"), fs::Permissions::from_mode(0o4755)).unwrap();
    // Not every file system has them.
    sys::xattr::set(&tree.join("set"), "user.note".as_ref(), b"kept").ok();
    fs::hard_link(tree.join("set"), tree.join("kept/again")).unwrap();
    std::os::unix::fs::symlink("../set", tree.join("kept/link")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"far", 5_000_000).unwrap();
    let made = Command::new("sh")
        .arg("-c")
        .arg("mkfifo pipe && mknod null c 1 3 && tar --xattrs -cSf ../tree.tar --sort=name . && printf 'odd end' >> ../tree.tar")
        .current_dir(&tree)
        .status()
        .unwrap();
    assert!(made.success());
    let tar = store.beside().join("tree.tar");
    assert_eq!(fs::metadata(&tar).unwrap().len() % 512, 7);
    taken_in(lease, &tar)
}

/// A layer of a tar that ends with its last file's last byte.
fn without_padding(store: &TempStore, lease: &Lease) -> DiffId {
    let dir = store.beside().join("unpadded");
    fs::create_dir(&dir).unwrap();
    let content = vec![b'u'; 700];
    let mut ingest = Ingest::create(&dir).unwrap();
    let meta = Meta::file(700, 0o600);
    ingest.append_bytes(b"first", &meta, &content).unwrap();
    ingest.append_bytes(b"last", &meta, &content).unwrap();
    ingest.finish().unwrap();
    let tar = dir.join("layer.tar");
    let file = fs::File::options().write(true).open(&tar).unwrap();
    file.set_len(512 + 1024 + 512 + 700).unwrap();
    taken_in(lease, &tar)
}

fn taken_in(lease: &Lease, tar: &Path) -> DiffId {
    let mut ingest = lease.ingest_layer().unwrap();
    ingest
        .writer()
        .copy_tar(&mut fs::File::open(tar).unwrap())
        .unwrap();
    let layer = ingest.publish().unwrap();
    assert!(layer.side().is_some(), "some data lies in no whole block");
    *layer.diff_id()
}

#[test]
fn priv_all_ways_show_the_same_tree() {
    skip_unless_root!();
    let store = store();
    let lease = store.lease("test").unwrap();
    let bottom = of_gnu_tar(&store, &lease);
    let middle = without_padding(&store, &lease);
    let top = image()
        .file("new", "top")
        .whiteout("kept/removed")
        .dir("hidden", 0o711)
        .opaque("hidden")
        .build(&store)
        .unwrap();
    let layers = [bottom, middle, top.layers[0]];
    let mut trees = Vec::new();
    for (choice, store) in working(&store) {
        let lease = store.lease("test").unwrap();
        let plan = lease.root_plan(&layers, None).unwrap();
        let tree = mounted(plan, described);
        assert!(tree.contains_key(Path::new("kept/large")), "{tree:#?}");
        assert!(!tree.contains_key(Path::new("kept/removed")), "{tree:#?}");
        assert!(!tree.contains_key(Path::new("hidden/deep")), "{tree:#?}");
        trees.push((choice, tree));
    }
    for pair in trees.windows(2) {
        assert_eq!(pair[0].1, pair[1].1, "{:?} {:?}", pair[0].0, pair[1].0);
    }
    assert_no_loops(store.beside());
}

#[test]
fn priv_all_ways_take_changes() {
    skip_unless_root!();
    let store = store();
    let image = image()
        .file("changed", "before")
        .file("gone", "x")
        .layer()
        .file("other", "y")
        .build(&store)
        .unwrap();
    for (choice, store) in working(&store) {
        let place = store.root().parent().unwrap().join(choice.name());
        let upper = Upper {
            dir: place.join("upper"),
            work: place.join("work"),
            volatile: true,
        };
        fs::create_dir_all(&upper.dir).unwrap();
        fs::create_dir_all(&upper.work).unwrap();
        let lease = store.lease("test").unwrap();
        let plan = lease.root_plan(&image.layers, Some(upper.clone())).unwrap();
        mounted(plan, |root| {
            fs::write(root.join("changed"), "after").unwrap();
            fs::remove_file(root.join("gone")).unwrap();
        });
        let changed = fs::read_to_string(upper.dir.join("changed")).unwrap();
        assert_eq!(changed, "after", "{choice:?}");
        let kind = fs::symlink_metadata(upper.dir.join("gone")).unwrap();
        assert!(kind.file_type().is_char_device(), "{choice:?}");
    }
    assert_no_loops(store.beside());
}

/// Checks that no loop device has a file below `dir`, after those that are going away went.
fn assert_no_loops(dir: &Path) {
    // A mount ends a moment after its namespace, and a device after its mount.
    let gone = testkit::eventually(120, || looped(dir).is_empty());
    assert!(gone, "{:?}", looped(dir));
}

/// The files below `dir` that loop devices have.
fn looped(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.canonicalize().unwrap();
    let devices = fs::read_dir("/sys/block").into_iter().flatten();
    devices
        .filter_map(|entry| {
            fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
        })
        .map(|path| PathBuf::from(path.trim_end()))
        .filter(|path| path.starts_with(&dir))
        .collect()
}

#[test]
fn a_choice_is_told_apart_from_what_was_found() {
    let store = store();
    let found = store.way().unwrap();
    let unpacked = choosing(&store, Choice::Unpacked).way().unwrap();
    assert!(
        matches!(&unpacked, Way::Unpacked { reason, .. } if reason == "so it was chosen"),
        "{unpacked:?}"
    );
    assert_eq!(store.way().unwrap(), found, "the choice is not remembered");
}

#[test]
fn a_choice_that_does_not_work_is_an_error() {
    if testkit::is_root() {
        // Nothing can be told from what works here.
        return;
    }
    let store = store();
    for choice in [Choice::Files, Choice::Loops] {
        let error = choosing(&store, choice).way().unwrap_err();
        assert!(matches!(error, Error::Way { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}
