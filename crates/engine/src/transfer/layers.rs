//! One layer from a file into the store, verified while it flows.

use std::io::{self, Read};

use layer::compression::Compression;
use oci::{Descriptor, DiffId, Hasher, media_type};
use store::{Expected, Lease, Mismatch};

use super::archive::Body;
use super::inflate::Inflate;
use crate::Error;

/// What an archive says about a layer.
#[derive(Debug, Clone)]
pub(super) struct Promise<'a> {
    /// The digest of the uncompressed tar.
    pub(super) diff_id: DiffId,
    /// What the manifest says about the bytes that the archive has, if there is a manifest.
    pub(super) descriptor: Option<&'a Descriptor>,
}

/// Brings a layer into the store, claimed by `lease`, and tells what a manifest says about the form that the store keeps.
///
/// Compressed bytes are kept beside the layer, so that the image keeps its digest. All is done in one pass; what the store
/// has already is not read.
pub(super) fn bring(lease: &Lease, body: Body, promise: &Promise<'_>) -> Result<Descriptor, Error> {
    if let Some(descriptor) = promise.descriptor
        && descriptor.size != body.size()
    {
        return Err(mismatch(descriptor, body.size()));
    }
    if let Some(known) = known(lease, &body, promise)? {
        return Ok(known);
    }
    let format = match promise.descriptor {
        // Its digest says that these bytes are the layer; that others decompress to it does not help.
        Some(descriptor) if descriptor.digest == *promise.diff_id.digest() => Compression::None,
        _ => body.compression().map_err(read_error)?,
    };
    let form = match (promise.descriptor, format) {
        (Some(descriptor), _) => descriptor.media_type.as_str(),
        (None, Compression::Gzip) => media_type::OCI_LAYER_GZIP,
        (None, Compression::Zstd) => media_type::OCI_LAYER_ZSTD,
        // No media type says so: such bytes are not kept.
        (None, Compression::None | Compression::Bzip2 | Compression::Xz) => media_type::OCI_LAYER,
    };
    let plain = promise
        .descriptor
        .map_or(form == media_type::OCI_LAYER, |it| {
            it.digest == *promise.diff_id.digest()
        });
    if plain {
        let size = match format {
            Compression::None => write_layer(lease, body, &promise.diff_id)?,
            _ => write_layer(
                lease,
                Inflate::new(body).map_err(read_error)?,
                &promise.diff_id,
            )?,
        };
        return Ok(Descriptor::new(form, *promise.diff_id.digest(), size));
    }
    let expected = promise.descriptor.map(Expected::from).unwrap_or_default();
    keep(
        lease.ingest_blob(expected)?,
        body,
        lease,
        &promise.diff_id,
        form,
    )
}

/// Brings a layer that comes as a stream into the store, as its manifest describes it. A compressed one goes into `blob`.
///
/// The whole stream is read and checked: its size and digest, and that it unpacks to what the config says.
pub(crate) fn bring_stream(
    lease: &Lease,
    source: impl Read,
    descriptor: &Descriptor,
    diff_id: &DiffId,
    blob: Option<store::BlobIngest>,
) -> Result<(), Error> {
    if descriptor.digest == *diff_id.digest() {
        let size = write_layer(lease, source, diff_id)?;
        if size != descriptor.size {
            return Err(mismatch(descriptor, size));
        }
        return Ok(());
    }
    let blob = match blob {
        Some(blob) => blob,
        None => lease.ingest_blob(descriptor.into())?,
    };
    keep(blob, source, lease, diff_id, &descriptor.media_type).map(drop)
}

/// Writes a layer and keeps the compressed bytes that it comes as.
fn keep(
    blob: store::BlobIngest,
    source: impl Read,
    lease: &Lease,
    diff_id: &DiffId,
    form: &str,
) -> Result<Descriptor, Error> {
    match write_both(blob, source, lease, diff_id, form)? {
        Both::New(layer) => Ok(lease.publish_layers(vec![*layer])?.remove(0)),
        Both::Known(form) => Ok(*form),
    }
}

/// What became of a layer and its compressed bytes.
pub(crate) enum Both {
    /// They wait for [`Lease::publish_layers`].
    New(Box<store::FinishedLayer>),
    /// The store had the layer; it has the compressed bytes too now.
    Known(Box<Descriptor>),
}

/// As [`bring_stream`], of a compressed layer, but for the last step.
pub(crate) fn prepare(
    lease: &Lease,
    source: impl Read,
    descriptor: &Descriptor,
    diff_id: &DiffId,
) -> Result<Both, Error> {
    let blob = lease.ingest_blob(descriptor.into())?;
    write_both(blob, source, lease, diff_id, &descriptor.media_type)
}

fn write_both(
    blob: store::BlobIngest,
    source: impl Read,
    lease: &Lease,
    diff_id: &DiffId,
    form: &str,
) -> Result<Both, Error> {
    let mut tee = Tee {
        source,
        blob,
        failed: None,
    };
    // The decoder reads to the end: bytes behind the compressed stream are an error.
    let written = Inflate::new(&mut tee)
        .map_err(read_error)
        .and_then(|decoder| write(lease, decoder, diff_id));
    if let Some(error) = tee.failed.take() {
        return Err(error.into());
    }
    let of_layer = |error| match error {
        // The compressed bytes may be what they should be.
        Error::Store(store::Error::Mismatch(wrong)) if wrong.expected == *diff_id.digest() => {
            Error::OtherLayer {
                found: Box::new(wrong.found),
                expected: Box::new(wrong.expected),
            }
        }
        other => other,
    };
    match written.map_err(of_layer)? {
        Written::New(layer) => {
            let finished = layer.finish_with(diff_id, tee.blob, form);
            Ok(Both::New(Box::new(
                finished.map_err(|error| of_layer(error.into()))?,
            )))
        }
        Written::Known(_) => {
            let blob = tee.blob.publish()?;
            let form = Descriptor::new(form, *blob.digest(), blob.size());
            lease.store().put_compressed(diff_id, &form)?;
            Ok(Both::Known(Box::new(form)))
        }
    }
}

/// What the store has already, claimed.
fn known(lease: &Lease, body: &Body, promise: &Promise<'_>) -> Result<Option<Descriptor>, Error> {
    let store = lease.store();
    let Some(layer) = store.find_layer(&promise.diff_id)? else {
        return Ok(None);
    };
    if lease.claim_layers(&[promise.diff_id]).is_err() {
        return Ok(None);
    }
    let Some(descriptor) = promise.descriptor else {
        // Without a manifest only plain bytes are known to be the layer's.
        let plain = body.compression().map_err(read_error)? == Compression::None;
        let form = Descriptor::new(
            media_type::OCI_LAYER,
            *promise.diff_id.digest(),
            layer.size(),
        );
        return Ok(plain.then_some(form));
    };
    let there = has_form(lease, descriptor, &promise.diff_id, layer.size())?;
    Ok(there.then(|| descriptor.clone()))
}

/// True if the store has a layer in the form that a manifest describes; then both are claimed.
pub(crate) fn is_known(
    lease: &Lease,
    descriptor: &Descriptor,
    diff_id: &DiffId,
) -> Result<bool, Error> {
    match lease.store().find_layer(diff_id)? {
        Some(layer) if lease.claim_layers(&[*diff_id]).is_ok() => {
            has_form(lease, descriptor, diff_id, layer.size())
        }
        _ => Ok(false),
    }
}

/// The same, of a layer that is there and has this size.
fn has_form(
    lease: &Lease,
    descriptor: &Descriptor,
    diff_id: &DiffId,
    size: u64,
) -> Result<bool, Error> {
    let store = lease.store();
    if descriptor.digest == *diff_id.digest() {
        return if descriptor.size == size {
            Ok(true)
        } else {
            Err(mismatch(descriptor, size))
        };
    }
    let same = store.layer_of_compressed(&descriptor.digest)? == Some(*diff_id);
    Ok(same
        && store
            .blob(&descriptor.digest)?
            .is_some_and(|blob| blob.size() == descriptor.size)
        && lease.claim_blobs(&[descriptor.digest]).is_ok())
}

/// What became of a layer's bytes.
enum Written {
    /// They wait for their publication.
    New(Box<store::LayerIngest>),
    /// The store had them; their size.
    Known(u64),
}

/// Writes the layer, or only hashes it if the store has it.
fn write(lease: &Lease, mut source: impl Read, expected: &DiffId) -> Result<Written, Error> {
    let there = || Ok::<_, Error>(lease.store().find_layer(expected)?.is_some());
    // Looked at first, as a claim is a change, and again, as only what is claimed stays.
    if there()? && lease.claim_layers(&[*expected]).is_ok() && there()? {
        return Ok(Written::Known(check_layer(&mut source, expected)?));
    }
    let mut ingest = lease.ingest_layer()?;
    ingest
        .writer()
        .copy_tar(&mut source)
        .map_err(|error| store::Error::from(Box::new(error)))?;
    Ok(Written::New(Box::new(ingest)))
}

/// Brings plain bytes. Returns their size.
fn write_layer(lease: &Lease, source: impl Read, expected: &DiffId) -> Result<u64, Error> {
    match write(lease, source, expected)? {
        Written::New(ingest) => Ok(ingest.publish_expecting(expected)?.size()),
        Written::Known(size) => Ok(size),
    }
}

fn check_layer(source: &mut impl Read, expected: &DiffId) -> Result<u64, Error> {
    let mut hasher = Hasher::new(expected.digest().algorithm());
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_error(error)),
        };
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    let found = hasher.finish();
    if found == *expected.digest() {
        return Ok(size);
    }
    let mismatch = Mismatch {
        expected: *expected.digest(),
        expected_size: None,
        found,
        found_size: size,
    };
    Err(store::Error::Mismatch(Box::new(mismatch)).into())
}

fn mismatch(descriptor: &Descriptor, found_size: u64) -> Error {
    let mismatch = Mismatch {
        expected: descriptor.digest,
        expected_size: Some(descriptor.size),
        found: descriptor.digest,
        found_size,
    };
    store::Error::Mismatch(Box::new(mismatch)).into()
}

fn read_error(error: io::Error) -> Error {
    sys::fs::Error::new("read", "the layer", error).into()
}

/// Keeps all that is read as a blob.
struct Tee<R> {
    source: R,
    blob: store::BlobIngest,
    /// Why keeping it failed.
    failed: Option<store::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Err(error) = self.blob.put(&buffer[..count]) {
            self.failed = Some(error);
            return Err(io::Error::other("the blob cannot be kept"));
        }
        Ok(count)
    }
}
