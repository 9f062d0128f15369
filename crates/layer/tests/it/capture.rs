//! Upper directories become layers, layers become directories.

use std::os::unix::fs::symlink;
use std::path::Path;

use layer::{
    CaptureError, CaptureOptions, FileType, Follow, Index, Ingest, LayerFiles, Time, UnpackOptions,
    View, capture, unpack,
};
use sys::root::{Kind, Root};

use crate::mounted::{Mount, is_root};
use crate::snapshot;

fn layer_of(upper: &Path, dir: &Path, options: &CaptureOptions<'_>) -> layer::Finished {
    let mut ingest = Ingest::create(dir).unwrap();
    let count = capture(upper, &mut ingest, options).unwrap();
    let done = ingest.finish().unwrap();
    assert_eq!(done.entries, count);
    done
}

fn open(dir: &Path) -> Index {
    Index::open(&LayerFiles::in_dir(dir)).unwrap()
}

/// A tree of all sorts that an ordinary user can make.
fn make_tree(root: &Path) {
    let at = |name: &str| root.join(name);
    std::fs::create_dir_all(at("a/b/c")).unwrap();
    std::fs::write(at("a/file"), b"content").unwrap();
    std::fs::write(at("a/empty"), b"").unwrap();
    std::fs::write(at("a/b/large"), vec![3; 70_001]).unwrap();
    std::fs::hard_link(at("a/file"), at("a/b/again")).unwrap();
    symlink("../file", at("a/b/link")).unwrap();
    symlink("/nowhere", at("dangling")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::Mode::from_raw_mode(0o640),
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let root = Root::open(root).unwrap();
    root.chmod(Path::new("a/file"), 0o4711).unwrap();
    root.chmod(Path::new("a/b"), 0o1700).unwrap();
    root.set_xattr(Path::new("a/file"), "user.note".as_ref(), b"\0\xff")
        .unwrap();
    for (name, secs) in [
        ("a/file", 12),
        ("a/b/link", 13),
        ("a/b", -14),
        ("a", 1 << 33),
    ] {
        let time = sys::root::Time {
            secs,
            nanos: 250_000_000,
        };
        root.set_mtime(Path::new(name), time).unwrap();
    }
}

#[test]
fn a_tree_survives_capture_and_unpack() {
    let upper = tempfile::tempdir().unwrap();
    make_tree(upper.path());
    let made = tempfile::tempdir().unwrap();
    let options = CaptureOptions {
        fractions: true,
        root: true,
        ..CaptureOptions::default()
    };
    layer_of(upper.path(), made.path(), &options);
    let mut before = snapshot::of_dir(upper.path());
    before.remove(&b"socket"[..]).unwrap();
    let view = View::new(vec![open(made.path())]);
    snapshot::assert_same(&snapshot::of_view(&view), &before, "view");

    let out = tempfile::tempdir().unwrap();
    let left_out = unpack(
        &open(made.path()),
        &Root::open(out.path()).unwrap(),
        &UnpackOptions::default(),
    );
    assert_eq!(left_out.unwrap(), layer::Unpacked::default());
    snapshot::assert_same(&snapshot::of_dir(out.path()), &before, "unpacked");
}

#[test]
fn the_same_tree_gives_the_same_layer() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let upper = tempfile::tempdir().unwrap();
        make_tree(upper.path());
        let made = tempfile::tempdir().unwrap();
        let options = CaptureOptions {
            latest: Some(Time::from_secs(10)),
            ..CaptureOptions::default()
        };
        digests.push(layer_of(upper.path(), made.path(), &options).diff_id);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn an_empty_upper_gives_no_entries() {
    let (upper, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let done = layer_of(upper.path(), made.path(), &CaptureOptions::default());
    assert_eq!((done.entries, done.size), (0, 1024));
}

#[test]
fn what_is_skipped_is_left_out_with_all_below_it() {
    let (upper, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(upper.path());
    let skip = |path: &[u8]| path == b"a/b" || path == b"fifo";
    let options = CaptureOptions {
        skip: Some(&skip),
        ..CaptureOptions::default()
    };
    layer_of(upper.path(), made.path(), &options);
    let view = View::new(vec![open(made.path())]);
    let names: Vec<_> = snapshot::of_view(&view).into_keys().collect();
    let names: Vec<_> = names
        .iter()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    assert_eq!(names, ["", "a", "a/empty", "a/file", "dangling"]);
}

/// Between the listing of a directory and the reading of what is in it, a program that still runs has changed it all: `skip` is
/// asked just then.
#[test]
fn what_moves_while_it_is_read_is_left_out_or_what_it_is_by_then() {
    let (upper, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| upper.path().join(name);
    std::fs::create_dir_all(at("dir/below/it")).unwrap();
    std::fs::create_dir_all(at("to-link/below")).unwrap();
    std::fs::create_dir(at("to-file")).unwrap();
    std::fs::write(at("to-file/x"), b"x").unwrap();
    for name in ["gone", "one", "other", "to-dir", "to-socket", "z.new"] {
        std::fs::write(at(name), name).unwrap();
    }
    std::fs::hard_link(at("one"), at("two")).unwrap();
    let sockets = std::cell::RefCell::new(Vec::new());
    let skip = |path: &[u8]| {
        match path {
            b"dir/below" => std::fs::remove_dir_all(at("dir")).unwrap(),
            b"gone" | b"one" => {
                std::fs::remove_file(at(std::str::from_utf8(path).unwrap())).unwrap()
            }
            b"other" => std::fs::write(at("other"), b"another content").unwrap(),
            b"to-dir" => {
                std::fs::remove_file(at("to-dir")).unwrap();
                std::fs::create_dir(at("to-dir")).unwrap();
                std::fs::write(at("to-dir/new"), b"new").unwrap();
            }
            b"to-file/x" => {
                std::fs::remove_dir_all(at("to-file")).unwrap();
                std::fs::write(at("to-file"), b"file").unwrap();
            }
            b"to-link/below" => {
                std::fs::remove_dir_all(at("to-link")).unwrap();
                symlink("to-dir", at("to-link")).unwrap();
            }
            b"to-socket" => {
                std::fs::remove_file(at("to-socket")).unwrap();
                let socket = std::os::unix::net::UnixListener::bind(at("to-socket"));
                sockets.borrow_mut().push(socket.unwrap());
            }
            b"z.new" => std::fs::rename(at("z.new"), at("z")).unwrap(),
            _ => {}
        }
        false
    };
    let options = CaptureOptions {
        skip: Some(&skip),
        ..CaptureOptions::default()
    };
    layer_of(upper.path(), made.path(), &options);
    let index = open(made.path());
    let view = View::new(vec![open(made.path())]);
    let tree = snapshot::of_view(&view);
    let names: Vec<_> = tree
        .keys()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    // The directories were there when they were reached; what was in them was not.
    let expected = [
        "",
        "dir",
        "other",
        "to-dir",
        "to-dir/new",
        "to-file",
        "to-link",
        "two",
    ];
    assert_eq!(names, expected);
    let text = |name: &[u8]| {
        let (file, _) = index.lookup(index.root(), name).unwrap().unwrap();
        std::io::read_to_string(index.open_file(file).unwrap()).unwrap()
    };
    // A name that is the last one of its file is no link to one that was never in the layer.
    assert_eq!(text(b"two"), "one");
    assert_eq!(text(b"other"), "another content");
}

#[test]
fn a_file_that_changes_its_size_while_it_is_read_has_the_size_that_was_announced() {
    let (dir, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("file");
    let mut ingest = Ingest::create(made.path()).unwrap();
    let names = [(&b"grown"[..], 700_001_usize), (b"shrunk", 300_000)];
    for (name, now) in names {
        std::fs::write(&path, vec![b'x'; now]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let meta = layer::Meta::file(500_000, 0o644);
        ingest.append_moving_file(name, &meta, &file).unwrap();
    }
    ingest.finish().unwrap();
    let index = open(made.path());
    for (name, now) in names {
        let (file, _) = index.lookup(index.root(), name).unwrap().unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut index.open_file(file).unwrap(), &mut bytes).unwrap();
        assert_eq!(bytes.len(), 500_000);
        let end = now.min(500_000);
        assert!(bytes[..end].iter().all(|byte| *byte == b'x'));
        assert!(bytes[end..].iter().all(|byte| *byte == 0));
    }
    // What was made is a tar that reads back as the same layer.
    let again = tempfile::tempdir().unwrap();
    let mut copy = Ingest::create(again.path()).unwrap();
    let mut tar = std::fs::File::open(LayerFiles::in_dir(made.path()).tar).unwrap();
    copy.copy_tar(&mut tar).unwrap();
    copy.finish().unwrap();
    let read = |dir: &Path| std::fs::read(LayerFiles::in_dir(dir).index).unwrap();
    assert_eq!(read(made.path()), read(again.path()));
}

#[test]
fn priv_what_overlayfs_noted_becomes_deletions() {
    if !is_root("priv_what_overlayfs_noted_becomes_deletions") {
        return;
    }
    let (upper, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = Root::open(upper.path()).unwrap();
    root.mkdir_all(Path::new("d/hidden"), 0o755).unwrap();
    root.mknod(Path::new("d/gone"), Kind::CharDevice, 0, (0, 0))
        .unwrap();
    root.create(Path::new("d/also"), 0o600).unwrap();
    root.set_xattr(
        Path::new("d/also"),
        "trusted.overlay.whiteout".as_ref(),
        b"",
    )
    .unwrap();
    root.set_xattr(Path::new("d"), "trusted.overlay.opaque".as_ref(), b"x")
        .unwrap();
    root.set_xattr(Path::new("d"), "trusted.overlay.origin".as_ref(), b"z")
        .unwrap();
    root.set_xattr(Path::new("d/hidden"), "user.overlay.opaque".as_ref(), b"y")
        .unwrap();
    layer_of(upper.path(), made.path(), &CaptureOptions::default());
    let index = open(made.path());
    let (dir, _) = index.lookup(index.root(), b"d").unwrap().unwrap();
    let kind = |name: &[u8]| index.lookup(dir, name).unwrap().unwrap().1;
    assert_eq!(kind(b"gone"), FileType::Whiteout);
    assert_eq!(kind(b"also"), FileType::Whiteout);
    assert!(!index.stat(dir).unwrap().opaque);
    let (hidden, _) = index.lookup(dir, b"hidden").unwrap().unwrap();
    assert!(index.stat(hidden).unwrap().opaque);

    root.set_xattr(Path::new("d"), "trusted.overlay.redirect".as_ref(), b"/e")
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    let error = capture(upper.path(), &mut ingest, &CaptureOptions::default()).unwrap_err();
    assert!(matches!(
        error,
        CaptureError::Incomplete {
            attribute: "redirect",
            ..
        }
    ));
}

/// An overlay for the time of a test.
struct Overlay(tempfile::TempDir);

impl Overlay {
    fn new(lower: &[&Path], upper: &Path, work: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower: Vec<_> = lower
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},index=off,metacopy=off,redirect_dir=off",
            lower.join(":"),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(
            "overlay",
            dir.path(),
            "overlay",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        Self(dir)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

/// Two layers and what is done over them, seen by overlayfs over mounts, by overlayfs over unpacked trees, and by a view.
#[test]
fn priv_overlay_and_view_agree_after_changes() {
    if !is_root("priv_overlay_and_view_agree_after_changes") {
        return;
    }
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let source = tempfile::tempdir().unwrap();
    make_tree(source.path());
    std::fs::create_dir(source.path().join("replaced")).unwrap();
    std::fs::write(source.path().join("replaced/old"), b"old").unwrap();
    std::fs::write(source.path().join("becomes-dir"), b"file").unwrap();
    let whole = CaptureOptions {
        fractions: true,
        root: true,
        ..CaptureOptions::default()
    };
    layer_of(source.path(), dirs[0].path(), &whole);
    let base = Mount::new("base", dirs[0].path()).unwrap();

    // What a container does over the base becomes the second layer, and once more the third.
    let mut lowers = vec![base];
    for (round, dir) in dirs.iter().enumerate().skip(1) {
        let scratch = tempfile::tempdir().unwrap();
        let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        let paths: Vec<_> = lowers.iter().rev().map(Mount::path).collect();
        let merged = Overlay::new(&paths, &upper, &work);
        change(merged.0.path(), round);
        let after = snapshot::of_dir(merged.0.path());
        drop(merged);
        // Both with all marks and with those that say something.
        let view = View::new(dirs[..round].iter().map(|dir| open(dir.path())).collect());
        let options = CaptureOptions {
            below: (round == 1).then_some(&view),
            ..whole
        };
        layer_of(&upper, dir.path(), &options);
        lowers.push(Mount::new("next", dir.path()).unwrap());

        let view = View::new(dirs[..=round].iter().map(|dir| open(dir.path())).collect());
        let (after, seen) = (comparable(after), comparable(snapshot::of_view(&view)));
        snapshot::assert_same(&seen, &after, "view");

        let (trees, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(scratch.path().join("upper")).unwrap();
        std::fs::create_dir(scratch.path().join("work")).unwrap();
        let mut paths = Vec::new();
        for (number, dir) in dirs[..=round].iter().enumerate() {
            let path = trees.path().join(number.to_string());
            std::fs::create_dir(&path).unwrap();
            let root = Root::open(&path).unwrap();
            unpack(&open(dir.path()), &root, &UnpackOptions::default()).unwrap();
            paths.insert(0, path);
        }
        let paths: Vec<_> = paths.iter().map(std::path::PathBuf::as_path).collect();
        let over = Overlay::new(
            &paths,
            &scratch.path().join("upper"),
            &scratch.path().join("work"),
        );
        snapshot::assert_same(
            &comparable(snapshot::of_dir(over.0.path())),
            &after,
            "unpacked",
        );
    }
}

/// Without what overlayfs says of its own: link counts of directories, and links across layers.
fn comparable(mut all: snapshot::Snapshot) -> snapshot::Snapshot {
    for item in all.values_mut() {
        item.nlink = 0;
        item.same_as.clear();
    }
    // The root's own times change with the mount of an empty upper.
    all.remove(&b""[..]);
    all
}

fn change(root: &Path, round: usize) {
    let at = |name: &str| root.join(name);
    if round == 1 {
        std::fs::remove_file(at("a/empty")).unwrap();
        std::fs::remove_dir_all(at("replaced")).unwrap();
        std::fs::create_dir(at("replaced")).unwrap();
        std::fs::write(at("replaced/new"), b"new").unwrap();
        std::fs::remove_file(at("becomes-dir")).unwrap();
        std::fs::create_dir(at("becomes-dir")).unwrap();
        std::fs::write(at("becomes-dir/in"), b"in").unwrap();
        std::fs::write(at("a/b/large"), b"small now").unwrap();
        std::fs::remove_file(at("dangling")).unwrap();
        std::fs::write(at("dangling"), b"a file now").unwrap();
    } else {
        std::fs::write(at("a/empty"), b"back").unwrap();
        std::fs::remove_dir_all(at("a/b")).unwrap();
        std::fs::remove_file(at("replaced/new")).unwrap();
        std::fs::create_dir(at("replaced/old")).unwrap();
    }
}

#[test]
fn a_view_hides_what_upper_layers_delete() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let meta = layer::Meta::file(1, 0o644);
    let write = |dir: &Path, make: &dyn Fn(&mut Ingest)| {
        let mut ingest = Ingest::create(dir).unwrap();
        make(&mut ingest);
        ingest.finish().unwrap();
    };
    write(dirs[0].path(), &|ingest| {
        for name in ["d/a", "d/b", "o/a", "f", "x/y/z"] {
            ingest.append_bytes(name.as_bytes(), &meta, b"0").unwrap();
        }
    });
    write(dirs[1].path(), &|ingest| {
        ingest.whiteout(b"d/a").unwrap();
        ingest.opaque(b"o").unwrap();
        ingest.append_bytes(b"o/b", &meta, b"1").unwrap();
        ingest.append_bytes(b"x/y", &meta, b"1").unwrap();
        ingest.append_bytes(b"f/g", &meta, b"1").unwrap();
    });
    write(dirs[2].path(), &|ingest| {
        ingest.append_bytes(b"d/a", &meta, b"2").unwrap();
        ingest.append_bytes(b"x/y/w", &meta, b"2").unwrap();
        ingest
            .append_bytes(b"link", &layer::Meta::symlink("/x/../d"), b"")
            .unwrap();
        ingest
            .append_bytes(b"loop", &layer::Meta::symlink("loop"), b"")
            .unwrap();
    });
    let view = View::new(dirs.iter().map(|dir| open(dir.path())).collect());
    let names: Vec<_> = view
        .walk(b"", view.root().unwrap().unwrap())
        .map(|entry| String::from_utf8(entry.unwrap().0).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "", "d", "d/a", "d/b", "f", "f/g", "link", "loop", "o", "o/b", "x", "x/y", "x/y/w"
        ]
    );
    let (path, node) = view.locate(b"link/a", Follow::Yes).unwrap().unwrap();
    assert_eq!((&path[..], node.top().layer), (&b"d/a"[..], 2));
    assert_eq!(
        view.lookup(b"d/b", Follow::Yes)
            .unwrap()
            .unwrap()
            .top()
            .layer,
        0
    );
    assert!(view.lookup(b"x/y/z", Follow::Yes).unwrap().is_none());
    assert!(view.lookup(b"loop/", Follow::No).is_err());
    assert_eq!(
        view.lookup(b"loop", Follow::No).unwrap().unwrap().kind(),
        FileType::Symlink
    );
}

#[test]
fn the_root_is_as_the_topmost_layer_has_it_that_says_something_of_it() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let write = |number: usize, what: &dyn Fn(&mut layer::Ingest)| {
        let mut ingest = layer::Ingest::create(dirs[number].path()).unwrap();
        what(&mut ingest);
        ingest.finish().unwrap();
    };
    let mut meta = layer::Meta::dir(0o711);
    (meta.uid, meta.gid) = (5, 6);
    meta.mtime = layer::Time { secs: 7, nanos: 0 };
    let file = layer::Meta::file(1, 0o644);
    write(0, &|ingest| {
        ingest.append_bytes(b".", &meta, b"").unwrap();
        ingest.append_bytes(b"d/a", &file, b"1").unwrap();
    });
    write(1, &|ingest| {
        ingest.append_bytes(b"d/b", &file, b"2").unwrap();
    });
    write(2, &|ingest| {
        let mut meta = meta.clone();
        meta.mode = 0o700;
        ingest.append_bytes(b".", &meta, b"").unwrap();
    });
    let root = |layers: usize| {
        let view = View::new(dirs[..layers].iter().map(|dir| open(dir.path())).collect());
        let stat = view.stat(&view.root().unwrap().unwrap()).unwrap();
        (stat.mode, stat.uid, stat.gid, stat.mtime.secs)
    };
    assert_eq!(root(1), (0o711, 5, 6, 7));
    assert_eq!(root(2), (0o711, 5, 6, 7));
    assert_eq!(root(3), (0o700, 5, 6, 7));
}
