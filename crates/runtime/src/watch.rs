//! Watching a container: what its maker does from the moment the program has begun until all is over.
//!
//! One thread and one loop over everything that may happen: the program ends, the parent goes (then the program is killed),
//! somebody knocks at the door, a companion has started its program or ends.
//!
//! While one client holds the container still, no program is started in it, and before it is held, those that are being started have
//! begun, so that whoever holds it finds every process. Who must wait for that does so in the order of coming; signals never wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

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

/// How long a client may take to say what it wants, and companions to end after the container.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often an end is asked for that is known but not given yet.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Watcher {
    program: Handle,
    /// Whose end is the container's end.
    parent: Connection,
    door: Option<Door>,
    companions: Vec<Companion>,
    /// Clients whose wishes have to wait, in the order in which they came.
    waiting: VecDeque<(Connection, Wish)>,
}

/// A copy of this process that does what a client has asked for.
#[derive(Debug)]
struct Companion {
    process: Handle,
    task: Task,
}

/// What a companion does.
#[derive(Debug)]
enum Task {
    /// It starts a program in the container; this pipe ends when that has begun, or has failed to.
    Starts(OwnedFd),
    /// It looks after a program that has joined.
    LooksAfter,
    /// It holds the container still.
    Holds,
}

/// What a client wants a companion for.
#[derive(Debug)]
enum Wish {
    Join {
        spec: Box<Joining>,
        tie: Tie,
        files: Vec<OwnedFd>,
    },
    Hold,
}

impl Wish {
    /// False as long as one of these companions is in its way.
    fn may_begin(&self, companions: &[Companion]) -> bool {
        !companions.iter().any(|companion| match companion.task {
            Task::Holds => true,
            // What it starts would not be held.
            Task::Starts(_) => matches!(self, Self::Hold),
            Task::LooksAfter => false,
        })
    }
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Program,
    Parent,
    Door,
    Companion,
    Waiting,
}

impl Watcher {
    pub(crate) fn new(program: Handle, parent: Connection, door: Option<Door>) -> Self {
        Self {
            program,
            parent,
            door,
            companions: Vec::new(),
            waiting: VecDeque::new(),
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
        // What they look after has ended with the container; they die with us, and have to tell their clients first.
        let deadline = Instant::now() + PATIENCE;
        for companion in &self.companions {
            let left = deadline.saturating_duration_since(Instant::now());
            companion.process.wait_end(Some(left)).ok();
        }
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
        for Companion { process, task } in &self.companions {
            found.push((Source::Companion, process.as_fd()));
            if let Task::Starts(begun) = task {
                found.push((Source::Companion, begun.as_fd()));
            }
        }
        let waiting = self.waiting.iter();
        found.extend(waiting.map(|(client, _)| (Source::Waiting, client.as_fd())));
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
                    // Somebody traces it and has not taken notice of its end; nothing tells us when that happens.
                    std::thread::sleep(TICK);
                }
                // The parent says nothing more; that something is to be read means that it is gone.
                Source::Parent => {
                    self.program.signal(SIGKILL).ok();
                    return Ok(self.program.reap(true)?.map(Exit::from));
                }
                Source::Door => self.answer(),
                Source::Companion => {
                    self.look_at_companions();
                    self.proceed();
                }
                // The client says nothing more; that something is to be read means that it is gone. Who reads what its program
                // would have written must not wait for it.
                Source::Waiting => self.waiting.retain(|(client, _)| !is_readable(client)),
            }
        }
        Ok(None)
    }

    /// Somebody knocks.
    fn answer(&mut self) {
        let client = match self.door.as_ref().map(|door| door.listener.accept()) {
            Some(Ok(Some(client))) => client,
            Some(Ok(None)) | None => return,
            // Out of descriptors, for so many wait: whoever knocks goes on knocking.
            Some(Err(_)) => return std::thread::sleep(TICK),
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
                self.waiting
                    .push_back((client, Wish::Join { spec, tie, files }));
            }
            Ok(Some((Request::Hold, _))) => self.waiting.push_back((client, Wish::Hold)),
            Ok(None) | Err(_) => {}
        }
        self.proceed();
    }

    /// Forgets companions that have ended, and notes who has started its program.
    fn look_at_companions(&mut self) {
        self.companions
            .retain(|companion| matches!(companion.process.reap(false), Ok(None)));
        for companion in &mut self.companions {
            if let Task::Starts(begun) = &companion.task
                && is_readable(begun)
            {
                companion.task = Task::LooksAfter;
            }
        }
    }

    /// Begins what has waited for long enough. When the program has ended nothing begins any more.
    fn proceed(&mut self) {
        if is_readable(&self.program) {
            return;
        }
        while let Some((client, wish)) = self
            .waiting
            .pop_front_if(|(_, wish)| wish.may_begin(&self.companions))
        {
            // If it is not gone.
            if !is_readable(&client) {
                self.begin(&client, wish);
            }
        }
    }

    /// Starts a companion: a copy of this process that does what the client wants.
    fn begin(&mut self, client: &Connection, wish: Wish) {
        let (program, waiting) = (&self.program, &mut self.waiting);
        let cannot = |error: &dyn std::fmt::Display| format!("cannot start a process: {error}");
        match wish {
            Wish::Hold => match sys::process::fork(|| {
                waiting.clear();
                crate::hold::companion(client, program)
            }) {
                Ok(process) => self.companions.push(Companion {
                    process,
                    task: Task::Holds,
                }),
                Err(error) => {
                    send(client, &Answer::Refused(cannot(&error)), &[]).ok();
                }
            },
            Wish::Join { spec, tie, files } => {
                let (begun, begins) = match crate::child::pipe() {
                    Ok(ends) => ends,
                    Err(failure) => return refuse(client, failure),
                };
                match sys::process::fork(|| {
                    waiting.clear();
                    crate::join::companion(client, (&spec, tie), program, (files, begins))
                }) {
                    Ok(process) => self.companions.push(Companion {
                        process,
                        task: Task::Starts(begun),
                    }),
                    Err(error) => refuse(client, Failure::Setup(cannot(&error))),
                }
            }
        }
    }
}

/// True if something is to be read, or the other end is gone.
fn is_readable(fd: impl AsFd) -> bool {
    sys::process::wait_readable(fd, Some(Duration::ZERO)).unwrap_or(true)
}
