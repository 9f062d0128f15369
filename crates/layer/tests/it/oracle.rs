//! GNU tar as oracle: what it extracts from an archive is what the kernel shows through our index, and what we read.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use layer::compression::Decoder;
use layer::{FileType, Index, Ingest, LayerFiles, View, reindex};
use sys::root::{Kind, Root, Time};

use crate::mounted::{Mount, is_root, skipped};
use crate::snapshot::{self, Snapshot};

/// Link counts of directories are a matter of the file system that GNU tar extracts to.
fn comparable(mut all: Snapshot) -> Snapshot {
    for item in all.values_mut() {
        if item.kind == FileType::Dir {
            item.nlink = 0;
        }
    }
    all
}

fn tar(args: &[&str]) -> std::process::Output {
    Command::new("tar")
        .args(args)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

pub(crate) fn ingest(tar: &Path, dir: &Path) -> layer::Finished {
    let mut ingest = Ingest::create(dir).unwrap();
    let mut source = Decoder::new(File::open(tar).unwrap()).unwrap();
    ingest.copy_tar(&mut source).unwrap();
    ingest.finish().unwrap()
}

/// Extracts `archive` with GNU tar and compares that with the mounted index and with the view.
pub(crate) fn compare(archive: &Path, what: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let (out, dir) = (scratch.path().join("out"), scratch.path().join("layer"));
    std::fs::create_dir(&out).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let text = archive.to_str().unwrap();
    let extracted = tar(&[
        "--numeric-owner",
        "--same-owner",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
        text,
        "-C",
        out.to_str().unwrap(),
    ]);
    assert!(
        extracted.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&extracted.stderr)
    );
    let done = ingest(archive, &dir);
    let expected = comparable(snapshot::of_dir(&out));
    let index = Index::open(&LayerFiles::in_dir(&dir)).unwrap();
    let seen = comparable(snapshot::of_view(&View::new(vec![index])));
    snapshot::assert_same(&seen, &expected, &format!("{what}, read by us"));
    let mount = Mount::new(what, &dir).unwrap();
    snapshot::assert_same(
        &comparable(snapshot::of_dir(mount.path())),
        &expected,
        &format!("{what}, mounted"),
    );
    drop(mount);

    let again = scratch.path().join("again");
    std::fs::create_dir(&again).unwrap();
    let files = LayerFiles {
        tar: dir.join("layer.tar"),
        ..LayerFiles::in_dir(&again)
    };
    assert_eq!(reindex(&files, done.diff_id).unwrap(), done, "{what}");
    for name in ["index.erofs", "side"] {
        let read = |dir: &Path| std::fs::read(dir.join(name)).ok();
        assert!(
            read(&dir) == read(&again),
            "{what}: {name} made anew is another"
        );
    }
}

/// A tree with everything that a file system and GNU tar can hold.
fn make_tree(root: &Path) {
    let handle = Root::open(root).unwrap();
    let path = |name: &str| PathBuf::from(name);
    let write = |name: &str, bytes: &[u8]| {
        handle
            .mkdir_all(Path::new(name).parent().unwrap(), 0o755)
            .unwrap();
        std::fs::write(root.join(name), bytes).unwrap();
    };
    write("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    write("empty", b"");
    for size in [1, 511, 512, 513, 4095, 4096, 4097, 1_000_003] {
        write(
            &format!("sizes/{size}"),
            &(0..size).map(|n| (n * 7) as u8).collect::<Vec<_>>(),
        );
    }
    for length in [99, 100, 101, 154, 155, 156, 254, 255] {
        write(&format!("names/{}", "n".repeat(length)), b"long");
        symlink("t".repeat(length), root.join(format!("names/link{length}"))).unwrap();
    }
    symlink("t/".repeat(1900), root.join("names/longest")).unwrap();
    write(&format!("deep/{}leaf", "directory/".repeat(60)), b"deep");
    write("unicode/ünï/日本語", b"utf-8");
    std::fs::write(
        root.join(OsStr::from_bytes(b"unicode/\xff\xfe")),
        b"not utf-8",
    )
    .unwrap();
    write("odd/a b\nc\\d%e=f", b"odd");
    for number in 0..700 {
        write(&format!("many/entry-{number:03}"), b"");
    }
    for number in 0..5 {
        let name = format!("links/{}", "h".repeat(number * 40 + 1));
        handle.mkdir_all(Path::new("links"), 0o700).unwrap();
        handle
            .hard_link(Path::new("sizes/513"), Path::new(&name))
            .unwrap();
    }
    handle
        .hard_link(Path::new("names/link99"), Path::new("links/to-link"))
        .unwrap();
    handle.mkdir(Path::new("dev"), 0o755).unwrap();
    handle
        .mknod(Path::new("dev/null"), Kind::CharDevice, 0o666, (1, 3))
        .unwrap();
    handle
        .mknod(
            Path::new("dev/large"),
            Kind::BlockDevice,
            0o600,
            (259, 70_000),
        )
        .unwrap();
    handle
        .mknod(Path::new("dev/pipe"), Kind::Fifo, 0o640, (0, 0))
        .unwrap();
    handle.mkdir(Path::new("sticky"), 0o755).unwrap();
    handle.chmod(Path::new("sticky"), 0o1777).unwrap();
    handle.chown(Path::new("etc/passwd"), 1000, 65_534).unwrap();
    handle.chmod(Path::new("etc/passwd"), 0o6755).unwrap();
    for (name, secs, nanos) in [
        ("empty", 0, 0),
        ("etc/passwd", 1_600_000_000, 123_456_789),
        ("etc", -1, 500_000_000),
        ("names/link99", 77, 0),
        ("many", 1 << 33, 1),
    ] {
        handle.set_mtime(&path(name), Time { secs, nanos }).unwrap();
    }
    sparse(root);
}

/// Owners and attributes that old formats cannot hold.
fn extend_tree(root: &Path) {
    let handle = Root::open(root).unwrap();
    handle
        .chown(Path::new("empty"), 4_000_000_000, 3_000_000)
        .unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        handle
            .set_xattr(Path::new(path), OsStr::new(name), value)
            .unwrap();
    };
    set("etc/passwd", "user.mime_type", b"text/plain");
    set("etc/passwd", "user.with=equals%", b"\0binary\n\xff");
    set("etc", "trusted.note", b"on a directory");
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    set("sizes/4096", "security.capability", &capability);
    set("sizes/1", "user.large", &[b'v'; 3000]);
}

fn sparse(root: &Path) {
    std::fs::create_dir(root.join("sparse")).unwrap();
    let make = |name: &str, size: u64, parts: &[(u64, usize)]| {
        let file = File::create_new(root.join("sparse").join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, len) in parts {
            file.write_all_at(&vec![0x5a; *len], *offset).unwrap();
        }
    };
    make("hole", 10_000_000, &[]);
    make("start", 5_000_000, &[(0, 4096)]);
    make("end", 5_000_001, &[(4_996_001, 4000)]);
    make("middle", 3_000_000, &[(1_048_576, 8192)]);
    let many: Vec<_> = (0..120).map(|n| (n * 65_536, 4096)).collect();
    make("many", 120 * 65_536, &many);
}

#[test]
fn priv_gnu_tar_and_the_kernel_agree_in_every_format() {
    if !is_root("priv_gnu_tar_and_the_kernel_agree_in_every_format") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    make_tree(&tree);
    for format in ["v7", "ustar"] {
        let archive = create(&scratch, &tree, format, &[&format!("--format={format}")]);
        compare(&archive, format);
    }
    extend_tree(&tree);
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    for (name, options) in [
        ("gnu", &["--format=gnu", "--sparse"][..]),
        ("oldgnu", &["--format=oldgnu", "--sparse"]),
        ("gnu-dense", &["--format=gnu"]),
        ("posix", &["--format=posix"]),
        (
            "posix-sparse-0.0",
            &["--format=posix", "--sparse", "--sparse-version=0.0"],
        ),
        (
            "posix-sparse-0.1",
            &["--format=posix", "--sparse", "--sparse-version=0.1"],
        ),
        (
            "posix-sparse-1.0",
            &["--format=posix", "--sparse", "--sparse-version=1.0"],
        ),
        (
            "posix-global",
            &[
                "--format=posix",
                "--pax-option=globexthdr.name=%n,comment=hello,mtime={@12}",
            ],
        ),
        ("gnu-gzip", &["--format=gnu", "--gzip"]),
    ] {
        let options: Vec<_> = options.iter().copied().chain(xattrs).collect();
        compare(&create(&scratch, &tree, name, &options), name);
    }
}

/// Archives `tree`. What an old format cannot hold is left out with a warning, which is as good.
fn create(scratch: &tempfile::TempDir, tree: &Path, name: &str, options: &[&str]) -> PathBuf {
    let archive = scratch.path().join(format!("{name}.tar"));
    let output = Command::new("tar")
        .args(options)
        .args(["--numeric-owner", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(tree)
        .arg(".")
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(0 | 2)), "{name}");
    archive
}

#[test]
fn priv_later_entries_replace_earlier_ones_as_gnu_tar_does() {
    if !is_root("priv_later_entries_replace_earlier_ones_as_gnu_tar_does") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("grown.tar");
    let text = archive.to_str().unwrap().to_owned();
    let add = |round: usize, make: &dyn Fn(&Path)| {
        let tree = scratch.path().join(round.to_string());
        std::fs::create_dir(&tree).unwrap();
        make(&tree);
        let mode = if round == 0 { "-cf" } else { "-rf" };
        let output = Command::new("tar")
            .args([mode, &text, "-C"])
            .arg(&tree)
            .arg(".")
            .output()
            .unwrap();
        assert!(output.status.success());
    };
    add(0, &|tree| {
        std::fs::write(tree.join("file"), b"one").unwrap();
        std::fs::write(tree.join("first"), b"linked").unwrap();
        std::fs::hard_link(tree.join("first"), tree.join("second")).unwrap();
        std::fs::create_dir(tree.join("dir")).unwrap();
        std::fs::write(tree.join("dir/kept"), b"kept").unwrap();
        symlink("dir", tree.join("link")).unwrap();
        symlink("file", tree.join("becomes-file")).unwrap();
    });
    add(1, &|tree| {
        std::fs::write(tree.join("file"), b"two, longer").unwrap();
        std::fs::write(tree.join("first"), b"no longer linked").unwrap();
        std::fs::create_dir(tree.join("dir")).unwrap();
        std::fs::write(tree.join("dir/added"), b"added").unwrap();
        std::fs::write(tree.join("becomes-file"), b"a file").unwrap();
    });
    add(2, &|tree| {
        symlink("elsewhere", tree.join("file")).unwrap();
        std::fs::create_dir(tree.join("becomes-file")).unwrap_or_default();
    });
    compare(&archive, "grown");
}

/// A second producer, with the forms that Python's `tarfile` has.
#[test]
fn priv_archives_of_python_agree() {
    if !is_root("priv_archives_of_python_agree") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let script = r#"
import io, sys, tarfile
out, form = sys.argv[1], getattr(tarfile, sys.argv[2])
with tarfile.open(out, 'w', format=form, encoding='utf-8', errors='surrogateescape') as tar:
    def add(name, kind=tarfile.REGTYPE, data=b'', **more):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mode, info.mtime = kind, len(data), 0o640, 1234567890
        for key, value in more.items(): setattr(info, key, value)
        tar.addfile(info, io.BytesIO(data))
    add('./', tarfile.DIRTYPE, mode=0o755)
    add('plain', data=b'x' * 1000)
    add('d/without/parent', data=b'y')
    add('/absolute/name', data=b'z')
    add('dir/', tarfile.DIRTYPE, mode=0o2775, uid=12, gid=34)
    add('hard', tarfile.LNKTYPE, linkname='plain')
    add('soft', tarfile.SYMTYPE, linkname='../..//plain')
    add('fifo', tarfile.FIFOTYPE)
    add('zero', tarfile.CHRTYPE, devmajor=1, devminor=5)
    add('cont', tarfile.CONTTYPE, data=b'contiguous')
    if form != tarfile.USTAR_FORMAT:
        add('long/' + 'n' * 240, data=b'long')
        add('long/' + 'l' * 200, tarfile.LNKTYPE, linkname='long/' + 'n' * 240)
        add('owner', uid=3000000000, gid=4000000)
        add('new', mtime=2**33 + 1)
        add('old', mtime=-5)
    if form == tarfile.PAX_FORMAT:
        add('fraction', mtime=1.5)
        add('attr', pax_headers={'SCHILY.xattr.user.one': 'eins', 'VENDOR.unknown': 'kept'})
        add('päth/' + 'ü' * 120, data=b'utf-8')
"#;
    for form in ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"] {
        let archive = scratch.path().join(form);
        let output = Command::new("python3")
            .args(["-c", script])
            .arg(&archive)
            .arg(form)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Parents that no entry describes get the time and mask of the extraction: give them ours.
        compare_without_implied(&archive, form);
    }
}

fn compare_without_implied(archive: &Path, what: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let filled = scratch.path().join("filled.tar");
    std::fs::copy(archive, &filled).unwrap();
    let parents = scratch.path().join("parents");
    for name in ["d/without", "absolute", "long", "päth"] {
        std::fs::create_dir_all(parents.join(name)).unwrap();
    }
    let output = Command::new("tar")
        .args(["--append", "--no-recursion", "-f"])
        .arg(&filled)
        .arg("-C")
        .arg(&parents)
        .args(["d", "d/without", "absolute", "long", "päth"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    compare(&filled, what);
}

/// A Debian root file system: the one that `BARQUE_TEST_ROOTFS` names, else one made here once.
fn rootfs(test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BARQUE_TEST_ROOTFS") {
        return Some(path.into());
    }
    make_once(test, "bookworm.tar", &["bookworm"])
}

/// A Debian trixie with erofs-utils 1.8 (older ones do not know blocks of 512 bytes): the one that `BARQUE_TEST_EROFS_UTILS` names, else
/// one made here once.
fn erofs_utils(test: &str) -> Option<PathBuf> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    if let Some(path) = std::env::var_os("BARQUE_TEST_EROFS_UTILS") {
        return Some(path.into());
    }
    let make = || make_once(test, "erofs-utils", &["--include=erofs-utils", "trixie"]);
    MADE.get_or_init(make).clone()
}

/// What `mmdebstrap` makes, kept for later runs under the name: a tar or a directory.
fn make_once(test: &str, name: &str, args: &[&str]) -> Option<PathBuf> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if kept.exists() {
        return Some(kept);
    }
    let unfinished = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("part-{name}"));
    std::fs::remove_dir_all(&unfinished).ok();
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase"])
        .args(args)
        .arg(&unfinished)
        .status();
    if !made.as_ref().is_ok_and(std::process::ExitStatus::success) {
        skipped(test, &format!("mmdebstrap cannot make {name} ({made:?})"));
        return None;
    }
    std::fs::rename(&unfinished, &kept).unwrap();
    Some(kept)
}

#[test]
fn priv_a_debian_root_file_system_agrees() {
    let test = "priv_a_debian_root_file_system_agrees";
    if !is_root(test) {
        return;
    }
    if let Some(archive) = rootfs(test) {
        compare(&archive, "rootfs");
        judge_with_erofs_utils(test, &archive);
    }
}

#[test]
fn priv_erofs_utils_agree_about_everything_odd() {
    let test = "priv_erofs_utils_agree_about_everything_odd";
    if !is_root(test) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    make_tree(&tree);
    extend_tree(&tree);
    let options = ["--format=gnu", "--sparse", "--xattrs", "--xattrs-include=*"];
    judge_with_erofs_utils(test, &create(&scratch, &tree, "gnu", &options));
}

/// Has `fsck.erofs` check an index and extract its files.
fn judge_with_erofs_utils(test: &str, archive: &Path) {
    let Some(root) = erofs_utils(test) else {
        return;
    };
    let inside = tempfile::tempdir_in(root.join("tmp")).unwrap();
    let name = inside.path().file_name().unwrap().to_str().unwrap();
    let dir = inside.path().join("layer");
    std::fs::create_dir(&dir).unwrap();
    let done = ingest(archive, &dir);
    let mut devices = vec![format!("--device=/tmp/{name}/layer/layer.tar")];
    if done.side {
        devices.push(format!("--device=/tmp/{name}/layer/side"));
    }
    let output = Command::new("chroot")
        .arg(&root)
        .arg("fsck.erofs")
        .args(&devices)
        .args([
            &format!("--extract=/tmp/{name}/out"),
            "--xattrs",
            "--preserve",
        ])
        .arg(format!("/tmp/{name}/layer/index.erofs"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
    let index = Index::open(&LayerFiles::in_dir(&dir)).unwrap();
    // It extracts the seconds of times, a file for each name, and loses capabilities by setting the owner after them.
    let simple = |mut all: Snapshot| {
        for item in all.values_mut() {
            item.mtime = (0, 0);
            item.nlink = 0;
            item.xattrs
                .retain(|(name, _)| name != b"security.capability");
        }
        all
    };
    let seen = simple(snapshot::of_view(&View::new(vec![index])));
    let extracted = simple(snapshot::of_dir(&inside.path().join("out")));
    snapshot::assert_same(&extracted, &seen, "extracted by fsck.erofs");
}
