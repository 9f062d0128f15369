//! Deleting, and collecting what nothing needs any more.

use distribution::server::Config;
use oci::media_type;
use serde_json::json;

use super::desk::{Desk, digest};
use super::over_each_storage;

over_each_storage! {
    a_tag
    a_manifest_and_its_tags
    a_blob
    garbage_goes_after_the_grace_time
    what_somebody_counts_on_stays
    dry_runs_change_nothing
    content_shared_by_repositories_stays
    a_push_while_collecting
}

const HOUR: u64 = 3600;

async fn a_tag(desk: Desk) {
    let manifest = desk.push_image("a", "v1", "1").await;
    desk.put_manifest("a", "v2", media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
    desk.delete("/v2/a/manifests/v1").await.is(202);
    desk.get("/v2/a/manifests/v1")
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    desk.get("/v2/a/manifests/v2").await.is(200);
    desk.get(&format!("/v2/a/manifests/{}", digest(&manifest)))
        .await
        .is(200);
    assert_eq!(
        desk.get("/v2/a/tags/list").await.json()["tags"],
        json!(["v2"])
    );
    desk.delete("/v2/a/manifests/v1")
        .await
        .fails(404, "MANIFEST_UNKNOWN");
    desk.delete("/v2/nothing/manifests/v1")
        .await
        .fails(404, "NAME_UNKNOWN");
}

async fn a_manifest_and_its_tags(desk: Desk) {
    let manifest = desk.push_image("a", "v1", "1").await;
    desk.put_manifest("a", "v2", media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
    desk.push_image("a", "v3", "2").await;
    let path = format!("/v2/a/manifests/{}", digest(&manifest));
    desk.delete(&path).await.is(202);
    for path in [&path, "/v2/a/manifests/v1", "/v2/a/manifests/v2"] {
        desk.get(path).await.fails(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(
        desk.get("/v2/a/tags/list").await.json()["tags"],
        json!(["v3"])
    );
    desk.delete(&path).await.fails(404, "MANIFEST_UNKNOWN");
}

async fn a_blob(desk: Desk) {
    let blob = desk.push_blob("a", b"x").await;
    desk.push_blob("b", b"x").await;
    let path = format!("/v2/a/blobs/{blob}");
    desk.delete(&path).await.is(202);
    desk.get(&path).await.fails(404, "BLOB_UNKNOWN");
    desk.head(&path).await.is(404);
    desk.delete(&path).await.fails(404, "BLOB_UNKNOWN");
    desk.get(&format!("/v2/b/blobs/{blob}")).await.is(200);
}

#[tokio::test]
async fn switched_off() {
    let desk = Desk::with(Config {
        deletes: false,
        ..Config::default()
    });
    let manifest = desk.push_image("a", "v1", "1").await;
    for path in [
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{}", digest(&manifest)),
        format!("/v2/a/blobs/{}", digest(b"layer 1")),
    ] {
        desk.delete(&path).await.fails(405, "UNSUPPORTED");
        desk.get(&path).await.is(200);
    }
}

#[tokio::test]
async fn read_only() {
    let desk = Desk::local();
    let manifest = desk.push_image("a", "v1", "1").await;
    let config = Config {
        read_only: true,
        ..Config::default()
    };
    let registry = distribution::server::Registry::new(desk.registry.storage().clone(), config);
    let mut desk = desk;
    desk.registry = registry;
    desk.get("/v2/a/manifests/v1").await.is(200);
    desk.send("POST", "/v2/a/blobs/uploads/", &[], "")
        .await
        .fails(405, "UNSUPPORTED");
    desk.put_manifest("a", "v2", media_type::OCI_MANIFEST, &manifest)
        .await
        .fails(405, "UNSUPPORTED");
    desk.delete("/v2/a/manifests/v1")
        .await
        .fails(405, "UNSUPPORTED");
}

async fn garbage_goes_after_the_grace_time(desk: Desk) {
    let manifest = desk.push_image("a", "v1", "1").await;
    desk.push_image("a", "v2", "2").await;
    desk.wait(2 * HOUR);
    assert_eq!(
        desk.collect(HOUR, false).await,
        Default::default(),
        "everything is needed"
    );
    desk.delete(&format!("/v2/a/manifests/{}", digest(&manifest)))
        .await
        .is(202);
    let collected = desk.collect(HOUR, false).await;
    assert_eq!(collected.blobs, 2, "config and layer");
    assert!(collected.content >= 2);
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 1")))
        .await
        .fails(404, "BLOB_UNKNOWN");
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 2")))
        .await
        .is(200);
    desk.get("/v2/a/manifests/v2").await.is(200);
    let desk = desk.restart();
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 2")))
        .await
        .is(200);
    assert_eq!(desk.collect(HOUR, false).await, Default::default());
}

async fn what_somebody_counts_on_stays(desk: Desk) {
    let manifest = desk.push_parts("a", "1").await;
    desk.wait(2 * HOUR);
    // A client looks whether the layer is there, and will not send it.
    desk.head(&format!("/v2/a/blobs/{}", digest(b"layer 1")))
        .await
        .is(200);
    desk.head(&format!("/v2/a/blobs/{}", digest(b"{\"config\":\"1\"}")))
        .await
        .is(200);
    desk.wait(HOUR / 2);
    let desk = desk.restart();
    assert_eq!(desk.collect(HOUR, false).await.blobs, 0);
    desk.put_manifest("a", "v1", media_type::OCI_MANIFEST, &manifest)
        .await
        .is(201);
    desk.wait(20 * HOUR);
    assert_eq!(desk.collect(HOUR, false).await.blobs, 0);
    // A clock that went back makes nothing older.
    desk.push_blob("a", b"new").await;
    desk.time
        .store(1_600_000_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(desk.collect(HOUR, false).await.blobs, 0);
}

async fn dry_runs_change_nothing(desk: Desk) {
    desk.push_parts("a", "1").await;
    desk.wait(2 * HOUR);
    let would = desk.collect(HOUR, true).await;
    assert_eq!((would.blobs, would.content), (2, 2));
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 1")))
        .await
        .is(200);
    desk.wait(2 * HOUR);
    assert_eq!(desk.collect(HOUR, false).await, would);
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 1")))
        .await
        .is(404);
}

async fn content_shared_by_repositories_stays(desk: Desk) {
    desk.push_parts("a", "1").await;
    desk.push_image("b", "v1", "1").await;
    desk.wait(2 * HOUR);
    let collected = desk.collect(HOUR, false).await;
    assert_eq!((collected.blobs, collected.content), (2, 0));
    desk.get(&format!("/v2/a/blobs/{}", digest(b"layer 1")))
        .await
        .is(404);
    desk.get(&format!("/v2/b/blobs/{}", digest(b"layer 1")))
        .await
        .is(200);
}

/// Pushes, deletes and collections at once, with no grace time beyond the least: whatever is answered 201 is whole.
async fn a_push_while_collecting(desk: Desk) {
    let desk = std::sync::Arc::new(desk);
    let collector = tokio::spawn({
        let desk = desk.clone();
        async move {
            for _ in 0..30 {
                desk.collect(0, false).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let pushers: Vec<_> = (0..4)
        .map(|pusher| {
            let desk = desk.clone();
            tokio::spawn(async move {
                for n in 0..15 {
                    // Layers are shared between repositories and come back after they were deleted.
                    let seed = format!("{}", n % 3);
                    let name = format!("r{pusher}");
                    let manifest = desk.push_image(&name, "v1", &seed).await;
                    desk.get(&format!(
                        "/v2/{name}/blobs/{}",
                        digest(format!("layer {seed}").as_bytes())
                    ))
                    .await
                    .is(200);
                    desk.get(&format!("/v2/{name}/manifests/v1")).await.is(200);
                    if n < 14 {
                        desk.delete(&format!("/v2/{name}/manifests/{}", digest(&manifest)))
                            .await
                            .is(202);
                        desk.wait(1);
                    }
                }
            })
        })
        .collect();
    for pusher in pushers {
        pusher.await.unwrap();
    }
    collector.await.unwrap();
    desk.wait(HOUR);
    desk.collect(0, false).await;
    for pusher in 0..4 {
        let answer = desk
            .get(&format!("/v2/r{pusher}/manifests/v1"))
            .await
            .is(200);
        for layer in answer.json()["layers"].as_array().unwrap() {
            let path = format!("/v2/r{pusher}/blobs/{}", layer["digest"].as_str().unwrap());
            desk.get(&path).await.is(200);
        }
    }
}

#[tokio::test]
async fn what_is_taken_over_a_folder_is_whole() {
    what_is_taken_is_whole(Desk::local()).await;
}

/// The clock leaps while images are pushed, so that a collection may take away what a push has just sent. A push may fail
/// then; what is answered 201 is whole, at once and in the end.
pub(crate) async fn what_is_taken_is_whole(desk: Desk) {
    let desk = std::sync::Arc::new(desk);
    let pushing = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(4));
    let collector = tokio::spawn({
        let (desk, pushing) = (desk.clone(), pushing.clone());
        async move {
            while pushing.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                desk.wait(350);
                desk.collect(0, false).await;
            }
        }
    });
    let pushers: Vec<_> = (0..4)
        .map(|pusher| {
            let (desk, pushing) = (desk.clone(), pushing.clone());
            tokio::spawn(async move {
                let name = format!("r{pusher}");
                for n in 0..5 {
                    // All repositories have the same layers, which come and go.
                    let manifest = desk.push_parts(&name, &format!("{}", n % 2)).await;
                    desk.wait(250);
                    let answer = desk
                        .put_manifest(&name, "v1", media_type::OCI_MANIFEST, &manifest)
                        .await;
                    if answer.status == 201 {
                        assert_whole(&desk, &name).await;
                        desk.delete(&format!("/v2/{name}/manifests/{}", digest(&manifest)))
                            .await
                            .is(202);
                    } else {
                        answer.fails(404, "MANIFEST_BLOB_UNKNOWN");
                    }
                }
                pushing.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            })
        })
        .collect();
    for pusher in pushers {
        pusher.await.unwrap();
    }
    collector.await.unwrap();
    for pusher in 0..4 {
        desk.push_image(&format!("r{pusher}"), "last", "1").await;
    }
    desk.wait(10 * HOUR);
    desk.collect(0, false).await;
    for pusher in 0..4 {
        assert_whole(&desk, &format!("r{pusher}")).await;
    }
}

/// Every tag of a repository leads to a manifest, and that to its blobs.
pub(crate) async fn assert_whole(desk: &Desk, name: &str) {
    let tags = desk
        .get(&format!("/v2/{name}/tags/list"))
        .await
        .is(200)
        .json();
    for tag in tags["tags"].as_array().unwrap() {
        let path = format!("/v2/{name}/manifests/{}", tag.as_str().unwrap());
        let manifest = desk.get(&path).await.is(200).json();
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let blob = part["digest"].as_str().unwrap();
            let answer = desk.get(&format!("/v2/{name}/blobs/{blob}")).await.is(200);
            assert_eq!(digest(&answer.body).to_string(), blob);
        }
    }
}
