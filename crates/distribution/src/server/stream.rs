//! One connection over any stream: the standard streams of a program that `ssh` started.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::registry::Registry;

/// How much of one upload may be under way, 4 MiB; of all together it is three times that.
const WINDOW: u32 = 4 << 20;

/// How much of it goes before others have their turn.
const FRAME: u32 = 64 << 10;

/// Serves a stream to its end, with HTTP/2: many requests at once. Whoever is at the other end is patient: nothing is cut off for being slow.
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
    http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(3 * WINDOW)
        .max_frame_size(FRAME)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(std::io::Error::other)
}
