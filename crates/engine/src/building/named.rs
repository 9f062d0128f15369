//! Named contexts: where the names of a Dockerfile lead when they are not its own stages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use build::{HttpSource, Layout, NamedContext, RemoteSource};
use dockerfile::remote::Origin;
use oci::Platform;

use crate::Error;

/// Reads all `--build-context`: `NAME=SOURCE` or `NAME::OS/ARCH=SOURCE`.
pub(super) fn contexts(texts: &[String]) -> Result<BTreeMap<String, NamedContext>, Error> {
    let mut contexts = BTreeMap::new();
    for text in texts {
        let (name, context) = context(text)?;
        contexts.insert(name, context);
    }
    Ok(contexts)
}

fn context(text: &str) -> Result<(String, NamedContext), Error> {
    let wrong = |why: String| Error::NamedContext {
        text: text.to_owned(),
        why,
    };
    let (name, source) = text
        .split_once('=')
        .ok_or_else(|| wrong("expected `NAME=SOURCE`".to_owned()))?;
    if name.is_empty() || source.is_empty() {
        return Err(wrong("expected `NAME=SOURCE`".to_owned()));
    }
    let key = match name.rsplit_once("::") {
        None => name.to_owned(),
        Some((name, platform)) => {
            let platform: Platform = platform.parse()?;
            format!("{name}::{platform}")
        }
    };
    let of_bake = |kind: &str| {
        Err(wrong(format!(
            "`{kind}` names a result of another build, and only one is done here"
        )))
    };
    let context = match source.split_once(':') {
        Some(("docker-image", rest)) => image(rest.trim_start_matches("//"))?,
        Some(("oci-layout", rest)) => layout(rest.trim_start_matches("//")).map_err(wrong)?,
        Some((kind @ ("target" | "input"), _)) => return of_bake(kind),
        _ => elsewhere(source).map_err(wrong)?,
    };
    Ok((key, context))
}

fn image(text: &str) -> Result<NamedContext, Error> {
    Ok(match text {
        "scratch" => NamedContext::Scratch,
        text => NamedContext::Image(text.parse()?),
    })
}

/// `PATH[:TAG][@DIGEST]`.
fn layout(text: &str) -> Result<NamedContext, String> {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => {
            let digest = digest.parse();
            (text, Some(digest.map_err(|error| format!("{error}"))?))
        }
        None => (text, None),
    };
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (text, None),
    };
    if path.is_empty() {
        return Err("the path of the layout is empty".to_owned());
    }
    Ok(NamedContext::Layout(Layout {
        path: PathBuf::from(path),
        tag,
        digest,
    }))
}

/// A URL, a git repository, or a folder that must be there.
fn elsewhere(source: &str) -> Result<NamedContext, String> {
    Ok(
        match Origin::of(source).map_err(|error| error.to_string())? {
            Origin::Git(git) => NamedContext::Remote(RemoteSource::Git(*git)),
            Origin::Http => NamedContext::Remote(RemoteSource::Http(HttpSource {
                url: source.to_owned(),
                checksum: None,
                unpack: true,
            })),
            Origin::Context => {
                let path =
                    sys::fs::canonicalize(source.as_ref()).map_err(|error| error.to_string())?;
                if !path.is_dir() {
                    return Err(format!("`{source}` is not a folder"));
                }
                NamedContext::Directory(path)
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let of = |text: &str| context(text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        assert_eq!(
            of(&format!("a={}", path.display())),
            ("a".to_owned(), NamedContext::Directory(path))
        );
        assert_eq!(of("a=docker-image://scratch").1, NamedContext::Scratch);
        assert_eq!(
            of("a=docker-image://alpine").1,
            NamedContext::Image("alpine:latest".parse().unwrap())
        );
        let layout = |tag: Option<&str>| {
            NamedContext::Layout(Layout {
                path: "/some/layout".into(),
                tag: tag.map(str::to_owned),
                digest: None,
            })
        };
        assert_eq!(of("a=oci-layout:///some/layout").1, layout(None));
        assert_eq!(of("a=oci-layout:///some/layout:v1").1, layout(Some("v1")));
        assert!(matches!(
            of("a=https://example.com/a.git#main").1,
            NamedContext::Remote(RemoteSource::Git(_))
        ));
        assert!(matches!(
            of("a=https://example.com/a.tar").1,
            NamedContext::Remote(RemoteSource::Http(_))
        ));
        assert_eq!(
            of("base::linux/x86_64=docker-image://scratch").0,
            "base::linux/amd64"
        );
    }

    #[test]
    fn what_is_no_context_is_refused_with_the_reason() {
        for (text, why) in [
            ("a", "NAME=SOURCE"),
            ("a=", "NAME=SOURCE"),
            ("a=/no/such/folder", "/no/such/folder"),
            ("a=target:b", "another build"),
            ("a=input:b", "another build"),
            ("a=oci-layout://", "the path of the layout is empty"),
            ("a=oci-layout:///x@sha256:1", "sha256"),
        ] {
            let error = context(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
