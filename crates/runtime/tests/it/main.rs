//! Containers for real: each test makes namespaces and starts a program in a busybox root filesystem.

sys::before_main!(runtime::child_main_if_asked);

mod bed;
mod run;
