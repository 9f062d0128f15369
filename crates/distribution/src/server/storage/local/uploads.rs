//! Uploads: a file that grows, hashed while it does.
//!
//! The file's name says whose it is (id, algorithm, repository), so that an upload survives a restart without a record of
//! its own: what is there is hashed again when somebody goes on with it. It is not synced before it is finished; if a
//! power cut leaves holes in it, the digest at the end does not fit.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use http_body_util::BodyExt;
use hyper::body::Bytes;
use oci::{Algorithm, Digest, Hasher, Repository};
use tokio::sync::OwnedMutexGuard;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::{Incoming, Partial, Result, StorageError, UploadId};
use super::journal::Durability;
use super::state::{Event, What};
use super::{Folder, Local, files, join};

/// Bytes that are handed to the disk at once. Twice this is what an upload holds in memory.
const BATCH: usize = 256 << 10;

/// From here on the disk is told to begin with what it has not written yet, 32 MiB.
const WRITE_BACK: u64 = 32 << 20;

/// How long a request waits for another that writes to the same upload.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the disk was told to begin with. The kernel tells of an error once for all that share an open file, so that what
/// this hears is not heard again by the sync at the end.
#[derive(Debug, Default)]
struct WriteBack {
    task: Option<JoinHandle<()>>,
    /// Held as long as the disk is at work. An error stays.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl WriteBack {
    fn is_idle(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn begin(&mut self, file: File) {
        let failed = self.failed.clone();
        self.task = Some(spawn_blocking(move || {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.sync_data() {
                *failed = Some(error);
            }
        }));
    }

    /// What came of it. If it is under way this waits; a task that has not begun has heard nothing.
    fn result(&self) -> io::Result<()> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map_or(Ok(()), |error| {
            let error = error
                .raw_os_error()
                .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            Err(error)
        })
    }
}

/// An upload that is open.
#[derive(Debug)]
pub(super) struct Upload {
    repository: Repository,
    path: PathBuf,
    file: File,
    algorithm: Algorithm,
    hasher: Hasher,
    received: u64,
    /// So much of it was there when the disk was last told to begin.
    written_back: u64,
    writing_back: WriteBack,
    /// Somebody reads along.
    partial: Option<Partial>,
    /// Finished, cancelled, or failed: whoever waited for it finds nothing.
    gone: bool,
}

impl Upload {
    /// Writes a batch that somebody else hashes meanwhile. What is in the file and what is hashed stay the same bytes,
    /// also if the request that brought them has gone.
    fn write(&mut self, batch: &[Bytes], hashed: &mpsc::Receiver<Hasher>) -> Result<()> {
        let written = batch
            .iter()
            .try_for_each(|piece| self.file.write_all(piece));
        let written = written.and_then(|()| hashed.recv().map_err(std::io::Error::other));
        match written {
            Ok(hasher) => {
                self.hasher = hasher;
                let count = batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
                self.received += count;
                if let Some(partial) = &self.partial {
                    partial.grow(count);
                }
                Ok(())
            }
            Err(error) => {
                // How much was written is not known; what was there before is.
                let back = self
                    .file
                    .set_len(self.received)
                    .and_then(|()| self.file.seek(SeekFrom::Start(self.received)));
                self.gone = back.is_err();
                Err(files::failed("write", &self.path)(error))
            }
        }
    }

    /// Has the disk begin with what came so far, so that the end of a large upload need not wait for all of it.
    fn write_back(&mut self) -> Result<()> {
        if self.writing_back.is_idle() && self.received - self.written_back >= WRITE_BACK {
            self.writing_back
                .result()
                .map_err(files::failed("sync", &self.path))?;
            if let Ok(file) = self.file.try_clone() {
                self.written_back = self.received;
                self.writing_back.begin(file);
            }
        }
        Ok(())
    }

    /// Makes all that came survive a power cut.
    fn sync(&self) -> Result<()> {
        files::sync(&self.file, &self.path)?;
        // In this order: what began before the sync and ends after it is waited for.
        self.writing_back
            .result()
            .map_err(files::failed("sync", &self.path))
    }

    /// Opens what an earlier run of the server left.
    fn resume(
        repository: &Repository,
        path: PathBuf,
        algorithm: Algorithm,
    ) -> Result<Option<Self>> {
        if files::size(&path)?.is_none() {
            return Ok(None);
        }
        let file = files::append(&path)?;
        let (hasher, received) = hash(&file, &path, algorithm)?;
        Ok(Some(Self {
            repository: repository.clone(),
            path,
            file,
            algorithm,
            hasher,
            received,
            written_back: received,
            writing_back: WriteBack::default(),
            partial: None,
            gone: false,
        }))
    }
}

/// Reads a file from its beginning to its end.
fn hash(mut file: &File, path: &std::path::Path, algorithm: Algorithm) -> Result<(Hasher, u64)> {
    let mut hasher = Hasher::new(algorithm);
    let mut size = 0;
    let mut buffer = vec![0; 256 << 10];
    file.seek(SeekFrom::Start(0))
        .map_err(files::failed("read", path))?;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(files::failed("read", path))?;
        if read == 0 {
            return Ok((hasher, size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

impl Folder {
    fn upload_path(&self, repository: &Repository, id: UploadId, algorithm: Algorithm) -> PathBuf {
        let owner = Digest::sha256_of(repository.as_str().as_bytes()).hex();
        let name = format!("{id}.{}.{}", algorithm.name(), &owner[..32]);
        self.root.join("uploads").join(name)
    }

    fn start(&self, repository: &Repository, algorithm: Algorithm) -> Result<UploadId> {
        let id = UploadId::random().map_err(files::failed("name an upload in", &self.root))?;
        let path = self.upload_path(repository, id, algorithm);
        let upload = Upload {
            repository: repository.clone(),
            file: files::create(&path)?,
            path,
            algorithm,
            hasher: Hasher::new(algorithm),
            received: 0,
            written_back: 0,
            writing_back: WriteBack::default(),
            partial: None,
            gone: false,
        };
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Arc::new(tokio::sync::Mutex::new(upload)));
        Ok(id)
    }

    fn open_upload(
        &self,
        repository: &Repository,
        id: UploadId,
    ) -> Result<Arc<tokio::sync::Mutex<Upload>>> {
        // Under the lock, so that two requests do not open one upload twice.
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upload) = uploads.get(&id) {
            return Ok(upload.clone());
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let path = self.upload_path(repository, id, algorithm);
            if let Some(upload) = Upload::resume(repository, path, algorithm)? {
                let upload = Arc::new(tokio::sync::Mutex::new(upload));
                uploads.insert(id, upload.clone());
                return Ok(upload);
            }
        }
        Err(StorageError::UploadUnknown)
    }

    /// Forgets an upload. Its file may have become a blob.
    pub(super) fn forget(&self, id: UploadId, upload: &mut Upload) -> Result<()> {
        upload.gone = true;
        self.uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        files::remove(&upload.path)
    }

    fn finish(
        &self,
        repository: &Repository,
        id: UploadId,
        upload: &mut Upload,
        expected: &Digest,
    ) -> Result<u64> {
        let hasher = if upload.algorithm == expected.algorithm() {
            upload.hasher.clone()
        } else {
            hash(&upload.file, &upload.path, expected.algorithm())?.0
        };
        let found = hasher.finish();
        if found != *expected {
            self.forget(id, upload)?;
            return Err(StorageError::Digest {
                expected: Box::new(*expected),
                found: Box::new(found),
            });
        }
        if let Err(error) = upload.sync() {
            // The next sync would say that all is well.
            drop(self.forget(id, upload));
            return Err(error);
        }
        let size = upload.received;
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let path = self.content_path(expected);
        if files::size(&path)? != Some(size) {
            if let Some(directory) = path.parent() {
                files::make_directory(&self.root, directory)?;
            }
            files::publish(&upload.path, &path)?;
        }
        self.note_link(expected);
        let event = Event {
            at: self.clock.now(),
            what: What::Blob {
                digest: *expected,
                size,
            },
        };
        self.journal_or_new(repository)?
            .transact(Durability::Synced, |_| Ok(vec![event]))?;
        drop(content);
        self.forget(id, upload)?;
        Ok(size)
    }
}

impl Local {
    pub(super) async fn start(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        let repository = repository.clone();
        self.blocking(move |folder| folder.start(&repository, algorithm))
            .await
    }

    /// The upload, for this request alone.
    async fn take(&self, repository: &Repository, id: UploadId) -> Result<OwnedMutexGuard<Upload>> {
        let known = self
            .0
            .uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        let upload = match known {
            Some(upload) => upload,
            None => {
                let repository = repository.clone();
                self.blocking(move |folder| folder.open_upload(&repository, id))
                    .await?
            }
        };
        // A client that lost its connection comes back before the server has noticed that it went away.
        let upload = tokio::time::timeout(PATIENCE, upload.lock_owned())
            .await
            .map_err(|_| StorageError::Busy)?;
        if upload.gone || upload.repository != *repository {
            return Err(StorageError::UploadUnknown);
        }
        Ok(upload)
    }

    pub(super) async fn received(&self, repository: &Repository, id: UploadId) -> Result<u64> {
        Ok(self.take(repository, id).await?.received)
    }

    pub(super) async fn receive(
        &self,
        repository: &Repository,
        id: UploadId,
        at: Option<u64>,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<u64> {
        let upload = self.take(repository, id).await?;
        let received = upload.received;
        if at.is_some_and(|at| at != received) {
            return Err(StorageError::Offset { received });
        }
        let mut room = limit.saturating_sub(received);
        let mut writer = Writer::Idle(upload);
        loop {
            // While one batch is hashed and written, side by side, the next is received.
            let (batch, end) = fill(body, &mut room, limit).await;
            let upload = writer.idle().await?;
            writer = Writer::write(upload, batch);
            if let Some(end) = end {
                let upload = writer.idle().await?;
                return end.map(|()| upload.received);
            }
        }
    }

    pub(super) async fn read_along(
        &self,
        repository: &Repository,
        id: UploadId,
    ) -> Result<Option<Partial>> {
        let mut upload = self.take(repository, id).await?;
        if upload.received > 0 {
            return Ok(None);
        }
        self.blocking(move |_| {
            let partial = files::find(&upload.path)?.map(Partial::new);
            upload.partial.clone_from(&partial);
            Ok(partial)
        })
        .await
    }

    pub(super) async fn finish(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<u64> {
        let mut upload = self.take(repository, id).await?;
        let (repository, digest) = (repository.clone(), *digest);
        self.blocking(move |folder| folder.finish(&repository, id, &mut upload, &digest))
            .await
    }

    pub(super) async fn cancel(&self, repository: &Repository, id: UploadId) -> Result<()> {
        let mut upload = self.take(repository, id).await?;
        self.blocking(move |folder| folder.forget(id, &mut upload))
            .await
    }
}

/// An upload that one request writes to.
enum Writer {
    Idle(OwnedMutexGuard<Upload>),
    Busy(JoinHandle<Result<OwnedMutexGuard<Upload>>>),
}

impl Writer {
    fn write(mut upload: OwnedMutexGuard<Upload>, batch: Vec<Bytes>) -> Self {
        let (mut hasher, pieces) = (upload.hasher.clone(), batch.clone());
        let (sender, hashed) = mpsc::sync_channel(1);
        // Before the other, which waits for it: threads take their tasks in this order.
        spawn_blocking(move || {
            for piece in &pieces {
                hasher.update(piece);
            }
            // Whoever wrote the batch may have failed by now.
            sender.send(hasher).ok()
        });
        Self::Busy(spawn_blocking(move || {
            upload.write_back()?;
            upload.write(&batch, &hashed)?;
            Ok(upload)
        }))
    }

    async fn idle(self) -> Result<OwnedMutexGuard<Upload>> {
        match self {
            Self::Idle(upload) => Ok(upload),
            Self::Busy(task) => join(task.await),
        }
    }
}

/// Takes about [`BATCH`] bytes from the body, and tells how it ended if it did.
async fn fill(body: Incoming<'_>, room: &mut u64, limit: u64) -> (Vec<Bytes>, Option<Result<()>>) {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < BATCH {
        let piece = match body.frame().await {
            None => return (batch, Some(Ok(()))),
            Some(Err(error)) => return (batch, Some(Err(StorageError::Interrupted(error)))),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        match room.checked_sub(piece.len() as u64) {
            None => return (batch, Some(Err(StorageError::TooLarge(limit)))),
            Some(left) => *room = left,
        }
        size += piece.len();
        batch.push(piece);
    }
    (batch, None)
}

#[cfg(test)]
mod tests {
    use super::super::super::Clock;
    use super::*;

    /// A file that can be written to and not synced.
    fn unsyncable() -> File {
        let (one, _) = std::os::unix::net::UnixStream::pair().unwrap();
        File::from(std::os::fd::OwnedFd::from(one))
    }

    /// The sync at the end does not hear of an error that the early one was told of.
    #[tokio::test]
    async fn an_upload_whose_early_sync_failed_is_not_finished() {
        let home = tempfile::tempdir().unwrap();
        let storage = Local::open(home.path(), Clock::system()).unwrap();
        let repository: Repository = "team/app".parse().unwrap();
        let id = storage.start(&repository, Algorithm::Sha256).await.unwrap();
        let mut upload = storage.take(&repository, id).await.unwrap();
        upload.writing_back.begin(unsyncable());
        upload.writing_back.task.take().unwrap().await.unwrap();
        // Nothing more is begun, either.
        upload.received = WRITE_BACK;
        let error = upload.write_back().unwrap_err();
        assert!(matches!(error, StorageError::Io { verb: "sync", .. }));
        upload.received = 0;
        drop(upload);
        let nothing = Digest::sha256_of(b"");
        let error = storage.finish(&repository, id, &nothing).await.unwrap_err();
        assert!(
            matches!(error, StorageError::Io { verb: "sync", .. }),
            "{error}"
        );
        let error = storage.finish(&repository, id, &nothing).await.unwrap_err();
        assert!(matches!(error, StorageError::UploadUnknown), "{error}");
        assert!(!storage.0.content_path(&nothing).exists());
    }
}
