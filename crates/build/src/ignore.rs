//! What of a context directory a build looks at: all but what the ignore file names, and only where something is wanted.

use dockerfile::Diagnostic;
use dockerfile::ignore::Level;
pub(crate) use dockerfile::ignore::Patterns;

use crate::context::walk::{Filter, Verdict};
use crate::request::Text;

/// The filter of a context's walk.
#[derive(Debug)]
pub(crate) struct ContextFilter {
    patterns: Patterns,
    /// Identifies the patterns.
    hash: Option<blake3::Hash>,
    /// Paths, component by component; `None` wants everything.
    wanted: Option<Vec<Vec<Vec<u8>>>>,
}

impl ContextFilter {
    /// Reads the ignore file's patterns.
    pub(crate) fn new(
        ignore: Option<&Text>,
        wanted: Option<Vec<Vec<Vec<u8>>>>,
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
    wanted: Option<Vec<&'a [Vec<u8>]>>,
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
                    Some((first, rest)) if first == name => below.push(rest),
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
