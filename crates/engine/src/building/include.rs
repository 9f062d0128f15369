//! The files that a Dockerfile includes: read from the context, before the build begins.

use std::collections::BTreeMap;
use std::path::Path;

use super::context::Near;

/// What of a Dockerfile shows that it may include something. Most do not, and are read once only.
const DIRECTIVE: &str = "barque:";

/// Reads all files that a Dockerfile includes, and those that they include.
///
/// They are resolved inside the context: a link in it leads to a file in it or to none. The ignore file says nothing about
/// them, as it says nothing about the Dockerfile.
pub(super) fn read(dockerfile: &str, context: &Near) -> BTreeMap<String, Result<String, String>> {
    let mut found = BTreeMap::new();
    if dockerfile.contains(DIRECTIVE) {
        // What is wrong with the Dockerfile is for the build to say.
        dockerfile::parse_including(dockerfile, &mut |path| {
            let text = read_one(path, context);
            found.insert(path.to_owned(), text.clone());
            text
        });
    }
    found
}

fn read_one(path: &str, context: &Near) -> Result<String, String> {
    match context.text(Path::new(path)) {
        Ok(Some(text)) => Ok(text.text),
        Ok(None) => Err("there is no such file in the build context".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use sys::root::Root;

    use super::*;

    const FILE: &str = "# barque: extensions=include\nFROM scratch\nINCLUDE parts/a\n";

    #[test]
    fn included_files_are_read_from_the_context_with_what_they_include() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("parts")).unwrap();
        std::fs::write(folder.path().join("parts/a"), "INCLUDE b\nINCLUDE gone\n").unwrap();
        std::fs::write(folder.path().join("b"), "ENV B=1\n").unwrap();
        let root = Near::Folder(Root::open(folder.path()).unwrap());
        let found = read(FILE, &root);
        assert_eq!(found["b"].as_deref(), Ok("ENV B=1\n"));
        assert!(found["gone"].as_ref().unwrap_err().contains("no such file"));
        assert_eq!(found.len(), 3);
        assert!(read("FROM scratch\nINCLUDE b\n", &root).is_empty());
    }

    #[test]
    fn a_link_or_a_path_does_not_lead_out_of_the_context() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "ENV SECRET=1\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &Path| {
            std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        };
        link("absolute", &outside.path().join("secret"));
        let name = outside.path().file_name().unwrap();
        link("relative", &Path::new("..").join(name).join("secret"));
        link("folder", outside.path());
        let root = Near::Folder(Root::open(folder.path()).unwrap());
        let outside = outside.path().join("secret");
        for path in [
            "absolute",
            "relative",
            "folder/secret",
            &format!("..{}", outside.display()),
        ] {
            let text = format!("# barque: extensions=include\nFROM scratch\nINCLUDE {path}\n");
            let found = read(&text, &root);
            assert!(found.values().all(Result::is_err), "{path}: {found:?}");
        }
    }

    #[test]
    fn a_fifo_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("b");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let root = Near::Folder(Root::open(folder.path()).unwrap());
        let found = read(
            "# barque: extensions=include\nFROM scratch\nINCLUDE b\n",
            &root,
        );
        assert!(found["b"].is_err());
    }
}
