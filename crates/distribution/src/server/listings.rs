//! Lists: tags, repositories, what refers to a manifest.

use std::collections::BTreeMap;

use hyper::{StatusCode, header};
use oci::{Descriptor, Digest, Index, Repository, Tag, media_type};
use serde_json::json;

use super::document;
use super::refusal::Refusal;
use super::registry::Visit;
use super::reply::{Draft, Reply};
use super::storage::StorageError;
use crate::wire::{Action, ErrorCode, encode_component, fallback_tag, next_link_header};

/// Bytes of descriptors on a page of referrers: well within what clients take for an index.
const REFERRERS_PAGE: usize = 2 << 20;

impl Visit<'_> {
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Reply, Refusal> {
        if !self.is_read() {
            return Err(Refusal::method("GET, HEAD"));
        }
        self.require(repository, Action::Pull)?;
        let (count, said) = self.page()?;
        let last = self.query.get("last");
        // One more than the page tells whether there is a next one.
        let mut tags = self.storage().tags(repository, last, count + 1).await?;
        let more = tags.len() > count;
        tags.truncate(count);
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        let path = format!("/v2/{repository}/tags/list");
        let draft = self.next(&path, said.unwrap_or(count), tags.last().filter(|_| more));
        Ok(draft.json(
            "application/json",
            &json!({"name": repository.as_str(), "tags": tags}),
            self.is_head(),
        ))
    }

    pub(crate) async fn catalog(&self) -> Result<Reply, Refusal> {
        if !self.is_read() {
            return Err(Refusal::method("GET, HEAD"));
        }
        let (count, said) = self.page()?;
        let mut found: Vec<Repository> = Vec::new();
        let mut last = self.query.get("last").map(str::to_owned);
        // Those that the caller may not see do not count, so it may take several looks to fill a page.
        while found.len() <= count {
            let some = self
                .storage()
                .repositories(last.as_deref(), count + 1)
                .await?;
            let Some(end) = some.last() else {
                break;
            };
            last = Some(end.to_string());
            found.extend(some.into_iter().filter(|name| self.may_list(name)));
        }
        let more = found.len() > count;
        found.truncate(count);
        let names: Vec<&str> = found.iter().map(Repository::as_str).collect();
        let draft = self.next(
            "/v2/_catalog",
            said.unwrap_or(count),
            names.last().filter(|_| more),
        );
        Ok(draft.json(
            "application/json",
            &json!({"repositories": names}),
            self.is_head(),
        ))
    }

    /// How many entries a page has, and how many were asked for.
    fn page(&self) -> Result<(usize, Option<usize>), Refusal> {
        let most = self.limits().page;
        let said = self
            .query
            .get("n")
            .map(|n| {
                n.parse::<u32>()
                    .ok()
                    .filter(|_| n.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|n| usize::try_from(n).ok())
                    .ok_or_else(|| {
                        Refusal::new(
                            ErrorCode::PaginationNumberInvalid,
                            "`n` is a number of entries",
                        )
                    })
            })
            .transpose()?;
        Ok((said.map_or(most, |said| said.min(most)), said))
    }

    /// The head of a page, with a link to the next if there is one. A page of nothing has no next.
    fn next(&self, path: &str, count: usize, last: Option<&&str>) -> Draft {
        let draft = Draft::new(StatusCode::OK);
        match last {
            Some(last) => {
                let target = format!("{path}?n={count}&last={}", encode_component(last));
                draft.header(header::LINK, next_link_header(&target))
            }
            None => draft,
        }
    }

    pub(crate) async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Reply, Refusal> {
        if !self.is_read() {
            return Err(Refusal::method("GET, HEAD"));
        }
        self.require(repository, Action::Pull)?;
        let mut found: BTreeMap<Digest, Descriptor> = self
            .fallback(repository, subject)
            .await?
            .into_iter()
            .map(|entry| (entry.digest, entry))
            .collect();
        for entry in self.storage().referrers(repository, subject).await? {
            found.insert(entry.digest, entry);
        }
        let kind = self
            .query
            .get("artifactType")
            .filter(|kind| !kind.is_empty());
        if let Some(kind) = kind {
            found.retain(|_, entry| entry.artifact_type.as_deref() == Some(kind));
        }
        if let Some(last) = self.query.get("last") {
            let last: Digest = super::route::parse_digest(last)?;
            found.retain(|digest, _| *digest > last);
        }
        let mut draft = Draft::new(StatusCode::OK);
        if kind.is_some() {
            draft = draft.named("oci-filters-applied", "artifactType");
        }
        let (mut page, mut size) = (Vec::new(), 0);
        for (digest, entry) in found {
            size += serde_json::to_vec(&entry).map_or(0, |entry| entry.len());
            if size > REFERRERS_PAGE && !page.is_empty() {
                let last: Option<&Descriptor> = page.last();
                let last = last.map_or(digest, |entry| entry.digest);
                let filter = kind.map_or_else(String::new, |kind| {
                    format!("&artifactType={}", encode_component(kind))
                });
                let target = format!("/v2/{repository}/referrers/{subject}?last={last}{filter}");
                draft = draft.header(header::LINK, next_link_header(&target));
                break;
            }
            page.push(entry);
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: page,
            subject: None,
            annotations: BTreeMap::new(),
        };
        Ok(draft.json(media_type::OCI_INDEX, &index, self.is_head()))
    }

    /// What the tag lists that clients keep where a registry has no referrers: it came along with a copy.
    async fn fallback(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Refusal> {
        let Ok(tag) = fallback_tag(subject).parse::<Tag>() else {
            return Ok(Vec::new());
        };
        let Some(digest) = self.storage().tag(repository, &tag).await? else {
            return Ok(Vec::new());
        };
        let Some(index) = self.storage().manifest(repository, &digest).await? else {
            return Ok(Vec::new());
        };
        let mut entries = document::entries_of(&index.bytes);
        let mut there = Vec::new();
        for entry in entries.drain(..) {
            // Only what is here, and only if it says itself that it refers to the subject.
            match self.storage().manifest(repository, &entry.digest).await {
                Ok(Some(manifest)) => {
                    let read =
                        document::read(&manifest.bytes, Some(&manifest.media_type), entry.digest);
                    if let Ok(document) = read
                        && let Some(referrer) = document.referrer
                        && referrer.subject == *subject
                    {
                        there.push(referrer.descriptor);
                    }
                }
                Ok(None) | Err(StorageError::RepositoryUnknown) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(there)
    }
}
