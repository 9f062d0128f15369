//! Images out and in again, by our own hands.

use std::process::Command;

use engine::transfer::{ArchiveFormat, Compression, ImportRequest};
use layer::{Kind, Meta};
use oci::Digest;

use crate::support::{engine, files, load, load_for, message, run, save, try_save};

const ALL: [ArchiveFormat; 3] = [
    ArchiveFormat::DockerArchive,
    ArchiveFormat::OciArchive,
    ArchiveFormat::OciDir,
];

fn two_layers() -> testkit::ImageFactory {
    testkit::image()
        .dir("etc", 0o755)
        .file("etc/motd", b"hello")
        .file("etc/gone", b"soon")
        .layer()
        .whiteout("etc/gone")
        .program("bin/app", vec![b'x'; 300_000])
        .symlink("bin/link", "app")
        .env("A=1")
        .cmd(&["/bin/app"])
}

#[test]
fn every_format_gives_the_same_image_back() {
    let store = testkit::store();
    let image = two_layers().name("app:1").build(&store).unwrap();
    for format in ALL {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            if format == ArchiveFormat::OciDir && compression != Compression::None {
                continue;
            }
            let path = store.beside().join(format!("{format:?}-{compression:?}"));
            save(&engine(&store), &["app:1"], &path, format, compression);
            let other = testkit::store();
            let loaded = load(&engine(&other), &path).unwrap();
            assert_eq!(loaded[0].id, image.id, "{format:?} {compression:?}");
            assert_eq!(loaded[0].names, ["app:1"]);
            let again = other.store().resolve("app:1").unwrap();
            assert_eq!((again.digest, again.id), (image.digest, image.id));
            assert_eq!(again.layers, image.layers);
            let mut bytes = Vec::new();
            engine(&other)
                .read_file("app:1:/bin/link", &mut bytes)
                .unwrap();
            assert_eq!(bytes, vec![b'x'; 300_000]);
        }
    }
}

#[test]
fn the_same_images_give_the_same_bytes() {
    let store = testkit::store();
    two_layers().name("a:1").build(&store).unwrap();
    testkit::image()
        .file("b", b"b")
        .name("b:1")
        .build(&store)
        .unwrap();
    for format in ALL {
        let paths = ["x", "y"].map(|name| store.beside().join(format!("{name}-{format:?}")));
        for path in &paths {
            save(
                &engine(&store),
                &["a:1", "b:1"],
                path,
                format,
                Compression::None,
            );
        }
        if format == ArchiveFormat::OciDir {
            assert_eq!(files(&paths[0]), files(&paths[1]));
        } else {
            assert_eq!(
                std::fs::read(&paths[0]).unwrap(),
                std::fs::read(&paths[1]).unwrap()
            );
        }
        let other = testkit::store();
        let loaded = load(&engine(&other), &paths[0]).unwrap();
        assert_eq!(loaded.len(), 2);
    }
}

#[test]
fn compressed_layers_are_kept_as_they_came() {
    let store = testkit::store();
    let image = two_layers().name("app:1").build(&store).unwrap();
    let dir = store.beside().join("layout");
    save(
        &engine(&store),
        &["app:1"],
        &dir,
        ArchiveFormat::OciDir,
        Compression::None,
    );
    for tool in ["gzip", "zstd"] {
        // The same image with compressed layers, as a registry would have it.
        let squeezed = compress(&store, &dir, tool);
        let other = testkit::store();
        let loaded = load(&engine(&other), &squeezed).unwrap();
        assert_eq!(loaded[0].id, image.id);
        let out = other.beside().join("out");
        save(
            &engine(&other),
            &["app:1"],
            &out,
            ArchiveFormat::OciDir,
            Compression::None,
        );
        let blobs = |dir: &std::path::Path| files(&dir.join("blobs"));
        assert_eq!(blobs(&out), blobs(&squeezed), "{tool}");
        // What is there already is not read again, and is still right.
        let again = load(&engine(&other), &squeezed).unwrap();
        assert_eq!(again[0].id, image.id);
        // The store has the layer, but not this form of it.
        let plain_first = testkit::store();
        load(&engine(&plain_first), &dir).unwrap();
        load(&engine(&plain_first), &squeezed).unwrap();
        assert_eq!(plain_first.store().images().unwrap().len(), 2);
    }
}

/// Makes a copy of a layout whose layers are compressed.
fn compress(store: &testkit::TempStore, dir: &std::path::Path, tool: &str) -> std::path::PathBuf {
    let out = store.beside().join(format!("layout-{tool}"));
    std::fs::create_dir_all(out.join("blobs/sha256")).unwrap();
    std::fs::copy(dir.join("oci-layout"), out.join("oci-layout")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::sha256_of(bytes);
        std::fs::write(out.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        digest
    };
    let read =
        |digest: &Digest| std::fs::read(dir.join("blobs/sha256").join(digest.hex())).unwrap();
    let mut index: oci::Index =
        serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let mut manifest: oci::Manifest =
        serde_json::from_slice(&read(&index.manifests[0].digest)).unwrap();
    put(&read(&manifest.config.digest));
    for layer in &mut manifest.layers {
        let path = dir.join("blobs/sha256").join(layer.digest.hex());
        let bytes = run(Command::new(tool).arg("-c").arg(path)).stdout;
        layer.digest = put(&bytes);
        layer.size = bytes.len() as u64;
        layer.media_type = format!("application/vnd.oci.image.layer.v1.tar+{tool}");
    }
    let bytes = serde_json::to_vec(&manifest).unwrap();
    index.manifests[0].digest = put(&bytes);
    index.manifests[0].size = bytes.len() as u64;
    std::fs::write(out.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    out
}

#[test]
fn a_layout_that_is_there_gets_more_images() {
    let store = testkit::store();
    let engine = engine(&store);
    testkit::image()
        .file("a", b"1")
        .name("a:1")
        .build(&store)
        .unwrap();
    testkit::image()
        .file("b", b"1")
        .name("b:2")
        .build(&store)
        .unwrap();
    let dir = store.beside().join("layout");
    save(
        &engine,
        &["a:1"],
        &dir,
        ArchiveFormat::OciDir,
        Compression::None,
    );
    save(
        &engine,
        &["b:2"],
        &dir,
        ArchiveFormat::OciDir,
        Compression::None,
    );
    // A name that moves leaves its old image.
    testkit::image()
        .file("a", b"2")
        .name("a:1")
        .build(&store)
        .unwrap();
    save(
        &engine,
        &["a:1"],
        &dir,
        ArchiveFormat::OciDir,
        Compression::None,
    );
    let other = testkit::store();
    let mut names: Vec<String> = load(&crate::support::engine(&other), &dir)
        .unwrap()
        .into_iter()
        .flat_map(|image| image.names)
        .collect();
    names.sort();
    assert_eq!(names, ["a:1", "b:2"]);
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let store = testkit::store();
    testkit::image()
        .file("a", b"1")
        .name("a:1")
        .build(&store)
        .unwrap();
    let dir = store.beside().join("home");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("thesis.tex"), b"precious").unwrap();
    let error = try_save(
        &engine(&store),
        &["a:1"],
        &dir,
        ArchiveFormat::OciDir,
        Compression::None,
    )
    .unwrap_err();
    assert!(message(&error).contains("not an OCI layout"), "{error}");
    assert_eq!(files(&dir).len(), 1);
}

#[test]
fn a_repository_without_a_tag_means_all_its_tags() {
    let store = testkit::store();
    testkit::image()
        .file("a", b"1")
        .name("a:1")
        .name("a:one")
        .name("b:1")
        .build(&store)
        .unwrap();
    testkit::image()
        .file("a", b"2")
        .name("a:2")
        .build(&store)
        .unwrap();
    let path = store.beside().join("all.tar");
    save(
        &engine(&store),
        &["a"],
        &path,
        ArchiveFormat::DockerArchive,
        Compression::None,
    );
    let other = testkit::store();
    let mut names: Vec<String> = load(&engine(&other), &path)
        .unwrap()
        .into_iter()
        .flat_map(|image| image.names)
        .collect();
    names.sort();
    assert_eq!(names, ["a:1", "a:2", "a:one"]);
}

#[test]
fn a_file_that_was_there_stays_if_saving_fails() {
    let store = testkit::store();
    let path = store.beside().join("out.tar");
    std::fs::write(&path, b"old").unwrap();
    let result = try_save(
        &engine(&store),
        &["nothing:1"],
        &path,
        ArchiveFormat::DockerArchive,
        Compression::None,
    );
    assert!(result.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[test]
fn an_exported_tree_is_imported_as_it_was() {
    let store = testkit::store();
    let engine = engine(&store);
    let mut capable = Meta::file(3, 0o4755);
    capable.xattrs = vec![(
        b"security.capability".to_vec(),
        vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )];
    two_layers()
        .put("bin/ping", capable, b"elf")
        .put(
            "bin/hard",
            Meta::new(
                Kind::HardLink {
                    target: b"bin/ping".to_vec(),
                },
                0o755,
            ),
            b"",
        )
        .put(
            "dev/null",
            Meta::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666),
            b"",
        )
        .put("run/fifo", Meta::new(Kind::Fifo, 0o600), b"")
        .name("app:1")
        .build(&store)
        .unwrap();
    let [one, two, flat] = ["1.tar", "2.tar", "3.tar"].map(|name| store.beside().join(name));
    engine.export_image("app:1", Some(&one)).unwrap();
    engine.export_image("app:1", Some(&two)).unwrap();
    let bytes = std::fs::read(&one).unwrap();
    assert_eq!(bytes, std::fs::read(&two).unwrap());
    let request = ImportRequest {
        file: Some(one.clone()),
        name: Some("flat:1".to_owned()),
        changes: vec!["CMD [\"/bin/app\"]".to_owned(), "ENV A=1".to_owned()],
        message: Some("made by a test".to_owned()),
        created: Some("0".to_owned()),
        ..ImportRequest::default()
    };
    let id = engine.import(&request).unwrap();
    assert_eq!(engine.diff_images("app:1", "flat:1").unwrap(), []);
    let flat_image = store.store().resolve("flat:1").unwrap();
    assert_eq!(flat_image.id, id);
    assert_eq!(
        *flat_image.layers[0].digest(),
        Digest::sha256_of(&bytes),
        "the tar is the layer"
    );
    let config = store.store().config(&flat_image).unwrap();
    assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(config.config.cmd.unwrap(), ["/bin/app"]);
    assert_eq!(config.history[0].comment.as_deref(), Some("made by a test"));
    engine.export_image("flat:1", Some(&flat)).unwrap();
    assert_eq!(bytes, std::fs::read(&flat).unwrap());
}

#[test]
fn every_compression_is_imported() {
    let store = testkit::store();
    let engine = engine(&store);
    two_layers().name("app:1").build(&store).unwrap();
    let plain = store.beside().join("root.tar");
    engine.export_image("app:1", Some(&plain)).unwrap();
    let mut layers = Vec::new();
    for tool in ["cat", "gzip", "bzip2", "xz", "zstd"] {
        let path = store.beside().join(format!("root.tar.{tool}"));
        let mut command = Command::new(tool);
        if tool != "cat" {
            command.arg("-c");
        }
        std::fs::write(&path, run(command.arg(&plain)).stdout).unwrap();
        let name = format!("{tool}:1");
        let request = ImportRequest {
            file: Some(path),
            name: Some(name.clone()),
            ..ImportRequest::default()
        };
        engine.import(&request).unwrap();
        layers.push(store.store().resolve(&name).unwrap().layers);
    }
    layers.dedup();
    assert_eq!(
        layers.len(),
        1,
        "one layer, whatever it was compressed with"
    );
}

#[test]
fn nothing_at_all_is_no_root_filesystem_and_an_empty_tar_is_one() {
    let store = testkit::store();
    let engine = engine(&store);
    let path = store.beside().join("root.tar");
    let import = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        engine.import(&ImportRequest {
            file: Some(path.clone()),
            ..ImportRequest::default()
        })
    };
    let error = import(b"").unwrap_err().to_string();
    assert!(error.ends_with("it is empty"), "{error}");
    assert!(store.store().layers().unwrap().is_empty());
    import(&[0; 1024]).unwrap();
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    let store = testkit::store();
    let engine = engine(&store);
    let mut entries = Vec::new();
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
        let parsed: oci::Platform = platform.parse().unwrap();
        let image = testkit::image()
            .file("platform", platform)
            .config(|config| {
                config.architecture.clone_from(&parsed.architecture);
                config.variant.clone_from(&parsed.variant);
            })
            .name(&format!("app:{}", parsed.architecture))
            .build(&store)
            .unwrap();
        let size = store.store().read_blob(&image.digest).unwrap().len() as u64;
        entries.push(oci::Descriptor {
            platform: Some(parsed),
            ..oci::Descriptor::new(image.media_type, image.digest, size)
        });
    }
    let dir = store.beside().join("layout");
    save(
        &engine,
        &["app"],
        &dir,
        ArchiveFormat::OciDir,
        Compression::None,
    );
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": entries });
    let bytes = serde_json::to_vec(&index).unwrap();
    let digest = Digest::sha256_of(&bytes);
    std::fs::write(dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    let mut list = oci::Descriptor::new(oci::media_type::OCI_INDEX, digest, bytes.len() as u64);
    list.annotations.insert(
        "org.opencontainers.image.ref.name".to_owned(),
        "localhost/multi:1".to_owned(),
    );
    let top = serde_json::json!({ "schemaVersion": 2, "manifests": [list] });
    std::fs::write(dir.join("index.json"), serde_json::to_vec(&top).unwrap()).unwrap();

    for (wanted, text) in [
        ("linux/arm64", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/amd64/v3", "linux/amd64"),
    ] {
        let other = testkit::store();
        let engine = crate::support::engine(&other);
        let loaded = load_for(&engine, &dir, Some(wanted)).unwrap();
        assert_eq!(loaded[0].names, ["localhost/multi:1"]);
        let mut bytes = Vec::new();
        engine
            .read_file("localhost/multi:1:/platform", &mut bytes)
            .unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        assert!(
            other.store().blob(&digest).unwrap().is_some(),
            "the index is kept"
        );
    }
    let other = testkit::store();
    let error = load_for(&crate::support::engine(&other), &dir, Some("linux/riscv64")).unwrap_err();
    assert!(
        message(&error).contains("no image for linux/riscv64"),
        "{}",
        message(&error)
    );
    assert_eq!(error.hints(), ["pass `--platform linux/amd64`"]);
    crate::support::assert_empty(&other);

    // An archive need not have all that its index tells of.
    for entry in &entries[..2] {
        let blob = dir.join("blobs/sha256").join(entry.digest.hex());
        std::fs::remove_file(blob).unwrap();
    }
    let other = testkit::store();
    let engine = crate::support::engine(&other);
    load(&engine, &dir).unwrap();
    let image = other.store().resolve("localhost/multi:1").unwrap();
    assert_eq!(image.platform.to_string(), "linux/arm/v7");
}

const STDIN_ROOT: &str = "BARQUE_TEST_STDIN_ROOT";

/// The process that loads its stdin; does nothing unless the variable names a store.
#[test]
fn child_loads_stdin() {
    let Ok(root) = std::env::var(STDIN_ROOT) else {
        return;
    };
    let engine = engine::Engine::open(std::path::Path::new(&root)).unwrap();
    engine
        .load(&engine::transfer::LoadRequest::default())
        .unwrap();
}

#[test]
fn an_archive_comes_by_stdin_as_a_file_and_through_a_pipe() {
    let store = testkit::store();
    let image = two_layers().name("app:1").build(&store).unwrap();
    let path = store.beside().join("app.tar");
    let (docker, none) = (ArchiveFormat::DockerArchive, Compression::None);
    save(&engine(&store), &["app:1"], &path, docker, none);
    let child = |root: &std::path::Path, stdin: std::process::Stdio| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "archives::child_loads_stdin"]);
        run(command.env(STDIN_ROOT, root).stdin(stdin));
    };
    let other = testkit::store();
    child(
        other.store().root(),
        std::fs::File::open(&path).unwrap().into(),
    );
    assert_eq!(other.store().resolve("app:1").unwrap().id, image.id);
    for tool in ["cat", "gzip", "zstd"] {
        let other = testkit::store();
        let mut command = Command::new(tool);
        if tool != "cat" {
            command.arg("-c");
        }
        let mut feeder = command
            .arg(&path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child(other.store().root(), feeder.stdout.take().unwrap().into());
        assert!(
            feeder.wait().unwrap().success(),
            "its writer is not cut off"
        );
        assert_eq!(
            other.store().resolve("app:1").unwrap().id,
            image.id,
            "{tool}"
        );
    }
}
