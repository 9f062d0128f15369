//! What nobody means well with.

use oci::media_type;

use super::desk::{Desk, digest};
use super::over_each_storage;

over_each_storage! {
    names_that_lead_elsewhere
    manifests_that_are_too_much
    documents_with_two_meanings
    indexes_of_indexes_without_end
}

async fn names_that_lead_elsewhere(desk: Desk) {
    let blob = desk.push_blob("a", b"x").await;
    let long = "a/".repeat(5000) + "a";
    for name in [
        "..",
        "../a",
        "a/..",
        "a/../a",
        "A",
        "a%2f..%2fa",
        "%2e%2e",
        "a//a",
        "-a",
        "a_",
        "_a",
        "a%00",
        "%C3%A4",
        "a%E2%80%AE/b",
        &long,
    ] {
        for path in [
            format!("/v2/{name}/blobs/{blob}"),
            format!("/v2/{name}/manifests/latest"),
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/blobs/uploads/"),
            format!("/v2/{name}/referrers/{blob}"),
        ] {
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                let answer = desk.send(method, &path, &[], "").await;
                assert!(
                    matches!(answer.status.as_u16(), 400 | 404),
                    "{method} {path}: {}",
                    answer.status
                );
            }
        }
    }
    let endless = format!("sha256:{}", "a".repeat(10_000));
    for digest in [
        &endless,
        "sha256:%C3%A4",
        "sha256:..",
        "sha256:%2e%2e",
        "sha256:../../etc/passwd",
        "sha256:",
        "sha256",
        "x:y",
    ] {
        let answer = desk.get(&format!("/v2/a/blobs/{digest}")).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{digest}");
    }
}

async fn manifests_that_are_too_much(desk: Desk) {
    let large = vec![b' '; (4 << 20) + 1];
    desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, &large)
        .await
        .fails(413, "SIZE_INVALID");
    let deep = "[".repeat(1 << 20);
    desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, deep.as_bytes())
        .await
        .fails(400, "MANIFEST_INVALID");
    let blob = desk.push_blob("a", b"x").await;
    let one = format!(r#"{{"mediaType":"a/b","digest":"{blob}","size":1}}"#);
    let many = format!(r#"{{"layers":[{}]}}"#, vec![one; 10_000].join(","));
    desk.put_manifest("a", "many", media_type::OCI_MANIFEST, many.as_bytes())
        .await
        .is(201);
    // Up to the limit everything is taken.
    let mut exact = br#"{"layers":[]}"#.to_vec();
    exact.resize(4 << 20, b' ');
    desk.put_manifest("a", "exact", media_type::OCI_MANIFEST, &exact)
        .await
        .is(201);
    assert_eq!(
        desk.get("/v2/a/manifests/exact").await.is(200).body.len(),
        4 << 20
    );
}

async fn documents_with_two_meanings(desk: Desk) {
    for text in [
        r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#,
        r#"{"schemaVersion":2,"config":null,"manifests":[],"layers":[]}"#,
        r#"{"schemaVersion":2,"layers":[],"layers":[]}"#,
        r#"{"schemaVersion":1,"fsLayers":[]}"#,
        r#"{"schemaVersion":2,"layers":[{"digest":"x"}]}"#,
        r#"{"schemaVersion":2,"layers":{}}"#,
        "null",
        "[]",
        "1",
        "\"x\"",
        "",
        "{",
        "\u{feff}{}",
    ] {
        desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, text.as_bytes())
            .await
            .fails(400, "MANIFEST_INVALID");
    }
    let answer = desk.put_manifest("a", "v1", "text html", b"{}").await;
    assert_ne!(answer.status, 201);
    desk.get("/v2/a/manifests/v1").await.is(404);
    desk.get(&format!("/v2/a/manifests/{}", digest(b"{}")))
        .await
        .is(404);
}

/// Whoever looks at all manifests looks at each once, however deep one lies in another.
async fn indexes_of_indexes_without_end(desk: Desk) {
    let mut inner = desk.push_image("a", "image", "1").await;
    let mut kind = media_type::OCI_MANIFEST;
    for depth in 0..60 {
        let entry = super::desk::descriptor(kind, &inner);
        // Each twice, so that who followed them all would never come to an end.
        let index = serde_json::json!({"manifests": [entry, entry], "annotations": {"n": depth.to_string()}});
        inner = index.to_string().into_bytes();
        kind = media_type::OCI_INDEX;
        desk.put_manifest("a", "top", kind, &inner).await.is(201);
    }
    desk.delete("/v2/a/manifests/image").await.is(202);
    let policy = distribution::server::Policy {
        untagged_for: Some(60),
        ..distribution::server::Policy::default()
    };
    desk.wait(3600);
    let now = desk.time.load(std::sync::atomic::Ordering::SeqCst);
    let retired = policy.apply(desk.storage(), now, false).await.unwrap();
    assert_eq!(retired.manifests, 0);
    assert_eq!(desk.collect(60, false).await.blobs, 0);
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 1")))
        .await
        .is(200);
}

/// Somebody may call a manifest a page, and a blob may look like one.
#[tokio::test]
async fn what_was_pushed_is_no_page_of_this_host() {
    let desk = Desk::local();
    let page = b"<script>alert(1)</script>";
    let blob = desk.push_blob("a", page).await;
    let manifest = br#"{"layers":[],"annotations":{"a":"<script>alert(1)</script>"}}"#;
    desk.put_manifest("a", "page", "text/html", manifest)
        .await
        .is(201);
    for path in [
        "/v2/a/manifests/page".to_owned(),
        format!("/v2/a/blobs/{blob}"),
    ] {
        let answer = desk.get(&path).await.is(200);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("sandbox")
        );
    }
}
