//! What of a context directory a build looks at: all but what the ignore file names, and only where something is wanted.

use dockerfile::Diagnostic;
use dockerfile::ignore::Level;
pub(crate) use dockerfile::ignore::Patterns;

use crate::context::walk::{Filter, Verdict};
use crate::copy::Want;
use crate::request::Text;

/// The filter of a context's walk.
#[derive(Debug)]
pub(crate) struct ContextFilter {
    patterns: Patterns,
    /// Identifies the patterns.
    hash: Option<blake3::Hash>,
    /// Paths, component by component; `None` wants everything.
    wanted: Option<Vec<Vec<Want>>>,
}

impl ContextFilter {
    /// Reads the ignore file's patterns.
    pub(crate) fn new(
        ignore: Option<&Text>,
        wanted: Option<Vec<Vec<Want>>>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let text = ignore.map_or("", |ignore| &ignore.text);
        let patterns = Patterns::parse(text)?;
        let hash = (!patterns.is_empty()).then(|| blake3::hash(text.as_bytes()));
        Ok(Self {
            patterns,
            hash,
            wanted,
        })
    }

    /// What makes two walks of one directory different in what they see.
    pub(crate) fn identity(&self) -> String {
        self.hash
            .map_or_else(String::new, |hash| hash.to_hex().to_string())
    }

    /// Whether a path is left out.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        self.patterns.exclude(path)
    }
}

/// A directory as the filter sees it.
pub(crate) struct Dir<'a> {
    /// None if there are no patterns.
    level: Option<Level<'a>>,
    /// What is wanted in it, components from here on; `None` wants everything.
    wanted: Option<Vec<&'a [Want]>>,
}

impl<'f> Filter for &'f ContextFilter {
    type Dir = Dir<'f>;

    fn root(&self) -> Dir<'f> {
        Dir {
            level: (!self.patterns.is_empty()).then(|| self.patterns.root()),
            wanted: self
                .wanted
                .as_ref()
                .map(|wanted| wanted.iter().map(Vec::as_slice).collect()),
        }
    }

    fn file(&self, dir: &Dir<'f>, name: &[u8]) -> bool {
        !dir.level.as_ref().is_some_and(|level| level.excludes(name))
    }

    fn dir(&self, dir: &Dir<'f>, name: &[u8]) -> (Verdict, Option<Dir<'f>>) {
        let level = dir.level.as_ref().map(|level| level.enter(name));
        let mut verdict = Verdict::Take;
        if let Some(level) = &level {
            if level.can_be_skipped() {
                return (Verdict::Skip, None);
            }
            if level.is_excluded() {
                verdict = Verdict::Descend;
            }
        }
        let wanted = dir.wanted.as_ref().and_then(|wanted| {
            let mut below = Vec::new();
            for path in wanted {
                match path.split_first() {
                    // The directory, or one above, is wanted whole.
                    None => return None,
                    Some((first, rest)) if first.matches(name) => below.push(rest),
                    Some(_) => {}
                }
            }
            Some(below)
        });
        if wanted.as_ref().is_some_and(Vec::is_empty) {
            // Whether something in an excluded directory is not excluded is not worth finding out.
            return if verdict == Verdict::Take {
                (Verdict::Close, None)
            } else {
                (Verdict::Skip, None)
            };
        }
        let wanted = wanted.filter(|wanted| !wanted.iter().any(|path| path.is_empty()));
        (verdict, Some(Dir { level, wanted }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::wanted;

    /// The directories of a list that a walk for `source` would enter.
    fn entered<'a>(source: &str, parents: bool, paths: &[&'a str]) -> Vec<&'a str> {
        let filter = &ContextFilter::new(None, Some(vec![wanted(source, parents)])).unwrap();
        let enters = |path: &&&str| {
            let mut dir = filter.root();
            path.split('/')
                .all(|name| match filter.dir(&dir, name.as_bytes()) {
                    (Verdict::Take, Some(below)) => {
                        dir = below;
                        true
                    }
                    _ => false,
                })
        };
        paths.iter().filter(enters).copied().collect()
    }

    #[test]
    fn only_directories_that_a_source_can_lead_into_are_entered() {
        let all = ["a", "a/b", "a/b/c", "a/x", "a1", "a1/b", "b", "b/c", "*"];
        for (source, parents, expected) in [
            ("*.txt", false, &[][..]),
            ("a*", false, &["a", "a/b", "a/b/c", "a/x", "a1", "a1/b"]),
            ("a*/b", false, &["a", "a/b", "a/b/c", "a1", "a1/b"]),
            ("/a/*.txt", false, &["a"]),
            ("./x/../a/b", false, &["a", "a/b", "a/b/c"]),
            ("*/c", false, &["a", "a1", "b", "b/c", "*"]),
            (r"\*", false, &[]),
            ("a/./*/c", true, &["a", "a/b", "a/b/c", "a/x"]),
            ("a/**/c", true, &["a", "a/b", "a/b/c", "a/x"]),
            ("b/./**", true, &["b", "b/c"]),
        ] {
            assert_eq!(entered(source, parents, &all), expected, "{source}");
        }
    }
}
