//! Rules about what is in a stage.

use std::collections::BTreeSet;

use super::{BaseImage, Input, Report, Rule, caches, rules, secrets};
use crate::ast::{
    CommandLine, Copy, Instruction, InstructionKind as Kind, KeyValue, Run, Script, Settable,
    Stage, Unset,
};
use crate::expand::Names;
use crate::remote::Origin;
use crate::scope::{GlobalScope, StageScope};
use crate::{Diagnostic, Span, nearest, ports};

pub(super) fn check(input: &Input<'_>, report: &mut Report<'_>) {
    let Ok(globals) = GlobalScope::new(input.file, input.settings) else {
        return; // the build will say why
    };
    let mut done: Vec<State> = Vec::new();
    let kept = kept(input, &globals);
    for (index, stage) in input.file.stages.iter().enumerate() {
        let mut state = begin(input, &globals, stage, index, &done);
        if (input.is_used)(index) {
            for instruction in &stage.instructions {
                let mut cx = Context {
                    input,
                    report,
                    comments: &instruction.comments,
                    kept: kept.contains(&index),
                    span: instruction.span,
                };
                cx.instruction(&mut state, instruction);
            }
        }
        done.push(state);
    }
}

/// The stages whose layers are in the result: the target, and what it is built from.
fn kept(input: &Input<'_>, globals: &GlobalScope) -> BTreeSet<usize> {
    let stages = &input.file.stages;
    let asked = input.settings.target_stage.as_deref();
    let mut at = asked
        .and_then(|name| input.file.find_stage(name).or_else(|| name.parse().ok()))
        .filter(|stage| *stage < stages.len())
        .or(stages.len().checked_sub(1));
    let mut kept = BTreeSet::new();
    while let Some(index) = at {
        kept.insert(index);
        let base = globals.expand(&stages[index].base).map(|b| b.text);
        let named = |name: &str| {
            stages[..index].iter().rposition(|s| {
                let own = s.name.as_deref();
                own.is_some_and(|own| own.eq_ignore_ascii_case(name))
            })
        };
        at = base.ok().and_then(|name| named(&name));
    }
    kept
}

/// What the lines of a stage so far have set.
struct State {
    scope: StageScope,
    /// Whether all that the base sets is known.
    known_base: bool,
    has_shell: bool,
    has_workdir: bool,
    /// The stage is for Windows.
    windows: bool,
    /// The WORKDIR, as far as it is known.
    workdir: String,
    /// The USER, as far as it is known.
    user: String,
    cmd: Option<Span>,
    entrypoint: Option<Span>,
    healthcheck: Option<Span>,
}

fn begin(
    input: &Input<'_>,
    globals: &GlobalScope,
    stage: &Stage,
    index: usize,
    done: &[State],
) -> State {
    let base = globals
        .expand(&stage.base)
        .map(|b| b.text)
        .unwrap_or_default();
    let earlier = input.file.stages[..index].iter().rposition(|s| {
        let name = s.name.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(&base))
    });
    let platform = stage.platform.as_ref().and_then(|p| globals.expand(p).ok());
    let asked = platform.map(|platform| platform.text.split('/').next() == Some("windows"));
    if let Some(parent) = earlier.and_then(|at| done.get(at)) {
        return State {
            windows: asked.unwrap_or(parent.windows),
            scope: parent.scope.child(),
            workdir: parent.workdir.clone(),
            user: parent.user.clone(),
            cmd: None,
            entrypoint: None,
            healthcheck: None,
            ..*parent
        };
    }
    let image = match base.as_str() {
        "scratch" => Some(BaseImage::default()),
        name => (input.base_image)(name),
    };
    let known_base = image.is_some();
    let image = image.unwrap_or_default();
    State {
        scope: StageScope::new(globals, &image.environment),
        known_base,
        has_shell: image.has_shell,
        has_workdir: false,
        windows: asked.unwrap_or(input.settings.target.os == "windows"),
        workdir: "/".to_owned(),
        user: String::new(),
        cmd: None,
        entrypoint: None,
        healthcheck: None,
    }
}

struct Context<'c, 'r, 'i> {
    input: &'c Input<'i>,
    report: &'c mut Report<'r>,
    comments: &'c [String],
    /// The stage's layers are in the result.
    kept: bool,
    span: Span,
}

impl Context<'_, '_, '_> {
    fn warn(&mut self, rule: &Rule, message: String) {
        self.report.warn(self.comments, rule, self.span, message);
    }

    fn instruction(&mut self, state: &mut State, instruction: &Instruction) {
        let keyword = instruction.kind.keyword();
        match &instruction.kind {
            Kind::Arg(definitions) => {
                for definition in definitions {
                    self.secret(keyword, &definition.name);
                    if let Ok(outcome) = state.scope.arg(definition) {
                        self.undefined(state, &outcome.names);
                    }
                }
            }
            Kind::Env(pairs) | Kind::Label(pairs) => self.pairs(state, keyword, pairs),
            Kind::Copy(copy) => self.copy(state, copy, false),
            Kind::Add(copy) => self.copy(state, copy, true),
            Kind::Run(run) => self.run(state, run),
            Kind::Cmd(command) => {
                self.json_form(state, keyword, command);
                self.once(keyword, &mut state.cmd);
            }
            Kind::Entrypoint(command) => {
                self.json_form(state, keyword, command);
                self.once(keyword, &mut state.entrypoint);
            }
            Kind::Healthcheck(_) => self.once(keyword, &mut state.healthcheck),
            Kind::Shell(_) => state.has_shell = true,
            Kind::Expose(words) => self.expose(state, words),
            Kind::Workdir(path) => self.workdir(state, path),
            Kind::User(word) => {
                if let Some(user) = self.expand(state, word) {
                    state.user = user;
                }
            }
            Kind::StopSignal(word) => {
                self.expand(state, word);
            }
            Kind::Unset(unset) => self.unset(state, unset),
            Kind::Volume(words) => {
                for word in words {
                    self.expand(state, word);
                }
            }
            Kind::Maintainer(_) | Kind::Onbuild(_) => {}
        }
    }

    /// Expands a word and reports what it uses without it being there.
    fn expand(&mut self, state: &mut State, word: &str) -> Option<String> {
        let expanded = state.scope.expand(word).ok()?;
        self.undefined(state, &expanded.names);
        Some(expanded.text)
    }

    fn undefined(&mut self, state: &State, names: &Names) {
        if !state.known_base {
            return;
        }
        for name in names.undefined.iter().filter(|n| !state.scope.has_arg(n)) {
            let message = format!("`${name}` is not defined here");
            let mut found = Diagnostic::warning(rules::UNDEFINED_VAR.name, self.span, message);
            let meant = nearest(name, state.scope.names());
            found
                .hints
                .extend(meant.map(|m| format!("did you mean `${m}`?")));
            self.report.add(self.comments, found);
        }
    }

    fn pairs(&mut self, state: &mut State, keyword: &str, pairs: &[KeyValue]) {
        if pairs.iter().any(|p| p.legacy) {
            let key = &pairs[0].key;
            let message = format!("`{keyword} {key} …` is the old form of `{keyword} {key}=…`");
            self.warn(&rules::LEGACY_KEY_VALUE_FORMAT, message);
        }
        let expanded = if keyword == "ENV" {
            pairs.iter().for_each(|p| self.secret(keyword, &p.key));
            // A name that this very line sets is not defined while it is read.
            let before = state.scope.pairs(pairs);
            drop(state.scope.env(pairs));
            before
        } else {
            state.scope.pairs(pairs)
        };
        if let Ok((_, names)) = expanded {
            self.undefined(state, &names);
        }
    }

    fn unset(&mut self, state: &mut State, unset: &Unset) {
        let mut names = Vec::new();
        for name in &unset.names {
            names.extend(self.expand(state, name));
        }
        if unset.what == Settable::Env {
            state.scope.unset(&names);
        }
    }

    fn secret(&mut self, keyword: &str, name: &str) {
        if is_secret(name) {
            let message = format!(
                "{keyword} `{name}` looks like a secret, and everyone who has the image can read it"
            );
            let rule = rules::SECRETS_USED_IN_ARG_OR_ENV.name;
            let found = Diagnostic::warning(rule, self.span, message);
            let hint = "use `RUN --mount=type=secret,…`";
            self.report.add(self.comments, found.with_hint(hint));
        }
    }

    fn copy(&mut self, state: &mut State, copy: &Copy, add: bool) {
        let flags = &copy.flags;
        for word in [&flags.chown, &flags.chmod, &flags.checksum]
            .into_iter()
            .flatten()
        {
            self.expand(state, word);
        }
        let mut paths = Vec::new();
        for path in copy.paths() {
            paths.extend(self.expand(state, path));
        }
        let destination = self.expand(state, &copy.destination);
        for heredoc in copy.heredocs().filter(|h| h.expand) {
            if let Ok(expanded) = state.scope.expand_text(&heredoc.content()) {
                self.undefined(state, &expanded.names);
            }
        }
        for path in &paths {
            self.source(copy, path, add);
        }
        let file = destination.is_some_and(|d| !d.ends_with(['/', '.']) && !d.is_empty());
        if copy.sources.len() > 1 && file {
            let destination = &copy.destination;
            let message =
                format!("several sources overwrite each other if `{destination}` is no directory");
            self.warn(&rules::COPY_SEVERAL_TO_FILE, message);
        }
    }

    fn source(&mut self, copy: &Copy, path: &str, add: bool) {
        match Origin::of(path) {
            Ok(Origin::Http | Origin::Git(_)) if add => {
                let in_url = matches!(Origin::of(path), Ok(Origin::Git(g)) if g.checksum.is_some());
                if copy.flags.checksum.is_none() && !in_url {
                    let message = format!("nothing checks what `{path}` gives");
                    self.warn(&rules::ADD_WITHOUT_CHECKSUM, message);
                }
            }
            Ok(Origin::Context) if copy.flags.from.is_none() => self.ignored(path),
            _ => {}
        }
        let fetched = matches!(Origin::of(path), Ok(Origin::Http | Origin::Git(_)));
        if self.kept && !fetched && secrets::is_secret_file(path) {
            let message =
                format!("`{path}` looks like a secret, and everyone who has the image can read it");
            let rule = rules::SECRET_IN_LAYER.name;
            let found = Diagnostic::warning(rule, self.span, message);
            self.report.add(self.comments, found.with_hint(SECRET_HINT));
        }
    }

    fn ignored(&mut self, path: &str) {
        // With exceptions, what is excluded may still hold what is not.
        let Some(ignore) = self.input.ignore.filter(|i| !i.has_exceptions()) else {
            return;
        };
        let excluded = match crate::path::join("/", path).as_str() {
            "/" => ignore.exclude_all(),
            path => ignore.exclude(path),
        };
        if excluded {
            let message = format!("the ignore file excludes `{path}`");
            self.warn(&rules::COPY_IGNORED_FILE, message);
        }
    }

    fn run(&mut self, state: &mut State, run: &Run) {
        for mount in &run.flags.mounts {
            let values = mount.fields.iter().filter(|(key, _)| *key != "from");
            for value in values.filter_map(|(_, value)| value.as_deref()) {
                self.expand(state, value);
            }
        }
        let script = match run.script() {
            Script::Command(CommandLine::Shell(text)) => text,
            Script::Command(CommandLine::Exec(argv)) => argv.join(" "),
            Script::File { content, .. } => content,
        };
        if updates_alone(&script) {
            let message = "package lists of another RUN may be old when they are used";
            self.warn(&rules::APT_UPDATE_ALONE, message.to_owned());
        }
        if !run.flags.mounts.is_empty() {
            self.mounts(state, run, &script);
        }
    }

    fn mounts(&mut self, state: &mut State, run: &Run, script: &str) {
        let mut mounts = Vec::new();
        for flag in &run.flags.mounts {
            let scope = &mut state.scope;
            mounts.extend(flag.resolve(&mut |word| scope.expand(word).map(|w| w.text)));
        }
        if self.kept
            && let Some((secret, file)) = secrets::left_behind(script, &mounts, &state.workdir)
        {
            let message = format!("the secret `{secret}` is left in the image as `{file}`");
            let rule = rules::SECRET_IN_LAYER.name;
            let found = Diagnostic::warning(rule, self.span, message);
            let hint = "mount it where it is needed (`target=…`), or remove it in the same RUN";
            self.report.add(self.comments, found.with_hint(hint));
        }
        let scope = &state.scope;
        let has = |name: &str| scope.get(name).is_some();
        if let Some(missed) = caches::missed(script, &mounts, &state.workdir, &state.user, &has) {
            let caches::Missed {
                target,
                program,
                place,
            } = missed;
            let message = format!(
                "`{program}` keeps its cache in `{place}`, not in the cache mount `{target}`"
            );
            let rule = rules::CACHE_MOUNT_ELSEWHERE.name;
            let found = Diagnostic::warning(rule, self.span, message);
            let hint = format!(
                "mount the cache with `target={place}`; now it becomes a part of the layer"
            );
            self.report.add(self.comments, found.with_hint(hint));
        }
    }

    fn json_form(&mut self, state: &State, keyword: &str, command: &CommandLine) {
        if !command.is_exec() && !state.has_shell {
            let message = format!("{keyword} in shell form keeps signals from the program");
            self.warn(&rules::JSON_ARGS_RECOMMENDED, message);
        }
    }

    /// Reports the earlier one of two: it has no effect.
    fn once(&mut self, keyword: &str, slot: &mut Option<Span>) {
        if let Some(earlier) = slot.replace(self.span) {
            let message = format!("another {keyword} in this stage replaces this one");
            let rule = rules::MULTIPLE_INSTRUCTIONS_DISALLOWED.name;
            let found = Diagnostic::warning(rule, earlier, message);
            self.report.add(
                self.comments,
                found.with_label(self.span, "the one that counts"),
            );
        }
    }

    fn expose(&mut self, state: &mut State, words: &[String]) {
        let mut expanded = Vec::new();
        for word in ports::in_order(words) {
            match state.scope.expand_words(word) {
                Ok(found) => expanded.extend(found.words),
                Err(_) => return,
            }
        }
        let Ok(found) = ports::parse(expanded.iter().map(String::as_str)) else {
            return;
        };
        for word in found.upper_case {
            let message = format!("the protocol of `{word}` is not in lower case");
            self.warn(&rules::EXPOSE_PROTO_CASING, message);
        }
        for word in found.with_host {
            let message =
                format!("`{word}` names a host's address or port, which an image cannot have");
            self.warn(&rules::EXPOSE_INVALID_FORMAT, message);
        }
    }

    fn workdir(&mut self, state: &mut State, path: &str) {
        let Some(path) = self.expand(state, path) else {
            return;
        };
        if !state.has_workdir && !is_absolute(&path, state.windows) {
            let message = format!("`{path}` is relative to whatever the base image has");
            self.warn(&rules::WORKDIR_RELATIVE_PATH, message);
        }
        state.has_workdir = true;
        state.workdir = crate::path::join(&state.workdir, &path);
    }
}

/// Whether a path begins at a root: in an image for Windows, that of drive C or of whatever drive it is.
fn is_absolute(path: &str, windows: bool) -> bool {
    if !windows {
        return path.starts_with('/');
    }
    let path = path.replace('\\', "/");
    match path.split_once(':') {
        Some((drive, path)) => drive.eq_ignore_ascii_case("c") && path.starts_with('/'),
        // Two of them begin the name of another host.
        None => path.starts_with('/') && !path.starts_with("//"),
    }
}

const SECRET_HINT: &str = "use `RUN --mount=type=secret,…` where it is needed";

const SECRET_WORDS: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words that make a name harmless.
const PUBLIC_WORDS: [&str; 3] = ["public", "file", "version"];

/// Whether a name reads like that of a credential, going by its words.
fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    has(&SECRET_WORDS) && !has(&PUBLIC_WORDS)
}

/// Whether a command fetches package lists and installs nothing.
fn updates_alone(text: &str) -> bool {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let apt = |word: &str| word == "apt-get" || word == "apt";
    let runs = |what: &str| {
        let mut after = words.iter().skip_while(|w| !apt(w));
        after.any(|w| w.trim_end_matches(';') == what)
    };
    runs("update")
        && ![
            "install",
            "upgrade",
            "dist-upgrade",
            "full-upgrade",
            "build-dep",
        ]
        .into_iter()
        .any(runs)
}
