//! The server over TCP.

use std::sync::Arc;
use std::time::Duration;

use distribution::server::storage::Clock;
use distribution::server::storage::local::Local;
use distribution::server::{Config, Limits, Registry, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::desk::digest;

/// A server that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

pub(crate) async fn run(limits: Limits) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let storage = Local::open(folder.path(), Clock::system()).unwrap();
    let config = Config {
        limits,
        ..Config::default()
    };
    let registry = Arc::new(Registry::new(Arc::new(storage), config));
    let server = Server::bind(registry, "127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.serve(
        async {
            stopped.await.ok();
        },
        Duration::from_secs(60),
    ));
    Running {
        address,
        stop,
        task,
        _folder: folder,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn push(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let digest = digest(bytes);
        let head = format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let (head, _) = answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
        digest.to_string()
    }
}

/// Reads an answer with a `Content-Length`.
async fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head of an answer"));
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_sent_between_other_answers() {
    let server = run(Limits::default()).await;
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = server.push(&large).await;
    let small = server.push(b"small").await;
    // Several requests at once on one connection: the answers come in order, each whole.
    let mut stream = server.connect().await;
    let get = |path: &str, extra: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{extra}\r\n");
    let requests = [
        get(&format!("/v2/a/blobs/{blob}"), ""),
        get("/v2/", ""),
        get(&format!("/v2/a/blobs/{small}"), ""),
        get(
            &format!("/v2/a/blobs/{blob}"),
            "range: bytes=3000000-3999999\r\n",
        ),
        get(&format!("/v2/a/blobs/{small}"), "range: bytes=1-2\r\n"),
        get("/v2/a/tags/list", ""),
    ]
    .concat();
    stream.write_all(requests.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.1 == large);
    assert_eq!(answer(&mut stream).await.1, b"{}");
    assert_eq!(answer(&mut stream).await.1, b"small");
    assert!(answer(&mut stream).await.1 == large[3_000_000..4_000_000]);
    assert_eq!(answer(&mut stream).await.1, b"ma");
    assert_eq!(answer(&mut stream).await.1, br#"{"name":"a","tags":[]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_the_others_alone() {
    let server = run(Limits::default()).await;
    let large = vec![7; 8 << 20];
    let blob = server.push(&large).await;
    for _ in 0..3 {
        let mut stream = server.connect().await;
        let request = format!("GET /v2/a/blobs/{blob} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
        drop(stream);
    }
    let mut stream = server.connect().await;
    let request = format!("GET /v2/a/blobs/{blob} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.1 == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_cut_stays() {
    let server = run(Limits::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let (head, _) = answer(&mut stream).await;
    let location = head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap()
        .to_owned();
    let head =
        format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n0123456789");
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    // The server notices in its own time; the next request waits for that.
    let mut stream = server.connect().await;
    let mut received = String::new();
    for _ in 0..10_000 {
        let request = format!("GET {location} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, _) = answer(&mut stream).await;
        if let Some(range) = head.lines().find_map(|line| line.strip_prefix("range: ")) {
            received = range.to_owned();
            if received == "0-9" {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(received, "0-9");
    let digest = digest(b"0123456789");
    let request =
        format!("PUT {location}?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.0.starts_with("HTTP/1.1 201"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_off() {
    let limits = Limits {
        connections: 2,
        head: Duration::from_millis(200),
        stall: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = run(limits).await;
    // All places are taken by clients that say half a request, or half a body, and no more.
    let mut one = server.connect().await;
    one.write_all(b"GET /v2/ HTTP/1.1\r\nho").await.unwrap();
    let mut two = server.connect().await;
    two.write_all(b"PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    let mut text = Vec::new();
    for _ in 0..100 {
        let mut three = server.connect().await;
        let request = b"GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        three.write_all(request).await.ok();
        text.clear();
        three.read_to_end(&mut text).await.ok();
        // On a busy machine we may be slow ourselves, and are cut off, too.
        if !text.is_empty() {
            break;
        }
    }
    assert!(text.ends_with(b"{}"), "{}", text.escape_ascii());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_is_finished_before_the_end() {
    let server = run(Limits::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    answer(&mut idle).await;
    let mut stream = server.connect().await;
    let bytes = b"0123456789";
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n",
        digest(bytes)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    server.stop.send(()).unwrap();
    // The idle connection ends, the other is served.
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    stream.write_all(bytes).await.unwrap();
    let (head, _) = answer(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_exchanged_while_it_serves() {
    use distribution::server::Tls;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

    const ONE: [&[u8]; 2] = [
        include_bytes!("certificates/one.pem"),
        include_bytes!("certificates/one.key"),
    ];
    const TWO: [&[u8]; 2] = [
        include_bytes!("certificates/two.pem"),
        include_bytes!("certificates/two.key"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let storage = Local::open(folder.path(), Clock::system()).unwrap();
    let registry = Arc::new(Registry::new(Arc::new(storage), Config::default()));
    let tls = Tls::new(ONE[0], ONE[1]).unwrap();
    let server = Server::bind(registry, "127.0.0.1:0")
        .await
        .unwrap()
        .secured_by(tls.clone());
    let address = server.address();
    tokio::spawn(server.serve(std::future::pending(), Duration::ZERO));
    let trusting = async |pem: &[u8]| {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        stream
            .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        std::io::Result::Ok(())
    };
    trusting(ONE[0]).await.unwrap();
    assert!(trusting(TWO[0]).await.is_err());
    assert!(
        tls.exchange(TWO[0], ONE[1]).is_err(),
        "a key of another certificate"
    );
    trusting(ONE[0]).await.unwrap();
    tls.exchange(TWO[0], TWO[1]).unwrap();
    trusting(TWO[0]).await.unwrap();
    assert!(trusting(ONE[0]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_refused() {
    let server = run(Limits {
        requests_per_second: Some(1),
        ..Limits::default()
    })
    .await;
    let mut stream = server.connect().await;
    let mut refused = None;
    // A bucket holds ten, and fills by one a second: it is empty soon, whatever the machine does.
    for _ in 0..100_000 {
        stream
            .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let (head, _) = answer(&mut stream).await;
        if head.starts_with("HTTP/1.1 429") {
            refused = Some(head);
            break;
        }
    }
    assert!(refused.unwrap().contains("retry-after: 1"));
}
