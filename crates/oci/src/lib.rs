//! The vocabulary of container images: digests, references, platforms, manifests, configs. Values, no I/O.
//!
//! Every text from outside becomes one of these types once, at the edge, in a function without I/O; afterwards a
//! [`Digest`] cannot hold a slash, a [`Reference`] is normalised and a [`Manifest`] is not an [`Index`]. Documents that are
//! hashed (manifests, indexes, configs) are kept as the bytes that came; the types here are the parsed view beside them.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

mod config;
mod digest;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{ContainerConfig, Empty, Healthcheck, HistoryEntry, ImageConfig, RootFs};
pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError, Hasher, ImageId};
pub use manifest::{Descriptor, Document, DocumentError, Index, MAX_DOCUMENT_SIZE, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, Repository, Tag};
