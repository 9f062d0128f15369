//! Archives that lie. Each gives one error that says why, and leaves nothing in the store.

use std::path::{Path, PathBuf};

use layer::{Kind, Meta, tar};
use oci::{Digest, media_type};
use serde_json::{Value, json};
use testkit::TempStore;

use crate::support::{assert_empty, engine, load, message};

/// Files by name, to be an archive or a folder.
#[derive(Debug, Clone, Default)]
struct Files(Vec<(String, Meta, Vec<u8>)>);

impl Files {
    fn put(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref().to_vec();
        self.0.push((
            name.to_owned(),
            Meta::file(bytes.len() as u64, 0o644),
            bytes,
        ));
        self
    }

    fn special(&mut self, name: &str, kind: Kind) -> &mut Self {
        self.0
            .push((name.to_owned(), Meta::new(kind, 0o644), Vec::new()));
        self
    }

    fn json(&mut self, name: &str, value: &Value) -> &mut Self {
        self.put(name, value.to_string())
    }

    /// Adds a blob of a layout and gives its descriptor.
    fn blob(&mut self, kind: &str, bytes: impl AsRef<[u8]>) -> Value {
        let digest = Digest::sha256_of(bytes.as_ref());
        self.put(&format!("blobs/sha256/{}", digest.hex()), &bytes);
        json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.as_ref().len() })
    }

    fn remove(&mut self, name: &str) -> &mut Self {
        self.0.retain(|(other, ..)| other != name);
        self
    }

    fn tar(&self) -> Vec<u8> {
        let mut writer = tar::Writer::new(Vec::new());
        for (name, meta, bytes) in &self.0 {
            writer
                .append(name.as_bytes(), meta, &mut bytes.as_slice())
                .unwrap();
        }
        writer.finish().unwrap()
    }
}

/// The tar of a root filesystem with one file.
fn layer() -> Vec<u8> {
    let mut files = Files::default();
    files.put("etc/motd", b"hello");
    files.tar()
}

fn config(layers: &[&[u8]]) -> String {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| Digest::sha256_of(layer).to_string())
        .collect();
    json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } }).to_string()
}

/// A Docker archive as skopeo writes it.
fn docker() -> Files {
    let mut files = Files::default();
    files.put("config.json", config(&[&layer()]));
    files.put("layer.tar", layer());
    files.json(
        "manifest.json",
        &json!([{ "Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"] }]),
    );
    files
}

/// A layout whose manifest is what `change` makes of a good one.
fn layout(change: impl FnOnce(&mut Value)) -> Files {
    let mut files = Files::default();
    let config = files.blob(media_type::OCI_CONFIG, config(&[&layer()]));
    let layer = files.blob(media_type::OCI_LAYER, layer());
    let mut manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    change(&mut manifest);
    let manifest = files.blob(media_type::OCI_MANIFEST, manifest.to_string());
    files.put("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    files.json(
        "index.json",
        &json!({ "schemaVersion": 2, "manifests": [manifest] }),
    );
    files
}

fn write(store: &TempStore, bytes: &[u8]) -> PathBuf {
    let path = store.beside().join("archive.tar");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Loads and gives the error; nothing may be left.
fn refused(bytes: &[u8]) -> String {
    let store = testkit::store();
    let path = write(&store, bytes);
    refused_path(&store, &path)
}

fn refused_path(store: &TempStore, path: &Path) -> String {
    let error = load(&engine(store), path).unwrap_err();
    assert_empty(store);
    let text = message(&error);
    assert!(!text.contains(['\n', '\x1b']), "{text:?}");
    text
}

#[track_caller]
fn assert_refused(files: &Files, why: &str) {
    let text = refused(&files.tar());
    assert!(text.contains(why), "`{text}` should contain `{why}`");
}

#[test]
fn what_these_tests_start_from_is_good() {
    for files in [docker(), layout(|_| ())] {
        let store = testkit::store();
        let path = write(&store, &files.tar());
        assert_eq!(load(&engine(&store), &path).unwrap().len(), 1);
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(refused(b"").contains("no images"));
    assert!(refused(&[0; 10240]).contains("no images"));
    assert!(refused(&[b'x'; 10240]).contains("not a good tar"));
    let whole = docker().tar();
    for length in [100, 512, 700, 1500, 3000] {
        refused(&whole[..length]);
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0];
    gzip.extend_from_slice(&[b'x'; 1000]);
    refused(&gzip);
    refused(&layer());
}

#[test]
fn a_name_with_two_meanings_is_refused() {
    let mut files = docker();
    files.json("manifest.json", &json!([]));
    assert_refused(&files, "`manifest.json` is in it twice");
    let mut files = docker();
    files.put("./layer.tar", b"other");
    assert_refused(&files, "`layer.tar` is in it twice");
    let mut files = layout(|_| ());
    files.put("/index.json", b"{}");
    assert_refused(&files, "`index.json` is in it twice");
}

#[test]
fn documents_with_two_meanings_are_refused() {
    assert_refused(
        &layout(|manifest| manifest["manifests"] = json!([])),
        "two meanings",
    );
    assert_refused(
        &layout(|manifest| manifest["mediaType"] = json!(media_type::OCI_INDEX)),
        "announced as",
    );
    let mut files = docker();
    files.remove("manifest.json");
    files.put(
        "manifest.json",
        r#"[{"Config":"config.json","config":"other.json","Layers":["layer.tar"]}]"#,
    );
    assert_refused(&files, "comes twice");
    let mut files = docker();
    files.remove("manifest.json");
    files.put(
        "manifest.json",
        r#"[{"Config":"config.json","Config":"other.json","Layers":["layer.tar"]}]"#,
    );
    assert_refused(&files, "duplicate field");
}

#[test]
fn lists_that_disagree_are_refused() {
    let mut files = layout(|_| ());
    let other = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
    let index = files.0.pop().unwrap().2;
    let mut index: Value = serde_json::from_slice(&index).unwrap();
    index["manifests"][0]["annotations"] =
        json!({ "io.containerd.image.name": "docker.io/library/a:1" });
    files.json("index.json", &index);
    files.json("other.json", &other);
    files.json(
        "manifest.json",
        &json!([{ "Config": "other.json", "RepoTags": ["a:1"], "Layers": [] }]),
    );
    assert_refused(&files, "disagree about `a:1`");
}

#[test]
fn sizes_that_lie_are_refused() {
    for size in [
        json!(1),
        json!(1 << 20),
        json!(-1),
        json!(1e30),
        json!("5"),
        json!(u64::MAX),
    ] {
        refused(&layout(|manifest| manifest["layers"][0]["size"] = size.clone()).tar());
        refused(&layout(|manifest| manifest["config"]["size"] = size.clone()).tar());
    }
}

#[test]
fn digests_that_lie_are_refused() {
    let other = Digest::sha256_of(b"other").to_string();
    let missing = layout(|manifest| manifest["layers"][0]["digest"] = json!(other));
    assert_refused(&missing, "is missing");
    // The bytes are there, under the name of others.
    let mut files = layout(|_| ());
    let layer = format!("blobs/sha256/{}", Digest::sha256_of(&layer()).hex());
    files.remove(&layer);
    let mut forged = crate::hostile::layer();
    forged[600] ^= 1;
    files.put(&layer, &forged);
    refused(&files.tar());
    let mut files = docker();
    files.remove("layer.tar");
    files.put("layer.tar", &forged);
    refused(&files.tar());
    // A config under another name.
    let mut files = layout(|_| ());
    let name = format!(
        "blobs/sha256/{}",
        Digest::sha256_of(config(&[&crate::hostile::layer()]).as_bytes()).hex()
    );
    files.remove(&name);
    files.put(&name, config(&[]));
    assert_refused(&files, "expected");
}

#[test]
fn a_compressed_blob_that_is_another_layer_is_refused() {
    let mut other = Files::default();
    other.put("etc/motd", b"forged");
    let bytes = {
        let mut encoder = layer::compression::Encoder::new(
            Vec::new(),
            layer::compression::Compression::Gzip,
            layer::compression::Level::Default,
        )
        .unwrap();
        std::io::Write::write_all(&mut encoder, &other.tar()).unwrap();
        encoder.finish().unwrap()
    };
    let forged = || {
        let mut files = Files::default();
        let config = files.blob(media_type::OCI_CONFIG, config(&[&layer()]));
        let blob = files.blob(media_type::OCI_LAYER_GZIP, &bytes);
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [blob] });
        let manifest = files.blob(media_type::OCI_MANIFEST, manifest.to_string());
        files.put("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        files.json(
            "index.json",
            &json!({ "schemaVersion": 2, "manifests": [manifest] }),
        );
        files
    };
    assert_refused(&forged(), "it unpacks to");
    // Neither is it believed when the store has the real layer.
    let store = testkit::store();
    let path = write(&store, &layout(|_| ()).tar());
    load(&engine(&store), &path).unwrap();
    let path = write(&store, &forged().tar());
    load(&engine(&store), &path).unwrap_err();
    assert_eq!(store.store().images().unwrap().len(), 1);
    let id = oci::DiffId::from_digest(Digest::sha256_of(&layer()));
    assert_eq!(store.store().compressed(&id).unwrap(), []);
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in [
        "../../../etc/passwd",
        "/etc/passwd",
        "a/../../x",
        "",
        ".",
        "etc/\u{1b}[31mred",
    ] {
        let mut files = docker();
        files.remove("manifest.json");
        files.json(
            "manifest.json",
            &json!([{ "Config": name, "RepoTags": ["a:1"], "Layers": ["layer.tar"] }]),
        );
        refused(&files.tar());
        let mut files = docker();
        files.remove("manifest.json");
        files.json(
            "manifest.json",
            &json!([{ "Config": "config.json", "RepoTags": ["a:1"], "Layers": [name] }]),
        );
        refused(&files.tar());
    }
    let digest = "sha256:../../../../../../../../../../../../../../etc/passwd";
    refused(&layout(|manifest| manifest["layers"][0]["digest"] = json!(digest)).tar());
    for name in ["../a", "A:1", "a b", "a:1\n"] {
        let mut files = docker();
        files.remove("manifest.json");
        files.json(
            "manifest.json",
            &json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]),
        );
        refused(&files.tar());
    }
}

#[test]
fn links_between_members_stay_inside() {
    let link = |target: &str| {
        let mut files = docker();
        files.remove("layer.tar");
        files.put("real/layer.tar", layer());
        files.special(
            "layer.tar",
            Kind::Symlink {
                target: target.into(),
            },
        );
        files
    };
    let store = testkit::store();
    let path = write(&store, &link("real/layer.tar").tar());
    assert_eq!(load(&engine(&store), &path).unwrap().len(), 1);
    assert_refused(&link("../../etc/passwd"), "not a regular file");
    assert_refused(&link("/etc/passwd"), "is missing");
    assert_refused(&link("layer.tar"), "lead nowhere");
    let mut files = docker();
    files.remove("layer.tar");
    files.special("layer.tar", Kind::Fifo);
    assert_refused(&files, "not a regular file");
    let mut files = docker();
    files.remove("layer.tar");
    files.special("layer.tar", Kind::CharDevice { major: 1, minor: 5 });
    assert_refused(&files, "not a regular file");
}

#[test]
fn layers_of_docker_archives_may_be_links_to_each_other() {
    // As docker wrote them until version 24, and podman does still.
    let mut files = Files::default();
    files.put("1111/layer.tar", layer());
    files.special(
        "2222/layer.tar",
        Kind::Symlink {
            target: b"../1111/layer.tar".to_vec(),
        },
    );
    files.special(
        "3333/layer.tar",
        Kind::HardLink {
            target: b"1111/layer.tar".to_vec(),
        },
    );
    let all = layer();
    files.put("config.json", config(&[&all, &all, &all]));
    let layers = ["1111/layer.tar", "2222/layer.tar", "3333/layer.tar"];
    files.json(
        "manifest.json",
        &json!([{ "Config": "config.json", "RepoTags": null, "Layers": layers }]),
    );
    let store = testkit::store();
    let path = write(&store, &files.tar());
    let loaded = load(&engine(&store), &path).unwrap();
    assert!(loaded[0].names.is_empty());
    assert_eq!(store.store().images().unwrap()[0].layers.len(), 3);
}

#[test]
fn documents_without_end_are_refused() {
    let large = vec![b' '; usize::try_from(oci::MAX_DOCUMENT_SIZE).unwrap() + 1];
    for name in ["manifest.json", "index.json", "oci-layout", "config.json"] {
        let mut files = if name == "config.json" || name == "manifest.json" {
            docker()
        } else {
            layout(|_| ())
        };
        files.remove(name);
        files.put(name, &large);
        assert_refused(&files, "are allowed");
    }
    let deep = "[".repeat(1_000_000);
    let mut files = docker();
    files.remove("manifest.json");
    files.put("manifest.json", &deep);
    refused(&files.tar());
    // Indexes below indexes.
    let mut files = Files::default();
    let mut next = files.blob(
        media_type::OCI_INDEX,
        r#"{"schemaVersion":2,"manifests":[]}"#,
    );
    for _ in 0..20 {
        let index = json!({ "schemaVersion": 2, "manifests": [next] });
        next = files.blob(media_type::OCI_INDEX, index.to_string());
    }
    files.put("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    files.json(
        "index.json",
        &json!({ "schemaVersion": 2, "manifests": [next] }),
    );
    assert_refused(&files, "without end");
}

#[test]
fn the_same_document_again_and_again_is_refused() {
    let mut files = docker();
    files.remove("manifest.json");
    files.remove("config.json");
    let padded = config(&[&layer()]) + &" ".repeat(4_000_000);
    files.put("config.json", padded);
    let image = json!({ "Config": "config.json", "Layers": ["layer.tar"] });
    files.json("manifest.json", &json!(vec![&image; 100]));
    assert_refused(&files, "bytes together");
    files.remove("manifest.json");
    files.json("manifest.json", &json!(vec![&image; 1001]));
    assert_refused(&files, "more than 1000 images");
}

#[test]
fn an_archive_of_very_many_members_is_refused() {
    let mut bytes = Vec::new();
    for number in 0..100_001 {
        tar::header(
            format!("{number}").as_bytes(),
            &Meta::file(0, 0o644),
            &mut bytes,
        );
    }
    bytes.extend_from_slice(&tar::TRAILER);
    assert!(refused(&bytes).contains("more than 100000 members"));
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    assert_refused(
        &layout(|manifest| manifest["layers"] = json!([])),
        "0 layers",
    );
    assert_refused(
        &layout(|manifest| manifest["config"]["mediaType"] = json!("application/x")),
        "no images",
    );
    let mut files = docker();
    files.remove("manifest.json");
    files.json(
        "manifest.json",
        &json!([{ "Config": "config.json", "Layers": [] }]),
    );
    assert_refused(&files, "0 layers");
    let mut files = docker();
    files.remove("config.json");
    files.put("config.json", "{}");
    refused(&files.tar());
    // One good image does not save a bad one.
    let mut files = docker();
    files.remove("manifest.json");
    let good = json!({ "Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"] });
    let bad = json!({ "Config": "config.json", "RepoTags": ["b:1"], "Layers": ["missing.tar"] });
    files.json("manifest.json", &json!([good, bad]));
    assert_refused(&files, "`missing.tar` is missing");
}

#[test]
fn folders_are_read_without_leaving_them() {
    let folder = |store: &TempStore| {
        let dir = store.beside().join("layout");
        for (name, _, bytes) in layout(|_| ()).0 {
            std::fs::create_dir_all(dir.join(&name).parent().unwrap()).unwrap();
            std::fs::write(dir.join(&name), bytes).unwrap();
        }
        let layer = dir.join(format!(
            "blobs/sha256/{}",
            Digest::sha256_of(&layer()).hex()
        ));
        (dir, layer)
    };
    let store = testkit::store();
    let (dir, _) = folder(&store);
    assert_eq!(load(&engine(&store), &dir).unwrap().len(), 1);
    // The right bytes, but outside.
    let store = testkit::store();
    let (dir, blob) = folder(&store);
    let outside = store.beside().join("outside");
    std::fs::rename(&blob, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    refused_path(&store, &dir);
    // A pipe that nobody writes to must not be waited for.
    std::fs::remove_file(&blob).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(&blob)
        .status()
        .unwrap();
    assert!(made.success());
    refused_path(&store, &dir);
}

#[test]
fn a_bomb_of_zeros_ends_with_the_archive() {
    use layer::compression::{Compression, Encoder, Level};
    // What comes behind the end of an archive is not spooled.
    let mut bytes = docker().tar();
    bytes.resize(bytes.len() + (300 << 20), 0);
    let mut encoder = Encoder::new(Vec::new(), Compression::Zstd, Level::Default).unwrap();
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    let store = testkit::store();
    let path = write(&store, &encoder.finish().unwrap());
    assert_eq!(load(&engine(&store), &path).unwrap().len(), 1);
}
