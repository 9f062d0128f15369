//! One layer from a registry into the store.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use distribution::client::Repository;
use oci::{Descriptor, DiffId};
use store::{BlobIngest, Lease, Turn};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::small::{self, Writer};
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

/// How many small layers are asked for at once.
const AT_ONCE: usize = 12;

/// How many layers move at once, until one fails.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    small: Arc<Semaphore>,
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
            small: Arc::new(Semaphore::new(AT_ONCE)),
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

    /// Waits for all tasks. The first error stops the others, and is the one that counts, unless it only says that another did.
    pub(crate) async fn finish(&self, mut tasks: JoinSet<Result<(), Error>>) -> Result<(), Error> {
        let mut outcome = Ok(());
        while let Some(done) = tasks.join_next().await {
            let done = done.map_err(Error::from).and_then(|done| done);
            if done.is_err() && (outcome.is_ok() || only_stopped(&outcome)) {
                self.stop();
                outcome = done;
            }
        }
        outcome
    }

    /// What `work` comes to, unless something failed before.
    async fn or_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            // What has come to its end says more than that something failed, which it may be itself.
            biased;
            done = work => done,
            () = self.stopped() => Err(ExchangeError::Interrupted.into()),
        }
    }

    /// For a small layer: what it takes is the time until the answer, not the network.
    async fn enter_small(&self) -> Lane {
        Lane {
            _all: self.small.clone().acquire_owned().await.ok(),
            _large: None,
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

fn only_stopped(outcome: &Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::Exchange(error)) if error.is_interrupted())
}

/// A layer to be brought.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) step: usize,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
}

/// What layers come through.
#[derive(Clone)]
pub(crate) struct Ways {
    pub(crate) repository: Repository,
    pub(crate) lease: Lease,
    pub(crate) lanes: Lanes,
    pub(crate) writer: Writer,
    pub(crate) events: Events,
}

/// Brings a layer into the store, claimed by the lease, unless it is there. If somebody else is fetching it, theirs is waited
/// for. True if anything was downloaded.
pub(crate) async fn bring(ways: &Ways, wanted: &Wanted, known: bool) -> Result<bool, Error> {
    let (step, descriptor) = (wanted.step, &wanted.descriptor);
    let (name, total) = (
        format!("layer {}", descriptor.digest.short()),
        descriptor.size,
    );
    let events = &ways.events;
    let exists = || {
        let why = "Already exists".to_owned();
        events(Event::Cached { step, why });
        Ok(false)
    };
    if known {
        events(Event::Started { step, name, total });
        return exists();
    }
    let is_small = small::is_small(wanted);
    let lane = ways.lanes.or_stopped(async {
        match is_small {
            true => Ok(ways.lanes.enter_small().await),
            false => Ok(ways.lanes.enter(total).await),
        }
    });
    let lane = lane.await?;
    events(Event::Started { step, name, total });
    let (turn, began) = loop {
        // What was begun on another thread is waited for: it uses the lease.
        match take(&ways.lease, wanted).await? {
            Take::Ours(turn) => break (turn, Instant::now()),
            Take::Exists => return exists(),
            Take::Busy => {}
        }
        let wait = async {
            tokio::time::sleep(LOOK_AGAIN).await;
            Ok(())
        };
        ways.lanes.or_stopped(wait).await?;
    };
    let fetched = match is_small {
        true => fetch_small(ways, wanted, turn, lane).await,
        false => {
            let fetched = resumed(ways, wanted, &turn).await;
            drop((turn, lane));
            fetched
        }
    };
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

/// Which of these layers the store has; those are claimed.
///
/// They are looked at one after the other. That is a look into the database each, but after a crash of the machine, when those
/// that may be torn are hashed.
pub(crate) async fn which_are_known(
    lease: &Lease,
    all: &[Wanted],
) -> Result<Vec<Result<bool, Error>>, Error> {
    let (lease, all) = (lease.clone(), all.to_vec());
    let look = move || all.iter().map(|wanted| is_known(&lease, wanted)).collect();
    Ok(spawn_blocking(look).await?)
}

fn is_known(lease: &Lease, wanted: &Wanted) -> Result<bool, Error> {
    layers::is_known(lease, &wanted.descriptor, &wanted.diff_id)
}

/// What came of asking for the turn to fetch a layer.
enum Take {
    /// It is ours.
    Ours(Turn),
    /// Somebody else has it.
    Busy,
    /// The layer is there by now.
    Exists,
}

async fn take(lease: &Lease, wanted: &Wanted) -> Result<Take, Error> {
    let (lease, wanted) = (lease.clone(), wanted.clone());
    let take = move || {
        let Some(turn) = lease.try_turn(&wanted.descriptor.digest)? else {
            return Ok(Take::Busy);
        };
        // Whoever had the turn before may have brought it.
        Ok(match is_known(&lease, &wanted)? {
            true => Take::Exists,
            false => Take::Ours(turn),
        })
    };
    spawn_blocking(take).await?
}

/// Fetches a small layer, and lets the next one move as soon as it waits to be written.
async fn fetch_small(ways: &Ways, wanted: &Wanted, turn: Turn, lane: Lane) -> Result<(), Error> {
    let meter = Meter::new(wanted.step, wanted.descriptor.size, ways.events.clone());
    let through = async {
        let descriptor = &wanted.descriptor;
        let mut reader = ways.repository.blob_to_be_hashed(descriptor, 0).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await? {
            bytes.extend_from_slice(&piece);
            meter.at(bytes.len() as u64);
        }
        let written = ways.writer.send(wanted.clone(), bytes, turn).await?;
        drop(lane);
        written.await
    };
    ways.lanes.or_stopped(through).await
}

/// Fetches, after what earlier attempts left, if they did. If that turns out to be wrong, all is fetched anew.
async fn resumed(ways: &Ways, wanted: &Wanted, turn: &Turn) -> Result<(), Error> {
    let Wanted {
        descriptor,
        diff_id,
        ..
    } = wanted;
    let is_plain = descriptor.digest == *diff_id.digest();
    if is_plain || descriptor.size < WORTH_KEEPING {
        return fetch(ways, wanted, None).await;
    }
    loop {
        let blob = ways.lease.resume_blob(turn, descriptor.size)?;
        let earlier = match blob.earlier()? {
            Some(file) => file.limit(),
            None => 0,
        };
        let fetched = fetch(ways, wanted, Some(blob)).await;
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
async fn fetch(ways: &Ways, wanted: &Wanted, blob: Option<BlobIngest>) -> Result<(), Error> {
    let lanes = &ways.lanes;
    let Wanted {
        step,
        descriptor,
        diff_id,
    } = wanted.clone();
    let meter = Meter::new(step, descriptor.size, ways.events.clone());
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
            true => ways
                .repository
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
        let lease = ways.lease.clone();
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
