//! Signals that we get and that are meant for a program in a container.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::Signal;
use signal_hook::iterator::{Handle as Control, Signals};
use sys::process::Handle;

use crate::error::{Error, Result};
use crate::terminal;

/// What is passed on as it is.
const PASSED_ON: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];

/// Catches signals from now on; nothing is lost before there is somebody to pass them to.
///
/// When it is dropped signals are no longer passed on; they stay without effect on this process, which is about to end.
#[derive(Debug)]
pub(crate) struct Caught(Signals);

/// Passes signals on until it is dropped.
#[derive(Debug)]
pub(crate) struct Forwarding {
    control: Control,
    thread: Option<JoinHandle<()>>,
}

/// A window whose size a terminal in a container follows.
#[derive(Debug)]
pub(crate) struct Window {
    /// The terminal that a person sits at.
    pub(crate) ours: OwnedFd,
    /// Our side of the terminal in the container, as long as somebody shows what it shows.
    pub(crate) theirs: Arc<Mutex<Option<OwnedFd>>>,
}

impl Window {
    fn follow(&self) {
        let theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(size), Some(theirs)) = (terminal::size(&self.ours), &*theirs) {
            sys::terminal::set_size(theirs, size).ok();
        }
    }
}

impl Caught {
    pub(crate) fn begin() -> Result<Self> {
        let numbers = PASSED_ON
            .iter()
            .chain([&Signal::WINCH])
            .map(|signal| signal.as_raw());
        Ok(Self(
            Signals::new(numbers).map_err(Error::start("catch signals"))?,
        ))
    }

    /// Passes on to `program`. A change of our window is none of the program's business unless its terminal is in it: some take
    /// that signal for another.
    pub(crate) fn forward(mut self, program: Handle, window: Option<Window>) -> Forwarding {
        let control = self.0.handle();
        let pass = move || {
            // It may have changed while nobody listened.
            window.iter().for_each(Window::follow);
            for number in self.0.forever() {
                if number == Signal::WINCH.as_raw() {
                    window.iter().for_each(Window::follow);
                } else {
                    program.signal(number).ok();
                }
            }
        };
        Forwarding {
            control,
            thread: std::thread::Builder::new()
                .name("signals".to_owned())
                .spawn(pass)
                .ok(),
        }
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.control.close();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
