//! Which way to a root filesystem works here. Mounts nothing but its own probe.
//!
//! Three ways, tried in this order. *Files*: the kernel mounts each layer's index from the plain files (Linux 6.12 and up).
//! *Loops*: it mounts them from loop devices. *Unpacked*: each layer is unpacked once into a directory beside its tar. The
//! first two need privileges in the first user namespace. What works is found by doing it once with a layer of one file, and
//! remembered for this boot and this user namespace.

use std::io::Read as _;
use std::path::Path;

use layer::Meta;
use serde::{Deserialize, Serialize};
use sys::fs;
use sys::root::Root;
use sys::root_plan::Through;

use crate::Layer;
use crate::error::{Error, Result};
use crate::store::Store;

/// How root filesystems are made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// The kernel mounts layers where they are.
    Mounted,
    /// The kernel mounts layers where they are, from block devices.
    Loops {
        /// Why not from the files.
        reason: String,
    },
    /// Layers are unpacked at first need.
    Unpacked {
        /// Which attributes mark whiteouts.
        user: bool,
        /// Why layers are not mounted.
        reason: String,
    },
}

/// A way that is taken without trying another; for tests, and for hosts where what works is not what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Mounted from plain files.
    Files,
    /// Mounted through loop devices.
    Loops,
    /// Unpacked.
    Unpacked,
}

impl Choice {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Files, Self::Loops, Self::Unpacked];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Loops => "loops",
            Self::Unpacked => "unpacked",
        }
    }

    /// The one that has this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}

/// What a probe found, and where that holds.
#[derive(Serialize, Deserialize)]
struct Probed {
    boot: String,
    namespace: String,
    #[serde(default)]
    chosen: Option<Choice>,
    way: Way,
}

/// The content of the probe's one file.
const PROBE: &[u8] = b"barque";

impl Store {
    /// How root filesystems are made here: what was chosen, else what works, found by trying it once in each boot.
    ///
    /// # Errors
    ///
    /// The store cannot be used, or what was chosen does not work. That mounting does not work is no error otherwise.
    pub fn way(&self) -> Result<Way> {
        let namespace = namespace();
        let known = self.read("find how layers are mounted", |db| {
            crate::db::meta(db, "way")
        })?;
        let known = known.and_then(|text| serde_json::from_str::<Probed>(&text).ok());
        if let Some(known) = known
            && known.boot == self.inner.boot
            && known.namespace == namespace
            && known.chosen == self.inner.chosen
        {
            return Ok(known.way);
        }
        let way = self.probe(self.inner.chosen)?;
        let probed = Probed {
            boot: self.inner.boot.clone(),
            namespace,
            chosen: self.inner.chosen,
            way: way.clone(),
        };
        let text = serde_json::to_string(&probed).unwrap_or_default();
        self.write("note how layers are mounted", |db| {
            crate::db::set_meta(db, "way", &text)
        })?;
        Ok(way)
    }

    /// Tries to mount a layer of one file. The mount is never attached anywhere, so it cannot stay behind.
    fn probe(&self, chosen: Option<Choice>) -> Result<Way> {
        let by_choice = || "so it was chosen".to_owned();
        let user = !is_first_root();
        if chosen == Some(Choice::Unpacked) {
            let reason = by_choice();
            return Ok(Way::Unpacked { user, reason });
        }
        let lease = self.lease("probe")?;
        let mut ingest = lease.ingest_layer()?;
        let meta = Meta::file(PROBE.len() as u64, 0o644);
        ingest
            .writer()
            .append_bytes(b"probe", &meta, PROBE)
            .map_err(Box::new)?;
        let layer = ingest.publish()?;
        let refused = |choice: Choice, reason| Error::Way {
            chosen: choice.name(),
            reason,
        };
        match chosen {
            Some(Choice::Files) => read_through_mount(&layer, Through::Files)
                .map(|()| Way::Mounted)
                .map_err(|reason| refused(Choice::Files, reason)),
            Some(Choice::Loops) => read_through_mount(&layer, Through::Loops)
                .map(|()| Way::Loops {
                    reason: by_choice(),
                })
                .map_err(|reason| refused(Choice::Loops, reason)),
            Some(Choice::Unpacked) | None => {
                let Err(reason) = read_through_mount(&layer, Through::Files) else {
                    return Ok(Way::Mounted);
                };
                if user {
                    // No kernel mounts block devices in a user namespace.
                    return Ok(Way::Unpacked { user, reason });
                }
                Ok(match read_through_mount(&layer, Through::Loops) {
                    Ok(()) => Way::Loops { reason },
                    Err(loops) => Way::Unpacked {
                        user,
                        reason: format!("{reason}; through loop devices: {loops}"),
                    },
                })
            }
        }
    }
}

/// The files behind a layer's index, in the order of its device table.
pub(crate) fn devices(layer: &Layer) -> Vec<std::path::PathBuf> {
    [Some(layer.tar()), layer.side()]
        .into_iter()
        .flatten()
        .collect()
}

/// Mounts `layer` detached and reads its file. The error is for people.
fn read_through_mount(layer: &Layer, through: Through) -> std::result::Result<(), String> {
    let index = layer.index();
    let mounted = through
        .mount(&index, &devices(layer))
        .map_err(|error| error.source.to_string())?;
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
