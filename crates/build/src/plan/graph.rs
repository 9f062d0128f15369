//! The graph that a Dockerfile becomes: steps, what each is built on, and what it takes from others.

use dockerfile::Span;
use dockerfile::chmod::Chmod;
use oci::{DiffId, Digest, HistoryEntry, ImageConfig};

use crate::remote::RemoteSource;

/// Names a step of a [`Graph`].
pub(crate) type StepId = usize;

/// What there is to do, every step after those it needs.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<Step>,
    /// What the target stage gives.
    pub(crate) result: StageResult,
    /// What could be wrong, but does not stop the build.
    pub(crate) warnings: Vec<dockerfile::Diagnostic>,
    /// Which stages of the file are part of the build.
    pub(crate) used: Vec<bool>,
    /// What is known of the images that were met, by their full names.
    pub(crate) images: std::collections::BTreeMap<String, dockerfile::lint::BaseImage>,
    /// What variables show of the request.
    pub(crate) settings: dockerfile::scope::Settings,
}

/// The outcome of a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageResult {
    /// The step that makes its root file system; `None` for one without layers.
    pub(crate) top: Option<StepId>,
    /// The config, but for layers and history.
    pub(crate) config: ImageConfig,
    /// What the instructions add to the history of the base.
    pub(crate) history: Vec<PlannedHistory>,
}

/// A history entry whose time is not known yet.
#[derive(Debug, Clone)]
pub(crate) struct PlannedHistory {
    pub(crate) entry: HistoryEntry,
    /// The step that makes its layer.
    pub(crate) step: Option<StepId>,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) work: Work,
    /// The step whose root file system this one changes; `None` for an empty one.
    pub(crate) base: Option<StepId>,
    /// What people see: `[build 2/4] RUN make`.
    pub(crate) name: String,
    pub(crate) span: Span,
    /// Earlier results are not used.
    pub(crate) no_cache: bool,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// A root file system that is there already.
    Image(ImageStep),
    /// COPY and ADD.
    Copy(Box<CopyStep>),
    /// A directory, made if it is missing.
    Workdir(WorkdirStep),
    /// RUN.
    Run(Box<RunStep>),
    /// Files that the store has already.
    Layers(Vec<DiffId>),
    /// A URL or a git repository, brought into the store.
    Remote(Box<RemoteSource>),
    /// One layer of those that these steps, each on top of the one before, have made.
    Merge(Vec<StepId>),
}

#[derive(Debug)]
pub(crate) struct ImageStep {
    /// The digest of its manifest.
    pub(crate) digest: Digest,
    pub(crate) layers: Vec<DiffId>,
}

/// Where a COPY takes things from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The build context.
    Context,
    /// A named context that is a directory.
    Directory(std::path::PathBuf),
    /// The root file system that a step makes; `None` for an empty one.
    Step(Option<StepId>),
}

#[derive(Debug, Clone)]
pub(crate) struct CopyStep {
    pub(crate) origin: Origin,
    /// What people call it: `the build context`, `stage \`build\``.
    pub(crate) origin_name: String,
    /// Paths and patterns, expanded.
    pub(crate) sources: Vec<String>,
    /// Files whose content is in the Dockerfile: name and content.
    pub(crate) inline: Vec<(String, Vec<u8>)>,
    /// Absolute and clean.
    pub(crate) destination: String,
    /// It was written with a slash at its end, or means the working directory.
    pub(crate) into_directory: bool,
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<Chmod>,
    pub(crate) link: bool,
    pub(crate) parents: bool,
    /// A source that is not there is none.
    pub(crate) optional: bool,
    pub(crate) exclude: Vec<String>,
    /// ADD unpacks archives.
    pub(crate) unpack: bool,
}

#[derive(Debug)]
pub(crate) struct WorkdirStep {
    pub(crate) path: String,
    /// The owner of what is made.
    pub(crate) user: String,
}

#[derive(Debug)]
pub(crate) struct RunStep {
    pub(crate) argv: Vec<String>,
    /// A script that is put into the sandbox: its name under `/dev/pipes`, its content.
    pub(crate) script: Option<(String, String)>,
    /// ENV and ARG.
    pub(crate) env: Vec<(String, String)>,
    /// Given to the process, but part neither of the key nor of the history.
    pub(crate) proxies: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) network: crate::request::Network,
    /// With all privileges: `--security=insecure`.
    pub(crate) insecure: bool,
    pub(crate) mounts: Vec<RunMount>,
    /// Not the default of the sandbox.
    pub(crate) hostname: Option<String>,
}

/// A mount of RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunMount {
    pub(crate) mount: dockerfile::mount::Mount,
    /// Absolute.
    pub(crate) target: String,
    /// Where the files of a bind or a cache's first content come from.
    pub(crate) origin: Option<Origin>,
}
