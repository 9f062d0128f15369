//! `barque ls`: entries of an image's tree.

use layer::{FileType, Follow, Stat, ViewNode};
use serde::Serialize;

use super::{Opened, split};
use crate::{Engine, Error};

/// What is to be listed.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// `IMAGE[:PATH]`; the path begins with `/`.
    pub target: String,
    /// All that lies below, not only the next level.
    pub recursive: bool,
}

/// An entry of an image's tree. Bytes that are not UTF-8 are shown as `U+FFFD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryRow {
    /// The path from the image's root, with a leading `/`.
    pub path: String,
    /// `file`, `directory`, `symlink`, `char-device`, `block-device` or `fifo`.
    pub kind: &'static str,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Kind and permissions as `ls -l` shows them.
    pub mode_text: String,
    /// Names that the entry has in its layer.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file or a link's target.
    pub size: u64,
    /// Last change of the content, in seconds since 1970.
    pub mtime: i64,
    /// The fraction of that second.
    pub mtime_nanos: u32,
    /// Where a symbolic link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Major and minor number of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Names of its extended attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<String>,
    /// The layer that it comes from, counted from the bottom; a directory's topmost.
    pub layer: usize,
}

impl Engine {
    /// Gives `each` the entries of a directory of an image, sorted, or the one entry that is no directory, until it says
    /// `false`.
    ///
    /// # Errors
    ///
    /// There is no such image or path, or it cannot be read.
    pub fn list_files(
        &self,
        request: &ListRequest,
        each: &mut dyn FnMut(&EntryRow) -> bool,
    ) -> Result<(), Error> {
        let (text, path) = split(&request.target);
        let image = self.open_image(text)?;
        let path = path.unwrap_or("/");
        if image.image.layers.is_empty() {
            return Ok(());
        }
        let found = image
            .view
            .locate(path.as_bytes(), Follow::Yes)
            .map_err(|error| image.failed(error))?;
        // Only a link to a directory stands for what it leads to; any other is itself what is asked about.
        let (path, node) = found
            .filter(|(_, node)| node.kind() == FileType::Dir)
            .map_or_else(|| image.locate(path, Follow::No), Ok)?;
        if node.kind() != FileType::Dir {
            each(&row(&image, &path, &node)?);
        } else if request.recursive {
            for entry in image.view.walk(&path, node).skip(1) {
                let (path, node) = entry.map_err(|error| image.failed(error))?;
                if !each(&row(&image, &path, &node)?) {
                    break;
                }
            }
        } else {
            for entry in image
                .view
                .read_dir(&node)
                .map_err(|error| image.failed(error))?
            {
                let mut path = path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&entry.name);
                if !each(&row(&image, &path, &entry.node)?) {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn row(image: &Opened<'_>, path: &[u8], node: &ViewNode) -> Result<EntryRow, Error> {
    let stat = image.view.stat(node).map_err(|error| image.failed(error))?;
    let target = match stat.kind {
        FileType::Symlink => Some(
            image
                .view
                .read_link(node)
                .map_err(|error| image.failed(error))?,
        ),
        _ => None,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(EntryRow {
        path: format!("/{}", text(path)),
        kind: kind(stat.kind),
        mode: stat.mode,
        mode_text: mode_text(stat.kind, stat.mode),
        links: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        size: size(&stat),
        mtime: stat.mtime.secs,
        mtime_nanos: stat.mtime.nanos,
        target: target.as_deref().map(text),
        device: matches!(stat.kind, FileType::CharDevice | FileType::BlockDevice)
            .then_some(stat.rdev),
        xattrs: stat.xattrs.iter().map(|(name, _)| text(name)).collect(),
        layer: node.top().layer,
    })
}

const fn size(stat: &Stat) -> u64 {
    match stat.kind {
        FileType::File | FileType::Symlink => stat.size,
        _ => 0,
    }
}

const fn kind(kind: FileType) -> &'static str {
    match kind {
        FileType::File => "file",
        FileType::Dir => "directory",
        FileType::Symlink => "symlink",
        // A view shows no deletions.
        FileType::CharDevice | FileType::Whiteout => "char-device",
        FileType::BlockDevice => "block-device",
        FileType::Fifo => "fifo",
    }
}

/// `drwxr-xr-x` and its like.
fn mode_text(kind: FileType, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        FileType::File => '-',
        FileType::Dir => 'd',
        FileType::Symlink => 'l',
        FileType::CharDevice | FileType::Whiteout => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
    });
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_shows_them() {
        for (kind, mode, text) in [
            (FileType::Dir, 0o755, "drwxr-xr-x"),
            (FileType::File, 0o4755, "-rwsr-xr-x"),
            (FileType::File, 0o2644, "-rw-r-Sr--"),
            (FileType::Dir, 0o1777, "drwxrwxrwt"),
            (FileType::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode_text(kind, mode), text);
        }
    }
}
