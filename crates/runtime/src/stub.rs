//! Mount points that had to be made in a root filesystem, and how they leave no trace in its layer.
//!
//! To mount `/etc/resolv.conf` there must be such a file. If the image has none, an empty one is made through the mounted
//! root, so it lands in the upper directory, and so does a copy of every parent directory on the way. After the container
//! has ended and nothing is mounted any more, [`Stubs::remove`] takes away, in the upper directory alone:
//!
//! - stubs that are still empty;
//! - the times that making the stub gave to its parent, unless the container itself changed the parent later;
//! - parent directories that are in the upper directory only because of the stub, if they are as they were below.
//!
//! A stub that the container filled stays: it is content now.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sys::fs::{Error, Result};
use sys::root::{Kind, Links, Root, Stat, Time};

/// Links followed on one path, as the kernel limits it.
const MAX_LINKS: u32 = 40;

/// What was made only to mount on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Stubs {
    /// Paths without links from the root, parents before children; true for directories.
    made: Vec<(PathBuf, bool)>,
    /// Times of directories that got a new name in them, before and after.
    touched: BTreeMap<PathBuf, (Timestamp, Timestamp)>,
    /// Directories that were only in the layers below, as they were there.
    copied: BTreeMap<PathBuf, Looks>,
}

type Timestamp = (i64, u32);

/// What makes a copied directory the same as the one below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Looks {
    fn of(root: &Root, path: &Path) -> Result<Self> {
        let stat = root.stat(path)?;
        let mut xattrs = root.xattrs(path)?;
        xattrs.retain(|(name, _)| {
            let name = name.as_bytes();
            !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        });
        Ok(Self {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: pair(stat.mtime),
            xattrs,
        })
    }
}

impl Stubs {
    /// Makes sure that there is a directory (or a file) at `target` inside `root`, links followed, and remembers what it
    /// made. `upper` is where changes of `root` land.
    ///
    /// # Errors
    ///
    /// A part of the path is not a directory, or making one failed.
    pub(crate) fn prepare(
        &mut self,
        root: &Root,
        upper: Option<&Root>,
        target: &Path,
        directory: bool,
    ) -> Result<()> {
        let mut real = PathBuf::new();
        let mut rest: VecDeque<OsString> = names(target).collect();
        let mut links = 0;
        let mut again = false;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            let path = real.join(&name);
            let last = rest.is_empty();
            match sys::fs::optional(root.stat(&path))?.map(|stat| stat.kind) {
                Some(Kind::Symlink) => {
                    links += 1;
                    if links > MAX_LINKS {
                        let source =
                            io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
                        return Err(Error::new("resolve", root.path().join(target), source));
                    }
                    let link = PathBuf::from(root.read_link(&path)?);
                    if link.is_absolute() {
                        real.clear();
                    }
                    for part in names(&link).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                Some(_) => real = path,
                None => match self.make(root, upper, &path, directory || !last) {
                    // Somebody else mounts on the same shared directory at the same time: look again, what it is now.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !again => {
                        again = true;
                        rest.push_front(name);
                    }
                    made => {
                        made?;
                        again = false;
                        real = path;
                    }
                },
            }
        }
        Ok(())
    }

    fn make(
        &mut self,
        root: &Root,
        upper: Option<&Root>,
        path: &Path,
        directory: bool,
    ) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if let Some(upper) = upper {
            for ancestor in parent
                .ancestors()
                .filter(|ancestor| !ancestor.as_os_str().is_empty())
            {
                if sys::fs::optional(upper.stat(ancestor))?.is_none()
                    && !self.copied.contains_key(ancestor)
                {
                    self.copied
                        .insert(ancestor.to_path_buf(), Looks::of(root, ancestor)?);
                }
            }
        }
        let before = pair(root.stat(parent)?.mtime);
        if directory {
            root.mkdir(path, 0o755)?;
        } else {
            root.create(path, 0o644)?;
        }
        let after = pair(root.stat(parent)?.mtime);
        if !self.made.iter().any(|(made, _)| made == parent) {
            self.touched
                .entry(parent.to_path_buf())
                .or_insert((before, after))
                .1 = after;
        }
        self.made.push((path.to_path_buf(), directory));
        Ok(())
    }

    /// Undoes everything in `upper`, as the module says. Call it when nothing is mounted on the tree any more.
    ///
    /// What the container put a link in the way of is left alone: no link is followed.
    ///
    /// # Errors
    ///
    /// The upper directory cannot be read or changed.
    pub(crate) fn remove(&self, upper: Root) -> Result<()> {
        let upper = &upper.with_links(Links::Refuse);
        let mut untouched = Vec::new();
        for (path, (before, after)) in &self.touched {
            match look(upper, path)? {
                Some(stat) if pair(stat.mtime) == *after => untouched.push((path, *before)),
                _ => {}
            }
        }
        for (path, directory) in self.made.iter().rev() {
            let Some(stat) = look(upper, path)? else {
                continue;
            };
            let empty = if *directory {
                stat.kind == Kind::Dir
            } else {
                stat.kind == Kind::File && stat.size == 0
            };
            if empty {
                remove_quietly(upper, path, *directory)?;
            }
        }
        for (path, (secs, nanos)) in untouched {
            upper.set_mtime(path, Time { secs, nanos })?;
        }
        for (path, looks) in self.copied.iter().rev() {
            let is_directory = look(upper, path)?.is_some_and(|stat| stat.kind == Kind::Dir);
            if is_directory && Looks::of(upper, path)? == *looks {
                remove_quietly(upper, path, true)?;
            }
        }
        Ok(())
    }
}

/// What is at a path, unless something other than directories is on the way.
fn look(upper: &Root, path: &Path) -> Result<Option<Stat>> {
    match upper.stat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) => match Errno::from_io_error(&error.source) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Removes a file or an empty directory and leaves the times of its parent; a directory that is not empty stays.
fn remove_quietly(upper: &Root, path: &Path, directory: bool) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let time = upper.stat(parent)?.mtime;
    let gone = if directory {
        upper.rmdir(path).is_ok()
    } else {
        upper.unlink(path).is_ok()
    };
    if gone {
        upper.set_mtime(parent, time)
    } else {
        Ok(())
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn pair(time: Time) -> Timestamp {
    (time.secs, time.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn again(root: &Root) -> Root {
        Root::open(root.path()).unwrap()
    }

    fn p(path: &str) -> &Path {
        Path::new(path)
    }

    #[test]
    fn stubs_go_and_times_come_back() {
        let (_dir, root) = tree();
        root.mkdir(p("etc"), 0o755).unwrap();
        let old = Time {
            secs: 1000,
            nanos: 5,
        };
        root.set_mtime(p("etc"), old).unwrap();
        root.set_mtime(p("/"), old).unwrap();
        let mut stubs = Stubs::default();
        stubs.prepare(&root, None, p("/etc/hosts"), false).unwrap();
        stubs
            .prepare(&root, None, p("/etc/hostname"), false)
            .unwrap();
        stubs
            .prepare(&root, None, p("/run/secrets/x"), false)
            .unwrap();
        stubs.prepare(&root, None, p("/proc"), true).unwrap();
        assert!(root.stat(p("run/secrets/x")).is_ok());
        stubs.remove(again(&root)).unwrap();
        assert_eq!(root.entries().unwrap().len(), 1);
        assert!(root.read_dir(p("etc")).unwrap().is_empty());
        assert_eq!(root.stat(p("etc")).unwrap().mtime, old);
        assert_eq!(root.stat(p("/")).unwrap().mtime, old);
    }

    #[test]
    fn what_the_container_did_stays() {
        let (_dir, root) = tree();
        root.mkdir(p("etc"), 0o755).unwrap();
        root.set_mtime(
            p("etc"),
            Time {
                secs: 1000,
                nanos: 5,
            },
        )
        .unwrap();
        let mut stubs = Stubs::default();
        stubs.prepare(&root, None, p("/etc/filled"), false).unwrap();
        stubs.prepare(&root, None, p("/cache"), true).unwrap();
        std::io::Write::write_all(
            &mut root
                .open_file_with(p("etc/filled"), rustix::fs::OFlags::WRONLY)
                .unwrap(),
            b"x",
        )
        .unwrap();
        root.create(p("etc/new"), 0o644).unwrap();
        root.create(p("cache/kept"), 0o644).unwrap();
        let changed = Time {
            secs: 2000,
            nanos: 1,
        };
        root.set_mtime(p("etc"), changed).unwrap();
        stubs.remove(again(&root)).unwrap();
        assert!(root.stat(p("etc/filled")).is_ok());
        assert!(root.stat(p("cache/kept")).is_ok());
        assert_eq!(root.stat(p("etc")).unwrap().mtime, changed);
    }

    #[test]
    fn links_are_followed_inside_and_loops_end() {
        let (_dir, root) = tree();
        root.mkdir(p("etc"), 0o755).unwrap();
        root.symlink("../run/resolve/stub".as_ref(), p("etc/resolv.conf"))
            .unwrap();
        root.symlink("/loop".as_ref(), p("loop")).unwrap();
        let mut stubs = Stubs::default();
        stubs
            .prepare(&root, None, p("/etc/resolv.conf"), false)
            .unwrap();
        assert_eq!(root.stat(p("run/resolve/stub")).unwrap().kind, Kind::File);
        assert_eq!(
            stubs
                .prepare(&root, None, p("/loop/x"), true)
                .unwrap_err()
                .source
                .raw_os_error(),
            Some(40)
        );
        stubs.remove(again(&root)).unwrap();
        assert!(root.stat(p("run")).is_err());
        assert_eq!(root.stat(p("etc/resolv.conf")).unwrap().kind, Kind::Symlink);
    }
}
