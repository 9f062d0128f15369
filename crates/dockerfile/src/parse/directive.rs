//! The `# key=value` lines at the top of a file.

use super::json;
use crate::ast::{Directive, Directives};
use crate::{Diagnostic, Span};

/// Reads directives line by line until the first line that is none.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) directives: Directives,
    escape_seen: Option<Span>,
    done: bool,
    /// A `#!` line came first. It hides `escape`, which is read less leniently than the others.
    shebang: bool,
}

impl Reader {
    /// Takes a line that has no leading blanks. Says whether it is a directive.
    pub(super) fn line(&mut self, text: &str, span: Span) -> Result<bool, Diagnostic> {
        if self.done {
            return Ok(false);
        }
        if span.first_line == 1 && text.starts_with("#!") {
            self.shebang = true;
            return Ok(false);
        }
        let Some((name, value)) = text.strip_prefix('#').and_then(key_value) else {
            self.done = true;
            return Ok(false);
        };
        let directive = Directive {
            value: value.to_owned(),
            span,
        };
        let Directives { syntax, check, .. } = &mut self.directives;
        let earlier = match name.as_str() {
            "syntax" => syntax.replace(directive).map(|d| d.span),
            "check" => check.replace(directive).map(|d| d.span),
            "escape" if self.shebang => None,
            "escape" => {
                self.directives.escape = escape(value, span)?;
                self.escape_seen.replace(span)
            }
            _ => {
                self.done = true;
                return Ok(false);
            }
        };
        if let Some(earlier) = earlier {
            let message = format!("directive `{name}` is given twice");
            let error = Diagnostic::error("duplicate-directive", span, message);
            return Err(error.with_label(earlier, "first given here"));
        }
        Ok(true)
    }

    /// Called for a line that is no comment: what follows it is no directive.
    pub(super) fn stop(&mut self) {
        self.done = true;
    }
}

fn escape(value: &str, span: Span) -> Result<char, Diagnostic> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => {
            let message = format!("the escape character cannot be `{value}`");
            let error = Diagnostic::error("invalid-escape", span, message);
            Err(error.with_hint("use `\\` or a backtick"))
        }
    }
}

/// Splits ` key = value `; the key in lower case.
fn key_value(text: &str) -> Option<(String, &str)> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let name = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric());
    (name && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

/// Finds the frontend that a text asks for, whether it is a Dockerfile (`# syntax=…`, after a `#!` line
/// if there is one), has comments with slashes (`// syntax=…`) or is a JSON object (`"syntax": "…"`).
///
/// What is given is the directive's whole value: a reference, perhaps followed by a blank and
/// arguments. See [`Directives::frontend`].
pub fn detect_syntax(text: &str) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => rest,
        _ => text,
    };
    in_comments(text, "#")
        .or_else(|| in_comments(text, "//"))
        .or_else(|| json::string_member(text, "syntax"))
}

fn in_comments(text: &str, comment: &str) -> Option<String> {
    for line in text.lines() {
        let (key, value) = line.strip_prefix(comment).and_then(key_value)?;
        match key.as_str() {
            "syntax" => return Some(value.to_owned()),
            "escape" | "check" => {}
            _ => return None,
        }
    }
    None
}

impl Directives {
    /// The image that `syntax` names, without what may follow it.
    pub fn frontend(&self) -> Option<&str> {
        let value = self.syntax.as_ref()?.value.as_str();
        value.split(' ').next()
    }
}
