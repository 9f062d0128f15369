//! What is wrong, where, and what to do about it: data only, rendered by whoever shows it.

use std::fmt;
use std::ops::Range;

use crate::{Included, Span};

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; the build goes on.
    Warning,
    /// The file cannot be built.
    Error,
}

/// A second place that belongs to a [`Diagnostic`], with a note on its part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there.
    pub text: String,
}

/// One finding about a Dockerfile.
///
/// The message is one line in lower case without a full stop; hints each name one thing to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable name: a check's name (`StageNameCasing`) or a kind of error (`unknown-instruction`).
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The guilty text.
    pub span: Span,
    /// What could be done.
    pub hints: Vec<String>,
    /// Other places that matter.
    pub labels: Box<[Label]>,
}

impl Diagnostic {
    /// Makes an error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            hints: Vec::new(),
            labels: Box::default(),
        }
    }

    /// Makes a warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message)
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.label(span, text);
        self
    }

    /// Adds a second place to a diagnostic that is there already.
    pub(crate) fn label(&mut self, span: Span, text: impl Into<String>) {
        let text = text.into();
        let mut labels = std::mem::take(&mut self.labels).into_vec();
        labels.push(Label { span, text });
        self.labels = labels.into_boxed_slice();
    }

    /// Marks only the part that the message names first, if that stands in the marked text of `source` once.
    #[must_use]
    pub fn narrowed(mut self, source: &str) -> Self {
        let Some(marked) = source.get(self.span.range()) else {
            return self;
        };
        let only = {
            let mut found = named_in(&self.message, marked);
            found.next().filter(|_| found.next().is_none())
        };
        if let Some(part) = only {
            let line = |at: usize| {
                let before = marked[..at].bytes().filter(|byte| *byte == b'\n').count();
                let before = u32::try_from(before).unwrap_or(u32::MAX);
                self.span.first_line.saturating_add(before)
            };
            self.span = Span {
                start: self.span.start + part.start,
                end: self.span.start + part.end,
                first_line: line(part.start),
                last_line: line(part.end),
                ..self.span
            };
        }
        self
    }

    /// Adds the way that led to an included file, from the inside out; `included` are the files of [`crate::Parsed::included`].
    #[must_use]
    pub fn with_way(mut self, included: &[Included]) -> Self {
        for at in way(self.span, included) {
            self.label(at, "included here");
        }
        self
    }

    /// The page about the check that found this, in the source tree; `None` if it is no finding of a check.
    pub fn page(&self) -> Option<String> {
        Some(crate::lint::Rule::find(self.code)?.page())
    }

    /// Whether this makes the build fail.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The INCLUDE that brought in the file of a place, the one that brought in that one's file, and so on.
pub fn way(place: Span, included: &[Included]) -> impl Iterator<Item = Span> {
    let above = move |place: Span| {
        let file = included.get(place.file.checked_sub(1)? as usize)?;
        Some(file.at)
    };
    // A file stands behind the one that includes it first, so this ends.
    std::iter::successors(above(place), move |place| above(*place))
}

/// Where the first thing that a message quotes stands in a text as a word.
pub(crate) fn named_in<'t>(
    message: &'t str,
    text: &'t str,
) -> impl Iterator<Item = Range<usize>> + use<'t> {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let quoted = Some(quoted).filter(|quoted| !quoted.is_empty() && !quoted.contains('\n'));
    let inside = |c: Option<char>| {
        c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':'))
    };
    let found = quoted.into_iter().flat_map(|q| text.match_indices(q));
    found.filter_map(move |(at, quoted)| {
        let end = at + quoted.len();
        let whole = !inside(text[..at].chars().next_back()) && !inside(text[end..].chars().next());
        whole.then_some(at..end)
    })
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Span, named_in};

    #[test]
    fn only_whole_words_are_what_a_message_names() {
        for (message, text, expected) in [
            (
                "unknown key `typ`",
                "--mount=typ=cache,target=/typ",
                vec!["typ"],
            ),
            ("`a` is", "COPY --from=a a/b c-a x.a a", vec!["a", "a"]),
            ("nothing quoted", "nothing", vec![]),
            ("`` is empty", "x", vec![]),
            ("`é` is", "é=é", vec!["é", "é"]),
        ] {
            let found: Vec<_> = named_in(message, text).map(|part| &text[part]).collect();
            assert_eq!(found, expected, "{message}");
        }
    }

    #[test]
    fn a_mark_becomes_narrower_if_there_is_one_place_for_it() {
        let source = "FROM a\nCOPY x \\\n  --from=biuld y\n";
        let span = Span {
            start: 7,
            end: source.len() - 1,
            first_line: 2,
            last_line: 3,
            file: 0,
        };
        let marked = |message: &str| {
            let found = Diagnostic::error("x", span, message).narrowed(source).span;
            (&source[found.range()], found.first_line, found.last_line)
        };
        assert_eq!(marked("no stage `biuld`"), ("biuld", 3, 3));
        assert_eq!(marked("no `z`"), (&source[span.range()], 2, 3));
        let nowhere = Diagnostic::error("x", Span::default(), "no `FROM`").narrowed(source);
        assert!(nowhere.span.is_nowhere());
    }
}
