//! The engine as the command line uses it, on real stores.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod archives;
mod browse;
mod calls;
mod contexts;
mod crashes;
mod exchange;
mod hostile;
mod images;
mod outputs;
mod peers;
mod remote;
mod support;
