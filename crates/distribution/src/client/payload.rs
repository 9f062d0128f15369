//! Bodies of requests: nothing, bytes, or a stream that can be begun anew at any place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use oci::Descriptor;
use tokio::sync::mpsc;

use super::repository::Repository;

/// How much of a file is read at once.
const CHUNK: usize = 256 << 10;

/// How many chunks wait for the network: the one that is being sent and the next.
const AHEAD: usize = 2;

/// Hears of bytes as they are handed to the network.
pub type OnBytes = Arc<dyn Fn(u64) + Send + Sync>;

/// Content to be uploaded. It is read again from where a broken upload goes on.
#[derive(Debug, Clone)]
pub enum Source {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file of this size.
    File(Arc<File>, u64),
    /// A blob of a registry, passed on as it comes.
    Remote(Box<Repository>, Box<Descriptor>),
}

impl Source {
    /// How many bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
            Self::Remote(_, descriptor) => descriptor.size,
        }
    }

    /// A body with `count` bytes from `offset`.
    pub(crate) fn open(&self, offset: u64, count: u64) -> Outgoing {
        match self {
            Self::Bytes(bytes) => {
                let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let (from, to) = (within(offset), within(offset.saturating_add(count)));
                Outgoing::bytes(bytes.slice(from..to))
            }
            Self::File(file, _) => {
                let (sender, receiver) = mpsc::channel(AHEAD);
                let file = file.clone();
                tokio::task::spawn_blocking(move || read_file(&file, offset, count, &sender));
                Outgoing::stream(receiver, count)
            }
            Self::Remote(repository, descriptor) => {
                let (sender, receiver) = mpsc::channel(AHEAD);
                let (repository, descriptor) = (repository.clone(), descriptor.clone());
                tokio::spawn(async move {
                    if let Err(error) =
                        pass_on(&repository, &descriptor, offset, count, &sender).await
                    {
                        // A receiver that is gone wants nothing more.
                        sender.send(Err(io::Error::other(error))).await.ok();
                    }
                });
                Outgoing::stream(receiver, count)
            }
        }
    }
}

fn read_file(file: &File, offset: u64, count: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut at = offset;
    let end = offset.saturating_add(count);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = vec![0; wanted];
        let read = match file.read_at(&mut buffer, at) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer.truncate(read);
                at += read as u64;
                Ok(Bytes::from(buffer))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

async fn pass_on(
    repository: &Repository,
    descriptor: &Descriptor,
    offset: u64,
    count: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> super::Result<()> {
    let mut reader = repository.blob_from(descriptor, offset).await?;
    let mut left = count;
    while left > 0
        && let Some(mut chunk) = reader.next().await?
    {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        chunk.truncate(wanted);
        left -= chunk.len() as u64;
        if sender.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A body on its way out.
pub(crate) struct Outgoing {
    content: Content,
    left: u64,
    /// Counts what was handed over, to tell a slow upload from one that stands still.
    handed: Arc<AtomicU64>,
    /// Why the source failed, for whoever sends it.
    failed: Arc<Mutex<Option<io::Error>>>,
    on_bytes: Option<OnBytes>,
}

enum Content {
    Bytes(Bytes),
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self {
            left: bytes.len() as u64,
            content: Content::Bytes(bytes),
            handed: Arc::default(),
            failed: Arc::default(),
            on_bytes: None,
        }
    }

    pub(crate) fn stream(receiver: mpsc::Receiver<io::Result<Bytes>>, size: u64) -> Self {
        Self {
            left: size,
            content: Content::Stream(receiver),
            handed: Arc::default(),
            failed: Arc::default(),
            on_bytes: None,
        }
    }

    pub(crate) fn with_progress(mut self, on_bytes: Option<OnBytes>) -> Self {
        self.on_bytes = on_bytes;
        self
    }

    pub(crate) fn size(&self) -> u64 {
        self.left
    }

    pub(crate) fn handed(&self) -> Arc<AtomicU64> {
        self.handed.clone()
    }

    pub(crate) fn failed(&self) -> Arc<Mutex<Option<io::Error>>> {
        self.failed.clone()
    }

    fn hand_over(&mut self, bytes: Bytes) -> io::Result<Frame<Bytes>> {
        let count = bytes.len() as u64;
        self.left = self
            .left
            .checked_sub(count)
            .ok_or_else(|| io::Error::other("the source has more bytes than it said"))?;
        self.handed.fetch_add(count, Ordering::Relaxed);
        if let Some(on_bytes) = &self.on_bytes {
            on_bytes(count);
        }
        Ok(Frame::data(bytes))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = match &mut self.content {
            Content::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Content::Stream(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            },
        };
        let next = match next {
            Some(Ok(bytes)) => self.hand_over(bytes),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if let Err(error) = &next {
            let copy = io::Error::new(error.kind(), error.to_string());
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        }
        Poll::Ready(Some(next))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
