//! The door of a running container: a socket in its folder on which its watcher listens.
//!
//! Nobody but the watcher does things to the container: it alone cannot hit a stranger that got a number of ours, and in a user
//! namespace it alone has the right to.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use serde::de::DeserializeOwned;
use sys::root::Root;
use sys::socket::{Connection, Listener};

use crate::child::failed;
use crate::error::{Error, Failure, Result};
use crate::message::{Answer, Report, Request, receive, send};
use crate::stub::Stubs;

/// Its name in the folder.
const NAME: &str = "door.sock";

/// The watcher's side.
#[derive(Debug)]
pub(crate) struct Door {
    /// Held open, since the watcher has left the host's tree.
    _folder: Root,
    pub(crate) listener: Listener,
}

impl Door {
    /// Listens in a folder; what an earlier watcher left there is replaced.
    pub(crate) fn open(folder: OwnedFd) -> std::result::Result<Self, Failure> {
        let folder = Root::from_fd(folder, "the container's folder");
        let listener =
            Listener::open(&folder, NAME).map_err(failed("listen in the container's folder"))?;
        Ok(Self {
            _folder: folder,
            listener,
        })
    }
}

/// Sends a signal to the program of the container of a folder.
///
/// # Errors
///
/// [`Error::NotRunning`], or the number is no signal.
pub fn signal(folder: &Path, number: i32) -> Result<()> {
    let watcher = knock(folder)?;
    match ask::<Answer>(&watcher, &Request::Signal(number), &[])? {
        Some((Answer::Done, _)) => Ok(()),
        Some((Answer::Refused(reason), _)) => Err(Error::Invalid(reason)),
        None => Err(Error::NotRunning),
    }
}

/// Connects to the watcher of a running container.
pub(crate) fn knock(folder: &Path) -> Result<Connection> {
    let opened = sys::fs::open(folder)?;
    match Connection::to(&opened, NAME) {
        Ok(connection) => Ok(connection),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Err(Error::NotRunning)
        }
        Err(error) => Err(Error::start("connect to the container's watcher")(error)),
    }
}

/// Tells a watcher what is wanted and gives its first answer; `None` if it goes without one.
///
/// # Errors
///
/// [`Error::NotRunning`] if it has gone already, or goes before it has heard all.
pub(crate) fn ask<T: DeserializeOwned>(
    watcher: &Connection,
    request: &Request,
    files: &[BorrowedFd<'_>],
) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let failed = |doing| {
        move |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::NotRunning,
            _ => Error::start(doing)(error),
        }
    };
    send(watcher, request, files).map_err(failed("speak to the container's watcher"))?;
    receive(watcher).map_err(failed("hear from the container's watcher"))
}

/// What a watcher tells a client whose wish it cannot fulfil.
pub(crate) fn refuse(client: &Connection, failure: Failure) {
    send(client, &Report::Failed(failure, Stubs::default()), &[]).ok();
}
