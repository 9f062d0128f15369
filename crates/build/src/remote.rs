//! What a build takes from elsewhere: files behind URLs and git repositories.
//!
//! This crate does no network. It asks a [`Remote`] to bring a source into the store as a layer; from then on the source is
//! like the root file system of a stage, and everything that COPY can do with one works with it. Keys of steps are over
//! that layer and its content, so what is unchanged out there is found in the cache, whatever it took to find that out.

use dockerfile::remote::GitSource;
use oci::DiffId;
use store::Lease;

use crate::error::StepError;
use crate::keys::Key;
use crate::plan::graph::{Step, StepId};
use crate::solve::{Made, Outcome, Solver};
use crate::tell::Teller;

/// Why a source could not be brought.
pub type RemoteError = Box<dyn std::error::Error + Send + Sync>;

/// A source that is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteSource {
    /// What is behind an `http` or `https` URL.
    Http(HttpSource),
    /// A directory of a git repository.
    Git(GitSource),
}

/// A file behind a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// The URL, perhaps with a user and password in it.
    pub url: String,
    /// What its bytes must hash to: `sha256:…`, `sha384:…` or `sha512:…`.
    pub checksum: Option<String>,
    /// If it is an archive, its members are wanted in its place.
    pub unpack: bool,
}

impl RemoteSource {
    /// What people may see of it: never a password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Http(http) => dockerfile::remote::redacted(&http.url),
            Self::Git(git) => {
                let mut shown = dockerfile::remote::redacted(&git.remote);
                if git.reference.is_some() || !git.subdirectory.is_empty() {
                    shown.push('#');
                    shown.push_str(git.reference.as_deref().unwrap_or_default());
                }
                if !git.subdirectory.is_empty() {
                    shown.push(':');
                    shown.push_str(&git.subdirectory);
                }
                shown
            }
        }
    }
}

/// A source that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Its files, bottom first, claimed by the lease that was given: for a URL one file with the name that
    /// [`dockerfile::remote::file_name`] gives it, mode 0600; for a repository its directory as the root. All belong to root.
    pub layers: Vec<DiffId>,
    /// When it was changed last, in seconds since 1970, if that is known.
    pub time: Option<i64>,
    /// What exactly it is: the digest of the file, or the commit's id.
    pub identity: String,
    /// The members of an archive, in place of the archive.
    pub unpacked: bool,
    /// It was in the store already, and nothing but that was asked of the other side.
    pub cached: bool,
}

/// What is told while a source is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bringing<'a> {
    /// So many bytes are here, of so many if that is known.
    Bytes {
        /// Bytes so far.
        done: u64,
        /// All there are.
        total: Option<u64>,
    },
    /// Something that the program at work has said.
    Log(&'a [u8]),
}

/// Brings what is elsewhere into the store.
///
/// There are two: [`Offline`], and the one that knows the network.
pub trait Remote: Sync {
    /// Makes layers of `source`, or finds that those of the last time are still right.
    ///
    /// What is brought is as long in the store as `lease` lives. `tell` hears of progress.
    ///
    /// # Errors
    ///
    /// It could not be had, or is not what it should be. The error never shows a credential.
    fn bring(
        &self,
        source: &RemoteSource,
        lease: &Lease,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<Brought, RemoteError>;
}

/// No network.
#[derive(Debug, Clone, Copy)]
pub struct Offline;

impl Remote for Offline {
    fn bring(
        &self,
        _: &RemoteSource,
        _: &Lease,
        _: &dyn Fn(Bringing<'_>),
    ) -> Result<Brought, RemoteError> {
        Err("this build has no network".into())
    }
}

/// Brings a source and tells about it as a step of this name.
///
/// # Errors
///
/// As [`Remote::bring`].
pub fn bring(
    remote: &dyn Remote,
    source: &RemoteSource,
    name: &str,
    lease: &Lease,
    teller: &Teller<'_>,
) -> Result<Brought, RemoteError> {
    let told = teller.begin(name);
    let tell = |news: Bringing<'_>| match news {
        Bringing::Bytes { done, total } => told.progress(done, total),
        Bringing::Log(bytes) => told.log(crate::events::Stream::Err, bytes),
    };
    let brought = remote
        .bring(source, lease, &tell)
        .inspect_err(|error| told.failed(error))?;
    if brought.cached {
        told.cached();
    } else {
        told.done();
    }
    Ok(brought)
}

impl Solver<'_> {
    /// Brings a source; what it is becomes the root file system of the step.
    pub(crate) fn bring(&self, step: &Step, source: &RemoteSource) -> Result<Made, StepError> {
        let brought = bring(self.remote, source, &step.name, self.lease, self.teller)
            .map_err(StepError::Remote)?;
        Ok(Made {
            layers: brought.layers,
            created: None,
        })
    }

    /// Makes one layer of those that the `parts` of an instruction have made one upon the other.
    pub(crate) fn merge(&mut self, step: &Step, parts: &[StepId]) -> Result<Outcome, StepError> {
        let layers: Vec<DiffId> = parts
            .iter()
            .filter_map(|part| self.layers(Some(*part)).last().copied())
            .collect();
        let mut key = Key::new("merge");
        key.define("parts", parts.len().to_string());
        key.layers("layers", &layers);
        if let Some(found) = self.recall(step, &key.key())? {
            return Ok(found);
        }
        self.lease.claim_layers(&layers)?;
        let mut ingest = self.lease.ingest_layer()?;
        for layer in &layers {
            let Some(layer) = self.store.find_layer(layer)? else {
                return Err(store::Error::MissingLayer(*layer).into());
            };
            append(ingest.writer(), &layer)?;
        }
        let layer = *ingest.publish()?.diff_id();
        let created = self.created();
        self.remember(key, layer, &created)?;
        Ok(Outcome {
            layer,
            created,
            cached: false,
        })
    }
}

/// Adds all entries of a layer to another: of a name that both have, the later one counts.
fn append(ingest: &mut layer::Ingest, layer: &store::Layer) -> Result<(), crate::copy::CopyError> {
    use crate::copy::StreamError;

    let tar = std::io::BufReader::new(sys::fs::open(&layer.tar())?);
    let mut reader = layer::tar::Reader::new(tar);
    let damaged = |error| StreamError::Data {
        path: layer.diff_id().to_string(),
        source: std::io::Error::other(error),
    };
    while let Some(entry) = reader.next().map_err(damaged)? {
        ingest
            .append(&entry.path, &entry.meta, &mut reader)
            .map_err(StreamError::from)?;
    }
    Ok(())
}
