//! The files of a build in a folder: `type=local`.
//!
//! The folder is somebody's: what is in it stays unless the build has something of the same name. No link in it is followed, and
//! no file in it is written to in place, since it might have a second name elsewhere: it is removed and made anew.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use layer::{FileType, IndexError, Part, Stat, View};
use sys::fs::Context as _;
use sys::root::{Kind, Links, Root, Time};

use super::OutputError;
use crate::Error;

/// Writes trees into one folder.
#[derive(Debug)]
pub(super) struct Writer {
    root: Root,
    /// The platform that each file comes from, where those of all go to one place.
    written: BTreeMap<Vec<u8>, String>,
}

impl Writer {
    /// Opens the folder, which is made if it is missing.
    pub(super) fn create(folder: &Path) -> Result<Self, Error> {
        sys::fs::create_dir_all(folder)?;
        Ok(Self {
            root: Root::open(folder)?.with_links(Links::Refuse),
            written: BTreeMap::new(),
        })
    }

    /// Writes a tree below `folder`, or into the root. Everything belongs to who runs this; `time` replaces the times of
    /// all files.
    pub(super) fn write(
        &mut self,
        view: &View,
        folder: &str,
        platform: &str,
        time: Option<i64>,
    ) -> Result<(), Error> {
        let failed = |source: IndexError| Error::Read {
            image: "the result".to_owned(),
            source,
        };
        if !folder.is_empty() {
            self.directory(Path::new(folder))?;
            self.root.chmod(Path::new(folder), 0o755)?;
        }
        let Some(root) = view.root().map_err(failed)? else {
            return Ok(());
        };
        let mut first: HashMap<Part, PathBuf> = HashMap::new();
        let mut directories = Vec::new();
        for entry in view.walk(b"", root) {
            let (name, node) = entry.map_err(failed)?;
            let stat = view.stat(&node).map_err(failed)?;
            let path = Path::new(folder).join(OsStr::from_bytes(&name));
            if stat.kind == FileType::Dir {
                self.directory(&path)?;
                directories.push((path, stat));
                continue;
            }
            self.only_once(&name, folder, platform)?;
            self.clear(&path)?;
            if stat.nlink > 1
                && let Some(first) = first.get(&node.top())
            {
                self.root.hard_link(first, &path)?;
                continue;
            }
            match stat.kind {
                FileType::File => {
                    let mut file = self.root.create(&path, 0o600)?;
                    let source = view.open(&node).map_err(failed)?;
                    let (data, location) = source.source();
                    let copied = sys::copy::range(data, location.offset, &mut file, location.len)
                        .context("write", &path)?;
                    if copied != location.len {
                        let short = std::io::ErrorKind::UnexpectedEof.into();
                        return Err(sys::fs::Error::new("write", &path, short).into());
                    }
                }
                FileType::Symlink => {
                    let target = view.read_link(&node).map_err(failed)?;
                    self.root.symlink(OsStr::from_bytes(&target), &path)?;
                }
                FileType::CharDevice => {
                    self.root.mknod(&path, Kind::CharDevice, 0o600, stat.rdev)?;
                }
                FileType::BlockDevice => {
                    self.root
                        .mknod(&path, Kind::BlockDevice, 0o600, stat.rdev)?;
                }
                FileType::Fifo => self.root.mknod(&path, Kind::Fifo, 0o600, (0, 0))?,
                // A view shows no deletions, and directories were dealt with.
                FileType::Dir | FileType::Whiteout => continue,
            }
            if stat.nlink > 1 {
                first.insert(node.top(), path.clone());
            }
            self.describe(&path, &stat, time)?;
        }
        // Once all below them is there, so that their times stay and read-only ones can be filled.
        for (path, stat) in directories.iter().rev() {
            self.describe(path, stat, time)?;
        }
        Ok(())
    }

    /// Refuses a file that another platform has written to the same place.
    fn only_once(&mut self, name: &[u8], folder: &str, platform: &str) -> Result<(), Error> {
        if !folder.is_empty() {
            return Ok(());
        }
        match self.written.insert(name.to_vec(), platform.to_owned()) {
            Some(other) => Err(OutputError::Overwrite {
                path: layer::path::shown(name),
                first: other,
                second: platform.to_owned(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Makes a directory unless there is one.
    fn directory(&self, path: &Path) -> Result<(), Error> {
        match sys::fs::optional(self.root.stat(path))? {
            Some(found) if found.kind == Kind::Dir => return Ok(()),
            Some(_) => self.root.unlink(path)?,
            None => {}
        }
        Ok(self.root.mkdir(path, 0o700)?)
    }

    /// Makes room for something that is no directory.
    fn clear(&self, path: &Path) -> Result<(), Error> {
        match sys::fs::optional(self.root.stat(path))? {
            Some(found) if found.kind == Kind::Dir => Ok(self.root.remove_all(path)?),
            Some(_) => Ok(self.root.unlink(path)?),
            None => Ok(()),
        }
    }

    fn describe(&self, path: &Path, stat: &Stat, time: Option<i64>) -> Result<(), Error> {
        if stat.kind != FileType::Symlink {
            self.root.chmod(path, stat.mode)?;
        }
        for (key, value) in &stat.xattrs {
            // What an ordinary user may not set, or the file system does not know, is not worth failing.
            self.root
                .set_xattr(path, OsStr::from_bytes(key), value)
                .ok();
        }
        let time = match time {
            Some(secs) => Time { secs, nanos: 0 },
            None => Time {
                secs: stat.mtime.secs,
                nanos: stat.mtime.nanos,
            },
        };
        Ok(self.root.set_mtime(path, time)?)
    }
}
