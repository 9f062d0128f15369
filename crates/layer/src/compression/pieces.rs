//! Gzip on all processors, with bytes that do not show how many there were.
//!
//! The input is cut into pieces of a fixed size. Each is deflated by itself, with the end of the piece before it as its dictionary, and ends at
//! a byte; put together they are one stream. Where the cuts are depends on the input alone.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Bytes deflated at once, 256 KiB: a cut costs a few bytes, and a piece for each processor is little memory.
const PIECE: usize = 256 << 10;

/// How far back deflate can look, 32 KiB.
const WINDOW: usize = 32 << 10;

/// Most threads; beyond these the disk is what is waited for.
const MAX_THREADS: usize = 8;

/// A piece on its way.
struct Job {
    bytes: Vec<u8>,
    /// The end of what comes before it.
    before: Vec<u8>,
    last: bool,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Writes one gzip member to another writer.
pub(super) struct Gzip<W> {
    inner: W,
    level: Compression,
    crc: Crc,
    piece: Vec<u8>,
    before: Vec<u8>,
    /// Started with the first piece that is not the last.
    workers: Option<SyncSender<Job>>,
    threads: usize,
    /// Results in their order.
    waiting: VecDeque<Receiver<io::Result<Vec<u8>>>>,
}

impl<W: Write> Gzip<W> {
    pub(super) fn new(inner: W, level: Compression) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(inner, level, threads.min(MAX_THREADS))
    }

    pub(super) fn with_threads(
        mut inner: W,
        level: Compression,
        threads: usize,
    ) -> io::Result<Self> {
        let effort = match level.level() {
            9.. => 2,
            0 | 1 => 4,
            _ => 0,
        };
        // No name, no time, and 255: the system is not known, whatever it is.
        inner.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 255])?;
        Ok(Self {
            inner,
            level,
            crc: Crc::new(),
            piece: Vec::new(),
            before: Vec::new(),
            workers: None,
            threads,
            waiting: VecDeque::new(),
        })
    }

    /// Ends the stream and gives the writer back, not flushed.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.send(true)?;
        while !self.waiting.is_empty() {
            self.take()?;
        }
        self.inner.write_all(&self.crc.sum().to_le_bytes())?;
        // The length modulo 2^32, as the format has it.
        self.inner.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.inner)
    }

    /// Hands the piece to a worker.
    fn send(&mut self, last: bool) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.piece);
        let next = bytes[bytes.len().saturating_sub(WINDOW)..].to_vec();
        let (done, result) = sync_channel(1);
        let job = Job {
            before: std::mem::replace(&mut self.before, next),
            bytes,
            last,
            done,
        };
        self.waiting.push_back(result);
        if self.threads < 2 || (last && self.workers.is_none()) {
            job.work(self.level);
        } else {
            let (level, threads) = (self.level, self.threads);
            let workers = match &self.workers {
                Some(workers) => workers,
                None => self.workers.insert(start(level, threads)?),
            };
            let gone = |_| io::Error::other("the threads that compress are gone");
            workers.send(job).map_err(gone)?;
        }
        while self.waiting.len() > self.threads {
            self.take()?;
        }
        Ok(())
    }

    /// Writes the oldest result.
    fn take(&mut self) -> io::Result<()> {
        let Some(result) = self.waiting.pop_front() else {
            return Ok(());
        };
        let gone = |_| io::Error::other("a thread that compresses is gone");
        let bytes = result.recv().map_err(gone)??;
        self.inner.write_all(&bytes)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.send(false)?;
        }
        let count = bytes.len().min(PIECE - self.piece.len());
        if self.piece.capacity() == 0 && bytes.len() > WINDOW {
            self.piece.reserve_exact(PIECE);
        }
        self.piece.extend_from_slice(&bytes[..count]);
        self.crc.update(&bytes[..count]);
        Ok(count)
    }

    /// What is not a whole piece stays: a cut there would show.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Threads that work until nobody can give them anything.
fn start(level: Compression, threads: usize) -> io::Result<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(threads);
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..threads {
        let jobs = jobs.clone();
        let work = move || {
            loop {
                // Whoever panics does not hold the lock.
                let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                match next {
                    Ok(job) => job.work(level),
                    Err(_) => return,
                }
            }
        };
        std::thread::Builder::new()
            .name("compress".to_owned())
            .spawn(work)?;
    }
    Ok(sender)
}

impl Job {
    fn work(self, level: Compression) {
        // Nobody waits any more if the stream was given up.
        self.done.send(self.deflate(level)).ok();
    }

    fn deflate(&self, level: Compression) -> io::Result<Vec<u8>> {
        let mut deflate = Compress::new(level, false);
        if !self.before.is_empty() {
            deflate.set_dictionary(&self.before)?;
        }
        let how = match self.last {
            true => FlushCompress::Finish,
            false => FlushCompress::Sync,
        };
        // More than it can become, but for the last few bytes.
        let mut out = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 512 + 64);
        let mut rest = &self.bytes[..];
        loop {
            let read = deflate.total_in();
            let status = deflate.compress_vec(rest, &mut out, how)?;
            let read = usize::try_from(deflate.total_in() - read).unwrap_or(rest.len());
            rest = &rest[read..];
            let room = out.len() < out.capacity();
            match status {
                Status::StreamEnd => return Ok(out),
                _ if !self.last && rest.is_empty() && room => return Ok(out),
                _ => out.reserve(4096),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Text that compresses, as long as asked for.
    fn text(size: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut bytes = Vec::new();
        while bytes.len() < size {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend_from_slice(format!("line {} {}\n", state >> 28, state >> 20).as_bytes());
        }
        bytes.truncate(size);
        bytes
    }

    fn compressed(bytes: &[u8], level: u32, threads: usize, step: usize) -> Vec<u8> {
        let level = Compression::new(level);
        let mut gzip = Gzip::with_threads(Vec::new(), level, threads).unwrap();
        for part in bytes.chunks(step) {
            gzip.write_all(part).unwrap();
            gzip.flush().unwrap();
        }
        gzip.finish().unwrap()
    }

    #[test]
    fn bytes_show_neither_threads_nor_writes() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 77] {
            let bytes = text(size);
            for level in [0, 1, 6, 9] {
                let one = compressed(&bytes, level, 1, PIECE);
                for (threads, step) in [(2, 10_007), (8, usize::MAX)] {
                    let other = compressed(&bytes, level, threads, step);
                    assert!(one == other, "{size} {level} {threads}");
                }
                let mut back = Vec::new();
                // A reader of one member: all of it is one.
                let mut reader = flate2::read::GzDecoder::new(&one[..]);
                reader.read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{size} {level}");
            }
        }
    }

    #[test]
    fn cuts_cost_little() {
        let bytes = text(4 * PIECE);
        let cut = compressed(&bytes, 6, 4, PIECE).len();
        let mut whole = flate2::write::GzEncoder::new(Vec::new(), Compression::new(6));
        whole.write_all(&bytes).unwrap();
        let whole = whole.finish().unwrap().len();
        assert!(cut * 100 < whole * 101, "{cut} {whole}");
    }

    #[test]
    fn a_stream_that_is_given_up_ends_its_threads() {
        let mut gzip = Gzip::with_threads(Vec::new(), Compression::new(6), 4).unwrap();
        gzip.write_all(&text(3 * PIECE)).unwrap();
        drop(gzip);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match bytes.len() {
                    10 => Ok(10),
                    _ => Err(io::ErrorKind::StorageFull.into()),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = Gzip::with_threads(Full, Compression::new(6), 4).unwrap();
        let written = gzip.write_all(&text(20 * PIECE));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
