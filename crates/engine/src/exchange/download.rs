//! One layer from a registry into the store.

use std::sync::Arc;
use std::time::Instant;

use distribution::client::Repository;
use oci::{Descriptor, DiffId};
use store::Lease;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::source;
use super::{Event, Events};
use crate::Error;
use crate::transfer::layers;

/// From here on a layer is large, 8 MiB: few of them at once fill every network, and each takes memory.
const LARGE: u64 = 8 << 20;

/// How many layers move at once.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The right to move a layer; dropping it lets the next one move.
#[derive(Debug)]
pub(crate) struct Lane {
    _all: Option<tokio::sync::OwnedSemaphorePermit>,
    _large: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(6)),
            large: Arc::new(Semaphore::new(3)),
        }
    }

    pub(crate) async fn enter(&self, size: u64) -> Lane {
        // The semaphores are never closed.
        let large = if size >= LARGE {
            self.large.clone().acquire_owned().await.ok()
        } else {
            None
        };
        Lane {
            _all: self.all.clone().acquire_owned().await.ok(),
            _large: large,
        }
    }
}

/// A layer to be brought.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) step: usize,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
}

/// Brings a layer into the store, claimed by `lease`, unless it is there. If somebody else is fetching it, theirs is waited
/// for. True if anything was downloaded.
pub(crate) async fn bring(
    repository: &Repository,
    lease: &Lease,
    wanted: &Wanted,
    lanes: &Lanes,
    events: &Events,
) -> Result<bool, Error> {
    let Wanted {
        step,
        descriptor,
        diff_id,
    } = wanted.clone();
    let name = format!("layer {}", descriptor.digest.short());
    let total = descriptor.size;
    if is_known(lease, &descriptor, diff_id).await? {
        events(Event::Started { step, name, total });
        let why = "Already exists".to_owned();
        events(Event::Cached { step, why });
        return Ok(false);
    }
    let _lane = lanes.enter(total).await;
    events(Event::Started { step, name, total });
    let began = Instant::now();
    let turn = {
        let (lease, digest) = (lease.clone(), descriptor.digest);
        spawn_blocking(move || match lease.try_turn(&digest)? {
            Some(turn) => Ok(turn),
            None => lease.turn(&digest),
        })
        .await??
    };
    if is_known(lease, &descriptor, diff_id).await? {
        let why = "Already exists".to_owned();
        events(Event::Cached { step, why });
        return Ok(false);
    }
    let fetched = fetch(repository, lease, wanted, events).await;
    drop(turn);
    match fetched {
        Ok(()) => {
            let took = began.elapsed();
            events(Event::Done { step, took });
            Ok(true)
        }
        Err(error) => {
            let text = error.to_string();
            events(Event::Failed { step, error: text });
            Err(error)
        }
    }
}

async fn is_known(lease: &Lease, descriptor: &Descriptor, diff_id: DiffId) -> Result<bool, Error> {
    let (lease, descriptor) = (lease.clone(), descriptor.clone());
    spawn_blocking(move || layers::is_known(&lease, &descriptor, &diff_id)).await?
}

/// Download, inflate, hash and write: one pass.
async fn fetch(
    repository: &Repository,
    lease: &Lease,
    wanted: &Wanted,
    events: &Events,
) -> Result<(), Error> {
    let Wanted {
        step,
        descriptor,
        diff_id,
    } = wanted.clone();
    let total = descriptor.size;
    // The store hashes what it keeps.
    let blob = repository.blob_to_be_hashed(&descriptor).await?;
    let (sender, incoming) = source::channel();
    let writer = {
        let lease = lease.clone();
        spawn_blocking(move || layers::bring_stream(&lease, incoming, &descriptor, &diff_id))
    };
    let moved = |done| events(Event::Moved { step, done, total });
    let pumped = source::pump(blob, sender, moved).await;
    let written = writer.await?;
    // What broke the download says more than what it did to the layer.
    pumped?;
    written
}
