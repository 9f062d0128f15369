//! Whatever a client may ask of a registry server: method, path with query, headers and body.
#![no_main]

use std::sync::{Arc, LazyLock};

use distribution::server::storage::Clock;
use distribution::server::storage::local::Local;
use distribution::server::{Config, Registry};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, Uri, header};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

struct World {
    runtime: Runtime,
    registry: Registry,
    _folder: tempfile::TempDir,
}

/// One for all inputs: what earlier ones pushed is there for later ones.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let storage = Local::open(folder.path(), Clock::system()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    World {
        runtime,
        registry: Registry::new(Arc::new(storage), Config::default()),
        _folder: folder,
    }
});

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Headers that a registry looks at, in the order in which the input's lines are taken for them.
const HEADERS: [header::HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::RANGE,
    header::CONTENT_RANGE,
    header::IF_NONE_MATCH,
    header::AUTHORIZATION,
];

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(HEADERS.len() + 2, |byte| *byte == b'\n');
    let Some((method, path)) = lines.next().and_then(<[u8]>::split_first) else {
        return;
    };
    // Inputs say where below the API they go; anything else is refused by the first comparison.
    let Ok(uri) = Uri::try_from([b"/v2/", path].concat()) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in HEADERS {
        if let Some(Ok(value)) = lines.next().map(header::HeaderValue::from_bytes)
            && !value.is_empty()
        {
            headers.insert(name, value);
        }
    }
    let body = Full::new(Bytes::copy_from_slice(lines.next().unwrap_or_default()));
    let mut request = Request::new(body);
    *request.method_mut() = METHODS[usize::from(*method) % METHODS.len()].clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let world = &*WORLD;
    world.runtime.block_on(async {
        let reply = world.registry.handle(request).await;
        assert!(reply.status().as_u16() < 500 || reply.status() == 501, "{}", reply.status());
        reply.into_body().collect().await.ok();
    });
});
