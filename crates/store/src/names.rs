//! Names of images, their past, and finding an image by what a person types.

use oci::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension as _};

use crate::db;
use crate::error::{Error, Result};
use crate::images::{self, Image};
use crate::indexes;
use crate::store::Store;

/// A moment in the past of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameEvent {
    /// The name, in full.
    pub name: String,
    /// The manifest it was given to; `None` when it was taken away.
    pub image: Option<Digest>,
    /// That image's id.
    pub image_id: Option<Digest>,
    /// When, in seconds since 1970.
    pub at: i64,
    /// What did it: `build`, `pull`, `tag`.
    pub by: String,
}

/// How many moments of a name's past are kept: enough to find yesterday's build again, bounded for a machine that builds all day.
const PAST: u32 = 100;

impl Store {
    /// Gives the image or the index with the digest `image` this name, taking it from whichever image had it. `by` says for the name's past
    /// what did it: `build`, `pull`, `tag`.
    ///
    /// Returns the manifest that had the name before, if another had.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchImage`] if there is no such image.
    pub fn name(&self, name: &Reference, image: &Digest, by: &str) -> Result<Option<Digest>> {
        self.untidy();
        self.write("name an image", |db| {
            set_name(db, name, image, by, self.now())
        })
    }

    /// Gives several names at once: all or none.
    ///
    /// # Errors
    ///
    /// As [`Store::name`].
    pub fn name_all(&self, names: &[Reference], image: &Digest, by: &str) -> Result<()> {
        self.untidy();
        self.write("name an image", |db| {
            names
                .iter()
                .try_for_each(|name| set_name(db, name, image, by, self.now()).map(drop))
        })
    }

    /// Takes a name away, keeping the image. True if it was there.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn unname(&self, name: &Reference, by: &str) -> Result<bool> {
        self.untidy();
        self.write("take a name away", |db| {
            take_name(db, &name.to_string(), by, self.now())
        })
    }

    /// The manifest or the index that this exact name means.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn named(&self, name: &Reference) -> Result<Option<Digest>> {
        self.read("find a name", |db| {
            let name = name.to_string();
            match indexes::named(db, &name)? {
                Some(index) => Ok(Some(index)),
                None => find_name(db, &name),
            }
        })
    }

    /// All names of a repository, in their order, and the manifest or index that each means.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn names_in(&self, repository: &Reference) -> Result<Vec<(Reference, Digest)>> {
        let repository = repository.name();
        self.read("find the names of a repository", |db| {
            let mut statement = db.prepare_cached(
                "SELECT name, coalesce(list, image) FROM name
                 WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
            )?;
            let rows = statement.query_map([&repository], |row| {
                Ok((db::parsed(row, 0)?, db::parsed(row, 1)?))
            })?;
            let mut names: Vec<(Reference, Digest)> = rows.collect::<rusqlite::Result<_>>()?;
            names.retain(|(name, _)| name.name() == repository);
            Ok(names)
        })
    }

    /// What a name meant, latest first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn name_events(&self, name: &Reference) -> Result<Vec<NameEvent>> {
        self.read("read the past of a name", |db| {
            let mut statement = db.prepare_cached(
                "SELECT name, image, image_id, at, by FROM name_event WHERE name = ?1 ORDER BY id DESC",
            )?;
            let rows = statement.query_map([name.to_string()], |row| {
                let digest = |index| -> rusqlite::Result<Option<Digest>> {
                    let text: Option<String> = row.get(index)?;
                    Ok(text.and_then(|text| text.parse().ok()))
                };
                Ok(NameEvent {
                    name: row.get(0)?,
                    image: digest(1)?,
                    image_id: digest(2)?,
                    at: row.get(3)?,
                    by: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The image that a person means: a name with or without tag, a name with digest, a digest, an id, or the beginning of one
    /// (of at least two digits).
    ///
    /// A name is preferred to an id. An id that several manifests share means the one added last.
    ///
    /// # Errors
    ///
    /// [`Error::Ambiguous`] lists the candidates; [`Error::NoSuchImage`] has the nearest name.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        self.read("find an image", |db| {
            let digest = resolve(db, text)?;
            images::load(db, &digest)?.ok_or_else(|| no_such_image(db, text))
        })
    }

    /// As [`Store::resolve`], without an error for what is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Ambiguous`], or the database failed.
    pub fn find_image(&self, text: &str) -> Result<Option<Image>> {
        match self.resolve(text) {
            Ok(image) => Ok(Some(image)),
            Err(Error::NoSuchImage { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The manifest that `text` means.
pub(crate) fn resolve(db: &Connection, text: &str) -> Result<Digest> {
    if let Ok(name) = text.parse::<Reference>() {
        if let Some(digest) = find_name(db, &name.to_string())? {
            return Ok(digest);
        }
        if let Some(digest) = by_name_and_digest(db, &name)? {
            return Ok(digest);
        }
    }
    if let Some(digest) = by_id(db, text)? {
        return Ok(digest);
    }
    // An index means the image of it for this machine.
    if let Some(index) = indexes::by_id(db, text)?
        && let Some(image) = indexes::main(db, &index)?
    {
        return Ok(image);
    }
    Err(no_such_image(db, text))
}

/// `name@sha256:…`, where the image has another name in that repository and that manifest or id; `name:tag@sha256:…`.
fn by_name_and_digest(db: &Connection, name: &Reference) -> Result<Option<Digest>> {
    let Some(digest) = name.digest() else {
        return Ok(None);
    };
    // A tag beside a digest is only a remark.
    if name.tag().is_some()
        && let Some(found) = find_name(db, &name.with_digest(*digest).to_string())?
    {
        return Ok(Some(found));
    }
    let manifest = digest.to_string();
    let names = db::texts(db, "SELECT name FROM name WHERE image = ?1", [&manifest])?;
    let prefix = name.name();
    let ours = names.iter().any(|other| {
        other
            .strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with([':', '@']))
    });
    Ok(ours.then_some(*digest))
}

/// A digest of a manifest, an id, or the beginning of either.
fn by_id(db: &Connection, text: &str) -> Result<Option<Digest>> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let valid = (2..=64).contains(&hex.len())
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !valid {
        return match text.parse::<Digest>() {
            Ok(digest) => images::exists(db, &digest).map(|there| there.then_some(digest)),
            Err(_) => Ok(None),
        };
    }
    // `g` follows `f`: the end of the range of all that begin like this.
    let (from, to) = (format!("sha256:{hex}"), format!("sha256:{hex}g"));
    let mut statement = db.prepare_cached(
        "SELECT digest, image_id FROM image
         WHERE (image_id >= ?1 AND image_id < ?2) OR (digest >= ?1 AND digest < ?2)
         ORDER BY added DESC, digest",
    )?;
    let rows = statement.query_map([&from, &to], |row| {
        Ok((db::parsed(row, 0)?, row.get::<_, String>(1)?))
    })?;
    let found: Vec<(Digest, String)> = rows.collect::<rusqlite::Result<_>>()?;
    let Some((newest, id)) = found.first() else {
        return Ok(None);
    };
    if found.iter().all(|(_, other)| other == id) {
        return Ok(Some(*newest));
    }
    let mut candidates: Vec<String> = found.iter().map(|(_, id)| id.clone()).collect();
    candidates.sort_unstable();
    candidates.dedup();
    Err(Error::Ambiguous {
        text: text.to_owned(),
        candidates,
    })
}

fn no_such_image(db: &Connection, text: &str) -> Error {
    Error::NoSuchImage {
        text: text.chars().take(140).collect(),
        nearest: nearest(db, text).unwrap_or(None),
    }
}

/// The name in the store that is most like `text`, as people write it.
fn nearest(db: &Connection, text: &str) -> Result<Option<String>> {
    let names = db::texts(db, "SELECT name FROM name", [])?;
    let names = names
        .iter()
        .filter_map(|name| name.parse::<Reference>().ok())
        .filter(|name| name.tag().is_some())
        .map(|name| name.familiar());
    Ok(closest(text, names))
}

/// The candidate that differs least from `text`, if it differs in at most a third of the letters.
pub(crate) fn closest(text: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    // Longer texts are not typed by hand, and the comparison is quadratic.
    const LONGEST: usize = 128;
    if text.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .flat_map(|candidate| {
            // Both `debain` and `debain:latest` are like `debian:latest`.
            let bare = candidate
                .rsplit_once(':')
                .map_or(candidate.as_str(), |(bare, _)| bare);
            let distance = distance(text, &candidate).min(distance(text, bare));
            (distance * 3 <= text.chars().count()).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed, changed or swapped with their neighbour to make one text of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let mut cost = (row[j] + usize::from(a != b))
                .min(row[j + 1] + 1)
                .min(next[j] + 1);
            let swapped = j > 0 && last == Some(b) && right[j - 1] == a;
            if swapped && let Some(two) = before.get(j - 1) {
                cost = cost.min(two + 1);
            }
            next.push(cost);
        }
        last = Some(a);
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

fn find_name(db: &Connection, name: &str) -> Result<Option<Digest>> {
    let found = db
        .prepare_cached("SELECT image FROM name WHERE name = ?1")?
        .query_row([name], |row| db::parsed(row, 0))
        .optional()?;
    Ok(found)
}

/// Names an image or an index, in the caller's transaction.
pub(crate) fn set_name(
    db: &Connection,
    name: &Reference,
    image: &Digest,
    by: &str,
    now: i64,
) -> Result<Option<Digest>> {
    let (image, list) = if images::exists(db, image)? {
        (*image, None)
    } else {
        let main = indexes::main(db, image)?.ok_or_else(|| Error::NoSuchImage {
            text: image.to_string(),
            nearest: None,
        })?;
        (main, Some(*image))
    };
    let name = name.to_string();
    let before = find_name(db, &name)?;
    if before == Some(image) && indexes::named(db, &name)? == list {
        return Ok(None);
    }
    db.prepare_cached(
        "INSERT INTO name (name, image, since, list) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET image = ?2, since = ?3, list = ?4",
    )?
    .execute((
        &name,
        image.to_string(),
        now,
        list.map(|list| list.to_string()),
    ))?;
    let image = &image;
    note(db, &name, Some(image), by, now)?;
    Ok(before)
}

/// Takes a name away, in the caller's transaction. True if it was there.
pub(crate) fn take_name(db: &Connection, name: &str, by: &str, now: i64) -> Result<bool> {
    let there = db
        .prepare_cached("DELETE FROM name WHERE name = ?1")?
        .execute([name])?
        > 0;
    if there {
        note(db, name, None, by, now)?;
    }
    Ok(there)
}

fn note(db: &Connection, name: &str, image: Option<&Digest>, by: &str, now: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO name_event (name, image, image_id, at, by)
         VALUES (?1, ?2, (SELECT image_id FROM image WHERE digest = ?2), ?3, ?4)",
    )?
    .execute((name, image.map(ToString::to_string), now, by))?;
    db.prepare_cached(
        "DELETE FROM name_event WHERE name = ?1 AND id <=
         (SELECT id FROM name_event WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute((name, PAST))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("debain", "debian"), 1);
        assert_eq!(distance("alpine", "alpin"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn suggests_only_what_is_like_it() {
        let names = || ["alpine:3".to_owned(), "debian:latest".to_owned()];
        assert_eq!(closest("debain", names()).as_deref(), Some("debian:latest"));
        assert_eq!(closest("alpine:4", names()).as_deref(), Some("alpine:3"));
        assert_eq!(closest("postgres", names()), None);
        assert_eq!(closest("", names()), None);
    }
}
