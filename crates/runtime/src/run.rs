//! The client's side of a container: starting it, and waiting for its end in the foreground.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::process::{Child, Command, Stdio as ProcessStdio};

use serde::{Deserialize, Serialize};
use sys::process::Handle;
use sys::root::Root;
use sys::root_plan::{Lower, RootPlan, Upper};
use sys::socket::Connection;

use crate::cgroup::Groups;
use crate::child;
use crate::error::{Error, Result};
use crate::message::{Exit, Report, Start, receive, send};
use crate::pump::{self, Input, Sink};
use crate::spec::{Rlimit, Spec};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The ends of input and output: the program's and ours.
pub(crate) struct Ends {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    from_stdout: Option<File>,
    from_stderr: Option<File>,
}

impl Ends {
    pub(crate) fn open(stdio: Stdio) -> Result<Self> {
        let (stdout, stderr, from_stdout, from_stderr) = match stdio.output {
            Output::Files { stdout, stderr } => (stdout, stderr, None, None),
            Output::Inherit => {
                let own = |fd: BorrowedFd<'_>| {
                    fd.try_clone_to_owned()
                        .map_err(Error::start("use our own output"))
                };
                (
                    own(io::stdout().as_fd())?,
                    own(io::stderr().as_fd())?,
                    None,
                    None,
                )
            }
            Output::Callback => {
                let (out, to_out) = io::pipe().map_err(Error::start("make a pipe"))?;
                let (err, to_err) = io::pipe().map_err(Error::start("make a pipe"))?;
                let file = |pipe: io::PipeReader| Some(File::from(OwnedFd::from(pipe)));
                (to_out.into(), to_err.into(), file(out), file(err))
            }
        };
        Ok(Self {
            stdin: stdio.stdin,
            stdout,
            stderr,
            from_stdout,
            from_stderr,
        })
    }

    /// Standard input, output and error, to be sent along.
    pub(crate) fn theirs(&mut self) -> Result<Vec<BorrowedFd<'_>>> {
        if self.stdin.is_none() {
            self.stdin = Some(sys::fs::open(Path::new("/dev/null"))?.into());
        }
        let stdin = self.stdin.as_ref().map(AsFd::as_fd);
        Ok(stdin
            .into_iter()
            .chain([self.stdout.as_fd(), self.stderr.as_fd()])
            .collect())
    }

    /// Lets go of the program's ends and gives ours.
    pub(crate) fn ours(self) -> (Option<File>, Option<File>) {
        (self.from_stdout, self.from_stderr)
    }
}

/// A container whose program has begun.
///
/// Dropping it kills the program, and so does the end of this process, however it comes. (A program that joined a running
/// container goes on in both cases.)
#[derive(Debug)]
#[must_use = "dropping it kills the container"]
pub struct Running {
    /// The watcher, if this process started it.
    child: Option<Child>,
    connection: Connection,
    program: Handle,
    stdout: Option<File>,
    stderr: Option<File>,
    terminal: Option<OwnedFd>,
    /// What is to be cleaned afterwards.
    root: Option<RootPlan>,
    /// What was made in it only to mount on.
    stubs: Stubs,
    /// Removed after the last process has gone, since fields are dropped after [`Drop`].
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

/// Starts a container that nobody else will reach; when it returns, the program has begun.
///
/// # Errors
///
/// The container could not be made or the program not be started.
pub fn start(spec: &Spec, stdio: Stdio) -> Result<Running> {
    check(spec)?;
    let (command, program) = sys::process::command_of_self(child::NAME.as_ref())?;
    start_by(command, Some(program), None, spec, stdio)
}

/// As [`start`], with a folder in which the container has a door: others send it signals ([`crate::door::signal`]) and start
/// programs in it ([`crate::join()`]) while it runs.
///
/// # Errors
///
/// As [`start`].
pub fn start_in(folder: &Path, spec: &Spec, stdio: Stdio) -> Result<Running> {
    check(spec)?;
    let (command, program) = sys::process::command_of_self(child::NAME.as_ref())?;
    start_by(command, Some(program), Some(folder), spec, stdio)
}

/// As [`start_in`], in a process that was itself started by [`sys::process::command_of_self`].
pub(crate) fn start_protected(folder: &Path, spec: &Spec, stdio: Stdio) -> Result<Running> {
    check(spec)?;
    let command = sys::process::command_of_protected_self(child::NAME.as_ref());
    start_by(command, None, Some(folder), spec, stdio)
}

fn start_by(
    command: Command,
    program: Option<OwnedFd>,
    folder: Option<&Path>,
    spec: &Spec,
    stdio: Stdio,
) -> Result<Running> {
    let groups = crate::cgroup::make(&spec.id, &spec.limits)?;
    let folder = folder.map(sys::fs::open).transpose()?;
    let ends = Ends::open(stdio)?;
    let starting = spawn(command, &ends)?;
    drop(program);
    let stdin = ends.stdin.as_ref().map(AsFd::as_fd);
    let mut files: Vec<_> = stdin.into_iter().collect();
    files.extend(groups.join.iter().map(AsFd::as_fd));
    files.extend(folder.as_ref().map(AsFd::as_fd));
    let order = Start {
        spec: Box::new(spec.clone()),
        stdin: stdin.is_some(),
        groups: groups.join.len(),
        door: folder.is_some(),
    };
    let sent = send(starting.connection()?, &order, &files);
    // The program's ends must be the program's alone, or they never close.
    let (stdout, stderr) = ends.ours();
    // If the child died, its report says more than a broken pipe.
    let report = receive::<Report>(starting.connection()?)
        .map_err(Error::start("hear from the container's maker"))?;
    match report {
        Some((Report::Started { pid, stubs }, files)) => {
            let (child, connection) = starting.take()?;
            let mut running = Running::joined(pid, files, connection, stdout, stderr)?;
            running.child = Some(child);
            running.root = Some(spec.root.clone());
            running.stubs = stubs;
            running._groups = groups;
            running.done = false;
            Ok(running)
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

/// Starts the process that makes a container, with our end of the connection to it.
fn spawn(mut command: Command, ends: &Ends) -> Result<Starting> {
    let (ours, theirs) = Connection::pair().map_err(Error::start("make a socket"))?;
    let copy = |fd: &OwnedFd| {
        fd.try_clone()
            .map(ProcessStdio::from)
            .map_err(Error::start("duplicate a file"))
    };
    command
        .env_clear()
        .stdin(ProcessStdio::from(OwnedFd::from(theirs)));
    command
        .stdout(copy(&ends.stdout)?)
        .stderr(copy(&ends.stderr)?);
    let child = command
        .spawn()
        .map_err(Error::start("start the process that makes the container"))?;
    Ok(Starting {
        child: Some(child),
        connection: Some(ours),
    })
}

/// Leaves the place of changes as if nothing had ever been mounted on it.
pub(crate) fn clean(root: &RootPlan, stubs: &Stubs) -> Result<()> {
    let tree = match (&root.upper, &root.lowers[..]) {
        (Some(upper), _) => &upper.dir,
        (None, [Lower::Dir(tree)]) => tree,
        (None, _) => return Ok(()),
    };
    stubs.remove(Root::open(tree)?)?;
    Ok(root.upper.as_ref().map_or(Ok(()), Upper::settle)?)
}

fn invalid<T>(message: String) -> Result<T> {
    Err(Error::Invalid(message))
}

/// What can be known to be wrong with a program before anything is started.
pub(crate) fn check_process(
    args: &[String],
    env: &[String],
    cwd: &Path,
    rlimits: &[Rlimit],
) -> Result<()> {
    if args.first().is_none_or(String::is_empty) {
        return invalid("there is no program to run".to_owned());
    }
    if let Some(entry) = env
        .iter()
        .find(|entry| !entry.contains('=') || entry.starts_with('='))
    {
        return invalid(format!(
            "the environment entry `{entry}` is not `NAME=value`"
        ));
    }
    if let Some(text) = args.iter().chain(env).find(|text| text.contains('\0')) {
        return invalid(format!("`{}` has a zero byte in it", text.escape_debug()));
    }
    if !cwd.is_absolute() {
        return invalid(format!(
            "the working directory `{}` is not absolute",
            cwd.display()
        ));
    }
    if let Some(limit) = rlimits
        .iter()
        .find(|limit| !crate::restrict::is_rlimit(&limit.name))
    {
        return invalid(format!("`{}` is no limit of a process", limit.name));
    }
    Ok(())
}

/// Longest host name that the kernel takes.
const MAX_HOSTNAME: usize = 64;

/// As [`check_process`], for a whole container.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    check_process(&spec.args, &spec.env, &spec.cwd, &spec.rlimits)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if spec.id.is_empty() || spec.id.len() > 128 || !spec.id.bytes().all(plain) {
        return invalid(format!(
            "`{}` is no name for a container",
            spec.id.escape_debug()
        ));
    }
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if spec.hostname.len() > MAX_HOSTNAME || !spec.hostname.chars().all(plain) {
        return invalid(format!(
            "`{}` is no host name: up to {MAX_HOSTNAME} characters without blanks",
            spec.hostname.escape_debug()
        ));
    }
    for device in &spec.devices {
        let name = device.target.strip_prefix("/dev").unwrap_or(Path::new(""));
        if name.components().count() == 0
            || !name
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        {
            return invalid(format!(
                "a device cannot be `{}` in the container: it must lie in `/dev`",
                device.target.display()
            ));
        }
    }
    for mount in &spec.mounts {
        if let crate::spec::MountSource::Bind { path, .. } = &mount.source
            && path.to_str().is_none()
        {
            return invalid(format!(
                "cannot mount `{}`: its path is not UTF-8",
                path.display()
            ));
        }
        let target = &mount.target;
        let plain = target
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !target.is_absolute() || target.parent().is_none() || !plain {
            return invalid(format!("nothing can be mounted on `{}`", target.display()));
        }
        let own = ["/proc", "/dev/pts", "/dev/mqueue"]
            .iter()
            .any(|taken| target.starts_with(taken));
        if own || target == Path::new("/dev") || target == Path::new("/sys") {
            return invalid(format!(
                "nothing can be mounted on `{}`: it is the container's own",
                target.display()
            ));
        }
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
    /// A program that was started by somebody else's watcher.
    pub(crate) fn joined(
        pid: i32,
        files: Vec<OwnedFd>,
        connection: Connection,
        stdout: Option<File>,
        stderr: Option<File>,
    ) -> Result<Self> {
        let mut files = files.into_iter();
        let pid = rustix::process::Pid::from_raw(pid).ok_or(Error::Lost)?;
        let program = Handle::from_fd(files.next().ok_or(Error::Lost)?, pid);
        let (terminal, _groups) = (files.next(), Groups::default());
        Ok(Self {
            child: None,
            connection,
            program,
            stdout,
            stderr,
            terminal,
            root: None,
            stubs: Stubs::default(),
            _groups,
            done: true,
        })
    }

    /// The number of the program's process on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.program.pid()
    }

    pub(crate) fn program(&self) -> &Handle {
        &self.program
    }

    pub(crate) fn stubs(&self) -> &Stubs {
        &self.stubs
    }

    /// The side of the program's terminal that a person sits at, if it has a terminal; it can be taken once.
    ///
    /// Read what the program shows, write what is typed, and pass on changes of size ([`sys::terminal::set_size`]). Reading
    /// fails with `EIO` after the program has ended.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// The program's process, to send signals to from other threads.
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
        let terminal = self.take_terminal();
        self.follow(terminal, None, &mut |stream, bytes| {
            output(stream, bytes);
            Ok(())
        })
    }

    /// As [`Running::wait`], with what its terminal shows as standard output, and with its input.
    pub(crate) fn follow(
        &mut self,
        terminal: Option<OwnedFd>,
        input: Option<Input>,
        sink: &mut Sink<'_>,
    ) -> Result<Exit> {
        let outputs = [
            (Stream::Stdout, self.stdout.take()),
            (Stream::Stderr, self.stderr.take()),
            (Stream::Stdout, terminal.map(File::from)),
        ];
        let outputs = outputs
            .into_iter()
            .filter_map(|(stream, file)| Some((stream, file?)))
            .collect();
        let (exit, stubs) = pump::until_ended(&self.connection, outputs, input, sink)?;
        self.done = true;
        if let Some(child) = &mut self.child {
            child
                .wait()
                .map_err(Error::start("wait for the container's watcher"))?;
        }
        if let Some(root) = &self.root {
            clean(root, &stubs)?;
        }
        Ok(exit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            self.program.signal(child::SIGKILL).ok();
            // Closing the connection is what makes the watcher go when it has cleaned up.
            rustix::net::shutdown(&self.connection, rustix::net::Shutdown::Both).ok();
            if let Some(child) = &mut self.child {
                child.wait().ok();
            }
        }
    }
}
