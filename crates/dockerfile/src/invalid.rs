//! The error of everything that reads one value: a flag, a port, a mode.

/// A value that cannot be understood or is not allowed, with what could be meant instead.
///
/// Callers put it where the value stands; it carries no place of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidValue {
    /// What is wrong, with the value.
    pub message: String,
    /// What could be done about it.
    pub hint: Option<String>,
}

impl InvalidValue {
    /// Makes an error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the question whether `nearest` was meant, if there is one.
    #[must_use]
    pub fn or_meant(mut self, nearest: Option<&str>) -> Self {
        self.hint = nearest.map(|n| format!("did you mean `{n}`?"));
        self
    }

    /// As [`InvalidValue::or_meant`], with the word of `known` that is nearest to `word`; without one, all that are known.
    #[must_use]
    pub fn or_one_of(self, word: &str, known: &[&str]) -> Self {
        match crate::nearest(word, known.iter().copied()) {
            Some(nearest) => self.or_meant(Some(nearest)),
            None => Self {
                hint: Some(format!("known are {}", known.join(", "))),
                ..self
            },
        }
    }
}
