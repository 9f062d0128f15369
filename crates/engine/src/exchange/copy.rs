//! `copy`: from registry to registry, past the store. Bytes are passed on as they come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use distribution::client::{Bytes, Fetched, Repository, Source, Upload, Uploaded, Which};
use oci::{Descriptor, Digest, Document, Platform, Reference};
use tokio::task::JoinSet;

use super::download::Lanes;
use super::pull::sources;
use super::remote::Address;
use super::{Event, Events, ExchangeError, platform};
use crate::{Engine, Error};

/// Most manifests below one: every platform there is, and their attestations.
const MAX_ENTRIES: usize = 1000;
/// Most indexes below each other.
const MAX_DEPTH: usize = 4;

/// What is to be copied.
#[derive(Debug, Clone, Default)]
pub struct CopyRequest {
    /// From where.
    pub source: String,
    /// To where.
    pub target: String,
    /// Everything that an index names, and the index itself.
    pub all: bool,
    /// The platform of the one image that is copied otherwise.
    pub platform: Option<String>,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The name that it has now.
    pub reference: Reference,
    /// Its digest.
    pub digest: Digest,
}

impl Engine {
    /// Copies an image, or everything that an index names, without keeping any of it.
    ///
    /// Digests stay as they are. What the target has is not sent; where source and target are one registry, it takes blobs
    /// from the one repository into the other.
    ///
    /// # Errors
    ///
    /// The source does not have it, or the target does not take it.
    pub fn copy(&self, request: &CopyRequest, events: &Events) -> Result<Copied, Error> {
        let wanted = request
            .platform
            .as_deref()
            .map(str::parse::<Platform>)
            .transpose()?;
        let (from, to) = (
            Address::read(&request.source)?,
            Address::read(&request.target)?,
        );
        let ready = self.network().ready()?;
        let target = match to.over_ssh()? {
            Some(candidate) => candidate,
            None => ready.configuration.registries.to_push(&to.reference)?,
        };
        let target = ready.client.repository(&target.endpoint, target.repository);
        let which = Which::from(&from.reference);
        let (lanes, steps) = (Lanes::new(), Arc::new(AtomicUsize::new(0)));
        self.network().run(async {
            let mut last = ExchangeError::Interrupted.into();
            for source in sources(&ready.client, &ready.configuration, &from)? {
                let route = Route {
                    source,
                    target: target.clone(),
                    shown: from.reference.familiar(),
                    lanes: lanes.clone(),
                    events: events.clone(),
                    steps: steps.clone(),
                };
                let wanted = wanted.as_ref();
                match route
                    .copy(&which, request.all, wanted, to.reference.tag())
                    .await
                {
                    Ok(digest) => {
                        let reference = to.reference;
                        return Ok(Copied { reference, digest });
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        })?
    }
}

/// From where to where.
#[derive(Clone)]
struct Route {
    source: Repository,
    target: Repository,
    shown: String,
    lanes: Lanes,
    events: Events,
    steps: Arc<AtomicUsize>,
}

impl Route {
    /// Copies what is meant, all of it or the image for a platform, and gives it its tag. Its digest.
    async fn copy(
        &self,
        which: &Which,
        all: bool,
        wanted: Option<&Platform>,
        tag: Option<&oci::Tag>,
    ) -> Result<Digest, Error> {
        let named = self.source.manifest(which).await?;
        let top = match all {
            true => named,
            // Something that is no image has no platforms, and is copied as it is.
            false => match named.document(&self.shown)? {
                Document::Manifest(_) => named,
                Document::Index(_) => {
                    platform::find(&self.source, which, wanted, &self.shown)
                        .await?
                        .fetched
                }
            },
        };
        self.copy_tree(&top, 0).await?;
        let which = tag.map_or(Which::Digest(top.digest), |tag| Which::Tag(tag.clone()));
        self.put(&which, &top).await?;
        Ok(top.digest)
    }

    /// Brings everything that a manifest needs to the target, but not the manifest itself.
    async fn copy_tree(&self, fetched: &Fetched, depth: usize) -> Result<(), Error> {
        match fetched.document(&format!(
            "manifest `{}` of `{}`",
            fetched.digest, self.shown
        ))? {
            Document::Manifest(manifest) => {
                let blobs = manifest.layers.iter().chain([&manifest.config]);
                self.copy_blobs(blobs.cloned().collect()).await
            }
            Document::Index(_) if depth >= MAX_DEPTH => Err(platform::image_error(
                &self.shown,
                "its indexes lead to indexes without end",
            )),
            Document::Index(index) => {
                if index.manifests.len() > MAX_ENTRIES {
                    let why = format!("its index has more than {MAX_ENTRIES} entries");
                    return Err(platform::image_error(&self.shown, &why));
                }
                for entry in &index.manifests {
                    let which = Which::Digest(entry.digest);
                    if self.target.head(&which).await?.is_some() {
                        continue;
                    }
                    let child = platform::fetch_entry(&self.source, entry).await?;
                    Box::pin(self.copy_tree(&child, depth + 1)).await?;
                    self.put(&which, &child).await?;
                }
                Ok(())
            }
        }
    }

    async fn put(&self, which: &Which, fetched: &Fetched) -> Result<(), Error> {
        let put = self
            .target
            .put_manifest(which, &fetched.media_type, fetched.bytes.clone())
            .await?;
        for warning in put.warnings {
            (self.events)(Event::Warning(warning));
        }
        Ok(())
    }

    async fn copy_blobs(&self, blobs: Vec<Descriptor>) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let mut seen = BTreeSet::new();
        for descriptor in blobs {
            // What only its maker may give is fetched from there.
            if !seen.insert(descriptor.digest) || !descriptor.urls.is_empty() {
                continue;
            }
            let route = self.clone();
            let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
            tasks.spawn(async move {
                let _lane = route.lanes.enter(descriptor.size).await;
                route.copy_blob(step, &descriptor).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn copy_blob(&self, step: usize, descriptor: &Descriptor) -> Result<(), Error> {
        let total = descriptor.size;
        let name = format!("blob {}", descriptor.digest.short());
        (self.events)(Event::Started { step, name, total });
        let began = Instant::now();
        let source = if total == 0 {
            Source::Bytes(Bytes::new())
        } else {
            Source::Remote(Box::new(self.source.clone()), Box::new(descriptor.clone()))
        };
        let upload = Upload {
            mount: self
                .source
                .is_beside(&self.target)
                .then(|| self.source.name().clone()),
            ..Upload::default()
        };
        match self.target.upload(descriptor, &source, &upload).await {
            Ok(Uploaded::Sent) => {
                let took = began.elapsed();
                (self.events)(Event::Done { step, took });
            }
            Ok(Uploaded::Existed) => {
                let why = "Layer already exists".to_owned();
                (self.events)(Event::Cached { step, why });
            }
            Ok(Uploaded::Mounted(from)) => {
                let why = format!("Mounted from {from}");
                (self.events)(Event::Cached { step, why });
            }
            Err(error) => {
                let text = error.to_string();
                (self.events)(Event::Failed { step, error: text });
                return Err(error.into());
            }
        }
        Ok(())
    }
}
