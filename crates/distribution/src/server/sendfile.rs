//! Files on their way from the page cache to the socket, without a stop in this program.
//!
//! hyper writes what a body yields. For a range of a file the body yields a piece of [`BLANK`], which stands for as many
//! bytes of the file, and puts the file into the connection's [`Outbox`]. The connection knows a piece of `BLANK` by its
//! address, and has the kernel send the file's bytes instead. Nothing else can have such an address, and bodies of a
//! connection are written one after the other, so the outbox has them in order.
//!
//! A file that is not in the page cache makes the kernel wait for the disk on a thread of the runtime; the kernel is told
//! beforehand what will be wanted.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Stands for bytes of files. Never written, so it takes no memory; its size bounds what one write sends.
static BLANK: [u8; 1 << 20] = [0; 1 << 20];

/// How far ahead the kernel is asked to read.
const AHEAD: u64 = 8 << 20;

/// What a connection has promised to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<VecDeque<Promise>>>);

#[derive(Debug)]
struct Promise {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Outbox {
    /// The next piece of a file: what stands for it is returned, and `range` is shortened by it.
    pub(crate) fn promise(&self, file: &Arc<File>, range: &mut Range<u64>) -> Bytes {
        let left = (range.end - range.start).min(BLANK.len() as u64);
        if range.start % AHEAD < left {
            let wanted = std::num::NonZero::new(2 * AHEAD);
            rustix::fs::fadvise(file, range.start, wanted, rustix::fs::Advice::WillNeed).ok();
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(Promise {
                file: file.clone(),
                at: range.start,
                left,
            });
        range.start += left;
        Bytes::from_static(&BLANK[..usize::try_from(left).unwrap_or(BLANK.len())])
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    BLANK.as_ptr_range().contains(&bytes.as_ptr())
}

/// A connection whose outgoing files the kernel sends, and that does not wait for ever for a client that reads nothing.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    outbox: Outbox,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            outbox: Outbox::default(),
            patience,
            stalled: None,
        }
    }

    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Sends at most `most` bytes of the file that is next.
    fn poll_send(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut outbox = self.outbox.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(promise) = outbox.front_mut() else {
            return Poll::Ready(Err(io::Error::other("nothing was promised")));
        };
        let most = most.min(usize::try_from(promise.left).unwrap_or(most));
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                let mut at = promise.at;
                Ok(rustix::fs::sendfile(
                    &self.stream,
                    &promise.file,
                    Some(&mut at),
                    most,
                )?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    promise.at += sent as u64;
                    promise.left -= sent as u64;
                    if promise.left == 0 {
                        outbox.pop_front();
                    }
                    return Poll::Ready(Ok(sent));
                }
            }
        }
    }

    /// Gives up when nothing has been written for too long.
    fn patient(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let until = Instant::now() + self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = if is_blank(buf) {
            self.poll_send(cx, buf.len())
        } else {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        };
        self.patient(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let plain = bufs.iter().take_while(|buf| !is_blank(buf)).count();
        let written = match bufs.first() {
            Some(first) if plain == 0 => self.poll_send(cx, first.len()),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, &bufs[..plain]),
        };
        self.patient(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
