//! Containers and programs that are joined to us while they run.
//!
//! The container keeps its folder as a detached one does ([`crate::detached`]), so that others see it, reach into it and end it;
//! what it writes is logged there and goes to us. It does not outlive us.
//!
//! A terminal of ours never gets into a container: what is typed is passed on, byte by byte, through a pipe or through a terminal
//! that the container has to itself. Other inputs are handed over as they are.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sys::process::Handle;

use crate::error::{Error, Result};
use crate::message::Exit;
use crate::pump::{self, Input};
use crate::record::Record;
use crate::run::{self, Output, Running, Stdio, Stream};
use crate::signals::{Caught, Forwarding, Window};
use crate::spec::Spec;
use crate::terminal::{self, Raw};

/// Our side of a program in the foreground.
#[derive(Debug)]
pub struct Attach {
    /// What the program reads; `None` is `/dev/null`, and for a program with a terminal that nothing is typed.
    pub stdin: Option<OwnedFd>,
    /// Where its output goes, and what its terminal shows.
    pub stdout: OwnedFd,
    /// Where its standard error goes, unless it has a terminal.
    pub stderr: OwnedFd,
    /// Pass signals on that this process gets (`SIGHUP`, `SIGINT`, `SIGQUIT`, `SIGTERM`, `SIGUSR1`, `SIGUSR2`), and follow the size
    /// of our window with the program's terminal.
    pub signals: bool,
}

impl Attach {
    /// Our own standard output and error, and input if `stdin`; signals are passed on.
    ///
    /// # Errors
    ///
    /// Out of descriptors, or one of them is closed.
    pub fn standard(stdin: bool) -> Result<Self> {
        let failed = || Error::start("use our own input and output");
        let clone = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map_err(failed());
        Ok(Self {
            stdin: stdin.then(|| clone(&io::stdin())).transpose()?,
            stdout: clone(&io::stdout())?,
            stderr: clone(&io::stderr())?,
            signals: true,
        })
    }
}

/// Runs a container to its end, joined to us; `dir` is its folder, as for [`crate::detached::start`].
///
/// # Errors
///
/// The container could not be made or the program not be started, or what watched it was killed.
pub fn run(spec: &Spec, dir: &Path, attach: Attach) -> Result<Exit> {
    run::check(spec)?;
    let mut record = Record::begin(dir, spec)?;
    let mut log = record.log()?;
    let (joint, stdin) = Joint::new(attach, spec.terminal.is_some())?;
    let mut spec = spec.clone();
    spec.terminal = spec.terminal.map(|size| joint.size().unwrap_or(size));
    let output = Output::Callback;
    let mut running = run::start_in(dir, &spec, Stdio { stdin, output })?;
    record.started(&running)?;
    let followed = joint.follow(&mut running, &mut |stream, bytes| {
        log.write(stream, bytes).ok();
    });
    log.finish().ok();
    // If that failed, whoever watched it has been killed, and the program with it.
    let exit = followed.as_ref().map(|followed| followed.exit);
    record.ended(exit.unwrap_or(Exit::Signal(9)))?;
    followed?.complete()
}

/// A program that was followed to its end.
pub(crate) struct Followed {
    exit: Exit,
    /// Why some of what it wrote has not got to where it should.
    lost: Option<io::Error>,
}

impl Followed {
    /// How the program ended; an error if output was lost.
    pub(crate) fn complete(self) -> Result<Exit> {
        match self.lost {
            None => Ok(self.exit),
            Some(error) => Err(Error::start("pass on what the program wrote")(error)),
        }
    }
}

/// What joins us to a program.
pub(crate) struct Joint {
    attach: Attach,
    caught: Option<Caught>,
    terminal: bool,
    /// The window that we are in.
    window: Option<OwnedFd>,
    /// The writing end of the program's input, if that is passed on.
    pipe: Option<OwnedFd>,
}

impl Joint {
    /// Prepares; gives what the program's standard input shall be.
    pub(crate) fn new(mut attach: Attach, terminal: bool) -> Result<(Self, Option<OwnedFd>)> {
        let caught = attach.signals.then(Caught::begin).transpose()?;
        let (stdin, pipe) = match &attach.stdin {
            Some(stdin) if !terminal && terminal::is_one(stdin) => {
                let (read, write) = io::pipe().map_err(Error::start("make a pipe"))?;
                (Some(OwnedFd::from(read)), Some(OwnedFd::from(write)))
            }
            Some(_) if !terminal => (attach.stdin.take(), None),
            _ => (None, None),
        };
        let windows = [attach.stdin.as_ref(), Some(&attach.stdout)];
        let window = windows
            .into_iter()
            .flatten()
            .find(|fd| terminal::is_one(fd));
        let window = window.map(OwnedFd::try_clone).transpose();
        let joint = Self {
            window: window.map_err(Error::start("use the terminal"))?,
            attach,
            caught,
            terminal,
            pipe,
        };
        Ok((joint, stdin))
    }

    /// The size of the window that we are in.
    pub(crate) fn size(&self) -> Option<sys::terminal::Size> {
        self.window.as_ref().and_then(terminal::size)
    }

    /// Carries input, output and signals until the program has ended; `also` gets the output too.
    pub(crate) fn follow(
        mut self,
        running: &mut Running,
        also: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Followed> {
        let controller = running.take_terminal();
        let program = running.process()?;
        let (input, _raw) = self.input(controller.as_ref())?;
        let copy = controller.as_ref().map(OwnedFd::try_clone).transpose();
        let copy = Arc::new(Mutex::new(copy.map_err(Error::start("use the terminal"))?));
        let _forwarding = self.forward(program, &copy);
        let Attach { stdout, stderr, .. } = &self.attach;
        let mut lost = None;
        let exit = running.follow(controller, input, &mut |stream, bytes| {
            also(stream, bytes);
            let to = match stream {
                Stream::Stdout => stdout,
                Stream::Stderr => stderr,
            };
            match pump::write_all(to.as_fd(), bytes) {
                // Nobody reads any more: the program shall learn it, as it would without us between.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    copy.lock().unwrap_or_else(PoisonError::into_inner).take();
                    Err(error)
                }
                // A window that was closed: the program goes on, and so does its log.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
                {
                    Ok(())
                }
                // A full disk: so it is too, but who takes the exit code for the whole truth must not miss what is lost.
                Err(error) => {
                    lost.get_or_insert(error);
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        })?;
        Ok(Followed { exit, lost })
    }

    fn input(&mut self, controller: Option<&OwnedFd>) -> Result<(Option<Input>, Option<Raw>)> {
        let Some(stdin) = self.attach.stdin.take() else {
            return Ok((None, None));
        };
        let failed = || Error::start("use the terminal");
        let to = match (self.pipe.take(), controller) {
            (Some(pipe), _) => pipe,
            (None, Some(controller)) => controller.try_clone().map_err(failed())?,
            (None, None) => return Ok((None, None)),
        };
        let raw = if self.terminal && terminal::is_one(&stdin) {
            Some(Raw::begin(&stdin).map_err(failed())?)
        } else {
            None
        };
        Ok((Some(Input::new(stdin, to, self.terminal)?), raw))
    }

    fn forward(
        &mut self,
        program: Handle,
        controller: &Arc<Mutex<Option<OwnedFd>>>,
    ) -> Option<Forwarding> {
        let window = self.window.take().map(|ours| Window {
            ours,
            theirs: Arc::clone(controller),
        });
        Some(self.caught.take()?.forward(program, window))
    }
}
