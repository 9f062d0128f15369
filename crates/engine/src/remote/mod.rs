//! What a build takes from elsewhere, brought into the store as layers: files behind URLs and git repositories.
//!
//! ```text
//! url      a URL, taken apart once
//! host     proxies and the ssh agent of this machine
//! http     downloads, through the client of `distribution`
//! file     a file behind a URL ─► layer, revalidated by its ETag
//! program  the program `git`, started so that no repository can make it do more than fetch
//! git      a commit's directory ─► layer
//! tree     a directory ─► layer
//! ```
//!
//! What was brought is remembered in build records, so it stays in the store until it is pruned, and the second time a server is
//! only asked whether it has changed.

mod file;
mod git;
mod host;
mod http;
mod program;
#[cfg(test)]
mod tests;
mod tree;
mod url;

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use build::{Bringing, Brought, RemoteSource, SecretSource};
use oci::Digest;
use store::Lease;
use sys::fs::Context as _;

use crate::exchange::Network;

pub use git::GitError;
pub use host::Host;
pub use http::HttpError;
pub use url::UrlError;

pub(crate) use http::Limits;

/// The largest secret, as with BuildKit.
const MAX_SECRET: u64 = 500 << 10;

/// Why a source on the network could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A file behind a URL.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file that is not what was asked for.
    #[error("`{url}` has the digest `{found}`, not `{expected}`")]
    Checksum {
        /// Where it is.
        url: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A file of this machine.
    #[error(transparent)]
    File(#[from] sys::fs::Error),
    /// What was brought cannot be a layer.
    #[error("cannot keep `{source_name}`")]
    Layer {
        /// The source.
        source_name: String,
        /// Why.
        source: layer::IngestError,
    },
    /// A layer cannot be read.
    #[error(transparent)]
    Index(#[from] layer::IndexError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<UrlError> for RemoteError {
    fn from(error: UrlError) -> Self {
        Self::Http(error.into())
    }
}

/// Brings sources, with the credentials of one build.
pub(crate) struct Outside<'a> {
    client: http::Client<'a>,
    secrets: &'a BTreeMap<String, SecretSource>,
    /// The ssh agent that sources may use.
    ssh: Option<&'a std::path::Path>,
}

impl<'a> Outside<'a> {
    /// `secrets` are those of the build: some names give credentials for hosts.
    pub(crate) fn new(
        (host, network): (&'a Host, &'a Network),
        mut limits: Limits,
        secrets: &'a BTreeMap<String, SecretSource>,
        ssh: Option<&'a std::path::Path>,
    ) -> Self {
        if let Ok(settings) = network.settings() {
            limits.backoff = settings.backoff;
        }
        Self {
            client: http::Client::new(host, network, limits),
            secrets,
            ssh,
        }
    }

    /// A secret as text, without the line's end that editors leave.
    fn secret(&self, name: &str) -> Result<Option<String>, RemoteError> {
        let bytes = match self.secrets.get(name) {
            None => return Ok(None),
            Some(SecretSource::Value(bytes)) => bytes.clone(),
            Some(SecretSource::File(path)) => {
                let mut bytes = Vec::new();
                sys::fs::open(path)?
                    .take(MAX_SECRET)
                    .read_to_end(&mut bytes)
                    .context("read", path)?;
                bytes
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl build::Remote for Outside<'_> {
    fn bring(
        &self,
        source: &RemoteSource,
        lease: &Lease,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<Brought, build::RemoteError> {
        let brought = match source {
            RemoteSource::Http(http) => {
                let file = self.file(http, lease, tell)?;
                let archive = match http.unpack {
                    true => self.archive(&file, lease)?,
                    false => None,
                };
                let time = match (file.modified, archive) {
                    (None, Some(archive)) => newest(lease, &archive)?,
                    (modified, _) => modified,
                };
                Brought {
                    layers: vec![archive.unwrap_or(file.layer)],
                    time,
                    identity: file.digest.to_string(),
                    unpacked: archive.is_some(),
                    cached: file.cached,
                }
            }
            RemoteSource::Git(git) => self.git(git, lease, tell)?,
        };
        Ok(brought)
    }
}

/// The time of the newest file in a layer.
pub(crate) fn newest(lease: &Lease, layer: &oci::DiffId) -> Result<Option<i64>, RemoteError> {
    let view = lease.view(&[*layer])?;
    let Some(root) = view.root()? else {
        return Ok(None);
    };
    let mut newest = None;
    for entry in view.walk(b"", root).skip(1) {
        let (_, node) = entry?;
        newest = newest.max(Some(view.stat(&node)?.mtime.secs));
    }
    Ok(newest)
}

/// The value of an `Authorization` header for a user and password.
fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// The key of a record: a hash over its kind and the fields that it is found by, each with its length.
fn key(kind: &str, fields: &[&str]) -> String {
    let mut text = String::new();
    for field in fields {
        text.push_str(&format!("{}:{field}", field.len()));
    }
    format!("remote {kind} {}", Digest::sha256_of(text.as_bytes()).hex())
}

/// Text from elsewhere as it may be shown on a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}
