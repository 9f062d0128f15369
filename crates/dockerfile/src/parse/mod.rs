//! Text to [`Dockerfile`].
//!
//! Three steps: physical lines become logical ones ([`lines`]; comments go, continuations are
//! joined, heredoc bodies are taken along), a logical line is cut into words ([`words`], [`json`]), and each
//! instruction reads its words ([`instruction`], [`flags`]). An error does not end the reading:
//! what is wrong elsewhere is found too.

mod context;
mod directive;
mod flags;
mod from;
mod include;
mod instruction;
mod json;
mod keyword;
mod lines;
mod words;

pub use directive::detect_syntax;
pub use include::{Included, Loader};

use crate::ast::{Directives, Dockerfile, Instruction, InstructionKind, Stage};
use crate::heredoc::{self, Token};
use crate::{Diagnostic, InvalidValue, Span};
use context::Context;
use directive::Reader as DirectiveReader;
use include::Includes;
use keyword::Keyword;
use lines::{Lines, Logical, MAX_LINE, Physical};

/// Errors after which reading ends. Nobody reads more, and each costs memory.
const MAX_ERRORS: usize = 50;

/// Reads a Dockerfile.
///
/// ```
/// let file = dockerfile::parse("FROM alpine AS base\nRUN echo hello\n").unwrap();
/// assert_eq!(file.stages[0].name.as_deref(), Some("base"));
/// ```
///
/// # Errors
///
/// Everything that is wrong with the file, in its order, up to a limit; at least one entry, all of
/// them of [`Severity::Error`](crate::Severity::Error).
pub fn parse(source: &str) -> Result<Dockerfile, Vec<Diagnostic>> {
    parse_including(source, &mut |_| Err("files are not read here".to_owned())).file
}

/// What [`parse_including`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// As [`parse`] gives it.
    pub file: Result<Dockerfile, Vec<Diagnostic>>,
    /// The files that INCLUDE brought in, each once, in the order in which they were met. A [`Span`] counts them from 1.
    pub included: Vec<Included>,
}

/// As [`parse`]; where the file asks for the extension `include`, `load` gives the text of a file by its path in the
/// context, or says why not. The path is clean and never leads upwards.
///
/// ```
/// let source = "# barque: extensions=include\nFROM alpine\nINCLUDE common/tools\n";
/// let parsed = dockerfile::parse_including(source, &mut |path| {
///     assert_eq!(path, "common/tools");
///     Ok("RUN apk add git\n".to_owned())
/// });
/// let stage = &parsed.file.unwrap().stages[0];
/// assert_eq!(stage.instructions[0].span.file, 1);
/// ```
pub fn parse_including(source: &str, load: &mut Loader<'_>) -> Parsed {
    let mut shared = Shared::new(Includes::new(load));
    let mut parser = Parser::new(source, &mut shared);
    parser.read();
    let (directives, whole) = (parser.directives.directives.clone(), parser.whole());
    let file = shared.finish(directives, whole);
    Parsed {
        file,
        included: shared.includes.into_included(),
    }
}

/// Reads a single instruction other than FROM, with its heredocs: an ONBUILD trigger of an image, or a change
/// given on the command line. The escape character is `\`.
///
/// # Errors
///
/// As [`parse`], and when the text is not exactly one instruction.
pub fn parse_instruction(source: &str) -> Result<Instruction, Vec<Diagnostic>> {
    let mut none = |_: &str| Err(String::new());
    let mut shared = Shared::new(Includes::new(&mut none));
    let mut parser = Parser::new(source, &mut shared);
    let first = parser.next_item();
    let more = parser.next_item();
    let whole = parser.whole();
    let mut errors = shared.errors;
    let error = |message| Diagnostic::error("not-one-instruction", whole, message);
    match (first, more) {
        (Some(Item::Instruction(instruction)), None) if errors.is_empty() => {
            return Ok(instruction);
        }
        (_, Some(_)) => errors.push(error("more than one instruction")),
        (Some(Item::Stage(_)), _) => errors.push(error("FROM is not allowed here")),
        (None, None) if errors.is_empty() => errors.push(error("no instruction")),
        _ => {}
    }
    Err(errors)
}

enum Item {
    Stage(Box<Stage>),
    Instruction(Instruction),
    Include(String, Span),
}

/// What all texts that make up one Dockerfile have in common.
struct Shared<'l> {
    file: Dockerfile,
    errors: Vec<Diagnostic>,
    instructions: usize,
    includes: Includes<'l>,
}

/// Reads one text.
struct Parser<'s, 'p, 'l> {
    lines: Lines<'s>,
    directives: DirectiveReader,
    /// Comments since the last instruction.
    comments: Vec<&'s str>,
    shared: &'p mut Shared<'l>,
}

fn empty() -> Dockerfile {
    Dockerfile {
        directives: Directives::default(),
        global_args: Vec::new(),
        stages: Vec::new(),
        warnings: Vec::new(),
    }
}

impl<'l> Shared<'l> {
    fn new(includes: Includes<'l>) -> Self {
        Self {
            file: empty(),
            errors: Vec::new(),
            instructions: 0,
            includes,
        }
    }

    /// Puts an instruction where it belongs.
    fn place(&mut self, instruction: Instruction) {
        match self.file.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None if matches!(instruction.kind, InstructionKind::Arg(_)) => {
                self.file.global_args.push(instruction);
            }
            // A FROM that could not be read is the error to show, not what follows from it.
            None if !self.errors.is_empty() => {}
            None => {
                let keyword = instruction.kind.keyword();
                let message = format!("{keyword} before the first FROM");
                let error = Diagnostic::error("no-stage", instruction.span, message);
                let hint = "only ARG may stand before FROM";
                self.errors.push(error.with_hint(hint));
            }
        }
    }

    /// The file, or all that is wrong with it. `whole` is its place.
    fn finish(
        &mut self,
        directives: Directives,
        whole: Span,
    ) -> Result<Dockerfile, Vec<Diagnostic>> {
        let mut errors = std::mem::take(&mut self.errors);
        if errors.is_empty() && self.file.stages.is_empty() {
            let (code, message) = match self.instructions {
                0 => ("empty-file", "the file has no instructions"),
                _ => ("no-stages", "the file has no stage to build"),
            };
            let error = Diagnostic::error(code, whole, message);
            errors.push(error.with_hint("start a stage with `FROM image`"));
        }
        if !errors.is_empty() {
            errors.sort_by_key(|e| (e.span.file, e.span.start));
            return Err(errors);
        }
        self.file.directives = directives;
        Ok(std::mem::replace(&mut self.file, empty()))
    }
}

impl<'s, 'p, 'l> Parser<'s, 'p, 'l> {
    fn new(source: &'s str, shared: &'p mut Shared<'l>) -> Self {
        Self {
            lines: Lines::new(source, 0),
            directives: DirectiveReader::default(),
            comments: Vec::new(),
            shared,
        }
    }

    /// For the text with this number, that a file with these directives includes.
    fn inside(
        source: &'s str,
        number: u32,
        outer: &Directives,
        shared: &'p mut Shared<'l>,
    ) -> Self {
        Self {
            lines: Lines::new(source, number),
            directives: DirectiveReader::inside(outer),
            ..Self::new(source, shared)
        }
    }

    /// Reads all of it, and what it includes.
    fn read(&mut self) {
        while let Some(item) = self.next_item() {
            match item {
                Item::Stage(stage) => self.shared.file.stages.push(*stage),
                Item::Instruction(instruction) => self.shared.place(instruction),
                Item::Include(path, span) => self.include(&path, span),
            }
        }
    }

    fn escape(&self) -> char {
        self.directives.directives.escape
    }

    /// The next instruction that can be made something of.
    fn next_item(&mut self) -> Option<Item> {
        while self.shared.errors.len() < MAX_ERRORS {
            let (line, end_of_lines) = self.next_logical()?;
            let item = self.item(&line, end_of_lines);
            self.comments.clear();
            if item.is_some() {
                return item;
            }
        }
        None
    }

    fn next_physical(&mut self) -> Option<Physical<'s>> {
        let line = self.lines.next_line()?;
        if line.text.len() > MAX_LINE {
            let message = format!(
                "a line of {} bytes; no more than {MAX_LINE} are read",
                line.text.len()
            );
            let error = Diagnostic::error("line-too-long", line.span(), message);
            self.shared.errors.push(error);
        }
        Some(line)
    }

    /// Reads up to the end of the next instruction's line, without heredoc bodies. Gives the offset
    /// behind its last physical line as well.
    fn next_logical(&mut self) -> Option<(Logical<'s>, usize)> {
        let escape_then_rest = loop {
            let line = self.next_physical()?;
            let text = line.trimmed();
            let trimmed = text.trim_start();
            if trimmed.starts_with('#') {
                self.comment(trimmed, &line);
                continue;
            }
            self.directives.stop();
            let start = line.start + (text.len() - trimmed.len());
            match lines::continued(trimmed, self.escape()) {
                Some(cut) => break (Logical::new(cut, start, &line), line, true),
                None if trimmed.is_empty() => {}
                None => break (Logical::new(trimmed, start, &line), line, false),
            }
        };
        let (mut logical, first, continues) = escape_then_rest;
        let end = if continues {
            self.continuations(&mut logical).unwrap_or(first.end())
        } else {
            first.end()
        };
        Some((logical, end))
    }

    fn comment(&mut self, trimmed: &'s str, line: &Physical<'s>) {
        match self.directives.line(trimmed, line.span()) {
            Ok(true) => {}
            Ok(false) => match trimmed[1..].trim() {
                "" => self.comments.clear(),
                comment => self.comments.push(comment),
            },
            Err(error) => self.shared.errors.push(error),
        }
    }

    /// Joins the lines that follow one that ends in an escape.
    fn continuations(&mut self, logical: &mut Logical<'s>) -> Option<usize> {
        let escape = self.escape();
        let mut end = None;
        let mut blank: Option<Span> = None;
        while let Some(line) = self.next_physical() {
            end = Some(line.end());
            let text = line.trimmed();
            let trimmed = text.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                blank.get_or_insert(line.span());
                continue;
            }
            let (text, continues) = match lines::continued(text, escape) {
                Some(cut) => (cut, true),
                None => (text, false),
            };
            logical.push(text, line.start, line.number);
            if !continues {
                break;
            }
        }
        if let Some(span) = blank {
            let message = "empty line inside a continued instruction";
            let warning = Diagnostic::warning("NoEmptyContinuation", span, message);
            self.shared.file.warnings.push(warning);
        }
        end
    }

    /// Makes an item of a line, after taking the bodies of its heredocs.
    fn item(&mut self, line: &Logical<'s>, end_of_lines: usize) -> Option<Item> {
        let escape = self.escape();
        let parts = instruction::split(&line.text, 0, escape);
        if parts.keyword.text.is_empty() {
            return None;
        }
        self.shared.instructions += 1;
        let Some(keyword) = Keyword::find(parts.keyword.text) else {
            if include::is_include(parts.keyword.text) {
                return self.include_item(line, &parts);
            }
            let error = Keyword::unknown(parts.keyword.text);
            let span = line.span(parts.keyword.range());
            let error = diagnostic("unknown-instruction", span, error);
            self.shared.errors.push(error);
            return None;
        };
        let mut heredocs = self.announced(line, keyword, &parts);
        let terminated = self.bodies(line, &mut heredocs);
        let mut span = line.whole();
        if !heredocs.is_empty() {
            span.last_line = self.lines.number().max(span.last_line);
            span.end = heredocs
                .last()
                .map_or(end_of_lines, |t| t.heredoc.span.end + t.heredoc.name.len())
                .min(self.lines.source().len());
        }
        if !terminated {
            return None;
        }
        let mut cx = Context {
            keyword,
            keyword_word: parts.keyword,
            line,
            escape,
            comments: &self.comments,
            extensions: &self.directives.directives.extensions,
            in_trigger: false,
            errors: &mut self.shared.errors,
        };
        if keyword == Keyword::From {
            return cx.stage(&parts, span).map(|s| Item::Stage(Box::new(s)));
        }
        let kind = instruction::kind(&mut cx, &parts, heredocs)?;
        Some(Item::Instruction(Instruction {
            span,
            original: line.text.trim().to_owned(),
            comments: owned(&self.comments),
            kind,
        }))
    }

    fn announced(
        &self,
        line: &Logical<'s>,
        keyword: Keyword,
        parts: &instruction::Parts<'_>,
    ) -> Vec<Token> {
        if !line.text.contains("<<") {
            return Vec::new();
        }
        let takes = if keyword == Keyword::Onbuild {
            let inner = instruction::split(&line.text, parts.rest.at, self.escape());
            let keyword = Keyword::find(inner.keyword.text);
            keyword.is_some_and(|keyword| instruction::takes_heredocs(keyword, inner.rest))
        } else {
            instruction::takes_heredocs(keyword, parts.rest)
        };
        if takes {
            heredoc::find(&line.text)
        } else {
            Vec::new()
        }
    }

    /// Reads the bodies of heredocs. `false` if the file ends in the middle of one.
    fn bodies(&mut self, line: &Logical<'s>, heredocs: &mut [Token]) -> bool {
        for token in heredocs {
            let heredoc = &mut token.heredoc;
            let mut span: Option<Span> = None;
            loop {
                let Some(body) = self.next_physical() else {
                    let message = format!("heredoc `{}` has no end", heredoc.name);
                    let hint = format!("add a line with `{}` alone", heredoc.name);
                    let at = line.span(token.range.clone());
                    let error = Diagnostic::error("unterminated-heredoc", at, message);
                    self.shared.errors.push(error.with_hint(hint));
                    return false;
                };
                let mut text = body.trimmed();
                if heredoc.strip_tabs {
                    text = text.trim_start_matches('\t');
                }
                if text == heredoc.name {
                    let start = span.map_or(body.start, |s| s.start);
                    let first_line = span.map_or(body.number, |s| s.first_line);
                    heredoc.span = Span {
                        file: body.file,
                        start,
                        end: body.start,
                        first_line,
                        last_line: body.number.saturating_sub(1).max(first_line),
                    };
                    heredoc.body = self.lines.source()[start..body.start].to_owned();
                    break;
                }
                span.get_or_insert(body.span());
            }
        }
        true
    }

    fn whole(&self) -> Span {
        let source = self.lines.source();
        Span {
            file: self.lines.file(),
            start: 0,
            end: source.len(),
            first_line: 1,
            last_line: self.lines.number().max(1),
        }
    }
}

fn owned(comments: &[&str]) -> Vec<String> {
    comments.iter().map(|c| (*c).to_owned()).collect()
}

fn diagnostic(code: &'static str, span: Span, error: InvalidValue) -> Diagnostic {
    let diagnostic = Diagnostic::error(code, span, error.message);
    match error.hint {
        Some(hint) => diagnostic.with_hint(hint),
        None => diagnostic,
    }
}
