//! The full half: every byte is read. Runs without the store's lock; a lease keeps each thing while it is looked at.

use std::io::Read as _;
use std::path::Path;

use sys::fs::{self, Context as _};

use super::{Checker, Remedy, checks, unpacked};
use crate::error::{Error, Result};
use crate::layers::Layer;
use crate::lease::Lease;
use crate::verify::{digest_of, reindexed};

type Check = fn(&mut Checker<'_>) -> Result<()>;

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("layers", layers),
    ("trees", unpacked::trees),
    ("blobs", blobs),
];

/// Each tar has its digest, and its index is the one that is made from it.
fn layers(checker: &mut Checker<'_>) -> Result<()> {
    for layer in checker.store.layers()? {
        let lease = checker.store.lease("fsck")?;
        match lease.claim_layers(&[layer.diff_id]) {
            Err(Error::MissingLayer(_)) => continue,
            other => other?,
        }
        // What the quick half found is not looked at again.
        if checks::tar_problem(&layer)?.is_some() {
            continue;
        }
        let what = format!("layer {}", layer.diff_id);
        checker.report.bytes += layer.size;
        let found = digest_of(&layer.tar(), layer.diff_id.digest())?;
        if found != *layer.diff_id.digest() {
            let problem = format!("its tar has digest {found}");
            checker.found(
                what,
                problem,
                Some(layer.tar()),
                Remedy::SetLayerAside(layer.diff_id),
            )?;
            continue;
        }
        if checks::index_problem(&layer)?.is_some() {
            continue;
        }
        if let Some(path) = differing_index(&lease, &layer)? {
            let problem = "its index is not the one that is made from its tar";
            checker.found(what, problem, Some(path), Remedy::MendIndex(layer.diff_id))?;
        }
    }
    Ok(())
}

/// The file of a layer's index that differs from a fresh one.
pub(super) fn differing_index(lease: &Lease, layer: &Layer) -> Result<Option<std::path::PathBuf>> {
    let (fresh, finished) = reindexed(lease, layer)?;
    if finished.side != layer.side || !same_bytes(&fresh.index, &layer.index())? {
        return Ok(Some(layer.index()));
    }
    match layer.side() {
        Some(side) if !same_bytes(&fresh.side, &side)? => Ok(Some(side)),
        _ => Ok(None),
    }
}

fn same_bytes(left: &Path, right: &Path) -> Result<bool> {
    const CHUNK: usize = 256 << 10;
    let (mut one, mut other) = (fs::open(left)?, fs::open(right)?);
    if one.metadata().context("stat", left)?.len() != other.metadata().context("stat", right)?.len()
    {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = one.read(&mut a).context("read", left)?;
        if count == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut b[..count]) {
            Ok(()) if a[..count] == b[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error).context("read", right)?,
        }
    }
}

/// Each blob has its digest.
fn blobs(checker: &mut Checker<'_>) -> Result<()> {
    for (digest, size) in checks::all_blobs(checker)? {
        let lease = checker.store.lease("fsck")?;
        match lease.claim_blobs(&[digest]) {
            Err(Error::MissingBlob(_)) => continue,
            other => other?,
        }
        let path = checker.store.folder().blob(&digest);
        if !crate::blobs::has_size(&path, size) {
            continue;
        }
        checker.report.bytes += size;
        let found = digest_of(&path, &digest)?;
        if found != digest {
            let problem = format!("it has digest {found}");
            checker.found(
                format!("blob {digest}"),
                problem,
                Some(path),
                Remedy::SetBlobAside(digest),
            )?;
        }
    }
    Ok(())
}
