//! A change of the store: the lock, transactions under it, and the journal `pending` that makes renames and rows agree.

use rusqlite::{Connection, TransactionBehavior};
use sys::lock::{Lock, Mode};

use oci::{DiffId, Digest};

use crate::db::{Named as _, parsed};
use crate::error::Result;
use crate::folder::Flavour;
use crate::store::Store;

/// Content with a place in the folder and a row in the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Content {
    Layer(DiffId),
    Blob(Digest),
    Container(String),
    Tree(DiffId, Flavour),
}

impl Content {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Layer(_) => "layer",
            Self::Blob(_) => "blob",
            Self::Container(_) => "container",
            Self::Tree(..) => "tree",
        }
    }

    pub(crate) fn id(&self) -> String {
        match self {
            Self::Layer(id) => id.to_string(),
            Self::Blob(digest) => digest.to_string(),
            Self::Container(id) => id.clone(),
            Self::Tree(id, flavour) => format!("{id}/{}", flavour.directory()),
        }
    }

    pub(crate) fn path(&self, store: &Store) -> std::path::PathBuf {
        match self {
            Self::Layer(id) => store.folder().layer(id),
            Self::Blob(digest) => store.folder().blob(digest),
            Self::Container(id) => store.folder().container(id),
            Self::Tree(id, flavour) => store.folder().layer(id).join(flavour.directory()),
        }
    }

    /// True if its row is there.
    pub(crate) fn is_recorded(&self, db: &Connection) -> Result<bool> {
        let sql = match self {
            Self::Layer(_) => "SELECT 1 FROM layer WHERE diff_id = ?1",
            Self::Blob(_) => "SELECT 1 FROM blob WHERE digest = ?1",
            Self::Container(_) => "SELECT 1 FROM container WHERE id = ?1",
            Self::Tree(..) => "SELECT 1 FROM tree WHERE diff_id || '/' || flavour = ?1",
        };
        Ok(db.prepare_cached(sql)?.exists([self.id()])?)
    }
}

/// What [`Content::id`] says of a tree.
struct TreeId(DiffId, Flavour);

impl std::str::FromStr for TreeId {
    type Err = oci::DigestError;

    fn from_str(text: &str) -> std::result::Result<Self, oci::DigestError> {
        let (id, flavour) = text.split_once('/').unwrap_or((text, ""));
        let user = flavour == Flavour::User.directory();
        Ok(Self(
            id.parse()?,
            if user {
                Flavour::User
            } else {
                Flavour::Trusted
            },
        ))
    }
}

/// The store's lock, held.
#[derive(Debug)]
pub(crate) struct Change<'s> {
    store: &'s Store,
    _lock: Lock,
}

impl<'s> Change<'s> {
    /// Waits for the lock and settles what its last holder left if it was killed.
    pub(crate) fn begin(store: &'s Store) -> Result<Self> {
        let lock = Lock::acquire(&store.folder().lock(), Mode::Exclusive)?;
        let change = Self { store, _lock: lock };
        change.settle()?;
        Ok(change)
    }

    pub(crate) fn transaction<T>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let mut guard = self.store.connection();
        let write = || -> Result<T> {
            let tx = guard.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = run(&tx)?;
            tx.commit()?;
            Ok(out)
        };
        write().named(what, &self.store.folder().database())
    }

    /// Says that `content` is on its way in: see the crate's documentation for the strokes.
    pub(crate) fn announce(db: &Connection, content: &Content) -> Result<()> {
        db.prepare_cached("INSERT OR IGNORE INTO pending (kind, id) VALUES (?1, ?2)")?
            .execute((content.kind(), content.id()))?;
        Ok(())
    }

    /// Says that `content` has arrived where it belongs, in or out.
    pub(crate) fn arrived(db: &Connection, content: &Content) -> Result<()> {
        db.prepare_cached("DELETE FROM pending WHERE kind = ?1 AND id = ?2")?
            .execute((content.kind(), content.id()))?;
        Ok(())
    }

    /// Moves away what `pending` names and no row does.
    pub(crate) fn settle(&self) -> Result<()> {
        let what = "settle interrupted work";
        let pending = {
            let db = self.store.connection();
            read_pending(&db).named(what, &self.store.folder().database())?
        };
        if pending.is_empty() {
            return Ok(());
        }
        for content in &pending {
            let recorded = {
                let db = self.store.connection();
                content
                    .is_recorded(&db)
                    .named(what, &self.store.folder().database())?
            };
            if !recorded && self.store.folder().trash(&content.path(self.store))? {
                self.store.untidy();
            }
        }
        self.transaction(what, |db| {
            pending
                .iter()
                .try_for_each(|content| Self::arrived(db, content))
        })
    }
}

fn read_pending(db: &Connection) -> Result<Vec<Content>> {
    let mut statement = db.prepare_cached("SELECT kind, id FROM pending")?;
    let rows = statement.query_map([], |row| {
        Ok(match row.get_ref(0)?.as_str()? {
            "layer" => Content::Layer(parsed(row, 1)?),
            "blob" => Content::Blob(parsed(row, 1)?),
            "tree" => parsed::<TreeId>(row, 1).map(|tree| Content::Tree(tree.0, tree.1))?,
            _ => Content::Container(row.get(1)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
