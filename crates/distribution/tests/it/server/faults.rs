//! An object store that fails, loses answers, dies or lags: what was answered for is whole, the rest can be done again.

use distribution::server::Config;
use oci::media_type;

use super::deletes::{assert_whole, what_is_taken_is_whole};
use super::desk::{Desk, digest};
use super::shaky::{Fault, Shaky};

const DAY: u64 = 86_400;

/// What clients do in a life of a repository. Any of it may fail; says how much was answered.
pub(crate) async fn live(desk: &Desk) -> u32 {
    let mut answered = 0;
    let mut count = |status: hyper::StatusCode| {
        // A client is told what it can do something about, and never that something is there which is not.
        assert!(
            status.is_success() || matches!(status.as_u16(), 404 | 429 | 500 | 503),
            "{status}"
        );
        answered += u32::from(status.is_success());
    };
    let layer = vec![7; 1000];
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&layer));
    count(desk.send("POST", &path, &[], layer.clone()).await.status);
    let image = |name: &str| {
        serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": super::desk::descriptor(media_type::OCI_CONFIG, &layer),
            "layers": [super::desk::descriptor(media_type::OCI_LAYER, &layer)],
            "annotations": {"name": name},
        }))
        .unwrap()
    };
    let put = async |name: &str, tag: &str| {
        desk.put_manifest("a", tag, media_type::OCI_MANIFEST, &image(name))
            .await
            .status
    };
    count(put("one", "moving").await);
    count(put("two", "moving").await);
    count(put("two", "second").await);
    count(desk.delete("/v2/a/manifests/second").await.status);
    let two = digest(&image("two"));
    count(desk.delete(&format!("/v2/a/manifests/{two}")).await.status);
    let mounted = format!("/v2/b/blobs/uploads/?mount={}&from=a", digest(&layer));
    count(desk.send("POST", &mounted, &[], "").await.status);
    answered
}

/// Every tag leads to a whole image, in all repositories.
pub(crate) async fn assert_all_whole(desk: &Desk) {
    let catalogue = desk.get("/v2/_catalog").await.is(200).json();
    for name in catalogue["repositories"].as_array().unwrap() {
        assert_whole(desk, name.as_str().unwrap()).await;
    }
}

/// Every tag leads to a whole image, or to nothing: one that a server was deleting when it died is still listed.
async fn assert_nothing_dangles(desk: &Desk) {
    let name = "a".parse().unwrap();
    for tag in desk.storage().tags(&name, None, 100).await.unwrap() {
        if let Some(named) = desk.storage().tag(&name, &tag).await.unwrap() {
            let manifest = desk.get(&format!("/v2/a/manifests/{named}")).await.is(200);
            let layer = manifest.json()["layers"][0]["digest"]
                .as_str()
                .unwrap()
                .to_owned();
            desk.get(&format!("/v2/a/blobs/{layer}")).await.is(200);
        }
    }
}

/// Each request of a life and of a collection after it fails in turn, in each way.
#[tokio::test]
async fn whatever_request_fails_nothing_is_half_done() {
    for fault in [Fault::Refused, Fault::Lost, Fault::Dead] {
        let mut n = 0;
        loop {
            let store = Shaky::default();
            let desk = Desk::shaky(&store, Config::default());
            desk.push_image("a", "old", "1").await;
            desk.push_parts("a", "nobody's").await;
            store.fail(n, fault);
            live(&desk).await;
            desk.wait(DAY);
            desk.try_collect(3600).await.ok();
            let failed = store.heal();
            // Another server goes on with what this one left.
            let desk = desk.restart();
            assert_nothing_dangles(&desk).await;
            desk.get("/v2/a/manifests/old").await.is(200);
            // A tag that is being deleted by a server that died is waited for, unless a collection comes first.
            desk.wait(DAY);
            desk.collect(3600, false).await;
            assert_all_whole(&desk).await;
            assert_eq!(live(&desk).await, 7, "{fault:?} at {n}");
            desk.push_image("a", "moving", "2").await;
            assert_all_whole(&desk).await;
            end_in_nothing(&desk, &store, (fault, n)).await;
            if !failed {
                break;
            }
            n += 1;
        }
        assert!(n > 50, "{n} requests are too few to be all");
    }
}

/// When all is deleted and collected, nothing is left but names and their past.
async fn end_in_nothing(desk: &Desk, store: &Shaky, what: (Fault, u64)) {
    for manifest in desk
        .storage()
        .manifests(&"a".parse().unwrap())
        .await
        .unwrap()
    {
        desk.delete(&format!("/v2/a/manifests/{}", manifest.digest))
            .await
            .is(202);
    }
    desk.wait(10 * DAY);
    for _ in 0..2 {
        let collection = distribution::server::storage::Collection {
            grace: 3600,
            upload_age: DAY,
            dry_run: false,
        };
        desk.storage().collect(&collection).await.unwrap();
    }
    let names = store.names().await;
    let left: Vec<&String> = names
        .iter()
        .filter(|name| !name.starts_with("x/past/") && !name.starts_with("x/catalog/"))
        .collect();
    assert!(left.is_empty(), "{what:?}: {left:?}");
}

/// A large blob in parts: each request of its upload fails in turn, and the client goes on where the server says.
#[tokio::test]
async fn an_upload_goes_on_after_any_failure() {
    let bytes: Vec<u8> = (0..2_300_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = digest(&bytes);
    for fault in [Fault::Refused, Fault::Lost] {
        let mut n = 0;
        loop {
            let store = Shaky::default();
            let desk = Desk::shaky(&store, Config::default());
            store.fail(n, fault);
            let mut location = String::new();
            for _ in 0..2 {
                let answer = desk.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
                if answer.status == 202 {
                    location = answer.header("location").to_owned();
                    break;
                }
            }
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + 8_600_000);
                let range = format!("{at}-{}", end - 1);
                let headers = [("content-range", range.as_str())];
                let piece = bytes[at..end].to_vec();
                let answer = desk.send("PATCH", &location, &headers, piece).await;
                at = end;
                if answer.status != 202 {
                    let status = desk.get(&location).await.is(204);
                    let stands = status.header("range").rsplit_once('-').unwrap().1;
                    // An upload without a byte says that it ends with byte 0, too.
                    at = stands.parse::<usize>().unwrap();
                    at += usize::from(at > 0);
                }
            }
            let finish = format!("{location}?digest={digest}");
            if desk.send("PUT", &finish, &[], "").await.status != 201 {
                let again = desk.send("PUT", &finish, &[], "").await.status;
                assert!(again == 201 || again == 404, "{fault:?} at {n}: {again}");
            }
            let failed = store.heal();
            let got = desk.get(&format!("/v2/a/blobs/{digest}")).await.is(200);
            assert_eq!(super::desk::digest(&got.body), digest);
            if !failed {
                break;
            }
            n += 1;
        }
        assert!(n > 8, "{n}");
    }
}

/// A store whose listings come after its writes, which the documentation forbids: what it refuses can be done again, and
/// what is answered 201 is whole.
#[tokio::test]
async fn stale_listings_do_no_damage() {
    for lag in 1..40 {
        let store = Shaky::default();
        let desk = Desk::shaky(&store, Config::default());
        desk.push_image("a", "old", "1").await;
        store.lag(lag);
        live(&desk).await;
        store.lag(0);
        assert_all_whole(&desk).await;
        assert_eq!(live(&desk).await, 7, "lag of {lag}");
    }
}

/// Deletions and pushes of one manifest under many tags at once: no tag names what is gone.
#[tokio::test]
async fn a_deletion_takes_the_tags_along_that_are_being_set() {
    for seed in 1..60 {
        let store = Shaky::default();
        let desk = std::sync::Arc::new(Desk::shaky(&store, Config::default()));
        let manifest = desk.push_image("a", "first", "1").await;
        store.take_turns(seed);
        let tasks: Vec<_> = (0..4)
            .map(|n: u32| {
                let (desk, manifest) = (desk.clone(), manifest.clone());
                tokio::spawn(async move {
                    if n == 0 {
                        let path = format!("/v2/a/manifests/{}", digest(&manifest));
                        desk.delete(&path).await.is(202);
                    } else {
                        let tag = format!("t{}", n % 3);
                        desk.put_manifest("a", &tag, media_type::OCI_MANIFEST, &manifest)
                            .await
                            .is(201);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_whole(&desk, "a").await;
    }
}

/// A store that ignores the conditions of writes is found out, and its only server loses no push of a tag all the same.
#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out_and_helped() {
    for seed in 1..20 {
        let store = Shaky::default();
        let desk = std::sync::Arc::new(Desk::shaky(&store, Config::default()));
        assert!(desk.storage().has_order().await.unwrap());
        store.ignore_conditions();
        assert!(!desk.storage().has_order().await.unwrap());
        store.take_turns(seed);
        let tasks: Vec<_> = (0..4)
            .map(|n: u32| {
                let desk = desk.clone();
                tokio::spawn(async move { desk.push_image("a", "moving", &n.to_string()).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let history = desk
            .storage()
            .tag_history(&"a".parse().unwrap(), &"moving".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(history.len(), 4, "seed {seed}: {history:?}");
        let left = store.names().await;
        assert!(!left.iter().any(|name| name.contains("probe")), "{left:?}");
        assert_whole(&desk, "a").await;
    }
}

/// What was written to look at a store, and could not be taken away, goes with the next collection.
#[tokio::test]
async fn a_look_at_a_store_that_fails_leaves_nothing_for_ever() {
    let store = Shaky::default();
    let desk = Desk::shaky(&store, Config::default());
    store.fail(1, Fault::Dead);
    desk.storage().check().await.unwrap_err();
    assert!(store.heal());
    for fault in [Fault::Refused, Fault::Dead] {
        store.fail(1, fault);
        desk.storage().has_order().await.unwrap_err();
        assert!(store.heal());
    }
    assert_eq!(store.names().await.len(), 2);
    desk.collect(1000, false).await;
    assert_eq!(store.names().await.len(), 2, "somebody may be looking");
    desk.wait(3000);
    desk.collect(1000, false).await;
    assert!(store.names().await.is_empty());
}

/// Pushes, deletions and collections at once, in many orders that are the same each time.
#[tokio::test]
async fn what_is_taken_over_a_bucket_is_whole() {
    for seed in 1..9 {
        let store = Shaky::default();
        store.take_turns(seed);
        what_is_taken_is_whole(Desk::shaky(&store, Config::default())).await;
    }
}

/// Whatever request of a finish fails, what it published or may still publish is not replaced by another's bytes; the same
/// finish may come again.
#[tokio::test]
async fn what_is_being_finished_takes_nothing_more() {
    use distribution::server::storage::{Storage, StorageError};
    use http_body_util::{BodyExt, Full};
    use oci::Algorithm;

    let repository = "a".parse().unwrap();
    let (first, second) = (b"first".as_slice(), b" second".as_slice());
    let both = digest(&[first, second].concat());
    let body = |bytes: &'static [u8]| {
        Full::new(hyper::body::Bytes::from_static(bytes)).map_err(|never| match never {})
    };
    for fault in [Fault::Refused, Fault::Lost, Fault::Dead] {
        let (mut n, mut refused) = (0, 0);
        loop {
            let store = Shaky::default();
            let storage = store.open(distribution::server::storage::Clock::system());
            let id = storage
                .start_upload(&repository, Algorithm::Sha256)
                .await
                .unwrap();
            storage
                .append(&repository, id, None, &mut body(first), 100)
                .await
                .unwrap();
            store.fail(n, fault);
            let finished = storage
                .finish_upload(&repository, id, &digest(first))
                .await
                .is_ok();
            let failed = store.heal();
            let published = storage.blob(&repository, &digest(first)).await.unwrap();
            assert!(published.is_some() || !finished, "{fault:?} at {n}");
            let there = storage.upload(&repository, id).await.is_ok();
            let more = storage
                .append(&repository, id, None, &mut body(second), 100)
                .await;
            if let Err(more) = more {
                let other = storage.finish_upload(&repository, id, &both).await;
                for error in [more, other.unwrap_err()] {
                    assert!(matches!(error, StorageError::UploadUnknown), "{error}");
                }
                if there {
                    refused += 1;
                    storage
                        .append(&repository, id, None, &mut body(b""), 100)
                        .await
                        .unwrap();
                    storage
                        .finish_upload(&repository, id, &digest(first))
                        .await
                        .unwrap();
                }
                let desk = Desk::shaky(&store, Config::default());
                let path = format!("/v2/a/blobs/{}", digest(first));
                assert_eq!(&desk.get(&path).await.is(200).body[..], first);
            } else {
                // Nothing had begun.
                assert_eq!(published, None, "{fault:?} at {n}");
                storage.finish_upload(&repository, id, &both).await.unwrap();
            }
            if !failed {
                break;
            }
            n += 1;
        }
        assert!(refused > 2, "{fault:?}: {refused} of {n}");
    }
}
