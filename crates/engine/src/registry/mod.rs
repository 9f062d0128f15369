//! A registry of one's own: served, collected, its tags looked at and put back.

mod images;
pub(crate) mod names;
mod reach;
mod serve;
mod shown;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::exchange::NetworkSettings;
use distribution::client::Proxies;
use distribution::server::control::{self, Done, Order};
use distribution::server::storage::local::Local;
use distribution::server::storage::object::{Bucket, Object};
use distribution::server::storage::{Clock, Storage};
use distribution::server::{Registry, ServerError};
use oci::{Digest, Repository, Tag};
use tokio::runtime::Runtime;

pub use distribution::server::settings::Settings;
pub use distribution::server::storage::{Collected, Collection, StorageError, TagEvent};
pub use distribution::server::{AccessRecord, Retired};
pub use serve::{Served, serve};

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
    #[error("the registry in `{place}`: {source}")]
    Storage {
        /// Where.
        place: String,
        /// Why.
        source: Box<StorageError>,
    },
    /// A server works on the folder, and does not do what it is told.
    #[error("the server that works on `{place}`: {why}")]
    Served {
        /// Which folder.
        place: String,
        /// What it said, or why it cannot be reached.
        why: String,
    },
    /// There is no registry in the folder yet.
    #[error("there is no registry in `{}`", .0.display())]
    Missing(PathBuf),
    /// The proxies of the environment are of no use.
    #[error("{0}")]
    Proxies(#[source] distribution::client::Error),
    /// A file of its configuration cannot be read.
    #[error("{0}")]
    Read(#[source] sys::fs::Error),
    /// A file of its configuration says something that is of no use.
    #[error("`{}`: {why}", .path.display())]
    Settings {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
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

impl RegistryError {
    /// What a person can do about it; each names a flag or a command that exists.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Storage { source, .. } => match source.as_ref() {
                StorageError::InUse => "a server collects by itself; stop it to work on its folder",
                StorageError::NoRegistry { .. } => {
                    "name an empty folder, or a new one, with `--folder`"
                }
                _ => return Vec::new(),
            },
            Self::Missing(_) => {
                "`--folder` names another one; `barque registry serve` begins a new one"
            }
            Self::Listen(ServerError::Listen { source, .. }) => match source.kind() {
                ErrorKind::InvalidInput => "an address is `HOST:PORT`: `--listen 127.0.0.1:5000`",
                ErrorKind::AddrInUse => {
                    "with port 0, `--listen 127.0.0.1:0`, it takes one that is free"
                }
                _ => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

fn runtime() -> Result<Runtime, RegistryError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("registry")
        .build()
        .map_err(RegistryError::Start)
}

fn storage_error(place: &str) -> impl Fn(StorageError) -> RegistryError {
    move |source| RegistryError::Storage {
        place: place.to_owned(),
        source: Box::new(source),
    }
}

/// A registry's configuration, and where the paths in it begin.
#[derive(Debug)]
pub struct Place {
    /// What it says.
    pub settings: Settings,
    /// The folder that its paths start from.
    pub base: PathBuf,
    /// The folder of a registry that names none.
    pub folder: PathBuf,
    /// The image store, if that is what is served, and nothing of its own.
    pub images: Option<crate::Engine>,
    /// The proxies that other registries, buckets and webhooks are reached by.
    pub network: NetworkSettings,
}

impl Place {
    /// Of a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no configuration.
    pub fn read(path: &Path, folder: PathBuf) -> Result<Self, RegistryError> {
        let text = read_text(path)?;
        let settings = Settings::parse(&text).map_err(|error| RegistryError::Settings {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self {
            settings,
            base: path.parent().unwrap_or(Path::new("")).to_owned(),
            folder,
            images: None,
            network: NetworkSettings::default(),
        })
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// The folder of its own: where it keeps what it is given if that is no bucket, and what waits to be told.
    fn folder(&self) -> PathBuf {
        match &self.settings.folder {
            Some(folder) => self.path(folder),
            None => self.folder.clone(),
        }
    }

    /// Whether it keeps what it is given in a folder.
    fn is_folder(&self) -> bool {
        self.settings.bucket.is_none() && self.images.is_none()
    }

    fn proxies(&self) -> Result<Proxies, RegistryError> {
        let network = &self.network;
        Proxies::read(
            network.http_proxy.as_deref(),
            network.https_proxy.as_deref(),
            network.no_proxy.as_deref(),
        )
        .map_err(RegistryError::Proxies)
    }

    /// Where it keeps what it is given, for messages.
    fn name(&self) -> String {
        match &self.settings.bucket {
            Some(bucket) => format!("{}/{}", bucket.name, bucket.prefix),
            None => self.folder().display().to_string(),
        }
    }

    fn open(&self) -> Result<Arc<dyn Storage>, RegistryError> {
        if let Some(engine) = &self.images {
            return Ok(Arc::new(shown::Shown(engine.as_storage("serve")?)));
        }
        let name = self.name();
        let clock = Clock::system();
        if let Some(bucket) = &self.settings.bucket {
            let secret = read_text(&self.path(&bucket.secret_key_file))?;
            let bucket = Bucket {
                endpoint: bucket.endpoint.clone(),
                name: bucket.name.clone(),
                region: bucket.region.clone(),
                prefix: bucket.prefix.clone(),
                access_key: bucket.access_key.clone(),
                secret_key: distribution::client::Secret::new(secret.trim()),
                redirect: bucket.redirect,
                proxies: self.proxies()?,
            };
            let object = Object::open(&bucket, clock).map_err(storage_error(&name))?;
            return Ok(Arc::new(object));
        }
        let local = Local::open(&self.folder(), clock).map_err(storage_error(&name))?;
        Ok(Arc::new(local))
    }
}

fn read_text(path: &Path) -> Result<String, RegistryError> {
    let bytes = read_file(path)?;
    String::from_utf8(bytes).map_err(|_| RegistryError::Settings {
        path: path.to_owned(),
        why: "it is not text".to_owned(),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, RegistryError> {
    sys::fs::read(path).map_err(RegistryError::Read)
}

/// Has an order carried out: by the server that works on the folder, else here.
fn carry_out(place: &Place, order: Order) -> Result<Done, RegistryError> {
    let folder = place.folder();
    if place.is_folder() && !Local::is_there(&folder).map_err(storage_error(&place.name()))? {
        return Err(RegistryError::Missing(folder));
    }
    let storage = match place.open() {
        Ok(storage) => storage,
        Err(RegistryError::Storage { source, .. })
            if place.is_folder() && matches!(*source, StorageError::InUse) =>
        {
            let wrong = |why: String| RegistryError::Served {
                place: folder.display().to_string(),
                why,
            };
            return match control::order(&folder, &order) {
                Ok(Done::Failed(why)) => Err(wrong(why)),
                Ok(done) => Ok(done),
                Err(error) => Err(wrong(format!(
                    "only its own user and root can tell it anything: {error}"
                ))),
            };
        }
        Err(error) => return Err(error),
    };
    let runtime = runtime()?;
    let registry = Registry::new(storage, place.settings.config());
    runtime
        .block_on(registry.obey(order, &place.settings.collection()))
        .map_err(storage_error(&place.name()))
}

fn unexpected(place: &Place) -> RegistryError {
    RegistryError::Served {
        place: place.name(),
        why: "its answer is to another question".to_owned(),
    }
}

/// Lets go what the rules do not keep, and collects what nothing needs. What is not given is as the configuration says: of
/// the server, if one works on the folder.
///
/// # Errors
///
/// The server that works on the folder cannot be reached, or the storage fails.
pub fn collect(
    place: &Place,
    grace: Option<u64>,
    upload_age: Option<u64>,
    dry_run: bool,
) -> Result<(Retired, Collected), RegistryError> {
    let order = Order::Collect {
        grace,
        upload_age,
        dry_run,
    };
    match carry_out(place, order)? {
        Done::Collected(retired, collected) => Ok((retired, collected)),
        _ => Err(unexpected(place)),
    }
}

/// What a tag has named, oldest first.
///
/// # Errors
///
/// There is no such tag, and never was.
pub fn tag_history(
    place: &Place,
    repository: &Repository,
    tag: &Tag,
) -> Result<Vec<TagEvent>, RegistryError> {
    let order = Order::History {
        repository: repository.clone(),
        tag: tag.clone(),
    };
    match carry_out(place, order)? {
        Done::History(past) if past.is_empty() => Err(no_past(repository, tag, "never was")),
        Done::History(past) => Ok(past),
        _ => Err(unexpected(place)),
    }
}

fn no_past(repository: &Repository, tag: &Tag, why: &'static str) -> RegistryError {
    RegistryError::NoPast {
        tag: tag.clone(),
        repository: repository.clone(),
        why,
    }
}

/// Points a tag at what it named before: at `digest`, or at the last thing that was another than now.
///
/// # Errors
///
/// It never named that, or the manifest is gone.
pub fn restore_tag(
    place: &Place,
    repository: &Repository,
    tag: &Tag,
    digest: Option<Digest>,
) -> Result<Digest, RegistryError> {
    let order = Order::Restore {
        repository: repository.clone(),
        tag: tag.clone(),
        digest,
    };
    match carry_out(place, order)? {
        Done::Restored(digest) => Ok(digest),
        Done::NoPast => {
            let why = match digest {
                Some(_) => "never named that",
                None => "never named anything else",
            };
            Err(no_past(repository, tag, why))
        }
        _ => Err(unexpected(place)),
    }
}
