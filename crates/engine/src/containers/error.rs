//! Why a container could not be dealt with.

use std::path::PathBuf;

use runtime::user::UserError;

/// Why a container could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Neither the image nor the command line says what to run.
    #[error("no command: image `{0}` has none, and none was given")]
    NoCommand(String),
    /// `-w` with a relative path.
    #[error("the working directory `{0}` is not absolute")]
    RelativeWorkdir(String),
    /// A file of the image that barque itself needs cannot be read.
    #[error("cannot read `{path}` of the image: {source}")]
    ImageFile {
        /// The path in the image.
        path: String,
        /// Why.
        source: layer::IndexError,
    },
    /// A file of the image that barque itself needs cannot be read.
    #[error("cannot read `{path}` of the image: {source}")]
    ImageFileRead {
        /// The path in the image.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The user cannot be found.
    #[error("{0}")]
    User(#[source] UserError),
    /// The runtime failed.
    #[error("{0}")]
    Runtime(#[source] runtime::Error),
    /// A capability is not known.
    #[error("{0}")]
    Capability(#[from] runtime::capability::UnknownCapability),
    /// A seccomp profile cannot be understood.
    #[error("cannot use the seccomp profile: {0}")]
    Profile(#[from] runtime::seccomp::ProfileError),
    /// A signal cannot be sent.
    #[error("cannot send a signal to the container: {0}")]
    Signalling(#[source] std::io::Error),
    /// What the container changed cannot be read.
    #[error("cannot read what container `{name}` changed: {source}")]
    Capture {
        /// Which container.
        name: String,
        /// Why.
        source: layer::CaptureError,
    },
    /// Our standard input cannot be passed on.
    #[error("cannot pass standard input on: {0}")]
    Stdin(#[source] std::io::Error),
    /// The accounts of a running container cannot be read.
    #[error("cannot look into the container: {0}")]
    Accounts(#[source] sys::fs::Error),
    /// An option cannot be understood.
    #[error("{0}")]
    Option(#[source] super::OptionError),
    /// A folder or file that is to be mounted is missing.
    #[error("cannot mount `{}`: it does not exist", .0.display())]
    NoSource(PathBuf),
    /// The log cannot be read.
    #[error("cannot read the container's log: {0}")]
    Log(#[source] std::io::Error),
    /// The log cannot be passed on.
    #[error("cannot write to stdout: {0}")]
    Output(#[source] std::io::Error),
    /// The container runs, and must not for this.
    #[error("container `{0}` is running")]
    Running(String),
    /// The container does not run, and must for this.
    #[error("container `{0}` is not running")]
    NotRunning(String),
    /// There is such a file already.
    #[error("the file `{}` exists already; another container may have written it", .0.display())]
    CidFile(PathBuf),
    /// A terminal was asked for, and there is none here.
    #[error("the input device is not a terminal")]
    NoTerminal,
    /// `--detach` with `--rm`-like flags that contradict it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The signal is not known.
    #[error("`{0}` is not a signal")]
    Signal(String),
}

impl ContainerError {
    /// What a person can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoCommand(image) => format!("name a program: `barque run {image} PROGRAM`"),
            Self::RelativeWorkdir(path) => format!("`-w /{path}` starts at the root"),
            Self::NoSource(_) => "`-v` makes a missing folder, `--mount` does not".to_owned(),
            Self::Running(name) => format!("`barque stop {name}` ends it; `--force` kills it"),
            Self::NotRunning(_) => {
                "`barque ps -a` lists all containers and their states".to_owned()
            }
            Self::CidFile(_) => "remove it, or name another with `--cidfile`".to_owned(),
            Self::NoTerminal => "leave `-t` out".to_owned(),
            Self::Runtime(runtime::Error::Hold(_)) => {
                "`barque commit --pause=false` reads its files while they change".to_owned()
            }
            Self::Runtime(runtime::Error::Foreign { .. }) => crate::error::EMULATOR.to_owned(),
            Self::Capability(_) => {
                "capabilities are named like NET_ADMIN or CAP_NET_ADMIN, or ALL".to_owned()
            }
            Self::User(UserError::NoUser(_) | UserError::NoGroup(_)) => {
                "a number needs no name: `--user 1000:1000`".to_owned()
            }
            Self::Signal(_) => "signals are named like TERM or SIGTERM, or by number".to_owned(),
            _ => return Vec::new(),
        };
        vec![hint]
    }

    /// The exit code of `run` and `exec`: 126 and 127 for a program that cannot be started, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Runtime(error) => error.exit_code(),
            _ => 125,
        }
    }
}

impl From<runtime::Error> for ContainerError {
    fn from(error: runtime::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<super::OptionError> for ContainerError {
    fn from(error: super::OptionError) -> Self {
        Self::Option(error)
    }
}
