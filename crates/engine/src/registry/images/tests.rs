use distribution::server::storage::Condition;
use oci::{Platform, media_type};

use super::super::shown::Shown;
use super::*;

/// A manifest whose parts are in the store, and its entry in an index.
fn manifest(
    images: &Images,
    platform: &str,
    layers: &[(&str, &[u8])],
) -> (NewManifest, Descriptor) {
    let (architecture, os) = platform.split_once('/').unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = *images.lease.put_blob(bytes).unwrap().digest();
        Descriptor::new(kind, digest, bytes.len() as u64)
    };
    let config = serde_json::json!({
        "architecture": architecture,
        "os": os,
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let layers: Vec<Descriptor> = layers.iter().map(|(kind, it)| put(kind, it)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": put(media_type::OCI_CONFIG, &config),
        "layers": layers,
    });
    let new = new(media_type::OCI_MANIFEST, &manifest);
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, new.digest, new.bytes.len() as u64);
    entry.platform = format!("{os}/{architecture}").parse().ok();
    (new, entry)
}

fn new(media_type: &str, document: &serde_json::Value) -> NewManifest {
    let bytes = serde_json::to_vec(document).unwrap();
    NewManifest {
        digest: Digest::sha256_of(&bytes),
        media_type: media_type.to_owned(),
        bytes: bytes.into(),
        blobs: Vec::new(),
        manifests: Vec::new(),
        referrer: None,
        tags: Vec::new(),
    }
}

fn index(entries: &[&Descriptor]) -> NewManifest {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": entries,
    });
    new(media_type::OCI_INDEX, &document)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_comes_and_goes_with_the_index_that_lists_it() {
    let place = testkit::store();
    let images = Engine::over(place.store().clone())
        .as_storage("test")
        .unwrap();
    let name: Repository = "a/b".parse().unwrap();
    let host = Platform::host();
    let host = format!("{}/{}", host.architecture, host.os);
    let (image, image_entry) = manifest(&images, &host, &[]);
    let statement: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
    let layer = ("application/vnd.in-toto+json", statement);
    let (attestation, listed) = manifest(&images, "unknown/unknown", &[layer]);
    let list = index(&[&image_entry, &listed]);
    let (first, second) = (attestation.digest, list.digest);
    let bytes = attestation.bytes.clone();
    images.put_manifest(&name, image).await.unwrap();
    images.put_manifest(&name, attestation).await.unwrap();
    images.put_manifest(&name, list).await.unwrap();
    let index = place.store().index(&second).unwrap().unwrap();
    assert_eq!(index.images.len(), 1, "an attestation is no image");
    // Nobody holds it but the index.
    drop(images);
    place.store().upkeep().unwrap();
    let images = Engine::over(place.store().clone())
        .as_storage("test")
        .unwrap();
    let found = images.manifest(&name, &first).await.unwrap().unwrap();
    assert_eq!(found.bytes, bytes);
    assert_eq!(found.media_type.as_ref() as &str, media_type::OCI_MANIFEST);
    let blob = place.store().blob(&Digest::sha256_of(statement)).unwrap();
    assert!(blob.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_what_is_not_here_is_refused() {
    let place = testkit::store();
    let images = Engine::over(place.store().clone())
        .as_storage("test")
        .unwrap();
    let name: Repository = "a/b".parse().unwrap();
    let layer: (&str, &[u8]) = ("application/vnd.in-toto+json", b"{}");
    let (attestation, listed) = manifest(&images, "unknown/unknown", &[layer]);
    let digest = attestation.digest;
    assert!(images.manifest(&name, &digest).await.unwrap().is_none());
    let alone = index(&[&listed]);
    images.put_manifest(&name, alone.clone()).await.unwrap_err();
    images.put_manifest(&name, attestation).await.unwrap();
    // An index without any image is none for this store.
    images.put_manifest(&name, alone).await.unwrap_err();
    let other = Digest::sha256_of(b"{}");
    assert!(images.manifest(&name, &other).await.unwrap().is_none());
}

/// Adds members to a document.
fn extended(document: &NewManifest, members: serde_json::Value) -> NewManifest {
    let mut value: serde_json::Value = serde_json::from_slice(&document.bytes).unwrap();
    let more = members.as_object().unwrap().clone();
    value.as_object_mut().unwrap().extend(more);
    new(&document.media_type, &value)
}

/// Something in one repository alone: an image, a statement about it, and the attestation that has the statement.
struct Stated {
    image: Digest,
    statement: Digest,
    attestation: Digest,
}

/// Puts an index with an image and an attestation that refers to it.
async fn stated(images: &Images, repository: &Repository, platform: &str, text: &str) -> Stated {
    let (image, image_entry) = manifest(images, platform, &[]);
    let layer = ("application/vnd.in-toto+json", text.as_bytes());
    let (attestation, mut listed) = manifest(images, "unknown/unknown", &[layer]);
    let subject = serde_json::json!({"subject": image_entry, "artifactType": "test/attestation"});
    let attestation = extended(&attestation, subject);
    listed.digest = attestation.digest;
    listed.size = attestation.bytes.len() as u64;
    let mut list = index(&[&image_entry, &listed]);
    list.tags = vec![NewTag {
        tag: "v1".parse().unwrap(),
        condition: Condition::Always,
    }];
    let found = Stated {
        image: image.digest,
        statement: Digest::sha256_of(text.as_bytes()),
        attestation: attestation.digest,
    };
    for document in [image, attestation, list] {
        images.put_manifest(repository, document).await.unwrap();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_shows_what_its_names_lead_to_and_nothing_else() {
    let place = testkit::store();
    let images = Engine::over(place.store().clone())
        .as_storage("test")
        .unwrap();
    let [open, secret, none]: [Repository; 3] =
        ["open/app", "secret/app", "none/app"].map(|name| name.parse().unwrap());
    let ours = stated(&images, &open, "amd64/linux", "open").await;
    let theirs = stated(&images, &secret, "arm64/linux", "secret").await;
    let shown = Shown(images);
    for (repository, own, other) in [(&open, &ours, &theirs), (&secret, &theirs, &ours)] {
        for elsewhere in [&none, repository] {
            let is_own = elsewhere == repository;
            let blob = shown.blob(elsewhere, &own.statement).await.unwrap();
            assert_eq!(blob.is_some(), is_own);
            let content = shown.open_blob(elsewhere, &own.statement, 0..1).await;
            assert_eq!(content.is_ok(), is_own);
            for digest in [&own.image, &own.attestation] {
                let found = shown.manifest(elsewhere, digest).await.unwrap();
                assert_eq!(found.is_some(), is_own);
            }
            let referrers = shown.referrers(elsewhere, &own.image).await.unwrap();
            let referrers: Vec<_> = referrers
                .iter()
                .map(|entry| (entry.digest, entry.artifact_type.as_deref()))
                .collect();
            let expected = [(own.attestation, Some("test/attestation"))];
            assert_eq!(referrers, expected[..usize::from(is_own)]);
        }
        assert_eq!(
            shown.blob(repository, &other.statement).await.unwrap(),
            None
        );
        let content = shown.open_blob(repository, &other.statement, 0..1).await;
        assert!(matches!(content, Err(StorageError::BlobUnknown(_))));
        for digest in [&other.image, &other.attestation] {
            assert!(shown.manifest(repository, digest).await.unwrap().is_none());
        }
        assert!(
            shown
                .referrers(repository, &other.image)
                .await
                .unwrap()
                .is_empty()
        );
        // A manifest is no blob.
        assert_eq!(shown.blob(repository, &own.image).await.unwrap(), None);
    }
    let started = shown.start_upload(&open, Algorithm::Sha256).await;
    assert!(matches!(started, Err(StorageError::ReadOnly)));
    // What no name leads to any more is not shown, though it is still in the store.
    for (name, _) in place.store().names_in(&name(&open).unwrap()).unwrap() {
        place.store().unname(&name, "test").unwrap();
    }
    assert!(place.store().blob(&ours.statement).unwrap().is_some());
    assert_eq!(shown.blob(&open, &ours.statement).await.unwrap(), None);
    assert!(shown.manifest(&open, &ours.image).await.unwrap().is_none());
}
