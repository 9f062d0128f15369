//! The parent's side of a container in the foreground.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::process::{Child, Command, Stdio as ProcessStdio};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use sys::process::Handle;
use sys::root::Root;
use sys::root_plan::{Lower, RootPlan, Upper};
use sys::socket::Connection;

use crate::cgroup::Groups;
use crate::child;
use crate::error::{Error, Result};
use crate::message::{Exit, Order, Report, receive, send};
use crate::spec::Spec;
use crate::stub::Stubs;

/// Where the program's input comes from and its output goes.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input; `None` is `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Standard output and error.
    pub output: Output,
}

/// Where output goes.
#[derive(Debug, Default)]
pub enum Output {
    /// To the caller of [`Running::wait`], as it comes.
    #[default]
    Callback,
    /// To our own standard output and error.
    Inherit,
    /// Into these files.
    Files {
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A container whose program has begun.
///
/// Dropping it kills the program, and so does the end of this process, however it comes.
#[derive(Debug)]
#[must_use = "dropping it kills the container"]
pub struct Running {
    child: Child,
    connection: Connection,
    program: Handle,
    stdout: Option<File>,
    stderr: Option<File>,
    root: RootPlan,
    terminal: Option<OwnedFd>,
    /// Removed after the last process has gone, since fields are dropped in this order and after [`Drop`].
    _groups: Groups,
    done: bool,
}

/// Runs a container to its end; `output` gets what the program writes, as it comes.
///
/// # Errors
///
/// The container could not be made or the program not be started. Its own failure is in [`Exit`].
pub fn run(spec: &Spec, stdio: Stdio, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> {
    start(spec, stdio)?.wait(output)
}

/// Starts a container; when it returns, the program has begun.
///
/// # Errors
///
/// The container could not be made or the program not be started.
pub fn start(spec: &Spec, stdio: Stdio) -> Result<Running> {
    check(spec)?;
    let (command, program) = sys::process::command_of_self(child::NAME.as_ref())?;
    start_by(command, Some(program), spec, stdio)
}

/// As [`start`], in a process that was itself started by [`sys::process::command_of_self`].
pub(crate) fn start_protected(spec: &Spec, stdio: Stdio) -> Result<Running> {
    check(spec)?;
    let command = sys::process::command_of_protected_self(child::NAME.as_ref());
    start_by(command, None, spec, stdio)
}

fn start_by(
    mut command: Command,
    program: Option<OwnedFd>,
    spec: &Spec,
    stdio: Stdio,
) -> Result<Running> {
    let (ours, theirs) = Connection::pair().map_err(Error::start("make a socket"))?;
    command
        .env_clear()
        .stdin(ProcessStdio::from(OwnedFd::from(theirs)));
    let (mut stdout, mut stderr) = (None, None);
    match stdio.output {
        Output::Inherit => {}
        Output::Files { stdout, stderr } => {
            command.stdout(stdout).stderr(stderr);
        }
        Output::Callback => {
            command
                .stdout(pipe_to(&mut stdout)?)
                .stderr(pipe_to(&mut stderr)?);
        }
    }
    let child = command
        .spawn()
        .map_err(Error::start("start the process that makes the container"))?;
    // Drops our copies of what the child has now: the pipes must end with it.
    drop(command);
    drop(program);
    let stdin = stdio.stdin.as_ref().map(AsFd::as_fd);
    let groups = crate::cgroup::make(&spec.id, &spec.limits)?;
    let files: Vec<_> = stdin
        .into_iter()
        .chain(groups.join.iter().map(AsFd::as_fd))
        .collect();
    let order = Order::Start {
        spec: Box::new(spec.clone()),
        stdin: stdin.is_some(),
    };
    let sent = send(&ours, &order, &files);
    drop(stdio.stdin);
    let starting = Starting {
        child: Some(child),
        connection: Some(ours),
    };
    // If it died, its report says more than a broken pipe.
    let report = receive::<Report>(starting.connection()?)
        .map_err(Error::start("hear from the container's maker"))?;
    match report {
        Some((Report::Started { pid }, mut files)) => {
            let pid = rustix::process::Pid::from_raw(pid).ok_or(Error::Lost)?;
            if files.is_empty() {
                return Err(Error::Lost);
            }
            let program = Handle::from_fd(files.remove(0), pid);
            let (child, connection) = starting.take()?;
            let terminal = if files.is_empty() {
                None
            } else {
                Some(files.remove(0))
            };
            Ok(Running {
                _groups: groups,
                terminal,
                child,
                connection,
                program,
                stdout,
                stderr,
                root: spec.root.clone(),
                done: false,
            })
        }
        Some((Report::Failed(failure, stubs), _)) => {
            starting.finish();
            clean(&spec.root, &stubs)?;
            Err(failure.into())
        }
        Some((Report::Ended { .. }, _)) | None => {
            sent.map_err(Error::start("speak to the container's maker"))?;
            Err(Error::Lost)
        }
    }
}

/// Leaves the place of changes as if nothing had ever been mounted on it.
fn clean(root: &RootPlan, stubs: &Stubs) -> Result<()> {
    let tree = match (&root.upper, &root.lowers[..]) {
        (Some(upper), _) => &upper.dir,
        (None, [Lower::Dir(tree)]) => tree,
        (None, _) => return Ok(()),
    };
    stubs.remove(&Root::open(tree)?)?;
    Ok(root.upper.as_ref().map_or(Ok(()), Upper::settle)?)
}

fn pipe_to(reader: &mut Option<File>) -> Result<ProcessStdio> {
    let (read, write) = io::pipe().map_err(Error::start("make a pipe"))?;
    *reader = Some(File::from(OwnedFd::from(read)));
    Ok(OwnedFd::from(write).into())
}

/// What can be known to be wrong before anything is started.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let invalid = |message: String| Err(Error::Invalid(message));
    if spec.args.first().is_none_or(String::is_empty) {
        return invalid("there is no program to run".to_owned());
    }
    if let Some(entry) = spec
        .env
        .iter()
        .find(|entry| !entry.contains('=') || entry.starts_with('='))
    {
        return invalid(format!(
            "the environment entry `{entry}` is not `NAME=value`"
        ));
    }
    let zero = spec
        .args
        .iter()
        .chain(&spec.env)
        .find(|text| text.contains('\0'));
    if let Some(text) = zero {
        return invalid(format!("`{}` has a zero byte in it", text.escape_debug()));
    }
    if !spec.cwd.is_absolute() {
        return invalid(format!(
            "the working directory `{}` is not absolute",
            spec.cwd.display()
        ));
    }
    for mount in &spec.mounts {
        let target = &mount.target;
        let plain = target
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !target.is_absolute() || target.parent().is_none() || !plain {
            return invalid(format!("nothing can be mounted on `{}`", target.display()));
        }
        for taken in ["/proc", "/dev/pts", "/dev/mqueue"] {
            if target.starts_with(taken)
                || target == Path::new("/dev")
                || target == Path::new("/sys")
            {
                return invalid(format!(
                    "nothing can be mounted on `{}`: `{taken}` is the container's own",
                    target.display()
                ));
            }
        }
    }
    if let Some(limit) = spec
        .rlimits
        .iter()
        .find(|limit| !crate::restrict::is_rlimit(&limit.name))
    {
        return invalid(format!("`{}` is no limit of a process", limit.name));
    }
    Ok(())
}

/// A child that has not reported yet; dropping it ends it.
struct Starting {
    child: Option<Child>,
    connection: Option<Connection>,
}

impl Starting {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Error::Lost)
    }

    fn take(mut self) -> Result<(Child, Connection)> {
        self.child
            .take()
            .zip(self.connection.take())
            .ok_or(Error::Lost)
    }

    fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Closing our end is what tells it to go.
        drop(self.connection.take());
        if let Some(mut child) = self.child.take() {
            child.wait().ok();
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    /// The number of the container's first process on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.program.pid()
    }

    /// The side of the container's terminal that a person sits at, if it has a terminal; it can be taken once.
    ///
    /// Read what the program shows, write what is typed, and pass on changes of size ([`sys::terminal::set_size`]). Reading
    /// fails with `EIO` after the program has ended.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    pub(crate) fn program(&self) -> &Handle {
        &self.program
    }

    /// The container's first process, to send signals to from other threads.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub fn process(&self) -> Result<Handle> {
        self.program
            .try_clone()
            .map_err(Error::start("duplicate a process handle"))
    }

    /// Waits for the end of the program; `output` gets what it writes, if it was started with [`Output::Callback`].
    ///
    /// # Errors
    ///
    /// The process that watches the container was killed (and with it the container), or what was made to mount on could
    /// not be removed again.
    pub fn wait(mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> {
        let mut ended = None;
        let mut buffer = vec![0; 64 * 1024];
        while ended.is_none() || self.stdout.is_some() || self.stderr.is_some() {
            let (talks, out, err) = self.poll(ended.is_none())?;
            if out {
                pump(&mut self.stdout, &mut buffer, &mut |bytes| {
                    output(Stream::Stdout, bytes)
                })?;
            }
            if err {
                pump(&mut self.stderr, &mut buffer, &mut |bytes| {
                    output(Stream::Stderr, bytes)
                })?;
            }
            if talks {
                match receive::<Report>(&self.connection)
                    .map_err(Error::start("hear from the container's watcher"))?
                {
                    Some((Report::Ended { ended: exit, stubs }, _)) => ended = Some((exit, stubs)),
                    Some(_) | None => return Err(Error::Lost),
                }
            }
        }
        self.done = true;
        self.child
            .wait()
            .map_err(Error::start("wait for the container's watcher"))?;
        let (exit, stubs) = ended.ok_or(Error::Lost)?;
        clean(&self.root, &stubs)?;
        Ok(exit)
    }

    /// Waits until something is to be read: from the watcher, from standard output, from standard error.
    fn poll(&self, listen: bool) -> Result<(bool, bool, bool)> {
        let sources = [
            listen.then(|| self.connection.as_fd()),
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<_> = sources
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        loop {
            match rustix::event::poll(&mut fds, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::start("wait for the container")(errno.into())),
            }
        }
        let mut polled = fds.iter();
        let [talks, out, err] = sources.map(|source| {
            source.is_some() && polled.next().is_some_and(|fd| !fd.revents().is_empty())
        });
        Ok((talks, out, err))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            self.program
                .signal(rustix::process::Signal::KILL.as_raw())
                .ok();
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Passes on what there is; at the end of the stream the file is closed.
fn pump(file: &mut Option<File>, buffer: &mut [u8], output: &mut dyn FnMut(&[u8])) -> Result<()> {
    let Some(open) = file else { return Ok(()) };
    match open.read(buffer) {
        Ok(0) => *file = None,
        Ok(length) => output(&buffer[..length]),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(Error::start("read the program's output")(error)),
    }
    Ok(())
}
