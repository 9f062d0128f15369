//! Names of objects.
//!
//! ```text
//! catalog/<repository>
//! content/<generation>                                         the bytes of blobs
//! blobs/<digest>/<size>.<generation>                           which content a digest has
//! held/<repository>/<digest>/<size>.<generation>.<time>-<random>   that a repository holds a blob
//! manifests/<repository>/<digest>                              a line about the manifest, then its bytes
//! pulled/<repository>/<digest>/<time>                          when a manifest was pulled, to the hour
//! coming/<repository>/<random>                                 a manifest whose needs are being looked at
//! named/<repository>/<digest>/<tag>                            tags that may name a manifest
//! tags/<repository>/<tag>                                      the tag's past; what it names is at the end
//! past/<repository>/<tag>                                      the past of a tag that was deleted
//! leaving/<repository>/<tag>/<random>                          that a tag is being deleted
//! referrers/<repository>/<digest>/<digest>                     descriptors
//! uploads/<id>/…                                               see `uploads`
//! probe/<random>                                               written to see whether that can be done
//! ```
//!
//! A repository's slashes are written `!`, which its name cannot hold; a digest is
//! written in base64.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use object_store::path::Path;
use oci::{Digest, Repository, Tag};

use super::super::UploadId;

/// The ending of an object that says of the one without it: nothing may count on this any more.
pub(super) const CONDEMNED: &str = ".condemned";

/// Names below the bucket's prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys(pub(super) Path);

impl Keys {
    fn join(&self, parts: &[&str]) -> Path {
        Path::from_iter(
            self.0
                .parts()
                .chain(parts.iter().map(|part| (*part).into())),
        )
    }

    pub(super) fn catalog(&self) -> Path {
        self.join(&["catalog"])
    }

    pub(super) fn repository(&self, repository: &Repository) -> Path {
        self.join(&["catalog", &segment(repository)])
    }

    /// A place in the order of the catalogue, of any text.
    pub(super) fn catalog_place(&self, after: &str) -> Path {
        self.join(&["catalog", &after.replace('/', "!")])
    }

    pub(super) fn content(&self, generation: &str) -> Path {
        self.join(&["content", generation])
    }

    pub(super) fn all_content(&self) -> Path {
        self.join(&["content"])
    }

    pub(super) fn all_blobs(&self) -> Path {
        self.join(&["blobs"])
    }

    pub(super) fn blob(&self, digest: &Digest) -> Path {
        self.join(&["blobs", &flat(digest)])
    }

    pub(super) fn held_by(&self, repository: &Repository) -> Path {
        self.join(&["held", &segment(repository)])
    }

    pub(super) fn held(&self, repository: &Repository, digest: &Digest) -> Path {
        self.join(&["held", &segment(repository), &flat(digest)])
    }

    pub(super) fn manifests(&self, repository: &Repository) -> Path {
        self.join(&["manifests", &segment(repository)])
    }

    pub(super) fn manifest(&self, repository: &Repository, digest: &Digest) -> Path {
        self.join(&["manifests", &segment(repository), &flat(digest)])
    }

    pub(super) fn pulled(&self, repository: &Repository) -> Path {
        self.join(&["pulled", &segment(repository)])
    }

    pub(super) fn pulls_of(&self, repository: &Repository, digest: &Digest) -> Path {
        self.join(&["pulled", &segment(repository), &flat(digest)])
    }

    pub(super) fn coming(&self, repository: &Repository) -> Path {
        self.join(&["coming", &segment(repository)])
    }

    pub(super) fn leaving(&self, repository: &Repository) -> Path {
        self.join(&["leaving", &segment(repository)])
    }

    pub(super) fn leaving_tag(&self, repository: &Repository, tag: &Tag) -> Path {
        self.join(&["leaving", &segment(repository), tag.as_str()])
    }

    pub(super) fn named(&self, repository: &Repository, digest: &Digest) -> Path {
        self.join(&["named", &segment(repository), &flat(digest)])
    }

    pub(super) fn tags(&self, repository: &Repository) -> Path {
        self.join(&["tags", &segment(repository)])
    }

    pub(super) fn tag(&self, repository: &Repository, tag: &str) -> Path {
        self.join(&["tags", &segment(repository), tag])
    }

    pub(super) fn past(&self, repository: &Repository, tag: &Tag) -> Path {
        self.join(&["past", &segment(repository), tag.as_str()])
    }

    pub(super) fn referrers(&self, repository: &Repository, subject: &Digest) -> Path {
        self.join(&["referrers", &segment(repository), &flat(subject)])
    }

    pub(super) fn uploads(&self) -> Path {
        self.join(&["uploads"])
    }

    pub(super) fn upload(&self, id: UploadId, part: &str) -> Path {
        self.join(&["uploads", &id.to_string(), part])
    }

    pub(super) fn probe(&self, name: &str) -> Path {
        self.join(&["probe", name])
    }

    pub(super) fn probes(&self) -> Path {
        self.join(&["probe"])
    }
}

/// An object below another place.
pub(super) fn below(place: &Path, name: &str) -> Path {
    Path::from_iter(place.parts().chain([name.into()]))
}

fn segment(repository: &Repository) -> String {
    repository.as_str().replace('/', "!")
}

/// The repository that [`Keys::repository`] names.
pub(super) fn repository_of(path: &Path) -> Option<Repository> {
    path.filename()?.replace('!', "/").parse().ok()
}

/// A digest as part of a name: a third shorter than in hexadecimal, since names have limits.
pub(super) fn flat(digest: &Digest) -> String {
    let hash = URL_SAFE_NO_PAD.encode(digest.as_bytes());
    format!("{}-{hash}", digest.algorithm().name())
}

/// The digest of such a name.
pub(super) fn unflat(text: &str) -> Option<Digest> {
    use std::fmt::Write as _;
    let (algorithm, hash) = text.split_once('-')?;
    let mut digest = format!("{algorithm}:");
    for byte in URL_SAFE_NO_PAD.decode(hash).ok()? {
        write!(digest, "{byte:02x}").ok()?;
    }
    digest.parse().ok()
}

/// What the name of a link or of a digest's content says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) size: u64,
    pub(super) generation: String,
}

impl Link {
    /// Reads `<size>.<generation>`, with or without a third part.
    pub(super) fn read(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let size = parts.next()?.parse().ok()?;
        let generation = parts.next()?.to_owned();
        Some(Self { size, generation })
    }
}
