//! `pull`: an image from a registry into the store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use distribution::client::{Client, Kind, Repository, Which};
use oci::{DiffId, Digest, ImageId, Platform, Reference, Tag};
use store::{Image, Lease, NewImage, Record};
use tokio::task::{JoinSet, spawn_blocking};

use super::download::{self, Lanes, WORTH_KEEPING, Wanted, Ways};
use super::platform::{self, Found};
use super::remote::Address;
use super::small::Writer;
use super::{Event, Events, ExchangeError};
use crate::{Engine, Error};

/// What is to be pulled.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// The image: a name, or `ssh://host/name`.
    pub image: String,
    /// Only an image for this platform, or for several with commas between them; otherwise this machine's where there is a choice.
    pub platform: Option<String>,
    /// All that an index lists, and the index as it is.
    pub all_platforms: bool,
    /// Every tag of the repository.
    pub all_tags: bool,
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its name in full.
    pub reference: Reference,
    /// The digest of what the name means at the registry: the image's manifest, or an index of several platforms.
    pub digest: Digest,
    /// The image.
    pub id: ImageId,
    /// The store did not have it under this name.
    pub newer: bool,
}

impl Engine {
    /// Brings images from a registry into the store.
    ///
    /// Layers are fetched, inflated, hashed and written in one pass, several at once, small ones in groups; what the store has is not fetched
    /// again, and what another process is fetching is waited for. After an error the store has the layers that were done, for
    /// a while, and no image.
    ///
    /// # Errors
    ///
    /// The registry does not have it or does not give it, or what it gives is not what it says.
    pub fn pull(&self, request: &PullRequest, events: &Events) -> Result<Vec<Pulled>, Error> {
        let texts = request.platform.iter().flat_map(|text| text.split(','));
        let wanted = texts
            .map(|text| Ok(text.trim().parse()?))
            .collect::<Result<Vec<Platform>, Error>>()?;
        let address: Address = Address::read(&request.image)?;
        if request.all_tags {
            address.no_tag(&request.image)?;
        }
        let ready = self.network().ready()?;
        let lease = self.store().lease("pull")?;
        self.network().run(async {
            let sources = sources(&ready.client, &ready.configuration, &address)?;
            let references = if request.all_tags {
                all_tags(&sources, &address.reference).await?
            } else {
                vec![address.reference.clone()]
            };
            let mut pulled = Vec::new();
            for reference in references {
                let job = Job {
                    lease: lease.clone(),
                    reference,
                    wanted: wanted.first().cloned(),
                    member: false,
                    events: events.clone(),
                };
                pulled.push(match (request.all_platforms, &wanted[..]) {
                    (true, _) => job.pull_list(&sources, None).await?,
                    (false, [_, _, ..]) => job.pull_list(&sources, Some(&wanted)).await?,
                    (false, _) => job.pull(&sources).await?.0,
                });
            }
            Ok(pulled)
        })?
    }

    /// True if the store has something that `image` means.
    #[must_use]
    pub fn has_image(&self, image: &str) -> bool {
        self.store().resolve(image).is_ok()
    }

    /// Makes sure that an image is in the store: pulls it if it is not there, or always. `None` if it was there.
    ///
    /// # Errors
    ///
    /// As [`Engine::pull`]; and [`store::Error::NoSuchImage`] for what can only be an id.
    pub fn ensure(
        &self,
        image: &str,
        platform: Option<&str>,
        always: bool,
        events: &Events,
    ) -> Result<Option<Pulled>, Error> {
        let known = match platform {
            Some(platform) => {
                let platform = platform.parse::<Platform>()?;
                let found = self.store().find_image_for(image, &platform)?;
                found.filter(|image| image.platform.distance_from(&platform).is_some())
            }
            None => self.store().find_image(image)?,
        };
        if known.is_some() && !always {
            return Ok(None);
        }
        if self.network().is_offline() || image.parse::<Reference>().is_err() {
            // The store's own error has the nearest name.
            self.store().resolve(image)?;
            return Ok(None);
        }
        let request = PullRequest {
            image: image.to_owned(),
            platform: platform.map(str::to_owned),
            all_tags: false,
            all_platforms: false,
        };
        Ok(self.pull(&request, events)?.pop())
    }

    /// As [`Engine::pull`], for code that needs the image: it stays as long as `lease`.
    pub(crate) fn pull_under(
        &self,
        lease: &Lease,
        reference: &Reference,
        wanted: Option<&Platform>,
        events: &Events,
    ) -> Result<Image, Error> {
        let ready = self.network().ready()?;
        let address = Address::of(reference.clone());
        let job = Job {
            lease: lease.clone(),
            reference: reference.clone(),
            wanted: wanted.cloned(),
            member: false,
            events: events.clone(),
        };
        self.network().run(async {
            let sources = sources(&ready.client, &ready.configuration, &address)?;
            Ok(job.pull(&sources).await?.1)
        })?
    }
}

/// The repositories that may have an image, in the order in which they are asked.
pub(super) fn sources(
    client: &Client,
    configuration: &super::Configuration,
    address: &Address,
) -> Result<Vec<Repository>, Error> {
    if let Some(candidate) = address.over_ssh()? {
        return Ok(vec![
            client.repository(&candidate.endpoint, candidate.repository),
        ]);
    }
    let candidates = configuration.to_pull(&address.reference)?;
    Ok(candidates
        .into_iter()
        .map(|candidate| client.repository(&candidate.endpoint, candidate.repository))
        .collect())
}

async fn all_tags(sources: &[Repository], name: &Reference) -> Result<Vec<Reference>, Error> {
    let mut last = ExchangeError::Interrupted.into();
    for source in sources {
        match source.tags().await {
            Ok(tags) => {
                let tags = tags.iter().filter_map(|tag| tag.parse::<Tag>().ok());
                return Ok(tags.map(|tag| name.with_tag(tag)).collect());
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// The layers of an image that came so far. They outlive a pull that is killed or breaks off, until the next one has the whole
/// image or `prune` takes them.
#[derive(Clone)]
struct Kept {
    lease: Lease,
    key: String,
    layers: Arc<Mutex<Vec<DiffId>>>,
}

impl Kept {
    fn of(lease: &Lease, found: &Found) -> Self {
        Self {
            lease: lease.clone(),
            key: format!("pull {}", found.stored_as()),
            layers: Arc::default(),
        }
    }

    async fn add(&self, layer: DiffId) -> Result<(), Error> {
        let this = self.clone();
        let keep = move || -> Result<(), Error> {
            // Held while it is written: the record with more layers is the later one.
            let mut layers = this.layers.lock().unwrap_or_else(PoisonError::into_inner);
            let before = this.lease.store().record(&this.key)?;
            layers.extend(before.into_iter().flat_map(|record| record.layers));
            layers.push(layer);
            layers.sort();
            layers.dedup();
            Ok(this.lease.put_record(&Record {
                key: this.key.clone(),
                definition: "pull".to_owned(),
                parts: Vec::new(),
                output: serde_json::Value::Null,
                layers: layers.clone(),
                created: 0,
                last_used: 0,
            })?)
        };
        spawn_blocking(keep).await?
    }

    async fn forget(&self) -> Result<(), Error> {
        let this = self.clone();
        spawn_blocking(move || Ok(this.lease.store().forget_record(&this.key)?)).await?
    }
}

/// One image on its way.
pub(super) struct Job {
    pub(super) lease: Lease,
    pub(super) reference: Reference,
    pub(super) wanted: Option<Platform>,
    /// It is one of several in an index: it gets no name, and may be for any machine.
    pub(super) member: bool,
    pub(super) events: Events,
}

impl Job {
    /// Asks the sources in turn. A mirror that does not have it, or does not work, is no reason to fail; the last answer is.
    async fn pull(&self, sources: &[Repository]) -> Result<(Pulled, Image), Error> {
        self.in_turn(sources, async |source| self.pull_from(source).await)
            .await
    }

    pub(super) async fn in_turn<T>(
        &self,
        sources: &[Repository],
        work: impl AsyncFn(&Repository) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut last = ExchangeError::Interrupted.into();
        for (number, source) in sources.iter().enumerate() {
            match work(source).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    if number + 1 < sources.len() {
                        let text = format!("{} does not give it: {error}", source.registry());
                        (self.events)(Event::Warning(text));
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    pub(super) async fn pull_from(&self, source: &Repository) -> Result<(Pulled, Image), Error> {
        let shown = self.reference.familiar();
        let which = Which::from(&self.reference);
        let found = platform::find(source, &which, self.wanted.as_ref(), &shown).await?;
        for warning in &found.named.warnings {
            (self.events)(Event::Warning(warning.clone()));
        }
        if let Some(image) = self.known(&found).await? {
            // Of a pull that was killed at its very end.
            Kept::of(&self.lease, &found).forget().await?;
            return Ok(image);
        }
        let (config_bytes, config) = platform::config(source, &found.manifest, &shown).await?;
        self.check_platform(&config.platform())?;
        let kept = Kept::of(&self.lease, &found);
        let brought = self.bring_layers(source, &found, &config.rootfs.diff_ids, &kept);
        if let Err(error) = brought.await {
            // What is good is kept for another attempt, if one may help.
            if !matches!(&error, Error::Exchange(error) if error.is_transient()) {
                kept.forget().await?;
            }
            return Err(error);
        }
        let done = self.put(found, config_bytes).await?;
        kept.forget().await?;
        Ok(done)
    }

    /// The image, if the store has it whole; then nothing is fetched.
    async fn known(&self, found: &Found) -> Result<Option<(Pulled, Image)>, Error> {
        let (store, lease) = (self.lease.store().clone(), self.lease.clone());
        let digest = found.stored_as();
        let manifest = found.manifest.clone();
        let whole = spawn_blocking(move || -> Result<bool, Error> {
            let Some(image) = store.image(&digest)? else {
                return Ok(false);
            };
            for (descriptor, diff_id) in manifest.layers.iter().zip(&image.layers) {
                if !crate::transfer::layers::is_known(&lease, descriptor, diff_id)? {
                    return Ok(false);
                }
            }
            Ok(lease.claim_blobs(&[digest, manifest.config.digest]).is_ok())
        })
        .await??;
        if !whole {
            return Ok(None);
        }
        let store = self.lease.store();
        let config = store.read_blob(&found.manifest.config.digest)?;
        let platform = store.image(&found.stored_as())?.map(|image| image.platform);
        if let Some(platform) = platform {
            self.check_platform(&platform)?;
        }
        self.put(found.clone(), config.into()).await.map(Some)
    }

    /// An image for something else is an error if a platform was asked for, and worth a word otherwise.
    fn check_platform(&self, found: &Platform) -> Result<(), Error> {
        let host = Platform::host();
        let wanted = self.wanted.as_ref().unwrap_or(&host);
        if self.member || crate::transfer::platform::rank(wanted, found).is_some() {
            return Ok(());
        }
        if self.wanted.is_some() {
            return Err(ExchangeError::Platform {
                image: self.reference.familiar(),
                wanted: wanted.with_version(),
                here: vec![found.with_version()],
            }
            .into());
        }
        (self.events)(Event::Warning(format!(
            "the image is for {found}, this machine is {wanted}"
        )));
        Ok(())
    }

    async fn bring_layers(
        &self,
        source: &Repository,
        found: &Found,
        diff_ids: &[DiffId],
        kept: &Kept,
    ) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        let count = found.manifest.layers.len();
        let all = found.manifest.layers.iter().zip(diff_ids).enumerate();
        let wanted: Vec<Wanted> = all
            // One download serves all the places that a layer has in an image.
            .filter(|(_, (descriptor, diff_id))| seen.insert((descriptor.digest, **diff_id)))
            .map(|(number, (descriptor, diff_id))| Wanted {
                step: number + 1,
                descriptor: descriptor.clone(),
                diff_id: *diff_id,
            })
            .collect();
        let known = download::which_are_known(&self.lease, &wanted).await?;
        let (writer, writing) = Writer::start(&self.lease);
        let lanes = Lanes::new();
        let ways = Ways {
            repository: source.clone(),
            lease: self.lease.clone(),
            lanes: lanes.clone(),
            writer,
            events: self.events.clone(),
        };
        let mut tasks = JoinSet::new();
        for (wanted, known) in wanted.into_iter().zip(known) {
            let (ways, kept) = (ways.clone(), kept.clone());
            tasks.spawn(async move {
                let brought = async {
                    let new = download::bring(&ways, &wanted, known?).await?;
                    if new && wanted.descriptor.size >= WORTH_KEEPING {
                        kept.add(wanted.diff_id).await?;
                    }
                    Ok::<_, Error>(())
                };
                brought.await.map_err(|source| {
                    Error::from(ExchangeError::Layer {
                        number: wanted.step,
                        count,
                        digest: Box::new(wanted.descriptor.digest),
                        source: Box::new(source),
                    })
                })
            });
        }
        drop(ways);
        let outcome = lanes.finish(tasks).await;
        writing.await?;
        outcome
    }

    /// Puts the image into the store, under its tag and under the digest that it was found by.
    async fn put(
        &self,
        found: Found,
        config: distribution::client::Bytes,
    ) -> Result<(Pulled, Image), Error> {
        let (lease, reference) = (self.lease.clone(), self.reference.clone());
        let is_member = self.member;
        let put = spawn_blocking(move || -> Result<(Pulled, Image), Error> {
            let store = lease.store();
            let digest = found.named.digest;
            let names = match is_member {
                true => Vec::new(),
                false => names(&reference, digest),
            };
            let mut newer = false;
            for name in &names {
                newer |= store.named(name)? != Some(found.stored_as());
            }
            let mut also = Vec::new();
            for index in &found.indexes {
                also.push(*lease.put_blob(index)?.digest());
            }
            let announced = Some(found.fetched.media_type.as_str());
            let image = lease.put_image(NewImage {
                manifest: &found.fetched.bytes,
                media_type: announced.filter(|kind| oci::media_type::is_manifest(kind)),
                config: &config,
                also: &also,
                names: &names,
                by: "pull",
            })?;
            let pulled = Pulled {
                reference,
                digest,
                id: image.id,
                newer,
            };
            Ok((pulled, image))
        });
        put.await?
    }
}

/// The names that something gets which was found under `reference`: the one of its digest, and its tag.
pub(super) fn names(reference: &Reference, digest: Digest) -> Vec<Reference> {
    let mut names = vec![reference.with_digest(digest)];
    // Beside a digest a tag is only a remark: it may mean something else by now.
    if let (Some(tag), None) = (reference.tag(), reference.digest()) {
        names.push(reference.with_tag(tag.clone()));
    }
    names
}

/// True if an image that is not there may be somewhere else.
pub(crate) fn is_missing(error: &Error) -> bool {
    match error {
        Error::Exchange(error) => match error.as_ref() {
            ExchangeError::Registry(error) => error.kind() == Kind::NotFound,
            _ => false,
        },
        _ => false,
    }
}
