//! Connections: TCP, TLS over it, through a proxy, or to the standard streams of a program such as `ssh`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;

use super::error::{Cause, Error, Result};
use super::proxy::{Proxies, Proxy};
use super::socks;
use super::tls::Tls;
use super::url::Origin;
use super::zone::Zone;

/// The most that a proxy says before the tunnel begins.
const MAX_PROXY_ANSWER: usize = 16 << 10;

/// How one gets to an origin. Connections are shared within one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    pub(crate) way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// Over the network, TLS as given where the origin is secure.
    Network {
        tls: Tls,
        /// Where whoever led us here is, if somebody did: it must not lead to what is nearer to us.
        led_from: Option<Zone>,
    },
    /// The standard streams of a program.
    Command(Arc<[String]>),
}

/// A stream of bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What came of connecting.
pub(crate) struct Connected {
    pub(crate) stream: Box<dyn Stream>,
    /// Requests need the whole URL: the other end is a proxy for plain HTTP.
    pub(crate) proxy: Option<Proxy>,
    /// Where the other end is; by its name alone through a proxy.
    pub(crate) zone: Zone,
}

/// Connects.
pub(crate) async fn connect(
    place: &Place,
    proxies: &Proxies,
    patience: Duration,
) -> Result<Connected> {
    let (tls, led_from) = match &place.way {
        Way::Command(command) => return start(command),
        Way::Network { tls, led_from } => (tls, *led_from),
    };
    let origin = &place.origin;
    let Some(proxy) = proxies.find(origin) else {
        let tcp = dial(origin, led_from, patience).await?;
        let peer = tcp.peer_addr();
        let zone = peer.map_or(Zone::Network, |peer| Zone::of(peer.ip()));
        return Ok(Connected {
            stream: secured(origin, tls, tcp, patience).await?,
            proxy: None,
            zone,
        });
    };
    let zone = Zone::of_host(origin.host());
    check(origin, led_from, zone)?;
    let reached = async {
        let tcp = dial(&proxy.origin, None, patience).await?;
        secured(&proxy.origin, tls, tcp, patience).await
    };
    let mut stream = reached
        .await
        .map_err(|error| of_proxy(error, proxy, origin))?;
    if proxy.socks {
        let open = socks::open(&mut stream, proxy, origin);
        within(patience, &proxy.origin, open).await?;
        return Ok(Connected {
            stream: secured(origin, tls, stream, patience).await?,
            proxy: None,
            zone,
        });
    }
    if !origin.is_secure() {
        return Ok(Connected {
            stream,
            proxy: Some(proxy.clone()),
            zone,
        });
    }
    within(patience, &proxy.origin, tunnel(&mut stream, proxy, origin)).await?;
    Ok(Connected {
        stream: secured(origin, tls, stream, patience).await?,
        proxy: None,
        zone,
    })
}

async fn within<T>(
    patience: Duration,
    origin: &Origin,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or_else(|_| {
            Err(connect_error(
                origin,
                "it does not answer in time",
                Cause::Network,
            ))
        })
}

fn connect_error(origin: &Origin, why: impl ToString, cause: Cause) -> Error {
    Error::Connect {
        host: origin.authority(),
        why: why.to_string(),
        cause,
    }
}

/// What a handshake failed of.
fn tls_error(origin: &Origin, error: &std::io::Error) -> Error {
    use rustls::{CertificateError as Certificate, Error as Tls};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let (cause, why) = match inner {
        Some(Tls::InvalidCertificate(bad)) => match bad {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                (Cause::Expired, "its certificate has expired".to_owned())
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => (
                Cause::Expired,
                "its certificate is not valid yet".to_owned(),
            ),
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                (Cause::OtherName, bad.to_string())
            }
            Certificate::UnknownIssuer => (
                Cause::Untrusted,
                "its certificate is of an authority that is not trusted".to_owned(),
            ),
            other => (Cause::Tls, format!("its certificate is no good: {other}")),
        },
        Some(Tls::InvalidMessage(_)) => {
            (Cause::NoTls, "what answers does not speak TLS".to_owned())
        }
        // Some servers answer with nothing to what they do not understand.
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => (
            Cause::NoTls,
            "it ends the connection when TLS begins".to_owned(),
        ),
        _ => (Cause::Tls, error.to_string()),
    };
    connect_error(origin, crate::wire::sanitised(&why, 300), cause)
}

/// What keeps us from a proxy is not said of the host behind it.
fn of_proxy(error: Error, proxy: &Proxy, origin: &Origin) -> Error {
    match error {
        Error::Connect { why, .. } => Error::Proxy {
            proxy: proxy.shown(),
            host: origin.authority(),
            why,
        },
        other => other,
    }
}

/// Whether we may go where somebody led us.
fn check(origin: &Origin, led_from: Option<Zone>, to: Zone) -> Result<()> {
    let why = match led_from {
        Some(from) if !from.may_lead_to(to) => match from {
            Zone::Public => "a public registry leads to an address of this network",
            _ => "a registry leads to an address of this link alone",
        },
        _ => return Ok(()),
    };
    Err(Error::Redirect {
        host: origin.authority(),
        why,
    })
}

/// Tries the host's addresses in turn.
async fn dial(origin: &Origin, led_from: Option<Zone>, patience: Duration) -> Result<TcpStream> {
    let lookup = async {
        tokio::net::lookup_host((origin.host(), origin.port()))
            .await
            .map(Vec::from_iter)
            .map_err(|error| connect_error(origin, error, Cause::Network))
    };
    let addresses: Vec<SocketAddr> = within(patience, origin, lookup).await?;
    let mut last = connect_error(origin, "the name has no address", Cause::Network);
    let is_allowed = |it: &SocketAddr| check(origin, led_from, Zone::of(it.ip()));
    if let Some(first) = addresses.first()
        && !addresses.iter().any(|it| is_allowed(it).is_ok())
    {
        is_allowed(first)?;
    }
    for address in addresses.into_iter().filter(|it| is_allowed(it).is_ok()) {
        let attempt = async {
            TcpStream::connect(address)
                .await
                .map_err(|error| connect_error(origin, error, Cause::Network))
        };
        match within(patience, origin, attempt).await {
            Ok(stream) => {
                crate::tcp::prepare(&stream);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn secured(
    origin: &Origin,
    tls: &Tls,
    stream: impl Stream + 'static,
    patience: Duration,
) -> Result<Box<dyn Stream>> {
    if !origin.is_secure() {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(origin.host().to_owned())
        .map_err(|error| connect_error(origin, error, Cause::Tls))?;
    let handshake = async {
        TlsConnector::from(tls.config.clone())
            .connect(name, stream)
            .await
            .map_err(|error| tls_error(origin, &error))
    };
    Ok(Box::new(within(patience, origin, handshake).await?))
}

/// Asks a proxy for a tunnel to `origin`.
async fn tunnel(stream: &mut Box<dyn Stream>, proxy: &Proxy, origin: &Origin) -> Result<()> {
    let refused = |why: String| Error::Proxy {
        proxy: proxy.shown(),
        host: origin.authority(),
        why,
    };
    let io = |error: std::io::Error| refused(error.to_string());
    let host = if origin.host().contains(':') {
        format!("[{}]:{}", origin.host(), origin.port())
    } else {
        format!("{}:{}", origin.host(), origin.port())
    };
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(authorization) = proxy.authorization() {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization.reveal());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    // A byte at a time: what follows the answer belongs to the tunnel.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_PROXY_ANSWER {
            return Err(refused("its answer has no end".to_owned()));
        }
        answer.push(stream.read_u8().await.map_err(io)?);
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    match line.split_ascii_whitespace().nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(refused(crate::wire::sanitised(line, 200))),
    }
}

/// Starts a program whose standard streams are the connection. Its stderr is ours: `ssh` asks questions there.
fn start(command: &[String]) -> Result<Connected> {
    let failed = |why: String| Error::Connect {
        host: command.join(" "),
        why,
        cause: Cause::Network,
    };
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| failed("there is no command".to_owned()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed("it has no standard streams".to_owned()));
    };
    Ok(Connected {
        stream: Box::new(Piped {
            input,
            output,
            _child: child,
        }),
        proxy: None,
        zone: Zone::Network,
    })
}

/// The standard streams of a program, which is killed with the connection.
struct Piped {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}
