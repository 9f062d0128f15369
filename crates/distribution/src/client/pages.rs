//! Listings that come in pages: tags, referrers, repositories.

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap};

use super::error::{Error, Result};
use super::host::{Call, Host, expect, no_page};
use super::repository::{check_encoding, header_text};
use super::url::Url;
use crate::wire::{Action, Scope, next_link};

/// The most pages of one listing; a registry that has more leads in a circle.
const MAX_PAGES: usize = 10_000;

/// The largest page of a listing, 16 MiB.
const MAX_PAGE: usize = 16 << 20;

/// The most bytes of all pages of one listing, 256 MiB.
const MAX_LISTING: usize = 256 << 20;

/// How many entries are asked for at once; registries give fewer if they like.
pub(crate) const PAGE: &str = "1000";

/// A listing: what is listed, and what a token for it must allow.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) what: String,
    pub(crate) scopes: &'a [Scope],
    pub(crate) repository: Option<&'a str>,
}

impl Listing<'_> {
    /// Reads all pages from `first` on.
    pub(crate) async fn read(
        &self,
        host: &Host,
        first: Url,
        mut page: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let what = &self.what;
        let home = first.origin().clone();
        let mut next = Some(first);
        let (mut pages, mut size) = (0, 0);
        while let Some(url) = next {
            pages += 1;
            if pages > MAX_PAGES {
                return Err(Error::answer(what, "its pages have no end"));
            }
            let call = Call {
                method: Method::GET,
                url: url.clone(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
                scopes: self.scopes,
                repository: self.repository,
            };
            let mut answer = expect(host.call(&call).await?, what, &[200]).await?;
            check_encoding(&answer, what)?;
            let body = answer.body.bounded(MAX_PAGE).await?;
            let body = body.ok_or_else(|| Error::answer(what, "a page of it is too long"))?;
            no_page(&answer.headers, &body, what)?;
            size += body.len();
            if size > MAX_LISTING {
                return Err(Error::answer(what, "its pages are too long together"));
            }
            page(&body)?;
            next = header_text(&answer.headers, &header::LINK)
                .and_then(next_link)
                .map(|link| url.join(link).map_err(Error::Address))
                .transpose()?
                // A page that names itself is the last one.
                .filter(|next| *next != url);
            if let Some(elsewhere) = next.as_ref().filter(|next| *next.origin() != home) {
                let why = format!("its next page is elsewhere, at `{}`", elsewhere.origin());
                return Err(Error::answer(what, why));
            }
        }
        Ok(())
    }
}

/// The repositories of a registry, in its order (distribution-spec has no such listing; all but Docker Hub know Docker's).
pub(crate) async fn catalog(host: &Host) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Page {
        repositories: Option<Vec<String>>,
    }
    let scopes = [Scope {
        kind: "registry".to_owned(),
        name: "catalog".to_owned(),
        actions: [Action::Other("*".to_owned())].into(),
    }];
    let listing = Listing {
        what: format!("the repositories of `{}`", host.name()),
        scopes: &scopes,
        repository: None,
    };
    let url = host.url("/v2/_catalog").await?.with_query("n", PAGE);
    let mut found = Vec::new();
    listing
        .read(host, url, |body| {
            let page: Page = serde_json::from_slice(body)
                .map_err(|_| Error::answer(&listing.what, "it is malformed"))?;
            // What is no name is of no use, and could steer a terminal.
            let good = page.repositories.unwrap_or_default().into_iter();
            found.extend(good.filter(|name| name.parse::<oci::Repository>().is_ok()));
            Ok(())
        })
        .await?;
    Ok(found)
}
