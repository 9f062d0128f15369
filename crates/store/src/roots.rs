//! Root filesystems from layers: the plan of one.
//!
//! Overlayfs stacks what the kernel mounts of each layer, or each layer's unpacked directory, as [`Way`] says.

use oci::DiffId;
use sys::root_plan::{Lower, RootPlan, Through, Upper};

use crate::error::{Error, Result};
use crate::folder::Flavour;
use crate::lease::Lease;
use crate::way::{Way, devices};

impl Lease {
    /// The root filesystem of these layers, bottom first, as data for whoever starts a process in it. `upper` is where its
    /// changes go; without, it is read-only. The layers are claimed; unpacked ones are unpacked now if they were not yet.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`]; unpacking failed.
    pub fn root_plan(&self, layers: &[DiffId], upper: Option<Upper>) -> Result<RootPlan> {
        self.claim_layers(layers)?;
        let way = self.store().way()?;
        let find = |id: &DiffId| self.store().find_layer(id)?.ok_or(Error::MissingLayer(*id));
        let layers = self.visible(layers)?;
        let mut lowers = Vec::with_capacity(layers.len());
        for (number, id) in layers.iter().enumerate() {
            // Overlayfs refuses one directory twice. Of a layer that occurs again higher up, nothing can be seen here.
            if layers[number + 1..].contains(id) {
                continue;
            }
            let layer = find(id)?;
            let mounted = |through| Lower::Erofs {
                index: layer.index(),
                devices: devices(&layer),
                through,
            };
            lowers.push(match &way {
                Way::Mounted => mounted(Through::Files),
                Way::Loops { .. } => mounted(Through::Loops),
                Way::Unpacked { user, .. } => Lower::Dir(self.tree(&layer, flavour(*user))?),
            });
        }
        Ok(RootPlan {
            lowers,
            upper,
            userxattr: matches!(way, Way::Unpacked { user: true, .. }),
        })
    }

    /// The layers from the topmost one whose root is opaque: it hides all below, but overlayfs does not look at roots.
    fn visible<'l>(&self, layers: &'l [DiffId]) -> Result<&'l [DiffId]> {
        for (number, id) in layers.iter().enumerate().rev() {
            let layer = self
                .store()
                .find_layer(id)?
                .ok_or(Error::MissingLayer(*id))?;
            let index = layer.open()?;
            let root = index.stat(index.root()).map_err(|source| Error::Index {
                layer: *id,
                source: Box::new(source),
            })?;
            if root.opaque {
                return Ok(&layers[number..]);
            }
        }
        Ok(layers)
    }
}

const fn flavour(user: bool) -> Flavour {
    if user {
        Flavour::User
    } else {
        Flavour::Trusted
    }
}
