//! The private tree in which a container is made.
//!
//! ```text
//! /                  a memory file system, the root of a mount namespace of our own
//! ├── root/          the container's root: overlay, binds, /dev and all
//! ├── bundle/        config.json for libcontainer
//! ├── state/         what libcontainer notes down
//! ├── proc, dev      the host's
//! └── sys/fs/cgroup  an empty directory: libcontainer finds no control groups here and leaves them alone
//! ```
//!
//! The host's tree is let go of before `libcontainer` runs, so nothing that it does by path can reach the host, nothing
//! appears on the host, and everything goes when the last process of the namespace goes, however that ends.
//!
//! What is needed only to make the container's root (mount points of layers, generated files, device nodes, the new `/dev`)
//! lies in a workshop, another memory file system that is let go of together with the host's tree. That is not only tidy:
//! every mount that stays is read by `libcontainer` more than a dozen times.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sys::fs::{Context, Result};
use sys::mount::{self, Attributes, Detached};
use sys::root::{Kind, Root, magic};
use sys::root_plan::RootPlan;
use sys::terminal::Pair;

use crate::device::Devices;
use crate::oci::Places;
use crate::spec::{Mount, MountSource, Spec};
use crate::stub::Stubs;

/// The tree after it was made.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) places: Places,
    pub(crate) bundle: PathBuf,
    pub(crate) state: PathBuf,
    /// The container's `/dev`, detached.
    pub(crate) devices: OwnedFd,
    /// The host's `/sys`, detached, for a container that cannot have a new one.
    pub(crate) host_sys: Option<OwnedFd>,
    pub(crate) terminal: Option<Pair>,
}

const TREE: [&str; 9] = [
    "workshop",
    "root",
    "bundle",
    "state",
    "proc",
    "dev",
    "sys",
    "sys/fs",
    "sys/fs/cgroup",
];

const WORKSHOP: [&str; 4] = ["layers", "files", "new-dev", "base"];

/// Options of every memory file system that only holds what we put there.
const SMALL: [(&str, &str); 2] = [("size", "16m"), ("mode", "0755")];

/// Makes the tree and enters it. `stubs` tells, also after an error, what was made in the upper directory.
///
/// # Errors
///
/// A layer or a source of a mount is missing, or the kernel or the privileges do not allow a mount.
pub(crate) fn enter(spec: &Spec, stubs: &mut Stubs, needs_host_sys: bool) -> Result<Stage> {
    let host = Path::new("/");
    sys::namespace::unshare_mounts().context("make a mount namespace over", host)?;
    let root = directory(&TREE, |tree| tree.attach(host))?;
    let workshop = directory(&WORKSHOP, |mount| {
        attach_in(mount, &root, Path::new("workshop"))
    })?;
    mount_root(spec, &workshop, &root)?;
    let upper = match &spec.root.upper {
        Some(upper) => Some(Root::open(&upper.dir)?),
        None => None,
    };
    let container = root.open_dir(Path::new("root"))?;
    let devices = crate::device::make(spec, &workshop, Path::new("new-dev"), spec.terminal)?;
    let mut place = Placing {
        spec,
        workshop: &workshop,
        container,
        upper,
        stubs,
        devices: &devices,
        files: 0,
    };
    place.all()?;
    let (tree, terminal) = (devices.detached()?, devices.terminal);
    for name in ["proc", "dev"] {
        attach_in(host_mount(&host.join(name))?, &root, Path::new(name))?;
    }
    let host_sys = if needs_host_sys {
        let bound = mount::bind(Path::new("/sys"), true)?;
        let attributes = Attributes {
            readonly: true,
            nosuid: true,
            nodev: true,
            noexec: true,
        };
        bound.restrict(attributes, true)?;
        Some(bound.into())
    } else {
        None
    };
    mount::pivot_into(&root)?;
    mount::detach(Path::new("/workshop"))?;
    let places = Places {
        rootfs: PathBuf::from("/root"),
        new_sys: host_sys.is_none(),
    };
    Ok(Stage {
        places,
        bundle: PathBuf::from("/bundle"),
        state: PathBuf::from("/state"),
        devices: tree,
        host_sys,
        terminal,
    })
}

/// A new memory file system with these directories.
fn directory(names: &[&str], attach: impl FnOnce(Detached) -> Result<()>) -> Result<Root> {
    let attributes = Attributes {
        nosuid: true,
        nodev: true,
        ..Attributes::default()
    };
    let mount = mount::tmpfs(&SMALL, attributes)?;
    let name = Path::new("the container's tree");
    let fd: OwnedFd = rustix::io::fcntl_dupfd_cloexec(&mount, 3).context("open", name)?;
    let root = Root::from_fd(fd, name);
    attach(mount)?;
    for name in names {
        root.mkdir(Path::new(name), 0o755)?;
    }
    Ok(root)
}

/// Makes the mount points that can be known before in a tree that will lie below all layers, so that images which lack them need no
/// [`Stubs`] in the upper directory. Where an image has something else in the way, or has deleted them, stubs it is.
fn mount_points(spec: &Spec, base: &Root) -> Result<()> {
    for name in ["proc", "sys", "dev"] {
        base.mkdir(Path::new(name), 0o755)?;
    }
    for mount in spec
        .mounts
        .iter()
        .filter(|mount| !mount.target.starts_with("/dev"))
    {
        let directory = match &mount.source {
            MountSource::Bind { path, .. } => sys::fs::metadata(path)?.is_dir(),
            MountSource::Tmpfs { .. } => true,
            MountSource::File { .. } => false,
            MountSource::Layers { .. } | MountSource::Within { .. } => continue,
        };
        // What does not fit here may well fit on the image; if not, that will be said there.
        Stubs::default()
            .prepare(base, None, &mount.target, directory)
            .ok();
    }
    Ok(())
}

/// A directory of the host for `libcontainer`, if it can be without what is mounted below.
fn host_mount(path: &Path) -> Result<Detached> {
    // In a user namespace the mounts below cannot be parted from it.
    mount::bind(path, false).or_else(|_| mount::bind(path, true))
}

fn mount_root(spec: &Spec, workshop: &Root, stage: &Root) -> Result<()> {
    let base = workshop.open_dir(Path::new("base"))?;
    mount_points(spec, &base)?;
    let mounted = spec.root.mount_over(
        &workshop.open_dir(Path::new("layers"))?,
        Some(&magic(&base)),
    )?;
    mounted.make_private(true)?;
    // A container may make device nodes; opening them is another matter.
    let attributes = Attributes {
        nodev: !spec.privileged,
        ..Attributes::default()
    };
    mounted.restrict(attributes, false)?;
    attach_in(mounted, stage, Path::new("root"))
}

/// Attaches to a path inside `root`, links followed there and nowhere else.
fn attach_in(mount: Detached, root: &Root, target: &Path) -> Result<()> {
    let at = root.handle_following(target)?;
    mount.attach_to(at, target)
}

/// Mounts things into the container's root.
struct Placing<'a> {
    spec: &'a Spec,
    workshop: &'a Root,
    container: Root,
    upper: Option<Root>,
    stubs: &'a mut Stubs,
    devices: &'a Devices,
    files: u32,
}

impl Placing<'_> {
    fn all(&mut self) -> Result<()> {
        for directory in ["proc", "sys", "dev"] {
            self.real_directory(directory)?;
        }
        // A working directory that is missing is content: it stays in the layer. Below what is about to be covered nothing
        // would be seen of it.
        if !["/proc", "/sys", "/dev"]
            .iter()
            .any(|covered| self.spec.cwd.starts_with(covered))
        {
            Stubs::default().prepare(&self.container, None, &self.spec.cwd, true)?;
            if let Err(error) = self.container.open_dir(&self.spec.cwd)
                && error.kind() == io::ErrorKind::NotADirectory
            {
                return Err(io::Error::from(error.kind())).context("start in", &self.spec.cwd);
            }
        }
        for mount in &self.spec.mounts {
            self.mount(mount)?;
        }
        Ok(())
    }

    fn stub(&mut self, target: &Path, directory: bool) -> Result<()> {
        self.stubs
            .prepare(&self.container, self.upper.as_ref(), target, directory)
    }

    /// A directory of that name itself: a link there could lead our mounts astray.
    fn real_directory(&mut self, name: &str) -> Result<()> {
        let path = Path::new(name);
        match sys::fs::optional(self.container.stat(path))? {
            Some(stat) if stat.kind == Kind::Dir => Ok(()),
            Some(_) => Err(io::Error::from(io::ErrorKind::NotADirectory))
                .context("mount on", &Path::new("/").join(name)),
            None => self.stub(path, true),
        }
    }

    fn mount(&mut self, mount: &Mount) -> Result<()> {
        let (source, directory) = self.source(mount)?;
        if mount.readonly {
            source.restrict(Attributes::READONLY, true)?;
        }
        if let Ok(below) = mount.target.strip_prefix("/dev") {
            // Nothing of it lands in a layer.
            Stubs::default().prepare(&self.devices.root, None, below, directory)?;
            return attach_in(source, &self.devices.root, below);
        }
        self.stub(&mount.target, directory)?;
        attach_in(source, &self.container, &mount.target)
    }

    /// The mount, and whether it is a directory.
    fn source(&mut self, mount: &Mount) -> Result<(Detached, bool)> {
        match &mount.source {
            MountSource::Bind { path, recursive } => {
                let bound = mount::bind(path, *recursive)?;
                self.confine(&bound)?;
                Ok((bound, sys::fs::metadata(path)?.is_dir()))
            }
            MountSource::Within { folder, path } => {
                let inside = Root::open(folder)?;
                let handle = inside.handle_following(path)?;
                let directory = inside.metadata(path)?.kind == Kind::Dir;
                let bound = mount::bind_fd(handle, path, false)?;
                self.confine(&bound)?;
                Ok((bound, directory))
            }
            MountSource::Tmpfs { size, mode, exec } => {
                let mode = format!("{mode:o}");
                let size = size.map(|size| size.to_string());
                let mut options = vec![("mode", mode.as_str())];
                options.extend(size.as_deref().map(|size| ("size", size)));
                let attributes = Attributes {
                    nosuid: true,
                    nodev: true,
                    noexec: !exec,
                    readonly: false,
                };
                Ok((mount::tmpfs(&options, attributes)?, true))
            }
            MountSource::File {
                content,
                mode,
                uid,
                gid,
            } => {
                let path = self.next_file();
                let mut file = self.workshop.create(&path, *mode)?;
                io::Write::write_all(&mut file, content).context("write", &path)?;
                self.workshop.chmod(&path, *mode)?;
                self.workshop.chown(&path, *uid, *gid)?;
                Ok((
                    mount::bind_fd(self.workshop.handle(&path)?, &path, false)?,
                    false,
                ))
            }
            MountSource::Layers { plan, path } => self.layers(plan, path),
        }
    }

    /// What is the host's gets nothing from mounts made here, and devices on it cannot be opened.
    fn confine(&self, bound: &Detached) -> Result<()> {
        bound.make_private(true)?;
        let attributes = Attributes {
            nodev: !self.spec.privileged,
            ..Attributes::default()
        };
        bound.restrict(attributes, true)
    }

    /// Another root filesystem is mounted beside, and the asked part of it, resolved inside it, is bound.
    fn layers(&mut self, plan: &RootPlan, path: &Path) -> Result<(Detached, bool)> {
        let (scratch, beside) = (self.next_file(), self.next_file());
        self.workshop.mkdir(&scratch, 0o700)?;
        self.workshop.mkdir(&beside, 0o755)?;
        let mounted = plan.mount(&self.workshop.open_dir(&scratch)?)?;
        mounted.make_private(true)?;
        attach_in(mounted, self.workshop, &beside)?;
        let inside = self.workshop.open_dir(&beside)?;
        let handle = inside.handle_following(path)?;
        let directory = inside.metadata(path)?.kind == Kind::Dir;
        Ok((mount::bind_fd(handle, path, false)?, directory))
    }

    fn next_file(&mut self) -> PathBuf {
        self.files += 1;
        PathBuf::from(format!("files/{}", self.files))
    }
}

/// What a fresh `/sys` needs is a network namespace of our own user namespace.
pub(crate) fn can_mount_sysfs() -> bool {
    mount::file_system("sysfs", "sysfs", &[], Attributes::READONLY).is_ok()
}
