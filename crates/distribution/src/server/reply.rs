//! Answers and their bodies.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::refusal::Refusal;
use super::sendfile::Outbox;
use crate::wire::ErrorDocument;

/// Bytes of a file that are read at once where they cannot be sent by the kernel.
const PIECE: u64 = 256 << 10;

/// The body of an answer.
#[derive(Debug)]
pub struct ReplyBody(Kind);

#[derive(Debug)]
enum Kind {
    Bytes(Option<Bytes>),
    /// Sent by the kernel, by way of the connection.
    Sent(Outbox, Arc<File>, Range<u64>),
    /// Read here.
    Read(Arc<File>, Range<u64>, Option<Reading>),
    Stream(UnsyncBoxBody<Bytes, io::Error>, Option<u64>),
}

type Reading = tokio::task::JoinHandle<io::Result<Bytes>>;

impl ReplyBody {
    /// No bytes.
    pub(crate) const fn empty() -> Self {
        Self(Kind::Bytes(None))
    }

    /// These bytes.
    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Bytes(
            Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()),
        ))
    }

    /// A range of a file, by the kernel if the connection can do that.
    pub(crate) fn file(file: Arc<File>, range: Range<u64>, outbox: Option<Outbox>) -> Self {
        match outbox {
            _ if range.is_empty() => Self::empty(),
            Some(outbox) => Self(Kind::Sent(outbox, file, range)),
            None => Self(Kind::Read(file, range, None)),
        }
    }

    /// A stream of `size` bytes.
    pub(crate) const fn stream(stream: UnsyncBoxBody<Bytes, io::Error>, size: Option<u64>) -> Self {
        Self(Kind::Stream(stream, size))
    }
}

fn read_piece(file: &Arc<File>, range: &Range<u64>) -> Reading {
    let (file, at) = (file.clone(), range.start);
    let count = PIECE.min(range.end - at);
    tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; usize::try_from(count).unwrap_or_default()];
        file.read_exact_at(&mut piece, at)?;
        Ok(piece.into())
    })
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let bytes = match &mut self.get_mut().0 {
            Kind::Bytes(bytes) => bytes.take(),
            Kind::Sent(_, _, range) if range.is_empty() => None,
            Kind::Sent(outbox, file, range) => Some(outbox.promise(file, range)),
            Kind::Read(_, range, _) if range.is_empty() => None,
            Kind::Read(file, range, reading) => {
                let task = reading.get_or_insert_with(|| read_piece(file, range));
                let piece = ready!(Pin::new(task).poll(cx)).map_err(io::Error::other)??;
                range.start += piece.len() as u64;
                *reading = (!range.is_empty()).then(|| read_piece(file, range));
                Some(piece)
            }
            Kind::Stream(stream, _) => return Pin::new(stream).poll_frame(cx),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.is_none(),
            Kind::Sent(_, _, range) | Kind::Read(_, range, _) => range.is_empty(),
            Kind::Stream(stream, _) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Bytes(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Sent(_, _, range) | Kind::Read(_, range, _) => {
                SizeHint::with_exact(range.end - range.start)
            }
            Kind::Stream(_, Some(size)) => SizeHint::with_exact(*size),
            Kind::Stream(stream, None) => stream.size_hint(),
        }
    }
}

/// An answer.
pub(crate) type Reply = Response<ReplyBody>;

/// How an answer is put together.
#[derive(Debug)]
pub(crate) struct Draft(Reply);

impl Draft {
    /// With a status and no body.
    pub(crate) fn new(status: StatusCode) -> Self {
        let mut reply = Response::new(ReplyBody::empty());
        *reply.status_mut() = status;
        reply.headers_mut().insert(
            HeaderName::from_static("docker-distribution-api-version"),
            HeaderValue::from_static("registry/2.0"),
        );
        Self(reply)
    }

    /// With a header. What cannot be sent in one is left out; parsed names always can.
    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers_mut().append(name, value);
        }
        self
    }

    /// For what was pushed by anybody, as whatever they called it: no browser takes it for a page of this host.
    pub(crate) fn harmless(self) -> Self {
        self.header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(
                header::CONTENT_SECURITY_POLICY,
                "sandbox; default-src 'none'",
            )
    }

    /// With a header for each value.
    pub(crate) fn headers<'a>(
        self,
        name: HeaderName,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let add = |draft: Self, value| draft.header(name.clone(), value);
        values.into_iter().fold(self, add)
    }

    /// With a header of the protocol, whose name is written in lower case.
    pub(crate) fn named(self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.header(HeaderName::from_static(name), value)
    }

    /// With a body of known length, which is said also where the body is not sent (HEAD).
    pub(crate) fn body(
        mut self,
        media_type: &str,
        size: u64,
        body: ReplyBody,
        head: bool,
    ) -> Reply {
        self = self
            .header(header::CONTENT_TYPE, media_type)
            .header(header::CONTENT_LENGTH, size.to_string());
        if !head {
            *self.0.body_mut() = body;
        }
        self.0
    }

    /// With a JSON document.
    pub(crate) fn json(
        self,
        media_type: &str,
        document: &impl serde::Serialize,
        head: bool,
    ) -> Reply {
        let bytes = serde_json::to_vec(document).unwrap_or_default();
        self.body(
            media_type,
            bytes.len() as u64,
            ReplyBody::bytes(bytes),
            head,
        )
    }

    /// With nothing more.
    pub(crate) fn done(self) -> Reply {
        // Without it clients wait for the end of the connection or parse chunks.
        let none = matches!(
            self.0.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        if none || self.0.headers().contains_key(header::CONTENT_LENGTH) {
            return self.0;
        }
        self.header(header::CONTENT_LENGTH, "0").0
    }
}

impl Refusal {
    /// The answer.
    pub(crate) fn reply(self, head: bool) -> Reply {
        let mut draft = Draft::new(self.status);
        draft.0.headers_mut().extend(self.headers);
        let document = ErrorDocument::new(self.code, self.message).to_bytes();
        let size = document.len() as u64;
        draft.body("application/json", size, ReplyBody::bytes(document), head)
    }
}
