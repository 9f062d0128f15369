//! What a request line asks for. No I/O, any text.

use std::str::FromStr;

use oci::{Digest, Repository, Tag};

use super::refusal::Refusal;
use super::storage::UploadId;
use crate::wire::{ErrorCode, Query};

/// A path of the API, with its names parsed. Nothing of the text gets past this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/token`
    Token,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_oci/ext/discover`
    Extensions,
    /// `/v2/<name>/blobs/<digest>`
    Blob(Repository, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(Repository, UploadId),
    /// `/v2/<name>/manifests/<tag or digest>`
    Manifest(Repository, Target),
    /// `/v2/<name>/tags/list`
    Tags(Repository),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Repository, Digest),
}

/// What names a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A name that may move.
    Tag(Tag),
    /// Its content.
    Digest(Digest),
}

impl Route {
    /// Reads the path of a request.
    pub(crate) fn read(path: &str) -> Result<Self, Refusal> {
        match path {
            "/token" => return Ok(Self::Token),
            "/healthz" => return Ok(Self::Health),
            "/readyz" => return Ok(Self::Ready),
            "/metrics" => return Ok(Self::Metrics),
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/v2") else {
            return Err(nothing_here());
        };
        match rest {
            "" | "/" => return Ok(Self::Base),
            "/_catalog" => return Ok(Self::Catalog),
            "/_oci/ext/discover" => return Ok(Self::Extensions),
            _ => {}
        }
        let rest = rest.strip_prefix('/').ok_or_else(nothing_here)?;
        // From the right: a repository may be called `blobs` or `a/manifests/b`.
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads(repository(name)?));
        }
        let (before, last) = rest.rsplit_once('/').ok_or_else(nothing_here)?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            let id = last.parse().map_err(Refusal::from)?;
            return Ok(Self::Upload(repository(name)?, id));
        }
        let (name, kind) = before.rsplit_once('/').ok_or_else(nothing_here)?;
        match kind {
            "blobs" => Ok(Self::Blob(repository(name)?, digest(last)?)),
            "manifests" => Ok(Self::Manifest(repository(name)?, target(last)?)),
            "referrers" => Ok(Self::Referrers(repository(name)?, digest(last)?)),
            _ => Err(nothing_here()),
        }
    }
}

impl Route {
    /// The repository that it is about.
    pub(crate) fn repository_mut(&mut self) -> Option<&mut Repository> {
        match self {
            Self::Blob(repository, _)
            | Self::Uploads(repository)
            | Self::Upload(repository, _)
            | Self::Manifest(repository, _)
            | Self::Tags(repository)
            | Self::Referrers(repository, _) => Some(repository),
            Self::Token
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Base
            | Self::Catalog
            | Self::Extensions => None,
        }
    }
}

fn nothing_here() -> Refusal {
    Refusal::new(ErrorCode::NameUnknown, "there is nothing at this path")
}

fn repository(text: &str) -> Result<Repository, Refusal> {
    text.parse().map_err(|error: oci::ReferenceError| {
        Refusal::new(ErrorCode::NameInvalid, error.to_string())
    })
}

/// Some clients escape the colon.
fn digest(text: &str) -> Result<Digest, Refusal> {
    let text = text.replacen("%3A", ":", 1).replacen("%3a", ":", 1);
    parse_digest(&text)
}

/// A digest from outside.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    Digest::from_str(text)
        .map_err(|error| Refusal::new(ErrorCode::DigestInvalid, error.to_string()))
}

fn target(text: &str) -> Result<Target, Refusal> {
    if text.contains([':', '%']) {
        return digest(text).map(Target::Digest);
    }
    parse_tag(text).map(Target::Tag)
}

/// A tag from outside.
pub(crate) fn parse_tag(text: &str) -> Result<Tag, Refusal> {
    text.parse().map_err(|error: oci::ReferenceError| {
        Refusal::new(ErrorCode::TagInvalid, error.to_string())
    })
}

/// The query of a request; longer than any that makes sense is refused before it is looked at.
pub(crate) fn query(text: Option<&str>) -> Result<Query, Refusal> {
    const LONGEST: usize = 16 << 10;
    let text = text.unwrap_or_default();
    if text.len() > LONGEST {
        return Err(
            Refusal::new(ErrorCode::Unsupported, "the query is too long")
                .status(hyper::StatusCode::URI_TOO_LONG),
        );
    }
    Query::read(text).ok_or_else(|| {
        Refusal::new(ErrorCode::Unsupported, "the query is malformed")
            .status(hyper::StatusCode::BAD_REQUEST)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn paths_are_read_from_the_right() {
        let name: Repository = "a/blobs/manifests".parse().unwrap();
        let digest: Digest = D.parse().unwrap();
        for (path, route) in [
            ("/v2/".to_owned(), Route::Base),
            ("/v2".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            (
                format!("/v2/a/blobs/manifests/blobs/{D}"),
                Route::Blob(name.clone(), digest),
            ),
            (
                format!("/v2/a/blobs/manifests/blobs/{}", D.replace(':', "%3A")),
                Route::Blob(name.clone(), digest),
            ),
            (
                "/v2/a/blobs/manifests/blobs/uploads/".to_owned(),
                Route::Uploads(name.clone()),
            ),
            (
                "/v2/a/blobs/manifests/tags/list".to_owned(),
                Route::Tags(name.clone()),
            ),
            (
                "/v2/a/blobs/manifests/manifests/list".to_owned(),
                Route::Manifest(name.clone(), Target::Tag("list".parse().unwrap())),
            ),
            (
                format!("/v2/a/blobs/manifests/referrers/{D}"),
                Route::Referrers(name, digest),
            ),
        ] {
            assert_eq!(Route::read(&path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        let long = format!("/v2/{}/tags/list", "a".repeat(10_000));
        for path in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/../tags/list",
            "/v2/a/../b/tags/list",
            "/v2/a//b/tags/list",
            "/v2/a%2f..%2fb/tags/list",
            "/v2/A/tags/list",
            "/v2/_a/tags/list",
            "/v2/ä/tags/list",
            "/v2/a/blobs/sha256:..",
            "/v2/a/blobs/../../etc/passwd",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/%2e",
            "/v2/a/manifests/",
            "/v2/a\0/tags/list",
            &long,
        ] {
            assert!(Route::read(path).is_err(), "{path}");
        }
    }

    proptest! {
        /// Whatever the path: no panic, and what is taken holds no part that means something to a file system.
        #[test]
        fn any_path(path in "(/v2)?(/(a|b_c|\\.\\.|%2e|blobs|uploads|manifests|tags|list|referrers|_x|[^/]{0,9})){0,8}/?") {
            if let Ok(Route::Tags(name) | Route::Uploads(name) | Route::Upload(name, _) | Route::Blob(name, _)
                | Route::Manifest(name, _) | Route::Referrers(name, _)) = Route::read(&path) {
                prop_assert!(name.as_str().split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric())));
            }
        }

        #[test]
        fn any_query(text in ".{0,60}") {
            query(Some(&text)).ok();
        }
    }
}
