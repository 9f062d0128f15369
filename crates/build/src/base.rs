//! Where base images come from.

use oci::{Platform, Reference};
use store::{Image, Store};

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
}

/// The images that a store has already.
#[derive(Debug)]
pub struct Local<'a>(pub &'a Store);

impl BaseImages for Local<'_> {
    fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, BaseError> {
        Ok(self.0.find_image_for(&reference.to_string(), platform)?)
    }
}
