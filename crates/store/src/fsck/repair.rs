//! What is done about findings. Each remedy looks again, under the lock, before it takes anything away.

use oci::{DiffId, Digest};
use sys::fs;

use super::{Finding, Remedy, checks};
use crate::adopt::ADOPTED;
use crate::change::{Change, Content};
use crate::collect;
use crate::db;
use crate::error::Result;
use crate::folder::{self, Flavour};
use crate::format::Format;
use crate::layers;
use crate::remove::{self, Removed};
use crate::store::Store;
use crate::trees;
use crate::verify::{self, digest_of};

impl Store {
    /// Does what the finding's remedy says. True if nothing is wrong afterwards, be it that there was nothing to do any more.
    pub(super) fn repair(&self, finding: &Finding, full: bool) -> Result<bool> {
        match &finding.remedy {
            Remedy::SetLayerAside(id) => self.set_layer_aside(id, full)?,
            Remedy::SetBlobAside(digest) => self.set_blob_aside(digest, full)?,
            Remedy::SetFileAside(path) => self.set_file_aside(path)?,
            Remedy::MendIndex(id) => self.mend(id)?,
            Remedy::DropTree(id, flavour) => self.drop_tree(id, *flavour)?,
            Remedy::DropImage(digest) => self.drop_image(digest)?,
            Remedy::DropContainer(id) => self.drop_container(id)?,
            Remedy::DropRecord(id) => self.drop_rows("DELETE FROM record WHERE id = ?1", [id])?,
            Remedy::DropRows => self.drop_rows(
                "DELETE FROM compressed WHERE diff_id NOT IN (SELECT diff_id FROM layer)
                    OR blob NOT IN (SELECT digest FROM blob)",
                [],
            )?,
            Remedy::CloseFolder => fs::set_mode(self.root(), folder::MODE)?,
            Remedy::MakeDirectory(path) => folder::make_dir(path)?,
            Remedy::Acknowledge => self.acknowledge()?,
            // Not while others have it open, this process among them.
            Remedy::RebuildDatabase => return Ok(false),
        }
        Ok(true)
    }

    fn drop_rows(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<()> {
        self.write("drop rows that lead nowhere", |db| {
            Ok(db.execute(sql, parameters).map(drop)?)
        })
    }

    fn set_layer_aside(&self, id: &DiffId, full: bool) -> Result<()> {
        let change = self.change()?;
        let Some((layer, _)) = self.read("find a layer", |db| layers::layer_row(self, db, id))?
        else {
            return Ok(());
        };
        let whole = checks::tar_problem(&layer)?.is_none()
            && !(full && digest_of(&layer.tar(), id.digest())? != *id.digest());
        if whole {
            return Ok(());
        }
        change.transaction("drop a damaged layer", |db| {
            verify::forget_layer(db, &id.to_string())
        })?;
        self.folder().set_aside(&layer.dir)?;
        Ok(())
    }

    fn set_blob_aside(&self, digest: &Digest, full: bool) -> Result<()> {
        use rusqlite::OptionalExtension as _;
        let change = self.change()?;
        let key = digest.to_string();
        let size = self.read("find a blob", |db| {
            Ok(db
                .prepare_cached("SELECT size FROM blob WHERE digest = ?1")?
                .query_row([&key], |row| db::size(row, 0))
                .optional()?)
        })?;
        let path = self.folder().blob(digest);
        let whole = match size {
            None => return Ok(()),
            Some(size) => {
                crate::blobs::has_size(&path, size)
                    && !(full && digest_of(&path, digest)? != *digest)
            }
        };
        if whole {
            return Ok(());
        }
        change.transaction("drop a damaged blob", |db| verify::forget_blob(db, &key))?;
        self.folder().set_aside(&path)?;
        Ok(())
    }

    fn set_file_aside(&self, path: &std::path::Path) -> Result<()> {
        let _change = self.change()?;
        let strays = self.strays()?;
        let places = [self.folder().layers(), self.folder().containers()];
        let algorithms = [oci::Algorithm::Sha256, oci::Algorithm::Sha512];
        let content_place = path.parent().is_some_and(|parent| {
            places.iter().any(|place| place == parent)
                || algorithms
                    .iter()
                    .any(|algorithm| self.folder().blobs(*algorithm) == parent)
        });
        let stray = strays.iter().any(|content| content.path(self) == path);
        // A name that content could have, but that was recorded meanwhile.
        if content_place && !stray && self.is_content_name(path) {
            return Ok(());
        }
        self.folder().set_aside(path)?;
        Ok(())
    }

    fn is_content_name(&self, path: &std::path::Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        folder::layer_of_directory(&name).is_some()
            || format!("sha256:{name}").parse::<Digest>().is_ok()
            || format!("sha512:{name}").parse::<Digest>().is_ok()
    }

    fn mend(&self, id: &DiffId) -> Result<()> {
        match self.read("find a layer", |db| layers::layer_row(self, db, id))? {
            Some((layer, _)) => self.mend_index(&layer).map(drop),
            None => Ok(()),
        }
    }

    fn drop_tree(&self, id: &DiffId, flavour: Flavour) -> Result<()> {
        let tree = Content::Tree(*id, flavour);
        let change = self.change()?;
        change.transaction("drop an unpacked layer", |db| {
            trees::forget(db, &tree)?;
            Change::announce(db, &tree)
        })?;
        collect::move_away(self, &change, &[tree])
    }

    fn drop_image(&self, digest: &Digest) -> Result<()> {
        let change = self.change()?;
        collect::run(self, &change, "drop an incomplete image", |db| {
            let Some(image) = crate::images::load(db, digest)? else {
                return Ok(((), Vec::new()));
            };
            let (_, candidates) = remove::delete(self, db, &image, Removed::default(), "fsck")?;
            Ok(((), candidates))
        })?;
        Ok(())
    }

    fn drop_container(&self, id: &str) -> Result<()> {
        let change = self.change()?;
        collect::run(self, &change, "drop an incomplete container", |db| {
            let layers = db::diff_ids(
                db,
                "SELECT diff_id FROM container_layer WHERE container = ?1",
                [id],
            )?;
            db.prepare_cached("DELETE FROM container WHERE id = ?1")?
                .execute([id])?;
            Ok(((), layers.into_iter().map(Content::Layer).collect()))
        })?;
        self.folder().set_aside(&self.folder().container(id))?;
        Ok(())
    }

    fn acknowledge(&self) -> Result<()> {
        if !fs::exists(&self.folder().format()) {
            fs::replace(
                &self.folder().format(),
                Format::current().print().as_bytes(),
            )?;
        }
        self.write("forget that the database was lost", |db| {
            db.execute("DELETE FROM meta WHERE key = ?1", [ADOPTED])?;
            Ok(())
        })?;
        Ok(())
    }
}
