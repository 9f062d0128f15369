//! Images in the store: list, name, remove, and what is known about one.

mod history;
mod inspect;
mod list;
mod remove;

use oci::Reference;

pub use history::HistoryRow;
pub use list::{ImageRow, ImagesRequest};
pub use remove::{RemoveRequest, Removed};

use crate::{Engine, Error};

impl Engine {
    /// Gives an image or an index one more name, taking it from the image that had it.
    ///
    /// # Errors
    ///
    /// There is no such image, or `target` is no name.
    pub fn tag(&self, source: &str, target: &str) -> Result<(), Error> {
        let name = new_name(target)?;
        let digest = match self.store().find_index(source)? {
            Some(index) => index.digest,
            None => self.store().resolve(source)?.digest,
        };
        self.store().name(&name, &digest, "tag")?;
        Ok(())
    }
}

/// A name that an image can be given: with a tag, without a digest.
pub(crate) fn new_name(text: &str) -> Result<Reference, Error> {
    let name: Reference = text.parse()?;
    if name.digest().is_some() {
        return Err(Error::NameWithDigest(text.to_owned()));
    }
    // `sha256:abc` would be asked for as an image whose id begins so.
    if matches!(name.familiar_name().as_str(), "sha256" | "sha512") {
        return Err(Error::NameLikeDigest(text.to_owned()));
    }
    Ok(name)
}

/// A time of a config as something that can be compared; nothing is before every time.
pub(crate) fn time_of(text: Option<&str>) -> Option<jiff::Timestamp> {
    text.and_then(|text| text.parse().ok())
}
