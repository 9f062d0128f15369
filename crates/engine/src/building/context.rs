//! Where a build takes its Dockerfile, its ignore file and its files from.

use std::io::Read;
use std::path::{Path, PathBuf};

use build::Text;
use sys::fs::Context as _;
use sys::root::Root;

use super::BuildRequest;
use crate::Error;

/// Largest Dockerfile or ignore file, 16 MiB: the text is held in memory whole.
const MAX_TEXT: u64 = 16 << 20;

/// Where the Dockerfile is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Dockerfile {
    /// `Dockerfile` in the context, or `dockerfile`.
    #[default]
    Default,
    /// This file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// The Dockerfile and the ignore file that goes with it: `<Dockerfile>.dockerignore`, else `.dockerignore` in the context.
///
/// Files found in the context are resolved inside it, so that a link there cannot make us read another file of the host
/// (CVE-2026-44517, CVE-2022-4122); a file that the person named is theirs to name.
pub(super) fn read_dockerfile(
    request: &BuildRequest,
    root: &Root,
    context: &Path,
) -> Result<(Text, Option<Text>), Error> {
    let in_context = |name: &str| -> Result<Option<Text>, Error> {
        match sys::fs::optional(root.open_file(Path::new(name)))? {
            Some(file) => Ok(Some(Text {
                name: name.to_owned(),
                text: read_text(file, &context.join(name))?,
            })),
            None => Ok(None),
        }
    };
    let (dockerfile, own) = match &request.dockerfile {
        Dockerfile::Stdin => {
            let text = read_text(std::io::stdin().lock(), Path::new("-"))?;
            (
                Text {
                    name: "Dockerfile".to_owned(),
                    text,
                },
                None,
            )
        }
        Dockerfile::File(path) => {
            let text = crate::read_text(path)?;
            let mut ignore = path.clone().into_os_string();
            ignore.push(".dockerignore");
            let ignore = PathBuf::from(ignore);
            let own = match sys::fs::exists(&ignore) {
                true => Some(Text {
                    name: display_name(&ignore),
                    text: crate::read_text(&ignore)?,
                }),
                false => None,
            };
            (
                Text {
                    name: display_name(path),
                    text,
                },
                own,
            )
        }
        Dockerfile::Default => match in_context("Dockerfile")? {
            Some(found) => (found, in_context("Dockerfile.dockerignore")?),
            None => match in_context("dockerfile")? {
                Some(found) => (found, in_context("dockerfile.dockerignore")?),
                None => return Err(Error::NoDockerfile(request.context.clone())),
            },
        },
    };
    let ignore = match own {
        Some(own) => Some(own),
        None => in_context(".dockerignore")?,
    };
    Ok((dockerfile, ignore))
}

fn display_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

pub(super) fn read_text(reader: impl Read, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .context("read", path)?;
    let wrong =
        |why: &str| sys::fs::Error::new("read", path, std::io::Error::other(why.to_owned()));
    if bytes.len() as u64 > MAX_TEXT {
        return Err(wrong("it is larger than 16 MiB").into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8 text"))?)
}

#[cfg(test)]
mod tests {
    use super::super::read_request;
    use super::*;

    fn request(context: &Path, dockerfile: Dockerfile) -> BuildRequest {
        BuildRequest {
            context: context.to_owned(),
            dockerfile,
            tags: vec!["a".to_owned(), "a:latest".to_owned()],
            network: "default".to_owned(),
            ..BuildRequest::default()
        }
    }

    #[test]
    fn f038_a_lower_case_dockerfile_is_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dockerfile"), "FROM scratch").unwrap();
        let read = read_request(&request(folder.path(), Dockerfile::Default)).unwrap();
        assert_eq!(read.dockerfile.text, "FROM scratch");
    }

    #[test]
    fn f212_an_ignore_file_of_the_dockerfile_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Dockerfile2");
        std::fs::write(&file, "FROM scratch").unwrap();
        std::fs::write(folder.path().join(".dockerignore"), "a").unwrap();
        let plain = read_request(&request(folder.path(), Dockerfile::File(file.clone()))).unwrap();
        assert_eq!(plain.ignore.unwrap().text, "a");
        std::fs::write(folder.path().join("Dockerfile2.dockerignore"), "b").unwrap();
        let own = read_request(&request(folder.path(), Dockerfile::File(file))).unwrap();
        assert_eq!(own.ignore.unwrap().text, "b");
    }

    #[test]
    fn a_link_in_the_context_does_not_lead_out_of_it() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "FROM secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("Dockerfile");
        std::os::unix::fs::symlink(outside.path().join("secret"), link).unwrap();
        assert!(read_request(&request(folder.path(), Dockerfile::Default)).is_err());
    }

    #[test]
    fn a_fifo_as_dockerfile_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("Dockerfile");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        assert!(read_request(&request(folder.path(), Dockerfile::Default)).is_err());
    }
}
