//! Images of several platforms: an index and what it lists, from a registry into the store.

use std::sync::Arc;

use distribution::client::{Fetched, Repository, Which};
use oci::{Descriptor, Digest, Document, Index, Platform};
use store::{BlobIngest, Image, NewIndex};
use tokio::task::spawn_blocking;

use super::pull::{Job, Pulled, names};
use super::{Event, Events, platform};
use crate::Error;
use crate::transfer::platform::images;

/// Most images that an index may list.
const MAX_IMAGES: usize = 100;

/// Most entries of an index that is brought as it is: each image may have attestations.
const MAX_ENTRIES: usize = 4 * MAX_IMAGES;

impl Job {
    /// Brings an index: all that it lists, and the index as it came; or the images for some platforms, and an index of those.
    ///
    /// Where the name means a single image, that is brought.
    pub(super) async fn pull_list(
        &self,
        sources: &[Repository],
        wanted: Option<&[Platform]>,
    ) -> Result<Pulled, Error> {
        self.in_turn(sources, async |source| self.list_from(source, wanted).await)
            .await
    }

    async fn list_from(
        &self,
        source: &Repository,
        wanted: Option<&[Platform]>,
    ) -> Result<Pulled, Error> {
        let shown = self.reference.familiar();
        let named = source.manifest(&Which::from(&self.reference)).await?;
        let what = format!("manifest `{}` of `{shown}`", named.digest);
        let index = match (named.document(&what)?, wanted) {
            (Document::Index(index), _) => *index,
            (Document::Manifest(_), None) => return Ok(self.pull_from(source).await?.0),
            (Document::Manifest(_), Some(_)) => {
                return Err(platform::image_error(
                    &shown,
                    "it is one image and no index",
                ));
            }
        };
        let chosen = match wanted {
            None if index.manifests.len() > MAX_ENTRIES => {
                let why = format!("its index lists more than {MAX_ENTRIES} manifests");
                return Err(platform::image_error(&shown, &why));
            }
            None => images(&index.manifests),
            Some(wanted) => {
                let mut chosen: Vec<&Descriptor> = Vec::new();
                for one in wanted {
                    let entry = platform::pick(&index.manifests, Some(one), &shown)?;
                    if !chosen.contains(&entry) {
                        chosen.push(entry);
                    }
                }
                chosen
            }
        };
        if chosen.is_empty() {
            return Err(platform::image_error(&shown, "its index lists no image"));
        }
        if chosen.len() > MAX_IMAGES {
            let why = format!("its index lists more than {MAX_IMAGES} images");
            return Err(platform::image_error(&shown, &why));
        }
        let mut steps = 0;
        for entry in &chosen {
            if !oci::media_type::is_manifest(&entry.media_type) {
                let why = "its index lists something else than images";
                return Err(platform::image_error(&shown, why));
            }
            steps += self.bring_member(source, entry, steps).await?;
        }
        let (bytes, also) = match wanted {
            None => (named.bytes.to_vec(), self.attached(source, &index).await?),
            Some(_) => (part_of(&index, &chosen), Vec::new()),
        };
        self.put_list(named, bytes, also).await
    }

    /// Brings an image that an index lists; its steps are counted on from `steps`. How many those were.
    async fn bring_member(
        &self,
        source: &Repository,
        entry: &Descriptor,
        steps: usize,
    ) -> Result<usize, Error> {
        let name = entry.platform.as_ref().map(ToString::to_string);
        let member = Self {
            lease: self.lease.clone(),
            reference: self.reference.with_digest(entry.digest),
            wanted: None,
            member: true,
            events: shifted(&self.events, steps, name.unwrap_or_default()),
        };
        let (_, image): (Pulled, Image) = member.pull_from(source).await?;
        Ok(image.layers.len())
    }

    /// Brings what an index lists beside images: attestations. The digests of all that they consist of.
    async fn attached(&self, source: &Repository, index: &Index) -> Result<Vec<Digest>, Error> {
        let listed = images(&index.manifests);
        let mut digests = Vec::new();
        for entry in index
            .manifests
            .iter()
            .filter(|entry| !listed.contains(entry))
        {
            let fetched = platform::fetch_entry(source, entry).await?;
            let what = format!("manifest `{}`", entry.digest);
            if let Document::Manifest(manifest) = fetched.document(&what)? {
                for descriptor in manifest.layers.iter().chain([&manifest.config]) {
                    digests.push(self.blob(source, descriptor).await?);
                }
            }
            let lease = self.lease.clone();
            let put = spawn_blocking(move || lease.put_blob(&fetched.bytes));
            digests.push(*put.await??.digest());
        }
        Ok(digests)
    }

    /// Brings a blob that is no layer.
    async fn blob(&self, source: &Repository, descriptor: &Descriptor) -> Result<Digest, Error> {
        let (lease, digest) = (self.lease.clone(), descriptor.digest);
        let known = spawn_blocking(move || -> Result<bool, Error> {
            Ok(lease.store().blob(&digest)?.is_some() && lease.claim_blobs(&[digest]).is_ok())
        });
        if known.await?? {
            return Ok(digest);
        }
        let mut ingest: BlobIngest = self.lease.ingest_blob(descriptor.into())?;
        let mut reader = source.blob(descriptor).await?;
        while let Some(bytes) = reader.next().await? {
            ingest = spawn_blocking(move || ingest.put(&bytes).map(|()| ingest)).await??;
        }
        spawn_blocking(move || ingest.publish()).await??;
        Ok(digest)
    }

    async fn put_list(
        &self,
        named: Fetched,
        bytes: Vec<u8>,
        also: Vec<Digest>,
    ) -> Result<Pulled, Error> {
        let (lease, reference) = (self.lease.clone(), self.reference.clone());
        let put = spawn_blocking(move || -> Result<Pulled, Error> {
            let store = lease.store();
            let names = names(&reference, named.digest);
            let digest = Digest::sha256_of(&bytes);
            let mut newer = false;
            for name in &names {
                let before = store.find_index(&name.to_string())?;
                newer |= before.is_none_or(|index| index.digest != digest);
            }
            let index = lease.put_index(NewIndex {
                bytes: &bytes,
                media_type: Some(&named.media_type),
                also: &also,
                names: &names,
                by: "pull",
            })?;
            let main = index.image_for(&Platform::host());
            let main = main.or(index.images.first());
            let main = main.ok_or(store::Error::MissingBlob(digest))?;
            Ok(Pulled {
                reference,
                digest: named.digest,
                id: main.id,
                newer,
            })
        });
        put.await?
    }
}

/// Events whose steps are counted on from `steps`, and say what they are of.
fn shifted(events: &Events, steps: usize, of: String) -> Events {
    let events = events.clone();
    Arc::new(move |event| {
        events(match event {
            Event::Started { step, name, total } => Event::Started {
                step: step + steps,
                name: format!("{of} {name}"),
                total,
            },
            Event::Moved { step, done, total } => Event::Moved {
                step: step + steps,
                done,
                total,
            },
            Event::Cached { step, why } => Event::Cached {
                step: step + steps,
                why,
            },
            Event::Done { step, took } => Event::Done {
                step: step + steps,
                took,
            },
            Event::Failed { step, error } => Event::Failed {
                step: step + steps,
                error,
            },
            Event::Warning(text) => Event::Warning(text),
        });
    })
}

/// An index of some of the entries, with all that it says beside them.
fn part_of(index: &Index, chosen: &[&Descriptor]) -> Vec<u8> {
    let part = Index {
        manifests: chosen.iter().map(|entry| (*entry).clone()).collect(),
        ..index.clone()
    };
    // Text keys and plain values always become JSON.
    serde_json::to_vec(&part).unwrap_or_default()
}
