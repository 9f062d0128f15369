//! Trees of many small files, like the packages of a web project, and the same each time.

use std::fs;
use std::path::Path;

use layer::{Ingest, IngestError, Meta};

/// A tree of `files` small files, which [`Tree::append_to`] and [`Tree::write_to`] make.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    files: usize,
    seed: u64,
}

/// A tree of `files` small files; another `seed` gives other names and bytes.
#[must_use]
pub const fn tree(files: usize, seed: u64) -> Tree {
    Tree { files, seed }
}

/// How many files a directory of the tree has.
const IN_A_DIRECTORY: usize = 20;

impl Tree {
    /// All files: path and content, directories in order.
    pub fn files(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let mut state = self.seed ^ 0x9e37_79b9_7f4a_7c15;
        (0..self.files).map(move |number| {
            let random = next(&mut state);
            let package = number / IN_A_DIRECTORY;
            let path = format!(
                "node_modules/pkg-{:05}/lib/{:04x}-{number}.js",
                package,
                random & 0xffff
            );
            // Most files of such trees are small, a few are not.
            let lines = 1 + (random >> 20) % 60 * if number % 97 == 0 { 50 } else { 1 };
            let mut content = String::new();
            for line in 0..lines {
                content.push_str(&format!("exports.f{line} = {:x};\n", next(&mut state)));
            }
            (path, content.into_bytes())
        })
    }

    /// Appends the whole tree to a layer.
    ///
    /// # Errors
    ///
    /// As [`Ingest::append`].
    pub fn append_to(self, ingest: &mut Ingest) -> Result<(), IngestError> {
        for (path, content) in self.files() {
            ingest.append_bytes(
                path.as_bytes(),
                &Meta::file(content.len() as u64, 0o644),
                &content,
            )?;
        }
        Ok(())
    }

    /// Writes the whole tree below `dir`.
    ///
    /// # Errors
    ///
    /// A file or directory cannot be made.
    pub fn write_to(self, dir: &Path) -> std::io::Result<()> {
        for (path, content) in self.files() {
            let path = dir.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, content)?;
        }
        Ok(())
    }
}

/// The next number of a sequence that looks random (xorshift).
const fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
