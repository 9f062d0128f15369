//! Files behind URLs as far as a build needs them: asking whether one has changed, and fetching it.
//!
//! How HTTP is spoken is told in `distribution::client`: redirects, credentials, retries, going on where a download broke. Everything has a
//! limit but the time that a download may take as long as it goes on.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use build::Bringing;
use distribution::client::{
    self, Client as Registries, Error as ClientError, FileError, FileRequest, Options, Patience,
    Piece, Secret,
};
use oci::{Digest, Hasher};
use sys::fs::Context as _;

use super::host::Host;
use super::url::{Url, UrlError};
use crate::exchange::{ExchangeError, Network};

/// Most bytes between two reports of progress.
const REPORT: u64 = 1 << 20;

/// What an exchange may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a file.
    pub(crate) body: u64,
    /// How long nothing may come.
    pub(crate) stall: Duration,
    /// The wait before a second attempt.
    pub(crate) backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let patience = Patience::default();
        Self {
            // Larger than any file that belongs into an image, and there has to be an end.
            body: 256 << 30,
            stall: patience.stall,
            backoff: patience.backoff,
        }
    }
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The server does not give it.
    #[error("cannot fetch `{url}`: {source}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why.
        source: FileError,
    },
    /// A file that is as it was, though nobody asked whether it is.
    #[error("cannot fetch `{url}`: the server answered that it has not changed")]
    Unasked {
        /// What was asked for.
        url: String,
    },
    /// A credential that cannot be sent.
    #[error("the secret `{0}` is not the value of a header")]
    Secret(String),
    /// The proxies of the environment cannot be used.
    #[error(transparent)]
    Proxy(ClientError),
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// There is no network.
    #[error(transparent)]
    Network(#[from] ExchangeError),
}

/// What a server says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) etag: Option<String>,
    /// Seconds since 1970.
    pub(crate) modified: Option<i64>,
}

/// A file that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) headers: Headers,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// SHA-256 of its bytes.
    pub(crate) digest: Digest,
}

/// A request, for one URL and where that leads.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    /// The value of `Authorization`, for the origin of `url`.
    pub(crate) authorization: Option<Secret>,
    /// What is known: the answer may be that it is still so.
    pub(crate) etag: Option<&'a str>,
}

/// Fetches files.
pub(crate) struct Client<'a> {
    host: &'a Host,
    network: &'a Network,
    limits: Limits,
    client: OnceLock<Registries>,
}

impl<'a> Client<'a> {
    pub(crate) const fn new(host: &'a Host, network: &'a Network, limits: Limits) -> Self {
        Self {
            host,
            network,
            limits,
            client: OnceLock::new(),
        }
    }

    /// The surroundings.
    pub(super) const fn host(&self) -> &'a Host {
        self.host
    }

    /// A client without any credentials of the person: a Dockerfile may come from anybody.
    fn client(&self) -> Result<&Registries, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let proxies = self.host.proxies().map_err(HttpError::Proxy)?;
        Ok(self.client.get_or_init(|| {
            Registries::new(Options {
                proxies,
                patience: Patience {
                    stall: self.limits.stall,
                    backoff: self.limits.backoff,
                    ..Patience::default()
                },
                ..Options::default()
            })
        }))
    }

    /// Whether the file still is what it was when it had this ETag.
    pub(crate) fn is_same(&self, ask: &Ask<'_>) -> Result<bool, HttpError> {
        let request = self.request(ask)?;
        let same = self.network.run(self.client()?.is_same_file(&request))?;
        same.map_err(fetching(ask))
    }

    /// Fetches the file into `to`, which must not exist; `None` if it is what it was.
    pub(crate) fn fetch(
        &self,
        ask: &Ask<'_>,
        to: &Path,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<Option<Fetched>, HttpError> {
        let client = self.client()?;
        let request = self.request(ask)?;
        self.network.run(async {
            match client.file(request).await.map_err(fetching(ask))? {
                Some(reader) => receive(reader, ask, to, tell).await.map(Some),
                None => Ok(None),
            }
        })?
    }

    fn request(&self, ask: &Ask<'_>) -> Result<FileRequest, HttpError> {
        Ok(FileRequest {
            url: ask.url.address()?,
            authorization: ask.authorization.clone(),
            etag: ask.etag.map(str::to_owned),
            limit: self.limits.body,
        })
    }
}

fn fetching(ask: &Ask<'_>) -> impl Fn(FileError) -> HttpError {
    let url = ask.url.to_string();
    move |source| HttpError::Fetch {
        url: url.clone(),
        source,
    }
}

async fn receive(
    mut reader: client::FileReader,
    ask: &Ask<'_>,
    to: &Path,
    tell: &dyn Fn(Bringing<'_>),
) -> Result<Fetched, HttpError> {
    let mut file = sys::fs::create_new(to)?;
    let mut hasher = Hasher::sha256();
    let (mut size, mut reported) = (0, 0);
    while let Some(piece) = reader.next().await.map_err(fetching(ask))? {
        match piece {
            Piece::Bytes(bytes) => {
                size += bytes.len() as u64;
                hasher.update(&bytes);
                file.write_all(&bytes).context("write", to)?;
            }
            Piece::Again => {
                file.set_len(0).context("write", to)?;
                file.rewind().context("write", to)?;
                hasher = Hasher::sha256();
                (size, reported) = (0, 0);
            }
        }
        if size - reported >= REPORT {
            reported = size;
            tell(Bringing::Bytes {
                done: size,
                total: reader.head().size,
            });
        }
    }
    let head = reader.head();
    Ok(Fetched {
        headers: Headers {
            etag: head.etag.clone(),
            modified: head.modified.as_deref().and_then(client::http_date),
        },
        path: to.to_owned(),
        size,
        digest: hasher.finish(),
    })
}
