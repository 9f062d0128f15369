//! The command line as it is typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands;

/// Where the help of each command shows the options that all have: behind its own.
const EVERYWHERE: &str = "Options of every command";

/// Build, keep and run container images, without a daemon
#[derive(Debug, Parser)]
#[command(name = "barque", version, disable_help_subcommand = true, after_help = after())]
pub(crate) struct Cli {
    /// The store's folder
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// How long work is shown
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "KIND")]
    pub(crate) progress: Option<Progress>,
    /// Wait until what the command made would survive a power cut
    ///
    /// Otherwise that happens a moment later in the background, and a store that lost power before finds and drops what
    /// is torn.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) sync: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The foot of the help: which variables are read.
fn after() -> String {
    let mut text =
        String::from("Run `barque COMMAND --help` for a command's options.\n\nEnvironment:\n");
    for (name, meaning) in crate::settings::VARIABLES {
        text.push_str(&format!("  {name:<18} {meaning}\n"));
    }
    text
}

/// How long work is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Bars
    Tty,
    /// Lines, as `docker buildx build --progress plain` prints them
    Plain,
    /// One JSON object a line
    Json,
    /// Nothing but results and errors
    Quiet,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(Box<commands::build::Build>),
    Images(commands::images::Images),
    Tag(commands::tag::Tag),
    Rmi(commands::rmi::Rmi),
    History(commands::history::History),
    Inspect(commands::inspect::Inspect),
    Diff(commands::diff::Diff),
    Ls(commands::ls::Ls),
    Cat(commands::cat::Cat),
    Import(commands::import::Import),
    Export(commands::export::Export),
    Save(commands::save::Save),
    Load(commands::load::Load),
    Run(Box<commands::run::Run>),
    Exec(commands::exec::Exec),
    Ps(commands::ps::Ps),
    Logs(commands::logs::Logs),
    Stop(commands::stop::Stop),
    Kill(commands::kill::Kill),
    Wait(commands::wait::Wait),
    Rm(commands::rm::Rm),
    Commit(commands::commit::Commit),
    Pull(commands::pull::Pull),
    Push(commands::push::Push),
    Copy(commands::copy::Copy),
    Login(commands::login::Login),
    Logout(commands::logout::Logout),
    Registry(commands::registry::Registry),
    Info(commands::info::Info),
    Df(commands::df::Df),
    Prune(commands::prune::Prune),
    Fsck(commands::fsck::Fsck),
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One JSON object a line
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
