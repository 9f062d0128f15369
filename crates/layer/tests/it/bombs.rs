//! Archives that are larger than they look.

use std::io::{Cursor, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;

use layer::tar::{self, BLOCK, Problem};
use layer::{EntryError, Ingest, IngestError, Kind, Meta, path::PathError};

use crate::hostile::{Archive, entry_error, problem, try_ingest};
use crate::mounted::unpack_options;

#[test]
fn what_would_fill_the_memory_is_refused_before_it_is_read() {
    let new = Archive::default;
    for flag in [b'x', b'g', b'L', b'K'] {
        assert_eq!(
            problem(new().raw(b"x", flag, 1 << 30, |_| {})),
            Problem::ExtendedTooLong
        );
    }
    let sparse = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "1"),
    ];
    let map = new()
        .pax(&sparse)
        .raw(b"f", b'0', 1024, |_| {})
        .data(&[&b"4000000000\n"[..], &[b'0'; 1000]].concat());
    assert_eq!(problem(map), Problem::SparseMap);
    let endless = new().raw(b"f", b'S', 0, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        block[345..500].fill(0);
        block[482] = 1;
        block[483..495].copy_from_slice(b"00000000000\0");
    });
    assert_eq!(problem(endless), Problem::SparseMap);
}

#[test]
fn a_sparse_file_of_exabytes_is_an_error() {
    let records = [
        ("GNU.sparse.size", "9000000000000000000"),
        ("GNU.sparse.numblocks", "0"),
    ];
    let archive = Archive::default().pax(&records).raw(b"f", b'0', 0, |_| {});
    assert!(matches!(
        try_ingest(&archive.end()).1,
        Err(IngestError::TooFar)
    ));
}

#[test]
fn a_compression_bomb_stops_at_the_limit() {
    let mut gzip = layer::compression::Encoder::new(
        Vec::new(),
        layer::compression::Compression::Gzip,
        layer::compression::Level::Default,
    )
    .unwrap();
    let mut head = Vec::new();
    tar::header(b"bomb", &Meta::file(64 << 20, 0o644), &mut head);
    gzip.write_all(&head).unwrap();
    for _ in 0..64 {
        gzip.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 200_000);
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    ingest.set_limit(1 << 20);
    let mut source = layer::compression::Decoder::new(Cursor::new(bomb)).unwrap();
    let error = ingest.copy_tar(&mut source).unwrap_err();
    assert!(matches!(error, IngestError::TooLarge { limit } if limit == 1 << 20));
    assert!(ingest.written() < 2 << 20);
}

/// An endless archive, without ever being in memory: empty files, each named by the eight digits of a number and `tail`.
struct Endless {
    part: Vec<u8>,
    at: usize,
    number: u64,
    step: u64,
}

impl Endless {
    const PART: usize = 64;

    fn new(step: u64, tail: &str) -> Self {
        let mut part = Vec::new();
        for _ in 0..Self::PART {
            tar::header(
                format!("00000000{tail}").as_bytes(),
                &Meta::file(0, 0o644),
                &mut part,
            );
        }
        Self {
            at: part.len(),
            part,
            number: 0,
            step,
        }
    }

    /// Writes the next numbers into the headers and mends their checksums.
    fn renew(&mut self) {
        for block in self.part.chunks_exact_mut(BLOCK) {
            if block[156] != b'0' {
                continue;
            }
            let name = format!("{:08}", self.number);
            let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            let text = std::str::from_utf8(&block[148..154]).unwrap();
            let all =
                u64::from_str_radix(text, 8).unwrap() - sum(&block[..8]) + sum(name.as_bytes());
            block[..8].copy_from_slice(name.as_bytes());
            block[148..154].copy_from_slice(format!("{all:06o}").as_bytes());
            self.number += self.step;
        }
        self.at = 0;
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.part.len() {
            self.renew();
        }
        let count = buffer.len().min(self.part.len() - self.at);
        buffer[..count].copy_from_slice(&self.part[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}

#[test]
fn entries_without_end_are_an_error() {
    // Ever new names, ever the same one, and directories with each.
    for (step, tail) in [(1, ""), (0, ""), (1, &"/d".repeat(40)[..])] {
        let dir = tempfile::tempdir().unwrap();
        let mut ingest = Ingest::create(dir.path()).unwrap();
        ingest.set_name_limit(30_000);
        let error = ingest.copy_tar(&mut Endless::new(step, tail)).unwrap_err();
        assert!(
            matches!(
                error,
                IngestError::Entry {
                    source: EntryError::Names,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn more_names_of_one_file_than_16_bits_can_count_are_all_there() {
    const NAMES: u32 = 65_540;
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = Ingest::create(dir.path()).unwrap();
    ingest
        .append_bytes(b"first", &Meta::file(4, 0o640), b"data")
        .unwrap();
    let target = b"first".to_vec();
    let link = Meta::new(Kind::HardLink { target }, 0o640);
    for number in 1..NAMES {
        let name = format!("{number}");
        ingest.append_bytes(name.as_bytes(), &link, b"").unwrap();
    }
    ingest.finish().unwrap();
    let index = layer::Index::open(&layer::LayerFiles::in_dir(dir.path())).unwrap();
    let (last, _) = index.lookup(index.root(), b"65539").unwrap().unwrap();
    assert_eq!(index.stat(last).unwrap().nlink, NAMES);

    // ext4 counts 65,000 names of a file: the others are names of a second one there.
    let out = tempfile::tempdir().unwrap();
    let root = sys::root::Root::open(out.path()).unwrap();
    layer::unpack(&index, &root, &unpack_options()).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    let mut names = 0_u32;
    for entry in std::fs::read_dir(out.path()).unwrap() {
        let meta = entry.unwrap().metadata().unwrap();
        assert_eq!((meta.len(), meta.mode() & 0o7777), (4, 0o640));
        counts.insert(meta.ino(), meta.nlink());
        names += 1;
    }
    assert_eq!(names, NAMES);
    assert_eq!(counts.values().sum::<u64>(), u64::from(NAMES), "{counts:?}");
    assert!(counts.len() <= 2, "{counts:?}");
    let last = std::fs::read(out.path().join("65539")).unwrap();
    assert_eq!(last, b"data");
}

#[test]
fn names_too_long_for_a_file_system_are_errors() {
    let long = format!("d/{}", "n".repeat(256));
    assert_eq!(
        entry_error(Archive::default().file(&long, b"")),
        EntryError::Path(PathError::NameTooLong)
    );
    let deep = "d/".repeat(2050);
    assert_eq!(
        entry_error(Archive::default().file(&deep, b"")),
        EntryError::Path(PathError::TooLong)
    );
    let device = Meta::new(
        Kind::CharDevice {
            major: 5000,
            minor: 1,
        },
        0o600,
    );
    assert_eq!(
        entry_error(Archive::default().entry("dev", &device, b"")),
        EntryError::Device
    );
    let owner = Archive::default()
        .pax(&[("uid", "4294967295")])
        .file("f", b"");
    assert_eq!(problem(owner), Problem::Owner("user id"));
}
