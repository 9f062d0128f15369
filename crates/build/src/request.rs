//! What a build is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dockerfile::Parsed;
use dockerfile::lint::Asked;
use oci::{DiffId, Digest, Platform, Reference};

use crate::events::Event;
use crate::remote::RemoteSource;

/// A text that a build reads, and what people call it.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// Its name in messages: `Dockerfile`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Which network a RUN has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// None but the loopback device.
    None,
}

/// Something that a Dockerfile can name like a stage: `--build-context NAME=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Directory(PathBuf),
    /// An image.
    Image(Reference),
    /// An image without layers: `docker-image://scratch`.
    Scratch,
    /// An image in an OCI layout: `oci-layout://PATH`.
    Layout(Layout),
    /// What is behind a URL, or a git repository.
    Remote(RemoteSource),
}

/// An image in a folder that is an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The folder.
    pub path: PathBuf,
    /// Its tag there; the only image, if there is one, or `latest`.
    pub tag: Option<String>,
    /// Its digest.
    pub digest: Option<Digest>,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "oci-layout://{}", self.path.display())?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest
            .iter()
            .try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Where the build context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextFiles {
    /// A directory, whose files all belong to root in the image.
    Directory(PathBuf),
    /// Layers of the store, bottom first: an archive, or a commit. The files keep their owners.
    Layers(Vec<DiffId>),
}

/// A limit of the kernel for the processes of RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name without `RLIMIT_`, in lower case: `nofile`.
    pub name: String,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// What a step may have only if who builds agreed to it: BuildKit's entitlements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grants {
    /// `network.host`: `RUN --network=host`.
    pub network_host: bool,
    /// `security.insecure`: `RUN --security=insecure`.
    pub insecure: bool,
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, which is read when a step asks for it.
    File(PathBuf),
    /// Here.
    Value(Vec<u8>),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // A secret is never in a log.
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// Keys of steps that were done, shared by all clones: several builds that belong together.
#[derive(Debug, Clone, Default)]
pub struct Fresh(Arc<Mutex<BTreeSet<String>>>);

impl Fresh {
    pub(crate) fn add(&self, key: &str) {
        self.keys().insert(key.to_owned());
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys().contains(key)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One image to be built.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The Dockerfile.
    pub dockerfile: Text,
    /// The files that the Dockerfile may include, by their paths in the context: the text of each, or why it cannot be had.
    /// Only a Dockerfile with the extension `include` looks at them.
    pub includes: BTreeMap<String, Result<String, String>>,
    /// Steps that were done for the same caller just now. What `no_cache` says is not about them.
    pub fresh: Option<Fresh>,
    /// Checks that were asked for beyond Docker's and those that the Dockerfile asks for.
    pub also_check: Asked,
    /// What COPY takes files from; none if the build has no context.
    pub context: Option<ContextFiles>,
    /// The time that `SOURCE_DATE_EPOCH=context` means, in seconds since 1970; a directory has none.
    pub context_time: Option<i64>,
    /// What of it is left out: the `.dockerignore` file.
    pub ignore: Option<Text>,
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// Values for ARG.
    pub build_args: BTreeMap<String, String>,
    /// Labels that are added to the image, over those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// Names that the image gets.
    pub tags: Vec<Reference>,
    /// What the image is to run on; this machine if not given.
    pub platform: Option<Platform>,
    /// Steps are told with the platform, since it is one of several.
    pub name_platform: bool,
    /// Use nothing that earlier builds made. What this one makes, later ones may use.
    pub no_cache: bool,
    /// The same for some stages, and what depends on them.
    pub no_cache_stages: Vec<String>,
    /// Named contexts.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Secrets for `RUN --mount=type=secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The sockets of agents for `RUN --mount=type=ssh`, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// What steps may have that could harm this machine.
    pub grants: Grants,
    /// The network of RUN where it does not say.
    pub network: Network,
    /// Lines for `/etc/hosts`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// Limits for RUN.
    pub limits: Vec<Limit>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// A CA bundle of this machine that RUN sees, without a trace in the image.
    pub host_ca: Option<PathBuf>,
    /// The time of the image, in seconds since 1970, instead of now. Also given by the build argument `SOURCE_DATE_EPOCH`.
    pub epoch: Option<i64>,
    /// Now, in seconds since 1970 and nanoseconds.
    pub now: (i64, u32),
}

impl Request {
    /// Reads the Dockerfile, with what it includes.
    #[must_use]
    pub fn parse(&self) -> Parsed {
        dockerfile::parse_including(&self.dockerfile.text, &mut |path| {
            let found = self.includes.get(path).cloned();
            found.unwrap_or_else(|| Err("it was not read".to_owned()))
        })
    }

    /// The texts that places are in, as [`dockerfile::Span::file`] counts them: the Dockerfile, and what it includes.
    #[must_use]
    pub fn sources(&self) -> Vec<Text> {
        let mut sources = vec![self.dockerfile.clone()];
        if !self.includes.is_empty() {
            let included = self.parse().included.into_iter();
            sources.extend(included.map(|file| Text {
                name: file.path,
                text: file.text.to_string(),
            }));
        }
        sources
    }
}

/// What a build tells while it works.
pub type Events<'a> = &'a (dyn Fn(Event) + Send + Sync);
