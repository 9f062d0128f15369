//! Limits, quotas, tags that stay and tags that go, and what operators look at.

use std::sync::Arc;
use std::sync::Mutex;

use distribution::server::{
    Config, Limits, Observer, Pattern, Policy, Quota, Registry, Retention, Tags,
};
use oci::media_type;
use serde_json::json;

use super::desk::{Desk, descriptor, digest};
use super::over_each_storage;

over_each_storage! {
    old_tags_go
    tags_that_nobody_pulls_go
    manifests_without_a_tag_go
}

fn tags(repositories: &str, tags: &str) -> Tags {
    Tags {
        repositories: vec![Pattern::new(repositories)],
        tags: vec![Pattern::new(tags)],
    }
}

fn desk(change: impl FnOnce(&mut Config)) -> Desk {
    let mut config = Config::default();
    change(&mut config);
    Desk::with(config)
}

#[tokio::test]
async fn immutable_tags_stay() {
    let desk = desk(|config| config.policy.immutable = vec![tags("release/**", "v*")]);
    let first = desk.push_image("release/app", "v1", "1").await;
    let second = desk.push_image("release/app", "latest", "2").await;
    // Again the same is no change.
    desk.put_manifest("release/app", "v1", media_type::OCI_MANIFEST, &first)
        .await
        .is(201);
    desk.put_manifest("release/app", "v1", media_type::OCI_MANIFEST, &second)
        .await
        .fails(409, "DENIED");
    let many = format!("{}?tag=new&tag=v1", digest(&second));
    desk.put_manifest("release/app", &many, media_type::OCI_MANIFEST, &second)
        .await
        .fails(409, "DENIED");
    desk.get("/v2/release/app/manifests/new").await.is(404);
    desk.delete("/v2/release/app/manifests/v1")
        .await
        .fails(403, "DENIED");
    desk.delete(&format!("/v2/release/app/manifests/{}", digest(&first)))
        .await
        .fails(403, "DENIED");
    desk.delete(&format!("/v2/release/app/manifests/{}", digest(&second)))
        .await
        .is(202);
    assert_eq!(
        desk.get("/v2/release/app/manifests/v1").await.is(200).body,
        first
    );
    desk.push_image("team/app", "v1", "1").await;
    desk.push_image("team/app", "v1", "2").await;
}

#[tokio::test]
async fn what_an_immutable_tag_leads_to_stays() {
    let desk = desk(|config| config.policy.immutable = vec![tags("release/**", "v*")]);
    let child = desk.push_image("release/app", "child", "1").await;
    let other = desk.push_image("release/app", "other", "2").await;
    let index = json!({"manifests": [descriptor(media_type::OCI_MANIFEST, &child)]}).to_string();
    desk.put_manifest("release/app", "v1", media_type::OCI_INDEX, index.as_bytes())
        .await
        .is(201);
    for needed in [
        format!("manifests/{}", digest(index.as_bytes())),
        format!("manifests/{}", digest(&child)),
        format!("blobs/{}", digest(b"layer 1")),
        format!("blobs/{}", digest(b"{\"config\":\"1\"}")),
    ] {
        let path = format!("/v2/release/app/{needed}");
        desk.delete(&path).await.fails(403, "DENIED");
        desk.get(&path).await.is(200);
    }
    for free in [
        "manifests/child".to_owned(),
        format!("manifests/{}", digest(&other)),
        format!("blobs/{}", digest(b"layer 2")),
    ] {
        desk.delete(&format!("/v2/release/app/{free}"))
            .await
            .is(202);
    }
}

#[tokio::test]
async fn quotas_are_for_all_repositories_of_a_pattern() {
    let desk = desk(|config| {
        config.quotas = vec![Quota {
            repositories: vec![Pattern::new("team/**")],
            bytes: 10,
        }];
    });
    desk.push_blob("team/a", b"12345").await;
    let push = async |repository: &str, bytes: &'static [u8]| {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(bytes));
        desk.send("POST", &path, &[], bytes).await
    };
    push("team/b", b"123456").await.fails(403, "DENIED");
    push("team/b", b"abcde").await.is(201);
    push("team/c", b"x").await.fails(403, "DENIED");
    push("other/c", b"123456789012345").await.is(201);
    // In pieces it comes to the same.
    desk.delete(&format!("/v2/team/b/blobs/{}", digest(b"abcde")))
        .await
        .is(202);
    let started = desk
        .send("POST", "/v2/team/b/blobs/uploads/", &[], "")
        .await
        .is(202);
    let location = started.header("location").to_owned();
    desk.send("PATCH", &location, &[], "1234").await.is(202);
    desk.send("PATCH", &location, &[], "56")
        .await
        .fails(403, "DENIED");
    desk.send("PATCH", &location, &[], "123456")
        .await
        .fails(403, "DENIED");
    let path = format!("{location}?digest={}", digest(b"1234"));
    push("team/c", b"abc").await.is(201);
    desk.send("PUT", &path, &[], "").await.fails(403, "DENIED");
    // Bytes that come need room, also of what is there already.
    push("team/a", b"12345").await.fails(403, "DENIED");
    desk.delete(&format!("/v2/team/c/blobs/{}", digest(b"abc")))
        .await
        .is(202);
    desk.send("PUT", &path, &[], "").await.is(201);
}

/// Neither mounts nor manifests, nor a body that does not say how long it is, get around a quota.
#[tokio::test]
async fn nothing_gets_around_a_quota() {
    let desk = desk(|config| {
        config.quotas = vec![Quota {
            repositories: vec![Pattern::new("team/**")],
            bytes: 1000,
        }];
    });
    let large = vec![7; 1001];
    let large = desk.push_blob("other", &large).await;
    let small = desk.push_blob("other", b"small").await;
    for from in ["&from=other", ""] {
        let mount = |blob| format!("/v2/team/a/blobs/uploads/?mount={blob}{from}");
        desk.send("POST", &mount(&large), &[], "")
            .await
            .fails(403, "DENIED");
        desk.get(&format!("/v2/team/a/blobs/{large}")).await.is(404);
        desk.send("POST", &mount(&small), &[], "").await.is(201);
        desk.get(&format!("/v2/team/a/blobs/{small}")).await.is(200);
    }
    let started = desk
        .send("POST", "/v2/team/a/blobs/uploads/", &[], "")
        .await
        .is(202);
    // The length of a stream is not known before its end.
    let pieces = futures_util::stream::iter((0..100).map(|_| {
        let piece = hyper::body::Bytes::from_static(&[7; 100]);
        Ok::<_, std::io::Error>(hyper::body::Frame::data(piece))
    }));
    let request = hyper::Request::patch(started.header("location"))
        .body(http_body_util::StreamBody::new(pieces))
        .unwrap();
    let refused = desk.registry.handle(request).await;
    assert_eq!(refused.status(), 403);
    let status = desk.get(started.header("location")).await.is(204);
    let (_, last) = status.header("range").rsplit_once('-').unwrap();
    assert!(last.parse::<u64>().unwrap() < 1000, "{last}");
    let manifest = |size: usize| json!({"layers": [], "annotations": {"a": "x".repeat(size)}});
    let put = async |tag: &str, size: usize| {
        let bytes = manifest(size).to_string().into_bytes();
        desk.put_manifest("team/a", tag, media_type::OCI_MANIFEST, &bytes)
            .await
    };
    put("big", 1000).await.fails(403, "DENIED");
    put("one", 800).await.is(201);
    put("two", 801).await.fails(403, "DENIED");
    // Another name for what is there takes nothing.
    put("more", 800).await.is(201);
    desk.delete("/v2/team/a/manifests/one").await.is(202);
    let one = digest(manifest(800).to_string().as_bytes());
    desk.delete(&format!("/v2/team/a/manifests/{one}"))
        .await
        .is(202);
    put("two", 801).await.is(201);
}

#[tokio::test]
async fn blobs_have_a_limit() {
    let desk = desk(|config| {
        config.limits = Limits {
            blob: 10,
            ..Limits::default()
        }
    });
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(b"12345678901"));
    desk.send("POST", &path, &[], "12345678901")
        .await
        .fails(413, "SIZE_INVALID");
    let started = desk
        .send("POST", "/v2/a/blobs/uploads/", &[], "")
        .await
        .is(202);
    let location = started.header("location").to_owned();
    desk.send("PATCH", &location, &[], "123456").await.is(202);
    desk.send("PATCH", &location, &[], "123456")
        .await
        .fails(413, "SIZE_INVALID");
    desk.push_blob("a", b"1234567890").await;
}

fn policy(keep_last: Option<usize>, keep_for: Option<u64>) -> Policy {
    Policy {
        tags: vec![Retention {
            about: tags("team/**", "nightly-*"),
            keep_last,
            keep_for,
            keep_pulled: None,
        }],
        untagged_for: None,
        immutable: vec![tags("**", "*-release")],
    }
}

async fn old_tags_go(desk: Desk) {
    let manifest = desk.push_parts("team/app", "1").await;
    desk.push_image("other/app", "nightly-1", "1").await;
    let put = async |tag: &str| {
        desk.put_manifest("team/app", tag, media_type::OCI_MANIFEST, &manifest)
            .await
            .is(201);
        desk.wait(100);
    };
    for tag in [
        "nightly-0-release",
        "nightly-1",
        "nightly-2",
        "stable",
        "nightly-3",
        "nightly-4",
    ] {
        put(tag).await;
    }
    let now = desk.time.load(std::sync::atomic::Ordering::SeqCst);
    let list = async || desk.get("/v2/team/app/tags/list").await.json()["tags"].clone();
    let all = list().await;
    // Kept by number or by age.
    let retired = policy(Some(1), Some(250))
        .apply(desk.storage(), now, true)
        .await
        .unwrap();
    assert_eq!(retired.tags, 2);
    assert_eq!(list().await, all, "a dry run changes nothing");
    let retired = policy(Some(1), Some(250))
        .apply(desk.storage(), now, false)
        .await
        .unwrap();
    assert_eq!(retired.tags, 2);
    assert_eq!(
        list().await,
        json!(["nightly-0-release", "nightly-3", "nightly-4", "stable"])
    );
    policy(Some(1), None)
        .apply(desk.storage(), now, false)
        .await
        .unwrap();
    assert_eq!(
        list().await,
        json!(["nightly-0-release", "nightly-4", "stable"])
    );
    desk.get("/v2/other/app/manifests/nightly-1").await.is(200);
}

async fn tags_that_nobody_pulls_go(desk: Desk) {
    const HOUR: u64 = 3600;
    for (tag, seed) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        desk.push_image("team/app", tag, seed).await;
    }
    desk.wait(10 * HOUR);
    desk.get("/v2/team/app/manifests/a").await.is(200);
    // Looking whether it is still the same is no pull; by its digest it is one.
    desk.head("/v2/team/app/manifests/b").await.is(200);
    let digest = desk.head("/v2/team/app/manifests/c").await;
    let digest = digest.header("docker-content-digest").to_owned();
    desk.get(&format!("/v2/team/app/manifests/{digest}"))
        .await
        .is(200);
    desk.get("/v2/team/app/manifests/d").await.is(200);
    desk.wait(2 * HOUR);
    desk.get("/v2/team/app/manifests/d").await.is(200);
    desk.push_image("team/app", "new", "5").await;
    // What was pulled is known after a restart, too, and a push of the same does not forget it.
    desk.push_image("team/app", "d", "4").await;
    desk.collect(1000 * HOUR, false).await;
    // Nobody waits for the note of a pull but who asks this server for them.
    let repository = "team/app".parse().unwrap();
    desk.storage().manifests(&repository).await.unwrap();
    let desk = desk.restart();
    let policy = Policy {
        tags: vec![Retention {
            about: tags("**", "*"),
            keep_last: None,
            keep_for: None,
            keep_pulled: Some(4 * HOUR),
        }],
        ..Policy::default()
    };
    let left = async |desk: &Desk| {
        let now = desk.time.load(std::sync::atomic::Ordering::SeqCst);
        policy.apply(desk.storage(), now, false).await.unwrap();
        desk.get("/v2/team/app/tags/list").await.json()["tags"].clone()
    };
    assert_eq!(left(&desk).await, json!(["a", "c", "d", "new"]));
    desk.wait(3 * HOUR + HOUR / 2);
    assert_eq!(left(&desk).await, json!(["d", "new"]));
    desk.wait(10 * HOUR);
    assert_eq!(left(&desk).await, json!([]));
}

async fn manifests_without_a_tag_go(desk: Desk) {
    let tagged = desk.push_image("a", "v1", "1").await;
    let child = desk.push_image("a", "child", "2").await;
    let index = json!({"manifests": [descriptor(media_type::OCI_MANIFEST, &child)]}).to_string();
    desk.put_manifest("a", "index", media_type::OCI_INDEX, index.as_bytes())
        .await
        .is(201);
    desk.delete("/v2/a/manifests/child").await.is(202);
    let about = |subject: &[u8]| {
        json!({"layers": [], "subject": descriptor(media_type::OCI_MANIFEST, subject)}).to_string()
    };
    let (signature, stray) = (about(&tagged), about(b"nothing"));
    for text in [&signature, &stray] {
        let target = digest(text.as_bytes()).to_string();
        desk.put_manifest("a", &target, media_type::OCI_MANIFEST, text.as_bytes())
            .await
            .is(201);
    }
    let old = desk.push_image("a", "moves", "3").await;
    desk.push_image("a", "moves", "4").await;
    let policy = Policy {
        untagged_for: Some(1000),
        ..Policy::default()
    };
    let now = || desk.time.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        policy
            .apply(desk.storage(), now(), false)
            .await
            .unwrap()
            .manifests,
        0
    );
    desk.wait(2000);
    assert_eq!(
        policy
            .apply(desk.storage(), now(), false)
            .await
            .unwrap()
            .manifests,
        2
    );
    for (bytes, status) in [
        (tagged.as_slice(), 200),
        (&child, 200),
        (index.as_bytes(), 200),
        (signature.as_bytes(), 200),
        (stray.as_bytes(), 404),
        (&old, 404),
    ] {
        desk.get(&format!("/v2/a/manifests/{}", digest(bytes)))
            .await
            .is(status);
    }
    desk.get("/v2/a/manifests/moves").await.is(200);
}

#[tokio::test]
async fn what_operators_look_at() {
    let desk = Desk::local();
    desk.get("/healthz").await.is(200);
    desk.get("/readyz").await.is(200);
    desk.get("/v2/nothing/manifests/v1").await.is(404);
    let metrics = desk.get("/metrics").await.is(200);
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        text.contains("barque_registry_requests_total{method=\"GET\",status=\"2xx\"} 2\n"),
        "{text}"
    );
    assert!(
        text.contains("barque_registry_requests_total{method=\"GET\",status=\"4xx\"} 1\n"),
        "{text}"
    );
}

#[tokio::test]
async fn each_request_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = told.clone();
        Observer(Arc::new(move |record| {
            told.lock()
                .unwrap()
                .push(serde_json::to_value(record).unwrap());
        }))
    };
    let storage = Desk::local();
    let registry =
        Registry::new(storage.registry.storage().clone(), Config::default()).observed_by(observer);
    let request = hyper::Request::get("/v2/a/tags/list?secret=1")
        .header("authorization", "Basic c2VjcmV0OnNlY3JldA==")
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .unwrap();
    registry.handle(request).await;
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["method"], "GET");
    assert_eq!(told[0]["path"], "/v2/a/tags/list");
    assert_eq!(told[0]["status"], 404);
    assert!(!told[0].to_string().contains("secret"));
}
