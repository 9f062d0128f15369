//! `barque export`: a root filesystem as one tar.

use std::collections::HashMap;
use std::path::Path;

use layer::{FileType, IndexError, Kind, Part, View};

use super::output::{Archive, Output};
use super::save::Compression;
use crate::{Engine, Error};

impl Engine {
    /// Writes the merged tree of an image as a tar to `output`, or to stdout.
    ///
    /// The same image gives the same bytes: entries are sorted, hard links, devices and extended attributes are kept. A file
    /// appears whole or not at all.
    ///
    /// # Errors
    ///
    /// There is no such image, it cannot be read, or the output cannot be written.
    pub fn export_image(&self, image: &str, output: Option<&Path>) -> Result<(), Error> {
        let lease = self.store().lease("export")?;
        let found = self.store().resolve(image)?;
        let view = lease.view(&found.layers)?;
        export_tree(image, &view, output)
    }
}

/// Writes the tree of `view` as a tar to `output`, or to stdout; `name` is for messages.
pub(crate) fn export_tree(name: &str, view: &View, output: Option<&Path>) -> Result<(), Error> {
    let mut archive = Archive::new(Output::create(output)?, Compression::None)?;
    write_tree(name, view, &Place::default(), &mut archive)?;
    archive.finish()
}

/// Where in an archive a tree is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// A folder, without a slash at its end; empty for the archive's root.
    pub(crate) folder: Vec<u8>,
    /// The time of all entries, if not their own.
    pub(crate) time: Option<i64>,
}

/// Adds the tree of `view` to an archive.
pub(crate) fn write_tree(
    name: &str,
    view: &View,
    place: &Place,
    archive: &mut Archive,
) -> Result<(), Error> {
    let failed = |source: IndexError| Error::Read {
        image: name.to_owned(),
        source,
    };
    // The first name of each file that has several.
    let mut seen: HashMap<Part, Vec<u8>> = HashMap::new();
    let Some(root) = view.root().map_err(failed)? else {
        return Ok(());
    };
    for entry in view.walk(b"", root) {
        let (path, node) = entry.map_err(failed)?;
        let path = place.path(path);
        let stat = view.stat(&node).map_err(failed)?;
        let target = match stat.kind {
            FileType::Symlink => view.read_link(&node).map_err(failed)?,
            _ => Vec::new(),
        };
        // A view shows no deletions.
        let Some(mut meta) = stat.to_meta(target) else {
            continue;
        };
        if stat.kind != FileType::Dir && stat.nlink > 1 {
            if let Some(first) = seen.get(&node.top()) {
                meta.kind = Kind::HardLink {
                    target: first.clone(),
                };
                meta.xattrs.clear();
            } else {
                seen.insert(node.top(), path.clone());
            }
        }
        if let Some(time) = place.time {
            meta.mtime = layer::Time::from_secs(time);
        }
        archive.header(&path, &meta)?;
        if let Kind::File { size } = meta.kind
            && size > 0
        {
            let file = view.open(&node).map_err(failed)?;
            let (data, location) = file.source();
            archive.range(data, location.offset, size)?;
        }
    }
    Ok(())
}

impl Place {
    fn path(&self, path: Vec<u8>) -> Vec<u8> {
        if self.folder.is_empty() {
            return path;
        }
        [&self.folder[..], b"/", &path].concat()
    }
}
