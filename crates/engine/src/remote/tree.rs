//! A directory that git has written, as a layer: everything belongs to root, is of one time, and is readable for all; only whether a file can be
//! executed is kept, which is all that git keeps either.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use layer::{Ingest, IngestError, Kind, Meta, Time};
use sys::root::{self, Root};

/// Why a directory could not become a layer.
pub(super) enum TreeError {
    /// It cannot be read.
    File(sys::fs::Error),
    /// Something in it cannot be in a layer.
    Ingest(IngestError),
}

impl From<sys::fs::Error> for TreeError {
    fn from(error: sys::fs::Error) -> Self {
        Self::File(error)
    }
}

/// How a directory becomes a layer.
pub(super) struct Tree {
    pub(super) time: Time,
    /// A name that is left out wherever it is.
    pub(super) without: Option<&'static str>,
}

impl Tree {
    /// Adds all that is below `root`, in order of name.
    pub(super) fn write(&self, root: &Root, ingest: &mut Ingest) -> Result<(), TreeError> {
        self.directory(root, &mut Vec::new(), ingest)
    }

    fn directory(
        &self,
        dir: &Root,
        path: &mut Vec<u8>,
        ingest: &mut Ingest,
    ) -> Result<(), TreeError> {
        let mut entries = dir.entries()?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let begin = path.len();
        for entry in entries {
            if self.without.is_some_and(|name| entry.name == name) {
                continue;
            }
            let name = Path::new(&entry.name);
            if begin > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name.as_bytes());
            let stat = dir.stat(name)?;
            match stat.kind {
                root::Kind::Dir => {
                    self.add(ingest, path, Meta::dir(0o755))?;
                    self.directory(&dir.open_dir(name)?, path, ingest)?;
                }
                root::Kind::File => {
                    let mode = if stat.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                    let file = dir.open_file(name)?;
                    let mut meta = Meta::file(stat.size, mode);
                    meta.mtime = self.time;
                    ingest
                        .append_file(path, &meta, &file, 0)
                        .map_err(TreeError::Ingest)?;
                }
                root::Kind::Symlink => {
                    let target = dir.read_link(name)?.into_vec();
                    self.add(ingest, path, Meta::new(Kind::Symlink { target }, 0o777))?;
                }
                // git makes nothing else.
                _ => {}
            }
            path.truncate(begin);
        }
        Ok(())
    }

    fn add(&self, ingest: &mut Ingest, path: &[u8], mut meta: Meta) -> Result<(), TreeError> {
        meta.mtime = self.time;
        ingest
            .append(path, &meta, &mut std::io::empty())
            .map_err(TreeError::Ingest)?;
        Ok(())
    }
}
