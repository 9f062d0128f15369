//! What can go wrong with a container, and the exit code that tells it.

use serde::{Deserialize, Serialize};

/// Why a container did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification contradicts itself or asks for something that does not exist.
    #[error("{0}")]
    Invalid(String),
    /// The process that makes the container could not be started or spoken to.
    #[error("cannot {doing}")]
    Start {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file operation on our own files failed.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// Making the container failed, inside the process that makes it.
    #[error("cannot start the container: {0}")]
    Setup(String),
    /// A limit was asked for that this host cannot enforce.
    #[error("cannot limit the container's {limit}: {reason}")]
    Limit {
        /// Which: `memory`, `cpus`, `pids`, or a `--ulimit` name.
        limit: String,
        /// What is missing.
        reason: String,
    },
    /// The program does not exist in the container.
    #[error("`{program}` not found in the container{hint}")]
    NotFound {
        /// What was asked for.
        program: String,
        /// Where it was looked for, if in several places.
        hint: String,
    },
    /// The program exists and cannot be executed.
    #[error("`{program}` cannot be executed in the container: {reason}")]
    NotExecutable {
        /// What was asked for.
        program: String,
        /// Why not.
        reason: String,
    },
    /// The program is for another platform, and the kernel knows no emulator for it.
    #[error(
        "`{program}` is a program for `{platform}`, which this machine (`{}`) does not run",
        ::oci::Platform::host()
    )]
    Foreign {
        /// What was asked for.
        program: String,
        /// What it is for.
        platform: String,
    },
    /// A process of the container cannot be held still.
    #[error("cannot pause the container: {0}")]
    Hold(String),
    /// The process that watched the container is gone; the container was killed.
    #[error("the process that watches the container was killed")]
    Lost,
    /// No such container process is running (any more).
    #[error("the container is not running")]
    NotRunning,
}

/// The result of container operations.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The exit code by which scripts know this error from the program's own: 127 not found, 126 not executable, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } | Self::Foreign { .. } => 126,
            _ => 125,
        }
    }

    pub(crate) fn start(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Start { doing, source }
    }
}

/// An error on its way between processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    Setup(String),
    Invalid(String),
    Limit { limit: String, reason: String },
    NotFound { program: String, hint: String },
    NotExecutable { program: String, reason: String },
    Foreign { program: String, platform: String },
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Setup(message) => Self::Setup(message),
            Failure::Invalid(message) => Self::Invalid(message),
            Failure::Limit { limit, reason } => Self::Limit { limit, reason },
            Failure::NotFound { program, hint } => Self::NotFound { program, hint },
            Failure::NotExecutable { program, reason } => Self::NotExecutable { program, reason },
            Failure::Foreign { program, platform } => Self::Foreign { program, platform },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Setup(message) => Self::Setup(message),
            Error::Invalid(message) => Self::Invalid(message),
            Error::Limit { limit, reason } => Self::Limit { limit, reason },
            Error::NotFound { program, hint } => Self::NotFound { program, hint },
            Error::NotExecutable { program, reason } => Self::NotExecutable { program, reason },
            Error::Foreign { program, platform } => Self::Foreign { program, platform },
            Error::Start { .. }
            | Error::File(_)
            | Error::Hold(_)
            | Error::Lost
            | Error::NotRunning => Self::setup(&error),
        }
    }
}

impl Failure {
    /// The whole chain of an error, causes after colons; a cause that its parent has already told is not repeated.
    pub(crate) fn setup(error: &dyn std::error::Error) -> Self {
        Self::Setup(chain(error))
    }
}

impl From<sys::fs::Error> for Failure {
    fn from(error: sys::fs::Error) -> Self {
        Self::setup(&error)
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_docker() {
        let program = || "x".to_owned();
        assert_eq!(
            Error::NotFound {
                program: program(),
                hint: String::new()
            }
            .exit_code(),
            127
        );
        assert_eq!(
            Error::NotExecutable {
                program: program(),
                reason: String::new()
            }
            .exit_code(),
            126
        );
        assert_eq!(Error::Lost.exit_code(), 125);
    }

    #[test]
    fn a_chain_tells_every_cause_once() {
        let error = sys::fs::Error::new("open", "/x", std::io::Error::other("broken"));
        assert_eq!(chain(&error), "cannot open `/x`: broken");
    }
}
