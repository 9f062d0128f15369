//! The syntax of a Dockerfile as values.
//!
//! Words are kept *unexpanded*, as they were written, quotes and all: which of them are expanded,
//! against what, is for [`crate::expand`] and [`crate::scope`]. Text that is already free of
//! Dockerfile syntax (JSON arrays, heredoc bodies) says so.

use crate::extension::Extensions;
use crate::mount::MountFlag;
use crate::{Diagnostic, Span};

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What the `# key=value` lines at the top say.
    pub directives: Directives,
    /// The ARG instructions before the first FROM; every one is [`InstructionKind::Arg`].
    pub global_args: Vec<Instruction>,
    /// The stages, at least one, in the order of the file.
    pub stages: Vec<Stage>,
    /// Findings of the parser that do not stop a build.
    pub warnings: Vec<Diagnostic>,
}

impl Dockerfile {
    /// The single definitions of [`Dockerfile::global_args`], in order.
    pub fn global_definitions(&self) -> impl Iterator<Item = &ArgDefinition> {
        self.global_args.iter().flat_map(|i| match &i.kind {
            InstructionKind::Arg(definitions) => definitions.as_slice(),
            _ => &[],
        })
    }

    /// The index of the last stage of that name, whatever its case.
    pub fn find_stage(&self, name: &str) -> Option<usize> {
        self.stages.iter().rposition(|s| {
            s.name
                .as_deref()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
        })
    }
}

/// The parser directives of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The escape character: `\` or a backtick.
    pub escape: char,
    /// The frontend asked for with `syntax`.
    pub syntax: Option<Directive>,
    /// The text of `check`: see [`crate::lint::Config`].
    pub check: Option<Directive>,
    /// What `# barque: extensions=…` turns on.
    pub extensions: Extensions,
    /// The text of `# barque: check=…`: rules of ours that are looked for.
    pub rules: Option<Directive>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            escape: '\\',
            syntax: None,
            check: None,
            extensions: Extensions::default(),
            rules: None,
        }
    }
}

/// The value of one directive and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Everything after the `=`, trimmed.
    pub value: String,
    /// The line.
    pub span: Span,
}

/// A FROM and what follows it up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name after AS, in lower case.
    pub name: Option<String>,
    /// The name after AS as it was written.
    pub name_as_written: Option<String>,
    /// The image or stage to start from, unexpanded.
    pub base: String,
    /// The value of `--platform`, unexpanded.
    pub platform: Option<String>,
    /// The text of a comment `# NAME text` above FROM, for outlines.
    pub description: Option<String>,
    /// The FROM line as written, continuations joined.
    pub original: String,
    /// Comments directly above FROM, without their `#`, trimmed.
    pub comments: Vec<String>,
    /// The FROM instruction itself.
    pub span: Span,
    /// The base's place inside the FROM instruction.
    pub base_span: Span,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// One instruction other than FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Where it stands, heredoc bodies included.
    pub span: Span,
    /// The instruction's line as written, continuations joined and comments between them dropped;
    /// without heredoc bodies. For display; see [`crate::history`] for what goes into an image.
    pub original: String,
    /// Comments directly above, without their `#`, trimmed.
    pub comments: Vec<String>,
    /// What it says.
    pub kind: InstructionKind,
}

impl Instruction {
    /// The keyword as written.
    pub fn keyword_as_written(&self) -> &str {
        let end = self.original.find(|c: char| c.is_ascii_whitespace());
        &self.original[..end.unwrap_or(self.original.len())]
    }
}

/// The instructions and what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// ADD
    Add(Box<Copy>),
    /// ARG, one entry a word.
    Arg(Vec<ArgDefinition>),
    /// CMD
    Cmd(CommandLine),
    /// COPY
    Copy(Box<Copy>),
    /// ENTRYPOINT
    Entrypoint(CommandLine),
    /// ENV
    Env(Vec<KeyValue>),
    /// EXPOSE: the words, unexpanded, in the order of the file. See [`crate::ports`].
    Expose(Vec<String>),
    /// HEALTHCHECK
    Healthcheck(Box<Healthcheck>),
    /// LABEL
    Label(Vec<KeyValue>),
    /// MAINTAINER, taken as it is.
    Maintainer(String),
    /// ONBUILD
    Onbuild(Onbuild),
    /// RUN
    Run(Box<Run>),
    /// SHELL
    Shell(Vec<String>),
    /// STOPSIGNAL, unexpanded. See [`crate::signal`].
    StopSignal(String),
    /// ENV, EXPOSE, LABEL or VOLUME with `--unset` or `--reset`.
    Unset(Unset),
    /// USER, unexpanded.
    User(String),
    /// VOLUME: paths, unexpanded.
    Volume(Vec<String>),
    /// WORKDIR, unexpanded.
    Workdir(String),
}

impl InstructionKind {
    /// The keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Unset(unset) => unset.what.keyword(),
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A command of RUN, CMD, ENTRYPOINT or HEALTHCHECK. Never expanded by the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// The JSON form: an argument vector, perhaps empty.
    Exec(Vec<String>),
    /// The rest of the line, for the SHELL.
    Shell(String),
}

impl CommandLine {
    /// The argument vector: that of the JSON form, or `shell` with the text as its last argument.
    pub fn argv(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(argv) => argv.clone(),
            Self::Shell(text) => shell.iter().chain([text]).cloned().collect(),
        }
    }

    /// Whether this is the JSON form.
    pub fn is_exec(&self) -> bool {
        matches!(self, Self::Exec(_))
    }
}

/// RUN
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The flags.
    pub flags: RunFlags,
    /// The command as on the line; see [`Run::script`] for what its heredocs make of it.
    pub command: CommandLine,
    /// The heredocs on the line, in order.
    pub heredocs: Vec<Heredoc>,
}

/// What a RUN does once its heredocs are taken into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Run this command.
    Command(CommandLine),
    /// Put `content` into an executable read-only file `/dev/pipes/NAME` and have the SHELL run
    /// that: the body says with `#!` who reads it. See [`crate::history::argv`].
    File {
        /// The file's name.
        name: String,
        /// What is in it.
        content: String,
    },
}

impl Run {
    /// What is to be run.
    ///
    /// A heredoc that is the whole command is its body: a script for the SHELL, or for the program its
    /// `#!` line names. With other words on the line, the shell gets line and bodies and reads the
    /// heredocs itself.
    pub fn script(&self) -> Script {
        let (CommandLine::Shell(line), Some(first)) = (&self.command, self.heredocs.first()) else {
            return Script::Command(self.command.clone());
        };
        if self.heredocs.len() == 1 && crate::heredoc::is_whole_line(line) {
            let content = first.content().into_owned();
            if content.starts_with("#!") {
                return Script::File {
                    name: first.file_name(),
                    content,
                };
            }
            return Script::Command(CommandLine::Shell(content));
        }
        Script::Command(CommandLine::Shell(with_bodies(line, &self.heredocs)))
    }
}

/// A line followed by the bodies that belong to it, as they stood in the file.
pub(crate) fn with_bodies(line: &str, heredocs: &[Heredoc]) -> String {
    let mut text = line.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.body);
        text.push_str(&heredoc.name);
    }
    text
}

/// Flags of RUN.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFlags {
    /// `--mount`, in order, unexpanded.
    pub mounts: Vec<MountFlag>,
    /// `--network`
    pub network: Option<Network>,
    /// `--security`
    pub security: Option<Security>,
    /// `--device`
    pub devices: Vec<Device>,
}

/// Values of `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the build as a whole uses.
    Default,
    /// No network.
    None,
    /// The host's network; needs an entitlement.
    Host,
}

/// Values of `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// The usual confinement.
    Sandbox,
    /// All privileges; needs an entitlement.
    Insecure,
}

/// Value of `RUN --device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The CDI name.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The flags.
    pub flags: CopyFlags,
    /// What to copy, in the order of the file; at least one.
    pub sources: Vec<Source>,
    /// Where to, unexpanded.
    pub destination: String,
}

impl Copy {
    /// The sources that are paths or URLs, unexpanded.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|s| match s {
            Source::Path(path) => Some(path.as_str()),
            Source::Inline(_) => None,
        })
    }

    /// The sources that are heredocs.
    pub fn heredocs(&self) -> impl Iterator<Item = &Heredoc> {
        self.sources.iter().filter_map(|s| match s {
            Source::Path(_) => None,
            Source::Inline(heredoc) => Some(heredoc),
        })
    }
}

/// Something to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, pattern or URL, unexpanded.
    Path(String),
    /// A file made from a heredoc, named after its delimiter.
    Inline(Heredoc),
}

/// Flags of COPY and ADD; those of the other instruction are never set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyFlags {
    /// COPY `--from`: stage, stage number, context or image; not expanded.
    pub from: Option<String>,
    /// `--chown`, unexpanded. See [`crate::owner`].
    pub chown: Option<String>,
    /// `--chmod`, unexpanded. See [`crate::chmod`].
    pub chmod: Option<String>,
    /// `--if-exists`, of the extension of that name.
    pub if_exists: bool,
    /// `--link`
    pub link: bool,
    /// COPY `--parents`
    pub parents: bool,
    /// `--exclude`, in order; not expanded.
    pub exclude: Vec<String>,
    /// ADD `--checksum`, unexpanded.
    pub checksum: Option<String>,
    /// ADD `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// ADD `--unpack`, if given.
    pub unpack: Option<bool>,
}

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without its quotes.
    pub name: String,
    /// The digits before `<<`.
    pub fd: Option<u32>,
    /// Whether the body may be expanded: no part of the delimiter was quoted.
    pub expand: bool,
    /// Whether leading tabs go: the `-` of `<<-`.
    pub strip_tabs: bool,
    /// The body as it stands in the file, line ends and leading tabs included.
    pub body: String,
    /// Where the body stands, without the terminator.
    pub span: Span,
}

impl Heredoc {
    /// The delimiter as the name of a file: never a path, never `.` or `..`.
    pub fn file_name(&self) -> String {
        match self.name.trim_start_matches('/') {
            "" | "." | ".." => "_".to_owned(),
            name => name.replace('/', "_"),
        }
    }

    /// The body, without leading tabs where `<<-` asks for that.
    pub fn content(&self) -> std::borrow::Cow<'_, str> {
        if !self.strip_tabs {
            return (&*self.body).into();
        }
        let lines = self.body.split_inclusive('\n');
        lines.map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A pair of ENV or LABEL; both halves are unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether the old form `KEY value` was used.
    pub legacy: bool,
}

/// One variable of an ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name, not expanded.
    pub name: String,
    /// The default, unexpanded; `None` if there is no `=`.
    pub default: Option<String>,
    /// The text of a comment `# NAME text` above, for outlines.
    pub description: Option<String>,
    /// The word.
    pub span: Span,
}

/// HEALTHCHECK
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// No check, not even the base image's.
    None,
    /// A command, with what was given of its settings.
    Command {
        /// What to run.
        command: CommandLine,
        /// The flags.
        options: HealthcheckOptions,
    },
}

/// Flags of HEALTHCHECK. Times are nanoseconds, as the image config has them; zero if not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthcheckOptions {
    /// `--interval`
    pub interval: i64,
    /// `--timeout`
    pub timeout: i64,
    /// `--start-period`
    pub start_period: i64,
    /// `--start-interval`
    pub start_interval: i64,
    /// `--retries`
    pub retries: u32,
}

/// ONBUILD
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction to run later, as written, with its heredocs: what the image config holds.
    /// [`crate::parse_instruction`] reads it.
    pub expression: String,
    /// The keyword of that instruction in upper case.
    pub trigger: &'static str,
}

/// Settings of an image that an instruction takes away again: the extension `reset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unset {
    /// Settings of which kind.
    pub what: Settable,
    /// Which ones, unexpanded; all of them if there are none.
    pub names: Vec<String>,
}

/// Settings of an image of which there can be several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settable {
    /// ENV
    Env,
    /// EXPOSE
    Expose,
    /// LABEL
    Label,
    /// VOLUME
    Volume,
}

impl Settable {
    /// The keyword in upper case.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::Label => "LABEL",
            Self::Volume => "VOLUME",
        }
    }
}
