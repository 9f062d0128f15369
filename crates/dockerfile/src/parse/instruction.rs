//! One logical line: keyword, flags, and what each instruction makes of the rest.

use super::Context;
use super::flags::{self, Gone};
use super::json::{self, Json};
use super::keyword::Keyword;
use super::words::{self, Flag, Word};
use crate::ast::{
    ArgDefinition, CommandLine, Copy, Healthcheck, InstructionKind as Kind, KeyValue, Onbuild, Run,
    Settable, Source, Unset,
};
use crate::heredoc::Token;
use crate::{Diagnostic, InvalidValue, remote};

/// A line cut into its three parts.
pub(super) struct Parts<'l> {
    pub(super) keyword: Word<'l>,
    pub(super) flags: Vec<Flag>,
    pub(super) rest: Word<'l>,
}

/// Cuts a line, or the part of it that begins at `at`.
pub(super) fn split(line: &str, at: usize, escape: char) -> Parts<'_> {
    let (keyword, rest) = Word::trimmed(line, at).split_first();
    let (flags, rest) = words::flags(Word::trimmed(line, rest.at), escape);
    Parts {
        keyword,
        flags,
        rest,
    }
}

/// Whether the heredocs that a line announces are heredocs to this instruction.
pub(super) fn takes_heredocs(keyword: Keyword, rest: Word<'_>) -> bool {
    matches!(keyword, Keyword::Run | Keyword::Copy | Keyword::Add)
        && !matches!(json::array(rest.text), Json::Strings(_))
}

/// Reads what follows the keyword. `None` if an error was reported that leaves nothing to go on with.
///
/// `heredocs` are those of the line, with their bodies.
pub(super) fn kind(
    cx: &mut Context<'_, '_>,
    parts: &Parts<'_>,
    heredocs: Vec<Token>,
) -> Option<Kind> {
    let Parts { flags, rest, .. } = parts;
    let rest = *rest;
    // These three drop flags that they do not have, as they always did.
    let lenient = matches!(
        cx.keyword(),
        Keyword::Arg | Keyword::StopSignal | Keyword::Healthcheck
    );
    let own = matches!(cx.keyword(), Keyword::Run | Keyword::Copy | Keyword::Add);
    let settable = settable(cx.keyword());
    if let Some(what) = settable {
        if let Some(gone) = flags::taken_away(cx, flags) {
            return unset(cx, what, gone, rest).map(Kind::Unset);
        }
    } else if !lenient && !own {
        flags::none(cx, flags);
    }
    match cx.keyword() {
        Keyword::Add => copy(cx, flags, rest, heredocs, true).map(|c| Kind::Add(Box::new(c))),
        Keyword::Copy => copy(cx, flags, rest, heredocs, false).map(|c| Kind::Copy(Box::new(c))),
        Keyword::Run => {
            let run = Run {
                flags: flags::run(cx, flags),
                command: command_line(cx, rest)?,
                heredocs: heredocs.into_iter().map(|t| t.heredoc).collect(),
            };
            Some(Kind::Run(Box::new(run)))
        }
        Keyword::Cmd => command_line(cx, rest).map(Kind::Cmd),
        Keyword::Entrypoint => command_line(cx, rest).map(Kind::Entrypoint),
        Keyword::Healthcheck => {
            healthcheck(cx, flags, rest).map(|h| Kind::Healthcheck(Box::new(h)))
        }
        Keyword::Shell => shell(cx, rest).map(Kind::Shell),
        Keyword::Env => key_values(cx, rest).map(Kind::Env),
        Keyword::Label => key_values(cx, rest).map(Kind::Label),
        Keyword::Arg => arg(cx, rest).map(Kind::Arg),
        Keyword::Expose => at_least_one(cx, rest).map(Kind::Expose),
        Keyword::Volume => volume(cx, rest).map(Kind::Volume),
        Keyword::User => exactly_one(cx, rest).map(Kind::User),
        Keyword::Workdir => exactly_one(cx, rest).map(Kind::Workdir),
        Keyword::StopSignal => exactly_one(cx, rest).map(Kind::StopSignal),
        Keyword::Maintainer => exactly_one(cx, rest).map(Kind::Maintainer),
        Keyword::Onbuild => onbuild(cx, rest, heredocs).map(Kind::Onbuild),
        // FROM opens a stage and is read elsewhere.
        Keyword::From => None,
    }
}

/// What an instruction sets, if an image can have several of it.
fn settable(keyword: Keyword) -> Option<Settable> {
    Some(match keyword {
        Keyword::Env => Settable::Env,
        Keyword::Expose => Settable::Expose,
        Keyword::Label => Settable::Label,
        Keyword::Volume => Settable::Volume,
        _ => return None,
    })
}

/// Reads what follows `--reset` or `--unset`.
fn unset(cx: &mut Context<'_, '_>, what: Settable, gone: Gone, rest: Word<'_>) -> Option<Unset> {
    let keyword = cx.keyword();
    if gone == Gone::All {
        if !rest.text.is_empty() {
            let message = format!("`{keyword} --reset` takes no arguments");
            let hint = Some(format!("set new values with another {keyword}"));
            let error = InvalidValue { message, hint };
            cx.error("unexpected-argument", rest.range(), error);
            return None;
        }
        return Some(Unset {
            what,
            names: Vec::new(),
        });
    }
    let words = rest.by_quotes(cx.escape());
    if words.is_empty() {
        missing(cx, "at least one name after `--unset`");
        return None;
    }
    let named = matches!(what, Settable::Env | Settable::Label);
    for word in words.iter().filter(|w| named && w.text.contains('=')) {
        let message = format!(
            "`{keyword} --unset` takes names, and no value as in `{}`",
            word.text
        );
        cx.error(
            "unexpected-argument",
            word.range(),
            InvalidValue::new(message),
        );
    }
    Some(Unset {
        what,
        names: words.into_iter().map(|w| w.text.to_owned()).collect(),
    })
}

fn missing(cx: &mut Context<'_, '_>, what: &str) {
    // What a flag that is none was meant for may be what is missing.
    let here = cx.span(cx.keyword_word.range());
    let flag = |error: &Diagnostic| error.code == "unknown-flag" && error.span.start > here.start;
    if cx
        .errors
        .last()
        .is_some_and(|e| flag(e) && e.span.file == here.file)
    {
        return;
    }
    let keyword = cx.keyword();
    let message = format!("{keyword} needs {what}");
    cx.error_at_keyword("missing-argument", InvalidValue::new(message));
}

fn exactly_one(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<String> {
    if rest.text.is_empty() {
        missing(cx, "a value");
        return None;
    }
    Some(rest.text.to_owned())
}

fn at_least_one(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<Vec<String>> {
    if rest.text.is_empty() {
        missing(cx, "at least one value");
        return None;
    }
    Some(rest.by_blanks().map(|w| w.text.to_owned()).collect())
}

/// Reads the JSON form; `None` is shell text. An array of other things is reported.
fn json_form(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Result<Option<Vec<String>>, ()> {
    if !rest.text.starts_with('[') {
        return Ok(None);
    }
    match json::array(rest.text) {
        Json::Strings(strings) => Ok(Some(strings)),
        Json::None => Ok(None),
        Json::OtherArray => {
            let message = "a JSON array here can hold strings only";
            let hint = Some("put quotes around each element".to_owned());
            let error = InvalidValue {
                message: message.to_owned(),
                hint,
            };
            cx.error("json-not-strings", rest.range(), error);
            Err(())
        }
    }
}

fn command_line(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<CommandLine> {
    let form = json_form(cx, rest).ok()?;
    Some(match form {
        Some(argv) => CommandLine::Exec(argv),
        None => CommandLine::Shell(rest.text.to_owned()),
    })
}

fn shell(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<Vec<String>> {
    match json_form(cx, rest).ok()? {
        Some(argv) if !argv.is_empty() => Some(argv),
        None if !rest.text.is_empty() => {
            let message = "SHELL takes the JSON form only".to_owned();
            let words: Vec<_> = rest
                .by_blanks()
                .map(|w| format!("\"{}\"", w.text))
                .collect();
            let hint = Some(format!("write it as `SHELL [{}]`", words.join(", ")));
            cx.error(
                "shell-not-json",
                rest.range(),
                InvalidValue { message, hint },
            );
            None
        }
        _ => {
            missing(cx, "at least one value");
            None
        }
    }
}

fn copy(
    cx: &mut Context<'_, '_>,
    flags: &[Flag],
    rest: Word<'_>,
    heredocs: Vec<Token>,
    add: bool,
) -> Option<Copy> {
    let flags = flags::copy(cx, flags, add);
    let mut sources: Vec<Source> = match json_form(cx, rest).ok()? {
        Some(paths) => paths.into_iter().map(Source::Path).collect(),
        None => words_and_heredocs(rest, heredocs),
    };
    let last = sources.pop();
    match last {
        Some(Source::Path(destination)) if !sources.is_empty() => {
            let copy = Copy {
                flags,
                sources,
                destination,
            };
            for heredoc in copy.heredocs() {
                if heredoc.name.trim_start_matches('/') != heredoc.file_name() {
                    let message = format!("`{}` is no name for a file", heredoc.name);
                    cx.error("heredoc-name", rest.range(), InvalidValue::new(message));
                }
            }
            let words = copy.paths().chain(copy.flags.checksum.as_deref());
            let known_now = !words
                .into_iter()
                .any(|w| w.contains(['$', '\\', '`', '\'', '"']));
            if let Some(Err(error)) = known_now.then(|| remote::check_checksum(&copy)) {
                cx.error("invalid-flag", rest.range(), error);
            }
            Some(copy)
        }
        Some(Source::Inline(heredoc)) if !sources.is_empty() => {
            let keyword = cx.keyword();
            let name = heredoc.name;
            let message = format!("the destination of {keyword} cannot be the heredoc `{name}`");
            cx.error(
                "heredoc-destination",
                rest.range(),
                InvalidValue::new(message),
            );
            None
        }
        _ => {
            missing(cx, "a source and a destination");
            None
        }
    }
}

/// The words between blanks, but for the heredocs, which may hold blanks.
fn words_and_heredocs(rest: Word<'_>, heredocs: Vec<Token>) -> Vec<Source> {
    let path = |word: Word<'_>| Source::Path(word.text.to_owned());
    let mut sources = Vec::new();
    let mut at = 0;
    let end = rest.text.len();
    let between = |from: usize, to: usize| Word {
        text: &rest.text[from..to.max(from)],
        at: rest.at + from,
    };
    for Token { range, heredoc } in heredocs {
        let Some(start) = range.start.checked_sub(rest.at) else {
            continue;
        };
        sources.extend(between(at, start).by_blanks().map(path));
        sources.push(Source::Inline(heredoc));
        at = (range.end - rest.at).min(end);
    }
    sources.extend(between(at, end).by_blanks().map(path));
    sources
}

fn volume(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<Vec<String>> {
    let paths = match json_form(cx, rest).ok()? {
        Some(paths) if !paths.is_empty() => paths.iter().map(|p| p.trim().to_owned()).collect(),
        _ => at_least_one(
            cx,
            Word {
                text: if rest.text == "[]" { "" } else { rest.text },
                ..rest
            },
        )?,
    };
    if paths.iter().any(String::is_empty) {
        let error = InvalidValue::new("a VOLUME cannot be the empty string");
        cx.error("empty-volume", rest.range(), error);
        return None;
    }
    Some(paths)
}

/// `KEY=VALUE` words, or the old form in which the first word is the key and the rest its value.
fn key_values(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<Vec<KeyValue>> {
    let words = rest.by_quotes(cx.escape());
    let Some(first) = words.first() else {
        missing(cx, "at least one `KEY=VALUE`");
        return None;
    };
    if !first.text.contains('=') {
        let (key, value) = rest.split_first();
        if value.text.is_empty() {
            let keyword = cx.keyword();
            let message = format!("{keyword} needs a value for `{}`", key.text);
            let hint = Some(format!("write `{keyword} {}=…`", key.text));
            cx.error("missing-value", key.range(), InvalidValue { message, hint });
            return None;
        }
        return Some(vec![KeyValue {
            key: key.text.to_owned(),
            value: value.text.to_owned(),
            legacy: true,
        }]);
    }
    let mut pairs = Vec::with_capacity(words.len());
    for word in words {
        let keyword = cx.keyword();
        match word.text.split_once('=') {
            Some(("", _)) => {
                let error = InvalidValue::new(format!("{keyword} needs a name before `=`"));
                cx.error("empty-name", word.range(), error);
            }
            Some((key, value)) => pairs.push(KeyValue {
                key: key.to_owned(),
                value: value.to_owned(),
                legacy: false,
            }),
            None => {
                let message = format!("no `=` in `{}`", word.text);
                let hint = Some("put quotes around a value that has blanks in it".to_owned());
                cx.error(
                    "missing-equals",
                    word.range(),
                    InvalidValue { message, hint },
                );
            }
        }
    }
    Some(pairs)
}

fn arg(cx: &mut Context<'_, '_>, rest: Word<'_>) -> Option<Vec<ArgDefinition>> {
    let words = rest.by_quotes(cx.escape());
    if words.is_empty() {
        missing(cx, "at least one name");
        return None;
    }
    let mut definitions = Vec::with_capacity(words.len());
    for word in words {
        let (name, default) = match word.text.split_once('=') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (word.text, None),
        };
        if name.is_empty() {
            let error = InvalidValue::new("ARG needs a name before `=`");
            cx.error("empty-name", word.range(), error);
            continue;
        }
        definitions.push(ArgDefinition {
            name: name.to_owned(),
            default,
            description: cx.description_of(name),
            span: cx.span(word.range()),
        });
    }
    Some(definitions)
}

fn healthcheck(cx: &mut Context<'_, '_>, flags: &[Flag], rest: Word<'_>) -> Option<Healthcheck> {
    let (kind, rest) = rest.split_first();
    match kind.text.to_ascii_uppercase().as_str() {
        "" => {
            missing(cx, "`CMD` and a command, or `NONE`");
            None
        }
        "NONE" if rest.text.is_empty() => Some(Healthcheck::None),
        "NONE" => {
            let error = InvalidValue::new("HEALTHCHECK NONE takes no arguments");
            cx.error("unexpected-argument", rest.range(), error);
            None
        }
        "CMD" => {
            let options = flags::healthcheck(cx, flags);
            let command = command_line(cx, rest)?;
            let empty = match &command {
                CommandLine::Exec(argv) => argv.is_empty(),
                CommandLine::Shell(text) => text.is_empty(),
            };
            if empty {
                missing(cx, "a command after `CMD`");
                return None;
            }
            Some(Healthcheck::Command { command, options })
        }
        _ => {
            let message = format!("HEALTHCHECK knows no type `{}`", kind.text);
            let hint = Some("start with `CMD` or `NONE`".to_owned());
            cx.error(
                "unknown-healthcheck",
                kind.range(),
                InvalidValue { message, hint },
            );
            None
        }
    }
}

fn onbuild(cx: &mut Context<'_, '_>, rest: Word<'_>, heredocs: Vec<Token>) -> Option<Onbuild> {
    if rest.text.is_empty() {
        missing(cx, "an instruction");
        return None;
    }
    let parts = split(cx.text(), rest.at, cx.escape());
    let word = parts.keyword;
    let Some(trigger) = Keyword::find(word.text) else {
        cx.error(
            "unknown-instruction",
            word.range(),
            Keyword::unknown(word.text),
        );
        return None;
    };
    if let Keyword::Onbuild | Keyword::From | Keyword::Maintainer = trigger {
        let message = format!("{trigger} is not allowed in ONBUILD");
        cx.error("onbuild-trigger", word.range(), InvalidValue::new(message));
        return None;
    }
    let bodies: Vec<_> = heredocs.iter().map(|t| t.heredoc.clone()).collect();
    let expression = crate::ast::with_bodies(&cx.text()[rest.at..], &bodies);
    let outer = cx.enter(trigger, word);
    let read = kind(cx, &parts, heredocs);
    cx.leave(outer);
    read.map(|_| Onbuild {
        expression,
        trigger: trigger.name(),
    })
}
