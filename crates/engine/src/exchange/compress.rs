//! Built layers get their compressed form once, at the first push, and keep it.

use std::fs::File;
use std::io::{self, Write};

use layer::compression::{Compression, Encoder, Level};
use oci::{Descriptor, DiffId, media_type};
use store::{Expected, Lease};

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
    lease.claim_layers(&[*diff_id])?;
    let layer = store
        .find_layer(diff_id)?
        .ok_or(store::Error::MissingLayer(*diff_id))?;
    let tar = layer.tar();
    let mut source = sys::fs::open(&tar)?;
    let mut blob = lease.ingest_blob(Expected::default())?;
    write(&mut source, &mut blob, compression)
        .map_err(|error| sys::fs::Error::new("compress", &tar, error))?;
    let blob = blob.publish()?;
    let form = Descriptor::new(wanted, *blob.digest(), blob.size());
    store.put_compressed(diff_id, &form)?;
    Ok(form)
}

fn write(source: &mut File, target: impl Write, compression: Compression) -> io::Result<()> {
    let mut encoder = Encoder::new(target, compression, Level::Default)?;
    io::copy(source, &mut encoder)?;
    encoder.finish().map(drop)
}
