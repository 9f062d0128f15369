//! The program from outside: what a person types and sees.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail like tests, and skipped tests are loud"
)]

mod build;
mod contexts;
mod crash;
mod differential;
mod environment;
mod exchange;
mod formats;
mod images;
mod language;
mod registry;
mod rootless;
mod run;
mod ssh;
mod ways;
