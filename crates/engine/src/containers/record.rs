//! What the engine keeps about a container beside its layers, and how its state is told.

use std::collections::BTreeMap;

use oci::{ContainerConfig, ImageId};
use serde::{Deserialize, Serialize};

/// What is written once when a container is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The process and its arguments.
    pub(crate) command: Vec<String>,
    /// Labels of the image and of the command line.
    pub(crate) labels: BTreeMap<String, String>,
    /// What `stop` sends.
    pub(crate) stop_signal: String,
    /// It goes when it ends.
    pub(crate) remove: bool,
    /// The lease of the `run` that made it. While that lives, the container is not over: it is being started, or its `run`
    /// has yet to note how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
    /// How it ended, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Ended>,
    /// What it was made from and with. Containers of the first versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

/// What a container was made from and with; the rest is in the runtime's specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The image.
    pub(crate) image: ImageId,
    /// The image's config and what was asked for over it: what an image of the container's changes begins with.
    pub(crate) config: ContainerConfig,
    /// Its standard input was kept open.
    pub(crate) interactive: bool,
    /// Capabilities that were added.
    pub(crate) cap_add: Vec<String>,
    /// Capabilities that were taken away.
    pub(crate) cap_drop: Vec<String>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The exit code, 128 and the signal if one ended it.
    pub(crate) code: u8,
    /// When, RFC 3339.
    pub(crate) at: String,
    /// Why it never started, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What a container does at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "Status", rename_all = "lowercase")]
pub enum State {
    /// It was made and has not been started, or its start did not get far.
    Created,
    /// Its process runs.
    Running {
        /// The process, as the host sees it.
        #[serde(rename = "Pid")]
        pid: u32,
        /// Since when, RFC 3339.
        #[serde(rename = "StartedAt")]
        since: String,
    },
    /// Its process ended.
    Exited {
        /// The exit code, 128 and the signal if one ended it.
        #[serde(rename = "ExitCode")]
        code: u8,
        /// When, RFC 3339; unknown if the machine or the supervisor died.
        #[serde(rename = "FinishedAt")]
        at: Option<String>,
    },
}

impl State {
    /// The word for it, as filters and listings use it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited { .. } => "exited",
        }
    }
}
