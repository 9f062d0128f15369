//! The error document: `{"errors": [{"code", "message", "detail"}]}`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::sanitised;

/// The largest body of an answer that is not a success that is read, 64 KiB: it is shown to a person.
pub const MAX_ERROR_BODY: usize = 64 << 10;

/// The longest message that is kept of each entry, in characters.
const MAX_MESSAGE: usize = 500;

/// More entries than this say nothing more.
const MAX_ENTRIES: usize = 10;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $message:literal;)*) => {
        /// The codes of the specification, and those that distribution adds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// The code as it is on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The status that it usually comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            /// A message for it when there is nothing better to say.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                }
            }

            /// The code with this text.
            #[must_use]
            pub fn find(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The registry does not know the blob.
    BlobUnknown = "BLOB_UNKNOWN", 404, "blob unknown to registry";
    /// The upload cannot go on.
    BlobUploadInvalid = "BLOB_UPLOAD_INVALID", 400, "blob upload invalid";
    /// There is no such upload (any more).
    BlobUploadUnknown = "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry";
    /// The content has another digest than was said, or the digest is malformed or of an unknown algorithm.
    DigestInvalid = "DIGEST_INVALID", 400, "provided digest did not match uploaded content";
    /// The manifest names something that is not there.
    ManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN", 404, "manifest references a manifest or blob unknown to registry";
    /// The manifest is malformed.
    ManifestInvalid = "MANIFEST_INVALID", 400, "manifest invalid";
    /// There is no such manifest.
    ManifestUnknown = "MANIFEST_UNKNOWN", 404, "manifest unknown to registry";
    /// The repository name is malformed.
    NameInvalid = "NAME_INVALID", 400, "invalid repository name";
    /// There is no such repository.
    NameUnknown = "NAME_UNKNOWN", 404, "repository name not known to registry";
    /// Content and stated length differ.
    SizeInvalid = "SIZE_INVALID", 400, "provided length did not match content length";
    /// Authentication is required.
    Unauthorized = "UNAUTHORIZED", 401, "authentication required";
    /// Access is denied.
    Denied = "DENIED", 403, "requested access to the resource is denied";
    /// The operation is not supported.
    Unsupported = "UNSUPPORTED", 405, "the operation is unsupported";
    /// Too many requests.
    TooManyRequests = "TOOMANYREQUESTS", 429, "too many requests";
    /// The page size is malformed (distribution).
    PaginationNumberInvalid = "PAGINATION_NUMBER_INVALID", 400, "invalid number of results requested";
    /// The content range is malformed or has a gap (distribution).
    RangeInvalid = "RANGE_INVALID", 416, "invalid content range";
    /// The tag is malformed (distribution).
    TagInvalid = "TAG_INVALID", 400, "manifest tag did not match URI";
    /// The registry cannot answer now (distribution).
    Unavailable = "UNAVAILABLE", 503, "service unavailable";
    /// Anything else (distribution).
    Unknown = "UNKNOWN", 500, "unknown error";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of an error document. Codes that are not known are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// The code.
    #[serde(default)]
    pub code: String,
    /// What it says to a person.
    #[serde(default)]
    pub message: String,
    /// Anything.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

/// The body of an answer that is not a success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// Its entries.
    pub errors: Vec<ErrorEntry>,
}

impl ErrorDocument {
    /// A document with one entry.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            errors: vec![ErrorEntry {
                code: code.as_str().to_owned(),
                message: message.into(),
                detail: serde_json::Value::Null,
            }],
        }
    }

    /// What a body says, if it is an error document: its messages made fit to be shown, details left out.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        if body.len() > MAX_ERROR_BODY {
            return None;
        }
        let mut document: Self = serde_json::from_slice(body).ok()?;
        document.errors.truncate(MAX_ENTRIES);
        for entry in &mut document.errors {
            entry.code = sanitised(&entry.code, 64);
            entry.message = sanitised(&entry.message, MAX_MESSAGE);
            entry.detail = serde_json::Value::Null;
        }
        Some(document)
    }

    /// The document as it goes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and JSON values always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// True if an entry has this code.
    #[must_use]
    pub fn has(&self, code: ErrorCode) -> bool {
        self.errors.iter().any(|entry| entry.code == code.as_str())
    }
}

impl fmt::Display for ErrorDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            match (entry.code.as_str(), entry.message.as_str()) {
                ("", message) => f.write_str(message)?,
                (code, "") => f.write_str(code)?,
                (code, message) => write!(f, "{message} ({code})")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let document = ErrorDocument::new(ErrorCode::NameUnknown, "no such repository");
        assert_eq!(
            ErrorDocument::read(&document.to_bytes()),
            Some(document.clone())
        );
        assert!(document.has(ErrorCode::NameUnknown));
        assert_eq!(document.to_string(), "no such repository (NAME_UNKNOWN)");
        assert_eq!(ErrorCode::find("DENIED"), Some(ErrorCode::Denied));
        assert_eq!(ErrorCode::find("denied"), None);
    }

    #[test]
    fn what_a_registry_says_cannot_move_the_cursor() {
        let body = br#"{"errors":[{"code":"X\u001b[2J","message":"\u001b]0;owned\u0007 gone","detail":{"a":1}}]}"#;
        let document = ErrorDocument::read(body).unwrap();
        assert_eq!(document.to_string(), "]0;owned gone (X [2J)");
        assert!(ErrorDocument::read(b"<html>").is_none());
        assert!(ErrorDocument::read(&vec![b' '; MAX_ERROR_BODY + 1]).is_none());
    }
}
