//! Others are told.

use std::path::Path;
use std::time::Duration;

use distribution::client::{Proxies, Secret};
use distribution::server::{Action, Config, Hook, Pattern, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::desk::{Desk, digest};

/// Takes one request and answers it with `status`; what came.
async fn take(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    // The body is one line of JSON, which the last brace ends.
    while !request.ends_with(b"}]}") {
        request.push(stream.read_u8().await.unwrap());
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

/// Tells the listener of everything, soon again if it does not take it, and keeps what waits in `spool`.
fn hook(listener: &TcpListener, spool: &Path) -> Hook {
    Hook {
        url: format!("http://{}/hook", listener.local_addr().unwrap())
            .parse()
            .unwrap(),
        actions: Vec::new(),
        repositories: vec![Pattern::new("**")],
        secret: None,
        backoff: Duration::from_millis(1),
        spool: Some(spool.to_owned()),
    }
}

fn event(request: &str) -> serde_json::Value {
    let body = request.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str::<serde_json::Value>(body).unwrap()["events"][0].clone()
}

#[tokio::test]
async fn pushes_and_deletions_are_told_in_their_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = Hook {
        url: format!("http://{}/hook?x=y", listener.local_addr().unwrap())
            .parse()
            .unwrap(),
        actions: vec![Action::Push, Action::Delete],
        repositories: vec![Pattern::new("team/**")],
        secret: Some(Secret::new("key")),
        backoff: Duration::from_millis(1),
        spool: None,
    };
    let mut desk = Desk::local();
    desk.registry = Registry::new(desk.registry.storage().clone(), Config::default())
        .with_hooks(vec![hook], Proxies::default())
        .unwrap();
    desk.push_image("other/app", "v1", "1").await;
    let manifest = desk.push_image("team/app", "v1", "1").await;
    desk.get("/v2/team/app/manifests/v1").await.is(200);
    desk.delete("/v2/team/app/manifests/v1").await.is(202);
    // Nobody waits for whoever is told; an event that was not taken comes again, before the next.
    for status in ["503 busy", "200 fine"] {
        let request = take(&listener, status).await;
        assert!(
            request.starts_with("POST /hook?x=y HTTP/1.1\r\n"),
            "{request}"
        );
        let signature = request
            .lines()
            .find_map(|line| line.strip_prefix("x-barque-signature: sha256="));
        assert_eq!(signature.map(str::len), Some(64));
        let event = event(&request);
        assert_eq!(event["action"], "push");
        assert_eq!(event["repository"], "team/app");
        assert_eq!(event["tags"], serde_json::json!(["v1"]));
        assert_eq!(event["digest"], digest(&manifest).to_string());
    }
    let event = event(&take(&listener, "200 fine").await);
    assert_eq!(event["action"], "delete");
    assert_eq!(event["tags"], serde_json::json!(["v1"]));
}

/// A server that ends leaves what nobody has heard yet to the next, and what was heard is not told again.
#[tokio::test]
async fn events_that_wait_outlive_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let hook = || hook(&listener, &folder.path().join("hooks"));
    let mut desk = Desk::local();
    let first = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    {
        let _within = first.enter();
        desk.registry = Registry::new(desk.registry.storage().clone(), Config::default())
            .with_hooks(vec![hook()], Proxies::default())
            .unwrap();
    }
    for tag in ["v1", "v2", "v3"] {
        desk.push_image("team/app", tag, tag).await;
    }
    assert_eq!(
        event(&take(&listener, "200 fine").await)["tags"][0],
        "v1",
        "the first is heard"
    );
    // The second arrives and is never answered for: its server is gone before.
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_u8().await.unwrap();
    let wait = Duration::from_secs(60);
    tokio::task::spawn_blocking(move || first.shutdown_timeout(wait))
        .await
        .unwrap();
    let storage = desk.registry.storage().clone();
    desk.registry = Registry::new(storage.clone(), Config::default());
    drop(stream);
    let second = Registry::new(storage, Config::default())
        .with_hooks(vec![hook()], Proxies::default())
        .unwrap();
    for tag in ["v2", "v3"] {
        let event = event(&take(&listener, "200 fine").await);
        assert_eq!(event["tags"][0], tag);
    }
    drop(second);
}

/// A server whose folder for events cannot be used tells them all the same.
#[tokio::test]
async fn events_wait_in_memory_where_there_is_no_folder_for_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let hook = hook(&listener, &file.path().join("hooks"));
    let mut desk = Desk::local();
    desk.registry = Registry::new(desk.registry.storage().clone(), Config::default())
        .with_hooks(vec![hook], Proxies::default())
        .unwrap();
    let unkept: Vec<_> = desk.registry.unkept_events().collect();
    assert_eq!(unkept.len(), 1);
    assert_eq!(unkept[0].0, file.path().join("hooks"));
    desk.push_image("team/app", "v1", "1").await;
    let event = event(&take(&listener, "200 fine").await);
    assert_eq!(event["tags"][0], "v1");
}
