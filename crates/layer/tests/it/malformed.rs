//! Archives that readers understand differently, or that are none.

use std::io::Read;

use layer::tar::{self, BLOCK, Problem};
use layer::{EntryError, Follow, Index, LayerFiles, Meta, View};

use crate::hostile::{Archive, entry_error, layer, names, problem, try_ingest};

#[test]
fn two_sizes_for_one_file_are_refused() {
    let new = Archive::default;
    let header = |flag, size| new().raw(b"f", flag, size, |_| {});
    assert_eq!(
        problem(new().pax(&[("size", "5")]).raw(b"f", b'0', 0, |_| {})),
        Problem::Sizes
    );
    assert_eq!(
        problem(
            new()
                .pax(&[("size", "0")])
                .raw(b"f", b'0', 512, |_| {})
                .data(&[1; 512])
        ),
        Problem::Sizes
    );
    assert_eq!(
        problem(
            new()
                .pax(&[("size", "5"), ("size", "5")])
                .raw(b"f", b'0', 5, |_| {})
        ),
        Problem::DuplicateRecord("size")
    );
    assert_eq!(
        problem(new().pax(&[("size", "-1")]).raw(b"f", b'0', 5, |_| {})),
        Problem::Record("size")
    );
    assert_eq!(
        problem(
            new()
                .pax(&[("size", "18446744073709551615")])
                .raw(b"f", b'0', 5, |_| {})
        ),
        Problem::Number("size")
    );
    for flag in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        assert_eq!(
            problem(header(flag, 512).data(&[0; 512])),
            Problem::DataWithoutFile
        );
    }
    assert_eq!(
        problem(new().raw(b"f", b'0', 0, |block| block[124..136].fill(0xff))),
        Problem::Number("size")
    );
}

#[test]
fn two_headers_about_one_file_are_refused() {
    let new = Archive::default;
    assert_eq!(
        problem(
            new()
                .pax(&[("path", "a")])
                .pax(&[("path", "b")])
                .file("f", b"")
        ),
        Problem::DuplicateHeader
    );
    assert_eq!(
        problem(
            new()
                .pax(&[("path", "a")])
                .long(b'L', b"b\0")
                .file("f", b"")
        ),
        Problem::DuplicateHeader
    );
    assert_eq!(
        problem(new().long(b'L', b"a\0").long(b'L', b"b\0").file("f", b"")),
        Problem::DuplicateHeader
    );
    assert_eq!(problem(new().pax(&[("path", "a")])), Problem::Truncated);
    assert_eq!(
        problem(new().extended(b'g', &[("path", "a")]).file("f", b"")),
        Problem::Global
    );
    assert_eq!(
        problem(new().extended(b'g', &[("size", "1")]).file("f", b"")),
        Problem::Global
    );
}

#[test]
fn names_that_readers_cut_differently_are_refused() {
    let new = Archive::default;
    let header = |flag, size| new().raw(b"f", flag, size, |_| {});
    assert_eq!(
        problem(new().long(b'L', b"a\0b").file("f", b"")),
        Problem::Nul
    );
    assert_eq!(
        problem(new().pax(&[("path", "a\0b")]).file("f", b"")),
        Problem::Nul
    );
    assert_eq!(
        problem(new().pax(&[("linkpath", "a\0b")]).symlink("f", "x")),
        Problem::Nul
    );
    assert_eq!(
        problem(new().pax(&[("path", "")]).file("f", b"")),
        Problem::Record("path")
    );
    assert_eq!(
        problem(new().raw(b"f/", b'0', 0, |_| {})),
        Problem::FileNamedDirectory
    );
    assert_eq!(problem(new().raw(b"", b'0', 0, |_| {})), Problem::NoName);
    assert_eq!(problem(header(b'2', 0)), Problem::NoTarget);
}

#[test]
fn what_is_no_tar_is_refused() {
    let new = Archive::default;
    let header = |flag, size| new().raw(b"f", flag, size, |_| {});
    let mut lone = new().file("a", b"");
    lone.0.extend_from_slice(&[0; BLOCK]);
    assert_eq!(problem(lone.file("b", b"")), Problem::LoneZeroBlock);
    assert_eq!(problem(header(b'V', 0)), Problem::Type(b'V'));
    assert_eq!(problem(Archive(vec![b'x'; 512])), Problem::Checksum);
    let no_sum = new().file("f", b"");
    let mut bytes = no_sum.0;
    bytes[148..156].fill(b' ');
    assert_eq!(problem(Archive(bytes)), Problem::Checksum);
}

#[test]
fn an_extended_header_is_for_the_next_file_not_the_next_header() {
    // A global header stands between: what was said goes past it or is refused, never to it.
    let between = Archive::default()
        .pax(&[("path", "a")])
        .extended(b'g', &[("comment", "x")])
        .file("f", b"");
    assert_eq!(problem(between), Problem::DuplicateHeader);
    let (_dir, view) = layer(
        Archive::default()
            .extended(b'g', &[("comment", "git")])
            .pax(&[("path", "a")])
            .file("f", b"")
            .file("g", b""),
    );
    assert_eq!(names(&view), ["", "a", "g"]);
}

#[test]
fn a_member_below_a_file_is_an_error() {
    assert_eq!(
        entry_error(Archive::default().file("a", b"").file("a/b", b"")),
        EntryError::NotADirectory
    );
}

#[test]
fn a_tar_cut_anywhere_is_an_error_except_where_it_may_end() {
    let mut meta = Meta::file(600, 0o644);
    meta.mtime.nanos = 1;
    let bytes = Archive::default()
        .entry("a", &meta, &[7; 600])
        .file("b", b"data")
        .end();
    let (a_end, b_data, b_end) = (512 * 3 + 600, 512 * 6 + 4, 512 * 7);
    // Around every block border, and some within.
    let near = |cut: &usize| {
        cut % BLOCK < 3
            || cut % BLOCK > BLOCK - 3
            || cut.is_multiple_of(101)
            || (a_end..a_end + 3).contains(cut)
            || (b_data - 2..b_data + 2).contains(cut)
    };
    for cut in (0..bytes.len()).filter(near) {
        let (dir, result) = try_ingest(&bytes[..cut]);
        // Nothing at all, after the data of an entry, after its padding, within the padding, after one block of zeros.
        let may = cut == 0
            || (a_end..=512 * 5).contains(&cut)
            || (b_data..=b_end).contains(&cut)
            || cut == b_end + 512;
        assert_eq!(result.is_ok(), may, "cut at {cut}");
        let mut reader = tar::Reader::new(&bytes[..cut]);
        let pulled = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                other => break other.is_ok(),
            }
        };
        assert_eq!(pulled, may, "read, cut at {cut}");
        if may && cut >= a_end {
            let view = View::new(vec![Index::open(&LayerFiles::in_dir(dir.path())).unwrap()]);
            let node = view.lookup(b"a", Follow::No).unwrap().unwrap();
            let mut data = Vec::new();
            view.open(&node).unwrap().read_to_end(&mut data).unwrap();
            assert_eq!(data, [7; 600]);
        }
    }
}

/// The last file of a tar without its padding is not shown by a loop device, so it must not be read from the tar.
#[test]
fn priv_the_kernel_reads_a_last_file_without_padding() {
    let test = "priv_the_kernel_reads_a_last_file_without_padding";
    let bytes = Archive::default().file("b", &[7; 600]).end();
    let (dir, result) = try_ingest(&bytes[..512 + 600]);
    assert!(result.unwrap().side);
    if let Some(mount) = crate::mounted::Mount::new(test, dir.path()) {
        assert_eq!(std::fs::read(mount.path().join("b")).unwrap(), [7; 600]);
    }
}

#[test]
fn what_stands_behind_the_end_is_kept_and_ignored() {
    let mut bytes = Archive::default().file("a", b"x").end();
    bytes.extend_from_slice(&Archive::default().file("b", b"y").end());
    bytes.extend_from_slice(b"tail");
    let (dir, result) = try_ingest(&bytes);
    let done = result.unwrap();
    assert_eq!(*done.diff_id.digest(), oci::Digest::sha256_of(&bytes));
    assert_eq!(std::fs::read(dir.path().join("layer.tar")).unwrap(), bytes);
    assert_eq!(
        names(&View::new(vec![
            Index::open(&LayerFiles::in_dir(dir.path())).unwrap()
        ])),
        ["", "a"]
    );
}
