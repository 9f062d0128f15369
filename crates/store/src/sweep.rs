//! Sweeping `tmp/`, and what the first opening after a start of the machine does.

use oci::Digest;
use sys::fs::{self, Context as _};

use crate::adopt;
use crate::change::Content;
use crate::db;
use crate::error::Result;
use crate::fetch;
use crate::folder::{self, TRASH};
use crate::lease::{self, Owner, PREFIX};
use crate::store::Store;

/// The file whose lock the one process has that syncs and deletes.
pub(crate) const UPKEEP_LOCK: &str = "upkeep.lock";

impl Store {
    /// Takes over what dead processes left: the rows of their leases go, their folders are moved to where
    /// [`Store::upkeep`] deletes them. What living processes are working on is not touched.
    ///
    /// Returns how many leases were dead.
    ///
    /// # Errors
    ///
    /// `tmp/` cannot be read or changed, or the database failed.
    pub fn sweep(&self) -> Result<usize> {
        let tmp = self.folder().tmp();
        let mut dead = 0;
        for entry in fs::read_dir(&tmp)? {
            let name = entry.context("list", &tmp)?.file_name();
            let name = name.to_string_lossy();
            if is_for_ever(&name) {
                continue;
            }
            if name.starts_with(fetch::PARTIAL) {
                fetch::sweep_partial(self, &name, false)?;
            } else if name.starts_with(TRASH) {
                self.untidy();
            } else if let Some(id) = name
                .strip_suffix(".lock")
                .filter(|id| id.starts_with(PREFIX))
            {
                dead += usize::from(self.bury(id)?);
            } else if !fs::exists(&lease::lock_path(self, &name)) {
                // A lease's folder is younger than its lock and goes before it, so this has no owner.
                self.folder().trash(&tmp.join(&*name))?;
                self.untidy();
            }
        }
        Ok(dead)
    }

    /// Ends the lease `id` for its owner if that is dead.
    fn bury(&self, id: &str) -> Result<bool> {
        let Owner::Dead(_lock) = lease::owner(self, id)? else {
            return Ok(false);
        };
        lease::end(self, id, &self.folder().tmp().join(id))?;
        fs::optional(fs::remove_file(&lease::lock_path(self, id)))?;
        Ok(true)
    }

    /// Compares folder and database once in each boot: a power cut may have taken the last commits but not their files.
    ///
    /// Files without rows go to `tmp/`; if all rows are lost, they are made anew. Rows without files need nothing here: they are found missing when they are used.
    pub(crate) fn settle_after_boot(&self) -> Result<()> {
        let seen = |db: &rusqlite::Connection| -> Result<bool> {
            Ok(db::meta(db, "boot")?.as_deref() == Some(&self.inner.boot))
        };
        if self.read("read the boot", seen)? {
            return Ok(());
        }
        let change = self.change()?;
        if self.read("read the boot", seen)? {
            return Ok(());
        }
        let strays = self.strays()?;
        // Once opened, a store has the note of a boot. Content without it: the database was lost.
        if !strays.is_empty()
            && self
                .read("read the boot", |db| db::meta(db, "boot"))?
                .is_none()
        {
            adopt::adopt(self, &change, strays)?;
        } else {
            for content in strays {
                if self.folder().trash(&content.path(self))? {
                    self.untidy();
                }
            }
        }
        change.transaction("note the boot", |db| {
            db::set_meta(db, "boot", &self.inner.boot)
        })
    }

    /// Files in the places of content that no row names. The caller holds the store's lock.
    pub(crate) fn strays(&self) -> Result<Vec<Content>> {
        let mut found = Vec::new();
        for name in names(&self.folder().layers())? {
            found.extend(folder::layer_of_directory(&name).map(Content::Layer));
        }
        for algorithm in [oci::Algorithm::Sha256, oci::Algorithm::Sha512] {
            for name in names(&self.folder().blobs(algorithm))? {
                let digest: Option<Digest> = format!("{}:{name}", algorithm.name()).parse().ok();
                found.extend(digest.map(Content::Blob));
            }
        }
        found.extend(
            names(&self.folder().containers())?
                .into_iter()
                .map(Content::Container),
        );
        let db = self.connection();
        let mut strays = Vec::new();
        for content in found {
            if !content.is_recorded(&db)? {
                strays.push(content);
            }
        }
        Ok(strays)
    }
}

/// True for what lies in `tmp/` and is no unfinished work: files that are only there to be locked.
pub(crate) fn is_for_ever(name: &str) -> bool {
    [UPKEEP_LOCK, fetch::TURNS_LOCK].contains(&name)
}

/// The names in a directory, in no order; none if it is missing.
pub(crate) fn names(dir: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::optional(fs::read_dir(dir))?.into_iter().flatten() {
        names.push(
            entry
                .context("list", dir)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    Ok(names)
}
