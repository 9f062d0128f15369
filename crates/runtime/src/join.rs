//! Another program in a running container (`exec`).
//!
//! The container's watcher makes a copy of itself, the companion. It enters the namespaces of the container's first process, all at
//! once and by a handle on that very process, and starts the program there as its child, with the same last steps as the first one
//! had. It then speaks with the client directly, and ends with the program. It cannot be looked into from the container,
//! and nothing that it has open reaches the program.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use sys::namespace::Kinds;
use sys::process::Handle;
use sys::root::Root;
use sys::socket::Connection;

use crate::child::{SIGKILL, failed, hear, pipe};
use crate::error::{Error, Failure, Result};
use crate::message::{Exit, Report, Request, send};
use crate::restrict::{Final, Parts};
use crate::run::{Running, Stdio};
use crate::spec::Joining;
use crate::stub::Stubs;

/// Whose end is a joined program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tie {
    /// Nobody's but the container's.
    ToContainer,
    /// That of who asked for it, too.
    ToUs,
}

/// Starts another program in the container of a directory; when it returns, the program has begun.
///
/// Its end is not tied to ours: it goes on if this process is killed, until the container ends.
///
/// # Errors
///
/// [`Error::NotRunning`], or the program could not be started.
pub fn join(directory: &Path, spec: &Joining, stdio: Stdio) -> Result<Running> {
    join_tied(directory, spec, stdio, Tie::ToContainer)
}

/// As [`join`]; a program that is tied to us is killed when we go.
pub(crate) fn join_tied(
    directory: &Path,
    spec: &Joining,
    stdio: Stdio,
    tie: Tie,
) -> Result<Running> {
    crate::run::check_process(&spec.args, &spec.env, &spec.cwd, &spec.rlimits)?;
    let watcher = crate::door::knock(directory)?;
    let program = crate::detached::process(directory)?.ok_or(Error::NotRunning)?;
    let groups = match crate::cgroup::of_process(program.pid()) {
        Ok(groups) => groups,
        Err(_) if crate::detached::process(directory)?.is_none() => return Err(Error::NotRunning),
        Err(error) => return Err(error),
    };
    let mut ends = crate::run::Ends::open(stdio)?;
    let mut files = ends.theirs()?;
    files.extend(groups.iter().map(AsFd::as_fd));
    let spec = Box::new(spec.clone());
    let answer = crate::door::ask::<Report>(&watcher, &Request::Join { spec, tie }, &files);
    drop(files);
    let (stdout, stderr) = ends.ours();
    match answer? {
        Some((Report::Started { pid, .. }, files)) => {
            Running::joined(pid, files, watcher, stdout, stderr)
        }
        Some((Report::Failed(failure, _), _)) => Err(failure.into()),
        Some((Report::Ended { .. }, _)) | None => Err(Error::NotRunning),
    }
}

/// The companion's whole life; gives its exit code. What comes beside the files is closed once the program has begun, or failed to.
pub(crate) fn companion(
    client: &Connection,
    (spec, tie): (&Joining, Tie),
    first: &Handle,
    (files, begins): (Vec<OwnedFd>, OwnedFd),
) -> u8 {
    sys::process::die_with_parent().ok();
    sys::process::hide().ok();
    let started = start(client, spec, first, files);
    drop(begins);
    match started {
        Ok(program) => {
            if tie == Tie::ToUs {
                stay_tied(client, &program);
            }
            let ended = program.reap(true).ok().flatten();
            let report = Report::Ended {
                ended: ended.map_or(Exit::Signal(9), Exit::from),
                stubs: Stubs::default(),
            };
            send(client, &report, &[]).ok();
            0
        }
        Err(failure) => {
            crate::door::refuse(client, failure);
            125
        }
    }
}

/// Waits until the program has ended or the client has gone, and kills it then.
fn stay_tied(client: &Connection, program: &Handle) {
    loop {
        let mut fds = [
            PollFd::new(program, PollFlags::IN),
            PollFd::new(client, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            // The client says nothing more; that something is to be read means that it is gone.
            Ok(_) if fds[0].revents().is_empty() => {
                program.signal(SIGKILL).ok();
                return;
            }
            _ => return,
        }
    }
}

/// The namespaces of a process that are not ours. Entering our own again would need a privilege that a user may not have.
fn foreign(process: &Handle) -> sys::fs::Result<Kinds> {
    let number = |pid: i32| rustix::process::Pid::from_raw(pid);
    let (Some(ours), Some(theirs)) = (
        number(std::process::id().cast_signed()),
        number(process.pid()),
    ) else {
        return Ok(Kinds::empty());
    };
    let mut kinds = Kinds::empty();
    for (name, kind) in [
        ("mnt", Kinds::NEWNS),
        ("pid", Kinds::NEWPID),
        ("ipc", Kinds::NEWIPC),
        ("uts", Kinds::NEWUTS),
        ("net", Kinds::NEWNET),
        ("cgroup", Kinds::NEWCGROUP),
    ] {
        kinds.set(kind, !sys::namespace::same(name, ours, theirs)?);
    }
    Ok(kinds)
}

fn start(
    client: &Connection,
    spec: &Joining,
    first: &Handle,
    files: Vec<OwnedFd>,
) -> std::result::Result<Handle, Failure> {
    client
        .set_patience(std::time::Duration::ZERO)
        .map_err(failed("speak to the client"))?;
    let mut files = files.into_iter();
    let (Some(stdin), Some(stdout), Some(stderr)) = (files.next(), files.next(), files.next())
    else {
        return Err(Failure::Invalid(
            "standard input, output and error are missing".to_owned(),
        ));
    };
    let kinds = foreign(first)?;
    let groups: Vec<OwnedFd> = files.collect();
    // Before its control group namespace is entered, in which the files have no meaning.
    crate::cgroup::join(&groups).map_err(failed("join the control groups"))?;
    sys::namespace::enter(first, kinds).map_err(failed("enter the container"))?;
    let (controller, user) = match spec.terminal {
        Some(size) => {
            let pair = sys::terminal::open_in(&Root::open(Path::new("/dev/pts"))?)?;
            sys::terminal::set_size(&pair.controller, size)
                .map_err(failed("set the size of the terminal"))?;
            (Some(pair.controller), Some(pair.user))
        }
        None => (None, None),
    };
    let (told, tell) = pipe()?;
    let finish = Final::new(Parts {
        terminal: user,
        ..Parts::of_joining(spec, tell)
    });
    let program = sys::process::fork_unchecked(|| {
        rustix::process::setsid().ok();
        let set = || {
            rustix::stdio::dup2_stdin(&stdin)?;
            rustix::stdio::dup2_stdout(&stdout)?;
            rustix::stdio::dup2_stderr(&stderr)
        };
        if set().is_ok() {
            finish.go();
        }
        125
    })
    .map_err(failed("start a process"))?;
    drop((finish, stdin, stdout, stderr));
    if let Some(failure) = hear(told) {
        program.reap(true).ok();
        return Err(failure);
    }
    let files: Vec<_> = [Some(program.as_fd()), controller.as_ref().map(AsFd::as_fd)]
        .into_iter()
        .flatten()
        .collect();
    let report = Report::Started {
        pid: program.pid(),
        stubs: Stubs::default(),
    };
    send(client, &report, &files).ok();
    Ok(program)
}
