//! FROM, which opens a stage.

use super::instruction::Parts;
use super::words::Word;
use super::{Context, flags, owned};
use crate::ast::Stage;
use crate::{InvalidValue, Span};

impl Context<'_, '_> {
    /// Reads a FROM.
    pub(super) fn stage(&mut self, parts: &Parts<'_>, span: Span) -> Option<Stage> {
        let platform = flags::platform(self, &parts.flags);
        let words: Vec<Word<'_>> = parts.rest.by_blanks().collect();
        let (base, name) = match words[..] {
            [base] => (base, None),
            [base, as_, name] if as_.text.eq_ignore_ascii_case("as") => (base, Some(name)),
            _ => {
                let message = "FROM takes an image, or an image and `AS name`";
                let range = match words.is_empty() {
                    true => parts.keyword.range(),
                    false => parts.rest.range(),
                };
                self.error("from-arguments", range, InvalidValue::new(message));
                return None;
            }
        };
        if let Some(name) = name.filter(|name| !is_stage_name(name.text)) {
            let message = format!("`{}` cannot be the name of a stage", name.text);
            let hint = "names begin with a letter and go on with letters, digits, `-`, `_` and `.`";
            let hint = Some(hint.to_owned());
            self.error("stage-name", name.range(), InvalidValue { message, hint });
            return None;
        }
        let lower = name.map(|name| name.text.to_lowercase());
        Some(Stage {
            description: lower.as_deref().and_then(|name| self.description_of(name)),
            name: lower,
            name_as_written: name.map(|name| name.text.to_owned()),
            base: base.text.to_owned(),
            platform,
            original: self.text().trim().to_owned(),
            comments: owned(self.comments),
            span,
            base_span: self.span(base.range()),
            instructions: Vec::new(),
        })
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
