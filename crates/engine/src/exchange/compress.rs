//! Built layers get their compressed form once, at the first push, and keep it.

use layer::compression::{Compression, Level};
use oci::{Descriptor, DiffId, media_type};
use store::Lease;

use crate::Error;

/// The form of a layer that a push sends: one that is kept from before, or a new one.
pub(crate) fn form(
    lease: &Lease,
    diff_id: &DiffId,
    compression: Compression,
) -> Result<Descriptor, Error> {
    let wanted = match compression {
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        _ => media_type::OCI_LAYER_GZIP,
    };
    let store = lease.store();
    for known in store.compressed(diff_id)? {
        let same = known.media_type == wanted
            || (wanted == media_type::OCI_LAYER_GZIP
                && known.media_type == media_type::DOCKER_LAYER_GZIP);
        if same
            && store.blob(&known.digest)?.is_some()
            && lease.claim_blobs(&[known.digest]).is_ok()
        {
            return Ok(Descriptor::new(wanted, known.digest, known.size));
        }
    }
    Ok(lease.compress_layer(diff_id, compression, Level::Default)?)
}
