//! Containers: a row, and the directory `containers/<id>/` with all that is theirs.
//!
//! ```text
//! containers/<id>/spec.json   written by whoever makes it, before it is visible
//! containers/<id>/upper/      what its processes wrote
//! containers/<id>/work/       overlayfs' own
//! containers/<id>/log         its output
//! ```
//!
//! The store knows which layers a container needs, and keeps them as long as it is there; it does not know whether it runs.
//! `state` is the caller's, kept in the row so that it changes at once for all.

use std::path::{Path, PathBuf};

use oci::{DiffId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;
use sys::fs;

use crate::change::{Change, Content};
use crate::collect;
use crate::db;
use crate::error::{Error, Result};
use crate::folder;
use crate::lease::Lease;
use crate::names::closest;
use crate::store::Store;

/// A container in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 random hexadecimal digits.
    pub id: String,
    /// Its name, which no other container has.
    pub name: String,
    /// The manifest of the image it was made from.
    pub image: Option<Digest>,
    /// What that image was called.
    pub image_name: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its layers, bottom first.
    pub layers: Vec<DiffId>,
    /// What the caller keeps here: status, process, exit code.
    pub state: Value,
    dir: PathBuf,
}

impl Container {
    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What its processes wrote.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// The directory that overlayfs needs beside the upper one.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// What was asked for, as its maker wrote it.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.dir.join("spec.json")
    }

    /// Its output.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct NewContainer<'a> {
    /// Its name; a generated one if there is none.
    pub name: Option<&'a str>,
    /// The manifest of its image.
    pub image: Option<&'a Digest>,
    /// What the image was called.
    pub image_name: &'a str,
    /// Its layers, bottom first.
    pub layers: &'a [DiffId],
    /// The content of `spec.json`.
    pub spec: &'a [u8],
    /// The first state.
    pub state: Value,
}

impl Lease {
    /// Makes a container, whole with its directory or not at all. It keeps its layers from now on, without the lease.
    ///
    /// # Errors
    ///
    /// [`Error::NameInUse`], [`Error::ContainerName`], [`Error::MissingLayer`]; a directory cannot be made.
    pub fn create_container(&self, new: &NewContainer<'_>) -> Result<Container> {
        let store = self.store();
        if let Some(name) = new.name {
            check_name(name)?;
        }
        let id = folder::random_hex(32);
        let finished = self.temporary("container");
        fs::create_dir(&finished)?;
        for name in ["upper", "work"] {
            fs::create_dir(&finished.join(name))?;
        }
        // The upper directory's mode is that of the container's `/`.
        fs::set_mode(&finished.join("upper"), 0o755)?;
        fs::write(&finished.join("spec.json"), new.spec)?;
        let content = Content::Container(id.clone());
        let change = store.change()?;
        let name = change.transaction("announce a container", |db| {
            let name = match new.name {
                Some(name) => free_name(db, name)?,
                None => generated_name(db)?,
            };
            Change::announce(db, &content)?;
            Ok(name)
        })?;
        let dir = store.folder().container(&id);
        fs::rename(&finished, &dir)?;
        let container = Container {
            id,
            name,
            image: new.image.copied(),
            image_name: new.image_name.to_owned(),
            created: store.now(),
            layers: new.layers.to_vec(),
            state: new.state.clone(),
            dir,
        };
        let recorded = change.transaction("record a container", |db| {
            record(db, &container)?;
            Change::arrived(db, &content)
        });
        store.untidy();
        if let Err(error) = recorded {
            // The journal still names it. If this fails too, the next change does it.
            change.settle().ok();
            return Err(error);
        }
        Ok(container)
    }
}

fn record(db: &Connection, container: &Container) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO container (id, name, image, image_name, created, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        &container.id,
        &container.name,
        container.image.map(|image| image.to_string()),
        &container.image_name,
        container.created,
        container.state.to_string(),
    ))?;
    for (position, layer) in (0_i64..).zip(&container.layers) {
        if !Content::Layer(*layer).is_recorded(db)? {
            return Err(Error::MissingLayer(*layer));
        }
        db.prepare_cached(
            "INSERT INTO container_layer (container, position, diff_id) VALUES (?1, ?2, ?3)",
        )?
        .execute((&container.id, position, layer.to_string()))?;
    }
    Ok(())
}

const COLUMNS: &str = "SELECT id, name, image, image_name, created, state FROM container";

impl Store {
    /// All containers, those made last first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn containers(&self) -> Result<Vec<Container>> {
        self.read("list the containers", |db| {
            let mut statement =
                db.prepare_cached(&format!("{COLUMNS} ORDER BY created DESC, id"))?;
            let rows = statement.query_map([], |row| read_row(self, row))?;
            let containers: Vec<Container> = rows.collect::<rusqlite::Result<_>>()?;
            containers
                .into_iter()
                .map(|container| with_layers(db, container))
                .collect()
        })
    }

    /// The container that a person means: its name, its id, or the beginning of an id. A name is preferred.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchContainer`] has the nearest name; [`Error::Ambiguous`] lists the candidates.
    pub fn container(&self, text: &str) -> Result<Container> {
        self.read("find a container", |db| {
            let found = db
                .prepare_cached(&format!("{COLUMNS} WHERE name = ?1 OR id = ?1"))?
                .query_row([text], |row| read_row(self, row))
                .optional()?;
            let container = match found {
                Some(container) => container,
                None => self.by_prefix(db, text)?,
            };
            with_layers(db, container)
        })
    }

    fn by_prefix(&self, db: &Connection, text: &str) -> Result<Container> {
        let hex = !text.is_empty()
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut found = Vec::new();
        if hex {
            // `g` follows `f`: the end of the range of all that begin like this.
            let mut statement =
                db.prepare_cached(&format!("{COLUMNS} WHERE id >= ?1 AND id < ?2"))?;
            let rows =
                statement.query_map((text, format!("{text}g")), |row| read_row(self, row))?;
            found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        }
        if found.len() > 1 {
            let candidates = found.into_iter().map(|container| container.id).collect();
            return Err(Error::Ambiguous {
                text: text.to_owned(),
                candidates,
            });
        }
        match found.pop() {
            Some(container) => Ok(container),
            None => Err(Error::NoSuchContainer {
                text: text.chars().take(140).collect(),
                nearest: closest(text, db::texts(db, "SELECT name FROM container", [])?),
            }),
        }
    }

    /// Replaces the state of a container.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchContainer`] if it was removed.
    pub fn set_container_state(&self, id: &str, state: &Value) -> Result<()> {
        self.update_container(id, |_| state.clone()).map(drop)
    }

    /// Changes the state of a container from what it is now, with nobody in between. Returns the new state.
    /// `change` must not use the store: its lock is held.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchContainer`] if it was removed.
    pub fn update_container(&self, id: &str, change: impl FnOnce(Value) -> Value) -> Result<Value> {
        self.untidy();
        self.write("change the state of a container", |db| {
            let state: Option<String> = db
                .prepare_cached("SELECT state FROM container WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            let state = state.ok_or_else(|| Error::NoSuchContainer {
                text: id.to_owned(),
                nearest: None,
            })?;
            let state = change(serde_json::from_str(&state).unwrap_or(Value::Null));
            db.prepare_cached("UPDATE container SET state = ?2 WHERE id = ?1")?
                .execute((id, state.to_string()))?;
            Ok(state)
        })
    }

    /// Gives a container another name.
    ///
    /// # Errors
    ///
    /// [`Error::NameInUse`], [`Error::ContainerName`], [`Error::NoSuchContainer`].
    pub fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        check_name(name)?;
        self.write("rename a container", |db| {
            let name = free_name(db, name)?;
            let changed = db
                .prepare_cached("UPDATE container SET name = ?2 WHERE id = ?1")?
                .execute((id, name))?;
            if changed == 0 {
                return Err(Error::NoSuchContainer {
                    text: id.to_owned(),
                    nearest: None,
                });
            }
            Ok(())
        })
    }

    /// Removes a container with its directory; the caller made sure that it does not run. Layers that only it needed go too.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchContainer`] if there is none with this id.
    pub fn remove_container(&self, id: &str) -> Result<collect::Collected> {
        let content = Content::Container(id.to_owned());
        let change = self.change()?;
        let ((), collected) = collect::run(self, &change, "remove a container", |db| {
            let layers = db::diff_ids(
                db,
                "SELECT diff_id FROM container_layer WHERE container = ?1",
                [id],
            )?;
            let gone = db
                .prepare_cached("DELETE FROM container WHERE id = ?1")?
                .execute([id])?;
            if gone == 0 {
                return Err(Error::NoSuchContainer {
                    text: id.to_owned(),
                    nearest: None,
                });
            }
            Change::announce(db, &content)?;
            Ok(((), layers.into_iter().map(Content::Layer).collect()))
        })?;
        collect::move_away(self, &change, &[content])?;
        Ok(collected)
    }
}

fn read_row(store: &Store, row: &Row<'_>) -> rusqlite::Result<Container> {
    let id: String = row.get(0)?;
    let image: Option<String> = row.get(2)?;
    Ok(Container {
        dir: store.folder().container(&id),
        id,
        name: row.get(1)?,
        image: image.and_then(|text| text.parse().ok()),
        image_name: row.get(3)?,
        created: row.get(4)?,
        layers: Vec::new(),
        state: serde_json::from_str(row.get_ref(5)?.as_str()?).unwrap_or(Value::Null),
    })
}

fn with_layers(db: &Connection, mut container: Container) -> Result<Container> {
    container.layers = db::diff_ids(
        db,
        "SELECT diff_id FROM container_layer WHERE container = ?1 ORDER BY position",
        [&container.id],
    )?;
    Ok(container)
}

/// Names that Docker allows: two letters at least, the first a letter or digit.
fn check_name(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let valid = (2..=255).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte));
    if valid {
        Ok(())
    } else {
        Err(Error::ContainerName(name.chars().take(140).collect()))
    }
}

fn free_name(db: &Connection, name: &str) -> Result<String> {
    let owner: Option<String> = db
        .prepare_cached("SELECT id FROM container WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match owner {
        None => Ok(name.to_owned()),
        Some(id) => Err(Error::NameInUse {
            name: name.to_owned(),
            id: id[..12].to_owned(),
        }),
    }
}

const ADJECTIVES: &[&str] = &[
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cosy", "deep",
    "eager", "early", "fair", "fresh", "gentle", "golden", "grand", "happy", "keen", "kind",
    "light", "lively", "lucky", "merry", "mild", "neat", "noble", "patient", "plain", "proud",
    "quick", "quiet", "rapid", "ready", "silent", "silver", "smooth", "snug", "solid", "steady",
    "still", "sturdy", "sunny", "swift", "tidy", "trim", "vivid", "warm", "wise",
];

const NOUNS: &[&str] = &[
    "albatross",
    "anchor",
    "barge",
    "bay",
    "beacon",
    "bow",
    "brig",
    "buoy",
    "canal",
    "capstan",
    "cargo",
    "coast",
    "compass",
    "coral",
    "current",
    "cutter",
    "deck",
    "delta",
    "dinghy",
    "dock",
    "dolphin",
    "estuary",
    "ferry",
    "fjord",
    "galley",
    "gull",
    "harbour",
    "heron",
    "hull",
    "island",
    "jetty",
    "kayak",
    "keel",
    "lagoon",
    "lantern",
    "lighthouse",
    "mast",
    "mooring",
    "otter",
    "pelican",
    "pier",
    "porpoise",
    "quay",
    "reef",
    "rudder",
    "sail",
    "schooner",
    "skiff",
    "sloop",
    "tern",
    "tide",
    "wharf",
];

/// A name that people can say, and that is free.
fn generated_name(db: &Connection) -> Result<String> {
    let pick = |words: &[&'static str], digits: &str| {
        let number = usize::from_str_radix(digits, 16).unwrap_or(0);
        words[number % words.len()]
    };
    for round in 0.. {
        let random = folder::random_hex(6);
        let mut name = format!(
            "{}_{}",
            pick(ADJECTIVES, &random[..4]),
            pick(NOUNS, &random[4..8])
        );
        if round > 2 {
            name.push_str(&random[8..]);
        }
        match free_name(db, &name) {
            Err(Error::NameInUse { .. }) => {}
            other => return other,
        }
    }
    unreachable!("the rounds do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_allows() {
        for good in ["web", "w1", "my_app-2.x", "0a"] {
            check_name(good).unwrap();
        }
        for bad in ["", "a", "-a", ".x", "a b", "a/b", "é1"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for word in ADJECTIVES.iter().chain(NOUNS) {
            check_name(word).unwrap();
        }
    }
}
