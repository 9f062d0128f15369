//! What names mean: stages, named contexts, images.

use std::path::PathBuf;

use dockerfile::lint::BaseImage;
use dockerfile::{Diagnostic, Span};
use oci::{ImageConfig, Platform, Reference};

use super::graph::{CopyStep, ImageStep, Origin, Step, StepId, Work};
use super::{PlanError, Planner, Result, State, same_platform, with_nearest};
use crate::remote::RemoteSource;
use crate::request::{Layout, NamedContext};

/// What a FROM or `--from` names.
pub(super) enum Named {
    Stage(usize),
    Directory(PathBuf),
    Remote(RemoteSource),
    Scratch,
    Image(Wanted),
}

/// An image, and where it is.
pub(super) enum Wanted {
    /// By its name.
    Reference(Reference),
    /// In an OCI layout.
    Layout(Layout),
}

impl Named {
    /// What a named context is in the place of a stage or an image.
    pub(super) fn of(context: NamedContext) -> Self {
        match context {
            NamedContext::Image(reference) => Self::Image(Wanted::Reference(reference)),
            NamedContext::Layout(layout) => Self::Image(Wanted::Layout(layout)),
            NamedContext::Scratch => Self::Scratch,
            NamedContext::Directory(path) => Self::Directory(path),
            NamedContext::Remote(source) => Self::Remote(source),
        }
    }
}

impl Wanted {
    /// As people write it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Reference(reference) => reference.familiar(),
            Self::Layout(layout) => layout.to_string(),
        }
    }

    /// As the checks know it.
    fn full(&self) -> String {
        match self {
            Self::Reference(reference) => reference.to_string(),
            Self::Layout(layout) => layout.to_string(),
        }
    }
}

impl Planner<'_> {
    /// The context of this name, that for the platform before one for all.
    pub(super) fn named_context(&self, name: &str, platform: &Platform) -> Option<NamedContext> {
        let find = |name: &str| {
            let of_platform = format!("{name}::{platform}");
            self.request
                .contexts
                .get(&of_platform)
                .or_else(|| self.request.contexts.get(name))
        };
        let known = find(name).or_else(|| find(&name.to_lowercase()));
        // An image may be named in full there and short here, or the other way round.
        known.cloned().or_else(|| {
            let reference: Reference = name.parse().ok()?;
            let same = |key: &str| key.parse::<Reference>().is_ok_and(|key| key == reference);
            let of_platform =
                |key: &str| key.strip_suffix(&format!("::{platform}")).is_some_and(same);
            let contexts = &self.request.contexts;
            let exact = contexts.iter().find(|(key, _)| of_platform(key));
            exact
                .or_else(|| contexts.iter().find(|(key, _)| same(key)))
                .map(|(_, context)| context.clone())
        })
    }

    /// What a name means for stage `number`. In FROM, for which `from` is the platform, a number is not a stage.
    pub(super) fn bind(
        &self,
        number: usize,
        name: &str,
        from: Option<&Platform>,
        span: Span,
    ) -> Result<Named> {
        let in_from = from.is_some();
        if let Some(context) = self.named_context(name, from.unwrap_or(&self.platform)) {
            return Ok(Named::of(context));
        }
        if name.eq_ignore_ascii_case("scratch") && in_from {
            return Ok(Named::Scratch);
        }
        match self.earlier(number, name) {
            Some(stage) if !in_from || self.file.stages[stage].name.is_some() => {
                return Ok(Named::Stage(stage));
            }
            _ => {}
        }
        if let Some(later) = self
            .file
            .find_stage(name)
            .filter(|later| *later >= number && !in_from)
        {
            let message = format!("stage `{name}` must be defined before it is used");
            let error = Diagnostic::error("later-stage", span, message);
            return Err(error
                .with_label(self.file.stages[later].span, "it is defined here")
                .into());
        }
        if !in_from && name.contains('$') {
            let error = Diagnostic::error(
                "from-variable",
                span,
                format!("variables are not expanded in `from`: `{name}`"),
            );
            let hint = "define a stage `FROM ${…} AS name` and use `--from=name`";
            return Err(error.with_hint(hint).into());
        }
        name.parse::<Reference>()
            .map(|reference| Named::Image(Wanted::Reference(reference)))
            .map_err(|error| {
                let names = self.file.stages[..number]
                    .iter()
                    .filter_map(|stage| stage.name.as_deref())
                    .collect();
                let message = format!("`{name}` is neither a stage nor an image: {error}");
                with_nearest(
                    Diagnostic::error("unknown-base", span, message),
                    name,
                    names,
                )
                .into()
            })
    }

    /// Adds the stage or named context whose name is nearest to one that turned out to be no image.
    pub(super) fn or_meant(&self, mut error: PlanError, number: usize, name: &str) -> PlanError {
        if let PlanError::Base { meant, .. } = &mut error {
            let stages = self.file.stages[..number].iter();
            let names = stages.filter_map(|stage| stage.name.as_deref());
            let contexts = self.request.contexts.keys().map(String::as_str);
            *meant =
                dockerfile::nearest(&name.to_lowercase(), names.chain(contexts)).map(str::to_owned);
        }
        error
    }

    /// The step of an image, and its config.
    pub(super) fn image(
        &mut self,
        wanted: &Wanted,
        platform: &Platform,
        name: &str,
        span: Span,
    ) -> Result<(StepId, ImageConfig)> {
        let key = (wanted.full(), platform.with_version());
        if let Some(known) = self.images.get(&key) {
            return Ok(known.clone());
        }
        if !self.mistakes.is_empty() {
            // Nobody waits for an image to learn of a mistake.
            return Err(PlanError::Dockerfile(Vec::new()));
        }
        let fail = |source| PlanError::Base {
            reference: wanted.shown(),
            span,
            meant: None,
            source,
        };
        let image = match wanted {
            Wanted::Reference(reference) => self.bases.find(reference, platform),
            Wanted::Layout(layout) => self.bases.find_in_layout(layout, platform),
        };
        let image = image.map_err(fail)?.ok_or_else(|| {
            fail(format!("there is no image `{}` in the store", wanted.shown()).into())
        })?;
        let config = self.configs.config(&image)?;
        let known = BaseImage {
            environment: config.config.env.clone(),
            has_shell: !config.config.shell.is_empty(),
        };
        self.known.insert(wanted.full(), known);
        let found = config.platform();
        if !same_platform(&found, platform) {
            let message = format!(
                "the base image `{}` is for `{found}`, but `{platform}` was asked for",
                wanted.shown()
            );
            self.warnings.push(Diagnostic::warning(
                dockerfile::lint::rules::INVALID_BASE_IMAGE_PLATFORM.name,
                span,
                message,
            ));
        }
        let work = Work::Image(ImageStep {
            digest: image.digest,
            layers: config.rootfs.diff_ids.clone(),
        });
        let step = self.add(Step {
            work,
            base: None,
            name: name.to_owned(),
            span,
            no_cache: false,
        });
        self.images.insert(key, (step, config.clone()));
        Ok((step, config))
    }

    /// What `--from` takes files from.
    pub(super) fn origin(
        &mut self,
        number: usize,
        name: &str,
        platform: &Platform,
        span: Span,
    ) -> Result<Origin> {
        Ok(match self.bind(number, name, None, span)? {
            Named::Stage(stage) => {
                self.require(stage)?;
                Origin::Step(self.stages[stage].as_ref().and_then(|state| state.top))
            }
            Named::Directory(path) => Origin::Directory(path),
            Named::Remote(source) => self.remote(source, span),
            Named::Image(wanted) => {
                let shown = format!("FROM {}", wanted.shown());
                let image = self.image(&wanted, platform, &shown, span);
                Origin::Step(Some(image.map_err(|e| self.or_meant(e, number, name))?.0))
            }
            Named::Scratch => Origin::Step(None),
        })
    }

    /// A stage that begins with the files of a context that is no image.
    pub(super) fn files(
        &mut self,
        platform: Platform,
        origin: Origin,
        name: &str,
        span: Span,
    ) -> State {
        let copy = CopyStep {
            origin,
            origin_name: format!("the context `{name}`"),
            sources: vec![".".to_owned()],
            inline: Vec::new(),
            destination: "/".to_owned(),
            into_directory: true,
            owner: None,
            mode: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            optional: false,
            unpack: false,
        };
        let step = self.add(Step {
            work: Work::Copy(Box::new(copy)),
            base: None,
            name: format!("[context {name}] FROM {name}"),
            span,
            no_cache: false,
        });
        let mut state = self.scratch(platform);
        state.top = Some(step);
        state.remember(format!("FROM {name}"), Some(step));
        state
    }
}
