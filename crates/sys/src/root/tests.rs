use super::*;

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    std::fs::write(dir.path().join("secret"), b"outside").unwrap();
    let root = Root::open(&dir.path().join("root")).unwrap();
    (dir, root)
}

fn p(path: &str) -> &Path {
    Path::new(path)
}

#[test]
fn links_and_dots_stay_inside() {
    let (dir, root) = root();
    std::fs::write(dir.path().join("root/secret"), b"inside").unwrap();
    root.symlink(OsStr::new("/secret"), p("absolute")).unwrap();
    root.symlink(OsStr::new("../../../secret"), p("up"))
        .unwrap();
    for name in ["absolute", "up", "../../secret", "/secret", "secret"] {
        let text = io::read_to_string(root.open_file(p(name)).unwrap()).unwrap();
        assert_eq!(text, "inside", "{name}");
    }
}

#[test]
fn metadata_calls_never_follow_the_last_link() {
    let (dir, root) = root();
    let secret = dir.path().join("secret");
    let before = std::fs::metadata(&secret).unwrap();
    root.symlink(secret.as_os_str(), p("link")).unwrap();
    assert_eq!(
        root.chmod(p("link"), 0o777)
            .unwrap_err()
            .source
            .raw_os_error(),
        Some(libc::ELOOP)
    );
    root.set_mtime(p("link"), Time { secs: 5, nanos: 6 })
        .unwrap();
    assert_eq!(
        root.stat(p("link")).unwrap().mtime,
        Time { secs: 5, nanos: 6 }
    );
    assert_eq!(root.stat(p("link")).unwrap().kind, Kind::Symlink);
    root.set_xattr(p("link"), OsStr::new("user.x"), b"1")
        .unwrap_err();
    root.create(p("link"), 0o644).unwrap_err();
    root.remove_all(p("link")).unwrap();
    let after = std::fs::metadata(&secret).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&before),
        std::os::unix::fs::MetadataExt::mode(&after)
    );
}

#[test]
fn refusing_links_refuses_them_on_the_way() {
    let (_dir, root) = root();
    root.mkdir(p("real"), 0o755).unwrap();
    root.symlink(OsStr::new("real"), p("alias")).unwrap();
    root.create(p("alias/one"), 0o600).unwrap();
    let root = root.with_links(Links::Refuse);
    assert_eq!(
        root.create(p("alias/two"), 0o600)
            .unwrap_err()
            .source
            .raw_os_error(),
        Some(libc::ELOOP)
    );
    root.create(p("/real/two"), 0o600).unwrap();
    root.create(p("../escape"), 0o600).unwrap_err();
}

#[test]
fn mkdir_all_tells_what_it_made_and_goes_through_links() {
    let (_dir, root) = root();
    root.mkdir_all(p("/a/b"), 0o755).unwrap();
    root.symlink(OsStr::new("/a"), p("l")).unwrap();
    assert_eq!(
        root.mkdir_all(p("l/b/c/d"), 0o755).unwrap(),
        [p("l/b/c"), p("l/b/c/d")]
    );
    assert_eq!(root.stat(p("a/b/c/d")).unwrap().kind, Kind::Dir);
    root.create(p("f"), 0o600).unwrap();
    root.mkdir_all(p("f/x"), 0o755).unwrap_err();
    root.symlink(OsStr::new("nowhere"), p("dangling")).unwrap();
    root.mkdir_all(p("dangling/x"), 0o755).unwrap_err();
    assert!(root.mkdir_all(p("/"), 0o755).unwrap().is_empty());
}

#[test]
fn remove_all_takes_deep_trees_and_leaves_link_targets() {
    let (dir, root) = root();
    std::fs::create_dir(dir.path().join("keep")).unwrap();
    std::fs::write(dir.path().join("keep/file"), b"x").unwrap();
    let mut path = PathBuf::from("t");
    for _ in 0..60 {
        path.push("deep");
    }
    root.mkdir_all(&path, 0o755).unwrap();
    root.symlink(dir.path().join("keep").as_os_str(), p("t/link"))
        .unwrap();
    root.create(p("t/deep/file"), 0o600).unwrap();
    root.remove_all(p("t")).unwrap();
    assert!(root.entries().unwrap().is_empty());
    assert!(dir.path().join("keep/file").exists());
    root.remove_all(p("t")).unwrap();
}

#[test]
fn fifos_are_never_opened() {
    let (_dir, root) = root();
    root.mknod(p("pipe"), Kind::Fifo, 0o600, (0, 0)).unwrap();
    assert_eq!(
        root.open_file(p("pipe")).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        root.read_dir(p("/")).unwrap(),
        [Entry {
            name: "pipe".into(),
            kind: Kind::Fifo
        }]
    );
}

#[test]
fn attributes_modes_and_names_of_odd_bytes() {
    let (_dir, root) = root();
    let name = Path::new(OsStr::from_bytes(b"caf\xe9\n"));
    root.create(name, 0o600).unwrap();
    root.chmod(name, 0o4751).unwrap();
    root.set_xattr(name, OsStr::new("user.b"), b"\0\xff")
        .unwrap();
    root.set_xattr(name, OsStr::new("user.a"), b"").unwrap();
    assert_eq!(root.stat(name).unwrap().mode, 0o4751);
    let all = root.xattrs(name).unwrap();
    assert_eq!(
        all,
        [("user.a".into(), vec![]), ("user.b".into(), vec![0, 255])]
    );
    assert_eq!(root.xattr(name, OsStr::new("user.none")).unwrap(), None);
    root.hard_link(name, p("second")).unwrap();
    assert_eq!(root.stat(p("second")).unwrap().nlink, 2);
    root.chown(p("second"), u32::MAX, 0).unwrap_err();
    assert!(
        root.stat(p("missing"))
            .unwrap_err()
            .to_string()
            .contains("cannot stat `")
    );
}
