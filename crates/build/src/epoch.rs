//! `SOURCE_DATE_EPOCH`: the time that is fixed for all that a build makes.
//!
//! It is a number of seconds, or says whose time it is: `context` is that of the build context, another word that of a named
//! context, or of a stage that is nothing but one source from elsewhere.

use std::borrow::Cow;

use dockerfile::remote::Origin;
use dockerfile::scope::GlobalScope;
use dockerfile::{Diagnostic, Dockerfile, InstructionKind, Span};

use crate::plan;
use crate::plan::graph::Work;
use crate::remote::{RemoteSource, bring};
use crate::request::{NamedContext, Request};
use crate::tell::Teller;
use crate::{EPOCH_ARG, Error, Sources};

/// What says that the time is that of the context.
const CONTEXT: &str = "context";

/// The default of the global ARG that fixes all times.
fn default(file: &Dockerfile) -> Option<(String, Span)> {
    let found = file
        .global_definitions()
        .filter(|definition| definition.name == EPOCH_ARG)
        .last()?;
    Some((found.default.clone()?, found.span))
}

/// What was said, and where.
fn said(request: &Request, file: &Dockerfile) -> Option<(String, Span)> {
    let given = request.build_args.get(EPOCH_ARG);
    let given = given.map(|value| (value.clone(), Span::default()));
    given
        .or_else(|| default(file))
        .filter(|(text, _)| !text.is_empty())
}

/// Puts the number in the place of what names a time, for RUN too. Where that has no time it is as if nothing was said.
pub(crate) fn with_time<'r>(
    request: &'r Request,
    file: &Dockerfile,
    sources: &Sources<'_>,
    teller: &Teller<'_>,
) -> Result<Cow<'r, Request>, Error> {
    let Some((text, span)) = said(request, file) else {
        return Ok(Cow::Borrowed(request));
    };
    if request.epoch.is_some() || text.parse::<i64>().is_ok() {
        return Ok(Cow::Borrowed(request));
    }
    let time = match source(&text, span, request, file, sources)? {
        Whose::Nobodys => None,
        Whose::Contexts => request.context_time,
        Whose::Sources(source) => {
            let name = format!("[internal] time of {}", source.shown());
            let failed = |error| {
                let message = format!("cannot get the time of `{text}`: {error}");
                wrong(span, message)
            };
            bring(sources.remote, &source, &name, sources.lease, teller)
                .map_err(failed)?
                .time
        }
    };
    let mut request = request.clone();
    request.build_args.remove(EPOCH_ARG);
    let named_by_default = default(file).is_some_and(|(default, _)| default == text);
    let time = match time {
        Some(time) => Some(time.to_string()),
        None => named_by_default.then(String::new),
    };
    if let Some(time) = time {
        request.build_args.insert(EPOCH_ARG.to_owned(), time);
    }
    Ok(Cow::Owned(request))
}

/// Whose time is meant.
enum Whose {
    /// The build context's.
    Contexts,
    /// That of something that is not on this machine.
    Sources(RemoteSource),
    /// That of a directory of this machine, whose times say nothing.
    Nobodys,
}

fn source(
    name: &str,
    span: Span,
    request: &Request,
    file: &Dockerfile,
    sources: &Sources<'_>,
) -> Result<Whose, Error> {
    if name == CONTEXT {
        return Ok(Whose::Contexts);
    }
    match request.contexts.get(name) {
        Some(NamedContext::Remote(source)) => return Ok(Whose::Sources(source.clone())),
        Some(NamedContext::Directory(_)) => return Ok(Whose::Nobodys),
        Some(_) => {
            let message = format!("`{name}` is an image, whose time `{EPOCH_ARG}` cannot be");
            return Err(wrong(span, message));
        }
        None => {}
    }
    let Some(number) = file.find_stage(name) else {
        let message = format!(
            "`{name}` is no value for `{EPOCH_ARG}`: expected seconds since 1970, `{CONTEXT}`, or a stage or named context"
        );
        return Err(wrong(span, message));
    };
    if !is_one_source(file, number, request) {
        let message = format!("stage `{name}` has no time that `{EPOCH_ARG}` could be");
        let hint = "it has to be `FROM scratch` and one ADD of a URL or a git repository";
        let error = Diagnostic::error("epoch", span, message).with_hint(hint);
        let error = error.with_label(file.stages[number].span, "the stage");
        return Err(Error::Dockerfile(vec![error]));
    }
    let asked = Request {
        target: Some(number.to_string()),
        ..request.clone()
    };
    let graph = plan::plan(file, &asked, sources.bases, sources.lease.store())?;
    let found = graph.steps.into_iter().find_map(|step| match step.work {
        Work::Remote(source) => Some(*source),
        _ => None,
    });
    Ok(found.map_or(Whose::Nobodys, Whose::Sources))
}

/// Whether a stage is `FROM scratch` and one ADD of one source from elsewhere.
fn is_one_source(file: &Dockerfile, number: usize, request: &Request) -> bool {
    let stage = &file.stages[number];
    let base = GlobalScope::new(file, &plan::settings(file, request))
        .map(|globals| globals.expand(&stage.base).map(|base| base.text));
    let empty = matches!(base, Ok(Ok(base)) if base.eq_ignore_ascii_case("scratch"));
    let [instruction] = &stage.instructions[..] else {
        return false;
    };
    let InstructionKind::Add(add) = &instruction.kind else {
        return false;
    };
    let mut paths = add.paths();
    let one = paths.next().filter(|_| add.sources.len() == 1);
    let elsewhere = |path| !matches!(Origin::of(path), Ok(Origin::Context) | Err(_));
    empty && one.is_some_and(elsewhere)
}

fn wrong(span: Span, message: String) -> Error {
    Error::Dockerfile(vec![Diagnostic::error("epoch", span, message)])
}

/// The time that the request, a build argument or a global ARG fixes.
pub(crate) fn of(request: &Request, file: &Dockerfile) -> Result<Option<i64>, Error> {
    if request.epoch.is_some() {
        return Ok(request.epoch);
    }
    let Some((text, span)) = said(request, file) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let message =
            format!("`{text}` is no value for `{EPOCH_ARG}`: expected seconds since 1970");
        wrong(span, message)
    })
}
