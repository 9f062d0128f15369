//! Registries whose images are not what they say.

use oci::{Descriptor, Digest, media_type};
use testkit::registry::{Act, FaultyRegistry, faulty_registry};

use super::Place;

/// An image at a registry, made of parts that need not fit.
struct Forged {
    layer: Vec<u8>,
    layer_size: Option<u64>,
    media_type: &'static str,
    diff_id: Digest,
    config_extra: &'static str,
    layers: usize,
}

fn tar() -> Vec<u8> {
    // One empty file and the end.
    let mut block = vec![0; 512];
    block[..4].copy_from_slice(b"file");
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(b"00000000000");
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.resize(512 * 3, 0);
    block
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    use layer::compression::{Compression, Encoder, Level};
    let mut encoder = Encoder::new(Vec::new(), Compression::Gzip, Level::Default).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Forged {
    fn good() -> Self {
        Self {
            layer: gzip(&tar()),
            layer_size: None,
            media_type: media_type::OCI_LAYER_GZIP,
            diff_id: Digest::sha256_of(&tar()),
            config_extra: "",
            layers: 1,
        }
    }

    fn put(&self, registry: &FaultyRegistry) -> String {
        let host = oci::Platform::host();
        let ids = vec![format!("\"{}\"", self.diff_id); self.layers].join(",");
        let config = format!(
            r#"{{"architecture":"{}","os":"linux","rootfs":{{"type":"layers","diff_ids":[{ids}]}}{}}}"#,
            host.architecture, self.config_extra
        );
        registry.with(|memory| {
            let layer = memory.blob("a/b", &self.layer);
            let size = self.layer_size.unwrap_or(self.layer.len() as u64);
            let layer = Descriptor::new(self.media_type, layer, size);
            let digest = memory.blob("a/b", config.as_bytes());
            let config = Descriptor::new(media_type::OCI_CONFIG, digest, config.len() as u64);
            let manifest = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": media_type::OCI_MANIFEST,
                "config": config,
                "layers": vec![layer; self.layers],
            });
            let bytes = serde_json::to_vec(&manifest).unwrap();
            memory.manifest("a/b", "1", media_type::OCI_MANIFEST, &bytes);
        });
        format!("{}/a/b:1", registry.host())
    }

    /// The message of a pull that must fail and leave nothing.
    fn refused(&self) -> String {
        let registry = faulty_registry(|_, _| Act::Serve);
        let name = self.put(&registry);
        let place = Place::new();
        let error = place.pull(&name).unwrap_err();
        assert!(place.store.images().unwrap().is_empty());
        assert!(place.store.layers().unwrap().is_empty());
        crate::support::message(&error)
    }
}

#[test]
fn the_good_one_comes() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let name = Forged::good().put(&registry);
    Place::new().pull(&name).unwrap();
    let empty = Forged {
        layers: 0,
        ..Forged::good()
    };
    let registry = faulty_registry(|_, _| Act::Serve);
    Place::new().pull(&empty.put(&registry)).unwrap();
    // The same layer several times is fetched once.
    let many = Forged {
        layers: 5,
        ..Forged::good()
    };
    let registry = faulty_registry(|_, _| Act::Serve);
    let name = many.put(&registry);
    let place = Place::new();
    place.pull(&name).unwrap();
    assert_eq!(place.store.resolve(&name).unwrap().layers.len(), 5);
    assert_eq!(
        registry.count("GET", &Digest::sha256_of(&many.layer).to_string()),
        1
    );
}

#[test]
fn a_layer_that_unpacks_to_something_else_is_refused() {
    let forged = Forged {
        diff_id: Digest::sha256_of(b"another"),
        ..Forged::good()
    };
    let said = forged.refused();
    assert!(said.contains("layer 1 of 1"), "{said}");
    let (found, expected) = (Digest::sha256_of(&tar()), forged.diff_id);
    let why = format!("it unpacks to `{found}`, but the image's config says `{expected}`");
    assert!(said.contains(&why), "{said}");
}

#[test]
fn layers_that_nobody_here_can_read_are_named() {
    let forged = Forged {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        ..Forged::good()
    };
    assert!(forged.refused().contains("encrypted"));
}

#[test]
fn lying_sizes_are_refused() {
    let size = Forged::good().layer.len() as u64;
    for lie in [0, size - 1, size + 1, u64::MAX] {
        let forged = Forged {
            layer_size: Some(lie),
            ..Forged::good()
        };
        forged.refused();
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    let whole = Forged::good().layer;
    let cut = whole[..whole.len() - 6].to_vec();
    let mut more = whole;
    more.extend_from_slice(b"trailing");
    for layer in [cut, more, b"no gzip at all".to_vec(), Vec::new()] {
        let forged = Forged {
            layer,
            ..Forged::good()
        };
        forged.refused();
    }
}

#[test]
fn layers_with_indexes_of_their_own_are_layers() {
    use std::io::Write as _;

    use layer::compression::{Compression, Encoder, Level};
    // eStargz: several gzip members, the last one empty. zstd:chunked: a frame that decoders skip at the end.
    let mut stargz = gzip(&tar()[..700]);
    stargz.extend(gzip(&tar()[700..]));
    stargz.extend(gzip(b""));
    let mut encoder = Encoder::new(Vec::new(), Compression::Zstd, Level::Default).unwrap();
    encoder.write_all(&tar()).unwrap();
    let mut chunked = encoder.finish().unwrap();
    chunked.extend([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, b'x', b'x', b'x', b'x']);
    for (layer, media_type) in [
        (stargz, media_type::OCI_LAYER_GZIP),
        (chunked, media_type::OCI_LAYER_ZSTD),
    ] {
        let good = Forged {
            layer,
            media_type,
            ..Forged::good()
        };
        let registry = faulty_registry(|_, _| Act::Serve);
        Place::new().pull(&good.put(&registry)).unwrap();
    }
}

#[test]
fn sha512_is_as_good_as_sha256() {
    let sha512 = |bytes: &[u8]| {
        let mut hasher = oci::Hasher::new(oci::Algorithm::Sha512);
        hasher.update(bytes);
        hasher.finish()
    };
    let registry = faulty_registry(|_, _| Act::Serve);
    let name = Forged::good().put(&registry);
    let digest = registry.with(|memory| {
        let tagged = memory.tags[&("a/b".to_owned(), "1".to_owned())];
        let (_, bytes) = memory.manifests[&("a/b".to_owned(), tagged)].clone();
        let mut manifest: oci::Manifest = serde_json::from_slice(&bytes).unwrap();
        for part in std::iter::once(&mut manifest.config).chain(&mut manifest.layers) {
            let bytes = memory.blobs[&("a/b".to_owned(), part.digest)].clone();
            part.digest = sha512(&bytes);
            memory.blobs.insert(("a/b".to_owned(), part.digest), bytes);
        }
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = sha512(&bytes);
        let key = ("a/b".to_owned(), digest);
        memory
            .manifests
            .insert(key, (media_type::OCI_MANIFEST.to_owned(), bytes));
        digest
    });
    let pinned = format!("{}@{digest}", name.trim_end_matches(":1"));
    let place = Place::new();
    assert_eq!(place.pull(&pinned).unwrap().digest, digest);
    let image = place.store.resolve(&pinned).unwrap();
    assert_eq!(image.id.digest().algorithm(), oci::Algorithm::Sha512);
    place.store.config(&image).unwrap();
    assert!(
        place
            .store
            .fsck(&store::FsckOptions::default())
            .unwrap()
            .findings
            .is_empty()
    );
    assert!(!place.pull(&pinned).unwrap().newer);
}

#[test]
fn layers_that_nobody_may_pass_on_are_not_passed_on() {
    let forged = Forged {
        media_type: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ..Forged::good()
    };
    let (from, to) = (
        faulty_registry(|_, _| Act::Serve),
        faulty_registry(|_, _| Act::Serve),
    );
    let name = forged.put(&from);
    let place = Place::new();
    let pulled = place.pull(&name).unwrap();
    let other = format!("{}/c:1", to.host());
    place.engine.tag(&name, &other).unwrap();
    assert_eq!(place.push(&other).unwrap().digest, pulled.digest);
    let layer = Digest::sha256_of(&forged.layer);
    let has = to.with(|memory| memory.blobs.keys().any(|(_, digest)| *digest == layer));
    assert!(!has);
}

#[test]
fn a_plain_layer_is_known_by_its_digest_alone() {
    // `tar+gzip` is only a name; bytes whose digest is the DiffID are the layer.
    let plain = Forged {
        layer: tar(),
        media_type: media_type::OCI_LAYER,
        ..Forged::good()
    };
    let registry = faulty_registry(|_, _| Act::Serve);
    Place::new().pull(&plain.put(&registry)).unwrap();
}

#[test]
fn ten_thousand_layers_are_refused() {
    let forged = Forged {
        layers: 10_000,
        ..Forged::good()
    };
    assert!(forged.refused().contains("10000 layers"));
}

#[test]
fn indexes_in_a_circle_are_refused() {
    // A circle of digests cannot be made; a long chain can.
    let registry = faulty_registry(|_, _| Act::Serve);
    let name = Forged::good().put(&registry);
    registry.with(|memory| {
        let mut below = memory.tags[&("a/b".to_owned(), "1".to_owned())];
        let mut size = memory.manifests[&("a/b".to_owned(), below)].1.len();
        let mut kind = media_type::OCI_MANIFEST;
        for _ in 0..50 {
            let entry = Descriptor::new(kind, below, size as u64);
            let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
            let bytes = serde_json::to_vec(&index).unwrap();
            size = bytes.len();
            kind = media_type::OCI_INDEX;
            below = memory.manifest("a/b", "1", kind, &bytes);
        }
    });
    let error = Place::new().pull(&name).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
    let copied = Place::new().copy(&name, &format!("{}/c:1", registry.host()), true);
    assert!(copied.unwrap_err().to_string().contains("without end"));
}

#[test]
fn an_artifact_is_no_image() {
    let registry = faulty_registry(|_, _| Act::Serve);
    registry.with(|memory| {
        let config = memory.blob("a/b", b"{}");
        let config = Descriptor::new(media_type::OCI_EMPTY, config, 2);
        let layer = Descriptor::new("text/plain", memory.blob("a/b", b"hello"), 5);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "artifactType": "application/vnd.example", "config": config, "layers": [layer],
        });
        let bytes = serde_json::to_vec(&manifest).unwrap();
        memory.manifest("a/b", "1", media_type::OCI_MANIFEST, &bytes);
    });
    let name = format!("{}/a/b:1", registry.host());
    let place = Place::new();
    let error = place.pull(&name).unwrap_err();
    assert!(
        error.to_string().contains("application/vnd.example"),
        "{error}"
    );
    // It can be copied, and looked at.
    place
        .copy(&name, &format!("{}/c:1", registry.host()), false)
        .unwrap();
    place.engine.inspect_remote(&name, None).unwrap();
}
