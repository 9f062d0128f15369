//! Files of images, read through the layers' indexes: no mount, no privileges.

mod diff;
mod list;

pub use diff::{Change, ChangeRow, Side, changes};
pub use list::{EntryRow, ListRequest};

use std::io::{Read, Write};

use layer::{FileType, Follow, View, ViewNode};
use store::Image;

use crate::{Engine, Error};

/// Splits `IMAGE[:PATH]`. The path begins with `/`, which no tag does.
fn split(target: &str) -> (&str, Option<&str>) {
    match target.split_once(":/") {
        Some((image, _)) => (image, Some(&target[image.len() + 1..])),
        None => (target, None),
    }
}

/// An image and its files.
pub(crate) struct Opened<'t> {
    /// As it was asked for.
    text: &'t str,
    image: Image,
    view: View,
}

impl Opened<'_> {
    fn failed(&self, source: layer::IndexError) -> Error {
        Error::Read {
            image: self.text.to_owned(),
            source,
        }
    }

    fn locate(&self, path: &str, follow: Follow) -> Result<(Vec<u8>, ViewNode), Error> {
        self.view
            .locate(path.as_bytes(), follow)
            .map_err(|error| self.failed(error))?
            .ok_or_else(|| Error::NoSuchPath {
                image: self.text.to_owned(),
                path: path.to_owned(),
            })
    }
}

impl Engine {
    pub(crate) fn open_image<'t>(&self, text: &'t str) -> Result<Opened<'t>, Error> {
        let image = self.store().resolve(text)?;
        let view = self.store().view(&image.layers)?;
        Ok(Opened { text, image, view })
    }

    /// Writes a file of an image, `IMAGE:PATH`, to `output`. Links are followed inside the image.
    ///
    /// # Errors
    ///
    /// There is no such image or file, or `output` takes no more.
    pub fn read_file(&self, target: &str, output: &mut dyn Write) -> Result<(), Error> {
        let (text, Some(path)) = split(target) else {
            return Err(Error::NoPath(target.to_owned()));
        };
        let image = self.open_image(text)?;
        let (_, node) = image.locate(path, Follow::Yes)?;
        if node.kind() != FileType::File {
            return Err(Error::NotA {
                image: text.to_owned(),
                path: path.to_owned(),
                wanted: "a regular file",
            });
        }
        let mut file = image
            .view
            .open(&node)
            .map_err(|error| image.failed(error))?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(|error| Error::Io(sys::fs::Error::new("read", path, error)))?;
            if count == 0 {
                break;
            }
            output
                .write_all(&buffer[..count])
                .map_err(|source| Error::Output {
                    what: "the file",
                    source,
                })?;
        }
        output.flush().map_err(|source| Error::Output {
            what: "the file",
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_path_begins_with_a_slash() {
        assert_eq!(split("alpine"), ("alpine", None));
        assert_eq!(split("alpine:3"), ("alpine:3", None));
        assert_eq!(split("alpine:/etc"), ("alpine", Some("/etc")));
        assert_eq!(
            split("localhost:5000/a:3:/etc/x:/y"),
            ("localhost:5000/a:3", Some("/etc/x:/y"))
        );
    }
}
