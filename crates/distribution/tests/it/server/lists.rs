//! Tags, the catalogue, referrers.

use oci::media_type;
use serde_json::{Value, json};

use super::desk::{Desk, descriptor, digest};
use super::over_each_storage;

over_each_storage! {
    tags_are_paged
    tags_of_nothing
    the_catalogue_is_paged
    referrers_of_what_is_there_and_what_is_not
    referrers_are_filtered
    referrers_from_a_fallback_tag
    referrers_are_paged
}

async fn tags_are_paged(desk: Desk) {
    let manifest = desk.push_parts("a/b", "1").await;
    for tag in ["b", "A", "c", "a", "1.0", "_x"] {
        desk.put_manifest("a/b", tag, media_type::OCI_MANIFEST, &manifest)
            .await
            .is(201);
    }
    let all = desk.get("/v2/a/b/tags/list").await.is(200);
    assert_eq!(
        all.json(),
        json!({"name": "a/b", "tags": ["1.0", "A", "_x", "a", "b", "c"]})
    );
    assert!(!all.headers.contains_key("link"));
    let mut seen = Vec::new();
    let mut next = Some("/v2/a/b/tags/list?n=4".to_owned());
    while let Some(path) = next {
        let page = desk.get(&path).await.is(200);
        let tags = page.json()["tags"].as_array().unwrap().clone();
        assert!(tags.len() <= 4);
        seen.extend(tags);
        next = page.headers.contains_key("link").then(|| {
            let link = page.header("link");
            assert!(link.ends_with(">; rel=\"next\""), "{link}");
            link[1..link.find('>').unwrap()].to_owned()
        });
    }
    assert_eq!(Value::from(seen), all.json()["tags"]);
    let rest = desk.get("/v2/a/b/tags/list?last=a&n=10").await.is(200);
    assert_eq!(rest.json()["tags"], json!(["b", "c"]));
    assert!(!rest.headers.contains_key("link"));
    let exact = desk.get("/v2/a/b/tags/list?n=6").await.is(200);
    assert!(!exact.headers.contains_key("link"));
    let none = desk.get("/v2/a/b/tags/list?n=0").await.is(200);
    assert_eq!(none.json()["tags"], json!([]));
    assert!(!none.headers.contains_key("link"));
    for n in ["-1", "x", "", "1e3", "99999999999999999999"] {
        desk.get(&format!("/v2/a/b/tags/list?n={n}"))
            .await
            .fails(400, "PAGINATION_NUMBER_INVALID");
    }
}

async fn tags_of_nothing(desk: Desk) {
    desk.get("/v2/a/tags/list").await.fails(404, "NAME_UNKNOWN");
    let manifest = desk.push_parts("a", "1").await;
    let name = digest(&manifest).to_string();
    desk.put_manifest("a", &name, media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
    assert_eq!(
        desk.get("/v2/a/tags/list").await.is(200).json()["tags"],
        json!([])
    );
}

async fn the_catalogue_is_paged(desk: Desk) {
    for name in ["b", "a", "a/b", "c-d"] {
        desk.push_image(name, "v1", "1").await;
    }
    assert_eq!(
        desk.get("/v2/_catalog").await.is(200).json(),
        json!({"repositories": ["a", "a/b", "b", "c-d"]})
    );
    let page = desk.get("/v2/_catalog?n=2").await.is(200);
    assert_eq!(page.json()["repositories"], json!(["a", "a/b"]));
    let link = page.header("link");
    let page = desk.get(&link[1..link.find('>').unwrap()]).await.is(200);
    assert_eq!(page.json()["repositories"], json!(["b", "c-d"]));
    assert!(!page.headers.contains_key("link"));
    assert_eq!(
        desk.get("/v2/_catalog?n=0").await.is(200).json()["repositories"],
        json!([])
    );
}

fn artifact(kind: &str, subject: &Value, note: &str) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor(media_type::OCI_EMPTY, b"{}"),
        "layers": [],
        "subject": subject,
        "annotations": {"note": note},
    })
    .to_string()
    .into_bytes()
}

async fn referrers_of(desk: &Desk, subject: &str, query: &str) -> Vec<Value> {
    let answer = desk
        .get(&format!("/v2/a/referrers/{subject}{query}"))
        .await
        .is(200);
    assert_eq!(answer.header("content-type"), media_type::OCI_INDEX);
    let index = answer.json();
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], media_type::OCI_INDEX);
    index["manifests"].as_array().unwrap().clone()
}

async fn referrers_of_what_is_there_and_what_is_not(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let absent = descriptor(media_type::OCI_MANIFEST, b"absent");
    let subject = digest(b"absent").to_string();
    assert!(referrers_of(&desk, &subject, "").await.is_empty());
    desk.get("/v2/a/referrers/sha256:x")
        .await
        .fails(400, "DIGEST_INVALID");
    let first = artifact("application/x", &absent, "1");
    let answer = desk
        .put_manifest("a", "v1", media_type::OCI_MANIFEST, &first)
        .await
        .is(201);
    assert_eq!(answer.header("oci-subject"), subject);
    // An image without an artifact type has its config's; an index has none.
    let image = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor("application/x.config", b"{}"),
        "layers": [],
        "subject": absent,
    })
    .to_string();
    desk.put_manifest(
        "a",
        &digest(image.as_bytes()).to_string(),
        media_type::OCI_MANIFEST,
        image.as_bytes(),
    )
    .await
    .is(201);
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [], "subject": absent,
    })
    .to_string();
    desk.put_manifest("a", "index", media_type::OCI_INDEX, index.as_bytes())
        .await
        .is(201);
    let desk = desk.restart();
    let found = referrers_of(&desk, &subject, "").await;
    assert_eq!(found.len(), 3);
    let entry = |bytes: &[u8]| {
        let name = digest(bytes).to_string();
        found
            .iter()
            .find(|entry| entry["digest"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(entry(&first)["artifactType"], "application/x");
    assert_eq!(entry(&first)["annotations"], json!({"note": "1"}));
    assert_eq!(entry(&first)["size"], first.len());
    assert_eq!(
        entry(image.as_bytes())["artifactType"],
        "application/x.config"
    );
    assert_eq!(entry(index.as_bytes())["mediaType"], media_type::OCI_INDEX);
    assert!(entry(index.as_bytes()).get("artifactType").is_none());
    // In another repository nothing refers to it; gone is gone at once.
    let other = desk
        .get(&format!("/v2/b/referrers/{subject}"))
        .await
        .is(200);
    assert_eq!(other.json()["manifests"], json!([]));
    desk.delete(&format!("/v2/a/manifests/{}", digest(&first)))
        .await
        .is(202);
    assert_eq!(referrers_of(&desk, &subject, "").await.len(), 2);
}

async fn referrers_are_filtered(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let subject = desk.push_image("a", "image", "1").await;
    let subject = descriptor(media_type::OCI_MANIFEST, &subject);
    for (kind, note) in [
        ("application/x+json", "1"),
        ("application/y", "2"),
        ("application/x+json", "3"),
    ] {
        let bytes = artifact(kind, &subject, note);
        desk.put_manifest(
            "a",
            &digest(&bytes).to_string(),
            media_type::OCI_MANIFEST,
            &bytes,
        )
        .await
        .is(201);
    }
    let name = subject["digest"].as_str().unwrap();
    assert_eq!(referrers_of(&desk, name, "").await.len(), 3);
    assert_eq!(
        referrers_of(&desk, name, "?artifactType=application%2Fx%2Bjson")
            .await
            .len(),
        2
    );
    assert_eq!(
        referrers_of(&desk, name, "?artifactType=application/x+json")
            .await
            .len(),
        2
    );
    let answer = desk
        .get(&format!(
            "/v2/a/referrers/{name}?artifactType=application/z"
        ))
        .await
        .is(200);
    assert_eq!(answer.json()["manifests"], json!([]));
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
}

async fn referrers_from_a_fallback_tag(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let subject = desk.push_image("a", "image", "1").await;
    let subject = descriptor(media_type::OCI_MANIFEST, &subject);
    let name = subject["digest"].as_str().unwrap().to_owned();
    let listed = artifact("application/x", &subject, "listed");
    let stranger = artifact(
        "application/x",
        &descriptor(media_type::OCI_MANIFEST, b"other"),
        "stranger",
    );
    for bytes in [&listed, &stranger] {
        desk.put_manifest(
            "a",
            &digest(bytes).to_string(),
            media_type::OCI_MANIFEST,
            bytes,
        )
        .await
        .is(201);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [
            descriptor(media_type::OCI_MANIFEST, &listed),
            descriptor(media_type::OCI_MANIFEST, &stranger),
        ],
    })
    .to_string();
    let tag = name.replace(':', "-");
    desk.put_manifest("a", &tag, media_type::OCI_INDEX, index.as_bytes())
        .await
        .is(201);
    let found = referrers_of(&desk, &name, "").await;
    assert_eq!(found.len(), 1, "each once, and only what refers to it");
    assert_eq!(found[0]["digest"], digest(&listed).to_string());
    assert_eq!(found[0]["artifactType"], "application/x");
}

async fn referrers_are_paged(desk: Desk) {
    desk.push_blob("a", b"{}").await;
    let subject = descriptor(media_type::OCI_MANIFEST, b"absent");
    let long = "x".repeat(900_000);
    for n in 0..5 {
        let bytes = artifact("application/x", &subject, &format!("{n}{long}"));
        desk.put_manifest(
            "a",
            &digest(&bytes).to_string(),
            media_type::OCI_MANIFEST,
            &bytes,
        )
        .await
        .is(201);
    }
    let mut seen = 0;
    let mut next = Some(format!(
        "/v2/a/referrers/{}?artifactType=application/x",
        digest(b"absent")
    ));
    while let Some(path) = next {
        let page = desk.get(&path).await.is(200);
        assert_eq!(page.header("oci-filters-applied"), "artifactType");
        assert!(page.body.len() < 4 << 20);
        seen += page.json()["manifests"].as_array().unwrap().len();
        next = page.headers.contains_key("link").then(|| {
            let link = page.header("link");
            link[1..link.find('>').unwrap()].to_owned()
        });
    }
    assert_eq!(seen, 5);
}
