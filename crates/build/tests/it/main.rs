#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
//! Builds into temporary stores, without privileges but where a name begins with `priv_`.

mod support;

mod cache;
mod copying;
