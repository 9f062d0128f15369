//! Where an instruction stands while it is read, and where its errors go.

use std::ops::Range;

use super::keyword::Keyword;
use super::lines::Logical;
use super::words::{Flag, Word};
use super::{MAX_ERRORS, diagnostic};
use crate::diagnostic::named_in;
use crate::extension::{Extension, Extensions};
use crate::{Diagnostic, InvalidValue, Span};

/// What reading one instruction needs to know and where its errors go.
pub(super) struct Context<'c, 's> {
    pub(super) keyword: Keyword,
    pub(super) keyword_word: Word<'c>,
    pub(super) line: &'c Logical<'s>,
    pub(super) escape: char,
    pub(super) comments: &'c [&'s str],
    pub(super) extensions: &'c Extensions,
    /// Inside an ONBUILD, which other builders read too.
    pub(super) in_trigger: bool,
    pub(super) errors: &'c mut Vec<Diagnostic>,
}

impl<'c> Context<'c, '_> {
    pub(super) fn keyword(&self) -> Keyword {
        self.keyword
    }

    pub(super) fn escape(&self) -> char {
        self.escape
    }

    /// Whether the file asks for an extension, and this is a place for it.
    pub(super) fn allows(&self, extension: Extension) -> bool {
        !self.in_trigger && self.extensions.has(extension)
    }

    pub(super) fn text(&self) -> &'c str {
        &self.line.text
    }

    pub(super) fn span(&self, range: Range<usize>) -> Span {
        self.line.span(range)
    }

    pub(super) fn error(&mut self, code: &'static str, range: Range<usize>, error: InvalidValue) {
        // One line can hold any number of mistakes.
        if self.errors.len() < MAX_ERRORS {
            let span = self.span(range);
            self.errors.push(diagnostic(code, span, error));
        }
    }

    /// An error at what it names of a flag, or at all of the flag.
    pub(super) fn flag_error(&mut self, code: &'static str, flag: &Flag, error: InvalidValue) {
        let named = named_in(&error.message, &self.line.text[flag.range.clone()]).next();
        let range = match named {
            Some(part) => flag.range.start + part.start..flag.range.start + part.end,
            None => flag.range.clone(),
        };
        self.error(code, range, error);
    }

    pub(super) fn error_at_keyword(&mut self, code: &'static str, error: InvalidValue) {
        self.error(code, self.keyword_word.range(), error);
    }

    /// Goes on with the instruction inside an ONBUILD; what is given back ends that.
    pub(super) fn enter(&mut self, keyword: Keyword, word: Word<'c>) -> (Keyword, Word<'c>) {
        let outer = (self.keyword, self.keyword_word);
        (self.keyword, self.keyword_word) = (keyword, word);
        self.in_trigger = true;
        outer
    }

    pub(super) fn leave(&mut self, outer: (Keyword, Word<'c>)) {
        (self.keyword, self.keyword_word) = outer;
        self.in_trigger = false;
    }

    /// The rest of a comment above that begins with a name.
    pub(super) fn description_of(&self, name: &str) -> Option<String> {
        let after = |comment: &&str| {
            comment
                .strip_prefix(name)?
                .strip_prefix(' ')
                .map(str::to_owned)
        };
        self.comments.iter().find_map(after)
    }
}
