//! Requests over shared connections: one HTTP/1.1 exchange at a time on each, kept for the next.
//!
//! HTTP/1.1 and not 2: several connections carry several layers faster than one, and a stall of one layer is no stall of
//! the others. To a program such as `ssh` there is one connection, since a person may have to type a password for each,
//! and what one process is in the middle of, another knows nothing of: there it is HTTP/2, many exchanges at once.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync;

use super::connect::{self, Connected, Place, Way};
use super::error::{Asked, Cause, Error, Result};
use super::payload::Outgoing;
use super::proxy::{Proxies, Proxy};
use super::url::Url;
use super::zone::Zone;

/// How many unused connections to one place are kept.
const MAX_IDLE: usize = 16;

/// How much of one answer may be under way on a shared connection, 4 MiB; of all together it is three times that.
const WINDOW: u32 = 4 << 20;

/// How much of it goes before others have their turn.
const FRAME: u32 = 64 << 10;

/// How long a connection that takes no requests may take to end.
const MOMENT: Duration = Duration::from_secs(2);

/// How much of a body that nobody wants is read to keep its connection.
const MAX_DRAIN: usize = 64 << 10;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A connection, TLS included, of each address.
    pub connect: Duration,
    /// The next bytes of a body, either way.
    pub stall: Duration,
    /// The answer, once the request is sent. Registries hash and move what was uploaded before they answer.
    pub answer: Duration,
    /// The most that is waited because a registry asks for it.
    pub retry_after: Duration,
    /// The wait before the second attempt; it doubles each time.
    pub backoff: Duration,
    /// How often a request is tried.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            answer: Duration::from_secs(300),
            retry_after: Duration::from_secs(120),
            backoff: Duration::from_millis(250),
            attempts: 5,
        }
    }
}

/// The connections of a client.
pub(crate) struct Transport {
    pub(crate) patience: Patience,
    pub(crate) proxies: Proxies,
    pub(crate) agent: String,
    idle: Mutex<HashMap<Place, Vec<Line>>>,
    /// Connections to programs, one each. Held while one is begun.
    shared: sync::Mutex<HashMap<Place, (u64, http2::SendRequest<Outgoing>)>>,
    /// How many programs were started, to tell the connections to one place apart.
    started: AtomicU64,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// One connection.
struct Line {
    sender: Sender,
    proxy: Option<Proxy>,
    zone: Zone,
}

/// What a connection takes requests with.
enum Sender {
    /// One at a time; and what the connection ended with.
    Own(http1::SendRequest<Outgoing>, Ended),
    /// Beside those of others, on the connection with this number.
    Shared(u64, http2::SendRequest<Outgoing>),
}

/// What a connection ended with.
type Ended = sync::oneshot::Receiver<hyper::Error>;

impl Sender {
    /// Why the connection ended, of a request that was not sent over it for that reason.
    async fn reason(&mut self) -> Option<hyper::Error> {
        match self {
            // It has ended or is about to.
            Self::Own(_, ended) => tokio::time::timeout(MOMENT, ended).await.ok()?.ok(),
            Self::Shared(..) => None,
        }
    }

    async fn try_send(
        &mut self,
        request: Request<Outgoing>,
    ) -> std::result::Result<hyper::Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match self {
            Self::Own(sender, _) => sender.try_send_request(request).await,
            Self::Shared(_, sender) => sender.try_send_request(request).await,
        }
    }
}

/// An answer whose body is still on its way.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Where whoever answered is.
    pub(crate) zone: Zone,
    /// Set where the registry itself refuses.
    pub(crate) asked: Option<Box<Asked>>,
}

/// The body of an answer. Its connection is kept once it was read to the end.
pub(crate) struct Body {
    body: Incoming,
    /// Read too far, to be given next.
    ahead: Option<Bytes>,
    host: String,
    stall: Duration,
    home: Option<(Arc<Transport>, Place, Line)>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

impl Transport {
    pub(crate) fn new(patience: Patience, proxies: Proxies, agent: String) -> Arc<Self> {
        Arc::new(Self {
            patience,
            proxies,
            agent,
            idle: Mutex::default(),
            shared: sync::Mutex::default(),
            started: AtomicU64::new(0),
        })
    }

    /// Sends one request and reads the head of its answer. `open` makes the body, again if the connection that was kept
    /// turns out to be closed before anything was sent on it.
    pub(crate) async fn send(
        self: &Arc<Self>,
        place: &Place,
        url: &Url,
        method: &Method,
        headers: &HeaderMap,
        payload: Outgoing,
    ) -> Result<Response> {
        let mut payload = Some(payload);
        loop {
            let (mut line, kept) = match (&place.way, self.take(place).await) {
                (Way::Command(_), _) => self.share(place).await?,
                (_, Some(line)) => (line, true),
                (_, None) => (self.open(place).await?, false),
            };
            let body = payload.take().unwrap_or_else(Outgoing::empty);
            let request = self.request(&line, url, method, headers, body)?;
            match self.exchange(&mut line, url, request).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    return Ok(Response {
                        url: url.clone(),
                        status: head.status,
                        headers: head.headers,
                        zone: line.zone,
                        asked: None,
                        body: Body {
                            body,
                            ahead: None,
                            host: url.origin().authority(),
                            stall: self.patience.stall,
                            home: Some((self.clone(), place.clone(), line)),
                        },
                    });
                }
                Err((_, Some(unsent))) if kept => payload = Some(unsent),
                Err((error @ Error::Stalled { .. }, _)) => {
                    self.give_up(place, &line).await;
                    return Err(error);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits before another attempt: longer each time, not for all clients alike, and as long as the other side wants.
    pub(crate) async fn pause(&self, attempt: u32, wanted: Option<Duration>) {
        let step = self.patience.backoff * 2_u32.saturating_pow(attempt.min(8) - 1);
        let random = std::hash::RandomState::new().build_hasher().finish();
        let share = u32::try_from(random % 512).unwrap_or(0);
        let wait = step / 2 + step * share / 512;
        tokio::time::sleep(wait.max(wanted.unwrap_or_default())).await;
    }

    /// The one connection to a program; true if it was there.
    async fn share(&self, place: &Place) -> Result<(Line, bool)> {
        let mut shared = self.shared.lock().await;
        let known = shared.get(place);
        let known = known.filter(|(_, sender)| !sender.is_closed());
        let (number, sender, kept) = match known {
            Some((number, sender)) => (*number, sender.clone(), true),
            None => {
                let connected = self.connect(place).await?;
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(3 * WINDOW)
                    .max_frame_size(FRAME)
                    .handshake(TokioIo::new(connected.stream))
                    .await
                    .map_err(|error| broken(&place.origin.authority(), &error))?;
                tokio::spawn(async move { connection.await.ok() });
                let number = self.started.fetch_add(1, Ordering::Relaxed);
                shared.insert(place.clone(), (number, sender.clone()));
                (number, sender, false)
            }
        };
        let line = Line {
            sender: Sender::Shared(number, sender),
            proxy: None,
            zone: Zone::Network,
        };
        Ok((line, kept))
    }

    /// Has the next request go over another connection, if this one is shared: nothing comes from it, and that it is dead may
    /// never be told. Whatever else is under way on it goes on.
    async fn give_up(&self, place: &Place, line: &Line) {
        let Sender::Shared(number, _) = &line.sender else {
            return;
        };
        let mut shared = self.shared.lock().await;
        if shared.get(place).is_some_and(|(known, _)| known == number) {
            shared.remove(place);
        }
    }

    /// A kept connection that still seems to be open.
    async fn take(&self, place: &Place) -> Option<Line> {
        loop {
            let mut line = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(place)?.pop()?
            };
            let Sender::Own(sender, _) = &mut line.sender else {
                continue;
            };
            // The end of the last body and the readiness for the next request are a moment apart.
            let ready = tokio::time::timeout(self.patience.connect, sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(line);
            }
        }
    }

    fn keep(&self, place: Place, line: Line) {
        // What is shared is kept already.
        if !matches!(&line.sender, Sender::Own(sender, _) if !sender.is_closed()) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = idle.entry(place).or_default();
        if lines.len() < MAX_IDLE {
            lines.push(line);
        }
    }

    async fn connect(&self, place: &Place) -> Result<Connected> {
        connect::connect(place, &self.proxies, self.patience.connect).await
    }

    async fn open(&self, place: &Place) -> Result<Line> {
        let connected = self.connect(place).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|error| broken(&place.origin.authority(), &error))?;
        // Ends with the connection. What goes wrong is told to whoever waits for an answer; or to whoever asks, if that is
        // before anything was sent.
        let (tell, ended) = sync::oneshot::channel();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tell.send(error).ok();
            }
        });
        Ok(Line {
            sender: Sender::Own(sender, ended),
            proxy: connected.proxy,
            zone: connected.zone,
        })
    }

    fn request(
        &self,
        line: &Line,
        url: &Url,
        method: &Method,
        headers: &HeaderMap,
        payload: Outgoing,
    ) -> Result<Request<Outgoing>> {
        let malformed = |_| Error::Address(super::url::UrlError::Malformed);
        let target = match (&line.proxy, &line.sender) {
            (None, Sender::Own(..)) => url.path().to_owned(),
            _ => format!("{}{}", url.origin(), url.path()),
        };
        let uri: Uri = target
            .parse()
            .map_err(|_| Error::Address(super::url::UrlError::Malformed))?;
        let mut headers = headers.clone();
        headers.insert(
            header::HOST,
            HeaderValue::from_str(&url.origin().authority()).map_err(malformed)?,
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_str(&self.agent).map_err(malformed)?,
        );
        if let Some(proxy) = &line.proxy
            && let Some(authorization) = proxy.authorization()
        {
            let mut value = HeaderValue::from_str(authorization.reveal()).map_err(malformed)?;
            value.set_sensitive(true);
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        // hyper leaves the length of an empty body out, which some servers ask for.
        if payload.size() == 0 && [Method::POST, Method::PUT, Method::PATCH].contains(method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(payload);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Waits for the head of the answer as long as the body moves.
    async fn exchange(
        &self,
        line: &mut Line,
        url: &Url,
        request: Request<Outgoing>,
    ) -> std::result::Result<hyper::Response<Incoming>, (Error, Option<Outgoing>)> {
        let host = url.origin().authority();
        let handed = request.body().handed();
        let size = request.body().size();
        let failed = request.body().failed();
        // Whoever gets content may hash and move it before they answer.
        let after = if *request.method() == Method::GET || *request.method() == Method::HEAD {
            self.patience.stall
        } else {
            self.patience.answer
        };
        let mut answer = Box::pin(line.sender.try_send(request));
        let mut seen = 0;
        let (mut error, unsent) = loop {
            let patience = if handed.load(Ordering::Relaxed) < size {
                self.patience.stall
            } else {
                after
            };
            match tokio::time::timeout(patience, &mut answer).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(mut error)) => {
                    // HTTP/2 does not say that it was the body that failed.
                    let own = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(own) = own {
                        return Err((Error::Source(own), None));
                    }
                    let unsent = error.take_message().map(Request::into_body);
                    break (error.into_error(), unsent);
                }
                Err(_) => {
                    let now = handed.load(Ordering::Relaxed);
                    if now == seen {
                        let after = patience;
                        return Err((Error::Stalled { host, after }, None));
                    }
                    seen = now;
                }
            }
        };
        drop(answer);
        if error.is_canceled()
            && let Some(reason) = line.sender.reason().await
        {
            error = reason;
        }
        Err((broken(&host, &error), unsent))
    }
}

fn broken(host: &str, error: &hyper::Error) -> Error {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if wants_certificate(cause) {
            return Error::Connect {
                host: host.to_owned(),
                why: "it wants a client certificate".to_owned(),
                cause: Cause::WantsCertificate,
            };
        }
        why.push_str(": ");
        why.push_str(&cause.to_string());
        source = cause.source();
    }
    Error::Broken {
        host: host.to_owned(),
        why: crate::wire::sanitised(&why, 300),
    }
}

/// The other side has ended TLS for want of a certificate of ours. With TLS 1.3 that comes after the handshake.
fn wants_certificate(cause: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::AlertDescription::CertificateRequired;
    let io = cause.downcast_ref::<std::io::Error>();
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref());
    matches!(tls, Some(rustls::Error::AlertReceived(CertificateRequired)))
}

impl Body {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.ahead.take() {
            return Ok(Some(bytes));
        }
        loop {
            let Ok(frame) = tokio::time::timeout(self.stall, self.body.frame()).await else {
                if let Some((transport, place, line)) = self.home.take() {
                    transport.give_up(&place, &line).await;
                }
                return Err(Error::Stalled {
                    host: self.host.clone(),
                    after: self.stall,
                });
            };
            match frame {
                None => {
                    if let Some((transport, place, line)) = self.home.take() {
                        transport.keep(place, line);
                    }
                    return Ok(None);
                }
                Some(Err(error)) => {
                    self.home = None;
                    return Err(broken(&self.host, &error));
                }
                Some(Ok(frame)) => {
                    // What is not data are trailers, which nothing here uses.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Gives bytes that were read too far once more.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.ahead = Some(bytes);
    }

    /// All of it, if it is not more than `limit`.
    pub(crate) async fn bounded(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            if bytes.len() + chunk.len() > limit {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    /// Reads what nobody wants, if it is little, so that the connection can be used again.
    pub(crate) async fn drain(mut self) {
        // A long or broken rest costs the connection and nothing else.
        self.bounded(MAX_DRAIN).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use hyper::service::service_fn;
    use tokio::sync::mpsc;

    use super::*;

    fn place(script: &str) -> Place {
        Place {
            origin: url().origin().clone(),
            way: Way::Command(["sh", "-c", script].map(str::to_owned).into()),
        }
    }

    fn url() -> Url {
        "http://host/v2/".parse().unwrap()
    }

    fn transport(stall: Duration) -> Arc<Transport> {
        let patience = Patience {
            stall,
            ..Patience::default()
        };
        Transport::new(patience, Proxies::default(), "test".to_owned())
    }

    #[tokio::test]
    async fn a_program_that_says_nothing_is_started_anew() {
        let transport = transport(Duration::from_millis(1));
        let place = place("exec 3>&1; exec cat >/dev/null");
        let get = async || {
            let (url, headers, body) = (url(), HeaderMap::new(), Outgoing::empty());
            let sent = transport.send(&place, &url, &Method::GET, &headers, body);
            sent.await.unwrap_err()
        };
        let (line, kept) = transport.share(&place).await.unwrap();
        assert!(!kept);
        assert!(transport.share(&place).await.unwrap().1);
        let error = get().await;
        assert!(matches!(error, Error::Stalled { .. }), "{error}");
        let (_, kept) = transport.share(&place).await.unwrap();
        assert!(!kept, "the same connection");
        // Who is late to notice takes nothing from the new one.
        transport.give_up(&place, &line).await;
        assert!(transport.share(&place).await.unwrap().1);
    }

    #[tokio::test]
    async fn a_source_that_fails_is_no_broken_connection() {
        let transport = transport(Duration::from_secs(60));
        let place = place("exit 1");
        let (here, there) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async move {
                request.into_body().collect().await.ok();
                Ok::<_, Infallible>(hyper::Response::new(String::new()))
            });
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(there), service)
                .await
                .ok();
        });
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(here))
            .await
            .unwrap();
        tokio::spawn(async move { connection.await.ok() });
        transport
            .shared
            .lock()
            .await
            .insert(place.clone(), (u64::MAX, sender));
        let (pieces, receiver) = mpsc::channel(2);
        pieces.try_send(Ok(Bytes::from_static(b"some"))).unwrap();
        pieces.try_send(Err(io::Error::other("bad disk"))).unwrap();
        let body = Outgoing::stream(receiver, 1000);
        let (url, headers) = (url(), HeaderMap::new());
        let sent = transport.send(&place, &url, &Method::PUT, &headers, body);
        let error = sent.await.unwrap_err();
        assert!(matches!(&error, Error::Source(_)), "{error}");
        assert!(error.to_string().contains("bad disk"), "{error}");
    }
}
