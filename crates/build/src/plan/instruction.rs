//! What each instruction does to the stage that it stands in.

use dockerfile::owner::Owner;
use dockerfile::{
    CommandLine, Diagnostic, Healthcheck, Instruction, InstructionKind, Span, history, path, ports,
    signal,
};
use oci::{Empty, HistoryEntry};

use super::graph::{PlannedHistory, Step, StepId, Work, WorkdirStep};
use super::{Planner, Result, State, at};

/// The shell of shell-form instructions where no SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

impl State {
    pub(super) fn shell(&self) -> Vec<String> {
        if self.config.config.shell.is_empty() {
            return SHELL.map(str::to_owned).to_vec();
        }
        self.config.config.shell.clone()
    }

    pub(super) fn workdir(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            workdir => workdir,
        }
    }

    pub(super) fn expand(&mut self, span: Span, word: &str) -> Result<String> {
        self.scope
            .expand(word)
            .map(|word| word.text)
            .map_err(|error| at(span, error))
    }

    pub(super) fn remember(&mut self, created_by: String, step: Option<StepId>) {
        let entry = HistoryEntry {
            created_by: Some(created_by),
            comment: Some(history::COMMENT.to_owned()),
            empty_layer: step.is_none(),
            ..HistoryEntry::default()
        };
        self.history.push(PlannedHistory { entry, step });
    }
}

/// An error at `span`, with the hint that a value's error may have.
pub(super) fn invalid(span: Span) -> impl Fn(dockerfile::InvalidValue) -> Diagnostic {
    move |error| {
        let diagnostic = Diagnostic::error("invalid", span, error.message);
        match error.hint {
            Some(hint) => diagnostic.with_hint(hint),
            None => diagnostic,
        }
    }
}

/// An instruction's place: its stage, its text, and how the name of its step begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) stage: usize,
    pub(super) span: Span,
    pub(super) name: &'a str,
}

impl Planner<'_> {
    /// Applies an instruction; `name` is how the name of its step begins, if it is one.
    pub(super) fn instruction(
        &mut self,
        stage: usize,
        instruction: &Instruction,
        name: &str,
        state: &mut State,
    ) -> Result<()> {
        let span = instruction.span;
        let here = Here { stage, span, name };
        match &instruction.kind {
            InstructionKind::Run(run) => self.run(here, run, state),
            InstructionKind::Copy(copy) => self.copy(here, copy, false, state),
            InstructionKind::Add(add) => self.copy(here, add, true, state),
            InstructionKind::Workdir(dir) => self.workdir(here, dir, state),
            kind => configure(span, kind, state),
        }
    }

    fn no_cache(&self, stage: usize) -> bool {
        let named = |wanted: &String| {
            let name = self.file.stages[stage].name.as_deref();
            name.is_some_and(|name| name.eq_ignore_ascii_case(wanted))
                || *wanted == stage.to_string()
        };
        self.request.no_cache || self.request.no_cache_stages.iter().any(named)
    }

    /// What people see of a step: the instruction as written, variables in it expanded where the builder expands them.
    pub(super) fn step(
        &mut self,
        here: Here<'_>,
        text: &str,
        state: &mut State,
        work: Work,
    ) -> StepId {
        let Here { stage, span, name } = here;
        let name = format!("{name}{text}");
        let no_cache = self.no_cache(stage);
        let step = self.add(Step {
            work,
            base: state.top,
            name,
            span,
            no_cache,
        });
        state.top = Some(step);
        step
    }

    fn workdir(&mut self, here: Here<'_>, dir: &str, state: &mut State) -> Result<()> {
        let span = here.span;
        let expanded = state.expand(span, dir)?;
        let path = path::join(state.workdir(), &expanded);
        state.config.config.working_dir.clone_from(&path);
        let text = history::workdir(&path);
        if path == "/" {
            state.remember(text, None);
            return Ok(());
        }
        let work = WorkdirStep {
            path,
            user: state.config.config.user.clone(),
        };
        let step = self.step(
            here,
            &format!("WORKDIR {expanded}"),
            state,
            Work::Workdir(work),
        );
        state.remember(text, Some(step));
        Ok(())
    }
}

/// Applies an instruction that changes the config and nothing else.
fn configure(span: Span, kind: &InstructionKind, state: &mut State) -> Result<()> {
    let text = match kind {
        InstructionKind::Arg(definitions) => {
            let mut shown = Vec::with_capacity(definitions.len());
            for definition in definitions {
                let outcome = state
                    .scope
                    .arg(definition)
                    .map_err(|error| at(definition.span, error))?;
                shown.push((definition.name.clone(), outcome.value));
            }
            history::arg(&shown)
        }
        InstructionKind::Env(pairs) => {
            let (pairs, _) = state.scope.env(pairs).map_err(invalid(span))?;
            state.config.config.env = state.scope.image_environment();
            history::env(&pairs)
        }
        InstructionKind::Label(pairs) => {
            let (pairs, _) = state.scope.pairs(pairs).map_err(invalid(span))?;
            state.config.config.labels.extend(pairs.iter().cloned());
            history::label(&pairs)
        }
        InstructionKind::Cmd(command) => command_of(command, state),
        InstructionKind::Entrypoint(command) => entrypoint(command, state),
        InstructionKind::Expose(words) => expose(span, words, state)?,
        InstructionKind::Volume(paths) => volume(span, paths, state)?,
        InstructionKind::User(user) => {
            let user = state.expand(span, user)?;
            Owner::parse(&user).map_err(invalid(span))?;
            state.config.config.user.clone_from(&user);
            history::user(&user)
        }
        InstructionKind::StopSignal(text) => {
            let text = state.expand(span, text)?;
            signal::parse(&text).map_err(invalid(span))?;
            state.config.config.stop_signal = Some(text.clone());
            history::stop_signal(&text)
        }
        InstructionKind::Healthcheck(check) => {
            state.config.config.healthcheck = Some(healthcheck(check));
            history::healthcheck(check)
        }
        InstructionKind::Shell(argv) => {
            state.config.config.shell.clone_from(argv);
            history::shell(argv)
        }
        InstructionKind::Maintainer(author) => {
            state.config.author = Some(author.clone());
            history::maintainer(author)
        }
        InstructionKind::Unset(unset) => super::unset::apply(span, unset, state)?,
        InstructionKind::Onbuild(trigger) => {
            state
                .config
                .config
                .on_build
                .push(trigger.expression.clone());
            return Ok(());
        }
        InstructionKind::Run(_)
        | InstructionKind::Copy(_)
        | InstructionKind::Add(_)
        | InstructionKind::Workdir(_) => return Ok(()),
    };
    state.remember(text, None);
    Ok(())
}

fn command_of(command: &CommandLine, state: &mut State) -> String {
    let argv = command.argv(&state.shell());
    state.own_cmd = true;
    state.config.config.cmd = Some(argv.clone());
    history::cmd(&argv)
}

fn entrypoint(command: &CommandLine, state: &mut State) -> String {
    let argv = command.argv(&state.shell());
    // Arguments for another program mean nothing to this one.
    if !state.own_cmd {
        state.config.config.cmd = None;
    }
    state.config.config.entrypoint = Some(argv.clone());
    history::entrypoint(&argv)
}

fn expose(span: Span, words: &[String], state: &mut State) -> Result<String> {
    let mut expanded = Vec::new();
    for word in ports::in_order(words) {
        let found = state
            .scope
            .expand_words(word)
            .map_err(|error| at(span, error))?;
        expanded.extend(found.words);
    }
    let found = ports::parse(expanded.iter().map(String::as_str)).map_err(invalid(span))?;
    let exposed = found.ports.iter().map(|port| (port.clone(), Empty {}));
    state.config.config.exposed_ports.extend(exposed);
    Ok(history::expose(&found.ports))
}

fn volume(span: Span, paths: &[String], state: &mut State) -> Result<String> {
    let paths = paths
        .iter()
        .map(|path| state.expand(span, path))
        .collect::<Result<Vec<_>>>()?;
    if paths.iter().any(String::is_empty) {
        return Err(at(span, "the path of a VOLUME is empty"));
    }
    state
        .config
        .config
        .volumes
        .extend(paths.iter().map(|path| (path.clone(), Empty {})));
    Ok(history::volume(&paths))
}

fn healthcheck(check: &Healthcheck) -> oci::Healthcheck {
    let test = history::healthcheck_test(check);
    match check {
        Healthcheck::None => oci::Healthcheck {
            test,
            ..oci::Healthcheck::default()
        },
        Healthcheck::Command { options, .. } => oci::Healthcheck {
            test,
            interval: options.interval,
            timeout: options.timeout,
            start_period: options.start_period,
            start_interval: options.start_interval,
            retries: options.retries.into(),
        },
    }
}
