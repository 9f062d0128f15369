//! The crate seen from outside, with the kernel as judge where there are privileges.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests do")]

mod bombs;
mod capture;
mod compression;
mod hostile;
mod large;
mod malformed;
mod mounted;
mod oracle;
mod properties;
mod snapshot;
