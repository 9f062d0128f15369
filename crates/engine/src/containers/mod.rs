//! Containers: run, list, follow, stop, remove, and what they are asked with.
//!
//! A container is rows and a folder in the store: its layers, its upper directory, the `Record` of what was asked for. Who
//! its process is and how it ended is told by the runtime; this module asks, and never keeps a process number of its own.

mod commit;
mod error;
mod foreground;
mod inspect;
mod list;
mod logs;
mod options;
mod process;
mod record;
mod request;
mod run;
mod spec;

pub use commit::CommitRequest;
pub use error::ContainerError;
pub use list::{ContainerRow, PsRequest};
pub(crate) use list::{record_of, state_of};
pub use logs::{LogsRequest, Sink, Stream};
pub use options::{
    Mount, OptionError, Ulimit, cpus, env, env_file, host_line, labels, memory, merge_env, size,
};
pub use process::ExecRequest;
pub use record::State;
pub use request::{Network, RunRequest, Security, network, security};
pub use run::Ended;
