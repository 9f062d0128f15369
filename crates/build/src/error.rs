//! What a build can answer instead of an image.

use dockerfile::{Diagnostic, Included, Span};

use crate::base::BaseError;
use crate::copy::CopyError;
use crate::exec::ExecError;
use crate::request::Request;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile is wrong; each finding has its place.
    #[error("{}", list(.0))]
    Dockerfile(Vec<Diagnostic>),
    /// A base image cannot be had.
    #[error("cannot get the image `{reference}`")]
    Base {
        /// Which.
        reference: String,
        /// Where it is named.
        span: Span,
        /// The stage that may have been meant.
        meant: Option<String>,
        /// Why.
        source: BaseError,
    },
    /// A step failed.
    #[error("{0}")]
    Step(#[source] Box<StepFailure>),
    /// The image could not be made of the layers.
    #[error("{0}")]
    Pack(#[source] Box<crate::pack::PackError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct StepFailure {
    /// What people know it as: `[build 2/4] RUN make`.
    pub name: String,
    /// The instruction.
    pub span: Span,
    /// Why.
    pub source: StepError,
    /// The last that its process wrote.
    pub output: Vec<u8>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// COPY, ADD or WORKDIR.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// RUN.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A URL or a git repository.
    #[error("{0}")]
    Remote(#[source] crate::remote::RemoteError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The place in the Dockerfile that is to be shown.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Dockerfile(diagnostics) => diagnostics.first().map(|diagnostic| diagnostic.span),
            Self::Base { span, .. } => Some(*span),
            Self::Step(failure) => Some(failure.span),
            Self::Pack(_) | Self::Store(_) => None,
        }
    }

    /// Marks what mistakes are about as narrowly as the texts allow, and how included files were reached.
    pub(crate) fn placed(mut self, request: &Request, included: &[Included]) -> Self {
        if let Self::Dockerfile(mistakes) = &mut self {
            for mistake in mistakes {
                let text = match mistake.span.file.checked_sub(1) {
                    None => Some(&*request.dockerfile.text),
                    Some(number) => included.get(number as usize).map(|file| &*file.text),
                };
                let old = mistake.clone();
                *mistake = old.narrowed(text.unwrap_or_default()).with_way(included);
            }
        }
        self
    }

    /// The exit code of the process that failed the build, if it was one.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Step(failure) => match &failure.source {
                StepError::Exec(ExecError::Exit { exit, .. }) => Some(exit.code()),
                _ => None,
            },
            _ => None,
        }
    }
}

pub(crate) fn list(diagnostics: &[Diagnostic]) -> String {
    let messages: Vec<&str> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.message.as_str())
        .collect();
    messages.join("; ")
}

impl From<crate::pack::PackError> for Error {
    fn from(error: crate::pack::PackError) -> Self {
        match error {
            crate::pack::PackError::Store(error) => Self::Store(error),
            error => Self::Pack(Box::new(error)),
        }
    }
}

impl From<crate::plan::PlanError> for Error {
    fn from(error: crate::plan::PlanError) -> Self {
        match error {
            crate::plan::PlanError::Dockerfile(mistakes) => Self::Dockerfile(mistakes),
            crate::plan::PlanError::Base {
                reference,
                span,
                meant,
                source,
            } => Self::Base {
                reference,
                span,
                meant,
                source,
            },
            crate::plan::PlanError::Store(error) => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Span, StepError, StepFailure};

    #[test]
    fn a_failed_step_keeps_all_its_causes() {
        let spawn = store::Error::Spawn {
            exe: "/bin/tool".into(),
            source: std::io::Error::other("the disk is wet"),
        };
        let error = Error::Step(Box::new(StepFailure {
            name: "RUN x".to_owned(),
            span: Span::default(),
            source: StepError::Store(spawn),
            output: Vec::new(),
        }));
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        assert_eq!(causes.last().unwrap(), "the disk is wet", "{causes:?}");
    }
}
