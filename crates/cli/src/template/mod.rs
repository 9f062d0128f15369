//! The part of Go's templates that `--format` of Docker's commands is used with: `{{.State.Running}}`, `{{json .Config}}`,
//! `{{range .Mounts}}…{{end}}`.
//!
//! [`lex`] cuts the text into pieces, [`parse`] makes a tree of them, [`eval`] prints it over a JSON value, [`functions`] has what
//! can be called. A template comes from whoever types the command, the values from images and containers of anybody: whatever
//! they are, there is output or an error, in bounded time and memory.
//!
//! There are no templates inside templates (`define`, `template`, `block`), and of Go's methods only `.Label NAME`.

mod eval;
mod functions;
mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use parse::Node;

/// Longest template, 64 KiB: more is no format but a mistake.
const LONGEST: usize = 64 << 10;

/// Why a template cannot be read, or cannot be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// What is wrong.
    pub(crate) message: String,
    /// Where in the template, in bytes.
    pub(crate) at: usize,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl TemplateError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at,
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

type Result<T> = std::result::Result<T, TemplateError>;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

/// What a template is printed from.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    /// The dot at the beginning. A name that it lacks is an error; a name that an object below lacks is no value.
    pub(crate) root: Value,
    /// What `.Label NAME` finds.
    pub(crate) labels: Labels,
}

/// The method `.Label`.
#[derive(Debug, Clone)]
pub(crate) enum Labels {
    /// There is none.
    None,
    /// The label of this name, or nothing.
    Of(Map<String, Value>),
    /// The name itself, for the header of a table.
    Names,
}

impl From<Value> for Data {
    fn from(root: Value) -> Self {
        Self {
            root,
            labels: Labels::None,
        }
    }
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(TemplateError::new(
                LONGEST,
                format!("it is longer than {LONGEST} bytes"),
            ));
        }
        Ok(Self {
            nodes: parse::parse(lex::lex(text)?)?,
        })
    }

    /// Prints it.
    pub(crate) fn print(&self, data: &Data) -> Result<String> {
        eval::print(&self.nodes, data)
    }
}
