//! One repository of one registry: manifests, blobs, tags, referrers.

use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use oci::{Descriptor, Digest, Document, Hasher, Index, MAX_DOCUMENT_SIZE, Tag, media_type};

use super::blob::BlobReader;
use super::error::{Error, Kind, Result};
use super::host::{Call, Host, done, expect, no_page};
use super::pages::{Listing, PAGE};
use super::transport::Response;
use super::url::Url;
use crate::wire::{ACCEPT_MANIFESTS, Action, Scope, essence, fallback_tag, read_warnings};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Which manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Which {
    /// The one that a tag names now.
    Tag(Tag),
    /// The one with this digest.
    Digest(Digest),
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => std::fmt::Display::fmt(tag, f),
            Self::Digest(digest) => std::fmt::Display::fmt(digest, f),
        }
    }
}

impl From<&oci::Reference> for Which {
    /// The digest, where there is one: a tag beside it is only for people.
    fn from(reference: &oci::Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(*digest),
            (None, Some(tag)) => Self::Tag(tag.clone()),
            (None, None) => Self::Tag(Tag::latest()),
        }
    }
}

/// A manifest as it came, with a digest that was checked.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Bytes,
    /// The media type it was announced with, without parameters; empty if there was none.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// What the registry wants a person to know.
    pub warnings: Vec<String>,
}

impl Fetched {
    /// What it says.
    ///
    /// # Errors
    ///
    /// It is neither an image manifest nor an index, or says two things at once.
    pub fn document(&self, what: &str) -> Result<Document> {
        // Types that say nothing: the document's own counts.
        let announced = match self.media_type.as_str() {
            "" | "application/json" | "application/octet-stream" | "text/plain" => None,
            other => Some(other),
        };
        Document::parse(&self.bytes, announced).map_err(|source| Error::Document {
            what: what.to_owned(),
            source,
        })
    }

    /// A descriptor of it.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            self.media_type.clone(),
            self.digest,
            self.bytes.len() as u64,
        )
    }
}

/// What a registry answers to a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Put {
    /// The registry keeps referrers and has noted this one.
    pub subject: bool,
    /// What the registry wants a person to know.
    pub warnings: Vec<String>,
}

/// One repository of one registry.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) host: Arc<Host>,
    name: oci::Repository,
}

impl Repository {
    pub(crate) const fn new(host: Arc<Host>, name: oci::Repository) -> Self {
        Self { host, name }
    }

    /// Its path.
    #[must_use]
    pub const fn name(&self) -> &oci::Repository {
        &self.name
    }

    /// The registry, as references name it.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.host.name()
    }

    /// True if both are on the same registry, so that blobs can be mounted from one to the other.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.host, &other.host)
    }

    fn what(&self, thing: impl std::fmt::Display) -> String {
        format!("{thing} of `{}/{}`", self.registry(), self.name)
    }

    pub(crate) fn scope(&self, actions: impl IntoIterator<Item = Action>) -> Scope {
        Scope::repository(self.name.as_str(), actions)
    }

    pub(crate) async fn url(&self, rest: &str) -> Result<Url> {
        self.host.url(&format!("/v2/{}/{rest}", self.name)).await
    }

    /// Sends a request without a body about this repository.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        scopes: &[Scope],
    ) -> Result<Response> {
        let call = Call {
            method,
            url,
            headers,
            body: Bytes::new(),
            scopes,
            repository: Some(self.name.as_str()),
        };
        self.host.call(&call).await
    }

    /// Fetches a manifest and checks its digest. It may be anything that a registry keeps as a manifest.
    ///
    /// # Errors
    ///
    /// It is not there, is larger than 4 MiB, or is not what its digest says.
    pub async fn manifest(&self, which: &Which) -> Result<Fetched> {
        let what = self.what(format_args!("manifest `{which}`"));
        let url = self.url(&format!("manifests/{which}")).await?;
        let scopes = [self.scope([Action::Pull])];
        let answer = self
            .ask(Method::GET, url, accept_manifests(), &scopes)
            .await?;
        let mut answer = expect(answer, &what, &[200]).await?;
        check_encoding(&answer, &what)?;
        let limit = usize::try_from(MAX_DOCUMENT_SIZE).unwrap_or(usize::MAX);
        let bytes = answer.body.bounded(limit).await?;
        let bytes = bytes.ok_or_else(|| Error::Document {
            what: what.clone(),
            source: oci::DocumentError::Size(MAX_DOCUMENT_SIZE + 1),
        })?;
        no_page(&answer.headers, &bytes, &what)?;
        let digest = self.check_digest(which, &answer.headers, &bytes, &what)?;
        Ok(Fetched {
            media_type: header_text(&answer.headers, &header::CONTENT_TYPE)
                .map(essence)
                .unwrap_or_default()
                .to_owned(),
            warnings: warnings(&answer.headers),
            bytes: bytes.into(),
            digest,
        })
    }

    /// The digest of bytes that came, by the one that was asked for and the one that the registry says.
    fn check_digest(
        &self,
        which: &Which,
        headers: &HeaderMap,
        bytes: &[u8],
        what: &str,
    ) -> Result<Digest> {
        let said: Option<Digest> = header_text(headers, &CONTENT_DIGEST)
            .map(|text| {
                text.parse()
                    .map_err(|_| Error::answer(what, "the digest in its header is malformed"))
            })
            .transpose()?;
        let check = |expected: Digest| {
            let mut hasher = Hasher::new(expected.algorithm());
            hasher.update(bytes);
            let found = hasher.finish();
            if found == expected {
                Ok(expected)
            } else {
                Err(Error::mismatch(expected, found))
            }
        };
        // What was asked for counts. What the registry says beside it may use another algorithm, but must be true.
        if let Some(said) = said {
            check(said)?;
        }
        match which {
            Which::Digest(expected) => check(*expected),
            Which::Tag(_) => Ok(said.unwrap_or_else(|| Digest::sha256_of(bytes))),
        }
    }

    /// What is known of a manifest without fetching it; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// The registry failed, or says too little.
    pub async fn head(&self, which: &Which) -> Result<Option<Descriptor>> {
        let what = self.what(format_args!("manifest `{which}`"));
        let url = self.url(&format!("manifests/{which}")).await?;
        let scopes = [self.scope([Action::Pull])];
        let answer = self
            .ask(Method::HEAD, url, accept_manifests(), &scopes)
            .await?;
        if answer.status == hyper::StatusCode::NOT_FOUND {
            answer.body.drain().await;
            return Ok(None);
        }
        let answer = expect(answer, &what, &[200]).await?;
        let headers = answer.headers.clone();
        answer.body.drain().await;
        let digest = header_text(&headers, &CONTENT_DIGEST).and_then(|text| text.parse().ok());
        let digest = match (digest, which) {
            (Some(digest), _) => digest,
            (None, Which::Digest(digest)) => *digest,
            // Registries that do not say it are asked for the whole.
            (None, Which::Tag(_)) => return Ok(Some(self.manifest(which).await?.descriptor())),
        };
        let size =
            header_text(&headers, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let media_type = header_text(&headers, &header::CONTENT_TYPE).map_or("", essence);
        Ok(Some(Descriptor::new(media_type, digest, size.unwrap_or(0))))
    }

    /// Stores a manifest, whose blobs are there.
    ///
    /// # Errors
    ///
    /// The registry refuses it.
    pub async fn put_manifest(&self, which: &Which, media_type: &str, bytes: Bytes) -> Result<Put> {
        let what = self.what(format_args!("manifest `{which}`"));
        let url = self.url(&format!("manifests/{which}")).await?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header_value(media_type, &what)?);
        let expected = match which {
            Which::Digest(digest) => *digest,
            Which::Tag(_) => Digest::sha256_of(&bytes),
        };
        let call = Call {
            method: Method::PUT,
            url,
            headers,
            body: bytes,
            scopes: &[self.scope([Action::Pull, Action::Push])],
            repository: Some(self.name.as_str()),
        };
        let answer = self.host.call(&call).await?;
        let answer = expect(answer, &what, &[200, 201, 202]).await?;
        let headers = answer.headers.clone();
        done(answer, &what).await?;
        if let Some(said) = header_text(&headers, &CONTENT_DIGEST)
            && let Ok(found) = said.parse::<Digest>()
            && found.algorithm() == expected.algorithm()
            && found != expected
        {
            return Err(Error::mismatch(expected, found));
        }
        Ok(Put {
            subject: headers.contains_key(OCI_SUBJECT),
            warnings: warnings(&headers),
        })
    }

    /// Deletes a tag, or a manifest with all its tags. `false` if it was not there.
    ///
    /// # Errors
    ///
    /// The registry refuses; many do not delete at all.
    pub async fn delete_manifest(&self, which: &Which) -> Result<bool> {
        let what = self.what(format_args!("manifest `{which}`"));
        let url = self.url(&format!("manifests/{which}")).await?;
        self.delete(&what, url).await
    }

    /// Deletes a blob. `false` if it was not there.
    ///
    /// # Errors
    ///
    /// The registry refuses.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        let what = self.what(format_args!("blob `{digest}`"));
        let url = self.url(&format!("blobs/{digest}")).await?;
        self.delete(&what, url).await
    }

    async fn delete(&self, what: &str, url: Url) -> Result<bool> {
        let scopes = [self.scope([Action::Pull, Action::Push, Action::Delete])];
        let answer = self
            .ask(Method::DELETE, url, HeaderMap::new(), &scopes)
            .await?;
        if answer.status == hyper::StatusCode::NOT_FOUND {
            answer.body.drain().await;
            return Ok(false);
        }
        done(expect(answer, what, &[200, 202, 204]).await?, what).await?;
        Ok(true)
    }

    /// The size of a blob, if it is there.
    ///
    /// # Errors
    ///
    /// The registry failed.
    pub async fn find_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let what = self.what(format_args!("blob `{digest}`"));
        let url = self.url(&format!("blobs/{digest}")).await?;
        let scopes = [self.scope([Action::Pull])];
        self.find_blob_with(&what, url, &scopes).await
    }

    pub(crate) async fn find_blob_with(
        &self,
        what: &str,
        url: Url,
        scopes: &[Scope],
    ) -> Result<Option<u64>> {
        let answer = self
            .ask(Method::HEAD, url, HeaderMap::new(), scopes)
            .await?;
        if answer.status == hyper::StatusCode::NOT_FOUND {
            answer.body.drain().await;
            return Ok(None);
        }
        let answer = expect(answer, what, &[200]).await?;
        let size = header_text(&answer.headers, &header::CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        answer.body.drain().await;
        Ok(Some(size.unwrap_or(0)))
    }

    /// Reads a blob: counted, hashed, and gone on with where a connection breaks.
    ///
    /// # Errors
    ///
    /// It is not there, or has another size.
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader> {
        BlobReader::open(self.clone(), descriptor.clone(), 0, true).await
    }

    /// As [`Repository::blob`] from `offset` on, for a caller that hashes the bytes anyway: they are counted only.
    ///
    /// # Errors
    ///
    /// It is not there, or has another size.
    pub async fn blob_to_be_hashed(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader> {
        BlobReader::open(self.clone(), descriptor.clone(), offset, false).await
    }

    /// The rest of a blob from `offset` on. Only the whole can be checked against its digest.
    pub(crate) async fn blob_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader> {
        BlobReader::open(self.clone(), descriptor.clone(), offset, offset == 0).await
    }

    /// A small blob, whole: a config.
    ///
    /// # Errors
    ///
    /// It is not there, is not what its descriptor says, or is larger than 4 MiB.
    pub async fn document_blob(&self, descriptor: &Descriptor) -> Result<Bytes> {
        if descriptor.size > MAX_DOCUMENT_SIZE {
            return Err(Error::Document {
                what: self.what(format_args!("blob `{}`", descriptor.digest)),
                source: oci::DocumentError::Size(descriptor.size),
            });
        }
        let mut reader = self.blob(descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// All tags, in the registry's order.
    ///
    /// # Errors
    ///
    /// There is no such repository, or the registry's pages lead in a circle.
    pub async fn tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let what = self.what("tags");
        let url = self.url("tags/list").await?.with_query("n", PAGE);
        let mut tags = Vec::new();
        self.pages(&what, url, |body| {
            let page: Page = serde_json::from_slice(body)
                .map_err(|_| Error::answer(&what, "it is malformed"))?;
            // What is no tag is of no use, and could steer a terminal.
            let good = page.tags.unwrap_or_default().into_iter();
            tags.extend(good.filter(|tag| tag.parse::<Tag>().is_ok()));
            Ok(())
        })
        .await?;
        Ok(tags)
    }

    /// Reads all pages of a listing of this repository.
    async fn pages(
        &self,
        what: &str,
        first: Url,
        read: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let listing = Listing {
            what: what.to_owned(),
            scopes: &[self.scope([Action::Pull])],
            repository: Some(self.name.as_str()),
        };
        listing.read(&self.host, first, read).await
    }

    /// What refers to `subject`: from the referrers API, else from the fallback tag. Never an error for none.
    ///
    /// # Errors
    ///
    /// The registry failed.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let what = self.what(format_args!("referrers of `{subject}`"));
        let mut url = self.url(&format!("referrers/{subject}")).await?;
        if let Some(kind) = artifact_type {
            url = url.with_query("artifactType", kind);
        }
        let mut found = Vec::new();
        let asked = self
            .pages(&what, url, |body| {
                let document = Document::parse(body, Some(media_type::OCI_INDEX));
                let document = document.map_err(|source| Error::Document {
                    what: what.clone(),
                    source,
                })?;
                if let Document::Index(index) = document {
                    found.extend(index.manifests);
                }
                Ok(())
            })
            .await;
        match asked {
            Err(error) if error.kind() == Kind::NotFound => {
                found = self.tagged_referrers(subject).await?.manifests;
            }
            other => other?,
        }
        // A registry may filter or not.
        if let Some(kind) = artifact_type {
            found.retain(|entry| entry.artifact_type.as_deref() == Some(kind));
        }
        Ok(found)
    }

    async fn tagged_referrers(&self, subject: &Digest) -> Result<Index> {
        let empty = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        // The tag is made of letters, digits and a hyphen.
        let Ok(tag) = fallback_tag(subject).parse() else {
            return Ok(empty);
        };
        let which = Which::Tag(tag);
        match self.manifest(&which).await {
            Ok(fetched) => {
                match fetched.document(&self.what(format_args!("manifest `{which}`")))? {
                    Document::Index(index) => Ok(*index),
                    Document::Manifest(_) => Ok(empty),
                }
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(empty),
            Err(error) => Err(error),
        }
    }

    /// Notes under the fallback tag that `referrer` refers to `subject`: for registries that do not do it themselves, see
    /// [`Put::subject`].
    ///
    /// # Errors
    ///
    /// The registry failed.
    pub async fn tag_referrer(&self, subject: &Digest, referrer: Descriptor) -> Result<()> {
        let mut index = self.tagged_referrers(subject).await?;
        if index
            .manifests
            .iter()
            .any(|entry| entry.digest == referrer.digest)
        {
            return Ok(());
        }
        index.manifests.push(referrer);
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| Error::answer("referrers", error.to_string()))?;
        let Ok(tag) = fallback_tag(subject).parse() else {
            return Ok(());
        };
        self.put_manifest(&Which::Tag(tag), media_type::OCI_INDEX, bytes.into())
            .await?;
        Ok(())
    }
}

fn accept_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
    headers
}

pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn header_value(text: &str, what: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::answer(what, format!("`{text}` cannot be sent as a header")))
}

fn warnings(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all(header::WARNING).iter();
    read_warnings(texts.filter_map(|value| value.to_str().ok()))
}

/// Content with a digest must come as it is.
pub(crate) fn check_encoding(answer: &Response, what: &str) -> Result<()> {
    match header_text(&answer.headers, &header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(encoding) => Err(Error::answer(
            what,
            format!(
                "it is encoded as `{}`, which was not asked for",
                crate::wire::sanitised(encoding, 40)
            ),
        )),
    }
}
