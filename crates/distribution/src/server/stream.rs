//! One connection over any stream: the standard streams of a program that `ssh` started.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::registry::Registry;

/// Serves a stream to its end. Whoever is at the other end is patient: nothing is cut off for being slow.
///
/// # Errors
///
/// What is spoken is not HTTP, or the stream broke.
pub async fn serve_stream(
    registry: Arc<Registry>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> std::io::Result<()> {
    let service = service_fn(|request| {
        let registry = registry.clone();
        async move { Ok::<_, Infallible>(registry.handle(request).await) }
    });
    http1::Builder::new()
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(std::io::Error::other)
}
