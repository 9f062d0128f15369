//! `barque registry`: what concerns a registry and not the store. One file a group.

mod remote;

use clap::{Args, Subcommand};

use super::{Context, Outcome};

/// Look at and change what a registry has
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
}

pub(crate) fn run(args: Registry, context: &Context) -> Outcome {
    match args.command {
        Command::Inspect(args) => remote::inspect(&args, context),
        Command::Ls(args) => remote::ls(&args, context),
        Command::Tag(args) => remote::tag(&args, context),
        Command::Rm(args) => remote::rm(&args, context),
    }
}
