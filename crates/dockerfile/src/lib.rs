//! Dockerfile text to typed, located syntax; heredocs; expansion; ignore files; lint. No I/O.
//!
//! [`parse`] makes a [`Dockerfile`] of text, [`expand`] and [`scope`] give its words their values,
//! [`ignore`] and [`glob`] decide which files of a context are meant. Everything here is a pure
//! function of its arguments, takes any text without panicking, and needs time and memory in
//! proportion to it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "what a test looks at is no part of the program"
    )
)]
#![forbid(unsafe_code)]

mod ast;
pub mod chmod;
pub mod csv;
mod diagnostic;
pub mod duration;
mod encoding;
mod excerpt;
pub mod expand;
pub mod extension;
pub mod glob;
mod heredoc;
pub mod history;
pub mod ignore;
mod invalid;
pub mod lint;
pub mod mount;
pub mod owner;
mod parse;
pub mod path;
pub mod ports;
pub mod remote;
pub mod scope;
pub mod signal;
mod size;
mod span;
mod suggest;

pub use ast::*;
pub use diagnostic::{Diagnostic, Label, Severity, way};
pub use encoding::decode;
pub use excerpt::excerpt;
pub use invalid::InvalidValue;
pub use parse::{
    Included, Loader, Parsed, detect_syntax, parse, parse_including, parse_instruction,
};
pub use span::Span;
pub use suggest::nearest;
