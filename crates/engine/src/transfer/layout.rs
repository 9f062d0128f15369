//! One image of an OCI layout for a build: its documents and layers come into the store, the image itself does not.

use std::collections::BTreeMap;

use build::Layout;
use oci::{Digest, ImageId, Platform};
use store::{Image, Lease};

use super::archive::Archive;
use super::{load, plan};
use crate::Error;

/// Brings the image that `layout` names, or the one for `platform` if it is an index. `None` if there is no such image.
///
/// All of it is in the store as long as `lease` lives.
///
/// # Errors
///
/// The folder is no layout, or its image is not what it should be.
pub(crate) fn bring_layout(
    lease: &Lease,
    layout: &Layout,
    platform: &Platform,
) -> Result<Option<Image>, Error> {
    let failed = |source| Error::Load {
        path: Some(layout.path.clone()),
        source: Box::new(source),
    };
    let archive = Archive::open(Some(&layout.path), lease)?;
    let found = plan::one(
        &archive,
        layout.tag.as_deref(),
        layout.digest.as_ref(),
        platform,
    );
    let Some(found) = found.map_err(failed)? else {
        return Ok(None);
    };
    let ready = load::bring(&archive, lease, found, &mut BTreeMap::new()).map_err(failed)?;
    let config = lease.put_blob(&ready.found.config)?;
    lease.put_blob(&ready.manifest)?;
    Ok(Some(Image {
        digest: Digest::sha256_of(&ready.manifest),
        media_type: ready.media_type,
        id: ImageId::from_digest(*config.digest()),
        platform: ready.found.platform,
        created: None,
        size: 0,
        added: 0,
        layers: ready.found.diff_ids,
        names: Vec::new(),
        shared: Vec::new(),
    }))
}
