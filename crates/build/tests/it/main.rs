//! Builds into temporary stores, without privileges but where a name begins with `priv_`.
//!
//! Tests named `f123_…` show the fact of that number in the reference of the Dockerfile language.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

sys::before_main!(runtime::child_main_if_asked);

mod support;

mod adding;
mod cache;
mod choosing;
mod config;
mod contents;
mod copying;
mod grants;
mod hostile;
mod language;
mod mounts;
mod owners;
mod running;
mod stages;
