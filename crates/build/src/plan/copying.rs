//! COPY and ADD: where the sources are, and the steps that bring them.
//!
//! A source of ADD that is a URL or a git repository is a step of its own, whose root file system the copy takes from. An ADD
//! with sources of several kinds becomes a copy for each run of sources from one place, each on top of the one before, and a
//! step that makes one layer of theirs.

use dockerfile::chmod::Chmod;
use dockerfile::owner::Owner;
use dockerfile::remote;
use dockerfile::{Copy, Diagnostic, Source, Span, history, path};

use super::graph::{CopyStep, Origin, Step, Work};
use super::instruction::{Here, invalid};
use super::{Planner, Result, State, at};
use crate::remote::{HttpSource, RemoteSource};
use crate::request::ContextFiles;

/// Sources of one instruction that are in one place.
enum Group {
    /// The build context, or what `--from` names.
    Near(Vec<String>),
    /// A file behind a URL, and its name.
    Http(HttpSource, String),
    /// A directory of a repository.
    Git(Box<remote::GitSource>),
}

impl Planner<'_> {
    /// Where the build context is: a directory, or the layers of a step.
    pub(super) fn context(&mut self, span: Span) -> Origin {
        let Some(ContextFiles::Layers(layers)) = &self.request.context else {
            return Origin::Context;
        };
        let work = Work::Layers(layers.clone());
        let known = self.steps.iter().position(|step| {
            matches!((&step.work, &work), (Work::Layers(known), Work::Layers(layers)) if known == layers)
        });
        let step = known.unwrap_or_else(|| {
            self.add(Step {
                work,
                base: None,
                name: "[internal] load build context".to_owned(),
                span,
                no_cache: false,
            })
        });
        Origin::Step(Some(step))
    }

    /// What a URL or a git repository is as a place to take files from: the root file system of a step that brings it. One that
    /// is named several times is brought once. Named contexts can be made of it as well as sources of ADD.
    pub(super) fn remote(&mut self, source: RemoteSource, span: Span) -> Origin {
        let known = self
            .steps
            .iter()
            .position(|step| matches!(&step.work, Work::Remote(known) if **known == source));
        let step = known.unwrap_or_else(|| {
            self.add(Step {
                base: None,
                name: format!("[internal] load {}", source.shown()),
                work: Work::Remote(Box::new(source)),
                span,
                no_cache: false,
            })
        });
        Origin::Step(Some(step))
    }

    pub(super) fn copy(
        &mut self,
        here: Here<'_>,
        copy: &Copy,
        add: bool,
        state: &mut State,
    ) -> Result<()> {
        let span = here.span;
        let expanded = expand(span, copy, state)?;
        let groups = groups(span, &expanded, add)?;
        let inline = inline(&expanded, state)?;
        let mode = expanded
            .flags
            .chmod
            .as_deref()
            .map(Chmod::parse)
            .transpose()
            .map_err(invalid(span))?;
        if let Some(owner) = &expanded.flags.chown {
            Owner::parse(owner).map_err(invalid(span))?;
        }
        let destination = &expanded.destination;
        let common = CopyStep {
            origin: Origin::Step(None),
            origin_name: String::new(),
            sources: Vec::new(),
            inline: Vec::new(),
            into_directory: destination.is_empty()
                || destination == "."
                || destination.ends_with('/'),
            destination: path::join(state.workdir(), destination),
            owner: expanded.flags.chown.clone(),
            mode,
            link: expanded.flags.link,
            parents: expanded.flags.parents,
            optional: expanded.flags.if_exists,
            exclude: expanded.flags.exclude.clone(),
            unpack: add && expanded.flags.unpack != Some(false),
        };
        let mut works = Vec::with_capacity(groups.len());
        for group in groups {
            works.push(self.group(here, group, &expanded, state, &common)?);
        }
        if let Some(last) = works.last_mut() {
            last.inline = inline;
        }
        let seen = without_passwords(&expanded);
        let text = history::copy(&seen, add);
        // As written but expanded, `--from` and `--link` included.
        let shown = shown(&seen, add);
        let (base, several) = (state.top, works.len() > 1);
        let mut parts = Vec::with_capacity(works.len());
        for work in works {
            parts.push(self.step(here, &shown, state, Work::Copy(Box::new(work))));
        }
        if several {
            state.top = base;
            self.step(here, &shown, state, Work::Merge(parts));
        }
        let made = state.top;
        state.remember(text, made);
        Ok(())
    }

    /// What copies the sources of a group.
    fn group(
        &mut self,
        here: Here<'_>,
        group: Group,
        copy: &Copy,
        state: &State,
        common: &CopyStep,
    ) -> Result<CopyStep> {
        let Here { stage, span, .. } = here;
        let (origin, origin_name, sources, unpack) = match group {
            Group::Near(sources) => {
                let (origin, name) = match &copy.flags.from {
                    None => (self.context(span), "the build context".to_owned()),
                    Some(from) => (
                        self.origin(stage, from, &state.platform, span)?,
                        format!("`{from}`"),
                    ),
                };
                (origin, name, sources, common.unpack)
            }
            Group::Http(http, name) => {
                let source = RemoteSource::Http(http);
                let shown = format!("`{}`", source.shown());
                let origin = self.remote(source, span);
                (
                    origin,
                    shown,
                    vec![literal(&name)],
                    copy.flags.unpack == Some(true),
                )
            }
            Group::Git(git) => {
                let source = RemoteSource::Git(*git);
                let shown = format!("`{}`", source.shown());
                let origin = self.remote(source, span);
                (origin, shown, vec!["/".to_owned()], false)
            }
        };
        Ok(CopyStep {
            origin,
            origin_name,
            sources,
            unpack,
            ..common.clone()
        })
    }
}

/// The instruction with its variables expanded, but for heredocs.
fn expand(span: Span, copy: &Copy, state: &mut State) -> Result<Copy> {
    let mut expanded = copy.clone();
    for source in &mut expanded.sources {
        if let Source::Path(path) = source {
            *path = state.expand(span, path)?;
        }
    }
    expanded.destination = state.expand(span, &copy.destination)?;
    for flag in [
        &mut expanded.flags.chown,
        &mut expanded.flags.chmod,
        &mut expanded.flags.checksum,
    ] {
        *flag = flag
            .as_deref()
            .map(|value| state.expand(span, value))
            .transpose()?;
    }
    Ok(expanded)
}

/// The files whose content is in the Dockerfile.
fn inline(copy: &Copy, state: &mut State) -> Result<Vec<(String, Vec<u8>)>> {
    let mut inline = Vec::new();
    for heredoc in copy.heredocs() {
        let content = heredoc.content();
        let content = match heredoc.expand {
            true => {
                state
                    .scope
                    .expand_text(&content)
                    .map_err(|error| at(heredoc.span, error))?
                    .text
            }
            false => content.into_owned(),
        };
        inline.push((heredoc.name.clone(), content.into_bytes()));
    }
    Ok(inline)
}

/// Sorts the sources by where they are, keeping their order.
fn groups(span: Span, copy: &Copy, add: bool) -> Result<Vec<Group>> {
    remote::check_checksum(copy).map_err(invalid(span))?;
    let flags = &copy.flags;
    let mut groups = Vec::new();
    let mut git = false;
    for path in copy.paths() {
        let origin = remote::Origin::of(path).map_err(invalid(span))?;
        if !add && origin != remote::Origin::Context {
            let shown = remote::redacted(path);
            let message = format!("COPY cannot fetch `{shown}`");
            let error = Diagnostic::error("remote-source", span, message);
            return Err(error
                .with_hint("use ADD for URLs and git repositories")
                .into());
        }
        match origin {
            remote::Origin::Context => match groups.last_mut() {
                Some(Group::Near(paths)) => paths.push(path.to_owned()),
                _ => groups.push(Group::Near(vec![path.to_owned()])),
            },
            remote::Origin::Http => {
                let source = HttpSource {
                    url: path.to_owned(),
                    checksum: flags.checksum.clone(),
                    unpack: false,
                };
                groups.push(Group::Http(source, remote::file_name(path)));
            }
            remote::Origin::Git(mut source) => {
                git = true;
                if flags.checksum.is_some() {
                    source.checksum.clone_from(&flags.checksum);
                }
                if flags.keep_git_dir.is_some() {
                    source.keep_git_dir = flags.keep_git_dir;
                }
                groups.push(Group::Git(source));
            }
        }
    }
    if flags.keep_git_dir == Some(true) && !git {
        return Err(at(span, "`--keep-git-dir` is only for git repositories"));
    }
    if groups.is_empty() {
        groups.push(Group::Near(Vec::new()));
    }
    Ok(groups)
}

/// The pattern that matches this name and no other.
fn literal(name: &str) -> String {
    if !dockerfile::glob::has_wildcards(name) {
        return name.to_owned();
    }
    let mut pattern = String::with_capacity(name.len() + 8);
    for letter in name.chars() {
        match letter {
            '*' | '?' | '[' => pattern.extend(['[', letter, ']']),
            '\\' => pattern.push_str("\\\\"),
            _ => pattern.push(letter),
        }
    }
    pattern
}

/// The instruction as it may be shown and kept in an image.
fn without_passwords(copy: &Copy) -> Copy {
    let mut seen = copy.clone();
    for source in &mut seen.sources {
        if let Source::Path(path) = source {
            *path = remote::redacted(path);
        }
    }
    seen
}

fn shown(copy: &Copy, add: bool) -> String {
    let text = history::copy(copy, add);
    let text = text.strip_suffix(" # buildkit").unwrap_or(&text);
    let Some(rest) = text.strip_prefix("COPY") else {
        return text.to_owned();
    };
    let from = copy
        .flags
        .from
        .as_ref()
        .map_or_else(String::new, |from| format!(" --from={from}"));
    let link = if copy.flags.link { " --link" } else { "" };
    format!("COPY{from}{link}{rest}")
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn names_with_wildcards_are_no_patterns() {
        use dockerfile::glob::Component;
        for name in ["a*b", "what?", "[x]", "back\\slash*", "plain", "\\*"] {
            let pattern = literal(name);
            if dockerfile::glob::has_wildcards(&pattern) {
                assert!(
                    Component::parse(&pattern).unwrap().matches(name.as_bytes()),
                    "{name}"
                );
                assert!(
                    !Component::parse(&pattern).unwrap().matches(b"axb"),
                    "{name}"
                );
            } else {
                assert_eq!(pattern, name);
            }
        }
    }
}
