//! Pushing and pulling manifests.

use oci::media_type;
use serde_json::json;

use super::desk::{Desk, descriptor, digest, digest512};
use super::over_each_storage;

over_each_storage! {
    bytes_are_kept
    by_digest_with_tags
    too_many_tags
    indexes_and_nested_indexes
    artifacts_and_unknown_types
    what_is_missing_is_named
    layers_that_may_not_be_distributed
    sha512_manifests
    zero_layers
    media_types_must_agree
    survives_a_restart
    a_tag_moves_and_remembers
}

async fn bytes_are_kept(desk: Desk) {
    let plain = desk.push_parts("a", "1").await;
    // Unknown fields, odd spaces, a line end at the end: all of it counts.
    let mut odd = b"\n { \"x-unknown\" : [1, {\"y\": null}],".to_vec();
    odd.extend_from_slice(&plain[1..]);
    odd.push(b'\n');
    let kind = format!("{}; charset=utf-8", media_type::OCI_MANIFEST);
    let answer = desk.put_manifest("a", "v1", &kind, &odd).await.is(201);
    let name = digest(&odd).to_string();
    assert_eq!(answer.header("location"), format!("/v2/a/manifests/{name}"));
    assert_eq!(answer.header("docker-content-digest"), name);
    assert!(!answer.headers.contains_key("oci-subject"));
    for target in ["v1", &name] {
        let path = format!("/v2/a/manifests/{target}");
        let answer = desk.get(&path).await.is(200);
        assert_eq!(answer.body, odd);
        assert_eq!(answer.header("content-type"), media_type::OCI_MANIFEST);
        assert_eq!(answer.header("docker-content-digest"), name);
        let head = desk.head(&path).await.is(200);
        assert_eq!(head.header("content-length"), odd.len().to_string());
        assert_eq!(head.header("content-type"), media_type::OCI_MANIFEST);
        assert!(head.body.is_empty());
    }
    desk.get("/v2/a/manifests/v2")
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    desk.get(&format!("/v2/b/manifests/{name}"))
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    desk.get(&format!("/v2/a/blobs/{name}"))
        .await
        .fails(404, "BLOB_UNKNOWN");
}

async fn by_digest_with_tags(desk: Desk) {
    let manifest = desk.push_parts("a", "1").await;
    let name = digest(&manifest);
    let target = format!("{name}?tag=1.2.3&tag=1.2&tag=1&tag=latest&tag=1");
    let answer = desk
        .put_manifest("a", &target, media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
    let tags: Vec<_> = answer.headers.get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["1.2.3", "1.2", "1", "latest"]);
    for tag in ["1.2.3", "1.2", "1", "latest"] {
        assert_eq!(
            desk.get(&format!("/v2/a/manifests/{tag}"))
                .await
                .is(200)
                .body,
            manifest
        );
    }
    let wrong = format!("{}?tag=x", digest(b"other"));
    desk.put_manifest("a", &wrong, media_type::OCI_MANIFEST, &manifest)
        .await
        .fails(400, "DIGEST_INVALID");
    desk.put_manifest(
        "a",
        &format!("{name}?tag=.x"),
        media_type::OCI_MANIFEST,
        &manifest,
    )
    .await
    .fails(400, "TAG_INVALID");
    desk.get("/v2/a/manifests/x")
        .await
        .fails(404, "MANIFEST_UNKNOWN");
}

async fn too_many_tags(desk: Desk) {
    let manifest = desk.push_parts("a", "1").await;
    let tags: Vec<String> = (0..100).map(|n| format!("tag={n}")).collect();
    let target = format!("{}?{}", digest(&manifest), tags.join("&"));
    desk.put_manifest("a", &target, media_type::OCI_MANIFEST, &manifest)
        .await
        .fails(414, "UNSUPPORTED");
    assert_eq!(
        desk.get("/v2/a/tags/list").await.is(200).json()["tags"],
        json!([])
    );
}

async fn indexes_and_nested_indexes(desk: Desk) {
    let image = desk.push_image("a", "image", "1").await;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [descriptor(media_type::OCI_MANIFEST, &image)],
    })
    .to_string();
    desk.put_manifest("a", "index", media_type::OCI_INDEX, index.as_bytes())
        .await
        .is(201);
    let nested = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [descriptor(media_type::OCI_INDEX, index.as_bytes())],
    })
    .to_string();
    desk.put_manifest("a", "nested", media_type::OCI_INDEX, nested.as_bytes())
        .await
        .is(201);
    let answer = desk.get("/v2/a/manifests/nested").await.is(200);
    assert_eq!(answer.header("content-type"), media_type::OCI_INDEX);
    assert_eq!(answer.body, nested);
    // An index is whole or refused.
    let sparse = json!({
        "schemaVersion": 2,
        "manifests": [descriptor(media_type::OCI_MANIFEST, b"absent")],
    })
    .to_string();
    desk.put_manifest("a", "sparse", media_type::OCI_INDEX, sparse.as_bytes())
        .await
        .fails(404, "MANIFEST_BLOB_UNKNOWN");
}

async fn artifacts_and_unknown_types(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": "application/vnd.example+type",
        "config": descriptor(media_type::OCI_EMPTY, b"{}"),
        "layers": [{
            "mediaType": media_type::OCI_EMPTY, "digest": digest(b"{}").to_string(), "size": 2, "data": "e30=",
        }],
    })
    .to_string();
    desk.put_manifest(
        "a",
        "artifact",
        media_type::OCI_MANIFEST,
        artifact.as_bytes(),
    )
    .await
    .is(201);
    let odd = br#"{"anything": true}"#;
    desk.put_manifest("a", "odd", "application/vnd.example.manifest+json", odd)
        .await
        .is(201);
    let answer = desk.get("/v2/a/manifests/odd").await.is(200);
    assert_eq!(
        answer.header("content-type"),
        "application/vnd.example.manifest+json"
    );
    for docker in [media_type::DOCKER_MANIFEST, media_type::DOCKER_INDEX] {
        let field = if docker == media_type::DOCKER_INDEX {
            "manifests"
        } else {
            "layers"
        };
        let text = json!({"schemaVersion": 2, "mediaType": docker, field: []}).to_string();
        desk.put_manifest("a", "docker", docker, text.as_bytes())
            .await
            .is(201);
    }
}

async fn what_is_missing_is_named(desk: Desk) {
    let manifest = desk.push_parts("a", "1").await;
    // The blobs are in another repository.
    let answer = desk
        .put_manifest("b", "v1", media_type::OCI_MANIFEST, &manifest)
        .await;
    let answer = answer.fails(404, "MANIFEST_BLOB_UNKNOWN");
    assert!(
        answer.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("sha256:")
    );
    desk.get("/v2/b/tags/list").await;
    desk.get("/v2/b/manifests/v1").await.is(404);
    // A size that lies.
    let text = String::from_utf8(manifest)
        .unwrap()
        .replace("\"size\":7", "\"size\":8");
    desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, text.as_bytes())
        .await
        .fails(400, "MANIFEST_INVALID");
    // What something refers to may be missing.
    let text = json!({
        "schemaVersion": 2,
        "layers": [],
        "subject": descriptor(media_type::OCI_MANIFEST, b"absent"),
    })
    .to_string();
    let answer = desk
        .put_manifest("a", "v1", media_type::OCI_MANIFEST, text.as_bytes())
        .await
        .is(201);
    assert_eq!(answer.header("oci-subject"), digest(b"absent").to_string());
}

async fn layers_that_may_not_be_distributed(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let text = json!({
        "schemaVersion": 2,
        "config": descriptor(media_type::OCI_CONFIG, b"{}"),
        "layers": [
            descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"elsewhere"),
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"elsewhere too"),
        ],
    })
    .to_string();
    desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, text.as_bytes())
        .await
        .is(201);
}

async fn sha512_manifests(desk: Desk) {
    let manifest = desk.push_parts("a", "1").await;
    let name = digest512(&manifest);
    let target = format!("{name}?tag=long");
    let answer = desk
        .put_manifest("a", &target, media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
    assert_eq!(answer.header("docker-content-digest"), name.to_string());
    assert_eq!(
        desk.get(&format!("/v2/a/manifests/{name}"))
            .await
            .is(200)
            .body,
        manifest
    );
    let answer = desk.get("/v2/a/manifests/long").await.is(200);
    assert_eq!(answer.header("docker-content-digest"), name.to_string());
    desk.get(&format!("/v2/a/manifests/{}", digest(&manifest)))
        .await
        .is(404);
}

async fn zero_layers(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let text = json!({"schemaVersion": 2, "config": descriptor(media_type::OCI_EMPTY, b"{}"), "layers": []}).to_string();
    desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, text.as_bytes())
        .await
        .is(201);
}

async fn media_types_must_agree(desk: Desk) {
    let manifest = desk.push_parts("a", "1").await;
    desk.put_manifest("a", "v1", media_type::DOCKER_MANIFEST, &manifest)
        .await
        .fails(400, "MANIFEST_INVALID");
    desk.put_manifest("a", "v1", media_type::OCI_INDEX, &manifest)
        .await
        .fails(400, "MANIFEST_INVALID");
    // Without a header the document says what it is; without either it is nothing.
    desk.put_manifest("a", "v1", "", &manifest).await.is(201);
    desk.put_manifest("a", "v1", "", b"{}")
        .await
        .fails(400, "MANIFEST_INVALID");
}

async fn survives_a_restart(desk: Desk) {
    let manifest = desk.push_image("a/b", "v1", "1").await;
    let desk = desk.restart();
    let answer = desk.get("/v2/a/b/manifests/v1").await.is(200);
    assert_eq!(answer.body, manifest);
    assert_eq!(answer.header("content-type"), media_type::OCI_MANIFEST);
    desk.put_manifest("a/b", "v2", media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
}

async fn a_tag_moves_and_remembers(desk: Desk) {
    let first = desk.push_image("a", "v1", "1").await;
    desk.wait(10);
    let second = desk.push_image("a", "v1", "2").await;
    assert_eq!(desk.get("/v2/a/manifests/v1").await.is(200).body, second);
    assert_eq!(
        desk.get(&format!("/v2/a/manifests/{}", digest(&first)))
            .await
            .is(200)
            .body,
        first
    );
    desk.wait(10);
    desk.delete("/v2/a/manifests/v1").await.is(202);
    let desk = desk.restart();
    let past = desk
        .storage()
        .tag_history(&"a".parse().unwrap(), &"v1".parse().unwrap())
        .await
        .unwrap();
    let past: Vec<_> = past
        .iter()
        .map(|event| (event.at - desk.start, event.digest))
        .collect();
    assert_eq!(
        past,
        [
            (0, Some(digest(&first))),
            (10, Some(digest(&second))),
            (20, None)
        ]
    );
}
