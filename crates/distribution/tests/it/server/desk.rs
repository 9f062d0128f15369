//! A registry in this process that requests are handed to, without a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use distribution::server::storage::local::Local;
use distribution::server::storage::{Clock, Collected, Collection, Storage, StorageError};
use distribution::server::{Config, Registry};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode};
use oci::{Algorithm, Digest, Hasher, media_type};

use super::bucket::Bucket;
use super::shaky::Shaky;

/// A registry, its clock, and where it keeps things.
pub(crate) struct Desk {
    pub(crate) registry: Registry,
    pub(crate) time: Arc<AtomicU64>,
    /// What the clock said in the beginning.
    pub(crate) start: u64,
    place: Place,
}

/// Where a registry keeps things, for as long as the test runs.
enum Place {
    Folder(tempfile::TempDir),
    Bucket(Bucket),
    Shaky(Shaky),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}` in {:?}", self.headers))
            .to_str()
            .unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of an error document.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.code(), code);
        assert_eq!(answer.header("content-type"), "application/json");
        answer
    }
}

/// The SHA-256 digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::sha256_of(bytes)
}

/// The SHA-512 digest of some bytes.
pub(crate) fn digest512(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

/// A descriptor as JSON.
pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": kind, "digest": digest(bytes).to_string(), "size": bytes.len()})
}

impl Desk {
    pub(crate) fn local() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::over(Place::Folder(tempfile::tempdir().unwrap()), config)
    }

    pub(crate) async fn object() -> Self {
        Self::over_bucket(Bucket::start().await)
    }

    pub(crate) fn over_bucket(bucket: Bucket) -> Self {
        Self::over(Place::Bucket(bucket), Config::default())
    }

    /// Over an object store that fails as it is told to.
    pub(crate) fn shaky(store: &Shaky, config: Config) -> Self {
        Self::over(Place::Shaky(store.clone()), config)
    }

    fn over(place: Place, config: Config) -> Self {
        let start = Clock::system().now();
        let time = Arc::new(AtomicU64::new(start));
        let registry = open(&place, &time, config);
        Self {
            registry,
            time,
            start,
            place,
        }
    }

    /// The server is stopped and started again; over a bucket it is another server that goes on.
    pub(crate) fn restart(self) -> Self {
        let Self {
            registry,
            time,
            start,
            place,
        } = self;
        drop(registry);
        let registry = open(&place, &time, Config::default());
        Self {
            registry,
            time,
            start,
            place,
        }
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &**self.registry.storage()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self
            .registry
            .handle(request.body(Full::new(body)).unwrap())
            .await;
        let (head, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if let Some(length) = head.headers.get("content-length")
            && method != "HEAD"
        {
            assert_eq!(length.to_str().unwrap(), body.len().to_string());
        }
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = digest(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.send("POST", &path, &[], bytes.to_vec()).await.is(201);
        digest
    }

    /// Pushes a manifest.
    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        target: &str,
        kind: &str,
        bytes: &[u8],
    ) -> Answer {
        let path = format!("/v2/{repository}/manifests/{target}");
        self.send("PUT", &path, &[("content-type", kind)], bytes.to_vec())
            .await
    }

    /// Pushes an image with a config and a layer made of `seed`, and says what its manifest is.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str, seed: &str) -> Vec<u8> {
        let manifest = self.push_parts(repository, seed).await;
        self.put_manifest(repository, tag, media_type::OCI_MANIFEST, &manifest)
            .await
            .is(201);
        manifest
    }

    /// Pushes the blobs of such an image, and says what its manifest would be.
    pub(crate) async fn push_parts(&self, repository: &str, seed: &str) -> Vec<u8> {
        let config = format!("{{\"config\":\"{seed}\"}}");
        let layer = format!("layer {seed}");
        self.push_blob(repository, config.as_bytes()).await;
        self.push_blob(repository, layer.as_bytes()).await;
        serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, config.as_bytes()),
            "layers": [descriptor(media_type::OCI_LAYER, layer.as_bytes())],
        }))
        .unwrap()
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, seconds: u64) {
        self.time.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) async fn collect(&self, grace: u64, dry_run: bool) -> Collected {
        self.storage()
            .collect(&Collection {
                grace,
                upload_age: u64::MAX,
                dry_run,
            })
            .await
            .unwrap()
    }

    pub(crate) async fn try_collect(&self, grace: u64) -> Result<Collected, StorageError> {
        self.storage()
            .collect(&Collection {
                grace,
                upload_age: u64::MAX,
                dry_run: false,
            })
            .await
    }
}

fn open(place: &Place, time: &Arc<AtomicU64>, config: Config) -> Registry {
    let time = time.clone();
    let clock = Clock::new(move || time.load(Ordering::SeqCst));
    let storage: Arc<dyn Storage> = match place {
        Place::Folder(folder) => Arc::new(Local::open(folder.path(), clock).unwrap()),
        Place::Bucket(bucket) => Arc::new(bucket.open(clock)),
        Place::Shaky(store) => Arc::new(store.open(clock)),
    };
    Registry::new(storage, config)
}
