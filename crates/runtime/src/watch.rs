//! Watching a container: what its maker does from the moment the program has begun until all is over.
//!
//! One thread and one loop over everything that may happen: the program ends, the parent goes (then the program is killed),
//! somebody knocks at the door, the companion of a joined program ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use sys::process::Handle;
use sys::socket::Connection;

use crate::child::SIGKILL;
use crate::door::{Door, refuse};
use crate::error::Failure;
use crate::join::Tie;
use crate::message::{Answer, Exit, Report, Request, receive, send};
use crate::spec::Joining;
use crate::stub::Stubs;

/// How long a client may take to say what it wants.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Watcher {
    program: Handle,
    /// Whose end is the container's end.
    parent: Connection,
    door: Option<Door>,
    /// Processes that look after programs which joined.
    companions: Vec<Handle>,
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Program,
    Parent,
    Door,
    Companion,
}

impl Watcher {
    pub(crate) fn new(program: Handle, parent: Connection, door: Option<Door>) -> Self {
        Self {
            program,
            parent,
            door,
            companions: Vec::new(),
        }
    }

    /// Watches to the end; gives this process's exit code.
    pub(crate) fn watch(mut self, stubs: Stubs) -> u8 {
        let ended = loop {
            match self.turn() {
                Ok(Some(exit)) => break exit,
                Ok(None) => {}
                Err(_) => {
                    self.program.signal(SIGKILL).ok();
                    break self
                        .program
                        .reap(true)
                        .ok()
                        .flatten()
                        .map_or(Exit::Signal(9), Exit::from);
                }
            }
        };
        send(&self.parent, &Report::Ended { ended, stubs }, &[]).ok();
        0
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let mut found = vec![
            (Source::Program, self.program.as_fd()),
            (Source::Parent, self.parent.as_fd()),
        ];
        found.extend(
            self.door
                .as_ref()
                .map(|door| (Source::Door, door.listener.as_fd())),
        );
        found.extend(
            self.companions
                .iter()
                .map(|companion| (Source::Companion, companion.as_fd())),
        );
        found
    }

    /// Waits for something to happen and deals with it; the program's end if that was it.
    fn turn(&mut self) -> io::Result<Option<Exit>> {
        let sources = self.sources();
        let mut fds: Vec<_> = sources
            .iter()
            .map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let polled = sources.iter().zip(&fds);
        let ready: Vec<Source> = polled
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|((source, _), _)| *source)
            .collect();
        for source in ready {
            match source {
                Source::Program => {
                    if let Some(ended) = self.program.reap(false)? {
                        return Ok(Some(ended.into()));
                    }
                }
                // The parent says nothing more; that something is to be read means that it is gone.
                Source::Parent => {
                    self.program.signal(SIGKILL).ok();
                    return Ok(self.program.reap(true)?.map(Exit::from));
                }
                Source::Door => self.answer(),
                Source::Companion => {
                    self.companions
                        .retain(|companion| matches!(companion.reap(false), Ok(None)));
                }
            }
        }
        Ok(None)
    }

    /// Somebody knocks.
    fn answer(&mut self) {
        let Some(Ok(Some(client))) = self.door.as_ref().map(|door| door.listener.accept()) else {
            return;
        };
        if client.set_patience(PATIENCE).is_err() {
            return;
        }
        match receive::<Request>(&client) {
            Ok(Some((Request::Signal(number), _))) => {
                let answer = match self.program.signal(number) {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Refused(format!("cannot send signal {number}: {error}")),
                };
                send(&client, &answer, &[]).ok();
            }
            Ok(Some((Request::Join { spec, tie }, files))) => {
                self.join(&client, (&spec, tie), files);
            }
            Ok(Some((Request::Hold, _))) => self.hold(&client),
            Ok(None) | Err(_) => {}
        }
    }

    /// Starts a companion that holds the container still.
    fn hold(&mut self, client: &Connection) {
        let program = &self.program;
        match sys::process::fork(|| crate::hold::companion(client, program)) {
            Ok(companion) => self.companions.push(companion),
            Err(error) => {
                let answer = Answer::Refused(format!("cannot start a process: {error}"));
                send(client, &answer, &[]).ok();
            }
        }
    }

    /// Starts a companion: a copy of this process that enters the container and looks after the program there.
    fn join(&mut self, client: &Connection, wish: (&Joining, Tie), files: Vec<OwnedFd>) {
        let program = &self.program;
        match sys::process::fork(|| crate::join::companion(client, wish, program, files)) {
            Ok(companion) => self.companions.push(companion),
            Err(error) => refuse(
                client,
                Failure::Setup(format!("cannot start a process: {error}")),
            ),
        }
    }
}
