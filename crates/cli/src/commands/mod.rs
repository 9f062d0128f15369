//! One file a command: the arguments, the request made of them, the rendering of what comes back.

pub(crate) mod build;
pub(crate) mod cat;
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod df;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod fsck;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registry;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod wait;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ErrorKind};
use engine::{Engine, LayerChoice};

use crate::args::{Cli, Command, Progress};
use crate::error::Failure;
use crate::render;
use crate::settings::Settings;

/// How a command ends: its exit code, or why it failed.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Everything went well.
pub(crate) const DONE: Outcome = Ok(ExitCode::SUCCESS);

/// What every command may ask for.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    layers: Option<LayerChoice>,
    progress: Progress,
    sync: bool,
    engine: OnceCell<Engine>,
}

impl Context {
    /// Opens the store, making it at first use.
    pub(crate) fn engine(&self) -> Result<&Engine, Failure> {
        match self.engine.get() {
            Some(engine) => Ok(engine),
            None => {
                let opened = self.outside_engine()?;
                Ok(self.engine.get_or_init(|| opened))
            }
        }
    }

    /// Opens the store for a command that starts processes or touches files with owners of their own: an ordinary user goes
    /// on in a user namespace. Before any thread is started.
    pub(crate) fn privileged_engine(&self) -> Result<&Engine, Failure> {
        if self.engine.get().is_none() {
            Self::enter_namespace()?;
        }
        self.engine()
    }

    /// The store as the user sees it, for what has to happen before [`Context::privileged_engine`]. Drop it first.
    pub(crate) fn outside_engine(&self) -> Result<Engine, Failure> {
        let engine = Engine::open_choosing(&self.settings.root, self.layers)?;
        Ok(engine.with_network(self.settings.network.clone()))
    }

    /// Makes an ordinary user root of a user namespace.
    pub(crate) fn enter_namespace() -> Result<(), Failure> {
        if let Some(why) = engine::enter_user_namespace()? {
            render::talk(&format!(
                "warning: there is one user only in containers: {why}"
            ));
            render::talk(
                "hint: `usermod --add-subuids` and `--add-subgids` give a user subordinate ids",
            );
        }
        Ok(())
    }

    /// As [`Context::privileged_engine`], but goes on without where the system does not allow it: a build without RUN
    /// needs no privileges, and one with RUN says what is missing.
    pub(crate) fn build_engine(&self) -> Result<&Engine, Failure> {
        match self.privileged_engine() {
            Ok(engine) => Ok(engine),
            Err(_) => self.engine(),
        }
    }

    /// After the command: has what it published synced, and what it took away deleted.
    fn settle(&self) -> Result<(), Failure> {
        Ok(self
            .engine
            .get()
            .map_or(Ok(()), |engine| engine.settle(self.sync))?)
    }

    /// How long work is shown, with `auto` resolved.
    pub(crate) const fn progress(&self) -> Progress {
        self.progress
    }

    /// The folder that relative paths start from.
    #[expect(
        clippy::unused_self,
        reason = "the surroundings are asked through the context only"
    )]
    pub(crate) fn directory(&self) -> Result<PathBuf, Failure> {
        std::env::current_dir()
            .map_err(|error| Failure::new(format!("cannot tell the current directory: {error}")))
    }

    /// A small text file that the user named.
    #[expect(
        clippy::unused_self,
        reason = "the surroundings are asked through the context only"
    )]
    pub(crate) fn read_text(&self, path: &Path) -> Result<String, Failure> {
        Ok(engine::read_text(path)?)
    }
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            // clap proposes `-- --flag`, to say that what looks like a flag is none. Whoever mistypes one means a flag.
            if error.kind() == ErrorKind::UnknownArgument {
                error.remove(ContextKind::Suggested);
            }
            let code = if error.use_stderr() {
                usage_code(std::env::args_os())
            } else {
                0
            };
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    dispatch(cli).unwrap_or_else(Failure::report)
}

/// 125 for commands that pass on another program's code, as Docker has it; 1 elsewhere.
fn usage_code(words: impl Iterator<Item = OsString>) -> u8 {
    let mut words = words.skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            // Options of every command that have a value.
            Some("--root" | "--progress") => drop(words.next()),
            Some("run" | "exec") => return 125,
            Some(option) if option.starts_with('-') => {}
            _ => return 1,
        }
    }
    1
}

fn dispatch(cli: Cli) -> Outcome {
    let settings = Settings::read(cli.root).map_err(Failure::new)?;
    let progress = choose_progress(cli.progress, settings.progress.as_deref())?;
    let layers = choose_layers(settings.layers.as_deref())?;
    let context = Context {
        settings,
        layers,
        progress,
        sync: cli.sync,
        engine: OnceCell::new(),
    };
    let code = command(cli.command, &context)?;
    context.settle()?;
    Ok(code)
}

fn command(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Build(args) => build::run(*args, context),
        Command::Images(args) => images::run(&args, context),
        Command::Fsck(args) => fsck::run(&args, context),
        Command::Kill(args) => kill::run(&args, context),
        Command::Logs(args) => logs::run(&args, context),
        Command::Ps(args) => ps::run(&args, context),
        Command::Rm(args) => rm::run(&args, context),
        Command::Run(args) => run::run(*args, context).map_err(Failure::starting),
        Command::Stop(args) => stop::run(&args, context),
        Command::Wait(args) => wait::run(&args, context),
        Command::Commit(args) => commit::run(args, context),
        Command::Tag(args) => tag::run(&args, context),
        Command::Rmi(args) => rmi::run(args, context),
        Command::History(args) => history::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Import(args) => import::run(args, context),
        Command::Exec(args) => exec::run(args, context).map_err(Failure::starting),
        Command::Export(args) => export::run(&args, context),
        Command::Save(args) => save::run(args, context),
        Command::Load(args) => load::run(args, context),
        Command::Pull(args) => pull::run(args, context),
        Command::Push(args) => push::run(args, context),
        Command::Copy(args) => copy::run(args, context),
        Command::Login(args) => login::run(args, context),
        Command::Logout(args) => logout::run(args, context),
        Command::Registry(args) => registry::run(args, context),
        Command::Info(args) => info::run(&args, context),
        Command::Df(args) => df::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
    }
}

/// What the environment asks for, if it asks for anything.
fn choose_layers(variable: Option<&str>) -> Result<Option<LayerChoice>, Failure> {
    let Some(name) = variable else {
        return Ok(None);
    };
    LayerChoice::named(name).map(Some).ok_or_else(|| {
        let names = LayerChoice::ALL.map(LayerChoice::name).join(", ");
        Failure::new(format!(
            "the environment asks for the layers `{name}`, which is unknown"
        ))
        .hint(format!("set BARQUE_LAYERS to one of {names}, or unset it"))
    })
}

/// The flag, else the environment, else `auto`; and `auto` by what stderr is.
fn choose_progress(flag: Option<Progress>, variable: Option<&str>) -> Result<Progress, Failure> {
    let chosen = match (flag, variable) {
        (Some(flag), _) => flag,
        (None, None | Some("auto")) => Progress::Auto,
        (None, Some("tty")) => Progress::Tty,
        (None, Some("plain")) => Progress::Plain,
        (None, Some("json" | "rawjson")) => Progress::Json,
        (None, Some("quiet" | "none")) => Progress::Quiet,
        (None, Some(other)) => {
            return Err(Failure::new(format!(
                "the environment asks for the progress `{other}`, which is unknown"
            ))
            .hint("set BARQUE_PROGRESS to auto, tty, plain, json or quiet"));
        }
    };
    Ok(match chosen {
        Progress::Auto if std::io::stderr().is_terminal() => Progress::Tty,
        Progress::Auto => Progress::Plain,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn wrong_arguments_of_run_and_exec_are_125() {
        let code = |words: &[&[u8]]| {
            let words = [&[&b"barque"[..]], words].concat();
            super::usage_code(
                words
                    .into_iter()
                    .map(|word| OsString::from_vec(word.to_vec())),
            )
        };
        assert_eq!(code(&[b"run", b"--nope"]), 125);
        assert_eq!(code(&[b"--root", b"/run", b"--sync", b"exec"]), 125);
        assert_eq!(code(&[b"--root=x", b"run", b"\xff"]), 125);
        assert_eq!(code(&[b"--root", b"run", b"images", b"--nope"]), 1);
        assert_eq!(code(&[b"rm", b"--nope", b"run"]), 1);
        assert_eq!(code(&[b"\xff"]), 1);
        assert_eq!(code(&[]), 1);
    }
}
