//! Compressed forms of layers that the store makes itself.

use std::io;

use layer::compression::{Compression, Encoder, Level};
use oci::{Descriptor, DiffId, media_type};

use crate::blobs::Expected;
use crate::error::{Error, Result};
use crate::lease::Lease;

impl Lease {
    /// Compresses a layer; the new blob is claimed by this lease, and lives as long as the layer from then on.
    ///
    /// The same layer, compression and level give the same bytes. That the store may have such a form already is for the caller
    /// to know: [`Store::compressed`](crate::Store::compressed) lists them.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`], or [`Error::Compress`] if the layer cannot be read, the compression has no such level or the blob
    /// cannot be written.
    pub fn compress_layer(
        &self,
        id: &DiffId,
        compression: Compression,
        level: Level,
    ) -> Result<Descriptor> {
        let failed = |source| Error::Compress { layer: *id, source };
        self.claim_layers(&[*id])?;
        let layer = self.store().find_layer(id)?;
        let layer = layer.ok_or(Error::MissingLayer(*id))?;
        let mut tar = sys::fs::open(&layer.tar())?;
        let blob = self.ingest_blob(Expected::default())?;
        let mut encoder = Encoder::new(blob, compression, level).map_err(failed)?;
        io::copy(&mut tar, &mut encoder).map_err(failed)?;
        let blob = encoder.finish().map_err(failed)?.publish()?;
        let kind = match compression {
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
            _ => media_type::OCI_LAYER_GZIP,
        };
        let form = Descriptor::new(kind, *blob.digest(), blob.size());
        self.store().put_compressed(id, &form)?;
        Ok(form)
    }
}
