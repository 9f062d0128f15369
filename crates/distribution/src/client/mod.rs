//! The client: connections, authentication, retries, ranges.
//!
//! - [`Client`] holds what is shared: connections, tokens, configuration;
//! - [`Repository`] is one repository of one registry, with everything that can be asked of it;
//! - [`BlobReader`] gives the bytes of a blob as they come, goes on after a broken connection, and ends with an error if they
//!   are not what the digest says;
//! - [`FileReader`] does the same for a file behind any URL;
//! - [`Source`] is content on its way up, read again from where a broken upload goes on.
//!
//! What a registry says is bounded before it is read, and made fit for a terminal before it is told. Where credentials go is
//! told in the module `auth`.

pub(crate) mod attempts;
mod auth;
mod blob;
pub(crate) mod connect;
pub mod credentials;
mod error;
mod file;
pub(crate) mod host;
mod pages;
pub(crate) mod payload;
pub(crate) mod proxy;
pub mod registries;
mod repository;
mod secret;
mod socks;
pub(crate) mod tls;
pub(crate) mod transport;
mod untag;
mod upload;
pub(crate) mod url;
mod zone;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::wire::http_date;
pub use blob::BlobReader;
pub use credentials::{AuthFile, Credential, Credentials};
pub use error::{Access, Asked, Cause, Error, Kind, Result};
pub use file::{FileError, FileHead, FileReader, FileRequest, Piece};
pub use host::{Endpoint, FindCertificates};
pub use hyper::body::Bytes;
pub use payload::{OnBytes, Source};
pub use proxy::Proxies;
pub use repository::{Fetched, Put, Repository, Which};
pub use secret::Secret;
pub use tls::Certificates;
pub use transport::Patience;
pub use upload::{Upload, Uploaded};
pub use url::{Origin, Url, UrlError, escaped};

use host::{Host, Shared};
use transport::Transport;

/// What a client is made of.
#[derive(Default)]
pub struct Options {
    /// How it names itself to registries.
    pub agent: String,
    /// How long to wait for what.
    pub patience: Patience,
    /// Proxies of the environment.
    pub proxies: Proxies,
    /// Who we are to which registry.
    pub credentials: Credentials,
    /// Certificates that single hosts need.
    pub certificates: Option<FindCertificates>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

/// Speaks to registries, and to whoever has files. Clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    hosts: Arc<Mutex<HashMap<Endpoint, Arc<Host>>>>,
}

impl Client {
    /// A client that has not connected to anything yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let agent = if options.agent.is_empty() {
            concat!("barque/", env!("CARGO_PKG_VERSION")).to_owned()
        } else {
            options.agent
        };
        Self {
            shared: Arc::new(Shared {
                transport: Transport::new(options.patience, options.proxies, agent),
                credentials: options.credentials,
                certificates: options.certificates,
                tls: Mutex::default(),
            }),
            hosts: Arc::default(),
        }
    }

    /// A repository at an endpoint. Nothing is sent yet.
    #[must_use]
    pub fn repository(&self, endpoint: &Endpoint, name: oci::Repository) -> Repository {
        Repository::new(self.host(endpoint), name)
    }

    /// The repositories of a registry, in its order: those that we may see, where it tells them apart.
    ///
    /// # Errors
    ///
    /// It lists none, as Docker Hub, or does not let us in.
    pub async fn repositories(&self, endpoint: &Endpoint) -> Result<Vec<String>> {
        pages::catalog(&self.host(endpoint)).await
    }

    /// Asks whether the registry lets us in with the credentials that are known for it.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or does not let us in.
    pub async fn check_login(&self, endpoint: &Endpoint) -> Result<()> {
        let host = self.host(endpoint);
        let what = format!("login to `{}`", endpoint.registry);
        let call = host::Call {
            method: hyper::Method::GET,
            url: host.url("/v2/").await?,
            headers: hyper::HeaderMap::new(),
            body: hyper::body::Bytes::new(),
            scopes: &[],
            repository: None,
        };
        let answer = host.call(&call).await?;
        host::done(host::expect(answer, &what, &[200]).await?, &what).await
    }

    fn host(&self, endpoint: &Endpoint) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .entry(endpoint.clone())
            .or_insert_with(|| Arc::new(Host::new(self.shared.clone(), endpoint.clone())))
            .clone()
    }
}
