//! Other tools as judges: what barque saves they read with the same digests, and the reverse.
//!
//! A tool that is not installed is said on stderr, never passed over in silence.

use std::path::{Path, PathBuf};
use std::process::Command;

use engine::transfer::{ArchiveFormat, Compression};
use layer::{Kind, Meta};
use oci::Digest;
use store::Image;
use testkit::TempStore;

use crate::support::{engine, files, has, load, run, save};

/// An image with all that the formats could stumble over, under two names.
fn image(store: &TempStore) -> Image {
    testkit::image()
        .dir("etc", 0o755)
        .file("etc/motd", b"hello")
        .file("etc/gone", b"soon")
        .put(
            "etc/again",
            Meta::new(
                Kind::HardLink {
                    target: b"etc/motd".to_vec(),
                },
                0o644,
            ),
            b"",
        )
        .layer()
        .whiteout("etc/gone")
        .program("bin/app", vec![b'x'; 300_000])
        .symlink("bin/link", "app")
        .env("A=1")
        .cmd(&["/bin/app"])
        .name("localhost/app:1")
        .name("localhost/app:one")
        .build(store)
        .unwrap()
}

const BOTH: [&str; 2] = ["localhost/app:1", "localhost/app:one"];

/// The three formats in files beside the store, with skopeo's names for them.
fn saved(store: &TempStore, images: &[&str]) -> Vec<(PathBuf, String)> {
    let formats = [
        (
            ArchiveFormat::DockerArchive,
            "docker-archive",
            ":localhost/app:1",
        ),
        (ArchiveFormat::OciArchive, "oci-archive", ":1"),
        (ArchiveFormat::OciDir, "oci", ":1"),
    ];
    let save_one = |(format, transport, name): (ArchiveFormat, &str, &str)| {
        let path = store.beside().join(format!("saved-{transport}"));
        save(&engine(store), images, &path, format, Compression::None);
        let source = format!("{transport}:{}{name}", path.display());
        (path, source)
    };
    formats.into_iter().map(save_one).collect()
}

fn skopeo() -> Command {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy");
    command
}

fn raw(source: &str, config: bool) -> Vec<u8> {
    let mut command = skopeo();
    command.args(["inspect", "--raw"]);
    if config {
        command.arg("--config");
    }
    run(command.arg(source)).stdout
}

#[test]
fn skopeo_reads_what_barque_saves() {
    if !has("skopeo", "skopeo_reads_what_barque_saves") {
        return;
    }
    let store = testkit::store();
    let image = image(&store);
    for (path, source) in saved(&store, &BOTH) {
        assert_eq!(
            Digest::sha256_of(&raw(&source, true)),
            *image.id.digest(),
            "{source}"
        );
        if !source.starts_with("docker") {
            assert_eq!(
                Digest::sha256_of(&raw(&source, false)),
                image.digest,
                "{source}"
            );
        }
        // A copy reads every layer and checks its digest.
        let copy = path.with_extension("copy");
        let target = format!("oci:{}:localhost/app:1", copy.display());
        run(skopeo().args([
            "copy",
            "--dest-oci-accept-uncompressed-layers",
            &source,
            &target,
        ]));
        let other = testkit::store();
        let loaded = load(&engine(&other), &copy).unwrap();
        assert_eq!(loaded[0].id, image.id, "{source}");
        assert_eq!(loaded[0].names, ["localhost/app:1"]);
        assert_eq!(
            other.store().resolve("localhost/app:1").unwrap().layers,
            image.layers
        );
    }
}

#[test]
fn barque_reads_what_skopeo_writes_and_keeps_its_blobs() {
    if !has(
        "skopeo",
        "barque_reads_what_skopeo_writes_and_keeps_its_blobs",
    ) {
        return;
    }
    let store = testkit::store();
    let image = image(&store);
    let (_, source) = saved(&store, &BOTH).remove(2);
    for (transport, flags) in [
        ("docker-archive", &[][..]),
        ("docker-archive", &["--dest-compress"]),
        ("oci-archive", &[]),
        ("oci", &["--dest-compress-format", "gzip"]),
        ("oci", &["--dest-compress-format", "zstd"]),
    ] {
        let path = store
            .beside()
            .join(format!("skopeo-{transport}-{}", flags.join("")));
        let target = format!("{transport}:{}:localhost/app:1", path.display());
        run(skopeo().arg("copy").args(flags).args([&source, &target]));
        let other = testkit::store();
        let loaded = load(&engine(&other), &path).unwrap();
        assert_eq!(loaded[0].id, image.id, "{target}");
        assert_eq!(loaded[0].names, ["localhost/app:1"], "{target}");
        let found = other.store().resolve("localhost/app:1").unwrap();
        assert_eq!(found.layers, image.layers);
        if transport == "oci" {
            assert_eq!(Digest::sha256_of(&raw(&target, false)), found.digest);
            let again = other.beside().join("again");
            save(
                &engine(&other),
                &["localhost/app:1"],
                &again,
                ArchiveFormat::OciDir,
                Compression::None,
            );
            assert_eq!(
                files(&again.join("blobs")),
                files(&path.join("blobs")),
                "{target}"
            );
        }
    }
}

#[test]
fn umoci_unpacks_what_barque_saves() {
    if !has("umoci", "umoci_unpacks_what_barque_saves") {
        return;
    }
    let store = testkit::store();
    image(&store);
    let (path, _) = saved(&store, &BOTH).remove(2);
    let bundle = store.beside().join("bundle");
    let mut command = Command::new("umoci");
    command.args(["unpack", "--rootless", "--image"]);
    run(command.arg(format!("{}:1", path.display())).arg(&bundle));
    let root = bundle.join("rootfs");
    assert_eq!(std::fs::read(root.join("etc/again")).unwrap(), b"hello");
    assert_eq!(std::fs::read(root.join("bin/link")).unwrap().len(), 300_000);
    assert!(!root.join("etc/gone").exists());
}

/// A program of the podman family with a storage of its own below `dir`.
fn with_storage(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(dir.join("storage"))
        .arg("--runroot")
        .arg(dir.join("run"));
    command.args(["--storage-driver", "vfs"]);
    command
}

#[test]
fn priv_podman_loads_what_barque_saves_and_the_reverse() {
    testkit::skip_unless_root!();
    if !has(
        "podman",
        "priv_podman_loads_what_barque_saves_and_the_reverse",
    ) {
        return;
    }
    let store = testkit::store();
    let image = image(&store);
    // podman takes an OCI archive only if its index has a single entry, and names an image in a folder after the folder,
    // which must not have a capital letter.
    let archives = saved(&store, &BOTH[..1]).into_iter();
    for (path, source) in archives.filter(|(path, _)| path.is_file()) {
        let dir = tempfile::tempdir().unwrap();
        run(with_storage("podman", dir.path())
            .args(["load", "--quiet", "--input"])
            .arg(&path));
        let listed = run(with_storage("podman", dir.path()).args([
            "images",
            "--no-trunc",
            "--format",
            "{{.ID}}",
        ]));
        let listed = String::from_utf8(listed.stdout).unwrap();
        let id = image.id.to_string();
        assert_eq!(listed.trim(), id, "{source}");
        // With its name, too.
        run(with_storage("podman", dir.path()).args(["image", "exists", "localhost/app:1"]));
        for format in ["docker-archive", "oci-archive", "oci-dir"] {
            let out = dir.path().join(format);
            let mut podman = with_storage("podman", dir.path());
            run(podman
                .args(["save", "--quiet", "--format", format, "--output"])
                .arg(&out)
                .arg(&id));
            let other = testkit::store();
            let loaded = load(&engine(&other), &out).unwrap();
            assert_eq!(loaded[0].id, image.id, "{source} {format}");
            assert_eq!(other.store().images().unwrap()[0].layers, image.layers);
        }
    }
}

#[test]
fn priv_images_of_buildah_keep_their_digests() {
    testkit::skip_unless_root!();
    if !has("buildah", "priv_images_of_buildah_keep_their_digests") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let context = dir.path().join("context");
    std::fs::create_dir_all(context.join("deep/er")).unwrap();
    std::fs::write(context.join("deep/er/file"), vec![b'y'; 100_000]).unwrap();
    std::os::unix::fs::symlink("er/file", context.join("deep/link")).unwrap();
    let buildah = || with_storage("buildah", dir.path());
    let container = run(buildah().args(["from", "scratch"])).stdout;
    let container = String::from_utf8(container).unwrap().trim().to_owned();
    run(buildah()
        .args(["copy", &container])
        .arg(&context)
        .arg("/srv"));
    run(buildah().args(["config", "--env", "A=1", "--cmd", "/srv/app", &container]));
    for format in ["oci", "docker"] {
        let layout = dir.path().join(format!("layout-{format}"));
        let target = format!("oci:{}:localhost/made:1", layout.display());
        let mut commit = buildah();
        commit.args([
            "commit",
            "--quiet",
            "--signature-policy=",
            "--format",
            format,
        ]);
        commit.args([&container, &target]);
        run(&mut commit);
        let store = testkit::store();
        let loaded = load(&engine(&store), &layout).unwrap();
        let again = store.beside().join("again");
        save(
            &engine(&store),
            &[&loaded[0].id.to_string()],
            &again,
            ArchiveFormat::OciDir,
            Compression::None,
        );
        assert_eq!(
            files(&again.join("blobs")),
            files(&layout.join("blobs")),
            "{format}"
        );
    }
}

#[test]
fn images_of_umoci_keep_their_digests() {
    if !has("umoci", "images_of_umoci_keep_their_digests") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("file"), b"content").unwrap();
    let layout = dir.path().join("layout");
    let image = format!("{}:made", layout.display());
    let umoci = || Command::new("umoci");
    run(umoci().args(["init", "--layout"]).arg(&layout));
    run(umoci().args(["new", "--image", &image]));
    run(umoci()
        .args(["insert", "--rootless", "--image", &image])
        .args([context.to_str().unwrap(), "/srv"]));
    let store = testkit::store();
    let loaded = load(&engine(&store), &layout).unwrap();
    assert!(loaded[0].names.is_empty(), "a bare tag names no image");
    let again = store.beside().join("again");
    save(
        &engine(&store),
        &[&loaded[0].id.to_string()],
        &again,
        ArchiveFormat::OciDir,
        Compression::None,
    );
    // umoci leaves the blobs of the steps in between.
    let blobs = files(&layout.join("blobs"));
    let kept = files(&again.join("blobs"));
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|blob| blobs.contains(blob)));
}
