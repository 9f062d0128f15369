//! Links: that a repository holds a blob, and by them its content.

use std::collections::HashSet;
use std::ops::Range;

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta};
use oci::{Digest, Repository};

use super::super::{Content, Result, StorageError};
use super::keys::{CONDEMNED, Link, below};
use super::{Inner, SIGNED_FOR, failed, found};

/// A name that was never used before.
pub(super) fn unique() -> Result<String> {
    use base64::Engine as _;
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
        |error| StorageError::Io {
            verb: "make",
            place: "a name".to_owned(),
            source: error.into(),
        },
    )?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// When an object was written, in seconds since 1970: by the store's clock or by that of the server which wrote a link,
/// whichever is later.
pub(super) fn written(meta: &ObjectMeta) -> u64 {
    let by_store = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
    let by_server = meta.location.filename().and_then(|name| {
        let (time, _) = name.split('.').nth(2)?.split_once('-')?;
        u64::from_str_radix(time, 16).ok()
    });
    by_store.max(by_server.unwrap_or_default())
}

impl Inner {
    /// The links of a digest that may be counted on, and when the newest was written.
    pub(super) async fn live(&self, place: &Path) -> Result<Option<(Link, u64)>> {
        let all = self.list(place).await?;
        Ok(live_of(&all)
            .max_by_key(|(_, meta)| written(meta))
            .map(|(link, meta)| (link, written(meta))))
    }

    /// A link that reading may go through: one that may be counted on, else one that is condemned.
    pub(super) async fn any_link(&self, place: &Path) -> Result<Option<Link>> {
        let all = self.list(place).await?;
        let live = live_of(&all).map(|(link, _)| link).next();
        Ok(live.or_else(|| {
            all.iter()
                .filter_map(|meta| meta.location.filename())
                .find_map(Link::read)
        }))
    }

    /// A link that may be counted on. If all that there are have been condemned, a new one is made: the collection that
    /// condemned them may find that they are needed after all, and until then nothing is missing.
    pub(super) async fn count_on(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<(Link, u64)>> {
        let place = self.keys.held(repository, digest);
        if let Some(live) = self.live(&place).await? {
            return Ok(Some(live));
        }
        match self.any_link(&place).await? {
            Some(link) if self.link(repository, digest, &link).await? => {
                Ok(Some((link, self.clock.now())))
            }
            _ => Ok(None),
        }
    }

    /// Writes down that a repository holds a blob.
    pub(super) async fn hold(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: &Link,
    ) -> Result<Path> {
        self.make(repository).await?;
        let now = self.clock.now();
        let name = format!("{}.{}.{now:x}-{}", link.size, link.generation, unique()?);
        let path = below(&self.keys.held(repository, digest), &name);
        self.put(&path, Bytes::new()).await?;
        Ok(path)
    }

    /// Makes content that a digest has a blob of a repository. False if the content is about to go.
    pub(super) async fn link(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: &Link,
    ) -> Result<bool> {
        let path = self.hold(repository, digest, link).await?;
        // Written first, looked at afterwards: a collection does it the other way round.
        let contents = self.list(&self.keys.blob(digest)).await?;
        let there = live_of(&contents).any(|(live, _)| live.generation == link.generation);
        if !there {
            self.delete(&path).await?;
        }
        Ok(there)
    }

    /// The content of a link; `None` if it is gone.
    pub(super) async fn open_content(
        &self,
        link: &Link,
        range: Range<u64>,
    ) -> Result<Option<Content>> {
        let path = self.keys.content(&link.generation);
        if self.redirect {
            let url = self
                .store
                .signed_url(hyper::Method::GET, &path, SIGNED_FOR)
                .await
                .map_err(failed("sign", &path))?;
            return Ok(Some(Content::Elsewhere(url.to_string())));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let got = found(self.store.get_opts(&path, options).await, "read", &path)?;
        Ok(got.map(|got| {
            let stream = got
                .into_stream()
                .map_ok(Frame::data)
                .map_err(std::io::Error::other);
            Content::Stream(StreamBody::new(stream).boxed_unsync())
        }))
    }
}

/// Those of a listing that may be counted on.
pub(super) fn live_of(all: &[ObjectMeta]) -> impl Iterator<Item = (Link, &ObjectMeta)> {
    let condemned: HashSet<&str> = all
        .iter()
        .filter_map(|meta| meta.location.filename()?.strip_suffix(CONDEMNED))
        .collect();
    all.iter().filter_map(move |meta| {
        let name = meta.location.filename()?;
        if name.ends_with(CONDEMNED) || condemned.contains(name) {
            return None;
        }
        Some((Link::read(name)?, meta))
    })
}
