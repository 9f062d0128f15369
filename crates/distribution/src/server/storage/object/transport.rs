//! The object store's requests go through the client's transport: its TLS, its proxies, its patience.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper::body::{Body, Bytes, Frame};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use tokio::sync::mpsc;

use super::super::{Result, StorageError};
use crate::client::attempts::retry_after;
use crate::client::connect::{Place, Way};
use crate::client::payload::Outgoing;
use crate::client::proxy::Proxies;
use crate::client::tls::{Certificates, Tls};
use crate::client::transport::{Body as Answer, Patience, Transport};
use crate::client::url::Url;

/// Pieces of an answer that wait to be read.
const AHEAD: usize = 4;

/// Bytes of an answer that is no object: a list of a thousand names is well below a megabyte.
const MAX_ANSWER: usize = 16 << 20;

/// How long a store that is too busy is obeyed; longer, and whoever waits for this server has gone.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long an answer is waited for to what takes a store no time: to all but large parts, and the order to put them together.
const ANSWER: Duration = Duration::from_secs(60);

/// Bytes that are stored at once.
const SMALL: usize = 64 << 10;

/// Makes clients over one set of connections.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    transport: Arc<Transport>,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(proxies: Proxies) -> Result<Self> {
        let wrong = |error: crate::client::Error| StorageError::Io {
            verb: "set up",
            place: "the object store's client".to_owned(),
            source: io::Error::other(error),
        };
        let agent = format!("barque/{}", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            transport: Transport::new(Patience::default(), proxies, agent),
            tls: Tls::new(&Certificates::default(), true).map_err(wrong)?,
        })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

fn failed(kind: HttpErrorKind) -> impl Fn(crate::client::Error) -> HttpError {
    move |error| HttpError::new(kind, error)
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let url: Url = head
            .uri
            .to_string()
            .parse()
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let place = Place {
            origin: url.origin().clone(),
            way: Way::Network {
                tls: self.tls.clone(),
                led_from: None,
            },
        };
        let patience = match head.method != Method::POST && body.len() <= SMALL {
            true => ANSWER,
            false => Duration::MAX,
        };
        let body = Outgoing::bytes(body);
        let sending = self
            .transport
            .send(&place, &url, &head.method, &head.headers, body);
        let answer = tokio::time::timeout(patience, sending)
            .await
            .map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))?
            .map_err(failed(HttpErrorKind::Request))?;
        if matches!(answer.status.as_u16(), 429 | 503)
            && let Some(wanted) = retry_after(&answer.headers)
        {
            tokio::time::sleep(wanted.min(MAX_WAIT)).await;
        }
        let is_object = head.method == Method::GET
            && answer.status.is_success()
            && !url.path().contains("list-type=");
        let (status, headers) = (answer.status, answer.headers.clone());
        let body = if is_object {
            stream(answer.body)
        } else {
            whole(answer.body).await?
        };
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// All of an answer. One that breaks off is asked for again, as if nothing had come.
async fn whole(mut content: Answer) -> std::result::Result<HttpResponseBody, HttpError> {
    let bytes = content.bounded(MAX_ANSWER).await;
    let bytes = bytes.map_err(failed(HttpErrorKind::Request))?;
    let bytes = bytes.ok_or_else(|| {
        let why = io::Error::other("the object store's answer is too long");
        HttpError::new(HttpErrorKind::Decode, why)
    })?;
    Ok(HttpResponseBody::new(
        Full::from(bytes).map_err(|never: Infallible| match never {}),
    ))
}

/// An object's bytes as they come. If they break off, the store's client asks for the rest.
fn stream(mut content: Answer) -> HttpResponseBody {
    let (sender, receiver) = mpsc::channel(AHEAD);
    // Ends when the answer does, or when nobody wants it any more.
    tokio::spawn(async move {
        loop {
            let piece = match content.next().await {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => return,
                Err(error) => Err(failed(HttpErrorKind::Interrupted)(error)),
            };
            let last = piece.is_err();
            if sender.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    HttpResponseBody::new(Pieces(receiver))
}

struct Pieces(mpsc::Receiver<std::result::Result<Bytes, HttpError>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, HttpError>>> {
        let piece = ready!(self.0.poll_recv(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
