//! What is done to containers that exist: stop, kill, wait, remove, exec, logs.

use std::time::Duration;

use runtime::foreground::Attach;
use runtime::{detached, exec};
use store::Container;

use super::list::{record_of, state_of};
use super::record::Record;
use super::{ContainerError, LogsRequest, Sink, State, logs};
use crate::{Engine, Error};

/// What `exec` is asked for.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Name or id.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, over those of the container.
    pub env: Vec<String>,
    /// In place of the container's working directory.
    pub workdir: Option<String>,
    /// In place of the container's user.
    pub user: Option<String>,
    /// Pass our standard input on.
    pub interactive: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// Do not wait for its end.
    pub detach: bool,
    /// With all capabilities.
    pub privileged: bool,
}

/// A signal by name, with or without `SIG`, or by number.
pub(super) fn signal(text: &str) -> Result<i32, ContainerError> {
    dockerfile::signal::parse(text).map_err(|_| ContainerError::Signal(text.to_owned()))
}

impl Engine {
    /// Sends the container its stop signal, or `other`, and kills it if it has not ended after `seconds`. One that does not
    /// run is left as it is.
    ///
    /// # Errors
    ///
    /// There is no such container, or `other` is no signal.
    pub fn stop(&self, name: &str, other: Option<&str>, seconds: u32) -> Result<(), Error> {
        let (container, record) = self.found(name)?;
        let number = signal(other.unwrap_or(&record.stop_signal))?;
        let Some(process) = detached::process(container.dir()).map_err(ContainerError::from)?
        else {
            return Ok(());
        };
        let send = |number| process.signal(number).map_err(ContainerError::Signalling);
        send(number)?;
        let patience = Duration::from_secs(seconds.into());
        if !process
            .wait_end(Some(patience))
            .map_err(ContainerError::Signalling)?
        {
            send(9)?;
        }
        self.settled(&container)
    }

    /// Sends the container a signal.
    ///
    /// # Errors
    ///
    /// There is no such container, it does not run, or there is no such signal.
    pub fn kill(&self, name: &str, number: &str) -> Result<(), Error> {
        let number = signal(number)?;
        let (container, _) = self.found(name)?;
        let process = detached::process(container.dir())
            .map_err(ContainerError::from)?
            .ok_or_else(|| ContainerError::NotRunning(container.name.clone()))?;
        process.signal(number).map_err(ContainerError::Signalling)?;
        if number == 9 {
            process.wait_end(None).map_err(ContainerError::Signalling)?;
            self.settled(&container)?;
        }
        Ok(())
    }

    /// Waits until the container has ended; its exit code.
    ///
    /// # Errors
    ///
    /// There is no such container.
    pub fn wait(&self, name: &str) -> Result<u8, Error> {
        let (container, record) = self.found(name)?;
        self.settled(&container)?;
        match state_of(&container, &record)? {
            State::Exited { code, .. } => Ok(code),
            State::Created | State::Running { .. } => Ok(0),
        }
    }

    /// Kills a container if it runs; its id.
    ///
    /// For an ordinary user this is done outside the namespace in which files are removed: only there do they have power
    /// over processes in a namespace of another command.
    ///
    /// # Errors
    ///
    /// There is no such container, or it cannot be killed.
    pub fn end_by_force(&self, name: &str) -> Result<String, Error> {
        let (container, record) = self.found(name)?;
        if matches!(state_of(&container, &record)?, State::Running { .. }) {
            if let Some(process) =
                detached::process(container.dir()).map_err(ContainerError::from)?
            {
                process.signal(9).map_err(ContainerError::Signalling)?;
            }
            self.settled(&container)?;
        }
        Ok(container.id)
    }

    /// Removes a container that [`Engine::end_by_force`] ended. With `--rm` its supervisor is at it as well.
    ///
    /// # Errors
    ///
    /// Its files cannot be removed.
    pub fn remove_ended(&self, id: &str) -> Result<(), Error> {
        match self.store().remove_container(id) {
            Err(store::Error::NoSuchContainer { .. }) => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Removes a container that has ended, with all that its processes wrote.
    ///
    /// # Errors
    ///
    /// There is no such container, or it runs.
    pub fn remove_container(&self, name: &str) -> Result<(), Error> {
        let (container, record) = self.found(name)?;
        if matches!(state_of(&container, &record)?, State::Running { .. }) {
            return Err(ContainerError::Running(container.name).into());
        }
        self.store().remove_container(&container.id)?;
        Ok(())
    }

    /// Hands what the container printed to `sink`.
    ///
    /// # Errors
    ///
    /// There is no such container, its log cannot be read or passed on, or the times are none.
    pub fn logs(&self, request: &LogsRequest, sink: &mut Sink<'_>) -> Result<(), Error> {
        let times = logs::Times::of(request)?;
        let (container, record) = self.found(&request.container)?;
        let Some(file) = sys::fs::optional(sys::fs::open(&container.log()))? else {
            return Ok(());
        };
        let ended = || {
            Ok(!matches!(
                state_of(&container, &record)?,
                State::Running { .. }
            ))
        };
        logs::show(file, request, &times, &ended, sink)?;
        Ok(())
    }

    /// Runs one more process in a running container; its exit code, 0 if it was left running.
    ///
    /// # Errors
    ///
    /// There is no such container, it does not run, or the process cannot be started.
    pub fn exec(&self, request: &ExecRequest) -> Result<u8, Error> {
        self.exec_inside(request).map_err(Error::starting)
    }

    fn exec_inside(&self, request: &ExecRequest) -> Result<u8, Error> {
        let (container, _) = self.found(&request.container)?;
        let stopped = || ContainerError::NotRunning(container.name.clone());
        let process = detached::process(container.dir())
            .map_err(ContainerError::from)?
            .ok_or_else(stopped)?;
        let mut program = exec::Program {
            args: request.command.clone(),
            terminal: request.terminal.then_some(runtime::Size {
                rows: 24,
                columns: 80,
            }),
            privileged: request.privileged,
            ..exec::Program::default()
        };
        if let Some(wanted) = &request.user {
            let resolved = in_container(process.pid(), wanted)?;
            program
                .env
                .push(format!("HOME={}", resolved.home.display()));
            program.user = Some(resolved.user);
        }
        if request.terminal {
            program.env.push("TERM=xterm".to_owned());
        }
        super::merge_env(&mut program.env, request.env.iter().cloned());
        program.cwd = match &request.workdir {
            Some(path) if !path.starts_with('/') => {
                return Err(ContainerError::RelativeWorkdir(path.clone()).into());
            }
            Some(path) => Some(super::spec::clean(path.as_ref())),
            None => None,
        };
        if request.detach {
            exec::start(container.dir(), &program).map_err(ContainerError::from)?;
            return Ok(0);
        }
        let attach = Attach::standard(request.interactive).map_err(ContainerError::from)?;
        Ok(exec::run(container.dir(), &program, attach)
            .map_err(ContainerError::from)?
            .code())
    }

    fn found(&self, name: &str) -> Result<(Container, Record), Error> {
        let container = self.store().container(name)?;
        let record = record_of(&container)?;
        Ok((container, record))
    }

    /// Waits until whoever watches the container has noted its end.
    fn settled(&self, container: &Container) -> Result<(), Error> {
        detached::wait(container.dir()).map_err(ContainerError::from)?;
        Ok(())
    }
}

/// A user by the accounts that the container has now, read inside its root.
fn in_container(pid: i32, wanted: &str) -> Result<runtime::user::Resolved, ContainerError> {
    let root = sys::root::Root::open(format!("/proc/{pid}/root").as_ref())
        .map_err(ContainerError::Accounts)?;
    let read = |path: &str| -> Result<Option<Vec<u8>>, ContainerError> {
        let Ok(file) = root.open_file(path.as_ref()) else {
            return Ok(None);
        };
        let failed = |source| ContainerError::ImageFileRead {
            path: path.to_owned(),
            source,
        };
        runtime::user::accounts(file).map(Some).map_err(failed)
    };
    let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
    runtime::user::resolve(wanted, passwd.as_deref(), group.as_deref())
        .map_err(ContainerError::User)
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("TERM", 15), ("SIGKILL", 9), ("sigint", 2), ("1", 1)] {
            assert_eq!(super::signal(text).unwrap(), number);
        }
        for text in ["0", "65", "-1", "NOPE", ""] {
            assert!(super::signal(text).is_err(), "{text}");
        }
    }
}
