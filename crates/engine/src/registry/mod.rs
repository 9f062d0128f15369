//! A registry of one's own: served, collected, its tags looked at and put back.

mod images;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use distribution::server::storage::local::Local;
use distribution::server::storage::{Clock, Condition, NewTag, Storage};
use distribution::server::{Registry, Server, ServerError};
use oci::{Digest, Repository, Tag};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

pub use distribution::server::Config;
pub use distribution::server::storage::{Collected, Collection, StorageError, TagEvent};

/// What a server is to do.
#[derive(Debug)]
pub struct ServeRequest {
    /// Where it keeps what it is given.
    pub folder: PathBuf,
    /// `HOST:PORT`; with port 0 the kernel chooses one.
    pub listen: String,
    /// How it behaves.
    pub config: Config,
    /// What it collects, and how often in seconds; nothing if there is no number.
    pub collection: Collection,
    /// Seconds between two collections.
    pub collect_every: Option<u64>,
}

/// What a server tells while it runs.
#[derive(Debug)]
pub enum Served {
    /// It listens here.
    Listening(std::net::SocketAddr),
    /// Something was collected.
    Collected(Collected),
    /// A collection failed; the next is tried in its time.
    CollectionFailed(StorageError),
    /// It was told to end, and finishes what is under way.
    Stopping,
}

/// Why a registry does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No threads or no signals to be had.
    #[error("cannot start the server: {0}")]
    Start(#[source] std::io::Error),
    /// It cannot listen.
    #[error("{0}")]
    Listen(#[source] ServerError),
    /// What it keeps refused or failed.
    #[error("the registry in `{}`: {source}", .folder.display())]
    Storage {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: Box<StorageError>,
    },
    /// A tag never named this, or there is nothing to go back to.
    #[error("tag `{tag}` of `{repository}` {why}")]
    NoPast {
        /// The tag.
        tag: Tag,
        /// Its repository.
        repository: Repository,
        /// What is missing.
        why: &'static str,
    },
}

/// How long a server that ends waits for what is under way.
const GRACE: Duration = Duration::from_secs(30);

fn runtime() -> Result<Runtime, RegistryError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("registry")
        .build()
        .map_err(RegistryError::Start)
}

fn open(folder: &Path) -> Result<Local, RegistryError> {
    Local::open(folder, Clock::system()).map_err(storage_error(folder))
}

fn storage_error(folder: &Path) -> impl Fn(StorageError) -> RegistryError {
    move |source| RegistryError::Storage {
        folder: folder.to_owned(),
        source: Box::new(source),
    }
}

/// Serves until a signal says that it is enough (SIGINT, SIGTERM).
///
/// # Errors
///
/// It cannot begin: the folder is in use or damaged, the address is taken.
pub fn serve(request: ServeRequest, tell: &(dyn Fn(Served) + Sync)) -> Result<(), RegistryError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RegistryError::Start)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(RegistryError::Start)?;
        let storage: Arc<dyn Storage> = Arc::new(open(&request.folder)?);
        let registry = Arc::new(Registry::new(storage.clone(), request.config));
        let server = Server::bind(registry, &request.listen)
            .await
            .map_err(RegistryError::Listen)?;
        tell(Served::Listening(server.address()));
        let stop = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell(Served::Stopping);
        };
        let collecting = async {
            let Some(every) = request.collect_every else {
                return std::future::pending().await;
            };
            loop {
                tokio::time::sleep(Duration::from_secs(every)).await;
                match storage.collect(&request.collection).await {
                    Ok(collected) if collected == Collected::default() => {}
                    Ok(collected) => tell(Served::Collected(collected)),
                    Err(error) => tell(Served::CollectionFailed(error)),
                }
            }
        };
        tokio::select! {
            () = server.serve(stop, GRACE) => Ok(()),
            never = collecting => never,
        }
    })
}

/// Collects what nothing needs in a folder that nobody serves.
///
/// # Errors
///
/// Somebody serves it, or the disk fails.
pub fn collect(folder: &Path, what: &Collection) -> Result<Collected, RegistryError> {
    let storage = open(folder)?;
    runtime()?
        .block_on(storage.collect(what))
        .map_err(storage_error(folder))
}

/// What a tag has named, oldest first.
///
/// # Errors
///
/// There is no such tag, and never was.
pub fn tag_history(
    folder: &Path,
    repository: &Repository,
    tag: &Tag,
) -> Result<Vec<TagEvent>, RegistryError> {
    let storage = open(folder)?;
    let past = runtime()?
        .block_on(storage.tag_history(repository, tag))
        .map_err(storage_error(folder))?;
    if past.is_empty() {
        return Err(RegistryError::NoPast {
            tag: tag.clone(),
            repository: repository.clone(),
            why: "never was",
        });
    }
    Ok(past)
}

/// Points a tag at what it named before: at `digest`, or at the last thing that was another than now.
///
/// # Errors
///
/// It never named that, or the manifest is gone.
pub fn restore_tag(
    folder: &Path,
    repository: &Repository,
    tag: &Tag,
    digest: Option<Digest>,
) -> Result<Digest, RegistryError> {
    let past = tag_history(folder, repository, tag)?;
    let now = past.last().and_then(|event| event.digest);
    let wanted = past
        .iter()
        .rev()
        .filter_map(|event| event.digest)
        .find(|named| digest.map_or(Some(*named) != now, |digest| *named == digest))
        .ok_or_else(|| RegistryError::NoPast {
            tag: tag.clone(),
            repository: repository.clone(),
            why: match digest {
                Some(_) => "never named that",
                None => "never named anything else",
            },
        })?;
    let storage = open(folder)?;
    let new = NewTag {
        tag: tag.clone(),
        condition: Condition::Always,
    };
    runtime()?
        .block_on(storage.set_tag(repository, new, &wanted))
        .map_err(storage_error(folder))?;
    Ok(wanted)
}
