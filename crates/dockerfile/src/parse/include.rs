//! INCLUDE, an extension: the instructions of another file of the context, as if they stood here.
//!
//! The files come from a function that the caller gives, so that nothing is read here. What a hostile context could do
//! with it is bounded: files that include each other are an error, and so are too deep, too many and too much.

use std::sync::Arc;

use super::instruction::Parts;
use super::lines::Logical;
use super::{Item, Parser, diagnostic};
use crate::ast::Directives;
use crate::extension::Extension;
use crate::{Diagnostic, InvalidValue, Span, expand, path};

/// Gives the text of a file by its path in the context, or says in a few words why it cannot be had.
pub type Loader<'l> = dyn FnMut(&str) -> Result<String, String> + 'l;

/// Deepest that files include each other. Each level is a level of our stack.
const MAX_DEPTH: usize = 16;

/// Most INCLUDE instructions that count, those in included files each time anew. Sixteen levels of files with two of them
/// would be 65,536 otherwise.
const MAX_INCLUDES: usize = 256;

/// Most bytes that all of them together bring in.
const MAX_BYTES: usize = 16 << 20;

/// A file that was included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Included {
    /// Its path in the context.
    pub path: String,
    /// What is in it.
    pub text: Arc<str>,
    /// The INCLUDE that brought it in first.
    pub at: Span,
}

/// The files met so far, and those that are being read.
pub(super) struct Includes<'l> {
    load: &'l mut Loader<'l>,
    included: Vec<Included>,
    /// Numbers of the files that we are in, outermost first.
    open: Vec<usize>,
    times: usize,
    bytes: usize,
}

impl<'l> Includes<'l> {
    pub(super) fn new(load: &'l mut Loader<'l>) -> Self {
        Self {
            load,
            included: Vec::new(),
            open: Vec::new(),
            times: 0,
            bytes: 0,
        }
    }

    pub(super) fn into_included(self) -> Vec<Included> {
        self.included
    }

    /// Begins a file: its number among those included, and its text.
    fn enter(&mut self, path: &str, at: Span) -> Result<(usize, Arc<str>), InvalidValue> {
        let known = self.included.iter().position(|i| i.path == path);
        if known.is_some_and(|number| self.open.contains(&number)) {
            let way = self.open.iter().map(|n| self.included[*n].path.as_str());
            let way: Vec<&str> = way.skip_while(|p| *p != path).chain([path]).collect();
            let message = format!("`{path}` includes itself: {}", way.join(" → "));
            return Err(InvalidValue::new(message));
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("files include each other more than {MAX_DEPTH} deep");
            return Err(InvalidValue::new(message));
        }
        self.times += 1;
        if self.times > MAX_INCLUDES {
            let message = format!("more than {MAX_INCLUDES} INCLUDE instructions");
            return Err(InvalidValue::new(message));
        }
        let number = match known {
            Some(number) => number,
            None => {
                let text = (self.load)(path)
                    .map_err(|why| InvalidValue::new(format!("cannot include `{path}`: {why}")))?;
                self.included.push(Included {
                    path: path.to_owned(),
                    text: text.into(),
                    at,
                });
                self.included.len() - 1
            }
        };
        let text = Arc::clone(&self.included[number].text);
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_BYTES {
            let message = "the included files are more than 16 MiB together";
            return Err(InvalidValue::new(message));
        }
        self.open.push(number);
        Ok((number, text))
    }

    fn leave(&mut self) {
        self.open.pop();
    }
}

/// Whether a keyword is INCLUDE.
pub(super) fn is_include(word: &str) -> bool {
    word.eq_ignore_ascii_case("INCLUDE")
}

impl Parser<'_, '_, '_> {
    /// Reads an INCLUDE instruction.
    pub(super) fn include_item(&mut self, line: &Logical<'_>, parts: &Parts<'_>) -> Option<Item> {
        let keyword = line.span(parts.keyword.range());
        if !self.has(Extension::Include) {
            let error = Diagnostic::error(
                "unknown-instruction",
                keyword,
                format!("unknown instruction `{}`", parts.keyword.text),
            );
            let hint = Extension::Include.how_to_ask();
            self.shared.errors.push(error.with_hint(hint));
            return None;
        }
        if let Some(flag) = parts.flags.first() {
            let error = InvalidValue::new("INCLUDE has no flags");
            let span = line.span(flag.range.clone());
            self.shared
                .errors
                .push(diagnostic("unknown-flag", span, error));
            return None;
        }
        let words = parts.rest.by_quotes(self.escape());
        let [word] = words[..] else {
            let error = InvalidValue::new("INCLUDE takes the path of one file");
            self.shared
                .errors
                .push(diagnostic("include-arguments", keyword, error));
            return None;
        };
        match file_path(word.text, self.escape()) {
            Ok(path) => Some(Item::Include(path, line.whole())),
            Err(error) => {
                let span = line.span(word.range());
                self.shared
                    .errors
                    .push(diagnostic("include-arguments", span, error));
                None
            }
        }
    }

    fn has(&self, extension: Extension) -> bool {
        self.directives.directives.extensions.has(extension)
    }

    /// Reads the instructions of another file.
    pub(super) fn include(&mut self, path: &str, span: Span) {
        let (number, text) = match self.shared.includes.enter(path, span) {
            Ok(entered) => entered,
            Err(error) => {
                self.shared.errors.push(diagnostic("include", span, error));
                return;
            }
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
        let before = self.shared.errors.len();
        let outer: &Directives = &self.directives.directives;
        Parser::inside(&text, number, outer, self.shared).read();
        self.shared.includes.leave();
        for error in &mut self.shared.errors[before..] {
            error.label(span, "included here");
        }
    }
}

/// The path that an INCLUDE names, from the root of the context.
fn file_path(word: &str, escape: char) -> Result<String, InvalidValue> {
    let expanded = expand::word(word, escape, &expand::Empty)?;
    let names = &expanded.names;
    if !names.used.is_empty() || !names.undefined.is_empty() {
        return Err(InvalidValue {
            message: format!("variables are not expanded in `INCLUDE {word}`"),
            hint: Some(
                "which files belong together has to be known before anything is evaluated"
                    .to_owned(),
            ),
        });
    }
    let path = path::join("/", &expanded.text);
    match path.trim_start_matches('/') {
        "" => Err(InvalidValue::new("INCLUDE takes the path of one file")),
        path => Ok(path.to_owned()),
    }
}
