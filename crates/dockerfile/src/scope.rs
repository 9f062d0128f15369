//! Which variables hold what, where: global ARGs, ARGs and ENVs of stages, and what is set for everyone.
//!
//! ```text
//! GlobalScope   platform args, ARGs before the first FROM     seen by FROM lines, and by
//!     │                                                      `ARG NAME` in stages
//!     └► StageScope   the base's ENV, then ARG and ENV line by line
//!            └► StageScope::child   for a stage built FROM this one
//! ```
//!
//! A build arg replaces the default of every ARG of its name, and then the default is not even
//! evaluated. An ARG without a value anywhere leaves no variable, not even an empty one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ast::{ArgDefinition, Dockerfile, KeyValue};
use crate::expand::{
    self, Environment, ExpandError, ExpandErrorKind, Expanded, ExpandedWords, Names,
};
use crate::{Diagnostic, InvalidValue};

/// Most text that all expansions of one stage may give. Each of thousands of lines may grow to
/// [`expand::MAX_GROWTH`]; together they have to fit in memory.
pub const MAX_TOTAL_GROWTH: usize = 64 << 20;

/// `PATH` of an image that has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// ARGs that only say how to build: they never become environment variables.
const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Build args that reach every RUN without an ARG, in upper or lower case.
const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Values given with `--build-arg`.
pub type BuildArgs = BTreeMap<String, String>;

/// A platform as variables show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlatformArgs {
    /// `os/architecture[/variant]`
    pub platform: String,
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// `v7`, often empty.
    pub variant: String,
    /// Empty but on Windows.
    pub os_version: String,
}

/// What a build was asked for, as far as variables show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// `--build-arg`
    pub build_args: BuildArgs,
    /// The platform of the result.
    pub target: PlatformArgs,
    /// The platform of this machine.
    pub build: PlatformArgs,
    /// `--target`
    pub target_stage: Option<String>,
}

impl Settings {
    /// The proxy variables that RUN sees besides its environment, in both spellings, sorted. They are part of no key
    /// and no history.
    pub fn proxy_environment(&self) -> Vec<(String, String)> {
        let mut found: BTreeMap<&str, &String> = BTreeMap::new();
        // Upper case sorts first, so that of two spellings the lower-case one is kept.
        for (name, value) in &self.build_args {
            if let Some(proxy) = PROXIES.iter().find(|p| p.eq_ignore_ascii_case(name)) {
                found.insert(proxy, value);
            }
        }
        let given = found.into_iter().filter(|(_, value)| !value.is_empty());
        let mut out: Vec<_> = given
            .flat_map(|(name, value)| {
                [name.to_owned(), name.to_lowercase()].map(|n| (n, value.clone()))
            })
            .collect();
        out.sort();
        out
    }
}

/// Variables in order, quick to find.
#[derive(Debug, Clone, Default)]
struct Variables {
    entries: Vec<Option<(String, String)>>,
    index: HashMap<String, usize>,
}

impl Variables {
    /// Sets a variable; one that was there moves to the end.
    fn set(&mut self, name: &str, value: String) {
        if let Some(old) = self.index.insert(name.to_owned(), self.entries.len()) {
            self.entries[old] = None;
        }
        self.entries.push(Some((name.to_owned(), value)));
    }

    /// Sets a variable; one that was there keeps its place.
    fn replace(&mut self, name: &str, value: String) {
        match self.index.get(name) {
            Some(at) => self.entries[*at] = Some((name.to_owned(), value)),
            None => self.set(name, value),
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(at) = self.index.remove(name) {
            self.entries[at] = None;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter().flatten();
        entries.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries.get(*self.index.get(name)?)?;
        entry.as_ref().map(|(_, value)| value.as_str())
    }
}

/// What FROM lines see.
#[derive(Debug, Clone)]
pub struct GlobalScope {
    variables: Arc<Variables>,
    build_args: Arc<BuildArgs>,
    escape: char,
}

impl GlobalScope {
    /// Evaluates the ARGs before the first FROM.
    ///
    /// # Errors
    ///
    /// A default that cannot be expanded, at the place where it stands.
    pub fn new(file: &Dockerfile, settings: &Settings) -> Result<Self, Diagnostic> {
        let last_stage = file.stages.last().and_then(|s| s.name.clone());
        let asked = settings.target_stage.clone().filter(|s| !s.is_empty());
        let stage = asked.or(last_stage).unwrap_or_else(|| "default".to_owned());
        let mut variables = predefined(settings, &stage);
        let escape = file.directives.escape;
        for definition in file.global_definitions() {
            let value = match (
                settings.build_args.get(&definition.name),
                &definition.default,
            ) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => {
                    let expanded = expand::word(default, escape, &variables);
                    let at = |e: ExpandError| {
                        Diagnostic::error("expansion", definition.span, e.to_string())
                    };
                    expanded.map_err(at)?.text
                }
                (None, None) => continue,
            };
            variables.set(&definition.name, value);
        }
        Ok(Self {
            variables: Arc::new(variables),
            build_args: Arc::new(settings.build_args.clone()),
            escape,
        })
    }

    /// The value of a global ARG or a platform variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)
    }

    /// The names that have values, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name)
    }

    /// Expands the image or the platform of a FROM.
    ///
    /// # Errors
    ///
    /// See [`ExpandErrorKind`].
    pub fn expand(&self, word: &str) -> Result<Expanded, ExpandError> {
        expand::word(word, self.escape, &*self.variables)
    }
}

/// The variables that are there without an ARG before the first FROM; build args replace them.
fn predefined(settings: &Settings, stage: &str) -> Variables {
    let (build, target) = (&settings.build, &settings.target);
    let mut variables = Variables::default();
    for (name, value) in [
        ("BUILDPLATFORM", build.platform.as_str()),
        ("BUILDOS", &build.os),
        ("BUILDOSVERSION", &build.os_version),
        ("BUILDARCH", &build.architecture),
        ("BUILDVARIANT", &build.variant),
        ("TARGETPLATFORM", &target.platform),
        ("TARGETOS", &target.os),
        ("TARGETOSVERSION", &target.os_version),
        ("TARGETARCH", &target.architecture),
        ("TARGETVARIANT", &target.variant),
        ("TARGETSTAGE", stage),
    ] {
        let given = settings.build_args.get(name).map_or(value, String::as_str);
        variables.set(name, given.to_owned());
    }
    variables
}

/// What an ARG did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgOutcome {
    /// The value, if it has one now.
    pub value: Option<String>,
    /// What its default looked up.
    pub names: Names,
}

/// The variables of a stage at some line of it. Instructions are given to it in their order.
#[derive(Debug, Clone)]
pub struct StageScope {
    /// The image's ENV.
    image: Variables,
    /// What RUN gets and words expand against: ENV and ARG.
    build: Variables,
    /// ARGs in the order of their first mention, with the value of the last.
    args: Variables,
    globals: GlobalScope,
    grown: usize,
}

impl StageScope {
    /// The scope at the beginning of a stage whose base image has the environment `base`. A `PATH` is added if it
    /// has none.
    pub fn new(globals: &GlobalScope, base: &[String]) -> Self {
        let mut image = Variables::default();
        for entry in base {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            image.replace(name, value.to_owned());
        }
        if image.get("PATH").is_none() {
            image.replace("PATH", DEFAULT_PATH.to_owned());
        }
        Self {
            build: image.clone(),
            image,
            args: Variables::default(),
            globals: globals.clone(),
            grown: 0,
        }
    }

    /// The scope at the beginning of a stage that is built FROM this one, at whose end it is called.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut child = self.clone();
        child.grown = 0;
        // The image's ENV is applied anew, over an ARG of the same name.
        for (name, value) in self.image.iter() {
            child.build.set(name, value.to_owned());
        }
        child
    }

    /// Evaluates one definition of an ARG.
    ///
    /// # Errors
    ///
    /// When the default is needed and cannot be expanded.
    pub fn arg(&mut self, definition: &ArgDefinition) -> Result<ArgOutcome, ExpandError> {
        let name = definition.name.as_str();
        let mut names = Names::default();
        let value = match (self.globals.build_args.get(name), &definition.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => {
                let expanded = self.expand(default)?;
                names = expanded.names;
                Some(expanded.text)
            }
            (None, None) => self.globals.get(name).map(str::to_owned),
        };
        if let Some(value) = &value
            && !NOT_IN_ENVIRONMENT.contains(&name)
        {
            self.build.set(name, value.clone());
        }
        self.args.replace(name, value.clone().unwrap_or_default());
        Ok(ArgOutcome { value, names })
    }

    /// Evaluates an ENV: all pairs against what was set before it. Gives them expanded.
    ///
    /// # Errors
    ///
    /// When a name or value cannot be expanded, or a name comes to nothing.
    pub fn env(
        &mut self,
        pairs: &[KeyValue],
    ) -> Result<(Vec<(String, String)>, Names), InvalidValue> {
        let (expanded, names) = self.pairs(pairs)?;
        for (name, value) in &expanded {
            self.image.replace(name, value.clone());
            self.build.set(name, value.clone());
        }
        Ok((expanded, names))
    }

    /// Takes variables that ENV set, here or in the base, away from the image and from what follows.
    pub fn unset(&mut self, names: &[String]) {
        for name in names {
            self.image.remove(name);
            self.build.remove(name);
        }
    }

    /// Expands pairs that set no variables: those of LABEL.
    ///
    /// # Errors
    ///
    /// When a name or value cannot be expanded, or a name comes to nothing.
    pub fn pairs(
        &mut self,
        pairs: &[KeyValue],
    ) -> Result<(Vec<(String, String)>, Names), InvalidValue> {
        let mut names = Names::default();
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let key = self.expand(&pair.key)?;
            if key.text.is_empty() {
                let message = format!("the name `{}` expands to nothing", pair.key);
                return Err(InvalidValue::new(message));
            }
            let value = self.expand(&pair.value)?;
            names.merge(key.names);
            names.merge(value.names);
            expanded.push((key.text, value.text));
        }
        Ok((expanded, names))
    }

    /// Expands a word.
    ///
    /// # Errors
    ///
    /// See [`ExpandErrorKind`].
    pub fn expand(&mut self, word: &str) -> Result<Expanded, ExpandError> {
        let expanded = expand::word(word, self.globals.escape, &self.build)?;
        self.grow(word, expanded.text.len())?;
        Ok(expanded)
    }

    /// Expands a word and splits the result, as for EXPOSE.
    ///
    /// # Errors
    ///
    /// See [`ExpandErrorKind`].
    pub fn expand_words(&mut self, word: &str) -> Result<ExpandedWords, ExpandError> {
        let expanded = expand::words(word, self.globals.escape, &self.build)?;
        self.grow(word, expanded.words.iter().map(String::len).sum())?;
        Ok(expanded)
    }

    /// Expands the body of a heredoc that may be expanded.
    ///
    /// # Errors
    ///
    /// See [`ExpandErrorKind`].
    pub fn expand_text(&mut self, text: &str) -> Result<Expanded, ExpandError> {
        let expanded = expand::text(text, &self.build)?;
        self.grow(text, expanded.text.len())?;
        Ok(expanded)
    }

    fn grow(&mut self, word: &str, by: usize) -> Result<(), ExpandError> {
        self.grown += by;
        if self.grown <= MAX_TOTAL_GROWTH {
            return Ok(());
        }
        Err(ExpandError {
            word: word[..word.floor_char_boundary(80)].to_owned(),
            kind: ExpandErrorKind::TooLarge,
        })
    }

    /// The value of a variable here.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.build.get(name)
    }

    /// The names that are set here, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.build.iter().map(|(name, _)| name)
    }

    /// Whether an ARG of that name was given in this stage or one it is built from, with a value or without.
    pub fn has_arg(&self, name: &str) -> bool {
        self.args.get(name).is_some()
    }

    /// The environment of RUN, without proxies: see [`Settings::proxy_environment`].
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = self.build.iter();
        pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    /// The `Env` of the image config.
    pub fn image_environment(&self) -> Vec<String> {
        self.image.iter().map(|(n, v)| format!("{n}={v}")).collect()
    }

    /// The ARGs so far with what RUN sees of them, as its history entry lists them: each name once, in the order of first
    /// mention.
    pub fn history_args(&self) -> Vec<(String, String)> {
        let value = |name: &str, own: &str| self.build.get(name).unwrap_or(own).to_owned();
        let args = self.args.iter();
        args.map(|(n, v)| (n.to_owned(), value(n, v))).collect()
    }
}
