//! Small layers on their way into the store: fetched whole, written one after the other, and published in groups.
//!
//! An image may have hundreds of them. To write one takes less than to hand its bytes from thread to thread, and less than the
//! change of the store that publishes it; so those that came meanwhile are published in one change.

use store::{FinishedLayer, Lease, Turn};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::ExchangeError;
use super::download::Wanted;
use crate::Error;
use crate::transfer::layers::{self, Both};

/// Up to here a compressed layer is small, 64 KiB.
const SMALL: u64 = 64 << 10;

/// So many layers are published at once at most, and as many may wait for it.
const GROUP: usize = 32;

/// With so much unpacked a group is published as it is, 64 MiB: small layers may be large ones that compress well.
const UNPACKED: u64 = 64 << 20;

/// Whether a layer goes this way.
pub(crate) fn is_small(wanted: &Wanted) -> bool {
    let descriptor = &wanted.descriptor;
    descriptor.size <= SMALL && descriptor.digest != *wanted.diff_id.digest()
}

/// Writes small layers; ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    sender: mpsc::Sender<Arrived>,
}

/// A layer whose bytes came.
#[derive(Debug)]
struct Arrived {
    wanted: Wanted,
    bytes: Vec<u8>,
    /// Ends when the layer is in the store, or cannot come there.
    turn: Turn,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Writer {
    /// Starts the thread that writes; wait for it before the lease ends.
    pub(crate) fn start(lease: &Lease) -> (Self, JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel(GROUP);
        let lease = lease.clone();
        let thread = spawn_blocking(move || {
            let mut group = Vec::with_capacity(GROUP);
            while receiver.blocking_recv_many(&mut group, GROUP) > 0 {
                write(&lease, std::mem::take(&mut group));
            }
        });
        (Self { sender }, thread)
    }

    /// Hands a layer over, as soon as there is room for it. It is verified against its digest and DiffID; what is returned ends when
    /// it is published.
    pub(crate) async fn send(
        &self,
        wanted: Wanted,
        bytes: Vec<u8>,
        turn: Turn,
    ) -> Result<impl Future<Output = Result<(), Error>> + use<>, Error> {
        let (done, outcome) = oneshot::channel();
        let arrived = Arrived {
            wanted,
            bytes,
            turn,
            done,
        };
        let lost = || Error::from(ExchangeError::Interrupted);
        self.sender.send(arrived).await.map_err(|_| lost())?;
        Ok(async move { outcome.await.map_err(|_| lost())? })
    }
}

/// Writes a group. Each hears how it went with it; whoever does not listen any more has given up.
fn write(lease: &Lease, arrived: Vec<Arrived>) {
    let mut group = Group::default();
    for Arrived {
        wanted,
        bytes,
        turn,
        done,
    } in arrived
    {
        if done.is_closed() {
            continue;
        }
        match layers::prepare(lease, &bytes[..], &wanted.descriptor, &wanted.diff_id) {
            Ok(Both::New(layer)) => {
                group.unpacked += layer.size();
                group.layers.push(*layer);
                group.waiting.push((turn, done));
            }
            Ok(Both::Known(_)) => tell(turn, done, Ok(())),
            Err(error) => tell(turn, done, Err(error)),
        }
        if group.unpacked >= UNPACKED {
            std::mem::take(&mut group).publish(lease);
        }
    }
    group.publish(lease);
}

/// Layers that are written, and who waits for them.
#[derive(Default)]
struct Group {
    layers: Vec<FinishedLayer>,
    unpacked: u64,
    waiting: Vec<(Turn, oneshot::Sender<Result<(), Error>>)>,
}

impl Group {
    fn publish(self, lease: &Lease) {
        if self.layers.is_empty() {
            return;
        }
        let published = lease.publish_layers(self.layers);
        let failed = published.is_err();
        let mut why = published.err();
        for (turn, done) in self.waiting {
            // One of them says why it failed, for all.
            let outcome = match why.take() {
                Some(error) => Err(error.into()),
                None if failed => Err(ExchangeError::Interrupted.into()),
                None => Ok(()),
            };
            tell(turn, done, outcome);
        }
    }
}

/// The turn ends first: whoever hears of the layer may want it again.
fn tell(turn: Turn, done: oneshot::Sender<Result<(), Error>>, outcome: Result<(), Error>) {
    drop(turn);
    done.send(outcome).ok();
}
