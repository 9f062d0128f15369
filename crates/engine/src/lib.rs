//! One file a use case: requests in, events and results out. No printing.
//!
//! The program's commands are thin: each makes a request of what was typed, calls one function here and renders what comes
//! back. Nothing here knows a terminal, an environment variable or an exit code.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

pub mod browse;
pub mod building;
mod changes;
pub mod containers;
mod error;
pub mod exchange;
pub mod fsck;
pub mod images;
mod moment;
pub mod registry;
pub mod remote;
pub mod transfer;
pub mod upkeep;

use std::path::Path;
use std::sync::Arc;

use store::{OpenOptions, Store};

use exchange::Network;

pub use error::Error;
pub use store::Choice as LayerChoice;

/// What the program can do with one store.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Store,
    network: Arc<Network>,
}

impl Engine {
    /// Opens the store at `root`, making it if the folder is missing or empty.
    ///
    /// # Errors
    ///
    /// The folder is something else, belongs to somebody else, or was made by a newer barque.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::open_choosing(root, None)
    }

    /// As [`Engine::open`]; root filesystems are made in this way, not in the best one that works.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub fn open_choosing(root: &Path, layers: Option<LayerChoice>) -> Result<Self, Error> {
        let options = OpenOptions {
            layers,
            ..OpenOptions::default()
        };
        Ok(Self {
            store: Store::open(root, &options)?,
            network: Arc::default(),
        })
    }

    /// Works with a store that is open already.
    #[must_use]
    pub fn over(store: Store) -> Self {
        Self {
            store,
            network: Arc::default(),
        }
    }

    /// The same with a network that knows the surroundings: proxies, credentials, certificates.
    #[must_use]
    pub fn with_network(self, settings: exchange::NetworkSettings) -> Self {
        Self {
            network: Network::new(settings),
            ..self
        }
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Everything about a container, or about an image if there is no such container.
    ///
    /// # Errors
    ///
    /// There is neither.
    pub fn inspect(&self, name: &str) -> Result<serde_json::Value, Error> {
        match self.inspect_container(name) {
            Err(Error::Store(store::Error::NoSuchContainer { nearest, .. })) => self
                .inspect_image(name)
                .map_err(|error| error.or_container(nearest)),
            other => other,
        }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
}

/// Does what this process was started for by another barque, if it was, and gives its exit code.
///
/// The program calls it first thing: the process that makes a container must have one thread.
#[must_use]
pub fn child_main_if_asked() -> Option<u8> {
    if let Some(code) = runtime::child_main_if_asked() {
        return Some(code);
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    store::upkeep_if_asked(&arguments).map(|done| u8::from(done.is_err()))
}

/// Makes this process keep less memory than it otherwise would; once, at its start.
pub fn spare_memory() {
    sys::memory::give_back_large_blocks();
}

/// Makes an ordinary user root of a user namespace of their own, which processes with several users and files of
/// several owners need; does nothing for root. Gives what the user should know about it, if anything.
///
/// # Errors
///
/// This system does not allow user namespaces to ordinary users, or this process has several threads.
pub fn enter_user_namespace() -> Result<Option<String>, Error> {
    use runtime::userns::Entered;
    match runtime::userns::enter_if_needed().map_err(containers::ContainerError::from)? {
        Entered::NotNeeded | Entered::Mapped => Ok(None),
        Entered::Alone(why) => Ok(Some(why)),
    }
}

/// A time in seconds since 1970 as RFC 3339.
pub(crate) fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Now, as RFC 3339.
pub(crate) fn now_text() -> String {
    jiff::Timestamp::now().to_string()
}

/// True for the superuser.
#[must_use]
pub fn is_root() -> bool {
    sys::user::is_root()
}

/// Writes a small file that a person named, at once or not at all.
///
/// # Errors
///
/// It cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    Ok(sys::fs::replace(path, text.as_bytes())?)
}

/// A small text file that a person named.
///
/// # Errors
///
/// It cannot be read, is no text, or is larger than 4 MiB.
pub fn read_text(path: &Path) -> Result<String, Error> {
    use std::io::Read as _;

    use sys::fs::Context as _;

    /// Larger files are not written by hand; this keeps `/dev/zero` from filling the memory.
    const MOST: u64 = 4 << 20;
    let mut bytes = Vec::new();
    sys::fs::open(path)?
        .take(MOST + 1)
        .read_to_end(&mut bytes)
        .context("read", path)?;
    let wrong =
        |why: &str| sys::fs::Error::new("read", path, std::io::Error::other(why.to_owned()));
    if bytes.len() as u64 > MOST {
        return Err(wrong("it is larger than 4 MiB").into());
    }
    Ok(dockerfile::decode(bytes).map_err(|why| wrong(&why))?)
}
