//! Making a lost database anew from the folder.
//!
//! Layers and blobs are recorded as content of an unknown boot, so each is hashed before its first use. A blob that is the
//! manifest of an image whose parts are all there becomes an image again, without a name: names were only in the database.
//! Directories of containers go to `damaged/`.

use std::collections::BTreeMap;

use oci::{DiffId, Digest, Document, ImageConfig, MAX_DOCUMENT_SIZE, Manifest};
use rusqlite::Connection;
use sys::fs;

use crate::change::{Change, Content};
use crate::db;
use crate::error::Result;
use crate::images;
use crate::layers::{self, Layer};
use crate::store::Store;

/// The boot of content of which nothing is known.
const UNKNOWN: &str = "unknown";

/// Remembers that and when the database was made anew.
pub(crate) const ADOPTED: &str = "adopted";

/// Records everything in the folder that has no row. The caller holds the lock.
pub(crate) fn adopt(store: &Store, change: &Change<'_>, strays: Vec<Content>) -> Result<()> {
    let mut layers = Vec::new();
    let mut blobs = BTreeMap::new();
    for content in strays {
        match content {
            Content::Layer(id) => layers.extend(found_layer(store, id)?),
            Content::Blob(digest) => {
                let meta = fs::symlink_metadata(&store.folder().blob(&digest))?;
                if meta.is_file() {
                    blobs.insert(digest, meta.len());
                }
            }
            Content::Container(id) => {
                store.folder().set_aside(&store.folder().container(&id))?;
            }
            // Unpacked again at need.
            Content::Tree(id, flavour) => {
                store
                    .folder()
                    .trash(&Content::Tree(id, flavour).path(store))?;
            }
        }
    }
    let images = found_images(store, &blobs)?;
    change.transaction("make the database anew", |db| {
        for layer in &layers {
            layers::record_files(db, layer, Some(UNKNOWN))?;
        }
        for (digest, size) in &blobs {
            db.prepare_cached(
                "INSERT INTO blob (digest, size, created, boot) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((digest.to_string(), db::number(*size), store.now(), UNKNOWN))?;
        }
        for image in &images {
            record_image(db, image, store.now())?;
        }
        db::set_meta(db, ADOPTED, &store.now().to_string())
    })
}

/// The layer in the directory of `id`, if its tar is there.
fn found_layer(store: &Store, id: DiffId) -> Result<Option<Layer>> {
    let dir = store.folder().layer(&id);
    let files = layer::LayerFiles::in_dir(&dir);
    let size = |path: &std::path::Path| -> Result<Option<u64>> {
        let meta = fs::optional(fs::symlink_metadata(path))?;
        Ok(meta
            .filter(std::fs::Metadata::is_file)
            .map(|meta| meta.len()))
    };
    let side = size(&files.side)?;
    Ok(size(&files.tar)?.map(|tar| Layer {
        diff_id: id,
        size: tar,
        index_size: size(&files.index).ok().flatten().unwrap_or(0) + side.unwrap_or(0),
        // Counted when the index is made anew, before the first use.
        entries: 0,
        side: side.is_some(),
        created: store.now(),
        dir,
    }))
}

struct Found {
    digest: Digest,
    media_type: String,
    manifest: Manifest,
    config: ImageConfig,
}

/// The images whose manifests and configs are among `blobs`.
fn found_images(store: &Store, blobs: &BTreeMap<Digest, u64>) -> Result<Vec<Found>> {
    let read = |digest: &Digest| -> Result<Option<Vec<u8>>> {
        if blobs
            .get(digest)
            .is_none_or(|size| *size > MAX_DOCUMENT_SIZE)
        {
            return Ok(None);
        }
        let bytes = fs::read(&store.folder().blob(digest))?;
        Ok((Digest::sha256_of(&bytes) == *digest).then_some(bytes))
    };
    let mut images = Vec::new();
    for digest in blobs.keys() {
        let Some(bytes) = read(digest)? else { continue };
        // Every image manifest begins like a JSON object; compressed layers do not.
        if !bytes.starts_with(b"{") {
            continue;
        }
        let Ok(document) = Document::parse(&bytes, None) else {
            continue;
        };
        let media_type = document.media_type().to_owned();
        let Document::Manifest(manifest) = document else {
            continue;
        };
        let Some(config) = read(&manifest.config.digest)? else {
            continue;
        };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&config) else {
            continue;
        };
        if config.rootfs.diff_ids.len() == manifest.layers.len() {
            images.push(Found {
                digest: *digest,
                media_type,
                manifest: *manifest,
                config,
            });
        }
    }
    Ok(images)
}

fn record_image(db: &Connection, image: &Found, now: i64) -> Result<()> {
    let parts = images::Parts {
        digest: image.digest,
        media_type: image.media_type.clone(),
        manifest: image.manifest.clone(),
        config: image.config.clone(),
    };
    let mut size = 0;
    for id in &parts.config.rootfs.diff_ids {
        if !Content::Layer(*id).is_recorded(db)? {
            return Ok(());
        }
        size += db
            .prepare_cached("SELECT size FROM layer WHERE diff_id = ?1")?
            .query_row([id.to_string()], |row| db::size(row, 0))?;
    }
    images::record(db, &parts, &[], size, now)?;
    images::note_compressed(db, &parts)
}
