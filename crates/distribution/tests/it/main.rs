//! The crate from outside.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and skipped tests are loud"
)]

mod client;
mod server;
mod wire;
