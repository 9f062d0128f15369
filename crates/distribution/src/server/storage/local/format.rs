//! What a folder is, before anything in it is touched.

use std::path::Path;

use super::super::{Result, StorageError};
use super::files;

/// What the file `format` says. Another number is another layout.
const FORMAT: &str = "barque registry 1\n";

/// The directories of a folder. What is in `tmp` goes when it is opened.
pub(super) const DIRECTORIES: [&str; 4] = ["tmp", "uploads", "repositories", "blobs"];

/// True for a folder of this format; false for one that can become one: it is missing, or has nothing under the names that are
/// used here, but for what is left where making one was cut short.
///
/// Whose files lie there otherwise would lose those in `tmp`.
pub(super) fn is_there(root: &Path) -> Result<bool> {
    let path = root.join("format");
    match files::find_bytes(&path, 1024)? {
        Some(found) if found == FORMAT.as_bytes() => Ok(true),
        Some(found) => Err(StorageError::Corrupt {
            place: path.display().to_string(),
            why: format!(
                "it says `{}`, this version knows `{}`",
                String::from_utf8_lossy(&found).trim_end(),
                FORMAT.trim_end()
            ),
        }),
        None => {
            for name in DIRECTORIES {
                let unfinished = if name == "tmp" { "format" } else { "" };
                if files::has_other_than(&root.join(name), unfinished)? {
                    return Err(StorageError::NoRegistry {
                        place: root.display().to_string(),
                        name,
                    });
                }
            }
            Ok(false)
        }
    }
}

/// Says that a folder, whose directories are made, is one.
pub(super) fn write(root: &Path) -> Result<()> {
    files::write(
        &root.join("tmp/format"),
        &root.join("format"),
        FORMAT.as_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::Clock;
    use super::super::Local;
    use super::*;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )]
    fn the_files_of_others_are_not_touched() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("new");
        let open = || Local::open(&folder, Clock::system()).map(drop);
        assert!(!is_there(&folder).unwrap(), "it is missing");
        std::fs::create_dir_all(folder.join("tmp")).unwrap();
        let file = folder.join("tmp/thesis");
        std::fs::write(&file, "years").unwrap();
        let error = open().unwrap_err();
        assert!(
            matches!(error, StorageError::NoRegistry { name: "tmp", .. }),
            "{error}"
        );
        let names = files::names(&folder).unwrap();
        assert_eq!((names, file.exists()), (vec!["tmp".to_owned()], true));
        // Of a store of images, for one.
        std::fs::write(folder.join("format"), "something else\n").unwrap();
        let error = open().unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        assert!(file.exists());
        std::fs::remove_file(folder.join("format")).unwrap();
        // What is left where making one was cut short; other names are nobody's business.
        std::fs::rename(&file, folder.join("tmp/format")).unwrap();
        std::fs::write(folder.join("registry.toml"), "").unwrap();
        open().unwrap();
        assert!(is_there(&folder).unwrap());
        open().unwrap();
    }
}
