//! A bucket behind HTTP that is busy, slow, or cuts connections: requests are tried again, or refused in a way that clients
//! understand; what was answered for is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::{Method, Request};
use tokio::sync::{mpsc, watch};

use super::bucket::{Act, Bucket, Plan};
use super::desk::{Desk, digest};
use super::faults::{assert_all_whole, live};

/// More than a part of an upload.
const LARGE: usize = 9 << 20;

fn is_content(target: &str) -> bool {
    target.contains("/content/")
}

async fn desk(plan: impl Fn(&Method, &str) -> Act + Send + Sync + 'static) -> Desk {
    let plan: Plan = Arc::new(plan);
    Desk::over_bucket(Bucket::unwell(plan).await)
}

/// Every third request fails, each time in another way.
#[tokio::test]
async fn what_fails_once_is_tried_again() {
    let (requests, failed) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let count = failed.clone();
    let desk = desk(move |method, _| {
        if requests.fetch_add(1, Ordering::SeqCst) % 3 != 1 {
            return Act::Pass;
        }
        let turn = count.fetch_add(1, Ordering::SeqCst);
        match turn % 5 {
            0 => Act::Busy(None),
            1 => Act::Mute,
            2 if *method != Method::HEAD => Act::CutAnswer(10),
            3 => Act::CutRequest(20),
            _ => Act::Busy(Some(0)),
        }
    })
    .await;
    assert_eq!(live(&desk).await, 7);
    let large = crate::client::noise(LARGE);
    let digest = desk.push_blob("a", &large).await;
    let got = desk.get(&format!("/v2/a/blobs/{digest}")).await.is(200);
    assert!(got.body == large);
    assert_all_whole(&desk).await;
    assert!(failed.load(Ordering::SeqCst) > 20);
}

/// A store that wants to be left alone for a while is.
#[tokio::test]
async fn the_time_that_a_store_wants_is_waited() {
    let (sender, mut asked) = mpsc::unbounded_channel();
    let busy = AtomicBool::new(true);
    let desk = desk(move |_, _| {
        sender.send(Instant::now()).unwrap();
        match busy.swap(false, Ordering::SeqCst) {
            true => Act::Busy(Some(2)),
            false => Act::Pass,
        }
    })
    .await;
    desk.push_blob("a", b"content").await;
    let first = asked.recv().await.unwrap();
    let second = asked.recv().await.unwrap();
    assert!(second - first >= Duration::from_secs(2));
}

/// What stays broken is a clear answer that says when to come again, and leaves nothing half done.
#[tokio::test]
async fn a_store_that_stays_busy_is_told_of() {
    let busy = Arc::new(AtomicBool::new(false));
    let is_busy = busy.clone();
    let desk = desk(move |_, _| match is_busy.load(Ordering::SeqCst) {
        true => Act::Busy(None),
        false => Act::Pass,
    })
    .await;
    let manifest = desk.push_image("a", "v1", "1").await;
    let there = digest(b"layer 1");
    busy.store(true, Ordering::SeqCst);
    let new = digest(b"new");
    let (blob, push) = (
        format!("/v2/a/blobs/{there}"),
        format!("/v2/a/blobs/uploads/?digest={new}"),
    );
    let asked = [
        desk.send("GET", "/v2/a/manifests/v1", &[], ""),
        desk.send("GET", &blob, &[], ""),
        desk.send("POST", &push, &[], "new"),
        desk.send("DELETE", "/v2/a/manifests/v1", &[], ""),
        desk.send("GET", "/v2/a/tags/list", &[], ""),
        desk.send("GET", "/v2/_catalog", &[], ""),
    ];
    for answer in futures_util::future::join_all(asked).await {
        let answer = answer.fails(503, "UNAVAILABLE");
        assert_eq!(answer.header("retry-after"), "5");
        let said = String::from_utf8_lossy(&answer.body);
        assert!(!said.contains("127.0.0.1"), "{said}");
    }
    desk.head("/v2/a/manifests/v1").await.is(503);
    let ready = desk.get("/readyz").await;
    assert_eq!(ready.status, 503);
    busy.store(false, Ordering::SeqCst);
    let got = desk.get("/v2/a/manifests/v1").await.is(200);
    assert_eq!(&got.body[..], &manifest[..]);
    desk.get(&format!("/v2/a/blobs/{new}")).await.is(404);
    assert_eq!(live(&desk).await, 7);
    assert_all_whole(&desk).await;
}

/// An object that breaks off is gone on with; one that always does at the same byte is a body that breaks off.
#[tokio::test]
async fn a_blob_that_breaks_off_never_looks_whole() {
    let large = crate::client::noise(LARGE);
    for once in [true, false] {
        let cuts = AtomicUsize::new(0);
        let desk = desk(move |method, target| {
            let cut = *method == Method::GET && is_content(target);
            match cut && (cuts.fetch_add(1, Ordering::SeqCst) == 0 || !once) {
                // The rest is asked for from where it broke, and nothing of it comes.
                true if once => Act::CutAnswer(5 << 20),
                true => Act::CutAnswer(0),
                false => Act::Pass,
            }
        })
        .await;
        let digest = desk.push_blob("a", &large).await;
        let request = Request::get(format!("/v2/a/blobs/{digest}"))
            .body(http_body_util::Empty::<Bytes>::new())
            .unwrap();
        let (head, mut body) = desk.registry.handle(request).await.into_parts();
        if head.status != 200 {
            assert!(!once && head.status == 503, "{}", head.status);
            continue;
        }
        let (mut got, mut broken) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => got.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        assert_eq!(broken, !once);
        assert_eq!(got == large, once);
    }
}

/// One request that the store does not answer holds nobody else up, and is whole when it is.
#[tokio::test]
async fn who_waits_for_a_slow_store_waits_alone() {
    let (go, held) = watch::channel(false);
    let (sender, mut asked) = mpsc::unbounded_channel();
    let desk = desk(move |method, target| {
        if *method == Method::PUT && is_content(target) && !*held.borrow() {
            sender.send(()).unwrap();
            return Act::Hold(held.clone());
        }
        Act::Pass
    })
    .await;
    let desk = Arc::new(desk);
    let slow = {
        let desk = desk.clone();
        tokio::spawn(async move { desk.push_image("slow", "v1", "1").await })
    };
    asked.recv().await.unwrap();
    desk.get("/v2/").await.is(200);
    desk.get("/v2/slow/manifests/v1").await.is(404);
    desk.get(&format!("/v2/slow/blobs/{}", digest(b"layer 1")))
        .await
        .is(404);
    desk.get("/v2/_catalog").await.is(200);
    desk.get("/readyz").await.is(200);
    go.send_replace(true);
    let manifest = slow.await.unwrap();
    let got = desk.get("/v2/slow/manifests/v1").await.is(200);
    assert_eq!(&got.body[..], &manifest[..]);
    assert_all_whole(&desk).await;
}

/// The client that pushes goes away while the store is slow: nothing is stored, and another push is.
#[tokio::test]
async fn a_push_that_is_given_up_leaves_nothing() {
    let (go, held) = watch::channel(false);
    let (sender, mut asked) = mpsc::unbounded_channel();
    let desk = desk(move |method, target| {
        if *method == Method::PUT && is_content(target) && !*held.borrow() {
            sender.send(()).unwrap();
            return Act::Hold(held.clone());
        }
        Act::Pass
    })
    .await;
    let content = digest(b"content");
    let path = format!("/v2/a/blobs/uploads/?digest={content}");
    tokio::select! {
        _ = desk.send("POST", &path, &[], "content") => panic!("it was answered"),
        _ = asked.recv() => {}
    }
    go.send_replace(true);
    desk.get(&format!("/v2/a/blobs/{content}")).await.is(404);
    desk.push_blob("a", b"content").await;
    let got = desk.get(&format!("/v2/a/blobs/{content}")).await.is(200);
    assert_eq!(&got.body[..], b"content");
}

/// Anybody may ask whether a server is ready, and that is a write to the store: many who ask at once are one.
#[tokio::test]
async fn many_who_ask_whether_it_is_ready_are_one_to_the_store() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let desk = desk(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Act::Pass
    })
    .await;
    count.store(0, Ordering::SeqCst);
    let all = (0..20).map(|_| desk.get("/readyz"));
    for answer in futures_util::future::join_all(all).await {
        answer.is(200);
    }
    let asked = count.load(Ordering::SeqCst);
    assert!((1..10).contains(&asked), "{asked}");
}
