//! The store as a whole: what it is, what it takes, what can go, whether it is sound.

use std::path::PathBuf;

use serde::Serialize;
use store::{RecordPolicy, Way};

use crate::containers::State;
use crate::{Engine, Error};

/// What barque found on this host.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// barque's own version.
    pub version: String,
    /// The store's folder.
    pub root: PathBuf,
    /// How root filesystems are made.
    pub root_filesystems: String,
    /// Who we are.
    pub user: String,
    /// The kernel.
    pub kernel: String,
    /// Images in the store.
    pub images: u64,
    /// Layers in the store.
    pub layers: u64,
    /// Containers in the store.
    pub containers: u64,
}

/// A line of `df`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UsageRow {
    /// What.
    #[serde(rename = "Type")]
    pub kind: String,
    /// How many.
    #[serde(rename = "TotalCount")]
    pub total: u64,
    /// How many are in use.
    pub active: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes that `prune` would free.
    pub reclaimable: u64,
}

/// What `prune` is asked for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Also images with a name that no container uses.
    pub all: bool,
    /// The build cache stays.
    pub keep_cache: bool,
    /// Only what was not used for so many seconds.
    pub older_than: Option<u64>,
}

/// What `prune` took away.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Ended containers.
    pub containers: Vec<String>,
    /// Images, and names that they had.
    pub images: Vec<String>,
    /// Build records.
    pub records: u64,
    /// Bytes that this freed.
    pub bytes: u64,
}

/// A duration like `90m`, `24h`, `7d` in seconds.
///
/// # Errors
///
/// The text has another form.
pub fn duration(text: &str) -> Result<u64, Error> {
    let wrong = || Error::Duration(text.to_owned());
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

impl Engine {
    /// What barque found on this host. Tries how root filesystems can be made, if that was not tried since the last boot.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn info(&self) -> Result<Info, Error> {
        let store = self.store();
        let system = rustix::system::uname();
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            root: store.root().to_owned(),
            root_filesystems: match store.way()? {
                Way::Mounted => "layers are mounted where they are".to_owned(),
                Way::Loops { reason } => {
                    format!("layers are mounted where they are, through loop devices: {reason}")
                }
                Way::Unpacked { reason, .. } => {
                    format!("layers are unpacked at first need: {reason}")
                }
            },
            user: if crate::is_root() {
                "root".to_owned()
            } else {
                "ordinary, with a user namespace where needed".to_owned()
            },
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            images: store.images()?.len() as u64,
            layers: store.layers()?.len() as u64,
            containers: store.containers()?.len() as u64,
        })
    }

    /// What the parts of the store take on the disk.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn usage(&self) -> Result<Vec<UsageRow>, Error> {
        let mut usage = self.store().usage()?;
        for container in self.store().containers()? {
            let record = crate::containers::record_of(&container)?;
            let state = crate::containers::state_of(&container, &record)?;
            if matches!(state, State::Running { .. }) {
                let bytes = usage.container_list.get(&container.id).unwrap_or(&0);
                usage.containers.active += 1;
                usage.containers.reclaimable -= bytes;
            }
        }
        let row = |kind: &str, part: &store::Part| UsageRow {
            kind: kind.to_owned(),
            total: part.count,
            active: part.active,
            size: part.bytes,
            reclaimable: part.reclaimable,
        };
        Ok(vec![
            row("Images", &usage.images),
            row("Containers", &usage.containers),
            row("Build cache", &usage.records),
            row("Cache mounts", &usage.caches),
            row("Unpacked layers", &usage.trees),
            row("Unfinished", &usage.temporary),
        ])
    }

    /// Takes away ended containers, images that nothing names, and the build cache.
    ///
    /// # Errors
    ///
    /// The store cannot be changed. What was taken away before stays so.
    pub fn prune(&self, request: &PruneRequest) -> Result<Pruned, Error> {
        let store = self.store();
        let since = request
            .older_than
            .map(|seconds| store.now().saturating_sub_unsigned(seconds));
        let old = |made: i64| since.is_none_or(|since| made < since);
        let mut pruned = Pruned::default();
        for container in store.containers()? {
            let record = crate::containers::record_of(&container)?;
            let state = crate::containers::state_of(&container, &record)?;
            if matches!(state, State::Running { .. }) || !old(container.created) {
                continue;
            }
            // Being started, or ended a moment ago: its `run` still works with it.
            if let Some(lease) = &record.lease
                && store.is_lease_alive(lease)?
            {
                continue;
            }
            match store.remove_container(&container.id) {
                Ok(collected) => {
                    pruned.bytes += collected.bytes;
                    pruned.containers.push(container.id);
                }
                // Somebody else was faster.
                Err(store::Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let removed = store.prune_images(request.all, |image| old(image.added))?;
        pruned.bytes += removed.bytes;
        pruned
            .images
            .extend(removed.untagged.iter().map(oci::Reference::familiar));
        pruned
            .images
            .extend(removed.deleted.iter().map(ToString::to_string));
        if !request.keep_cache {
            let policy = RecordPolicy {
                unused_since: since,
                keep_bytes: None,
                all: since.is_none(),
            };
            let records = store.prune_records(&policy)?;
            pruned.records = records.records;
            pruned.bytes += records.collected.bytes;
            if since.is_none() {
                pruned.bytes += store.prune_caches()?;
                pruned.bytes += store.prune_downloads()?;
            }
        }
        pruned.bytes += store.prune_unneeded()?.bytes;
        Ok(pruned)
    }

    /// Starts what syncs new content to the disk and deletes what was taken away; with `wait`, does it now.
    ///
    /// # Errors
    ///
    /// With `wait` only: syncing or deleting failed.
    pub fn settle(&self, wait: bool) -> Result<(), Error> {
        if wait {
            // Another process may be at the upkeep, which would not wait for ours.
            self.store().sync()?;
            return Ok(self.store().upkeep()?);
        }
        if let Ok(exe) = std::env::current_exe() {
            // Nothing is lost if it cannot be started: the next command sees what there is to do.
            self.store().spawn_upkeep(&exe).ok();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations() {
        assert_eq!(super::duration("90m").unwrap(), 5400);
        assert_eq!(super::duration("7d").unwrap(), 604_800);
        for text in ["", "5", "h", "-1h", "99999999999999999999d", "1w"] {
            assert!(super::duration(text).is_err(), "{text}");
        }
    }
}
