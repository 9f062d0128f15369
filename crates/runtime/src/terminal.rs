//! The terminal that a person sits at, while a program in a container has a terminal of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios};
use sys::terminal::Size;

/// A terminal that passes every key on, as it is; dropping it, also in a panic, brings back how it was.
#[derive(Debug)]
#[must_use = "dropping it brings the terminal back"]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Changes the terminal.
    ///
    /// # Errors
    ///
    /// It is no terminal.
    pub fn begin(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        rustix::termios::tcsetattr(&self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

/// The size of a terminal; `None` if it is none, or has no size.
#[must_use]
pub fn size(terminal: impl AsFd) -> Option<Size> {
    sys::terminal::size(terminal)
        .ok()
        .filter(|size| size.rows > 0 && size.columns > 0)
}

/// True if it is a terminal.
#[must_use]
pub fn is_one(file: impl AsFd) -> bool {
    rustix::termios::isatty(file)
}
