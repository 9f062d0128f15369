//! Where a registry keeps what it was given: one trait, two implementations.
//!
//! [`local`] is a folder of one server. [`object`] is a bucket of an S3-compatible store that any number of servers
//! share. Both pass the suite in `tests/it/storage`, which is the trait's other half of documentation.
//!
//! What every implementation promises:
//!
//! - Content is kept once and checked against its digest before anyone can see it; a blob is visible only in the
//!   repositories that hold it.
//! - When a call that stores something returns `Ok`, what it stored survives a power cut.
//! - A manifest is taken only if what it needs is there, and nothing that a manifest needs is collected. A blob that
//!   was uploaded, mounted or asked for a short while ago (the grace time) is not collected either: a push that skips
//!   it because it is there finds it there when its manifest comes.
//! - Paths and keys are made of [`Repository`], [`Tag`], [`Digest`] and [`UploadId`] alone, none of which can hold `..`.

pub mod local;
pub mod object;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes};
use oci::{Algorithm, Descriptor, Digest, Repository, Tag};
use serde::{Deserialize, Serialize};

/// Why storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such repository.
    #[error("the repository does not exist")]
    RepositoryUnknown,
    /// The repository does not hold this blob.
    #[error("blob `{0}` is not in the repository")]
    BlobUnknown(Digest),
    /// The repository does not hold this manifest.
    #[error("manifest `{0}` is not in the repository")]
    ManifestUnknown(Digest),
    /// The repository has no such tag.
    #[error("tag `{0}` does not exist")]
    TagUnknown(Tag),
    /// No such upload in this repository; it may have been finished, cancelled or forgotten.
    #[error("the upload does not exist")]
    UploadUnknown,
    /// What came does not begin where the upload stands.
    #[error("the upload stands at byte {received}")]
    Offset {
        /// How many bytes the upload has.
        received: u64,
    },
    /// Another request is writing to the same upload.
    #[error("another request is writing to the upload")]
    Busy,
    /// The content has another digest than the one it was to have.
    #[error("the content has the digest `{found}`, not `{expected}`")]
    Digest {
        /// What the client said.
        expected: Box<Digest>,
        /// What the bytes say.
        found: Box<Digest>,
    },
    /// A manifest gives a blob another size than it has.
    #[error("blob `{digest}` has {actual} bytes, not {stated}")]
    Size {
        /// Which blob.
        digest: Digest,
        /// What the manifest says.
        stated: u64,
        /// What is stored.
        actual: u64,
    },
    /// The tag does not stand where the caller took it to stand, or may not be moved.
    #[error("tag `{0}` names another manifest")]
    Changed(Tag),
    /// More bytes than are allowed.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// Another server works on the folder.
    #[error("another server works on this folder")]
    InUse,
    /// Files that are no registry's lie where it would put its own.
    #[error("`{place}` is no registry, and something else is in its `{name}`")]
    NoRegistry {
        /// Which folder.
        place: String,
        /// The directory with something in it.
        name: &'static str,
    },
    /// This storage cannot be written to.
    #[error("this storage is read-only")]
    ReadOnly,
    /// The sender went away in the middle.
    #[error("the body broke off")]
    Interrupted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is kept cannot be understood.
    #[error("`{place}` is damaged: {why}")]
    Corrupt {
        /// Which file or object.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk or the object store failed.
    #[error("cannot {verb} `{place}`: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        place: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The result of a storage call.
pub type Result<T> = std::result::Result<T, StorageError>;

/// The name of an upload: 128 random bits, so that nobody guesses another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(u128);

impl UploadId {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The kernel gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if got != bytes.len() {
            return Err(io::Error::other("too few random bytes"));
        }
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UploadId {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(StorageError::UploadUnknown);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| StorageError::UploadUnknown)
    }
}

/// Bytes that come from a client.
pub type Incoming<'a> = &'a mut (
            dyn Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Send + Unpin
        );

/// Bytes of a blob, on their way to a client.
#[derive(Debug)]
pub enum Content {
    /// A range of a file.
    File(Arc<File>, Range<u64>),
    /// A few bytes.
    Bytes(Bytes),
    /// Bytes that come from elsewhere, as long as the range that was asked for.
    Stream(UnsyncBoxBody<Bytes, io::Error>),
    /// A URL that the client may fetch from itself.
    Elsewhere(String),
}

/// A manifest as it was pushed.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// The media type that it was pushed with.
    pub media_type: Arc<str>,
    /// The very bytes.
    pub bytes: Bytes,
}

/// A manifest to be stored.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// The digest that the bytes have been checked against.
    pub digest: Digest,
    /// The media type that it is pushed with.
    pub media_type: String,
    /// The very bytes.
    pub bytes: Bytes,
    /// Blobs that must be in the repository, and their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Manifests that must be in the repository.
    pub manifests: Vec<Digest>,
    /// What it refers to, and how it is listed there.
    pub referrer: Option<Referrer>,
    /// Tags that name it afterwards.
    pub tags: Vec<NewTag>,
}

/// A manifest's place in the list of what refers to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referrer {
    /// What it refers to; need not exist.
    pub subject: Digest,
    /// The entry of the list.
    pub descriptor: Descriptor,
}

impl Referrer {
    /// Of a manifest or index that refers to something; nothing if it does not.
    #[must_use]
    pub fn of(bytes: &[u8], media_type: &str, digest: Digest) -> Option<Self> {
        let document = super::document::read(bytes, Some(media_type), digest);
        document.ok()?.referrer
    }
}

/// A tag to be set.
#[derive(Debug, Clone)]
pub struct NewTag {
    /// Its name.
    pub tag: Tag,
    /// When it may be set.
    pub condition: Condition,
}

/// When a tag may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Whatever it named.
    Always,
    /// If it named nothing, or this manifest already.
    Unmoved,
    /// If it named this.
    Names(Digest),
}

impl Condition {
    /// Whether a tag that names `old` may come to name `new`.
    #[must_use]
    pub fn allows(self, old: Option<Digest>, new: Digest) -> bool {
        match self {
            Self::Always => true,
            Self::Unmoved => old.is_none_or(|old| old == new),
            Self::Names(expected) => old == Some(expected),
        }
    }
}

/// A line of a tag's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagEvent {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What the tag named from then on; nothing if it was deleted.
    pub digest: Option<Digest>,
}

/// A manifest without its bytes, as retention looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSummary {
    /// Its digest.
    pub digest: Digest,
    /// When it was last pushed.
    pub pushed: u64,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// When it was last pulled, to the hour; 0 for never.
    pub pulled: u64,
}

/// What a collection may take.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    /// How long a blob that no manifest needs is kept after it was last uploaded, mounted or asked for, in seconds.
    pub grace: u64,
    /// How long an upload without news is kept, in seconds.
    pub upload_age: u64,
    /// Only count.
    pub dry_run: bool,
}

/// What a collection took, or would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Blobs that left a repository.
    pub blobs: u64,
    /// Content that no repository held any more.
    pub content: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Uploads that nobody finished.
    pub uploads: u64,
}

/// A file that an upload grows in. Clones share it.
#[derive(Debug, Clone)]
pub struct Partial {
    file: Arc<File>,
    written: Arc<AtomicU64>,
}

impl Partial {
    /// Of a file with nothing in it.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            written: Arc::default(),
        }
    }

    /// The file; only what was written may be read.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// How many bytes are there.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// So many more are there now.
    pub(crate) fn grow(&self, count: u64) {
        self.written.fetch_add(count, Ordering::Release);
    }
}

/// Which repositories a request may look into.
pub type Visible<'a> = &'a (dyn Fn(&Repository) -> bool + Send + Sync);

/// How exactly pulls are noted, in seconds.
pub(crate) const PULL_STEP: u64 = 3600;

/// What a registry keeps. See the module for the promises.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Whether it works: what `/readyz` asks.
    async fn check(&self) -> Result<()>;

    /// Whether of two servers that change the same tag at the same time one finds out that the other came first. To be asked
    /// before it is served: in a bucket without such an order, a server then keeps its own at least. A folder has one server.
    async fn has_order(&self) -> Result<bool> {
        Ok(true)
    }

    /// Repositories in the order of their names, those after `after`, at most `limit`.
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>>;

    /// The size of a blob that the repository holds. Asking keeps it for the grace time.
    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>>;

    /// A range of a blob that the repository holds; the range lies within its size.
    async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        range: Range<u64>,
    ) -> Result<Content>;

    /// Makes a blob visible in a repository because `from` holds it, or any repository that is `visible`. Says whether
    /// one does.
    async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: Option<&Repository>,
        visible: Visible<'_>,
    ) -> Result<bool>;

    /// Takes a blob out of a repository, at once.
    async fn remove_blob(&self, repository: &Repository, digest: &Digest) -> Result<()>;

    /// Begins an upload whose digest will be of `algorithm`.
    async fn start_upload(&self, repository: &Repository, algorithm: Algorithm)
    -> Result<UploadId>;

    /// How many bytes an upload has.
    async fn upload(&self, repository: &Repository, id: UploadId) -> Result<u64>;

    /// Adds bytes to an upload, which must stand at `at` if that is given, and says how many it has then. Bytes that came
    /// before the sender went away stay. An upload that would get more than `limit` bytes gets none of those beyond.
    async fn append(
        &self,
        repository: &Repository,
        id: UploadId,
        at: Option<u64>,
        body: Incoming<'_>,
        limit: u64,
    ) -> Result<u64>;

    /// What a new upload will have, for whoever reads along while it grows; nothing where that cannot be read.
    async fn partial(&self, _repository: &Repository, _id: UploadId) -> Result<Option<Partial>> {
        Ok(None)
    }

    /// Makes an upload a blob of the repository and says its size. If the digest differs the upload is gone.
    async fn finish_upload(
        &self,
        repository: &Repository,
        id: UploadId,
        digest: &Digest,
    ) -> Result<u64>;

    /// Forgets an upload.
    async fn cancel_upload(&self, repository: &Repository, id: UploadId) -> Result<()>;

    /// A manifest of the repository, as it was pushed.
    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>>;

    /// Notes that a manifest was pulled, to the hour, for retention. It is not worth an error: a note that fails is lost.
    async fn note_pull(&self, _repository: &Repository, _digest: &Digest) {}

    /// Stores a manifest and its tags: all or nothing.
    async fn put_manifest(&self, repository: &Repository, manifest: NewManifest) -> Result<()>;

    /// Takes a manifest out of the repository, and every tag that names it.
    async fn remove_manifest(&self, repository: &Repository, digest: &Digest) -> Result<()>;

    /// All manifests of the repository, in no order.
    async fn manifests(&self, repository: &Repository) -> Result<Vec<ManifestSummary>>;

    /// What a tag names.
    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>>;

    /// Tags in byte order, those after `after`, at most `limit`.
    async fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>>;

    /// Points a tag at a manifest that the repository has.
    async fn set_tag(&self, repository: &Repository, tag: NewTag, digest: &Digest) -> Result<()>;

    /// Deletes a tag, if it names `expected` or that is not given. Its past is kept.
    async fn remove_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        expected: Option<&Digest>,
    ) -> Result<()>;

    /// What a tag has named, oldest first; empty if it never was.
    async fn tag_history(&self, repository: &Repository, tag: &Tag) -> Result<Vec<TagEvent>>;

    /// What refers to `subject` in the repository, in the order of the digests.
    async fn referrers(&self, repository: &Repository, subject: &Digest)
    -> Result<Vec<Descriptor>>;

    /// Frees what nothing needs any more. Safe while everything else goes on.
    async fn collect(&self, what: &Collection) -> Result<Collected>;

    /// How many bytes the blobs and manifests of a repository have, each counted once; a bucket's manifests a little more.
    async fn usage(&self, repository: &Repository) -> Result<u64>;
}

/// The time as storage sees it: seconds since 1970. Tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that is `read` when the time is wanted.
    pub fn new(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        })
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
