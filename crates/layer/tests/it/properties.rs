//! What holds for every archive: generated, and then damaged.

use std::collections::BTreeMap;
use std::io::Read as _;

use layer::tar::{self, BLOCK};
use layer::{
    FileType, Index, Ingest, IngestError, Kind, LayerFiles, Meta, Stat, Time, View, reindex,
};
use proptest::prelude::*;

use crate::hostile::{Archive, try_ingest};

/// Names that meet often. Those with an `s` are links and never in the middle of a path.
fn paths() -> impl Strategy<Value = String> {
    let middle = prop::collection::vec(prop::sample::select(vec!["a", "b", "dir", "ü"]), 0..4);
    let last = prop_oneof![
        prop::sample::select(vec!["a", "b", "dir", "f", "ü", "!", "...", "-"])
            .prop_map(str::to_owned),
        (1usize..256).prop_map(|length| "n".repeat(length)),
    ];
    (middle, last).prop_map(|(mut parts, last)| {
        parts.push(&last);
        parts.join("/")
    })
}

#[derive(Debug, Clone)]
enum What {
    File(Vec<u8>),
    Dir,
    Symlink(String),
    Device(u32, u32),
    Fifo,
    HardLink(String),
}

fn whats() -> impl Strategy<Value = What> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..2000).prop_map(What::File),
        4 => Just(What::Dir),
        2 => "[a-z/.]{1,300}".prop_map(What::Symlink),
        1 => (1u32..4096, 0u32..(1 << 20)).prop_map(|(major, minor)| What::Device(major, minor)),
        1 => Just(What::Fifo),
        3 => paths().prop_map(What::HardLink),
    ]
}

fn metas() -> impl Strategy<Value = Meta> {
    let time = prop_oneof![
        Just(Time::ZERO),
        (any::<i32>(), prop_oneof![Just(0), 0u32..1_000_000_000]).prop_map(|(secs, nanos)| Time {
            secs: secs.into(),
            nanos
        }),
        (-(1i64 << 40)..(1 << 40)).prop_map(Time::from_secs),
    ];
    let owner = || {
        prop_oneof![
            Just(0),
            0u32..70_000,
            any::<u32>().prop_map(|id| id.min(u32::MAX - 1))
        ]
    };
    let xattrs = prop::collection::btree_map(
        prop::sample::select(vec![
            "user.a",
            "user.b=%",
            "trusted.c",
            "security.capability",
        ]),
        prop::collection::vec(any::<u8>(), 0..40),
        0..3,
    );
    (0u32..0o10000, owner(), owner(), time, xattrs).prop_map(|(mode, uid, gid, mtime, xattrs)| {
        Meta {
            kind: Kind::Dir,
            mode,
            uid,
            gid,
            mtime,
            xattrs: xattrs
                .into_iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value))
                .collect(),
        }
    })
}

/// What the layer should show: for each path its metadata and content, and which entry made it.
#[derive(Default)]
struct Model(BTreeMap<String, (Meta, Vec<u8>, usize)>);

impl Model {
    /// `false` if the entry must be refused.
    fn add(&mut self, number: usize, path: &str, meta: &Meta, data: &[u8]) -> bool {
        for (at, _) in path.match_indices('/') {
            match self.0.get(&path[..at]) {
                Some((parent, ..)) if parent.kind != Kind::Dir => return false,
                _ => {}
            }
        }
        let mut item = (meta.clone(), data.to_vec(), number);
        if let Kind::HardLink { target } = &meta.kind {
            match self.0.get(std::str::from_utf8(target).unwrap()) {
                Some(found) if found.0.kind != Kind::Dir => item = found.clone(),
                _ => return false,
            }
        }
        for (at, _) in path.match_indices('/') {
            let implied = || (Meta::dir(0o755), Vec::new(), usize::MAX);
            self.0.entry(path[..at].to_owned()).or_insert_with(implied);
        }
        if item.0.kind != Kind::Dir {
            let below = format!("{path}/");
            self.0.retain(|name, _| !name.starts_with(&below));
        }
        self.0.insert(path.to_owned(), item);
        true
    }
}

fn as_meta(stat: &Stat, target: Vec<u8>) -> Meta {
    let mut meta = stat.to_meta(target).unwrap();
    meta.xattrs.sort();
    meta
}

fn check_view(view: &View, model: &Model) {
    let mut seen = BTreeMap::new();
    for entry in view.walk(b"", view.root().unwrap().unwrap()) {
        let (path, node) = entry.unwrap();
        if path.is_empty() {
            continue;
        }
        let stat = view.stat(&node).unwrap();
        let mut data = Vec::new();
        let mut target = Vec::new();
        match stat.kind {
            FileType::File => drop(view.open(&node).unwrap().read_to_end(&mut data).unwrap()),
            FileType::Symlink => target = view.read_link(&node).unwrap(),
            _ => {}
        }
        let path = String::from_utf8(path).unwrap();
        let found = view.lookup(path.as_bytes(), layer::Follow::No).unwrap();
        assert_eq!(found.as_ref(), Some(&node), "{path}");
        seen.insert(path, (as_meta(&stat, target), data, stat.nlink));
    }
    let names = |number: usize| model.0.values().filter(|item| item.2 == number).count();
    let expected: BTreeMap<_, _> = model
        .0
        .iter()
        .map(|(path, (meta, data, number))| {
            let mut meta = meta.clone();
            // A link has no permissions of its own.
            if matches!(meta.kind, Kind::Symlink { .. }) {
                meta.mode = 0o777;
            }
            let below = format!("{path}/");
            let inside = |name: &String| {
                name.strip_prefix(&below)
                    .is_some_and(|rest| !rest.contains('/'))
            };
            let dirs = model
                .0
                .iter()
                .filter(|(name, item)| inside(name) && item.0.kind == Kind::Dir);
            let nlink = if meta.kind == Kind::Dir {
                2 + dirs.count()
            } else {
                names(*number)
            };
            (
                path.clone(),
                (meta, data.clone(), u32::try_from(nlink).unwrap()),
            )
        })
        .collect();
    assert_eq!(seen, expected);
}

proptest! {
    #[test]
    fn what_is_appended_is_what_is_read_and_what_the_index_shows(
        entries in prop::collection::vec((paths(), whats(), metas()), 0..40)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut ingest = Ingest::create(dir.path()).unwrap();
        let mut model = Model::default();
        let mut appended = Vec::new();
        for (number, (path, what, mut meta)) in entries.into_iter().enumerate() {
            let mut data = Vec::new();
            meta.kind = match what {
                What::File(bytes) => {
                    data = bytes;
                    Kind::File { size: data.len() as u64 }
                }
                What::Dir => Kind::Dir,
                What::Symlink(target) => Kind::Symlink { target: target.into_bytes() },
                What::Device(major, minor) => Kind::BlockDevice { major, minor },
                What::Fifo => Kind::Fifo,
                What::HardLink(target) => Kind::HardLink { target: target.into_bytes() },
            };
            // Links make other parents of paths; that is what `hostile` looks at.
            let path = if matches!(meta.kind, Kind::Symlink { .. }) { format!("{path}s") } else { path };
            if path.len() > 255 && path.rsplit('/').next().unwrap().len() > 255 {
                continue;
            }
            match ingest.append_bytes(path.as_bytes(), &meta, &data) {
                Ok(_) => {
                    prop_assert!(model.add(number, &path, &meta, &data), "{path} should be refused");
                    appended.push((path, meta, data));
                }
                Err(IngestError::Entry { source, .. }) => {
                    prop_assert!(!model.add(number, &path, &meta, &data), "{path} should not be refused: {source}");
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        let done = ingest.finish().unwrap();
        let files = LayerFiles::in_dir(dir.path());
        check_view(&View::new(vec![Index::open(&files).unwrap()]), &model);

        let bytes = std::fs::read(&files.tar).unwrap();
        prop_assert_eq!(done.diff_id.digest(), &oci::Digest::sha256_of(&bytes));
        let mut reader = tar::Reader::new(&bytes[..]);
        for (path, meta, data) in &appended {
            let entry = reader.next().unwrap().unwrap();
            let name = if meta.kind == Kind::Dir { format!("{path}/") } else { path.clone() };
            prop_assert_eq!(entry.path, name.into_bytes());
            prop_assert_eq!(&entry.meta, meta);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            prop_assert_eq!(&read, data);
        }
        prop_assert!(reader.next().unwrap().is_none());

        let again = tempfile::tempdir().unwrap();
        let copy = LayerFiles { tar: files.tar.clone(), ..LayerFiles::in_dir(again.path()) };
        prop_assert_eq!(reindex(&copy, done.diff_id).unwrap(), done);
        prop_assert!(std::fs::read(&copy.index).unwrap() == std::fs::read(&files.index).unwrap());
    }

    /// Damage anywhere: no panic, and the reader that is handed bytes and the one that fetches them find the same.
    #[test]
    fn both_readers_agree_about_damaged_archives(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        mend in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = specimen();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if mend {
                mend_checksum(&mut bytes, at / BLOCK * BLOCK);
            }
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        agree(&bytes);
    }

    #[test]
    fn both_readers_agree_about_noise(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        agree(&bytes);
    }
}

fn agree(bytes: &[u8]) {
    let mut reader = tar::Reader::new(bytes);
    let pulled = loop {
        match reader.next() {
            Ok(None) => break None,
            Ok(Some(entry)) => {
                // A content is as long as its entry says, or the archive is truncated.
                let mut content = std::io::Read::take(&mut reader, 1 << 20);
                if let Ok(count) = std::io::copy(&mut content, &mut std::io::sink()) {
                    assert_eq!(count, entry.size().min(1 << 20));
                }
            }
            Err(tar::Error::Format { problem, .. }) => break Some(problem),
            Err(tar::Error::Read(error)) => panic!("{error}"),
        }
    };
    match (try_ingest(bytes).1, pulled) {
        (Ok(_), None) | (Err(IngestError::Entry { .. } | IngestError::TooFar), _) => {}
        (Err(IngestError::Tar(tar::Error::Format { problem, .. })), Some(other))
            if problem == other => {}
        (pushed, pulled) => panic!("{pushed:?} and {pulled:?}"),
    }
}

/// An archive with every kind of header in it.
fn specimen() -> Vec<u8> {
    let mut rich = Meta::file(700, 0o644);
    rich.mtime = Time { secs: -5, nanos: 7 };
    rich.xattrs.push((b"user.a".to_vec(), b"value".to_vec()));
    let gnu = include_bytes!("data/gnu-sparse-long.tar");
    let pax = include_bytes!("data/pax-sparse.tar");
    let mut archive = Archive::default()
        .entry("d", &Meta::dir(0o755), b"")
        .entry("d/rich", &rich, &[1; 700])
        .file(&"n".repeat(150), b"long")
        .entry("link", &Meta::symlink("t".repeat(200)), b"");
    for whole in [&gnu[..], pax] {
        // Without the zeros at the end.
        let end = whole
            .chunks_exact(BLOCK)
            .rposition(|block| block.iter().any(|byte| *byte != 0))
            .unwrap();
        archive.0.extend_from_slice(&whole[..(end + 1) * BLOCK]);
    }
    archive.end()
}

/// Makes the checksum of a header right again, as far as it is one.
fn mend_checksum(bytes: &mut [u8], at: usize) {
    let block = &mut bytes[at..at + BLOCK];
    if !block[257..].starts_with(b"ustar") {
        return;
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The same tree, the same digest: changing this one is a decision about every layer that will ever be built.
#[test]
fn the_digest_of_a_known_layer_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    let mut meta = Meta::file(5, 0o4755);
    meta.uid = 1000;
    meta.mtime = Time::from_secs(1_700_000_000);
    meta.xattrs.push((b"user.b".to_vec(), b"2".to_vec()));
    meta.xattrs.push((b"user.a".to_vec(), b"1".to_vec()));
    ingest.append_bytes(b"usr", &Meta::dir(0o755), b"").unwrap();
    ingest.append_bytes(b"usr/tool", &meta, b"hello").unwrap();
    let link = Kind::HardLink {
        target: b"usr/tool".to_vec(),
    };
    ingest
        .append_bytes(b"usr/same", &Meta::new(link, 0o4755), b"")
        .unwrap();
    ingest
        .append_bytes(b"bin", &Meta::symlink("usr"), b"")
        .unwrap();
    ingest
        .append_bytes(
            format!("usr/{}", "n".repeat(200)).as_bytes(),
            &Meta::file(0, 0o600),
            b"",
        )
        .unwrap();
    ingest.whiteout(b"etc/gone").unwrap();
    ingest.opaque(b"var").unwrap();
    let done = ingest.finish().unwrap();
    let index = std::fs::read(dir.path().join("index.erofs")).unwrap();
    let digests = [
        done.diff_id.to_string(),
        oci::Digest::sha256_of(&index).to_string(),
    ];
    assert_eq!(
        digests,
        [
            "sha256:a91773f65d10e6c6e74b50c895b3f4de2619b93aa8bcdc1e4d788e9dd2818097",
            "sha256:e6e5cf01d164b23dbb6a34362af0d973d17b8455a163e78442305b026262ff81",
        ]
    );
}
