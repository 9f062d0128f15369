//! Images: a manifest, its config, and the layers that the config names.
//!
//! An image is known by the digest of its manifest. Its *id*, as people see it, is the digest of its config, as in classic
//! Docker; several manifests may share one config. Manifest and config are kept as the bytes that came.

use std::collections::BTreeMap;

use oci::{
    Algorithm, DiffId, Digest, Document, Hasher, ImageConfig, ImageId, MAX_DOCUMENT_SIZE, Manifest,
    Platform, Reference,
};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::blobs::Expected;
use crate::change::Content;
use crate::db;
use crate::error::{Error, Mismatch, Result};
use crate::indexes;
use crate::lease::Lease;
use crate::names;
use crate::store::Store;

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// The digest of its config.
    pub id: ImageId,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, as its config says (RFC 3339).
    pub created: Option<String>,
    /// The size of its layers, uncompressed.
    pub size: u64,
    /// When the store got it, in seconds since 1970.
    pub added: i64,
    /// Its layers, bottom first.
    pub layers: Vec<DiffId>,
    /// Its names in full, sorted.
    pub names: Vec<Reference>,
    /// Names of indexes that it is part of, where they lead to another image if no platform is asked for.
    pub shared: Vec<Reference>,
}

impl Image {
    /// True if no name leads to it.
    #[must_use]
    pub const fn is_dangling(&self) -> bool {
        self.names.is_empty() && self.shared.is_empty()
    }
}

/// An image to be put into the store, whose layers are there already.
#[derive(Debug, Clone, Copy)]
pub struct NewImage<'a> {
    /// The manifest as it came.
    pub manifest: &'a [u8],
    /// The media type it was announced with, if it was.
    pub media_type: Option<&'a str>,
    /// The config as it came.
    pub config: &'a [u8],
    /// Blobs that live as long as the image does, beside those that its manifest names: the index that led to it.
    pub also: &'a [Digest],
    /// Names it gets.
    pub names: &'a [Reference],
    /// What made it, for the past of its names: `build`, `pull`, `load`.
    pub by: &'a str,
}

impl Lease {
    /// Puts an image into the store, names and all, or nothing of it. An image that is there already gets the names.
    ///
    /// Each layer that the manifest names must be in the store, under the digest that the config gives it; where the manifest
    /// names a compressed form, that blob too.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] and [`Error::Inconsistent`] for documents that cannot be one image; [`Error::MissingLayer`],
    /// [`Error::MissingBlob`].
    pub fn put_image(&self, new: NewImage<'_>) -> Result<Image> {
        let parts = Parts::parse(&new)?;
        self.put_config(new.config, &parts.manifest.config.digest)?;
        self.put_blob(new.manifest)?;
        let store = self.store();
        store.untidy();
        store.write("record an image", |db| {
            let size = self.check_layers(db, &parts)?;
            note_compressed(db, &parts)?;
            record(db, &parts, new.also, size, store.now())?;
            for name in new.names {
                names::set_name(db, name, &parts.digest, new.by, store.now())?;
            }
            load(db, &parts.digest)?.ok_or(Error::MissingBlob(parts.digest))
        })
    }

    /// Stores a config under the digest that its manifest names it by, whatever its algorithm.
    fn put_config(&self, bytes: &[u8], digest: &Digest) -> Result<()> {
        if digest.algorithm() == Algorithm::Sha256 {
            return self.put_blob(bytes).map(drop);
        }
        if self.claim_blobs(&[*digest]).is_ok() && self.store().blob(digest)?.is_some() {
            return Ok(());
        }
        let expected = Expected {
            digest: Some(*digest),
            size: Some(bytes.len() as u64),
        };
        let mut ingest = self.ingest_blob(expected)?;
        ingest.put(bytes)?;
        ingest.publish().map(drop)
    }

    /// Checks that all layers and their compressed forms are there, and claims them. Returns the layers' size.
    fn check_layers(&self, db: &Connection, parts: &Parts) -> Result<u64> {
        let mut size = 0;
        for (id, descriptor) in parts
            .config
            .rootfs
            .diff_ids
            .iter()
            .zip(&parts.manifest.layers)
        {
            let content = Content::Layer(*id);
            let found = db
                .prepare_cached("SELECT size FROM layer WHERE diff_id = ?1")?
                .query_row([id.to_string()], |row| db::size(row, 0))
                .optional()?;
            size += found.ok_or(Error::MissingLayer(*id))?;
            self.add(db, &content)?;
            if descriptor.digest == *id.digest() {
                continue;
            }
            let content = Content::Blob(descriptor.digest);
            if !content.is_recorded(db)? {
                return Err(Error::MissingBlob(descriptor.digest));
            }
            self.add(db, &content)?;
        }
        Ok(size)
    }
}

/// The documents of a new image, parsed and consistent.
pub(crate) struct Parts {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Parts {
    fn parse(new: &NewImage<'_>) -> Result<Self> {
        let document =
            Document::parse(new.manifest, new.media_type).map_err(|source| Error::Document {
                what: "manifest",
                source,
            })?;
        let media_type = new
            .media_type
            .unwrap_or_else(|| document.media_type())
            .to_owned();
        let Document::Manifest(manifest) = document else {
            return Err(Error::Inconsistent("its manifest is an index".to_owned()));
        };
        if new.config.len() as u64 > MAX_DOCUMENT_SIZE {
            let source = oci::DocumentError::Size(new.config.len() as u64);
            return Err(Error::Document {
                what: "config",
                source,
            });
        }
        let mut hasher = Hasher::new(manifest.config.digest.algorithm());
        hasher.update(new.config);
        let config = hasher.finish();
        if config != manifest.config.digest || new.config.len() as u64 != manifest.config.size {
            return Err(Error::Mismatch(Box::new(Mismatch {
                expected: manifest.config.digest,
                expected_size: Some(manifest.config.size),
                found: config,
                found_size: new.config.len() as u64,
            })));
        }
        let config = parse_config(new.config)?;
        let (named, listed) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if named != listed {
            return Err(Error::Inconsistent(format!(
                "its manifest lists {listed} layers, its config {named}"
            )));
        }
        Ok(Self {
            digest: Digest::sha256_of(new.manifest),
            media_type,
            manifest: *manifest,
            config,
        })
    }
}

fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    serde_json::from_slice(bytes).map_err(|source| Error::Document {
        what: "config",
        source: source.into(),
    })
}

/// The compressed forms of layers that a manifest names: what, and of which.
fn compressed(parts: &Parts) -> impl Iterator<Item = (&oci::Descriptor, &DiffId)> {
    let pairs = parts
        .manifest
        .layers
        .iter()
        .zip(&parts.config.rootfs.diff_ids);
    pairs.filter(|(descriptor, id)| descriptor.digest != *id.digest())
}

/// Notes which blobs are compressed forms of which layers.
pub(crate) fn note_compressed(db: &Connection, parts: &Parts) -> Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT OR IGNORE INTO compressed (blob, diff_id, media_type, size) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (form, id) in compressed(parts) {
        let (blob, layer) = (form.digest.to_string(), id.to_string());
        statement.execute((blob, layer, &form.media_type, db::number(form.size)))?;
    }
    Ok(())
}

/// Writes the rows of an image; an image that is there keeps its row. Blobs in `also` live as long as it does.
pub(crate) fn record(
    db: &Connection,
    parts: &Parts,
    also: &[Digest],
    size: u64,
    now: i64,
) -> Result<()> {
    let digest = parts.digest.to_string();
    let platform = serde_json::to_string(&parts.config.platform()).unwrap_or_default();
    db.prepare_cached(
        "INSERT INTO image (digest, media_type, image_id, platform, created, size, added)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (digest) DO UPDATE SET added = ?7",
    )?
    .execute((
        &digest,
        &parts.media_type,
        parts.manifest.config.digest.to_string(),
        platform,
        &parts.config.created,
        db::number(size),
        now,
    ))?;
    let mut statement = db.prepare_cached(
        "INSERT OR REPLACE INTO image_layer (image, position, diff_id) VALUES (?1, ?2, ?3)",
    )?;
    for (position, id) in (0_i64..).zip(&parts.config.rootfs.diff_ids) {
        statement.execute((&digest, position, id.to_string()))?;
    }
    let mut statement =
        db.prepare_cached("INSERT OR IGNORE INTO image_blob (image, blob) VALUES (?1, ?2)")?;
    let forms = compressed(parts).map(|(form, _)| &form.digest);
    let documents = [&parts.digest, &parts.manifest.config.digest];
    for blob in documents.into_iter().chain(forms).chain(also) {
        statement.execute((&digest, blob.to_string()))?;
    }
    Ok(())
}

impl Store {
    /// The image with this manifest.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn image(&self, manifest: &Digest) -> Result<Option<Image>> {
        self.read("find an image", |db| load(db, manifest))
    }

    /// All images, those made last first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.read("list the images", |db| {
            let mut layers: BTreeMap<String, Vec<DiffId>> = BTreeMap::new();
            let mut statement = db.prepare_cached(
                "SELECT image, diff_id FROM image_layer ORDER BY image, position",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, db::parsed(row, 1)?)))?;
            for row in rows {
                let (image, layer): (String, DiffId) = row?;
                layers.entry(image).or_default().push(layer);
            }
            let mut names: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
            let mut statement = db.prepare_cached("SELECT image, name FROM name ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, db::parsed(row, 1)?)))?;
            for row in rows {
                let (image, name): (String, Reference) = row?;
                names.entry(image).or_default().push(name);
            }
            let mut shared = indexes::all_shared_names(db)?;
            let mut statement = db.prepare_cached(&format!(
                "{COLUMNS} ORDER BY created DESC, added DESC, digest"
            ))?;
            let rows = statement.query_map([], read_row)?;
            let mut images = Vec::new();
            for row in rows {
                let mut image = row?;
                let digest = image.digest.to_string();
                image.layers = layers.remove(&digest).unwrap_or_default();
                image.names = names.remove(&digest).unwrap_or_default();
                image.shared = shared.remove(&digest).unwrap_or_default();
                images.push(image);
            }
            Ok(images)
        })
    }

    /// The parsed config of an image; [`Store::read_blob`] of [`Image::id`] has its bytes.
    ///
    /// # Errors
    ///
    /// It is missing or damaged.
    pub fn config(&self, image: &Image) -> Result<ImageConfig> {
        parse_config(&self.read_blob(image.id.digest())?)
    }

    /// The parsed manifest of an image; [`Store::read_blob`] of [`Image::digest`] has its bytes.
    ///
    /// # Errors
    ///
    /// It is missing or damaged.
    pub fn manifest(&self, image: &Image) -> Result<Manifest> {
        let bytes = self.read_blob(&image.digest)?;
        match Document::parse(&bytes, Some(&image.media_type)) {
            Ok(Document::Manifest(manifest)) => Ok(*manifest),
            Ok(Document::Index(_)) => {
                Err(Error::Inconsistent("its manifest is an index".to_owned()))
            }
            Err(source) => Err(Error::Document {
                what: "manifest",
                source,
            }),
        }
    }
}

const COLUMNS: &str =
    "SELECT digest, media_type, image_id, platform, created, size, added FROM image";

/// One image with its layers and names.
pub(crate) fn load(db: &Connection, digest: &Digest) -> Result<Option<Image>> {
    let key = digest.to_string();
    let image = db
        .prepare_cached(&format!("{COLUMNS} WHERE digest = ?1"))?
        .query_row([&key], read_row)
        .optional()?;
    let Some(mut image) = image else {
        return Ok(None);
    };
    image.layers = db::diff_ids(
        db,
        "SELECT diff_id FROM image_layer WHERE image = ?1 ORDER BY position",
        [&key],
    )?;
    image.names = names_of(db, &key)?;
    image.shared = indexes::shared_names(db, digest)?;
    Ok(Some(image))
}

/// The names of the image with manifest `digest`, sorted.
pub(crate) fn names_of(db: &Connection, digest: &str) -> Result<Vec<Reference>> {
    let mut statement =
        db.prepare_cached("SELECT name FROM name WHERE image = ?1 ORDER BY name")?;
    let rows = statement.query_map([digest], |row| db::parsed(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn exists(db: &Connection, digest: &Digest) -> Result<bool> {
    Ok(db
        .prepare_cached("SELECT 1 FROM image WHERE digest = ?1")?
        .exists([digest.to_string()])?)
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Image> {
    let id: Digest = db::parsed(row, 2)?;
    let platform = serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Image {
        digest: db::parsed(row, 0)?,
        media_type: row.get(1)?,
        id: ImageId::from_digest(id),
        platform,
        created: row.get(4)?,
        size: db::size(row, 5)?,
        added: row.get(6)?,
        layers: Vec::new(),
        names: Vec::new(),
        shared: Vec::new(),
    })
}
