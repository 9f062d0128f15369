//! One layer from a registry into the store.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use distribution::client::Repository;
use oci::{Descriptor, DiffId};
use store::{BlobIngest, Lease, Turn};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::source;
use super::{Event, Events, ExchangeError, Meter};
use crate::Error;
use crate::transfer::layers;

/// From here on a layer is large, 8 MiB: few of them at once fill every network, and each takes memory.
const LARGE: u64 = 8 << 20;

/// Layers smaller than this are fetched again rather than remembered, 1 MiB.
pub(crate) const WORTH_KEEPING: u64 = 1 << 20;

/// How long one waits before one looks whether another process has brought a layer.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How many layers move at once, until one fails.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    all: Arc<Semaphore>,
    large: Arc<Semaphore>,
    stop: Arc<watch::Sender<bool>>,
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
            stop: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Has everything that is under way come to its end: something failed.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when something failed.
    async fn stopped(&self) {
        // The sender lives as long as `self`.
        self.stop
            .subscribe()
            .wait_for(|stopped| *stopped)
            .await
            .ok();
    }

    /// Waits for all tasks. The first error stops the others, and is the one that counts.
    pub(crate) async fn finish(&self, mut tasks: JoinSet<Result<(), Error>>) -> Result<(), Error> {
        let mut outcome = Ok(());
        while let Some(done) = tasks.join_next().await {
            let done = done.map_err(Error::from).and_then(|done| done);
            if done.is_err() && outcome.is_ok() {
                self.stop();
                outcome = done;
            }
        }
        outcome
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
    let turn = async {
        let lane = lanes.enter(total).await;
        events(Event::Started { step, name, total });
        loop {
            if let Some(turn) = lease.try_turn(&descriptor.digest)? {
                return Ok::<_, Error>((lane, turn, Instant::now()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let (_lane, turn, began) = tokio::select! {
        turn = turn => turn?,
        () = lanes.stopped() => return Err(ExchangeError::Interrupted.into()),
    };
    if is_known(lease, &descriptor, diff_id).await? {
        let why = "Already exists".to_owned();
        events(Event::Cached { step, why });
        return Ok(false);
    }
    let fetched = resumed(repository, lease, wanted, &turn, (lanes, events)).await;
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

/// Fetches, after what earlier attempts left, if they did. If that turns out to be wrong, all is fetched anew.
async fn resumed(
    repository: &Repository,
    lease: &Lease,
    wanted: &Wanted,
    turn: &Turn,
    (lanes, events): (&Lanes, &Events),
) -> Result<(), Error> {
    let Wanted {
        descriptor,
        diff_id,
        ..
    } = wanted;
    let is_plain = descriptor.digest == *diff_id.digest();
    if is_plain || descriptor.size < WORTH_KEEPING {
        return fetch(repository, lease, wanted, None, (lanes, events)).await;
    }
    loop {
        let blob = lease.resume_blob(turn, descriptor.size)?;
        let earlier = match blob.earlier()? {
            Some(file) => file.limit(),
            None => 0,
        };
        let fetched = fetch(repository, lease, wanted, Some(blob), (lanes, events)).await;
        match fetched {
            Ok(()) => return Ok(()),
            // It was what came that was good, and that it ended that was not.
            Err(error) if leaves_what_came(&error) => return Err(error),
            Err(error) => {
                turn.forget()?;
                if earlier == 0 {
                    return Err(error);
                }
            }
        }
    }
}

/// True if an error says nothing against the bytes that came before it: whoever is next goes on after them.
fn leaves_what_came(error: &Error) -> bool {
    use distribution::client::{Error as Client, Kind};
    match error {
        Error::Exchange(error) => match error.as_ref() {
            // Other answers may be to the part that was asked for.
            ExchangeError::Registry(error) => match error {
                Client::Connect { .. }
                | Client::Credentials { .. }
                | Client::Helper { .. }
                | Client::Program { .. }
                | Client::Realm { .. }
                | Client::Scheme { .. }
                | Client::Configuration { .. }
                | Client::Proxy { .. }
                | Client::Blocked(_) => true,
                _ => matches!(
                    error.kind(),
                    Kind::Transient | Kind::NotFound | Kind::Unauthorized | Kind::Denied
                ),
            },
            error => error.is_transient() || error.is_interrupted(),
        },
        Error::Store(error) => matches!(error.kind(), store::Kind::Full | store::Kind::Denied),
        _ => false,
    }
}

/// Download, inflate, hash and write: one pass.
async fn fetch(
    repository: &Repository,
    lease: &Lease,
    wanted: &Wanted,
    blob: Option<BlobIngest>,
    (lanes, events): (&Lanes, &Events),
) -> Result<(), Error> {
    let Wanted {
        step,
        descriptor,
        diff_id,
    } = wanted.clone();
    let meter = Meter::new(step, descriptor.size, events.clone());
    let earlier = blob
        .as_ref()
        .map(BlobIngest::earlier)
        .transpose()?
        .flatten();
    let from = earlier.as_ref().map_or(0, std::io::Take::limit);
    meter.at(from);
    // The store hashes what it keeps.
    let rest = async {
        match from < descriptor.size {
            true => repository
                .blob_to_be_hashed(&descriptor, from)
                .await
                .map(Some),
            false => Ok(None),
        }
    };
    let rest = tokio::select! {
        rest = rest => rest?,
        () = lanes.stopped() => return Err(ExchangeError::Interrupted.into()),
    };
    let (sender, incoming) = source::channel();
    let writer = {
        let lease = lease.clone();
        spawn_blocking(move || match earlier {
            Some(earlier) => {
                let all = earlier.chain(incoming);
                layers::bring_stream(&lease, all, &descriptor, &diff_id, blob)
            }
            None => layers::bring_stream(&lease, incoming, &descriptor, &diff_id, blob),
        })
    };
    let pumped = match rest {
        None => {
            drop(sender);
            Ok(())
        }
        Some(rest) => tokio::select! {
            pumped = source::pump(rest, sender, (from, |done| meter.at(done))) => pumped.map_err(Error::from),
            () = lanes.stopped() => Err(ExchangeError::Interrupted.into()),
        },
    };
    // Whatever happened, the writer ends before the lease may.
    let written = writer.await?;
    // What broke the download says more than what it did to the layer.
    pumped?;
    written
}
