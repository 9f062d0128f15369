//! What a container changed, as a layer: `commit`, `export` and `diff` of a container.

use std::collections::BTreeSet;
use std::path::Path;

use layer::{CaptureOptions, Follow};
use oci::{Descriptor, HistoryEntry, ImageConfig, ImageId, media_type};
use store::{Container, Layer, Lease, NewImage};

use super::ContainerError;
use crate::browse::{ChangeRow, Side};
use crate::{Engine, Error, changes, transfer};

/// What `commit` is asked for.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Name or id.
    pub container: String,
    /// Name of the image.
    pub name: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Said in the history.
    pub message: Option<String>,
    /// Dockerfile instructions applied to the config.
    pub changes: Vec<String>,
    /// Hold the container's processes still meanwhile, if it runs.
    pub pause: bool,
    /// `SOURCE_DATE_EPOCH` as it was found.
    pub created: Option<String>,
}

impl Engine {
    /// Makes an image of a container's image and what its processes changed. Volumes and mounts are no part of it. It starts what
    /// the container started: the config is the image's with what `run` was asked for over it.
    ///
    /// The processes of a container that runs do nothing meanwhile, and do not notice. Without [`CommitRequest::pause`], what they write may
    /// be half in the image.
    ///
    /// # Errors
    ///
    /// There is no such container, or a part of the request makes no sense; then nothing is in the store.
    pub fn commit(&self, request: &CommitRequest) -> Result<ImageId, Error> {
        let name = request
            .name
            .as_deref()
            .map(crate::images::new_name)
            .transpose()?;
        let created = transfer::time(request.created.as_deref())?;
        let container = self.store().container(&request.container)?;
        let lease = self.store().lease("commit")?;
        let (mut config, mut descriptors) = self.origin(&container)?;
        let record = super::record_of(&container)?;
        if let Some(origin) = &record.origin {
            config.config = origin.config.clone();
        }
        changes::apply(&mut config.config, &request.changes)?;
        let held = match request.pause.then(|| runtime::hold(container.dir())) {
            None | Some(Err(runtime::Error::NotRunning)) => None,
            Some(held) => Some(held.map_err(ContainerError::from)?),
        };
        let layer = self.captured(&container, &lease)?;
        drop(held);
        descriptors.push(Descriptor::new(
            media_type::OCI_LAYER,
            *layer.diff_id().digest(),
            layer.size(),
        ));
        config.rootfs.diff_ids.push(*layer.diff_id());
        config.created = Some(created.clone());
        config.author = request.author.clone().or(config.author);
        config.history.push(HistoryEntry {
            created: Some(created),
            created_by: Some(record.command.join(" ")),
            author: request.author.clone(),
            comment: request.message.clone(),
            empty_layer: false,
        });
        // Text keys and plain values always become JSON.
        let config = serde_json::to_vec(&config).unwrap_or_default();
        let image = lease.put_image(NewImage {
            manifest: &transfer::manifest(&config, descriptors),
            media_type: None,
            config: &config,
            also: &[],
            names: name.as_slice(),
            by: "commit",
        })?;
        Ok(image.id)
    }

    /// Writes the root filesystem of a container, or of an image if there is no such container, as a tar.
    ///
    /// # Errors
    ///
    /// There is neither, or the output cannot be written.
    pub fn export(&self, name: &str, output: Option<&Path>) -> Result<(), Error> {
        let container = match self.store().container(name) {
            Ok(container) => container,
            Err(store::Error::NoSuchContainer { nearest, .. }) => {
                let exported = self.export_image(name, output);
                return exported.map_err(|error| error.or_container(nearest));
            }
            Err(error) => return Err(error.into()),
        };
        let lease = self.store().lease("export")?;
        let layer = self.captured(&container, &lease)?;
        let mut layers = container.layers.clone();
        layers.push(*layer.diff_id());
        transfer::export_tree(name, &lease.view(&layers)?, output)
    }

    /// The paths that a container's processes added, changed and removed.
    ///
    /// # Errors
    ///
    /// There is no such container, or its files cannot be read.
    pub fn diff_container(&self, name: &str) -> Result<Vec<ChangeRow>, Error> {
        let container = self.store().container(name)?;
        let lease = self.store().lease("diff")?;
        let layer = self.captured(&container, &lease)?;
        let mut layers = container.layers.clone();
        layers.push(*layer.diff_id());
        let (before, after) = (lease.view(&container.layers)?, lease.view(&layers)?);
        let (from, to) = (
            Side {
                view: &before,
                layers: &container.layers,
            },
            Side {
                view: &after,
                layers: &layers,
            },
        );
        crate::browse::changes(from, to).map_err(|source| Error::Read {
            image: name.to_owned(),
            source,
        })
    }

    /// The config of the image that a container was made from, and the layers as its manifest has them. An image that was
    /// removed since leaves the container's layers, and nothing else.
    fn origin(&self, container: &Container) -> Result<(ImageConfig, Vec<Descriptor>), Error> {
        let image = container
            .image
            .map(|digest| self.store().image(&digest))
            .transpose()?
            .flatten();
        if let Some(image) = image {
            return Ok((
                self.store().config(&image)?,
                self.store().manifest(&image)?.layers,
            ));
        }
        let mut config = ImageConfig::default();
        let platform = oci::Platform::host();
        (config.os, config.architecture, config.variant) =
            (platform.os, platform.architecture, platform.variant);
        config.rootfs.diff_ids.clone_from(&container.layers);
        let mut descriptors = Vec::new();
        for id in &container.layers {
            let layer = self
                .store()
                .find_layer(id)?
                .ok_or(store::Error::MissingLayer(*id))?;
            descriptors.push(Descriptor::new(
                media_type::OCI_LAYER,
                *id.digest(),
                layer.size(),
            ));
        }
        Ok((config, descriptors))
    }

    /// The upper directory of a container as a layer, which lives as long as the lease unless an image takes it.
    fn captured(&self, container: &Container, lease: &Lease) -> Result<Layer, Error> {
        // If its supervisor was killed, nobody has tidied up yet.
        runtime::detached::settle(container.dir()).map_err(ContainerError::from)?;
        let stubs = self.mount_points(container, lease)?;
        let skip = |path: &[u8]| stubs.contains(path);
        let below = lease.view(&container.layers)?;
        let options = CaptureOptions {
            skip: Some(&skip),
            below: Some(&below),
            ..CaptureOptions::default()
        };
        let mut ingest = lease.ingest_layer()?;
        layer::capture(&container.upper(), ingest.writer(), &options).map_err(|source| {
            ContainerError::Capture {
                name: container.name.clone(),
                source,
            }
        })?;
        Ok(ingest.publish()?)
    }

    /// What exists in the upper directory of a running container only to be mounted on.
    fn mount_points(
        &self,
        container: &Container,
        lease: &Lease,
    ) -> Result<BTreeSet<Vec<u8>>, Error> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = sys::fs::read(&container.spec())?;
        let Ok(spec) = serde_json::from_slice::<runtime::Spec>(&bytes) else {
            return Ok(BTreeSet::new());
        };
        let view = lease.view(&container.layers)?;
        let mut stubs = BTreeSet::new();
        let own = ["/proc", "/sys", "/dev"].map(std::path::PathBuf::from);
        for target in spec.mounts.iter().map(|mount| &mount.target).chain(&own) {
            let path = target.as_os_str().as_bytes();
            let found = view
                .lookup(path, Follow::No)
                .map_err(|source| Error::Read {
                    image: container.image_name.clone(),
                    source,
                })?;
            if found.is_none() {
                stubs.insert(path.strip_prefix(b"/").unwrap_or(path).to_vec());
            }
        }
        Ok(stubs)
    }
}
