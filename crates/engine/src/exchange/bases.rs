//! Base images of a build: from the store, from OCI layouts, else from their registry.

use build::{BaseError, BaseImages, Layout};
use oci::{Platform, Reference};
use store::Image;

use crate::Engine;

/// Finds what FROM names; what the store does not have is pulled.
pub(crate) struct Bases<'e> {
    pub(crate) engine: &'e Engine,
    /// Keeps what was pulled until the build claims it.
    pub(crate) lease: store::Lease,
    /// Asks the registry even for what the store has: `--pull`.
    pub(crate) always: bool,
    /// Hears of what is pulled as of a step.
    pub(crate) teller: &'e build::Teller<'e>,
}

impl BaseImages for Bases<'_> {
    fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, BaseError> {
        let name = reference.to_string();
        let known = self.engine.store().find_image_for(&name, platform)?;
        // An image for something else is not the one that is meant, unless nothing better can be had.
        let fits = known.as_ref().is_some_and(|image| {
            crate::transfer::platform::rank(platform, &image.platform).is_some()
        });
        if (fits && !self.always) || self.engine.network().is_offline() {
            return Ok(known);
        }
        let shown = reference.familiar();
        let pull = || {
            super::relayed(self.teller, &shown, |events| {
                self.engine
                    .pull_under(&self.lease, reference, Some(platform), events)
            })
        };
        let name = format!("pull {shown}");
        match self.teller.during(&name, pull) {
            Ok(image) => Ok(Some(image)),
            Err(_) if known.is_some() && !self.always => Ok(known),
            Err(error) if super::pull::is_missing(&error) => Ok(None),
            Err(error) => Err(Box::new(error)),
        }
    }

    fn find_in_layout(
        &self,
        layout: &Layout,
        platform: &Platform,
    ) -> Result<Option<Image>, BaseError> {
        Ok(crate::transfer::bring_layout(
            &self.lease,
            layout,
            platform,
        )?)
    }
}
