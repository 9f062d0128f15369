//! Holding a container still while its files are read (`commit`).
//!
//! The container's watcher makes a copy of itself that traces every thread in the container, tells the client, and ends when the
//! client goes: then all go on. Why tracing: see [`sys::trace`]. Who is traced already, by a debugger in the container, cannot be
//! held; that is an error.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use sys::process::Handle;
use sys::socket::Connection;
use sys::trace::{self, Held};

use crate::error::{Error, Result};
use crate::message::{Answer, Request, send};

/// How long threads may take to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked for processes that were killed while they are held.
const TICK: Duration = Duration::from_millis(50);

/// How often a look is repeated only because some process, perhaps a stranger, was gone before it could be told whose it was: on a
/// host where processes end all the time every look is like that.
const MOST_REPEATS: u32 = 50;

/// A container whose processes do nothing; dropping it lets them go on.
#[derive(Debug)]
#[must_use = "the container goes on when this is dropped"]
pub struct Hold {
    _watcher: Connection,
}

/// Stops all processes of the container of a folder, unseen by them. They go on when the answer is dropped, or this process ends.
///
/// Until then [`join`](crate::join()) waits, and so does another call of this.
///
/// # Errors
///
/// [`Error::NotRunning`]; [`Error::Hold`] if a process cannot be held.
pub fn hold(folder: &Path) -> Result<Hold> {
    let watcher = crate::door::knock(folder)?;
    match crate::door::ask(&watcher, &Request::Hold, &[])? {
        Some((Answer::Done, _)) => Ok(Hold { _watcher: watcher }),
        Some((Answer::Refused(reason), _)) => Err(Error::Hold(reason)),
        None => Err(Error::NotRunning),
    }
}

/// The life of the watcher's copy; gives its exit code.
pub(crate) fn companion(client: &Connection, first: &Handle) -> u8 {
    sys::process::die_with_parent().ok();
    sys::process::hide().ok();
    let mut held = Held::default();
    match still(&mut held, first.pid()) {
        Ok(()) => {
            if client.set_patience(Duration::ZERO).is_ok()
                && send(client, &Answer::Done, &[]).is_ok()
            {
                wait(client, first);
            }
            0
        }
        Err(reason) => {
            drop(held);
            send(client, &Answer::Refused(reason), &[]).ok();
            125
        }
    }
}

/// Waits until the client has gone, or the container's program has ended.
///
/// As long as something is traced, nobody else is told of its end, and the container's first process waits for that of all others.
fn wait(client: &Connection, first: &Handle) {
    let tick = Timespec::try_from(TICK).unwrap_or_default();
    loop {
        // None but those that are held are ours. Who is killed is told to its parent once we have taken notice.
        while let Ok(Some(_)) = sys::process::reap_ended() {}
        // The client says nothing more; that something is to be read means that it is gone.
        let mut fds = [
            PollFd::new(client, PollFlags::IN),
            PollFd::new(first, PollFlags::IN),
        ];
        if !matches!(
            rustix::event::poll(&mut fds, Some(&tick)),
            Ok(0) | Err(rustix::io::Errno::INTR)
        ) {
            return;
        }
    }
}

/// Holds every thread of the container. A thread that runs can make others, so this looks again until there is no new one. One
/// that ended before it could be held, or before it could be told whose it is, is new, too: it may have left a child behind.
fn still(held: &mut Held, first: i32) -> std::result::Result<(), String> {
    let begin = Instant::now();
    let mut seen = BTreeSet::new();
    let mut repeats = 0;
    loop {
        let mut new = false;
        let members = trace::members(first).map_err(|error| error.to_string())?;
        for pid in members.found {
            new |= seen.insert(pid);
            for thread in trace::threads(pid).map_err(|error| error.to_string())? {
                new |= seen.insert(thread);
                held.seize(thread)
                    .map_err(|error| format!("process {pid} cannot be held: {error}"))?;
            }
        }
        if !new {
            if !members.some_gone || repeats == MOST_REPEATS {
                return Ok(());
            }
            repeats += 1;
        }
        if begin.elapsed() > PATIENCE {
            return Err("there are always new processes".to_owned());
        }
        loop {
            let mut moving = held.moving().map_err(|error| error.to_string())?;
            // As long as their children are held.
            moving.retain(|thread| !trace::awaits_child(*thread));
            let Some(thread) = moving.first() else { break };
            if begin.elapsed() > PATIENCE {
                return Err(format!("thread {thread} does not stop"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
