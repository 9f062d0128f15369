//! Connections: straight, through a proxy, with and without TLS.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::host::Host;
use super::http::HttpError;
use super::url::Url;

/// Longest answer to CONNECT, headers included.
const MAX_ANSWER: usize = 16 << 10;

/// Bytes read at once.
const BUFFER: usize = 64 << 10;

/// Anything that bytes go over.
trait Io: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A connection on which requests for one URL can be sent.
pub(super) struct Connection {
    inner: Pin<Box<dyn Io>>,
    space: Vec<u8>,
    /// The other end is a proxy that wants to know the whole URL.
    pub(super) forwards: bool,
}

/// The value of an `Authorization` header for a user and password.
pub(super) fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// The settings of TLS, made once: the certificate authorities that this system trusts.
#[derive(Default)]
pub(super) struct Tls(OnceLock<Option<Arc<rustls::ClientConfig>>>);

impl Tls {
    fn config(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.0
            .get_or_init(|| {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return None;
                }
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .ok()?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Some(Arc::new(config))
            })
            .clone()
    }
}

impl Connection {
    fn new(inner: impl Io + 'static, forwards: bool) -> Self {
        Self {
            inner: Box::pin(inner),
            space: vec![0; BUFFER],
            forwards,
        }
    }

    /// Connects to the server of a URL, or to the proxy for it.
    pub(super) async fn open(url: &Url, host: &Host, tls: &Tls) -> Result<Self, HttpError> {
        let Some(proxy) = host.proxy(url) else {
            let stream = tcp(url).await?;
            return match url.secure {
                true => Ok(Self::new(secure(stream, url, tls).await?, false)),
                false => Ok(Self::new(stream, false)),
            };
        };
        let proxy = parse_proxy(proxy)?;
        let stream = tcp(&proxy).await?;
        let stream = match proxy.secure {
            true => Self::new(secure(stream, &proxy, tls).await?, true),
            false => Self::new(stream, true),
        };
        if !url.secure {
            return Ok(stream);
        }
        let mut stream = stream.inner;
        tunnel(&mut stream, url, &proxy)
            .await
            .map_err(|why| HttpError::Proxy {
                proxy: proxy.authority(),
                why,
            })?;
        Ok(Self::new(secure(stream, url, tls).await?, false))
    }
}

/// What a proxy that wants the whole URL is told about who we are.
pub(super) fn proxy_authorization(url: &Url, host: &Host) -> Option<String> {
    let proxy = parse_proxy(host.proxy(url)?).ok()?;
    let (user, password) = proxy.user?;
    Some(basic(&user, &password))
}

fn parse_proxy(text: &str) -> Result<Url, HttpError> {
    let parsed = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{text}")),
    };
    parsed.map_err(|error| HttpError::Proxy {
        proxy: error.url,
        why: error.why.to_owned(),
    })
}

async fn tcp(url: &Url) -> Result<TcpStream, HttpError> {
    let host = url.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port))
        .await
        .map_err(|source| HttpError::Connect {
            host: url.authority(),
            source,
        })?;
    // Requests are small and wait for their answers.
    stream.set_nodelay(true).ok();
    Ok(stream)
}

async fn secure(
    stream: impl Io + Unpin + 'static,
    url: &Url,
    tls: &Tls,
) -> Result<impl Io + 'static, HttpError> {
    let config = tls.config().ok_or(HttpError::NoAuthorities)?;
    let fail = |source| HttpError::Tls {
        host: url.authority(),
        source,
    };
    let name = url.host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|error| fail(io::Error::other(error)))?;
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(fail)
}

/// Asks a proxy for a way to the server of `url`.
async fn tunnel(stream: &mut Pin<Box<dyn Io>>, url: &Url, proxy: &Url) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let place = format!("{}:{}", url.host, url.port);
    let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
    if let Some((user, password)) = &proxy.user {
        request.push_str(&format!(
            "Proxy-Authorization: {}\r\n",
            basic(user, password)
        ));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    stream.flush().await.map_err(text)?;
    let mut answer = Vec::new();
    // What follows the headers is the server's: not a byte of it may be taken.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
        answer.push(stream.read_u8().await.map_err(text)?);
    }
    let line = answer.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split(' ');
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    match words.next() {
        Some(status) if http && status.starts_with('2') => Ok(()),
        _ => Err(format!("it answered `{}`", super::printable(&line))),
    }
}

impl hyper::rt::Read for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let most = cursor.remaining().min(this.space.len());
        let mut buffer = ReadBuf::new(&mut this.space[..most]);
        ready!(this.inner.as_mut().poll_read(context, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().inner.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner.as_mut().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner.as_mut().poll_shutdown(context)
    }
}
