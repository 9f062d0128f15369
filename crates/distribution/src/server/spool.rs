//! Events that wait for a hook: in memory, and in a file that a server which ends leaves to the next.
//!
//! The file is one line an event, and a line for each that was done with, oldest first. It is not synced: a server that is
//! killed loses nothing, a power cut may cost the last seconds.

#![allow(
    clippy::disallowed_methods,
    reason = "who opens a queue names its folder; the crate does not know `sys`"
)]

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use oci::Digest;
use tokio::sync::Notify;

use super::hooks::Event;

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
}

impl Queue {
    /// A queue that goes on with what waits in `folder` for the hook at `url`.
    pub(super) fn open(folder: &Path, url: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let name = Digest::sha256_of(url.as_bytes()).hex();
        for number in 0..SERVERS {
            let path = folder.join(format!("{}-{number}", &name[..16]));
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(&path)?;
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => continue,
                other => other?,
            }
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let events = read(&text);
            let size = text.len() as u64;
            let mut spool = Spool { path, file, size };
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; says whether there was room.
    pub(super) fn push(&self, event: &Event) -> bool {
        let mut waiting = self.lock();
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
            if let Some(event) = self.lock().events.front() {
                return event.clone();
            }
            more.await;
        }
    }

    /// The oldest event need not wait any more.
    pub(super) fn done(&self) {
        let mut waiting = self.lock();
        let Waiting { events, spool } = &mut *waiting;
        events.pop_front();
        let Some(spool) = spool else {
            return;
        };
        if events.is_empty() || spool.size > LONG {
            // If it cannot be written, events may be told of twice after a restart.
            drop(spool.rewrite(events));
        } else {
            spool.append(DONE);
        }
    }
}

impl Spool {
    /// An event that cannot be written down waits in memory only.
    fn append(&mut self, line: &str) {
        let line = format!("{line}\n");
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => self.size += line.len() as u64,
            // Half a line must not stand in front of the next.
            Err(_) => drop(self.file.set_len(self.size)),
        }
    }

    fn rewrite(&mut self, events: &VecDeque<Event>) -> io::Result<()> {
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
