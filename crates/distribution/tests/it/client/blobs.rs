//! Reading blobs: ranges, broken connections, checks.

use std::time::Duration;

use distribution::client::{Client, Endpoint, Error, Kind, Options, Patience};
use testkit::registry::{Act, Reply, faulty_registry};

use super::{descriptor, noise, patience, read, repository};

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_comes_whole_and_is_checked() {
    let registry = faulty_registry(|_, _| Act::Serve);
    let bytes = noise(300_000);
    registry.with(|memory| memory.blob("a/b", &bytes));
    let repository = repository(&registry);
    assert_eq!(read(&repository, &descriptor(&bytes)).await.unwrap(), bytes);
    assert_eq!(
        repository
            .find_blob(&descriptor(&bytes).digest)
            .await
            .unwrap(),
        Some(300_000)
    );
    let missing = read(&repository, &descriptor(b"other")).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert_eq!(
        repository
            .find_blob(&descriptor(b"other").digest)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_comes() {
    let registry = faulty_registry(|_, _| Act::Serve);
    registry.with(|memory| memory.blob("a/b", b""));
    assert_eq!(
        read(&repository(&registry), &descriptor(b""))
            .await
            .unwrap(),
        b""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_where_it_broke() {
    // Each connection gives 100,000 bytes more, the last one the rest.
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/blobs/") {
            Act::CutAnswer(100_000)
        } else {
            Act::Serve
        }
    });
    let bytes = noise(450_000);
    registry.with(|memory| memory.blob("a/b", &bytes));
    assert_eq!(
        read(&repository(&registry), &descriptor(&bytes))
            .await
            .unwrap(),
        bytes
    );
    let ranges: Vec<_> = registry
        .asked()
        .iter()
        .filter(|ask| ask.is("GET", "/blobs/"))
        .map(|ask| ask.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges.len(), 5, "nothing was asked for twice: {ranges:?}");
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=100000-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_read_over() {
    let bytes = noise(200_000);
    let whole = bytes.clone();
    let registry = faulty_registry(move |ask, _| match ask.header("range") {
        _ if !ask.is("GET", "/blobs/") => Act::Serve,
        None => Act::CutAnswer(70_001),
        Some(_) => Act::Reply(Reply::status(200).body(whole.clone())),
    });
    registry.with(|memory| memory.blob("a/b", &bytes));
    assert_eq!(
        read(&repository(&registry), &descriptor(&bytes))
            .await
            .unwrap(),
        bytes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_always_breaks_off_is_given_up() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/blobs/") {
            Act::CutAnswer(0)
        } else {
            Act::Serve
        }
    });
    let bytes = noise(1000);
    registry.with(|memory| memory.blob("a/b", &bytes));
    let error = read(&repository(&registry), &descriptor(&bytes))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    assert!(registry.count("GET", "/blobs/") <= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_content_is_refused() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/blobs/") {
            Act::Reply(Reply::status(200).body(vec![b'x'; 1000]))
        } else {
            Act::Serve
        }
    });
    let error = read(&repository(&registry), &descriptor(&noise(1000)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_another_blob_is_refused() {
    let other = noise(2000);
    let registry = faulty_registry(move |ask, _| match ask.header("range") {
        _ if !ask.is("GET", "/blobs/") => Act::Serve,
        None => Act::CutAnswer(500),
        Some(_) => Act::Reply(
            Reply::status(206)
                .header("Content-Range", "bytes 500-999/1000")
                .body(&other[1500..]),
        ),
    });
    let bytes = noise(1000);
    registry.with(|memory| memory.blob("a/b", &bytes));
    let error = read(&repository(&registry), &descriptor(&bytes))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_sizes_end_at_once() {
    for (reply, why) in [
        (Reply::status(200).body(noise(1001)), "longer"),
        (Reply::status(200).body(noise(999)), "shorter"),
        (
            Reply::status(200)
                .header("Transfer-Encoding", "identity")
                .body(noise(1001)),
            "longer, without saying so",
        ),
        (
            Reply {
                endless: true,
                ..Reply::status(200).body(noise(1000))
            },
            "without end",
        ),
    ] {
        let registry = faulty_registry(move |ask, _| {
            if ask.is("GET", "/blobs/") {
                Act::Reply(reply.clone())
            } else {
                Act::Serve
            }
        });
        let error = read(&repository(&registry), &descriptor(&noise(1000)))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Size { .. } | Error::Broken { .. }),
            "{why}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_somebody_encoded_is_refused() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/blobs/") {
            let reply = Reply::status(200).header("Content-Encoding", "gzip");
            Act::Reply(reply.body(noise(1000)))
        } else {
            Act::Serve
        }
    });
    let error = read(&repository(&registry), &descriptor(&noise(1000)))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("gzip"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_nothing_is_left() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/blobs/") {
            Act::Hang
        } else {
            Act::Serve
        }
    });
    let client = Client::new(Options {
        patience: Patience {
            stall: Duration::from_millis(50),
            attempts: 2,
            ..patience()
        },
        ..Options::default()
    });
    let repository = client.repository(&Endpoint::of(&registry.host()), "a/b".parse().unwrap());
    let error = read(&repository, &descriptor(b"x")).await.unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_waited_for_as_asked() {
    let registry = faulty_registry(|ask, number| {
        if ask.is("GET", "/blobs/") && number < 4 {
            Act::Reply(Reply::status(429).header("Retry-After", "0"))
        } else {
            Act::Serve
        }
    });
    let bytes = noise(1000);
    registry.with(|memory| memory.blob("a/b", &bytes));
    assert_eq!(
        read(&repository(&registry), &descriptor(&bytes))
            .await
            .unwrap(),
        bytes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_hours_is_an_error_now() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/blobs/") {
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
            Act::Reply(Reply::status(429).header("Retry-After", "7200").body(body))
        } else {
            Act::Serve
        }
    });
    let error = read(&repository(&registry), &descriptor(b"x"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("pull rate limit"), "{error}");
    assert_eq!(registry.count("GET", "/blobs/"), 1);
}
