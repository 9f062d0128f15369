//! Archives that want something else than to be unpacked. `docs/security.md` names the promise behind each test.

use std::io::Read;
use std::path::Path;

use layer::tar::{self, BLOCK, Problem};
use layer::{
    EntryError, FileType, Follow, Index, Ingest, IngestError, Kind, LayerFiles, Meta, View,
    path::PathError, unpack,
};
use sys::root::Root;

use crate::mounted::unpack_options;

/// An archive made of raw parts.
#[derive(Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn entry(mut self, path: &str, meta: &Meta, data: &[u8]) -> Self {
        tar::header(path.as_bytes(), meta, &mut self.0);
        self.data(data)
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(path, &Meta::file(data.len() as u64, 0o644), data)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, &Meta::symlink(target), b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        let target = target.as_bytes().to_vec();
        self.entry(path, &Meta::new(Kind::HardLink { target }, 0o644), b"")
    }

    /// A header as it is wanted, with a right checksum. The name is taken literally.
    pub(crate) fn raw(
        mut self,
        name: &[u8],
        flag: u8,
        size: u64,
        change: impl FnOnce(&mut [u8]),
    ) -> Self {
        let mut block = Vec::new();
        tar::header(b"x", &Meta::file(size, 0o644), &mut block);
        block[..100].fill(0);
        block[..name.len()].copy_from_slice(name);
        block[156] = flag;
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        self.extended(b'x', records)
    }

    pub(crate) fn extended(self, flag: u8, records: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
            body.push_str(&format!("{length} {key}={value}\n"));
        }
        self.raw(b"pax", flag, body.len() as u64, |_| {})
            .data(body.as_bytes())
    }

    pub(crate) fn long(self, flag: u8, text: &[u8]) -> Self {
        self.raw(b"././@LongLink", flag, text.len() as u64, |_| {})
            .data(text)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&tar::TRAILER);
        self.0
    }
}

pub(crate) fn try_ingest(
    bytes: &[u8],
) -> (tempfile::TempDir, Result<layer::Finished, IngestError>) {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    let result = ingest
        .copy_tar(&mut { bytes })
        .and_then(|()| ingest.finish());
    (dir, result)
}

#[track_caller]
pub(crate) fn layer(archive: Archive) -> (tempfile::TempDir, View) {
    let (dir, result) = try_ingest(&archive.end());
    result.unwrap();
    let index = Index::open(&LayerFiles::in_dir(dir.path())).unwrap();
    (dir, View::new(vec![index]))
}

#[track_caller]
pub(crate) fn entry_error(archive: Archive) -> EntryError {
    match try_ingest(&archive.end()).1 {
        Err(IngestError::Entry { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// The problem that both readers find.
#[track_caller]
pub(crate) fn problem(archive: Archive) -> Problem {
    let bytes = archive.end();
    let pushed = match try_ingest(&bytes).1 {
        Err(IngestError::Tar(tar::Error::Format { problem, .. })) => problem,
        other => panic!("{other:?}"),
    };
    let mut reader = tar::Reader::new(&bytes[..]);
    let pulled = loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Err(tar::Error::Format { problem, .. }) => break problem,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pushed, pulled);
    pushed
}

pub(crate) fn names(view: &View) -> Vec<String> {
    view.walk(b"", view.root().unwrap().unwrap())
        .map(|entry| String::from_utf8(entry.unwrap().0).unwrap())
        .collect()
}

pub(crate) fn read(view: &View, path: &str) -> Option<String> {
    let node = view.lookup(path.as_bytes(), Follow::No).unwrap()?;
    let mut text = String::new();
    view.open(&node).unwrap().read_to_string(&mut text).unwrap();
    Some(text)
}

#[test]
fn names_that_climb_are_refused_and_absolute_ones_stay_inside() {
    for name in ["../a", "a/../../b", "a/..", ".."] {
        let bad = Archive::default().raw(name.as_bytes(), b'0', 0, |_| {});
        assert_eq!(
            entry_error(bad),
            EntryError::Path(PathError::Parent),
            "{name}"
        );
        let bad = Archive::default().file("f", b"").hard_link("l", name);
        assert_eq!(
            entry_error(bad),
            EntryError::LinkTarget(PathError::Parent),
            "{name}"
        );
    }
    let (_dir, view) = layer(
        Archive::default()
            .raw(b"/etc//./shadow", b'0', 0, |_| {})
            .hard_link("l", "/etc/shadow"),
    );
    assert_eq!(names(&view), ["", "etc", "etc/shadow", "l"]);
}

#[test]
fn a_member_below_a_link_stays_inside_also_when_unpacked() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let archive = Archive::default()
        .symlink("abs", target)
        .file("abs/planted", b"inside")
        .symlink("up", "../../../..")
        .file("up/at-root", b"inside")
        .file("abs/.wh.victim", b"")
        .entry("abs/dir", &Meta::dir(0o777), b"");
    std::fs::write(outside.path().join("victim"), b"alive").unwrap();
    let (_dir, view) = layer(archive);
    assert_eq!(
        read(&view, &format!("{}/planted", &target[1..])).unwrap(),
        "inside"
    );
    assert_eq!(read(&view, "at-root").unwrap(), "inside");
    let out = tempfile::tempdir().unwrap();
    unpack(
        &view.layers()[0],
        &Root::open(out.path()).unwrap(),
        &unpack_options(),
    )
    .unwrap();
    assert!(out.path().join("at-root").exists());
    assert!(out.path().join(&target[1..]).join("planted").exists());
    let left: Vec<_> = std::fs::read_dir(outside.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["victim"]);
}

#[test]
fn links_in_a_circle_are_an_error_and_a_long_chain_too() {
    let circle = Archive::default()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"");
    assert_eq!(entry_error(circle), EntryError::Links);
    let mut chain = Archive::default().entry("l0", &Meta::dir(0o755), b"");
    for number in 1..70 {
        chain = chain.symlink(&format!("l{number}"), &format!("l{}", number - 1));
    }
    assert_eq!(entry_error(chain.file("l69/x", b"")), EntryError::Links);
    let grows = Archive::default()
        .symlink("a", &"a/".repeat(2000))
        .file("a/x", b"");
    assert!(matches!(
        entry_error(grows),
        EntryError::Links | EntryError::Path(PathError::TooLong)
    ));
}

#[test]
fn a_directory_over_a_link_replaces_the_link() {
    let archive = Archive::default()
        .entry("target", &Meta::dir(0o700), b"")
        .symlink("link", "target")
        .entry("link", &Meta::dir(0o777), b"");
    let (_dir, view) = layer(archive);
    let stat = |path: &[u8]| {
        view.stat(&view.lookup(path, Follow::No).unwrap().unwrap())
            .unwrap()
    };
    assert_eq!(
        (stat(b"target").mode, stat(b"link").mode, stat(b"link").kind),
        (0o700, 0o777, FileType::Dir)
    );
}

#[test]
fn a_hard_link_to_a_link_is_one_more_link() {
    let (_dir, view) = layer(
        Archive::default()
            .file("f", b"x")
            .symlink("s", "f")
            .hard_link("h", "s"),
    );
    let node = view.lookup(b"h", Follow::No).unwrap().unwrap();
    assert_eq!(view.stat(&node).unwrap().kind, FileType::Symlink);
    assert_eq!(view.stat(&node).unwrap().nlink, 2);
}

#[test]
fn hard_links_reach_only_what_the_layer_has_had() {
    assert_eq!(
        entry_error(
            Archive::default()
                .hard_link("l", "later")
                .file("later", b"")
        ),
        EntryError::LinkMissing
    );
    assert_eq!(
        entry_error(Archive::default().hard_link("l", "etc/shadow")),
        EntryError::LinkMissing
    );
    assert_eq!(
        entry_error(
            Archive::default()
                .entry("d", &Meta::dir(0o755), b"")
                .hard_link("l", "d")
        ),
        EntryError::LinkToDirectory
    );
    assert_eq!(
        entry_error(Archive::default().file(".wh.a", b"").hard_link("l", "a")),
        EntryError::LinkMissing
    );
    // To itself it changes nothing.
    let (_dir, view) = layer(Archive::default().file("a", b"x").hard_link("a", "a"));
    assert_eq!(read(&view, "a").unwrap(), "x");
}

#[test]
fn the_root_stays_a_directory() {
    for name in ["./", "/", ".", "././"] {
        let root =
            |flag| Archive::default().raw(name.as_bytes(), flag, 0, |block| block[157] = b'x');
        assert_eq!(entry_error(root(b'2')), EntryError::Root, "{name}");
        let (_dir, view) = layer(root(b'5'));
        assert_eq!(names(&view), [""]);
    }
}

#[test]
fn deletions_of_what_is_not_in_a_directory_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", "/.wh..", "a/.wh."] {
        assert_eq!(
            entry_error(Archive::default().file(name, b"")),
            EntryError::Whiteout,
            "{name}"
        );
    }
    assert_eq!(
        entry_error(Archive::default().file(".wh.a/b", b"")),
        EntryError::Reserved
    );
    assert_eq!(
        entry_error(Archive::default().entry(".wh.a", &Meta::dir(0o755), b"")),
        EntryError::Reserved
    );
    let (dir, _view) = layer(
        Archive::default()
            .file("/.wh.etc", b"")
            .file("/usr/.wh.lib", b"")
            .file(".wh..wh..opq", b""),
    );
    let index = Index::open(&LayerFiles::in_dir(dir.path())).unwrap();
    assert_eq!(
        index.lookup(index.root(), b"etc").unwrap().unwrap().1,
        FileType::Whiteout
    );
    assert!(index.stat(index.root()).unwrap().opaque);
}

#[test]
fn deletions_speak_of_lower_layers_only_in_any_order() {
    let whole = |archive: Archive| {
        let (dir, _) = layer(archive);
        let index = Index::open(&LayerFiles::in_dir(dir.path())).unwrap();
        let (node, kind) = index.lookup(index.root(), b"a").unwrap().unwrap();
        (
            kind,
            kind == FileType::Dir && index.stat(node).unwrap().opaque,
        )
    };
    let new = Archive::default;
    assert_eq!(whole(new().file(".wh.a", b"")), (FileType::Whiteout, false));
    assert_eq!(
        whole(new().file(".wh.a", b"").file("a", b"x")),
        (FileType::File, false)
    );
    assert_eq!(
        whole(new().file("a", b"x").file(".wh.a", b"")),
        (FileType::File, false)
    );
    assert_eq!(
        whole(new().file(".wh.a", b"").file("a/b", b"x")),
        (FileType::Dir, true)
    );
    assert_eq!(
        whole(new().file("a/b", b"x").file(".wh.a", b"")),
        (FileType::Dir, true)
    );
    assert_eq!(
        whole(new().file("a/.wh..wh..opq", b"").file("a/b", b"")),
        (FileType::Dir, true)
    );
}

#[test]
fn the_bookkeeping_of_aufs_is_no_content() {
    let archive = Archive::default()
        .entry(".wh..wh.plnk", &Meta::dir(0o700), b"")
        .file(".wh..wh.plnk/1.2", b"x")
        .file(".wh..wh.aufs", b"")
        .file("a", b"");
    assert_eq!(names(&layer(archive).1), ["", "a"]);
}

#[test]
fn nothing_that_overlayfs_obeys_comes_in() {
    let pairs = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
        "trusted.overlay.overlay.whiteout",
        "user.overlay.whiteout",
    ];
    let mut meta = Meta::dir(0o755);
    meta.xattrs = pairs
        .iter()
        .map(|name| (name.as_bytes().to_vec(), b"y".to_vec()))
        .collect();
    meta.xattrs.push((b"user.kept".to_vec(), b"y".to_vec()));
    let device = Meta::new(Kind::CharDevice { major: 0, minor: 0 }, 0o600);
    let archive = Archive::default()
        .entry("d", &meta, b"")
        .file("was-there", b"x")
        .entry("was-there", &device, b"")
        .entry("whiteout", &device, b"");
    let (dir, view) = layer(archive);
    assert_eq!(names(&view), ["", "d"]);
    let node = view.lookup(b"d", Follow::No).unwrap().unwrap();
    let stat = view.stat(&node).unwrap();
    assert_eq!(stat.xattrs, [(b"user.kept".to_vec(), b"y".to_vec())]);
    assert!(!stat.opaque);
    let index = std::fs::read(dir.path().join("index.erofs")).unwrap();
    assert!(!index.windows(8).any(|part| part == b"overlay."));
}

/// A link in a lower layer and a file below its name in an upper one: the directory hides the link, nothing is followed.
#[test]
fn a_link_planted_in_a_lower_layer_is_not_followed_from_an_upper_one() {
    let (lower, _) = layer(
        Archive::default()
            .entry("etc", &Meta::dir(0o755), b"")
            .symlink("plant", "etc"),
    );
    let (upper, alone) = layer(Archive::default().file("plant/passwd", b"evil"));
    let open = |dir: &tempfile::TempDir| Index::open(&LayerFiles::in_dir(dir.path())).unwrap();
    let view = View::new(vec![open(&lower), open(&upper)]);
    assert_eq!(names(&view), ["", "etc", "plant", "plant/passwd"]);
    let out = tempfile::tempdir().unwrap();
    unpack(
        &alone.layers()[0],
        &Root::open(out.path()).unwrap(),
        &unpack_options(),
    )
    .unwrap();
    assert!(
        std::fs::symlink_metadata(out.path().join("plant"))
            .unwrap()
            .is_dir()
    );
}

#[test]
fn unpacking_refuses_to_follow_what_is_in_its_way() {
    let (_dir, view) = layer(Archive::default().file("d/f", b"x"));
    let (out, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), out.path().join("d")).unwrap();
    assert!(
        unpack(
            &view.layers()[0],
            &Root::open(out.path()).unwrap(),
            &unpack_options()
        )
        .is_err()
    );
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_shared_layer_is_not_touched_by_what_is_unpacked_from_it() {
    let (dir, view) = layer(Archive::default().file("f", &[9; 5000]));
    let before = std::fs::read(dir.path().join("layer.tar")).unwrap();
    let out = tempfile::tempdir().unwrap();
    unpack(
        &view.layers()[0],
        &Root::open(out.path()).unwrap(),
        &unpack_options(),
    )
    .unwrap();
    std::fs::write(out.path().join("f"), b"changed").unwrap();
    assert_eq!(std::fs::read(dir.path().join("layer.tar")).unwrap(), before);
    assert_eq!(read(&view, "f").unwrap().len(), 5000);
}

#[test]
fn a_damaged_index_gives_data_or_errors() {
    let (dir, _) = layer(
        Archive::default()
            .file("a/b/c", b"text")
            .symlink("l", &"t".repeat(600))
            .file(&"n".repeat(200), b"")
            .file("z", &[1; 3000]),
    );
    let files = LayerFiles::in_dir(dir.path());
    let good = std::fs::read(&files.index).unwrap();
    let check = |bytes: &[u8]| {
        std::fs::write(&files.index, bytes).unwrap();
        let Ok(index) = Index::open(&files) else {
            return;
        };
        let view = View::new(vec![index]);
        let Ok(Some(root)) = view.root() else { return };
        for entry in view.walk(b"", root).take(10_000) {
            let Ok((_, node)) = entry else { continue };
            let Ok(stat) = view.stat(&node) else { continue };
            match stat.kind {
                FileType::File => {
                    let mut sink = Vec::new();
                    view.open(&node)
                        .map(|file| file.take(1 << 20).read_to_end(&mut sink).ok())
                        .ok();
                }
                FileType::Symlink => drop(view.read_link(&node)),
                _ => {}
            }
        }
        view.lookup(b"a/b/c", Follow::Yes).ok();
    };
    for length in (0..good.len()).step_by(37) {
        check(&good[..length]);
    }
    // The superblock has a checksum, so damage behind it is what goes further.
    for at in 1536..good.len() {
        for value in [0, 0xff, good[at] ^ 1, good[at].wrapping_add(1)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            check(&bytes);
        }
    }
    assert!(Path::new(&files.index).exists());
}
