//! The crate seen from outside, with the kernel as judge where there are privileges.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail like tests, and skipped tests are loud"
)]

mod capture;
mod compression;
mod hostile;
mod large;
mod mounted;
mod oracle;
mod properties;
mod snapshot;
