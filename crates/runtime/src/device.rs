//! `/dev` of a container.
//!
//! Every file system that a container can write to is mounted so that device nodes on it cannot be opened; a container may
//! make a node for the host's disk, and it is of no use. The usual devices are therefore single binds, of nodes that we made ourselves
//! in a place of our own, or, in a user namespace where nobody can make nodes, of the host's own after a look at their numbers.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sys::fs::{Context, Error, Result};
use sys::mount::{self, Attributes, Detached};
use sys::root::{Kind, Root};
use sys::terminal::{Pair, Size};

use crate::spec::Spec;

/// The devices that every container has: name, major and minor number.
const USUAL: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Devices copied for a privileged container at most; a machine has some hundreds.
const MOST: usize = 8192;

/// `/dev` while it is made, mounted on an empty directory of the workshop.
#[derive(Debug)]
pub(crate) struct Devices {
    /// The memory file system with everything on it.
    pub(crate) root: Root,
    /// The terminal, if one was asked for.
    pub(crate) terminal: Option<Pair>,
}

impl Devices {
    /// The whole as one detached tree, ready to be put over the container's.
    ///
    /// # Errors
    ///
    /// The privilege is missing.
    pub(crate) fn detached(&self) -> Result<OwnedFd> {
        Ok(mount::bind_fd(&self.root, Path::new("/dev"), true)?.into())
    }
}

/// Makes `/dev` on `place`.
///
/// # Errors
///
/// A device is missing on the host, or the privileges do not allow a mount.
pub(crate) fn make(
    spec: &Spec,
    stage: &Root,
    place: &Path,
    terminal: Option<Size>,
) -> Result<Devices> {
    let attributes = Attributes {
        nosuid: true,
        noexec: true,
        nodev: !spec.privileged,
        readonly: false,
    };
    attach(
        mount::tmpfs(&[("size", "64m"), ("mode", "0755")], attributes)?,
        stage,
        place,
    )?;
    let dev = stage.open_dir(place)?;
    let nodes = Nodes::make(stage)?;
    for (name, major, minor) in USUAL {
        bind_node(&dev, name.as_ref(), nodes.get(name, major, minor)?)?;
    }
    for (name, target) in LINKS {
        dev.symlink(target.as_ref(), name.as_ref())?;
    }
    for name in ["pts", "mqueue", "shm"] {
        dev.mkdir(name.as_ref(), 0o755)?;
    }
    let size = spec.shm_size.to_string();
    let restricted = Attributes {
        nosuid: true,
        nodev: true,
        noexec: true,
        readonly: false,
    };
    attach(
        mount::tmpfs(&[("size", &size), ("mode", "1777")], restricted)?,
        &dev,
        "shm".as_ref(),
    )?;
    attach(devpts()?, &dev, "pts".as_ref())?;
    let terminal = match terminal {
        Some(size) => Some(console(&dev, size)?),
        None => None,
    };
    if spec.privileged {
        copy_all(&Root::open("/dev".as_ref())?, &dev)?;
    }
    for device in &spec.devices {
        host_device(&dev, &device.source, &device.target)?;
    }
    Ok(Devices {
        root: dev,
        terminal,
    })
}

fn attach(mount: Detached, root: &Root, name: &Path) -> Result<()> {
    mount.attach_to(root.handle(name)?, name)
}

fn devpts() -> Result<Detached> {
    let attributes = Attributes {
        nosuid: true,
        noexec: true,
        ..Attributes::default()
    };
    let options = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", "5"),
    ];
    mount::file_system("devpts", "devpts", &options, attributes)
        // A user namespace may not have the group of terminals.
        .or_else(|_| mount::file_system("devpts", "devpts", &options[..3], attributes))
}

/// A terminal, and `/dev/console` for it.
fn console(dev: &Root, size: Size) -> Result<Pair> {
    let pair = sys::terminal::open_in(&dev.open_dir("pts".as_ref())?)?;
    sys::terminal::set_size(&pair.controller, size)
        .context("set the size of", Path::new("the terminal"))?;
    let slave = PathBuf::from(format!("pts/{}", pair.number));
    bind_node(dev, "console".as_ref(), dev.handle(&slave)?)?;
    Ok(pair)
}

/// Puts a device node over an empty file that is made for it.
fn bind_node(dev: &Root, name: &Path, node: OwnedFd) -> Result<()> {
    if let Some(parent) = name.parent() {
        dev.mkdir_all(parent, 0o755)?;
    }
    if sys::fs::optional(dev.stat(name))?.is_none() {
        dev.create(name, 0o644)?;
    }
    attach(mount::bind_fd(node, name, false)?, dev, name)
}

/// Where the usual nodes come from.
enum Nodes {
    /// Nodes that we made.
    Ours(Root),
    /// The host's.
    Host(Root),
}

impl Nodes {
    fn make(stage: &Root) -> Result<Self> {
        let place = Path::new("nodes");
        stage.mkdir(place, 0o755)?;
        attach(
            mount::tmpfs(
                &[("size", "64k"), ("mode", "0755")],
                Attributes {
                    nosuid: true,
                    ..Attributes::default()
                },
            )?,
            stage,
            place,
        )?;
        let ours = stage.open_dir(place)?;
        match USUAL.iter().try_for_each(|(name, major, minor)| {
            ours.mknod(name.as_ref(), Kind::CharDevice, 0o666, (*major, *minor))?;
            ours.chmod(name.as_ref(), 0o666)
        }) {
            Ok(()) => Ok(Self::Ours(ours)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Self::Host(Root::open("/dev".as_ref())?))
            }
            Err(error) => Err(error),
        }
    }

    fn get(&self, name: &str, major: u32, minor: u32) -> Result<OwnedFd> {
        let (Self::Ours(root) | Self::Host(root)) = self;
        let stat = root.stat(name.as_ref())?;
        if stat.kind != Kind::CharDevice || stat.rdev != (major, minor) {
            let source = io::Error::other("it is not the device of that name");
            return Err(Error::new("use", Path::new("/dev").join(name), source));
        }
        root.handle(name.as_ref())
    }
}

/// `--device`: a device of the host under a name in `/dev`.
fn host_device(dev: &Root, source: &Path, target: &Path) -> Result<()> {
    let host = Root::open("/".as_ref())?;
    let handle = host.handle_following(source)?;
    let kind = host.metadata(source)?.kind;
    if !matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        return Err(Error::new(
            "use",
            source,
            io::Error::new(io::ErrorKind::InvalidInput, "it is not a device"),
        ));
    }
    bind_node(dev, target.strip_prefix("/dev").unwrap_or(target), handle)
}

/// Gives a privileged container all devices of the host, as nodes of its own.
fn copy_all(host: &Root, dev: &Root) -> Result<()> {
    let mut pending = vec![PathBuf::new()];
    let mut count = 0;
    while let Some(directory) = pending.pop() {
        for entry in host.read_dir(&directory)? {
            let path = directory.join(&entry.name);
            let known = dev.stat(&path).is_ok();
            match entry.kind {
                // What is mounted there is its own, and so are these here.
                Kind::Dir if !known && entry.name != "shm" && entry.name != "mqueue" => {
                    pending.push(path)
                }
                Kind::CharDevice | Kind::BlockDevice if !known && count < MOST => {
                    count += 1;
                    copy_one(host, dev, &path)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn copy_one(host: &Root, dev: &Root, path: &Path) -> Result<()> {
    // Devices come and go while we look.
    let Some(stat) = sys::fs::optional(host.stat(path))? else {
        return Ok(());
    };
    if let Some(parent) = path.parent() {
        dev.mkdir_all(parent, 0o755)?;
    }
    match dev.mknod(path, stat.kind, stat.mode, stat.rdev) {
        Ok(()) => {
            dev.chmod(path, stat.mode)?;
            dev.chown(path, stat.uid, stat.gid)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bind_node(dev, path, host.handle(path)?)
        }
        Err(error) => Err(error),
    }
}
