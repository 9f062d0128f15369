//! A process in a root filesystem: spec, start, supervise. Knows no images.
//!
//! ```text
//! barque ──socket── barque-container ──clone── the container's first process
//! (any threads)     (one thread, own mount      (own mount, pid, ipc, uts
//!                    namespace, watches)         namespaces)
//! ```
//!
//! A start is a conversation. The parent starts its own program again ([`child_main_if_asked`]), sends it a [`Spec`], and hears
//! one typed message: the program has begun, or why it has not. From then on the child only watches: it reports the end,
//! and kills the program when the parent is gone. Nothing is ever mounted in the host's namespace, so no death of any process
//! leaves a mount behind.
//!
//! What belongs elsewhere: which layers a root has (`store`), which defaults an image sets (`engine`, `build`).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

pub mod capability;
mod cgroup;
mod child;
pub mod detached;
mod device;
pub mod door;
mod error;
pub mod etc;
pub mod exec;
pub mod foreground;
mod foreign;
mod hold;
mod init;
mod join;
pub mod log;
mod message;
mod oci;
mod pump;
mod record;
mod restrict;
mod run;
pub mod seccomp;
mod signals;
mod spec;
mod stage;
mod stub;
pub mod terminal;
pub mod user;
pub mod userns;
mod watch;

pub use error::{Error, Result};
pub use hold::{Hold, hold};
pub use join::join;
pub use message::Exit;
pub use run::{Output, Running, Stdio, Stream, run, start, start_in};
pub use spec::{Device, Joining, Limits, Mount, MountSource, Network, Rlimit, Spec, User};
pub use sys::root_plan::{Lower, RootPlan, Upper};
pub use sys::terminal::Size;

/// Turns this process into what it was re-executed to be, if it was, and gives its exit code when it is done.
///
/// Every program that starts containers calls it first thing in `main`, before any thread exists, and returns the code.
#[must_use]
pub fn child_main_if_asked() -> Option<u8> {
    let name = std::env::args_os().next()?;
    match name.to_str()? {
        child::NAME => Some(child::main()),
        detached::NAME => Some(detached::main()),
        _ => None,
    }
}
