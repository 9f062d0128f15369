//! The `# key=value` lines at the top of a file.

use super::json;
use crate::ast::{Directive, Directives};
use crate::extension::Extensions;
use crate::{Diagnostic, InvalidValue, Span, lint, nearest};

/// Reads directives line by line until the first line that is none.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) directives: Directives,
    escape_seen: Option<Span>,
    extensions_seen: Option<Span>,
    /// No directive of Docker's can follow.
    done: bool,
    /// No directive at all can follow.
    closed: bool,
    /// The file is part of another one, whose escape character it has to share.
    inner: bool,
    /// A `#!` line came first. It hides `escape`, which is read less leniently than the others.
    shebang: bool,
}

impl Reader {
    /// For a file that another one with these directives includes.
    pub(super) fn inside(outer: &Directives) -> Self {
        Self {
            directives: Directives {
                escape: outer.escape,
                extensions: outer.extensions.clone(),
                ..Directives::default()
            },
            inner: true,
            ..Self::default()
        }
    }

    /// Takes a line that has no leading blanks. Says whether it is a directive.
    pub(super) fn line(&mut self, text: &str, span: Span) -> Result<bool, Diagnostic> {
        if !self.closed
            && let Some((name, value)) = ours(text)
        {
            self.done = true;
            self.ours(name, value, span)?;
            return Ok(true);
        }
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
                let escape = escape(value, span)?;
                if self.inner && escape != self.directives.escape {
                    let message = "the file that includes this one has another escape character";
                    return Err(Diagnostic::error("invalid-escape", span, message));
                }
                self.directives.escape = escape;
                self.escape_seen.replace(span)
            }
            _ => {
                self.done = true;
                return Ok(false);
            }
        };
        once(&name, span, earlier)?;
        Ok(true)
    }

    /// Takes a directive of ours.
    fn ours(&mut self, name: &str, value: &str, span: Span) -> Result<(), Diagnostic> {
        let earlier = match name {
            "extensions" => {
                let asked = Extensions::parse(value)
                    .map_err(|error| super::diagnostic("unknown-extension", span, error))?;
                self.directives.extensions.extend(&asked);
                self.extensions_seen.replace(span)
            }
            "check" => {
                lint::Asked::parse(value)
                    .map_err(|error| super::diagnostic("unknown-rule", span, error))?;
                let directive = Directive {
                    value: value.to_owned(),
                    span,
                };
                self.directives.rules.replace(directive).map(|d| d.span)
            }
            _ => {
                let error = InvalidValue::new(format!("unknown directive `barque: {name}`"));
                let mut error = error.or_meant(nearest(name, ["extensions", "check"]));
                if error.hint.is_none() {
                    error.hint = Some("directives of barque are extensions and check".to_owned());
                }
                return Err(super::diagnostic("unknown-directive", span, error));
            }
        };
        once(&format!("barque: {name}"), span, earlier)
    }

    /// Called for a line that is no comment: what follows it is no directive.
    pub(super) fn stop(&mut self) {
        self.done = true;
        self.closed = true;
    }
}

fn once(name: &str, span: Span, earlier: Option<Span>) -> Result<(), Diagnostic> {
    let Some(earlier) = earlier else {
        return Ok(());
    };
    let message = format!("directive `{name}` is given twice");
    let error = Diagnostic::error("duplicate-directive", span, message);
    Err(error.with_label(earlier, "first given here"))
}

/// Splits `# barque: key=value`. A comment that only begins with our name is a comment.
fn ours(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('#')?.trim_start();
    let (key, value) = text.strip_prefix("barque:")?.split_once('=')?;
    let key = key.trim();
    let word = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    word.then(|| (key, value.trim()))
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
