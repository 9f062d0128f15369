//! What the kernel sees through an index.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use layer::{Follow, Index, Ingest, Kind, LayerFiles, Meta, Time, View};

/// A layer mounted for the time of a test.
pub(crate) struct Mount {
    dir: tempfile::TempDir,
}

/// Says that a test, or a part of it, is skipped: past the capture of the harness, which would swallow it.
pub(crate) fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Says on stderr that a test is skipped, if it is.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "needs root");
    }
    root
}

/// How this user can unpack what belongs to root.
pub(crate) fn unpack_options() -> layer::UnpackOptions {
    layer::UnpackOptions {
        ignore_owners: !rustix::process::geteuid().is_root(),
        ..layer::UnpackOptions::default()
    }
}

impl Mount {
    /// Mounts the layer in `layer`; `None`, and a word on stderr, without the privileges for it.
    pub(crate) fn new(test: &str, layer: &Path) -> Option<Self> {
        if !is_root(test) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut options = format!("device={}", layer.join("layer.tar").display());
        if layer.join("side").exists() {
            options.push_str(&format!(",device={}", layer.join("side").display()));
        }
        rustix::mount::mount(
            layer.join("index.erofs"),
            dir.path(),
            "erofs",
            rustix::mount::MountFlags::RDONLY,
            std::ffi::CString::new(options).unwrap().as_c_str(),
        )
        .unwrap();
        Some(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

/// What `setfacl -m u:1000:r` makes of mode 0755: version 2, then tag, permissions and id of each entry.
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255,
    255, 255, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255,
];

fn sample(dir: &Path) -> layer::Finished {
    let mut ingest = Ingest::create(dir).unwrap();
    let mut meta = Meta::dir(0o1777);
    meta.mtime = Time::from_secs(1_700_000_000);
    ingest.append_bytes(b"./", &meta, b"").unwrap();
    let big = vec![b'x'; 1_000_000];
    let mut file = Meta::file(big.len() as u64, 0o4755);
    file.uid = 1000;
    file.gid = 3_000_000;
    file.mtime = Time {
        secs: -2,
        nanos: 500_000_000,
    };
    file.xattrs.push((b"user.a".to_vec(), b"1".to_vec()));
    file.xattrs.push((
        b"security.capability".to_vec(),
        vec![
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ));
    file.xattrs
        .push((b"system.posix_acl_access".to_vec(), ACL.to_vec()));
    ingest.append_bytes(b"usr/bin/big", &file, &big).unwrap();
    ingest
        .append_bytes(b"usr/bin/small", &Meta::file(5, 0o644), b"small")
        .unwrap();
    ingest
        .append_bytes(b"usr/bin/empty", &Meta::file(0, 0o600), b"")
        .unwrap();
    ingest
        .append_bytes(b"bin", &Meta::symlink("usr/bin"), b"")
        .unwrap();
    ingest
        .append_bytes(b"long", &Meta::symlink("l".repeat(3000)), b"")
        .unwrap();
    ingest
        .append_bytes(
            b"dev/null",
            &Meta::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666),
            b"",
        )
        .unwrap();
    ingest
        .append_bytes(b"fifo", &Meta::new(Kind::Fifo, 0o600), b"")
        .unwrap();
    ingest
        .append_bytes(
            b"hard",
            &Meta::new(
                Kind::HardLink {
                    target: b"usr/bin/big".to_vec(),
                },
                0o4755,
            ),
            b"",
        )
        .unwrap();
    ingest.whiteout(b"etc/gone").unwrap();
    ingest.opaque(b"var").unwrap();
    for number in 0..2000 {
        let name = format!("many/{}{number}", "n".repeat(number % 200));
        ingest
            .append_bytes(name.as_bytes(), &Meta::file(3, 0o644), b"abc")
            .unwrap();
    }
    ingest.finish().unwrap()
}

#[test]
fn priv_the_kernel_mounts_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let done = sample(dir.path());
    assert!(!done.side);
    let Some(mount) = Mount::new("priv_the_kernel_mounts_what_was_appended", dir.path()) else {
        return;
    };
    let at = |path: &str| mount.path().join(path);
    assert_eq!(
        std::fs::read(at("usr/bin/big")).unwrap(),
        vec![b'x'; 1_000_000]
    );
    assert_eq!(std::fs::read(at("bin/small")).unwrap(), b"small");
    assert_eq!(std::fs::read(at("bin/empty")).unwrap(), b"");
    let stat = std::fs::metadata(at("hard")).unwrap();
    assert_eq!(
        (stat.mode(), stat.uid(), stat.gid()),
        (0o104_755, 1000, 3_000_000)
    );
    assert_eq!(
        (stat.mtime(), stat.mtime_nsec(), stat.nlink()),
        (-2, 500_000_000, 2)
    );
    assert_eq!(std::fs::metadata(at("")).unwrap().mode(), 0o41_777);
    assert_eq!(std::fs::metadata(at("")).unwrap().nlink(), 7);
    assert_eq!(
        std::fs::read_link(at("long")).unwrap().as_os_str().len(),
        3000
    );
    let null = std::fs::metadata(at("dev/null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(std::fs::metadata(at("etc/gone")).unwrap().rdev(), 0);
    assert_eq!(std::fs::read_dir(at("many")).unwrap().count(), 2000);
    for number in 0..2000 {
        let name = format!("many/{}{number}", "n".repeat(number % 200));
        assert_eq!(std::fs::read(at(&name)).unwrap(), b"abc");
    }
    let mut value = [0; 10];
    let read = rustix::fs::lgetxattr(at("var"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..read], b"y");
    let read = rustix::fs::lgetxattr(at("hard"), "user.a", &mut value).unwrap();
    assert_eq!(&value[..read], b"1");
    let mut acl = [0; 44];
    let name = "system.posix_acl_access";
    assert_eq!(rustix::fs::lgetxattr(at("hard"), name, &mut acl), Ok(44));
    assert_eq!(acl, ACL);
    let mut value = [0; 20];
    assert_eq!(
        rustix::fs::lgetxattr(at("hard"), "security.capability", &mut value),
        Ok(20)
    );
}

#[test]
fn the_view_shows_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let index = Index::open(&LayerFiles::in_dir(dir.path())).unwrap();
    let view = View::new(vec![index]);
    let find = |path: &str| view.lookup(path.as_bytes(), Follow::Yes).unwrap();
    let big = find("/bin/../bin/big").unwrap();
    let stat = view.stat(&big).unwrap();
    assert_eq!(
        (stat.mode, stat.uid, stat.nlink, stat.size),
        (0o4755, 1000, 2, 1_000_000)
    );
    assert_eq!(
        stat.mtime,
        Time {
            secs: -2,
            nanos: 500_000_000
        }
    );
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut view.open(&find("hard").unwrap()).unwrap(), &mut bytes)
        .unwrap();
    assert_eq!(bytes, vec![b'x'; 1_000_000]);
    assert!(find("etc/gone").is_none());
    assert!(find("etc").is_some());
    assert_eq!(view.read_dir(&find("many").unwrap()).unwrap().len(), 2000);
    for number in 0..2000 {
        assert!(find(&format!("many/{}{number}", "n".repeat(number % 200))).is_some());
    }
    assert_eq!(view.walk(b"", view.root().unwrap().unwrap()).count(), 2015);
}
