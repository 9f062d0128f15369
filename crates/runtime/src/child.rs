//! The process that makes a container: our own program, started again with one thread and nothing else going on.
//!
//! It hears the [`Spec`] over its standard input (a socket), makes the tree ([`crate::stage`]), lets `libcontainer` make the
//! container, and then only watches: when the program ends it reports how; when the parent is gone it kills the program.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec as Oci;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use rustix::event::{PollFd, PollFlags};
use sys::process::Handle;
use sys::socket::Connection;

use crate::error::{Failure, chain};
use crate::message::{Exit, Order, Report, receive, send};
use crate::restrict::{Final, First, Parts};
use crate::spec::Spec;
use crate::stage;
use crate::stub::Stubs;

/// The name under which our program is started to be this process.
pub(crate) const NAME: &str = "barque-container";

/// Speaks with the parent until the container has ended.
pub(crate) fn main() -> u8 {
    sys::process::default_signals();
    // What we make in the container has the modes that we say.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Away from number 0, which becomes the program's standard input.
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return 125;
    };
    let parent = Connection::from_fd(socket);
    let mut stubs = Stubs::default();
    match conversation(&parent, &mut stubs) {
        Ok(()) => 0,
        Err(failure) => {
            send(&parent, &Report::Failed(failure, stubs), &[]).ok();
            125
        }
    }
}

fn conversation(parent: &Connection, stubs: &mut Stubs) -> Result<(), Failure> {
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |error: std::io::Error| Failure::Setup(format!("cannot {doing}: {error}"))
    };
    sys::process::die_with_parent().map_err(failed("be tied to the parent"))?;
    rustix::process::setsid().ok();
    let Some((Order::Start { spec, stdin }, mut files)) =
        receive(parent).map_err(failed("hear the parent"))?
    else {
        return Ok(());
    };
    let stdin = if stdin && !files.is_empty() {
        files.remove(0)
    } else {
        null()?
    };
    rustix::stdio::dup2_stdin(&stdin)
        .map_err(|errno| Failure::Setup(format!("cannot set up standard input: {errno}")))?;
    drop(stdin);
    let (running, terminal) = start(&spec, files, stubs)?;
    // The parent's end is seen on the socket from now on, and the program killed, even one that gave up the rights by which
    // it is tied to our own end.
    rustix::process::set_parent_process_death_signal(None).ok();
    // From here on only the program holds its input and output.
    let null = null()?;
    rustix::stdio::dup2_stdin(&null).ok();
    rustix::stdio::dup2_stdout(&null).ok();
    rustix::stdio::dup2_stderr(&null).ok();
    let report = Report::Started { pid: running.pid() };
    let files: Vec<_> = [Some(running.as_fd()), terminal.as_ref().map(AsFd::as_fd)]
        .into_iter()
        .flatten()
        .collect();
    if send(parent, &report, &files).is_err() {
        running.signal(SIGKILL).ok();
    }
    drop(terminal);
    let ended = watch(parent, &running).map_err(failed("wait for the program"))?;
    let report = Report::Ended {
        ended,
        stubs: std::mem::take(stubs),
    };
    send(parent, &report, &[]).map_err(failed("tell the parent"))
}

const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

fn null() -> Result<OwnedFd, Failure> {
    Ok(sys::fs::open_or_create(Path::new("/dev/null"))?.into())
}

/// Waits for the end of the program; kills it when the parent is gone.
fn watch(parent: &Connection, running: &Handle) -> std::io::Result<Exit> {
    loop {
        let mut fds = [
            PollFd::new(running, PollFlags::IN),
            PollFd::new(parent, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // The parent says nothing more; readable means that it is gone.
        if !fds[1].revents().is_empty() {
            running.signal(SIGKILL).ok();
            return running
                .reap(true)
                .map(|ended| ended.map_or(Exit::Signal(9), Exit::from));
        }
        if let Some(ended) = running.reap(false)? {
            return Ok(ended.into());
        }
    }
}

/// Makes the container and starts the program; gives a handle on it.
fn start(
    spec: &Spec,
    groups: Vec<OwnedFd>,
    stubs: &mut Stubs,
) -> Result<(Handle, Option<OwnedFd>), Failure> {
    let needs_host_sys = !stage::can_mount_sysfs();
    let stage = stage::enter(spec, stubs, needs_host_sys)?;
    let oci = crate::oci::convert(spec, &stage.places).map_err(|error| Failure::setup(&error))?;
    write_config(&oci, &stage.bundle.join("config.json"))?;
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Failure::Setup(format!("cannot make a pipe: {errno}")))?;
    let (controller, user) = stage
        .terminal
        .map(|pair| (pair.controller, pair.user))
        .unzip();
    let first = First::new(spec, stage.devices);
    let finish = Final::new(Parts {
        groups,
        terminal: user,
        first: Some(first),
        ..Parts::new(spec, tell)
    });
    let of_libcontainer = |error: libcontainer::error::LibcontainerError| Failure::setup(&error);
    let mut container = ContainerBuilder::new("container".to_owned(), SyscallType::default())
        .with_root_path(&stage.state)
        .map_err(of_libcontainer)?
        .with_executor(Last(finish.clone()))
        .as_init(&stage.bundle)
        .with_systemd(false)
        .with_detach(false)
        .build()
        .map_err(of_libcontainer)?;
    let pid = container
        .pid()
        .ok_or_else(|| Failure::Setup("the container has no process".to_owned()))?;
    let handle = Handle::open(pid.as_raw())
        .map_err(|error| Failure::Setup(format!("cannot watch the program: {error}")))?;
    let started = container.start().map_err(of_libcontainer);
    // Our copy of the writing end must go, or the pipe never closes.
    drop(container);
    drop(finish);
    started?;
    match hear(told) {
        None => Ok((handle, controller)),
        Some(failure) => {
            handle.reap(true).ok();
            Err(failure)
        }
    }
}

/// Waits until the program has begun (`None`) or has failed to.
fn hear(told: OwnedFd) -> Option<Failure> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(told), &mut text).ok();
    if text.is_empty() {
        return None;
    }
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| Failure::Setup(chain(&error))))
}

fn write_config(oci: &Oci, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_vec(oci).map_err(|error| Failure::setup(&error))?;
    Ok(sys::fs::write(path, &text)?)
}

/// Our part in `libcontainer`'s last steps.
#[derive(Clone)]
struct Last(Final);

impl Executor for Last {
    fn validate(&self, _: &Oci) -> Result<(), ExecutorValidationError> {
        // Before it waits for the start: if its watcher dies now, it must not wait for ever.
        sys::process::die_with_parent()
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }

    fn setup_envs(
        &self,
        _: std::collections::HashMap<String, String>,
    ) -> Result<(), ExecutorSetEnvsError> {
        // The environment is given to the program as it is, in its order.
        Ok(())
    }

    fn exec(&self, _: &Oci) -> Result<(), ExecutorError> {
        self.0.go();
        sys::process::leave(125)
    }
}
