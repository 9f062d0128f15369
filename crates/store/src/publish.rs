//! Content on its way in: the strokes that make finished files or directories part of the store.

use std::path::Path;

use rusqlite::Connection;
use sys::fs;

use crate::change::{Change, Content};
use crate::error::Result;
use crate::lease::Lease;
use crate::store::Store;

/// A finished file or directory that is to become the store's copy of its content.
pub(crate) trait Arrival {
    /// What it is.
    fn content(&self) -> Content;

    /// Where it is finished, in the folder of the lease.
    fn finished(&self) -> &Path;

    /// Whether the files of the copy that the store has are all there.
    fn is_intact(&self) -> bool;

    /// Writes its row, over an older one if there is one.
    fn record(&self, db: &Connection, store: &Store) -> Result<()>;
}

/// What else is written in the transaction in which content arrives.
pub(crate) type Note<'a> = &'a dyn Fn(&Connection) -> Result<()>;

/// Makes all of `arrivals` part of the store at once, claimed by `lease`, and writes `note` when they are.
///
/// What the store has already, with all its files, stays where it is finished, and so does what comes a second time; a copy whose files
/// are damaged is replaced.
pub(crate) fn publish(
    lease: &Lease,
    arrivals: &[&dyn Arrival],
    note: Option<Note<'_>>,
) -> Result<()> {
    let store = lease.store();
    let change = store.change()?;
    let known = change.transaction("announce content", |db| {
        let announce = |arrival: &&dyn Arrival| {
            let content = arrival.content();
            let known = content.is_recorded(db)?;
            if known {
                lease.add(db, &content)?;
            } else {
                Change::announce(db, &content)?;
            }
            Ok(known)
        };
        arrivals.iter().map(announce).collect::<Result<Vec<_>>>()
    })?;
    let mut moved: Vec<(&dyn Arrival, Content)> = Vec::with_capacity(arrivals.len());
    for (arrival, known) in arrivals.iter().zip(known) {
        let content = arrival.content();
        let is_repeated = moved.iter().any(|(_, other)| *other == content);
        if is_repeated || (known && arrival.is_intact()) {
            continue;
        }
        let place = content.path(store);
        // Something without a row, or a damaged copy. Who reads the latter has it open and keeps it.
        if store.folder().trash(&place)? {
            store.untidy();
        }
        fs::rename(arrival.finished(), &place)?;
        moved.push((*arrival, content));
    }
    if moved.is_empty() && note.is_none() {
        return Ok(());
    }
    change.transaction("record content", |db| {
        for (arrival, content) in &moved {
            arrival.record(db, store)?;
            lease.add(db, content)?;
            Change::arrived(db, content)?;
        }
        note.map_or(Ok(()), |note| note(db))
    })?;
    if !moved.is_empty() {
        store.untidy();
    }
    Ok(())
}
