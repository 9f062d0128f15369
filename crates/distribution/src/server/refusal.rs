//! What a request that fails is answered with.

use std::io::ErrorKind;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use oci::Repository;

use super::storage::StorageError;
use crate::wire::ErrorCode;

/// Seconds after which clients may try again when an object store was busy for as long as this server tried.
const BUSY: &str = "5";

/// An answer that is not a success: a code of the specification, a sentence, and what else the status wants.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Why, for the log alone: paths and causes are no business of a client.
    pub(crate) cause: Option<String>,
}

impl Refusal {
    /// With the status that usually comes with the code.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(code.status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            message: message.into(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// With another status.
    pub(crate) const fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With a header; one that cannot be sent is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    /// More than is allowed.
    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(
            ErrorCode::SizeInvalid,
            format!("more than {limit} bytes are not taken"),
        )
        .status(StatusCode::PAYLOAD_TOO_LARGE)
    }

    /// A repository that is not there, or not there for whoever asks.
    pub(crate) fn no_repository(repository: &Repository) -> Self {
        Self::new(
            ErrorCode::NameUnknown,
            format!("there is no repository `{repository}`"),
        )
    }

    /// A method that the resource does not have.
    pub(crate) fn method(allowed: &'static str) -> Self {
        Self::new(ErrorCode::Unsupported, "this is not supported here")
            .header(hyper::header::ALLOW, allowed)
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        let message = error.to_string();
        match error {
            StorageError::RepositoryUnknown => Self::new(ErrorCode::NameUnknown, message),
            StorageError::BlobUnknown(_) => Self::new(ErrorCode::BlobUnknown, message),
            StorageError::ManifestUnknown(_) | StorageError::TagUnknown(_) => {
                Self::new(ErrorCode::ManifestUnknown, message)
            }
            StorageError::UploadUnknown => Self::new(ErrorCode::BlobUploadUnknown, message),
            StorageError::Offset { received } => Self::new(ErrorCode::RangeInvalid, message)
                .header(
                    hyper::header::RANGE,
                    crate::wire::UploadRange::received(received).to_string(),
                ),
            StorageError::Busy => Self::new(ErrorCode::TooManyRequests, message)
                .header(hyper::header::RETRY_AFTER, "1"),
            StorageError::Digest { .. } => Self::new(ErrorCode::DigestInvalid, message),
            StorageError::Size { .. } => Self::new(ErrorCode::ManifestInvalid, message),
            StorageError::Changed(_) => {
                Self::new(ErrorCode::Denied, message).status(StatusCode::CONFLICT)
            }
            StorageError::TooLarge(limit) => Self::too_large(limit),
            StorageError::ReadOnly => Self::new(ErrorCode::Unsupported, message),
            StorageError::Interrupted(_) => Self::new(ErrorCode::BlobUploadInvalid, message),
            StorageError::Corrupt { .. }
            | StorageError::Io { .. }
            | StorageError::InUse
            | StorageError::NoRegistry { .. } => {
                let kind = match &error {
                    StorageError::Io { source, .. } => source.kind(),
                    _ => ErrorKind::Other,
                };
                let mut refusal = match kind {
                    ErrorKind::StorageFull => {
                        Self::new(ErrorCode::Unavailable, "the registry's storage is full")
                            .status(StatusCode::INSUFFICIENT_STORAGE)
                    }
                    ErrorKind::HostUnreachable => Self::new(
                        ErrorCode::Unavailable,
                        "the registry's storage does not answer",
                    )
                    .header(hyper::header::RETRY_AFTER, BUSY),
                    _ => Self::new(ErrorCode::Unknown, "the registry's storage failed"),
                };
                refusal.cause = Some(message);
                refusal
            }
        }
    }
}
