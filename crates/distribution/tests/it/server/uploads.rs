//! Pushing blobs (distribution-spec, "Push").

use super::desk::{Desk, digest, digest512};
use super::over_each_storage;

over_each_storage! {
    whole_in_one_request
    whole_in_two_requests
    in_chunks
    chunks_out_of_order_are_refused
    streamed_without_ranges
    gone_on_with_after_a_restart
    cancelled
    wrong_digests_are_refused
    sha512
    nothing_at_all
    mounted
    lengths_that_lie
    uploads_belong_to_their_repository
}

const BYTES: &[u8] = b"the quick brown fox";

async fn start(desk: &Desk, repository: &str) -> String {
    let answer = desk
        .send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], "")
        .await
        .is(202);
    let location = answer.header("location").to_owned();
    assert!(location.starts_with(&format!("/v2/{repository}/blobs/uploads/")));
    location
}

async fn has(desk: &Desk, repository: &str, bytes: &[u8]) -> bool {
    let path = format!("/v2/{repository}/blobs/{}", digest(bytes));
    let answer = desk.get(&path).await;
    if answer.status == 404 {
        assert_eq!(desk.head(&path).await.status, 404);
        return false;
    }
    let answer = answer.is(200);
    assert_eq!(answer.body, bytes);
    assert_eq!(
        answer.header("docker-content-digest"),
        digest(bytes).to_string()
    );
    let head = desk.head(&path).await.is(200);
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    assert!(head.body.is_empty());
    true
}

async fn whole_in_one_request(desk: Desk) {
    let path = format!("/v2/a/b/blobs/uploads/?digest={}", digest(BYTES));
    let answer = desk.send("POST", &path, &[], BYTES).await.is(201);
    assert_eq!(
        answer.header("location"),
        format!("/v2/a/b/blobs/{}", digest(BYTES))
    );
    assert!(has(&desk, "a/b", BYTES).await);
    assert!(!has(&desk, "a", BYTES).await);
    assert!(!has(&desk, "a/b/c", BYTES).await);
    // Again is no error.
    desk.send("POST", &path, &[], BYTES).await.is(201);
}

async fn whole_in_two_requests(desk: Desk) {
    let location = start(&desk, "a").await;
    let path = format!("{location}?digest={}", digest(BYTES));
    let answer = desk.send("PUT", &path, &[], BYTES).await.is(201);
    assert_eq!(
        answer.header("location"),
        format!("/v2/a/blobs/{}", digest(BYTES))
    );
    assert_eq!(
        answer.header("docker-content-digest"),
        digest(BYTES).to_string()
    );
    assert!(has(&desk, "a", BYTES).await);
    desk.send("PUT", &path, &[], BYTES)
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
}

async fn in_chunks(desk: Desk) {
    let location = start(&desk, "a").await;
    let first = desk
        .send("PATCH", &location, &[("content-range", "0-3")], &BYTES[..4])
        .await
        .is(202);
    assert_eq!(first.header("range"), "0-3");
    let location = first.header("location").to_owned();
    let second = desk
        .send(
            "PATCH",
            &location,
            &[("content-range", "4-9")],
            &BYTES[4..10],
        )
        .await
        .is(202);
    assert_eq!(second.header("range"), "0-9");
    let state = desk.get(&location).await.is(204);
    assert_eq!(state.header("range"), "0-9");
    assert_eq!(state.header("location"), location);
    // The last chunk with the closing request.
    let path = format!("{location}?digest={}", digest(BYTES));
    let range = format!("10-{}", BYTES.len() - 1);
    desk.send("PUT", &path, &[("content-range", &range)], &BYTES[10..])
        .await
        .is(201);
    assert!(has(&desk, "a", BYTES).await);
}

async fn chunks_out_of_order_are_refused(desk: Desk) {
    let location = start(&desk, "a").await;
    desk.send(
        "PATCH",
        &location,
        &[("content-range", "4-9")],
        &BYTES[4..10],
    )
    .await
    .fails(416, "RANGE_INVALID");
    desk.send("PATCH", &location, &[("content-range", "0-3")], &BYTES[..4])
        .await
        .is(202);
    for (range, bytes) in [
        ("5-9", &BYTES[5..10]),
        ("3-9", &BYTES[3..10]),
        ("0-3", &BYTES[..4]),
    ] {
        let answer = desk
            .send("PATCH", &location, &[("content-range", range)], bytes)
            .await;
        assert_eq!(answer.fails(416, "RANGE_INVALID").header("range"), "0-3");
    }
    let path = format!("{location}?digest={}", digest(BYTES));
    desk.send("PUT", &path, &[("content-range", "9-18")], &BYTES[9..])
        .await
        .fails(416, "RANGE_INVALID");
    for range in [
        "bytes 4-9/19",
        "bytes=4-9",
        "4-",
        "-9",
        "9-4",
        "a-b",
        "4-9/10",
    ] {
        desk.send(
            "PATCH",
            &location,
            &[("content-range", range)],
            &BYTES[4..10],
        )
        .await
        .fails(400, "BLOB_UPLOAD_INVALID");
    }
    assert_eq!(desk.get(&location).await.is(204).header("range"), "0-3");
    desk.send(
        "PATCH",
        &location,
        &[("content-range", "4-18")],
        &BYTES[4..],
    )
    .await
    .is(202);
    desk.send("PUT", &path, &[], "").await.is(201);
    assert!(has(&desk, "a", BYTES).await);
}

async fn streamed_without_ranges(desk: Desk) {
    let location = start(&desk, "a").await;
    let answer = desk.send("PATCH", &location, &[], BYTES).await.is(202);
    let path = format!("{}?digest={}", answer.header("location"), digest(BYTES));
    desk.send("PUT", &path, &[], "").await.is(201);
    assert!(has(&desk, "a", BYTES).await);
}

async fn gone_on_with_after_a_restart(desk: Desk) {
    let location = start(&desk, "a").await;
    desk.send("PATCH", &location, &[], &BYTES[..7])
        .await
        .is(202);
    let desk = desk.restart();
    assert_eq!(desk.get(&location).await.is(204).header("range"), "0-6");
    desk.send(
        "PATCH",
        &location,
        &[("content-range", "7-18")],
        &BYTES[7..],
    )
    .await
    .is(202);
    let desk = desk.restart();
    let path = format!("{location}?digest={}", digest(BYTES));
    desk.send("PUT", &path, &[], "").await.is(201);
    let desk = desk.restart();
    assert!(has(&desk, "a", BYTES).await);
}

async fn cancelled(desk: Desk) {
    let location = start(&desk, "a").await;
    desk.send("PATCH", &location, &[], BYTES).await.is(202);
    desk.delete(&location).await.is(204);
    desk.get(&location).await.fails(404, "BLOB_UPLOAD_UNKNOWN");
    desk.delete(&location)
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    let path = format!("{location}?digest={}", digest(BYTES));
    desk.send("PUT", &path, &[], "")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    assert!(!has(&desk, "a", BYTES).await);
}

async fn wrong_digests_are_refused(desk: Desk) {
    let other = digest(b"something else");
    let path = format!("/v2/a/blobs/uploads/?digest={other}");
    desk.send("POST", &path, &[], BYTES)
        .await
        .fails(400, "DIGEST_INVALID");
    let location = start(&desk, "a").await;
    desk.send("PUT", &location, &[], BYTES)
        .await
        .fails(400, "DIGEST_INVALID");
    for digest in [
        "sha256:1234",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "",
        "..",
        "sha256:..%2f..",
    ] {
        let path = format!("{location}?digest={digest}");
        desk.send("PUT", &path, &[], BYTES)
            .await
            .fails(400, "DIGEST_INVALID");
    }
    desk.send("PUT", &format!("{location}?digest={other}"), &[], BYTES)
        .await
        .fails(400, "DIGEST_INVALID");
    assert!(!has(&desk, "a", BYTES).await);
    assert!(!has(&desk, "a", b"something else").await);
}

async fn sha512(desk: Desk) {
    let long = digest512(BYTES);
    let announced = desk
        .send(
            "POST",
            "/v2/a/blobs/uploads/?digest-algorithm=sha512",
            &[],
            "",
        )
        .await
        .is(202);
    let path = format!("{}?digest={long}", announced.header("location"));
    desk.send("PUT", &path, &[], BYTES).await.is(201);
    assert_eq!(
        desk.get(&format!("/v2/a/blobs/{long}")).await.is(200).body,
        BYTES
    );
    assert!(!has(&desk, "a", BYTES).await, "it has one name only");
    // Without announcing it, and all at once.
    let location = start(&desk, "b").await;
    desk.send("PATCH", &location, &[], BYTES).await.is(202);
    desk.send("PUT", &format!("{location}?digest={long}"), &[], "")
        .await
        .is(201);
    desk.send(
        "POST",
        &format!("/v2/c/blobs/uploads/?digest={long}"),
        &[],
        BYTES,
    )
    .await
    .is(201);
    desk.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], "")
        .await
        .fails(400, "DIGEST_INVALID");
}

async fn nothing_at_all(desk: Desk) {
    desk.push_blob("a", b"").await;
    assert!(has(&desk, "a", b"").await);
    let location = start(&desk, "b").await;
    desk.send(
        "PUT",
        &format!("{location}?digest={}", digest(b"")),
        &[],
        "",
    )
    .await
    .is(201);
    assert!(has(&desk, "b", b"").await);
}

async fn mounted(desk: Desk) {
    let blob = desk.push_blob("a", BYTES).await;
    let path = format!("/v2/b/blobs/uploads/?mount={blob}&from=a");
    let answer = desk.send("POST", &path, &[], "").await.is(201);
    assert_eq!(answer.header("location"), format!("/v2/b/blobs/{blob}"));
    assert!(has(&desk, "b", BYTES).await);
    // From anywhere.
    desk.send(
        "POST",
        &format!("/v2/c/blobs/uploads/?mount={blob}"),
        &[],
        "",
    )
    .await
    .is(201);
    assert!(has(&desk, "c", BYTES).await);
    // From where it is not, and what is nowhere: an upload is opened.
    for path in [
        format!("/v2/d/blobs/uploads/?mount={blob}&from=nowhere"),
        format!("/v2/d/blobs/uploads/?mount={}", digest(b"nothing")),
    ] {
        let answer = desk.send("POST", &path, &[], "").await.is(202);
        assert!(
            answer
                .header("location")
                .starts_with("/v2/d/blobs/uploads/")
        );
        assert!(!has(&desk, "d", BYTES).await);
    }
    desk.send(
        "POST",
        &format!("/v2/d/blobs/uploads/?mount={blob}&from=../a"),
        &[],
        "",
    )
    .await
    .fails(400, "NAME_INVALID");
    desk.send("POST", "/v2/d/blobs/uploads/?mount=x&from=a", &[], "")
        .await
        .fails(400, "DIGEST_INVALID");
}

async fn lengths_that_lie(desk: Desk) {
    let location = start(&desk, "a").await;
    desk.send("PATCH", &location, &[("content-range", "0-9")], &BYTES[..4])
        .await
        .fails(400, "SIZE_INVALID");
    assert_eq!(desk.get(&location).await.is(204).header("range"), "0-0");
}

async fn uploads_belong_to_their_repository(desk: Desk) {
    let location = start(&desk, "a").await;
    let foreign = location.replace("/v2/a/", "/v2/b/");
    desk.get(&foreign).await.fails(404, "BLOB_UPLOAD_UNKNOWN");
    desk.send("PATCH", &foreign, &[], BYTES)
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    let desk = desk.restart();
    desk.delete(&foreign)
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    desk.get(&location).await.is(204);
}
