//! The database `barque.db`: opening it, its schema, and what every query needs.
//!
//! Owns the connection's settings and the migrations. Write-ahead log, so that readers never wait for a writer;
//! `synchronous=NORMAL`, so that a commit costs no sync: after a power cut the database is whole, but the last commits may be
//! missing. Nor does closing it: the log is synced into the database by [`crate::sync`]. That is safe because content is recorded with the boot it was written in (see [`crate::sync`]).

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use oci::{DiffId, Digest};
use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Row};

use crate::error::{Error, Result};

/// How long a statement waits for another process. Writers queue at the store's lock, not here; this is for checkpoints.
const BUSY: Duration = Duration::from_secs(60);

/// How many pages the log may have before the command that writes them must sync it into the database; upkeep does it sooner.
/// 8 MB: what the next process reads in a few milliseconds if it finds the log so long.
const LONGEST_LOG: u32 = 2000;

/// Each makes a database of version `index` one of version `index + 1`.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("schema2.sql")];

impl From<rusqlite::Error> for Error {
    /// Without what was being done and where; `Named::named` adds both.
    fn from(source: rusqlite::Error) -> Self {
        Self::Database {
            what: "read or write",
            path: std::path::PathBuf::new(),
            source,
        }
    }
}

/// Says what the database was asked for when it failed.
pub(crate) trait Named<T> {
    fn named(self, what: &'static str, path: &Path) -> Result<T>;
}

impl<T> Named<T> for Result<T> {
    fn named(self, what: &'static str, path: &Path) -> Self {
        self.map_err(|error| match error {
            Error::Database {
                path: empty,
                source,
                ..
            } if empty.as_os_str().is_empty() => Error::Database {
                what,
                path: path.to_owned(),
                source,
            },
            other => other,
        })
    }
}

/// Opens the database, creating an empty one if it is missing. Does not look at the schema.
pub(crate) fn connect(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = {LONGEST_LOG};"
        ))?;
        db.set_prepared_statement_cache_capacity(64);
        Ok(db)
    };
    open().named("open the database", path)
}

/// The version of the schema; 0 for an empty database.
pub(crate) fn version(db: &Connection, path: &Path) -> Result<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(Error::from)
        .named("read the schema's version", path)
}

/// The version that this program works with.
pub(crate) fn current_version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Brings the schema to this program's version. The caller holds the store's lock.
pub(crate) fn migrate(db: &mut Connection, path: &Path, root: &Path) -> Result<()> {
    let have = version(db, path)?;
    if have > current_version() {
        return Err(Error::Version {
            root: root.to_owned(),
            found: have,
            known: current_version(),
        });
    }
    let mut run = || -> Result<()> {
        if have == 0 {
            // Stays in the file; outside of a transaction by SQLite's rules.
            db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        }
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for step in MIGRATIONS.iter().skip(have as usize) {
            tx.execute_batch(step)?;
        }
        tx.pragma_update(None, "user_version", current_version())?;
        tx.commit()?;
        Ok(())
    };
    run().named("create the tables", path)
}

/// The column `index` as a value that is kept as its text.
pub(crate) fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(index)?.as_str()?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
    })
}

/// The column `index` as a size; sizes are never negative.
pub(crate) fn size(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(index)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, value))
}

/// A size as SQLite keeps it. No file is larger than `i64::MAX`.
pub(crate) fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// All digests in the first column of a query's rows.
pub(crate) fn digests(
    db: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Digest>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| parsed(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// All layer ids in the first column of a query's rows.
pub(crate) fn diff_ids(
    db: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<DiffId>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| parsed(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// All texts in the first column of a query's rows.
pub(crate) fn texts(
    db: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<String>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A value that the store remembers about itself.
pub(crate) fn meta(db: &Connection, key: &str) -> Result<Option<String>> {
    use rusqlite::OptionalExtension as _;
    let value = db
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value)
}

/// Remembers a value, over an older one.
pub(crate) fn set_meta(db: &Connection, key: &str, value: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
    )?
    .execute([key, value])?;
    Ok(())
}
