//! What the names of a repository lead to: manifests, what indexes list, their blobs, and what refers to what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use distribution::server::storage::{Referrer, Result};
use oci::{Descriptor, Digest, Document, Repository};

use super::images::{Images, failed, name};

/// Documents that are remembered; then all are forgotten and read anew.
const REMEMBERED: usize = 10_000;

/// A document as far as it leads on. It never changes: its digest is its name.
#[derive(Debug)]
struct Links {
    manifests: Vec<Digest>,
    blobs: Vec<Digest>,
    referrer: Option<Referrer>,
}

/// Documents that were read before.
#[derive(Debug, Default)]
pub(super) struct Documents(Mutex<HashMap<Digest, Arc<Links>>>);

/// What the names of one repository lead to.
#[derive(Debug, Default)]
pub(super) struct Reach(BTreeMap<Digest, Arc<Links>>);

impl Reach {
    /// Whether this manifest or index is in the repository.
    pub(super) fn has_manifest(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }

    /// Whether a manifest of the repository names this blob.
    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.0.values().any(|links| links.blobs.contains(digest))
    }

    /// What refers to something, in the order of the digests.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        let all = self.0.values().filter_map(|links| links.referrer.as_ref());
        all.filter(|referrer| referrer.subject == *subject)
            .map(|referrer| referrer.descriptor.clone())
            .collect()
    }
}

impl Images {
    /// What the names of a repository lead to.
    pub(super) fn reach(&self, repository: &Repository) -> Result<Reach> {
        let names = self.store().names_in(&name(repository)?);
        let names = names.map_err(|error| failed("find names in", error))?;
        let mut reach = Reach::default();
        let mut next: Vec<Digest> = names.into_iter().map(|(_, digest)| digest).collect();
        while let Some(digest) = next.pop() {
            if reach.has_manifest(&digest) {
                continue;
            }
            // What an index lists need not be here.
            if let Some(links) = self.links(&digest)? {
                next.extend(&links.manifests);
                reach.0.insert(digest, links);
            }
        }
        Ok(reach)
    }

    fn links(&self, digest: &Digest) -> Result<Option<Arc<Links>>> {
        let lock = || {
            let known = self.documents.0.lock();
            known.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(links) = lock().get(digest) {
            return Ok(Some(links.clone()));
        }
        let Some(found) = self.document(digest)? else {
            return Ok(None);
        };
        let document = Document::parse(&found.bytes, Some(&found.media_type));
        let document = document.map_err(|error| failed("read a manifest of", error))?;
        let digests = |all: &[Descriptor]| all.iter().map(|entry| entry.digest).collect();
        let (manifests, mut blobs): (_, Vec<Digest>) = match &document {
            Document::Index(index) => (digests(&index.manifests), Vec::new()),
            Document::Manifest(manifest) => (Vec::new(), digests(&manifest.layers)),
        };
        if let Document::Manifest(manifest) = &document {
            blobs.push(manifest.config.digest);
        }
        let links = Arc::new(Links {
            manifests,
            blobs,
            referrer: Referrer::of(&found.bytes, &found.media_type, *digest),
        });
        let mut known = lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(*digest, links.clone());
        Ok(Some(links))
    }
}
