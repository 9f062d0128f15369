//! Sizes at which 32 bits, or a careless loop, end.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use layer::tar::{self, BLOCK};
use layer::{Follow, Index, Ingest, LayerFiles, Meta, View, reindex};

use crate::mounted::{Mount, unpack_options};

/// A file of 5 GiB in place and one behind it, in a tar that is mostly a hole and so costs nothing.
#[test]
fn priv_files_beyond_four_gib_are_read_in_place() {
    const SIZE: u64 = (5 << 30) + 7;
    let dir = tempfile::tempdir().unwrap();
    let files = LayerFiles::in_dir(dir.path());
    let archive = File::create_new(&files.tar).unwrap();
    let mut head = Vec::new();
    tar::header(b"large", &Meta::file(SIZE, 0o644), &mut head);
    archive.write_all_at(&head, 0).unwrap();
    let end = head.len() as u64 + SIZE;
    archive.write_all_at(b"the end", end - 7).unwrap();
    let mut next = Vec::new();
    tar::header(b"behind", &Meta::file(4, 0o644), &mut next);
    next.extend_from_slice(b"data");
    next.resize(next.len().next_multiple_of(BLOCK), 0);
    next.extend_from_slice(&tar::TRAILER);
    archive
        .write_all_at(&next, end.next_multiple_of(BLOCK as u64))
        .unwrap();
    let any = oci::DiffId::from_digest(oci::Digest::sha256_of(b""));
    assert!(!reindex(&files, any).unwrap().side);

    let view = View::new(vec![Index::open(&files).unwrap()]);
    let find = |path: &[u8]| view.lookup(path, Follow::No).unwrap().unwrap();
    let large = view.open(&find(b"large")).unwrap();
    let mut last = [0; 7];
    assert_eq!(
        (large.len(), large.read_at(&mut last, SIZE - 7).unwrap()),
        (SIZE, 7)
    );
    assert_eq!(&last, b"the end");
    let behind = view.open(&find(b"behind")).unwrap();
    let mut data = [0; 4];
    assert_eq!(behind.read_at(&mut data, 0).unwrap(), 4);
    assert_eq!(&data, b"data");

    let test = "priv_files_beyond_four_gib_are_read_in_place";
    if let Some(mount) = Mount::new(test, dir.path()) {
        let large = File::open(mount.path().join("large")).unwrap();
        assert_eq!(large.metadata().unwrap().len(), SIZE);
        last.fill(0);
        large.read_exact_at(&mut last, SIZE - 7).unwrap();
        assert_eq!(&last, b"the end");
        assert_eq!(std::fs::read(mount.path().join("behind")).unwrap(), b"data");
    }
}

/// A directory with 100,000 names, and 1,000 with a hundred each.
#[test]
fn priv_many_entries_are_all_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    let meta = Meta::file(1, 0o644);
    let name = |number: u32| {
        format!(
            "wide/entry-number-{:06}",
            number.wrapping_mul(7919) % 100_000
        )
    };
    for number in 0..100_000 {
        ingest
            .append_bytes(name(number).as_bytes(), &meta, b"x")
            .unwrap();
        let other = format!("many/{}/{}", number % 1000, number / 1000);
        ingest.append_bytes(other.as_bytes(), &meta, b"y").unwrap();
    }
    ingest.finish().unwrap();
    let view = View::new(vec![Index::open(&LayerFiles::in_dir(dir.path())).unwrap()]);
    let wide = view.lookup(b"wide", Follow::No).unwrap().unwrap();
    let listed = view.read_dir(&wide).unwrap();
    assert_eq!(listed.len(), 100_000);
    assert!(listed.is_sorted_by(|a, b| a.name < b.name));
    for number in (0..100_000).step_by(997) {
        assert!(
            view.lookup(name(number).as_bytes(), Follow::No)
                .unwrap()
                .is_some()
        );
    }
    assert!(
        view.lookup(b"wide/entry-number-1", Follow::No)
            .unwrap()
            .is_none()
    );
    if let Some(mount) = Mount::new("priv_many_entries_are_all_found", dir.path()) {
        assert_eq!(
            std::fs::read_dir(mount.path().join("wide"))
                .unwrap()
                .count(),
            100_000
        );
        for number in (0..100_000).step_by(997) {
            assert_eq!(
                std::fs::read(mount.path().join(name(number))).unwrap(),
                b"x"
            );
        }
        assert_eq!(
            std::fs::read(mount.path().join("many/999/99")).unwrap(),
            b"y"
        );
    }
}

/// As deep as a path can be: nothing here may recurse.
#[test]
fn priv_the_deepest_path_is_walked() {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    let path = "d/".repeat(2046) + "f";
    ingest
        .append_bytes(path.as_bytes(), &Meta::file(1, 0o644), b"x")
        .unwrap();
    ingest.finish().unwrap();
    let index = Index::open(&LayerFiles::in_dir(dir.path())).unwrap();
    let view = View::new(vec![index.clone()]);
    assert_eq!(view.walk(b"", view.root().unwrap().unwrap()).count(), 2048);
    assert!(view.lookup(path.as_bytes(), Follow::No).unwrap().is_some());
    let out = tempfile::tempdir().unwrap();
    let root = sys::root::Root::open(out.path()).unwrap();
    layer::unpack(&index, &root, &unpack_options()).unwrap();
    assert_eq!(root.stat(path.as_ref()).unwrap().size, 1);
    if let Some(mount) = Mount::new("priv_the_deepest_path_is_walked", dir.path()) {
        let root = sys::root::Root::open(mount.path()).unwrap();
        assert_eq!(root.stat(path.as_ref()).unwrap().size, 1);
    }
}
