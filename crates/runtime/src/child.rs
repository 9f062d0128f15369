//! The process that makes a container: our own program, started again with one thread and nothing else going on.
//!
//! It hears the [`Spec`] over its standard input (a socket), makes the tree ([`crate::stage`]), lets `libcontainer` make the
//! container, and then only watches it ([`crate::watch`]).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec as Oci;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use sys::process::Handle;
use sys::socket::Connection;

use crate::door::Door;
use crate::error::{Failure, chain};
use crate::message::{Report, Start, receive, send};
use crate::restrict::{Final, First, Parts};
use crate::spec::Spec;
use crate::stage;
use crate::stub::Stubs;
use crate::watch::Watcher;

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
    match make(&parent, &mut stubs) {
        Ok(None) => 0,
        Ok(Some(watcher)) => watcher.watch(stubs),
        Err(failure) => {
            send(&parent, &Report::Failed(failure, stubs), &[]).ok();
            125
        }
    }
}

pub(crate) fn failed(doing: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Setup(format!("cannot {doing}: {error}"))
}

/// Makes the container and starts its program; `None` if the parent has gone without an order.
fn make(parent: &Connection, stubs: &mut Stubs) -> Result<Option<Watcher>, Failure> {
    rustix::process::setsid().ok();
    rustix::thread::set_name(c"barque-watcher").ok();
    let Some((order, files)) = receive::<Start>(parent).map_err(failed("hear the parent"))? else {
        return Ok(None);
    };
    let mut files = files.into_iter();
    let stdin = if order.stdin { files.next() } else { None };
    let stdin = stdin.map_or_else(null, Ok)?;
    rustix::stdio::dup2_stdin(&stdin)
        .map_err(|errno| failed("set up standard input")(errno.into()))?;
    drop(stdin);
    let groups = files.by_ref().take(order.groups).collect();
    let door = match files.next() {
        Some(folder) if order.door => Some(Door::open(folder)?),
        _ => None,
    };
    let (program, terminal) = start(&order.spec, groups, stubs)?;
    // From here on only the program holds its input and output.
    let null = null()?;
    rustix::stdio::dup2_stdin(&null).ok();
    rustix::stdio::dup2_stdout(&null).ok();
    rustix::stdio::dup2_stderr(&null).ok();
    let files: Vec<_> = [Some(program.as_fd()), terminal.as_ref().map(AsFd::as_fd)]
        .into_iter()
        .flatten()
        .collect();
    let report = Report::Started {
        pid: program.pid(),
        stubs: stubs.clone(),
    };
    let told = send(parent, &report, &files);
    let parent = parent
        .try_clone()
        .map_err(failed("keep the parent's connection"))?;
    if told.is_err() {
        program.signal(SIGKILL).ok();
    }
    Ok(Some(Watcher::new(program, parent, door)))
}

pub(crate) const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

pub(crate) fn null() -> Result<OwnedFd, Failure> {
    Ok(sys::fs::open_or_create(Path::new("/dev/null"))?.into())
}

/// Makes the container and starts the program; gives a handle on it, and the terminal if it has one.
fn start(
    spec: &Spec,
    groups: Vec<OwnedFd>,
    stubs: &mut Stubs,
) -> Result<(Handle, Option<OwnedFd>), Failure> {
    // With a network of its own an ordinary user may have a fresh one, but only where the host's can be seen whole, which is
    // not so in the stage.
    let needs_host_sys = !stage::can_mount_sysfs();
    let show_groups = crate::cgroup::is_unified();
    let stage = stage::enter(spec, stubs, needs_host_sys)?;
    let oci = crate::oci::convert(spec, &stage.places).map_err(|error| Failure::setup(&error))?;
    write_config(&oci, &stage.bundle.join("config.json"))?;
    let (told, tell) = pipe()?;
    let (controller, user) = stage
        .terminal
        .map(|pair| (pair.controller, pair.user))
        .unzip();
    let first = First::new(spec, stage.devices, stage.host_sys, show_groups);
    let finish = Final::new(Parts {
        groups,
        terminal: user,
        ..Parts::of_first(spec, first, tell)
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
    let handle = Handle::open(pid.as_raw()).map_err(failed("watch the program"))?;
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

pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| failed("make a pipe")(errno.into()))
}

/// Waits until the program has begun (`None`) or has failed to.
pub(crate) fn hear(told: OwnedFd) -> Option<Failure> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(told), &mut text).ok();
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
