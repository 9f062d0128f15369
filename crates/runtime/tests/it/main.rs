//! Containers for real: each test makes namespaces and starts a program in a busybox root filesystem.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test program, all of it"
)]

sys::before_main!(first);

/// What this program is started again for.
fn first() -> Option<u8> {
    runtime::child_main_if_asked().or_else(rootless::scene)
}

mod bed;
mod detached;
mod exec;
mod foreground;
mod hold;
mod hostile;
mod join;
mod rootless;
mod run;
