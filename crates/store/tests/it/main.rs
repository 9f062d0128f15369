//! The store as its callers see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod concurrency;
mod failures;
mod fsck;
mod images;
mod indexes;
mod leases;
mod roots;
mod ways;
