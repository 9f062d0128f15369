//! HTTP as far as a build needs it: asking whether a file has changed, and fetching it.
//!
//! Redirects are followed here and nowhere else. Credentials go to the origin they were given for (scheme, host and port) and to no other,
//! so they end at the first redirect that leaves it. Everything has a limit but the time that a download may take as
//! long as it goes on.

use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build::Bringing;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use oci::{Digest, Hasher};
use sys::fs::Context as _;

use super::connect::{Connection, Tls, proxy_authorization};
use super::host::Host;
use super::url::{Url, UrlError};

/// Most bytes between two reports of progress.
const REPORT: u64 = 1 << 20;

/// Most headers of an answer.
const MAX_HEADERS: usize = 128;

/// What an exchange may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a file.
    pub(crate) body: u64,
    /// How long nothing may come.
    pub(crate) stall: Duration,
    /// How often a request may be sent on.
    pub(crate) redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Larger than any file that belongs into an image, and there has to be an end.
            body: 256 << 30,
            stall: Duration::from_secs(60),
            // As curl and browsers do it, about.
            redirects: 10,
        }
    }
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL, or one that it redirects to.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Nobody there.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// The server or proxy.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// A proxy that does not help.
    #[error("cannot use the proxy `{proxy}`: {why}")]
    Proxy {
        /// Which.
        proxy: String,
        /// Why.
        why: String,
    },
    /// The server is not who it should be, or does not speak TLS.
    #[error("no secure connection to `{host}`")]
    Tls {
        /// The server.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// This system trusts nobody.
    #[error("cannot find the certificate authorities of this host")]
    NoAuthorities,
    /// The exchange broke off, or is no HTTP.
    #[error("cannot fetch `{url}`")]
    Exchange {
        /// What was asked for.
        url: String,
        /// Why.
        source: hyper::Error,
    },
    /// Less came than was announced.
    #[error("cannot fetch `{url}`: the connection ended after {found} of {size} bytes")]
    Short {
        /// What was asked for.
        url: String,
        /// What came.
        found: u64,
        /// What was announced.
        size: u64,
    },
    /// Another answer than the file.
    #[error("cannot fetch `{url}`: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// A redirect to nowhere.
    #[error("cannot fetch `{url}`: it redirects to nowhere")]
    NoLocation {
        /// Which.
        url: String,
    },
    /// Redirects without end.
    #[error("cannot fetch `{url}`: more than {limit} redirects")]
    Redirects {
        /// The first.
        url: String,
        /// How many are followed.
        limit: usize,
    },
    /// Nothing came for long.
    #[error("cannot fetch `{url}`: nothing came for {seconds} seconds")]
    Stalled {
        /// What was asked for.
        url: String,
        /// How long.
        seconds: u64,
    },
    /// More than is taken.
    #[error("cannot fetch `{url}`: it is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// A credential that cannot be sent.
    #[error("the secret `{0}` is not the value of a header")]
    Secret(String),
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// There is no event loop to be had.
    #[error("cannot begin to use the network: {0}")]
    Runtime(std::io::Error),
}

/// What a server says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) etag: Option<String>,
    /// Seconds since 1970.
    pub(crate) modified: Option<i64>,
}

/// A file that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) headers: Headers,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// SHA-256 of its bytes.
    pub(crate) digest: Digest,
}

/// A request, for one URL and where that leads.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    /// The value of `Authorization`, for the origin of `url`.
    pub(crate) authorization: Option<HeaderValue>,
    /// What is known: the answer may be that it is still so.
    pub(crate) etag: Option<&'a str>,
}

/// Speaks HTTP.
pub(crate) struct Client<'a> {
    pub(crate) host: &'a Host,
    pub(crate) limits: Limits,
    pub(crate) tls: Tls,
}

/// An answer, and the connection that its body comes over.
struct Answer {
    url: Url,
    response: Response<Incoming>,
    _connection: Abort,
}

/// Ends a task with its owner.
struct Abort(tokio::task::JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(host: &'a Host, limits: Limits) -> Self {
        Self {
            host,
            limits,
            tls: Tls::default(),
        }
    }

    /// Whether the file still is what it was when it had this ETag. `false` also if the server does not know such questions: then a
    /// whole request tells.
    pub(crate) fn is_same(&self, ask: &Ask<'_>) -> Result<bool, HttpError> {
        run(async {
            let answer = match self.follow(&Method::HEAD, ask).await {
                // There are servers that break off here, and serve the file nevertheless.
                Err(HttpError::Exchange { .. }) => return Ok(false),
                answer => answer?,
            };
            let status = answer.response.status();
            if status == StatusCode::NOT_MODIFIED {
                return Ok(true);
            }
            let found = headers(answer.response.headers()).etag;
            Ok(status.is_success() && found.is_some() && found.as_deref() == ask.etag)
        })
    }

    /// Fetches the file into `to`, which must not exist; `None` if it is what it was.
    pub(crate) fn fetch(
        &self,
        ask: &Ask<'_>,
        to: &Path,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<Option<Fetched>, HttpError> {
        run(async {
            let answer = self.follow(&Method::GET, ask).await?;
            let status = answer.response.status();
            if status == StatusCode::NOT_MODIFIED && ask.etag.is_some() {
                return Ok(None);
            }
            if status != StatusCode::OK {
                return Err(HttpError::Status {
                    url: answer.url.to_string(),
                    status,
                });
            }
            self.receive(answer, to, tell).await.map(Some)
        })
    }

    async fn receive(
        &self,
        answer: Answer,
        to: &Path,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<Fetched, HttpError> {
        let url = answer.url.to_string();
        let limit = self.limits.body;
        let headers = headers(answer.response.headers());
        let announced = hyper::body::Body::size_hint(answer.response.body()).exact();
        if announced.is_some_and(|size| size > limit) {
            return Err(HttpError::TooLarge { url, limit });
        }
        let mut body = answer.response.into_body();
        let mut file = sys::fs::create_new(to)?;
        let mut hasher = Hasher::sha256();
        let (mut size, mut reported) = (0, 0);
        while let Some(frame) = self.timely(&answer.url, body.frame()).await? {
            let frame = frame.map_err(|source| match announced {
                Some(announced) if size < announced => HttpError::Short {
                    url: url.clone(),
                    found: size,
                    size: announced,
                },
                _ => HttpError::Exchange {
                    url: url.clone(),
                    source,
                },
            })?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            size += bytes.len() as u64;
            if size > limit {
                return Err(HttpError::TooLarge { url, limit });
            }
            hasher.update(&bytes);
            file.write_all(&bytes).context("write", to)?;
            if size - reported >= REPORT {
                reported = size;
                tell(Bringing::Bytes {
                    done: size,
                    total: announced,
                });
            }
        }
        Ok(Fetched {
            headers,
            path: to.to_owned(),
            size,
            digest: hasher.finish(),
        })
    }

    /// Asks, and asks on where the answer is a redirect.
    async fn follow(&self, method: &Method, ask: &Ask<'_>) -> Result<Answer, HttpError> {
        let mut url = ask.url.clone();
        let mut authorization = ask.authorization.as_ref();
        for _ in 0..=self.limits.redirects {
            let answer = self.exchange(method, &url, authorization, ask.etag).await?;
            if !matches!(
                answer.response.status().as_u16(),
                301 | 302 | 303 | 307 | 308
            ) {
                return Ok(answer);
            }
            let location = answer.response.headers().get(header::LOCATION);
            let location = location.ok_or_else(|| HttpError::NoLocation {
                url: url.to_string(),
            })?;
            let next = url.join(&String::from_utf8_lossy(location.as_bytes()))?;
            if !next.same_origin(&url) {
                authorization = None;
            }
            url = next;
        }
        Err(HttpError::Redirects {
            url: ask.url.to_string(),
            limit: self.limits.redirects,
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        authorization: Option<&HeaderValue>,
        etag: Option<&str>,
    ) -> Result<Answer, HttpError> {
        let fail = |source| HttpError::Exchange {
            url: url.to_string(),
            source,
        };
        let connection = Connection::open(url, self.host, &self.tls);
        let connection = self.timely(url, connection).await??;
        let request = self.request(method, url, connection.forwards, authorization, etag)?;
        let (mut sender, driver) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .handshake(connection)
            .await
            .map_err(fail)?;
        // What goes wrong there is told to whoever waits for the answer or its body.
        let task = Abort(tokio::spawn(async { drop(driver.await) }));
        let response = self
            .timely(url, sender.send_request(request))
            .await?
            .map_err(fail)?;
        Ok(Answer {
            url: url.clone(),
            response,
            _connection: task,
        })
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        forwards: bool,
        authorization: Option<&HeaderValue>,
        etag: Option<&str>,
    ) -> Result<Request<Empty<Bytes>>, HttpError> {
        let invalid = |_| {
            HttpError::Url(UrlError {
                url: url.to_string(),
                why: "it cannot be put into a request",
            })
        };
        let target = match forwards {
            true => url.absolute(),
            false => url.target.clone(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, url.authority())
            .header(
                header::USER_AGENT,
                concat!("barque/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, "*/*")
            // The bytes as they are: a checksum is over those.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(value) = proxy_authorization(url, self.host).filter(|_| forwards) {
            request = request.header(header::PROXY_AUTHORIZATION, value);
        }
        request.body(Empty::new()).map_err(invalid)
    }

    /// Waits for something, but not for ever.
    async fn timely<T>(&self, url: &Url, future: impl Future<Output = T>) -> Result<T, HttpError> {
        tokio::time::timeout(self.limits.stall, future)
            .await
            .map_err(|_| HttpError::Stalled {
                url: url.to_string(),
                seconds: self.limits.stall.as_secs(),
            })
    }
}

/// Does something on the network, on this thread.
fn run<T>(future: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HttpError::Runtime)?;
    let result = runtime.block_on(future);
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    result
}

fn headers(found: &HeaderMap) -> Headers {
    let text = |name| found.get(name)?.to_str().ok();
    Headers {
        etag: text(header::ETAG)
            .filter(|etag| etag.len() <= 1024)
            .map(str::to_owned),
        modified: text(header::LAST_MODIFIED).and_then(date),
    }
}

/// An HTTP date in seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(parsed.timestamp().as_second()).filter(|seconds| *seconds >= 0)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_of_http_are_understood() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in ["", "yesterday", "Sun, 06 Nov 1894 08:49:37 GMT"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }
}
