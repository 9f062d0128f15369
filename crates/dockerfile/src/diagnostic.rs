//! What is wrong, where, and what to do about it: data only, rendered by whoever shows it.

use std::fmt;

use crate::Span;

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

    /// The page about the check that found this, in the source tree; `None` if it is no finding of a check.
    pub fn page(&self) -> Option<String> {
        Some(crate::lint::Rule::find(self.code)?.page())
    }

    /// Whether this makes the build fail.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}
