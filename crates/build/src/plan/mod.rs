//! From syntax to a graph: stages are bound, variables get their values, config and history are made.
//!
//! Only the target stage and what it needs are planned. Instructions that change nothing but the config never become steps.
//! The one thing asked of the world is the config of base images, since their environment, user and triggers decide
//! what the instructions mean.

mod copying;
pub(crate) mod graph;
mod instruction;
mod naming;
mod run;
#[cfg(test)]
mod tests;
mod unset;

use std::collections::BTreeMap;

use dockerfile::lint::BaseImage;
use dockerfile::scope::{GlobalScope, PlatformArgs, Settings, StageScope};
use dockerfile::{Diagnostic, Dockerfile, Instruction, InstructionKind, Span};
use oci::{ContainerConfig, ImageConfig, Platform, RootFs};

use crate::base::{BaseError, BaseImages};
use crate::request::Request;
use graph::{Graph, Origin, Step, StepId};
use naming::Named;

/// Deepest chain of stages that need each other through triggers.
const MAX_STAGES_DEEP: usize = 500;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Something is wrong with the Dockerfile, or with what it was given.
    #[error("{}", crate::error::list(.0))]
    Dockerfile(Vec<Diagnostic>),
    /// A base image cannot be had.
    #[error("cannot get the image `{reference}`")]
    Base {
        /// Which.
        reference: String,
        /// Where it is named.
        span: Span,
        /// The stage that may have been meant.
        meant: Option<String>,
        /// Why.
        source: BaseError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<Diagnostic> for PlanError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Dockerfile(vec![diagnostic])
    }
}

type Result<T> = std::result::Result<T, PlanError>;

/// Where configs of images are read.
pub(crate) trait Configs {
    /// The config of an image that [`BaseImages::find`] gave.
    fn config(&self, image: &store::Image) -> std::result::Result<ImageConfig, store::Error>;
}

impl Configs for store::Store {
    fn config(&self, image: &store::Image) -> std::result::Result<ImageConfig, store::Error> {
        Self::config(self, image)
    }
}

/// What a stage is after its last instruction so far.
#[derive(Debug, Clone)]
struct State {
    /// The step that makes its root file system so far.
    top: Option<StepId>,
    config: ImageConfig,
    history: Vec<graph::PlannedHistory>,
    scope: StageScope,
    platform: Platform,
    /// This stage has its own CMD.
    own_cmd: bool,
}

/// Makes a plan.
struct Planner<'a> {
    file: &'a Dockerfile,
    request: &'a Request,
    bases: &'a dyn BaseImages,
    configs: &'a dyn Configs,
    platform: Platform,
    settings: Settings,
    globals: GlobalScope,
    stages: Vec<Option<State>>,
    images: BTreeMap<(String, String), (StepId, ImageConfig)>,
    steps: Vec<Step>,
    warnings: Vec<Diagnostic>,
    /// What is wrong so far: people want to know all of it at once.
    mistakes: Vec<Diagnostic>,
    used: Vec<bool>,
    known: BTreeMap<String, BaseImage>,
    deep: usize,
}

/// What variables show of a request.
pub(crate) fn settings(file: &Dockerfile, request: &Request) -> Settings {
    let mut build_args = request.build_args.clone();
    if let Some(epoch) = request.epoch {
        // A RUN that asks for it sees the number, wherever it came from.
        build_args.insert(crate::EPOCH_ARG.to_owned(), epoch.to_string());
    }
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let asked = request.target.as_ref().filter(|name| !name.is_empty());
    let named = |name: &String| {
        let number = file.find_stage(name).or_else(|| name.parse().ok());
        let stage = number.and_then(|number| file.stages.get(number));
        stage
            .and_then(|stage| stage.name.clone())
            .unwrap_or_else(|| name.clone())
    };
    Settings {
        build_args,
        target: platform_args(&platform),
        build: platform_args(&Platform::host()),
        target_stage: asked.map(named),
    }
}

/// Plans the target stage.
pub(crate) fn plan(
    file: &Dockerfile,
    request: &Request,
    bases: &dyn BaseImages,
    configs: &dyn Configs,
) -> Result<Graph> {
    let target = target(file, request.target.as_deref())?;
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let settings = settings(file, request);
    let mut planner = Planner {
        file,
        request,
        bases,
        configs,
        stages: file.stages.iter().map(|_| None).collect(),
        images: BTreeMap::new(),
        steps: Vec::new(),
        warnings: Vec::new(),
        mistakes: Vec::new(),
        used: vec![false; file.stages.len()],
        known: BTreeMap::new(),
        deep: 0,
        globals: GlobalScope::new(file, &settings)?,
        settings,
        platform,
    };
    let planned = planner.require(target);
    if !planner.mistakes.is_empty() {
        if let Err(PlanError::Dockerfile(last)) = planned {
            planner.mistakes.extend(last);
        }
        return Err(PlanError::Dockerfile(planner.mistakes));
    }
    planned?;
    let Some(mut state) = planner.stages[target].take() else {
        return Ok(Graph::default());
    };
    for (name, value) in &request.labels {
        state
            .config
            .config
            .labels
            .insert(name.clone(), value.clone());
    }
    let result = graph::StageResult {
        top: state.top,
        config: state.config,
        history: state.history,
    };
    Ok(Graph {
        steps: planner.steps,
        result,
        warnings: planner.warnings,
        used: planner.used,
        images: planner.known,
        settings: planner.settings,
    })
}

/// True if an image for one runs where the other is asked for. An image may say nothing.
fn same_platform(found: &Platform, asked: &Platform) -> bool {
    let unsaid = |text: &str| text.is_empty();
    (unsaid(&found.os) || found.os == asked.os)
        && (unsaid(&found.architecture) || found.architecture == asked.architecture)
        && (found.variant.is_none() || asked.variant.is_none() || found.variant == asked.variant)
}

/// The stage to build: by name, whatever its case, or by number.
pub(crate) fn target(file: &Dockerfile, name: Option<&str>) -> Result<usize> {
    let last = file.stages.len().saturating_sub(1);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(last);
    };
    if let Some(stage) = file.find_stage(name) {
        return Ok(stage);
    }
    if let Some(number) = name.parse::<usize>().ok().filter(|number| *number <= last) {
        return Ok(number);
    }
    let names: Vec<&str> = file
        .stages
        .iter()
        .filter_map(|stage| stage.name.as_deref())
        .collect();
    // No place in the file is wrong: what there is to choose from says more than an excerpt.
    let error = Diagnostic::error(
        "unknown-target",
        Span::default(),
        format!("no stage is called `{name}`"),
    );
    let mut error = with_nearest(error, name, names.clone());
    error.hints.push(match names[..] {
        [] => format!("no stage has a name; they have the numbers 0 to {last}"),
        _ => format!("stages are {}", names.join(", ")),
    });
    Err(error.into())
}

/// Adds the question whether the nearest of `names` was meant.
fn with_nearest(error: Diagnostic, name: &str, names: Vec<&str>) -> Diagnostic {
    match dockerfile::nearest(&name.to_lowercase(), names) {
        Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
        None => error,
    }
}

fn platform_args(platform: &Platform) -> PlatformArgs {
    PlatformArgs {
        platform: platform.to_string(),
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        os_version: platform.os_version.clone().unwrap_or_default(),
    }
}

fn at(span: Span, message: impl std::fmt::Display) -> PlanError {
    Diagnostic::error("invalid", span, message.to_string()).into()
}

impl Planner<'_> {
    /// Plans a stage and all that it needs, if it is not planned yet.
    fn require(&mut self, stage: usize) -> Result<()> {
        if self.stages[stage].is_some() {
            return Ok(());
        }
        self.deep += 1;
        if self.deep > MAX_STAGES_DEEP {
            return Err(at(
                self.file.stages[stage].span,
                "too many stages need each other",
            ));
        }
        // Stages only need earlier ones, so going down from here finds all, and going up again plans each after its needs.
        let mut needed = vec![false; stage + 1];
        needed[stage] = true;
        for number in (0..=stage).rev() {
            if needed[number] && self.stages[number].is_none() {
                for need in self.needs(number) {
                    needed[need] = true;
                }
            }
        }
        for (number, needed) in needed.into_iter().enumerate() {
            if needed && self.stages[number].is_none() {
                let state = self.plan_stage(number)?;
                self.stages[number] = Some(state);
            }
        }
        self.deep -= 1;
        Ok(())
    }

    /// The earlier stages that a stage surely needs, as far as can be told from the text. What is missed is planned when it is
    /// met; what is wrong is reported then.
    fn needs(&self, number: usize) -> Vec<usize> {
        let stage = &self.file.stages[number];
        let mut names: Vec<String> = Vec::new();
        if let Ok(base) = self.globals.expand(&stage.base) {
            names.push(base.text);
        }
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Copy(copy) => names.extend(copy.flags.from.clone()),
                InstructionKind::Run(run) => {
                    names.extend(
                        run.flags
                            .mounts
                            .iter()
                            .filter_map(|mount| mount.from().map(str::to_owned)),
                    );
                }
                _ => {}
            }
        }
        names
            .iter()
            .filter_map(|name| self.earlier(number, name))
            .collect()
    }

    /// The stage before `number` that has this name or, for `--from`, this number.
    fn earlier(&self, number: usize, name: &str) -> Option<usize> {
        let named = self.file.stages[..number].iter().rposition(|stage| {
            stage
                .name
                .as_deref()
                .is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
        named.or_else(|| name.parse().ok().filter(|index| *index < number))
    }

    fn add(&mut self, step: Step) -> StepId {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn plan_stage(&mut self, number: usize) -> Result<State> {
        self.used[number] = true;
        let stage = &self.file.stages[number];
        let expand = |text: &str| {
            let expanded = self.globals.expand(text);
            expanded
                .map(|word| word.text)
                .map_err(|error| at(stage.base_span, error))
        };
        let platform = match &stage.platform {
            None => self.platform.clone(),
            Some(text) => {
                let text = expand(text)?;
                text.parse().map_err(|error| at(stage.span, error))?
            }
        };
        let base = expand(&stage.base)?;
        if base.is_empty() {
            return Err(at(
                stage.base_span,
                format!("the base image `{}` is empty once expanded", stage.base),
            ));
        }
        // A named context in the place of a stage: its instructions are not even looked at.
        let replaced = stage
            .name
            .as_deref()
            .and_then(|name| self.named_context(name, &platform));
        let named = match &replaced {
            Some(context) => Named::of(context.clone()),
            None => self.bind(number, &base, Some(&platform), stage.base_span)?,
        };
        let mut external = false;
        let mut state = match named {
            Named::Stage(earlier) => {
                self.require(earlier)?;
                match self.stages[earlier].clone() {
                    Some(state) => State {
                        own_cmd: false,
                        scope: state.scope.child(),
                        ..state
                    },
                    None => self.scratch(platform),
                }
            }
            Named::Scratch => self.scratch(platform),
            Named::Directory(path) => {
                self.files(platform, Origin::Directory(path), &base, stage.base_span)
            }
            Named::Remote(source) => {
                let origin = self.remote(source, stage.base_span);
                self.files(platform, origin, &base, stage.base_span)
            }
            Named::Image(wanted) => {
                external = true;
                let image = self.image(&wanted, &platform, "", stage.base_span);
                let (step, config) = image.map_err(|e| self.or_meant(e, number, &base))?;
                if self.steps[step].name.is_empty() {
                    // How many steps there are is known now that its triggers are.
                    let triggers = self.triggers(number, &config.config.on_build)?;
                    let total = self.count(number, &triggers);
                    let prefix = self.prefix(number, 1, total + 1);
                    self.steps[step].name = format!("{prefix}FROM {}", wanted.shown());
                }
                State {
                    top: Some(step),
                    ..self.begin_with(config, platform)
                }
            }
        };
        if replaced.is_some() {
            return Ok(state);
        }
        self.run_instructions(number, external, &mut state)?;
        Ok(state)
    }

    fn run_instructions(&mut self, number: usize, external: bool, state: &mut State) -> Result<()> {
        let texts = std::mem::take(&mut state.config.config.on_build);
        let triggers = self.triggers(number, &texts)?;
        let total = self.count(number, &triggers) + usize::from(external);
        let mut index = usize::from(external);
        let file = self.file;
        for instruction in triggers.iter().chain(&file.stages[number].instructions) {
            let name = if makes_layer(&instruction.kind) {
                index += 1;
                self.prefix(number, index, total)
            } else {
                String::new()
            };
            if let Err(error) = self.instruction(number, instruction, &name, state) {
                self.go_on_after(error, &instruction.kind)?;
            }
        }
        Ok(())
    }

    /// Keeps a mistake and lets the next instruction be looked at; gives the error back where that makes no sense.
    fn go_on_after(&mut self, error: PlanError, kind: &InstructionKind) -> Result<()> {
        match (error, kind) {
            // What follows may need the variable, and would be wrong only for the lack of it.
            (error, InstructionKind::Env(_) | InstructionKind::Arg(_)) => Err(error),
            (PlanError::Dockerfile(mistakes), _) if !mistakes.is_empty() => {
                self.mistakes.extend(mistakes);
                Ok(())
            }
            (error, _) => Err(error),
        }
    }

    /// Reads what the base of a stage wants done first.
    fn triggers(&self, number: usize, texts: &[String]) -> Result<Vec<Instruction>> {
        let span = self.file.stages[number].span;
        let mut triggers = Vec::with_capacity(texts.len());
        for text in texts {
            let parsed = dockerfile::parse_instruction(text).map_err(|errors| {
                let why = errors
                    .first()
                    .map_or_else(String::new, |error| error.message.clone());
                at(span, format!("the base's trigger `ONBUILD {text}`: {why}"))
            })?;
            triggers.push(Instruction { span, ..parsed });
        }
        Ok(triggers)
    }

    /// How many instructions of a stage make layers, those of its base's triggers included.
    fn count(&self, number: usize, triggers: &[Instruction]) -> usize {
        let own = &self.file.stages[number].instructions;
        let all = triggers.iter().chain(own);
        all.filter(|instruction| makes_layer(&instruction.kind))
            .count()
    }

    /// `[build 2/4] `, with the name of the stage where there are several.
    fn prefix(&self, number: usize, index: usize, total: usize) -> String {
        let width = total.max(1).ilog10() as usize + 1;
        let stage = match &self.file.stages[number].name {
            Some(name) => format!("{name} "),
            None if self.file.stages.len() > 1 => format!("stage-{number} "),
            None => String::new(),
        };
        let platform = match self.request.name_platform {
            true => format!("{} ", self.platform),
            false => String::new(),
        };
        format!("[{platform}{stage}{index:width$}/{total}] ")
    }

    /// A stage without a base.
    fn scratch(&self, platform: Platform) -> State {
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: ContainerConfig {
                working_dir: "/".to_owned(),
                ..ContainerConfig::default()
            },
            ..ImageConfig::default()
        };
        self.begin_with(config, platform)
    }

    /// A stage that begins with this config.
    fn begin_with(&self, mut config: ImageConfig, platform: Platform) -> State {
        config.created = None;
        config.rootfs = RootFs::default();
        let scope = StageScope::new(&self.globals, &config.config.env);
        config.config.env = scope.image_environment();
        State {
            top: None,
            config,
            history: Vec::new(),
            scope,
            platform,
            own_cmd: false,
        }
    }
}

const fn makes_layer(kind: &InstructionKind) -> bool {
    matches!(
        kind,
        InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_)
    )
}
