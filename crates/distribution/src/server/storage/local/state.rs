//! What a repository knows, in memory, and the events that it is made of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use oci::{Digest, Tag};
use serde::{Deserialize, Serialize};

use super::super::{Referrer, TagEvent};

/// The past of a tag is kept up to this many events; a tag that moves every minute would fill the memory otherwise.
const MAX_PAST: usize = 1000;

/// Something that happened to a repository: a line of its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    /// When, in seconds since 1970.
    pub(super) at: u64,
    /// What.
    #[serde(flatten)]
    pub(super) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum What {
    /// The repository holds a blob from now on, or somebody counts on it anew.
    Blob { digest: Digest, size: u64 },
    /// The repository holds a blob no more.
    Unblob { digest: Digest },
    /// A manifest was pushed.
    Manifest {
        digest: Digest,
        size: u64,
        #[serde(rename = "type")]
        media_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        referrer: Option<Box<Referrer>>,
        /// When it was last pulled. A pull is noted by the same line once more, with this.
        #[serde(default, skip_serializing_if = "is_zero")]
        pulled: u64,
    },
    /// A manifest was removed, and the tags that named it.
    Unmanifest { digest: Digest },
    /// A tag names a manifest.
    Tag { tag: String, digest: Digest },
    /// A tag was deleted.
    Untag { tag: String },
}

/// A blob that a repository holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob {
    pub(super) size: u64,
    /// When somebody last counted on it.
    pub(super) touched: u64,
}

/// A manifest that a repository holds.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) size: u64,
    pub(super) media_type: Arc<str>,
    pub(super) referrer: Option<Box<Referrer>>,
    pub(super) pushed: u64,
    pub(super) pulled: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Manifest {
    /// The event that makes it what it is.
    pub(super) fn event(&self, digest: &Digest) -> Event {
        Event {
            at: self.pushed,
            what: What::Manifest {
                digest: *digest,
                size: self.size,
                media_type: self.media_type.to_string(),
                referrer: self.referrer.clone(),
                pulled: self.pulled,
            },
        }
    }
}

/// A repository: the sum of its events.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) blobs: HashMap<Digest, Blob>,
    pub(super) manifests: HashMap<Digest, Manifest>,
    /// With their past; one whose last event names nothing is deleted.
    tags: BTreeMap<Tag, Vec<TagEvent>>,
    /// Manifests by what they refer to.
    referrers: HashMap<Digest, Vec<Digest>>,
    /// Media types are few and manifests many.
    media_types: Vec<Arc<str>>,
    /// How many events of the past the tags have.
    past: usize,
    /// What the blobs have together.
    pub(super) bytes: u64,
}

impl State {
    /// Lets an event happen.
    pub(super) fn apply(&mut self, event: Event) {
        let at = event.at;
        match event.what {
            What::Blob { digest, size } => {
                let blob = self.blobs.entry(digest).or_insert_with(|| {
                    self.bytes = self.bytes.saturating_add(size);
                    Blob { size, touched: at }
                });
                blob.touched = blob.touched.max(at);
            }
            What::Unblob { digest } => {
                if let Some(blob) = self.blobs.remove(&digest) {
                    self.bytes = self.bytes.saturating_sub(blob.size);
                }
            }
            What::Manifest {
                digest,
                size,
                media_type,
                referrer,
                pulled,
            } => {
                let known = self.manifests.get(&digest).map(|known| known.pulled);
                self.forget_referrer(&digest);
                if let Some(referrer) = &referrer {
                    let list = self.referrers.entry(referrer.subject).or_default();
                    if let Err(place) = list.binary_search(&digest) {
                        list.insert(place, digest);
                    }
                }
                let media_type = self.media_type(media_type);
                if known.is_none() {
                    self.bytes = self.bytes.saturating_add(size);
                }
                self.manifests.insert(
                    digest,
                    Manifest {
                        size,
                        media_type,
                        referrer,
                        pushed: at,
                        pulled: pulled.max(known.unwrap_or_default()),
                    },
                );
            }
            What::Unmanifest { digest } => {
                self.forget_referrer(&digest);
                if let Some(manifest) = self.manifests.remove(&digest) {
                    self.bytes = self.bytes.saturating_sub(manifest.size);
                }
                let named: Vec<Tag> = self
                    .tags
                    .iter()
                    .filter(|(_, past)| current(past) == Some(digest))
                    .map(|(tag, _)| tag.clone())
                    .collect();
                for tag in named {
                    self.set(tag, TagEvent { at, digest: None });
                }
            }
            What::Tag { tag, digest } => {
                // Our own lines hold tags; anything else is as good as absent.
                if let Ok(tag) = tag.parse() {
                    let digest = Some(digest);
                    self.set(tag, TagEvent { at, digest });
                }
            }
            What::Untag { tag } => {
                if let Ok(tag) = tag.parse() {
                    self.set(tag, TagEvent { at, digest: None });
                }
            }
        }
    }

    fn set(&mut self, tag: Tag, event: TagEvent) {
        let past = self.tags.entry(tag).or_default();
        if past.last().map(|last| last.digest) == Some(event.digest) {
            return;
        }
        if past.len() >= MAX_PAST {
            past.remove(0);
        } else {
            self.past += 1;
        }
        // One event is the rule; the usual growth by four would cost the memory of three more.
        past.reserve_exact(1);
        past.push(event);
    }

    fn media_type(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.media_types.iter().find(|known| ***known == *text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        // Pushed by anybody, so they need not be few; those beyond are kept one by one.
        if self.media_types.len() < 64 {
            self.media_types.push(new.clone());
        }
        new
    }

    fn forget_referrer(&mut self, digest: &Digest) {
        let Some(referrer) = self
            .manifests
            .get(digest)
            .and_then(|manifest| manifest.referrer.as_ref())
        else {
            return;
        };
        let subject = referrer.subject;
        if let Some(list) = self.referrers.get_mut(&subject) {
            list.retain(|entry| entry != digest);
            if list.is_empty() {
                self.referrers.remove(&subject);
            }
        }
    }

    /// What a tag names.
    pub(super) fn tag(&self, tag: &Tag) -> Option<Digest> {
        self.tags.get(tag).and_then(|past| current(past))
    }

    /// What a tag has named.
    pub(super) fn past(&self, tag: &Tag) -> &[TagEvent] {
        self.tags.get(tag).map_or(&[], Vec::as_slice)
    }

    /// Tags after `after`.
    pub(super) fn tags(&self, after: Option<&str>) -> impl Iterator<Item = (&Tag, Digest)> {
        use std::ops::Bound;
        // What comes after need not be a tag; its place among the tags is that of the next text that is one.
        let after = after.map(str::to_owned);
        let from = match after.as_deref().map(str::parse::<Tag>) {
            Some(Ok(tag)) => Bound::Excluded(tag),
            _ => Bound::Unbounded,
        };
        self.tags
            .range((from, Bound::Unbounded))
            .filter(move |(tag, _)| after.as_deref().is_none_or(|after| tag.as_str() > after))
            .filter_map(|(tag, past)| current(past).map(|digest| (tag, digest)))
    }

    /// What refers to `subject`, in the order of the digests.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<oci::Descriptor> {
        self.referrers
            .get(subject)
            .into_iter()
            .flatten()
            .filter_map(|digest| self.manifests.get(digest))
            .filter_map(|manifest| manifest.referrer.as_ref())
            .map(|referrer| referrer.descriptor.clone())
            .collect()
    }

    /// How many lines a journal of nothing but this has.
    pub(super) fn len(&self) -> usize {
        self.blobs.len() + self.manifests.len() + self.past
    }

    /// The events that make this state.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        let blobs = self.blobs.iter().map(|(digest, blob)| Event {
            at: blob.touched,
            what: What::Blob {
                digest: *digest,
                size: blob.size,
            },
        });
        let manifests = self
            .manifests
            .iter()
            .map(|(digest, manifest)| manifest.event(digest));
        let tags = self.tags.iter().flat_map(|(tag, past)| {
            past.iter().map(|event| Event {
                at: event.at,
                what: match event.digest {
                    Some(digest) => What::Tag {
                        tag: tag.to_string(),
                        digest,
                    },
                    None => What::Untag {
                        tag: tag.to_string(),
                    },
                },
            })
        });
        blobs.chain(manifests).chain(tags)
    }
}

fn current(past: &[TagEvent]) -> Option<Digest> {
    past.last().and_then(|event| event.digest)
}
