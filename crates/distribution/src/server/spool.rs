//! Events that wait for a hook: in memory, and in a file that a server which ends leaves to the next.
//!
//! The file is one line an event, and a line for each that was done with, oldest first. It is not synced: a server that is
//! killed loses nothing, a power cut may cost the last seconds.
//!
//! Also files without a name, for what is read along while it goes elsewhere (`fetch`).

#![allow(
    clippy::disallowed_methods,
    reason = "who opens a queue names its folder; the crate does not know `sys`"
)]

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use oci::Digest;
use tokio::sync::Notify;

use super::hooks::Event;
use super::storage::UploadId;

/// Events that wait for one hook.
const WAITING: usize = 1000;

/// The line that says that the oldest event was done with.
const DONE: &str = "-";

/// The file is written anew when it has this many bytes, of which hardly any are needed.
const LONG: u64 = 4 << 20;

/// Servers that may share a folder for their files.
const SERVERS: u32 = 64;

/// What waits for one hook.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    spool: Option<Spool>,
}

#[derive(Debug)]
struct Spool {
    path: PathBuf,
    /// Locked as long as it is open.
    file: File,
    size: u64,
    /// Something could not be written: the file does not say what waits.
    dirty: bool,
}

impl Queue {
    /// A queue that goes on with what waits in `folder` for the hook at `url`.
    pub(super) fn open(folder: &Path, url: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let name = Digest::sha256_of(url.as_bytes()).hex();
        for number in 0..SERVERS {
            let path = folder.join(format!("{}-{number}", &name[..16]));
            let Some(mut file) = lock(&path)? else {
                continue;
            };
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let events = read(&text);
            let size = text.len() as u64;
            let mut spool = Spool {
                path,
                file,
                size,
                dirty: false,
            };
            spool.rewrite(&events)?;
            let waiting = Waiting {
                events,
                spool: Some(spool),
            };
            return Ok(Self {
                waiting: Mutex::new(waiting),
                more: Notify::new(),
            });
        }
        Err(io::Error::other("too many servers use it"))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; says whether there was room.
    pub(super) fn push(&self, event: &Event) -> bool {
        let mut waiting = self.waiting();
        if waiting.events.len() >= WAITING {
            return false;
        }
        waiting.events.push_back(event.clone());
        if let Some(spool) = &mut waiting.spool
            && let Ok(line) = serde_json::to_string(event)
        {
            spool.append(&line);
        }
        drop(waiting);
        self.more.notify_one();
        true
    }

    /// The oldest event, which stays until it is done with.
    pub(super) async fn next(&self) -> Event {
        loop {
            let more = self.more.notified();
            if let Some(event) = self.waiting().events.front() {
                return event.clone();
            }
            more.await;
        }
    }

    /// The oldest event need not wait any more.
    pub(super) fn done(&self) {
        let mut waiting = self.waiting();
        let Waiting { events, spool } = &mut *waiting;
        events.pop_front();
        let Some(spool) = spool else {
            return;
        };
        if events.is_empty() || spool.size > LONG || spool.dirty {
            // If it cannot be written, events may be told of twice after a restart.
            drop(spool.rewrite(events));
        } else {
            spool.append(DONE);
        }
    }
}

/// A new file without a name in a folder, which is made if need be: it goes with whoever holds it.
pub(super) fn unnamed(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let path = folder.join(UploadId::random()?.to_string());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// The file of this name, locked; `None` if somebody else has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        if is_named(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Whether the file still has this name: whoever had the lock may have put a new file in its place.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let named = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let own = file.metadata()?;
    Ok((own.dev(), own.ino()) == (named.dev(), named.ino()))
}

impl Spool {
    /// An event that cannot be written down waits in memory only.
    fn append(&mut self, line: &str) {
        if self.dirty {
            return;
        }
        let line = format!("{line}\n");
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => self.size += line.len() as u64,
            Err(_) => {
                self.dirty = true;
                // Half a line must not stand at the end.
                drop(self.file.set_len(self.size));
            }
        }
    }

    fn rewrite(&mut self, events: &VecDeque<Event>) -> io::Result<()> {
        self.dirty = true;
        self.write_anew(events)?;
        self.dirty = false;
        Ok(())
    }

    fn write_anew(&mut self, events: &VecDeque<Event>) -> io::Result<()> {
        if events.is_empty() {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, event)?;
            text.push(b'\n');
        }
        let temporary = self.path.with_extension("new");
        drop(fs::remove_file(&temporary));
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(&temporary)?;
        // Before it has the name under which others look for one that is free.
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(&text)?;
        fs::rename(&temporary, &self.path)?;
        self.file = file;
        self.size = text.len() as u64;
        Ok(())
    }
}

/// What still waits, as the lines of a file say; a last line that was torn says nothing.
fn read(text: &[u8]) -> VecDeque<Event> {
    let mut events = VecDeque::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        if line == DONE.as_bytes() {
            events.pop_front();
        } else if let Ok(event) = serde_json::from_slice(line) {
            events.push_back(event);
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::hooks::Action;
    use super::*;

    fn event(at: u64) -> Event {
        Event::new(at, Action::Push, &"team/app".parse().unwrap(), None)
    }

    fn times(events: &VecDeque<Event>) -> Vec<u64> {
        events.iter().map(|event| event.at).collect()
    }

    /// What the next server would find.
    fn written(queue: &Queue) -> Vec<u64> {
        let path = queue.waiting().spool.as_ref().unwrap().path.clone();
        times(&read(&fs::read(path).unwrap()))
    }

    #[test]
    fn a_file_that_another_took_the_place_of_is_not_the_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("one");
        let old = lock(&path).unwrap().unwrap();
        assert!(is_named(&old, &path).unwrap());
        assert!(lock(&path).unwrap().is_none(), "it is locked");
        fs::write(home.path().join("two"), "").unwrap();
        fs::rename(home.path().join("two"), &path).unwrap();
        assert!(!is_named(&old, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_named(&old, &path).unwrap());
    }

    #[test]
    fn what_could_not_be_written_is_made_good_for() {
        let home = tempfile::tempdir().unwrap();
        let queue = Queue::open(home.path(), "http://example.com/hook").unwrap();
        assert!(queue.push(&event(1)));
        let path = queue.waiting().spool.as_ref().unwrap().path.clone();
        // A file that cannot be written to.
        let unwritable = File::open(&path).unwrap();
        let file = std::mem::replace(
            &mut queue.waiting().spool.as_mut().unwrap().file,
            unwritable,
        );
        assert!(queue.push(&event(2)));
        queue.waiting().spool.as_mut().unwrap().file = file;
        assert!(queue.push(&event(3)));
        queue.done();
        assert_eq!(times(&queue.waiting().events), [2, 3]);
        assert_eq!(written(&queue), [2, 3]);
        assert!(queue.push(&event(4)));
        queue.done();
        assert_eq!(written(&queue), [3, 4]);
    }
}
