//! A registry of one's own: served, collected, its tags looked at and put back.

mod images;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use distribution::server::storage::local::Local;
use distribution::server::storage::object::{Bucket, Object};
use distribution::server::storage::{Clock, Condition, NewTag, Storage};
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
        })
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// Where it keeps what it is given, for messages.
    fn name(&self) -> String {
        match (&self.settings.bucket, &self.settings.folder) {
            (Some(bucket), _) => format!("{}/{}", bucket.name, bucket.prefix),
            (None, Some(folder)) => self.path(folder).display().to_string(),
            (None, None) => self.folder.display().to_string(),
        }
    }

    fn open(&self) -> Result<Arc<dyn Storage>, RegistryError> {
        if let Some(engine) = &self.images {
            return Ok(Arc::new(engine.as_storage("serve")?));
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
            };
            let object = Object::open(&bucket, clock).map_err(storage_error(&name))?;
            return Ok(Arc::new(object));
        }
        let folder = match &self.settings.folder {
            Some(folder) => self.path(folder),
            None => self.folder.clone(),
        };
        let local = Local::open(&folder, clock).map_err(storage_error(&name))?;
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

/// Lets go what the rules do not keep, and collects what nothing needs.
///
/// # Errors
///
/// A server works on the folder, or the storage fails.
pub fn collect(place: &Place, what: &Collection) -> Result<(Retired, Collected), RegistryError> {
    let registry = Registry::new(place.open()?, place.settings.config());
    runtime()?
        .block_on(registry.collect(what))
        .map_err(storage_error(&place.name()))
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
    history(&*place.open()?, place, repository, tag)
}

fn history(
    storage: &dyn Storage,
    place: &Place,
    repository: &Repository,
    tag: &Tag,
) -> Result<Vec<TagEvent>, RegistryError> {
    let past = runtime()?
        .block_on(storage.tag_history(repository, tag))
        .map_err(storage_error(&place.name()))?;
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
    place: &Place,
    repository: &Repository,
    tag: &Tag,
    digest: Option<Digest>,
) -> Result<Digest, RegistryError> {
    let storage = place.open()?;
    let past = history(&*storage, place, repository, tag)?;
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
    let new = NewTag {
        tag: tag.clone(),
        condition: Condition::Always,
    };
    runtime()?
        .block_on(storage.set_tag(repository, new, &wanted))
        .map_err(storage_error(&place.name()))?;
    Ok(wanted)
}
