//! A directory tree that no path can leave.
//!
//! [`Root`] holds an open directory. Every path given to it, hostile or not, is resolved by the kernel (`openat2`) inside
//! that directory: an absolute symbolic link starts again at the root, `..` at the root stays there, and the links of
//! `/proc` that jump anywhere are refused. No string of a path is ever checked instead, so there is no race to win.
//!
//! The last component is **not** followed by anything that creates, changes or removes; only [`Root::open_file`],
//! [`Root::open_dir`], [`Root::read_dir`] and [`Root::metadata`] follow it, inside the root. So `chmod`, `chown`, times and attributes
//! of a symbolic link never reach what it points to.
//!
//! With [`Links::Refuse`] no link at all is followed on the way: for trees in which a link in a directory's place is
//! an attack and not a layout.
//!
//! A path of one component costs no resolution; to work on many names of one directory, take [`Root::open_dir`] once.

mod attributes;
mod pinned;
mod value;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::fs::{Context, Error, Result};

pub use pinned::Pinned;
pub use value::{Entry, Kind, Stat, Time};

/// What happens to symbolic links on the way to the last component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are followed and stay inside the root.
    InRoot,
    /// They are an error (`ELOOP`).
    Refuse,
}

/// An open directory as the root of every path.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    links: Links,
}

/// How [`Root::open_file_with`] opens.
pub type Flags = OFlags;

/// A parent directory and the name in it.
enum Place<'a> {
    Name(Parent<'a>, &'a OsStr),
    /// The path names the root itself.
    Root,
}

enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => fd.as_fd(),
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

impl Root {
    /// Opens a directory of ours as a root; links in `path` itself are followed.
    ///
    /// # Errors
    ///
    /// It is missing, not a directory, or may not be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .context("open the directory", path)?;
        Ok(Self::from_fd(dir, path))
    }

    /// Takes an open directory as a root; `path` is only for messages.
    #[must_use]
    pub fn from_fd(dir: OwnedFd, path: impl Into<PathBuf>) -> Self {
        Self {
            dir,
            path: path.into(),
            links: Links::InRoot,
        }
    }

    /// The same root with another rule for links on the way.
    #[must_use]
    pub fn with_links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Where the root was opened; for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory below, following a link inside the root, as a root of its own: `..` stops there.
    ///
    /// # Errors
    ///
    /// It is missing, not a directory, or may not be opened.
    pub fn open_dir(&self, path: &Path) -> Result<Self> {
        let dir = self
            .resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .context("open the directory", &self.full(path))?;
        Ok(Self {
            dir,
            path: self.full(path),
            links: self.links,
        })
    }

    /// Opens a regular file for reading, following a link inside the root.
    ///
    /// A device or a named pipe is an error and is never opened, so this cannot hang or disturb hardware.
    ///
    /// # Errors
    ///
    /// It is missing or not a regular file (`InvalidInput`).
    pub fn open_file(&self, path: &Path) -> Result<File> {
        self.open_regular(path, OFlags::RDONLY)
            .context("open", &self.full(path))
    }

    /// Opens a regular file with `flags`, following a link inside the root; never creates.
    ///
    /// # Errors
    ///
    /// As [`Root::open_file`].
    pub fn open_file_with(&self, path: &Path, flags: Flags) -> Result<File> {
        self.open_regular(path, flags - OFlags::CREATE)
            .context("open", &self.full(path))
    }

    /// A handle on the name itself (`O_PATH`), a link not followed.
    ///
    /// # Errors
    ///
    /// It is missing.
    pub fn handle(&self, path: &Path) -> Result<OwnedFd> {
        self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW)
            .context("open", &self.full(path))
    }

    /// A handle (`O_PATH`) on what the path leads to, a link followed inside the root.
    ///
    /// # Errors
    ///
    /// It is missing.
    pub fn handle_following(&self, path: &Path) -> Result<OwnedFd> {
        self.resolve(path, OFlags::PATH)
            .context("open", &self.full(path))
    }

    /// Creates a file that must not exist yet, for reading and writing.
    ///
    /// # Errors
    ///
    /// The name is taken, by a dangling link too.
    pub fn create(&self, path: &Path, mode: u32) -> Result<File> {
        self.named("create", path, |parent, name| {
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode)).map(File::from)
        })
    }

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// The name is taken or the parent missing.
    pub fn mkdir(&self, path: &Path, mode: u32) -> Result<()> {
        self.named("create the directory", path, |parent, name| {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))
        })
    }

    /// Makes a directory and its missing parents, through links inside the root, and tells which it made, top first.
    ///
    /// # Errors
    ///
    /// A component is not a directory, or making one failed; those made so far stay.
    pub fn mkdir_all(&self, path: &Path, mode: u32) -> Result<Vec<PathBuf>> {
        let mut made = Vec::new();
        let mut so_far = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => so_far.push(name),
                Component::ParentDir => so_far.push(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            }
            if self
                .resolve(&so_far, OFlags::PATH | OFlags::DIRECTORY)
                .is_ok()
            {
                continue;
            }
            match self.mkdir(&so_far, mode) {
                Ok(()) => made.push(so_far.clone()),
                // Somebody else made it, or it is a link or a file: the open below tells.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY;
                    self.resolve(&so_far, flags)
                        .context("create the directory", &self.full(&so_far))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    /// Makes a symbolic link at `path` with the text `target`, which is not looked at.
    ///
    /// # Errors
    ///
    /// The name is taken or the parent missing.
    pub fn symlink(&self, target: &OsStr, path: &Path) -> Result<()> {
        self.named("create the link", path, |parent, name| {
            rustix::fs::symlinkat(target, parent, name)
        })
    }

    /// Gives the file `from` a second name; a link at `from` is itself linked, not followed.
    ///
    /// # Errors
    ///
    /// `from` is missing or a directory, or the new name is taken.
    pub fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let full = self.full(to);
        let (Place::Name(from_parent, from_name), Place::Name(to_parent, to_name)) = (
            self.place(from).context("link", &self.full(from))?,
            self.place(to).context("link", &full)?,
        ) else {
            return Err(Error::new("link", full, io::ErrorKind::InvalidInput.into()));
        };
        rustix::fs::linkat(from_parent, from_name, to_parent, to_name, AtFlags::empty())
            .context("link", &full)
    }

    /// Makes a device, a named pipe or a socket.
    ///
    /// # Errors
    ///
    /// The name is taken, `kind` is none of these, or the privilege is missing.
    pub fn mknod(&self, path: &Path, kind: Kind, mode: u32, rdev: (u32, u32)) -> Result<()> {
        let raw = match kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::File | Kind::Dir | Kind::Symlink => {
                return Err(Error::new(
                    "create the node",
                    self.full(path),
                    io::ErrorKind::InvalidInput.into(),
                ));
            }
        };
        self.named("create the node", path, |parent, name| {
            rustix::fs::mknodat(
                parent,
                name,
                raw,
                Mode::from_raw_mode(mode),
                rustix::fs::makedev(rdev.0, rdev.1),
            )
        })
    }

    /// Removes a name that is not a directory.
    ///
    /// # Errors
    ///
    /// It is missing or a directory.
    pub fn unlink(&self, path: &Path) -> Result<()> {
        self.named("remove", path, |parent, name| {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// It is missing, not a directory, or not empty.
    pub fn rmdir(&self, path: &Path) -> Result<()> {
        self.named("remove the directory", path, |parent, name| {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        })
    }

    /// Removes a name and all below it; links are removed, never followed. A missing name is not an error.
    ///
    /// # Errors
    ///
    /// Something could not be removed; what was removed before is gone.
    pub fn remove_all(&self, path: &Path) -> Result<()> {
        match self.unlink(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if !is_directory_error(&error) => return Err(error),
            Err(_) => {}
        }
        // Directories still to be emptied, deepest last, so that depth costs memory and not stack.
        let mut pending = vec![path.to_path_buf()];
        while let Some(next) = pending.last().cloned() {
            let dir =
                match self.resolve(&next, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                    Ok(dir) => dir,
                    Err(Errno::NOENT) => {
                        pending.pop();
                        continue;
                    }
                    Err(errno) => {
                        return Err(Error::new(
                            "open the directory",
                            self.full(&next),
                            errno.into(),
                        ));
                    }
                };
            let inside = Self {
                dir,
                path: self.full(&next),
                links: Links::Refuse,
            };
            let mut deeper = Vec::new();
            for entry in inside.entries()? {
                let name = Path::new(&entry.name);
                match inside.unlink(name) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if is_directory_error(&error) => match inside.rmdir(name) {
                        Ok(()) => {}
                        Err(_) => deeper.push(next.join(name)),
                    },
                    Err(error) => return Err(error),
                }
            }
            if deeper.is_empty() {
                self.rmdir(&next)?;
                pending.pop();
            }
            pending.append(&mut deeper);
        }
        Ok(())
    }

    /// Renames, replacing what has the new name; links at either end are not followed.
    ///
    /// # Errors
    ///
    /// `from` is missing, or what is there cannot be replaced.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let full = self.full(from);
        let (Place::Name(from_parent, from_name), Place::Name(to_parent, to_name)) = (
            self.place(from).context("rename", &full)?,
            self.place(to).context("rename", &self.full(to))?,
        ) else {
            return Err(Error::new(
                "rename",
                full,
                io::ErrorKind::InvalidInput.into(),
            ));
        };
        rustix::fs::renameat_with(
            from_parent,
            from_name,
            to_parent,
            to_name,
            RenameFlags::empty(),
        )
        .context("rename", &full)
    }

    /// The names in a directory, without `.` and `..`, in the order of the file system.
    ///
    /// # Errors
    ///
    /// It is missing or not a directory.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<Entry>> {
        self.open_dir(path)?.entries()
    }

    /// The names in the root directory itself.
    ///
    /// # Errors
    ///
    /// Reading failed.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir =
            rustix::fs::openat(&self.dir, ".", flags, Mode::empty()).context("list", &self.path)?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut found = Vec::new();
        let mut iter = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(entry) = iter.next() {
            let entry = entry.context("list", &self.path)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match Kind::from_type(entry.file_type()) {
                Some(kind) => kind,
                None => match present(self.stat(Path::new(name)))? {
                    Some(stat) => stat.kind,
                    // Removed since it was listed.
                    None => continue,
                },
            };
            found.push(Entry {
                name: name.to_os_string(),
                kind,
            });
        }
        Ok(found)
    }

    /// What is known about the name itself, a link not followed.
    ///
    /// # Errors
    ///
    /// It is missing.
    pub fn stat(&self, path: &Path) -> Result<Stat> {
        self.at("stat", path, |parent, name, flags| {
            rustix::fs::statat(parent, name, flags)
        })
        .map(|raw| Stat::from_raw(&raw))
    }

    /// What is known about what the path leads to, a link followed inside the root.
    ///
    /// # Errors
    ///
    /// It is missing, or a link is dangling.
    pub fn metadata(&self, path: &Path) -> Result<Stat> {
        let full = self.full(path);
        let handle = self.resolve(path, OFlags::PATH).context("stat", &full)?;
        Ok(Stat::from_raw(
            &rustix::fs::fstat(handle).context("stat", &full)?,
        ))
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    ///
    /// It is missing or not a link.
    pub fn read_link(&self, path: &Path) -> Result<OsString> {
        self.named("read the link", path, |parent, name| {
            rustix::fs::readlinkat(parent, name, Vec::new())
        })
        .map(|text| OsStr::from_bytes(text.as_bytes()).to_os_string())
    }

    fn open_regular(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        reopen_regular(&self.resolve(path, OFlags::PATH)?, flags)
    }

    fn full(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens `path` inside the root. The only place where a path of several components meets the kernel.
    fn resolve(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let (path, resolve) = match self.links {
            Links::InRoot => (path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS),
            Links::Refuse => {
                let relative = path.strip_prefix("/").unwrap_or(path);
                (
                    relative,
                    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
                )
            }
        };
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        loop {
            match rustix::fs::openat2(
                &self.dir,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                // A rename went on elsewhere while `..` was resolved: the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn place<'a>(&'a self, path: &'a Path) -> rustix::io::Result<Place<'a>> {
        let mut components = path.components();
        match components.next_back() {
            None | Some(Component::RootDir | Component::CurDir) => Ok(Place::Root),
            Some(Component::Normal(name)) => {
                let parent = components.as_path();
                if parent.as_os_str().is_empty() || parent == Path::new("/") {
                    return Ok(Place::Name(Parent::Root(self.dir.as_fd()), name));
                }
                let fd = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
                Ok(Place::Name(Parent::Below(fd), name))
            }
            Some(Component::ParentDir | Component::Prefix(_)) => Err(Errno::INVAL),
        }
    }

    /// Runs `call` on parent and last name; the root itself is refused.
    fn named<T>(
        &self,
        verb: &'static str,
        path: &Path,
        call: impl FnOnce(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let result = self.place(path).and_then(|place| match place {
            Place::Name(parent, name) => call(parent.as_fd(), name),
            Place::Root => Err(Errno::EXIST),
        });
        result.map_err(|errno| Error::new(verb, self.full(path), errno.into()))
    }

    /// As [`Root::named`], and the root itself is a valid object.
    fn at<T>(
        &self,
        verb: &'static str,
        path: &Path,
        call: impl FnOnce(BorrowedFd<'_>, &OsStr, AtFlags) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let result = self.place(path).and_then(|place| match place {
            Place::Name(parent, name) => call(parent.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW),
            Place::Root => call(self.dir.as_fd(), OsStr::new("."), AtFlags::empty()),
        });
        result.map_err(|errno| Error::new(verb, self.full(path), errno.into()))
    }

    /// As [`Root::at`], for calls that know only paths: the parent is reached through its descriptor.
    fn magic_path<T>(
        &self,
        verb: &'static str,
        path: &Path,
        call: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T> {
        let result = match self.place(path) {
            Ok(Place::Name(parent, name)) => call(&magic(&parent).join(name)),
            Ok(Place::Root) => call(&magic(&self.dir).join(".")),
            Err(errno) => Err(errno.into()),
        };
        result.map_err(|source| Error::new(verb, self.full(path), source))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// `None` for a name that is not there, or not any more: it is missing, or a directory on its way is, or is no directory any more.
///
/// # Errors
///
/// Every other one.
pub fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.source.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The path under which `/proc` shows an open file of this process, for calls that take only a path.
#[must_use]
pub fn magic(fd: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Opens what a handle is on, if it is a regular file: a device or a named pipe is never opened.
fn reopen_regular(handle: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let stat = rustix::fs::fstat(handle)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
    }
    let flags = (flags | OFlags::CLOEXEC) - OFlags::NOFOLLOW;
    Ok(rustix::fs::open(magic(handle), flags, Mode::empty())?.into())
}

/// `u32::MAX` means "leave as it is" to the kernel and is no id.
fn valid_id(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

fn is_directory_error(error: &Error) -> bool {
    matches!(
        error.source.raw_os_error(),
        Some(libc::EISDIR | libc::EPERM)
    )
}

#[cfg(test)]
mod tests;
