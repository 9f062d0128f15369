//! Registries that want to do harm.

use distribution::client::{Error, Which};
use testkit::registry::{Act, Reply, faulty_registry};

use super::{descriptor, noise, read, repository};

fn latest() -> Which {
    Which::Tag(oci::Tag::latest())
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_without_end_end() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/manifests/") {
            Act::Reply(Reply::status(307).header("Location", format!("{}/more", ask.path)))
        } else {
            Act::Serve
        }
    });
    let error = repository(&registry).manifest(&latest()).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(registry.asked().len() < 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_none_are_not_followed() {
    for location in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "javascript:alert(1)",
    ] {
        let registry = faulty_registry(move |ask, _| {
            if ask.is("GET", "/manifests/") {
                Act::Reply(Reply::status(302).header("Location", location))
            } else {
                Act::Serve
            }
        });
        let error = repository(&registry).manifest(&latest()).await.unwrap_err();
        assert!(matches!(error, Error::Address(_)), "{location}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_an_error() {
    for body in ["", "garbage garbage\r\n\r\n", "HTTP/9.9 200\r\n\r\n"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let serving = {
            let ended = ended.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if ended.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                    use std::io::Write as _;
                    stream.unwrap().write_all(body.as_bytes()).ok();
                }
            })
        };
        let endpoint = distribution::client::Endpoint::of(&host);
        let repository = super::client().repository(&endpoint, "a/b".parse().unwrap());
        assert!(repository.manifest(&latest()).await.is_err());
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        std::net::TcpStream::connect(host).ok();
        serving.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn error_bodies_without_end_are_left() {
    let registry = faulty_registry(|ask, _| {
        if ask.is("GET", "/manifests/") {
            let mut reply = Reply::status(400).body("{");
            reply.endless = true;
            Act::Reply(reply)
        } else {
            Act::Serve
        }
    });
    let error = repository(&registry).manifest(&latest()).await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 400, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_not_those_asked_for_are_refused() {
    for range in ["bytes 0-499/1000", "bytes 500-999/5000", "bytes 500-", ""] {
        let registry = faulty_registry(move |ask, _| match ask.header("range") {
            _ if !ask.is("GET", "/blobs/") => Act::Serve,
            None => Act::CutAnswer(500),
            Some(_) => Act::Reply(
                Reply::status(206)
                    .header("Content-Range", range)
                    .body(vec![0; 500]),
            ),
        });
        let bytes = noise(1000);
        registry.with(|memory| memory.blob("a/b", &bytes));
        assert!(
            read(&repository(&registry), &descriptor(&bytes))
                .await
                .is_err(),
            "{range}"
        );
    }
}
