//! `barque registry`: what concerns a registry and not the store. One file a group.

mod gc;
mod remote;
mod serve;
mod stdio;
mod tags;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Context, Outcome};

/// Look at and change what a registry has, and serve one
#[derive(Debug, Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(remote::Inspect),
    Ls(remote::Ls),
    Tag(remote::Tag),
    Rm(remote::Rm),
    Serve(serve::Serve),
    Stdio(stdio::Stdio),
    Gc(gc::Gc),
    History(tags::History),
    Restore(tags::Restore),
}

/// Where a registry of one's own keeps things.
#[derive(Debug, Args)]
struct Place {
    /// The registry's folder
    ///
    /// Without it: the store's folder with `-registry` at its end.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Place {
    fn folder(&self, context: &Context) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| {
            let mut name = context.settings.root.clone().into_os_string();
            name.push("-registry");
            name.into()
        })
    }
}

pub(crate) fn run(args: Registry, context: &Context) -> Outcome {
    match args.command {
        Command::Inspect(args) => remote::inspect(&args, context),
        Command::Ls(args) => remote::ls(&args, context),
        Command::Tag(args) => remote::tag(&args, context),
        Command::Rm(args) => remote::rm(&args, context),
        Command::Serve(args) => serve::run(&args, context),
        Command::Stdio(args) => stdio::run(&args, context),
        Command::Gc(args) => gc::run(&args, context),
        Command::History(args) => tags::history(&args, context),
        Command::Restore(args) => tags::restore(&args, context),
    }
}

/// A time span as it is typed: 90m, 24h, 7d. In seconds.
fn seconds(text: &str) -> Result<u64, String> {
    engine::upkeep::duration(text).map_err(|error| error.to_string())
}
