//! A repository's file: one line an event, appended and synced before anybody is told that it happened.
//!
//! All of a repository's state is in memory; the file is how it gets there again. Appending is one write and one sync
//! however many tags there are, several appends at once share a sync, and nothing is ever half done: a line that a
//! crash tore is the last, belongs to a request that was not answered, and is put aside when the file is opened.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Result, StorageError};
use super::files;
use super::state::{Event, State};

/// A journal may have this many lines more than twice those it needs before it is written anew.
const SLACK: usize = 1000;

/// A repository that is open.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
    synced: Mutex<Progress>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    file: Arc<File>,
    written: Progress,
    lines: usize,
    /// What is on the disk may differ from the state: a write or sync failed.
    broken: bool,
}

/// How far the file has come. It is written anew now and then, which the generation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Progress {
    generation: u64,
    size: u64,
}

/// Whether a call waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// What happened survives a power cut.
    Synced,
    /// A power cut may take it back.
    Lazy,
}

/// A poisoned lock only means that a thread panicked; the state is changed by whole events.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Opens a journal, making it if need be.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let inner = Inner::load(&path, 0)?;
        let written = inner.written;
        let journal = Self {
            path,
            inner: Mutex::new(inner),
            synced: Mutex::new(written),
        };
        let mut inner = lock(&journal.inner);
        journal.rewrite_if_long(&mut inner)?;
        drop(inner);
        Ok(journal)
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.inner).state)
    }

    /// Looks at the state, unless that would have to wait.
    pub(super) fn try_read<T, F: FnOnce(&State) -> T>(&self, look: F) -> std::result::Result<T, F> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(look(&inner.state)),
            Err(_) => Err(look),
        }
    }

    /// Decides on the state what happens next, and lets it happen. Nobody else changes the state in between.
    pub(super) fn transact(
        &self,
        durability: Durability,
        decide: impl FnOnce(&State) -> Result<Vec<Event>>,
    ) -> Result<()> {
        let mut inner = lock(&self.inner);
        if inner.broken {
            let generation = inner.written.generation + 1;
            *inner = Inner::load(&self.path, generation)?;
        }
        let events = decide(&inner.state)?;
        if events.is_empty() {
            return Ok(());
        }
        inner.append(&self.path, events)?;
        self.rewrite_if_long(&mut inner)?;
        let (written, file) = (inner.written, inner.file.clone());
        drop(inner);
        match durability {
            Durability::Synced => self.sync(written, &file),
            Durability::Lazy => Ok(()),
        }
    }

    /// Waits until the file is on the disk as far as `wanted`; one sync serves all that wait.
    fn sync(&self, wanted: Progress, file: &File) -> Result<()> {
        let mut synced = lock(&self.synced);
        if *synced >= wanted {
            return Ok(());
        }
        // Others may have written more in the meantime, to this file or to the one that took its place; a file that
        // took its place was synced as a whole.
        let covered = lock(&self.inner).written;
        match files::sync(file, &self.path) {
            Ok(()) => {
                *synced = if covered.generation == wanted.generation {
                    covered
                } else {
                    wanted
                };
                Ok(())
            }
            Err(error) => {
                lock(&self.inner).broken = true;
                Err(error)
            }
        }
    }

    fn rewrite_if_long(&self, inner: &mut Inner) -> Result<()> {
        if inner.lines <= 2 * inner.state.len() + SLACK {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut lines = 0;
        for event in inner.state.events() {
            line(&mut bytes, &event, &self.path)?;
            lines += 1;
        }
        let temporary = self.path.with_extension("new");
        files::remove(&temporary)?;
        files::write(&temporary, &self.path, &bytes)?;
        inner.file = Arc::new(files::append(&self.path)?);
        inner.lines = lines;
        inner.written = Progress {
            generation: inner.written.generation + 1,
            size: bytes.len() as u64,
        };
        Ok(())
    }
}

impl Inner {
    fn load(path: &Path, generation: u64) -> Result<Self> {
        let file = files::append(path)?;
        let mut state = State::default();
        let (mut good, mut lines) = (0_u64, 0);
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut text = Vec::new();
        let torn = loop {
            text.clear();
            let read = reader
                .read_until(b'\n', &mut text)
                .map_err(files::failed("read", path))?;
            if read == 0 {
                break false;
            }
            let Some(event) = text
                .strip_suffix(b"\n")
                .and_then(|line| serde_json::from_slice::<Event>(line).ok())
            else {
                break true;
            };
            state.apply(event);
            good += read as u64;
            lines += 1;
        };
        if torn {
            put_aside(path, &file, good)?;
        }
        Ok(Self {
            state,
            file: Arc::new(file),
            written: Progress {
                generation,
                size: good,
            },
            lines,
            broken: false,
        })
    }

    fn append(&mut self, path: &Path, events: Vec<Event>) -> Result<()> {
        let mut bytes = Vec::with_capacity(events.len() * 160);
        for event in &events {
            line(&mut bytes, event, path)?;
        }
        if let Err(error) = (&*self.file).write_all(&bytes) {
            // Half a line must not stand in front of the next.
            if self.file.set_len(self.written.size).is_err() {
                self.broken = true;
            }
            return Err(files::failed("write", path)(error));
        }
        self.written.size += bytes.len() as u64;
        self.lines += events.len();
        for event in events {
            self.state.apply(event);
        }
        Ok(())
    }
}

fn line(bytes: &mut Vec<u8>, event: &Event, path: &Path) -> Result<()> {
    serde_json::to_writer(&mut *bytes, event).map_err(|error| StorageError::Corrupt {
        place: path.display().to_string(),
        why: error.to_string(),
    })?;
    bytes.push(b'\n');
    Ok(())
}

/// Keeps what comes after the last good line in a file of its own, for whoever wants to look, and cuts it off.
fn put_aside(path: &Path, file: &File, good: u64) -> Result<()> {
    let aside = path.with_extension("torn");
    files::remove(&aside)?;
    let all = files::find_bytes(path, u64::MAX - 1)?.unwrap_or_default();
    let rest = usize::try_from(good).ok().and_then(|good| all.get(good..));
    let temporary = path.with_extension("torn-new");
    files::remove(&temporary)?;
    files::write(&temporary, &aside, rest.unwrap_or_default())?;
    file.set_len(good)
        .and_then(|()| file.sync_data())
        .map_err(files::failed("truncate", path))
}
