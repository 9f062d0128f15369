//! Orders to a server that works on a folder, from programs on the same machine: collect, show a tag's past, put a tag back.
//!
//! They come by a socket in the folder, a line of JSON each way. Only the server's own user and root are listened to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use oci::{Digest, Repository, Tag};
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::registry::Registry;
use super::retention::Retired;
use super::storage::{Collected, Collection, StorageError, TagEvent};

/// The socket's name in the folder.
const NAME: &str = "control";

/// The longest order.
const LIMIT: u64 = 64 << 10;

/// The longest answer that is read: the past of a tag may be long.
const ANSWER: u64 = 64 << 20;

/// What a server may be told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Order {
    /// Let go and collect; what is not said is as the server does it by itself.
    Collect {
        /// Seconds.
        grace: Option<u64>,
        /// Seconds.
        upload_age: Option<u64>,
        /// Only count.
        dry_run: bool,
    },
    /// What a tag has named.
    History {
        /// Its repository.
        #[serde(with = "text")]
        repository: Repository,
        /// Its name.
        #[serde(with = "text")]
        tag: Tag,
    },
    /// Point a tag at what it named before.
    Restore {
        /// Its repository.
        #[serde(with = "text")]
        repository: Repository,
        /// Its name.
        #[serde(with = "text")]
        tag: Tag,
        /// What it is to name; without it, what it named before.
        digest: Option<Digest>,
    },
}

/// Names as text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        name: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(name)
    }

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// What went.
    Collected(Retired, Collected),
    /// What the tag has named, oldest first; nothing if it never was.
    History(Vec<TagEvent>),
    /// What it names now.
    Restored(Digest),
    /// It never named that, or anything else than now.
    NoPast,
    /// Why it was not done.
    Failed(String),
}

impl Registry {
    /// Carries out an order. `usual` is what is collected if the order does not say.
    ///
    /// # Errors
    ///
    /// The storage refuses or fails.
    pub async fn obey(&self, order: Order, usual: &Collection) -> Result<Done, StorageError> {
        match order {
            Order::Collect {
                grace,
                upload_age,
                dry_run,
            } => {
                let what = Collection {
                    grace: grace.unwrap_or(usual.grace),
                    upload_age: upload_age.unwrap_or(usual.upload_age),
                    dry_run,
                };
                let (retired, collected) = self.collect(&what).await?;
                Ok(Done::Collected(retired, collected))
            }
            Order::History { repository, tag } => {
                let past = self.storage().tag_history(&repository, &tag).await?;
                Ok(Done::History(past))
            }
            Order::Restore {
                repository,
                tag,
                digest,
            } => self.restore(&repository, tag, digest).await,
        }
    }

    async fn restore(
        &self,
        repository: &Repository,
        tag: Tag,
        digest: Option<Digest>,
    ) -> Result<Done, StorageError> {
        use super::storage::{Condition, NewTag};
        let past = self.storage().tag_history(repository, &tag).await?;
        let now = past.last().and_then(|event| event.digest);
        let wanted = past
            .iter()
            .rev()
            .filter_map(|event| event.digest)
            .find(|named| digest.map_or(Some(*named) != now, |digest| *named == digest));
        let Some(wanted) = wanted else {
            return Ok(Done::NoPast);
        };
        let condition = Condition::Always;
        let new = NewTag { tag, condition };
        self.storage().set_tag(repository, new, &wanted).await?;
        Ok(Done::Restored(wanted))
    }
}

/// A socket that orders come by.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    folder: OwnedFd,
}

/// A way to the socket that fits into an address, however long the folder's path is.
fn address(folder: &OwnedFd) -> String {
    format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd())
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

impl Control {
    /// Listens in a folder that this process works on. Within a runtime.
    ///
    /// # Errors
    ///
    /// The file system has no sockets, or cannot be written to.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        let folder = open(folder)?;
        // Of a server that was killed; whoever has the folder's lock is the only one.
        match rustix::fs::unlinkat(&folder, NAME, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = UnixListener::bind(address(&folder))?;
        Ok(Self { listener, folder })
    }

    /// Does what it is told, for ever.
    pub async fn attend<T>(&self, registry: &Arc<Registry>, usual: Collection) -> T {
        let own = rustix::process::geteuid().as_raw();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let known = stream
                .peer_cred()
                .is_ok_and(|peer| [own, 0].contains(&peer.uid()));
            if !known {
                continue;
            }
            let registry = registry.clone();
            tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let mut line = String::new();
                let mut reader = tokio::io::BufReader::new(reader.take(LIMIT));
                let done = match reader.read_line(&mut line).await {
                    Err(error) => Done::Failed(error.to_string()),
                    Ok(_) => match serde_json::from_str(&line) {
                        Err(error) => Done::Failed(error.to_string()),
                        Ok(order) => match registry.obey(order, &usual).await {
                            Ok(done) => done,
                            Err(error) => Done::Failed(error.to_string()),
                        },
                    },
                };
                // Whoever asked may have gone away; it is done all the same.
                if let Ok(mut line) = serde_json::to_vec(&done) {
                    line.push(b'\n');
                    drop(writer.write_all(&line).await);
                }
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // One that stays is removed by the next server.
        rustix::fs::unlinkat(&self.folder, NAME, AtFlags::empty()).ok();
    }
}

/// Gives an order to the server that works on a folder, and waits for what comes of it.
///
/// # Errors
///
/// No server can be reached there: it is of another user, or an older one.
pub fn order(folder: &Path, order: &Order) -> io::Result<Done> {
    let folder = open(folder)?;
    // Whose socket it is: a server that ends takes it away.
    let server = rustix::fs::statat(&folder, NAME, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
    let mut stream = UnixStream::connect(address(&folder))?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    let mut answer = String::new();
    let answered = stream
        .write_all(&line)
        .and_then(|()| BufReader::new(stream.take(ANSWER)).read_line(&mut answer));
    match answered {
        Ok(1..) => Ok(serde_json::from_str(&answer)?),
        Err(error) if !is_silence(&error) => Err(error),
        _ if [server, 0].contains(&rustix::process::geteuid().as_raw()) => {
            Err(io::Error::other("the server ended before it had answered"))
        }
        _ => Err(io::Error::other("the server does not listen to this user")),
    }
}

/// Whether the other side has closed the connection.
fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of the same user that says nothing is one that ends.
    #[test]
    fn a_server_that_ends_does_not_answer() {
        let home = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(home.path().join(NAME)).unwrap();
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let collect = Order::Collect {
            grace: None,
            upload_age: None,
            dry_run: true,
        };
        let error = order(home.path(), &collect).unwrap_err();
        assert_eq!(error.to_string(), "the server ended before it had answered");
        server.join().unwrap();
    }
}
