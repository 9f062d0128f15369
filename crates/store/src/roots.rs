//! Root filesystems from layers: which way works here, and the plan of it. Mounts nothing but its own probe.
//!
//! Two ways, one door. *Mounted*: the kernel mounts each layer's index over its tar, overlayfs stacks them. *Unpacked*: each
//! layer is unpacked once into a directory beside its tar, overlayfs stacks those. The first needs privileges in the first
//! user namespace and a kernel that mounts EROFS from plain files; whether it works is found by doing it once with a layer of
//! one file, and remembered for this boot and this user namespace.

use std::io::Read as _;
use std::path::Path;

use layer::Meta;
use oci::DiffId;
use serde::{Deserialize, Serialize};
use sys::fs;
use sys::mount;
use sys::root::Root;
use sys::root_plan::{Lower, RootPlan, Upper};

use crate::error::{Error, Result};
use crate::folder::Flavour;
use crate::lease::Lease;
use crate::store::Store;

/// How root filesystems are made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// The kernel mounts layers where they are.
    Mounted,
    /// Layers are unpacked at first need.
    Unpacked {
        /// Which attributes mark whiteouts.
        user: bool,
        /// Why layers are not mounted.
        reason: String,
    },
}

/// What a probe found, and where that holds.
#[derive(Serialize, Deserialize)]
struct Probed {
    boot: String,
    namespace: String,
    way: Way,
}

/// The content of the probe's one file.
const PROBE: &[u8] = b"barque";

impl Store {
    /// How root filesystems are made here: found by trying it, once in each boot.
    ///
    /// # Errors
    ///
    /// The store cannot be used. That mounting does not work is no error.
    pub fn way(&self) -> Result<Way> {
        let namespace = namespace();
        let known = self.read("find how layers are mounted", |db| {
            crate::db::meta(db, "way")
        })?;
        let known = known.and_then(|text| serde_json::from_str::<Probed>(&text).ok());
        if let Some(known) = known
            && known.boot == self.inner.boot
            && known.namespace == namespace
        {
            return Ok(known.way);
        }
        let way = self.probe()?;
        let probed = Probed {
            boot: self.inner.boot.clone(),
            namespace,
            way: way.clone(),
        };
        let text = serde_json::to_string(&probed).unwrap_or_default();
        self.write("note how layers are mounted", |db| {
            crate::db::set_meta(db, "way", &text)
        })?;
        Ok(way)
    }

    /// Tries to mount a layer of one file. The mount is never attached anywhere, so it cannot stay behind.
    fn probe(&self) -> Result<Way> {
        let lease = self.lease("probe")?;
        let mut ingest = lease.ingest_layer()?;
        let meta = Meta::file(PROBE.len() as u64, 0o644);
        ingest
            .writer()
            .append_bytes(b"probe", &meta, PROBE)
            .map_err(Box::new)?;
        let layer = ingest.publish()?;
        Ok(match read_through_mount(&layer) {
            Ok(()) => Way::Mounted,
            Err(reason) => Way::Unpacked {
                user: !is_first_root(),
                reason,
            },
        })
    }
}

impl Lease {
    /// The root filesystem of these layers, bottom first, as data for whoever starts a process in it. `upper` is where its
    /// changes go; without, it is read-only. The layers are claimed; unpacked ones are unpacked now if they were not yet.
    ///
    /// # Errors
    ///
    /// [`Error::MissingLayer`]; unpacking failed.
    pub fn root_plan(&self, layers: &[DiffId], upper: Option<Upper>) -> Result<RootPlan> {
        self.claim_layers(layers)?;
        let way = self.store().way()?;
        let find = |id: &DiffId| self.store().find_layer(id)?.ok_or(Error::MissingLayer(*id));
        let layers = self.visible(layers)?;
        let mut lowers = Vec::with_capacity(layers.len());
        for (number, id) in layers.iter().enumerate() {
            // Overlayfs refuses one directory twice. Of a layer that occurs again higher up, nothing can be seen here.
            if layers[number + 1..].contains(id) {
                continue;
            }
            let layer = find(id)?;
            lowers.push(match &way {
                Way::Mounted => Lower::Erofs {
                    index: layer.index(),
                    devices: devices(&layer),
                },
                Way::Unpacked { user, .. } => Lower::Dir(self.tree(&layer, flavour(*user))?),
            });
        }
        Ok(RootPlan {
            lowers,
            upper,
            userxattr: matches!(way, Way::Unpacked { user: true, .. }),
        })
    }

    /// The layers from the topmost one whose root is opaque: it hides all below, but overlayfs does not look at roots.
    fn visible<'l>(&self, layers: &'l [DiffId]) -> Result<&'l [DiffId]> {
        for (number, id) in layers.iter().enumerate().rev() {
            let layer = self
                .store()
                .find_layer(id)?
                .ok_or(Error::MissingLayer(*id))?;
            let index = layer.open()?;
            let root = index.stat(index.root()).map_err(|source| Error::Index {
                layer: *id,
                source: Box::new(source),
            })?;
            if root.opaque {
                return Ok(&layers[number..]);
            }
        }
        Ok(layers)
    }
}

const fn flavour(user: bool) -> Flavour {
    if user {
        Flavour::User
    } else {
        Flavour::Trusted
    }
}

fn devices(layer: &crate::Layer) -> Vec<std::path::PathBuf> {
    [Some(layer.tar()), layer.side()]
        .into_iter()
        .flatten()
        .collect()
}

/// Mounts `layer` detached and reads its file. The error is for people.
fn read_through_mount(layer: &crate::Layer) -> std::result::Result<(), String> {
    let index = layer.index();
    let mounted =
        mount::erofs(&index, &devices(layer)).map_err(|error| error.source.to_string())?;
    let root = Root::from_fd(mounted.into(), index);
    let mut content = Vec::new();
    let read = root
        .open_file(Path::new("probe"))
        .map_err(|error| error.to_string())?;
    read.take(64)
        .read_to_end(&mut content)
        .map_err(|error| error.to_string())?;
    if content == PROBE {
        Ok(())
    } else {
        Err("the mount shows other bytes than the layer has".to_owned())
    }
}

/// What distinguishes user namespaces in this boot.
fn namespace() -> String {
    fs::read_link("/proc/self/ns/user".as_ref())
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// True for root where all user ids are their own.
fn is_first_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map".as_ref()).unwrap_or_default();
    rustix::process::geteuid().is_root()
        && map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}
