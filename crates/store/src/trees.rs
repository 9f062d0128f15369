//! Unpacked layers: `layers/<id>/tree/` and `tree-user/`, made at first need.
//!
//! A tree is unpacked in a lease's folder and moved to its place whole, under the store's lock; who comes second drops its
//! own. Its row carries the boot it was made in like the layer's own; a tree that was not on the disk when the machine
//! stopped is unpacked again, since hashing it would cost as much.

use std::path::{Path, PathBuf};

use layer::{Marks, UnpackOptions};
use rusqlite::OptionalExtension as _;
use sys::fs;
use sys::root::Root;

use crate::change::{Change, Content};
use crate::error::{Error, Result};
use crate::folder::Flavour;
use crate::layers::Layer;
use crate::lease::Lease;

impl Lease {
    /// The directory of a claimed layer's unpacked tree, unpacking it if it is not there.
    ///
    /// # Errors
    ///
    /// Unpacking failed; [`Error::MissingLayer`] if the layer was not claimed and went meanwhile.
    pub fn tree(&self, layer: &Layer, flavour: Flavour) -> Result<PathBuf> {
        let place = layer.dir.join(flavour.directory());
        if self.has_tree(layer, flavour)? {
            return Ok(place);
        }
        let finished = self.temporary("tree");
        fs::create_dir(&finished)?;
        unpack(layer, &finished, flavour)?;
        let store = self.store();
        let content = Content::Tree(layer.diff_id, flavour);
        let change = store.change()?;
        if self.has_tree(layer, flavour)? {
            return Ok(place);
        }
        change.transaction("announce an unpacked layer", |db| {
            if !Content::Layer(layer.diff_id).is_recorded(db)? {
                return Err(Error::MissingLayer(layer.diff_id));
            }
            // One that may be torn.
            forget(db, &content)?;
            Change::announce(db, &content)
        })?;
        if store.folder().trash(&place)? {
            store.untidy();
        }
        fs::rename(&finished, &place)?;
        change.transaction("record an unpacked layer", |db| {
            db.prepare_cached("INSERT INTO tree (diff_id, flavour, boot) VALUES (?1, ?2, ?3)")?
                .execute((
                    layer.diff_id.to_string(),
                    flavour.directory(),
                    &store.inner.boot,
                ))?;
            Change::arrived(db, &content)
        })?;
        store.untidy();
        Ok(place)
    }

    /// True if the tree is there and can be trusted.
    pub(crate) fn has_tree(&self, layer: &Layer, flavour: Flavour) -> Result<bool> {
        let store = self.store();
        let boot = store.read("find an unpacked layer", |db| {
            let row = db
                .prepare_cached("SELECT boot FROM tree WHERE diff_id = ?1 AND flavour = ?2")?
                .query_row((layer.diff_id.to_string(), flavour.directory()), |row| {
                    row.get::<_, Option<String>>(0)
                })
                .optional()?;
            Ok(row)
        })?;
        let trusted = boot.is_some_and(|boot| boot.is_none_or(|boot| boot == store.inner.boot));
        Ok(trusted && fs::exists(&layer.dir.join(flavour.directory())))
    }
}

/// Takes the row of an unpacked layer.
pub(crate) fn forget(db: &rusqlite::Connection, tree: &Content) -> Result<()> {
    db.prepare_cached("DELETE FROM tree WHERE diff_id || '/' || flavour = ?1")?
        .execute([tree.id()])?;
    Ok(())
}

/// Unpacks the layer into an empty directory.
fn unpack(layer: &Layer, into: &Path, flavour: Flavour) -> Result<()> {
    let user = flavour == Flavour::User;
    let options = UnpackOptions {
        marks: if user { Marks::User } else { Marks::Trusted },
        skip_devices: user,
        skip_xattrs: user,
        ignore_owners: user && !has_many_ids(),
    };
    let root = Root::open(into)?;
    layer::unpack(&layer.open()?, &root, &options).map_err(|source| Error::Unpack {
        layer: layer.diff_id,
        source: Box::new(source),
    })?;
    Ok(())
}

/// True if we are root where more than one user exists: only then can files be given away.
fn has_many_ids() -> bool {
    let ids = fs::read_to_string("/proc/self/uid_map".as_ref()).unwrap_or_default();
    let lengths = ids
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok());
    rustix::process::geteuid().is_root() && lengths.sum::<u64>() > 1
}
