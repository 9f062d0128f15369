//! The store as its callers see it.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod concurrency;
mod failures;
mod fsck;
mod images;
mod indexes;
mod leases;
mod roots;
mod ways;
