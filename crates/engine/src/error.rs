//! What the door of this crate can answer instead of a result.

use std::path::PathBuf;

/// Why something could not be done, for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused or failed.
    #[error("{0}")]
    Store(#[source] store::Error),
    /// Neither an image nor a container has this name or id.
    #[error("no such image or container: `{text}`")]
    NoSuchObject {
        /// What was asked for.
        text: String,
        /// The name in the store that is most like it.
        nearest: Option<String>,
    },
    /// A file operation failed.
    #[error("{0}")]
    Io(#[source] sys::fs::Error),
    /// A layer of an image could not be read.
    #[error("cannot read image `{image}`: {source}")]
    Read {
        /// Which image, as it was asked for.
        image: String,
        /// Why.
        source: layer::IndexError,
    },
    /// A text is not a name of an image.
    #[error("{0}")]
    Reference(#[source] oci::ReferenceError),
    /// A name that is given to an image must not say which image that is.
    #[error("`{0}` has a digest; a new name is `NAME[:TAG]`")]
    NameWithDigest(String),
    /// A name that could not be told from an id.
    #[error("`{0}` cannot be the name of an image: it reads like a digest")]
    NameLikeDigest(String),
    /// A layer is not the one that its image means.
    #[error("it unpacks to `{found}`, but the image's config says `{expected}`")]
    OtherLayer {
        /// What came.
        found: Box<oci::Digest>,
        /// What was to come.
        expected: Box<oci::Digest>,
    },
    /// A text is not a platform.
    #[error("{0}")]
    Platform(#[source] oci::PlatformError),
    /// A filter of a listing that is not known, or has no such value.
    #[error("`{filter}` is not a filter: {why}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
        /// The filters that the listing knows.
        known: &'static str,
    },
    /// A path that is not in an image.
    #[error("`{path}` is not in image `{image}`")]
    NoSuchPath {
        /// The image, as it was asked for.
        image: String,
        /// The path.
        path: String,
    },
    /// A path in an image that is not what is needed.
    #[error("`{path}` in image `{image}` is not {wanted}")]
    NotA {
        /// The image, as it was asked for.
        image: String,
        /// The path.
        path: String,
        /// What it should be: `a regular file`.
        wanted: &'static str,
    },
    /// A file of an image was asked for without its path.
    #[error("`{0}` names no file of an image")]
    NoPath(String),
    /// What was read could not be passed on.
    #[error("cannot write {what}: {source}")]
    Output {
        /// What was being written.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// An archive cannot be loaded; nothing of it was kept.
    #[error("cannot load {}: {source}", .path.as_ref().map_or_else(|| "the archive on stdin".to_owned(), |path| format!("`{}`", path.display())))]
    Load {
        /// The archive; `None` for stdin.
        path: Option<PathBuf>,
        /// Why.
        source: Box<crate::transfer::LoadError>,
    },
    /// A root filesystem cannot be imported; nothing of it was kept.
    #[error("cannot import {}: {why}", .path.as_ref().map_or_else(|| "from stdin".to_owned(), |path| format!("`{}`", path.display())))]
    Import {
        /// The tar; `None` for stdin.
        path: Option<PathBuf>,
        /// Why.
        why: String,
    },
    /// An instruction cannot be applied to an image's config.
    #[error("cannot apply the change `{instruction}`: {why}")]
    Change {
        /// The instruction as it was given.
        instruction: String,
        /// What is wrong with it.
        why: String,
    },
    /// Images could not be exchanged with a registry.
    #[error("{0}")]
    Exchange(#[source] Box<crate::exchange::ExchangeError>),
    /// A container could not be dealt with.
    #[error("{0}")]
    Container(#[source] crate::containers::ContainerError),
    /// A command that passes another program's exit code on failed itself.
    #[error("{0}")]
    Starting(#[source] Box<Self>),
    /// An option of a command cannot be understood.
    #[error("{0}")]
    Option(#[source] crate::containers::OptionError),
    /// The place that a build takes files from is no folder.
    #[error("the build context `{}` is not a folder", .0.display())]
    ContextNotAFolder(PathBuf),
    /// The place that a build takes files from is not there.
    #[error("there is no build context `{}`", .0.display())]
    NoContext(PathBuf),
    /// There is nothing to build from.
    #[error("there is no `{name}` in {context}")]
    NoDockerfile {
        /// What was looked for.
        name: String,
        /// Where, as people named it.
        context: String,
    },
    /// Standard input is asked for both context and Dockerfile.
    #[error("the context and the Dockerfile cannot both come from stdin")]
    StdinTwice,
    /// The context is a Dockerfile, and another one was named.
    #[error("the context is a Dockerfile, so `-f` cannot name another one")]
    TwoDockerfiles,
    /// The archive on standard input cannot be a context.
    #[error("the context on stdin cannot be used: {source}")]
    ContextArchive {
        /// Why.
        source: layer::IngestError,
    },
    /// The context or the Dockerfile is elsewhere, and cannot be had.
    #[error("cannot get `{url}`: {source}")]
    RemoteContext {
        /// Where, without a password.
        url: String,
        /// Why.
        source: build::RemoteError,
    },
    /// Something on the network.
    #[error("{0}")]
    Remote(#[source] crate::remote::RemoteError),
    /// `--host-ca` on a host without certificate authorities.
    #[error("cannot find the certificate authorities of this host")]
    NoCaBundle,
    /// Something that a build was to be given cannot be.
    #[error("`{flag} {text}`: {why}")]
    Grant {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// Why.
        why: String,
    },
    /// A method of `--call`, or an option of it, that there is not.
    #[error("`{0}` is nothing that `--call` knows")]
    Call(String),
    /// `--build-context` that cannot be understood.
    #[error("`{text}` is not a named context: {why}")]
    NamedContext {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A network that barque does not have.
    #[error("`{0}` is not a network for RUN")]
    Network(String),
    /// A build failed.
    #[error("{source}")]
    Build {
        /// The Dockerfile, and what it includes.
        sources: Vec<build::Text>,
        /// Why.
        source: Box<build::Error>,
    },
    /// The result of a build cannot be given as it was asked for.
    #[error("{0}")]
    BuildOutput(#[source] Box<crate::building::OutputError>),
    /// The image of a build could not be made of its layers.
    #[error("{0}")]
    Pack(#[source] Box<build::PackError>),
    /// A duration that cannot be understood.
    #[error("`{0}` is not a duration")]
    Duration(String),
    /// A time to begin or end at that cannot be understood.
    #[error("`{0}` is not a time")]
    Moment(String),
    /// A time that cannot be understood.
    #[error("`{text}` is not a time: {why}")]
    Time {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The place where an OCI layout should go has other files.
    #[error("`{}` is not empty and not an OCI layout: {why}", .path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An OCI layout is a folder and has no place on stdout.
    #[error("an OCI layout is a folder and cannot be written to stdout")]
    LayoutToStdout,
    /// A folder of files cannot be compressed as one.
    #[error("an OCI layout folder cannot be compressed as a whole")]
    CompressedLayout,
}

impl From<crate::containers::OptionError> for Error {
    fn from(error: crate::containers::OptionError) -> Self {
        Self::Option(error)
    }
}

impl From<crate::containers::ContainerError> for Error {
    fn from(error: crate::containers::ContainerError) -> Self {
        Self::Container(error)
    }
}

impl From<crate::building::OutputError> for Error {
    fn from(error: crate::building::OutputError) -> Self {
        Self::BuildOutput(Box::new(error))
    }
}

impl From<crate::remote::RemoteError> for Error {
    fn from(error: crate::remote::RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<sys::fs::Error> for Error {
    fn from(error: sys::fs::Error) -> Self {
        Self::Io(error)
    }
}

impl From<oci::ReferenceError> for Error {
    fn from(error: oci::ReferenceError) -> Self {
        Self::Reference(error)
    }
}

impl From<oci::PlatformError> for Error {
    fn from(error: oci::PlatformError) -> Self {
        Self::Platform(error)
    }
}

impl Error {
    /// What a person can do about it; each names a flag or a command that exists.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        if owner_is_not_mapped(self) {
            return vec![MORE_IDS.to_owned()];
        }
        if self.is_store_full() {
            return vec![
                "`barque df` shows what takes the space, `barque prune` removes what nothing needs"
                    .to_owned(),
            ];
        }
        let hint = match self {
            Self::Store(error) => return store_hints(error),
            Self::Filter { known, .. } => return vec![format!("filters are {known}")],
            Self::NoSuchObject {
                nearest: Some(name),
                ..
            } => return vec![format!("did you mean `{name}`?")],
            Self::NoSuchObject { nearest: None, .. } => {
                "`barque images` and `barque ps -a` list what is in the store"
            }
            Self::NameLikeDigest(_) => "a name is `NAME[:TAG]`, like `app:1`",
            Self::NoPath(_) => "the path begins with `/`: `barque cat alpine:3:/etc/os-release`",
            Self::NoSuchPath { image, .. } => {
                return vec![format!("`barque ls {image}` lists its files")];
            }
            Self::NotA {
                wanted: "a regular file",
                image,
                path,
            } => {
                return vec![format!("`barque ls -l {image}:{path}` shows what it is")];
            }
            Self::Load { source, .. } => return source.hints(),
            Self::Exchange(error) => return error.hints(),
            Self::Reference(oci::ReferenceError::Name(text, _)) if text.contains("://") => {
                let name = text.split_once("://").map_or("", |(_, name)| name);
                return vec![format!("names begin with the registry's host: `{name}`")];
            }
            Self::Change { .. } => {
                "changes are CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR"
            }
            Self::Container(error) => return error.hints(),
            Self::Starting(error) => return error.hints(),
            Self::Build { source, .. } => return build_hints(source),
            Self::BuildOutput(error) => return error.hints(),
            Self::Call(_) => {
                return vec![
                    "known are build, check, outline and targets, and `,format=json`".to_owned(),
                ];
            }
            Self::NoDockerfile { .. } => "name it with `-f FILE`",
            Self::ContextNotAFolder(_) | Self::NoContext(_) => {
                "name a folder; a Dockerfile goes with `-f FILE`"
            }
            Self::StdinTwice => "name a folder as the context, or a file with `-f FILE`",
            Self::TwoDockerfiles => "leave `-f` out, or name a folder as the context",
            Self::Grant {
                flag: "--secret", ..
            } => "a secret is `--secret id=ID,src=FILE` or `--secret id=ID,env=NAME`",
            Self::Grant { flag: "--ssh", .. } => {
                "an agent is `--ssh default`, `--ssh ID=SOCKET` or `--ssh ID=KEY`"
            }
            Self::NamedContext { .. } => {
                "a source is a folder, a URL, `docker-image://IMAGE` or `oci-layout://FOLDER`"
            }
            Self::NoCaBundle => "install the package `ca-certificates`, or leave `--host-ca` out",
            Self::Network(_) => "`--network` is default, host or none",
            Self::Duration(_) => "durations are numbers with s, m, h or d: `--older-than 24h`",
            Self::Moment(_) => {
                "times are how long ago (`90m`, `1h30m`, `7d`), `2026-01-31T12:00:00Z`, a date, or seconds since 1970"
            }
            Self::Time { .. } => "SOURCE_DATE_EPOCH is a number of seconds since 1970",
            Self::NotALayout { .. } => {
                "name a new or empty folder with `-o`, or one with an OCI layout to add to"
            }
            Self::LayoutToStdout => "name the folder with `-o`, or use `--format oci-archive`",
            Self::CompressedLayout => "use `--format oci-archive` for one compressed file",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }

    /// What is shown as it is before the message: the last output of a step, the lines of the Dockerfile.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        match self {
            Self::Build { sources, source } if self.mistakes().is_none() => {
                build_excerpt(sources, source)
            }
            _ => None,
        }
    }

    /// What is wrong with a Dockerfile, each with its place, and the texts that the places are in, as
    /// [`dockerfile::Span::file`] counts them.
    #[must_use]
    pub fn mistakes(&self) -> Option<(&[build::Text], &[dockerfile::Diagnostic])> {
        match self {
            Self::Build { sources, source } => match source.as_ref() {
                build::Error::Dockerfile(mistakes) => Some((sources, mistakes)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Starting(error) => match error.as_ref() {
                Self::Container(error) => error.exit_code(),
                _ => 125,
            },
            _ => 1,
        }
    }

    /// Whoever read our output has seen enough, as `head` does: nothing that a person must be told.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        match self {
            Self::Output { source, .. }
            | Self::Container(crate::containers::ContainerError::Output(source)) => {
                source.kind() == std::io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }

    /// True if the disk with the store has no room; not where a result is written elsewhere.
    fn is_store_full(&self) -> bool {
        match self {
            Self::Output { .. } | Self::BuildOutput(_) | Self::Container(_) => return false,
            Self::Starting(error) => return error.is_store_full(),
            _ => {}
        }
        // Errors that pass another one on hide its type, not its words.
        std::iter::successors(Some(self as &(dyn std::error::Error + 'static)), |error| {
            error.source()
        })
        .any(|error| {
            let text = error.to_string();
            text.contains("No space left on device") || text.contains("database or disk is full")
        })
    }

    /// What is said where a container would have done, too, when there is no such image.
    pub(crate) fn or_container(self, like: Option<String>) -> Self {
        match self {
            Self::Store(store::Error::NoSuchImage { text, nearest }) => Self::NoSuchObject {
                text,
                nearest: nearest.or(like),
            },
            other => other,
        }
    }

    /// An error of `run` or `exec`: its exit code says that it is ours and not the program's.
    pub(crate) fn starting(self) -> Self {
        Self::Starting(Box::new(self))
    }
}

fn store_hints(error: &store::Error) -> Vec<String> {
    let hint = match error {
        store::Error::NoSuchImage {
            nearest: Some(name),
            ..
        } => format!("did you mean `{name}`?"),
        store::Error::NoSuchImage { nearest: None, .. } => {
            "`barque images` lists what is in the store".to_owned()
        }
        store::Error::NoSuchContainer {
            nearest: Some(name),
            ..
        } => format!("did you mean `{name}`?"),
        store::Error::NoSuchContainer { nearest: None, .. } => {
            "`barque ps -a` lists all containers".to_owned()
        }
        store::Error::Ambiguous { .. } => "give more digits of the id".to_owned(),
        store::Error::InUse {
            forceable: true, ..
        } => "`--force` does it all the same".to_owned(),
        store::Error::Way { .. } => {
            "without `BARQUE_LAYERS` in the environment, barque takes what works; `barque info` shows it".to_owned()
        }
        store::Error::Corrupt { .. }
        | store::Error::MissingLayer(_)
        | store::Error::MissingBlob(_) => "`barque fsck` finds what is damaged".to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}

/// The last output of the step that failed, and its place in the Dockerfile, as buildx shows them.
///
/// Mistakes in a Dockerfile are data: see [`Error::mistakes`].
fn build_excerpt(sources: &[build::Text], error: &build::Error) -> Option<String> {
    const RULE: &str = "------\n";
    let mut shown = String::new();
    if let build::Error::Step(failure) = error
        && !failure.output.is_empty()
    {
        let output = String::from_utf8_lossy(&failure.output);
        // A carriage return draws over what came before: the last state is what a person would see.
        let lines = output.trim_end().lines();
        let lines: Vec<&str> = lines.filter_map(|line| line.rsplit('\r').next()).collect();
        shown.push_str(&format!(
            "{RULE} > {}:\n{}\n{RULE}",
            failure.name,
            lines.join("\n")
        ));
    }
    if let Some(span) = error.span()
        && let Some(source) = sources.get(span.file as usize)
    {
        shown.push_str(&dockerfile::excerpt(&source.text, &source.name, span));
    }
    (!shown.is_empty()).then_some(shown)
}

/// What to do about an owner that cannot be.
const MORE_IDS: &str = "the image has files of users beyond your subordinate ids; `usermod --add-subuids` and `--add-subgids` give more";

/// True if a file should have got an owner that the user namespace does not know, which the kernel calls an invalid argument.
fn owner_is_not_mapped(error: &(dyn std::error::Error + 'static)) -> bool {
    // Errors that pass another one on hide its type, not its words.
    let chain = || std::iter::successors(Some(error), |error| error.source());
    let owner = chain().any(|error| error.to_string().contains("cannot change the owner of"));
    owner
        && chain().any(|error| {
            error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidInput)
        })
}

/// What to do about programs for another platform.
pub(crate) const EMULATOR: &str = "the kernel runs them through an emulator that `binfmt_misc` knows: on Debian and Ubuntu \
                                   `apt-get install qemu-user-static` brings one for each platform; or choose this machine's \
                                   platform with `--platform`";

fn build_hints(error: &build::Error) -> Vec<String> {
    match error {
        // They stand with the mistakes: see `Error::mistakes`.
        build::Error::Dockerfile(_) => Vec::new(),
        build::Error::Base { meant, .. } => {
            let meant = meant.iter().map(|name| format!("did you mean `{name}`?"));
            meant.chain(["`barque images` lists what is in the store; `barque load` and `barque import` add to it".to_owned()]).collect()
        }
        build::Error::Step(failure) if owner_is_not_mapped(&failure.source) => {
            vec![MORE_IDS.to_owned()]
        }
        build::Error::Step(failure) => match &failure.source {
            build::StepError::Exec(build::ExecError::NoSecret(id)) => {
                vec![format!("`--secret id={id},src=FILE` gives it")]
            }
            build::StepError::Exec(build::ExecError::NoAgent(id)) => {
                vec![format!(
                    "`--ssh {id}` gives it the agent of `SSH_AUTH_SOCK`"
                )]
            }
            build::StepError::Exec(build::ExecError::Runtime(runtime::Error::Foreign {
                ..
            })) => {
                vec![EMULATOR.to_owned()]
            }
            build::StepError::Exec(build::ExecError::Runtime(runtime::Error::NotFound {
                program,
                hint,
            })) if program == "/bin/sh" && hint.is_empty() => vec![
                "an image without a shell runs programs by themselves: `RUN [\"PROGRAM\", \"ARGUMENT\"]`"
                    .to_owned(),
            ],
            build::StepError::Copy(error) => copy_hints(error),
            build::StepError::Remote(error) if wants_agent(error.as_ref()) => vec![
                "`--ssh default` gives it the agent of `SSH_AUTH_SOCK`; `ssh-add` adds keys to that"
                    .to_owned(),
            ],
            _ => Vec::new(),
        },
        build::Error::Store(error) => store_hints(error),
        build::Error::Pack(_) => Vec::new(),
    }
}

/// True if a repository was to be fetched over ssh, without keys.
fn wants_agent(error: &(dyn std::error::Error + 'static)) -> bool {
    use crate::remote::{GitError, RemoteError};
    matches!(
        error.downcast_ref(),
        Some(RemoteError::Git(GitError::NoAgent(_)))
    )
}

/// What to do about a source that is not there.
fn copy_hints(error: &build::CopyError) -> Vec<String> {
    match error {
        build::CopyError::NotFound {
            ignored: true,
            path,
            ..
        } => vec![format!(
            "a line `!{}` in the ignore file takes it back in",
            path.trim_matches('/')
        )],
        build::CopyError::NotFound {
            nearest: Some(nearest),
            ..
        } => vec![format!("did you mean `{nearest}`?")],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_full_store_is_pruned_and_another_disk_is_not() {
        let full = || std::io::Error::from_raw_os_error(28);
        let import = Error::Import {
            path: None,
            why: format!("cannot write `layer.tar`: {}", full()),
        };
        for error in [
            import.starting(),
            sys::fs::Error::new("write", "x", full()).into(),
        ] {
            let hints = error.hints();
            assert!(hints[0].contains("`barque prune`"), "{hints:?}");
        }
        let output = Error::Output {
            what: "the archive",
            source: full(),
        };
        assert!(output.hints().is_empty());
    }
}
