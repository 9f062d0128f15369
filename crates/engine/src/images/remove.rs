//! `barque rmi`.

use oci::ImageId;

use crate::{Engine, Error};

/// Which image is to go.
#[derive(Debug, Clone)]
pub struct RemoveRequest {
    /// A name, an id or a digest.
    pub image: String,
    /// All names of an image, and images that containers were made from.
    pub force: bool,
}

/// What a removal did, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away.
    Name(String),
    /// The image went.
    Image(ImageId),
}

impl Engine {
    /// Takes a name away, and with the last name the image and the layers that nothing else needs.
    ///
    /// # Errors
    ///
    /// There is no such image, or something needs it; then nothing was removed.
    pub fn remove_image(&self, request: &RemoveRequest) -> Result<Vec<Removed>, Error> {
        let removed = self.store().remove_image(&request.image, request.force)?;
        let names = removed
            .untagged
            .iter()
            .map(|name| Removed::Name(name.familiar()));
        Ok(names
            .chain(removed.deleted.iter().copied().map(Removed::Image))
            .collect())
    }
}
