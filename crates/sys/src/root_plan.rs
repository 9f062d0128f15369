//! A root filesystem as data: which layers, in which order, with which place for changes.
//!
//! Whoever knows layers writes a [`RootPlan`]; whoever starts a container mounts it, in a mount namespace of its own, so
//! that nothing of it is ever visible outside and all of it goes with the last process inside.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::Result;
use crate::mount::{self, Attributes, Detached, Overlay};
use crate::root::{Root, magic};

/// What an index and its data are mounted from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Through {
    /// The files as they are.
    #[default]
    Files,
    /// A loop device for each file.
    Loops,
}

impl Through {
    /// Mounts an index with its data.
    ///
    /// # Errors
    ///
    /// As [`mount::erofs`] and [`mount::erofs_through_loops`].
    pub fn mount(self, index: &Path, devices: &[PathBuf]) -> Result<Detached> {
        match self {
            Self::Files => mount::erofs(index, devices),
            Self::Loops => mount::erofs_through_loops(index, devices),
        }
    }
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lower {
    /// An EROFS index, and the files that hold its data.
    Erofs {
        /// The index.
        index: PathBuf,
        /// The data, in the order of the index's device table.
        devices: Vec<PathBuf>,
        /// How the kernel gets at these.
        #[serde(default)]
        through: Through,
    },
    /// A directory tree.
    Dir(PathBuf),
}

/// A root filesystem to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootPlan {
    /// Layers from the bottom to the top.
    pub lowers: Vec<Lower>,
    /// Where changes go, and the kernel's scratch directory beside it; without, the root is read-only.
    pub upper: Option<Upper>,
    /// Marks are in `user.overlay.*`: in a user namespace.
    pub userxattr: bool,
}

/// The writable part of a root filesystem; both directories exist, on one file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upper {
    /// What changes.
    pub dir: PathBuf,
    /// An empty directory for the kernel.
    pub work: PathBuf,
    /// Ignore every `fsync` inside, and do not write anything out at the end. Much faster, and right for what is thrown away or
    /// made again after a crash of the machine. The kernel refuses to mount such an upper directory a second time until
    /// [`Upper::settle`] has said that there was no crash.
    pub volatile: bool,
}

impl Upper {
    /// Allows a volatile upper directory to be mounted again, after it was unmounted in peace.
    ///
    /// # Errors
    ///
    /// The mark cannot be removed.
    pub fn settle(&self) -> Result<()> {
        if self.volatile {
            Root::open(&self.work)?.remove_all(Path::new("work/incompat"))?;
        }
        Ok(())
    }
}

impl RootPlan {
    /// A plan of one existing tree, written to in place.
    #[must_use]
    pub fn of_dir(tree: &Path) -> Self {
        Self {
            lowers: vec![Lower::Dir(tree.into())],
            upper: None,
            userxattr: false,
        }
    }

    /// Mounts the whole, using the directory `scratch` (on a memory file system that goes away with the namespace) for
    /// the mount points of the layers.
    ///
    /// A single directory without an upper is bound as it is and stays writable; everything else without an upper is read-only.
    ///
    /// # Errors
    ///
    /// A layer is missing or damaged, or the kernel or the privileges do not allow such a mount.
    pub fn mount(&self, scratch: &Root) -> Result<Detached> {
        self.mount_over(scratch, None)
    }

    /// As [`RootPlan::mount`], with one more directory tree below all layers, if there is an upper directory and room for one more:
    /// what it has shows where the layers have nothing. For mount points that should leave no trace in the upper directory.
    ///
    /// # Errors
    ///
    /// As [`RootPlan::mount`].
    pub fn mount_over(&self, scratch: &Root, base: Option<&Path>) -> Result<Detached> {
        if let ([lower], None) = (&self.lowers[..], &self.upper) {
            return match lower {
                Lower::Dir(dir) => mount::bind(dir, true),
                Lower::Erofs {
                    index,
                    devices,
                    through,
                } => through.mount(index, devices),
            };
        }
        let mut lowers = Vec::with_capacity(self.lowers.len() + 1);
        for (number, lower) in self.lowers.iter().enumerate() {
            match lower {
                Lower::Dir(dir) => lowers.push(dir.clone()),
                Lower::Erofs {
                    index,
                    devices,
                    through,
                } => {
                    let name = PathBuf::from(format!("layer{number}"));
                    scratch.mkdir(&name, 0o700)?;
                    let place = magic(scratch).join(&name);
                    let mounted = through.mount(index, devices)?;
                    mounted.attach_to(scratch.handle(&name)?, &place)?;
                    lowers.push(place);
                }
            }
        }
        lowers.reverse();
        if let (Some(base), Some(_)) = (base, &self.upper)
            && lowers.len() < mount::MAX_LOWERS
        {
            lowers.push(base.to_path_buf());
        }
        if lowers.is_empty() || (lowers.len() == 1 && self.upper.is_none()) {
            scratch.mkdir(Path::new("empty"), 0o755)?;
            lowers.push(magic(scratch).join("empty"));
        }
        let upper = self
            .upper
            .as_ref()
            .map(|upper| (upper.dir.clone(), upper.work.clone()));
        let read_only = upper.is_none();
        let overlay = Overlay {
            lowers,
            upper,
            userxattr: self.userxattr,
            volatile: self.upper.as_ref().is_some_and(|upper| upper.volatile),
        };
        let mounted = overlay.mount()?;
        if read_only {
            mounted.restrict(Attributes::READONLY, false)?;
        }
        Ok(mounted)
    }
}
