//! Indexes: one name for the images of several platforms.
//!
//! An index is kept as the bytes that came, a blob that lives as long as any of its images. It is known as an index only while
//! the store has all images that it lists: when one goes, names that meant the index mean one of the images that are left.
//! Such a name leads to the image for this machine where no platform is asked for, or to the first if there is none.

use std::collections::BTreeMap;

use oci::{Digest, Document, Platform, Reference};
use rusqlite::{Connection, OptionalExtension as _};

use crate::db;
use crate::error::{Error, Result};
use crate::images::{self, Image};
use crate::lease::Lease;
use crate::names;
use crate::store::Store;

/// An index whose images are all in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its images, in its order.
    pub images: Vec<Image>,
    /// The names that mean it, sorted.
    pub names: Vec<Reference>,
}

/// An index to be put into the store, whose images are there already.
#[derive(Debug, Clone, Copy)]
pub struct NewIndex<'a> {
    /// The index as it came.
    pub bytes: &'a [u8],
    /// The media type it was announced with, if it was.
    pub media_type: Option<&'a str>,
    /// Blobs that live as long as any of its images: what it lists beside images (attestations), and what that consists of.
    pub also: &'a [Digest],
    /// Names it gets.
    pub names: &'a [Reference],
    /// What made it, for the past of its names: `build`, `pull`, `load`.
    pub by: &'a str,
}

impl Lease {
    /// Puts an index into the store, names and all, or nothing of it.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] if it is none, [`Error::Inconsistent`] if it lists no image, [`Error::MissingBlob`] if something
    /// that it lists is neither an image of the store nor among `also`.
    pub fn put_index(&self, new: NewIndex<'_>) -> Result<ImageIndex> {
        let (media_type, listed) = parse(new.bytes, new.media_type)?;
        let digest = *self.put_blob(new.bytes)?.digest();
        let store = self.store();
        store.untidy();
        store.write("record an index", |db| {
            let mut images = Vec::with_capacity(listed.len());
            for entry in &listed {
                if images::exists(db, entry)? {
                    images.push(entry);
                } else if !new.also.contains(entry) {
                    return Err(Error::MissingBlob(*entry));
                }
            }
            if images.is_empty() {
                return Err(Error::Inconsistent("its index lists no image".to_owned()));
            }
            for (position, image) in (0_i64..).zip(images) {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO index_image (list, position, image) VALUES (?1, ?2, ?3)",
                )?
                .execute((digest.to_string(), position, image.to_string()))?;
                for blob in new.also.iter().chain([&digest]) {
                    db.prepare_cached("INSERT OR IGNORE INTO image_blob (image, blob) VALUES (?1, ?2)")?
                        .execute((image.to_string(), blob.to_string()))?;
                }
            }
            for name in new.names {
                names::set_name(db, name, &digest, new.by, store.now())?;
            }
            load(db, &digest, media_type)
        })
    }
}

/// The media type of an index and the manifests that it lists.
fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<(String, Vec<Digest>)> {
    let document = Document::parse(bytes, media_type).map_err(|source| Error::Document {
        what: "index",
        source,
    })?;
    let media_type = media_type
        .unwrap_or_else(|| document.media_type())
        .to_owned();
    let Document::Index(index) = document else {
        return Err(Error::Inconsistent("its index is a manifest".to_owned()));
    };
    let listed: Vec<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
    if listed.is_empty() {
        return Err(Error::Inconsistent("its index lists nothing".to_owned()));
    }
    Ok((media_type, listed))
}

impl Store {
    /// The index that `text` means: a name, a digest, or the beginning of one; `None` if it means something else or nothing.
    ///
    /// # Errors
    ///
    /// The database failed, or the index is damaged.
    pub fn find_index(&self, text: &str) -> Result<Option<ImageIndex>> {
        let digest = self.read("find an index", |db| {
            let by_name = match text.parse::<Reference>() {
                Ok(name) => named(db, &name.to_string())?,
                Err(_) => None,
            };
            match by_name {
                Some(digest) => Ok(Some(digest)),
                None => by_id(db, text),
            }
        })?;
        digest.map_or(Ok(None), |digest| self.index(&digest))
    }

    /// The index with this digest, if all its images are here.
    ///
    /// # Errors
    ///
    /// The database failed, or the index is damaged.
    pub fn index(&self, digest: &Digest) -> Result<Option<ImageIndex>> {
        if self.read("find an index", |db| main(db, digest))?.is_none() {
            return Ok(None);
        }
        let (media_type, _) = parse(&self.read_blob(digest)?, None)?;
        let index = self.read("find an index", |db| load(db, digest, media_type))?;
        Ok(Some(index).filter(|index| !index.images.is_empty()))
    }

    /// As [`Store::find_image`]; where `text` means an index, the image of it that runs on `platform`.
    ///
    /// An index that has none for it gives `None`; an image that is not in an index is taken whatever it is for.
    ///
    /// # Errors
    ///
    /// As [`Store::find_image`].
    pub fn find_image_for(&self, text: &str, platform: &Platform) -> Result<Option<Image>> {
        match self.find_index(text)? {
            Some(index) => Ok(index.image_for(platform).cloned()),
            None => self.find_image(text),
        }
    }
}

impl ImageIndex {
    /// The image that runs on `platform`: for the same variant, else for the nearest older one.
    #[must_use]
    pub fn image_for(&self, platform: &Platform) -> Option<&Image> {
        let images = self.images.iter();
        images
            .filter_map(|image| Some((image.platform.distance_from(platform)?, image)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, image)| image)
    }
}

fn load(db: &Connection, digest: &Digest, media_type: String) -> Result<ImageIndex> {
    let key = digest.to_string();
    let mut found = Vec::new();
    for image in members(db, digest)? {
        found.extend(images::load(db, &image)?);
    }
    let mut statement = db.prepare_cached("SELECT name FROM name WHERE list = ?1 ORDER BY name")?;
    let rows = statement.query_map([key], |row| db::parsed(row, 0))?;
    Ok(ImageIndex {
        digest: *digest,
        media_type,
        images: found,
        names: rows.collect::<rusqlite::Result<_>>()?,
    })
}

/// The images of an index, in its order.
pub(crate) fn members(db: &Connection, digest: &Digest) -> Result<Vec<Digest>> {
    db::digests(
        db,
        "SELECT image FROM index_image WHERE list = ?1 ORDER BY position",
        [digest.to_string()],
    )
}

/// The image of an index that is taken where no platform is asked for; `None` if there is no such index.
pub(crate) fn main(db: &Connection, digest: &Digest) -> Result<Option<Digest>> {
    let host = Platform::host();
    let mut first = None;
    let mut best: Option<(u32, Digest)> = None;
    for member in members(db, digest)? {
        first = first.or(Some(member));
        let Some(image) = images::load(db, &member)? else {
            continue;
        };
        if let Some(distance) = image.platform.distance_from(&host)
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, member));
        }
    }
    Ok(best.map(|(_, member)| member).or(first))
}

/// The index that this exact name means.
pub(crate) fn named(db: &Connection, name: &str) -> Result<Option<Digest>> {
    let found = db
        .prepare_cached("SELECT list FROM name WHERE name = ?1 AND list IS NOT NULL")?
        .query_row([name], |row| db::parsed(row, 0))
        .optional()?;
    Ok(found)
}

/// A digest of an index, or the only one that begins like this.
pub(crate) fn by_id(db: &Connection, text: &str) -> Result<Option<Digest>> {
    let hex = text
        .rsplit_once('@')
        .map_or(text, |(_, digest)| digest)
        .trim_start_matches("sha256:");
    let valid = (2..=64).contains(&hex.len())
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !valid {
        return Ok(None);
    }
    let (from, to) = (format!("sha256:{hex}"), format!("sha256:{hex}g"));
    let found = db::digests(
        db,
        "SELECT DISTINCT list FROM index_image WHERE list >= ?1 AND list < ?2 LIMIT 2",
        [from, to],
    )?;
    Ok(match found[..] {
        [one] => Some(one),
        _ => None,
    })
}

/// Before an image goes: an index that loses one is none any more.
pub(crate) fn dissolve(db: &Connection, image: &Digest) -> Result<()> {
    let key = image.to_string();
    let lists = db::digests(
        db,
        "SELECT DISTINCT list FROM index_image WHERE image = ?1",
        [&key],
    )?;
    for list in lists {
        let rest = members(db, &list)?.into_iter().find(|other| other != image);
        if let Some(rest) = rest {
            db.prepare_cached("UPDATE name SET image = ?1 WHERE list = ?2 AND image = ?3")?
                .execute((rest.to_string(), list.to_string(), &key))?;
        }
        db.prepare_cached("UPDATE name SET list = NULL WHERE list = ?1")?
            .execute([list.to_string()])?;
        db.prepare_cached("DELETE FROM index_image WHERE list = ?1")?
            .execute([list.to_string()])?;
    }
    Ok(())
}

/// The names of indexes that an image is part of, without those that lead to this image by themselves.
pub(crate) fn shared_names(db: &Connection, digest: &Digest) -> Result<Vec<Reference>> {
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT n.name FROM index_image i JOIN name n ON n.list = i.list
         WHERE i.image = ?1 AND n.image <> ?1 ORDER BY n.name",
    )?;
    let rows = statement.query_map([digest.to_string()], |row| db::parsed(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// [`shared_names`] of all images.
pub(crate) fn all_shared_names(db: &Connection) -> Result<BTreeMap<String, Vec<Reference>>> {
    let mut names: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    let mut statement = db.prepare_cached(
        "SELECT DISTINCT i.image, n.name FROM index_image i JOIN name n ON n.list = i.list
         WHERE n.image <> i.image ORDER BY n.name",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, db::parsed(row, 1)?)))?;
    for row in rows {
        let (image, name): (String, Reference) = row?;
        names.entry(image).or_default().push(name);
    }
    Ok(names)
}
