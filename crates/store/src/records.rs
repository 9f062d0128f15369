//! Build records: what a step made, found again by the key of its definition and inputs.
//!
//! A record keeps the layers it names until it is pruned: that is the build cache. The named parts of its key stay beside it,
//! so that a miss can be explained by comparing with the nearest earlier record of the same definition.

use oci::DiffId;
use rusqlite::{OptionalExtension as _, Row};
use serde_json::Value;

use crate::change::Content;
use crate::collect;
use crate::db;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::store::Store;

/// What a build step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key over the definition and the content of all inputs. There is one record a key.
    pub key: String,
    /// The key over the definition alone: which step of which kind of build this is.
    pub definition: String,
    /// The parts that `key` was made of, each with a name for people: this file, that argument.
    pub parts: Vec<(String, String)>,
    /// What came out; the store does not look into it.
    pub output: Value,
    /// The layers that `output` names.
    pub layers: Vec<DiffId>,
    /// When it was made, in seconds since 1970. Set by the store.
    pub created: i64,
    /// When it was last found, in seconds since 1970. Set by the store.
    pub last_used: i64,
}

impl Lease {
    /// Keeps what a step made, in place of an older record with this key.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`] if the store does not have one of its layers.
    pub fn put_record(&self, record: &Record) -> Result<()> {
        let store = self.store();
        let parts = serde_json::to_string(&record.parts).unwrap_or_default();
        store.untidy();
        store.write("keep a build record", |db| {
            let id: i64 = db
                .prepare_cached(
                    "INSERT INTO record (key, definition, parts, output, created, last_used)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                     ON CONFLICT (key) DO UPDATE SET definition = ?2, parts = ?3, output = ?4, created = ?5, last_used = ?5
                     RETURNING id",
                )?
                .query_row(
                    (&record.key, &record.definition, &parts, record.output.to_string(), store.now()),
                    |row| row.get(0),
                )?;
            db.prepare_cached("DELETE FROM record_layer WHERE record = ?1")?.execute([id])?;
            for layer in &record.layers {
                let content = Content::Layer(*layer);
                if !content.is_recorded(db)? {
                    return Err(Error::MissingLayer(*layer));
                }
                db.prepare_cached("INSERT OR IGNORE INTO record_layer (record, diff_id) VALUES (?1, ?2)")?
                    .execute((id, layer.to_string()))?;
                self.add(db, &content)?;
            }
            Ok(())
        })
    }

    /// Finds what a step with this key made, and claims its layers: they are there until the lease ends.
    ///
    /// Layers that turn out to be damaged make it a miss.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn find_record(&self, key: &str) -> Result<Option<Record>> {
        let Some(record) = self.store().record(key)? else {
            return Ok(None);
        };
        match self.claim_layers(&record.layers) {
            Err(Error::MissingLayer(_)) => return Ok(None),
            other => other?,
        }
        for layer in &record.layers {
            if self.store().find_layer(layer)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(record))
    }
}

const COLUMNS: &str = "SELECT id, key, definition, parts, output, created, last_used FROM record";

impl Store {
    /// What a step with this key made. Keeps nothing; a build uses [`Lease::find_record`].
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn record(&self, key: &str) -> Result<Option<Record>> {
        self.read("find a build record", |db| {
            let row = db
                .prepare_cached(&format!("{COLUMNS} WHERE key = ?1"))?
                .query_row([key], read_row)
                .optional()?;
            row.map(|(id, record)| with_layers(db, id, record))
                .transpose()
        })
    }

    /// The records of a definition, those used last first, at most `limit`.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn nearest_records(&self, definition: &str, limit: u32) -> Result<Vec<Record>> {
        self.read("find build records", |db| {
            let mut statement = db.prepare_cached(&format!(
                "{COLUMNS} WHERE definition = ?1 ORDER BY last_used DESC, id DESC LIMIT ?2"
            ))?;
            let rows = statement.query_map((definition, limit), read_row)?;
            let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
            rows.into_iter()
                .map(|(id, record)| with_layers(db, id, record))
                .collect()
        })
    }

    /// All records, those used last first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn records(&self) -> Result<Vec<Record>> {
        self.read("list the build records", |db| {
            let mut statement =
                db.prepare_cached(&format!("{COLUMNS} ORDER BY last_used DESC, id DESC"))?;
            let rows = statement.query_map([], read_row)?;
            let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
            rows.into_iter()
                .map(|(id, record)| with_layers(db, id, record))
                .collect()
        })
    }

    /// Forgets what a step with this key made; what nothing else needs goes.
    ///
    /// # Errors
    ///
    /// The database or the file system failed.
    pub fn forget_record(&self, key: &str) -> Result<()> {
        if self.record(key)?.is_none() {
            return Ok(());
        }
        let change = self.change()?;
        collect::run(self, &change, "forget a build record", |db| {
            let layers = db::diff_ids(
                db,
                "SELECT diff_id FROM record_layer WHERE record = (SELECT id FROM record WHERE key = ?1)",
                [key],
            )?;
            db.prepare_cached("DELETE FROM record WHERE key = ?1")?
                .execute([key])?;
            Ok(((), layers.into_iter().map(Content::Layer).collect()))
        })?;
        Ok(())
    }

    /// Notes that records were used now, so that pruning by age keeps them. One transaction for a whole build.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn touch_records(&self, keys: &[String]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.write("note the use of build records", |db| {
            let mut statement =
                db.prepare_cached("UPDATE record SET last_used = ?2 WHERE key = ?1")?;
            for key in keys {
                statement.execute((key, self.now()))?;
            }
            Ok(())
        })
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<(i64, Record)> {
    let json = |index: usize, error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(
            index,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    };
    let record = Record {
        key: row.get(1)?,
        definition: row.get(2)?,
        parts: serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(|error| json(3, error))?,
        output: serde_json::from_str(row.get_ref(4)?.as_str()?).map_err(|error| json(4, error))?,
        layers: Vec::new(),
        created: row.get(5)?,
        last_used: row.get(6)?,
    };
    Ok((row.get(0)?, record))
}

fn with_layers(db: &rusqlite::Connection, id: i64, mut record: Record) -> Result<Record> {
    record.layers = db::diff_ids(
        db,
        "SELECT diff_id FROM record_layer WHERE record = ?1 ORDER BY diff_id",
        [id],
    )?;
    Ok(record)
}
