//! Failures as a person reads them: one line, then hints. The only place where errors become text and exit codes.

use std::error::Error;
use std::process::ExitCode;

use engine::building::{Diagnostic, Text};

use crate::render;

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    /// What is shown before the message as it is: the excerpt of a Dockerfile, the last output of a step.
    excerpt: Option<String>,
    /// What is wrong with a Dockerfile; it is shown instead of the message.
    mistakes: Option<Box<(Vec<Text>, Vec<Diagnostic>)>>,
    hints: Vec<String>,
    code: u8,
    /// The reader of stdout went away: nothing is said.
    silent: bool,
}

impl Failure {
    /// With a message and the code of a failed command.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            excerpt: None,
            mistakes: None,
            hints: Vec::new(),
            code: 1,
            silent: false,
        }
    }

    /// With one more hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With another exit code.
    pub(crate) const fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Of a command that passes another program's exit code on: 125 says that barque failed and not the program.
    pub(crate) const fn starting(self) -> Self {
        match self.code {
            1 => self.code(125),
            _ => self,
        }
    }

    /// Says it on stderr; the exit code of the program.
    pub(crate) fn report(self) -> ExitCode {
        if !self.silent {
            if let Some(excerpt) = &self.excerpt {
                render::talk(&render::printable_lines(excerpt.trim_end()));
            }
            match &self.mistakes {
                Some(mistakes) => {
                    let (sources, mistakes) = mistakes.as_ref();
                    let colour = crate::settings::colour();
                    render::talk(&render::mistakes(sources, mistakes, colour, None));
                    if let 2.. = mistakes.len() {
                        render::talk(&format!("\nerror: {} mistakes", mistakes.len()));
                    }
                }
                None => render::talk(&format!("error: {}", render::printable(&self.message))),
            }
            for hint in &self.hints {
                render::talk(&format!("hint: {}", render::printable(hint)));
            }
        }
        ExitCode::from(self.code)
    }
}

/// The message of `error` and of its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        // SQLite tells its number in front of what it has told already.
        let told = match text.split_once(": ") {
            Some((number, rest)) if number.starts_with("Error code ") => rest,
            _ => &text,
        };
        if !message.contains(told) {
            message = format!("{message}: {text}");
        }
        cause = next.source();
    }
    message.trim_end().replace('\n', ": ")
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self {
            message: chain(&error),
            excerpt: error.excerpt(),
            mistakes: error
                .mistakes()
                .map(|(sources, mistakes)| Box::new((sources.to_vec(), mistakes.to_vec()))),
            hints: error.hints(),
            code: error.exit_code(),
            silent: error.is_reader_gone(),
        }
    }
}

impl From<engine::containers::OptionError> for Failure {
    fn from(error: engine::containers::OptionError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<engine::containers::ContainerError> for Failure {
    fn from(error: engine::containers::ContainerError) -> Self {
        engine::Error::from(error).into()
    }
}

impl From<engine::registry::RegistryError> for Failure {
    fn from(error: engine::registry::RegistryError) -> Self {
        let hints = error.hints();
        Self {
            hints,
            ..Self::new(chain(&error))
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let silent = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self {
            silent,
            ..Self::new(format!("cannot write to stdout: {error}"))
        }
    }
}
