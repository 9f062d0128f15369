//! Content on its way in: the strokes that make a finished file or directory part of the store.

use std::path::Path;

use rusqlite::Connection;
use sys::fs;

use crate::change::{Change, Content};
use crate::error::Result;
use crate::lease::Lease;

/// Makes `finished` the store's copy of `content`, claimed by `lease`.
///
/// If the store has it already and `intact` says that the files are all there, `finished` stays where it is and `false` is
/// returned; copies whose files are damaged are replaced. `record` writes the row, over an older one if there is one.
pub(crate) fn publish(
    lease: &Lease,
    content: &Content,
    finished: &Path,
    intact: impl FnOnce() -> bool,
    record: impl FnOnce(&Connection) -> Result<()>,
) -> Result<bool> {
    let store = lease.store();
    let change = store.change()?;
    let known = change.transaction("announce content", |db| {
        let known = content.is_recorded(db)?;
        if known {
            lease.add(db, content)?;
        } else {
            Change::announce(db, content)?;
        }
        Ok(known)
    })?;
    if known && intact() {
        return Ok(false);
    }
    let place = content.path(store);
    // Something without a row, or a damaged copy. Who reads the latter has it open and keeps it.
    if store.folder().trash(&place)? {
        store.untidy();
    }
    fs::rename(finished, &place)?;
    change.transaction("record content", |db| {
        record(db)?;
        lease.add(db, content)?;
        Change::arrived(db, content)
    })?;
    store.untidy();
    Ok(true)
}
