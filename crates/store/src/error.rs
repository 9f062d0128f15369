//! What the door of this crate can answer instead of a result.

use std::path::PathBuf;

use oci::{DiffId, Digest};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder has files but is no store; nothing was touched.
    #[error("`{}` is not empty and not a barque store", .0.display())]
    NotAStore(PathBuf),
    /// The `format` file cannot be understood.
    #[error("`{}` does not describe a barque store: {reason}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was written by a newer barque, in a format that this one does not know.
    #[error(
        "the store `{}` has format version {found}, this barque knows versions up to {known}",
        .root.display()
    )]
    Version {
        /// The store.
        root: PathBuf,
        /// The version that its `format` file has.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The store uses a feature without which it would be misread.
    #[error("the store `{}` uses the feature `{feature}`, which this barque does not know", .root.display())]
    Feature {
        /// The store.
        root: PathBuf,
        /// The feature's name.
        feature: String,
    },
    /// The folder belongs to another user, who could change it under us.
    #[error("the store `{}` belongs to user {owner}, not to user {user}", .root.display())]
    Owner {
        /// The store.
        root: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A file operation in the store's folder failed.
    #[error("the store's folder cannot be used")]
    Io(#[from] sys::fs::Error),
    /// The database of the store failed.
    #[error("cannot {what} in `{}`", .path.display())]
    Database {
        /// What was being done.
        what: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A row of the database holds what cannot be understood.
    #[error("the database row of `{0}` is damaged: {1}")]
    Row(String, String),
    /// A layer could not be made.
    #[error("cannot make the layer")]
    Ingest(#[from] Box<layer::IngestError>),
    /// A layer's index cannot be read.
    #[error("cannot read layer {layer}")]
    Index {
        /// Which layer.
        layer: DiffId,
        /// Why.
        source: Box<layer::IndexError>,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack layer {layer}")]
    Unpack {
        /// Which layer.
        layer: DiffId,
        /// Why.
        source: Box<layer::UnpackError>,
    },
    /// A layer could not be compressed.
    #[error("cannot compress layer {layer}")]
    Compress {
        /// Which layer.
        layer: DiffId,
        /// Why.
        source: std::io::Error,
    },
    /// The way to root filesystems that was chosen does not work here.
    #[error("layers cannot be made into a root filesystem by way of `{chosen}`: {reason}")]
    Way {
        /// The name of the choice.
        chosen: &'static str,
        /// What was tried and failed.
        reason: String,
    },
    /// The content is not what its name promised.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// More bytes came than the descriptor promised.
    #[error("the content of {digest} is longer than the {size} bytes promised")]
    TooLong {
        /// The digest that was promised.
        digest: Digest,
        /// The size that was promised.
        size: u64,
    },
    /// Content in the store is damaged; it is not used.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// What is damaged, by name.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer that something names is not in the store.
    #[error("layer {0} is not in the store")]
    MissingLayer(DiffId),
    /// A blob that something names is not in the store.
    #[error("blob {0} is not in the store")]
    MissingBlob(Digest),
    /// No image has this name or id.
    #[error("no such image: `{text}`")]
    NoSuchImage {
        /// What was asked for.
        text: String,
        /// The name in the store that is most like it.
        nearest: Option<String>,
    },
    /// Several images, or several containers, have an id that begins like this.
    #[error("`{text}` could be any of {} ids: {}", .candidates.len(), .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The ids it could mean.
        candidates: Vec<String>,
    },
    /// No container has this name or id.
    #[error("no such container: `{text}`")]
    NoSuchContainer {
        /// What was asked for.
        text: String,
        /// The name in the store that is most like it.
        nearest: Option<String>,
    },
    /// Another container has this name.
    #[error("the container name `{name}` is in use by container {id}")]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// A name for a container that could be taken for something else.
    #[error(
        "`{0}` is not a container name: letters, digits, `_`, `.` and `-`, beginning with a letter or digit, at least two"
    )]
    ContainerName(String),
    /// An image cannot be removed because something needs it.
    #[error("cannot remove image `{image}`: {reason}")]
    InUse {
        /// What was asked for.
        image: String,
        /// What needs it.
        reason: String,
        /// True if `force` would do it all the same.
        forceable: bool,
    },
    /// A document of an image cannot be understood.
    #[error("cannot read the {what} of an image")]
    Document {
        /// Which document.
        what: &'static str,
        /// Why.
        source: oci::DocumentError,
    },
    /// An image's parts contradict each other.
    #[error("the image is not consistent: {0}")]
    Inconsistent(String),
    /// The detached process that syncs could not be started.
    #[error("cannot start `{}`", .exe.display())]
    Spawn {
        /// The program.
        exe: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Two contents: the one that was promised and the one that came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the content is {found_size} bytes with digest {found}, expected {} bytes with digest {expected}",
    .expected_size.map_or_else(|| "any number of".to_owned(), |size| size.to_string())
)]
pub struct Mismatch {
    /// The digest that was promised.
    pub expected: Digest,
    /// The size that was promised, if one was.
    pub expected_size: Option<u64>,
    /// The digest that came.
    pub found: Digest,
    /// The size that came.
    pub found_size: u64,
}

/// What a caller may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was named does not exist.
    NotFound,
    /// Something else has it or needs it.
    Conflict,
    /// The content is not what it should be.
    Corrupt,
    /// The system denies it.
    Denied,
    /// This program or this machine cannot do it.
    Unsupported,
    /// The disk or a quota is full.
    Full,
    /// Everything else: the cause tells.
    Failed,
}

impl Error {
    /// The kind of this error, to branch on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::MissingLayer(_)
            | Self::MissingBlob(_)
            | Self::NoSuchImage { .. }
            | Self::NoSuchContainer { .. } => Kind::NotFound,
            Self::Ambiguous { .. } | Self::NameInUse { .. } | Self::InUse { .. } => Kind::Conflict,
            Self::Mismatch(_)
            | Self::TooLong { .. }
            | Self::Corrupt { .. }
            | Self::Row(..)
            | Self::Document { .. }
            | Self::Inconsistent(_) => Kind::Corrupt,
            Self::NotAStore(_)
            | Self::Format { .. }
            | Self::Version { .. }
            | Self::Feature { .. }
            | Self::Way { .. } => Kind::Unsupported,
            Self::Owner { .. } => Kind::Denied,
            Self::Io(error) => kind_of_io(error.kind()),
            Self::Spawn { source, .. } | Self::Compress { source, .. } => kind_of_io(source.kind()),
            Self::Database { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => Kind::Full,
                Some(rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly) => {
                    Kind::Denied
                }
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Kind::Corrupt
                }
                _ => Kind::Failed,
            },
            Self::Ingest(error) => match &**error {
                layer::IngestError::Write(error) => kind_of_io(error.kind()),
                layer::IngestError::Index { source, .. } => kind_of_io(source.kind()),
                _ => Kind::Failed,
            },
            Self::Index { .. } => Kind::Corrupt,
            Self::ContainerName(_) | Self::Unpack { .. } => Kind::Failed,
        }
    }
}

fn kind_of_io(kind: std::io::ErrorKind) -> Kind {
    match kind {
        std::io::ErrorKind::NotFound => Kind::NotFound,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            Kind::Denied
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Failed,
    }
}

/// The result of something asked of the store.
pub type Result<T> = std::result::Result<T, Error>;
