//! `push`: an image of the store to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use distribution::client::{Repository, Source, Upload, Uploaded, Which};
use layer::compression::Compression;
use oci::{Descriptor, DiffId, Digest, Manifest, Reference, media_type};
use store::{Image, ImageIndex, Lease};
use tokio::task::{JoinSet, spawn_blocking};

use super::download::Lanes;
use super::remote::Address;
use super::{Event, Events, ExchangeError, Meter, compress};
use crate::{Engine, Error};

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image under the name that it gets: a name, or `ssh://host/name`.
    pub image: String,
    /// All tags of the repository that the store has.
    pub all_tags: bool,
    /// How layers that were built here are compressed; what was pulled goes as it came.
    pub compression: Compression,
}

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its name in full.
    pub reference: Reference,
    /// The digest of the manifest at the registry.
    pub digest: Digest,
    /// The size of the manifest.
    pub size: u64,
}

/// What a push sends: documents, and where their bytes are.
struct Parcel {
    manifest: Vec<u8>,
    media_type: String,
    digest: Digest,
    config: Descriptor,
    layers: Vec<(Descriptor, DiffId)>,
    subject: Option<Descriptor>,
    parsed: Manifest,
}

/// By what an image can be found at the registry afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The tag of its name.
    Tag,
    /// Its digest alone.
    Digest,
}

/// A push under way.
#[derive(Clone, Copy)]
struct Sending<'a> {
    target: &'a Repository,
    lease: &'a Lease,
    name: &'a Reference,
    by: Destination,
    compression: Compression,
    events: &'a Events,
}

impl Sending<'_> {
    /// What the registry is to call a document.
    fn which(&self, digest: Digest) -> Which {
        match (self.by, self.name.tag()) {
            (Destination::Tag, Some(tag)) => Which::Tag(tag.clone()),
            _ => Which::Digest(digest),
        }
    }
}

impl Engine {
    /// Sends images of the store to a registry.
    ///
    /// What the registry has is not sent; what it has in another repository it takes from there; the rest goes several at
    /// once. What was pulled is sent as it came, with the same digests. The tag is set last.
    ///
    /// # Errors
    ///
    /// The store does not have the image, or the registry does not take it. What was sent until then is not sent again.
    pub fn push(&self, request: &PushRequest, events: &Events) -> Result<Vec<Pushed>, Error> {
        let address = Address::read(&request.image)?;
        if request.all_tags {
            address.no_tag(&request.image)?;
        }
        let target = self.target(&address, false)?;
        let lease = self.store().lease("push")?;
        let mut pushed = Vec::new();
        for reference in self.to_push(&address.reference, request.all_tags)? {
            let sending = Sending {
                target: &target,
                lease: &lease,
                name: &reference,
                by: Destination::Tag,
                compression: request.compression,
                events,
            };
            pushed.push(match self.store().find_index(&reference.to_string())? {
                Some(index) => self.push_index(&sending, &index)?,
                None => {
                    let image = self.store().resolve(&reference.to_string())?;
                    self.push_image(&sending, &image)?
                }
            });
        }
        Ok(pushed)
    }

    /// Where an image of this name is pushed to. Nothing is sent yet.
    pub(crate) fn destination(
        &self,
        name: &Reference,
        insecure: bool,
    ) -> Result<Repository, Error> {
        self.target(&Address::of(name.clone()), insecure)
    }

    fn target(&self, address: &Address, insecure: bool) -> Result<Repository, Error> {
        let ready = self.network().ready()?;
        let mut candidate = match address.over_ssh()? {
            Some(candidate) => candidate,
            None => ready.configuration.registries.to_push(&address.reference)?,
        };
        candidate.endpoint.insecure |= insecure;
        Ok(ready
            .client
            .repository(&candidate.endpoint, candidate.repository))
    }

    /// Sends an image or an index of the store as it is there.
    pub(crate) fn push_stored(
        &self,
        target: &Repository,
        lease: &Lease,
        (name, by): (&Reference, Destination),
        digest: Digest,
        events: &Events,
    ) -> Result<Pushed, Error> {
        let sending = Sending {
            target,
            lease,
            name,
            by,
            compression: Compression::None,
            events,
        };
        if let Some(image) = self.store().image(&digest)? {
            return self.push_image(&sending, &image);
        }
        let index = self.store().find_index(&digest.to_string())?;
        self.push_index(&sending, &index.ok_or(store::Error::MissingBlob(digest))?)
    }

    /// Sends one image and sets its tag.
    fn push_image(&self, sending: &Sending<'_>, image: &Image) -> Result<Pushed, Error> {
        let parcel = self.send_image(sending, image, |digest| sending.which(digest))?;
        // Where it is now, for `RepoDigests` and for later pushes that mount.
        let origin = sending.name.with_digest(parcel.digest);
        self.store().name(&origin, &image.digest, "push")?;
        Ok(Pushed {
            reference: sending.name.clone(),
            digest: parcel.digest,
            size: parcel.manifest.len() as u64,
        })
    }

    /// Sends layers, config and manifest.
    fn send_image(
        &self,
        sending: &Sending<'_>,
        image: &Image,
        which: impl FnOnce(Digest) -> Which,
    ) -> Result<Arc<Parcel>, Error> {
        let parcel = Arc::new(self.parcel(sending, image)?);
        let mounts = self.mountable(sending.name, &parcel)?;
        self.network().run(send(sending, &parcel, &mounts))??;
        let which = which(parcel.digest);
        let finished = finish(sending.target, &parcel, &which);
        warn(self.network().run(finished)??, sending.events);
        Ok(parcel)
    }

    /// Sends all images of an index, then the index.
    fn push_index(&self, sending: &Sending<'_>, index: &ImageIndex) -> Result<Pushed, Error> {
        let mut bytes = self.store().read_blob(&index.digest)?;
        let mut changed = BTreeMap::new();
        for entry in beside(&bytes, index) {
            self.send_attached(sending, &entry)?;
        }
        // What was pulled whole goes as it came.
        let pulled = |name: &Reference| name.digest() == Some(&index.digest);
        let as_it_is = Sending {
            compression: Compression::None,
            ..*sending
        };
        let sending = match index.names.iter().any(pulled) {
            true => &as_it_is,
            false => sending,
        };
        for image in &index.images {
            let parcel = self.send_image(sending, image, Which::Digest)?;
            if parcel.digest != image.digest {
                changed.insert(image.digest, (parcel.digest, parcel.manifest.len() as u64));
            }
        }
        if !changed.is_empty() {
            bytes =
                with_entries(&bytes, &changed).ok_or(store::Error::MissingBlob(index.digest))?;
        }
        let digest = Digest::sha256_of(&bytes);
        let size = bytes.len() as u64;
        let (which, kind) = (sending.which(digest), index.media_type.as_str());
        let put = sending.target.put_manifest(&which, kind, bytes.into());
        warn(self.network().run(put)??.warnings, sending.events);
        let origin = sending.name.with_digest(digest);
        self.store().name(&origin, &index.digest, "push")?;
        Ok(Pushed {
            reference: sending.name.clone(),
            digest,
            size,
        })
    }

    /// Sends something that an index lists and that is no image: an attestation.
    fn send_attached(&self, sending: &Sending<'_>, entry: &Descriptor) -> Result<(), Error> {
        let bytes = self.store().read_blob(&entry.digest)?;
        let kind = entry.media_type.as_str();
        let document = oci::Document::parse(&bytes, Some(kind));
        let document = document.map_err(|source| store::Error::Document {
            what: "manifest",
            source,
        })?;
        let oci::Document::Manifest(manifest) = document else {
            let why = "an index in an index".to_owned();
            return Err(store::Error::Inconsistent(why).into());
        };
        let layers = manifest.layers.iter().cloned();
        let parcel = Arc::new(Parcel {
            media_type: kind.to_owned(),
            digest: entry.digest,
            config: manifest.config.clone(),
            layers: layers
                .map(|layer| {
                    let id = DiffId::from_digest(layer.digest);
                    (layer, id)
                })
                .collect(),
            subject: manifest.subject.clone(),
            manifest: bytes,
            parsed: *manifest,
        });
        let silent: Events = Arc::new(|_| {});
        let quiet = Sending {
            events: &silent,
            ..*sending
        };
        self.network()
            .run(send(&quiet, &parcel, &BTreeMap::new()))??;
        let which = Which::Digest(entry.digest);
        let finished = finish(sending.target, &parcel, &which);
        warn(self.network().run(finished)??, sending.events);
        Ok(())
    }

    /// The names that are pushed.
    fn to_push(&self, reference: &Reference, all: bool) -> Result<Vec<Reference>, Error> {
        if !all {
            return Ok(vec![reference.clone()]);
        }
        let mut names: Vec<Reference> = self
            .store()
            .images()?
            .into_iter()
            .flat_map(|image| image.names)
            .filter(|name| name.tag().is_some() && name.name() == reference.name())
            .collect();
        names.sort();
        if names.is_empty() {
            return Err(store::Error::NoSuchImage {
                text: reference.familiar_name(),
                nearest: None,
            }
            .into());
        }
        Ok(names)
    }

    /// The documents as they are sent: as they came, or for a built image with layers in their compressed form.
    fn parcel(&self, sending: &Sending<'_>, image: &Image) -> Result<Parcel, Error> {
        let store = self.store();
        let (lease, compression) = (sending.lease, sending.compression);
        let events = sending.events;
        lease.claim_layers(&image.layers)?;
        let mut manifest = store.manifest(image)?;
        let mut bytes = store.read_blob(&image.digest)?;
        let mut media_type = image.media_type.clone();
        let mut digest = image.digest;
        let plain = |(descriptor, id): (&Descriptor, &DiffId)| descriptor.digest == *id.digest();
        let built = manifest.layers.iter().zip(&image.layers).any(plain)
            && image
                .names
                .iter()
                .all(|name| name.digest() != Some(&image.digest));
        if built && compression != Compression::None {
            let count = manifest.layers.len();
            for (number, (descriptor, id)) in
                manifest.layers.iter_mut().zip(&image.layers).enumerate()
            {
                if descriptor.digest == *id.digest() {
                    let step = number + 1;
                    *descriptor = compress::form(lease, id, compression).map_err(|source| {
                        let error = source.to_string();
                        events(Event::Failed { step, error });
                        ExchangeError::Layer {
                            number: step,
                            count,
                            digest: Box::new(*id.digest()),
                            source: Box::new(source),
                        }
                    })?;
                }
            }
            media_type::OCI_MANIFEST.clone_into(&mut media_type);
            manifest.media_type = Some(media_type.clone());
            bytes = serde_json::to_vec(&manifest).unwrap_or_default();
            digest = Digest::sha256_of(&bytes);
        }
        let layers = manifest.layers.iter().cloned();
        Ok(Parcel {
            media_type,
            digest,
            config: manifest.config.clone(),
            layers: layers.zip(image.layers.iter().copied()).collect(),
            subject: manifest.subject.clone(),
            manifest: bytes,
            parsed: manifest,
        })
    }

    /// Repositories of the same registry that have a layer, as far as names with a digest tell.
    fn mountable(
        &self,
        reference: &Reference,
        parcel: &Parcel,
    ) -> Result<BTreeMap<Digest, oci::Repository>, Error> {
        let mut found = BTreeMap::new();
        let layers: BTreeMap<DiffId, Digest> = parcel
            .layers
            .iter()
            .map(|(descriptor, id)| (*id, descriptor.digest))
            .collect();
        for image in self.store().images()? {
            let origin = image.names.iter().find(|name| {
                name.digest().is_some()
                    && name.registry() == reference.registry()
                    && name.repository() != reference.repository()
            });
            let Some(Ok(from)) = origin.map(|name| name.repository().parse::<oci::Repository>())
            else {
                continue;
            };
            for id in &image.layers {
                if let Some(digest) = layers.get(id) {
                    found.entry(*digest).or_insert_with(|| from.clone());
                }
            }
        }
        Ok(found)
    }
}

fn warn(warnings: Vec<String>, events: &Events) {
    for warning in warnings {
        events(Event::Warning(warning));
    }
}

/// What an index lists that is no image of the store.
fn beside(bytes: &[u8], index: &ImageIndex) -> Vec<Descriptor> {
    let parsed = serde_json::from_slice::<oci::Index>(bytes);
    let mut entries = parsed.map(|index| index.manifests).unwrap_or_default();
    let is_image = |entry: &Descriptor| index.images.iter().any(|it| it.digest == entry.digest);
    entries.retain(|entry| !is_image(entry));
    entries
}

/// An index whose entries name other manifests; all else of it stays.
fn with_entries(bytes: &[u8], changed: &BTreeMap<Digest, (Digest, u64)>) -> Option<Vec<u8>> {
    let mut index: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    for entry in index.get_mut("manifests")?.as_array_mut()? {
        let digest: Digest = entry.get("digest")?.as_str()?.parse().ok()?;
        if let Some((digest, size)) = changed.get(&digest) {
            entry["digest"] = digest.to_string().into();
            entry["size"] = (*size).into();
            entry["mediaType"] = media_type::OCI_MANIFEST.into();
        }
    }
    serde_json::to_vec(&index).ok()
}

/// Layers that must not be passed on.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
}

/// Sends all blobs.
async fn send(
    sending: &Sending<'_>,
    parcel: &Arc<Parcel>,
    mounts: &BTreeMap<Digest, oci::Repository>,
) -> Result<(), Error> {
    let lanes = Lanes::new();
    let mut tasks = JoinSet::new();
    let mut seen = BTreeSet::new();
    let count = parcel.layers.len();
    let layers = parcel.layers.iter().map(|(descriptor, _)| descriptor);
    for (number, descriptor) in layers.chain([&parcel.config]).enumerate() {
        let is_config = number == count;
        if !seen.insert(descriptor.digest) || (!is_config && is_foreign(&descriptor.media_type)) {
            continue;
        }
        let job = Job {
            step: number + 1,
            name: if is_config { "config" } else { "layer" },
            target: sending.target.clone(),
            lease: sending.lease.clone(),
            descriptor: descriptor.clone(),
            mount: mounts.get(&descriptor.digest).cloned(),
            events: sending.events.clone(),
        };
        let lanes = lanes.clone();
        tasks.spawn(async move {
            let _lane = lanes.enter(job.descriptor.size).await;
            job.send().await.map_err(|source| {
                let digest = Box::new(job.descriptor.digest);
                if is_config {
                    return source;
                }
                Error::from(ExchangeError::Layer {
                    number: job.step,
                    count,
                    digest,
                    source: Box::new(source),
                })
            })
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// One blob on its way up.
struct Job {
    step: usize,
    name: &'static str,
    target: Repository,
    lease: Lease,
    descriptor: Descriptor,
    mount: Option<oci::Repository>,
    events: Events,
}

impl Job {
    async fn send(&self) -> Result<(), Error> {
        let step = self.step;
        let total = self.descriptor.size;
        let name = format!("{} {}", self.name, self.descriptor.digest.short());
        (self.events)(Event::Started { step, name, total });
        let began = Instant::now();
        match self.upload().await {
            Ok(Uploaded::Sent) => {
                let took = began.elapsed();
                (self.events)(Event::Done { step, took });
                Ok(())
            }
            Ok(Uploaded::Existed) => {
                let why = "Layer already exists".to_owned();
                (self.events)(Event::Cached { step, why });
                Ok(())
            }
            Ok(Uploaded::Mounted(from)) => {
                let why = format!("Mounted from {from}");
                (self.events)(Event::Cached { step, why });
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                (self.events)(Event::Failed { step, error: text });
                Err(error)
            }
        }
    }

    async fn upload(&self) -> Result<Uploaded, Error> {
        let (lease, digest) = (self.lease.clone(), self.descriptor.digest);
        let (file, size) = spawn_blocking(move || -> Result<_, Error> {
            lease.claim_blobs(&[digest])?;
            let blob = lease
                .store()
                .blob(&digest)?
                .ok_or(store::Error::MissingBlob(digest))?;
            Ok((blob.open()?, blob.size()))
        })
        .await??;
        if size != self.descriptor.size {
            return Err(distribution::client::Error::Size {
                digest,
                expected: self.descriptor.size,
                found: size,
            }
            .into());
        }
        let moved = AtomicU64::new(0);
        let meter = Meter::new(self.step, size, self.events.clone());
        let upload = Upload {
            mount: self.mount.clone(),
            on_bytes: Some(Arc::new(move |count| {
                let done = moved.fetch_add(count, Ordering::Relaxed) + count;
                // What has to be sent again is not more than the whole.
                meter.at(done.min(size));
            })),
            ..Upload::default()
        };
        let source = Source::File(Arc::new(file), size);
        Ok(self
            .target
            .upload(&self.descriptor, &source, &upload)
            .await?)
    }
}

/// Sets the tag, once everything is there.
async fn finish(target: &Repository, parcel: &Parcel, which: &Which) -> Result<Vec<String>, Error> {
    let bytes = parcel.manifest.clone().into();
    let put = target
        .put_manifest(which, &parcel.media_type, bytes)
        .await?;
    if let Some(subject) = &parcel.subject
        && !put.subject
    {
        let kind = parcel.parsed.artifact_type.clone();
        let mut entry = Descriptor::new(
            parcel.media_type.clone(),
            parcel.digest,
            parcel.manifest.len() as u64,
        );
        entry.artifact_type = kind.or_else(|| Some(parcel.config.media_type.clone()));
        entry.annotations.clone_from(&parcel.parsed.annotations);
        target.tag_referrer(&subject.digest, entry).await?;
    }
    Ok(put.warnings)
}
