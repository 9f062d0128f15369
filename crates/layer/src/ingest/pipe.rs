//! The way of a layer's bytes: filled here, hashed on a second thread, and written by whichever of the two has the time.
//!
//! A fixed number of buffers goes round, so memory is bounded and the caller waits when the disk or the hash cannot follow. Where
//! reading is cheap, hashing is what takes long, and the reader writes too; where reading is dear (many small files, inflating),
//! the second thread has the time for it. The length of the queue says which it is.
//!
//! What fits into one buffer is hashed and written here at the end, without a second thread: an image may have hundreds of such
//! layers.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use oci::Digest;
use sys::fs::Context as _;

/// Which end of the pipe failed.
#[derive(Debug)]
pub(super) enum Error {
    /// The file that is written.
    Write(sys::fs::Error),
    /// Where the bytes come from.
    Read(io::Error),
}

impl From<sys::fs::Error> for Error {
    fn from(error: sys::fs::Error) -> Self {
        Self::Write(error)
    }
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Size of a buffer: large enough that handing it over costs nothing, small enough to stay in the cache between the two threads.
pub(super) const BUFFER: usize = 256 << 10;
/// How the first buffer begins: it grows to the size of the others if the layer is no small one.
const FIRST: usize = 32 << 10;
/// Buffers in the round.
const BUFFERS: usize = 8;

/// With so many buffers waiting to be hashed, the reader writes.
const BEHIND: usize = 2;

/// What was written, and its digest.
pub(super) struct Sum {
    pub(super) digest: Digest,
    pub(super) file: Arc<File>,
}

struct Full {
    bytes: Vec<u8>,
    len: usize,
    /// Where the bytes belong, if they are not there yet.
    to_write: Option<u64>,
}

pub(super) struct Pipe {
    path: PathBuf,
    current: Vec<u8>,
    len: usize,
    total: u64,
    file: Arc<File>,
    /// From the second buffer on.
    worker: Option<Worker>,
}

/// The second thread, and the ways to it and back.
struct Worker {
    full: SyncSender<Full>,
    free: Receiver<Vec<u8>>,
    /// Buffers on their way through it.
    waiting: Arc<AtomicUsize>,
    thread: JoinHandle<io::Result<Digest>>,
}

impl Worker {
    fn start(out: Arc<File>) -> io::Result<Self> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let (full, filled) = sync_channel::<Full>(BUFFERS);
        let (give_back, free) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS - 1 {
            // The channel has room for all of them.
            give_back.send(vec![0; BUFFER]).ok();
        }
        let done = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn(move || {
                let mut hasher = oci::Hasher::sha256();
                for full in filled {
                    let bytes = &full.bytes[..full.len];
                    hasher.update(bytes);
                    if let Some(at) = full.to_write {
                        out.write_all_at(bytes, at)?;
                    }
                    done.fetch_sub(1, Ordering::Relaxed);
                    // Nobody wants buffers any more once the last one was handed over.
                    give_back.send(full.bytes).ok();
                }
                Ok(hasher.finish())
            })?;
        Ok(Self {
            full,
            free,
            waiting,
            thread,
        })
    }

    /// Waits until it has done all that it was given.
    fn join(self) -> io::Result<Digest> {
        drop(self.full);
        let lost = || io::Error::other("the thread that writes it is gone");
        self.thread.join().unwrap_or_else(|_| Err(lost()))
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Pipe {
    /// Starts writing `path`, which must not exist.
    pub(super) fn create(path: &Path) -> sys::fs::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            current: vec![0; FIRST],
            len: 0,
            total: 0,
            file: Arc::new(sys::fs::create_new(path)?),
            worker: None,
        })
    }

    /// Bytes put in so far.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Hands the current buffer over and takes a free one.
    fn turn(&mut self) -> sys::fs::Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        let sent = self.send()?;
        let next = self.worker.as_ref().map(|worker| worker.free.recv());
        match next {
            Some(Ok(buffer)) if sent => {
                self.current = buffer;
                Ok(())
            }
            // The thread has ended, and it only ends early because of an error.
            _ => self.join().map(|_| ()).and_then(|()| {
                Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("write", &self.path)
            }),
        }
    }

    /// Hands the current buffer over. `false` if nobody takes it.
    fn send(&mut self) -> sys::fs::Result<bool> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(Arc::clone(&self.file))
                .context("start the thread that hashes", &self.path)?,
        };
        let worker = self.worker.insert(worker);
        let at = self.total - self.len as u64;
        let mut to_write = Some(at);
        if worker.waiting.load(Ordering::Relaxed) >= BEHIND {
            self.file
                .write_all_at(&self.current[..self.len], at)
                .context("write", &self.path)?;
            to_write = None;
        }
        let full = Full {
            bytes: std::mem::take(&mut self.current),
            len: std::mem::take(&mut self.len),
            to_write,
        };
        worker.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(worker.full.send(full).is_ok())
    }

    fn join(&mut self) -> sys::fs::Result<Digest> {
        let Some(worker) = self.worker.take() else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("write", &self.path);
        };
        worker.join().context("write", &self.path)
    }

    /// Room in the current buffer, never empty.
    fn room(&mut self) -> sys::fs::Result<&mut [u8]> {
        if self.len == self.current.len() {
            if self.len == 0 {
                // It was handed over, and none came back.
                return self.join().and_then(|_| {
                    Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("write", &self.path)
                });
            }
            if self.len < BUFFER {
                // The first one, see [`FIRST`].
                self.current.resize((2 * self.len).min(BUFFER), 0);
            } else {
                self.turn()?;
            }
        }
        Ok(&mut self.current[self.len..])
    }

    fn advance(&mut self, count: usize) {
        self.len += count;
        self.total += count as u64;
    }

    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.advance(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Reads `size` bytes from `source`; gives how many there were.
    pub(super) fn fill(&mut self, source: &mut dyn Read, size: u64) -> Result<u64> {
        self.fill_with(size, |room, _| source.read(room))
    }

    /// Reads `size` bytes of a file from `offset`; gives how many there were.
    pub(super) fn fill_from(&mut self, source: &File, offset: u64, size: u64) -> Result<u64> {
        self.fill_with(size, |room, done| source.read_at(room, offset + done))
    }

    fn fill_with(
        &mut self,
        size: u64,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> Result<u64> {
        let mut done = 0;
        while done < size {
            let room = self.room()?;
            let most = room
                .len()
                .min(usize::try_from(size - done).unwrap_or(usize::MAX));
            match read(&mut room[..most], done) {
                Ok(0) => break,
                Ok(count) => {
                    let count = count.min(most);
                    self.advance(count);
                    done += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        Ok(done)
    }

    /// Hands over what there is, then fills a buffer from `source` and shows it. It is shorter than [`BUFFER`] at the end of `source`
    /// only, and nothing may be loaded after that.
    ///
    /// The shown bytes are on their way with the next call that puts something in, or with the end.
    pub(super) fn load(&mut self, source: &mut dyn Read) -> Result<&[u8]> {
        self.turn()?;
        self.fill(source, BUFFER as u64)?;
        Ok(&self.current[..self.len])
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) -> sys::fs::Result<Sum> {
        let all_is_here = self.total == self.len as u64;
        let digest = if self.worker.is_none() && all_is_here {
            let bytes = &self.current[..self.len];
            self.file
                .write_all_at(bytes, 0)
                .context("write", &self.path)?;
            Digest::sha256_of(bytes)
        } else {
            if self.len > 0 && self.worker.is_some() {
                // If the thread has ended, `join` says why.
                self.send()?;
            }
            // Nor can anything come of it after an error.
            self.join()?
        };
        Ok(Sum {
            digest,
            file: Arc::clone(&self.file),
        })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // An unfinished layer is dropped by its owner, who removes the directory: no thread may still write into it.
        if let Some(worker) = self.worker.take() {
            worker.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_around_those_of_the_buffers_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [
            0,
            1,
            FIRST - 1,
            FIRST,
            FIRST + 1,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
        ];
        for (number, size) in sizes.into_iter().chain([20 * BUFFER + 7]).enumerate() {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            for loads in [false, true] {
                let path = dir.path().join(format!("{number}-{loads}"));
                let mut pipe = Pipe::create(&path).unwrap();
                if loads {
                    let mut source = &bytes[..];
                    while pipe.load(&mut source).unwrap().len() == BUFFER {}
                } else {
                    pipe.put(&bytes).unwrap();
                }
                assert_eq!(pipe.total(), size as u64);
                let sum = pipe.finish().unwrap();
                assert_eq!(sum.digest, Digest::sha256_of(&bytes), "{size}");
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "{size}");
            }
        }
    }

    #[test]
    fn nothing_comes_of_a_pipe_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer.tar");
        let mut pipe = Pipe::create(&path).unwrap();
        // Cannot be written to.
        pipe.file = Arc::new(File::open(&path).unwrap());
        let bytes = vec![1; BUFFER];
        let failed = (0..2 * BUFFERS).any(|_| pipe.put(&bytes).is_err());
        assert!(failed);
        assert!(pipe.put(&bytes).is_err(), "nor does it begin anew");
        assert!(pipe.finish().is_err());
        // A small one fails at its end.
        let path = dir.path().join("small.tar");
        let mut pipe = Pipe::create(&path).unwrap();
        pipe.file = Arc::new(File::open(&path).unwrap());
        pipe.put(b"small").unwrap();
        assert!(pipe.finish().is_err());
    }
}
