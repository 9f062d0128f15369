//! What a Dockerfile offers, without building it: its targets, and what a target can be given.

use std::collections::BTreeMap;

use dockerfile::mount::MountType;
use dockerfile::scope::{GlobalScope, StageScope};
use dockerfile::{ArgDefinition, Diagnostic, Dockerfile, InstructionKind, Span};

use crate::error::Error;
use crate::plan;
use crate::request::Request;

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// It is built if no other is asked for.
    pub default: bool,
    /// The comment above it.
    pub description: Option<String>,
    /// What it starts from, as written.
    pub base: String,
    /// The platform, as written.
    pub platform: Option<String>,
    /// Where it is.
    pub span: Span,
}

/// What a target can be given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// The comment above it.
    pub description: Option<String>,
    /// Build arguments, in the order of the file.
    pub args: Vec<OutlineArg>,
    /// Secrets.
    pub secrets: Vec<OutlineUse>,
    /// Agents of ssh.
    pub ssh: Vec<OutlineUse>,
    /// Caches.
    pub caches: Vec<OutlineUse>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment above it.
    pub description: Option<String>,
    /// The value it would have.
    pub value: Option<String>,
    /// Where it is.
    pub span: Span,
}

/// Something that a mount asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineUse {
    /// Its name.
    pub name: String,
    /// The build fails without it.
    pub required: bool,
    /// Where it is.
    pub span: Span,
}

/// The stages of a Dockerfile, in its order.
///
/// # Errors
///
/// It cannot be parsed.
pub fn targets(request: &Request) -> Result<Vec<Target>, Error> {
    let file = request.parse().file.map_err(Error::Dockerfile)?;
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.into_iter().enumerate();
    let target = |(number, stage): (usize, dockerfile::Stage)| Target {
        default: number == last,
        name: stage.name_as_written,
        description: stage.description,
        base: stage.base,
        platform: stage.platform,
        span: stage.span,
    };
    Ok(stages.map(target).collect())
}

/// What the target of a request can be given; no image is looked at.
///
/// # Errors
///
/// The Dockerfile cannot be parsed, has no such target, or an argument cannot be expanded.
pub fn outline(request: &Request) -> Result<Outline, Error> {
    let file = request.parse().file.map_err(Error::Dockerfile)?;
    let settings = plan::settings(&file, request);
    let wrong = |error: Diagnostic| Error::Dockerfile(vec![error]);
    let mut reader = Reader {
        globals: GlobalScope::new(&file, &settings).map_err(wrong)?,
        file: &file,
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        ssh: BTreeMap::new(),
        caches: BTreeMap::new(),
        scopes: file.stages.iter().map(|_| None).collect(),
    };
    let target = plan::target(&file, request.target.as_deref()).map_err(Error::from)?;
    for number in needed(&file, &reader.globals, target) {
        reader.stage(number)?;
    }
    let stage = &file.stages[target];
    Ok(Outline {
        name: stage.name_as_written.clone(),
        description: stage.description.clone(),
        args: sorted(reader.args, |arg| arg.span),
        secrets: sorted(reader.secrets, |used| used.span),
        ssh: sorted(reader.ssh, |used| used.span),
        caches: sorted(reader.caches, |used| used.span),
    })
}

fn sorted<T>(found: BTreeMap<String, T>, span: impl Fn(&T) -> Span) -> Vec<T> {
    let mut list: Vec<T> = found.into_values().collect();
    list.sort_by_key(|item| span(item).start);
    list
}

/// The stages that `target` is built from, in the order of the file.
pub(crate) fn needed(file: &Dockerfile, globals: &GlobalScope, target: usize) -> Vec<usize> {
    let mut needed = vec![false; target + 1];
    needed[target] = true;
    for number in (0..=target).rev() {
        if !needed[number] {
            continue;
        }
        for name in names(file, globals, number) {
            if let Some(earlier) = earlier(file, number, &name) {
                needed[earlier] = true;
            }
        }
    }
    (0..=target).filter(|number| needed[*number]).collect()
}

/// What a stage takes things from.
fn names(file: &Dockerfile, globals: &GlobalScope, number: usize) -> Vec<String> {
    let stage = &file.stages[number];
    let base = globals.expand(&stage.base).map(|base| base.text);
    let mut names: Vec<String> = base.into_iter().collect();
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(copy) => names.extend(copy.flags.from.clone()),
            InstructionKind::Run(run) => {
                let mounts = run.flags.mounts.iter();
                names.extend(mounts.filter_map(|mount| mount.from().map(str::to_owned)));
            }
            _ => {}
        }
    }
    names
}

fn earlier(file: &Dockerfile, number: usize, name: &str) -> Option<usize> {
    let before = &file.stages[..number];
    let named = before.iter().rposition(|stage| {
        let known = stage.name.as_deref();
        known.is_some_and(|known| known.eq_ignore_ascii_case(name))
    });
    named.or_else(|| name.parse().ok().filter(|index| *index < number))
}

/// Goes through stages and notes what they ask for.
struct Reader<'a> {
    file: &'a Dockerfile,
    globals: GlobalScope,
    args: BTreeMap<String, OutlineArg>,
    secrets: BTreeMap<String, OutlineUse>,
    ssh: BTreeMap<String, OutlineUse>,
    caches: BTreeMap<String, OutlineUse>,
    scopes: Vec<Option<StageScope>>,
}

impl Reader<'_> {
    fn stage(&mut self, number: usize) -> Result<(), Error> {
        let file = self.file;
        let stage = &file.stages[number];
        let mut base = None;
        for word in [Some(&stage.base), stage.platform.as_ref()]
            .into_iter()
            .flatten()
        {
            let expanded = self.globals.expand(word);
            let expanded = expanded.map_err(|error| at(stage.base_span, error))?;
            for name in expanded.names.used {
                self.global(&name);
            }
            base = base.or(Some(expanded.text));
        }
        let parent = base.and_then(|base| earlier(file, number, &base));
        let parent = parent.filter(|parent| file.stages[*parent].name.is_some());
        let mut scope = match parent.and_then(|parent| self.scopes[parent].as_ref()) {
            Some(scope) => scope.child(),
            None => StageScope::new(&self.globals, &[]),
        };
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Arg(definitions) => {
                    for definition in definitions {
                        self.arg(&mut scope, definition)?;
                    }
                }
                InstructionKind::Env(pairs) => {
                    let set = scope.env(pairs);
                    set.map_err(|error| at(instruction.span, error))?;
                }
                InstructionKind::Run(run) => {
                    for flag in &run.flags.mounts {
                        let expand = &mut |word: &str| scope.expand(word).map(|word| word.text);
                        let mount = flag.resolve(expand);
                        self.mount(&mount.map_err(|error| at(flag.span, error))?, flag.span);
                    }
                }
                _ => {}
            }
        }
        self.scopes[number] = Some(scope);
        Ok(())
    }

    fn arg(&mut self, scope: &mut StageScope, definition: &ArgDefinition) -> Result<(), Error> {
        let outcome = scope.arg(definition);
        let outcome = outcome.map_err(|error| at(definition.span, error))?;
        if definition.default.is_none() && self.global(&definition.name) {
            return Ok(());
        }
        self.args.insert(
            definition.name.clone(),
            OutlineArg {
                name: definition.name.clone(),
                description: definition.description.clone(),
                value: outcome.value,
                span: definition.span,
            },
        );
        Ok(())
    }

    /// Notes an argument from before the first FROM, and those that its default uses. True if there is one.
    fn global(&mut self, name: &str) -> bool {
        let definitions = self.file.global_definitions();
        let Some(definition) = definitions.filter(|known| known.name == name).last() else {
            return false;
        };
        let known = self.args.get(name);
        if known.is_some_and(|known| known.span == definition.span) {
            return true;
        }
        self.args.insert(
            name.to_owned(),
            OutlineArg {
                name: name.to_owned(),
                description: definition.description.clone(),
                value: self.globals.get(name).map(str::to_owned),
                span: definition.span,
            },
        );
        let default = definition.default.as_deref().unwrap_or_default();
        let used = self.globals.expand(default);
        for name in used.map(|word| word.names.used).unwrap_or_default() {
            self.global(&name);
        }
        true
    }

    fn mount(&mut self, mount: &dockerfile::mount::Mount, span: Span) {
        let (map, name) = match mount.mount_type {
            MountType::Secret => (&mut self.secrets, mount.secret_id().to_owned()),
            MountType::Ssh => {
                let id = mount.id.clone().filter(|id| !id.is_empty());
                (&mut self.ssh, id.unwrap_or_else(|| "default".to_owned()))
            }
            MountType::Cache => (&mut self.caches, mount.cache_id()),
            MountType::Bind | MountType::Tmpfs => return,
        };
        let used = map.entry(name.clone()).or_insert(OutlineUse {
            name,
            required: false,
            span,
        });
        used.required |= mount.required;
    }
}

fn at(span: Span, message: impl std::fmt::Display) -> Error {
    let error = Diagnostic::error("invalid", span, message.to_string());
    Error::Dockerfile(vec![error])
}
