//! Removing images: `rmi`.

use oci::{DiffId, Digest, ImageId, Reference};
use rusqlite::Connection;

use crate::change::Content;
use crate::collect;
use crate::db;
use crate::error::{Error, Result};
use crate::images::{self, Image};
use crate::indexes;
use crate::names;
use crate::store::Store;

/// What the past of a name says of a removal.
const BY: &str = "rmi";

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that were taken away, in full.
    pub untagged: Vec<Reference>,
    /// Images that went, by id.
    pub deleted: Vec<ImageId>,
    /// Layers that went with them.
    pub layers: Vec<DiffId>,
    /// Bytes that this frees.
    pub bytes: u64,
}

impl Removed {
    pub(crate) fn collected(&mut self, collected: collect::Collected) {
        self.layers.extend(collected.layers);
        self.bytes += collected.bytes;
    }
}

impl Store {
    /// Removes what `text` means, as `docker rmi` does.
    ///
    /// A name is taken away, and with the last name goes the image; of an index, all its images that have no other. An id or digest removes the image with its names, unless
    /// they are of several repositories; `force` removes it then too. An image that a container was made from is only
    /// removed by `force`; the container keeps the layers.
    ///
    /// The layers that nothing else needs go: their files are out of the way at once and deleted by [`Store::upkeep`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`], [`Error::InUse`]; then nothing was removed.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Removed> {
        let change = self.change()?;
        let (mut removed, collected) = collect::run(self, &change, "remove an image", |db| {
            let digest = names::resolve(db, text)?;
            let image = images::load(db, &digest)?.ok_or_else(|| Error::NoSuchImage {
                text: text.to_owned(),
                nearest: None,
            })?;
            match image.names.iter().find(|name| is_meant(name, text)) {
                Some(name) => by_name(self, db, &image, &name.clone(), force),
                None => by_id(self, db, &image, text, force),
            }
        })?;
        self.untidy();
        removed.collected(collected);
        Ok(removed)
    }
}

/// True if `text` is this name and not an id.
fn is_meant(name: &Reference, text: &str) -> bool {
    text.parse::<Reference>().is_ok_and(|meant| meant == *name)
}

type Outcome = Result<(Removed, Vec<Content>)>;

fn by_name(
    store: &Store,
    db: &Connection,
    image: &Image,
    name: &Reference,
    force: bool,
) -> Outcome {
    // A digest beside a tag of the same repository says where the image came from; it alone is no reason to keep it.
    let others = image
        .names
        .iter()
        .any(|other| other != name && !is_origin(other, name));
    let mut removed = Removed::default();
    let index = indexes::named(db, &name.to_string())?;
    let keeps = |image: &Image| {
        let other = image.shared.iter().any(|other| other != name);
        (others && image.names.contains(name)) || other
    };
    if index.is_none() && keeps(image) {
        untag(store, db, name, &mut removed, BY)?;
        return Ok((removed, Vec::new()));
    }
    let mut going = vec![image.clone()];
    for member in index.map_or(Ok(Vec::new()), |index| indexes::members(db, &index))? {
        if member != image.digest {
            going.extend(images::load(db, &member)?);
        }
    }
    going.retain(|image| !keeps(image) && (image.names.is_empty() || image.names.contains(name)));
    if !force {
        going
            .iter()
            .try_for_each(|image| refuse_used(db, image, &name.familiar()))?;
    }
    untag(store, db, name, &mut removed, BY)?;
    let mut candidates = Vec::new();
    for image in going {
        let (more, needed) = delete(store, db, &image, removed, BY)?;
        removed = more;
        candidates.extend(needed);
    }
    Ok((removed, candidates))
}

fn is_origin(other: &Reference, name: &Reference) -> bool {
    other.tag().is_none() && other.name() == name.name()
}

fn by_id(store: &Store, db: &Connection, image: &Image, text: &str, force: bool) -> Outcome {
    let mut repositories: Vec<String> = image.names.iter().map(Reference::name).collect();
    repositories.dedup();
    let tags = image
        .names
        .iter()
        .filter(|name| name.tag().is_some())
        .count();
    if !force {
        if repositories.len() > 1 || tags > 1 {
            let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
            return Err(Error::InUse {
                image: text.to_owned(),
                reason: format!("it has several names: {}", names.join(", ")),
                forceable: true,
            });
        }
        if let Some(name) = image.shared.first() {
            return Err(Error::InUse {
                image: text.to_owned(),
                reason: format!("it is part of the index {}", name.familiar()),
                forceable: true,
            });
        }
        refuse_used(db, image, text)?;
    }
    for name in &image.names {
        if indexes::named(db, &name.to_string())?.is_some() && image.names.len() == 1 {
            return by_name(store, db, image, name, force);
        }
    }
    delete(store, db, image, Removed::default(), BY)
}

/// Refuses if a container was made from the image.
fn refuse_used(db: &Connection, image: &Image, text: &str) -> Result<()> {
    let users = db::texts(
        db,
        "SELECT name FROM container WHERE image = ?1 ORDER BY name",
        [image.digest.to_string()],
    )?;
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::InUse {
        image: text.to_owned(),
        reason: format!("in use by container {}", users.join(", ")),
        forceable: true,
    })
}

/// Takes the image and its names; returns what it needed.
pub(crate) fn delete(
    store: &Store,
    db: &Connection,
    image: &Image,
    mut removed: Removed,
    by: &str,
) -> Outcome {
    for name in &image.names {
        untag(store, db, name, &mut removed, by)?;
    }
    let candidates = take(db, &image.digest)?;
    removed.deleted.push(image.id);
    Ok((removed, candidates))
}

fn untag(
    store: &Store,
    db: &Connection,
    name: &Reference,
    removed: &mut Removed,
    by: &str,
) -> Result<()> {
    if names::take_name(db, &name.to_string(), by, store.now())? {
        removed.untagged.push(name.clone());
    }
    Ok(())
}

/// Takes the rows of an image that has no names any more; returns what it needed.
pub(crate) fn take(db: &Connection, digest: &Digest) -> Result<Vec<Content>> {
    let key = digest.to_string();
    let layers = db::diff_ids(
        db,
        "SELECT diff_id FROM image_layer WHERE image = ?1",
        [&key],
    )?;
    let blobs = db::digests(db, "SELECT blob FROM image_blob WHERE image = ?1", [&key])?;
    indexes::dissolve(db, digest)?;
    db.prepare_cached("DELETE FROM image WHERE digest = ?1")?
        .execute([&key])?;
    let layers = layers.into_iter().map(Content::Layer);
    Ok(layers.chain(blobs.into_iter().map(Content::Blob)).collect())
}
