//! The program from outside: what a person types and sees.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
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
mod over_ssh;
mod registry;
mod rootless;
mod run;
mod served;
mod ssh;
mod ways;
