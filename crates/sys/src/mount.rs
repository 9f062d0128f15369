//! Mounts, made detached and then attached, so that nothing half-made is ever visible.
//!
//! A [`Detached`] mount belongs to the file descriptor: if the process dies before [`Detached::attach`], the mount is gone.
//! Errors carry what the kernel wrote into the mount context's log where it wrote something.
//!
//! Nothing here decides what to mount; callers are expected to sit in a mount namespace of their own.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::fs::{Context, Error, Result};
use crate::loop_device;
use crate::root::magic;

/// Lower layers that overlayfs takes in one mount (`OVL_MAX_STACK`).
pub const MAX_LOWERS: usize = 500;

/// Longest string that `fsconfig` takes, with its end.
const LONGEST_OPTION: usize = 256;

/// `mount(2)` reads at most one page of options.
const LONGEST_DATA: usize = 4095;

/// Restrictions of one mount point (not of the file system behind it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// No writes.
    pub readonly: bool,
    /// Setuid bits and file capabilities have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Files cannot be executed.
    pub noexec: bool,
}

impl Attributes {
    /// Read-only and nothing else.
    pub const READONLY: Self = Self {
        readonly: true,
        nosuid: false,
        nodev: false,
        noexec: false,
    };

    fn flags(self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.readonly);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.nosuid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.nodev);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.noexec);
        flags
    }
}

/// A mount that is not in the tree yet; dropping it undoes it.
#[derive(Debug)]
#[must_use = "a detached mount is gone when it is dropped"]
pub struct Detached {
    fd: OwnedFd,
    what: PathBuf,
}

impl Detached {
    /// Takes a mount held by a descriptor; `what` is for messages.
    #[must_use = "a detached mount is gone when it is dropped"]
    pub fn from_fd(fd: OwnedFd, what: impl Into<PathBuf>) -> Self {
        Self {
            fd,
            what: what.into(),
        }
    }

    /// Puts the mount on the directory or file `target`.
    ///
    /// # Errors
    ///
    /// `target` is missing or of the wrong kind, or the privilege is.
    pub fn attach(self, target: &Path) -> Result<()> {
        rustix::mount::move_mount(
            &self.fd,
            "",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .context("mount on", target)
    }

    /// Puts the mount on what `target` holds open; `path` is for messages. No path is resolved.
    ///
    /// # Errors
    ///
    /// As [`Detached::attach`].
    pub fn attach_to(self, target: impl AsFd, path: &Path) -> Result<()> {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, "", target, "", flags).context("mount on", path)
    }

    /// Adds restrictions to this mount and, if `recursive`, to all mounts below it.
    ///
    /// # Errors
    ///
    /// The kernel has no `mount_setattr` (before 5.12), or refuses.
    pub fn restrict(&self, attributes: Attributes, recursive: bool) -> Result<()> {
        set_attributes(
            self.fd.as_fd(),
            attributes.flags().bits().into(),
            0,
            0,
            recursive,
        )
        .context("restrict the mount of", &self.what)
    }

    /// Cuts the mount, and all below it if `recursive`, from the propagation of the one that it was cloned from.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn make_private(&self, recursive: bool) -> Result<()> {
        let private = u64::from(MountPropagationFlags::PRIVATE.bits());
        set_attributes(self.fd.as_fd(), 0, 0, private, recursive)
            .context("make private the mount of", &self.what)
    }
}

impl AsFd for Detached {
    /// The root of the mount, good for `openat` and friends before it is attached.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Detached> for OwnedFd {
    fn from(mount: Detached) -> Self {
        mount.fd
    }
}

/// Mounts an EROFS image that is a plain file, with the files that hold its data.
///
/// # Errors
///
/// The image is damaged, or this kernel cannot mount it from plain files (before 6.12), or the privilege is missing.
pub fn erofs(index: &Path, devices: &[PathBuf]) -> Result<Detached> {
    let context = FileSystem::open("erofs", index)?;
    let index_fd = pin(index)?;
    context.set("source", magic(&index_fd))?;
    // The kernel opens the files while it handles `create`, so the descriptors must live until then.
    let mut pinned = Vec::with_capacity(devices.len());
    for device in devices {
        let fd = pin(device)?;
        context.set("device", magic(&fd))?;
        pinned.push(fd);
    }
    context.create(Attributes::READONLY)
}

/// As [`erofs`], with a loop device for each file: for kernels that mount EROFS only from block devices. The devices go with the
/// mount.
///
/// # Errors
///
/// As [`erofs`], and as [`loop_device::attach`].
pub fn erofs_through_loops(index: &Path, devices: &[PathBuf]) -> Result<Detached> {
    let context = FileSystem::open("erofs", index)?;
    let looped = |path: &Path| {
        let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context("open", path)?;
        loop_device::attach(&file, path)
    };
    // Otherwise the kernel opens the device for writing.
    context.flag("ro")?;
    let source = looped(index)?;
    context.set("source", magic(&source))?;
    // From `create` on the mount holds the devices, which until then only the descriptors do.
    let mut held = Vec::with_capacity(devices.len());
    for device in devices {
        let fd = looped(device)?;
        context.set("device", magic(&fd))?;
        held.push(fd);
    }
    context.create(Attributes::READONLY)
}

/// An overlay: `lowers` topmost first, and `upper` with `work` unless it is read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Layers below, the topmost first; at most [`MAX_LOWERS`].
    pub lowers: Vec<PathBuf>,
    /// Where changes go, and the kernel's scratch directory on the same file system.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Keep marks in `user.overlay.*` instead of `trusted.overlay.*`, as a user namespace needs it.
    pub userxattr: bool,
    /// Skip all syncing of the upper directory; what a crash leaves there is worthless.
    pub volatile: bool,
}

impl Overlay {
    /// Mounts it detached.
    ///
    /// # Errors
    ///
    /// A directory is missing or unsuitable, there are too many lowers for this kernel, or the privilege is missing.
    pub fn mount(&self) -> Result<Detached> {
        let name = self
            .upper
            .as_ref()
            .map_or_else(|| PathBuf::from("overlay"), |(upper, _)| upper.clone());
        if self.lowers.len() > MAX_LOWERS {
            let message = format!(
                "{} lower layers, and the kernel takes {MAX_LOWERS}",
                self.lowers.len()
            );
            return Err(Error::new(
                "mount the overlay of",
                name,
                io::Error::new(io::ErrorKind::InvalidInput, message),
            ));
        }
        let context = FileSystem::open("overlay", &name)?;
        context.set("source", "overlay")?;
        let mut pinned = Vec::with_capacity(self.lowers.len() + 2);
        self.set_lowers(&context, &mut pinned)?;
        if let Some((upper, work)) = &self.upper {
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                let fd = pin(path)?;
                context.set(key, magic(&fd))?;
                pinned.push(fd);
            }
        }
        if self.userxattr {
            context.flag("userxattr")?;
        }
        if self.volatile && self.upper.is_some() {
            context.flag("volatile")?;
        }
        context.create(Attributes::default())
    }

    /// One `lowerdir+` a layer; kernels before 6.8 take one `lowerdir`, and then only as many as fit in its length.
    fn set_lowers(&self, context: &FileSystem<'_>, pinned: &mut Vec<OwnedFd>) -> Result<()> {
        let mut joined = Vec::new();
        for lower in &self.lowers {
            let fd = pin(lower)?;
            joined.push(magic(&fd));
            pinned.push(fd);
        }
        let mut layers = joined.iter();
        let Some(first) = layers.next() else {
            return Ok(());
        };
        match context.try_set("lowerdir+", first) {
            Ok(()) => layers.try_for_each(|layer| context.set("lowerdir+", layer)),
            Err(Errno::INVAL) => {
                let texts: Vec<_> = joined
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                context.set("lowerdir", texts.join(":"))
            }
            Err(errno) => Err(context.failed(errno)),
        }
    }

    /// Mounts it on `target` with the classic call, whose options fill at most one page: for kernels where
    /// [`Overlay::mount`] cannot take so many lowers. Short relative paths make the most of the page.
    ///
    /// # Errors
    ///
    /// As [`Overlay::mount`].
    pub fn mount_classic(&self, target: &Path) -> Result<()> {
        let mut data = b"lowerdir=".to_vec();
        for (index, lower) in self.lowers.iter().enumerate() {
            if index > 0 {
                data.push(b':');
            }
            escape(lower, &mut data);
        }
        if let Some((upper, work)) = &self.upper {
            data.extend(b",upperdir=");
            escape(upper, &mut data);
            data.extend(b",workdir=");
            escape(work, &mut data);
        }
        if self.userxattr {
            data.extend(b",userxattr");
        }
        if self.volatile && self.upper.is_some() {
            data.extend(b",volatile");
        }
        if data.len() > LONGEST_DATA {
            let message = format!(
                "its options take {} bytes, and the kernel reads {LONGEST_DATA}",
                data.len()
            );
            let source = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Err(Error::new("mount an overlay on", target, source));
        }
        let data = CString::new(data)
            .map_err(|error| Error::new("mount an overlay on", target, error.into()))?;
        rustix::mount::mount(
            "overlay",
            target,
            "overlay",
            MountFlags::empty(),
            data.as_c_str(),
        )
        .context("mount an overlay on", target)
    }
}

/// A new memory file system; `options` are `(name, value)` as in `tmpfs(5)`.
///
/// # Errors
///
/// An option is unknown or the privilege is missing.
pub fn tmpfs(options: &[(&str, &str)], attributes: Attributes) -> Result<Detached> {
    file_system("tmpfs", "tmpfs", options, attributes)
}

/// A new mount of any file system that needs no files: `proc`, `sysfs`, `devpts`, `mqueue`, `cgroup2`.
///
/// # Errors
///
/// The kernel has no such file system, an option is unknown, or the privilege is missing.
pub fn file_system(
    kind: &str,
    source: &str,
    options: &[(&str, &str)],
    attributes: Attributes,
) -> Result<Detached> {
    let name = PathBuf::from(kind);
    let context = FileSystem::open(kind, &name)?;
    context.set("source", source)?;
    for (key, value) in options {
        if value.is_empty() {
            context.flag(key)?;
        } else {
            context.set(key, *value)?;
        }
    }
    context.create(attributes)
}

/// A second view of what `path` names (a link followed), with the mounts below it if `recursive`.
///
/// # Errors
///
/// It is missing or the privilege is.
pub fn bind(path: &Path, recursive: bool) -> Result<Detached> {
    bind_at(CWD, path, recursive)
        .context("bind", path)
        .map(|fd| Detached {
            fd,
            what: path.into(),
        })
}

/// As [`bind`], of what `fd` holds open; `path` is for messages.
///
/// # Errors
///
/// The privilege is missing.
pub fn bind_fd(fd: impl AsFd, path: &Path, recursive: bool) -> Result<Detached> {
    bind_at(fd.as_fd(), Path::new(""), recursive)
        .context("bind", path)
        .map(|fd| Detached {
            fd,
            what: path.into(),
        })
}

fn bind_at(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(dir, path, flags)
}

/// How mounts made elsewhere reach this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From there to here only.
    Slave,
    /// Both ways.
    Shared,
}

/// Sets the propagation of the mount at `path`, and of all below it if `recursive`.
///
/// # Errors
///
/// `path` is no mount point or the privilege is missing.
pub fn set_propagation(path: &Path, propagation: Propagation, recursive: bool) -> Result<()> {
    let mut flags = match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
    };
    flags.set(MountPropagationFlags::REC, recursive);
    rustix::mount::mount_change(path, flags).context("set the propagation of", path)
}

/// Adds restrictions to the mount at `path`, and to all below it if `recursive`.
///
/// # Errors
///
/// `path` is no mount point, or the privilege is missing.
pub fn restrict(path: &Path, attributes: Attributes, recursive: bool) -> Result<()> {
    let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context("open", path)?;
    set_attributes(
        fd.as_fd(),
        attributes.flags().bits().into(),
        0,
        0,
        recursive,
    )
    .context("restrict the mount of", path)
}

/// Takes the mount at `path` and all below it out of the tree; it ends when its last user does.
///
/// # Errors
///
/// `path` is no mount point or the privilege is missing.
pub fn detach(path: &Path) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .context("unmount", path)
}

/// Makes `new_root` (a mount) the root of this mount namespace and lets go of the old one with everything on it.
///
/// # Errors
///
/// `new_root` is no mount, or the privilege is missing.
pub fn pivot_into(new_root: impl AsFd) -> Result<()> {
    let here = Path::new(".");
    rustix::process::fchdir(&new_root).context("enter", here)?;
    rustix::process::pivot_root(here, here).context("change the root to", here)?;
    // The old root now lies on top of the new one, at the same place.
    rustix::mount::unmount(here, UnmountFlags::DETACH)
        .context("unmount the old root from", here)?;
    rustix::process::chdir("/").context("enter", Path::new("/"))
}

/// An open file system context.
struct FileSystem<'a> {
    fd: OwnedFd,
    /// What the caller asked to mount; for messages.
    what: &'a Path,
}

impl<'a> FileSystem<'a> {
    fn open(kind: &str, what: &'a Path) -> Result<Self> {
        let fd = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).context("mount", what)?;
        Ok(Self { fd, what })
    }

    fn try_set(&self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> rustix::io::Result<()> {
        let value = value.as_ref();
        if value.len() >= LONGEST_OPTION {
            return Err(Errno::NAMETOOLONG);
        }
        rustix::mount::fsconfig_set_string(&self.fd, key, value)
    }

    fn set(&self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Result<()> {
        self.try_set(key, value).map_err(|errno| self.failed(errno))
    }

    fn flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.fd, key).map_err(|errno| self.failed(errno))
    }

    fn create(self, attributes: Attributes) -> Result<Detached> {
        rustix::mount::fsconfig_create(&self.fd).map_err(|errno| self.failed(errno))?;
        let fd =
            rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes.flags())
                .map_err(|errno| self.failed(errno))?;
        Ok(Detached {
            fd,
            what: self.what.into(),
        })
    }

    /// The error with the kernel's own words, if it left any.
    fn failed(&self, errno: Errno) -> Error {
        let mut log = String::new();
        let mut line = [0; 1024];
        while let Ok(length) = rustix::io::read(&self.fd, &mut line) {
            let text = String::from_utf8_lossy(line.get(2..length).unwrap_or_default());
            if !log.is_empty() {
                log.push_str("; ");
            }
            log.push_str(text.trim());
            if length == 0 || log.len() > 4096 {
                break;
            }
        }
        let cause = io::Error::from(errno);
        let source = if log.is_empty() {
            cause
        } else {
            io::Error::new(cause.kind(), format!("{cause} (the kernel says: {log})"))
        };
        Error::new("mount", self.what, source)
    }
}

fn pin(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context("open", path)
}

/// In an overlay's options `:` divides layers and `,` divides options.
fn escape(path: &Path, into: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            into.push(b'\\');
        }
        into.push(*byte);
    }
}

/// `mount_setattr` on the root of a mount.
fn set_attributes(
    fd: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> rustix::io::Result<()> {
    /// As the kernel has it (`struct mount_attr`, first version).
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attr = MountAttr {
        set,
        clear,
        propagation,
        user_namespace: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static string, and `attr` is a live value of the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace;

    /// Runs `body` on a thread with a mount namespace of its own; false if this user may not.
    fn in_namespace(body: impl FnOnce() + Send + 'static) -> bool {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return false;
        }
        std::thread::spawn(move || {
            namespace::unshare_mounts().unwrap();
            body();
        })
        .join()
        .unwrap();
        true
    }

    #[test]
    fn priv_overlay_of_many_lowers_with_odd_names() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_path_buf();
        in_namespace(move || {
            for index in 0..MAX_LOWERS {
                std::fs::create_dir_all(base.join(format!("a:b,c\\{index}"))).unwrap();
                std::fs::write(base.join(format!("a:b,c\\{index}/f{index}")), b"x").unwrap();
            }
            for name in ["upper", "work", "on"] {
                std::fs::create_dir(base.join(name)).unwrap();
            }
            let overlay = Overlay {
                lowers: (0..MAX_LOWERS)
                    .map(|index| base.join(format!("a:b,c\\{index}")))
                    .collect(),
                upper: Some((base.join("upper"), base.join("work"))),
                userxattr: false,
                volatile: true,
            };
            overlay.mount().unwrap().attach(&base.join("on")).unwrap();
            assert_eq!(
                std::fs::read_dir(base.join("on")).unwrap().count(),
                MAX_LOWERS
            );
            std::fs::write(base.join("on/f0"), b"changed").unwrap();
            assert_eq!(std::fs::read(base.join("upper/f0")).unwrap(), b"changed");
            detach(&base.join("on")).unwrap();
            let few = Overlay {
                lowers: overlay.lowers[..5].to_vec(),
                upper: None,
                userxattr: false,
                volatile: false,
            };
            few.mount_classic(&base.join("on")).unwrap();
            assert!(base.join("on/f4").exists());
            assert!(
                overlay
                    .mount_classic(&base.join("on"))
                    .unwrap_err()
                    .to_string()
                    .contains("the kernel reads")
            );
        });
    }

    #[test]
    fn priv_bind_restricted_recursively_and_tmpfs() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_path_buf();
        in_namespace(move || {
            std::fs::create_dir_all(base.join("a/below")).unwrap();
            std::fs::create_dir(base.join("b")).unwrap();
            tmpfs(&[("size", "1m"), ("mode", "0700")], Attributes::default())
                .unwrap()
                .attach(&base.join("a/below"))
                .unwrap();
            let bound = bind(&base.join("a"), true).unwrap();
            bound.restrict(Attributes::READONLY, true).unwrap();
            bound.attach(&base.join("b")).unwrap();
            std::fs::write(base.join("b/below/x"), b"").unwrap_err();
            std::fs::write(base.join("a/below/x"), b"").unwrap();
            assert!(base.join("b/below/x").exists());
        });
        assert!(
            !dir.path().join("a/below/x").exists(),
            "the mount stayed in its namespace"
        );
    }

    #[test]
    fn errors_name_what_was_mounted() {
        let error = bind(Path::new("/does/not/exist"), false).unwrap_err();
        // Without privileges the kernel does not look whether it exists.
        let text = error.to_string();
        assert!(
            text.starts_with("cannot bind `/does/not/exist`: "),
            "{text}"
        );
    }
}
