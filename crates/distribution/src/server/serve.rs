//! Connections: accepted, bounded, served, ended in order.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::registry::{Peer, Registry};
use super::sendfile::Connection;
use super::tls::Tls;

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It cannot listen.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
}

/// A registry that listens.
#[derive(Debug)]
pub struct Server {
    registry: Arc<Registry>,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

/// How long a server that could not accept a connection waits before it tries again: it has too many files open.
const RESPITE: Duration = Duration::from_millis(50);

impl Server {
    /// Listens on `address`, `HOST:PORT`; with port 0 the kernel chooses one.
    ///
    /// # Errors
    ///
    /// The address is of no use or taken.
    pub async fn bind(registry: Arc<Registry>, address: &str) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            registry,
            listener,
            address,
            tls: None,
        })
    }

    /// Secures connections.
    #[must_use]
    pub fn secured_by(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done; then takes no more, and waits until what is under way is finished or `grace` is over.
    pub async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) {
        let limit = self.registry.config.limits.connections;
        let places = Arc::new(Semaphore::new(limit));
        let (stopping, stopped) = watch::channel(false);
        let mut stop = pin!(stop);
        loop {
            let place = tokio::select! {
                () = &mut stop => break,
                Ok(place) = places.clone().acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let accepted = Accepted {
                        registry: self.registry.clone(),
                        stream,
                        from,
                        tls: self.tls.clone(),
                        stopped: stopped.clone(),
                    };
                    tokio::spawn(accepted.serve(place));
                }
                Err(_) => tokio::time::sleep(RESPITE).await,
            }
        }
        drop(self.listener);
        stopping.send_replace(true);
        let all = u32::try_from(limit).unwrap_or(u32::MAX);
        // Those that are not finished when the time is over are cut off with the runtime.
        tokio::time::timeout(grace, places.acquire_many(all))
            .await
            .map(drop)
            .ok();
    }
}

/// One accepted connection.
struct Accepted {
    registry: Arc<Registry>,
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<Tls>,
    stopped: watch::Receiver<bool>,
}

impl Accepted {
    /// Serves it to its end. How it ends is the client's business: errors are its own.
    async fn serve(self, place: OwnedSemaphorePermit) {
        let registry = self.registry.clone();
        let counted = registry.metrics.connection();
        let limits = &registry.config.limits;
        crate::tcp::prepare(&self.stream);
        let mut peer = Peer {
            address: Some(self.from.ip()),
            outbox: None,
        };
        let connection = Connection::new(self.stream, limits.stall);
        match self.tls {
            None => {
                peer.outbox = Some(connection.outbox());
                serve_stream(&registry, connection, peer, self.stopped).await;
            }
            Some(tls) => {
                let handshake = tls.acceptor().accept(connection);
                if let Ok(Ok(stream)) = tokio::time::timeout(limits.head, handshake).await {
                    serve_stream(&registry, stream, peer, self.stopped).await;
                }
            }
        }
        drop(counted);
        drop(place);
    }
}

/// Answers the requests of a stream, one after the other.
async fn serve_stream(
    registry: &Arc<Registry>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = &registry.config.limits;
    let service = service_fn(|request| {
        let (registry, peer) = (registry.clone(), peer.clone());
        async move {
            let request = super::patience::patient(request, registry.config.limits.stall);
            Ok::<_, Infallible>(registry.answer(request, peer).await)
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        serving.await.ok();
    }
}
