//! What takes how much room: `df`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oci::{DiffId, Digest};
use rusqlite::Connection;
use sys::fs::{self, Context as _};

use crate::db;
use crate::error::Result;
use crate::store::Store;

/// One kind of thing in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// How many there are.
    pub count: u64,
    /// How many of them are in use.
    pub active: u64,
    /// What they take.
    pub bytes: u64,
    /// What pruning them would free.
    pub reclaimable: u64,
}

/// What an image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// The image's manifest.
    pub digest: Digest,
    /// Bytes that other images need as well.
    pub shared: u64,
    /// Bytes that only it needs.
    pub unique: u64,
    /// How many containers were made from it.
    pub containers: u64,
}

/// What the store takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images with their layers, indexes and blobs; active are those that a container was made from.
    pub images: Part,
    /// Containers with what their processes wrote and logged. Which of them run is not known here: none counts as active.
    pub containers: Part,
    /// What each container takes, by its id.
    pub container_list: BTreeMap<String, u64>,
    /// Build records, with the layers that only they need.
    pub records: Part,
    /// Caches of RUN steps and stat indexes of contexts.
    pub caches: Part,
    /// Unpacked layers.
    pub trees: Part,
    /// Content that only living processes need, or nothing.
    pub unowned: Part,
    /// Unfinished work, and what waits to be deleted.
    pub temporary: Part,
    /// Image by image, in the order of [`Store::images`].
    pub image_list: Vec<ImageUsage>,
}

impl Usage {
    /// All together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let parts = [
            &self.images,
            &self.containers,
            &self.records,
            &self.caches,
            &self.trees,
            &self.unowned,
            &self.temporary,
        ];
        parts.iter().map(|part| part.bytes).sum()
    }
}

/// Content by its database key, with its size.
type Sizes = BTreeMap<String, u64>;

/// Who needs what, at one moment.
struct Needs {
    sizes: Sizes,
    images: Vec<(Digest, BTreeSet<String>, u64)>,
    records: u64,
    by_records: BTreeSet<String>,
    by_containers: BTreeSet<String>,
}

impl Store {
    /// What takes how much room. Walks the directories that hold files of containers and caches.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn usage(&self) -> Result<Usage> {
        let needs = self.read("sum up what is needed", needs)?;
        let containers = self.containers()?;
        let mut usage = Usage {
            image_list: image_list(&needs),
            ..Usage::default()
        };
        let all: BTreeSet<&String> = needs.images.iter().flat_map(|(_, keys, _)| keys).collect();
        let active: BTreeSet<&String> = needs
            .images
            .iter()
            .filter(|(_, _, containers)| *containers > 0)
            .flat_map(|(_, keys, _)| keys)
            .collect();
        let sum = |keys: &mut dyn Iterator<Item = &String>| -> u64 {
            keys.map(|key| needs.sizes.get(key).copied().unwrap_or(0))
                .sum()
        };
        usage.images = Part {
            count: needs.images.len() as u64,
            active: needs
                .images
                .iter()
                .filter(|(_, _, containers)| *containers > 0)
                .count() as u64,
            bytes: sum(&mut all.iter().copied()),
            reclaimable: sum(&mut all.iter().copied().filter(|key| {
                !active.contains(key)
                    && !needs.by_containers.contains(*key)
                    && !needs.by_records.contains(*key)
            })),
        };
        let only_records = needs.by_records.iter().filter(|key| !all.contains(key));
        usage.records.count = needs.records;
        usage.records.bytes = sum(&mut only_records.clone());
        usage.records.reclaimable =
            sum(&mut only_records.filter(|key| !needs.by_containers.contains(*key)));
        let unowned = needs.sizes.keys().filter(|key| {
            !all.contains(key)
                && !needs.by_records.contains(*key)
                && !needs.by_containers.contains(*key)
        });
        usage.unowned = Part {
            count: unowned.clone().count() as u64,
            bytes: sum(&mut unowned.clone()),
            ..Part::default()
        };
        usage.containers.count = containers.len() as u64;
        for container in &containers {
            let bytes = disk_use(container.dir())?;
            usage.containers.bytes += bytes;
            usage.container_list.insert(container.id.clone(), bytes);
        }
        usage.containers.reclaimable = usage.containers.bytes;
        usage.caches = self.children(&[self.folder().caches(), self.folder().contexts()])?;
        usage.caches.reclaimable = usage.caches.bytes;
        usage.temporary = self.children(&[self.folder().tmp()])?;
        let names = crate::sweep::names(&self.folder().tmp())?;
        let for_ever = names.iter().filter(|name| crate::sweep::is_for_ever(name));
        usage.temporary.count -= (for_ever.count() as u64).min(usage.temporary.count);
        usage.trees = self.trees_use()?;
        Ok(usage)
    }

    fn children(&self, dirs: &[std::path::PathBuf]) -> Result<Part> {
        let mut part = Part::default();
        for dir in dirs {
            for name in crate::sweep::names(dir)? {
                part.count += 1;
                part.bytes += disk_use(&dir.join(name))?;
            }
        }
        Ok(part)
    }

    fn trees_use(&self) -> Result<Part> {
        let trees = self.read("list the unpacked layers", |db| {
            let mut statement = db.prepare_cached("SELECT diff_id, flavour FROM tree")?;
            let rows = statement.query_map([], |row| Ok((db::parsed(row, 0)?, row.get(1)?)))?;
            let rows: Vec<(DiffId, String)> = rows.collect::<rusqlite::Result<_>>()?;
            Ok(rows)
        })?;
        let mut part = Part {
            count: trees.len() as u64,
            ..Part::default()
        };
        for (layer, flavour) in trees {
            part.bytes += disk_use(&self.folder().layer(&layer).join(flavour))?;
        }
        Ok(part)
    }
}

fn needs(db: &Connection) -> Result<Needs> {
    let mut sizes = sizes(db, "SELECT diff_id, size + index_size FROM layer")?;
    sizes.extend(self::sizes(db, "SELECT digest, size FROM blob")?);
    let mut images = Vec::new();
    for digest in db::digests(
        db,
        "SELECT digest FROM image ORDER BY created DESC, added DESC, digest",
        [],
    )? {
        let key = digest.to_string();
        let mut keys: BTreeSet<String> = db::texts(
            db,
            "SELECT diff_id FROM image_layer WHERE image = ?1",
            [&key],
        )?
        .into_iter()
        .collect();
        keys.extend(db::texts(
            db,
            "SELECT blob FROM image_blob WHERE image = ?1",
            [&key],
        )?);
        let containers = db
            .prepare_cached("SELECT count(*) FROM container WHERE image = ?1")?
            .query_row([&key], |row| db::size(row, 0))?;
        images.push((digest, keys, containers));
    }
    Ok(Needs {
        sizes,
        images,
        records: db.query_row("SELECT count(*) FROM record", [], |row| db::size(row, 0))?,
        by_records: db::texts(db, "SELECT DISTINCT diff_id FROM record_layer", [])?
            .into_iter()
            .collect(),
        by_containers: db::texts(db, "SELECT DISTINCT diff_id FROM container_layer", [])?
            .into_iter()
            .collect(),
    })
}

fn sizes(db: &Connection, sql: &str) -> Result<Sizes> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, db::size(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn image_list(needs: &Needs) -> Vec<ImageUsage> {
    let mut users: BTreeMap<&String, u64> = BTreeMap::new();
    for key in needs.images.iter().flat_map(|(_, keys, _)| keys) {
        *users.entry(key).or_default() += 1;
    }
    let usage = |(digest, keys, containers): &(Digest, BTreeSet<String>, u64)| {
        let mut usage = ImageUsage {
            digest: *digest,
            shared: 0,
            unique: 0,
            containers: *containers,
        };
        for key in keys {
            let size = needs.sizes.get(key).copied().unwrap_or(0);
            if users[key] > 1 {
                usage.shared += size;
            } else {
                usage.unique += size;
            }
        }
        usage
    };
    needs.images.iter().map(usage).collect()
}

/// The bytes of all files below `path`, or of the file; what vanishes meanwhile counts nothing.
pub(crate) fn disk_use(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let Some(meta) = fs::optional(fs::symlink_metadata(&path))? else {
            continue;
        };
        if !meta.is_dir() {
            bytes += meta.len();
            continue;
        }
        let entries = match fs::optional(fs::read_dir(&path)) {
            Ok(entries) => entries,
            // A directory of a container that is closed to us: what is in it cannot be counted.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(error.into()),
        };
        for entry in entries.into_iter().flatten() {
            todo.push(entry.context("list", &path)?.path());
        }
    }
    Ok(bytes)
}
