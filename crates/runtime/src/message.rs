//! What the parent and the process that makes a container say to each other.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use sys::socket::Connection;

use crate::error::Failure;
use crate::join::Tie;
use crate::spec::{Joining, Spec};
use crate::stub::Stubs;

/// From the parent to the process that makes the container.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    pub(crate) spec: Box<Spec>,
    /// The first file that comes along is the container's standard input.
    pub(crate) stdin: bool,
    /// So many files follow through which it joins its control groups.
    pub(crate) groups: usize,
    /// The last file is the container's folder, where its door is.
    pub(crate) door: bool,
}

/// To the parent, and to whoever has a program started in a running container.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The program runs. Comes with a pidfd of it, and with its terminal if it has one.
    Started {
        /// Its number in the parent's pid namespace.
        pid: i32,
        /// What was made in the upper directory only to mount on, in case that nobody is left to tell it at the end.
        stubs: Stubs,
    },
    /// It will not run.
    Failed(Failure, Stubs),
    /// It has ended.
    Ended {
        ended: Exit,
        /// What was made in the upper directory only to mount on.
        stubs: Stubs,
    },
}

/// To the process that watches a container, from anybody who may.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Send this signal to the program.
    Signal(i32),
    /// Start another program in it. Comes with its standard input, output and error, and files to join control groups.
    Join { spec: Box<Joining>, tie: Tie },
    /// Hold all processes still until the connection ends.
    Hold,
}

/// The answer to [`Request::Signal`] and [`Request::Hold`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    Refused(String),
}

/// How a container's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
}

impl Exit {
    /// As a shell reports it: the code, or 128 and the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }

    /// True for exit code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl From<sys::process::Ended> for Exit {
    fn from(ended: sys::process::Ended) -> Self {
        // The kernel keeps 8 bits of a code and 7 of a signal.
        match ended {
            sys::process::Ended::Code(code) => Self::Code(u8::try_from(code & 255).unwrap_or(255)),
            sys::process::Ended::Signal(signal) => {
                Self::Signal(u8::try_from(signal & 127).unwrap_or(127))
            }
        }
    }
}

/// Sends a message. If that fails nothing more can be sent: the other end learns it and does not wait for the rest.
pub(crate) fn send(
    to: &Connection,
    message: &impl Serialize,
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let sent = serde_json::to_vec(message)
        .map_err(io::Error::from)
        .and_then(|text| to.send(&text, files));
    if sent.is_err() {
        rustix::net::shutdown(to, rustix::net::Shutdown::Write).ok();
    }
    sent
}

pub(crate) fn receive<T: DeserializeOwned>(
    from: &Connection,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    match from.receive()? {
        Some((bytes, files)) => Ok(Some((serde_json::from_slice(&bytes)?, files))),
        None => Ok(None),
    }
}
