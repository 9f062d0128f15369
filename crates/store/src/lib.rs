//! The image store: one folder with blobs, layers, names, leases and records.
//!
//! Five nouns:
//!
//! - [`Store`], the folder, opened by any number of processes at once;
//! - [`Layer`], the uncompressed tar of a layer beside its index, whole or absent;
//! - blobs, bytes exactly as a registry has them: manifests, indexes, configs, compressed layers;
//! - [`Image`], a manifest with its config and layers, found by [`Store::resolve`];
//! - [`Lease`], the promise of the store to a process at work that nothing it uses goes away.
//!
//! # How several processes share a store
//!
//! There is no daemon. Three things keep the processes apart, and the kernel or SQLite undoes each when a process is killed:
//!
//! 1. **The lock.** Every change happens under an exclusive `flock` on the file `lock`, held for a few renames and
//!    transactions, never for the writing or deleting of content. Writers queue in the kernel, so SQLite is never contended.
//! 2. **Transactions.** Readers take no lock. They see the database as of one commit.
//! 3. **Leases.** A [`Lease`] is a file `tmp/<id>.lock` that its owner holds locked, a folder `tmp/<id>/` for unfinished work,
//!    and rows that name the content it needs. A lease whose file nobody holds is dead: whoever finds it takes its rows and
//!    its folder away.
//!
//! Content goes in and out in three strokes under the lock, so that files and rows never disagree:
//!
//! ```text
//! publish:  pending += id    |  rename tmp/… to its place  |  its row, the lease's claim, pending -= id
//! remove:   its row goes, pending += id  |  rename to tmp/trash-…  |  pending -= id      … then unlink, without the lock
//! ```
//!
//! Several things can go in together, each stroke for all of them.
//!
//! Whoever takes the lock next first settles what `pending` still names: content without a row of its own goes to `tmp/`.
//! A kill between any two strokes therefore leaves either the state before or the state after.
//!
//! Removing asks in the same transaction that takes the row whether an image, a build record, a container or a living lease
//! needs the content; claiming ([`Lease::claim_layers`]) asks in one transaction whether the row is there and names it. So a
//! process either has what it claimed until its lease ends, or learns before it starts that it is not there.
//! Content published under a lease belongs to that lease until something else names it; what still has no other owner when
//! the lease ends, goes with it.
//!
//! # What a crash of the machine does
//!
//! Nothing here waits for the disk. Rows of content that was not synced yet carry the boot they were written in; if that is not
//! the running one, the content is hashed before its first use and dropped if it is torn. [`Store::upkeep`] syncs; a detached
//! process does it after each command ([`Store::spawn_upkeep`]).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

mod adopt;
mod blobs;
mod caches;
mod change;
mod clock;
mod collect;
mod compress;
mod containers;
mod db;
mod error;
mod fetch;
mod folder;
mod format;
mod fsck;
mod images;
mod indexes;
mod layers;
mod lease;
mod names;
mod prune;
mod publish;
mod records;
mod remove;
mod roots;
mod store;
mod sweep;
mod sync;
mod trees;
mod usage;
mod verify;
mod way;

pub use blobs::{Blob, BlobIngest, Expected};
pub use caches::Cache;
pub use clock::Clock;
pub use collect::Collected;
pub use containers::{Container, NewContainer};
pub use error::{Error, Kind, Mismatch, Result};
pub use fetch::Turn;
pub use folder::Flavour;
pub use format::VERSION as FORMAT_VERSION;
pub use fsck::{Finding, FsckOptions, FsckReport, Remedy};
pub use images::{Image, NewImage};
pub use indexes::{ImageIndex, NewIndex};
pub use layers::{FinishedLayer, Layer, LayerIngest};
pub use lease::Lease;
pub use names::NameEvent;
pub use prune::{PrunedRecords, RecordPolicy};
pub use records::Record;
pub use remove::Removed;
pub use store::{OpenOptions, Store, rebuild_database};
pub use sync::{UPKEEP, upkeep_if_asked};
pub use usage::{ImageUsage, Part, Usage};
pub use way::{Choice, Way};
