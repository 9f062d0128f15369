//! Containers for real: each test makes namespaces and starts a program in a busybox root filesystem.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test program, all of it"
)]

sys::before_main!(runtime::child_main_if_asked);

mod bed;
mod detached;
mod exec;
mod foreground;
mod join;
mod run;
