//! Bytes from the network as something that blocking code reads.

use std::io::{self, Read};

use distribution::client::{BlobReader, Bytes};
use tokio::sync::mpsc;

/// How many pieces wait for whoever writes them.
const AHEAD: usize = 8;

/// The reading end. Reading blocks, so it is for a blocking thread.
#[derive(Debug)]
pub(crate) struct Incoming {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.rest = piece?,
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// Both ends.
pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Incoming) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let rest = Bytes::new();
    (sender, Incoming { receiver, rest })
}

/// Sends a blob to its reader. `moved` hears how many bytes have come, after those of earlier. A reader that is gone ends it without an error: its
/// own says why.
pub(crate) async fn pump(
    mut blob: BlobReader,
    sender: mpsc::Sender<io::Result<Bytes>>,
    (earlier, moved): (u64, impl Fn(u64)),
) -> Result<(), distribution::client::Error> {
    let mut done = earlier;
    loop {
        match blob.next().await {
            Ok(Some(piece)) => {
                done += piece.len() as u64;
                if sender.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
                moved(done);
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let broken = io::Error::other("the download broke off");
                sender.send(Err(broken)).await.ok();
                return Err(error);
            }
        }
    }
}
