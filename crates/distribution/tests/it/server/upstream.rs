//! Pull-through: another server of ours is the upstream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use distribution::client::{Client, Endpoint, Options, Patience, Proxies};
use distribution::server::storage::Clock;
use distribution::server::storage::local::Local;
use distribution::server::{Config, Observer, Pattern, Policy, Registry, Server, Tags, Upstream};
use oci::media_type;
use testkit::registry::{Act, FaultyRegistry, Reply, faulty_registry};
use tokio::sync::oneshot;

use super::desk::{Desk, digest};
use super::shaky::{Fault, Shaky};

/// The other registry, and what it was asked.
struct Other {
    desk: Desk,
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

/// A registry that is `hub/…` here and is not waited for.
pub(crate) fn hub(registry: &str, proxies: Proxies) -> Upstream {
    let patience = Patience {
        backoff: Duration::from_millis(1),
        attempts: 2,
        ..Patience::default()
    };
    let mut endpoint = Endpoint::of(registry);
    endpoint.insecure = true;
    Upstream {
        prefix: "hub".parse().unwrap(),
        endpoint,
        fresh_for: 0,
        client: Client::new(Options {
            patience,
            proxies,
            ..Options::default()
        }),
    }
}

impl Other {
    async fn start() -> Self {
        let desk = Desk::local();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let observer = {
            let asked = asked.clone();
            Observer(Arc::new(move |record| {
                asked
                    .lock()
                    .unwrap()
                    .push(format!("{} {}", record.method, record.path));
            }))
        };
        let registry =
            Registry::new(desk.registry.storage().clone(), Config::default()).observed_by(observer);
        let server = Server::bind(Arc::new(registry), "127.0.0.1:0")
            .await
            .unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(
            async {
                stopped.await.ok();
            },
            Duration::from_secs(60),
        ));
        Self {
            desk,
            address,
            asked,
            stop,
            task,
        }
    }

    fn count(&self, what: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(what))
            .count()
    }

    /// A registry here whose `hub/…` is the other.
    fn through(&self, fresh_for: u64) -> (Registry, tempfile::TempDir) {
        over(Upstream {
            fresh_for,
            ..hub(&self.address.to_string(), Proxies::default())
        })
    }
}

fn over(upstream: Upstream) -> (Registry, tempfile::TempDir) {
    over_with(upstream, Config::default())
}

fn over_with(upstream: Upstream, config: Config) -> (Registry, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Local::open(folder.path(), Clock::system()).unwrap();
    let registry = Registry::new(Arc::new(storage), config)
        .with_upstreams(vec![upstream], folder.path().join("coming"));
    (registry, folder)
}

async fn send(
    registry: &Registry,
    method: &str,
    path: &str,
) -> (u16, hyper::HeaderMap, hyper::body::Bytes) {
    use http_body_util::BodyExt;
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .unwrap();
    let (head, body) = registry.handle(request).await.into_parts();
    (
        head.status.as_u16(),
        head.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_once_is_here_when_the_upstream_is_gone() {
    let other = Other::start().await;
    let manifest = other.desk.push_image("team/app", "v1", "1").await;
    let (here, _folder) = other.through(0);
    let blob = format!("/v2/hub/team/app/blobs/{}", digest(b"layer 1"));
    let (status, headers, _) = send(&here, "HEAD", &blob).await;
    assert_eq!(
        (status, headers["content-length"].to_str().unwrap()),
        (200, "7")
    );
    let (status, headers, body) = send(&here, "GET", "/v2/hub/team/app/manifests/v1").await;
    assert_eq!((status, &body[..]), (200, &manifest[..]));
    assert_eq!(headers["content-type"], media_type::OCI_MANIFEST);
    assert_eq!(&send(&here, "GET", &blob).await.2[..], b"layer 1");
    // A range of what is not here yet.
    let request = hyper::Request::get(format!(
        "/v2/hub/team/app/blobs/{}",
        digest(b"{\"config\":\"1\"}")
    ))
    .header("range", "bytes=2-7")
    .body(http_body_util::Empty::<hyper::body::Bytes>::new())
    .unwrap();
    assert_eq!(here.handle(request).await.status(), 206);
    for path in [
        "/v2/hub/team/app/manifests/none",
        "/v2/hub/none/manifests/v1",
        "/v2/hub/manifests/v1",
    ] {
        assert_eq!(send(&here, "GET", path).await.0, 404, "{path}");
    }
    let fetched = other.count("GET /v2/team/app/blobs");
    other.stop.send(()).unwrap();
    other.task.await.unwrap();
    assert_eq!(
        &send(&here, "GET", "/v2/hub/team/app/manifests/v1").await.2[..],
        &manifest[..]
    );
    assert_eq!(&send(&here, "GET", &blob).await.2[..], b"layer 1");
    assert_eq!(fetched, 2);
    // The last byte may be there before the storage is done.
    let counted = "barque_registry_upstream_blobs_total{result=\"done\"} 2\n";
    let all_counted = async {
        loop {
            let metrics = send(&here, "GET", "/metrics").await.2;
            if String::from_utf8_lossy(&metrics).contains(counted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, all_counted).await.unwrap();
    assert_eq!(
        send(&here, "GET", "/v2/hub/team/app/manifests/v2").await.0,
        502
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_make_one_fetch() {
    let other = Other::start().await;
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = other.desk.push_blob("team/app", &bytes).await;
    other.desk.push_image("team/app", "v1", "1").await;
    let (here, _folder) = other.through(3600);
    let here = Arc::new(here);
    let clients: Vec<_> = (0..30)
        .map(|client| {
            let here = here.clone();
            let path = match client % 2 {
                0 => format!("/v2/hub/team/app/blobs/{blob}"),
                _ => "/v2/hub/team/app/manifests/v1".to_owned(),
            };
            tokio::spawn(async move { send(&here, "GET", &path).await })
        })
        .collect();
    for (number, client) in clients.into_iter().enumerate() {
        let (status, _, body) = client.await.unwrap();
        assert_eq!(status, 200);
        assert!(number % 2 == 1 || body == bytes);
    }
    assert_eq!(other.count("GET /v2/team/app/blobs"), 1);
    assert_eq!(other.count("GET /v2/team/app/manifests"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_move_with_the_upstream() {
    let other = Other::start().await;
    other.desk.push_image("app", "v1", "1").await;
    let (looking, _folder) = other.through(0);
    let (trusting, _folder_too) = other.through(3600);
    for registry in [&looking, &trusting] {
        send(registry, "GET", "/v2/hub/app/manifests/v1").await;
    }
    let second = other.desk.push_image("app", "v1", "2").await;
    assert_eq!(
        &send(&looking, "GET", "/v2/hub/app/manifests/v1").await.2[..],
        &second[..]
    );
    assert_ne!(
        &send(&trusting, "GET", "/v2/hub/app/manifests/v1").await.2[..],
        &second[..]
    );
    other.desk.delete("/v2/app/manifests/v1").await.is(202);
    assert_eq!(
        send(&looking, "GET", "/v2/hub/app/manifests/v1").await.0,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_go_beside_it_and_mirrors_name_it() {
    let other = Other::start().await;
    let manifest = other.desk.push_image("app", "v1", "1").await;
    let (here, _folder) = other.through(0);
    assert_eq!(
        send(&here, "POST", "/v2/hub/app/blobs/uploads/").await.0,
        405
    );
    assert_eq!(send(&here, "PUT", "/v2/hub/app/manifests/v1").await.0, 405);
    assert_eq!(
        send(&here, "POST", "/v2/own/app/blobs/uploads/").await.0,
        202
    );
    assert_eq!(
        send(&here, "POST", "/v2/hubble/app/blobs/uploads/").await.0,
        202
    );
    let path = format!("/v2/app/manifests/v1?ns={}", other.address);
    let (status, headers, body) = send(&here, "GET", &path).await;
    assert_eq!((status, &body[..]), (200, &manifest[..]));
    assert_eq!(headers["oci-namespace"], other.address.to_string());
    assert_eq!(
        send(&here, "GET", "/v2/app/manifests/v1?ns=unknown")
            .await
            .0,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_out_of_date_says_so() {
    let other = Other::start().await;
    other.desk.push_image("app", "v1", "1").await;
    let (looking, _folder) = other.through(0);
    let (trusting, _folder_too) = other.through(3600);
    let path = "/v2/hub/app/manifests/v1";
    for registry in [&looking, &trusting] {
        let (status, headers, _) = send(registry, "GET", path).await;
        assert_eq!((status, headers.get("warning")), (200, None));
    }
    // What was taken away here is brought anew, however short ago the upstream was asked.
    assert_eq!(send(&trusting, "DELETE", path).await.0, 202);
    assert_eq!(send(&trusting, "GET", path).await.0, 200);
    let address = other.address;
    other.stop.send(()).unwrap();
    other.task.await.unwrap();
    let (status, headers, _) = send(&looking, "HEAD", path).await;
    let warning = headers["warning"].to_str().unwrap().to_owned();
    let expected = format!("299 - \"{address} cannot be reached: hub/app:v1 may be out of date\"");
    assert_eq!((status, warning), (200, expected));
    let (status, headers, _) = send(&trusting, "GET", path).await;
    assert_eq!((status, headers.get("warning")), (200, None));
}

/// A storage that cannot take what a tag names now is no upstream that cannot be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_is_not_taken_for_out_of_date() {
    let other = Other::start().await;
    let (mut n, mut refused) = (0, 0);
    loop {
        let store = Shaky::default();
        let here = Desk::shaky(&store, Config::default());
        let upstream = hub(&other.address.to_string(), Proxies::default());
        let here = Registry::new(here.registry.storage().clone(), Config::default())
            .with_upstreams(vec![upstream], std::path::PathBuf::new());
        let path = format!("/v2/hub/app/manifests/v{n}");
        let tag = format!("v{n}");
        other.desk.push_image("app", &tag, "old").await;
        assert_eq!(send(&here, "GET", &path).await.0, 200);
        let new = other.desk.push_image("app", &tag, "new").await;
        store.fail(n, Fault::Refused);
        let (status, headers, body) = send(&here, "GET", &path).await;
        match status {
            200 => assert_eq!((body, headers.get("warning")), (new.into(), None), "at {n}"),
            status => assert_eq!(status, 503, "at {n}"),
        }
        refused += usize::from(status != 200);
        if !store.heal() {
            break;
        }
        n += 1;
    }
    assert!(refused > 2, "{refused} of {n}");
}

/// A prefix within another is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_prefixes_the_longer_one_counts() {
    let (outer, inner) = (Other::start().await, Other::start().await);
    let first = outer.desk.push_image("team/app", "v1", "outer").await;
    let other = outer.desk.push_image("teams/app", "v1", "other").await;
    let second = inner.desk.push_image("app", "v1", "inner").await;
    let storage = Desk::local();
    let upstreams = vec![
        hub(&outer.address.to_string(), Proxies::default()),
        Upstream {
            prefix: "hub/team".parse().unwrap(),
            ..hub(&inner.address.to_string(), Proxies::default())
        },
    ];
    let here = Registry::new(storage.registry.storage().clone(), Config::default())
        .with_upstreams(upstreams, std::path::PathBuf::new());
    let get = async |name: &str| {
        let path = format!("/v2/hub/{name}/manifests/v1");
        send(&here, "GET", &path).await.2
    };
    assert_eq!(get("team/app").await, second);
    assert_eq!(get("teams/app").await, other);
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immutable_tag_does_not_move_with_the_upstream() {
    let other = Other::start().await;
    let first = other.desk.push_image("app", "v1", "1").await;
    let (here, _folder) = over_with(
        hub(&other.address.to_string(), Proxies::default()),
        Config {
            policy: Policy {
                immutable: vec![Tags {
                    repositories: vec![Pattern::new("hub/**")],
                    tags: vec![Pattern::new("v*")],
                }],
                ..Policy::default()
            },
            ..Config::default()
        },
    );
    let get = async || send(&here, "GET", "/v2/hub/app/manifests/v1").await.2;
    assert_eq!(get().await, first);
    other.desk.push_image("app", "v1", "2").await;
    assert_eq!(get().await, first);
}

/// Where an upstream leads that wants something of this network: each is a redirect, or the address of a token service.
#[derive(Debug, Clone, Copy)]
enum Lure {
    Redirect,
    /// By way of another public place.
    Chain,
    Tokens,
}

/// An upstream that leads whoever asks for content to `target`.
fn luring(lure: Lure, target: String) -> FaultyRegistry {
    faulty_registry(move |ask, _| {
        let is_content = ask.path.contains("/blobs/") || ask.path.contains("/manifests/");
        let redirect = |to: &str| Act::Reply(Reply::status(307).header("Location", to));
        match lure {
            // It makes no tunnels: plain HTTP is what is left.
            _ if ask.method == "CONNECT" => Act::Reply(Reply::status(400)),
            _ if ask.path.contains("/onwards") => redirect(&target),
            Lure::Redirect if is_content => redirect(&target),
            Lure::Chain if is_content => redirect("http://cdn.example.test/onwards"),
            Lure::Tokens if is_content || ask.path.ends_with("/v2/") => {
                let challenge = format!("Bearer realm=\"{target}\",service=\"x\"");
                Act::Reply(Reply::status(401).header("WWW-Authenticate", challenge))
            }
            _ => Act::Reply(Reply::status(200)),
        }
    })
}

/// What an upstream elsewhere leads to in this network is not asked. That it is elsewhere is a proxy's doing here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_leads_into_this_network_is_not_followed() {
    let secret = digest(b"secret");
    let internal = faulty_registry(|_, _| Act::Reply(Reply::status(200).body("secret")));
    let inside = format!("http://{}/secret", internal.host());
    let port = internal.host().rsplit_once(':').unwrap().1.to_owned();
    let targets = [
        inside.clone(),
        format!("http://localhost:{port}/secret"),
        format!("http://[::ffff:127.0.0.1]:{port}/secret"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1/secret".to_owned(),
    ];
    for lure in [Lure::Redirect, Lure::Chain, Lure::Tokens] {
        for target in &targets {
            let proxy = luring(lure, target.clone());
            let address = proxy.host();
            let proxies = Proxies::read(Some(&address), Some(&address), None).unwrap();
            let (here, _folder) = over(hub("registry.example.test", proxies));
            for (method, path) in [
                ("GET", format!("/v2/hub/app/blobs/{secret}")),
                ("HEAD", format!("/v2/hub/app/blobs/{secret}")),
                ("GET", format!("/v2/hub/app/manifests/{secret}")),
                ("GET", "/v2/hub/app/manifests/v1".to_owned()),
            ] {
                let (status, _, body) = send(&here, method, &path).await;
                assert_eq!(status, 502, "{lure:?} {target} {method} {path}");
                let said = String::from_utf8_lossy(&body);
                assert!(!said.contains("secret") && !said.contains(&port), "{said}");
            }
            let hosts = ["registry.example.test", "cdn.example.test"];
            let asked = proxy.asked();
            let is_own = |path: &str| {
                let place = path.strip_prefix("http://").unwrap_or(path);
                hosts.iter().any(|host| place.starts_with(host))
            };
            assert!(asked.iter().any(|ask| ask.path.contains("/v2/")));
            assert!(asked.iter().all(|ask| is_own(&ask.path)), "{asked:?}");
        }
    }
    assert!(internal.asked().is_empty(), "{:?}", internal.asked());
    // An upstream of this network may.
    let upstream = luring(Lure::Redirect, inside);
    let (here, _folder) = over(hub(&upstream.host(), Proxies::default()));
    let path = format!("/v2/hub/app/blobs/{secret}");
    assert_eq!(&send(&here, "GET", &path).await.2[..], b"secret");
}
