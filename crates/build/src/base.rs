//! Where base images come from.

use oci::{Platform, Reference};
use store::{Image, Store};

use crate::request::Layout;

/// Why there is no base image.
pub type BaseError = Box<dyn std::error::Error + Send + Sync>;

/// Finds the images that FROM and `--from` name.
///
/// There are two: [`Local`], which knows what the store has, and one that pulls.
pub trait BaseImages: Sync {
    /// The image, which is in the store when this returns; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// It could not be found out, or not be fetched.
    fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, BaseError>;

    /// The image in an OCI layout, whose layers and documents are in the store when this returns; it need not be an image
    /// there. `None` if the layout has no such image.
    ///
    /// # Errors
    ///
    /// The layout cannot be read, or is none.
    fn find_in_layout(
        &self,
        layout: &Layout,
        _platform: &Platform,
    ) -> Result<Option<Image>, BaseError> {
        Err(format!("`{layout}` cannot be read here").into())
    }
}

/// The images that a store has already.
#[derive(Debug)]
pub struct Local<'a>(pub &'a Store);

impl BaseImages for Local<'_> {
    fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, BaseError> {
        Ok(self.0.find_image_for(&reference.to_string(), platform)?)
    }
}
