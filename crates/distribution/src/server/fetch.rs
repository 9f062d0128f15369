//! A blob on its way from an upstream into the storage, and those who read along.
//!
//! One task fetches it and tells in a [`watch`] how far it is; it waits for nobody but the storage, and goes on when everybody
//! has left. Whoever wants the blob reads at their own speed: from the file that it is stored in, as far as that was written, and
//! the last pieces from memory. Where the storage has no such file (a bucket), a file without a name is written beside
//! the upload.
//!
//! The last byte of a blob is held back until its digest is known to be right: an answer that looks whole is whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame};
use oci::{Descriptor, Digest, Repository};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use super::metrics::Outcomes;
use super::refusal::Refusal;
use super::registry::BodyError;
use super::reply::ReplyBody;
use super::spool;
use super::storage::{Partial, Storage, StorageError, UploadId};
use crate::client::{BlobReader, Kind};
use crate::wire::ErrorCode;

/// Pieces that wait to be stored.
const AHEAD: usize = 8;

/// Bytes that are read from the file at once.
const PIECE: u64 = 256 << 10;

/// What became of a fetch that brought nothing.
#[derive(Debug, Clone)]
enum Failure {
    /// The upstream does not have it.
    Missing(Digest),
    /// The upstream failed.
    There(String),
    /// The storage did.
    Here(Refusal),
}

impl Failure {
    fn there(error: impl ToString) -> Self {
        Self::There(error.to_string())
    }

    fn here(error: StorageError) -> Self {
        Self::Here(error.into())
    }

    /// Of what the upstream was asked.
    fn told(error: &crate::client::Error, digest: &Digest) -> Self {
        match error.kind() {
            Kind::NotFound => Self::Missing(*digest),
            _ => Self::there(error),
        }
    }

    fn refusal(self) -> Refusal {
        match self {
            Self::Missing(digest) => StorageError::BlobUnknown(digest).into(),
            Self::There(why) => Refusal {
                cause: Some(why),
                ..Refusal::new(ErrorCode::Unavailable, "the upstream failed")
                    .status(StatusCode::BAD_GATEWAY)
            },
            Self::Here(refusal) => refusal,
        }
    }

    /// For those who have read a part.
    fn why(&self) -> String {
        match self {
            Self::Missing(_) => "the upstream does not have it".to_owned(),
            Self::There(why) => why.clone(),
            Self::Here(refusal) => {
                let why = refusal.cause.as_ref();
                why.unwrap_or(&refusal.message).clone()
            }
        }
    }
}

/// How far a fetch is.
#[derive(Debug, Default)]
struct Progress {
    /// Once it is known.
    size: Option<u64>,
    /// Where what came can be read, as far as it was written; nobody can read along without it.
    file: Option<Partial>,
    /// What came after that, and where the first of it stands.
    recent: VecDeque<Bytes>,
    recent_at: u64,
    received: u64,
    /// Size and digest are right.
    is_right: bool,
    /// How it ended, once it has. Then it is stored.
    ended: Option<Result<(), Failure>>,
}

/// What a reader does next.
enum Step {
    /// Hands on what is in memory.
    Piece(Bytes),
    /// Reads this from the file.
    Read(Arc<File>, Range<u64>),
    Wait,
    Fail(String),
}

impl Progress {
    fn push(&mut self, piece: Bytes) {
        self.received += piece.len() as u64;
        let Some(file) = &self.file else {
            return;
        };
        self.recent.push_back(piece);
        let written = file.written();
        while let Some(first) = self.recent.front()
            && self.recent_at + first.len() as u64 <= written
        {
            self.recent_at += first.len() as u64;
            self.recent.pop_front();
        }
    }

    /// What can be read of a range that is not empty.
    fn step(&self, range: &Range<u64>) -> Step {
        if let Some(Err(failure)) = &self.ended {
            return Step::Fail(failure.why());
        }
        let (Some(size), Some(file)) = (self.size, &self.file) else {
            return Step::Wait;
        };
        let there = match self.is_right {
            true => self.received,
            false => self.received.min(size.saturating_sub(1)),
        };
        let end = there.min(range.end);
        if range.start >= end {
            return Step::Wait;
        }
        if range.start < self.recent_at {
            let end = end.min(self.recent_at).min(range.start + PIECE);
            return Step::Read(file.file(), range.start..end);
        }
        let mut at = self.recent_at;
        for piece in &self.recent {
            let next = at + piece.len() as u64;
            if range.start < next {
                let part = to_usize(range.start - at)..to_usize(end.min(next) - at);
                return Step::Piece(piece.slice(part));
            }
            at = next;
        }
        Step::Wait
    }
}

/// Of what is in memory.
fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A fetch that is under way, or has just ended. Clones look at the same one.
#[derive(Debug, Clone)]
pub(crate) struct Fetching(watch::Receiver<Progress>);

impl Fetching {
    pub(crate) fn is_running(&self) -> bool {
        self.0.borrow().ended.is_none() && self.0.has_changed().is_ok()
    }

    /// The size, if it is known by now.
    pub(crate) fn size(&self) -> Option<u64> {
        self.0.borrow().size
    }

    /// Waits until it can be read along, and says its size then; `None` when it is stored, and read from there.
    pub(crate) async fn begin(&mut self) -> Result<Option<u64>, Refusal> {
        let readable = |progress: &Progress| {
            // The digest of nothing says all that there is to know.
            let size = progress.size.filter(|size| *size > 0 || progress.is_right);
            size.filter(|_| progress.file.is_some())
        };
        let progress = self
            .0
            .wait_for(|progress| progress.ended.is_some() || readable(progress).is_some())
            .await
            .map_err(|_| Failure::there("the fetch broke off").refusal())?;
        match &progress.ended {
            Some(Ok(())) => Ok(None),
            Some(Err(failure)) => Err(failure.clone().refusal()),
            None => Ok(readable(&progress)),
        }
    }

    /// The bytes of a range as they come.
    pub(crate) fn read(self, range: Range<u64>) -> ReplyBody {
        let count = range.end - range.start;
        let pieces = try_unfold((self, range), |(mut fetching, mut range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let piece = fetching.next(&range).await?;
            range.start += piece.len() as u64;
            Ok::<_, io::Error>(Some((Frame::data(piece), (fetching, range))))
        });
        ReplyBody::stream(StreamBody::new(pieces).boxed_unsync(), Some(count))
    }

    /// The first bytes of a range, as soon as they are there.
    async fn next(&mut self, range: &Range<u64>) -> io::Result<Bytes> {
        loop {
            let step = self.0.borrow_and_update().step(range);
            match step {
                Step::Piece(piece) => return Ok(piece),
                Step::Read(file, range) => return read_at(file, range).await,
                Step::Fail(why) => return Err(io::Error::other(why)),
                Step::Wait => self.0.changed().await.map_err(io::Error::other)?,
            }
        }
    }
}

async fn read_at(file: Arc<File>, range: Range<u64>) -> io::Result<Bytes> {
    let reading = spawn_blocking(move || {
        let mut piece = vec![0; to_usize(range.end - range.start)];
        file.read_exact_at(&mut piece, range.start)?;
        Ok(piece.into())
    });
    reading.await.map_err(io::Error::other)?
}

/// Fetches a blob.
pub(crate) struct Fetch {
    storage: Arc<dyn Storage>,
    here: Repository,
    there: crate::client::Repository,
    digest: Digest,
    spool: PathBuf,
    tell: watch::Sender<Progress>,
}

/// What is fetched, from where and into what.
pub(crate) struct Errand<'a> {
    pub(crate) storage: &'a Arc<dyn Storage>,
    /// The repository here.
    pub(crate) here: &'a Repository,
    /// The upstream's.
    pub(crate) there: &'a crate::client::Repository,
    pub(crate) digest: &'a Digest,
    /// Where files without a name are made, if the storage has none that can be read.
    pub(crate) spool: &'a Path,
}

impl Fetch {
    /// A fetch that has not begun.
    pub(crate) fn new(errand: &Errand<'_>) -> (Self, Fetching) {
        let (tell, fetching) = watch::channel(Progress::default());
        let fetch = Self {
            storage: errand.storage.clone(),
            here: errand.here.clone(),
            there: errand.there.clone(),
            digest: *errand.digest,
            spool: errand.spool.to_owned(),
            tell,
        };
        (fetch, Fetching(fetching))
    }

    /// Fetches it; whether that succeeds is counted before anybody is told.
    pub(crate) async fn run(self, outcomes: &Outcomes) {
        let result = self.bring().await;
        outcomes.add(&result);
        self.tell
            .send_modify(|progress| progress.ended = Some(result));
    }

    async fn bring(&self) -> Result<(), Failure> {
        // Another may have ended between the look into the storage and now.
        let there = self.storage.blob(&self.here, &self.digest).await;
        if there.map_err(Failure::here)?.is_some() {
            return Ok(());
        }
        let told = |error| Failure::told(&error, &self.digest);
        let found = self.there.find_blob(&self.digest).await;
        let size = found.map_err(told)?.ok_or(Failure::Missing(self.digest))?;
        self.tell.send_modify(|progress| progress.size = Some(size));
        let descriptor = Descriptor::new("application/octet-stream", self.digest, size);
        let reader = self.there.blob(&descriptor).await.map_err(told)?;
        let storage = &*self.storage;
        let id = storage
            .start_upload(&self.here, self.digest.algorithm())
            .await
            .map_err(Failure::here)?;
        let result = self.store(id, reader).await;
        if result.is_err() {
            // What is left of it is collected with other uploads that nobody finished.
            storage.cancel_upload(&self.here, id).await.ok();
        }
        result
    }

    async fn store(&self, id: UploadId, reader: BlobReader) -> Result<(), Failure> {
        let storage = &*self.storage;
        let stored = storage
            .partial(&self.here, id)
            .await
            .map_err(Failure::here)?;
        // Without any, everybody waits until it is stored.
        let mut beside = match stored {
            Some(_) => None,
            None => Beside::new(self.spool.clone()).await.ok(),
        };
        let file = stored.or_else(|| beside.as_ref().map(|beside| beside.0.clone()));
        self.tell.send_modify(|progress| progress.file = file);
        let (sender, receiver) = mpsc::channel::<Result<Bytes, BodyError>>(AHEAD);
        let writing = async move {
            // Gone as soon as the storage takes no more, or whoever reads would wait for it.
            let mut body = Pieces(receiver);
            let limit = u64::MAX;
            storage
                .append(&self.here, id, Some(0), &mut body, limit)
                .await
        };
        let reading = self.read(reader, sender, beside.as_mut());
        let (written, read) = tokio::join!(writing, reading);
        match written {
            Ok(_) | Err(StorageError::Interrupted(_)) => read?,
            Err(error) => return Err(Failure::here(error)),
        }
        let finished = storage.finish_upload(&self.here, id, &self.digest).await;
        finished.map(drop).map_err(Failure::here)
    }

    /// Hands on what comes: to the storage, and to who reads along.
    async fn read(
        &self,
        mut reader: BlobReader,
        sender: mpsc::Sender<Result<Bytes, BodyError>>,
        mut beside: Option<&mut Beside>,
    ) -> Result<(), Failure> {
        loop {
            let piece = match reader.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    let failure = Failure::there(&error);
                    // The storage may have failed before.
                    sender.send(Err(Box::new(error))).await.ok();
                    return Err(failure);
                }
            };
            if let Some(file) = &mut beside
                && file.write(&piece).await.is_err()
            {
                // Those who need what is not there are cut off; they find the blob when it is stored.
                beside = None;
                self.tell.send_modify(|progress| progress.file = None);
            }
            if sender.send(Ok(piece.clone())).await.is_err() {
                return Err(Failure::there("the storage takes no more"));
            }
            self.tell.send_modify(|progress| progress.push(piece));
        }
        self.tell.send_modify(|progress| progress.is_right = true);
        Ok(())
    }
}

/// A file without a name.
struct Beside(Partial);

impl Beside {
    async fn new(folder: PathBuf) -> io::Result<Self> {
        let making = spawn_blocking(move || Ok(Self(Partial::new(spool::unnamed(&folder)?))));
        making.await.map_err(io::Error::other)?
    }

    async fn write(&mut self, piece: &Bytes) -> io::Result<()> {
        let (file, piece) = (self.0.clone(), piece.clone());
        let writing = spawn_blocking(move || {
            file.file().write_all_at(&piece, file.written())?;
            file.grow(piece.len() as u64);
            Ok(())
        });
        writing.await.map_err(io::Error::other)?
    }
}

/// Bytes that come by a channel.
struct Pieces<E>(mpsc::Receiver<Result<Bytes, E>>);

impl<E> Body for Pieces<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let piece = ready!(self.0.poll_recv(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
