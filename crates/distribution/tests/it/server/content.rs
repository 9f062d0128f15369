//! Pulling blobs (distribution-spec, "Pull"), and the small routes.

use super::desk::{Desk, digest};
use super::over_each_storage;

over_each_storage! {
    ranges
    known_content_is_not_sent
    unknown_things
    base_and_discovery
    methods_that_are_not_there
    a_large_blob
}

async fn ranges(desk: Desk) {
    let blob = desk.push_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{blob}");
    for (range, part, shown) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=5-", "56789", "bytes 5-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
        ("bytes=9-9", "9", "bytes 9-9/10"),
    ] {
        let answer = desk
            .send("GET", &path, &[("range", range)], "")
            .await
            .is(206);
        assert_eq!(answer.body, part);
        assert_eq!(answer.header("content-range"), shown);
    }
    for range in ["bytes=10-", "bytes=100-200", "bytes=-0"] {
        let answer = desk.send("GET", &path, &[("range", range)], "").await;
        assert_eq!(answer.is(416).header("content-range"), "bytes */10");
    }
    // What is not one range of bytes is ignored.
    for range in [
        "bytes=3-1",
        "bytes=0-1,3-4",
        "lines=0-3",
        "bytes=a-b",
        "bytes=",
        "bytes=99999999999999999999-",
    ] {
        let answer = desk
            .send("GET", &path, &[("range", range)], "")
            .await
            .is(200);
        assert_eq!(answer.body, "0123456789");
    }
}

async fn known_content_is_not_sent(desk: Desk) {
    let blob = desk.push_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{blob}");
    let tag = desk.get(&path).await.header("etag").to_owned();
    let answer = desk
        .send("GET", &path, &[("if-none-match", &tag)], "")
        .await
        .is(304);
    assert!(answer.body.is_empty());
}

async fn unknown_things(desk: Desk) {
    let none = digest(b"none");
    desk.get(&format!("/v2/a/blobs/{none}"))
        .await
        .fails(404, "BLOB_UNKNOWN");
    desk.push_blob("a", b"x").await;
    desk.get(&format!("/v2/a/blobs/{none}"))
        .await
        .fails(404, "BLOB_UNKNOWN");
    desk.get("/v2/a/blobs/uploads/00000000000000000000000000000000")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    desk.get("/v2/a/blobs/uploads/none")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    desk.get("/v2/nothing/here")
        .await
        .fails(404, "NAME_UNKNOWN");
    desk.get("/v1/").await.fails(404, "NAME_UNKNOWN");
}

async fn base_and_discovery(desk: Desk) {
    for path in ["/v2/", "/v2"] {
        let answer = desk.get(path).await.is(200);
        assert_eq!(answer.body, "{}");
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
    let answer = desk.get("/v2/_oci/ext/discover").await.is(200);
    assert_eq!(answer.json()["extensions"], serde_json::json!([]));
}

async fn methods_that_are_not_there(desk: Desk) {
    let blob = desk.push_blob("a", b"x").await;
    for (method, path) in [
        ("POST", "/v2/".to_owned()),
        ("PUT", format!("/v2/a/blobs/{blob}")),
        ("GET", "/v2/a/blobs/uploads/".to_owned()),
        ("POST", "/v2/a/manifests/latest".to_owned()),
        ("PUT", "/v2/a/tags/list".to_owned()),
        ("DELETE", format!("/v2/a/referrers/{blob}")),
        ("POST", "/v2/_catalog".to_owned()),
    ] {
        let answer = desk.send(method, &path, &[], "").await;
        assert!(!answer.fails(405, "UNSUPPORTED").header("allow").is_empty());
    }
}

async fn a_large_blob(desk: Desk) {
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = desk.push_blob("a", &bytes).await;
    let path = format!("/v2/a/blobs/{blob}");
    assert!(desk.get(&path).await.is(200).body == bytes);
    let answer = desk
        .send("GET", &path, &[("range", "bytes=700000-9000000")], "")
        .await
        .is(206);
    assert!(answer.body == bytes[700_000..=9_000_000]);
}
