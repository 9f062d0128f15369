//! Programs in a container that runs, as a person asks for them: what is not said is as the container's first program has it.
//!
//! How a program gets into a container is [`crate::join()`]'s matter.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sys::terminal::Size;

use crate::detached;
use crate::error::{Error, Result};
use crate::foreground::{Attach, Joint};
use crate::join::{self, Tie};
use crate::message::Exit;
use crate::run::{Output, Stdio};
use crate::spec::{Joining, User};

/// A program to be started in a running container.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The program and its arguments. A program without `/` is looked for in the `PATH` of its environment.
    pub args: Vec<String>,
    /// `NAME=value`, beside the environment of the container's first program; the same name replaces.
    pub env: Vec<String>,
    /// Where it starts, if not where the first program did; must exist in the container.
    pub cwd: Option<PathBuf>,
    /// Who it is, if not who the first program is.
    pub user: Option<User>,
    /// Give it a terminal of its own, of this size or of our window's.
    pub terminal: Option<Size>,
    /// All capabilities and system calls.
    pub privileged: bool,
}

impl Program {
    /// Everything said, for the container of a folder.
    fn joining(&self, dir: &Path) -> Result<Joining> {
        if !matches!(
            detached::status(dir)?,
            Some(detached::Status::Running { .. })
        ) {
            return Err(Error::NotRunning);
        }
        let spec = detached::spec(dir)?;
        let mut joining = Joining::like(&spec, self.args.clone());
        for entry in &self.env {
            let name = |entry: &str| entry.split('=').next().map(str::to_owned);
            let same = |old: &&mut String| name(old) == name(entry);
            match joining.env.iter_mut().find(same) {
                Some(old) => old.clone_from(entry),
                None => joining.env.push(entry.clone()),
            }
        }
        if let Some(cwd) = &self.cwd {
            joining.cwd.clone_from(cwd);
        }
        if let Some(user) = &self.user {
            joining.user.clone_from(user);
        }
        joining.terminal = self.terminal;
        if self.privileged {
            joining.make_privileged();
        }
        Ok(joining)
    }
}

/// Runs a program in the container of a folder to its end, joined to us. It does not outlive us.
///
/// # Errors
///
/// [`Error::NotRunning`], or the program could not be started.
pub fn run(dir: &Path, program: &Program, attach: Attach) -> Result<Exit> {
    let mut joining = program.joining(dir)?;
    let (joint, stdin) = Joint::new(attach, program.terminal.is_some())?;
    joining.terminal = program.terminal.map(|size| joint.size().unwrap_or(size));
    let output = Output::Callback;
    let mut running = join::join_tied(dir, &joining, Stdio { stdin, output }, Tie::ToUs)?;
    joint.follow(&mut running, &mut |_, _| {})?.complete()
}

/// Starts a program in the container of a folder and leaves it there; gives its number on the host.
///
/// It reads nothing, what it writes is dropped, and it ends with the container at the latest.
///
/// # Errors
///
/// [`Error::NotRunning`], or the program could not be started.
pub fn start(dir: &Path, program: &Program) -> Result<i32> {
    let joining = program.joining(dir)?;
    let null =
        || -> Result<OwnedFd> { Ok(sys::fs::open_for_writing(Path::new("/dev/null"))?.into()) };
    let output = Output::Files {
        stdout: null()?,
        stderr: null()?,
    };
    let stdio = Stdio {
        stdin: None,
        output,
    };
    Ok(join::join(dir, &joining, stdio)?.pid())
}
