//! The way of a layer's bytes: filled here, hashed and written on a second thread.
//!
//! A fixed number of buffers goes round, so memory is bounded and the caller waits when the disk or the hash cannot follow.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
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
/// Buffers in the round.
const BUFFERS: usize = 8;

/// What the second thread made.
pub(super) struct Sum {
    pub(super) digest: Digest,
    pub(super) file: File,
}

struct Full {
    bytes: Vec<u8>,
    len: usize,
}

pub(super) struct Pipe {
    path: PathBuf,
    current: Vec<u8>,
    len: usize,
    total: u64,
    full: Option<SyncSender<Full>>,
    free: Receiver<Vec<u8>>,
    worker: Option<JoinHandle<io::Result<Sum>>>,
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
        let file = sys::fs::create_new(path)?;
        let (full, filled) = sync_channel::<Full>(BUFFERS);
        let (give_back, free) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS - 1 {
            // The channel has room for all of them.
            give_back.send(vec![0; BUFFER]).ok();
        }
        let worker = std::thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn(move || {
                let mut file = file;
                let mut hasher = oci::Hasher::sha256();
                for Full { bytes, len } in filled {
                    hasher.update(&bytes[..len]);
                    file.write_all(&bytes[..len])?;
                    // Nobody wants buffers any more once the last one was handed over.
                    give_back.send(bytes).ok();
                }
                Ok(Sum {
                    digest: hasher.finish(),
                    file,
                })
            })
            .context("start the thread that writes", path)?;
        Ok(Self {
            path: path.to_owned(),
            current: vec![0; BUFFER],
            len: 0,
            total: 0,
            full: Some(full),
            free,
            worker: Some(worker),
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
        let full = Full {
            bytes: std::mem::take(&mut self.current),
            len: std::mem::take(&mut self.len),
        };
        let sent = self
            .full
            .as_ref()
            .is_some_and(|sender| sender.send(full).is_ok());
        match self.free.recv() {
            Ok(buffer) if sent => {
                self.current = buffer;
                Ok(())
            }
            // The thread has ended, and it only ends early because of an error.
            _ => self.join().map(|_| ()).and_then(|()| {
                Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("write", &self.path)
            }),
        }
    }

    fn join(&mut self) -> sys::fs::Result<Sum> {
        self.full = None;
        let lost = || io::Error::other("the thread that writes it is gone");
        let worker = self
            .worker
            .take()
            .ok_or_else(lost)
            .context("write", &self.path)?;
        worker
            .join()
            .unwrap_or_else(|_| Err(lost()))
            .context("write", &self.path)
    }

    /// Room in the current buffer, never empty.
    fn room(&mut self) -> sys::fs::Result<&mut [u8]> {
        if self.len == self.current.len() {
            self.turn()?;
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

    /// Hands over what there is, then fills a buffer from `source` and shows it. Empty at the end of `source`, and only then
    /// shorter than [`BUFFER`].
    ///
    /// The shown bytes are on their way with the next call that puts something in.
    pub(super) fn load(&mut self, source: &mut dyn Read) -> Result<&[u8]> {
        self.turn()?;
        self.fill(source, BUFFER as u64)?;
        Ok(&self.current[..self.len])
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) -> sys::fs::Result<Sum> {
        if self.len > 0 {
            let full = Full {
                bytes: std::mem::take(&mut self.current),
                len: self.len,
            };
            if let Some(sender) = &self.full {
                // If the thread has ended, `join` says why.
                sender.send(full).ok();
            }
        }
        self.join()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // An unfinished layer is dropped by its owner, who removes the directory: no thread may still write into it.
        self.full = None;
        if let Some(worker) = self.worker.take() {
            worker.join().ok();
        }
    }
}
