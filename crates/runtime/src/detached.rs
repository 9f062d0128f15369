//! Containers that outlive the process that starts them.
//!
//! ```text
//! barque ──socket── barque-supervisor ──socket── barque-container ── the program
//!  may go           own session, `/`,            (as in the foreground)
//!                   no files of ours
//! ```
//!
//! The supervisor is our own program once more. It does what the foreground does, writes what the program says into the log,
//! and notes the end; the container's folder tells the rest of the world (`status`, below). It lives as long as the
//! container, and the container no longer than it.
//!
//! Everything here that takes a folder also serves containers in the foreground, which keep theirs the same way.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio as ProcessStdio;

use serde::{Deserialize, Serialize};
use sys::process::Handle;
use sys::socket::Connection;

use crate::error::{Error, Failure, Result};
use crate::log::Writer;
use crate::message::{Exit, receive, send};
use crate::record::{self, Found, Record};
use crate::run::{self, Output, Running, Stdio};
use crate::signals::{Caught, Forwarding};
use crate::spec::Spec;

/// The name under which our program is started to be a supervisor.
pub(crate) const NAME: &str = "barque-supervisor";

/// The name under which our program is started after the end, to be itself.
const PLAIN: &str = "barque";

/// How a detached container is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Options {
    /// Keep the program's standard input open, with nothing ever coming from it. Otherwise it is `/dev/null`.
    pub keep_input: bool,
    /// Arguments for our own program, started once when the container has ended, its end is noted and its folder let go.
    /// Empty: nothing is started.
    pub after: Vec<String>,
}

/// What a container's folder tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running {
        /// Its first process, on the host.
        pid: i32,
        /// Since when, in seconds since 1970.
        since: i64,
    },
    /// It has ended.
    Ended {
        /// How.
        exit: Exit,
        /// When, in seconds since 1970.
        at: i64,
    },
    /// What watched it was killed, or the machine stopped, and the container with it; when is not known.
    Lost,
}

/// To the supervisor.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    spec: Box<Spec>,
    dir: PathBuf,
    options: Options,
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Started { pid: i32 },
    Failed(Failure),
}

/// Starts a container that lives on; returns when its program has begun, with the program's number.
///
/// `dir` is the container's folder, absolute. From then on [`status`] tells of it, also after this process has gone. A container
/// may be started again in the same folder after it has ended; its log goes on.
///
/// # Errors
///
/// The container could not be made, the program not be started, or one runs in this folder already. Nothing is left running.
pub fn start(spec: &Spec, dir: &Path, options: Options) -> Result<i32> {
    run::check(spec)?;
    let (ours, theirs) = Connection::pair().map_err(Error::start("make a socket"))?;
    let (mut command, program) = sys::process::command_of_self(NAME.as_ref())?;
    let mut supervisor = command
        .current_dir("/")
        .stdin(ProcessStdio::from(OwnedFd::from(theirs)))
        .stdout(ProcessStdio::null())
        .stderr(ProcessStdio::null())
        .spawn()
        .map_err(Error::start("start the supervisor"))?;
    // Drops our copy of its end of the socket.
    drop((command, program));
    let task = Task {
        spec: Box::new(spec.clone()),
        dir: dir.to_owned(),
        options,
    };
    let sent = send(&ours, &task, &[]);
    let answer = receive::<Answer>(&ours).map_err(Error::start("hear from the supervisor"))?;
    match answer {
        Some((Answer::Started { pid }, _)) => {
            // A caller that lives longer than the container must not keep its remains.
            std::thread::spawn(move || supervisor.wait());
            Ok(pid)
        }
        Some((Answer::Failed(failure), _)) => {
            supervisor.wait().ok();
            Err(failure.into())
        }
        None => {
            supervisor.wait().ok();
            sent.map_err(Error::start("speak to the supervisor"))?;
            Err(Error::Lost)
        }
    }
}

/// What the folder of a container tells; `None` if nothing was started in it, or nothing that began.
///
/// If what watched the container was killed, the container is dead when this returns [`Status::Lost`].
///
/// # Errors
///
/// The folder cannot be read.
pub fn status(dir: &Path) -> Result<Option<Status>> {
    Ok(match record::found(dir)? {
        Found::Nothing => None,
        Found::Running(noted) => Some(Status::Running {
            pid: noted.program.pid,
            since: noted.since,
        }),
        Found::Ended(end) => Some(Status::Ended {
            exit: end.exit,
            at: end.at,
        }),
        Found::Lost => Some(Status::Lost),
    })
}

/// Takes away what a lost container left of its own making (empty files and directories to mount on) where its changes are,
/// as the end of any other does. Asked before the changes of a container are read; for all others it does nothing.
///
/// # Errors
///
/// The folder cannot be read or written.
pub fn settle(dir: &Path) -> Result<()> {
    record::settle(dir)
}

/// When the container of a folder was last started, in seconds since 1970, whether or not it has ended; `None` if nothing
/// was started in it.
///
/// # Errors
///
/// The folder cannot be read.
pub fn started_at(dir: &Path) -> Result<Option<i64>> {
    record::since(dir)
}

/// The spec that the container in a folder was last started with.
///
/// # Errors
///
/// Nothing was started in it, or the folder cannot be read.
pub fn spec(dir: &Path) -> Result<Spec> {
    record::spec(dir)
}

/// A handle on the first process of the container of a folder, if it runs; a signal sent through it reaches it or nobody.
///
/// # Errors
///
/// The folder cannot be read.
pub fn process(dir: &Path) -> Result<Option<Handle>> {
    match record::found(dir)? {
        Found::Running(noted) => noted.program(),
        Found::Nothing | Found::Ended(_) | Found::Lost => Ok(None),
    }
}

/// Waits until the container of a folder has ended; `None` if nothing was started in it.
///
/// A container that is lost was killed: its end is signal 9.
///
/// # Errors
///
/// The folder cannot be read.
pub fn wait(dir: &Path) -> Result<Option<Exit>> {
    loop {
        match record::found(dir)? {
            Found::Nothing => return Ok(None),
            Found::Running(_) => record::wait_for_end(dir)?,
            Found::Ended(end) => return Ok(Some(end.exit)),
            Found::Lost => return Ok(Some(Exit::Signal(9))),
        }
    }
}

/// Takes a task, starts its container, and stays until that has ended.
pub(crate) fn main() -> u8 {
    // Whatever our caller had open is none of ours; its end of a pipe must not live as long as the container.
    if sys::process::close_from(3).is_err() {
        return 125;
    }
    sys::process::default_signals();
    rustix::process::setsid().ok();
    rustix::thread::set_name(c"barque-super").ok();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Away from number 0, which becomes `/dev/null`.
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return 125;
    };
    let Ok(null) = sys::fs::open_or_create(Path::new("/dev/null")) else {
        return 125;
    };
    rustix::stdio::dup2_stdin(&null).ok();
    let caller = Connection::from_fd(socket);
    let Ok(Some((task, _))) = receive::<Task>(&caller) else {
        return 125;
    };
    let Some(supervised) = Supervised::start(&task, &caller) else {
        return 125;
    };
    drop(caller);
    let noted = supervised.watch();
    after(&task.options.after);
    if noted.is_ok() { 0 } else { 125 }
}

/// A running container and what is kept of it.
struct Supervised {
    running: Running,
    record: Record,
    log: Writer,
    /// The other end of the program's standard input.
    _input: Option<OwnedFd>,
    /// A machine that goes down asks every process to end; it is the program that can.
    _forwarding: Forwarding,
}

impl Supervised {
    /// Starts and tells the caller how that went.
    fn start(task: &Task, caller: &Connection) -> Option<Self> {
        let (answer, supervised) = match Self::start_noted(task) {
            Ok(supervised) => {
                let pid = supervised.running.pid();
                (Answer::Started { pid }, Some(supervised))
            }
            Err(error) => (Answer::Failed(error.into()), None),
        };
        // If nobody hears it, the container lives on all the same: it was asked for.
        send(caller, &answer, &[]).ok();
        supervised
    }

    fn start_noted(task: &Task) -> Result<Self> {
        let mut record = Record::begin(&task.dir, &task.spec)?;
        let log = record.log()?;
        let (stdin, input) = if task.options.keep_input && task.spec.terminal.is_none() {
            let (read, write) = std::io::pipe().map_err(Error::start("make a pipe"))?;
            (Some(OwnedFd::from(read)), Some(OwnedFd::from(write)))
        } else {
            (None, None)
        };
        let caught = Caught::begin()?;
        let output = Output::Callback;
        let running = run::start_protected(&task.dir, &task.spec, Stdio { stdin, output })?;
        record.started(&running)?;
        Ok(Self {
            _forwarding: caught.forward(running.process()?, None),
            running,
            record,
            log,
            _input: input,
        })
    }

    /// Logs until the program has ended, and notes its end.
    fn watch(mut self) -> Result<()> {
        let program = self.running.process();
        // What a full disk has no room for is lost; the program must not stop because of that.
        let exit = self.running.wait(&mut |stream, bytes| {
            self.log.write(stream, bytes).ok();
        });
        self.log.finish().ok();
        if let Ok(program) = program {
            program.wait_end(None).ok();
        }
        // Whatever kept us from hearing of the end: with what watched the program gone, it has been killed.
        self.record.ended(exit.unwrap_or(Exit::Signal(9)))
    }
}

/// Starts our program with the arguments that were left for the end.
fn after(args: &[String]) {
    if args.is_empty() {
        return;
    }
    let mut command = sys::process::command_of_protected_self(PLAIN.as_ref());
    // It is nobody's child any more when we have gone, which is at once; an error has nobody to hear it.
    drop(command.args(args).spawn());
}
