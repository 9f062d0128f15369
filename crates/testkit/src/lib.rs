//! Test support: temporary stores, an image factory, synthetic trees, registries, and waiting that ends.
//!
//! - [`store()`] makes a store that vanishes with its handle;
//! - [`image`] makes an image in it, layer by layer;
//! - [`tree`] describes a tree of many small files, the same each time;
//! - [`registry`] has registries to test against, one that misbehaves among them;
//! - [`WebServer`] answers HTTP as a test wants it, [`GitRepository`] and [`git_server`] are what they say;
//! - [`skip_unless_root!`] ends a `priv_` test that cannot do its work, and says so;
//! - [`eventually`] waits for something, but not for ever.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![forbid(unsafe_code)]

mod git;
mod image;
pub mod registry;
mod temp;
mod tree;
mod wait;
mod web;

pub use git::{COMMIT_TIME, GitRepository, backend, git_server};
pub use image::{ImageFactory, image};
pub use temp::{TempStore, store, store_with};
pub use tree::{Tree, tree};
pub use wait::eventually;
pub use web::{WebRequest, WebServer, respond};

/// True if this process is root in the first user namespace, which mounting needs.
#[must_use]
pub fn is_root() -> bool {
    // A user namespace maps fewer ids than all.
    let whole = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]));
    rustix::process::geteuid().is_root() && whole
}

/// Says on stderr that `test` was skipped, and why. Written past the test harness, which shows nothing of tests that pass: one
/// that was skipped must not look like them.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "SKIPPED {test}: {why}").ok();
}

/// The name of the running test.
#[must_use]
pub fn running_test() -> String {
    // The harness names the thread.
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// Ends the test with a line on stderr unless it runs as root.
#[macro_export]
macro_rules! skip_unless_root {
    () => {
        if !$crate::is_root() {
            $crate::skipped(
                module_path!(),
                concat!("needs root, ", file!(), ":", line!()),
            );
            return;
        }
    };
}
