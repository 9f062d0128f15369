//! Images of several platforms under one name, pulled and pushed as one.

use std::collections::BTreeMap;

use engine::exchange::{PullRequest, Pulled};
use oci::{Descriptor, Digest, Index, Platform, media_type};
use testkit::registry::FaultyRegistry;

use super::journeys::{built, manifest_of, registry};
use super::{Place, silent};
use crate::support::message;

/// An index of three platforms and an attestation at `registry`, under `a/b:all`, made of the image `a/b:1`.
fn publish(registry: &FaultyRegistry) -> Digest {
    let name = format!("{}/a/b:1", registry.host());
    built(&name).push(&name).unwrap();
    registry.with(|memory| {
        let (digest, manifest) = manifest_of(memory, "a/b", "1");
        let size = memory.manifests[&("a/b".to_owned(), digest)].1.len() as u64;
        let mut manifests = vec![Descriptor {
            platform: Some(Platform::host()),
            ..Descriptor::new(media_type::OCI_MANIFEST, digest, size)
        }];
        for architecture in ["s390x", "ppc64le"] {
            let config = &memory.blobs[&("a/b".to_owned(), manifest.config.digest)];
            let mut config: serde_json::Value = serde_json::from_slice(config).unwrap();
            config["architecture"] = architecture.into();
            let config = serde_json::to_vec(&config).unwrap();
            let mut other = manifest.clone();
            other.config.digest = memory.blob("a/b", &config);
            other.config.size = config.len() as u64;
            let bytes = serde_json::to_vec(&other).unwrap();
            let digest = memory.manifest("a/b", architecture, media_type::OCI_MANIFEST, &bytes);
            manifests.push(Descriptor {
                platform: format!("linux/{architecture}").parse().ok(),
                ..Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64)
            });
        }
        let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
        let config = br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let mut attestation = manifest;
        attestation.config = Descriptor::new(
            media_type::OCI_CONFIG,
            memory.blob("a/b", config),
            config.len() as u64,
        );
        attestation.layers = vec![Descriptor::new(
            "application/vnd.in-toto+json",
            memory.blob("a/b", statement),
            statement.len() as u64,
        )];
        let bytes = serde_json::to_vec(&attestation).unwrap();
        let digest = memory.manifest("a/b", "attestation", media_type::OCI_MANIFEST, &bytes);
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
        entry.platform = "unknown/unknown".parse().ok();
        let kind = ("vnd.docker.reference.type", "attestation-manifest");
        entry.annotations = BTreeMap::from([(kind.0.to_owned(), kind.1.to_owned())]);
        manifests.push(entry);
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        memory.manifest("a/b", "all", media_type::OCI_INDEX, &bytes)
    })
}

fn pull(place: &Place, image: &str, platforms: Option<&str>) -> Result<Pulled, engine::Error> {
    let request = PullRequest {
        image: image.to_owned(),
        platform: platforms.map(str::to_owned),
        all_platforms: platforms.is_none(),
        ..PullRequest::default()
    };
    Ok(place.engine.pull(&request, &silent())?.remove(0))
}

#[test]
fn an_index_comes_and_goes_with_all_that_it_lists() {
    let registry = registry();
    let digest = publish(&registry);
    let all = format!("{}/a/b:all", registry.host());
    let place = Place::new();
    let pulled = pull(&place, &all, None).unwrap();
    assert_eq!(pulled.digest, digest);
    assert!(pulled.newer);
    let index = place.store.store().find_index(&all).unwrap().unwrap();
    assert_eq!((index.digest, index.images.len()), (digest, 3));
    // For this machine it is the image for this machine.
    let host = place.store.resolve(&all).unwrap();
    assert_eq!(host.platform, Platform::host());
    let fetched = registry.count("GET", "/blobs/");
    assert!(!pull(&place, &all, None).unwrap().newer);
    let again = registry.count("GET", "/blobs/") - fetched;
    assert_eq!(again, 0, "all of it is here");
    // Elsewhere it is the same, attestation and all.
    let other = super::journeys::registry();
    let there = format!("{}/c:1", other.host());
    place.engine.tag(&all, &there).unwrap();
    assert_eq!(place.push(&there).unwrap().digest, digest);
    let count = |registry: &FaultyRegistry, name: &str| {
        registry.with(|memory| {
            let blobs = memory.blobs.keys().filter(|key| key.0 == name).count();
            let manifests = memory.manifests.keys().filter(|key| key.0 == name).count();
            (blobs, manifests)
        })
    };
    assert_eq!(count(&other, "c"), count(&registry, "a/b"));
    assert_eq!(pull(&Place::new(), &there, None).unwrap().digest, digest);
}

#[test]
fn some_platforms_of_an_index_make_one_of_those() {
    let registry = registry();
    let digest = publish(&registry);
    let all = format!("{}/a/b:all", registry.host());
    let place = Place::new();
    let pulled = pull(&place, &all, Some("linux/ppc64le, linux/s390x")).unwrap();
    assert_eq!(pulled.digest, digest, "what the name means");
    let index = place.store.store().find_index(&all).unwrap().unwrap();
    let platforms: Vec<String> = index
        .images
        .iter()
        .map(|image| image.platform.to_string())
        .collect();
    assert_eq!(platforms, ["linux/ppc64le", "linux/s390x"]);
    let error = pull(&place, &all, Some("linux/s390x,linux/riscv64")).unwrap_err();
    assert!(message(&error).contains("linux/riscv64"), "{error}");
    let one = format!("{}/a/b:1", registry.host());
    let error = pull(&place, &one, Some("linux/s390x,linux/ppc64le")).unwrap_err();
    assert!(message(&error).contains("no index"), "{error}");
    // All of a single image is that image.
    pull(&place, &one, None).unwrap();
    assert!(place.engine.has_image(&one));
}

#[test]
fn what_an_index_lists_goes_with_its_images() {
    let registry = registry();
    publish(&registry);
    let all = format!("{}/a/b:all", registry.host());
    let place = Place::new();
    pull(&place, &all, None).unwrap();
    let store = place.store.store();
    for image in store.images().unwrap() {
        store.remove_image(&image.digest.to_string(), true).unwrap();
    }
    assert!(store.images().unwrap().is_empty());
    store.upkeep().unwrap();
    let blobs = std::fs::read_dir(store.root().join("blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[test]
fn an_index_of_no_images_or_of_too_many_entries_is_refused_before_anything_comes() {
    let entry = |number: usize| {
        let digest = Digest::sha256_of(number.to_string().as_bytes());
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, 100);
        entry.platform = "unknown/unknown".parse().ok();
        entry
    };
    for (count, why) in [(1, "lists no image"), (1000, "more than")] {
        let registry = registry();
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: (0..count).map(entry).collect(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        registry.with(|memory| memory.manifest("a/b", "all", media_type::OCI_INDEX, &bytes));
        let name = format!("{}/a/b:all", registry.host());
        let error = pull(&Place::new(), &name, None).unwrap_err();
        assert!(message(&error).contains(why), "{error}");
        assert_eq!(registry.count("GET", "/manifests/sha256"), 0, "{why}");
    }
}
