//! Images to and from registries.
//!
//! What a registry says is checked in `distribution`; what goes into the store is checked again on its way. The network is
//! async and lives on the one runtime of `Network`; the store is not, so what comes is handed to a blocking thread through
//! a short channel, one for each layer.

mod bases;
mod compress;
mod configuration;
mod copy;
mod download;
mod hints;
mod list;
mod login;
mod platform;
mod pull;
mod push;
mod relay;
mod remote;
mod small;
mod source;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use distribution::client::Client;
use tokio::runtime::Runtime;

pub use distribution::client::Secret;
pub use sys::terminal::ask_secretly;

pub use copy::{Copied, CopyRequest};
pub use login::{LoginRequest, LogoutRequest};
pub use pull::{PullRequest, Pulled};
pub use push::{PushRequest, Pushed};
pub use remote::{RemoteImage, registry_alone};

use configuration::Configuration;

pub(crate) use bases::Bases;
pub(crate) use push::Destination;
pub(crate) use relay::relayed;

/// What the network needs to know of the surroundings.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// The home of the user: `.docker/config.json` is there.
    pub home: Option<PathBuf>,
    /// `$DOCKER_CONFIG`: another folder for `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `$REGISTRY_AUTH_FILE`: the one file for credentials.
    pub auth_file: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`: `containers/auth.json` is there.
    pub runtime: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub config: Option<PathBuf>,
    /// `$CONTAINERS_REGISTRIES_CONF`: another `registries.conf`.
    pub registries: Option<PathBuf>,
    /// `$HTTP_PROXY`.
    pub http_proxy: Option<String>,
    /// `$HTTPS_PROXY`.
    pub https_proxy: Option<String>,
    /// `$NO_PROXY`.
    pub no_proxy: Option<String>,
    /// The host's configuration, `/etc`.
    pub system: PathBuf,
    /// The wait before the second attempt of a request; it doubles each time.
    pub backoff: Duration,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            home: None,
            docker_config: None,
            auth_file: None,
            runtime: None,
            config: None,
            registries: None,
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            system: PathBuf::from("/etc"),
            backoff: distribution::client::Patience::default().backoff,
        }
    }
}

/// How long the end of the program waits for threads of the network.
const PATIENCE: Duration = Duration::from_secs(2);

/// The network of an engine: nothing is read or started before it is needed.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Without settings there is no network.
    settings: Option<NetworkSettings>,
    runtime: OnceLock<Runtime>,
    ready: OnceLock<Ready>,
}

impl Drop for Network {
    fn drop(&mut self) {
        // Threads that still wait for something of a call that failed are not waited for for ever.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// What was made of the settings.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) client: Client,
    pub(crate) configuration: Configuration,
}

impl Network {
    pub(crate) fn new(settings: NetworkSettings) -> Arc<Self> {
        Arc::new(Self {
            settings: Some(settings),
            runtime: OnceLock::new(),
            ready: OnceLock::new(),
        })
    }

    /// Does async work, and waits for it.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, ExchangeError> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let made = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .thread_name("network")
                    .enable_all()
                    .build()
                    .map_err(ExchangeError::Runtime)?;
                self.runtime.get_or_init(|| made)
            }
        };
        Ok(runtime.block_on(work))
    }

    /// The client, with what the configuration files say.
    pub(crate) fn ready(&self) -> Result<&Ready, ExchangeError> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready);
        }
        let settings = self.settings()?;
        let configuration = Configuration::read(settings)?;
        let client = configuration.client(settings)?;
        Ok(self.ready.get_or_init(|| Ready {
            client,
            configuration,
        }))
    }

    pub(crate) fn settings(&self) -> Result<&NetworkSettings, ExchangeError> {
        self.settings.as_ref().ok_or(ExchangeError::Offline)
    }

    /// True without a network: nothing is asked of anybody.
    pub(crate) const fn is_offline(&self) -> bool {
        self.settings.is_none()
    }
}

/// A compression of layers by its name: `gzip`, `zstd` or `none`.
#[must_use]
pub fn compression(name: &str) -> Option<layer::compression::Compression> {
    use layer::compression::Compression;
    match name {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "none" | "uncompressed" => Some(Compression::None),
        _ => None,
    }
}

/// What is heard of an exchange as it goes on. Steps are numbered from 1.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step begins.
    Started {
        /// Which.
        step: usize,
        /// What it does: `layer 0123456789ab 12.3 MB`.
        name: String,
        /// How many bytes it moves.
        total: u64,
    },
    /// So many bytes of it were moved.
    Moved {
        /// Which.
        step: usize,
        /// How many so far.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// It was not needed.
    Cached {
        /// Which.
        step: usize,
        /// Why not, in Docker's words: `Already exists`.
        why: String,
    },
    /// It is done.
    Done {
        /// Which.
        step: usize,
        /// How long it took.
        took: Duration,
    },
    /// It failed; the error of the call says more.
    Failed {
        /// Which.
        step: usize,
        /// Why.
        error: String,
    },
    /// Something that a person should know.
    Warning(String),
}

/// Hears of an exchange.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// Tells how far a step is, not more often than somebody wants to know.
pub(crate) struct Meter {
    step: usize,
    total: u64,
    told: AtomicU64,
    events: Events,
}

impl Meter {
    pub(crate) const fn new(step: usize, total: u64, events: Events) -> Self {
        Self {
            step,
            total,
            told: AtomicU64::new(0),
            events,
        }
    }

    /// `done` bytes of it were moved.
    pub(crate) fn at(&self, done: u64) {
        let each = (self.total / 100).max(64 << 10);
        let told = self.told.load(Ordering::Relaxed);
        if done < self.total && done.saturating_sub(told) < each {
            return;
        }
        self.told.store(done, Ordering::Relaxed);
        let (step, total) = (self.step, self.total);
        (self.events)(Event::Moved { step, done, total });
    }
}

/// Why images could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The registry, or the way to it.
    #[error("{0}")]
    Registry(#[source] distribution::client::Error),
    /// Threads for the network cannot be started.
    #[error("cannot start the network: {0}")]
    Runtime(#[source] std::io::Error),
    /// It is no image for here.
    #[error("`{image}` has no image for {wanted}{}", but(.here))]
    Platform {
        /// What was asked for.
        image: String,
        /// The platform.
        wanted: String,
        /// What there is.
        here: Vec<String>,
    },
    /// Something else than an image.
    #[error("`{image}` is {what}, not an image")]
    NotAnImage {
        /// What was asked for.
        image: String,
        /// What it is.
        what: String,
    },
    /// The documents of an image contradict each other, or are too large.
    #[error("`{image}` cannot be used: {why}")]
    Image {
        /// Which.
        image: String,
        /// Why not.
        why: String,
    },
    /// A layer could not be brought or sent.
    #[error("layer {number} of {count} (`{digest}`): {source}")]
    Layer {
        /// Which, from 1.
        number: usize,
        /// Of how many.
        count: usize,
        /// Its digest.
        digest: Box<oci::Digest>,
        /// Why.
        source: Box<crate::Error>,
    },
    /// A registry does not let somebody in.
    #[error("`{registry}` does not accept the user name `{user}` with this password")]
    Login {
        /// Which.
        registry: String,
        /// Who wanted to log in.
        user: String,
    },
    /// No name of a registry.
    #[error("`{0}` is no registry: a host, with a port if need be, is expected")]
    NoRegistry(String),
    /// A tag or a digest, where all tags are meant.
    #[error("`{0}` names one image, but all tags are asked for")]
    OneTag(String),
    /// Credentials cannot be kept.
    #[error("cannot keep the credentials of `{registry}`: {why}")]
    Keep {
        /// Whose.
        registry: String,
        /// Why not.
        why: String,
    },
    /// No credentials are kept.
    #[error("not logged in to `{0}`")]
    NotLoggedIn(String),
    /// An `ssh://` address that is none.
    #[error("`{0}` is no address of an image on another host")]
    Ssh(String),
    /// This engine was made without a network.
    #[error("there is no network")]
    Offline,
    /// A task of the network was taken away.
    #[error("the work was interrupted")]
    Interrupted,
}

fn but(here: &[String]) -> String {
    if here.is_empty() {
        String::new()
    } else {
        format!(", but for {}", here.join(", "))
    }
}

impl From<distribution::client::Error> for ExchangeError {
    fn from(error: distribution::client::Error) -> Self {
        Self::Registry(error)
    }
}

impl From<distribution::client::Error> for crate::Error {
    fn from(error: distribution::client::Error) -> Self {
        Self::Exchange(Box::new(error.into()))
    }
}

impl From<ExchangeError> for crate::Error {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(Box::new(error))
    }
}

impl From<tokio::task::JoinError> for crate::Error {
    fn from(error: tokio::task::JoinError) -> Self {
        match error.try_into_panic() {
            // A panic is a fault of ours and goes on where somebody waits for the result.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => ExchangeError::Interrupted.into(),
        }
    }
}

impl ExchangeError {
    /// True if something else ended the work.
    pub(crate) fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Layer { source, .. } => {
                matches!(source.as_ref(), crate::Error::Exchange(error) if error.is_interrupted())
            }
            _ => false,
        }
    }

    /// True if another attempt may bring it to its end.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::Layer { source, .. } => {
                matches!(source.as_ref(), crate::Error::Exchange(error) if error.is_transient())
            }
            _ => false,
        }
    }
}
