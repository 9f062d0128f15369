//! What the client can answer instead of a result.

use std::time::Duration;

use oci::Digest;

use super::url::UrlError;
use crate::wire::{ErrorCode, ErrorDocument};

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Who was asked, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The registry, as references name it.
    pub registry: String,
    /// The repository there, if it was about one.
    pub repository: Option<String>,
    /// As whom.
    pub access: Access,
}

/// As whom a registry was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It does not want to know.
    Open,
    /// It wants to, and nobody's credentials are known for it.
    Nobody,
    /// As somebody whose credentials are known.
    Somebody,
    /// With a token that its token service has given for such credentials: these are good.
    Member,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The host is not reached.
    Network,
    /// What answers does not speak TLS.
    NoTls,
    /// Its certificate is over, or not valid yet.
    Expired,
    /// Its certificate is for another name.
    OtherName,
    /// Nobody who is trusted has signed its certificate.
    Untrusted,
    /// It wants to know by a certificate who we are.
    WantsCertificate,
    /// Something else in TLS.
    Tls,
}

/// Why a registry could not be asked, or what is wrong with its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect to `{host}`: {why}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why, in words of the system or of TLS.
        why: String,
        /// What is wrong.
        cause: Cause,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke: {why}")]
    Broken {
        /// Host and port.
        host: String,
        /// Why.
        why: String,
    },
    /// Nothing came for too long.
    #[error("`{host}` sent nothing for {} seconds", .after.as_secs())]
    Stalled {
        /// Host and port.
        host: String,
        /// For how long.
        after: Duration,
    },
    /// An answer that is not a success.
    #[error("{what}: {}", status_text(*.status, .document, .asked.as_deref(), *.retry_after))]
    Status {
        /// What was asked for: `manifest latest of library/alpine`.
        what: String,
        /// The status.
        status: u16,
        /// What the registry says about it.
        document: ErrorDocument,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Who answered; `None` for somebody else to whom the registry led.
        asked: Option<Box<Asked>>,
    },
    /// The answer is not what the protocol says.
    #[error("{what}: the registry's answer is wrong: {why}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Content is not what its digest says.
    #[error("the registry sent other content for `{expected}`: it has digest `{found}`")]
    Mismatch {
        /// What was asked for.
        expected: Box<Digest>,
        /// What came.
        found: Box<Digest>,
    },
    /// Content has another size than was announced.
    #[error("the registry sent {found} bytes for `{digest}`, which has {expected}")]
    Size {
        /// What was asked for.
        digest: Digest,
        /// Its size.
        expected: u64,
        /// How many came, at least.
        found: u64,
    },
    /// A manifest cannot be understood.
    #[error("{what}: {source}")]
    Document {
        /// Which.
        what: String,
        /// Why.
        source: oci::DocumentError,
    },
    /// Where the registry sends us cannot be followed.
    #[error("the registry leads to an address that is not followed: {0}")]
    Address(#[source] UrlError),
    /// A redirect that is not followed.
    #[error("a redirect of `{host}` is not followed: {why}")]
    Redirect {
        /// Who redirects.
        host: String,
        /// Why not.
        why: &'static str,
    },
    /// The registry wants credentials sent to a place that must not have them.
    #[error("`{host}` wants credentials to be sent to `{realm}`: {why}")]
    Realm {
        /// The registry.
        host: String,
        /// Where to.
        realm: String,
        /// Why not.
        why: &'static str,
    },
    /// The registry wants a kind of authentication that is not known.
    #[error("`{host}` wants authentication by `{scheme}`, which is not supported")]
    Scheme {
        /// The registry.
        host: String,
        /// What it wants.
        scheme: String,
    },
    /// Credentials could not be had.
    #[error("cannot get the credentials for `{registry}`: {why}")]
    Credentials {
        /// For whom.
        registry: String,
        /// Why.
        why: String,
    },
    /// The program that is to lead to a registry does not.
    #[error("cannot speak to `barque` on `{host}` through `{program}`: {why}")]
    Program {
        /// The program.
        program: String,
        /// Whose it is.
        host: String,
        /// Why.
        why: String,
    },
    /// A credential helper does not do its work.
    #[error("cannot ask for the credentials of `{registry}`: `docker-credential-{name}` {why}")]
    Helper {
        /// For whom.
        registry: String,
        /// Which helper.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A configuration file or a certificate cannot be used.
    #[error("{what}: {why}")]
    Configuration {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration forbids this registry.
    #[error("`{0}` is blocked by the configuration of registries")]
    Blocked(String),
    /// A proxy refused.
    #[error("the proxy `{proxy}` does not connect to `{host}`: {why}")]
    Proxy {
        /// Which.
        proxy: String,
        /// Where to.
        host: String,
        /// Why.
        why: String,
    },
    /// What is uploaded could not be read.
    #[error("cannot read what is uploaded: {0}")]
    Source(#[source] std::io::Error),
}

/// Kinds that a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not there.
    NotFound,
    /// Who asks is not known.
    Unauthorized,
    /// Who asks must not.
    Denied,
    /// Content is damaged or forged.
    Corrupt,
    /// Another attempt may help.
    Transient,
    /// Anything else.
    Other,
}

impl Error {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Status { status, .. } => match status {
                404 => Kind::NotFound,
                401 => Kind::Unauthorized,
                403 => Kind::Denied,
                408 | 429 | 500 | 502 | 503 | 504 => Kind::Transient,
                _ => Kind::Other,
            },
            Self::Mismatch { .. } | Self::Size { .. } | Self::Document { .. } => Kind::Corrupt,
            Self::Connect {
                cause: Cause::Network,
                ..
            }
            | Self::Broken { .. }
            | Self::Stalled { .. } => Kind::Transient,
            _ => Kind::Other,
        }
    }

    /// True if another attempt may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == Kind::Transient
    }

    /// True if the registry gave this code.
    #[must_use]
    pub fn has(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Status { document, .. } if document.has(code))
    }

    /// Content that is not what its digest says.
    pub(crate) fn mismatch(expected: Digest, found: Digest) -> Self {
        Self::Mismatch {
            expected: Box::new(expected),
            found: Box::new(found),
        }
    }

    /// An answer that is not what the protocol says.
    pub(crate) fn answer(what: &str, why: impl Into<String>) -> Self {
        Self::Answer {
            what: what.to_owned(),
            why: why.into(),
        }
    }
}

fn status_text(
    status: u16,
    document: &ErrorDocument,
    asked: Option<&Asked>,
    retry_after: Option<Duration>,
) -> String {
    let said = document.to_string();
    let meaning = match (status, asked.map(|asked| asked.access)) {
        (401, Some(Access::Somebody)) => "the credentials that are known for it are not accepted",
        (401, Some(Access::Member)) => "access is denied",
        (status, _) => meaning(status),
    };
    let wait = match retry_after {
        Some(wait) if status == 429 || status == 503 => {
            format!("; it wants to be asked again in {} seconds", wait.as_secs())
        }
        _ => String::new(),
    };
    if said.is_empty() {
        format!("{meaning} (status {status}){wait}")
    } else {
        format!("{meaning}: {said}{wait}")
    }
}

const fn meaning(status: u16) -> &'static str {
    match status {
        401 => "authentication is required",
        403 => "access is denied",
        404 => "not found",
        405 => "not supported by the registry",
        413 => "too large for the registry",
        416 => "no such range",
        429 => "too many requests",
        500..=599 => "the registry failed",
        200..=299 => "the registry answers something else",
        300..=399 => "the registry redirects to nowhere",
        _ => "the registry refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_registry_said() {
        let error = Error::Status {
            what: "manifest `x` of `a/b`".to_owned(),
            status: 404,
            document: ErrorDocument::new(ErrorCode::ManifestUnknown, "manifest unknown"),
            retry_after: None,
            asked: None,
        };
        assert_eq!(
            error.to_string(),
            "manifest `x` of `a/b`: not found: manifest unknown (MANIFEST_UNKNOWN)"
        );
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
