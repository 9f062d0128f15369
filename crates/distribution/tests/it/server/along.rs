//! Blobs that come from an upstream while many want them. The upstream sends a half, and goes on when the test says so.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distribution::client::Proxies;
use distribution::server::{Config, Registry, ReplyBody, Server};
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use oci::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::desk::{Desk, digest};
use super::over_each_storage;
use super::shaky::{Fault, Shaky};
use super::upstream::hub;

over_each_storage! {
    all_read_along_and_one_fetch_is_made
    all_see_that_the_upstream_broke_off
    all_see_that_the_content_is_another
    without_a_place_to_read_from_all_wait
    what_nobody_has_is_not_waited_for
}

const HALF: usize = 1_500_000;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A registry with one blob, of which it sends the first half at once.
struct Upper {
    address: std::net::SocketAddr,
    /// How many times the blob was asked for.
    asked: Arc<AtomicUsize>,
    go: watch::Sender<bool>,
}

fn full(bytes: &Bytes) -> Body {
    Full::new(bytes.clone())
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Upper {
    /// Without a second half the connection is cut.
    async fn start(first: Bytes, second: Option<Bytes>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (go, gone) = watch::channel(false);
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (first, second) = (first.clone(), second.clone());
                let (count, gone) = (count.clone(), gone.clone());
                let serve = hyper::service::service_fn(move |request: Request<_>| {
                    let answer = answer(&request, &first, second.as_ref(), &count, &gone);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), serve);
                tokio::spawn(async move { serving.await.ok() });
            }
        });
        Self { address, asked, go }
    }

    /// A registry over the desk's storage whose `hub/…` this is.
    fn through(&self, desk: &Desk, spool: std::path::PathBuf) -> Arc<Registry> {
        let upstream = hub(&self.address.to_string(), Proxies::default());
        let registry = Registry::new(desk.registry.storage().clone(), Config::default());
        Arc::new(registry.with_upstreams(vec![upstream], spool))
    }
}

fn answer(
    request: &Request<hyper::body::Incoming>,
    first: &Bytes,
    second: Option<&Bytes>,
    asked: &AtomicUsize,
    go: &watch::Receiver<bool>,
) -> Response<Body> {
    let size = first.len() + second.map_or(HALF, Bytes::len);
    let reply = Response::builder();
    if !request.uri().path().contains("/blobs/") {
        return reply.body(full(&Bytes::from_static(b"{}"))).unwrap();
    }
    if request.uri().path().contains("/none/") {
        return reply.status(404).body(full(&Bytes::new())).unwrap();
    }
    if request.headers().contains_key("range") {
        // Who comes for the rest does not get it.
        return reply.status(500).body(full(&Bytes::new())).unwrap();
    }
    let reply = reply.header("content-length", size);
    if request.method() == Method::HEAD {
        return reply
            .body(Empty::new().map_err(io::Error::other).boxed_unsync())
            .unwrap();
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let (mut go, second) = (go.clone(), second.cloned());
    let rest = stream::once(async move {
        go.wait_for(|go| *go).await.unwrap();
        second.ok_or_else(|| io::Error::other("cut"))
    });
    let pieces = stream::iter([Ok(first.clone())]).chain(rest);
    let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data)));
    reply.body(body.boxed_unsync()).unwrap()
}

/// Both halves of a blob, and its digest.
fn halves() -> (Bytes, Bytes, Digest) {
    let all = crate::client::noise(2 * HALF);
    let digest = digest(&all);
    let all = Bytes::from(all);
    (all.slice(..HALF), all.slice(HALF..), digest)
}

async fn ask(
    registry: &Registry,
    method: &str,
    name: &str,
    digest: &Digest,
    range: &str,
) -> Response<ReplyBody> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/v2/hub/{name}/blobs/{digest}"));
    if !range.is_empty() {
        request = request.header("range", range);
    }
    let body = Empty::<Bytes>::new();
    registry.handle(request.body(body).unwrap()).await
}

/// Reads `count` bytes of a body; fewer if it breaks off or ends.
async fn read(body: &mut ReplyBody, count: usize) -> (Vec<u8>, Option<io::Error>) {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(error)) => return (bytes, Some(error)),
            None => break,
        }
    }
    (bytes, None)
}

async fn is_stored(desk: &Desk, digest: &Digest) -> bool {
    let repository = "hub/app".parse().unwrap();
    let found = desk.storage().blob(&repository, digest).await;
    found.unwrap().is_some()
}

/// What a client got: the first part, and then the rest, or why it broke off.
type Got = (Vec<u8>, Option<io::Error>);

/// Clients that ask for these ranges at once; each says when it has as much as is in the first half.
fn clients(
    registry: &Arc<Registry>,
    digest: Digest,
    ranges: &[(&str, usize)],
) -> (Vec<tokio::task::JoinHandle<Got>>, mpsc::Receiver<()>) {
    let (halfway, reports) = mpsc::channel(100);
    let tasks = ranges.iter().map(|(range, half)| {
        let (registry, range, half) = (registry.clone(), (*range).to_owned(), *half);
        let halfway = halfway.clone();
        tokio::spawn(async move {
            let mut reply = ask(&registry, "GET", "app", &digest, &range).await;
            assert_eq!(reply.status(), if range.is_empty() { 200 } else { 206 });
            let (mut bytes, error) = read(reply.body_mut(), half).await;
            assert!(error.is_none() && bytes.len() == half, "{error:?}");
            halfway.send(()).await.unwrap();
            let (rest, error) = read(reply.body_mut(), usize::MAX).await;
            bytes.extend(rest);
            (bytes, error)
        })
    });
    (tasks.collect(), reports)
}

async fn all_read_along_and_one_fetch_is_made(desk: Desk) {
    let (first, second, digest) = halves();
    let all = [&first[..], &second[..]].concat();
    let upper = Upper::start(first, Some(second)).await;
    let spool = tempfile::tempdir().unwrap();
    let folder = spool.path().join("coming");
    let registry = upper.through(&desk, folder.clone());
    // Whoever came first goes away; the fetch does not.
    let mut early = ask(&registry, "GET", "app", &digest, "").await;
    assert_eq!(read(early.body_mut(), 1000).await.0[..1000], all[..1000]);
    drop(early);
    let mut ranges = vec![("", HALF); 16];
    ranges.extend([
        ("bytes=1000000-", HALF - 1_000_000),
        ("bytes=1499999-1500000", 1),
        ("bytes=2999999-", 0),
        ("bytes=100-299", 200),
    ]);
    let (mut tasks, mut reports) = clients(&registry, digest, &ranges);
    for _ in &ranges {
        reports.recv().await.unwrap();
    }
    // What is in the first half is had whole.
    let whole = tasks.pop().unwrap().await.unwrap();
    assert_eq!(whole.0, &all[100..300]);
    tasks.remove(3).abort();
    let head = ask(&registry, "HEAD", "app", &digest, "").await;
    assert_eq!(head.headers()["content-length"], all.len().to_string());
    // Not while it may still turn out to be something else.
    assert!(!is_stored(&desk, &digest).await);
    upper.go.send_replace(true);
    let expected = [
        &all[1_000_000..],
        &all[1_499_999..1_500_001],
        &all[2_999_999..],
    ];
    for (n, task) in tasks.into_iter().enumerate() {
        let (bytes, error) = task.await.unwrap();
        assert!(error.is_none(), "{error:?}");
        let expected = n.checked_sub(15).map_or(&all[..], |n| expected[n]);
        assert!(bytes == expected, "client {n}");
    }
    assert_eq!(upper.asked.load(Ordering::SeqCst), 1);
    let mut again = ask(&registry, "GET", "app", &digest, "").await;
    assert!(read(again.body_mut(), usize::MAX).await.0 == all);
    assert_eq!(upper.asked.load(Ordering::SeqCst), 1);
    let left = std::fs::read_dir(folder).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the file has no name");
}

/// Every client is cut off, none has all, and nothing is stored.
async fn all_are_cut_off(desk: &Desk, upper: &Upper, digest: Digest) {
    let spool = tempfile::tempdir().unwrap();
    let registry = upper.through(desk, spool.path().join("coming"));
    let (tasks, mut reports) = clients(&registry, digest, &[("", HALF); 8]);
    for _ in &tasks {
        reports.recv().await.unwrap();
    }
    let server = Server::bind(registry.clone(), "127.0.0.1:0").await.unwrap();
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }, Duration::ZERO));
    let request = format!("GET /v2/hub/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut raw = vec![0; HALF];
    socket.read_exact(&mut raw).await.unwrap();
    upper.go.send_replace(true);
    for task in tasks {
        let (bytes, error) = task.await.unwrap();
        assert!(error.is_some() && bytes.len() < 2 * HALF, "{}", bytes.len());
    }
    // Over a connection it is one that ends before as many bytes came as were promised.
    socket.read_to_end(&mut raw).await.ok();
    let head = raw.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let said = String::from_utf8_lossy(&raw[..head]);
    assert!(
        said.contains(&format!("content-length: {}\r\n", 2 * HALF)),
        "{said}"
    );
    assert!(raw.len() - head < 2 * HALF, "{}", raw.len() - head);
    stop.send(()).ok();
    serving.await.unwrap();
    assert!(!is_stored(desk, &digest).await);
    // It is tried anew.
    let asked = upper.asked.load(Ordering::SeqCst);
    let mut again = ask(&registry, "GET", "app", &digest, "").await;
    if again.status() == 200 {
        assert!(read(again.body_mut(), usize::MAX).await.1.is_some());
    }
    assert!(upper.asked.load(Ordering::SeqCst) > asked);
}

async fn all_see_that_the_upstream_broke_off(desk: Desk) {
    let (first, _, digest) = halves();
    let upper = Upper::start(first, None).await;
    all_are_cut_off(&desk, &upper, digest).await;
}

async fn all_see_that_the_content_is_another(desk: Desk) {
    let (first, second, digest) = halves();
    let mut second = second.to_vec();
    second[HALF - 1] ^= 1;
    let upper = Upper::start(first, Some(second.into())).await;
    all_are_cut_off(&desk, &upper, digest).await;
}

async fn without_a_place_to_read_from_all_wait(desk: Desk) {
    let (first, second, digest) = halves();
    let all = [&first[..], &second[..]].concat();
    let upper = Upper::start(first, Some(second)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let registry = upper.through(&desk, file.path().join("coming"));
    upper.go.send_replace(true);
    let replies = (0..5).map(|_| ask(&registry, "GET", "app", &digest, ""));
    for mut reply in futures_util::future::join_all(replies).await {
        assert!(read(reply.body_mut(), usize::MAX).await.0 == all);
    }
    assert_eq!(upper.asked.load(Ordering::SeqCst), 1);
}

async fn what_nobody_has_is_not_waited_for(desk: Desk) {
    let (first, _, digest) = halves();
    let upper = Upper::start(first, None).await;
    let spool = tempfile::tempdir().unwrap();
    let registry = upper.through(&desk, spool.path().to_owned());
    let replies = (0..5).map(|_| ask(&registry, "GET", "none/at/all", &digest, ""));
    for reply in futures_util::future::join_all(replies).await {
        assert_eq!(reply.status(), 404);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("BLOB_UNKNOWN"));
    }
}

/// Whichever request to its store fails, the storage is not waited for, and the next fetch is a new one.
#[tokio::test]
async fn a_storage_that_fails_holds_nobody_up() {
    let (first, second, digest) = halves();
    let all = [&first[..], &second[..]].concat();
    let upper = Upper::start(first, Some(second)).await;
    upper.go.send_replace(true);
    let spool = tempfile::tempdir().unwrap();
    let patient = Duration::from_secs(120);
    let (mut n, mut in_vain) = (0, 0);
    loop {
        let store = Shaky::default();
        let desk = Desk::shaky(&store, Config::default());
        let registry = upper.through(&desk, spool.path().to_owned());
        store.fail(n, Fault::Dead);
        let asked = async {
            let mut reply = ask(&registry, "GET", "app", &digest, "").await;
            if reply.status() != 200 {
                assert_eq!(reply.status(), 503, "at {n}");
                assert_eq!(reply.headers()["retry-after"], "5");
                return false;
            }
            let (bytes, error) = read(reply.body_mut(), usize::MAX).await;
            assert_eq!(error.is_none(), bytes == all, "at {n}");
            error.is_none()
        };
        let whole = tokio::time::timeout(patient, asked).await;
        in_vain += usize::from(!whole.expect("it ends"));
        let failed = store.heal();
        // The first one, whose bytes are right before they are stored, may be about to fail.
        let again = async {
            loop {
                let mut again = ask(&registry, "GET", "app", &digest, "").await;
                if read(again.body_mut(), usize::MAX).await.0 == all {
                    break;
                }
            }
        };
        let again = tokio::time::timeout(patient, again).await;
        again.unwrap_or_else(|_| panic!("at {n}"));
        if !failed {
            break;
        }
        n += 1;
    }
    assert!(in_vain > 2, "{in_vain} of {n}");
}
