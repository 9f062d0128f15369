//! An object store in this process: the light server `s3s-fs` on a port of its own. Or one that is there already, as
//! `./test cluster` has it: `BARQUE_TEST_BUCKET=ENDPOINT,…|NAME|REGION|KEY|SECRET`; each test gets a prefix of its own, and a
//! server each of the endpoints in turn.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::client::Secret;
use distribution::server::storage::Clock;
use distribution::server::storage::object::{self, Object};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What becomes of a request to a store that is not well.
pub(crate) enum Act {
    /// It is answered as it should be.
    Pass,
    /// It is refused for now, with so many seconds to wait if that is said.
    Busy(Option<u32>),
    /// The connection is cut when so many bytes of its body came.
    CutRequest(usize),
    /// It is done, and the connection is cut before the answer.
    Mute,
    /// The connection is cut after so many bytes of the answer's body.
    CutAnswer(usize),
    /// It waits until this is true.
    Hold(watch::Receiver<bool>),
}

/// Decides by method and target.
pub(crate) type Plan = Arc<dyn Fn(&hyper::Method, &str) -> Act + Send + Sync>;

/// A bucket that is there as long as this is.
pub(crate) struct Bucket {
    endpoints: Vec<String>,
    /// How many servers have opened it.
    opened: AtomicUsize,
    name: String,
    region: String,
    prefix: String,
    key: [String; 2],
    _folder: tempfile::TempDir,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Ok(there) = std::env::var("BARQUE_TEST_BUCKET") {
            let parts: Vec<&str> = there.split('|').collect();
            let [endpoints, name, region, key, secret] = parts[..] else {
                panic!("BARQUE_TEST_BUCKET has five parts");
            };
            return Self {
                endpoints: endpoints.split(',').map(str::to_owned).collect(),
                opened: AtomicUsize::new(0),
                name: name.to_owned(),
                region: region.to_owned(),
                // The folder's name is nobody else's, and so is this.
                prefix: folder
                    .path()
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('.', ""),
                key: [key.to_owned(), secret.to_owned()],
                _folder: folder,
            };
        }
        Self::light(folder, Arc::new(|_, _| Act::Pass)).await
    }

    /// On a light server, to which things happen.
    pub(crate) async fn unwell(plan: Plan) -> Self {
        Self::light(tempfile::tempdir().unwrap(), plan).await
    }

    async fn light(folder: tempfile::TempDir, plan: Plan) -> Self {
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(accept(listener, service, plan));
        Self {
            endpoints: vec![endpoint],
            opened: AtomicUsize::new(0),
            name: "bucket".to_owned(),
            region: "us-east-1".to_owned(),
            prefix: "x".to_owned(),
            key: ["key".to_owned(), "secret".to_owned()],
            _folder: folder,
        }
    }

    pub(crate) fn open(&self, clock: Clock) -> Object {
        self.open_with(clock, false)
    }

    pub(crate) fn open_with(&self, clock: Clock, redirect: bool) -> Object {
        let turn = self.opened.fetch_add(1, Ordering::SeqCst) % self.endpoints.len();
        let bucket = object::Bucket {
            endpoint: Some(self.endpoints[turn].clone()),
            name: self.name.clone(),
            region: self.region.clone(),
            prefix: self.prefix.clone(),
            access_key: self.key[0].clone(),
            secret_key: Secret::new(self.key[1].clone()),
            redirect,
            proxies: distribution::client::Proxies::default(),
        };
        Object::open(&bucket, clock).unwrap()
    }
}

type Answer = hyper::Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Said to hyper, which cuts the connection then.
fn cut() -> io::Error {
    io::Error::other("cut")
}

async fn accept(listener: TcpListener, service: S3Service, plan: Plan) {
    let light = Arc::new(Light {
        service,
        writing: tokio::sync::Mutex::new(()),
        plan,
    });
    while let Ok((stream, _)) = listener.accept().await {
        let light = light.clone();
        tokio::spawn(async move {
            let serve = hyper::service::service_fn(move |request| {
                let light = light.clone();
                async move { light.answer(request).await }
            });
            // A client that goes away is no failure.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), serve)
                .await
                .ok();
        });
    }
}

struct Light {
    service: S3Service,
    /// The light server looks at conditions and writes in two steps; a real one does both at once.
    writing: tokio::sync::Mutex<()>,
    plan: Plan,
}

impl Light {
    async fn serve(&self, request: Request<Incoming>) -> io::Result<Answer> {
        let alone = match *request.method() {
            hyper::Method::PUT => Some(self.writing.lock().await),
            _ => None,
        };
        let answer = hyper::service::Service::call(&self.service, request).await;
        drop(alone);
        let answer = answer.map_err(io::Error::other)?;
        Ok(answer.map(|body| body.map_err(io::Error::other).boxed_unsync()))
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Answer> {
        let target = request.uri().path_and_query().unwrap().to_string();
        match (self.plan)(request.method(), &target) {
            Act::Pass => self.serve(request).await,
            Act::Busy(wait) => {
                let mut answer = hyper::Response::builder().status(503);
                if let Some(wait) = wait {
                    answer = answer.header("retry-after", wait);
                }
                let why = "<Error><Code>SlowDown</Code><Message>later</Message></Error>";
                let body = Full::from(why).map_err(|never| match never {});
                Ok(answer.body(body.boxed_unsync()).unwrap())
            }
            Act::CutRequest(count) => {
                let (mut body, mut came) = (request.into_body(), 0);
                while came < count
                    && let Some(frame) = body.frame().await
                {
                    came += frame
                        .map_err(io::Error::other)?
                        .data_ref()
                        .map_or(0, Bytes::len);
                }
                Err(cut())
            }
            Act::Mute => {
                self.serve(request).await?;
                Err(cut())
            }
            Act::CutAnswer(count) => {
                let (head, body) = self.serve(request).await?.into_parts();
                let all = body.collect().await?.to_bytes();
                let size = all.len();
                let part = all.slice(..count.min(size));
                let pieces =
                    futures_util::stream::iter([Ok(hyper::body::Frame::data(part)), Err(cut())]);
                let mut answer =
                    hyper::Response::from_parts(head, StreamBody::new(pieces).boxed_unsync());
                answer.headers_mut().insert("content-length", size.into());
                Ok(answer)
            }
            Act::Hold(mut go) => {
                go.wait_for(|go| *go).await.map_err(io::Error::other)?;
                self.serve(request).await
            }
        }
    }
}

/// The light server does; of another store the one who starts `./test cluster` wants to know it.
#[tokio::test]
async fn what_the_store_does_with_conditions_is_found_out() {
    use distribution::server::storage::Storage;

    let heeds = Bucket::start()
        .await
        .open(Clock::system())
        .has_order()
        .await;
    match std::env::var("BARQUE_TEST_BUCKET") {
        Ok(_) => eprintln!(
            "the store heeds the conditions of writes: {}",
            heeds.unwrap()
        ),
        Err(_) => assert!(heeds.unwrap()),
    }
}

/// A large blob goes up in parts, through two servers in turn, and comes down by a URL of the object store's.
#[tokio::test]
async fn servers_share_an_upload_and_send_clients_to_the_store() {
    use distribution::server::storage::Storage;

    let bucket = Bucket::start().await;
    let servers = [bucket.open(Clock::system()), bucket.open(Clock::system())];
    let repository = "team/app".parse().unwrap();
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let id = servers[0]
        .start_upload(&repository, oci::Algorithm::Sha256)
        .await
        .unwrap();
    let mut at = 0;
    for (turn, piece) in bytes.chunks(3_000_000).enumerate() {
        let mut body =
            Full::new(hyper::body::Bytes::copy_from_slice(piece)).map_err(|never| match never {});
        let server = &servers[turn % 2];
        at = server
            .append(&repository, id, Some(at), &mut body, u64::MAX)
            .await
            .unwrap();
        assert_eq!(
            servers[(turn + 1) % 2]
                .upload(&repository, id)
                .await
                .unwrap(),
            at
        );
    }
    let digest = super::desk::digest(&bytes);
    assert_eq!(
        servers[1]
            .finish_upload(&repository, id, &digest)
            .await
            .unwrap(),
        at
    );
    assert_eq!(
        servers[0].blob(&repository, &digest).await.unwrap(),
        Some(at)
    );
    let redirecting = bucket.open_with(Clock::system(), true);
    let content = redirecting
        .open_blob(&repository, &digest, 0..at)
        .await
        .unwrap();
    let distribution::server::storage::Content::Elsewhere(url) = content else {
        panic!("{content:?}");
    };
    assert!(
        bucket
            .endpoints
            .iter()
            .any(|endpoint| url.starts_with(endpoint)),
        "{url}"
    );
    assert!(url.contains("X-Amz-Signature="), "{url}");
}
